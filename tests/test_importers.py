"""Imports of every kind: what is taken, what is refused, and that nothing is lost or left half-done."""

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image as pil

from medlab import storage
from medlab.cohorts import checks, datasets
from medlab.imaging import series as imaging_series
from medlab.intake import dates, drafts, importers, outcomes, tables

rng = np.random.default_rng(0)


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 20), np.uint8)
    pil.fromarray(pixels).save(path)
    return pixels


def log(data):
    return pd.read_csv(data.folder / "import_log.csv").fillna("")


# ---- folders


def test_folders_with_splits_spellings_and_refusals(workspace, capsys):
    root = workspace / "src"
    for i, name in enumerate(
        [
            "Training/Glioma/p01_L.PNG",
            "Training/glioma/p02_R.png",
            "Training/glioma/p05_L.png",
            "VALID/none/p03_L.jpeg",
            "testing/none/p04_R.tif",
            "testing/glioma/p06_R.bmp",
        ]
    ):
        picture(root / name, i)
    (root / "testing/none/p07_R.png").write_bytes(b"\x89PNG broken")
    (root / "testing/none/Thumbs.db").write_bytes(b"x")
    (root / "testing/none/notes.txt").write_text("hello")
    picture(root / "testing/none/odd.png", 8)
    picture(root / "testing/none/p08_R.png", 4)  # the pixels of p04 in another format
    (root / "testing/none/p09_L.png").write_bytes((root / "Training/glioma/p02_R.png").read_bytes())
    data = importers.import_source(
        root, "toy", patient_pattern=r"(?P<patient_id>p\d+)_(?P<side>[LR])", modality="MR", positive="glioma"
    )
    assert data.cohort.groupby("split")["label"].agg(list).to_dict() == {
        "train": ["glioma"] * 3,
        "val": ["none"],
        "test": ["glioma", "none", "none", "none"],
    }
    assert data.cohort.set_index("patient_id").loc["p03", "side"] == "L" and data.card["patients"] == "known"
    said = log(data)
    assert said["status"].value_counts().to_dict() == {"taken": 7, "refused": 3, "duplicate": 1}
    reasons = said.set_index("file")["reason"]
    assert "PNG" in reasons["testing/none/p07_R.png"] and "suffix" in reasons["testing/none/notes.txt"]
    assert "patient-pattern" in reasons["testing/none/odd.png"]
    assert reasons["testing/none/p09_L.png"].endswith("kept")
    assert "class folder Glioma counted as glioma" in data.card["notes"]
    assert "refused 1: not an image file by its suffix" in capsys.readouterr().out
    source = (root / "testing/none/p04_R.tif").stat()
    assert (data.folder / "images/testing/none/p04_R.tif").stat().st_ino == source.st_ino, "linked, not copied"
    assert data.card["sha256"]["images/testing/none/p04_R.tif"] == storage.digest(root / "testing/none/p04_R.tif")


def test_pseudonyms_hide_names_of_files_and_patients(workspace):
    for i, name in enumerate(["a/Smith_1.png", "no_a/Jones_1.png"]):
        picture(workspace / "src" / name, i)
    data = importers.import_source(
        workspace / "src", "toy", pseudonyms=True, patient_pattern="(?P<patient_id>[A-Z][a-z]+)_"
    )
    text = (data.folder / "cohort.csv").read_text() + " ".join(p.name for p in data.folder.rglob("*"))
    assert "Smith" not in text and "Jones" not in text
    assert sorted(data.cohort["patient_id"]) == ["p00001", "p00002"]


