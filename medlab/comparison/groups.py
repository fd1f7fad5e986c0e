"""Runs side by side: which they are, what differs between them, what each of them reached, what belongs on the page.

Runs whose names differ only in ``-f<fold>`` and ``-s<seed>`` are one *group*: repeats of each other. Everything is
read from the run folders; the pooled test predictions and their intervals are in `comparison.pooled`.
"""

import json
import re

import pandas as pd

from medlab.cohorts import designs
from medlab.engine.parameters import (
    compared_results,
    contract,
    known_parameters,
    labels,
    notebooks,
    read_params,
    run_folder,
)
from medlab.engine.stamps import read_stamp
from medlab.statistics import metrics
from medlab.storage import read_json
from medlab.survival.scores import BASELINES

LISTED = {"survival": ("c_harrell", "c_uno", "integrated_brier"), "classification": ("auc", "accuracy"),
          "segmentation": ("dice",)}  # measures of the tables, the main one first
MEANT_TO_DIFFER = ("seed", "fold")  # between repeats of one group


def runs(names, part="test") -> pd.DataFrame:
    """The runs that are compared.

    Parameters
    ----------
    names : list of str
    part : "test", or "val" for choosing settings while the test parts stay closed

    Returns
    -------
    DataFrame indexed by run: group, n_folds, fold, seed, dataset, data (fingerprint), synthetic, patients_known,
    survival, classification and segmentation (whether there are results of that kind about that part, with its main
    measure), state (done, stale, ...).

    Raises
    ------
    ValueError
        Without any name, or for another part.
    """
    if part not in ("test", "val"):
        raise ValueError(f"compare_part is {part!r}; expected test or val")
    rows = []
    if not names:
        raise ValueError("no run to compare: repeat this one ('medlab repeat RUN --folds 5 --seeds 3'), or name the "
                         "runs in the parameter 'compare'")
    for name in names:
        folder, about = run_folder(name), read_json(run_folder(name) / "dataset.json")
        used = known_parameters() | read_params(name)
        rows.append({"run": name, "group": re.sub(r"(-f\d+)?(-s\d+)?$", "", name) or name,
                     "n_folds": used.get("n_folds", 0), "fold": used.get("fold", 0) if used.get("n_folds")
                     or designs.read(used.get("split", designs.AUTO))[0] == designs.SITE else 0,
                     "seed": used.get("seed", 0), "dataset": about.get("name"), "data": about.get("fingerprint"),
                     "synthetic": bool(about.get("synthetic")), "patients_known": about.get("n_patients") is not None,
                     **{kind: all((folder / one[key]).exists() for key in ("file", "rows"))
                        and about_part(name, kind, part) and _is_scored(name, kind, part)
                        for kind, one in compared_results().items()},
                     "state": state(name)})
    table = pd.DataFrame(rows).set_index("run")
    mixed = table.groupby("group")["n_folds"].transform("nunique") > 1
    folds = table["n_folds"].map(lambda n: f" ({n} folds)" if n else " (one split)")
    return table.assign(group=table["group"] + folds.where(mixed, ""))


def comparable(table: pd.DataFrame, part: str = "test") -> list[str]:
    """Kinds of results that at least two runs have; ValueError where there is none."""
    kinds = [kind for kind in compared_results() if table[kind].sum() > 1]
    if not kinds:
        raise ValueError(f"{len(table)} runs found, fewer than two with results of one kind about {part}; execute them "
                         "first, for test with open_test, survival_open_test and segmentation_open_test true, for val "
                         "with all of them false; where a part is too small to be scored (one class, no events), set "
                         "larger fractions in 02")
    return kinds


def baseline(table: pd.DataFrame, asked: str = "") -> str:
    """Group that the others are held against: the one asked for, else the first; ValueError for an unknown one."""
    if asked and asked not in set(table["group"]):
        raise ValueError(f"compare_baseline: no group {asked!r}; there is {', '.join(table['group'].unique())}")
    return asked or table["group"].iloc[0]


def about_part(run, kind, part) -> bool:
    """Whether the results of a run are about the test (or the validation) part."""
    found = read_json(run_folder(run) / compared_results()[kind]["file"])
    if kind != "classification":  # its other rows are patients that the models have learnt from
        return found.get("part", "test") == part and found.get("n_patients") != 0
    return (found if part == "test" else found.get("validation") or {}).get("n_images") != 0


def _is_scored(run, kind, part):
    """Whether a model of the run has the main measure of a kind: a part without events or of one class has none, and
    Kaplan-Meier is none."""
    return any(LISTED[kind][0] in _measures(one) for name, one in _models(run, kind, part).items()
               if name not in BASELINES)


