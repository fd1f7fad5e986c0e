"""Figures: data in, ``ax=None``, returns the Axes, never ``show``.

Style for the screen and for paper: the colour-blind safe colours of Okabe and Ito (2008), thin spines, and at
the lower right of every figure a small mark that says what it must not be used for.
"""

import json
import re
import textwrap
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager, scale, ticker
from matplotlib import pyplot as plt

from medlab import drawn

# Okabe & Ito 2008 without the yellow, which is lost on white paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5B6776", "#000000")
STYLE = {
    "figure.figsize": (7.2, 3.6), "figure.dpi": 110, "figure.constrained_layout.use": True,
    "savefig.bbox": "tight", "savefig.dpi": 200, "font.size": 10, "axes.titlesize": 10.5,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.edgecolor": "#5B6776", "axes.labelcolor": "#1b2430", "xtick.color": "#3b4654",
    "ytick.color": "#3b4654", "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.6,
    "image.cmap": "gray", "image.interpolation": "nearest", "svg.hashsalt": "medlab",
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "text.parse_math": False,  # a dollar sign in the name of a column or a class is a dollar sign
}
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC",
         "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAGothic", "Droid Sans Fallback", "Microsoft YaHei", "SimHei",
         "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans", "Arial Unicode MS", "Unifont")  # where installed
_mark = "research use only"


def setup(folder=None, synthetic=None) -> None:
    """Set the style and the mark of all following figures.

    Parameters
    ----------
    folder : Path or None
        Run folder; its ``dataset.json`` says whether the data are synthetic.
    synthetic : bool or None
        Overrides what the run folder says.
    """
    global _mark
    if synthetic is None and folder is not None and (folder / "dataset.json").exists():
        synthetic = json.loads((folder / "dataset.json").read_text(encoding="utf-8")).get("synthetic", False)
    _mark = "synthetic data · research use only" if synthetic else "research use only"
    mpl.rcParams.update(STYLE | {"font.family": [font for font in FONTS if font in font_manager.get_font_names()]})
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `undrawable` says it once, in words
    mpl.rcParams["figure.hooks"] = ["medlab.plots:mark"]
    scale.register_scale(_LogScale)
    pd.set_option("display.html.use_mathjax", False)


def undrawable(texts) -> list[str]:
    """A sentence about characters of some names for which no font here has a picture; empty if there are none.

    Parameters
    ----------
    texts : names of classes, columns, levels, as they stand in figures
    """
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in mpl.rcParams["font.family"]]
    lost = [c for c in dict.fromkeys("".join(map(str, texts)))
            if c.isprintable() and not any(font.get_char_index(ord(c)) for font in fonts)]
    return [f"Figures show a box for {len(lost)} characters of the names ({''.join(lost[:8])}), which no font here "
            "has: install one that has them, such as Noto Sans CJK, or rename the classes and columns."] if lost else []


class _Powers(ticker.LogFormatterSciNotation):
    """Labels of a logarithmic axis: numbers such as 0.5 and 20, on a longer one powers such as 10⁻².

    Neither needs mathematical typesetting.
    """

    def __call__(self, x, pos=None):
        text = re.sub(r"[${}]|\\mathdefault", "", super().__call__(x, pos)).replace(r"\times", " × ")
        low, high = sorted(self.axis.get_view_interval())
        if text and low >= 1e-3 and high <= 1e5:
            return f"{x:g}"
        power = str.maketrans("-0123456789.", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")
        return re.sub(r"\^([-0-9.]+)", lambda found: found[1].translate(power), text)


class _LogScale(scale.LogScale):
    def set_default_locators_and_formatters(self, axis):
        super().set_default_locators_and_formatters(axis)
        axis.set_major_formatter(_Powers(self.base))
        axis.set_minor_formatter(_Powers(self.base, labelOnlyBase=self.subs is not None))


def mark(figure) -> None:
    """Write the mark below the lower right corner (called by Matplotlib for each new figure)."""
    drawn.install()  # here, since a notebook's way of drawing is set up with the first figure
    figure.text(1, -0.005, _mark, ha="right", va="top", fontsize=6.5, color="#8a94a0", gid="medlab-mark")


def axes(ax=None, **options) -> plt.Axes:
    """The given Axes, or those of a new figure."""
    return plt.subplots(**options)[1] if ax is None else ax


def scale_bar(ax, spacing_mm=None, width=None) -> plt.Axes:
    """A bar of a round length, about a quarter of the picture wide, at its lower left.

    Parameters
    ----------
    ax : Axes that shows an image with one unit per pixel
    spacing_mm : float or None
        Width of one pixel; None or NaN = unknown, and the bar is in pixels.
    width : int or None
        Width of the picture in pixels; default: of the Axes.
    """
    width = width or abs(np.diff(ax.get_xlim())[0])
    known = spacing_mm is not None and np.isfinite(spacing_mm)
    per_unit, unit = (1 / spacing_mm, "mm") if known else (1, "px")
    rounded = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    length = max(n for n in rounded if n == 1 or n * per_unit <= 0.3 * width)
    x0, y0 = 0.05, 0.06
    x1 = x0 + length * per_unit / width
    ax.plot([x0, x1], [y0, y0], transform=ax.transAxes, color="w", lw=2.2, solid_capstyle="butt",
            path_effects=_outline(3.6), clip_on=False)
    ax.text(x0, y0 + 0.03, f"{length} {unit}", transform=ax.transAxes, color="w", fontsize=7, va="bottom",
            path_effects=_outline(1.6))
    return ax


def _outline(width):
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground="k")]


