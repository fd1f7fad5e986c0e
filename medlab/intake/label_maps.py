"""Masks of several classes: the numbers in their files, the names of these numbers, colours of a palette."""

from dataclasses import replace

import numpy as np

from medlab.imaging.dicom import Image


def read(path, root, frame=None, strict=False) -> tuple[Image, bool]:
    """A mask file for import: its numbers, and whether they stand behind a palette.

    Parameters
    ----------
    path : str
        As for `formats.read`, below ``root``.
    strict : bool
        Refuse colours without a palette; else what is not black counts as 1.

    Returns
    -------
    (dicom.Image of one channel, bool)
        For a picture in colours of a palette the numbers, not the colours.

    Raises
    ------
    BadImage
        With ``strict``: it is not known which colour is which class.
    """
    from medlab.imaging import dicom, formats

    image = formats.read(path, frame, root)
    pixels = image.pixels
    if pixels.shape[-1] == 1 or (pixels == pixels[..., :1]).all():
        return replace(image, pixels=pixels[..., :1]), False
    numbers = _palette(root / path) if frame is None else None
    if numbers is not None and numbers.shape == pixels.shape[:-1]:
        return replace(image, pixels=numbers[..., None]), True
    if strict:
        raise dicom.BadImage(path, f"a mask of {pixels.shape[-1]} different channels; expected one of numbers")
    return replace(image, pixels=(pixels > 0).any(axis=-1, keepdims=True)), False


def _palette(path):
    """Numbers of a picture that shows them in the colours of a palette, upright, else None."""
    from PIL import Image as pil
    from PIL import ImageOps

    try:
        with pil.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture)) if picture.mode == "P" else None
    except (OSError, ValueError):
        return None


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
