"""A BOLD run and the events of its task, read and checked: NIfTI 4-D, or the scanner's own DICOM files.

Images are `nibabel`, axes turned without interpolation to right, anterior, superior (RAS+), time last; coordinates
are RAS mm as in nilearn and MNI. Times are seconds after the first volume. Sections such as C.7.6.2 are of DICOM PS3.3.
"""

import gzip
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from medlab import bold_dicom
from medlab.dicom import BadImage, guard

MAX_VALUES = 2**30  # of one run (4 GiB as float32); checked before decoding
TR_RANGE = (0.2, 15.0)  # s; outside it a repetition time is taken for a mistake
FEWEST_VOLUMES = 20


@dataclass(frozen=True, eq=False)
class Run:
    """One BOLD run.

    image : nibabel image (x, y, z, t), RAS+. tr_s : repetition time. slice_times_s : tuple in the order of the file or
    None. notes : what was changed or is worth knowing.
    """

    image: nib.Nifti1Image
    tr_s: float
    slice_times_s: tuple | None = None
    notes: tuple = ()

    @property
    def n_volumes(self):
        return self.image.shape[3]

    @property
    def seconds(self):
        return self.n_volumes * self.tr_s


def read(path, tr_s=0.0, fewest=FEWEST_VOLUMES):
    """Read a BOLD run.

    Parameters
    ----------
    path : Path
        A 4-D NIfTI file (with a BIDS ``.json`` of the same name beside it, if there is one), an enhanced multi-frame
        DICOM file, or a folder with the DICOM files of one series: a file per slice, a mosaic per volume (Siemens), or
        multi-frame.
    tr_s : float
        Repetition time that counts instead of what the files say; 0: what they say.
    fewest : int
        Fewer volumes are refused.

    Raises
    ------
    BadImage
        For files that do not give a trustworthy run.
    ValueError
        For a repetition time that is missing, impossible or contradicted, and for too few volumes.
    """
    path = Path(path)
    if path.is_dir() or not path.name.lower().endswith((".nii", ".nii.gz")):
        found = bold_dicom.read(path)
        image, times, notes = found.image, found.slice_times_s, list(found.notes)
        stated = {"DICOM RepetitionTime": found.tr_s, "the times of the volumes": found.measured_tr_s}
    else:
        image, header_tr, notes = _nifti(path)
        sidecar = _sidecar(path)
        stated = {"NIfTI header": header_tr, "BIDS sidecar": sidecar.get("RepetitionTime")}
        times = sidecar.get("SliceTiming")
    if image.shape[3] < fewest:
        raise ValueError(f"{path.name}: {image.shape[3]} volumes, expected at least {fewest} for a model of a time "
                         "series; is this a single volume, or an aborted run?")
    data = np.asarray(image.dataobj)
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        bad = ~np.isfinite(data)
        notes.append(f"{bad.any(axis=3).sum()} voxels with values that are not finite, set to 0 there")
        image = nib.Nifti1Image(np.where(bad, 0, data), image.affine)
    return Run(image, repetition_time(stated, tr_s, path.name), tuple(times) if times else None, tuple(notes))


def repetition_time(stated, given=0.0, name="run"):
    """Repetition time in s from what several sources state (None: not stated), or the one that is given.

    Raises
    ------
    ValueError
        Naming the sources, what each says, and how to settle it.
    """
    if given:
        stated = {"fmri_tr_s": given}
    stated = {source: float(value) for source, value in stated.items() if value}
    settle = "look it up in the protocol and say it with fmri_tr_s"
    if not stated:
        raise ValueError(f"{name}: no repetition time in its header; {settle}")
    said = ", ".join(f"{source} {value:g} s" for source, value in stated.items())
    if not all(TR_RANGE[0] <= value <= TR_RANGE[1] for value in stated.values()):
        large = max(stated.values())
        hint = f" (milliseconds? then it would be {large / 1000:g} s)" if large >= 1000 * TR_RANGE[0] else ""
        raise ValueError(f"{name}: repetition time {said}{hint}; expected {TR_RANGE[0]} to {TR_RANGE[1]} s; {settle}")
    if max(stated.values()) > 1.01 * min(stated.values()):
        raise ValueError(f"{name}: repetition times that contradict each other ({said}); {settle}")
    return round(next(iter(stated.values())), 5)


