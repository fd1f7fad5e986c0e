"""Classical survival models that a network has to beat: Cox, random survival forest, tumour volume.

All are fitted on the rows they are given and on nothing else; what is chosen (the ridge) is chosen inside them.
"""

import re
import warnings

import numpy as np
import pandas as pd

from medlab.statistics import cox
from medlab.survival.hazards import breslow, cox_curves

FEWEST_EVENTS = 3  # below this nothing is fitted
MOST_TIMES = 150  # distinct times a forest keeps in each leaf
MAIN = ("fused", "image", "table", "clinical_radiomics", "clinical_volume", "clinical", "volume", "forest", "source")
WIDEST = 4.0  # standard error of a log hazard ratio above which it is not estimated but diverging


def fit_cox(time, event, table, ridges=cox.RIDGES, seed=0) -> dict:
    """Cox model (Efron's ties) with a ridge chosen within the given rows (`statistics.cox.choose_ridge`).

    Parameters
    ----------
    time, event : (n,) follow-up in days, event seen
    table : (n, m) DataFrame of numbers; columns are standardised here, constant ones get no coefficient.
    ridges : candidates; one alone is taken as it is.

    Returns
    -------
    dict: coefficients (Series by column, log hazard ratio per unit of the column; higher risk is worse), centre
    (Series), ridge, baseline (`hazards.breslow`), n, events. ``predict(fit, table, grid)`` gives risk and curves of any
    rows.

    Notes
    -----
    Without a ridge a level that is seen in few patients, none of whom died, gets an infinite coefficient.
    """
    time, event = np.asarray(time, float), np.asarray(event, bool)
    if event.sum() < FEWEST_EVENTS:
        raise ValueError(f"{event.sum()} events in {len(event)} patients; a Cox model needs at least {FEWEST_EVENTS}")
    centre, spread = table.mean(), table.std(ddof=0)
    use = list(table.columns[spread > 1e-9])
    if not use:
        raise ValueError(f"no column varies in the {len(table)} patients: {', '.join(table) or 'the table is empty'}")
    x = ((table[use] - centre[use]) / spread[use]).to_numpy(float)
    ridge = cox.choose_ridge(time, event, x, ridges, seed)
    b = pd.Series(cox.coefficients(time, event, x, ridge), use) / spread[use]
    fit = {"coefficients": b.reindex(table.columns, fill_value=0.0), "centre": centre, "ridge": ridge,
           "n": len(time), "events": int(event.sum())}
    return fit | {"baseline": breslow(time, event, cox_risk(fit, table))}


def cox_risk(fit, table) -> np.ndarray:
    """Log risk of rows by `fit_cox`, (n,); 0 is the mean patient of the fitted rows, higher is worse."""
    return ((table - fit["centre"]) @ fit["coefficients"]).to_numpy(float)


def predict(fit, table, grid) -> tuple[np.ndarray, np.ndarray]:
    """Risk (n,), higher is worse, and survival curves (n, g) of rows.

    Parameters
    ----------
    fit : of `fit_cox` or `fit_forest`; table : (n, m) columns it was fitted on; grid : (g,) days
    """
    if not isinstance(fit, dict):
        return fit.predict(table.to_numpy(float)), forest_curves(fit, table, grid)
    risk = cox_risk(fit, table)
    return risk, cox_curves(*fit["baseline"], risk, grid)


def main_of(names) -> str | None:
    """The one model that groups and examples are made of: the first of `MAIN` that exists, whatever its result."""
    return next((name for name in MAIN if name in names), None)


def hazard_ratios(time, event, table, units) -> pd.DataFrame:
    """Cox model without a ridge, for reading: hazard ratios per unit with intervals, and the test of constancy.

    Parameters
    ----------
    table : (n, m) DataFrame; units : Series by column, the step a ratio is stated for (`clinical_units`)

    Returns
    -------
    DataFrame by column: value, low, high (95 %), p, p_constant (Grambsch and Therneau 1994: small = the ratio
    changes over time); attrs["note"] says which columns were left out, or that a ridge was needed.
    """
    frame = table.loc[:, table.std(ddof=0) > 1e-9].astype(float)
    frame, twins = _without_twins(frame)
    model, penalty = _lifelines_cox(time, event, frame)
    constant = _constancy(model, time, event, frame)
    step = units.reindex(frame.columns).fillna(1.0)
    b, se = model.params_ * step, model.standard_errors_ * step
    found = pd.DataFrame({"value": np.exp(b), "low": np.exp(b - 1.96 * se), "high": np.exp(b + 1.96 * se),
                          "p": model.summary["p"], "p_constant": constant})
    notes = [f"{', '.join(twins)}: fully told by other columns, left out."] if twins else []
    if penalty:
        notes.append(f"The fit does not converge as it is; these ratios have a ridge ({penalty:g}) and are too near 1.")
    found.attrs["note"] = " ".join(notes)
    return found


