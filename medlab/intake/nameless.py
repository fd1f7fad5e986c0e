"""The last step of every import: nothing that is written names a person.

Ids of patients become pseudonyms. Files are named by them, or by a keyed hash, where their own names hold ids or look
like names and dates; the log, the notes and the tables follow. Columns that no rule has passed yet are checked.
"""

import re
from collections import Counter
from pathlib import PurePosixPath

import pandas as pd

from medlab import storage
from medlab.cohorts import cards, datasets, identifiers, moments
from medlab.intake import pseudonyms

FILES = ("image", "mask", "valid_mask", "events")
TAIL = re.compile(r"((?:_bold|_events|_numbers)?(?:\.nii)?\.[^./]+)$", re.I)
SPLIT = re.compile(r"(\s+)")


def tables(draft, cohort, boxes, truth, known) -> tuple:
    """Cohort, boxes and truth without identifiers; files, log, notes and card of the draft likewise.

    Parameters
    ----------
    draft : drafts.Draft
    known : bool
        Whether ``patient_id`` names patients (else one was counted for each image).
    """
    if not draft.made_up:
        cohort, boxes, truth = (_columns(draft, t) for t in (cohort, boxes, truth))
        capped = moments.cap_ages(cohort)
        draft.notes += [f"column {c}: ages above 89 years are 90 (they identify)" for c in capped]
    if known and not draft.made_up:
        alias = draft.alias(cohort["patient_id"])
        for table in (t for t in (cohort, truth) if t is not None and "patient_id" in t):
            table["patient_id"] = table["patient_id"].map(lambda who: alias.get(str(who), str(who)))
        draft.understand("patient ids", "kept as they are (--keep)" if draft.keeps_ids else
                         f"pseudonyms, such as {cohort['patient_id'].iloc[0]} ("
                         + ("--link-table FILE writes the pairs)" if draft.options.get("_hide") else
                            "--keep patient_id keeps the ids)"))
    reason = _why(draft)
    if reason:
        renamed = _rename(draft, cohort, known)
        for table in (t for t in (boxes, truth) if t is not None and "image" in t):
            table["image"] = table["image"].map(lambda i: _new(renamed, i), na_action="ignore")
        draft.understand("names of files", f"replaced: {reason} (--link-table FILE writes the pairs)")
        _say_no_names(draft)
    for entry in (*draft.log, *draft.understood, *draft.questions):
        entry |= {k: storage.inert(v) for k, v in entry.items()}
    draft.notes[:] = map(storage.inert, draft.notes)
    return cohort, boxes, truth


def _columns(draft, table):
    """A table without the columns that identify, in printable words."""
    if table is None:
        return None
    table = table.rename(columns={c: storage.inert(c) for c in table if not str(c).isprintable()})
    core = {*datasets.RESERVED, *cards.BOX_COLUMNS, *draft.checked}
    open_ = [c for c in table if c not in core and not str(c).startswith(("_", "label_"))]
    persons = table.drop_duplicates("patient_id") if "patient_id" in table else table
    kept = str(draft.options.get("keep") or "")
    found = identifiers.identifying(persons[open_], [c for c in open_ if draft.keeps(c)] if kept else (),
                                    None if draft.keeps_ids else persons.get("patient_id"))
    left_out(draft, found)
    table = table.drop(columns=list(found))
    for column in (c for c in table if table[c].dtype == object and not str(c).startswith("_")):
        odd = table[column].map(lambda v: isinstance(v, str) and not v.isprintable())
        if odd.any():
            table.loc[odd, column] = table.loc[odd, column].map(storage.inert)
    return table


def left_out(draft, found) -> None:
    """Say which columns are left out as identifiers, and why."""
    if found:
        draft.understand("identifiers dropped", ", ".join(f"{c} ({why})" for c, why in found.items()))
    draft.notes += [f"column {c} left out: {why} (--keep {c} takes it)" for c, why in found.items()]


def _why(draft):
    """Why names of files are replaced, or None."""
    if draft.made_up or draft.options.get("_hide") or draft.keeps_ids or draft.keeps("files"):
        return None
    if draft.options.get("pseudonyms"):
        return "--pseudonyms"
    if draft.names and any(who != alias for who, alias in draft.aliases.items()):
        return "the ids of patients are in them or can be looked up by them"
    looks = identifiers.in_names(list(draft.names))
    return f"they look like {looks} (--keep files keeps them)" if looks else None


