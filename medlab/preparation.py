"""Cleaning, imputation and prepared arrays: what is fitted is fitted on train and kept as plain numbers.

Prepared arrays hold nothing fitted and do not depend on the split, so that folds and seeds share one file.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import datasets, storage

# values outside are impossible, whatever the cohort: (word in the column's name, lowest, highest)
LIMITS = (("age", 0, 120), ("percent", 0, 100), ("bmi", 8, 100), ("height_cm", 20, 260),
          ("weight_kg", 0.2, 500), ("packyears", 0, 300),
          *((unit, 0, np.inf) for unit in ("mm", "cm", "mm3", "ml", "kg", "days", "months", "years")))
RADIOMICS = ("radiomics_", "original_")  # how names of image features begin (the second as IBSI software writes them)
OUTLIERS = ("impossible", "iqr", "keep")


def is_text(series):
    """Whether a covariate holds words (booleans and numbers do not)."""
    return not (pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series))


def parts_of(columns):
    """Names of covariates in two lists: clinical ones, and features measured in the images (radiomics)."""
    radiomics = [name for name in columns if str(name).startswith(RADIOMICS)]
    return [name for name in columns if name not in radiomics], radiomics


def limits(column):
    """Lowest and highest possible value by the words in a column's name, or None."""
    words = f"_{column.lower()}_"
    return next(((low, high) for word, low, high in LIMITS if f"_{word}_" in words), None)


def impossible(cohort, columns):
    """Values that cannot be: DataFrame with row, patient_id, column, value, expected."""
    found = []
    for column in (c for c in columns if limits(c) and not is_text(cohort[c])):
        low, high = limits(column)
        values = pd.to_numeric(cohort[column], errors="coerce")
        for row in cohort.index[(values < low) | (values > high)]:
            found.append((row, cohort.loc[row, "patient_id"], column, values[row], f"{low:g} to {high:g}"))
    return pd.DataFrame(found, columns=["row", "patient_id", "column", "value", "expected"])


def spellings(cohort, columns):
    """Categories as written and as cleaned: DataFrame with column, written, cleaned, n (rows)."""
    parts = []
    for column in (c for c in columns if is_text(cohort[c])):
        table = pd.DataFrame({"written": cohort[column], "cleaned": datasets.clean_text(cohort[column])})
        table = table.fillna("(missing)").value_counts().rename("n").reset_index()
        parts.append(table.assign(column=column))
    empty = pd.DataFrame(columns=["column", "written", "cleaned", "n"])
    return pd.concat(parts, ignore_index=True)[empty.columns] if parts else empty


def clean(cohort, columns, train, outliers="impossible"):
    """One spelling per category, impossible values and (on request) outliers set to missing.

    Parameters
    ----------
    cohort : DataFrame
    columns : covariates
    train : (n,) bool; quartiles are those of these rows only.
    outliers : "impossible" removes what cannot be; "iqr" also what lies more than 3 interquartile ranges
        outside the quartiles of train; "keep" leaves all numbers as they are.

    Returns
    -------
    (cohort cleaned, DataFrame of what was changed: row, column, was, becomes, why)
    """
    if outliers not in OUTLIERS:
        raise ValueError(f"outliers: found {outliers!r}, expected one of {', '.join(OUTLIERS)}")
    cleaned, changes = cohort.copy(), []
    for column in columns:
        if is_text(cohort[column]):
            cleaned[column] = as_usually_written(cohort[column], train)
            continue
        cleaned[column] = pd.to_numeric(cohort[column], errors="coerce").astype(float)
        reasons = {}
        if outliers != "keep" and limits(column):
            reasons["impossible"] = limits(column)
        if outliers == "iqr" and cleaned.loc[train, column].nunique() > 10:
            q1, q3 = cleaned.loc[train, column].quantile([0.25, 0.75])
            reasons["beyond 3 IQR"] = (q1 - 3 * (q3 - q1), q3 + 3 * (q3 - q1))
        for why, (low, high) in reasons.items():
            for row in cleaned.index[(cleaned[column] < low) | (cleaned[column] > high)]:
                changes.append((row, column, cleaned.loc[row, column], None, f"{why}: {low:g} to {high:g}"))
                cleaned.loc[row, column] = np.nan
    return cleaned, pd.DataFrame(changes, columns=["row", "column", "was", "becomes", "why"])


