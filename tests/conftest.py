"""Fixtures shared by all tests."""

import atexit
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from medlab.engine import runs

if os.environ.get("PYTEST_XDIST_WORKER"):  # as many processes as cores: their threads would wait for each other
    os.environ |= {name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}

if "MEDLAB_KEY" not in os.environ:  # pseudonyms of the tests: one key for all processes, never that of the user
    os.environ["MEDLAB_KEY"] = os.path.join(tempfile.mkdtemp(prefix="medlab-key-"), "key")
    Path(os.environ["MEDLAB_KEY"]).write_text("5a" * 32)
    Path(os.environ["MEDLAB_KEY"]).chmod(0o600)
    atexit.register(shutil.rmtree, os.path.dirname(os.environ["MEDLAB_KEY"]), ignore_errors=True)

DATASETS = Path(os.environ.get("MEDLAB_REALDATA", Path(__file__).parents[2] / "shared" / "datasets"))


def pytest_collection_modifyitems(items):
    # whole notebooks first: the longest file must not be the last one, with one of two processes idle beside it
    items.sort(key=lambda item: ("notebook" not in item.path.name, item.path.name != "test_notebooks.py"))
    missing = pytest.mark.skip(reason=f"the folder of real datasets is absent ({DATASETS.name})")
    for item in items:
        if item.get_closest_marker("realdata") and not DATASETS.is_dir():
            item.add_marker(missing)


@pytest.fixture(scope="session")
def datasets_folder() -> Path:
    """Folder of real medical data; only for tests marked ``realdata``."""
    return DATASETS


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Empty data and reports folders: ``tmp_path/data`` and ``tmp_path/reports``."""
    for name in ("data", "reports"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"MEDLAB_{name.upper()}", str(tmp_path / name))
    return tmp_path


def write_notebook(folder, name, parameters, code, **contract):
    """Write a small notebook; ``code`` is a list of cells."""

    def cell(kind, source, **metadata):
        extra = {"outputs": [], "execution_count": None} if kind == "code" else {}
        return {
            "cell_type": kind,
            "id": f"c{abs(hash((name, source))) % 10**8}",
            "metadata": metadata,
            "source": source,
            **extra,
        }

    cells = [
        cell("markdown", f"# {name[3:].title()}\n\nWhat does {name} answer?"),
        cell("code", parameters, tags=["parameters"]),
        cell("code", f"from medlab.engine import runs\nfolder = runs.start({name!r}, globals())"),
        *(cell("code", source) for source in code),
    ]
    notebook = {
        "cells": cells,
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "medlab": {"reads": [], "writes": [], "needs": []} | contract,
        },
    }
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook))


def run_all(name, folder, result, parameters, shown=None):
    """All code cells of a notebook in one namespace, as Run All does; the result file and the namespace."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    notebook = json.loads((Path(__file__).parents[1] / "notebooks" / f"{name}.ipynb").read_text())
    namespace = {"display": shown or (lambda *_: None), "__name__": "page"}
    for cell in (c for c in notebook["cells"] if c["cell_type"] == "code"):
        exec("".join(runs.as_executed("".join(cell["source"]).splitlines(keepends=True))), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            namespace.update(parameters | {"run": folder.name})
        plt.close("all")
    return json.loads((folder / result).read_text()), namespace


def classifier(network, shape, kind, n, **options):
    """The label model, an image in and scores out, of a network for images by themselves."""
    from medlab.networks import fusion

    return fusion.label_model(fusion.build(network, shape, 1, {}, survival=False, label=(kind, n), **options))


@pytest.fixture
def bench(workspace, monkeypatch):
    """Workspace with three small notebooks, a table dataset ``table`` and a run ``try``."""
    folder = workspace / "notebooks"
    folder.mkdir()
    monkeypatch.setenv("MEDLAB_NOTEBOOKS", str(folder))
    write_notebook(
        folder,
        "01_first",
        'run: str = "try"\nseed: int = 0\ndataset: str = "table"\nword: str = "one"\nsteps: str = ""',
        [
            '(folder / "dataset.json").write_text("{}")',
            '(folder / "a.txt").write_text(word)\nprint("wrote", word)',
        ],
        reads=["data"],
        writes=["a.txt", "dataset.json"],
    )
    write_notebook(
        folder,
        "02_second",
        'run: str = "try"\nepochs: int = 3\nrate: float = 0.1\nfail: str = ""',
        [
            'import os, signal, time\nrounds = folder / "rounds.txt"',
            'if fail == "error":\n    raise ValueError(f"no such thing in {folder}")',
            'if fail == "kill":\n    os.kill(os.getpid(), signal.SIGKILL)',
            'if fail == "slow":\n    (folder / "started").write_text(str(os.getpid()))\n    time.sleep(600)',
            '(folder / "b.txt").write_text((folder / "a.txt").read_text() * epochs)',
            "rounds.write_text(str(int(rounds.read_text()) + 1 if rounds.exists() else 1))",
        ],
        reads=["a.txt"],
        writes=["b.txt"],
    )
    write_notebook(
        folder,
        "03_third",
        'run: str = "try"\nshout: bool = False',
        [
            'text = (folder / "b.txt").read_text()\n'
            '(folder / "c.txt").write_text(text.upper() if shout else text)',
        ],
        reads=["b.txt"],
        writes=["c.txt"],
    )
    write_notebook(
        folder, "04_masks", 'run: str = "try"', ['raise ValueError("never part of it")'], needs=["mask|boxes"]
    )
    table = workspace / "data" / "table"
    table.mkdir()
    (table / "card.yaml").write_text(
        "title: A table\npatients: known\nsynthetic: true\nclasses: ['no', 'yes']\n"
    )
    (table / "cohort.csv").write_text(
        "patient_id,label,age_years\n"
        + "".join(f"P{i},{'yes' if i % 2 else 'no'},{50 + i}\n" for i in range(12))
    )
    (workspace / "reports" / "try").mkdir()
    (workspace / "reports" / "try" / "params.yaml").write_text("epochs: 2\n")
    return workspace


def medlab(*words, **options):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "medlab", *map(str, words)], capture_output=True, text=True, **options
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The embedded cohort with 60 patients and its executed run ``demo``: folder and environment.

    Made once for all processes of the tests: who comes second waits for the first, and nobody changes it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "demo"
    environment = {
        **os.environ,
        "MEDLAB_DATA": str(folder / "data"),
        "MEDLAB_REPORTS": str(folder / "reports"),
    }
    with open(base / "demo.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            (folder / "reports" / "demo").mkdir(parents=True)
            (folder / "reports" / "demo" / "params.yaml").write_text(
                'epochs: 3\nimage_size: 48\nsanity_gate: false\nn_bootstrap: 200\nsurvival_bootstrap: 200\n'
                'forest_trees: 20\nsteps: "1-5"\n')
            for words in (["import", "synthetic:thorax", "thorax", "--patients", 60], ["run", "demo"]):
                done = medlab(*words, env=environment)
                assert done.returncode == 0, done.stderr[-5000:]
            (folder / "made").touch()
    return folder, environment


@pytest.fixture
def demo_copy(demo, tmp_path):
    """Reports of ``demo`` for one test alone, which may add runs or change them: folder of reports and environment."""
    folder, environment = demo
    shutil.copytree(folder / "reports", tmp_path / "reports")
    return tmp_path / "reports", {**environment, "MEDLAB_REPORTS": str(tmp_path / "reports")}
