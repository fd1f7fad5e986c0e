"""A tree of DICOM files to one file per series, without anything that names a person.

Only pixels, geometry and an allow-list of numbers are written, under pseudonyms; headers are never copied.
Identifiers, dates and file names of the source appear neither in names nor in the log: a refused file is known there
by a keyed hash.
"""

import hashlib
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from medlab import storage
from medlab.imaging import arrays, nifti
from medlab.intake import (
    descriptions,
    drafts,
    joins,
    label_maps,
    layouts,
    levels,
    orientation,
    selection,
    structures,
    studies,
    tables,
    taking,
)
from medlab.pet import headers as pet_headers


def take(draft, table, which, series, boxes, truth, roi=None, segmentation=None, modality=(), echo=None) -> None:
    """Group the files into series, choose, write each volume, join the outcomes, finish the dataset."""
    files = drafts.listing(draft.source)
    helpers = {str(n).strip() for n in drafts.words(draft.options.get("tables"))} | {boxes, truth, "card.yaml"}
    masks = _mask_files(draft, table, set(files))
    used = helpers | {m.split("::")[0] for m in masks.values()}
    headers, segmentations = studies.headers(draft, [f for f in files if f not in used])
    if not headers:
        raise ValueError(f"no DICOM image among {len(files)} files; " + "; ".join(
            [f"{n} {r}" for r, n in Counter(e["reason"] for e in draft.log).most_common(3)] +
            [f"{n} {m}: give a folder that holds their images as well" for m, n in Counter(
                i["modality"] for i in segmentations).items()]))
    groups = _chosen(draft, studies.group(headers), which, series, modality, echo)
    _folders(draft, [i["file"] for g in groups for i in g["items"]])
    alias = draft.alias(g["patient"] for g in groups)
    rows = _written(draft, groups, alias)
    cohort = pd.DataFrame(rows)
    draft.checked |= set(cohort) - {name for g in groups for name in g["groups"]}  # the others are of the allow-list
    _geometry(draft, cohort)
    _scanners(cohort, table)
    pet_headers.keep(cohort)
    _place_masks(draft, cohort, masks)
    structures.attach(draft, cohort, segmentations, roi, segmentation)
    _common_card(draft, cohort)
    _understood(draft, cohort)
    cohort = joins.attach(draft, cohort, table, {"patient": list(cohort["_patient"])}).reset_index(drop=True)
    _drop_repeated_scanner(cohort, table)
    side = {n: _beside(draft, cohort, n, alias) for n in (boxes, truth) if n}
    drafts.finish(draft, cohort, boxes=side.get(boxes), truth=side.get(truth))


def _chosen(draft, groups, which, series, modality, echo):
    """The volumes to take, by modality, description, study and what tells the volumes of a series apart."""
    found = len(groups)
    groups = selection.modalities(draft, groups, modality)
    groups = selection.described(draft, groups, () if series in ("all", "largest") else drafts.words(series))
    groups = studies.choose(draft, groups, which, series)
    draft.understand("series", f"{len(groups)} of {found} taken: {descriptions.in_words(groups)}")
    return selection.split(draft, groups, echo, draft.options.get("frame"))


def _folders(draft, files):
    """Say that folders seem to hold classes or parts, which are read by --patient-pattern alone; no name is shown."""
    if draft.options.get("patient_pattern"):
        return
    found = levels.levels([f.split("/")[:-1] for f in files], [layouts.stem(f) for f in files])
    for level in (v for v in found if v.kind == "class"):
        form = "[^/]+/" * (level.number - 1) + "(?P<label>[^/]+)/"
        draft.understand("folders", f"level {level.number} ({len(level.names)} folders) may hold classes: not read; "
                         f"--patient-pattern '^{form}' takes their names")
    parts = sorted(set(levels.parts_of(files)) - {None})
    if len(parts) > 1:
        draft.understand("folders", f"parts of the source ({', '.join(parts)}): not read; --patient-pattern "
                         "'(?P<split>NAME|NAME)/' takes these names of folders")


def _written(draft, groups, alias):
    """Read and write every series; rows of the cohort."""
    counts, rows, seen = Counter(), [], {}
    for g in groups:
        counts[g["patient"]] += 1
        g["name"] = f"{alias[g['patient']]}_{counts[g['patient']]}"
    (draft.folder / "images").mkdir()
    made = arrays.by_processes(partial(_one, draft.source, draft.folder), groups)
    for g, row, sha, notes in tqdm(made, total=len(groups), desc="writing", unit="series"):
        files = studies.files_of(g)
        for relative, reason in g.get("bad", []):
            studies.refuse(draft, relative, reason)
        if row is None:
            draft.say(f"series of {files}, patient {alias[g['patient']]}", "refused", "; ".join(notes))
            continue
        draft.sha256[row["image"]] = sha["file"]
        twin = seen.setdefault(sha["pixels"], row["image"])
        status = "taken" if twin == row["image"] else "duplicate"
        notes = [*g.get("said", ()), *notes]
        reason = [files, *notes] + ([f"same pixels as {twin}; kept"] if status == "duplicate" else [])
        draft.say(row["image"], status, "; ".join(reason))
        draft.notes += [f"{row['image']}: {n}" for n in notes if "gap" in n or "burned" in n]
        rows.append(row | {"study": g["study_number"], "_patient": g["patient"], "_series": g["series"],
                           "_frame_of_reference": g["frame_of_reference"], **g["groups"]})
    if not rows:
        reasons = Counter(e["reason"] for e in draft.log).most_common(3)
        raise ValueError(f"no series could be read: {'; '.join(r for r, _ in reasons)}")
    return rows


def _one(source, folder, g):
    """One series: (what is known of it, row, hashes, notes), or (the same, None, None, [reason])."""
    from medlab.imaging import dicom

    files = [source / i["file"] for i in g["items"]]
    try:
        image = _read(source, g, files)
    except dicom.BadImage as error:
        return g, None, None, [error.reason.replace(str(source), "")]
    name = f"images/{g['name']}"
    normal = None if image.affine is None else np.cross(image.affine[:3, 1], image.affine[:3, 2])
    row = {"patient_id": g["name"].split("_")[0], **nifti.write(image, folder, name), "modality": g["modality"],
           "volume": g.get("volume"), "description": g["shown"] or None, **g["kinds"],
           "plane": None if normal is None else descriptions.plane(normal),
           "_modality": g["modality"], "_intensity": image.intensity, "_spacing": image.spacing_mm or (),
           "_uneven": any("gap of" in n or "mm apart" in n for n in image.notes), "scanner": g["scanner"],
           **g["numbers"]}
    row["_pet"], said = pet_headers.of_series(g["modality"], [source / i["file"] for i in g["items"]])
    pixels = hashlib.sha256(f"{image.pixels.shape}".encode() + np.ascontiguousarray(image.pixels).data).hexdigest()
    sha = {"file": storage.digest(folder / row["image"]), "pixels": pixels}
    burned = ["declares burned-in text: look at it before sharing"] if any(i["burned"] for i in g["items"]) else []
    return g, row, sha, [*image.notes, *said, *burned]


def _read(source, g, files):
    """The series; a broken file is left out (and refused) where a good copy of its slice is there."""
    from medlab.imaging import dicom, formats
    from medlab.imaging import series as imaging_series

    if g.get("problem") and g["frames"]:
        raise dicom.BadImage("series", g["problem"])
    if g.get("frames"):
        return imaging_series.read_frames(files[0], g["frames"])
    read = (lambda f: formats.read(f[0])) if len(files) == 1 else imaging_series.read_series
    try:
        return read(files)
    except dicom.BadImage:
        bad = {}
        for file, item in zip(files, g["items"], strict=True):
            try:
                formats.read(file)
            except dicom.BadImage as error:
                bad[item["file"]] = error.reason.replace(str(file), "")
        good = [i for i in g["items"] if i["file"] not in bad]
        lost = [i for i in g["items"] if i["file"] in bad and i["sop"] not in {o["sop"] for o in good}]
        if not bad or not good:
            raise
        g["bad"] = [(f, f"broken: {r}") for f, r in bad.items()]
        g["items"] = good  # each file has one place in the log: the broken ones have their own rows
        if lost:
            raise dicom.BadImage("series", f"{len(lost)} of {len(files)} slices broken and no copy there") from None
        good = [source / i["file"] for i in good]
        return formats.read(good[0]) if len(good) == 1 else imaging_series.read_series(good)


def _scanners(cohort, table):
    """Scanners become letters; columns that say nothing, or what the table says already, are dropped."""
    order = sorted(set(cohort["scanner"]), key=lambda s: hashlib.sha256(s.encode()).digest())
    cohort["scanner"] = cohort["scanner"].map({s: f"scanner_{i}" for i, s in enumerate(order, 1)})
    known = {str(c).lower().split("_")[0] for c in table} if table is not None else set()
    for column in ("scanner", "study", "modality", "volume", *descriptions.COLUMNS, *studies.TAGS.values(), "age_years",
                   "sex"):
        if column in cohort and (cohort[column].nunique() < 2 or column.split("_")[0] in known):
            del cohort[column]
    for column in ("volume", *descriptions.COLUMNS):
        if "modality" in cohort and column in cohort:
            pairs = cohort[["modality", column]].drop_duplicates()
            if len(pairs) == pairs["modality"].nunique() == pairs[column].nunique():  # says no more than the modality
                del cohort[column]


def _drop_repeated_scanner(cohort, table):
    """A scanner that is only another name for a column of the table (the hospital) is left out."""
    for column in (table.columns.intersection(cohort.columns) if table is not None and "scanner" in cohort else ()):
        if cohort[column].dtype == object and column not in ("label", "mask"):
            pairs = cohort[["scanner", column]].dropna().drop_duplicates()
            if len(pairs) == pairs["scanner"].nunique() == pairs[column].nunique():
                del cohort["scanner"]
                return


