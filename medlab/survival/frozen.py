"""The survival models of a run, as they are, for the patients of another dataset.

The networks with the slopes that 05 of the run has fitted, their baseline hazard from the patients the run was fitted
on; beside them the run's own Cox model of the clinical table and its Kaplan-Meier curve. No prediction sees a new
outcome; only what judges them does.
"""

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import storage
from medlab.cohorts import datasets, vocabulary
from medlab.statistics import metrics
from medlab.survival import calibration, hazards, models, recalibration, scores

CLOSE = 1e-3  # of a log risk, between what a run has written and what its files give again


def read(folder: Path) -> dict:
    """survival.json of a run, with ``training`` (survival_training.json).

    Raises
    ------
    ValueError
        Where one of them is missing.
    """
    missing = [name for name in ("survival.json", "survival_training.json") if not (folder / name).exists()]
    if missing:
        raise ValueError(f"reports/{folder.name} has no {', '.join(missing)}: execute notebooks 03 and 05 of this run "
                         "first")
    found, training = (storage.read_json(folder / f"{name}.json") for name in ("survival", "survival_training"))
    return found | {"training": training}


def fitted_patients(of: dict, stored: dict) -> pd.DataFrame:
    """The patients that the models of a run were fitted on, as its notebook 05 had them: time_days, event, split.

    Parameters
    ----------
    of : of `cohorts.frozen.read`; stored : of `read`
    """
    opened = stored["part"] == "test"
    rows = of["rows"][~of["rows"]["split"].isin(["dropped"] if opened else ["dropped", "test"])]
    people = hazards.follow_up(rows)
    part = rows.drop_duplicates("patient_id").set_index("patient_id")["split"].loc[people.index]
    return people.assign(split=part)[part.isin(["train", "val"] if opened else ["train"])]


def outputs(network, images, rows: pd.DataFrame, covariates: pd.DataFrame, people) -> tuple:
    """Outputs of the networks for some patients, and who of them has an image.

    Parameters
    ----------
    network : survival.keras; images : array of images.npy, or None
    rows, covariates : aligned; rows with patient_id, split, has_image; the first ones are those of images.npy
    people : identifiers of the patients wanted

    Returns
    -------
    dict of `networks.fusion.predict`; (n,) bool
    """
    from medlab.networks import fusion

    k = network.input["present"].shape[1] if "present" in network.input else 0
    known, rows_of, first = fusion.units(rows.reset_index(drop=True), k or 1)
    rows_of = np.pad(rows_of, ((0, 0), (0, max(0, k - rows_of.shape[1]))), constant_values=-1)[:, :k]
    at = pd.Series(np.arange(len(known)), known["patient_id"].astype(str)).loc[list(people)].to_numpy()
    given = fusion.inputs_of(covariates.iloc[first[at]], rows_of[at])
    return fusion.predict(network, images, rows_of[at], given), known["n_images"].to_numpy()[at] > 0


def references(of: dict, data, stored: dict, fitted, people, rows, covariates, grid) -> dict:
    """What stands beside the networks: Kaplan-Meier and Cox model of the run, and what a simulation knows.

    Parameters
    ----------
    data : the other dataset; fitted : of `fitted_patients`; people : time_days, event of the n others
    rows, covariates : of the others, aligned

    Returns
    -------
    dict model -> risk (n,), curves (n, g)
    """
    survives = scores.kaplan_meier_curve(fitted, grid)
    found = {"kaplan_meier": (np.zeros(len(people)), np.tile(survives, (len(people), 1)))}
    if fit := clinical(of, stored, fitted):
        found["clinical"] = models.predict(fit, clinical_table(rows, covariates, people.index), grid)
    with contextlib.suppress(ValueError):  # the dataset of the run need not lie here any more
        risks = [scores.true_risk(truth, one.index) for truth, one in (
            (datasets.load(of["facts"]["name"]).truth, fitted), (data.truth, people))]
        if not any(risk is None for risk in risks):
            found["truth"] = hazards.from_log_risk(fitted, *risks, grid)
    return found


def clinical(of: dict, stored: dict, people: pd.DataFrame) -> dict | None:
    """The run's Cox model of its clinical table, with its ridge; None where it has none.

    Parameters
    ----------
    people : of `fitted_patients`
    """
    ridge = stored["ridges"].get("clinical")
    x = clinical_table(of["rows"], of["covariates"], people.index)
    return models.fit_cox(people["time_days"], people["event"], x, ridges=(ridge,)) if ridge and x.shape[1] else None


def clinical_table(rows: pd.DataFrame, covariates: pd.DataFrame, people) -> pd.DataFrame:
    """Clinical columns of covariates.parquet of some patients, (n, m), the first row of each; rows aligned with it."""
    own = covariates[vocabulary.parts_of(covariates)[0]].set_axis(rows["patient_id"].to_numpy())
    return own[~own.index.duplicated()].loc[list(people)]


def grid_of(stored: dict, people: pd.DataFrame) -> np.ndarray:
    """Days at which the curves are known, as in notebook 05 of the run; people : of `fitted_patients`."""
    return np.unique(np.r_[np.linspace(0, people["time_days"].max(), 400), stored["horizons_days"]])


def cuts_of(stored: dict) -> list | None:
    """Edges of the intervals of a discrete-time head; None after a Cox loss."""
    return stored["training"]["cuts"] if stored["training"].get("head", "cox") != "cox" else None


