"""How good a segmentation is: overlap, surfaces, sizes, per image and per patient, with intervals over patients.

Rules for empty masks. Both empty: Dice, IoU and surface Dice 1, distances 0, flagged ``both_empty`` and counted in
every summary. One empty: Dice, IoU and surface Dice 0, distances the diagonal of the image (the worst there can be, so
that a lesion that was missed altogether is not left out of the mean), flagged ``one_empty``. Sensitivity without any
true pixel and precision without any called pixel are undefined (NaN), left out and counted.
"""

import numpy as np
import pandas as pd
from scipy import stats

from medlab.imaging import components
from medlab.segmentation import surfaces
from medlab.statistics import intervals, metrics
from medlab.statistics.intervals import estimate

COUNTS = ("tp", "fp", "fn", "tn", "surface_within", "surface_total")
OVERLAP = ("dice", "iou", "sensitivity", "precision", "specificity", "surface_dice")
DISTANCES = ("hd95", "hd", "assd")
SIZES = ("truth", "predicted", "error")
NAMES = {"dice": "Dice", "iou": "IoU", "surface_dice": "surface Dice", "hd95": "HD95", "hd": "Hausdorff distance",
         "assd": "mean surface distance (ASSD)", "error": "size error", "relative_error": "relative size error",
         "absolute_relative_error": "relative size error without sign", "dice_if_any": "Dice where there is something"}
SHOWN = ("dice_if_any", "dice", "iou", "sensitivity", "precision", "surface_dice", "hd95_mm", "hd95_px",
         "absolute_relative_error")
MEDIANS = (*DISTANCES, "error", "relative_error", "absolute_relative_error")  # skewed: summarised by their median


def case(truth, predicted, spacing_mm=None, tolerance=2.0, valid=None) -> dict:
    """Everything about one class in one image.

    Parameters
    ----------
    truth, predicted : (h, w) or (d, h, w) bool (or whole numbers with one value above 0)
    spacing_mm : per axis, in array order; None or NaN = unknown: distances and sizes are then in pixels
    tolerance : surface Dice: how far two surfaces may lie apart, in mm, in pixels where mm are unknown
    valid : bool of the same shape, optional
        Field of view: pixels outside are background in both masks and counted by nothing.

    Returns
    -------
    dict
        dice, iou, sensitivity (recall), precision, specificity, surface_dice (Nikolov 2018), all better when higher;
        hd95, hd, assd with ``_mm`` or ``_px``, better when lower (`segmentation.surfaces`); truth, predicted, error
        (predicted minus truth) with ``_ml``, ``_mm2`` or ``_px``; relative_error (of truth; NaN without truth) and its
        absolute value; dice_if_any (NaN where the truth is empty); tp, fp, fn, tn (pixels), surface_within,
        surface_total (with which `pool` adds up images); both_empty, one_empty.
    """
    truth, predicted = _one_class(truth, "truth"), _one_class(predicted, "prediction")
    valid = None if valid is None else np.asarray(valid, bool)
    if truth.shape != predicted.shape or (valid is not None and valid.shape != truth.shape):
        raise ValueError(f"truth {truth.shape}, prediction {predicted.shape}"
                         f"{'' if valid is None else f', field of view {valid.shape}'}: expected the same shape")
    if valid is not None:
        truth, predicted = truth & valid, predicted & valid
    spacing = components.check_spacing(spacing_mm, truth.ndim)
    unit, step = ("px", np.ones(truth.ndim)) if spacing is None else ("mm", spacing)
    n, t, p = int(truth.size if valid is None else valid.sum()), int(truth.sum()), int(predicted.sum())
    tp = int((truth & predicted).sum())
    row = {"tp": tp, "fp": p - tp, "fn": t - tp, "tn": n - t - p + tp}
    if t and p:
        found = surfaces.distances(truth, predicted, step)
        near, total = surfaces.within(found, tolerance)
        far = {"hd95": surfaces.hausdorff(found, 95), "hd": surfaces.hausdorff(found), "assd": surfaces.mean(found)}
    else:
        one, near, worst = truth | predicted, 0.0, float(np.linalg.norm(step * truth.shape)) if t or p else 0.0
        total = float(surfaces.elements(one[surfaces.union_box(one, one)], step)[1].sum()) if t or p else 0.0
        far = dict.fromkeys(DISTANCES, worst)
    row |= {"surface_within": near, "surface_total": total}
    row |= {f"{name}_{unit}": value for name, value in far.items()}
    scale, unit = _size_unit(spacing)
    row |= {f"{name}_{unit}": value * scale for name, value in zip(SIZES, (t, p, p - t), strict=True)}
    row |= {"both_empty": not t and not p, "one_empty": (t > 0) != (p > 0)}
    table = _ratios(pd.DataFrame([row]))
    return {name: value.item() if hasattr(value, "item") else value for name, value in table.iloc[0].items()}


