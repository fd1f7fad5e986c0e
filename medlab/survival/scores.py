"""Scores of a survival model with intervals by resampling patients: ranks and probabilities over time.

Every score is computed for many weightings of the patients at once (as in `statistics.measures`): ones give the value,
and it is then scikit-survival's; bootstrap counts give a resample. The censoring curve G of the inverse probability
weights (IPCW) is fitted on the training part and held fixed. No score is turned round: a C below 0.5 stays below 0.5.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from medlab.statistics import concordance, metrics
from medlab.statistics.intervals import jackknife, left_out, limits, weights
from medlab.statistics.measures import ratio
from medlab.survival import hazards

BASELINES = ("kaplan_meier", "truth")  # no models to choose
FIRST = ("fused", "image", "clinical", "truth")  # what a page shows first; the others are folded
PAIRS = (("fused", "clinical"), ("fused", "clinical_volume"), ("fused", "clinical_radiomics"), ("fused", "image"),
         ("image", "volume"), ("image", "source"), ("table", "clinical"), ("forest", "clinical"),
         ("clinical_volume", "clinical"), ("clinical_radiomics", "clinical"), ("clinical", "source"))
TITLES = {"c_harrell": "C, Harrell", "c_uno": "C, Uno", "integrated_brier": "IBS"}
MOST_LOST = 0.03  # of C within one source before it is said
MOST_WEIGHTS = 20_000_000  # resamples times patients: larger tests get fewer resamples (200 for 100,000 patients)


def censoring(train, t) -> np.ndarray:
    """Share of the training patients not yet censored at t days (Kaplan-Meier of the censoring); 0 beyond its end."""
    from sksurv.nonparametric import CensoringDistributionEstimator

    G, t = CensoringDistributionEstimator().fit(_structured(train)), np.atleast_1d(np.asarray(t, float))
    inside = t <= train["time_days"].max()
    return np.where(inside, G.predict_proba(np.minimum(t, train["time_days"].max())), 0.0)


def _structured(table):
    return np.array(list(zip(table["event"].astype(bool), table["time_days"].astype(float), strict=True)),
                    dtype=[("event", bool), ("time", float)])


def _inverse(g):
    return np.divide(1.0, g, out=np.zeros_like(g), where=g > 0)


def _auc(time, event, risk, w, t, inverse, strata):
    """Cumulative/dynamic AUC at t: events up to t (weighted by IPCW) against those followed beyond t; (b,)."""
    good, all_ = 0.0, 0.0
    for s in concordance.groups(strata, len(time)):
        s = s[np.argsort(-risk[s], kind="stable")]
        starts = np.flatnonzero(np.r_[True, -np.diff(risk[s]) > concordance.TIED])
        case = np.add.reduceat(w[:, s] * (inverse * (event & (time <= t)))[s], starts, axis=1)
        control = np.add.reduceat(w[:, s] * (time > t)[s], starts, axis=1)
        below = control.sum(1, keepdims=True) - np.cumsum(control, axis=1)
        good = good + (case * (below + control / 2)).sum(1)
        all_ = all_ + case.sum(1) * control.sum(1)
    return ratio(good, all_)


def _losses(time, event, p, t, inverse, inverse_t):
    """Each patient's part of the Brier score at times t (m,) for survival p (n, m); (n, m). Graf, Stat Med 1999."""
    dead, alive = (event & (time <= t[:, None])).T, (time > t[:, None]).T
    return p**2 * dead * inverse[:, None] + (1 - p) ** 2 * alive * inverse_t


def brier_times(test, grid, horizon) -> np.ndarray:
    """Times over which the Brier score is integrated: first event of test, the grid days between, the horizon."""
    first = test.loc[test["event"].astype(bool), "time_days"].min()
    grid = np.asarray(grid, float)
    return np.r_[first, grid[(grid > first) & (grid < horizon)], horizon] if first < horizon else np.empty(0)


def _all_losses(train, test, grid, S, times):
    time, event = test["time_days"].to_numpy(float), test["event"].to_numpy(bool)
    p = np.broadcast_to(hazards.at(grid, S, times), (len(time), len(times)))
    return _losses(time, event, p, times, _inverse(censoring(train, time)), _inverse(censoring(train, times)))


