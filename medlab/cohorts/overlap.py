"""Patients of a dataset whom a run has in its own already, and who is left when they are out."""

import re

import pandas as pd

from medlab.cohorts import twins
from medlab.statistics import keys

PSEUDONYM = re.compile(r"p[a-z2-7]{12}")  # of an import with a key: the same one is the same person


def copies(of: dict, rows: pd.DataFrame) -> pd.DataFrame:
    """Who of the other dataset is in the run already: identical pixels, equal rows of the table, the same pseudonym.

    Returns
    -------
    DataFrame: row (of cohort.csv), patient_id, kind (image, row or patient), same_as (patient of the run), part (of the
    run). Equal names that are no pseudonyms of an import say nothing: two hospitals count from 1.
    """
    own, found = of["rows"], []
    if "sha" in rows and "sha" in own:
        known = own.dropna(subset="sha").drop_duplicates("sha").set_index("sha")[["patient_id", "split"]]
        found.append(rows[["row", "patient_id", "sha"]].assign(kind="image").join(known, "sha", rsuffix="_run"))
    names = own.drop_duplicates("patient_id").set_index("patient_id")["split"]
    keyed = rows[rows["patient_id"].map(lambda one: bool(PSEUDONYM.fullmatch(one)) and one in names)]
    found.append(keyed[["row", "patient_id"]].assign(kind="patient", patient_id_run=keyed["patient_id"],
                                                     split=keyed["patient_id"].map(names)))
    found.append(_equal_rows(of, rows))
    table = pd.concat(found).dropna(subset="split").rename(columns={"patient_id_run": "same_as", "split": "part"})
    return table.drop_duplicates("row")[["row", "patient_id", "kind", "same_as", "part"]].reset_index(drop=True)


def _equal_rows(of, rows):
    shared = [name for name in (*of["facts"]["covariates"], *twins.OUTCOMES) if name in rows and name in of["rows"]]
    parts = [table[["row", "patient_id", *shared]].assign(patient_id=side + table["patient_id"], _part=part, split=side)
             for side, table, part in (("a", of["rows"], of["rows"]["split"]), ("b", rows, "here"))]
    both = pd.concat(parts, ignore_index=True)
    equal = twins.equal_rows(both).query("kind == 'row'")
    both = both.loc[equal["row"].astype(int)].assign(group=equal["group"].to_numpy())
    own, here = both[both["split"] == "a"], both[both["split"] == "b"]
    found = here.merge(own.drop_duplicates("group"), on="group", suffixes=("", "_run"))
    return pd.DataFrame({"row": found["row"], "patient_id": found["patient_id"].str[1:], "kind": "row",
                         "patient_id_run": found["patient_id_run"].str[1:], "split": found["_part_run"]})


def without_copies(of: dict, rows: pd.DataFrame, found: pd.DataFrame, how: str = "stop") -> pd.DataFrame:
    """Rows without the patients who are in the run already.

    Parameters
    ----------
    found : of `copies`
    how : "stop" raises if there are any, "drop" leaves the patients out, "keep" keeps them

    Raises
    ------
    ValueError
        Naming the first of them, and the parameter.
    """
    if how == "keep" or found.empty:
        return rows
    if how == "stop":
        shown = "; ".join(f"row {one.row} ({one.patient_id}): {one.kind} of {one.same_as}, {one.part}"
                          for one in found.head(5).itertuples()) + (" ..." if len(found) > 5 else "")
        who = keys.counted(found["patient_id"].nunique(), "patient of this dataset is", "patients of this dataset are")
        raise ValueError(f"{who} in {of['run']} already: {shown}.\nSet the parameter external_copies: 'drop' leaves "
                         "them out, 'keep' keeps them and says so.")
    return rows[~rows["patient_id"].isin(found["patient_id"])]


def copies_in_words(of: dict, rows: pd.DataFrame, found: pd.DataFrame, how: str) -> list[str]:
    """Sentences about `copies` and about equal names, empty if there are none."""
    said = []
    if len(found):
        done = "left out" if how == "drop" else "kept: the numbers are too good"
        kinds = ", ".join(f"{n} by {kind}" for kind, n in found["kind"].value_counts().items())
        n = keys.counted(found["patient_id"].nunique(), "patient")
        said.append(f"In {of['run']} already: {n} ({kinds}), {done}.")
    same = rows["patient_id"][rows["patient_id"].isin(of["rows"]["patient_id"]) & ~rows["patient_id"].isin(
        found["patient_id"])].nunique()
    if same:
        n = keys.counted(same, "patient_id is", "patient_ids are")
        said.append(f"{n} in {of['run']}, too, with other images and other values: taken for other patients. Make sure "
                    "that they are.")
    return said


def flow(n_rows: int, dropped: dict, usable: pd.DataFrame, kept: pd.DataFrame, evaluated: dict) -> pd.DataFrame:
    """From the rows of the dataset to those that are evaluated, as a table to read, and why the rest is out.

    Parameters
    ----------
    n_rows : of cohort.csv; dropped : row -> problem (`preparation.usable_rows`); usable, kept : rows before and after
        `without_copies`; evaluated : outcome -> rows with it
    """
    why = pd.Series(dropped, dtype=object).value_counts()
    lines = {"in the dataset": (n_rows, "", ""), "usable": (
        len(usable), usable["patient_id"].nunique(), "; ".join(f"{n} {problem}" for problem, n in why.items()))}
    lines["not in the run"] = (len(kept), kept["patient_id"].nunique(), _out(usable, kept, "in the run already"))
    lines |= {f"with a known {what}": (len(rows), rows["patient_id"].nunique(), _out(kept, rows, f"without {what}"))
              for what, rows in evaluated.items()}
    return pd.DataFrame(lines, index=["rows", "patients", "out"]).T


def _out(before, after, why):
    return f"{len(before) - len(after)} {why}" if len(before) > len(after) else ""
