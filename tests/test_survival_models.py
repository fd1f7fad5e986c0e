"""Classical survival models against lifelines and scikit-survival, and the traps they have to survive."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.datasets import load_rossi
from lifelines.utils import concordance_index

from medlab.statistics import cox
from medlab.survival import followup, hazards, models, recalibration, sizes


@pytest.fixture(scope="module")
def rossi():
    table = load_rossi()
    return table.pop("week"), table.pop("arrest").astype(bool), table


def simulated(n=400, seed=0, effects=(1.0, -0.5, 0.0)):
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.normal(size=(n, len(effects))), columns=[f"x{k}" for k in range(len(effects))])
    time = 1000 * rng.exponential(size=n) / np.exp(x.to_numpy() @ np.array(effects))
    end = rng.uniform(200, 3000, n)
    return np.minimum(time, end), time <= end, x


def test_log_likelihood_is_that_of_breslow_by_hand():
    """Two events at time 2 share a risk set of three."""
    time, event, risk = [1.0, 2.0, 2.0, 3.0], [True, True, True, False], np.log([2.0, 3.0, 5.0, 7.0])
    expected = np.log(2 / 17) + np.log(3 / 15) + np.log(5 / 15)
    assert cox.log_likelihood(time, event, risk) == pytest.approx(expected)


def test_cox_without_a_ridge_is_lifelines(rossi):
    time, event, x = rossi
    fit = models.fit_cox(time, event, x, ridges=(1e-9,))
    theirs = CoxPHFitter().fit(x.assign(t=time, e=event), "t", "e")
    assert fit["coefficients"].to_numpy() == pytest.approx(theirs.params_.to_numpy(), abs=1e-4)
    risk = models.cox_risk(fit, x)
    assert risk == pytest.approx(theirs.predict_log_partial_hazard(x).to_numpy(), abs=1e-4)
    assert concordance_index(time, -risk, event) > 0.6, "higher is worse"


def test_the_ridge_grows_where_there_is_nothing_to_learn_and_knows_only_its_rows():
    time, event, x = simulated(effects=(1.0, -0.5) + (0.0,) * 3)
    noise = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 20))).add_prefix("z")
    some = models.fit_cox(time[:80], event[:80], noise)
    true = models.fit_cox(time, event, x)
    assert some["ridge"] >= 100 > true["ridge"]
    assert true["coefficients"].iloc[:2].to_numpy() == pytest.approx([1.0, -0.5], abs=0.2)
    again = models.fit_cox(time[:80], event[:80], noise)
    assert again["coefficients"].equals(some["coefficients"]), "a seed decides the folds"


def test_a_level_without_an_event_and_constant_or_doubled_columns_do_no_harm():
    time, event, x = simulated(120)
    x = x.assign(constant=1.0, twin=2 * x["x0"] + 1, safe=0.0)
    x.loc[np.flatnonzero(~event)[:6], "safe"] = 1.0
    fit = models.fit_cox(time, event, x)
    assert np.isfinite(fit["coefficients"]).all() and fit["coefficients"]["constant"] == 0
    assert np.abs(models.cox_risk(fit, x)).max() < 10
    ratios = models.hazard_ratios(time, event, x, pd.Series(dtype=float))
    assert "constant" not in ratios.index and "twin" not in ratios.index and "twin" in ratios.attrs["note"]
    assert "ridge" in ratios.attrs["note"] and np.isfinite(ratios.to_numpy()).all()


@pytest.mark.parametrize("fit", [models.fit_cox, models.fit_forest])
def test_without_events_there_is_a_message(fit):
    time, _, x = simulated(50)
    with pytest.raises(ValueError, match="0 events in 50 patients"):
        fit(time, np.zeros(50, bool), x)


def test_no_varying_column_is_a_message():
    time, event, x = simulated(50)
    with pytest.raises(ValueError, match="no column varies"):
        models.fit_cox(time, event, x * 0)


def test_hazard_ratios_per_step_and_the_test_of_constancy_are_those_of_lifelines(rossi):
    time, event, x = rossi
    model = CoxPHFitter().fit(x.assign(t=time, e=event), "t", "e")
    found = models.hazard_ratios(time, event, x, pd.Series({"age": 10.0}))
    per_year = model.summary.loc["age"]
    assert found.loc["age", "value"] == pytest.approx(np.exp(10 * per_year["coef"]))
    assert found.loc["age", "low"] == pytest.approx(np.exp(10 * per_year["coef lower 95%"]), rel=1e-3)
    assert found.loc["prio", "p"] == pytest.approx(model.summary.loc["prio", "p"])
    assert found["p_constant"].idxmin() in ("age", "wexp") and found.loc["age", "p_constant"] < 0.01
    assert found.attrs["note"] == ""


def test_steps_are_those_a_clinician_reads():
    fitted = {"age_years": {"kind": "number", "mean": 65, "std": 8.7},
              "grade": {"kind": "number", "mean": 2, "std": 0.6},
              "ldh_u_l": {"kind": "number", "mean": 300, "std": 170.0}, "note": {"kind": "dropped", "why": "x"},
              "sex": {"kind": "category", "levels": ["f", "m"], "reference": "m"}}
    units = models.clinical_units(fitted)
    assert units.loc["age_years", "label"] == "age_years, per 10"
    assert units.loc["ldh_u_l", "label"] == "ldh_u_l, per 200"
    assert units.loc["age_years", "unit"] == pytest.approx(10 / 8.7) and units.loc["grade", "label"] == "grade, per 1"
    assert units.loc["sex=f", "label"] == "sex: f against m" and "sex=m" not in units.index


def test_forest_ranks_like_its_data_and_its_curves_are_curves():
    time, event, x = simulated(300)
    forest = models.fit_forest(time[:200], event[:200], x[:200], n_trees=60)
    assert concordance_index(time[200:], -forest.predict(x[200:].to_numpy()), event[200:]) > 0.65
    grid = np.linspace(0, time[:200].max(), 300)
    curves = models.forest_curves(forest, x[200:], grid)
    assert curves.shape == (100, 300) and (curves[:, 0] == 1).all() and (np.diff(curves, axis=1) <= 0).all()
    overall = KaplanMeierFitter().fit(time[200:], event[200:]).survival_function_at_times(grid[:200]).to_numpy()
    assert np.abs(curves.mean(0)[:200] - overall).max() < 0.15


def test_forest_keeps_few_times_however_many_patients():
    time, event, x = simulated(2000)
    forest = models.fit_forest(time, event, x, n_trees=3, min_leaf=100)
    assert 100 < len(forest.unique_times_) <= models.MOST_TIMES + 1


def test_curves_are_drawn_together_around_the_fitted_mean():
    grid, risk = np.linspace(0, 2000, 50), np.array([-1.5, 0.0, 1.5])
    curves = np.exp(-np.outer(np.exp(risk), grid / 900))
    assert recalibration.drawn_together(curves, curves, 1.0) == pytest.approx(curves, abs=1e-9)
    half = recalibration.drawn_together(curves, curves, 0.5)
    assert half == pytest.approx(np.exp(-np.outer(np.exp(risk / 2), grid / 900)), abs=1e-9), "as a Cox model's slope"
    wide = recalibration.drawn_together(np.linspace(1, [0.9, 0.5, 0.1], 50).T, curves, 3.0)
    assert (np.diff(wide, axis=1) <= 0).all() and (wide[:, 0] == 1).all()


def cohort(sizes, patients, spacing="2 x 1 x 1", depth=10):
    return pd.DataFrame({"mask_size": sizes, "patient_id": patients, "spacing_mm": spacing, "depth": depth})


def test_tumour_size_is_in_ml_where_spacing_is_known_and_the_largest_of_a_patient():
    size, unit = sizes.tumour_size(cohort([1000.0, 3000.0, 0.0, np.nan], list("aabc")))
    assert unit == "ml" and size["a"] == 6.0 and size["b"] == 0.0 and np.isnan(size["c"])
    size, unit = sizes.tumour_size(cohort([1000.0, 2000.0], list("ab"), [None, "2 x 1 x 1"]))
    assert unit == "voxels" and size["b"] == 2000, "one unknown spacing makes all sizes voxels"
    assert sizes.tumour_size(cohort([9.0], ["a"], None, np.nan))[1] == "pixels"


def test_size_columns_flag_empty_and_missing_masks_with_the_median_of_train_only():
    size = pd.Series([1.0, np.e**2, np.e**4, np.e**9] * 10 + [0.0] * 6 + [np.nan] * 2)
    train = np.arange(48) % 4 < 3  # without the largest
    train[40:] = True
    columns = sizes.size_columns(size, train)
    assert list(columns) == ["log_size", "nothing_marked"], "two patients without a mask are too few for a flag"
    assert columns.loc[40, "log_size"] == pytest.approx(2.0) and columns.loc[40, "nothing_marked"] == 1
    assert columns.notna().all(axis=None)


def test_risk_groups_are_cut_where_the_fitted_part_says():
    groups, cuts = models.risk_groups(np.array([-5.0, 0.5, 99.0]), np.linspace(0, 3, 301))
    assert list(groups) == ["low risk", "low risk", "high risk"] and cuts == pytest.approx([1, 2])
    assert list(groups.categories) == ["low risk", "middle risk", "high risk"] and groups.ordered


def test_life_table_is_kaplan_meier_at_the_ends_of_the_periods(rossi):
    time, event, _ = rossi
    table = followup.life_table(time, event, [0, 20, 40, 60])
    curve = KaplanMeierFitter().fit(time, event)
    assert table["value"].iloc[:2].to_numpy() == pytest.approx(curve.survival_function_at_times([20, 40]).to_numpy())
    assert table["events"].sum() == event.sum() and table["censored"].sum() == (~event).sum()
    assert table["at_risk"].iloc[0] == len(time) and np.isnan(table["value"].iloc[2]), "nobody is followed for 60 weeks"
    assert (table["low"] < table["value"])[:2].all() and (table["value"] < table["high"])[:2].all()


def test_medians_say_not_reached():
    time, event = np.arange(1.0, 11), np.r_[np.ones(3, bool), np.zeros(7, bool)]
    assert np.isinf(followup.median_survival(time, event)[0])
    assert followup.median_followup(time, event)[0] == 7.0  # reverse curve: 6/7, 5/7, 4/7, 3/7 at 4, 5, 6, 7


def test_competing_causes_add_up_and_are_below_one_minus_kaplan_meier():
    rng = np.random.default_rng(0)
    time, cause = rng.exponential(900, 300).round(), rng.choice(["tumour", "heart", None], 300)
    found = followup.cumulative_incidence(time, cause)
    overall = 1 - KaplanMeierFitter().fit(time, pd.notna(cause)).survival_function_at_times(found["heart"]["time_days"])
    total = found["heart"]["value"] + found["tumour"]["value"]
    assert total.to_numpy() == pytest.approx(overall.to_numpy())
    for table in found.values():
        assert (table["value"] <= table["naive"] + 1e-9).all()
        assert (table["low"] <= table["value"] + 1e-9).all() and (table["value"] <= table["high"] + 1e-9).all()


def test_a_fit_predicts_with_the_baseline_of_its_own_rows(rossi):
    time, event, x = rossi
    x = x[["age", "prio"]].astype(float)
    grid, fit = np.arange(1.0, 53), models.fit_cox(time, event, x, ridges=(1.0,))
    risk, curves = models.predict(fit, x[:5], grid)
    assert risk == pytest.approx(models.cox_risk(fit, x[:5])) and curves.shape == (5, 52)
    people = pd.DataFrame({"time_days": time, "event": event})
    again = hazards.from_log_risk(people, models.cox_risk(fit, x), risk, grid)
    assert np.array_equal(again[0], risk) and np.array_equal(again[1], curves)
    forest = models.fit_forest(time, event, x, n_trees=3)
    assert np.array_equal(models.predict(forest, x[:5], grid)[1], models.forest_curves(forest, x[:5], grid))


def test_groups_are_compared_as_lifelines_does_and_a_group_without_event_is_named(rossi):
    from lifelines.statistics import logrank_test

    time, event, x = rossi
    groups, _ = models.risk_groups(x["prio"], x["prio"], 2)
    high = groups == "high risk"
    reference = logrank_test(time[~high], time[high], event[~high], event[high])
    assert models.log_rank(time, event, groups) == pytest.approx(
        {"statistic": reference.test_statistic, "p": reference.p_value})
    assert models.log_rank(time, event, groups[high][:0]) == {}
    ratio = models.group_ratios(time, event, groups)["value"]
    cox = CoxPHFitter().fit(pd.DataFrame({"t": time, "e": event, "high": high * 1.0}), "t", "e")
    assert ratio["high risk"] == pytest.approx(np.exp(cox.params_["high"]))
    with pytest.raises(ValueError, match="nobody had the event in low risk"):
        models.group_ratios(time, event & high, groups)
    table = hazards.group_table(time, event, groups, 50, models.group_ratios(time, event, groups), n_bootstrap=20)
    assert table.loc["low risk", "hazard ratio"] == "1 (reference)" and table["patients"].sum() == len(time)


def test_the_table_of_sources_knows_the_fitted_patients_only():
    patients = pd.DataFrame({"site": list("aabb" * 5), "kvp": [100.0, 120.0] * 10, "age": range(20)},
                            index=pd.Index([f"p{i}" for i in range(20)], name="patient_id"))
    fitted = np.arange(20) < 12
    columns = sizes.source_columns(patients, ["site", "absent"], fitted)
    assert list(columns.index) == list(patients.index) and not any("age" in name for name in columns)
    assert any("site" in name for name in columns) and any("kvp" in name for name in columns)
    changed = patients.assign(kvp=patients["kvp"].where(fitted, 900.0))
    assert columns[fitted].equals(sizes.source_columns(changed, ["site"], fitted)[fitted])


def test_patients_without_an_image_get_the_mean_of_the_fitted_who_have_one():
    of_fitted, pictured = {"image": np.array([[1.0], [3.0], [50.0]])}, np.array([True, True, False])
    found = recalibration.fill_unseen({"image": np.array([[7.0], [9.0]]), "label": np.ones((2, 1))},
                                      np.array([False, True]), of_fitted, pictured)
    assert found["image"].tolist() == [[2.0], [9.0]] and list(found) == ["image"]
    assert recalibration.fill_unseen(of_fitted, pictured, of_fitted, pictured)["image"][:, 0].tolist() == [1, 3, 2]


def test_an_exchanged_event_is_noticed_from_the_times():
    time = pd.Series(np.arange(1.0, 101))
    event = pd.Series(np.arange(100) < 40)
    assert not followup.looks_exchanged(time, event) and followup.looks_exchanged(time, ~event)
    assert not followup.looks_exchanged(time, event | True)


def test_days_in_words():
    assert followup.days_with_interval(10.2, 5, np.inf) == "10 (5 to not reached)"
    assert followup.days_with_interval(np.inf, np.nan) == "not reached (no interval)"
    assert followup.days_with_interval(np.nan) == "not known"
    assert followup.remarks(50, 30, "test", True) == []
    few = followup.remarks(50, 5, "val", True)
    assert "There is no test part" in few[0] and "Only 5 events among the 50 validation patients" in few[1]
