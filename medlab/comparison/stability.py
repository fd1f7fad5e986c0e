"""One patient in several runs: where the patient stands in each, and how far that depends on the seed."""

import numpy as np
import pandas as pd

from medlab.comparison.pooled import arrays, models

MARKED = {"survival": ("event seen", "censored"), "classification": ("below 0.5", "0.5 or above"),
          "segmentation": ("below 0.5", "0.5 or above")}  # of the patients that `marks` is true for, and of the others
AXIS = {"survival": "share of patients with a lower risk", "classification": "probability of the true class",
        "segmentation": "Dice of the patient"}


def chosen(patients: pd.DataFrame, group: str, asked: str = "auto") -> str:
    """Model whose patients are looked at one by one: the one asked for, else fused, else image, else the first.

    Parameters
    ----------
    patients : as `predictions.complete` returns it
    group : whose models count; those of the first one where it has no results of this kind
    """
    known = patients["group"].unique()
    present = models(patients, group if group in known else known[0])
    name = next(name for name in ("fused", "image", *present) if name in present) if asked == "auto" else asked
    if name not in present:
        raise ValueError(f"compare_shown: no model {name!r}; there is {', '.join(present)}")
    return name


def marks(patients: pd.DataFrame, kind: str, mean: pd.Series) -> pd.Series:
    """Items that a figure marks, see `MARKED`: with survival those whose event was seen, else those below 0.5.

    Parameters
    ----------
    mean : Series indexed by item, 0..1, as `standing` says, mean over the seeds (and groups)
    """
    if kind != "survival":
        return mean < 0.5
    return patients.drop_duplicates("item").set_index("item")["event"].reindex(mean.index).astype(bool)


def standing(table, kind, model=None) -> pd.DataFrame:
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


def over_seeds(stand, group) -> tuple[pd.DataFrame, dict]:
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


def in_words(group: str, model: str, facts: dict) -> str:
    """The facts of `over_seeds` as a sentence."""
    if facts["seeds"] < 2:
        return f"{group}: one seed, nothing to say about stability."
    alike = f"{facts['agreement']:.2f}" if np.isfinite(facts["agreement"]) else "not defined (all are equal, or one)"
    return (f"{group}, {model}: rank correlation between two seeds {alike}; SD over seeds "
            f"{facts['sd']:.3f}; {facts['switched']:.0%} of {facts['n']} stand on both sides of 0.5.")


def least_stable(each: pd.DataFrame, patients: pd.DataFrame, most: int = 6) -> pd.DataFrame:
    """The items with the widest range over the seeds, with their patient where an item is not the patient itself.

    Parameters
    ----------
    each : as `over_seeds` returns it; patients : as `predictions.complete` returns it
    """
    far = each.assign(range=each["high"] - each["low"]).nlargest(most, "range").round(2)
    far.insert(0, "patient", _patient(patients, far.index))
    return far.drop(columns="patient") if far["patient"].eq(far.index).all() else far


def _patient(patients, items):
    return patients.drop_duplicates("item").set_index("item")["patient"].reindex(items)


def changes(stand: pd.DataFrame, patients: pd.DataFrame, baseline: str, group: str) -> pd.DataFrame:
    """Where each item stands in two groups of runs, mean over the seeds, the largest change first.

    Parameters
    ----------
    stand : as `standing` returns it

    Returns
    -------
    DataFrame indexed by item: patient, a column per group, change (group minus baseline); empty without common items
    """
    both = pd.DataFrame({name: stand.loc[name].mean(axis=1) for name in (baseline, group)}).dropna()
    both["change"] = both[group] - both[baseline]
    both.insert(0, "patient", _patient(patients, both.index))
    return both.reindex(both["change"].abs().sort_values(ascending=False).index)
