"""COCO json: boxes, polygons, run lengths, crowds, names of files that lead elsewhere."""

import json

import numpy as np
import pytest
from PIL import Image as pil
from test_importers import log

from medlab.cohorts import datasets
from medlab.intake import coco, importers

SHAPE = (24, 32)
# run lengths as text and in numbers, and areas of polygons on 90 x 100 pixels, written by pycocotools 2.0.11
KNOWN = [
    (r"1111000010OO01", [
        1, 1, 1, 2, 1, 2, 1, 2, 2, 2, 1, 1, 1, 2
    ]),
    (r"cZ11Pl30oWO0QdM0fR20gTN0UE0be10XjN0Y60lK0l[40][L0f\N0Wo00ZP30kWL0TS10VQO0Q]40j]M0PWN0b40bE0Rf00^mN0[_20eQN0l@"
     "0`60gc00Q`40TVK", [
        1363, 1, 3968, 1, 3199, 1, 768, 1, 2902, 1, 1005, 1, 658, 1, 2372, 1, 1164, 1, 1365, 1, 1233, 1,
        5709, 1, 1978, 1, 336, 1, 1335, 1, 4417, 1, 572, 1, 1696, 1, 710, 1, 5223, 1, 2593, 1, 769, 1,
        915, 1, 581, 1, 1287, 1, 181, 1, 2720, 1, 725, 1, 241, 1, 449, 1, 1080, 1, 5689, 1, 765
    ]),
]
POLYGONS = [
    ([
        73.2, 65.1, 55.7, 68.7, 77.6, 22.7
    ], 363),
    ([
        56.0, 67.8, 54.2, 71.2, 50.5, 84.3, 50.0, 66.2, 23.9, 55.8, 23.6, 15.8, 42.5, 13.7
    ], 1219),
    ([
        74.8, 49.8, 70.8, 54.7, 61.6, 80.7, 40.0, 63.3, 27.9, 59.6, 26.9, 50.5, 12.9, 50.3, 19.6, 22.9,
        32.9, 29.1, 52.0, 23.9, 71.4, 27.3, 70.9, 34.6
    ], 2150),
]


def square(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def runs(mask):
    """Uncompressed run lengths down the columns, as COCO stores them."""
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, mask.size]).tolist()}


