"""The preparation of a run as it was stored, for the patients of another dataset: nothing is fitted here.

What a network was trained on decides what it may be shown: the same kind of image, the same covariates, the same
classes. What does not fit is refused, all of it at once; what is merely unlike is named.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import storage
from medlab.cohorts import datasets, preparation, twins, vocabulary
from medlab.imaging import geometry
from medlab.statistics import keys

FILES = ("dataset.json", "preprocessing.json", "cohort.parquet", "split.parquet", "covariates.parquet", "training.json")
HOW = ("stop", "drop", "keep")
PSEUDONYM = re.compile(r"p[a-z2-7]{12}")  # of an import with a key: the same one is the same person
CARD = {"modality": ("modality", "not stated"), "intensity": ("intensity scale", "arbitrary")}
SCALE = 1.1  # how many times wider a prepared pixel may be before it is said


def read(folder: Path) -> dict:
    """What a run has prepared and how.

    Returns
    -------
    dict: run (its name), facts, prepared, training (JSON of 01, 02, 03), rows (those used, in the order of
    split.parquet, with the columns of cohort.parquet), covariates (DataFrame aligned with rows).

    Raises
    ------
    ValueError
        Where a file is missing, or the run was prepared by a version that did not store all of it.
    """
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise ValueError(f"reports/{folder.name} has no {', '.join(missing)}: execute notebooks 01 to 03 of this run "
                         "first")
    facts, prepared, training = (storage.read_json(folder / f"{name}.json") for name in
                                 ("dataset", "preprocessing", "training"))
    if "image_shape" in prepared and "spacing_set_mm" not in prepared:
        raise ValueError(f"reports/{folder.name}/preprocessing.json does not say which pixel size was asked for "
                         "('spacing_set_mm'): it was made by an earlier version; execute notebook 02 of this run again")
    if "image_shape" in prepared and not (folder / "images.npy").exists():
        raise ValueError(f"reports/{folder.name} has no images.npy any more: execute notebook 02 of this run again")
    table = pd.read_parquet(folder / "split.parquet").reset_index(drop=True)
    cohort = pd.read_parquet(folder / "cohort.parquet").set_index("row").loc[table["row"]].reset_index()
    rows = cohort.assign(**{name: table[name] for name in ("split", "has_image")}).astype({"patient_id": str})
    covariates = pd.read_parquet(folder / "covariates.parquet").reindex(table.index)
    return {"run": folder.name, "facts": facts, "prepared": prepared, "training": training, "rows": rows,
            "covariates": covariates}


def results(of: dict, folder: Path, name: str, weights: str) -> dict:
    """A file of results of the run, which has to be about the network that lies there.

    Parameters
    ----------
    name : metrics.json or survival.json; weights : digest of the weights of the network

    Raises
    ------
    ValueError
        Where the file is missing or about another network.
    """
    number = {"metrics.json": "04", "survival.json": "05"}[name]
    if not (folder / name).exists():
        raise ValueError(f"reports/{of['run']} has no {name}, where threshold, calibration and slopes of its network "
                         f"stand: execute notebook {number} of this run first")
    found = storage.read_json(folder / name)
    if found.get("model") != weights:
        raise ValueError(f"reports/{of['run']}/{name} is about a network with weights {str(found.get('model'))[:12]}, "
                         f"but {weights[:12]} lies there: execute notebook {number} of this run again")
    return found


def learnt(of: dict) -> list[str]:
    """What the networks of a run give: a list of ``label`` and ``survival``."""
    return [what for what in ("label", "survival") if what in of["training"]["target"]]


def asked(of: dict, rows: pd.DataFrame) -> list[str]:
    """What of it can be evaluated on other patients: those outcomes that are known of any of them."""
    outputs = of["training"]["classes"] if of["training"].get("head") == "multilabel" else ["label"]
    there = {"label": any(name in rows and rows[name].notna().any() for name in outputs),
             "survival": "time_days" in rows and rows["time_days"].notna().any()}
    return [what for what in learnt(of) if there[what]]


def inputs(of: dict) -> list[str]:
    """Covariates that the preparation of a run makes columns of (radiomics not among them)."""
    return [name for name, fit in of["prepared"]["covariates"].items()
            if fit["kind"] != "dropped" and name in of["facts"]["covariates"]]


def misfits(of: dict, data: datasets.Dataset, rows: pd.DataFrame) -> list[str]:
    """Why a network cannot be shown these patients, a sentence each; empty where it can.

    Parameters
    ----------
    of : of `read`; data : the other dataset; rows : its usable rows (`preparation.usable_rows`)
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