def test_folder_images_joined_to_a_table(workspace):
    for i in range(4):
        picture(workspace / "src" / f"scan_{i:03d}.png", i)
    (workspace / "src" / "out.csv").write_text("file;time;dead\n1;1,5;ja\n2;2,25;nein\n7;3,0;ja\n")
    data = importers.import_source(
        workspace / "src",
        "toy",
        kind="folders",
        tables="out.csv",
        key="file",
        time="time",
        event="dead",
        event_values="ja",
        time_unit="years",
        patient_pattern=r"(?P<patient_id>\d+)",
    )
    assert data.cohort["patient_id"].tolist() == ["001", "002"]
    assert data.cohort["time_days"].tolist() == pytest.approx([1.5 * 365.25, 2.25 * 365.25])
    assert data.cohort["event"].tolist() == [True, False]
    unmatched = log(data).query("status == 'unmatched'")
    assert sorted(unmatched["reason"]) == ["no image", "no row in the table", "no row in the table"]
    assert data.card["event_coding"] == {"column": "dead", "seen": ["ja"], "censored": ["nein"]}


# ---- options, atomicity


def test_unknown_options_kinds_and_existing_datasets_are_refused(workspace):
    picture(workspace / "src/a/1.png")
    picture(workspace / "src/no_a/2.png")
    with pytest.raises(ValueError, match="did you mean --patient-pattern"):
        importers.import_source(workspace / "src", "toy", patient_patern="x")
    with pytest.raises(ValueError, match="expected one of folders"):
        importers.import_source(workspace / "src", "toy", kind="folder")
    with pytest.raises(ValueError, match="no such file"):
        importers.import_source(workspace / "nowhere", "toy")
    importers.import_source(workspace / "src", "toy")
    with pytest.raises(ValueError, match="--overwrite"):
        importers.import_source(workspace / "src", "toy")
    importers.import_source(workspace / "src", "toy", overwrite=True)
    assert [p.name for p in (workspace / "data").iterdir()] == ["toy"]


def test_failure_leaves_nothing_and_keeps_the_old(workspace):
    picture(workspace / "src/a/1.png")
    picture(workspace / "src/no_a/2.png")
    importers.import_source(workspace / "src", "toy")
    before = (workspace / "data/toy/cohort.csv").read_text()
    with pytest.raises(ValueError, match="also carry"):
        importers.import_source(workspace / "src", "toy", overwrite=True, classes="a,c")
    assert [p.name for p in (workspace / "data").iterdir()] == ["toy"]
    assert (workspace / "data/toy/cohort.csv").read_text() == before


def test_kill_in_the_middle_leaves_no_dataset_and_the_next_import_cleans_up(workspace):
    picture(workspace / "src/a/1.png")
    picture(workspace / "src/no_a/2.png")
    code = (
        "import os, signal; from medlab.intake import drafts, importers\n"
        "drafts.finish = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"importers.import_source({str(workspace / 'src')!r}, 'toy')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ)
    assert done.returncode == -9
    assert not (workspace / "data/toy").exists() and len(list((workspace / "data").iterdir())) == 1
    importers.import_source(workspace / "src", "toy")
    assert [p.name for p in (workspace / "data").iterdir()] == ["toy"]


# ---- tables


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_semicolons_decimal_commas_and_old_encodings(tmp_path):
    path = write(tmp_path / "t.csv", "id;Größe;wert\r\n01;groß;1,25\r\n02;klein;-3,5\r\n", "cp1252")
    table = tables.read_table(path, "id")
    assert list(table) == ["id", "Größe", "wert"] and table["wert"].tolist() == [1.25, -3.5]
    assert table["id"].tolist() == ["01", "02"], "leading zeros are part of a code"
    assert tables.read_table(write(tmp_path / "u.csv", "id\tx\n1\t2\n", "utf-16"))["x"].tolist() == [2]
    with pytest.raises(ValueError, match="decimal or a thousand"):
        tables.read_table(write(tmp_path / "v.csv", "id;x\n1;1,234\n2;2,500\n"))
    assert tables.read_table(tmp_path / "v.csv", decimal=",")["x"].tolist() == [1.234, 2.5]
    assert tables.read_table(tmp_path / "v.csv", decimal=".")["x"].tolist() == [1234, 2500]


