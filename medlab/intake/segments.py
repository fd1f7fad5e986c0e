"""DICOM segmentations (PS3.3 C.8.20, C.7.6.16 and label maps, C.8.20.4): frames placed on the grid of a series."""

import numpy as np

from medlab.imaging import dicom, series
from medlab.imaging.dicom import BadImage

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
OFF = 0.3  # voxels that a frame may lie beside the grid of the series


def names(ds) -> dict:
    """{segment number: label as it stands there}; labels are free text and may identify."""
    found = {int(s.SegmentNumber): str(s.get("SegmentLabel") or "") for s in ds.get("SegmentSequence") or ()}
    return {n: label for n, label in found.items() if n > 0}  # 0 is the background of a label map


def references(ds) -> tuple:
    """Instance UIDs of the series that was segmented, and the UID of the frame of reference."""
    found = {str(s.get("SeriesInstanceUID")) for s in ds.get("ReferencedSeriesSequence") or ()}
    return found, str(ds.get("FrameOfReferenceUID") or "")


def masks(ds, affine, shape, path="") -> dict:
    """Masks of all segments on the grid of a series; where there is no frame a segment is empty.

    A fractional segment covers a voxel from half its maximum on.

    Parameters
    ----------
    affine : (4, 4), index (d, h, w, 1) to LPS mm
    shape : (d, h, w)

    Returns
    -------
    dict of segment number to (d, h, w) bool

    Raises
    ------
    BadImage
        Frames without position, on another grid, or marked pixels outside of the series.
    """
    kind = str(ds.get("SegmentationType") or "BINARY")
    if kind not in KINDS:
        raise BadImage(path, f"a segmentation of an unknown type: expected {', '.join(KINDS)}")
    stored = dicom.decode(ds, path)[..., 0]
    found = {n: np.zeros(shape, bool) for n in names(ds)}
    for i, frame in enumerate(stored):
        if kind == "LABELMAP":
            marked = {int(n): frame == n for n in np.unique(frame[frame > 0])}
        else:
            least = (dicom.whole(ds, "MaximumFractionalValue", 255) + 1) // 2 if kind == "FRACTIONAL" else 1
            number = dicom.group(ds, i, "SegmentIdentificationSequence").get("ReferencedSegmentNumber")
            only = next(iter(found)) if len(found) == 1 else 0
            marked = {int(number or only): frame >= least}
        unknown = marked.keys() - found.keys()
        if unknown:
            raise BadImage(path, f"frame {i} belongs to segment {min(unknown)}, which is not described")
        for number, pixels in marked.items():
            if pixels.any():
                found[number][_grid(ds, i, pixels, affine, shape, path)] = True
    return found


def _grid(ds, i, pixels, affine, shape, path):
    """Indices (d, h, w) in the series of the marked pixels of frame i."""
    plane = series.plane_of(ds, i)
    if plane.position is None or plane.along is None or plane.spacing is None:
        raise BadImage(path, f"frame {i} without position, orientation or spacing")
    turn = np.linalg.inv(affine)
    steps = turn[:3, :3] @ (plane.along[::-1].T * plane.spacing)  # one row on, one column on
    start = turn[:3] @ np.append(plane.position, 1)
    drift = np.abs(steps - np.round(steps)).max(axis=0) @ pixels.shape
    if drift > OFF or np.abs(np.round(steps)).sum() != 2 or np.abs(start - np.round(start)).max() > OFF:
        raise BadImage(path, "frames lie on another grid than the images of the series: resample them first")
    index = (np.round(start)[:, None] + np.round(steps) @ np.nonzero(pixels)).astype(int)
    if (index < 0).any() or (index >= np.array(shape)[:, None]).any():
        raise BadImage(path, "marks voxels outside of the images of the series")
    return tuple(index)
