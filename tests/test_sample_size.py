"""Sample sizes: the published examples, and what simulated cohorts of that size really show."""

import numpy as np
import pytest
from scipy.special import expit

from medlab.statistics import measures, sample_size


def test_the_published_examples():
    """Of the package pmsampsize: a binary outcome (Riley 2020), and survival (Riley 2019)."""
    assert list(sample_size.development(24, 0.174, r2=0.288).values()) == [623, 662, 221]
    survival = list(sample_size.development(30, 0.065 * 2.07, 2.07, 2, 0.051).values())
    assert survival[:2] == [5143, 1039] and survival[2] < 5143


def test_more_parameters_and_rarer_cases_need_more_patients():
    few, many = (max(sample_size.development(k, 0.3).values()) for k in (5, 20))
    assert many > 3 * few
    assert max(sample_size.validation(0.02).values()) > 3 * max(sample_size.validation(0.3).values())


@pytest.mark.parametrize("parameters, share", [(0, 0.3), (5, 0.0), (5, 1.0)])
def test_impossible_questions_are_refused(parameters, share):
    with pytest.raises(ValueError, match="expected at least one, and a share between 0 and 1"):
        sample_size.development(parameters, share)


def test_at_the_size_for_validation_the_intervals_are_as_wide_as_promised():
    share, auc, rng = 0.25, 0.75, np.random.default_rng(0)
    needed = dict(zip(("ratio", "auc", "slope"), sample_size.validation(share, auc).values(), strict=True))
    x = np.sort(rng.normal(size=4000))
    mean, spread = sample_size.logits(x, share, auc)

    def drawn(n):
        p = expit(mean + spread * rng.normal(size=n))
        return (rng.random(n) < p).astype(int), p

    ratios = [y.mean() / p.mean() for y, p in (drawn(needed["ratio"]) for _ in range(400))]
    assert 1.96 * np.std(np.log(ratios)) == pytest.approx(np.log(1.1), rel=0.15)
    areas = [measures.measure(y, p, np.ones((1, len(y))))["auc"][0]
             for y, p in (drawn(needed["auc"]) for _ in range(300))]
    assert 1.96 * np.std(areas) == pytest.approx(0.05, rel=0.2) and np.mean(areas) == pytest.approx(auc, abs=0.01)
    slopes = [measures.measure(y, p, np.ones((1, len(y))))["calibration_slope"][0]
              for y, p in (drawn(needed["slope"]) for _ in range(150))]
    assert 1.96 * np.std(slopes) == pytest.approx(0.1, rel=0.2)
