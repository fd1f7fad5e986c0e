"""Figures of survival: follow-up, hazard ratios, scores over time, calibration, curves of single patients.

Times come in days and are drawn in years.
"""

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from medlab.plots import COLOURS, axes
from medlab.survival.scores import BASELINES

YEAR = 365.25
GREY = COLOURS[6]
DRAWN = ("fused", "image", "clinical", "volume", "clinical_volume")  # over time; all are in the tables
MODELS = ("fused", "clinical", "image", "volume", "clinical_volume", "table", "forest", "source", "radiomics",
          "clinical_radiomics")


def line_of(name) -> dict:
    """Colour and dashes of a model, the same in every figure of every run."""
    if name in BASELINES:
        return {"lw": 1.2} | ({"color": GREY, "ls": "--"} if name == "kaplan_meier" else {"color": "k", "ls": ":"})
    place = MODELS.index(name) if name in MODELS else len(MODELS) + sum(map(ord, str(name))) % 3
    return {"color": COLOURS[place % 6], "ls": ("-", (0, (5, 1.5)))[place // 6], "lw": 1.7}


def follow_up(time_days, event, n=45, seed=0, ax=None) -> plt.Axes:
    """One line per patient from start to end of follow-up, a sample of at most `n`, longest at the top.

    Parameters
    ----------
    time_days : (n,) days; event : (n,) bool, event seen
    """
    time, event = np.asarray(time_days, float) / YEAR, np.asarray(event, bool)
    rows = np.random.default_rng(seed).permutation(len(time))[:n]
    rows = rows[np.argsort(time[rows], kind="stable")]
    ax = axes(ax, figsize=(7.2, 0.9 + 0.085 * max(12, len(rows))))
    y = np.arange(len(rows))
    seen = event[rows]
    ax.hlines(y, 0, time[rows], color=np.where(seen, COLOURS[1], COLOURS[0]), lw=1.1, alpha=0.55)
    ax.plot(time[rows][seen], y[seen], "o", ms=4.5, color=COLOURS[1], label=f"event ({seen.sum()})")
    ax.plot(time[rows][~seen], y[~seen], "|", ms=7, mew=1.6, color=COLOURS[0], label=f"censored ({(~seen).sum()})")
    ax.set(xlabel="time, years", ylabel=f"{len(rows)} of {len(time)} patients", yticks=[])
    ax.set_xlim(left=0)
    ax.legend(loc="lower right")
    return ax


def ends_of_follow_up(time_days, event, ax=None, bins=20) -> plt.Axes:
    """When follow-up ended, patients with the event and censored ones stacked."""
    time, event = np.asarray(time_days, float) / YEAR, np.asarray(event, bool)
    ax = axes(ax)
    names = [f"event ({event.sum()})", f"censored ({(~event).sum()})"]
    ax.hist([time[event], time[~event]], np.linspace(0, time.max(), bins + 1), stacked=True, label=names,
            color=[COLOURS[1], COLOURS[0]], edgecolor="w", lw=0.5)
    ax.set(xlabel="end of follow-up, years", ylabel="patients")
    ax.legend()
    return ax


def hazard_ratios(table, ax=None, xlabel="hazard ratio (log scale)") -> plt.Axes:
    """Hazard ratios with intervals on a log scale and written at the right; filled where 1 is outside.

    Parameters
    ----------
    table : DataFrame indexed by label: value, low, high
    """
    ax = axes(ax, figsize=(7.2, 0.8 + 0.3 * max(2, len(table))))
    y = np.arange(len(table))[::-1]
    apart = ((table["low"] > 1) | (table["high"] < 1)).to_numpy()
    shown = table.clip(1e-2, 1e2)
    ax.hlines(y, shown["low"], shown["high"], color=COLOURS[0], lw=1.4)
    ax.scatter(shown["value"], y, s=30, c=np.where(apart, COLOURS[0], "#ffffff"), edgecolors=COLOURS[0], zorder=3)
    ax.axvline(1, color=GREY, lw=0.8, ls="--")
    for i, (value, low, high) in zip(y, table[["value", "low", "high"]].to_numpy(), strict=True):
        ax.text(1.02, i, f"{value:.2f} ({low:.2f} to {high:.2f})", transform=ax.get_yaxis_transform(), va="center",
                fontsize=8.5)
    ax.set_xscale("log")
    ax.set_yticks(y, [str(name) for name in table.index])
    ax.set(xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    _plain_ticks(ax, table)
    return ax


def _plain_ticks(ax, table):
    low, high = max(table["low"].min(), 1e-2), min(table["high"].max(), 1e2)
    ax.set_xlim(min(low, 0.8) * 0.9, max(high, 1.25) * 1.1)
    left, right = ax.get_xlim()
    steps = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if left <= t <= right]
    if len(steps) > 7:
        steps = [t for t in steps if t in (0.01, 0.1, 1, 10, 100)]
    if len(steps) < 3:
        steps = [t for t in (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2) if left <= t <= right]
    ax.set_xticks(steps, [f"{t:g}" for t in steps])
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def over_time(times_days, values, ylabel, reference=None, ax=None, marked=()) -> plt.Axes:
    """One line per model over time.

    Parameters
    ----------
    times_days : (g,); values : dict (or DataFrame) model -> (g,), NaN is left out
    reference : float, a dashed horizontal line; marked : days with a thin vertical line (the stated horizons)
    """
    ax = axes(ax, figsize=(7.2, 4.0))
    for day in marked:
        ax.axvline(day / YEAR, color="#d5dae0", lw=0.9, zorder=0)
    for name, value in values.items():
        ax.plot(np.asarray(times_days) / YEAR, value, label=name.replace("_", " "), **line_of(name))
    if reference is not None:
        ax.axhline(reference, color=GREY, lw=0.8, ls="--")
    ax.set(xlabel="time, years", ylabel=ylabel)
    ax.set_xlim(left=0)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def auc_and_brier(table, horizons=()) -> np.ndarray:
    """AUC and Brier score over time side by side, of the models that matter most (`DRAWN`) and the baselines.

    Parameters
    ----------
    table : DataFrame of `scores.over_time`; horizons : days marked

    Returns
    -------
    Array of two Axes.
    """
    names = list(table["auc"])
    models = [name for name in DRAWN if name in names] or [name for name in names if name not in BASELINES]
    models += [name for name in names if name == "truth"]
    _, axs = plt.subplots(1, 2, figsize=(10.4, 3.8))
    over_time(table.index, table["auc"][models], "AUC", 0.5, axs[0], horizons)
    over_time(table.index, table["brier"][["kaplan_meier", *models]], "Brier score", None, axs[1], horizons)
    axs[0].get_legend().remove()
    return axs


def measures(table, reference=0.5, xlabel="C", ax=None) -> plt.Axes:
    """Estimates with intervals, one row each, the numbers written at the right; filled where the interval leaves out
    the reference.

    Parameters
    ----------
    table : DataFrame indexed by model: value, low, high; NaN limits have no bar
    """
    ax = axes(ax, figsize=(7.2, 0.8 + 0.3 * max(2, len(table))))
    y = np.arange(len(table))[::-1]
    colours = ["#000000" if name == "truth" else GREY if name == "kaplan_meier" else COLOURS[0] for name in table.index]
    clear = ((table["low"] > reference) | (table["high"] < reference)).to_numpy()
    ax.hlines(y, table["low"], table["high"], color=colours, lw=1.4)
    face = ["#ffffff" if not full else c for c, full in zip(colours, clear, strict=True)]
    ax.scatter(table["value"], y, s=30, c=face, edgecolors=colours, zorder=3)
    for i, (value, low, high) in zip(y, table[["value", "low", "high"]].to_numpy(), strict=True):
        text = f"{value:.3f} ({low:.3f} to {high:.3f})" if np.isfinite(low) else f"{value:.3f}"
        ax.text(1.02, i, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8.5)
    ax.axvline(reference, color=GREY, lw=0.8, ls="--")
    ax.set_yticks(y, [str(name).replace("_", " ") for name in table.index])
    ax.set(xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    return ax


def calibration(curves, groups, horizon_days, axs=None) -> np.ndarray:
    """Observed against predicted share with the event by a horizon: one panel per horizon.

    Parameters
    ----------
    curves : list of DataFrames predicted, observed, low, high (smooth; NaN limits: no band), one per horizon
    groups : list of DataFrames predicted, observed, low, high (Kaplan-Meier of fifths), one per horizon
    horizon_days : list of float
    """
    n = len(horizon_days)
    if axs is None:
        _, axs = plt.subplots(1, n, figsize=(max(3.6, 3.1 * n), 3.6), squeeze=False, sharey=True,
                              layout="compressed")
    axs = np.ravel(axs)
    for ax, curve, group, days in zip(axs, curves, groups, horizon_days, strict=True):
        ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        ax.fill_between(curve["predicted"], curve["low"], curve["high"], color=COLOURS[0], alpha=0.15, lw=0)
        ax.plot(curve["predicted"], curve["observed"], color=COLOURS[0])
        gap = np.abs([group["observed"] - group["low"], group["high"] - group["observed"]])
        ax.errorbar(group["predicted"], group["observed"], gap, fmt="o", ms=4.5, lw=1, color=COLOURS[1])
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="predicted", title=f"by {days:.0f} days")
    axs[0].set_ylabel("observed share with the event")
    return axs


def d_calibration(shares, ax=None) -> plt.Axes:
    """Share of the patients per tenth of their own predicted survival at the end; even bars are right.

    Parameters
    ----------
    shares : (b,) of the bins 0 to 1/b, ..., the last is a predicted survival near 1
    """
    shares = np.asarray(shares, float)
    ax = axes(ax, figsize=(5.2, 3.0))
    middle = (np.arange(len(shares)) + 0.5) / len(shares)
    ax.bar(middle, shares, width=0.9 / len(shares), color=COLOURS[4])
    ax.axhline(1 / len(shares), color=GREY, lw=0.9, ls="--")
    ax.set(xlabel="predicted survival at the patient's own time", ylabel="share of patients", xlim=(0, 1))
    return ax


def patients(pictures, grid_days, curves, texts, time_days, event, reference=None) -> np.ndarray:
    """Predicted survival of single patients beside their image, with what happened to them.

    Parameters
    ----------
    pictures : list of (h, w) or (h, w, 3) uint8, or None for a patient without an image
    grid_days : (g,); curves : (n, g) survival probabilities
    texts : list of titles; time_days, event : (n,) what happened
    reference : (g,) curve of everybody (Kaplan-Meier of the fitted part), dotted

    Returns
    -------
    Array of Axes (2, n): pictures above, curves below.
    """
    n = len(curves)
    height = [1, 1.15] if any(p is not None for p in pictures) else [0.02, 1]
    _, axs = plt.subplots(2, n, figsize=(2.7 * n, 2.6 * sum(height)), squeeze=False, height_ratios=height)
    for ax, picture in zip(axs[0], pictures, strict=True):
        ax.set_axis_off()
        ax.imshow(picture, cmap="gray", vmin=0, vmax=255) if picture is not None else None
    for ax, curve, text, time, seen in zip(axs[1], curves, texts, time_days, event, strict=True):
        years = np.asarray(grid_days) / YEAR
        ax.plot(years, curve, color=COLOURS[0])
        ax.plot(years, reference, color=GREY, lw=1, ls=":") if reference is not None else None
        ax.axhline(0.5, color="#d5dae0", lw=0.7, zorder=0)
        at = float(np.interp(time, grid_days, curve))
        ax.plot(time / YEAR, at, "o" if seen else "|", ms=7 if seen else 12, mew=2, color=COLOURS[1],
                label="event" if seen else "censored")
        ax.set(ylim=(0, 1.03), xlim=(0, max(years[-1], time / YEAR) * 1.02), xlabel="time, years")
        ax.set_title(text, fontsize=8)
        ax.legend(loc="lower left", fontsize=8)
    axs[1, 0].set_ylabel("predicted survival")
    return axs


def cumulative_incidence(curves, ax=None) -> plt.Axes:
    """Share of the patients with each cause over time (Aalen-Johansen), 1 minus Kaplan-Meier of each cause dashed.

    Parameters
    ----------
    curves : dict cause -> DataFrame time_days, value, low, high, naive
    """
    ax = axes(ax, figsize=(7.2, 3.8))
    for colour, (cause, table) in zip(COLOURS, curves.items(), strict=False):
        years = table["time_days"] / YEAR
        ax.step(years, table["value"], where="post", color=colour, label=str(cause))
        ax.fill_between(years, table["low"], table["high"], step="post", color=colour, alpha=0.15, lw=0)
        ax.step(years, table["naive"], where="post", color=colour, lw=1, ls="--")
    ax.plot([], [], color=GREY, lw=1, ls="--", label="1 minus Kaplan-Meier: too high")
    ax.set(xlabel="time, years", ylabel="share with the event", ylim=(0, None))
    ax.set_xlim(left=0)
    ax.legend()
    return ax
