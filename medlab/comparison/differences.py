"""Differences of pooled statistics: between two models of one group of runs, and of one model between two groups."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medlab.comparison import pooled
from medlab.statistics import metrics

MAIN = {"c_harrell": "C (Harrell)", "dice": "Dice"}  # measures whose difference gets a sentence and a figure
SEEDS, JOINT = "mean of the seeds", "ensembles"


def between_models(kind: str, patients: pd.DataFrame, drawn: Mapping, joint: Mapping, asked: str = "auto",
                   n_bootstrap: int = 2000) -> dict:
    """Paired differences of the models of each group, of the mean of the seeds and of the ensembles.

    Parameters
    ----------
    kind : survival, classification or segmentation
    patients : as `predictions.complete` returns it
    drawn, joint : statistics of the seeds and of the ensembles, as `pooled.vectors` returns them
    asked : the parameter, see `pooled.wanted_pairs`

    Returns
    -------
    dict (kind, group, first, second, measure, of) -> first minus second, as `pooled.difference` returns it
    """
    found = {}
    for source, what in ((drawn, SEEDS), (joint, JOINT)):
        for group in patients["group"].unique():
            for a, b in pooled.wanted_pairs(asked, pooled.models(patients, group)):
                for m in (m for m in pooled.MEASURES[kind] if any(key[:3] == (group, a, m) for key in source)):
                    one = pooled.difference(source, (group, a, m), (group, b, m), n_bootstrap)
                    found[kind, group, a, b, m, what] = one
    return found


def between_groups(kind: str, patients: pd.DataFrame, drawn: Mapping, baseline: str,
                   n_bootstrap: int = 2000) -> tuple[dict, dict]:
    """Differences of every model that both have, of each group of runs to a baseline.

    Returns
    -------
    dict (kind, group, model) -> group minus baseline, as `pooled.difference` returns it; and dict (kind, group) ->
    whether the two have the same test patients: the difference is not paired otherwise.
    """
    sets, measure = patients.groupby("group")["unit"].agg(set), pooled.MEASURES[kind][0]
    groups = [name for name in sets.index if name != baseline and baseline in sets.index]
    present = {name: pooled.models(patients, name) for name in sets.index}
    found = {(kind, group, model): pooled.difference(drawn, (group, model, measure), (baseline, model, measure),
                                                     n_bootstrap)
             for group in groups for model in present[group] if model in present[baseline]}
    return found, {(kind, group): sets[group] == sets[baseline] for group in groups}


def verdict(one: Mapping) -> str:
    """What a difference says, with its interval and its seeds: "+0.03 (+0.01 to +0.05), more; same sign in ..."."""
    if one["low"] == one["high"] == 0:
        return "none, the same predictions"
    side = "more" if one["value"] > 0 else "less"
    same = sum(np.sign(value) == np.sign(one["value"]) for value in one["seeds"].values())
    clear = one["low"] > 0 or one["high"] < 0
    doubt = ", but not in every seed" if clear and same < len(one["seeds"]) else ""
    return f"{interval(one)}, {side + doubt if clear else 'not shown to differ'}; same sign in {same} of " \
           f"{len(one['seeds'])} seeds"


def interval(one: Mapping) -> str:
    """A difference with its interval as text, signs written: +0.030 (+0.010 to +0.050)."""
    return metrics.in_words(one, sign="+")


def named(found: Mapping, several: bool) -> dict:
    """Differences between models of the main measures, mean of the seeds: measure -> {"a minus b": difference}.

    several : whether there are several groups of runs, so that the name of the group belongs to the line
    """
    out = {}
    for (_, group, a, b, m, what), one in found.items():
        if m in MAIN and what == SEEDS:
            out.setdefault(m, {})[_name(group, a, b, several)] = one
    return out


def _name(group, a, b, several):
    pair = f"{a} minus {b}".replace("_", " ")
    return f"{group}: {pair}" if several else pair


def table(found: Mapping, several: bool, within: str | None = None) -> pd.DataFrame:
    """Differences between models for the page: a line per pair, a column per measure and kind of mean.

    within : name of the column inside whose levels ``c_within_site`` counts pairs
    """
    of = {"c_harrell": "C, ", "dice": "Dice, ", "c_within_site": f"C within one {within}, "}
    shown = {}
    for (_, group, a, b, m, what), one in found.items():
        shown.setdefault(of[m] + what, {})[_name(group, a, b, several)] = interval(one)
    return pd.DataFrame(shown).fillna("-")


def sameness(shared: Mapping, baseline: str) -> list[str]:
    """A sentence per group: whether its test patients are those of the baseline."""
    return [f"{group} and {baseline}: {'the same' if same else 'NOT the same'} test patients ({kind})"
            + ("." if same else ", not paired.") for (kind, group), same in shared.items()]


def records(found: Mapping, names: tuple) -> list[dict]:
    """Differences (or facts) by key as a list of plain dicts, the parts of the key under the given names."""
    return [dict(zip(names, key, strict=True)) | one for key, one in found.items()]
