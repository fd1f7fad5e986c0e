"""Figures of a functional run. Orientation is written on every picture of a head.

Data in, the figure out; nilearn draws the slices. ``radiological``: the patient's right is on the left of the picture.
"""

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from medlab.plots import COLOURS

SIDES = {True: "radiological: patient's right on the left of the picture",
         False: "neurological: patient's right on the right of the picture"}


def _canvas(width, height):
    return plt.figure(figsize=(width, height), layout="none")  # nilearn places its own axes


def _named(figure, title, radiological, space):
    """Title of a figure with its orientation; space: what was measured in which coordinates."""
    figure.suptitle(f"{title}\n{space} · {SIDES[radiological]}", fontsize=9, x=0.01, y=1.01, ha="left", va="bottom")
    return figure


def levels(peaks, most=7, apart_mm=6.0) -> list[float] | int:
    """Heights in mm for `slices`: of the first peaks that are not too close to one before them, ascending.

    Examples
    --------
    >>> levels([40.2, 3.4, 5.0]), levels([])
    ([3.0, 40.0], 7)
    """
    chosen = []
    for z in peaks:
        if len(chosen) < most and all(abs(z - other) >= apart_mm for other in chosen):
            chosen.append(float(round(z)))
    return sorted(chosen) or most


def slices(image, background, title, radiological=True, threshold=0.0, cuts=7, label="z", top=None,
           space="native space") -> plt.Figure:
    """A map on the run's own mean image, axial slices.

    Parameters
    ----------
    image, background : nibabel images
    threshold : values of smaller size are transparent
    cuts : int or list of z in mm; by default slices between which most of the map lies
    top : end of the colour scale; space : words for the coordinates
    """
    from nilearn import plotting

    figure = _canvas(9.4, 2.3)
    signed = float(np.asarray(image.dataobj).min()) < 0
    scale = {"cmap": "RdBu_r"} if signed else {"cmap": "autumn" if threshold else "inferno", "vmin": threshold}
    plotting.plot_stat_map(image, bg_img=background, display_mode="z", cut_coords=cuts, threshold=max(threshold, 1e-6),
                           figure=figure, radiological=radiological, black_bg=True, draw_cross=False, vmax=top,
                           symmetric_cbar=signed, resampling_interpolation="nearest", cbar_tick_format="%.3g", **scale)
    return _named(figure, f"{title} (colour: {label}; z in mm)", radiological, space)


def picture(image, title, radiological=True, cuts=7, contour=None, space="native space") -> plt.Figure:
    """Axial slices of one image, with the outline of a mask."""
    from nilearn import plotting

    figure = _canvas(9.4, 2.0)
    display = plotting.plot_anat(image, display_mode="z", cut_coords=cuts, figure=figure, radiological=radiological,
                                 black_bg=True, draw_cross=False, colorbar=False)
    if contour is not None:
        display.add_contours(contour, levels=[0.5], colors=[COLOURS[1]], linewidths=0.8)
    return _named(figure, title, radiological, space)


def glass(images, threshold, radiological=True, top=None) -> plt.Figure:
    """Maximum of each map along three directions through a glass brain in MNI space, one row per map.

    Parameters
    ----------
    images : dict title -> nibabel image with an affine into MNI space
    threshold : dict title -> smallest size shown
    """
    from nilearn import plotting

    figure = _canvas(7.6, 2.3 * len(images))
    for row, (title, image) in enumerate(images.items()):
        ax = figure.add_axes([0, 1 - (row + 1) / len(images), 1, 0.86 / len(images)])
        shown = threshold[title] if np.isfinite(threshold[title]) else 1e6
        display = plotting.plot_glass_brain(image, threshold=shown, display_mode="lzry", axes=ax, vmax=top,
                                            radiological=radiological, plot_abs=False, colorbar=True, cmap="RdBu_r",
                                            symmetric_cbar=True)
        for side in ("left", "right"):  # nilearn mirrors these views as well
            _from_outside(display.axes[side[0]].ax, side)
        ax.set_title(f"{title}, |z| from {threshold[title]:.2f}", loc="left", fontsize=9)
    figure.suptitle(f"Colour: z. MNI space, affine · axial and coronal views {SIDES[radiological]}", fontsize=9, x=0.01,
                    y=1.01, ha="left", va="bottom")
    return figure


def _from_outside(ax, side):
    """A sagittal view as seen from outside the hemisphere: the front of the left one is on the left; letters, name."""
    low, high = sorted(ax.get_xlim())
    ax.set_xlim((high, low) if side == "left" else (low, high))
    for x, letter in zip((0.03, 0.97), "AP" if side == "left" else "PA", strict=True):
        ax.text(x, 0.95, letter, transform=ax.transAxes, ha="center", va="top")
    ax.text(0.5, -0.01, f"{side} hemisphere", transform=ax.transAxes, ha="center", va="top", fontsize=7)


def motion(parameters, tr_s) -> plt.Figure:
    """Translations and rotations over time, relative to the reference volume."""
    figure, axes = plt.subplots(2, 1, figsize=(8.6, 3.6), sharex=True)
    times = tr_s * np.arange(len(parameters))
    for ax, columns, unit in ((axes[0], parameters.columns[:3], "mm"), (axes[1], parameters.columns[3:], "degrees")):
        for column in columns:
            ax.plot(times, parameters[column], lw=1.1, label=column.rsplit("_", 1)[0])
        ax.axhline(0, color=COLOURS[6], lw=0.5)
        ax.set_ylabel(unit)
        ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, 1.2))
    axes[1].set_xlabel("time, s")
    return figure


