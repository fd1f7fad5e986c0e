"""Which series of a DICOM tree are taken, and which volumes of a series: modality, description, echo, time point."""

from collections import Counter, defaultdict
from fnmatch import fnmatchcase

import numpy as np

from medlab.imaging import volumes
from medlab.imaging.dicom import BadImage, dataset
from medlab.intake import descriptions, studies

SCREENSHOT = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture


def modalities(draft, groups, wanted) -> list[dict]:
    """Series of the modalities of ``--modality``; several without it are a question.

    Parameters
    ----------
    wanted : list of str
        Codes, ``["all"]``, or empty.

    Raises
    ------
    ValueError
        A modality that no series has.
    """
    counts = Counter(g["modality"] for g in groups)
    of = {m: len({g["patient"] for g in groups if g["modality"] == m}) for m in counts}
    told = ", ".join(f"{m} ({n} series of {of[m]} patient{'s' * (of[m] > 1)})" for m, n in counts.most_common())
    draft.understand("modality", told + (f"; taken: {', '.join(wanted)}" if wanted else ""))
    wanted = [w.strip() for w in wanted]
    if not wanted and len(counts) > 1:
        draft.ask(f"images of {len(counts)} modalities in one dataset: {told}", "--modality "
                  f"{counts.most_common()[0][0]} or --modality all")
    unstated = set(counts) == {"OT"}  # files that do not state it: the option is a word for the card
    if not wanted or wanted == ["all"] or unstated:
        return groups
    lost = [w for w in wanted if w.upper() not in counts]
    if lost:
        raise ValueError(f"--modality {','.join(wanted)}: no series of {lost[0]}; found {told}")
    return _kept(draft, groups, lambda g: g["modality"] in {w.upper() for w in wanted},
                 lambda g: f"modality {g['modality']}, not of --modality")


def described(draft, groups, patterns) -> list[dict]:
    """Series whose description fits a pattern (* and ?, capitals do not matter) or is a number such as ``#2``."""
    descriptions.label(groups)
    if not patterns:
        return _images(draft, groups)
    wanted = [p.strip().lower() for p in patterns]

    def fits(g):
        return any(fnmatchcase(g["description"].lower(), p) or g["shown"] == p for p in wanted)

    if not any(map(fits, groups)):
        raise ValueError(f"--series: none of {len(groups)} series fits; found {descriptions.in_words(groups)} "
                         "(a number stands for a description that may name a person)")
    return _kept(draft, groups, fits, lambda g: "its description does not fit --series")


def _images(draft, groups):
    """Without scouts and screenshots (secondary captures, which may show a name) where the study has other series."""
    real = {(g["patient"], g["study"]) for g in groups if not _beside(g)}
    return _kept(draft, groups, lambda g: not _beside(g) or (g["patient"], g["study"]) not in real, lambda g:
                 f"{_beside(g)} beside other series of the study" + " (--series takes it)" * bool(g["description"]))


def _beside(g):
    if g["modality"] not in studies.PLANAR and g["class"].startswith(SCREENSHOT):
        return "a screenshot (secondary capture, may show text)"
    slices = [s for i in g["items"] for s in i["slices"]]
    return "a localizer" if slices and all(s.scout for s in slices) else None


def _kept(draft, groups, keep, reason):
    for g in groups:
        if not keep(g):
            draft.say(f"series of {studies.files_of(g)}", "refused", reason(g))
    return [g for g in groups if keep(g)]


def split(draft, groups, echo=None, frame=None) -> list[dict]:
    """One entry per volume; several in a series are a question unless an option says which.

    Parameters
    ----------
    echo : int, optional
        1 is the shortest echo time.
    frame : int or "all", optional
        Of the volumes (of that echo) the one of this number, from 0.

    Raises
    ------
    ValueError
        An option that no series needs, or of a number that none has.
    """
    left_out = Counter()
    found = [_volumes(draft, g, left_out) for g in groups]
    for why, n in left_out.items():
        draft.understand("left out", f"{n} file{'s' * (n > 1)}: {why}")
    several = [f for f in found if len(f) > 1]
    for g, n in ((g, n) for f in several for n, g in enumerate(f, 1)):
        g["volume"] = n
    told = Counter(f"{len(f)} volumes told apart by {_apart(f)}" for f in several)
    text = "; ".join(f"{n} series with {t}" for t, n in told.most_common(6))
    if several:
        draft.understand("volumes in one series", f"{text}; each is an image" if echo is None and frame is None else
                         f"{text}; taken: " + ", ".join(f"--{k} {v}" for k, v in (("echo", echo), ("frame", frame))
                                                        if v is not None))
    if echo is not None:
        found = [_echo(f, echo) for f in found]
        _some(found, several, f"--echo {echo}", "several echoes", text)
    if frame is not None and frame != "all":
        frame = int(frame)
        found = [f[frame:frame + 1] if len(f) > 1 else f for f in found]
        _some(found, several, f"--frame {frame}", "several volumes", text)
    left = [f for f in found if len(f) > 1]
    if left and frame is None:
        echoes = any("echo" in _differing(f) for f in left)
        draft.ask(f"{text}: each taken as an image of its own", ("--echo N (1 the shortest), " if
                  echoes else "") + "--frame N (one volume, from 0) or --frame all")
    return [g for f in found for g in f]


