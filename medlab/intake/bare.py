"""Image files without anything but pixels and geometry: proven so, or written anew from the parts that are needed.

What surrounds the pixels of a file (texts, EXIF, places, times, thumbnails, what follows the end) may name a person.
PNG, JPEG and TIFF are taken apart into the parts that the pixels need, which are copied as they are; the texts of a
NIfTI header are emptied; everything else is decoded and stored as NIfTI or npy. No pixel is changed.
"""

import gzip
import io
import math
import re
import shutil
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medlab.imaging import formats, nifti
from medlab.imaging.dicom import BadImage
from medlab.intake import tiff

PNG = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs"}
NPY = re.compile(rb"\{'descr': '[<>|=][biuf]\d+', 'fortran_order': (True|False), 'shape': \([\d, ]*\),? *\} *\n")
SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # where the pixels of a JPEG scan end
TEXTS = {348: ((4, 32), (148, 252), (328, 344)), 540: ((240, 344), (508, 524), (525, 540))}  # of NIfTI-1 and -2
BLOCK = 2**20


@dataclass
class Bare:
    """What became of a file: `data` to write (None: it may be linked), its suffix, what the new file cannot say."""

    data: bytes | None = None
    suffix: str | None = None
    spacing_mm: str | None = None
    intensity: str | None = None
    modality: str | None = None


def place(source, target, members=None, linker=None) -> tuple[Path, Bare]:
    """Put a file at `target`: linked where nothing but pixels is in it, else written anew.

    Parameters
    ----------
    members : set of str, optional
        Arrays of an npz that are needed; others are left out.
    linker : callable(source, target)
        Links, or copies where that cannot be.

    Returns
    -------
    (Path, Bare)
        Where it is (a further suffix where the format changed), and what the file itself says no more.

    Raises
    ------
    BadImage
        It cannot be read.
    """
    with open(source, "rb") as file:
        head = file.read(1024)
    if head[:4] == b"PK\x03\x04":
        return _npz(source, target, members, linker), Bare()
    if head[:2] == b"\x1f\x8b" or (head[128:132] != b"DICM" and _version(head)):
        return _nifti(source, target, linker), Bare()
    known = next((f for magic, f in PARTS.items() if head.startswith(magic) and head[128:132] != b"DICM"), _decoded)
    try:
        found = known(source)
    except (BadImage, struct.error, zlib.error, IndexError, ValueError):  # an odd file that can be read all the same
        found = _decoded(source)
    if found.suffix:
        target = target.with_name(target.name + found.suffix)
    if found.data is None:
        linker(source, target)
    else:
        target.write_bytes(found.data)
    return target, found


def _orientation(path):
    """EXIF that says nothing but how the picture is turned; empty where it is not."""
    from PIL import Image as pil

    with pil.open(path) as picture:
        turned = picture.getexif().get(0x0112, 1)
    good = isinstance(turned, int) and 1 < turned < 9
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, turned, 0, 0) if good else b""


def _png(path):
    data, at, parts, clean, pixels = path.read_bytes(), 8, [], True, zlib.decompressobj()
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind == b"IDAT":
            pixels.decompress(data[at + 8:end - 4])
        known = kind in PNG and not (kind == b"IEND" and length)
        clean &= known
        parts += [data[at:end]] if known else []
        at = end
    if clean and at == len(data) and not pixels.unused_data:
        return Bare()
    exif = _orientation(path) if b"eXIf" in data or b"iTXt" in data or b"Raw profile" in data else b""
    if exif:
        body = b"eXIf" + exif
        parts.insert(1, struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body)))
    if pixels.unused_data:  # something behind the end of the compressed pixels
        stream = b"IDAT" + _until_end(b"".join(p[8:-4] for p in parts if p[4:8] == b"IDAT"))
        whole = struct.pack(">I", len(stream) - 4) + stream + struct.pack(">I", zlib.crc32(stream))
        first = next(i for i, p in enumerate(parts) if p[4:8] == b"IDAT")
        parts = [whole if i == first else p for i, p in enumerate(parts) if i == first or p[4:8] != b"IDAT"]
    return Bare(data[:8] + b"".join(parts))


