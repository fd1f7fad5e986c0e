"""What was changed by hand in the working copies of a run, and how a change worth keeping goes back."""

import difflib
import json
from dataclasses import dataclass

from medlab import notebooks_dir
from medlab.engine import copies
from medlab.engine.parameters import declared, notebooks, read_params, run_folder
from medlab.engine.parameters import source as tracked


@dataclass(frozen=True)
class Change:
    """A cell of a working copy that is not as it was made.

    Parameters
    ----------
    cell : its id
    was, now : source before and after; None where the cell is new or gone
    after : id of the cell before it in the copy, of a new cell
    """

    cell: str
    was: str | None
    now: str | None
    after: str = ""


def copied(run) -> list[str]:
    """Names of the notebooks that have a working copy in a run."""
    return [name for name in notebooks() if copies.path(name, run).exists()]


def found(name, run) -> tuple[dict, list[Change]]:
    """What a person changed in a working copy.

    Returns
    -------
    (dict, list of Change)
        Parameters with the new value, which belong to the run; cells, which belong to the notebook.

    Raises
    ------
    ValueError
        For a parameters cell with something else than literals, or cells in another order.
    """
    copy, made = (copies.read(copies.path(name, run, made=made)) for made in (False, True))
    texts = [_plain(name, notebook) for notebook in (made, copy)]
    old, new = texts
    common = [[cell for cell in one if cell in other] for one, other in ((old, new), (new, old))]
    if common[0] != common[1]:
        raise ValueError(f"copies/{name}.ipynb: cells were moved; that is not taken back into the notebook. Move them "
                         "back, or move them in the notebook itself")
    order = list(new)
    changes = [Change(cell, old.get(cell), new.get(cell), order[order.index(cell) - 1] if cell in new and
                      order.index(cell) else "") for cell in [*new, *(one for one in old if one not in new)]
               if old.get(cell) != new.get(cell)]
    was, now = (copies.values_in("".join(copies.parameters_cell(one)["source"])) for one in (made, copy))
    return {key: now[key] for key in now if key in was and now[key] != was[key] and key != "run"}, changes


def _plain(name, notebook):
    """Sources by the id of their cell; of the parameters cell without the mark and with the values of the notebook."""
    texts, marked = {}, f"{copies.MARK}:"
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", []):
            text = "\n".join(line for line in text.split("\n") if not line.startswith(marked))
            try:
                text = copies.with_values(text, declared(name))
            except (SyntaxError, ValueError, AttributeError) as error:
                raise ValueError(f"copies/{name}.ipynb: the parameters cell holds more than lines like "
                                 f"'epochs: int = 5' ({error}); write other code into a cell of its own") from None
        texts[cell.get("id", str(len(texts)))] = text
    return texts


def difference(run) -> str:
    """What was changed by hand in the working copies of a run, as text; empty if nothing was."""
    parts = []
    for name in copied(run):
        values, changes = found(name, run)
        given = read_params(run)
        lines = [f"  parameter {key} = {value!r} (the run: {given.get(key, declared(name).get(key))!r}); executing the "
                 f"copy makes it the run's" for key, value in values.items()]
        for change in changes:
            what = "new" if change.was is None else "removed" if change.now is None else "changed"
            lines += [f"  cell {change.cell}, {what}:", *_lines(change)]
        if lines:
            parts += [copies.shown(name, run), *lines, f"  into the notebook: medlab keep {run} {name[:2]}"]
    return "\n".join(parts)


def _lines(change):
    """Lines of a cell that went and came."""
    was, now = ((text or "").splitlines() for text in (change.was, change.now))
    return [f"    {line}" for line in difflib.ndiff(was, now) if line[:1] in "+-"]


def keep(run, name) -> list[str]:
    """Take what was changed in a working copy back: cells into the notebook, parameters into the run.

    Parameters
    ----------
    run : str
    name : str, name of the notebook

    Returns
    -------
    list of str
        A sentence for everything that was taken.

    Raises
    ------
    ValueError
        Where there is no copy, nothing was changed, or the notebook itself changed in the same cells; nothing is
        written then.
    """
    if not copies.path(name, run).exists():
        raise ValueError(f"{copies.shown(name, run)} does not exist; open one with: medlab work {run} {name[:2]}")
    values, changes = found(name, run)
    if not values and not changes:
        raise ValueError(f"{copies.shown(name, run)} is as it was made; there is nothing to take back")
    notebook = json.loads(json.dumps(tracked(name)))
    lost = [change.cell for change in changes if not _fits(change, _plain(name, notebook))]
    if lost:
        raise ValueError(f"notebooks/{name}.ipynb was changed itself in cell {', '.join(lost)}; nothing was taken. "
                         "Bring the change there by hand, then remove the working copy")
    for change in changes:
        _apply(change, notebook, copies.read(copies.path(name, run)))
    if changes:
        copies.save(notebook, notebooks_dir() / f"{name}.ipynb")
    said = copies.take_over(name, run, values) if values else []
    copies.save(copies.as_copy(name, run), copies.path(name, run, made=True))
    cells = f"{len(changes)} cell{'s' if len(changes) > 1 else ''}"
    return said + ([f"{cells} of {copies.shown(name, run)} taken into notebooks/{name}.ipynb"] if changes else [])


def _fits(change, now):
    """Whether a notebook is still as it was where a copy changed it, or has that very change already."""
    return now.get(change.cell) in (change.was, change.now)


def _apply(change, notebook, copy):
    """Bring a change into the cells of a notebook, without outputs."""
    ids = [cell.get("id", "") for cell in notebook["cells"]]
    if change.now is None:
        notebook["cells"] = [cell for cell in notebook["cells"] if cell.get("id") != change.cell]
    elif change.cell in ids:
        notebook["cells"][ids.index(change.cell)]["source"] = change.now.splitlines(keepends=True)
    else:
        cell = next(cell for cell in copy["cells"] if cell.get("id") == change.cell)
        tags = {key: value for key, value in cell["metadata"].items() if key == "tags"}
        code = {"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {}
        fresh = {"cell_type": cell["cell_type"], "id": change.cell, "metadata": tags, **code}
        at = ids.index(change.after) + 1 if change.after in ids else 0
        notebook["cells"].insert(at, fresh | {"source": change.now.splitlines(keepends=True)})


def open_copies(run, names=()) -> list[str]:
    """Make the working copies of a run, of all notebooks that its data allow or of some; their paths.

    Raises
    ------
    ValueError
        For a run without params.yaml or a notebook that is none.
    """
    from medlab.engine import execute
    from medlab.engine.parameters import unmet

    if not (run_folder(run) / "params.yaml").exists():
        raise ValueError(f"reports/{run}/params.yaml does not exist; make the run: medlab new {run} --dataset NAME")
    conditions = None if names else execute.plan(run)[2]
    wanted = [numbered(name) for name in names] or [name for name in notebooks() if not unmet(name, conditions)]
    return [str(copies.make(name, run)) for name in wanted]


def numbered(text) -> str:
    """Name of the notebook that a person calls by its number or name: 3, "03", "03_cnn_training".

    Raises
    ------
    ValueError
        Naming the notebooks there are.
    """
    number = f"{int(text):02d}" if str(text).isdigit() else str(text)
    fitting = [name for name in notebooks() if number in (name, name[:2])]
    if not fitting:
        raise ValueError(f"no notebook {text!r}; there are {', '.join(notebooks())}")
    return fitting[0]
