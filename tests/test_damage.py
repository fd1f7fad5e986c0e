"""Damaged files of runs and datasets: each is made again, named, or left alone; never taken for current."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import medlab

from medlab import cli
from medlab.cohorts import checks, datasets
from medlab.engine import execute, kernels, parameters, report, runs, stamps
from medlab.imaging import arrays

TABLE = Path(__file__).parents[1] / "docs" / "damage.md"


def in_process(name, run, given, descriptor=None):
    """Executes the cells of a small notebook here: what is damaged is real, a kernel would only take longer."""
    notebook, namespace = nbformat.read(parameters.notebooks()[name], as_version=4), {}
    before, error = os.environ.get("MEDLAB_RUN"), ""
    os.environ["MEDLAB_RUN"] = run
    try:
        for cell in (c for c in notebook.cells if c.cell_type == "code"):
            exec(cell.source, namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace.update(given)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    finally:
        os.environ.pop("MEDLAB_RUN") if before is None else os.environ.update(MEDLAB_RUN=before)
    nbformat.write(notebook, parameters.run_folder(run) / f"{name}.ipynb")
    return error


@pytest.fixture
def light(bench, monkeypatch):
    """`bench` with two executed runs, ``try`` and ``other``; notebooks are executed in this process."""
    monkeypatch.setattr(execute, "execute_notebook", in_process)
    for run in ("try", "other"):
        (bench / "reports" / run).mkdir(exist_ok=True)
        (bench / "reports" / run / "params.yaml").write_text("epochs: 2\n")
        assert execute.run_many([run])
    return bench


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])


def zero(path):
    """Same size, same time of modification: what a broken disk or a careless copy leaves."""
    facts = path.stat()
    path.write_bytes(b"\0" * facts.st_size)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def add(path):
    path.write_bytes(path.read_bytes() + b" ")


def garble(path):
    path.write_bytes(b"{\xff\xfe<html>")


DAMAGES = {"removed": remove, "emptied": empty, "cut in half": cut, "zeroed at the same size and time": zero,
           "a byte appended": add, "other bytes": garble}
FILES = {"a.txt": "01_first", "dataset.json": "01_first", "b.txt": "02_second", "c.txt": "03_third",
         ".stamps/01_first.json": "01_first", ".stamps/02_second.json": "02_second", "01_first.ipynb": "01_first",
         "02_second.ipynb": "02_second", "01_first.html": None, "02_second.html": None, "index.html": None,
         "../index.html": None, ".lock": None}
HARMLESS = {(".stamps/01_first.json", "a byte appended"), (".stamps/02_second.json", "a byte appended")}


def content(folder, but=()):
    """What a run says, without times: outputs, states, pages' heads, parameters."""
    files = [p for p in sorted(folder.glob("*")) if p.suffix in (".txt", ".json", ".yaml") and p.name not in but]
    return {p.name: p.read_bytes() for p in files} | {
        name: report.describe(name, folder.name)[0] for name in parameters.notebooks()}


def executed(capsys):
    return [line.split()[1].rstrip(":") for line in capsys.readouterr().err.splitlines() if ": running (" in line]


def test_every_damage_of_a_run_is_made_good_and_touches_no_other(light, capsys):
    folder, other = light / "reports" / "try", light / "reports" / "other"
    good, rows = content(folder, ["rounds.txt"]), ["| file | damage | what happens |", "|---|---|---|"]
    untouched = {p.relative_to(other): p.read_bytes() for p in other.rglob("*") if p.is_file() and p.name != ".lock"}
    shutil.copytree(light / "reports", light / "sound")
    for file, notebook in FILES.items():
        for damage, harm in DAMAGES.items():
            harm(folder / file)
            executed(capsys)
            if damage in ("cut in half", "other bytes"):
                assert execute.run_many(["other"]), f"another run stops at {file}, {damage}"
                assert executed(capsys) == []
            assert execute.run_many(["try"]), (file, damage)
            wanted = [notebook] if notebook and (file, damage) not in HARMLESS else []
            assert executed(capsys) == wanted, (file, damage)
            assert content(folder, ["rounds.txt"]) == good, (file, damage)
            page = (folder / file).read_text(errors="replace")
            assert "</html>" in page if file.endswith(".html") else True, (file, damage)
            assert {p: (other / p).read_bytes() for p in untouched} == untouched, (file, damage)
            rows.append(f"| {file.replace('../', 'reports/')} | {damage} | "
                        f"{f'{notebook} is executed again' if wanted else 'made again from what is there'} |")
    named = {"reports/try/params.yaml": "params.yaml", "data/table/card.yaml": "card.yaml",
             "data/table/cohort.csv": "cohort.csv"}
    for file, word in named.items():
        for damage, harm in DAMAGES.items():
            kept = (light / file).read_bytes()
            harm(light / file)
            try:
                execute.run_many(["try"])
                what = "read as it now is, what depends on it is executed again"
                assert all(report.describe(n, "try")[0] == "done" for n in ("01_first", "02_second", "03_third"))
            except ValueError as error:
                assert word in str(error) or "card.yaml and cohort.csv" in str(error), (file, damage, str(error))
                what = "refused before anything runs, the file named"
            rows.append(f"| {file.replace('try', 'RUN').replace('table', 'NAME')} | {damage} | {what} |")
            (light / file).write_bytes(kept)
            assert execute.run_many(["try"]) and content(folder, ["rounds.txt"]) == good, (file, damage)
    assert len(rows) - 2 >= 60
    text = ("# Damaged files\n\nWhat `medlab run` does when a file of a run or of its dataset was damaged since the "
            "last run; 01_first,\n02_second and 03_third stand for notebooks that read what the one before wrote. "
            "Written by\n`MEDLAB_WRITE_DOCS=1 pytest tests/test_damage.py`.\n\n" + "\n".join(rows) + "\n")
    further = "".join(TABLE.read_text().partition("\n## ")[1:])  # what benchmarks have printed
    if os.environ.get("MEDLAB_WRITE_DOCS"):
        TABLE.write_text(text + further)
    assert TABLE.read_text() == text + further


def test_what_steps_leaves_out_stays_and_says_when_it_is_no_longer_current(light, capsys):
    folder = light / "reports" / "try"
    before = content(folder)
    (folder / "params.yaml").write_text('epochs: 2\nsteps: "1-2"\n')
    assert execute.run_many(["try"]) and executed(capsys)[-1:] != ["03_third"]
    assert (folder / "c.txt").read_bytes() == before["c.txt"] and (folder / "03_third.html").exists()
    assert report.describe("03_third", "try")[0] == "done"
    (folder / "params.yaml").write_text('epochs: 3\nsteps: "1-2"\n')
    executed(capsys)
    assert execute.run_many(["try"]) and executed(capsys) == ["02_second"]
    assert (folder / "c.txt").read_bytes() == before["c.txt"]
    assert report.describe("03_third", "try") == ("stale", report.describe("03_third", "try")[1])
    for page in ("03_third.html", "index.html"):
        assert "not current: file b.txt changed" in (folder / page).read_text()
    (folder / "params.yaml").write_text("epochs: 3\n")
    assert execute.run_many(["try"]) and executed(capsys) == ["03_third"]
    assert "not current" not in (folder / "index.html").read_text()


def test_pages_say_so_before_anything_is_executed_anew(light, monkeypatch):
    folder, seen = light / "reports" / "try", {}

    def look(name, run, given, descriptor=None):
        seen[name] = {n: report.describe(n, run)[0] for n in ("01_first", "02_second", "03_third")}
        seen[name]["page"] = (folder / "03_third.html").read_text()
        raise KeyboardInterrupt

    (folder / "params.yaml").write_text("epochs: 5\n")
    monkeypatch.setattr(execute, "execute_notebook", look)
    with pytest.raises(KeyboardInterrupt):
        execute.run_many(["try"])
    assert [*seen] == ["02_second"]
    page = seen["02_second"].pop("page")
    assert seen["02_second"] == {"01_first": "done", "02_second": "running", "03_third": "stale"}
    assert "02_second is made anew" in page and 'class="status stale"' in page
    index = (folder / "index.html").read_text()
    assert "Interrupted" in index and "'medlab run try' goes on" in index.replace("&#39;", "'")
    assert stamps.read_stamp("02_second", "try")["state"] == "interrupted"