def gallery(pictures, titles=None, spacing_mm=None, columns=6, colours=None, title=None, size=1.35,
            sides=None) -> np.ndarray:
    """Pictures in rows, each with a title and a scale bar.

    Parameters
    ----------
    pictures : list of (h, w) or (h, w, 3) uint8 arrays
    titles : list of text, one per picture
    spacing_mm : list of float or None, pixel width of each picture; None = unknown, bars in pixels.
    columns : int
    colours : list of colours of the titles
    title : text above all
    sides : list of pairs of letters at the left and right edge (`imaging.dicom.Image.sides`), None where unknown

    Returns
    -------
    Array of Axes, (rows, columns).
    """
    n = len(pictures)
    columns = max(1, min(columns, n))
    rows = max(1, -(-n // columns))
    _, grid = plt.subplots(rows, columns, squeeze=False,
                           figsize=(max(size * columns, 3.0), (size + 0.28) * rows + (0.3 if title else 0)))
    for i, ax in enumerate(grid.flat):
        ax.set_axis_off()
        if i >= n:
            continue
        ax.imshow(pictures[i], cmap="gray", vmin=0, vmax=255)
        scale_bar(ax, spacing_mm[i] if spacing_mm is not None else None)
        for x, letter in zip((0.03, 0.97), (sides[i] if sides is not None else None) or "", strict=False):
            ax.text(x, 0.97, letter, color="w", fontsize=6.5, ha="left" if x < 0.5 else "right", va="top",
                    transform=ax.transAxes)
        if titles is not None:
            colour = colours[i] if colours is not None else "#1b2430"
            ax.set_title(_wrapped(str(titles[i]), size), fontsize=7.5, color=colour, loc="center", pad=3)
    if title:
        grid[0, 0].figure.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return grid


def _wrapped(title, size):
    """Lines of a title no longer than a picture so many inches wide, in the print of a gallery."""
    return "\n".join(textwrap.fill(line, max(8, int(17 * size)), break_long_words=False) for line in title.split("\n"))


def histogram_by_class(edges, counts, xlabel="value", ax=None, colours=COLOURS) -> plt.Axes:
    """Share of pixels per grey-level bin, one line per class.

    Parameters
    ----------
    edges : (bins + 1,) array
    counts : dict class name -> (bins,) counts
    """
    ax = axes(ax)
    for colour, (name, n) in zip(_cycle(colours), counts.items(), strict=False):
        ax.stairs(np.asarray(n) / max(1, np.sum(n)), edges, label=name, color=colour, lw=1.4)
    ax.set(xlabel=xlabel, ylabel="share of pixels", yscale="log")
    if len(counts) > 1:
        ax.legend()
    return ax


def _cycle(colours):
    while True:
        yield from colours


def kaplan_meier(time_days, event, group=None, ax=None, unit_days=365.25, unit="years", at_risk=True) -> plt.Axes:
    """Kaplan-Meier curves with 95 % bands and the numbers at risk below.

    Parameters
    ----------
    time_days : (n,) follow-up; event : (n,) bool, event seen; one row per patient.
    group : (n,) names or None; the order of a Categorical is kept.
    unit_days, unit : the axis of time

    Returns
    -------
    Axes; the curves are step functions of lifelines (Greenwood log-log bands).
    """
    from lifelines import KaplanMeierFitter
    from lifelines.plotting import add_at_risk_counts

    ax = axes(ax, figsize=(7.2, 3.9), layout="none")  # lifelines places the numbers at risk itself
    time, event = np.asarray(time_days, float) / unit_days, np.asarray(event, bool)
    names = list(pd.Categorical(group).categories) if group is not None else ["all patients"]
    group = np.full(len(time), "all patients") if group is None else np.asarray(group)
    fitted = []
    for colour, name in zip(_cycle(COLOURS), names, strict=False):
        inside = group == name
        curve = KaplanMeierFitter(label=f"{name} (n = {inside.sum()})").fit(time[inside], event[inside])
        curve.plot_survival_function(ax=ax, color=colour, show_censors=True,
                                     censor_styles={"ms": 5, "marker": "|"}, ci_alpha=0.15)
        fitted.append(curve)
    ax.set(xlabel=f"time, {unit}", ylabel="event-free share", ylim=(0, 1.02))
    ax.set_xlim(left=0)
    ax.legend(loc="best")
    if at_risk:
        add_at_risk_counts(*fitted, ax=ax, labels=[str(name) for name in names], rows_to_show=["At risk"])
        ax.figure.subplots_adjust(top=0.94, bottom=0.2 + 0.04 * len(fitted))
    return ax


def forest(table, reference=0.5, xlabel="AUC", ax=None) -> plt.Axes:
    """Estimates with intervals, one line each; filled where the whole interval is above the reference.

    Parameters
    ----------
    table : DataFrame indexed by name with columns value, low, high.
    reference : float, dashed line
    """
    ax = axes(ax, figsize=(7.2, 0.6 + 0.27 * max(2, len(table))))
    y = np.arange(len(table))[::-1]
    clear = (table["low"] > reference).to_numpy()
    ax.hlines(y, table["low"], table["high"], color=COLOURS[0], lw=1.4)
    face = np.where(clear, COLOURS[0], "#ffffff")
    ax.scatter(table["value"], y, s=28, c=face, edgecolors=COLOURS[0], zorder=3)
    ax.axvline(reference, color=COLOURS[6], lw=0.8, ls="--")
    ax.set_yticks(y, [str(name) for name in table.index])
    ax.set(xlabel=xlabel, ylim=(-0.7, len(table) - 0.3))
    return ax


def forests(tables, reference=0.5) -> np.ndarray:
    """`forest` of several tables with the column ``measure``, one below the other; the keys are their titles.

    Parameters
    ----------
    tables : dict text -> DataFrame
    """
    heights = [0.9 + 0.27 * max(2, len(table)) for table in tables.values()]
    _, grid = plt.subplots(len(tables), 1, squeeze=False, figsize=(7.2, sum(heights)), height_ratios=heights)
    for ax, (title, table) in zip(grid.flat, tables.items(), strict=True):
        forest(table, reference, f"{table['measure'].iloc[0]} alone, 95 % interval", ax)
        ax.set_title(title)
    return grid


def share_panels(tables) -> np.ndarray:
    """`shares` of several tables, one below the other; the keys are the labels of the axes.

    Parameters
    ----------
    tables : dict text -> DataFrame of counts
    """
    _, grid = plt.subplots(len(tables), 1, squeeze=False, figsize=(7.2, 0.6 + 1.55 * len(tables)))
    for ax, (label, table) in zip(grid.flat, tables.items(), strict=True):
        shares(table, ax, xlabel=label)
    return grid


def shares(table, ax=None, colours=None, xlabel="share of images") -> plt.Axes:
    """Stacked horizontal bars: each row of a table of counts as shares, with the counts written inside.

    Parameters
    ----------
    table : DataFrame of counts; one bar per row, one colour per column.
    """
    ax = axes(ax, figsize=(7.2, 0.8 + 0.36 * len(table)))
    totals = table.sum(axis=1).replace(0, 1)
    left = np.zeros(len(table))
    y = np.arange(len(table))[::-1]
    for colour, column in zip(_cycle(colours or COLOURS), table, strict=False):
        width = (table[column] / totals).to_numpy()
        bars = ax.barh(y, width, left=left, color=colour, label=str(column), height=0.72)
        texts = [f"{n:.0f}" if w > 0.06 else "" for n, w in zip(table[column], width, strict=True)]
        ax.bar_label(bars, texts, label_type="center", fontsize=8, color="w")
        left += width
    ax.set_yticks(y, [f"{name} (n = {table.loc[name].sum():.0f})" for name in table.index])
    ax.set(xlabel=xlabel, xlim=(0, 1))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(6, max(1, table.shape[1])))
    return ax


def net_benefit(lines, band=None, style=None, ax=None) -> plt.Axes:
    """Decision curve: net benefit over the probability from which one would act.

    Parameters
    ----------
    lines : DataFrame with ``threshold`` and a column per model; ``all`` and ``none`` are the two rules without one
    band : DataFrame with ``threshold``, ``low``, ``high``: interval of the first model
    style : callable from the name of a model to colour and dashes
    """
    ax = axes(ax, figsize=(7.2, 3.8))
    models = [name for name in lines if name not in ("threshold", "all", "none")]
    for place, name in enumerate(models):
        drawn = style(name) if style else {"color": COLOURS[place % len(COLOURS)], "lw": 1.7}
        ax.plot(lines["threshold"], lines[name], label=name.replace("_", " "), **drawn)
        if band is not None and not place:
            ax.fill_between(band["threshold"], band["low"], band["high"], color=drawn["color"], alpha=0.15, lw=0)
    ax.plot(lines["threshold"], lines["all"], color=COLOURS[6], ls="--", lw=1.2, label="act on everybody")
    ax.plot(lines["threshold"], lines["none"], color="k", lw=0.8, label="act on nobody")
    top = np.nanmax([lines[[*models, "all", "none"]].max().max(), *([] if band is None else [band["high"].max()])])
    ax.set(xlabel="probability from which one would act", ylabel="net benefit", ylim=(-0.25 * top, 1.1 * top))
    ax.legend(loc="upper right")
    return ax
