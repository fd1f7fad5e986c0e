"""Import of COCO json: images, categories, boxes [x, y, width, height] from 0, polygons and run lengths.

Lin et al., Microsoft COCO, ECCV 2014, and its mask format as in pycocotools. Boxes become edges, outlines one label map
per image. File names are looked up among the files below the source; nothing else is ever opened.
"""

import json
import mmap
import re
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from medlab.intake import drafts, image_files, orientation, taking
from medlab.intake.voc import cut

KEYS = ("images", "annotations", "categories")
MOST = 2**30  # bytes of a json


def looks_like(path) -> bool:
    """Whether a file holds the three keys of COCO, without parsing it."""
    if Path(path).suffix.lower() != ".json" or not 0 < Path(path).stat().st_size <= MOST:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(f'"{key}"'.encode()) >= 0 for key in KEYS)


def polygon_mask(polygons, shape) -> np.ndarray:
    """Pixels whose centre lies inside one of the polygons.

    Parameters
    ----------
    polygons : list of [x0, y0, x1, y1, ...], in pixels from the corner of the image
    shape : (height, width)

    Returns
    -------
    (height, width) bool; inside of each polygon by the even-odd rule.
    """
    from skimage.draw import polygon

    mask = np.zeros(shape, bool)
    for points in polygons:
        points = np.asarray(points, float)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError(f"a polygon of {points.size} numbers: expected x, y of at least three corners")
        mask[polygon(points[1::2] - 0.5, points[::2] - 0.5, shape)] = True
    return mask


def run_lengths(counts) -> list:
    """Lengths of the runs from pycocotools' text: 5 bits a character, from the third on as differences."""
    if isinstance(counts, list):
        return [int(c) for c in counts]
    lengths, value, bits = [], 0, 0
    for character in str(counts).encode("ascii"):
        value |= (character - 48 & 31) << bits
        bits += 5
        if not character - 48 & 32:
            value -= (character - 48 & 16) and 1 << bits
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value, bits = 0, 0
    if bits:
        raise ValueError("run lengths end in the middle of a number")
    return lengths


def rle_mask(segmentation: dict, shape) -> np.ndarray:
    """Mask of run lengths, {"size": [height, width], "counts": list or text}, down the columns, starting with 0."""
    lengths, size = run_lengths(segmentation.get("counts")), tuple(segmentation.get("size") or ())
    if size != tuple(shape) or min(lengths, default=-1) < 0 or sum(lengths) != shape[0] * shape[1]:
        raise ValueError(f"run lengths for {sum(lengths)} pixels, size {size}; expected {shape[0]} x {shape[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape[1], shape[0]).T


def coco(draft, source, *, annotations=None) -> None:
    """Images with boxes, and masks where there are outlines, of one or several COCO json files.

    Parameters
    ----------
    annotations : str, optional
        Names of the json files below the source; by default all that look like COCO. The words train, val or test in
        the name of a file (or of its folder) give the split.
    """
    files = drafts.listing(draft.source)
    names = [str(n).strip() for n in drafts.words(annotations)] or (
        [Path(source).name] if Path(source).is_file() else
        [f for f in files if f.lower().endswith(".json") and looks_like(draft.source / f)])
    unknown = [n for n in names if n not in files]
    if unknown or not names:
        raise ValueError(f"{draft.source.name}: no {unknown[0] if unknown else 'COCO json'} among {len(files)} files; "
                         "expected a .json with images, annotations and categories")
    rows, categories = [], {}
    by_name = defaultdict(list)
    for file in (f for f in files if f not in names):
        by_name[PurePosixPath(file).name].append(file)
    for name in names:
        rows += _rows(draft, name, _load(draft.source / name), by_name, categories)
    rows = _once(draft, rows)
    if not any(r["split"] for r in rows) or draft.options.get("split"):
        for row in rows:
            del row["split"]
    for file in sorted(set(files) - set(names) - {r["source"] for r in rows} - {e["file"] for e in draft.log}):
        draft.say(file, "unmatched", "a file that is no image of the json")
    image_files.named_files(draft, rows, files, "coco", lambda d, cohort: _drawn(d, cohort, categories))


def _load(path):
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"larger than {MOST // 2**20} MiB")
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # no UTF-8, no json, a number of thousands of digits
        raise ValueError(f"{path.name}: not readable as json ({error})") from None
    wrong = [k for k in KEYS if not isinstance(data, dict) or not isinstance(data.get(k), list)
             or not all(isinstance(e, dict) for e in data[k])]
    if wrong:
        raise ValueError(f"{path.name}: no list of entries {wrong[0]!r}; expected {', '.join(KEYS)} as in COCO")
    for key in ("images", "categories"):
        ids = [e.get("id") for e in data[key]]
        odd = [i for i in ids if not isinstance(i, (int, str))] or [i for i, n in Counter(ids).items() if n > 1]
        if odd:
            raise ValueError(f"{path.name}: {key} with id {odd[0]!r}; expected a different number for each")
    return data


