"""Test predictions of several runs pooled: each patient once per seed, pairs only within one run.

The statistic of a group of runs is computed for many weightings of the **patients** at once (as `statistics.measures`
does): ones, the bootstrap resamples, the jackknife. All statistics see the same resamples, so that any difference of
two of them (models of one run, groups of runs on the same patients) is paired without further care; groups about
different patients come out as unpaired.
"""

import numpy as np
import pandas as pd

from medlab.comparison import predictions
from medlab.statistics.intervals import jackknife, left_out, limits, weights
from medlab.statistics.measures import measure, ratio

MEASURES = {"survival": ("c_harrell", "c_within_site"), "classification": ("auc", "accuracy"),
            "segmentation": ("dice",)}
PAIRS = (("fused", "clinical"), ("fused", "clinical_volume"), ("fused", "image"), ("image", "volume"),
         ("image", "source"), ("image", "clinical"), ("table", "clinical"), ("clinical_volume", "clinical"),
         ("clinical", "source"), ("fused", "truth"), ("U-Net", "Otsu"), ("U-Net", "fixed threshold"))
BLOCK = 2_000_000  # numbers of a block of weights


# ---------------------------------------------------------------- statistics

def resamples(n_units, n_bootstrap=2000, seed=0) -> np.ndarray:
    """Weights of the patients: ones, then the bootstrap, then the jackknife; (1 + b + g, n_units)."""
    everyone = np.arange(n_units)
    drawn = list(weights(everyone, n_bootstrap, seed)) if n_bootstrap else []
    return np.vstack([np.ones((1, n_units)), *drawn, left_out(everyone)]).astype(np.float32)


