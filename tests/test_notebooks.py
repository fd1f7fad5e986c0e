"""The numbered notebooks end to end on 60 embedded patients: under the engine, under nbval, by papermill."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import medlab
from PIL import Image

from medlab import ROOT, storage
from medlab.engine import parameters

PAGES = ("01_data_exploration", "02_preprocessing", "03_cnn_training", "04_evaluation", "05_survival_analysis")


def test_the_demo_run_is_complete(demo):
    folder, _ = demo
    run = folder / "reports" / "demo"
    for name in PAGES:
        page = (run / f"{name}.html").read_text()
        assert 'class="badge">done' in page and "Synthetic data." in page and "Research use only" in page
        assert not re.search(r"<script|https?://(?!www\.w3\.org)[^\"<]*\.(js|css)", page)
        assert str(folder) not in page and "/site-packages/" not in page
        assert page.count('class="answer"') == 1 and (run / f"{name}.answer.json").exists()
        assert f'href="figures/{name}-1.png"' in page and (run / "figures" / f"{name}-1.png").exists()
    assert 'href="figures/05_survival_analysis-1.csv"' in page and 'href="figures/05_survival_analysis-1.svg"' in page
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["auc_low"] <= metrics["auc"] <= metrics["auc_high"] <= 1
    assert metrics["n_patients"] > 5 and metrics["n_images"] >= metrics["n_patients"]
    survival = json.loads((run / "survival.json").read_text())
    assert {"kaplan_meier", "clinical", "image", "fused", "truth"} <= set(survival["models"])
    fused = survival["models"]["fused"]
    assert 0 <= fused["c_harrell_low"] <= fused["c_harrell"] <= fused["c_harrell_high"] <= 1
    index = (run / "index.html").read_text()
    assert f"{metrics['auc']:.3f}" in index and f"{fused['c_harrell']:.3f}" in index and index.count("<figure>") >= 4
    assert "demo/index.html" in (folder / "reports" / "index.html").read_text()


def test_a_second_run_executes_nothing_and_a_changed_parameter_only_what_follows(demo_copy):
    reports, environment = demo_copy
    again = medlab("run", "demo", env=environment)
    assert again.returncode == 0 and "running (" not in again.stderr
    (reports / "demo" / "params.yaml").write_text(
        'epochs: 2\nimage_size: 48\nn_bootstrap: 200\nsanity_gate: false\nsteps: "1-4"\n')
    changed = medlab("run", "demo", env=environment)
    assert re.findall(r"(\d\d)_\w+: running", changed.stderr) == ["03", "04"], changed.stderr


BELONGS = {}  # run that a notebook names in its parameters -> notebooks; a new one is found by its number
for name in parameters.notebooks():
    BELONGS.setdefault(parameters.declared(name)["run"], []).append(name)
SMALL = {"demo": "epochs: 1\nnetwork: simple\nsanity_gate: false\nimage_size: 48\nn_bootstrap: 100\n"
                 "survival_bootstrap: 100\nforest_trees: 10\n"
                 "segmentation_epochs: 1\nsegmentation_bootstrap: 100\ndetection_epochs: 1\n"
                 "detection_bootstrap: 100\nanalysis_stability: 10\ncompare_bootstrap: 100\n",
         "demo-external": "dataset: other\nmodel_of: demo\n", "demo-fmri": "dataset: fmri\n",
         "demo-pet": "dataset: pet\n"}
SOURCES = {"fmri": ("fmri", "--volumes", 90), "pet": ("pet", "--patients", 2),
           "other": ("thorax", "--patients", 40, "--seed", 1)}


@pytest.fixture
def belonging(demo_copy, tmp_path):
    """Reports and environment in which every demo run is small: the cohorts, its parameters, two repeats to compare."""
    reports, environment = demo_copy
    data = tmp_path / "data"
    data.mkdir()
    (data / "thorax").symlink_to(Path(environment["MEDLAB_DATA"]) / "thorax")
    for run, text in SMALL.items():
        (reports / run).mkdir(exist_ok=True)
        (reports / run / "params.yaml").write_text(text)
    for seed in (0, 1):
        shutil.copytree(reports / "demo", reports / f"demo-s{seed}")
        (reports / f"demo-s{seed}" / "params.yaml").write_text(f"seed: {seed}\nimage_size: 48\n")
    return reports, {**environment, "MEDLAB_DATA": str(data)}


@pytest.mark.parametrize("run", BELONGS)
def test_nbval_runs_every_notebook(belonging, run):
    reports, environment = belonging
    dataset = yaml.safe_load(SMALL[run]).get("dataset")
    if dataset:
        source, *size = SOURCES[dataset]
        made = medlab("import", f"synthetic:{source}", dataset, *size, env=environment)
        assert made.returncode == 0, made.stderr[-3000:]
        storage.write_json(reports / run / "dataset.json", {"name": dataset, "synthetic": True})
    if "model_of" in SMALL[run]:  # what it reads of its own run
        first = medlab("run", run, env=environment)
        assert first.returncode == 0, first.stderr[-3000:]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "--nbval-current-env",
            "--nbval-cell-timeout=600",
            "-p",
            "no:cacheprovider",
            "-q",
            *(str(parameters.notebooks()[name]) for name in BELONGS[run]),
        ],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert len(BELONGS) == len(SMALL), "a demo run without its small parameters here"


def test_papermill_alone_runs_a_notebook(demo_copy):
    reports, environment = demo_copy
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "notebooks/01_data_exploration.ipynb",
            str(reports / "out.ipynb"),
            "-p",
            "run",
            "alone",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (reports / "alone" / "cohort.parquet").exists()


def weights_of(path):
    """Every array of a saved network, by name."""
    arrays = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def test_a_training_killed_in_the_middle_goes_on_where_it_was(demo_copy):
    """kill -9 of `medlab run`: the same weights as without the kill, epochs before it are not repeated."""
    reports, environment = demo_copy
    run = reports / "demo"
    (run / "params.yaml").write_text('epochs: 6\nnetwork: simple\nimage_size: 48\nsanity_gate: false\nsteps: "1-3"\n')
    process = subprocess.Popen([sys.executable, "-m", "medlab", "run", "demo"], env=environment,
                               stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            break
    process.kill()
    process.wait()
    for _ in range(100):  # until the kernel, too, has noticed
        done = medlab("run", "demo", env=environment)
        if done.returncode != 2:
            break
        time.sleep(0.3)
    assert done.returncode == 0, done.stderr[-3000:]
    resumed = re.search(r"resumed after epoch (\d+)", done.stderr)
    assert resumed and int(resumed[1]) >= 3 and "epoch 2/" not in done.stderr, done.stderr[-3000:]
    history = (run / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 6
    first = weights_of(run / "model.keras")
    shutil.rmtree(run / "03_state")
    (run / "history.csv").unlink()  # makes 03 stale: trained again, this time without a kill
    assert medlab("run", "demo", env=environment).returncode == 0
    again, second = (run / "history.csv").read_text().splitlines(), weights_of(run / "model.keras")
    losses = [[line.split(",")[1] for line in lines[1:]] for lines in (history, again)]
    assert losses[0] == losses[1] and len(first) > 10 and first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    (run / "history.csv").unlink()  # stale once more: what was trained is taken as it is
    done = medlab("run", "demo", env=environment)
    assert done.returncode == 0 and "epoch 1/" not in done.stderr, done.stderr[-3000:]
    assert (run / "history.csv").read_text().splitlines() == again
    assert json.loads((run / "training.json").read_text())["resumed"] == "trained before, to epoch 6"
    assert all(np.array_equal(first[name], value) for name, value in weights_of(run / "model.keras").items())


def small_cohort(folder, pictured):
    """Seventy patients whose age, and the brightness of their pictures, shorten the survival; four have no picture."""
    random, rows = np.random.default_rng(3), []
    (folder / "pictures").mkdir(parents=True)
    for i in range(70):
        bright, age = random.random(), random.normal(60, 10)
        time = 2000 * random.exponential() / np.exp(2 * (bright - 0.5) + 0.06 * (age - 60))
        patient = {"patient_id": f"p{i:02d}", "time_days": int(min(time, 1500)) + 1, "event": time < 1500,
                   "age_years": round(age, 1), "site": "ab"[i % 2]}
        names = [f"pictures/{i:02d}_{k}.png" for k in range(i % 3)] if pictured else []
        for name in names:
            pixels = np.clip(200 * bright + random.normal(20, 10, (24, 24)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name)
        rows += [patient | {"image": name} for name in names] or [patient]
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    card = "title: Made up\npatients: known\nsynthetic: true\n" + "modality: OT\n" * pictured
    (folder / "card.yaml").write_text(card)


@pytest.mark.parametrize("pictured, head", [(True, "hazard"), (False, "cox")])
def test_survival_with_several_images_or_none_and_with_a_table_alone(workspace, pictured, head):
    small_cohort(workspace / "data" / "made_up", pictured)
    run = workspace / "reports" / "made-up"
    run.mkdir()
    (run / "params.yaml").write_text(f"dataset: made_up\nepochs: 2\nnetwork: simple\nsurvival_head: {head}\n"
                                     "survival_bootstrap: 50\nforest_trees: 10\nsteps: 1-5\n")
    done = medlab("run", "made-up")
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.findall(r"(\d\d)_\w+: done", done.stderr) == ["01", "02", "03", "05"]
    split, facts = pd.read_parquet(run / "split.parquet"), json.loads((run / "survival_training.json").read_text())
    assert split["patient_id"].nunique() == 70 and (run / "images.npy").exists() == pictured
    risk = pd.read_parquet(run / "risk.parquet")
    assert len(risk) == 70, "who has no picture is not lost"
    models = json.loads((run / "survival.json").read_text())["models"]
    if pictured:
        assert (~split["has_image"]).sum() == 24 and not split["has_image"].iloc[-24:].any()
        assert facts["main"] == "fused" and {"image", "table", "fused"} <= set(models)
        assert np.load(run / "images.npy", mmap_mode="r").shape[0] == split["has_image"].sum()
        assert risk["risk_fused"].notna().all()
        brier = {name: models[name]["integrated_brier"] for name in ("fused", "kaplan_meier")}
        assert brier["fused"] < 1.25 * brier["kaplan_meier"], "the level of the hazards"
    else:
        assert facts["main"] == "table" and facts["table_units"] == "" and "image" not in models
        assert "ridge Cox model" in json.loads((run / "training.json").read_text())["sanity"]["sentence"]
