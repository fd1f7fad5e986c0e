"""What holds the project together: versions, stored notebooks, import time, files without surprises."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medlab import ROOT
from medlab.engine import parameters, stamps

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPENDENCIES = PROJECT["dependencies"] + EXTRAS["dev"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEPS = [path for path in NOTEBOOKS if not path.name.startswith("00")]  # of a run


def tracked(*patterns):
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", *patterns], capture_output=True, text=True)
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_environment_names_the_same_versions_as_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = next(item["pip"] for item in conda if isinstance(item, dict))
    assert set(listed) == {*DEPENDENCIES, "-e ."}
    assert f"python{PROJECT['requires-python']}" in conda


def test_the_cluster_is_an_extra_that_the_tests_have_too():
    named = [re.split("[<>=]", line)[0] for line in PROJECT["dependencies"]]
    assert "snakemake" not in named and set(EXTRAS["cluster"]) <= set(EXTRAS["dev"])


def test_the_lock_satisfies_pyproject():
    entries = re.sub(r"\\\n\s*", "", (ROOT / "requirements.lock").read_text()).splitlines()
    locked = {}
    for requirement, hashes in ((Requirement(head), rest) for head, *rest in (e.split("--hash=") for e in entries)):
        assert hashes and all(text.startswith("sha256:") for text in hashes), requirement
        locked.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    for wanted in map(Requirement, DEPENDENCIES):
        versions = [next(iter(found.specifier)).version for found in locked[canonicalize_name(wanted.name)]]
        assert versions and all(wanted.specifier.contains(version) for version in versions), wanted


def imported(text):
    """First words of the modules that a text of Python imports."""
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name.partition(".")[0] for name in names)


def test_every_import_is_declared():
    """A package that is only there because another one needs it may be gone tomorrow."""
    names = {"PIL": "pillow", "bs4": "beautifulsoup4", "yaml": "pyyaml", "skimage": "scikit-image",
             "sklearn": "scikit-learn", "sksurv": "scikit-survival"}
    declared = {canonicalize_name(Requirement(line).name) for line in DEPENDENCIES}
    notebooks = ["".join(c["source"]) for p in NOTEBOOKS for c in json.loads(p.read_text())["cells"]
                 if c["cell_type"] == "code"]
    for text in [p.read_text() for p in (ROOT / "medlab").rglob("*.py")] + notebooks:
        for module in imported(text):
            if module not in sys.stdlib_module_names and module != "medlab":
                assert canonicalize_name(names.get(module, module)) in declared, module


def test_import_is_light():
    """`import medlab` loads no library; nothing outside training loads TensorFlow, not even indirectly."""
    code = (
        "import sys, medlab; assert not {'numpy', 'pandas', 'matplotlib'} & set(sys.modules); "
        "from medlab import cli, plots; from medlab.cohorts import datasets, preparation, splits; "
        "from medlab.engine import execute, runs; from medlab.imaging import formats; "
        "from medlab.intake import importers; from medlab.statistics import metrics; "
        "from medlab.desk import server; medlab.check; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_stored_notebooks_declare_what_they_are(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert set(notebook["metadata"]["medlab"]) <= {"reads", "writes", "needs", "results", "legal", "renamed"}
    declared, legal = parameters.declared(path.stem), parameters.contract(path.stem)["legal"]
    numbers = {key for key, value in declared.items() if type(value) in (int, float)}
    assert numbers - {"seed"} <= set(legal) <= set(declared), "every number has its limits"
    assert not set(parameters.contract(path.stem)["renamed"]) & set(parameters.known_parameters())
    parameters.check_parameters({key: declared[key] for key in legal}, "the defaults")
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert f'runs.start("{path.stem}", globals())' in "".join("".join(c["source"]) for c in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebooks_are_stripped_and_readable(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3" and "papermill" not in notebook["metadata"]
    first, code = notebook["cells"][0], [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in code) == 1
    assert "".join(first["source"]).startswith("# ")
    for cell in code:
        source = "".join(cell["source"])
        assert not cell["outputs"] and cell["execution_count"] is None, "run make lint"
        lines = [line for line in source.splitlines() if line.strip()]
        assert len(lines) <= 15 or "parameters" in cell["metadata"].get("tags", []), source
        assert not re.search(r"^\s*[%!]|^class ", source, flags=re.M), source
    assert "Before you believe it" in "".join(notebook["cells"][-1]["source"]) + "".join(
        "".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_literals_with_a_type_and_a_meaning(path):
    cell = next(
        c for c in json.loads(path.read_text())["cells"] if "parameters" in c["metadata"].get("tags", [])
    )
    for line in (line for line in "".join(cell["source"]).splitlines() if line != "# for experts"):
        assert re.fullmatch(r"[a-z_0-9]+: (str|int|float|bool|list) = .+?  # .+", line), line


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_papermill_understands_every_parameter(path):
    import papermill

    assert set(papermill.inspect_notebook(str(path))) == set(parameters.declared(path.stem))


def test_a_parameter_is_declared_by_one_notebook():
    owners = {}
    for name in parameters.notebooks():
        for key in parameters.declared(name):
            owners.setdefault(key, []).append(name)
    assert {
        key: names for key, names in owners.items() if len(names) > 1 and key not in {"run", "seed"}
    } == {}


def test_what_a_notebook_reads_is_written_before_it():
    written = {"data", "runs"}
    for name in parameters.notebooks():
        contract = parameters.contract(name)
        assert {item.removeprefix(stamps.OF_MODEL) for item in contract["reads"]} <= written, name
        written |= set(contract["writes"])


def test_stored_parameter_files_are_known():
    for path in tracked("reports/*/params.yaml"):
        parameters.check_parameters(yaml.safe_load(path.read_text()) or {}, path.parent.name)


def test_no_path_of_a_machine_and_no_data_in_the_repository():
    for path in tracked():
        if path.exists() and path.suffix not in {".png", ".jpg"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(home|root|work|Users)/\w", text), path
            assert path.name != "requirements.lock" or not re.search(r"://|--(extra-)?index|--find-links", text), path
        assert Path(path).suffix.lower() not in {".dcm", ".npy", ".npz", ".nii", ".gz", ".h5", ".keras"}, path


def test_snakemake_sees_every_run(tmp_path):
    (tmp_path / "reports" / "x-f0-s0").mkdir(parents=True)
    (tmp_path / "reports" / "x-f0-s0" / "params.yaml").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", "-c1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "reports/x-f0-s0/index.html" in done.stdout + done.stderr