def _some(found, several, option, what, text):
    if not several or not all(found):
        raise ValueError(f"{option}: " + (f"no such volume in every series; found {text}" if several else
                                          f"no series holds {what}"))


def _differing(found):
    """{tag: values} that tell the volumes of a series apart."""
    return {k: [g["told"].get(k) for g in found] for k in dict.fromkeys(k for g in found for k in g["told"])}


def _apart(found):
    names = [k for k, v in _differing(found).items() if len(set(map(str, v))) > 1]
    return " and ".join("the order of acquisition alone" if n == "order" else n for n in names) or "orientation or size"


def _echo(found, echo):
    times = sorted({g["told"]["echo"] for g in found if g["told"].get("echo") is not None}, key=str if any(
        isinstance(g["told"].get("echo"), str) for g in found) else None)
    if not times:
        return found
    return [g for g in found if g["told"].get("echo") == times[echo - 1]] if 0 < echo <= len(times) else []


def _volumes(draft, g, left_out):
    """Entries of the volumes in one series; scouts and stray slices among the others are refused file by file."""
    parts, same = _parts(g)
    if len(parts) < 2 or any(s.plane.position is None or s.plane.along is None or s.plane.spacing is None
                             for *_, s in parts):
        return [{**g, "told": {}}]
    scouts = [p for p in parts if p[2].scout]
    scouts = scouts if len(scouts) < len(parts) else []
    stacks = _stacks([p for p in parts if not p[2].scout] if scouts else parts)
    largest = max(map(len, stacks))
    stray = [p for s in stacks if len(s) < 3 <= largest for p in s]
    for left, why in ((scouts, "a localizer among the slices of a series"),
                      (stray, "another orientation or size than the other slices of the series (a scout?)")):
        files = list({id(p[0]): p[0]["file"] for p in left}.values())
        for file in files:
            studies.refuse(draft, file, f"{why}: left out")
        left_out.update({why: len(files)} if files else {})
    return [v for stack in stacks if largest < 3 or len(stack) > 2 for v in _of_stack(draft, g, stack, same)]


def _parts(g):
    """(item, frame, slice) of each instance, and the other files of one instance by the file that stands for it."""
    parts, same, first = [], defaultdict(list), {}
    for item in g["items"]:
        other = first.setdefault(item["sop"] or item["file"], item)
        if other is not item:
            same[other["file"]].append(item)
            continue
        several = len(item["slices"]) > 1
        parts += [(item, i if several else None, s) for i, s in enumerate(item["slices"])]
    return parts, same


def _stacks(parts):
    """Slices of one orientation, spacing and size each, in the order of the files."""
    found = []
    for part in parts:
        plane, shape = part[2].plane, part[2].shape
        for stack in found:
            other = stack[0][2]
            if (shape == other.shape and np.abs(plane.along - other.plane.along).max() <= 1e-3
                    and np.allclose(plane.spacing, other.plane.spacing, rtol=1e-3)):
                stack.append(part)
                break
        else:
            found.append([part])
    return found


def _of_stack(draft, g, stack, same):
    """Entries of the volumes among slices of one orientation."""
    def pixels(k):
        item, frame, _ = stack[k]
        try:
            return k if frame is not None else volumes.content(dataset(draft.source / item["file"]))
        except BadImage:
            return k  # broken: reading says so

    try:
        found, told, twice = volumes.split([s for *_, s in stack], pixels, "series")
    except BadImage as error:
        found, told, twice, problem = [list(range(len(stack)))], [{}], 0, error.reason
    else:
        problem = None
    if len(found) == 1:
        found, twice = [list(range(len(stack)))], 0  # copies: reading leaves them out and says so
    entries = []
    for members, tags in zip(found, told, strict=True):
        files = list({id(stack[k][0]): stack[k][0] for k in members}.values())
        frames = [stack[k][1] for k in members if stack[k][1] is not None]
        numbers = files[0]["numbers"] | ({"echo_time_ms": tags["echo"]} if isinstance(tags.get("echo"), float) else {})
        entries.append({**g, "items": [i for f in files for i in (f, *same[f["file"]])], "numbers": numbers,
                        "kinds": files[0]["kinds"], "frames": frames, "told": tags, "problem": problem,
                        "said": [f"{twice} slices that occur twice left out"] if twice else []})
    return entries
