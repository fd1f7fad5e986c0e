"""Are the masks and boxes of a dataset sound: do they fit their images, and what do they mark?"""

import numpy as np
import pandas as pd
from tqdm import tqdm

from medlab.cohorts import cards, datasets
from medlab.imaging import laying
from medlab.imaging.dicom import BadImage

VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha")  # which may say how they lie


def masks(dataset, scanned, looked=50) -> list[tuple[str, str]]:
    """Findings about the masks.

    Parameters
    ----------
    scanned : DataFrame
        Of `datasets.scan`: the rows looked at, with the sizes of their images.
    looked : int
        Of so many masks also the place in space is compared with that of their images.

    Returns
    -------
    list of (level, message); empty where the dataset has no masks.
    """
    cohort = dataset.cohort
    if "mask" not in cohort or cohort["mask"].isna().all():
        return []
    rows = [i for i in scanned.index if pd.notna(cohort["mask"][i])]
    problems, counts = [], np.zeros((0, len(datasets.mask_classes(dataset))), int)
    for i in tqdm(rows, "reading masks", unit="mask", disable=len(rows) < 200):
        try:
            labels = datasets.read_labels(dataset, cohort.loc[i])
        except BadImage as error:
            problems.append(f"row {i}: mask unreadable: {error.reason}")
            continue
        size = scanned.loc[i, ["depth", "height", "width"]].dropna().astype(int).tolist()
        if size and list(labels.shape) != size:
            problems.append(f"row {i}: mask of {_times(labels.shape)} pixels on an image of {_times(size)}")
        elif len(counts) < looked:
            problems += [f"row {i}: mask {text}" for text in _beside(dataset, cohort.loc[i])]
        counts = np.vstack([counts, [(labels == k + 1).sum() for k in range(counts.shape[1])]])
    found = [("error", text) for text in problems[:5]]
    found += [("error", f"and {len(problems) - 5} more masks")] if len(problems) > 5 else []
    without = int(cohort["mask"].isna().sum())
    said = [f"{name} in {(n > 0).sum()}" for name, n in zip(datasets.mask_classes(dataset), counts.T, strict=True)]
    found.append(("ok", f"target mask: {len(rows)} masks" + (f", {without} images without" if without else "")
                  + f"; {', '.join(said)}" + (f", none of it in {(counts.sum(1) == 0).sum()}" if len(counts) else "")))
    if len(counts) and not counts.any():
        found.append(("error", "no mask marks anything: check mask_classes in card.yaml"))
    return found


def _beside(dataset, row):
    """What is wrong with the place of a mask; nothing where it or its image is a file that never says how it lies."""
    names = [str(row[c]).lower().partition("::")[0] for c in ("image", "mask")]
    if not all(n.endswith(VOLUMES) for n in names):
        return []
    try:
        laying.laid(*(datasets.read_image(dataset, row, c) for c in ("mask", "image")))
    except laying.Ambiguous as error:
        return [f"and image: {str(error).partition(';')[0]}"]
    except BadImage as error:
        return [error.reason]
    return []


def boxes(dataset, scanned) -> list[tuple[str, str]]:
    """Findings about the boxes; see `masks`."""
    if dataset.boxes is None:
        return []
    table, keys = dataset.boxes, [k for k in ("image", "frame") if k in dataset.boxes and k in dataset.cohort]
    sizes = dataset.cohort[keys].join(scanned[["depth", "height", "width"]], how="inner")
    table = table.reset_index(names="line").merge(sizes, on=keys, how="left")
    found, wrong = [], []
    for low, high, side in (("z_min", "z_max", "depth"), ("y_min", "y_max", "height"), ("x_min", "x_max", "width")):
        if high not in table:
            continue
        beyond = table[high] > table[side].astype(float) + 0.5
        wrong += [f"boxes.csv, line {row.line + 2}: {high} {getattr(row, high):g} beyond the image, {side} "
                  f"{getattr(row, side):g}" for row in table[beyond].itertuples()]
        flat = table[high] <= table[low]
        wrong += [f"boxes.csv, line {row.line + 2}: {low} {getattr(row, low):g} equals {high}: an empty box"
                  for row in table[flat].itertuples()]
    found += [("warning", text) for text in wrong[:5]] + (
        [("warning", f"and {len(wrong) - 5} more boxes")] if len(wrong) > 5 else [])
    named = table["label"].value_counts() if "label" in table else pd.Series({"lesion": len(table)})
    free = len(dataset.cohort) - len(table[keys].drop_duplicates())
    found.append(("ok", f"target boxes: {', '.join(f'{k} {v}' for k, v in named.items())}; {free} images without any"))
    return found


def mask_sizes(dataset: datasets.Dataset, rows: pd.DataFrame) -> pd.Series:
    """Marked pixels or voxels of the masks, by row of the cohort; rows without a mask are left out."""
    with_mask = rows[rows["mask"].notna()]
    return pd.Series({i: int(datasets.read_mask(dataset, row).sum()) for i, row in with_mask.iterrows()})


def sizes_in_words(cohort: pd.DataFrame) -> str:
    """How many masks there are (column ``mask_size``), and how many of them are empty."""
    sizes = cohort["mask_size"].dropna()
    return f"Masks: {len(sizes)} of {len(cohort)} images, {(sizes == 0).sum()} of them empty."


def median_size_in_words(cohort: pd.DataFrame) -> str:
    """Median size of the masks that are not empty, in ml or mm² where the spacing is known."""
    filled = cohort[cohort["mask_size"] > 0]
    if filled.empty:
        return "No mask marks anything: check mask_classes in card.yaml."
    volumes = cohort.loc[cohort["problem"].isna(), "depth"].notna().any()
    element = filled["spacing_mm"].map(lambda text: np.prod(cards.spacing(text)), na_action="ignore").astype(float)
    physical = (filled["mask_size"] * element / (1000 if volumes else 1)).dropna()
    said = f"Median size of the others: {filled['mask_size'].median():.0f} {'voxels' if volumes else 'pixels'}"
    return said + (f", {physical.median():.3g} {'ml' if volumes else 'mm²'} (from {physical.min():.2g} to "
                   f"{physical.max():.3g})" if len(physical) else "; no spacing, so no size in mm")


def _times(shape):
    return " x ".join(map(str, shape))
