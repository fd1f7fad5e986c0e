"""Figures of PET: maximum intensity projections, slices, fused with the anatomy. Inverted grey, SUV colour bars.

Arrays are (d, h, w) with the affine of `dicom.Image` (index to LPS mm). Every picture has its four letters at the
edges, read from the affine: R and L of the patient, A front, P back, S head, I feet; ``?`` where it is not known.
"""

import numpy as np
from matplotlib import patheffects
from matplotlib import pyplot as plt

from medlab import plots
from medlab.pet.uptake import recovery

HOT, MARK = "hot", "#D55E00"
LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # from lower to higher x, y, z of LPS
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}
CONVENTION = "radiological: the patient's right is on the left of axial and coronal pictures"


def ends(affine, axis):
    """Letters at the beginning and the end of an array axis (0 d, 1 h, 2 w)."""
    if affine is None:
        return "?", "?"
    along = np.asarray(affine)[:3, axis]
    way = int(np.argmax(np.abs(along)))
    return LETTERS[way] if along[way] > 0 else LETTERS[way][::-1]


def picture(ax, values, plane, spacing_mm, affine, **options):
    """Show a picture of one plane with aspect, letters, and head or front on top.

    Parameters
    ----------
    values : (rows, columns) in array order without the axis of the plane; options : of ``imshow``
    """
    rows, columns = (axis for axis in range(3) if axis != PLANES[plane])
    top, bottom = ends(affine, rows)
    left, right = ends(affine, columns)
    up = top in ("I", "P")  # turn so that the head, or the front, is on top
    turn = left in ("L", "P")
    n_rows, n_columns = np.shape(values)[:2]
    high, wide = n_rows * spacing_mm[rows], n_columns * spacing_mm[columns]
    shown = ax.imshow(values, extent=(0, wide, high, 0), interpolation="nearest", **options)
    ax.set(xlim=(wide, 0) if turn else (0, wide), ylim=(0, high) if up else (high, 0), aspect="equal")
    ax.set_axis_off()
    left, right = (right, left) if turn else (left, right)
    top, bottom = (bottom, top) if up else (top, bottom)
    for x, y, letter in ((0.03, 0.5, left), (0.97, 0.5, right), (0.5, 0.96, top), (0.5, 0.04, bottom)):
        ax.text(x, y, letter, transform=ax.transAxes, ha="center", va="center", fontsize=9, fontweight="bold",
                color=plots.COLOURS[0], path_effects=[patheffects.withStroke(linewidth=2.5, foreground="w")])
    return shown


