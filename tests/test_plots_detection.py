"""Figures of a detector: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from medlab.detection import cases, figures, scores

BOX = ["x_min", "y_min", "x_max", "y_max"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def found():
    """Two images: one hit twice and one miss; no lesion and one false alarm."""
    truth = pd.DataFrame([[0, 10, 30, 20, 36], [0, 50, 5, 60, 15]], columns=["image", *BOX])
    candidates = pd.DataFrame([[0, 11, 30, 21, 36, 0.9], [0, 10, 31, 20, 36, 0.8], [1, 40, 40, 50, 50, 0.7]],
                              columns=["image", *BOX, "score"])
    images = pd.DataFrame({"image": [0, 1], "patient_id": ["A", "B"]})
    return truth, candidates, images


def edges(ax):
    return {(b.get_x(), b.get_y(), b.get_width(), b.get_height()): b for b in ax.patches}


def test_gallery_draws_each_box_where_it_is_and_tells_hits_from_misses(found):
    truth, candidates = cases.outcomes(*found, 0.5)
    parts = [[one[one["image"] == i] for i in (0, 1)] for one in (truth, candidates)]
    grid = figures.gallery([np.zeros((64, 80), np.uint8)] * 2, *parts, titles=["first", "second"])
    first, second = (edges(ax) for ax in grid[0])
    assert set(first) == {(9.5, 29.5, 10, 6), (49.5, 4.5, 10, 10), (10.5, 29.5, 10, 6), (9.5, 30.5, 10, 5)}
    assert set(second) == {(39.5, 39.5, 10, 10)}  # x first; the edge of pixel 40 lies at 39.5 of the picture
    looks = [(b.get_edgecolor(), b.get_linestyle()) for b in (*first.values(), *second.values())]
    assert len(set(looks)) == 5  # hit, second mark, found lesion, miss, false alarm
    assert [text.get_text() for text in grid[0, 0].texts[:2]] == ["0.90", "0.80"]
    assert grid[0, 0].get_title() == "first\n1 of 2 found, 0 false alarms"
    assert grid[0, 1].get_title() == "second\nno lesion, 1 false alarm"
    words = [text.get_text() for text in grid[0, 0].figure.legends[0].get_texts()]
    assert "missed lesion" in words and "false alarm" in words and len(words) == 5


def test_gallery_without_scores_without_boxes_and_with_few(found):
    truth, candidates = cases.outcomes(*found, 0.5)
    picture = np.zeros((64, 80, 3), np.uint8)
    ax = figures.gallery([picture], [truth], [candidates], scores=False, most=1)[0, 0]
    assert len(ax.patches) == 3 and [text.get_text() for text in ax.texts] == ["20 px"]
    grid = figures.gallery([picture], [truth[:0]], [candidates[:0]], spacing_mm=[0.5])
    assert not grid[0, 0].patches and not grid[0, 0].figure.legends and grid[0, 0].texts[0].get_text() == "10 mm"
    with pytest.raises(ValueError, match="1 pictures, 2 tables of lesions"):
        figures.gallery([picture], [truth, truth], [candidates])


def test_boxes_of_volumes_are_drawn_in_the_plane():
    deep = {"z_min": [1], "z_max": [3], "x_min": [10], "x_max": [14], "y_min": [20], "y_max": [28]}
    truth = pd.DataFrame(deep).assign(outcome="miss")
    ax = figures.gallery([np.zeros((32, 32), np.uint8)], [truth], [truth[:0].assign(score=[])])[0, 0]
    assert set(edges(ax)) == {(9.5, 19.5, 4, 8)}


def test_froc_shows_curves_bands_and_the_point(found):
    tables = {name: scores.froc_band(*found, rule=rule, n_bootstrap=50)
              for name, rule in (("centre", "centre"), ("overlap", 0.9))}
    ax = figures.froc(tables, point=(0.5, 0.5))
    lines = ax.get_lines()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["centre", "overlap", "operating point"]
    assert lines[0].get_ydata()[-1] == 0.5 and lines[1].get_ydata()[-1] == 0.0 and len(ax.collections) == 2
    assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_xticklabels()][::3] == ["1/8", "1", "8"]
    assert figures.froc({"one": tables["centre"]}).get_legend() is None


def test_precision_recall_has_one_curve_per_class(found):
    truth, candidates, images = found
    truth, candidates = truth.assign(label="a"), candidates.assign(label=["a", "a", "b"])
    points = scores.precision_recall(truth, candidates, images)
    ax = figures.precision_recall(points, {"a": "AP 0.50"})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a: AP 0.50"]
    assert ax.get_lines()[0].get_xdata().tolist() == [0, 0.5] and ax.get_lines()[0].get_ydata().tolist() == [1, 1]
    assert not figures.precision_recall(points[:0]).get_lines()  # nobody found anything
