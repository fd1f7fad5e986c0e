"""Patient-level splits into train, val and test.

The unit is the patient, never the image. Each unit gets a number from a hash of (seed, unit), and each
stratum gives its lowest numbers away: adding a patient, or changing the label of one, moves few others,
and the result does not depend on the order of the rows, the machine or the version of a library.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

SPLITS = ("train", "val", "test")


def units(cohort: pd.DataFrame, groups: pd.Series | None = None) -> pd.Series:
    """What must stay together: patients, joined where they share a group of duplicate images.

    Parameters
    ----------
    cohort : DataFrame with ``patient_id``
    groups : Series aligned with cohort, number of the duplicate group, negative or missing = none.

    Returns
    -------
    Series of text aligned with cohort: the alphabetically first patient of each unit.
    """
    patients = cohort["patient_id"].astype(str)
    if groups is None or not len(cohort):
        return patients
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    shared = pd.to_numeric(groups.reindex(cohort.index), errors="coerce").fillna(-1)
    codes, names = pd.factorize(patients, sort=True)
    inside = (shared >= 0).to_numpy()
    group_codes, group_names = pd.factorize(shared[inside])
    n = len(names) + len(group_names)
    edges = (np.ones(inside.sum()), (codes[inside], len(names) + group_codes))
    _, component = connected_components(coo_matrix(edges, shape=(n, n)), directed=False)
    first = pd.Series(names).groupby(component[: len(names)]).transform("min")
    return pd.Series(first.to_numpy()[codes], index=cohort.index)


def strata(cohort: pd.DataFrame, unit: pd.Series, stratify: str | Sequence[str] = "auto") -> pd.Series:
    """Stratum of each unit: its label (the rarest, if its images differ) and whether it had the event.

    Parameters
    ----------
    stratify : "auto" (``label``, else the rarest true ``label_*``; and ``event``), a column, or several.

    Returns
    -------
    Series of text indexed by unit, sorted.
    """
    columns = [stratify] if isinstance(stratify, str) and stratify != "auto" else stratify
    table = cohort
    if stratify == "auto":
        several = [c for c in cohort if c.startswith("label_")]
        if "label" not in cohort and several:
            table = cohort.assign(label=_rarest_true(cohort[several]))
        columns = [c for c in ("label", "event") if c in table]
    unknown = [c for c in columns if c not in table]
    if unknown:
        raise ValueError(f"stratify: the cohort has no column {unknown}; it has {list(cohort.columns)}")
    text = pd.DataFrame({c: table[c].astype(object).where(table[c].notna(), "missing").astype(str)
                         for c in columns}, index=cohort.index)
    names = pd.Index(sorted(unit.unique()), name="unit")
    parts = [_rarest_value(text[c], unit).reindex(names) for c in columns]
    return pd.Series([" | ".join(p) for p in zip(*parts, strict=True)] if parts else "all", index=names)


def _rarest_true(flags: pd.DataFrame) -> pd.Series:
    """Name of the rarest label that is set in each row, or "none"."""
    flags = flags.fillna(0).astype(bool)
    order = flags.sum().sort_values(kind="stable").index
    return flags[order].idxmax(axis=1).where(flags.any(axis=1), "none")


def _rarest_value(values: pd.Series, unit: pd.Series) -> pd.Series:
    rank = values.map(values.value_counts().to_dict())
    table = pd.DataFrame({"unit": unit, "value": values, "rank": rank})
    return table.sort_values(["rank", "value"], kind="stable").groupby("unit")["value"].first()


def _numbers(names: pd.Index, seed: int, salt: str) -> np.ndarray:
    """A uniform number per unit that depends on nothing but the seed and the unit's own name."""
    return np.array([int.from_bytes(hashlib.sha256(f"{salt}:{seed}:{n}".encode()).digest()[:8], "big")
                     for n in names], dtype=np.uint64)


