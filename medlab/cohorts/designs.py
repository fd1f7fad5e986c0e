"""Designs of a validation: which patients are the test part, if it is neither drawn by chance nor fixed by the source.

``time:COLUMN``: the last patients by a date, a year or another number (temporal validation). ``site:COLUMN``: all
patients of one site; repeated over the sites, each is once the test part (internal-external cross-validation,
Steyerberg and Harrell, J Clin Epidemiol 2016;69:245). A patient, with whoever shares a copied image, is on one side.
"""

import difflib

import numpy as np
import pandas as pd

from medlab.cohorts import datasets, identifiers, moments, splits, vocabulary
from medlab.statistics import keys

AUTO, TIME, SITE = "auto", "time", "site"
MOST_SITES, LEAST_PATIENTS, LEAST_OF_EACH = 50, 10, 2  # of a column of sites; of a site that is judged alone


def read(split: str) -> tuple[str, str]:
    """Parameter ``split`` of 02 as its kind (auto, time or site) and its column.

    Raises
    ------
    ValueError
        For another text, or one without a column.

    Examples
    --------
    >>> read("auto"), read("site: hospital")
    (('auto', ''), ('site', 'hospital'))
    """
    kind, _, column = (part.strip() for part in str(split).partition(":"))
    if kind == AUTO and not column or kind in (TIME, SITE) and column:
        return kind, column
    raise ValueError(f"split: found {split!r}, expected auto, time:COLUMN or site:COLUMN with a column of cohort.csv")


def check(cohort: pd.DataFrame, split: str, test: float, n_folds: int, fold: int, judged: bool = False) -> None:
    """Refuse, before anything runs, a design that this cohort does not allow.

    Parameters
    ----------
    cohort : as ``cohort.csv`` or ``cohort.parquet`` has it
    split, test, n_folds, fold : parameters split, test_fraction, n_folds and fold of 02
    judged : whether the site that is held out must be one that can be judged alone

    Raises
    ------
    ValueError
        For a column that is not there or is an outcome, values that cannot be put in order, a number of sites other
        than 2 to 50, a fold that is none of them or (`judged`) cannot be judged, folds of chance beside a design.
    """
    kind, column = read(split)
    if kind == AUTO:
        return
    if n_folds:
        raise ValueError(f"split: {split} and n_folds: {n_folds} exclude each other; remove one of them")
    _require(cohort, column)
    if kind == SITE and not 0 <= fold < len(names := site_names(cohort, column)):
        raise ValueError(f"fold {fold}: expected the number of one of the {len(names)} sites of {column}, 0 to "
                         f"{len(names) - 1} ({_listed(names)})")
    if kind == SITE and judged:
        _require_judged(column, names[fold], not_judged(cohort, column).get(names[fold]))
    if kind == TIME:
        _cut(_latest(cohort, cohort["patient_id"], column), test, column)


def _require(cohort, column):
    """A column that is there, and is neither bookkeeping nor outcome."""
    if column not in cohort:
        near = difflib.get_close_matches(column, map(str, cohort.columns), 1)
        raise ValueError(f"split: the cohort has no column {column!r}; "
                         + (f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(str, cohort))}"))
    if column in datasets.RESERVED or column.startswith("label_"):
        raise ValueError(f"split: {column} is bookkeeping or an outcome; expected a column that says when or where a "
                         "patient was seen")


def _require_judged(column, name, reason):
    if reason:
        raise ValueError(f"split: site:{column}: {name} cannot be the test part: {reason}. Hold another site out "
                         "(fold), or join sites in a column of cohort.csv")


def _listed(names, most=12):
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


# ---------------------------------------------------------------- time