def _rows(draft, name, data, by_name, categories):
    """Candidate rows of one json; names of the categories (the same word is one class in all files) are collected."""
    names = {c.get("id"): " ".join(str(c.get("name") or c.get("id")).split()) for c in data["categories"]}
    for number in sorted(names, key=str):
        categories.setdefault(names[number], len(categories) + 1)
    objects, rows, known = defaultdict(list), [], {i.get("id") for i in data["images"]}
    for a in data["annotations"]:
        mark = f"{name}, annotation {a.get('id')}"
        which = next((k for k, ids in (("image_id", known), ("category_id", names)) if
                      not isinstance(a.get(k), (int, str)) or a[k] not in ids), None)
        if which:
            draft.say(mark, "refused", f"{which} {a.get(which)!r} is not in the file")
        else:
            objects[a["image_id"]].append(a | {"_mark": mark, "_label": names[a["category_id"]]})
    words = {re.sub(r"\d+", "", w) for w in re.split(r"[^a-z0-9]+", name.lower())}
    parts = sorted({drafts.SPLIT_NAMES[w] for w in words if w in drafts.SPLIT_NAMES})
    if len(parts) > 1:
        raise ValueError(f"{name}: its name says {' and '.join(parts)}; expected one part: rename it")
    for image in data["images"]:
        try:
            found = _lookup(str(image.get("file_name") or ""), by_name, name.rpartition("/")[0])
        except ValueError as error:
            draft.say(f"{name}, image {image.get('id')}", "unmatched", str(error))
            continue
        size = tuple(image.get(k) for k in ("height", "width"))
        things = objects[image.get("id")]
        rows.append({"source": found, "split": parts[0] if parts else None, "_objects": things, "_boxed": bool(things)})
        if all(isinstance(s, int) and s > 0 for s in size):
            rows[-1]["_expected"] = size
    return rows


