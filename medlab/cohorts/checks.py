"""What a person should know about a dataset before any long work: counts, problems, targets, confounders."""

import numpy as np
import pandas as pd

from medlab.cohorts import (
    adequacy,
    annotations,
    cards,
    confounding,
    datasets,
    identifiers,
    intensities,
    screening,
    twins,
    vocabulary,
)
from medlab.statistics import intervals


def check(name: str, most: int = 2000, deep: bool = False) -> list:
    """Look a dataset over before any long work, in seconds.

    Parameters
    ----------
    most : int
        Read at most so many images, evenly spread.
    deep : bool
        Read every file anew to compare it with what was imported, even where its size and times did not move.

    Returns
    -------
    list of (level, message)
        Level is "ok", "note", "warning" or "error".
    """
    try:
        dataset = datasets.load(name)
    except ValueError as error:
        return [("error", line) for line in str(error).splitlines()]
    found = _who(dataset) + _as_imported(dataset, deep) + [("note", note) for note in dataset.notes]
    found += _copied_rows(dataset.cohort)
    if "image" in dataset.cohort:
        found += _pictures(dataset, most)
    return found + _targets(dataset) + _sizes(dataset) + _tables(dataset)


def _who(dataset):
    cohort, known = dataset.cohort, dataset.card.get("patients") != "unknown"
    count = f"{len(cohort)} {'images' if 'image' in cohort else 'rows'}"
    found = [("ok", f"{count} of {cohort['patient_id'].nunique()} patients")] if known else [
        ("warning", f"{count}; patients unknown: leakage between images of one patient cannot be excluded")]
    if "split" in cohort:
        counts = cohort["split"].value_counts().reindex(cards.SPLITS).dropna().astype(int)
        found.append(("ok", "split of the source: " + ", ".join(f"{k} {v}" for k, v in counts.items())))
        sides = cohort.groupby("patient_id")["split"].nunique()
        if known and (sides > 1).any():
            found.append(("error", f"{(sides > 1).sum()} patients are in more than one split, for example "
                                   f"{sides.index[sides > 1][0]}; correct the column split or remove it"))
    log = dataset.folder / "import_log.csv"
    if log.is_file():
        counts = cards.read_csv(log).get("status", pd.Series(dtype=str)).value_counts()
        found += [("note", f"import: {counts[s]} {s} (see import_log.csv)")
                  for s in ("refused", "unmatched", "left out") if s in counts]
    return found


def _as_imported(dataset, deep):
    """Files that somebody changed or removed after the import."""
    moved = datasets.changed(dataset, deep)
    return [("error", f"{len(moved)} files are not what was imported: {', '.join(moved[:5])}"
             + (" ..." if len(moved) > 5 else "") + "; import the source again")] if moved else []


def _copied_rows(cohort):
    rows = twins.equal_rows(cohort)
    level = "warning" if (rows["kind"] == "row").any() else "note"
    return ([(level, said) for said in twins.in_words(rows, cohort)]
            + [("warning", said) for said in twins.unlike_in_words(cohort)])


