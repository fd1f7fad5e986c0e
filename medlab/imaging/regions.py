"""Regions of interest: keep what the question is about, cut away the rest.

What lies outside the lungs (heart, chest wall, table) is brighter and far larger than a nodule; a network
that sees a few hundred patients learns sooner without it. Classical, nothing is fitted to the cohort.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medlab.imaging.dicom import Image

SMALLEST, FIELD = 2000.0, 360.0  # mm2 of a lung in a slice, mm of a slice side to side
BITE, DEEP = 1300.0, 25.0  # mm2 of a nodule of 40 mm, and how far below the chest wall its middle lies


def lungs(volume, spacing_mm=None) -> np.ndarray:
    """Bool lungs with the vessels and nodules in them: air in the body by Otsu, in each slice filled up to its hull.

    A nodule on the pleura is a bite out of the air, as dense as the wall: what is missing to the convex hull of a lung
    is taken in where it is no larger than a nodule of 40 mm and lies at the chest wall, that is at the hull of both
    lungs. Heart and great vessels stay out.

    Parameters
    ----------
    volume : (d, h, w) array
        HU or any grey value that grows with HU; slices are axial.
    spacing_mm : (3,) sequence, optional
        By default slices are taken to be 360 mm wide, as those of a chest are.

    Returns
    -------
    (d, h, w) bool
        Nothing is true where no lung is found.
    """
    from skimage.filters import threshold_otsu
    from skimage.morphology import convex_hull_image

    volume = np.asarray(volume, float)
    found = np.zeros(volume.shape, bool)
    if volume.min() == volume.max():
        return found
    pixel = spacing_mm[1:] if spacing_mm else [FIELD / volume.shape[2]] * 2
    for part, lung in zip(volume < threshold_otsu(volume), found, strict=True):
        groups, n = ndimage.label(part)
        edge = np.concatenate([groups[0], groups[-1], groups[:, 0], groups[:, -1]])
        groups, n = ndimage.label(ndimage.binary_opening(part & ~_of(groups, n, edge)))
        size = np.bincount(groups.ravel()) * np.prod(pixel)
        large = size[1:] >= SMALLEST  # the airways are smaller
        if not large.any():
            continue
        wall = _hull(_of(groups, n, 1 + np.flatnonzero(large)), pixel)
        for k, box in enumerate(ndimage.find_objects(groups), 1):
            if large[k - 1]:
                one, corner = groups[box] == k, [side.start for side in box]
                lung[box] |= _filled(one, convex_hull_image(one), corner, wall, pixel)
    return found


REGIONS = {"lungs": lungs}


def _inside(image, region):
    """Bool of the spatial shape: what of an image is kept, all of it where the region is none or not found."""
    if region in ("", "none", None):
        return np.ones(image.pixels.shape[:-1], bool)
    if region not in REGIONS:
        raise ValueError(f"region {region!r} is unknown; expected none, {', '.join(REGIONS)}")
    if image.pixels.ndim != 4:
        raise ValueError(f"region {region!r} needs volumes, found a picture of {image.pixels.shape}: set it to none")
    inside = REGIONS[region](image.pixels[..., 0], image.spacing_mm)
    return inside if inside.any() else ~inside


def lost(image, region, mask) -> float:
    """Share of a lesion that `cut` makes black.

    A tumour that lies on the chest wall is as dense as the wall: air does not tell it from what is outside.

    Parameters
    ----------
    image : dicom.Image; region : as in `cut`
    mask : (d, h, w) bool or label map, 0 is background

    Returns
    -------
    float
        0 to 1, NaN where the mask is empty. Errors as in `cut`.
    """
    marked = np.asarray(mask) > 0
    return float(1 - _inside(image, region)[marked].mean()) if marked.any() else np.nan


def _hull(part, pixel):
    """Sides of the convex hull of a part of a slice, (n, 3): the normal and how far it is from the origin, in mm."""
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(part.any(axis=1))
    ends = [part[rows].argmax(axis=1), part.shape[1] - 1 - part[rows, ::-1].argmax(axis=1)]
    return ConvexHull(np.column_stack([np.tile(rows, 2), np.concatenate(ends)]) * np.asarray(pixel)).equations


def _filled(one, hull, corner, wall, pixel):
    """A lung in a slice with its holes, and with those parts of its hull that a nodule on the chest wall can be.

    corner : place of its box in the slice; wall : `_hull` of both lungs
    """
    solid = ndimage.binary_fill_holes(_closed(np.pad(one, 8), 5))[8:-8, 8:-8]
    parts, n = ndimage.label(hull & ~solid)
    names = np.flatnonzero(np.bincount(parts.ravel()) <= BITE / np.prod(pixel))
    names = names[names > 0]
    middle = (np.reshape(ndimage.center_of_mass(hull, parts, names), (-1, 2)) + corner) * np.asarray(pixel)
    deep = -(middle @ wall[:, :2].T + wall[:, 2]).max(axis=1)
    return solid | _of(parts, n, names[deep <= DEEP])


def _closed(part, reach):
    """Morphological closing by a diamond: so many dilations by a cross, then as many erosions, by distances."""
    grown = ndimage.distance_transform_cdt(~part, "taxicab") <= reach
    return ndimage.distance_transform_cdt(grown, "taxicab") > reach


def _of(groups, n, names):
    """Where an image of n labelled groups holds one of some names."""
    wanted = np.zeros(n + 1, bool)
    wanted[names] = True
    return wanted[groups]


def cut(image, region, margin=2) -> tuple[Image, tuple[slice, slice] | None]:
    """Image with everything outside a region black, cropped in-plane to the box around it.

    Parameters
    ----------
    image : dicom.Image
        A volume (d, h, w, c); depth is not cropped.
    region : str
        A name in `REGIONS`; empty or ``none`` returns the image as it is.
    margin : int
        Pixels left around the box.

    Returns
    -------
    (dicom.Image, tuple of slice or None)
        The cut image and the box (rows, columns) in the given one; None where the region was not found, the
        image is then whole.

    Raises
    ------
    ValueError
        For an unknown region or an image that is no volume.
    """
    inside = _inside(image, region)
    if inside.all():
        return image, None
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = tuple(slice(max(0, line[0] - margin), line[-1] + 1 + margin) for line in (rows, columns))
    black = np.where(inside[..., None], image.pixels, image.pixels.min())[(slice(None), *box)]
    affine = image.affine
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, 1] * box[0].start + affine[:3, 2] * box[1].start
    return replace(image, pixels=black, affine=affine), box
