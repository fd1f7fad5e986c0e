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


def scales(rows: pd.DataFrame) -> pd.DataFrame:
    """Images by the reach of their grey levels and their channels: images, lowest, least and greatest maximum.

    Parameters
    ----------
    rows : of `datasets.scan`, without problems
    """
    top, low = rows["maximum"], rows["minimum"]
    kinds = np.select([low < 0, top <= 1, top <= 255], ["with negative values", "0 to 1", "as 8 bits"], "above 8 bits")
    colour = np.where(rows["channels"] > 1, "colour", "grey")
    by = [pd.Series(v, rows.index, name=name) for v, name in ((kinds, "grey levels"), (colour, "channels"))]
    return rows.groupby(by).agg(
        images=("maximum", "size"), lowest=("minimum", "min"), least_maximum=("maximum", "min"),
        greatest_maximum=("maximum", "max"), median_maximum=("maximum", "median"))


def scales_in_words(rows: pd.DataFrame, intensity: str | None = None) -> list[str]:
    """Sentences with the remedy where images of one cohort have different scales of grey; empty where they have one.

    Parameters
    ----------
    rows : of `datasets.scan`, without problems; ``thumbnail`` where negatives are to be looked for
    intensity : of the card; HU and SUV have a scale of their own
    """
    said, n, tops = [], len(rows), rows["maximum"][rows["maximum"] > 0]
    levels = scales(rows).groupby(level=0).agg({"images": "sum", "median_maximum": "max"})
    steps = levels["median_maximum"].max() > 4 * levels["median_maximum"].min()
    if intensity not in ("HU", "SUV") and n and ((len(levels) > 1 and steps) or tops.max() > 100 * tops.min()):
        counts = ", ".join(f"{kind} {count}" for kind, count in levels["images"].items())
        said.append(f"Grey levels of different scales (maxima from {tops.min():g} to {tops.max():g}; images {counts}): "
                    "window: stretch on page 02 fits each image by its own percentiles; or import each kind by itself")
    shallow = int((rows["minimum"] >= 0).sum())
    if intensity == "HU" and 0 < shallow < n:
        said.append(f"{shallow} of {n} images in HU have no value below 0: their rescale may be missing")
    colour = int((rows["channels"] > 1).sum())
    if 0 < colour < n:
        said.append(f"{colour} of {n} images have colours, the others are grey: the source may tell the classes apart")
    negatives = int(inverted(rows).sum()) if "thumbnail" in rows else 0
    if negatives:
        said.append(f"{negatives} of {n} images look like negatives of the others (black and white swapped): look at "
                    "them, invert their files and import again")
    return said


def inverted(rows: pd.DataFrame, fewest: int = 8) -> pd.Series:
    """Which images are most like the negative of the cohort's mean thumbnail; none where images are not alike.

    Parameters
    ----------
    rows : of `datasets.scan`, with ``thumbnail``
    """
    if len(rows) < fewest:
        return pd.Series(False, index=rows.index)
    pixels = np.stack([np.frombuffer(t, np.uint8) for t in rows["thumbnail"]]).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
    mean = pixels.mean(axis=0)
    alike = pixels @ mean / max(np.linalg.norm(mean), 1e-6)
    return pd.Series((alike < -0.4) & (np.median(alike) > 0.4), index=rows.index)


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
