"""What a notebook needs of its run: opening it, files that are written whole or not at all, progress."""

import contextlib
import difflib
import fcntl
import getpass
import os
import socket
import sys
import time

from medlab.engine import pages
from medlab.engine.parameters import check_parameters, declared, headline, read_params, run_folder
from medlab.engine.stamps import write_stamp
from medlab.storage import read_json, write_atomically, write_json, write_text

__all__ = ["RunLocked", "lock", "progress", "read_json", "start", "write_atomically", "write_json"]


class RunLocked(RuntimeError):
    """Another process is executing this run."""


def progress(text):
    """One line of progress; the engine shows it on the terminal, the page folds it into the log."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(run):
    """Hold a run; the descriptor is inheritable, so a surviving kernel still holds it.

    Yields
    ------
    int
        The file descriptor, to be passed on to the kernel.

    Raises
    ------
    RunLocked
        Naming the holder.
    """
    folder = run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise RunLocked(f"run '{run}' is being executed by {stream.read().strip() or 'another process'}; "
                            "wait for it or stop it") from None
        stream.truncate(0)
        holder = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}, since {time.ctime()}"
        stream.write(holder)
        stream.flush()
        os.set_inheritable(stream.fileno(), True)
        yield stream.fileno()


def start(name, namespace):
    """Open the run; the first cell of a notebook after its parameters.

    By hand (JupyterLab, plain papermill) parameters that were left at their default are filled from the
    run's ``params.yaml``, and this notebook's stamp and page are withdrawn, so that nothing later is built
    on results the page does not describe. Under ``medlab run`` the parameters are final already.

    Parameters
    ----------
    name : str
        Name of the notebook, such as ``"03_cnn_training"``.
    namespace : dict
        ``globals()`` of the notebook.

    Returns
    -------
    Path
        The run folder ``reports/<run>``.

    Raises
    ------
    ValueError
        For a variable that looks like a misspelt parameter or a value of the wrong type.
    """
    run, defaults = namespace["run"], declared(name)
    folder = run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get("MEDLAB_RUN") == run:
        return folder
    with lock(run):
        given = read_params(run)
        _refuse_misspelt(namespace, defaults)
        here = {key: given[key] if key in given and namespace[key] == default else namespace[key]
                for key, default in defaults.items() if key != "run"}
        namespace.update(check_parameters(here, f"parameters of {name}"))
        _withdraw(name, run)
    return folder


def _refuse_misspelt(namespace, defaults):
    for key, value in namespace.items():
        if key.startswith("_") or key in defaults or not isinstance(value, (int, float, str, bool, list)):
            continue
        near = difflib.get_close_matches(key, defaults, 1, cutoff=0.85)
        if near:
            raise ValueError(f"unknown parameter '{key}'; did you mean '{near[0]}'?")


def _withdraw(name, run):
    write_stamp(name, run, state="hand", started=time.time())
    status = dict(state="hand", text="Executed by hand after its last page was made; "
                  f"'medlab run {run}' makes a new one.")
    page = pages.notebook_page(None, headline(name)[0], status, [], [("run index", "index.html")])
    write_text(run_folder(run) / f"{name}.html", page)
