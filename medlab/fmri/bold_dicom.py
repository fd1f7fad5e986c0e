"""The time series of a scanner's DICOM files: a file per slice, a mosaic per volume, or multi-frame.

All three become the same list of pictures, each with its plane and its place in time; imported through `bold`.
"""

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from medlab.fmri import bold_order
from medlab.imaging import series
from medlab.imaging.dicom import BadImage, dataset, decode, frames_of, group, guard, whole
from medlab.imaging.modality_lut import to_units

MAX_VALUES = 2**30


@dataclass(frozen=True, eq=False)
class Found:
    """A run: image (x, y, z, t) RAS+; tr_s stated or None; measured_tr_s from the times of the volumes or None.

    slice_times_s: after the first slice, in the order of the third axis of the image; None where not stated.
    """

    image: nib.Nifti1Image
    tr_s: float | None
    measured_tr_s: float | None
    slice_times_s: tuple | None
    notes: tuple


@dataclass(frozen=True, eq=False)
class _Picture:
    """One slice of one volume: values (h, w), plane, place in the order of the file, and what is said of its time.

    clock: seconds within the day; volume: number of the temporal position; stamp: text of date and time, only to sort
    by; tile: which slice of a mosaic. Each is None where not stated.
    """

    values: np.ndarray
    plane: object
    order: tuple
    clock: float | None
    volume: int | None = None
    stamp: str | None = None
    tile: int | None = None


def read(path):
    """Time series of the DICOM files of one series (a folder), or of one file; a `Found`.

    Raises
    ------
    BadImage
        Several series, echoes or orientations, phase without magnitude, unreadable slices, volumes that are not whole
        (the last one may be: it is left out) or whose order is not known.
    """
    path = Path(path)
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    files = [f for f in files if series.looks_like_dicom(f)]
    sets = [dataset(f) for f in files]
    with guard(path, "series cannot be read"):
        kept = [(f, ds) for f, ds in zip(files, sets, strict=True) if "PixelData" in ds]
        if not kept:
            raise BadImage(path, "no DICOM image here")
        kept, notes = _one_series(kept, path)
        pictures = [p for file, ds in kept for p in _pictures(file, ds)]
        if len(pictures) * pictures[0].values.size > MAX_VALUES:
            raise BadImage(path, f"{len(pictures)} slices are more than {MAX_VALUES} values")
        return _assemble(pictures, kept, path, notes)


def _one_series(kept, path):
    """Files of one series, echo and kind of image, and notes; anything else is refused."""
    series_uids = {str(ds.get("SeriesInstanceUID")) for _, ds in kept}
    if len(series_uids) > 1:
        raise BadImage(path, f"{len(series_uids)} series in one folder: give a folder with one")
    echoes = {str(ds.get("EchoNumbers") or ds.get("EchoTime")) for _, ds in kept}
    if len(echoes) > 1:
        raise BadImage(path, f"{len(echoes)} echoes in one series: give one echo, or combine them first")
    phase = [bool({"P", "PHASE", "PHASE MAP"} & {str(t).upper() for t in ds.get("ImageType") or ()}) for _, ds in kept]
    if all(phase):
        raise BadImage(path, "phase images: give the magnitude")
    unique = {str(ds.get("SOPInstanceUID") or f): (f, ds) for (f, ds), p in zip(kept, phase, strict=True) if not p}
    dropped = len(kept) - sum(phase) - len(unique)
    notes = [f"{sum(phase)} phase images left out"] if any(phase) else []
    return list(unique.values()), notes + ([f"{dropped} files that occur twice left out"] if dropped else [])


def _clock(source, *keywords):
    """Seconds of a DICOM time or date and time, within its day; None where not stated."""
    for keyword in keywords:
        text = str(source.get(keyword) or "")
        text = re.split("[+-]", text[8:] if keyword.endswith("DateTime") else text)[0]  # without the offset from UTC
        if len(text) >= 6 and text[:6].isdigit():
            return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
    return None


def _stamp(ds):
    """Date and time of the acquisition as text to sort by; None where not stated."""
    return f"{ds.get('AcquisitionDate') or ''} {ds.AcquisitionTime}" if ds.get("AcquisitionTime") else None


def _pictures(file, ds):
    """All slices of one file."""
    if "MOSAIC" in (ds.get("ImageType") or ()):
        return _tiles(file, ds)
    stored = decode(ds, file)
    pixels = to_units(stored, [(ds, i) for i in range(len(stored))], file)[0]
    if pixels.shape[-1] != 1:
        raise BadImage(file, "a colour picture in a series of functional images")
    several = frames_of(ds) > 1
    found = []
    for i, values in enumerate(pixels[..., 0]):
        content = group(ds, i, "FrameContentSequence") if several else ds
        volume = whole(content, "TemporalPositionIndex", whole(ds, "TemporalPositionIdentifier"))
        order = (whole(ds, "AcquisitionNumber", 0) if several else 0, whole(ds, "InstanceNumber", 0), i)
        clock = _clock(content, "FrameAcquisitionDateTime", "FrameReferenceDateTime") if several else None
        found.append(_Picture(values, series.plane_of(ds, i), order, clock, volume, None if several else _stamp(ds)))
    return found


