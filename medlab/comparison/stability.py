"""One patient in several runs: where the patient stands in each, and how far that depends on the seed."""

import numpy as np
import pandas as pd

from medlab.comparison.pooled import arrays


def standing(table, kind, model=None):
    """Where each patient (or image) stands in each run, from 0 to 1.

    Returns
    -------
    DataFrame indexed by group, item, with a column per seed: survival: the share of the run's test patients with a
    lower risk (ties half); classification: the probability given to the true class; segmentation: Dice.
    """
    if kind == "survival":
        one = table.groupby("run")[f"risk_{model}"].rank()
        size = table.groupby("run")[f"risk_{model}"].transform("count")
        value = (one - 0.5) / size
    elif kind == "segmentation":
        value = table[f"dice_{model}"]
    else:
        value = pd.concat([_of_truth(one) for _, one in table.groupby("run", sort=False)])
    return table.assign(value=value).pivot_table(index=["group", "item"], columns="seed", values="value", sort=False)


def _of_truth(one):
    """Probability of the true class, of each row of one run; several labels: the mean over those that are known."""
    y, p, head = arrays(one)
    if head == "multilabel":
        return pd.Series(np.nanmean(np.where(np.isnan(y), np.nan, np.where(y == 1, p, 1 - p)), axis=1), one.index)
    return pd.Series(np.where(y == 1, p, 1 - p) if head == "binary" else p[np.arange(len(y)), y], one.index)


def over_seeds(stand, group):
    """How far a patient's standing depends on the seed.

    Parameters
    ----------
    stand : as `standing` returns it

    Returns
    -------
    DataFrame indexed by item: mean, low, high (over the seeds), sorted by the mean; and a dict with ``agreement``
    (mean rank correlation between two seeds), ``sd`` (mean over patients of the SD over seeds), ``switched`` (share
    of patients on both sides of 0.5).
    """
    one = stand.loc[group].dropna(axis=1, how="all").dropna()
    both = one.corr(method="spearman").to_numpy() if one.shape[1] > 1 else np.ones((1, 1))
    facts = {"seeds": one.shape[1], "n": len(one), "sd": float(one.std(axis=1).mean()),
             "agreement": float(both[np.triu_indices(len(both), 1)].mean()) if one.shape[1] > 1 else np.nan,
             "switched": float(((one > 0.5).any(axis=1) & (one <= 0.5).any(axis=1)).mean())}
    table = pd.DataFrame({"mean": one.mean(axis=1), "low": one.min(axis=1), "high": one.max(axis=1)})
    return table.sort_values("mean"), facts
