"""Figures of classical image analysis: pictures with contours, composites of two images, stability, redundancy."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from medlab import plots
from medlab.cohorts import vocabulary
from medlab.imaging import resampling


def picture(values, low=None, high=None) -> np.ndarray:
    """Grey values as uint8: from ``low`` to ``high``, default from the 1st to the 99th percentile."""
    scaled = (resampling.stretch(values) if low is None else
              resampling.window(values, (low + high) / 2, max(high - low, 1e-9)))
    return (255 * scaled).astype(np.uint8)


def panels(pictures, titles, masks=None, spacing_mm=None, columns=4, size=2.2, limits=None, colours=None) -> np.ndarray:
    """Pictures side by side, with the outline of a mask.

    Parameters
    ----------
    pictures : list of (h, w) grey values, bool masks or (h, w, 3) uint8
    masks : list of bool (h, w), or None
    spacing_mm : width of a pixel, or a list of them, one per picture; None = unknown
    limits : (low, high) grey values shown as black and white, the same for all pictures; default: each its own

    Returns
    -------
    Array of Axes
    """
    between = () if limits is None else limits
    shown = [p if p.ndim == 3 else 255 * p.astype(np.uint8) if p.dtype == bool else picture(p, *between)
             for p in pictures]
    widths = list(spacing_mm) if isinstance(spacing_mm, (list, tuple)) else [spacing_mm] * len(shown)
    if len(widths) != len(shown):
        raise ValueError(f"{len(shown)} pictures, {len(widths)} pixel widths: expected one each, or one number for all")
    grid = plots.gallery(shown, titles, widths, columns=columns, size=size)
    for ax, mask in zip(grid.flat, masks or [], strict=False):
        if mask is not None and mask.any():
            ax.contour(mask, [0.5], colors=plots.COLOURS[1], linewidths=0.9)
    return grid


def composite(fixed, moved) -> np.ndarray:
    """Two images in one: equal places are grey, green is only in the first, magenta only in the second; uint8 RGB."""
    low, high = np.percentile(fixed, [1, 99])
    a, b = picture(fixed, low, high), picture(moved, low, high)
    return np.stack([b, a, b], axis=-1)


def levels(values, inside=None, thresholds=None, unit="grey value", ax=None) -> plt.Axes:
    """Histogram of a picture, that of its marked region, and thresholds.

    Parameters
    ----------
    values : (h, w) grey values; inside : bool (h, w) or None; thresholds : dict name -> grey value
    """
    ax = plots.axes(ax)
    edges = np.linspace(*np.percentile(values, [0, 100]), 101)
    parts = {"picture": values} | ({"marked region": values[inside]} if inside is not None and inside.any() else {})
    for colour, (name, part) in zip((plots.COLOURS[6], plots.COLOURS[1]), parts.items(), strict=False):
        share = np.histogram(part, edges)[0] / part.size
        ax.stairs(share, edges, label=f"{name} ({part.size} px)", color=colour, lw=1.4)
    for i, (name, value) in enumerate((thresholds or {}).items()):
        ax.axvline(value, color=plots.COLOURS[i], ls="--", lw=1, label=f"{name} {value:.4g}")
    ax.set(xlabel=unit, ylabel="share of pixels", yscale="log")
    ax.legend()
    return ax


def stability(tables, at_least=0.75) -> np.ndarray:
    """Intraclass correlation of every feature, a dot each, by family.

    Parameters
    ----------
    tables : dict name of the perturbation -> DataFrame indexed by feature (``radiomics_family_name``) with value, low
    at_least : dots are filled where the lower limit reaches this
    """
    families = list(dict.fromkeys(name.split("_")[1] for table in tables.values() for name in table.index))
    _, grid = plt.subplots(1, len(tables), figsize=(3.7 * len(tables), 0.9 + 0.5 * len(families)), sharey=True,
                           squeeze=False)
    for ax, (title, table) in zip(grid[0], tables.items(), strict=True):
        for y, family in enumerate(families):
            rows = table[table.index.str.split("_").str[1] == family].sort_values("value")
            at = y + np.linspace(-0.3, 0.3, max(1, len(rows)))
            ax.hlines(at, rows["low"], rows["value"], color=plots.COLOURS[y], lw=0.7, alpha=0.6)
            ax.scatter(rows["value"], at, s=16, edgecolors=plots.COLOURS[y], zorder=3,
                       c=np.where(rows["low"] >= at_least, plots.COLOURS[y], "#ffffff"))
        ax.axvline(at_least, color=plots.COLOURS[6], ls="--", lw=0.8)
        ax.set(title=title, xlabel="intraclass correlation", xlim=(-0.05, 1.03))
    grid[0, 0].set_yticks(range(len(families)), families)
    return grid


def heatmap(rho, groups=None, ax=None) -> plt.Axes:
    """Rank correlations of features, ordered; lines part groups of more than one."""
    ax = plots.axes(ax, figsize=(6.2, 5.4))
    shown = ax.imshow(rho, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.figure.colorbar(shown, ax=ax, label="rank correlation", shrink=0.8)
    if groups is not None:
        number = groups.reindex(rho.index).to_numpy()
        for edge in np.flatnonzero(np.diff(number)) + 0.5:
            ax.axhline(edge, color="w", lw=0.5)
            ax.axvline(edge, color="w", lw=0.5)
    ax.set(xticks=[], yticks=[], xlabel=f"{len(rho)} features, alike ones side by side")
    return ax


def associations(outcome, one, size, firm, who="patients") -> plt.Axes:
    """The size of the region, then the 12 features with the smallest p, of one outcome of `univariate.associations`.

    Parameters
    ----------
    one : its rows; size : name of the feature that is the size; firm : stable features, others are marked
    who : the word for the patients
    """
    best = pd.concat([one[one.index == size], one[one.index != size].sort_values("p").head(12)])
    labels = [f"{vocabulary.labelled(f[10:])}{'' if f in firm else ', unstable'}, q = {q:.2g}"
              for f, q in best["q"].items()]
    measure = best["measure"].iloc[0]
    ax = plots.forest(best[["value", "low", "high"]].set_axis(labels), 0.5 if measure == "AUC" else 1, measure)
    if measure != "AUC":
        ax.set(xscale="log", xticks=[0.25, 0.5, 1, 2, 4], xticklabels=["0.25", "0.5", "1", "2", "4"])
        ax.xaxis.set_minor_locator(plt.NullLocator())
    counted = "events" if outcome == "follow-up" else outcome.split(" against")[0]
    ax.set_title(f"size of the region, then the 12 smallest p ({int(best['n'].max())} {who}, "
                 f"{int(best['n_positive'].max())} {counted})")
    return ax
