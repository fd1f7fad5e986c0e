"""Prepared images of a cohort: which shape they get, how one is made, what is lost on the way.

They hold nothing fitted but their shape, which the training part decides: folds and seeds share one file where they
agree on it.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import datasets
from medlab.imaging import arrays, geometry, regions, resampling


def require_masks(rows: pd.DataFrame, parameter: str) -> None:
    """ValueError, naming the parameter that asks for masks, where no row has one."""
    if "mask" not in rows or rows["mask"].isna().all():
        raise ValueError(f"{parameter}: no image of this cohort has a mask; leave it out")


def extents(rows: pd.DataFrame, spacing_mm: float = 0.0) -> np.ndarray:
    """Size of each image in prepared pixels along its axes, (n, 2) or (n, 3), before anything is cut or filled.

    Parameters
    ----------
    rows : of ``cohort.parquet``, with ``depth``, ``height``, ``width``, ``spacing_mm``
    spacing_mm : width of a prepared pixel along all axes; 0: as stored

    Raises
    ------
    ValueError
        For pictures among volumes, and for a width in mm where the pixel size of some images is unknown.
    """
    flat, known = rows["depth"].isna(), rows["spacing_mm"].notna()
    if flat.any() and not flat.all():
        raise ValueError(f"{flat.sum()} images are pictures, {(~flat).sum()} are volumes: import them as two datasets")
    if spacing_mm and not known.all():
        raise ValueError("spacing_mm: the pixel size of some images is unknown; set it to 0, or state it in cohort.csv")
    size = rows[["depth", "height", "width"]].to_numpy(float)[:, 1 if flat.all() else 0:]
    if not spacing_mm:
        return size
    return size * rows["spacing_mm"].str.split(" x ", expand=True).astype(float).to_numpy() / spacing_mm


def shape_of(extent: np.ndarray, size: int, depth: int, n_channels: int) -> tuple:
    """Shape of a prepared image, ([depth,] side, side, channels); the images it is made from are never enlarged.

    Parameters
    ----------
    extent : of `extents`, the training images; size : pixels of a side at most; depth : slices, 0: the median of the
        volumes
    """
    if not len(extent):
        raise ValueError("no training patient has an image: the shape of the prepared images is learnt from them; "
                         "choose another split, or leave the images out")
    side = int(min(size, np.ceil(extent[:, -2:].max())))
    slices = [depth or int(np.median(np.round(extent[:, 0])))] if extent.shape[1] == 3 else []
    return (*slices, side, side, int(n_channels))


def asked_channels(text: str) -> tuple[int, bool]:
    """Parameter ``channels`` of 02 as a number, and whether the mask is one more; 0: as most images have.

    Examples
    --------
    >>> asked_channels("auto+mask"), asked_channels("3")
    ((0, True), (3, False))
    """
    number, _, mask = (part.strip() for part in text.partition("+"))
    return 0 if number == "auto" else int(number), bool(mask)


def channels_of(rows: pd.DataFrame) -> int:
    """Colour where most of these (training) images have it: 3, else 1."""
    return 3 if (rows["channels"] >= 3).mean() > 0.5 else 1


def larger_in_words(extent: np.ndarray, train: np.ndarray, spacing_mm: float) -> str:
    """What becomes of images of the other parts that are larger than all of the training part; empty for none.

    Parameters
    ----------
    extent : of `extents`, all images; train : (n,) which are of the training part
    """
    larger = (extent[~train, -2:] > extent[train, -2:].max() + 0.5).any(1).sum()
    how = "cut about their centre" if spacing_mm else "shrunk to its size"
    return (f"Larger than every training image, which alone decides the shape: {larger} of the {(~train).sum()} "
            f"validation and test images; they are {how}." if larger else "")


def shape_in_words(shape: tuple, size: int) -> str:
    """Shape and memory of the array, and whether the images are smaller than asked for (``size``)."""
    smaller = f"; image_size {size} is larger than the images and became {shape[-2]}" if shape[-2] < size else ""
    return f"{' x '.join(map(str, shape))} bytes = {np.prod(shape, dtype=float) / 1e6:.0f} MB{smaller}"


def prepare(dataset: datasets.Dataset, row: pd.Series, shape: tuple, windows: list, spacing_mm: float = 0.0,
            region: str = "none", marks: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of one row, ``shape[1:]`` uint8, and where they lie in the original (`imaging.geometry`).

    Parameters
    ----------
    shape : of `shape_of`; windows : one per channel, [None]: the modality decides; region : as in `regions.cut`
    marks : the last channel is the mask, empty where a row has none
    """
    whole, spatial, mm = datasets.read(dataset, row), shape[1:-1], spacing_mm or None
    image, box = regions.cut(whole, region)
    each, at = 1 if len(windows) > 1 else shape[-1] - marks, geometry.of(spatial, whole, mm, box)
    parts = [resampling.prepare(image, spatial, window=name, spacing_mm=mm, channels=each)[0] for name in windows]
    if marks:
        mask = datasets.read_mask(dataset, row) if pd.notna(row["mask"]) else np.zeros(whole.pixels.shape[:-1], bool)
        parts.append(255 * geometry.place(mask, at, spatial)[..., None].astype(np.uint8))
    return np.concatenate(parts, axis=-1), at


