"""DICOM segmentations (PS3.3 C.8.20 and label maps, C.8.20.4), read by highdicom, on the grid of a series."""

import itertools

import numpy as np

from medlab.imaging import dicom
from medlab.imaging.dicom import BadImage

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
OFF = 0.3  # voxels that a segmentation may lie beside the grid of the series


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
    ds : pydicom.Dataset, changed in place
    affine : (4, 4), index (d, h, w, 1) to LPS mm
    shape : (d, h, w)

    Returns
    -------
    dict of segment number to (d, h, w) bool

    Raises
    ------
    BadImage
        Files that lack what the standard demands, another grid, or marked pixels outside of the series.
    """
    import highdicom

    kind = str(ds.get("SegmentationType") or "BINARY")
    if kind not in KINDS:
        raise BadImage(path, f"a segmentation of an unknown type: expected {', '.join(KINDS)}")
    dicom.decode(ds, path, 0)  # for its checks of size and length
    _described(ds, kind, path)
    least = (dicom.whole(ds, "MaximumFractionalValue", 255) + 1) // 2 if kind == "FRACTIONAL" else 1
    for group in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
        for measures in group.get("PixelMeasuresSequence") or ():  # empty slices have no frame: not the distance of two
            measures.SpacingBetweenSlices = f"{np.linalg.norm(affine[:3, 0]):.10g}"
    with dicom.guard(path, "incomplete", quote=False):
        segmentation = highdicom.seg.Segmentation.from_dataset(ds, copy=False)
        geometry = segmentation.get_volume_geometry(rtol=OFF / shape[0])
        grid = highdicom.VolumeGeometry(affine, shape, coordinate_system="PATIENT")
    off_grid = BadImage(path, "frames lie on another grid than the images of the series: resample them first")
    if geometry is None:
        raise off_grid
    if np.prod(geometry.spatial_shape) * len(segmentation.segment_numbers) > dicom.MAX_BYTES:
        raise BadImage(path, f"segments of {geometry.spatial_shape} voxels are more than {dicom.MAX_BYTES} values")
    with dicom.guard(path, "incomplete, or pixel data cannot be decoded", quote=False):
        volume = segmentation.get_volume(rescale_fractional=False, rtol=OFF / shape[0])
    try:
        placed = volume.match_geometry(grid, tol=OFF)
    except RuntimeError:
        raise off_grid from None
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))]).T
    beside = np.abs(np.linalg.solve(affine, placed.affine @ corners) - corners).max()
    if beside > OFF:
        raise off_grid
    if np.count_nonzero(placed.array) < np.count_nonzero(volume.array):
        raise BadImage(path, "marks voxels outside of the images of the series")
    return {n: placed.array[..., i] >= least for i, n in enumerate(segmentation.segment_numbers) if n > 0}


def _described(ds, kind, path):
    """Refuse frames of segments that are not described; highdicom leaves them out."""
    if kind == "LABELMAP":
        used = set(np.unique(dicom.decode(ds, path)).tolist()) - {0}
    else:
        used = {int(dicom.group(ds, i, "SegmentIdentificationSequence").get("ReferencedSegmentNumber") or 0)
                for i in range(dicom.frames_of(ds))}
    if unknown := used - names(ds).keys():
        raise BadImage(path, f"frames of segment {min(unknown)}, which is not described")