def colour_bar(figure, shown, axes, label="SUV"):
    """SUV bar beside the pictures."""
    bar = figure.colorbar(shown, ax=axes, fraction=0.035, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def projections(suv, spacing_mm, affine, spots=None, highest=None, title="", label="SUVbw (g/ml)"):
    """Maximum intensity projections from the front and from the side, inverted grey.

    Parameters
    ----------
    suv : (d, h, w); spots : DataFrame with ``spot, z, y, x`` (voxels), ringed and numbered; highest : SUV that is black

    Returns
    -------
    (2,) Axes
    """
    highest = highest or max(2.5, float(np.percentile(suv, 99.9)))
    size = np.asarray(suv.shape) * spacing_mm
    tall = float(np.clip(3.9 * size[0] / min(size[1:]), 1.5, 7.5))
    figure, axes = plt.subplots(1, 2, figsize=(8.4, tall + 0.7))
    for ax, plane, name in zip(axes, ("coronal", "sagittal"), ("from the front", "from the side"), strict=True):
        shown = picture(ax, suv.max(axis=PLANES[plane]), plane, spacing_mm, affine, cmap="gray_r", vmin=0, vmax=highest)
        ax.set_title(f"projection {name}", loc="center", fontsize=9)
        rings(ax, plane, spots, spacing_mm)
    colour_bar(figure, shown, axes, label)
    if title:
        figure.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return axes


def rings(ax, plane, spots, spacing_mm):
    """Ring and number of each hot spot in a picture of a plane."""
    rows, columns = (axis for axis in range(3) if axis != PLANES[plane])
    for spot in () if spots is None else spots.itertuples():
        at = [(getattr(spot, name) + 0.5) * s for name, s in zip("zyx", spacing_mm, strict=True)]
        ax.plot(at[columns], at[rows], "o", mfc="none", mec=MARK, ms=12, mew=1.3)
        ax.annotate(str(spot.spot), (at[columns], at[rows]), xytext=(7, 7), textcoords="offset points", color=MARK,
                    fontsize=8)


def slices(suv, spacing_mm, affine, at, anatomy=None, highest=None, title="", label="SUVbw (g/ml)", window=(40, 400),
           centred=False):
    """Axial, coronal and sagittal slice through a voxel: PET, and below it the fusion where an anatomy is given.

    Parameters
    ----------
    suv : (d, h, w); at : voxel z, y, x; anatomy : (d, h, w) HU on the same grid, or None
    highest : SUV that is black; window : centre and width of the anatomy
    centred : bool, for values on both sides of 0 (z, asymmetry): blue and red instead of grey

    Returns
    -------
    (rows, 3) Axes
    """
    highest = highest or max(2.5, float(np.percentile(np.abs(suv[np.isfinite(suv)]), 99.9)))
    rows = 1 if anatomy is None else 2
    size = np.asarray(suv.shape) * spacing_mm
    tall = max(size[1] / size[2], size[0] / size[2], size[0] / size[1])
    figure, axes = plt.subplots(rows, 3, figsize=(9.6, float(np.clip(2.9 * tall, 1.6, 6)) * rows + 0.4), squeeze=False)
    scale = {"cmap": "RdBu_r", "vmin": -highest, "vmax": highest} if centred else {
        "cmap": "gray_r", "vmin": 0, "vmax": highest}
    for column, (plane, axis) in enumerate(PLANES.items()):
        shown = picture(axes[0, column], np.take(suv, at[axis], axis), plane, spacing_mm, affine, **scale)
        axes[0, column].set_title(plane, loc="center", fontsize=9)
        _cross(axes[0, column], axis, at, spacing_mm)
        if rows == 2:
            low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
            picture(axes[1, column], np.take(anatomy, at[axis], axis), plane, spacing_mm, affine, cmap="gray",
                    vmin=low, vmax=high)
            cut = np.take(suv, at[axis], axis)
            seen = np.clip(cut / highest / 0.3 - 0.4, 0, 1)  # low uptake lets the anatomy through
            both = picture(axes[1, column], cut, plane, spacing_mm, affine, cmap=HOT, vmin=0, vmax=highest,
                           alpha=0.75 * seen)
    colour_bar(figure, shown, axes[0], label)
    if rows == 2:
        bar = colour_bar(figure, plt.cm.ScalarMappable(both.norm, HOT), axes[1], label)
        bar.set_label(f"{label}, on CT")
    if title:
        figure.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return axes


def _cross(ax, plane_axis, at, spacing_mm):
    rows, columns = (axis for axis in range(3) if axis != plane_axis)
    ax.axhline((at[rows] + 0.5) * spacing_mm[rows], color=MARK, lw=0.5, alpha=0.7)
    ax.axvline((at[columns] + 0.5) * spacing_mm[columns], color=MARK, lw=0.5, alpha=0.7)


def gallery(volumes, spacings, affines, titles, highest=8.0, columns=5, label="SUVbw (g/ml)"):
    """Projections from the front of many patients on one scale, inverted grey.

    Parameters
    ----------
    volumes : list of (d, w) maxima along h; spacings : list of (d, h, w) mm; highest : SUV that is black

    Returns
    -------
    (rows, columns) Axes
    """
    rows = max(1, -(-len(volumes) // columns))
    columns = min(columns, max(1, len(volumes)))
    first, step = np.shape(volumes[0]), spacings[0]
    height = float(np.clip(2.0 * first[0] * step[0] / (first[1] * step[2]), 0.6, 5.0)) + 0.3
    figure, axes = plt.subplots(rows, columns, figsize=(2.0 * columns + 0.8, height * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, suv, spacing, affine, title in zip(axes.flat, volumes, spacings, affines, titles, strict=False):
        shown = picture(ax, suv, "coronal", spacing, affine, cmap="gray_r", vmin=0, vmax=highest)
        ax.set_title(title, fontsize=7.5, loc="center", pad=3)
    colour_bar(figure, shown, axes, label)
    return axes


def all_scans(used, found, highest=8.0):
    """`gallery` of scans with their labels.

    Parameters
    ----------
    used : rows of `cohort.scans`; found : dict cohort row -> `cohort.measure`
    """
    titles = [name + (f", {label}" if isinstance(label, str) else "")
              for name, label in zip(used["scan"], used["label"], strict=True)]
    pictures, spacings, affines = zip(*([found[i][name] for name in ("projection", "spacing", "affine")]
                                        for i in used.index), strict=True)
    return gallery(pictures, spacings, affines, titles, highest)


def histograms(columns):
    """Histograms of scans side by side: dict words -> values."""
    _, grid = plt.subplots(1, len(columns), figsize=(4.2 * len(columns), 2.6), squeeze=False)
    for ax, (text, values) in zip(grid[0], columns.items(), strict=True):
        ax.hist(values, bins=min(15, max(3, len(values))), color=plots.COLOURS[0])
        ax.set(xlabel=text, ylabel="scans")
    return grid[0]


def volumes_by_threshold(table, names, truth=None, ax=None):
    """Metabolic volume of each lesion by each threshold, a line per lesion; log scale.

    Parameters
    ----------
    table : DataFrame, a row per lesion, with the columns ``names``; truth : (n,) ml or None
    names : dict column -> text below the axis
    """
    ax = plots.axes(ax, figsize=(7.2, 3.6))
    values = table[list(names)].to_numpy(float)
    x = np.arange(len(names))
    if truth is not None:
        values, x = np.c_[values, np.asarray(truth, float)], np.arange(len(names) + 1)
    for row in values:
        ax.plot(x, row, "-o", color=plots.COLOURS[0], alpha=0.45, ms=4, lw=1)
    ax.set_xticks(x, [*names.values(), *(["truth"] if truth is not None else [])])
    ax.set(yscale="log", ylabel="volume, ml")
    return ax


def recovery_curve(diameters, measured, ax=None, fwhm_mm=0.0):
    """Share of the true contrast that each measure keeps, over the diameter of the sphere.

    Parameters
    ----------
    measured : dict name -> (n,) shares; fwhm_mm : resolution; above 0 what it lets through is drawn as a line
    """
    ax = plots.axes(ax, figsize=(7.2, 3.6))
    ax.axhline(1, color=plots.COLOURS[6], lw=0.8, ls="--")
    if fwhm_mm:
        size = np.linspace(8, 40, 60)
        ax.plot(size, [recovery(d, fwhm_mm) for d in size], color=plots.COLOURS[6], lw=1, label="SUVpeak expected")
    for (name, shares), colour, marker in zip(measured.items(), plots.COLOURS, "osD^v", strict=False):
        ax.plot(diameters, shares, marker, color=colour, label=name, ms=6, alpha=0.8)
    ax.set(xlabel="true diameter, mm", ylabel="measured / true contrast", ylim=(0, None))
    ax.legend(ncols=2)
    return ax


def repeats(first, second, limits=None, ax=None, name="SUVpeak"):
    """Relative change between two scans over the mean of both; dashed: limits of repeatability."""
    ax = plots.axes(ax, figsize=(7.2, 3.2))
    first, second = np.asarray(first, float), np.asarray(second, float)
    ax.plot((first + second) / 2, 100 * (second / first - 1), "o", color=plots.COLOURS[0], ms=6)
    for limit in limits or ():
        ax.axhline(100 * limit, color=plots.COLOURS[1], lw=1, ls="--")
    ax.axhline(0, color=plots.COLOURS[6], lw=0.8)
    ax.set(xlabel=f"mean {name} of both scans", ylabel="change, %")
    return ax
