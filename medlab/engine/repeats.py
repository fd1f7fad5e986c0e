"""The same run repeated over folds and seeds: run folders ``NAME-f0-s0``, ``NAME-f0-s1``, ... and nothing else.

Each repeat is a run like any other, with a ``params.yaml`` of its own, so that it can be executed by `medlab run`,
by Snakemake or on a cluster; what is current is skipped here whoever executed it.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from medlab.engine import execute as engine
from medlab.engine.parameters import check_parameters, has_results, known_parameters, read_params, run_folder
from medlab.engine.runs import progress
from medlab.storage import write_text

MARK = "# made by 'medlab repeat {run}' from reports/{run}/params.yaml; change that file instead of this one"


def repeat(run, folds=0, seeds=1, jobs=1, only_write=False) -> bool:
    """Make the repeats of a run, execute what is stale in them, then compare them (notebook 13 of the run).

    Parameters
    ----------
    run : str
        The run that is repeated; it need not have been executed itself.
    folds : int
        Folds of the cross-validation, the same patients in a fold for every seed; 0: the run's own split. Of a run
        with ``split: site:COLUMN`` the folds are its sites, and `folds` stays 0.
    seeds : int
        Initialisations: seeds 0 to seeds - 1.
    jobs : int
        Repeats executed at once.
    only_write : bool
        Make the run folders and stop, for Snakemake.

    Returns
    -------
    bool
        True if every repeat and the comparison are current at the end. A repeat that fails does not stop the others.

    Raises
    ------
    ValueError
        For an unknown run, impossible numbers, or a repeat whose params.yaml a person wrote differently.
    """
    if not (run_folder(run) / "params.yaml").exists():
        raise ValueError(f"reports/{run}/params.yaml does not exist; write it first with at least 'dataset: NAME'")
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: expected 1 or more")
    engine.plan(run)  # the dataset is there
    wanted = children(run, read_params(run), folds, seeds)
    write(run, wanted)
    if only_write:
        targets = " ".join(f"reports/{child}/index.html" for child in wanted)
        progress(f"{len(wanted)} run folders are ready:\n  snakemake -c{jobs} {targets}")
        return True
    bad = execute(list(wanted), jobs)
    return _compare(run, wanted) and not bad


def children(run, params, folds, seeds) -> dict[str, dict]:
    """Parameters of all repeats of a run.

    Parameters
    ----------
    run : str
    params : dict, what the run's own params.yaml sets
    folds, seeds : int

    Returns
    -------
    dict name -> parameters that differ from the defaults. ``split_seed`` is fixed, so that a fold holds the same
    patients for every seed; with folds = 0 all repeats have the split of the run, or one site each held out.
    """
    sites = _sites(run, params, folds)
    if folds < 0 or folds == 1:
        raise ValueError(f"--folds {folds}: expected 2 or more, or 0 for the one split of the run")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: expected 1 or more")
    if max(folds, len(sites), 1) * seeds < 2:
        raise ValueError("one fold and one seed are the run itself: give --folds 5, --seeds 3 or both")
    known, found = known_parameters(), {}
    base = {key: value for key, value in params.items() if not key.startswith("compare")}
    split_seed = params.get("split_seed", -1)
    base["split_seed"] = split_seed if split_seed >= 0 else params.get("seed", known.get("seed", 0))
    for fold in sites or range(max(folds, 1)):
        for seed in range(seeds):
            name = f"{run}-f{fold}-s{seed}" if folds or sites else f"{run}-s{seed}"
            held_out = {"n_folds": folds, "fold": fold} if folds else {"fold": fold} if sites else {}
            own = base | {"seed": seed} | held_out
            own = check_parameters(own, f"repeats of {run}")
            found[name] = {key: value for key, value in own.items() if value != known[key]}
    return found


def _sites(run, params, folds):
    """Numbers of the sites that are held out, one a repeat, where the run splits by site; what is left out is said.

    Raises
    ------
    ValueError
        Where fewer than two sites can be a test part, with the reasons, and for folds beside a design.
    """
    from medlab.cohorts import datasets, designs

    kind, column = designs.read(params.get("split", designs.AUTO))
    if folds and kind != designs.AUTO:
        raise ValueError(f"--folds {folds}: in {run} 'split: {params['split']}' says who is tested; leave --folds out")
    if kind != designs.SITE:
        return []
    cohort = datasets.load(params.get("dataset", known_parameters()["dataset"])).cohort
    names, refused = designs.site_names(cohort, column), designs.not_judged(cohort, column)
    said = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    if len(names) - len(refused) < 2:
        raise ValueError(f"reports/{run}/params.yaml: split: site:{column}: fewer than two sites can be the test part "
                         f"({said}); join sites in a column of cohort.csv, or use --folds")
    if refused:
        progress(f"never held out, always learnt from: {said}")
    return [number for number, name in enumerate(names) if name not in refused]


def write(run, wanted) -> None:
    """Write the params.yaml of all repeats, or, if a person wrote one of them differently, none.

    Parameters
    ----------
    run : str
    wanted : dict name -> parameters, from `children`
    """
    import yaml

    refused = []
    for name, params in wanted.items():
        found = read_params(name)
        different = _differences(found, params)
        if (run_folder(name) / "params.yaml").exists() and different and not _ours(name):
            refused.append(f"reports/{name}/params.yaml: {different}")
    if refused:
        raise ValueError("written by hand and different from what would be repeated; nothing was changed. Make it "
                         f"equal to reports/{run}/params.yaml or remove it:\n  " + "\n  ".join(refused))
    for name, params in wanted.items():
        path = run_folder(name) / "params.yaml"
        if not path.exists() or _differences(read_params(name), params):
            path.parent.mkdir(parents=True, exist_ok=True)
            body = yaml.safe_dump(params, sort_keys=False, allow_unicode=True) if params else ""
            write_text(path, f"{MARK.format(run=run)} [{_short(body)}]\n{body}")


def _differences(found, wanted):
    """What two sets of parameters set differently, as text; a default that is written out is no difference."""
    found, wanted = known_parameters() | found, known_parameters() | wanted
    keys = [key for key in wanted if found[key] != wanted[key]]
    return ", ".join(f"{key} is {found[key]!r}, would be {wanted[key]!r}" for key in keys)


def _short(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _ours(name):
    """Whether a params.yaml is still as `write` left it."""
    first, _, body = (run_folder(name) / "params.yaml").read_text(encoding="utf-8").partition("\n")
    said = re.search(r"^# made by 'medlab repeat .*\[(\w+)\]$", first)
    return bool(said) and said[1] == _short(body)


def execute(names, jobs=1) -> list[str]:
    """Execute runs, each in a process of its own; what is current is skipped, a failure stops no other.

    Parameters
    ----------
    names : list of str; jobs : int, runs at once

    Returns
    -------
    list of str, the runs that failed.
    """
    stale = [name for name in names if not engine.is_current(name)]
    progress(f"{len(names)} repeats, {len(names) - len(stale)} of them current"
             + (f"; executing {len(stale)}, {jobs} at a time" if stale else ""))
    started, done, failed = time.time(), [], []

    def one(name):
        reason = _execute_one(name)
        done.append(name)
        failed.extend([name] if reason else [])
        left = (time.time() - started) / len(done) * (len(stale) - len(done))
        rest = f"; {len(stale) - len(done)} left, about {_duration(left)}" if len(done) < len(stale) else ""
        progress(f"[{len(done)}/{len(stale)}] {name}: {'FAILED, ' + reason if reason else 'done'}{rest}")

    pool = ThreadPoolExecutor(jobs)
    try:
        with engine.terminable():
            list(pool.map(one, stale))
    finally:  # what waits is not started, what runs ends as after Ctrl-C
        for process in list(_running):
            process.terminate()
        pool.shutdown(cancel_futures=True)
    if failed:
        progress(f"{len(failed)} of {len(names)} repeats FAILED: "
                 + ", ".join(f"reports/{name}/index.html" for name in failed))
    return failed


_running = set()
ENDED = re.compile(r"^\[.+\] \d\d_\w+: (done|FAILED|interrupted)")  # the line of a notebook that has come to its end


def _execute_one(name):
    """Execute one run; why it failed, or an empty text. Its own progress goes to ``repeat.log`` in its folder."""
    log = run_folder(name) / "repeat.log"
    environment = {key: value for key, value in os.environ.items() if key != "MEDLAB_RUN"}
    with open(log, "w", encoding="utf-8") as stream:
        with subprocess.Popen([sys.executable, "-m", "medlab", "run", name], stdout=subprocess.PIPE, env=environment,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as process:
            _running.add(process)
            for line in process.stdout:
                stream.write(line)
                stream.flush()
                if ENDED.search(line):
                    progress(line.rstrip())
            process.wait()
            _running.discard(process)
    if process.returncode == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    at = next((i for i, line in enumerate(lines) if ": FAILED after" in line), len(lines) - 1)
    return " ".join(lines[at:at + 2])[:300] if lines else f"exit code {process.returncode}"


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else \
        f"{seconds / 3600:.1f} h"


def _compare(run, wanted):
    """Execute the comparison of the repeats; only that: the run itself is left as it is."""
    ready = [name for name in wanted if has_results(name)]
    if len(ready) < 2:
        progress(f"{len(ready)} of {len(wanted)} repeats have results: nothing to compare")
        return False
    return engine.execute_run(run, *engine.plan(run), only="repeats")
