"""Stored DICOM values to physical units: rescale or table, padding, MONOCHROME1, palettes (PS3.3 C.7.6.3, C.11.1)."""

from dataclasses import replace

import numpy as np

from medlab.imaging.dicom import COLOURS, BadImage, Image, group, library, whole


def rescale(ds, frame, path) -> tuple[float, float, str]:
    """Slope, intercept, and the unit that they lead to (C.11.1, RT dose C.8.8.3); BadImage for slope 0 or NaN."""
    source = group(ds, frame, "PixelValueTransformationSequence")
    slope = source.get("RescaleSlope", ds.get("DoseGridScaling"))
    intercept, unit = source.get("RescaleIntercept"), source.get("RescaleType") or "HU"
    stated = slope is not None and intercept is not None
    slope, intercept = (float(1 if slope is None else slope), float(0 if intercept is None else intercept))
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise BadImage(path, f"rescale slope {slope} and intercept {intercept}: expected finite and not 0")
    quantity = "HU" if ds.get("Modality") == "CT" and stated and unit == "HU" else "arbitrary"
    return slope, intercept, "SUV" if ds.get("Modality") == "PT" and ds.get("Units") == "GML" else quantity


def linear(stored, slope, intercept) -> np.ndarray:
    """slope * stored + intercept in the smallest type that holds it exactly."""
    if (slope, intercept) == (1, 0):
        return stored
    if stored.dtype.kind in "iu" and slope == int(slope) and intercept == int(intercept) and stored.itemsize < 4:
        values = stored.astype(np.int64) * int(slope) + int(intercept)
        low, high = values.min(), values.max()
        small = next((t for t in (np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max), None)
        return values.astype(small or np.float64)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _padding(ds, stored):
    """Where the stored value means "nothing was measured here" (C.7.5.1.1.2, floats C.7.6.24 and C.7.6.25)."""
    kind = "" if stored.dtype.kind in "iu" else "Float" if stored.itemsize == 4 else "DoubleFloat"
    limits = [ds.get(f"{kind}PixelPadding{end}") for end in ("Value", "RangeLimit")]
    if limits[0] is None:
        return None
    limits = [v for v in limits if v is not None]
    if not kind:
        bits = 8 * stored.itemsize  # a value of type US in front of signed pixels
        limits = [int(v) - (2**bits if stored.dtype.kind == "i" and int(v) >= 2 ** (bits - 1) else 0) for v in limits]
    return ((stored >= min(limits)) & (stored <= max(limits))) | (np.isnan(stored) if kind else False)


def inverted(stored, bits) -> np.ndarray:
    """Black and white swapped over the range that the bits can hold (floats: over their own); exact."""
    if stored.dtype.kind == "f":
        return np.nanmax(stored) + np.nanmin(stored) - stored
    total = -1 if stored.dtype.kind == "i" else 2**bits - 1
    return (total - stored.astype(np.int64)).astype(stored.dtype if total > 0 else np.int32)


def filled(image) -> Image:
    """What means "nothing was measured here" without saying so, set to the lowest of the other values, and a note.

    These are values that are not finite (+inf: to the highest), floats below -1e30, and the lowest value that a signed
    type can hold where it lies further below the others than they reach.
    """
    pixels, kind = image.pixels, image.pixels.dtype.kind
    least = np.iinfo(pixels.dtype).min if kind == "i" and pixels.itemsize > 1 else None
    if kind == "f":
        empty = ~np.isfinite(pixels) | (pixels < -1e30)
    elif least is not None and pixels.min() == least:
        empty = pixels == least
    else:
        return image
    if not empty.any() or empty.all():
        return image
    low, high = pixels[~empty].min(), pixels[~empty].max()
    if least is not None and int(low) - least <= int(high) - int(low):
        return image
    what = "not finite or padding" if kind == "f" else f"{least}, padding"
    new = np.where(empty, np.where(pixels > 0, high, low), pixels).astype(pixels.dtype)
    return replace(image, pixels=new, notes=(*image.notes, f"{what}: set to the lowest value"))


def to_units(stored, sources, path) -> tuple[np.ndarray, str, list[str]]:
    """Stored values of slices, each from (data set, frame), to (pixels, intensity, notes)."""
    ds, notes, slices, masks, units = sources[0][0], [], [], [], set()
    photometric = ds.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        rgb = library().pixels.apply_color_lut(stored[..., 0], ds)[..., :3]
        eight = rgb if rgb.max() < 256 else rgb >> 8  # tables of 16 bits hold what is meant for 8
        return eight.astype(np.uint8), "arbitrary", ["palette to RGB"]
    if photometric in COLOURS:
        return stored, "arbitrary", ["YBR to RGB"] if photometric.startswith("YBR") else []
    for values, (source, frame) in zip(stored, sources, strict=True):
        masks.append(_padding(source, values))
        table = "ModalityLUTSequence" in source and source.ModalityLUTSequence
        slope, intercept, unit = rescale(source, frame, path)
        units.add("arbitrary" if table else unit)
        # Photometric interpretation is about display only: Hounsfield units and SUV are right as they are.
        if photometric == "MONOCHROME1" and unit == "arbitrary":
            values = inverted(values, whole(source, "BitsStored", 8 * values.itemsize))
        lut = library().pixels.apply_modality_lut
        slices.append(lut(values, source) if table else linear(values, slope, intercept))
    pixels, unit = np.stack(slices), units.pop() if len(units) == 1 else "arbitrary"
    if photometric == "MONOCHROME1":
        notes.append("MONOCHROME1 inverted" if unit == "arbitrary" else f"MONOCHROME1: {unit} kept as they are")
    if ds.get("Modality") == "CT" and unit != "HU":
        notes.append("CT without a rescale to HU: arbitrary values")
    if any(m is not None and m.any() for m in masks):
        mask = np.stack([np.zeros(stored.shape[1:], bool) if m is None else m for m in masks])
        floor = -1024 if unit == "HU" else pixels[~mask].min() if not mask.all() else pixels.min()
        pixels = np.where(mask, np.asarray(floor, pixels.dtype), pixels)
        notes.append(f"padding value set to {floor:g}")
    return pixels, unit, notes
