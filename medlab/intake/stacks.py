"""Several images of one grid as the channels of one: made, written and named."""

import re
from dataclasses import replace

import numpy as np

from medlab.imaging import laying, nifti
from medlab.imaging.dicom import Image


def suffix(file: str) -> str:
    """Suffix of a file name, ``.nii.gz`` as one."""
    return re.search(r"(\.nii)?\.[^.]+$", file)[0]


def stack(source, parts) -> Image:
    """Image of several channels from (file, volume) of one grid each; BadImage where they do not lie on one.

    Returns
    -------
    dicom.Image, (d, h, w, c) or (h, w, c)
    """
    from medlab.imaging import dicom, formats

    images, laid = [formats.read(file, frame, source) for file, frame in parts], []
    for (file, _), image in zip(parts, images, strict=True):
        if image.pixels.shape[-1] > 1:
            raise dicom.BadImage(file, f"{image.pixels.shape[-1]} channels in one of several files")
        try:
            laid.append(laying.laid(image, images[0]).pixels)
        except dicom.BadImage as error:
            raise dicom.BadImage(file, f"{file.split('/')[-1]} does not lie on the grid of "
                                       f"{parts[0][0].split('/')[-1]}: {error.reason}") from None
    pixels = np.concatenate(laid, axis=-1)
    if images[0].affine is None and pixels.shape[-1] > 4:
        raise dicom.BadImage(parts[0][0], f"{pixels.shape[-1]} channels without an orientation: at most 4 can be kept")
    return replace(images[0], pixels=pixels)


def write(folder, image, case) -> dict:
    """Write a stacked image below ``images``; returns the cells ``image`` and perhaps ``spacing_mm``."""
    name = f"images/{case.removesuffix(suffix(case))}"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return nifti.write(image, folder, name)