def _one_class(mask, what):
    mask = components.check(mask)
    values = np.unique(mask[mask > 0]) if mask.dtype != bool else ()
    if len(values) > 1:
        raise ValueError(f"the {what} holds the classes {values[:5].tolist()}: use by_class, or compare with one")
    return mask > 0 if mask.dtype != bool else mask


def _size_unit(spacing):
    if spacing is None:
        return 1, "px"
    return (np.prod(spacing), "mm2") if len(spacing) == 2 else (np.prod(spacing) / 1000, "ml")


def _ratios(table):
    """The measures that follow from counts, put in front."""
    tp, fp, fn, tn, near, total = (table[name].astype(float) for name in COUNTS)
    out = pd.DataFrame({
        "dice": (2 * tp / (2 * tp + fp + fn)).fillna(1.0), "iou": (tp / (tp + fp + fn)).fillna(1.0),
        "sensitivity": tp / (tp + fn), "precision": tp / (tp + fp), "specificity": tn / (tn + fp),
        "surface_dice": (near / total).fillna(1.0)})
    out["dice_if_any"] = out["dice"].where(tp + fn > 0)
    units = [unit for unit in ("ml", "mm2", "px") if f"truth_{unit}" in table]
    for unit in units:  # a dataset may hold images with and without a known spacing
        share = (table[f"error_{unit}"] / table[f"truth_{unit}"]).where(table[f"truth_{unit}"] > 0)
        out["relative_error"] = out["relative_error"].fillna(share) if "relative_error" in out else share
    out["absolute_relative_error"] = out["relative_error"].abs()
    return pd.concat([out, table.drop(columns=[c for c in out if c in table])], axis=1)


