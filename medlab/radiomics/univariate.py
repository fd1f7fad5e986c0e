"""Each feature alone against the outcome, with intervals and a correction for their number."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from medlab.statistics.intervals import auc_interval


def auc(table, positive):
    """Rank AUC of every column.

    Parameters
    ----------
    table : (n, m) DataFrame, one row per patient
    positive : (n,) bool

    Returns
    -------
    DataFrame indexed by column: value (above 0.5: larger in the positive), low, high (Newcombe 2006), p (Mann and
    Whitney), q (`corrected`), n, n_positive. Gaps are left out per column; columns without both outcomes are left out.
    """
    rows, positive = {}, np.asarray(positive, bool)
    for name, x in table.items():
        x = x.to_numpy(float)
        a, b = x[positive & np.isfinite(x)], x[~positive & np.isfinite(x)]
        if len(a) and len(b) and np.ptp(np.r_[a, b]) > 0:
            test = stats.mannwhitneyu(a, b)
            value = float(test.statistic / len(a) / len(b))
            low, high = auc_interval(value, len(a), len(b))
            rows[name] = [value, low, high, float(test.pvalue), len(a) + len(b), len(a)]
    out = pd.DataFrame(rows, index=["value", "low", "high", "p", "n", "n_positive"]).T
    return out.assign(q=corrected(out["p"]))


def cox(table, time_days, event):
    """Hazard ratio of every column in a Cox model of its own.

    Parameters
    ----------
    table : (n, m) DataFrame, one row per patient; time_days, event : (n,) follow-up

    Returns
    -------
    DataFrame indexed by column: value (hazard ratio per standard deviation of the normal scores of the ranks: features
    have long tails), low, high, p (Wald), q (`corrected`), n, n_positive (events). Columns that cannot be fitted are
    left out.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    rows, time, event = {}, np.asarray(time_days, float), np.asarray(event, bool)
    for name, x in table.items():
        known = np.isfinite(x.to_numpy(float)) & np.isfinite(time)
        ranks = stats.rankdata(x[known])
        if known.sum() < 10 or event[known].sum() < 5 or np.ptp(ranks) == 0:
            continue
        one = pd.DataFrame({"x": stats.norm.ppf((ranks - 0.5) / len(ranks)), "t": time[known], "e": event[known]})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit = CoxPHFitter().fit(one, "t", "e").summary.loc["x"]
        except ConvergenceError:
            continue
        rows[name] = [*np.exp([fit["coef"], fit["coef lower 95%"], fit["coef upper 95%"]]), fit["p"], known.sum(),
                      event[known].sum()]
    out = pd.DataFrame(rows, index=["value", "low", "high", "p", "n", "n_positive"], dtype=float).T
    return out.assign(q=corrected(out["p"]))


def corrected(p):
    """Smallest share of false discoveries at which a test would count (Benjamini and Hochberg 1995); NaN stays."""
    p = np.asarray(p, float)
    q, known = np.full(len(p), np.nan), np.isfinite(p)
    q[known] = stats.false_discovery_control(p[known]) if known.any() else []
    return q
