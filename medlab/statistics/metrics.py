"""How sure one can be of a measure: patient bootstrap, exact intervals, baselines.

**Patients** are drawn, never images: the images of one patient are not independent. Classes are not held
fixed in the drawing, because the class mix of a test set is as much a matter of chance as its patients;
resamples in which a measure is undefined (no case of a class) are left out and counted.
"""

import numpy as np
import pandas as pd

from medlab.statistics.intervals import (
    auc_interval,
    exact_interval,
    jackknife,
    left_out,
    limits,
    percentiles,
    weights,
)
from medlab.statistics.measures import NAMES, check, from_confusion, measure

LEAST_CASES = 5  # patients of the rarest class below which AUCs are not compared
PROPORTIONS = ("accuracy", "recall", "specificity", "precision", "npv")


def value_of(y, p, **options) -> dict[str, float]:
    return {name: v[0] for name, v in measure(y, p, np.ones((1, len(y))), **options).items()}


def _resampled(y, p, who, n_bootstrap, seed, **options):
    blocks = [measure(y, p, w, **options) for w in weights(who, n_bootstrap, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _denominators(y, called, who):
    """Per proportion of a binary decision: images and patients it is a share of."""
    rows = (y >= 0, y == 1, y == 0, called == 1, called == 0)
    return {name: (int(r.sum()), len(np.unique(who[r]))) for name, r in zip(PROPORTIONS, rows, strict=True)}


def _all_right(y, who, k, level):
    """Confusion matrix at the exact lower limits of all recalls: the low end when no decision was wrong."""
    n = np.array([len(np.unique(who[y == c])) for c in range(k)], float)
    low = np.array([exact_interval(1.0, size, level)[0] if size else 1.0 for size in n])
    other = np.where(np.eye(k, dtype=bool), 0, n)
    other = other / np.maximum(other.sum(1, keepdims=True), 1)
    return (np.diag(n * low) + (n * (1 - low))[:, None] * other)[None]


def _interval(name, value, draws, without, shares, level):
    """Exact for proportions, BCa for the rest; none for the ECE, whose resamples all lie too high."""
    good = draws[np.isfinite(draws)]
    if name in shares:
        n, m = shares[name]
        if not n or not np.isfinite(value):
            return np.nan, np.nan
        size = value * (1 - value) / good.var() if 0 < value < 1 and good.var() > 0 else m
        return exact_interval(value, np.clip(size, 1, n), level)
    return (np.nan, np.nan) if name == "ece" else limits(value, draws, without, level)


def scores(y, p, patients=None, head="binary", threshold=0.5, n_bootstrap=2000, seed=0, level=0.95,
           predicted=None) -> pd.DataFrame:
    """All measures with their intervals.

    Parameters
    ----------
    y, p, patients, head : see `statistics.measures.check`; threshold, predicted : see `statistics.measures.measure`
    n_bootstrap : resamples of patients; level : coverage of the intervals

    Returns
    -------
    DataFrame indexed by measure: value, low, high, undefined (share of resamples in which it was undefined).
    No interval (NaN) with fewer than two patients, or where more than 5 % of the resamples are undefined.
    """
    y, p, who = check(y, p, patients, head)
    if not len(y):
        raise ValueError("no images to evaluate: is the split empty?")
    options = {"head": head, "threshold": threshold, "predicted": predicted}
    table = pd.DataFrame({"value": value_of(y, p, **options)})
    table[["low", "high", "undefined"]] = np.nan
    if who.max() < 1 or not n_bootstrap:
        return table
    draws = _resampled(y, p, who, n_bootstrap, seed, **options)
    without = measure(y, p, left_out(who), **options)
    shares = {} if head == "multilabel" else {"accuracy": (len(y), int(who.max()) + 1)}
    if head == "binary":
        shares = _denominators(y, p >= threshold if predicted is None else predicted, who)
    for name, value in table["value"].items():
        ends = _interval(name, value, draws[name], without[name], shares, level)
        table.loc[name, ["low", "high", "undefined"]] = *ends, np.isnan(draws[name]).mean()
    return _at_the_end(table, y, p, who, head, level)


def _at_the_end(table, y, p, who, head, level):
    """Fill the intervals of a perfect result, which no resample can contradict."""
    table.loc[table["low"].isna() & (table["value"] == 1), "high"] = 1.0
    if head == "multilabel":
        return table
    k = 2 if head == "binary" else p.shape[1]
    if table.at["auc", "value"] == 1:
        sizes = [(len(np.unique(who[y == c])), len(np.unique(who[y != c]))) for c in np.unique(y)]
        low = np.mean([auc_interval(1.0, *size, level)[0] for size in sizes])
        table.loc["auc", ["low", "high"]] = low, 1.0
    if table.at["accuracy", "value"] == 1 and len(np.unique(y)) > 1:
        worst = from_confusion(_all_right(y, who, k, level), np.unique(y))
        for name in set(worst) & set(table.index[table["low"].isna()]):
            table.loc[name, ["low", "high"]] = worst[name][0], 1.0
    return table


def difference(y, p, q, patients=None, name="auc", level=0.95, **options) -> dict[str, float]:
    """Paired difference of one measure between two sets of probabilities for the same images.

    Parameters
    ----------
    y, p, q, patients : see `statistics.measures.check`; options : of `statistics.measures.measure`

    Returns
    -------
    dict: value (of p minus of q), low, high (`statistics.intervals.jackknife`, patients left out in turn); of an AUC
    none with fewer than `LEAST_CASES` patients of a class, and within -1 to 1
    """
    head = options.get("head", "binary")
    y, p, who = check(y, p, patients, head)
    q = check(y, q, None, head)[1]

    def gain(w):
        return measure(y, p, w, **options)[name] - measure(y, q, w, **options)[name]

    value, ends = float(gain(np.ones((1, len(y))))[0]), (np.nan, np.nan)
    if name != "auc" or _rarest(y, who, head) >= LEAST_CASES:
        ends = jackknife(value, gain(left_out(who)), level, 1 if name == "auc" else np.inf)
    return dict(zip(("value", "low", "high"), (value, *ends), strict=True))


def _rarest(y, who, head):
    """Patients of the rarest class that occurs; of several labels of the rarest side of one that has two."""
    sides = [y == k for k in np.unique(y)]
    if head == "multilabel":
        sides = [part == side for part in y.T if {0, 1} <= set(part) for side in (0, 1)]
    return min((len(np.unique(who[rows])) for rows in sides), default=0)


def roc_band(y, p, patients=None, n_bootstrap=1000, seed=0, level=0.95) -> pd.DataFrame:
    """Pointwise interval of the sensitivity at each false-positive rate, for the ROC figure.

    Returns
    -------
    DataFrame: false_positive_rate (grid of 101), low, high.
    """
    y, p, who = check(y, p, patients)
    order, grid, curves = np.argsort(-p, kind="stable"), np.linspace(0, 1, 101), []
    last = np.r_[np.diff(p[order]) < 0, True]  # ties move together
    for w in weights(who, n_bootstrap, seed):
        hits, false = (np.cumsum(w[:, order] * part[order], axis=1) for part in (y, 1 - y))
        good = (hits[:, -1] > 0) & (false[:, -1] > 0)
        curves += [np.interp(grid, np.r_[0, f[last] / f[-1]], np.r_[0, h[last] / h[-1]])
                   for h, f in zip(hits[good], false[good], strict=True)]
    low, high = percentiles(curves, level)
    return pd.DataFrame({"false_positive_rate": grid, "low": low, "high": high})


def per_class(y, p, patients, head, names, n_bootstrap=2000, seed=0) -> dict[str, pd.DataFrame]:
    """Each class against the rest (calls: the most probable class), each label on its own.

    Returns
    -------
    dict name -> table of `scores`; classes without a case are left out.
    """
    y, p, who = check(y, p, patients, head)
    found = {}
    for k, name in enumerate(names):
        rows = np.flatnonzero(~np.isnan(y[:, k])) if head == "multilabel" else np.arange(len(y))
        is_it = (y[rows, k] if head == "multilabel" else y == k).astype(int)
        called = None if head == "multilabel" else (p.argmax(1) == k).astype(int)
        if is_it.any():
            found[name] = scores(is_it, p[rows, k], who[rows], "binary", 0.5, n_bootstrap, seed, predicted=called)
    return found


def flat(table, prefix="") -> dict[str, float]:
    """The table of `scores` as plain keys for a JSON file: auc, auc_low, auc_high, ..."""
    return {prefix + name + end: row[column] for name, row in table.iterrows()
            for end, column in (("", "value"), ("_low", "low"), ("_high", "high"))}


def written(table, digits=3) -> pd.Series:
    """The table of `scores` as text (`in_words`), row by row."""
    return pd.Series([in_words(one, digits) for _, one in table.iterrows()], table.index, object)


def in_words(one, digits=3, sign="") -> str:
    """A value with its interval: "0.912 (0.871 to 0.947)"; "0.912 (no interval)"; "not defined".

    Parameters
    ----------
    one : mapping with value, low, high; sign : "+" for differences
    """
    value, low, high = (f"{one[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    if not np.isfinite(one["value"]):
        return "not defined"
    return f"{value} ({low} to {high})" if np.isfinite([one["low"], one["high"]]).all() else f"{value} (no interval)"


def beside(table, others: dict, name="95 % interval") -> pd.DataFrame:
    """The table of `scores` as text beside other values of the same measures, as a table to read.

    Parameters
    ----------
    others : dict title -> Series of values by measure, or a table of `scores`; name : title of the first column
    """
    shown = {name: written(table)} | {title: written(one) if isinstance(one, pd.DataFrame) else one.round(3)
                                      for title, one in others.items()}
    return pd.DataFrame(shown).loc[table.index].rename(NAMES).fillna("-")


def class_table(per_class: dict, counts) -> pd.DataFrame:
    """The tables of `per_class` as one table to read; counts : dict or Series class -> images."""
    keep = ["auc", "average_precision", "recall", "specificity", "precision", "f1"]
    texts = {f"{name} (n = {counts[name]})": written(one).loc[keep] for name, one in per_class.items()}
    return pd.DataFrame(texts).T.rename(columns=NAMES)
