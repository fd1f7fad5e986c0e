"""Random effects against published numbers, and against formulas written out."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import t

from medlab.statistics import synthesis

BCG = np.array([[4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
                [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232],
                [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825]], float)


@pytest.fixture
def bcg():
    """Log relative risks of 13 trials of BCG vaccine (Colditz et al., JAMA 1994;271:698) and their variances."""
    a, b, c, d = BCG.T
    return np.log(a / (a + b) / (c / (c + d))), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def test_the_published_numbers_of_the_bcg_trials(bcg):
    """Viechtbauer, J Stat Softw 2010;36(3), and the Q-profile of metafor's confint."""
    found = synthesis.random_effects(*bcg)
    assert synthesis.between(*bcg) == pytest.approx(0.3132, abs=5e-5)
    assert found["value"] == pytest.approx(-0.7145, abs=5e-5) and found["i2"] == pytest.approx(0.9222, abs=5e-5)
    assert synthesis.between_interval(*bcg) == pytest.approx((0.1197, 1.1115), abs=5e-5)
    assert (found["i2_low"], found["i2_high"]) == pytest.approx((0.8192, 0.9768), abs=5e-5)
    error = (found["high"] - found["value"]) / t.ppf(0.975, 12)
    assert error == pytest.approx(0.181, abs=5e-4), "Knapp and Hartung"
    assert found["next_low"] < found["low"] and found["high"] < found["next_high"]


def test_sites_that_agree_differ_by_nothing_and_the_interval_is_never_narrower_than_the_plain_one():
    found = synthesis.random_effects([0.5, 0.5, 0.5, 0.5], [0.04, 0.01, 0.02, 0.03])
    assert found["tau"] == found["i2"] == 0 and found["value"] == pytest.approx(0.5)
    error = 1 / np.sqrt(25 + 100 + 50 + 100 / 3)
    assert found["high"] - 0.5 == pytest.approx(t.ppf(0.975, 3) * error)
    assert found["next_high"] - 0.5 == pytest.approx(t.ppf(0.975, 3) * error, rel=0.02), "any tau would make Q smaller"


@pytest.mark.parametrize("k, spread", [(3, 0.3), (5, 0.0), (13, 0.6)])
def test_the_prediction_is_that_of_draws(k, spread):
    """The confidence distribution written out: chi squared drawn, the variance that it belongs to, a new site."""
    rng = np.random.default_rng(k)
    variances = rng.uniform(0.02, 0.1, k)
    values = spread * rng.normal(size=k) + np.sqrt(variances) * rng.normal(size=k)

    def q(tau2):
        w = 1 / (variances + tau2)
        mean = (w * values).sum() / w.sum()
        return (w * (values - mean) ** 2).sum(), mean, w.sum()

    drawn = []
    for c in rng.chisquare(k - 1, 4000):
        tau2 = brentq(lambda x, c=c: q(x)[0] - c, 0, 1e9) if q(0)[0] > c else 0.0
        own, mean, weight = q(tau2)
        error = np.sqrt(max(1, own / (k - 1)) / weight)
        drawn += list(mean + np.sqrt(tau2) * rng.normal(size=20) + error * rng.standard_t(k - 1, 20))
    low, high = synthesis.prediction(values, variances)
    assert np.mean(np.array(drawn) < low) == pytest.approx(0.025, abs=0.005)
    assert np.mean(np.array(drawn) > high) == pytest.approx(0.025, abs=0.005)


def test_few_sites():
    one, two = synthesis.random_effects([1.0], [0.1]), synthesis.random_effects([0.0, 1.0], [0.01, 0.01])
    assert one["k"] == 1 and one["value"] == 1.0 and np.isnan([one["low"], one["tau"], one["next_low"]]).all()
    assert two["tau"] == pytest.approx(np.sqrt(0.49), rel=1e-4), "equal errors: sample variance minus theirs"
    assert np.isnan([two["next_low"], two["next_high"]]).all() and np.isfinite([two["low"], two["tau_high"]]).all()
    assert two["tau_high"] > 10, "two sites say next to nothing about how much sites differ"
    assert np.isfinite(synthesis.random_effects([0.0, 1.0, 0.4], [0.01] * 3)["next_low"])
    assert synthesis.random_effects([], [])["k"] == 0


def test_shares_are_taken_on_the_logit_scale_and_perfect_ones_have_no_place_there():
    values, errors = np.array([0.7, 0.8, 0.9]), np.array([0.05, 0.04, 0.03])
    found = synthesis.of_shares([*values, 1.0, 0.6], [*errors, 0.01, np.nan])
    by_hand = synthesis.random_effects(logit(values), (errors / values / (1 - values)) ** 2)
    assert found["k"] == 3 and found["tau"] == by_hand["tau"]
    for key in ("value", "low", "high", "next_low", "next_high"):
        assert found[key] == pytest.approx(expit(by_hand[key]))
    assert 0 < found["next_low"] < found["low"] < found["value"] < found["high"] < found["next_high"] < 1


@pytest.mark.parametrize("k", [3, 6, 12])
def test_the_estimate_is_the_top_of_the_restricted_likelihood(k):
    """Fisher's scoring (Viechtbauer 2005), written out with matrices, comes to the same."""
    rng = np.random.default_rng(k)
    values, variances = rng.normal(size=k), rng.uniform(0.02, 0.2, k)
    tau2 = 1.0
    for _ in range(200):
        w = np.diag(1 / (variances + tau2))
        p = w - w @ np.ones((k, k)) @ w / w.sum()
        tau2 = max(0.0, tau2 + (values @ p @ p @ values - np.trace(p)) / np.trace(p @ p))
    assert synthesis.between(values, variances) == pytest.approx(tau2, rel=1e-5, abs=1e-8)
