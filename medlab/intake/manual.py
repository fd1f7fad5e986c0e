"""What ``medlab import --help`` says, made from the options where they are defined: `arguments.COMMON` and the numpydoc
parameters of the functions in `importers.KINDS`.
"""

import inspect
import re
import textwrap

from medlab.intake import arguments, drafts, importers

WIDTH = 110
EXAMPLES = (
    ("a folder per class", "medlab import photos eyes"),
    ("only look how it would be read", "medlab import photos eyes --dry-run"),
    ("patients in the names of files", "medlab import photos eyes --patient-pattern '(?P<patient_id>P[0-9]+)_'"),
    ("masks beside the images", "medlab import slides cells --mask '{folder}/{stem}_mask.png'"),
    ("a table of patients with follow-up",
     "medlab import trial.csv trial --key ID --time months --time-unit months --event died --event-values yes"),
    ("a table that names the images",
     "medlab import cohort chest --tables labels.csv --key PatientID --image 'images/{file}.png' --label finding"),
    ("scans and a table of outcomes", "medlab import dicom lungs --tables clinical.xlsx --key PatientID --label grade"),
    ("structures drawn for radiotherapy", "medlab import dicom lungs --roi 'GTV*:tumour'"),
    ("functional MRI", "medlab import bids motor --kind bold"),
    ("a real cohort that comes with the packages, offline", "medlab import package:gbsg2 gbsg2"),
    ("the embedded simulated cohort", "medlab import synthetic:thorax thorax --patients 600"),
    ("boxes in COCO's json", "medlab import polyps polyps --annotations instances_train.json,instances_val.json"),
    ("boxes in YOLO's text files", "medlab import wrists wrists --unannotated empty"),
    ("boxes of a Pascal VOC folder", "medlab import VOCdevkit/VOC2007 cells --kind voc"),
    ("NIfTI volumes with a table", "medlab import volumes brains --tables subjects.tsv --key participant_id"),
    ("arrays of npz files", "medlab import arrays scans --kind npz"),
    ("a MedMNIST file", "medlab import pneumoniamnist_128.npz pneumonia"),
    ("volumes with masks of several classes", "medlab import task03 liver --mask-classes liver:1,tumour:2"),
)
EXPLAINED = {  # options that a line does not explain
    "patient_pattern": "A regular expression (Python) that is searched in the path of each file below the source, "
    "such as left/P007_2.png. Each named group becomes a column; patient_id says whose the image is, and keeps the "
    "images of one patient on one side of a split. '(?P<patient_id>P[0-9]+)_(?P<visit>[0-9])' makes patient_id P007 "
    "and visit 2. A file that does not fit is refused and logged. Without patients, every image counts as a patient "
    "and the page says so.",
    "mask": "The name of a folder of masks (--mask manual), or a template of the mask's path below the source, filled "
    "for each image: {stem} is the file's name without suffix, {folder} its folder, {file} its name, and any column or "
    "named group. '{folder}/{stem}_mask.png'; of an npz 'masks/{stem}.npz::mask', or '::mask' for a member of the same "
    "file.",
    "image": "A template of the image's path below the source, filled from each row of the table: "
    "'images/{site}/{ID:03d}.png' takes the columns site and ID, the number with leading zeros. 'scans/{ID}.npz::ct' "
    "names a member. Only files that are there are taken; rows without a file and files without a row are logged.",
    "where": "A condition on the columns of the table, as in pandas: \"modality == 'X-ray' and age > 17\". Rows that "
    "do not meet it are logged and left out.",
}


def text() -> str:
    """All options of all kinds, grouped, with what they mean and an example for each common situation."""
    common = arguments.COMMON
    what = {k: v for k, v in common.items() if k not in (*drafts.CARD, *drafts.MANNERS)}
    parts = ["usage: medlab import SOURCE NAME [--kind KIND] [--OPTION VALUE ...]\n\n" + textwrap.fill(
        "Makes the dataset data/NAME from SOURCE: a folder, a table, an npz, a COCO json, synthetic:thorax (pet, "
        "fmri), package:gbsg2 (and others) or medmnist:NAME. It prints how it read the source before it writes, "
        "asks where two readings are possible, and refuses what would invert or mix an outcome. Docs: "
        "docs/import.md.", WIDTH)]
    parts.append("\n".join(["Examples:", *(f"  # {what}\n  {command}" for what, command in EXAMPLES)]))
    parts.append(_table("Kinds (--kind; detected from what lies in the source, except bold)",
                        [(name, _first(function)) for name, function in importers.KINDS.items()]))
    parts.append(_table("How to import", [(_dashed(k), common[k]) for k in drafts.MANNERS]))
    parts.append(_table("What is read, of all kinds", [(_dashed(k), v + _unused(k)) for k, v in what.items()]))
    for name, function in importers.KINDS.items():
        own = own_options(function)
        if own:
            parts.append(_table(f"Of kind {name}", [(_dashed(k), v) for k, v in own.items()]))
    parts.append(_table("Said in the card, where the source does not", [(_dashed(k), common[k]) for k in drafts.CARD]))
    known = [k for k in EXPLAINED if k in common or any(k in own_options(f) for f in importers.KINDS.values())]
    parts += ["\n".join([_dashed(k), textwrap.fill(EXPLAINED[k], WIDTH, initial_indent="  ", subsequent_indent="  ")])
              for k in known]
    return "\n\n".join(parts)


def own_options(function) -> dict[str, str]:
    """Options of one kind: its keyword arguments, each with its numpydoc description ("" without one)."""
    names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    section = (inspect.getdoc(function) or "").partition("Parameters\n----------\n")[2].split("\n\n")[0]
    found = {}
    for entry in re.split(r"\n(?=\S)", section):
        head, _, body = entry.partition("\n")
        words, _, kind = head.partition(" :")
        said = " ".join(body.split())
        legal = " or ".join(re.findall(r'"([^"]+)"', kind)) if "{" in kind else ""
        found |= {n.strip(): (f"{legal}. " if legal else "") + said for n in words.split(",") if n.strip() in names}
    return {n: found.get(n, "") for n in names}


def _first(function):
    return inspect.getdoc(function).split("\n\n")[0].replace("\n", " ")


def _dashed(option):
    return f"--{option.replace('_', '-')}"


def _unused(option):
    kinds = arguments.UNUSED.get(option)
    return f" (not {', '.join(kinds)})" if kinds else ""


def _table(title, rows, width=20):
    lines = [f"{title}:"]
    for name, said in rows:
        said = re.sub(r"; see `[^`]+`", "", said).replace("`", "")
        first, *rest = textwrap.wrap(said, WIDTH - width - 3) or [""]
        head = [f"  {name:{width}s} {first}"] if len(name) <= width else [f"  {name}", f"  {'':{width}s} {first}"]
        lines += [*head, *(f"  {'':{width}s} {line}" for line in rest)]
    return "\n".join(lines)
