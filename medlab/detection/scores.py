"""Scores of a detector with intervals by resampling patients: average precision, FROC, patients, two detectors.

All tables have one row per number: label ("all": the mean over the classes for average precision, all lesions and
false positives together otherwise), measure, at, value, low, high, undefined (share of the resamples in which it was
undefined), images, patients, lesions, candidates. The three tables that go in are those of `detection.matching.check`;
images without lesions and without candidates count. Scores are sorted once; a resample is a weight per image.

Average precision is the area under the interpolated precision-recall curve at all its points (PASCAL VOC 2010 and
later; COCO samples it at 101). Candidates of equal score enter together. Sensitivity at r false positives per image is
the highest that a threshold with at most r reaches: never above the line that LUNA16's script draws between points.
"""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from medlab.detection import matching
from medlab.statistics import metrics
from medlab.statistics.intervals import enough, exact_interval, left_out, limits, percentiles, weights
from medlab.statistics.measures import ratio

OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5)
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per image; the mean over them is the CPM of LUNA16
BLOCK = 4_000_000  # resamples times thresholds held at a time


def _down(marks, w):
    """Lesions found and false positives from each score on at which a lesion is found.

    Returns
    -------
    hits, false : (g, b), cumulated by falling score; lesions : (b,) all of them; thresholds : (g,)
    """
    lesion, score = marks["lesion"].to_numpy(), marks["score"].to_numpy()
    thresholds = np.unique(score[lesion & np.isfinite(score)])[::-1]
    at, image, shape = np.searchsorted(-thresholds, -score), marks["number"].to_numpy(), (len(thresholds), w.shape[1])

    def sums(rows):
        rows = rows & (at < len(thresholds))  # below the last found lesion nothing is gained
        return np.cumsum(csr_array((np.ones(rows.sum()), (at[rows], image[rows])), shape) @ w.T, axis=0)

    return sums(lesion), sums(~lesion), w[:, image[lesion]].sum(1), thresholds


def _area(marks, w):
    """Average precision, (1, b)."""
    hits, false, lesions, _ = _down(marks, w)
    precision = np.nan_to_num(ratio(hits, hits + false))
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return ratio((np.diff(hits, axis=0, prepend=0) * best).sum(0), lesions)[None]


def sensitivities(marks, w, rates=RATES) -> np.ndarray:
    """Sensitivity at each rate of false positives per image, (rates, b)."""
    hits, false, lesions, _ = _down(marks, w)
    hits = np.vstack([np.zeros_like(lesions), hits])
    last = [(false <= rate * w.sum(1) + 1e-9).sum(0) for rate in rates]
    return np.stack([ratio(hits[n, np.arange(len(w))], lesions) for n in last])


