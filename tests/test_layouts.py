"""Layouts of the field: which files become images, masks, channels; which folders classes and patients."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as pil
from test_importers import log

from medlab.cohorts import datasets, screening
from medlab.imaging import formats, nifti
from medlab.imaging.dicom import Image
from medlab.intake import channels, importers, label_maps, layouts

NUMBERS = np.random.default_rng(0)


def grey(path, level=100, size=(24, 20)):
    """A picture with noise; the middle is bright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = NUMBERS.normal(level, 10, size)
    pixels[8:14, 6:12] += 60
    pil.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def disc(path, corner=(8, 6), size=(24, 20), value=255, side=6):
    """A mask of a square; the square itself is returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[corner[0]: corner[0] + side, corner[1]: corner[1] + side] = value
    pil.fromarray(pixels).save(path)
    return pixels > 0


def volume(path, level=100, mask=False, shape=(6, 5, 4), affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(shape, np.uint8) if mask else NUMBERS.normal(level, 1, shape).astype(np.float32)
    if mask:
        values[2:4, 1:3, 1:3] = 1
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2, 3, 1]) if affine is None else affine), path)


def make(root, files):
    """Write `files`, words: a path is a picture, or a volume by its suffix; after "=" it is a mask."""
    for i, name in enumerate(files.split()):
        mask, name = name.startswith("="), name.lstrip("=").replace("%", " ")
        if name.endswith(".nii.gz"):
            volume(root / name, 100 + i, mask)
        elif mask:
            disc(root / name, (2 + i % 15, 3))
        elif name.endswith((".txt", ".json")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("{}")
        else:
            grey(root / name, 60 + i)


def each(template, **values):
    """Words of a template for all combinations of the values."""
    words = [template]
    for name, options in values.items():
        words = [w.replace(f"<{name}>", str(o)) for w in words for o in options]
    return " ".join(words)


# files -> images, masks, classes, patients (None: not known); what --yes or an option is needed for is refused
LAYOUTS = {
    "class folders": (each("<c>/<c>%(<i>).png", c=["cat", "dog"], i=range(3)), 6, 0, "cat dog", None),
    "a folder above": (each("archive/Data/<c>/<i>.png", c=["yes", "no"], i=range(3)), 6, 0, "no yes", None),
    "split, class": (each("<s>/<c>/<s><i>.png", s=["train", "test"], c=["a", "b"], i=range(2)), 8, 0, "a b", None),
    "class, split": (each("<c>/<s>/<s><i>.png", s=["train", "test"], c=["a", "b"], i=range(2)), 8, 0, "a b", None),
    "class_split": (each("<c>_<s>/<s><i>.png", s=["train", "test"], c=["a", "b"], i=range(2)), 8, 0, "a b", None),
    "train set": (each("<s>/<c>/<i>.png", s=["Training%Data", "Test%Data"], c="ab", i=range(2)), 8, 0, "a b", None),
    "patient, class": (each("<p>/<c>/x<i>.png", p=range(10250, 10258), c="01", i=range(2)), 32, 0, "0 1", 8),
    "class, patient": (each("<c>/<c>P<p>/x<i>.png", c=["ad", "cn"], p=range(101, 104), i=range(2)), 12, 0, "ad cn", 6),
    "grades": (each("<g>/x<i>.png", g=range(5), i=range(2)), 10, 0, "0 1 2 3 4", None),
    "patients alone": (each("patient_<p>/slice<i>.png", p=range(1, 5), i=range(3)), 12, 0, "", 4),
    "class, images": (each("<c>/images/<c><i>.png =<c>/masks/<c><i>.png", c=["covid", "normal"], i=range(2)),
                      4, 4, "covid normal", None),
    "folds": (each("fold_<f>/<c>/x<f><i>.png", f=range(3), c=["a", "b"], i=range(2)), 12, 0, "a b", None),
    "mask beside": ("b/b%(1).png =b/b%(1)_mask.png =b/b%(1)_mask_1.png m/m%(1).png =m/m%(1)_mask.png n/n%(1).png",
                    3, 2, "b m n", None),
    "mask before": (each("x<i>.png =mask_x<i>.png", i=range(3)), 3, 3, "", None),
    "segmentation": (each("in/ISIC_<i>.jpg =truth/ISIC_<i>_segmentation.png", i=range(3)), 3, 3, "", None),
    "two readers": (each("I_<i>L.png =I_<i>L_1stHO.png =I_<i>L_2ndHO.png", i=range(3)), 3, 3, "", None),
    "masks, root": (each("<i>.png =masks/<i>.png", i=range(3)), 3, 3, "", None),
    "masks, other": (each("pics/<i>.png =masks/<i>.png", i=range(3)), 3, 3, "", None),
    "nuclei": (each("<n>/images/<n>.png =<n>/masks/1.png =<n>/masks/2.png", n=["n0", "n1", "n2"]), 3, 3, "", None),
    "lesions numbered": (each("images/<i>.png =masks/<i>_1.png =masks/<i>_2.png", i="abc"), 3, 3, "", None),
    "dermoscopy": (each("D<i>/D<i>_image/D<i>.png =D<i>/D<i>_lesion/D<i>_lesion.png", i=range(101, 104)),
                   3, 3, "", None),
    "field of view": (each("x<i>.png =x<i>_fov.png =x<i>_mask.png", i=range(3)), 3, 3, "", None),
    "BraTS": (each("Br_<i>/Br_<i>_t1.nii.gz Br_<i>/Br_<i>_flair.nii.gz =Br_<i>/Br_<i>_seg.nii.gz", i=range(3)),
              3, 3, "", 3),
    "BraTS grades": (each("<g>/Br_<g><i>/Br_<g><i>_t1.nii.gz <g>/Br_<g><i>/Br_<g><i>_t2.nii.gz "
                          "=<g>/Br_<g><i>/Br_<g><i>_seg.nii.gz", g=["HGG", "LGG"], i=range(2)), 4, 4, "HGG LGG", 4),
    "nnU-Net": (each("imagesTr/M_<i>_0000.nii.gz imagesTr/M_<i>_0001.nii.gz =labelsTr/M_<i>.nii.gz", i=range(3)),
                3, 3, "", None),
    "nnU-Net, unlabelled": (each("imagesTr/M_<i>_0000.nii.gz =labelsTr/M_<i>.nii.gz imagesTs/T_<i>_0000.nii.gz",
                                 i=range(3)), 3, 3, "", None),
    "KiTS": (each("case_<i>/imaging.nii.gz =case_<i>/segmentation.nii.gz", i=range(3)), 3, 3, "", 3),
    "LiTS": (each("volume-<i>.nii.gz =segmentation-<i>.nii.gz", i=range(3)), 3, 3, "", None),
    "frames": (each("patient<i>/patient<i>_frame01.nii.gz =patient<i>/patient<i>_frame01_gt.nii.gz",
                    i=range(101, 104)), 3, 3, "", 3),
    "superpixels": (each("in/I<i>.png in/I<i>_superpixels.png =gt/I<i>_segmentation.png", i=range(3)), 3, 3, "", None),
    "archives in parts": (each("pics_part_<p>/S<p><i>.png", p=[1, 2], i=range(3)), 6, 0, "", None),
    "GlaS": (each("<s>_<i>.bmp =<s>_<i>_anno.bmp", s=["train", "testA"], i=range(2)), 4, 4, "", None),
    "DSB2018": (each("stage1_train/<h>/images/<h>.png =stage1_train/<h>/masks/0.png", h=["0a" * 9, "1b" * 9, "2c" * 9])
                + " stage1_test/3d3d3d3d/images/x.png", 3, 3, "", None),
    "hashes": (each("<h>/images/<h>.png =<h>/masks/0.png =<h>/masks/1.png", h=["0a" * 12, "1b" * 12]), 2, 2, "", None),
    "two collections": (each("NCT-HE-100K/<c>/<c>-A<i>.png CRC-VAL-7K/<c>/<c>-T<i>.png", c=["ADI", "TUM"], i="12"), 8,
                        0, "ADI TUM", None),
    "FreeSurfer": (each("OAS<i>/mri/OAS<i>_x.nii.gz =OAS<i>/fs/OAS<i>_x_fseg.nii.gz", i=range(1, 4)), 3, 3, "", 3),
    "visits": (each("P0<p>/<v>/x.png", p=range(1, 4), v=["baseline", "month12"]), 6, 0, "", 3),
    "eyes": (each("<s>/<i>.png", s=["left", "right"], i=range(3)), 6, 0, "", None),
    "NIfTI classes": (each("<c>/<c>_<i>.nii.gz", c=["AD", "CN"], i=range(2)), 4, 0, "AD CN", None),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_the_field(workspace, name, capsys):
    files, images, masks, classes, patients = LAYOUTS[name]
    make(workspace / "src", files)
    data = importers.import_source(workspace / "src", "toy", yes=True)
    cohort, card = data.cohort, data.card
    assert len(cohort) == images
    assert (cohort["mask"].notna().sum() if "mask" in cohort else 0) == masks
    assert sorted(cohort["label"].unique() if "label" in cohort else []) == classes.split()
    assert (cohort["patient_id"].nunique() if card["patients"] == "known" else None) == patients
    assert ("split" in cohort) == any(s in name for s in ("split", "train set"))
    told = {r["what"]: r["read_as"] for r in card["understood"]}
    assert told["files"].startswith(f"{images} images") and told["kind"] == card["import"]["kind"]
    assert ("classes" in told) == bool(classes)
    assert all(q["option"].startswith(("--positive", "--class-level")) for q in card.get("questions", []))
    for _, row in cohort.iterrows():
        if masks and isinstance(row["mask"], str):
            assert 0 < datasets.read_mask(data, row).mean() < 0.5
    assert len(log(data)) >= images and "this is how I read it" in capsys.readouterr().out


@pytest.mark.parametrize("files, said", [
    (each("<s>/<c>/<i>.png", s=["north", "south"], c=["ill", "well"], i=range(2)),
     "which folders are the classes.*level 1: north .4., south .4.; level 2: ill .4., well .4..*--class-level NUMBER"),
    (each("A<p>/<i>.png", p=range(1, 5), i=range(3)), "level 1: A1 .3..*--patient-level NUMBER if they are patients"),
    (each("pics/<i>.png =lesions/<i>.png", i=range(3)), "3 files hold two values only.*lesions/0.png beside pics/"),
    (each("case_<i>/imaging.nii.gz =case_<i>/one_seg.nii.gz =case_<i>/segmentations/liver.nii.gz", i=range(3)),
     "6 files are called masks.*--patient-pattern"),
    (each("sub-<i>/anat/sub-<i>_<s>.nii.gz", i=range(3), s=["T1w", "T2w"]), "1 open question.*channels none"),
    (each("x<i>.png =x<i>_boundary.png", i=range(3)), "x0_boundary.png beside x0.png.*--mask"),
    (each("images/<i>.png =masks/<i>/liver.png =masks/<i>/spleen.png", i=range(2)), "classes in files of their own"),
    (each("images/c<i>.png =masks/c<i>_liver.png =masks/c<i>_spleen.png", i=range(3)), "classes in files of their own"),
    (each("<i>/images/x.png =<i>/masks/liver.png =<i>/masks/spleen.png", i="pq"), "classes in files of their own"),
    (each("c<i>_t1.nii.gz c<i>_t2.nii.gz", i=range(3)), "1 open question.*--channels NAME,NAME or --channels none"),
    (each("patient<p>_slice<s>.png", p=range(10, 16), s=range(2)), "1 open question.*--patient-pattern"),
])
def test_what_could_be_read_in_two_ways_is_refused_or_asked(workspace, files, said):
    make(workspace / "src", files)
    with pytest.raises(ValueError, match=said):
        importers.import_source(workspace / "src", "toy")
    assert not (workspace / "data/toy").exists()


def test_one_sequence_of_bids_by_its_name(workspace):
    make(workspace / "src", each("sub-<i>/anat/sub-<i>_T1w.nii.gz sub-<i>/anat/sub-<i>_T2w.nii.gz", i=range(3)))
    pattern = "(?P<patient_id>sub-[0-9]+).*_T1w[.]"
    data = importers.import_source(workspace / "src", "toy", patient_pattern=pattern)
    assert len(data.cohort) == 3 and "channels" not in data.card
    both = importers.import_source(workspace / "src", "both", channels="none")
    assert both.cohort.groupby("patient_id")["sequence"].agg(set).map(len).tolist() == [2, 2, 2]


@pytest.mark.parametrize("column, asked", [("Patient ID", False), ("lesion_id", True)])
def test_patients_of_images_by_a_column(workspace, column, asked, capsys):
    make(workspace / "src", each("images_00<p>/<p>_<i>.png", p=[1, 2], i=range(4)))
    rows = [f"{p}_{i}.png,{p}{i // 2},{'ab'[i % 2]}" for p in (1, 2) for i in range(4)]
    (workspace / "src/t.csv").write_text("\n".join([f"file,{column},dx", *rows]))
    o = {"tables": "t.csv", "key": "file", "label": "dx", "positive": "b"}
    if asked:
        with pytest.raises(ValueError, match="--patient lesion_id or --patient file"):
            importers.import_source(workspace / "src", "toy", **o)
        o["patient"] = column
    data = importers.import_source(workspace / "src", "toy", **o)
    assert data.cohort["patient_id"].value_counts().tolist() == [2, 2, 2, 2] and len(data.cohort) == 8


def test_images_of_train_alone_are_no_split(workspace):
    make(workspace / "src", each("<s>_images/<s><i>.png", s=["train", "test"], i=range(3)))
    (workspace / "src/t.csv").write_text("id,dx\ntrain0,a\ntrain1,b\ntrain2,b\n")
    data = importers.import_source(workspace / "src", "toy", tables="t.csv", key="id", label="dx", positive="b")
    assert len(data.cohort) == 3 and "split" not in data.cohort


def test_numbers_of_files_are_no_words_of_what_is_told(workspace):
    make(workspace / "src", each("<c>/pat<p>/<i>.png", c=["ill", "well"], p=range(100, 103), i=range(3)))
    data = importers.import_source(workspace / "src", "toy", patient_level="2", class_level="1")
    told = {r["what"]: r["read_as"] for r in data.card["understood"]}
    assert told["classes"].endswith("from folder level 1")


def test_options_answer(workspace, capsys):
    make(workspace / "src", each("<s>/<c>/<s><i>.png", s=["north", "south"], c=["ill", "well"], i=range(2)))
    label = {"1": ["north", "south"], "2": ["ill", "well"], "none": []}
    for level, classes in label.items():
        data = importers.import_source(workspace / "src", f"toy{level}", class_level=level, yes=True)
        assert sorted(data.cohort["label"].unique() if "label" in data.cohort else []) == classes
    data = importers.import_source(workspace / "src", "both", class_level=2, patient_level=1, keep="patient_id",
                                  yes=True)
    assert set(data.cohort["patient_id"]) == {"north", "south"}
    with pytest.raises(ValueError, match="--class-level 3: expected none or one of the levels level 1: north"):
        importers.import_source(workspace / "src", "bad", class_level=3)
    make(workspace / "m", each("pics/<i>.png =lesions/<i>.png x<i>.png =x<i>_boundary.png", i=range(3)))
    assert len(importers.import_source(workspace / "m", "m", mask="lesions").cohort) == 3
    with pytest.raises(ValueError, match="two values only"):
        importers.import_source(workspace / "m", "n", mask="{stem}_boundary.png")
    make(workspace / "p", each("patient<p>_slice<s>.png", p=range(10, 16), s=range(2)))
    with pytest.raises(ValueError):
        importers.import_source(workspace / "p", "p")
    pattern = capsys.readouterr().out.split("--patient-pattern '")[1].split("'")[0]
    assert importers.import_source(workspace / "p", "p", patient_pattern=pattern).cohort["patient_id"].nunique() == 6
    assert importers.import_source(workspace / "p", "q", patient_level="none").card["patients"] == "unknown"


def test_a_copy_of_the_whole_dataset_inside_is_taken_once(workspace):
    root = workspace / "src"
    make(root, each("<c>/<c><i>.png", c=["yes", "no"], i=range(3)))
    for name in ("yes/yes0.png", "yes/yes1.png", "no/no0.png", "no/no1.png"):
        copy = root / "wrapper" / name.replace("yes1", "renamed")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((root / name).read_bytes())
    data = importers.import_source(root, "toy")
    assert data.cohort["label"].value_counts().to_dict() == {"yes": 3, "no": 3}
    said = log(data).set_index("file")["reason"]
    assert said["wrapper/yes/renamed.png"] == "a copy of yes/yes1.png beside its folder, which is taken"
    assert "of its 4 files 4 are copies and left out" in str(data.card["understood"])
    grey(root / "wrapper/no/no2.png", 200)  # the name of another picture
    with pytest.raises(ValueError, match="--copies all|once"):
        importers.import_source(root, "asked")
    for option, n in (("all", 7), ("once", 6)):
        assert len(importers.import_source(root, option, copies=option).cohort) == n


def test_union_of_masks_and_a_box_for_each(workspace):
    root = workspace / "src"
    grey(root / "n1/images/n1.png")
    truth = disc(root / "n1/masks/a.png", (2, 3), side=4) | disc(root / "n1/masks/b.png", (15, 10), side=5)
    grey(root / "n2/images/n2.png")
    disc(root / "n2/masks/c.png", (4, 4), side=3)
    data = importers.import_source(root, "toy")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), truth)
    boxes = data.boxes.sort_values(["image", "y_min"])[["label", "x_min", "y_min", "x_max", "y_max"]].values.tolist()
    assert boxes == [["lesion", 3, 2, 7, 6], ["lesion", 10, 15, 15, 20], ["lesion", 4, 4, 7, 7]]


def test_masks_without_an_image_are_none(workspace):
    make(workspace / "src", "a/x.png =a/x_mask.png =a/y_mask.png b/z.png =b/z_mask.png")
    make(workspace / "more", "1.png =masks/1.png 2.png =masks/3.png")
    for name, orphan in (("src", "a/y_mask.png"), ("more", "masks/3.png")):
        data = importers.import_source(workspace / name, name, yes=True)
        assert len(data.cohort) == 2
        assert log(data).set_index("file").loc[orphan, "reason"] == "a mask without an image of its name"


def test_folds_that_repeat_the_files(workspace):
    make(workspace / "src", each("fold_1/<c>/<c><i>.png", c="ab", i=range(3)))
    for file in sorted((workspace / "src").rglob("*.png")):
        copy = workspace / str(file).replace("fold_1", "fold_2")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="2 folds .fold_1, fold_2 ...* hold the same files again"):
        importers.import_source(workspace / "src", "toy")


def test_the_other_reader(workspace):
    make(workspace / "src", each("I_<i>L.png =I_<i>L_1stHO.png", i=range(3)))
    other = [disc(workspace / f"src/I_{i}L_2ndHO.png", (1, 1), side=3) for i in range(3)]
    data = importers.import_source(workspace / "src", "toy", mask="{stem}_2ndHO.png")
    assert len(data.cohort) == 3
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), other[0])


# ---- channels


def test_channels_lie_in_one_file_with_its_geometry(workspace):
    root = workspace / "src"
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])
    for i in range(2):
        for c, level in ((0, 100), (1, 300)):
            volume(root / f"imagesTr/M_{i}_{c:04d}.nii.gz", level, affine=affine)
        volume(root / f"labelsTr/M_{i}.nii.gz", mask=True, affine=affine)
    (root / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "FLAIR", "1": "T1w"}, "labels": {"background": 0, "edema": 1, "all": [1, 2],
        "ignore": 3}, "name": "Phantom", "license": "CC0", "reference": "A. Author 2026", "file_ending": ".nii.gz"}))
    data = importers.import_source(root, "toy")
    image, single = datasets.read(data, data.cohort.iloc[0]), formats.read(root / "imagesTr/M_0_0001.nii.gz")
    assert image.pixels.shape == (*single.pixels.shape[:3], 2) and image.spacing_mm == single.spacing_mm
    np.testing.assert_allclose(image.affine, single.affine)
    np.testing.assert_array_equal(image.pixels[..., 1:], single.pixels)
    assert datasets.read_labels(data, data.cohort.iloc[0]).sum() == 8
    card = {k: data.card.get(k) for k in ("channels", "mask_classes", "title", "licence", "citation", "modality")}
    assert card == {"channels": ["FLAIR", "T1w"], "mask_classes": {"edema": 1}, "title": "Phantom", "licence": "CC0",
                    "citation": "A. Author 2026", "modality": "MR"}
    assert "all, ignore" in data.card["notes"][0]
    volume(root / "imagesTr/M_1_0001.nii.gz", affine=affine * [[1, 1, 1, 2]])
    (root / "imagesTr/M_0_0000.nii.gz").unlink()
    volume(root / "imagesTr/M_2_0000.nii.gz", affine=affine)
    volume(root / "imagesTr/M_2_0001.nii.gz", affine=affine)
    again = importers.import_source(root, "again")
    said = log(again).query("status == 'refused'").set_index("file")["reason"]
    assert "M_1_0001.nii.gz does not lie on the grid of M_1_0000.nii.gz: lies" in said["imagesTr/M_1_0000.nii.gz"]
    assert said["imagesTr/M_0_0001.nii.gz"] == "its case lacks the channel 0000" and len(again.cohort) == 1


def test_decathlon(workspace):
    root, training = workspace / "src", []
    for i in range(3):
        volume(root / f"imagesTr/B_{i}.nii.gz", shape=(6, 5, 4, 3))
        volume(root / f"labelsTr/B_{i}.nii.gz", mask=True)
        volume(root / f"imagesTs/T_{i}.nii.gz", shape=(6, 5, 4, 3))
        training.append({"image": f"./imagesTr/B_{i}.nii.gz", "label": f"./labelsTr/B_{i}.nii.gz"})
    text = {"name": "PHANTOM", "modality": {"0": "ADC", "1": "T2w", "2": "FLAIR"}, "licence": "CC-BY",
            "labels": {"0": "background", "1": "edema", "2": "tumour"}, "test": ["./imagesTs/T_9.nii.gz"],
            "training": training}
    (root / "dataset.json").write_text(json.dumps(text))
    data = importers.import_source(root, "toy")
    assert len(data.cohort) == 3 and "split" not in data.cohort and data.cohort["mask"].notna().all()
    assert datasets.read(data, data.cohort.iloc[0]).pixels.shape == (4, 5, 6, 3)
    assert data.card["channels"] == ["ADC", "T2w", "FLAIR"]
    assert data.card["mask_classes"] == {"edema": 1, "tumour": 2}
    said = log(data).set_index("file")["reason"]
    assert "no part to test on" in said["imagesTs/T_0.nii.gz"] and "not in the folder" in said["imagesTs/T_9.nii.gz"]
    (root / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="dataset.json: not readable as JSON"):
        importers.import_source(root, "bad")


def test_four_axes(workspace):
    for i in range(2):
        volume(workspace / f"src/images/{i}.nii.gz", shape=(6, 5, 4, 2))
        volume(workspace / f"src/labels/{i}.nii.gz", mask=True)
        volume(workspace / f"long/images/{i}.nii.gz", shape=(6, 5, 4, 9))
        volume(workspace / f"long/labels/{i}.nii.gz", mask=True)
    data = importers.import_source(workspace / "src", "toy")
    source = nib.load(workspace / "src/images/0.nii.gz").get_fdata()
    found = datasets.read(data, data.cohort.iloc[0]).pixels
    assert found.shape == (4, 5, 6, 2) and sorted(found[..., 1].ravel()) == sorted(source[..., 1].ravel())
    named = importers.import_source(workspace / "src", "named", channels="T2,ADC")
    assert named.card["channels"] == ["T2", "ADC"]
    with pytest.raises(ValueError, match="9 volumes"):
        importers.import_source(workspace / "long", "long")
    nine = importers.import_source(workspace / "long", "nine", channels=",".join("abcdefghi"))
    assert datasets.read(nine, nine.cohort.iloc[0]).pixels.shape[-1] == 9


@pytest.mark.parametrize("stems, masks, found", [
    (["a_0000", "a_0001"], ["a"], True),
    (["a_0001", "a_0002"], ["a_0001", "a_0002"], False),  # slices with a mask each
    (["a_0001", "a_0002"], ["a"], False),
    (["a_0000", "a_0001"], [], False),
])
def test_numbers_of_channels_and_of_slices(stems, masks, found):
    assert channels.numbered(stems, masks) is found


def test_a_volume_of_channels_comes_back(tmp_path):
    pixels = NUMBERS.integers(-900, 900, (3, 4, 5, 6)).astype(np.int16)
    affine = np.array([[0, 0, 0.7, 1], [0, 0.8, 0, 2], [2.5, 0, 0, 3], [0, 0, 0, 1.0]])
    cell = nifti.write(Image(pixels, (2.5, 0.8, 0.7), affine), tmp_path, "x")
    back = formats.read(tmp_path / cell["image"])
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_allclose(back.affine, affine)


# ---- what a mask file can hold


def painted(kind):
    """A mask of a square of 40 pixels in one of the ways in which masks are saved, and the square."""
    truth = np.zeros((96, 96), bool)
    truth[20:60, 30:70] = True
    soft = np.pad(np.full((38, 38), 1.0), 29)  # as wide, with a border of half
    soft[28:67, 28:67] = np.maximum(soft[28:67, 28:67], 0.2)
    third = truth * 255
    third[70:90, 5:40] = 128
    alpha = np.dstack([np.full((96, 96, 3), 90), truth * 255])
    colours = truth[..., None] * [200, 30, 30]
    return truth, {"jpeg": truth * 255, "png": truth * 255, "zero_one": truth * 1, "fraction": truth * 0.9882,
                   "floats": truth * 1.0, "alpha": alpha, "third": third, "colours": colours,
                   "photo": NUMBERS.integers(0, 255, (96, 96)), "ramp": np.linspace(0, 1, 96)[None] * np.ones((96, 1)),
                   "faint": truth * 2, "paint": NUMBERS.integers(0, 255, (96, 96, 3))}[kind]


@pytest.mark.parametrize("kind, suffix, how", [
    ("png", "png", ""), ("zero_one", "png", ""), ("floats", "npy", ""), ("jpeg", "jpg", "JPEG levels from 0 to 255"),
    ("fraction", "npy", "0.9882 counts as 1"), ("fraction", "tif", "0.9882 counts as 1"),
    ("alpha", "png", "alpha channel of one colour"), ("colours", "png", ""),
])
def test_ways_in_which_masks_are_saved(workspace, kind, suffix, how):
    root, (truth, pixels) = workspace / "src", painted(kind)
    for i in range(2):
        grey(root / f"images/{i}.png", size=(96, 96))
        (root / "masks").mkdir(exist_ok=True)
        path = root / f"masks/{i}.{suffix}"
        if suffix == "npy":
            np.save(path, pixels)
        else:
            pil.fromarray(pixels.astype(np.float32 if suffix == "tif" else np.uint8)).save(path)
    data = importers.import_source(root, "toy")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), truth)
    told = [r["read_as"] for r in data.card["understood"] if r["what"] == "masks"]
    assert told == [t for t in told if how in t] and len(told) == bool(how)


@pytest.mark.parametrize("kind, suffix", [("third", "jpg"), ("photo", "png"), ("photo", "jpg"), ("ramp", "npy"),
                                          ("faint", "jpg"), ("paint", "png")])
def test_pictures_and_blurred_classes_are_no_masks(tmp_path, kind, suffix):
    _, pixels = painted(kind)
    path = tmp_path / f"m.{suffix}"
    np.save(path, pixels) if suffix == "npy" else pil.fromarray(pixels.astype(np.uint8)).save(path)
    assert not label_maps.is_mask(path.name, tmp_path)


def test_masks_of_nothing_and_of_everything(workspace):
    root = workspace / "src"
    for i, value in enumerate((0, 255, 255)):
        grey(root / f"images/{i}.png")
        disc(root / f"masks/{i}.png", (0, 0), value=value, side=24 if i == 1 else 6)
    data = importers.import_source(root, "toy")
    assert any("1 masks mark nothing, 1 mark every pixel" in n for n in data.card["notes"])
    said = log(data).set_index("file")["reason"]
    assert said["images/0.png"] == "its mask marks nothing" and said["images/1.png"] == "its mask marks every pixel"
    for i in range(3):
        pil.fromarray(np.eye(24, 20, dtype=np.uint8) + 1).save(root / f"masks/{i}.png")
    with pytest.raises(ValueError, match=r"each of 3 masks marks every pixel.*\[1, 2\].*--mask-classes"):
        importers.import_source(root, "full")
    named = importers.import_source(root, "named", mask_classes="line:2")
    assert datasets.read_mask(named, named.cohort.iloc[0]).sum() == 20


def test_a_class_called_masks_is_a_class(workspace):
    for folder in ("mask", "without"):
        for i in range(3):
            grey(workspace / f"src/{folder}/{i}.png")
    data = importers.import_source(workspace / "src", "toy")
    assert data.cohort["label"].value_counts().to_dict() == {"mask": 3, "without": 3}


def test_names_that_hold_patients():
    assert layouts.groups([f"ID{p}_{s:02d}" for p in range(8) for s in range(3)])[0] == 8
    assert layouts.groups([f"slice_{s}" for s in range(30)]) is None
    assert layouts.groups([f"2024_{s}" for s in range(30)]) is None


@pytest.mark.parametrize("top, problem", [(1, "blank"), (2, "blank"), (3, None)])
def test_practically_black_images_are_blank(top, problem):
    pixels = np.zeros((20, 20, 1), np.uint8)
    pixels[5:10] = top
    assert screening.measure(Image(pixels))["problem"] == problem
    assert screening.measure(Image(pixels.astype(np.float32)))["problem"] is None
