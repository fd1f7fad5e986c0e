"""Net benefit: by hand, against the two rules, with intervals that leave out patients; in figures and in words."""

import numpy as np
import pytest

from medlab import plots
from medlab.statistics import decisions


def cohort(n=400, seed=0, per=1):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 2, n).repeat(per)
    return p, (rng.random(n).repeat(per) < p).astype(int), np.arange(n).repeat(per)


def test_the_value_is_that_of_the_formula_and_the_rules_stand_beside_it():
    p, y, _ = cohort()
    table = decisions.curve(p, decisions.share_of(y), thresholds=[0.0, 0.2, 0.5, 0.99]).set_index("threshold")
    for t, row in table.iterrows():
        odds = t / (1 - t)
        assert row["model"] == pytest.approx(((p > t) & (y == 1)).mean() - odds * ((p > t) & (y == 0)).mean())
        assert row["all"] == pytest.approx(y.mean() - odds * (1 - y.mean())) and row["none"] == 0
        assert row["more"] == pytest.approx(row["model"] - row["all"]) and row["treated"] == (p > t).mean()
    with pytest.raises(ValueError, match="threshold 1: a probability from 0 to below 1"):
        decisions.curve(p, decisions.share_of(y), thresholds=[1.0])


def test_the_interval_is_that_of_a_mean_over_patients():
    p, y, _ = cohort(1500)
    row = decisions.curve(p, decisions.share_of(y), thresholds=[0.3]).iloc[0]
    each = (p > 0.3) * np.where(y == 1, 1.0, -0.3 / 0.7)
    error = each.std(ddof=1) / np.sqrt(len(each))
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.97 * error, rel=0.06)
    p2, y2, who = np.repeat(p, 2), np.repeat(y, 2), np.repeat(np.arange(1500), 2)
    twice = decisions.curve(p2, decisions.share_of(y2), who, [0.3]).iloc[0]
    assert twice[["low", "high"]].to_numpy() == pytest.approx(row[["low", "high"]].to_numpy(), abs=0.02)


def test_few_cases_that_are_missed_widen_the_interval():
    p = np.r_[np.full(90, 0.02), np.full(10, 0.9)]
    y = np.r_[np.zeros(90, int), np.ones(10, int)]
    row = decisions.curve(p, decisions.share_of(y), thresholds=[0.05]).iloc[0]
    missed = 1 - 0.025 ** (1 / 90)  # exact upper limit of none of 90
    assert row["more"] == pytest.approx(0.9 * 0.05 / 0.95)
    assert row["more_low"] == pytest.approx(-0.9 * (missed - (1 - missed) * 0.05 / 0.95))


def test_where_it_is_better_than_both_rules_stands_in_words():
    p, y, who = cohort(3000)
    good = decisions.in_words(decisions.curve(p, decisions.share_of(y), who), "the network")
    assert "the network is shown to be better than acting on everybody and on nobody at" in good
    bad = decisions.in_words(decisions.curve(1 - p, decisions.share_of(y), who), "the network")
    assert bad.startswith("At no threshold") and "shown to be worse than one of them at" in bad


def test_nobody_and_everybody_acted_on_and_a_single_case_give_no_error():
    p, y = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 0, 1])
    table = decisions.curve(p, decisions.share_of(y), thresholds=[0.0, 0.5, 0.95]).set_index("threshold")
    assert table.at[0.95, "model"] == 0 and table.at[0.95, "treated"] == 0
    assert table.at[0.0, "model"] == table.at[0.0, "all"] and table["model"].notna().all()
    assert np.isnan(table.at[0.95, "low"]) and np.isnan(table.at[0.0, "more_low"]), "nobody: no interval of no width"
    assert "At no threshold" in decisions.in_words(table.reset_index(), "it")


def test_models_stand_side_by_side_in_one_figure():
    p, y, who = cohort()
    one = decisions.curve(p, decisions.share_of(y), who)
    lines = decisions.side_by_side({"clinical": one, "fused": one.assign(model=0.1)})
    assert list(lines) == ["threshold", "clinical", "fused", "all", "none"] and lines["all"].equals(one["all"])
    assert decisions.side_by_side({}).empty
    ax = plots.net_benefit(lines, one)
    assert {line.get_label() for line in ax.get_lines()} == {"clinical", "fused", "act on everybody", "act on nobody"}
    assert len(ax.collections) == 1 and ax.get_ylim()[0] > -0.2, "the useless part of a rule does not squash the rest"