def as_usually_written(series, train):
    """Cleaned words in the spelling that is the most frequent one in train ("II", not "ii").

    Parameters
    ----------
    series : (n,) text; train : (n,) bool

    Returns
    -------
    Series (n,): words that mean the same are written the same, words for missing are NaN (`datasets.clean_text`).
    """
    words = datasets.clean_text(series)
    written = pd.DataFrame({"word": words, "written": series.astype(object)})[np.asarray(train)].dropna()
    counts = written.value_counts().reset_index().sort_values(["count", "written"], ascending=[False, True])
    usual = counts.drop_duplicates("word").set_index("word")["written"].str.strip()
    return words.map(lambda word: usual.get(word, word), na_action="ignore")


def fit_covariates(train, columns, categories=(), min_patients=5):
    """Fit imputation and scaling on the patients of train.

    Parameters
    ----------
    train : DataFrame of cleaned rows of train; the first row of each patient counts.
    columns : covariates
    categories : columns of numbers that are names of categories (clusters, codes)
    min_patients : a level or an indicator of missingness needs as many patients.

    Returns
    -------
    dict, plain: per column kind "number" (median, mean, std) or "category" (levels, reference: the most
    frequent), and missing_indicator (of columns missing in the same patients only the first has one); or kind
    "dropped" and why.
    """
    patients = train.drop_duplicates("patient_id")
    fitted = {column: _fit_column(patients[column], column in categories, min_patients) for column in columns}
    gaps = patients[[column for column in fitted if fitted[column].get("missing_indicator")]].isna()
    for column in gaps.columns[gaps.T.duplicated()]:  # all features of a region are missing where there is none
        fitted[column]["missing_indicator"] = False
    return fitted


def _fit_column(values, category, min_patients):
    n, missing = len(values), int(values.isna().sum())
    indicator = bool(min_patients <= missing <= n - min_patients)
    if n - missing < min_patients or values.nunique() < 2:
        return {"kind": "dropped", "why": f"{values.nunique()} values in {n - missing} patients of train"}
    if not category and not is_text(values):
        median = float(values.median())
        filled = values.astype(float).fillna(median)
        return {"kind": "number", "median": median, "mean": float(filled.mean()),
                "std": float(filled.std(ddof=0)) or 1.0, "missing": missing, "missing_indicator": indicator}
    counts = values.dropna().map(_level).value_counts()
    if len(counts) > 20 and len(counts) > n / 2:
        return {"kind": "dropped", "why": f"{len(counts)} different words: names, no categories"}
    levels = sorted(counts.index[counts >= min_patients])
    if not levels:
        return {"kind": "dropped", "why": f"no level with {min_patients} patients of train"}
    reference = max(levels, key=lambda level: (counts[level], level))
    return {"kind": "category", "levels": levels, "reference": reference, "missing": missing,
            "missing_indicator": indicator}


def _level(value):
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)


def apply_covariates(table, fitted):
    """Cleaned covariates as numbers, by what was fitted on train; no value is missing afterwards.

    Numbers: median for missing, then (x - mean) / std. Categories: one 0/1 column per level except the
    reference; a missing level, one that is rare in train or not in train, is 0 in all of them.

    Returns
    -------
    DataFrame of float, index of the table; columns ``name``, ``name=level``, ``name_missing``.
    """
    columns = {}
    for name, fit in fitted.items():
        if fit["kind"] == "dropped":
            continue
        if fit["kind"] == "number":
            columns[name] = (table[name].astype(float).fillna(fit["median"]) - fit["mean"]) / fit["std"]
        else:
            words = table[name].map(_level, na_action="ignore")
            for level in (x for x in fit["levels"] if x != fit["reference"]):
                columns[f"{name}={level}"] = (words == level).astype(float)
        if fit["missing_indicator"]:
            columns[f"{name}_missing"] = table[name].isna().astype(float)
    return pd.DataFrame(columns, index=table.index, dtype=float)


