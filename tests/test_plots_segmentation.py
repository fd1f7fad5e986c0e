"""Figures of a segmentation: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from medlab.segmentation import agreement, figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_pick_takes_best_median_and_worst_once_and_no_undefined():
    values = np.array([0.5, 0.9, np.nan, 0.1, 0.7, 0.3, 0.8])
    table = figures.pick(values, 1)
    assert table["kind"].tolist() == ["best", "median", "worst"] and table["row"].tolist() == [1, 4, 3]
    assert table["value"].tolist() == [0.9, 0.7, 0.1]
    table = figures.pick(values, 2)
    assert table["row"].tolist()[:2] == [1, 6] and table["row"].is_unique and table["value"].is_monotonic_decreasing
    assert figures.pick([0.4], 3)["kind"].tolist() == ["best"] and len(figures.pick([np.nan])) == 0
    assert figures.pick([0.4, 0.6, 0.5, 0.7])["kind"].tolist() == ["best", "median", "median", "worst"], "of few all"


def test_overlays_draw_both_outlines_where_the_masks_end():
    picture, truth, predicted = np.full((20, 30), 90, np.uint8), *np.zeros((2, 20, 30), bool)
    truth[5:9, 10:16], predicted[0:4, 0:3] = True, True
    colour, none = np.stack([picture] * 3, axis=-1), np.zeros_like(truth)
    grid = figures.overlays([picture, colour], [truth, truth], [predicted, none], ["a", "b"], [0.5, None])
    lines = {to_hex(line.get_color()).upper(): line.get_xydata() for line in grid[0, 0].get_lines()}
    x, y = lines[figures.TRUTH].T
    assert (x.min(), x.max(), y.min(), y.max()) == (9.5, 15.5, 4.5, 8.5)
    x, y = lines[figures.PREDICTED].T  # closed at the border of the picture
    assert (x.min(), x.max(), y.min(), y.max()) == (-0.5, 2.5, -0.5, 3.5)
    assert figures.PREDICTED not in {to_hex(line.get_color()).upper() for line in grid[0, 1].get_lines()}
    assert grid[0, 0].get_xlim() == (-0.5, 29.5) and grid[0, 0].get_ylim() == (19.5, -0.5)
    assert [text.get_text() for text in grid[0, 0].figure.legends[0].get_texts()] == ["truth", "prediction"]
    assert "mm" in grid[0, 0].texts[0].get_text() and "px" in grid[0, 1].texts[0].get_text()
    grid = figures.overlays([picture], [truth], None)
    assert [text.get_text() for text in grid[0, 0].figure.legends[0].get_texts()] == ["truth"]


def test_overlays_outline_each_class_and_refuse_what_does_not_fit():
    picture, classes = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    classes[4:8, 4:8], classes[8:12, 4:8] = 1, 2
    grid = figures.overlays([picture], [classes], [classes * 0])
    drawn = [line for line in grid[0, 0].get_lines() if to_hex(line.get_color()).upper() == figures.TRUTH]
    assert len(drawn) == 2
    with pytest.raises(ValueError, match="same size"):
        figures.overlays([picture], [classes[:10]], [classes])
    with pytest.raises(ValueError, match="at least one"):
        figures.overlays([], [], [])


def test_per_case_draws_every_case_and_the_interval():
    values = pd.DataFrame({"network": [0.8, 0.9, 0.7, np.nan], "Otsu": [0.2, 0.3, 0.1, 0.4]})
    summary = pd.DataFrame({"value": [0.8, 0.25], "low": [0.7, 0.1], "high": [0.9, 0.4]}, index=["network", "Otsu"])
    ax = figures.per_case(values, summary)
    dots = [one.get_offsets()[:, 1] for one in ax.collections if len(one.get_offsets()) > 1]
    assert np.ma.filled(dots[0], np.nan)[:3].tolist() == [0.8, 0.9, 0.7] and dots[1].tolist() == [0.2, 0.3, 0.1, 0.4]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["network\n(n = 3)", "Otsu\n(n = 4)"]
    ends = [path.vertices[:, 1].tolist() for one in ax.collections for path in one.get_paths() if len(path) == 2]
    assert [0.7, 0.9] in ends and [0.1, 0.4] in ends
    assert len(figures.per_case(values[["network"]]).get_lines()) == 0


def test_bland_altman_draws_patients_limits_and_the_slope_only_where_there_is_one():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 50, 40)
    ax = figures.bland_altman(truth, truth + rng.normal(0, 1, 40))
    found = agreement.bland_altman(truth, truth + np.random.default_rng(0).normal(0, 1, 40))
    assert len(ax.collections[0].get_offsets()) == 40 and ax.get_legend() is None and found["n"] == 40
    ax = figures.bland_altman(truth, 1.5 * truth + rng.normal(0, 1, 40), unit="mL")
    assert "slope +0.4" in ax.get_legend().get_texts()[0].get_text() and ax.get_xlabel().endswith("mL")
    levels = [line.get_ydata()[0] for line in ax.get_lines()]
    found = agreement.bland_altman(truth, ax.collections[0].get_offsets()[:, 1] + truth)
    assert {round(found[name], 6) for name in ("bias", "lower", "upper")} <= {round(level, 6) for level in levels}
    few = figures.bland_altman([1.0, 2.0], [1.0, 2.5])
    assert len(few.collections[0].get_offsets()) == 2 and len(few.get_lines()) == 1