@pytest.mark.parametrize(
    "text, said",
    [
        ("id,a\n1,2\n1,2,3\n", "line 3: found 3 fields, expected 2"),
        ("id,a,a\n1,2,3\n", "column 'a' occurs 2 times"),
        ("id,a\n", "expected a header and at least one row"),
        ("", "expected a header"),
        ("nr,a\n1,2\n", "no column 'id'"),
    ],
)
def test_broken_csv(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        tables.read_table(write(tmp_path / "t.csv", text), "id")


def test_excel_with_merged_header_and_dates(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    for row in [
        ["Patient", None, "Follow-up", None],
        ["id", "age", "start", "end"],
        [7.0, 61, pd.Timestamp("2020-01-31"), "2021-02-01"],
        [8, "", "31.1.2020", pd.Timestamp("2020-03-01")],
    ]:
        sheet.append(row)
    sheet.merge_cells("A1:B1")
    sheet.merge_cells("C1:D1")
    book.create_sheet("second")
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(ValueError, match="2 sheets"):
        tables.read_table(tmp_path / "t.xlsx", "id")
    table = tables.read_table(tmp_path / "t.xlsx", "id", sheet="Sheet")
    assert (
        list(table) == ["id", "age", "start", "end"] and table["age"].tolist()[0] == 61 and np.isnan(table["age"][1])
    )
    draft = drafts.Draft(tmp_path, tmp_path, {"start": "start", "end": "end", "event": "e"})
    result, bad, _ = outcomes.follow_up(draft, table.assign(e=["dead", "alive"]))
    assert result["time_days"].tolist() == [367, 30] and not bad
    (tmp_path / "x.xlsx").write_bytes(b"PK not excel")
    with pytest.raises(ValueError, match="not readable as Excel"):
        tables.read_table(tmp_path / "x.xlsx")


def test_dates():
    def parse(*values, **options):
        return dates.parse_dates(pd.Series(values, name="d"), **options).dt.strftime("%Y-%m-%d").tolist()

    assert parse("2020-02-01", "1.3.2020", "20200401", None) == ["2020-02-01", "2020-03-01", "2020-04-01", np.nan]
    assert parse("13/02/2020", "01/02/2020") == ["2020-02-13", "2020-02-01"]
    assert parse("02/13/2020", "02/01/2020") == ["2020-02-13", "2020-02-01"]
    assert parse("01/02/2020", date_format="%d/%m/%Y") == ["2020-02-01"]
    with pytest.raises(ValueError, match="cannot be told apart"):
        parse("01/02/2020")
    with pytest.raises(ValueError, match="both day/month"):
        parse("13/02/2020", "02/13/2020")


def test_event_codings():
    def code(*values, seen=None):
        return outcomes.code_events(pd.Series(values, name="e"), seen)[0].tolist()

    assert code(1, 0, np.nan) == [True, False, pd.NA] and code("Dead", "alive ") == [True, False]
    assert code(1.0, 2.0, seen=2) == [False, True] and code("a", "b", "c", seen="a,b") == [True, True, False]
    for values in ((1, 2), ("dead", "0", "1"), ("yes", "unclear")):
        with pytest.raises(ValueError, match="--event-values"):
            code(*values)
    with pytest.raises(ValueError, match="no value '3'"):
        code(1, 2, seen=3)


def test_table_without_images(workspace):
    path = write(
        workspace / "patients.csv",
        "id,days,status,age,stage,born\nA,0,dead,60,II,1950-01-01\n"
        "B,-4,dead,61,NA,1951-01-01\nC,8,alive,,I,1952-01-01\nD,,,70,I,1953-01-01\nE,9,,70,I,1953-02-01\n",
    )
    data = importers.import_source(path, "toy", key="id", time="days", event="status", rename="age:age_years")
    assert data.cohort["patient_id"].tolist() == ["A", "C", "D"] and "image" not in data.cohort
    assert data.cohort["time_days"].tolist()[:2] == [4, 8], "0 is half the smallest positive time"
    assert datasets.covariates(data) == ["age_years", "stage"] and "static" not in datasets.conditions(data)
    refused = log(data).query("status == 'refused'").set_index("file")["reason"].to_dict()
    assert refused == {"id B": "time -4 days is negative", "id E": "time without event"}
    assert any("born left out: holds dates" in n for n in data.card["notes"])
    assert any("time 0" in n for n in data.card["notes"])
    write(path, "id,days,status\nA,1,dead\nA,2,dead\n")
    with pytest.raises(ValueError, match="'A' in rows 1 and 2"):
        importers.import_source(path, "toy2", key="id", time="days", event="status")
    write(path, "id,days,status\nA,1,dead\nB,2,dead\n")
    with pytest.raises(ValueError, match="did you mean 'days'"):
        importers.import_source(path, "toy2", key="id", time="dayz", event="status")


def test_tables_with_image_template_masks_and_boxes(workspace):
    root = workspace / "src"
    for i in range(3):
        picture(root / f"img/p{i:02d}.png", i)
        picture(root / f"seg/p{i:02d}.png", i)
    write(root / "a.csv", "nr,x0,y0,x1,y1,sex\n00,1,2,3,4,f\n01,,,,,m\n09,1,1,2,2,m\n")
    write(root / "b.csv", "nr,label\n0,benign\n1,malignant\n5,benign\n9,benign\n")
    data = importers.import_source(
        root,
        "toy",
        tables="a.csv,b.csv",
        key="nr",
        label="label",
        image="img/p{nr:02d}.png",
        mask="seg/p{nr:02d}.png",
        boxes="x0,y0,x1,y1",
    )
    assert data.cohort["label"].tolist() == ["benign", "malignant"] and data.cohort["sex"].tolist() == ["f", "m"]
    assert data.boxes.to_dict("records") == [
        {"image": "images/img/p00.png", "x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}
    ]
    assert datasets.read_mask(data, data.cohort.iloc[0]).shape == (24, 20)
    unmatched = log(data).query("status == 'unmatched'")["reason"].tolist()
    assert sorted(unmatched) == ["a file without a row in the table"] * 2 + [
        "a row of the table without this file",
        "no row in a.csv",
    ]
    with pytest.raises(ValueError, match="no column '__class__'|no column 'nr.__class__'"):
        importers.import_source(root, "bad", tables="a.csv", key="nr", image="img/{nr.__class__}.png")
    with pytest.raises(ValueError, match="no file fits"):
        importers.import_source(root, "bad", tables="a.csv", key="nr", image="../src/img/p{nr}.png")


def test_boxes_of_a_table_that_end_at_the_last_pixel(workspace):
    root, pixels = workspace / "src", np.zeros((24, 20), np.uint8)
    pixels[3:9, 5:15] = 255
    for folder in ("img", "seg"):
        (root / folder).mkdir(parents=True)
        pil.fromarray(pixels).save(root / folder / "a.png")
    write(root / "t.csv", "file,x0,y0,x1,y1\na.png,5,3,14,8\n")
    options = {"tables": "t.csv", "image": "img/{file}", "mask": "seg/{file}", "boxes": "x0,y0,x1,y1"}
    data = importers.import_source(root, "short", **options)
    assert "last pixel of their masks instead of the edge behind it: --inclusive" in data.card["notes"][-1]
    data = importers.import_source(root, "edges", inclusive=True, **options)
    assert data.boxes[["x_max", "y_max"]].to_numpy().tolist() == [[15, 9]]
    assert not any("inclusive" in n for n in data.card.get("notes", []))


# ---- nifti and npz


def test_nifti_with_masks_and_bids_names(workspace):
    for who in ("sub-01", "sub-02"):
        (workspace / "src" / who).mkdir(parents=True)
        volume = rng.integers(0, 100, (5, 6, 7)).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, np.diag([1, 2, 3, 1])), workspace / "src" / who / f"{who}_T1w.nii.gz")
        nib.save(
            nib.Nifti1Image((volume > 50).astype(np.uint8), np.diag([1, 2, 3, 1])),
            workspace / "src" / who / f"{who}_mask.nii.gz",
        )
    assert importers.detect_kind(workspace / "src") == "nifti"
    data = importers.import_source(workspace / "src", "toy", mask="{folder}/{patient_id}_mask.nii.gz", modality="MR")
    assert data.cohort["patient_id"].tolist() == ["sub-01", "sub-02"]
    row = data.cohort.iloc[1]
    image, mask = datasets.read(data, row), datasets.read_mask(data, row)
    assert image.pixels.shape == (7, 6, 5, 1) and image.spacing_mm == (3, 2, 1)
    np.testing.assert_array_equal(mask, image.pixels[..., 0] > 50)


def test_npz_members_and_stacks(workspace):
    root = workspace / "src"
    root.mkdir()
    for i in range(3):
        scan = rng.integers(-1000, 400, (6, 7, 8)).astype(np.int16)
        np.savez(root / f"p{i}.npz", scan=scan, mask=scan > 0)
    data = importers.import_source(
        root,
        "toy",
        member="scan",
        mask="::mask",
        patient_pattern=r"(?P<patient_id>p\d)",
        spacing_mm=2,
        intensity="HU",
        modality="CT",
    )
    image = datasets.read(data, data.cohort.iloc[1])
    assert image.intensity == "HU" and image.spacing_mm == (2, 2, 2) and image.modality == "CT"
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[1]), image.pixels[..., 0] > 0)
    stack = rng.integers(0, 255, (4, 9, 9), np.uint8)
    np.savez(workspace / "stack.npz", x=stack, who=np.array([1, 1, 2, 3]), y=np.array([0, 1, 0, 1]))
    data = importers.import_source(
        workspace / "stack.npz", "stack", frames=True, member="x", patient_member="who", label_member="y"
    )
    assert data.cohort["patient_id"].tolist() == ["1", "1", "2", "3"] and data.cohort["label"].tolist() == list(
        "0101"
    )
    np.testing.assert_array_equal(datasets.read(data, data.cohort.iloc[2]).pixels[..., 0], stack[2])
    np.savez(workspace / "object.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError):
        importers.import_source(workspace / "object.npz", "object", member="x")


def test_medmnist_needs_its_members_and_known_names(workspace):
    np.savez(
        workspace / "other.npz",
        **{f"{s}_images": rng.integers(0, 255, (3, 8, 8), np.uint8) for s in ("train", "val", "test")},
        **{f"{s}_labels": np.array([[0, 1], [1, 1], [0, 0]]) for s in ("train", "val", "test")},
    )
    data = importers.import_source(workspace / "other.npz", "multi")
    assert data.cohort["label_1"].tolist() == [1, 1, 0] * 3 and "label" not in data.cohort
    with pytest.raises(ValueError, match="did you mean 'retinamnist'"):
        importers.import_source("medmnist:retinamnst", "x")


# ---- DICOM


def slice_file(
    path,
    who="Doe^Jane",
    pid="MRN4711",
    series="1.2.3",
    study="1.2",
    z=0.0,
    date="20200131",
    pixels=None,
    sop=None,
    **tags,
):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
        pydicom.uid.CTImageStorage,
        pydicom.uid.ExplicitVRLittleEndian,
    )
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, sop or pydicom.uid.generate_uid()
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.StudyDate = who, pid, "19500101", date
    ds.InstitutionName, ds.AccessionNumber, ds.PatientAge, ds.PatientSex = "St. Elsewhere", "ACC99", "093Y", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = study, series, "CT"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10, -20, z], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [0.7, 0.8], 2.5, 1, -1024
    pixels = (
        np.random.default_rng(int(z * 10) + 5).integers(0, 2000, (12, 10)).astype(np.uint16)
        if pixels is None
        else pixels
    )
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = pixels.tobytes()
    for tag, value in tags.items():
        setattr(ds, tag, value)
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture
def tree(workspace):
    """Doe: a baseline of four slices, one broken copy, a later study; Roe: one series with a gap; two odd files."""
    root = workspace / "export"
    for i, z in enumerate([5.0, 0.0, 7.5, 2.5]):
        slice_file(root / f"Doe_Jane/{i}", z=z, sop=f"1.9.{i}")
    broken = (root / "Doe_Jane/2").read_bytes()
    (root / "Doe_Jane/broken.dcm").write_bytes(broken[:-100])
    for z in (0.0, 2.5):
        slice_file(root / f"Doe_Jane/late{z}.dcm", z=z, study="1.3", series="1.3.1", date="20210131")
    for z in (0.0, 2.5, 7.5, 10.0):
        slice_file(
            root / f"x/{z}.IMA", who="Roe^Rex", pid="MRN0815", study="1.4", series="1.4.1", z=z, PatientAge="050Y"
        )
    (root / "x/report.pdf").write_bytes(b"%PDF")
    slice_file(root / "x/lost.dcm", pid="MRN1", study="1.5", series="1.5.1")
    (root / "x/lost.dcm").write_bytes((root / "x/lost.dcm").read_bytes()[:-50])
    write(
        root / "clinic.csv",
        "mrn,name,label,years,visit\nMRN4711,Jane Doe,ill,70,2020-01-31\n"
        "MRN0815,Rex Roe,well,50,2020-02-01\nMRN9,No Body,well,30,2020-02-02\n",
    )
    return root


