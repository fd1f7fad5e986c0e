"""Follow-up and survival curves against lifelines, scikit-survival and arithmetic."""

import numpy as np
import pandas as pd
import pytest

from medlab.survival import hazards


@pytest.fixture(scope="module")
def rossi():
    from lifelines.datasets import load_rossi

    return load_rossi()


def table(**columns):
    return pd.DataFrame({"patient_id": ["a", "b", "c", "d"], "time_days": [10.0, 0.0, 30.0, np.nan],
                         "event": [True, False, True, True]} | columns)


def test_follow_up():
    found = hazards.follow_up(pd.concat([table(), table()]))  # two images of each patient
    assert found.to_dict("list") == {"time_days": [10, 5, 30], "event": [True, False, True]}
    assert found["event"].dtype == bool and found.index.name == "patient_id"
    assert found.attrs["notes"] == ["1 of 4 patients have no known time or event and are left out.",
                                    "1 patients with time 0 are set to 5 days: b."]
    coded = hazards.follow_up(table(event=["1", "False", 1.0, None]))
    assert list(coded["event"]) == [True, False, True]
    everyone = hazards.follow_up(table(event=True))
    assert "nobody is censored" in everyone.attrs["notes"][1]


@pytest.mark.parametrize("columns, message", [
    ({"time_days": [10, -1, 30, 40]}, r"1 patients have a negative or infinite time_days \(b\)"),
    ({"event": False}, "no event among the 3 patients with follow-up"),
    ({"event": ["dead", "alive", "dead", "dead"]}, "event is 'dead'; expected true or false"),
    ({"patient_id": ["a", "a", "c", "d"]}, "patient a has several follow-up times"),
])
def test_follow_up_refuses(columns, message):
    with pytest.raises(ValueError, match=message):
        hazards.follow_up(table(**columns))


def test_follow_up_needs_its_columns():
    with pytest.raises(ValueError, match="no column time_days, event"):
        hazards.follow_up(table()[["patient_id"]])


def test_baseline_and_curves_are_those_of_lifelines(rossi):
    from lifelines import CoxPHFitter

    model = CoxPHFitter().fit(rossi, "week", "arrest")
    risk = model.predict_log_partial_hazard(rossi).to_numpy()
    times, h0 = hazards.breslow(rossi["week"], rossi["arrest"], risk)
    expected = model.baseline_cumulative_hazard_["baseline cumulative hazard"]
    assert np.allclose(h0, expected[times], atol=1e-8)
    grid = np.arange(1, 53)
    S = hazards.cox_curves(times, h0, risk, grid)
    expected = model.predict_survival_function(rossi, times=times).T  # lifelines draws straight lines between events
    assert np.allclose(hazards.at(grid, S, times), expected, atol=1e-8)
    assert (np.diff(S) <= 0).all() and S.max() <= 1 and S.min() >= 0


def test_curves_are_those_of_scikit_survival(rossi):
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    x = rossi.drop(columns=["week", "arrest"]).astype(float)
    model = CoxPHSurvivalAnalysis().fit(x, Surv.from_arrays(rossi["arrest"] == 1, rossi["week"]))
    risk, grid = model.predict(x), np.arange(1, 53)
    times, h0 = hazards.breslow(rossi["week"], rossi["arrest"], risk)
    expected = np.array([curve(grid) for curve in model.predict_survival_function(x)])
    assert np.allclose(hazards.cox_curves(times, h0, risk, grid), expected, atol=1e-10)


def test_extreme_risks_give_curves_between_0_and_1(rossi):
    risk = np.linspace(-500, 500, len(rossi))
    times, h0 = hazards.breslow(rossi["week"], rossi["arrest"], risk)
    S = hazards.cox_curves(times, h0, risk, np.arange(0, 60))
    assert np.isfinite(S).all() and (np.diff(S) <= 0).all() and S.min() >= 0 and S.max() <= 1
    with pytest.raises(ValueError, match="no event among 432"):
        hazards.breslow(rossi["week"], rossi["arrest"] * 0, risk)
    with pytest.raises(ValueError, match="1 risks are missing"):
        hazards.breslow(rossi["week"], rossi["arrest"], np.r_[np.nan, risk[1:]])


