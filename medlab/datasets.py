"""The dataset format: a folder with ``card.yaml``, ``cohort.csv`` and images, checked while it is loaded.

One row of ``cohort.csv`` is one image (without images: one patient). Importers create such folders; nothing
registers them. Everything that is wrong in one of the files is a ValueError naming the row, the column, what
was found, what was expected and the next step.
"""

import difflib
import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import medlab
from medlab import cards, screening
from medlab.screening import duplicates  # noqa: F401

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
RESERVED = ("patient_id", "image", "frame", "label", "time_days", "event", "event_cause", "mask", "events",
            "split", "spacing_mm", "study", "series", "side", "row")


@dataclass
class Dataset:
    """A loaded dataset; ``cohort`` has one row per image and a clean index 0..n-1."""

    name: str
    folder: Path
    card: dict
    cohort: pd.DataFrame
    boxes: pd.DataFrame | None = None
    truth: pd.DataFrame | None = None
    notes: tuple = ()


def load(name: str) -> Dataset:
    """Read and validate the dataset ``data/<name>``.

    Raises
    ------
    ValueError
        Naming file, row (line of the file), column, what was found, what was expected and the next step.
    """
    folder = folder_of(name)
    if not (folder / "card.yaml").is_file() or not (folder / "cohort.csv").is_file():
        known = sorted(p.parent.name for p in medlab.data_dir().glob("*/card.yaml"))
        near = difflib.get_close_matches(str(name), known, 1)
        raise ValueError(f"dataset {name!r}: no card.yaml and cohort.csv in {folder}; "
                         + (f"did you mean {near[0]!r}? " if near else "")
                         + f"known: {', '.join(known) or 'none'}. Make one with: medlab import SOURCE {name}")
    card = cards.read_card(folder / "card.yaml")
    cohort = cards.read_csv(folder / "cohort.csv")
    notes = cards.validate(cohort, card, folder)
    boxes = cards.read_csv(folder / "boxes.csv") if (folder / "boxes.csv").is_file() else None
    if boxes is not None:
        cards.validate_boxes(boxes, cohort, folder)
    truth = pd.read_csv(folder / "truth.csv") if (folder / "truth.csv").is_file() else None
    return Dataset(name, folder, card, cohort, boxes, truth, tuple(notes))


def folder_of(name: str) -> Path:
    """Folder of a dataset; refuses names that are not plain words (no separators, no dots)."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ValueError(f"name of a dataset: found {name!r}, expected letters, digits, '_' and '-'")
    return medlab.data_dir() / name


def classes(dataset) -> list:
    """Class names in the card's order, else sorted; empty without labels."""
    if "label" not in dataset.cohort:
        return [c.removeprefix("label_") for c in dataset.cohort if c.startswith("label_")]
    return list(dataset.card.get("classes") or sorted(dataset.cohort["label"].dropna().unique()))


def covariates(dataset) -> list:
    """Names of the columns that are neither bookkeeping nor target."""
    return [c for c in dataset.cohort if c not in RESERVED and not c.startswith("label_")]


def conditions(dataset) -> set:
    """What the dataset offers to notebooks: ``image``, ``label``, ``survival``, ``mask``, ``modality:CT``, ..."""
    cohort, modality = dataset.cohort, dataset.card.get("modality")
    found = {c for c in ("image", "label", "mask", "events") if c in cohort and cohort[c].notna().any()}
    found |= {"label"} if any(c.startswith("label_") for c in cohort) else set()
    found |= {"survival"} if "time_days" in cohort and cohort["time_days"].notna().any() else set()
    found |= {"boxes"} if dataset.boxes is not None else set()
    found |= {"covariates"} if covariates(dataset) else set()
    found |= {f"modality:{modality}"} if modality else set()
    return found | ({"static"} if "image" in found and modality not in ("bold", "PT") else set())


def read(dataset, row):
    """Image of a cohort row as `images.Image`; spacing and intensity of the table and the card fill the gaps."""
    from medlab import images

    image = _read_path(dataset, row, "image")
    fill = {k: v for k, v in {"modality": dataset.card.get("modality")}.items() if v and not image.modality}
    if image.intensity == "arbitrary" and dataset.card.get("intensity"):
        fill["intensity"] = dataset.card["intensity"]
    given = cards.spacing(row["spacing_mm"]) if image.spacing_mm is None and pd.notna(row.get("spacing_mm")) else None
    if given:
        axes = image.pixels.ndim - 1
        if len(given) not in (1, axes):
            raise images.BadImage(row["image"], f"spacing_mm has {len(given)} numbers, the image {axes} axes")
        fill["spacing_mm"] = given * axes if len(given) == 1 else given
    return replace(image, **fill) if fill else image


