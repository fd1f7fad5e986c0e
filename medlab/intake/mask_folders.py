"""Import of images and masks in folders side by side, such as image/ and label/, or imagesTr/ and labelsTr/.

The folders are known by their names or named by ``--mask`` and ``--valid``; below them a mask belongs to an image by
its name. What could belong to two images belongs to none: the import stops and says so.
"""

import re
from collections import defaultdict

from medlab.intake import drafts, image_files

IMAGES = ("image", "images", "img", "imgs", "imagestr", "imagests", "original", "originals")
MASKS = ("mask", "masks", "label", "labels", "labelstr", "labelsts", "1st_manual", "manual", "gt", "groundtruth",
         "ground_truth", "segmentation", "segmentations", "seg", "annotation", "annotations")
VALID = ("fov", "field_of_view", "fov_mask", "fov_masks")
WORDS = r"([-_. ]?(image|img|mask|label|seg|segmentation|gt|groundtruth|ground_truth|manual\d?|annotation|fov|0000))+$"
SUFFIXES = (*(p for p in drafts.PICTURES if p != ".dcm"), *drafts.NIFTI, ".gif")
RULES = (  # how names are compared, and whether each must then have its partner
    ("equal names", lambda stem: stem, False),
    ("names that are equal but for words such as mask", lambda stem: re.sub(WORDS, "", stem), False),
    ("all numbers in the names", lambda stem: tuple(map(int, re.findall(r"\d+", stem))) or None, True),
    ("the first number in the names", lambda stem: tuple(map(int, re.findall(r"\d+", stem)[:1])) or None, True),
    ("being the only ones", lambda stem: "", True),
)


def roles(files, mask=None, valid=None) -> dict:
    """Folder names of the source by role: {"image": {...}, "mask": {...}, "valid": {...}}, as they are spelt.

    Parameters
    ----------
    files : list of str
        Relative paths.
    mask, valid : str, optional
        Folders named by the options; they are then not looked for.
    """
    names = {p for f in files for p in f.split("/")[:-1]}
    said = [{str(o)} if o else None for o in (mask, valid)]
    found = {"mask": said[0] or {n for n in names if n.lower() in MASKS} - (said[1] or set()),
             "valid": said[1] or {n for n in names if n.lower() in VALID}}
    return found | {"image": {n for n in names if n.lower() in IMAGES} - found["mask"] - found["valid"]}


def looks_like(files) -> bool:
    """Whether folders of images and of masks lie side by side."""
    found, above = roles(files), defaultdict(set)
    for file in (f for f in files if f.lower().endswith(SUFFIXES)):
        *folders, _ = file.split("/")
        for i, part in enumerate(folders):
            above[tuple(folders[:i])] |= {r for r in ("image", "mask") if part in found[r]}
    return any(len(r) == 2 for r in above.values())


def masks(draft, source) -> None:
    """Images with masks side by side in folders; ``mask`` and ``valid`` name the folders where names do not tell."""
    files, o = drafts.listing(draft.source), draft.options
    there = {p for f in files for p in f.split("/")[:-1]}
    for option in ("mask", "valid"):
        if o.get(option) and str(o[option]) not in there:
            raise ValueError(f"--{option} {o[option]}: no folder of this name; found {', '.join(sorted(there))}; "
                             "a template like 'masks/{stem}.png' goes with --kind folders or nifti")
    found = roles(files, o.get("mask"), o.get("valid"))
    for role, names in found.items():
        if len({n.lower()[:-2] if n.lower().endswith(("tr", "ts")) else n.lower() for n in names}) > 1:
            option = {"image": "--mask and --valid", "mask": "--mask", "valid": "--valid"}[role]
            raise ValueError(f"{draft.source.name}: folders {', '.join(sorted(names))} could all hold the {role}s; say "
                             f"which with {option} FOLDER (--valid for a field of view)")
    if not found["image"] or not found["mask"]:
        raise ValueError(f"{draft.source.name}: folders {', '.join(sorted(there)) or 'none'}; expected one of images "
                         "(image, images, imagesTr) and one of masks (--mask FOLDER)")
    parts = _parts(draft, files, found)
    rows = [{"source": f, **_split(f)} for f in parts["image"]]
    if not any(r.get("split") for r in rows):
        rows = [{"source": r["source"]} for r in rows]
    for role, key in (("mask", "mask_source"), ("valid", "valid_source")):
        if parts[role]:
            _pair(draft, rows, parts, role, key)
    image_files.named_files(draft, rows, files, "masks")


