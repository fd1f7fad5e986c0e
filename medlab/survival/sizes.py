"""Size of the tumour and the source of a patient as columns of a Cox model."""

import numpy as np
import pandas as pd

from medlab.cohorts import preparation, vocabulary


def tumour_size(cohort) -> tuple[pd.Series, str]:
    """Size of the marked tumour per patient: the largest among the patient's images.

    Parameters
    ----------
    cohort : DataFrame of cohort.parquet, ``mask_size`` in pixels, ``spacing_mm`` as "2 x 1 x 1", depth

    Returns
    -------
    (Series by patient_id, unit): ml of volumes, mm2 of pictures, or voxels or pixels where a spacing is unknown;
    0 is an empty mask, NaN no mask. Of a patient's slices the largest area counts, not the sum, which would grow
    with the number of slices that were taken.
    """
    solid = cohort["depth"].notna().any()
    element = cohort["spacing_mm"].map(lambda mm: float(np.prod([float(v) for v in str(mm).split(" x ")])),
                                       na_action="ignore").astype(float)
    marked = cohort["mask_size"].notna()
    known = marked.any() and element[marked].notna().all()
    size = cohort["mask_size"] * (element / (1000 if solid else 1) if known else 1.0)
    unit = ("ml" if solid else "mm2") if known else ("voxels" if solid else "pixels")
    return size.groupby(cohort["patient_id"]).max(), unit


def size_columns(size, train, least=5) -> pd.DataFrame:
    """Columns for a model of tumour size: its logarithm, and flags for "nothing marked" and "no mask".

    The hazard of a tumour goes with the logarithm of its volume; a volume of 0 has none and gets the median with a
    flag of its own. Flags that fewer than `least` patients of train have are left out.

    Parameters
    ----------
    size : (n,) Series, 0 where nothing is marked, NaN without a mask; train : (n,) bool, gives the median
    """
    positive = size > 0
    logarithm = np.log(size.where(positive))
    columns = {"log_size": logarithm.fillna(logarithm[np.asarray(train)].median()),
               "nothing_marked": (size == 0).astype(float), "no_mask": size.isna().astype(float)}
    keep = [name for name, column in columns.items() if name == "log_size" or
            least <= column[np.asarray(train)].sum() <= np.sum(train) - least]
    return pd.DataFrame(columns, index=size.index)[keep].fillna(0.0)


def size_in_words(size, unit: str) -> str:
    """What the masks say, in a sentence; size and unit as `tumour_size` returns them."""
    return (f"Tumour size in {unit}, the largest image of each patient; median of those with a tumour "
            f"{size[size > 0].median():,.4g}; nothing marked in {(size == 0).sum()} patients.")


def source_columns(patients, sites, fitted) -> pd.DataFrame:
    """Columns for a model of where and how the image was taken, nothing else; cleaned and scaled by the fitted part.

    Parameters
    ----------
    patients : DataFrame indexed by patient_id, columns of cohort.parquet; sites : columns that name a source
    fitted : (n,) bool
    """
    names = dict.fromkeys([*sites, *vocabulary.acquisition(patients)])
    names = [name for name in names if name in patients]
    taken = patients[names].rename_axis(None).assign(patient_id=patients.index)
    taken, _ = preparation.clean(taken, names, fitted)
    learnt = preparation.fit_covariates(taken[fitted], names)
    return preparation.apply_covariates(taken, learnt).set_axis(patients.index)
