"""Calibration of survival models: simulations with a known answer, scikit-survival, arithmetic by hand."""

import time

import numpy as np
import pytest

from medlab.survival import calibration

GRID = np.arange(10, 2500, 10)


def cohort(n=400, seed=0, censored=True):
    """Exponential times with hazard exp(risk) / 900; returns days, event, risk."""
    rng = np.random.default_rng(seed)
    risk, draw = rng.normal(0, 1, n), rng.exponential(900, n)
    end = rng.uniform(200, 2500, n) if censored else np.full(n, np.inf)
    days = draw * np.exp(-risk)
    return np.minimum(days, end), days <= end, risk


def probability(risk, horizon, times=1.0):
    return 1 - np.exp(-np.exp(times * risk) * horizon / 900)


def test_cox_of_many_weightings_is_that_of_scikit_survival():
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    days, event, risk = cohort(150)
    days = np.ceil(days / 50) * 50  # ties
    x = np.column_stack([risk, np.random.default_rng(1).normal(size=150)])
    drawn = np.vstack([np.arange(150), *np.random.default_rng(2).integers(0, 150, (3, 150))])
    w = np.array([np.bincount(row, minlength=150) for row in drawn], float)
    found = calibration.cox(days, event, x, w)
    for row, got in zip(drawn, found, strict=True):
        model = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-14).fit(x[row], Surv.from_arrays(event[row], days[row]))
        assert np.allclose(model.coef_, got, atol=1e-6)
    assert np.isnan(calibration.cox(days, event & False, x, w)).all()
    first = (days == days[event].min()) & event
    separated = calibration.cox(days, first, first.astype(float)[:, None], np.ones((1, 150)))
    assert np.isnan(separated).all() or separated[0, 0] > 10  # no finite optimum: never a small number


def test_smooth_observed_probability_is_that_of_scikit_survival():
    """ICI, E50 and E90 from scikit-survival's Cox model on Harrell's spline, written out here."""
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    days, event, risk = cohort(300, 3)
    p = probability(risk, 700, 0.7)
    x = np.log(-np.log(1 - p))
    a, b, c = np.quantile(x, [0.1, 0.5, 0.9])
    cube = [np.maximum(x - t, 0) ** 3 for t in (a, b, c)]
    bend = (cube[0] - cube[1] * (c - a) / (c - b) + cube[2] * (b - a) / (c - b)) / (c - a) ** 2
    columns = np.column_stack([x, bend])
    model = CoxPHSurvivalAnalysis(tol=1e-14).fit(columns, Surv.from_arrays(event, days))
    gap = np.abs(1 - np.array([curve(700) for curve in model.predict_survival_function(columns)]) - p)
    found = calibration.calibration(days, event, p, 700)
    assert found["ici"] == pytest.approx(gap.mean(), abs=1e-6)
    assert found["e50"] == pytest.approx(np.quantile(gap, 0.5, method="inverted_cdf"), abs=1e-6)
    assert found["e90"] == pytest.approx(np.quantile(gap, 0.9, method="inverted_cdf"), abs=1e-6)
    slope = CoxPHSurvivalAnalysis(tol=1e-14).fit(x[:, None], Surv.from_arrays(event, days)).coef_[0]
    assert found["slope"] == pytest.approx(slope, abs=1e-6)


def test_the_true_model_is_calibrated_and_an_overconfident_one_is_not():
    days, event, risk = cohort(4000, 4)
    true = calibration.calibration(days, event, probability(risk, 700), 700, n_bootstrap=100)
    assert true["ici"] < 0.02 and true["slope_low"] < 1 < true["slope_high"]
    assert true["ici"] <= true["e90"] and true["observed"] == pytest.approx(true["predicted"], abs=0.03)
    loud = calibration.calibration(days, event, probability(risk, 700, 2.0), 700, n_bootstrap=100)
    assert loud["slope"] == pytest.approx(0.5, abs=0.05) and loud["slope_high"] < 0.6
    assert loud["ici"] > 0.08 and "ici_low" not in loud
    assert true["oe_low"] < 1 < true["oe_high"] and true["oe"] == pytest.approx(true["observed"] / true["predicted"])
    few = calibration.calibration(days, event, 0.6 * probability(risk, 700), 700)
    assert few["oe"] == pytest.approx(1 / 0.6, rel=0.06) and few["oe_low"] > 1
    said = calibration.level_in_words({"fused": few, "true_one": true}, 700).splitlines()
    assert said[0].startswith(f"By 700 days {few['observed']:.1%} (") and said[0].endswith(") had the event.")
    assert said[1].startswith(f"Too few events are predicted: fused {few['predicted']:.1%} (4")
    assert said[1].endswith("% too few).")
    assert said[2].startswith("As many are predicted, as far as shown: true one ") and len(said) == 3
    assert calibration.level_in_words({}, 700) == ""
    shy = calibration.calibration(days, event, probability(risk, 700, 0.5), 700)
    assert shy["slope"] == pytest.approx(2, abs=0.2)
    wrong = calibration.calibration(days, event, probability(-risk, 700), 700)
    assert wrong["slope"] == pytest.approx(-1, abs=0.1)  # not turned round
    inside = (true["groups"]["low"] <= true["groups"]["predicted"]) & (
        true["groups"]["predicted"] <= true["groups"]["high"])
    assert inside.sum() >= 4 and true["groups"]["n"].sum() == 4000
    assert (true["curve"]["low"] <= true["curve"]["high"]).all()


