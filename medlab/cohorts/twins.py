"""Rows of a table that are copies of each other under new names, and how many would be equal by chance."""

import numpy as np
import pandas as pd

from medlab.cohorts import datasets, vocabulary
from medlab.statistics.keys import counted

OUTCOMES = ("label", "time_days", "event", "event_cause")
MOST_COLUMNS, MOST_ROWS = 12, 50_000  # that chance is computed from: the columns that tell most
LIKELY = 0.5  # expected coincidences from which on equal rows are no copies


def equal_rows(cohort: pd.DataFrame, outcomes: bool = True) -> pd.DataFrame:
    """Patients whose rows are equal in every covariate, label, time and event.

    Numbers count as equal when they are equal as written: where a part of the source's split has fewer decimals, to
    its decimals. Words are cleaned (`vocabulary.clean_text`), missing is equal to missing. Columns that differ between
    the rows of one patient are left out.

    Parameters
    ----------
    cohort : as `datasets.Dataset.cohort`
    outcomes : False leaves label, time and event out of the comparison

    Returns
    -------
    DataFrame
        Columns ``row`` (index of the cohort), ``group``, ``kind`` (``row``: copies; ``chance``: so many rows agree in
        so few columns that it may be chance), ``expected``: pairs of patients that would agree by chance in values as
        rare as these (`_expected`).
    """
    persons = cohort.drop_duplicates("patient_id")
    codes = _codes(persons, _compared(cohort, outcomes))
    n, found = len(persons), pd.DataFrame({"row": [], "group": [], "kind": [], "expected": []})
    if n < 2 or codes.shape[1] < 2:
        return found
    keys = pd.util.hash_pandas_object(codes, index=False).to_numpy()
    first, number, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)[1:]
    several = np.flatnonzero(size > 1)
    if not len(several):
        return found
    expected = pd.Series(_expected(codes.to_numpy(), number, first[several]), several)
    group = pd.Series(number, persons["patient_id"]).reindex(cohort["patient_id"]).to_numpy()
    rows = np.flatnonzero(np.isin(group, several))
    chance = expected[group[rows]].to_numpy()
    found = pd.DataFrame({"row": cohort.index[rows], "group": pd.factorize(group[rows])[0],
                          "kind": np.where(chance < LIKELY, "row", "chance"), "expected": chance})
    return found.sort_values(["group", "row"], ignore_index=True)


def _compared(cohort, outcomes):
    """Columns that are the same in all rows of a patient: covariates and, if asked for, outcomes."""
    columns = [c for c in cohort if c not in datasets.RESERVED and not str(c).startswith(("label_", "_"))]
    columns += [c for c in cohort if c in OUTCOMES or str(c).startswith("label_")] if outcomes else []
    if cohort["patient_id"].is_unique:
        return columns
    several = cohort[cohort["patient_id"].duplicated(keep=False)]
    return [c for c in columns if several.groupby("patient_id")[c].nunique().max() <= 1]


def _codes(table, columns):
    """A whole number for each value of each column, the same for values that are equal as written; -1: missing."""
    parts = table["split"].astype(str) if "split" in table else pd.Series("", index=table.index)
    found = {}
    for column in columns:
        values = table[column]
        if vocabulary.is_text(values):
            found[column] = pd.factorize(vocabulary.clean_text(values))[0]
        else:
            values = pd.to_numeric(values, errors="coerce").astype(float)
            decimals = min((_decimals(mine.dropna().to_numpy()) for _, mine in values.groupby(parts)), default=0)
            found[column] = pd.factorize(values.round(decimals))[0]
    codes = pd.DataFrame(found, index=table.index)
    return codes.loc[:, codes.nunique() > 1] if len(codes.columns) else codes


def _decimals(values):
    """Decimals with which all numbers are written, at most those of seven significant digits."""
    values = values[np.isfinite(values)]
    largest = np.abs(values).max(initial=0)
    most = max(0, 6 - int(np.floor(np.log10(largest)))) if largest else 0
    return next((d for d in range(most) if np.allclose(np.round(values, d), values, rtol=1e-9, atol=0)), most)


