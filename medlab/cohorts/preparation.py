"""Rows and covariates made ready: what is fitted is fitted on train and kept as plain numbers."""

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary

OUTLIERS = ("impossible", "iqr", "keep")


def usable_rows(cohort: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Rows of ``cohort.parquet`` to work with, and the rest: row of ``cohort.csv`` -> what is wrong with it.

    Images with a problem are left out. A patient with follow-up but without any usable image stays, after all images;
    the column ``has_image`` tells. Of a table without images all rows stay.

    Raises
    ------
    ValueError
        Where there are images and none can be read.
    """
    with_images = "image" in cohort
    usable = cohort["problem"].isna() if with_images else pd.Series(False, index=cohort.index)
    if with_images and not usable.any():
        raise ValueError(f"none of the {len(cohort)} images can be read; see the problems listed in notebook 01")
    lost = cohort[~usable & ~cohort["patient_id"].isin(cohort.loc[usable, "patient_id"])].drop_duplicates("patient_id")
    if with_images:
        lost = lost[lost["time_days"].notna()] if "time_days" in lost else lost.iloc[:0]
    rows = pd.concat([cohort[usable], lost]).reset_index(drop=True)
    left = cohort[~usable] if with_images else cohort.iloc[:0]
    return rows.assign(has_image=np.arange(len(rows)) < usable.sum()), dict(
        zip(left["row"].astype(int).tolist(), left["problem"], strict=True))


def usable_in_words(rows: pd.DataFrame, n: int) -> str:
    """How many of n rows of a cohort are used (`usable_rows`)."""
    if "image" not in rows:
        return f"A table without images: {len(rows)} patients."
    used = rows["has_image"].sum()
    return f"{used} of {n} images are used; {len(rows) - used} patients with follow-up have none"


def listed(text: str, known: list, parameter: str) -> list[str]:
    """Names of covariates in a comma-separated parameter; ValueError for one that the cohort does not have."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"{parameter}: no covariate {unknown}; known: {list(known)}")
    return names


def impossible(cohort, columns) -> pd.DataFrame:
    """Values that cannot be: DataFrame with row, patient_id, column, value, expected."""
    found = []
    for column in (c for c in columns if vocabulary.limits(c) and not vocabulary.is_text(cohort[c])):
        low, high = vocabulary.limits(column)
        values = pd.to_numeric(cohort[column], errors="coerce")
        for row in cohort.index[(values < low) | (values > high)]:
            found.append((row, cohort.loc[row, "patient_id"], column, values[row], f"{low:g} to {high:g}"))
    return pd.DataFrame(found, columns=["row", "patient_id", "column", "value", "expected"])


def spellings(cohort, columns) -> pd.DataFrame:
    """Categories as written and as cleaned: DataFrame with column, written, cleaned, n (rows)."""
    parts = []
    for column in (c for c in columns if vocabulary.is_text(cohort[c])):
        table = pd.DataFrame({"written": cohort[column], "cleaned": vocabulary.clean_text(cohort[column])})
        table = table.fillna("(missing)").value_counts().rename("n").reset_index()
        parts.append(table.assign(column=column))
    empty = pd.DataFrame(columns=["column", "written", "cleaned", "n"])
    return pd.concat(parts, ignore_index=True)[empty.columns] if parts else empty


def spelt_unlike(cohort: pd.DataFrame, columns: list) -> pd.DataFrame:
    """`spellings` of those columns in which a category is written in several ways, or a word counts as missing."""
    table = spellings(cohort, columns)
    lost = table["cleaned"] == "(missing)"
    ways = table[~lost].groupby("column")[["written", "cleaned"]].nunique()
    unlike = {*ways.index[ways["written"] > ways["cleaned"]]}
    unlike |= {*table["column"][lost & (table["written"] != "(missing)")]}
    mine = [table[table["column"] == c].sort_values(["cleaned", "n"], ascending=[True, False])
            for c in columns if c in unlike]
    return pd.concat(mine) if mine else table.iloc[:0]


def spellings_in_words(table: pd.DataFrame) -> list[str]:
    """A sentence per column of a table of `spelt_unlike`."""
    said = []
    for column, mine in table.groupby("column", sort=False):
        kept = mine[mine["cleaned"] != "(missing)"]
        lost = mine["written"][(mine["cleaned"] == "(missing)") & (mine["written"] != "(missing)")]
        said.append(f"{column}: {kept['cleaned'].nunique()} categories are written in {len(kept)} ways"
                    + (f"; {', '.join(lost)} counts as missing." if len(lost) else "."))
    return said


def impossible_in_words(table: pd.DataFrame, most: int = 5) -> list[str]:
    """Sentence about a table of `impossible`; empty if there are no such values."""
    shown = ", ".join(f"{found.column} {found.value:g}" for found in table.head(most).itertuples())
    return [f"Impossible values: {shown}"] if len(table) else []


def clean(cohort, columns, train, outliers="impossible") -> tuple[pd.DataFrame, pd.DataFrame]:
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


def as_usually_written(series, train) -> pd.Series:
    """Cleaned words in the spelling that is the most frequent one in train ("II", not "ii").

    Parameters
    ----------
    series : (n,) text; train : (n,) bool

    Returns
    -------
    Series (n,): words that mean the same are written the same, words for missing are NaN (`vocabulary.clean_text`).

    Examples
    --------
    >>> list(as_usually_written(pd.Series(["II", "ii ", "II", "n/a"]), [True] * 4))
    ['II', 'II', 'II', nan]
    """
    words = vocabulary.clean_text(series)
    written = pd.DataFrame({"word": words, "written": series.astype(object)})[np.asarray(train)].dropna()
    counts = written.value_counts().reset_index().sort_values(["count", "written"], ascending=[False, True])
    usual = counts.drop_duplicates("word").set_index("word")["written"].str.strip()
    return words.map(lambda word: usual.get(word, word), na_action="ignore")


def fit_covariates(train, columns, categories=(), min_patients=5) -> dict[str, dict]:
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
    counts = values.dropna().map(level).value_counts()
    if len(counts) > 20 and len(counts) > n / 2:
        return {"kind": "dropped", "why": f"{len(counts)} different words: names, no categories"}
    levels = sorted(counts.index[counts >= min_patients])
    if not levels:
        return {"kind": "dropped", "why": f"no level with {min_patients} patients of train"}
    reference = max(levels, key=lambda one: (counts[one], one))
    return {"kind": "category", "levels": levels, "reference": reference, "missing": missing,
            "missing_indicator": indicator}


def level(value) -> str:
    """How a level of a category is called: a number without its decimals, a word as it is."""
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)


