"""The table-top of every import: a temporary folder that becomes the dataset in one rename, and its log.

Whatever is found in the source ends as a row of ``import_log.csv``: taken, refused with the reason, duplicate
(taken, but the same as another), or unmatched (no image to the row of a table, or the other way round).
"""

import hashlib
import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from medlab import tables

SPLIT_NAMES = {"train": "train", "training": "train", "tr": "train", "val": "val", "valid": "val",
               "validation": "val", "dev": "val", "test": "test", "testing": "test", "ts": "test"}
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".npy")
NIFTI = (".nii", ".nii.gz")


@dataclass
class Draft:
    """An import in progress: where from, the temporary folder, the options common to all kinds, the log."""

    source: Path
    folder: Path
    options: dict
    log: list = field(default_factory=list)
    card: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    sha256: dict = field(default_factory=dict)
    link_table: list = field(default_factory=list)

    def say(self, file, status, reason=""):
        self.log.append({"file": str(file), "status": status, "reason": reason})


def listing(source: Path) -> list:
    """Relative POSIX paths of all regular files below a folder, sorted; hidden ones and links leading out not."""
    root, found = source.resolve(), []
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        hidden = any(p.startswith(".") or p in ("__MACOSX", "Thumbs.db") for p in relative.parts)
        if not hidden and path.is_file() and path.resolve().is_relative_to(root):
            found.append(relative.as_posix())
    return found


