"""Follow-up from the columns of a table: times and their units, events and their codes."""

import numpy as np
import pandas as pd

from medlab.cohorts import cards
from medlab.intake import tables

SEEN = {"1", "true", "yes", "y", "dead", "deceased", "death", "died", "event", "relapse", "progression", "progressed"}
CENSORED = {"0", "false", "no", "n", "alive", "living", "censored", "no event", "lost to follow-up"}
UNITS = {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}


def code_events(column, seen=None) -> tuple[pd.Series, dict]:
    """Booleans (event seen) from a column of codes, and the coding for the card.

    Without `seen` only unmistakable codes are understood (0/1, dead/alive, ...); anything else, and two codings
    in one column, is a ValueError listing the values.
    """
    codes = column.dropna().map(lambda v: tables.canonical(v).lower())
    values = sorted(codes.unique())
    if seen is not None:
        wanted = {tables.canonical(v).lower() for v in (seen if isinstance(seen, (list, tuple)) else str(seen).split(","))}
        absent = sorted(wanted - set(values))
        if absent:
            raise ValueError(f"event column {column.name!r}: no value {absent[0]!r}; found {', '.join(values[:20])}")
    else:
        numeric = [v for v in values if v in ("0", "1")]
        known = [v for v in values if v in SEEN | CENSORED]
        if len(known) < len(values) or 0 < len(numeric) < len(values):
            raise ValueError(f"event column {column.name!r}: found the values {', '.join(values[:20])}, expected one "
                             "coding such as 0/1 or alive/dead; say which mean that the event was seen, for example "
                             f"--event-values {values[-1]}")
        wanted = SEEN & set(values)
    coding = {"column": str(column.name), "seen": sorted(wanted), "censored": sorted(set(values) - wanted)}
    return codes.isin(wanted).reindex(column.index).astype("boolean"), coding


def follow_up(table, time=None, event=None, event_values=None, time_unit="days", start=None, end=None,
              date_format=None) -> tuple[pd.DataFrame, dict[int, str], dict, list[str]]:
    """Columns ``time_days`` and ``event`` of a table; returns (frame, refused {row: reason}, coding, notes).

    Either `time` with its unit, or `start` and `end` as dates. t = 0 becomes half the smallest positive time, a
    negative or half-given follow-up is refused, none at all stays empty.
    """
    if time_unit not in UNITS:
        raise ValueError(f"time unit {time_unit!r}: expected one of {', '.join(UNITS)}")
    bad, dates = {}, {}
    if time is not None:
        raw = table[tables.find_column(table, time)]
        days = pd.to_numeric(raw, errors="coerce") * UNITS[time_unit]
    else:
        raw = table[tables.find_column(table, end)]
        dates = {c: dates_of.parse_dates(table[tables.find_column(table, c)], date_format) for c in (start, end)}
        days = (dates[end] - dates[start]).dt.days.astype(float)
        for name, parsed in dates.items():
            wrong = parsed.isna() & table[name].notna()
            bad |= {i: f"{name}: not a date" for i in np.flatnonzero(wrong)}
    seen, coding = code_events(table[tables.find_column(table, event)], event_values)
    for i in np.flatnonzero(days < 0):
        bad[i] = f"time {days[i]:g} days is negative"
    for i in np.flatnonzero((days.isna() & raw.notna()).to_numpy() | (days.notna() != seen.notna()).to_numpy()):
        bad.setdefault(i, "time is not a number" if pd.isna(days[i]) and pd.notna(raw[i]) else
                       "time without event" if pd.isna(seen[i]) else "event without time")
    good = ~table.index.isin(bad)
    days[good], zero = cards.positive_times(days[good])
    notes = [f"{len(zero)} rows with time 0 set to half the smallest positive time ({days[good].min():g} days)"]
    return pd.DataFrame({"time_days": days, "event": seen}), bad, coding, notes if zero else []
