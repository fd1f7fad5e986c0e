"""The preparation of a run as it was stored, for the patients of another dataset: nothing is fitted here."""

from pathlib import Path

import numpy as np
import pandas as pd

from medlab import storage
from medlab.cohorts import preparation
from medlab.imaging import geometry

FILES = ("dataset.json", "preprocessing.json", "cohort.parquet", "split.parquet", "covariates.parquet", "training.json")
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