def apply_covariates(table, fitted) -> pd.DataFrame:
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
            words = table[name].map(level, na_action="ignore")
            for one in (x for x in fit["levels"] if x != fit["reference"]):
                columns[f"{name}={one}"] = (words == one).astype(float)
        if fit["missing_indicator"]:
            columns[f"{name}_missing"] = table[name].isna().astype(float)
    return pd.DataFrame(columns, index=table.index, dtype=float)


def as_table(fitted: dict) -> pd.DataFrame:
    """What `fit_covariates` found as a table for the eye: a line per column, empty where nothing applies."""
    table = pd.DataFrame(fitted).T if fitted else pd.DataFrame({"kind": []})
    return table.astype(object).where(table.notna(), "").map(
        lambda v: f"{v:.4g}" if isinstance(v, float) else ", ".join(v) if isinstance(v, list) else v)


def fitted_in_words(fitted: dict, made: pd.DataFrame) -> str:
    """How many covariates became how many columns (`apply_covariates`)."""
    dropped = sum(fit["kind"] == "dropped" for fit in fitted.values())
    return (f"{len(fitted)} covariates became {made.shape[1]} columns without a missing value; {dropped} dropped")


def few_values(cleaned: pd.DataFrame, fitted: dict, most: int = 6) -> list[str]:
    """Covariates that are taken as numbers though they have few values: codes without an order, perhaps."""
    return [c for c, fit in fitted.items() if fit["kind"] == "number" and cleaned[c].nunique() <= most]
