"""What a notebook reaches by imports decides when it is stale, and adding a notebook touches one file."""

import shutil

import pytest
from conftest import write_notebook

from medlab import reach, storage
from medlab.engine import execute, openings, parameters, report, stamps
from medlab.networks import journal
from medlab.pet import figures


def test_modules_are_reached_directly_or_not_also_from_inside_a_function():
    named = {path.name for path in reach.files("def f():\n    from medlab.networks import training")}
    assert {"training.py", "losses.py", "pipeline.py", "models.py"} <= named and "execute.py" not in named
    assert reach.files("import numpy\n%magic") == [] and reach.files(storage) == [reach.PACKAGE / "storage.py"]
    assert set(reach.digests(figures)) <= {f"medlab/{path.relative_to(reach.PACKAGE).as_posix()}"
                                           for path in reach.PACKAGE.rglob("*.py")}


def test_imports_beside_a_magic_and_relative_ones_are_reached(copied):
    wanted = copied / "pet" / "figures.py"
    for cell in ("%matplotlib inline\n", "if 1:\n    !ls\n", "reach?\n", "%%time\n"):
        assert wanted in reach.files(cell + "from medlab.pet import figures")
    (copied / "pet" / "new.py").write_text("from . import figures\nfrom ..imaging.geometry import restore\n")
    assert {wanted, copied / "imaging" / "geometry.py"} <= set(reach.files("import medlab.pet.new"))


@pytest.mark.parametrize("name", ["03_cnn_training", "06_segmentation", "07_lesion_detection"])
def test_a_saved_training_depends_on_the_policies_too(name):
    cell = next(text for text in parameters.code(name) if "journal.key(" in text)
    assert "policies" in cell.split("code=(")[1].split(")")[0]


@pytest.fixture
def copied(workspace, tmp_path, monkeypatch):
    """A copy of the package whose files may be edited."""
    folder = tmp_path / "copy" / "medlab"
    shutil.copytree(reach.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(reach, "PACKAGE", folder)
    return folder


def test_an_edited_figure_of_pet_makes_10_stale_and_leaves_03_current(copied):
    names = ("03_cnn_training", "10_pet")
    for name in names:
        origin = stamps.made_from(name, "try", {}, "data")
        stamps.write_stamp(name, "try", state="done", made_from=origin, writes={})
    assert [stamps.why_stale(name, "try", {}, "data") for name in names] == ["", ""]
    path = copied / "pet" / "figures.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert [stamps.why_stale(name, "try", {}, "data") for name in names] == [
        "", "module medlab/pet/figures.py changed"]
    path = copied / "networks" / "losses.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert stamps.why_stale("03_cnn_training", "try", {}, "data") == "module medlab/networks/losses.py changed"


def test_stamps_of_earlier_versions_and_damaged_ones_are_stale_and_no_error(workspace):
    origin = stamps.made_from("10_pet", "try", {}, "data")
    done = {"state": "done", "writes": {}}
    earlier = {key: value for key, value in origin.items() if key != "code"} | {"package": "0123"}
    for stamp, reason in (
            (done | {"made_from": earlier}, "module "), (done | {"made_from": origin | {"code": "0"}}, "module "),
            (done, "damaged"), (None, "not executed"), ([], "not executed"), ({"state": []}, "not executed")):
        stamps.stamp_path("10_pet", "try").parent.mkdir(parents=True, exist_ok=True)
        storage.write_json(stamps.stamp_path("10_pet", "try"), stamp)
        assert reason in stamps.why_stale("10_pet", "try", {}, "data")


def test_a_saved_training_depends_on_the_code_that_trains(copied):
    before = journal.key({}, code=(copied / "networks" / "training.py",))
    (copied / "networks" / "losses.py").open("a").write("\n# edited\n")
    (copied / "plots.py").open("a").write("\n# edited\n")
    trained = journal.key({}, code=(copied / "networks" / "pipeline.py",))
    assert journal.key({}, code=(copied / "networks" / "training.py",)) != before != trained


def test_a_new_notebook_is_one_file_and_its_numbers_are_on_the_index(bench):
    write_notebook(bench / "notebooks", "21_new", 'run: str = "try"\nseed: int = 0\nnew_reps: int = 3',
                   ['import json\nfound = {"sharpness": 0.71, "sharpness_low": 0.6, "sharpness_high": 0.8}\n'
                    'found["n_images"] = 12\n'
                    '(folder / "new.json").write_text(json.dumps(found))'],
                   writes=["new.json"], results=[{"file": "new.json", "heading": "How sharp", "kind": "sharpness",
                                                  "rows": "new.json", "models": ["eye"],
                                                  "labels": {"sharpness": "Sharpness, line pairs per mm"}}])
    assert execute.run_many(["try"])
    index = (bench / "reports" / "try" / "index.html").read_text()
    assert all(text in index for text in ("How sharp", "Sharpness, line pairs per mm", "0.710", "n = 12 images."))
    assert parameters.has_results("try") and "new_reps" in parameters.known_parameters()
    assert parameters.compared_results()["sharpness"]["notebook"] == "21_new"


def test_the_index_shows_the_ledger(bench):
    write_notebook(bench / "notebooks", "21_new", 'run: str = "try"\nseed: int = 0',
                   ['(folder / "new.json").write_text(\'{"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8}\')'],
                   writes=["new.json"], results=[{"file": "new.json", "heading": "New"}])
    assert execute.run_many(["try"])
    prepared = {"test_part": "a" * 32}
    storage.write_json(bench / "reports" / "try" / "preprocessing.json", prepared)
    assert report.looks_in_words("try") == ""
    for run in ("earlier", "try"):
        openings.record(prepared, run, "21_new", run, {})
    assert execute.run_many(["try"])
    index = (bench / "reports" / "try" / "index.html").read_text()
    assert "by earlier, try" in index and "WARNING" in index


def test_two_notebooks_with_the_same_result_are_refused_and_a_copy_is_no_notebook(bench):
    for name in ("21_new", "22_same"):
        write_notebook(bench / "notebooks", name, 'run: str = "try"', [], results=[{"file": "new.json"}])
    with pytest.raises(ValueError, match="21_new and 22_same both declare new.json"):
        parameters.results()
    (bench / "notebooks" / "22_same.ipynb").rename(bench / "notebooks" / "21_new-Copy1.ipynb")
    assert parameters.results()["new.json"]["heading"].startswith("21 ")


def test_another_layout_makes_the_pages_anew_and_executes_nothing(bench, capsys, monkeypatch):
    assert execute.run_many(["try"])
    page = bench / "reports" / "try" / "01_first.html"
    page.write_text("old layout")
    monkeypatch.setattr(execute, "layout", lambda: "another")
    capsys.readouterr()
    assert execute.run_many(["try"]) and "running (" not in capsys.readouterr().err
    assert "old layout" not in page.read_text() and stamps.read_stamp("01_first", "try")["layout"] == "another"
    assert not [path for path in reach.files(*parameters.code("01_first")) if path.name == "pages.py"]
