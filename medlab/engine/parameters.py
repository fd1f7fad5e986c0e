"""Notebooks, the parameters they declare, and the parameters a run sets.

A run is a folder ``reports/<run>/`` whose only hand-written file is ``params.yaml``: flat, only keys that
some notebook declares in its cell tagged ``parameters``, only those that differ from the default.
"""

import ast
import difflib
import fnmatch
import json
import re
from functools import lru_cache
from math import inf
from pathlib import Path

from medlab import notebooks_dir, reports_dir
from medlab.engine.legal import all_of, in_words, is_legal, short
from medlab.storage import read_yaml

RUN = r"[A-Za-z0-9_-]+"  # the name of a run becomes a folder


def notebooks() -> dict[str, Path]:
    """Notebooks of a run by their numbers, ``{"01_data_exploration": Path, ...}``; 00 is where a person starts."""
    return {path.stem: path for path in sorted(notebooks_dir().glob("[0-9][0-9]_*.ipynb"))
            if re.fullmatch(r"(?!00)\w+", path.stem)}  # no 04_evaluation-Copy1


@lru_cache
def _parsed(path, _modified):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def source(name) -> dict:
    """The stored notebook as parsed JSON."""
    path = notebooks()[name]
    return _parsed(path, path.stat().st_mtime_ns)


def contract(name: str) -> dict:
    """What a notebook reads, writes and needs, and what of it others show: the ``medlab`` part of its metadata.

    Returns
    -------
    dict with the lists ``reads``, ``writes``, ``needs``, and ``optional``: those of ``writes`` whose name ends in
    "?" in the metadata, files that are written only where the data or the parameters ask for them, and the answer of
    the notebook (`answer_file`); and ``results``,
    a list of dict: ``file`` (JSON in which ``x``, ``x_low``, ``x_high`` stand together), ``heading``, ``labels`` (of
    measures, where the name itself is not what a page should say), and for what a comparison of runs compares
    ``kind``, ``rows`` (parquet of the predictions) and ``models`` (their names in the order of a page); and ``legal``,
    by parameter the values it may have: ``[lowest, highest]`` (null: no limit), or a list of all: words, patterns
    (``auto,*``), and ``networks.models.NETWORKS`` for the names in that table of the package; and ``renamed``, by
    parameter that is no more the line that says the same now.
    """
    given = {"reads": [], "writes": [], "needs": [], "results": [], "legal": {}, "renamed": {}}
    given |= source(name)["metadata"].get("medlab", {})
    writes = [*given["writes"], f"{answer_file(name)}?"]
    optional = [item.removesuffix("?") for item in writes if item.endswith("?")]
    return given | {"writes": [item.removesuffix("?") for item in writes], "optional": optional}


def answer_file(name: str) -> str:
    """Name of the file in the run folder that holds the answer of a notebook, see `medlab.engine.runs.answer`."""
    return f"{name}.answer.json"


def results() -> dict[str, dict]:
    """What the notebooks declare as their results: name of the file -> declaration with ``notebook`` and ``labels``.

    Raises
    ------
    ValueError
        Where two notebooks declare the same file or kind.
    """
    found = {}
    for name in notebooks():
        for one in contract(name)["results"]:
            same = [other for file, other in found.items()
                    if file == one["file"] or other["kind"] == one.get("kind", "")]
            if same:
                raise ValueError(f"{same[0]['notebook']} and {name} both declare {one['file']} or kind "
                                 f"{one.get('kind')!r} as their result; give each its own in the notebook's metadata")
            found[one["file"]] = {"heading": headline(name)[0], "labels": {}, "kind": None, "rows": one["file"],
                                  "models": []} | one | {"notebook": name}
    return found


def compared_results() -> dict[str, dict]:
    """Results that a comparison of runs compares: kind -> declaration with ``file``, ``rows``, ``models``."""
    return {one["kind"]: one for one in results().values() if one["kind"]}


def labels() -> dict[str, str]:
    """How pages write the names of measures: {"auc": "AUC"}."""
    return {key: text for one in results().values() for key, text in one["labels"].items()}


def has_results(run: str) -> bool:
    """Whether a run has been evaluated: whether it holds a file that a comparison is made of."""
    return any((run_folder(run) / one["file"]).exists() for one in compared_results().values())


