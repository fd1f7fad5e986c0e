"""A large table read with types: seconds of the processor and peak memory, for 100,000 and 1,000,000 rows.

    python tests/benchmarks/tables.py

Wanted: linear, under 1 GiB and about a minute for 1,000,000 rows of 10 columns.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.intake import tables


def write(path, n):
    """Ids, times, numbers with odd cells, codes and words."""
    r = np.random.default_rng(0)
    table = pd.DataFrame({
        "pid": [f"P{i:07d}" for i in range(n)], "time": r.integers(1, 4000, n), "event": r.integers(0, 2, n),
        "age": r.integers(20, 90, n).astype(str), "psa": r.lognormal(1, 1, n).round(3).astype(str),
        "ldh": r.normal(200, 30, n).round(1), "sex": r.choice(["m", "f"], n), "stage": r.choice(["I", "II", "?"], n),
        "crp": r.normal(5, 2, n), "bmi": r.normal(25, 3, n).round(2)})
    table.loc[::97, "psa"], table.loc[::1000, "age"] = "<0.1", "?"
    table.to_csv(path, index=False)


def main():
    if len(sys.argv) > 1:
        tables.read_table(sys.argv[1], "pid", exact={"time"}, verbatim={"event"})
        return print(f"{time.process_time():.1f} s of the processor, peak "
                     f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        for n in (100_000, 1_000_000):
            write(Path(folder) / "t.csv", n)
            print(f"{n} rows:", end=" ", flush=True)
            subprocess.run([sys.executable, __file__, f"{folder}/t.csv"], check=True)


if __name__ == "__main__":
    main()
