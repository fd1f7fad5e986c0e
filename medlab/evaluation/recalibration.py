"""What a few numbers fitted on other patients would do for the probabilities of a network: shown beside, never used.

Logistic recalibration (Cox 1958; Steyerberg, Stat Med 2004;23:2567-86): a new intercept for another share of cases, or
intercept and slope for probabilities that promise too much. Each patient's probability comes from a fit without the
patient, so that what is shown is not the fit's own sample.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from medlab.statistics import metrics
from medlab.statistics.measures import SMALLEST, check

HOW = ("intercept", "intercept and slope")
SHOWN = ("calibration_intercept", "calibration_slope", "brier")
FEWEST = 10  # patients of the rarer outcome below which nothing is recalibrated


def line(y, p, slope=True) -> tuple[float, float]:
    """Intercept and slope on the logit that fit outcomes best (maximum likelihood); the slope stays 1 without `slope`.

    Parameters
    ----------
    y : (n,) 0/1 with both; p : (n,) probabilities
    """
    from sklearn.linear_model import LogisticRegression

    x, y = logit(np.clip(np.asarray(p, float), SMALLEST, 1 - SMALLEST)), np.asarray(y, float)
    if not slope:
        return float(brentq(lambda a: (expit(x + a) - y).sum(), -40, 40)), 1.0
    centre, spread = x.mean(), x.std() or 1.0
    fit = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit((x - centre)[:, None] / spread, y)
    b = fit.coef_[0, 0] / spread
    return float(fit.intercept_[0] - b * centre), float(b)


def folds(y, patients, n_folds=10, seed=0) -> np.ndarray:
    """Fold of each row, (n,): by patient, as many patients with an outcome of 1 in each as can be.

    Parameters
    ----------
    y : (n,) 0/1; patients : (n,) identifiers
    """
    people = pd.Series(np.asarray(y)).groupby(pd.factorize(np.asarray(patients))[0]).max()
    order = np.random.default_rng(seed).permutation(len(people))
    order = order[np.argsort(people.to_numpy()[order], kind="stable")]
    fold = np.empty(len(people), int)
    fold[order] = np.arange(len(people)) % min(n_folds, len(people))
    return fold[pd.factorize(np.asarray(patients))[0]]


def cross_fitted(y, p, patients, slope=True, n_folds=10, seed=0) -> np.ndarray:
    """Recalibrated probabilities (n,), each by a `line` of the patients of the other folds."""
    fold, found = folds(y, patients, n_folds, seed), np.empty(len(y))
    for k in np.unique(fold):
        a, b = line(np.asarray(y)[fold != k], np.asarray(p)[fold != k], slope)
        found[fold == k] = expit(a + b * logit(np.clip(np.asarray(p, float)[fold == k], SMALLEST, 1 - SMALLEST)))
    return found


def possible(y, patients) -> bool:
    """Whether there are `FEWEST` patients of either outcome."""
    return min(pd.Series(np.asarray(patients))[np.asarray(y) == side].nunique() for side in (0, 1)) >= FEWEST


def options(y, p, patients, n_folds=10, n_bootstrap=1000, seed=0) -> dict[str, dict]:
    """The untouched probabilities and both recalibrations, with their measures.

    Parameters
    ----------
    y, p, patients : (n,) of one outcome that is or is not

    Returns
    -------
    dict "as it is", "intercept", "intercept and slope" -> p (n,), table (`metrics.scores`, the lines of `SHOWN`), a, b
    (of all patients: what one would add to and multiply the logit by); only the first where there are too few
    (`possible`).
    """
    y, p, who = check(y, p, patients)
    found = {"as it is": {"p": p, "a": 0.0, "b": 1.0}}
    for how in HOW if possible(y, who) else ():
        a, b = line(y, p, slope=how != "intercept")
        found[how] = {"p": cross_fitted(y, p, who, how != "intercept", n_folds, seed), "a": a, "b": b}
    for one in found.values():
        one["table"] = metrics.scores(y, one["p"], who, "binary", 0.5, n_bootstrap, seed).loc[list(SHOWN)]
    return found


def table(given: dict) -> pd.DataFrame:
    """`options` of several classes as a table to read."""
    rows = {}
    for name, found in given.items():
        for how, one in found.items():
            text = metrics.written(one["table"], 2)
            rows[name, how] = {"intercept (0 is right)": text["calibration_intercept"],
                               "slope (1 is right)": text["calibration_slope"], "Brier": text["brier"],
                               "fitted on all": "" if how == "as it is" else f"{one['a']:+.2f}, times {one['b']:.2f}"}
    return pd.DataFrame(rows).T


def in_words(found: dict) -> str:
    """What is wrong with probabilities, from the `options` of one class, and what recalibration would make of it."""
    own = found["as it is"]["table"]
    shift, slope = own.loc["calibration_intercept"], own.loc["calibration_slope"]
    level = "too few cases are predicted" if shift["low"] > 0 else "too many cases are predicted" if shift["high"] < 0 \
        else "as many cases as there are"
    promise = "too much" if slope["high"] < 1 else "too little" if slope["low"] > 1 else \
        "as much as is kept, as far as shown"
    said = (f"Untouched: {level} (intercept {metrics.in_words(shift, 2)}), the probabilities promise {promise} (slope "
            f"{metrics.in_words(slope, 2)}).")
    if "intercept and slope" not in found:
        return said + f" Too few patients of the rarer outcome ({FEWEST} are needed) to recalibrate."
    new = found["intercept and slope"]["table"].loc["calibration_slope"]
    return said + f" Intercept and slope fitted here (cross-validated by patient): slope {metrics.in_words(new, 2)}."
