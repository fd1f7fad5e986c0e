"""Masks from RT structure sets and DICOM segmentations that lie in a tree beside their series.

Names of structures are free text: only those made of words of `descriptions.ANATOMY` are shown or written.
"""

import re
from collections import Counter, defaultdict
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from medlab import storage
from medlab.imaging import nifti
from medlab.intake import contours, descriptions, drafts, segments, studies

ROOMS = {"RTSTRUCT": contours, "SEG": segments}


def shown(name: str, number: int) -> str:
    """Name of a structure if all its words are anatomical or usual for targets; else its number, as ``#3``.

    Examples
    --------
    >>> shown("GTV_lung left", 2), shown("GTV Miller", 3)
    ('GTV_lung left', '#3')
    """
    return name.strip() if descriptions.made_of(name, descriptions.ANATOMY) else f"#{number}"


def wanted(roi) -> list | None:
    """The option ``--roi PATTERN:CLASS,...`` as pairs; the class is needed where the pattern is no known name."""
    if roi is None:
        return None
    pairs = []
    for text in [f"{k}:{v}" for k, v in roi.items()] if isinstance(roi, dict) else drafts.words(roi):
        pattern, _, name = str(text).partition(":")
        pattern, name = pattern.strip(), name.strip() or shown(re.sub(r"[*?]+", "", pattern), 0)
        if not pattern or name.startswith("#"):
            raise ValueError(f"--roi {roi!r}: say the class it becomes, as in '{pattern or 'GTV*'}:tumour' (names of "
                             "structures may identify; the class goes into the card)")
        pairs.append((pattern, name))
    return pairs


def choose(names: dict, pairs) -> dict:
    """{class: [numbers]} of the structures; patterns with * and ?, ``#3`` is a number, capitals do not matter.

    Examples
    --------
    >>> choose({1: "GTV-1", 2: "GTV-2", 3: "Lung_L"}, [("gtv*", "tumour"), ("#3", "lung")])
    {'tumour': [1, 2], 'lung': [3]}
    """
    found = defaultdict(list)
    for pattern, name in pairs:
        found[name] += [n for n, text in names.items() if pattern == f"#{n}" or
                        fnmatchcase(text.strip().lower(), pattern.lower())]
    return {name: numbers for name, numbers in found.items() if numbers}


def attach(draft, cohort, found, roi=None, segmentation=None) -> None:
    """Draw what belongs to each image; fills the column ``mask`` and the card's ``mask_classes`` in place.

    A structure set or segmentation belongs to the series that it names; one that names none to the only series of the
    patient in its frame of reference. A single structure is the lesion. Of several segments each is a class, the higher
    number on top; of several structures of a structure set none is taken unless ``--roi`` says which, the later named
    on top.

    Parameters
    ----------
    found : list of dict
        Headers (`studies.headers`).
    roi : str, optional
        ``GTV-1:tumour,Lung*:lung``.
    segmentation : {"RTSTRUCT", "SEG"}, optional
    """
    pairs = wanted(roi)
    if pairs and not found:
        raise ValueError("--roi: no RTSTRUCT or SEG among the files")
    ready, draft_say = defaultdict(list), lambda item, reason, status="unmatched": studies.refuse(
        draft, item["file"], f"{item['modality']}: {reason}", status)
    for item in found:
        try:
            if draft.options.get("mask"):
                raise _Unused("--mask says where the masks are")
            if segmentation not in (None, item["modality"]):
                raise _Unused(f"--segmentation {segmentation}")
            item["row"] = _row(cohort, item, _load(draft, item))
            item["chosen"] = _chosen(item, pairs)
            ready[item["row"]].append(item)
        except _Unused as reason:
            draft_say(item, str(reason))
    if not pairs and any(len(items) > 1 or len(i["names"]) > 1 for items in ready.values() for i in items):
        for item in (i for items in ready.values() for i in items):  # beside named ones a single one has its name
            item["chosen"] = _named(item["names"])
    classes = _classes(ready, pairs)
    masks = {row: _drawn(draft, cohort.loc[row, "image"], items, classes, draft_say) for row, items in ready.items()}
    if any(masks.values()):
        cohort["mask"] = [masks.get(i) or cohort.get("mask", {}).get(i) for i in cohort.index]
        if classes != {"lesion": 1}:
            draft.card["mask_classes"] = classes
        _notes(draft, ready, masks, len(cohort))


class _Unused(Exception):
    """Why a structure set or segmentation gives no mask."""


def _load(draft, item):
    """Reads the object; returns the UIDs it refers to."""
    from medlab.imaging import dicom
    from medlab.imaging.dicom import dataset, guard

    try:
        with guard(item["file"], "not readable", quote=False):
            ds = dataset(draft.source / item["file"])
            item["names"] = ROOMS[item["modality"]].names(ds)
            return ROOMS[item["modality"]].references(ds)
    except dicom.BadImage as error:
        raise _Unused(error.reason) from None


def _row(cohort, item, references):
    """Index of the one row of the cohort that an object belongs to."""
    named, frame = references
    rows = cohort.index[cohort["_series"].isin(named - {"", "None"})]
    if not len(rows) and not named - {"", "None"} and frame:
        rows = cohort.index[(cohort["_frame_of_reference"] == frame) & (cohort["_patient"] == item["patient"])]
    if len(rows) == 1 and cohort.loc[rows[0], "_uneven"]:
        raise _Unused("the slices of its series are not evenly spaced (see the notes): their places are not certain")
    if len(rows) != 1:
        raise _Unused("its series is not among the images taken" if not len(rows) else
                      f"{len(rows)} images of the series it belongs to; expected one volume (--echo or --frame takes "
                      "one)")
    return rows[0]