def _rename(draft, cohort, known):
    """Give every file of the cohort a name that says nothing; {old: new}."""
    new, taken, counts = {}, set(), Counter()
    original = {name: source for source, name in draft.names.items()}
    secret = pseudonyms.key()
    files = pd.DataFrame({c: cohort[c].map(_file, na_action="ignore") for c in FILES if c in cohort})
    persons = cohort.groupby(files["image"])["patient_id"].nunique() if "image" in files else {}
    for i in files.index:
        image = files.at[i, "image"]
        for column in (c for c in files if isinstance(files.at[i, c], str) and files.at[i, c] not in new):
            old = files.at[i, column]
            if "/" not in old:  # named by the kind, not by the source
                continue
            if known and persons[image] == 1:
                stem = new[image].rpartition("/")[2] if image in new else ""
                stem = TAIL.sub("", stem)
                if not stem or column == "image":
                    counts[cohort.at[i, "patient_id"]] += 1
                    stem = f"{cohort.at[i, 'patient_id']}_{counts[cohort.at[i, 'patient_id']]}"
            else:
                stem = "f" + pseudonyms.mark(original.get(image, image), secret, "file")
            name = f"{old.partition('/')[0]}/{stem}{TAIL.search(old)[1].lower()}"
            while name in taken:
                name = TAIL.sub(r"x\1", name)
            new[old] = name
            taken.add(name)
    _move(draft, new)
    for column in files:
        cohort[column] = cohort[column].map(lambda v: _new(new, v), na_action="ignore")
    draft.names = {source: new.get(name, name) for source, name in draft.names.items()}
    return new


def _file(text):
    return str(text).partition("::")[0]


def _new(renamed, text):
    file, separator, member = str(text).partition("::")
    return renamed.get(file, file) + separator + member


def _move(draft, renamed):
    """Rename below the dataset folder, with the sidecars of NIfTI files; folders that are empty then go."""
    for old, new in renamed.items():
        sidecars = [tuple(re.sub(r"\.nii(\.gz)?$", ".json", n, flags=re.I) for n in (old, new))]
        for one, other in [(old, new), *(s for s in sidecars if s[0] != old)]:
            if (draft.folder / one).exists():
                (draft.folder / other).parent.mkdir(parents=True, exist_ok=True)
                (draft.folder / one).rename(draft.folder / other)
        if old in draft.sha256:
            draft.sha256[new] = draft.sha256.pop(old)
    for folder in sorted((p for p in draft.folder.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _say_no_names(draft):
    """Log, notes and questions with pseudonyms for ids and files; the pairs go into the link table."""
    known = {who: alias for who, alias in draft.aliases.items() if _tells(who)}
    for source, name in draft.names.items():
        path = PurePosixPath(source)
        known |= {source: name} | {n: name for n in (path.name, path.name.partition(".")[0]) if _tells(n)}
        draft.link_table.append({"original": source, "pseudonym": name})
    files = {e["file"].partition("::")[0] for e in draft.log} - draft.names.keys()
    known |= {f: draft.mark(f) for f in sorted(files) if re.fullmatch(r"[^,]*\.\w{1,5}|.*/.*", f)}
    for row in (*draft.log, *draft.understood, *draft.questions):
        row |= {k: _scrubbed(v, known) for k, v in row.items() if k != "status"}
    draft.notes[:] = [_scrubbed(n, known) for n in draft.notes]
    draft.log.sort(key=lambda e: (e["status"], e["file"]))  # the order of names would tell them


def _tells(word):
    """Whether a word is more than a short number, which may stand in any sentence."""
    return len(word) > 2 and bool(re.search(r"[^\W\d]|\d{5}", word))


def _scrubbed(text, known):
    """Text in which every known name, alone or of up to six words, is replaced."""
    parts, i, out = SPLIT.split(str(text)), 0, []
    while i < len(parts):
        for last in range(min(i + 11, len(parts)), i, -2):
            piece = "".join(parts[i:last])
            plain = piece.strip("'\"`,;:()[]{}")
            name = known.get(plain) or known.get(_file(plain))
            if plain and name:
                out.append(piece.replace(plain, name + plain[len(_file(plain)):] if plain not in known else name))
                i = last
                break
        else:
            out.append(parts[i])
            i += 1
    return "".join(out)
