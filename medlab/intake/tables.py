"""Tables of outcomes: reading what people really have, joining by a key.

CSV in any usual encoding, delimiter and decimal sign, or Excel; several header rows are recognised by the key.
Values stay as they were written (cleaning is preprocessing); `outcomes` codes the target columns.
"""

import difflib
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.intake import columns, csv_files

TOTALS = {"total", "totals", "sum", "sums", "mean", "median", "average", "min", "max", "sd", "std", "gesamt", "summe",
          "mittelwert", "mittel", "anzahl", "somme", "moyenne", "totale", "media", "promedio"}
UNITS = {"unit", "units", "einheit", "einheiten", "unité", "unités", "unidad", "-", "[ ]", "[]"}


def read_table(path, key=None, sheet=None, decimal=None, encoding=None, text=(), numbers=(), exact=(),
               verbatim=(), missing=()) -> pd.DataFrame:
    """Read a CSV or Excel table; unreadable structure is a ValueError naming the line.

    Parameters
    ----------
    key : str, optional
        Name of the key column: where the first row does not hold it, the row that does (of the first five)
        ends the header, and the last name given above a column counts.
    decimal : {".", ","}, optional
        Only needed where "1,234" cannot be told from 1.234.
    encoding : str, optional
        Only needed where the bytes leave it in doubt.
    text, numbers, exact : names of columns
        Ids, classes and codes that stay as they are written (the key is one); numbers although some cells are none;
        numbers of which a bound such as ``<30`` is no value.
    missing : pairs of a column (None: all) and a value that stands for missing in it
    verbatim : names of columns whose words for missing stay, since another rule reads them (classes, events)

    Returns
    -------
    DataFrame
        With ``attrs``: ``readings`` ({column: `columns.Reading`}), ``told`` (of the file), ``units`` ({column: word}
        of a row of units), ``left_out`` (list of row and reason).
    """
    if decimal not in (None, ".", ","):
        raise ValueError(f"--decimal {decimal!r}: expected . or ,")
    path, key = Path(path), None if key is None else csv_files.clean(str(key))
    excel = path.suffix.lower() in (".xlsx", ".xls", ".xlsm")
    raw, told = (_excel(path, sheet), "Excel") if excel else csv_files.read(path, encoding)
    if len(raw) < 2:
        raise ValueError(f"{path.name}: found {len(raw)} filled rows, expected a header and at least one row")
    last = _last_of_header(raw, key, path.name)
    names = _header(raw.iloc[:last + 1].map(_filled), path.name)
    raw = raw.iloc[last + 1:].reset_index(drop=True).set_axis(names, axis=1)
    out = _units_row(raw, key) | _last_rows(raw, key)
    units = raw.loc[0].map(_filled).dropna().to_dict() if 0 in out else {}
    raw = raw.drop(index=list(out)).reset_index(drop=True)
    raw = raw[[c for c in raw if not c.startswith("unnamed_") or raw[c].map(_filled).notna().any()]]
    table = _typed(raw, path.name, decimal, {*text, key}, set(numbers), set(exact), set(verbatim), missing)
    table.attrs |= {"units": units, "told": f"{told}: {len(table)} rows, {table.shape[1]} columns",
                    "left_out": [(row + 1, reason) for row, reason in out.items()]}
    return table


def _last_of_header(raw, key, name):
    if key is None:
        return 0
    for i in range(min(5, len(raw))):
        if key in [csv_files.clean(str(v)) for v in raw.iloc[i].dropna()]:
            return i
    head = [str(v) for v in raw.iloc[0].dropna()]
    near = difflib.get_close_matches(key, head, 1)
    raise ValueError(f"{name}: no column {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
                     + f"; found {', '.join(head[:30])}; say which one joins the tables with --key COLUMN")


def _filled(value):
    """A cell, or NaN for one without a letter."""
    return np.nan if pd.isna(value) or isinstance(value, str) and not value.strip() else value


