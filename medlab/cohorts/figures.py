"""Figures of covariates, drawn by seaborn: distributions by class, pairs, correlations.

Data in, Axes out, never ``show``; style and mark are those of `plots`. A table has one row per patient: several
images of a patient would count as several persons.
"""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medlab import plots
from medlab.cohorts import vocabulary

MOST = 6  # covariates in one figure
ROWS = 2000  # more are sampled: a figure with more points shows less


def numeric(table, columns, most=MOST) -> list:
    """The numeric columns worth a figure: those that vary, with the fewest missing values first.

    Parameters
    ----------
    table : DataFrame, one row per patient
    columns : names of covariates; those absent, of text, of 0 and 1 or with fewer than 3 values are left out.

    Returns
    -------
    list of at most ``most`` names
    """
    usable = [c for c in columns if c in table and pd.api.types.is_numeric_dtype(table[c])
              and not pd.api.types.is_bool_dtype(table[c]) and table[c].nunique() > 2]
    return sorted(usable, key=lambda c: table[c].isna().sum())[:most]


def distributions(table, columns, by=None) -> np.ndarray:
    """Box (quartiles; whiskers within 1.5 of its length) and single patients of each covariate, by class.

    Parameters
    ----------
    table : DataFrame, one row per patient
    columns : list of numeric columns (`numeric`)
    by : name of the column of classes, or None; the order of a Categorical is kept.

    Returns
    -------
    Array of Axes, one per covariate.

    Raises
    ------
    ValueError
        Where no column is numeric.
    """
    import seaborn
    from matplotlib import pyplot as plt

    shown, columns = _shown(table, columns, by)
    groups = shown[by] if by else pd.Series("all patients", shown.index)
    counts = groups.value_counts()
    names = [f"{name} (n = {counts.get(name, 0)})" for name in _order(groups)]
    rows = -(-len(columns) // 3)
    width = min(3, len(columns))
    _, grid = plt.subplots(rows, width, squeeze=False, sharey=True,
                           figsize=(2.6 * width + 0.9, (0.9 + 0.42 * len(names)) * rows))
    order, palette, groups = _order(groups), _palette(groups), groups.astype(str)
    for ax, column in zip(grid.flat, columns, strict=False):
        options = {"x": shown[column], "y": groups, "order": order, "ax": ax, "hue": groups, "hue_order": order,
                   "palette": palette, "legend": False}
        seaborn.boxplot(**options, showfliers=False, width=0.6, fill=False, linewidth=1.1)
        seaborn.stripplot(**options, size=2, alpha=0.45, jitter=0.22)
        ax.set(xlabel=vocabulary.labelled(column), ylabel="")
        ax.set_yticks(range(len(names)), names)
    for ax in grid.flat[len(columns):]:
        ax.set_axis_off()
    return grid.ravel()[:len(columns)]


def pairs(table, columns, by=None) -> np.ndarray:
    """Each pair of covariates as points, a patient each; on the diagonal the distribution of each class (area 1).

    Parameters, errors as `distributions`.

    Returns
    -------
    Array of Axes, (covariates, covariates); None above the diagonal.
    """
    import seaborn

    shown, columns = _shown(table, columns, by)
    if len(columns) < 2:
        raise ValueError(f"one numeric covariate ({columns[0]}): a figure of pairs needs two")
    groups = shown[by].astype(str) if by else None
    data = shown[columns].rename(columns=vocabulary.labelled).reset_index(drop=True)
    hue = {} if groups is None else {"hue": "class", "hue_order": _order(shown[by]), "palette": _palette(shown[by])}
    if hue:
        data["class"] = groups.to_numpy()
    with mpl.rc_context({"figure.constrained_layout.use": False}):  # seaborn has its own
        grid = seaborn.pairplot(data, **hue, corner=True, diag_kind="hist", grid_kws={"diag_sharey": False},
                                height=max(1.3, 6.6 / len(columns)),
                                plot_kws={"s": 9, "alpha": 0.5, "linewidth": 0},
                                diag_kws={"element": "step", "stat": "density", "common_norm": False, "alpha": 0.25})
    if grid.legend is not None:
        grid.legend.set_title(by)
    return grid.axes


def correlations(table, columns, ax=None) -> Axes:
    """Spearman's rank correlation of each pair of covariates, over the patients that have both.

    Parameters
    ----------
    table : DataFrame, one row per patient
    columns : list of numeric columns (`numeric`)

    Returns
    -------
    Axes; each cell also holds the number.

    Raises
    ------
    ValueError
        With fewer than two numeric columns.
    """
    import seaborn

    columns = numeric(table, columns)
    if len(columns) < 2:
        raise ValueError(f"{len(columns)} numeric covariates that vary: a correlation needs two")
    found = table[columns].rename(columns=vocabulary.labelled).corr("spearman", min_periods=5)
    ax = plots.axes(ax, figsize=(2.6 + 0.75 * len(columns), 0.9 + 0.55 * len(columns)))
    twice = np.triu(np.ones(found.shape, bool))[1:, :-1]
    seaborn.heatmap(found.iloc[1:, :-1], mask=twice, vmin=-1, vmax=1, cmap="RdBu_r", annot=True, fmt=".2f",
                    linewidths=1, ax=ax, cbar_kws={"label": "Spearman's rank correlation"})
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=25, ha="right")
    return ax


def _shown(table, columns, by):
    """The rows and columns that are drawn; rows beyond `ROWS` are left out by chance, always the same."""
    columns = numeric(table, columns)
    if not columns:
        raise ValueError("no numeric covariate with three values or more: nothing to draw; texts are counted in the "
                         "table of covariates")
    if by is not None and by not in table:
        raise ValueError(f"no column {by!r}; the table has {', '.join(map(str, table.columns[:10]))}")
    kept = table.dropna(subset=[by]) if by else table
    return (kept.sample(ROWS, random_state=0) if len(kept) > ROWS else kept), columns


def _order(groups):
    """Names of the classes, in the order of a Categorical or of the alphabet."""
    order = groups.cat.categories if isinstance(groups.dtype, pd.CategoricalDtype) else sorted(groups.unique(), key=str)
    return [str(name) for name in order]


def _palette(groups):
    return dict(zip(_order(groups), plots.COLOURS * (1 + len(_order(groups)) // len(plots.COLOURS)), strict=False))
