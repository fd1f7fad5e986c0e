"""Pictures of a cohort: one image for display, galleries of classes, look-alikes, one patient, before and after."""

from dataclasses import replace

import numpy as np
import pandas as pd

from medlab import plots
from medlab.cohorts import datasets, screening
from medlab.imaging import dicom, geometry, resampling, slices

NO_COLOURS = ("MR", "CT", "PT", "NM", "CR", "DX", "MG", "BOLD")  # their channels are sequences, phases, energies


def in_colour(card: dict) -> bool:
    """Whether several channels are red, green and blue."""
    return str(card.get("modality")).upper() not in NO_COLOURS


def window_of(card: dict, window: str = "auto") -> str | None:
    """CT window of the pictures: the given one, else that of the card, else lung; None for data that are not in HU."""
    if window != "auto":
        return window
    return card.get("window", "lung") if card.get("intensity") == "HU" else None


def channels_in_words(dataset: datasets.Dataset, rows: pd.DataFrame, channel: int) -> list[str]:
    """Sentence about channels that are no colours; empty for colours and for a single channel."""
    n = int(rows["channels"].max())
    return [f"{n} channels that are no colours: the pictures show channel {channel} (counted from 0) in grey."
            ] if n > 1 and not in_colour(dataset.card) else []


def picture(dataset: datasets.Dataset, row: pd.Series, index: int | None = None, window: str = "auto",
            channel: int = 1) -> tuple:
    """One row of ``cohort.parquet`` for display.

    Parameters
    ----------
    index : slice of a volume; None = the middle one
    window : as in `window_of`
    channel : the one shown where channels are no colours, counted from 0; of fewer the last

    Returns
    -------
    (pixels uint8, width of a pixel in mm or None, `dicom.Image.sides`)
    """
    image, channels = datasets.read(dataset, row), int(row["channels"])
    if channels > 1 and not in_colour(dataset.card):
        image = replace(image, pixels=image.pixels[..., [min(channel, channels - 1)]])
    width = image.spacing_mm[-1] if image.spacing_mm else None
    return resampling.picture(image, index, window_of(dataset.card, window)), width, image.sides


def best_slice(dataset: datasets.Dataset, row: pd.Series) -> int | None:
    """Slice with most of the mask; None (the middle one) for pictures and where nothing is marked."""
    if not isinstance(row.get("mask"), str):
        return None
    mask = datasets.read_mask(dataset, row)
    return slices.slice_to_show(mask) if mask.ndim == 3 and mask.any() else None


def look_alikes(dataset: datasets.Dataset, groups: list, patients_known: bool = True, most: int = 8,
                **look) -> np.ndarray:
    """The members of groups of copies (`screening.groups_to_see`), one after the other; Axes.

    Above each picture stand the number of its group, its file, split, patient and label.

    Parameters
    ----------
    most : pictures of a group at most; how many more it has stands above the last
    look : ``window`` and ``channel`` of `picture`
    """
    columns = [c for c in screening.SIDES.values() if c != "patient_id" or patients_known]
    rows = [row for group in groups for _, row in group.head(most).iterrows()]
    drawn = [picture(dataset, row, **look) for row in rows]
    titles, colours = [], []
    for number, group in enumerate(groups):
        for i, (_, row) in enumerate(group.head(most).iterrows(), start=1):
            more = f" + {len(group) - most} more" if i == most < len(group) else ""
            sides = " · ".join(str(row[c]) for c in columns if c in row)
            titles.append(f"group {row['duplicate_group']}{more}\n{_short(file_of(row))}\n{sides}")
            colours.append(plots.COLOURS[number % len(plots.COLOURS)])
    return plots.gallery([p for p, *_ in drawn], titles, [mm for _, mm, _ in drawn], columns=4,
                         colours=colours, size=2.1)


def file_of(row: pd.Series) -> str:
    """Name of the file of a row, with its frame where one file holds several images."""
    frame = row.get("frame")
    return f"{row['image']}" + ("" if frame is None or pd.isna(frame) else f" [{int(frame)}]")


def _short(name, most=34):
    return name if len(name) <= most else f"...{name[-most + 3:]}"


def gallery(dataset: datasets.Dataset, rows: pd.DataFrame, order: list, columns: int = 6, window: str = "auto",
            channel: int = 1) -> np.ndarray:
    """A picture of each row under its class in the colour of the class (without classes: its patient); Axes.

    Parameters
    ----------
    order : class names (`datasets.classes`)
    window, channel : as in `picture`
    """
    drawn, widths, letters = zip(*(picture(dataset, row, best_slice(dataset, row), window, channel)
                                   for _, row in rows.iterrows()), strict=True)
    names = list(rows["label"] if "label" in rows else rows["patient_id"])
    colour = {name: plots.COLOURS[i % len(plots.COLOURS)] for i, name in enumerate(order)}
    shown = window_of(dataset.card, window)
    return plots.gallery(drawn, names, widths, columns=columns, sides=letters,
                         colours=[colour.get(name, "#1b2430") for name in names],
                         title=dataset.name + (f", {shown} window" if shown else ""))


