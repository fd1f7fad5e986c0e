"""Which level of the folders holds the classes, which the patients, which the parts of the source.

Levels are counted from 1, the folders right below the source. Parts (train, test), folds and words such as images are
found by their names at any level; a folder that repeats its siblings (``yes no copy/{yes,no}``) counts as none.
"""

import filecmp
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from medlab.intake import drafts, layouts

PART = r"[-_ .]*(set|sets|data|dataset|images?|imgs?|split|part|cases)$"
NOTHING = {*layouts.IMAGES, "anat", "func", "png", "jpg", "jpeg", "tif", "tiff", "dicom",
           "nifti", "nii", "data", "pictures", "photos", "scans", "slices", "all"}
PEOPLE = r"^(p|pt|pat|patient|patientid|sub|subj|subject|case|person|id|vol|volume|scan|study|exam|animal)\W*_*$"
GRADES = r"^(grade|class|stage|kl|birads|score|level|label|category|cat|type|dr|group|g|c)\W*_*$"
BATCH = r"(.*[-_ .])?(images|imgs|part|batch|chunk|shard|archive)[-_ .]*\d+"  # of a collection in several archives
VISITS = (r"(baseline|screening|follow[-_ ]?up|month|visit|week|year|day|session|ses|time[-_ ]?point|tp|pre|post|"
          r"before|after|left|right|od|os|frontal|lateral|cc|mlo)[-_ ]?\d*")  # times, sides, views: no classes
MOST = 30  # folders of words that can still be classes


@dataclass
class Level:
    """A level of the folders: its number, files by name, share of names below several parents, kind, groups."""

    number: int
    names: Counter
    repeated: float
    kind: str
    groups: tuple = ()


def read(draft, rows, strict=True) -> list:
    """Give rows the columns ``label``, ``split`` and ``patient_id`` that their folders say.

    Parameters
    ----------
    rows : list of dict
        ``source``, relative paths.
    strict : bool
        Whether classes are what the images are for: two levels that could both hold them are then refused.

    Returns
    -------
    list of dict
        Without the copies below a folder that repeats its siblings.

    Raises
    ------
    ValueError
        Two levels could be the classes, or folders could be classes as well as patients.
    """
    rows, paths = _unwrapped(draft, rows)
    rows = _parts(draft, rows, paths)
    found = levels([paths[r["source"]] for r in rows], [layouts.stem(r["source"]) for r in rows])
    chosen = {role: _chosen(draft, found, role) for role in ("class", "patient")}
    groups = re.findall(r"\(\?P<(\w+)>", str(draft.options.get("patient_pattern") or ""))
    if draft.options.get("label") or "label" in groups:
        chosen["class"] = None
    elif chosen["class"] == "":
        chosen["class"] = _of_classes(draft, [v for v in found if v != chosen["patient"]], strict)
    if "patient_id" in groups or draft.options.get("_bids"):
        chosen["patient"] = None
    elif chosen["patient"] == "":
        chosen["patient"] = _of_patients([v for v in found if v != chosen["class"]], rows)
    for role, column in (("class", "label"), ("patient", "patient_id")):
        level = chosen[role]
        for row in rows if level else ():
            path = paths[row["source"]]
            name = path[level.number - 1] if len(path) >= level.number else None
            row[column] = name if name in level.names else None
    if chosen["class"]:
        _same_spelling(rows, draft)
        draft.options["_class_rule"] = f"from folder level {chosen['class'].number}"
    if chosen["patient"]:
        draft.options["_patient_rule"] = f"from folder level {chosen['patient'].number}"
    _left_over(draft, found, chosen)
    return rows


