"""BOLD runs and their events: the three kinds of DICOM against each other and against nibabel, and every refusal."""

import struct

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medlab.fmri import bold, conversion, motion, nuisance, paradigm
from medlab.imaging.dicom import BadImage

SHAPE, TR = (8, 10, 4), 2.0  # columns, rows, slices: different, so that a swapped axis shows
ACROSS, DOWN = motion.rotation(4, -6, 9)[:, :2].T  # directions of a row and a column in LPS
SPACING, GAP, CORNER = (3.0, 2.5), 3.3, np.array([-20.0, -30.0, 5.0])  # rows, columns; slices
NORMAL = np.cross(ACROSS, DOWN)
MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def values(volumes=5, seed=0):
    """(slices, rows, columns, volumes) of 12 bits."""
    return np.random.default_rng(seed).integers(1, 4000, (*SHAPE[::-1], volumes)).astype(np.uint16)


def expected():
    """Affine of x, y, z in the order of DICOM (columns, rows, slices), RAS."""
    affine = np.eye(4)
    affine[:3] = np.c_[ACROSS * SPACING[1], DOWN * SPACING[0], NORMAL * GAP, CORNER]
    return np.diag([-1, -1, 1, 1]) @ affine


def header(kind, series="1.2.3", **extra):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = kind
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.Modality, ds.PhotometricInterpretation = series, "MR", "MONOCHROME2"
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 16, 12, 11, 0
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    for name, value in extra.items():
        setattr(ds, name, value)
    return ds


def plane(ds, position):
    ds.ImagePositionPatient, ds.PixelSpacing = [round(float(v), 8) for v in position], list(SPACING)
    ds.ImageOrientationPatient = [round(float(v), 8) for v in (*ACROSS, *DOWN)]
    ds.SpacingBetweenSlices, ds.SliceThickness, ds.RepetitionTime = GAP, 3.0, 1000 * TR


def pixels(ds, array):
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.PixelData = np.ascontiguousarray(array).tobytes()


def save(ds, path):
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


def classic(folder, data, skip=(), **extra):
    """A file per slice, the names in an order that means nothing."""
    for t in range(data.shape[3]):
        for k in range(SHAPE[2]):
            if (t, k) in skip:
                continue
            ds = header(MR, InstanceNumber=1 + t * SHAPE[2] + k, TemporalPositionIdentifier=t + 1, **extra)
            plane(ds, CORNER + k * GAP * NORMAL)
            pixels(ds, data[k, :, :, t])
            save(ds, folder / f"MR.{(37 * t + 11 * k) % 101:03d}")


def enhanced(path, data, mixed=True, time_first=False):
    """One multi-frame file; mixed: all volumes of a slice one after the other."""
    ds, frames = header(ENHANCED, InstanceNumber=1), []
    shared, content = Dataset(), []
    measures, orientation, timing = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices, measures.SliceThickness = list(SPACING), GAP, 3.0
    orientation.ImageOrientationPatient = [round(float(v), 8) for v in (*ACROSS, *DOWN)]
    timing.RepetitionTime = 1000 * TR
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
    order = [(k, t) for k in range(SHAPE[2]) for t in range(data.shape[3])]
    for k, t in order if mixed else sorted(order, key=lambda kt: kt[::-1]):
        frame, place, where = Dataset(), Dataset(), Dataset()
        place.StackID, place.InStackPositionNumber, place.TemporalPositionIndex = "1", k + 1, t + 1
        place.DimensionIndexValues = [1, t + 1, k + 1] if time_first else [1, k + 1, t + 1]
        where.ImagePositionPatient = [round(float(v), 8) for v in CORNER + k * GAP * NORMAL]
        frame.FrameContentSequence, frame.PlanePositionSequence = Sequence([place]), Sequence([where])
        frames.append(data[k, :, :, t])
        content.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(content)
    dimensions = []
    tags = (0x00209056, 0x00209057, 0x00209128)  # stack, position in it, time
    for tag in (tags[0], tags[2], tags[1]) if time_first else tags:
        one = Dataset()
        one.DimensionIndexPointer, one.FunctionalGroupPointer = tag, 0x00209111
        dimensions.append(one)
    ds.DimensionIndexSequence, ds.NumberOfFrames = Sequence(dimensions), len(frames)
    pixels(ds, np.stack(frames))
    save(ds, path)


def csa(**tags):
    """Siemens CSA2 header with text items."""
    out = b"SV10\x04\x03\x02\x01" + struct.pack("<2I", len(tags), 77)
    for name, (kind, items) in tags.items():
        out += struct.pack("<64si4s3i", name.encode(), len(items), kind.encode(), 0, len(items), 77)
        for item in items:
            text = str(item).encode() + b"\0"
            out += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return out


def mosaic(folder, data, downwards=False):
    """A file per volume, its slices as tiles of one picture; downwards: the last slice is the first tile."""
    start, normal, data = (CORNER + (SHAPE[2] - 1) * GAP * NORMAL, -NORMAL, data[::-1]) if downwards else (
        CORNER, NORMAL, data)
    side, (w, h, n) = int(np.ceil(np.sqrt(SHAPE[2]))), SHAPE
    for t in range(data.shape[3]):
        ds = header(MR, InstanceNumber=t + 1, AcquisitionTime=f"1015{10 + TR * t:09.6f}",
                    Manufacturer="SIEMENS")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        shift = DOWN * SPACING[0] * (side * h - h) / 2 + ACROSS * SPACING[1] * (side * w - w) / 2
        plane(ds, start - shift)
        picture = np.zeros((side * h, side * w), np.uint16)
        for k in range(n):
            picture[k // side * h:(k // side + 1) * h, k % side * w:(k % side + 1) * w] = data[k, :, :, t]
        pixels(ds, picture)
        block = ds.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa(AcquisitionMatrixText=("SH", ["64p*64"]),
                                      NumberOfImagesInMosaic=("US", [n]), SliceNormalVector=("FD", normal.tolist())))
        ds.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x29, "FD", [0.0, 1000.0, 500.0, 1500.0])
        save(ds, folder / f"{t * 13 % 23:03d}.IMA")


def check(run, data):
    """The run holds these values at the places that the formulas say."""
    turned = nib.as_closest_canonical(nib.Nifti1Image(data.transpose(2, 1, 0, 3), expected()))
    assert np.array_equal(np.asarray(run.image.dataobj), np.asarray(turned.dataobj))
    np.testing.assert_allclose(run.image.affine, turned.affine, atol=1e-5)
    assert run.tr_s == TR


def test_every_kind_of_dicom_gives_the_same_run(tmp_path):
    data = values()
    for kind in (classic, mosaic):
        (tmp_path / kind.__name__).mkdir()
        kind(tmp_path / kind.__name__, data)
        check(bold.read(tmp_path / kind.__name__, fewest=3), data)
    enhanced(tmp_path / "enhanced.dcm", data)
    check(bold.read(tmp_path / "enhanced.dcm", fewest=3), data)
    assert bold.read(tmp_path / "mosaic", fewest=3).slice_times_s == (0.0, 1.0, 0.5, 1.5)


def test_slice_times_go_along_with_their_slices(tmp_path):
    data = values()
    mosaic(tmp_path, data, downwards=True)
    run = bold.read(tmp_path, fewest=3)
    check(run, data)
    assert run.slice_times_s == (1.5, 0.5, 1.0, 0.0)


def test_mosaic_and_multiframe_as_nibabel_reads_them(tmp_path):
    from nibabel.nicom.dicomwrappers import wrapper_from_file

    data = values()
    (tmp_path / "m").mkdir()
    mosaic(tmp_path / "m", data)
    enhanced(tmp_path / "e.dcm", data, mixed=False)  # mixed, nibabel takes the distance of two equal positions
    first = wrapper_from_file(tmp_path / "m" / "000.IMA")
    lps = np.diag([-1, -1, 1, 1.0])
    theirs = nib.as_closest_canonical(nib.Nifti1Image(first.get_data(), lps @ first.affine))
    ours = bold.read(tmp_path / "m", fewest=3).image
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert np.array_equal(np.asarray(ours.dataobj)[..., 0], np.asarray(theirs.dataobj))
    whole = wrapper_from_file(tmp_path / "e.dcm")
    theirs = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(whole.get_data()), lps @ whole.affine))
    ours = bold.read(tmp_path / "e.dcm", fewest=3).image
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))


def edited(folder, change):
    """Apply a function to every header of a folder."""
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        change(ds)
        save(ds, file)


def untimed(ds):
    del ds.TemporalPositionIdentifier