def sha256(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(draft: Draft, relative: str, name: str) -> str:
    """Link (else copy) a source file to ``name`` below the dataset folder; its hash goes to the card."""
    target = draft.folder / name
    if name not in draft.sha256:
        target.parent.mkdir(parents=True, exist_ok=True)
        original = (draft.source / relative).resolve()
        try:
            os.link(original, target)
        except OSError:  # another file system, or not ours to link
            shutil.copyfile(original, target)
        draft.sha256[name] = sha256(target)
    return name


def fill(template: str, row: dict) -> str:
    """Put the values of a table row into ``{column}`` or ``{column:03d}``; only names, no attribute access."""
    def value(match):
        if match[1] not in row:
            raise ValueError(f"template {template!r}: no column {match[1]!r}; found {', '.join(map(str, row))}")
        cell = row[match[1]]
        if match[2]:
            cell = int(float(cell)) if match[2].endswith("d") else cell
            return format(cell, match[2])
        return tables.canonical(cell)

    return re.sub(r"\{([^{}:]+)(?::([^{}]*))?\}", value, template)


def name_groups(draft: Draft, relative: str) -> dict | None:
    """Named groups of ``patient_pattern`` in a relative path; None where it does not match."""
    pattern = draft.options.get("patient_pattern")
    if pattern is None:
        return {}
    found = re.search(pattern, relative)
    return {k: v for k, v in found.groupdict().items() if v is not None} if found else None


def take(draft: Draft, rows: list) -> pd.DataFrame:
    """Place the images (and masks) of candidate rows and read each once; what cannot be read is refused.

    Parameters
    ----------
    rows : list of dict
        ``source`` (relative path, perhaps with ``::member``), optionally ``mask_source``, ``frame`` and any
        column of the cohort.
    """
    from medlab import images

    def check(row):
        try:
            for key in ("source", "mask_source"):
                if row.get(key):
                    images.read(row[key], frame=row.get("frame"), root=draft.source)
        except images.BadImage as error:
            return error.reason.replace(str(draft.source), "")
        return None

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        problems = list(tqdm(pool.map(check, rows), total=len(rows), desc="importing", unit="image"))
    taken, seen, numbers = [], {}, {}
    for row, problem in zip(rows, problems, strict=True):
        source, mask = row.pop("source"), row.pop("mask_source", None)
        if problem:
            draft.say(source, "refused", problem)
            continue
        row["image"] = _placed(draft, source, "images", numbers)
        if mask:
            row["mask"] = _placed(draft, mask, "masks", numbers)
        mark = (draft.sha256[row["image"].split("::")[0]], source.partition("::")[2], row.get("frame"))
        twin = seen.setdefault(mark, source)
        draft.say(source, *(("taken", "") if twin == source or row.get("frame") else
                            ("duplicate", f"same content as {twin}; kept")))
        taken.append(row)
    if not taken:
        reasons = Counter(e["reason"] for e in draft.log).most_common(3)
        raise ValueError(f"no image could be taken from {draft.source.name}: {reasons}; say the kind with --kind")
    return pd.DataFrame(taken)


def _placed(draft, source, folder, numbers):
    """Name below the dataset: the source's own, or a running number with ``pseudonyms``."""
    relative, separator, member = source.partition("::")
    if draft.options.get("pseudonyms"):
        number = numbers.setdefault((folder, relative), len(numbers) + 1)
        suffix = ".nii.gz" if relative.lower().endswith(".nii.gz") else Path(relative).suffix.lower()
        name = f"{folder}/{number:06d}{suffix}"
    else:
        head, _, tail = relative.partition("/")
        name = f"{folder}/{tail if tail and head.lower() in (folder, folder[:-1]) else relative}"
    return place(draft, relative, name) + separator + member


def outcomes(draft: Draft) -> pd.DataFrame | None:
    """The joined tables of outcomes with ``_key`` and coded targets; rows that cannot be used are refused."""
    o = draft.options
    if not o.get("tables"):
        return None
    names = o["tables"] if isinstance(o["tables"], list) else str(o["tables"]).split(",")
    found = {}
    for name in (n.strip() for n in names):
        path = next((p for p in (draft.source / name, Path(name)) if p.is_file()), None)
        if path is None:
            raise ValueError(f"table {name!r}: no such file in {draft.source} or here")
        found[path.name] = tables.read_table(path, o.get("key"), o.get("sheet"), o.get("decimal"))
    if not o.get("key") and len(found) > 1:
        raise ValueError("several tables: say the column that joins them with --key COLUMN")
    if o.get("key"):
        table, unmatched = tables.join(found, str(o["key"]))
        for name, key, reason in unmatched:
            draft.say(name if o.get("_hide") else f"{name}, {o['key']} {key}", "unmatched", reason)
    else:
        table = next(iter(found.values()))
    return _code(draft, table)


def _code(draft, table):
    o, used, refused = draft.options, {o for o in [draft.options.get("key")] if o}, {}
    coded = pd.DataFrame(index=table.index)
    if any(o.get(k) is not None for k in ("time", "start", "end", "event")):
        if o.get("event") is None or (o.get("time") is None and (o.get("start") is None or o.get("end") is None)):
            raise ValueError("follow-up: expected --event with either --time, or --start and --end (dates)")
        keys = ("time", "event", "event_values", "time_unit", "start", "end", "date_format")
        coded, refused, coding, notes = tables.follow_up(table, **{k: o[k] for k in keys if o.get(k) is not None})
        draft.card["event_coding"], draft.notes[:] = coding, draft.notes + notes
        used |= {o[k] for k in ("time", "event", "start", "end") if o.get(k)}
    for option, column in (("label", "label"), ("split", "split"), ("cause", "event_cause")):
        if o.get(option) is not None:
            values = table[tables._column(table, o[option])]
            coded[column] = values.map(tables.canonical, na_action="ignore")
            used.add(o[option])
    if "split" in coded:
        coded["split"] = coded["split"].map(lambda v: SPLIT_NAMES.get(str(v).strip().lower(), v), na_action="ignore")
    for i, reason in refused.items():
        named = o.get("key") and not o.get("_hide")
        draft.say(f"{o['key']} {table[o['key']][i]}" if named else f"row {i + 1} of the tables", "refused", reason)
    persons = table.drop_duplicates(o["key"]) if o.get("key") else table
    chosen = [tables._column(table, c.strip()) for c in _list(o.get("covariates"))]
    left_out = tables.identifying(persons.drop(columns=[c for c in used if c in table]),
                                  [*_list(o.get("keep")), *chosen])
    left_out |= {tables._column(table, c.strip()): "--drop" for c in _list(o.get("drop"))}
    others = [c for c in table if chosen and c not in {*chosen, *used}]
    if others:
        left_out = {c: why for c, why in left_out.items() if c in chosen}
        draft.notes.append(f"{len(others)} columns not among --covariates left out: {', '.join(others)}")
    draft.notes += [f"column {c} left out: {why}" + ("" if why == "--drop" else f" (--keep {c} takes it)")
                    for c, why in left_out.items()]
    covariates = table.drop(columns=[c for c in {*used, *left_out, *others} if c in table])
    rename = {str(k): str(v) for k, v in _mapping(o.get("rename")).items()}
    for old in rename:
        tables._column(covariates, old)
    covariates = covariates.rename(columns=rename)
    clash = [c for c in covariates if c in coded or c in ("image", "mask", "frame", "row", "patient_id", "events",
                                                          "time_days", "event")]
    covariates = covariates.rename(columns={c: f"{c}_table" for c in clash})
    if o.get("key"):
        coded.insert(0, "_key", table[o["key"]].map(tables.canonical))
    raw = [{str(k): v for k, v in r.items()} for r in table.to_dict("records")]
    result = pd.concat([coded, covariates], axis=1).assign(_raw=raw)
    return result[~result.index.isin(refused)].reset_index(drop=True)


def _list(value) -> list:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else str(value).split(",")


def _mapping(value) -> dict:
    if value is None or isinstance(value, dict):
        return value or {}
    pairs = [p.split(":", 1) for p in str(value).split(",")]
    if any(len(p) != 2 for p in pairs):
        raise ValueError(f"--rename {value!r}: expected old:new,old2:new2")
    return {a.strip(): b.strip() for a, b in pairs}


def attach(draft: Draft, cohort: pd.DataFrame, table: pd.DataFrame | None, ids) -> pd.DataFrame:
    """Join outcomes to images by the identifier that fits best: patient, file name, its stem, or path.

    Parameters
    ----------
    ids : dict of list
        Candidate keys, one per row of the cohort, by name. Images without a row and rows without an image are
        logged as unmatched and left out.
    """
    if table is None:
        return cohort
    if "_key" not in table:
        raise ValueError("tables need --key COLUMN: the column that names the patient or the image file")
    if table["_key"].duplicated().any():
        raise ValueError(f"key {draft.options['key']!r}: {table['_key'][table['_key'].duplicated()].iloc[0]!r} occurs "
                         "in several rows with different values; expected one row per patient or image")
    known, plain = set(table["_key"]), (lambda k: re.sub(r"^0+(?=\d+$)", "", tables.canonical(k)))
    ids = {n: [plain(k) for k in v] for n, v in ids.items()}
    if table["_key"].map(plain).is_unique:
        table = table.assign(_key=table["_key"].map(plain))
        known = set(table["_key"])
    best = max(ids, key=lambda n: len(known & set(ids[n])))
    keys = pd.Series(ids[best], index=cohort.index)
    if not keys.isin(known).any():
        raise ValueError(f"no image belongs to a row of the table: keys {sorted(known)[:3]}, images "
                         f"{[v[0] for v in ids.values()]}; say how an id is found with --patient-pattern")
    hide = draft.options.get("_hide")
    for i in cohort.index[~keys.isin(known)]:
        draft.say("an image" if hide else cohort.at[i, "image"], "unmatched", "no row in the table")
        cohort = cohort.drop(index=i)
    for key in sorted(known - set(keys)):
        draft.say("a row of the table" if hide else f"{draft.options['key']} {key}", "unmatched", "no image")
    extra = table.set_index("_key").drop(columns="_raw")
    extra = extra.loc[:, [c for c in extra if c not in cohort]]
    return cohort.join(extra.reindex(keys[cohort.index]).set_axis(cohort.index))


def finish(draft: Draft, cohort: pd.DataFrame, boxes=None, truth=None):
    """Write card, cohort, boxes, truth and log into the temporary folder."""
    o, known = draft.options, "patient_id" in cohort
    draft.card["patients"] = "known" if known else "unknown"
    if not known:
        cohort.insert(0, "patient_id", [f"i{n:06d}" for n in range(1, len(cohort) + 1)])
    elif o.get("pseudonyms"):
        order = {p: i for i, p in enumerate(sorted(set(cohort["patient_id"].map(str)),
                                                   key=lambda p: hashlib.sha256(p.encode()).digest()), 1)}
        cohort["patient_id"] = cohort["patient_id"].map(lambda p: f"p{order[str(p)]:05d}")
    if o.get("spacing_mm") is not None:
        cohort["spacing_mm"] = " x ".join(map(str, _list(o["spacing_mm"])))
    first = [c for c in ("patient_id", "image", "frame", "label", "time_days", "event", "split", "mask") if c in cohort]
    cohort = cohort[first + [c for c in cohort if c not in first and not str(c).startswith("_")]]
    if "label" in cohort:
        found = sorted(cohort["label"].dropna().astype(str).unique())
        classes = [str(c) for c in draft.card.get("classes") or _list(o.get("classes"))] or found
        if set(found) - set(classes):
            raise ValueError(f"classes {classes}: the images also carry {sorted(set(found) - set(classes))}")
        draft.card["classes"] = classes
    cohort = cohort.sort_values([c for c in ("split", "image", "frame") if c in cohort], kind="stable")
    write = {"cohort.csv": cohort, "import_log.csv": pd.DataFrame(draft.log, columns=["file", "status", "reason"])}
    write |= {n: t for n, t in (("boxes.csv", boxes), ("truth.csv", truth)) if t is not None and len(t)}
    for name, table in write.items():
        table.to_csv(draft.folder / name, index=False)
    used = {str(v).split("::")[0] for c in ("image", "mask") if c in cohort for v in cohort[c].dropna()}
    for name in sorted(set(draft.sha256) - used):
        (draft.folder / name).unlink(missing_ok=True)
        del draft.sha256[name]
    card = {k: v for k, v in draft.card.items() if v is not None}
    card |= {"notes": draft.notes} if draft.notes else {}
    card |= {"sha256": dict(sorted(draft.sha256.items()))} if draft.sha256 else {}
    text = yaml.safe_dump(_plain(card), sort_keys=False, allow_unicode=True, width=110)
    (draft.folder / "card.yaml").write_text(text, "utf-8")


def _plain(value):
    """Only types that YAML writes without tags."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
