"""A disk that is full at ten points of a run, then enlarged and run again: what is said, what is left, is it equal?

    sudo python tests/benchmarks/full_disk.py --keep FOLDER

The reports lie on a tmpfs of their own (mount must be allowed). Up to the notebook that meets the full disk everything
is there already; it gets a share of the room that it takes.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import disturbed
from chain import workplace
from disturbed import RUN

from medlab.engine import parameters, report

POINTS = (("01", 0.6), ("02", 0.5), ("03", 0.35), ("04", 0.1), ("05", 0.5), ("06", 0.2), ("08", 0.05), ("13", 0.4))


def mount(folder, *options):
    subprocess.run(["mount", *options, folder], check=True)


def free(folder, room):
    """Leave so many bytes free on the file system of a folder."""
    facts = os.statvfs(folder)
    used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
    mount(folder, "-o", f"remount,size={used + int(room) // 4096 * 4096}")


def said(text):
    """The last words of a command about the disk, as a person reads them."""
    lines = [line for line in re.split(r"[\r\n]+", text) if re.search("room|space|quota", line)]
    return " / ".join(dict.fromkeys(lines))[:260].replace("|", "/") or f"NOTHING: {text[-200:]!r}"


def judge(done):
    """What is wrong with how a command ended that met a full disk."""
    wrong = [] if done.returncode in (1, 2) else [f"exit code {done.returncode}"]
    wrong += ["a traceback"] if "Traceback" in done.stderr else []
    return wrong + (["no word of the disk"] if said(done.stderr).startswith("NOTHING") else [])


def meet(good, small, number, share):
    """One notebook meets the full disk; its row of the table."""
    need = disturbed.afresh(small, good, number, number)
    name = next(name for name in parameters.notebooks() if name.startswith(number))
    free(small / "reports", share * need)
    done = disturbed.medlab(small, "run", RUN)
    wrong = judge(done) + disturbed.untrue(small, good)
    state = report.describe(name, RUN)[0]
    mount(small / "reports", "-o", "remount,size=400m")
    again = disturbed.medlab(small, "run", RUN)
    differing = [again.stderr[-300:]] if again.returncode else disturbed.differences(small, good, name=name)
    return [f"{number}, {share * need / 1024:.0f} of {need / 1024:.0f} KiB", said(done.stderr), state, wrong, differing]


def index(good, small):
    """Everything is current, only the index does not fit."""
    disturbed.afresh(small, good, "14")
    free(small / "reports", 8192)
    done = disturbed.medlab(small, "run", RUN)
    mount(small / "reports", "-o", "remount,size=400m")
    again = disturbed.medlab(small, "run", RUN)
    there = (small / "reports" / RUN / "index.html").exists() and "running (" not in again.stderr
    return ["index.html", said(done.stderr), "absent", judge(done), [] if there else ["index.html"]]


def importing(good, small):
    """The dataset does not fit: nothing of it is left, with room it is the same."""
    words = ["import", "synthetic:thorax", "thorax", "--patients", 40]
    free(small / "data", disturbed.size([good / "data" / "thorax"]) / 2)
    done = disturbed.medlab(small, *words)
    left = [path.name for path in (small / "data").iterdir()]
    wrong = judge(done) + ([f"left behind: {', '.join(left)}"] if left else [])
    mount(small / "data", "-o", "remount,size=400m")
    again = disturbed.medlab(small, *words)
    one, two = ({path.relative_to(base / "data"): path.read_bytes() for path in (base / "data").rglob("*")
                 if path.is_file() and path.name != ".digests.json"} for base in (small, good))
    differing = [str(path) for path in one.keys() | two.keys() if one.get(path) != two.get(path)]
    return ["import into data/", said(done.stderr), "absent", wrong,
            [again.stderr[-300:]] if again.returncode else differing]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", help="folder that is kept; an undisturbed run in it is taken as it is")
    with workplace(parser.parse_args().keep) as place:
        good, small = Path(place).resolve() / "undisturbed", Path(place).resolve() / "small"
        disturbed.prepare(good)
        steps = [lambda point=point: meet(good, small, *point) for point in POINTS]
        steps += [lambda: index(good, small), lambda: importing(good, small)]
        print("| full in, free | what is said | state | right | equal after more room |\n|---|---|---|---|---|")
        bad = 0
        for step in steps:
            for part in ("data", "reports"):
                (small / part).mkdir(parents=True, exist_ok=True)
                mount(small / part, "-t", "tmpfs", "-o", "size=400m", "tmpfs")
            try:
                *row, wrong, differing = step()
            finally:
                subprocess.run(["umount", small / "data", small / "reports"], check=True)
            bad += bool(wrong or differing)
            print(f"| {' | '.join(row)} | {'; '.join(wrong) or 'yes'} | {', '.join(differing) or 'yes'} |", flush=True)
        sys.exit(bool(bad))


if __name__ == "__main__":
    main()
