"""Working copies: the notebooks of one run as people open them, so that what git tracks stays as it is.

``NN_name.ipynb`` in the folder ``copies`` of a run is the tracked notebook with the run's values in its parameters
cell; ``copies/.made/`` keeps it as it was made, so that what a person changed is known even after the tracked one
changed, too.
"""

import ast
import json
import shutil
from pathlib import Path

from medlab.engine.parameters import check_parameters, declared, effective, known_parameters, read_params, run_folder
from medlab.engine.parameters import source as tracked
from medlab.storage import write_text

MARK = "work_of"  # name of the run in the parameters cell of a working copy
MEANING = "a working copy: the values above are parameters of this run alone, a change is kept in its params.yaml"


def path(name, run, made=False) -> Path:
    """File of a working copy, or of what it was when it was made."""
    return run_folder(run) / "copies" / (".made" if made else "") / f"{name}.ipynb"


def shown(name, run) -> str:
    """Where a working copy is, from the root of the project on."""
    return f"reports/{run}/copies/{name}.ipynb"


def make(name, run) -> Path:
    """The working copy of a notebook; made anew where nobody has changed it, else left as it is."""
    copy, made = path(name, run), path(name, run, made=True)
    if not copy.exists() or cells(read(copy)) == cells(read(made)):
        fresh = as_copy(name, run)
        if not copy.exists() or cells(fresh) != cells(read(copy)):
            save(fresh, copy)
        save(fresh, made)
    return copy


def as_copy(name, run) -> dict:
    """The tracked notebook as parsed JSON, the values of a run in its parameters cell."""
    notebook = json.loads(json.dumps(tracked(name)))
    cell = parameters_cell(notebook)
    text = with_values("".join(cell["source"]), effective(name, read_params(run), run))
    cell["source"] = f"{text}\n{MARK}: str = {json.dumps(run)}  # {MEANING}".splitlines(keepends=True)
    return notebook


def parameters_cell(notebook) -> dict:
    """The cell tagged ``parameters``; one with an empty source where there is none."""
    found = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    return found[0] if found else {"source": ""}


def values_in(text) -> dict:
    """Values of the parameters that the source of a cell sets, without the mark of a copy."""
    found = {(node.target if isinstance(node, ast.AnnAssign) else node.targets[0]).id: ast.literal_eval(node.value)
             for node in ast.parse(text).body}
    return {key: value for key, value in found.items() if key != MARK}


def with_values(text, values) -> str:
    """Source of a parameters cell with other values; types and comments stay.

    Examples
    --------
    >>> with_values('epochs: int = 30  # passes\\nname: str = "a"', {"epochs": 5})
    'epochs: int = 5  # passes\\nname: str = "a"'
    """
    lines = text.split("\n")
    for node in ast.parse(text).body:
        key = (node.target if isinstance(node, ast.AnnAssign) else node.targets[0]).id
        at, line = node.value, lines[node.lineno - 1].encode()
        if key in values and values[key] != ast.literal_eval(at) and at.lineno == at.end_lineno:
            value = values[key]
            written = json.dumps(value, ensure_ascii=False) if isinstance(value, (str, list)) else repr(value)
            lines[at.lineno - 1] = (line[:at.col_offset] + written.encode() + line[at.end_col_offset:]).decode()
    return "\n".join(lines)


def read(file) -> dict:
    """A notebook as parsed JSON; ValueError naming a damaged one."""
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"cells": []}
    except ValueError as error:
        raise ValueError(f"copies/{Path(file).name}: damaged, not readable as a notebook ({error}); remove it, a new "
                         "working copy is made then") from None


def cells(notebook) -> list[tuple[str, str, str]]:
    """Id, kind and source of every cell: what a person changes, without outputs."""
    return [(cell.get("id", ""), cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def save(notebook, file) -> None:
    """Write a notebook as `make lint` stores it: indented by one, readable characters."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def remove(name, run) -> None:
    """Give up a working copy and what was changed in it."""
    for file in (path(name, run), path(name, run, made=True)):
        file.unlink(missing_ok=True)
    if not list(path(name, run).parent.glob("*.ipynb")):
        shutil.rmtree(path(name, run).parent, ignore_errors=True)


def edited_values(name, run, namespace) -> dict:
    """Parameters that a person changed in a working copy: name -> value, checked; the others are the run's.

    Raises
    ------
    ValueError
        Where the copy belongs to another run than its parameter `run` says, or for a value that is not possible.
    """
    if namespace["run"] != namespace[MARK]:
        raise ValueError(f"this is a working copy of run '{namespace[MARK]}', but run is '{namespace['run']}'; set it "
                         f"back, and open a copy of the other run: medlab work {namespace['run']} {name[:2]}")
    was = values_in("".join(parameters_cell(read(path(name, run, made=True)))["source"]))
    was = was or effective(name, read_params(run), run)  # how it was made got lost
    return check_parameters({key: namespace[key] for key in declared(name)
                             if key != "run" and key in was and namespace[key] != was[key]}, f"parameters of {name}")


def take_over(name, run, edited) -> list[str]:
    """Write parameters changed in a working copy into the ``params.yaml`` of its run, and say so, a sentence each."""
    before = effective(name, read_params(run), run)
    changed = {key: value for key, value in edited.items() if value != before[key]}
    if changed:
        set_params(run, changed)
    notebook = read(path(name, run, made=True))
    cell = parameters_cell(notebook)
    cell["source"] = with_values("".join(cell["source"]), edited).splitlines(keepends=True)
    save(notebook, path(name, run, made=True))
    return [f"{key} = {value!r} is now a parameter of run '{run}' (was {before[key]!r}; written into "
            f"reports/{run}/params.yaml)" for key, value in changed.items()]


def set_params(run, values) -> None:
    """Set parameters of a run in its ``params.yaml``; other lines and comments stay, a default is left out.

    Raises
    ------
    ValueError
        For an unknown parameter or an impossible value, before anything is written.
    """
    import yaml

    values = check_parameters(values, f"reports/{run}/params.yaml")
    file, known = run_folder(run) / "params.yaml", known_parameters()
    wanted = {key: value for key, value in (read_params(run) | values).items()
              if key not in values or value != known[key]}
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lines = [line for line in lines if line.partition(":")[0].strip() not in values]
    own = {key: value for key, value in values.items() if key in wanted}
    text = "\n".join(lines + ([yaml.safe_dump(own, sort_keys=False, allow_unicode=True).rstrip()] if own else []))
    if (yaml.safe_load(text) or {}) != wanted:  # a value over several lines: written anew, comments are lost
        text = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True) if wanted else ""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text.rstrip("\n") + "\n" if text.strip() else "")
