"""Figures of functional runs: on which side of the picture the patient's right is, and that it is written there."""

import nibabel as nib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from medlab.fmri import figures

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = [-78, -112, -60]


def head(value=5.0):
    """A grey head and a map that is hot on its right side only."""
    points = np.indices((40, 48, 36)).reshape(3, -1).T @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    brain = (((points - [0, -18, 10]) / [65, 80, 60]) ** 2).sum(axis=1) < 1
    hot = (np.abs(points - [40, -20, 10]) <= 14).all(axis=1)
    return [nib.Nifti1Image(v.reshape(40, 48, 36).astype(np.float32), AFFINE) for v in (100 * brain, value * hot)]


def red_side(figure):
    """Mean place of the red pixels of a figure with one slice, as a share of its width, and those of R and L."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba()).astype(float)
    texts = [t for ax in figure.axes for t in ax.texts if t.get_text() in ("R", "L")]
    at = {t.get_text(): t.get_window_extent().x0 / picture.shape[1] for t in texts}
    low, high = sorted(int(v * picture.shape[1]) for v in at.values())
    red = (picture[..., 0] > 200) & (picture[..., 2] < 60)
    return (np.flatnonzero(red[:, low:high].any(axis=0)).mean() + low) / picture.shape[1], at


@pytest.mark.parametrize("radiological", [True, False])
def test_the_right_side_is_where_the_title_says(radiological):
    mean, hot = head()
    figure = figures.slices(hot, mean, "z", radiological, threshold=3.0, cuts=[10])
    place, letters = red_side(figure)
    assert (letters["R"] < letters["L"]) == radiological
    assert abs(place - letters["R"]) < abs(place - letters["L"]), "the hot place lies on the patient's right"
    titles = [one.get_suptitle() for one in (
        figure, figures.picture(mean, "mean", radiological, cuts=[10]),
        figures.glass({"z": hot}, {"z": 3.0}, radiological))]
    assert all(figures.SIDES[radiological] in title for title in titles)
    plt.close("all")


@pytest.mark.parametrize("radiological", [True, False])
def test_hemispheres_are_seen_from_outside(radiological):
    figure, found = figures.glass({"z": head()[1]}, {"z": 3.0}, radiological), []  # hot on the right side only
    for ax in figure.axes:
        at = {t.get_text(): t.get_position()[0] for t in ax.texts}
        if "A" in at:
            found += [side for side in ("left", "right") if f"{side} hemisphere" in at]
            grows = ax.get_xlim()[1] > ax.get_xlim()[0]  # y, towards the front
            assert (at["A"] > at["P"]) == grows == (found[-1] == "right")
            hot = sum(np.ma.count(np.ma.masked_less(one.get_array(), 3)) for one in ax.images)
            assert (hot > 0) == (found[-1] == "right")
    assert found == ["left", "right"]
    plt.close("all")


def test_heights_of_slices_follow_the_peaks():
    assert figures.levels([53.2, -10, -12, 1]) == [-10.0, 1.0, 53.0] and figures.levels([]) == 7
    assert len(figures.levels(range(-60, 60, 7), most=5)) == 5


def test_a_map_without_a_voxel_is_drawn():
    mean, nothing = head(0.0)
    figures.slices(nothing, mean, "nothing", cuts=3)
    figures.glass({"nothing": nothing}, {"nothing": np.inf})
    plt.close("all")
