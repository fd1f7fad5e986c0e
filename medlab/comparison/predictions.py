"""Test predictions of several runs below one another, as every comparison reads them."""

import pandas as pd

from medlab.engine.parameters import compared_results, run_folder
from medlab.storage import read_json

PER_MODEL = ("risk_", "dice_")  # columns of one model each; the name follows
NO_RANKING = "risk_kaplan_meier"  # the same for everybody


def rows(table, kind, within=None, split="test") -> pd.DataFrame:
    """Test predictions of all runs below one another.

    Parameters
    ----------
    table : as `comparison.groups.runs` returns it for the same part
    kind : survival (risk.parquet), classification (predictions.parquet) or segmentation (segmentation.parquet)
    within : column of the cohort, or None; its levels are in the column ``level`` ("" where unknown)
    split : test or val

    Returns
    -------
    DataFrame: run, group, seed, part (number of the set of test patients inside the group), patient, unit (number of
    the patient over all runs; another fingerprint of the data is another patient), item (image, or the patient),
    level; survival: time_days, event, ``risk_<model>``; classification: head, threshold, y (class number; ``y_<label>``
    where several apply at once), ``p_<class>``; segmentation: ``dice_<method>`` of the patient.
    """
    found = []
    for run, about in table[table[kind]].iterrows():
        one = READERS[kind](run, split)
        one = one.assign(run=run, group=about["group"], seed=about["seed"], data=str(about["data"]))
        one["level"] = _levels(run, within, one["patient"]) if within else ""
        found.append(one)
    every = pd.concat(found, ignore_index=True)
    every["unit"] = pd.factorize(every["data"] + "/" + every["patient"])[0]
    test_sets = every.groupby("run")["item"].agg(lambda items: "|".join(sorted(items)))
    every["part"] = every.groupby("group")["run"].transform(lambda run: pd.factorize(run.map(test_sets))[0])
    return every


def _survival(run, split):
    table = pd.read_parquet(run_folder(run) / compared_results()["survival"]["rows"])
    test = table[(table["split"] == split) & table["time_days"].notna() & table["event"].notna()]
    risks = [name for name in test if name.startswith("risk_") and name != NO_RANKING]
    out = test[["time_days", *risks]].astype(float).assign(event=test["event"].astype(bool))
    out["patient"] = test["patient_id"].astype(str)
    fitted = table[table["split"] != split]
    for name in risks:  # the scale for averaging over seeds: of the patients that are not tested, where they have one
        seen = fitted[name].astype(float).dropna() if fitted[name].notna().sum() > 1 else out[name].dropna()
        out[name] = (out[name] - seen.mean()) / (seen.std() or 1.0)
    return out.assign(item=out["patient"]).reset_index(drop=True)


def _classification(run, split):
    facts = read_json(run_folder(run) / compared_results()["classification"]["file"])
    table = pd.read_parquet(run_folder(run) / compared_results()["classification"]["rows"])
    test, classes = table[table["split"] == split].reset_index(drop=True), [str(name) for name in facts["classes"]]
    chances = classes[1:] if facts["head"] == "binary" else classes
    out = test[[f"p_{name}" for name in chances]].astype(float)
    if facts["head"] == "multilabel":
        out[[f"y_{name}" for name in classes]] = test[classes].astype(float)
    else:
        out["y"] = pd.Index(classes).get_indexer(test["outcome"].astype(str))
    threshold = facts.get("threshold")
    return out.assign(patient=test["patient_id"].astype(str), item=test["row"].astype(str), head=facts["head"],
                      threshold=0.5 if threshold is None else threshold)


def _segmentation(run, split):
    from medlab.segmentation import scores

    table = pd.read_parquet(run_folder(run) / compared_results()["segmentation"]["rows"])
    each = scores.pool(table[table["split"] == split], ["method", "class", "patient_id"])
    wide = each.pivot_table(index="patient_id", columns="method", values="dice", sort=False)  # mean over the classes
    out = wide.add_prefix("dice_").rename_axis(None, axis=1).reset_index(names="patient")
    return out.assign(patient=out["patient"].astype(str), item=out["patient"].astype(str))


