"""Lesions of a cohort: which boxes are refused, which volumes masks say; findings: intervals, words, windows."""

import numpy as np
import pandas as pd
import pytest
import yaml

from medlab.cohorts import datasets
from medlab.detection import findings, lesions
from medlab.imaging import dicom, resampling
from medlab.statistics import intervals

EDGES = ["x_min", "y_min", "x_max", "y_max"]


def cohort(workspace, masks=None, boxes=None, card=None, n=2):
    """Pictures of 20 x 20 with masks (None: without) and boxes (image number, label, edges); dataset and table."""
    folder, rows = workspace / "data" / "made", []
    folder.mkdir()
    for i in range(n):
        np.save(folder / f"i{i}.npy", np.random.default_rng(i).integers(0, 255, (20, 20)).astype(np.uint8))
        rows.append({"patient_id": f"p{i}", "image": f"i{i}.npy"})
        if masks is not None and masks[i] is not None:
            np.save(folder / f"m{i}.npy", masks[i].astype(np.uint8))
            rows[-1]["mask"] = f"m{i}.npy"
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    if boxes:
        listed = pd.DataFrame(boxes, columns=["image", "label", *EDGES])
        listed.assign(image="i" + listed["image"].astype(str) + ".npy").to_csv(folder / "boxes.csv", index=False)
    (folder / "card.yaml").write_text(yaml.safe_dump({"title": "T", "patients": "known"} | (card or {})))
    data = datasets.load("made")
    return data, data.cohort


def geometry_of(n, spacing=2.0):
    return np.tile([0.0, 1.0, 20.0, spacing], (n, 2, 1))


def test_boxes_and_names_that_cannot_be_used_are_refused_with_their_line(workspace):
    boxes = [[0, "a", 2, 3, 6, 8], [1, "a", 5, 5, 5, 9], [1, "all", 1, 1, 4, 4]]
    data, table = cohort(workspace, boxes=boxes)
    with pytest.raises(ValueError, match=r"boxes.csv, line 3: found x_min 5, y_min 5, x_max 5, y_max 9, expected"):
        lesions.truth(data, table)
    data.boxes.loc[1, "x_max"] = 7
    with pytest.raises(ValueError, match=r"boxes.csv, line 4: found a class called 'all'"):
        lesions.truth(data, table)
    found, names = lesions.truth(data, table, "one")
    assert names == ["lesion"] and len(found) == 3 and "line" not in found
    with pytest.raises(ValueError, match="boxes with 2 axes for images with 3"):
        lesions.prepared_boxes(found, table, names, np.tile([0.0, 1.0, 20.0, 1.0], (2, 3, 1)))


def two_classes():
    """A core of 4 pixels (class 1) in a whole of 36 (class 2)."""
    mask = np.zeros((20, 20), int)
    mask[4:10, 4:10], mask[6:8, 6:8] = 2, 1
    return mask


def test_the_size_of_a_lesion_from_a_mask_is_that_of_its_class(workspace):
    data, table = cohort(workspace, [two_classes()] * 2, card={"mask_classes": {"core": 1, "rim": 2}})
    found, names = lesions.truth(data, table)
    sized = lesions.sizes(data, table, found, geometry_of(2))
    assert names == ["core", "rim"]
    assert sized.groupby("label")["voxels"].agg(list).to_dict() == {"core": [4, 4], "rim": [32, 32]}
    assert sized.loc[sized["label"] == "core", "area_mm2"].tolist() == [16, 16]


def test_the_size_of_a_box_is_the_whole_component_that_fills_most_of_it(workspace):
    mask = np.zeros((20, 20), int)
    mask[2:5, 2:9], mask[10, 10] = 1, 1  # 21 pixels, and one
    boxes = [[0, "x", 2, 2, 5.4, 5], [0, "x", 9.6, 9.6, 10.4, 10.4], [0, "x", 15, 15, 18, 18], [1, "x", 1, 1, 3, 3]]
    data, table = cohort(workspace, [mask, None], boxes)
    found, _ = lesions.truth(data, table)
    voxels = lesions.sizes(data, table, found, geometry_of(2))["voxels"]
    assert voxels[:2].tolist() == [21, 1], "also of a box whose edges are no whole numbers"
    assert voxels[2:].isna().all(), "no mask, or nothing of it in the box"


def test_a_box_called_as_a_class_of_the_masks_has_the_size_of_that_class(workspace):
    data, table = cohort(workspace, [two_classes(), two_classes()], [[0, "core", 5, 5, 9, 9], [1, "rim", 4, 4, 10, 10]],
                         {"mask_classes": {"core": 1, "rim": 2}})
    found, _ = lesions.truth(data, table)
    assert lesions.sizes(data, table, found, geometry_of(2))["voxels"].tolist() == [4, 32]


def test_the_extent_is_unknown_where_an_image_has_boxes_and_no_mask(workspace):
    mask = np.zeros((20, 20), int)
    mask[2:5, 2:5] = 1
    boxes = [[i, "x", 2, 2, 5, 5] for i in (0, 1, 2)]
    data, table = cohort(workspace, [mask, None, 0 * mask, None], boxes, n=4)
    found, _ = lesions.truth(data, table)
    covers = lesions.cover(data, table, geometry_of(4), (20, 20))
    assert lesions.drawn(table, found, covers).tolist() == [True, False, False, True]


