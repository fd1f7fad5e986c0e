"""The synthetic thorax cohort: patients with known truth, written as the raw export of two hospitals.

`sample` draws who the patients are (fast, no pixels), `thorax` renders them (`chest.render`) and
writes DICOM, a clinical table, masks, boxes and the truth. Patient i depends on the seed and on i only.
"""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from medlab import storage
from medlab.imaging import arrays, regions
from medlab.phantoms import chest, common

CORNERS = ["x_min", "y_min", "z_min", "x_max", "y_max", "z_max"]
# what the import has to find: index of the patient -> defect
DUPLICATE, ORIGINAL, MONOCHROME1, PADDING, TRUNCATED, NOT_AN_IMAGE, IMPOSSIBLE_AGE = 7, 2, 3, 5, 1, 4, 6
MISSING = {
    "age_years": 0.03,
    "smoking": 0.04,
    "smoking_pack_years": 0.08,
    "fev1_z": 0.06,
    "haemoglobin_g_dl": 0.05,
}
CARD = """\
title: Synthetic thorax CT cohort
modality: CT
intensity: HU
description: >-
  Simulated chest CT (slabs of 50 mm) of patients without a lung nodule, with a benign one or with a malignant
  one, with a clinical table and survival. Everything is generated from formulas; no patient is behind it.
licence: CC0-1.0
citation: none
classes: [none, benign, malignant]
classes_ordered: false
positive: malignant
region: lungs
window: wide
time_origin: date of the CT
patients: known
synthetic: true
"""