def _read_path(dataset, row, column):
    from medlab import images

    text = row[column]
    if not isinstance(text, str) or not cards.inside(dataset.folder, text):
        raise images.BadImage(str(text), "no such file below the dataset folder")
    frame = row.get("frame")
    frame = None if frame is None or pd.isna(frame) else int(frame)
    return images.read(text, frame=frame, root=dataset.folder)


def read_mask(dataset, row):
    """Mask of a cohort row as a boolean array without channel axis: (h, w) or (d, h, w)."""
    return (_read_path(dataset, row, "mask").pixels > 0).any(axis=-1)


def fingerprint(dataset) -> str:
    """Hex digest of card, tables and the listing (name, size) of all files of the dataset."""
    digest = hashlib.sha256()
    for path in sorted(p for p in dataset.folder.rglob("*") if p.is_file()):
        relative = path.relative_to(dataset.folder).as_posix()
        digest.update(f"{relative}\0{path.stat().st_size}\n".encode())
        if relative in ("card.yaml", "cohort.csv", "boxes.csv", "truth.csv"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


MISSING = {"", "-", "?", "na", "n/a", "nan", "null", "unknown", "not available", "not reported",
           "[not available]", "missing", "unbekannt"}
SPELLINGS = {"m": "male", "f": "female", "w": "female", "man": "male", "woman": "female", "y": "yes", "n": "no",
             "true": "yes", "false": "no", "nsclc nos": "nos", "never smoker": "never", "current smoker": "current",
             "former smoker": "former", "ex smoker": "former"}


def clean_text(series):
    """Bring a text column to one spelling: trimmed, lower case, words for missing become NaN.

    An acronym spelt out in brackets loses the bracket ("NOS (not otherwise specified)" is "nos"). Only
    spellings that cannot mean anything else are joined; typing errors are left for a person to judge.
    """
    def clean(value):
        if pd.isna(value) or " ".join(str(value).split()).casefold() in MISSING:
            return np.nan
        text = re.sub(r"[\s_]+", " ", str(value)).strip(" .,;").casefold()
        found = re.fullmatch(r"(.*?\b(\w+)) ?\(([^()]+)\)", text)
        if found and "".join(w[0] for w in found[3].split()) == found[2]:
            text = found[1]
        return SPELLINGS.get(text.replace("-", " "), text)

    return series.map(clean)


def scan(dataset, progress=True, rows=None):
    """Read every image once: problems, sizes, intensities and hashes.

    Parameters
    ----------
    rows : sequence of int, optional
        Positions of the cohort rows to read; all by default.

    Returns
    -------
    DataFrame
        Index = cohort row; columns ``problem`` (None, "unreadable: ...", "blank"), ``depth, height, width,
        channels, spacing_mm, minimum, maximum, mean, sha, phash`` and ``thumbnail`` (bytes, for `duplicates`).
    """
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    rows = range(len(dataset.cohort)) if rows is None else rows
    if "image" not in dataset.cohort:
        return pd.DataFrame(columns=screening.COLUMNS, index=[])
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        found = pool.map(lambda row: _measure(dataset, dataset.cohort.iloc[row]), rows)
        found = list(tqdm(found, total=len(rows), desc="reading images", unit="image", disable=not progress))
    return pd.DataFrame(found, columns=screening.COLUMNS, index=list(rows))


def _measure(dataset, row):
    from medlab import images

    try:
        return screening.measure(read(dataset, row))
    except images.BadImage as error:
        return {"problem": f"unreadable: {error.reason}"}


def label_conflicts(dataset, found):
    """Groups of duplicates (`duplicates`) whose members carry different labels: group, labels, rows."""
    if "label" not in dataset.cohort or found.empty:
        return pd.DataFrame(columns=["group", "labels", "rows"])
    table = found.assign(label=dataset.cohort["label"].reindex(found["row"]).to_numpy())
    table = table.groupby("group").agg(labels=("label", lambda s: sorted(s.dropna().unique())), rows=("row", list))
    return table[table["labels"].map(len) > 1].reset_index()


def straddling(dataset, found, kind=None):
    """Groups of duplicates with members in more than one split of the source; ``kind="exact"`` for identical."""
    if "split" not in dataset.cohort or found.empty:
        return []
    table = found.assign(split=dataset.cohort["split"].reindex(found["row"]).to_numpy())
    column = "group"
    if kind == "exact":
        table, column = table[table["exact_group"] >= 0], "exact_group"
    return [list(g["row"]) for _, g in table.groupby(column) if g["split"].nunique() > 1]


def expected_halfwidth(n_positive, n_negative, auc=0.8):
    """Half the width of the 95 % interval of an AUC to expect from this many cases.

    Hanley and McNeil, Radiology 1982;143:29-36. NaN when a group is empty.
    """
    if min(n_positive, n_negative) < 1:
        return float("nan")
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return float(1.96 * np.sqrt(variance / (n_positive * n_negative)))


SITE = ("site", "source", "hospital", "centre", "center", "scanner", "vendor", "manufacturer", "institution", "device")


def check(name: str, most: int = 2000) -> list:
    """Look a dataset over before any long work, in seconds.

    Parameters
    ----------
    most : int
        Read at most so many images, evenly spread.

    Returns
    -------
    list of (level, message)
        Level is "ok", "note", "warning" or "error".
    """
    try:
        dataset = load(name)
    except ValueError as error:
        return [("error", line) for line in str(error).splitlines()]
    found = _who(dataset) + [("note", note) for note in dataset.notes]
    if "image" in dataset.cohort:
        found += _pictures(dataset, most)
    return found + _targets(dataset) + _tables(dataset)


def _who(dataset):
    cohort, known = dataset.cohort, dataset.card.get("patients") != "unknown"
    count = f"{len(cohort)} {'images' if 'image' in cohort else 'rows'}"
    found = [("ok", f"{count} of {cohort['patient_id'].nunique()} patients")] if known else [
        ("warning", f"{count}; patients unknown: leakage between images of one patient cannot be excluded")]
    if "split" in cohort:
        counts = cohort["split"].value_counts().reindex(cards.SPLITS).dropna().astype(int)
        found.append(("ok", "split of the source: " + ", ".join(f"{k} {v}" for k, v in counts.items())))
        sides = cohort.groupby("patient_id")["split"].nunique()
        if known and (sides > 1).any():
            found.append(("error", f"{(sides > 1).sum()} patients are in more than one split, for example "
                                   f"{sides.index[sides > 1][0]}; correct the column split or remove it"))
    log = dataset.folder / "import_log.csv"
    if log.is_file():
        counts = pd.read_csv(log)["status"].value_counts()
        found += [("note", f"import: {counts[s]} {s} (see import_log.csv)")
                  for s in ("refused", "unmatched") if s in counts]
    return found


def _pictures(dataset, most):
    n = len(dataset.cohort)
    rows = np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
    table = scan(dataset, rows=rows, progress=n > 200)
    found = [("note", f"{len(rows)} of {n} images looked at")] if len(rows) < n else []
    bad = table["problem"].dropna()
    found += [("error" if p.startswith("unreadable") else "warning", f"row {i}: {p}") for i, p in bad.head(5).items()]
    found.append(("ok" if bad.empty else "warning", f"{len(bad)} images unreadable or blank"))
    size = table[["depth", "height", "width"]].dropna(how="all").astype("Int64").value_counts(dropna=False)
    if len(size):
        often = " x ".join(str(v) for v in size.index[0] if pd.notna(v))
        found.append(("ok", f"{len(size)} sizes, most often {often}"))
    if table["spacing_mm"].isna().any():
        without = table["spacing_mm"].isna().sum()
        found.append(("note", f"{without} images without spacing: lengths are in pixels there"))
    twins = duplicates(table)
    groups, same = twins["group"].nunique(), twins.loc[twins["exact_group"] >= 0, "exact_group"].nunique()
    found.append(("note" if groups else "ok", f"{groups} groups of identical or near-identical images, {same} of them "
                  "with identical pixels" if groups else "no identical or near-identical images"))
    both, exact = straddling(dataset, twins), straddling(dataset, twins, "exact")
    if both:
        found.append(("warning", f"{len(both)} groups of identical or near-identical images lie on both sides of the "
                      f"source's split, {len(exact)} of them with identical pixels: a leak to resolve"))
    conflicts = label_conflicts(dataset, twins)
    found += [("warning", f"{len(conflicts)} groups of duplicates carry different labels")] if len(conflicts) else []
    across = _across_patients(dataset, twins)
    return found + ([("warning", f"{across} groups of duplicates join different patients")] if across else [])


def _across_patients(dataset, twins):
    if dataset.card.get("patients") == "unknown" or twins.empty:
        return 0
    who = dataset.cohort["patient_id"].reindex(twins["row"]).to_numpy()
    return int((twins.assign(who=who).groupby("group")["who"].nunique() > 1).sum())


def _targets(dataset):
    """Which targets are possible, and how wide an interval to expect from the test part."""
    cohort, found = dataset.cohort.drop_duplicates("patient_id"), []
    tested = cohort[cohort["split"] == "test"] if "split" in cohort and (cohort["split"] == "test").any() else None
    share, rows = (1.0, tested) if tested is not None else (0.2, cohort)
    where = f"the {len(rows)} of the source's test split" if tested is not None else f"a test part of {0.2:.0%}"
    if "label" in cohort:
        counts = dataset.cohort["label"].value_counts().reindex(classes(dataset)).fillna(0).astype(int)
        missing = int(dataset.cohort["label"].isna().sum())
        found.append(("ok", "target label: " + ", ".join(f"{k} {v}" for k, v in counts.items())
                      + (f"; {missing} without" if missing else "")))
        least = dataset.card.get("positive") or counts.index[counts.argmin()]
        n = round(share * (rows["label"] == least).sum())
        half = expected_halfwidth(n, round(share * rows["label"].notna().sum()) - n)
        found.append(_width(f"AUC of {least!r} from {where} ({n} of them)", half))
    for column in (c for c in cohort if c.startswith("label_")):
        found.append(("ok", f"target {column}: {int(cohort[column].sum())} of {cohort[column].notna().sum()}"))
    if "time_days" in cohort and cohort["time_days"].notna().any():
        events, n = int(cohort["event"].sum()), int(cohort["time_days"].notna().sum())
        found.append(("ok", f"target survival: {events} events in {n} patients, median time "
                      f"{cohort['time_days'].median():.0f} days" + (f"; {len(cohort) - n} without follow-up"
                                                                    if n < len(cohort) else "")))
        seen = round(share * rows["event"].sum())
        half = expected_halfwidth(seen, round(share * rows["time_days"].notna().sum()) - seen, 0.7)
        found.append(_width(f"C-index from {where} ({seen} events; a rough guide, as if an AUC)", half))
        found.append(("note" if events >= 50 else "warning", f"{events} events carry about {max(events // 10, 1)} "
                      "covariates in a Cox model (ten events each)"))
    if not found:
        found.append(("warning", "no target: neither label nor time_days and event"))
    return found


def _width(what, half):
    if not half < 0.5:
        return "warning", f"{what}: too few to estimate anything"
    return ("ok" if half <= 0.1 else "warning"), f"{what}: expect a 95 % interval of about +- {half:.2f}"


def _tables(dataset):
    """Missing values, spellings, identifiers and confounders among the covariates."""
    from medlab import confounding, tables

    cohort, found = dataset.cohort, []
    persons = cohort.drop_duplicates("patient_id")
    names = covariates(dataset)
    missing = persons[names].isna().sum()
    if missing.any():
        some = missing[missing > 0]
        found.append(("note", "missing values: " + ", ".join(f"{c} {v}" for c, v in some.head(12).items())
                      + (f" and {len(some) - 12} more columns" if len(some) > 12 else "")))
    for column in (c for c in names if persons[c].dtype == object):
        before, after = persons[column].nunique(), clean_text(persons[column]).nunique()
        if after < before:
            found.append(("note", f"{column}: {before} spellings of {after} values"))
    found += [("warning", f"column {c} may identify a person: {why}") for c, why in
              tables.identifying(persons[names]).items()]
    found += [("warning", f"column {c} repeats the outcome ({why}): not a covariate; import with --drop {c}")
              for c, why in _repeats_outcome(persons, names).items()]
    outcomes = {"label": cohort["label"]} if "label" in cohort else {}
    outcomes |= {"survival": cohort[["time_days", "event"]]} if "time_days" in cohort else {}
    for column in (c for c in names if any(s in c.lower() for s in SITE) and 1 < persons[c].nunique() <= 50):
        for target, outcome in outcomes.items():
            rows = persons.index[persons[column].notna() & (outcome.loc[persons.index].notna().T.all()
                                 if target == "survival" else outcome.loc[persons.index].notna())]
            score = confounding.alone(clean_text(cohort.loc[rows, column].astype(str)), outcome.loc[rows],
                                      cohort.loc[rows, "patient_id"])
            found.append(_confounder(column, target, score))
    return found


def _repeats_outcome(persons, names):
    """Covariates that are the outcome under another name: the time again, or a code of the event."""
    found = {}
    if "time_days" not in persons:
        return found
    persons = persons[persons["time_days"].notna()]
    event = persons["event"].astype(bool)
    for column in names:
        values, there = persons[column], persons[column].notna()
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 5 and (
                values[there].corr(persons["time_days"][there]) > 0.98):
            found[column] = "its values are the time"
        elif 1 < values.nunique() <= 5 and (
                event[there].groupby(values[there]).transform("mean").round() == event[there]).mean() > 0.9 > max(
                    event.mean(), 1 - event.mean()):
            found[column] = "it tells the event"
        elif there.any() and max((there == event).mean(), (there != event).mean()) > 0.95:
            found[column] = "it is filled where the event is seen, or only there not"
    return found


def _confounder(column, target, score):
    measure = "C-index" if target == "survival" else "AUC"
    value, low, high = (score[k] for k in ("value", "low", "high"))
    text = f"{column} alone predicts the {target} with {measure} {value:.2f} [{low:.2f}, {high:.2f}]"
    return ("warning", text + ": a confounder to report") if low > 0.5 else ("ok", text)