def _mask_files(draft, table, listed):
    """Mask of each key of the table: {key: relative path, perhaps with ::member}, looked up in the listing."""
    template = draft.options.get("mask")
    if not template:
        return {}
    if table is None or "_key" not in table:
        raise ValueError("--mask with DICOM needs --tables and --key: the template is filled from the table")
    filled = {k: joins.fill(str(template), r) for k, r in zip(table["_key"], table["_raw"], strict=True)}
    return {k: m for k, m in filled.items() if m.partition("::")[0] in listed}


def _place_masks(draft, cohort, masks):
    """Check each mask against its image and put it beside it under the pseudonym."""
    from medlab.imaging import dicom, formats, laying

    placed, values = [], []
    for row in cohort.to_dict("records"):
        relative, _, member = masks.get(row["_patient"], "").partition("::")
        if not relative:
            placed.append(None)
            continue
        try:
            mask, _ = label_maps.read(masks[row["_patient"]], draft.source, strict="mask_classes" in draft.options)
            image = formats.read(row["image"], root=draft.folder)
            found = laying.laid(mask, image, orientation.option(draft.options), series=True)
            stem = "masks/" + Path(row["image"]).name.split(".")[0]
            if found is mask:
                suffix = ".nii.gz" if relative.endswith(".nii.gz") else Path(relative).suffix
                placed.append(taking.place(draft, relative, stem + suffix, {member}) + f"::{member}" * bool(member))
            else:
                placed.append(orientation.write(draft, found, stem)["image"])
            values.append(np.unique(mask.pixels)[:1000])
        except dicom.BadImage as error:
            draft.say(row["image"], "unmatched", f"taken without its mask: {error.reason}")
            placed.append(None)
    if any(placed):
        cohort["mask"] = placed
        taking.mask_classes(draft, values)


def _common_card(draft, cohort):
    """Modality and intensity for the card, from the images unless said."""
    intensity = set(cohort.pop("_intensity"))
    if "intensity" not in draft.options and len(intensity) == 1:
        draft.card["intensity"] = intensity.pop()
    elif len(intensity) > 1:
        draft.notes.append(f"images of different units: {', '.join(sorted(intensity))}")
    kinds = cohort.pop("_modality")
    draft.card["modality"] = draft.card["modality"] or str(kinds.mode()[0])
    if kinds.nunique() > 1:
        draft.notes.append(f"modalities: {kinds.value_counts().to_dict()}")


def _geometry(draft, cohort):
    """Orientation, spacing and units for the table of how the source was read."""
    planes = cohort["plane"].fillna("not stated").value_counts()
    draft.understand("orientation", ", ".join(f"{p} ({n})" for p, n in planes.items()))
    known = [s for s in cohort.pop("_spacing") if s]
    axes = ((-3, "slices"), (-2, "rows"), (-1, "columns"))
    parts = [(name, [f"{v:.4g}" for v in sorted({s[i] for s in known if len(s) >= -i})]) for i, name in axes]
    draft.understand("spacing", ", ".join(f"{name} {' to '.join(dict.fromkeys((v[0], v[-1])))} mm"
                                          for name, v in parts if v) or "not stated")
    units = cohort["_intensity"].value_counts()
    draft.understand("units", ", ".join(f"{u} ({n})" for u, n in units.items()))


def _understood(draft, cohort):
    """Patients, masks and columns for the table of how the source was read."""
    o, n = draft.options, cohort["_patient"].nunique()
    rule = "--patient-pattern" if "patient_id" in str(o.get("patient_pattern")) else "PatientID"
    draft.understand("patients", f"{n} from {rule}; {len(cohort)} images")
    masks = int(cohort["mask"].notna().sum()) if "mask" in cohort else 0
    draft.understand("masks", f"{masks} of {len(cohort)} images" + (
        f", classes {', '.join(draft.card['mask_classes'])}" if draft.card.get("mask_classes") else ""))
    told = [c for c in cohort if not str(c).startswith("_") and c not in ("patient_id", "image", "mask", "spacing_mm")]
    draft.understand("columns from the headers", ", ".join(told) or "none")
    draft.understand("identifiers", "names, numbers, dates and UIDs of the headers are not written; descriptions only "
                     "where every word is known")


def _beside(draft, cohort, name, alias):
    """A table by patient (boxes, truth) under the pseudonyms; boxes get the patient's image."""
    path = draft.source / name
    if name not in drafts.listing(draft.source):
        raise ValueError(f"table {name!r}: no such file in the source")
    frame, key = tables.read_table(path), str(draft.options.get("key") or "patient_id")
    who = frame.pop(tables.find_column(frame, key)).map(tables.canonical).map(alias)
    frame.insert(0, "patient_id", who)
    if who.isna().any():
        draft.say(name, "unmatched", f"{int(who.isna().sum())} rows of patients without an image")
        frame = frame[who.notna()]
    if not {"x_min", "y_min"} <= set(frame):
        return frame
    image = cohort.groupby("patient_id")["image"].agg(list)
    several = frame["patient_id"].map(image.map(len)) > 1
    if several.any():
        draft.say(name, "unmatched", f"{int(several.sum())} boxes of patients with several images")
    frame = frame[~several & frame["patient_id"].isin(image.index)]
    frame.insert(0, "image", frame.pop("patient_id").map(image.map(lambda i: i[0])))
    return frame
