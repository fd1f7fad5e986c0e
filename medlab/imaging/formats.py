"""Reading any image format, and bringing its pixels to a window, spacing and shape.

With the modules of the formats, which are used through this module, and ``resampling``, the only place that knows
axis order, spacing and Hounsfield units. Pixels are (h, w, c) or (d, h, w, c), spacing is in the order of the
axes, world coordinates are LPS mm as in DICOM. What cannot be trusted is refused: :class:`BadImage`.
"""

import gzip
import math
import os
import stat
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from medlab.imaging import itk, modality_lut, nifti, pictures
from medlab.imaging.dicom import MAX_BYTES, BadImage, Image, guard
from medlab.imaging.series import read_file, read_series


def read(path, frame=None, root=None, links=False) -> Image:
    """Read one image of any format; the content decides which, not the suffix.

    Parameters
    ----------
    path : str or Path
        PNG, JPEG, TIFF, BMP, GIF, DICOM, NIfTI (also gzipped), NRRD, MetaImage or npy file; ``file.npz::member``;
        or a folder that is one DICOM series.
    frame : int, optional
        Index in a file of many images: the volume of a four-dimensional NIfTI or a time series, else along
        the first axis (frames in the order of the file).
    root : str or Path, optional
        Folder below which the path must stay; a relative path starts there.
    links : bool
        Whether symbolic links below ``root`` may lead out of it (a dataset that was linked on purpose).

    Returns
    -------
    Image
        See :class:`Image`. NIfTI, NRRD and MetaImage are turned, without interpolation, so that d, h, w grow most
        nearly towards superior, posterior and left, as an axial DICOM series does; pictures are turned upright as
        their EXIF orientation says. Padding becomes the lowest value.

    Raises
    ------
    BadImage
        Whatever goes wrong; its ``reason`` says what.
    """
    return modality_lut.filled(_decoded(path, frame, root, links))