def moments_of(values: pd.Series) -> pd.Series:
    """Dates, years or other numbers as values that can be ordered: datetimes or floats; missing stays missing.

    Raises
    ------
    ValueError
        Naming the first value that is neither.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return values
    gaps = vocabulary.missing(values)
    filled = values.where(~gaps)
    numbers = pd.to_numeric(filled, errors="coerce").replace([np.inf, -np.inf], np.nan).astype(float)
    as_dates = numbers.dropna().between(19000101, 21001231).all()  # 20190314
    if numbers.notna().sum() == (~gaps).sum() and not (as_dates and numbers.notna().any()):
        return numbers
    dates = moments.read_dates(filled)
    if dates is None:
        dates = pd.to_datetime(filled, format="%Y-%m", errors="coerce")
    if (dates.isna() & ~gaps).any():
        row = (numbers.isna() & ~gaps).idxmax() if (numbers.isna() & ~gaps).any() else (~gaps).idxmax()
        raise ValueError(f"split: time:{values.name}, row {row}: found {values[row]!r}, expected in every row a "
                         "number, a year, or a date in one form such as 2019-03-14")
    return dates


def _latest(rows, unit, column):
    """Latest value of each unit, missing where none of its rows has one."""
    return moments_of(rows[column]).groupby(unit).max()


def _cut(latest, test, column):
    """The value from which on patients are the test part: nearest to the share, those of one value together."""
    known = latest.dropna()
    if not 0 < test < 1:
        raise ValueError(f"split: time:{column} takes the last patients for the test part, but test_fraction is "
                         f"{test:g}; expected more than 0")
    if known.nunique() < 2:
        raise ValueError(f"split: time:{column}: all patients have the same value or none, so there is no later part")
    from_there = known.value_counts().sort_index()[::-1].cumsum().iloc[:-1]  # the earliest value is always learnt from
    return (from_there - test * len(known)).abs().idxmin()  # the first of two that are as near: the smaller part


def _moment(value):
    """A moment as pages write it: a date by its month (a day would point at one patient), a number."""
    return value.strftime("%Y-%m") if hasattr(value, "strftime") else f"{value:.10g}"


def _by_time(rows, unit, column, test):
    """Test part of the units and what is to be said of it."""
    latest = _latest(rows, unit, column)
    cut = _cut(latest, test, column)
    before = latest[latest < cut]
    return latest >= cut, {"held_out": f"from {_moment(cut)} on", "others": f"up to {_moment(before.max())}",
                           "part": f"by time, {column} from {_moment(cut)} on",
                           "without_value": list(latest.index[latest.isna()])}


# ---------------------------------------------------------------- sites

def site_of(values: pd.Series) -> pd.Series:
    """Name of the site of each row: spellings of one name are one site, under the one most often written."""
    text = values.map(identifiers.written, na_action="ignore").astype(object)
    same = vocabulary.clean_text(text)
    names = text.groupby(same).agg(lambda written: written.str.strip().value_counts().sort_index().idxmax())
    return same.map(names)


def site_names(cohort: pd.DataFrame, column: str) -> list[str]:
    """Sites of a cohort in their order, that of the numbers of the folds: numbers by size, then words by letters.

    Raises
    ------
    ValueError
        For fewer than 2 or more than 50 of them.
    """
    found = site_of(cohort[column]).dropna().unique()
    numbers = pd.to_numeric(pd.Series(found, dtype=object), errors="coerce").fillna(np.inf)
    names = [name for _, name in sorted(zip(numbers, found, strict=True))]
    if not 2 <= len(names) <= MOST_SITES:
        raise ValueError(f"split: site:{column} has {keys.counted(len(names), 'value')} ({_listed(names)}); expected 2 "
                         f"to {MOST_SITES} sites; name another column, or join values in cohort.csv")
    return names


def home(rows: pd.DataFrame, unit: pd.Series, column: str) -> pd.Series:
    """Site of each unit: that of most of its rows, the first by name of several; missing where no row has one."""
    table = pd.DataFrame({"unit": unit, "site": site_of(rows[column])})
    n = table.dropna().value_counts().reset_index().sort_values(["count", "site"], ascending=[False, True])
    return n.drop_duplicates("unit").set_index("unit")["site"].reindex(sorted(unit.unique()))


def not_judged(cohort: pd.DataFrame, column: str, groups: pd.Series | None = None) -> dict[str, str]:
    """Sites that cannot be a test part, with the reason: too few patients, or no outcome that can be scored there."""
    unit = splits.units(cohort, groups)
    site = unit.map(home(cohort, unit, column))
    reasons = {name: _reason(cohort[site == name]) for name in site_names(cohort, column)}
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(part):
    """Why a part cannot be judged; nothing where at least one of its outcomes can."""
    n = part["patient_id"].nunique()
    if n < LEAST_PATIENTS:
        return f"{keys.counted(n, 'patient')}, expected {LEAST_PATIENTS} or more"
    return _not_scored(part)


def _not_scored(part):
    """Why no outcome of a part can be scored; nothing where one can, or where there is none."""
    several = [name for name in part if name.startswith("label_")]
    lacking = [_of_classes(part["patient_id"], part["label"])] if "label" in part else []
    lacking += [_of_labels(part, several)] if several else []
    if "event" in part:
        seen = part.loc[part["event"].fillna(False).astype(bool), "patient_id"].nunique()
        lacking.append("" if seen >= LEAST_OF_EACH else f"{keys.counted(seen, 'patient')} with the event, expected "
                                                        f"{LEAST_OF_EACH} or more")
    return "; ".join(lacking) if lacking and all(lacking) else ""


def _of_classes(patients, label):
    n = patients.groupby(label).nunique()
    said = ", ".join(f"{count} {label}" for label, count in n.items() if count) or "none"
    return "" if (n >= LEAST_OF_EACH).sum() > 1 else f"no two classes with {LEAST_OF_EACH} patients each ({said})"


def _of_labels(part, names):
    flags = part[names].apply(pd.to_numeric, errors="coerce")
    fine = any(not _of_classes(part["patient_id"], flags[name]) for name in names)
    return "" if fine else f"no label that {LEAST_OF_EACH} patients have and {LEAST_OF_EACH} do not"


def _by_site(rows, unit, column, name, names):
    """Test part of the units and what is to be said of it."""
    site = home(rows, unit, column)
    if not (site == name).any():
        raise ValueError(f"split: site:{column}: no patient with a usable image or row counts at {name}")
    _require_judged(column, name, _reason(rows[unit.map(site) == name]))
    spread = site_of(rows[column]).groupby(unit).nunique() > 1
    others = keys.counted(len(names) - 1, "other site")
    return site == name, {"held_out": name, "others": f"{others}", "part": f"by site, {column} {name}",
                          "site": name, "n_sites": len(names), "at_several": list(spread.index[spread]),
                          "without_value": list(site.index[site.isna()])}


# ---------------------------------------------------------------- both

def test_part(rows: pd.DataFrame, cohort: pd.DataFrame, split: str, test: float, n_folds: int = 0, fold: int = 0,
              groups: pd.Series | None = None) -> tuple[pd.Series | None, dict]:
    """The test part that a design fixes, as `splits.split` takes the split of a source.

    The rest (train, and by chance among it val) is for `splits.split`. Of several values of a patient the latest
    counts, so that nobody in train was seen in the time of the test part; or the site of most images. Patients without
    a value are never tested. A split of the source is set aside.

    Parameters
    ----------
    rows : usable rows; cohort : all rows, by which the sites are numbered
    split, test, n_folds, fold : parameters split, test_fraction, n_folds and fold of 02
    groups : Series, number of the group of duplicate images (negative = none)

    Returns
    -------
    Series aligned with rows, "test" or None; None for ``split`` auto without a split of the source
    dict: empty for auto, else by (time or site), column, held_out, others, part (texts for `in_words`), without_value
    and at_several (numbers of patients), set_aside (words of the split of the source), not_scored (why no outcome of
    the test part can be scored, or nothing); for a site also site and n_sites

    Raises
    ------
    ValueError
        As `check`, and for a site that cannot be judged alone, with the reason.
    """
    kind, column = read(split)
    if kind == AUTO:
        return rows.get("split"), {}
    check(cohort, split, test, n_folds, fold)
    unit = splits.units(rows, groups)
    names = site_names(cohort, column) if kind == SITE else []
    tested, facts = _by_time(rows, unit, column, test) if kind == TIME else \
        _by_site(rows, unit, column, names[fold], names)
    if tested.all():
        raise ValueError(f"split: {split}: every patient would be in the test part; nothing is left to learn from")
    patients = rows.groupby(unit)["patient_id"].nunique()
    facts |= {key: int(patients[facts[key]].sum()) for key in ("without_value", "at_several") if key in facts}
    aside = sorted(rows["split"].dropna().unique()) if "split" in rows else []
    given = unit.map(tested).map({True: "test", False: None}).astype(object)
    facts |= {"by": kind, "column": column, "set_aside": aside, "not_scored": _not_scored(rows[given.eq("test")])}
    return given.where(given.notna(), None), facts


def in_words(facts: dict, kept: pd.DataFrame, unit: str = "patient") -> str:
    """Which values are in which part, as a sentence; empty without a design.

    Parameters
    ----------
    facts : as `test_part` returns them; kept : rows with ``split`` and ``patient_id``
    unit : "image" where patients are not known
    """
    if not facts:
        return ""
    n = kept.groupby("split")["patient_id"].nunique()
    many = {part: keys.counted(int(n.get(part, 0)), unit) for part in splits.SPLITS}
    rest = f"train: {facts['others']}, {many['train']}; val: drawn by chance among the same, {many['val']}"
    share = n.get("test", 0) / max(1, n.sum())
    head = f"By {facts['by']} ({facts['column']}); test: {facts['held_out']}, {many['test']} ({share:.0%}); {rest}."
    return head + (f" The latest value of a {unit} counts, and who has the same value is on the same side."
                   if facts["by"] == TIME else " The other sites are learnt from, this one is not.")


def doubts(facts: dict, unit: str = "patient") -> list[str]:
    """What weakens a design, a sentence each: no value, several sites, a split of the source set aside, no cases."""
    said, where = [], facts.get("column")
    if facts.get("without_value"):
        what = "they may be later than the test part" if facts["by"] == TIME else "they may be of the site held out"
        said.append(f"{keys.counted(facts['without_value'], unit)} without a value in {where}: never tested, learnt "
                    f"from or chosen on, though {what}.")
    if facts.get("at_several"):
        said.append(f"{keys.counted(facts['at_several'], unit)} with images or rows of several sites in {where}: each "
                    "counts where most of them are, all on one side.")
    if facts.get("set_aside"):
        said.append(f"The split of the source ({', '.join(facts['set_aside'])}) is set aside: its test part may be "
                    "learnt from in this run.")
    if facts.get("not_scored"):
        said.append(f"The test part cannot be scored: {facts['not_scored']}.")
    return said