@pytest.mark.parametrize("change", [None, untimed])
@pytest.mark.parametrize("skip, words", [
    ([(4, 2), (4, 3)], None), ([(1, 0)], "volume 2 of 5 lacks slice 1 of 4"), ([(1, 2)], "volume 2 of 5 lacks slice 3"),
    ([(2, 3)], "volume 3 of 5 lacks slice 4"), ([(1, 2), (2, 2)], "volume 2 of 5 lacks slice 3"),
    ([(1, 0), (4, 1), (4, 2), (4, 3)], "volume 2 of [45] lacks slice 1"),
    ([(0, 0)], "volume 1 of 5 lacks slice 1|do not begin with a whole volume"),
    ([(0, 2)], "volume 1 of 5 lacks slice 3|do not begin with a whole volume")])
def test_a_lost_slice_is_refused_and_a_short_last_volume_left_out(tmp_path, change, skip, words):
    data = values()
    classic(tmp_path, data, skip)
    if change:
        edited(tmp_path, change)
    if words:
        with pytest.raises(BadImage, match=words):
            bold.read(tmp_path, fewest=3)
    else:
        run = bold.read(tmp_path, fewest=3)
        check(run, data[..., :4])
        assert "the last volume is incomplete and left out: 4 are whole" in run.notes


def test_temporal_positions_that_are_lost_or_doubled(tmp_path):
    for name, change in (("gap", lambda ds: ds.TemporalPositionIdentifier > 2),
                         ("twice", lambda ds: ds.TemporalPositionIdentifier == 3)):
        (tmp_path / name).mkdir()
        classic(tmp_path / name, values())
        edited(tmp_path / name, lambda ds, c=change, step=1 if name == "gap" else -1: setattr(
            ds, "TemporalPositionIdentifier", ds.TemporalPositionIdentifier + step * bool(c(ds))))
    with pytest.raises(BadImage, match="no volume between the temporal positions 2 and 4"):
        bold.read(tmp_path / "gap", fewest=3)
    with pytest.raises(BadImage, match="slice 1 of 4 occurs twice at temporal position 2"):
        bold.read(tmp_path / "twice", fewest=3)


def test_the_order_of_the_file_where_no_temporal_position_is_stated(tmp_path):
    data, n = values(), SHAPE[2]

    def by_slice(ds):  # all volumes of one slice, then those of the next
        t, k = divmod(ds.InstanceNumber - 1, n)
        ds.InstanceNumber, ds.TemporalPositionIdentifier = 1 + k * data.shape[3] + t, 1

    def interleaved(ds):
        t, k = divmod(ds.InstanceNumber - 1, n)
        ds.InstanceNumber = 1 + n * t + [1, 3, 0, 2][k]

    def backwards(ds):  # the files state another order than the numbers by which dcm2niix sorts
        ds.TemporalPositionIdentifier = 6 - ds.TemporalPositionIdentifier

    def unknown(ds):
        t, k = divmod(ds.InstanceNumber - 1, n)
        ds.InstanceNumber, ds.AcquisitionTime = 1, f"1015{2 * t:02d}.{k % 2}"
        untimed(ds)

    for change in (by_slice, interleaved, backwards, unknown):
        (tmp_path / change.__name__).mkdir()
        classic(tmp_path / change.__name__, data)
        edited(tmp_path / change.__name__, change)
    check(bold.read(tmp_path / "by_slice", fewest=3), data)
    check(bold.read(tmp_path / "interleaved", fewest=3), data)
    with pytest.raises(BadImage, match="contradict each other"):
        bold.read(tmp_path / "backwards", fewest=3)
    with pytest.raises(BadImage, match="the order of the volumes is not known"):
        bold.read(tmp_path / "unknown", fewest=3)


