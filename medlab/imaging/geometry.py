"""Where prepared pixels lie in the original image: masks and boxes go in, predictions come back.

Notebook 02 writes one geometry per prepared image, ``geometry.npy``, (n, axes, 4): per spatial axis (d, h, w) the
numbers ``origin, step, size, spacing_mm``. The centre of prepared pixel i lies at ``origin + step * i`` in voxels
of the original, which has ``size`` of them along the axis, ``spacing_mm`` apart (NaN where unknown).
"""

import numpy as np

from medlab.imaging import resampling


def of(shape, image, spacing_mm=None, box=None):
    """Geometry of an image that `resampling.prepare` brings to a shape.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape of the prepared image.
    image : dicom.Image
        The original.
    spacing_mm : float or sequence of float, optional
        As given to `resampling.prepare`.
    box : tuple of slice, optional
        Rows and columns that were cut out first (`regions.cut`).

    Returns
    -------
    (axes, 4) float
    """
    size = np.array(image.pixels.shape[:-1])
    start, kept = np.zeros(len(size)), size.copy()
    for axis, line in zip(range(len(size) - 2, len(size)), box or (), strict=False):
        start[axis], stop, _ = line.indices(size[axis])
        kept[axis] = stop - start[axis]
    steps = np.asarray(resampling.steps_of(kept, shape, image.spacing_mm, spacing_mm), float)
    first = resampling.origins(kept, shape, steps)
    mm = np.full(len(size), np.nan) if image.spacing_mm is None else np.asarray(image.spacing_mm, float)
    return np.stack([start + first, steps, size, mm], axis=1)


def spacing(g):
    """Spacing (mm) of the original along its axes, None where unknown."""
    return None if np.isnan(g[:, 3]).any() else tuple(g[:, 3].tolist())


def prepared_spacing(g):
    """Spacing (mm) of the prepared image along its axes, None where unknown."""
    return None if np.isnan(g[:, 3]).any() else tuple((g[:, 1] * g[:, 3]).tolist())


def place(mask, g, shape):
    """Label map of an original brought to its prepared image.

    Parameters
    ----------
    mask : (h, w) or (d, h, w) bool or uint8, 0 is background
    shape : spatial shape of the prepared image

    Returns
    -------
    bool or uint8 of ``shape``
        A pixel takes the class that covers most of it; of equal shares a class before the background.
    """
    mask = np.asarray(mask)
    _same_size(mask.shape, g)
    names = np.unique(mask[mask > 0])
    cover = [resampling.sample((mask == k).astype(np.float32), shape, g[:, 1], first=g[:, 0]) for k in names]
    if not cover:
        return np.zeros(shape, mask.dtype)
    cover = np.stack([*cover, 1 - np.sum(cover, axis=0)])
    return np.append(names, 0).astype(mask.dtype)[np.round(cover, 6).argmax(axis=0)]


def restore(prepared, g):
    """What was predicted for a prepared image, on the grid of the original.

    Parameters
    ----------
    prepared : spatial axes, as many as the geometry has, then channels or none
        Floats are interpolated linearly, whole numbers and bools take the nearest pixel.

    Returns
    -------
    ndarray of the same type; 0 where the prepared image does not reach.
    """
    prepared, step = np.asarray(prepared), 1 / g[:, 1]
    order = 1 if prepared.dtype.kind == "f" else 0
    return resampling.sample(prepared, g[:, 2].astype(int), step, order=order, first=-g[:, 0] * step)


def boxes_in(boxes, g):
    """Boxes of the original as boxes of the prepared image.

    Parameters
    ----------
    boxes : (k, 2 * axes) float
        Corners ``min..., max...`` in the order of the axes, at pixel edges: pixel i reaches from i to i + 1.
    """
    boxes = np.asarray(boxes, float).reshape(-1, 2, len(g))
    return ((boxes - 0.5 - g[:, 0]) / g[:, 1] + 0.5).reshape(-1, 2 * len(g))


def boxes_out(boxes, g):
    """Boxes of the prepared image as boxes of the original, the inverse of `boxes_in`; g may be one per box."""
    boxes = np.asarray(boxes, float).reshape(-1, 2, g.shape[-2])
    return ((boxes - 0.5) * g[..., None, :, 1] + g[..., None, :, 0] + 0.5).reshape(-1, 2 * g.shape[-2])


def _same_size(shape, g):
    if tuple(shape) != tuple(g[:, 2].astype(int)):
        raise ValueError(f"a mask of {' x '.join(map(str, shape))} pixels for an image of "
                         f"{' x '.join(f'{n:.0f}' for n in g[:, 2])}: expected the same size")