def _lookup(text, by_name, folder):
    """The one file of this name below the source, first beside the json."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"file_name {text!r} leads out of the source or is empty")
    found = [f for f in by_name[path.name] if f"/{f}".endswith(f"/{path}")]
    near = [f for f in found if f == f"{folder}/{path}".lstrip("/")]
    found = near or found
    if len(found) != 1:
        raise ValueError(f"file_name {text!r}: {len(found)} files of this name below the source; expected one")
    return found[0]


def _once(draft, rows):
    """An image that two entries name is taken by the first; the second is refused, as its boxes may differ."""
    seen = {}
    for row in rows:
        if seen.setdefault(row["source"], row) is not row:
            draft.say(row["source"], "refused", "named a second time; say which json with --annotations FILE")
    return list(seen.values())


def _drawn(draft, cohort, categories):
    """Boxes of the images taken; the column mask of the cohort where all objects of an image have an outline."""
    found, masks, counts = [], [], Counter()
    used = {o["_label"] for objects in cohort["_objects"] for o in objects}
    values = {n: i for i, n in enumerate((n for n in categories if n in used), 1)}
    outlined = any(o.get("segmentation") for objects in cohort["_objects"] for o in objects)
    if outlined and len(values) > 255:
        raise ValueError(f"{len(values)} categories with outlines; expected at most 255 in one label map")
    for row in cohort.to_dict("records"):
        shape, drawn, complete = orientation.canvas(row), [], True
        for thing in row["_objects"]:
            try:
                mask = _mask(thing, shape) if thing.get("segmentation") else None
                edges = _edges(thing, mask, shape, counts)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                draft.say(thing["_mark"], "refused", str(error))
                complete = False
                continue
            drawn += [(int(mask.sum()), values[thing["_label"]], mask)] if mask is not None else []
            complete &= mask is not None
            if thing.get("iscrowd"):
                counts["crowd"] += 1
            else:
                x_min, y_min, x_max, y_max = orientation.box_turned(row, edges)
                found.append({"image": row["image"], "label": thing["_label"], "x_min": x_min, "y_min": y_min,
                              "x_max": x_max, "y_max": y_max})
        drawn = [(n, value, orientation.mask_turned(row, mask)) for n, value, mask in drawn]
        shape = row["_shape"][-2:]
        masks.append(_written(draft, row["image"], drawn, shape, counts) if outlined and complete else None)
        counts["incomplete"] += outlined and not complete
    if any(masks):
        cohort["mask"] = masks
        draft.card["mask_classes"] = values
    unused = [n for n in categories if n not in used]
    draft.notes += [text for n, text in (
        (counts["cut"], f"{counts['cut']} boxes reached out of their image and are cut to it"),
        (counts["crowd"], f"{counts['crowd']} regions of many objects (iscrowd) are in the masks, but are no boxes"),
        (counts["overlap"], f"in {counts['overlap']} images classes overlap: the smaller object lies on top"),
        (counts["incomplete"], f"{counts['incomplete']} images have no mask, as some of their objects have no outline"),
        (unused, f"categories without an object: {', '.join(unused)}")) if n]
    return pd.DataFrame(found, columns=["image", "label", "x_min", "y_min", "x_max", "y_max"])


def _mask(thing, shape):
    segmentation = thing["segmentation"]
    return rle_mask(segmentation, shape) if isinstance(segmentation, dict) else polygon_mask(segmentation, shape)


def _edges(thing, mask, shape, counts):
    """Edges of the box of an annotation, from its outline where it has none."""
    box = thing.get("bbox")
    if not box and mask is not None and mask.any():
        (y, x) = np.nonzero(mask)
        return [float(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
    if not isinstance(box, list) or len(box) != 4 or not np.isfinite(np.asarray(box, float)).all():
        raise ValueError(f"box {box!r}: expected four numbers x, y, width, height")
    x, y, width, height = map(float, box)
    shown = f"{thing['_label']} {x:g} {y:g} {width:g} {height:g}"
    if width <= 0 or height <= 0:
        raise ValueError(f"box {shown}: expected a width and a height above 0")
    edges, was_cut = cut([x, y, x + width, y + height], shape[1], shape[0], shown)
    counts["cut"] += was_cut
    return [round(e, 4) for e in edges]


def _written(draft, image, drawn, shape, counts):
    """Label map of an image as PNG below masks/, the smallest object on top; its path."""
    labels, overlap = np.zeros(shape, np.uint8), False
    for _, value, mask in sorted(drawn, key=lambda d: -d[0]):
        overlap |= bool(((labels[mask] > 0) & (labels[mask] != value)).any())
        labels[mask] = value
    counts["overlap"] += overlap
    return taking.write_labels(draft, labels, f"masks/{image.removeprefix('images/').partition('::')[0]}.png")