@pytest.fixture
def hearing():
    """Ctrl-C is heard; a shell without a terminal starts its background jobs deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


PHASES = {signal.SIGINT: ("plan", "write_stamp", "write_page", "execute_notebook", "_finish", "write_index"),
          signal.SIGTERM: ("execute_notebook", "write_runs_index")}  # before the plan SIGTERM ends it by itself


@pytest.mark.parametrize("number", PHASES)
def test_an_interrupt_in_any_phase_is_one_line_and_130(light, hearing, monkeypatch, capsys, number):
    folder, real = light / "reports" / "try", {phase: getattr(execute, phase) for phase in PHASES[number]}
    good = content(folder, ["rounds.txt"])
    for phase, function in real.items():
        def interrupted(*given, _phase=phase, _function=function, **named):
            monkeypatch.setattr(execute, _phase, _function)
            os.kill(os.getpid(), number)
            time.sleep(5)

        (folder / "b.txt").write_text("changed")
        monkeypatch.setattr(execute, phase, interrupted)
        capsys.readouterr()
        assert cli.main(["run", "try"]) == 130, phase
        said = capsys.readouterr().err
        assert "Traceback" not in said and said.count("interrupted") == 1 + said.count("(was interrupted)"), said
        assert "medlab run try" in said or "the same command goes on" in said, said
        assert report.describe("02_second", "try")[0] != "running", phase
        assert cli.main(["run", "try"]) == 0 and content(folder, ["rounds.txt"]) == good, phase


def test_a_run_that_was_killed_is_interrupted_not_running(light):
    stamps.write_stamp("02_second", "try", state="running", started=time.time())
    assert report.describe("02_second", "try")[0] == "interrupted"
    with runs.lock("try"):
        assert report.describe("02_second", "try")[0] == "running"


def test_folders_that_are_no_runs_and_notebooks_that_are_copies(light, capsys):
    shutil.copytree(light / "reports" / "try", light / "reports" / "base.bak")
    (light / "reports" / "base.bak" / "params.yaml").write_text("epochs: [\n")
    shutil.copy(light / "notebooks" / "02_second.ipynb", light / "notebooks" / "02_second-Copy1.ipynb")
    assert execute.run_many(["try"]) and executed(capsys)[-3:] == []
    assert "base.bak" not in (light / "reports" / "index.html").read_text()
    assert parameters.compared_runs("x", "try*") == ["try"]


def test_the_executed_notebook_is_kept_or_the_notebook_failed(bench, monkeypatch):
    def full(beside, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernels, "_keep", full)
    assert not execute.run_many(["try"])
    assert "no space left" in report.describe("01_first", "try")[1]


def child_of(function, *given):
    """A process that goes on from here with a function, begun."""
    child = multiprocessing.get_context("fork").Process(target=function, args=given)
    child.start()
    return child


def killed_before(write, run, told):
    """SIGKILL of a process that executes a run, before its n-th file takes its place; that file's name, or None."""
    def execute_it():
        replace, left = os.replace, [write]

        def counted(source, target):
            left[0] -= 1
            if not left[0]:
                told.write_text(Path(target).name)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = counted
        execute.run_many([run])

    child = child_of(execute_it)
    child.join()
    return told.read_text() if child.exitcode == -signal.SIGKILL else None