def _parts(draft, files, found):
    """Files by role, {file: (place without the name of the folder, stem)}; others are refused by name."""
    parts = {role: {} for role in found}
    known = ", ".join(sorted(set().union(*found.values())))
    for file in files:
        *folders, name = file.split("/")
        at, role = next(((i, r) for i, p in enumerate(folders) for r in found if p in found[r]), (None, None))
        if role is None or not name.lower().endswith(SUFFIXES):
            draft.say(file, "refused", f"in none of the folders {known}" if role is None else
                      "not an image file by its suffix")
            continue
        tail = re.search("(tr|ts)$", folders[at].lower()) if folders[at].lower()[:-2] in ("images", "labels") else None
        place = (*folders[:at], tail[0] if tail else "", *folders[at + 1:])
        parts[role][file] = (place, re.sub(r"(\.nii)?\.[^.]+$", "", name).lower())
    return parts


def _split(file):
    names = [re.sub("^(images|labels)(?=t[rs]$)", "", p.lower()) for p in file.split("/")[:-1]]
    found = {drafts.SPLIT_NAMES[n] for n in names if n in drafts.SPLIT_NAMES}
    if len(found) > 1:
        raise ValueError(f"{file}: its path names several splits ({', '.join(sorted(found))})")
    return {"split": found.pop() if found else None}


def match(images: dict, others: dict) -> tuple[dict[str, str], str]:
    """Partner of each image among others, by the first rule of `RULES` that pairs most.

    Parameters
    ----------
    images, others : dict
        {file: (place, stem)}.

    Returns
    -------
    ({image: other}, name of the rule) or ({}, reason why not)
    """
    best, ambiguous = ({}, "no names fit"), None
    for name, key, complete in RULES:
        sides, twice = [], None
        for files in (images, others):
            keys = defaultdict(list)
            for file, (place, stem) in files.items():
                if key(stem) is not None:
                    keys[(place, key(stem))].append(file)
            sides.append(keys)
        shared = sides[0].keys() & sides[1].keys()
        twice = next((s[k] for k in sorted(shared, key=str) for s in sides if len(s[k]) > 1), None)
        if twice:
            ambiguous = ambiguous or f"by {name}, {twice[0]} and {twice[1]} are the same"
        elif len(shared) > len(best[0]) and (not complete or len(shared) == len(images) == len(others)):
            best = ({sides[0][k][0]: sides[1][k][0] for k in shared}, name)
    return best if best[0] else ({}, ambiguous or best[1])


def _pair(draft, rows, parts, role, key):
    pairs, rule = match(parts["image"], parts[role])
    name = {"mask": "mask", "valid": "field of view"}[role]
    if not pairs:
        raise ValueError(f"{draft.source.name}: which {name} belongs to which image? {rule} (images such as "
                         f"{next(iter(parts['image']))}, {name}s such as {next(iter(parts[role]))}); rename the "
                         "files, or give a template with --kind folders --mask 'masks/{stem}_mask.png'")
    for row in rows:
        if row["source"] in pairs:
            row[key] = pairs[row["source"]]
        else:
            draft.say(row["source"], "unmatched", f"no {name} of its name; image taken without")
    for file in sorted(parts[role].keys() - set(pairs.values())):
        draft.say(file, "unmatched", f"a {name} without an image of its name")
    if rule != "equal names":
        draft.notes.append(f"{'masks' if role == 'mask' else 'fields of view'} belong to images by {rule}")
