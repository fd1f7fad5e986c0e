"""DICOM files and series to images: one picture, the frames of a file, the slices of a folder.

Imported through :mod:`imaging.formats`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from medlab.imaging import volumes
from medlab.imaging.dicom import MAX_BYTES, BadImage, Image, dataset, decode, frames_of, guard
from medlab.imaging.modality_lut import to_units
from medlab.imaging.planes import affine_of, geometry_of, order_planes, plane_of


def _single(ds, path, frames=None):
    """Image of one DICOM file, or of some of its frames; several are a volume where their positions say so."""
    one = frames is not None and len(frames) == 1
    stored = decode(ds, path, frames[0] if one else None)
    frames = range(len(stored)) if frames is None else frames
    stored = stored if one else stored[list(frames)]
    pixels, unit, notes = to_units(stored, [(ds, i) for i in frames], path)
    planes = [plane_of(ds, i) for i in frames]
    notes += [planes[0].note] if planes[0].note else []
    modality, first = ds.get("Modality") or None, planes[0]
    if len(planes) == 1:
        step = None if first.along is None else first.normal * (first.thickness or 1.0)
        return Image(pixels[0], first.spacing, affine_of(first, step), modality, unit, tuple(notes))
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


def read_frames(path, frames) -> Image:
    """Volume of some frames (indices) of a multi-frame DICOM file; one frame is a picture."""
    ds = dataset(path)
    with guard(path, "pixel data cannot be decoded"):
        return _single(ds, path, list(frames))


def read_file(path, frame=None) -> Image:
    """Image of one DICOM file; see :func:`imaging.formats.read`."""
    ds = dataset(path)
    with guard(path, "pixel data cannot be decoded"):
        return _single(ds, path, None if frame is None else [frame])


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
        plain = ["Rows" in d or any(k in d for k in volumes.PIXELS) for d in sets]
        kept = [(f, d) for f, d, p in zip(taken, sets, plain, strict=True) if p]
        notes += [f"{plain.count(False)} files without pixel data left out"] if len(kept) < len(sets) else []
        kept, repeated = _without_copies(kept, path)
        notes += [f"{repeated} files that occur twice left out"] if repeated else []
        scouts = [volumes.is_scout(d) for _, d in kept]
        if any(scouts) and not all(scouts):
            kept = [k for k, scout in zip(kept, scouts, strict=True) if not scout]
            notes.append(f"{sum(scouts)} localizers left out")
        if not kept:
            raise BadImage(path, "no DICOM image in this folder")
        if len(kept) == 1:
            image = _single(kept[0][1], kept[0][0], None if frame is None else [frame])
            return replace(image, notes=(*image.notes, *notes))
        return _volume(kept, path, frame, notes)


def _without_copies(kept, path):
    """Drop files with the same instance UID and the same pixels."""
    seen = {}
    for file, ds in kept:
        other = seen.setdefault(ds.get("SOPInstanceUID") or str(file), (file, ds))
        if other[1] is not ds and volumes.content(other[1]) != volumes.content(ds):
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
    slices = [volumes.slice_of(ds) for ds in sets]
    found, told, copies = volumes.split(slices, lambda i: volumes.content(sets[i]), path)
    notes = notes + ([f"{copies} slices that occur twice left out"] if copies else [])
    if len(found) > 1 and (frame is None or not 0 <= frame < len(found)):
        sizes = " or ".join(str(n) for n in sorted({len(v) for v in found}))
        raise BadImage(path, f"{len(found)} volumes of {sizes} slices, told apart by {' and '.join(told[0])}: give "
                             f"frame 0 to {len(found) - 1}")
    chosen = found[frame if len(found) > 1 else 0]
    if len(chosen) == 1:
        raise BadImage(path, "all slices at one position: give a file instead of the folder")
    planes = [slices[i].plane for i in chosen]
    groups, heights = order_planes(planes, path)
    order = [chosen[g[0]] for g in groups]
    stored = []
    for i in order:
        with guard(kept[i][0], "pixel data cannot be decoded"):
            stored.append(decode(sets[i], kept[i][0])[0])
    pixels, unit, more = to_units(np.stack(stored), [(sets[i], 0) for i in order], path)
    spacing, affine, gaps = geometry_of([slices[i].plane for i in order], heights)
    image = Image(pixels, spacing, affine, sets[0].get("Modality") or None, unit, (*notes, *more, *gaps))
    if len(found) == 1 and frame is not None:
        return slice_of(image, frame, path)
    return image


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