def test_dicom_tree(tree, workspace, capsys):
    link = workspace / "secret.csv"
    data = importers.import_source(
        tree, "toy", kind="dicom", tables="clinic.csv", key="mrn", label="label", link_table=str(link)
    )
    assert len(data.cohort) == 2 and data.card["intensity"] == "HU" and data.card["modality"] == "CT"
    known = pd.read_csv(link).set_index("original")["pseudonym"]
    assert (link.stat().st_mode & 0o777) == 0o600
    row = data.cohort.set_index("patient_id").loc[known["MRN4711"]]
    image = datasets.read(data, row)
    files = sorted(
        (pydicom.dcmread(tree / f"Doe_Jane/{i}") for i in range(4)), key=lambda d: d.ImagePositionPatient[2]
    )
    expected = np.stack([d.pixel_array.astype(int) - 1024 for d in files])
    np.testing.assert_array_equal(image.pixels[..., 0], expected)
    assert image.pixels.dtype == np.int16 and image.intensity == "HU"
    assert image.spacing_mm == (2.5, 0.7, 0.8)
    again = imaging_series.read_series([tree / f"Doe_Jane/{i}" for i in range(4)])
    np.testing.assert_allclose(image.affine, again.affine)
    assert row["label"] == "ill" and row["years"] == 70 and "name" not in data.cohort and "visit" not in data.cohort
    said = log(data)
    reasons = " | ".join(said["reason"])
    assert "a later study of the patient" in reasons and "not DICOM" in reasons and "gap" in reasons
    broken = said[said["reason"].str.contains("truncated")]
    assert len(broken) == 2, "the copy of a slice that is there, and the series without another"
    assert known[["Doe_Jane/broken.dcm"]].tolist() == [f for f in broken["file"] if f.startswith("file ")]
    assert "no image" in reasons, "a row of the table without an image"


