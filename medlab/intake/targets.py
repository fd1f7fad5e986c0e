"""What a cohort is to predict, settled before it is written: classes, the positive one, outcomes, parts, in words."""

from collections import Counter

from medlab.cohorts import cards, meanings, vocabulary

PROGRAMS = ("", ".", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "?", "-")  # no words of a person


def settle(draft, cohort, said) -> None:
    """Classes and positive class of the card; how outcomes, patients and parts were read is told, guesses are asked.

    Parameters
    ----------
    cohort : DataFrame
        As it will be written; labels that are words for missing are emptied in place.
    said : list of str
        Classes by the option or the source's own card; empty where nobody said them.

    Raises
    ------
    ValueError
        For labels outside the classes, a positive class that is none, a part that is no split.
    """
    if "label" in cohort:
        _labels(draft, cohort, said)
        _positive(draft, draft.card["classes"])
    if "time_days" in cohort and cohort["time_days"].notna().any():
        _survival(draft, cohort.drop_duplicates("patient_id"))
    draft.understand("patients", f"{cohort['patient_id'].nunique()} in {len(cohort)} rows"
                     if draft.card["patients"] == "known" else f"unknown; {len(cohort)} rows")
    if "split" in cohort:
        _parts(draft, cohort["split"])


def _labels(draft, cohort, said):
    """Labels are classes, but words for missing that nobody said are classes."""
    counts = cohort["label"].dropna().astype(str).value_counts()
    gaps = {w: n for w, n in counts.items() if w not in said and vocabulary.is_missing(w)}
    found = sorted(w for w in counts.index if w not in gaps)
    listed = ", ".join(f"{w} ({n})" for w, n in gaps.items())
    classes = said or found
    if not said:
        _doubtful(draft, found, counts)
    if set(found) - set(classes):
        raise ValueError(f"classes {classes}: the images also carry {sorted(set(found) - set(classes))}")
    if gaps and len(found) < 2:
        raise ValueError(f"label: {listed} read as no label, which leaves {found[0] if found else 'no class'}; where "
                         f"it is a class say --classes {','.join(sorted([*found, *gaps]))}")
    if gaps:
        cohort["label"] = cohort["label"].where(~cohort["label"].astype(str).isin(gaps), None)
        if not said and not (set(gaps) <= set(PROGRAMS) and draft.options.get("label")):
            draft.ask(f"{listed}: read as no label; is it a class?", f"--classes {','.join(sorted([*found, *gaps]))}")
    empty = int(cohort["label"].isna().sum())
    draft.understand("label", ", ".join(f"{c} ({counts.get(c, 0)})" for c in classes)
                     + (f"; {empty} without" if empty else "") + (f", {listed} among them" if gaps else ""))
    draft.card["classes"] = classes


def _doubtful(draft, found, counts):
    """Ask about classes that may be a code for missing, or one class in two spellings."""
    listed, column = ",".join(found), draft.options.get("label") or "label"
    codes = [w for w in found if w.lstrip("-") in ("9", "99", "999") or w == "-1"]
    rest = set(found) - set(codes)
    if codes and len(rest) > 1 and rest <= set("012345"):
        draft.ask(f"label {codes[0]} ({counts[codes[0]]}) often stands for missing, read as a class",
                  f"--missing {column}:{codes[0]} or --classes {listed}")
    alike = Counter(w.casefold() for w in found)
    twice = [f"{w} ({counts[w]})" for w in found if alike[w.casefold()] > 1]
    if twice:
        draft.ask(f"labels {', '.join(twice)} differ in capitals only, read as different classes; where they are one, "
                  "write it in one way", f"--classes {listed}")


def _positive(draft, classes):
    """The positive class of two by its meaning, else the last and a question."""
    said = draft.card.get("positive")
    if said is not None and said not in classes:
        raise ValueError(f"positive class {said!r}: expected one of {', '.join(classes)} (--positive)")
    if said is None and len(classes) == 2:
        known = meanings.positive(classes)
        draft.card["positive"] = known or classes[-1]
        if known is None:
            draft.ask(f"which of {' and '.join(classes)} is the positive class? {classes[-1]}, the last, is taken",
                      f"--positive {classes[0]}")
    if len(classes) == 2 or said:
        how = "" if said else " (by its meaning)" if meanings.positive(classes) else " (a guess)"
        draft.understand("positive class", draft.card["positive"] + how)


def _survival(draft, persons):
    """Events, censored and the median time."""
    there = persons.dropna(subset=["time_days"])
    events = int(there["event"].sum())
    draft.understand("survival", f"{events} events and {len(there) - events} censored of {len(there)} patients, median "
                     f"time {there['time_days'].median():.4g} days"
                     + (f"; {len(persons) - len(there)} without" if len(there) < len(persons) else ""))


def _parts(draft, split):
    """The parts of the source's split with their sizes; a name that is no part is refused."""
    counts = Counter(split.dropna())
    wrong = {p: n for p, n in counts.items() if p not in cards.SPLITS}
    if wrong:
        listed = ", ".join(f"{p} ({n})" for p, n in wrong.items())
        raise ValueError(f"split: found {listed}, expected {', '.join(cards.SPLITS)}; rename them, such as "
                         f"--split-as {next(iter(wrong))}:test, or leave --split out")
    empty = int(split.isna().sum())
    draft.understand("split", ", ".join(f"{p} ({counts[p]})" for p in cards.SPLITS if p in counts)
                     + (f"; {empty} in none" if empty else ""))
