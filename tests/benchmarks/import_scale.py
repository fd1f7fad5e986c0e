"""How import grows: CPU seconds and peak memory for more images and more rows; linear, and below 1 GiB.

Usage: python tests/benchmarks/import_scale.py [images=1000,10000] [rows=100000,1000000]

Each import runs in a process of its own. Printed: CPU seconds, seconds per item, peak resident memory, and the ratio of
seconds per item of the largest to the smallest: 1 is linear.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PROGRAM = """
import json, resource, sys
from medlab.intake import importers
source, options = sys.argv[1], json.loads(sys.argv[2])
data = importers.import_source(source, "scale", yes=True, overwrite=True, **options)
used = resource.getrusage(resource.RUSAGE_SELF)
print("\\nUSED", len(data.cohort), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def images(folder, n):
    """A folder per class of n small PNG, all different."""
    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / ("ill" if i % 3 else "well") / f"P{i // 2:06d}_{i % 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(path, compress_level=1)
    return folder, {"patient_pattern": "(?P<patient_id>P[0-9]+)_"}


def rows(folder, n):
    """A table of n patients with numbers, a category and follow-up."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    age, days, event = rng.integers(30, 90, n), rng.integers(1, 4000, n), rng.integers(0, 2, n)
    marker, stage = rng.normal(5, 1, n).round(3), rng.choice(["I", "II", "III"], n)
    with open(folder / "t.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "age_years", "marker", "stage", "time", "event"])
        table.writerows((f"K{i:07d}", *values) for i, values in enumerate(zip(age, marker, stage, days, event,
                                                                             strict=True)))
    return folder / "t.csv", {"key": "id", "time": "time", "event": "event"}


def measure(make, n) -> tuple[float, float]:
    """CPU seconds and peak MiB of one import of n items."""
    with tempfile.TemporaryDirectory() as folder:
        source, options = make(Path(folder) / "source", n)
        (Path(folder) / "data").mkdir()
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(source), json.dumps(options)], text=True,
                              capture_output=True, env={**os.environ, "MEDLAB_DATA": f"{folder}/data"})
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        count, seconds, memory = done.stdout.rpartition("USED")[2].split()
        assert int(count) == n, f"{count} of {n} taken"
        return float(seconds), float(memory)


def main(words):
    sizes = {"images": [1000, 10_000], "rows": [100_000, 1_000_000]}
    sizes |= {k: [int(n) for n in v.split(",")] for k, v in (w.split("=") for w in words)}
    for name, make in (("images", images), ("rows", rows)):
        found, started = [], measure(make, 4)[0]  # what the imports of libraries take
        for n in sizes[name]:
            seconds, memory = measure(make, n)
            found.append(max(seconds - started, 1e-9) / n)
            print(f"{n:9d} {name}: {seconds:7.1f} s CPU, {found[-1] * 1000:.3f} ms each, peak {memory:6.0f} MiB",
                  flush=True)
        if len(found) > 1:
            print(f"          {name}: {found[-1] / found[0]:.2f} times the seconds per item", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
