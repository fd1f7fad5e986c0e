"""Words of tables, one rule each: what is missing, what names a person, what is a site, a size, a unit."""

import re

import numpy as np
import pandas as pd

IDENTIFIERS = re.compile(r"(^|_|\b)(name|surname|vorname|birth|dob|geburt\w*|address|phone|e?mail|ssn|mrn|accession)",
                         re.I)


def identifying(table, keep=()):
    """Columns that may identify a person: named so, holding dates, or text with another value in every row."""
    found = {}
    for column in table.columns.difference(list(keep)):
        filled = table[column].dropna()
        if IDENTIFIERS.search(str(column)):
            found[column] = "named like an identifier"
        elif filled.map(lambda v: hasattr(v, "strftime")).any() or (
                filled.dtype == object and len(filled) and filled.astype(str).str.match(
                    r"^((19|20)\d\d[-/]?\d\d[-/]?\d\d|\d{1,2}[./]\d{1,2}[./](19|20)\d\d)( .*)?$").mean() > 0.5):
            found[column] = "holds dates"
        elif filled.dtype == object and len(filled) > 10 and filled.nunique() == len(filled):
            found[column] = "another text in every row"
    return found


# values outside are impossible, whatever the cohort: (word in the column's name, lowest, highest)
LIMITS = (("age", 0, 120), ("percent", 0, 100), ("bmi", 8, 100), ("height_cm", 20, 260),
          ("weight_kg", 0.2, 500), ("packyears", 0, 300),
          *((unit, 0, np.inf) for unit in ("mm", "cm", "mm3", "ml", "kg", "days", "months", "years")))


RADIOMICS = ("radiomics_", "original_")  # how names of image features begin (the second as IBSI software writes them)


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


MISSING = {"", "-", "?", "na", "n/a", "nan", "null", "unknown", "not available", "not reported",
           "missing", "unbekannt", "[not available]", "[not applicable]", "[not evaluated]", "[unknown]",
           "[discrepancy]"}  # the last five: codes of TCGA


SPELLINGS = {"m": "male", "f": "female", "w": "female", "man": "male", "woman": "female", "y": "yes", "n": "no",
             "true": "yes", "false": "no", "nsclc nos": "nos", "never smoker": "never", "current smoker": "current",
             "former smoker": "former", "ex smoker": "former"}


def clean_text(series):
    """Bring a text column to one spelling: trimmed, lower case, words for missing become NaN.

    An acronym spelt out in brackets loses the bracket ("NOS (not otherwise specified)" is "nos"). Only
    spellings that cannot mean anything else are joined; typing errors are left for a person to judge.
    """
    def clean(value):
        if pd.isna(value) or " ".join(str(value).split()).casefold() in MISSING:
            return np.nan
        text = re.sub(r"[\s_]+", " ", str(value)).strip(" .,;").casefold()
        found = re.fullmatch(r"(.*?\b(\w+)) ?\(([^()]+)\)", text)
        if found and "".join(w[0] for w in found[3].split()) == found[2]:
            text = found[1]
        return SPELLINGS.get(text.replace("-", " "), text)

    return series.map(clean)


SITE = ("site", "source", "hospital", "centre", "center", "scanner", "vendor", "manufacturer", "institution", "device")


ACQUISITION = re.compile(
    r"(^|_)(site|hospital|cent(er|re)|institution|scanner|manufacturer|vendor|device|model_name|kvp|tube|kernel|"
    r"protocol|sequence|contrast|slice_thickness|thickness|field_strength|source)(_|$)", re.IGNORECASE)


SIZE = ("depth", "height", "width", "channels", "spacing_mm")


def varied(table, columns, most=0.5):
    """Those of the columns that differ between rows, without those that nearly name the row (text)."""
    found = []
    for name in columns:
        values = table[name]
        number = pd.api.types.is_numeric_dtype(values)
        if values.nunique() > 1 and (number or values.nunique() <= max(2, most * len(values))):
            found.append(name)
    return found


def acquisition(cohort):
    """Columns of cohort.parquet that say how an image was taken, not what is on it, and that vary."""
    clinical, _ = parts_of(cohort)  # a texture feature may be called contrast
    return varied(cohort, [name for name in clinical if ACQUISITION.search(name) or name in SIZE])


LATER = re.compile(r"death|dead|vital|deceased|last.?contact|follow.?up|progress|relaps|recur"
                   r"|(^|[._])(os|dss|pfi|dfi|pfs|rfs)([._]|$)", re.I)


def recorded_later(columns: list) -> list[str]:
    """Columns whose name says that they were recorded after the start of follow-up: the outcome under another name."""
    return [column for column in columns if LATER.search(column)]
