"""What is said of a cohort before anything is learnt from it: sentences, counts, the columns of Table 1."""

import textwrap

import numpy as np
import pandas as pd

from medlab.cohorts import datasets, preparation, vocabulary
from medlab.statistics import intervals, keys

UNKNOWN_PATIENTS = ("Which images belong to one patient is unknown: leakage between images of one patient "
                    "cannot be excluded, and intervals take each image for a patient.")
# of a card: for programs, or told in other words
UNTOLD = ("sha256", "import", "notes", "event_coding", "understood", "questions")
UNLABELLED = "(no label)"
UNSEEN = ("sha", "problem", "duplicate_kind", "duplicate_group", "channels")  # of a patient: bookkeeping


def unit_of(cohort: pd.DataFrame) -> str:
    """What one row of a cohort is, in the plural."""
    return "images" if "image" in cohort else "rows"


def card_in_words(dataset: datasets.Dataset, width: int = 105) -> str:
    """The card as text, one entry per paragraph: what it states, how events are coded, what it does not state."""
    card, told = dataset.card, {k: v for k, v in dataset.card.items() if k not in UNTOLD}
    if coding := {k: _listed(v) for k, v in card.get("event_coding", {}).items()}:
        told["event"] = ", ".join(f"{k} {v}" for k, v in coding.items())
    survival = ["time_origin", "event_meaning"] if "survival" in datasets.conditions(dataset) else []
    told["not stated"] = [k for k in ["description", "licence", "citation", *survival] if not card.get(k)] or "-"
    lines = [*told.items(), *(("import note", note) for note in card.get("notes", []))]
    return "\n".join(textwrap.fill(_listed(value), width, initial_indent=f"{key:16}", subsequent_indent=" " * 16)
                     for key, value in lines)


def how_read(card: dict) -> pd.DataFrame:
    """How the import read the source, and what was a guess with the option that answers it; no rows if the card is
    silent."""
    rows = [(row["what"], row["read_as"]) for row in card.get("understood") or []]
    rows += [("a guess", f"{row['question']} ({row['option']} answers it)") for row in card.get("questions") or []]
    return pd.DataFrame(rows, columns=["how the source was read", ""]).set_index("how the source was read")


