"""RT structure sets and DICOM segmentations in a tree beside their series."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from test_importers import log, slice_file

from medlab.cohorts import datasets
from medlab.imaging import dicom, formats
from medlab.intake import importers, segments, structures

SERIES, FRAME, SHAPE = "1.2.826.7.1", "1.2.826.7.9", (5, 12, 10)


def sequence(**values):
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def file(path, kind, **values):
    """A DICOM object without pixels of its own that belongs to patient MRN4711."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = pydicom.uid.ExplicitVRLittleEndian, kind
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = kind, generate_uid()
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.StudyInstanceUID = "Doe^Jane", "MRN4711", "1.2"
    ds.SeriesInstanceUID = generate_uid()
    for name, value in values.items():
        setattr(ds, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def ct(root, n=5, series=SERIES, frame=FRAME, **tags):
    for i in range(n):
        slice_file(root / f"ct/{series}-{i}.dcm", series=series, z=2.5 * i, FrameOfReferenceUID=frame, **tags)


def contour(rows, columns, z, kind="CLOSED_PLANAR", shift=0.0):
    """Corners in pixels of the series of `slice_file` (0.7 mm rows, 0.8 mm columns, from -10, -20) as a contour."""
    points = [(-10 + 0.8 * c, -20 + 0.7 * r, 2.5 * z + shift) for r, c in zip(rows, columns, strict=True)]
    return sequence(ContourGeometricType=kind, NumberOfContourPoints=len(rows),
                    ContourData=[f"{v:.6f}" for point in points for v in point])


def rtstruct(path, named, series=SERIES, frame=FRAME):
    """named: {name: [contour, ...]}."""
    reference = sequence(FrameOfReferenceUID=frame, RTReferencedStudySequence=[sequence(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID="1.2",
        RTReferencedSeriesSequence=[sequence(SeriesInstanceUID=series)] if series else [])])
    file(path, pydicom.uid.RTStructureSetStorage, Modality="RTSTRUCT", ReferencedFrameOfReferenceSequence=[reference],
         StructureSetROISequence=[sequence(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame)
                                  for n, name in enumerate(named, 1)],
         ROIContourSequence=[sequence(ReferencedROINumber=n, ContourSequence=c)
                             for n, c in enumerate(named.values(), 1)])


SQUARE = ([1.6, 1.6, 8.4, 8.4], [1.6, 7.4, 7.4, 1.6])
HOLE = ([3.6, 3.6, 6.4, 6.4], [3.6, 5.4, 5.4, 3.6])


def square():
    expected = np.zeros(SHAPE, bool)
    expected[1:4, 2:9, 2:8] = True
    expected[2, 4:7, 4:6] = False
    return expected


def drawn():
    return [contour(*SQUARE, 1), contour(*SQUARE, 2), contour(*HOLE, 2), contour(*SQUARE, 3, shift=0.4)]


def test_contours_holes_and_the_nearest_slice(workspace):
    ct(workspace / "src")
    rtstruct(workspace / "src/rs.dcm", {"GTV-1": drawn()})
    data = importers.import_source(workspace / "src", "toy")
    row = data.cohort.iloc[0]
    np.testing.assert_array_equal(datasets.read_mask(data, row), square())
    mask, image = formats.read(row["mask"], root=data.folder), datasets.read(data, row)
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert "mask_classes" not in data.card and "GTV-1 as lesion (1)" in data.card["notes"][-1]
    assert "cut holes" in " ".join(log(data)["reason"]) and (log(data)["status"] == "taken").all()
    assert data.card["sha256"][row["mask"]]


@pytest.mark.parametrize(
    "named, reason",
    [
        ({"GTV": [contour(*SQUARE, 1.5)]}, "1 of 1 contours lie between or outside the slices"),
        ({"GTV": [contour(*SQUARE, 9)]}, "between or outside the slices"),
        ({"GTV": [contour(*SQUARE, 1, kind="POINT")]}, "no closed contour of this structure, only 1 points"),
        ({"GTV": [contour([1, 2], [1, 2], 1)]}, "only 1 closed contours of less than 3 points"),
        ({}, "describes no structure"),
        ({"GTV": [], "Lung_L": [], "Jane Doe": []}, "3 structures; say which with --roi NAME:CLASS: #3, GTV, Lung_L"),
    ],
)
def test_what_cannot_be_drawn_leaves_the_image_and_says_why(workspace, named, reason):
    ct(workspace / "src")
    rtstruct(workspace / "src/rs.dcm", named)
    data = importers.import_source(workspace / "src", "toy")
    assert "mask" not in data.cohort and len(data.cohort) == 1
    said = log(data).query("status == 'unmatched'")["reason"].tolist()
    assert len(said) == 1 and said[0].startswith("RTSTRUCT: ") and reason in said[0]


def test_named_structures_become_classes_and_names_stay_out(workspace, capsys):
    ct(workspace / "src")
    small = [contour(*HOLE, 2)]
    rtstruct(workspace / "src/rs.dcm", {"Doe, Jane GTV": small, "Lung_L": drawn(), "lung_r": small, "z": small})
    data = importers.import_source(workspace / "src", "toy", roi="lung_?:lung,*GTV:tumour,heart")
    assert data.card["mask_classes"] == {"lung": 1, "tumour": 2}
    labels = datasets.read_labels(data, data.cohort.iloc[0])
    assert labels[2, 4:7, 4:6].min() == 2, "the later named class lies on top"
    assert ((labels == 1) == (square() & (labels != 2))).all() and (labels == 2).sum() == 6
    notes = data.card["notes"]
    assert "#1 as tumour (1), " in notes[0] or "#1 as tumour (1)" in notes[0]
    assert "Lung_L as lung (1)" in notes[0] and "overlap in 6 voxels" in notes[1]
    everything = "".join(p.read_text() for p in data.folder.glob("*.*")) + "".join(capsys.readouterr())
    assert "Doe" not in everything and "Jane" not in everything and FRAME not in everything
    with pytest.raises(ValueError, match="say the class it becomes"):
        importers.import_source(workspace / "src", "bad", roi="Doe*")
    lost = importers.import_source(workspace / "src", "lost", roi="Heart")
    assert "no structure of --roi; it has #1, #4, Lung_L, lung_r" in " ".join(log(lost)["reason"])


@pytest.mark.parametrize("name, known", [
    ("GTV-1", 1), ("SpinalCord", 1), ("Lung_L", 1), ("PTV 60Gy", 1), ("Neoplasm, Primary", 1), ("GTVp", 1), ("", 0),
    ("Doe Jane", 0), ("GTV Miller", 0), ("MRN4711", 0), ("GTV 20200131", 0), ("GTV\n1", 0), ("lung" * 20, 0)])
def test_names_made_of_known_words(name, known):
    assert structures.shown(name, 7) == (name if known else "#7")


def test_which_series_a_structure_set_belongs_to(workspace):
    root = workspace / "src"
    ct(root)
    ct(root, series="1.2.826.7.2", frame="1.2.826.8")
    rtstruct(root / "unnamed.dcm", {"GTV": drawn()}, series=None)
    rtstruct(root / "far.dcm", {"GTV": drawn()}, series="1.2.826.99")
    data = importers.import_source(root, "toy")
    assert data.cohort["mask"].notna().sum() == 1, "the only series of the patient in this frame of reference"
    assert "its series is not among the images taken" in " ".join(log(data)["reason"])
    rtstruct(root / "again.dcm", {"GTV": drawn()})
    data = importers.import_source(root, "two")
    assert "mask" not in data.cohort and "2 RTSTRUCT of this series show GTV" in " ".join(log(data)["reason"])
    slice_file(root / "ct/late.dcm", series=SERIES, z=30.0, FrameOfReferenceUID=FRAME)
    data = importers.import_source(root, "gap")
    assert "not evenly spaced" in " ".join(log(data)["reason"])
    with pytest.raises(ValueError, match="RTSTRUCT: give a folder that holds their images"):
        importers.import_source(root, "none", kind="dicom", patient_pattern="nobody")


def code():
    return [sequence(CodeValue="85756007", CodingSchemeDesignator="SCT", CodeMeaning="Tissue")]


def seg(path, frames, labels=("Liver",), kind="BINARY", series=SERIES, along=(1, 0, 0, 0, 1, 0), **values):
    """frames: list of (segment, position, pixels of 0/1, of 0..100 (FRACTIONAL) or of numbers (LABELMAP))."""
    stack = np.stack([f[2] for f in frames]).astype(np.uint8)
    bits = 1 if kind == "BINARY" else 8
    data = np.packbits(stack.ravel(), bitorder="little") if bits == 1 else stack
    data, maps = data.tobytes(), kind == "LABELMAP"
    heights = sorted({p[2] for _, p, _ in frames})
    group = [sequence(
        PlanePositionSequence=[sequence(ImagePositionPatient=[float(v) for v in p])],
        FrameContentSequence=[sequence(DimensionIndexValues=[*([] if maps else [n]), 1 + heights.index(p[2])])],
        **{} if maps else {"SegmentIdentificationSequence": [sequence(ReferencedSegmentNumber=n)]})
        for n, p, _ in frames]
    dimensions = [*([] if maps else [(0x0062000B, 0x0062000A)]), (0x00200032, 0x00209113)]  # segment, position
    kind_of_file = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.66.7") if maps else pydicom.uid.SegmentationStorage
    file(path, kind_of_file, Modality="SEG", SegmentationType=kind, FrameOfReferenceUID=FRAME,
         ReferencedSeriesSequence=[sequence(SeriesInstanceUID=series)], NumberOfFrames=len(stack), BitsAllocated=bits,
         BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0, SamplesPerPixel=1, Rows=stack.shape[1],
         Columns=stack.shape[2], PhotometricInterpretation="MONOCHROME2", PixelData=data + bytes(len(data) % 2),
         SegmentSequence=[sequence(SegmentNumber=n, SegmentLabel=t, SegmentAlgorithmType="MANUAL",
                                   SegmentedPropertyCategoryCodeSequence=code(),
                                   SegmentedPropertyTypeCodeSequence=code()) for n, t in enumerate(labels, 1)],
         DimensionIndexSequence=[sequence(DimensionIndexPointer=a, FunctionalGroupPointer=b) for a, b in dimensions],
         SharedFunctionalGroupsSequence=[sequence(
             PixelMeasuresSequence=[sequence(PixelSpacing=[0.7, 0.8], SliceThickness=2.5)],
             PlaneOrientationSequence=[sequence(ImageOrientationPatient=list(along))])],
         PerFrameFunctionalGroupsSequence=group,
         **({"SegmentationFractionalType": "OCCUPANCY"} if kind == "FRACTIONAL" else {}), **values)


def at(k):
    return [-10, -20, 2.5 * k]


def truth():
    return np.random.default_rng(3).random(SHAPE) < 0.3


def test_segmentation_frames_in_any_order_with_missing_ones(workspace):
    ct(workspace / "src")
    expected = truth()
    expected[0] = expected[4] = False
    seg(workspace / "src/seg.dcm", [(1, at(k), expected[k]) for k in (3, 1, 2)])
    data = importers.import_source(workspace / "src", "toy")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), expected)
    assert "from 1 SEG: Liver as lesion (1)" in data.card["notes"][0]
    expected[2] = False  # a frame on every other slice: the slices in between are empty, not the frames thicker
    seg(workspace / "src/seg.dcm", [(1, at(k), expected[k]) for k in (3, 1)])
    data = importers.import_source(workspace / "src", "sparse")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), expected)


