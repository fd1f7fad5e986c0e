"""Follow-up of a cohort in numbers and in words: sizes, coding of the event, life table, competing causes."""

import numpy as np
import pandas as pd

from medlab.statistics import metrics

YEAR = 365.25  # days
FEW_EVENTS = 20  # below, a remark is made on how little they say


def days(value: float) -> str:
    """Days as text; inf is "not reached"."""
    return "not reached" if np.isinf(value) else f"{value:.0f}"


def days_with_interval(value: float, low: float = np.nan, high: float = np.nan) -> str:
    """Days with an interval as text: "812 (640 to not reached)"; NaN is "not known"."""
    if np.isfinite(low) and low < high:
        return f"{days(value)} ({days(low)} to {days(high)})"
    return "not known" if np.isnan(value) else f"{days(value)} (no interval)"


def sizes(people, part) -> pd.DataFrame:
    """Patients, events and medians of all and of each part of the split, as a table to read.

    Parameters
    ----------
    people : DataFrame of `hazards.follow_up`; part : Series aligned with it, names of the parts
    """
    rows = {"all": people} | {name: people[part == name] for name in ("train", "val", "test") if (part == name).any()}
    found = {}
    for name, some in rows.items():
        time, event = some["time_days"], some["event"]
        found[name] = {"patients": len(some), "events": int(event.sum()), "censored": f"{1 - event.mean():.0%}",
                       "median follow-up, days": days_with_interval(*median_followup(time, event)),
                       "median survival, days": days_with_interval(*median_survival(time, event))}
    return pd.DataFrame(found).T


def remarks(n: int, n_events: int, part: str, is_open: bool) -> list[str]:
    """What the shown part forbids, as sentences.

    Parameters
    ----------
    n, n_events : patients and events of the shown part; part : "test" or "val"; is_open : whether test may be shown
    """
    found, named = [], {"test": "test", "val": "validation"}[part]
    if not is_open:
        found.append("The test part stays closed (survival_open_test is false): this page shows validation only. "
                     "Networks and their epoch were chosen on the same patients, their numbers flatter.")
    elif part == "val":
        found.append("There is no test part: this page shows validation only, and its numbers flatter.")
    if n_events < FEW_EVENTS:
        found.append(f"Only {n_events} events among the {n} {named} patients: a C of 0.7 would be known to about "
                     f"± {0.8 / np.sqrt(max(1, n_events)):.2f}. Repeat over folds (n_folds) before any claim.")
    return found


def coding_in_words(card: dict, time, event) -> str:
    """How the event was coded, and how late events and censorings come, as sentences."""
    coding, said = card.get("event_coding") or {}, ""
    if coding:
        seen, censored = (", ".join(map(str, coding.get(name, []))) for name in ("seen", "censored"))
        said = (f"Column {coding.get('column')}: {seen} was read as the event, {censored} as censored. "
                f"{card.get('event_meaning') or ''}\n")
    late = time >= time.quantile(0.9)
    medians = [f"of the {there.sum()} {name} {time[there].median():.0f} days"
               for name, there in (("events", event), ("censored", ~event)) if there.any()]
    return said + (f"Median time {', '.join(medians)}. Of the tenth with the longest follow-up (or more, where times "
                   f"are equal) {event[late].mean():.0%} have the event, of all {event.mean():.0%}.")


def looks_exchanged(time, event) -> bool:
    """Whether events come later than censorings, as they do where 0 and 1 of the event were exchanged.

    Parameters
    ----------
    time, event : Series (n,) days and event seen
    """
    late = time.rank(pct=True) > 0.9
    return bool(event.mean() < 1 and (time[event].median() > time[~event].median() or
                                      event[late].mean() > event.mean()))


def by_year(time, event) -> pd.DataFrame:
    """`life_table` of whole years as a table to read."""
    life = life_table(time, event, np.arange(0, np.max(time) + YEAR, YEAR))
    life.index = pd.Index([f"{a / YEAR:.0f} to {b / YEAR:.0f}" for a, b in life[["start", "end"]].to_numpy()],
                          name="years")
    shares = metrics.written(life).replace("not defined", "follow-up ends before")
    return life[["at_risk", "events", "censored"]].rename(columns={"at_risk": "at risk"}).assign(
        **{"event-free at the end (95 % interval)": shares})


def life_table(time, event, edges) -> pd.DataFrame:
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


def median_followup(time, event) -> tuple[float, float, float]:
    """Median follow-up by reverse Kaplan-Meier, its end is the event: (days, low, high), inf = not reached.

    Schemper and Smith, Control Clin Trials 1996;17:343-6. The mean of all times would be short where many die.
    """
    return median_survival(time, ~np.asarray(event, bool))


def median_survival(time, event) -> tuple[float, float, float]:
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


def _days(number):
    return f"{number:.0f} days" if np.isfinite(number) else "not reached"


def in_words(numbers: dict) -> list[str]:
    """Sentences about what `describe` found."""
    events, median = numbers["n_events"], "not reached"
    if np.isfinite(numbers["median_survival_days"]):
        low, high = numbers["median_survival_low_days"], numbers["median_survival_high_days"]
        median = f"{_days(numbers['median_survival_days'])} (95 % interval {_days(low)} to {_days(high)})"
    return [f"{events} events in {numbers['n_patients']} patients, {numbers['censored']:.0%} censored",
            f"median follow-up (reverse Kaplan-Meier) {_days(numbers['median_followup_days'])}",
            f"median survival {median}", f"enough for about {events // 10} coefficients at ten events each"]


def cumulative_incidence(time, cause) -> dict[str, pd.DataFrame]:
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


def causes(table, event) -> pd.Series:
    """Cause of each event seen, (n,); NaN where censored, and for all where the table names no cause.

    Parameters
    ----------
    table : DataFrame aligned with event, one row per patient; ``event_cause`` where causes compete
    """
    told = table.get("event_cause", pd.Series(index=table.index, dtype=object)).where(event)
    return told.fillna("cause unknown").where(event) if told.notna().any() else told


def causes_in_words(incidence: dict, cause, until: float) -> str:
    """One sentence per cause: events, share of the patients by a day, and what 1 minus Kaplan-Meier would say.

    Parameters
    ----------
    incidence : of `cumulative_incidence`; cause : (n,) as given there; until : days
    """
    said = []
    for name, curve in incidence.items():
        end = curve[curve["time_days"] <= until].iloc[-1]
        share = metrics.written(end.to_frame().T).iloc[0]
        said.append(f"{name}: {cause.eq(name).sum()} events; by {end['time_days']:.0f} days {share} of the patients "
                    f"have had it; 1 minus Kaplan-Meier would say {end['naive']:.3f}.")
    return "\n".join(said)