def require_same(of: dict, folder: Path, people: pd.DataFrame, risks: dict) -> float:
    """Largest difference between the risks of fitted patients made again and those that the run has written.

    Parameters
    ----------
    people : of `fitted_patients`; risks : model -> (n,) of them

    Raises
    ------
    ValueError
        Where a risk differs by more than `CLOSE`: files of the run do not belong together.
    """
    written = pd.read_parquet(folder / "risk.parquet").astype({"patient_id": str}).set_index("patient_id")
    gaps = {name: float(np.abs(written.loc[people.index, f"risk_{name}"] - risk).max()) for name, risk in risks.items()}
    name = max(gaps, key=gaps.get)
    if not gaps[name] <= CLOSE:
        raise ValueError(f"reports/{of['run']}: the risk of the {name} model made again differs from risk.parquet by "
                         f"up to {gaps[name]:.3g}: files of different executions lie in this run; execute it again")
    return gaps[name]


def predicted(given: dict, pictured, of_fitted: dict, pictured_fitted, people, stored: dict, grid) -> dict:
    """Risk (n,) and curves (n, g) of each network from its `outputs`, by the run's slopes and baseline hazard.

    Parameters
    ----------
    given, pictured : of any patients; of_fitted, pictured_fitted : of the fitted ones, people (`fitted_patients`)
    """
    own = recalibration.fill_unseen(of_fitted, pictured_fitted, of_fitted, pictured_fitted)
    filled = recalibration.fill_unseen(given, pictured, of_fitted, pictured_fitted)
    return {name: recalibration.predict(output, own[name], people, stored["slopes"][name], grid, cuts_of(stored))
            for name, output in filled.items()}


def beside(scored: dict, stored: dict, names: list, run: str) -> pd.DataFrame:
    """Scores of models here and on the run's own test part, as a table to read: a line per model and score.

    Parameters
    ----------
    scored : model -> `scores.scores`; names : of the models shown
    """
    rows = {}
    for name in names:
        own = stored["scores"].get(name, {})
        for measure, one in scored[name].iterrows():
            theirs = {key: own.get(measure + end) for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))}
            known = isinstance(theirs["value"], float)
            row = pd.Series(theirs).astype(float)
            rows[name.replace("_", " "), scores.title(measure)] = {
                "here": metrics.in_words(one), f"{run}, {stored['part']}": metrics.in_words(row) if known else "-"}
    return pd.DataFrame(rows).T


def options(people: pd.DataFrame, p, horizon: float, n_folds=10, n_bootstrap=300, seed=0) -> dict[str, dict]:
    """The untouched risks by the horizon and two recalibrations of them, each with `calibration.calibration`.

    Parameters
    ----------
    people : DataFrame with time_days, event; p : (n,) predicted probability of the event by the horizon (days)

    Returns
    -------
    dict "as it is", "level", "level and slope" -> p, and the numbers of `calibration.calibration`, brier, a, b. Each
    patient's recalibrated risk comes from a fit without the patient (`recalibration.cross_fitted`); a and b are those
    of all: what one would add to and multiply log(-log(1 - p)) by.
    """
    time, event = people["time_days"].to_numpy(float), people["event"].to_numpy(bool)
    found = {"as it is": {"p": np.asarray(p, float), "a": 0.0, "b": 1.0}}
    for how in ("level", "level and slope"):
        a, b = recalibration.refitted(time, event, p, horizon, how != "level")
        new = recalibration.cross_fitted(time, event, p, horizon, how != "level", n_folds, seed)
        found[how] = {"p": new, "a": a, "b": b}
    for one in found.values():
        one |= calibration.calibration(time, event, one["p"], horizon, n_bootstrap=n_bootstrap, seed=seed)
        one["brier"] = scores.scores(people, people, None, np.array([horizon]), 1 - one["p"][:, None], [horizon],
                                     n_bootstrap=0).loc[f"brier_{horizon:.0f}", "value"]
    return found


def table(found: dict) -> pd.DataFrame:
    """`options` as a table to read."""
    rows = {}
    for how, one in found.items():
        texts = {key: _written(one, key) for key in ("oe", "slope")}
        rows[how] = {"observed / predicted (1 is right)": texts["oe"], "slope (1 is right)": texts["slope"],
                     "Brier": f"{one['brier']:.3f}",
                     "fitted on all": "" if how == "as it is" else f"{one['a']:+.2f}, times {one['b']:.2f}"}
    return pd.DataFrame(rows).T


def in_words(found: dict, name: str, horizon: float) -> str:
    """What is wrong with the risks of a model and what recalibration would make of it; found : of `options`."""
    one, new = found["as it is"], found["level and slope"]
    promise = "too much" if one["slope_high"] < 1 else "too little" if one["slope_low"] > 1 else \
        "as much difference as there is, as far as shown"
    return (f"{calibration.level_in_words({name: one}, horizon)} Its risks promise {promise} (slope "
            f"{_written(one, 'slope')}). Level and slope fitted here (cross-validated by patient): slope "
            f"{_written(new, 'slope')}.")


def _written(one, key):
    ends = {name: one.get(f"{key}{end}", np.nan) for name, end in (("value", ""), ("low", "_low"), ("high", "_high"))}
    return metrics.in_words(ends, 2)