def _resampled(score, who, g, n_bootstrap, seed):
    """Value (k,), resamples (k, b), jackknife values (k, m) of a score that gives (k, rows) for weights (rows, n)."""
    step = max(1, BLOCK // max(1, g))

    def run(w):
        return np.concatenate([score(w[i:i + step]) for i in range(0, len(w), step)], axis=1)

    value = run(np.ones((1, len(who))))[:, 0]
    if who.max() < 1 or not n_bootstrap:
        return value, None, None
    return value, np.concatenate([run(w) for w in weights(who, n_bootstrap, seed)], axis=1), run(left_out(who))


def _limits(value, draws, without, n, units, level):
    """BCa; exact for shares of units, and for n patients where all is found or nothing (all resamples agree)."""
    good = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not enough(good, len(draws)):
        return np.nan, np.nan
    same = np.ptp(good) < 1e-12
    if units:
        size = n if same else value * (1 - value) / good.var()  # effective number, Korn and Graubard 1998
        return exact_interval(value, np.clip(size, 1, units), level)
    if same:
        return exact_interval(float(round(value)), n, level) if value in (0, 1) and n else (np.nan, np.nan)
    return limits(value, draws, without, level)


def table_of(jobs, truth, candidates, who, n_bootstrap, seed, level) -> pd.DataFrame:
    """Jobs are (heads, score, g): dicts label, measure, at for each of the numbers that `score` gives for weights."""
    rows, lesion_at = [], truth["number"].to_numpy()
    for heads, score, g in jobs:
        value, draws, without = _resampled(score, who, g, n_bootstrap, seed)
        for k, head in enumerate(heads):
            units = head.pop("units", None)
            mine, theirs = (of_class(table, head["label"]) for table in (truth, candidates))
            row = head | {"value": value[k], "low": np.nan, "high": np.nan, "undefined": np.nan}
            if draws is not None:
                n = 0 if head["measure"].startswith("false") else len(np.unique(who[lesion_at[mine]]))  # 0: no share
                row["low"], row["high"] = _limits(value[k], draws[k], without[k], n, units, level)
                row["undefined"] = np.isnan(draws[k]).mean()
                parts = [(r["low"], r["high"]) for r in rows[len(rows) - k:] if np.isfinite(r["low"])]
                if parts and head["measure"] == "ap" and 0 < value[k] < 1 and np.ptp(draws[k]) < 1e-12:
                    row["low"], row["high"] = np.mean(parts, axis=0)  # a mean of classes that are all at 0 or 1
            rows.append(row | {"images": len(who), "patients": int(who.max()) + 1, "lesions": int(mine.sum()),
                               "candidates": int(theirs.sum())})
    return pd.DataFrame(rows)


def of_class(table, label) -> np.ndarray:
    return np.full(len(table), True) if label == "all" else (table["label"] == label).to_numpy()


def _labels(truth, candidates):
    return sorted(set(truth["label"]) | set(candidates["label"]))


def prepare(truth, candidates, images) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, pd.DataFrame, list[str]]:
    truth, candidates, who = matching.check(truth, candidates, images)
    if "all" in (labels := _labels(truth, candidates)):
        raise ValueError("a class is called 'all', the name of the row over all classes; rename it")
    return truth, candidates, who, matching.pairs(truth, candidates), labels


def mean_areas(marks, labels, w) -> np.ndarray:
    """Average precision of each label, then its mean over those with lesions; (labels + 1, b)."""
    each = [_area(marks[marks["label"] == label], w) for label in labels]
    with_lesions = [k for k, label in enumerate(labels) if (marks["lesion"] & (marks["label"] == label)).any()]
    mean = np.mean([each[k] for k in with_lesions], axis=0) if with_lesions else np.full((1, len(w)), np.nan)
    return np.concatenate([*each, mean])


def average_precision(truth, candidates, images, overlaps=OVERLAPS, n_bootstrap=2000, seed=0,
                      level=0.95) -> pd.DataFrame:
    """Average precision per class at each overlap, and its mean over the classes (mAP).

    Parameters
    ----------
    truth, candidates, images : see `detection.matching.check`
    overlaps : IoU from which on a candidate matches; each lesion once, second candidates are false positives
    n_bootstrap : resamples of patients (0: no intervals); level : coverage of the intervals

    Returns
    -------
    DataFrame: label (a class, or "all" for the mean over the classes that have lesions), measure "ap", at (IoU),
    value in 0..1 (higher is better), low, high (BCa), undefined, images, patients, lesions, candidates. NaN for a
    class without lesions, which the mean leaves out. Where the value is 1 or 0, the interval is the exact one of a
    proportion of the patients with lesions. Everingham, IJCV 2015; Lin, ECCV 2014.
    """
    truth, candidates, who, near, labels = prepare(truth, candidates, images)
    jobs = []
    for t in overlaps:
        marks = matching.marks(truth, candidates, near, t)
        heads = [{"label": label, "measure": "ap", "at": t} for label in [*labels, "all"]]
        jobs.append((heads, lambda w, marks=marks: mean_areas(marks, labels, w), len(truth)))
    return table_of(jobs, truth, candidates, who, n_bootstrap, seed, level)


