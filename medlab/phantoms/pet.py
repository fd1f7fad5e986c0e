"""A synthetic PET cohort with known uptake, written as the raw DICOM export of several scanners.

The body is that of the NEMA/IEC image quality phantom (NEMA NU 2, 7.4): hot spheres of 10 to 37 mm, a lung insert,
background; and, for a reference region, a liver. No patient and no scanner is behind it: images are made from formulas
with a Gaussian resolution and correlated noise, not reconstructed from counts. Some headers carry the traps that real
ones do (`TRAPS`). Patient i depends on the seed and on i only.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from medlab import storage
from medlab.phantoms import common
from medlab.phantoms.chest import ellipse3, fill

FINE = 2  # the body is drawn on a grid so many times finer
FWHM_MM = 5.0  # resolution of the images, voxel included
DIAMETERS = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
RING, RING_Y, RING_Z = 57.2, -35.0, 20.0  # mm: radius of the ring of spheres, its middle in the body
LIVER, LIVER_AXES, REFERENCE_MM = (-75.0, -35.0, -30.0), (42.0, 55.0, 22.0), 15.0  # a ball of 3 cm, as PERCIST
LUNG_SUV, NOISE, TEXTURE = 0.3, 0.08, 0.03  # noise (standard deviation at SUV 1) of a voxel; texture of a person
CLASSES = {"lesion": 1, "reference": 2}  # values of the masks
TRAPS = {2: "midnight", 3: "zone", 4: "MBq", 5: "no weight", 6: "admin", 7: "philips", 8: "gml", 9: "processed",
         10: "ge", 11: "no height"}  # index of a patient: what its header does
CARD = """\
title: Synthetic PET cohort (NEMA-like body)
modality: PT
description: >-
  Simulated FDG-PET of a body like the NEMA/IEC phantom, without lesions (normal) or with hot or cold spheres of known
  SUV, from several scanners. Everything is generated from formulas; no patient is behind it.
