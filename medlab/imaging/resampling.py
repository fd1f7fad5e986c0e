"""Intensity windows and the one resampling that brings pixels to a spacing and a shape.

Imported through :mod:`imaging.formats`. Pixels are (h, w, c) or (d, h, w, c), spacing in the order of the axes.
"""

import numpy as np

from medlab.imaging import slices

WINDOWS = {  # name: (centre, width) in HU
    "lung": (-600, 1500),
    "mediastinum": (40, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "abdomen": (50, 400),
    "liver": (60, 160),
    "full": (0, 2048),
    "wide": (-300, 1400),  # air to contrast, for lung lesions with their mediastinum
}


def window(pixels, centre, width) -> np.ndarray:
    """Map centre - width/2 .. centre + width/2 to 0..1 and clip; float32 of the same shape, NaN becomes 0."""
    if not width > 0:
        raise ValueError(f"window width {width}: expected more than 0")
    scaled = (np.asarray(pixels, np.float32) - np.float32(centre - width / 2)) / np.float32(width)
    return np.clip(np.nan_to_num(scaled, copy=False, nan=0, posinf=1, neginf=0), 0, 1)


def stretch(pixels, low=1, high=99) -> np.ndarray:
    """Map the percentiles ``low`` and ``high`` of the finite values to 0..1 and clip; constant becomes 0.

    For intensities without a unit (MRI). Of more than a million values every n-th is looked at.
    """
    values = np.asarray(pixels).ravel()
    values = values[:: max(1, values.size // 10**6)].astype(np.float32)
    values = values[np.isfinite(values)]
    bottom, top = np.percentile(values, [low, high]) if values.size else (0, 0)
    if not top > bottom:  # a small bright thing in front of nothing
        bottom, top = (values.min(), values.max()) if values.size else (0, 0)
    if not top > bottom:
        return np.zeros(np.shape(pixels), np.float32)
    return window(pixels, (bottom + top) / 2, top - bottom)


def contrasted(pictures: list, high: float = 99.5) -> tuple[list, int]:
    """Prepared pictures for the eye: grey levels scaled, all alike, so that the brightest use the whole range.

    A region of few grey levels (a lung) is dark as it stands; a network scales its input, too.

    Parameters
    ----------
    pictures : list of (h, w) or (h, w, 3) uint8; those in colour stay as they are
    high : percentile of all grey values that becomes white

    Returns
    -------
    (pictures, level of 255 that is shown white)
    """
    levels = [picture.ravel() for picture in pictures if picture.ndim == 2]
    white = int(np.ceil(np.percentile(np.concatenate(levels), high))) if levels else 255
    white = white or max((int(one.max()) for one in levels), default=0) or 255  # a small bright thing
    scaled = [picture if picture.ndim == 3 else np.rint(255 * np.minimum(picture / white, 1)).astype(np.uint8)
              for picture in pictures]
    return scaled, white


def contrast_in_words(white: int) -> str:
    """What `contrasted` did, in a sentence; nothing where it did nothing."""
    return (f"For the eye, grey levels are stretched, in all pictures alike: {white} of 255 and more is white."
            if white < 255 else "")


def origins(shape, new_shape, steps) -> np.ndarray:
    """Where, in pixels of the image, the first pixel of a grid ``steps`` pixels apart lies if the middles meet.

    A step of 1 copies: where rows are cut or filled by an odd number, the middle moves by half a pixel.
    """
    count = np.maximum(1, np.round(np.divide(shape, steps)))  # places on the image, the rest is cut or filled
    first = -((np.asarray(new_shape) - count) // 2)
    return (first - (count - 1) / 2) * steps + (np.asarray(shape) - 1) / 2


def _weights(n, at, step, order):
    """(m, n) weights that sample n points at the m places ``at``, ``step`` apart; and which lie on the image.

    Linear interpolation; where it shrinks, a triangle as wide as ``step`` on either side: nothing is skipped.
    """
    inside = (at >= -0.5) & (at <= n - 0.5)
    if order == 0:
        weights = np.zeros((len(at), n), np.float32)
        weights[np.arange(len(at)), np.clip(np.ceil(at - 0.5).astype(int), 0, n - 1)] = 1
        return weights, inside
    at = np.clip(at, 0, n - 1) if step <= 1 else at
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)) / max(step, 1))
    total = weights.sum(axis=1, keepdims=True)
    return (weights / np.where(total > 0, total, 1)).astype(np.float32), inside


def sample(pixels, shape, steps, fill=0, order=1, first=None) -> np.ndarray:
    """The one resampling: the first axes of pixels onto a grid of ``shape``, ``steps`` pixels apart.

    The grid begins at the places ``first`` (pixels); by default the middles meet.
    """
    if order not in (0, 1):
        raise ValueError(f"order {order}: expected 0 (nearest) or 1 (linear)")
    pixels = np.asarray(pixels)
    kind, values, outside = pixels.dtype, pixels, []
    if order == 1:
        values = np.asarray(pixels, np.float32 if kind.itemsize < 4 or kind.kind == "f" else np.float64)
        if kind.kind == "f" and not np.isfinite(values).all():
            values = np.nan_to_num(values, nan=fill, posinf=fill, neginf=fill)  # one NaN would spread over its row
    first = origins(pixels.shape[:len(shape)], shape, steps) if first is None else first
    for axis, (n, m, step, start) in enumerate(zip(pixels.shape, shape, steps, first, strict=False)):
        weights, inside = _weights(n, start + step * np.arange(m), step, order)
        outside.append(~inside)
        if order == 0:
            values = values.take(weights.argmax(axis=1), axis=axis)
        elif not (n == m and step == 1 and start == 0):
            values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    if kind.kind in "iu" and order == 1:
        values = np.clip(np.rint(values), np.iinfo(kind).min, np.iinfo(kind).max)
    values = np.array(values >= 0.5 if kind.kind == "b" and order == 1 else values, kind)
    for axis, out in enumerate(outside):
        values[(slice(None),) * axis + (out,)] = fill
    return values


def _spacings(spacing_mm, n):
    spacing = np.broadcast_to(np.asarray(spacing_mm, float), (n,)) if np.size(spacing_mm) in (1, n) else np.zeros(1)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing {spacing_mm}: expected {n} positive numbers in mm, one for each axis")
    return spacing


def resample(pixels, spacing_mm, new_spacing_mm, order=1) -> np.ndarray:
    """Resample to exactly ``new_spacing_mm`` about the same centre, anti-aliased where it gets coarser.

    Parameters
    ----------
    pixels : ndarray
        Spatial axes, as many as ``spacing_mm`` has, then channels or none.
    spacing_mm, new_spacing_mm : sequence of float
        mm along each spatial axis; the new one may be a single number.
    order : 0 or 1
        0 takes the nearest value (label images), 1 interpolates linearly.

    Returns
    -------
    ndarray
        Same type; along each axis round(n * old / new), at least 1.
    """
    old = _spacings(spacing_mm, len(spacing_mm))
    new = _spacings(new_spacing_mm, len(old))
    shape = [max(1, round(n * a / b)) for n, a, b in zip(np.shape(pixels), old, new, strict=False)]
    return sample(pixels, shape, new / old, order=order)


def fit(pixels, shape, fill=0, order=1) -> np.ndarray:
    """Resize to ``shape`` with the aspect kept, centred, the rest filled; one resampling.

    Parameters
    ----------
    pixels : ndarray
        Spatial axes, as many as ``shape`` has, then channels or none.
    shape : sequence of int
        Spatial shape to reach. All axes are scaled by the same factor, the largest with which all fits in.
    fill : number
        Value of what lies outside the image.
    order : 0 or 1
        0 takes the nearest value (label images), 1 interpolates linearly, anti-aliased when shrinking.
    """
    step = max(n / m for n, m in zip(np.shape(pixels), shape, strict=False))
    return sample(pixels, shape, [step] * len(shape), fill, order)


def steps_of(shape, new_shape, old, spacing_mm) -> np.ndarray:
    """Steps of prepare in voxels along each axis; see there."""
    if len(shape) != len(new_shape):
        raise ValueError(f"shape {tuple(new_shape)} for an image of {len(shape)} axes {tuple(shape)}: expected as many")
    if spacing_mm is not None:
        if old is None:
            raise ValueError("the spacing of the image is unknown: leave spacing_mm out, or state it in cohort.csv")
        return _spacings(spacing_mm, len(shape)) / np.asarray(old)
    mm = np.ones(len(shape)) if old is None else np.asarray(old, float)
    extent = np.asarray(shape) * mm / np.asarray(new_shape)
    extent[-2:] = extent[-2:].max()
    return extent / mm


def prepare(image, shape, *, window=None, spacing_mm=None,
            channels=None) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Window and bring an image to a spatial shape in one resampling.

    Parameters
    ----------
    image : Image
    shape : sequence of int
        (h, w) or (d, h, w), as many axes as the image has.
    window : str, (centre, width) or None
        A name of ``WINDOWS``, a window, or "stretch" (percentiles). By default Hounsfield units get "full",
        SUV 0 to 10, eight bits stay as they are, and anything else is stretched.
    spacing_mm : float or sequence of float, optional
        With it the result has exactly this spacing, cut or filled about its centre. Without it rows and
        columns keep their (physical) aspect and the whole picture fits in; depth is scaled on its own.
    channels : 1 or 3, optional
        Grey from colour (Rec. 601) or from the mean of channels; or grey three times.

    Returns
    -------
    pixels : ndarray of uint8, shape + (c,)
        Outside the image 0.
    spacing_mm : tuple of float or None
        Spacing of the result, None where that of the image is unknown.
    """
    steps = steps_of(image.pixels.shape[:-1], shape, image.spacing_mm, spacing_mm)
    grey = _channels(_unit(image.pixels, image, window), channels)
    pixels = np.rint(sample(grey, shape, steps) * 255).astype(np.uint8)
    spacing = None if image.spacing_mm is None else tuple((steps * np.asarray(image.spacing_mm)).tolist())
    return pixels, spacing


def _unit(pixels, image, choice):
    """Pixels as float32 0..1."""
    if isinstance(choice, str) and choice not in (*WINDOWS, "stretch"):
        raise ValueError(f"window {choice!r}: expected one of {', '.join(WINDOWS)}, stretch, or (centre, width)")
    if choice is None:
        choice = {"HU": "full", "SUV": (5, 10)}.get(image.intensity)
        if choice is None and pixels.dtype == np.uint8:
            return pixels / np.float32(255)
    if choice in (None, "stretch"):
        return stretch(pixels)
    return window(pixels, *(WINDOWS[choice] if isinstance(choice, str) else choice))


def _channels(pixels, channels):
    have = pixels.shape[-1]
    if channels in (None, have):
        return pixels
    if channels == 1:
        weights = [0.299, 0.587, 0.114] if have == 3 else np.full(have, 1 / have)
        return pixels @ np.asarray(weights, np.float32)[:, None]
    if have == 1:
        return np.repeat(pixels, channels, axis=-1)
    raise ValueError(f"{channels} channels from {have}: expected 1 or {have}")


def shown_window(prepared: dict) -> str:
    """CT window in which originals of a run are shown: that of its preparation (preprocessing.json), of several the
    first."""
    return (prepared.get("window") or {"lungs": "lung"}.get(prepared.get("region"), "full")).split(",")[0].strip()


def picture(image, index=None, window=None) -> np.ndarray:
    """Slice for display.

    Parameters
    ----------
    image : Image
    index : int, optional
        Slice of a volume, by default the middle one.
    window : as in :func:`prepare`; by default Hounsfield units get "mediastinum".

    Returns
    -------
    ndarray of uint8, (h, w) or (h, w, 3)
    """
    if window is None and image.intensity == "HU":
        window = "mediastinum"
    pixels = image.pixels
    if pixels.ndim == 4:
        pixels = pixels[slices.middle(len(pixels)) if index is None else index]
    grey = np.rint(_unit(pixels, image, window) * 255).astype(np.uint8)
    return grey[..., :3] if grey.shape[-1] >= 3 else grey[..., 0]
