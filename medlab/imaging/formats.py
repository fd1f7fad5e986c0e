"""Reading any image format, and bringing its pixels to a window, spacing and shape.

With ``dicom``, ``series`` and ``resampling``, which are used through this module, the only place that knows
axis order, spacing and Hounsfield units. Pixels are (h, w, c) or (d, h, w, c), spacing is in the order of the
axes, world coordinates are LPS mm as in DICOM. What cannot be trusted is refused: :class:`BadImage`.
"""

import gzip
import math
import os
import stat
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from medlab.imaging import nifti
from medlab.imaging.dicom import MAX_BYTES, BadImage, Image, guard
from medlab.imaging.series import read_file, read_series, slice_of

MAX_PICTURE = 10**8  # pixels of one PNG, JPEG, TIFF or BMP
PICTURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
}


def read(path, frame=None, root=None, links=False) -> Image:
    """Read one image of any format; the content decides which, not the suffix.

    Parameters
    ----------
    path : str or Path
        PNG, JPEG, TIFF, BMP, GIF, DICOM, NIfTI (also gzipped) or npy file; ``file.npz::member``; or a folder
        that is one DICOM series.
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
        See :class:`Image`. NIfTI is turned, without interpolation, so that d, h, w grow most nearly towards
        superior, posterior and left, as an axial DICOM series does.

    Raises
    ------
    BadImage
        Whatever goes wrong; its ``reason`` says what.
    """
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
    kind = next((PICTURES[magic] for magic in PICTURES if head.startswith(magic)), None)
    if kind and not dicom:
        return _picture_file(file, path, kind, frame)
    if head[:4] == b"PK\x03\x04":
        return _npz(file, path, member, frame, info)
    if head[:6] == b"\x93NUMPY":
        with guard(path, "not readable as npy"), open(file, "rb") as stream:
            return _from_array(_numpy(stream, info.st_size, path), frame, path)
    zipped = head[:2] == b"\x1f\x8b"
    if zipped:
        with guard(path, "not readable as gzip"), gzip.open(file) as stream:
            head = stream.read(352)
        if not _is_nifti(head):
            raise BadImage(path, "a gzip file that is not NIfTI: unpack it first")
    if _is_nifti(head):
        return _nifti(file, path, frame, zipped)
    if dicom or head[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        return _named(path, file, frame)
    raise BadImage(path, "empty file" if not head else "no known image format (PNG, JPEG, TIFF, DICOM, NIfTI, npy)")


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


def _picture_file(file, path, kind, frame):
    """PNG, JPEG, TIFF, BMP or GIF; several pages become (d, h, w, c)."""
    from PIL import Image as pil

    with guard(path, f"{kind} cannot be decoded"):
        if kind == "PNG":
            _check_png(file, path)
        with pil.open(file, formats=[kind]) as picture:
            pages = getattr(picture, "n_frames", 1) if kind in ("TIFF", "GIF") else 1
            count = pages if frame is None else 1
            if picture.width * picture.height * count > MAX_PICTURE:
                raise BadImage(path, f"{count} x {picture.height} x {picture.width} pixels: more than {MAX_PICTURE}")
            if frame is not None and not 0 <= frame < pages:
                raise BadImage(path, f"frame {frame} of {pages}: expected 0 to {pages - 1}")
            if frame is None and pages == 1:
                pixels, notes = _pil_pixels(picture, file, path)
                return Image(pixels, notes=notes)
            arrays = []
            for page in range(pages) if frame is None else [frame]:
                picture.seek(page)
                pixels, notes = _pil_pixels(picture, file, path, deep=False)
                arrays.append(pixels)
    if len({a.shape for a in arrays}) > 1:
        raise BadImage(path, f"{pages} pages of different size or colour: give frame")
    return Image(np.stack(arrays) if frame is None else arrays[0], notes=notes)


def _check_png(file, path):
    """Checksums and the end of a PNG, which Pillow leaves unchecked for the pixels."""
    data, at, kind = file.read_bytes(), 8, b""
    while at + 12 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadImage(path, "corrupt: a PNG checksum does not match")
        at = end + 4
    if kind != b"IEND":
        raise BadImage(path, "truncated: the PNG has no end")


def _pil_pixels(picture, file, path, deep=True):
    """(h, w, c) of the current page of a Pillow image, and notes."""
    mode, notes = picture.mode, []
    if mode not in ("L", "1") and _deep_colour(picture):  # asked before anything loads the picture
        if not deep:
            raise BadImage(path, "pages of 16-bit colour are not supported: save them one by one")
        return _sixteen_bit_colour(file), tuple(notes)
    if picture.getexif().get(0x0112, 1) != 1:
        notes.append("EXIF orientation not applied")
    picture.load()
    if mode in ("P", "PA"):
        picture = picture.convert("RGB")
        levels = np.asarray(picture)
        grey = (levels[..., :1] == levels).all()
        return (levels[..., :1] if grey else levels), (
            *notes,
            "palette to grey" if grey else "palette to RGB",
        )
    if mode in ("RGBA", "LA", "La", "RGBa"):
        if picture.getchannel("A").getextrema()[0] < 255:
            notes.append("transparency left out")
        picture = picture.convert("RGB" if mode.startswith("RGB") else "L")
    elif mode not in ("L", "RGB", "I", "F") and not mode.startswith("I;16"):
        picture = picture.convert("L" if mode == "1" else "RGB")
    pixels = np.asarray(picture)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return (pixels[..., None] if pixels.ndim == 2 else pixels), tuple(notes)


def _deep_colour(picture):
    """Whether Pillow would cut colours of 16 bits to 8."""
    if picture.format == "TIFF":
        return len(picture.tag_v2.get(258, ())) > 1 and max(picture.tag_v2[258]) > 8
    return any("16" in str(tile[3]) for tile in picture.tile or ()) and not picture.mode.startswith("I")


def _sixteen_bit_colour(file):
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    pixels = pixels[0] if pixels.ndim == 4 else pixels
    return pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., :1]  # without alpha


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