def test_one_prediction_for_all():
    days, event, _ = cohort(500, 5)
    found = calibration.calibration(days, event, np.full(500, 0.3), 700, n_bootstrap=20)
    assert np.isnan(found["slope"]) and len(found["groups"]) == 1
    assert found["ici"] == pytest.approx(found["observed"] - 0.3, abs=0.005)  # Breslow beside Kaplan-Meier
    few = calibration.calibration(days, event, np.where(np.arange(500) % 2, 0.3, 0.6), 700)  # two groups: no spline
    assert np.isfinite(few["ici"]) and len(few["groups"]) == 2


def test_d_calibration():
    days, event, risk = cohort(300, 6, censored=False)
    S = np.exp(-np.exp(risk)[:, None] * GRID / 900)
    found = calibration.d_calibration(days, event, GRID, S)
    inside = days <= GRID[-1]
    own = np.exp(-np.exp(risk) * days / 900)
    counts = np.histogram(own[inside], np.linspace(0, 1, 11))[0].astype(float)
    for end in S[~inside, -1]:  # follow-up beyond the grid: spread over what lies below its end
        counts += np.clip(end - np.arange(10) / 10, 0, 0.1) / end
    assert np.allclose(found["shares"], counts / 300, atol=2 / 300)  # the curve is interpolated between grid days
    assert found["shares"].sum() == pytest.approx(1)
    one = calibration.d_calibration([500.0], [False], [500.0, 1000.0], [[0.25, 0.1]])
    assert np.allclose(one["shares"][:4], [0.4, 0.4, 0.2, 0])  # censored at 0.25: 0.1, 0.1 and 0.05 of it


def test_d_calibration_over_many_cohorts():
    """Without censoring p is uniform; with it the test is on the safe side; an over-confident model is found."""
    p = {"true": [], "censored": [], "loud": []}
    fine = np.arange(2, 9000, 4.0)
    for seed in range(150):
        days, event, risk = cohort(200, 100 + seed, censored=False)
        p["true"].append(calibration.d_calibration(days, event, fine, np.exp(-np.exp(risk)[:, None] * fine / 900))["p"])
        days, event, risk = cohort(200, 100 + seed)
        for name, times in (("censored", 1.0), ("loud", 2.5)):
            S = np.exp(-np.exp(times * risk)[:, None] * GRID / 900)
            p[name].append(calibration.d_calibration(days, event, GRID, S)["p"])
    assert 0.4 < np.mean(p["true"]) < 0.6 and np.mean(np.array(p["true"]) < 0.05) < 0.11
    assert np.mean(np.array(p["censored"]) < 0.05) <= 0.05
    assert np.mean(np.array(p["loud"]) < 0.05) > 0.95


def test_net_benefit():
    days, event, risk = cohort(2000, 7, censored=False)
    p, died = probability(risk, 700), days <= 700
    table = calibration.net_benefit(days, event, p, 700, [0.0, 0.3, 0.6, 0.99]).set_index("threshold")
    for t in (0.3, 0.6):  # nobody censored: true and false positives can be counted
        true, false = (died & (p > t)).mean(), (~died & (p > t)).mean()
        assert table.at[t, "model"] == pytest.approx(true - false * t / (1 - t), abs=1e-12)
        assert table.at[t, "all"] == pytest.approx(died.mean() - (1 - died.mean()) * t / (1 - t), abs=1e-12)
        assert table.at[t, "model"] > max(table.at[t, "all"], 0)
    assert table.at[0.0, "model"] == pytest.approx(table.at[0.0, "all"]) and (table["none"] == 0).all()
    days, event, risk = cohort(2000, 7)  # censored: close to the uncensored answer
    again = calibration.net_benefit(days, event, probability(risk, 700), 700, [0.3]).set_index("threshold")
    assert again.at[0.3, "model"] == pytest.approx(table.at[0.3, "model"], abs=0.03)
    with pytest.raises(ValueError, match="threshold 1"):
        calibration.net_benefit(days, event, probability(risk, 700), 700, [1.0])


def test_clear_messages_and_speed():
    days, event, risk = cohort(400, 8)
    with pytest.raises(ValueError, match="0 patients followed beyond"):
        calibration.calibration(days, event, probability(risk, 9000), 9000)
    with pytest.raises(ValueError, match="must lie in 0..1"):
        calibration.calibration(days, event, risk, 700)
    with pytest.raises(ValueError, match="0 events up to 700"):
        calibration.net_benefit(days, event & False, probability(risk, 700), 700, [0.5])
    start = time.process_time()
    calibration.calibration(days, event, probability(risk, 700), 700, n_bootstrap=200)
    assert time.process_time() - start < 5
