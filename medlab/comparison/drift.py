"""How unlike the patients of another dataset are to those of a run: table, grey values, outcomes, follow-up.

A network may fail elsewhere because the patients differ or because the pictures do; beside a number of an external
validation stands what of both is shown to differ.
"""

import numpy as np
import pandas as pd

from medlab.cohorts import preparation
from medlab.statistics import keys, metrics
from medlab.survival import followup, hazards

LARGE = 0.1  # standardised difference from which on an imbalance is usually spoken of
MOST_IMAGES = 200  # of each side, whose pixels are looked at
BINS = 64  # of grey values 0 to 255


def standardised(one, other, level=1.96) -> dict[str, float]:
    """Standardised mean difference of numbers or 0/1 flags, the other side minus the first; gaps are left out.

    The difference over the root of the mean of both variances (Cohen's d with equal weights; Austin, Stat Med
    2009;28:3083-107), with its large-sample interval (Hedges and Olkin 1985).

    Returns
    -------
    dict: value, low, high; NaN where a side has fewer than two values. Two constants that differ are infinitely apart.
    """
    one, other = (np.asarray(x, float)[np.isfinite(np.asarray(x, float))] for x in (one, other))
    n, m = len(one), len(other)
    if min(n, m) < 2:
        return dict.fromkeys(("value", "low", "high"), np.nan)
    gap, spread = other.mean() - one.mean(), np.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
    if spread == 0:
        value = 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
        return dict.fromkeys(("value", "low", "high"), value)
    value = gap / spread
    half = level * np.sqrt((n + m) / (n * m) + value**2 / (2 * (n + m)))
    return {"value": float(value), "low": float(value - half), "high": float(value + half)}


def columns(own: pd.DataFrame, others: pd.DataFrame, fitted: dict) -> pd.DataFrame:
    """Covariates of two groups of patients side by side, a line per number, per level of a category, and per gap.

    Parameters
    ----------
    own, others : cleaned covariates (`frozen.covariates`), a row per patient; fitted : covariates of preprocessing.json

    Returns
    -------
    DataFrame: run, here (mean and SD, or share, as text), value, low, high (`standardised`).
    """
    rows = {}
    for name in own:
        if fitted[name]["kind"] == "number":
            rows[name] = _numbers(own[name], others[name])
        else:
            levels = fitted[name]["levels"]
            for level in levels if len(levels) > 2 else levels[:1]:
                flags = (_levels(side[name]).eq(level).where(side[name].notna()) for side in (own, others))
                rows[f"{name}: {level}"] = _shares(*flags)
            strange = [~_levels(side[name]).isin(levels) & side[name].notna() for side in (own, others)]
            if strange[1].any():
                rows[f"{name}: other"] = _shares(*strange)
        if own[name].isna().any() or others[name].isna().any():
            rows[f"{name}: missing"] = _shares(own[name].isna(), others[name].isna())
    return pd.DataFrame(rows, index=["run", "here", "value", "low", "high"]).T


def _levels(values):
    return values.map(preparation.level, na_action="ignore")


def _numbers(one, other):
    texts = [f"{x.mean():.3g} (SD {x.std():.2g})" for x in (one, other)]
    return [*texts, *standardised(one, other).values()]


def _shares(one, other):
    return [f"{one.mean():.1%}", f"{other.mean():.1%}", *standardised(one.astype(float), other.astype(float)).values()]


