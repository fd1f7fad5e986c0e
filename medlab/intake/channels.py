"""Several sequences of one patient as the channels of one image: files beside each other, or a file of four axes."""

import gzip
import re
from collections import defaultdict

from medlab.imaging import nifti
from medlab.intake import drafts, layouts, stacks

MOST = 4  # volumes of a file beside a mask of three axes that are sequences without being told so


NUMBERED = r"(?P<base>.+)_(?P<channel>\d{4})"


def numbered(images, masks) -> bool:
    """Whether stems of images end with the number of a channel, as ``X_0000`` and ``X_0001`` beside the mask ``X``."""
    found = [re.fullmatch(NUMBERED, s) for s in images]
    return bool(found) and all(found) and "0000" in {m["channel"] for m in found} and not set(images) & set(masks) and (
        bool({m["base"] for m in found} & set(masks)))


def sequences(rows) -> set:
    """Sequences that all cases of a folder have, of files such as ``X_t1`` and ``X_flair``; empty for any other."""
    found = [layouts.CHANNEL.fullmatch(layouts.stem(r["source"])) for r in rows]
    if not found or not all(m and not m["channel"].isdigit() for m in found):
        return set()
    cases = defaultdict(set)
    for row, m in zip(rows, found, strict=True):
        cases[(row["source"].rpartition("/")[0], m["base"])].add(m["channel"])
    every = set.union(*cases.values())
    return every if len(every) > 1 and sum(c == every for c in cases.values()) > len(cases) / 2 else set()


def named(draft, names=None) -> list:
    """Names of channels: those of ``--channels``, else those that the source says."""
    said = drafts.words(draft.options.get("channels"))
    return [str(n).strip() for n in said if str(n).lower() != "none"] or list(names or ())


def beside(draft, rows, names=()) -> list:
    """Sequences of a case as channels where its mask lies beside them, or ``--channels`` says so; else asked.

    ``--channels none`` leaves each an image of its own.
    """
    names, said = named(draft, names), draft.options.get("channels")
    every = sequences(rows)
    if not every or str(said or "").lower() == "none" or draft.options.get("_bids") and not said:
        return rows
    if not said and not any(r.get("mask_source") for r in rows):
        draft.ask(f"files of the sequences {', '.join(sorted(every))} are taken as the channels of one image a case",
                  "--channels NAME,NAME or --channels none")
    fits = sorted(n.lower() for n in names) == sorted(every)
    if said and not fits:
        raise ValueError(f"--channels {','.join(names)}: expected the sequences {','.join(sorted(every))} in the order "
                         "of the channels, or none")
    return together(draft, rows, layouts.CHANNEL, names if fits else ())


def together(draft, rows, form, names=()) -> list:
    """Rows of files as rows of cases: ``_channels`` are the files of one, in the order of their names.

    Parameters
    ----------
    form : str
        Regular expression of a stem with the groups ``base`` and ``channel``.
    names : list of str
        What the channels are called, in the order of their numbers; else as in the file names.

    A case without one of the channels is refused.
    """
    cases = defaultdict(dict)
    for row in rows:
        m = re.fullmatch(form, layouts.stem(row["source"]))
        cases[(row["source"].rpartition("/")[0], m["base"])][m["channel"]] = row
    every, kept = sorted(set().union(*cases.values())), []
    if sorted(n.lower() for n in names) == every:
        every = [n.lower() for n in names]  # the order that is asked for
    for (_, base), found in cases.items():
        missing = [c for c in every if c not in found]
        if missing:
            for row in found.values():
                draft.say(row["source"], "refused", f"its case lacks the channel {', '.join(missing)}")
            continue
        first = found[every[0]]
        parts = [(found[c]["source"], None) for c in every]
        case = f"{first['source'].rpartition('/')[0]}/{base}{stacks.suffix(first['source'])}".lstrip("/")
        original = re.match(re.escape(base), first["source"].split("/")[-1], re.I)
        case = case.replace(base, original[0]) if original else case
        kept.append(first | ({"_channels": parts, "_case": case} if len(every) > 1 else {}))
    if len(every) > 1:
        names = list(names) if len(names) == len(every) else every
        draft.card["channels"] = names
        draft.understand("channels", f"{', '.join(names)}: {len(every)} files of each of {len(kept)} cases "
                         f"({', '.join(p[0].split('/')[-1] for p in kept[0]['_channels'])}) are one image"
                         if kept else ", ".join(names))
    return kept


def volumes(path) -> int:
    """Number of volumes in a NIfTI file of four axes; 1 for any other, and for one that cannot be read."""
    if not str(path).lower().endswith((".nii", ".nii.gz")):
        return 1
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else open(path, "rb") as stream:
            shape = nifti.from_stream(stream).shape
    except Exception:  # a broken file is refused by name when it is read
        return 1
    return shape[3] if len(shape) == 4 else 1


def of_volumes(draft, rows, names=()) -> None:
    """Volumes of files with four axes become channels: where they are named, or masks have three axes only.

    Parameters
    ----------
    names : list of str
        As many as there are volumes; else they are numbered.
    """
    if draft.options.get("frame") is not None or str(draft.options.get("channels") or "").lower() == "none":
        return
    found = [(row, n) for row in rows if row["source"].lower().endswith(drafts.NIFTI) and "_channels" not in row
             and (n := volumes(draft.source / row["source"])) > 1]
    taken = [(row, n) for row, n in found if n == len(names) or (
        n <= MOST and row.get("mask_source") and volumes(draft.source / row["mask_source"]) == 1)]
    for row, n in taken:
        row |= {"_channels": [(row["source"], i) for i in range(n)], "_case": row["source"]}
    counts = {n for _, n in taken}
    if draft.options.get("channels") and found and counts != {len(names)}:
        row, n = found[0]
        raise ValueError(f"--channels {','.join(names)}: {len(names)} names, but {row['source']} holds {n} volumes; "
                         "expected a name for each, none, or --frame N")
    if taken:
        known = list(names) if counts == {len(names)} else [f"volume {i}" for i in range(max(counts))]
        draft.card["channels"] = known
        draft.understand("channels", f"{', '.join(known)}: the volumes of {len(taken)} files with four axes"
                         + ("" if names else "; not named (--channels NAME,NAME names them)"))
