"""NIfTI files: opening one of either version, and writing an image with its geometry but no header of its source."""

import gzip

import numpy as np


def from_stream(stream) -> object:
    """The image (`nibabel.Nifti1Image` or `Nifti2Image`) of an open stream; its first number tells the version."""
    import nibabel as nib

    head = stream.read(4)
    stream.seek(0)
    two = 540 in (int.from_bytes(head, "little"), int.from_bytes(head, "big"))
    return (nib.Nifti2Image if two else nib.Nifti1Image).from_stream(stream)


def write(image, folder, name) -> dict:
    """Write an `dicom.Image`; returns the cells ``image`` and, where the file cannot say it, ``spacing_mm``.

    A known orientation makes it NIfTI-2 (.nii.gz; its geometry is float64, as it should come back exactly; world
    coordinates turned from LPS to RAS; several channels of a volume are its fifth axis), anything else .npy. Pixels
    keep their type and values.
    """
    flat = image.pixels.ndim == 3 and image.pixels.shape[-1] > 1
    if image.affine is None or flat or image.pixels.dtype.name in ("bool", "float16"):
        np.save(folder / f"{name}.npy", image.pixels, allow_pickle=False)
        spacing = " x ".join(repr(float(v)) for v in image.spacing_mm) if image.spacing_mm else None
        return {"image": f"{name}.npy"} | ({"spacing_mm": spacing} if spacing else {})
    import nibabel as nib

    pixels = image.pixels if image.pixels.ndim == 4 else image.pixels[None]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine)[:, [2, 1, 0, 3]]
    pixels = pixels.transpose(2, 1, 0, 3)
    several = pixels.shape[-1] > 1
    volume = nib.Nifti2Image(pixels[:, :, :, None] if several else pixels[..., 0], affine, dtype=pixels.dtype)
    volume.header.set_xyzt_units("mm")
    if several:
        volume.header.set_intent("vector")
    with gzip.GzipFile(folder / f"{name}.nii.gz", "wb", compresslevel=1, mtime=0) as file:
        file.write(volume.to_bytes())
    return {"image": f"{name}.nii.gz"}
