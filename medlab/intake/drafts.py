"""The table-top of every import: a temporary folder that becomes the dataset in one rename, and its log.

Whatever is found in the source ends as a row of ``import_log.csv``: taken, refused with the reason, duplicate
(taken, but the same as another), or unmatched (no image to the row of a table, or the other way round).
"""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import medlab
from medlab import storage
from medlab.cohorts import cards
from medlab.intake import nameless, pseudonyms, targets

CARD = {  # options that say what the card says, with a line of help
    "title": "what the dataset is", "modality": "DICOM's code, such as CT, MR, DX, US, XC",
    "description": "in a sentence",
    "intensity": "HU, SUV or arbitrary", "licence": "under which the data may be used", "citation": "what to cite",
    "positive": "the class that a high score means", "classes": "names of the classes in their order, a,b,c",
    "classes_ordered": "they are grades", "time_origin": "what the follow-up is counted from",
    "event_meaning": "what an event is, such as death", "augmentation": "policy of training, such as mild or MR",
    "window": "CT window of the pictures, such as lung; lung,bone as channels",
    "region": "what is kept of volumes: lungs or none",
}
MANNERS = ("overwrite", "yes", "dry_run", "link_table")  # how to import, not what
SPLIT_NAMES = {"train": "train", "training": "train", "tr": "train", "val": "val", "valid": "val",
               "validation": "val", "dev": "val", "test": "test", "testing": "test", "ts": "test"}
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".npy")
NIFTI = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")  # volumes that may say how they lie
COUNTED = re.compile(r"(?:(?:train|val|test)-)?block-\d+|run-\d\d")  # ids that an import gives, not the source
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass
class Draft:
    """An import in progress: where from, the temporary folder, the options common to all kinds, the log."""

    source: Path
    folder: Path
    options: dict
    log: list = field(default_factory=list)
    card: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    sha256: dict = field(default_factory=dict)
    link_table: list = field(default_factory=list)
    understood: list = field(default_factory=list)
    questions: list = field(default_factory=list)
    names: dict = field(default_factory=dict)  # of files of the source: below the dataset
    placed: dict = field(default_factory=dict)  # names that were asked for: what they became
    members: defaultdict = field(default_factory=lambda: defaultdict(set))  # arrays of npz files that are needed
    facts: dict = field(default_factory=dict)  # what a file does not say any more (`bare.Bare`)
    checked: set = field(default_factory=set)  # columns that `identifiers.identifying` has passed
    aliases: dict = field(default_factory=dict)  # ids of patients: their pseudonyms

    def say(self, file, status, reason="") -> None:
        self.log.append({"file": str(file), "status": status, "reason": reason})

    @property
    def made_up(self) -> bool:
        """Whether ids are running numbers of our own, no key: of made-up persons, of tables published without ids."""
        return (self.card.get("import") or self.options.get("_made") or {}).get("kind") in ("synthetic", "package")

    def keeps(self, *what) -> bool:
        """Whether ``--keep`` names one of these."""
        return bool({str(w).strip() for w in words(self.options.get("keep"))} & set(map(str, what)))

    @property
    def keeps_ids(self) -> bool:
        """Whether ids of patients and names of files stay as they are: ``--keep patient_id``, or the key itself."""
        return self.keeps("patient_id", self.options.get("key") or "patient_id")

    def mark(self, relative) -> str:
        """What stands in the log for a file whose name may tell too much; the pair goes into the link table."""
        mark = (storage.digest_of(relative)[:12] if self.made_up else
                pseudonyms.mark(relative, pseudonyms.key(), "file"))
        self.link_table.append({"original": str(relative), "pseudonym": f"file {mark}"})
        return f"file {mark}"

    def who(self, key) -> str:
        """The pseudonym of one patient, for the log."""
        return "" if self.options.get("_hide") else self.alias([key])[str(key)]

    def alias(self, ids) -> dict:
        """{id: pseudonym} of patients (the id itself where it is kept)."""
        new = {i for i in map(str, ids) if i not in self.aliases}
        plain = {i for i in new if self.keeps_ids or COUNTED.fullmatch(i)}
        make = pseudonyms.running if self.made_up else pseudonyms.of
        found = {i: i for i in plain} | (make(new - plain) if new - plain else {})
        self.aliases |= found | {alias: alias for alias in found.values()}
        return self.aliases

    def understand(self, what, reading) -> None:
        """Tell how a part of the source was read: a line of the table that is shown before anything is written."""
        self.understood.append({"what": str(what), "read_as": str(reading)})

    def ask(self, question, option) -> None:
        """A guess between two readings, and the option that answers it; what would invert an outcome is refused."""
        self.questions.append({"question": str(question), "option": str(option)})


