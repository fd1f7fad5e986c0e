"""A scanner's DICOM of a BOLD run becomes NIfTI by dcm2niix (Li et al. 2016, J Neurosci Methods 264:47).

dcm2niix guesses where headers do not say the order of volumes, and goes on when slices are lost: so headers are checked
before it; its words, its number of volumes, some of its slices and the times of the volumes after it.
Imported through `bold`.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medlab.imaging import planes, series
from medlab.imaging.dicom import BadImage, dataset, decode, frames_of, group, guard, whole
from medlab.imaging.modality_lut import linear, rescale, to_units

MAX_VALUES = 2**30  # of one run (4 GiB as float32); checked before converting
MAX_SECONDS = 600  # for dcm2niix
COMPARED = 12  # slices that are compared with the files
NEXT = "export the series again, or convert its whole volumes to NIfTI"
FATAL = re.compile("error:|missing images|missing dicom|may be missing|not divisible|not stacked|are flipped$|corrupt:|"
                   "distance varies|orientation varies|partial volume|slices skipped|number of slices|single slice|"
                   "not large enough|decod|decompress|catastrophic|gantry|intensity scaling|being ignored|"
                   "spatial orientation", re.I)
USUAL = re.compile("manufacturer|patient position|protocol name|order is not spatial|volume number does not vary", re.I)


@dataclass(frozen=True, eq=False)
class Converted:
    """image: (x, y, z, t), RAS+; stated: repetition time in s or None by source.

    slice_times_s: after the first slice, in the order of the third axis of the image; None where not stated.
    """

    image: nib.Nifti1Image
    stated: dict
    slice_times_s: tuple | None
    notes: tuple


@dataclass(frozen=True, eq=False)
class _Frame:
    """One picture: number in its file, plane, key that dcm2niix sorts by; temporal position and clock in s or None."""

    file: Path
    number: int
    plane: object
    order: tuple
    volume: int | None
    clock: float | None


def convert(path, folder) -> Converted:
    """Convert the DICOM files of one series.

    Parameters
    ----------
    path : a folder with a file per slice, a mosaic per volume (Siemens), or one multi-frame file
    folder : an empty folder of the caller, where the result lies; nothing else is written

    Raises
    ------
    BadImage
        Several series, echoes or orientations, phase without magnitude, volumes that are not whole (the last may be,
        where slices are files: it is left out) or whose order is not known, and whatever dcm2niix warns of.
    """
    path, folder = Path(path), Path(folder)
    with guard(path, "series cannot be read"):
        kept, notes = _one_series(path)
        frames = [frame for file, ds in kept.items() for frame in _frames(file, ds)]
        first = next(iter(kept.values()))
        mosaic = "MOSAIC" in (first.get("ImageType") or ())
        frames, n, more = _mosaics(frames, path) if mosaic else _whole_volumes(frames, path, len(frames) > len(kept))
        philips = "philips" in str(first.get("Manufacturer")).lower()
        file, said = _dcm2niix(list({f.file: None for f in frames}), folder, path, "n" if philips else "y")
        image = _values(nib.load(file), first, path)
        if image.ndim != 4 or image.shape[3] * n != len(frames) or not (mosaic or image.shape[2] == n):
            raise BadImage(path, f"dcm2niix makes an image of shape {image.shape} of {len(frames)} pictures: {NEXT}")
        if not mosaic:
            _compare(image, frames, n, path)
        about = json.loads(file.with_suffix(".json").read_text("utf-8"))
        times, left = _slice_times(about, image)
        measured, jumps = _measured_tr([f.clock for f in frames[::n]])
    stated = {"DICOM RepetitionTime": about.get("RepetitionTime"), "the times of the volumes": measured}
    return Converted(nib.as_closest_canonical(image), stated, times, (*notes, *more, *said, *left, *jumps))


def _one_series(path):
    """{file: header} of one series, echo and kind of image, and notes; anything else is refused."""
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    kept = [(f, dataset(f, pixels=False)) for f in files if series.looks_like_dicom(f)]
    kept = [(f, ds) for f, ds in kept if "Rows" in ds]
    if not kept:
        raise BadImage(path, "no DICOM image here")
    uids = {str(ds.get("SeriesInstanceUID")) for _, ds in kept}
    if len(uids) > 1:
        raise BadImage(path, f"{len(uids)} series in one folder: give a folder with one")
    echoes = {str(ds.get("EchoNumbers") or ds.get("EchoTime")) for _, ds in kept}
    if len(echoes) > 1:
        raise BadImage(path, f"{len(echoes)} echoes in one series: give one echo, or combine them first")
    if len({"MOSAIC" in (ds.get("ImageType") or ()) for _, ds in kept}) > 1:
        raise BadImage(path, "mosaics beside other pictures in one series")
    phase = [bool({"P", "PHASE", "PHASE MAP"} & {str(t).upper() for t in ds.get("ImageType") or ()}) for _, ds in kept]
    if all(phase):
        raise BadImage(path, "phase images: give the magnitude")
    unique = {str(ds.get("SOPInstanceUID") or f): (f, ds) for (f, ds), p in zip(kept, phase, strict=True) if not p}
    _check(unique.values(), path)
    dropped = len(kept) - sum(phase) - len(unique)
    notes = [f"{sum(phase)} phase images left out"] if any(phase) else []
    return dict(unique.values()), notes + ([f"{dropped} files that occur twice left out"] if dropped else [])


def _check(kept, path):
    """Refuse what dcm2niix would read in another sense, and what is too large."""
    for file, ds in kept:
        if ds.get("PhotometricInterpretation") != "MONOCHROME2" or whole(ds, "SamplesPerPixel", 1) != 1:
            raise BadImage(file, "a colour or inverted picture in a series of functional images")
        if "ModalityLUTSequence" in ds:
            raise BadImage(file, "values by a table (modality LUT) in a series of functional images")
    values = sum(frames_of(ds) * whole(ds, "Rows", 0) * whole(ds, "Columns", 0) for _, ds in kept)
    if values > MAX_VALUES:
        raise BadImage(path, f"{values} values are more than {MAX_VALUES}")
    if len(kept) > 1 and any(frames_of(ds) > 1 for _, ds in kept):
        raise BadImage(path, f"{len(kept)} files, some of several frames: give one multi-frame file, or {NEXT}")


def clock_of(source, *keywords) -> float | None:
    """Seconds of a DICOM time or date and time, within its day; None where not stated."""
    for keyword in keywords:
        text = str(source.get(keyword) or "")
        text = re.split("[+-]", text[8:] if keyword.endswith("DateTime") else text)[0]  # without the offset from UTC
        if len(text) >= 6 and text[:6].isdigit():
            return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
    return None


def _frames(file, ds):
    """All pictures of one file; dcm2niix sorts those of multi-frame by their dimension indices."""
    if frames_of(ds) == 1:
        clock = clock_of(ds, "AcquisitionTime") if "MOSAIC" in (ds.get("ImageType") or ()) else None
        volume = whole(ds, "TemporalPositionIdentifier", whole(ds, "TemporalPositionIndex"))
        return [_Frame(file, 0, planes.plane_of(ds, 0), (whole(ds, "InstanceNumber", 0),), volume, clock)]
    found = []
    for i in range(frames_of(ds)):
        content = group(ds, i, "FrameContentSequence")
        order = tuple(np.atleast_1d(content.get("DimensionIndexValues") or ()).tolist())
        clock = clock_of(content, "FrameAcquisitionDateTime", "FrameReferenceDateTime")
        volume = whole(content, "TemporalPositionIndex")
        found.append(_Frame(file, i, planes.plane_of(ds, i), order, volume, clock))
    return found


def _mosaics(frames, path):
    """Mosaics in the order of their instance numbers, 1 (a picture is a volume), notes."""
    if len({f.order for f in frames}) < len(frames):
        raise BadImage(path, f"the order of the volumes is not known: instance numbers occur twice; {NEXT}")
    if any(f.plane.position is None or f.plane.along is None or f.plane.spacing is None for f in frames):
        raise BadImage(path, "a mosaic without position, orientation or pixel spacing")
    frames = sorted(frames, key=lambda f: f.order)
    far = max(np.linalg.norm(f.plane.position - frames[0].plane.position) for f in frames)
    moved = f"the position of slices changes during the run by up to {far:.2f} mm; that of the first volume is taken"
    return frames, 1, [moved] if far > 0.01 else []


def _whole_volumes(frames, path, several):
    """Frames of whole volumes by time and place, slices of a volume, notes.

    A temporal position that the files state counts; what dcm2niix sorts by must say the same.
    """
    place, n = _places(frames, path)
    stated = [f.volume for f in frames]
    told = None not in stated and len(set(stated)) > 1
    kept = _stated(np.array(stated), place, n, path) if told else range(len(frames))
    order = np.array(sorted(kept, key=lambda i: frames[i].order))
    if len({frames[i].order for i in order}) < len(order):
        raise BadImage(path, "the order of the volumes is not known: several pictures have one "
                             f"{'dimension index' if several else 'instance number'}; {NEXT}")
    rows = _rows(order, place, n, path, None if told or several else frames[order[0]].order[0])
    if told:
        times = np.array(stated)[rows]
        if (times != times[:, :1]).any() or (np.diff(times[:, 0]) < 0).any():
            raise BadImage(path, f"temporal positions and the order of the pictures contradict each other; {NEXT}")
    if several and rows.size < len(frames):
        raise BadImage(path, f"the last volume lacks slices: {NEXT}")
    short = [f"the last volume is incomplete and left out: {len(rows)} are whole"] if rows.size < len(frames) else []
    rows = np.take_along_axis(rows, np.argsort(place[rows], axis=1), axis=1)
    return [frames[i] for i in rows.ravel()], n, short


def _places(frames, path):
    """Which place along the normal each frame has, and how many there are."""
    groups, heights = planes.order_planes([f.plane for f in frames], path)
    if len(groups) < 2:
        raise BadImage(path, "all slices lie at one position: a volume needs several")
    gaps = [note for note in planes.geometry_of([frames[g[0]].plane for g in groups], heights)[2] if "gap" in note]
    if gaps:
        raise BadImage(path, f"slices are missing: {gaps[0]}")
    place = np.empty(len(frames), int)
    for k, members in enumerate(groups):
        place[members] = k
    return place, len(groups)


def _stated(stated, place, n, path):
    """Frames of the volumes that are whole by their temporal position; only the last may be short."""
    values, time = np.unique(stated, return_inverse=True)
    count = np.zeros((len(values), n), int)
    np.add.at(count, (time, place), 1)
    for t, k in np.argwhere(count > 1)[:1]:
        raise BadImage(path, f"slice {k + 1} of {n} occurs twice at temporal position {values[t]}, expected once: give "
                             "one run only")
    for t in np.flatnonzero(np.diff(values) > np.diff(values).min())[:1]:
        raise BadImage(path, f"no volume between the temporal positions {values[t]} and {values[t + 1]}, others are "
                             f"{np.diff(values).min()} apart: {NEXT}")
    for t, k in np.argwhere(count[:-1] == 0)[:1]:
        raise _lacking(path, t, len(values), k, n)
    return np.flatnonzero((time < len(values) - 1) | (count[-1] > 0).all())


def _rows(order, place, n, path, number):
    """Frames in the order of dcm2niix as (volumes, slices); number: instance number of the first, None: no matter.

    All slices of a volume follow each other, in the same order in each, or all volumes of a slice do.
    """
    volumes, rest = divmod(len(order), n)
    turned = order[:volumes * n].reshape(n, volumes).T
    if not rest and len(set(place[turned[0]])) == n and (place[turned] == place[turned[0]]).all():
        return turned
    rows = order[:volumes * n].reshape(volumes, n)
    if not volumes or len(set(place[rows[0]])) < n or (rest and number and number % n != 1):
        raise BadImage(path, "the order of the volumes is not known: by instance number the slices do not begin with "
                             f"a whole volume; {NEXT}")
    for t, k in np.argwhere(place[rows] != place[rows[0]])[:1]:
        raise _lacking(path, t, volumes + bool(rest), place[rows[0]][k], n)
    return rows


def _lacking(path, t, volumes, k, n):
    return BadImage(path, f"volume {t + 1} of {volumes} lacks slice {k + 1} of {n} (only the last may be incomplete): "
                          f"{NEXT}")


def _dcm2niix(files, folder, path, scaling):
    """The NIfTI that dcm2niix makes of the files, and what it warns of; what it cannot do is refused in its words."""
    import dcm2niix

    source, result = folder / "dicom", folder / "nifti"
    source.mkdir()
    result.mkdir()
    for i, file in enumerate(files):  # names may identify
        (source / f"{i:06d}.dcm").symlink_to(file.resolve())
    options = ["-g", "i", "-b", "y", "-ba", "y", "-z", "n", "-p", scaling, "-f", "run", "-d", "0", "-o", str(result)]
    try:
        done = subprocess.run([dcm2niix.bin, *options, str(source)], capture_output=True, text=True, errors="replace",
                              timeout=MAX_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise BadImage(path, f"dcm2niix does not end within {MAX_SECONDS} s") from None
    lines = [re.sub("'[^']*'", "'...'", line.replace(str(folder), "").strip())
             for line in (done.stdout + "\n" + done.stderr).splitlines()]
    bad, made = [line for line in lines if FATAL.search(line)], sorted(result.glob("*.nii"))
    if done.returncode or bad:
        raise BadImage(path, f"dcm2niix: {'; '.join(bad[:3] or lines[-1:])[:300]} (code {done.returncode}); {NEXT}")
    if len(made) != 1:
        raise BadImage(path, f"dcm2niix makes {len(made)} images of it, expected one: give one run only")
    said = [line for line in lines if line.lower().startswith("warning") and not USUAL.search(line)]
    return made[0], [f"dcm2niix: {line}" for line in dict.fromkeys(said)]


def _values(image, ds, path):
    """The image with values by the rescale of the DICOM standard; dcm2niix prefers scales of Philips' own to it."""
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise BadImage(path, f"dcm2niix finds no orientation: {NEXT}")
    stored = np.array(image.dataobj.get_unscaled())
    slope, intercept, _ = rescale(ds, 0, path)
    values = linear(stored, slope, intercept) if stored.dtype.kind in "iu" else stored  # of unequal slopes: applied
    return nib.Nifti1Image(values, image.affine)


