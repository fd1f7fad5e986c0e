"""RT structure sets (DICOM PS3.3 C.8.8.5 and C.8.8.6): closed planar contours drawn on the grid of a series."""

from collections import Counter, defaultdict

import numpy as np

from medlab.imaging.dicom import BadImage

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
OFF = 0.3  # of the distance of slices: how far a contour may lie from a slice and still belong to it


def names(ds) -> dict:
    """{ROI number: name as it stands there}; names are free text and may identify."""
    return {int(r.ROINumber): str(r.get("ROIName") or "") for r in ds.get("StructureSetROISequence") or ()}


def references(ds) -> tuple:
    """Instance UIDs of the series that was contoured, and the UID of the frame of reference."""
    found, frame = set(), ""
    for item in ds.get("ReferencedFrameOfReferenceSequence") or ():
        frame = str(item.get("FrameOfReferenceUID") or "") or frame
        for study in item.get("RTReferencedStudySequence") or ():
            found |= {str(s.get("SeriesInstanceUID")) for s in study.get("RTReferencedSeriesSequence") or ()}
    return found, frame


def mask(ds, numbers, affine, shape, path="") -> tuple[np.ndarray, list[str]]:
    """Voxels whose centre lies inside the contours of the structures.

    Of the closed contours of a structure in one slice one that is stored twice counts once, one that lies wholly inside
    another cuts a hole (and one inside that fills again), others that overlap are united; those of type
    ``CLOSEDPLANAR_XOR`` are joined by exclusive or, as the standard says. A contour that runs along a channel into its
    hole and back (keyhole) leaves the hole free. A contour belongs to the nearest slice, no further away than `OFF`
    slice distances; one that has no place or fewer than three corners is left out with a note.

    Parameters
    ----------
    numbers : sequence of int
        ROI numbers; several are united.
    affine : (4, 4), index (d, h, w, 1) to LPS mm
    shape : (d, h, w)

    Returns
    -------
    ((d, h, w) bool, list of notes)

    Raises
    ------
    BadImage
        No closed contour, or more than half of them without a place among the slices.
    """
    united, counts, total = np.zeros(shape, bool), Counter(), 0
    for item in ds.get("ROIContourSequence") or ():
        if item.get("ReferencedROINumber") is None or int(item.ReferencedROINumber) not in numbers:
            continue
        found = list(item.get("ContourSequence") or ())
        closed = [c for c in found if str(c.get("ContourGeometricType") or "") in CLOSED]
        counts["other"] += len(found) - len(closed)
        total += len(closed)
        united |= _structure(closed, affine, shape, counts)
    lost = counts["off"] + counts["turned"]
    if lost > 0.5 * (total - counts["short"]):
        why = "are not parallel to" if counts["turned"] > counts["off"] else "lie between or outside"
        raise BadImage(path, f"{lost} of {total} contours {why} the slices: drawn on another series?")
    if not united.any():
        raise BadImage(path, "no closed contour of this structure" + "".join(
            f", only {counts[k]} {what}" for k, what in (("other", "points or open ones"), ("short", SHORT))
            if counts[k]))
    notes = [f"{counts[k]} {text}" for k, text in NOTES.items() if counts[k]]
    filled = np.flatnonzero(united.any(axis=(1, 2)))
    missing = np.ptp(filled) + 1 - len(filled)
    return united, notes + ([f"no contour in {missing} slices between the first and the last; not filled in"]
                            if missing else [])


SHORT = "closed contours of less than 3 points"
NOTES = {
    "other": "points or open contours left out",
    "short": f"{SHORT} left out",
    "off": "contours between or outside the slices left out, the rest taken",
    "turned": "contours that are not parallel to the slices left out, the rest taken",
    "twice": "contours stored twice counted once",
    "hole": "contours inside others cut holes (even-odd rule)",
    "overlap": "contours overlap others: united",
    "xor": "contours joined by exclusive or (CLOSEDPLANAR_XOR)",
}


def _structure(closed, affine, shape, counts):
    """Mask of one structure; what was done and left out is counted."""
    from skimage.draw import polygon

    slices, xor = defaultdict(list), np.zeros(shape, bool)
    for contour in closed:
        corners = _indices(contour, affine)
        if corners is None:
            counts["short"] += 1
            continue
        depth, rows, columns = corners
        k = round(float(depth.mean()))
        if np.ptp(depth) > 2 * OFF:
            counts["turned"] += 1
        elif not 0 <= k < shape[0] or np.abs(depth - k).max() > OFF:
            counts["off"] += 1
        elif "XOR" in str(contour.ContourGeometricType):
            counts["xor"] += 1
            xor[k][polygon(rows, columns, shape[1:])] ^= True
        else:
            inside = np.zeros(shape[1:], bool)
            inside[polygon(rows, columns, shape[1:])] = True
            slices[k].append((_area(rows, columns), corners[1:], inside))
    for k, found in slices.items():
        xor[k] |= _joined(found, counts)
    return xor


def _indices(contour, affine):
    """Corners of a contour as (3, n) indices d, h, w of the series; None for less than three."""
    try:
        points = np.asarray(contour.get("ContourData"), float).reshape(-1, 3)
    except (TypeError, ValueError):
        return None
    if len(points) < 3 or not np.isfinite(points).all():
        return None
    return np.linalg.solve(affine, np.c_[points, np.ones(len(points))].T)[:3]


def _area(rows, columns):
    return 0.5 * abs(float(rows @ np.roll(columns, 1) - columns @ np.roll(rows, 1)))


def _joined(found, counts):
    """One slice: contours by falling area, so that what lies inside another comes after it."""
    drawn, kept = np.zeros(found[0][2].shape, bool), []
    for area, corners, inside in sorted(found, key=lambda c: -c[0]):
        if any(_same(area, corners, inside, other) for other in kept):
            counts["twice"] += 1
            continue
        around = sum(bool(inside.any()) and not (inside & ~other[2]).any() for other in kept)
        counts["hole"] += around % 2
        counts["overlap"] += not around and bool((drawn & inside).any())
        drawn[inside] = around % 2 == 0
        kept.append((area, corners, inside))
    return drawn


def _same(area, corners, inside, other):
    """Whether two contours are one: as large, the same box to a tenth of a pixel, the same pixels but for a few."""
    boxes = [np.r_[c.min(axis=1), c.max(axis=1)] for c in (corners, other[1])]
    differ = int((inside ^ other[2]).sum())
    return (abs(area - other[0]) <= 0.01 * other[0] and np.abs(boxes[0] - boxes[1]).max() < 0.1
            and differ <= 0.02 * other[2].sum())
