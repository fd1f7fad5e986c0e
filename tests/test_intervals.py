"""The limits of a bootstrap: one rule for every statistic."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from medlab.statistics import intervals

DRAWS = np.random.default_rng(0).normal(1, 0.1, 1000)
WITHOUT = np.random.default_rng(1).normal(1, 0.01, 50)


def test_limits_are_bca_of_the_defined_resamples():
    few = np.where(np.arange(1000) < 40, np.nan, DRAWS)
    assert intervals.limits(1.0, few, WITHOUT) == intervals.bca(1.0, few[40:], WITHOUT)
    assert intervals.limits(1.0, DRAWS, WITHOUT, 0.8)[0] > intervals.limits(1.0, DRAWS, WITHOUT, 0.95)[0]


@pytest.mark.parametrize("value, draws", [
    (np.nan, DRAWS),
    (1.0, np.where(np.arange(1000) < 60, np.nan, DRAWS)),  # more than 5 % of the resamples undefined
    (1.0, np.ones(1000)),
    (1.0, np.full(1000, np.nan)),
    (1.0, np.empty(0)),
])
def test_no_limits_where_resamples_say_nothing(value, draws):
    assert np.isnan(intervals.limits(value, draws, WITHOUT)).all()


def test_percentiles():
    np.testing.assert_allclose(intervals.percentiles(DRAWS), np.quantile(DRAWS, [0.025, 0.975]))
    several = np.column_stack([DRAWS, 2 * DRAWS])
    several[:30, 1] = np.nan  # such a resample counts for neither number
    low, high = intervals.percentiles(several, 0.9)
    np.testing.assert_allclose([low, high], np.quantile(several[30:], [0.05, 0.95], axis=0))
    several[:60, 1] = np.nan
    assert np.isnan(intervals.percentiles(several)).all() and np.shape(intervals.percentiles(several)) == (2, 2)
    reached = np.where(np.arange(1000) < 100, np.inf, DRAWS)  # a median that is not reached
    assert intervals.percentiles(reached, method="inverted_cdf")[1] == np.inf


def test_bca_is_that_of_scipy():
    x = np.random.default_rng(2).exponential(size=60)
    theirs = bootstrap((x,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(0))
    without = np.array([np.delete(x, i).mean() for i in range(60)])
    ours = intervals.limits(x.mean(), theirs.bootstrap_distribution, without)
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=0.01)