def _nifti(path):
    """Image RAS+, repetition time of the header in s or None, notes."""
    with guard(path, "not readable as NIfTI"):
        with gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as stream:
            head = stream.read(8)
            stream.seek(0)
            two = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
            source = (nib.Nifti2Image if two else nib.Nifti1Image).from_stream(stream)
            header, shape = source.header, source.shape
            if len(shape) != 4 or min(shape) < 1:
                raise BadImage(path, f"NIfTI of shape {shape}: expected four axes, the last is time")
            if math.prod(shape) > MAX_VALUES:
                raise BadImage(path, f"{shape} are more than {MAX_VALUES} values")
            if not (int(header["sform_code"]) or int(header["qform_code"])):
                raise BadImage(path, "orientation not stated in the NIfTI (sform and qform codes are 0): left and "
                                     "right cannot be told; export it again with its orientation")
            if not np.isfinite(source.affine).all() or abs(np.linalg.det(source.affine[:3, :3])) < 1e-9:
                raise BadImage(path, "the affine of the NIfTI is singular or not finite")
            data = np.asarray(source.dataobj)
            data = data.astype(np.float32) if data.dtype.kind == "f" or data.itemsize > 2 else data
    units = int(header["xyzt_units"])
    mm = {1: 1000.0, 3: 0.001}.get(units & 7, 1.0)
    second, tr = {16: 1e-3, 24: 1e-6}.get(units & 56, 1.0), float(header["pixdim"][4])
    notes = [] if units & 56 else ["unit of time not stated in the NIfTI, taken as seconds"]
    affine = np.diag([mm, mm, mm, 1.0]) @ source.affine
    turned = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    return turned, tr * second if np.isfinite(tr) and tr > 0 else None, notes


def _sidecar(path):
    """The BIDS ``.json`` of the same name, or an empty dict."""
    file = path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", path.name, flags=re.I))
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
        times = found.get("SliceTiming")
        return {"RepetitionTime": float(found["RepetitionTime"]) if "RepetitionTime" in found else None,
                "SliceTiming": [float(t) for t in times] if times else None}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file.name}: expected BIDS JSON with RepetitionTime in s and SliceTiming as a list of s "
                         f"({error}); correct it") from None


