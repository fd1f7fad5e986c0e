"""Two runs, `repeat --jobs 2` and notebooks by hand at once on the same datasets: as one after another?

    python tests/benchmarks/at_once.py

01 and 02 of two runs on one image dataset (one cache of prepared images) and 01 of a third run by papermill alone; the
two repeats of a run on one table dataset with 01 to 05 and their comparison; and the run that is being executed once
more by `medlab run` and by papermill, which must be refused with a word.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import disturbed
import numpy as np
import pandas as pd
from chain import workplace

from medlab import notebooks_dir
from medlab.engine import stamps

IMAGES = f'{disturbed.TINY}steps: "1-2"\n'
TABLE = 'dataset: table\nsurvival_bootstrap: 100\nforest_trees: 10\ncompare_bootstrap: 100\nsteps: "1-5"\n'
FIRST = "01_data_exploration"


def prepare(base):
    """Two datasets and the parameters of the runs below a folder."""
    (base / "data" / "table").mkdir(parents=True)
    disturbed.must(disturbed.medlab(base, "import", "synthetic:thorax", "thorax", "--patients", 40))
    random, rows = np.random.default_rng(3), []
    for i in range(70):
        age = random.normal(60, 10)
        days = 2000 * random.exponential() / np.exp(0.06 * (age - 60))
        rows.append({"patient_id": f"p{i:02d}", "time_days": int(min(days, 1500)) + 1, "event": days < 1500,
                     "age_years": round(age, 1), "site": "ab"[i % 2]})
    pd.DataFrame(rows).to_csv(base / "data" / "table" / "cohort.csv", index=False)
    (base / "data" / "table" / "card.yaml").write_text("title: Made up\npatients: known\nsynthetic: true\n")
    for run, text in {"one": IMAGES, "two": IMAGES, "table": TABLE}.items():
        (base / "reports" / run).mkdir(parents=True)
        (base / "reports" / run / "params.yaml").write_text(text)


def start(base, *words):
    return subprocess.Popen([sys.executable, "-m", *map(str, words)], env=disturbed.environment(base), text=True,
                            cwd=notebooks_dir(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def by_hand(base, run):
    """01 by papermill alone, as a person executes it."""
    words = f"-p run {run} -p gallery_size 2 --no-progress-bar".split()
    return ["papermill", f"{FIRST}.ipynb", base / f"{run}.ipynb", *words]


def commands(base):
    repeat = ["medlab", "repeat", "table", "--seeds", 2, "--jobs", 2]
    return [["medlab", "run", "one"], ["medlab", "run", "two"], repeat, by_hand(base, "hand")]


def by_order(base, good, run, name):
    """Whether all that differs is how often the test part was opened before: runs at once open it in either order."""
    if not name.endswith(".json"):
        return False
    one, two = (disturbed.content(folder / "reports" / run / name) for folder in (base, good))
    if name.endswith(".answer.json"):
        one, two = (value | {"warnings": [said for said in value.get("warnings", []) if "was opened for" not in said]}
                    for value in (one, two))
    return {key: value for key, value in one.items() if key != "test_openings"} == {
        key: value for key, value in two.items() if key != "test_openings"}


def until_running(base, run, process):
    os.environ |= {key: value for key, value in disturbed.environment(base).items() if key.startswith("MEDLAB_")}
    while not stamps.is_held(run) and process.poll() is None:
        time.sleep(0.05)


def main():
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    with workplace() as place:
        after, once = (Path(place).resolve() / name for name in ("after", "once"))
        prepare(after), prepare(once)
        for words in commands(after):
            process = start(after, *words)
            said = process.communicate()[0]
            if process.returncode:
                raise SystemExit(f"{words}: {said[-2000:]}")
        running = [start(once, *words) for words in commands(once)]
        until_running(once, "one", running[0])
        refused = [start(once, *words) for words in (["medlab", "run", "one"], by_hand(once, "one"))]
        print("| at once | what happened |\n|---|---|")
        wrong = 0
        for words, process in zip(["medlab run one", f"papermill {FIRST}, run one"], refused, strict=True):
            said = process.communicate()[0]
            word = "run 'one' is being executed by process" in said
            wrong += not (word and process.returncode)
            print(f"| {words}, a second time | {'refused: being executed by process N' if word else said[-300:]} |")
        codes = [(process.communicate()[0][-500:], process.returncode) for process in running]
        for words, (said, code) in zip(commands(once), codes, strict=True):
            named = " ".join(str(word) for word in words if "/" not in str(word))
            print(f"| {named} | {'to its end' if code == 0 else said} |")
            wrong += bool(code)
        for run in ("one", "two", "hand", "table-s0", "table-s1", "table"):
            differing = [name for name in disturbed.differences(once, after, run)
                         if not by_order(once, after, run, name)]
            print(f"| outputs of {run} | {', '.join(differing) or 'equal to those made one after another'} |")
            wrong += len(differing)
        same = disturbed.ledger(once) == disturbed.ledger(after)
        print(f"| ledger of openings, {len(disturbed.ledger(once))} lines | {'equal' if same else 'DIFFERS'} |")
        idle = disturbed.medlab(once, "run", "one", "two", "table-s0", "table-s1")
        idle_word = "nothing executed" if "running (" not in idle.stderr and not idle.returncode else idle.stderr[-300:]
        print(f"| medlab run one two table-s0 table-s1, once more | {idle_word} |")
        sys.exit(bool(wrong) or not same or idle_word != "nothing executed")


if __name__ == "__main__":
    main()
