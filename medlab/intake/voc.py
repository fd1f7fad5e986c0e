"""Import of Pascal VOC: Annotations/*.xml, JPEGImages/, ImageSets/Main/{train,val,test}.txt.

Everingham et al., International Journal of Computer Vision 2010;88:303-338. Its pixels are counted from 1 and the
largest is part of the box; ours are edges: x_min - 1, y_min - 1, x_max, y_max. Nothing in an annotation is ever opened
as a path, and an annotation with a document type, which could hold entities, is refused.
"""

import re
from collections import Counter, defaultdict
from pathlib import PurePosixPath
from xml.etree import ElementTree
from xml.parsers import expat

import pandas as pd

from medlab.cohorts.cards import SPLITS
from medlab.intake import drafts, image_files, orientation

MOST = 10 * 2**20  # bytes of an annotation
EDGES = ("xmin", "ymin", "xmax", "ymax")


def roots(files) -> list:
    """Folders that hold Annotations/*.xml and pictures, as "" or "BCCD/"."""
    found = {m[1] for f in files if (m := re.fullmatch(r"((?:.*/)?)Annotations/[^/]+\.xml", f))}
    return sorted(r for r in found if any(f.startswith(r) and f.lower().endswith(drafts.PICTURES) for f in files))


def parse(data: bytes) -> ElementTree.Element:
    """Root of an annotation; ValueError for what is no XML, too long, or declares a document type."""
    if len(data) > MOST:
        raise ValueError(f"an annotation of more than {MOST // 2**20} MiB")

    def refuse(*_):
        raise ValueError("declares a document type (DOCTYPE), which an annotation does not need: remove the line")

    try:
        checker = expat.ParserCreate()
        checker.StartDoctypeDeclHandler = refuse  # before any entity of it is read
        checker.Parse(data, True)
        root = ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not readable as XML: {error}") from None
    if root.tag != "annotation":
        raise ValueError(f"found <{root.tag}>, expected <annotation>")
    return root


def box(thing, width, height) -> tuple[str, list[float], bool, bool]:
    """Box of an <object> as edges cut to the image: (label, edges, whether it was cut, difficult).

    Raises
    ------
    ValueError
        No name, no four numbers, a box that is turned round, a single pixel, or lies for the greater part outside.
    """
    label = " ".join((thing.findtext("name") or "").split())
    texts = [thing.findtext(f"bndbox/{edge}") for edge in EDGES]
    try:
        x0, y0, x1, y1 = values = [float(t) for t in texts]
    except (TypeError, ValueError):
        raise ValueError(f"box {dict(zip(EDGES, texts, strict=True))}: expected four numbers") from None
    if not label:
        raise ValueError(f"box {values} without a name")
    shown = f"{label} {' '.join(f'{v:g}' for v in values)}"
    if not (x1 >= x0 and y1 >= y0):
        raise ValueError(f"box {shown}: xmin above xmax or ymin above ymax")
    if x0 == x1 and y0 == y1:
        raise ValueError(f"box {shown}: a single pixel, a click rather than a box")
    return label, *cut([x0 - 1, y0 - 1, x1, y1], width, height, shown), thing.findtext("difficult") == "1"


def cut(edges, width, height, shown) -> tuple[list[float], bool]:
    """Edges cut to the image and whether that changed them; ValueError when less than half of the box is inside."""
    x0, y0, x1, y1 = edges
    inside = [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]
    left = max(inside[2] - inside[0], 0) * max(inside[3] - inside[1], 0)
    if not 2 * left >= (x1 - x0) * (y1 - y0) > 0:
        raise ValueError(f"box {shown}: outside of the {width} x {height} pixels of its image")
    return inside, inside != list(edges)


def voc(draft, source, *, unannotated="refuse") -> None:
    """Images with boxes of a Pascal VOC folder; the lists below ImageSets/Main give the split.

    Parameters
    ----------
    unannotated : {"refuse", "empty"}
        A picture without an annotation is not taken, or taken as one without objects. (An annotation without objects
        always says that there are none.)
    """
    files = drafts.listing(draft.source)
    places = roots(files)
    if len(places) != 1:
        raise ValueError(f"{draft.source.name}: {len(places)} folders Annotations with pictures beside them "
                         f"({', '.join(p or './' for p in places)}); expected one: give the folder above it")
    root = places[0]
    pictures, splits = defaultdict(list), _splits(draft, root, files)
    for file in files:
        path = PurePosixPath(file)
        if not file.startswith(root) or not file.lower().endswith(drafts.PICTURES):
            if not file.startswith((f"{root}Annotations/", f"{root}ImageSets/")):
                draft.say(file, "refused", "neither a picture nor an annotation")
        elif path.parent.name not in ("SegmentationClass", "SegmentationObject"):
            pictures[path.stem].append(file)
        elif not draft.options.get("mask"):
            draft.say(file, "refused", f"a mask of VOC (--mask '{path.parent}/{{stem}}.png' takes it)")
    rows = []
    for file in (f for f in files if re.fullmatch(re.escape(root) + r"Annotations/[^/]+\.xml", f)):
        try:
            rows.append(_row(draft, file, pictures))
        except ValueError as error:
            draft.say(file, "refused", str(error))
    if unannotated == "empty":
        rows += [{"source": f, "_objects": []} for name, same in pictures.items() for f in same
                 if f"{root}Annotations/{name}.xml" not in files]
    rows = _with_split(draft, rows, splits)
    _left_out(draft, pictures, rows, splits or {})
    image_files.named_files(draft, rows, files, "voc", boxes=_boxes)