def test_dicom_import_names_nobody(tree, workspace, capsys):
    data = importers.import_source(
        tree, "toy", kind="dicom", tables="clinic.csv", key="mrn", label="label", studies="all"
    )
    captured = capsys.readouterr()
    names = " ".join(str(p.relative_to(data.folder)) for p in data.folder.rglob("*"))
    contents = b" ".join(
        p.read_bytes() if p.suffix != ".gz" else __import__("gzip").decompress(p.read_bytes())
        for p in data.folder.rglob("*")
        if p.is_file()
    )
    everything = (names + captured.out + captured.err).encode() + contents
    for secret in (
        "Doe",
        "Jane",
        "Roe",
        "MRN4711",
        "MRN0815",
        "MRN9",
        "19500101",
        "20200131",
        "2020-01-31",
        "ACC99",
        "Elsewhere",
        "1.9.0",
        "1.2.3",
    ):
        assert secret.encode() not in everything, secret
    assert data.cohort["study"].tolist().count(2) == 1 and len(data.cohort) == 3
    assert data.cohort.groupby("patient_id")["image"].count().tolist() in ([1, 2], [2, 1])
    assert data.cohort["age_years"].max() == 90, "ages above 89 identify"


def test_link_table_stays_outside(tree, workspace):
    with pytest.raises(ValueError, match="outside"):
        importers.import_source(tree, "toy", kind="dicom", link_table=str(workspace / "data" / "links.csv"))
    (workspace / "there.csv").write_text("precious")
    with pytest.raises(ValueError, match="new file"):
        importers.import_source(tree, "toy", kind="dicom", link_table=str(workspace / "there.csv"))
    assert (workspace / "there.csv").read_text() == "precious" and not (workspace / "data" / "toy").exists()


