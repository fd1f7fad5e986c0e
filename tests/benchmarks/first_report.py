"""What `make report` does after installation, in empty folders: first, second, and after one changed parameter.

    python tests/benchmarks/first_report.py

Wanted on 2 cores: the first at most 5 minutes, the second under 10 seconds and nothing executed, after a change of
`epochs` only 03 and what follows.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from chain import workplace

PARAMS = (Path(__file__).parents[2] / "reports" / "demo" / "params.yaml").read_text(encoding="utf-8")


def medlab(*words):
    """Seconds of the command, and the notebooks it executed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "medlab", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return time.perf_counter() - start, re.findall(r"(\d\d)_\w+: running", done.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", help="empty folder for data/ and reports/, not removed at the end")
    keep = parser.parse_args().keep
    with workplace(keep) as base:
        params = base / "reports" / "demo" / "params.yaml"
        params.parent.mkdir(parents=True)
        params.write_text(PARAMS)
        cohort, _ = medlab("import", "synthetic:thorax", "thorax", "--patients", "600", "--seed", "0")
        first, ran = medlab("run", "demo")
        print(f"first: {cohort + first:.0f} s (cohort {cohort:.0f} s), executed {' '.join(ran)}")
        second, ran = medlab("run", "demo")
        print(f"second: {second:.1f} s, executed {' '.join(ran) or 'nothing'}")
        params.write_text(PARAMS.replace("epochs: 18", "epochs: 19"))
        changed, ran = medlab("run", "demo")
        print(f"after epochs: 19: {changed:.0f} s, executed {' '.join(ran)}")


if __name__ == "__main__":
    main()