def froc(truth, candidates, images, rule="centre", rates=RATES, n_bootstrap=2000, seed=0, level=0.95) -> pd.DataFrame:
    """Sensitivity at each number of false positives per image, and its mean (CPM at the rates of LUNA16).

    Parameters
    ----------
    truth, candidates, images : see `detection.matching.check`
    rule : "centre", the centre of the candidate lies in the box of the lesion, or an overlap (IoU) t. A candidate
        belongs to the lesion it fits best; further candidates on a lesion are neither false positives nor hits.
    rates : false positives per image (a scan, in 3-D) over all images, those without lesions included

    Returns
    -------
    DataFrame: label (a class with its own false positives, or "all": those of all classes under one threshold),
    measure "sensitivity" with at (the rate) and threshold (the lowest score that keeps the rate; inf: none does), and
    measure "cpm"; value in 0..1 (higher is better), low, high (BCa), undefined, images, patients, lesions, candidates.
    NaN for a class without lesions. Bunch, SPIE 1977; Setio, Med Image Anal 2017.
    """
    truth, candidates, who, near, labels = prepare(truth, candidates, images)
    marks, jobs, thresholds = matching.marks(truth, candidates, near, rule, once=False), [], []
    for label in [*labels, "all"]:
        mine = marks[of_class(marks, label)]
        heads = [{"label": label, "measure": "sensitivity", "at": rate} for rate in rates]
        jobs.append(([*heads, {"label": label, "measure": "cpm", "at": np.nan}],
                     lambda w, mine=mine: _with_mean(sensitivities(mine, w, rates)), len(truth)))
        thresholds += [*_thresholds(mine, rates, len(who)), np.nan]
    table = table_of(jobs, truth, candidates, who, n_bootstrap, seed, level)
    table.insert(3, "threshold", thresholds)
    return table


def _with_mean(rows):
    return np.vstack([rows, rows.mean(0)])


def _thresholds(marks, rates, n_images):
    """Per rate the lowest score at which a lesion is found and the false positives still keep the rate."""
    _, false, _, thresholds = _down(marks, np.ones((1, n_images)))
    last = [(false[:, 0] <= rate * n_images + 1e-9).sum() for rate in rates]
    return np.r_[np.inf, thresholds][last]


def difference(truth, first, second, images, measure="ap", at=0.5, label="all", rule="centre", n_bootstrap=2000, seed=0,
               level=0.95) -> dict[str, float]:
    """Paired difference of two detectors on the same images; the same resamples serve both.

    Parameters
    ----------
    first, second : candidates of the two detectors
    measure, at : "ap" with an overlap (label "all": mAP), "sensitivity" with a rate of false positives per image,
        or "cpm" (at is not used); rule : of the FROC measures, as in `froc`

    Returns
    -------
    dict: value (first minus second; above 0 the first is better), low, high (BCa; NaN where they never differ),
    images, patients, lesions
    """
    scores = []
    for candidates in (first, second):
        t, c, who, near, _ = prepare(truth, candidates, images)
        scores.append(_one(t, c, near, measure, at, label, rule))
    value, draws, without = _resampled(lambda w: scores[0](w) - scores[1](w), who, len(t), n_bootstrap, seed)
    low, high = (np.nan, np.nan) if draws is None else _limits(value[0], draws[0], without[0], 0, None, level)
    return {"value": value[0], "low": low, "high": high, "images": len(who),
            "patients": int(who.max()) + 1, "lesions": int(of_class(t, label).sum())}


def _one(truth, candidates, near, measure, at, label, rule):
    """One measure as a function of weights (b, n) that gives (1, b)."""
    if measure not in ("ap", "sensitivity", "cpm"):
        raise ValueError(f"measure is {measure!r}; expected ap, sensitivity or cpm")
    if label != "all" and label not in set(truth["label"]):
        raise ValueError(f"no lesion of class {label!r}; there are {', '.join(sorted(set(truth['label']))) or 'none'}")
    if measure == "ap":
        marks = matching.marks(truth, candidates, near, at)
        labels = sorted(set(truth["label"])) if label == "all" else [label]
        return lambda w: mean_areas(marks, labels, w)[-1:]
    marks = matching.marks(truth, candidates, near, rule, once=False)
    marks = marks[of_class(marks, label)]
    if measure == "sensitivity":
        return lambda w: sensitivities(marks, w, [at])
    return lambda w: _with_mean(sensitivities(marks, w))[-1:]


