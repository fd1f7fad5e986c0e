"""A cell that says what it needs is left out, with a word, where the data lack it."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from medlab import ROOT
from medlab.engine import runs

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

OFFERS = "from medlab.engine import runs\nruns.offers(images=True, masks=False, follow_up=False, second_group=False)"


def executed(*cells):
    """Texts that the cells print, after one that says what there is."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (OFFERS, *cells)])
    NotebookClient(notebook, kernel_name="python3").execute()
    return ["".join(output["text"] for output in cell.outputs if output.name == "stdout")
            for cell in notebook.cells[1:]]


def test_cells_without_what_they_need_are_left_out_and_it_is_said_once():
    said = executed("# needs: images\nprint(1)", "# needs: images, masks\nprint(2)", "# needs: masks\nprint(3)",
                    "# needs: follow-up\nprint(4)", "# needs: second-group\nprint(5)", "print(6)",
                    "# needs: masks, second-group\nprint(7)")
    assert said == ["1\n", "No masks here: what needs it is left out.\n", "",
                    "No follow-up here: what needs it is left out.\n",
                    "No second group here: what needs it is left out.\n", "6\n",
                    "No masks and no second group here: what needs it is left out.\n"]


def test_a_need_that_nobody_told_about_is_an_error():
    with pytest.raises(CellExecutionError, match="'boxes' is unknown; runs.offers was told about images, masks"):
        executed("# needs: boxes\nprint(1)")


def test_a_need_may_stand_below_blank_lines_and_comments_but_not_below_code(monkeypatch):
    monkeypatch.setattr(runs, "_parts", {"masks": False})
    for head in ("", "\n\n", "# what it is\n"):
        assert "say_skipped" in runs.as_executed([*head.splitlines(keepends=True), "# needs: masks\n", "print(1)\n"])[0]
    assert runs.as_executed(["x = 1\n", "# needs: masks\n"]) == ["x = 1\n", "# needs: masks\n"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_jupyterlab_saves_it(path):
    """Else saving it unchanged would already be a change for git."""
    text = path.read_text(encoding="utf-8")
    assert text.rstrip("\n") == nbformat.writes(nbformat.reads(text, as_version=4)).rstrip("\n")