def _chosen(item, pairs):
    """{class: numbers} of an object, by ``--roi`` or because there is no choice."""
    names = item["names"]
    texts = sorted(shown(t, n) for n, t in names.items())
    some = ", ".join(texts[:20]) + (f" and {len(texts) - 20} more" if len(texts) > 20 else "")
    if not names:
        raise _Unused("describes no structure")
    if pairs:
        found = choose(names, pairs)
        if not found:
            raise _Unused(f"no structure of --roi; it has {some}")
        return found
    if len(names) == 1:
        return {"lesion": list(names)}
    if item["modality"] == "RTSTRUCT":
        raise _Unused(f"{len(names)} structures; say which with --roi NAME:CLASS: {some}")
    return _named(names)


def _named(names):
    """{class: numbers} with the names themselves as classes."""
    found = defaultdict(list)
    for number, text in sorted(names.items()):
        found[shown(text, number).replace("#", "structure ")].append(number)
    return dict(found)


def _classes(ready, pairs):
    """{class: value in the mask files}, from 1 in the order of ``--roi`` or of the alphabet."""
    names = {c for items in ready.values() for item in items for c in item["chosen"]}
    order = dict.fromkeys(n for _, n in pairs) if pairs else sorted(names)
    classes = {n: i for i, n in enumerate((n for n in order if n in names), 1)}
    if len(classes) > 255:
        raise ValueError(f"{len(classes)} structures with different names; say which with --roi NAME:CLASS")
    return classes


def _drawn(draft, image, items, classes, say):
    """Label map of one image from the objects that belong to it; its path, or None where that cannot be."""
    from medlab.imaging import dicom, formats

    twice = [c for c, n in Counter(c for item in items for c in item["chosen"]).items() if n > 1]
    if twice:
        kinds = Counter(i["modality"] for i in items)
        for item in items:
            say(item, f"{' and '.join(f'{n} {k}' for k, n in kinds.items())} of this series show {twice[0]}; expected "
                      "one: --segmentation RTSTRUCT or SEG takes one kind, --roi one structure")
        return None
    grid = formats.read(image, root=draft.folder)
    flat = grid.pixels.ndim == 3
    shape = (1, *grid.pixels.shape[:2]) if flat else grid.pixels.shape[:3]
    labels, taken = np.zeros(shape, np.uint8), False
    for item in items:
        try:
            if grid.affine is None:
                raise dicom.BadImage(image, "its images have no position in space")
            parts = _parts(draft, item, grid.affine, shape)
        except dicom.BadImage as error:
            say(item, f"{error.reason}; image taken without it")
            continue
        for name, marked in parts:
            item["overlap"] = item.get("overlap", 0) + int(((labels > 0) & marked).sum())
            labels[marked], taken = classes[name], True
        say(item, "; ".join([f"mask of {image}", *item["notes"]]), "taken")
    if not taken:
        return None
    mask = replace(grid, pixels=(labels[0] if flat else labels)[..., None])
    name = "masks/" + image.split("/")[-1].split(".")[0]
    (draft.folder / "masks").mkdir(exist_ok=True)
    name = nifti.write(mask, draft.folder, name)["image"]
    draft.sha256[name] = storage.digest(draft.folder / name)
    return name


def _parts(draft, item, affine, shape):
    """(class, mask) of an object in the order in which they are drawn; notes go into the item."""
    from medlab.imaging.dicom import dataset, guard

    path, item["notes"] = item["file"], []
    with guard(path, "contours or pixel data cannot be decoded", quote=False):
        ds = dataset(draft.source / path)
        if item["modality"] == "SEG":
            found = segments.masks(ds, affine, shape, path)
            return [(c, np.any([found[n] for n in numbers], axis=0)) for c, numbers in item["chosen"].items()]
        drawn = []
        for name, numbers in item["chosen"].items():
            marked, notes = contours.mask(ds, numbers, affine, shape, path)
            item["notes"] += notes
            drawn.append((name, marked))
        return drawn


def _notes(draft, ready, masks, count):
    """What a reader of the card should know about the masks."""
    used = [i for row, items in ready.items() if masks[row] for i in items]
    words = Counter(f"{shown(i['names'][n], n)} as {c}" for i in used for c, ns in i["chosen"].items() for n in ns)
    kinds = Counter(i["modality"] for i in used)
    draft.notes.append(f"masks of {sum(map(bool, masks.values()))} of {count} images from "
                       f"{' and '.join(f'{n} {k}' for k, n in kinds.items())}: " +
                       ", ".join(f"{w} ({n})" for w, n in words.most_common(12)))
    said = Counter(re.sub(r"^\d+ ", "", n) for i in used for n in i["notes"] if "left out" in n or "united" in n)
    draft.notes += [f"structures of {n} image{'s' * (n > 1)}: {text} (the log says how many of which)" for text, n
                    in said.items()]
    overlap = sum(i.get("overlap", 0) for i in used)
    if overlap:
        draft.notes.append(f"structures overlap in {overlap} voxels: the later one lies on top")
