"""Pascal VOC: boxes counted from 1, lists of parts, broken and hostile annotations."""

import numpy as np
import pytest
from test_importers import log, picture

from medlab.intake import importers, voc


def thing(name="WBC", box=(3, 2, 10, 8), difficult=0):
    edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(voc.EDGES, box, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{edges}</bndbox></object>"


def annotation(root, name, *objects, size=(20, 24), filename=None):
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{filename or name + '.jpg'}</filename><size><width>{size[0]}</width>"
                    f"<height>{size[1]}</height></size>{''.join(objects)}</annotation>")


@pytest.fixture
def root(workspace):
    root = workspace / "src" / "VOC"
    for i, name in enumerate("abcdefg"):
        picture(root / "JPEGImages" / f"{name}.png", i)
    annotation(root, "a", thing(), thing("RBC", (1, 1, 20, 24), difficult=1))
    annotation(root, "b")
    annotation(root, "c", thing(box=(9, 2, 3, 8)), thing(box=(5, 5, 5, 5)), thing(box=(0, 0, 4, 4)),
               thing(box=(15, 20, 30, 40)), thing(box=("x", 1, 2, 3)), thing(name=""))
    annotation(root, "d", thing(), size=(40, 40))
    annotation(root, "e", thing(), filename="a.jpg")
    (root / "Annotations/f.xml").write_text('<!DOCTYPE x [<!ENTITY e "boom">]><annotation>&e;</annotation>')
    (root / "Annotations/h.xml").write_text("<annotation><object>")
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nc\nd\ne\nf\nnone\n")
    (lists / "val.txt").write_text("b  1\n")
    (lists / "WBC_train.txt").write_text("a 1\n")
    return root


def test_boxes_splits_and_refusals(root, workspace):
    assert importers.detect_kind(root) == importers.detect_kind(root.parent) == "voc"
    data = importers.import_source(root.parent, "toy", split_as="val:test")
    assert dict(zip(data.cohort["image"].str[-5:], data.cohort["split"], strict=True)) == {
        "a.png": "train", "b.png": "test", "c.png": "train"}
    boxes = data.boxes.assign(image=data.boxes["image"].str[-5:])
    expected = [["a.png", "WBC", 2, 1, 10, 8, False], ["a.png", "RBC", 0, 0, 20, 24, True],
                ["c.png", "WBC", 0, 0, 4, 4, False]]
    assert boxes.to_numpy().tolist() == expected, "edges, difficult kept, 0 cut to the image"
    said = log(data)
    assert len(said) == 17 and (said["status"] == "taken").sum() == 3
    reasons = said.groupby("file")["reason"].agg(" | ".join)
    prefix = "VOC/Annotations/"
    for words in ("xmin above xmax", "single pixel", "outside of the 20 x 24", "four numbers", "without a name"):
        assert words in reasons[prefix + "c.xml"]
    assert "a picture that is not there" in reasons["ImageSets/Main, none"]
    assert "DOCTYPE" in reasons[prefix + "f.xml"] and "boom" not in " ".join(reasons)
    assert "not readable as XML" in reasons[prefix + "h.xml"]
    assert "which is another than" in reasons[prefix + "e.xml"]
    assert reasons["VOC/JPEGImages/d.png"] == "annotated for 40 x 40 pixels, but it has 24 x 20"
    for name in "efg":
        assert "without a usable annotation" in reasons[f"VOC/JPEGImages/{name}.png"]
    notes = " | ".join(data.card["notes"])
    assert "1 boxes reached out" in notes and "1 objects are marked difficult" in notes and "val is here test" in notes
    with pytest.raises(ValueError, match="the source has train, val; expected PART:train|val|test"):
        importers.import_source(root, "bad", split_as="valid:test")


def test_pictures_without_annotation_only_if_asked(root):
    data = importers.import_source(root, "toy", unannotated="empty")
    assert "images/g.png" not in " ".join(data.cohort["image"]), "in none of the lists"
    (root / "ImageSets/Main/train.txt").unlink()
    (root / "ImageSets/Main/val.txt").unlink()
    data = importers.import_source(root, "all", unannotated="empty")
    assert [i[-5] for i in data.cohort["image"]] == list("abcg") and "split" not in data.cohort
    assert set(data.boxes["image"].str[-5]) == {"a", "c"}


def test_a_bomb_of_entities_is_refused_before_it_grows():
    bomb = '<!DOCTYPE a [<!ENTITY a0 "x">' + "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 50}">' for i in range(1, 12)) + "]><annotation>&a11;</annotation>"
    for data in (bomb.encode(), bomb.encode("utf-16"), b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'):
        with pytest.raises(ValueError, match="DOCTYPE"):
            voc.parse(data)


@pytest.mark.realdata
def test_bccd(workspace, datasets_folder):
    data = importers.import_source(datasets_folder / "bccd", "bccd", split_as="val:test")
    assert data.cohort["split"].value_counts().to_dict() == {"train": 205, "test": 87}
    assert data.boxes["label"].value_counts().to_dict() == {"RBC": 3348, "WBC": 301, "Platelets": 292}
    refused = log(data).query("status == 'refused'")["reason"].tolist()
    assert sorted(r for r in refused if "single pixel" in r) == [
        "box RBC 181 329 181 329: a single pixel, a click rather than a box",
        "box RBC 504 337 504 337: a single pixel, a click rather than a box"]
    first = data.boxes[data.boxes["image"].str.contains("00001")].iloc[0]
    np.testing.assert_array_equal(first[["x_min", "y_min", "x_max", "y_max"]].astype(int), [67, 314, 286, 480])
