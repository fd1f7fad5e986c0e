"""Figures of a detector: data in, ``ax=None``, returns the Axes, never ``show``.

In pictures hit, miss and false alarm differ in colour and in line: a legend in words stands below, scores are small.
"""

import numpy as np
from matplotlib import patches, patheffects
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

from medlab.detection import matching
from medlab.detection.scores import RATES
from medlab.plots import COLOURS, axes, scale_bar
from medlab.plots import gallery as plain_gallery

# Okabe & Ito's sky blue, vermilion and yellow (lost on paper, clear on pictures); dashed is the truth
KINDS = {"hit": ("#56B4E9", "-", "found: candidate"), "second mark": ("#56B4E9", ":", "second mark on a found lesion"),
         "false alarm": ("#D55E00", "-", "false alarm"), "found": ("#FFFFFF", "--", "found: true lesion"),
         "miss": ("#F0E442", "--", "missed lesion")}


def boxes(pictures: list, tables: list, titles: list | None = None, size: float = 1.6) -> np.ndarray:
    """Pictures with boxes, as the network sees them.

    Parameters
    ----------
    pictures : list of (h, w) or (h, w, 3) uint8; tables : list of tables with x_min, y_min, x_max, y_max
    """
    grid = plain_gallery(pictures, titles, size=size)
    for ax, table in zip(grid.flat, tables, strict=False):
        for x_min, y_min, x_max, y_max in table[["x_min", "y_min", "x_max", "y_max"]].to_numpy():
            ax.add_patch(patches.Rectangle((x_min - 0.5, y_min - 0.5), x_max - x_min, y_max - y_min, fill=False,
                                           ec=KINDS["miss"][0]))
    return grid


def sizes(pairs, what: str) -> np.ndarray:
    """Predicted over true size, and the relative error over the truth, a dot for each lesion that was found.

    Parameters
    ----------
    pairs : DataFrame of `findings.compared`; what : size and unit, such as ``volume, mL``
    """
    _, pair = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    pair[0].plot(pairs["truth"], pairs["predicted"], ".", ms=4, alpha=0.6)
    pair[0].plot(*[pairs["truth"].agg(["min", "max"])] * 2, color="#8a94a0", lw=0.8)
    pair[0].set(xlabel=f"true {what}", ylabel=f"predicted {what}", xscale="log", yscale="log")
    pair[1].plot(pairs["truth"], 100 * pairs["error"], ".", ms=4, alpha=0.6)
    pair[1].axhline(0, color="#8a94a0", lw=0.8)
    pair[1].set(xlabel=f"true {what}", ylabel="error, % of the truth", ylim=(-100, 150), xscale="log")
    return pair


def froc(curves, point=None, ax=None):
    """Sensitivity over the false positives per image (logarithmic), one line per class or detector.

    Parameters
    ----------
    curves : dict name -> table of `detection.scores.froc_band`; its interval is the band
    point : (false positives per image, sensitivity) of the operating point, or None
    """
    ax = axes(ax, figsize=(6.2, 4.2))
    for k, (name, table) in enumerate(curves.items()):
        x, colour = table["false_positives"], COLOURS[k % len(COLOURS)]
        ax.fill_between(x, table["low"], table["high"], color=colour, alpha=0.15, lw=0, step="post")
        ax.plot(x, table["sensitivity"], color=colour, ls=("-", "--", "-.", ":")[k % 4], label=name,
                drawstyle="steps-post")
    if point is not None and np.isfinite(point).all():
        ax.plot(*point, "o", ms=7, mfc="w", mec="#1b2430", mew=1.6, label="operating point", zorder=5)
    ax.set_xscale("log", base=2)
    ax.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="false positives per image", ylabel="sensitivity (share of lesions found)", ylim=(-0.01, 1.01),
           xlim=(RATES[0] * 0.94, RATES[-1] * 1.06))
    ax.grid(axis="y", color="#e3e7ec", lw=0.6)
    if len(curves) > 1 or point is not None:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def precision_recall(points, average=None, ax=None):
    """Precision over recall per class; the faint steps are the interpolated curve whose area is the AP.

    Parameters
    ----------
    points : table of `detection.scores.precision_recall`
    average : dict class -> text for the legend, e.g. "AP 0.87 (0.82 to 0.91)", or None
    """
    ax = axes(ax, figsize=(6.2, 4.2))
    for k, (name, table) in enumerate(points.groupby("label", sort=False)):
        colour, recall = COLOURS[k % len(COLOURS)], np.r_[0, table["recall"]]
        text = f"{name}: {average[name]}" if average and name in average else name
        ax.plot(recall, np.r_[table["precision"].iloc[0], table["precision"]], color=colour, label=text, lw=1.4,
                ls=("-", "--", "-.", ":")[k % 4])
        ax.step(recall, np.r_[table["interpolated"].iloc[0], table["interpolated"]], where="pre", color=colour, lw=0.9,
                alpha=0.45)
    ax.set(xlabel="recall (share of lesions found)", ylabel="precision (share of candidates that are right)",
           xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if len(points):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1)
    return ax