def test_hazard_curves():
    logits = np.array([[0.0, -1.0, 2.0], [-50.0, 50.0, 0.0]])
    cuts = [0, 100, 300, 400]
    S = hazards.hazard_curves(logits, cuts, [0, 100, 300, 400])
    q = 1 / (1 + np.exp(-logits))
    assert np.allclose(S, np.column_stack([np.ones(2), np.cumprod(1 - q, axis=1)]), atol=1e-12)
    halfway = hazards.hazard_curves(logits, cuts, [50, 200, 1000])
    assert halfway[0, 0] == pytest.approx(0.5**0.5)  # constant hazard density: half the interval, root of its survival
    assert halfway[0, 1] == pytest.approx(0.5 * (1 - q[0, 1]) ** 0.5)
    assert np.allclose(halfway[:, 2], S[:, -1])  # flat after the last cut
    fine = hazards.hazard_curves(np.random.default_rng(0).normal(0, 8, (50, 3)), cuts, np.arange(0, 500))
    assert np.isfinite(fine).all() and (np.diff(fine) <= 0).all()
    with pytest.raises(ValueError, match="need 4 increasing cuts, found 3"):
        hazards.hazard_curves(logits, cuts[:3], [1])


def test_median_and_restricted_mean():
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    rng = np.random.default_rng(0)
    time, event = np.ceil(rng.exponential(300, 80)), rng.random(80) < 0.7
    curve = KaplanMeierFitter().fit(time, event)
    grid = np.unique(time)
    S = hazards.kaplan_meier(time, event, grid)
    assert np.allclose(S[0], curve.survival_function_at_times(grid), atol=1e-12)
    assert hazards.median_days(grid, S)[0] == curve.median_survival_time_
    assert hazards.rmst_days(grid, S, 250)[0] == pytest.approx(restricted_mean_survival_time(curve, 250))
    assert np.allclose(hazards.at(grid, S, [0, 100, 250])[0], curve.survival_function_at_times([0, 100, 250]))
    assert hazards.at(grid, S, 100).shape == (1,)
    both = hazards.median_days([10, 20], [[0.9, 0.6], [0.5, 0.1]])
    assert list(both) == [np.inf, 10]  # not reached within the grid


def test_group_times_with_intervals():
    rng = np.random.default_rng(1)
    time = rng.exponential(300, 150)
    found = hazards.group_times(time, np.ones(150, bool), 400, n_bootstrap=300)
    assert found.at["median_days", "value"] == np.sort(time)[74]
    assert found.at["rmst_days", "value"] == pytest.approx(np.minimum(time, 400).mean())
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()
    few = hazards.group_times(time, time < np.quantile(time, 0.4), 400, n_bootstrap=100)
    assert few.at["median_days", "value"] == np.inf and few.at["median_days", "high"] == np.inf  # not reached
    short = hazards.group_times(np.minimum(time, 100), time < 100, 400, n_bootstrap=20)
    assert np.isnan(short.at["rmst_days", "value"])  # nobody followed to day 400
    drawn = rng.integers(0, 150, 150)
    w = np.bincount(drawn, minlength=150)[None]
    grid = np.arange(0, 900, 30)
    event = time < 250
    weighted = hazards.kaplan_meier(time, event, grid, w)
    assert np.allclose(weighted, hazards.kaplan_meier(time[drawn], event[drawn], grid), equal_nan=True)


def test_slope_recovers_the_factor_and_never_turns_the_risk_round():
    rng = np.random.default_rng(2)
    risk = rng.normal(size=4000)
    time = rng.exponential(np.exp(-risk))
    event = np.ones(4000, bool)
    assert hazards.slope(time, event, 2 * risk, sd=10) == pytest.approx(0.5, abs=0.03)
    assert hazards.slope(time, event, -risk) == pytest.approx(0.05, abs=1e-3)
    assert hazards.slope(time[:6], event[:6], 2 * risk[:6]) == pytest.approx(1, abs=0.5)  # few events: near 1
    assert hazards.slope(time, event, 2 * risk) == pytest.approx(0.5, abs=0.03)
    from lifelines import CoxPHFitter

    frame = pd.DataFrame({"t": time[:300], "e": 1, "x": risk[:300]})
    expected = CoxPHFitter().fit(frame, "t", "e").params_["x"]
    assert hazards.slope(time[:300], event[:300], risk[:300], sd=1e3) == pytest.approx(expected, abs=1e-4)


def test_legal_horizons():
    train, test = np.arange(1, 101) * 10.0, np.arange(1, 101) * 8.0
    days, notes = hazards.legal_horizons([365, 700, 2000, 3000], train, test)
    assert days == [365, 700, 767] and len(notes) == 2
    assert "2000 days cut to 767" in notes[0] and "evaluated patients" in notes[0]
    assert (test > 767).sum() == 5
    assert hazards.legal_horizons([365], train, test) == ([365.0], [])
    assert hazards.legal_horizons([365], [0.4], [0.3])[0] == pytest.approx([0.2997])
    with pytest.raises(ValueError, match="positive days"):
        hazards.legal_horizons([0], train, test)
    with pytest.raises(ValueError, match="no evaluated patients"):
        hazards.legal_horizons([365], train, [])
