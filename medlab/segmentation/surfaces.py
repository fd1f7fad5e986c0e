"""Distances between the surfaces of two masks, in millimetres or, where the spacing is unknown, in pixels.

The surface runs halfway between inside and outside pixels. As in Nikolov et al. (arXiv 1809.04430, 2018; JMIR 2021)
it is made of elements, one per corner of the pixel grid whose 4 (2-D) or 8 (3-D) pixels differ, weighted by the
length (area) of the marching-squares (-cubes) surface inside that cell, so that anisotropic pixels count by their
true size. What lies beyond the image is background: a mask that touches the border has a surface there.
"""

from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import measure

DENSE = 0.05  # share of the cells that are surface above which a distance map is faster than a search tree


@lru_cache(maxsize=64)
def cell_sizes(spacing) -> np.ndarray:
    """Length (2-D) or area (3-D) of the surface inside a cell, by the code of its 2^axes corners: (2^2^axes,)."""
    axes = len(spacing)
    sizes = np.zeros(2 ** 2**axes)
    for code in range(1, len(sizes) - 1):
        cell = (code >> np.arange(2**axes) & 1).reshape((2,) * axes).astype(float)
        if axes == 3:
            sizes[code] = measure.mesh_surface_area(*measure.marching_cubes(cell, 0.5, spacing=spacing)[:2])
        else:
            lines = measure.find_contours(cell, 0.5)
            sizes[code] = sum(np.linalg.norm(np.diff(line * spacing, axis=0), axis=1).sum() for line in lines)
    return sizes


def elements(mask, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Cells (k, axes) and sizes (k,) of the surface elements of a bool mask, the sizes in the unit of the spacing."""
    inside = np.pad(mask, 1).astype(np.uint8)
    code = np.zeros(np.array(inside.shape) - 1, np.uint8)
    for bit, corner in enumerate(np.ndindex((2,) * mask.ndim)):
        part = inside[tuple(slice(c, n - 1 + c) for c, n in zip(corner, inside.shape, strict=True))]
        code |= part << bit
    last = 2 ** 2**mask.ndim - 1
    at = np.nonzero((code > 0) & (code < last))
    return np.stack(at, axis=1), cell_sizes(tuple(map(float, spacing)))[code[at]]


def union_box(a, b) -> tuple[slice, ...] | None:
    """Slices of the smallest box that holds both masks; None where both are empty."""
    either, box = a | b, []
    for axis in range(either.ndim):
        at = np.flatnonzero(either.any(axis=tuple(i for i in range(either.ndim) if i != axis)))
        if not len(at):
            return None
        box.append(slice(at[0], at[-1] + 1))
    return tuple(box)


def distances(a, b, spacing) -> list[tuple[np.ndarray, np.ndarray]]:
    """Distance of each surface element of a to the surface of b, and the other way round.

    Parameters
    ----------
    a, b : bool masks of the same shape, neither empty
    spacing : sequence of float, per axis

    Returns
    -------
    (d, size) of a to b, (d, size) of b to a; d is sorted, size is the length or area of the element.
    """
    box = union_box(a, b)
    (at_a, size_a), (at_b, size_b) = elements(a[box], spacing), elements(b[box], spacing)
    cells, found = np.array(a[box].shape) + 1, []
    dense = len(at_a) + len(at_b) > DENSE * cells.prod()
    for here, there, size in ((at_a, at_b, size_a), (at_b, at_a, size_b)):
        d = _by_map(here, there, cells, spacing) if dense else _by_tree(here, there, spacing)
        order = np.argsort(d, kind="stable")
        found.append((d[order], size[order]))
    return found


def _by_tree(here, there, spacing):
    spacing = np.asarray(spacing, float)
    return cKDTree(there * spacing, balanced_tree=False, compact_nodes=False).query(here * spacing)[0]


def _by_map(here, there, cells, spacing):
    free = np.ones(cells, bool)
    free[tuple(there.T)] = False
    return ndimage.distance_transform_edt(free, spacing)[tuple(here.T)]


def hausdorff(found, percent=100) -> float:
    """Hausdorff distance, or a percentile of it.

    The larger of the two directed percentiles (from truth to prediction and back), each over the surface, not over
    pixels; 100 is the classical distance. Other programs take the percentile of both directions thrown together,
    which is never larger.
    """
    ends = []
    for d, size in found:
        share = np.cumsum(size) / size.sum()
        ends.append(d[min(np.searchsorted(share, percent / 100 - 1e-12), len(d) - 1)])
    return float(max(ends))


def within(found, tolerance) -> tuple[float, float]:
    """Size of the surface of both masks that lies within a tolerance of the other, and of both surfaces."""
    near = sum(size[d <= tolerance * (1 + 1e-9)].sum() for d, size in found)
    return float(near), float(sum(size.sum() for _, size in found))


def mean(found) -> float:
    """Average symmetric surface distance (ASSD): over both surfaces together."""
    return float(sum((d * size).sum() for d, size in found) / sum(size.sum() for _, size in found))
