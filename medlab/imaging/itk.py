"""NRRD and MetaImage (.nrrd, .nhdr, .mha, .mhd), read by SimpleITK.

Their header is read here first: how large the volume is, in which file its values lie, and whether it says how it lies
in space, which ITK does not tell.
"""

import math
import os
import re
import stat
import zlib
from dataclasses import replace

import numpy as np

from medlab.imaging import nifti
from medlab.imaging.dicom import MAX_BYTES, BadImage, Image, guard, quiet
from medlab.imaging.series import slice_of

MOST = 2**16  # bytes of a header
BYTES = {"char|int8|byte": 1, "short|int16": 2, "double|int64|longlong": 8, "float|int|long": 4}
SPACES = r"(right|left)[- ](anterior|posterior)[- ](superior|inferior)|RAS|LAS|LPS"
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3}


def reader(head) -> str | None:
    """Name of ITK's reader for a file that begins so, or None."""
    if head.startswith(b"NRRD000"):
        return "NrrdImageIO"
    return "MetaImageIO" if re.match(rb"\s*(Comment|ObjectType|ObjectSubType|NDims)\s*=", head) else None


def data_files(path) -> list[str]:
    """Names of the files beside a header in which its values lie; empty where they follow it."""
    fields = _fields(path)[1]
    name = fields.get("datafile") or fields.get("elementdatafile") or "LOCAL"
    return [] if name.upper() == "LOCAL" else [name]


def read(file, path, frame, inside) -> Image:
    """Read a volume or a picture; axes are turned as those of a NIfTI.

    Parameters
    ----------
    file : Path
    path : what is named in messages
    frame : int, optional
        As for `formats.read`.
    inside : callable
        Checked path of a file that the header names.
    """
    import SimpleITK as sitk

    with guard(path, "not readable as NRRD or MetaImage"):
        kind, fields, end = _fields(file)
        _check(file, path, fields, end, inside)
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        with quiet(path):
            source = sitk.ReadImage(str(file), imageIO=kind)
        values, many = _volume(source, frame, path)
        axes = values.ndim - 1
        data = values.transpose(*range(axes)[::-1], axes)
        data = data.reshape(*data.shape[:axes], *(1,) * (3 - axes), -1)
        image = nifti.oriented(data, *_affine(source, fields, axes), path)
    if not {"spacings", "spacedirections", "elementspacing", "elementsize"} & fields.keys():
        image = replace(image, spacing_mm=None, affine=None)
    if len(image.pixels) == 1:
        return slice_of(image, 0, path)
    return slice_of(image, frame, path) if frame is not None and not many else image


def _fields(file):
    """Reader, fields of the header (names in small letters without blanks), and where the header ends."""
    with open(file, "rb") as stream:
        head = stream.read(MOST)
    kind = reader(head)
    end = re.search(rb"\r?\n\r?\n" if kind == "NrrdImageIO" else rb"(?m)^ElementDataFile[^\n]*\n?", head)
    end, between = end.end() if end else len(head), ":(?!=)" if kind == "NrrdImageIO" else "="
    pairs = re.findall(rf"(?m)^\s*([A-Za-z ]+?)\s*{between}\s*(.*?)\s*$", head[:end].decode("utf-8", "replace"))
    return kind, {re.sub(r"\s", "", name).lower(): value for name, value in pairs}, end


def _check(file, path, fields, end, inside):
    """Refuse what is too large, and values in a file elsewhere, of many files, or shorter than the header says."""
    sizes = [int(n) for n in (fields.get("sizes") or fields.get("dimsize") or "").split()]
    if not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise BadImage(path, f"sizes {sizes or 'missing'}: expected two to four whole numbers from 1")
    word = (fields.get("type") or fields.get("elementtype") or "").lower()
    word = re.sub(r"met_|signed|un|_t$|_array|[ _]", "", word)
    each = next((n for names, n in BYTES.items() if re.search(names, word)), None)
    if each is None:
        raise BadImage(path, f"values of type {word[:20] or 'unknown'}: expected numbers")
    need = math.prod(sizes) * each * int(fields.get("elementnumberofchannels", 1))
    if need > MAX_BYTES:
        raise BadImage(path, f"volume of {' x '.join(map(str, sizes))} values is more than {MAX_BYTES // 2**20} MiB")
    data = file
    for name in data_files(file):
        if re.match(r"LIST\b", name, re.I) or "%" in name:
            raise BadImage(path, "its values lie in many files: save it as one")
        data = inside(name)
        if not stat.S_ISREG(os.stat(data).st_mode):
            raise BadImage(path, "its file of values is not a regular file")
    start, size = end if data == file else 0, data.stat().st_size
    encoding = "gzip" if fields.get("compresseddata", "").lower() == "true" else fields.get("encoding", "raw").lower()
    if encoding in ("gzip", "gz"):
        _check_stream(data, start, path)
    elif encoding == "raw" and size - start < need:
        raise BadImage(path, f"truncated: {size - start} bytes of values, expected {need}")


def _check_stream(data, start, path):
    """Inflate a stream of zlib or gzip to its checksum, which ITK does not look at."""
    inflater, left = zlib.decompressobj(zlib.MAX_WBITS + 32), MAX_BYTES
    with open(data, "rb") as stream:
        stream.seek(start)
        while left > 0 and not inflater.eof and (block := inflater.unconsumed_tail or stream.read(2**20)):
            try:
                left -= len(inflater.decompress(block, 2**22))
            except zlib.error as error:
                raise BadImage(path, f"damaged compressed stream ({error})") from None
    if not inflater.eof:
        raise BadImage(path, "truncated: its compressed stream breaks off" if left > 0 else
                       f"inflates to more than {MAX_BYTES // 2**20} MiB")


def _volume(source, frame, path):
    """Values (k, j, i, c) or (j, i, c) of one volume, and whether it is one of several."""
    import SimpleITK as sitk

    values = sitk.GetArrayFromImage(source)
    values = values if source.GetNumberOfComponentsPerPixel() > 1 else values[..., None]
    many = len(values) if values.ndim == 5 else values.shape[-1] if values.shape[-1] > 4 else 0
    if not many:
        return values, False
    if frame is None or not 0 <= frame < many:
        raise BadImage(path, f"{many} volumes: give frame 0 to {many - 1}")
    return (values[frame] if values.ndim == 5 else values[..., frame : frame + 1]), True


def _affine(source, fields, axes):
    """Affine (i, j, k, 1) to RAS mm, whether the header states it, notes."""
    size, lps = source.GetDimension(), np.eye(4)
    scale = UNITS.get(fields.get("spaceunits", "mm").replace('"', " ").split()[0], None)
    turn = np.reshape(source.GetDirection(), (size, size))[:axes, :axes] * source.GetSpacing()[:axes]
    lps[:axes, :axes], lps[:axes, 3] = turn, source.GetOrigin()[:axes]
    lps[:3] *= scale or 1.0
    known = bool(re.fullmatch(SPACES, fields.get("space", ""), re.I)) or bool(
        {"transformmatrix", "rotation", "orientation"} & fields.keys())
    notes = [] if scale else ["spacing in a unit that is not known, taken as mm"]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, known, notes + ([] if known else [nifti.UNSTATED])
