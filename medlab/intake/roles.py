"""What the columns of tables are for by the options, and how each was read: told, asked, logged."""

import pandas as pd

from medlab.cohorts import meanings, vocabulary
from medlab.intake import drafts, tables

MOST = 40  # lines and names of columns that are shown


def read(draft, path) -> pd.DataFrame:
    """A table read for the options of an import; what its file is and which rows were left out is told."""
    o = draft.options
    named = {role: {str(o[role])} - {""} if o.get(role) is not None else set()
             for role in ("label", "event", "cause", "split", "start", "end", "time", "_patient")}
    table = tables.read_table(
        path, o.get("key"), o.get("sheet"), o.get("decimal"), o.get("encoding"), exact=named["time"],
        text={*_columns(o, "text"), *named["split"], *named["start"], *named["end"], *named["_patient"]},
        numbers=_columns(o, "numbers"), missing=_missing(o), verbatim=named["label"] | named["event"] | named["cause"])
    draft.understand(f"table {path.name}", table.attrs["told"])
    reading, unit = table.attrs["readings"].get(o.get("time")), table.attrs["units"].get(o.get("time"))
    _unit_of_time(draft, unit if unit is not None else reading and reading.unit)
    for row, reason in table.attrs["left_out"]:
        draft.say(f"{path.name}, row {row} below the header", "refused", reason)
        draft.understand("left out", f"row {row} of {path.name}: {reason}")
    return table


def _unit_of_time(draft, unit):
    """The unit of the time of the outcome where the table states it, in a row of units or in the cells."""
    found, said = unit and meanings.unit(unit), draft.options.get("time_unit")
    if said and found and said != found:
        raise ValueError(f"--time-unit {said}: the table says {unit!r}; say --time-unit {found}, or correct the table")
    if unit and not said and not found:
        draft.ask(f"the time is in {unit!r}, which is no unit of time that is known", "--time-unit")
    if found and not said:
        draft.options["time_unit"] = found
        draft.understand("time unit", f"{found}: the table says {unit!r}")


def _columns(options, name):
    return {c.strip() for c in drafts.words(options.get(name))}


def _missing(options):
    """Pairs of a column, or None for all, and a value of the option --missing."""
    return [(column.strip() or None, value.strip()) for column, _, value in
            (w.rpartition(":") for w in drafts.words(options.get("missing")))]


def collect(draft, found: dict) -> dict:
    """Readings of the columns of all tables by the name that a column has after the join; checks --text, --numbers."""
    names = {c for table in found.values() for c in table}
    for option in ("text", "numbers"):
        for column in _columns(draft.options, option):
            tables.find_column(pd.DataFrame(columns=sorted(names)), column)
    for column in (c for c, _ in _missing(draft.options) if c):
        tables.find_column(pd.DataFrame(columns=sorted(names)), column)
    readings = {}
    for file, table in found.items():
        for column, reading in table.attrs["readings"].items():
            name = column if column not in readings else f"{column}_{file.rpartition('.')[0]}"
            readings[name] = file, reading
    return readings


def tell(draft, covariates, readings: dict) -> None:
    """Say how the columns that are taken were read: one line where there is something to say, the others by type."""
    plain, told = {}, 0
    _ask_strays(draft, {c: readings[c][1] for c in (*covariates, draft.options.get("time")) if c in readings})
    for column in covariates:
        file, reading = readings.get(column, (None, None))
        if reading is None:
            continue
        for question, option in reading.questions:
            draft.ask(question, option)
        for row, cell, n in reading.spoiled:
            draft.say(f"{file}, column {column}, row {row}", "refused",
                      f"the cell {cell[:20]!r} is no number; left empty" + (f" ({n} such cells)" if n > 1 else ""))
        if reading.missing or reading.notes:
            told += 1
            if told <= MOST:
                draft.understand(f"column {column}", reading)
        else:
            plain.setdefault(reading.type, []).append(str(column))
    for kind, names in plain.items():
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        draft.understand({"number": "numbers"}.get(kind, kind), ", ".join(names[:MOST]) + more)
    if told > MOST:
        draft.understand("columns", f"{told - MOST} more with missing or odd cells")


def _ask_strays(draft, readings):
    """One question for all numbers that may stand for missing."""
    time = draft.options.get("time")  # a negative one is refused anyway
    found = [(column, *stray) for column, reading in readings.items() for stray in reading.strays
             if column != time or not stray[0].startswith("-")]
    if found:
        shown = "; ".join(f"{column} {value} ({n} cells, others {others})" for column, value, n, others in found[:12])
        draft.ask(f"numbers that often stand for missing, read as values: {shown}"
                  + (f"; and {len(found) - 12} more" if len(found) > 12 else ""),
                  f"--missing {','.join(f'{column}:{value}' for column, value, *_ in found)} or --missing none")


def codes(covariates) -> list:
    """Columns of text that would be read back as numbers."""
    def like_numbers(column):
        filled = column.dropna()
        return (column.dtype == object and len(filled) and filled.iloc[:100].map(type).eq(str).all()
                and vocabulary.as_numbers(filled.iloc[:100]) is not None
                and vocabulary.as_numbers(pd.Series(filled.unique())) is not None)

    return [str(c) for c in covariates if like_numbers(covariates[c])]