def _pictures(dataset, most):
    n = len(dataset.cohort)
    rows = np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
    table = datasets.scan(dataset, rows=rows, progress=n > 200)
    found = [("note", f"{len(rows)} of {n} images looked at")] if len(rows) < n else []
    bad = table["problem"].dropna()
    found += [("error" if p.startswith("unreadable") else "warning", f"row {i}: {p}") for i, p in bad.head(5).items()]
    found.append(("ok" if bad.empty else "warning", f"{len(bad)} images unreadable or blank"))
    size = table[["depth", "height", "width"]].dropna(how="all").astype("Int64").value_counts(dropna=False)
    if len(size):
        often = " x ".join(str(v) for v in size.index[0] if pd.notna(v))
        found.append(("ok", f"{len(size)} sizes, most often {often}"))
    if table["spacing_mm"].isna().any():
        without = table["spacing_mm"].isna().sum()
        found.append(("note", f"{without} images without spacing: lengths are in pixels there"))
    found += [("warning", text) for text in intensities.scales_in_words(table[table["problem"].isna()],
                                                                        dataset.card.get("intensity"))]
    twins = screening.duplicates(table)
    groups, same = twins["group"].nunique(), twins.loc[twins["exact_group"] >= 0, "exact_group"].nunique()
    found.append(("note" if groups else "ok", f"{groups} groups of identical or near-identical images, {same} of them "
                  "with identical pixels" if groups else "no identical or near-identical images"))
    both, exact = screening.straddling(dataset, twins), screening.straddling(dataset, twins, "exact")
    if both:
        found.append(("warning", f"{len(both)} groups of identical or near-identical images lie on both sides of the "
                      f"source's split, {len(exact)} of them with identical pixels: a leak to resolve"))
    conflicts = screening.label_conflicts(dataset, twins)
    found += [("warning", f"{len(conflicts)} groups of duplicates carry different labels")] if len(conflicts) else []
    across = _across_patients(dataset, twins)
    found += [("warning", f"{across} groups of duplicates join different patients")] if across else []
    return found + annotations.masks(dataset, table) + annotations.boxes(dataset, table)


def _across_patients(dataset, twins):
    if dataset.card.get("patients") == "unknown" or twins.empty:
        return 0
    who = dataset.cohort["patient_id"].reindex(twins["row"]).to_numpy()
    return int((twins.assign(who=who).groupby("group")["who"].nunique() > 1).sum())


def _targets(dataset):
    """Which targets are possible, and how wide an interval to expect from the test part."""
    cohort, found = dataset.cohort.drop_duplicates("patient_id"), []
    tested = cohort[cohort["split"] == "test"] if "split" in cohort and (cohort["split"] == "test").any() else None
    share, rows = (1.0, tested) if tested is not None else (0.2, cohort)
    where = f"the {len(rows)} of the source's test split" if tested is not None else f"a test part of {0.2:.0%}"
    if "label" in cohort and dataset.cohort["label"].isna().all():
        found.append(("warning", f"target label: none of {len(dataset.cohort)} rows has one"))
    elif "label" in cohort:
        counts = dataset.cohort["label"].value_counts().reindex(datasets.classes(dataset)).fillna(0).astype(int)
        missing = int(dataset.cohort["label"].isna().sum())
        found.append(("ok", "target label: " + ", ".join(f"{k} {v}" for k, v in counts.items())
                      + (f"; {missing} without" if missing else "")))
        least = dataset.card.get("positive") or counts.index[counts.argmin()]
        n = round(share * (rows["label"] == least).sum())
        half = intervals.expected_halfwidth(n, round(share * rows["label"].notna().sum()) - n)
        found.append(_width(f"AUC of {least!r} from {where} ({n} of them)", half))
    for column in (c for c in cohort if c.startswith("label_")):
        found.append(("ok", f"target {column}: {int(cohort[column].sum())} of {cohort[column].notna().sum()}"))
    if "time_days" in cohort and cohort["time_days"].notna().any():
        events, n = int(cohort["event"].sum()), int(cohort["time_days"].notna().sum())
        found.append(("ok", f"target survival: {events} events in {n} patients, median time "
                      f"{cohort['time_days'].median():.0f} days" + (f"; {len(cohort) - n} without follow-up"
                                                                    if n < len(cohort) else "")))
        seen = round(share * rows["event"].sum())
        half = intervals.expected_halfwidth(seen, round(share * rows["time_days"].notna().sum()) - seen, 0.7)
        found.append(_width(f"C-index from {where} ({seen} events; a rough guide, as if an AUC)", half))
        if not events:
            found.append(("warning", "no event is seen: survival cannot be learnt, notebook 05 is left out; is `event` "
                          "coded the right way round (true = seen)?"))
    marked = dataset.boxes is not None or "mask" in cohort
    if not found and not marked:
        found.append(("warning", "no target: no label, no time_days and event, no masks and no boxes"))
    return found