def _excel(path, sheet):
    try:
        book = pd.ExcelFile(path)
    except Exception as error:  # zipfile, openpyxl and xlrd each have their own
        raise ValueError(f"{path.name}: not readable as Excel ({error}); save it again as .xlsx or CSV") from None
    if sheet is None and len(book.sheet_names) > 1:
        raise ValueError(f"{path.name}: {len(book.sheet_names)} sheets ({', '.join(book.sheet_names)}); "
                         "say which with --sheet NAME")
    if sheet is not None and str(sheet) not in book.sheet_names:
        raise ValueError(f"{path.name}: no sheet {sheet!r}; found {', '.join(book.sheet_names)}")
    table = book.parse(0 if sheet is None else str(sheet), header=None, dtype=object, keep_default_na=False)
    table = table.map(lambda v: _filled(csv_files.clean(v) if isinstance(v, str) else v))
    return table.dropna(how="all").reset_index(drop=True)


def _header(rows, name):
    """One name per column from one or several header rows: the last filled cell, made unique by those above."""
    cells = [[csv_files.clean(columns.written(v) if not isinstance(v, str) else v) for v in rows[c].dropna()]
             for c in rows]
    names = [c[-1] if c else f"unnamed_{i + 1}" for i, c in enumerate(cells)]
    twice = {n for n in names if names.count(n) > 1}
    names = ["_".join(c) if n in twice else n for n, c in zip(names, cells, strict=True)]
    again = sorted({n for n in names if names.count(n) > 1})
    if again:
        raise ValueError(f"{name}: column {again[0]!r} occurs {names.count(again[0])} times; name each column once")
    return names


def _of_numbers(rows):
    """Columns of some rows that hold numbers."""
    shares = {c: pd.to_numeric(rows[c].dropna().astype(str).str.replace(",", "."), errors="coerce").notna().mean()
              for c in rows}
    return [c for c, share in shares.items() if share > 0.8]


def _units_row(raw, key):
    """The first row where it holds units of the columns and no patient: {0: reason} or nothing."""
    if len(raw) < 4:
        return {}
    first, numbers = raw.iloc[0].map(_filled), [c for c in _of_numbers(raw.iloc[1:200]) if c != key]
    units = first[numbers].dropna().map(str)
    who = first.iloc[0] if key is None else first[key]
    named = pd.isna(who) or str(who).casefold() in UNITS or key is None and raw.columns[0] in numbers
    words = [u for u in units if not vocabulary.is_missing(u)]
    if named and words and all(columns.UNIT_WORD.fullmatch(u) for u in words):
        return {0: "units of the columns: " + ", ".join(f"{c} {u}" for c, u in units.items() if u in words)[:200]}
    return {}


def _last_rows(raw, key):
    """Rows below the patients: totals, means and the like, or a remark; {row: reason}."""
    found = {}
    for i in range(len(raw) - 1, max(len(raw) - 6, 2), -1):
        row, above = raw.iloc[i].map(_filled), raw.iloc[max(0, i - 200):i]
        first = row.iloc[0] if key is None else row[key]
        others = above.iloc[:, 0] if key is None else above[key]
        filled = row.drop(raw.columns[0] if key is None else key).dropna()
        word = str(first).casefold().rstrip(" :.") if pd.notna(first) else ""
        if word in TOTALS and word not in set(others.dropna().astype(str).str.casefold()) and (
                key is not None or len(filled) and set(filled.index) <= set(_of_numbers(above))):
            found[i] = f"{word} of the rows above"
        elif filled.empty and raw.shape[1] > 2 and len(word) > 2 * others.astype(str).str.len().max() and " " in word:
            found[i] = "a remark below the table"
        elif key is not None and pd.isna(first) and len(filled) and _sums(raw.iloc[:i], filled):
            found[i] = "sum or mean of the rows above"
        else:
            break
    return found


def _sums(above, filled):
    """Whether every number of a row is the sum or mean of its column."""
    values = pd.to_numeric(filled.astype(str), errors="coerce").dropna()
    for name, value in values.items():
        column = pd.to_numeric(above[name].dropna().astype(str), errors="coerce")
        if not np.isclose([column.sum(), column.mean()], value, rtol=0.01).any():
            return False
    return len(values) > 0