def test_multiframe_by_its_dimension_indices_or_not_at_all(tmp_path):
    data, path = values(), tmp_path / "e.dcm"

    def change(item):
        enhanced(path, data)
        ds = pydicom.dcmread(path)
        for one in ds.PerFrameFunctionalGroupsSequence:
            item(one.FrameContentSequence[0])
        save(ds, path)

    def other_way_round(content):  # not as the list of dimensions says
        content.DimensionIndexValues = [1, content.TemporalPositionIndex, content.InStackPositionNumber]

    def one_time(content):
        content.DimensionIndexValues = [1, content.InStackPositionNumber, 1]

    def without(content):
        del content.DimensionIndexValues

    def contradiction(content):
        content.TemporalPositionIndex = 6 - content.TemporalPositionIndex

    enhanced(path, data, time_first=True)
    check(bold.read(path, fewest=3), data)
    for item, words in ((one_time, "one dimension index"), (without, "one dimension index"),
                        (other_way_round, "other values than the file"),
                        (contradiction, "contradict each other")):
        change(item)
        with pytest.raises(BadImage, match=words):  # dcm2niix makes wrong volumes of the first two without a word
            bold.read(path, fewest=3)
    enhanced(path, data)
    ds = pydicom.dcmread(path)
    ds.PixelData, ds.NumberOfFrames = np.delete(ds.pixel_array, 7, 0).tobytes(), 19
    del ds.PerFrameFunctionalGroupsSequence[7]
    save(ds, path)
    with pytest.raises(BadImage, match="volume 3 of 5 lacks slice 2"):
        bold.read(path, fewest=3)


@pytest.mark.parametrize("slope", [lambda number: 2.5, lambda number: 1.0 + number % 3])
def test_rescale_slopes_that_are_the_same_or_not(tmp_path, slope):
    data = values()
    classic(tmp_path, data)

    def rescaled(ds):
        ds.RescaleSlope, ds.RescaleIntercept = slope(ds.InstanceNumber), 5

    edited(tmp_path, rescaled)
    numbers = 1 + np.arange(5) * SHAPE[2] + np.arange(SHAPE[2])[:, None, None, None]
    check(bold.read(tmp_path, fewest=3), (data * np.vectorize(slope)(numbers) + 5).astype(np.float32))


def unsaid(ds):
    del ds.Manufacturer


def inverted(ds):
    ds.PhotometricInterpretation = "MONOCHROME1"


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


@pytest.mark.parametrize("write, change, spoil, words", [
    (mosaic, unsaid, None, "dcm2niix: .*please check whether slices are flipped"),
    (classic, inverted, None, "inverted picture"), (classic, None, cut, "dcm2niix: .*not large enough")])
def test_what_dcm2niix_warns_of_is_refused(tmp_path, write, change, spoil, words):
    write(tmp_path, values())
    if change:
        edited(tmp_path, change)
    if spoil:
        spoil(next(tmp_path.iterdir()))
    with pytest.raises(BadImage, match=words) as refused:
        bold.read(tmp_path, fewest=3)
    assert "medlab-" not in str(refused.value), "no path of the temporary folder"


def test_a_conversion_without_end_is_stopped(tmp_path, monkeypatch):
    classic(tmp_path, values())
    monkeypatch.setattr(conversion, "MAX_SECONDS", 0)
    with pytest.raises(BadImage, match="does not end within 0 s"):
        bold.read(tmp_path, fewest=3)


def test_offsets_from_utc_on_both_sides_of_it():
    for text in ("20200102101510.5", "20200102101510.5+0100", "20200102101510.5-0500"):
        ds = Dataset()
        ds.FrameAcquisitionDateTime = text
        assert conversion.clock_of(ds, "FrameAcquisitionDateTime") == 36910.5


def test_a_lost_volume_of_a_mosaic_is_told_by_the_clock(tmp_path):
    mosaic(tmp_path, values(8))
    (tmp_path / f"{3 * 13 % 23:03d}.IMA").unlink()
    assert "4.00 s between volumes 3 and 4, usually 2.00 s" in " ".join(bold.read(tmp_path, fewest=3).notes)


@pytest.mark.parametrize("change, words", [
    ({"SeriesInstanceUID": "1.2.9"}, "2 series"), ({"EchoNumbers": 2}, "2 echoes"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, None)])
def test_what_does_not_belong_to_one_run(tmp_path, change, words):
    data = values()
    classic(tmp_path, data, EchoNumbers=1)
    ds = pydicom.dcmread(tmp_path / "MR.000")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name, value in change.items():
        setattr(ds, name, value)
    save(ds, tmp_path / "MR.other")
    if words:
        with pytest.raises(BadImage, match=words):
            bold.read(tmp_path, fewest=3)
    else:
        run = bold.read(tmp_path, fewest=3)
        check(run, data)
        assert "1 phase images left out" in run.notes


