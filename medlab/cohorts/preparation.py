"""Cleaning, imputation and prepared arrays: what is fitted is fitted on train and kept as plain numbers.

Prepared arrays hold nothing fitted and do not depend on the split, so that folds and seeds share one file.
"""


import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary

OUTLIERS = ("impossible", "iqr", "keep")


def impossible(cohort, columns):
    """Values that cannot be: DataFrame with row, patient_id, column, value, expected."""
    found = []
    for column in (c for c in columns if vocabulary.limits(c) and not vocabulary.is_text(cohort[c])):
        low, high = vocabulary.limits(column)
        values = pd.to_numeric(cohort[column], errors="coerce")
        for row in cohort.index[(values < low) | (values > high)]:
            found.append((row, cohort.loc[row, "patient_id"], column, values[row], f"{low:g} to {high:g}"))
    return pd.DataFrame(found, columns=["row", "patient_id", "column", "value", "expected"])


def spellings(cohort, columns):
    """Categories as written and as cleaned: DataFrame with column, written, cleaned, n (rows)."""
    parts = []
    for column in (c for c in columns if vocabulary.is_text(cohort[c])):
        table = pd.DataFrame({"written": cohort[column], "cleaned": vocabulary.clean_text(cohort[column])})
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
        if vocabulary.is_text(cohort[column]):
            cleaned[column] = as_usually_written(cohort[column], train)
            continue
        cleaned[column] = pd.to_numeric(cohort[column], errors="coerce").astype(float)
        reasons = {}
        if outliers != "keep" and vocabulary.limits(column):
            reasons["impossible"] = vocabulary.limits(column)
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
    Series (n,): words that mean the same are written the same, words for missing are NaN (`vocabulary.clean_text`).
    """
    words = vocabulary.clean_text(series)
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
    if not category and not vocabulary.is_text(values):
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