def _sizes(dataset):
    """Patients needed for a regression model and its validation, beside those there are."""
    table, persons = adequacy.table(dataset), dataset.cohort.drop_duplicates("patient_id")
    said = adequacy.in_words(table, max(1, adequacy.parameters(persons, datasets.covariates(dataset))))
    return [("ok" if text.startswith("Large") else "note", text) for text in said]


def _width(what, half):
    if not half < 0.5:
        return "warning", f"{what}: too few to estimate anything"
    return ("ok" if half <= 0.1 else "warning"), f"{what}: expect a 95 % interval of about +- {half:.2f}"


def _tables(dataset):
    """Missing values, spellings, identifiers and confounders among the covariates."""
    cohort, found = dataset.cohort, []
    persons = cohort.drop_duplicates("patient_id")
    names = datasets.covariates(dataset)
    missing = persons[names].isna().sum()
    if missing.any():
        some = missing[missing > 0]
        found.append(("note", "missing values: " + ", ".join(f"{c} {v}" for c, v in some.head(12).items())
                      + (f" and {len(some) - 12} more columns" if len(some) > 12 else "")))
    for column in (c for c in names if persons[c].dtype == object):
        before, after = persons[column].nunique(), vocabulary.clean_text(persons[column]).nunique()
        if after < before:
            found.append(("note", f"{column}: {before} spellings of {after} values"))
    found += [("warning", f"column {c} may identify a person: {why}") for c, why in
              identifiers.identifying(persons[names]).items()]
    found += [("warning", f"column {c} repeats the outcome ({why}): not a covariate; import with --drop {c}")
              for c, why in _repeats_outcome(persons, names).items()]
    outcomes = {"label": cohort["label"]} if "label" in cohort else {}
    outcomes |= {"survival": cohort[["time_days", "event"]]} if "time_days" in cohort else {}
    files = confounding.files(dataset).drop(columns="file: size", errors="ignore")
    cohort = cohort.join(files[[c for c in files if files[c].nunique() > 1]])
    persons = cohort.loc[persons.index]
    for column in [*vocabulary.sites(persons[names]), *(c for c in cohort if c in files)]:
        for target, outcome in outcomes.items():
            rows = persons.index[persons[column].notna() & (outcome.loc[persons.index].notna().T.all()
                                 if target == "survival" else outcome.loc[persons.index].notna())]
            score = confounding.alone(vocabulary.clean_text(cohort.loc[rows, column].astype(str)), outcome.loc[rows],
                                      cohort.loc[rows, "patient_id"])
            found.append(_confounder(column, target, score))
    return found


def _repeats_outcome(persons, names):
    """Covariates that are the outcome under another name: the time again, or a code of the event."""
    found = {}
    if "time_days" not in persons:
        return found
    persons = persons[persons["time_days"].notna()]
    event = persons["event"].astype(bool)
    for column in names:
        values, there = persons[column], persons[column].notna()
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 5 and (
                values[there].corr(persons["time_days"][there]) > 0.98):
            found[column] = "its values are the time"
        elif 1 < values.nunique() <= 5 and (
                event[there].groupby(values[there]).transform("mean").round() == event[there]).mean() > 0.9 > max(
                    event.mean(), 1 - event.mean()):
            found[column] = "it tells the event"
        elif there.any() and not there.all() and max((there == event).mean(), (there != event).mean()) > 0.95:
            found[column] = "it is filled where the event is seen, or only there not"
    return found


def _confounder(column, target, score):
    measure = "C-index" if target == "survival" else "AUC"
    value, low, high = (score[k] for k in ("value", "low", "high"))
    text = f"{column} alone predicts the {target} with {measure} {value:.2f} [{low:.2f}, {high:.2f}]"
    return ("warning", text + ": a confounder to report") if low > 0.5 else ("ok", text)