def _divide(stratum: pd.Series, shares: Sequence[float], seed: int, salt: str) -> pd.Series:
    """Part number (0 .. len(shares) - 1) of each unit; in each stratum and in total near the shares.

    A stratum gives each part the whole number below its share; what remains goes where the running
    total is furthest behind, so that the rounding of many small strata does not add up. A part 0 of more
    than half comes first in a stratum too small for all: a class of one patient is learnt, not tested.
    """
    shares = np.asarray(shares, dtype=float)
    part, behind = pd.Series(0, index=stratum.index), np.zeros(len(shares))
    numbers = pd.Series(_numbers(stratum.index, seed, salt), index=stratum.index)
    for _, members in stratum.groupby(stratum):
        wanted = shares * len(members)
        given = np.floor(wanted + 1e-9).astype(int)
        behind += wanted - given
        for _ in range(len(members) - given.sum()):
            k = 0 if given[0] == 0 and shares[0] > 0.5 else int(np.argmax(behind.round(9)))
            given[k], behind[k] = given[k] + 1, behind[k] - 1
        order = numbers[members.index].sort_values(kind="stable").index
        part[order] = np.repeat(np.arange(len(shares))[::-1], given[::-1])
    empty = [k for k in np.flatnonzero(shares > 0)[::-1] if not (part == k).any()]
    for k in empty:  # tiny cohorts: a part that was asked for is not left empty if one can be spared
        spare = part[part == part.value_counts().idxmax()]
        if len(spare) > 1:
            common = stratum[spare.index].value_counts().idxmax()
            part[spare.index[stratum[spare.index] == common][0]] = k
    return part


def split(
    cohort: pd.DataFrame,
    seed: int,
    val: float = 0.15,
    test: float = 0.2,
    n_folds: int = 0,
    fold: int = 0,
    stratify: str | Sequence[str] = "auto",
    groups: pd.Series | None = None,
) -> pd.Series:
    """Assign each row to train, val or test: by patient, stratified, deterministic.

    A column ``split`` in the cohort (the source's own split) is kept; what it does not hold (usually
    val) is taken out of train. With ``n_folds``: if the source fixes test, it stays out and the held-out
    fold of train + val is val; otherwise the held-out fold of everything is test and val is taken out of
    the rest.

    Parameters
    ----------
    cohort : DataFrame with ``patient_id`` and optionally ``label``/``label_*``, ``event``, ``split``
    seed : int; two seeds give unrelated splits.
    val, test : float, shares of the patients that are divided here, 0 <= share, val + test < 1.
    n_folds, fold : int; 0 = no folds, otherwise 2 or more folds and 0 <= fold < n_folds.
    stratify : see `strata`.
    groups : Series, number of the group of duplicate images (negative = none): kept on one side.

    Returns
    -------
    Series of "train", "val", "test" with the index of the cohort, name ``split``.

    Raises
    ------
    ValueError for impossible shares, folds, or an unknown word in the column ``split``.
    """
    if not (0 <= val and 0 <= test and val + test < 1):
        raise ValueError(f"val {val} and test {test} must not be negative and leave something to train on")
    if n_folds and not (n_folds >= 2 and 0 <= fold < n_folds):
        raise ValueError(f"fold {fold} of {n_folds}: expected n_folds >= 2 and fold from 0 to n_folds - 1")
    given = _source_split(cohort)
    unit = units(cohort, groups)
    fixed = ["test"] if n_folds else ["val", "test"]
    result = given.where(given.isin(fixed))
    free = result.isna()
    if not free.any():
        return result.rename("split")
    stratum = strata(cohort[free], unit[free], stratify)
    names = pd.Series("train", index=stratum.index)
    has_test, has_val = "test" in set(result), "val" in set(result)
    if n_folds:
        if len(stratum) < n_folds:
            raise ValueError(f"n_folds {n_folds}: only {len(stratum)} patients to divide; set fewer folds")
        part = _divide(stratum, [1 / n_folds] * n_folds, seed, "fold")
        names[part == fold] = "val" if has_test else "test"
        has_val, val = has_test, val / (1 - 1 / n_folds)
    elif not has_test and test > 0:
        part = _divide(stratum, [1 - test, test], seed, "test")
        names[part == 1] = "test"
        val = val / (1 - test)
    rest = stratum[names == "train"]
    if not has_val and 0 < val < 1:
        names[rest.index[_divide(rest, [1 - val, val], seed, "val") == 1]] = "val"
    return result.where(~free, unit.map(names)).rename("split")


