"""Notebook 05 on small made-up cohorts: what is missing or too small is said in a sentence, never an exception."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml

from medlab import ROOT
from medlab.engine import openings, runs

matplotlib.use("Agg")


def cohort(n=120, seed=0, censored=0.5):
    """Patients of a table: age drives the hazard, a marker is noise, hospital l2 has a better prognosis."""
    rng = np.random.default_rng(seed)
    age, site = rng.normal(60, 10, n), rng.choice(["l1", "l2"], n)
    log_hazard = 0.08 * (age - 60) - 0.5 * (site == "l2")
    time = 900 * rng.exponential(size=n) / np.exp(log_hazard)
    end = rng.uniform(300, 2600, n) if censored else np.full(n, np.inf)
    return pd.DataFrame({"patient_id": [f"p{i}" for i in range(n)], "time_days": np.ceil(np.minimum(time, end)),
                         "event": time <= end, "age_years": age, "marker": rng.normal(size=n), "site": site,
                         "log_hazard": log_hazard,
                         "split": np.repeat(["train", "val", "test"], [n // 2, n // 6, n - n // 2 - n // 6])})


def make_run(workspace, patients, columns=("age_years", "marker", "site"), truth=False, **extra):
    """A dataset and a run folder as notebooks 01 and 02 leave them for a table."""
    from medlab import storage
    from medlab.cohorts import preparation

    data, folder = workspace / "data" / "table", workspace / "reports" / "try"
    data.mkdir()
    folder.mkdir()
    kept = [c for c in patients if c != "log_hazard"]
    patients[kept].to_csv(data / "cohort.csv", index=False)
    (data / "card.yaml").write_text(yaml.safe_dump({"title": "A table", "patients": "known", "synthetic": True}))
    if truth:
        patients[["patient_id", "log_hazard"]].to_csv(data / "truth.csv", index=False)
    rows = patients[kept].assign(row=np.arange(len(patients)), **extra)
    fitted = preparation.fit_covariates(rows[rows["split"] == "train"], list(columns))
    rows.to_parquet(folder / "cohort.parquet")
    rows.assign(has_image=False).to_parquet(folder / "split.parquet")
    preparation.apply_covariates(rows, fitted).to_parquet(folder / "covariates.parquet")
    sites = [c for c in ("site",) if c in columns]
    facts = {"name": "table", "card": {}, "sites": sites, "covariates": list(columns), "n_patients": len(rows)}
    storage.write_json(folder / "dataset.json", facts | {"synthetic": True})
    storage.write_json(folder / "preprocessing.json", {"covariates": fitted, "test_part": "5" * 32})
    return folder


def execute(folder, **parameters):
    """All code cells in one namespace, as Run All does; the result file and the namespace."""
    from matplotlib import pyplot as plt

    notebook = json.loads((ROOT / "notebooks" / "05_survival_analysis.ipynb").read_text())
    shown = []
    namespace = {"display": shown.append, "__name__": "page"}
    settings = {"run": folder.name, "survival_bootstrap": 40, "forest_trees": 10} | parameters
    for cell in (c for c in notebook["cells"] if c["cell_type"] == "code"):
        exec("".join(runs.as_executed("".join(cell["source"]).splitlines(keepends=True))), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            namespace.update(settings)
    plt.close("all")
    return json.loads((folder / "survival.json").read_text()), namespace


def test_a_table_gets_every_score_with_intervals_and_the_truth(workspace, capsys):
    patients = cohort(300)
    folder = make_run(workspace, patients, truth=True)
    result, page = execute(folder)
    models = result["models"]
    assert set(models) == {"kaplan_meier", "clinical", "source", "forest", "truth"} and result["main"] == "clinical"
    assert {"auc_365_low", "slope_1096_high", "d_calibration_p"} <= set(result["scores"]["clinical"])
    for name, one in models.items():
        assert {"c_harrell", "c_harrell_low", "c_harrell_high", "c_uno", "integrated_brier"} <= set(one), name
    assert 0.6 < models["clinical"]["c_harrell"] <= models["truth"]["c_harrell"] + 0.05
    assert models["kaplan_meier"]["c_harrell"] == 0.5
    assert models["clinical"]["integrated_brier"] < models["kaplan_meier"]["integrated_brier"]
    assert result["horizon_days"] == pytest.approx(3 * 365.25) and result["n_patients"] == 100
    assert result["n_events"] == int(patients["event"][patients["split"] == "test"].sum())
    assert {row["source"] for row in result["within_source"]} == {"site"}
    within = {row["model"]: row["value"] for row in result["within_source"]}
    assert within["source"] == 0.5, "inside one hospital the hospital says nothing"
    ratio = next(row for row in result["hazard_ratios"] if row["name"].startswith("age_years"))
    assert ratio["name"] == "age_years, per 10" and ratio["low"] < np.exp(0.8) < ratio["high"]
    assert "clinical minus source" in {row["name"] for row in result["differences"]}
    risk = pd.read_parquet(folder / "risk.parquet").set_index("patient_id")
    assert len(risk) == 300 and {"risk_clinical", "survival_365_clinical", "median_days_clinical"} <= set(risk)
    assert (risk["survival_365_clinical"] >= risk["survival_1096_clinical"]).all()
    assert "1 set of weights and choices, by try" in capsys.readouterr().out


def test_what_is_fitted_knows_nothing_of_test(workspace):
    patients = cohort(180)
    folder = make_run(workspace, patients)
    before = execute(folder)[0]
    for file in ("cohort.parquet", "split.parquet"):
        table = pd.read_parquet(folder / file)
        test = table["split"] == "test"
        table.loc[test, "event"] = ~table.loc[test, "event"]
        table.to_parquet(folder / file)
    after = execute(folder)[0]
    for key in ("hazard_ratios", "ridges", "n_events_fitted", "slopes"):
        assert before[key] == after[key], key
    assert before["risk_groups"]["cut_points"] == after["risk_groups"]["cut_points"]
    assert before["models"]["clinical"]["c_harrell"] != after["models"]["clinical"]["c_harrell"]


def test_a_closed_test_part_is_not_touched(workspace, capsys):
    folder = make_run(workspace, cohort(180))
    result, page = execute(folder, survival_open_test=False)
    assert result["part"] == "val" and result["n_patients"] == 30 and result["test_openings"] == 0
    assert "test" not in set(pd.read_parquet(folder / "risk.parquet")["split"])
    assert page["fitted"].sum() == 90 and "stays closed" in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["nobody in test has the event", "no covariates", "no val", "one test patient",
                                     "no test", "nobody censored", "few", "two events in train"])
def test_what_is_too_little_is_said(workspace, capsys, trouble):
    patients, columns, parameters = cohort(90, censored=trouble != "nobody censored"), ("age_years", "site"), {}
    test = patients["split"] == "test"
    if trouble == "nobody in test has the event":
        patients.loc[test, "event"] = False
    elif trouble == "no covariates":
        columns = ()
        patients = patients.drop(columns=["age_years", "marker", "site"])
    elif trouble == "no val":
        patients.loc[patients["split"] == "val", "split"] = "train"
    elif trouble == "one test patient":
        patients.loc[test & (patients["patient_id"] != "p80"), "split"] = "train"
    elif trouble == "no test":
        patients.loc[test, "split"] = "train"
    elif trouble == "few":
        patients = patients.iloc[[*range(0, 12), *range(46, 50), *range(80, 88)]]
    elif trouble == "two events in train":
        patients.loc[np.flatnonzero(patients["event"] & ~test)[2:], "event"] = False
    folder = make_run(workspace, patients.reset_index(drop=True), columns)
    result, _ = execute(folder, **parameters)
    out = capsys.readouterr().out
    assert (folder / "risk.parquet").exists()
    said = {"nobody in test has the event": "Nothing can be scored", "no covariates": "No clinical columns here",
            "no val": "Fitted on", "one test patient": "Only ", "no test": "There is no test part",
            "nobody censored": "nobody is censored", "few": "Only ", "two events in train": "2 events in "}[trouble]
    assert said in out, out
    assert "UserWarning" not in out
    if trouble == "nobody in test has the event":
        assert result["models"] == {} and result["n_events"] == 0


def test_horizons_beyond_the_follow_up_are_cut_and_said(workspace, capsys):
    folder = make_run(workspace, cohort(150))
    result, _ = execute(folder, horizons_years="1, 30")
    assert result["horizon_days"] < 2700 and any("cut to" in note for note in result["notes"])
    assert "cut to" in capsys.readouterr().out


def test_unknown_follow_up_and_time_zero_are_listed(workspace, capsys):
    patients = cohort(150).astype({"event": "boolean"})
    patients.loc[3, "time_days"], patients.loc[[5, 6], ["time_days", "event"]] = 0, pd.NA
    folder = make_run(workspace, patients)
    result, _ = execute(folder)
    said = " ".join(result["notes"])
    assert "2 of 150 patients" in said and "p3" in said
    assert len(pd.read_parquet(folder / "risk.parquet")) == 148


def test_competing_causes_have_their_own_figure(workspace, capsys):
    patients = cohort(150)
    cause = np.random.default_rng(1).choice(["tumour", "heart"], 150)
    patients["event_cause"] = np.where(patients["event"], cause, None)
    execute(make_run(workspace, patients))
    out = capsys.readouterr().out
    assert "tumour: " in out and "heart: " in out and "1 minus Kaplan-Meier would say" in out


def test_an_exchanged_event_is_noticed(workspace, capsys):
    patients = cohort(200)
    patients["event"] = ~patients["event"]
    result, _ = execute(make_run(workspace, patients))
    assert any("right way round" in note for note in result["notes"])


@pytest.mark.parametrize("head", ["cox", "hazard"])
def test_a_network_of_notebook_03_is_used_and_recalibrated(workspace, head):
    from medlab import storage
    from medlab.networks import fusion

    patients = cohort(200)
    folder = make_run(workspace, patients, ("age_years", "marker"))
    cuts = [0.0, 300.0, 700.0, 1200.0, 2700.0]
    network = fusion.build("", None, 1, {"table": 2}, n_intervals=0 if head == "cox" else 4)
    kernel = np.array([[0.8], [0.0]], "float32") * np.ones((1, 1 if head == "cox" else 4), "float32")
    layer = network.get_layer("table_linear")
    layer.set_weights([kernel, *([np.full(4, -1.0)] if head == "hazard" else [])])
    network.save(folder / "survival.keras")
    storage.write_json(folder / "survival_training.json", {"head": head, "cuts": cuts if head == "hazard" else None,
                                                        "images_per_patient": 8, "models": ["table"]})
    result, page = execute(folder)
    assert result["main"] == "table" and result["models"]["table"]["c_harrell"] > 0.6
    assert 0.5 < result["slopes"]["table"] < 1.5 and result["slopes"]["table"] != 1.0
    curves = page["curves"]["table"]
    assert (np.diff(curves, axis=1) <= 1e-12).all() and curves.max() <= 1
    opened = openings.read(storage.read_json(folder / "preprocessing.json"))
    assert list(opened["notebook"]) == ["05_survival_analysis"] and len(opened["weights"][0]) == 64


@pytest.mark.realdata
def test_the_cox_model_of_metabric_is_the_published_one(workspace, datasets_folder):
    """Fixed test split: Cox 0.632 (0.589 to 0.671); random survival forest, published with DeepSurv: 0.624."""
    import h5py

    with h5py.File(next((datasets_folder / "survival_deepsurv" / "metabric").glob("*.h5"))) as file:
        parts = [pd.DataFrame(file[part]["x"][:]).add_prefix("x").assign(
            split=part, time_days=30.4 * file[part]["t"][:], event=file[part]["e"][:] == 1)
            for part in ("train", "test")]
    patients = pd.concat(parts, ignore_index=True)
    patients.insert(0, "patient_id", [f"p{i}" for i in range(len(patients))])
    folder = make_run(workspace, patients, [c for c in patients if c.startswith("x")])
    models = execute(folder, horizons_years="5, 10", survival_bootstrap=400)[0]["models"]
    assert models["clinical"]["c_harrell"] == pytest.approx(0.632, abs=0.006)
    assert 0.58 < models["clinical"]["c_harrell_low"] < 0.60 and 0.66 < models["clinical"]["c_harrell_high"] < 0.68
    assert models["forest"]["c_harrell"] > 0.61
    for name in ("clinical", "forest"):
        assert models[name]["integrated_brier"] < models["kaplan_meier"]["integrated_brier"]