def froc_band(truth, candidates, images, rule="centre", rates=None, label="all", n_bootstrap=1000, seed=0,
              level=0.95) -> pd.DataFrame:
    """The FROC curve with its pointwise interval (percentiles), for the figure.

    Returns
    -------
    DataFrame: false_positives (per image; default 1/8 to 8 in 49 steps of a logarithmic scale), sensitivity, low, high
    """
    rates = np.geomspace(RATES[0], RATES[-1], 49) if rates is None else np.asarray(rates, float)
    truth, candidates, who, near, _ = prepare(truth, candidates, images)
    marks = matching.marks(truth, candidates, near, rule, once=False)
    marks = marks[of_class(marks, label)]
    value, draws, _ = _resampled(lambda w: sensitivities(marks, w, rates), who, len(truth), n_bootstrap, seed)
    low, high = np.full((2, len(rates)), np.nan) if draws is None else percentiles(draws.T, level)
    return pd.DataFrame({"false_positives": rates, "sensitivity": value, "low": low, "high": high})


def precision_recall(truth, candidates, images, overlap=0.5) -> pd.DataFrame:
    """Precision and recall at each score at which a lesion is found, per class, for the figure.

    Returns
    -------
    DataFrame: label, threshold (falling), recall, precision, interpolated (the highest precision from there on, under
    which the average precision is the area)
    """
    truth, candidates, who, near, labels = prepare(truth, candidates, images)
    marks, parts = matching.marks(truth, candidates, near, overlap), []
    for label in labels:
        hits, false, n, thresholds = _down(marks[of_class(marks, label)], np.ones((1, len(who))))
        precision = (hits / (hits + false))[:, 0]
        best = np.maximum.accumulate(precision[::-1])[::-1]
        parts.append(pd.DataFrame({"label": label, "threshold": thresholds, "recall": hits[:, 0] / max(n[0], 1),
                                   "precision": precision, "interpolated": best}))
    columns = ["label", "threshold", "recall", "precision", "interpolated"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


# ---------------------------------------------------------------- as text

def of_all(table: pd.DataFrame, at: float) -> pd.Series:
    """The row over all classes of `average_precision` at an overlap, or of `froc` at a rate."""
    return table[(table["label"] == "all") & (table["at"] == at)].iloc[0]


def text(row: pd.Series) -> str:
    """A row of a table as "0.912 (0.871 to 0.947)"."""
    return metrics.written(row.to_frame().T).iloc[0]


def as_keys(row: pd.Series, name: str) -> dict:
    """A row of a table as plain keys for JSON: name, name_low, name_high; None where it is not defined."""
    return {name + end: float(row[column]) if np.isfinite(row[column]) else None
            for end, column in (("", "value"), ("_low", "low"), ("_high", "high"))}


def average_precision_written(table: pd.DataFrame, names: list) -> pd.DataFrame:
    """The table of `average_precision` as text, a row per class and a column per overlap."""
    texts = table.assign(text=metrics.written(table)).pivot(index="label", columns="at", values="text")
    texts = texts.reindex([*names, "all"]).rename(columns=lambda at: f"AP at IoU {at}").rename_axis(columns=None)
    return texts.assign(**{"n lesions": table.drop_duplicates("label").set_index("label")["lesions"]})


def froc_written(table: pd.DataFrame, labels: list) -> pd.DataFrame:
    """The table of `froc` as text, a row per class and a column per rate of false alarms, the mean at the end."""
    rows = {}
    for label in labels:
        mine = table[table["label"] == label]
        rates = mine["at"].map("{:g}".format).where(mine["measure"] != "cpm", "mean")
        rows[label] = metrics.written(mine.set_index(rates))
    return pd.DataFrame(rows).T.rename_axis(columns="false alarms per image")


def difference_in_words(found: dict, who: str) -> str:
    """What `difference` found, in half a sentence."""
    return f"the same {who} drawn for both: {metrics.in_words(found, sign='+')}"
