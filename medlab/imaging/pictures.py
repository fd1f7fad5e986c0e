"""PNG, JPEG, TIFF, BMP and GIF: upright, black as the lowest value, several pages of one size as a volume."""

import re
import struct
import zlib
from dataclasses import replace

import numpy as np

from medlab.imaging import laying, modality_lut
from medlab.imaging.dicom import BadImage, Image, guard

MAX_PICTURE = 10**8  # pixels of one PNG, JPEG, TIFF or BMP
MAGIC = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
}
UPRIGHT = "turned upright as the EXIF orientation says"
UNITS = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3,
         "microns": 1e-3, "nm": 1e-6}  # in mm; a resolution in dots per inch says nothing about a patient


def read(file, path, kind, frame=None) -> Image:
    """Read a picture, turned as its EXIF orientation says; several pages become (d, h, w, c).

    Parameters
    ----------
    file : Path
    path : what is named in messages
    kind : a value of `MAGIC`
    frame : int, optional
        One page; the small pictures that a TIFF carries beside its own do not count.

    Raises
    ------
    BadImage
        Damaged, too large, pages that do not fit together.
    """
    with guard(path, f"{kind} cannot be decoded"):
        if kind == "PNG":
            _check_png(file, path)
        with open(file, "rb") as stream, _opened(stream, path, kind) as picture:
            pages = _pages(picture, kind)
            count = len(pages) if frame is None else 1
            if picture.width * picture.height * count > MAX_PICTURE:
                raise BadImage(path, f"{count} x {picture.height} x {picture.width} pixels: more than {MAX_PICTURE}")
            if frame is not None and not 0 <= frame < len(pages):
                raise BadImage(path, f"frame {frame} of {len(pages)}: expected 0 to {len(pages) - 1}")
            spacing, found = _spacing(picture), []
            for page in pages if frame is None else [pages[frame]]:
                if page != picture.tell():
                    picture.seek(page)
                found.append(_page(picture, file, path, len(pages) == 1))
    if len(found) == 1:
        return Image(found[0].pixels, spacing and spacing[1:], notes=found[0].notes, turn=found[0].turn)
    image = _stack(found, spacing, path)
    return replace(image, notes=(*image.notes, "pictures of an animation read as slices")) if kind == "GIF" else image


def _opened(stream, path, kind):
    """A Pillow image; of a stream, because a TIFF on its side that is opened by name is mapped and then scrambled."""
    from PIL import Image as pil

    try:
        return pil.open(stream, formats=[kind])
    except pil.UnidentifiedImageError:
        raise BadImage(path, f"{kind} cannot be decoded: damaged, or of a kind (bits, numbers, compression) that is "
                             "not known; save it as PNG or as a plain TIFF") from None


def _pages(picture, kind):
    """Numbers of the pages that are no reduced copies of another (TIFF tag 254, bit 0)."""
    pages = list(range(getattr(picture, "n_frames", 1) if kind in ("TIFF", "GIF") else 1))
    if kind != "TIFF" or len(pages) == 1:
        return pages
    reduced = []
    for page in pages:
        picture.seek(page)
        reduced += [page] if picture.tag_v2.get(254, 0) & 1 else []
    picture.seek(0)
    return [p for p in pages if p not in reduced] or pages


def _stack(found, spacing, path):
    """Pages as a volume; grey ones among colours become colours."""
    channels = max(i.pixels.shape[-1] for i in found)
    arrays = [np.broadcast_to(i.pixels, (*i.pixels.shape[:-1], channels)) if i.pixels.shape[-1] == 1 else i.pixels
              for i in found]
    if len({(a.shape, a.dtype) for a in arrays}) > 1:
        raise BadImage(path, f"{len(found)} pages of different size or depth: save them one by one")
    if found[0].turn:
        raise BadImage(path, f"{len(found)} pages with an EXIF orientation: save them upright")
    return Image(np.stack(arrays), spacing if spacing and spacing[0] else None, notes=found[0].notes)


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


