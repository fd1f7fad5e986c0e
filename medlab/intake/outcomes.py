"""Follow-up from the columns of a table: times and their units, events and how they are coded.

What would read an outcome the wrong way round stops the import and names the option that says it.
"""

import numpy as np
import pandas as pd

from medlab.cohorts import cards, meanings, vocabulary
from medlab.intake import drafts, tables
from medlab.intake.dates import form, parse_dates

LONGEST = 150 * meanings.UNITS["years"]
NOT_KNOWN = {"9", "99", "999", "9999"}  # beside 0 and 1 the usual codes for "not known", as are negative numbers
ABBREVIATIONS = {"dod": "DOD died of the disease", "doc": "DOC died of another cause", "awd": "AWD alive with disease",
                 "ned": "NED no evidence of disease", "aned": "ANED alive, no evidence of disease"}


def counted(values, spelling=None) -> str:
    """Values with how often each occurs, the most frequent first: ``Y (78), N (16)``."""
    counts = pd.Series(list(values)).value_counts()
    shown = [f"{(spelling or {}).get(v, v)} ({n})" for v, n in counts.head(12).items()]
    return ", ".join(shown) + (f" and {len(counts) - 12} more" if len(counts) > 12 else "")


def code_events(column, seen=None, censored=None) -> tuple[pd.Series, dict, str]:
    """Booleans (event seen) from a column of codes, the coding for the card, and how it was read in words.

    Without `seen` only what cannot mean anything else is read: words (dead, alive), and 1, yes, true as seen unless
    the name of the column says that they may mean the opposite. Words for missing are no value unless they are told.

    Parameters
    ----------
    seen, censored : text with commas or list, optional
        Values that mean that the event was seen, and that it was not; with `seen` alone every other value.

    Raises
    ------
    ValueError
        With the values and their counts, where they could be read in two ways or a told value does not occur.
    """
    written = tables.canonical_keys(column.dropna())
    codes = written.str.casefold()
    spelling = dict(zip(codes, written, strict=True))
    told = [{tables.canonical(v).casefold() for v in drafts.words(o)} for o in (seen, censored)]
    absent = sorted(set().union(*told) - set(codes))
    if absent:
        raise ValueError(f"event column {column.name!r}: no value {absent[0]!r}; found {counted(codes, spelling)}")
    codes = codes[codes.isin(set().union(*told)) | ~vocabulary.missing(codes)]
    values = set(codes)
    if not values:
        raise ValueError(f"event column {column.name!r}: holds no value, expected one coding such as 0/1 or alive/dead")
    meaning = _as_told(column.name, values, *told, seen, censored) if seen is not None or censored is not None else \
        _by_words(column.name, codes, spelling)
    gone = written[~written.index.isin(codes.index) | ~codes.reindex(written.index).isin(meaning)]
    parts = [(codes[codes.map(meaning.get) == side], f"read as {word}") for side, word in
             ((True, "seen"), (False, "censored"))] + [(gone, "read as not known")]
    reading = ", ".join(f"{counted(part, spelling)} {words}" for part, words in parts if len(part))
    coding = {"column": str(column.name), "seen": sorted(v for v in values if meaning.get(v)),
              "censored": sorted(v for v in values if meaning.get(v) is False)}
    return codes.map(meaning.get).astype("boolean").reindex(column.index), coding, reading


def _as_told(name, values, seen, censored, *given):
    """Meaning of each code by the options."""
    if given[0] is None or seen & censored:
        raise ValueError(f"event column {name!r}: --event-values {given[0] or ''}, --censored-values {given[1] or ''}; "
                         "expected the values that mean that the event was seen, and others that mean that it was not")
    rest = censored if given[1] is not None else values - seen
    codes = sorted(v for v in rest if v.startswith("-") and v != "-" or v in NOT_KNOWN)
    if codes and given[1] is None:
        raise ValueError(f"event column {name!r}: {codes[0]} would be read as censored, but often stands for not "
                         "known; say which values mean censored, such as "
                         f"--censored-values {','.join(sorted(rest - set(codes))) or codes[0]}")
    return {v: v in seen for v in seen | rest}


