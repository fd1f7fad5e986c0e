"""JupyterLab on the project: its folders in view, working copies to open, tracked notebooks kept as they are."""

import json
import os
import sys
from pathlib import Path

from medlab import data_dir, notebooks_dir, reports_dir
from medlab.desk import changes
from medlab.engine import copies
from medlab.engine.parameters import parent, runs
from medlab.storage import digest_of

START = "00_start.ipynb"


def command(allow_root=False, further=()) -> list[str]:
    """The command that starts JupyterLab.

    Parameters
    ----------
    allow_root : bool
        Also as root, as in a container.
    further : list of str, options of JupyterLab itself

    Raises
    ------
    ValueError
        As root without `allow_root`.
    """
    if os.geteuid() == 0 and not allow_root:
        raise ValueError("JupyterLab as root can read and change everything on this machine. In a container that is "
                         "wanted: make lab ROOT=1 (medlab lab --allow-root); else start it as another user")
    place = os.path.relpath(first_notebook(), root_dir())
    return [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root_dir()}",
            f"--LabApp.default_url=/lab/tree/{place}", f"--ServerApp.jpserver_extensions={__name__}=True",
            *(["--allow-root"] if allow_root else []), *further]


def environment() -> dict[str, str]:
    """Variables of JupyterLab: its settings include those of `labconfig` here, which ask for no news and no updates."""
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(places)}


def root_dir() -> Path:
    """The folder that JupyterLab shows: the one below which notebooks, data and reports lie, never a whole disk."""
    common = Path(os.path.commonpath([folder.resolve() for folder in (notebooks_dir(), data_dir(), reports_dir())]))
    return common if common != Path(common.anchor) else notebooks_dir().resolve().parent


def first_notebook() -> Path:
    """The notebook to start with: a copy beside ``notebooks/`` that git ignores, so that filling it in changes nothing.

    Made anew where nobody has changed it: its metadata say of which cells it was made.
    """
    copy = notebooks_dir().resolve().parent / START
    there = copies.read(copy)
    if not copy.exists() or there["metadata"].get("made_of") == digest_of(copies.cells(there)):
        notebook = copies.read(notebooks_dir() / START)
        notebook["metadata"]["made_of"] = digest_of(copies.cells(notebook))
        copies.save(notebook, copy)
    return copy


def prepare(names=()) -> list[str]:
    """Make the working copies of runs, of all that are no repeats where none is named; what cannot be, in words."""
    said = []
    for run in names or [run for run in runs() if parent(run) == run]:
        try:
            changes.open_copies(run)
        except ValueError as problem:
            if names:
                raise
            said.append(f"no working copies of run '{run}': {problem}")
    return said


def stripped(model, path, contents_manager, **_) -> None:
    """Before JupyterLab saves a tracked notebook: outputs and counts go, so that running it changes nothing in git.

    Parameters
    ----------
    model : dict, what is saved; changed in place
    path : str, below the folder that the server shows
    contents_manager : of the server
    """
    file = Path(contents_manager.root_dir) / path
    if model["type"] != "notebook" or file.parent.resolve() != notebooks_dir().resolve():
        return
    for cell in model["content"]["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
            cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key != "execution"}
    if file.exists():  # kernels write their version into it
        model["content"]["metadata"] = json.loads(file.read_text(encoding="utf-8"))["metadata"]


def _jupyter_server_extension_points():
    return [{"module": __name__}]


def _load_jupyter_server_extension(app):
    app.contents_manager.register_pre_save_hook(stripped)
