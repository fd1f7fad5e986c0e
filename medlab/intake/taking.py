"""The files of a source: each is read once, checked, and put into the dataset without its header."""

import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from tqdm import tqdm

from medlab import storage
from medlab.imaging import laying, nifti
from medlab.intake import bare, drafts, label_maps, orientation, stacks


def take(draft: drafts.Draft, rows: list) -> pd.DataFrame:
    """Place the images (and masks) of candidate rows and read each once; what cannot be read is refused.

    Parameters
    ----------
    rows : list of dict
        ``source`` (relative path, perhaps with ``::member``), optionally ``mask_source``, ``valid_source``,
        ``frame``, ``_expected`` (the size of the image its annotation says), ``_boxed`` (it has boxes), ``_channels``
        (its files, see `stacks.stack`), ``_instances`` (all masks of an image) and any column of the cohort. Mask and
        field of view must lie on the image.

    Returns
    -------
    DataFrame
        The cohort's columns, ``_shape`` (of the image without channels), ``_turn`` (`orientation`).
    """
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        problems = list(tqdm(pool.map(lambda row: _read(draft, row), rows), total=len(rows), desc="importing",
                             unit="image"))
    taken, seen, numbers, hows = [], {}, {}, Counter()
    for text in (row[c] for row in rows for c in ("source", *drafts.OTHERS.values()) if row.get(c)):
        draft.members[text.partition("::")[0]].add(text.partition("::")[2])
    for row, problem in zip(rows, problems, strict=True):
        source, found = row.pop("source"), {c: row.pop(f, None) for c, f in drafts.OTHERS.items()}
        if problem:
            draft.say(source, "refused", problem)
            continue
        made, how, instances = row.pop("_made", None), row.pop("_how", ""), row.pop("_instances", None)
        row["image"] = _moved(draft, made, row) if made else _placed(draft, source, "images", numbers)
        row |= {c: _placed(draft, f, "masks" if c == "mask" else c, numbers) for c, f in found.items() if f}
        row |= _spacing(draft, row)
        if how:
            row["mask"] = _mask_anew(draft, instances or found["mask"], row, source)
            hows[how] += 1
        row |= orientation.written(draft, row, source, found)
        mark = (draft.sha256[row["image"].split("::")[0]], source.partition("::")[2], row.get("frame"))
        twin = seen.setdefault(mark, source)
        draft.say(source, *(("taken", _odd(row)) if twin == source or row.get("frame") else
                            ("duplicate", f"same content as {twin}; kept")))
        taken.append(row)
    if not taken:
        raise ValueError(f"no image could be taken from {draft.source.name}: {_why_none(draft)}")
    for how, n in hows.items():
        draft.understand("masks", f"{n} of {sum('mask' in r for r in taken)}: {how}")
    orientation.tell(draft, taken)
    mask_classes(draft, [row.pop("_values") for row in taken if "_values" in row])
    return pd.DataFrame(taken)


def _image_of(draft, row, source):
    """The image of a candidate row: a file, or several that are its channels."""
    from medlab.imaging import formats

    return (stacks.stack(draft.source, row["_channels"]) if "_channels" in row else
            formats.read(source, row.get("frame"), draft.source))


def _why_none(draft):
    """The most frequent reasons why nothing was taken, and the options that may help."""
    reasons = Counter(e["reason"] for e in draft.log if e["status"] == "refused").most_common(3)
    if any("give frame" in reason for reason, _ in reasons):
        advice = "--frame N takes one volume of each, --channels NAME,NAME all as channels, --kind bold functional runs"
    elif reasons and all(reason.startswith("its mask") for reason, _ in reasons):
        advice = "save the masks on the grid of their images, or leave their folder out"
    else:
        advice = "say the kind with --kind"
    return "; ".join(f"{reason} ({n} file{'s' * (n > 1)})" for reason, n in reasons) + f"; {advice}"


def _spacing(draft, row):
    """The cell ``spacing_mm`` of an image whose file says it no more."""
    facts = draft.facts.get(row["image"].partition("::")[0])
    return {"spacing_mm": facts.spacing_mm} if facts and facts.spacing_mm and "spacing_mm" not in row else {}