def gallery(pictures, truths, candidates, titles=None, spacing_mm=None, columns=3, size=2.3, scores=True, most=None):
    """Pictures with what was found, missed and called in vain.

    Parameters
    ----------
    pictures : list of (h, w) or (h, w, 3) uint8; volumes: the plane that is to be shown
    truths, candidates : lists of tables as `detection.cases.outcomes` gives them, one per picture, in pixels of
        the picture (columns x_min, y_min, x_max, y_max, outcome; candidates also score); depth is not drawn
    titles : list of text; spacing_mm : list of the pixel width or None (scale bars in pixels)
    scores : write the score of each candidate at its box
    most : candidates written and drawn per picture, the surest; None = all

    Returns
    -------
    Array of Axes, (rows, columns); the title tells the counts.
    """
    n = len(pictures)
    if not n or len(truths) != n or len(candidates) != n:
        raise ValueError(f"{n} pictures, {len(truths)} tables of lesions, {len(candidates)} of candidates: expected as "
                         "many of each, at least one")
    columns = max(1, min(columns, n))
    rows, tall = -(-n // columns), max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure, grid = plt.subplots(rows, columns, squeeze=False,
                                figsize=(max(size * columns, 4.6), (size * tall + 0.35) * rows + 0.5))
    drawn = set()
    for i, ax in enumerate(grid.flat):
        ax.set_axis_off()
        if i < n:
            ax.imshow(pictures[i], cmap="gray", vmin=0, vmax=255)
            ax.autoscale(False)  # a box beyond the picture must not shrink it
            drawn |= _boxes(ax, truths[i], candidates[i], scores, most)
            scale_bar(ax, spacing_mm[i] if spacing_mm is not None else None)
            text = _counts(truths[i], candidates[i])
            ax.set_title(text if titles is None else f"{titles[i]}\n{text}", fontsize=7.5, loc="center", pad=3)
    lines = [patches.Patch(fill=False, ec=colour, ls=line, lw=1.6, label=words)
             for kind, (colour, line, words) in KINDS.items() if kind in drawn]
    if lines:  # dark, so that the colours look as they do on the pictures
        figure.legend(handles=lines, loc="outside lower left", ncols=min(3, columns), fontsize=8, frameon=True,
                      facecolor="#3b4654", edgecolor="none", labelcolor="w", framealpha=1)
    return grid


def _counts(truth, candidates):
    found, false = (truth["outcome"] == "hit").sum(), (candidates["outcome"] == "false alarm").sum()
    lesions = f"{found} of {len(truth)} found" if len(truth) else "no lesion"
    return f"{lesions}, {false} false alarm{'' if false == 1 else 's'}"


def _boxes(ax, truth, candidates, scores, most):
    """Draw the boxes of one picture, the true ones above as dashes; returns the kinds that were drawn."""
    if len(candidates):
        candidates = candidates.sort_values("score", ascending=False)[:most]
    kinds = [*candidates["outcome"], *np.where(truth["outcome"] == "hit", "found", "miss")]
    written = list(candidates["score"]) if len(candidates) and scores else []
    corners = [matching.corners(one) for one in (candidates, truth)]
    corners = np.concatenate([one.reshape(len(one), 2, one.shape[1] // 2)[:, :, -2:] for one in corners])
    for i, ((low, high), kind) in enumerate(zip(corners, kinds, strict=True)):
        colour, line, _ = KINDS[kind]
        under = [] if kind == "found" else [patheffects.withStroke(linewidth=2.3, foreground="k", alpha=0.5)]
        ax.add_patch(patches.Rectangle((low - 0.5)[::-1], *(high - low)[::-1], fill=False, ec=colour, ls=line,
                                       lw=0.8 if kind == "found" else 1.5, path_effects=under))
        if i < len(written):
            top = low[0] > 0.07 * abs(np.diff(ax.get_ylim())[0])  # else below the box: above is no room
            ax.text(low[1] - 0.5, (low if top else high)[0] - 0.5, f"{written[i]:.2f}", color="w", fontsize=5.5,
                    va="bottom" if top else "top", clip_on=True, in_layout=False,
                    bbox={"fc": "k", "ec": "none", "alpha": 0.6, "pad": 0.6})
    return set(kinds)
