"""Follow-up and survival curves: from a table to (time, event), from a risk or hazards to S(t).

A set of curves is two plain arrays: times (g,) in increasing days and survival (n, g), the probability of being
event-free, which never rises. Follow-up that IPCW cannot use is cut with a note, never silently.
"""

import numpy as np
import pandas as pd

from medlab.cohorts import cards
from medlab.statistics import metrics
from medlab.statistics.cox import log_at_risk
from medlab.statistics.intervals import percentiles, weights
from medlab.survival.followup import days_with_interval

LEAST_AT_RISK = 5  # patients of train and of test followed beyond a horizon (a tenth of the patients if that is fewer)


def follow_up(table) -> pd.DataFrame:
    """Time and event per patient.

    Parameters
    ----------
    table : DataFrame with patient_id, time_days, event (true/false or 1/0); several rows of a patient must agree.

    Returns
    -------
    DataFrame indexed by patient_id: time_days (float, > 0), event (bool). ``attrs["notes"]``: sentences on what was
    left out (unknown follow-up) or changed (t = 0 becomes half the smallest positive time).
    """
    missing = [name for name in ("patient_id", "time_days", "event") if name not in table]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}: survival needs patient_id, time_days and event")
    table = table[["patient_id", "time_days", "event"]].copy()
    table["time_days"] = pd.to_numeric(table["time_days"], errors="coerce")
    table["event"] = table["event"].map(_seen, na_action="ignore")
    known = table.dropna().drop_duplicates()
    several = known["patient_id"][known["patient_id"].duplicated()]
    if len(several):
        raise ValueError(f"patient {several.iloc[0]} has several follow-up times or events ({several.nunique()} such "
                         "patients): give one per patient in cohort.csv")
    found = known.set_index("patient_id").astype({"time_days": float, "event": bool})
    time, notes, total = found["time_days"], [], table["patient_id"].nunique()
    if (time < 0).any() or np.isinf(time).any():
        wrong = found.index[(time < 0) | np.isinf(time)]
        raise ValueError(f"{len(wrong)} patients have a negative or infinite time_days "
                         f"({', '.join(map(str, wrong[:5]))}): is the time origin in card.yaml right?")
    if not found["event"].any():
        raise ValueError(f"no event among the {len(found)} patients with follow-up ({total} patients): nothing can be "
                         "learned. Is `event` coded the right way round (true = seen)?")
    if len(found) < total:
        notes.append(f"{total - len(found)} of {total} patients have no known time or event and are left out.")
    if found["event"].all():
        notes.append("Every patient had the event: nobody is censored. Is that so, or were the others left out?")
    found["time_days"], rows = cards.positive_times(time)
    zero = found.index[rows]
    if len(zero):
        notes.append(f"{len(zero)} patients with time 0 are set to {found['time_days'].min():g} days: "
                     f"{', '.join(map(str, zero[:10]))}"
                     f"{' ...' if len(zero) > 10 else ''}.")
    found.attrs["notes"] = notes
    return found


def _seen(value):
    if str(value).strip().lower() not in cards.EVENTS:
        raise ValueError(f"event is {value!r}; expected true or false (1 or 0), or an empty cell where unknown")
    return cards.EVENTS[str(value).strip().lower()]


def _checked(time, event, risk):
    time, event, risk = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(risk, float).reshape(-1)
    if not len(time) == len(event) == len(risk):
        raise ValueError(f"{len(time)} times, {len(event)} events and {len(risk)} risks do not fit")
    if not (np.isfinite(time).all() and np.isfinite(risk).all()):
        raise ValueError(f"{int((~np.isfinite(time)).sum())} times and {int((~np.isfinite(risk)).sum())} risks are "
                         "missing or infinite: leave these patients out, or look at the model")
    if not event.any():
        raise ValueError(f"no event among {len(time)} patients: nothing can be estimated")
    return time, event, risk