def _tiles(file, ds):
    """Slices of a Siemens mosaic (one volume in one picture); number and normal stand in its CSA header."""
    with warnings.catch_warnings(action="ignore"):  # "experimental"
        from nibabel.nicom import csareader

    csa = csareader.get_csa_header(ds, "image")
    count, normal = (csareader.get_n_mosaic(csa), csareader.get_slice_normal(csa)) if csa else (None, None)
    step = float(ds.get("SpacingBetweenSlices") or ds.get("SliceThickness") or 0)
    if not count or count < 2 or np.size(normal) != 3 or not step > 0:
        raise BadImage(file, "a mosaic without the number, normal and distance of its slices in the CSA header")
    ds.ImageType = [t for t in ds.ImageType if t != "MOSAIC"]  # decoding refuses mosaics that nobody takes apart
    whole_picture = to_units(decode(ds, file), [(ds, 0)], file)[0][0, ..., 0]
    side = int(np.ceil(np.sqrt(count)))
    if ds.Rows % side or ds.Columns % side:
        raise BadImage(file, f"a mosaic of {ds.Rows} x {ds.Columns} pixels does not hold {side} x {side} slices")
    h, w, plane = ds.Rows // side, ds.Columns // side, series.plane_of(ds, 0)
    if plane.position is None or plane.along is None or plane.spacing is None:
        raise BadImage(file, "a mosaic without position, orientation or pixel spacing")
    # The position is that of a picture as large as the mosaic, about the same middle as the slice
    across, down = plane.along
    shift = down * plane.spacing[0] * (ds.Rows - h) / 2 + across * plane.spacing[1] * (ds.Columns - w) / 2
    order, clock = (whole(ds, "AcquisitionNumber", 0), whole(ds, "InstanceNumber", 0), 0), _clock(ds, "AcquisitionTime")
    places = [plane.position + shift + i * step * np.asarray(normal) for i in range(count)]
    cut = [whole_picture[i // side * h:(i // side + 1) * h, i % side * w:(i % side + 1) * w] for i in range(count)]
    return [_Picture(one, replace(plane, position=place), order, clock, None, _stamp(ds), i)
            for i, (one, place) in enumerate(zip(cut, places, strict=True))]


def _assemble(pictures, kept, path, notes):
    """Sort the pictures by position and time into one image."""
    planes = [p.plane for p in pictures]
    if len({p.values.shape for p in pictures}) > 1:
        raise BadImage(path, "slices of different size")
    groups, heights = series.order_planes(planes, path)
    if len(groups) < 2:
        raise BadImage(path, "all slices lie at one position: a volume needs several")
    volumes, more = bold_order.volumes(pictures, groups, path)
    first = volumes[0]
    _, lps, gaps = series.geometry_of([planes[i] for i in first], heights)
    moved = [f"the position of slices changes during the run by up to {far:.2f} mm; that of the first volume is taken"
             for far in [max(np.linalg.norm(planes[i].position - planes[k].position) for v in volumes
                         for i, k in zip(v, first, strict=True))]
             if far > 0.01]
    if any("gap" in gap for gap in gaps):
        raise BadImage(path, f"slices are missing: {gaps[0]}")
    values = np.stack([np.stack([pictures[i].values for i in v]) for v in volumes], axis=-1)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps[:, [2, 1, 0, 3]]
    stored = nib.Nifti1Image(values.transpose(2, 1, 0, 3), affine)
    times, said = _slice_times(kept[0][1], [pictures[i].tile for i in first], affine)
    measured, jumps = _measured_tr([pictures[v[0]].clock for v in volumes])
    return Found(nib.as_closest_canonical(stored), _stated_tr(kept[0][1]), measured, times,
                 (*notes, *more, *moved, *gaps, *said, *jumps))


def _measured_tr(clocks):
    """Median time from volume to volume in s or None, and notes of longer ones."""
    if None in clocks or len(clocks) < 3 or not np.median(np.diff(clocks)) > 0:
        return None, []
    steps = np.diff(clocks)
    usual = float(np.median(steps))
    return usual, [f"{steps[t]:.2f} s between volumes {t + 1} and {t + 2}, usually {usual:.2f} s: is a volume missing?"
                   for t in np.flatnonzero(steps > 1.5 * usual)[:3]]


def _stated_tr(ds):
    source = group(ds, 0, "MRTimingAndRelatedParametersSequence")
    value = source.get("RepetitionTime") or ds.get("RepetitionTime")
    return float(value) / 1000 if value else None


def _slice_times(ds, tiles, affine):
    """Times of the slices of a mosaic after the first of them, in s, along the third axis once turned; and notes.

    Parameters
    ----------
    tiles : which tile of the mosaic each slice is; affine : of the slices as they are, RAS, slices along the third axis
    """
    try:
        times = np.asarray(ds.get_private_item(0x19, 0x29, "SIEMENS MR HEADER").value, float) / 1000
    except (KeyError, TypeError, ValueError):
        return None, []
    if times.size != len(tiles) or None in tiles or not np.isfinite(times).all():
        return None, []
    axis, sign = nib.io_orientation(affine)[2]
    if axis != 2:
        return None, ["slice times left out: the slices lie across another axis than the third of the turned image"]
    times = (times - times.min()).round(4)[tiles][::int(sign)]
    return tuple(times.tolist()), []