def grey_values(images, rows, marks: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """What the pixels of prepared images are like: mean, SD and noise of each, and its histogram.

    Parameters
    ----------
    images : array of images.npy, uint8; rows : of it, of which at most `MOST_IMAGES` evenly spaced ones are looked at
    marks : channels at the end that are masks

    Returns
    -------
    DataFrame (a row per image: mean, SD, noise, in grey levels of 255) and shares of pixels (n, `BINS`). Black is left
    out, where nothing was taken (the border, outside of a region). Noise is the SD of the white part of it, from the
    second difference along the last axis (as Immerkaer 1996), robustly by the median.
    """
    rows = np.asarray(rows)
    rows = rows[np.linspace(0, len(rows) - 1, min(MOST_IMAGES, len(rows))).round().astype(int)]
    found, shares = [], np.zeros((len(rows), BINS))
    for i, row in enumerate(rows):
        image = np.asarray(images[row])[..., :images.shape[-1] - marks].astype(float)
        inside = image > 0
        pixels = image[inside] if inside.any() else np.zeros(1)
        bend = np.abs(image[..., :-2, :] - 2 * image[..., 1:-1, :] + image[..., 2:, :])
        within = inside[..., :-2, :] & inside[..., 1:-1, :] & inside[..., 2:, :]
        noise = np.median(bend[within]) / (0.6745 * np.sqrt(6)) if within.any() else 0.0
        found.append((pixels.mean(), pixels.std(), noise))
        shares[i] = np.histogram(pixels, BINS, (0, 256))[0] / len(pixels)
    return pd.DataFrame(found, columns=["mean grey value", "contrast (SD)", "noise"]), shares


def pixels(own: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """`columns` of the tables of `grey_values`."""
    rows = {name: _numbers(own[name], others[name]) for name in own}
    return pd.DataFrame(rows, index=["run", "here", "value", "low", "high"]).T


def histogram_distance(own: np.ndarray, others: np.ndarray, n_draws: int = 500, seed: int = 0) -> dict[str, float]:
    """How far the mean histograms of two groups of images lie apart: total variation, 0 (alike) to 1 (nothing shared).

    Parameters
    ----------
    own, others : (n, bins), (m, bins) shares of `grey_values`

    Returns
    -------
    dict: distance, by_chance (what 95 % of random divisions of the same images into two such groups stay below).
    """
    if not len(own) or not len(others):
        return {"distance": np.nan, "by_chance": np.nan}
    both, n, rng = np.vstack([own, others]), len(own), np.random.default_rng(seed)

    def apart(order):
        return 0.5 * np.abs(both[order[:n]].mean(0) - both[order[n:]].mean(0)).sum()

    drawn = [apart(rng.permutation(len(both))) for _ in range(n_draws)]
    return {"distance": float(apart(np.arange(len(both)))), "by_chance": float(np.quantile(drawn, 0.95))}


def classes(own: pd.DataFrame, others: pd.DataFrame, names: list) -> pd.DataFrame:
    """Share of each class (or label) in the images of two groups, as `columns`."""
    several = "label" not in own
    flags = {name: [side[name].astype(float) if several else side["label"].eq(name).where(side["label"].notna())
                    for side in (own, others)] for name in names}
    rows = {f"class: {name}": _shares(*(one.dropna() for one in sides)) for name, sides in flags.items()}
    return pd.DataFrame(rows, index=["run", "here", "value", "low", "high"]).T


def follow_up(own: pd.DataFrame, others: pd.DataFrame, horizon: float | None = None) -> pd.DataFrame:
    """Patients, events, length of follow-up and observed risk of two groups, as a table to read.

    Parameters
    ----------
    own, others : DataFrames of `hazards.follow_up`; horizon : days, at which the risk (1 - Kaplan-Meier) is stated
    """
    def column(people):
        time, event = people["time_days"], people["event"]
        risk = [] if horizon is None else 1 - hazards.kaplan_meier(time, event, [horizon])[0]
        return {"patients": len(people), "events": f"{event.sum()} ({event.mean():.0%})",
                "median follow-up, days": followup.days_with_interval(*followup.median_followup(time, event)),
                "median survival, days": followup.days_with_interval(*followup.median_survival(time, event))} | {
                f"observed risk by {horizon:.0f} days": "not followed so far" if np.isnan(one) else f"{one:.1%}"
                for one in risk}

    return pd.DataFrame({"run": column(own), "here": column(others)})


def shown_to_differ(table: pd.DataFrame) -> pd.Series:
    """Lines of `columns` whose standardised difference is large and whose interval leaves out 0, the largest first."""
    value, low, high = (table[name].astype(float) for name in ("value", "low", "high"))
    found = value[(value.abs() >= LARGE) & ((low > 0) | (high < 0))]
    return found.reindex(found.abs().sort_values(ascending=False, kind="stable").index)


def in_words(tables: dict, histograms: dict) -> list[str]:
    """What is shown to differ, a sentence each.

    Parameters
    ----------
    tables : name ("covariates", "grey values", "classes") -> table of `columns`; histograms : of `histogram_distance`,
        or empty
    """
    said = []
    for name, table in tables.items():
        found = shown_to_differ(table) if len(table) else pd.Series(dtype=float)
        listed = ", ".join(f"{what} ({gap:+.2f} SD)" for what, gap in found.head(4).items())
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        said.append(f"Shown to differ, {name}: {listed or 'nothing'}{more}; "
                    f"{keys.counted(len(table), 'line')} compared, by chance {0.05 * len(table):.1f}.")
    if histograms:
        verdict = "they differ" if histograms["distance"] > histograms["by_chance"] else "not shown to differ"
        said.append(f"Histograms of the prepared images are {histograms['distance']:.3f} apart (by chance at most "
                    f"{histograms['by_chance']:.3f}): {verdict}.")
    return said


def written(table: pd.DataFrame, run: str) -> pd.DataFrame:
    """A table of `columns` to read."""
    shown = table[["run", "here"]].rename(columns={"run": run})
    return shown.assign(difference=metrics.written(table[["value", "low", "high"]].astype(float), 2)).rename(
        columns={"difference": "standardised difference (95 % interval)"})