def test_a_kill_before_any_file_takes_its_place(light, capsys):
    """Of a run with a changed parameter: every sixth write, with MEDLAB_KILLS=1 every one and a table on the screen."""
    folder, step = light / "reports" / "try", int(os.environ.get("MEDLAB_KILLS", 6))
    shutil.copytree(folder, light / "old")
    (folder / "params.yaml").write_text("epochs: 5\n")
    assert execute.run_many(["try"])
    good, names, rows = content(folder, ["rounds.txt"]), ("01_first", "02_second", "03_third"), []
    for write in range(1 + step // 2, 100, step):
        shutil.rmtree(folder)
        shutil.copytree(light / "old", folder)
        (folder / "params.yaml").write_text("epochs: 5\n")
        file = killed_before(write, "try", light / "told")
        if file is None:
            break
        states = {name[:2]: report.describe(name, "try")[0] for name in names}
        assert "running" not in states.values(), (write, file)
        for name, output in zip(names[1:], ("b.txt", "c.txt"), strict=True):
            old = write <= 4  # nothing was made yet, nor said; the numbers are those of the old parameters
            assert states[name[:2]] != "done" or old or (folder / output).read_bytes() == good[output], (write, file)
            assert "</html>" in (folder / f"{name}.html").read_text()
        executed(capsys)
        assert execute.run_many(["try"]) and content(folder, ["rounds.txt"]) == good, (write, file)
        rows.append(f"| {write} | {file} | {', '.join(states.values())} | {', '.join(executed(capsys))} | yes |")
    assert len(rows) >= 20 // step and execute.is_current("try")
    with capsys.disabled():
        print("\n".join(rows) if step == 1 else "")


def test_runs_at_once_on_one_dataset_and_one_run_twice(light):
    """Processes that begin together: each run as when it is alone, the second of one run is refused or comes after."""
    reports, runs_at_once = light / "reports", ("try", "other", "third", "fourth", "fourth")
    for name in runs_at_once[2:4]:
        (reports / name).mkdir()
    for name in set(runs_at_once):
        (reports / name / "params.yaml").write_text("epochs: 4\n")
    (light / "data" / "table" / ".digests.json").unlink(missing_ok=True)
    children = [child_of(lambda name: sys.exit(cli.main(["run", name])), name) for name in runs_at_once]
    for child in children:
        child.join()
    codes = [child.exitcode for child in children]
    assert codes[:3] == [0, 0, 0] and sorted(codes[3:]) in ([0, 0], [0, 2])
    for name in set(runs_at_once):
        assert execute.is_current(name) and (reports / name / "c.txt").read_text() == "one" * 4
        assert "</html>" in (reports / name / "index.html").read_text()
        assert f"{name}/index.html" in (reports / "index.html").read_text()


@pytest.fixture
def small_disk(bench):
    """The reports of `bench` on a file system of their own; a function sets its size in KiB, emptying or keeping it."""
    reports = bench / "reports"

    def mount(*options):
        return subprocess.run(["mount", *options, reports], capture_output=True).returncode == 0

    def resize(size, keep=False):
        if keep:
            assert mount("-o", f"remount,size={size}k")
            return
        subprocess.run(["umount", reports], capture_output=True)
        if not mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs"):
            pytest.skip("this machine allows no file system of a few KiB (mount -t tmpfs)")
        (reports / "try").mkdir()
        (reports / "try" / "params.yaml").write_text("epochs: 2\n")

    yield resize
    subprocess.run(["umount", reports], capture_output=True)


def test_a_disk_that_is_full_anywhere_in_a_run(bench, small_disk, monkeypatch, capsys):
    """From no room at all to just enough, each time enlarged and run again; with MEDLAB_KILLS=1 in steps of 8 KiB and
    with a table on the screen."""
    monkeypatch.setattr(execute, "execute_notebook", in_process)
    names, folder, rows = ("01_first", "02_second", "03_third"), bench / "reports" / "try", []
    small_disk(20_000)
    assert cli.main(["run", "try"]) == 0
    good = content(folder, ["rounds.txt"])
    room = int(subprocess.run(["du", "-sk", folder.parent], capture_output=True, text=True).stdout.split()[0])
    every = "MEDLAB_KILLS" in os.environ
    for size in range(8, room, 8) if every else (8, 40, 72, room - 4):
        small_disk(size)
        capsys.readouterr()
        code, said = cli.main(["run", "try"]), capsys.readouterr().err
        assert code in (1, 2) and "o space left on device; make room there and give the same" in said, (size, said)
        assert "Traceback" not in said and "Errno" not in said and "cannot be read" not in said, (size, said)
        states = [report.describe(name, "try")[0] for name in names]
        for name, state in zip(names, states, strict=True):
            whole = (folder / f"{name}.html").exists() and "</html>" in (folder / f"{name}.html").read_text()
            assert whole or state != "done", (size, name)
        small_disk(20_000, keep=True)
        assert cli.main(["run", "try"]) == 0 and content(folder, ["rounds.txt"]) == good, size
        full = Path(re.search(r"(\S+) could not be written", said)[1]).name
        rows.append(f"| {size} | {full} | {', '.join(states).replace('missing', 'not run')} | yes |")
    assert "not run, not run, not run" in rows[0] and len({row.split("|")[3] for row in rows}) >= 3, rows
    with capsys.disabled():
        print("\n".join(rows) if every else "")


def array(folder):
    np.save(folder / "images.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("harm", [zero, cut, remove, garble])
def test_the_cache_of_images_notices_what_was_written_into_it(tmp_path, harm):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert not arrays.cached(tmp_path / "cache", "ab", array, tmp_path / "one")
    image = tmp_path / "one" / "images.npy"
    assert image.stat().st_mode & 0o222 == 0, "shared files are read-only"
    image.chmod(0o640)
    harm(image if harm is not remove else tmp_path / "cache" / "ab" / "images.npy")
    assert not arrays.cached(tmp_path / "cache", "ab", array, tmp_path / "two"), "made anew"
    assert np.array_equal(np.load(tmp_path / "two" / "images.npy").ravel(), np.arange(24))
    assert arrays.cached(tmp_path / "cache", "ab", array, tmp_path / "one")
    assert np.array_equal(np.load(image).ravel(), np.arange(24))


def test_runs_at_once_make_a_cached_array_once_and_share_it(tmp_path):
    made = []

    def slowly(folder):
        made.append(folder)
        time.sleep(0.2)
        array(folder)

    targets = [tmp_path / name for name in "abcd"]
    for target in targets:
        target.mkdir()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda target: arrays.cached(tmp_path / "cache", "ab", slowly, target), targets))
    assert len(made) == 1 and sorted(found) == [False, True, True, True]
    assert all(np.array_equal(np.load(target / "images.npy").ravel(), np.arange(24)) for target in targets)


