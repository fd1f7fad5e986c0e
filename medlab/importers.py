"""Import: one function per kind of source; each makes the folder of a dataset, once, and writes its log.

The folder is built beside its place under a hidden name and renamed at the end, so that an interrupted import
leaves nothing half-done. Options are keywords (on the command line ``--time-unit months``); those of all kinds are
in ``COMMON``, the others are the keyword arguments of the function of the kind.
"""

import difflib
import inspect
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

import medlab
from medlab import cards, datasets, dicom_tree, intake, joins, tables
from medlab import medmnist as mnist

CARD = ("title", "modality", "intensity", "description", "licence", "citation", "positive", "classes",
        "classes_ordered", "time_origin", "event_meaning", "augmentation", "window", "region")
COMMON = (*CARD, "overwrite", "patient_pattern", "pseudonyms", "spacing_mm", "tables", "key", "time", "event",
          "event_values", "time_unit", "start", "end", "date_format", "label", "split", "cause", "decimal", "sheet",
          "rename", "covariates", "drop", "keep", "mask")


def import_source(source, name, kind=None, **options):
    """Make the dataset ``data/<name>`` from `source` and print what was taken and what was not.

    Parameters
    ----------
    source : path or text
        A folder, a table, an npz, ``synthetic:thorax``, or ``medmnist:NAME`` (fetched from its official address).
    kind : {"folders", "table", "dicom", "nifti", "npz", "medmnist", "synthetic"}, optional
        Detected where not given.
    **options
        See ``COMMON`` and the function of the kind; an unknown one is refused, naming the nearest.

    Raises
    ------
    ValueError
        When nothing can be taken, an option is unknown or the dataset exists; nothing is left behind.
    """
    place = datasets.folder_of(name)
    kind = kind or ("table" if "image" in options else detect_kind(source))
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    own = [p.name for p in inspect.signature(KINDS[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in (*COMMON, *own):
            near = difflib.get_close_matches(option, (*COMMON, *own), 1)
            raise ValueError(f"unknown option --{option.replace('_', '-')} for kind {kind}"
                             + (f"; did you mean --{near[0].replace('_', '-')}?" if near else
                                f"; known: {', '.join(sorted((*COMMON, *own)))}"))
    if place.exists() and not options.get("overwrite"):
        raise ValueError(f"{place} exists; choose another name or say --overwrite")
    staging = _staging(place)
    try:
        draft = intake.Draft(_source_folder(source, kind), staging, {k: v for k, v in options.items() if k in COMMON})
        KINDS[kind](draft, source, **{k: v for k, v in options.items() if k in own})
        _rename(staging, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    dataset = datasets.load(name)
    _summary(dataset, draft)
    return dataset


def detect_kind(source) -> str:
    """Kind of a source from its name and what lies in it; ValueError naming what was found."""
    text, path = str(source), Path(str(source))
    if text.startswith(("synthetic:", "medmnist:")):
        return text.split(":")[0]
    if not path.exists():
        raise ValueError(f"source {text!r}: no such file or folder; known besides: synthetic:thorax, medmnist:NAME")
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".npz":
            return "medmnist" if {"train_images", "train_labels"} <= set(np.load(path).files) else "npz"
        if suffix in (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".xlsm"):
            return "table"
        raise ValueError(f"{path.name}: expected a folder, a table (.csv, .xlsx) or .npz; say the kind with --kind")
    files = intake.listing(path)
    counts = Counter("nifti" if f.lower().endswith(intake.NIFTI) else
                     "npz" if f.lower().endswith(".npz") else
                     "folders" if f.lower().endswith(intake.PICTURES[:-2]) else
                     "dicom" if dicom_tree.looks_like(path / f) else "other" for f in files)
    counts.pop("other", None)
    if not counts:
        raise ValueError(f"{path.name}: {len(files)} files, none an image; say the kind with --kind")
    return counts.most_common(1)[0][0]


def _source_folder(source, kind):
    path = Path(str(source))
    if kind in ("synthetic",) or str(source).startswith("medmnist:"):
        return Path(".")
    if not path.exists():
        raise ValueError(f"source {source!s}: no such file or folder")
    return path if path.is_dir() else path.parent


def _staging(place):
    """A fresh hidden folder beside the dataset; what earlier killed imports of this name left is removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for old in place.parent.glob(f".{place.name}.*.partial"):
        pid = old.name.split(".")[-2]
        if not (pid.isdigit() and os.path.exists(f"/proc/{pid}")) or int(pid) == os.getpid():
            shutil.rmtree(old)
    staging = place.parent / f".{place.name}.{os.getpid()}.partial"
    staging.mkdir()
    return staging


def _rename(staging, place):
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    if place.exists():
        place.rename(old)
    staging.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _summary(dataset, draft):
    """Counts and reasons on the terminal; the rest is in import_log.csv."""
    counts = Counter(entry["status"] for entry in draft.log)
    n = len(dataset.cohort)
    what = "images" if "image" in dataset.cohort else "patients"
    known = dataset.card.get("patients") == "known"
    lines = [f"{dataset.name}: {n} {what}" + (f" of {dataset.cohort['patient_id'].nunique()} patients" if known and
             what == "images" else "" if known else "; patients unknown") + f" in {dataset.folder}"]
    if counts["duplicate"]:
        lines.append(f"  {counts['duplicate']} are copies of another file (kept; the log says of which)")
    for status in ("refused", "unmatched"):
        reasons = Counter(e["reason"] for e in draft.log if e["status"] == status)
        lines += [f"  {status} {count}: {reason}" for reason, count in reasons.most_common(8)]
        lines += [f"  {status}: {len(reasons) - 8} further reasons in import_log.csv"] if len(reasons) > 8 else []
    print("\n".join(lines + [f"  note: {note}" for note in (*draft.notes, *dataset.notes)]), file=sys.stdout)


def _card(draft, kind, **known):
    """Start the card: the source's own card.yaml, what the kind knows, then what the options say."""
    own = draft.source / "card.yaml"
    card = cards.read_card(own) if own.is_file() and kind in ("dicom", "nifti", "npz", "folders", "table") else {}
    said = {k: v for k, v in draft.options.items() if k in CARD}
    for key in ("classes",):
        if key in said:
            said[key] = [str(c).strip() for c in intake.words(said[key])]
    if "positive" in said:
        said["positive"] = str(said["positive"])
    record = {k: v for k, v in draft.options.items() if k not in CARD and k != "overwrite" and not k.startswith("_")}
    draft.card |= {"title": None, "modality": None, "intensity": "arbitrary"} | card | known | said
    draft.card["import"] = draft.options.get("_made") or {
        "kind": kind, "medlab": medlab.__version__, **({"options": record} if record else {})}
    draft.card["title"] = draft.card["title"] or draft.folder.name.split(".")[1]


def folders(draft, source):
    """Folder per class, perhaps below training/validation/testing; no class folders: images without label."""
    files = intake.listing(draft.source)
    masks, rows = set(), []
    for relative in files:
        *above, _ = relative.split("/")
        splits = [intake.SPLIT_NAMES[p.lower()] for p in above if p.lower() in intake.SPLIT_NAMES]
        rest = [p for p in above if p.lower() not in intake.SPLIT_NAMES]
        row = {"source": relative, "label": rest[0] if rest else None, "split": splits[0] if splits else None}
        if len(set(splits)) > 1:
            draft.say(relative, "refused", f"its path names several splits ({', '.join(splits)})")
        elif not relative.lower().endswith((*intake.PICTURES, *intake.NIFTI)):
            draft.say(relative, "refused", "not an image file by its suffix")
        else:
            rows.append(row)
    _same_spelling(rows, draft)
    if len({r["label"] for r in rows}) < 2 or draft.options.get("label"):
        for row in rows:
            del row["label"]
    if not any(r["split"] for r in rows) or draft.options.get("split"):
        for row in rows:
            del row["split"]
    _named_files(draft, rows, files, masks, "folders")


def _same_spelling(rows, draft):
    """Glioma below train and glioma below test are one class: the more frequent spelling."""
    counts = Counter(r["label"] for r in rows if r["label"])
    best = {}
    for label, _ in counts.most_common():
        best.setdefault(label.casefold(), label)
    for label in counts:
        if best[label.casefold()] != label:
            draft.notes.append(f"class folder {label} counted as {best[label.casefold()]}")
    for row in rows:
        row["label"] = best[row["label"].casefold()] if row["label"] else None


def _named_files(draft, rows, files, masks, kind):
    """What folders, nifti and npz share: ids from file names, masks by template, outcomes, writing."""
    kept, listed = [], set(files)
    for row in rows:
        relative = row["source"].partition("::")[0]
        stem = re.sub(r"(\.nii)?\.[^.]+$", "", relative.split("/")[-1])
        groups = intake.name_groups(draft, relative)
        if groups is None:
            draft.say(row["source"], "refused", "its name does not fit --patient-pattern")
            continue
        row |= {"_stem": stem} | groups
        if draft.options.get("mask"):
            template = {**row, "stem": stem, "folder": relative.rpartition("/")[0], "file": relative.split("/")[-1]}
            wanted = joins.fill(str(draft.options["mask"]), template)
            if wanted.partition("::")[0] in listed:
                row["mask_source"] = wanted
        kept.append(row)
    used = {r["mask_source"].partition("::")[0] for r in kept if r.get("mask_source", "").partition("::")[0] !=
            r["source"].partition("::")[0] and r.get("mask_source")}
    kept = [r for r in kept if r["source"].partition("::")[0] not in used]
    if not kept:
        example = f", for example {files[0]!r}" if files else ""
        raise ValueError(f"{draft.source.name}: none of {len(files)} files is an image to take{example}; "
                         "look at --patient-pattern and --kind")
    table = joins.outcomes(draft)
    _card(draft, kind)
    cohort = intake.take(draft, kept)
    ids = {"file": [Path(i.partition("::")[0]).name for i in cohort["image"]], "stem": list(cohort["_stem"])}
    ids |= {"patient": list(cohort["patient_id"])} if "patient_id" in cohort else {}
    cohort = joins.attach(draft, cohort.drop(columns="_stem"), table, ids)
    if table is not None and "patient_id" not in cohort:
        cohort.insert(0, "patient_id", [ids["stem"][i] for i in cohort.index])
    intake.finish(draft, cohort.reset_index(drop=True))


def nifti(draft, source):
    """NIfTI files; the patient of a BIDS name (sub-01) is recognised without a pattern."""
    files = intake.listing(draft.source)
    rows = [{"source": f} for f in files if f.lower().endswith(intake.NIFTI)]
    bids = rows and all(re.search(r"sub-[A-Za-z0-9]+", r["source"]) for r in rows)
    if bids and not draft.options.get("patient_pattern"):
        draft.options["patient_pattern"] = r"(?P<patient_id>sub-[A-Za-z0-9]+)"
    _named_files(draft, rows, files, set(), "nifti")


def npz(draft, source, *, member=None, frames=False, patient_member=None, label_member=None):
    """Members of npz files: one file per image, or with ``frames`` a stack of images along the first axis.

    ``mask`` names a member as ``::mask`` (or a template). `patient_member` and `label_member` are 1-D members of a
    stack with one entry per frame.
    """
    files = [Path(source).name] if Path(source).is_file() else intake.listing(draft.source)
    files = [f for f in files if f.lower().endswith(".npz")]
    if not files:
        raise ValueError(f"{source}: no .npz file")
    with np.load(draft.source / files[0], allow_pickle=False) as first:
        members = {k: first[k].ndim for k in first.files}
    images = [k for k, ndim in members.items() if ndim >= 2 and f"::{k}" != draft.options.get("mask")]
    if member is None and len(images) != 1:
        raise ValueError(f"{files[0]}: members {', '.join(members)}; say which is the image with --member NAME")
    member = member or images[0]
    if str(draft.options.get("mask") or "").startswith("::"):
        draft.options["mask"] = ("{folder}/{file}" if "/" in files[0] else "{file}") + draft.options["mask"]
    rows = []
    for file in files:
        if not frames:
            rows.append({"source": f"{file}::{member}"})
            continue
        with np.load(draft.source / file, allow_pickle=False) as data:
            count = len(data[member])
            extra = {c: data[m].ravel() for c, m in (("patient_id", patient_member), ("label", label_member)) if m}
        rows += [{"source": f"{file}::{member}", "frame": i, **{c: tables.canonical(v[i].item())
                  for c, v in extra.items()}} for i in range(count)]
    _named_files(draft, rows, files, set(), "npz")


def table(draft, source, *, image=None, boxes=None, patient=None):
    """A table, or several joined by ``key``; with ``image`` (a template of file names) one row per image.

    Parameters
    ----------
    image : str, optional
        For example ``images/{folder}/{file}`` or ``volumes/patient_{PatientID:03d}.npz::scan``. The result is looked
        up among the files below the source; nothing else is ever opened. Without it: a table of patients.
    boxes : list of str, optional
        Columns with x_min, y_min, x_max, y_max (pixels) of one box per row.
    patient : str, optional
        Column of the patient; the key by default.
    """
    if Path(source).is_file():
        draft.options.setdefault("tables", Path(source).name)
    if not draft.options.get("tables"):
        raise ValueError("which tables? say --tables a.csv,b.csv (names below the source)")
    found = joins.outcomes(draft)
    patient = str(patient or draft.options.get("key") or "")
    _card(draft, "table")
    raw = found.pop("_raw")
    if patient:
        tables._column(pd.DataFrame(columns=list(raw.iloc[0])), patient)
        found.insert(0, "patient_id", [tables.canonical(r[patient]) for r in raw])
    found = found.drop(columns=[c for c in (patient, "_key") if c in found and c != "patient_id"])
    if image is None:
        draft.card["intensity"] = None
        if patient and found["patient_id"].duplicated().any():
            who = found["patient_id"][found["patient_id"].duplicated()].iloc[0]
            raise ValueError(f"{patient} {who!r} occurs in several rows that differ; expected one row per patient")
        for who in found.get("patient_id", found.index):
            draft.say(f"row {who}", "taken")
        return intake.finish(draft, found)
    cohort, box = joins.rows_with_images(draft, found, raw, image, intake.words(boxes))
    return intake.finish(draft, cohort, boxes=box)


def medmnist(draft, source):
    """A MedMNIST npz (a file, or ``medmnist:NAME`` fetched and checked by MD5) with its own split."""
    cohort, known, file = mnist.rows(draft, source)
    _card(draft, "medmnist", **known)
    draft.card["import"]["source"] = file
    intake.finish(draft, cohort)


def synthetic(draft, source, *, patients=240, seed=0):
    """The synthetic cohort: written as raw DICOM into a temporary folder, then imported like any other."""
    name = str(source).split(":", 1)[-1]
    if name != "thorax":
        raise ValueError(f"synthetic:{name}: expected synthetic:thorax")
    from medlab import synthetic as phantom

    with tempfile.TemporaryDirectory(prefix="medlab-") as raw:
        draft.source = Path(raw) / "raw"
        phantom.thorax(draft.source, patients=int(patients), seed=int(seed))
        draft.options |= {"tables": "clinical.csv", "key": "patient_id", "label": "label", "time": "time_days",
                          "event": "event", "mask": "masks/{patient_id}.npz::mask"}
        draft.options["_made"] = {"kind": "synthetic", "medlab": medlab.__version__,
                                  "patients": int(patients), "seed": int(seed)}
        dicom(draft, draft.source, boxes="boxes.csv", truth="truth.csv")


def dicom(draft, source, *, studies="baseline", series="all", boxes=None, truth=None, link_table=None):
    """A tree of DICOM files; see `dicom_tree.take`. Pixels and allow-listed numbers only, under pseudonyms.

    Parameters
    ----------
    studies : {"baseline", "all"}
        Of several studies of a patient the earliest, or all with a column ``study`` (1 = earliest).
    series : {"all", "largest"}
        Of several series of a study all, or the one with most slices.
    boxes, truth : str, optional
        Tables below the source with a patient column named like the key.
    link_table : path, optional
        Where to write original id and pseudonym; outside the dataset, and only if asked for.
    """
    for name, value, legal in (("studies", studies, ("baseline", "all")), ("series", series, ("all", "largest"))):
        if value not in legal:
            raise ValueError(f"--{name} {value!r}: expected {' or '.join(legal)}")
    draft.options["_hide"] = True
    dicom_tree.check_link_table(draft, link_table)
    found = joins.outcomes(draft)
    _card(draft, "dicom")
    dicom_tree.take(draft, found, studies, series, boxes, truth)
    if link_table:
        dicom_tree.write_link_table(draft, link_table)


KINDS = {"folders": folders, "table": table, "dicom": dicom, "nifti": nifti, "npz": npz, "medmnist": medmnist,
         "synthetic": synthetic}