def test_fractional_label_maps_overlaps_and_turned_frames(workspace):
    root, cover = workspace / "src", np.random.default_rng(4).integers(0, 101, SHAPE)
    ct(root)
    seg(root / "seg.dcm", [(1, at(k), cover[k]) for k in range(5)], kind="FRACTIONAL", MaximumFractionalValue=100)
    data = importers.import_source(root, "fractional")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), cover >= 50)
    numbers = np.random.default_rng(5).integers(0, 3, SHAPE)
    seg(root / "seg.dcm", [(0, at(k), numbers[k]) for k in range(5)], ("Liver", "Tumour"), "LABELMAP")
    data = importers.import_source(root, "labelmap")
    assert data.card["mask_classes"] == {"Liver": 1, "Tumour": 2}
    np.testing.assert_array_equal(datasets.read_labels(data, data.cohort.iloc[0]), numbers)
    one, two = truth(), truth()[::-1]
    seg(root / "seg.dcm", [(1, at(k), one[k]) for k in range(5)] + [(2, at(k), two[k]) for k in range(5)],
        ("Tumour", "Liver"))
    data = importers.import_source(root, "overlap")
    labels = datasets.read_labels(data, data.cohort.iloc[0])  # alphabet: Liver is class 1, Tumour class 2
    np.testing.assert_array_equal(labels, np.where(two, 1, np.where(one, 2, 0)))
    assert f"overlap in {(one & two).sum()} voxels" in data.card["notes"][-1]
    chosen = importers.import_source(root, "chosen", roi="tumour")
    assert chosen.card["mask_classes"] == {"tumour": 1}
    np.testing.assert_array_equal(datasets.read_mask(chosen, chosen.cohort.iloc[0]), one)
    corner = np.array(at(0)) + [0, 0.7 * 11, 0]  # rows from the last to the first
    turned = [(1, corner + [0, 0, 2.5 * k], one[k, ::-1]) for k in range(5)]
    seg(root / "seg.dcm", turned, along=(1, 0, 0, 0, -1, 0))
    data = importers.import_source(root, "turned")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), one)