def nifti(path, data, tr=TR, units=("mm", "sec"), affine=None, code=1):
    image = nib.Nifti1Image(data, expected() if affine is None else affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    image.header.set_xyzt_units(*units)
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    nib.save(image, path)
    return path


def test_nifti_is_turned_and_its_units_are_understood(tmp_path):
    data = values(25)
    path = nifti(tmp_path / "a.nii.gz", data.transpose(2, 1, 0, 3), 2000.0, ("mm", "msec"))
    check(bold.read(path), data)
    (tmp_path / "a.json").write_text('{"RepetitionTime": 2.0, "SliceTiming": [0, 0.5, 1.0, 1.5]}')
    assert bold.read(path).slice_times_s == (0.0, 0.5, 1.0, 1.5)
    assert bold.read(path).seconds == 50.0


def test_repetition_times_that_cannot_be_trusted(tmp_path):
    data = values(25).transpose(2, 1, 0, 3)
    with pytest.raises(ValueError, match=r"2000 s \(milliseconds\? then it would be 2 s\)"):
        bold.read(nifti(tmp_path / "a.nii", data, 2000.0))
    with pytest.raises(ValueError, match="no repetition time in its header"):
        bold.read(nifti(tmp_path / "b.nii", data, 0.0))
    path = nifti(tmp_path / "c.nii", data, 2.5)
    (tmp_path / "c.json").write_text('{"RepetitionTime": 2.0}')
    with pytest.raises(ValueError, match="contradict each other.*header 2.5 s.*sidecar 2 s"):
        bold.read(path)
    assert bold.read(path, tr_s=2.2).tr_s == 2.2
    (tmp_path / "c.json").write_text('{"RepetitionTime": "two"}')
    with pytest.raises(ValueError, match="c.json: expected BIDS JSON"):
        bold.read(path)
    folder = tmp_path / "mosaic"
    folder.mkdir()
    mosaic(folder, values())
    for file in folder.iterdir():  # the header says 1 s, the clock 2 s
        ds = pydicom.dcmread(file)
        ds.RepetitionTime = 1000.0
        save(ds, file)
    with pytest.raises(ValueError, match="contradict"):
        bold.read(folder, fewest=3)


def test_nifti_that_is_no_run(tmp_path):
    data = values(25).transpose(2, 1, 0, 3)
    with pytest.raises(ValueError, match="19 volumes, expected at least 20"):
        bold.read(nifti(tmp_path / "a.nii", data[..., :19]))
    with pytest.raises(BadImage, match="expected four axes"):
        bold.read(_plain(tmp_path / "b.nii", data[..., 0]))
    with pytest.raises(BadImage, match="left and right cannot be told"):
        bold.read(nifti(tmp_path / "c.nii", data, code=0))
    (tmp_path / "d.nii.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(BadImage, match="not readable as NIfTI"):
        bold.read(tmp_path / "d.nii.gz")
    some = data.astype(np.float32)
    some[2, 3, 1, 4], some[0, 0, 0] = np.nan, np.inf
    run = bold.read(nifti(tmp_path / "e.nii", some))
    assert np.isfinite(np.asarray(run.image.dataobj)).all()
    assert "2 voxels with values that are not finite" in run.notes[0]


def _plain(path, data):
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def events(tmp_path, text):
    path = tmp_path / "events.tsv"
    path.write_text(text)
    return path


GOOD = "onset\tduration\ttrial_type\n20\t5\thouse\n10\t5\tface\n"


def test_events_are_ordered_and_named(tmp_path):
    table = paradigm.read_events(events(tmp_path, GOOD + "30\t5\tleft hand\n40\t5\t2back\n50\t5\tn/a\n"))
    assert table["onset"].tolist() == [10, 20, 30, 40]
    assert table["trial_type"].tolist() == ["face", "house", "left_hand", "c_2back"]
    assert any("left hand is left_hand" in n for n in table.attrs["notes"])
    assert any("1 events without a trial_type" in n for n in table.attrs["notes"])
    alone = paradigm.read_events(events(tmp_path, "onset\tduration\n1\t2\n"))
    assert alone["trial_type"].tolist() == ["task"]


@pytest.mark.parametrize("text, words", [
    ("onset,duration,trial_type\n1,2,a\n", "separated by commas"),
    ("onset\ttrial_type\n1\ta\n", "no column 'duration'"),
    (GOOD + "n/a\t5\tface\n", "line 4: onset is nan"), (GOOD + "40\t-1\tface\n", "line 4: duration is '-1'"),
    ("onset\tduration\ttrial_type\n", "no events"),
    (GOOD + "60\t1\tfa+ce\n70\t1\tfa-ce\n", "only in signs")])
def test_events_that_cannot_be_read(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        paradigm.read_events(events(tmp_path, text))


def test_events_that_do_not_fit_the_run(tmp_path):
    table = paradigm.read_events(events(tmp_path, GOOD))
    assert sorted(paradigm.check_events(table, 40)[1]) == [f"{name}: one event only, its estimate rests on it"
                                                           for name in ("face", "house")]
    with pytest.raises(ValueError, match="1 of 2 events begin after the end of the run.*fmri_tr_s"):
        paradigm.check_events(table, 15)
    kept, notes = paradigm.check_events(table, 15, "drop")
    assert kept["trial_type"].tolist() == ["face"] and "left out" in notes[0]
    late = table.assign(onset=table["onset"] * 1000)
    with pytest.raises(ValueError, match="milliseconds"):
        paradigm.check_events(late, 40, "drop")
    assert any("last event ends at 12%" in n for n in paradigm.check_events(table, 200)[1])
    twice = pd.concat([table, table.iloc[[0]].assign(onset=12.0)]).sort_values("onset", ignore_index=True)
    with pytest.raises(ValueError, match="face at 12 s begins before the face before it has ended"):
        paradigm.check_events(twice, 40)
    other = pd.concat([table, table.iloc[[1]].assign(onset=13.0, trial_type="scene")], ignore_index=True)
    other = other.sort_values("onset", ignore_index=True)
    assert any("overlap with one of another condition" in n for n in paradigm.check_events(other, 40)[1])


def test_confounds_with_missing_values_are_named(tmp_path):
    table = pd.DataFrame({"x": np.arange(10.0), "dvars": [np.nan, *range(9)], "still": 1.0})
    table.to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    found = nuisance.read_confounds(tmp_path / "c.tsv", 10)
    assert list(found) == ["x", "dvars"] and found["dvars"][0] == 0, "a constant column explains nothing"
    assert found.attrs["notes"] == ["differences without a first value, 0 there: dvars",
                                    "confounds left out because constant: still"]
    table.rename(columns={"dvars": "csf_mean"}).to_csv(tmp_path / "d.tsv", sep="\t", index=False, na_rep="n/a")
    with pytest.raises(ValueError, match=r"1 confounds with missing values \(csf_mean\) in 1 rows, first row 0"):
        nuisance.read_confounds(tmp_path / "d.tsv", 10)
    assert list(nuisance.confounds(tmp_path, "d.tsv: x", 10)) == ["x"] and len(nuisance.confounds(tmp_path, "", 9)) == 9
    assert list(nuisance.read_confounds(tmp_path / "c.tsv", 10, ["x"])) == ["x"]
    with pytest.raises(ValueError, match=r"every confound is constant in the 10 volumes of the model \(still\)"):
        nuisance.read_confounds(tmp_path / "c.tsv", 10, ["still"])
    with pytest.raises(ValueError, match="10 rows, the run has 12 volumes"):
        nuisance.read_confounds(tmp_path / "c.tsv", 12, ["x"])
    with pytest.raises(ValueError, match="no column 'csf'"):
        nuisance.read_confounds(tmp_path / "c.tsv", 10, ["csf"])
    table.loc[4, "x"] = np.inf
    table.to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match="first row 4.*name the columns to use: fmri_confounds"):
        nuisance.read_confounds(tmp_path / "c.tsv", 10, ["x"])
    with pytest.raises(ValueError, match="below the dataset"):
        paradigm.below(tmp_path, "../c.tsv")


def test_a_design_needs_degrees_of_freedom():
    free = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 5)), columns=list("abcde"))
    assert paradigm.freedom(free) == 35
    with pytest.raises(ValueError, match="40 volumes for 6 regressors .rank 5. leave 35 degrees of freedom"):
        paradigm.freedom(free.assign(f=free["a"] + free["b"]))
    with pytest.raises(ValueError, match="leave 17 degrees of freedom; expected at least 20"):
        paradigm.freedom(free.iloc[:22])


