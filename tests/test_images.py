"""Reading images: against pydicom, Pillow, nibabel, SimpleITK; odd, broken and hostile files; one resampling."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import nibabel as nib
import numpy as np
import PIL.Image
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, RTStructureSetStorage, generate_uid

from medlab.imaging import dicom as imaging_dicom
from medlab.imaging import resampling
from medlab.imaging.dicom import BadImage, Image
from medlab.imaging.formats import read

RNG = np.random.default_rng(0)


def dicom(path, pixels, uid="1.2.3", **tags):
    """Write a minimal DICOM file; pixels (h, w), (n, h, w) or None."""
    kind = tags.pop("kind", CTImageStorage)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, tags.get("SOPInstanceUID") or generate_uid()
    meta.TransferSyntaxUID = tags.pop("syntax", ExplicitVRLittleEndian)
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = kind, meta.MediaStorageSOPInstanceUID, uid
    ds.Modality = "CT" if kind == CTImageStorage else "MR"
    if pixels is not None:
        ds.Rows, ds.Columns = pixels.shape[-2:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 8 * pixels.itemsize
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        if pixels.ndim == 3:
            ds.NumberOfFrames = len(pixels)
    if kind == CTImageStorage and pixels is not None:
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def series(folder, n=6, heights=None, along=(1, 0, 0, 0, 1, 0), start=(-10, -20, 30), spacing=(0.7, 0.8), **tags):
    """Write a CT series with shuffled names; returns the volume in HU in the order of position."""
    folder.mkdir(exist_ok=True)
    heights = 2.5 * np.arange(n) if heights is None else np.asarray(heights, float)
    volume = RNG.integers(0, 3000, (len(heights), 8, 10)).astype(np.int16)
    normal = np.cross(along[:3], along[3:])
    names = RNG.permutation(len(heights))
    for name, number, height, pixels in zip(names, names[::-1], heights, volume, strict=True):
        position = (np.asarray(start) + height * normal).tolist()
        geometry = dict(ImagePositionPatient=position, ImageOrientationPatient=list(along), PixelSpacing=list(spacing))
        dicom(folder / f"{name:03d}", pixels, InstanceNumber=int(number), **geometry | tags)
    return volume.astype(int) - 1024


def reason(path, **options):
    with pytest.raises(BadImage) as caught:
        read(path, **options)
    assert str(caught.value) == f"{caught.value.path}: {caught.value.reason}"
    return caught.value.reason


# DICOM -----------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_every_odd_file_is_an_image_or_a_named_refusal_and_equals_pydicom(datasets_folder, capfd):
    files = [f for f in sorted((datasets_folder / "dicom_odd").rglob("*")) if f.is_file()]
    outcomes, equal = {}, 0
    for file in files:
        try:
            image = read(file)
        except BadImage as error:
            outcomes[file] = error.reason
            continue
        outcomes[file] = None
        ds = pydicom.dcmread(file, force=True)
        grey = ds.PhotometricInterpretation.startswith("MONO")
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        expected = ds.pixel_array
        if grey:
            stored, dose = expected, float(ds.get("DoseGridScaling", 1))
            expected = pydicom.pixels.apply_modality_lut(expected, ds) * dose
            if ds.PhotometricInterpretation == "MONOCHROME1":
                ends = pydicom.pixels.apply_modality_lut(np.array([0, 2**ds.BitsStored - 1]), ds)
                expected = ends.sum() - expected
            if "PixelPaddingValue" in ds:
                value = ds.PixelPaddingValue
                padding = stored == (value - 65536 if value > 32767 and ds.PixelRepresentation else value)
                expected = np.where(padding, -1024, expected)
        elif ds.PhotometricInterpretation == "PALETTE COLOR":
            expected = pydicom.pixels.apply_color_lut(expected, ds)
            expected = expected if expected.max() < 256 else expected >> 8
        np.testing.assert_allclose(image.pixels.squeeze(), np.squeeze(expected), rtol=1e-6, atol=1e-6)
        assert image.spacing_mm is None or len(image.spacing_mm) == image.pixels.ndim - 1
        equal += 1
    refused = [r for r in outcomes.values() if r]
    assert equal == 182 and len(refused) == len(files) - 182
    assert all(len(r) > 8 for r in refused)
    assert capfd.readouterr().err == ""
    by_name = {f.name: r for f, r in outcomes.items()}
    assert by_name["MR_truncated.dcm"] == "truncated: 8130 bytes of pixel data, expected 8192"
    assert by_name["rtstruct.dcm"] == "no pixel data (RT Structure Set Storage)"
    assert by_name["waveform_ecg.dcm"] == "no pixel data (12-lead ECG Waveform Storage)"
    assert by_name["test-SR.dcm"] == "no pixel data (Comprehensive SR Storage)"
    assert by_name["DICOMDIR"] == "no pixel data (Media Storage Directory Storage)"


@pytest.mark.realdata
def test_dicom_and_nifti_of_one_patient_are_the_same(datasets_folder):
    folder = datasets_folder / "ibsi_ct_lung"
    a, b = read(folder / "dicom" / "image"), read(folder / "nifti" / "image" / "phantom.nii.gz")
    assert (a.modality, a.intensity, a.notes, a.pixels.shape) == ("CT", "HU", (), (60, 201, 204, 1))
    np.testing.assert_array_equal(a.pixels, b.pixels)
    np.testing.assert_allclose(a.spacing_mm, (3, 0.977, 0.977), atol=1e-6)
    np.testing.assert_allclose(b.spacing_mm, a.spacing_mm, atol=1e-6)
    np.testing.assert_allclose(b.affine, a.affine, atol=1e-5)
    itk = sitk.ReadImage(str(folder / "nifti" / "image" / "phantom.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), a.pixels[..., 0])
    index = (11, 50, 70)  # (d, h, w)
    point = itk.TransformIndexToPhysicalPoint(index[::-1])
    np.testing.assert_allclose((a.affine @ [*index, 1])[:3], point, atol=1e-3)


@pytest.mark.realdata
def test_functional_run_reads_volume_by_volume_from_dicom_and_nifti(datasets_folder):
    folder = datasets_folder / "fmri_oneback_localizer"
    bold = next((folder / "func").glob("*_bold.nii.gz"))
    assert "156 volumes" in reason(bold)
    assert "3 volumes of 35 slices" in reason(folder / "dicom_first3volumes")
    for frame in (0, 2):  # oblique: the affines hold rotations
        a, b = read(folder / "dicom_first3volumes", frame=frame), read(bold, frame=frame)
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_allclose(a.affine, b.affine, atol=1e-4)
        np.testing.assert_allclose(a.spacing_mm, b.spacing_mm, atol=1e-4)
    assert "give frame 0 to 2" in reason(folder / "dicom_first3volumes", frame=3)


@pytest.mark.parametrize("along", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, -0.36, 0.48, 0.8)])
def test_a_series_is_ordered_by_position_whatever_the_names(tmp_path, along):
    volume = series(tmp_path / "s", along=along)
    image = read(tmp_path / "s")
    np.testing.assert_array_equal(image.pixels[..., 0], volume)
    assert image.pixels.dtype == np.int16 and image.intensity == "HU" and image.notes == ()
    np.testing.assert_allclose(image.spacing_mm, (2.5, 0.7, 0.8))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    itk = reader.Execute()  # GDCM orders along the same normal
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), volume)
    for index in [(0, 0, 0), (5, 7, 9), (2, 3, 4)]:
        point = itk.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose((image.affine @ [*index, 1])[:3], point, atol=1e-5)
    one = read(tmp_path / "s", frame=2)
    np.testing.assert_array_equal(one.pixels[..., 0], volume[2])
    np.testing.assert_allclose(one.affine @ [0, 3, 4, 1], image.affine @ [2, 3, 4, 1])
    assert one.spacing_mm == image.spacing_mm[1:]


def test_gaps_copies_and_mixtures_are_reported(tmp_path):
    series(tmp_path / "gap", heights=[0, 2.5, 5, 10, 12.5, 15])
    assert read(tmp_path / "gap").notes == ("gap of 5.0 mm after slice 2 (others 2.5 mm)",)

    volume = series(tmp_path / "copy")
    (tmp_path / "copy" / "again").write_bytes((tmp_path / "copy" / "000").read_bytes())
    (tmp_path / "copy" / "README").write_text("hello")
    image = read(tmp_path / "copy")
    np.testing.assert_array_equal(image.pixels[..., 0], volume)
    assert image.notes == ("1 files that are not DICOM left out", "1 files that occur twice left out")

    series(tmp_path / "double", heights=[0, 2.5, 2.5, 5])
    assert "1 of 3 positions hold more than one slice" in reason(tmp_path / "double")
    series(tmp_path / "mixed")
    dicom(tmp_path / "mixed" / "other", np.zeros((8, 10), np.int16), uid="9.9")
    assert reason(tmp_path / "mixed") == "2 series in one folder (6, 1 files)"
    series(tmp_path / "size")
    dicom(tmp_path / "size" / "other", np.zeros((9, 10), np.int16))
    assert "differ in Rows" in reason(tmp_path / "size")
    series(tmp_path / "turned", n=3)
    geometry = dict(ImagePositionPatient=[0, 0, 90], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    dicom(tmp_path / "turned" / "other", np.zeros((8, 10), np.int16), PixelSpacing=[0.7, 0.8], **geometry)
    assert "more than one orientation" in reason(tmp_path / "turned")
    series(tmp_path / "lost", n=3)
    dicom(tmp_path / "lost" / "other", np.zeros((8, 10), np.int16))
    assert "1 of 4 slices without position" in reason(tmp_path / "lost")
    (tmp_path / "empty").mkdir()
    assert reason(tmp_path / "empty") == "no DICOM image in this folder"

    series(tmp_path / "broken")
    whole = (tmp_path / "broken" / "003").read_bytes()
    (tmp_path / "broken" / "003").write_bytes(whole[:-20])
    assert "truncated: 140 bytes of pixel data, expected 160" in reason(tmp_path / "broken")


def test_the_sides_of_a_picture_follow_its_affine():
    for sides, across in ((("R", "L"), (1.0, 0.1, 0)), (("L", "R"), (-1.0, 0.2, 0)), (("A", "P"), (0.1, 3.0, 0.2)),
                          (("H", "F"), (0, 0.3, -2.0))):
        affine = np.eye(4)
        affine[:3, 2] = across
        assert Image(np.zeros((2, 2, 2, 1)), affine=affine).sides == sides
    assert Image(np.zeros((2, 2, 1))).sides is None


def test_gantry_tilt_is_noted_and_kept_in_the_affine(tmp_path):
    for i in range(4):
        geometry = dict(ImagePositionPatient=[0, i * 1.0, i * 3.0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        dicom(tmp_path / str(i), np.zeros((4, 4), np.int16), PixelSpacing=[1, 1], **geometry)
    image = read(tmp_path)
    assert image.notes == ("slices sheared by 18.4 degrees (gantry tilt)",)
    np.testing.assert_allclose(image.affine @ [3, 0, 0, 1], [0, 3, 9, 1])
    assert image.spacing_mm == (3, 1, 1)


def test_rescale_monochrome1_and_padding(tmp_path):
    stored = RNG.integers(0, 4096, (6, 7)).astype(np.uint16)
    grey = read(
        dicom(tmp_path / "a", stored, kind=MRImageStorage, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    )
    np.testing.assert_array_equal(grey.pixels[..., 0], 4095 - stored.astype(int))
    assert grey.notes == ("MONOCHROME1 inverted",) and grey.intensity == "arbitrary" and grey.spacing_mm is None

    # the photometric interpretation is about display: Hounsfield units stay what slope and intercept say
    scaled = dict(PhotometricInterpretation="MONOCHROME1", RescaleSlope=-1, RescaleIntercept=3071)
    ct = read(dicom(tmp_path / "b", stored, **scaled))
    np.testing.assert_array_equal(ct.pixels[..., 0], 3071 - stored.astype(int))
    assert ct.intensity == "HU" and ct.notes == ("MONOCHROME1: HU kept as they are",)

    half = read(dicom(tmp_path / "c", stored, RescaleSlope="0.5", RescaleIntercept="-1024"))
    np.testing.assert_allclose(half.pixels[..., 0], stored * 0.5 - 1024)

    signed = stored.astype(np.int16)
    signed[0, :3] = -2000
    padded = read(dicom(tmp_path / "d", signed, PixelPaddingValue=-2000))
    assert (padded.pixels[0, :3] == -1024).all() and padded.pixels[0, 3, 0] == signed[0, 3] - 1024
    assert padded.notes == ("padding value set to -1024",)
    mr = read(dicom(tmp_path / "e", signed, kind=MRImageStorage, PixelPaddingValue=-2000))
    assert (mr.pixels[0, :3] == signed[signed > -2000].min()).all()

    assert "slope 0" in reason(dicom(tmp_path / "f", stored, RescaleSlope=0))
    unscaled = read(dicom(tmp_path / "g", stored, RescaleType="US"))
    assert unscaled.intensity == "arbitrary" and "CT without a rescale to HU" in unscaled.notes[0]


def functional(position, slope):
    item, plane, values = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    plane.ImagePositionPatient = position
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, -1000, "HU"
    item.PlanePositionSequence, item.PixelValueTransformationSequence = Sequence([plane]), Sequence([values])
    return item


def test_enhanced_ct_takes_each_frames_position_and_rescale(tmp_path):
    stored = RNG.integers(0, 2000, (3, 5, 6)).astype(np.uint16)
    shared, measures, orientation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [0.5, 0.6], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    frames = [functional([0, 0, z], slope) for z, slope in ((4, 2), (0, 1), (2, 3))]
    groups = dict(SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=frames)
    image = read(dicom(tmp_path / "x.png", stored, kind="1.2.840.10008.5.1.4.1.1.2.1", Modality="CT", **groups))
    expected = np.stack([stored[1] * 1.0 - 1000, stored[2] * 3.0 - 1000, stored[0] * 2.0 - 1000])
    np.testing.assert_array_equal(image.pixels[..., 0], expected)
    assert image.spacing_mm == (2, 0.5, 0.6) and image.intensity == "HU"
    one = read(tmp_path / "x.png", frame=0)  # frames count in the order of the file
    np.testing.assert_array_equal(one.pixels[..., 0], stored[0] * 2.0 - 1000)
    np.testing.assert_allclose(one.affine[:3, 3], [0, 0, 4])
    assert "expected 0 to 2" in reason(tmp_path / "x.png", frame=3)


def test_what_has_no_picture_is_named(tmp_path):
    assert reason(dicom(tmp_path / "a", None, kind=RTStructureSetStorage)) == "no pixel data (RT Structure Set Storage)"
    mosaic = dicom(tmp_path / "m", np.zeros((8, 8), np.uint16), kind=MRImageStorage, ImageType=["ORIGINAL", "MOSAIC"])
    assert "mosaic" in reason(mosaic)
    header = imaging_dicom.dicom_header(dicom(tmp_path / "h", np.zeros((8, 8), np.uint16), NumberOfFrames=1))
    assert header.Rows == 8 and "PixelData" not in header
    with pytest.raises(BadImage):
        imaging_dicom.dicom_header(__file__)


def test_truncated_or_overlong_pixel_data_is_refused(tmp_path):
    stored = RNG.integers(1, 4096, (16, 16)).astype(np.uint16)
    whole = dicom(tmp_path / "a", stored).read_bytes()
    for cut in (1, 2, 100, 500, len(whole) - 200):
        (tmp_path / "b").write_bytes(whole[:-cut])
        reason(tmp_path / "b")
    assert "wrong length" in reason(dicom(tmp_path / "c", stored, Rows=15))  # also: a damaged header
    assert "wrong length" in reason(dicom(tmp_path / "c", stored, Columns=15))
    assert "truncated" in reason(dicom(tmp_path / "c", stored, Rows=17))


@pytest.mark.parametrize("form", ["JPEG", "JPEG2000"])
def test_compressed_streams_must_be_whole_and_as_large_as_the_header_says(tmp_path, form, capfd):
    picture, stream = PIL.Image.fromarray(RNG.integers(0, 255, (64, 48)).astype(np.uint8)), io.BytesIO()
    picture.save(stream, form, **({"no_jp2": True} if form == "JPEG2000" else {}))
    syntax = {"JPEG": pydicom.uid.JPEGBaseline8Bit, "JPEG2000": pydicom.uid.JPEG2000Lossless}[form]

    def write(data, **tags):
        pixels = pydicom.encaps.encapsulate([data])
        return dicom(tmp_path / "x", np.asarray(picture), syntax=syntax, PixelData=pixels, kind=MRImageStorage, **tags)

    image = read(write(stream.getvalue()))
    np.testing.assert_allclose(image.pixels[..., 0], np.asarray(PIL.Image.open(stream)), atol=1)
    assert "truncated: the compressed stream of frame 0 has no end" in reason(write(stream.getvalue()[:-300]))
    assert "the compressed stream is 64 x 48, the header 64 x 47" in reason(write(stream.getvalue(), Columns=47))
    cut = stream.getvalue()[:-300] + b"\xff\xd9"  # what some software makes of a truncated stream
    assert "damaged" in reason(write(cut)) or "cannot be decoded" in reason(write(cut))
    assert capfd.readouterr().err == ""
    assert "1 compressed frames, the header says 2" in reason(write(stream.getvalue(), NumberOfFrames=2))


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    tiny = np.zeros((4, 4), np.uint16)
    assert "more than 1024 MiB" in reason(dicom(tmp_path / "a", tiny, Rows=65000, Columns=65000))
    assert "more than 1024 MiB" in reason(dicom(tmp_path / "a", tiny, NumberOfFrames=2**30))

    dicom(tmp_path / "b", tiny, syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read(tmp_path / "b").pixels, -1024)
    pixels = np.zeros((7000, 7000), np.uint16)
    packed = dicom(tmp_path / "c", pixels, syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    assert packed.stat().st_size < 10**6 and "inflate to more than" in reason(packed)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (tmp_path / "d.png").write_bytes(png)
    assert "pixels" in reason(tmp_path / "d.png")

    header = np.lib.format.header_data_from_array_1_0(np.zeros(1)) | {"shape": (10**6, 10**6)}
    with zipfile.ZipFile(tmp_path / "e.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(bytes(10**6))
    assert "more than 1024 MiB" in reason(f"{tmp_path / 'e.npz'}::x")
    nifti = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    nifti.header["dim"][1:4] = 30000
    (tmp_path / "f.nii.gz").write_bytes(gzip.compress(bytes(nifti.header.binaryblock) + bytes(10**6)))
    assert "more than 1024 MiB" in reason(tmp_path / "f.nii.gz")


def test_deep_nesting_and_absurd_lengths_are_refused(tmp_path):
    path = dicom(tmp_path / "a", None)
    head = path.read_bytes()
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(head + nested * 5000)
    assert "nested too deeply" in reason(path)
    path.write_bytes(head + b"\xe0\x7f\x10\x00OW\0\0\xf0\xff\xff\xff" + bytes(32))
    reason(path)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_bytes_are_an_image_or_bad(tmp_path, seed):
    rng = np.random.default_rng(seed)
    sources = [dicom(tmp_path / "a", RNG.integers(0, 99, (12, 12)).astype(np.int16)).read_bytes()]
    stream = io.BytesIO()
    PIL.Image.fromarray(RNG.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(stream, "PNG")
    sources.append(stream.getvalue())
    nifti = nib.Nifti1Image(RNG.integers(0, 99, (4, 5, 6)).astype(np.int16), np.diag([2, 2, 2, 1]))
    sources.append(nifti.to_bytes())
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.ones((5, 6)))
    sources.append(stream.getvalue())
    for i in range(50):
        data = bytearray(sources[i % 4])
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(len(data))] = rng.integers(256)
        data = data[: rng.integers(len(data))] if rng.random() < 0.2 else data
        (tmp_path / "x").write_bytes(data)
        name = f"{tmp_path / 'x'}::x" if i % 4 == 3 else tmp_path / "x"
        try:
            image = read(name)
        except BadImage as error:
            assert error.reason
        else:
            assert image.pixels.ndim in (3, 4) and image.pixels.size
            assert i % 4 != 1 or not (data[50:] != sources[1][50:]), "a damaged PNG passed its checksums"


# other formats ---------------------------------------------------------------------------------------------------


def saved(path, array, mode=None, **options):
    PIL.Image.fromarray(array, mode).save(path, **options)
    return path


def test_pictures_of_every_kind(tmp_path):
    grey = RNG.integers(0, 255, (9, 11)).astype(np.uint8)
    colour = RNG.integers(0, 255, (9, 11, 3)).astype(np.uint8)
    deep = RNG.integers(0, 65535, (9, 11)).astype(np.uint16)
    for suffix in ("png", "tif", "bmp"):
        for array in (grey, colour):
            image = read(saved(tmp_path / f"x.{suffix}", array))
            np.testing.assert_array_equal(image.pixels.squeeze(), array)
            assert image.pixels.ndim == 3 and image.spacing_mm is None and image.intensity == "arbitrary"
    for suffix in ("png", "tif"):
        np.testing.assert_array_equal(read(saved(tmp_path / f"d.{suffix}", deep)).pixels[..., 0], deep)
    assert read(saved(tmp_path / "x.JPG", colour, format="JPEG", quality=95)).pixels.shape == (9, 11, 3)

    alpha = np.dstack([colour, np.full((9, 11), 128, np.uint8)])
    image = read(saved(tmp_path / "a.png", alpha))
    np.testing.assert_array_equal(image.pixels, colour)
    assert image.notes == ("transparency left out",)
    palette = PIL.Image.fromarray(colour).quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png").pixels, np.asarray(palette.convert("RGB")))
    PIL.Image.fromarray(grey > 100).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read(tmp_path / "m.png").pixels[..., 0], (grey > 100) * 255)

    deep_colour = RNG.integers(0, 65535, (9, 11, 3)).astype(np.uint16)
    for suffix in ("png", "tif"):
        sitk.WriteImage(sitk.GetImageFromArray(deep_colour, isVector=True), str(tmp_path / f"c.{suffix}"))
        np.testing.assert_array_equal(read(tmp_path / f"c.{suffix}").pixels, deep_colour)
    pages = [PIL.Image.fromarray(a) for a in (grey, 255 - grey)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read(tmp_path / "s.tif").pixels[..., 0], [grey, 255 - grey])
    np.testing.assert_array_equal(read(tmp_path / "s.tif", frame=1).pixels[..., 0], 255 - grey)
    assert "frame 2 of 2" in reason(tmp_path / "s.tif", frame=2)


def test_damaged_pictures_are_refused(tmp_path):
    noise = RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for suffix in ("png", "jpg", "tif", "bmp"):
        whole = saved(tmp_path / f"x.{suffix}", noise).read_bytes()
        for cut in (len(whole) // 2, len(whole) - 1000):
            (tmp_path / "y").write_bytes(whole[:cut])
            reason(tmp_path / "y")
    data = bytearray(saved(tmp_path / "z.png", noise).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "z.png").write_bytes(data)
    assert "checksum" in reason(tmp_path / "z.png")
    (tmp_path / "e").write_bytes(b"")
    assert reason(tmp_path / "e") == "empty file"
    assert "No such file" in reason(tmp_path / "nothing.png")
    assert "no known image format" in reason(__file__)
    os.mkfifo(tmp_path / "fifo")
    assert reason(tmp_path / "fifo") == "not a regular file"


def test_npz_and_npy(tmp_path):
    many = RNG.integers(0, 255, (7, 28, 28, 3)).astype(np.uint8)
    volume = RNG.integers(-1000, 1000, (6, 7, 8)).astype(">i2")
    np.savez_compressed(tmp_path / "a.npz", many=many, volume=volume, mask=volume > 0, text=np.array(["x"]))
    path = tmp_path / "a.npz"
    for i in (0, 6):
        np.testing.assert_array_equal(read(f"{path}::many", frame=i).pixels, many[i])
    image = read(f"{path}::volume")
    np.testing.assert_array_equal(image.pixels[..., 0], volume)
    assert image.pixels.dtype == np.int16 and image.pixels.dtype.isnative
    assert read(f"{path}::mask").pixels.dtype == np.uint8
    assert "no array 'other'" in reason(f"{path}::other") and "many" in reason(path)
    assert "expected numbers" in reason(f"{path}::text")
    assert "frame 7" in reason(f"{path}::many", frame=7)
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    assert "expected numbers" in reason(f"{tmp_path / 'o.npz'}::x")
    np.save(tmp_path / "v.npy", np.asfortranarray(volume))
    np.testing.assert_array_equal(read(tmp_path / "v.npy").pixels[..., 0], volume)
    np.testing.assert_array_equal(read(tmp_path / "v.npy", frame=3).pixels[..., 0], volume[3])
    data = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "w.npy").write_bytes(data[:-1])
    assert "wrong length" in reason(tmp_path / "w.npy")


@given(axes=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3), seed=st.integers(0, 99))
@settings(max_examples=48, deadline=None)
def test_nifti_of_any_axis_order_reads_as_one_array(tmp_path_factory, axes, flips, seed):
    rng = np.random.default_rng(seed)
    lps = rng.integers(-900, 900, (4, 5, 6)).astype(np.int16)  # (d, h, w): superior, posterior, left
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])  # (w, h, d) to RAS
    affine[:3, 3] = rng.normal(0, 50, 3)
    turn = np.array([[a, -1 if f else 1] for a, f in zip(axes, flips, strict=True)])
    stored = nib.orientations.apply_orientation(lps.transpose(2, 1, 0), turn)
    moved = affine @ nib.orientations.inv_ornt_aff(turn, (6, 5, 4))
    path = tmp_path_factory.mktemp("n") / "x.nii.gz"
    nib.Nifti1Image(stored, moved).to_filename(path)
    image = read(path)
    np.testing.assert_array_equal(image.pixels[..., 0], lps)
    np.testing.assert_allclose(image.spacing_mm, (2.5, 0.8, 0.7), rtol=1e-5)
    itk = sitk.ReadImage(str(path))  # world coordinates of ITK are LPS as well
    index = np.array(np.unravel_index(stored.argmax(), stored.shape)).tolist()
    found = np.linalg.inv(image.affine) @ [*itk.TransformIndexToPhysicalPoint(index), 1]
    assert lps[tuple(np.rint(found[:3]).astype(int))] == stored.max()


def test_nifti_scaling_units_and_unknown_orientation(tmp_path):
    data = RNG.integers(0, 100, (4, 5, 6)).astype(np.int16)
    source = nib.Nifti1Image(data, np.diag([0.002, 0.002, 0.003, 1]))
    source.header.set_slope_inter(2, -7)
    source.header.set_xyzt_units("meter")
    source.to_filename(tmp_path / "a.nii")
    image = read(tmp_path / "a.nii")
    np.testing.assert_allclose(image.spacing_mm, (3, 2, 2), rtol=1e-5)
    np.testing.assert_allclose(np.sort(image.pixels.ravel()), np.sort(nib.load(tmp_path / "a.nii").get_fdata().ravel()))
    source.set_sform(None, 0)
    source.set_qform(None, 0)
    source.to_filename(tmp_path / "b.nii")
    image = read(tmp_path / "b.nii")
    assert image.affine is None and "orientation not stated" in image.notes[0] and image.spacing_mm is not None
    whole = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "c.nii").write_bytes(whole[:-10])
    reason(tmp_path / "c.nii")
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(whole)[:-30])
    reason(tmp_path / "c.nii.gz")


def test_paths_stay_below_root(tmp_path):
    grey = np.zeros((4, 4), np.uint8)
    root, outside = tmp_path / "data", tmp_path / "elsewhere"
    root.mkdir(), outside.mkdir()
    saved(root / "in.png", grey), saved(outside / "out.png", grey)
    (root / "inner.png").symlink_to(root / "in.png")
    (root / "link.png").symlink_to(outside / "out.png")
    (root / "folder").symlink_to(outside)
    for good in ("in.png", "inner.png", "x/../in.png", root / "in.png"):
        assert read(good, root=root).pixels.shape == (4, 4, 1)
    for bad in ("../elsewhere/out.png", outside / "out.png", "link.png", "folder/out.png", "/etc/passwd", "a\0b"):
        assert reason(bad, root=root) in ("leads out of the folder of the dataset", "not a path")
    assert read("link.png", root=root, links=True).pixels.shape == (4, 4, 1)
    assert "leads out" in reason("../elsewhere/out.png", root=root, links=True)


def test_import_is_light_and_nothing_is_printed(tmp_path):
    dicom(tmp_path / "a", np.zeros((4, 4), np.int16), PatientName="é", BitsStored=12, HighBit=15)
    code = f"""
