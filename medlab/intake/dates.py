"""Dates of tables: which order of day and month a column has, and when it cannot be known."""

import numpy as np
import pandas as pd

FORMATS = (  # pattern, format, the order of day and month is in doubt
    (r"\d{4}-\d{1,2}-\d{1,2}(?:[T ].*)?", "%Y-%m-%d"), (r"(?:19|20)\d{6}", "%Y%m%d"),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", "%d.%m.%Y"), (r"\d{4}/\d{1,2}/\d{1,2}", "%Y/%m/%d"),
    (r"\d{4}年\d{1,2}月\d{1,2}日", "%Y年%m月%d日"), (r"\d{1,2}[-/]\d{1,2}[-/]\d{4}", "slashed"),
    (r"\d{1,2}[- ][A-Za-z]{3}[- ]\d{4}", "%d-%b-%Y"),
    (r"\d{1,2} [A-Za-z]{4,} \d{4}", "%d %B %Y"), (r"[A-Za-z]{4,} \d{1,2}, \d{4}", "%B %d, %Y"))


def like(texts) -> pd.Series:
    """Which texts look like dates."""
    return texts.str.fullmatch("|".join(f"(?:{pattern})" for pattern, _ in FORMATS)).astype(bool)


def parse_dates(column, date_format=None) -> pd.Series:
    """Dates from ISO, 20240131, 31.1.2024, slashed dates (order decided by the column) or real Excel dates.

    Parameters
    ----------
    date_format : str, optional
        How the texts are written, such as ``%d/%m/%Y``; real dates of a spreadsheet are taken as they are.

    Raises
    ------
    ValueError
        Slashed dates that fit both orders or mix both; a column of which a spreadsheet has swapped one half; a
        column without a readable date. With an example.
    """
    codes, values = pd.factorize(column)
    values = pd.Series(values, dtype=object)
    real = values.map(lambda v: hasattr(v, "strftime")).astype(bool)
    text = values[~real].map(str).str.strip().str.replace(r"\.0$", "", regex=True)
    _not_swapped(column.name, values[real], text)
    found = pd.Series(pd.NaT, index=values.index, dtype="datetime64[ns]")
    found[real] = pd.to_datetime(values[real].map(lambda v: v.strftime("%Y-%m-%d")), errors="coerce")
    for rows, form in [(text.index, date_format)] if date_format else _by_format(column.name, text):
        cells = text[rows] if date_format else _one_way(text[rows], form)
        try:
            found[rows] = pd.to_datetime(cells, format=form, errors="coerce")
        except ValueError as error:
            raise ValueError(f"--date-format {form!r}: {error}; expected such as '%d/%m/%Y'") from None
    if len(values) and found.isna().all():
        raise ValueError(f"date column {column.name!r}: no date could be read, such as {values.iloc[0]!r}; say how "
                         "they are written with --date-format '%d.%m.%Y' (%y where years have two digits), "
                         "and look whether such a day exists")
    return pd.Series(np.append(found.to_numpy(), np.datetime64("NaT"))[codes], index=column.index, name=column.name)


def _one_way(text, form):
    """Texts of one format with the same signs between the parts, without the time of the day."""
    if form == "%Y-%m-%d":
        return text.str.slice(0, 10)
    return text.str.replace("-", "/") if "/%Y" in form else text.str.replace(" ", "-") if form == "%d-%b-%Y" else text


def _by_format(name, text):
    """Rows and format of each way in which the texts are written."""
    for pattern, form in FORMATS:
        rows = text.index[text.str.fullmatch(pattern)]
        if len(rows):
            yield rows, _order(name, text[rows]) if form == "slashed" else form


def _order(name, text):
    parts = text.str.extract(r"^(\d+)[-/](\d+)").astype(int)
    first, second = (parts[0] > 12).any(), (parts[1] > 12).any()
    if first == second:
        reason = "both day/month and month/day occur" if first else "day and month cannot be told apart"
        raise ValueError(f"date column {name!r}: {text.iloc[0]!r}: {reason}; "
                         "say --date-format '%d/%m/%Y' or '%m/%d/%Y', after bringing the column to one order")
    return "%d/%m/%Y" if first else "%m/%d/%Y"


def _not_swapped(name, real, text):
    """A spreadsheet of another country makes dates of texts up to day 12, day and month swapped, and of no other."""
    parts = text.str.extract(r"^(\d{1,2})[-/.](\d{1,2})[-/.]\d{4}$").dropna().astype(int)
    iso = text.str.extract(r"^\d{4}-\d{1,2}-(\d{1,2})")[0].dropna().astype(int)
    days = [*real.map(lambda v: v.day), *iso]
    if len(parts) and days and max(days) <= 12 and (parts.max(axis=1) > 12).all():
        raise ValueError(f"date column {name!r}: {len(days)} cells are dates, all of days 1 to 12, and {len(parts)} "
                         f"are text that no month fits, such as {text[parts.index[0]]!r}: a spreadsheet set to another "
                         "country swapped day and month in the first. Export the column again as text from where it "
                         "came from; in this file the right dates are lost")


def form(column, date_format=None) -> str:
    """How the dates of a column are written, with the last day of 2020 as the example (no date of a person)."""
    values = pd.Series(column.dropna().unique(), dtype=object)
    real = values.map(lambda v: hasattr(v, "strftime")).astype(bool)
    text = values[~real].map(str).str.strip()
    forms = [date_format] if date_format else [f for _, f in _by_format(column.name, text)]
    day = pd.Timestamp(2020, 12, 31)
    told = [f"{f} (such as {day.strftime(f)})" for f in dict.fromkeys(forms)]
    return ", ".join((["dates of a spreadsheet"] if real.any() else []) + told) or "no dates"