def clinical_ratios(time, event, table, fitted) -> pd.DataFrame:
    """`hazard_ratios` of the columns of covariates.parquet, per step that is read, with names that say the step.

    Parameters
    ----------
    fitted : dict of preprocessing.json, ``covariates``
    """
    units = clinical_units(fitted)
    found = hazard_ratios(time, event, table, units["unit"])
    return found.set_axis(units["label"].reindex(found.index).fillna(found.index.to_series()))


def group_ratios(time, event, groups) -> pd.DataFrame:
    """Hazard ratios of groups against the first, as `hazard_ratios`.

    Parameters
    ----------
    time, event : Series (n,); groups : (n,) Categorical

    Raises
    ------
    ValueError
        Where nobody of a group had the event.
    """
    flags = pd.get_dummies(groups.remove_unused_categories(), dtype=float)
    if without := [name for name in flags if not event[groups == name].any()]:
        raise ValueError(f"nobody had the event in {', '.join(without)}")
    return hazard_ratios(time, event, flags.iloc[:, 1:], pd.Series(1.0, flags.columns))


def log_rank(time, event, groups) -> dict:
    """Log-rank test of all groups: statistic (chi-squared), p; empty with fewer than two groups."""
    from lifelines.statistics import multivariate_logrank_test

    if len(set(groups)) < 2:
        return {}
    test = multivariate_logrank_test(time, np.asarray(groups), event)
    return {"statistic": float(test.test_statistic), "p": float(test.p_value)}


def p_values(ratios) -> pd.DataFrame:
    """The p values of `hazard_ratios` as a table to read."""
    found = ratios[["p", "p_constant"]].set_axis(["p", "constant hazards, p"], axis=1).rename_axis(None)
    return found.map(lambda p: f"{p:.3f}" if p >= 0.001 else "< 0.001")


def constancy_in_words(ratios) -> str:
    """Which hazards are not constant over time, and how many would seem so by chance."""
    changing = ratios.index[ratios["p_constant"] < 0.05]
    return (f"Hazards not constant over time at the 5 % level: {'; '.join(changing) or 'none'}. By chance about "
            f"{0.05 * len(ratios):.1f} of {len(ratios)}.")


def _without_twins(frame):
    """Columns that are no linear combination of those before them, and the names of the rest."""
    kept, twins = [], []
    for name in frame:
        centred = frame[[*kept, name]] - frame[[*kept, name]].mean()
        singular = np.linalg.matrix_rank((centred / centred.std(ddof=0)).to_numpy(), tol=1e-6) < len(kept) + 1
        (twins if singular else kept).append(name)
    return frame[kept], twins


