"""Import of functional MRI: 4-D NIfTI or the scanner's DICOM, each run with its events; `medlab import --kind bold`.

DICOM is written as NIfTI with a BIDS sidecar (repetition time, slice times): what identifies a person stays behind.
"""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd

from medlab import __version__, storage
from medlab.cohorts import identifiers
from medlab.fmri import bold as fmri_bold
from medlab.fmri import paradigm
from medlab.imaging.dicom import BadImage
from medlab.imaging.series import looks_like_dicom
from medlab.intake import drafts, taking
from medlab.phantoms import bold as bold_phantom


def runs(draft, source, *, events=None) -> None:
    """Every 4-D NIfTI below the source, and every folder of DICOM files, as one run each.

    The events of ``sub-01_task-x_bold.nii.gz`` are ``sub-01_task-x_events.tsv`` beside it, or those of the same task
    above it (BIDS). Times of volumes and events are checked when notebook 09 reads them.

    Parameters
    ----------
    events : str, optional
        Template of the events table below the source, such as ``events/{patient_id}.tsv`` or ``{stem}.tsv``.
    """
    files = drafts.listing(draft.source)
    series = sorted({f.rpartition("/")[0] for f in files if looks_like_dicom(draft.source / f)})
    found = [f for f in files if f.lower().endswith(drafts.NIFTI)]
    drafts.card(draft, "bold")
    draft.card["modality"] = "bold"
    rows = []
    for relative in [*found, *series]:
        row = _run(draft, relative, len(rows) + 1, relative in series)
        if row:
            rows.append(row | _events(draft, relative, row, events, files))
    if not rows:
        reasons = sorted({e["reason"] for e in draft.log})[:3]
        raise ValueError(f"{draft.source.name}: none of {len(found)} NIfTI files and {len(series)} folders of DICOM is "
                         f"a functional run ({'; '.join(reasons) or 'nothing found'})")
    drafts.finish(draft, pd.DataFrame(rows))


def _run(draft, relative, number, is_dicom):
    """Place one run; its row, or None with a reason in the log."""
    groups = drafts.name_groups(draft, relative)
    who = re.search(r"sub-[A-Za-z0-9]+", relative)
    if groups is None:
        return draft.say(relative, "refused", "its name does not fit --patient-pattern")
    groups = groups or {"patient_id": who[0] if who else f"run-{number:02d}"}
    path = draft.source / relative
    try:
        run = fmri_bold.read(path)
    except (BadImage, ValueError) as error:
        reason = error.reason if isinstance(error, BadImage) else str(error)
        return draft.say(relative or ".", "refused", reason.replace(str(draft.source), ""))
    if is_dicom:
        name = f"func/run-{number:02d}_bold.nii.gz"
        image = nib.Nifti1Image(np.asarray(run.image.dataobj), run.image.affine)
        image.header.set_zooms((*image.header.get_zooms()[:3], run.tr_s))
        image.header.set_xyzt_units("mm", "sec")
        (draft.folder / "func").mkdir(exist_ok=True)
        nib.save(image, draft.folder / name)
        draft.sha256[name] = storage.digest(draft.folder / name)
    else:
        name = f"func/{relative.rpartition('/')[2]}"
        name = f"func/run-{number:02d}_{name.removeprefix('func/')}" if name in draft.sha256 else name
        taking.place(draft, relative, name)
    about = {"RepetitionTime": run.tr_s} | ({"SliceTiming": run.slice_times_s} if run.slice_times_s else {})
    about |= {} if is_dicom or not run.slice_times_s else _direction(path)
    sidecar = re.sub(r"\.nii(\.gz)?$", ".json", name, flags=re.I)
    (draft.folder / sidecar).write_text(json.dumps(about) + "\n", "utf-8")
    draft.say(relative or ".", "taken", "; ".join(run.notes))
    return {**groups, "image": name, "frame": 0}


def _direction(path):
    """What a BIDS sidecar says of the axis along which its slice times run; without it they run along the third."""
    beside = path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", path.name, flags=re.I))
    told = json.loads(beside.read_text("utf-8")).get("SliceEncodingDirection")
    return {"SliceEncodingDirection": told} if re.fullmatch("[ijk]-?", str(told)) else {}


def _events(draft, relative, row, template, files):
    """Column ``events`` of a run whose table is found; the log says where it is not."""
    folder, _, name = relative.rpartition("/")
    stem = re.sub(r"(_bold)?(\.nii)?(\.gz)?$", "", name, flags=re.I)
    task = re.search(r"task-[A-Za-z0-9]+", stem)
    beside = f"{folder}/{stem}_events.tsv".lstrip("/")
    names = [template.format(**row, stem=stem, folder=folder)] if template else [
        beside, *([f for f in files if f.rpartition("/")[2] == f"{task[0]}_events.tsv"] if task else [])]
    chosen = next((n for n in names if n in files), None)
    if chosen is None:
        draft.say(relative or ".", "unmatched", f"no table of events ({names[0]}): notebook 09 needs one")
        return {}
    try:
        paradigm.read_events(draft.source / chosen)
    except ValueError as error:
        draft.say(chosen, "refused", str(error))
        return {}
    target = "func/" + row["image"].rpartition("/")[2].replace("_bold.nii.gz", "").replace(".nii", "") + "_events.tsv"
    table = pd.read_csv(draft.source / chosen, sep="\t", dtype=str, keep_default_na=False)
    core = [c for c in ("onset", "duration", "trial_type") if c in table]
    numbers = [c for c in table if c not in core and pd.to_numeric(table[c], errors="coerce").notna().mean() > 0.5]
    table = table[core + [c for c in numbers if not identifiers.by_name(c)]]
    table.to_csv(draft.folder / target, sep="\t", index=False)
    draft.say(chosen, "taken")
    return {"events": target}


def synthetic(draft, seed=0, volumes=240) -> None:
    """The simulated run, written where it stays; for ``medlab import synthetic:fmri``."""
    cohort, truth = bold_phantom.bold(draft.folder, seed=seed, volumes=volumes)
    draft.card |= bold_phantom.CARD | {"import": {"kind": "synthetic", "medlab": __version__, "seed": seed,
                                                  "volumes": volumes}}
    draft.say(cohort["image"][0], "taken")
    drafts.finish(draft, cohort, truth=truth)