def write(path, images, annotations, categories=("cell", "nucleus")):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": n, "height": SHAPE[0], "width": SHAPE[1]} for i, n in enumerate(images)]
    annotations = [{"id": i, "iscrowd": 0} | a for i, a in enumerate(annotations)]
    categories = [{"id": 10 * i, "name": n} for i, n in enumerate(categories, 1)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def pictures(root, *names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pil.fromarray(np.full(SHAPE, i, np.uint8)).save(root / name)


def test_boxes_and_label_maps(workspace):
    root = workspace / "src"
    pictures(root, "train2017/a.png", "train2017/b.png", "train2017/c.png", "val2017/d.png", "val2017/spare.png")
    blob = np.zeros(SHAPE, bool)
    blob[3:9, 20:27] = True
    write(root / "annotations/instances_train2017.json", ["a.png", "b.png", "c.png", "../../secret.png"], [
        {"image_id": 0, "category_id": 20, "bbox": [4, 5, 2.5, 3], "segmentation": square(4, 5, 2, 3)},
        {"image_id": 0, "category_id": 10, "bbox": [2, 2, 10, 12], "segmentation": square(2, 2, 10, 12)},
        {"image_id": 0, "category_id": 10, "bbox": [20, 3, 7, 6], "segmentation": runs(blob), "iscrowd": 1},
        {"image_id": 1, "category_id": 10, "bbox": [0, 0, 5, 5], "segmentation": square(0, 0, 5, 5)},
        {"image_id": 1, "category_id": 10, "bbox": [1, 1, 0, 4]},
        {"image_id": 9, "category_id": 10, "bbox": [1, 1, 3, 4]},
        {"image_id": 1, "category_id": 70, "bbox": [1, 1, 3, 4]},
        {"image_id": 1, "category_id": 10, "bbox": [30, 20, 3, 5], "segmentation": []},
    ])
    write(root / "annotations/instances_val2017.json", ["d.png"], [
        {"image_id": 0, "category_id": 10, "segmentation": {"size": list(SHAPE), "counts": "0"}}], ("cell", "unused"))
    assert importers.detect_kind(root) == "coco"
    data = importers.import_source(root, "toy")
    assert data.cohort["split"].tolist() == ["train"] * 3 + ["val"]
    boxes = data.boxes.assign(image=data.boxes["image"].str[-5]).to_numpy().tolist()
    assert boxes == [["a", "nucleus", 4, 5, 6.5, 8], ["a", "cell", 2, 2, 12, 14], ["b", "cell", 0, 0, 5, 5],
                     ["b", "cell", 30, 20, 32, 24]]
    assert data.card["mask_classes"] == {"cell": 1, "nucleus": 2}
    labels = datasets.read_labels(data, data.cohort.iloc[0])
    expected = np.zeros(SHAPE, int)
    expected[2:14, 2:12], expected[3:9, 20:27], expected[5:8, 4:6] = 1, 1, 2
    np.testing.assert_array_equal(labels, expected)
    assert data.cohort["mask"].isna().tolist() == [False, True, False, True], "b and d are not outlined completely"
    assert not datasets.read_labels(data, data.cohort.iloc[2]).any(), "no object is an empty mask"
    said = log(data).set_index("file")
    train = "annotations/instances_train2017.json"
    assert "leads out of the source" in said.loc[f"{train}, image 3", "reason"]
    assert "image_id 9 is not in the file" in said.loc[f"{train}, annotation 5", "reason"]
    assert "category_id 70" in said.loc[f"{train}, annotation 6", "reason"]
    assert "width and a height above 0" in said.loc[f"{train}, annotation 4", "reason"]
    assert "run lengths" in said.loc["annotations/instances_val2017.json, annotation 0", "reason"]
    assert said.loc["val2017/spare.png", "status"] == "unmatched"
    notes = " | ".join(data.card["notes"])
    for words in ("1 boxes reached out", "(iscrowd) are in the masks", "in 1 images classes overlap",
                  "2 images have no mask", "without an object: unused"):
        assert words in notes


def test_names_that_fit_several_files_and_second_mentions(workspace):
    root = workspace / "src"
    pictures(root, "x/a.png", "y/a.png", "y/b.png")
    write(root / "one.json", ["a.png", "y/b.png"], [{"image_id": 1, "category_id": 10, "bbox": [1, 1, 3, 3]}])
    write(root / "y/two.json", ["a.png", "b.png"], [{"image_id": 0, "category_id": 10, "bbox": [2, 2, 3, 3]}])
    data = importers.import_source(root, "toy")
    assert sorted(data.cohort["image"]) == ["images/y/a.png", "images/y/b.png"] and "mask" not in data.cohort
    said = log(data)
    assert "2 files of this name" in said.query("file == 'one.json, image 0'")["reason"].iloc[0]
    assert "named a second time" in " ".join(said["reason"])
    data = importers.import_source(root / "y/two.json", "two")
    assert data.boxes[["x_min", "y_max"]].to_numpy().tolist() == [[2, 5]]
    (root / "bad.json").write_text('{"images": [], "annotations": {}, "categories": []}')
    with pytest.raises(ValueError, match="no list of entries 'annotations'"):
        importers.import_source(root, "bad", annotations="bad.json")
    for ids in ((1, 1), (1, [2])):
        images = [{"id": i, "file_name": "b.png"} for i in ids]
        (root / "bad.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
        with pytest.raises(ValueError, match="expected a different number for each"):
            importers.import_source(root, "bad", annotations="bad.json")
    (root / "deep.json").write_text('"images" "annotations" "categories"' + "[" * 10**5)
    with pytest.raises(ValueError, match="not readable as json"):
        importers.import_source(root, "bad", annotations="deep.json")


def test_run_lengths_and_polygons_of_pycocotools():
    for text, lengths in KNOWN:
        assert coco.run_lengths(text) == lengths
    rng = np.random.default_rng(0)
    mask = rng.random((13, 17)) < 0.4
    np.testing.assert_array_equal(coco.rle_mask(runs(mask), mask.shape), mask)
    box = coco.polygon_mask(square(10, 10, 10, 20), (90, 100))
    assert box.sum() == 200 and box[10:30, 10:20].all()
    for points, pixels in POLYGONS:
        assert abs(int(coco.polygon_mask([points], (90, 100)).sum()) - pixels) <= 0.01 * pixels
    for wrong in ({"size": [2, 2], "counts": [1, 2]}, {"size": [2, 2], "counts": [-1, 5]}, {"counts": "04"}):
        with pytest.raises(ValueError, match="run lengths for"):
            coco.rle_mask(wrong, (2, 2))
    with pytest.raises(ValueError, match="middle of a number"):
        coco.run_lengths("P")
