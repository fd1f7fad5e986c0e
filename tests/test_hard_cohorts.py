"""Cohorts that are hard but legal: what each room says of them; whole notebooks in benchmarks/every_cohort.py."""

import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt

from medlab import plots
from medlab.cohorts import annotations, checks, datasets, summary
from medlab.comparison import groups, stability
from medlab.detection import scores as detection_scores
from medlab.engine import parameters
from medlab.evaluation import baselines
from medlab.networks import diagnosis, fusion, outcomes
from medlab.radiomics import reliability
from medlab.segmentation import scores
from medlab.statistics import metrics
from medlab.survival import followup


@pytest.mark.parametrize("files, names", [
    (["images/ill/02_test.png", "images/well/02_test.png"], ["ill/02_test", "well/02_test"]),
    (["images/a.nii.gz", "images/b.nii.gz"], ["a", "b"]),
    (["scans/p1.npz::ct", "scans/p2.npz::ct"], ["p1", "p2"]),
    (["a.1.png", "a.1.jpg"], ["a.1.png", "a.1.jpg"]),  # without the suffix they would be one
    (["1.2.840.7", "1.2.840.8"], ["1.2.840.7", "1.2.840.8"])])
def test_images_are_called_as_the_dataset_calls_them(files, names):
    table = pd.DataFrame({"image": files, "patient_id": ["i000001", "i000002"]}, index=[4, 9])
    assert list(datasets.image_names(table)) == names and list(datasets.image_names(table).index) == [4, 9]
    assert list(datasets.units(table, patients_known=False)) == names
    assert list(datasets.units(table, patients_known=True)) == ["i000001", "i000002"]


def test_frames_of_one_file_are_told_apart():
    table = pd.DataFrame({"image": ["x/a.npy", "x/a.npy", "x/b.npy"], "frame": [0, 1, None]})
    assert list(datasets.image_names(table)) == ["a [0]", "a [1]", "b"]


def test_characters_without_a_font_are_named_once_in_words():
    with mpl.rc_context({"font.family": ["DejaVu Sans"]}):
        assert plots.undrawable(["<i>x</i>", "$x$", "סרטן", "100 %_é"]) == []
        said, = plots.undrawable(["悪性", "良性"])
    assert "3 characters of the names (悪性良)" in said
    cohort = pd.DataFrame({"部位": ["肺", None], "age": [1, 2]})
    assert summary.names_shown(cohort, ["悪性"], ["部位", "age"]) == ["悪性", "部位", "age", "肺"]


def test_a_dollar_and_a_tag_in_a_name_are_drawn_as_they_are():
    with mpl.rc_context():
        plots.setup(synthetic=True)
        ax = plots.axes()
        wide, narrow = (ax.text(0, 0, name).get_window_extent().width
                        for name in ("<i>a</i> in $x_1$ & $y$", "a in x1 & y"))
        assert wide > 1.5 * narrow
        plt.close("all")


def test_a_feature_of_one_stability_table_only_is_listed_with_a_gap():
    stable = reliability.agreement({
        "as it is": (one := pd.DataFrame({"radiomics_a": [1.0, 2, 3], "radiomics_b": [1.0, 5, 9]})),
        "eroded": one.assign(radiomics_b=np.nan), "dilated": one, "noise": one + 0.1})
    worst = reliability.least_stable(stable)
    assert worst.loc["radiomics_b", ("region", "n")] is pd.NA and worst.loc["radiomics_b", ("noise", "n")] == 3


def made_run(name, survival, metrics):
    folder = parameters.run_folder(name)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"seed": int(name[-1])}))
    for file, content in (("dataset", {"name": "d", "fingerprint": "f", "n_patients": 9}),
                          ("survival", survival), ("metrics", metrics)):
        (folder / f"{file}.json").write_text(json.dumps(content))
    for file in ("risk", "predictions"):
        (folder / f"{file}.parquet").touch()


def test_runs_whose_test_part_cannot_be_scored_are_named_and_left_out_of_that_kind(workspace):
    scored = {"auc": 0.7, "auc_low": 0.5, "auc_high": 0.9, "n_images": 8}
    for seed in (0, 1):
        made_run(f"x-s{seed}", {"part": "test", "n_patients": 3, "models": {}}, scored)
    table = groups.runs(["x-s0", "x-s1"])
    assert groups.comparable(table) == ["classification"]
    said = [line for line in groups.remarks(table) if "survival" in line]
    assert said == ["x-s0, x-s1: no survival results with C, Harrell about this part, left out of it."]
    made_run("y-s0", {"part": "test", "models": {}}, {"auc": None, "auc_low": None, "n_images": 2})
    made_run("y-s1", {"part": "test", "models": {}}, {"auc": None, "auc_low": None, "n_images": 2})
    with pytest.raises(ValueError, match="too small to be scored .one class, no events., set larger fractions in 02"):
        groups.comparable(groups.runs(["y-s0", "y-s1"]))


def of_patients(**columns):
    return pd.DataFrame({"patient_id": list("abcde"), "split": ["train"] * 3 + ["val", "test"], **columns})


