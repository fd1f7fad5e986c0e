"""Who or what is on both sides of a split: patients, alike images, copied rows; and what is done about it."""

import numpy as np
import pandas as pd

from medlab.cohorts.splits import SPLITS
from medlab.statistics import keys

HOW = ("stop", "drop-train", "drop-test", "keep")


def leaks(table: pd.DataFrame, duplicates: pd.DataFrame | None = None) -> pd.DataFrame:
    """Patients, groups of alike images and groups of copied rows that are in more than one split.

    Parameters
    ----------
    table : DataFrame with ``patient_id``, ``split`` and, to name images, ``row`` and ``image``.
    duplicates : DataFrame with ``row``, ``group``, ``kind`` as from ``screening.duplicates``; without it the
        columns ``duplicate_group`` and ``duplicate_kind`` of the table are used, if there.

    Returns
    -------
    DataFrame, one row per leak: kind ("patient", "image" or "row"), who (patient, the images, or the patients whose
    rows are equal), likeness ("same", "exact", "near", "equal"), splits ("test, train"), rows (tuple of index values
    of the table).
    """
    row = table["row"] if "row" in table else pd.Series(table.index, index=table.index)
    group, likeness = pd.Series(-1, index=table.index), pd.Series("", index=table.index)
    if duplicates is not None:
        group = row.map(duplicates.set_index("row")["group"]).fillna(-1)
        likeness = row.map(duplicates.set_index("row")["kind"]).fillna("")
    elif "duplicate_group" in table:
        group = table["duplicate_group"].fillna(-1)
        likeness = table.get("duplicate_kind", likeness).fillna("")
    found = []
    for patient, members in table.groupby(table["patient_id"].astype(str)):
        if members["split"].nunique() > 1:
            found.append(("patient", patient, "same", members))
    for _, members in table[group >= 0].groupby(group[group >= 0]):
        if members["split"].nunique() > 1:
            kinds = set(likeness[members.index])
            kind = "row" if kinds == {"row"} else "image"
            by = "image" if kind == "image" and "image" in members else "patient_id"
            names = members[by].unique()
            like = "equal" if kind == "row" else "exact" if kinds == {"exact"} else "near"
            found.append((kind, " = ".join(map(str, names)), like, members))
    records = [(kind, who, like, ", ".join(sorted(m["split"].unique())), tuple(m.index))
               for kind, who, like, m in found]
    return pd.DataFrame(records, columns=["kind", "who", "likeness", "splits", "rows"])


def resolve(table: pd.DataFrame, leaks: pd.DataFrame, how: str = "stop") -> pd.DataFrame:
    """Remove one side of each leak, or stop.

    Parameters
    ----------
    table, leaks : as in `leaks`
    how : "stop" raises if there is any leak; "drop-train" keeps the copies nearest to test (test before
        val before train) and removes the others; "drop-test" keeps those nearest to train; "keep" removes
        nothing: the numbers on test are then too good, and the caller has to say so.

    Returns
    -------
    The table without the removed rows, index kept: ``table.index.difference(result.index)`` lists them.

    Raises
    ------
    ValueError with a list of the leaks and the parameter to set.
    """
    if how not in HOW:
        raise ValueError(f"leaks: found {how!r}, expected one of {', '.join(HOW)}")
    if how == "keep" or leaks.empty:
        return table
    if how == "stop":
        raise ValueError(describe(leaks) + "\nSet the parameter leaks: 'drop-train' removes the copies in "
                         "train and val, 'drop-test' those in test and val, 'keep' leaves them and says so.")
    order, remove = table["split"].map(SPLITS.index), set()
    for rows in leaks["rows"]:
        side = order[list(rows)]
        remove |= set(side.index[side != (side.max() if how == "drop-train" else side.min())])
    left = table.drop(index=list(remove))
    emptied = sorted(set(table["split"]) - set(left["split"]))
    if emptied:
        raise ValueError(f"leaks: {how!r} would remove everything in {', '.join(emptied)} "
                         f"({len(remove)} rows); choose the other side, or correct the split in cohort.csv")
    return left


def describe(leaks: pd.DataFrame, most: int = 5) -> str:
    """The leaks in words: how many of each kind, and the first few by name."""
    lines = [f"{_counted(leaks, 'identical or near-identical')} are in more than one of train, val and test:"]
    for leak in leaks.head(most).itertuples():
        who = leak.who if len(leak.who) <= 160 else leak.who[:157] + "..."
        lines.append(f"  {leak.kind} ({leak.likeness}) in {leak.splits}: {who}")
    return "\n".join(lines + ([f"  ... and {len(leaks) - most} more"] if len(leaks) > most else []))


def _counted(leaks, alike):
    """How many patients, groups of images and groups of copied rows, of the kinds that there are."""
    n = leaks["kind"].value_counts()
    kinds = {"patient": ("patient", ""), "image": ("group", f" of {alike} images"), "row": ("group", " of equal rows")}
    return " and ".join(f"{keys.counted(n[kind], one)}{of}" for kind, (one, of) in kinds.items() if kind in n)


def copied(table: pd.DataFrame, part: str = "test") -> np.ndarray:
    """Rows of a part whose patient, or a copy of which, is also in another part, (n,) bool.

    Parameters
    ----------
    table : split.parquet, with ``patient_id``, ``split`` and ``duplicate_group``
    """
    used = table[table["split"].isin(SPLITS)]
    elsewhere, mine = used[used["split"] != part], table["split"].eq(part)
    groups = set(elsewhere["duplicate_group"].dropna()) - {-1} if "duplicate_group" in table else set()
    found = table["patient_id"].isin(elsewhere["patient_id"])
    found |= table["duplicate_group"].isin(groups) if groups else False
    return (mine & found).to_numpy()


def removed(table: pd.DataFrame, kept: pd.DataFrame) -> dict:
    """Rows of ``cohort.csv`` that `resolve` removed, and what is to be said of them."""
    gone = table.loc[table.index.difference(kept.index), ["row", "split"]]
    return {int(row): f"leak: removed from {split}" for row, split in gone.itertuples(index=False)}


def leaks_in_words(found: pd.DataFrame, how: str, n_removed: int, patients_known: bool = True) -> list[str]:
    """Sentences about leaks (`leaks`) and what was done about them; empty if there can be none."""
    unknown = "Patients are unknown: that images of one patient are on both sides cannot be excluded."
    done = f"{n_removed} rows dropped" if how != "keep" else "kept: numbers on test are too good"
    said = f"In more than one split: {_counted(found, 'look-alike')}; leaks: {how}, {done}."
    return [unknown] * (not patients_known) + [said] * (len(found) > 0)
