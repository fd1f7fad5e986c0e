"""Connected components of masks: sizes, places and diameters in millimetres where the spacing is known.

Pixels that touch by a corner belong together (8 neighbours in 2-D, 26 in 3-D) unless ``connectivity`` says
otherwise. Integer arrays are label maps: touching pixels of different values are different components.
"""

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage import measure

AXES = {2: ("y", "x"), 3: ("z", "y", "x")}
HULL_FROM = 60  # surface points from which only those on the convex hull are compared


def check(mask) -> np.ndarray:
    """The mask as a 2-D or 3-D array of bool or whole numbers.

    Raises
    ------
    ValueError
        For other dimensions, negative numbers, and floats (probabilities).
    """
    mask = np.asarray(mask)
    if mask.ndim not in AXES:
        raise ValueError(f"a mask of shape {mask.shape}: expected (h, w) or (d, h, w), one image at a time")
    if mask.dtype.kind not in "bui" or (mask.dtype.kind == "i" and mask.min(initial=0) < 0):
        raise ValueError(f"a mask of type {mask.dtype}, smallest value {mask.min(initial=0)}: expected bool or whole "
                         "numbers from 0; probabilities need a threshold first")
    return mask


def label(mask, connectivity=None) -> np.ndarray:
    """Number the components 1, 2, ... in the order in which they are met; 0 is background.

    Parameters
    ----------
    mask : (h, w) or (d, h, w) bool or label map
    connectivity : 1 (pixels share a face) to the number of axes (a corner is enough, the default)

    Returns
    -------
    int array of the same shape
    """
    mask = check(mask)
    if connectivity is not None and connectivity not in range(1, mask.ndim + 1):
        raise ValueError(f"connectivity is {connectivity!r}; expected 1 to {mask.ndim}")
    if mask.dtype == bool:  # several times faster than the general case
        near = ndimage.generate_binary_structure(mask.ndim, connectivity or mask.ndim)
        return ndimage.label(mask, near)[0]
    return measure.label(mask, background=0, connectivity=connectivity)


def table(labels_or_mask, spacing_mm=None, intensity=None, diameters=True) -> pd.DataFrame:
    """Size, place and grey values of each component.

    Parameters
    ----------
    labels_or_mask : (h, w) or (d, h, w)
        A bool mask is split into its components; of an integer array each value above 0 is one region, as `label`
        returns them.
    spacing_mm : sequence of float or None
        Per axis, in array order; None = unknown: sizes are then in pixels only.
    intensity : array of the same shape, optional
        Adds mean, standard deviation, minimum and maximum of the grey values.
    diameters : bool
        False spares the longest diameters, which take most of the time.

    Returns
    -------
    DataFrame, a row per component
        component, voxels, area_mm2 (2-D) or volume_ml (3-D), centre z, y, x (in pixels, 0 is the centre of the first
        pixel; with ``_mm`` from that centre), box z_min ... x_max (pixel edges, half open), diameter_mm (or
        diameter_px): the greatest distance of two points of the surface that runs halfway between inside and outside
        pixels (the "maximum 3D diameter" of IBSI); a single pixel has its width.
    """
    labels = check(labels_or_mask)
    labels = label(labels) if labels.dtype == bool else labels
    spacing = check_spacing(spacing_mm, labels.ndim)
    names, found = np.arange(1, labels.max(initial=0) + 1), ndimage.find_objects(labels)
    names = np.array([k for k in names if found[k - 1] is not None], int)
    if intensity is not None and np.shape(intensity) != labels.shape:
        raise ValueError(f"grey values of shape {np.shape(intensity)} for a mask of shape {labels.shape}")
    rows = [_row(labels, k, found[k - 1], spacing, intensity, diameters) for k in names]
    columns = _row(np.ones((1,) * labels.ndim, int), 1, (slice(0, 1),) * labels.ndim, spacing,
                   None if intensity is None else np.zeros((1,) * labels.ndim), diameters)
    return pd.DataFrame(rows, columns=list(columns))