def test_planar_dicom_keeps_picture_and_spacing(workspace):
    for i in range(2):
        pixels = rng.integers(0, 4000, (14, 16)).astype(np.uint16)
        slice_file(
            workspace / f"src/{i}.dcm", pid=f"P{i}", study=f"2.{i}", series=f"2.{i}.1", pixels=pixels, Modality="MR"
        )
    data = importers.import_source(workspace / "src", "toy", kind="dicom")
    for row in data.cohort.to_dict("records"):
        image = datasets.read(data, pd.Series(row))
        assert image.pixels.shape == (14, 16, 1) and image.spacing_mm == (0.7, 0.8)


def test_synthetic_thorax(workspace, capsys):
    data = importers.import_source("synthetic:thorax", "thorax", patients=8, seed=0)
    assert data.card["synthetic"] is True and data.card["positive"] == "malignant"
    assert data.card["classes"] == ["none", "benign", "malignant"] and data.card["import"]["patients"] == 8
    assert datasets.conditions(data) >= {"image", "label", "survival", "mask", "boxes", "covariates", "modality:CT"}
    assert len(data.cohort) == 8 and data.cohort["label"].notna().all()
    assert set(data.truth["patient_id"]) == set(data.cohort["patient_id"])
    truth = data.truth.set_index("patient_id").loc[data.cohort["patient_id"]]
    assert truth["label"].tolist() == data.cohort["label"].tolist(), "truth under the same pseudonyms"
    for row in data.cohort.to_dict("records"):
        mask, image = datasets.read_mask(data, pd.Series(row)), datasets.read(data, pd.Series(row))
        assert mask.shape == image.pixels.shape[:3] and mask.any() == (row["label"] != "none")
        boxes = data.boxes[data.boxes["image"] == row["image"]]
        inside = np.zeros_like(mask)
        for b in boxes.itertuples():
            inside[b.z_min : b.z_max, b.y_min : b.y_max, b.x_min : b.x_max] = True
        assert not (mask & ~inside).any(), "boxes hold the mask"
    status = log(data)["status"].value_counts().to_dict()
    assert status == {"taken": 7, "duplicate": 1, "refused": 2}
    assert "THX-" not in (data.folder / "cohort.csv").read_text() + (data.folder / "import_log.csv").read_text()


