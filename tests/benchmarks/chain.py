"""What the benchmarks share: where the real data are, a folder to work in, the command with its seconds."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

DATASETS = Path(os.environ.get("MEDLAB_REALDATA", Path(__file__).parents[3] / "shared" / "datasets"))


@contextlib.contextmanager
def workplace(keep=None):
    """Folder of datasets and runs, for this process and its children: `keep`, or one that is removed afterwards."""
    with contextlib.nullcontext(keep) if keep else tempfile.TemporaryDirectory() as name:
        for part in ("data", "reports"):
            os.environ[f"MEDLAB_{part.upper()}"] = str(Path(name) / part)
        yield Path(name)


def medlab(*words):
    """The command, with wall and CPU seconds of it and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "medlab", *map(str, words)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def run(name, parameters):
    """One run; its metrics.json with wall and CPU seconds."""
    folder = Path(os.environ["MEDLAB_REPORTS"]) / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    wall, cpu = medlab("run", name)
    return json.loads((folder / "metrics.json").read_text()) | {"wall": wall, "cpu": cpu}
