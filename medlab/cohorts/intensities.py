"""Grey levels of a cohort: which bins, how often in each class, and whether Hounsfield units are what they say."""

import numpy as np
import pandas as pd

from medlab.cohorts import datasets


def named(rows: pd.DataFrame) -> pd.Series:
    """Class of each row; "all images" where there is no column ``label``."""
    return rows["label"] if "label" in rows else pd.Series("all images", index=rows.index)


def sample(rows: pd.DataFrame, order: list, n: int, seed: int) -> pd.DataFrame:
    """Up to n rows at random, spread evenly over the classes (each at least once).

    Parameters
    ----------
    order : class names; without a column ``label`` the rows are drawn from all.
    """
    parts = [rows[rows["label"] == name] for name in order] if "label" in rows else [rows]
    return pd.concat([g.sample(min(len(g), max(1, n // len(parts))), random_state=seed) for g in parts])


def ranges(rows: pd.DataFrame, order: list) -> pd.DataFrame:
    """Median and extremes of the images' minimum, mean and maximum, a line per class."""
    found = rows.groupby(named(rows), sort=False)[["minimum", "mean", "maximum"]].agg(["median", "min", "max"]).round(1)
    return found.reindex([name for name in order if name in found.index]) if "label" in rows else found


def bins(rows: pd.DataFrame, in_hu: bool) -> np.ndarray:
    """Edges of grey-level bins; whole numbers if many.

    From the 2nd percentile of the images' minima (0 where none is negative) to the 98th of their maxima; in HU at least
    from -1100 to 1000, and not beyond 3100.
    """
    low, high = min(0, rows["minimum"].quantile(0.02)), rows["maximum"].quantile(0.98)
    low, high = (min(-1100, low), max(1000, min(high, 3100))) if in_hu else (low, high)
    whole = np.arange(np.floor(low), high + 2, max(1, np.ceil((high - low) / 140))) - 0.5
    return whole if high - low > 100 else np.linspace(low, high, 101)


def histograms(dataset: datasets.Dataset, rows: pd.DataFrame, edges: np.ndarray, order: list) -> dict:
    """Histogram of each class, in order: the images' shares of pixels added up, so that each has equal weight."""
    found = {}
    for (_, row), name in zip(rows.iterrows(), named(rows), strict=True):
        pixels = datasets.read(dataset, row).pixels
        found[name] = found.get(name, 0) + np.histogram(pixels, edges)[0] / pixels.size
    return {name: found[name] for name in [*order, "all images"] if name in found}


def means_in_words(rows: pd.DataFrame, order: list) -> str:
    """Median of the images' mean grey levels, per class."""
    medians = rows["mean"].groupby(named(rows)).median()
    shown = [name for name in [*order, "all images"] if name in medians]
    return "Median of the mean grey levels: " + ", ".join(f"{name} {medians[name]:.4g}" for name in shown)


def hu_in_words(edges: np.ndarray, levels: dict) -> str:
    """Whether the peaks of air and soft tissue lie where they belong in HU.

    Parameters
    ----------
    edges, levels : of `bins` and `histograms`, HU
    """
    centres, total = (edges[:-1] + edges[1:]) / 2, sum(levels.values())
    if not any(total[inside].any() for inside in (centres < -500, np.abs(centres) < 200)):
        return "HU: neither air nor soft tissue is in these images, NOT as expected."
    air, tissue = (centres[inside][np.argmax(total[inside])] for inside in (centres < -500, np.abs(centres) < 200))
    verdict = "as expected" if -1050 <= air <= -650 and -130 <= tissue <= 90 else "NOT as expected"
    return (f"HU: the peak of air and lung is at {air:.0f}, that of soft tissue at {tissue:.0f}, {verdict} "
            "(air -1000, lung -950 to -700; fat -100, water 0, muscle 40 to 60).")


def beyond_hu_in_words(rows: pd.DataFrame) -> str:
    """How many images hold values that no tissue has."""
    n = ((rows["minimum"] < -1100) | (rows["maximum"] > 4000)).sum()
    return f"{n} images have values below -1100 or above 4000 HU (padding that was not recognised, metal)"
