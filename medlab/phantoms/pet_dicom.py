"""The synthetic PET cohort as DICOM files, with the headers of several scanners and the traps of real ones."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from medlab.pet.headers import PHILIPS, average_count_rate
from medlab.phantoms import common
from medlab.phantoms.common import SHAPE, SPACING

BED_S, BEDS = 150.0, 2  # duration of a bed position and how many cover the slices


def uid(*parts) -> str:
    """Unique identifier that depends on its parts only."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["medlab synthetic pet", *map(str, parts)])


def concentration(person, suv, decay_s) -> np.ndarray:
    """Bq/ml of an image whose pixels are corrected to ``decay_s`` after the injection."""
    return suv * 1e6 * person["dose_mbq"] * 2 ** (-decay_s / person["half_life_s"]) / (1000 * person["weight_kg"])


def write_pet(folder, i, person, suv, scan=0, seed=0) -> Path:
    """One PET series, a file per slice with its own rescale slope; the trap of the person is in its first scan."""
    trap = person["trap"] if not scan else ""
    target = folder / f"{uid(seed, i, scan)[-8:]}"
    target.mkdir(parents=True)
    ds, start = _header(i, person, scan, seed, trap)
    if trap == "gml":
        ds.Units, values = "GML", suv
    else:
        values = concentration(person, suv, 0.0 if trap == "admin" else person["uptake_s"])
    if trap == "philips":
        block, ds.Units = ds.private_block(0x7053, PHILIPS, create=True), "CNTS"
        factor = 1e-3
        block.add_new(0x00, "DS", f"{suv.max() / values.max() * factor:.10g}")
        block.add_new(0x09, "DS", f"{factor:g}")
        values = values / factor
    constant = np.log(2) / person["half_life_s"]
    for k, part in enumerate(values):
        bed = k * BEDS // SHAPE[0]
        begin = start + timedelta(seconds=bed * BED_S)
        middle = bed * BED_S + average_count_rate(BED_S, person["half_life_s"])
        ds.AcquisitionDate, ds.AcquisitionTime = begin.strftime("%Y%m%d"), begin.strftime("%H%M%S.%f")
        ds.FrameReferenceTime, ds.ActualFrameDuration = f"{1000 * middle:.3f}", int(1000 * BED_S)
        ds.DecayFactor = f"{np.exp(constant * middle):.6f}"
        slope = max(float(part.max()), 1e-6) / 32000
        ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.10g}", "0"
        _save(ds, np.rint(part / float(ds.RescaleSlope)), k, target, (seed, i, scan))
    return target


def write_ct(folder, i, person, hu, seed=0) -> Path:
    """The CT of the same study on the same grid."""
    from pydicom.uid import CTImageStorage

    target = folder / f"{uid(seed, i, 'ct')[-8:]}"
    target.mkdir(parents=True)
    ds, start = _header(i, person, 0, seed, "")
    for keyword in ("RadiopharmaceuticalInformationSequence", "Units", "DecayCorrection", "CorrectedImage",
                    "CountsSource", "SeriesType", "NumberOfSlices", "CollimatorType"):
        delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.KVP = "CT", "low dose CT", 2, 120
    ds.SeriesInstanceUID, ds.RescaleType = uid(seed, i, "ct series"), "HU"
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
    for k, part in enumerate(hu):
        _save(ds, np.maximum(part + 1024, 0), k, target, (seed, i, "ct"))
    return target


def _save(ds, stored, k, target, names):
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(*names, k)
    ds.InstanceNumber = ds.ImageIndex = SHAPE[0] - k
    low = [-(n - 1) / 2 * SPACING for n in SHAPE]
    ds.ImagePositionPatient = [f"{low[2]:g}", f"{low[1]:g}", f"{low[0] + k * SPACING:g}"]
    ds.PixelData = stored.astype("<i2").tobytes()
    ds.save_as(target / f"{uid(*names, k, 'file')[-10:]}.dcm", enforce_file_format=True)


def _header(i, person, scan, seed, trap):
    """Everything of a series that is the same in all its files, and the start of the scan."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

    rng = common.generator(seed, i, 3)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    start = datetime(2019, 3, 4, 9) + timedelta(days=int(rng.integers(0, 900)) + 3 * scan, minutes=int(
        rng.integers(0, 480)), seconds=int(rng.integers(0, 60)))
    if trap == "midnight":
        start = start.replace(hour=0, minute=20)
    injected = start - timedelta(seconds=person["uptake_s"])
    ds.SOPClassUID, ds.Modality, ds.ImageType = meta.MediaStorageSOPClassUID, "PT", ["ORIGINAL", "PRIMARY"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(seed, i, scan, "study"), uid(seed, i, scan, "series")
    ds.FrameOfReferenceUID = uid(seed, i, scan, "frame")
    ds.StudyDate, ds.StudyTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S")
    ds.SeriesDate, ds.SeriesTime = ds.StudyDate, start.strftime("%H%M%S.%f")
    ds.PatientID, ds.PatientName = person["patient_id"], f"Synthetic^{person['patient_id']}"
    ds.PatientSex, ds.PatientBirthDate = person["sex"][0].upper(), ""
    ds.PatientSize, ds.PatientWeight = f"{person['height_cm'] / 100:.2f}", f"{person['weight_kg']:g}"
    ds.Manufacturer, ds.ManufacturerModelName = f"Phantom Systems {'AB'[i % 2]}", f"Ring {'AB'[i % 2]}"
    ds.SeriesDescription, ds.SeriesNumber, ds.PatientPosition = "FDG PET AC", 3, "HFS"
    ds.ImageOrientationPatient, ds.PixelSpacing, ds.SliceThickness = [1, 0, 0, 0, 1, 0], [SPACING] * 2, SPACING
    ds.Rows, ds.Columns = SHAPE[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.Units, ds.DecayCorrection, ds.CountsSource = "BQML", "ADMIN" if trap == "admin" else "START", "EMISSION"
    ds.CorrectedImage = ["DECY", "ATTN", "SCAT", "NORM", "DTIM", "RAN"]
    ds.SeriesType, ds.NumberOfSlices, ds.CollimatorType = ["STATIC", "IMAGE"], SHAPE[0], "NONE"
    item = Dataset()
    item.Radiopharmaceutical, item.RadionuclideHalfLife = "Fluorodeoxyglucose", f"{person['half_life_s']:g}"
    item.RadionuclideTotalDose = f"{person['dose_mbq'] * (1 if trap == 'MBq' else 1e6):.10g}"
    item.RadiopharmaceuticalStartTime = injected.strftime("%H%M%S.%f")
    ds.RadiopharmaceuticalInformationSequence = [item]
    _spring(ds, item, injected, start, trap)
    return ds, start


def _spring(ds, item, injected, start, trap):
    """Traps of the times and of the body."""
    if trap == "zone":  # the clock of the scanner is two hours ahead of UTC, in which the injection is written
        ds.TimezoneOffsetFromUTC = "+0200"
        item.RadiopharmaceuticalStartDateTime = (injected - timedelta(hours=2)).strftime("%Y%m%d%H%M%S+0000")
        del item.RadiopharmaceuticalStartTime
    if trap in ("processed", "ge"):  # the series carries the time of a later reconstruction
        ds.SeriesTime, ds.SeriesDate = "235500", start.strftime("%Y%m%d")
    if trap == "ge":
        ds.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", start.strftime("%Y%m%d%H%M%S.00"))
    if trap == "no weight":
        del ds.PatientWeight
    if trap == "no height":
        del ds.PatientSize