def state(run) -> str:
    """How far the results of a run can be believed: done, stale, hand, running, failed or "not executed"."""
    stamps = [read_stamp(one["notebook"], run) for one in compared_results().values()]
    states = {"stale" if stamp.get("outdated") else stamp.get("state") for stamp in stamps if stamp}
    return next((one for one in ("running", "failed", "hand", "stale", "done") if one in states), "not executed")


def parameters(table) -> pd.DataFrame:
    """Parameters in which the runs differ.

    Parameters
    ----------
    table : as `runs` returns it

    Returns
    -------
    DataFrame: a row per parameter that is not the same everywhere (besides seed and fold), a column per group; where a
    group is not at one inside, all its values.
    """
    known, values = known_parameters(), {}
    for name, group in table["group"].items():
        for key, value in (known | read_params(name)).items():
            if key not in (*MEANT_TO_DIFFER, "run") and not key.startswith("compare"):
                values.setdefault(key, {}).setdefault(group, []).append(repr(value))
    shown = {key: {group: " and ".join(dict.fromkeys(found)) for group, found in groups.items()}
             for key, groups in values.items()}
    different = {key: groups for key, groups in shown.items() if len(set(groups.values())) > 1
                 or any(len(set(found)) > 1 for found in values[key].values())}
    return pd.DataFrame(different).T.reindex(columns=table["group"].unique())


def code(run) -> str:
    """Digests of the package and of the notebooks that made the results of a run, as text; empty if unknown."""
    stamps = {name: read_stamp(name, run).get("made_from") or {} for name in notebooks()}
    made = {name: [one.get("code"), one.get("notebook")] for name, one in stamps.items()
            if one and "runs" not in contract(name)["reads"]}
    return json.dumps(made, sort_keys=True) if made else ""


def remarks(table, about="test") -> list[str]:
    """What speaks against comparing these runs about their test (or val) parts, as sentences, the worst first."""
    found, ready = [], table[table[list(compared_results())].any(axis=1)]
    lost = table.index.difference(ready.index)
    groups = ready.groupby("group", sort=False)
    if ready["data"].nunique(dropna=False) > 1:
        kinds = ready.groupby("data", dropna=False)["dataset"].first()
        found.append(f"WARNING: the runs are about different data ({', '.join(map(str, kinds))}; {len(kinds)} "
                     "fingerprints): no patient is the same, differences between them are not paired.")
    for group, part in groups:
        if part["data"].nunique(dropna=False) > 1:
            found.append(f"WARNING: inside {group} the data differ: its runs are not repeats of one another.")
        inside = parameters(part)
        if len(inside):
            found.append(f"WARNING: inside {group} the runs differ in {', '.join(inside.index)}: they are not repeats "
                         "of one another, and their spread is not that of chance.")
        if part.duplicated(["n_folds", "fold", "seed"]).any():
            found.append(f"WARNING: inside {group} two runs have the same fold and seed.")
        if part["seed"].nunique() == 1:
            found.append(f"{group} has one seed: what another initialisation would give is not known.")
    words = {"hand": "last executed by hand", "running": "running or interrupted"}
    found += [f"{', '.join(part.index)}: {words.get(state, state)}; these numbers may not be current."
              for state, part in ready.groupby("state") if state != "done"]
    found += [f"{name}: no results about this part ({table.loc[name, 'state']}), left out." for name in lost]
    found += [f"{', '.join(some)}: no {kind} results with {labels()[LISTED[kind][0]]} about this part, left out of it."
              for kind in compared_results() if (some := _unscored(ready, kind, about))]
    if len({code(name) for name in ready.index}) > 1:
        found.append("The code (package or notebooks) changed between the runs; 'medlab run' brings them to one state.")
    if not ready["patients_known"].all():
        found.append("Patients are unknown: each image is taken for a patient, and intervals may be too narrow.")
    if about == "val":
        found.append("Validation parts are compared: epochs were chosen on them, the numbers flatter.")
    return found


def _unscored(table, kind, part):
    """Runs with a file of a kind that is about a part and has no main measure there, such as no C without events."""
    return [run for run in table.index[~table[kind]] if (run_folder(run) / compared_results()[kind]["file"]).exists()
            and about_part(run, kind, part)]