def _listed(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def n_patients(dataset: datasets.Dataset) -> int | None:
    """Number of patients; None where the card says that patients are unknown."""
    return None if dataset.card.get("patients") == "unknown" else int(dataset.cohort["patient_id"].nunique())


def size_in_words(dataset: datasets.Dataset) -> str:
    """Such as "240 images, 240 patients"."""
    n = n_patients(dataset)
    who = "number of patients unknown" if n is None else f"{keys.counted(n, 'patient')}"
    return f"{len(dataset.cohort)} {unit_of(dataset.cohort)}, {who}"


def problems_in_words(scan: pd.DataFrame) -> list[str]:
    """Sentence about images that cannot be read or are blank (`datasets.scan`); empty if there are none."""
    n = int(scan["problem"].notna().sum())
    return [f"{n} of {len(scan)} images {'has' if n == 1 else 'have'} a problem (unreadable or blank)."] if n else []


def names_shown(cohort: pd.DataFrame, order: list, covariates: list) -> list[str]:
    """What figures write of a cohort: classes, columns, and the levels of columns of words."""
    levels = [cohort[c].dropna().astype(str).unique() for c in covariates if vocabulary.is_text(cohort[c])]
    return [*map(str, order), *covariates, *(name for names in levels for name in names)]


def class_counts(cohort: pd.DataFrame, order: list, by: list) -> pd.DataFrame:
    """Rows per class with their share; of several labels per image each one's; without labels rows per group.

    Parameters
    ----------
    order : class names (`datasets.classes`), empty where there are none
    by : columns that group rows, such as split and site; used where there are no classes
    """
    unit = unit_of(cohort)
    if "label" in cohort:
        counts = _label_counts(cohort, order)
        of = counts.drop(UNLABELLED, errors="ignore")
        shares = {name: f"{n / max(1, of.sum()):.1%}" for name, n in of.items()}
        return pd.DataFrame({unit: counts, "share": pd.Series(shares).reindex(counts.index, fill_value="")}).T
    if order:
        marked = cohort[[f"label_{name}" for name in order]]
        return pd.DataFrame({unit: marked.sum(), "known": marked.notna().sum(),
                             "share": marked.astype(float).mean().map("{:.1%}".format).replace("nan%", "")})
    groups = [(c + " " + cohort[c].astype(str)).where(cohort[c].notna(), f"no {c}").value_counts() for c in by]
    return pd.concat([pd.Series({"all": len(cohort)}), *groups]).rename(unit).to_frame()


def _label_counts(cohort, order):
    counts = cohort["label"].fillna(UNLABELLED).value_counts()
    return counts.reindex([name for name in [*order, UNLABELLED] if name in counts])


def classes_by(cohort: pd.DataFrame, columns: list, order: list) -> pd.DataFrame:
    """Counts of each class (columns, in order) for each value of some columns (rows, "site A"), for `plots.shares`."""
    named = [(c + " " + cohort[c].astype(str)).where(cohort[c].notna(), f"no {c}") for c in columns]
    table = pd.concat([pd.crosstab(rows, cohort["label"]) for rows in named])
    return table.reindex(columns=[name for name in order if name in table])


def classes_in_words(cohort: pd.DataFrame, order: list, patients_known: bool = True) -> list[str]:
    """What the sizes of the classes mean: the accuracy of guessing, mixed patients, precision of an AUC.

    All of it over the rows with a label.
    """
    without, cohort, unit = int(cohort["label"].isna().sum()), cohort[cohort["label"].notna()], unit_of(cohort)
    if cohort.empty:
        return [f"None of the {without} {unit} has a label"]
    counts = _label_counts(cohort, order)
    largest = counts.max() / counts.sum()
    said = [f"The largest class has {largest:.1%} of the {unit}" + (f" with a label ({without} have none)" if without
            else "") + ": the accuracy of always guessing it"]
    if patients_known:
        mixed = int((cohort.groupby("patient_id")["label"].nunique() > 1).sum())
        said.append(f"{keys.counted(mixed, 'patient has', 'patients have')} images of more than one class")
    share = (cohort["split"] == "test").mean() if "split" in cohort else 0.2
    few, all_ = share * counts.min(), share * counts.sum()
    half = intervals.expected_halfwidth(few, all_ - few) if len(counts) > 1 else np.nan
    if np.isfinite(half):
        said.append(f"A test of {share:.0%} holds about {few:.0f} {unit} of the rarest class: an AUC of 0.8 will be "
                    f"known to ± {half:.2f}" + ("" if patients_known else ", or worse"))
    return said


def rare_categories(cohort: pd.DataFrame, covariates: list, most: int = 12) -> list[str]:
    """Sentence about categories of fewer than five patients (or a tenth of few); empty if there are none."""
    persons, said = cohort.drop_duplicates("patient_id"), []
    for column in covariates:
        values, text = persons[column], vocabulary.is_text(persons[column])
        if not text and values.nunique() > min(6, len(persons) / 5):
            continue
        counts = (vocabulary.clean_text(values) if text else values).value_counts()
        if len(counts) <= 30:
            rare = counts[counts < min(5, 0.1 * len(persons))]
            said += [f"{column} {f'{v:g}' if isinstance(v, float) else v} ({n})" for v, n in rare.items()]
    return ["Rare categories (patients): " + ", ".join(said[:most]) + (" ..." if len(said) > most else "") + "."
            ] if said else []


def people(cohort: pd.DataFrame, covariates: list) -> pd.DataFrame:
    """One row per patient, cleaned (`preparation.clean`), for tables: what has few values is text."""
    table, _ = preparation.clean(cohort, covariates, np.ones(len(cohort), bool))
    table = table.drop_duplicates("patient_id").reset_index(drop=True)
    for column in covariates:
        if vocabulary.is_text(table[column]) or table[column].nunique() <= 6:
            words = table[column].map(lambda v: f"{v:g}" if isinstance(v, float) else str(v), na_action="ignore")
            table[column] = words.astype(object)
    return table


def varying(cohort: pd.DataFrame, covariates: list) -> list[str]:
    """Covariates that differ between the rows of one patient."""
    return [c for c in covariates if (cohort.groupby("patient_id")[c].nunique() > 1).any()]


def table_one_columns(people: pd.DataFrame, covariates: list, most: int = 12) -> tuple[list, list]:
    """Covariates that fit into Table 1 (something is known; no more words than ``most``), and those that are words.

    Parameters
    ----------
    people : as `people` gives it
    """
    words = [c for c in covariates if vocabulary.is_text(people[c])]
    shown = [c for c in covariates if people[c].notna().any()
             and (c not in words or people[c].nunique() <= most)]
    return shown, [c for c in shown if c in words]


def table_one_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `tableone` with "-" where a group has no value at all, instead of "0 (nan)"."""
    return table.replace(r"^(\d+ \(nan\)|nan( [\[(]nan.*)?)$", "-", regex=True)


def missing(people: pd.DataFrame, covariates: list, most: int = 8) -> list[str]:
    """Sentence about the covariates that are missing in most patients; empty if nothing is missing."""
    n = people[covariates].isna().sum()
    n = n[n > 0].sort_values(ascending=False)
    return ["Missing per patient: " + ", ".join(
        f"{vocabulary.labelled(c)} {k}" for c, k in n.head(most).items()) + "."] if len(n) else []


def image_kinds(fine: pd.DataFrame) -> pd.DataFrame:
    """Combinations of size and spacing, the most frequent first: index size, columns spacing_mm, images.

    Parameters
    ----------
    fine : rows of ``cohort.parquet`` without a problem
    """
    axes = ["height", "width", "channels"] if fine["depth"].isna().all() else ["depth", "height", "width", "channels"]
    size = fine[axes].astype("Int64").astype(str).agg(" x ".join, axis=1)
    seen = pd.DataFrame({" x ".join(axes): size, "spacing_mm": fine["spacing_mm"].fillna("unknown")})
    return seen.value_counts().rename("images").reset_index().set_index(" x ".join(axes))


def kinds_in_words(kinds: pd.DataFrame, shown: int) -> str:
    """How many kinds of images there are (`image_kinds`), how many are shown, and how often spacing is unknown."""
    unknown = kinds.loc[kinds["spacing_mm"] == "unknown", "images"].sum()
    return (f"{len(kinds)} combinations of size and spacing"
            + (f", the {shown} most frequent are shown" if len(kinds) > shown else "")
            + f"; spacing unknown for {unknown} images")


def patient_rows(cohort: pd.DataFrame, patient: str = "") -> pd.DataFrame:
    """Rows of one patient; of the first with a usable image where no name is given. ValueError for an unknown one."""
    usable = cohort[cohort["problem"].isna()]
    names = (usable if len(usable) else cohort)["patient_id"].astype(str)
    rows = cohort[cohort["patient_id"].astype(str) == (patient or names.iloc[0])]
    if rows.empty:
        raise ValueError(f"patient_shown: no patient {patient!r}; the first are {', '.join(names.head(5))}")
    return rows


def patient_table(rows: pd.DataFrame, measured: list, name: str) -> pd.DataFrame:
    """What is known of a patient (the first of the rows), as one column called ``name``.

    Parameters
    ----------
    measured : columns that are left out where nothing was measured, such as those of `datasets.scan`
    """
    known = rows.iloc[0].drop([*UNSEEN, *(c for c in measured if c in rows and rows[c].isna().all())], errors="ignore")
    known = known.where(known.notna(), "missing").map(lambda v: f"{v:.5g}" if isinstance(v, float) else v)
    return known.rename(f"{name} {rows['patient_id'].iloc[0]}").to_frame()


def one_kind_per_column(cohort: pd.DataFrame) -> pd.DataFrame:
    """Columns that mix numbers and words as words: parquet holds one kind per column."""
    cohort = cohort.copy()
    for column in cohort.select_dtypes("object"):
        if len({type(v) for v in cohort[column].dropna()}) > 1:
            cohort[column] = cohort[column].astype(str).where(cohort[column].notna(), None)
    return cohort
