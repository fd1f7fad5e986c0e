"""DICOM files and series to arrays in physical units, with their geometry; everything odd is refused by name.

Sections such as C.7.6.2 are those of DICOM PS3.3.
"""

import io
import logging
import os
import re
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom

MAX_BYTES = 2**30  # decoded bytes of one image; checked before decoding
COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
GREYS = {"MONOCHROME1", "MONOCHROME2"}
_CODECS = threading.Lock()
# these warn about odd files; here odd is either refused or noted
for _name in ("pydicom", "PIL", "nibabel", "medlab.imaging"):
    warnings.filterwarnings("ignore", module=rf"{_name}(\.|$)")


class BadImage(ValueError):
    """A file that does not give a trustworthy picture: ``path`` and ``reason``."""

    def __init__(self, path, reason):
        super().__init__(str(path), str(reason))
        self.path, self.reason = str(path), str(reason)

    def __str__(self):
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels with what is known about them.

    Attributes
    ----------
    pixels : ndarray, (h, w, c) or (d, h, w, c)
    spacing_mm : tuple of float or None
        Distance between neighbours along each array axis (without the channel).
    affine : (4, 4) ndarray or None
        Index (d, h, w, 1) to LPS mm; a picture of two dimensions is the slice d = 0.
    modality : str or None
        DICOM code.
    intensity : "HU", "SUV" or "arbitrary"
    notes : tuple of str
        What was changed or is worth knowing ("gap of 5.0 mm after slice 3").
    turn : tuple of int or None
        How the axes of the file were turned while reading; see `laying`.
    """

    pixels: np.ndarray
    spacing_mm: tuple | None = None
    affine: np.ndarray | None = None
    modality: str | None = None
    intensity: str = "arbitrary"
    notes: tuple = ()
    turn: tuple | None = None

    @property
    def sides(self) -> tuple[str, str] | None:
        """Letters of the patient's sides at the left and right edge of a slice, ("R", "L"); None where unknown."""
        if self.affine is None:
            return None
        across = self.affine[:3, 2]
        axis = int(np.abs(across).argmax())
        low, high = (("R", "L"), ("A", "P"), ("F", "H"))[axis]
        return (low, high) if across[axis] > 0 else (high, low)


@contextmanager
def guard(path, what, quote=True) -> Iterator[None]:
    """Turn what goes wrong inside into BadImage; ``quote`` messages where no identifier can be in them."""
    try:
        yield
    except BadImage:
        raise
    except RecursionError:
        raise BadImage(path, "elements nested too deeply") from None
    except MemoryError:
        raise BadImage(path, "does not fit into memory") from None
    except Exception as error:
        known = error.strerror if isinstance(error, OSError) else None
        text = known or (str(error).strip() if quote else "")
        text = " ".join(text.replace(str(path), "the file").split())[:160]
        raise BadImage(path, f"{what} ({type(error).__name__}{': ' + text if text else ''})") from error


def library() -> ModuleType:
    """Import pydicom late (0.7 s) and silent."""
    import pydicom
    import pydicom.pixels

    logger = logging.getLogger("pydicom")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return pydicom


def dataset(path, pixels=True) -> "pydicom.Dataset":
    """Parsed DICOM file with a transfer syntax, from a regular file of any suffix; BadImage if it is none."""
    pydicom = library()
    with guard(path, "not readable as DICOM", quote=False):
        if Path(path).stat().st_size > MAX_BYTES:
            raise BadImage(path, f"file larger than {MAX_BYTES // 2**20} MiB")
        stream = io.BytesIO(Path(path).read_bytes())
        _refuse_deflate_bomb(path, stream)
        ds = pydicom.dcmread(stream, force=True, stop_before_pixels=not pixels)
        meta = getattr(ds, "file_meta", None)
        if not ({"SOPClassUID", "Rows"} & set(ds.dir())) and not (meta and "MediaStorageSOPClassUID" in meta):
            raise BadImage(path, "not a DICOM file, or its header is empty")
        if meta is None:
            ds.file_meta = meta = pydicom.dataset.FileMetaDataset()
        if "TransferSyntaxUID" not in meta:  # files without the group 0002: what pydicom guessed while reading
            implicit, little = ds.original_encoding
            uid = pydicom.uid
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    return ds