def write(dataset: datasets.Dataset, rows: pd.DataFrame, how: dict, folder: Path) -> None:
    """Write ``images.npy`` and ``geometry.npy`` of all rows, in their order.

    Parameters
    ----------
    how : keywords of `prepare`
    """
    from tqdm import tqdm

    alone = replace(dataset, cohort=None, boxes=None, truth=None)  # each process gets it: no tables
    made = arrays.by_processes(partial(prepare, alone, **how), (row for _, row in rows.iterrows()), least=200)
    places = []

    def pixels():
        for one, at in tqdm(made, "preparing images", len(rows), unit="image", mininterval=1):
            places.append(at)
            yield one

    arrays.write_array(folder / "images.npy", pixels(), how["shape"])
    np.save(folder / "geometry.npy", np.stack(places))


def region_missed(dataset: datasets.Dataset, rows: pd.DataFrame, region: str, most: int = 20) -> list[str]:
    """Sentence about a region that was not found in some of a random choice of rows; empty if it was."""
    sampled = rows.sample(min(most, len(rows)) if region != "none" else 0, random_state=0)
    missed = sum(regions.cut(datasets.read(dataset, row), region)[1] is None for _, row in sampled.iterrows())
    return [f"Region {region}: not found in {missed} of {len(sampled)} sampled images, those are whole."
            ] if missed else []


def lost_to_region(dataset: datasets.Dataset, rows: pd.DataFrame, region: str, most: int = 60) -> list[str]:
    """Sentence about lesions (masks) that a region cuts away by more than a tenth; empty if none is."""
    marked = rows[rows["mask"].notna()]
    marked = marked.sample(min(most, len(marked)) if region != "none" else 0, random_state=0)
    lost = np.array([regions.lost(datasets.read(dataset, row), region, datasets.read_mask(dataset, row))
                     for _, row in marked.iterrows()], float)
    return [f"Region {region}: of {np.isfinite(lost).sum()} sampled images with a marked lesion {(lost > 0.1).sum()} "
            f"lose more than a tenth of it, at most {np.nanmax(lost):.0%}: set region to none where its extent matters."
            ] if (lost > 0.1).any() else []


def size_in_words(extent: np.ndarray, shape: tuple, spacing_mm: list | None) -> str:
    """How much of the original one prepared pixel covers: in mm where known, else in pixels."""
    if spacing_mm:
        return f"One prepared pixel covers about {spacing_mm[-1]:.2f} mm"
    stored = extent[:, -1].max() / shape[-2]
    return f"One prepared pixel covers up to {stored:.1f} pixels of the original; spacing unknown"