def test_what_cannot_be_learnt_is_left_out_or_refused_before_the_network_is_made():
    timed = {"time_days": [1.0, 2, 3, 4, 5], "event": [False, False, False, True, True]}
    both = of_patients(label=list("nynyn"), **timed)
    assert outcomes.wanted(both) == ["label"], "no event in training"
    assert outcomes.not_learnt(both, ["label"]) == ("Left out, survival: no event among 3 training patients with "
                                                    "follow-up.")
    assert outcomes.wanted(both.assign(event=True)) == ["label", "survival"]
    one = both.assign(label="n", event=True)
    assert outcomes.wanted(one) == ["survival"] and "every image is 'n'" in outcomes.not_learnt(one, ["survival"])
    with pytest.raises(ValueError, match="no event among 3 training patients.*choose another split"):
        outcomes.wanted(of_patients(**timed))
    with pytest.raises(ValueError, match="every image is 'n' and survival: no event.*choose"):
        outcomes.wanted(both.assign(label="n"), "both")
    with pytest.raises(ValueError, match="neither images nor a covariate.*leave this notebook out with steps"):
        fusion.create("", None, {}, {"survival": np.ones((3, 2))})


@pytest.mark.parametrize("changes, offered", [
    ({}, {"label", "covariates", "observed events"}), ({"label": "a"}, {"covariates", "observed events"}),
    ({"event": False}, {"label", "covariates"}), ({"age": 3}, {"label", "observed events"})])
def test_a_cohort_offers_only_what_can_tell_patients_apart(changes, offered):
    cohort = of_patients(label=list("nynyn"), event=[True] * 5, time_days=[1.0, 2, 3, 4, 5], age=[1, 2, 3, 4, 5])
    found = datasets.conditions(datasets.Dataset("x", None, {}, cohort.drop(columns="split").assign(**changes)))
    assert found & {"label", "covariates", "observed events"} == offered and {"survival", "table"} <= found


def test_follow_up_without_one_side_and_with_equal_times_in_words():
    time = pd.Series([300, 600, 900] * 4, dtype=float)
    for event in (pd.Series([True] * 12), pd.Series([False] * 12), pd.Series([True, False, True] * 4)):
        said = followup.coding_in_words({}, time, event) + str(followup.in_words(followup.describe(time, event)))
        assert "nan" not in said and "inf" not in said and "of the 0" not in said
    assert "(or more, where times are equal) 100% have the event" in followup.coding_in_words({}, time, time > 600)


def test_a_complete_column_of_a_cohort_of_events_only_does_not_repeat_the_outcome(workspace):
    folder = workspace / "data" / "seen"
    folder.mkdir()
    (folder / "card.yaml").write_text("title: Seen\npatients: known\n")
    pd.DataFrame({"patient_id": range(40), "time_days": range(1, 41), "event": True, "age": np.arange(40) % 7}).to_csv(
        folder / "cohort.csv", index=False)
    assert not [said for _, said in checks.check("seen") if "repeats the outcome" in said]


def test_numbers_without_an_interval_are_not_written_as_nan():
    one = {"value": 0.5, "low": np.nan, "high": np.nan}
    assert metrics.in_words(one, sign="+") == "+0.500 (no interval)"
    assert metrics.in_words(one | {"value": np.nan}) == "not defined"
    assert "+0.500 (no interval): not shown to be better" in baselines.gains_in_words({"table": one}, "patients")
    assert detection_scores.difference_in_words(one, "cats").endswith("+0.500 (no interval)")
    gain = scores.paired([np.nan], [0.2])
    assert "nan" not in scores.gain_in_words(gain, "U-Net", "Otsu")


def test_sentences_of_a_part_of_one_patient_and_of_empty_masks_hold_no_nan():
    history = pd.DataFrame({"val_loss": [0.7], "val_image_c": [np.nan]})
    assert diagnosis.kept_in_words(history, 1, "last", "image_c") == "epoch 1 of 1 (last), validation loss 0.700"
    facts = {"seeds": 2, "n": 1, "sd": 0.0, "agreement": np.nan, "switched": 0.0}
    assert "not defined" in stability.in_words("x", "U-Net", facts)
    empty = pd.DataFrame({"mask_size": [0, 0], "problem": None, "depth": np.nan, "spacing_mm": None})
    assert annotations.median_size_in_words(empty) == "No mask marks anything: check mask_classes in card.yaml."


@pytest.mark.parametrize("title, steps", [
    ("all censored, table", "01,02,03,05"), ("covariate is the order of survival, table", "01,02,05"),
    ("radiomics, small and empty masks", "01,02,08"), ("strange names, table", "01,02")])
def test_notebooks_run_to_their_end_on_some_hard_cohorts(workspace, monkeypatch, title, steps):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
    import every_cohort

    mpl.use("Agg")
    with mpl.rc_context():
        found = every_cohort.every_notebook(title, every_cohort.COHORTS[title], workspace, steps.split(","))
    assert found.pop("import") == "done"
    left_out = ("03", "05") if "censored" in title else ()
    assert found == dict.fromkeys(steps.split(","), "done") | {step: found[step] for step in left_out}
    assert all("observed events" in found[step] for step in left_out)
    texts = "".join(path.read_text() for path in (workspace / "texts").iterdir())
    odd = [line for line in texts.splitlines() if re.search(r"\bnan\b|\binf\b|\b0 of 0\b|EMPTY FIGURE", line)]
    assert not odd and len(texts) > 2000