def _page(picture, file, path, alone):
    """The current page of a Pillow image, upright."""
    tiff, shallow = picture.format == "TIFF", picture.mode in ("L", "1")
    deep = not shallow and _deep_colour(picture)  # asked before anything loads the picture
    veiled = deep and any(str(tile[3]).startswith("LA") for tile in picture.tile)
    turn = laying.EXIF.get(picture.getexif().get(0x0112))
    if deep and (not alone or (tiff and turn)):
        raise BadImage(path, f"{'turned ' * bool(turn)}pages of 16-bit colour are not supported: save them one by one, "
                             "upright")
    if veiled:
        raise BadImage(path, "grey of 16 bits with transparency is not supported: save it without transparency")
    bits = picture.tag_v2.get(258, (16,))[0] if tiff and not shallow and picture.tag_v2.get(262) == 0 else None
    pixels, notes = _sixteen_bit_colour(file) if deep else _plain(picture)
    if bits and not deep:  # Pillow swaps black and white only in pictures of up to 8 bits
        pixels, notes = modality_lut.inverted(pixels, bits), [*notes, "white is zero: inverted"]
    if turn:
        pixels = pixels if tiff else laying.turned(pixels, turn)  # Pillow turns a TIFF itself
        pixels, notes = np.ascontiguousarray(pixels), [*notes, UPRIGHT]
    return Image(pixels, notes=tuple(notes), turn=turn)


def _plain(picture):
    """(h, w, c) of a Pillow image, but for colours of 16 bits, and notes."""
    picture.load()
    gamma = picture.info.get("gamma", 1 / 2.2) if picture.format == "PNG" else 1 / 2.2
    mode, notes = picture.mode, ["gamma of the PNG not applied"] if abs(gamma - 1 / 2.2) > 0.01 else []
    if mode in ("P", "PA"):
        picture = picture.convert("RGB")
        levels = np.asarray(picture)
        grey = (levels[..., :1] == levels).all()
        return (levels[..., :1] if grey else levels), [*notes, "palette to grey" if grey else "palette to RGB"]
    if mode in ("RGBA", "LA", "La", "RGBa"):
        notes += ["transparency left out"] if picture.getchannel("A").getextrema()[0] < 255 else []
        picture = picture.convert("RGB" if mode.startswith("RGB") else "L")
    elif mode not in ("L", "RGB", "I", "F") and not mode.startswith("I;16"):
        notes += [] if mode == "1" else [f"{mode} to RGB"]
        picture = picture.convert("L" if mode == "1" else "RGB")
    pixels = np.asarray(picture)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if mode == "I" and picture.format == "TIFF" and picture.tag_v2.get(339, (1,))[0] == 1:
        pixels = pixels.view(np.uint32)  # which Pillow has not
    return (pixels[..., None] if pixels.ndim == 2 else pixels), notes


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
    colours = 3 if pixels.shape[-1] > 2 else 1
    alpha = pixels[..., colours:]
    hidden = alpha.size and alpha.min() < np.iinfo(pixels.dtype).max
    return pixels[..., :colours], ["transparency left out"] if hidden else []


def _spacing(picture):
    """(d, h, w) in mm where ImageJ or OME wrote a unit of length into a TIFF, else None; d may be None."""
    text = str(picture.tag_v2.get(270, "")) if picture.format == "TIFF" else ""
    if text.startswith("ImageJ="):
        said = dict(re.findall(r"^(\w+)=(.+)$", text.replace("\\u00B5", "µ"), re.M))
        across = [float(picture.tag_v2.get(tag, 0)) for tag in (283, 282)]  # pixels per unit
        sizes, units = [1 / v if v > 0 else None for v in across], [said.get("unit", "").strip()] * 3
        sizes = [float(said["spacing"]) if "spacing" in said else None, *sizes]
    else:
        said = dict(re.findall(r'\b(PhysicalSize[XYZ](?:Unit)?)="([^"]*)"', text))
        sizes = [float(said[f"PhysicalSize{a}"]) if f"PhysicalSize{a}" in said else None for a in "ZYX"]
        units = [said.get(f"PhysicalSize{a}Unit", "µm") for a in "ZYX"]
    if None in sizes[1:] or not {*units} <= {*UNITS}:
        return None
    turn = laying.EXIF.get(picture.getexif().get(0x0112), (1, 2))
    depth, *across = [s and abs(s) * UNITS[u] for s, u in zip(sizes, units, strict=True)]
    return (depth, *(across[abs(t) - 1] for t in turn)) if all(across) else None
