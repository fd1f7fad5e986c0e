"""Import: one function per kind of source; each makes the folder of a dataset, once, and writes its log.

The folder is built beside its place under a hidden name and renamed at the end, so that an interrupted import
leaves nothing half-done. Options are keywords (on the command line ``--time-unit months``); those of all kinds are
in `arguments.COMMON`, the others are the keyword arguments of the function of the kind.
"""

import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import medlab
from medlab import storage
from medlab.cohorts import datasets
from medlab.intake import (
    arguments,
    bold,
    coco,
    dicom_tree,
    drafts,
    joins,
    mask_folders,
    packages,
    problems,
    pseudonyms,
    readings,
    studies,
    voc,
    yolo,
)
from medlab.intake import medmnist as mnist
from medlab.intake.image_files import folders, nifti, npz


def import_source(source, name, kind=None, **options) -> datasets.Dataset | None:
    """Make the dataset ``data/<name>`` from `source`; print how it was read before, what was taken after.

    Parameters
    ----------
    source : path or text
        A folder, a table, an npz, ``synthetic:thorax`` (``pet``, ``fmri``), ``package:gbsg2`` (or another of
        `packages`), or ``medmnist:NAME`` (fetched).
    kind : str, optional
        One of `KINDS`; detected where not given, but for functional MRI (``bold``).
    **options
        See `arguments.COMMON` and the function of the kind; an unknown one is refused, naming the nearest.

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
                         + (f"; for this say {arguments.OTHER_WORDS[kind]}" if kind in arguments.OTHER_WORDS else ""))
    options = arguments.checked(kind, KINDS[kind], options)
    if place.exists() and not options.get("overwrite"):
        raise ValueError(f"{place} exists; choose another name or say --overwrite")
    pseudonyms.check_link_table(options.get("link_table"))
    storage.keep_private()
    staging = _staging(place)
    try:
        common = {k: v for k, v in options.items() if k in arguments.COMMON}
        draft = drafts.Draft(_source_folder(source, kind), staging, common)
        _say_left_out(draft, source, kind)
        KINDS[kind](draft, source, **{k: v for k, v in options.items() if k in arguments.of_kind(KINDS[kind])})
        readings.show(draft, name)
        dataset = datasets.load_folder(staging, name)
        if options.get("dry_run"):
            return None
        readings.confirm(draft, name, options.get("yes"))
        if options.get("link_table"):
            pseudonyms.write_link_table(draft, options["link_table"])
        _rename(staging, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    dataset = replace(dataset, folder=place)
    _summary(dataset, draft)
    return dataset


def _say_left_out(draft, source, kind):
    """What lies below a folder and no kind looks at goes into the log; by its sort where names may name a patient."""
    if kind in ("synthetic", "package") or not Path(str(source)).is_dir():
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
    if text.startswith(("synthetic:", "medmnist:", "package:")):
        return text.split(":")[0]
    if not path.exists():
        raise ValueError(f"source {text!r}: no such file or folder; known besides: synthetic:thorax (pet, "
                         "fmri), package:gbsg2, medmnist:NAME")
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
    if mask is None and yolo.looks_like(path, files):
        return "yolo"
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
    if kind in ("synthetic", "package") or str(source).startswith("medmnist:"):
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
    patients : int from 1, optional
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


def package(draft, source) -> None:
    """A real cohort that a dependency carries, offline: ``package:gbsg2`` (whas500, veterans, flchain, rossi)."""
    name = str(source).split(":", 1)[-1]
    table, found = packages.known(name), packages.cohort(name)
    with tempfile.TemporaryDirectory(prefix="medlab-") as folder:
        draft.source = Path(folder)
        found.to_csv(draft.source / f"{name}.csv", index=False)
        draft.options |= {"key": "patient_id", "time": "follow_up", "time_unit": table.unit, "event": "event",
                          "event_values": "yes", "_made": {"kind": "package", "medlab": medlab.__version__,
                                                           "source": name, "file": table.file}}
        draft.options = packages.card(name) | draft.options
        for column, reason in table.left_out.items():
            draft.say(f"column {column}", "left out", reason)
        joins.table(draft, draft.source / f"{name}.csv")


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
    echo : int from 1, optional
        Of a series with several echoes the one with this rank of its echo time, 1 the shortest.
    boxes, truth : str, optional
        Tables below the source with a patient column named like the key.
    roi : str, optional
        Structures that become the mask, as ``GTV*:tumour,Lung_L:lung``; see `structures.attach`.
    segmentation : {"RTSTRUCT", "SEG"}, optional
        Which to take where a series has both.
    """
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
    dicom_tree.take(draft, found, studies, series, boxes, truth, roi, segmentation, modality, echo)


KINDS = {"folders": folders, "masks": mask_folders.masks, "voc": voc.voc, "yolo": yolo.yolo, "coco": coco.coco,
         "table": joins.table, "dicom": dicom, "nifti": nifti, "npz": npz, "bold": bold.runs, "medmnist": medmnist,
         "synthetic": synthetic, "package": package}