def _read(draft, row):
    """What is wrong with the files of a row, or None; its shape and the values of its mask go into the row."""
    from medlab.imaging import dicom

    what = ""
    try:
        image = _image_of(draft, row, row["source"])
        row |= {"_two": label_maps.two_valued(image.pixels), "_few": label_maps.few_numbers(image.pixels)}
        orientation.image_read(row, image, draft.options)
        for column, key in drafts.OTHERS.items():
            if row.get(key):
                what = f"its {column.replace('_', ' ')}: "
                strict = column == "mask" and ("mask_classes" in draft.options or "mask_classes" in draft.card)
                files = row.get("_instances") or row[key] if column == "mask" else row[key]
                mask, how = label_maps.read(files, draft.source, row.get("frame"), strict)
                orientation.mask_read(row, column, mask, image, draft.options, column == "mask" and bool(how))
                if column == "mask":
                    row |= {"_values": np.unique(mask.pixels)[:1000], "_how": how}
                    if files != row[key]:
                        row["_boxes"] = label_maps.boxes(files, draft.source, row.get("frame"))
        row |= {"_made": stacks.write(draft.folder, image, row["_case"])} if "_channels" in row else {}
    except dicom.BadImage as error:
        return what + error.reason.replace(str(draft.source), "")
    return None


def _odd(row):
    """What is worth saying in the log about the mask of an image that is taken."""
    values = row.get("_values", (0, 1))
    return "its mask marks nothing" if not np.any(values) else "its mask marks every pixel" if np.all(values) else ""


def _moved(draft, made, row):
    """Name of an image that the import has written itself (`finish` gives another where it may name a person)."""
    name = made.pop("image")
    row |= made
    draft.names[row["_case"]] = name
    draft.sha256[name] = storage.digest(draft.folder / name)
    return name


def _placed(draft, source, folder, numbers):
    """Name below the dataset: the source's own (`finish` gives another where it may name a person)."""
    relative, separator, member = source.partition("::")
    if separator and relative in draft.names:  # image and mask in one npz
        return draft.names[relative] + separator + member
    head, _, tail = relative.partition("/")
    name = f"{folder}/{tail if tail and head.lower() in (folder, folder[:-1]) else relative}"
    if numbers.setdefault(name, relative) != relative:  # image/1.png and images/1.png
        name = f"{folder}/{relative}"
    return place(draft, relative, name, draft.members[relative] if separator else None) + separator + member


def place(draft: drafts.Draft, relative: str, name: str, members=None) -> str:
    """Put a source file to ``name`` below the dataset folder, without anything but pixels (`bare.place`).

    Returns the name; its suffix is another where the format had to change. Its hash goes to the card.
    """
    known = draft.placed.get(name)
    if known is None:
        target = draft.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        found, facts = bare.place((draft.source / relative).resolve(), target, members, _link)
        known = draft.placed[name] = found.relative_to(draft.folder).as_posix()
        draft.facts[known] = facts
        draft.sha256[known] = storage.digest(found)
    draft.names.setdefault(relative, known)
    return known


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system, or not ours to link
        shutil.copyfile(source, target)


def _mask_anew(draft, files, row, source):
    """Write a mask whose numbers do not stand in its file as they are: a picture as PNG, a volume as NIfTI."""
    mask, _ = label_maps.read(files, draft.source, row.get("frame"))
    mask = laying.laid(mask, _image_of(draft, row, source), orientation.option(draft.options))
    stem = re.sub(r"(\.nii)?\.[^./]+$", "", row["mask"].partition("::")[0])
    stem += "_numbers" + (f"_{row['frame']}" if row.get("frame") is not None else "")
    if mask.pixels.ndim == 3 and mask.pixels.max() < 256:
        return write_labels(draft, mask.pixels[..., 0], f"{stem}.png")
    (draft.folder / stem).parent.mkdir(parents=True, exist_ok=True)
    name = nifti.write(mask, draft.folder, stem)["image"]
    draft.sha256[name] = storage.digest(draft.folder / name)
    return name


def mask_classes(draft, values) -> None:
    """The card's names of the numbers in the masks, checked against ``values``, the numbers of each mask."""
    counts = Counter(v.item() for found in values for v in found)
    said = draft.options.get("mask_classes")
    if said:
        draft.card["mask_classes"] = drafts.whole_numbers("mask-classes", said)
    full, empty = (sum(bool(test(found)) for found in values) for test in (np.all, lambda found: not np.any(found)))
    if full and full == len(values) and not draft.card.get("mask_classes"):
        raise ValueError(f"each of {full} masks marks every pixel: the numbers are {sorted(counts)[:8]} and none is 0; "
                         "say which number is what with --mask-classes NAME:VALUE,...")
    if full or empty:
        draft.notes.append(f"{empty} masks mark nothing, {full} mark every pixel: see import_log.csv")
    if counts:
        draft.notes += label_maps.named(counts, draft.card.get("mask_classes"))


def write_labels(draft, labels, name) -> str:
    """Write a label map as PNG below the dataset folder; its hash goes to the card."""
    label_maps.save(labels, draft.folder / name)
    draft.sha256[name] = storage.digest(draft.folder / name)
    return name