def _decoded(path, frame, root, links):
    text, _, member = str(path).partition("::")
    with guard(path, "cannot be opened"):
        file = _below(text, root, links, path)
        if file.is_dir():
            return read_series((f for f in file.iterdir() if f.is_file()), frame, path)
        info = os.stat(file)
        if not stat.S_ISREG(info.st_mode):
            raise BadImage(path, "not a regular file")
        with open(file, "rb") as stream:
            head = stream.read(352)
    dicom = head[128:132] == b"DICM"  # first, because its preamble may pretend to be a TIFF
    kind = next((kind for magic, kind in pictures.MAGIC.items() if head.startswith(magic)), None)
    if kind and not dicom:
        return pictures.read(file, path, kind, frame)
    if head[:4] == b"PK\x03\x04":
        return _npz(file, path, member, frame, info)
    if head[:6] == b"\x93NUMPY":
        with guard(path, "not readable as npy"), open(file, "rb") as stream:
            return _from_array(_numpy(stream, info.st_size, path), frame, path)
    zipped = head[:2] == b"\x1f\x8b"
    if zipped:
        with guard(path, "not readable as gzip"), gzip.open(file) as stream:
            head = stream.read(352)
        if not nifti.looks_like(head):
            raise BadImage(path, "a gzip file that is not NIfTI: unpack it first")
    if nifti.looks_like(head):
        return nifti.read(file, path, frame, zipped)
    if not dicom and itk.reader(head):
        return itk.read(file, path, frame, lambda name: _below(str(file.parent / name), root or file.parent, links,
                                                               path))
    if not dicom and nifti.is_pair(head):
        raise BadImage(path, "a volume in two files (.hdr and .img, Analyze or NIfTI): convert it to one .nii file")
    if dicom or head[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        return _named(path, file, frame)
    raise BadImage(path, "empty file" if not head else "no known image format (PNG, JPEG, TIFF, DICOM, NIfTI, NRRD, "
                                                       "MetaImage, npy)")


def _named(path, file, frame):
    try:
        return read_file(file, frame)
    except BadImage as error:
        raise BadImage(path, error.reason) from error


def _below(text, root, links, path):
    """Path of a file that must lie below root, in its name and (unless ``links``) where its links lead."""
    if "\0" in text or not text:
        raise BadImage(path, "not a path")
    if root is None:
        return Path(text)
    root = os.path.abspath(root)
    file = os.path.normpath(os.path.join(root, text))
    inside = os.path.commonpath([root, file]) == root
    real = os.path.realpath(root)
    if not inside or not (links or os.path.commonpath([real, os.path.realpath(file)]) == real):
        raise BadImage(path, "leads out of the folder of the dataset")
    return Path(file)


def _npy_header(stream):
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return header(stream)


def members(path) -> dict[str, tuple]:
    """Shapes of the arrays of an npz file by name, from their headers; BadImage where it is none."""
    with guard(Path(path).name, "no npz, or cut off: get it again"), zipfile.ZipFile(path) as archive:
        found = {}
        for info in (i for i in archive.infolist() if i.filename.endswith(".npy")):
            with archive.open(info) as stream:
                found[info.filename[:-4]] = _npy_header(stream)[0]
    return found


def member(path, name) -> np.ndarray:
    """One array of an npz, numbers or text; BadImage where it is absent or larger than any image may be."""
    with guard(Path(path).name, "no npz, or cut off: get it again"), zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise BadImage(Path(path).name, f"no member {name!r}; found "
                           f"{', '.join(n[:-4] for n in archive.namelist()[:10])}")
        with archive.open(f"{name}.npy") as stream:
            shape, _, dtype = _npy_header(stream)
        if math.prod(shape) * dtype.itemsize > MAX_BYTES:
            raise BadImage(Path(path).name, f"member {name!r} announces {shape}: more than "
                           f"{MAX_BYTES // 2**20} MiB")
        with np.load(path, allow_pickle=False) as data:
            return data[name]


def _numpy(stream, size, path):
    """Array of an npy stream, its header checked against its size before anything is allocated."""
    shape, fortran, dtype = _npy_header(stream)
    if dtype.kind not in "biuf":
        raise BadImage(path, f"array of type {dtype.name}: expected numbers")
    count, start = math.prod(shape), stream.tell()
    if count * dtype.itemsize > MAX_BYTES:
        raise BadImage(path, f"array {shape} is more than {MAX_BYTES // 2**20} MiB")
    if size != start + count * dtype.itemsize:
        raise BadImage(path, f"wrong length: {size - start} bytes for an array {shape} of {dtype.name}")
    values = np.frombuffer(stream.read(count * dtype.itemsize + 1), dtype, count)  # + 1: zip checks its sum at the end
    return values.reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=1)  # files of many images are read image by image
def _member(file, member, path, _stamp):
    with guard(path, "not readable as npz"), zipfile.ZipFile(file) as archive:
        names = [n for n in archive.namelist() if n.endswith(".npy")]
        if not member or f"{member}.npy" not in names:
            known = ", ".join(n[:-4] for n in names[:10])
            raise BadImage(path, f"no array {member!r} in the npz, it has {known}: give file.npz::array")
        info = archive.getinfo(f"{member}.npy")
        if info.file_size > MAX_BYTES + 4096:
            raise BadImage(path, f"array of {info.file_size} bytes: more than {MAX_BYTES}")
        with archive.open(info) as stream:
            return _numpy(stream, info.file_size, path)


def _npz(file, path, member, frame, info):
    read_member = _member if frame is not None else _member.__wrapped__
    array = read_member(file, member, str(path), (info.st_size, info.st_mtime_ns))
    return _from_array(array, frame, path)


def _from_array(array, frame, path):
    """Image of an array (h, w), (h, w, c <= 4), (d, h, w) or (d, h, w, c <= 4), after taking ``frame``."""
    if frame is not None:
        if array.ndim < 3 or not 0 <= frame < len(array):
            raise BadImage(path, f"frame {frame} of an array {array.shape}")
        array = array[frame]
    if array.ndim not in (2, 3, 4) or 0 in array.shape or (array.ndim == 4 and array.shape[-1] > 4):
        raise BadImage(path, f"array {array.shape}: expected (h, w), (h, w, c), (d, h, w) or (d, h, w, c); give frame?")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] > 4):
        array = array[..., None]
    kind = array.dtype.kind
    target = np.uint8 if kind == "b" else np.float32 if kind == "f" and array.itemsize != 8 else array.dtype
    return Image(np.ascontiguousarray(array, np.dtype(target).newbyteorder("=")))
