"""Several series, modalities, echoes, phases, scouts in a tree of DICOM, and contours as they are found."""

import ast
import gzip
import inspect
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from test_importers import log, slice_file
from test_structures import contour, ct, rtstruct, sequence

import medlab
from medlab.cohorts import datasets
from medlab.imaging import dicom, formats, planes, series
from medlab.intake import arguments, descriptions, importers


def grey(value, shape=(12, 10), kind=np.uint16):
    """Pixels around a value, no two the same."""
    return np.random.default_rng().integers(value, value + 20, shape).astype(kind)


def stack(root, value, n=4, step=5.0, start=0.0, name="", **tags):
    """A series of n slices whose HU lie above value."""
    for i in range(n):
        told = {k: v[i] if isinstance(v, list) and k != "ImageType" else v for k, v in tags.items()}
        slice_file(root / f"{value}{name}-{i}.dcm", z=start + i * step, **{"pixels": grey(value + 1024), **told})


def levels(data):
    """Each image as (slices, its values in hundreds, distance of slices)."""
    found = []
    for row in data.cohort.to_dict("records"):
        image = datasets.read(data, row)
        found.append((image.pixels.shape[0], round(float(image.pixels.mean()) / 100), image.spacing_mm[0]))
    return found


def text(data):
    """All that was written, unzipped, as bytes."""
    return b"".join(gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() + str(p).encode()
                    for p in data.folder.rglob("*") if p.is_file())


def understood(data):
    return {row["what"]: row["read_as"] for row in data.card["understood"]}


# ---- modalities and descriptions


@pytest.fixture
def pooled(workspace):
    root = workspace / "src"
    for who in "AB":
        stack(root, 100, pid=who, study=f"2.{ord(who)}", series=f"2.1.{ord(who)}", name=who)
        stack(root, 200, pid=who, study=f"2.{ord(who)}", series=f"2.2.{ord(who)}", name=who, Modality="MR")
    stack(root, 300, pid="A", study="2.65", series="2.3", Modality="PT")
    return root


def test_several_modalities_are_a_question_that_the_option_answers(pooled, capsys):
    with pytest.raises(ValueError, match="open question.*--modality"):
        importers.import_source(pooled, "toy")
    said = capsys.readouterr().out
    said = " ".join(said.split())
    assert "2 series of 2 patients" in said and "PT (1 series of 1 patient)" in said and "of 3 modalities" in said
    data = importers.import_source(pooled, "ct", modality="CT")
    assert levels(data) == [(4, 1, 5.0)] * 2 and data.card["modality"] == "CT" and not data.card.get("questions")
    assert data.card["import"]["options"]["modality"] == "CT" and "modality" not in data.cohort
    assert log(data)["reason"].str.contains("modality MR, not of --modality").sum() == 2
    both = importers.import_source(pooled, "both", modality="ct, PT")
    assert sorted(v for _, v, _ in levels(both)) == [1, 1, 3]
    assert set(both.cohort["modality"]) == {"CT", "PT"}
    assert len(importers.import_source(pooled, "all", modality="all").cohort) == 5
    assert len(importers.import_source(pooled, "yes", yes=True).cohort) == 5
    with pytest.raises(ValueError, match=r"--modality US: no series of US; found CT \(2 series"):
        importers.import_source(pooled, "none", modality="US")


def test_a_modality_that_is_no_code_is_not_written(workspace):
    stack(workspace / "src", 100, Modality="DOE JANE")
    data = importers.import_source(workspace / "src", "toy", modality="MR")
    assert data.card["modality"] == "OT" or data.card["modality"] == "MR"
    assert b"DOE" not in text(data)


SEQUENCES = [("T1 ax post KM", "SE", 10.0), ("FLAIR tra", "IR", 120.0), ("t2_tse_sag", "SE", 90.0),
             ("Miller knee", "GR", 5.0)]


