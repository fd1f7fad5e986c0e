"""Pictures of some patients, on which filters, edges and registration are measured: one each, the chosen one first.

A picture is a tuple: (h, w) grey values, bool region, pixel size in mm (y, x) or None where it is unknown, patient.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd


def flat(image: np.ndarray, mask: np.ndarray, spacing_mm: tuple | None) -> tuple:
    """The image itself, or the slice of a volume with most of the region: picture, region, spacing."""
    if mask.ndim == 2:
        return image, mask, spacing_mm
    k = mask.sum(axis=(1, 2)).argmax()
    return image[k], mask[k], spacing_mm and spacing_mm[1:]


def row_of(rows: pd.DataFrame, patient: str, measured: Callable) -> int:
    """Index of the row of a patient whose region is the largest; ValueError naming whom there is, or why there is none.

    Parameters
    ----------
    rows : of the cohort; measured : row -> (grey values, region, spacing), or the problem as text (`features.read`)
    """
    mine = rows[rows["patient_id"].astype(str).eq(patient)]
    if mine.empty:
        raise ValueError(f"analysis_patient: no image of a patient {patient!r} in this run; expected one of "
                         f"{', '.join(rows['patient_id'].astype(str).unique()[:5])}, ... or nothing")
    found = (measured(row) for _, row in mine.iterrows())
    sizes = pd.Series([0 if isinstance(one, str) else one[1].sum() * np.prod(one[2] or 1) for one in found], mine.index)
    if not sizes.any():
        raise ValueError(f"analysis_patient: none of the {len(mine)} images of {patient!r} has a region that can be "
                         "measured; name another patient, or none")
    return sizes.idxmax()


def order(rows: pd.DataFrame, train: pd.DataFrame, patient: str, measured: Callable, seed: int = 0) -> pd.DataFrame:
    """Rows in the order in which pictures are taken: the patient asked for, of any part, then training patients, drawn.

    Parameters
    ----------
    rows : of the run; train : of its training part; patient : patient_id, or empty; measured : see `row_of`
    """
    pool = train[train["mask"].notna()] if "mask" in train and train["mask"].notna().any() else train
    pool = pool.sample(frac=1, random_state=seed).drop_duplicates("patient_id")
    if not patient:
        return pool
    return pd.concat([rows.loc[[row_of(rows, patient, measured)]], pool[pool["patient_id"].astype(str).ne(patient)]])


def take(pool: pd.DataFrame, measured: Callable, most: int, first: bool = False) -> tuple[list, list]:
    """Pictures of the first rows that can be measured, and these rows; the one that is shown comes first.

    Parameters
    ----------
    pool : as `order` gives it; most : so many are taken, at least one
    first : whether the first is shown; else the one with the median region

    Returns
    -------
    list of pictures, list of rows in the same order

    Raises
    ------
    ValueError
        Where no row can be measured.
    """
    pictures, rows = [], []
    for _, row in pool.iterrows():
        if len(pictures) < max(most, 1) and not isinstance(one := measured(row), str):
            pictures.append((*flat(*one), row["patient_id"]))
            rows.append(row)
    if not pictures:
        raise ValueError("no image of this run has a region that can be measured: are all masks empty? See notebook 01")
    shown = 0 if first else int(np.argsort([one[1].sum() for one in pictures])[len(pictures) // 2])
    for one in (pictures, rows):
        one.insert(0, one.pop(shown))
    return pictures, rows


def in_words(rows: list, who: str = "patients") -> str:
    """From which parts of the data the pictures come, and who is shown."""
    parts = pd.Series([row["split"] for row in rows]).map({"train": "training", "val": "validation", "test": "test"})
    parts = ", ".join(f"{n} of the {part} part" for part, n in parts.value_counts().items())
    return f"{len(rows)} pictures of {len(rows)} {who}: {parts}; shown below: {rows[0]['patient_id']}."
