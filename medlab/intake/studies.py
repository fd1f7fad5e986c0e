"""What lies in a tree of DICOM files: headers, series, studies of each patient, and what is taken of them.

Only the elements of `_summary` are looked at. A refused file is known in the log by a keyed hash.
"""

from collections import defaultdict
from functools import partial

from tqdm import tqdm

from medlab.imaging import arrays
from medlab.intake import descriptions, drafts, tables

TAGS = {"SliceThickness": "slice_thickness_mm", "KVP": "tube_voltage_kv", "XRayTubeCurrent": "tube_current_ma",
        "MagneticFieldStrength": "field_strength_t", "RepetitionTime": "repetition_time_ms",
        "EchoTime": "echo_time_ms", "FlipAngle": "flip_angle_deg", "PatientWeight": "weight_kg",
        "PatientSize": "height_m"}
PLANAR = ("CR", "DX", "MG", "US", "XA", "RF", "SC", "XC", "OP", "OT", "ES", "GM", "SM", "IO", "PX")
SEGMENTATIONS = ("RTSTRUCT", "SEG")


def looks_like(path) -> bool:
    """Whether a file begins like DICOM (with the preamble, or a bare data set of group 2 or 8)."""
    with open(path, "rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or (head[:2] in (b"\x08\x00", b"\x02\x00") and head[4:6].isalpha())


def refuse(draft, relative, reason, status="refused") -> None:
    """Log a file under a keyed hash of its path; its name only goes into the link table."""
    draft.say(draft.mark(relative), status, reason)


def headers(draft, files) -> tuple[list[dict], list[dict]]:
    """What grouping needs of every file that holds an image, and of RT structure sets and segmentations.

    Returns
    -------
    (list, list) of dict
        Images; structures and segmentations (`SEGMENTATIONS`). Other files are refused.
    """
    made = arrays.by_processes(partial(_header, draft.source), files, 2000)
    found = list(tqdm(made, total=len(files), desc="reading headers", unit="file"))
    good, segmentations = [], []
    for relative, item in zip(files, found, strict=True):
        groups = drafts.name_groups(draft, relative) if isinstance(item, dict) else {}
        if not isinstance(item, dict):
            refuse(draft, relative, item)
        elif item["modality"] in SEGMENTATIONS:
            segmentations.append(item | {"patient": (groups or {}).get("patient_id") or item["patient"]})
        elif groups is None:
            refuse(draft, relative, "its name does not fit --patient-pattern")
        else:
            item["patient"] = groups.pop("patient_id", None) or item["patient"]
            good.append(item | {"groups": groups})
    if any(not item["patient"] for item in good):
        draft.notes.append("files without PatientID: each study counted as one patient")
    return tuple([item | {"patient": item["patient"] or item["study"]} for item in g] for g in (good, segmentations))


def _header(source, relative):
    """What grouping needs of one file, or why it is refused."""
    from medlab.imaging import dicom

    try:
        ds = dicom.dicom_header(source / relative)
    except dicom.BadImage as error:
        return f"no readable DICOM header: {error.reason}" if looks_like(source / relative) else "not DICOM"
    if ds.get("Modality") in SEGMENTATIONS:
        return _summary(ds) | {"file": relative}
    if not ds.get("Rows") or ds.get("Modality") == "RTDOSE":
        return f"an object without an image: {descriptions.modality(ds) or 'modality not stated'}"
    return _summary(ds) | {"file": relative, "slices": _slices(ds)}


def _slices(ds):
    """Where the slices of a file lie; a stack of frames without places of their own counts as one."""
    from medlab.imaging import dicom, volumes

    try:
        with dicom.guard("file", "geometry cannot be read", quote=False):
            frames = dicom.frames_of(ds) if "PerFrameFunctionalGroupsSequence" in ds else 1
            return [volumes.slice_of(ds, i) for i in range(frames)]
    except dicom.BadImage:
        return []


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
        "series": str(ds.get("SeriesInstanceUID") or ""),
        "frame_of_reference": str(ds.get("FrameOfReferenceUID") or ""),
        "sop": str(ds.get("SOPInstanceUID") or ""), "modality": descriptions.modality(ds) or "OT", "numbers": numbers,
        "description": " ".join(str(ds.get("SeriesDescription") or "").split()), "kinds": descriptions.kinds(ds),
        "class": str(ds.get("SOPClassUID") or ""),
        "scanner": f"{ds.get('Manufacturer') or ''}|{ds.get('ManufacturerModelName') or ''}",
        "burned": str(ds.get("BurnedInAnnotation") or "") == "YES",
    }


def group(headers) -> list[dict]:
    """One entry per series; files of a modality of single pictures are entries of their own."""
    found = defaultdict(list)
    for h in headers:
        single = h["modality"] in PLANAR or not h["series"] or len(h["slices"]) > 1
        found[(h["patient"], h["study"], h["series"], h["file"] if single else "")].append(h)
    return [{**items[0], "items": items} for _, items in sorted(found.items())]


def choose(draft, groups, studies, series) -> list[dict]:
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
            largest = max(same, key=lambda o: (sum(len(i["slices"]) for i in o["items"]), o["series"]))
            reason = ("several studies of the patient and none dated: no baseline (--studies all takes them)"
                      if undated else "a later study of the patient (--studies all takes it)"
                      if g["study_number"] > 1 else None) if studies == "baseline" else None
            if reason is None and series == "largest" and g is not largest:
                reason = "a smaller series of the study (--series all takes it)"
            if reason:
                draft.say(f"series of {files_of(g)}", "refused", reason)
            else:
                kept.append(g)
    if not kept:
        raise ValueError("no series left: every patient has several studies without a date; say --studies all")
    return kept


def files_of(g) -> str:
    return f"{len(g['items'])} file{'' if len(g['items']) == 1 else 's'}"