def by_class(truth, predicted, classes, **options) -> list[dict]:
    """`case` for each class of two label maps.

    Parameters
    ----------
    truth : label map, 0 background, 1..K
    predicted : label map, or (K, ...) bool, a mask for each class, which may overlap
    classes : names of the classes 1..K

    Returns
    -------
    list of dict, with ``class``
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    split = predicted.ndim > truth.ndim
    highest = max(np.max(truth, initial=0), len(predicted) if split else np.max(predicted, initial=0))
    if highest > len(classes):
        raise ValueError(f"a label map holds the value {highest}, but there are {len(classes)} classes: {classes}")
    return [{"class": name} | case(truth == k, predicted[k - 1] if split else predicted == k, **options)
            for k, name in enumerate(classes, 1)]


def compare(truth, drawn: dict, classes: list, **options) -> list:
    """`by_class` for each of several methods: list of dict, with ``method`` and ``class``.

    Parameters
    ----------
    drawn : method -> what it drew
    """
    return [{"method": method} | row for method, predicted in drawn.items()
            for row in by_class(truth, predicted, classes, **options)]


def pool(cases, by="patient_id") -> pd.DataFrame:
    """One row per patient: the pixels and surfaces of all its images together, as if they were one image.

    Parameters
    ----------
    cases : DataFrame of `case` rows
    by : column or list of columns that make a patient (with several classes: patient and class)

    Returns
    -------
    DataFrame with the columns of `case`; counts, sizes and surfaces add up and give Dice and the like; distances are
    the mean over the patient's images in which one of the masks is not empty. ``images``: how many there were,
        ``images_one_empty``: how many of them entered the distances with the diagonal.
    """
    by = [by] if isinstance(by, str) else list(by)
    rows = cases.groupby(by, sort=False, dropna=False)
    far = [c for c in cases if _base(c) in DISTANCES]
    adding = [c for c in cases if c in COUNTS or _base(c) in SIZES]
    out = rows[adding].sum(min_count=1)
    seen = cases[far].where(~cases["both_empty"].astype(bool))
    mean = seen.groupby([cases[c] for c in by], sort=False, dropna=False).mean()
    out[far] = mean.fillna(rows[far].min())[far]  # 0 where all were empty
    empty = (out["tp"] + out["fn"] == 0, out["tp"] + out["fp"] == 0)
    out = out.assign(both_empty=empty[0] & empty[1], one_empty=empty[0] ^ empty[1], images=rows.size(),
                     images_one_empty=rows["one_empty"].sum())
    return _ratios(out).reset_index()


def _base(column):
    return column.rsplit("_", 1)[0] if column.rsplit("_", 1)[-1] in ("mm", "px", "ml", "mm2") else column


def summary(table, by="patient_id", measures=None, n_bootstrap=2000, seed=0, level=0.95) -> pd.DataFrame:
    """Mean (of distances and sizes the median) with a patient bootstrap interval.

    Parameters
    ----------
    table : DataFrame of `case` rows, per image or (from `pool`) per patient
    by : column of the patients, who are drawn with all their images
    measures : columns; default: those that `case` makes

    Returns
    -------
    DataFrame indexed by measure: value, low, high, statistic ("mean" or "median"), median, n (rows), n_patients,
    undefined (rows without a value), both_empty, one_empty (rows). The lower limit of a mean reckons with one failure
    more than there was. No interval (NaN) with fewer than 3 patients or where all values agree.
    """
    if not len(table):
        raise ValueError("no cases to summarise: is the split empty?")
    usual = (*OVERLAP, *MEDIANS, "dice_if_any")
    measures = [c for c in table if _base(c) in usual] if measures is None else list(measures)
    rows = {}
    for name in measures:
        good = table[table[name].notna()]
        statistic = "median" if _base(name) in MEDIANS else "mean"
        value, low, high = estimate(good[name].to_numpy(float), good[by], statistic, n_bootstrap, seed, level,
                                    lowest=0.0)  # every measure that is averaged lies in 0..1
        rows[name] = {"value": value, "low": low, "high": high, "statistic": statistic,
                      "median": good[name].median(), "n": len(good), "n_patients": good[by].nunique(),
                      "undefined": len(table) - len(good), "both_empty": int(table["both_empty"].sum()),
                      "one_empty": int(table["one_empty"].sum())}
    return pd.DataFrame.from_dict(rows, orient="index")


def paired(a, b, patients=None, n_bootstrap=2000, seed=0, level=0.95) -> dict[str, float]:
    """Difference of one measure between two methods on the same images.

    Parameters
    ----------
    a, b : (n,) values per image (or per patient); patients : (n,), None = each row is its own

    Returns
    -------
    dict: value (mean of a minus b over the rows), low, high (patient bootstrap), median (of the patients' mean
    differences), p (Wilcoxon signed-rank test of these, two-sided), smallest_p (what that many patients can reach at
    best), n, n_patients, better (patients where a is higher), undefined (rows left out because one of the two has no
    value). The interval is about the mean, the test about the middle: with few large differences they may disagree.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    patients = pd.Series(np.arange(len(a)) if patients is None else np.asarray(patients))
    if not len(a) == len(b) == len(patients):
        raise ValueError(f"{len(a)} values against {len(b)} for {len(patients)} patients: expected one each per image")
    good = np.isfinite(a) & np.isfinite(b)
    d, who = (a - b)[good], patients[good].to_numpy()
    value, low, high = estimate(d, who, "mean", n_bootstrap, seed, level)
    each = pd.Series(d).groupby(who).mean().to_numpy()
    p = stats.wilcoxon(each).pvalue if (np.abs(each) > 1e-12).any() else 1.0 if len(each) else np.nan
    middle = float(np.median(each)) if len(each) else np.nan
    return {"value": value, "low": low, "high": high, "median": middle, "p": float(p),
            "smallest_p": min(1.0, 2.0 ** (1 - int((np.abs(each) > 1e-12).sum()))), "n": len(d),
            "n_patients": len(each), "better": int((each > 1e-12).sum()), "undefined": int((~good).sum())}


def per_class(cases: pd.DataFrame, classes: list, method: str = "U-Net", **options) -> dict:
    """`summary` of the measures of `SHOWN` that are defined, for each class: dict class -> table."""
    found = {}
    for name in classes:
        rows = cases[(cases["method"] == method) & (cases["class"] == name)]
        found[name] = summary(rows, measures=[c for c in SHOWN if c in rows and rows[c].notna().any()], **options)
    return found


def written(table: pd.DataFrame) -> pd.Series:
    """A table of `summary` as text, "0.812 (0.755 to 0.860)", by the measure's name; distances with one digit."""
    far = table.index.str[-3:].isin(["_mm", "_px"])
    names = [NAMES.get(_base(c), _base(c)) + (f", {c[-2:]}" if f else "") for c, f in zip(table.index, far,
                                                                                          strict=True)]
    text = metrics.written(table).where(~far, metrics.written(table, 1))
    return (text + np.where(table["statistic"] == "median", " median", "")).set_axis(names)


