"""The files of a dataset folder, read and validated: ``card.yaml``, ``cohort.csv``, ``boxes.csv``.

Everything that is wrong in one of them is a ValueError naming the line, the column, what was found, what was
expected and the next step.
"""

import difflib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import storage
from medlab.cohorts import meanings, vocabulary

SPLITS = ("train", "val", "test")
CARD_KEYS = {
    "title": str, "modality": str, "intensity": str, "description": str, "licence": str, "citation": str,
    "classes": list, "classes_ordered": bool, "positive": str, "time_origin": str, "event_meaning": str,
    "event_coding": dict, "patients": str, "synthetic": bool, "augmentation": (str, dict), "window": str,
    "region": str, "mask_classes": dict, "text": list, "channels": list,
    "import": dict, "notes": list, "understood": list, "questions": list, "sha256": dict,
}
EVENTS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
BOX_COLUMNS = ("image", "frame", "label", "x_min", "y_min", "x_max", "y_max", "z_min", "z_max")
TEXT = ("patient_id", "image", "label", "mask", "valid_mask", "events", "split", "spacing_mm", "event_cause", "event")


def read_card(path) -> dict:
    """Read ``card.yaml``; an unknown key is refused with the nearest known one."""
    try:
        card = storage.read_yaml(path, {k for k, kind in CARD_KEYS.items() if kind in (str, list)} | {"event_coding"})
    except ValueError as error:
        raise ValueError(f"card.yaml: {error}") from None
    for key, value in card.items():
        if key not in CARD_KEYS:
            near = difflib.get_close_matches(str(key), CARD_KEYS, 1)
            raise ValueError(f"card.yaml: unknown key {key!r}"
                             + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(CARD_KEYS)}"))
        if value is not None and not isinstance(value, CARD_KEYS[key]):
            raise ValueError(f"card.yaml: {key} is {str(value)[:80]!r}, expected {_kind(key)}; correct the card (text "
                             "that looks like something else stands in quotes)")
    for key, legal in {"intensity": ("HU", "SUV", "arbitrary"), "patients": ("known", "unknown")}.items():
        if card.get(key) not in (None, *legal):
            raise ValueError(f"card.yaml: {key} is {card[key]!r}, expected one of {', '.join(legal)}")
    if any(not isinstance(c, (str, int, float)) for c in card.get("classes") or []):
        raise ValueError("card.yaml: classes holds something else than names; expected a list such as [no, yes]")
    if card.get("classes"):
        card["classes"] = [str(c) for c in card["classes"]]
        if card.get("positive") not in (None, *card["classes"]):
            raise ValueError(f"card.yaml: positive is {card['positive']!r}, expected one of {card['classes']}")
    values = list((card.get("mask_classes") or {}).values())
    if not all(isinstance(v, (int, float)) for v in values) or len(set(values)) < len(values):
        raise ValueError(f"card.yaml: mask_classes is {card['mask_classes']}, expected names with one number each, the "
                         "value of the class in the mask files, such as 'tumour: 2'")
    return card


def _kind(key):
    names = {str: "text", list: "a list", bool: "true or false", dict: "'name: value' lines"}
    return " or ".join(names[k] for k in (CARD_KEYS[key] if isinstance(CARD_KEYS[key], tuple) else (CARD_KEYS[key],)))