def code(name: str, until: str = "") -> list[str]:
    """Sources of the code cells of a notebook.

    Parameters
    ----------
    until : tag of the last cell that counts; cells with the tag ``aside`` (what they do has no effect on it) and the
        parameters are then left out. Empty: all cells.

    Raises
    ------
    ValueError
        Where no cell has that tag.
    """
    cells = [(set(c["metadata"].get("tags", [])), "".join(c["source"])) for c in source(name)["cells"]
             if c["cell_type"] == "code"]
    if not until:
        return [text for _, text in cells]
    at = [i for i, (tags, _) in enumerate(cells) if until in tags]
    if not at:
        raise ValueError(f"{name}: no cell has the tag {until!r}, which says up to where the settings count")
    return [text for tags, text in cells[:at[-1] + 1] if not tags & {"aside", "parameters"}]


def settings(name: str, namespace: dict, until: str = "fit") -> dict:
    """Everything in a notebook that its trained network depends on: the cells up to the fit, the parameters they name.

    Parameters
    ----------
    name : name of the notebook
    namespace : ``globals()`` of the notebook
    until : tag of the last cell that counts, see `code`

    Returns
    -------
    dict: ``cells`` (their sources) and ``parameters`` (name -> value).
    """
    cells = code(name, until)
    named = set(re.findall(r"\w+", " ".join(cells)))
    return {"cells": cells, "parameters": {key: namespace[key] for key in declared(name) if key in named - {"run"}}}


def headline(name) -> tuple[str, str]:
    """Title (H1) and question (first paragraph below it) of a notebook."""
    text = "".join(source(name)["cells"][0]["source"])
    title, _, rest = text.partition("\n")
    return f"{name[:2]} {title.lstrip('# 0123456789').strip()}", rest.strip().split("\n\n")[0].replace("\n", " ")


def declared(name) -> dict:
    """Parameters of a notebook with their defaults, read from its ``parameters`` cell without running it."""
    cells = [c for c in source(name)["cells"] if "parameters" in c["metadata"].get("tags", [])]
    tree = ast.parse("".join(cells[0]["source"])) if cells else ast.parse("")
    return {statement.target.id if isinstance(statement, ast.AnnAssign) else statement.targets[0].id:
            ast.literal_eval(statement.value) for statement in tree.body}


def known_parameters() -> dict:
    """All parameters of all notebooks with their defaults."""
    return {key: value for name in notebooks() for key, value in declared(name).items()}


def check_parameters(given, where) -> dict:
    """Refuse unknown keys and values of the wrong type before anything runs.

    Parameters
    ----------
    given : dict
        Parameters from ``params.yaml`` or from a cell.
    where : str
        Named in the error.

    Returns
    -------
    dict
        The same parameters; whole numbers become floats where the default is a float.

    Raises
    ------
    ValueError
        Naming the key, what was found, what was expected and the nearest known key.
    """
    known, checked = known_parameters(), {}
    legal = {key: all_of(what) for name in notebooks() for key, what in contract(name)["legal"].items()}
    renamed = {key: now for name in notebooks() for key, now in contract(name)["renamed"].items()}
    for key, value in given.items():
        if key == "run":
            raise ValueError(f"{where}: 'run' is the name of the folder and cannot be set; remove the line")
        if key in renamed:
            raise ValueError(f"{where}: '{key}' is no parameter any more; write '{renamed[key]}' instead, or remove "
                             "the line where it said the default")
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"{where}: unknown parameter '{key}'; {hint}")
        expected = type(known[key])
        if expected is float and type(value) is int and abs(value) < 1e300:
            value = float(value)
        if known[key] is not None and type(value) is not expected or value != value or value in (inf, -inf):
            raise ValueError(f"{where}: '{key}' is {short(value)} ({type(value).__name__}), expected "
                             f"{expected.__name__} such as {known[key]!r}")
        if legal.get(key) and not is_legal(value, legal[key]):
            raise ValueError(f"{where}: '{key}' is {short(value)}, expected {in_words(legal[key])}")
        checked[key] = value
    return checked


def runs() -> list[str]:
    """Names of the runs: folders with a params.yaml or stamps and a possible name (``base.bak`` is none)."""
    return sorted(path.name for path in reports_dir().iterdir() if re.fullmatch(RUN, path.name)
                  and ((path / "params.yaml").is_file() or (path / ".stamps").is_dir()))


def run_folder(run) -> Path:
    """Path of a run; the name is checked because it becomes a folder name.

    Raises
    ------
    ValueError
        If the name has other characters than letters, digits, ``_`` and ``-``.
    """
    if not re.fullmatch(RUN, str(run)):
        raise ValueError(f"run name {run!r}: expected letters, digits, '_' and '-' only, such as 'brain-s0'")
    return reports_dir() / run


def parent(run) -> str:
    """The run that a run repeats by its name, ``brain`` of ``brain-f0-s1``; itself where it repeats none."""
    return re.sub(r"(-f\d+)?-s\d+$", "", run)


