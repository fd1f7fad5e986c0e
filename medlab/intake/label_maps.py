"""Masks of several classes: the numbers in their files, the names of these numbers, colours of a palette."""

from dataclasses import replace

import numpy as np

from medlab.imaging.dicom import Image

MOST_COLOURS = 64  # of a mask; more are a picture

def read(path, root, frame=None, strict=False) -> tuple[Image, str]:
    """A mask file for import: its numbers, and how they were found where they do not stand in the file as they are.

    Parameters
    ----------
    path : str or list of str
        As for `formats.read`, below ``root``; of several files (one a lesion) the union.
    strict : bool
        Refuse colours without a palette; else what is not black counts as 1.

    Returns
    -------
    (dicom.Image of one channel, str)
        "" where the numbers are those of the file. Else: numbers of a palette; an alpha channel on one colour; levels
        of a JPEG or of a smoothed mask, cut at half; one fraction, as 0.9882, which is 1; a union.

    Raises
    ------
    BadImage
        With ``strict``: it is not known which colour is which class. Many colours or grey levels: a picture. Fractions
        or levels of a JPEG that are not two.
    """
    from medlab.imaging import dicom, formats

    if not isinstance(path, str):
        return _union([read(p, root, frame, strict)[0] for p in path], path)
    image = formats.read(path, frame, root)
    pixels = image.pixels
    picture = _opened(root / path) if frame is None else {}
    if "alpha" in picture and picture["alpha"].shape == pixels.shape[:-1] and (pixels == pixels[:1, :1]).all():
        marked = (picture["alpha"] > 127).astype(np.uint8)
        return replace(image, pixels=marked[..., None]), "alpha channel of one colour"
    if pixels.shape[-1] == 1 or (pixels == pixels[..., :1]).all():
        values, how = _levels(pixels[..., :1], path, picture.get("format") == "JPEG")
        return replace(image, pixels=values), how
    numbers = picture.get("numbers")
    if numbers is not None and numbers.shape == pixels.shape[:-1]:
        return replace(image, pixels=numbers[..., None]), "numbers of a palette"
    if strict:
        raise dicom.BadImage(path, f"a mask of {pixels.shape[-1]} different channels; expected one of numbers")
    colours = len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) if picture.get("format") != "JPEG" else 999
    if colours > MOST_COLOURS:
        raise dicom.BadImage(path, "a picture in colours rather than a mask: expected numbers or few colours")
    return replace(image, pixels=(pixels > 0).any(axis=-1, keepdims=True)), ("" if colours < 3 else
                                                                             "several colours, all taken as one class")


def _levels(pixels, path, jpeg):
    """Numbers of a grey mask: as they are; or two levels that compression, smoothing or scaling has blurred."""
    from medlab.imaging import dicom

    values = np.unique(pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels)
    high = float(values[-1]) if len(values) else 0.0
    whole = bool((values == np.round(values)).all())
    blurred = jpeg or not whole or (len(values) > 8 and high >= 200)
    if len(values) < 3 and whole or not blurred and len(values) <= 16:
        return pixels, ""
    if len(values) == 2 and not values[0]:
        return (pixels > 0).astype(np.uint8), f"{high:.4g} counts as 1"
    if blurred and two_levels(pixels[..., 0], high) and not (jpeg and high < 128):
        top = np.uint8(255 if whole else 1)
        return (pixels > high / 2) * top, f"{'JPEG' if jpeg else 'smoothed'} levels from 0 to {high:.4g}, cut at half"
    if whole and not jpeg and (len(values) <= 16 or _in_regions(pixels[..., 0])):
        return pixels, ""
    raise dicom.BadImage(path, f"{len(values)} values from {values[0]:g} to {high:g}{' in a JPEG' * jpeg}: neither "
                               "numbers of classes nor two levels; save the mask without loss")


def _in_regions(pixels):
    """Whether neighbours above 0 mostly have the same number, as in a map of labels and not in a picture."""
    left, right = pixels[..., :-1], pixels[..., 1:]
    both = (left > 0) & (right > 0)
    return bool(both.any()) and (left == right)[both].mean() > 0.5


def two_levels(pixels, high) -> bool:
    """Whether grey values lie around 0 and `high`, with others only along the border between them.

    Nine of ten lie within a fifth of one of the two, and nowhere do others fill a square of 3 x 3 pixels.
    """
    from scipy import ndimage

    if not np.isfinite(pixels).all() or pixels.min() < 0 or high <= 0:
        return False
    between = (pixels > high / 5) & (pixels < high * 4 / 5)
    square = np.ones((1,) * (pixels.ndim - 2) + (3, 3), bool)
    return between.mean() < 0.1 and not ndimage.binary_erosion(between, square).any()