def overview(table: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """The runs for the page: group, fold, seed, data (beginning of the fingerprint), results and state."""
    results = table[kinds].apply(lambda row: ", ".join(row.index[row]) or "none", axis=1)
    shown = table[["group", "n_folds", "fold", "seed", "dataset"]]
    return shown.assign(data=table["data"].str[:8], results=results, state=table["state"])


# ---------------------------------------------------------------- what each run reached

def _measures(values):
    """Numbers that have an interval beside them: {"auc": 0.8} of {"auc": 0.8, "auc_low": 0.7, ...}."""
    return {key: value for key, value in values.items() if f"{key}_low" in values and isinstance(value, (int, float))}


def _models(run, kind, part):
    """What a run wrote about its part: model -> measures."""
    found = read_json(run_folder(run) / compared_results()[kind]["file"])
    if kind != "classification":
        return found.get("models") or found.get("methods") or {}
    found = found if part == "test" else found.get("validation") or {}
    return {"network": found} | {name: one for name, one in (found.get("baselines") or {}).items()
                                 if isinstance(one, dict)}


def scores(table, kind, part="test") -> pd.DataFrame:
    """What each run wrote about its own test (or validation) part.

    Parameters
    ----------
    table : as `runs` returns it, for the same part; kind : one that notebooks declare

    Returns
    -------
    DataFrame: run, group, fold, seed, model, measure, value.
    """
    rows = []
    for run, about in table[table[kind]].iterrows():
        rows += [{"run": run, **about[["group", "fold", "seed"]], "model": model, "measure": measure, "value": value}
                 for model, inner in _models(run, kind, part).items() for measure, value in _measures(inner).items()]
    return pd.DataFrame(rows, columns=["run", "group", "fold", "seed", "model", "measure", "value"])


def in_order(models) -> list[str]:
    """Models in the order in which the notebooks that fit them list them; unknown ones behind, by name."""
    order = list(dict.fromkeys(name for one in compared_results().values() for name in one["models"]))
    return sorted(models, key=lambda name: (order.index(name) if name in order else len(order), name))


def spread(found) -> pd.DataFrame:
    """Mean and spread over the runs of each group.

    Parameters
    ----------
    found : as `scores` returns it

    Returns
    -------
    DataFrame indexed by group, model, measure: mean, sd_seeds (of the means over folds of each seed), sd_folds (of
    the means over seeds of each fold), min, max, runs. NaN with a single seed or fold. Neither is an interval: folds
    share training patients, and one test part serves all seeds.
    """
    keys = ["group", "model", "measure"]
    grouped = found.groupby(keys, sort=False)["value"]
    table = grouped.agg(mean="mean", min="min", max="max", runs="size")
    for name, over in (("sd_folds", "fold"), ("sd_seeds", "seed")):
        means = found.groupby([*keys, over], sort=False)["value"].mean()
        table.insert(1, name, means.groupby(keys, sort=False).std())
    order = {name: i for i, name in enumerate(in_order(found["model"].unique()))}
    return table.sort_values("model", key=lambda column: column.map(order), kind="stable") if len(table) else table


def per_run(found, measures) -> pd.DataFrame:
    """One row per run, one column per model and measure: for the page."""
    chosen = found[found["measure"].isin(measures)]
    wide = chosen.pivot(index="run", columns=["measure", "model"], values="value")
    columns = [(measure, model) for measure in measures for model in in_order(chosen["model"].unique())
               if (measure, model) in wide]
    wide = wide.reindex(chosen["run"].unique())[columns]
    return wide.rename(columns=labels(), level="measure").rename(columns=in_words, level="model")


def in_words(name) -> str:
    """Name of a model as a page shows it."""
    return str(name).replace("_", " ")


def compact(spread, main, others) -> pd.DataFrame:
    """One row per group and model: mean and spread of the main measure, means of the others; for the page."""
    written = labels()
    names = {"mean": "mean", "sd_seeds": "SD over seeds", "sd_folds": "SD over folds", "min": "min", "max": "max"}
    wide = spread.xs(main, level="measure")[[*names, "runs"]].rename(columns=names)
    for measure in [m for m in others if m in spread.index.unique("measure")]:
        wide[f"{written.get(measure, measure)}, mean"] = spread.xs(measure, level="measure")["mean"]
    return wide.sort_index(level="group", sort_remaining=False, kind="stable").rename(in_words, level="model")


def side_by_side(means, ensembles, measures, within=None) -> pd.DataFrame:
    """Pooled values with intervals, one row per group and model, a pair of columns per measure; for the page.

    Parameters
    ----------
    means, ensembles : DataFrames indexed by group, model, measure: value, low, high; the second may lack rows, both
        where nothing could be pooled
    measures : tuple, in order; within : name of the column inside whose levels ``c_within_site`` counts pairs
    """
    if not len(means):
        return pd.DataFrame()
    tables = {"pooled, mean of the seeds": means} | ({"ensemble of the seeds": ensembles} if len(ensembles) else {})
    named = labels() | {"c_within_site": f"C within one {within}"}
    names = {name: named.get(name, name) for name in measures}
    texts, first = pd.DataFrame({name: metrics.written(one) for name, one in tables.items()}), means.index
    wide = texts.unstack().swaplevel(axis=1).reindex(list(dict.fromkeys(key[:2] for key in first)))
    wide = wide[[measure for measure in names if measure in wide]].dropna(axis=1, how="all")
    wide = wide.rename_axis(["group", "model"]).rename(columns=names, level=0).fillna("-")
    return wide.rename(in_words, level="model")