def carpet(data, mask, tr_s, traces, bad, limit=2.0) -> plt.Figure:
    """All voxels of the brain over time below the traces of quality (Power, NeuroImage 2017;154:150).

    Parameters
    ----------
    data : (x, y, z, t); mask : (x, y, z) bool
    traces : dict name -> ((t,), threshold or None)
    bad : (t,) bool, volumes that are marked
    limit : % signal change at the ends of the grey scale
    """
    series = np.asarray(data)[mask].astype(np.float32)
    heights = np.argwhere(mask)[:, 2]
    rows = np.argsort(heights, kind="stable")[:: max(1, len(series) // 1500)]
    series = series[rows]
    base = np.polynomial.legendre.legvander(np.linspace(-1, 1, series.shape[1]), 2).astype(np.float32)
    rest = series - series @ base @ np.linalg.pinv(base)
    change = 100 * rest / np.maximum(series.mean(axis=1, keepdims=True), 1e-6)
    figure, axes = plt.subplots(len(traces) + 1, 1, figsize=(9.0, 1.0 * len(traces) + 3.0), sharex=True,
                                height_ratios=[1] * len(traces) + [3.2])
    times = tr_s * np.arange(series.shape[1])
    for ax, colour, (name, (values, threshold)) in zip(axes, COLOURS, traces.items(), strict=False):
        ax.plot(times, values, color=colour, lw=1.0)
        ax.plot(times[bad], np.asarray(values)[bad], "o", ms=3, color=COLOURS[1])
        if threshold is not None:
            ax.axhline(threshold, color=COLOURS[6], lw=0.8, ls="--")
        ax.set_ylabel(name, fontsize=8)
    axes[-1].imshow(change, aspect="auto", cmap="gray", vmin=-limit, vmax=limit, interpolation="antialiased",
                    extent=(-tr_s / 2, times[-1] + tr_s / 2, len(rows), 0))
    axes[-1].set(xlabel="time, s", yticks=[])
    axes[-1].set_ylabel("voxels, feet below head", fontsize=8)
    axes[-1].invert_yaxis()
    return figure


def task(regressors, events, tr_s) -> plt.Figure:
    """Predicted response of each condition above the blocks of its events."""
    figure, axes = plt.subplots(regressors.shape[1], 1, figsize=(9.0, 0.62 * regressors.shape[1] + 0.8), sharex=True,
                                squeeze=False)
    times = tr_s * np.arange(len(regressors))
    for ax, colour, name in zip(axes[:, 0], COLOURS * 5, regressors, strict=False):
        for event in events[events["trial_type"] == name].itertuples():
            ax.axvspan(event.onset, event.onset + max(event.duration, 0.2), color=colour, alpha=0.25, lw=0)
        ax.plot(times, regressors[name], color=colour, lw=1.2)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.set_yticks([])
    axes[-1, 0].set_xlabel("time, s")
    return figure


def responses(curves, panels, unit="% signal change") -> plt.Figure:
    """Event-locked averages with 95 % bands, one panel per place.

    Parameters
    ----------
    curves : list (per panel) of dict condition -> DataFrame of `activation.event_locked`
    panels : list of titles
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.3 * columns + 0.6, 2.7 * rows), squeeze=False, sharex=True)
    for ax in axes.flat[len(panels):]:
        ax.set_axis_off()
    for ax, title, one in zip(axes.flat, panels, curves, strict=False):
        for colour, (name, curve) in zip(COLOURS, one.items(), strict=False):
            ax.fill_between(curve.index, curve["low"], curve["high"], color=colour, alpha=0.15, lw=0)
            ax.plot(curve.index, curve["mean"], color=colour, label=f"{name} (n = {int(curve['n'].max())})")
        ax.axhline(0, color=COLOURS[6], lw=0.6)
        ax.axvline(0, color=COLOURS[6], lw=0.6, ls="--")
        ax.set_title(title, fontsize=8.5)
        ax.set_xlabel("s after the first event of a block")
    axes[0, 0].set_ylabel(unit)
    axes[0, 0].legend(fontsize=7.5)
    return figure


def bars(table, xlabel="% signal change") -> plt.Figure:
    """Estimates with 95 % intervals, one line each: columns value, low, high."""
    figure, ax = plt.subplots(figsize=(7.2, 0.7 + 0.28 * len(table)))
    y = np.arange(len(table))[::-1]
    ax.hlines(y, table["low"], table["high"], color=COLOURS[0], lw=1.6)
    ax.plot(table["value"], y, "o", ms=5, color=COLOURS[0])
    ax.axvline(0, color=COLOURS[6], lw=0.8, ls="--")
    ax.set_yticks(y, list(table.index))
    ax.set(xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    return figure


def connectivity(matrix, networks) -> plt.Figure:
    """Correlations of regions ordered by network, with lines between networks.

    Parameters
    ----------
    matrix : (k, k); networks : list of k names, equal ones side by side
    """
    figure, ax = plt.subplots(figsize=(6.4, 4.6))
    shown = ax.imshow(np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix), cmap="RdBu_r", vmin=-1, vmax=1)
    starts = [i for i, n in enumerate(networks) if i == 0 or n != networks[i - 1]] + [len(networks)]
    for a, b in zip(starts[:-1], starts[1:], strict=True):
        ax.add_patch(mpl.patches.Rectangle((a - 0.5, a - 0.5), b - a, b - a, fill=False, lw=1, ec="k"))
    ax.set_yticks([(a + b - 1) / 2 for a, b in zip(starts[:-1], starts[1:], strict=True)],
                  [networks[a] for a in starts[:-1]])
    ax.set_xticks([])
    figure.colorbar(shown, ax=ax, shrink=0.7, label="correlation")
    return figure
