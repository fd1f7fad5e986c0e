"""Learning curves: a panel per quantity, the kept epoch, chance."""

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from medlab.networks import curves

HISTORY = pd.DataFrame({"epoch": [1, 2, 3, 4], "loss": [2.0, 1.5, 1.2, 1.0], "val_loss": [2.1, 1.7, 1.6, 1.8],
                        "fused_c": [0.5, 0.6, 0.65, 0.7], "val_fused_c": [0.5, 0.55, 0.6, 0.58], "seconds": 1.0,
                        "images_per_second": 9.0, "learning_rate": 0.1})


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


def lines(ax):
    """Lines of a panel by what the legend calls them."""
    return {line.get_label(): line for line in ax.get_lines()}


def test_panels():
    """Training, validation and the kept epoch in each panel; chance and an axis from 0 to 1 only for a rank."""
    figure = curves.draw(HISTORY, 3)
    loss, rank = figure.axes
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "C of fused"]
    assert list(lines(loss)) == ["training (augmented)", "validation", "kept epoch"]
    assert lines(loss)["validation"].get_ydata().tolist() == HISTORY["val_loss"].tolist()
    assert set(lines(loss)["kept epoch"].get_xdata()) == {3}
    assert set(lines(rank)["chance"].get_ydata()) == {0.5} and rank.get_ylim() == (0, 1.02)
    assert loss.get_legend() is not None


def test_chosen():
    """Quantities by name, with own texts; without validation and without a kept epoch one line is left."""
    own = curves.draw(HISTORY.drop(columns=["val_loss"]), None, {"loss": "cross-entropy"})
    assert [ax.get_ylabel() for ax in own.axes] == ["cross-entropy"] and len(own.axes[0].get_lines()) == 1
    assert [ax.get_ylabel() for ax in curves.draw(HISTORY, 1, ["fused_c"]).axes] == ["C of fused"]
    many = pd.DataFrame({"epoch": [1], **{f"part{i}_loss": [1.0] for i in range(4)}})
    assert [ax.axison for ax in curves.draw(many, 1).axes] == [True] * 4 + [False] * 2
    with pytest.raises(ValueError, match="no dice; it has epoch, loss"):
        curves.draw(HISTORY, 3, ["loss", "dice"])
    assert curves.in_words("val_label_auc") == "validation AUC of label"
