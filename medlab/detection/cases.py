"""What became of each lesion, candidate and patient: outcomes at a threshold, by size, and per patient.

The tables that go in are those of `detection.matching.check`, those that come out are as in `detection.scores`.
A threshold is chosen on other patients (validation), never on those that are counted here.
"""

import numpy as np
import pandas as pd

from medlab.detection import matching
from medlab.detection.scores import of_class, prepare, table_of
from medlab.statistics import metrics
from medlab.statistics.measures import ratio


def _above(candidates, threshold):
    """Candidates at or above a threshold, one number or one for each label."""
    if not isinstance(threshold, dict):
        return (candidates["score"] >= threshold).to_numpy() if len(candidates) else np.empty(0, bool)
    missing = set(candidates["label"]) - set(threshold)
    if missing:
        raise ValueError(f"no threshold for {', '.join(sorted(missing))}; expected one number or one for each class")
    return (candidates["score"] >= candidates["label"].map(threshold)).to_numpy()


def outcomes(truth, candidates, images, threshold, rule="centre") -> tuple[pd.DataFrame, pd.DataFrame]:
    """What became of each lesion and of each candidate at or above a threshold.

    Returns
    -------
    truth : with ``outcome``, "hit" or "miss"
    candidates : those kept, with ``outcome``, "hit" (the surest on its lesion), "second mark" on the same lesion, or
        "false alarm", and ``lesion``, row of truth (-1: none). Parameters as in `froc`, `at_threshold`.
    """
    truth, candidates, _, _, _ = prepare(truth, candidates, images)
    candidates = candidates[_above(candidates, threshold)].reset_index(drop=True)
    lesion = matching.assign(truth, candidates, matching.pairs(truth, candidates), rule, once=False)
    order = np.argsort(-candidates.get("score", pd.Series(dtype=float)).to_numpy(), kind="stable")
    first = order[np.unique(lesion[order], return_index=True)[1]]
    outcome = np.where(lesion < 0, "false alarm", "second mark").astype(object)
    outcome[first[lesion[first] >= 0]] = "hit"
    found = np.isin(np.arange(len(truth)), lesion)
    return truth.assign(outcome=np.where(found, "hit", "miss")), candidates.assign(outcome=outcome, lesion=lesion)


def at_threshold(truth, candidates, images, threshold, rule="centre", n_bootstrap=2000, seed=0,
                 level=0.95) -> pd.DataFrame:
    """Sensitivity, precision and false positives per image at a threshold that was chosen elsewhere.

    Parameters
    ----------
    threshold : number, or dict class -> number; candidates with at least this score count
    truth, candidates, images, rule : as in `froc`

    Returns
    -------
    DataFrame as of `froc`: measures "sensitivity", "precision" (lesions found among these and false positives;
    a second mark is neither), "false_positives" (per image) and "false_positives_free" (per image without any lesion,
    NaN where there is none). Intervals of the shares: exact, with the effective number of lesions (as
    `statistics.metrics`); of the false positives BCa, none where there was not one.
    """
    t, c = outcomes(truth, candidates, images, threshold, rule)
    _, _, who, _, labels = prepare(truth, candidates, images)
    jobs, free = [], ~np.isin(np.arange(len(who)), t["number"])
    for label in [*labels, "all"]:
        lesions = t[of_class(t, label)]
        false = c.loc[of_class(c, label) & (c["outcome"] == "false alarm"), "number"]
        hits = lesions.loc[lesions["outcome"] == "hit", "number"]
        score = _shares(*(rows.to_numpy() for rows in (lesions["number"], hits, false)), free)
        units = {"sensitivity": len(lesions), "precision": (lesions["outcome"] == "hit").sum() + len(false)}
        heads = [{"label": label, "measure": name, "at": np.nan, "units": units.get(name)}
                 for name in ("sensitivity", "precision", "false_positives", "false_positives_free")]
        jobs.append((heads, score, len(lesions) + len(false)))
    return table_of(jobs, t, c, who, n_bootstrap, seed, level)


def written(working: pd.DataFrame, names: list) -> pd.DataFrame:
    """The table of `at_threshold` as text, a row per class."""
    columns = {"sensitivity": "sensitivity", "precision": "precision", "false_positives": "false alarms per image",
               "false_positives_free": "false alarms per image without lesions"}
    table = working.assign(text=metrics.written(working)).pivot(index="label", columns="measure", values="text")
    table = table.reindex([*names, "all"] if len(names) > 1 else ["all"], columns=list(columns)).rename(columns=columns)
    return table.dropna(axis=1, how="all").fillna("-").rename_axis(columns=None)


def _shares(lesions, hits, false, free):
    def score(w):
        n, found, wrong = (w[:, rows].sum(1) for rows in (lesions, hits, false))
        without = ratio(w[:, false[free[false]]].sum(1), w[:, free].sum(1))
        return np.stack([ratio(found, n), ratio(found, found + wrong), wrong / w.sum(1), without])

    return score


def longest_side(table, spacing_mm=None) -> np.ndarray:
    """Longest side of each box, in pixels, or in mm with the spacing: (axes,) for all or (k, axes) in axis order."""
    low, high = np.split(matching.corners(table), 2, axis=1)
    return ((high - low) * (1.0 if spacing_mm is None else np.asarray(spacing_mm, float))).max(axis=1, initial=0)


def length(table: pd.DataFrame) -> tuple[pd.Series, str]:
    """Longest side of each lesion of `lesions.sizes`, and its unit: mm where any spacing is known, else px."""
    if table["longest_mm"].notna().any():
        return table["longest_mm"], "mm"
    return pd.Series(longest_side(table), table.index), "px"


