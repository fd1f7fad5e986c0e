"""What the benchmarks of kills, full disks and runs at once share: a tiny run, and when two runs are equal."""

import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from medlab.engine import parameters, report, stamps
from medlab.storage import read_if_sound

RUN, OTHERS = "tiny", ("tiny-s0", "tiny-s1")
TINY = ("epochs: 2\nnetwork: simple\nsanity_gate: false\nimage_size: 48\nn_bootstrap: 100\nsurvival_bootstrap: 100\n"
        "forest_trees: 10\nsegmentation_epochs: 2\nsegmentation_depth: 2\nsegmentation_bootstrap: 100\n"
        "detection_epochs: 2\ndetection_depth: 1\ndetection_width: 8\ndetection_bootstrap: 100\nanalysis_stability: 5\n"
        "analysis_sample: 4\ncompare_bootstrap: 100\ngallery_size: 2\nn_worst: 3\n")
# what differs in every execution
TIMES = {"seconds", "seconds_total", "images_per_second", "images per second", "resumed", "time", "finished", "started"}


def environment(base):
    """Environment of a command whose datasets and runs are below a folder."""
    single = {name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}
    return os.environ | single | {"MEDLAB_DATA": str(base / "data"), "MEDLAB_REPORTS": str(base / "reports")}


def medlab(base, *words, **options):
    """The command, without a word on the screen."""
    return subprocess.run([sys.executable, "-m", "medlab", *map(str, words)], env=environment(base), text=True,
                          capture_output=True, **options)


def prepare(base):
    """Dataset and the undisturbed run 01 to 08 below a folder, then 13 of it and of two copies of it; what is there is
    taken as it is.

    Returns
    -------
    dict, seconds of each notebook.
    """
    (base / "data").mkdir(parents=True, exist_ok=True)
    if not (base / "data" / "thorax").exists():
        must(medlab(base, "import", "synthetic:thorax", "thorax", "--patients", 40))
    run = base / "reports" / RUN
    run.mkdir(parents=True, exist_ok=True)
    (run / "params.yaml").write_text(TINY)
    must(medlab(base, "run", RUN))
    for name in (name for name in OTHERS if not run.with_name(name).exists()):
        shutil.copytree(run, run.with_name(name))
        (run.with_name(name) / "params.yaml").write_text(f"{TINY}seed: {name[-1]}\n")
    must(medlab(base, "run", RUN))
    return {path.stem: json.loads(path.read_text())["seconds"] for path in sorted((run / ".stamps").glob("*.json"))}


def made_by(folder, name):
    """Files that a notebook leaves in its run folder."""
    items = [folder / item for item in parameters.contract(name)["writes"]]
    found = [*items, *folder.glob(f"{name[:2]}_*"), folder / ".stamps" / f"{name}.json"]
    return [path for path in found if path.exists()]


def size(paths):
    return sum(inner.stat().st_size for path in paths for inner in (path.rglob("*") if path.is_dir() else [path]))


def afresh(base, source, first="01", last="13"):
    """A workplace with all of another but what notebooks of the run from `first` on made; it will end with `last`.

    Returns
    -------
    int, bytes of what the first one made.
    """
    for part in ("data", "reports"):
        shutil.copytree(source / part, base / part, ignore=shutil.ignore_patterns(".cache"), dirs_exist_ok=True)
    folder, need = base / "reports" / RUN, 0
    (folder / "params.yaml").write_text(f'{TINY}steps: "1-{last}"\n')
    (folder / "index.html").unlink(missing_ok=True)
    later = [name for name in parameters.notebooks() if name[:2] >= first]
    for name in later:
        paths = made_by(folder, name)
        need = need or size(paths)
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (base / "reports" / ".openings").glob("*.jsonl"):
        lines = [line for line in path.read_text().splitlines(True) if json.loads(line)["notebook"] < first]
        path.write_text("".join(lines))
    return need


def must(done):
    """Stop the benchmark where a command failed that must not."""
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def content(path):
    """What a file says, without the times of its making: arrays, tables or parsed JSON."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            found = {}
            file.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
            return found
    readers = {".npy": np.load, ".parquet": pd.read_parquet, ".csv": pd.read_csv, ".xlsx": pd.read_excel,
               ".json": lambda p: json.loads(p.read_text()), ".zip": members}
    return _timeless(readers[path.suffix](path))


def members(path):
    """Unpacked bytes of each file of an archive."""
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    return {name: gzip.decompress(text) if name.endswith(".gz") else text for name, text in found.items()}


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in TIMES}
    return value.drop(columns=list(TIMES & set(value.columns))) if isinstance(value, pd.DataFrame) else value


def is_equal(one, two):
    """Whether two contents are the same to the last bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(is_equal(one[key], two[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
    return one.equals(two) if isinstance(one, pd.DataFrame) else one == two


def differences(base, good, run=RUN, name=None):
    """Files that a run (one notebook of it) writes and that are not as in the undisturbed run."""
    names = [name] if name else parameters.notebooks()
    wanted = [item for one in names for item in parameters.contract(one)["writes"]]
    here, there = base / "reports" / run, good / "reports" / run
    found = [item for item in wanted if (there / item).exists() != (here / item).exists()]
    return found + [item for item in wanted if (there / item).exists() and (here / item).exists()
                    and not is_equal(content(here / item), content(there / item))]


def ledger(base):
    """The openings of all test parts, without their times."""
    files = (base / "reports" / ".openings").glob("*.jsonl")
    lines = [line for path in files for line in path.read_text().splitlines()]
    return sorted(json.dumps(_timeless(json.loads(line)), sort_keys=True) for line in lines)


def untrue(base, good, run=RUN):
    """What stamps, pages and index of a run say and is not so; an empty list is right."""
    os.environ |= {key: value for key, value in environment(base).items() if key.startswith("MEDLAB_")}
    folder, wrong = base / "reports" / run, []
    index = (folder / "index.html").read_text() if (folder / "index.html").exists() else ""
    rows = re.findall(r'(\d\d) [^<]*(?:</a>)?</td>\s*<td><b class="badge[^>]*>([^<]*)</b>', index)
    for name in parameters.notebooks():
        state = report.describe(name, run)[0]
        if state == "running":
            wrong.append(f"{name} is said to run")
        lost = differences(base, good, run, name) if state == "done" else []
        wrong += [f"{name} is said to be done, but {item} differs" for item in lost]
        page = folder / f"{name}.html"
        said = re.search(r'<b class="badge">(\w+)', page.read_text()) if page.exists() else None
        claims = {"page": said and said[1], "index": dict(rows).get(name[:2])}
        wrong += [f"the {where} of {name} says done, it is {state}" for where, what in claims.items()
                  if what == "done" and state != "done"]
    return wrong


def tree(pid):
    """A process and all that descend from it."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def kill_all(pid):
    """SIGKILL for a process and all that descend from it at once: what a power failure does."""
    for one in tree(pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until_free(base, run=RUN, seconds=60):
    """Wait until no process holds the run."""
    os.environ |= {key: value for key, value in environment(base).items() if key.startswith("MEDLAB_")}
    for _ in range(seconds * 10):
        if not stamps.is_held(run):
            return True
        time.sleep(0.1)
    return False


def stamp(base, name, run=RUN):
    """Stamp of a notebook, or an empty dict."""
    return read_if_sound(base / "reports" / run / ".stamps" / f"{name}.json")
