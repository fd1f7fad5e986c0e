"""Figures: what is drawn is what was given, and each is marked."""

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from medlab import plots


@pytest.fixture(autouse=True)
def canvas():
    mpl.use("agg")
    with mpl.rc_context():
        yield
        plt.close("all")


def marks(figure):
    return [t.get_text() for t in figure.texts if t.get_gid() == "medlab-mark"]


def test_each_figure_is_marked_as_the_run_says(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"synthetic": True}))
    plots.setup(tmp_path)
    assert marks(plt.figure()) == ["synthetic data · research use only"]
    plots.setup(None, synthetic=False)
    assert marks(plt.subplots()[0]) == ["research use only"]


def bar(ax, spacing_mm):
    ax.imshow(np.zeros((50, 200)))
    plots.scale_bar(ax, spacing_mm)
    x = ax.lines[-1].get_xdata()
    return ax.texts[-1].get_text(), (x[1] - x[0]) * 200


@pytest.mark.parametrize("spacing_mm, text, pixels", [(0.7, "20 mm", 20 / 0.7), (2.0, "100 mm", 50),
                                                      (None, "50 px", 50), (np.nan, "50 px", 50)])
def test_the_scale_bar_is_as_long_as_it_says(spacing_mm, text, pixels):
    found, length = bar(plt.subplots()[1], spacing_mm)
    assert found == text and length == pytest.approx(pixels)


def test_gallery_shows_each_picture_with_its_title():
    pictures = [np.full((8, 8), i, np.uint8) for i in range(7)]
    grid = plots.gallery(pictures, [f"t{i}" for i in range(7)], columns=3)
    assert grid.shape == (3, 3)
    assert [ax.get_title() for ax in grid.flat] == [f"t{i}" for i in range(7)] + ["", ""]
    assert [int(ax.images[0].get_array()[0, 0]) for ax in grid.flat if ax.images] == list(range(7))


def test_sides_stand_at_the_edges_of_the_pictures_that_have_them():
    grid = plots.gallery([np.zeros((8, 8), np.uint8)] * 2, sides=[("R", "L"), None])
    letters = [{t.get_text(): t.get_position()[0] for t in ax.texts if t.get_text() in "RL"} for ax in grid.flat]
    assert letters[0]["R"] < 0.1 and letters[0]["L"] > 0.9 and not letters[1]


def test_kaplan_meier_is_that_of_lifelines():
    from lifelines.datasets import load_waltons

    data = load_waltons()
    plots.setup()
    ax = plots.kaplan_meier(data["T"], data["E"], data["group"], unit_days=1, unit="days")
    from lifelines import KaplanMeierFitter

    inside = data["group"] == "control"
    curve = KaplanMeierFitter().fit(data["T"][inside], data["E"][inside])
    drawn = [line for line in ax.lines if "control" in str(line.get_label())][0]
    for t in (10, 40, 60):
        step = drawn.get_ydata()[np.searchsorted(drawn.get_xdata(), t, side="right") - 1]
        assert step == pytest.approx(float(curve.predict(t)))
    ax.figure.canvas.draw()


def test_forest_and_shares_draw_what_they_are_given():
    table = pd.DataFrame({"value": [0.6, 0.5], "low": [0.55, 0.4], "high": [0.65, 0.6]}, ["site", "age"])
    ax = plots.forest(table)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["site", "age"]
    assert ax.collections[-1].get_offsets()[:, 0].tolist() == [0.6, 0.5]
    ax = plots.shares(pd.DataFrame({"a": [1, 3], "b": [3, 0]}, index=["x", "y"]))
    assert [round(p.get_width(), 2) for p in ax.patches] == [0.25, 1.0, 0.75, 0.0]


def test_histogram_is_of_shares():
    ax = plots.histogram_by_class(np.array([0.0, 1, 2]), {"a": [1, 3], "b": [0, 0]})
    assert ax.patches[0].get_data().values.tolist() == [0.25, 0.75]


def test_several_forests_and_shares_stand_below_each_other():
    table = pd.DataFrame({"measure": "AUC", "value": [0.6, 0.8], "low": [0.4, 0.7], "high": [0.7, 0.9]}, index=[*"ab"])
    grid = plots.forests({"label": table, "survival": table.assign(measure="C")})
    assert [ax.get_title() or ax.get_title(loc="left") for ax in grid.flat] == ["label", "survival"]
    assert grid[1, 0].get_xlabel() == "C alone, 95 % interval"
    grid = plots.share_panels({"images": pd.DataFrame({"x": [1, 3], "y": [1, 1]}, index=["train", "test"])})
    assert grid.shape == (1, 1) and grid[0, 0].get_xlabel() == "images"
    assert [bar.get_width() for bar in grid[0, 0].patches] == [0.5, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("limits, shown, never", [((1.2, 20), {"2", "10"}, "⁰"), ((1e-5, 1), {"10⁻⁴", "10⁻²"}, "0.01")])
def test_a_logarithmic_axis_of_few_decades_has_numbers_and_a_long_one_powers(limits, shown, never):
    plots.setup(synthetic=True)
    ax = plots.axes()
    ax.set(xscale="log", xlim=limits)
    ax.figure.canvas.draw()
    labels = [one.get_text() for which in ("major", "minor") for one in ax.get_xticklabels(which=which)]
    assert shown <= set(labels) and not any(never in one for one in labels)
    plt.close("all")
