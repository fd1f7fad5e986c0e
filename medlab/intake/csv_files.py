"""A text table (CSV) as columns of text: delimiter, quotes and lines as a spreadsheet reads them."""

import csv
import io
import itertools
import unicodedata
from pathlib import Path

import pandas as pd

from medlab.intake import encodings

ROWS = 20_000  # rows held as Python objects at once
INVISIBLE = "\ufeff\u200b\u2060"


def clean(text: str) -> str:
    """A cell or name in one form: composed letters (NFC), plain spaces, nothing invisible at its ends."""
    if text.isascii():
        return text.strip()
    plain = unicodedata.normalize("NFC", text).replace("\u00a0", " ").replace("\u202f", " ")
    return plain.strip().strip(INVISIBLE).strip()


def read(path: Path, encoding=None) -> tuple[pd.DataFrame, str]:
    """Cells of a CSV, its header as the first row, as compact text; and how it was read, in words.

    Returns
    -------
    (DataFrame, str)
        Columns 0, 1, ... of Arrow text, cells `clean`; rows without any letter are left out.

    Raises
    ------
    ValueError
        Naming the line: another number of fields than the header, a quotation mark without its partner.
    """
    data = path.read_bytes()
    encoding, told = encodings.find(data, path.name, encoding)
    with io.TextIOWrapper(io.BytesIO(data), encoding, newline="") as file:
        del data
        delimiter, named = _delimiter(file)
        records = _records(csv.reader(file, delimiter=delimiter, strict=True), path.name, delimiter, named)
        parts = [_part(rows) for rows in iter(lambda: list(itertools.islice(records, ROWS)), [])]
    columns = [pd.concat([p.pop(c) for p in parts], ignore_index=True) for c in list(parts[0])] if parts else []
    table = pd.DataFrame(dict(enumerate(columns)), copy=False)
    return table, f"{told}, columns apart by {'tabs' if delimiter == chr(9) else repr(delimiter)}"


def _delimiter(file):
    """Delimiter of an open file, and whether its first line names it (``sep=;``, skipped); rewinds it behind that."""
    first = file.readline()
    if first[:4].lower() == "sep=" and len(first.rstrip("\r\n")) == 5:
        return first[4], 1
    file.seek(0)
    counts = {}
    for delimiter in ",;\t|":
        try:
            rows = [len(r) for r in itertools.islice(csv.reader(file, delimiter=delimiter), 50) if any(r)]
        except csv.Error:
            rows = []
        counts[delimiter] = (rows[0] > 1, rows.count(rows[0]) / len(rows), rows[0]) if rows else (False, 0, 0)
        file.seek(0)
    return max(counts, key=counts.get), 0


def _records(reader, name, delimiter, before):
    """Rows with as many fields as the first; empty ones left out."""
    width, rows = None, iter(reader)
    while True:
        line = reader.line_num + before + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{name}, line {line}: a quotation mark that opens here or below has no partner, or text "
                             f"follows it ({error}); double a mark inside a cell (\"\"), or remove it") from None
        if len(row) == width and reader.line_num + before == line:
            if "".join(row).strip():
                yield row
            continue
        if not any(c.strip() for c in row):
            continue
        width = width or len(row)
        if len(row) < width or any(c.strip() for c in row[width:]):
            raise ValueError(f"{name}, line {line}: found {len(row)} fields, expected {width} as in the header "
                             f"(delimiter {delimiter!r}); quote text that holds the delimiter")
        if width > 2 and any(_swallows(c, width, delimiter) for c in row):
            raise ValueError(f"{name}, line {line}: a quoted cell holds whole lines of {width} fields, so a quotation "
                             "mark is likely missing; close it, or remove it")
        yield row[:width]


def _swallows(cell, width, delimiter):
    inner = cell.splitlines()[1:-1]
    return bool(inner) and all(line.count(delimiter) == width - 1 for line in inner)


def _part(rows):
    import pyarrow as pa

    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pd.DataFrame({i: pd.Series(_clean(c), dtype=pd.ArrowDtype(pa.string())) for i, c in enumerate(columns)})


def _clean(column):
    """`clean` over an Arrow column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.string_is_ascii(column)).as_py():
        return pc.utf8_trim_whitespace(column)
    return pa.array([clean(cell) for cell in column.to_pylist()], pa.string())