def generator(seed, patient, part) -> np.random.Generator:
    """Random numbers of one part (0 person, 1 pixels, 2 files, 3 table) of one patient."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(patient, part)))


def sample(patients=240, seed=0) -> pd.DataFrame:
    """Draw the patients and all that is true of them.

    Parameters
    ----------
    patients : int
        Number of patients; the first n are the same whatever the number.
    seed : int

    Returns
    -------
    DataFrame
        One row per patient: identity and clinic without errors of the table, nodule (diameter_mm, spiculation
        0..1, texture; nan for none), `malignancy_probability`, `label`, `log_hazard` (higher is worse),
        `time_true_days` (without censoring), `time_days`, `event`.
    """
    if patients < 1 or seed < 0:
        raise ValueError(f"patients={patients}, seed={seed}: expected at least 1 patient and a seed >= 0")
    rows = []
    for i in range(patients):
        source = ORIGINAL if i == DUPLICATE else i
        identity = {"patient_id": f"THX-{i + 1:04d}", "source": source}
        rows.append(identity | person(generator(seed, source, 0)))
    return pd.DataFrame(rows)


def person(rng) -> dict:
    """One patient: body, habits, nodule, its malignancy, survival."""
    p = {"site": str(rng.choice(["A", "B"], p=[0.6, 0.4]))}
    p["sex"] = str(rng.choice(["male", "female"], p=[0.56, 0.44]))
    p["age_years"] = int(np.clip(rng.normal(65, 9), 40, 88))
    p["smoking"] = str(rng.choice(["never", "former", "current"], p=[0.2, 0.45, 0.35]))
    p["smoking_pack_years"] = 0.0 if p["smoking"] == "never" else float(np.round(rng.lognormal(3.3, 0.5), 0))
    lungs = rng.spawn(1)[0].normal(0.3 - 0.023 * p["smoking_pack_years"], 1)  # of old, and not from the nodule
    p["fev1_z"] = float(np.clip(np.round(lungs, 1), -5, 3))  # lung function, z-score for sex, age and height
    p["haemoglobin_g_dl"] = float(np.round(rng.normal(14.2 if p["sex"] == "male" else 13.2, 1.3), 1))
    p["height_cm"] = int(rng.normal(176 if p["sex"] == "male" else 164, 7))
    p["body_scale"] = float(np.clip(rng.normal(0.985 if p["sex"] == "male" else 0.93, 0.04), 0.84, 1.06))
    p["fat_mm"] = float(np.clip(rng.normal(13 if p["sex"] == "male" else 16, 5), 5, 26))
    p["level_mm"] = float(rng.uniform(-68, 52))
    p["upper_lobe"] = p["level_mm"] > -5
    p |= nodule(p, rng)
    p["n_granulomas"] = int(min(rng.poisson(1.3), 4))
    p["n_end_on_vessels"] = int(rng.integers(1, 4))
    p["n_mimics"] = p["n_granulomas"] + p["n_end_on_vessels"]
    return p | survival(p, rng)


def nodule(p, rng) -> dict:
    """Nodule of a patient (two thirds have one) and the label drawn from its malignancy probability."""
    present, chance = rng.random() < 2 / 3, rng.random()
    diameter = float(4 + 28 * rng.beta(0.95, 1.25))
    spiculation = float(rng.beta(0.9, 1.1) * np.clip((diameter - 3) / 5, 0, 1))
    texture = str(rng.choice(list(chest.TEXTURES), p=[0.6, 0.22, 0.18]))
    satellite = float(rng.uniform(4, 7)) if rng.random() < 0.15 else np.nan
    logit = -0.2 + 0.33 * (diameter - 16) + 2.9 * (spiculation - 0.4)
    logit += {"solid": 0.2, "part-solid": 0.9, "ground-glass": -1.8}[texture] + 0.4 * p["upper_lobe"]
    logit += 0.05 * (p["age_years"] - 65) - 0.78 * (p["fev1_z"] + 0.4)
    logit += {"never": -0.6, "former": 0.0, "current": 0.6}[p["smoking"]]
    probability = float(1 / (1 + np.exp(-logit)))
    if not present:
        return {"label": "none", "malignancy_probability": 0.0, "diameter_mm": np.nan, "spiculation": np.nan,
                "texture": None, "satellite_mm": np.nan, "n_nodules": 0}  # fmt: skip
    return {"label": "malignant" if chance < probability else "benign", "malignancy_probability": probability,
            "diameter_mm": diameter, "spiculation": spiculation, "texture": texture,
            "satellite_mm": satellite, "n_nodules": 1 + (satellite == satellite)}  # fmt: skip


def survival(p, rng) -> dict:
    """True extent of the tumour 0..4 (not in the table), Weibull time to death, censoring by end of study and loss."""
    malignant = p["label"] == "malignant"
    extent = int(np.clip(np.rint((p["diameter_mm"] - 8) / 7 + rng.normal(0, 0.5)), 1, 4)) if malignant else 0
    size = p["diameter_mm"] - 20 if malignant else 0.0
    log_hazard = 0.9 * malignant + 0.13 * size + 0.33 * extent
    log_hazard += 0.06 * (p["age_years"] - 65) - 0.52 * (p["fev1_z"] + 0.4)
    time = 2700 * (rng.exponential() / np.exp(log_hazard)) ** (1 / 1.25)
    end = min(rng.uniform(900, 3300), rng.exponential(9000))
    return {"extent": extent, "log_hazard": float(log_hazard),
            "time_true_days": max(1, int(time)), "time_days": max(1, int(min(time, end))),
            "event": time <= end}  # fmt: skip


def thorax(folder, patients=240, seed=0, progress=True, processes=None) -> Path:
    """Write the raw export of a synthetic cohort: what a hospital would hand over, flaws included.

    Below `folder`: ``dicom/<folder>/<file>`` (several series to a folder, names without meaning),
    ``clinical.csv``, ``masks/<patient_id>.npz`` (member ``mask``, uint8 (depth, height, width), depth
    towards the head), ``boxes.csv`` (pixels, half-open: ``mask[z_min:z_max, y_min:y_max, x_min:x_max]``),
    ``truth.csv``, ``card.yaml``. Byte-identical for a seed, whatever the number of processes; about 0.15 s a patient
    on one core.

    Parameters
    ----------
    folder : path
        Must be absent or empty.
    patients, seed : int
    progress : bool
        A progress bar on stderr.
    processes : int, optional
        By default one per core.

    Returns
    -------
    Path
    """
    from tqdm import tqdm

    truth = sample(patients, seed)
    folder = storage.fresh(folder, "masks")
    made = arrays.by_processes(partial(write_patient, folder, seed), enumerate(truth.to_dict("records")),
                               processes=processes)
    bar = tqdm(made, "thorax", patients, unit="patient", mininterval=1, disable=not progress)
    boxes = [row for rows in bar for row in rows]
    pd.DataFrame(boxes, columns=["patient_id", "label", *CORNERS]).to_csv(folder / "boxes.csv", index=False)
    clinical(truth, seed).to_csv(folder / "clinical.csv", index=False)
    truth.drop(columns="source").round(6).to_csv(folder / "truth.csv", index=False)
    (folder / "card.yaml").write_text(CARD, encoding="utf-8")
    return folder


def write_patient(folder, seed, numbered) -> list[dict]:
    """Scan and mask of a patient (number, row of `sample`) below `folder`; rows of ``boxes.csv``, one per nodule."""
    i, patient = numbered
    hu, nodules = chest.render(patient, generator(seed, patient["source"], 1))
    write_series(folder / "dicom", i, patient, hu, seed)
    mask = np.any(nodules, axis=0) if nodules else np.zeros(hu.shape, bool)
    np.savez_compressed(folder / "masks" / f"{patient['patient_id']}.npz", mask=mask.astype(np.uint8))
    return [{"patient_id": patient["patient_id"], "label": label, **box(part)}
            for part, label in zip(nodules, (patient["label"], "benign"), strict=False)]  # fmt: skip


def box(mask) -> dict[str, int]:
    """Half-open pixel box of a mask, as a dict of CORNERS."""
    return _corners(ndimage.find_objects(mask.astype(np.uint8))[0])


def _corners(cuts):
    z, y, x = cuts
    return dict(zip(CORNERS, (x.start, y.start, z.start, x.stop, y.stop, z.stop), strict=True))


def clinical(truth, seed) -> pd.DataFrame:
    """The table as it was typed: missing values, spellings, one impossible age."""
    keep = ["patient_id", "age_years", "sex", "smoking", "smoking_pack_years", "fev1_z", "haemoglobin_g_dl",
            "height_cm", "site", "label", "time_days", "event"]  # fmt: skip
    rows = []
    for i, row in enumerate(truth[keep].to_dict("records")):
        rng = generator(seed, i, 3)
        for name, rate in MISSING.items():
            if rng.random() < rate and i >= 10:
                row[name] = None
        if row["smoking"] and rng.random() < 0.15:
            row["smoking"] = str(rng.choice([row["smoking"].upper(), f" {row['smoking'].title()} "]))
        if rng.random() < 0.1:
            row["sex"] = row["sex"].title()
        if i == IMPOSSIBLE_AGE:
            row["age_years"] = 430
        rows.append(row)
    return pd.DataFrame(rows).astype({"age_years": "Int64", "smoking_pack_years": "Int64"})


def write_series(folder, i, patient, hu, seed) -> None:
    """One CT series as DICOM files without telling names; `i` decides which defects it carries."""
    names = generator(seed, i, 2)
    target = folder / hashlib.sha256(f"{seed}/{i // 6}".encode()).hexdigest()[:8].upper()
    target.mkdir(parents=True, exist_ok=True)
    header = series_header(i, patient, seed)
    scanner = patient["site"]
    slope = 1.0 if scanner == "A" else 0.5
    stored = np.rint((hu + 1024.0) / slope).astype(np.int32)
    pixel = chest.SITES[scanner]["pixel_mm"]
    if i == MONOCHROME1:  # stored inverted as well, so that rescaling still yields Hounsfield units
        stored = stored.max() - stored
        header.PhotometricInterpretation = "MONOCHROME1"
        slope, intercept = -slope, slope * stored.max() - 1024
    else:
        intercept = -1024.0
    if i == PADDING:
        header.PixelRepresentation = 1
        header.add_new(0x00280120, "SS", -2000)
        r = np.hypot(*np.ogrid[-1 : 1 : hu.shape[1] * 1j, -1 : 1 : hu.shape[2] * 1j])
        stored = np.where(r > 1, -2000, stored)
    header.RescaleSlope, header.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    numbers = names.permutation(len(hu))  # nor does the instance number follow the position at site B
    for k, part in enumerate(stored):
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = common.uid(seed, i, "image", k)
        header.InstanceNumber = int(numbers[k] if scanner == "B" else len(hu) - k)
        low = (hu.shape[1] - 1) / 2 * pixel
        header.ImagePositionPatient = [f"{-low:g}", f"{-low:g}", f"{patient['level_mm'] + 5 * (k - 4.5):.2f}"]
        header.SliceLocation = header.ImagePositionPatient[2]
        header.PixelData = part.astype("<i2" if i == PADDING else "<u2").tobytes()
        path = target / (names.bytes(6).hex() + ["", ".dcm", ".IMA"][names.integers(3)])
        header.save_as(path, enforce_file_format=True)
    spoil(target, i, header, names)


def spoil(target, i, header, names) -> None:
    """The two broken files beside the good ones: an interrupted repeat of the scan, and a text."""
    path = target / (names.bytes(6).hex() + ".dcm")
    if i == TRUNCATED:
        header.SeriesInstanceUID, header.SeriesNumber = common.uid("repeat", header.SeriesInstanceUID), 3
        header.SOPInstanceUID = common.uid("repeat", header.SOPInstanceUID)
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.save_as(path, enforce_file_format=True)
        path.write_bytes(path.read_bytes()[:9000])
    if i == NOT_AN_IMAGE:
        path.write_text("export interrupted, see log\n" * 20)


def series_header(i, patient, seed) -> object:
    """Everything of a series that is the same in all its files."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    rng = generator(seed, i, 4)
    site, scanner = chest.SITES[patient["site"]], patient["site"]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    date = pd.Timestamp("2012-01-02") + pd.Timedelta(days=int(rng.integers(0, 1400)))
    ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = common.uid(seed, i, "study"), common.uid(seed, i, "series")
    ds.FrameOfReferenceUID = common.uid(seed, i, "frame")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = date.strftime("%Y%m%d")
    ds.StudyTime, ds.StudyID, ds.SeriesNumber, ds.AccessionNumber = "101500", "1", 2, f"SYN{i:06d}"
    ds.PatientID, ds.PatientName = patient["patient_id"], f"Synthetic^{patient['patient_id']}"
    ds.PatientSex, ds.PatientAge = patient["sex"][0].upper(), f"{patient['age_years']:03d}Y"
    ds.PatientBirthDate = f"{date.year - patient['age_years']}0101"
    ds.Manufacturer, ds.ManufacturerModelName = f"Phantom Systems {scanner}", f"Slab {scanner}10"
    ds.InstitutionName, ds.StationName = f"Synthetic Hospital {scanner}", f"CT{scanner}1"
    ds.ConvolutionKernel, ds.KVP = {"A": "SOFT", "B": "SHARP"}[scanner], 120
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "CT chest", "axial 5 mm", "CHEST"
    ds.PatientPosition, ds.ImageOrientationPatient = "HFS", [1, 0, 0, 0, 1, 0]
    ds.SliceThickness = ds.SpacingBetweenSlices = chest.THICKNESS
    ds.PixelSpacing, ds.PositionReferenceIndicator = [site["pixel_mm"]] * 2, ""
    ds.Rows, ds.Columns = chest.SHAPE[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.WindowCenter, ds.WindowWidth, ds.RescaleType = -600, 1500, "HU"
    return ds


def brightest_pixel(volume) -> float:
    """Trivial baseline for malignancy: the brightest pixel of the lungs (higher = more suspicious).

    Parameters
    ----------
    volume : (d, h, w) array
        HU, or prepared grey values that grow with HU.

    Returns
    -------
    float
    """
    from skimage.filters import threshold_otsu

    lungs, flat = ndimage.binary_erosion(regions.lungs(volume), np.ones((1, 3, 3)), iterations=2), np.zeros((3, 3, 3))
    flat[1] = 1
    dense, _ = ndimage.label(np.asarray(volume) > threshold_otsu(np.asarray(volume)), flat)
    free = lungs & (~np.isin(dense, np.unique(dense[~lungs])) | (dense == 0))  # not joined to heart or wall in a slice
    return float(np.max(volume, where=free, initial=np.min(volume)))