def _union(images, paths):
    from medlab.imaging import dicom

    for path, image in zip(paths, images, strict=True):
        if image.pixels.shape != images[0].pixels.shape:
            raise dicom.BadImage(path, f"{' x '.join(map(str, image.pixels.shape[:-1]))} pixels, another mask of the "
                                       f"image {' x '.join(map(str, images[0].pixels.shape[:-1]))}")
    pixels = np.maximum.reduce([i.pixels for i in images])
    return replace(images[0], pixels=pixels), "union of several masks" if len(images) > 1 else ""


def is_mask(path, root) -> bool:
    """Whether a file can be read as a mask (see `read`)."""
    from medlab.imaging import dicom

    try:
        read(path, root)
    except dicom.BadImage:
        return False
    return True


def boxes(paths, root, frame=None) -> list[dict]:
    """Edges of what each of several masks marks, in pixels from 0, the largest behind the last."""
    found = []
    for path in paths:
        places = np.nonzero(read(path, root, frame)[0].pixels.any(axis=-1))
        if len(places[0]):
            found.append({f"{a}_{end}": int(at) for a, p in zip("zyx"[-len(places):], places, strict=True)
                          for end, at in (("min", p.min()), ("max", p.max() + 1))})
    return found


def two_valued(pixels) -> bool:
    """Whether an image holds two values only, as a mask does; a few pixels are looked at first."""
    if len(np.unique(pixels.reshape(-1)[::max(1, pixels.size // 500)])) > 2:
        return False
    low, high = pixels.min(), pixels.max()
    return bool(low < high and ((pixels == low) | (pixels == high)).all())


def few_numbers(pixels, most=16) -> bool:
    """Whether an image holds few whole numbers only, as a map of labels; a few pixels are looked at first."""
    if pixels.shape[-1] > 1 or len(np.unique(pixels.reshape(-1)[::max(1, pixels.size // 500)])) > most:
        return False
    values = np.unique(pixels)
    return 1 < len(values) <= most and bool(values[0] == 0 and (values == np.round(values)).all())


def _opened(path):
    """Of a picture file, upright: its ``format``, ``numbers`` behind a palette, its ``alpha``; {} of another file."""
    from PIL import Image as pil
    from PIL import ImageOps

    try:
        with pil.open(path) as picture:
            found = {"format": picture.format}
            if picture.mode == "P":
                found["numbers"] = np.asarray(ImageOps.exif_transpose(picture))
            if picture.mode in ("RGBA", "LA"):
                alpha = np.asarray(ImageOps.exif_transpose(picture).getchannel("A"))
                found |= {"alpha": alpha} if alpha.min() < alpha.max() else {}
            return found
    except (OSError, ValueError):
        return {}


def save(labels, path) -> None:
    """Write a label map of at most 256 numbers, (h, w), as PNG."""
    from PIL import Image as pil

    path.parent.mkdir(parents=True, exist_ok=True)
    pil.fromarray(np.asarray(labels, np.uint8)).save(path)


def named(counts: dict, classes: dict | None) -> list[str]:
    """Notes on the numbers that masks hold beside those that have a name.

    Parameters
    ----------
    counts : {number: masks that hold it}
    classes : {name: number}, optional

    Raises
    ------
    ValueError
        None of the numbers with a name occurs.
    """
    others = [v for v in sorted(counts) if v != 0 and v not in (classes or {}).values()]
    some = ", ".join(f"{v:g} (in {counts[v]} masks)" for v in others[:5]) + (" ..." if len(others) > 5 else "")
    if not classes:
        return [f"masks hold {len(others)} numbers above 0, {some}: taken as one class; --mask-classes NAME:VALUE,... "
                "names them"] if len(others) > 1 else []
    missing = {n: v for n, v in classes.items() if v not in counts}
    if len(missing) == len(classes):
        raise ValueError(f"--mask-classes {','.join(f'{n}:{v}' for n, v in classes.items())}: the masks hold only "
                         f"{sorted(counts)[:8]}; expected NAME:VALUE of these")
    notes = [f"mask class {n} (value {v}) is in no mask" for n, v in missing.items()]
    return notes + ([f"values of the masks without a class count as background: {some}"] if others else [])