def _blocks(w, units):
    size = max(1, BLOCK // max(1, len(units)))
    return (w[start:start + size, units].astype(float) for start in range(0, len(w), size))


def concordance(part, model, w, by=("run",)) -> np.ndarray:
    """Harrell's C of one model over the rows of one seed, pairs only within one run (and level); (b,)."""
    from medlab.statistics import concordance as statistics_concordance

    strata = part.groupby(list(by), sort=False).ngroup().to_numpy()
    time, event, risk = part["time_days"].to_numpy(), part["event"].to_numpy(), part[f"risk_{model}"].to_numpy()
    return np.concatenate([statistics_concordance.concordance(time, event, risk, one, strata)
                           for one in _blocks(w, part["unit"].to_numpy())])


def arrays(one) -> tuple[np.ndarray, np.ndarray, str]:
    """Outcome, probabilities and head of the rows of one run, as `statistics.measures.measure` takes them."""
    head = one["head"].iloc[0]
    p = one[[name for name in one if name.startswith("p_") and one[name].notna().all()]].to_numpy()
    if head == "multilabel":
        return one[[f"y_{name[2:]}" for name in one if name.startswith("p_")]].to_numpy(), p, head
    return one["y"].to_numpy(), p[:, 0] if head == "binary" else p, head


def classified(part, w) -> dict[str, np.ndarray]:
    """AUC and accuracy over the rows of one seed: mean over its runs, weighted by the images drawn; dict of (b,).

    A fold without a class has no AUC: it is left out of that mean (and of a resample in which it is so).
    """
    found, sizes = [], []
    for _, one in part.groupby("run", sort=False):
        units, (y, p, head) = one["unit"].to_numpy(), arrays(one)
        options = dict(head=head, threshold=one["threshold"].iloc[0])
        each = [measure(y, p, block, **options) for block in _blocks(w, units)]
        found.append({name: np.concatenate([m[name] for m in each]) for name in MEASURES["classification"]})
        sizes.append(w[:, units].sum(1))
    return {name: _over_runs(np.array([one[name] for one in found]), np.array(sizes))
            for name in MEASURES["classification"]}


def _over_runs(values, sizes):
    """Weighted mean (b,) over the runs (r, b); a run whose resample lacks a class counts for nothing there."""
    defined = np.isfinite(values)
    return ratio((np.where(defined, values, 0) * sizes).sum(0), (defined * sizes).sum(0))


def models(table, group) -> list[str]:
    """Models with predictions in a group of runs."""
    from medlab.comparison.groups import in_order

    part = table[table["group"] == group]
    found = [name[5:] for name in part if name.startswith(predictions.PER_MODEL) and part[name].notna().all()]
    return ["network"] if "head" in part else in_order(found)


def vectors(table, kind, w, within=False) -> dict[tuple, np.ndarray]:
    """Every statistic of every group, model and seed for every weighting.

    Parameters
    ----------
    table : as `rows` (or `ensembles`) returns it; w : as `resamples` returns it
    within : also C inside one level only (``c_within_site``)

    Returns
    -------
    dict (group, model, measure, seed) -> (len(w),)
    """
    out = {}
    for (group, seed), part in table.groupby(["group", "seed"], sort=False):
        if kind == "classification":
            out |= {(group, "network", name, seed): one for name, one in classified(part, w).items()}
            continue
        for model in models(table, group):
            if kind == "segmentation":
                one = w[:, part["unit"].to_numpy()].astype(float)
                out[group, model, "dice", seed] = one @ part[f"dice_{model}"].to_numpy() / one.sum(1)
                continue
            out[group, model, "c_harrell", seed] = concordance(part, model, w)
            if within and part["level"].nunique() > 1:
                alone = part["level"].mask(part["level"] == "", part["item"].astype(str))  # unknown: with nobody
                out[group, model, "c_within_site", seed] = concordance(part.assign(level=alone), model, w,
                                                                       ("run", "level"))
    return out


def over_seeds(found) -> dict[tuple, np.ndarray]:
    """Mean over the seeds of each statistic: dict (group, model, measure) -> (len(w),)."""
    keys = dict.fromkeys(key[:3] for key in found)
    return {key: np.mean([one for other, one in found.items() if other[:3] == key], axis=0) for key in keys}


def summary(vector, n_bootstrap) -> dict[str, float]:
    """Value with its 95 % interval (BCa) from a statistic over all weightings.

    Returns
    -------
    dict: value, low, high (NaN where more than 5 % of the resamples are undefined, or all are alike)
    """
    value, draws, without = vector[0], vector[1:1 + n_bootstrap], vector[1 + n_bootstrap:]
    return dict(zip(("value", "low", "high"), (value, *limits(value, draws, without)), strict=True))


def paired(vector, n_bootstrap) -> dict[str, float]:
    """A difference with its 95 % interval (`statistics.intervals.jackknife`) from all weightings: value, low, high.

    All of `MEASURES` lie between 0 and 1.
    """
    ends = jackknife(vector[0], vector[1 + n_bootstrap:], most=1)
    return dict(zip(("value", "low", "high"), (vector[0], *ends), strict=True))


def means(found: dict, n_bootstrap: int) -> pd.DataFrame:
    """Mean over the seeds of every statistic with its interval over patients.

    Parameters
    ----------
    found : as `vectors` returns it

    Returns
    -------
    DataFrame indexed by group, model, measure: value, low, high
    """
    return pd.DataFrame({key: summary(vector, n_bootstrap) for key, vector in over_seeds(found).items()}).T


def unlike(ensemble: pd.DataFrame, mean: pd.DataFrame) -> pd.DataFrame:
    """The rows of the ensembles that are not those of the mean of the seeds: elsewhere the seed plays no part."""
    if not len(ensemble):
        return ensemble
    moved = (ensemble["value"] - mean["value"]).abs() > 1e-9
    return ensemble[moved.reindex(ensemble.index)]


def by_model(mean: pd.DataFrame, ensemble: pd.DataFrame, several: bool) -> dict:
    """Pooled values as the result file holds them: model -> measure, measure_low, measure_high.

    several : whether there are several groups of runs; the name of a model then begins with its group
    """
    out = {}
    for source, ending in ((mean, ""), (ensemble, " ensemble")):
        for (group, model, key), one in source.iterrows():
            name = (f"{group} {model}" if several else model) + ending
            out.setdefault(name, {}).update({key: one["value"], f"{key}_low": one["low"], f"{key}_high": one["high"]})
    return out


def wanted_pairs(text, present) -> list[tuple[str, str]]:
    """Differences to show: the parameter's ``fused-clinical, image-volume``, or those of PAIRS that there are."""
    if text == "auto":
        return [pair for pair in PAIRS if set(pair) <= set(present)]
    pairs = []
    for word in filter(None, map(str.strip, text.split(","))):
        cuts = [(word[:i].strip(), word[i + 1:].strip()) for i, letter in enumerate(word) if letter == "-"]
        pairs += (known := [pair for pair in cuts if set(pair) <= set(present)])  # a name may hold a hyphen itself
        if not known:
            raise ValueError(f"compare_models: {word!r} is no difference of two of {', '.join(present)}; "
                             "expected such as 'fused-clinical, image-volume'")
    return pairs


def difference(found, a, b, n_bootstrap) -> dict:
    """Paired difference of two statistics, a minus b, with the difference seed by seed.

    Parameters
    ----------
    found : as `vectors` returns it; a, b : (group, model, measure)

    Returns
    -------
    dict: value, low, high (0, 0, 0 for the same predictions), seeds (dict seed -> difference; only seeds that both
    have)
    """
    mean = over_seeds({key: one for key, one in found.items() if key[:3] in (a, b)})
    seeds = [key[3] for key in found if key[:3] == a and (*b, key[3]) in found]
    gain = mean[a] - mean[b]
    same = np.abs(gain[np.isfinite(gain)]).max(initial=0) < 1e-12
    out = {"value": 0.0, "low": 0.0, "high": 0.0} if same else paired(gain, n_bootstrap)
    return out | {"seeds": {seed: float(found[*a, seed][0] - found[*b, seed][0]) for seed in seeds}}
