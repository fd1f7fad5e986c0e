"""Ridge Cox regression: the one rule for how strong the ridge is, for networks and classical models alike.

The ridge is added to the log partial likelihood, ridge / 2 * sum(b^2); as a prior it says that the coefficients are
normal with mean 0 and standard deviation 1 / sqrt(ridge) per unit of their column.
"""

import warnings

import numpy as np

RIDGES = (0.01, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def log_at_risk(time, risk) -> np.ndarray:
    """log of the sum of exp(risk) over those still followed at each patient's time; all of one time together."""
    order = np.argsort(-time, kind="stable")
    total = np.logaddexp.accumulate(risk[order])
    return total[np.searchsorted(-time[order], -time, side="right") - 1]


def log_likelihood(time, event, risk) -> float:
    """Log partial likelihood of a log risk (Breslow's ties), a sum over the events.

    Cox, J R Stat Soc B 1972;34:187-220. Patients leave the risk set after their time, so all who share a time
    are at risk together.
    """
    time, event, risk = np.asarray(time, float), np.asarray(event, bool), np.asarray(risk, float)
    return float((risk - log_at_risk(time, risk))[event].sum())


def coefficients(time, event, x, ridge) -> np.ndarray:
    """Log hazard ratios per unit of each column of x (n, m), (m,); Efron's ties."""
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    model = CoxPHSurvivalAnalysis(alpha=ridge, ties="efron", n_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(x, Surv.from_arrays(event, time)).coef_


def choose_ridge(time, event, x, ridges=RIDGES, seed=0) -> float:
    """The ridge with the highest cross-validated log partial likelihood; folds hold equal shares of the events.

    Verweij and van Houwelingen, Stat Med 1993;12:2305-14.

    Parameters
    ----------
    time, event : (n,) days, event seen (bool); x : (n, m) columns of about the same spread
    ridges : candidates; one alone is taken as it is, and the strongest where a single event leaves nothing to compare.
    """
    if len(ridges) == 1 or event.sum() < 2:
        return max(ridges)
    rng, fold = np.random.default_rng(seed), np.empty(len(time), int)
    n_folds = int(min(10, event.sum()))
    for part in (event, ~event):
        fold[part] = rng.permutation(part.sum()) % n_folds
    gained = np.zeros(len(ridges))
    for i, ridge in enumerate(ridges):
        for k in range(n_folds):
            rest = fold != k
            risk = x @ coefficients(time[rest], event[rest], x[rest], ridge)
            gained[i] += log_likelihood(time, event, risk) - log_likelihood(time[rest], event[rest], risk[rest])
    return ridges[int(np.argmax(gained))]
