"""Random cohorts written through every kind of importer are read back: patients, outcomes, geometry, masks."""

import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as pil
from test_importers import slice_file

from medlab.cohorts import datasets
from medlab.intake import importers

SLOW = settings(max_examples=10, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SPACINGS = st.sampled_from([0.5, 0.7, 1.25, 2.0, 3.5])


@st.composite
def cohorts(draw, axes=2, least=2):
    """Images with patient, class, mask, spacing: pixels (h, w) or (d, h, w) that are all different."""
    n, patients = draw(st.integers(least, 7)), draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(5, 14)) for _ in range(axes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    who = [draw(st.integers(0, patients - 1)) for _ in range(n)]
    labels = [draw(st.sampled_from(["ill", "well", "unclear"])) for _ in range(n - 2)] + ["ill", "well"]
    return {"patient": [f"P{w:02d}" for w in who], "label": labels,
            "spacing": tuple(draw(SPACINGS) for _ in range(axes)),
            "pixels": [rng.integers(0, 255, shape).astype(np.uint8) for _ in range(n)],
            "mask": [(rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.6]))).astype(np.uint8) for _ in range(n)],
            "days": [draw(st.integers(2, 4000)) for _ in range(n)], "event": [draw(st.booleans()) for _ in range(n)]}


@contextlib.contextmanager
def imported(write, cohort, **options):
    """The dataset of a cohort that is written below a fresh folder; `write` gives the source if it is a file."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "data").mkdir()
        patch.setenv("MEDLAB_DATA", os.path.join(folder, "data"))
        source = Path(folder) / "source"
        source.mkdir()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield importers.import_source(write(source, cohort) or source, "made", yes=True, **options)
        shutil.rmtree(source, ignore_errors=True)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pil.fromarray(pixels).save(path)


def save_nifti(path, pixels, spacing):
    """Pixels (d, h, w) and spacing in this order, as the axes x, y, z of a file that points left, posterior, up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    nib.save(nib.Nifti1Image(np.ascontiguousarray(pixels.transpose(2, 1, 0)), affine), path)


def pairs(data, cohort, patients=True):
    """(row of the dataset, number in the cohort), found by the pixels; every image is there once, with its patient."""
    numbers = {p.tobytes(): i for i, p in enumerate(cohort["pixels"])}
    read = [datasets.read(data, row) for _, row in data.cohort.iterrows()]
    found = [numbers[np.ascontiguousarray(image.pixels[..., 0].astype(np.uint8)).tobytes()] for image in read]
    assert sorted(found) == list(range(len(numbers)))
    if patients:
        ours = pd.Series([cohort["patient"][i] for i in found])
        theirs = data.cohort["patient_id"].astype(str).reset_index(drop=True)
        assert (pd.factorize(ours)[0] == pd.factorize(theirs)[0]).all(), "the same patients, perhaps under pseudonyms"
    return [(data.cohort.iloc[k], i, read[k]) for k, i in enumerate(found)]


def same_masks(data, cohort, found):
    for row, i, _ in found:
        assert (datasets.read_mask(data, row) == (cohort["mask"][i] > 0)).all()


@SLOW
@given(cohorts())
def test_folders(cohort):
    def write(root, c):
        for i, pixels in enumerate(c["pixels"]):
            save(root / c["label"][i] / f"{c['patient'][i]}_{i}.png", pixels)

    with imported(write, cohort, patient_pattern="(?P<patient_id>P[0-9]+)_") as data:
        for row, i, _ in pairs(data, cohort):
            assert row["label"] == cohort["label"][i]


@SLOW
@given(cohorts())
def test_masks(cohort):
    def write(root, c):
        for i, pixels in enumerate(c["pixels"]):
            save(root / "images" / f"{c['patient'][i]}_{i}.png", pixels)
            save(root / "masks" / f"{c['patient'][i]}_{i}.png", c["mask"][i] * 255)

    with imported(write, cohort, patient_pattern="(?P<patient_id>P[0-9]+)_") as data:
        same_masks(data, cohort, pairs(data, cohort))


def boxes_of(c):
    """A box per image, x_min, y_min, x_max, y_max: of the first to the last pixel but one of each axis."""
    height, width = c["pixels"][0].shape
    return [(i % 2, 1, width - 1, height - 1) for i in range(len(c["pixels"]))]


def same_boxes(data, cohort, found):
    boxes = data.boxes.set_index("image")[["x_min", "y_min", "x_max", "y_max"]]
    for row, i, _ in found:
        assert tuple(boxes.loc[row["image"]]) == boxes_of(cohort)[i]


@SLOW
@given(cohorts())
def test_voc(cohort):
    def write(root, c):
        (root / "Annotations").mkdir()
        for i, ((x0, y0, x1, y1), pixels) in enumerate(zip(boxes_of(c), c["pixels"], strict=True)):
            name = f"{c['patient'][i]}_{i}"
            save(root / "JPEGImages" / f"{name}.png", pixels)
            edges = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            (root / f"Annotations/{name}.xml").write_text(
                f"<annotation><filename>{name}.png</filename><object><name>{c['label'][i]}</name><bndbox>{edges}"
                "</bndbox></object></annotation>")

    with imported(write, cohort, patient_pattern="(?P<patient_id>P[0-9]+)_") as data:
        found = pairs(data, cohort)
        same_boxes(data, cohort, found)
        labels = data.boxes.set_index("image")["label"]
        assert all(labels[row["image"]] == cohort["label"][i] for row, i, _ in found)


