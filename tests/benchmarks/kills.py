"""Kills at random moments of one run of 01 to 08 and 13, then the run to its end: is everything as without them?

    python tests/benchmarks/kills.py --keep FOLDER
    python tests/benchmarks/kills.py --keep FOLDER --first 05 --kills 16 --seed 1

The second command takes 01 to 04 from the undisturbed run and kills from 05 on; --last ends a run sooner. Each moment
is drawn with a seed: within a notebook (a share of the seconds it takes undisturbed), at its start (stamp, page,
kernel), or after its last cell (executed notebook, stamp, page, index). A kill is SIGKILL for the process group of
`medlab run` (the kernel notices by itself), SIGKILL for it and all it started at once, SIGTERM or SIGINT. After each
one stamps, pages, index and every output that is said to be done are compared with the undisturbed run.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import disturbed
from chain import workplace
from disturbed import RUN

HOW = {"SIGKILL, group": 10, "SIGKILL, all": 8, "SIGTERM": 6, "SIGINT": 6}
PHASES = {"within": 3, "at the start": 1, "after the last cell": 1}


def draw(seconds, n, seed):
    """Moments in the order of the run: notebook, phase, seconds after the phase began, signal."""
    chance = random.Random(seed)
    names = (list(seconds) * n)[:n]  # every notebook about as often
    hows = [*HOW] + chance.choices([*HOW], [*HOW.values()], k=n - len(HOW))
    chance.shuffle(hows)
    found = []
    for name, how in zip(names, hows, strict=True):
        phase = chance.choices([*PHASES], [*PHASES.values()])[0]
        after = chance.random() * (seconds[name] if phase == "within" else 1.5)
        found.append((name, phase, after, how))
    order = ["at the start", "within", "after the last cell"]
    return sorted(found, key=lambda one: (one[0], order.index(one[1]), one[2]))


class Run:
    """A process of `medlab run` that is watched through what it says and writes."""

    def __init__(self, base, log):
        self.base, self.log, self.began = base, log, {}
        with open(log, "w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "medlab", "run", RUN], stdout=stream, stderr=stream, start_new_session=True,
                env=disturbed.environment(base), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.kept = self._kept()

    def _kept(self):
        folder = self.base / "reports" / RUN
        return {path.stem: path.stat().st_mtime_ns for path in folder.glob("[0-9][0-9]_*.ipynb")}

    def said(self):
        return self.log.read_text(errors="replace")

    def look(self):
        """Note when each notebook began and when its executed notebook appeared."""
        for name in re.findall(r"(\w+): running \(", self.said()):
            self.began.setdefault((name, "within"), time.time())
        for name, at in self._kept().items():
            if self.kept.get(name) != at:
                self.began.setdefault((name, "after the last cell"), time.time())

    def reached(self, name, phase, after):
        """Whether a moment is there, or has gone by: the notebook has ended sooner than it does undisturbed."""
        since = self.began.get((name, "within" if phase == "at the start" else phase))
        gone = re.search(rf"{name}: (done|current)", self.said())
        return bool(gone) or (since is not None and time.time() - since >= after)

    def where(self):
        """Notebook and moment in words, as it really was."""
        self.look()
        names = [name for name, phase in self.began if phase == "within"]
        if not names:
            return "", "before any notebook"
        name = names[-1]
        if f"{name}: done" in self.said():
            return name, "done; before the next notebook"
        if (name, "after the last cell") in self.began:
            since = time.time() - self.began[name, "after the last cell"]
            return name, f"{since:.2f} s after the last cell"
        return name, f"{time.time() - self.began[name, 'within']:.1f} s after its start"

    def end(self, how):
        pid = self.process.pid
        if how == "SIGKILL, all":
            disturbed.kill_all(pid)
        else:
            os.killpg(pid, getattr(signal, how.split(",")[0]))
        return self.process.wait(120)


def kill(run, how):
    """End a run; what that left, as a row of the table."""
    notebook, moment = run.where()
    code = run.end(how)
    free = disturbed.until_free(run.base)
    text, wrong = run.said(), [] if free else ["the run is held for a minute after the kill"]
    if how in ("SIGTERM", "SIGINT"):
        wrong += [f"exit code {code}"] if code != 130 else []
        lines = [line for line in text.splitlines() if "interrupted" in line]
        wrong += ["no word of it"] if not lines else []
    return {"notebook": notebook, "moment": moment, "how": how, "wrong": wrong, "text": text}


def improper(text):
    """Lines that no run may say, killed or not."""
    return [f"says {word}" for word in ("Traceback", "KeyboardInterrupt caught in kernel", "Errno") if word in text]


def disturb(base, good, moments):
    """One run, killed at every moment and started again; a row for each kill."""
    rows, waiting, started = [], list(moments), Counter()
    while True:
        run = Run(base, base / f"log{len(rows):02d}.txt")
        while run.process.poll() is None and not (waiting and run.reached(*waiting[0][:3])):
            run.look()
            time.sleep(0.02)
        alive = run.process.poll() is None
        row = kill(run, waiting.pop(0)[3]) if alive else None
        executed = re.findall(r"(\w+): running \(", run.said())
        if rows:
            again = [f"{name[:2]}" for name in executed if started[name]]
            rows[-1]["again"] = ", ".join(again) or "nothing"
            resumed = re.search(r"resumed after epoch \d+|trained before, to epoch \d+", run.said())
            rows[-1]["again"] += f" ({resumed[0]})" if resumed and again else ""
        started.update(executed)
        if not alive:
            if run.process.returncode:
                raise SystemExit(f"the run failed:\n{run.said()[-3000:]}")
            return rows, improper(run.said()) + (["kills were left over"] if waiting else [])
        row["wrong"] += improper(row.pop("text")) + disturbed.untrue(base, good)
        rows.append(row)
        print(f"{len(rows):2d} {row['notebook'][:2]} {row['moment']}: {row['how']} {row['wrong'] or ''}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", help="folder that is kept; an undisturbed run in it is taken as it is")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", default="01", help="number of the first notebook that is killed")
    parser.add_argument("--last", default="13", help="number of the last one, with which the run ends")
    given = parser.parse_args()
    with workplace(given.keep) as place:
        good, base = (Path(place).resolve() / part for part in ("undisturbed", f"killed{given.first}"))
        seconds = disturbed.prepare(good)
        shutil.rmtree(base, ignore_errors=True)
        disturbed.afresh(base, good, given.first, given.last)
        part = {name: value for name, value in seconds.items() if given.first <= name[:2] <= given.last}
        rows, wrong = disturb(base, good, draw(part, given.kills, given.seed))
        print("\n| | notebook | moment | signal | executed again | right in between | equal at the end |")
        print("|---|---|---|---|---|---|---|")
        for i, row in enumerate(rows, 1):
            differing = disturbed.differences(base, good, name=row["notebook"] or None)
            print(f"| {i} | {row['notebook'][:2]} | {row['moment']} | {row['how']} | {row['again']} | "
                  f"{'; '.join(row['wrong']) or 'yes'} | {', '.join(differing) or 'yes'} |")
        wrong += disturbed.untrue(base, good) + [item for name in part for item in disturbed.differences(
            base, good, name=name)]
        wanted = [line for line in disturbed.ledger(good) if json.loads(line)["notebook"][:2] <= given.last]
        wrong += [] if disturbed.ledger(base) == wanted else ["the ledger of openings differs"]
        wrong += [one for row in rows for one in row["wrong"]]
        files = sum(len(disturbed.parameters.contract(name)["writes"]) for name in part)
        print(f"\n{len(rows)} kills, {files} outputs of {len(part)} notebooks; wrong: "
              f"{'; '.join(wrong) or 'nothing'}")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
