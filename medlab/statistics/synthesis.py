"""Random effects: what several sites say together, how much they differ, and what a new one may be expected to reach.

The model is that of DerSimonian and Laird; the variance between sites is estimated by restricted maximum likelihood
(REML), the interval of the mean is that of Hartung and Knapp (Stat Med 2001;20:3875), never narrower than the plain
one, that of the variance the Q-profile (Viechtbauer, Stat Med 2007;26:37), I2 that of Higgins and Thompson (Stat Med
2002;21:1539). The prediction interval takes into account how little few sites say of the variance between them
(Nagashima, Noma and Furukawa, Stat Methods Med Res 2019;28:1689): that of Higgins, Thompson and Spiegelhalter (J R Stat
Soc A 2009;172:137) takes one estimate of it for the truth. An AUC or a C is taken on the logit scale (Snell et al.,
Stat Methods Med Res 2018;27:3505). How often both hold the truth of a new site stands in docs/results.md.
"""

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit
from scipy.stats import chi2, norm, t

from medlab.statistics.intervals import tails

LEAST_SITES = 3  # of a prediction interval: two say next to nothing about how much sites differ


def between(values, variances) -> float:
    """Variance between sites (tau squared) by restricted maximum likelihood.

    Parameters
    ----------
    values, variances : (k,) estimates of the sites and their squared standard errors, k of 2 or more
    """
    values, variances = np.asarray(values, float), np.asarray(variances, float)

    def lack(tau):
        w = 1 / (variances + tau**2)
        mean = w @ values / w.sum()
        return (-np.log(w).sum() + np.log(w.sum()) + w @ (values - mean) ** 2) / 2

    widest = np.ptp(values)
    best = minimize_scalar(lack, bounds=(0, widest), method="bounded", options={"xatol": 1e-10}) if widest > 0 else None
    return float(best.x**2) if best is not None and best.fun < lack(0.0) else 0.0


def between_interval(values, variances, level=0.95) -> tuple[float, float]:
    """Interval of the variance between sites: what makes the generalised Q a usual one (Q-profile); low, high."""
    values, variances = np.asarray(values, float), np.asarray(variances, float)
    lower, upper = chi2.ppf(tails(level), len(values) - 1)

    def where(quantile):
        if _q(values, variances, 0.0) <= quantile:
            return 0.0
        high = np.ptp(values) ** 2 + variances.max()
        while _q(values, variances, high) > quantile:
            high *= 4
        return brentq(lambda tau2: _q(values, variances, tau2) - quantile, 0.0, high)

    return where(upper), where(lower)


def prediction(values, variances, level=0.95, points=(400, 100)) -> tuple[float, float]:
    """Where the truth of a new site is expected: low, high.

    A new site lies at mean + tau z + error t, with z normal and t of k - 1 degrees of freedom. tau has its confidence
    distribution, that of the Q-profile (the variance for which the generalised Q equals a draw of chi squared); mean
    and its error (Hartung and Knapp) follow from it. Quantiles at regular steps stand for draws: the same each time.

    Parameters
    ----------
    values, variances : (k,) estimates of the sites and their squared standard errors, k of 3 or more
    points : steps of the distributions of tau and of t
    """
    values, variances, k = np.asarray(values, float), np.asarray(variances, float), len(values)
    at, steps = ((np.arange(n) + 0.5) / n for n in points)
    wanted, high = chi2.ppf(at, k - 1), np.ptp(values) ** 2 + variances.max()
    while _q(values, variances, high) > wanted.min():
        high *= 4
    grid = np.r_[0, np.geomspace(variances.min() * 1e-4, high, 400)][:, None]
    tau2 = np.interp(-wanted, -_q(values, variances, grid), grid[:, 0])[:, None]
    w = 1 / (variances + tau2)
    error = np.sqrt(np.maximum(1.0, _q(values, variances, tau2) / (k - 1)) / w.sum(1))
    middle = (w @ values / w.sum(1))[:, None] + error[:, None] * t.ppf(steps, k - 1)
    spread = np.sqrt(np.maximum(tau2, 1e-18))
    ends = (middle - 10 * spread).min() - 1, (middle + 10 * spread).max() + 1
    low, high = (brentq(lambda x, p=p: norm.cdf((x - middle) / spread).mean() - p, *ends) for p in tails(level))
    return float(low), float(high)


