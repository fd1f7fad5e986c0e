"""Columns of a table: numbers, text or dates, decided after the words for missing are taken out.

A column works on its different cells, so that a million rows cost little more than a thousand. What is not as the
rest of its column is named in the reading of the column, never dropped without a word.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.intake import dates

COMMA = r"[-+]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+)?(?:,\d+)?(?:[eE][-+]?\d+)?"
POINT = r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"
NUMBER = r"[-+]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][-+]?\d+)?"
BOUND = re.compile(rf"(?:<|>|<=|>=|=<|=>|≤|≥|&lt;|&gt;)\s*({NUMBER})\s*(.*)|({NUMBER})\+")
UNIT = re.compile(rf"({NUMBER})(?!.*(?:\s\d|\d{{4}})|\s*/(?:[A-Za-z]+/)?\d)"  # no year, fraction or date 1/2/20
                  r"\s*([A-Za-zµμ°%‰²³/][^\d<>=,;]*\d?\S{0,8}|[岁歳才세天周週]|[个ヶか]月|[а-я]{2,5}(?:/[а-я]{1,3})?)")
CODE = re.compile("-1|-?9{1,6}|-?8{2,6}|-?7{2,6}")  # numbers that often stand for missing
RANGE = re.compile(rf"{NUMBER}\s*(?:[-–—]|to|bis|à)\s*{NUMBER}")
UNIT_WORD = re.compile(r"[\[(]?(?=.*[A-Za-zµμ°%‰#])[A-Za-zµμ°%‰#²³·*^/\-\d. ]{1,20}[\])]?")
FEW = 10  # different whole numbers that, beside words, are codes
GROUPED = re.compile(r"([-+]?\d{1,3})((?:[ '’]\d{3})+)([.,]\d+)?")


@dataclass
class Reading:
    """How a column was read: type, words taken as missing, notes, what is open, left out, or may stand for missing."""

    type: str
    missing: Counter = field(default_factory=Counter)
    notes: list = field(default_factory=list)
    questions: list = field(default_factory=list)
    spoiled: list = field(default_factory=list)
    strays: list = field(default_factory=list)
    unit: str | None = None

    def __str__(self) -> str:
        gaps = self.missing.total()
        words = ", ".join(f"{w!r} {n}" for w, n in self.missing.most_common(5) if w)
        told = [f"{gaps} missing" + (f" ({words})" if words else "")] if gaps else []
        return ", ".join([self.type, *told, *self.notes])


@dataclass
class Cells:
    """A column as its different cells (text), how often each occurs, and which cell stands in which row (-1: none)."""

    texts: pd.Series
    counts: np.ndarray
    codes: np.ndarray

    def row(self, i) -> int:
        """First row, from 1, of a cell."""
        return int(np.argmax(self.codes == i)) + 1

    def spread(self, values, empty=np.nan) -> pd.Series:
        """One value per different cell, put into all rows."""
        values = np.append(values.to_numpy(), np.array([empty], values.dtype if values.dtype == object else float))
        return pd.Series(values[self.codes])


def cells(column) -> Cells:
    """The different cells of a column of text, or of a spreadsheet's numbers and text, where 7.0 is "7"."""
    import pyarrow as pa

    codes, texts = pd.factorize(column)
    if not isinstance(column.dtype, pd.ArrowDtype):
        texts = [t if isinstance(t, str) else written(t) for t in texts]
    texts = pd.Series(texts, dtype=pd.ArrowDtype(pa.string()))  # Arrow's patterns are many times faster than Python's
    return Cells(texts, np.bincount(codes[codes >= 0], minlength=len(texts)), codes.astype("int32"))


def written(value) -> str:
    """A number of a spreadsheet as text."""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def plain(texts) -> pd.Series:
    """Texts with the signs of numbers that all programs know: -, no groups by blank or apostrophe, ASCII digits."""
    def one(text):
        text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").strip()
        found = GROUPED.fullmatch(text)
        return found[1] + re.sub("[ '’]", "", found[2]) + (found[3] or "") if found else text

    odd = texts.str.contains(r"[ '’]|[^\x00-\x7f]")
    return texts.mask(odd, texts[odd].astype(object).map(one).astype(texts.dtype)) if odd.any() else texts


def to_numbers(texts) -> pd.Series:
    """Texts as finite numbers, NaN for every other."""
    numbers = pd.to_numeric(texts.astype(object), errors="coerce").astype(float)
    return numbers.where(np.isfinite(numbers))


def with_sign(texts, sign) -> pd.Series:
    """Numbers of texts whose decimals stand behind `sign`, with or without groups of three; NaN for what is none."""
    if sign == ",":
        fits = texts.str.fullmatch(COMMA) & texts.str.contains(r"\d")
        numbers = texts.where(fits).str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    else:
        numbers = texts.mask(texts.str.fullmatch(POINT), texts.str.replace(",", "", regex=False))
    return to_numbers(numbers)


