"""Figures of a segmentation: data in, returns the Axes, never ``show``."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from skimage.measure import find_contours

from medlab.imaging import resampling, slices
from medlab.plots import COLOURS, axes, gallery
from medlab.segmentation import agreement

INK, GREY = "#1b2430", "#8a94a0"
TRUTH, PREDICTED = "#56B4E9", "#E69F00"  # light on grey images, and apart for every kind of colour vision


def pick(values, each=2):
    """Which cases to show: the best, those around the median, the worst.

    Parameters
    ----------
    values : (n,) a measure that is better when higher; NaN (not defined) is not shown
    each : how many of each kind

    Returns
    -------
    DataFrame: row (position in values), kind, value; from the best to the worst, of few cases all.
    """
    values = np.asarray(values, float)
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:int(np.isfinite(values).sum())]
    place, few = np.arange(len(order)), max(1, min(each, len(order) // 3))
    kind = np.where(place < few, "best", np.where(place >= len(order) - few, "worst", "median"))
    near = np.argsort(np.argsort(np.abs(place - (len(order) - 1) / 2), kind="stable"))  # 0: the median itself
    shown = (kind != "median") | (near < each) | (len(order) <= 3 * each)
    return pd.DataFrame({"row": order[shown], "kind": kind[shown], "value": values[order[shown]]})


def plane(picture: np.ndarray, *masks: np.ndarray) -> tuple:
    """A prepared image and its label maps as they are shown; of a volume the slice with most of the first mask.

    Parameters
    ----------
    picture : (h, w, c) or (d, h, w, c) grey values 0..255; of more than one channel that are not three the first
    """
    at = slices.slice_to_show(*masks) if picture.ndim == 4 else ...
    picture = picture[at]
    grey = picture if picture.shape[-1] == 3 else picture[..., 0]
    return np.clip(grey, 0, 255).astype(np.uint8), *(mask[at] for mask in masks)


def view(image, truth: np.ndarray, called: np.ndarray, window: str | None = None) -> tuple:
    """An original image with truth and drawing; of a volume the slice with most of the truth.

    Parameters
    ----------
    image : of `datasets.read`; truth, called : label maps; window : name of a CT window, for Hounsfield units only

    Returns
    -------
    (picture uint8, truth, called, width of a pixel in mm or None), as `overlays` takes them
    """
    at = slices.slice_to_show(truth, called) if truth.ndim == 3 else None
    picture = resampling.picture(image, at, window if image.intensity == "HU" else None)
    masks = (mask if at is None else mask[at] for mask in (truth, called))
    return picture, *masks, image.spacing_mm[-1] if image.spacing_mm else None


def choices(by_threshold: pd.Series, threshold: float, by_size: pd.Series, smallest: int) -> np.ndarray:
    """Dice on validation over the thresholds and the sizes that were tried; dotted is what was chosen.

    Parameters
    ----------
    by_threshold, by_size : of `drawings.try_thresholds` and `drawings.try_sizes`
    """
    _, pair = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
    pair[0].plot(by_threshold.index, by_threshold, marker=".")
    pair[0].axvline(threshold, color="grey", linestyle=":")
    pair[0].set(xlabel="threshold", ylabel="Dice on validation")
    pair[1].plot(range(len(by_size)), by_size, marker=".")
    pair[1].axvline(by_size.index.get_loc(smallest), color="grey", linestyle=":")
    pair[1].set_xticks(range(len(by_size)), by_size.index, rotation=45)
    pair[1].set(xlabel="smallest component, prepared pixels")
    return pair


def contours(ax, mask, colour, **line):
    """Outline of a mask (of each class of a label map), halfway between inside and outside pixels."""
    padded = np.pad(np.asarray(mask).astype(np.uint8), 1)
    for value in np.unique(padded[padded > 0]):
        for path in find_contours((padded == value).astype(float), 0.5):
            ax.plot(path[:, 1] - 1, path[:, 0] - 1, color=colour, **{"lw": 1.1} | line)


def overlays(pictures, truths, predictions, titles=None, spacing_mm=None, columns=4, size=2.1, title=None):
    """Pictures with the outlines of truth and prediction and a scale bar.

    Parameters
    ----------
    pictures : list of (h, w) or (h, w, 3) uint8; truths, predictions : lists of (h, w) bool or label maps;
        predictions None: only the truth
    titles, spacing_mm, columns, size, title : as `medlab.plots.gallery`

    Returns
    -------
    Array of Axes, (rows, columns).
    """
    names = {"truth": TRUTH} | ({} if predictions is None else {"prediction": PREDICTED})
    predictions = [np.zeros_like(mask) for mask in truths] if predictions is None else predictions
    if not len(pictures) == len(truths) == len(predictions) or not len(pictures):
        raise ValueError(f"{len(pictures)} pictures, {len(truths)} truths, {len(predictions)} predictions: expected "
                         "the same number, at least one")
    grid = gallery(pictures, titles, spacing_mm, columns=columns, size=size, title=title)
    for ax, picture, truth, predicted in zip(grid.flat, pictures, truths, predictions, strict=False):
        if np.shape(truth) != picture.shape[:2] or np.shape(predicted) != picture.shape[:2]:
            raise ValueError(f"a picture of {picture.shape[:2]} pixels with masks of {np.shape(truth)} and "
                             f"{np.shape(predicted)}: expected the same size")
        contours(ax, truth, TRUTH)
        contours(ax, predicted, PREDICTED, ls=(0, (3, 1)))
        ax.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    lines = [Line2D([], [], color=c, label=name, ls="-" if c == TRUTH else "--") for name, c in names.items()]
    grid[0, 0].figure.legend(handles=lines, loc="outside lower left", ncols=2, fontsize=8)
    return grid


def per_case(values, summary=None, ylabel="Dice", ylim=(-0.02, 1.02), ax=None):
    """A dot for each case, one column per method, lines between the same cases, mean and interval beside.

    Parameters
    ----------
    values : DataFrame, a row per case (patient), a column per method; NaN where there is no value
    summary : DataFrame indexed by method: value, low, high; None = no intervals
    """
    ax = axes(ax, figsize=(1.6 + 1.5 * values.shape[1], 3.8))
    noise = np.random.default_rng(0).uniform(-0.09, 0.09, len(values))  # the same for a case everywhere
    if values.shape[1] > 1:
        ax.plot(np.arange(values.shape[1])[:, None] + noise, values.T, color=GREY, lw=0.5, alpha=0.5, zorder=1)
    for at, name in enumerate(values):
        ax.scatter(at + noise, values[name], s=16, color=COLOURS[at % len(COLOURS)], alpha=0.75, lw=0, zorder=2)
        if summary is not None and name in summary.index:
            one = summary.loc[name]
            ax.vlines(at + 0.22, one["low"], one["high"], color=INK, lw=1.6, zorder=3)
            ax.plot(at + 0.22, one["value"], "D", ms=6, mfc="w", mec=INK, mew=1.5, zorder=4)
    n = values.notna().sum()
    ax.set_xticks(range(values.shape[1]), [f"{name}\n(n = {n[name]})" for name in values])
    ax.set(ylabel=ylabel, xlim=(-0.4, values.shape[1] - 0.5), ylim=ylim)
    ax.grid(axis="y", lw=0.4, color="#d5dae0")
    return ax


def bland_altman(truth, predicted, patients=None, unit="mL", found=None, ax=None):
    """Difference over mean per patient, with bias, limits of agreement and the interval of each.

    Parameters
    ----------
    truth, predicted, patients : as `segmentation.agreement.points`
    found : result of `segmentation.agreement.bland_altman`; default: made here
    """
    table = agreement.points(truth, predicted, patients)
    found = agreement.bland_altman(truth, predicted, patients) if found is None else found
    ax = axes(ax, figsize=(6.4, 3.8))
    ax.axhline(0, color=GREY, lw=0.8, ls=":")
    ax.scatter(table["mean"], table["difference"], s=18, color=COLOURS[0], alpha=0.8, lw=0, zorder=3)
    for name, text, colour in (("upper", "upper limit", COLOURS[1]), ("bias", "bias", INK),
                               ("lower", "lower limit", COLOURS[1])):
        if name in found:
            ax.axhline(found[name], color=colour, lw=1.3, ls="-" if name == "bias" else "--")
            ax.axhspan(found[f"{name}_low"], found[f"{name}_high"], color=colour, alpha=0.1, lw=0)
            ax.annotate(f"{text}\n{agreement.number(found[name])}", (1.01, found[name]), va="center", fontsize=8,
                        xycoords=("axes fraction", "data"), color=colour, annotation_clip=False)
    if found.get("slope_p", 1) < 0.05:
        x = np.array([table["mean"].min(), table["mean"].max()])
        ax.plot(x, found["intercept"] + found["slope"] * x, color=COLOURS[2], lw=1.2,
                label=f"slope {found['slope']:+.2f}")
        ax.legend(loc="best")
    ax.set(xlabel=f"mean of truth and prediction, {unit}", ylabel=f"prediction - truth, {unit}")
    return ax


def agreements(cases: pd.DataFrame, found: dict, unit: str) -> list:
    """`bland_altman` of each class, one below the other.

    Parameters
    ----------
    cases : rows of one method; found : of `agreement.by_class`; classes with too few patients have no panel
    """
    there = [name for name, one in found.items() if "bias" in one]
    if not there:
        return []
    _, grid = plt.subplots(len(there), 1, squeeze=False, figsize=(6.4, 3.8 * len(there)))
    for ax, name in zip(grid.flat, there, strict=True):
        own = cases[cases["class"] == name].dropna(subset=[f"truth_{unit}"])
        bland_altman(own[f"truth_{unit}"], own[f"predicted_{unit}"], own["patient_id"], agreement.SYMBOLS[unit],
                     found[name], ax).set_title(name, loc="left")
    return list(grid.flat)