def test_folders_of_classes_and_parts_above_dicom_are_told(workspace):
    for part in ("train", "test"):
        for kind in ("benign", "malignant"):
            for i in range(2):
                who = f"{part}{kind}{i}"
                uid = f"1.{len(part)}.{len(kind)}.{i}"
                stack(workspace / "src" / part / kind, 40, name=who, PatientID=who, StudyInstanceUID=uid,
                      SeriesInstanceUID=f"{uid}.1")
    data = importers.import_source(workspace / "src", "toy")
    told = [r["read_as"] for r in data.card["understood"] if r["what"] == "folders"]
    assert len(told) == 2 and "'^[^/]+/(?P<label>[^/]+)/'" in told[0] and "test, train" in told[1]
    assert "label" not in data.cohort and "--keep patient_id" not in str(data.card["understood"])
    said = importers.import_source(workspace / "src", "said",
                                   patient_pattern="^(?P<split>train|test)/(?P<label>[^/]+)/")
    assert said.cohort.groupby(["split", "label"]).size().tolist() == [2, 2, 2, 2]


@pytest.fixture
def sequences(workspace):
    for n, (name, kind, echo) in enumerate(SEQUENCES, 1):
        for who in "AB":
            agent = {"ContrastBolusAgent": "Gd"} if n == 1 else {"ContrastBolusAgent": "NONE"}
            along = [0, 1, 0, 0, 0, -1] if "sag" in name else [1, 0, 0, 0, 1, 0]
            for i in range(4):
                slice_file(workspace / f"src/{n}{who}{i}", pid=who, study=f"3.{ord(who)}", series=f"3.{n}.{ord(who)}",
                           pixels=grey(100 * n + 1024), Modality="MR", SeriesDescription=name, ScanningSequence=kind,
                           EchoTime=echo, RescaleIntercept=-1024, ImageOrientationPatient=along,
                           ImagePositionPatient=[-5.0 * i, 0, 0] if "sag" in name else [0, 0, 5.0 * i], **agent)
    return workspace / "src"


def test_sequences_of_a_study_keep_description_and_type(sequences, capsys):
    data = importers.import_source(sequences, "toy")
    table = data.cohort.drop_duplicates("description").set_index("description")
    assert set(table.index) == {"T1 ax post KM", "FLAIR tra", "t2_tse_sag", "#1"}
    assert table["sequence"].to_dict() == {"T1 ax post KM": "SE", "FLAIR tra": "IR", "t2_tse_sag": "SE", "#1": "GR"}
    assert table["contrast"].to_dict() == {"T1 ax post KM": "yes", "FLAIR tra": "no", "t2_tse_sag": "no", "#1": "no"}
    assert table.loc["t2_tse_sag", "plane"] == "sagittal" and table.loc["FLAIR tra", "plane"] == "axial"
    assert understood(data)["orientation"] == "axial (6), sagittal (2)"
    assert "MR FLAIR tra IR contrast no TE 120 ms (2)" in understood(data)["series"]
    assert b"Miller" not in text(data) and "Miller" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("pattern, values", [("*flair*", [2, 2]), ("T1*,T2*", [1, 1, 3, 3]), ("#1", [4, 4]),
                                             ("miller knee", [4, 4])])
def test_series_by_description(sequences, pattern, values):
    data = importers.import_source(sequences, "toy", series=pattern)
    assert sorted(v for _, v, _ in levels(data)) == values
    assert "Miller" not in (data.folder / "card.yaml").read_text()
    assert log(data)["reason"].str.contains("does not fit --series").sum() == 8 - len(values)


def test_a_pattern_that_no_series_fits_lists_what_is_there(sequences):
    with pytest.raises(ValueError, match=r"none of 8 series fits; found .*#1 GR") as told:
        importers.import_source(sequences, "toy", series="adc*")
    assert "FLAIR tra" in str(told.value) and "Miller" not in str(told.value)


@pytest.mark.parametrize("words, fine", [
    ("Thorax 5.0 B31f", 0), ("AX T2 FLAIR FS", 1), ("t1_mprage_sag", 1), ("DWI b1000", 1), ("12.03.1965", 0),
    ("CT 12.03.45", 0), ("Smith", 0), ("T1 SMITH", 0), ("J.D.", 0), ("CT 4711", 0), ("", 0), ("PET WB AC", 1),
    ("LB", 0), ("Lv2", 0), ("R L", 1)])
def test_descriptions_of_known_words(words, fine):
    assert descriptions.known(words) == bool(fine)


# ---- volumes in one series


def two(root, **tags):
    """Two volumes of four slices in one series; of each tag the first value is that of the first volume."""
    for v in (0, 1):
        stack(root, 100 * (v + 1), start=tags.get("shift", 0.0) * v, series="4.1", name="v", InstanceNumber=[
            4 * v + i + 1 for i in range(4)], **{k: t[v] for k, t in tags.items() if k != "shift"})


