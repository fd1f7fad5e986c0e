"""A tree of DICOM files to one file per series, without anything that names a person.

Only pixels, geometry and an allow-list of numbers are written, under running pseudonyms; headers are never copied.
Identifiers, dates and file names of the source appear neither in names nor in the log: a refused file is known there
by the beginning of its SHA-256.
"""

import hashlib
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

import medlab
from medlab import intake, joins, tables

TAGS = {"SliceThickness": "slice_thickness_mm", "KVP": "tube_voltage_kv", "XRayTubeCurrent": "tube_current_ma",
        "MagneticFieldStrength": "field_strength_t", "RepetitionTime": "repetition_time_ms",
        "EchoTime": "echo_time_ms", "FlipAngle": "flip_angle_deg", "PatientWeight": "weight_kg",
        "PatientSize": "height_m"}
PLANAR = ("CR", "DX", "MG", "US", "XA", "RF", "SC", "XC", "OP", "OT", "ES", "GM", "SM", "IO", "PX")


def looks_like(path) -> bool:
    """Whether a file begins like DICOM (with the preamble, or a bare data set of group 2 or 8)."""
    with open(path, "rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or (head[:2] in (b"\x08\x00", b"\x02\x00") and head[4:6].isalpha())


def take(draft, table, studies, series, boxes, truth):
    """Group the files into series, write each, join the outcomes, finish the dataset."""
    files = intake.listing(draft.source)
    helpers = {str(n).strip() for n in intake.words(draft.options.get("tables"))} | {boxes, truth, "card.yaml"}
    masks = _mask_files(draft, table, set(files))
    headers = _headers(draft, [f for f in files if f not in helpers and f not in {m.split("::")[0] for m in
                                                                                  masks.values()}])
    if not headers:
        raise ValueError(f"no DICOM image among {len(files)} files; " + "; ".join(
            f"{n} {r}" for r, n in Counter(e["reason"] for e in draft.log).most_common(3)))
    groups = _choose(draft, _group(headers), studies, series)
    who = sorted({g["patient"] for g in groups}, key=lambda p: hashlib.sha256(p.encode()).digest())
    alias = {p: f"p{i:05d}" for i, p in enumerate(who, 1)}
    draft.link_table += [{"original": p, "pseudonym": a} for p, a in alias.items()]
    rows = _written(draft, groups, alias)
    cohort = pd.DataFrame(rows)
    _scanners(cohort, table)
    _place_masks(draft, cohort, masks)
    _common_card(draft, cohort)
    cohort = joins.attach(draft, cohort, table, {"patient": list(cohort["_patient"])}).reset_index(drop=True)
    _drop_repeated_scanner(cohort, table)
    side = {n: _beside(draft, cohort, n, alias) for n in (boxes, truth) if n}
    intake.finish(draft, cohort.drop(columns="_patient"), boxes=side.get(boxes), truth=side.get(truth))


def _refuse(draft, relative, reason):
    mark = f"file {intake.sha256(draft.source / relative)[:12]}"
    draft.say(mark, "refused", reason)
    draft.link_table.append({"original": relative, "pseudonym": mark})


def _headers(draft, files):
    """What grouping needs of every file that holds an image; the others are refused."""
    from medlab import images

    def header(relative):
        try:
            ds = images.dicom_header(draft.source / relative)
        except images.BadImage as error:
            return f"no readable DICOM header: {error.reason}" if looks_like(draft.source / relative) else "not DICOM"
        if not ds.get("Rows") or ds.get("Modality") in ("SEG", "RTDOSE"):
            return f"an object without an image: {ds.get('Modality') or 'modality not stated'}"
        return _summary(ds) | {"file": relative}

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        found = list(tqdm(pool.map(header, files), total=len(files), desc="reading headers", unit="file"))
    good = []
    for relative, item in zip(files, found, strict=True):
        groups = intake.name_groups(draft, relative) if isinstance(item, dict) else {}
        if not isinstance(item, dict):
            _refuse(draft, relative, item)
        elif groups is None:
            _refuse(draft, relative, "its name does not fit --patient-pattern")
        else:
            item["patient"] = groups.pop("patient_id", None) or item["patient"]
            good.append(item | {"groups": groups})
    if any(not item["patient"] for item in good):
        draft.notes.append("files without PatientID: each study counted as one patient")
    return [item | {"patient": item["patient"] or item["study"]} for item in good]


def _summary(ds):
    """The few elements that are looked at; numbers only from the allow-list."""
    numbers = {}
    for tag, name in TAGS.items():
        try:
            numbers[name] = float(ds.get(tag))
        except (TypeError, ValueError):
            continue
    age = str(ds.get("PatientAge") or "")
    if age[:3].isdigit() and age[3:] in ("Y", "M", "W", "D", ""):
        years = int(age[:3]) / {"Y": 1, "": 1, "M": 12, "W": 52, "D": 365}[age[3:]]
        numbers["age_years"] = round(min(years, 90.0), 2)  # above 89 an age identifies
    if ds.get("PatientSex") in ("M", "F", "O"):
        numbers["sex"] = ds.PatientSex
    return {
        "patient": tables.canonical(ds.get("PatientID") or ""), "study": str(ds.get("StudyInstanceUID") or ""),
        "when": f"{ds.get('StudyDate') or ''}{ds.get('StudyTime') or ''}", "number": str(ds.get("SeriesNumber") or ""),
        "series": str(ds.get("SeriesInstanceUID") or ""), "sop": str(ds.get("SOPInstanceUID") or ""),
        "modality": str(ds.get("Modality") or "OT"), "numbers": numbers,
        "scanner": f"{ds.get('Manufacturer') or ''}|{ds.get('ManufacturerModelName') or ''}",
        "burned": str(ds.get("BurnedInAnnotation") or "") == "YES",
    }


def _group(headers):
    """One entry per series; files of a modality of single pictures are entries of their own."""
    found = defaultdict(list)
    for h in headers:
        single = h["modality"] in PLANAR or not h["series"]
        found[(h["patient"], h["study"], h["series"], h["file"] if single else "")].append(h)
    return [{**items[0], "items": items} for _, items in sorted(found.items())]


def _choose(draft, groups, studies, series):
    """Number the studies of each patient by time and keep what the options say; the rest is refused."""
    kept = []
    for patient in sorted({g["patient"] for g in groups}):
        mine = [g for g in groups if g["patient"] == patient]
        when = {}
        for g in mine:
            when[g["study"]] = min(g["when"], when.get(g["study"], g["when"]))
        order = {s: i for i, s in enumerate(sorted(when, key=lambda s: (when[s], s)), 1)}
        undated = len(order) > 1 and len({w[:8] for w in when.values() if w}) < 1
        for g in mine:
            g["study_number"] = order[g["study"]]
            same = [o for o in mine if o["study"] == g["study"]]
            largest = max(same, key=lambda o: (len(o["items"]), o["series"]))
            reason = ("several studies of the patient and none dated: no baseline (--studies all takes them)"
                      if undated else "a later study of the patient (--studies all takes it)"
                      if g["study_number"] > 1 else None) if studies == "baseline" else None
            if reason is None and series == "largest" and g is not largest:
                reason = "a smaller series of the study (--series all takes it)"
            if reason:
                draft.say(f"series of {_files(g)}", "refused", reason)
            else:
                kept.append(g)
    if not kept:
        raise ValueError("no series left: every patient has several studies without a date; say --studies all")
    return kept


def _files(g):
    return f"{len(g['items'])} file{'' if len(g['items']) == 1 else 's'}"


def _written(draft, groups, alias):
    """Read and write every series; rows of the cohort."""
    counts, rows, seen = Counter(), [], {}
    for g in groups:
        counts[g["patient"]] += 1
        g["name"] = f"{alias[g['patient']]}_{counts[g['patient']]}"
    (draft.folder / "images").mkdir()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        done = pool.map(lambda g: _one(draft, g), groups)
        for g, (row, sha, notes) in zip(groups, tqdm(done, total=len(groups), desc="writing", unit="series"),
                                        strict=True):
            files = _files(g)
            for relative, reason in g.get("bad", []):
                _refuse(draft, relative, reason)
            if row is None:
                draft.say(f"series of {files}, patient {alias[g['patient']]}", "refused", "; ".join(notes))
                continue
            twin = seen.setdefault(sha, row["image"])
            status = "taken" if twin == row["image"] else "duplicate"
            reason = [files, *notes] + ([f"same pixels as {twin}; kept"] if status == "duplicate" else [])
            draft.say(row["image"], status, "; ".join(reason))
            draft.notes += [f"{row['image']}: {n}" for n in notes if "gap" in n or "burned" in n]
            rows.append(row | {"study": g["study_number"], "_patient": g["patient"], **g["groups"]})
    if not rows:
        reasons = Counter(e["reason"] for e in draft.log).most_common(3)
        raise ValueError(f"no series could be read: {'; '.join(r for r, _ in reasons)}")
    return rows


def _one(draft, g):
    """One series: (row, hash of the pixels, notes), or (None, None, [reason])."""
    from medlab import images

    files = [draft.source / i["file"] for i in g["items"]]
    try:
        image = _read(draft, g, files)
    except images.BadImage as error:
        return None, None, [error.reason.replace(str(draft.source), "")]
    name = f"images/{g['name']}"
    row = {"patient_id": g["name"].split("_")[0], **write(image, draft.folder, name), "modality": g["modality"],
           "_modality": g["modality"], "_intensity": image.intensity, "scanner": g["scanner"], **g["numbers"]}
    draft.sha256[row["image"]] = intake.sha256(draft.folder / row["image"])
    digest = hashlib.sha256(f"{image.pixels.shape}".encode() + np.ascontiguousarray(image.pixels).data).hexdigest()
    burned = ["declares burned-in text: look at it before sharing"] if any(i["burned"] for i in g["items"]) else []
    return row, digest, [*image.notes, *burned]


def _read(draft, g, files):
    """The series; a broken file is left out (and refused) where a good copy of its slice is there."""
    from medlab import images

    read = (lambda f: images.read(f[0])) if len(files) == 1 else images.read_series
    try:
        return read(files)
    except images.BadImage:
        bad = {}
        for file, item in zip(files, g["items"], strict=True):
            try:
                images.read(file)
            except images.BadImage as error:
                bad[item["file"]] = error.reason.replace(str(file), "")
        good = [i for i in g["items"] if i["file"] not in bad]
        lost = [i for i in g["items"] if i["file"] in bad and i["sop"] not in {o["sop"] for o in good}]
        if not bad or not good:
            raise
        g["bad"] = [(f, f"broken: {r}") for f, r in bad.items()]
        g["items"] = good  # each file has one place in the log: the broken ones have their own rows
        if lost:
            raise images.BadImage("series", f"{len(lost)} of {len(files)} slices broken and no copy there") from None
        good = [draft.source / i["file"] for i in good]
        return images.read(good[0]) if len(good) == 1 else images.read_series(good)


def write(image, folder, name) -> dict:
    """Write an `images.Image`; returns the cells ``image`` and, where the file cannot say it, ``spacing_mm``.

    One channel with a known orientation becomes NIfTI-2 (.nii.gz; its geometry is float64, as it should come back
    exactly; world coordinates turned from LPS to RAS), anything else .npy. Pixels keep their type and values.
    """
    if image.affine is None or image.pixels.shape[-1] > 1 or image.pixels.dtype.name in ("bool", "float16"):
        np.save(folder / f"{name}.npy", image.pixels, allow_pickle=False)
        spacing = " x ".join(repr(float(v)) for v in image.spacing_mm) if image.spacing_mm else None
        return {"image": f"{name}.npy"} | ({"spacing_mm": spacing} if spacing else {})
    import gzip

    import nibabel as nib

    pixels = image.pixels[..., 0] if image.pixels.ndim == 4 else image.pixels[None, ..., 0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine)[:, [2, 1, 0, 3]]
    nifti = nib.Nifti2Image(pixels.transpose(2, 1, 0), affine, dtype=pixels.dtype)
    nifti.header.set_xyzt_units("mm")
    with gzip.GzipFile(folder / f"{name}.nii.gz", "wb", compresslevel=1, mtime=0) as file:
        file.write(nifti.to_bytes())
    return {"image": f"{name}.nii.gz"}


def _scanners(cohort, table):
    """Scanners become letters; columns that say nothing, or what the table says already, are dropped."""
    order = sorted(set(cohort["scanner"]), key=lambda s: hashlib.sha256(s.encode()).digest())
    cohort["scanner"] = cohort["scanner"].map({s: f"scanner_{i}" for i, s in enumerate(order, 1)})
    known = {str(c).lower().split("_")[0] for c in table} if table is not None else set()
    for column in ("scanner", "study", "modality", *TAGS.values(), "age_years", "sex"):
        if column in cohort and (cohort[column].nunique() < 2 or column.split("_")[0] in known):
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
    from medlab import images

    placed = []
    for row in cohort.to_dict("records"):
        relative, _, member = masks.get(row["_patient"], "").partition("::")
        if not relative:
            placed.append(None)
            continue
        try:
            shape = images.read(masks[row["_patient"]], root=draft.source).pixels.shape[:-1]
            own = images.read(row["image"], root=draft.folder).pixels.shape[:-1]
            if shape != own:
                raise images.BadImage("mask", f"mask of shape {shape}, image of shape {own}")
            suffix = ".nii.gz" if relative.endswith(".nii.gz") else Path(relative).suffix
            name = "masks/" + Path(row["image"]).name.split(".")[0] + suffix
            placed.append(intake.place(draft, relative, name) + ("::" + member if member else ""))
        except images.BadImage as error:
            draft.say(row["image"], "unmatched", f"taken without its mask: {error.reason}")
            placed.append(None)
    if any(placed):
        cohort["mask"] = placed


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


def _beside(draft, cohort, name, alias):
    """A table by patient (boxes, truth) under the pseudonyms; boxes get the patient's image."""
    path = draft.source / name
    if name not in intake.listing(draft.source):
        raise ValueError(f"table {name!r}: no such file in the source")
    frame, key = tables.read_table(path), str(draft.options.get("key") or "patient_id")
    who = frame.pop(tables._column(frame, key)).map(tables.canonical).map(alias)
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


def check_link_table(draft, path):
    """The link table is written only where it cannot be shared with the dataset by accident."""
    if path is None:
        return
    target = Path(path).resolve()
    for folder in (medlab.data_dir().resolve(), medlab.reports_dir().resolve()):
        if target.is_relative_to(folder):
            raise ValueError(f"--link-table {path}: expected a place outside {folder}, since it names the patients")
    if target.exists() or not target.parent.is_dir():
        raise ValueError(f"--link-table {path}: expected a new file in an existing folder")


def write_link_table(draft, path):
    """Original ids and refused files with their pseudonyms; readable by the owner only."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        pd.DataFrame(draft.link_table, columns=["original", "pseudonym"]).to_csv(file, index=False)