def patient_cells(dataset: datasets.Dataset, rows: pd.DataFrame, most: int = 6) -> list[tuple]:
    """What is shown of a patient: pairs (row, slice): slices of the first volume around its mask, else the images.

    Parameters
    ----------
    rows : of the patient, without a problem; of none nothing is shown
    """
    shown = [row for _, row in rows.head(most).iterrows()]
    if not shown or pd.isna(shown[0]["depth"]):
        return [(row, None) for row in shown]
    depth, best = int(shown[0]["depth"]), best_slice(dataset, shown[0])
    first = int(np.clip((slices.middle(depth) if best is None else best) - 2, 0, max(0, depth - most)))
    return [(shown[0], i) for i in range(first, min(depth, first + most))]


def patient(dataset: datasets.Dataset, cells: list, **look) -> np.ndarray:
    """Pictures of one patient (`patient_cells`) with the outlines of their masks; Axes.

    Parameters
    ----------
    look : ``window`` and ``channel`` of `picture`
    """
    drawn, widths, letters = zip(*(picture(dataset, row, i, **look) for row, i in cells), strict=True)
    titles = [f"row {row['row']}" if i is None else f"slice {i}" for row, i in cells]
    grid = plots.gallery(drawn, titles, widths, size=1.9, sides=letters)
    for ax, (row, i) in zip(grid.flat, cells, strict=False):
        mask = datasets.read_mask(dataset, row) if isinstance(row.get("mask"), str) else np.zeros((1, 1), bool)
        mask = mask[i] if mask.ndim == 3 else mask
        if mask.any():
            ax.contour(mask, [0.5], colors=plots.COLOURS[1], linewidths=0.9)
    return grid


def patient_in_words(cells: list, n_rows: int) -> str:
    """What of a patient is shown (`patient_cells`), and of how much."""
    row, first = cells[0]
    if first is None:
        return f"{len(cells)} of {n_rows} images of this patient"
    return (f"slices {first} to {cells[-1][1]} of {int(row['depth'])}"
            + (f", of the first of {n_rows} images of this patient" if n_rows > 1 else ""))


def examples(rows: pd.DataFrame, seed: int, n: int = 6) -> pd.DataFrame:
    """One row at random of each class (else of each split), then any, up to five; never more than ``n``."""
    some = pd.concat([g.sample(1, random_state=seed) for _, g in rows.groupby("label" if "label" in rows else "split")])
    more = rows.drop(some.index)
    return pd.concat([some, more.sample(min(len(more), max(0, n - 1 - len(some))), random_state=seed)]).head(n)


def before_and_after(dataset: datasets.Dataset, rows: pd.DataFrame, prepared: np.ndarray, places: np.ndarray,
                     window: str | None = None) -> np.ndarray:
    """Images as stored above the same images as prepared, at the slice with most of the mask; Axes.

    The grey levels of the prepared ones are stretched, all alike (`resampling.contrasted`).

    Parameters
    ----------
    prepared : (n, ..., channels) uint8, of the rows; places : their geometry (`imaging.geometry`)
    window : of the images as stored; None: the full range of HU, other units as `resampling.picture` shows them
    """
    window = window or ("full" if dataset.card.get("intensity") == "HU" else None)
    before = [datasets.read(dataset, row) for _, row in rows.iterrows()]
    after = [dicom.Image(pixels, geometry.prepared_spacing(g)) for pixels, g in zip(prepared, places, strict=True)]
    first = [best_slice(dataset, row) for _, row in rows.iterrows()]
    second = [None if i is None else int(np.clip(np.rint((i - g[0, 0]) / g[0, 1]), 0, len(p) - 1))
              for i, g, p in zip(first, places, prepared, strict=True)]
    names = list(rows["label"].astype(str) if "label" in rows else rows["patient_id"])
    titles = [f"{name}\n{' x '.join(map(str, image.pixels.shape[:-1]))}"
              for name, image in zip(names * 2, before + after, strict=True)]
    drawn = [resampling.picture(image, i, window) for image, i in zip(before, first, strict=True)]
    drawn += resampling.contrasted([resampling.picture(image, i) for image, i in zip(after, second, strict=True)])[0]
    widths = [image.spacing_mm[-1] if image.spacing_mm else None for image in before + after]
    return plots.gallery(drawn, titles, widths, columns=len(rows), size=1.6)