@pytest.mark.parametrize("position, reason", [
    ([-10, -20, 1.25], "another grid"), ([-10.3, -20, 0], "another grid"), ([-10, -20, 25], "outside of the images")])
def test_segmentations_of_another_grid_are_refused(workspace, position, reason):
    ct(workspace / "src")
    seg(workspace / "src/seg.dcm", [(1, position, truth()[0])])
    data = importers.import_source(workspace / "src", "toy")
    assert "mask" not in data.cohort and reason in " ".join(log(data)["reason"])


def small_turn(degrees):
    a = np.radians(degrees)
    return (np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0)


@pytest.mark.parametrize("change, reason", [
    ({"frames": [(2, 0)]}, "frames of segment 2, which is not described"),
    ({"frames": [(0, 0)], "kind": "LABELMAP", "factor": 7}, "frames of segment 7, which is not described"),
    ({"along": small_turn(3)}, "another grid"), ({"along": small_turn(0.05)}, None),
    ({"DimensionIndexSequence": None}, "incomplete"), ({"kind": "SURFACE"}, "unknown type")])
def test_segmentations_that_cannot_be_trusted(workspace, change, reason):
    ct(workspace / "src")
    change, factor = dict(change), change.get("factor", 1)
    change.pop("factor", None)
    frames = [(n, at(k), factor * truth()[k]) for n, k in change.pop("frames", [(1, 0)])]
    lost = "DimensionIndexSequence" in change and change.pop("DimensionIndexSequence") is None
    seg(workspace / "src/seg.dcm", frames, **change)
    if lost:
        ds = pydicom.dcmread(workspace / "src/seg.dcm")
        del ds.DimensionIndexSequence
        ds.save_as(workspace / "src/seg.dcm")
    data = importers.import_source(workspace / "src", "toy")
    assert ("mask" in data.cohort) == (reason is None) and (reason or "mask of") in " ".join(log(data)["reason"])


