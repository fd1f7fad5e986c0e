"""Figures of an evaluation: data in, ``ax=None``, returns the Axes, never ``show``."""

import numpy as np
from matplotlib import pyplot as plt

from medlab.plots import COLOURS, axes
from medlab.statistics.metrics import value_of

GREY = COLOURS[6]


def roc(curves, band=None, point=None, ax=None) -> plt.Axes:
    """ROC curves, one per name.

    Parameters
    ----------
    curves : dict name -> (y, p), 0/1 outcomes and probabilities, each (n,)
    band : table of `statistics.metrics.roc_band`, drawn for a single curve
    point : (sensitivity, specificity) of the operating point, or None
    """
    from sklearn.metrics import roc_curve

    ax = axes(ax, figsize=(4.4, 4.4))
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    if band is not None and len(curves) == 1:
        ax.fill_between(*band.to_numpy().T, color=COLOURS[0], alpha=0.15, lw=0)
    for colour, (name, (y, p)) in zip(_colours(len(curves)), curves.items(), strict=True):
        false, hits, _ = roc_curve(y, p, drop_intermediate=False)
        ax.plot(false, hits, color=colour, label=name, drawstyle="default")
    if point is not None:
        ax.plot(1 - point[1], point[0], "o", ms=7, mfc="w", mec=COLOURS[1], mew=1.8, label="operating point")
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    inside = {"loc": "lower right"} if len(curves) == 1 else {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15)}
    ax.legend(**inside, ncols=1 if len(curves) == 1 else 2)
    return ax


def precision_recall(curves, point=None, ax=None) -> plt.Axes:
    """Precision-recall curves, as steps, with the share of positives as a dashed line for each.

    Parameters
    ----------
    curves : dict name -> (y, p)
    point : (recall, precision) of the operating point, or None
    """
    from sklearn.metrics import precision_recall_curve

    ax = axes(ax, figsize=(4.4, 4.4))
    for colour, (name, (y, p)) in zip(_colours(len(curves)), curves.items(), strict=True):
        precision, recall, _ = precision_recall_curve(y, p)
        ax.plot(recall, precision, color=colour, label=name, drawstyle="steps-post")
        ax.axhline(np.mean(y), color=colour if len(curves) > 1 else GREY, lw=0.8, ls="--")
    if point is not None and np.isfinite(point).all():
        ax.plot(*point, "o", ms=7, mfc="w", mec=COLOURS[1], mew=1.8)
    ax.set(xlabel="recall (sensitivity)", ylabel="precision (PPV in this sample)", xlim=(-0.01, 1.01),
           ylim=(-0.01, 1.01), aspect="equal")
    if len(curves) > 1:  # below: inside it would hide the curves of rare classes
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return ax


def _colours(n):
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def roc_and_precision_recall(curves, band=None, point=None) -> np.ndarray:
    """ROC and precision-recall curves side by side, the areas in the legends.

    Parameters
    ----------
    curves : dict name -> (y, p); band : as `roc`
    point : Series with recall, specificity and precision of the operating point, or None

    Returns
    -------
    Array of two Axes.
    """
    areas = {name: value_of(*one) for name, one in curves.items()}
    _, axs = plt.subplots(1, 2, figsize=(9.4, 4.6))
    left, right = ({f"{name}, {word} {areas[name][key]:.3f}": one for name, one in curves.items()}
                   for word, key in (("AUC", "auc"), ("AP", "average_precision")))
    roc(left, band, None if point is None else (point["recall"], point["specificity"]), axs[0])
    precision_recall(right, None if point is None else (point["recall"], point["precision"]), axs[1])
    return axs


