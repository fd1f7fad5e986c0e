"""Where DICOM slices lie: planes, their order along the normal, volumes, series.

Imported through :mod:`imaging.formats`. Sections such as C.7.6.2 are those of DICOM PS3.3.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medlab.imaging.dicom import MAX_BYTES, BadImage, Image, dataset, decode, frames_of, group, guard, whole
from medlab.imaging.modality_lut import to_units


@dataclass(frozen=True)
class _Plane:
    """Geometry of a slice: pixel spacing (rows, columns), position, unit vectors along a row and a column."""

    spacing: tuple | None
    thickness: float | None
    position: np.ndarray | None
    along: np.ndarray | None  # (2, 3): direction of growing column index, of growing row index
    note: str | None = None

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.along)


def _numbers(source, keyword, n):
    """n finite numbers, or None."""
    value = source.get(keyword)
    try:
        numbers = np.atleast_1d(np.asarray(value, float)) if value is not None else np.empty(0)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.size == n and np.isfinite(numbers).all() else None


def plane_of(ds, frame) -> _Plane:
    measures, note = group(ds, frame, "PixelMeasuresSequence"), None
    spacing = _numbers(measures, "PixelSpacing", 2)
    if spacing is None:
        spacing = _numbers(ds, "ImagerPixelSpacing", 2)
        note = "spacing at the detector, not corrected for magnification" if spacing is not None else None
    regions = ds.get("SequenceOfUltrasoundRegions") or ()
    if spacing is None and len(regions) == 1 and regions[0].get("PhysicalUnitsXDirection") == 3:  # 3: centimetres
        deltas = [_numbers(regions[0], f"PhysicalDelta{axis}", 1) for axis in "YX"]
        spacing = None if None in [d is not None or None for d in deltas] else 10 * np.abs(np.concatenate(deltas))
    if spacing is not None and not (spacing > 0).all():
        spacing, note = None, "pixel spacing of 0 ignored"
    position = _numbers(group(ds, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    along = _numbers(group(ds, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    if along is not None:
        along = along.reshape(2, 3)
        if np.abs(along @ along.T - np.eye(2)).max() > 1e-2:
            along, note = None, "orientation vectors that are not perpendicular ignored"
    offsets = _numbers(ds, "GridFrameOffsetVector", frames_of(ds))  # RT dose
    if offsets is not None and position is not None and along is not None:
        position = position + (offsets[frame] - offsets[0]) * np.cross(*along)
    thickness = _numbers(measures, "SpacingBetweenSlices", 1)
    thickness = _numbers(measures, "SliceThickness", 1) if thickness is None else thickness
    thickness = float(thickness[0]) if thickness is not None and thickness[0] > 0 else None
    return _Plane(None if spacing is None else tuple(spacing.tolist()), thickness, position, along, note)


def _affine(plane, step):
    """Index (d, h, w, 1) to LPS mm (C.7.6.2.1.1), or None."""
    if plane.position is None or plane.along is None or plane.spacing is None:
        return None
    affine = np.eye(4)
    across, down = plane.along
    columns = (step, down * plane.spacing[0], across * plane.spacing[1], plane.position)
    affine[:3] = np.stack(columns, axis=1)
    return affine


def order_planes(planes, path) -> tuple[list[np.ndarray], np.ndarray]:
    """Indices of the slices along the normal as (positions, repeats), positions ascending."""
    if any(p.position is None or p.along is None for p in planes):
        missing = sum(p.position is None or p.along is None for p in planes)
        raise BadImage(path, f"{missing} of {len(planes)} slices without position or orientation: no order to trust")
    first = planes[0]
    if any(np.abs(p.along - first.along).max() > 1e-3 for p in planes):
        raise BadImage(path, "slices of more than one orientation (a localizer?): give one series only")
    if any(p.spacing is None or not np.allclose(p.spacing, first.spacing, rtol=1e-3) for p in planes):
        raise BadImage(path, "slices of different or unknown pixel spacing: give one series only")
    heights = np.array([p.position @ first.normal for p in planes])
    order = np.argsort(heights, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(heights[order]) > 0.01) + 1)
    return groups, np.array([heights[g[0]] for g in groups])


def geometry_of(planes, heights) -> tuple[tuple[float, ...], np.ndarray | None, list[str]]:
    """Spacing, affine and notes of slices in order."""
    steps, first = np.diff(heights), planes[0]
    distance = float(np.median(steps))
    notes = [
        f"gap of {s:.1f} mm after slice {i} (others {distance:.1f} mm)"
        for i, s in enumerate(steps)
        if s > distance * 1.05 + 0.01
    ]
    if not notes and (np.abs(steps - distance) > 0.05 * distance + 0.01).any():
        notes = [f"slices {steps.min():.2f} to {steps.max():.2f} mm apart"]
    if len(notes) > 5:
        notes = notes[:5] + [f"{len(notes) - 5} further gaps"]
    step = (planes[1].position - first.position) if len(planes) == 2 else None
    step = (planes[-1].position - first.position) / (heights[-1] - heights[0]) * distance if step is None else step
    lean = np.degrees(np.arccos(min(1.0, distance / np.linalg.norm(step))))
    if lean > 0.5:
        notes.append(f"slices sheared by {lean:.1f} degrees (gantry tilt)")
    return (distance, *first.spacing), _affine(first, step), notes


def _single(ds, path, frame=None):
    """Image of one DICOM file; several frames are a volume where their positions say so."""
    stored = decode(ds, path, frame)
    frames = range(len(stored)) if frame is None else [frame]
    pixels, unit, notes = to_units(stored, [(ds, i) for i in frames], path)
    planes = [plane_of(ds, i) for i in frames]
    notes += [planes[0].note] if planes[0].note else []
    modality, first = ds.get("Modality") or None, planes[0]
    if len(planes) == 1:
        step = None if first.along is None else first.normal * (first.thickness or 1.0)
        return Image(pixels[0], first.spacing, _affine(first, step), modality, unit, tuple(notes))
    if any(p.position is None or p.along is None or p.spacing is None for p in planes):
        notes.append("frames without positions: a stack of unknown spacing")
        return Image(pixels, None, None, modality, unit, tuple(notes))
    groups, heights = order_planes(planes, path)
    if len(groups) < len(planes):
        text = f"{len(planes)} frames at {len(groups)} positions: several volumes; give frame for one picture"
        raise BadImage(path, text)
    order = [int(g[0]) for g in groups]
    spacing, affine, more = geometry_of([planes[i] for i in order], heights)
    return Image(pixels[order], spacing, affine, modality, unit, (*notes, *more))


def read_file(path, frame=None) -> Image:
    """Image of one DICOM file; see :func:`imaging.formats.read`."""
    ds = dataset(path)
    with guard(path, "pixel data cannot be decoded"):
        return _single(ds, path, frame)


def looks_like_dicom(path) -> bool:
    with guard(path, "cannot be opened"), open(path, "rb") as file:
        head = file.read(132)
    plain = head[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08") and head[3:4] in (b"\x00", b"\x05", b"\x01")
    return head[128:] == b"DICM" or plain or Path(path).suffix.lower() in (".dcm", ".ima")


def read_series(files, frame=None, path=None) -> Image:
    """Volume of the files of one DICOM series, ordered by position along the normal of the slices.

    Parameters
    ----------
    files : iterable of path
        In any order and with any names. What is no DICOM, or has no pixels by its nature (an RT
        structure), is left out with a note; a broken slice refuses the series.
    frame : int, optional
        Which volume where each position occurs several times (a time series), else which slice.
    path : optional
        Name for messages, by default the folder of the first file.

    Returns
    -------
    Image
        (d, h, w, c) with d along the cross product of row and column direction; a single file gives
        its own picture.

    Raises
    ------
    BadImage
        Mixed series, sizes or orientations, unequal copies of a position, unreadable slices.
    """
    files = sorted(map(Path, files))
    path = path or (files[0].parent if files else "series")
    taken = [f for f in files if looks_like_dicom(f)]
    notes = [f"{len(files) - len(taken)} files that are not DICOM left out"] if len(taken) < len(files) else []
    sets = [dataset(f) for f in taken]
    with guard(path, "series cannot be read"):
        plain = ["PixelData" in d or "Rows" in d for d in sets]
        kept = [(f, d) for f, d, p in zip(taken, sets, plain, strict=True) if p]
        notes += [f"{plain.count(False)} files without pixel data left out"] if len(kept) < len(sets) else []
        kept, repeated = _without_copies(kept, path)
        notes += [f"{repeated} files that occur twice left out"] if repeated else []
        if not kept:
            raise BadImage(path, "no DICOM image in this folder")
        if len(kept) == 1:
            image = _single(kept[0][1], kept[0][0], frame)
            return replace(image, notes=(*image.notes, *notes))
        return _volume(kept, path, frame, notes)


def _without_copies(kept, path):
    """Drop files with the same instance UID and the same pixels."""
    seen = {}
    for file, ds in kept:
        other = seen.setdefault(ds.get("SOPInstanceUID") or str(file), (file, ds))
        if other[1] is not ds and other[1].get("PixelData") != ds.get("PixelData"):
            raise BadImage(path, "two files with one instance UID and different pixels")
    return list(seen.values()), len(kept) - len(seen)


def _volume(kept, path, frame, notes):
    sets = [ds for _, ds in kept]
    series = [ds.get("SeriesInstanceUID") for ds in sets]
    counts = sorted((series.count(s) for s in set(series)), reverse=True)
    if len(counts) > 1:
        raise BadImage(path, f"{len(counts)} series in one folder ({', '.join(map(str, counts))} files)")
    if any(frames_of(ds) > 1 for ds in sets):
        raise BadImage(path, f"{len(sets)} files, some of several frames: read them one by one")
    keys = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "Modality")
    differing = [k for k in keys if len({str(ds.get(k)) for ds in sets}) > 1]
    if differing:
        raise BadImage(path, f"slices differ in {', '.join(differing)}: give one series only")
    if len(sets) * sets[0].Rows * sets[0].Columns * 4 > MAX_BYTES:
        raise BadImage(path, f"{len(sets)} slices are more than {MAX_BYTES // 2**20} MiB")
    planes = [plane_of(ds, 0) for ds in sets]
    groups, heights = order_planes(planes, path)
    groups, copies = zip(*(_unlike(g, sets) for g in groups), strict=True)
    notes = notes + ([f"{sum(copies)} slices that occur twice left out"] if sum(copies) else [])
    volumes = len(groups[0])
    if {len(g) for g in groups} != {volumes}:
        double = sum(len(g) > 1 for g in groups)
        raise BadImage(path, f"{double} of {len(groups)} positions hold more than one slice, and these differ")
    if volumes > 1 and (frame is None or not 0 <= frame < volumes):
        raise BadImage(path, f"{volumes} volumes of {len(groups)} slices: give frame 0 to {volumes - 1}")
    order = [int(g[frame if volumes > 1 else 0]) for g in groups]
    if len(order) == 1:
        raise BadImage(path, "all slices at one position: give a file instead of the folder")
    stored = []
    for i in order:
        with guard(kept[i][0], "pixel data cannot be decoded"):
            stored.append(decode(sets[i], kept[i][0])[0])
    pixels, unit, more = to_units(np.stack(stored), [(sets[i], 0) for i in order], path)
    spacing, affine, gaps = geometry_of([planes[i] for i in order], heights)
    image = Image(pixels, spacing, affine, sets[0].get("Modality") or None, unit, (*notes, *more, *gaps))
    if volumes == 1 and frame is not None:
        return slice_of(image, frame, path)
    return image


def _unlike(group, sets):
    """Slices of one position in order of time, without byte-equal copies; and how many copies there were."""

    def time(i):
        return tuple(whole(sets[i], k, 0) for k in ("TemporalPositionIdentifier", "EchoNumbers", "InstanceNumber"))

    unique = {sets[i].get("PixelData"): i for i in sorted(group, key=time, reverse=True)}
    return sorted(unique.values(), key=time), len(group) - len(unique)


def slice_of(image, index, path) -> Image:
    """One slice of a volume as a picture of two dimensions that knows where it lies."""
    if not 0 <= index < len(image.pixels):
        raise BadImage(path, f"frame {index} of {len(image.pixels)}: expected 0 to {len(image.pixels) - 1}")
    affine = image.affine
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += index * affine[:3, 0]
    spacing = image.spacing_mm and image.spacing_mm[1:]
    return replace(image, pixels=image.pixels[index], spacing_mm=spacing, affine=affine)
