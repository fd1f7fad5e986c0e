"""The files of a dataset folder, read and validated: ``card.yaml``, ``cohort.csv``, ``boxes.csv``.

Everything that is wrong in one of them is a ValueError naming the line, the column, what was found, what was
expected and the next step.
"""

import difflib
import re
import reprlib
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from medlab.cohorts import vocabulary

SPLITS = ("train", "val", "test")
CARD_KEYS = {
    "title": str, "modality": str, "intensity": str, "description": str, "licence": str, "citation": str,
    "classes": list, "classes_ordered": bool, "positive": str, "time_origin": str, "event_meaning": str,
    "event_coding": dict, "patients": str, "synthetic": bool, "augmentation": (str, dict), "window": str,
    "region": str, "mask_classes": dict,
    "import": dict, "notes": list, "understood": list, "questions": list, "sha256": dict,
}
KINDS = {str: "text", list: "a list", dict: "names with values", bool: "true or false"}
EVENTS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
BOX_COLUMNS = ("image", "frame", "label", "x_min", "y_min", "x_max", "y_max", "z_min", "z_max")
TEXT = ("patient_id", "image", "label", "mask", "valid_mask", "events", "split", "spacing_mm", "event_cause", "event")


def read_card(path) -> dict:
    """Read ``card.yaml``; an unknown key is refused with the nearest known one."""
    try:
        card = yaml.load(Path(path).read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no UTF-8, no date, thousands of digits
        raise ValueError(f"card.yaml: not readable as YAML in UTF-8 ({' '.join(str(error).split())[:300]})") from None
    if not isinstance(card, dict):
        raise ValueError(f"card.yaml: found a {type(card).__name__}, expected 'key: value' lines")
    for key, value in card.items():
        if key not in CARD_KEYS:
            near = difflib.get_close_matches(str(key), CARD_KEYS, 1)
            raise ValueError(f"card.yaml: unknown key {key!r}"
                             + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(CARD_KEYS)}"))
        if value is not None and not isinstance(value, CARD_KEYS[key]):
            legal = CARD_KEYS[key] if isinstance(CARD_KEYS[key], tuple) else (CARD_KEYS[key],)
            raise ValueError(f"card.yaml: {key} is {reprlib.repr(value)[:200]}, expected "
                             f"{' or '.join(KINDS[k] for k in legal)}; "
                             f"correct the card (text that looks like something else stands in quotes)")
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


def read_csv(path) -> pd.DataFrame:
    """Text columns stay text (a class may be called "None"); everything else is parsed by pandas."""
    try:
        header = pd.read_csv(path, nrows=0).columns
        text = {c: [""] for c in header if c in TEXT}
        table = pd.read_csv(path, dtype={c: str for c in text}, na_values=text, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: not readable as comma-separated UTF-8 text ({error})") from None
    for column in table.columns.difference(list(text)):
        if table[column].dtype == object:
            numbers = vocabulary.as_numbers(table[column])
            written = table[column].mask(vocabulary.missing(table[column], vocabulary.EMPTY))
            table[column] = written if numbers is None else numbers
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
        "time_days": pa.Column(checks=pa.Check(lambda s: pd.to_numeric(s, errors="coerce") >= 0,
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
