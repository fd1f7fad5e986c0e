"""Figures of a comparison of runs: data in, ``ax=None``, returns the Axes, never ``show``."""

import numpy as np
from matplotlib.axes import Axes

from medlab.engine.parameters import labels
from medlab.plots import COLOURS, axes, forest

GREY = COLOURS[6]


def reached(found, means, ensembles, measure, several, ax=None) -> Axes:
    """`all_runs` of one measure, from the tables of the page.

    Parameters
    ----------
    found : as `groups.scores` returns it
    means, ensembles : as `pooled.means` returns them; the second may lack rows
    several : whether there are several groups of runs, so that the name of the group belongs to the line
    """
    def line(group, model):
        words = model.replace("_", " ")
        return f"{group}: {words}" if several else words

    own = found[found["measure"] == measure]
    own = own.assign(line=list(map(line, own["group"], own["model"])))
    lines = [one[[key[2] == measure for key in one.index]] for one in (means, ensembles)]
    lines = [one.set_axis([line(*key[:2]) for key in one.index]) for one in lines]
    return all_runs(own, lines[0], labels()[measure], lines[1].get("value"), ax=ax)


def all_runs(found, pooled, xlabel, ensemble=None, reference=0.5, ax=None) -> Axes:
    """Every run as a dot, and for each line the mean over seeds with its interval.

    Parameters
    ----------
    found : DataFrame with line and value, a row per run
    pooled : DataFrame indexed by line: value, low, high; its order is that of the figure
    ensemble : Series indexed by line, or None
    """
    ax = axes(ax, figsize=(7.2, 1.0 + 0.42 * max(2, len(pooled))))
    rng, lines = np.random.default_rng(0), {name: len(pooled) - 1 - i for i, name in enumerate(pooled.index)}
    known = found[found["line"].isin(lines)]
    at = known["line"].map(lines).to_numpy(float) - 0.17 + rng.uniform(-0.09, 0.09, len(known))
    ax.scatter(known["value"], at, s=14, color=COLOURS[4], alpha=0.8, lw=0, label="one run")
    at = np.array(list(lines.values())) + 0.13
    ax.hlines(at, pooled["low"], pooled["high"], color=COLOURS[0], lw=1.8)
    ax.scatter(pooled["value"], at, s=34, color=COLOURS[0], zorder=3, label="pooled, 95 % interval over patients")
    if ensemble is not None and len(ensemble):
        ax.scatter(ensemble, [lines[name] + 0.13 for name in ensemble.index], s=42, marker="D", facecolors="w",
                   edgecolors=COLOURS[1], lw=1.4, zorder=4, label="ensemble of the seeds")
    ax.axvline(reference, color=GREY, lw=0.8, ls="--")
    ax.set_yticks(list(lines.values()), list(lines))
    ax.set(xlabel=xlabel, ylim=(-0.6, len(lines) - 0.4))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return ax


def by_site(seen, one, xlabel, reference=0.5, ax=None) -> Axes:
    """Forest of the sites that were held out, below them their mean and what is expected of a new site.

    Parameters
    ----------
    seen : DataFrame with site, n, value, low, high
    one : mapping with k, value, low, high, next_low, next_high, as `sites.together` gives it; without a prediction
        interval the last line is left out
    """
    names = seen["site"].astype(str) + " (n = " + seen["n"].astype(str) + ")"
    below = [(f"mean of {one['k']:.0f} sites", one["low"], one["high"], COLOURS[1])]
    if np.isfinite(one["next_low"]):
        below.append(("a new site, 95 % prediction", one["next_low"], one["next_high"], COLOURS[2]))
    ax = axes(ax, figsize=(7.2, 0.8 + 0.3 * (len(seen) + len(below))))
    forest(seen.set_axis(names), reference, xlabel, ax)
    for row, (_, low, high, colour) in enumerate(below, start=1):
        ax.hlines(-row, low, high, color=colour, lw=3)
    ax.scatter([one["value"]], [-1], s=44, marker="D", color=COLOURS[1], zorder=3)
    ax.set_yticks([*range(len(seen))[::-1], *(-row for row in range(1, len(below) + 1))],
                  [*names, *(name for name, *_ in below)])
    ax.set_ylim(-len(below) - 0.7, len(seen) - 0.3)
    return ax


def differences(table, xlabel, ax=None) -> Axes:
    """Differences with intervals, and the difference of each seed as a small dot.

    Parameters
    ----------
    table : DataFrame indexed by name: value, low, high, seeds (dict seed -> difference)
    """
    ax = axes(ax, figsize=(7.2, 1.0 + 0.36 * max(2, len(table))))
    at = np.arange(len(table))[::-1]
    for y, seeds in zip(at, table["seeds"], strict=True):
        ax.scatter(list(seeds.values()), np.full(len(seeds), y - 0.22), s=14, color=COLOURS[4], lw=0,
                   label="one seed" if y == at[0] else None)
    ax.hlines(at, table["low"], table["high"], color=COLOURS[0], lw=1.8)
    clear = ((table["low"] > 0) | (table["high"] < 0)).to_numpy()
    ax.scatter(table["value"], at, s=36, c=np.where(clear, COLOURS[0], "#ffffff"), edgecolors=COLOURS[0], zorder=3,
               label="mean of the seeds, 95 % interval over patients")
    ax.axvline(0, color=GREY, lw=0.8, ls="--")
    ax.set_yticks(at, list(table.index))
    ax.set(xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def stability(table, marked, labels, ylabel, ax=None) -> Axes:
    """Patients sorted by their mean over the seeds, each with the range over the seeds.

    Parameters
    ----------
    table : DataFrame, mean, low, high, sorted; marked : (n,) bool; labels : of the marked and of the others
    """
    ax, x, marked = axes(ax), np.arange(len(table)), np.asarray(marked, bool)
    for colour, rows, label in ((COLOURS[4], ~marked, labels[1]), (COLOURS[1], marked, labels[0])):
        ax.vlines(x[rows], table["low"][rows], table["high"][rows], color=colour, lw=1.0, alpha=0.7)
        ax.scatter(x[rows], table["mean"][rows], s=9, color=colour, zorder=3, label=f"{label} (n = {rows.sum()})")
    ax.set(xlabel="patients or images, sorted", ylabel=ylabel, ylim=(-0.02, 1.02))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def changes(a, b, marked, labels, names, ax=None) -> Axes:
    """Where each patient stands in two groups of runs; on the diagonal nothing changed.

    Parameters
    ----------
    a, b : (n,) 0..1; marked : (n,) bool; labels : of the marked and of the others; names : of the groups
    """
    ax, marked = axes(ax, figsize=(4.4, 4.4)), np.asarray(marked, bool)
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    for colour, rows, label in ((COLOURS[4], ~marked, labels[1]), (COLOURS[1], marked, labels[0])):
        ax.scatter(np.asarray(a)[rows], np.asarray(b)[rows], s=13, color=colour, alpha=0.8, lw=0, label=label)
    ax.set(xlabel=names[0], ylabel=names[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax
