"""Import of files whose names say all: folders of classes, NIfTI, npz; ids and masks from the names.

`named_files` is what these kinds share with `mask_folders`.
"""

import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from medlab.intake import channels, decathlon, drafts, frames, joins, layouts, levels, tables, taking


def folders(draft, source) -> None:
    """Folder per class, perhaps below training/validation/testing; no class folders: images without label.

    Masks beside the images (``NAME_mask.png``) are theirs; of several folder levels see `levels.read`.
    """
    files = drafts.listing(draft.source)
    rows = []
    for relative in layouts.without_drawings(draft, files):
        if relative.lower().endswith((*drafts.PICTURES, *drafts.NIFTI, ".gif")):
            rows.append({"source": relative})
        else:
            draft.say(relative, "refused", "not an image file by its suffix")
    named_files(draft, placed(draft, rows, files), files, "folders")


def placed(draft, rows, files, names=()) -> list:
    """Rows of picture files as rows of images: masks beside them found, sequences stacked, folders read.

    Parameters
    ----------
    names : list of str
        Of channels, where the source says them.
    """
    found = layouts.trusted(draft, layouts.marks([r["source"] for r in rows]))
    rows = [r for r in layouts.attach(draft, rows, found) if _fits(draft, r)]
    rows = channels.beside(draft, rows, names)
    return levels.read(draft, rows)


def _fits(draft, row):
    """Whether the path fits --patient-pattern, before files become channels of one image."""
    fits = drafts.name_groups(draft, row["source"]) is not None
    if not fits:
        draft.say(row["source"], "refused", "its name does not fit --patient-pattern")
    return fits


def named_files(draft, rows, files, kind, boxes=None, **known) -> None:
    """What kinds of named files share: ids from the names, masks by template, outcomes, blocks, writing.

    Parameters
    ----------
    rows : list of dict
        As for `taking.take`; ``mask_source`` and ``valid_source`` where the kind knows them already.
    files : list of str
        Everything that lies below the source.
    boxes : callable, optional
        Makes boxes.csv of (draft, cohort), and may give the cohort a mask.
    **known
        What the kind knows for the card.
    """
    kept, listed, complaints = [], set(files), {}
    for row in rows:
        relative = row["source"].partition("::")[0]
        stem = re.sub(r"(\.nii)?\.[^.]+$", "", relative.split("/")[-1])
        groups = drafts.name_groups(draft, relative)
        if groups is None:
            _fits(draft, row)
            continue
        row |= {"_stem": stem, "_source": relative} | groups
        template = {**row, "stem": stem, "folder": relative.rpartition("/")[0], "file": relative.split("/")[-1]}
        complaints[row["source"]] = []
        row |= joins.beside(draft, template, listed, complaints[row["source"]]) if kind != "masks" else {}
        kept.append(row)
    used = {r[c].partition("::")[0] for r in kept for c in drafts.OTHERS.values() if c in r}
    used -= {r["source"].partition("::")[0] for r in kept if "::" in r["source"]}  # image and mask in one npz
    kept = [r for r in kept if r["source"].partition("::")[0] not in used]
    for entry in (c for r in kept for c in complaints[r["source"]]):
        draft.say(*entry)
    if not kept:
        example = f", for example {files[0]!r}" if files else ""
        raise ValueError(f"{draft.source.name}: none of {len(files)} files is an image to take{example}; "
                         "look at --patient-pattern and --kind")
    if draft.options.get("blocks"):
        _blocks(draft, kept)
    seek = not any("patient_id" in r for r in kept)
    draft.options |= {"_patient": draft.options["patient"]} if draft.options.get("patient") else {"_seek": seek}
    table = joins.outcomes(draft, once=draft.options.get("key"))
    drafts.card(draft, kind, **known)
    frames.one_of_several(draft, kept)
    channels.of_volumes(draft, kept, channels.named(draft, draft.card.get("channels")))
    cohort = taking.take(draft, kept)
    if kind != "npz":
        layouts.unlike(draft, cohort)
    ids = {"file": [Path(i).name for i in cohort["_source"]], "stem": list(cohort["_stem"])}
    ids |= {"patient": list(cohort["patient_id"])} if "patient_id" in cohort else {}
    cohort = joins.attach(draft, cohort.drop(columns="_stem"), table, ids)
    if table is not None and "patient_id" not in cohort:
        cohort.insert(0, "patient_id", [ids["stem"][i] for i in cohort.index])
    cohort = cohort.reset_index(drop=True)
    if draft.options.get("_split_rule") and "split" in cohort and cohort["split"].nunique(dropna=False) == 1:
        part = cohort.pop("split").iloc[0]
        draft.understand("parts", f"{part} is the only part of which images are taken: it is no split")
    found = boxes(draft, cohort) if boxes else layouts.boxes(draft, cohort)
    layouts.tell(draft, kind, cohort)
    drafts.finish(draft, cohort, boxes=found)


def _blocks(draft, rows):
    """Contiguous blocks of the slices of a volume (of each patient, of each part of the source) as patients."""
    n = draft.options["blocks"]
    volumes = defaultdict(list)
    for row in rows:
        volumes[tuple(str(row[c]) for c in ("split", "patient_id") if row.get(c) is not None)].append(row)
    for name, members in volumes.items():
        words = {re.sub(r"\d+", "#", r["source"]) for r in members}
        places = [(*map(int, re.findall(r"\d+", r["source"])), r.get("frame") or 0) for r in members]
        if len(words) > 1 or len(set(places)) < len(places) or len(members) < n:
            raise ValueError(f"--blocks {n}: {len(members)} slices such as {members[0]['source']}; expected at least "
                             f"{n} whose names differ in a number only; --patient-pattern says of which volume")
        slices = sorted(zip(places, range(len(members)), strict=True))
        for block, part in enumerate(np.array_split([i for _, i in slices], n), 1):
            for i in part:
                members[i]["patient_id"] = "-".join((*name, f"block-{block}"))
    draft.notes.append(f"the slices of {'one volume' if len(volumes) == 1 else f'each of {len(volumes)} volumes'} are "
                       f"cut into {n} contiguous blocks, each counted as a patient: neighbours across a border are "
                       "alike, and an interval over blocks says nothing about other volumes")


def nifti(draft, source) -> None:
    """NIfTI files; the patient of a BIDS name (sub-01) is recognised without a pattern.

    Sequences of one case beside its mask (``X_t1``, ``X_flair``, ``X_seg``) are channels of one image.
    """
    files = drafts.listing(draft.source)
    said = decathlon.read(draft, files)
    rows = [{"source": f} for f in files if f.lower().endswith(drafts.NIFTI)]
    bids = rows and all(re.search(r"sub-[A-Za-z0-9]+", r["source"]) for r in rows)
    if bids and not draft.options.get("patient_pattern"):
        draft.options["patient_pattern"] = r"(?P<patient_id>sub-[A-Za-z0-9]+)"
        draft.options |= {"_bids": True, "_patient_rule": "from BIDS names (sub-...)"}
    values = _of_headers(draft, rows)
    for file in files:
        if file in values:
            draft.say(file, "taken", "values of a header beside it")
        elif not file.lower().endswith((*drafts.NIFTI, "dataset.json")):
            draft.say(file, "refused", "no NIfTI file")
    rows = placed(draft, rows, files, said.get("channels", ()))
    if draft.options.get("_bids"):
        _sequences(draft, rows)
    named_files(draft, rows, files, "nifti", **said.get("card", {}))


def _of_headers(draft, rows):
    """Files in which the values of .mhd and .nhdr lie."""
    from medlab.imaging import dicom, itk

    found = set()
    for file in (r["source"] for r in rows if r["source"].lower().endswith((".mhd", ".nhdr"))):
        try:
            with dicom.guard(file, "its header cannot be read"):
                found |= {f"{file.rpartition('/')[0]}/{n}".lstrip("/") for n in itk.data_files(draft.source / file)}
        except dicom.BadImage:
            continue  # refused by name when it is read
    return found


def _sequences(draft, rows):
    """Column ``sequence`` of BIDS files whose last words (T1w, FLAIR) differ; that they are mixed is asked."""
    words = [re.sub(r"(\.nii)?\.[^.]+$", "", r["source"]).rpartition("_")[2] for r in rows]
    counts = Counter(words)
    if len(counts) < 2 or any("_channels" in r for r in rows):
        return
    for row, word in zip(rows, words, strict=True):
        row["sequence"] = word
    if not draft.options.get("channels"):
        told = ", ".join(f"{w} ({n})" for w, n in sorted(counts.items()))
        draft.ask(f"images of {len(counts)} sequences in one dataset: {told}; each is an image, told apart by the "
                  "column sequence", "--channels none; one alone by --patient-pattern "
                  f"'(?P<patient_id>sub-[A-Za-z0-9]+).*_{counts.most_common(1)[0][0]}[.]'")


def npz(draft, source, *, member=None, frames=False, patient_member=None, label_member=None) -> None:
    """Members of npz files: one file per image, or with ``frames`` a stack of images along the first axis.

    ``mask`` names a member as ``::mask`` (or a template).

    Parameters
    ----------
    member : str, optional
        Name of the array that is the image, where there are several.
    frames : bool
        The array is a stack of images along its first axis.
    patient_member, label_member : str, optional
        Arrays of a stack with one entry per image.
    """
    from medlab.imaging import formats

    files = [Path(source).name] if Path(source).is_file() else drafts.listing(draft.source)
    files = [f for f in files if f.lower().endswith(".npz")]
    if not files:
        raise ValueError(f"{source}: no .npz file")
    shapes = {}
    for file in files:
        try:
            shapes[file] = formats.members(draft.source / file)
        except formats.BadImage as error:
            draft.say(file, "refused", error.reason)
    if not shapes:
        raise ValueError(f"{files[0]}: {draft.log[-len(files)]['reason']}; expected .npz written by numpy")
    files = list(shapes)
    members = {k: len(shape) for k, shape in shapes[files[0]].items()}
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
        count = (*shapes[file].get(member, ()), 0)[0]
        if math.prod(shapes[file].get(member, ())) > formats.MAX_BYTES:
            draft.say(file, "refused", f"a stack of {' x '.join(map(str, shapes[file][member]))} numbers: more than "
                      f"{formats.MAX_BYTES // 2**20} MiB; cut it into several files")
            continue
        extra = {c: formats.member(draft.source / file, m).ravel()
                 for c, m in (("patient_id", patient_member), ("label", label_member)) if m}
        for option, values in extra.items():
            if len(values) != count:
                raise ValueError(f"{file}: {len(values)} values of {option} for {count} images in {member!r}; expected "
                                 "as many, and a stack of images along the first axis")
        rows += [{"source": f"{file}::{member}", "frame": i, **{c: tables.canonical(v[i].item())
                  for c, v in extra.items()}} for i in range(count)]
    named_files(draft, levels.read(draft, rows) if len(files) > 1 and not frames else rows, files, "npz")
