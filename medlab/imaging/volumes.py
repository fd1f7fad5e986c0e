"""Several volumes in one DICOM series: echoes, time points, phases; told apart by their tags, else by their order.

A slice is a pair (data set, frame); positions repeat where a series holds more than one volume.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from medlab.imaging.dicom import BadImage, frames_of, group
from medlab.imaging.planes import Plane, order_planes, plane_of

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
TELLS = {  # what tells volumes apart, in the order of trust: (functional group, tag) of each
    "echo": ((None, "EchoTime"), ("MREchoSequence", "EffectiveEchoTime"), (None, "EchoNumbers")),
    "stack": (("FrameContentSequence", "StackID"),),
    "image type": (("MRImageFrameTypeSequence", "FrameType"), ("CTImageFrameTypeSequence", "FrameType"),
                   ("PETFrameTypeSequence", "FrameType"), (None, "ImageType")),
    "b-value": (("MRDiffusionSequence", "DiffusionBValue"), (None, "DiffusionBValue")),
    "direction": ((None, "DiffusionGradientOrientation"),),
    "inversion time": ((None, "InversionTime"),),
    "tube voltage": ((None, "KVP"),),
    "kernel": ((None, "ConvolutionKernel"),),
    "time": (("FrameContentSequence", "TemporalPositionIndex"), (None, "TemporalPositionIdentifier"),
             (None, "TemporalPositionIndex")),
    "phase": (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
              (None, "NominalPercentageOfCardiacPhase")),
    "acquisition": ((None, "AcquisitionNumber"),),
}
CLOCKS = ("TriggerTime", "FrameReferenceTime", "AcquisitionDate", "AcquisitionTime")
ONE = ("stack", "direction", "acquisition")  # what may differ within one volume
EVEN = 0.1  # of the distance of slices: how far evenly spaced ones may be off


@dataclass(frozen=True, eq=False)
class Slice:
    """Where a slice lies and what tells it from others at its position."""

    plane: Plane
    told: dict
    clock: tuple
    number: int
    shape: tuple
    scout: bool


def slice_of(ds, frame=0) -> Slice:
    """The header of one slice: a file, or a frame of a file of several."""
    told = {}
    for what, places in TELLS.items():
        for sequence, tag in places:
            value = (group(ds, frame, sequence) if sequence else ds).get(tag)
            if value not in (None, ""):
                told[what] = _plain(value)
                break
    clock = tuple(str(ds.get(t) or "").zfill(20) for t in CLOCKS)
    number = frame if frames_of(ds) > 1 else int(_plain(ds.get("InstanceNumber") or 0))
    shape = (ds.get("Rows"), ds.get("Columns"), ds.get("SamplesPerPixel"))
    return Slice(plane_of(ds, frame), told, clock, number, shape, is_scout(ds))


def is_scout(ds) -> bool:
    """Whether the header says that this is a localizer (scout, topogram)."""
    kind = {str(word).upper() for word in np.atleast_1d(ds.get("ImageType") or "")}
    return bool({"LOCALIZER", "SCOUT", "TOPOGRAM"} & kind)


def _plain(value):
    """A number to two decimals, else text."""
    try:
        return round(float(value), 2)
    except (TypeError, ValueError):
        return str(value)


def content(ds) -> bytes:
    """Digest of the pixel data as stored, of whole numbers or floats."""
    data = next((ds[k].value for k in PIXELS if k in ds), b"")
    return hashlib.sha256(data or b"").digest()


def split(slices, pixels, path) -> tuple[list[list[int]], list[dict], int]:
    """Volumes in one series, each with one slice per position.

    Parameters
    ----------
    slices : list of Slice
        Of one orientation.
    pixels : callable
        Index of a slice to a digest of its pixels; called only where positions repeat.

    Returns
    -------
    volumes : list of list of int
        Indices in the order of `TELLS`, else of acquisition.
    told : list of dict
        What tells each volume from the others: empty for a single one; ``order`` where no tag does.
    copies : int
        Slices left out because pixels, position and tags are those of another.

    Raises
    ------
    BadImage
        Positions hold unequal numbers of slices that no tag tells apart.
    """
    planes = [s.plane for s in slices]
    groups, _ = order_planes(planes, path)
    groups, copies = _without_copies(groups, slices, pixels)
    kept = sorted(int(i) for g in groups for i in g)
    if all(len(g) == 1 for g in groups):
        found = _interleaved([g[0] for g in groups], slices)
        return ([kept], [{}], copies) if found is None else (*found, copies)
    key = {i: () for i in kept}
    names = []
    for name in TELLS:
        value = {i: slices[i].told.get(name) for i in kept}
        finer = {i: (*key[i], value[i]) for i in kept}
        told = any(len({finer[i] for i in g}) > len({key[i] for i in g}) for g in groups)
        if told and (min(Counter(finer.values()).values()) > 1 or len(groups) == 1):
            key, names = finer, [*names, name]
        if all(len({key[i] for i in g}) == len(g) for g in groups):
            return (*_listed(key, names), copies)
    return (*_listed(_ranked(groups, slices, key, path), [*names, "order"]), copies)


def _without_copies(groups, slices, pixels):
    """Groups without slices whose pixels, tags and times are those of another at the position; how many those are."""
    left = []
    for g in groups:
        seen = {}
        if len(g) > 1:
            for i in sorted(g, key=lambda i: (slices[i].number, i)):
                seen.setdefault((pixels(int(i)), tuple(slices[i].told.items()), slices[i].clock), int(i))
        left.append(sorted(seen.values()) if seen else [int(i) for i in g])
    return left, sum(map(len, groups)) - sum(map(len, left))


def _ranked(groups, slices, key, path):
    """Keys with the place of each slice in the order of acquisition among those that no tag tells apart."""
    counts, finer = defaultdict(set), {}
    for g in groups:
        alike = defaultdict(list)
        for i in g:
            alike[key[i]].append(i)
        for k, members in alike.items():
            counts[k].add(len(members))
            for rank, i in enumerate(sorted(members, key=lambda i: (*slices[i].clock, slices[i].number)), 1):
                finer[i] = (*k, rank)
    if any(len(found) > 1 for found in counts.values()):
        double = sum(len(g) > 1 for g in groups)
        raise BadImage(path, f"{double} of {len(groups)} positions hold more than one slice, and these differ")
    return finer


def _listed(key, names):
    """Volumes and what tells them apart, from the key of each slice."""
    found = defaultdict(list)
    for i, k in sorted(key.items()):
        found[k].append(i)
    order = sorted(found, key=lambda k: [(v is not None, isinstance(v, str), v or 0) for v in k])
    return [found[k] for k in order], [dict(zip(names, k, strict=True)) for k in order]


def _interleaved(order, slices):
    """Volumes whose slices lie between those of another, each evenly spaced; None where not so.

    Acquisitions that fill each other's gaps evenly are one volume (the concatenations of MR).
    """
    heights = np.array([slices[i].plane.position @ slices[order[0]].plane.normal for i in order])
    if len(order) < 4:
        return None
    for name in TELLS if not _even(heights) else (n for n in TELLS if n not in ONE):
        value = [slices[i].told.get(name) for i in order]
        parts = [[k for k, v in enumerate(value) if v == one] for one in dict.fromkeys(value)]
        within = [max(heights[p[0]], heights[q[0]]) < min(heights[p[-1]], heights[q[-1]])
                  for p, q in zip(parts, parts[1:], strict=False)]
        if within and all(within) and all(len(p) > 1 and _even(heights[p]) for p in parts):
            return _listed({order[k]: (v,) for k, v in enumerate(value)}, [name])
    return None


def _even(heights):
    steps = np.diff(heights)
    return bool(np.ptp(steps) <= EVEN * np.median(steps)) if len(steps) else True
