"""Tables of outcomes: reading what people really have, joining by a key, dates.

CSV in any usual encoding, delimiter and decimal sign, or Excel; several header rows are recognised by the key.
Values stay as they were written (cleaning is preprocessing); `outcomes` codes the target columns.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary


def read_table(path, key=None, sheet=None, decimal=None) -> pd.DataFrame:
    """Read a CSV or Excel table; unreadable structure is a ValueError naming the line.

    Parameters
    ----------
    key : str, optional
        Name of the key column: where the first row does not hold it, the row that does (of the first five)
        ends the header, and the last name given above a column counts.
    decimal : {".", ","}, optional
        Only needed where "1,234" cannot be told from 1.234.
    """
    path = Path(path)
    raw = _excel(path, sheet) if path.suffix.lower() in (".xlsx", ".xls", ".xlsm") else _csv(path)
    raw = raw.map(lambda v: np.nan if vocabulary.is_missing(v, vocabulary.EMPTY) else v)
    raw = raw.dropna(how="all").reset_index(drop=True)
    if len(raw) < 2:
        raise ValueError(f"{path.name}: found {len(raw)} filled rows, expected a header and at least one row")
    last = 0
    if key:
        last = next((i for i in range(min(5, len(raw))) if key in raw.iloc[i].astype(str).str.strip().tolist()), None)
        if last is None:
            head = [str(v) for v in raw.iloc[0].dropna()]
            raise ValueError(f"{path.name}: no column {key!r}; found {', '.join(head[:30])}; "
                             "say which one joins the tables with --key COLUMN")
    table = raw.iloc[last + 1:].reset_index(drop=True)
    table.columns = _header(raw.iloc[:last + 1], path.name)
    table = table.loc[:, [c for c in table if not (c.startswith("unnamed_") and table[c].isna().all())]]
    return pd.DataFrame({c: _typed(table[c], path.name, decimal) for c in table})


def _csv(path):
    data = path.read_bytes()
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path.name}: holds zero bytes, expected a text table (CSV); save it as CSV or .xlsx")
    for encoding in ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    counts = {d: [len(r) for r in csv.reader(lines, delimiter=d)] for d in ",;\t|"}
    delimiter = max(counts, key=lambda d: (min(counts[d], default=1) > 1, len(set(counts[d])) == 1,
                                           counts[d][0] if counts[d] else 0))
    rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    rows = [(i, r) for i, r in enumerate(rows, 1) if any(c.strip() for c in r)]
    width = len(rows[0][1]) if rows else 0
    for line, row in rows:
        if len(row) != width and any(c.strip() for c in row[width:]) or len(row) < width:
            raise ValueError(f"{path.name}, line {line}: found {len(row)} fields, expected {width} as in the header "
                             f"(delimiter {delimiter!r}); quote text that holds the delimiter")
    return pd.DataFrame([r[:width] for _, r in rows], dtype=object)


def _excel(path, sheet):
    try:
        book = pd.ExcelFile(path)
    except Exception as error:  # zipfile, openpyxl and xlrd each have their own
        raise ValueError(f"{path.name}: not readable as Excel ({error}); save it again as .xlsx or CSV") from None
    if sheet is None and len(book.sheet_names) > 1:
        raise ValueError(f"{path.name}: {len(book.sheet_names)} sheets ({', '.join(book.sheet_names)}); "
                         "say which with --sheet NAME")
    if sheet is not None and sheet not in book.sheet_names:
        raise ValueError(f"{path.name}: no sheet {sheet!r}; found {', '.join(book.sheet_names)}")
    return book.parse(sheet or 0, header=None, dtype=object, keep_default_na=False)


def _header(rows, name):
    """One name per column from one or several header rows: the last filled cell, made unique by those above."""
    cells = [[str(v).strip() for v in rows[c] if pd.notna(v) and str(v).strip()] for c in rows]
    names = [c[-1] if c else f"unnamed_{i + 1}" for i, c in enumerate(cells)]
    twice = {n for n in names if names.count(n) > 1}
    names = ["_".join(c) if n in twice else n for n, c in zip(names, cells, strict=True)]
    again = sorted({n for n in names if names.count(n) > 1})
    if again:
        raise ValueError(f"{name}: column {again[0]!r} occurs {names.count(again[0])} times; name each column once")
    return names


def _typed(column, name, decimal):
    """Numbers where every filled cell is one; text, dates and codes with leading zeros stay as they are."""
    filled = column.dropna()
    if filled.empty or not filled.map(lambda v: isinstance(v, str)).all():
        numeric = filled.map(lambda v: isinstance(v, (int, float, np.number)) and not isinstance(v, bool)).all()
        return pd.to_numeric(column) if numeric else column
    text = filled.str.strip()
    if text.str.match(r"^[-+]?0\d").any():
        return column.str.strip()
    if decimal == "," or (decimal is None and text.str.contains(",").any()
                          and text.str.match(r"^[-+]?\d*,?\d+$").all()):
        if decimal is None and text[text.str.contains(",")].str.match(r"^[-+]?[1-9]\d{0,2},\d{3}$").all():
            raise ValueError(f"{name}, column {column.name!r}: {text[text.str.contains(',')].iloc[0]!r} may be a "
                             "decimal or a thousand; say --decimal ',' or --decimal '.'")
        text = text.str.replace(",", ".", regex=False)
    elif decimal == "." and text.str.match(r"^[-+]?\d{1,3}(,\d{3})*(\.\d+)?$").all():
        text = text.str.replace(",", "", regex=False)
    numbers = vocabulary.as_numbers(text)
    return column.str.strip() if numbers is None or numbers.isna().all() else numbers.reindex(column.index)


def canonical(value) -> str:
    """A key as text, the same from a number, a float of Excel or text: 7, 7.0 and " 7 " are "7"."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return re.sub(r"^(\d+)\.0$", r"\1", str(value).strip())


