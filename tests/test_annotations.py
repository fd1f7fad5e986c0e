"""Masks and boxes of a dataset: label maps, fields of view, and what `medlab check` says of them."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image as pil
from test_datasets import make

from medlab.cohorts import checks, datasets


def marked(workspace, card=None, **columns):
    """Four pictures of 64 x 64 with masks of values 0, 7 and 9; the third mask is empty, the fourth too small."""
    columns = {"patient_id": list("abcd"), "mask": [f"m{i}.png" for i in range(4)]} | columns
    folder = make(workspace, pd.DataFrame(columns), card)
    for i in range(4):
        mask = np.zeros((64, 64) if i < 3 else (32, 64), np.uint8)
        if i != 2:
            mask[4:20, 8:30], mask[10:14, 10:20] = 7, 9
        pil.fromarray(mask).save(folder / f"m{i}.png")
    return folder


def said():
    return " | ".join(f"{level}: {message}" for level, message in checks.check("toy"))


def test_label_maps_follow_the_card(workspace):
    folder = marked(workspace, {"mask_classes": {"core": 9, "whole": 7}})
    data = datasets.load("toy")
    assert datasets.mask_classes(data) == ["core", "whole"]
    labels = datasets.read_labels(data, data.cohort.iloc[0])
    assert labels.dtype == np.uint8 and [(labels == k).sum() for k in (1, 2)] == [40, 352 - 40]
    assert datasets.read_mask(data, data.cohort.iloc[0]).sum() == 352
    (folder / "card.yaml").write_text(yaml.safe_dump({"title": "toy", "modality": "MR"}))
    data = datasets.load("toy")
    assert datasets.mask_classes(data) == ["lesion"]
    assert np.unique(datasets.read_labels(data, data.cohort.iloc[0])).tolist() == [0, 1]


def test_the_background_may_be_the_class(workspace):
    marked(workspace, {"mask_classes": {"membrane": 0}})
    data = datasets.load("toy")
    assert datasets.read_mask(data, data.cohort.iloc[0]).sum() == 64 * 64 - 352


@pytest.mark.parametrize("classes", [{"a": "x"}, {"a": 1, "b": 1}])
def test_wrong_mask_classes_are_refused(workspace, classes):
    marked(workspace, {"mask_classes": classes})
    with pytest.raises(ValueError, match="mask_classes is .*one number each"):
        datasets.load("toy")


def test_a_field_of_view_is_no_covariate(workspace):
    marked(workspace, valid_mask=["m0.png", "m1.png", "", ""])
    data = datasets.load("toy")
    assert datasets.covariates(data) == []
    valid = [datasets.read_valid(data, row) for _, row in data.cohort.iterrows()]
    assert valid[0].sum() == 352 and valid[2] is None


def test_check_names_masks_that_do_not_fit(workspace):
    marked(workspace, {"mask_classes": {"core": 9, "edge": 3}})
    text = said()
    assert "error: row 3: mask of 32 x 64 pixels on an image of 64 x 64" in text
    assert "target mask: 4 masks; core in 3, edge in 0, none of it in 1" in text and "no target" not in text


def test_check_says_when_no_mask_marks_anything(workspace):
    marked(workspace, {"mask_classes": {"edge": 3}})
    assert "error: no mask marks anything: check mask_classes" in said()


def test_check_names_boxes_beyond_the_image_and_empty_ones(workspace):
    folder = marked(workspace)
    boxes = pd.DataFrame({"image": ["0.png", "0.png", "1.png"], "label": ["a", "b", "a"], "x_min": [1, 5, 0],
                          "y_min": [1, 5, 0], "x_max": [9, 5, 70], "y_max": [9, 8, 64]})
    boxes.to_csv(folder / "boxes.csv", index=False)
    text = said()
    assert "boxes.csv, line 4: x_max 70 beyond the image, width 64" in text
    assert "boxes.csv, line 3: x_min 5 equals x_max: an empty box" in text
    assert "target boxes: a 2, b 1; 2 images without any" in text
