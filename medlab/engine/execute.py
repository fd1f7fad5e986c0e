"""Execute the notebooks of a run that are stale, in the order of their numbers, and write its pages."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medlab.engine.kernels import INTERRUPTED, execute_notebook, without_paths
from medlab.engine.pages import layout
from medlab.engine.parameters import (
    compared_runs,
    contract,
    effective,
    has_results,
    known_parameters,
    left_out,
    left_out_by_model,
    left_out_by_steps,
    model_run,
    notebooks,
    read_params,
    run_folder,
    unmet,
)
from medlab.engine.report import write_index, write_page, write_runs_index
from medlab.engine.runs import lock
from medlab.engine.stamps import (
    expected,
    made_from,
    read_stamp,
    set_outdated,
    stamp_path,
    why_stale,
    write_stamp,
)
from medlab.storage import digest, no_room


def run_many(names) -> bool:
    """Check the parameters of all runs first, then execute what is stale in each.

    Parameters
    ----------
    names : list of str
        Names of runs, folders below ``reports/``.

    Returns
    -------
    bool
        True if every notebook of every run is current at the end.

    Raises
    ------
    ValueError
        For a bad parameter file or a missing dataset, before anything has run.
    RunLocked
        If another process executes one of the runs.
    """
    plans = [(name, *plan(name, True)) for name in names]
    with terminable():
        return all([execute_run(*one) for one in plans])


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM (a scheduler, a shutdown) ends the work as Ctrl-C does, with pages and index written."""
    def interrupt(*_):
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def plan(run, judged=False) -> tuple[dict, str, set[str]]:
    """Parameters of a run and what its dataset offers.

    Parameters
    ----------
    run : str
    judged : bool
        Whether a site that is held out must be one that can be judged; not of a run that only compares its repeats.

    Returns
    -------
    (dict, str, set of str)
        Checked parameters, fingerprint of the dataset, conditions it meets.
    """
    from medlab.cohorts import datasets

    folder = run_folder(run)
    if not (folder / "params.yaml").exists():
        raise ValueError(f"reports/{run}/params.yaml does not exist; write it with at least 'dataset: NAME' "
                         "(an empty file means every default)")
    params, known = read_params(run), known_parameters()
    name, repeats = params.get("dataset", known["dataset"]), set()
    try:
        without = left_out(params.get("steps", known.get("steps", "")))
    except ValueError as error:
        raise ValueError(f"reports/{run}/params.yaml: {error}") from None
    if model_of := params.get("model_of"):
        model_run(run, model_of)
        without |= {"model"} | left_out_by_model()
    if "compare" in known:
        others = compared_runs(run, params.get("compare", known["compare"]))
        ready = [other for other in others if has_results(other)]
        repeats = {"repeats"} if len(ready) > 1 else set()
    if name:
        dataset = datasets.load(name)
        _check_design(run, known | params, dataset.cohort, judged)
        return params, datasets.fingerprint(dataset), datasets.conditions(dataset) | {"dataset"} | repeats | without
    if not repeats:
        raise ValueError(f"reports/{run}/params.yaml: dataset is empty, so this run only compares others, but fewer "
                         f"than two of those named in 'compare' have results; execute them first, or name a dataset")
    return params, "", repeats | without


def _check_design(run, used, cohort, judged):
    """Refuse a design of the validation (`split` of 02) that the cohort does not allow, before anything runs."""
    from medlab.cohorts import designs

    try:
        if used.get("split", designs.AUTO) != designs.AUTO:
            designs.check(cohort, *(used[key] for key in ("split", "test_fraction", "n_folds", "fold")), judged)
    except ValueError as error:
        raise ValueError(f"reports/{run}/params.yaml: {error}") from None


def is_current(run) -> bool:
    """Whether nothing of a run would be executed."""
    params, data, conditions = plan(run)
    part = [name for name in notebooks() if not unmet(name, conditions)]
    return not any(why_stale(name, run, params, data) or not _is_shown(name, run) for name in part)


def execute_run(run, params, data, conditions, only=None) -> bool:
    """Execute the stale notebooks of one run; stop at the first failure; write the index in any case.

    Parameters
    ----------
    run, params, data, conditions : the name, and what `plan` returns
    only : str, optional
        Need that a notebook must have to be executed now, such as ``"repeats"``; default: all notebooks.

    Returns
    -------
    bool
        True if every notebook is current at the end.
    """
    def show():
        """Index and list say what is being executed, from the first second on."""
        with suppress(OSError):
            write_index(run, params, conditions)
            write_runs_index()

    with lock(run) as descriptor:
        failed = None
        try:
            _announce(run, params, data, only)
            show()
            for name in notebooks():
                lacking = unmet(name, conditions)
                if lacking and not left_out_by_steps(lacking):
                    _withdraw(name, run)
                if lacking or (only and only not in contract(name)["needs"]):
                    continue
                if failed:
                    set_outdated(name, run, f"{failed} failed")
                    _say(run, f"{name}: not executed, {failed} failed")
                elif not _bring_up_to_date(name, run, params, data, descriptor, show):
                    failed = name
                show()
        finally:
            _settle_left_out(run, params, data, conditions)
            write_index(run, params, conditions)
            write_runs_index()
    index = _shown(run_folder(run) / "index.html")
    _say(run, f"FAILED in {failed}: {index}" if failed else f"all current: {index}")
    return not failed