import sys
from medlab.imaging import formats
heavy = {{'tensorflow', 'SimpleITK', 'nibabel', 'skimage', 'scipy', 'pydicom'}} & set(sys.modules)
assert not heavy, heavy
formats.read({str(tmp_path / "a")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


# windows and the one resampling ----------------------------------------------------------------------------------


def test_window_and_stretch():
    hu = np.array([-2000, -1350, -600, 150, 3000], np.int16)
    np.testing.assert_allclose(resampling.window(hu, *resampling.WINDOWS["lung"]), [0, 0, 0.5, 1, 1])
    assert resampling.window(hu, 40, 400).dtype == np.float32
    values = RNG.normal(100, 20, 5000)
    low, high = np.percentile(values, [1, 99])
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(resampling.stretch(values), expected, atol=1e-4)
    assert (resampling.stretch(np.full((4, 4), 7)) == 0).all()
    spot = np.zeros((50, 50))
    spot[3, 3] = 9
    assert resampling.stretch(spot)[3, 3] == 1
    assert np.isfinite(resampling.stretch(np.array([np.nan, 1.0, 2.0]))).all()
    with pytest.raises(ValueError, match="window width 0"):
        resampling.window(hu, 0, 0)


def itk_resample(array, spacing, new, size):
    """SimpleITK's linear resampling onto the grid with the same centre."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in spacing[::-1]])
    grid = sitk.Image([int(s) for s in size[::-1]], sitk.sitkFloat32)
    grid.SetSpacing([float(s) for s in new[::-1]])
    centre = [(n - 1) / 2 * s for n, s in zip(array.shape[::-1], spacing[::-1], strict=True)]
    offset = [(n - 1) / 2 * s for n, s in zip(size[::-1], new[::-1], strict=True)]
    grid.SetOrigin([a - b for a, b in zip(centre, offset, strict=True)])
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0))


def test_resample_equals_simpleitk_and_shrinking_equals_pillow():
    volume = RNG.normal(size=(6, 9, 11)).astype(np.float32)
    finer = resampling.resample(volume, (3, 1, 1.2), (1.3, 0.9, 0.7))
    expected = itk_resample(volume, (3, 1, 1.2), (1.3, 0.9, 0.7), finer.shape)
    inner = tuple(slice(2, -2) for _ in range(3))
    np.testing.assert_allclose(finer[inner], expected[inner], atol=1e-5)
    assert finer.shape == (14, 10, 19)
    flat = RNG.integers(0, 255, (120, 90)).astype(np.float32)
    small = resampling.resample(flat, (1, 1), (3, 3))
    pil = np.asarray(PIL.Image.fromarray(flat).resize((30, 40), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_allclose(small, pil, atol=1e-2)
    labels = RNG.integers(0, 5, (12, 13))
    assert set(np.unique(resampling.resample(labels, (1, 1), (0.6, 2.1), order=0))) <= set(range(5))
    np.testing.assert_array_equal(resampling.resample(labels, (1, 2), (1, 2)), labels)
    with pytest.raises(ValueError, match="expected 2 positive numbers"):
        resampling.resample(labels, (1, 1), (0, 1))


sides = st.integers(1, 40)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from([np.uint8, np.int16, np.float32]))
@settings(max_examples=100, deadline=None)
def test_fit_keeps_constants_aspect_and_centre(shape, target, kind):
    out = resampling.fit(np.full((*shape, 2), 7, kind), target, fill=0)
    assert out.shape == (*target, 2) and out.dtype == kind
    inside = np.isclose(out[..., 0], 7)
    assert (inside | (out[..., 0] == 0)).all() and inside.any()  # no mixture with the filling
    scale = min(t / s for t, s in zip(target, shape, strict=True))
    for axis in (0, 1):
        filled = inside.any(axis=1 - axis)
        assert abs(filled.sum() - shape[axis] * scale) <= 1.01
        edges = np.flatnonzero(filled)
        assert abs(edges[0] - (target[axis] - 1 - edges[-1])) <= 1  # centred


@given(st.tuples(sides, sides, sides), st.tuples(sides, sides, sides), st.floats(0.3, 4), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_prepare_puts_mask_and_image_at_one_place_with_consistent_spacing(shape, target, new, seed):
    rng = np.random.default_rng(seed)
    old = tuple(rng.uniform(0.5, 3, 3))
    mask = np.zeros(shape, bool)
    corner = [rng.integers(0, n) for n in shape]
    mask[tuple(slice(c, c + n // 2 + 1) for c, n in zip(corner, shape, strict=True))] = True
    image = Image((mask * 1000 - 1000).astype(np.int16)[..., None], old, np.eye(4), "CT", "HU")
    for spacing in (None, new):
        pixels, result = resampling.prepare(image, target, window=(-500, 1000), spacing_mm=spacing)
        assert pixels.shape == (*target, 1) and pixels.dtype == np.uint8
        steps = resampling.steps_of(mask.shape, target, old, spacing)
        moved = resampling.sample(mask, target, steps, fill=False)
        clear = np.abs(pixels[..., 0].astype(int) - 127.5) > 1
        np.testing.assert_array_equal(moved[clear], (pixels[..., 0] > 127)[clear])
        if spacing:
            np.testing.assert_allclose(result, (new,) * 3)
        else:
            extent = np.array(shape) * old
            np.testing.assert_allclose(result[1], result[2])  # physical aspect of rows and columns
            assert all(r * t >= e * 0.999 for r, t, e in zip(result, target, extent, strict=True))  # nothing cut


def test_prepare_measures_a_sphere_right_after_any_grid():
    z, y, x = np.ogrid[:30, :80, :60]
    distance = np.sqrt(((z - 14.5) * 3.0) ** 2 + ((y - 39.5) * 0.8) ** 2 + ((x - 29.5) * 0.9) ** 2)
    volume = np.where(distance < 20, 0, -1000).astype(np.int16)
    image = Image(volume[..., None], (3.0, 0.8, 0.9), None, "CT", "HU")
    truth = (volume == 0).sum() * 3.0 * 0.8 * 0.9
    for shape, spacing in (((48, 48, 48), 1.5), ((30, 50, 40), None), ((20, 64, 64), None)):
        pixels, mm = resampling.prepare(image, shape, window=(-500, 1000), spacing_mm=spacing)
        assert abs(pixels.sum() / 255 * np.prod(mm) / truth - 1) < 0.02


def test_prepare_windows_channels_and_errors():
    colour = Image(RNG.integers(0, 255, (20, 20, 3)).astype(np.uint8))
    same, spacing = resampling.prepare(colour, (20, 20))
    np.testing.assert_array_equal(same, colour.pixels)
    assert spacing is None
    grey, _ = resampling.prepare(colour, (20, 20), channels=1)
    pil = np.asarray(PIL.Image.fromarray(colour.pixels).convert("L"))
    np.testing.assert_allclose(grey[..., 0], pil, atol=1)
    ct = Image(np.array([[-1024, 0], [1024, 40]], np.int16)[..., None], (1, 1), None, "CT", "HU")
    np.testing.assert_array_equal(resampling.prepare(ct, (2, 2))[0][..., 0], [[0, 128], [255, 132]])
    assert resampling.prepare(ct, (2, 2), channels=3, window="lung")[0].shape == (2, 2, 3)
    with pytest.raises(ValueError, match="expected as many"):
        resampling.prepare(ct, (2, 2, 2))
    with pytest.raises(ValueError, match="spacing of the image is unknown"):
        resampling.prepare(colour, (20, 20), spacing_mm=1)
    with pytest.raises(ValueError, match="expected one of lung"):
        resampling.prepare(ct, (2, 2), window="lungs")


def test_cutting_and_filling_at_the_same_spacing_copies():
    image = Image(RNG.integers(0, 255, (9, 12, 1)).astype(np.uint8), (0.5, 0.5))
    larger, _ = resampling.prepare(image, (14, 15), spacing_mm=0.5)
    np.testing.assert_array_equal(larger[2:11, 1:13], image.pixels)
    smaller, spacing = resampling.prepare(image, (5, 6), spacing_mm=0.5)
    np.testing.assert_array_equal(smaller, image.pixels[2:7, 3:9])
    assert spacing == (0.5, 0.5)


def test_picture_shows_the_middle_slice():
    volume = np.zeros((5, 6, 7, 1), np.int16)
    volume[2] = 40
    shown = resampling.picture(Image(volume, (1, 1, 1), None, "CT", "HU"))
    assert shown.shape == (6, 7) and shown.dtype == np.uint8 and (shown == 128).all()
    assert (resampling.picture(Image(volume, intensity="HU"), index=0) == 102).all()
    assert resampling.picture(Image(np.zeros((4, 5, 3), np.uint8))).shape == (4, 5, 3)
