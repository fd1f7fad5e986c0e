"""Scores of survival models against scikit-survival, its documented examples and plain loops."""

import time

import numpy as np
import pandas as pd
import pytest

from medlab.statistics import concordance, metrics
from medlab.survival import hazards, scores


def cohort(n=160, seed=0, ties=True, beta=1.0):
    """Simulated patients with tied times and tied risks; last follow-up long enough for every horizon used here."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    event_time, end = rng.exponential(900 * np.exp(-beta * risk)), rng.uniform(200, 2500, n)
    days = np.minimum(event_time, end)
    if ties:
        days, risk = np.ceil(days / 60) * 60, np.round(risk, 1)
    table = pd.DataFrame({"time_days": days, "event": event_time <= end}, pd.Index(range(n), name="patient_id"))
    return table, risk


def structured(table):
    from sksurv.util import Surv

    return Surv.from_arrays(table["event"].to_numpy(), table["time_days"].to_numpy())


def exponential(risk, grid):
    return np.exp(-np.exp(np.asarray(risk)[:, None]) * np.asarray(grid) / 900)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("beta", [1.0, -0.7])
def test_every_score_is_that_of_scikit_survival(ties, beta):
    from sksurv import metrics as reference

    (train, _), (test, risk) = cohort(300, 1, ties), cohort(170, 2, ties, beta)
    grid, horizons = np.arange(15.0, 1300, 15), [365.0, 730.0, 1095.0]
    S = exponential(risk, grid)
    table = scores.scores(train, test, risk, grid, S, horizons, n_bootstrap=0)
    a, b = structured(train), structured(test)
    times = scores.brier_times(test, grid, 1095.0)
    at = hazards.at(grid, S, times)
    expected = {
        "c_harrell": reference.concordance_index_censored(b["event"], b["time"], risk)[0],
        "c_uno": reference.concordance_index_ipcw(a, b, risk, tau=1095.0)[0],
        "integrated_brier": reference.integrated_brier_score(a, b, at, times),
    }
    inside = test["time_days"] <= train["time_days"].max()
    auc = reference.cumulative_dynamic_auc(a, b[inside], risk[inside], horizons)[0]
    brier = reference.brier_score(a, b, hazards.at(grid, S, horizons), horizons)[1]
    expected |= {f"auc_{t:.0f}": value for t, value in zip(horizons, auc, strict=True)}
    expected |= {f"brier_{t:.0f}": value for t, value in zip(horizons, brier, strict=True)}
    assert set(table.index) == set(expected)
    for name, value in expected.items():
        assert table.at[name, "value"] == pytest.approx(value, abs=1e-10), name
    assert (table.at["c_harrell", "value"] < 0.5) == (beta < 0)  # a wrong direction stays visible


def test_whole_weights_are_repeated_patients():
    (train, _), (test, risk) = cohort(200, 3), cohort(90, 4)
    grid = np.arange(20.0, 1300, 20)
    S, horizons = exponential(risk, grid), [400.0, 900.0]
    drawn = np.random.default_rng(0).integers(0, 90, (5, 90))
    w = np.array([np.bincount(row, minlength=90) for row in drawn], float)
    strata = np.arange(90) % 3
    jobs = scores.weighted(train, test, risk, grid, S, horizons, strata)
    weighted = {name: job(w) for name, job in jobs.items() if name != "integrated_brier"}
    for k, row in enumerate(drawn):
        again = scores.weighted(train, test.iloc[row], risk[row], grid, S[row], horizons, strata[row])
        for name, values in weighted.items():
            assert values[k] == pytest.approx(again[name](np.ones((1, 90)))[0], abs=1e-10), name


def test_strata_compare_only_inside():
    test, risk = cohort(120, 5)
    strata = np.arange(120) % 4
    time_, event = test["time_days"].to_numpy(), test["event"].to_numpy()
    good = pairs = 0.0
    for i in range(120):
        for j in range(120):
            if i != j and strata[i] == strata[j] and event[i] and (
                    time_[i] < time_[j] or (time_[i] == time_[j] and not event[j])):
                pairs += 1
                good += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    found = concordance.concordance(time_, event, risk, strata=strata)
    assert found == pytest.approx(good / pairs, abs=1e-12)
    shifted = risk + 100 * strata  # a shift between strata changes nothing inside them
    assert concordance.concordance(time_, event, shifted, strata=strata) == pytest.approx(found, abs=1e-12)
    table = scores.scores(test, test, shifted, horizons=[600.0], strata=strata, n_bootstrap=0)
    plain = scores.scores(test, test, risk, horizons=[600.0], strata=strata, n_bootstrap=0)
    assert np.allclose(table["value"], plain["value"], atol=1e-12)


def test_veterans_lung_cancer_as_documented():
    """User guide of scikit-survival, introduction: C of Cox on all patients 0.7362562471603816."""
    from sksurv.datasets import load_veterans_lung_cancer
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.preprocessing import OneHotEncoder

    x, y = load_veterans_lung_cancer()
    numbers = OneHotEncoder().fit_transform(x)
    risk = CoxPHSurvivalAnalysis().fit(numbers, y).predict(numbers)
    found = concordance.concordance(y["Survival_in_days"], y["Status"], risk)
    assert found == pytest.approx(0.7362562471603816, abs=1e-12)


def test_german_breast_cancer_as_documented():
    """Reference pages of brier_score (0.20881843 at 5 years) and integrated_brier_score (0.1816 over 1 to 5 years)."""
    from sksurv.datasets import load_gbsg2
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.preprocessing import OneHotEncoder

    x, y = load_gbsg2()
    x["tgrade"] = x["tgrade"].map(len).astype(int)
    numbers = OneHotEncoder().fit_transform(x)
    model = CoxPHSurvivalAnalysis(ties="efron").fit(numbers, y)
    grid = np.arange(365, 1826)
    S = np.array([curve(grid) for curve in model.predict_survival_function(numbers)])
    table = pd.DataFrame({"time_days": y["time"], "event": y["cens"]})
    times = np.arange(365.0, 1826, 20)
    found = scores.scores(table, table, model.predict(numbers), grid, S, times, n_bootstrap=0)["value"]
    assert found["brier_1825"] == pytest.approx(0.20881843, abs=5e-9)
    score = [found[f"brier_{t:.0f}"] for t in times]
    assert round(np.trapezoid(score, times) / (1825 - 365), 4) == 0.1816


def test_scores_with_intervals():
    (train, _), (test, risk) = cohort(400, 6), cohort(300, 7)
    grid = np.arange(20.0, 1300, 20)
    table = scores.scores(train, test, risk, grid, exponential(risk, grid), [365.0, 730.0], n_bootstrap=300)
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    assert (table["undefined"] == 0).all()
    assert "c_harrell_low" in metrics.flat(table) and " to " in metrics.written(table)["c_uno"]
    same = scores.scores(train, test, risk, grid, exponential(risk, grid), [365.0, 730.0], n_bootstrap=300)
    pd.testing.assert_frame_equal(table, same)
    only = scores.scores(train, test, None, grid, scores.kaplan_meier_curve(train, grid), [365.0],
                                  n_bootstrap=50)
    assert list(only.index) == ["brier_365", "integrated_brier"]
    assert only.at["integrated_brier", "value"] > 0
    assert list(scores.scores(train, test, risk, horizons=[365.0], n_bootstrap=0).index) == [
        "c_harrell", "c_uno", "auc_365"]


def test_intervals_hold_the_true_concordance():
    """95 % intervals of C over 120 simulated test sets; the truth is the C of 8,000 patients."""
    train, _ = cohort(100, 0)
    big, score = cohort(8000, 1, ties=False)
    truth, hits = concordance.concordance(big["time_days"], big["event"], score), 0
    for seed in range(120):
        test, risk = cohort(100, 1000 + seed, ties=False)
        row = scores.scores(train, test, risk, horizons=[700.0], n_bootstrap=200, seed=seed).loc["c_harrell"]
        hits += row["low"] <= truth <= row["high"]
    assert 105 <= hits <= 120


def test_paired_difference():
    (train, _), (test, risk) = cohort(300, 8), cohort(250, 9)
    noisy = risk + np.random.default_rng(0).normal(0, 1.5, 250)
    for name in ("c_harrell", "c_uno", "auc_700"):
        gap = scores.difference(train, test, risk, noisy, name, horizons=[700.0])
        back = scores.difference(train, test, noisy, risk, name, horizons=[700.0])
        assert gap["value"] > 0 and gap["low"] > 0 and gap["low"] < gap["value"] < gap["high"]
        assert back["value"] == pytest.approx(-gap["value"]) and back["high"] < 0
    grid = np.arange(20.0, 1300, 20)
    baseline = scores.kaplan_meier_curve(train, grid)
    gain = scores.difference(train, test, None, None, "integrated_brier", grid, exponential(risk, grid),
                                      baseline, [700.0])
    assert gain["high"] < 0  # the true curves are better than one curve for all
    with pytest.raises(ValueError, match="not among the scores: c_harrell, c_uno, auc_700"):
        scores.difference(train, test, risk, noisy, "auc", horizons=[700.0])


def test_horizons_beyond_follow_up_are_cut_with_a_note():
    (train, _), (test, risk) = cohort(200, 10), cohort(100, 11)
    train = train[train["time_days"] < 1000]
    table = scores.scores(train, test, risk, horizons=[365.0, 3650.0, 7300.0], n_bootstrap=0)
    assert len(table.attrs["notes"]) == 2 and "cut to" in table.attrs["notes"][0]
    assert len(table.attrs["horizons"]) == 2 and table.attrs["horizons"][1] < 1000
    assert np.isfinite(table["value"]).all()
    late = scores.scores(train, test, risk, horizons=[1.0], n_bootstrap=0)  # before the first event
    assert np.isnan(late.at["auc_1", "value"]) and np.isnan(late.at["c_uno", "value"])


def test_clear_messages():
    (train, _), (test, risk) = cohort(100, 12), cohort(60, 13)
    with pytest.raises(ValueError, match="no event among the 60 evaluated patients"):
        scores.scores(train, test.assign(event=False), risk)
    with pytest.raises(ValueError, match="59 risks"):
        scores.scores(train, test, risk[1:])
    with pytest.raises(ValueError, match="1 of them not finite"):
        scores.scores(train, test, np.r_[np.nan, risk[1:]])
    with pytest.raises(ValueError, match="test: 60 patients; each needs a time above 0"):
        scores.scores(train, test.assign(time_days=0.0), risk)
    assert np.isnan(concordance.concordance([5.0, 5.0], [True, True], [1.0, 2.0]))  # events at one time: no pair
    everyone = scores.scores(train, test, np.zeros(60), horizons=[365.0], n_bootstrap=50)  # one group
    assert np.allclose(everyone["value"], 0.5) and everyone["low"].isna().all()


def test_a_thousand_resamples_of_many_patients_are_fast():
    train, _ = cohort(500, 14)
    test, risk = cohort(4000, 15)
    start = time.process_time()
    table = scores.scores(train, test, risk, horizons=[365.0, 730.0], n_bootstrap=500)
    assert time.process_time() - start < 60
    assert table.at["c_harrell", "high"] - table.at["c_harrell", "low"] < 0.03


def test_tables_and_sentences_of_several_models():
    (train, _), (test, risk) = cohort(200, 1), cohort(120, 2)
    grid, horizons, nothing = np.linspace(30, 2000, 50), [365.25, 730.5], np.zeros(120)
    curves = {"fused": exponential(risk, grid), "kaplan_meier": scores.kaplan_meier_curve(train, grid)[None]}
    risks = {"fused": risk, "kaplan_meier": nothing}
    scored = {name: scores.scores(train, test, one, grid, curves[name], horizons, n_bootstrap=50)
              for name, one in risks.items()}
    ranks, probabilities = scores.tables(scored)
    assert list(ranks) == ["C, Harrell", "C, Uno", "AUC, 1 year", "AUC, 2 years"] and list(ranks.index) == ["fused"]
    assert list(probabilities) == ["Brier, 1 year", "Brier, 2 years", "IBS"] and len(probabilities) == 2
    said = scores.in_words(scored, "fused")
    assert "rank better than chance: fused." in said and "truth" not in said
    value = scores.one_of_each(scored).loc["fused", "value"]
    assert value == pytest.approx(concordance.concordance(test["time_days"], test["event"], risk))
    lines = scores.over_time(train, test, risks, grid, curves, 730.5)
    last = scores.scores(train, test, risk, grid, curves["fused"], [lines.index[-1]], n_bootstrap=0)["value"]
    assert lines["auc", "fused"].iloc[-1] == last.iloc[2] and lines["brier", "fused"].iloc[-1] == last.iloc[3]
    assert scores.possible(test, horizons) and not scores.possible(test, []) and not scores.possible(test[:1], horizons)


def test_pairs_that_both_exist_are_compared_and_a_model_that_knows_the_source_only_is_chance_within_it():
    (train, _), (test, risk) = cohort(200, 1), cohort(120, 2)
    site = np.where(risk > 0, "a", "b")
    risks = {"image": risk, "source": (risk > 0) * 1.0}
    found = scores.differences(train, test, risks)
    assert list(found.index) == ["image minus source"] and found["value"].iloc[0] > 0
    assert scores.differences(train, test, {}).empty
    sources = pd.DataFrame({"site": site}, index=test.index)
    within = scores.within_sources(train, test, risks, sources, [365.25], n_bootstrap=50)
    assert within.loc[("source", "site"), "value"] == 0.5 and within.loc[("image", "site"), "value"] > 0.55
    over_all = pd.DataFrame({"value": {name: concordance.concordance(test["time_days"], test["event"], one)
                                       for name, one in risks.items()}, "low": np.nan, "high": np.nan})
    assert "is the source" in scores.within_in_words(over_all, within, "source")
    sources.loc[:, "site"] = None
    alone = scores.within_sources(train, test, risks, sources, [365.25], n_bootstrap=0)
    assert alone["value"].isna().all(), "patients of no known source are compared with nobody"


def test_the_true_risk_is_taken_only_if_known_of_everybody():
    truth = pd.DataFrame({"patient_id": [1, 2, 1], "log_hazard": [0.5, -1.0, 0.5]})
    assert scores.true_risk(truth, ["2", "1"]).tolist() == [-1.0, 0.5]
    assert scores.true_risk(truth, ["3"]) is None and scores.true_risk(None, ["1"]) is None
