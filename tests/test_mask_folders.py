"""Images and masks in folders side by side, contiguous blocks, fields of view."""

import numpy as np
import pytest
from PIL import Image as pil
from test_importers import log, picture

from medlab.cohorts import datasets
from medlab.intake import importers, mask_folders


def mask(path, values=(0, 255), size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[5:15, 4:12] = values[1]
    pixels[:3] = values[0]
    pil.fromarray(pixels).save(path)
    return pixels


def test_masks_by_name_with_splits_and_what_has_no_partner(workspace, capsys):
    root = workspace / "src"
    for name in ("train/image/p1_1.png", "train/image/p1_2.png", "test/image/p2_1.png", "test/image/p3_1.png"):
        picture(root / name)
    truth = mask(root / "train/label/p1_1_mask.gif", (0, 2))
    mask(root / "train/label/p1_2_mask.gif", (1, 2))
    mask(root / "test/label/p2_1_mask.gif", (0, 3))
    mask(root / "test/label/p9_1_mask.gif")
    (root / "README.md").write_text("hello")
    assert importers.detect_kind(root) == "masks"
    options = {"patient_pattern": r"(?P<patient_id>p\d)_", "mask_classes": "liver:1,tumour:2"}
    options |= {"keep": "patient_id"}
    data = importers.import_source(root, "toy", **options)
    cohort = data.cohort.set_index("image")
    assert cohort["patient_id"].tolist() == ["p2", "p3", "p1", "p1"] and data.card["mask_classes"]["tumour"] == 2
    assert cohort["split"].tolist() == ["test", "test", "train", "train"]
    labels = datasets.read_labels(data, data.cohort.iloc[2])
    np.testing.assert_array_equal(labels, np.where(truth == 2, 2, 0))
    assert cohort["mask"].isna().tolist() == [False, True, False, False]
    said = log(data).set_index("file")
    assert said.loc["README.md", "status"] == "refused"
    assert said.loc["test/label/p9_1_mask.gif", "reason"] == "a mask without an image of its name"
    assert "taken without" in log(data).query("file == 'test/image/p3_1.png'")["reason"].iloc[0]
    notes = " | ".join(data.card["notes"])
    assert "without a class count as background: 3 (in 1 masks)" in notes and "but for words such as mask" in notes
    with pytest.raises(ValueError, match=r"the masks hold only \[0, 1, 2, 3\]"):
        importers.import_source(root, "bad", mask_classes="liver:7")
    with pytest.raises(ValueError, match="expected NAME:VALUE"):
        importers.import_source(root, "bad", mask_classes="liver:1,tumour:1")


def test_numbers_and_a_field_of_view(workspace):
    root = workspace / "src"
    for i in (21, 22, 23):
        picture(root / f"images/{i}_training.tif", i)
        mask(root / f"1st_manual/{i}_manual1.gif")
        mask(root / f"mask/{i}_training_mask.gif")
    with pytest.raises(ValueError, match="1st_manual, mask could all hold the masks; say which with --mask FOLDER"):
        importers.import_source(root, "toy")
    data = importers.import_source(root, "toy", valid="mask", patient_pattern=r"(?P<patient_id>\d+)_",
                                  keep="patient_id")
    assert data.cohort["valid_mask"].tolist() == [f"valid_mask/mask/{i}_training_mask.gif.png" for i in (21, 22, 23)]
    assert data.cohort["mask"].tolist() == [f"masks/1st_manual/{i}_manual1.gif.png" for i in (21, 22, 23)]
    assert datasets.read_valid(data, data.cohort.iloc[0]).sum() == 80
    again = importers.import_source(root, "again", mask="1st_manual", valid="mask")
    assert again.cohort["mask"].tolist() == data.cohort["mask"].tolist()
    with pytest.raises(ValueError, match="no folder of this name; found 1st_manual, images, mask"):
        importers.import_source(root, "bad", kind="masks", mask="manuals")
    mask(root / "1st_manual/21_manual2.gif")
    two = importers.import_source(root, "two", mask="1st_manual", valid="mask")
    assert two.cohort["mask"].tolist() == data.cohort["mask"].tolist(), "of two readers the first"
    assert "another reader (manual2)" in log(two).set_index("file").loc["1st_manual/21_manual2.gif", "reason"]


def place(*names):
    return {name: ((), name) for name in names}


@pytest.mark.parametrize(
    "images, masks, rule, pairs",
    [
        ("a b c", "b c d", "equal names", {"b": "b", "c": "c"}),
        ("case1_2_0000 case1_3_0000", "case1_2 case1_3", "names that are equal but", {"case1_2_0000": "case1_2"}),
        ("x1 x2", "mask-01 mask-02", "all numbers", {"x1": "mask-01"}),
        ("x1 x2 x3", "mask-2 mask-3 mask-4", None, {}),  # shifted numbering: a partner for some is none at all
        ("x1_a x1_b", "m1_a m1_b", None, {}),
        ("phantom", "mask", "being the only ones", {"phantom": "mask"}),
        ("phantom", "mask mask_2", None, {}),
    ],
)
def test_rules_of_partners(images, masks, rule, pairs):
    found, name = mask_folders.match(place(*images.split()), place(*masks.split()))
    assert pairs.items() <= found.items() and bool(pairs) == bool(found)
    assert rule is None or name.startswith(rule)


def test_masks_of_another_size_or_broken_refuse_their_image(workspace):
    root = workspace / "src"
    for i in range(3):
        picture(root / f"images/{i}.png", i)
        mask(root / f"masks/{i}.png", size=(24, 20) if i else (12, 10))
    (root / "masks/1.png").write_bytes(b"\x89PNG broken")
    data = importers.import_source(root, "toy")
    refused = log(data).query("status == 'refused'").set_index("file")["reason"]
    assert refused["images/0.png"] == "its mask: 12 x 10 pixels, the image 24 x 20"
    assert refused["images/1.png"].startswith("its mask: ") and len(data.cohort) == 1


def test_palettes_hold_numbers_and_colours_hold_none(workspace):
    root, numbers = workspace / "src", np.random.default_rng(0).integers(0, 3, (24, 20)).astype(np.uint8)
    picture(root / "images/1.png")
    (root / "masks").mkdir()
    painted = pil.fromarray(numbers, "P")
    painted.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 64])
    painted.save(root / "masks/1.png")
    data = importers.import_source(root, "palette", mask_classes="liver:1,tumour:2")
    np.testing.assert_array_equal(datasets.read_labels(data, data.cohort.iloc[0]), numbers)
    assert data.cohort["mask"].tolist() == ["masks/1_numbers.png"] == [
        p.relative_to(data.folder).as_posix() for p in (data.folder / "masks").iterdir()]
    painted.convert("RGB").save(root / "masks/1.png")
    with pytest.raises(ValueError, match="3 different channels; expected one of numbers"):
        importers.import_source(root, "colours", mask_classes="liver:1,tumour:2")
    data = importers.import_source(root, "colours")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), numbers > 0)


def test_contiguous_blocks(workspace):
    root = workspace / "src"
    for i in range(11):
        picture(root / f"image/slice_{i}.png", i)
        mask(root / f"label/slice_{i}.png")
    data = importers.import_source(root, "toy", blocks=3)
    number = data.cohort["image"].str.extract(r"(\d+)\.png")[0].astype(int)
    blocks = data.cohort.assign(n=number).sort_values("n")["patient_id"].tolist()
    assert blocks == ["block-1"] * 4 + ["block-2"] * 4 + ["block-3"] * 3, "in the order of numbers, not of text"
    assert data.card["patients"] == "known" and "contiguous blocks" in data.card["notes"][0]
    picture(root / "image/other_4.png", 99)
    mask(root / "label/other_4.png")
    with pytest.raises(ValueError, match="differ in a number only"):
        importers.import_source(root, "bad", blocks=3)
    data = importers.import_source(root, "two", blocks=1 + 1, patient_pattern="/(?P<patient_id>slice)_",
                                  keep="patient_id")
    assert set(data.cohort["patient_id"]) == {"slice-block-1", "slice-block-2"} and len(data.cohort) == 11
    with pytest.raises(ValueError, match="expected a whole number"):
        importers.import_source(root, "bad", blocks="many")


def test_folders_of_equal_names_do_not_meet(workspace):
    for name in ("image/1.png", "images/1.png"):
        picture(workspace / "src" / name, len(name))
    data = importers.import_source(workspace / "src", "toy", kind="folders", positive="images")
    assert data.cohort["image"].nunique() == 2
    assert len({datasets.read(data, row).pixels.tobytes() for _, row in data.cohort.iterrows()}) == 2


@pytest.mark.realdata
def test_em_and_drive_in_one_line(workspace, datasets_folder):
    em = importers.import_source(datasets_folder / "em_isbi2012/train", "em", blocks=5, mask_classes="membrane:0")
    assert len(em.cohort) == 30 and em.cohort["patient_id"].value_counts().tolist() == [6] * 5
    membrane = np.mean([datasets.read_mask(em, row).mean() for _, row in em.cohort.iterrows()])
    assert 0.15 < membrane < 0.3, "the membrane is the smaller part"
    drive = importers.import_source(datasets_folder / "drive/training", "drive", valid="mask",
                                    mask_classes="vessel:255", patient_pattern=r"(?P<patient_id>\d+)_")
    assert len(drive.cohort) == 20 and drive.cohort["patient_id"].nunique() == 20
    for _, row in drive.cohort.iloc[:3].iterrows():
        vessels, field = datasets.read_mask(drive, row), datasets.read_valid(drive, row)
        assert 0.05 < vessels.mean() < 0.15 and 0.6 < field.mean() < 0.75
        assert (vessels & ~field).sum() < 0.01 * vessels.sum()


def test_masks_must_lie_on_their_image_in_space(workspace):
    import nibabel as nib

    root, numbers = workspace / "src", np.random.default_rng(0).integers(0, 2, (5, 6, 7)).astype(np.int16)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    beside = affine + np.eye(4)[:, [3, 3, 3, 0]] * 5
    for i, other in enumerate((affine, beside, affine[[1, 0, 2, 3]])):
        for folder, a in (("images", affine), ("labels", other)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(numbers, a), root / folder / f"{i}.nii.gz")
    data = importers.import_source(root, "toy", mask_classes="liver:1")
    assert data.cohort["image"].tolist() == ["images/0.nii.gz"]
    refused = log(data).query("status == 'refused'")["reason"].tolist()
    assert refused[0] == "its mask: lies 5.0 mm beside the image" and "pixels, the image 7 x 6 x 5" in refused[1]


def test_options_that_say_nothing_are_refused(workspace):
    (workspace / "t.csv").write_text("id,age\n1,2\n2,3\n")
    with pytest.raises(ValueError, match="--blocks says nothing to kind table"):
        importers.import_source(workspace / "t.csv", "toy", blocks=3)