def test_a_median_has_no_interval_with_few_patients_or_without_resamples():
    values, who = np.arange(1.0, 9), np.repeat(list("abcd"), 2)
    found = intervals.median_interval(values, who)
    assert found["value"] == 4.5 and found["low"] < 4.5 < found["high"]
    for few in (intervals.median_interval(values, who, 0), intervals.median_interval(values[:4], who[:4])):
        assert few["value"] in (4.5, 2.5) and np.isnan(few["low"]) and np.isnan(few["high"])
    assert np.isnan(intervals.median_interval([], [])["value"])


def test_the_scale_of_sizes_is_said_in_words_with_its_unit():
    assert findings.scale_in_words(0.95, 1.0, "volume, mL", 12) == (
        "true volume = 0.950 times predicted volume, both in mL; fitted to 12 found lesions of validation")
    assert "(predicted area to the power 0.90), both in mm²" in findings.scale_in_words(2, 0.9, "area, mm²", 30)
    assert "no lesion is found" in findings.scale_in_words(1.0, 1.0, "longest side, pixels", 0)


def test_a_ct_window_is_used_for_hounsfield_units_only():
    grey, none = np.linspace(-1000, 400, 400).reshape(20, 20, 1), pd.DataFrame(columns=["outcome", "z_min", "z_max"])
    hu, other = (dicom.Image(grey, intensity=kind) for kind in ("HU", "arbitrary"))
    lung = resampling.picture(hu, None, "lung")
    assert (findings.view(hu, none, none, "lung, bone")[0] == lung).all()
    assert (findings.view(dicom.Image(grey[None], intensity="HU"), none, none, "lung, bone")[0] == lung).all()
    assert (findings.view(other, none, none, "lung")[0] == resampling.picture(other)).all()


def test_what_there_is_to_find_is_counted_by_part(workspace):
    boxes = [[0, "x", 2, 2, 5, 5], [0, "y", 8, 8, 9, 9], [2, "x", 2, 2, 5, 5]]
    data, table = cohort(workspace, None, boxes, n=4)
    found, names = lesions.truth(data, table)
    parts = {"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3])}
    marked = {part: lesions.within(found, table, rows) for part, rows in parts.items()}
    counts = lesions.counts(marked, parts, table, names)
    assert counts.loc["images"].tolist() == [2, 1, 1] and counts.loc["of them without lesions"].tolist() == [1, 0, 1]
    assert counts.loc["lesions: x"].tolist() == [1, 1, 0] and counts.loc["lesions: y"].tolist() == [1, 0, 0]
    assert "patients" not in lesions.counts(marked, parts, table, names, patients_known=False).index


def test_what_masks_there_are_is_said():
    covers, known = np.zeros((3, 4, 4), np.uint8), np.array([True, True, False])
    covers[0, 1, 1] = 9
    said = lesions.masks_in_words(covers, known, [0])
    assert "1 of 3 images have lesion pixels; the network also learns" in said
    assert "1 images have boxes and no mask that marks anything" in said
    assert "the extent is not learnt" in lesions.masks_in_words(covers, known, [1])


def test_sizes_are_brought_to_scale_and_told_in_words():
    pairs = pd.DataFrame({"patient_id": list("abc"), "truth": [10.0, 20, 40], "predicted": [5.0, 10, 25]})
    scaled = findings.compared(pairs, 2.0, 1.0)
    assert scaled["predicted"].tolist() == [10, 20, 50] and scaled["error"].tolist() == [0, 0, 0.25]
    error = {"value": 0.0, "low": 0.0, "high": 0.25}
    said = findings.sizes_in_words(scaled, error, 0.5, 4, findings.UNITS["volume_ml"])
    assert said.startswith("The volume of 3 of 4 lesions: median absolute error 0.0% (0.0% to 25.0%)")
    assert findings.sizes_in_words(scaled[:0], error, 0.5, 4, "volume, mL") == "No lesion found, no size."
    masked = pd.DataFrame({"volume_ml": [np.nan], "voxels": [3.0]})
    assert [findings.size_measure(masked, masks) for masks in (True, False)] == ["voxels", "longest side"]


def test_findings_are_listed_patient_by_patient_the_surest_first():
    kept = pd.DataFrame({"image": ["i", "j", "i"], "patient_id": ["q", "p", "q"], "label": "lesion",
                         "score": [0.2, 0.5, 0.91234], "outcome": "hit", "number": 0, "longest_mm": [3.04, 4, 5],
                         "x_min": 1.0, "x_max": 2.0, "volume_ml": [1.0, 2, 3]})
    table = findings.listed(kept, "val", "volume_ml", 2.0, 1.0)
    assert table["score"].tolist() == [0.5, 0.91234, 0.2] and table["volume_ml"].tolist() == [4, 6, 2]
    assert "number" not in table and set(table["split"]) == {"val"}
    shown = findings.head(table, 2)
    assert list(shown) == ["patient_id", "label", "score", "outcome", "longest_mm", "volume_ml"]
    assert shown["score"].tolist() == [0.5, 0.912]
    assert "x_min" in findings.head(table.assign(longest_mm=np.nan))