def confusion(y, predicted, names, ax=None) -> plt.Axes:
    """Confusion matrix: counts, and the share of each true class as the shade.

    Parameters
    ----------
    y, predicted : (n,) class numbers; names : of all classes
    """
    k = len(names)
    counts = np.bincount(np.asarray(y) * k + np.asarray(predicted), minlength=k * k).reshape(k, k)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax = axes(ax, figsize=(2.4 + 0.75 * k, 1.6 + 0.65 * k))
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(k):
        for j in range(k):
            ax.text(j, i, f"{counts[i, j]}\n{share[i, j]:.0%}", ha="center", va="center", fontsize=9,
                    color="w" if share[i, j] > 0.55 else "#1b2430")
    ax.set_xticks(range(k), names, rotation=0 if k < 4 else 30, ha="center" if k < 4 else "right")
    ax.set_yticks(range(k), [f"{name}\n(n = {n})" for name, n in zip(names, counts.sum(1), strict=True)])
    ax.set(xlabel="called", ylabel="true")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def reliability(tables, xlabel="predicted probability", ax=None) -> plt.Axes:
    """Calibration curves with exact intervals.

    Parameters
    ----------
    tables : dict name -> table of `evaluation.calibration.reliability`
    """
    ax = axes(ax, figsize=(4.4, 4.4))
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    for i, (name, table) in enumerate(tables.items()):
        spread = np.clip([table["frequency"] - table["low"], table["high"] - table["frequency"]], 0, None)
        ax.errorbar(table["probability"], table["frequency"], spread, color=COLOURS[i], label=name, alpha=0.9,
                    marker="os^"[i % 3], ms=4, lw=1.2, elinewidth=0.8, capsize=2)
    ax.set(xlabel=xlabel, ylabel="observed frequency", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.legend(loc="upper left")
    return ax


def probabilities(y, p, names, threshold=None, ax=None) -> plt.Axes:
    """Histogram of the predicted probability by true class, with the threshold.

    Parameters
    ----------
    y : (n,) 0/1; p : (n,); names : of the negative and the positive class
    """
    ax = axes(ax, figsize=(5.2, 3.0))
    edges = np.linspace(0, 1, 26)
    for k, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        inside = np.asarray(p)[np.asarray(y) == k]
        ax.hist(inside, edges, color=colour, alpha=0.55, label=f"{name} (n = {len(inside)})")
    if threshold is not None:
        ax.axvline(threshold, color="#1b2430", lw=1, ls=":", label=f"threshold {threshold:.2g}")
    ax.set(xlabel=f"predicted probability of {names[-1]}", ylabel="images", xlim=(0, 1))
    ax.legend()
    return ax


def predictive_values(prevalence, values, marked=None, sample=None, ax=None) -> plt.Axes:
    """Predictive values over the prevalence, with intervals.

    Parameters
    ----------
    prevalence : (m,); values : dict of `evaluation.calibration.predictive_values` at these prevalences
    marked : the stated prevalence; sample : the share of positives in the test split
    """
    ax = axes(ax, figsize=(5.6, 3.6))
    for name, colour in (("ppv", COLOURS[0]), ("npv", COLOURS[2])):
        ax.plot(prevalence, values[name], color=colour, label=name.upper())
        if f"{name}_low" in values:
            band = values[f"{name}_low"], values[f"{name}_high"]
            ax.fill_between(prevalence, *band, color=colour, alpha=0.15, lw=0)
    for at, style, text in ((marked, "-", "stated prevalence"), (sample, ":", "share in the test split")):
        if at is not None:
            ax.axvline(at, color="#1b2430", lw=0.9, ls=style, label=f"{text}, {at:.0%}")
    ax.set(xlabel="prevalence", ylabel="predictive value", xscale="log", xlim=(prevalence[0], prevalence[-1]),
           ylim=(0, 1.02))
    ticks = [at for at in (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if prevalence[0] <= at]
    ax.set_xticks(ticks, [f"{100 * at:g} %" for at in ticks])
    ax.set_xticks([], minor=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def intervals(table, xlabel="value", ax=None) -> plt.Axes:
    """Measures with intervals, and beside each the trivial baseline as a grey bar.

    Parameters
    ----------
    table : DataFrame indexed by name: value, low, high, baseline (NaN where there is none)
    """
    ax = axes(ax, figsize=(7.2, 0.7 + 0.28 * max(2, len(table))))
    at = np.arange(len(table))[::-1]
    ax.hlines(at, table["low"], table["high"], color=COLOURS[0], lw=1.6)
    ax.scatter(table["value"], at, s=30, color=COLOURS[0], zorder=3, label="this model, 95 % interval")
    ax.scatter(table["baseline"], at, s=90, marker="|", color=COLOURS[1], lw=1.8, label="without looking")
    ax.set_yticks(at, [str(name) for name in table.index])
    ax.set(xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    ax.grid(axis="x", lw=0.4, color="#d5dae0")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax

