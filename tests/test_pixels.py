"""Where pixels lie and what they mean: every axis order and format, EXIF, white is zero, padding, mixed scales."""

import io
import itertools
import json
import struct
import zlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image as Pillow
from PIL import ImageOps
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ParametricMapStorage, generate_uid

from medlab.cohorts import annotations, checks, datasets, intensities
from medlab.imaging import laying, modality_lut
from medlab.imaging.dicom import BadImage, Image
from medlab.imaging.formats import read
from medlab.intake import importers

TURNS = [tuple(s * (a + 1) for s, a in zip(signs, axes, strict=True))
         for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
SPACING = (2.5, 0.8, 0.7)  # d, h, w
ORIGIN = np.array([-20.0, 33.0, 7.0])  # LPS of the voxel most right, anterior, inferior
BOX, CUBE = (4, 5, 6), (5, 5, 5)


def block(shape):
    """A volume (d, h, w), superior, posterior, left, with a bright block at its right, anterior, inferior corner."""
    volume = np.random.default_rng(0).integers(0, 9, shape).astype(np.int16)
    mask = np.zeros(shape, np.uint8)
    mask[:1, :2, :3] = 1
    return volume + 1000 * mask.astype(np.int16), mask


def stored(upright, turn):
    """Array (i, j, k) of a file that reads as `upright` by `turn`, and its affine to LPS."""
    array = laying.as_stored(Image(upright[..., None], turn=turn))[..., 0]
    affine = np.eye(4)
    affine[:3, 3] = ORIGIN
    for axis, t in enumerate(turn):  # axis 0 runs to superior (z), 1 to posterior (y), 2 to left (x)
        step = np.zeros(3)
        step[2 - axis] = SPACING[axis] * (1 if t > 0 else -1)
        affine[:3, abs(t) - 1] = step
        affine[:3, 3] -= step * (upright.shape[axis] - 1) if t < 0 else 0
    return array, affine


def write(path, upright, turn=(3, 2, 1), stated=True):
    """A volume as NIfTI, NRRD or MetaImage, stored by a turn; or as .npy of the same elements."""
    array, lps = stored(upright, turn)
    if path.suffix == ".npy":
        np.save(path, array)
    elif ".nii" in path.name:
        nib.save(nib.Nifti1Image(array, np.diag([-1, -1, 1, 1]) @ lps if stated else None), path)
    else:
        image = sitk.GetImageFromArray(array.transpose())
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing), image.SetDirection((lps[:3, :3] / spacing).ravel()), image.SetOrigin(lps[:3, 3])
        sitk.WriteImage(image, str(path), useCompression=path.suffix in (".nrrd", ".mhd"))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_block_lies_in_its_corner_in_every_format_and_axis_order(tmp_path, suffix):
    volume, mask = block(BOX)
    for turn in TURNS:
        image = read(write(tmp_path / f"x{suffix}", volume, turn))
        np.testing.assert_array_equal(image.pixels[..., 0], volume)
        assert image.turn == turn and np.allclose(image.spacing_mm, SPACING, atol=1e-6)
        place = (image.affine @ [*np.argwhere(image.pixels[..., 0] >= 1000).mean(axis=0), 1])[:3]
        np.testing.assert_allclose(place, ORIGIN + np.array([1, 0.5, 0]) * SPACING[::-1], atol=1e-4)
        labels = read(write(tmp_path / f"m{suffix}", mask, turn))
        assert laying.laid(labels, image) is labels and (image.pixels[labels.pixels > 0] >= 1000).all()


@pytest.mark.parametrize("shape", [(5, 6, 7), CUBE])
@pytest.mark.parametrize("name", ["m.nii", "m.npy"])
def test_a_mask_that_does_not_say_how_it_lies_stops_or_lies_as_was_said(tmp_path, name, shape):
    volume, mask = block(shape)
    for turn in TURNS:
        image = read(write(tmp_path / "x.nii", volume, turn))
        labels = read(write(tmp_path / name, mask, turn, stated=False))
        found = laying.laid(labels, image, "stored")
        np.testing.assert_array_equal(found.pixels[..., 0], mask)
        assert found is labels or found.affine is image.affine
        try:
            alone = laying.laid(labels, image)  # only where no other reading gives another place
        except laying.Ambiguous as error:
            assert "--orientation" in str(error) and "stored" in str(error)
        else:
            np.testing.assert_array_equal(alone.pixels[..., 0], mask)
    image = read(write(tmp_path / "x.nii", volume, (3, -2, -1)))
    np.testing.assert_array_equal(laying.laid(Image(mask[..., None]), image, "shown").pixels[..., 0], mask)
    as_itk = Image(stored(mask, (3, -2, -1))[0].transpose()[..., None])
    np.testing.assert_array_equal(laying.laid(as_itk, image, "itk").pixels[..., 0], mask)
    with pytest.raises(laying.Ambiguous, match="shown"):
        laying.laid(as_itk, image)
    empty = Image(np.zeros_like(as_itk.pixels))
    assert not laying.laid(empty, image).pixels.any()
    with pytest.raises(BadImage, match="pixels, the image"):
        laying.laid(Image(np.ones((4, 4, 4, 1))), image, "stored")


@pytest.mark.parametrize("said, right", [("stored", 1000), ("shown", 0), (None, None)])
def test_import_of_masks_without_orientation(workspace, said, right):
    volume, mask = block(BOX)
    for i in range(3):
        for folder in ("images", "labels"):
            (workspace / "src" / folder).mkdir(parents=True, exist_ok=True)
        write(workspace / "src" / "images" / f"{i}.nii.gz", volume + i, (3, -2, -1))
        write(workspace / "src" / "labels" / f"{i}.nii.gz", mask, (3, -2, -1), stated=False)
    if said is None:
        with pytest.raises(ValueError, match=r"labels/0.nii.gz: the mask does not say.*--orientation shown\|stored"):
            importers.import_source(workspace / "src", "d")
        assert not (workspace / "data" / "d").exists()
        with pytest.raises(ValueError, match="expected one of stored, shown, itk"):
            importers.import_source(workspace / "src", "d", orientation="up")
        return
    data = importers.import_source(workspace / "src", "d", orientation=said)
    for _, row in data.cohort.iterrows():
        found = datasets.read(data, row).pixels[datasets.read_mask(data, row)]
        assert found.size == 6 and (found.min() >= 1000) == (right == 1000)
    assert any("3 masks mark only the darkest" in n for n in data.card.get("notes", [])) == (said == "shown")


def test_cubes_with_numpy_masks_and_an_image_that_does_not_say(workspace):
    volume, mask = block(CUBE)
    for folder in ("images", "masks", "other/images", "other/masks"):
        (workspace / "src" / folder).mkdir(parents=True)
    write(workspace / "src" / "images" / "a.nii.gz", volume, (3, -2, -1))
    write(workspace / "src" / "masks" / "a.npy", mask, (3, -2, -1))
    write(workspace / "src" / "other" / "images" / "a.nii", volume, (3, -2, -1), stated=False)
    write(workspace / "src" / "other" / "masks" / "a.nrrd", mask, (3, -2, -1))
    (workspace / "src" / "other").rename(workspace / "other")
    for source, who in (("src", "mask"), ("other", "image")):
        with pytest.raises(ValueError, match=f"the {who} does not say how its axes lie"):
            importers.import_source(workspace / source, "d")
        data = importers.import_source(workspace / source, source, orientation="stored")
        row = data.cohort.iloc[0]
        assert (datasets.read(data, row).pixels[datasets.read_mask(data, row)] >= 1000).sum() == 6


def test_an_identity_as_place_is_taken_for_unknown_only_when_said(tmp_path):
    volume, mask = block(BOX)
    image = read(write(tmp_path / "x.nii", volume, (3, -2, -1)))
    nib.save(nib.Nifti1Image(stored(mask, (3, -2, -1))[0], np.eye(4)), tmp_path / "m.nii")
    labels = read(tmp_path / "m.nii")
    with pytest.raises(BadImage, match="mm beside the image; .*identity.*--orientation stored"):
        laying.laid(labels, image)
    found = laying.laid(labels, image, "stored")
    np.testing.assert_array_equal(found.pixels[..., 0], mask)
    np.testing.assert_array_equal(found.affine, image.affine)
    moved = np.diag([-0.7, -0.8, 2.5, 1])
    nib.save(nib.Nifti1Image(stored(mask, (3, -2, -1))[0], moved), tmp_path / "m.nii")
    with pytest.raises(BadImage, match="beside"):  # another place that is meant stays another place
        laying.laid(read(tmp_path / "m.nii"), image, "stored")


def test_volumes_of_which_some_do_not_say_how_they_lie_are_a_question(workspace):
    (workspace / "src").mkdir()
    for i in range(4):
        write(workspace / "src" / f"{i}.nii", block((4, 5, 6))[0] + i, (3, -2, -1), stated=i > 0)
    with pytest.raises(ValueError, match="--orientation stored"):
        importers.import_source(workspace / "src", "d")
    data = importers.import_source(workspace / "src", "d", orientation="stored")
    told = {u["what"]: u["read_as"] for u in data.card["understood"]}
    assert told["orientation"].startswith("1 of 4 volumes do not say how they lie") and "questions" not in data.card


def test_check_sees_masks_beside_their_images(workspace):
    volume, mask = block(BOX)
    folder = workspace / "data" / "d"
    folder.mkdir()
    for i in range(2):
        write(folder / f"{i}.nii", volume + i, (3, -2, -1))
        write(folder / f"{i}_m.nii", mask, (3, -2, -1), stated=i > 0)
    (folder / "card.yaml").write_text("title: D\npatients: known\n")
    pd.DataFrame({"patient_id": ["a", "b"], "image": ["0.nii", "1.nii"], "mask": ["0_m.nii", "1_m.nii"]}).to_csv(
        folder / "cohort.csv", index=False)
    found = annotations.masks(data := datasets.load("d"), datasets.scan(data, progress=False))
    assert [text for level, text in found if level == "error"][0].startswith("row 0: mask and image: the mask does not")
    assert sum(level == "error" for level, _ in found) == 1


def test_sform_and_qform_that_disagree(tmp_path):
    volume, _ = block(BOX)
    source = nib.Nifti1Image(volume.transpose(), np.diag([2.0, 2, 3, 1]))
    source.set_qform(np.diag([-2.0, 2, 3, 1]), 1)
    source.to_filename(tmp_path / "a.nii")
    with pytest.raises(BadImage, match="sform and qform turn the axes differently"):
        read(tmp_path / "a.nii")
    near = np.diag([2.0, 2, 3, 1])
    near[0, 3] = 4
    source.set_qform(near, 1)
    source.to_filename(tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").notes[0] == "sform and qform lie 4.0 apart: the sform is taken"
    source.set_sform(np.zeros((4, 4)), 1)  # stated, but no affine: the qform speaks
    source.to_filename(tmp_path / "a.nii")
    np.testing.assert_allclose(read(tmp_path / "a.nii").spacing_mm, (3, 2, 2))
    np.testing.assert_allclose(read(tmp_path / "a.nii").affine[0, 3], -4 - 5 * 2)
    pair = nib.Nifti1Pair(volume, np.eye(4))
    pair.to_filename(tmp_path / "p.hdr")
    nib.AnalyzeImage(volume, np.eye(4)).to_filename(tmp_path / "q.hdr")
    for name in ("p.hdr", "q.hdr"):
        with pytest.raises(BadImage, match="two files .*convert it to one .nii"):
            read(tmp_path / name)


# NRRD and MetaImage ----------------------------------------------------------------------------------------------


def nrrd(path, array, *lines, data=None):
    """A hand-written NRRD of int16 (k, j, i)."""
    head = ["NRRD0004", "type: short", f"dimension: {array.ndim}", f"sizes: {' '.join(map(str, array.shape[::-1]))}",
            "endian: little", "encoding: raw", *lines]
    path.write_bytes("\n".join(head).encode() + b"\n\n" + (array.astype("<i2").tobytes() if data is None else data))
    return path


def test_nrrd_and_metaimage_of_every_sort(tmp_path):
    volume, _ = block(BOX)
    image = read(nrrd(tmp_path / "a.nrrd", volume, "spacings: 0.7 0.8 2.5"))
    assert image.affine is None and image.spacing_mm == SPACING and "orientation not stated" in image.notes[0]
    image = read(nrrd(tmp_path / "a.nrrd", volume))
    assert image.affine is None and image.spacing_mm is None
    space = ("space: right-anterior-superior", "space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)",
             "space origin: (1,2,3)")
    image = read(nrrd(tmp_path / "a.nrrd", volume, *space))
    assert image.turn == (3, -2, -1)
    np.testing.assert_allclose(image.affine @ [0, 4, 5, 1], [-1, -2, 3, 1])
    np.testing.assert_array_equal(image.pixels[..., 0], volume[:, ::-1, ::-1])
    image = read(nrrd(tmp_path / "a.nrrd", volume, *space, 'space units: "cm" "cm" "cm"'))
    np.testing.assert_allclose(image.spacing_mm, np.multiply(SPACING, 10))
    assert read(nrrd(tmp_path / "a.nrrd", volume, *space), frame=1).pixels.shape == (5, 6, 1)

    flat = sitk.GetImageFromArray(volume[0])
    flat.SetSpacing((0.7, 0.8))
    for suffix in ("nrrd", "mha"):
        sitk.WriteImage(flat, str(tmp_path / f"b.{suffix}"))
        image = read(tmp_path / f"b.{suffix}")
        assert image.pixels.shape == (5, 6, 1) and image.spacing_mm == (0.8, 0.7)
        np.testing.assert_array_equal(image.pixels[..., 0], volume[0])
        four = sitk.JoinSeries([sitk.GetImageFromArray(volume + i) for i in range(3)])
        sitk.WriteImage(four, str(tmp_path / f"c.{suffix}"))
        with pytest.raises(BadImage, match="3 volumes: give frame 0 to 2"):
            read(tmp_path / f"c.{suffix}")
        np.testing.assert_array_equal(read(tmp_path / f"c.{suffix}", frame=2).pixels[..., 0], volume + 2)
        colour = np.stack([volume, volume + 1, volume + 2], axis=-1)
        sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / f"d.{suffix}"))
        np.testing.assert_array_equal(read(tmp_path / f"d.{suffix}").pixels, colour)


def test_nrrd_and_metaimage_that_are_refused(tmp_path):
    volume, _ = block(BOX)
    for lines, data, message in (
            ((), volume.astype("<i2").tobytes()[:-9], "truncated: 231 bytes"),
            (("sizes: 4000 4000 4000",), b"", "more than 1024 MiB"),
            (("type: block",), None, "values of type block: expected numbers"),
            (("data file: ../out.raw",), b"", "leads out of the folder"),
            (("data file: /etc/passwd",), b"", "leads out of the folder"),
            (("data file: LIST\nx.raw",), b"", "many files: save it as one"),
            (("data file: x%03d.raw 1 4 1",), b"", "many files: save it as one"),
            (("data file: none.raw",), b"", "not readable as NRRD"), (("sizes: 6 5",), None, "not readable as NRRD")):
        with pytest.raises(BadImage, match=message):
            read(nrrd(tmp_path / "a.nrrd", volume, *lines, data=data), root=tmp_path)
    whole = write(tmp_path / "a.mha", volume).read_bytes()
    (tmp_path / "b.mha").write_bytes(whole[:-9])
    with pytest.raises(BadImage, match="truncated: 231 bytes"):
        read(tmp_path / "b.mha")
    write(tmp_path / "c.nhdr", volume)
    packed = tmp_path / "c.raw"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(BadImage, match="truncated: 231 bytes of values, expected 240"):
        read(tmp_path / "c.nhdr")
    packed = write(tmp_path / "d.nrrd", volume).read_bytes()
    for damaged, message in ((packed[:-9], "breaks off"), (packed[:-7] + b"\1" + packed[-6:], "damaged compressed")):
        (tmp_path / "d.nrrd").write_bytes(damaged)
        with pytest.raises(BadImage, match=message):
            read(tmp_path / "d.nrrd")
    (tmp_path / "out.raw").write_bytes(bytes(240))
    (tmp_path / "in").mkdir()
    path = nrrd(tmp_path / "in" / "a.nhdr", volume, "data file: ../out.raw", data=b"")
    assert read(path, root=tmp_path).pixels.shape == (4, 5, 6, 1)
    with pytest.raises(BadImage, match="leads out"):
        read(path, root=tmp_path / "in")
    with pytest.raises(BadImage, match="leads out"):  # without a root the folder of the header is the root
        read(path)


def test_import_of_nrrd_and_detached_headers(workspace):
    volume, mask = block(BOX)
    for suffix in ("nrrd", "mhd"):
        for folder in ("images", "labels"):
            (workspace / suffix / folder).mkdir(parents=True)
        for i in range(3):
            write(workspace / suffix / "images" / f"v{i}.{suffix}", volume + i, (1, -3, 2))
            write(workspace / suffix / "labels" / f"v{i}.{suffix}", mask, (1, -3, 2))
        pd.DataFrame({"id": ["v0", "v1", "v2"], "label": list("aba")}).to_csv(workspace / "t.csv", index=False)
        table = str(workspace / "t.csv")
        data = importers.import_source(workspace / suffix, suffix, tables=table, key="id", label="label", positive="a",
                                       keep="id")
        assert data.cohort["label"].tolist() == ["a", "b", "a"]
        for i, row in data.cohort.iterrows():
            image = datasets.read(data, row)
            np.testing.assert_array_equal(image.pixels[..., 0], volume + i)
            np.testing.assert_allclose(image.spacing_mm, SPACING)
            np.testing.assert_array_equal(datasets.read_mask(data, row), mask > 0)


# pictures --------------------------------------------------------------------------------------------------------


def photo(path, shown, code):
    """A picture stored so that its EXIF orientation shows it as given."""
    turn = laying.EXIF.get(code, (1, 2))
    array = np.ascontiguousarray(laying.as_stored(Image(shown[..., None] if shown.ndim == 2 else shown, turn=turn)))
    exif = Pillow.Exif()
    exif[0x0112] = code
    options = dict(tiffinfo={274: code}) if path.suffix == ".tif" else dict(exif=exif, quality=100)
    Pillow.fromarray(array.squeeze()).save(path, **options)
    return array.squeeze()


@pytest.mark.parametrize("name, dtype", [("x.jpg", "u1"), ("x.png", "u1"), ("x.tif", "u1"), ("x.png", "u2"),
                                         ("x.tif", "u2"), ("x.tif", "f4")])
def test_pictures_are_upright_whatever_their_orientation(tmp_path, name, dtype):
    shown = np.full((6, 9), 10, dtype)
    shown[:2, :3] = 200
    for code in range(1, 9):
        photo(tmp_path / name, shown, code)
        image = read(tmp_path / name)
        np.testing.assert_allclose(image.pixels[..., 0].astype(float), shown, atol=30 if name == "x.jpg" else 0)
        assert image.turn == laying.EXIF.get(code) and ("turned upright" in " ".join(image.notes)) == (code > 1)
        if dtype == "u1":  # opened by name, Pillow scrambles a TIFF on its side
            with Pillow.open(io.BytesIO((tmp_path / name).read_bytes())) as theirs:
                np.testing.assert_array_equal(ImageOps.exif_transpose(theirs), image.pixels[..., 0])


def test_gamma_and_animations_are_noted(tmp_path):
    pages = [Pillow.fromarray(np.full((5, 6), v, np.uint8)) for v in (10, 200)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    image = read(tmp_path / "a.gif")
    assert image.pixels.shape[:3] == (2, 5, 6) and "animation" in image.notes[-1]
    for gamma, notes in ((45455, ()), (100000, ("gamma of the PNG not applied",))):
        pages[0].save(tmp_path / "a.png")
        data, chunk = (tmp_path / "a.png").read_bytes(), b"gAMA" + struct.pack(">I", gamma)
        (tmp_path / "a.png").write_bytes(
            data[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:])
        assert read(tmp_path / "a.png").notes == notes


def annotated(folder, code, drawn, size, form):
    """Four photographs with a bright patch and its box, drawn on the picture as shown or as stored."""
    folder.mkdir(parents=True)
    (folder / "images").mkdir()
    rows = []
    for i in range(4):
        shown = np.full((60, 40), 30 + i, np.uint8)
        shown[4:12, 6:16] = 220
        array = photo(folder / "images" / f"{i}.png", shown, code)
        y, x = np.nonzero((shown if drawn == "shown" else array) > 200)
        height, width = (shown if size == "shown" else array).shape
        rows.append((f"{i}.png", height, width, int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1))
    if form == "coco":
        images = [{"id": r[0], "file_name": r[0], "height": r[1], "width": r[2]} for r in rows]
        outline = lambda r: [[r[3], r[4], r[5], r[4], r[5], r[6], r[3], r[6]]]  # noqa: E731
        things = [{"id": i, "image_id": r[0], "category_id": 1, "bbox": [r[3], r[4], r[5] - r[3], r[6] - r[4]],
                   "segmentation": outline(r)} for i, r in enumerate(rows)]
        (folder / "a.json").write_text(json.dumps(
            {"images": images, "annotations": things, "categories": [{"id": 1, "name": "x"}]}))
    elif form == "voc":
        (folder / "Annotations").mkdir()
        (folder / "images").rename(folder / "JPEGImages")
        for name, height, width, *edges in rows:
            box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"),
                                                            np.add(edges, (1, 1, 0, 0)), strict=True))
            (folder / "Annotations" / f"{name[:-4]}.xml").write_text(
                f"<annotation><size><width>{width}</width><height>{height}</height></size><object><name>x</name>"
                f"<bndbox>{box}</bndbox></object></annotation>")
    else:
        pd.DataFrame(rows, columns=["file", "h", "w", "x0", "y0", "x1", "y1"]).to_csv(folder / "t.csv", index=False)
        return dict(kind="table", tables="t.csv", image="images/{file}", boxes="x0,y0,x1,y1", key="file")
    return {}


def patches(data):
    """Grey levels inside the boxes, as one set."""
    found = set()
    for _, row in data.cohort.iterrows():
        pixels = datasets.read(data, row).pixels[..., 0]
        b = data.boxes[data.boxes["image"] == row["image"]].iloc[0]
        found |= set(pixels[int(b.y_min):int(b.y_max), int(b.x_min):int(b.x_max)].ravel().tolist())
        assert (b.x_max - b.x_min) * (b.y_max - b.y_min) == 80
        if "mask" in row:
            found |= set(pixels[datasets.read_mask(data, row)].tolist())
    return found


@pytest.mark.parametrize("form", ["coco", "voc", "table"])
@pytest.mark.parametrize("code", [3, 6, 7])
def test_boxes_and_outlines_lie_on_the_patch_or_the_import_stops(workspace, code, form):
    for drawn in ("shown", "stored"):
        options = annotated(workspace / f"{drawn}{form}", code, drawn, "stored", form)
        with pytest.raises(ValueError, match="0.png: its EXIF orientation turns it, .*--orientation shown"):
            importers.import_source(workspace / f"{drawn}{form}", "d", **options)
        data = importers.import_source(workspace / f"{drawn}{form}", drawn, orientation=drawn, **options)
        assert patches(data) == {220}
    if code != 3 and form != "table":  # a size that only the shown picture has
        annotated(workspace / "known", code, "shown", "shown", form)
        assert patches(importers.import_source(workspace / "known", "known")) == {220}


@pytest.mark.parametrize("code", [3, 6])
def test_masks_of_turned_photographs(workspace, code):
    shown = np.full((60, 40), 30, np.uint8)
    shown[4:12, 6:16] = 220
    for drawn in ("shown", "stored", "both"):
        for folder in ("images", "masks"):
            (workspace / drawn / folder).mkdir(parents=True)
        array = photo(workspace / drawn / "images" / "a.png", shown, code)
        if drawn == "both":
            photo(workspace / drawn / "masks" / "a.png", (shown > 200) * np.uint8(255), code)
        else:
            Pillow.fromarray(((shown if drawn == "shown" else array) > 200) * np.uint8(255)).save(
                workspace / drawn / "masks" / "a.png")
        options = {} if drawn == "both" or code == 6 else {"orientation": drawn}
        if options:
            with pytest.raises(ValueError, match="masks/a.png: the image was turned upright .*--orientation shown"):
                importers.import_source(workspace / drawn, "d")
        data = importers.import_source(workspace / drawn, drawn, **options)
        row = data.cohort.iloc[0]
        assert set(datasets.read(data, row).pixels[datasets.read_mask(data, row)].ravel()) == {220}


def tiff(path, array, photometric, form=1, big=False, tags=()):
    """An uncompressed TIFF or BigTIFF, tag by tag."""
    height, width = array.shape[:2]
    start, count = (16, "<Q") if big else (8, "<H")
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    entries = [(256, 4, width), (257, 4, height), (258, 3, array.dtype.itemsize * 8), (259, 3, 1),
               (262, 3, photometric), (273, 4, start), (277, 3, 1), (278, 4, height), (279, 4, len(data)),
               (339, 3, form), *tags]
    body = b"".join(struct.pack("<HHQQ" if big else "<HHII", t, kind, 1, v) for t, kind, v in sorted(entries))
    head = struct.pack("<4sHHQ", b"II+\0", 8, 0, start + len(data)) if big else (
        struct.pack("<4sI", b"II*\0", start + len(data)))
    path.write_bytes(head + data + struct.pack(count, len(entries)) + body + bytes(8))
    return path


@pytest.mark.parametrize("dtype, form, top", [("u1", 1, 255), ("u2", 1, 65535), ("f4", 3, 90.0)])
def test_white_is_zero_is_inverted_at_every_depth(tmp_path, dtype, form, top):
    array = np.arange(1, 91).reshape(9, 10).astype(dtype)
    for photometric, expected in ((1, array), (0, (array.max() + array.min() if dtype == "f4" else top) - array)):
        np.testing.assert_array_equal(read(tiff(tmp_path / "a.tif", array, photometric, form)).pixels[..., 0], expected)
    turned = read(tiff(tmp_path / "a.tif", array, 0, form, tags=[(274, 3, 6)]))
    np.testing.assert_array_equal(turned.pixels[..., 0], np.rot90(expected, -1))


def test_black_and_white_palettes_and_large_tiffs(tmp_path):
    grey = np.random.default_rng(1).integers(0, 2**32, (9, 16), dtype=np.uint32)
    np.testing.assert_array_equal(read(tiff(tmp_path / "a.tif", grey, 1)).pixels[..., 0], grey)
    small = (grey >> 16).astype(np.uint16)
    np.testing.assert_array_equal(read(tiff(tmp_path / "b.tif", small, 1, big=True)).pixels[..., 0], small)
    with pytest.raises(BadImage, match="of a kind .* not known; save it as PNG"):
        read(tiff(tmp_path / "c.tif", grey.astype(float), 1, 3))
    bits = np.packbits(small > 30000, axis=1)  # a TIFF of one bit: 0 is white
    entry = tiff(tmp_path / "d.tif", bits, 0).read_bytes().replace(
        struct.pack("<HHII", 258, 3, 1, 8), struct.pack("<HHII", 258, 3, 1, 1)).replace(
        struct.pack("<HHII", 256, 4, 1, 2), struct.pack("<HHII", 256, 4, 1, 16))
    (tmp_path / "d.tif").write_bytes(entry)
    np.testing.assert_array_equal(read(tmp_path / "d.tif").pixels[..., 0], (small <= 30000) * 255)


def test_pages_colours_and_transparency(tmp_path):
    grey = np.random.default_rng(2).integers(0, 255, (9, 11)).astype(np.uint8)
    pages = [Pillow.fromarray(grey), Pillow.fromarray(grey[:4, :5])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(BadImage, match="2 pages of different size or depth: save them one by one"):
        read(tmp_path / "a.tif")
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels[..., 0], grey)  # the second is its thumbnail
    mixed = [Pillow.fromarray(grey), Pillow.fromarray(np.dstack([grey, grey, 255 - grey]))]
    mixed[0].save(tmp_path / "b.tif", save_all=True, append_images=mixed[1:])
    np.testing.assert_array_equal(read(tmp_path / "b.tif").pixels[0], np.dstack([grey] * 3))
    Pillow.fromarray(np.dstack([grey] * 4), "CMYK").save(tmp_path / "c.jpg", quality=100)
    image = read(tmp_path / "c.jpg")
    assert image.notes == ("CMYK to RGB",) and image.pixels.shape == (9, 11, 3)
    assert np.corrcoef(image.pixels[..., 0].ravel(), grey.ravel())[0, 1] < -0.9  # more ink is darker

    deep = np.dstack([grey.astype(np.uint16) * 257, np.full_like(grey, 100, np.uint16)])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 11, 9, 16, 4, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks))
    with pytest.raises(BadImage, match="save it without transparency"):
        read(tmp_path / "d.png")


@pytest.mark.parametrize("text, resolution, expected", [
    ("ImageJ=1.54\nimages=1\nunit=mm\n", (2, 4), (0.25, 0.5)),
    ("ImageJ=1.54\nunit=\\u00B5m\n", (500, 250), (4e-6, 2e-6)),
    ("ImageJ=1.54\nunit=pixel\n", (2, 4), None), ("ImageJ=1.54\nunit=inch\n", (72, 72), None), ("", (72, 72), None),
    ('<OME><Pixels PhysicalSizeX="0.5" PhysicalSizeY="0.25"/></OME>', (72, 72), (0.00025, 0.0005)),
    ('<OME><Pixels PhysicalSizeX="1" PhysicalSizeXUnit="mm" PhysicalSizeY="2" PhysicalSizeYUnit="mm"/></OME>', (72, 72),
     (2, 1))])
def test_spacing_of_a_tiff_only_where_a_unit_is_written(tmp_path, text, resolution, expected):
    picture = Pillow.fromarray(np.eye(5, dtype=np.uint8))
    picture.save(tmp_path / "a.tif", tiffinfo={270: text, 282: resolution[0], 283: resolution[1]})
    found = read(tmp_path / "a.tif").spacing_mm
    assert found is None if expected is None else np.allclose(found, expected, atol=0)


# padding, scales -------------------------------------------------------------------------------------------------


def float_dicom(path, pixels, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ParametricMapStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = ParametricMapStorage, meta.MediaStorageSOPInstanceUID, "MR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
    ds.BitsAllocated = 8 * pixels.itemsize
    setattr(ds, "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("dtype, word", [("f4", "Float"), ("f8", "DoubleFloat")])
def test_float_padding_of_dicom_becomes_the_lowest_value(tmp_path, dtype, word):
    pixels = np.linspace(5, 9, 30).reshape(5, 6).astype(dtype)
    empty = pixels.copy()
    empty[0, :3], empty[1, 0] = -9999, -9998.5
    limits = {f"{word}PixelPaddingValue": -9999.0, f"{word}PixelPaddingRangeLimit": -9998.0}
    image = read(float_dicom(tmp_path / "a", empty, **limits))
    kept = empty > 0
    np.testing.assert_allclose(image.pixels[..., 0][kept], pixels[kept])
    assert np.allclose(image.pixels[..., 0][~kept], pixels[kept].min()) and "padding value set to" in image.notes[0]


@pytest.mark.parametrize("array, empty, filled", [
    (np.array([[np.nan, 2.0, 3.0, np.inf]], "f4"), "not finite", [2, 2, 3, 3]),
    (np.array([[-3.4e38, 2.0, 3.0]], "f4"), "not finite", [2, 2, 3]),
    (np.array([[-32768, -1024, 0, 3000]], "i2"), "-32768", [-1024, -1024, 0, 3000]),
    (np.array([[-32768, -30000, 3000]], "i2"), None, [-32768, -30000, 3000]),
    (np.array([[0, 1000, 1001]], "u2"), None, [0, 1000, 1001])])
def test_padding_that_no_header_names(tmp_path, array, empty, filled):
    nib.save(nib.Nifti1Image(array[..., None], np.diag([-1.0, -1, 1, 1])), tmp_path / "a.nii")
    np.save(tmp_path / "a.npy", array)
    for name in ("a.nii", "a.npy"):
        image = read(tmp_path / name)
        assert image.pixels.ravel().tolist() == filled
        assert (empty in " ".join(image.notes)) if empty else not image.notes
    everything = Image(np.full((2, 2, 1), np.nan))
    assert modality_lut.filled(everything) is everything


def scanned(*pictures):
    from medlab.cohorts import screening

    return pd.DataFrame([screening.measure(Image(p if p.ndim == 3 else p[..., None])) for p in pictures],
                        columns=screening.COLUMNS)


def test_mixed_scales_are_told_with_the_remedy():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:40, :40]
    body = np.exp(-((y - 20) ** 2 + (x - 18) ** 2) / 150)
    eight = [(200 * body + rng.integers(0, 9, (40, 40))).astype(np.uint8) for _ in range(10)]
    deep = [(8000 * body + rng.integers(0, 99, (40, 40))).astype(np.uint16) for _ in range(3)]
    assert intensities.scales_in_words(scanned(*eight)) == intensities.scales_in_words(scanned(*deep)) == []
    said, = intensities.scales_in_words(scanned(*eight, *deep))
    assert "as 8 bits 10" in said and "above 8 bits 3" in said and "window: stretch" in said
    said, = intensities.scales_in_words(scanned(*[d * np.float32(f) for d, f in zip(deep, (0.1, 1, 200), strict=True)]))
    assert "maxima from 8" in said and "e+06" in said
    said, = intensities.scales_in_words(scanned(*eight, 255 - eight[0], 255 - eight[1]))
    assert said.startswith("2 of 12 images look like negatives")
    said, = intensities.scales_in_words(scanned(*eight, np.dstack([eight[0]] * 3)))
    assert said.startswith("1 of 11 images have colours")
    hu = [d.astype(np.int16) - 1000 for d in deep]
    assert intensities.scales_in_words(scanned(*hu), "HU") == []
    assert "rescale may be missing" in intensities.scales_in_words(scanned(*hu, deep[0]), "HU")[0]
    noise = [rng.integers(0, 255, (40, 40)).astype(np.uint8) for _ in range(12)]
    assert intensities.scales_in_words(scanned(*noise)) == []  # images that are not alike have no negatives
    table = intensities.scales(scanned(*eight, *deep))
    assert table["images"].tolist() == [3, 10] and table["greatest_maximum"].max() > 7000


def test_check_tells_of_mixed_scales(workspace):
    rng = np.random.default_rng(4)
    for i in range(6):
        (workspace / "src" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 250 if i % 2 else 60000, (20, 20)).astype(np.uint8 if i % 2 else np.uint16)
        Pillow.fromarray(pixels).save(workspace / "src" / "ab"[i % 2] / f"{i}.png")
    importers.import_source(workspace / "src", "d", yes=True)
    assert any("different scales" in text for level, text in checks.check("d") if level == "warning")
