"""One notebook in a kernel of its own: executed by papermill into the run folder, ended with all it started."""

import os
import re
import signal
import sys
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import nbformat

from medlab import ROOT, data_dir, notebooks_dir, reports_dir
from medlab.engine.parameters import notebooks, run_folder
from medlab.engine.stamps import read_stamp, restate, write_stamp
from medlab.storage import no_room, write_atomically

INTERRUPTED = "interrupted"


class Progress:
    """Passes on what a notebook says while it is executed, and shows its last line on the page, now and then.

    Parameters
    ----------
    stream : where the text goes
    show : called with the last whole line, at most every `pause` seconds
    """

    def __init__(self, stream, show, pause=10.0):
        self.stream, self.show, self.pause, self.last, self.text = stream, show, pause, 0.0, ""

    def write(self, text) -> None:
        self.stream.write(text)
        self.text = (self.text + text)[-2000:]
        lines = [line.strip() for line in re.split(r"[\r\n]", self.text)[:-1] if line.strip()]
        if lines and time.monotonic() - self.last > self.pause:
            self.last = time.monotonic()
            with suppress(OSError):  # a full disk is met by what is written for good
                self.show(lines[-1])

    def flush(self) -> None:
        self.stream.flush()


def execute_notebook(name, run, parameters, descriptor=None) -> str:
    """Execute one notebook with papermill into the run folder.

    Parameters
    ----------
    name, run : str
        Notebook and run.
    parameters : dict
        Effective parameters.
    descriptor : int, optional
        File descriptor of the run's lock, inherited by the kernel.

    Returns
    -------
    str
        Empty on success, otherwise the traceback or the reason in plain text.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    folder, error = run_folder(run), ""
    beside = folder / f".{name}.ipynb"
    environment = {"MEDLAB_RUN": run, "PYTHONWARNINGS": "ignore", "OPENBLAS_NUM_THREADS": "1"}  # BLAS inside threads
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    _register_engine()
    try:
        papermill.execute_notebook(notebooks()[name], beside, parameters, kernel_name="python3",
                                   engine_name="medlab", progress_bar=False, stderr_file=_shown(name, run),
                                   cwd=notebooks_dir(), lock_descriptor=descriptor)
    except PapermillExecutionError as problem:
        error = INTERRUPTED if problem.ename == "KeyboardInterrupt" else f"{problem.ename}: {problem.evalue}"
    except DeadKernelError:
        error = ("the kernel died. Most often the machine ran out of memory: use a smaller image_size, "
                 "batch_size or capacity")
    except OSError as problem:
        error = no_room(problem) or f"cannot write the notebook: {problem.strerror or problem}"
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    try:
        _keep(beside, folder / f"{name}.ipynb")
    except (OSError, ValueError) as problem:  # a full disk: without it there is no page
        error = error or no_room(problem) or f"cannot keep the executed notebook: {problem}"
    beside.unlink(missing_ok=True)
    return without_paths(_with_next_step(error, run))


def _shown(name, run):
    """The terminal, and the status on the page of a running notebook."""
    def show(line):
        write_stamp(name, run, **read_stamp(name, run) | {"progress": without_paths(line)[:200]})
        restate(name, run)

    return Progress(sys.stderr, show)


def _with_next_step(error, run):
    """A cell that met a full disk says it in the words of some library; what to do is the same for all."""
    full = "No space left on device" in error or "Disk quota exceeded" in error
    return f"{error}\nMake room on the disk of reports/{run}, then: medlab run {run}" if full else error


@lru_cache
def _register_engine():
    """papermill's own engine, but the kernel inherits the lock of the run, and ends with all that it has started."""
    from jupyter_client import AsyncKernelManager
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines
    from traitlets.config import Config

    class Manager(AsyncKernelManager):
        async def shutdown_kernel(self, now=False, restart=False):
            await self.provisioner.kill()  # before the manager interrupts it, of which the kernel would complain
            await super().shutdown_kernel(True, restart)

        async def cleanup_resources(self, restart=False):
            with suppress(OSError, TypeError):  # the group that the kernel leads
                os.killpg(self.provisioner.pgid, signal.SIGKILL)
            await super().cleanup_resources(restart)

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, lock_descriptor=None, stderr_file=None,
                                     start_timeout=60, **_):
            keep = {} if lock_descriptor is None else {"pass_fds": (lock_descriptor,)}
            config = Config(KernelManager={"transport_encryption": "auto"})  # else the kernel warns
            client = PapermillNotebookClient(nb_man, kernel_name=kernel_name, stderr_file=stderr_file, timeout=None,
                                             startup_timeout=start_timeout, config=config,
                                             kernel_manager_class=Manager)
            return client.execute(cwd=str(notebooks_dir()), **keep)

    papermill_engines.register("medlab", Engine)


def without_paths(text) -> str:
    """Text without the folders of this machine, which may name a person."""
    for path, label in ((reports_dir(), "reports"), (data_dir(), "data"), (ROOT, "."), (Path.home(), "~")):
        text = text.replace(str(path.resolve()), label).replace(str(path), label)
    return text


def _keep(beside, target):
    """Move the executed notebook to its place, without the folders of this machine in it."""
    text = without_paths(beside.read_text(encoding="utf-8"))
    notebook = nbformat.reads(text, as_version=4)
    banner = "papermill-error-cell-tag"
    notebook.cells = [cell for cell in notebook.cells if banner not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("papermill", None)
    write_atomically(target, lambda path: nbformat.write(notebook, path))