def breslow(time, event, risk) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative baseline hazard after a Cox model (Breslow 1972).

    Parameters
    ----------
    time, event : (n,) days and event seen, of the patients the model was fitted on; risk : (n,) log risk

    Returns
    -------
    times (g,) of the events, cumulative hazard (g,) at risk 0
    """
    time, event, risk = _checked(time, event, risk)
    times, first = np.unique(time[event], return_index=True)
    n_events = np.unique(time[event], return_counts=True)[1]
    return times, np.cumsum(n_events * np.exp(-log_at_risk(time, risk)[event][first]))


def cox_curves(times, h0, risk, grid) -> np.ndarray:
    """Survival curves of a log risk: S(t) = exp(-H0(t) exp(risk)), a step function; (n, g)."""
    cumulative = np.r_[0, h0][np.searchsorted(times, grid, side="right")]
    with np.errstate(divide="ignore", over="ignore"):
        return np.exp(-np.exp(np.log(cumulative) + np.asarray(risk, float).reshape(-1, 1)))


def from_log_risk(fitted, of_fitted, risk, grid) -> tuple[np.ndarray, np.ndarray]:
    """A log risk and its survival curves, with the baseline hazard of the fitted patients.

    Parameters
    ----------
    fitted : DataFrame with time_days, event of the m fitted patients; of_fitted : (m,) their log risk
    risk : (n,) log risk of any patients; grid : (g,) days

    Returns
    -------
    risk (n,), curves (n, g)
    """
    base = breslow(fitted["time_days"], fitted["event"], of_fitted)
    return risk, cox_curves(*base, risk, grid)


def hazard_curves(logits, cuts, grid) -> np.ndarray:
    """Survival curves of a discrete-time hazard network, constant hazard density within an interval.

    Parameters
    ----------
    logits : (n, k) of the conditional probability of the event in each interval; cuts : (k + 1,) days, the first 0

    Returns
    -------
    (n, g); flat after the last cut, where nothing was learned. Gensheimer and Narasimhan, PeerJ 2019.
    """
    logits, cuts = np.asarray(logits, float), np.asarray(cuts, float)
    if logits.ndim != 2 or logits.shape[1] != len(cuts) - 1 or (np.diff(cuts) <= 0).any():
        raise ValueError(f"logits of shape {logits.shape} need {logits.shape[-1] + 1} increasing cuts, "
                         f"found {len(cuts)}")
    cumulative = np.pad(np.cumsum(np.logaddexp(0, logits), axis=1), ((0, 0), (1, 0)))
    k = np.clip(np.searchsorted(cuts, grid, side="right") - 1, 0, len(cuts) - 2)
    part = np.clip((np.asarray(grid, float) - cuts[k]) / (cuts[k + 1] - cuts[k]), 0, 1)
    return np.exp(-(cumulative[:, k] + part * (cumulative[:, k + 1] - cumulative[:, k])))


def at(grid, survival, t) -> np.ndarray:
    """Survival at t days: the value at the last grid point up to t, 1 before the first; (n,), or (n, m) for m times."""
    survival = np.atleast_2d(survival)
    with_start = np.column_stack([np.ones(len(survival)), survival])
    return with_start[:, np.searchsorted(grid, t, side="right")]


def median_days(grid, survival) -> np.ndarray:
    """First grid day at which a curve is at or below one half, (n,); inf = not reached within the grid."""
    low = np.atleast_2d(survival) <= 0.5 + 1e-12  # a product of steps misses one half by rounding
    return np.where(low.any(1), np.asarray(grid, float)[low.argmax(1)], np.inf)


def rmst_days(grid, survival, horizon) -> np.ndarray:
    """Restricted mean survival: days lived event-free up to the horizon, the area under the step curve; (n,)."""
    edges = np.r_[0, np.asarray(grid, float)[np.asarray(grid) < horizon], horizon]
    return at(grid, survival, edges[:-1]) @ np.diff(edges)


def slope(time, event, risk, sd=0.25) -> float:
    """Calibration slope of a log risk, drawn towards 1: what to multiply the risk by before `breslow`.

    The mode of the Cox partial likelihood of slope * risk times a normal prior (mean 1, sd), so that few events change
    little. Kept within 0.05 and 5: it never turns a risk round.
    """
    from scipy.optimize import minimize_scalar

    time, event, risk = _checked(time, event, risk)

    def loss(b):
        return -(b * risk - log_at_risk(time, b * risk))[event].sum() + (b - 1) ** 2 / (2 * sd**2)

    return float(minimize_scalar(loss, bounds=(0.05, 5), method="bounded", options={"xatol": 1e-6}).x)


def legal_horizons(wanted_days, time_train, time_test) -> tuple[list[float], list[str]]:
    """Horizons at which IPCW scores exist, and what had to be cut.

    A horizon is legal while `LEAST_AT_RISK` patients of train (so that the censoring curve is above 0) and of test are
    followed beyond it. A later one is cut to the last whole day that is legal.

    Returns
    -------
    list of increasing days, list of notes (sentences)
    """
    wanted = sorted({float(t) for t in np.atleast_1d(wanted_days)})
    if not wanted or min(wanted) <= 0:
        raise ValueError(f"horizons must be positive days, found {wanted}")
    ends = []
    for name, time in (("training", time_train), ("evaluated", time_test)):
        time = np.sort(np.asarray(time, float))
        if not len(time):
            raise ValueError(f"no {name} patients with follow-up: is the split empty?")
        ends.append((time[-max(1, min(LEAST_AT_RISK, len(time) // 10))], name))
    end, name = min(ends)
    last = np.ceil(end) - 1 if end > 1 else 0.999 * end
    days = sorted({t if t < end else float(last) for t in wanted})
    cut = [t for t in wanted if t >= end]
    notes = [f"Horizon {t:g} days cut to {last:g}: fewer than {LEAST_AT_RISK} (or a tenth) of the {name} patients are "
             "followed beyond it." for t in cut]
    return days, notes


def kaplan_meier(time, event, grid, w=None) -> np.ndarray:
    """Kaplan-Meier curves on a grid for each row of weights, (b, g); NaN after the last follow-up of a row."""
    time, event, grid = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(grid, float)
    w = np.ones((1, len(time))) if w is None else np.asarray(w, float)
    order = np.argsort(time, kind="stable")
    times, starts = np.unique(time[order], return_index=True)
    died = np.add.reduceat(w[:, order] * event[order], starts, axis=1)
    at_risk = np.cumsum(w[:, order][:, ::-1], axis=1)[:, ::-1][:, starts]
    steps = 1 - np.divide(died, at_risk, out=np.zeros_like(died), where=at_risk > 0)
    curve = np.column_stack([np.ones(len(w)), np.cumprod(steps, axis=1)])
    curve = curve[:, np.searchsorted(times, grid, side="right")]
    last = np.array([time[row > 0].max(initial=-np.inf) for row in w])
    return np.where((grid > last[:, None]) & (curve > 1e-12), np.nan, curve)


def group_times(time, event, horizon, n_bootstrap=1000, seed=0, level=0.95) -> pd.DataFrame:
    """Median and restricted mean survival of a group (Kaplan-Meier) with patient bootstrap intervals (percentile).

    Returns
    -------
    DataFrame index median_days, rmst_days: value, low, high; inf = not reached, NaN = follow-up ends before it.
    """
    time, event = np.asarray(time, float), np.asarray(event).astype(bool)
    grid = np.unique(time)
    rows = [np.ones((1, len(time))), *(weights(np.arange(len(time)), n_bootstrap, seed) if n_bootstrap else ())]
    found = []
    for w in rows:
        curve = kaplan_meier(time, event, grid, w)
        ends = np.isnan(kaplan_meier(time, event, [horizon], w)[:, 0])
        found.append(np.c_[median_days(grid, np.nan_to_num(curve, nan=1)),
                           np.where(ends, np.nan, rmst_days(grid, np.nan_to_num(curve), horizon))])
    found = np.vstack(found)
    out = pd.DataFrame({"value": found[0]}, ["median_days", "rmst_days"]).assign(low=np.nan, high=np.nan)
    for k, draws in enumerate(found[1:].T):
        out.iloc[k, 1:] = percentiles(draws, level, "inverted_cdf")
    return out


def group_table(time, event, groups, horizon, ratios=None, n_bootstrap=1000, seed=0) -> pd.DataFrame:
    """Patients, events, `group_times` and hazard ratio of each group, as a table to read; empty without groups.

    Parameters
    ----------
    time, event : Series (n,); groups : (n,) Categorical; ratios : of `models.group_ratios`, or None
    """
    rows = {}
    for name in groups.remove_unused_categories().categories:
        t, e = time[groups == name], event[groups == name]
        both = group_times(t, e, horizon, n_bootstrap, seed)[["value", "low", "high"]]
        median, mean = (days_with_interval(*both.loc[which]) for which in ("median_days", "rmst_days"))
        rows[name] = {"patients": len(t), "events": int(e.sum()), "median, days": median,
                      f"mean up to {horizon:.0f} days": mean}
    table = pd.DataFrame(rows).T
    if ratios is not None:
        table["hazard ratio"] = metrics.written(ratios, 2).reindex(table.index).fillna("1 (reference)")
    return table
