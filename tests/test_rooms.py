"""The house: imports run down only, without circles, and no private name crosses a file."""

import ast
import json
import re
from graphlib import CycleError, TopologicalSorter

import pytest

from medlab import ROOT

GROUND = ["root", "statistics", "imaging", "cohorts"]
FLOORS = {room: floor for floor, room in enumerate(GROUND)} | {  # a room that is not listed is a question: floor 5
    "networks": 4, "engine": 4, "phantoms": 6, "intake": 7, "comparison": 7, "desk": 8, "cli": 9, "notebooks": 10,
    "tests": 10}


def room(module):
    """Room of a module: of ``medlab.imaging.dicom`` imaging, of ``medlab.storage`` root."""
    first, second = (module + ".").split(".")[:2]
    top = "cli" if second in ("cli", "__main__") else "root"
    return first if first != "medlab" else second if second and (ROOT / "medlab" / second).is_dir() else top


def sources():
    """Texts of all modules, tests and notebooks (their code cells) by dotted name."""
    files = [path for folder in ("medlab", "tests", "notebooks") for path in sorted((ROOT / folder).rglob("*.[pi]*"))
             if path.suffix in (".py", ".ipynb")]
    texts = {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in files}
    return {name: text if text[:1] != "{" else "\n".join(
        "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
        for name, text in texts.items()}


def faults(texts):
    """What breaks the rules, one sentence each; imports inside functions count as well."""
    known, found, arrows = {name.removesuffix(".__init__"): text for name, text in texts.items()}, [], {}
    for name, text in texts.items():
        module, nodes = name.removesuffix(".__init__"), list(ast.walk(ast.parse(text)))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        taken = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        taken += [f"{node.module}.{alias.name}" for node in froms for alias in node.names if not node.level]
        ours = [one for one in taken if one.split(".")[0] == "medlab"]
        dotted = ours + [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)
                         and ast.unparse(node.value) not in ("self", "cls")]
        arrows[module] = {one if one in known else one.rpartition(".")[0] for one in ours}
        above = FLOORS.get(room(module), 5)
        up = [one for one in arrows[module] if room(one) != room(module) and FLOORS.get(room(one), 5) >= above]
        lost = [one for one in set(ours) - set(known)
                if one.rpartition(".")[2] not in known.get(one.rpartition(".")[0], "")]
        private = {one for one in dotted if re.search(r"(^|\.)_[^.]*(?<!_)$", one)}
        found += [f"{module} uses the private {one}" for one in private] + [f"{module} imports {one}" for one in up]
        found += [f"{module} imports {one}, which is not there" for one in lost]
        found += [f"{module} imports by a relative name" for node in froms if node.level]
        if name.endswith("__init__") and taken and room(module) != "root":
            found.append(f"{module} imports {taken[0]}: a room's __init__ imports nothing")
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        found.append("circle: " + " <- ".join(error.args[1]))
    return found


def test_the_house_stands():
    assert faults(sources()) == []


@pytest.mark.parametrize("module, text, message", [
    ("medlab.imaging.slices", "from medlab.cohorts import cards", "imaging.slices imports medlab.cohorts.cards"),
    ("medlab.networks.models", "def f():\n import medlab.engine.runs", "models imports medlab.engine.runs"),
    ("medlab.survival.models", "import medlab.pet.suv", "survival.models imports medlab.pet.suv"),
    ("medlab.storage", "import medlab.cli", "medlab.storage imports medlab.cli"),
    ("medlab.pet.__init__", "import numpy", "medlab.pet imports numpy: a room's __init__ imports nothing"),
    ("medlab.pet.suv", "from medlab import formats", "pet.suv imports medlab.formats, which is not there"),
    ("medlab.phantoms.pet", "from . import common", "phantoms.pet imports by a relative name"),
    ("notebooks.01_data", "from medlab.plots import _cycle", "01_data uses the private medlab.plots._cycle"),
    ("tests.test_x", "import medlab.cli\nmedlab.cli._x", "test_x uses the private medlab.cli._x"),
    ("medlab.statistics.intervals", "import medlab.statistics.metrics", "circle: medlab.statistics."),
])
def test_what_breaks_the_rules(module, text, message):
    empty = dict.fromkeys(sources(), "") | {"medlab.statistics.metrics": "from medlab.statistics import intervals",
                                              "medlab.plots": "def _cycle(): pass"}
    assert faults(empty) == []
    found = faults(empty | {module: text})
    assert len(found) == 1 and message in found[0]
