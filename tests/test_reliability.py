"""Intraclass correlation, clusters of features, and tests of many features against known answers."""

import numpy as np
import pandas as pd
import pytest

from medlab.radiomics import reliability, univariate
from medlab.statistics import intervals

SHROUT = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_the_intraclass_correlation_of_shrout_and_fleiss():
    found = reliability.icc(SHROUT)  # 1979, table 4: 0.29; interval as psych in R
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.29, 0.019, 0.761), abs=0.002)
    assert reliability.icc(1e9 * np.array(SHROUT) + 3)["value"] == pytest.approx(found["value"]), "no matter the unit"


def test_agreement_is_absolute_and_gaps_are_left_out():
    x = np.random.default_rng(0).normal(size=(40, 1))
    same, shifted = reliability.icc(np.c_[x, x]), reliability.icc(np.c_[x, x + 2])
    assert same["value"] == 1 and shifted["value"] < 0.5, "a shift of all is disagreement"
    gaps = np.c_[x, x + 0.1]
    gaps[:3, 0] = np.nan
    assert reliability.icc(gaps)["n"] == 37
    constant, few = (reliability.icc(part)["value"] for part in (np.ones((5, 2)), x[:2].repeat(2, 1)))
    assert np.isnan(constant) and np.isnan(few)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random, held = np.random.default_rng(1), 0
    for _ in range(300):  # variance 4 between patients, 1 within: 0.8
        x = random.normal(0, 2, (25, 1)) + random.normal(0, 1, (25, 3))
        found = reliability.icc(x)
        held += found["low"] <= 0.8 <= found["high"]
    assert 0.92 <= held / 300 <= 0.98


def test_alike_features_are_one_group_and_constant_ones_none():
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, 100))
    table = pd.DataFrame({"a": a, "a cubed": a**3, "minus a": -a, "b": b, "constant": 1.0})
    rho = reliability.correlations(table)
    groups = reliability.clusters(rho)
    assert set(rho) == {"a", "a cubed", "minus a", "b"} and groups["a"] == groups["a cubed"] == groups["minus a"]
    assert groups["b"] != groups["a"] and groups.nunique() == 2
    assert len(reliability.clusters(reliability.correlations(table[["a"]]))) == 1


def test_a_mean_has_an_interval_and_few_values_have_none():
    found = intervals.average(np.r_[np.random.default_rng(0).normal(5, 1, 200), np.nan])
    assert found["n"] == 200 and found["low"] < 5 < found["high"] and found["high"] - found["low"] == pytest.approx(
        4 / np.sqrt(200), rel=0.2)
    assert np.isnan(intervals.average([1, 2])["low"]) and np.isnan(intervals.average([])["value"])


def test_the_interval_of_a_mean_of_few_patients_is_widened():
    random, held = np.random.default_rng(2), 0
    for trial in range(300):
        found = intervals.average(random.normal(5, 1, 6), 300, trial)
        held += found["low"] <= 5 <= found["high"]
    assert held > 270, "of 300; without widening 254"
    assert np.isnan(intervals.average([1, 2, 4], 0)["low"]), "no resamples, no interval"


def test_each_feature_alone_against_a_class():
    random = np.random.default_rng(3)
    positive = random.random(200) < 0.4
    table = pd.DataFrame({"higher": random.normal(size=200) + positive, "lower": random.normal(size=200) - positive,
                          "constant": 1.0} | {f"noise {i}": random.normal(size=200) for i in range(40)})
    table.loc[:9, "higher"] = np.nan
    found = univariate.auc(table, positive)
    from sklearn.metrics import roc_auc_score

    assert found.loc["lower", "value"] == pytest.approx(roc_auc_score(positive, table["lower"]))
    assert found.loc["lower", "high"] < 0.5 < found.loc["higher", "low"] and "constant" not in found.index
    assert found.loc["higher", "n"] == 190 and found.loc["higher", "n_positive"] == positive[10:].sum()
    assert (found["q"] >= found["p"]).all() and (found.filter(like="noise", axis=0)["q"] > 0.05).all()