READERS = {"survival": _survival, "classification": _classification, "segmentation": _segmentation}


def _levels(run, column, patients):
    cohort = pd.read_parquet(run_folder(run) / "cohort.parquet")
    if column not in cohort:
        return ""
    level = cohort.dropna(subset=[column]).groupby(cohort["patient_id"].astype(str))[column].first()
    return patients.map(level.astype(str)).fillna("").to_numpy()


def site_column(run) -> str | None:
    """Column of the cohort that says where a patient comes from (``site``, or the first of its kind), or None."""
    about = read_json(run_folder(run) / "dataset.json")
    return next(iter(sorted(about.get("sites") or [], key=lambda name: name != "site")), None)


def level_column(table: pd.DataFrame, kind: str, asked: str = "auto") -> str | None:
    """Column of the cohort inside whose levels C is counted as well; None for none, and for other kinds than survival.

    Parameters
    ----------
    table : as `comparison.groups.runs` returns it; asked : name of a column, auto (the site), or empty for none
    """
    if kind != "survival":
        return None
    return site_column(table.index[table["survival"]][0]) if asked == "auto" else asked or None


def complete(table) -> tuple[pd.DataFrame, list[str]]:
    """Rows for which every model has a risk, so that all are judged on the same patients.

    Returns
    -------
    table : DataFrame without the rows and without the models that most rows lack; notes : list of sentences.
    """
    risks, notes = [name for name in table if name.startswith(PER_MODEL)], []
    for group, part in table.groupby("group", sort=False):
        for name in risks:
            share = part[name].isna().mean()
            if 0 < share < 1:
                n, kind = part.loc[part[name].isna(), "unit"].nunique(), "risk" if name[0] == "r" else "Dice"
                notes.append(f"{group}: {name[5:]} has no {kind} for {n} patients: they are left out "
                             f"{'for it (most lack it)' if share > 0.5 else 'for all'}.")
    if not risks:
        return table, notes
    lacking = table[risks].isna()
    few = lacking.groupby(table["group"]).transform("mean") <= 0.5
    return table[~(lacking & few).any(axis=1)].reset_index(drop=True), notes


def _overlap(part):
    """Whether the sets of test patients of a group share some of their patients, but not all."""
    return part.drop_duplicates(["part", "item"])["item"].duplicated().any()


def overlaps(table) -> list[str]:
    """What the test patients of the runs of one group have in common, where it is neither all nor nothing."""
    return [f"{group}: the test patients differ from run to run but overlap (set split_seed, so that the seeds share a "
            "split): the spread over seeds holds that of the split, and there is no ensemble."
            for group, part in table.groupby("group", sort=False) if _overlap(part)]


def ensembles(table) -> pd.DataFrame:
    """One run per part instead of one per seed: mean of standardised risks, or of probabilities, over its runs.

    Returns
    -------
    DataFrame like `rows` with seed "ensemble"; groups whose parts overlap (a split of its own for every seed) or have
    one run each are not in it, nor are segmentations, whose mean would need the masks.
    """
    out = []
    for _, part in table.groupby("group", sort=False):
        first = part.drop_duplicates(["part", "item"])
        several = part.groupby("part")["run"].nunique().min() > 1
        numbers = [name for name in part if name.startswith(("risk_", "p_", "threshold")) and part[name].notna().any()]
        if not several or not numbers or _overlap(part):
            continue
        mean = part.groupby(["part", "item"], sort=False)[numbers].mean()
        one = first.drop(columns=[*numbers, "seed"]).merge(mean.reset_index(), on=["part", "item"])
        out.append(one.assign(seed="ensemble", run="part " + one["part"].astype(str)))
    return pd.concat(out, ignore_index=True) if out else table.iloc[:0]
