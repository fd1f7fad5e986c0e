"""Real cohorts that the packages carry: counts as published, coding of the event, names in words."""

import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sksurv import datasets as published

from medlab.cohorts import datasets
from medlab.intake import importers, packages

COUNTS = {"gbsg2": (686, 299), "whas500": (500, 215), "veterans": (137, 128), "flchain": (7874, 2169),
          "rossi": (432, 114)}
LOADERS = {"gbsg2": published.load_gbsg2, "whas500": published.load_whas500,
           "veterans": published.load_veterans_lung_cancer, "flchain": published.load_flchain}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_times_and_events_are_those_of_the_package(name, workspace, capsys):
    importers.import_source(f"package:{name}", name)
    dataset = datasets.load(name)
    cohort, card = dataset.cohort, dataset.card
    assert (len(cohort), int(cohort["event"].sum())) == COUNTS[name] and cohort["patient_id"].is_unique
    assert card["citation"] and card["event_meaning"] and "distributed with" in card["licence"]
    assert not card.get("synthetic") and not set(cohort) & set(packages.PACKAGES[name].columns) - {"bmi", "sex", "race"}
    if name in LOADERS:
        _, outcome = LOADERS[name]()
        event, time = outcome.dtype.names
        order = cohort.set_index(cohort["patient_id"].astype(int)).sort_index()
        assert (order["event"].astype(bool).to_numpy() == outcome[event]).all()
        assert (order["time_days"].to_numpy() == pd.Series(outcome[time]).replace(0, 0.5).to_numpy()).all()
    left_out = packages.PACKAGES[name].left_out
    assert all(reason in capsys.readouterr().out for reason in left_out.values())


def test_the_cox_model_of_the_recidivism_study_is_that_of_the_lifelines_manual(workspace):
    """Coefficients of `fin` -0.38, `age` -0.06, `prio` 0.09 (lifelines' documentation, Survival regression)."""
    importers.import_source("package:rossi", "rossi")
    cohort = datasets.load("rossi").cohort
    table = cohort.drop(columns="patient_id").replace({"no": 0, "yes": 1, "other": 0, "black": 1}).astype(float)
    fitted = CoxPHFitter().fit(table, "time_days", "event").params_
    assert fitted[["financial_aid", "age_years", "prior_convictions"]].round(2).tolist() == [-0.38, -0.06, 0.09]


def test_an_unknown_name_says_which_there_are(workspace):
    with pytest.raises(ValueError, match="expected one of package:gbsg2, package:whas500"):
        importers.import_source("package:titanic", "x")
