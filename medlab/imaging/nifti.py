"""An image of a DICOM series as one file of a dataset: pixels and geometry, no header of the source."""

import gzip

import numpy as np


def write(image, folder, name) -> dict:
    """Write an `dicom.Image`; returns the cells ``image`` and, where the file cannot say it, ``spacing_mm``.

    One channel with a known orientation becomes NIfTI-2 (.nii.gz; its geometry is float64, as it should come back
    exactly; world coordinates turned from LPS to RAS), anything else .npy. Pixels keep their type and values.
    """
    if image.affine is None or image.pixels.shape[-1] > 1 or image.pixels.dtype.name in ("bool", "float16"):
        np.save(folder / f"{name}.npy", image.pixels, allow_pickle=False)
        spacing = " x ".join(repr(float(v)) for v in image.spacing_mm) if image.spacing_mm else None
        return {"image": f"{name}.npy"} | ({"spacing_mm": spacing} if spacing else {})
    import nibabel as nib

    pixels = image.pixels[..., 0] if image.pixels.ndim == 4 else image.pixels[None, ..., 0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine)[:, [2, 1, 0, 3]]
    volume = nib.Nifti2Image(pixels.transpose(2, 1, 0), affine, dtype=pixels.dtype)
    volume.header.set_xyzt_units("mm")
    with gzip.GzipFile(folder / f"{name}.nii.gz", "wb", compresslevel=1, mtime=0) as file:
        file.write(volume.to_bytes())
    return {"image": f"{name}.nii.gz"}