def by_size(truth, candidates, images, sizes, edges, threshold, rule="centre", unit="px", n_bootstrap=2000, seed=0,
            level=0.95) -> pd.DataFrame:
    """Sensitivity by size of the lesion at one threshold; false positives have no true size and are not divided.

    Parameters
    ----------
    sizes : (n_truth,) of the rows of truth (`longest_side`); NaN = unknown, a class of its own
    edges : increasing, [e0, e1) is the first class; below the first and from the last on are classes too
    unit : "mm" or "px", for the names

    Returns
    -------
    DataFrame as of `froc`, label = the class of size; exact intervals (as `at_threshold`), low to high in size.
    """
    sizes, edges = np.asarray(sizes, float), np.asarray(edges, float)
    if len(sizes) != len(truth) or len(edges) == 0 or (np.diff(edges) <= 0).any():
        raise ValueError(f"{len(sizes)} sizes for {len(truth)} lesions, edges {edges.tolist()}: expected one size for "
                         "each lesion and increasing edges")
    t, c = outcomes(truth, candidates, images, threshold, rule)
    who, names = prepare(truth, candidates, images)[2], _size_names(edges, unit)
    t["label"] = np.array([*names, "size unknown"])[np.where(np.isnan(sizes), -1, np.digitize(sizes, edges))]
    jobs = []
    for label in [name for name in [*names, "size unknown"] if (t["label"] == name).any()] + ["all"]:
        mine = t[of_class(t, label)]
        every, hits = mine["number"].to_numpy(), mine.loc[mine["outcome"] == "hit", "number"].to_numpy()
        jobs.append(([{"label": label, "measure": "sensitivity", "at": np.nan, "units": len(mine)}],
                     lambda w, every=every, hits=hits: ratio(w[:, hits].sum(1), w[:, every].sum(1))[None], len(mine)))
    return table_of(jobs, t, c, who, n_bootstrap, seed, level).drop(columns="candidates")


def _size_names(edges, unit):
    inner = [f"{a:g} to {b:g} {unit}" for a, b in zip(edges, edges[1:], strict=False)]
    return [f"below {edges[0]:g} {unit}", *inner, f"{edges[-1]:g} {unit} and more"]


def worth_a_look(truth: pd.DataFrame, candidates: pd.DataFrame, n_images: int, seed: int = 0, each: int = 3) -> dict:
    """Images with hits and little else, with the most misses, with the most false alarms, then others.

    Parameters
    ----------
    truth, candidates : of `outcomes`
    each : of every kind at most so many

    Returns
    -------
    dict of number of the image to the kind it stands for (hit, miss, false alarm, other); an image comes once.
    """
    hit, miss, alarm = (np.bincount(table.loc[table["outcome"] == what, "number"], minlength=n_images)
                        for table, what in ((truth, "hit"), (truth, "miss"), (candidates, "false alarm")))
    found = {}
    for kind, there, rank in (("hit", hit, hit - 2 * miss - alarm), ("miss", miss, miss),
                              ("false alarm", alarm, alarm)):
        order = [i for i in np.argsort(-rank, kind="stable") if there[i] and i not in found]
        found |= dict.fromkeys(map(int, order[:each]), kind)
    others = [int(i) for i in np.random.default_rng(seed).permutation(n_images) if i not in found]
    return found | dict.fromkeys(others[:each], "other")


def per_patient(truth, candidates, images) -> pd.DataFrame:
    """One row per patient: images, lesions, candidates and the highest score (-inf: no candidate), per class and "all".

    Returns
    -------
    DataFrame: patient_id, label, images, lesions, candidates, score; patients in the order of ``images``.
    """
    truth, candidates, who, _, labels = prepare(truth, candidates, images)
    names, parts = pd.unique(images["patient_id"]), []
    for label in [*labels, "all"]:
        t, c = truth[of_class(truth, label)], candidates[of_class(candidates, label)]
        best = np.full(len(names), -np.inf)
        np.maximum.at(best, who[c["number"]], c.get("score", pd.Series(dtype=float)).to_numpy(float))
        counts = {"images": who, "lesions": who[t["number"]], "candidates": who[c["number"]]}
        counts = {name: np.bincount(rows, minlength=len(names)) for name, rows in counts.items()}
        parts.append(pd.DataFrame({"patient_id": names, "label": label, **counts, "score": best}))
    return pd.concat(parts, ignore_index=True)


def patient_level(truth, candidates, images, n_bootstrap=2000, seed=0, level=0.95) -> pd.DataFrame:
    """Does the highest score of a patient tell who has any lesion? AUC per class and over all.

    Returns
    -------
    DataFrame: label, measure "auc", value (0.5 is chance), low, high, patients, with_lesion, without_lesion, note
    ("" or why the AUC is not defined). A patient without candidates ranks below all others.
    """
    table, rows = per_patient(truth, candidates, images), []
    for label in table["label"].unique():
        mine = table[table["label"] == label]
        ill = (mine["lesions"] > 0).to_numpy().astype(int)
        row = {"label": label, "measure": "auc", "value": np.nan, "low": np.nan, "high": np.nan, "undefined": np.nan,
               "patients": len(ill), "with_lesion": ill.sum(), "without_lesion": (1 - ill).sum(), "note": ""}
        if 0 < ill.sum() < len(ill):
            rank = mine["score"].rank().to_numpy() / len(ill)  # only ranks matter; medlab.statistics.metrics wants 0..1
            row |= metrics.scores(ill, rank, None, n_bootstrap=n_bootstrap, seed=seed, level=level).loc["auc"].to_dict()
        else:
            row["note"] = f"AUC not defined: {'every' if ill.all() else 'no'} patient has a lesion"
        rows.append(row)
    return pd.DataFrame(rows)
