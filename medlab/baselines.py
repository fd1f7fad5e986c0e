"""What a model without the images reaches: tables of how an image was taken, or of who the patient is.

A network can read the scanner, the hospital or the format off the pixels. If these alone predict the outcome,
the network's number may be theirs.
"""

import re

import numpy as np
import pandas as pd

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
    return varied(cohort, [name for name in cohort if ACQUISITION.search(name) or name in SIZE])


def table_model(table, y, train, head="binary"):
    """Logistic regression of the outcome on a table, fitted on the training rows only.

    Parameters
    ----------
    table : (n, m) DataFrame; numbers are imputed and standardised, text becomes indicator columns (levels
        with fewer than 5 training rows together, unseen levels none)
    y : (n,) class numbers, or (n, L) of 0/1
    train : positions of the training rows

    Returns
    -------
    Probabilities of all rows, (n,) binary, (n, K) or (n, L); None where a class has no training row.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    y, part = np.asarray(y), np.asarray(y)[train]
    classes = 2 if head == "binary" else None
    if not len(part) or np.isnan(part.astype(float)).any():
        return None
    if head == "multilabel" and (part.min(0) == part.max(0)).any():
        return None
    if head != "multilabel" and len(np.unique(part)) < (classes or len(np.unique(y))):
        return None
    flags = [name for name in table if pd.api.types.is_bool_dtype(table[name])]
    table = table.astype(dict.fromkeys(flags, float))
    numbers = [name for name in table if pd.api.types.is_numeric_dtype(table[name])]
    words = [name for name in table if name not in numbers]
    table = table.assign(**{name: table[name].astype(object).where(table[name].notna(), "missing").astype(str)
                            for name in words})
    levels = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist")
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((scaled, numbers), (levels, words))
    line = LogisticRegression(max_iter=2000)
    model = make_pipeline(columns, OneVsRestClassifier(line) if head == "multilabel" else line)
    p = model.fit(table.iloc[train], part).predict_proba(table)
    return p[:, 1] if head == "binary" else p


def bands(values, train, n=3):
    """Words for ranges of a numeric column, with ends at the quantiles of the training rows."""
    values = pd.to_numeric(pd.Series(values).reset_index(drop=True), errors="coerce")
    if values.nunique() <= n + 1:
        return values.map(lambda v: np.nan if pd.isna(v) else f"{v:g}")
    inner = np.unique(values.iloc[train].quantile(np.arange(1, n) / n).dropna())
    edges = [-np.inf, *inner, np.inf]
    names = [f"{a:.3g} to {b:.3g}" for a, b in zip(edges[1:-2], edges[2:-1], strict=True)]
    names = [f"up to {edges[1]:.3g}", *names, f"above {edges[-2]:.3g}"]
    return pd.Series(pd.cut(values, edges, labels=names).astype(object))