def test_confounds_are_judged_in_the_volumes_that_stay(tmp_path):
    table = pd.DataFrame({"x": np.arange(10.0), "start": [1.0, 1, *[0] * 8], "dvars": [np.nan, *range(9)]})
    table.assign(word="a").to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    found = nuisance.read_confounds(tmp_path / "c.tsv", 10, drop=2)
    assert found["x"].tolist() == list(range(2, 10)) and found.index.tolist() == list(range(8))
    assert list(found) == ["x", "dvars"], "without the first volume nothing is missing"
    assert found.attrs["notes"] == ["confounds left out because constant: start",
                                    "confounds left out because not of numbers: word"]
    assert list(nuisance.read_confounds(tmp_path / "c.tsv", 10, ["x", "start"], drop=1)) == ["x", "start"]


def test_contrasts_by_name():
    names = ["face", "house", "scene"]
    assert paradigm.contrasts("face - house", names) == {"face - house": {"face": 1, "house": -1, "scene": 0}}
    one = paradigm.contrasts("face - 0.5*house - .5 * scene, task", names)
    assert list(one.values())[0] == {"face": 1, "house": -0.5, "scene": -0.5} and list(one)[1] == "task"
    assert one["task"] == pytest.approx(dict.fromkeys(names, 1 / 3))
    assert list(paradigm.contrasts("auto", names[:2])) == ["task", "face - house"]
    auto = paradigm.contrasts("auto", names)
    assert list(auto) == ["task", "face - others", "house - others", "scene - others"]
    assert all(sum(auto[n].values()) == pytest.approx(0) for n in list(auto)[1:])
    assert list(paradigm.contrasts("auto", ["task"])) == ["task"]
    for text, words in (("face - tree", "no condition 'tree'; the events have face, house, scene"), ("", "empty"),
                        ("face house", "not understood from 'house'"), ("face - face", "all weights are 0"),
                        ("__import__('os')", "no condition|not understood")):
        with pytest.raises(ValueError, match=words):
            paradigm.contrasts(text, names)


