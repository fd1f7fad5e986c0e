"""Does it work for everybody, and everywhere? Scores within groups of patients, each against all others."""

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.statistics.intervals import jackknife, left_out
from medlab.statistics.measures import NAMES, check, measure
from medlab.statistics.metrics import LEAST_CASES, flat, scores, written

SHOWN = {"binary": ("auc", "accuracy", "recall", "calibration_intercept")}  # elsewhere: the first two


def distinct(levels: dict) -> tuple[dict, list[str]]:
    """Columns that part the patients differently, and a sentence for each that only repeats another.

    Parameters
    ----------
    levels : dict column -> Series (n,) of level names, NaN = unknown
    """
    kept, said, seen = {}, [], {}
    for name, level in levels.items():
        parts = tuple(pd.factorize(level)[0])
        if parts in seen:
            said.append(f"{vocabulary.labelled(name)} parts the patients as {vocabulary.labelled(seen[parts])} does: "
                        "it is shown once.")
        else:
            kept[name], seen[parts] = level, name
    return kept, said


def _against_rest(y, p, who, inside, head):
    """AUC of the group minus that of all others: value, low, high."""
    def gap(w):
        return measure(y, p, w * inside, head=head)["auc"] - measure(y, p, w * ~inside, head=head)["auc"]

    value = float(gap(np.ones((1, len(y))))[0])
    return (value, *jackknife(value, gap(left_out(who)), most=1))


def _counts(y, patients, classes):
    """Patients with and without the condition (two classes), or of the rarest class."""
    each = [len(pd.unique(patients[y == k])) for k in classes]
    return {"cases": each[1], "non_cases": each[0]} if len(classes) == 2 else {"rarest": min(each)}


def subgroups(levels, y, p, patients, head="binary", threshold=0.5, least=10, n_bootstrap=2000, seed=0) -> pd.DataFrame:
    """Scores within each level of each column, and the AUC of the level minus that of everybody else.

    Parameters
    ----------
    levels : dict column -> Series (n,) of level names, NaN = unknown
    y, p, patients, head : see `statistics.measures.check`
    least : patients below which a level is counted but not scored

    Returns
    -------
    DataFrame: column, level, images, patients, cases and non_cases (two classes) or rarest (patients of the rarest
    class), auc, accuracy, recall, calibration_intercept (two classes; above 0 too few cases are predicted), gap (AUC
    minus that of the rest, jackknife), each with _low and _high; the lowest AUC first. NaN where not scored: the AUC
    and the gap moreover below 5 patients of a class, inside or outside.
    """
    y, p, who = check(y, p, patients, head)
    measures = SHOWN.get(head, SHOWN["binary"][:2])
    classes = [] if head == "multilabel" else list(range(2 if head == "binary" else p.shape[1]))
    rows = []
    for column, level in levels.items():
        present = set(level.dropna())
        ordered = list(level.cat.categories) if hasattr(level, "cat") else sorted(present, key=str)
        for name in [name for name in ordered if name in present]:
            inside = (level == name).to_numpy()
            row = {"column": column, "level": str(name), "images": int(inside.sum()),
                   "patients": len(np.unique(who[inside]))}
            sides = [_counts(y[side], who[side], classes) for side in (inside, ~inside)] if classes else [{}, {}]
            row |= sides[0]
            if row["patients"] >= least:
                one = scores(y[inside], p[inside], who[inside], head, threshold, n_bootstrap, seed)
                enough = [min(side.values(), default=LEAST_CASES) >= LEAST_CASES for side in sides]
                row |= flat(one.loc[[name for name in measures if enough[0] or name != "auc"]])
                if all(enough) and inside.any() and not inside.all():
                    gap = _against_rest(y, p, who, inside, head)
                    row |= dict(zip(("gap", "gap_low", "gap_high"), gap, strict=True))
            rows.append(row)
    counted = ["cases", "non_cases"] if head == "binary" else ["rarest"] if classes else []
    names = [name + end for name in (*measures, "gap") for end in ("", "_low", "_high")]
    found = pd.DataFrame(rows, columns=["column", "level", "images", "patients", *counted, *names])
    return found.sort_values("auc", kind="stable", na_position="last", ignore_index=True)


def limits_of(found, name: str) -> pd.DataFrame:
    """One measure of the table of `subgroups`: value, low, high, indexed "column: level (n = patients)"."""
    names = [f"{row.column}: {row.level} (n = {row.patients})" for row in found.itertuples()]
    one = found[[name, f"{name}_low", f"{name}_high"]].set_axis(["value", "low", "high"], axis=1)
    return one.set_axis(names).astype(float)


def table(found) -> pd.DataFrame:
    """The table of `subgroups` (not empty) as a table to read."""
    counted = [name for name in ("patients", "cases", "non_cases", "rarest") if name in found]
    titles = NAMES | {"gap": "AUC minus that of all others"}
    texts = {titles.get(name, name): written(limits_of(found, name)).to_numpy()
             for name in ("auc", "gap", "recall", "calibration_intercept", "accuracy") if name in found}
    said = found.set_index(["column", "level"])[["images", *counted]].assign(**texts)
    return said.rename(columns={"non_cases": "non-cases", "rarest": "patients of the rarest class"})


def in_words(found) -> str:
    """The worst group against all others, and how many intervals would leave out 0 by chance; a few sentences."""
    judged = limits_of(found, "gap").dropna()
    if not len(judged):
        return (f"No group is large enough to be compared with the others ({LEAST_CASES} patients of each class inside "
                "and outside).")
    name, worst = judged["value"].idxmin(), judged.loc[judged["value"].idxmin()]
    apart = judged.index[(judged["low"] > 0) | (judged["high"] < 0)]
    return (f"Worst: {name}, AUC {worst['value']:+.3f} ({worst['low']:+.3f} to {worst['high']:+.3f}) against all "
            f"others. Of {len(judged)} compared groups the interval leaves out 0 for {len(apart)}"
            f"{': ' if len(apart) else ''}{', '.join(apart)}; by chance alone it would for about "
            f"{0.05 * len(judged):.1f}.")
