"""A BOLD run, read and checked: NIfTI 4-D, or the scanner's own DICOM files.

Images are `nibabel`, axes turned without interpolation to right, anterior, superior (RAS+), time last; coordinates
are RAS mm as in nilearn and MNI.
"""

import gzip
import json
import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medlab.fmri import conversion
from medlab.imaging import nifti
from medlab.imaging.dicom import BadImage, guard

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
        DICOM file, or a folder with the DICOM files of one series (`conversion`).
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
        with tempfile.TemporaryDirectory(prefix="medlab-") as folder:
            found = conversion.convert(path, folder)
        image, stated, times, notes = found.image, found.stated, found.slice_times_s, list(found.notes)
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
            source = nifti.from_stream(stream)
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