licence: CC0-1.0
citation: none
classes: [normal, lesion]
classes_ordered: false
positive: lesion
patients: known
synthetic: true
mask_classes: {lesion: 1, reference: 2}
"""


def sample(patients=20, seed=0) -> list[dict]:
    """Who the patients are: list of dict; the first has all six spheres at SUV 8, then two in five are normal.

    Keys: patient_id, label, sex, weight_kg, height_cm, dose_mbq, uptake_s, half_life_s, background, liver (SUVbw),
    shift_mm (z, y, x), turn_deg, retest (bool), trap, spheres: list of dict (diameter_mm, angle_deg, suv).
    """
    if patients < 1 or seed < 0:
        raise ValueError(f"patients={patients}, seed={seed}: expected at least 1 patient and a seed >= 0")
    return [_person(i, common.generator(seed, i, 0)) for i in range(patients)]


def _person(i, rng):
    male = bool(rng.random() < 0.5)
    height = rng.normal(177 if male else 165, 7)
    weight = (height / 100) ** 2 * np.clip(rng.normal(26, 4), 18, 42)
    level = float(np.exp(rng.normal(0, 0.1)))
    p = {"patient_id": f"PET-{i + 1:04d}", "label": "normal" if i % 5 in (1, 2) else "lesion",
         "sex": "male" if male else "female", "weight_kg": round(float(weight), 1), "height_cm": round(float(height)),
         "dose_mbq": round(float(3.0 * weight * rng.normal(1, 0.05)), 1), "half_life_s": 6586.2,
         "uptake_s": round(float(np.clip(rng.normal(62, 4), 55, 75) * 60)), "trap": TRAPS.get(i, ""),
         "background": level if i else 1.0, "liver": (2.0 * level * rng.normal(1, 0.05)) if i else 2.0,
         "shift_mm": rng.uniform(-4, 4, 3), "turn_deg": float(rng.uniform(-2, 2)), "retest": False}
    angles = 60.0 * rng.permutation(6)[: 6 if i == 0 else rng.integers(1, 4)]
    sizes = rng.choice(DIAMETERS, len(angles))
    hot = rng.uniform(3, 12, len(angles)) * (1 if rng.random() < 0.85 or len(angles) > 1 else 0.05)
    p["spheres"] = [] if p["label"] == "normal" else [
        {"diameter_mm": float(d), "angle_deg": float(a), "suv": round(float(s), 2)}
        for d, a, s in zip(sizes, angles, hot, strict=True)]
    if i == 0:
        p["spheres"] = [{"diameter_mm": d, "angle_deg": 60.0 * k, "suv": 8.0} for k, d in enumerate(DIAMETERS)]
    p["retest"] = p["label"] == "lesion" and not p["trap"]
    return p


def places(person) -> np.ndarray:
    """Centres of the spheres of a person in mm, (n, 3) x, y, z of LPS with 0 in the middle of the image."""
    angle = np.radians([s["angle_deg"] for s in person["spheres"]])
    ring = np.stack([RING * np.cos(angle), RING_Y + RING * np.sin(angle), np.full(len(angle), RING_Z)], -1)
    return _turned(ring.reshape(-1, 3), person)


def _turned(points, person):
    a = np.radians(person["turn_deg"])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return points @ turn.T + np.asarray(person["shift_mm"])[::-1] + [0, -RING_Y, 0]


def render(person, rng, noise=1.0, change=0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """SUVbw of one scan, its mask, and the attenuation as a CT would show it.

    Parameters
    ----------
    person : of `sample`
    noise : factor on the noise of the images and the texture of the tissue; 0: none
    change : standard deviation of the logarithm of all uptake between two scans of a person (biology)

    Returns
    -------
    (48, 100, 124) float: SUV; the same shape uint8: mask (`CLASSES`); int16: HU; float: true factor of `change`
    """
    x, y, z = _body_axes(person)
    body, lung = _cover(_outline(x, y)), _cover(np.hypot(x, y - RING_Y) - 25)
    factor = float(np.exp(rng.normal(0, change))) if change else 1.0
    texture = 1 + noise * TEXTURE * _field(common.SHAPE, 4, rng).repeat(FINE, 0).repeat(FINE, 1).repeat(FINE, 2)
    suv = texture * (body * np.float32(person["background"]))
    suv += _cover(ellipse3(x, y, z, LIVER, LIVER_AXES)) * (np.float32(person["liver"]) * texture - suv)
    suv += lung * (np.float32(LUNG_SUV * person["background"]) - suv)
    marks, mask = places(person), np.zeros(common.SHAPE, np.uint8)
    for sphere, place in zip(person["spheres"], marks, strict=True):
        box, ball = _ball(place, sphere["diameter_mm"] / 2)
        suv[tuple(slice(b.start * FINE, b.stop * FINE) for b in box)] += ball * (
            sphere["suv"] - suv[tuple(slice(b.start * FINE, b.stop * FINE) for b in box)])
        mask[box][_coarse(ball) >= 0.5] = CLASSES["lesion"]
    liver = _turned(np.array([LIVER]), person)[0]
    away = np.sqrt(sum((g - c) ** 2 for g, c in zip(_axes(1), liver, strict=True)))
    mask[away <= REFERENCE_MM] = CLASSES["reference"]
    # a box of one voxel and one of the fine grid already blur; the Gaussian adds what is missing to FWHM_MM
    variance = (FWHM_MM / 2.3548) ** 2 - common.SPACING**2 / 12 - (common.SPACING / FINE) ** 2 / 12
    suv = factor * _coarse(ndimage.gaussian_filter(suv, np.sqrt(variance) * FINE / common.SPACING))
    level = noise * NOISE * np.sqrt(np.maximum(suv, 0.05) * person["background"])
    suv = np.maximum(suv + level * _field(common.SHAPE, 0.7, rng), 0)
    flat = _coarse((body * 1040 - lung * 700).repeat(FINE, 0))  # the body is the same in every slice
    hu = flat - 1000 + 15 * _field(common.SHAPE, 0.5, rng)
    return suv, mask, np.rint(hu).astype(np.int16), factor


def _axes(parts):
    """x, y, z (mm) of the voxel centres that broadcast to the volume; the middle of the image is 0."""
    d, h, w = (((np.arange(n * parts) + 0.5) / parts - n / 2) * common.SPACING for n in common.SHAPE)
    return w[None, None].astype(np.float32), h[None, :, None].astype(np.float32), d[:, None, None].astype(np.float32)


def _body_axes(person):
    """The same in the coordinates of the body, which is shifted and turned about the axis of the scanner."""
    x, y, z = _axes(FINE)
    sz, sy, sx = (float(v) for v in person["shift_mm"])
    a = np.radians(person["turn_deg"])
    x, y = x - sx, y - sy + RING_Y
    return x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a), z - sz


def _ball(place, radius):
    """Box of slices, rows, columns (coarse) around a ball, and how much of each fine voxel in it the ball covers."""
    box, away = [], 0
    for line, centre in zip(_axes(1), place, strict=True):
        near = np.flatnonzero(np.abs(line.ravel() - centre) < radius + 2 * common.SPACING)
        box.insert(0, slice(near[0], near[-1] + 1))
    for axis, (line, centre) in enumerate(zip(_axes(FINE), place, strict=True)):
        cut = box[2 - axis]
        index = [slice(None)] * 3
        index[2 - axis] = slice(cut.start * FINE, cut.stop * FINE)
        away = away + (line[tuple(index)] - centre) ** 2
    return tuple(box), _cover(np.sqrt(away) - radius)


def _outline(x, y):
    """Signed distance to the NEMA body (inside 294 x 224 mm): a half circle in front, rounded corners behind."""
    front = np.hypot(x, y) - 147
    behind = np.hypot(np.maximum(np.abs(x) - 70, 0), y) - 77
    return np.where(y < 0, front, np.where(np.abs(x) > 70, behind, y - 77))


def _cover(distance):
    return fill(distance, common.SPACING / FINE)


def _coarse(fine):
    d, h, w = (n // FINE for n in fine.shape)
    return fine.reshape(d, FINE, h, FINE, w, FINE).mean((1, 3, 5))


def _field(shape, size, rng):
    """Smooth noise of mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), size, mode="wrap")
    return (field - field.mean()) / field.std()