def _typed(raw, name, decimal, text, numbers, exact, verbatim, missing):
    """Types of all columns (`columns.typed`), knowing which decimal sign the file uses elsewhere."""
    import pyarrow as pa

    done, readings, cells, order = {}, {}, {}, list(raw)
    for c in order:
        kinds = set() if raw[c].dtype != object else {type(v) for v in raw[c].dropna().unique()}
        if any(hasattr(kind, "strftime") for kind in kinds) or kinds == {bool}:
            done[c] = raw[c]
            readings[c] = columns.Reading("yes/no" if kinds == {bool} else "dates")
            continue
        if c in verbatim:
            told = {value for column, value in missing if column in (None, c)}
            done[c] = raw[c].astype(object).where(raw[c] != "")
            done[c] = done[c].mask(done[c].map(canonical, na_action="ignore").isin(told))
            continue
        if c in text and any(abs(v) >= 1e15 for v in raw[c] if isinstance(v, (int, float)) and pd.notna(v)):
            raise ValueError(f"{name}, column {c!r}: numbers of more than 15 digits, which Excel rounds; "
                             "write the ids as text into the sheet")
        cells[c] = columns.cells(raw.pop(c))  # a large table is not held twice
    elsewhere = {s for c, cell in cells.items() if c not in text for s in columns.signs(cell.texts)}
    for c in list(cells):
        told = {value for column, value in missing if column in (None, c)}
        done[c], readings[c] = columns.typed(cells.pop(c), f"{name}, column {c!r}", decimal, elsewhere, c in text,
                                             c in numbers, c in exact, told)
    table = pd.DataFrame({c: done.pop(c) for c in order}, copy=False)
    table.attrs["readings"] = readings
    pa.default_memory_pool().release_unused()
    return table


def canonical(value) -> str:
    """A key as text, the same from a number, a float of Excel or text: 7, 7.0 and " 7 " are "7"; accents composed."""
    text = csv_files.clean(value if isinstance(value, str) else columns.written(value))
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def canonical_keys(column) -> pd.Series:
    """`canonical` of a column, each different value once."""
    codes, values = pd.factorize(column)
    keys = np.array([*map(canonical, values), np.nan], object)
    return pd.Series(keys[codes], index=column.index, name=column.name)


def without_zeros(keys) -> pd.Series:
    """Keys without leading zeros (002 is 2)."""
    return keys.str.replace(r"^0+(?=\d+$)", "", regex=True)


def join(tables: dict, key: str) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
    """Join tables by `key`; the one with several rows per key (images, slices) is the base, else the first.

    Returns
    -------
    (DataFrame, list)
        Joined table with the key as text, and (table, key, reason) for keys missing on one side. ``attrs`` hold
        ``zeros``: how many keys only fit without their leading zeros.
    """
    for name, table in tables.items():
        empty = np.flatnonzero(table[key].isna())
        if len(empty):
            raise ValueError(f"{name}, row {empty[0] + 1} below the header: no value in the key column {key!r}; "
                             "fill it in or remove the row")
        keys = canonical_keys(table[key])
        joined = keys.nunique() < table[key].nunique() and sorted(set(keys[~keys.isin(table[key])]))
        if joined and keys.isin(joined).sum() > len(joined):
            raise ValueError(f"{name}: {joined[0]!r} stands in the key column {key!r} in two spellings "
                             f"({joined[0]}.0); write one patient in one way")
        table.attrs = {}
        tables[name] = table.assign(**{key: keys}).drop_duplicates(ignore_index=True)
    zeros = _drop_leading_zeros(tables, key)
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
    result.attrs["zeros"] = zeros
    return result, unmatched


def _drop_leading_zeros(tables, key) -> int:
    """Bring 002 and 2 of different tables together, in place, where that joins no two keys of one table.

    Returns how many keys of the first table fit only so; where none does, every key stays as it is written.
    """
    plain = {n: without_zeros(t[key]) for n, t in tables.items()}
    shared = [set.intersection(*(set(c) for c in columns)) for columns in
              ([t[key] for t in tables.values()], plain.values())]
    gained = len(shared[1]) - len(shared[0])
    if gained <= 0 or any(p.nunique() < tables[n][key].nunique() for n, p in plain.items()):
        return 0
    for name, column in plain.items():
        tables[name] = tables[name].assign(**{key: column})
    return gained


def find_column(table, name) -> str:
    if name not in table:
        near = difflib.get_close_matches(str(name), map(str, table.columns), 1)
        raise ValueError(f"no column {name!r} in the table" + (f"; did you mean {near[0]!r}?" if near else ";")
                         + f" found: {', '.join(map(str, table.columns[:40]))}")
    return name