@pytest.mark.parametrize("tags, apart", [
    ({"EchoTime": (5.0, 10.0), "EchoNumbers": (1, 2)}, "echo"),
    ({"EchoNumbers": (1, 2)}, "echo"),
    ({"shift": 0.02}, "the order of acquisition alone"),
    ({"shift": 0.3}, "the order of acquisition alone"),
    ({"shift": 0.02, "TemporalPositionIdentifier": (1, 2)}, "time"),
    ({"AcquisitionNumber": (1, 2)}, "acquisition"),
    ({"NominalPercentageOfCardiacPhase": (40.0, 75.0)}, "phase"),
    ({"ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])}, "image type"),
    ({"DiffusionBValue": (0.0, 800.0)}, "b-value"),
    ({"KVP": (80, 140)}, "tube voltage"),
    ({"ConvolutionKernel": ("B30f", "B60f")}, "kernel"),
    ({"InversionTime": (150.0, 900.0)}, "inversion time"),
    ({"shift": 2.0, "AcquisitionNumber": (1, 2)}, "acquisition"),
    ({"shift": 2.5, "EchoTime": (5.0, 10.0)}, "echo"),
    ({"shift": 1.0, "TemporalPositionIdentifier": (1, 2)}, "time"),
])
def test_two_volumes_in_a_series_are_two_images_or_the_chosen_one(workspace, tags, apart):
    two(workspace / "src", **tags)
    with pytest.raises(ValueError, match="open question.*--frame"):
        importers.import_source(workspace / "src", "asked", kind="dicom")
    data = importers.import_source(workspace / "src", "toy", kind="dicom", frame="all")
    assert levels(data) == [(4, 1, 5.0), (4, 2, 5.0)] and data.cohort["volume"].tolist() == [1, 2]
    assert understood(data)["volumes in one series"].startswith(f"1 series with 2 volumes told apart by {apart}")
    second = importers.import_source(workspace / "src", "second", kind="dicom", frame=1)
    assert levels(second) == [(4, 2, 5.0)]
    with pytest.raises(ValueError, match="--frame 2: no such volume"):
        importers.import_source(workspace / "src", "third", kind="dicom", frame=2)


def test_echoes_by_their_rank(workspace):
    two(workspace / "src", EchoTime=(10.0, 5.0))
    data = importers.import_source(workspace / "src", "toy", kind="dicom", echo=1)
    assert levels(data) == [(4, 2, 5.0)], "1 is the shortest echo time, not the first that was stored"
    assert importers.import_source(workspace / "src", "two", kind="dicom", echo="2").cohort.shape[0] == 1
    with pytest.raises(ValueError, match="--echo 3: no such volume"):
        importers.import_source(workspace / "src", "three", kind="dicom", echo=3)
    with pytest.raises(ValueError, match="--echo 'first': expected a whole number from 1"):
        importers.import_source(workspace / "src", "word", kind="dicom", echo="first")


def test_echoes_at_two_times_need_both_options(workspace):
    root = workspace / "src"
    for e, t in ((1, 1), (1, 2), (2, 1), (2, 2)):
        stack(root, 100 * (2 * (e - 1) + t), series="4.2", EchoTime=5.0 * e, TemporalPositionIdentifier=t)
    data = importers.import_source(root, "toy", kind="dicom", echo=2, frame=0)
    assert levels(data) == [(4, 3, 5.0)]
    assert len(importers.import_source(root, "all", kind="dicom", frame="all").cohort) == 4


def test_series_of_single_volumes_ask_nothing_and_need_no_option(workspace):
    stack(workspace / "src", 100)
    data = importers.import_source(workspace / "src", "toy", kind="dicom")
    assert levels(data) == [(4, 1, 5.0)] and "volume" not in data.cohort and "questions" not in data.card
    for option in ({"echo": 1}, {"frame": 0}):
        with pytest.raises(ValueError, match="no series holds several"):
            importers.import_source(workspace / "src", "no", kind="dicom", **option)


def test_acquisitions_that_share_a_slice_are_two(workspace):
    root = workspace / "src"
    stack(root, 100, n=5, series="4.3", AcquisitionNumber=1)
    stack(root, 200, n=4, start=20.0, series="4.3", AcquisitionNumber=2)
    data = importers.import_source(root, "toy", kind="dicom", frame="all")
    assert levels(data) == [(5, 1, 5.0), (4, 2, 5.0)]
    for file in root.glob("200-0*"):  # without the shared slice they are one volume of a longer range
        file.unlink()
    assert levels(importers.import_source(root, "one", kind="dicom"))[0][::2] == (8, 5.0)


def test_a_slice_too_many_without_a_tag_is_refused(workspace):
    stack(workspace / "src", 100, series="4.4")
    slice_file(workspace / "src/x", z=5.0, series="4.4", pixels=grey(1500))
    with pytest.raises(ValueError, match="1 of 4 positions hold more than one slice"):
        importers.import_source(workspace / "src", "toy", kind="dicom")


def test_copies_under_other_names_count_once_and_gaps_are_told(workspace):
    pixels = [grey(1100 + 20 * i) for i in range(5)]
    for copy in (0, 1):
        for i in (0, 1, 2, 4):
            slice_file(workspace / f"src/{copy}{i}", z=5.0 * i, series="4.5", pixels=pixels[i],
                       InstanceNumber=10 * copy + i)
    data = importers.import_source(workspace / "src", "toy", kind="dicom")
    assert [s for s, *_ in levels(data)] == [4]
    said = " ".join(log(data)["reason"])
    assert "4 slices that occur twice left out" in said and "gap of 10.0 mm after slice 2" in said
    assert any("gap of 10.0 mm" in n for n in data.card["notes"])


def test_empty_slices_of_two_time_points_are_no_copies(workspace):
    blank = np.full((12, 10), 1024, np.uint16)
    for t in (1, 2):
        stack(workspace / "src", 100 * t, series="4.6", TemporalPositionIdentifier=t, pixels=[blank] + [
            grey(1024 + 100 * t) for _ in range(3)])
    data = importers.import_source(workspace / "src", "toy", kind="dicom", frame="all")
    assert [s for s, *_ in levels(data)] == [4, 4]


def test_concatenations_that_fill_each_others_gaps_are_one_volume(workspace):
    two(workspace / "src", shift=2.5, AcquisitionNumber=(1, 2))
    data = importers.import_source(workspace / "src", "toy", kind="dicom")
    assert [(n, mm) for n, _, mm in levels(data)] == [(8, 2.5)]


@pytest.mark.parametrize("heights, thickness, groups", [
    ([0, 0.02, 5, 5.02, 10, 10.02], (), 3), ([0, 0.3, 5, 5.3, 10, 10.3], [2.5], 3), ([0, 5, 10], (), 3),
    ([0, 0.01, 0.02], (), 3), ([0, 2.5, 5, 300, 302.5, 305], [2.5], 6), ([0, 2.5, 5, 300, 302.5, 305], (), 6),
    ([0, 1, 10, 11, 20, 21], [1.0], 6), (np.arange(80) // 20 * 5 + np.arange(80) % 20 * 0.001, (), 4),
    ([0, 0, 2.5, 2.5, 5], (), 3), ([0, 0.02, 5, 5.02, 10], (), 3)])
def test_how_many_positions_slices_have(heights, thickness, groups):
    near = planes.tolerance(np.array(heights, float), list(thickness))
    assert 1 + (np.diff(heights) > near).sum() == groups


# ---- scouts, screenshots, floats, frames


@pytest.mark.parametrize("scout", [
    {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
    {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
    {"pixels": grey(1124, (20, 20))},
    {"PixelSpacing": [1.5, 1.5]},
])
def test_a_scout_in_a_series_is_left_out_and_told(workspace, scout):
    stack(workspace / "src", 100, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    slice_file(workspace / "src/scout", z=2.5, **{"pixels": grey(1124), "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
                                                 **scout})
    data = importers.import_source(workspace / "src", "toy", kind="dicom")
    assert levels(data) == [(4, 1, 5.0)]
    refused = log(data).query("status == 'refused'")
    assert len(refused) == 1 and refused["file"].iloc[0].startswith("file ") and "left out" in refused["reason"].iloc[0]
    assert "1 file: " in understood(data)["left out"]


@pytest.mark.parametrize("tags, word", [
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    ({"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage, "SeriesDescription": "Dose Report"}, "screenshot")])
def test_scout_series_and_screenshots_beside_others(workspace, tags, word):
    stack(workspace / "src", 100)
    stack(workspace / "src", 200, n=1, series="5.2", **tags)
    data = importers.import_source(workspace / "src", "toy", kind="dicom")
    assert levels(data) == [(4, 1, 5.0)] and word in " ".join(log(data)["reason"])
    (workspace / "src/200-0.dcm").rename(workspace / "alone")
    stack(workspace / "only", 300, **tags)
    assert len(importers.import_source(workspace / "only", "only", kind="dicom").cohort) == 1, "nothing else is there"


@pytest.mark.parametrize("keyword, kind", [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_float_pixels_of_several_volumes(workspace, keyword, kind):
    values = {}
    for t in (1, 2):
        for i in range(3):
            values[t, i] = np.random.default_rng(10 * t + i).normal(size=(12, 10)).astype(kind)
            path = workspace / f"src/{t}{i}.dcm"
            slice_file(path, z=5.0 * i, series="6.1", TemporalPositionIdentifier=t, InstanceNumber=3 * t + i)
            ds = pydicom.dcmread(path)
            for tag in "PixelData BitsStored HighBit PixelRepresentation RescaleSlope RescaleIntercept".split():
                delattr(ds, tag)
            ds.BitsAllocated = 8 * np.dtype(kind).itemsize
            setattr(ds, keyword, values[t, i].tobytes())
            ds.save_as(path)
    data = importers.import_source(workspace / "src", "toy", kind="dicom", frame="all")
    for t, row in zip((1, 2), data.cohort.to_dict("records"), strict=True):
        found = datasets.read(data, row).pixels[..., 0]
        np.testing.assert_array_equal(found, np.stack([values[t, i] for i in range(3)]).astype(np.float32))
    for i in (0, 1):  # one instance, other pixels: never silently one of them
        slice_file(workspace / f"s/{i}", sop="6.2.1")
        ds = pydicom.dcmread(workspace / f"s/{i}")
        del ds.PixelData
        ds.BitsAllocated = 8 * np.dtype(kind).itemsize
        setattr(ds, keyword, values[1, i].tobytes())
        ds.save_as(workspace / f"s/{i}")
    with pytest.raises(dicom.BadImage, match="one instance UID and different pixels"):
        series.read_series((workspace / "s").iterdir())


def enhanced(path, frames):
    """A multi-frame MR; frames: (position, level, stack, echo time, orientation)."""
    pixels = np.stack([grey(level) for _, level, *_ in frames])
    slice_file(path, series=f"7.{path.name}", Modality="MR", NumberOfFrames=len(frames), Rows=12, Columns=10,
               pixels=pixels[0], PixelData=pixels.tobytes(), SOPClassUID=pydicom.uid.EnhancedMRImageStorage,
               RescaleSlope=None, RescaleIntercept=None, ImagePositionPatient=None, ImageOrientationPatient=None,
               SharedFunctionalGroupsSequence=[sequence(PixelMeasuresSequence=[sequence(PixelSpacing=[0.7, 0.8])])],
               PerFrameFunctionalGroupsSequence=[sequence(
                   PlanePositionSequence=[sequence(ImagePositionPatient=list(place))],
                   PlaneOrientationSequence=[sequence(ImageOrientationPatient=list(along))],
                   FrameContentSequence=[sequence(StackID=name)], MREchoSequence=[sequence(EffectiveEchoTime=echo)])
                   for place, _, name, echo, along in frames])


def test_stacks_and_echoes_of_a_multi_frame_file(workspace):
    axial = (1, 0, 0, 0, 1, 0)
    frames = [((0, 0, 3.0 * i), 100 * e, "1", 5.0 * e, axial) for i in (2, 0, 1) for e in (1, 2)]
    frames += [((0, 4.0 * i, 0), 300, "2", 5.0, (1, 0, 0, 0, 0, -1)) for i in range(3)]
    enhanced(workspace / "src/1", frames)
    data = importers.import_source(workspace / "src", "toy", kind="dicom", frame="all")
    assert levels(data)[:2] == [(3, 1, 3.0), (3, 2, 3.0)]
    coronal = datasets.read(data, data.cohort.iloc[2])
    assert coronal.pixels.shape == (12, 3, 10, 1) and coronal.spacing_mm == pytest.approx((0.7, 4.0, 0.8))
    assert round(coronal.pixels.mean() / 100) == 3
    assert data.cohort["plane"].tolist() == ["axial", "axial", "coronal"]
    assert data.cohort["echo_time_ms"].tolist()[:2] == [5, 10]
    data = importers.import_source(workspace / "src", "second", kind="dicom", echo=2)
    assert levels(data) == [(3, 2, 3.0)]
    enhanced(workspace / "src/2", [((0, 0, 3.0 * i), 400, "1", 5.0, axial) for i in range(3)])
    assert len(importers.import_source(workspace / "src", "both", kind="dicom", frame="all").cohort) == 4


# ---- contours


def square(a, b, z, kind="CLOSED_PLANAR"):
    """A square from pixel a to b (exclusive) in both directions."""
    return contour([a - 0.4, a - 0.4, b - 0.6, b - 0.6], [a - 0.4, b - 0.6, b - 0.6, a - 0.4], z, kind)


def keyhole(z):
    """One contour from 1 to 9 that runs along a channel around 4 to 6 and back."""
    rows = [0.6, 0.6, 8.4, 8.4, 4.5, 4.5, 5.4, 5.4, 3.6, 3.6, 4.5, 4.5]
    columns = [0.6, 8.4, 8.4, 0.6, 0.6, 3.6, 3.6, 5.4, 5.4, 3.6, 3.6, 0.6]
    return contour(rows, columns, z)


def area(*boxes):
    found = np.zeros((12, 10), bool)
    for low, high in boxes:
        found[low:high, low:high] = True
    return found


HOLE = area((1, 9)) & ~area((3, 6))
XOR = "CLOSEDPLANAR_XOR"


@pytest.mark.parametrize("drawn, expected, said", [
    ([square(1, 9, 1), square(1, 9, 1)], {1: area((1, 9))}, "1 contours stored twice counted once"),
    ([square(1, 9, 1), square(1.02, 9.02, 1)], {1: area((1, 9))}, "stored twice"),
    ([square(1, 9, 1)] * 3, {1: area((1, 9))}, "2 contours stored twice"),
    ([square(1, 6, 1), square(4, 9, 1)], {1: area((1, 6), (4, 9))}, "1 contours overlap others: united"),
    ([square(3, 6, 1), square(1, 9, 1)], {1: HOLE}, "cut holes"),
    ([square(1, 9, 1), square(3, 6, 1), square(3, 6, 1)], {1: HOLE}, "stored twice"),
    ([square(1, 9, 1), square(2, 8, 1), square(3, 7, 1)], {1: area((1, 9)) ^ area((2, 8)) ^ area((3, 7))}, "cut holes"),
    ([square(1, 9, 1, XOR), square(4, 10, 1, XOR)], {1: area((1, 9)) ^ area((4, 10))}, "exclusive or"),
    ([square(1, 9, 1), contour([1, 2], [1, 2], 2)], {1: area((1, 9))}, "1 closed contours of less than 3 points left"),
    ([square(1, 9, 1), square(1, 9, 2), square(1, 9, 7)], {1: area((1, 9)), 2: area((1, 9))}, "between or outside the"),
    ([square(1, 9, 1), square(1, 9, 2), square(1, 9, 2.5)], {1: area((1, 9)), 2: area((1, 9))}, "the rest taken"),
    ([square(1, 9, 1), square(1, 9, 1, "POINT")], {1: area((1, 9))}, "1 points or open contours left out"),
])
def test_contours_as_they_are_found(workspace, drawn, expected, said):
    ct(workspace / "src")
    rtstruct(workspace / "src/rs.dcm", {"GTV": drawn})
    data = importers.import_source(workspace / "src", "toy")
    mask = datasets.read_mask(data, data.cohort.iloc[0])
    truth = np.zeros(mask.shape, bool)
    for k, inside in expected.items():
        truth[k] = inside
    np.testing.assert_array_equal(mask, truth)
    assert said in " ".join(log(data)["reason"])
    if "left" in said or "rest" in said or "outside" in said or "united" in said:
        assert any("structures of 1 image" in n for n in data.card["notes"]), "and on the page"


def test_a_keyhole_leaves_its_hole_free(workspace):
    ct(workspace / "src")
    rtstruct(workspace / "src/rs.dcm", {"GTV": [keyhole(1)]})
    data = importers.import_source(workspace / "src", "toy")
    mask = datasets.read_mask(data, data.cohort.iloc[0])[1]
    assert not mask[4, 4] and not mask[5, 5] and mask[2, 2] and mask[7, 7] and mask[2, 7]


def test_structures_of_another_series_are_still_refused(workspace):
    ct(workspace / "src")
    rtstruct(workspace / "src/rs.dcm", {"GTV": [square(1, 9, k + 0.5) for k in range(3)] + [square(1, 9, 1)]})
    data = importers.import_source(workspace / "src", "toy")
    assert "mask" not in data.cohort and "3 of 4 contours lie between or outside" in " ".join(log(data)["reason"])


# ---- volumes of other files


def nifti(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(pixels, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def test_one_volume_of_files_with_four_axes(workspace):
    pytest.importorskip("medlab.intake.stacks")
    rng = np.random.default_rng(0)
    images, masks = rng.normal(size=(3, 8, 6, 4, 5)).astype(np.float32), rng.random((3, 8, 6, 4)) > 0.7
    for i in range(3):
        nifti(workspace / f"src/images/B_{i}.nii.gz", images[i])
        nifti(workspace / f"src/masks/B_{i}.nii.gz", masks[i].astype(np.uint8))
    how = {"kind": "nifti", "mask": "masks/{stem}.nii.gz"}
    data = importers.import_source(workspace / "src", "toy", frame="3", **how)
    for i, row in enumerate(data.cohort.sort_values("image").to_dict("records")):
        order = (2, 1, 0)
        turned = [a.transpose(order)[:, ::-1, ::-1] for a in (images[i][..., 3], masks[i])]
        np.testing.assert_array_equal(datasets.read(data, row).pixels[..., 0], turned[0])
        np.testing.assert_array_equal(datasets.read_mask(data, row), turned[1])
    assert "number 3 (from 0) of 3 of 3 files" in understood(data)["volumes in one file"]
    for wrong, said in ((7, "give frame 0 to 4"), ("last", "--frame 'last': expected a whole number")):
        with pytest.raises(ValueError, match=said):
            importers.import_source(workspace / "src", "no", frame=wrong, **how)


# ---- messages and files


def options_named(folder):
    """Options (``--x``) in the texts of a package, with their file."""
    for file in sorted(Path(folder).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for word in re.findall(r"(?<![\w-])--([a-z][a-z-]*[a-z])", node.value):
                    yield file.name, word
                for word in re.findall(r"give (frame)\b", node.value):
                    yield file.name, word


def test_every_option_that_a_message_names_exists():
    known = {"kind", "help", *arguments.COMMON}
    for kind in importers.KINDS.values():
        known |= {p.name for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY}
    root = Path(medlab.__file__).parent
    known |= {o.replace("-", "_") for o in re.findall(r'add_argument\("--([a-z-]+)"', (root / "cli.py").read_text())}
    named = {(f, w) for folder in ("intake", "imaging", "cohorts") for f, w in options_named(root / folder)}
    assert {w for _, w in named} >= {"modality", "series", "frame", "echo", "roi"}, "the texts are found"
    assert not {(f, w) for f, w in named if w.replace("-", "_") not in known}


def test_kinds_of_the_help_exist_and_words_for_them_are_explained(capsys):
    from medlab import cli

    with pytest.raises(SystemExit):
        cli.main(["import", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(kind in said for kind in importers.KINDS)
    with pytest.raises(ValueError, match="for this say --kind dicom --modality PT"):
        importers.import_source("x", "y", kind="pet")


@pytest.mark.realdata
def test_ibsi_is_one_volume_and_odd_series_are_read_or_refused(workspace, datasets_folder):
    data = importers.import_source(datasets_folder / "ibsi_ct_lung/dicom", "ibsi")
    assert levels(data)[0][0] == 60 and "questions" not in data.card
    odd = importers.import_source(datasets_folder / "dicom_odd/torchio_series", "torchio", kind="dicom", yes=True)
    assert len(odd.cohort) >= 1 and formats.read(odd.cohort["image"].iloc[0], root=odd.folder).pixels.ndim == 4