def _is_nifti(head):
    return head[344:347] == b"n+1" or head[4:7] == b"n+2"


def _nifti(file, path, frame, zipped):
    """NIfTI-1 or -2 in one file, its axes turned to (superior, posterior, left)."""

    with guard(path, "not readable as NIfTI"):
        with gzip.open(file) if zipped else open(file, "rb") as stream:
            source = nifti.from_stream(stream)
            header, shape = source.header, source.shape
            while len(shape) > 3 and shape[-1] == 1:
                shape = shape[:-1]
            if len(shape) not in (2, 3, 4) or min(shape) < 1:
                raise BadImage(path, f"NIfTI of shape {source.shape}: expected three or four axes")
            if len(shape) == 4 and (frame is None or not 0 <= frame < shape[3]):
                raise BadImage(path, f"{shape[3]} volumes: give frame 0 to {shape[3] - 1}")
            if math.prod(shape[:3]) * max(header.get_data_dtype().itemsize, 4) > MAX_BYTES:
                raise BadImage(path, f"volume {shape[:3]} is more than {MAX_BYTES // 2**20} MiB")
            index = (slice(None),) * min(3, len(shape)) + ((frame,) if len(shape) == 4 else ())
            data = np.asarray(source.dataobj[index + (0,) * (len(source.shape) - len(index))])
        if data.dtype.names:  # RGB of 8 bits
            data = np.stack([data[n] for n in data.dtype.names[:3]], axis=-1)
        elif data.dtype.kind not in "biuf":
            raise BadImage(path, f"values of type {data.dtype.name}: expected numbers")
        data = data.reshape(*(shape[:3] + (1,) * (3 - len(shape))), -1)
        data = data.astype(np.float32 if data.dtype.kind == "f" else data.dtype.newbyteorder("="), copy=False)
        image = _oriented(data, header, source.affine)
    if image.pixels.shape[0] == 1:
        return slice_of(image, 0, path)
    return slice_of(image, frame, path) if frame is not None and len(shape) < 4 else image


def _oriented(data, header, affine):
    """Image of values (i, j, k, c) and their affine to RAS, axes turned to S, P, L without interpolation."""
    import nibabel as nib

    scale = {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)  # metre, mm or unknown, micrometre
    known = (int(header["sform_code"]) or int(header["qform_code"])) and np.isfinite(affine).all()
    known = known and abs(np.linalg.det(affine[:3, :3])) > 1e-12
    affine = affine if known else header.get_base_affine()
    notes = [] if known else ["orientation not stated in the NIfTI: axes taken as stored"]
    found = nib.io_orientation(affine)
    turn = nib.orientations.ornt_transform(found, nib.orientations.axcodes2ornt("LPS"))
    if found[:, 0].tolist() != [0, 1, 2]:
        notes.append(f"axes turned from {''.join(nib.orientations.ornt2axcodes(found))} to LPS")
    lps = np.diag([-scale, -scale, scale, 1.0]) @ affine @ nib.orientations.inv_ornt_aff(turn, data.shape[:3])
    pixels = np.ascontiguousarray(nib.orientations.apply_orientation(data, turn).transpose(2, 1, 0, 3))
    lps = lps[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    valid = np.isfinite(spacing).all() and (spacing > 0).all()
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        notes.append("values that are not finite")
    return Image(pixels, tuple(spacing.tolist()) if valid else None, lps if known else None, notes=tuple(notes))
