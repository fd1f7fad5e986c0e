"""What a notebook needs of its run: opening it, files that are written whole or not at all, progress."""

import contextlib
import difflib
import fcntl
import importlib
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from medlab.engine import answers, copies
from medlab.engine.parameters import answer_file, check_parameters, declared, effective, read_params, run_folder
from medlab.engine.stamps import is_held, restate, write_stamp
from medlab.storage import keep_private, write_json


class RunLocked(RuntimeError):
    """Another process is executing this run."""


def progress(text) -> None:
    """One line of progress; the engine shows it on the terminal, the page folds it into the log."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(run) -> Iterator[int]:
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
        _sign(stream, "")
        os.set_inheritable(stream.fileno(), True)
        yield stream.fileno()


def _sign(stream, who):
    stream.truncate(0)
    stream.write(f"{who}process {os.getpid()}, since {time.ctime()}")
    stream.flush()


_hand = {}  # of a kernel by hand: the run it writes into, and the lock while a cell is executed


def _hold_by_hand(run):
    """From here on every cell of this kernel holds the run while it is executed; a kernel that waits blocks nobody."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell and "run" not in _hand:
        shell.events.register("pre_run_cell", _take)
        shell.events.register("post_run_cell", _release)
        shell.input_transformers_cleanup.append(_refused_meanwhile)
    if shell:
        _hand["run"] = run
        _take()


def _take(*_):
    stream = open(run_folder(_hand["run"]) / ".lock", "a+", encoding="utf-8")
    with contextlib.suppress(BlockingIOError):  # then the cell is refused
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two notebooks may be worked on by hand
        _sign(stream, "a notebook by hand, ")
        _hand["lock"] = stream


def _release(*_):
    if "lock" in _hand:
        _hand.pop("lock").close()


def _refused_meanwhile(lines):
    """Lines of a cell, or, while `medlab run` executes this run, an error in their place."""
    if "lock" in _hand or not is_held(_hand["run"]):
        return lines
    said = f"run '{_hand['run']}' is being executed by medlab; when it has ended, execute this notebook from its start"
    return [f"from medlab.engine import runs; raise runs.RunLocked({said!r})\n"]


def start(name, namespace) -> Path:
    """Open the run; the first cell of a notebook after its parameters.

    By hand (JupyterLab, plain papermill) parameters that were left at their default are filled from the
    run's ``params.yaml``, and this notebook's stamp is withdrawn, so that nothing later is built on results the page
    does not describe; the page stays and says so, as index and list do. In a working copy (`copies`) a parameter that
    was changed becomes one of its run. Under ``medlab run`` the parameters are final already. While a cell is executed
    by hand `medlab run` refuses the run, and the other way round.

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
    keep_private()
    run, defaults = namespace["run"], declared(name)
    folder = run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    _parts.clear()
    _said.clear()
    _open.update(name=name, folder=folder)
    if os.environ.get("MEDLAB_RUN") == run:
        return folder
    _release()
    with lock(run):
        _refuse_misspelt(namespace, defaults)
        namespace.update(check_parameters(_by_hand(name, run, namespace, defaults), f"parameters of {name}"))
        write_stamp(name, run, state="hand", started=time.time())
        restate(name, run)
        # by its name: how pages look is no part of what a notebook is made from (`reach` follows imports)
        importlib.import_module("medlab.engine.execute").show_by_hand(run)
    _hold_by_hand(run)
    return folder


def _by_hand(name, run, namespace, defaults):
    """Parameters of a notebook that is executed by hand, without `run`."""
    if copies.MARK in namespace:
        edited = copies.edited_values(name, run, namespace)
        print(*copies.take_over(name, run, edited), sep="\n", end="\n" if edited else "")
        return {key: value for key, value in effective(name, read_params(run), run).items() if key != "run"}
    given = read_params(run)
    return {key: given[key] if key in given and namespace[key] == default else namespace[key]
            for key, default in defaults.items() if key != "run"}


def _refuse_misspelt(namespace, defaults):
    for key, value in namespace.items():
        if key.startswith("_") or key in defaults or not isinstance(value, (int, float, str, bool, list)):
            continue
        near = difflib.get_close_matches(key, defaults, 1, cutoff=0.85)
        if near:
            raise ValueError(f"unknown parameter '{key}'; did you mean '{near[0]}'?")


NEEDS = re.compile(r"#\s*needs:\s*(.+)")  # the first line of a cell, or among the comments that it begins with
_parts, _said, _open = {}, set(), {}


def offers(**parts: bool) -> None:
    """Say what the data have; a cell whose first line is ``# needs: images, follow-up`` is skipped where one lacks.

    What is missing is said once, at the first cell that needs it. May be called again when more is known. Works in
    JupyterLab, papermill and nbval alike, since the kernel itself leaves the cell out.

    Parameters
    ----------
    parts : name and whether it is there; an underscore is written as a hyphen in a cell (``follow_up``: follow-up).

    Raises
    ------
    ValueError
        In the cell, for a name that no call has told about.
    """
    _parts.update({name.replace("_", "-"): bool(there) for name, there in parts.items()})
    from IPython import get_ipython

    shell = get_ipython()
    if shell and as_executed not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(as_executed)


def as_executed(lines: list[str]) -> list[str]:
    """Lines of a cell as they are executed: its own, or a sentence about what it needs and the data lack."""
    head = itertools.takewhile(lambda line: not line.strip() or line.startswith("#"), lines)
    asked = next(filter(None, map(NEEDS.match, head)), None)
    needs = [name.strip() for name in asked[1].split(",")] if asked else []
    unknown = [name for name in needs if name not in _parts]
    if unknown:
        near = f"{unknown[0]!r} is unknown; runs.offers was told about {', '.join(_parts) or 'nothing'}"
        return [f"raise ValueError({'a cell needs ' + near!r})\n"]
    lacking = " and no ".join(name for name in needs if not _parts[name])
    if not lacking:
        return lines
    return [f"from medlab.engine import runs; runs.say_skipped({lacking!r})\n"]


def say_skipped(lacking: str) -> None:
    """Say once that parts of a notebook are left out; executed in the place of a cell that `offers` leaves out."""
    if lacking not in _said:
        words = lacking.replace("-", " ").replace("follow up", "follow-up")
        print(f"No {words} here: what needs it is left out.")
    _said.add(lacking)


def answer(sentences, numbers=(), warnings=()) -> None:
    """Give the answer of a notebook: shown here, first on its page, on the index and in the list of runs.

    Parameters
    ----------
    sentences : one to three sentences that answer the question of the notebook from its results
    numbers : key numbers, see `statistics.keys.number`
    warnings : what a reader must not miss
    """
    from IPython.display import display

    given = answers.answer(sentences, numbers, warnings)
    write_json(_open["folder"] / answer_file(_open["name"]), given)
    text = "\n".join(given["sentences"] + given["warnings"])
    display({answers.MIME: given, "text/html": answers.as_html(given), "text/plain": text}, raw=True)


@contextlib.contextmanager
def noting(notes: list, what: str) -> Iterator[None]:
    """Go on where the data do not allow something: a ValueError of the block is added to the notes, and printed unless
    it was before.

    Parameters
    ----------
    notes : list of sentences, extended
    what : what is then missing, such as "No horizon"
    """
    try:
        yield
    except ValueError as error:
        if not any(note.endswith(f": {error}") for note in notes):
            print(f"{what}: {error}")
        notes.append(f"{what}: {error}")
