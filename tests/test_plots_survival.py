"""Figures of survival: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from medlab.survival import figures, scores


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_follow_up_draws_one_line_per_patient_and_marks_who_had_the_event():
    time, event = np.array([365.25, 730.5, 1461.0, 100.0]), np.array([True, False, True, False])
    ax = figures.follow_up(time, event)
    seen, censored = (np.asarray(line.get_xdata()) for line in ax.get_lines())
    assert sorted(seen) == [1.0, 4.0] and sorted(censored) == pytest.approx([100 / 365.25, 2.0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["event (2)", "censored (2)"]
    assert "4 of 4 patients" in ax.get_ylabel()
    assert "5 of 60 patients" in figures.follow_up(np.arange(1, 61), np.ones(60, bool), n=5).get_ylabel()


def test_ends_of_follow_up_counts_every_patient_once():
    time = np.random.default_rng(0).exponential(900, 300)
    ax = figures.ends_of_follow_up(time, time > 500)
    tops = np.max([[bar.get_y() + bar.get_height() for bar in bars] for bars in ax.containers], axis=0)
    assert tops.sum() == 300


def test_hazard_ratios_fills_only_those_that_leave_out_1_and_keeps_huge_limits_inside():
    table = pd.DataFrame({"value": [2.0, 0.5, 1.1], "low": [1.5, 0.2, 0.4], "high": [2.7, 0.9, 5000.0]}, list("abc"))
    ax = figures.hazard_ratios(table)
    filled = [tuple(face) != (1, 1, 1, 1) for face in ax.collections[1].get_facecolors()]
    assert filled == [True, True, False]
    assert ax.get_xlim()[1] <= 150 and "1.10 (0.40 to 5000.00)" in {text.get_text() for text in ax.texts}


def test_narrow_hazard_ratios_still_have_a_scale():
    table = pd.DataFrame({"value": [1.05, 0.98], "low": [1.01, 0.95], "high": [1.1, 1.02]}, list("ab"))
    assert len(figures.hazard_ratios(table).get_xticks()) >= 3


def test_measures_writes_the_numbers_and_stands_a_missing_interval():
    table = pd.DataFrame({"value": [0.7, 0.6], "low": [0.6, np.nan], "high": [0.8, np.nan]}, ["fused", "truth"])
    ax = figures.measures(table)
    assert [text.get_text() for text in ax.texts] == ["0.700 (0.600 to 0.800)", "0.600"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fused", "truth"]


def test_over_time_gives_each_model_one_look_and_the_baseline_its_own():
    values = {name: np.full(3, k / 10) for k, name in enumerate(("kaplan_meier", "clinical", "fused", "truth"))}
    ax = figures.over_time([365.25, 730.5, 1095.75], values, "Brier score")
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines["fused"].get_xdata()) == [1, 2, 3] and list(lines["fused"].get_ydata()) == [0.2] * 3
    assert lines["kaplan meier"].get_linestyle() == "--" and lines["truth"].get_linestyle() == ":"
    assert len({line.get_color() for line in lines.values()}) == 4


def test_all_models_can_be_told_apart_and_look_the_same_in_every_figure():
    names = [*scores.BASELINES, *figures.MODELS]
    looks = {name: (style["color"], style["ls"]) for name in names for style in [figures.line_of(name)]}
    assert len(set(looks.values())) == len(names) and figures.line_of("a new one")["color"]
    first = figures.over_time([1.0, 2.0], {name: [0.0, 1.0] for name in names}, "AUC").get_lines()
    alone = figures.over_time([1.0, 2.0], {"volume": [0.0, 1.0]}, "AUC").get_lines()[0]
    assert alone.get_color() == next(line for line in first if line.get_label() == "volume").get_color()


def test_calibration_has_a_panel_per_horizon_and_the_points_of_the_groups():
    group = pd.DataFrame({"predicted": [0.2, 0.8], "observed": [0.3, 0.7], "low": [0.1, 0.5], "high": [0.5, 0.9]})
    line = pd.DataFrame({"predicted": [0.1, 0.9], "observed": [0.2, 0.8], "low": [0.1, 0.6], "high": np.nan})
    axs = figures.calibration([line, line], [group, group], [365.25, 730.5])
    assert [ax.get_title(loc="left") or ax.get_title() for ax in axs] == ["by 365 days", "by 730 days"]
    assert list(axs[0].get_lines()[1].get_ydata()) == [0.2, 0.8]
    assert list(axs[1].containers[0].lines[0].get_ydata()) == [0.3, 0.7]


def test_d_calibration():
    ax = figures.d_calibration(np.full(10, 0.1))
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.1] * 10)


def test_patients_marks_what_happened_on_the_predicted_curve_also_without_images():
    grid, curves = np.array([0.0, 1000.0, 2000.0]), np.array([[1.0, 0.8, 0.6], [1.0, 0.5, 0.1]])
    picture = np.zeros((8, 8), np.uint8)
    for pictures in ([picture, None], [None, None]):
        axs = figures.patients(pictures, grid, curves, ["low", "high"], [1000.0, 500.0], [False, True], curves[0])
        marks = [next(line for line in ax.get_lines() if line.get_label() in ("event", "censored")) for ax in axs[1]]
        assert [float(mark.get_ydata()[0]) for mark in marks] == pytest.approx([0.8, 0.75])
        assert [mark.get_label() for mark in marks] == ["censored", "event"]


def test_cumulative_incidence_draws_each_cause_and_its_naive_curve():
    table = pd.DataFrame({"time_days": [365.25, 730.5], "value": [0.1, 0.3], "low": [0.0, 0.2], "high": [0.2, 0.4],
                          "naive": [0.2, 0.5]})
    ax = figures.cumulative_incidence({"tumour": table, "other": table})
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["tumour", "other"] and len(ax.get_lines()) == 5