def _source_split(cohort: pd.DataFrame) -> pd.Series:
    if "split" not in cohort:
        return pd.Series(None, index=cohort.index, dtype=object)
    given = cohort["split"].astype(object).where(cohort["split"].notna(), None)
    wrong = given[given.notna() & ~given.isin(SPLITS)]
    if len(wrong):
        raise ValueError(f"cohort, column split, row {wrong.index[0]}: found {wrong.iloc[0]!r}, expected one "
                         f"of {', '.join(SPLITS)} or nothing; correct cohort.csv")
    return given


def origin(source: pd.Series | None, given: pd.Series | None, made: pd.Series) -> str:
    """Who divided the rows, in words.

    Parameters
    ----------
    source : column ``split`` of the whole cohort, None where it has none; given : of the rows used, before `split`
    made : of the rows used, as `split` gives it
    """
    if given is not None and not made.equals(given):
        return f"the source ({', '.join(sorted(source.dropna().unique()))}), the rest by medlab"
    return "the source" if source is not None and source.notna().all() else "medlab, by patient"


def in_numbers(kept: pd.DataFrame, columns: list, order: list, patients_known: bool = True) -> pd.DataFrame:
    """Patients, images, events per split (columns), then the share of each value of some columns, as text.

    Parameters
    ----------
    kept : rows with ``split``, ``patient_id``, ``has_image``; order : class names, the order of ``label``
    """
    by = _by_split(kept)
    table = pd.DataFrame({"images": by["has_image"].sum()})
    if patients_known:
        table.insert(0, "patients", by["patient_id"].nunique())
    if "event" in kept:
        seen = kept[kept["event"].fillna(False).astype(bool)]
        table["patients with event"] = seen.groupby("split")["patient_id"].nunique().reindex(table.index).fillna(0)
    table = table.map("{:.0f}".format)
    for column in columns:
        shares = _shares(by, column)
        shares = shares.reindex(columns=order) if column == "label" else shares
        table = table.join(shares.map("{:.1%}".format).add_prefix(f"{column} "))
    return table.T


def _by_split(kept):
    parts = [part for part in SPLITS if (kept["split"] == part).any()]
    return kept.assign(split=pd.Categorical(kept["split"], parts)).groupby("split", observed=True)


def _shares(by, column):
    return by[column].value_counts(normalize=True).unstack(fill_value=0)


def gaps(kept: pd.DataFrame, columns: list) -> dict:
    """Largest difference between the splits in the share of a value, for each column."""
    by = _by_split(kept)
    return {c: float((_shares(by, c).max() - _shares(by, c).min()).max()) for c in columns}


def small(kept: pd.DataFrame, least: int = 30) -> list[str]:
    """Splits other than train with few patients."""
    n = _by_split(kept)["patient_id"].nunique()
    return [part for part in n.index if part != "train" and n[part] < least]


def panels(kept: pd.DataFrame, columns: list, order: list, most: int = 3) -> dict:
    """Counts per split and value of columns that are known, for `plots.share_panels`: images of labels, else patients.

    Without such a column the number of rows per split.
    """
    found, parts = {}, [part for part in SPLITS if (kept["split"] == part).any()]
    for column in [c for c in columns if c in kept and kept[c].notna().any()][:most]:
        rows = kept if column == "label" else kept.drop_duplicates(["patient_id", "split"])
        counts = pd.crosstab(rows["split"], rows[column]).reindex(parts)
        counts = counts.reindex(columns=order) if column == "label" else counts
        counts = counts.rename(columns={False: "censored", True: "event"}) if column == "event" else counts
        found[f"{column}, share of {'images' if column == 'label' else 'patients'}"] = counts
    rows = pd.DataFrame({part: [int((kept["split"] == part).sum())] for part in parts}, index=["all"])
    return found or {"share of rows": rows}


def counts(rows: pd.DataFrame, order: list, patients_known: bool = True) -> dict:
    """Images, patients (None where unknown) and images per class of each split, for ``preprocessing.json``."""
    found = {}
    for part in (part for part in SPLITS if (rows["split"] == part).any()):
        mine = rows[rows["split"] == part]
        found[part] = {"images": int(mine["has_image"].sum()),
                       "patients": mine["patient_id"].nunique() if patients_known else None}
        if "label" in mine:
            found[part]["classes"] = mine["label"].value_counts().reindex(order, fill_value=0).to_dict()
    return found
