"""What a figure shows, in words and numbers: kept beside its picture in a notebook, for the page made of it."""

import contextlib
import io

import matplotlib as mpl
import numpy as np
import pandas as pd

MOST_ROWS = 5000  # of the data behind a figure; above that a file of the run has them
MOST_SVG = 300_000  # bytes; a drawing of more is a picture


def install() -> None:
    """Let the pictures in a notebook carry what `about` says; outside of a notebook nothing happens."""
    from IPython import get_ipython
    from matplotlib.figure import Figure

    shell = get_ipython()
    formatter = shell and shell.display_formatter.formatters.get("image/png")
    draw = formatter and formatter.type_printers.get(Figure)
    if draw and not hasattr(draw, "of_medlab"):
        def with_words(figure):
            found = draw(figure)
            return found if found is None else (found[0] if isinstance(found, tuple) else found, about(figure))

        with_words.of_medlab = True
        formatter.for_type(Figure, with_words)


def about(figure) -> dict:
    """``title`` of a figure and, where it draws numbers, ``data`` (CSV) and the drawing itself (``svg``)."""
    found = {"title": title(figure)}
    with contextlib.suppress(ValueError, TypeError):  # an artist that is drawn in no way known here
        table = data(figure)
        if 0 < len(table) <= MOST_ROWS:
            found["data"] = table.to_csv(index=False)
            found["svg"] = svg(figure)
    return {key: value for key, value in found.items() if value is not None}


def svg(figure) -> str | None:
    """A figure as a drawing whose words stay words; None where it shows pictures or takes more than `MOST_SVG`."""
    if any(ax.images for ax in figure.axes):
        return None
    file, layout = io.StringIO(), figure.get_layout_engine()
    figure.set_layout_engine("none")  # it is laid out, as its picture was
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine(layout)
    text = file.getvalue()
    return text if len(text.encode()) <= MOST_SVG else None


def title(figure) -> str:
    """Titles of a figure, or what its axes say."""
    axes = [ax for ax in figure.axes if ax.get_visible()]
    pictures = [ax for ax in axes if ax.images and not ax.axison]
    named = [ax for ax in axes if len(pictures) < 2 or ax not in pictures]  # not the names of each picture of a gallery
    titles = [figure.get_suptitle(), *(ax.get_title(loc).replace("\n", ", ") for ax in named for loc in
                                       ("left", "center", "right"))]
    labels = [" over ".join(filter(None, [ax.get_ylabel(), ax.get_xlabel()])) for ax in axes]
    said = list(dict.fromkeys(filter(None, titles))) or list(dict.fromkeys(filter(None, labels)))
    return "; ".join(said[:4]) + (" ..." if len(said) > 4 else "")


def data(figure) -> pd.DataFrame:
    """Numbers behind the lines, points and bars of a figure: panel, kind, series, x, y."""
    rows = []
    for panel, ax in enumerate(figure.axes, start=1):
        name, axes = ax.get_title("left") or ax.get_title() or str(panel), ax.transData
        for line in ax.lines:
            if line.get_transform().contains_branch(axes) and len(line.get_xdata()):
                rows += _rows(name, "line", line.get_label(), line.get_xdata(), line.get_ydata())
        for points in ax.collections:
            offsets = np.ma.filled(np.ma.asarray(points.get_offsets(), float), np.nan)
            if len(offsets) > 1 or offsets.any():
                rows += _rows(name, "points", points.get_label(), *offsets.T)
        for bars in ax.containers:
            at = [(bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()) for bar in bars
                  if hasattr(bar, "get_height")]
            rows += [(name, "bar", str(bars.get_label()), x + w / 2, y + h) for x, y, w, h in at]
    found = pd.DataFrame(rows, columns=["panel", "kind", "series", "x", "y"])
    return found.assign(series=found["series"].where(~found["series"].str.startswith("_"), ""))


def _rows(panel, kind, label, x, y):
    return [(panel, kind, str(label), one, two) for one, two in zip(np.atleast_1d(x), np.atleast_1d(y), strict=True)]