def test_each_feature_alone_against_follow_up():
    random = np.random.default_rng(4)
    x = random.normal(size=400)
    time, end = random.exponential(size=400) / np.exp(0.7 * x), random.exponential(2, 400)
    table = pd.DataFrame({"risk": np.exp(5 * x), "gaps": np.where(x > 5, x, np.nan)}
                         | {f"noise {i}": random.normal(size=400) for i in range(20)})
    found = univariate.cox(table, np.minimum(time, end), time <= end)
    assert found.loc["risk", "low"] < np.exp(0.7) < found.loc["risk", "high"] and found.loc["risk", "q"] < 1e-6
    noise = found.filter(like="noise", axis=0)
    assert ((noise["low"] < 1) & (noise["high"] > 1)).sum() >= 16 and (noise["q"] < 0.05).sum() <= 1
    assert "gaps" not in found.index


def test_no_feature_and_no_outcome_give_an_empty_table():
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    assert univariate.auc(table, [True] * 3).empty and univariate.cox(table, [1, 2, 3], [True] * 3).empty
    assert univariate.corrected([0.01, np.nan, 0.04]).tolist()[1] != 0.04
    assert univariate.corrected([0.01, np.nan, 0.04])[[0, 2]] == pytest.approx([0.02, 0.04])


def test_noise_is_measured_and_a_perturbed_mask_stays_within_its_slices():
    random = np.random.default_rng(0)
    smooth = 100 * np.sin(np.indices((60, 60)).sum(0) / 9)
    assert reliability.noise_sd(smooth + random.normal(0, 7, smooth.shape)) == pytest.approx(7, rel=0.1)
    assert reliability.noise_sd(np.zeros((9, 9))) == 0
    far = np.hypot(*(np.indices((64, 64)) - 31.5))
    for radius in (4, 12, 25):
        assert reliability.noise_sd(100.0 * (far < radius)) == 0, "edges are no noise"
        assert reliability.noise_sd(100.0 * (far >= radius)) == 0, "nor are those of a white surrounding"
    noisy = np.where(far < 25, 100 + random.normal(0, 7, far.shape), 0)
    assert reliability.noise_sd(noisy) == pytest.approx(7, rel=0.1)
    volume = np.where(far < 25, 100 + random.normal(0, 7, (6, 64, 64)), 0)
    assert reliability.noise_sd(volume) == pytest.approx(7, rel=0.1), "black around does not count"
    mask = np.zeros((5, 12, 12), bool)
    mask[1:4, 3:9, 3:9] = True
    smaller, larger = (reliability.perturb(mask * 1.0, mask, how)[1] for how in ("eroded", "dilated"))
    assert smaller.sum() == 3 * 16 and larger.sum() == 3 * (36 + 24)
    noisy, same = reliability.perturb(random.normal(0, 5, mask.shape), mask, "noise")
    assert same is mask and noisy.std() == pytest.approx(5 * np.sqrt(2), rel=0.15)
    with pytest.raises(ValueError, match="eroded, dilated or noise"):
        reliability.perturb(noisy, mask, "moved")


def test_a_feature_that_one_table_lacks_is_judged_by_the_other():
    one = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 12.0}
    tables = {"region": pd.DataFrame({"a": one, "b": one | {"low": 0.1}}).T,
              "noise": pd.DataFrame({"a": one | {"low": 0.2}}).T}
    worst = reliability.least_stable(tables)
    assert worst.index.tolist() == ["b", "a"] and worst["noise", "n"].isna().tolist() == [True, False]
    assert worst["region", "n"].tolist() == [12, 12] and reliability.firm(tables, 0.15) == {"a"}
    nothing = {name: table.iloc[:0] for name, table in tables.items()}
    assert reliability.least_stable(nothing).empty


def test_outcomes_of_features_are_corrected_together():
    random = np.random.default_rng(0)
    people = pd.DataFrame({"label": ["a", "b", None] * 20, "time_days": random.exponential(size=60), "event": True})
    table = pd.DataFrame(random.normal(size=(60, 3)), columns=["radiomics_x", "radiomics_y", "radiomics_z"])
    table["radiomics_x"] += 3 * people["label"].eq("b")
    found = univariate.associations(table, people, ["a", "b"], "b")
    assert found.index.unique("outcome").tolist() == ["b against the rest", "follow-up"]
    assert found.loc[("b against the rest", "radiomics_x"), "n"] == 40, "who has no label counts only for the follow-up"
    assert np.allclose(found["q"], univariate.corrected(found["p"]))
    said = univariate.in_words("b", found.loc["b against the rest"], "radiomics_y", set(table), pd.Series(dtype=float))
    assert said.startswith("B: 1 of 3 features at q < 0.05, 1 of them stable")
    assert univariate.associations(table, people.drop(columns=["label"]).head(5), [], None).empty
