"""Which slice stands for a volume."""

import numpy as np
import pandas as pd

from medlab.imaging import resampling, slices


def test_slice_to_show_is_where_most_of_the_truth_lies():
    truth, predicted = np.zeros((2, 6, 8, 8), bool)
    predicted[4, :3] = True
    assert slices.slice_to_show(truth, predicted) == 4 and slices.slice_to_show(truth, truth) == 3
    truth[1, 2:4, 2:4] = truth[2, 2:6, 2:6] = True
    assert slices.slice_to_show(truth, predicted) == 2 == slices.slice_to_show(truth)
    assert slices.slice_to_show(None, truth) == 2


def test_a_box_is_shown_through_its_middle_and_stays_in_the_volume():
    assert slices.slice_through(2, 6, 10) == 4 and slices.slice_through(8, 14, 10) == 9
    assert slices.slice_through(-3, 1, 10) == 0 and slices.middle(7) == 3


def test_prepared_volumes_show_their_largest_box():
    cohort = pd.DataFrame({"image": ["a", "b", "c"], "depth": [20, 10, 10]})
    boxes = pd.DataFrame({"image": ["a", "a", "b"], "x_min": 0, "x_max": [9, 2, 4], "y_min": 0, "y_max": [9, 2, 4],
                          "z_min": [2, 16, np.nan], "z_max": [6, 18, np.nan]})
    assert slices.slices_to_show(cohort, boxes, 10).tolist() == [2, 5, 5]
    assert slices.slices_to_show(cohort, None, 9).tolist() == [4, 4, 4]
    assert slices.after_preparation(5, 20, 10) == 2 and slices.after_preparation(19, 20, 40) == 39


def test_dark_pictures_are_stretched_alike_for_the_eye():
    dark, darker, colour = (np.full((9, 9), v, np.uint8) for v in (0, 0, 7))
    dark[:4], darker[:4], colour = 50, 25, np.dstack([colour] * 3)
    (one, other, third), white = resampling.contrasted([dark, darker, colour])
    assert white == 50 and one.max() == 255 and one.min() == 0 and one.dtype == np.uint8
    assert other.max() == 128 and third is colour, "one is twice as bright as the other, as before"
    assert "50 of 255" in resampling.contrast_in_words(white) and resampling.contrast_in_words(255) == ""
    speck = np.zeros((99, 99), np.uint8)
    speck[5, 5] = 3
    assert resampling.contrasted([speck])[0][0].max() == 255
    (black,), white = resampling.contrasted([np.zeros((3, 3), np.uint8)])
    assert white == 255 and not black.any() and resampling.contrasted([colour]) == ([colour], 255)
