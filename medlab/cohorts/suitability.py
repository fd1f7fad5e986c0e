"""Whether the network of a run may be shown the patients of another dataset, and what is unlike.

What it was trained on decides: the same kind of image, the same covariates, the same classes. What does not fit is
refused, all of it at once; what is merely unlike is named.
"""

import pandas as pd

from medlab.cohorts import datasets, vocabulary
from medlab.cohorts.frozen import asked, inputs, learnt

CARD = {"modality": ("modality", "not stated"), "intensity": ("intensity scale", "arbitrary")}


def misfits(of: dict, data: datasets.Dataset, rows: pd.DataFrame) -> list[str]:
    """Why a network cannot be shown these patients, a sentence each; empty where it can.

    Parameters
    ----------
    of : of `frozen.read`; data : the other dataset; rows : its usable rows (`preparation.usable_rows`)
    """
    what = asked(of, rows)
    if not what:
        names = {"label": "a label", "survival": "follow-up (time_days, event)"}
        wanted = " and ".join(names[one] for one in learnt(of))
        return [f"{of['run']} has learnt {wanted}, and {data.name} has none of it"]
    found = _of_classes(of, rows) if "label" in what else []
    found += _of_images(of, data, rows) if "image_shape" in of["prepared"] else []
    if of["prepared"]["radiomics"]:
        found.append(f"{of['run']} was given radiomics (radiomics_*), which are not measured here; train one without "
                     "them")
    return found + (_of_covariates(of, rows) if "survival" in what else [])


def _of_classes(of, rows):
    if of["training"]["head"] == "multilabel":
        absent = [name for name in of["training"]["classes"] if name not in rows]
        return [f"labels: {', '.join(absent)} of {of['run']} are no columns here"] if absent else []
    known = set(map(str, of["prepared"]["classes"]))
    strange = rows["label"].dropna().astype(str)
    strange = strange[~strange.isin(known)].value_counts()
    named = ", ".join(f"{name!r} ({n} rows)" for name, n in strange.items())
    return [f"labels: {named} {'is' if len(strange) == 1 else 'are'} no class of {of['run']}, which knows "
            f"{', '.join(sorted(known))}; rename them in cohort.csv, or remove the rows"] if len(strange) else []


def _of_images(of, data, rows):
    """Of the images: kind, dimensions, channels, pixel size, mask."""
    run, prepared, mine = of["run"], of["prepared"], rows[rows["has_image"]]
    if mine.empty:
        return [f"images: {run} needs them, {data.name} has none"]
    cards = [(word, data.card.get(key) or default, of["facts"]["card"].get(key) or default)
             for key, (word, default) in CARD.items()]
    found = [f"{word}: {here} here, {there} in {run} (card.yaml)" for word, here, there in cards if here != there]
    kinds, volumes = {True: "volumes", False: "pictures"}, len(prepared["image_shape"]) == 4
    wrong = int((mine["depth"].notna() != volumes).sum())
    if wrong:
        found.append(f"dimensions: {wrong} of {len(mine)} images are {kinds[not volumes]}, {run} has learnt "
                     f"{kinds[volumes]}")
    own = of["rows"][of["rows"]["has_image"]]
    strange = mine[~mine["channels"].isin(own["channels"])]
    if len(strange):
        found.append(f"channels: {len(strange)} images have {_numbers(strange['channels'])}, {run} has learnt from "
                     f"{_numbers(own['channels'])} (first row: {strange['row'].iloc[0]})")
    unknown = mine[mine["spacing_mm"].isna()]
    if prepared["spacing_set_mm"] and len(unknown):
        found.append(f"pixel size: {run} has learnt at {prepared['spacing_set_mm']:g} mm, and that of {len(unknown)} "
                     f"of {len(mine)} images is unknown (first row: {unknown['row'].iloc[0]}); state it in the column "
                     "spacing_mm of cohort.csv")
    if prepared["marks"] and ("mask" not in mine or mine["mask"].isna().all()):
        found.append(f"masks: {run} sees the mask as a channel, and no image here has one")
    return found


def _numbers(values):
    return " or ".join(f"{n:g}" for n in sorted(values.dropna().unique()))


def _of_covariates(of, rows):
    """Of the covariates: columns that are not there, and numbers that are words or the other way round."""
    names = inputs(of)
    absent = [name for name in names if name not in rows]
    verb, what = ("is", "it") if len(absent) == 1 else ("are", "them")
    found = [f"covariates: {', '.join(absent)} {verb} not in this table, and the network of {of['run']} needs {what}; "
             "add the column (empty cells where unknown)"] if absent else []
    kinds = {True: "words", False: "numbers"}
    for name in (name for name in names if name in rows and rows[name].notna().any()):
        here, there = (vocabulary.is_text(table[name]) for table in (rows, of["rows"]))
        if here != there:
            example = rows[name].dropna().iloc[0]
            found.append(f"covariates: {name} holds {kinds[here]} here (such as {example!r}), {kinds[there]} in "
                         f"{of['run']}")
    return found


def require_fit(of: dict, data: datasets.Dataset, rows: pd.DataFrame) -> None:
    """ValueError with everything that does not fit (`misfits`)."""
    if found := misfits(of, data, rows):
        raise ValueError(f"the network of {of['run']} cannot be evaluated on {data.name}:\n  " + "\n  ".join(found))


def remarks(of: dict, rows: pd.DataFrame) -> list[str]:
    """What does fit and is yet unlike, a sentence each: outcomes, classes and columns that are not on both sides."""
    found = [f"Not evaluated, as it is not known here: {what}." for what in learnt(of) if what not in asked(of, rows)]
    if "label" in asked(of, rows) and "label" in rows:
        lost = [name for name in map(str, of["prepared"]["classes"]) if not rows["label"].astype(str).eq(name).any()]
        found += [f"Classes of {of['run']} that do not occur here: {', '.join(lost)}."] if lost else []
    absent = [name for name in inputs(of) if name not in rows]
    found += [f"Covariates of {of['run']} that are not in this table: {', '.join(absent)}."] if absent else []
    for name in (name for name in inputs(of) if name in rows):
        if rows[name].isna().all():
            found.append(f"{name} is empty here: everybody gets the median or reference of {of['run']}.")
    return found
