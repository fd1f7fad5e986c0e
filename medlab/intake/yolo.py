"""Import of YOLO: images/ and labels/ side by side, a text file per image with ``class x y width height`` in each line.

Middle and size of a box are shares of the picture from 0 to 1 (Redmon et al., CVPR 2016; the layout of darknet and
Ultralytics). Names of the classes are those of data.yaml, classes.txt or obj.names.
"""

import re
from collections import Counter
from pathlib import PurePosixPath

import pandas as pd
import yaml

from medlab.intake import drafts, image_files, orientation
from medlab.intake.voc import cut

LINE = re.compile(r"\d+(?:\s+[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?){4,}")
NAMES = ("classes.txt", "obj.names", "classes.names")
MOST = 2**20  # bytes of a text file that may be one of labels
LOOKED_AT = 50  # label files of which one has to hold a box


def label_of(image: str, files) -> str | None:
    """The label file of an image: labels/x.txt for images/x.png, else x.txt beside it; None if neither is there."""
    path = PurePosixPath(image)
    *folders, _ = path.parts
    places = [folders[:i] + ["labels"] + folders[i + 1:] for i, f in enumerate(folders) if f.lower() == "images"]
    wanted = ("/".join([*place, f"{path.stem}.txt"]) for place in [*places, folders])
    return next((name for name in wanted if name in files), None)


def looks_like(source, files) -> bool:
    """Whether pictures have label files with lines of a class and four shares."""
    listed = set(files)
    labels = [name for f in files if f.lower().endswith(drafts.PICTURES) and (name := label_of(f, listed))]
    return any(_holds_boxes(source / name) for name in labels[:LOOKED_AT])


def _holds_boxes(path):
    if path.stat().st_size > MOST:
        return False
    lines = _lines(path)
    return bool(lines) and all(LINE.fullmatch(line) for line in lines)


def box(line: str, width, height, names) -> tuple[str, list[float], bool]:
    """Box of a line as edges cut to the image: (label, edges, whether it was cut).

    Raises
    ------
    ValueError
        Another number of values (outlines, key points, scores of a prediction), a share outside of 0 to 1, a class
        without a name.
    """
    words = line.split()
    if not LINE.fullmatch(line.strip()) or len(words) != 5:
        raise ValueError(f"{line[:80]!r}: {len(words)} values, expected a class and x, y, width, height as shares "
                         "(outlines, key points and predictions are not read)")
    number, (x, y, w, h) = int(words[0]), map(float, words[1:])
    if not (0 <= x <= 1 and 0 <= y <= 1 and 0 < w <= 1 and 0 < h <= 1):
        raise ValueError(f"{line[:80]!r}: expected shares of the picture from 0 to 1")
    if names and number not in names:
        raise ValueError(f"class {number} has no name; the source names {', '.join(map(str, sorted(names)))}")
    edges = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
    label = names.get(number, str(number))
    return label, *cut(edges, width, height, f"{label} {line[:60]}")


def class_names(source, files) -> tuple[dict[int, str], str]:
    """Names of the classes by number, and the file that says them; ({}, "") where none does.

    Raises
    ------
    ValueError
        Several files of names that differ.
    """
    found = {}
    for file in files:
        name = file.rpartition("/")[2].lower()
        if name in NAMES:
            lines = (source / file).read_text("utf-8", errors="replace").split("\n")
            found[file] = dict(enumerate(line.strip() for line in lines if line.strip()))
        elif name.endswith((".yaml", ".yml")) and (source / file).stat().st_size <= MOST:
            found[file] = _of_yaml(source / file)
    found = {file: names for file, names in found.items() if names}
    if len({tuple(sorted(names.items())) for names in found.values()}) > 1:
        raise ValueError(f"{' and '.join(sorted(found))} name different classes; leave one of them out")
    return next(((names, file) for file, names in found.items()), ({}, ""))


def _of_yaml(path):
    """``names`` of a data.yaml, a list or a dictionary by number; words stay words (a class may be called no)."""
    try:
        said = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # noqa: S506 builds text, lists, dictionaries alone
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return {}
    names = said.get("names") if isinstance(said, dict) else None
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    return {int(k): " ".join(v.split()) for k, v in pairs if str(k).isdigit() and isinstance(v, str) and v.strip()}


def yolo(draft, source, *, unannotated="refuse") -> None:
    """Images with boxes in YOLO's text files; folders train, val and test give the split.

    Parameters
    ----------
    unannotated : {"refuse", "empty"}
        A picture without a label file is not taken, or taken as one without objects. (An empty file always says that
        there are none.)
    """
    files = drafts.listing(draft.source)
    listed, names_of = set(files), class_names(draft.source, files)
    rows, used = [], {names_of[1]}
    for file in (f for f in files if f.lower().endswith(drafts.PICTURES)):
        label = label_of(file, listed)
        if label is None and unannotated == "refuse":
            draft.say(file, "unmatched", "a picture without a label file (--unannotated empty takes it as a picture "
                      "without objects)")
            continue
        used |= {file, label}
        lines = _lines(draft.source / label) if label else []
        rows.append({"source": file, "split": _part(file), "_file": label, "_objects": lines, "_boxed": bool(lines)})
    said = {e["file"] for e in draft.log}
    for file in (f for f in files if f not in used and f not in said):
        draft.say(file, "unmatched", "a text without a picture of its name" if file.lower().endswith(".txt") else
                  "neither a picture nor its label file")
    if not all(r["split"] for r in rows):
        rows = [{k: v for k, v in row.items() if k != "split"} for row in rows]
    draft.understand("classes of boxes", ", ".join(f"{i} {n}" for i, n in sorted(names_of[0].items())) + (
        f" ({names_of[1]})" if names_of[1] else "numbers: no data.yaml or classes.txt names them"))
    image_files.named_files(draft, rows, files, "yolo", boxes=lambda d, cohort: _boxes(d, cohort, names_of[0]))


def _lines(path):
    return [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]


def _part(file):
    """Part of the split that a folder of the path is called, or None."""
    return next((drafts.SPLIT_NAMES[f.lower()] for f in file.split("/")[:-1] if f.lower() in drafts.SPLIT_NAMES), None)


def _boxes(draft, cohort, names):
    """boxes.csv of the images that were taken; a line that is wrong is in the log."""
    found, counts = [], Counter()
    for row in cohort.to_dict("records"):
        height, width = orientation.canvas(row)
        for number, line in enumerate(row["_objects"], 1):
            try:
                label, edges, was_cut = box(line, width, height, names)
            except ValueError as error:
                draft.say(f"{row['_file']}, line {number}", "refused", str(error))
                continue
            counts["cut"] += was_cut
            edges = dict(zip(("x_min", "y_min", "x_max", "y_max"), orientation.box_turned(row, edges), strict=True))
            found.append({"image": row["image"], "label": label, **edges})
    if not found:
        raise ValueError(f"{draft.source.name}: no box in the label files of {len(cohort)} pictures; expected lines "
                         "such as 0 0.5 0.5 0.2 0.1")
    if counts["cut"]:
        draft.notes.append(f"{counts['cut']} boxes reached out of their image and are cut to it")
    return pd.DataFrame(found)