# ---------------------------------------------------------------- the prepared arrays

def require_room(n_bytes, folder, max_memory_gb, what="images.npy"):
    """Refuse before the work what would not fit: ValueError with need, room and what to set."""
    free = shutil.disk_usage(folder).free
    if n_bytes > max_memory_gb * 1e9:
        raise ValueError(f"{what} would take {n_bytes / 1e9:.1f} GB, over max_memory {max_memory_gb:g} GB; "
                         "set a smaller image_size or image_depth, or a larger max_memory")
    if n_bytes * 1.05 + 5e7 > free:
        raise ValueError(f"{what} would take {n_bytes / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free; "
                         "make room, or set a smaller image_size or image_depth")


def in_order(function, items, threads=3, ahead=12):
    """Results of a function in the order of the items, computed by threads, few at a time.

    Decoders and NumPy release the interpreter; no more than ``ahead`` results wait in memory.
    """
    waiting = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def write_array(path, rows, shape):
    """Write uint8 rows one after the other as .npy: sequential, forced to disk, renamed when whole.

    Never ``open_memmap``: on a full disk that dies by SIGBUS and leaves a full-size file of zeros.

    Parameters
    ----------
    path : Path
    rows : iterable of arrays of shape ``shape[1:]``
    shape : of the whole array; fewer or more rows are a ValueError.
    """
    def writer(beside):
        written = 0
        with open(beside, "wb") as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "|u1", "fortran_order": False, "shape": tuple(int(s) for s in shape)})
            for row in rows:
                if row.shape != tuple(shape[1:]) or row.dtype != np.uint8:
                    raise ValueError(f"row {written}: {row.dtype} {row.shape}, expected uint8 {shape[1:]}")
                stream.write(np.ascontiguousarray(row).data)
                written += 1
        if written != shape[0]:
            raise ValueError(f"{written} rows were prepared, expected {shape[0]}")

    storage.write_atomically(path, writer)


def cached(folder, key, make, target, keep_days=1.0):
    """Link the arrays of a key into a run; make them first if no run has.

    Parameters
    ----------
    folder : Path, the cache; arrays that no run links to any more are removed after ``keep_days``.
    key : text of hex digits
    make : callable(folder) that writes ``*.npy`` files into it
    target : Path of a run; hard links where the file system allows it, else copies.

    Returns
    -------
    bool, whether the arrays were there already.
    """
    place = Path(folder) / key
    Path(folder).mkdir(parents=True, exist_ok=True)
    with _locked(place.with_suffix(".lock")):
        found = place.is_dir()
        if not found:
            making = place.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(place)
        for array in place.glob("*.npy"):
            storage.write_atomically(Path(target) / array.name, functools.partial(_link, array))
    for other in Path(folder).iterdir():
        arrays = [path.stat() for path in other.glob("*.npy")] if other.suffix == "" and other != place else []
        if arrays and all(a.st_nlink == 1 and time.time() - a.st_mtime > keep_days * 86400 for a in arrays):
            shutil.rmtree(other)
            other.with_suffix(".lock").unlink(missing_ok=True)
    return found


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


@contextlib.contextmanager
def _locked(path):
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def mean_std(array, rows):
    """Mean and standard deviation per channel of ``array[rows] / 255``, read in blocks.

    Returns
    -------
    (mean, std), lists of floats, one per channel; std is at least 1/255.
    """
    total, square, n = 0.0, 0.0, 0
    for start in range(0, len(rows), 64):
        block = np.asarray(array[rows[start:start + 64]], dtype=np.float64) / 255
        block = block.reshape(-1, block.shape[-1])
        total, square, n = total + block.sum(0), square + (block**2).sum(0), n + len(block)
    if not n:
        raise ValueError("mean_std: no rows in train; set a smaller val_fraction and test_fraction")
    mean = total / n
    return mean.tolist(), np.maximum(np.sqrt(np.maximum(square / n - mean**2, 0)), 1 / 255).tolist()