# ---- real data


@pytest.mark.realdata
def test_nsclc_recipe(workspace, datasets_folder):
    npz = "volumes46/patient_{PatientID:03d}.npz"
    source = datasets_folder / "nsclc_ct_survival"
    data = importers.import_source(
        source,
        "nsclc",
        tables="clinical_data.csv,outcome.csv,radiomics.csv",
        key="PatientID",
        time="SurvivalTime",
        event="Event",
        image=f"{npz}::scan",
        mask=f"{npz}::mask",
        rename="age:age_years,SourceDataset:site",
        modality="CT",
        intensity="HU",
        spacing_mm=2,
    )
    outcome = pd.read_csv(source / "outcome.csv").set_index("PatientID").sort_index()
    mine = data.cohort.assign(i=data.cohort["patient_id"].astype(int)).set_index("i").sort_index()
    assert mine["time_days"].tolist() == outcome["SurvivalTime"].tolist() and mine["event"].sum() == 130
    assert len(datasets.covariates(data)) == 6 + 53
    radiomics = pd.read_csv(source / "radiomics.csv", header=[0, 1], index_col=0).sort_index()
    np.testing.assert_allclose(mine["original_shape_VoxelVolume"], radiomics[("shape", "original_shape_VoxelVolume")])
    with np.load(source / "volumes46" / "patient_002.npz") as official:
        image = datasets.read(data, mine.loc[2])
        np.testing.assert_array_equal(image.pixels[..., 0], official["scan"])
        np.testing.assert_array_equal(datasets.read_mask(data, mine.loc[2]), official["mask"])
    assert image.spacing_mm == (2, 2, 2) and image.intensity == "HU"
    said = " | ".join(message for _, message in checks.check("nsclc"))
    assert "Histology: 7 spellings of 4 values" in said and "Histology 19" in said and "age_years 15" in said
    assert "site alone predicts the survival" in said and "a confounder to report" in said


