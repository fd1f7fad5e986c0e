"""What a network drew, as files for other programs: NIfTI volumes and PNG pictures on the grid of the original."""

import io
import re
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.imaging import nifti


def packed(labels: np.ndarray, grid) -> tuple[str, bytes]:
    """A label map as a compressed file.

    Parameters
    ----------
    labels : (h, w) or (d, h, w) uint8, 0 background, 1.. the classes
    grid : `imaging.dicom.Image` on whose pixels it was drawn; its affine and spacing go along, nothing else

    Returns
    -------
    (str, bytes): suffix (``.png`` of a picture, ``.nii.gz`` of a volume) and content.
    """
    if labels.ndim == 2:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(labels.astype(np.uint8)).save(buffer, "PNG")
        return ".png", buffer.getvalue()
    affine = grid.affine
    if affine is None:  # where the file does not say how it lies: its axes and, if known, its spacing
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]], affine[3, 3] = grid.spacing_mm or (1.0, 1.0, 1.0), 1.0
    image = replace(grid, pixels=labels.astype(np.uint8)[..., None], affine=affine)
    with tempfile.TemporaryDirectory() as folder:
        nifti.write(image, Path(folder), "mask")
        return ".nii.gz", (Path(folder) / "mask.nii.gz").read_bytes()


def write_zip(path, rows: pd.DataFrame, files: list, classes: list) -> None:
    """Write label maps and a table of them as one ZIP file, the same bytes for the same masks.

    Parameters
    ----------
    rows : DataFrame with ``row``, ``patient_id``, ``split``; files : of `packed`, in the same order
    classes : names of the values 1, 2, ...
    """
    names = [f"row{row:05d}_{re.sub(r'[^A-Za-z0-9-]', '_', str(patient))}{suffix}"
             for row, patient, (suffix, _) in zip(rows["row"], rows["patient_id"], files, strict=True)]
    about = rows[["row", "patient_id", "split"]].assign(file=names).to_csv(index=False)
    values = "\n".join(["value,class", "0,background", *(f"{i},{name}" for i, name in enumerate(classes, start=1))])
    contents = dict(zip(names, (content for _, content in files), strict=True))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ({"masks.csv": about, "classes.csv": values + "\n"} | contents).items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