def _by_words(name, codes, spelling):
    """Meaning of each code without options; ValueError where a guess could be the wrong way round."""
    known = meanings.seen(set(codes))
    if known is not None:
        return known
    pair, word, found = meanings.yes_no(set(codes)), meanings.lives(name), counted(codes, spelling)
    example = spelling[_example(set(codes), word)]
    if pair is not None and word is None:
        return pair
    if pair is not None:
        raise ValueError(f"event column {name!r}: found {found}; by its name ({word!r}) these may say that the event "
                         f"was not seen; say which values mean that it was, for example --event-values {example}")
    raise ValueError(f"event column {name!r}: found the values {found}, expected one coding such as 0/1 or alive/dead"
                     f"{_hint(set(codes))}; say which mean that the event was seen, such as --event-values {example}")


def _example(codes, word):
    """A code that likely means that the event was seen: by its word, else the 1, or the 0 where the name says so."""
    bad = meanings.DEAD | meanings.WORSE
    told = [c for c in sorted(codes) if bad & {meanings.spelt(c), *meanings.spelt(c).split()[:1]}]
    usual = [c for c in (("0", "no", "n", "false") if word else ("1", "yes", "y", "true")) if c in codes]
    rest = [c for c in sorted(codes) if c not in NOT_KNOWN and c not in meanings.LIVING]
    return [*told, *usual, *(rest[:1] if word else rest[::-1]), *sorted(codes)][0]


def _hint(values):
    """What codes like these often are."""
    short = [text for code, text in ABBREVIATIONS.items() if code in values]
    if short:
        return f" ({', '.join(short)})"
    numbers = pd.to_numeric(pd.Series(sorted(values)), errors="coerce")
    if numbers.notna().all() and (len(numbers) > 6 or (numbers % 1 != 0).any()):
        return " (are these times or percentages? --time and --event each name one column)"
    return {frozenset("12"): " (in R's survival package 1 is censored and 2 seen)",
            frozenset("012"): " (competing events? --event-values 1 counts 2 as censored, 1,2 counts both)"}.get(
                frozenset(values), " (-1 often stands for not known: --censored-values names those that are censored)"
                if "-1" in values else "")


def follow_up(draft, table) -> tuple[pd.DataFrame, dict[int, str], set]:
    """Columns ``time_days`` and ``event`` by the options of the draft; what was read is told, what is a guess asked.

    Either ``time`` with its unit, or ``start`` and ``end`` as dates. t = 0 becomes half the smallest positive time, a
    negative or half-given follow-up is refused, none at all stays empty.

    Returns
    -------
    (DataFrame, dict, set)
        The columns, refused rows with their reasons, names of the columns used.
    """
    o = draft.options
    if o.get("event") is None or (o.get("time") is None and (o.get("start") is None or o.get("end") is None)):
        raise ValueError("follow-up: expected --event with either --time, or --start and --end (dates)")
    days, raw, bad = _times(draft, table) if o.get("time") is not None else _between(draft, table)
    seen, coding, reading = code_events(table[tables.find_column(table, o["event"])], o.get("event_values"),
                                        o.get("censored_values"))
    draft.understand(f"event column {o['event']}", reading)
    _one_sided(draft, coding, reading)
    for i in np.flatnonzero(np.isinf(days) | (days > LONGEST) | (days < 0)):
        bad[i] = f"time {days[i]:g} days is {'negative' if days[i] < 0 else 'longer than 150 years'}"
    for i in np.flatnonzero((days.isna() & raw.notna()).to_numpy() | (days.notna() != seen.notna()).to_numpy()):
        bad.setdefault(i, "time is not a number" if pd.isna(days[i]) and pd.notna(raw[i]) else
                       "time without event" if pd.isna(seen[i]) else "event without time")
    good = ~table.index.isin(bad)
    _both_sides(o, seen, good)
    days[good], zero = cards.positive_times(days[good])
    if zero:
        draft.notes.append(f"{len(zero)} rows with time 0 set to half the smallest positive time "
                           f"({days[good].min():g} days)")
    draft.card["event_coding"] = coding
    return (pd.DataFrame({"time_days": days, "event": seen}), bad,
            {o[k] for k in ("time", "event", "start", "end") if o.get(k)})


def _both_sides(options, seen, good):
    """Refuse where the rows without a time are all those of one outcome, as where times of death stand alone."""
    before, after = set(seen.dropna()), set(seen[good].dropna())
    if len(before) == 2 and len(after) == 1:
        gone = (before - after).pop()
        raise ValueError(f"{options.get('time') or options['end']!r}: none of {int((seen == gone).sum())} patients "
                         f"{'with' if gone else 'without'} the event has a time that can be used, expected the time of "
                         f"{'the event' if gone else 'their last follow-up'}: bring both into one column")