def _expected(codes, number, first):
    """Pairs that would be equal by chance in values as rare as those of some rows, (m,).

    From the frequencies of the values in the rest of the table; of each column beside the column before it that tells
    most about it, because columns go together (age and year of birth). Half of n^2 times their product.
    """
    n = len(codes)
    shares = [(np.bincount(c + 1) / n) ** 2 for c in codes.T]
    order = np.argsort([s.sum() for s in shares], kind="stable")[:MOST_COLUMNS]
    rows = np.random.default_rng(0).choice(n, MOST_ROWS, replace=False) if n > MOST_ROWS else np.arange(n)
    some, wanted = codes[rows][:, order], codes[first][:, order]
    own = np.bincount(number[rows], minlength=number.max() + 1)[number[first]]
    alone = np.stack([_count(some[:, [j]], wanted[:, [j]]) for j in range(len(order))]) - own
    share = (alone + 1) / (len(rows) - own + 1)
    chance = np.log(share[0])
    for j in range(1, len(order)):
        given = [(_count(some[:, [i, j]], wanted[:, [i, j]]) - own + 2 * share[j]) / (alone[i] + 2) for i in range(j)]
        chance += np.log(np.max([share[j], *given], axis=0))
    return n**2 / 2 * np.exp(chance)


def _count(table, wanted):
    """How many rows of a table (n, k) are equal to each of the wanted rows (m, k), (m,)."""
    width = np.concatenate([table, wanted]).max(axis=0) + 2
    one, two = (np.ravel_multi_index((values + 1).T, width) for values in (table, wanted))
    there, counts = np.unique(one, return_counts=True)
    at = np.minimum(np.searchsorted(there, two), len(there) - 1)
    return np.where(there[at] == two, counts[at], 0)


def merged(images: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Groups of alike images (`screening.duplicates`) and of copied rows (`equal_rows`) as one table.

    Returns
    -------
    DataFrame
        Columns ``row``, ``group`` (joined where they share a row), ``kind``: that of the images, else ``row``.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = rows[rows["kind"] == "row"].assign(group=lambda t: t["group"] + len(images))
    both = pd.concat([images, rows])[["row", "group", "kind"]]
    at, names = pd.factorize(both["row"])
    to, groups = pd.factorize(both["group"])
    edges = coo_matrix((np.ones(len(both)), (at, len(names) + to)), shape=(len(names) + len(groups),) * 2)
    component = connected_components(edges, directed=False)[1] if len(both) else at
    both = both.assign(group=pd.factorize(component[at])[0])
    return both.drop_duplicates("row").sort_values(["group", "row"], ignore_index=True)


def in_words(found: pd.DataFrame, cohort: pd.DataFrame) -> list[str]:
    """Sentences about equal rows (`equal_rows`) of a cohort; empty if there are none."""
    said = []
    mine = found[found["kind"] == "row"]
    if len(mine):
        table = mine.assign(who=cohort["patient_id"].reindex(mine["row"]).to_numpy())
        across = ""
        if "split" in cohort:
            sides = table.assign(split=cohort["split"].reindex(table["row"]).to_numpy()).groupby("group")["split"]
            leaks = counted((sides.nunique() > 1).sum(), "group lies", "groups lie")
            across = f"; {leaks} in more than one split of the source: a leak"
        groups = counted(table["group"].nunique(), "group")
        said.append(f"Copied rows: {table['who'].nunique()} patients in {groups} are equal in every covariate and "
                    f"outcome (by chance {mine['expected'].max():.1g} such pairs){across}.")
    other = found[found["kind"] == "chance"]
    if len(other):
        groups = counted(other["group"].nunique(), "group of rows is", "groups of rows are")
        said.append(f"{groups} equal, which may be chance in so few values "
                    f"({other['expected'].min():.2g} or more such pairs are expected): not taken as copies.")
    return said


def unlike_in_words(cohort: pd.DataFrame) -> list[str]:
    """Sentence about patients equal in every covariate whose outcomes differ: one patient twice, or a mistake."""
    if "time_days" not in cohort and "label" not in cohort:
        return []
    found = equal_rows(cohort, outcomes=False)
    found = found[found["kind"] == "row"]
    outcome = cohort[[c for c in OUTCOMES if c in cohort]].astype(str).agg("|".join, axis=1)
    groups = found.assign(outcome=outcome.reindex(found["row"]).to_numpy()).groupby("group")["outcome"]
    differ = (groups.nunique() > 1).sum()
    said = counted(differ, "group of patients is", "groups of patients are")
    return [f"{said} equal in every covariate and not in the outcome: one patient twice, or a mistake."] * bool(differ)
