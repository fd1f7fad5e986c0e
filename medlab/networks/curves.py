"""Learning curves: what a training and its validation did epoch by epoch, and which epoch was kept."""

from matplotlib import pyplot as plt

from medlab.plots import COLOURS

GREY = COLOURS[6]
BOOKS = ("epoch", "seconds", "images_per_second", "learning_rate")
RANKS = {"auc": "AUC", "c": "C", "dice": "Dice"}  # shares: 1 is best
CHANCE = {"auc": 0.5, "c": 0.5}


def draw(history, best, judged=None) -> plt.Figure:
    """Learning curves, one panel per judged quantity, with a dotted line at the kept epoch.

    A gap that opens between the two lines is over-fitting; two lines that still fall together ask for more epochs.
    Training values are those of augmented images under dropout, gathered while the epoch went on, and may therefore
    stand below the validation of the same epoch.

    Parameters
    ----------
    history : DataFrame
        One row per epoch (`Journal.history`): epoch, a column per quantity, the same on validation as ``val_...``.
    best : int or None
        Number of the epoch whose weights are kept; None draws no line.
    judged : list of str, or dict of str to str, optional
        Columns of `history`, one panel each; a dict gives the text of the axis. Default: all quantities of it.

    Returns
    -------
    matplotlib.figure.Figure
        Quantities that are shares (AUC, C, Dice) have axes from 0 to 1, with a line at chance where there is one.

    Raises
    ------
    ValueError
        Naming the columns of `judged` that the history lacks.
    """
    found = [name for name in history if name not in BOOKS and not name.startswith("val_")]
    judged = judged if isinstance(judged, dict) else {name: in_words(name) for name in judged or found}
    if set(judged) - set(found) or not judged:
        raise ValueError(f"the history has no {', '.join(set(judged) - set(found)) or 'quantity'}; "
                         f"it has {', '.join(map(str, history))}")
    columns = min(3, len(judged))
    rows = -(-len(judged) // columns)
    figure, grid = plt.subplots(rows, columns, squeeze=False, layout="constrained",
                                figsize=(max(4.4, (4.5 if columns < 3 else 3.2) * columns), 3.1 * rows))
    for ax, (name, text) in zip(grid.flat, judged.items(), strict=False):
        _panel(ax, history, best, name, text)
    for ax in grid.flat[len(judged):]:
        ax.set_axis_off()
    grid[0, 0].legend()
    return figure


def _panel(ax, history, best, name, text):
    kind = name.rsplit("_", 1)[-1]
    for column, label in ((name, "training (augmented)"), (f"val_{name}", "validation")):
        if column in history:
            ax.plot(history["epoch"], history[column], label=label, marker="o" if len(history) < 4 else "")
    if best is not None:
        ax.axvline(best, color=GREY, linestyle=":", label="kept epoch")
    if kind in CHANCE:
        ax.axhline(CHANCE[kind], color=GREY, linewidth=0.8, label="chance")
        ax.text(1, CHANCE[kind], "chance ", color=GREY, fontsize=8, ha="right", va="bottom",
                transform=ax.get_yaxis_transform())
    if kind in RANKS:
        ax.set_ylim(0, 1.02)
    ax.set(xlabel="epoch", ylabel=text)
    ax.xaxis.get_major_locator().set_params(integer=True)


def in_words(name) -> str:
    """What a column of a history holds, as a text: ``fused_c`` is 'C of fused', ``val_loss`` 'validation loss'."""
    part, name = ("validation ", name[4:]) if name.startswith("val_") else ("", name)
    output, _, kind = name.rpartition("_")
    return part + RANKS.get(kind, kind) + (f" of {output}" if output else "")
