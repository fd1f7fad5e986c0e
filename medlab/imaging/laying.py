"""How an array lies: axes turned while reading, and masks laid on images where one of them does not say how it lies.

A turn is written as ``Image.turn``: for each axis of the array the axis of the file behind it, counted from 1, negative
where it runs the other way. A NIfTI stored towards right, anterior, superior has (3, -2, -1), a picture (1, 2).
"""

from dataclasses import replace

import numpy as np

from medlab.imaging.dicom import BadImage, Image

EXIF = {2: (1, -2), 3: (-1, -2), 4: (-1, 2), 5: (2, 1), 6: (2, -1), 7: (-2, -1), 8: (-2, 1)}  # orientation: turn
READINGS = {
    "stored": "on the image as its file stores it, element by element",
    "shown": "on the image as it is shown, turned upright",
    "itk": "on the image as its file stores it, last axis first, as SimpleITK gives arrays",
}


class Ambiguous(ValueError):
    """A mask that may lie in several ways on its image."""


def turned(pixels, turn) -> np.ndarray:
    """Array of a file, channels last, to the array of a turn; (h, w, c) where the turn has an axis more."""
    if len(turn) == pixels.ndim:
        return turned(np.expand_dims(pixels, abs(turn[0]) - 1), turn)[0]
    steps = tuple(slice(None, None, -1 if t < 0 else 1) for t in turn)
    return pixels.transpose(*(abs(t) - 1 for t in turn), len(turn))[steps]


def as_stored(image) -> np.ndarray:
    """Pixels of an `Image` in the order of axes of its file, channels last: what `turned` turns into its pixels."""
    pixels, turn = image.pixels, image.turn
    if turn is None:
        return pixels
    if len(turn) == pixels.ndim:  # a volume of one slice, which is a picture
        return np.squeeze(as_stored(replace(image, pixels=pixels[None])), abs(turn[0]) - 1)
    steps = tuple(slice(None, None, -1 if t < 0 else 1) for t in turn)
    return pixels[steps].transpose(*np.argsort([abs(t) for t in turn]), len(turn))


def turned_box(edges, turn, shape) -> list[float]:
    """Edges [x_min, y_min, x_max, y_max] of a box on a stored picture of ``shape`` (h, w), on the turned one."""
    sides = ((edges[1], edges[3]), (edges[0], edges[2]))
    y, x = ((s if t > 0 else (n - s[1], n - s[0]))
            for t in turn for s, n in [(sides[abs(t) - 1], shape[abs(t) - 1])])
    return [x[0], y[0], x[1], y[1]]


def apart(one, other) -> float:
    """Largest distance in mm between two images at the corners of their common grid, both with an affine."""
    corners = np.array([(0, 0, 0, 1), (*np.r_[1, other.pixels.shape][-4:-1], 1)]).T
    return float(np.linalg.norm(((one.affine - other.affine) @ corners)[:3], axis=0).max())


def _is_identity(image):
    """Whether the affine of the file is the identity to RAS, which tools write when they know none."""
    first = image.affine @ [0, *(n - 1 for n in image.pixels.shape[-3:-1]), 1]  # the first voxel of the file
    return image.turn == (3, -2, -1) and np.allclose([*first[:3], *np.abs(image.affine[:3, :3]).sum(axis=0) - 1], 0)


def laid(mask, image, reading=None, series=False) -> Image:
    """A mask as it lies on its image: the mask itself, or turned as the image was.

    Where both say how they lie, they must lie at one place. Where one does not and the other was turned while reading,
    every reading whose size fits counts; if these differ, somebody has to say which is meant.

    Parameters
    ----------
    reading : str, optional
        Of `READINGS`: how the one that does not say lies on the other.
    series : bool
        The image was a series of slices: an array is of these slices (last axis first), or upright.

    Raises
    ------
    BadImage
        Another size, or another place in space.
    Ambiguous
        It may lie in more than one way.
    """
    known = mask.affine is not None and image.affine is not None
    if known and mask.pixels.shape[:-1] == image.pixels.shape[:-1] and (
            apart(mask, image) <= 0.5 * min(image.spacing_mm or (1.0,))):
        return mask
    blank = known and (_is_identity(mask) or _is_identity(image))
    if known and not (blank and reading):
        _refuse_place(mask, image, blank)
    ways = _ways(mask, image, series)
    fitting = {n: p for n, p in ways.items() if p.shape[:-1] == image.pixels.shape[:-1]}
    if not fitting or (reading and reading in ways and reading not in fitting):
        _refuse_size(mask, image)
    if reading in fitting:
        return _as_image(mask, fitting[reading], image)
    first = next(iter(fitting.values()))
    if all(np.array_equal(p, first) for p in fitting.values()):
        return _as_image(mask, first, image)
    raise Ambiguous(f"{_why(mask, image)}: it may lie {', or '.join(f'{READINGS[n]} ({n})' for n in fitting)}; say "
                     f"--orientation {'|'.join(fitting)}")


def _ways(mask, image, series):
    """Arrays of a mask by reading; one where nothing was turned, or both in the same way."""
    found, plain = {"shown": mask.pixels}, as_stored(mask)
    if mask.turn == image.turn:
        return found
    back = plain.transpose(*range(plain.ndim - 1)[::-1], plain.ndim - 1)
    if not (series and mask.turn is None):
        found["stored"] = _turned_as(image, plain)
    if None in (mask.turn, image.turn) and 3 in (len(mask.turn or ()), len(image.turn or ())):  # an array and a volume
        found["itk"] = _turned_as(image, back)
    return {name: pixels for name, pixels in found.items() if pixels is not None}


def _turned_as(image, pixels):
    if image.turn is None:
        return pixels
    return turned(pixels, image.turn) if pixels.ndim - len(image.turn) in (0, 1) else None


def _as_image(mask, pixels, image):
    """The mask itself where it lies as it was read and contradicts nothing, else with the geometry of its image."""
    if np.array_equal(pixels, mask.pixels) and (mask.affine is None or image.affine is None):
        return mask
    return replace(mask, pixels=np.ascontiguousarray(pixels), affine=image.affine, spacing_mm=image.spacing_mm,
                   turn=image.turn)


def _why(mask, image):
    if len(image.turn or mask.turn or ()) == 2:
        return f"the {'image' if image.turn else 'mask'} was turned upright as its EXIF orientation says"
    return f"the {'mask' if mask.affine is None else 'image'} does not say how its axes lie"


def _refuse_size(mask, image):
    sizes = [" x ".join(map(str, i.pixels.shape[:-1])) for i in (mask, image)]
    raise BadImage("mask", f"{sizes[0]} pixels, the image {sizes[1]}")


def _refuse_place(mask, image, blank):
    if mask.pixels.shape[:-1] != image.pixels.shape[:-1]:
        _refuse_size(mask, image)
    raise BadImage("mask", f"lies {apart(mask, image):.1f} mm beside the image" + (
        "; one of them has the identity as its place, as if unknown: --orientation stored lays it voxel on voxel"
        if blank else ""))
