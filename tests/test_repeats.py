"""The same run over folds and seeds: folders, what is executed, what is refused. Small notebooks, no TensorFlow."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import medlab, write_notebook

from medlab import ROOT
from medlab.engine import execute, parameters, repeats, stamps


@pytest.fixture
def many(bench):
    """The bench with notebooks that know folds and seeds, write metrics.json and compare; base run ``try``."""
    folder = bench / "notebooks"
    for path in folder.glob("*.ipynb"):
        path.unlink()
    write_notebook(folder, "01_first", 'run: str = "try"\nseed: int = 0\ndataset: str = "table"',
                   ['(folder / "dataset.json").write_text(\'{"name": "table", "synthetic": true}\')'],
                   reads=["data"], writes=["dataset.json"], needs=["dataset"])
    write_notebook(
        folder, "04_evaluation",
        'run: str = "try"\nseed: int = 0\nsplit_seed: int = -1\nn_folds: int = 0\nfold: int = 0\nepochs: int = 3\n'
        "bad_seed: int = -1",
        ['if seed == bad_seed:\n    raise ValueError("a bad seed")',
         "from medlab import storage",
         'storage.write_json(folder / "metrics.json", {"seed": seed, "fold": fold, "split_seed": split_seed})'],
        reads=["dataset.json"], writes=["metrics.json"], needs=["label"],
        results=[{"file": "metrics.json", "kind": "classification"}])
    write_notebook(
        folder, "13_compare", 'run: str = "try"\nseed: int = 0\ncompare: str = "auto"',
        ["from medlab.engine.parameters import compared_runs",
         "names = compared_runs(run, compare)",
         'have = [name for name in names if (folder.parent / name / "metrics.json").exists()]',
         "from medlab import storage",
         'storage.write_json(folder / "comparison.json", {"have": have, "synthetic": True})'],
        reads=["runs"], writes=["comparison.json"], needs=["repeats"])
    return bench


def reports(bench, name, file="params.yaml"):
    return bench / "reports" / name / file


def given(bench, name):
    return yaml.safe_load(reports(bench, name).read_text()) or {}


def compared(bench, name="try"):
    return json.loads(reports(bench, name, "comparison.json").read_text())["have"]


def ran(capsys):
    """Runs and notebooks executed since the last call, in this process."""
    return [line.split()[0].strip("[]") + " " + line.split()[1][:2] for line in
            capsys.readouterr().err.splitlines() if ": running (" in line]


def test_repeats_set_seed_and_fold_and_keep_one_partition(many):
    made = repeats.children("try", {"epochs": 2, "seed": 5, "compare": "x"}, folds=2, seeds=2)
    assert list(made) == ["try-f0-s0", "try-f0-s1", "try-f1-s0", "try-f1-s1"]
    assert made["try-f0-s0"] == {"epochs": 2, "split_seed": 5, "n_folds": 2}, "only what differs from the defaults"
    assert made["try-f1-s1"] == {"epochs": 2, "seed": 1, "split_seed": 5, "n_folds": 2, "fold": 1}
    made = repeats.children("try", {"split_seed": 9}, folds=0, seeds=3)
    assert made["try-s2"] == {"split_seed": 9, "seed": 2} and list(made) == ["try-s0", "try-s1", "try-s2"]
    assert all(one["split_seed"] == 0 for one in repeats.children("try", {}, 5, 3).values())


def test_repeats_of_a_run_by_site_hold_out_each_site_once(workspace, capsys):
    """With the notebooks as they are: a site that cannot be judged is left out with the reason, others keep theirs."""
    folder = workspace / "data" / "hospitals"
    folder.mkdir()
    (folder / "card.yaml").write_text("title: Hospitals\npatients: known\n")
    sites = ["Basel", "Chur", "Genf"] * 10
    lines = [f"p{i},{site},{40 + i},{10 + i},{'true' if i % 2 else 'false'}" for i, site in enumerate([*sites, "Bern"])]
    (folder / "cohort.csv").write_text("\n".join(["patient_id,hospital,age_years,time_days,event", *lines]))
    run = workspace / "reports" / "lung"
    run.mkdir()
    (run / "params.yaml").write_text("dataset: hospitals\nsplit: site:hospital\n")
    assert repeats.repeat("lung", seeds=2, only_write=True)
    said = capsys.readouterr().err
    assert "never held out, always learnt from: Bern: 1 patient, expected 10 or more" in said
    made = sorted(path.parent.name for path in (workspace / "reports").glob("lung-*/params.yaml"))
    assert made == [f"lung-f{fold}-s{seed}" for fold in (0, 2, 3) for seed in (0, 1)]
    assert parameters.read_params("lung-f3-s1") == {
        "dataset": "hospitals", "split": "site:hospital", "split_seed": 0, "seed": 1, "fold": 3}
    with pytest.raises(ValueError, match="--folds 5: in lung 'split: site:hospital' says who is tested"):
        repeats.repeat("lung", folds=5)
    with pytest.raises(ValueError, match="lung/params.yaml: split: site:hospital: Bern cannot be the test part"):
        (run / "params.yaml").write_text("dataset: hospitals\nsplit: site:hospital\nfold: 1\n")
        execute.run_many(["lung"])
    for line, said in (("split: site:hopsital", "did you mean 'hospital'"),
                       ("split: when:age_years", "expected one of auto"),
                       ("split: time:age_years\nn_folds: 3", "exclude each other"),
                       ("mask_channel: true", "no parameter any more; write 'channels: auto.mask' instead")):
        (run / "params.yaml").write_text(f"dataset: hospitals\n{line}\n")
        with pytest.raises(ValueError, match=f"lung/params.yaml: .*{said}"):
            execute.run_many(["lung"])
    (run / "params.yaml").write_text("dataset: hospitals\nsplit: site:hospital\n")
    (folder / "cohort.csv").write_text("\n".join(["patient_id,hospital,age_years,time_days,event", *lines[:12]]))
    with pytest.raises(ValueError, match="fewer than two sites can be the test part .Basel: 4 patients"):
        repeats.repeat("lung", only_write=True)


def test_repeat_executes_compares_and_skips_what_is_current(many, capsys):
    assert repeats.repeat("try", seeds=2, jobs=2)
    said = capsys.readouterr().err
    assert "2 repeats, 0 of them current" in said and "[1/2] try-s" in said and "1 left, about" in said
    assert json.loads(reports(many, "try-s1", "metrics.json").read_text()) == {"seed": 1, "fold": 0, "split_seed": 0}
    assert compared(many) == ["try-s0", "try-s1"]
    assert not reports(many, "try", "metrics.json").exists(), "the run itself is left as it is"
    assert repeats.repeat("try", seeds=2)
    said = capsys.readouterr().err
    assert "2 repeats, 2 of them current" in said and "running (" not in said
    (many / "reports" / "try-s1" / "metrics.json").write_text('{"auc": 1}')
    assert execute.execute_run("try", *execute.plan("try"), only="repeats")
    assert ran(capsys) == ["try 13"], "a changed result makes the comparison stale"


def test_a_failing_repeat_stops_no_other(many, capsys):
    reports(many, "try").write_text("bad_seed: 1\n")
    assert not repeats.repeat("try", seeds=3)
    said = capsys.readouterr().err
    assert "[2/3] try-s1: FAILED" in said and "ValueError: a bad seed" in said and "[3/3] try-s2: done" in said
    assert "1 of 3 repeats FAILED: reports/try-s1/index.html" in said
    assert compared(many) == ["try-s0", "try-s2"]
    reports(many, "try").write_text("epochs: 4\n")
    assert repeats.repeat("try", seeds=2, only_write=True)
    assert given(many, "try-s1") == {"epochs": 4, "split_seed": 0, "seed": 1}, "a repeat made here follows its run"


@pytest.mark.parametrize("words, message", [
    (["nowhere", "--seeds", 3], "reports/nowhere/params.yaml does not exist"),
    (["try", "--folds", 1, "--seeds", 3], "--folds 1: expected 2 or more, or 0"),
    (["try", "--folds", -2], "expected 2 or more"),
    (["try", "--seeds", 0], "--seeds 0"),
    (["try"], "one fold and one seed are the run itself"),
    (["try", "--seeds", 2, "--jobs", 0], "--jobs 0"),
    (["../try", "--seeds", 2], "expected letters"),
])
def test_impossible_repeats_are_refused(many, words, message):
    done = medlab("repeat", *words)
    assert done.returncode == 2 and message in done.stderr
    assert os.listdir(many / "reports") == ["try"]


def test_a_repeat_written_by_hand_is_never_overwritten(many):
    reports(many, "try-s1").parent.mkdir()
    mine = "epochs: 7  # mine\nseed: 1\nsplit_seed: 0\n"
    reports(many, "try-s1").write_text(mine)
    with pytest.raises(ValueError, match=r"try-s1/params.yaml: epochs is 7, would be 2"):
        repeats.repeat("try", seeds=2, only_write=True)
    assert reports(many, "try-s1").read_text() == mine and not reports(many, "try-s0").exists()
    mine = "epochs: 2\nseed: 1\nsplit_seed: 0\nfold: 0\n"
    reports(many, "try-s1").write_text(mine)
    assert repeats.repeat("try", seeds=2, only_write=True)
    assert reports(many, "try-s1").read_text() == mine, "written differently, but the same"
    reports(many, "try-s0").write_text(reports(many, "try-s0").read_text().replace("epochs: 2\n", "epochs: 8\n"))
    with pytest.raises(ValueError, match="try-s0/params.yaml: epochs is 8, would be 2"):
        repeats.repeat("try", seeds=2, only_write=True)


def test_repeats_executed_by_snakemake_are_current(many, capsys):
    assert repeats.repeat("try", folds=2, only_write=True)
    assert not reports(many, "try-f0-s0", "index.html").exists()
    pages = [str(reports(many, name, "index.html")) for name in ("try-f0-s0", "try-f1-s0")]
    assert f"snakemake -c1 {' '.join('reports/' + page.split('/reports/')[1] for page in pages)}" in \
        capsys.readouterr().err
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if shutil.which("medlab", path=environment["PATH"]) is None:
        pytest.skip("the command medlab is not installed beside this Python")
    done = subprocess.run([sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "-c2", *pages],
                          cwd=many, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert repeats.repeat("try", folds=2)
    assert "2 of them current" in capsys.readouterr().err and compared(many) == ["try-f0-s0", "try-f1-s0"]


def test_runs_are_compared_by_name_and_pattern(many):
    for name in ("a-s0", "a-s10", "a-s2", "b", "try-s0", "try-f0-s1", "try-x", "try-s0-old"):
        reports(many, name).parent.mkdir()
        reports(many, name).write_text("")
    assert parameters.compared_runs("try") == ["try-f0-s1", "try-s0"]
    assert parameters.compared_runs("try", "b, a-s*") == ["b", "a-s0", "a-s2", "a-s10"]
    assert "try" not in parameters.compared_runs("try", "*")
    with pytest.raises(ValueError, match="compare names 'c-s0', but no run .*a-s0"):
        parameters.compared_runs("try", "c-s0")


def test_a_run_that_only_compares_has_no_dataset(many, capsys):
    reports(many, "ab").parent.mkdir()
    reports(many, "ab").write_text('dataset: ""\ncompare: try-s*\n')
    repeats.repeat("try", seeds=2, only_write=True)
    done = medlab("run", "ab")
    assert done.returncode == 2 and "fewer than two of those named in 'compare' have results" in done.stderr
    assert repeats.repeat("try", seeds=2)
    capsys.readouterr()
    assert execute.run_many(["ab"]) and ran(capsys) == ["ab 13"] and compared(many, "ab") == ["try-s0", "try-s1"]
    index = reports(many, "ab", "index.html").read_text()
    assert "This run only compares others." in index and "Synthetic data." in index
    assert "Synthetic data." in reports(many, "ab", "13_compare.html").read_text()
    for name in ("try-s0", "try-s1"):
        shutil.rmtree(many / "reports" / name)
    assert execute.run_many(["try"])
    assert not reports(many, "try", "comparison.json").exists(), "no longer part of the run: its results are gone"
    assert stamps.read_stamp("13_compare", "try") == {}
    assert "no two other runs with results" in reports(many, "try", "index.html").read_text()


def test_two_seeds_of_the_embedded_cohort_end_to_end(demo_copy):
    folder, environment = demo_copy
    base = folder / "seeds"
    base.mkdir()
    (base / "params.yaml").write_text('epochs: 1\nnetwork: simple\nimage_size: 48\nn_bootstrap: 200\n'
                                      'sanity_gate: false\ncompare_bootstrap: 200\nsteps: "1-4"\n')
    done = medlab("repeat", "seeds", "--seeds", 2, env=environment)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads((base / "comparison.json").read_text())
    pages = [json.loads((folder / f"seeds-s{seed}" / "metrics.json").read_text()) for seed in (0, 1)]
    assert found["models"]["network"]["auc"] == pytest.approx((pages[0]["auc"] + pages[1]["auc"]) / 2)
    assert pages[0]["auc"] != pages[1]["auc"] and found["n_patients"] == pages[0]["n_patients"]
    assert not [text for text in found["remarks"] if "WARNING" in text] and found["differing_parameters"] == {}
    assert "Synthetic data." in (base / "13_run_comparison.html").read_text()
    again = medlab("repeat", "seeds", "--seeds", 2, env=environment)
    assert again.returncode == 0 and "2 repeats, 2 of them current" in again.stderr and "running (" not in again.stderr
    for name in ("seeds", "seeds-s0", "seeds-s1"):
        shutil.rmtree(folder / name)
    assert medlab("run", "demo", env=environment).returncode == 0  # the list of all runs no longer names them
    assert "seeds" not in (folder / "index.html").read_text()