def levels(paths, stems) -> list[Level]:
    """Levels that tell files apart: several names, no parts, folds or words such as images; one kind each.

    Parameters
    ----------
    paths, stems : list
        Of each file its folders and its own name.
    """
    found = []
    for i in range(max(map(len, paths), default=0)):
        there = [p for p in paths if len(p) > i]
        names = Counter(p[i] for p in there)
        words = {n for n in names if not (_part(n) or _fold(n) or n.lower() in NOTHING or re.fullmatch(BATCH, n, re.I))}
        if len({n.lower() for n in words}) < 2 or sum(names[n] for n in words) < len(paths) / 2:
            continue
        parents = defaultdict(set)
        for path in there:
            parents[path[i]].add(tuple(path[:i]))
        repeated = sum(len(p) > 1 for p in parents.values()) / len(parents)
        names = Counter({n: names[n] for n in words})
        ids = all(s.startswith(p[i].lower()) for p, s in zip(paths, stems, strict=True) if len(p) > i and p[i] in names)
        first = {}
        groups = tuple(first.setdefault(p[i] if len(p) > i else None, len(first)) for p in paths)
        found.append(Level(i + 1, names, repeated, _kind(names, ids), groups))
    return found


def _kind(names, ids):
    """What folders of these names hold: "class", "patient", "sequence", or "either"; `ids`: files begin with them."""
    lower = {n.lower() for n in names}
    if all(re.fullmatch(layouts.SEQUENCES, n) for n in lower) or all(re.fullmatch(VISITS, n) for n in lower):
        return "sequence"
    with_digit = [n for n in lower if re.search(r"\d", n)]
    shapes = {re.sub(r"[a-z]+", "a", re.sub(r"\d+", "0", n)) for n in lower}
    each = sum(names.values()) / len(names)
    if each < 2 and (ids and with_digit or all(re.fullmatch("[0-9a-f]{16,}", n) for n in lower)):
        return "patient"
    if len(with_digit) == len(lower) and len(shapes) <= max(1, len(lower) // 10):
        words = {re.sub(r"\d+", "", n).strip() for n in lower}
        numbers = sorted({int(re.findall(r"\d+", n)[-1]) for n in lower})
        small = len(numbers) == len(lower) <= 10 and numbers[0] in (0, 1) and numbers[-1] - numbers[0] < len(numbers)
        grades = numbers[0] == 0 or len(numbers) <= 5 or any(words)
        graded = all(re.match(GRADES, w) for w in words)
        if each < 2 or len(words) == 1 and re.match(PEOPLE, *words) or ids and not graded and min(map(len, lower)) > 2:
            return "patient"
        if len(lower) < 5 and len(words) == len(lower) > 1:  # NCT-CRC-HE-100K, CRC-VAL-HE-7K: two collections
            return "either"
        if small and grades and len(words) == 1 and (not any(words) or graded):
            return "class"
        return "either" if small else "patient"
    return "class" if len(lower) <= MOST and (each >= 2 or len(lower) <= 10) else "either"


def _chosen(draft, found, role):
    """The level that ``--class-level`` or ``--patient-level`` names, None for ``none``, "" where it is not given."""
    said = draft.options.get(f"{role}_level")
    if said is None:
        return ""
    if str(said).lower() in ("none", "0", "false"):
        return None
    level = next((v for v in found if str(v.number) == str(said)), None)
    if level is None:
        raise ValueError(f"--{role}-level {said}: expected none or one of the levels {_shown(found) or '(none)'}")
    return level


def _of_classes(draft, found, strict):
    sure = _outer([v for v in found if v.kind == "class"])
    open_ = [v for v in found if v.kind == "either"]
    if not sure and not open_:
        return None
    inner = [v for v in open_ if v.repeated > 0.5 and len(v.names) <= 10]
    if not sure and len(inner) == 1 and len(found) > 1:  # PATIENT/a, PATIENT/b
        return inner[0]
    if len(sure) == 1:
        return sure[0]
    if draft.options.get("patient_level") and len(open_) == 1 and not sure:
        return open_[0]
    if not strict:
        return None
    raise ValueError(f"{draft.source.name}: which folders are the classes? {_shown(sure or open_)}; say it with "
                     "--class-level NUMBER, or none" + ("" if sure else ", and --patient-level NUMBER if they are "
                                                        "patients"))


def _outer(found):
    """Of levels that group the files alike only the outer one."""
    return list({level.groups: level for level in reversed(found)}.values())[::-1]


def _of_patients(found, rows):
    """The outermost level of ids, unless each of its folders holds one picture that bears its name."""
    level = next((v for v in found if v.kind == "patient"), None)
    if level is None or (len(level.names) == len(rows) and not rows[0]["source"].lower().endswith(drafts.NIFTI)):
        return None
    return level


def _shown(found):
    return "; ".join(f"level {v.number}: {', '.join(f'{n} ({k})' for n, k in list(sorted(v.names.items()))[:4])}"
                     + (f" and {len(v.names) - 4} more" if len(v.names) > 4 else "") for v in found)


def _left_over(draft, found, chosen):
    rest = [v for v in found if v not in chosen.values()]
    if rest:
        draft.understand("folders", f"neither class nor patient: {_shown(rest)}")
    if len(found) == len(rest) == 1 and rest[0].kind == "sequence" and draft.options.get("class_level") is None:
        names = ", ".join(sorted(rest[0].names)[:4])
        draft.ask(f"folders {names} look like sides, visits or sequences, not like classes",
                  f"--class-level none, or {rest[0].number} if they are")


def _part(name):
    """Part of the source that a folder names (train, val, test), and what is left of its name."""
    lower = re.sub("^(images|labels)(?=t[rs]$)", "", name.lower())
    if lower in drafts.SPLIT_NAMES:
        return drafts.SPLIT_NAMES[lower], ""
    lower = re.sub(PART, "", lower)
    if lower in drafts.SPLIT_NAMES:
        return drafts.SPLIT_NAMES[lower], ""
    for form in (r"(?P<rest>.+)[-_ .](?P<part>train|training|val|valid|validation|test|testing)",
                 r"(?P<part>train|training|val|valid|validation|test|testing)[-_ .](?P<rest>.+)"):
        if m := re.fullmatch(form, name, re.I):
            return drafts.SPLIT_NAMES[m["part"].lower()], m["rest"]
    return None


def parts_of(files) -> list:
    """Part of the source that the folders of each file name: train, val or test; None where they name none."""
    paths = [f.split("/")[:-1] for f in files]
    whole = _whole(paths)
    return [next((p[0] for n in path if (p := _part(n)) and p[1] in whole), None) for path in paths]


def _whole(paths):
    """What is left of names of folders beside a part: nothing, or the same beside several parts."""
    rests = defaultdict(set)
    for part in (p for path in paths for n in path if (p := _part(n))):
        rests[part[1]].add(part[0])
    return {r for r, parts in rests.items() if not r or len(parts) > 1}  # a class called test_tube is no part


def _fold(name):
    return re.fullmatch(r"(cv[-_ ]?)?fold[-_ ]?\d+|\d+[-_ ]?fold", name.lower())


def _parts(draft, rows, paths):
    """Column ``split``; rows whose path names several parts are refused, ``benign_train`` becomes ``benign``."""
    kept, whole = [], _whole(paths[r["source"]] for r in rows)
    for row in rows:
        path = paths[row["source"]]
        parts = [(i, *part) for i, p in enumerate(path) if (part := _part(p)) and part[1] in whole]
        if len({p[1] for p in parts}) > 1:
            draft.say(row["source"], "refused", f"its path names several splits ({', '.join(p[1] for p in parts)})")
            continue
        for i, _, rest in parts:
            path[i] = rest or path[i]
        row["split"] = parts[0][1] if parts else None
        kept.append(row)
    folds = Counter(p for r in kept for p in paths[r["source"]] if _fold(p))
    if len(folds) > 1:
        _check_folds(draft, kept, folds)
    named = {r["split"] for r in kept} - {None}
    if named == {"train"}:
        draft.understand("parts", "train is the only part of the source: it is no split")
    if named in (set(), {"train"}) or draft.options.get("split"):
        for row in kept:
            del row["split"]
    elif kept:
        draft.options["_split_rule"] = "from the names of folders"
    return kept


def _check_folds(draft, rows, folds):
    sizes = Counter((r["source"].split("/")[-1], (draft.source / r["source"]).stat().st_size) for r in rows)
    if sum(n > 1 for n in sizes.values()) > len(sizes) / 2:
        raise ValueError(f"{draft.source.name}: {len(folds)} folds ({', '.join(sorted(folds)[:3])} ...) hold the same "
                         "files again: give the folder of one of them as the source, or use medlab repeat --folds")
    draft.understand("folds", f"{len(folds)} folders ({', '.join(sorted(folds)[:3])} ...): neither classes nor parts")


def _unwrapped(draft, rows):
    """Paths without folders that repeat their siblings; copies below these are left out, once named."""
    paths = {r["source"]: r["source"].split("/")[:-1] for r in rows}
    below = {}
    while wrapper := _wrapper(paths.values()):
        for file, path in paths.items():
            if tuple(path[:len(wrapper)]) == wrapper:
                below[file] = wrapper[-1]
                del path[len(wrapper) - 1]
    if not below:
        return rows, paths
    outer, sizes = {}, defaultdict(list)
    for file in (f for f in paths if f not in below):
        outer["/".join([*paths[file], file.split("/")[-1]])] = file
        sizes[(draft.source / file).stat().st_size].append(file)
    copies, alike = {}, {}
    for file in below:
        here = draft.source / file
        twin = next((f for f in sizes[here.stat().st_size] if filecmp.cmp(here, draft.source / f, shallow=False)), None)
        namesake = outer.get("/".join([*paths[file], file.split("/")[-1]]))
        copies |= {file: twin} if twin else {}
        alike |= {file: namesake} if namesake and not twin else {}
    _tell_copies(draft, below, copies, alike)
    return [r for r in rows if not _is_copy(draft, r["source"], copies, alike)], paths


def _wrapper(paths):
    """Path of a folder whose folders have the names of its siblings, or None."""
    children = defaultdict(set)
    for path in paths:
        for i, name in enumerate(path):
            children[tuple(path[:i])].add(name)
    for parent, names in sorted(children.items()):
        alike = [n for n in names if len(names & children.get((*parent, n), set())) > 1]
        inside = children.get((*parent, *alike), set()) if len(alike) == 1 else set()
        siblings = names - set(alike)
        if inside and (siblings <= inside or inside <= siblings):
            return (*parent, *alike)
    return None


def _is_copy(draft, file, copies, alike):
    if file in copies:
        other = copies[file] if copies[file].split("/")[-1] != file.split("/")[-1] else "the file of its name"
        draft.say(file, "refused", f"a copy of {other} beside its folder, which is taken")
    elif file in alike and draft.options.get("copies") == "once":
        draft.say(file, "refused", "--copies once: the file of its name beside its folder is taken")
    else:
        return False
    return True


def _tell_copies(draft, below, copies, alike):
    names = ", ".join(sorted(set(below.values())))
    once = ", left out (--copies once)" if draft.options.get("copies") == "once" else ""
    said = [f"{len(copies)} are copies and left out"] * bool(copies)
    said += [f"{len(alike)} bear the names of files beside it and differ{once}"] * bool(alike)
    draft.understand("copies", f"folder {names} repeats the folders beside it; of its {len(below)} files "
                     + (", ".join(said) or "none is a copy"))
    if alike and not draft.options.get("copies"):
        file = min(alike)
        draft.ask(f"{len(alike)} files below {names} bear the names of files beside it but differ ({file} from "
                  f"{alike[file]}): taken as images of their own", "--copies all|once")


def _same_spelling(rows, draft):
    """Glioma below train and glioma below test are one class: the more frequent spelling."""
    counts, best = Counter(r["label"] for r in rows if r["label"]), {}
    for label, _ in counts.most_common():
        best.setdefault(label.casefold(), label)
    for label in counts:
        if best[label.casefold()] != label:
            draft.notes.append(f"class folder {label} counted as {best[label.casefold()]}")
    for row in rows:
        row["label"] = best[row["label"].casefold()] if row["label"] else None
