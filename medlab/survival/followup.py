"""Follow-up of a cohort in numbers: life table, medians with intervals, competing causes."""

import numpy as np
import pandas as pd


def life_table(time, event, edges):
    """Life table per period (Kaplan-Meier at the end of each, with log-log interval).

    Parameters
    ----------
    edges : increasing days, the first 0

    Returns
    -------
    DataFrame, one row per period in which someone is at risk: start, end (days), at_risk (at its start), events,
    censored, value, low, high (event-free share at its end; NaN where follow-up ends before).
    """
    from lifelines import KaplanMeierFitter

    time, event = np.asarray(time, float), np.asarray(event, bool)
    curve = KaplanMeierFitter().fit(time, event)
    limits = curve.confidence_interval_survival_function_
    rows = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        inside = (time > start) & (time <= end)
        if (time > start).any():
            seen = curve.survival_function_.index <= end
            at_end = (np.r_[curve.survival_function_[seen].iloc[-1], limits[seen].iloc[-1]] if time.max() >= end else
                      np.full(3, np.nan))
            rows.append((start, end, (time > start).sum(), event[inside].sum(), (~event)[inside].sum(), *at_end))
    return pd.DataFrame(rows, columns=["start", "end", "at_risk", "events", "censored", "value", "low", "high"])


def median_followup(time, event):
    """Median follow-up by reverse Kaplan-Meier, its end is the event: (days, low, high), inf = not reached.

    Schemper and Smith, Control Clin Trials 1996;17:343-6. The mean of all times would be short where many die.
    """
    return median_survival(time, ~np.asarray(event, bool))


def median_survival(time, event):
    """Kaplan-Meier median with the interval of Brookmeyer and Crowley: (days, low, high), inf = not reached."""
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times

    curve = KaplanMeierFitter().fit(np.asarray(time, float), np.asarray(event, bool))
    low, high = median_survival_times(curve.confidence_interval_).iloc[0]
    return float(curve.median_survival_time_), float(low), float(high)


def describe(time: pd.Series, event: pd.Series) -> dict:
    """Follow-up of patients in numbers: counts, medians (days, inf = not reached), last event seen."""
    event = event.astype(bool)
    median, low, high = median_survival(time, event)
    return {"n_patients": len(time), "n_events": int(event.sum()), "censored": 1 - int(event.sum()) / len(time),
            "median_followup_days": median_followup(time, event)[0], "median_survival_days": median,
            "median_survival_low_days": low, "median_survival_high_days": high, "last_event_days": time[event].max()}


def in_words(numbers: dict) -> list[str]:
    """Sentences about what `describe` found."""
    events, median = numbers["n_events"], "not reached"
    if np.isfinite(numbers["median_survival_days"]):
        low, high = numbers["median_survival_low_days"], numbers["median_survival_high_days"]
        median = f"{numbers['median_survival_days']:.0f} days (95 % interval {low:.0f} to {high:.0f})"
    return [f"{events} events in {numbers['n_patients']} patients, {numbers['censored']:.0%} censored",
            f"median follow-up (reverse Kaplan-Meier) {numbers['median_followup_days']:.0f} days",
            f"median survival {median}", f"enough for about {events // 10} coefficients at ten events each"]


def cumulative_incidence(time, cause):
    """Share of the patients with each of competing causes over time (Aalen-Johansen).

    Parameters
    ----------
    time : (n,) days; cause : (n,) text, None or NaN where censored

    Returns
    -------
    dict cause -> DataFrame time_days, value, low, high (95 %), naive (1 minus the Kaplan-Meier curve that takes the
    other causes for censoring: never lower, and the shares do not add up).
    """
    from lifelines import KaplanMeierFitter
    from sksurv.nonparametric import cumulative_incidence_competing_risks

    time, codes, names = np.asarray(time, float), *pd.factorize(pd.Series(cause), sort=True)
    days, shares, limits = cumulative_incidence_competing_risks(codes + 1, time, conf_type="log-log")
    found = {}
    for k, name in enumerate(names):
        naive = KaplanMeierFitter().fit(time, codes == k).survival_function_at_times(days)
        found[str(name)] = pd.DataFrame({"time_days": days, "value": shares[k + 1], "low": limits[k + 1][0],
                                         "high": limits[k + 1][1], "naive": 1 - naive.to_numpy()})
    return found
