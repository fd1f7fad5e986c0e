"""Thresholds, filters, edges and registration trials on pictures whose answers are known; the sample of pictures."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from medlab.radiomics import processing, sample, trials

FAR = np.hypot(*(np.indices((64, 64)) - 32))
INSIDE = FAR < 14


def test_a_threshold_finds_a_bright_and_a_dark_region():
    for sign in (1, -1):
        dice = processing.otsu_dice(sign * 100.0 * INSIDE, INSIDE, 17)
        assert dice["Otsu, whole picture"] == dice["Otsu, box around the region"] == 1
    assert processing.otsu_dice(np.zeros((64, 64)), INSIDE, 17) == {}


def test_a_filter_takes_noise_and_sharpness():
    picture = 100.0 * INSIDE + np.random.default_rng(0).normal(0, 4, INSIDE.shape)
    same, blurred = processing.filter_effects(picture, {"as it is": picture, "G": ndimage.gaussian_filter(picture, 2)})
    assert same["noise left"] == same["sharpness left"] == 1
    assert blurred["noise left"] < 0.4 and blurred["sharpness left"] < 0.7


def test_a_border_on_an_edge_is_nearer_to_it_than_elsewhere():
    edges = INSIDE & ~ndimage.binary_erosion(INSIDE)
    (here, elsewhere), (_, in_mm) = (processing.border_to_edge(edges, INSIDE, spacing, np.random.default_rng(0))
                                     for spacing in (None, (0.5, 0.5)))
    assert here == 0 and elsewhere > 5 and in_mm == pytest.approx(elsewhere / 2)


def test_a_moved_copy_is_brought_back_by_its_truth():
    picture = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(64, 64)), 4) * 100
    copy, truth = trials.moved_copy(picture, (2.0, 2.0), 1, np.random.default_rng(0))
    back = trials.registration.warp(copy, truth, spacing_mm=(2.0, 2.0))[16:48, 16:48]
    assert np.corrcoef(back.ravel(), picture[16:48, 16:48].ravel())[0, 1] > 0.98


def test_pictures_are_taken_until_there_are_enough_and_the_median_is_shown():
    pool = pd.DataFrame({"patient_id": list("abcde"), "size": [3, 0, 5, 4, 9], "split": "train"})

    def measured(row):
        inside = np.arange(16).reshape(4, 4) < row["size"]
        return (inside * 1.0, inside, None) if inside.any() else "empty mask"

    pictures, rows = sample.take(pool, measured, 3)
    assert [one[-1] for one in pictures] == ["d", "a", "c"] == [row["patient_id"] for row in rows]
    assert sample.in_words(rows) == "3 pictures of 3 patients: 3 of the training part; shown below: d."
    assert sample.row_of(pool, "e", measured) == 4
    with pytest.raises(ValueError, match="none of the 1 images of 'b' has a region"):
        sample.row_of(pool, "b", measured)
    with pytest.raises(ValueError, match="are all masks empty"):
        sample.take(pool.iloc[[1]], measured, 3)