def read_events(path, column="trial_type"):
    """Events of a task from a BIDS table.

    Parameters
    ----------
    path : Path
        Tab-separated; columns ``onset`` and ``duration`` in s from the first volume, and what each event is.
    column : str
        The column that names the condition; without it all events are one condition, "task".

    Returns
    -------
    DataFrame
        onset, duration, trial_type (a word: what is no letter or digit becomes "_"), in order of onset; what was
        changed stands in ``attrs["notes"]``.

    Raises
    ------
    ValueError
        Naming line and column of the first problem.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a", "N/A"], dtype=str)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path.name}: not readable as a tab-separated table of events ({error})") from None
    missing = [c for c in ("onset", "duration") if c not in table]
    if missing:
        comma = "; it seems to be separated by commas" if any("," in c for c in table.columns) else ""
        raise ValueError(f"{path.name}: no column {missing[0]!r}; found {', '.join(table.columns)}{comma}; expected "
                         "the BIDS columns onset, duration, trial_type, in s from the first volume")
    notes = []
    if column not in table:
        if column != "trial_type":
            raise ValueError(f"{path.name}: no column {column!r}; found {', '.join(table.columns)}")
        notes.append("no column trial_type: all events are one condition, task")
        table[column] = "task"
    for name in ("onset", "duration"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = ~np.isfinite(numbers) | ((numbers < 0) & (name == "duration"))
        if wrong.any():
            line = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"{path.name}, line {line + 2}: {name} is {table[name].iloc[line]!r}, expected a number "
                             f"of seconds{' from 0' if name == 'duration' else ''}")
        table[name] = numbers
    unnamed = table[column].isna()
    notes += [f"{unnamed.sum()} events without a {column} left out"] if unnamed.any() else []
    events = table.loc[~unnamed, ["onset", "duration"]].assign(trial_type=table[column])
    if events.empty:
        raise ValueError(f"{path.name}: no events; expected one line per event")
    names = {n: re.sub(r"\W+", "_", n.strip()) for n in events["trial_type"].unique()}
    names = {n: f"c_{word}" if not re.match(r"[A-Za-z_]", word) else word for n, word in names.items()}
    notes += [f"conditions renamed: {', '.join(f'{n} is {w}' for n, w in names.items() if n != w)}"] \
        if any(n != w for n, w in names.items()) else []
    if len(set(names.values())) < len(names):
        raise ValueError(f"{path.name}: the names of the conditions {list(names)} differ only in signs; rename them")
    events["trial_type"] = events["trial_type"].map(names)
    events = events.sort_values("onset", kind="stable").reset_index(drop=True)
    events.attrs["notes"] = notes
    return events


def check_events(events, seconds, late="stop"):
    """Events that a run of this length can have; what is suspicious, as notes.

    Parameters
    ----------
    events : DataFrame of `read_events`
    seconds : float, length of the run
    late : {"stop", "drop"}
        What to do with events that begin after the last volume.

    Returns
    -------
    events : DataFrame
    notes : list of str

    Raises
    ------
    ValueError
        For events after the end, twice the same event, and events of one condition that overlap.
    """
    notes, after = list(events.attrs.get("notes", [])), events["onset"] >= seconds
    if after.any():
        last = events["onset"].max()
        hint = ", milliseconds?" if last > 100 * seconds else \
            f"; they would fit a repetition time {last / seconds:.2f} times as long or longer: is it right?"
        text = (f"{after.sum()} of {len(events)} events begin after the end of the run (last onset {last:g} s, the run "
                f"lasts {seconds:g} s{hint})")
        if late != "drop" or after.all():
            raise ValueError(f"{text}; correct the table or fmri_tr_s" + ("" if after.all() else
                             ", or leave them out with fmri_late_events: drop"))
        events, notes = events[~after].reset_index(drop=True), [*notes, f"{text}: left out"]
    early = events["onset"] < 0
    if early.any():
        notes.append(f"{early.sum()} events begin before the first volume (dropped volumes?)")
    for name, mine in events.groupby("trial_type"):
        end = (mine["onset"] + mine["duration"]).cummax().shift()
        wrong = mine["onset"].duplicated() | (mine["onset"] < end - 0.01)
        if wrong.any():
            first = mine[wrong].iloc[0]
            raise ValueError(f"events: {name} at {first['onset']:g} s begins before the {name} before it has ended "
                             f"({wrong.sum()} such); expected events of one condition one after the other; "
                             "correct the table")
    end = (events["onset"] + events["duration"]).cummax().shift()
    apart = int((events["onset"] < end - 0.01).sum())
    notes += [f"{apart} events overlap with one of another condition"] if apart else []
    covered = (events["onset"] + events["duration"]).max() / seconds
    if covered < 0.6:
        notes.append(f"the last event ends at {covered:.0%} of the run: is the repetition time too long, or the "
                     "table cut?")
    few = events["trial_type"].value_counts()
    notes += [f"{name}: one event only, its estimate rests on it" for name in few.index[few == 1]]
    return events, notes


def read_confounds(path, n_volumes, columns=(), first_missing_is_zero=False):
    """Confounds from a table, one row per volume.

    Parameters
    ----------
    columns : sequence of str, which ones; default all that are numbers.
    first_missing_is_zero : bool
        Differences have no first value (fMRIPrep writes n/a): count it as 0.

    Raises
    ------
    ValueError
        For a table of another length, unknown columns, constants and missing values, naming them.
    """
    path = Path(path)
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", na_values=["n/a"])
    unknown = [c for c in columns if c not in table]
    if unknown:
        raise ValueError(f"{path.name}: no column {unknown[0]!r}; found {', '.join(map(str, table.columns[:30]))}")
    table = table[list(columns)] if len(columns) else table.select_dtypes("number")
    words = [c for c in table if table[c].dtype == object]
    if words or not table.shape[1]:
        raise ValueError(f"{path.name}: column {', '.join(words) or '(none)'} is not of numbers")
    if len(table) != n_volumes:
        raise ValueError(f"{path.name}: {len(table)} rows, the run has {n_volumes} volumes; expected one row per "
                         "volume")
    if first_missing_is_zero:
        table.iloc[0] = table.iloc[0].fillna(0.0)
    missing = table.columns[~np.isfinite(table).all()]
    if len(missing):
        rows = np.flatnonzero(~np.isfinite(table[missing]).all(axis=1))
        only = rows.tolist() == [0]
        raise ValueError(f"{path.name}: {len(missing)} confounds with missing values ({', '.join(missing[:5])}) in "
                         f"{len(rows)} rows, first row {rows[0]}; a model cannot use them; "
                         + ("they are differences, without a first value: fmri_confounds_first_zero: true makes it 0"
                            if only else "leave these columns out with fmri_confounds_columns, or complete them"))
    return table.loc[:, table.std() > 0].astype(float)