def _row(draft, file, pictures):
    """Candidate row of an annotation: its image by its own name, its objects as they stand there."""
    root = parse((draft.source / file).read_bytes())
    stem, said = PurePosixPath(file).stem, (root.findtext("filename") or "").strip()
    found = pictures.get(stem, [])
    if len(found) > 1:
        found = [f for f in found if PurePosixPath(f).name == said]
    if len(found) != 1:
        raise ValueError(f"{len(pictures.get(stem, []))} pictures of its name; expected one: JPEGImages/{stem}.jpg")
    others = pictures.get(PurePosixPath(said.replace("\\", "/")).stem, [])
    if said and others and found[0] not in others:
        raise ValueError(f"names the picture {said!r}, which is another than {found[0]}: one of them is wrong")
    size = [root.findtext(f"size/{k}") or "0" for k in ("height", "width")]
    size = tuple(int(s) if s.isdigit() else 0 for s in size)
    things = root.findall("object")
    return {"source": found[0], "_file": file, "_objects": things, "_boxed": bool(things)} | (
        {"_expected": size} if all(size) else {})


def _splits(draft, root, files):
    """{name of an image: set of parts} by the lists of ImageSets/Main; None without such lists."""
    lists = {n: f"{root}ImageSets/Main/{n}.txt" for n in (*SPLITS, "trainval")}
    lists = {n: f for n, f in lists.items() if f in files}
    if "train" in lists or "val" in lists:
        lists.pop("trainval", None)
    for other in sorted(f for f in files if f.startswith(f"{root}ImageSets/") and f not in lists.values()):
        draft.say(other, "refused", "a list that is not train.txt, val.txt or test.txt of ImageSets/Main")
    found = defaultdict(set)
    for part, file in lists.items():
        for line in (draft.source / file).read_text("utf-8", errors="replace").split("\n"):
            if line.strip():
                found[line.split()[0]].add("train" if part == "trainval" else part)
    return dict(found) if lists else None


def _with_split(draft, rows, splits):
    if splits is None:
        return rows
    kept = []
    for row in rows:
        parts = splits.get(PurePosixPath(row["source"]).stem, set())
        if len(parts) == 1:
            kept.append(row | {"split": next(iter(parts))})
        else:
            draft.say(row["source"], "refused", f"in several lists of ImageSets/Main: {', '.join(sorted(parts))}"
                      if parts else "in none of the lists of ImageSets/Main")
    return kept


def _left_out(draft, pictures, rows, splits):
    """Every picture ends in the log, and every name of a list without a picture."""
    for name in sorted(splits.keys() - pictures.keys()):
        draft.say(f"ImageSets/Main, {name}", "unmatched", "a list names a picture that is not there")
    said = {e["file"] for e in draft.log} | {r["source"] for r in rows}
    for file in sorted({f for same in pictures.values() for f in same} - said):
        draft.say(file, "unmatched", "a picture without a usable annotation of its name (--unannotated empty "
                  "takes one without annotation as a picture without objects)")


def _boxes(draft, cohort):
    """boxes.csv of the images that were taken; a box that is wrong is in the log."""
    found, counts = [], Counter()
    for row in cohort.to_dict("records"):
        height, width = orientation.canvas(row)
        for thing in row["_objects"]:
            try:
                label, edges, was_cut, difficult = box(thing, width, height)
            except ValueError as error:
                draft.say(row["_file"], "refused", str(error))
                continue
            counts["cut"] += was_cut
            counts["difficult"] += difficult
            edges = dict(zip(("x_min", "y_min", "x_max", "y_max"), orientation.box_turned(row, edges), strict=True))
            found.append({"image": row["image"], "label": label, **edges, "difficult": difficult})
    if not found:
        raise ValueError(f"{draft.source.name}: no box in {len(cohort)} annotations; expected <object> with <bndbox>")
    if counts["cut"]:
        draft.notes.append(f"{counts['cut']} boxes reached out of their image and are cut to it")
    if counts["difficult"]:
        draft.notes.append(f"{counts['difficult']} objects are marked difficult (column difficult of boxes.csv)")
    return pd.DataFrame(found).drop(columns=[] if counts["difficult"] else "difficult")