def _announce(run, params, data, only):
    """Before anything runs, pages say which numbers are about to change: a kill leaves nothing that looks current and
    is not."""
    if only is None:
        for name, reason in expected(run, params, data).items():
            set_outdated(name, run, reason)


def show_by_hand(run) -> None:
    """Pages, index and list say that a notebook is executed by hand, and which numbers rest on what it changes."""
    if not (run_folder(run) / "index.html").exists():
        return
    try:
        params, data, conditions = plan(run)
    except ValueError as problem:
        return _say(run, f"index and list of runs are not brought up to date: {problem}")
    _announce(run, params, data, None)
    write_index(run, params, conditions)
    write_runs_index()


def _settle_left_out(run, params, data, conditions):
    """What the parameter steps leaves out stays, and says whether it still belongs to the rest."""
    current = expected(run, params, data)
    for name in notebooks():
        if left_out_by_steps(unmet(name, conditions)):
            set_outdated(name, run, current.get(name, ""))


def _say(run, text):
    print(f"[{run}] {text}", file=sys.stderr, flush=True)


def _shown(path):
    """Path as a person types it: relative to the current folder where that is possible."""
    with suppress(ValueError):
        return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
    return str(path)


def _bring_up_to_date(name, run, params, data, descriptor, show):
    reason = why_stale(name, run, params, data)
    stamp = read_stamp(name, run)
    if not reason:
        if not _is_shown(name, run):
            write_stamp(name, run, **{**stamp, "outdated": "", "layout": layout()})
            write_page(name, run, params, data)
        _say(run, f"{name}: current")
        return True
    _say(run, f"{name}: running ({reason})")
    started = time.time()
    write_stamp(name, run, state="running", started=started)
    write_page(name, run, params, data)
    show()
    origin = made_from(name, run, params, data)
    error = INTERRUPTED
    try:
        _put_aside(name, run)
        error = execute_notebook(name, run, effective(name, params, run), descriptor)
        lost = [item for item in set(contract(name)["writes"]) - set(contract(name)["optional"])
                if not (run_folder(run) / item).exists()]
        error = error or (f"the notebook ended without writing {', '.join(sorted(lost))}" if lost else "")
    except KeyboardInterrupt:
        _finish(name, run, params, data, INTERRUPTED, started, origin)
        raise KeyboardInterrupt(INTERRUPTED) from None
    finally:
        _put_back(name, run, failed=bool(error))
    done = _finish(name, run, params, data, error, started, origin)
    if error == INTERRUPTED:
        raise KeyboardInterrupt(INTERRUPTED)
    return done


def _is_shown(name, run):
    """Whether the page of a current notebook is there, as it was written, in today's layout, and says nothing else."""
    stamp = read_stamp(name, run)
    return not stamp.get("outdated") and stamp.get("layout") == layout() and (
        stamp.get("page") == digest(run_folder(run) / f"{name}.html"))


def _withdraw(name, run):
    """Remove what a notebook that is no longer part of the run wrote: it is about other data or other runs."""
    folder, stamp = run_folder(run), read_stamp(name, run)
    figures = [path.relative_to(folder) for path in folder.glob(f"figures/{name}-*")]
    for item in (*stamp.get("writes", {}), *((f"{name}.html", f"{name}.ipynb", *figures) if stamp else ())):
        (folder / item).unlink(missing_ok=True)
    stamp_path(name, run).unlink(missing_ok=True)


def _put_aside(name, run):
    """Optional outputs of an earlier execution make room: what the new one does not write must not stay."""
    folder = run_folder(run)
    for item in contract(name)["optional"]:
        if (folder / item).exists():
            (folder / ".earlier").mkdir(exist_ok=True)
            os.replace(folder / item, folder / ".earlier" / item)


def _put_back(name, run, failed):
    """After a failure the last good optional outputs stand again, as all others do; else they are gone."""
    folder = run_folder(run)
    for item in contract(name)["optional"]:
        earlier = folder / ".earlier" / item
        if failed and earlier.exists() and not (folder / item).exists():
            os.replace(earlier, folder / item)
        earlier.unlink(missing_ok=True)
    with suppress(OSError):  # absent, or another notebook's file is in it
        (folder / ".earlier").rmdir()


def _finish(name, run, params, data, error, started, origin):
    folder, seconds = run_folder(run), time.time() - started
    writes = {item: digest(folder / item) or "absent" for item in [*contract(name)["writes"], f"{name}.ipynb"]}
    state = "interrupted" if error == INTERRUPTED else "failed" if error else "done"
    facts = dict(started=started, seconds=round(seconds, 1), finished=time.time(), layout=layout())
    try:
        write_stamp(name, run, state=state, error=error, made_from=origin, writes=writes, **facts)
        write_page(name, run, params, data)
    except OSError as problem:  # no page, so it is not done
        error = error or without_paths(no_room(problem) or f"{problem.strerror or problem}")
        for leftover in (stamp_path(name, run), folder / f"{name}.html"):
            leftover.unlink(missing_ok=True)
        with suppress(OSError):
            write_stamp(name, run, state="failed", error=error, **facts)
    outcome = f"done in {seconds:.0f} s" if not error else f"{error} after {seconds:.0f} s" + (
        f"; resumes with: medlab run {run}") if error == INTERRUPTED else f"FAILED after {seconds:.0f} s\n{error}"
    _say(run, f"{name}: {outcome}")
    return not error
