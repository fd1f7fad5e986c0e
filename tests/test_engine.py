"""The run engine: parameters, staleness, failures, the lock, pages. Small notebooks, no TensorFlow."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import papermill
import pytest
from bs4 import BeautifulSoup
from conftest import medlab, write_notebook
from jupyter_client.manager import start_new_kernel

from medlab import cli, storage
from medlab.engine import execute, markup, pages, parameters, runs, stamps


def params(bench, text):
    (bench / "reports" / "try" / "params.yaml").write_text(text)


def executed(capsys):
    """Names of the notebooks that were executed since the last call."""
    return [line.split()[1].rstrip(":") for line in capsys.readouterr().err.splitlines() if ": running (" in line]


def page(bench, name):
    return (bench / "reports" / "try" / f"{name}.html").read_text()


def test_run_executes_what_is_stale_and_only_that(bench, capsys):
    assert execute.run_many(["try"])
    assert executed(capsys) == ["01_first", "02_second", "03_third"]
    folder = bench / "reports" / "try"
    assert (folder / "c.txt").read_text() == "oneone"
    assert execute.run_many(["try"]) and executed(capsys) == []
    params(bench, "epochs: 2\nshout: true\n")
    assert execute.run_many(["try"]) and executed(capsys) == ["03_third"]
    params(bench, "epochs: 1\nshout: true\n")
    assert execute.run_many(["try"]) and executed(capsys) == ["02_second", "03_third"]
    (folder / "b.txt").write_text("made by hand")
    assert execute.run_many(["try"]) and executed(capsys) == ["02_second"]
    assert (folder / "c.txt").read_text() == "ONE"
    (bench / "data" / "table" / "cohort.csv").open("a").write("P99,no,60\n")
    assert execute.run_many(["try"]) and executed(capsys) == ["01_first"]
    shutil.copytree(folder, folder.with_name("copy"))
    assert execute.run_many(["copy"]) and executed(capsys) == ["01_first", "02_second", "03_third"], "another name"


def test_outputs_saved_into_a_notebook_make_nothing_stale(bench, capsys):
    assert execute.run_many(["try"])
    path = bench / "notebooks" / "02_second.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"][1]["execution_count"] = 7
    path.write_text(json.dumps(notebook))
    executed(capsys)
    assert execute.run_many(["try"]) and executed(capsys) == []
    notebook["cells"][-1]["source"] += "\nprint(1)"
    path.write_text(json.dumps(notebook))
    assert execute.run_many(["try"]) and executed(capsys) == ["02_second"]


def test_a_notebook_by_hand_withdraws_its_stamp_and_page(bench, capsys):
    assert execute.run_many(["try"])
    folder = bench / "reports" / "try"
    papermill.execute_notebook(
        bench / "notebooks" / "02_second.ipynb",
        bench / "out.ipynb",
        {"run": "try", "rate": 0.5},
        progress_bar=False,
    )
    assert (folder / "b.txt").read_text() == "oneone", "params.yaml fills what was left at its default"
    assert stamps.read_stamp("02_second", "try")["state"] == "hand"
    assert "by hand" in page(bench, "02_second")
    executed(capsys)
    assert execute.run_many(["try"]) and executed(capsys) == ["02_second"]
    assert "by hand" not in page(bench, "02_second")


@pytest.mark.parametrize(
    "text, message",
    [
        ("epoch: 2\n", "unknown parameter 'epoch'; did you mean 'epochs'"),
        ("epochs: many\n", "'epochs' is 'many' (str), expected int such as 3"),
        ("epochs: true\n", "expected int"),
        ("run: other\n", "name of the folder"),
        ("- epochs\n", "expected lines"),
        ("epochs: [\n", "not valid YAML"),
        ("dataset: nowhere\n", "nowhere"),
        ("steps: 9\n", "reports/try/params.yaml: steps: found '9', expected numbers of notebooks"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(bench, text, message):
    params(bench, text)
    done = medlab("run", "try")
    assert done.returncode == 2 and message in done.stderr
    assert not (bench / "reports" / "try" / ".stamps").exists()


def test_whole_numbers_are_taken_for_a_float(bench):
    params(bench, "rate: 1\n")
    assert parameters.read_params("try") == {"rate": 1.0}


@pytest.mark.parametrize("name", ["../x", "a b", "", "a/b", "."])
def test_run_names_cannot_leave_the_folder(name):
    with pytest.raises(ValueError, match="expected letters"):
        parameters.run_folder(name)


def test_a_misspelt_parameter_by_hand_is_refused(bench):
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'epochs'"):
        papermill.execute_notebook(
            bench / "notebooks" / "02_second.ipynb",
            bench / "out.ipynb",
            {"run": "try", "epoch": 5},
            progress_bar=False,
        )


def test_a_failure_is_shown_and_what_follows_is_stale(bench, capsys):
    assert execute.run_many(["try"])
    params(bench, "fail: error\n")
    assert not execute.run_many(["try"])
    text = page(bench, "02_second")
    assert 'class="badge">failed' in text and "no such thing" in text
    assert str(bench) not in text, "no path of this machine on a page"
    assert "stale" in page(bench, "03_third") and "02_second failed" in page(bench, "03_third")
    index = page(bench, "index")
    assert "failed" in index and "stale" in index
    assert 'class="badge failed"' in (bench / "reports" / "index.html").read_text()
    capsys.readouterr()
    params(bench, "epochs: 2\n")
    assert execute.run_many(["try"])
    assert executed(capsys) == ["02_second"], "what follows is current again: its input is the same"
    assert "stale" not in page(bench, "03_third").split("<main>")[1]


def test_exit_codes_of_the_command(bench):
    params(bench, "fail: error\n")
    done = medlab("run", "try")
    assert done.returncode == 1 and "FAILED" in done.stderr
    assert medlab("run", "absent").returncode == 2


def test_a_killed_kernel_is_a_failure(bench):
    params(bench, "fail: kill\n")
    assert not execute.run_many(["try"])
    assert "kernel died" in page(bench, "02_second")


def test_an_output_that_was_promised_must_be_there(bench):
    write_notebook(
        bench / "notebooks",
        "03_third",
        'run: str = "try"\nshout: bool = False',
        ["pass"],
        reads=["b.txt"],
        writes=["c.txt"],
    )
    assert not execute.run_many(["try"])
    assert "without writing c.txt" in page(bench, "03_third")


def started(bench, process):
    """Wait until the slow notebook runs in the process."""
    flag = bench / "reports" / "try" / "started"
    for _ in range(1200):
        if flag.exists():
            return
        assert not hasattr(process, "stderr") or process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError("the notebook did not start")


def test_two_processes_never_execute_one_run(bench):
    params(bench, "fail: slow\n")
    first = subprocess.Popen([sys.executable, "-m", "medlab", "run", "try"], stderr=subprocess.PIPE, text=True)
    try:
        started(bench, first)
        second = medlab("run", "try")
        assert second.returncode == 2 and f"process {first.pid}" in second.stderr
        assert "running" in page(bench, "02_second")
        with pytest.raises(papermill.PapermillExecutionError, match="is being executed by"):
            papermill.execute_notebook(
                bench / "notebooks" / "01_first.ipynb",
                bench / "out.ipynb",
                {"run": "try"},
                progress_bar=False,
            )
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    params(bench, "epochs: 1\n")
    for _ in range(100):  # the kernel notices that its parent is gone and releases the inherited lock
        done = medlab("run", "try")
        if done.returncode != 2:
            break
        time.sleep(0.2)
    assert done.returncode == 0, done.stderr
    assert "02_second: running (was interrupted)" in done.stderr and "01_first: current" in done.stderr


def test_a_notebook_by_hand_and_medlab_run_never_write_into_one_run_at_once(bench, capsys):
    manager, client = start_new_kernel(kernel_name="python3")

    def cell(code):
        said = client.execute_interactive(code, output_hook=lambda _: None, timeout=60)["content"]
        return said["status"], said.get("evalue", "")

    try:
        assert cell('run, epochs, rate, fail = "try", 3, 0.1, ""')[0] == "ok"
        for _ in range(2):  # from its start, and from its start again
            assert cell("from medlab.engine import runs\nfolder = runs.start('02_second', globals())") == ("ok", "")
        with runs.lock("try"):  # a kernel that waits for a person blocks nobody
            status, said = cell("(folder / 'b.txt').write_text('of another')")
            assert status == "error" and "run 'try' is being executed by medlab; when it has ended" in said
        assert not (bench / "reports" / "try" / "b.txt").exists()
        assert cell("(folder / 'b.txt').write_text('mine')") == ("ok", "")
        client.execute("import time\n(folder / 'started').write_text('')\ntime.sleep(600)")
        started(bench, manager.provisioner)
        assert cli.main(["run", "try"]) == 2
        assert "run 'try' is being executed by a notebook by hand, process" in capsys.readouterr().err
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_page_that_says_so_and_no_process(bench, how):
    params(bench, "fail: slow\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "medlab", "run", "try"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    started(bench, process)
    process.send_signal(how)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted after" in said and "resumes with: medlab run try" in said and "FAILED" not in said
    assert 'class="status interrupted"' in page(bench, "02_second")
    assert "interrupted" in page(bench, "index") and "medlab run try" in page(bench, "index")
    kernel = int((bench / "reports" / "try" / "started").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


def test_a_kernel_that_dies_takes_along_what_it_started(bench):
    write_notebook(bench / "notebooks", "02_second", 'run: str = "try"\nepochs: int = 3', [
        'import os, signal, subprocess\nchild = subprocess.Popen(["sleep", "600"])',
        '(folder / "child").write_text(str(child.pid))\nos.kill(os.getpid(), signal.SIGKILL)'])
    assert not execute.run_many(["try"])
    child = int((bench / "reports" / "try" / "child").read_text())
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}") or "Z" in open(f"/proc/{child}/stat").read().split(")")[1][:3]:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a process of the dead kernel lives on")


def test_a_full_disk_fails_and_leaves_no_page_of_yesterday(bench):
    assert execute.run_many(["try"])
    write_notebook(
        bench / "notebooks",
        "02_second",
        'run: str = "try"\nepochs: int = 3\nrate: float = 0.1\nfail: str = ""',
        ['(folder / "b.txt").write_text("x" * 3_000_000)'],
        reads=["a.txt"],
        writes=["b.txt"],
    )

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = medlab("run", "try", preexec_fn=little_room)
    assert done.returncode == 1, done.stderr
    assert "failed" in page(bench, "02_second") and "File too large" in page(bench, "02_second")
    json.loads((bench / "reports" / "try" / "02_second.ipynb").read_text())
    assert medlab("run", "try").returncode == 0


def test_atomic_writing_keeps_the_old_file_on_failure(tmp_path):
    target = tmp_path / "a.json"
    storage.write_json(target, {"x": float("nan"), "n": 1})
    assert json.loads(target.read_text()) == {"x": None, "n": 1}

    def half(path):
        path.write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        storage.write_atomically(target, half)
    assert json.loads(target.read_text())["n"] == 1 and os.listdir(tmp_path) == ["a.json"]


def test_words_stand_left_and_numbers_right_on_pages():
    def lefts(**columns):
        page = markup.clean_html(pd.DataFrame(columns).to_html())
        return [head for head in columns if f'<th class="text">{head}' in page], page.count('<td class="text">')

    assert lefts(choice=["0.25 (chosen on validation)", "Otsu", 3]) == (["choice"], 3), "a column has one side"
    assert lefts(n=[3, 5], auc=["0.91 (0.8 to 1.0)", "not defined"], gain=["+0.1 (-0.1 to 0.2)", "< 0.001"]) == ([], 0)
    assert lefts(n=[3, 4], level=["A", ""], known=[True, False]) == (["level", "known"], 4)


def test_the_code_of_a_section_is_one_fold_and_an_empty_section_is_left_out():
    code, text, stream = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell, nbformat.v4.new_output
    shown = code("print(3)", outputs=[stream("stream", text="three patients\n")])
    skipped = code("# needs: b", outputs=[stream("stream", text="No boxes here: what needs it is left out.\n")])
    folded = text("## Folded", metadata={"tags": ["fold"]})
    notebook = nbformat.v4.new_notebook(cells=[
        text("# Title\n\nWhy?\n\n| | |\n|---|---|\n| **Reads** | a |\n\nLead."), code("x = 1"), text("## First"),
        code("y = 2"), shown, text("## Boxes\n\nProse."), skipped, folded, shown, text("## Believe\n\n- a"),
        code("z = 4")])
    html = pages.notebook_page(notebook, "t", {"state": "done", "text": ""}, [], [])
    soup = BeautifulSoup(html, "html.parser")
    assert [one.get_text() for one in soup.select(".section h2")] == ["First", "Folded", "How this page was made"]
    assert [one["href"].split("-", 1)[-1] for one in soup.select(".contents.wide a")] == ["first", "folded", "#made"]
    codes = [one.get_text() for one in soup.select(".code .source")]
    assert [all(line in one for line in lines) for one, lines in zip(
        codes, (["x = 1", "y = 2", "print(3)"], ["# needs: b", "print(3)"], ["z = 4"]), strict=True)] == [True] * 3
    assert soup.select_one("details.section h2").get_text() == "Folded" and "no boxes" in soup.get_text()
    assert soup.select_one(".question").get_text() == "Why?" and soup.select_one(".lead").get_text().strip() == "Lead."
    assert soup.select_one("#made table").get_text().split() == ["Reads", "a"] and not soup.select_one(".lead table")


def test_text_from_data_is_inert_on_pages(bench):
    attack = '<script>alert(1)</script><img src=x onerror=alert(2)><a href="javascript:alert(3)">x</a>'
    write_notebook(
        bench / "notebooks",
        "03_third",
        'run: str = "try"\nshout: bool = False',
        [
            "from IPython.display import HTML, Markdown, Javascript, SVG, display",
            f"attack = {attack!r}\nprint(attack)\ndisplay(HTML(attack), Markdown(attack), Javascript('alert(4)'))",
            '(folder / "c.txt").write_text("x")',
        ],
        writes=["c.txt"],
    )
    assert execute.run_many(["try"])
    text = page(bench, "03_third")
    body = text.split("<main>")[1]
    assert "<script" not in body and "onerror=" not in body.replace("onerror=alert(2)&gt;", "")
    assert "javascript:" not in body.replace('"javascript:alert(3)"', "").replace("javascript:alert(3)&quot;", "")
    assert "default-src 'none'" in text


def test_provenance_is_on_every_page(bench):
    assert execute.run_many(["try"])
    text = page(bench, "02_second")
    for expected in (
        "epochs",
        "default 3",
        "a.txt",
        "sha256",
        "medlab 0.",
        "cores",
        "tensorflow",
        "started",
        "Research use only",
    ):
        assert expected in text, expected
    assert "The dataset has no masks or boxes." in page(bench, "index")
    assert "epochs = 2 (of 02)" in page(bench, "index"), "which notebook a parameter belongs to"


@pytest.mark.parametrize("n_patients, said", [("null", True), ("12", False)])
def test_unknown_patients_are_said_on_every_page(bench, n_patients, said):
    path = bench / "notebooks" / "01_first.ipynb"
    path.write_text(
        path.read_text().replace('write_text(\\"{}\\")', f"write_text('{{\\\"n_patients\\\": {n_patients}}}')")
    )
    assert execute.run_many(["try"])
    for name in ("02_second", "03_third"):
        assert ("leakage between images of one patient cannot be excluded" in page(bench, name)) == said


def test_the_index_names_the_reason_of_a_failure(bench):
    params(bench, "fail: error\n")
    assert not execute.run_many(["try"])
    assert "ValueError: no such thing" in page(bench, "index")


def optional(bench, code):
    """Make the third notebook one with an optional output ``d.txt``."""
    write_notebook(
        bench / "notebooks",
        "03_third",
        'run: str = "try"\nshout: bool = False',
        ['(folder / "c.txt").write_text("c")', code],
        reads=["b.txt"],
        writes=["c.txt", "d.txt?"],
    )


def test_an_optional_output_may_be_absent_and_no_leftover_stays(bench, capsys):
    optional(bench, 'if shout:\n    (folder / "d.txt").write_text("d")')
    d = bench / "reports" / "try" / "d.txt"
    d.write_text("left by something else")
    assert execute.run_many(["try"]) and not d.exists()
    assert stamps.read_stamp("03_third", "try")["writes"]["d.txt"] == "absent"
    assert parameters.contract("03_third")["writes"] == ["c.txt", "d.txt", "03_third.answer.json"]
    executed(capsys)
    assert execute.run_many(["try"]) and executed(capsys) == []
    params(bench, "epochs: 2\nshout: true\n")
    assert execute.run_many(["try"]) and d.read_text() == "d" and executed(capsys) == ["03_third"]
    d.unlink()
    assert execute.run_many(["try"]) and d.read_text() == "d" and executed(capsys) == ["03_third"]
    params(bench, "epochs: 2\n")
    assert execute.run_many(["try"]) and not d.exists()
    d.write_text("left by something else")
    assert execute.run_many(["try"]) and not d.exists(), "stale, and put right"


def test_a_failure_keeps_the_last_optional_output(bench):
    optional(bench, '(folder / "d.txt").write_text("good")')
    assert execute.run_many(["try"])
    optional(bench, 'raise ValueError("too early")')
    assert not execute.run_many(["try"])
    folder = bench / "reports" / "try"
    assert (folder / "d.txt").read_text() == "good" and not (folder / ".earlier").exists()


def test_steps_name_the_notebooks_of_a_run(bench, capsys):
    params(bench, 'epochs: 2\nsteps: "1-2"\n')
    assert execute.run_many(["try"]) and executed(capsys) == ["01_first", "02_second"]
    assert execute.is_current("try")
    index = (bench / "reports" / "try" / "index.html").read_text()
    assert index.count("Left out by the parameter steps.") == 2
    params(bench, 'epochs: 2\nsteps: "1-3"\n')
    assert execute.run_many(["try"]) and executed(capsys) == ["03_third"]  # nothing before it is stale


@pytest.mark.parametrize("steps", ["9", "one", "2;3", "1-2-3"])
def test_steps_without_a_notebook_are_refused(bench, steps):
    with pytest.raises(ValueError, match=f"steps: found '{steps}'.*such as '1-4, 6'; there are 01, 02, 03, 04"):
        parameters.left_out(steps)
    assert parameters.left_out("") == set() and parameters.left_out(" 2 - 7 ") == {"without:01"}
