"""Finds given texts in every file below a folder, however they are packed.

Looked at are names of files, the bytes as they are, and what comes out of gzip, zip (npz, xlsx), zlib streams (PNG),
parquet, npy of text, base64 and hexadecimal digits; each in UTF-8, Latin-1 and UTF-16 of both orders.
"""

import base64
import binascii
import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

DEEPEST = 4
PACKED = re.compile(rb"[A-Za-z0-9+/_-]{12,}={0,2}")
HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){6,}")


def layers(data: bytes, depth=0) -> list:
    """The bytes and everything that can be unpacked from them."""
    found = [data]
    if depth >= DEEPEST:
        return found
    for inner in _unpacked(data):
        if inner and inner != data:
            found += layers(inner, depth + 1)
    return found


def _unpacked(data):
    if data[:2] == b"\x1f\x8b":
        yield from _gzip(data)
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive.comment
            for info in archive.infolist():
                yield info.filename.encode() + info.comment + info.extra
                yield archive.read(info)
    if data[:4] == b"PAR1":
        yield pd.read_parquet(io.BytesIO(data)).to_csv().encode()
    if data[:6] == b"\x93NUMPY":
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if array.dtype.kind in "US":
            yield "\n".join(map(str, array.ravel().tolist())).encode()
    if data[:4] == b"\x89PNG":
        yield from _png(data)
    elif len(data) < 10**7 and data[:3] != b"\xff\xd8\xff":
        for match in PACKED.findall(data):
            for decode in (base64.b64decode, base64.urlsafe_b64decode):
                try:
                    yield decode(match + b"=" * (-len(match) % 4))
                except (binascii.Error, ValueError):
                    continue
        for match in HEX.findall(data):
            yield bytes.fromhex(match.decode())


def _gzip(data):
    try:
        yield gzip.decompress(data)
    except (OSError, EOFError):
        yield zlib.decompressobj(31).decompress(data)


def _png(data):
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + length]
        for start in [m.end() for m in re.finditer(b"\0", body[:120])] if kind in (b"zTXt", b"iTXt", b"iCCP") else []:
            try:
                yield zlib.decompress(body[start + 1 if kind != b"iTXt" else start:])
            except zlib.error:
                continue
        at += 12 + length


def spellings(text: str) -> set:
    """Bytes of a text as it may stand in a file."""
    found = set()
    for encoding in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
        try:
            found.add(text.encode(encoding).lower())
        except UnicodeEncodeError:
            continue
    return found


def hits(folder, texts) -> list:
    """(file, text) for each text that stands anywhere below a folder; capitals do not matter."""
    known = {text: spellings(text) for text in texts}
    found = []
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        parts = [name.encode("utf-8", "surrogateescape")]
        parts += layers(path.read_bytes()) if path.is_file() else []
        for part in (p.lower() for p in parts):
            found += [(name, text) for text, forms in known.items() if any(form in part for form in forms)]
    return sorted(set(found))
