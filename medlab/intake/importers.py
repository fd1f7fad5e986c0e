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

import medlab
from medlab import storage
from medlab.cohorts import datasets
from medlab.intake import (
    bold,
    coco,
    dicom_tree,
    drafts,
    joins,
    mask_folders,
    problems,
    pseudonyms,
    readings,
    studies,
    voc,
)
from medlab.intake import medmnist as mnist
from medlab.intake.image_files import folders, nifti, npz

COMMON = {  # options of all kinds, with a line of help
    "yes": "take the guesses that are listed as questions; for scripts",
    "dry_run": "show how the source is read, write nothing",
    "overwrite": "replace the dataset, once the new one is whole",
    "patient_pattern": "regular expression on the path; its named groups become columns: 'P(?P<patient_id>[0-9]+)_'",
    "pseudonyms": "keyed hashes for the names of all files; for patients they are the rule",
    "link_table": "where to write original ids and names of files with their pseudonyms; outside of data and reports",
    "spacing_mm": "mm between pixels along the axes, where the files do not say",
    "tables": "tables of outcomes, a.csv,b.xlsx, below the source or here",
    "key": "column that names the patient or the file",
    "patient": "column of the patient, where the key names the image",
    "time": "column of the follow-up", "time_unit": "minutes, hours, days, weeks, months or years",
    "event": "column of the event", "event_values": "its values that mean that the event was seen",
    "censored_values": "those that mean that it was not; any other is then not known",
    "where": "condition on the columns, the rows to take: \"modality == 'X-ray' and age >= 18\"",
    "on_duplicate": "of rows with one key that differ: first takes the first, refuse none of them",
    "start": "column of the date at which follow-up starts", "end": "column of the date at which it ends",
    "date_format": "such as %d/%m/%Y", "cause": "column of the cause of an event",
    "label": "column of the class", "split": "column of the split", "split_as": "rename its parts, as val:test",
    "decimal": "decimal sign of the tables, . or ,", "sheet": "sheet of an Excel file",
    "encoding": "encoding of text tables, such as cp1252, gb18030, cp932",
    "missing": "numbers or words that stand for missing, of all columns or of one: age:999,-9; none: there are none",
    "text": "columns of codes that are no numbers", "numbers": "columns of numbers although some cells are none",
    "rename": "rename columns, old:new", "covariates": "columns to take, no other", "drop": "columns to leave out",
    "keep": "columns to take although they look like identifiers; patient_id: ids and names of files as they are; "
            "files: their names",
    "mask": "where masks are: a folder, or a template such as '{stem}_mask.png'", "mask_classes": "name:value,...",
    "frame": "one volume of a file or series that holds several, from 0; of DICOM also 'all'",
    "orientation": "how masks and boxes lie on images that were turned while reading: stored, shown or itk",
    "valid": "where fields of view are, as for masks", "blocks": "contiguous blocks of a volume's slices as patients",
    "class_level": "number of the folder level that holds the classes, from 1 below the source, or none",
    "patient_level": "number of the folder level that holds the patients, or none",
    "channels": "names of sequences that are the channels of one image, in their order (t1,flair), or none",
    "copies": "files of equal name below a folder that repeats its siblings: all, or once (the outer ones)",
    **drafts.CARD,
}


OTHER_WORDS = {"pet": "--kind dicom --modality PT", "ct": "--kind dicom --modality CT", "fmri": "--kind bold",
               "mr": "--kind dicom --modality MR", "mri": "--kind dicom --modality MR"}
UNUSED = {"frame": ("table", "npz", "bold", "medmnist", "synthetic"),
          "blocks": ("table", "dicom", "medmnist", "synthetic"),
          "patient": ("dicom", "bold", "medmnist", "synthetic"),
          "valid": ("coco", "dicom", "medmnist", "synthetic"),
          "mask": ("coco", "medmnist", "synthetic"), "mask_classes": ("coco", "medmnist", "synthetic")}


def import_source(source, name, kind=None, **options) -> datasets.Dataset | None:
    """Make the dataset ``data/<name>`` from `source`; print how it was read before, what was taken after.

    Parameters
    ----------
    source : path or text
        A folder, a table, an npz, ``synthetic:thorax`` (``pet``, ``fmri``), or ``medmnist:NAME`` (fetched).
    kind : str, optional
        One of `KINDS`; detected where not given, but for functional MRI (``bold``).
    **options
        See ``COMMON`` and the function of the kind; an unknown one is refused, naming the nearest.

    Returns
    -------
    Dataset, or None with ``dry_run``

    Raises
    ------
    ValueError
        When nothing can be taken, an option is unknown or the dataset exists; nothing is left behind. What libraries
        raise for a broken file becomes one too, naming the file (`problems.explained`).
    """
    try:
        return _import(source, name, kind, options)
    except Exception as error:
        if problems.is_ours(error):
            raise
        raise problems.explained(error, source) from error


def _import(source, name, kind, options):
    place = datasets.folder_of(name)
    kind = kind or ("table" if "image" in options else detect_kind(source, options.get("mask")))
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}"
                         + (f"; for this say {OTHER_WORDS[kind]}" if kind in OTHER_WORDS else ""))
    own = {p.name: p.default for p in inspect.signature(KINDS[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for option in options:
        if option not in (*COMMON, *own):
            near = difflib.get_close_matches(option, (*COMMON, *own), 1)
            raise ValueError(f"unknown option --{option.replace('_', '-')} for kind {kind}"
                             + (f"; did you mean --{near[0].replace('_', '-')}?" if near else
                                f"; known: {', '.join(sorted((*COMMON, *own)))}"))
    options = {o: _typed(o, v, own.get(o)) for o, v in options.items() if v is not None}
    useless = [o for o, kinds in UNUSED.items() if o in options and kind in kinds]
    if useless:
        near = difflib.get_close_matches(useless[0], own, 1)
        raise ValueError(f"--{useless[0].replace('_', '-')} says nothing to kind {kind}: "
                         + (f"did you mean --{near[0].replace('_', '-')}?" if near else "leave it out"))
    if place.exists() and not options.get("overwrite"):
        raise ValueError(f"{place} exists; choose another name or say --overwrite")
    pseudonyms.check_link_table(options.get("link_table"))
    storage.keep_private()
    _check_pattern(options)
    staging = _staging(place)
    try:
        draft = drafts.Draft(_source_folder(source, kind), staging, {k: v for k, v in options.items() if k in COMMON})
        _say_left_out(draft, source, kind)
        KINDS[kind](draft, source, **{k: v for k, v in options.items() if k in own})
        readings.show(draft, name)
        datasets.load_folder(staging, name)
        if options.get("dry_run"):
            return None
        readings.confirm(draft, name, options.get("yes"))
        if options.get("link_table"):
            pseudonyms.write_link_table(draft, options["link_table"])
        _rename(staging, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    dataset = datasets.load(name)
    _summary(dataset, draft)
    return dataset


FLAGS = ("yes", "dry_run", "overwrite", "pseudonyms", "classes_ordered")  # options of all kinds without a value
WHOLE = ("blocks", "patients")  # whole numbers, as are options of a kind whose default is one


def _typed(option, value, default):
    """The value of an option as what it is: a flag, a whole number, else text (a list, a dictionary)."""
    name = f"--{option.replace('_', '-')}"
    if option in FLAGS or isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} takes no value; found {value!r}")
        return value
    if isinstance(value, bool) or value == "":
        raise ValueError(f"{name}: expected a value, as in {name} VALUE")
    if option in WHOLE or isinstance(default, int):
        if not re.fullmatch(r"[-+]?[0-9]{1,18}", str(value).strip()):
            raise ValueError(f"{name} {value!r}: expected a whole number")
        return int(value)
    return str(value) if isinstance(value, (int, float)) else value


def _check_pattern(options):
    pattern = options.get("patient_pattern", "")
    try:
        if not isinstance(pattern, str):
            raise re.error("no text")
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--patient-pattern {pattern!r}: no regular expression ({error}); expected one with named "
                         "groups such as 'P(?P<patient_id>[0-9]+)_'") from None


def _say_left_out(draft, source, kind):
    """What lies below a folder and no kind looks at goes into the log; by its sort where names may name a patient."""
    if kind == "synthetic" or not Path(str(source)).is_dir():
        return
    hide = kind == "dicom" or draft.options.get("pseudonyms")
    for name, reason in drafts.left_out(draft.source):
        draft.say("(not named)" if hide else storage.inert(name), "left out", reason)


def detect_kind(source, mask=None) -> str:
    """Kind of a source from its name and what lies in it; ValueError naming what was found.

    Parameters
    ----------
    mask : str, optional
        The option: the name of a folder speaks for mask folders, a template against.
    """
    text, path = str(source), Path(str(source))
    if text.startswith(("synthetic:", "medmnist:")):
        return text.split(":")[0]
    if not path.exists():
        raise ValueError(f"source {text!r}: no such file or folder; known besides: synthetic:thorax (pet, "
                         "fmri), medmnist:NAME")
    if path.is_file():
        from medlab.imaging import formats

        suffix = path.suffix.lower()
        if suffix == ".npz":
            return "medmnist" if {"train_images", "train_labels"} <= set(formats.members(path)) else "npz"
        if coco.looks_like(path):
            return "coco"
        if suffix in (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".xlsm"):
            return "table"
        raise ValueError(f"{path.name}: expected a folder, a table (.csv, .xlsx), .npz or COCO .json; "
                         "say the kind with --kind")
    if not path.is_dir():
        raise ValueError(f"{path.name}: neither a file nor a folder; expected one with images or a table")
    files = drafts.listing(path)
    if voc.roots(files):
        return "voc"
    if any(coco.looks_like(path / f) for f in files):
        return "coco"
    if mask_folders.looks_like(files) if mask is None else any(str(mask) in f.split("/")[:-1] for f in files):
        return "masks"
    counts = Counter("nifti" if f.lower().endswith(drafts.NIFTI) else
                     "npz" if f.lower().endswith(".npz") else
                     "folders" if f.lower().endswith(drafts.PICTURES[:-2]) else
                     "dicom" if studies.looks_like(path / f) else "other" for f in files)
    counts.pop("other", None)
    if not counts:
        pairs = sum(f.lower().endswith(".hdr") for f in files)
        reasons = Counter(reason for _, reason in drafts.left_out(path))
        others = "".join(f"; left out {n}: {reason}" for reason, n in reasons.most_common(4))
        raise ValueError(f"{path.name}: {len(files)} files, none an image{others}; " + (
            f"{pairs} are headers (.hdr) of volumes in two files: convert each pair to one .nii" if pairs else
            "say the kind with --kind"))
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
    """The new dataset takes its place; an older one goes only after that, and comes back if it cannot be done."""
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    if place.exists():
        place.rename(old)
    try:
        staging.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
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
    for status in ("refused", "unmatched", "left out"):
        reasons = Counter(e["reason"] for e in draft.log if e["status"] == status)
        lines += [f"  {status} {count}: {reason}" for reason, count in reasons.most_common(8)]
        lines += [f"  {status}: {len(reasons) - 8} further reasons in import_log.csv"] if len(reasons) > 8 else []
    lines += [f"  note: {note}" for note in (*draft.notes, *dataset.notes)]
    print(storage.inert("\n".join(lines)), file=sys.stdout)


def medmnist(draft, source) -> None:
    """A MedMNIST npz (a file, or ``medmnist:NAME`` fetched and checked by MD5) with its own split."""
    if not str(source).startswith("medmnist:") and not Path(source).is_file():
        raise ValueError(f"{source}: expected the .npz file of MedMNIST, or medmnist:NAME")
    cohort, known, file = mnist.rows(draft, source)
    drafts.card(draft, "medmnist", **known)
    draft.card["import"]["source"] = file
    drafts.finish(draft, cohort)


def synthetic(draft, source, *, patients=None, seed=0, volumes=240) -> None:
    """A synthetic cohort: written as raw DICOM into a temporary folder, then imported like any other (fMRI: one run).

    Parameters
    ----------
    patients : int, optional
        By default 240 for ``synthetic:thorax``, 20 for ``synthetic:pet``.
    seed : int
        Of the random numbers: the same seed makes the same cohort.
    volumes : int, optional
        Of ``synthetic:fmri``, one every 2 s.
    """
    name = str(source).split(":", 1)[-1]
    if name not in ("thorax", "pet", "fmri"):
        raise ValueError(f"synthetic:{name}: expected synthetic:thorax, synthetic:pet or synthetic:fmri")
    if name == "fmri":
        return bold.synthetic(draft, int(seed), int(volumes))
    patients = {"thorax": 240, "pet": 20}[name] if patients is None else int(patients)
    with tempfile.TemporaryDirectory(prefix="medlab-") as raw:
        draft.source = Path(raw) / "raw"
        draft.options |= {"tables": "clinical.csv", "key": "patient_id", "label": "label",
                          "mask": "masks/{patient_id}.npz::mask"}
        draft.options["_made"] = {"kind": "synthetic", "medlab": medlab.__version__,
                                  "patients": patients, "seed": int(seed)}
        if name == "pet":
            from medlab.phantoms import pet

            pet.pet(draft.source, patients=patients, seed=int(seed))
            draft.options["modality"] = "all"
            return dicom(draft, draft.source, studies="all", truth="truth.csv")
        from medlab.phantoms import thorax

        thorax.thorax(draft.source, patients=patients, seed=int(seed))
        draft.options |= {"time": "time_days", "event": "event"}
        dicom(draft, draft.source, boxes="boxes.csv", truth="truth.csv")


def dicom(draft, source, *, studies="baseline", series="all", echo=None, boxes=None, truth=None, roi=None,
          segmentation=None) -> None:
    """A tree of DICOM files; see `dicom_tree.take`. Pixels and allow-listed numbers only, under pseudonyms.

    The common ``modality`` selects here (``CT``, ``CT,PT`` or ``all``), and ``frame`` takes one of several volumes of a
    series (``all``: each an image of its own).

    Parameters
    ----------
    studies : {"baseline", "all"}
        Of several studies of a patient the earliest, or all with a column ``study`` (1 = earliest).
    series : str
        Of several series of a study ``all``, the ``largest`` (most slices), or those whose description fits one of
        these patterns (``T1*,*FLAIR*``; ``#2`` where the description is not shown since it may name a person).
    echo : int, optional
        Of a series with several echoes the one with this rank of its echo time, 1 the shortest.
    boxes, truth : str, optional
        Tables below the source with a patient column named like the key.
    roi : str, optional
        Structures that become the mask, as ``GTV*:tumour,Lung_L:lung``; see `structures.attach`.
    segmentation : {"RTSTRUCT", "SEG"}, optional
        Which to take where a series has both.
    """
    if studies not in ("baseline", "all"):
        raise ValueError(f"--studies {studies!r}: expected baseline or all")
    frame = draft.options.get("frame")
    for name, value, least in (("echo", echo, 1), ("frame", None if frame == "all" else frame, 0)):
        if value is not None and (not str(value).isdigit() or int(value) < least):
            raise ValueError(f"--{name} {value!r}: expected a whole number from {least}"
                             + (" or all" if name == "frame" else ""))
    draft.options["_hide"] = True
    if draft.keeps_ids:
        raise ValueError("--keep patient_id: ids of DICOM headers are always replaced; --link-table FILE writes "
                         "the pairs")
    found = joins.outcomes(draft, once=draft.options.get("key"))
    modality = drafts.words(draft.options.pop("modality", None))  # selects; the card says what was taken
    drafts.card(draft, "dicom")
    draft.card["modality"] = None if modality and modality != ["all"] else draft.card["modality"]
    if modality and "_made" not in draft.options:
        draft.card["import"].setdefault("options", {})["modality"] = ",".join(modality)
    dicom_tree.take(draft, found, studies, series, boxes, truth, roi, segmentation, modality, echo and int(echo))


KINDS = {"folders": folders, "masks": mask_folders.masks, "voc": voc.voc, "coco": coco.coco, "table": joins.table,
         "dicom": dicom, "nifti": nifti, "npz": npz, "bold": bold.runs, "medmnist": medmnist,
         "synthetic": synthetic}
