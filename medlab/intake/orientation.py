"""How masks and boxes lie on images that were turned while reading, or that do not say how they lie.

A volume is turned to superior, posterior, left, a photograph upright. What was drawn on it may have been drawn before
or after; where the files do not tell, ``--orientation`` does, and without it the import stops.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from medlab import storage
from medlab.imaging import laying, nifti
from medlab.imaging.dicom import BadImage
from medlab.intake import label_maps


def option(options: dict) -> str | None:
    """The option ``--orientation``; ValueError for an unknown word."""
    said = options.get("orientation")
    if said is not None and said not in laying.READINGS:
        known = ", ".join(f"{name} ({what})" for name, what in laying.READINGS.items())
        raise ValueError(f"--orientation {said}: expected {known}")
    return said


def image_read(row: dict, image, options: dict) -> None:
    """Note how an image of a candidate row was read: its size, and how what was drawn on it is to be turned.

    The row gets ``_shape``, ``_notes``, ``_state`` (whether a volume says how it lies; None for others) and, where its
    boxes were drawn on the stored picture, ``_turn``.

    Raises
    ------
    BadImage
        Annotated for another size.
    ValueError
        It has boxes, was turned, and nobody says on which picture they were drawn.
    """
    shape, said, expected = image.pixels.shape[:-1], option(options), row.get("_expected")
    volume = image.turn is not None and len(image.turn) == 3
    stored = laying.as_stored(image).shape[:-1][:: -1 if volume else 1]  # a volume is stored i, j, k
    row |= {"_shape": shape, "_notes": image.notes, "_state": image.affine is not None if volume else None}
    if expected not in (None, shape, stored):
        raise BadImage(row["source"], f"annotated for {_times(expected)} pixels, but it has {_times(shape)}")
    as_it_is = image.turn in (None, (3, 2, 1)) or (said is None and expected == shape != stored)
    if not row.get("_boxed") or as_it_is:
        return
    if volume and said != "shown":
        raise ValueError(f"{row['source']}: boxes of a volume whose axes were turned while reading; expected them on "
                         "the volume as it is shown (--orientation shown), or axes to left, posterior, superior")
    if said not in ("stored", "shown"):
        raise ValueError(f"{row['source']}: its EXIF orientation turns it, {_times(stored)} pixels as stored, "
                         f"{_times(shape)} as shown, and its boxes may be of either picture; say --orientation shown "
                         "(drawn in a viewer that turns it) or stored")
    if said == "stored":
        row["_turn"] = image.turn


def mask_read(row: dict, column: str, mask, image, options: dict, anew: bool) -> None:
    """Check that a mask lies on its image; the row gets ``_again``, the columns whose files are to be written anew.

    Parameters
    ----------
    anew : bool
        It will be written anew for another reason, and laid on its image then.

    Raises
    ------
    BadImage
        It lies elsewhere, or has another size.
    ValueError
        It may lie in several ways.
    """
    key = row[f"{'valid' if column == 'valid_mask' else column}_source"]
    try:
        found = laying.laid(mask, image, option(options))
    except laying.Ambiguous as error:
        raise ValueError(f"{key}: {error}") from None
    if found is not mask and not anew and row.get("frame") is None:
        row["_again"] = [*row.get("_again", []), column]
    elif found is not mask and not anew:
        raise ValueError(f"{key}: one of many images in a file, turned while reading; save the images one by one")
    if column == "mask" and (found.pixels > 0).any():
        row["_dark"] = _dark(found.pixels, image.pixels)


def _dark(mask, pixels):
    """Whether a mask marks hardly anything above the lowest grey levels of its image."""
    low, high = np.percentile(pixels.ravel()[:: 1 + pixels.size // 100_000], (0, 99))
    return bool(pixels[(mask > 0).any(axis=-1)].mean(dtype=float) - low < 0.02 * (high - low))


def written(draft, row: dict, source: str, found: dict) -> dict:
    """Files of a row that are written anew: masks that were turned, values outside of their header.

    Parameters
    ----------
    source, found : the image, and its masks by column, as paths below the source

    Returns
    -------
    {column: path below the dataset folder}, and ``spacing_mm`` of an image whose new file cannot say it
    """
    from medlab.imaging import formats, itk

    again, names = row.pop("_again", []), {}
    images = {} if "_channels" in row else {"image": source}
    for column, path in {**images, **{c: f for c, f in found.items() if f}}.items():
        detached = path.lower().endswith((".mhd", ".nhdr")) and itk.data_files(draft.source / path)
        if column not in again and not detached:
            continue
        image = formats.read(source, row.get("frame"), draft.source)
        if column != "image":
            mask, _ = label_maps.read(path, draft.source, row.get("frame"))
            image = laying.laid(mask, image, option(draft.options))
        stem = str(Path(row[column].partition("::")[0]).with_suffix("")).removesuffix(".nii")
        cells = write(draft, image, f"{stem}_numbers" if column in again else stem)
        names |= {column: cells.pop("image")} | (cells if column == "image" else {})
    return names


def write(draft, image, name) -> dict:
    """Write an image or a mask below the dataset folder, small label maps as PNG; cells as of `nifti.write`."""
    pixels = image.pixels
    while any((draft.folder / f"{name}{suffix}").exists() for suffix in (".png", ".nii.gz", ".npy")):
        name += "_"  # never into a file that may be linked to the source
    (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
    if image.affine is None and pixels.ndim == 3 and pixels.shape[-1] == 1 and pixels.dtype.name in ("uint8", "bool"):
        cells = {"image": f"{name}.png"}
        label_maps.save(pixels[..., 0], draft.folder / cells["image"])
    else:
        cells = nifti.write(image, draft.folder, name)
    draft.sha256[cells["image"]] = storage.digest(draft.folder / cells["image"])
    return cells


def canvas(row: dict) -> tuple:
    """(h, w) of the picture on which the boxes and outlines of a row were drawn: as stored, or as shown."""
    shape = row["_shape"][-2:]
    return tuple(shape[abs(t) - 1] for t in _back(row["_turn"])) if turns(row) else tuple(shape)


def turns(row: dict) -> bool:
    """Whether what was drawn on the picture of a row is to be turned as the picture was."""
    return isinstance(row.get("_turn"), tuple)


def _back(turn):
    """Axes of the turned picture behind those of the stored one."""
    return [1 + [abs(t) for t in turn].index(axis) for axis in (1, 2)]


def box_turned(row: dict, edges) -> list:
    """Edges [x_min, y_min, x_max, y_max] on the picture as it is shown."""
    return laying.turned_box(edges, row["_turn"], canvas(row)) if turns(row) else list(edges)


def mask_turned(row: dict, mask) -> np.ndarray:
    """An outline (h, w) on the picture as it is shown."""
    return laying.turned(mask[..., None], row["_turn"])[..., 0] if turns(row) else mask


def tell(draft, rows: list) -> None:
    """Lines of "this is how I read it" on orientation and on pixels that were changed; what is mixed is a question."""
    states = Counter(row.get("_state") for row in rows)
    said = option(draft.options)
    if states[False]:
        what = f"{states[False]} of {states[True] + states[False]} volumes do not say how they lie: axes as stored"
        draft.understand("orientation", what)
        if states[True] and not said:
            draft.ask(f"{what}, beside others that were turned to left, posterior, superior", "--orientation stored")
    elif states[True]:
        draft.understand("orientation", f"stated by all {states[True]} volumes; axes turned to left, posterior, head")
    notes = Counter(note for row in rows for note in row.get("_notes", ()) if note != nifti.UNSTATED)
    for note, count in notes.most_common(8):
        draft.understand("pixels", f"{note} ({count} of {len(rows)} images)")
    if said:
        draft.understand("masks and boxes", f"--orientation {said}: they lie {laying.READINGS[said]}")
    dark = sum(row.pop("_dark", False) for row in rows)
    if dark:
        draft.notes.append(f"{dark} masks mark only the darkest 2 % of the grey levels (air, border): do they lie "
                           "where they should?")


def _times(shape):
    return " x ".join(map(str, shape))