def side_by_side(tables: dict) -> pd.DataFrame:
    """Tables of `per_class` as text, a column for each class and way of counting.

    Parameters
    ----------
    tables : what was counted -> result of `per_class`
    """
    classes = next(iter(tables.values()))
    return pd.DataFrame({f"{c}: {how}": written(table[c]) for c in classes for how, table in tables.items()}).fillna("")


def dice_of_each(by_patient: pd.DataFrame, methods: list) -> pd.DataFrame:
    """Dice of each patient who has something, (patients, methods): the mean of the classes that the patient has.

    A patient without anything, in whom nothing was called, would count as 1; `empties` counts them. Where nobody has
    anything all are taken.
    """
    each = by_patient.groupby(["patient_id", "method"], sort=False)[["dice", "dice_if_any"]].mean()
    column = "dice_if_any" if each["dice_if_any"].notna().any() else "dice"
    return each[column].unstack()[list(methods)].dropna(how="all")


def empties(by_patient: pd.DataFrame, methods: list) -> pd.DataFrame:
    """Something or nothing: shares of patients with exact intervals, indexed by method and question.

    Parameters
    ----------
    by_patient : rows of `pool` per patient, method and class; a patient has something in any class

    Returns
    -------
    DataFrame: value, low, high, n. ``found``: any pixel called where there is something (not only in its place);
    ``left empty``: none called where there is nothing.
    """
    rows = []
    each = by_patient.groupby(["method", "patient_id"])[["tp", "fp", "fn"]].sum()
    for method in methods:
        one, there = each.loc[method], each.loc[method].eval("tp + fn > 0")
        called = one.eval("tp + fp > 0")
        for question, right in (("found", called[there]), ("left empty", ~called[~there])):
            low, high = intervals.exact_interval(right.mean(), len(right)) if len(right) else (np.nan, np.nan)
            rows.append({"method": method, "question": question, "value": right.mean() if len(right) else np.nan,
                         "low": low, "high": high, "n": len(right)})
    return pd.DataFrame(rows).set_index(["method", "question"])


def empties_written(table: pd.DataFrame, who: str = "patients") -> pd.DataFrame:
    """The table of `empties` as text, a row per method."""
    text = (metrics.written(table) + " of " + table["n"].astype(str)).where(table["n"] > 0, "-").unstack()
    return text.rename(columns={"found": f"{who} with something: something called",
                                "left empty": f"{who} with nothing: nothing called"}).rename_axis(None, axis=1)


def by_method(each: pd.DataFrame, **options) -> pd.DataFrame:
    """`summary` of one measure of several methods, indexed by method.

    Parameters
    ----------
    each : a row per patient (the index), a column per method
    """
    rows = each.assign(both_empty=False, one_empty=False).rename_axis("patient_id").reset_index()
    return summary(rows, measures=list(each), **options)


def in_words(overall: pd.DataFrame, who: str = "patients") -> str:
    """A line for each method of `by_method`: mean with interval, median, how many."""
    text = metrics.written(overall)
    return "\n".join(f"{method}: Dice per {who[:-1]} {text[method]}"
                     + (f", median {one['median']:.3f}, n = {one['n']:.0f}" if one["n"] else " (nothing is marked)")
                     for method, one in overall.iterrows())


def gain_in_words(gain: dict, first: str, second: str, who: str = "patients") -> str:
    """What `paired` found, in a sentence."""
    text = metrics.in_words(gain, sign="+")
    p = f"Wilcoxon p = {gain['p']:.2g}" if np.isfinite(gain["p"]) else "no Wilcoxon test"
    return (f"{first} minus {second}, the same {who}: {text}, better in {gain['better']} of {gain['n_patients']}; "
            f"{p} (smallest possible {gain['smallest_p']:.2g})")


def rules_in_words(tolerance: float = 2.0) -> dict:
    """What the scores mean, to be written down before a test part is opened: dict rule -> text."""
    return {"main measure": "Dice of all pixels of a patient together, mean over patients (and classes) with something",
            "both masks empty": "Dice, IoU, surface Dice 1, distances 0; counted and shown",
            "one mask empty": "Dice, IoU, surface Dice 0, distances the diagonal of the image; counted and shown",
            "surface Dice": f"within {tolerance:g} mm ({tolerance:g} px if unknown)"}