def listing(source: Path) -> list:
    """Relative POSIX paths of the files below a folder that an import may look at, sorted by folder."""
    return sorted((name for name, reason in entries(source) if not reason), key=lambda name: name.split("/"))


def left_out(source: Path) -> list:
    """(relative path, reason) of what lies below a folder and no import looks at, sorted."""
    return sorted((name, reason) for name, reason in entries(source) if reason)


def entries(source: Path) -> Iterator[tuple[str, str]]:
    """Relative POSIX path of everything below a folder that is no folder with something in it, and why it is left out.

    Empty reason: a regular file, or a link to one below the folder. Links to folders are not followed.
    """
    root, waiting = source.resolve(), [""]
    while waiting:
        above = waiting.pop()
        try:
            inside = list(os.scandir(source / above))
        except OSError as error:
            yield above or ".", f"a folder that cannot be opened ({error.strerror})"
            continue
        if not inside and above:
            yield above, "an empty folder"
        for entry in inside:
            name = f"{above}/{entry.name}" if above else entry.name
            reason = _why_not(entry, root)
            if not reason and entry.is_dir():
                waiting.append(name)
            else:
                yield name, reason


def _why_not(entry, root):
    """Why an entry of a folder is left out; empty for a folder or file to look at."""
    if entry.name.startswith(".") or entry.name in ("__MACOSX", "Thumbs.db"):
        return "hidden"
    if UNWRITABLE.search(entry.name):
        return "a name that is not UTF-8 or holds control characters; rename it"
    try:
        mode = entry.stat().st_mode
        leads = Path(entry.path).resolve() if entry.is_symlink() else root
    except OSError as error:
        return f"a link that leads nowhere ({error.strerror})" if entry.is_symlink() else f"{error.strerror}"
    if entry.is_symlink() and stat.S_ISDIR(mode):
        return "a link to a folder; import that folder itself, or copy it here"
    if not leads.is_relative_to(root):
        return "a link that leads out of the source; import what it leads to, or copy it here"
    known = stat.S_ISDIR(mode) or stat.S_ISREG(mode)
    return "" if known else "neither a file nor a folder (FIFO, socket or device)"


def card(draft: Draft, kind: str, **known) -> None:
    """Start the card: the source's own card.yaml, what the kind knows, then what the options say."""
    own = draft.source / "card.yaml"
    found = cards.read_card(own) if own.is_file() and kind not in ("medmnist", "synthetic") else {}
    said = {k: v for k, v in draft.options.items() if k in CARD}
    if "classes" in said:
        said["classes"] = [str(c).strip() for c in words(said["classes"])]
    if "positive" in said:
        said["positive"] = str(said["positive"])
    record = {k: _recorded(v) for k, v in draft.options.items() if k not in (*CARD, *MANNERS) and not k.startswith("_")}
    draft.card |= {"title": None, "modality": None, "intensity": "arbitrary"} | found | known | said
    draft.card["import"] = draft.options.get("_made") or {
        "kind": kind, "medlab": medlab.__version__, **({"options": record} if record else {})}
    draft.card["title"] = draft.card["title"] or draft.folder.name.split(".")[1]