def _one_sided(draft, coding, reading):
    """Ask where all rows have one outcome by a code that does not say it in a word."""
    side = "seen" if not coding["censored"] else "censored" if not coding["seen"] else None
    if side and draft.options.get("event_values") is None and meanings.seen(coding[side]) is None:
        draft.ask(f"every row of {coding['column']!r} has the same value: {reading}", "--event-values")


def _times(draft, table):
    """Days from a column of times, its cells, and no refused rows; the unit from the option, the name, or as days."""
    o = draft.options
    raw, said, named = table[tables.find_column(table, o["time"])], o.get("time_unit"), meanings.unit(o["time"])
    raw = raw.mask(vocabulary.missing(raw)) if vocabulary.is_text(raw) else raw
    if said and named and said != named:
        raise ValueError(f"--time-unit {said}: column {o['time']!r} is named {named}; say --time-unit {named}, or "
                         "rename the column where its name is wrong")
    if o["time"] == o["event"]:
        raise ValueError(f"--time and --event both name {o['time']!r}; expected two columns")
    numbers = pd.to_numeric(raw, errors="coerce")
    if raw.notna().any() and numbers.isna().all():
        raise ValueError(f"time column {o['time']!r}: found {raw.dropna().iloc[0]!r}, expected numbers; dates go with "
                         "--start and --end")
    unit = said or named or "days"
    days = numbers * meanings.UNITS[unit]
    _plausible(draft, numbers.dropna(), days, unit)
    how = "" if said else " (by its name)" if named else " (not stated)"
    finite = days[np.isfinite(days)]
    draft.understand(f"time column {o['time']}", f"{unit}{how}, median {finite.median():.4g} days, "
                     f"{finite.min():.4g} to {finite.max():.4g}")
    return days, raw, {}


def _plausible(draft, numbers, days, unit):
    """Refuse what is no time of a follow-up; ask where the unit does not fit or is not stated."""
    o, middle = draft.options, days[np.isfinite(days)].median()
    if len(numbers) > 3 and set(numbers) <= {0, 1}:
        raise ValueError(f"time column {o['time']!r}: holds 0 and 1 alone, expected times; are --time {o['time']} and "
                         f"--event {o['event']} swapped?")
    if len(numbers) and numbers.between(1900, 2100).all() and (numbers % 1 == 0).all() and unit in ("years", "months"):
        raise ValueError(f"time column {o['time']!r}: found {numbers.iloc[0]:g} and the like, calendar years; expected "
                         "the time from the start of follow-up (dates go with --start and --end)")
    if middle > LONGEST:
        raise ValueError(f"time column {o['time']!r} in {unit}: the median is {middle / 365.25:.0f} years, expected "
                         "less than 150; say the unit with --time-unit, such as --time-unit hours")
    fractions = not o.get("time_unit") and meanings.unit(o["time"]) is None and numbers.max() < 400 and (
        numbers % 1 != 0).mean() > 0.5
    hinted = meanings.unit_hinted(o["time"])
    largest = numbers[np.isfinite(numbers)].max()
    if hinted and not o.get("time_unit") and largest * meanings.UNITS[hinted] <= LONGEST:
        draft.ask(f"is {o['time']!r} in {hinted}, as its name may say? read as {unit}: its median is "
                  f"{numbers.median():.4g}, its largest {largest:.4g}", f"--time-unit {hinted}|{unit}")
    elif not o.get("time_unit") and (middle < 1 or fractions):
        draft.ask(f"is {o['time']!r} in {unit}? its median is {numbers.median():.4g}, its largest {numbers.max():.4g}",
                  "--time-unit")


def _between(draft, table):
    """Days between two columns of dates, the cells of the later, and refused rows."""
    o, bad = draft.options, {}
    if o["start"] == o["end"]:
        raise ValueError(f"--start and --end both name {o['start']!r}; expected two columns")
    dates = {c: parse_dates(table[tables.find_column(table, c)], o.get("date_format"))
             for c in (o["start"], o["end"])}
    for name, parsed in dates.items():
        draft.understand(f"date column {name}", form(table[name], o.get("date_format")))
        wrong = parsed.isna() & table[name].notna()
        bad |= {i: f"{name}: not a date" for i in np.flatnonzero(wrong)}
    return (dates[o["end"]] - dates[o["start"]]).dt.days.astype(float), table[o["end"]], bad
