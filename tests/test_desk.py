"""Working copies, what was changed in them, the way from a source to pages, and JupyterLab's part. No TensorFlow."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import papermill
import pytest
from conftest import medlab

import medlab as package
from medlab import cli
from medlab.desk import changes, server, steps
from medlab.engine import copies, execute, kernels, parameters, repeats, stamps


def edited(run, name, *pairs):
    """Replace texts in a working copy as a person would, saved as JupyterLab does."""
    path = copies.path(name, run)
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        for old, new in pairs:
            text = text.replace(old, new)
        cell["source"] = text.splitlines(keepends=True)
    path.write_text(json.dumps(notebook))
    return path


def params(bench, run="try"):
    return (bench / "reports" / run / "params.yaml").read_text()


def test_a_parameter_changed_in_a_copy_is_of_its_run_alone_and_the_published_page_stays(bench):
    (bench / "reports" / "try" / "params.yaml").write_text("# of a study\nepochs: 2  # few\n")
    before = (bench / "notebooks" / "02_second.ipynb").read_text()
    assert execute.run_many(["try"])
    page, index = bench / "reports" / "try" / "02_second.html", bench / "reports" / "try" / "index.html"
    published = page.read_text()
    assert len(changes.open_copies("try")) == 3
    path = edited("try", "02_second", ("rate: float = 0.1", "rate: float = 0.5"))
    assert "epochs: int = 2" in path.read_text().replace('"', "") and changes.difference("try").count("parameter") == 1
    papermill.execute_notebook(path, bench / "out.ipynb", progress_bar=False, cwd=path.parent)
    assert params(bench) == "# of a study\nepochs: 2  # few\nrate: 0.5\n"
    assert (bench / "notebooks" / "02_second.ipynb").read_text() == before
    assert parameters.declared("02_second")["rate"] == 0.1 and changes.difference("try") == ""
    assert (bench / "reports" / "try" / "b.txt").read_text() == "oneone"
    now = page.read_text()
    assert "Executed by hand since" in now and stamps.STATUS.sub("", now) == stamps.STATUS.sub("", published)
    assert "02_second was executed by hand" in (bench / "reports" / "try" / "03_third.html").read_text()
    for listed in (index, bench / "reports" / "index.html"):
        assert 'class="badge hand"' in listed.read_text()
    edited("try", "02_second", ("epochs: int = 2", "epochs: int = 3"))  # the default again: meant, and not filled in
    papermill.execute_notebook(path, bench / "out.ipynb", progress_bar=False)
    assert params(bench) == "# of a study\nrate: 0.5\n"
    assert (bench / "reports" / "try" / "b.txt").read_text() == "oneoneone"


def test_a_copy_follows_its_run_until_somebody_changes_it(bench):
    path = copies.make("02_second", "try")
    (bench / "reports" / "try" / "params.yaml").write_text("epochs: 7\n")
    assert "epochs: int = 7" in "".join(copies.parameters_cell(copies.read(copies.make("02_second", "try")))["source"])
    edited("try", "02_second", ("rounds.txt", "turns.txt"))
    (bench / "reports" / "try" / "params.yaml").write_text("epochs: 8\n")
    assert "turns.txt" in path.read_text() and copies.make("02_second", "try") == path
    assert "turns.txt" in path.read_text()
    with pytest.raises(ValueError, match="working copy of run 'try', but run is 'other'; set it back"):
        copies.edited_values("02_second", "try", {"run": "other", copies.MARK: "try"})


def test_a_change_goes_back_into_the_notebook_without_outputs_and_parameters(bench):
    tracked = bench / "notebooks" / "02_second.ipynb"
    changes.open_copies("try", ["2"])
    path = edited("try", "02_second", ("rounds.txt", "turns.txt"), ("epochs: int = 2", "epochs: int = 4"))
    notebook = json.loads(path.read_text())
    notebook["cells"][3]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "secret"}]
    notebook["cells"].insert(4, {"cell_type": "code", "id": "new-1", "metadata": {"trusted": True}, "outputs": [],
                                 "execution_count": 3, "source": ["print('new')"]})
    gone = notebook["cells"].pop(5)
    path.write_text(json.dumps(notebook))
    said = changes.difference("try")
    assert "+ import os, signal, time" not in said and "turns.txt" in said and "cell new-1, new:" in said
    assert f"cell {gone['id']}, removed:" in said and "epochs = 4 (the run: 2)" in said
    assert changes.keep("try", "02_second")[-1].endswith("02_second.ipynb taken into notebooks/02_second.ipynb")
    kept = json.loads(tracked.read_text())
    texts = ["".join(cell["source"]) for cell in kept["cells"]]
    assert "turns.txt" in texts[3] and texts[4] == "print('new')" and gone["id"] not in [c["id"] for c in kept["cells"]]
    assert "epochs: int = 3" in texts[1] and copies.MARK not in texts[1] and "secret" not in tracked.read_text()
    assert kept["cells"][4]["metadata"] == {} and kept["cells"][4]["execution_count"] is None
    assert params(bench) == "epochs: 4\n" and changes.difference("try") == ""
    with pytest.raises(ValueError, match="there is nothing to take back"):
        changes.keep("try", "02_second")


def test_a_change_of_a_cell_that_changed_in_the_notebook_as_well_is_refused(bench):
    tracked = bench / "notebooks" / "02_second.ipynb"
    changes.open_copies("try", ["02"])
    edited("try", "02_second", ("rounds.txt", "turns.txt"))
    tracked.write_text(tracked.read_text().replace("rounds.txt", "times.txt"))
    before = tracked.read_text()
    with pytest.raises(ValueError, match="02_second.ipynb was changed itself in cell"):
        changes.keep("try", "02_second")
    assert tracked.read_text() == before and "turns.txt" in copies.path("02_second", "try").read_text()


def test_moved_cells_and_code_among_the_parameters_are_refused(bench):
    changes.open_copies("try", ["2"])
    path = copies.path("02_second", "try")
    notebook = json.loads(path.read_text())
    notebook["cells"][3:5] = notebook["cells"][4:2:-1]
    path.write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match="cells were moved"):
        changes.difference("try")
    copies.remove("02_second", "try")
    changes.open_copies("try", ["2"])
    edited("try", "02_second", ("rate: float = 0.1", "rate: float = 0.1\nimport os"))
    with pytest.raises(ValueError, match="the parameters cell holds more than lines like"):
        changes.difference("try")


def test_a_run_is_made_checked_executed_and_listed_from_functions(bench, capsys, monkeypatch):
    package.new_run("second", dataset="table", epochs=1, word="two")
    assert params(bench, "second") == "dataset: table\nepochs: 1\nword: two\n"
    assert len(list((bench / "reports" / "second" / "copies").glob("*.ipynb"))) == 3
    package.new_run("second", dataset="table", epochs=1, word="two")  # the same again: nothing happens
    with pytest.raises(ValueError, match="exists and says"):
        package.new_run("second", dataset="table", epochs=2)
    for wrong, message in (({"epoch": 1}, "did you mean 'epochs'"), ({"epochs": "many"}, "expected int")):
        with pytest.raises(ValueError, match=message):
            package.new_run("third", dataset="table", **wrong)
    assert not (bench / "reports" / "third").exists() and package.check("table")
    package.execute("second")
    said = capsys.readouterr().out
    assert "[second] 01_first: done in" in said and "12 patients" in said
    package.overview()
    listed = capsys.readouterr().out
    assert "table" in listed and "A table" in listed and "done" in listed and "try" in listed
    monkeypatch.chdir(bench / "reports")
    package.pages("second")
    (bench / "reports" / "second" / "params.yaml").write_text("dataset: table\nfail: error\n")
    with pytest.raises(RuntimeError, match="exit code 1"):
        package.execute("second")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_the_command_line_says_what_comes_next(bench, capsys):
    words = ["new", "third", "--dataset", "table", "--epochs", "1", "--word=no"]
    assert cli.main(words) == 0 and "next: medlab run third" in capsys.readouterr().out
    assert params(bench, "third") == "dataset: table\nepochs: 1\nword: 'no'\n"
    assert cli.main(["check", "table"]) == 0 and "next: medlab new RUN --dataset table" in capsys.readouterr().out
    assert cli.main(["work", "third", "2"]) == 0 and "02_second.ipynb" in capsys.readouterr().out
    assert cli.main(["diff", "third"]) == 0 and "nothing was changed" in capsys.readouterr().out
    assert cli.main(["open", "third"]) == 2 and "it is made by: medlab run third" in capsys.readouterr().err
    assert cli.main(["list"]) == 0 and "not executed yet" in capsys.readouterr().out
    assert cli.main(["keep", "third", "9"]) == 2 and "no notebook '9'; there are 01_first" in capsys.readouterr().err


def test_version_and_completion(tmp_path):
    done = medlab("--version")
    assert done.stdout == f"medlab {package.__version__}\n"
    (tmp_path / "reports" / "demo-x").mkdir(parents=True)
    script = tmp_path / "completion.sh"
    script.write_text(medlab("completion", "bash").stdout)
    for words, expected in (("ru", "run"), ("new a --epo", "--epochs"), ("run dem", "demo-x"),
                            ("import x y --time-u", "--time-unit"), ("completion z", "zsh")):
        line = ["medlab", *words.split()]
        shell = subprocess.run(
            ["bash", "-c", f"source {script}; COMP_WORDS=({' '.join(line)}); COMP_CWORD={len(line) - 1}; _medlab; "
             'echo "${COMPREPLY[*]}"'], capture_output=True, text=True, cwd=tmp_path)
        assert shell.stdout.split() == [expected], shell.stderr
    assert "bashcompinit" in medlab("completion", "zsh").stdout


def test_jupyterlab_shows_the_project_and_starts_with_a_copy(bench, monkeypatch):
    shutil.copy(package.ROOT / "notebooks" / server.START, bench / "notebooks" / server.START)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ValueError, match="make lab ROOT=1"):
        server.command()
    (bench / "data").mkdir(exist_ok=True)
    words = server.command(allow_root=True, further=["--port=1"])
    assert f"--ServerApp.root_dir={bench}" in words and "--port=1" in words
    assert "--LabApp.default_url=/lab/tree/00_start.ipynb" in words and "--allow-root" in words
    assert server.prepare() == [] and copies.path("02_second", "try").exists()
    copy = server.first_notebook()
    tracked = bench / "notebooks" / server.START
    tracked.write_text(tracked.read_text().replace("Start here", "Begin here"))
    assert "Begin here" in server.first_notebook().read_text(), "unchanged: made anew"
    copy.write_text(copy.read_text().replace("gbsg2", "mine"))
    tracked.write_text(tracked.read_text().replace("Begin here", "Here"))
    assert "mine" in server.first_notebook().read_text(), "changed: left alone"


def test_a_tracked_notebook_is_saved_without_outputs(bench):
    path = bench / "notebooks" / "02_second.ipynb"
    stored = json.loads(path.read_text())
    content = json.loads(path.read_text())
    content["cells"][3] |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}], "execution_count": 4}
    content["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}
    manager, model = SimpleNamespace(root_dir=str(bench)), {"type": "notebook", "content": content}
    server.stripped(model, "notebooks/02_second.ipynb", manager)
    assert model["content"] == stored
    content["cells"][3]["execution_count"] = 5
    server.stripped(model, str(copies.path("02_second", "try").relative_to(bench)), manager)
    assert content["cells"][3]["execution_count"] == 5, "a working copy keeps its outputs"


def test_00_is_no_step_of_a_run():
    assert all(not name.startswith("00") for name in parameters.notebooks())
    assert (package.ROOT / "notebooks" / server.START).exists()


@pytest.mark.parametrize("key, value, message", [
    ("network", "resnet50", "expected one of simple, multiscale, resnet18, compact, se-simple"),
    ("augmentation", "funny", "expected one of auto, none, mild, CT"),
    ("segmentation_blocks", "dense", "expected one of residual, plain"),
    ("region", "chest", "expected one of auto, lungs, none"),
])
def test_a_word_that_no_notebook_knows_is_refused_before_anything_runs(key, value, message):
    with pytest.raises(ValueError, match=message):
        parameters.check_parameters({key: value}, "x")


def test_words_that_are_legal_are_those_of_the_rooms():
    from medlab.networks import models, policies

    for network in (*models.NETWORKS, "se-compact", "EfficientNetB0, weights.h5", "ResNet50,random"):
        assert parameters.check_parameters({"network": network}, "x") and models.parsed(network)
    for name in (*policies.POLICIES, "auto", "MR, rotation_deg=20, flip=lu", "flip=l"):
        assert parameters.check_parameters({"augmentation": name}, "x") and isinstance(policies.policy(name), dict)


def test_progress_is_on_the_page_of_a_running_notebook_now_and_then(bench):
    shown, passed = [], []
    stream = SimpleNamespace(write=passed.append, flush=lambda: None)
    progress = kernels.Progress(stream, shown.append, pause=0.0)
    for text in ("epoch 1/3  lo", "ss 2\nepoch 2", "/3  about 3.0 min left, until 14:05\n"):
        progress.write(text)
    assert "".join(passed).count("epoch") == 2
    assert shown == ["epoch 1/3  loss 2", "epoch 2/3  about 3.0 min left, until 14:05"]
    stamps.write_stamp("02_second", "try", state="running", started=0, progress=shown[-1])
    (bench / "reports" / "try" / ".lock").write_text("")
    with execute.lock("try"):
        assert "until 14:05" in stamps.describe("02_second", "try")[1]


def test_lines_of_notebooks_that_a_repeat_shows():
    lines = ["[x-s0] 03_cnn: done in 3 s\n", "[x-s0] 03_cnn: running (was not executed yet)\n", "epoch 1/3\n",
             "[x-s0] 04_evaluation: FAILED after 2 s\n"]
    assert [bool(repeats.ENDED.search(line)) for line in lines] == [True, False, False, True]


def test_options_of_the_command_line_become_parameters(bench):
    assert steps.as_values({"epochs": "5", "word": "1e3", "shout": True}) == {"epochs": 5, "word": "1e3", "shout": True}


def test_an_import_leaves_a_dataset_of_that_name_alone_and_says_so(bench, capsys):
    before = (bench / "data" / "table" / "card.yaml").read_bytes()
    package.import_source("nowhere.csv", "table")
    assert "data/table is there already (A table) and left as it is" in capsys.readouterr().out
    assert (bench / "data" / "table" / "card.yaml").read_bytes() == before