def _until_end(stream):
    reader = zlib.decompressobj()
    reader.decompress(stream)
    return stream[:len(stream) - len(reader.unused_data)]


def jpeg(data: bytes) -> bytes:
    """A JPEG stream without application segments (but JFIF and Adobe's colour code), comments and what follows."""
    parts, at = [data[:2]], 2
    while True:
        while data[at:at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xD9:
            return b"".join([*parts, b"\xff\xd9"])
        end = at + 2 + int.from_bytes(data[at + 2:at + 4], "big")
        segment = data[at:end]
        if marker == 0xE0 and segment[4:9] == b"JFIF\0":
            parts.append(b"\xff\xe0\0\x10" + segment[4:16] + b"\0\0")  # without a thumbnail
        elif marker == 0xEE and segment[4:9] == b"Adobe":
            parts.append(b"\xff\xee\0\x0e" + segment[4:16])
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(segment)
        if marker == 0xDA:
            found = SCAN.search(data, end)
            stop = found.start() if found else len(data)
            parts.append(data[end:stop])
            if not found:
                return b"".join(parts)
            end = stop
        at = end


def _jpeg(path):
    data = path.read_bytes()
    stripped = jpeg(data)
    if stripped == data:
        return Bare()
    exif = _orientation(path) if b"xif" in data[:2**17] or b"tiff:Orientation" in data else b""
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif if exif else b""
    return Bare(stripped[:2] + segment + stripped[2:]) if segment + stripped != data else Bare()


def _tiff(path):
    data = path.read_bytes()
    new = tiff.bare(data, jpeg, path)
    return Bare(None if new == data else new)


def _npy(path):
    with open(path, "rb") as file:
        return Bare() if npy_header(file) else _decoded(path)


def npy_header(stream) -> bool:
    """Whether an npy stream has the header that numpy writes and nothing else in it."""
    start = stream.read(12)
    wide = start[6:7] > b"\1"
    length = int.from_bytes(start[8:12] if wide else start[8:10], "little")
    return bool(NPY.fullmatch((b"" if wide else start[10:]) + stream.read(length - (0 if wide else 2))))


def _decoded(path):
    """Any other file: its pixels as NIfTI where it has a place in space, else as npy."""
    import tempfile

    from PIL import Image as pil

    image = formats.read(path)
    facts = {"intensity": image.intensity, "modality": image.modality}
    if image.pixels.ndim == 3 and image.pixels.dtype == np.uint8 and image.pixels.shape[-1] in (1, 3) and (
            image.spacing_mm is None):
        stream = io.BytesIO()
        pil.fromarray(image.pixels.squeeze(-1) if image.pixels.shape[-1] == 1 else image.pixels).save(stream, "PNG")
        return Bare(stream.getvalue(), ".png", **facts)
    with tempfile.TemporaryDirectory(prefix="medlab-") as folder:
        folder = Path(folder)
        name = nifti.write(image, folder, "image")["image"]
        again = formats.read(folder / name)
        if again.pixels.shape == image.pixels.shape and (again.pixels == image.pixels).all() and (
                again.spacing_mm == image.spacing_mm):
            return Bare((folder / name).read_bytes(), name.removeprefix("image"), **facts)
        np.save(folder / "image.npy", image.pixels, allow_pickle=False)
        spacing = " x ".join(repr(float(v)) for v in image.spacing_mm) if image.spacing_mm else None
        return Bare((folder / "image.npy").read_bytes(), ".npy", spacing, **facts)


PARTS = {b"\x89PNG": _png, b"\xff\xd8\xff": _jpeg, b"II*\0": _tiff, b"MM\0*": _tiff, b"\x93NUMPY": _npy}


def _version(head):
    """Length of the header of a NIfTI file, 348 or 540; None for other files."""
    return 348 if head[344:347] == b"n+1" else 540 if head[4:7] == b"n+2" else None


def _nifti(source, target, linker):
    """A NIfTI file: the header with its texts emptied, no extension, exactly the voxels that the header promises."""
    packed = source.open("rb").read(2) == b"\x1f\x8b"
    with gzip.open(source) if packed else open(source, "rb") as stream:
        head = stream.read(544)
        size = _version(head)
        if not size:
            raise BadImage(source.name, "a gzip file that is not NIfTI: unpack it first")
        stream.seek(0)
        new, begin, length = _emptied(head, size, nifti.from_stream(stream).header)
        stream.seek(begin + length)
        if new == head[:size + 4] and not stream.read(1) and (not packed or _one_member(source)):
            linker(source, target)
            return target
        stream.seek(begin)
        with open(target, "wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) if packed else raw as out:
            out.write(new)
            while length > 0 and (block := stream.read(min(BLOCK, length))):
                out.write(block)
                length -= len(block)
    return target


def _emptied(head, size, header):
    """(header without texts and extension, where the voxels begin in the source, their bytes)."""
    new = bytearray(head[:size] + bytes(4))
    for first, last in TEXTS[size]:
        new[first:last] = bytes(last - first)
    at, form = (108, "f") if size == 348 else (168, "q")
    begin = max(int(struct.unpack_from(header.endianness + form, head, at)[0]), size + 4)
    struct.pack_into(header.endianness + form, new, at, size + 4)
    voxels = math.prod(int(v) for v in header.get_data_shape())
    return bytes(new), begin, voxels * header.get_data_dtype().itemsize


def _one_member(path):
    """Whether a gzip file has no name, time or comment, and nothing behind its one stream."""
    reader = zlib.decompressobj(31)
    with open(path, "rb") as file:
        plain = file.read(10)[3:8] == bytes(5)
        file.seek(0)
        while plain and not reader.eof and (block := file.read(BLOCK)):
            while block:
                reader.decompress(block, BLOCK)
                block = reader.unconsumed_tail
        return plain and reader.eof and not reader.unused_data and not file.read(1)


def _npz(source, target, members, linker):
    """The arrays of an npz that are needed; linked where the file holds these alone."""
    with zipfile.ZipFile(source) as archive:
        wanted = [i for i in archive.infolist() if not members or i.filename.removesuffix(".npy") in members]
        if len(wanted) == len(archive.infolist()) and _nothing_else(archive, source):
            linker(source, target)
            return target
        with zipfile.ZipFile(target, "w") as new:
            for info in wanted:
                entry = zipfile.ZipInfo(info.filename)
                entry.compress_type = zipfile.ZIP_STORED if info.compress_type == 0 else zipfile.ZIP_DEFLATED
                with archive.open(info) as stream:
                    odd = not npy_header(stream)
                with archive.open(info) as stream, new.open(entry, "w", force_zip64=True) as out:
                    if odd:
                        np.save(out, np.lib.format.read_array(stream, allow_pickle=False), allow_pickle=False)
                    else:
                        shutil.copyfileobj(stream, out, BLOCK)
    return target


def _nothing_else(archive, source):
    """Whether a zip is made of its arrays alone: no comments, no further fields, no bytes between or behind."""
    at = 0
    for info in sorted(archive.infolist(), key=lambda i: i.header_offset):
        archive.fp.seek(info.header_offset)
        local = archive.fp.read(30)
        names, extra = struct.unpack("<HH", local[26:30])
        more = archive.fp.read(names + extra)[names:]
        with archive.open(info) as stream:
            plain = npy_header(stream)
        if info.header_offset != at or info.comment or not plain or info.date_time[0] > 1980 or (
                more[:2] not in (b"", b"\1\0") or extra not in (0, 20) or info.flag_bits & ~0x800):
            return False
        at += 30 + names + extra + info.compress_size
    listed = sum(46 + len(i.filename.encode()) + len(i.extra) for i in archive.infolist())
    zip64 = source.stat().st_size >= 2**32 - 1
    return not archive.comment and (zip64 or source.stat().st_size == at + listed + 22)
