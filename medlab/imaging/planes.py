"""Where DICOM slices lie: planes, their order along the normal of the slices, their distances.

Sections such as C.7.6.2 are those of DICOM PS3.3.
"""

from dataclasses import dataclass

import numpy as np

from medlab.imaging.dicom import BadImage, frames_of, group


@dataclass(frozen=True)
class Plane:
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


def plane_of(ds, frame) -> Plane:
    """Geometry of one frame as far as the header states it."""
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
    return Plane(None if spacing is None else tuple(spacing.tolist()), thickness, position, along, note)


def affine_of(plane, step) -> np.ndarray | None:
    """Index (d, h, w, 1) to LPS mm (C.7.6.2.1.1), or None."""
    if plane.position is None or plane.along is None or plane.spacing is None:
        return None
    affine = np.eye(4)
    across, down = plane.along
    columns = (step, down * plane.spacing[0], across * plane.spacing[1], plane.position)
    affine[:3] = np.stack(columns, axis=1)
    return affine


def order_planes(planes, path) -> tuple[list[np.ndarray], np.ndarray]:
    """Indices of the slices along the normal as (positions, repeats), positions ascending.

    Slices nearer than a tenth of the distance of neighbours (`tolerance`) lie at one position.
    """
    if any(p.position is None or p.along is None for p in planes):
        missing = sum(p.position is None or p.along is None for p in planes)
        raise BadImage(path, f"{missing} of {len(planes)} slices without position or orientation: no order to trust")
    first = planes[0]
    if any(np.abs(p.along - first.along).max() > 1e-3 for p in planes):
        raise BadImage(path, "slices of more than one orientation (a localizer?): expected one series only")
    if any(p.spacing is None or not np.allclose(p.spacing, first.spacing, rtol=1e-3) for p in planes):
        raise BadImage(path, "slices of different or unknown pixel spacing: expected one series only")
    heights = np.array([p.position @ first.normal for p in planes])
    order = np.argsort(heights, kind="stable")
    near = tolerance(heights[order], [p.thickness for p in planes if p.thickness])
    groups = np.split(order, np.flatnonzero(np.diff(heights[order]) > near) + 1)
    return groups, np.array([heights[g[0]] for g in groups])


def tolerance(heights, thicknesses=()) -> float:
    """How far apart slices of one position may lie, in mm: about a tenth of the distance of neighbours, at most 1 mm.

    Phases of a scan may lie some hundredths of a millimetre apart, slices of a microscope less than that.

    Parameters
    ----------
    heights : (n,) ascending, mm
    thicknesses : of the slices, where they state it

    Examples
    --------
    >>> round(tolerance([0, 0.02, 5, 5.02, 10, 10.02]), 3), round(tolerance([0, 0.01, 0.02]), 3)
    (0.498, 0.001)
    """
    steps = np.diff(heights)
    thickness = np.median(thicknesses) if len(thicknesses) else np.inf
    levels = np.unique(steps)
    for within, between in zip(levels, levels[1:], strict=False):
        sizes = np.diff(np.r_[-1, np.flatnonzero(steps > within), len(steps)])
        near = within * (sizes[0] - 1)
        if len(sizes) > 2 and len(set(sizes)) == 1 and near <= min(0.1 * between, 0.5 * thickness, 1.0):
            return float(max(1.01 * within, 0.1 * min(between, thickness, 10.0)))  # as many slices at each position
    apart = steps[steps > 0.1 * steps.mean()] if len(steps) else steps  # without the steps between repeats
    return float(0.1 * min(np.median(apart) if len(apart) else np.inf, thickness, 10.0))


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
    return (distance, *first.spacing), affine_of(first, step), notes
