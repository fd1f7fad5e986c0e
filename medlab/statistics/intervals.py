"""Intervals: the patient bootstrap, the jackknife for paired differences and, where neither can help, exact ones.

Intervals are BCa (Efron 1987); how often each kind holds the truth stands in docs/results.md (tests/benchmarks/
coverage.py).
Proportions have an exact interval (Clopper and Pearson 1934) with the effective number of patients of Korn
and Graubard (1998), so that 12 of 12 gives 0.74 to 1 and not 1 to 1; an AUC of 1 has the limit of Hanley and
McNeil's variance, inverted (Newcombe 2006).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm, t

MOST_GROUPS = 200  # groups of patients left out in turn for the acceleration of BCa
MOST_UNDEFINED = 0.05  # share of undefined resamples above which no interval is given


def weights(patients, n_bootstrap=2000, seed=0) -> Iterator[np.ndarray]:
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


def left_out(patients) -> np.ndarray:
    """Weights with one group of patients left out at a time: (g, n)."""
    m = int(patients.max()) + 1
    group = np.random.default_rng(0).permutation(m) % min(m, MOST_GROUPS)
    return (group[patients] != np.arange(min(m, MOST_GROUPS))[:, None]).astype(float)


def tails(level=0.95) -> list:
    """The two shares beyond which an interval of this level ends."""
    return [(1 - level) / 2, (1 + level) / 2]


def enough(draws, n) -> bool:
    """Whether so many of n resamples are left that they give an interval (`MOST_UNDEFINED`)."""
    return len(draws) >= max(1, (1 - MOST_UNDEFINED) * n)


def percentiles(draws, level=0.95, method="linear") -> tuple:
    """Percentile limits from resamples.

    Parameters
    ----------
    draws : (b,), or (b, ...) for several numbers; a resample in which one is undefined (NaN) is left out
    method : of `numpy.quantile`; ``inverted_cdf`` where draws may be infinite

    Returns
    -------
    low, high : float or arrays (...); NaN where more than 5 % of the resamples are undefined
    """
    draws = np.asarray(draws, float)
    good = draws[~np.isnan(draws).any(axis=tuple(range(1, draws.ndim)))]
    if not enough(good, len(draws)):
        return np.full(draws.shape[1:], np.nan)[()], np.full(draws.shape[1:], np.nan)[()]
    return tuple(np.quantile(good, tails(level), axis=0, method=method))


def limits(value, draws, without, level=0.95) -> tuple:
    """Limits of a statistic that may be undefined in some resamples: BCa of the others (`bca`).

    Returns
    -------
    low, high; NaN, NaN where the value or more than 5 % of the resamples are undefined, or all of them agree
    """
    good = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not enough(good, len(draws)) or np.ptp(good) < 1e-12:
        return np.nan, np.nan
    return bca(value, good, without, level)


def bca(value, draws, without, level=0.95) -> tuple:
    """Bias-corrected and accelerated bootstrap interval (Efron, JASA 1987).

    Parameters
    ----------
    value : the estimate; draws : (b,) its bootstrap resamples; without : (g,) its jackknife values

    Returns
    -------
    low, high; NaN, NaN where the resamples lie all on one side of the estimate.
    """
    z = norm.ppf(tails(level))
    z0 = norm.ppf((np.mean(draws < value) + np.mean(draws <= value)) / 2)
    d = without[np.isfinite(without)]
    d = d.mean() - d if len(d) else np.zeros(1)
    spread = (d**2).sum() ** 1.5
    a = (d**3).sum() / (6 * spread) if spread > 0 else 0.0
    at = norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
    return tuple(np.quantile(draws, at)) if np.isfinite(at).all() else (np.nan, np.nan)


def jackknife(value, without, level=0.95, most=np.inf) -> tuple:
    """Interval of a paired difference from its values with one patient (or group) left out at a time.

    Of the AUC this is, but for terms of the order 1/n, the interval of DeLong (1988), and with several images per
    patient that of Obuchowski (Biometrics 1997); it holds as well for a concordance or a mean. The quantile is that of
    t with the degrees of freedom of the variance itself (2 v^2 / var(v)): few cases carry most of it.

    Parameters
    ----------
    value : the difference; without : (g,) with each patient left out (`left_out`)
    most : largest size that it can have: 1 for a difference of AUC, C or Brier scores

    Returns
    -------
    low, high; NaN, NaN where the difference hangs on one patient (undefined without it), or where none changes it
    """
    g, error = len(without), jackknife_error(without)
    if not np.isfinite([value, error]).all():
        return np.nan, np.nan
    part = (without - without.mean()) ** 2 * (g - 1) / g
    freedom = np.clip(2 * error**4 / (g * part.var(ddof=1)), 1, g - 1)
    half = t.ppf((1 + level) / 2, freedom) * error
    return float(max(value - half, -most)), float(min(value + half, most))


def jackknife_error(without) -> float:
    """Standard error of a statistic from its values with one patient (or group) left out at a time (g,).

    NaN with fewer than 3, where the statistic hangs on one patient (undefined without it), or where none changes it.
    """
    g = len(without)
    if g < 3 or not np.isfinite(without).all():
        return np.nan
    variance = ((without - np.mean(without)) ** 2).sum() * (g - 1) / g
    return float(np.sqrt(variance)) if variance >= 1e-24 else np.nan


def weighted(x, w, statistic) -> np.ndarray:
    """Mean or median of x (n,) for each row of the weights (b, n)."""
    if statistic == "mean":
        return w @ x / w.sum(1)
    order = np.argsort(x, kind="stable")
    share = np.cumsum(w[:, order], axis=1) / w.sum(1)[:, None]
    lower, upper = ((share < 0.5 - 1e-9).sum(1), (share <= 0.5 + 1e-9).sum(1))
    return (x[order][lower] + x[order][np.minimum(upper, len(x) - 1)]) / 2


def estimate(x, patients, statistic="mean", n_bootstrap=2000, seed=0, level=0.95, lowest=None) -> tuple:
    """Mean or median with its interval. Means: BCa; medians: percentiles (the jackknife of a median says nothing).

    The level is widened for few patients as a t interval is (Hesterberg, Am Stat 2015). Simulated Dice, one patient in
    eight a failure: a nominal 95 % interval of the mean held the truth in 79 % with 5 patients (66 without widening),
    88 with 10 (81), 91 with 20 (89), 96 with 80 (95), of the median in 94 to 98 (tests/benchmarks/
    segmentation_statistics.py). No resample sees failures that did not occur: `lowest` reckons with one (coverage in
    docs/results.md).

    Parameters
    ----------
    x : (n,) float without gaps; patients : (n,), who are drawn with all their rows; statistic : ``mean`` or ``median``
    lowest : the worst value there is (0 for Dice): the lower limit is then that with one more patient of this value

    Returns
    -------
    value, low, high; no interval (NaN) with fewer than 3 patients, without resamples or where all values agree
    """
    x = np.asarray(x, float)
    if not len(x):
        return np.nan, np.nan, np.nan
    value = float(weighted(x, np.ones((1, len(x))), statistic)[0])
    who = pd.factorize(patients)[0]
    m = who.max() + 1
    if m < 3 or not n_bootstrap or np.ptp(x) < 1e-12:
        return value, np.nan, np.nan
    if statistic == "mean" and lowest is not None:
        extra = max(1, round(len(x) / m))  # as many rows as a patient has
        low = estimate(np.r_[x, [lowest] * extra], np.r_[who, [m] * extra], statistic, n_bootstrap, seed, level)[1]
        return value, low, estimate(x, who, statistic, n_bootstrap, seed, level)[2]
    draws = np.concatenate([weighted(x, w, statistic) for w in weights(who, n_bootstrap, seed)])
    level = 2 * norm.cdf(np.sqrt(m / (m - 1)) * t.ppf((1 + level) / 2, m - 1)) - 1
    if statistic == "median":
        low, high = percentiles(draws, level)
    else:
        low, high = bca(value, draws, weighted(x, left_out(who), statistic), level)
    return value, float(low), float(high)


def exact_interval(share, n, level=0.95) -> tuple:
    """Clopper-Pearson interval of a proportion; n need not be whole (Korn and Graubard 1998)."""
    hits, tail = share * n, (1 - level) / 2
    low = beta.ppf(tail, hits, n - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(1 - tail, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def auc_interval(auc, n_positive, n_negative, level=0.95) -> tuple:
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


def average(values, n_bootstrap=2000, seed=0, level=0.95) -> dict:
    """Mean of one number per patient with its bootstrap interval (`intervals.estimate`).

    Returns
    -------
    dict: value, low, high, n; gaps are left out, no interval with fewer than three patients
    """
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    found = estimate(x, np.arange(len(x)), "mean", n_bootstrap, seed, level)
    return dict(zip(("value", "low", "high"), found, strict=True)) | {"n": len(x)}


def median_interval(values, patients=None, n_bootstrap=1000, seed=0, level=0.95) -> dict:
    """Median with its interval: exact of one value per patient, by bootstrap of patients with several (`estimate`).

    The exact one is free of any distribution and takes order statistics (Hahn and Meeker 1991, 5.2).

    Parameters
    ----------
    values : (n,); without `patients` each is of another patient, and gaps are left out
    patients : (n,), who are drawn with all their values

    Returns
    -------
    dict: value, low, high (NaN below 6 values; with `patients` below 3 of them or without resamples), n (values)
    """
    x = np.asarray(values, float)
    if patients is not None:
        found = estimate(x, np.asarray(patients), "median", n_bootstrap, seed, level)
        return dict(zip(("value", "low", "high"), found, strict=True)) | {"n": len(x)}
    x = np.sort(x[np.isfinite(x)])
    rank = int(binom.ppf((1 - level) / 2, len(x), 0.5)) if len(x) >= 6 else 0
    low, high = (x[rank - 1], x[len(x) - rank]) if rank else (np.nan, np.nan)
    return {"value": float(np.median(x)) if len(x) else np.nan, "low": float(low), "high": float(high), "n": len(x)}


def expected_halfwidth(n_positive, n_negative, auc=0.8) -> float:
    """Half the width of the 95 % interval of an AUC to expect from this many cases.

    Hanley and McNeil, Radiology 1982;143:29-36. NaN when a group is empty.
    """
    if min(n_positive, n_negative) < 1:
        return float("nan")
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return float(1.96 * np.sqrt(variance / (n_positive * n_negative)))