def weighted(train, test, risk, grid, S, horizons, strata) -> dict[str, Callable]:
    """The scores by name, each a function of the weights of the test patients, (b, n) to (b,); see `scores`."""
    time, event = test["time_days"].to_numpy(float), test["event"].to_numpy(bool)
    strata, jobs = None if strata is None else np.asarray(strata), {}
    inverse = _inverse(censoring(train, time))
    if risk is not None:
        risk = np.asarray(risk, float).reshape(-1)
        jobs["c_harrell"] = lambda w: concordance.concordance(time, event, risk, w, strata)
        uno = inverse**2 * (time < horizons[-1])
        jobs["c_uno"] = lambda w: concordance.concordance(time, event, risk, w, strata, uno)
        for t in horizons:
            jobs[f"auc_{t:.0f}"] = lambda w, t=t: _auc(time, event, risk, w, t, inverse, strata)
    if S is not None:
        parts = {f"brier_{t:.0f}": _all_losses(train, test, grid, S, np.array([t]))[:, 0] for t in horizons}
        times = brier_times(test, grid, horizons[-1])
        if len(times):
            part = np.trapezoid(_all_losses(train, test, grid, S, times), times, axis=1)
            parts["integrated_brier"] = part / (times[-1] - times[0])
        jobs |= {name: lambda w, one=one: ratio(w @ one, w.sum(1)) for name, one in parts.items()}
    return jobs


def _check(train, test, horizons, *risks):
    for name, table in (("train", train), ("test", test)):
        if not len(table) or table[["time_days", "event"]].isna().any().any() or not (table["time_days"] > 0).all():
            raise ValueError(f"{name}: {len(table)} patients; each needs a time above 0 and an event that is known "
                             "(see survival.hazards.follow_up)")
    if not test["event"].any():
        raise ValueError(f"no event among the {len(test)} evaluated patients: nothing can be ranked; use more patients")
    for risk in risks:
        if risk is not None and (np.size(risk) != len(test) or not np.isfinite(risk).all()):
            raise ValueError(f"{np.size(risk)} risks, {int((~np.isfinite(risk)).sum())} of them not finite, for "
                             f"{len(test)} patients: one finite risk each is expected")
    return hazards.legal_horizons(horizons, train["time_days"], test["time_days"])


def _who(test):
    return pd.factorize(test.index)[0] if test.index.name == "patient_id" else np.arange(len(test))


