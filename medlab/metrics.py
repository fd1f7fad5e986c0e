"""How sure one can be of a measure: patient bootstrap, exact intervals, baselines.

**Patients** are drawn, never images: the images of one patient are not independent. Classes are not held
fixed in the drawing, because the class mix of a test set is as much a matter of chance as its patients;
resamples in which a measure is undefined (no case of a class) are left out and counted.

Intervals are BCa (Efron 1987). In simulations with 40 patients and an AUC of 0.95 the nominal 95 % interval
held the truth in 87 % (percentile) and 93 % (BCa) of the data sets; from 200 patients on the two agree.
Proportions have an exact interval (Clopper and Pearson 1934) with the effective number of patients of Korn
and Graubard (1998), so that 12 of 12 gives 0.74 to 1 and not 1 to 1; an AUC of 1 has the limit of Hanley and
McNeil's variance, inverted (Newcombe 2006).
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import beta, norm

from medlab.measures import check, from_confusion, measure

PROPORTIONS = ("accuracy", "recall", "specificity", "precision", "npv")
MOST_UNDEFINED = 0.05  # share of undefined resamples above which no interval is given
MOST_GROUPS = 200  # groups of patients left out in turn for the acceleration of BCa


def weights(patients, n_bootstrap=2000, seed=0):
    """Bootstrap resamples of patients, in blocks: how often each image is drawn.

    Parameters
    ----------
    patients : (n,) int numbers 0..m-1

    Yields
    ------
    (b, n) float; the blocks together have n_bootstrap rows. All images of a patient have one weight.
    """
    rng, m = np.random.default_rng(seed), int(patients.max()) + 1
    block = max(1, 1_000_000 // len(patients))
    for start in range(0, n_bootstrap, block):
        b = min(block, n_bootstrap - start)
        drawn = rng.integers(0, m, (b, m)) + np.arange(b)[:, None] * m
        yield np.bincount(drawn.ravel(), minlength=b * m).reshape(b, m)[:, patients].astype(float)


def _left_out(patients):
    """Weights with one group of patients left out at a time: (g, n)."""
    m = int(patients.max()) + 1
    group = np.random.default_rng(0).permutation(m) % min(m, MOST_GROUPS)
    return (group[patients] != np.arange(min(m, MOST_GROUPS))[:, None]).astype(float)


def bca(value, draws, left_out, level=0.95):
    """Bias-corrected and accelerated bootstrap interval (Efron, JASA 1987).

    Parameters
    ----------
    value : the estimate; draws : (b,) its bootstrap resamples; left_out : (g,) its jackknife values

    Returns
    -------
    low, high; NaN, NaN where the resamples lie all on one side of the estimate.
    """
    z = norm.ppf([(1 - level) / 2, (1 + level) / 2])
    z0 = norm.ppf((np.mean(draws < value) + np.mean(draws <= value)) / 2)
    d = left_out[np.isfinite(left_out)]
    d = d.mean() - d if len(d) else np.zeros(1)
    spread = (d**2).sum() ** 1.5
    a = (d**3).sum() / (6 * spread) if spread > 0 else 0.0
    at = norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
    return tuple(np.quantile(draws, at)) if np.isfinite(at).all() else (np.nan, np.nan)


def exact_interval(share, n, level=0.95):
    """Clopper-Pearson interval of a proportion; n need not be whole (Korn and Graubard 1998)."""
    hits, tail = share * n, (1 - level) / 2
    low = beta.ppf(tail, hits, n - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(1 - tail, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def auc_interval(auc, n_positive, n_negative, level=0.95):
    """Interval of an AUC from Hanley and McNeil's variance at its ends (Newcombe, Stat Med 2006, method 5).

    Serves where all resamples agree: with an AUC of 1 the low end is well below 1.
    """
    z, extra = norm.ppf((1 + level) / 2), (n_positive + n_negative) / 2 - 1

    def off(a):
        variance = a * (1 - a) * (1 + extra * ((1 - a) / (2 - a) + a / (1 + a))) / (n_positive * n_negative)
        return (auc - a) ** 2 - z**2 * variance

    low = brentq(off, 1e-12, auc - 1e-9) if auc > 1e-6 else 0.0
    high = brentq(off, auc + 1e-9, 1 - 1e-12) if auc < 1 - 1e-6 else 1.0
    return low, high


def _value(y, p, **options):
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


def _interval(name, value, draws, left_out, shares, level):
    """Exact for proportions, reflected for the ECE (its resamples lie too high), BCa for the rest."""
    good = draws[np.isfinite(draws)]
    if name in shares:
        n, m = shares[name]
        if not n or not np.isfinite(value):
            return np.nan, np.nan
        size = value * (1 - value) / good.var() if 0 < value < 1 and good.var() > 0 else m
        return exact_interval(value, np.clip(size, 1, n), level)
    if not np.isfinite(value) or len(good) < (1 - MOST_UNDEFINED) * len(draws) or np.ptp(good) < 1e-12:
        return np.nan, np.nan
    if name == "ece":
        return tuple(np.clip(2 * value - np.quantile(good, [(1 + level) / 2, (1 - level) / 2]), 0, 1))
    return bca(value, good, left_out, level)


def scores(y, p, patients=None, head="binary", threshold=0.5, n_bootstrap=2000, seed=0, level=0.95,
           predicted=None):
    """All measures with their intervals.

    Parameters
    ----------
    y, p, patients, head : see `medlab.measures.check`; threshold, predicted : see `medlab.measures.measure`
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
    table = pd.DataFrame({"value": _value(y, p, **options)})
    table[["low", "high", "undefined"]] = np.nan
    if who.max() < 1 or not n_bootstrap:
        return table
    draws = _resampled(y, p, who, n_bootstrap, seed, **options)
    left_out = measure(y, p, _left_out(who), **options)
    shares = {} if head == "multilabel" else {"accuracy": (len(y), int(who.max()) + 1)}
    if head == "binary":
        shares = _denominators(y, p >= threshold if predicted is None else predicted, who)
    for name, value in table["value"].items():
        limits = _interval(name, value, draws[name], left_out[name], shares, level)
        table.loc[name, ["low", "high", "undefined"]] = *limits, np.isnan(draws[name]).mean()
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