def _row(labels, k, box, spacing, intensity, diameters):
    inside = labels[box] == k
    at = np.argwhere(inside)
    start, axes = np.array([line.start for line in box]), AXES[labels.ndim]
    centre, known = start + at.mean(axis=0), spacing is not None
    row = {"component": int(k), "voxels": len(at)}
    if known:
        row |= size(len(at), spacing)
    row |= dict(zip(axes, centre.tolist(), strict=True))
    if known:
        row |= {f"{a}_mm": float(c) for a, c in zip(axes, centre * spacing, strict=True)}
    row |= {f"{a}_min": line.start for a, line in zip(axes, box, strict=True)}
    row |= {f"{a}_max": line.stop for a, line in zip(axes, box, strict=True)}
    if diameters:
        row["diameter_mm" if known else "diameter_px"] = longest_diameter(inside, spacing)
    if intensity is not None:
        values = np.asarray(intensity)[box][inside].astype(float)
        row |= {"mean": values.mean(), "sd": values.std(), "minimum": values.min(), "maximum": values.max()}
    return row


def check_spacing(spacing_mm, axes) -> np.ndarray | None:
    """Spacing as an array of one positive number per axis; None stays None, and so does a NaN (unknown)."""
    if spacing_mm is None or not np.isfinite(np.asarray(spacing_mm, float)).all():
        return None
    spacing = np.asarray(spacing_mm, float).reshape(-1)
    if len(spacing) != axes or (spacing <= 0).any():
        raise ValueError(f"spacing_mm is {spacing.tolist()}; expected {axes} positive numbers, in array order")
    return spacing


def size(voxels, spacing_mm) -> dict[str, float]:
    """Voxels as area_mm2 (2-D) or volume_ml (3-D)."""
    mm = float(voxels * np.prod(spacing_mm))
    return {"area_mm2": mm} if len(spacing_mm) == 2 else {"volume_ml": mm / 1000}


def longest_diameter(mask, spacing_mm=None) -> float:
    """Greatest distance of two points of the surface halfway between inside and outside pixels (mm or pixels).

    Where nothing lies inside: 0.
    """
    inside = np.pad(np.asarray(mask, bool), 1)
    points = []
    for axis in range(inside.ndim):
        at = np.argwhere(np.diff(inside, axis=axis)).astype(float)
        at[:, axis] += 0.5
        points.append(at)
    points = np.concatenate(points) * (1.0 if spacing_mm is None else np.asarray(spacing_mm, float))
    if not len(points):
        return 0.0
    return float(pdist(points[ConvexHull(points).vertices] if len(points) >= HULL_FROM else points).max())


def drop_small(mask, at_least_voxels, connectivity=None) -> np.ndarray:
    """The mask (or label map) without its components of fewer than ``at_least_voxels``; same type and shape."""
    mask = check(mask)
    if at_least_voxels <= 1:
        return mask.copy()
    labels = label(mask, connectivity)
    keep = np.bincount(labels.ravel()) >= at_least_voxels
    keep[0] = False
    return np.where(keep[labels], mask, mask.dtype.type(0))


def largest(mask, n=1, connectivity=None) -> np.ndarray:
    """The mask with only its ``n`` largest components; of a label map the n largest of each class.

    Of components of the same size the first is kept.
    """
    mask = check(mask)
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1 component to keep")
    labels = label(mask, connectivity)
    if not labels.any():
        return mask.copy()
    voxels = np.bincount(labels.ravel())
    values = np.zeros(len(voxels), int)
    values[labels.ravel()] = mask.ravel()
    keep = np.zeros(len(voxels), bool)
    for value in np.unique(values[1:]):
        own = np.flatnonzero(values == value)
        own = own[own > 0]
        keep[own[np.argsort(-voxels[own], kind="stable")[:n]]] = True
    return np.where(keep[labels], mask, mask.dtype.type(0))


def boxes(mask, connectivity=None) -> np.ndarray:
    """Bounding boxes of the components, (k, 2 * axes) int: min ..., max ... in axis order, pixel edges, half open.

    Examples
    --------
    >>> boxes([[0, 1, 1], [0, 0, 0], [1, 0, 0]]).tolist()
    [[0, 1, 1, 3], [2, 0, 3, 1]]
    """
    mask = check(mask)
    found = [box for box in ndimage.find_objects(label(mask, connectivity)) if box is not None]
    return np.array([[line.start for line in b] + [line.stop for line in b] for b in found],
                    int).reshape(-1, 2 * mask.ndim)
