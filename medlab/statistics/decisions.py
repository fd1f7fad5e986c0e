"""Decision curves: is acting on a probability better than acting on everybody, and than acting on nobody?

Net benefit (Vickers and Elkin, Med Decis Making 2006;26:565): cases that are acted on, minus the others that are acted
on, weighted by the odds of the threshold. In units of true positives per patient; of acting on nobody it is 0.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from medlab.statistics.intervals import exact_interval, jackknife, left_out

THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
GAINS = ["more", "more_low", "more_high"]


def share_of(y) -> Callable:
    """Share of cases among chosen images, as `curve` asks for it; y (n,) 0/1."""
    y = np.asarray(y, float)
    return lambda chosen, w: (w * chosen) @ y / np.maximum((w * chosen).sum(1), 1e-12)


def curve(p, rate: Callable, patients=None, thresholds=THRESHOLDS) -> pd.DataFrame:
    """Net benefit of acting where a probability exceeds a threshold, with intervals that leave out patients in turn.

    Parameters
    ----------
    p : (n,) probabilities of being a case
    rate : callable
        From (n,) bool, who is acted on, and weights (b, n) to the share of cases among them, (b,).
    patients : (n,), optional
        Default: each is another one.

    Returns
    -------
    DataFrame
        threshold, model with its limits low and high (against nobody), all (everybody), none (0), more (model minus
        all) with more_low and more_high, treated (share). NaN where there is no limit, or no value.
    """
    p, rows = np.asarray(p, float), []
    who = pd.factorize(np.arange(len(p)) if patients is None else patients)[0]
    w = np.vstack([np.ones(len(p)), left_out(who)])
    cases = float(rate(np.ones(len(p), bool), w[:1])[0])
    for threshold in np.asarray(thresholds, float):
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold {threshold:g}: a probability from 0 to below 1 is expected")
        treated, odds = p > threshold, threshold / (1 - threshold)
        model = _benefit(treated, rate, w, who, odds)
        spared = _benefit(~treated, rate, w, who, odds)  # what acting on the others, too, would bring
        rows.append((threshold, *model, cases - (1 - cases) * odds, 0.0, -spared[0], -spared[2], -spared[1],
                     treated.mean()))
    return pd.DataFrame(rows, columns=["threshold", "model", "low", "high", "all", "none", *GAINS, "treated"])


def _benefit(chosen, rate, w, who, odds):
    """Net benefit of acting on the chosen, with its limits: by leaving patients out in turn, or, where they are wider,
    by the exact limits of the share of cases among the chosen (few or no cases among them say little by variance)."""
    if not chosen.any():
        return 0.0, np.nan, np.nan
    share, found = (w * chosen).sum(1) / w.sum(1), rate(chosen, w)
    value = np.where(share > 0, share * (found - (1 - found) * odds), 0.0)
    low, high = jackknife(value[0], value[1:])
    spread = ((found[1:] - found[1:].mean()) ** 2).sum() * (len(w) - 2) / (len(w) - 1)
    most = len(np.unique(who[chosen]))
    size = found[0] * (1 - found[0]) / spread if spread > 1e-12 and np.isfinite(spread) else most
    if not np.isfinite(value[0]):
        return value[0], np.nan, np.nan
    ends = [share[0] * (end - (1 - end) * odds) for end in exact_interval(found[0], np.clip(size, 1, most))]
    return value[0], np.nanmin([low, ends[0]]), np.nanmax([high, ends[1]])


def side_by_side(curves: dict) -> pd.DataFrame:
    """Several models as lines of one figure: threshold, a column per model, all, none; empty for none.

    Parameters
    ----------
    curves : dict model -> `curve` at the same thresholds
    """
    if not curves:
        return pd.DataFrame()
    first = next(iter(curves.values()))
    return pd.concat([first["threshold"], pd.DataFrame({name: one["model"] for name, one in curves.items()}),
                      first[["all", "none"]]], axis=1)


def in_words(found: pd.DataFrame, name: str) -> str:
    """Where a model is shown to be better than both rules that need none, and where it is shown to be worse than one.

    Parameters
    ----------
    found : of `curve`; name : of the model
    """
    better = found[(found["low"] > 0) & (found["more_low"] > 0)]
    worse = found[(found["high"] < 0) | (found["more_high"] < 0)]
    said = (f"Acting on {name} is shown to be better than acting on everybody and on nobody at {_at(better, found)}."
            if len(better) else f"At no threshold is acting on {name} shown to be better than both acting on everybody "
            "and on nobody.")
    said += f" It is shown to be worse than one of them at {_at(worse, found)}." if len(worse) else ""
    return f"{said} Of {len(found)} thresholds compared one in twenty may mislead by chance."


def _at(rows, found):
    low, high = (f"{limit:.0%}" for limit in (rows["threshold"].min(), rows["threshold"].max()))
    if len(rows) == 1:
        return f"a threshold of {low}"
    return f"{len(rows)} of {len(found)} thresholds, {low} to {high}"