def pet(folder, patients=20, seed=0, noise=1.0, progress=True) -> Path:
    """Write the raw export of a synthetic cohort: DICOM, table, masks, truth.

    Below `folder`: ``dicom/`` (PET of every patient, a second scan of some, CT of the first three with lesions),
    ``clinical.csv``, ``masks/<patient_id>.npz`` (member ``mask``: `CLASSES`), ``truth.csv`` (a row per sphere and scan,
    or per scan without one), ``card.yaml``. The same for the same seed.

    Parameters
    ----------
    folder : path, absent or empty
    noise : factor on noise and texture; 0: none

    Returns
    -------
    Path
    """
    from tqdm import tqdm

    from medlab.phantoms import pet_dicom

    people, truth = sample(patients, seed), []
    folder = storage.fresh(folder, "masks")
    with_ct = [p["patient_id"] for p in people if p["spheres"]][:3]
    for i, person in enumerate(tqdm(people, "pet", unit="patient", mininterval=1, disable=not progress)):
        for scan in range(1 + person["retest"]):
            suv, mask, hu, factor = render(person, common.generator(seed, i, 1 + scan), noise, 0.08 * bool(scan))
            pet_dicom.write_pet(folder / "dicom", i, person, suv, scan, seed)
            truth += _truth(person, scan, factor)
            if person["patient_id"] in with_ct and not scan:
                pet_dicom.write_ct(folder / "dicom", i, person, hu, seed)
        np.savez_compressed(folder / "masks" / f"{person['patient_id']}.npz", mask=mask)
    pd.DataFrame(truth).round(5).to_csv(folder / "truth.csv", index=False)
    pd.DataFrame([{k: p[k] for k in ("patient_id", "label")} for p in people]).to_csv(
        folder / "clinical.csv", index=False)
    (folder / "card.yaml").write_text(CARD, encoding="utf-8")
    return folder


def _truth(person, scan, factor):
    """Rows of truth.csv: all SUV as they are in this scan (``factor`` is what changed since the first)."""
    common = {"patient_id": person["patient_id"], "study": scan + 1, "background_suv": person["background"] * factor,
              "liver_suv": person["liver"] * factor, "trap": person["trap"] if not scan else ""}
    spheres = [{"sphere": k, "diameter_mm": s["diameter_mm"], "suv": s["suv"] * factor, **dict(zip(
        ("x_mm", "y_mm", "z_mm"), map(float, place), strict=True)), "volume_ml": np.pi * s["diameter_mm"] ** 3 / 6000}
        for k, (s, place) in enumerate(zip(person["spheres"], places(person), strict=True), 1)]
    return [common | s for s in spheres] or [common]