def _lifelines_cox(time, event, frame):
    """The weakest ridge, 0 first, at which lifelines' fit converges and no coefficient runs away."""
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    data = frame.assign(**{"time ": np.asarray(time, float), "event ": np.asarray(event, bool)})
    for penalty in (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = CoxPHFitter(penalizer=penalty).fit(data, "time ", "event ")
            except (ConvergenceError, ValueError, np.linalg.LinAlgError):
                continue
        scaled = model.standard_errors_ * frame.std(ddof=0)
        if np.isfinite(scaled).all() and (scaled < WIDEST).all():
            return model, penalty
    raise ValueError(f"no Cox model of {', '.join(frame)} converges, {int(np.sum(event))} events in {len(frame)}")


def _constancy(model, time, event, frame):
    from lifelines.statistics import proportional_hazard_test

    data = frame.assign(**{"time ": np.asarray(time, float), "event ": np.asarray(event, bool)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = proportional_hazard_test(model, data, time_transform="rank").summary["p"]
    return found.reindex(frame.columns)


def clinical_units(fitted) -> pd.DataFrame:
    """Steps in which hazard ratios are read, for the standardised columns of covariates.parquet.

    Parameters
    ----------
    fitted : dict of preprocessing.json, ``covariates``

    Returns
    -------
    DataFrame by column: unit (the step in standard deviations, for `hazard_ratios`), label. A number gets the
    round step (1, 2 or 5 times a power of ten) nearest to its standard deviation, ten years for an age; a
    category is read against its reference.
    """
    rows = {}
    for name, fit in fitted.items():
        if fit["kind"] == "number":
            step = 10.0 if re.search(r"(^|_)age(_|$)", name, re.I) and fit["std"] > 3 else round_step(fit["std"])
            rows[name] = (step / fit["std"], f"{name}, per {step:g}")
        for level in (level for level in fit.get("levels", []) if level != fit["reference"]):
            rows[f"{name}={level}"] = (1.0, f"{name}: {level} against {fit['reference']}")
        rows[f"{name}_missing"] = (1.0, f"{name} missing")
    return pd.DataFrame({"unit": {name: float(unit) for name, (unit, _) in rows.items()},
                         "label": {name: label for name, (_, label) in rows.items()}})


def round_step(spread) -> float:
    """The round number (1, 2, 5 times a power of ten) nearest to a standard deviation; 1 for grades and flags."""
    if 0.2 < spread < 1.5:
        return 1.0
    steps = np.outer(10.0 ** np.arange(-9, 10), (1, 2, 5)).ravel()
    return float(steps[np.argmin(np.abs(np.log(steps / spread)))])


def fit_forest(time, event, table, n_trees=200, min_leaf=10, seed=0) -> object:
    """Random survival forest (Ishwaran et al., Ann Appl Stat 2008;2:841-60).

    Each leaf keeps a curve over all distinct times, which for thousands of patients fills the memory: times
    are moved to the end of one of at most 150 intervals that hold equally many events. Risks rank as before.

    Returns
    -------
    scikit-survival's RandomSurvivalForest; its ``predict`` is a risk, higher is worse.
    """
    from sksurv.ensemble import RandomSurvivalForest
    from sksurv.util import Surv

    time, event = np.asarray(time, float), np.asarray(event, bool)
    if event.sum() < FEWEST_EVENTS:
        raise ValueError(f"{event.sum()} events in {len(event)} patients; a forest needs at least {FEWEST_EVENTS}")
    edges = np.unique(time[event])
    if len(edges) > MOST_TIMES:
        edges = np.unique(np.quantile(edges, np.linspace(0, 1, MOST_TIMES), method="higher"))
    edges = np.append(edges, max(time.max(), edges[-1] + 1))
    coarse = edges[np.minimum(np.searchsorted(edges, time), len(edges) - 1)]
    forest = RandomSurvivalForest(n_trees, min_samples_leaf=min_leaf, max_features="sqrt", random_state=seed)
    return forest.fit(table.to_numpy(float), Surv.from_arrays(event, coarse))


def forest_curves(forest, table, grid) -> np.ndarray:
    """Survival probabilities of a forest on a grid of days, (n, g): steps, 1 before the first event."""
    curves = forest.predict_survival_function(table.to_numpy(float), return_array=True)
    curves = np.column_stack([np.ones(len(table)), curves])
    return curves[:, np.searchsorted(forest.unique_times_, np.asarray(grid, float), side="right")]


def described(fits: dict, tables: dict, counted=()) -> pd.DataFrame:
    """Columns and ridge of each Cox model, as a table to read; `counted` columns (radiomics) are only counted."""
    rows = {}
    for name in (name for name in tables if name in fits):
        own = [column for column in tables[name] if column not in counted]
        more = tables[name].shape[1] - len(own)
        rows[name] = {"columns": ", ".join(own + [f"{more} radiomics"] * (more > 0)), "ridge": fits[name]["ridge"]}
    return pd.DataFrame(rows).T


def risk_groups(risk, fitted_risk, n=3) -> tuple[pd.Categorical, np.ndarray]:
    """Groups of equal size in the fitted part: ordered Categorical, names "low risk" ... "high risk".

    Parameters
    ----------
    risk : (n,) of any patients; fitted_risk : risks of the patients that give the cut points (never test)

    Returns
    -------
    (Categorical, cut points)
    """
    names = {2: ["low risk", "high risk"], 3: ["low risk", "middle risk", "high risk"]}.get(n)
    names = names or [f"risk group {k + 1}" for k in range(n)]
    cuts = np.quantile(fitted_risk, np.arange(1, n) / n)
    return pd.Categorical.from_codes(np.searchsorted(cuts, risk, side="left"), names, ordered=True), cuts
