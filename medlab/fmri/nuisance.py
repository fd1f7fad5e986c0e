"""Nuisance regressors of a functional run: the table of confounds beside it, and which of its columns are taken."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.fmri import paradigm

CHANGES = r"derivative|dvars|displacement|rmsd|diff|change"  # names of confounds that are differences between volumes


def confounds(folder: Path, text: str, n_volumes: int, drop: int = 0) -> pd.DataFrame:
    """Further confounds from the parameter: a table below the dataset and, after a colon, which of its columns.

    Parameters
    ----------
    text : such as ``func/sub-01_confounds.tsv`` or ``func/sub-01_confounds.tsv: csf, white_matter``; empty: none

    Returns
    -------
    DataFrame of `read_confounds`; without columns where the text is empty
    """
    if not text.strip():
        return pd.DataFrame(index=range(n_volumes - drop))
    file, _, columns = text.partition(":")
    wanted = [name.strip() for name in columns.split(",") if name.strip()]
    return read_confounds(paradigm.below(folder, file.strip()), n_volumes, wanted, drop)


def read_confounds(path: Path, n_volumes: int, columns: Sequence[str] = (), drop: int = 0) -> pd.DataFrame:
    """Confounds from a table, one row per volume; what is constant in the volumes that stay is left out.

    Differences (`CHANGES` in the name) have no first value (fMRIPrep writes n/a): it counts as 0, and a note says so.

    Parameters
    ----------
    columns : sequence of str, which ones; default all that are numbers.
    drop : int
        Volumes at the start that the model leaves out; their rows are not returned.

    Returns
    -------
    DataFrame
        A row per volume that stays, index from 0; what was changed or left out stands in ``attrs["notes"]``.

    Raises
    ------
    ValueError
        For a table of another length, unknown columns, missing values and nothing but constants, naming them.
    """
    path = Path(path)
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    unknown = [c for c in columns if c not in table]
    if unknown:
        raise ValueError(f"{path.name}: no column {unknown[0]!r}; found {', '.join(map(str, table.columns[:30]))}")
    numbers = table[list(columns)] if len(columns) else table.select_dtypes("number")
    text, table = [] if len(columns) else table.columns.difference(numbers.columns), numbers
    words = [c for c in table if table[c].dtype == object]
    if words or not table.shape[1]:
        raise ValueError(f"{path.name}: column {', '.join(words) or '(none)'} is not of numbers")
    if len(table) != n_volumes:
        raise ValueError(f"{path.name}: {len(table)} rows, the run has {n_volumes} volumes; expected one row per "
                         "volume")
    table = table.iloc[drop:].copy()
    begun = [c for c in table if re.search(CHANGES, str(c), re.I) and drop == 0 and pd.isna(table[c].iloc[0])]
    table.loc[table.index[:1], begun] = 0.0
    missing = table.columns[~np.isfinite(table).all()]
    if len(missing):
        rows = drop + np.flatnonzero(~np.isfinite(table[missing]).all(axis=1))
        raise ValueError(f"{path.name}: {len(missing)} confounds with missing values ({', '.join(missing[:5])}) in "
                         f"{len(rows)} rows, first row {rows[0]}; a model cannot use them; "
                         f"complete them, or name the columns to use: fmri_confounds: '{path.name}: csf, ...'")
    table = table.reset_index(drop=True).astype(float)
    still = table.columns[table.max() == table.min()]
    if len(still) == table.shape[1]:
        raise ValueError(f"{path.name}: every confound is constant in the {len(table)} volumes of the model "
                         f"({', '.join(still[:5])}); expected at least one that varies: name others after the table, "
                         "or leave fmri_confounds empty")
    table = table.drop(columns=still)
    told = {"constant": list(still), "not of numbers": list(text)}
    first = [f"differences without a first value, 0 there: {', '.join(begun)}"] if begun else []
    table.attrs["notes"] = first + [f"confounds left out because {why}: {', '.join(map(str, names))}"
                            for why, names in told.items() if names]
    return table