def pictures(workspace):
    from PIL import Image

    from medlab.intake import importers

    for name in ("a", "b", "c", "d"):
        folder = workspace / "source" / name[:1].replace("c", "a").replace("d", "b")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return importers.import_source(workspace / "source", "made", yes=True)


def test_a_file_of_a_dataset_changed_in_place_changes_its_fingerprint(workspace):
    pictures(workspace)
    dataset = datasets.load("made")
    first = datasets.fingerprint(dataset)
    assert datasets.fingerprint(dataset) == first
    assert not [m for _, m in checks.check("made") if "not what was imported" in m]
    image = dataset.folder / dataset.cohort["image"][0]
    content = image.read_bytes()
    zero(image)
    assert datasets.fingerprint(dataset) != first
    assert ("error", f"1 files are not what was imported: {dataset.cohort['image'][0]}; import the source again"
            ) in checks.check("made")
    image.write_bytes(content)
    assert datasets.fingerprint(dataset) == first
    memory = json.loads((dataset.folder / ".digests.json").read_text())
    name = dataset.cohort["image"][0]
    memory[name][-1] = "0" * 64  # bytes that rotted without a trace: only --deep reads them again
    (dataset.folder / ".digests.json").write_text(json.dumps(memory))
    assert datasets.changed(dataset) == [name] and datasets.changed(dataset, deep=True) == []


def test_a_broken_import_leaves_the_dataset_that_was_there(workspace):
    from medlab.intake import importers

    dataset = pictures(workspace)
    before = {p.name: p.read_bytes() for p in dataset.folder.rglob("*") if p.is_file()}
    bad = workspace / "bad.csv"
    bad.write_text("id,label,split\n1,a,train\n2,b,elsewhere\n3,a,test\n")
    with pytest.raises(ValueError):
        importers.import_source(bad, "made", key="id", label="label", split="split", overwrite=True, yes=True)
    with pytest.raises(ValueError):
        importers.import_source(bad, "fresh", key="id", label="label", split="split", yes=True)
    assert {p.name: p.read_bytes() for p in dataset.folder.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in (workspace / "data").iterdir()) == ["made"]


def test_a_damaged_result_of_another_run_is_named_by_what_compares_it(light):
    from medlab import storage

    (light / "reports" / "other" / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"other/dataset.json: damaged"):
        storage.read_json(light / "reports" / "other" / "dataset.json")
    done = medlab("run", "try")
    assert done.returncode == 0, done.stderr
    assert pd.notna(stamps.read_stamp("01_first", "try")["finished"])
