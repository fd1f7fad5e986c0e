"""TIFF files written anew with the tags that their pixels need; strips and tiles are copied as they are."""

import struct

from medlab.imaging.dicom import BadImage

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
NEEDED = {254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 282, 283, 284, 292, 293, 296, 297, 317, 320, 322, 323,
          338, 339, 347, 530, 531, 532, 529}  # numbers all, but 347: tables of JPEG
BLOCKS = {273: 279, 324: 325}  # places of strips and tiles: their lengths
OLD_JPEG = 6


def bare(data: bytes, jpeg, path) -> bytes:
    """The same pictures with no other tag, nothing between and nothing behind.

    Parameters
    ----------
    jpeg : callable(bytes) -> bytes
        Strips a JPEG stream, as strips may be.
    path : of the file, for messages

    Raises
    ------
    BadImage
        Directories that lead out of the file or run in a circle; JPEG of the old kind.
    """
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data[:4] + bytes(4))
    link, at, seen = 4, struct.unpack_from(order + "I", data, 4)[0], set()
    try:
        while at:
            if at in seen:
                raise BadImage(path, "the directories of the TIFF run in a circle")
            seen.add(at)
            tags, at = _directory(data, at, order)
            struct.pack_into(order + "I", out, link, len(out))
            link = _write(out, tags, _blocks(data, tags, order, jpeg, path), order)
    except (struct.error, KeyError) as error:
        raise BadImage(path, f"a directory of the TIFF cannot be read ({type(error).__name__})") from None
    return bytes(out)


def _directory(data, at, order):
    """({tag: (type, count, bytes)}, place of the next directory)."""
    count, = struct.unpack_from(order + "H", data, at)
    tags = {}
    for i in range(count):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at + 2 + 12 * i)
        length = SIZES.get(kind, 1) * number
        place = at + 10 + 12 * i if length <= 4 else struct.unpack_from(order + "I", data, at + 10 + 12 * i)[0]
        tags[tag] = (kind, number, data[place:place + length])
    return tags, struct.unpack_from(order + "I", data, at + 2 + 12 * count)[0]


def _numbers(entry, order):
    kind, count, raw = entry
    return struct.unpack(f"{order}{count}{ {1: 'B', 3: 'H', 4: 'I'}[kind]}", raw)


def _blocks(data, tags, order, jpeg, path):
    """Strips or tiles of a directory, each cut to what was promised."""
    where = next((t for t in BLOCKS if t in tags), None)
    compression = _numbers(tags[259], order)[0] if 259 in tags else 1
    if where is None or compression == OLD_JPEG:
        raise BadImage(path, "a TIFF of an old kind (JPEG in a header, or no strips): save it as PNG")
    starts = _numbers(tags[where], order)
    if BLOCKS[where] in tags:
        lengths = _numbers(tags[BLOCKS[where]], order)
    elif len(starts) == 1:
        lengths = [len(data) - starts[0]]
    else:
        raise BadImage(path, "a TIFF without the lengths of its strips: save it again")
    found = [data[s:s + n] for s, n in zip(starts, lengths, strict=True)]
    if compression == 7:
        tags |= {347: (7, len(t := jpeg(tags[347][2])), t)} if 347 in tags else {}
        found = [jpeg(b) for b in found]
    return where, found


def _write(out, tags, blocks, order):
    """Append a directory and its blocks; returns where the place of the next directory has to be written."""
    where, found = blocks
    kept = {t: v for t, v in tags.items() if t in NEEDED and (v[0] not in (2, 7) or t == 347)}
    start = len(out)
    size = 2 + 12 * (len(kept) + 2) + 4
    at = start + size
    sizes = [len(b) for b in found]
    count = len(found)
    lists = 4 * count if count > 1 else 0
    long = [t for t, v in sorted(kept.items()) if len(v[2]) > 4]
    places = {}
    for tag in long:
        places[tag] = at
        at += len(kept[tag][2]) + len(kept[tag][2]) % 2
    spots = (at, at + lists)
    at += 2 * lists
    starts = []
    for n in sizes:
        starts.append(at)
        at += n + n % 2
    for tag, values, spot in ((where, starts, spots[0]), (BLOCKS[where], sizes, spots[1])):
        kept[tag] = (4, count, struct.pack(f"{order}{count}I", *values))
        places[tag] = spot
    out += struct.pack(order + "H", len(kept))
    for tag, (kind, number, raw) in sorted(kept.items()):
        out += struct.pack(order + "HHI", tag, kind, number)
        out += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(order + "I", places[tag])
    link = len(out)
    out += bytes(4)
    extra = [kept[t][2] for t in long] + ([kept[where][2], kept[BLOCKS[where]][2]] if lists else []) + found
    for block in extra:
        out += block + bytes(len(block) % 2)
    return link
