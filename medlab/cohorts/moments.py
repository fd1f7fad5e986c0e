"""Dates that become days since the time origin, and ages of the very old: what identifies by when it was."""

import pandas as pd

from medlab.cohorts import identifiers, vocabulary


def as_days(table, left_out, start) -> pd.DataFrame:
    """Of the columns that hold dates, days since `start` under ``COLUMN_days``; those that cannot be read are left out.

    Parameters
    ----------
    left_out : {column: why}, as `identifiers.identifying` gives it; dates of birth are not turned (they say the age)
    start : Series of dates, one per row
    """
    found = {}
    for column in (c for c, why in left_out.items() if why == identifiers.HOLDS_DATES):
        dates = read_dates(table[column])
        if dates is not None:
            found[f"{column}_days"] = (dates.dt.normalize() - start).dt.days.astype(float)
    return pd.DataFrame(found, index=table.index)


FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y",
         "%d-%B-%Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y", "%d/%b/%Y")
SLASHED = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"), ("%d/%m/%y", "%m/%d/%y"))
TRANSLATED = {r"\bj[aä]n\w*": "Jan", r"\bf[eé]b?[vr]\w*": "Feb", r"\bm(ä|ae?)r\w*|\bmrz": "Mar", r"\bmai\b": "May",
              r"\bokt\w*": "Oct", r"\bde[zc]\w*": "Dec", r"\bjuin\b": "Jun", r"\bjuil\w*": "Jul", r"\bavr\w*": "Apr"}


def read_dates(column) -> pd.Series | None:
    """Dates in one of the usual forms; None where a filled cell fits none, or day and month cannot be told apart."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    filled = column.dropna()
    text = filled.map(lambda v: v.strftime("%Y-%m-%d") if hasattr(v, "strftime") else identifiers.written(v).strip())
    text = text.str.replace(f"{identifiers.CLOCK}$", "", regex=True)
    for pattern, month in TRANSLATED.items():
        text = text.str.replace(pattern, month, regex=True, case=False)
    text = text.str.replace(r"(?<=\d)\. (?=[A-Za-z])", " ", regex=True)
    for form in FORMS:
        dates = pd.to_datetime(text, format=form, errors="coerce")
        if len(text) and dates.notna().all():
            return dates.reindex(column.index)
    for pair in SLASHED:
        first, second = (pd.to_datetime(text, format=form, errors="coerce") for form in pair)
        if len(text) and first.notna().all() != second.notna().all():
            return (first if first.notna().all() else second).reindex(column.index)
    return None


AGE = {"age", "ages", "alter", "edad", "eta", "nianling", "leeftijd", "patientage", "idade", "wiek", "ålder", "возраст"}
NO_AGE = {"gestational", "bone", "group", "brain", "predicted", "gap", "score", "stage", "biological", "menarche"}
OLD = {"months": 12, "month": 12, "mo": 12, "weeks": 52.18, "week": 52.18, "days": 365.25, "day": 365.25}


def cap_ages(table, most=90) -> list:
    """Ages above 89 years become 90, in place: above, an age identifies; returns the columns where that was so."""
    found = []
    for column in table:
        words = vocabulary.words_of(column)
        named = words & AGE or any(word in str(column) for word in ("年龄", "年齢", "나이", "연령"))
        if not named or words & NO_AGE or not pd.api.types.is_numeric_dtype(table[column]):
            continue
        unit = next((OLD[w] for w in words if w in OLD), 1)
        old = table[column].between(most * unit, 120 * unit)  # above 120 it is no age; the check says so
        if (table.loc[old, column] > most * unit).any() and (table[column] <= 120 * unit).mean() > 0.5:
            table.loc[old, column] = table[column].dtype.type(most * unit)
            found.append(column)
    return found