@pytest.mark.realdata
def test_lgg_recipe(workspace, datasets_folder):
    data = importers.import_source(
        datasets_folder / "lgg_mri_seg_survival",
        "lgg",
        tables="slices.csv,patients.csv",
        key="Patient",
        time="OS.time",
        event="OS",
        image="images/{folder}/{file}",
        mask="masks/{folder}/{file}",
        boxes="xmin,ymin,xmax,ymax",
        inclusive=True,
        modality="MR",
    )
    persons = data.cohort.drop_duplicates("patient_id")
    assert (len(data.cohort), len(persons), persons["event"].sum(), len(data.boxes)) == (453, 76, 28, 377)
    row = data.cohort[data.cohort["mask_pixels"] > 500].iloc[0]
    mask = datasets.read_mask(data, row)
    assert mask.sum() == row["mask_pixels"] and datasets.read(data, row).pixels.shape == (256, 256, 3)
    box = data.boxes[data.boxes["image"] == row["image"]].iloc[0]
    y, x = np.nonzero(mask)
    assert (x.min(), y.min()) == (box["x_min"], box["y_min"])
    assert (x.max() + 1, y.max() + 1) == (box["x_max"], box["y_max"]), "edges, not the last pixel"
    assert "vital_status repeats the outcome" in " | ".join(message for _, message in checks.check("lgg"))


@pytest.mark.realdata
def test_ibsi_dicom_and_nifti_are_the_same(workspace, datasets_folder):
    one = importers.import_source(datasets_folder / "ibsi_ct_lung" / "dicom", "one")
    two = importers.import_source(
        datasets_folder / "ibsi_ct_lung" / "nifti", "two", mask="mask/mask.nii.gz", modality="CT", intensity="HU"
    )
    a, b = (datasets.read(d, d.cohort.iloc[0]) for d in (one, two))
    np.testing.assert_array_equal(a.pixels, b.pixels)
    np.testing.assert_allclose(a.spacing_mm, b.spacing_mm, rtol=1e-5)
    np.testing.assert_allclose(a.affine, b.affine, rtol=1e-4, atol=1e-3)
    assert (
        a.intensity == b.intensity == "HU" and datasets.read_mask(two, two.cohort.iloc[0]).shape == b.pixels.shape[:3]
    )
    assert "RTSTRUCT" in log(one)["reason"].tolist()[-1] + log(one)["reason"].tolist()[0]