def _compare(image, frames, n, path):
    """Refuse an image that holds other values than some of the frames, each looked for at its time and place."""
    step = (frames[n - 1].plane.position - frames[0].plane.position) * (-1, -1, 1)  # LPS to RAS
    for i in np.linspace(0, len(frames) - 1, min(COMPARED, len(frames))).astype(int):
        t, k = divmod(int(i), n)
        ds = dataset(frames[i].file)
        wanted = to_units(decode(ds, frames[i].file, frames[i].number), [(ds, frames[i].number)], frames[i].file)[0]
        found = np.asarray(image.dataobj[..., k if step @ image.affine[:3, 2] > 0 else n - 1 - k, t])
        if not np.allclose(np.sort(found.ravel()), np.sort(wanted.ravel()), rtol=1e-5):
            raise BadImage(path, f"dcm2niix has other values than the file at volume {t + 1}, slice {k + 1}: {NEXT}")


def _measured_tr(clocks):
    """Median time from volume to volume in s or None, and notes of longer ones."""
    if None in clocks or len(clocks) < 3 or not np.median(np.diff(clocks)) > 0:
        return None, []
    steps = np.diff(clocks)
    usual = float(np.median(steps))
    return usual, [f"{steps[t]:.2f} s between volumes {t + 1} and {t + 2}, usually {usual:.2f} s: is a volume missing?"
                   for t in np.flatnonzero(steps > 1.5 * usual)[:3]]


def _slice_times(about, image):
    """Times of the slices after the first of them, in s, along the third axis once turned to RAS+; and notes."""
    times = np.asarray(about.get("SliceTiming") or (), float)
    if not times.size:
        return None, []
    if times.size != image.shape[2] or not np.isfinite(times).all() or np.ptp(times) > about.get("RepetitionTime", 0):
        return None, ["slice times left out: they do not fit the slices or the repetition time"]
    axis, sign = nib.io_orientation(image.affine)[2]
    if axis != 2:
        return None, ["slice times left out: the slices lie across another axis than the third of the turned image"]
    return tuple((times - times.min()).round(4)[::int(sign)].tolist()), []
