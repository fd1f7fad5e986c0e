"""What a cohort can and cannot show: its patients beside those that a regression model and its validation need."""

import numpy as np
import pandas as pd

from medlab.cohorts import datasets, vocabulary
from medlab.statistics import sample_size

TEST_SHARE, MOST_LEVELS = 0.2, 30  # of patients, where the source has no test part; categories of a column
MAKE, VALIDATE = "a new regression model", "a validation"
COLUMNS = ["for", "outcome", "what is to be known", "needed", "there are", "enough"]


def parameters(persons: pd.DataFrame, covariates: list) -> int:
    """Columns that the covariates become when categories are coded; columns of more than `MOST_LEVELS` words are left
    out."""
    def of(column):
        levels = vocabulary.clean_text(persons[column]).nunique() if vocabulary.is_text(persons[column]) else 2
        return max(levels - 1, 0) if levels <= MOST_LEVELS else 0

    return int(sum(of(column) for column in covariates if persons[column].nunique() > 1))


def table(dataset: datasets.Dataset) -> pd.DataFrame:
    """Patients needed (`statistics.sample_size`) and there for each outcome of a dataset.

    A new model is made from the patients outside of the test part (of the source, else a fifth of all); it has the
    parameters of all covariates. Of several classes the rarest counts against the rest. Prediction of survival is to
    the median follow-up. A validation of survival counts events.

    Returns
    -------
    DataFrame of COLUMNS; no rows where there is no outcome of two kinds.
    """
    persons = dataset.cohort.drop_duplicates("patient_id")
    k = max(1, parameters(persons, datasets.covariates(dataset)))
    rows = []
    for outcome, case in _cases(dataset, persons).items():
        known, share = case.notna(), float(case.mean())
        tested = int(known[_tested(persons)].sum()) if _tested(persons).any() else round(TEST_SHARE * known.sum())
        if not 0 < share < 1:
            continue
        made, tried = sample_size.development(k, share), sample_size.validation(share)
        rows += [(MAKE, outcome, what, n, int(known.sum() - tested)) for what, n in made.items()]
        rows += [(VALIDATE, outcome, what, n, tested) for what, n in tried.items()]
    return pd.DataFrame(rows + _survival(persons, k), columns=COLUMNS[:-1]).assign(
        enough=lambda found: np.where(found["there are"] >= found["needed"], "yes", "no"))


def _tested(persons):
    return persons["split"].eq("test") if "split" in persons else pd.Series(False, persons.index)


def _cases(dataset, persons):
    """Per outcome with classes whether a patient is a case, NaN where unknown."""
    found = {c.removeprefix("label_"): persons[c].astype(float) for c in persons if c.startswith("label_")}
    if "label" in persons and persons["label"].notna().any():
        counts = persons["label"].value_counts()
        case = dataset.card.get("positive") if dataset.card.get("positive") in counts else counts.idxmin()
        found[str(case)] = persons["label"].eq(case).astype(float).where(persons["label"].notna())
    return found


def _survival(persons, k):
    if "time_days" not in persons or not persons.get("event", pd.Series(dtype=float)).notna().any():
        return []
    known = persons[persons["time_days"].notna() & persons["event"].notna()]
    events, tested = known["event"].astype(bool), _tested(known)
    if not events.any():
        return []
    follow_up, horizon = (float(known["time_days"].agg(how)) for how in ("mean", "median"))
    n = round((1 - TEST_SHARE) * len(known)) if not tested.any() else int((~tested).sum())
    seen = round(TEST_SHARE * events.sum()) if not tested.any() else int(events[tested].sum())
    made = sample_size.development(k, float(events.mean()), follow_up, horizon)
    rows = [(MAKE, "survival", what, wanted, n) for what, wanted in made.items()]
    return [*rows, (VALIDATE, "survival", "events", sample_size.EVENTS, seen)]


def in_words(found: pd.DataFrame, k: int) -> list[str]:
    """What the cohort is too small for, a sentence per purpose and outcome; what it is large enough for, too.

    Parameters
    ----------
    found : of `table`; k : of `parameters`
    """
    said = []
    for (purpose, outcome), rows in found.groupby(["for", "outcome"], sort=False):
        unit = "events" if rows["what is to be known"].eq("events").all() else "patients"
        text = f"{purpose} of {outcome}" + (f" from the {k} parameters of the table" if purpose == MAKE else "")
        short, there = rows[rows["enough"] == "no"], rows["there are"].iloc[0]
        if short.empty:
            said.append(f"Large enough for {text}: {there} {unit}, {rows['needed'].max()} needed.")
        else:
            worst = short.loc[short["needed"].idxmax()]
            reason = "" if unit == "events" else f" ({worst['what is to be known']})"
            said.append(f"Too small for {text}: {there} {unit}, {worst['needed']:,} needed{reason}.")
    return said