def test_blocks_and_variance_inflation():
    table = pd.DataFrame({"onset": [0.0, 1.0, 2.0, 10.0, 11.0], "duration": 0.9, "trial_type": list("aabaa")})
    found = paradigm.trial_blocks(table, 2.0)
    assert found["trial_type"].tolist() == ["a", "b", "a"] and found["n"].tolist() == [2, 1, 2]
    assert found["duration"].round(3).tolist() == [1.9, 0.9, 1.9]
    mixed = pd.DataFrame({"onset": [0.0, 1.0, 2.0, 3.0, 9.0], "duration": 0.9, "trial_type": list("ababa")})
    found = paradigm.trial_blocks(mixed, 2.0)
    assert found["trial_type"].tolist() == list("aba") and found["n"].tolist() == [2, 2, 1]
    assert found["onset"].tolist() == [0, 1, 9] and found["duration"].round(3).tolist() == [2.9, 2.9, 0.9]
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=(2, 400))
    design = pd.DataFrame({"a": a, "motion": noise, "constant": 1.0})
    assert paradigm.variance_inflation(design, [1, 0, 0], ["a"]) == pytest.approx(1, abs=0.02)
    r = 0.9  # theory: 1 / (1 - r^2)
    design["motion"] = r * a + np.sqrt(1 - r**2) * noise
    assert paradigm.variance_inflation(design, [1, 0, 0], ["a"]) == pytest.approx(1 / (1 - r**2), rel=0.1)
    large = design.assign(motion=1e9 * design["motion"])  # another unit changes nothing
    assert paradigm.variance_inflation(large, [1, 0, 0], ["a"]) == pytest.approx(
        paradigm.variance_inflation(design, [1, 0, 0], ["a"]))


@pytest.mark.realdata
def test_nifti_and_dicom_of_one_run_agree(datasets_folder):
    folder = datasets_folder / "fmri_oneback_localizer"
    whole = bold.read(next((folder / "func").glob("*_bold.nii.gz")))
    first = bold.read(folder / "dicom_first3volumes", fewest=3)
    assert whole.image.shape == (80, 80, 35, 156) and first.image.shape == (80, 80, 35, 3)
    assert np.array_equal(np.asarray(whole.image.dataobj)[..., :3], np.asarray(first.image.dataobj))
    np.testing.assert_allclose(whole.image.affine, first.image.affine, atol=1e-4)
    assert whole.tr_s == first.tr_s == 2.0
    table = paradigm.read_events(next((folder / "func").glob("*_events.tsv")))
    kept, notes = paradigm.check_events(table, whole.seconds)
    assert len(kept) == 192 and not notes and set(kept["trial_type"]) == {"face", "body", "house", "object", "scene",
                                                                          "scramble"}
    assert paradigm.trial_blocks(kept, 3.0)["n"].tolist() == [16] * 12
