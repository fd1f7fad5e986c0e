"""Each feature alone against the outcome, with intervals and a correction for their number."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from medlab.statistics.intervals import auc_interval

FEWEST_EVENTS = 10  # below it no follow-up is looked at
LIKE_SIZE = 0.8  # |rank correlation| with the size of the region from which a feature is the size in another form


def auc(table, positive) -> pd.DataFrame:
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


def cox(table, time_days, event) -> pd.DataFrame:
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


def associations(table: pd.DataFrame, people: pd.DataFrame, classes: list[str],
                 positive: str | None = None) -> pd.DataFrame:
    """Every feature alone against the label and the follow-up, as far as there are any.

    Parameters
    ----------
    table : (n, m) features, a row per patient; people : their cohort rows, with the same index
    classes, positive : of the label; of two classes one is tested, of more each against the rest

    Returns
    -------
    DataFrame indexed by outcome, feature: columns of `auc`, measure (AUC, hazard ratio); q over all outcomes. Empty
    without a label of two classes and without a follow-up with `FEWEST_EVENTS` events.
    """
    found, classes = {}, classes if "label" in people else []
    if len(classes) > 1 and people["label"].nunique() > 1:
        known = people["label"].notna()
        for name in [positive] if positive in classes else classes if len(classes) > 2 else classes[-1:]:
            one = auc(table[known], people["label"].dropna().eq(name))
            found[f"{name} against the rest"] = one.assign(measure="AUC")
    if "time_days" in people and people["event"].fillna(False).astype(bool).sum() >= FEWEST_EVENTS:
        followed = people["time_days"].notna() & people["event"].notna()
        seen = people.loc[followed]
        found["follow-up"] = cox(table[followed], seen["time_days"], seen["event"].astype(bool)).assign(
            measure="hazard ratio")
    together = pd.concat(found, names=["outcome", "feature"]) if found else pd.DataFrame()
    return together.assign(q=corrected(together["p"])) if len(together) else together


def in_words(outcome: str, one: pd.DataFrame, size: str, firm: set, like_size: pd.Series) -> str:
    """What the features of one outcome say beyond the size of the region, as sentences.

    Parameters
    ----------
    one : rows of one outcome of `associations`; size : name of the feature that is the size; firm : stable features
    like_size : |rank correlation| of the features with the size; from `LIKE_SIZE` on they are the size in another form
    """
    found, itself = one[one["q"] < 0.05], one.reindex([size]).iloc[0]
    own = [name for name in found.index if name in firm and like_size.get(name, 0) < LIKE_SIZE]
    return (f"{outcome[:1].upper()}{outcome[1:]}: {len(found)} of {len(one)} features at q < 0.05, {len(own)} of them "
            f"stable and not the size in another form. The size itself: {itself['measure']} {itself['value']:.2f} "
            f"({itself['low']:.2f} to {itself['high']:.2f}).")


def corrected(p) -> np.ndarray:
    """Smallest share of false discoveries at which a test would count (Benjamini and Hochberg 1995); NaN stays.

    Examples
    --------
    >>> corrected([0.01, 0.04, np.nan, 0.03])
    array([0.03, 0.04,  nan, 0.04])
    """
    p = np.asarray(p, float)
    q, known = np.full(len(p), np.nan), np.isfinite(p)
    q[known] = stats.false_discovery_control(p[known]) if known.any() else []
    return q
