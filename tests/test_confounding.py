"""One column alone against the outcome: noise gives 0.5, a known confounder its value."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medlab.cohorts.confounding import alone, binned


def test_noise_stays_at_one_half_however_many_categories_it_has():
    rng = np.random.default_rng(0)
    found = [alone(rng.integers(0, 40, 300).astype(str), rng.integers(0, 2, 300), np.arange(300), n_boot=2,
                   seed=s)["value"] for s in range(12)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_auc_of_a_binary_site_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 600)
    site = np.where(rng.random(600) < 0.3 + 0.4 * y, "b", "a")
    found = alone(site, y, np.arange(600))
    assert found["measure"] == "AUC"
    assert found["value"] == pytest.approx(roc_auc_score(y, site == "b"), abs=0.01)
    assert 0.03 < (found["high"] - found["low"]) / 2 < 0.05  # Hanley-McNeil gives 0.041


def test_interval_is_by_patient_not_by_image():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 100)
    site = (rng.random(100) < 0.3 + 0.4 * y).astype(str)
    once, often = (alone(np.repeat(site, k), np.repeat(y, k), np.repeat(np.arange(100), k)) for k in (1, 5))
    assert often["n"] == 100
    assert often["high"] - often["low"] > 0.8 * (once["high"] - once["low"])


def test_c_of_a_site_is_that_of_lifelines():
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(3)
    site = rng.integers(0, 2, 500)
    time, censor = rng.exponential(1000 / (1 + site)), rng.exponential(1500, 500)
    outcome = pd.DataFrame({"time_days": np.minimum(time, censor), "event": time < censor})
    found = alone(site.astype(str), outcome, np.arange(500))
    expected = concordance_index(outcome["time_days"], -site, outcome["event"])
    assert found["measure"] == "C" and found["value"] == pytest.approx(expected, abs=0.01)
    assert found["low"] < expected < found["high"]


@pytest.mark.parametrize("direction", [1, -1])
def test_numbers_rank_as_they_are_where_events_are_few(direction):
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(4)
    age = rng.normal(50, 12, 76)
    time, censor = rng.exponential(2000 * np.exp(-0.08 * (age - 50))), rng.exponential(1500, 76)
    outcome = pd.DataFrame({"time_days": np.minimum(time, censor), "event": time < censor})
    found = alone(direction * age, outcome, np.arange(76))
    assert found["value"] == pytest.approx(concordance_index(outcome["time_days"], -age, outcome["event"]), abs=0.02)
    missing = pd.Series(age).where(rng.random(76) < 0.8)
    assert 0.5 < alone(missing, outcome, np.arange(76), n_boot=5)["value"] < found["value"] + 0.02


def test_several_classes_missing_values_and_one_class():
    y = np.repeat(["a", "b", "c"], 60)
    size = np.where(y == "a", np.nan, 512.0)
    found = alone(size, y, np.arange(180), n_boot=20)
    assert found["measure"] == "macro AUC"
    assert found["value"] == pytest.approx((1 + 0.75 + 0.75) / 3, abs=0.02)
    assert np.isnan(alone(size, ["a"] * 180, np.arange(180), n_boot=5)["value"])


def test_numbers_are_cut_into_fifths_and_few_numbers_are_categories():
    assert binned(np.arange(100.0)).nunique() == 5
    assert set(binned(pd.Series([1, 2, None]))) == {"1.0", "2.0", "missing"}