def join(tables: dict, key: str) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
    """Join tables by `key`; the one with several rows per key (images, slices) is the base, else the first.

    Returns
    -------
    (DataFrame, list)
        Joined table with the key as text, and (table, key, reason) for keys missing on one side.
    """
    for name, table in tables.items():
        empty = np.flatnonzero(table[key].isna())
        if len(empty):
            raise ValueError(f"{name}, row {empty[0] + 1} below the header: no value in the key column {key!r}; "
                             "fill it in or remove the row")
        tables[name] = table.assign(**{key: table[key].map(canonical)}).drop_duplicates(ignore_index=True)
    _drop_leading_zeros(tables, key)
    many = [n for n, t in tables.items() if t[key].duplicated().any()]
    if len(many) > 1:
        raise ValueError(f"tables {', '.join(many)} each have several rows per {key}; at most one may; "
                         f"for example {tables[many[1]][key][tables[many[1]][key].duplicated()].iloc[0]!r}")
    base = many[0] if many else next(iter(tables))
    result, unmatched = tables[base], []
    for name, table in tables.items():
        if name == base:
            continue
        shared = [c for c in table if c in result and c != key]
        table = table.rename(columns={c: f"{c}_{Path(name).stem}" for c in shared})
        missing = sorted(set(result[key]) - set(table[key])), sorted(set(table[key]) - set(result[key]))
        unmatched += [(base, k, f"no row in {name}") for k in missing[0]]
        unmatched += [(name, k, f"no row in {base}") for k in missing[1]]
        result = result.merge(table, on=key, how="left")
        if len(missing[0]) == len(set(result[key])):
            raise ValueError(f"{base} and {name} have no {key} in common: {missing[0][:3]} against {missing[1][:3]}; "
                             "bring the keys to one spelling")
    return result, unmatched


def _drop_leading_zeros(tables, key):
    """Bring 002 and 2 together where that joins no two keys of one table; a dictionary of tables, in place."""
    plain = {n: t[key].str.replace(r"^0+(?=\d+$)", "", regex=True) for n, t in tables.items()}
    if all(p.nunique() == tables[n][key].nunique() for n, p in plain.items()):
        for name, column in plain.items():
            tables[name] = tables[name].assign(**{key: column})


def parse_dates(column, date_format=None) -> pd.Series:
    """Dates from ISO, 20240131, 31.1.2024, slashed dates (order decided by the column) or real Excel dates.

    Slashed dates that fit both orders, or both orders in one column, are a ValueError naming an example.
    """
    if date_format:
        return pd.to_datetime(column.map(lambda v: v if pd.isna(v) else canonical(v)), format=date_format,
                              errors="coerce")
    text = column.map(lambda v: "" if pd.isna(v) else (v.strftime("%Y-%m-%d") if hasattr(v, "strftime")
                                                        else canonical(v)))
    slashed = text.str.extract(r"^(\d{1,2})[/-](\d{1,2})[/-](\d{4})$").dropna().astype(int)
    first, second = (slashed[0] > 12).any(), (slashed[1] > 12).any()
    if len(slashed) and first == second:
        reason = "both day/month and month/day occur" if first else "day and month cannot be told apart"
        raise ValueError(f"date column {column.name!r}: {text[slashed.index[0]]!r}: {reason}; "
                         "say --date-format '%d/%m/%Y' or '%m/%d/%Y', after bringing the column to one order")
    result = pd.Series(pd.NaT, index=column.index, dtype="datetime64[ns]")
    for pattern, form in ((r"^\d{4}-\d{1,2}-\d{1,2}", "%Y-%m-%d"), (r"^(19|20)\d{6}$", "%Y%m%d"),
                          (r"^\d{1,2}\.\d{1,2}\.\d{4}$", "%d.%m.%Y"), (r"^\d{4}/\d{1,2}/\d{1,2}$", "%Y/%m/%d"),
                          (r"^\d{1,2}[/-]\d{1,2}[/-]\d{4}$", "%d/%m/%Y" if first else "%m/%d/%Y")):
        rows = text.str.match(pattern)
        cells = text[rows].str.replace("-", "/").str.slice(0, 10) if "/%Y" in form else text[rows].str.slice(0, 10)
        result[rows] = pd.to_datetime(cells, format=form, errors="coerce")
    return result


def find_column(table, name) -> str:
    if name not in table:
        import difflib
        near = difflib.get_close_matches(str(name), map(str, table.columns), 1)
        raise ValueError(f"no column {name!r} in the table" + (f"; did you mean {near[0]!r}?" if near else "")
                         + f" Found: {', '.join(map(str, table.columns[:40]))}")
    return name
