"""RT structure sets (DICOM PS3.3 C.8.8.5 and C.8.8.6): closed planar contours drawn on the grid of a series."""

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

    Contours of a structure in one slice are joined by the even-odd rule (XOR): a contour inside another cuts a hole.
    A contour belongs to the nearest slice, no further away than `OFF` slice distances.

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
        No closed contour, contours between or outside the slices, or not parallel to them.
    """
    united, notes, other = np.zeros(shape, bool), [], 0
    for item in ds.get("ROIContourSequence") or ():
        if item.get("ReferencedROINumber") is None or int(item.ReferencedROINumber) not in numbers:
            continue
        contours = [c for c in item.get("ContourSequence") or ()]
        closed = [c for c in contours if str(c.get("ContourGeometricType") or "") in CLOSED]
        other += len(contours) - len(closed)
        united |= _one([_indices(c, affine, path) for c in closed], shape, path, notes)
    if not united.any():
        raise BadImage(path, "no closed contour of this structure" + (f", only {other} points or open ones" if other
                                                                      else ""))
    if other:
        notes.append(f"{other} points or open contours left out")
    return united, sorted(set(notes))


def _indices(contour, affine, path):
    """Corners of a contour as (3, n) indices d, h, w of the series."""
    try:
        points = np.asarray(contour.get("ContourData"), float).reshape(-1, 3)
    except (TypeError, ValueError):
        raise BadImage(path, "contour data that are no triples of numbers") from None
    if len(points) < 3 or not np.isfinite(points).all():
        raise BadImage(path, f"a closed contour of {len(points)} points: expected at least three")
    return np.linalg.solve(affine, np.c_[points, np.ones(len(points))].T)[:3]


def _one(contours, shape, path, notes):
    """Mask of one structure."""
    from skimage.draw import polygon

    found, holes, off = np.zeros(shape, bool), False, 0
    for depth, rows, columns in contours:
        if np.ptp(depth) > 2 * OFF:
            raise BadImage(path, "contours that are not parallel to the slices: drawn on another series?")
        k = round(float(depth.mean()))
        if not 0 <= k < shape[0] or np.abs(depth - k).max() > OFF:
            off += 1
            continue
        inside = polygon(rows, columns, shape[1:])
        holes |= bool(found[k][inside].any())
        found[k][inside] ^= True
    if off:
        raise BadImage(path, f"{off} of {len(contours)} contours lie between or outside the slices: drawn on another "
                             "series?")
    filled = np.flatnonzero(found.any(axis=(1, 2)))
    if holes:
        notes.append("contours inside others cut holes (even-odd rule)")
    if len(filled) and len(filled) < np.ptp(filled) + 1:
        notes.append(f"no contour in {np.ptp(filled) + 1 - len(filled)} slices between the first and the last; not "
                     "filled in")
    return found
