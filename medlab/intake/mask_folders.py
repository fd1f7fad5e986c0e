"""Import of images and masks in folders side by side, such as image/ and label/, or imagesTr/ and labelsTr/.

The folders are known by their names or named by ``--mask`` and ``--valid``; below them a mask belongs to an image by
its name. What could belong to two images belongs to none: the import stops and says so.
"""

import re
from collections import Counter, defaultdict

from medlab.intake import channels, decathlon, drafts, image_files, layouts, levels
from medlab.intake.layouts import IMAGES, MASKS, SUFFIXES, VALID

WORDS = r"([-_. ]?(image|img|mask|label|seg|segmentation|gt|groundtruth|ground_truth|manual\d?|annotation|fov|0000))+$"
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
    if o.get("mask") and not found["image"]:  # the only other folder with pictures
        known = found["mask"] | found["valid"]
        others = {f.split("/")[-2] for f in files if f.lower().endswith(SUFFIXES) and not known & set(f.split("/")[:-1])
                  and "/" in f}
        found["image"] = others if len(others) == 1 else set()
    for role, names in found.items():
        if len({n.lower()[:-2] if n.lower().endswith(("tr", "ts")) else n.lower() for n in names}) > 1:
            option = {"image": "--mask and --valid", "mask": "--mask", "valid": "--valid"}[role]
            raise ValueError(f"{draft.source.name}: folders {', '.join(sorted(names))} could all hold the {role}s; say "
                             f"which with {option} FOLDER (--valid for a field of view)")
    if not found["image"] or not found["mask"]:
        raise ValueError(f"{draft.source.name}: folders {', '.join(sorted(there)) or 'none'}; expected one of images "
                         "(image, images, imagesTr) and one of masks (--mask FOLDER)")
    said = decathlon.read(draft, files)
    pictures = layouts.without_drawings(draft, [f for f in files if f != f"{said.get('folder')}dataset.json"])
    parts = _parts(draft, pictures, found)
    decathlon.absent(draft, said, files)
    rows, places = _cases(draft, parts, channels.named(draft, said.get("channels")))
    for role, key in (("mask", "mask_source"), ("valid", "valid_source")):
        if parts[role]:
            _pair(draft, rows, places, _first_reader(draft, parts[role]), role, key)
    layouts.single_instances(rows)
    rows = _with_masks(draft, rows)
    for role, key in (("mask", "mask_source"), ("field of view", "valid_source")):
        for row in rows if any(key in r for r in rows) else ():
            if key not in row:
                draft.say(row["source"], "unmatched", f"no {role} of its name; image taken without")
    rows = levels.read(draft, rows, strict=False)
    image_files.named_files(draft, rows, files, "masks", **said.get("card", {}))


def _cases(draft, parts, names):
    """Rows of images, several channels of a case as one, and {file: (place, stem)} of them."""
    places, rows = dict(parts["image"]), [{"source": f} for f in parts["image"]]
    if channels.numbered([s for _, s in places.values()], [s for _, s in parts["mask"].values()]):
        rows = channels.together(draft, rows, channels.NUMBERED, names)
        places = {f: (place, re.sub(r"_\d{4}$", "", name)) for f, (place, name) in places.items()}
    return rows, {r["source"]: places[r["source"]] for r in rows}


def _first_reader(draft, masks):
    """Masks of the first of several readers, who are named in the files (``21_manual1``, ``21_manual2``)."""
    said = {f: found for f, (_, name) in masks.items() if (found := layouts.says(name)) and found[2]}
    groups = defaultdict(list)
    for file, (base, _, _) in said.items():
        groups[(masks[file][0], base)].append(file)
    kept = {f for group in groups.values() for f in layouts.of_readers(draft, group, {g: said[g][2] for g in group})}
    return {f: v for f, v in masks.items() if f not in said or f in kept}


def _with_masks(draft, rows):
    """Rows without a part of the source of which no image has a mask: such a test part can test nothing."""
    parts = levels.parts_of([r["source"] for r in rows])
    marked = {p for p, r in zip(parts, rows, strict=True) if r.get("mask_source")}
    bare = {p for p in set(parts) - marked if p}
    for part, row in zip(parts, rows, strict=True):
        if part in bare:
            draft.say(row["source"], "refused", f"no mask in the whole part {part}: it is no part to test on")
    if bare:
        draft.understand("without masks", f"{sum(p in bare for p in parts)} images of the part "
                         f"{', '.join(sorted(bare))}: left out, as nothing can be tested on them")
    return [r for p, r in zip(parts, rows, strict=True) if p not in bare]


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


def several(images: dict, others: dict, pairs: dict) -> dict[str, list[str]]:
    """All masks of each image, where there can be several: one for each lesion.

    A mask more bears the name of its image and a number (``a_1``, ``a_mask_2``), or lies with others in the folder of a
    single image (``ID/images/x``, ``ID/masks/*``). Masks there that are called by words (``liver``, ``spleen``) in more
    than one folder are classes, not lesions.

    Raises
    ------
    ValueError
        Masks of classes in files of their own.
    """
    found = defaultdict(list, {image: [other] for image, other in pairs.items()})
    left, used = [f for f in others if f not in set(pairs.values())], defaultdict(list)
    keys = {(place, re.sub(WORDS, "", name)): file for file, (place, name) in images.items()}
    for file, (place, _) in images.items():
        used[place].append(file)
    for file in left:
        place, name = others[file]
        image = keys.get((place, re.sub(r"[-_. ]*\(?\d+\)?$", "", re.sub(WORDS, "", re.sub(
            r"[-_. ]*\(?\d+\)?$", "", name))))) or keys.get((place, re.sub(r"[-_. ]*\(?\d+\)?$", "", name)))
        if image is None and not pairs and place and len(used[place]) == 1:
            image = used[place][0]
        if image:
            found[image].append(file)
    words = Counter(word for file in left if (word := _own_word(*others[file], keys)) and not re.search(r"\d", word))
    if not pairs and any(n > 1 for n in words.values()):
        raise ValueError(f"masks are called {', '.join(sorted(words)[:5])} for each image: classes in files of their "
                         "own; write them into one file of numbers, then --mask-classes NAME:VALUE,... names these")
    return {image: sorted(files) for image, files in found.items()}


def _own_word(place, name, images):
    """What the name of a mask says beside that of its image: liver of ``c1_liver`` where there is an image ``c1``."""
    beginnings = [stem for where, stem in images if where == place and stem and name.startswith(stem)]
    return name[len(max(beginnings, key=len, default="")):].strip("-_. ")


def _pair(draft, rows, images, others, role, key):
    pairs, rule = match(images, others)
    loose = {} if rule.startswith(("all", "the first", "being")) and pairs else several(images, others, pairs)
    name = {"mask": "mask", "valid": "field of view"}[role]
    if not pairs and not loose:
        raise ValueError(f"{draft.source.name}: which {name} belongs to which image? {rule} (images such as "
                         f"{next(iter(images))}, {name}s such as {next(iter(others))}); rename the "
                         "files, or give a template with --kind folders --mask 'masks/{stem}_mask.png'")
    found = {image: loose.get(image, [other]) for image, other in pairs.items()} | loose
    for row in rows:
        if row["source"] in found:
            row[key] = found[row["source"]][0]
            row |= {"_instances": found[row["source"]]} if role == "mask" else {}
    for file in sorted(others.keys() - {f for files in found.values() for f in files}):
        draft.say(file, "unmatched", f"a {name} without an image of its name")
    if pairs and rule != "equal names":
        draft.notes.append(f"{'masks' if role == 'mask' else 'fields of view'} belong to images by {rule}")