def _transfer_syntax(stream):
    """Transfer syntax of the group 0002 that begins here, with or without value representations; None without one."""
    from pydicom.filereader import read_dataset

    start = stream.tell()
    for implicit in (False, True):
        stream.seek(start)
        meta = read_dataset(stream, implicit, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        try:
            next(iter(meta), None)
            return meta.get("TransferSyntaxUID")
        except NotImplementedError:  # as pydicom does: what was read is no value representation
            continue
    return None


def _refuse_deflate_bomb(path, stream):
    """Inflate a deflated data set with a limit first, because pydicom inflates without one."""
    from pydicom import filereader, uid

    try:
        filereader.read_preamble(stream, True)
        syntax = _transfer_syntax(stream)
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            packed = stream.read()
            limit = min(MAX_BYTES, 2**26 + 100 * len(packed))
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            inflater.decompress(packed, limit)
            if inflater.unconsumed_tail:
                raise BadImage(path, f"{len(packed)} deflated bytes inflate to more than {limit}: refused")
            if not inflater.eof:
                raise BadImage(path, "truncated: the deflated data set breaks off")
    finally:
        stream.seek(0)


def dicom_header(path) -> "pydicom.Dataset":
    """Header of a DICOM file, without its pixels.

    Parameters
    ----------
    path : str or Path
        A file of any suffix.

    Returns
    -------
    pydicom.Dataset
        Without the elements of the top level that are not legal for their type: ``get`` is safe.

    Raises
    ------
    BadImage
        Where there is no readable DICOM header.
    """
    ds = dataset(path, pixels=False)
    with guard(path, "not readable as DICOM", quote=False):
        for tag in list(ds.keys()):
            try:
                ds[tag]
            except Exception:
                del ds[tag]
    return ds


def whole(ds, keyword, default=None) -> int | None:
    value = ds.get(keyword)
    return default if value in (None, "") else int(value)


def frames_of(ds) -> int:
    return whole(ds, "NumberOfFrames", 1)


def _check(ds, path, count):
    """Refuse what has no pixels, is too large, or whose pixel data is not of the announced length."""
    uid = ds.get("SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID")
    kind = uid.name if uid and uid.name != str(uid) else "unknown class"
    keyword = next((k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in ds), None)
    if keyword is None:
        raise BadImage(path, f"no pixel data ({kind})")
    if "Microscopy" in kind and frames_of(ds) > 1:
        raise BadImage(path, f"tiles of a whole slide ({kind}) are not supported")
    if "MOSAIC" in (ds.get("ImageType") or ()):
        raise BadImage(path, "mosaic of slices in one picture is not supported: convert it to NIfTI")
    sizes = [whole(ds, k) for k in ("Rows", "Columns", "BitsAllocated")] + [frames_of(ds)]
    samples = whole(ds, "SamplesPerPixel", 1)
    if None in sizes or min(sizes) < 1 or samples not in (1, 3):
        raise BadImage(path, f"rows, columns, bits, frames are {sizes}, samples {samples}: expected all positive")
    rows, columns, bits, frames = sizes
    photometric = ds.get("PhotometricInterpretation")
    if photometric not in (COLOURS if samples == 3 else GREYS | {"PALETTE COLOR"}):
        known = photometric in COLOURS | GREYS | {"PALETTE COLOR"}
        raise BadImage(path, f"{photometric if known else 'unknown colour space'} with {samples} samples per pixel")
    if rows * columns * samples * count * max(bits, 8) // 8 > MAX_BYTES:
        raise BadImage(path, f"{frames} x {rows} x {columns} pixels are more than {MAX_BYTES // 2**20} MiB")
    data, syntax = ds[keyword].value, ds.file_meta.TransferSyntaxUID
    if not data:
        raise BadImage(path, f"no pixel data ({kind}): the element is empty")
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise BadImage(path, "transfer syntax unknown or without a decoder")
    if syntax.is_encapsulated:
        _check_streams(data, path, rows, columns, frames, syntax)
        return
    if ds[keyword].is_undefined_length:
        raise BadImage(path, "compressed pixel data without a transfer syntax that says how")
    half = photometric == "YBR_FULL_422" and samples == 3  # two chroma values for two pixels, C.7.6.3.1.2
    expected = (rows * columns * (2 if half else samples) * frames * bits + 7) // 8
    if len(data) < expected:
        raise BadImage(path, f"truncated: {len(data)} bytes of pixel data, expected {expected}")
    if any(data[expected + expected % 2 :]):
        raise BadImage(path, f"wrong length: {len(data)} bytes of pixel data, expected {expected}")


def _check_streams(data, path, rows, columns, frames, syntax):
    """Compare the compressed streams with the header: decoders fill what is missing without a word."""
    from pydicom.encaps import generate_frames

    streams = list(generate_frames(data, number_of_frames=frames))
    if len(streams) != frames:
        raise BadImage(path, f"{len(streams)} compressed frames, the header says {frames}")
    if "JPEG" not in syntax.name:
        return
    for i, stream in enumerate(streams):
        if b"\xff\xd9" not in stream[-4:]:
            raise BadImage(path, f"truncated: the compressed stream of frame {i} has no end")
        found = _stream_size(stream)
        if found and found != (rows, columns):
            raise BadImage(path, f"the compressed stream is {found[0]} x {found[1]}, the header {rows} x {columns}")


def _stream_size(stream):
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream announces, or None."""
    start = stream.find(b"\xff\x4f\xff\x51")  # SOC, SIZ of JPEG 2000, also inside a JP2 box
    if 0 <= start < 512:
        x, y, x0, y0 = np.frombuffer(stream[start + 8 : start + 24], ">u4").tolist()
        return y - y0, x - x0
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 9 < len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big") if marker != 0xFF else 1
    return None


def decode(ds, path, index=None) -> np.ndarray:
    """Stored values (n, h, w, c); ``index`` decodes one frame only."""
    frames = frames_of(ds)
    if index is not None and not 0 <= index < frames:
        raise BadImage(path, f"frame {index} of {frames} frames: expected 0 to {frames - 1}")
    _check(ds, path, 1 if index is not None else frames)
    compressed = ds.file_meta.TransferSyntaxUID.is_encapsulated
    with quiet(path) if compressed else nullcontext():
        pixels = library().pixels.pixel_array(ds, index=index, allow_excess_frames=False)
    pixels = pixels.reshape(-1, ds.Rows, ds.Columns, whole(ds, "SamplesPerPixel", 1))
    if len(pixels) != (frames if index is None else 1):
        raise BadImage(path, f"{len(pixels)} frames decoded, the header says {frames}")
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


@contextmanager
def quiet(path):
    """Catch what the codecs in C write to file descriptor 2: no noise, and a damaged stream is not filled silently."""
    with _CODECS, tempfile.TemporaryFile() as caught:
        saved = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            said = caught.read(4096).decode(errors="replace")
    found = re.search("premature end|bad Huffman code|inconsistent with stream", said)
    if found:
        raise BadImage(path, f"damaged compressed stream ({found[0]})")


def group(ds, frame, keyword) -> "pydicom.Dataset":
    """Item of a functional group of one frame, or the data set itself (C.7.6.16)."""
    for sequence, i in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = ds.get(sequence) or ()
        if i < len(items) and items[i].get(keyword):
            return items[i].get(keyword)[0]
    return ds