def compared_runs(run, compare="auto") -> list[str]:
    """Names of the runs that the comparison of a run is about, in the order of their numbers.

    Parameters
    ----------
    run : str
        The run that shows the comparison; never compared itself.
    compare : str
        Names or patterns (``brain-a-s*``) separated by commas; "auto": the repeats ``RUN-f0-s0``, ``RUN-s0``, ...

    Raises
    ------
    ValueError
        For a name or pattern that fits no run.
    """
    names = [name for name in runs() if name != run and (run_folder(name) / "params.yaml").is_file()]
    names.sort(key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])
    if compare == "auto":
        return [name for name in names if parent(name) == run]
    found = []
    for word in filter(None, map(str.strip, compare.split(","))):
        fitting = fnmatch.filter(names, word)
        if not fitting:
            near = difflib.get_close_matches(word, names, 3, cutoff=0.4) or names[:3]
            raise ValueError(f"reports/{run}/params.yaml: compare names '{word}', but no run of that name has a "
                             f"params.yaml; there is {', '.join(near) or 'no other run'}")
        found += [name for name in fitting if name not in found]
    return found


def read_params(run) -> dict:
    """Parameters of a run that differ from the defaults, checked.

    Raises
    ------
    ValueError
        If the file is not flat YAML, has an unknown key or a value of the wrong type.
    """
    path, where = run_folder(run) / "params.yaml", f"reports/{run}/params.yaml"
    texts = {key for key, default in known_parameters().items() if isinstance(default, str)}
    try:
        given = read_yaml(path, texts) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return check_parameters(given, where)


def effective(name, params, run) -> dict:
    """Parameters that a notebook of a run gets: its defaults, then the run's own."""
    given = {**params, "run": run}
    return {key: given.get(key, default) for key, default in declared(name).items()}


def left_out(steps) -> set[str]:
    """Conditions ``without:NN`` of the notebooks that the parameter `steps` ("1-4, 6"; empty: all) does not name.

    What compares the repeats of a run is never left out: there it was asked for by repeating.

    Raises
    ------
    ValueError
        For a text that is no list of numbers, or a number without a notebook.
    """
    known, wanted = {name[:2] for name in notebooks()}, set()
    for part in filter(None, re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", str(steps).strip()))):
        found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", part)
        numbers = {f"{n:02d}" for n in range(int(found[1]), int(found[2] or found[1]) + 1)} if found else set()
        if not numbers & known or not (found[2] or numbers <= known):
            raise ValueError(f"steps: found {part!r}, expected numbers of notebooks such as '1-4, 6'; there are "
                             f"{', '.join(sorted(known))}")
        wanted |= numbers
    compares = {name[:2] for name in notebooks() if "repeats" in contract(name)["needs"]}
    return {f"without:{number}" for number in known - wanted - compares} if wanted else set()


def model_run(run, model_of) -> Path:
    """Folder of the run whose network another run evaluates as it is (parameter ``model_of``).

    Raises
    ------
    ValueError
        Where no run is named, the run itself, or one that does not exist or evaluates another's network.
    """
    where = f"reports/{run}/params.yaml: model_of"
    if not model_of:
        raise ValueError(f"{where} is empty; name the run whose network is to be evaluated")
    known = [name for name in runs() if name != run and (run_folder(name) / "params.yaml").is_file()]
    if model_of == run or model_of not in known:
        near = difflib.get_close_matches(model_of, known, 3, cutoff=0.4) or known[:3]
        raise ValueError(f"{where} is '{model_of}', expected another run with a params.yaml; there is "
                         f"{', '.join(near) or 'no other run'}")
    if other := read_params(model_of).get("model_of"):
        raise ValueError(f"{where} is '{model_of}', which itself only evaluates the network of '{other}': name that "
                         "run")
    return run_folder(model_of)


def left_out_by_model() -> set[str]:
    """Conditions ``without:NN`` of a run that evaluates another's network: all but what does, and what that reads."""
    evaluates = [name for name in notebooks() if "model" in contract(name)["needs"]]
    read = {item for name in evaluates for item in contract(name)["reads"]}
    made = [name for name in notebooks() if read & set(contract(name)["writes"])]
    return {f"without:{name[:2]}" for name in notebooks() if name not in (*evaluates, *made)}


def left_out_by_steps(lacking) -> bool:
    """Whether `unmet` says only that a notebook was left out (steps, model_of): what it made then stays as it is."""
    return bool(lacking) and lacking[0].startswith("without:")


def unmet(name, conditions) -> list[str]:
    """Needs of a notebook that the dataset does not meet (``a|b`` is met by either), or that it is left out."""
    without = f"without:{name[:2]}"
    return [without] if without in conditions else [
        need for need in contract(name)["needs"] if not conditions & set(need.split("|"))]