def read_csv(path, text=()) -> pd.DataFrame:
    """Text columns, by their names or the card's ``text``, stay text (002 is no 2); the others are parsed by pandas."""
    try:
        header = pd.read_csv(path, nrows=0).columns
        text = {c: [""] for c in header if c in (*TEXT, *text)}
        table = pd.read_csv(path, dtype={c: str for c in text}, na_values=text, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: not readable as comma-separated UTF-8 text ({error})") from None
    notes = []
    for column in [c for c in table if c not in text and table[c].dtype == object]:
        numbers, gaps = vocabulary.as_numbers(table[column]), vocabulary.missing(table[column])
        words = table.loc[gaps & table[column].ne(""), column].value_counts()
        if len(words):
            notes.append(f"{column}: {', '.join(f'{w} ({n})' for w, n in words.items())} read as missing")
        table[column] = table[column].mask(gaps) if numbers is None else numbers
    table.attrs["notes"] = notes
    return table


def inside(folder: Path, text: str) -> bool:
    """Whether the path in a table is relative, stays below the folder, and exists."""
    path = Path(str(text).split("::")[0])
    return not path.is_absolute() and ".." not in path.parts and (folder / path).exists()


def validate(cohort, card, folder) -> list[str]:
    """Check ``cohort`` with pandera and turn events and times into numbers, in place."""
    import pandera.pandas as pa

    notes = []
    required = ["patient_id"] + (["image"] if "image" in cohort or card.get("modality") else [])
    for column in required:
        if column not in cohort:
            near = difflib.get_close_matches(column, cohort.columns, 1)
            raise ValueError(f"cohort.csv: no column {column!r}"
                             + (f"; did you mean to name {near[0]!r} so?" if near else
                                f"; found {', '.join(map(str, cohort.columns))}"))
    if len(cohort) == 0:
        raise ValueError("cohort.csv: no rows; expected one per image (or per patient)")
    classes = card.get("classes") or []
    notes += _no_labels(cohort, classes)
    exists = pa.Check(lambda s: s.map(lambda v: inside(folder, v)), error="an existing path below the dataset")
    yes_no = pa.Check.isin([0, 1], error="0 or 1")
    columns = {
        "patient_id": pa.Column(nullable=False),
        "image": pa.Column(checks=exists, nullable="time_days" in cohort, required=False),
        "frame": pa.Column(checks=pa.Check(_whole, error="a whole number from 0"), required=False, nullable=True),
        "mask": pa.Column(checks=exists, nullable=True, required=False),
        "valid_mask": pa.Column(checks=exists, nullable=True, required=False),
        "events": pa.Column(checks=exists, nullable=True, required=False),
        "split": pa.Column(checks=pa.Check.isin(SPLITS, error="train, val or test"), nullable=True, required=False),
        "label": pa.Column(checks=[pa.Check.isin(classes, error=f"one of the card's classes {classes}")]
                           if classes else [], nullable=True, required=False),
        "time_days": pa.Column(checks=pa.Check(lambda s: pd.to_numeric(s, errors="coerce").between(0, 1e7),
                                               error="a number of days from 0"), nullable=True, required=False),
        "event": pa.Column(checks=pa.Check(lambda s: s.str.lower().isin(EVENTS), error="true or false"),
                           nullable=True, required=False),
        "spacing_mm": pa.Column(checks=pa.Check(lambda s: s.map(lambda v: spacing(v) is not None),
                                                error="positive mm like '2.5 x 0.7 x 0.7'"),
                                nullable=True, required=False),
        "label_.+": pa.Column(checks=yes_no, nullable=True, required=False, regex=True),
    }
    try:
        pa.DataFrameSchema(columns).validate(cohort, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise ValueError(_failures(error.failure_cases, "cohort.csv")) from None
    keys, twice = [c for c in ("image", "frame") if c in cohort], np.zeros(len(cohort), bool)
    if "image" in cohort:
        twice = (cohort.duplicated(keys) & cohort["image"].notna()).to_numpy()
        without = np.flatnonzero(cohort["image"].isna() & cohort.get("time_days", cohort["image"]).isna())
        if len(without):
            raise ValueError(f"cohort.csv, line {without[0] + 2}: found neither an image nor follow-up, expected at "
                             "least one of them; fill it in or remove the row")
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise ValueError(f"cohort.csv, line {row + 2}: image {cohort.image[row]!r} occurs twice; expected one row "
                         "per image (several images in one file need different 'frame'); remove one of the rows")
    if "event" in cohort:
        event = cohort["event"].str.lower().map(EVENTS)
        cohort["event"] = event.astype(bool) if event.notna().all() else event.astype("boolean")
    if "time_days" in cohort:
        if "event" not in cohort:
            raise ValueError("cohort.csv: time_days without event; add a column event (true = seen, false = censored)")
        half = (cohort["time_days"].notna() != cohort["event"].notna()).to_numpy()
        if half.any():
            raise ValueError(f"cohort.csv, line {np.flatnonzero(half)[0] + 2}: time_days and event must be both "
                             "given or both empty; fill in or empty both")
        cohort["time_days"], zero = positive_times(cohort["time_days"])
        notes += [f"{len(zero)} rows with time_days = 0 set to {cohort['time_days'].min():g} days (half the "
                  f"smallest positive time): rows {zero[:20]}"] if zero else []
    return notes + (_positive(cohort, card) if "label" in cohort else [])


def _positive(cohort, card):
    """Name the positive class of two where the card does not, and say by which rule."""
    found = card.get("classes") or sorted(cohort["label"].dropna().unique())
    if len(found) != 2 or card.get("positive"):
        return []
    known = meanings.positive(found)
    card["positive"] = known or found[-1]
    return [f"positive class {card['positive']}: " + ("by its meaning" if known else "the last of two")
            + "; the card may say another (positive)"]


def _no_labels(cohort, classes):
    """Empty, in place, labels and events that are words for missing and no class of the card; notes name them."""
    notes = []
    for column in cohort.columns.intersection(["label", "event"]):
        gaps = vocabulary.missing(cohort[column]) & cohort[column].notna() & ~cohort[column].isin(classes)
        if gaps.any():
            words = cohort.loc[gaps, column].value_counts()
            notes.append(f"{column}: {', '.join(f'{w} ({n})' for w, n in words.items())} read as missing"
                         + ("; a class where the card names it among its classes" if column == "label" else ""))
            cohort.loc[gaps, column] = None
    return notes


def _whole(series):
    numbers = pd.to_numeric(series, errors="coerce")
    return (numbers >= 0) & (numbers % 1 == 0)


def _failures(cases, file) -> str:
    """Say the first failures of a pandera report as row, column, found, expected."""
    lines = []
    for case in cases.drop_duplicates(["column", "index"]).head(5).itertuples():
        where = "" if pd.isna(case.index) else f", line {int(case.index) + 2}"
        empty = str(case.check) == "not_nullable"
        lines.append(f"{file}{where}, column {case.column!r}: found {'nothing' if empty else repr(case.failure_case)}, "
                     f"expected {'a value' if empty else case.check}")
    more = len(cases) - len(lines)
    return "\n".join(lines) + (f"\n... and {more} more" if more > 0 else "") + (
        f"\ncorrect these lines of {file}, or import again")


def validate_boxes(boxes, cohort, folder) -> None:
    missing = [c for c in ("image", "x_min", "y_min", "x_max", "y_max") if c not in boxes]
    if missing:
        raise ValueError(f"boxes.csv: no column {missing[0]!r}; expected {', '.join(BOX_COLUMNS)}")
    wrong = ~boxes["image"].isin(cohort["image"] if "image" in cohort else [])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"boxes.csv, line {row + 2}: image {boxes.image[row]!r} is not in cohort.csv")
    for a, b in (("x_min", "x_max"), ("y_min", "y_max"), ("z_min", "z_max")):
        if a in boxes and b in boxes:
            for c in (a, b):
                if not pd.api.types.is_numeric_dtype(boxes[c]):
                    raise ValueError(f"boxes.csv: column {c!r} holds {str(boxes[c].dropna().iloc[0])!r}; expected "
                                     "numbers, in pixels from 0")
            wrong = ~((boxes[a] >= 0) & (boxes[b] >= boxes[a])) & ~(boxes[a].isna() & (a == "z_min"))
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise ValueError(f"boxes.csv, line {row + 2}: {a} {boxes[a][row]}, {b} {boxes[b][row]}; "
                                 f"expected 0 <= {a} <= {b} in pixels")


def positive_times(times) -> tuple:
    """Replace t = 0 by half the smallest positive time; return (times, rows that were zero)."""
    times = pd.to_numeric(times).astype(float)
    zero = np.flatnonzero(times == 0).tolist()
    if zero:
        times = times.mask(times == 0, times[times > 0].min() / 2 if (times > 0).any() else 0.5)
    return times, zero


def spacing(text) -> tuple[float, ...] | None:
    """Parse a ``spacing_mm`` cell ("2", "2.5 x 0.7 x 0.7") to a tuple of mm in array axis order, or None.

    Examples
    --------
    >>> spacing("2.5 x 0.7 x 0.7"), spacing("0.7, 0"), spacing("")
    ((2.5, 0.7, 0.7), None, None)
    """
    try:
        values = tuple(float(v) for v in re.split(r"[x;, ]+", str(text).strip(" ()[]")))
    except ValueError:
        return None
    return values if values and all(np.isfinite(v) and v > 0 for v in values) else None