@SLOW
@given(cohorts())
def test_coco(cohort):
    def write(root, c):
        told = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "lesion"}]}
        for i, pixels in enumerate(c["pixels"]):
            save(root / "images" / f"{c['patient'][i]}_{i}.png", pixels)
            height, width = pixels.shape
            told["images"].append({"id": i, "file_name": f"{c['patient'][i]}_{i}.png", "height": height,
                                   "width": width})
            flat = np.concatenate([[0], c["mask"][i].T.ravel()])
            counts = np.diff([0, *np.flatnonzero(np.diff(flat)), height * width]).tolist()
            x0, y0, x1, y1 = boxes_of(c)[i]
            told["annotations"].append({"id": i, "image_id": i, "category_id": 1, "iscrowd": 0,
                                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                                        "segmentation": {"size": [height, width], "counts": counts}})
        (root / "instances.json").write_text(json.dumps(told))

    with imported(write, cohort, patient_pattern="(?P<patient_id>P[0-9]+)_") as data:
        found = pairs(data, cohort)
        same_boxes(data, cohort, found)
        same_masks(data, cohort, found)


@SLOW
@given(cohorts(least=3), st.sampled_from([",", ";", "\t"]), st.sampled_from(["days", "weeks"]))
def test_table(cohort, separator, unit):
    n = len(cohort["pixels"])

    def write(root, c):
        rows = [f"K{i}{separator}{c['label'][i]}{separator}{c['days'][i]}{separator}{int(c['event'][i])}"
                for i in range(n)]
        (root / "t.csv").write_text("\n".join([separator.join(["key", "grade", "time", "event"]), *rows]) + "\n")
        return root / "t.csv"

    with imported(write, cohort, key="key", time="time", event="event", label="grade", time_unit=unit) as data:
        assert len(data.cohort) == n and data.cohort["patient_id"].is_unique and "image" not in data.cohort
        told = sorted(zip(cohort["days"], cohort["event"], cohort["label"], strict=True))
        read = data.cohort.assign(days=data.cohort["time_days"] / (1 if unit == "days" else 7))
        assert sorted(read[["days", "event", "label"]].itertuples(index=False, name=None)) == told


@SLOW
@given(cohorts())
def test_table_with_images(cohort):
    def write(root, c):
        rows = []
        for i, pixels in enumerate(c["pixels"]):
            save(root / "img" / f"{i:03d}.png", pixels)
            save(root / "seg" / f"{i:03d}.png", c["mask"][i] * 255)
            rows.append({"nr": i, "who": c["patient"][i], "grade": c["label"][i]}
                        | dict(zip(("x0", "y0", "x1", "y1"), boxes_of(c)[i], strict=True)))
        pd.DataFrame(rows).to_csv(root / "t.csv", index=False)

    with imported(write, cohort, tables="t.csv", image="img/{nr:03d}.png", mask="seg/{nr:03d}.png", patient="who",
                  label="grade", boxes="x0,y0,x1,y1") as data:
        found = pairs(data, cohort)
        same_masks(data, cohort, found)
        same_boxes(data, cohort, found)
        assert all(row["label"] == cohort["label"][i] for row, i, _ in found)


def same_place(cohort, found):
    for _, _, image in found:
        np.testing.assert_allclose(image.spacing_mm, cohort["spacing"], rtol=1e-5)


@SLOW
@given(cohorts(axes=3))
def test_nifti(cohort):
    def write(root, c):
        for i, pixels in enumerate(c["pixels"]):
            save_nifti(root / "scans" / f"{c['patient'][i]}_{i}.nii.gz", pixels, c["spacing"])
            save_nifti(root / "drawn" / f"{c['patient'][i]}_{i}.nii.gz", c["mask"][i], c["spacing"])

    with imported(write, cohort, kind="nifti", mask="drawn/{stem}.nii.gz",
                  patient_pattern="(?P<patient_id>P[0-9]+)_") as data:
        found = pairs(data, cohort)
        same_masks(data, cohort, found)
        same_place(cohort, found)


@SLOW
@given(cohorts(axes=3))
def test_npz(cohort):
    def write(root, c):
        for i, pixels in enumerate(c["pixels"]):
            np.savez_compressed(root / f"{c['patient'][i]}_{i}.npz", scan=pixels, drawn=c["mask"][i])

    with imported(write, cohort, member="scan", mask="::drawn", spacing_mm=list(cohort["spacing"]),
                  patient_pattern="(?P<patient_id>P[0-9]+)_") as data:
        found = pairs(data, cohort)
        same_masks(data, cohort, found)
        same_place(cohort, found)


@SLOW
@given(cohorts(axes=3), st.randoms(use_true_random=False))
def test_dicom(cohort, order):
    cohort["pixels"], spacing = cohort["pixels"][:3], cohort["spacing"]

    def write(root, c):
        for i, pixels in enumerate(c["pixels"]):
            slices = list(range(len(pixels)))
            order.shuffle(slices)
            for number, k in enumerate(slices):
                slice_file(root / f"x{i}" / f"{number}.dcm", pid=f"M{i}", study=f"1.2.{i}", series=f"1.3.{i}",
                           z=k * spacing[0], pixels=pixels[k].astype(np.uint16), PixelSpacing=list(spacing[1:]),
                           SliceThickness=spacing[0], RescaleIntercept=0)

    with imported(write, cohort) as data:
        found = pairs(data, cohort, patients=False)
        same_place(cohort, found)
        assert data.cohort["patient_id"].nunique() == len(cohort["pixels"]), "a patient each"
        assert not data.cohort["patient_id"].astype(str).str.startswith("M").any()
