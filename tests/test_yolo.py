"""YOLO's text files: boxes on the bright patch, names of the classes, parts, what is refused."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image as pil

from medlab.cohorts import datasets
from medlab.intake import importers, yolo


def write(root, part="", names="names: [no, mass]\nnc: 2\n", n=3):
    """Pictures of 40 x 60 with a bright patch from (10, 6) to (22, 14), x first, and its box."""
    images, labels = root / "images" / part, root / "labels" / part
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 60, (40, 60)).astype(np.uint8)
        pixels[6:14, 10:22] = 220
        pil.fromarray(pixels).save(images / f"{part}{i}.png")
        (labels / f"{part}{i}.txt").write_text(f"1 {16 / 60} {10 / 40} {12 / 60} {8 / 40}\n")
    (root / "data.yaml").write_text(names)


def test_boxes_lie_on_the_bright_patch_under_the_names_of_data_yaml(workspace):
    write(workspace / "src", "train")
    write(workspace / "src", "val", n=1)
    data = importers.import_source(workspace / "src", "toy")
    assert data.card["import"]["kind"] == "yolo"
    assert data.cohort["split"].value_counts().to_dict() == {"train": 3, "val": 1}
    box = data.boxes.iloc[0]
    assert list(data.boxes["label"]) == ["mass"] * 4
    assert box[["x_min", "y_min", "x_max", "y_max"]].to_numpy(float) == pytest.approx([10, 6, 22, 14], abs=1e-6)
    pixels = datasets.read(data, data.cohort[data.cohort["image"] == box["image"]].iloc[0]).pixels[..., 0]
    assert (pixels[6:14, 10:22] == 220).all()


def test_a_class_called_no_stays_a_word_and_names_without_a_file_are_numbers(tmp_path):
    write(tmp_path)
    assert yolo.class_names(tmp_path, ["data.yaml"]) == ({0: "no", 1: "mass"}, "data.yaml")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="classes.txt and data.yaml name different classes"):
        yolo.class_names(tmp_path, ["classes.txt", "data.yaml"])
    assert yolo.class_names(tmp_path, []) == ({}, "") and yolo.box("3 .5 .5 .2 .2", 10, 10, {})[0] == "3"


@pytest.mark.parametrize("line, said", [
    ("0 0.1 0.1 0.5 0.1 0.3 0.6", "7 values"), ("0 0.5 0.5 0.2 0.2 0.9", "6 values"), ("0 10 10 4 4", "from 0 to 1"),
    ("5 0.5 0.5 0.2 0.2", "class 5 has no name"), ("0 0.5 0.5 0 0.2", "from 0 to 1"),
    ("cell 0.5 0.5 0.1 0.1", "a class"),
])
def test_a_line_that_is_no_box_is_refused_by_its_place(line, said, workspace):
    write(workspace / "src")
    with (workspace / "src" / "labels" / "0.txt").open("a") as file:
        file.write(line + "\n")
    data = importers.import_source(workspace / "src", "toy", kind="yolo")
    log = pd.read_csv(data.folder / "import_log.csv")
    refused = log[log["status"] == "refused"].iloc[0]
    assert len(data.boxes) == 3 and refused["file"] == "labels/0.txt, line 2" and said in refused["reason"]


def test_an_empty_file_says_no_object_and_none_says_nothing(workspace):
    write(workspace / "src")
    (workspace / "src" / "labels" / "0.txt").write_text("")
    (workspace / "src" / "labels" / "1.txt").unlink()
    data = importers.import_source(workspace / "src", "toy")
    assert len(data.cohort) == 2 and len(data.boxes) == 1
    data = importers.import_source(workspace / "src", "all", unannotated="empty")
    assert len(data.cohort) == 3 and len(data.boxes) == 1