def _rows(who, n_bootstrap, seed):
    """Ones, bootstrap and jackknife weights in one table, so that all pairs are compared once; number of resamples."""
    b = min(n_bootstrap, max(200, MOST_WEIGHTS // len(who))) if n_bootstrap and who.max() > 0 else 0
    drawn = [w.astype(np.float32) for w in weights(who, b, seed)] if b else []
    return np.vstack([np.ones((1, len(who)), np.float32), *drawn, left_out(who).astype(np.float32)]), b


def scores(train, test, risk, grid=None, S=None, horizons=(365.0,), strata=None, n_bootstrap=1000,
           seed=0, level=0.95) -> pd.DataFrame:
    """All scores of a model with their intervals (BCa, patients resampled).

    Parameters
    ----------
    train, test : DataFrames with time_days, event (`survival.hazards.follow_up`); train gives the censoring curve only
    risk : (n,) of the test patients, higher is worse; None where there are only curves (Kaplan-Meier)
    grid, S : survival curves (g,), (n, g) or (g,); None where there are only ranks
    horizons : days; cut to the legal range (``attrs["notes"]`` says so, ``attrs["horizons"]`` has those used)
    strata : (n,) only pairs within one stratum are compared

    Returns
    -------
    DataFrame by measure: value, low, high, undefined (share of the resamples). c_harrell, c_uno (up to the largest
    horizon), auc_<days>: 0.5 is chance, higher is better; brier_<days>, integrated_brier: lower is better.
    """
    horizons, notes = _check(train, test, horizons, risk)
    who = _who(test)
    w, b = _rows(who, n_bootstrap, seed)
    out = {}
    for name, job in weighted(train, test, risk, grid, S, horizons, strata).items():
        found = job(w)
        value, draws = job(np.ones((1, len(who))))[0], found[1:1 + b]
        ends = limits(value, draws, found[1 + b:], level) if b else (np.nan, np.nan)
        out[name] = value, *ends, np.isnan(draws).mean() if b else np.nan
    table = pd.DataFrame.from_dict(out, orient="index", columns=["value", "low", "high", "undefined"])
    table.attrs |= {"notes": notes, "horizons": horizons}
    return table


def difference(train, test, risk_a, risk_b, name="c_harrell", grid=None, S_a=None, S_b=None, horizons=(365.0,),
               strata=None, level=0.95) -> dict[str, float]:
    """Paired difference a - b of one score on the same patients: dict value, low, high (`intervals.jackknife`)."""
    horizons, _ = _check(train, test, horizons, risk_a, risk_b)
    one, two = (weighted(train, test, r, grid, s, horizons, strata) for r, s in ((risk_a, S_a), (risk_b, S_b)))
    if name not in one or name not in two:
        raise ValueError(f"{name!r} is not among the scores: {', '.join(k for k in one if k in two)}")
    w = np.vstack([np.ones((1, len(test))), left_out(_who(test))])
    value, *without = one[name](w) - two[name](w)
    return dict(zip(("value", "low", "high"), (float(value), *jackknife(value, np.array(without), level, 1)),
                    strict=True))


def kaplan_meier_curve(train, grid) -> np.ndarray:
    """The baseline without any covariate: Kaplan-Meier of the training part on the grid, (g,), flat after its end."""
    last = train["time_days"].max()
    return hazards.kaplan_meier(train["time_days"], train["event"], np.minimum(grid, last))[0]


def possible(people, horizons) -> bool:
    """Whether these patients (time_days, event) can be scored: two of them, one with the event before the last horizon.
    """
    return bool(len(people) > 1 and len(horizons) and (people["time_days"][people["event"]] < max(horizons)).any())


def title(measure: str) -> str:
    """A measure in words; days become years.

    >>> title("brier_365"), title("c_uno")
    ('Brier, 1 year', 'C, Uno')
    """
    if measure in TITLES:
        return TITLES[measure]
    word, _, days = measure.partition("_")
    years = round(float(days) / 365.25, 2)
    return f"{word.upper() if word == 'auc' else word.title()}, {years:g} year{'s' * (years != 1)}"


def tables(scored: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All scores with their intervals as two tables to read, of the ranks and of the probabilities; a row per model.

    Parameters
    ----------
    scored : dict model -> table of `scores`
    """
    texts = pd.DataFrame({name.replace("_", " "): metrics.written(one) for name, one in scored.items()}).T
    ranks = [name for name in texts if name.startswith(("c_", "auc"))]
    return (texts[ranks].drop(index="kaplan meier", errors="ignore").rename(columns=title),
            texts.drop(columns=ranks).rename(columns=title))


def that_matter(scored: dict, main: str) -> list[str]:
    """Names of the models that a page shows first: the main one, then those of `FIRST` that exist."""
    return [name for name in dict.fromkeys((main, *FIRST)) if name in scored]


def one_of_each(scored: dict, measure: str = "c_harrell") -> pd.DataFrame:
    """One measure of every model: DataFrame by model with value, low, high."""
    return pd.DataFrame({name: one.loc[measure] for name, one in scored.items()}).T.astype(float)


def in_words(scored: dict, main: str) -> str:
    """Which models rank better than chance and predict better than Kaplan-Meier, and what the truth would reach."""
    ranked = {name: one for name, one in scored.items() if name not in BASELINES}
    level = scored["kaplan_meier"].loc["integrated_brier", "value"]
    better = [name for name, one in ranked.items() if one.loc["c_harrell", "low"] > 0.5]
    below = [name for name, one in ranked.items() if one.loc["integrated_brier", "value"] < level]
    said = [f"Shown to rank better than chance: {', '.join(better) or 'none'}.",
            f"IBS below Kaplan-Meier's ({level:.3f}): {', '.join(below) or 'none'}."]
    if "truth" in scored:
        truth, own = (metrics.written(scored[name]).loc["c_harrell"] for name in ("truth", main))
        said.append(f"The simulation's own hazard reaches a C of {truth}; {main} {own}.")
    return "\n".join(said).replace("_", " ")


def over_time(train, test, risks, grid, curves, horizon, n_times=16) -> pd.DataFrame:
    """AUC and Brier score at times from the first tenth of the events to the horizon, without intervals.

    Parameters
    ----------
    train, test : as `scores`; risks, curves : dict model -> (n,), (n, g); grid : (g,) days; horizon : days

    Returns
    -------
    DataFrame by day with columns (auc or brier, model); empty where there are not two such times.
    """
    seen = test["time_days"][test["event"]]
    times = np.linspace(seen.quantile(0.1), horizon, n_times) if len(seen) else np.empty(0)
    times = np.unique(np.floor(times[times >= 1]))
    found = {}
    for name in risks if len(times) > 1 else ():
        one = scores(train, test, risks[name], grid, curves[name], times, n_bootstrap=0)["value"]
        found |= {(kind, name): one[[f"{kind}_{t:.0f}" for t in times]].to_numpy() for kind in ("auc", "brier")}
    return pd.DataFrame(found, index=times if found else None)


def differences(train, test, risks, pairs=PAIRS) -> pd.DataFrame:
    """`difference` of Harrell's C for each pair of models that both exist: DataFrame by "a minus b": value, low, high.

    Parameters
    ----------
    risks : dict model -> (n,)
    """
    found = {f"{a} minus {b}".replace("_", " "):
             difference(train, test, risks[a], risks[b], "c_harrell")
             for a, b in pairs if a in risks and b in risks}
    return pd.DataFrame(found, index=["value", "low", "high"]).T.astype(float)


def within_sources(train, test, risks, sources, horizons, n_bootstrap=1000, seed=0) -> pd.DataFrame:
    """Harrell's C of each model, only pairs of patients from one source compared.

    Parameters
    ----------
    risks : dict model -> (n,); sources : DataFrame (n rows) of columns that name a source; who has no known one is
        compared with nobody

    Returns
    -------
    DataFrame by (model, column): value, low, high, undefined.
    """
    found = {}
    for column in sources:
        level = sources[column].astype(object)
        strata = level.where(level.notna(), [f"unknown {i}" for i in range(len(level))]).astype(str).to_numpy()
        for name, risk in risks.items():
            found[name, column] = scores(train, test, risk, horizons=horizons, strata=strata, n_bootstrap=n_bootstrap,
                                         seed=seed).loc["c_harrell"]
    return pd.DataFrame(found).T


def within_table(over_all, within) -> pd.DataFrame:
    """C over all (`one_of_each`) beside C `within_sources`, as a table to read."""
    names = within.index.get_level_values(0)
    return pd.DataFrame({"C over all": metrics.written(over_all).reindex(names).to_numpy(),
                         "C within one source": metrics.written(within)}, within.index)


def within_in_words(over_all, within, main: str) -> str:
    """How much of the C of a model is lost within one source (`MOST_LOST` and more is said to be the source)."""
    lost = over_all.loc[main, "value"] - within.loc[main, "value"].astype(float)
    said = "; ".join(f"{main.replace('_', ' ')} within {column}: {-fall:+.3f}" for column, fall in lost.items())
    return said + (". Part of what it seems to know is the source." if lost.max() > MOST_LOST else ".")


def true_risk(truth, patients) -> np.ndarray | None:
    """Log hazard from which a simulation drew the times, (n,); None where it is not known of every patient.

    Parameters
    ----------
    truth : DataFrame of truth.csv with patient_id, log_hazard, or None; patients : (n,) identifiers as text
    """
    if truth is None or not {"patient_id", "log_hazard"} <= set(truth):
        return None
    found = truth.astype({"patient_id": str}).drop_duplicates("patient_id").set_index("patient_id")["log_hazard"]
    found = found.reindex(patients)
    return found.to_numpy(float) if found.notna().all() else None
