"""What ``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net says: classes, channels, origin.

Antonelli et al., Nature Communications 2022;13:4128; Isensee et al., Nature Methods 2021;18:203-211 (versions 1 and 2).
"""

import json
import re

MOST = 50 * 2**20  # bytes
TEXTS = {"title": ("name",), "description": ("description",), "licence": ("licence", "license"),
         "citation": ("reference", "citation")}
MODALITIES = {"ct": "CT", "cta": "CT", "ncct": "CT", "ct_bone": "CT", "cbct": "CT", "pet": "PT", "pt": "PT", "us": "US",
              **dict.fromkeys(("mri", "mr", "flair", "t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "adc", "dwi",
                               "swi", "pd", "hbv", "cine"), "MR")}


def read(draft, files) -> dict:
    """Read the only ``dataset.json`` of this form among the files of a source; {} where there is none.

    Returns
    -------
    dict
        ``folder`` (where it lies, "" or "x/"), ``channels`` (names, list), ``card`` (keys of the card, ``mask_classes``
        among them) and ``pairs`` ({image: mask or None}, relative to the folder).

    Raises
    ------
    ValueError
        Several of them, or one that is broken.
    """
    found = {f: j for f in files if f.split("/")[-1] == "dataset.json" and (j := _load(draft, f))}
    if len(found) > 1:
        raise ValueError(f"{draft.source.name}: {len(found)} collections ({', '.join(sorted(found))}); give the folder "
                         "of one of them")
    if not found:
        return {}
    (file, data), = found.items()
    names = data.get("channel_names") or data.get("modality") or {}
    names = [str(names[k]) for k in sorted(names, key=_order)] if isinstance(names, dict) else [str(n) for n in names]
    card = {key: " ".join(str(data[k]).split()) for key, keys in TEXTS.items() for k in keys if data.get(k)}
    codes = {MODALITIES.get(n.strip().lower()) for n in names}
    card |= {"modality": codes.pop()} if len(codes) == 1 and None not in codes else {}
    card |= {"mask_classes": classes} if (classes := _classes(draft, data["labels"])) else {}
    card |= {"channels": names} if len(names) > 1 else {}
    draft.say(file, "taken", "names of classes and channels, origin")
    numbers = ", ".join(f"{n} ({v})" for n, v in classes.items())
    draft.understand("dataset.json", f"classes {numbers or 'none'}; channels {', '.join(names) or 'not named'}"
                     + (f"; licence {card['licence']}" if "licence" in card else ""))
    return {"folder": file.removesuffix("dataset.json"), "channels": names, "card": card, "pairs": _pairs(data)}


def _load(draft, file):
    if (draft.source / file).stat().st_size > MOST:
        raise ValueError(f"{file}: more than {MOST // 2**20} MiB")
    try:
        data = json.loads((draft.source / file).read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not readable as JSON ({error}); correct it, or take it away") from None
    known = isinstance(data, dict) and isinstance(data.get("labels"), dict)
    return data if known and isinstance(data.get("channel_names", data.get("modality", {})), (dict, list)) else None


def _order(key):
    return (0, int(key), "") if str(key).isdigit() else (1, 0, str(key))


def _classes(draft, labels):
    """{name: number}: version 1 has {"1": name}, version 2 {name: 1}; regions of several numbers are left out."""
    found, left = {}, []
    for key, value in labels.items():
        name, number = (str(value), key) if str(key).isdigit() and isinstance(value, str) else (str(key), value)
        if not str(number).isdigit() or name.lower() == "ignore":
            left.append(name)
        elif int(number):
            found[name] = int(number)
    if left:
        draft.notes.append(f"dataset.json: {', '.join(left)}: no class of one number; left out (--mask-classes "
                           "NAME:VALUE names others)")
    return found


def _pairs(data):
    """Images with their masks as they are listed; what has no mask (``test``) with None."""
    found = {}
    for entry in [*(data.get("training") or []), *(data.get("validation") or []), *(data.get("test") or [])]:
        image, mask = (entry.get("image"), entry.get("label")) if isinstance(entry, dict) else (entry, None)
        if isinstance(image, str):
            found[image.removeprefix("./")] = mask.removeprefix("./") if isinstance(mask, str) else None
    return found


def absent(draft, known, files) -> None:
    """Log what the list names and the folder has not."""
    there = {name for f in files for name in (f, re.sub(r"_\d{4}(?=\.)", "", f))}
    for file in (known.get("folder", "") + n for pair in known.get("pairs", {}).items() for n in pair if n):
        if file not in there:
            draft.say(file, "unmatched", "listed in dataset.json, not in the folder")