def _recorded(value):
    """An option for the card: of a path from the root the last part, as folders may be named after persons."""
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def words(value) -> list:
    """A list, or text with commas, as a list."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else str(value).split(",")


def name_groups(draft: Draft, relative: str) -> dict | None:
    """Named groups of ``patient_pattern`` in a relative path; None where it does not match."""
    pattern = draft.options.get("patient_pattern")
    if pattern is None:
        return {}
    found = re.search(pattern, relative)
    return {k: v for k, v in found.groupdict().items() if v is not None} if found else None


OTHERS = {"mask": "mask_source", "valid_mask": "valid_source"}


def mapping(option: str, value) -> dict:
    """``old:new,old2:new2`` as a dictionary of text; ValueError naming the option."""
    pairs = value.items() if isinstance(value, dict) else [p.split(":", 1) for p in words(value)]
    if any(len(p) != 2 for p in pairs):
        raise ValueError(f"--{option} {value!r}: expected pairs like old:new,old2:new2")
    return {str(a).strip(): str(b).strip() for a, b in pairs}


def whole_numbers(option: str, value) -> dict:
    """``name:1,other:2`` as names with different whole numbers from 0."""
    pairs = mapping(option, value)
    numbers = {n: int(v) for n, v in pairs.items() if n and v.isdecimal()}
    if len(numbers) < len(pairs) or len(set(numbers.values())) < len(numbers):
        raise ValueError(f"--{option} {value!r}: expected NAME:VALUE,... with different whole numbers from 0")
    return numbers


def finish(draft: Draft, cohort: pd.DataFrame, boxes=None, truth=None) -> None:
    """Write card, cohort, boxes, truth and log into the temporary folder; nothing in them names a person."""
    o, known = draft.options, "patient_id" in cohort
    draft.card["patients"] = "known" if known else "unknown"
    if not known:
        cohort.insert(0, "patient_id", [f"i{n:06d}" for n in range(1, len(cohort) + 1)])
    if o.get("spacing_mm") is not None:
        cohort["spacing_mm"] = " x ".join(map(str, words(o["spacing_mm"])))
    if o.get("split_as"):
        _split_as(draft, cohort)
    if str(o.get("channels") or "none").lower() != "none" and not draft.card.get("channels"):
        raise ValueError(f"--channels {','.join(words(o['channels']))}: found neither files of several sequences of a "
                         "case nor files of several volumes; leave it out")
    _units(draft, cohort)
    cohort, boxes, truth = nameless.tables(draft, cohort, boxes, truth, known)
    first = ("patient_id", "image", "frame", "label", "time_days", "event", "split", "mask", "valid_mask")
    first = [c for c in first if c in cohort]
    cohort = cohort[first + [c for c in cohort if c not in first and not str(c).startswith("_")]].copy()
    targets.settle(draft, cohort, [str(c) for c in draft.card.get("classes") or words(o.get("classes"))])
    order = [c for c in ("split", "image", "frame") if c in cohort]
    order += ["patient_id"] if known and "image" not in cohort and not draft.keeps_ids and not draft.made_up else []
    cohort = cohort.sort_values(order, kind="stable")  # never in the order of the ids that were replaced
    write = {"cohort.csv": cohort, "import_log.csv": pd.DataFrame(draft.log, columns=["file", "status", "reason"])}
    write |= {n: t for n, t in (("boxes.csv", boxes), ("truth.csv", truth)) if t is not None and len(t)}
    for name, table in write.items():
        table.to_csv(draft.folder / name, index=False)
    used = {str(v).split("::")[0] for c in ("image", *OTHERS) if c in cohort for v in cohort[c].dropna()}
    for name in sorted(set(draft.sha256) - used):
        (draft.folder / name).unlink(missing_ok=True)
        del draft.sha256[name]
    card = {k: v for k, v in draft.card.items() if v is not None}
    card |= {k: v for k in ("notes", "understood", "questions") if (v := getattr(draft, k))}
    card |= {"sha256": dict(sorted(draft.sha256.items()))} if draft.sha256 else {}
    text = yaml.safe_dump(_plain(card), sort_keys=False, allow_unicode=True, width=110)
    (draft.folder / "card.yaml").write_text(text, "utf-8")


def _units(draft, cohort):
    """Intensity and modality that files said and say no more (a picture of DICOM is written as NIfTI or npy)."""
    used = [f for i in cohort.get("image", pd.Series(dtype=object)).dropna()
            if (f := draft.facts.get(str(i).partition("::")[0])) and f.modality]
    units, kinds = {f.intensity for f in used}, {f.modality for f in used}
    if len(units) == 1 and len(used) == len(cohort) and "intensity" not in draft.options:
        draft.card["intensity"] = units.pop()
    elif len(units) > 1:
        draft.notes.append(f"images of different units: {', '.join(sorted(units))}")
    draft.card["modality"] = draft.card["modality"] or (kinds.pop() if len(kinds) == 1 else None)


def _split_as(draft, cohort):
    """Rename parts of the source's split, as in ``val:test`` for a collection whose test part is called val."""
    names = mapping("split-as", draft.options["split_as"])
    there = set(cohort["split"].dropna()) if "split" in cohort else set()
    for old, new in names.items():
        if old not in there or new not in cards.SPLITS:
            raise ValueError(f"--split-as {old}:{new}: the source has {', '.join(sorted(there)) or 'no split'}; "
                             f"expected PART:{'|'.join(cards.SPLITS)}")
    cohort["split"] = cohort["split"].map(lambda v: names.get(v, v), na_action="ignore")
    draft.notes += [f"the source's part {old} is here {new}" for old, new in names.items()]


def _plain(value):
    """Only types that YAML writes without tags."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