def _q(values, variances, tau2):
    """Weighted squares around the weighted mean (Cochran's Q for tau2 = 0), for one tau2 or a column of them."""
    w = 1 / (variances + tau2)
    mean = (w @ values / w.sum(-1))[..., None]
    return (w * (values - mean) ** 2).sum(-1)


def random_effects(values, variances, level=0.95) -> dict[str, float]:
    """Mean over sites, what they differ by, and the interval in which the truth of a new site is expected.

    Parameters
    ----------
    values, variances : (k,) estimates of the sites and their squared standard errors, on a scale without ends

    Returns
    -------
    dict: k; value, low, high (the mean over the sites); tau, tau_low, tau_high (standard deviation between sites); i2,
    i2_low, i2_high (its share of all the variance seen, 0 to 1); next_low, next_high (prediction interval). NaN where
    the sites are too few: no interval below 2, no prediction below `LEAST_SITES`.
    """
    values, variances = np.asarray(values, float), np.asarray(variances, float)
    k, names = len(values), ("tau", "tau_low", "tau_high", "i2", "i2_low", "i2_high", "next_low", "next_high")
    found = {"k": k, "value": float(values[0]) if k else np.nan, "low": np.nan, "high": np.nan} | dict.fromkeys(
        names, np.nan)
    if k < 2:
        return found
    tau2 = between(values, variances)
    w = 1 / (variances + tau2)
    mean = float(w @ values / w.sum())
    error = np.sqrt(max(1.0, _q(values, variances, tau2) / (k - 1)) / w.sum())
    half = t.ppf((1 + level) / 2, k - 1) * error
    found |= {"value": mean, "low": mean - half, "high": mean + half}
    plain = 1 / variances
    typical = (k - 1) * plain.sum() / (plain.sum() ** 2 - plain @ plain)  # variance within a site, Higgins and Thompson
    for end, one in zip(("", "_low", "_high"), (tau2, *between_interval(values, variances, level)), strict=True):
        found |= {f"tau{end}": np.sqrt(one), f"i2{end}": one / (one + typical)}
    if k >= LEAST_SITES:
        low, high = prediction(values, variances, level)
        found |= {"next_low": min(low, found["low"]), "next_high": max(high, found["high"])}  # steps are not draws
    return {key: float(one) if key != "k" else one for key, one in found.items()}


def of_shares(values, errors, level=0.95) -> dict[str, float]:
    """`random_effects` of numbers between 0 and 1 (an AUC, a C, a mean Dice) on the logit scale.

    Parameters
    ----------
    values, errors : (k,) estimates of the sites, and their standard errors on their own scale; sites whose value is 0
        or 1, or without an error, have no place on the logit scale and are left out

    Returns
    -------
    dict as of `random_effects`; value, low, high, next_low, next_high back on the scale of the values, tau on the logit
    scale; k counts the sites that are in it
    """
    values, errors = np.asarray(values, float), np.asarray(errors, float)
    usable = placed(values, errors)
    values, errors = values[usable], errors[usable]
    found = random_effects(logit(values), (errors / (values * (1 - values))) ** 2, level)
    back = ("value", "low", "high", "next_low", "next_high")
    return found | {key: float(expit(found[key])) for key in back}


def placed(values, errors) -> np.ndarray:
    """Which numbers between 0 and 1 have a place on the logit scale, with an error there; (k,) bool."""
    values, errors = np.asarray(values, float), np.asarray(errors, float)
    return (values > 0) & (values < 1) & np.isfinite(errors) & (errors > 0)
