"""The experts' masks: on the prepared grid to learn from, on the original one to be judged by."""

from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import datasets
from medlab.imaging import arrays, geometry


def original(data: datasets.Dataset, row: pd.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """Label map (0 background, 1..K), empty outside the field of view, and field of view (or None) of an image.

    Parameters
    ----------
    row : of ``data.cohort``, with a mask
    """
    truth, valid = datasets.read_labels(data, row), datasets.read_valid(data, row)
    return truth if valid is None else np.where(valid, truth, 0), valid


def prepared(data: datasets.Dataset, row: pd.Series, where: np.ndarray, shape: tuple, outside: int) -> np.ndarray:
    """Label map on the prepared grid, uint8.

    Parameters
    ----------
    row : of ``data.cohort``; without a mask nothing is marked
    where : (axes, 4) of geometry.npy; shape : spatial shape of the prepared images
    outside : value outside the field of view and outside the image (`unet.IGNORE`)
    """
    if pd.isna(row["mask"]):
        return np.zeros(shape, np.uint8)
    labels, valid = datasets.read_labels(data, row), datasets.read_valid(data, row)
    inside = geometry.place(np.ones(labels.shape, bool) if valid is None else valid, where, shape)
    return np.where(inside, geometry.place(labels, where, shape), outside).astype(np.uint8)


def write(path: Path, data: datasets.Dataset, rows: pd.Series, where: np.ndarray, shape: tuple,
          outside: int) -> None:
    """Label maps of the images of a run as one array (n, ...), in their order.

    Parameters
    ----------
    rows : (n,) numbers of rows of ``data.cohort``; where : (n, axes, 4); shape, outside : as `prepared`
    """
    def one(i):
        return prepared(data, data.cohort.loc[rows.iloc[i]], where[i], shape, outside)

    arrays.write_array(path, arrays.in_order(one, range(len(rows))), (len(rows), *shape))


def sizes(labels: np.ndarray, parts: dict, patients: pd.Series, classes: list) -> pd.DataFrame:
    """What there is to find: a row per part with patients, images, and for each class how many hold it and how large.

    Parameters
    ----------
    labels : (n, ...) uint8 label maps; parts : name -> (m,) int, which images; patients : (n,); classes : of 1..K
    """
    found = {name: [patients.iloc[rows].nunique(), len(rows), *_shares(labels, rows, len(classes))]
             for name, rows in parts.items()}
    return pd.DataFrame(found, index=["patients", "images", *classes]).T


def _shares(labels, rows, n_classes):
    """Per class: images that hold it, and its median share of such an image."""
    pixels = [np.bincount(np.ravel(labels[i]), minlength=256)[1:n_classes + 1] for i in rows]
    pixels = np.reshape(pixels, (-1, n_classes)) / max(1, labels[0].size)
    return [f"{(one > 0).sum()} images, median {np.median(one[one > 0]):.2%}" if (one > 0).any() else "none"
            for one in pixels.T]