def signs(texts) -> set:
    """Decimal signs of which a cell leaves no doubt: ``0,5`` and ``1.234,5``, or ``12.5`` and ``1,234.5``."""
    marked = texts[texts.str.contains(r"[.,]\d|\d[.,]")]
    if marked.empty:
        return set()
    by = {sign: with_sign(marked, sign).notna() for sign in ",."}
    return {sign for sign, other in ((",", "."), (".", ",")) if (by[sign] & ~by[other]).any()}


def decimal_sign(texts, counts, where, decimal, elsewhere, reading) -> str:
    """Decimal sign of a column: as told if its cells allow it, else by its own cells, else by the file's others.

    Raises
    ------
    ValueError
        Where ``1,234`` may be a decimal or a thousand, and no other cell tells.
    """
    own = signs(texts)
    if len(own) == 1:
        return own.pop()
    if own:
        return decimal or max(",.", key=lambda sign: counts[with_sign(texts, sign).notna()].sum())
    doubtful = texts[texts.str.fullmatch(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")]
    if decimal or doubtful.empty:
        return decimal or "."
    example, comma = doubtful.iloc[0], doubtful.str.contains(",").any()
    if len(elsewhere) == 1:
        sign = next(iter(elsewhere))
        if (sign == ",") != comma:
            reading.questions.append((f"{where}: {example!r} read as a thousand, since decimals of other columns stand "
                                      f"behind {sign!r}", "--decimal"))
        return sign
    if comma:
        raise ValueError(f"{where}: {example!r} may be a decimal or a thousand; say --decimal ',' or --decimal '.'")
    return "."


def typed(column: Cells, where, decimal=None, elsewhere=(), text=False, number=False,
          exact=False, missing=()) -> tuple[pd.Series, Reading]:
    """A column with its type, and how it was read.

    Parameters
    ----------
    where : str
        File and column, for messages.
    decimal : {".", ","}, optional
        As told; `elsewhere` are the signs that other columns of the file leave no doubt of.
    text : bool
        Ids, classes, codes: never numbers.
    number : bool
        Told to be one: cells that are none are missing.
    exact : bool
        A bound (``<30``) is no value here: the time of an outcome.
    missing : set of text
        Values that are told to stand for missing (``none``: there are none).

    Returns
    -------
    (Series, Reading)
        Numbers (whole ones stay whole), or text, with NaN where missing.
    """
    texts, counts = column.texts, column.counts
    numbers = to_numbers(texts)
    gaps = _gaps(texts, numbers) | texts.isin(list(missing)) | numbers.isin(pd.to_numeric(
        pd.Series(sorted(missing), dtype=object), errors="coerce").dropna())
    reading = Reading("text")
    for i in np.flatnonzero(gaps):
        reading.missing[texts[i]] += int(counts[i])
    if (column.codes < 0).any():
        reading.missing[""] += int((column.codes < 0).sum())
    filled = texts[~gaps]
    if filled.empty:
        reading.type = "empty"
        return pd.Series(np.nan, index=range(len(column.codes))), reading
    code = None if number or numbers.isna().all() else vocabulary.code_like(filled[numbers[~gaps].notna()])
    if not text and not code:
        result = _as_number(column, filled, where, decimal, elsewhere, number, exact, reading)
        if result is not None:
            reading.strays = [] if "none" in missing else reading.strays
            return result, reading
    if code and not text:
        reading.notes.append(f"kept as text: {code}")
    if not text and dates.like(filled).mul(counts[filled.index]).sum() > 0.5 * counts[filled.index].sum():
        reading.type = "dates"
    odd = filled[filled.str.lower().isin(vocabulary.AMONG_NUMBERS)]
    reading.notes += [f"{t!r} ({counts[i]}) is a value" for i, t in odd.items()]
    return column.spread(texts.astype(object).mask(gaps)), reading


def _gaps(texts, numbers):
    """Which cells are words for missing; beside a "+" a "-" is a finding."""
    words = texts[numbers.isna() & (texts.str.len() < 24)].astype(object)
    return texts.index.isin(words.index[vocabulary.missing(words)])


def _as_number(column, filled, where, decimal, elsewhere, told, exact, reading):
    """Numbers where the column holds them, but for a few cells, which the reading names; else None."""
    words = filled.str.lower().isin(vocabulary.AMONG_NUMBERS)
    pure = plain(filled[~words])
    counts = pd.Series(column.counts)
    if pure.empty:
        return None
    sign = decimal_sign(pure, counts[pure.index], where, decimal, elsewhere, reading)
    values = with_sign(pure, sign)
    odd = pure[values.isna()]
    if values.isna().all() and not told and not any(UNIT.fullmatch(t) or BOUND.fullmatch(t) for t in odd[:50]):
        return None
    parsed = {i: _odd(t, sign) for i, t in odd.items()}
    if exact and len({u.casefold() for _, _, u in parsed.values()} - {""}) > 1:
        raise ValueError(f"{where}: several units, expected one; write all its times in one unit")
    if not (told or exact) and not _worth(values, counts, parsed, pure, reading, where):
        return None
    for i, t in filled[words].items():
        reading.missing[t] += int(counts[i])
    for i, (value, kind, _) in parsed.items():
        if kind and not (exact and kind == "bound"):
            values[i] = value
    _name(column, filled, parsed, exact, reading, where)
    reading.type = "number"
    reading.strays = strays(values, counts)
    result = pd.Series(np.nan, index=column.texts.index)
    result[values.index] = values
    if exact and values.isna().any():  # the rows are refused with what stands there
        return column.spread(result.astype(object).fillna(filled[values.index[values.isna()]]))
    spread = column.spread(result)
    whole = sign == "." and not parsed and pure.str.fullmatch(r"[-+]?\d+").all() and spread.notna().all()
    return spread.astype("int64") if whole else spread


def strays(values, counts) -> list:
    """Numbers such as 9, 99, 999 and -1, -9, -99 that lie apart from all others of a column: (number, cells, others).

    Parameters
    ----------
    values : Series
        The different numbers of the column; `counts` says how often each occurs, by the same index.
    """
    cells = counts[values.index].groupby(values).sum()  # sorted by number
    mark = cells.index.map(lambda v: bool(CODE.fullmatch(f"{v:.12g}")))
    rest = cells.index[~mark]
    if len(rest) < 2 or cells.sum() < 8:
        return []
    low, high, found = rest.min(), rest.max(), []
    for v in cells.index[mark]:
        few = v == 9 and cells[v] > 1 and 1 <= high <= 5 and (rest % 1 == 0).all()
        if few or v < 0 <= low and high > 1 or v > 9 and v - high > high - min(low, 0):
            found.append((f"{v:g}", int(cells[v]), f"{low:g} to {high:g}"))
    return found


def _odd(text, sign):
    """Value, kind (bound, unit or None) and unit of a cell that is no plain number."""
    found = BOUND.fullmatch(text)
    kind, number, unit = ("bound", found[1] or found[3], found[2] or "") if found else (None, None, "")
    if not found and (found := UNIT.fullmatch(text)):
        kind, number, unit = "unit", found[1], found[2]
    if not kind:
        return np.nan, None, ""
    value = with_sign(pd.Series([number]), sign)[0]
    return value, kind if pd.notna(value) else None, re.sub(r"\s+", "", unit)


def _worth(values, counts, parsed, texts, reading, where):
    """Whether the column is one of numbers in spite of its odd cells; what is open becomes a question."""
    name = where.rpartition("column ")[2].strip("'\"")
    good = values.dropna()
    cells = int(counts[good.index].sum())
    units = {unit.casefold() for _, _, unit in parsed.values() if unit}
    odd = [i for i, (_, kind, _) in parsed.items() if not kind]
    words = int(counts[odd].sum())
    bounds = int(counts[[i for i, (_, kind, _) in parsed.items() if kind]].sum())
    few = len(good) <= FEW and (good % 1 == 0).all() and cells >= 2 * len(good) and len(good) > 0
    if not words and (not units or len(units) == 1 and not (few and max(map(len, units)) == 1 and units != {"%"})):
        return True
    if few or cells + bounds < words:
        return False
    if odd and all(RANGE.fullmatch(texts[i]) for i in odd):
        return False  # groups such as 50-70
    if len(units) > 1:
        reading.questions.append((f"{where}: several units ({', '.join(sorted(units)[:4])}), read as text",
                                  f"--drop {name}, --text {name}"))
        return False
    if words <= 0.1 * (cells + bounds + words):
        reading.questions.append((f"{where}: {words} cells are no numbers, read as missing", f"--numbers {name}, "
                                  f"--text {name}"))
        return True
    reading.questions.append((f"{where}: {words} of {cells + bounds + words} cells are no numbers, read as text",
                              f"--numbers {name}, --text {name}"))
    return False


def _name(column, filled, parsed, exact, reading, where):
    """Notes of bounds and units with their cells; what could not be read goes to the list of spoiled cells."""
    units = Counter(unit for _, kind, unit in parsed.values() if unit)
    for i, (_, kind, _) in parsed.items():
        if not kind or exact and kind == "bound":
            reading.spoiled.append((column.row(i), filled[i], int(column.counts[i])))
    for kind, words in (("bound", "read as its bound"), ("unit", "read without its unit")):
        rows = [i for i, (_, k, _) in parsed.items() if k == kind and not (exact and kind == "bound")]
        n = int(column.counts[rows].sum()) if rows else 0
        if n:
            reading.notes.append(f"{filled[rows[0]]!r} in row {column.row(rows[0])} {words}" + (
                f" (and {n - 1} more)" if n > 1 else ""))
    reading.unit = units.most_common(1)[0][0] if units else None
    reading.notes += [f"unit {reading.unit}"] if units else []
    reading.notes += [f"{cell[:20]!r} in row {row} is no number" + (f" (and {n - 1} more)" if n > 1 else "")
                      for row, cell, n in reading.spoiled[:3]]