def strange_levels(of: dict, cleaned: pd.DataFrame) -> list[str]:
    """Sentences about categories that a run has no column for; they count as its reference.

    Parameters
    ----------
    cleaned : second of `covariates`
    """
    found = []
    for name, fit in of["prepared"]["covariates"].items():
        if fit["kind"] == "category" and name in cleaned:
            words = cleaned[name].dropna().map(preparation.level)
            strange = words[~words.isin(fit["levels"])].value_counts()
            named = ", ".join(f"{word} ({n})" for word, n in strange.items())
            found += [f"{name}: {named} unknown to {of['run']}; counts as {fit['reference']}."] if len(strange) else []
    return found


def covariates(of: dict, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Covariates by the cleaning, medians, scales and levels of a run.

    Parameters
    ----------
    of : of `read`; rows : usable rows of another dataset

    Returns
    -------
    (cleaned of the run, cleaned of the others, numbers of the others as in covariates.parquet)

    Raises
    ------
    ValueError
        Where the run's own covariates.parquet is not what its rows and its stored rules give.
    """
    names = [name for name in inputs(of) if name in rows]
    both = pd.concat([of["rows"][names], rows[names]], ignore_index=True)
    train = np.r_[of["rows"]["split"].eq("train").to_numpy(), np.zeros(len(rows), bool)]
    cleaned, _ = preparation.clean(both, names, train, of["prepared"]["outliers"])
    made = preparation.apply_covariates(cleaned, {name: of["prepared"]["covariates"][name] for name in names})
    n = len(of["rows"])
    if not np.allclose(made.iloc[:n], of["covariates"].reindex(columns=made.columns), rtol=0, atol=1e-6):
        raise ValueError(f"covariates.parquet of {of['run']} is not what its cohort and preprocessing.json give: "
                         "execute notebook 02 of this run again")
    return cleaned.iloc[:n], *(table.iloc[n:].set_index(rows.index) for table in (cleaned, made))


def of_images(of: dict, n: int) -> dict:
    """Keywords of `prepared.prepare` for n images, as the run's own were made."""
    stored = of["prepared"]
    windows = [name.strip() for name in stored["window"].split(",")] if stored["window"] else [None]
    return {"shape": (n, *stored["image_shape"]), "windows": windows, "spacing_mm": stored["spacing_set_mm"],
            "region": stored["region"], "marks": bool(stored["marks"])}


def scale_in_words(of: dict, places: np.ndarray) -> str:
    """Whether a prepared pixel covers more or less than in the run, where both are known; empty if it does not.

    Parameters
    ----------
    places : array of geometry.npy of the other dataset
    """
    own, each = of["prepared"]["spacing_mm"], [geometry.prepared_spacing(one) for one in places]
    if not own or not all(each):
        return (f"The pixel size is not known {'of all images here' if own else 'in ' + of['run']}: whether things are "
                "shown as large as there cannot be said.")
    here = np.median(each, axis=0)[-1]
    return (f"One prepared pixel covers {here:.2f} mm here, {own[-1]:.2f} mm in {of['run']}: things are shown "
            f"{'smaller' if here > own[-1] else 'larger'} here.") if not 1 / SCALE < here / own[-1] < SCALE else ""


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