def difference(y, p, q, patients=None, name="auc", n_bootstrap=2000, seed=0, level=0.95, **options):
    """Paired difference of one measure between two sets of probabilities for the same images.

    Returns
    -------
    dict: value (of p minus of q), low, high. The same resamples serve both, so the pairing is kept.
    """
    y, p, who = check(y, p, patients, options.get("head", "binary"))
    q = check(y, q, None, options.get("head", "binary"))[1]

    def gain(w):
        return measure(y, p, w, **options)[name] - measure(y, q, w, **options)[name]

    value = gain(np.ones((1, len(y))))[0]
    draws = np.concatenate([gain(w) for w in weights(who, n_bootstrap, seed)])
    low, high = _interval("difference", value, draws, gain(_left_out(who)), {}, level)
    return {"value": value, "low": low, "high": high}


def roc_band(y, p, patients=None, n_bootstrap=1000, seed=0, level=0.95):
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
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return pd.DataFrame({"false_positive_rate": grid, "low": low, "high": high})


def trivial(y, y_train, head="binary", n_classes=None, threshold=0.5):
    """The measures of an answer that looks at nothing: always the class frequencies of the training patients.

    Parameters
    ----------
    y : outcomes of the evaluated images; y_train : outcomes of the training images (as `measures.check`)

    Returns
    -------
    Series by measure. AUC 0.5, average precision = share of positives, accuracy = share of the class most
    frequent in training. F1 (binary) is that of calling everything positive, better than everything negative.
    """
    y, y_train = np.asarray(y), np.asarray(y_train)
    if head == "multilabel":
        constant = np.nanmean(y_train, axis=0)
    elif head == "binary":
        constant = np.mean(y_train == 1)
    else:
        constant = np.bincount(y_train.astype(int), minlength=n_classes) / len(y_train)
    p = np.broadcast_to(constant, (len(y), *np.shape(constant)))
    y, p, _ = check(y, p, None, head)
    values = pd.Series(_value(y, p, head=head, threshold=threshold))
    if head == "binary":
        values["f1"] = 2 * y.mean() / (1 + y.mean())
    return values


def flat(table, prefix=""):
    """The table of `scores` as plain keys for a JSON file: auc, auc_low, auc_high, ..."""
    return {prefix + name + end: row[column] for name, row in table.iterrows()
            for end, column in (("", "value"), ("_low", "low"), ("_high", "high"))}


def written(table, digits=3):
    """The table of `scores` as text: "0.912 (0.871 to 0.947)"; without an interval where there is none."""
    def one(row):
        if not np.isfinite(row["value"]):
            return "not defined"
        if not np.isfinite([row["low"], row["high"]]).all():
            return f"{row['value']:.{digits}f} (no interval)"
        return f"{row['value']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"

    return table.apply(one, axis=1)