def test_structure_set_and_segmentation_of_one_series(workspace):
    root = workspace / "src"
    ct(root)
    rtstruct(root / "rs.dcm", {"GTV-1": drawn()})
    seg(root / "seg.dcm", [(1, at(k), truth()[k]) for k in range(5)], ("GTV-1",))
    data = importers.import_source(root, "both")
    assert "1 RTSTRUCT and 1 SEG of this series show GTV-1" in " ".join(log(data)["reason"])
    assert "mask" not in data.cohort
    data = importers.import_source(root, "seg", segmentation="SEG")
    np.testing.assert_array_equal(datasets.read_mask(data, data.cohort.iloc[0]), truth())
    seg(root / "seg.dcm", [(1, at(k), truth()[k]) for k in range(5)], ("Liver",))
    data = importers.import_source(root, "different")
    assert data.card["mask_classes"] == {"GTV-1": 1, "Liver": 2}, "different structures make one label map"
    with pytest.raises(ValueError, match="expected one of RTSTRUCT, SEG"):
        importers.import_source(root, "bad", segmentation="seg")


@pytest.mark.realdata
def test_ibsi_structure_set_is_the_mask_of_the_nifti(workspace, datasets_folder):
    data = importers.import_source(datasets_folder / "ibsi_ct_lung/dicom", "ibsi", roi="GTV*:tumour")
    mine = datasets.read_mask(data, data.cohort.iloc[0])
    theirs = nib.load(datasets_folder / "ibsi_ct_lung/nifti/mask/mask.nii.gz").get_fdata().transpose(2, 1, 0) > 0
    assert theirs.sum() == 125256
    dice = 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum())
    assert dice > 0.9999, f"Dice {dice}"


@pytest.mark.realdata
def test_segmentations_of_pydicom_in_all_syntaxes(datasets_folder):
    """The same liver in several transfer syntaxes; pixels of its frames as pydicom decodes them."""
    folder = datasets_folder / "dicom_odd/pydicom_data"
    for stem in ("liver", "liver_nonbyte_aligned"):
        ds = pydicom.dcmread(folder / f"{stem}.dcm")
        positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in ds.PerFrameFunctionalGroupsSequence]
        order = np.argsort([float(p[2]) for p in positions])
        shared = ds.SharedFunctionalGroupsSequence[0]
        rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        step = np.diff(np.sort([float(p[2]) for p in positions])).min()
        affine = np.eye(4)
        affine[:3] = np.c_[[0, 0, step], [0, rows, 0], [columns, 0, 0], np.array(positions[order[0]], float)]
        expected = ds.pixel_array[order] > 0
        shape = (round(float(np.ptp([float(p[2]) for p in positions])) / step) + 1, ds.Rows, ds.Columns)
        for suffix in ("_deflate", "_rle"):  # pydicom 3.0 has no decoder for single bits in these
            with pytest.raises((dicom.BadImage, RuntimeError), match="decode"):
                segments.masks(pydicom.dcmread(folder / f"{stem}{suffix}.dcm"), affine, shape)
        for suffix in ("", "_j2k"):
            found = segments.masks(pydicom.dcmread(folder / f"{stem}{suffix}.dcm"), affine, shape)[1]
            assert found.sum() == expected.sum() and expected.any(), f"{stem}{suffix}"
            np.testing.assert_array_equal(found[found.any(axis=(1, 2))], expected[expected.any(axis=(1, 2))])
