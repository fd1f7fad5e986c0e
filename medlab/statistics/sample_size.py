"""How many patients a regression model needs, to be made and to be validated, before anybody looks at an outcome.

Development: Riley et al., Stat Med 2019;38:1276 (doi 10.1002/sim.7992) and BMJ 2020;368:m441. Validation: Riley et al.,
Stat Med 2021;40:4230 (doi 10.1002/sim.9025), for survival the rule of Collins et al., Stat Med 2016;35:214. They are
about a model whose number of parameters is known; for a network there is no formula.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from medlab.statistics.intervals import expected_halfwidth

SHRINKAGE, OPTIMISM, RISK = 0.9, 0.05, 0.05  # least slope on new patients; most optimism of R2; half-width of the risk
EXPECTED = 0.15  # R2 of Cox and Snell to expect where nothing is known, as a share of the highest there could be
EVENTS = 100  # of a validation of survival
LEVELS = {"observed / expected to ± 10 %": 0.1, "AUC to ± 0.05": 0.05, "calibration slope to ± 0.1": 0.1}


def development(parameters: int, share: float, follow_up: float | None = None, horizon: float | None = None,
                r2: float | None = None) -> dict[str, int]:
    """Patients that a new regression model needs; the largest number counts.

    Parameters
    ----------
    parameters : candidate parameters (columns after coding)
    share : of patients with the condition; for survival with an event during follow-up
    follow_up, horizon : mean follow-up and time of the prediction, in the same unit; only for survival
    r2 : of Cox and Snell to expect; default `EXPECTED` of the highest possible

    Returns
    -------
    dict criterion -> patients

    Raises
    ------
    ValueError
        Unless 0 < share (< 1 without follow-up) and there is a parameter.

    Examples
    --------
    >>> list(development(24, 0.174, r2=0.288).values()), list(development(30, 0.13455, 2.07, 2, 0.051).values())[:2]
    ([623, 662, 221], [5143, 1039])
    """
    if parameters < 1 or not 0 < share or (share >= 1 and follow_up is None):
        raise ValueError(f"sample size: {parameters} parameters and a share of {share:g}; expected at least one, and a "
                         "share between 0 and 1")
    likelihood = share * np.log(share) - share if follow_up else share * np.log(share) + (1 - share) * np.log(1 - share)
    highest = 1 - np.exp(2 * likelihood)
    r2 = EXPECTED * highest if r2 is None else r2
    if follow_up:
        rate = share / follow_up

        def width(n):
            error = norm.ppf(0.975) * np.sqrt(rate / (n * follow_up))
            return np.exp(-max(rate - error, 0) * horizon) - np.exp(-(rate + error) * horizon) - 2 * RISK

        level = brentq(width, 1, 1e9)
    else:
        level = (norm.ppf(0.975) / RISK) ** 2 * share * (1 - share)
    found = {f"at most {1 - SHRINKAGE:.0%} shrinkage": _shrunk(parameters, r2, SHRINKAGE),
             f"optimism of R² at most {OPTIMISM:g}": _shrunk(parameters, r2, r2 / (r2 + OPTIMISM * highest)),
             f"mean risk to ± {RISK:g}": level}
    return {name: int(np.ceil(n)) for name, n in found.items()}


def _shrunk(parameters, r2, shrinkage):
    return parameters / ((shrinkage - 1) * np.log(1 - r2 / shrinkage))


def validation(share: float, auc: float = 0.8) -> dict[str, int]:
    """Patients that a validation of a binary outcome needs.

    Parameters
    ----------
    share : of patients with the condition, 0 to 1; auc : to expect; logits are taken to be normal

    Returns
    -------
    dict of what is to be known how well -> patients
    """
    ratio, area, slope = LEVELS.values()
    of_ratio = (1 - share) / share / (np.log1p(ratio) / norm.ppf(0.975)) ** 2
    fewest = 2 / min(share, 1 - share)
    of_area = brentq(lambda n: expected_halfwidth(n * share, n * (1 - share), auc) - area, fewest, 1e9)
    x = norm.ppf((np.arange(4000) + 0.5) / 4000)
    mean, spread = logits(x, share, auc)
    logit = mean + spread * x
    weight = expit(logit) * (1 - expit(logit))
    level, both, square = (float((weight * logit**power).mean()) for power in (0, 1, 2))
    of_slope = level / (level * square - both**2) / (slope / norm.ppf(0.975)) ** 2
    return {name: int(np.ceil(n)) for name, n in zip(LEVELS, (of_ratio, of_area, of_slope), strict=True)}


def logits(x, share, auc):
    """Mean and spread of normal logits with this share of cases and this AUC; x : quantiles of a normal law."""
    def mean(spread):
        return brentq(lambda m: expit(m + spread * x).mean() - share, -20 - 5 * spread, 20 + 5 * spread)

    def off(spread):
        p = expit(mean(spread) + spread * x)  # sorted: of a case and another, is the case ranked higher
        below = np.cumsum(1 - p) - (1 - p) / 2
        return (p * below).sum() / (p.sum() * (1 - p).sum()) - auc

    spread = brentq(off, 1e-3, 15)
    return mean(spread), spread
