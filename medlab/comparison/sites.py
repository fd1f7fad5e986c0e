"""Repeats that hold out one site each: what each reached, and what a new site may be expected to reach."""

import numpy as np
import pandas as pd

from medlab.comparison import pooled, stability
from medlab.engine.parameters import labels, run_folder
from medlab.statistics import intervals, keys, synthesis
from medlab.storage import read_if_sound

NAMES = ("value", "low", "high", "tau", "tau_low", "tau_high", "i2", "i2_low", "i2_high", "next_low", "next_high")


def held_out(runs) -> dict[str, str]:
    """Site that each run holds out: run -> name; runs with another design are not in it.

    Parameters
    ----------
    runs : names of runs, with the ``design`` of 02 in their preprocessing.json
    """
    return {run: design["site"] for run in runs if (design := _design(run)).get("site")}


def _design(run):
    return read_if_sound(run_folder(run) / "preprocessing.json").get("design") or {}


def never(runs) -> list[str]:
    """A sentence where some sites are held out by none of the runs."""
    found = {}
    for run, site in held_out(runs).items():
        design = _design(run)
        found.setdefault((design["column"], design["n_sites"]), set()).add(site)
    return [f"{len(names)} of {n} sites of {column} are held out here ({', '.join(sorted(names))}); the others are "
            "only learnt from." for (column, n), names in found.items() if len(names) < n]


def each(kind: str, rows: pd.DataFrame, of: dict, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Main measure of every model at every site that was held out, the mean over the seeds.

    Parameters
    ----------
    kind : survival, classification or segmentation
    rows : as `predictions.complete` returns them
    of : run -> site, as `held_out` returns it

    Returns
    -------
    DataFrame: group, model, site, n (patients), value, low, high (bootstrap of the patients of the site), error (its
    standard error, jackknife); empty where no run holds out a site
    """
    rows, found, measure = rows.assign(site=rows["run"].map(of)).dropna(subset="site"), [], pooled.MEASURES[kind][0]
    for (group, site), part in rows.groupby(["group", "site"], sort=False):
        unit, names = pd.factorize(part["unit"])
        w = pooled.resamples(len(names), n_bootstrap, seed)
        means = pooled.over_seeds(pooled.vectors(part.assign(unit=unit), kind, w))
        found += [{"group": group, "model": key[1], "site": site, "n": len(names), **pooled.summary(one, n_bootstrap),
                   "error": intervals.jackknife_error(one[1 + n_bootstrap:])}
                  for key, one in means.items() if key[2] == measure]
    return pd.DataFrame(found, columns=["group", "model", "site", "n", "value", "low", "high", "error"])


def together(found: pd.DataFrame) -> pd.DataFrame:
    """Random effects over the sites of each group and model, see `synthesis.of_shares`.

    Returns
    -------
    DataFrame indexed by group and model: k (sites in it), n_sites, n (patients), and the numbers of `NAMES`
    """
    out = {key: {"n_sites": len(one), "n": int(one["n"].sum()), **synthesis.of_shares(one["value"], one["error"])}
           for key, one in found.groupby(["group", "model"], sort=False)}
    table = pd.DataFrame(out).T.reindex(columns=["k", "n_sites", "n", *NAMES])
    return table.rename_axis(["group", "model"]) if len(table) else table


def shown(found: pd.DataFrame, summary: pd.DataFrame, patients: pd.DataFrame, asked: str = "auto") -> dict:
    """What a figure shows of each group, its chosen model (`stability.chosen`): name -> (rows of `each`, `together`).

    Parameters
    ----------
    found, summary : of `each` and `together`; patients : as `predictions.complete` returns it; asked : a model or auto
    """
    out, groups = {}, found["group"].unique()
    for group in groups:
        model = stability.chosen(patients, group, asked)
        seen = found[(found["group"] == group) & (found["model"] == model)]
        out[f"{group}: {model}" if len(groups) > 1 else model] = seen, summary.loc[(group, model)]
    return out


def records(over: dict, patients: dict, asked: str = "auto") -> list[dict]:
    """The syntheses of all kinds as a list of plain dicts; ``shown``: whether it is the model that a figure shows.

    Parameters
    ----------
    over : kind -> DataFrame of `together`; patients : kind -> DataFrame of `predictions.complete`
    """
    return [{"kind": kind, "group": group, "model": model, **one,
             "shown": model == stability.chosen(patients[kind], group, asked)}
            for kind, summary in over.items() for (group, model), one in summary.iterrows()]


def table(summary: pd.DataFrame, kind: str, several: bool) -> pd.DataFrame:
    """The synthesis for the page: a row per model, numbers with their intervals as text."""
    rows = {(f"{group}: {model}" if several else model): {
        "sites": f"{one['k']:.0f}" + (f" of {one['n_sites']:.0f}" if one["k"] < one["n_sites"] else ""),
        f"{labels()[pooled.MEASURES[kind][0]]}, mean": _text(one, "value", 3),
        "a new site, 95 % prediction": _between(one), "tau (logit)": _text(one, "tau"), "I2": _text(one, "i2")}
        for (group, model), one in summary.iterrows()}
    return pd.DataFrame(rows).T


def _text(one, name, digits=2):
    """A number of `together` with its interval; "not defined" with one site."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return keys.written(one[name] if np.isfinite(one[name]) else None, one[low], one[high], digits)


def _between(one):
    return f"{one['next_low']:.3f} to {one['next_high']:.3f}" if np.isfinite(one["next_low"]) else \
        f"none, needs {synthesis.LEAST_SITES} sites"


def in_words(kind: str, name: str, one, seen: pd.DataFrame) -> list[str]:
    """What the sites say together, as sentences: mean, heterogeneity, new site, and sites that are not in it.

    Parameters
    ----------
    name : model (and group) as the page shows it; one : row of `together`; seen : rows of `each` of that model
    """
    measure = labels()[pooled.MEASURES[kind][0]]
    said = [f"{name}: mean {measure} over {keys.counted(int(one['k']), 'site')} "
            f"{_text(one, 'value')}."]
    if one["k"] >= synthesis.LEAST_SITES:
        said[0] = said[0][:-1] + (f"; at a new site {measure} is expected between {one['next_low']:.2f} and "
                                  f"{one['next_high']:.2f} (95 % prediction interval). Sites differ by tau "
                                  f"{_text(one, 'tau')} on the logit scale, I2 {one['i2']:.0%} ({one['i2_low']:.0%} to "
                                  f"{one['i2_high']:.0%}).")
    else:
        said.append(f"With {keys.counted(int(one['k']), 'site')} it cannot be estimated well how much sites differ: no "
                    f"prediction interval for a new one (needs at least {synthesis.LEAST_SITES}).")
    lost = seen[~synthesis.placed(seen["value"], seen["error"])]
    said += [f"{site} is shown but not in the mean: {measure} {value:.2f} has no standard error on the logit scale."
             for site, value in zip(lost["site"], lost["value"], strict=True)]
    return said
