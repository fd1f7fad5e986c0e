"""The dataset format, screening for duplicates, and the check."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image as pil
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from medlab.cohorts import checks, datasets, screening, vocabulary
from medlab.intake import importers
from medlab.statistics import intervals


def texture(seed, size=64):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 1.5)
    return (np.clip((noise - noise.min()) / np.ptp(noise), 0, 1) * 255).astype(np.uint8)


def make(workspace, cohort, card=None, name="toy"):
    folder = workspace / "data" / name
    folder.mkdir()
    for i in range(len(cohort)):
        pil.fromarray(texture(i)).save(folder / f"{i}.png")
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(len(cohort))]} | dict(cohort))
    table.to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text(yaml.safe_dump({"title": "toy", "modality": "MR", **(card or {})}))
    return folder


def test_load_and_conditions(workspace):
    make(workspace, pd.DataFrame({"patient_id": ["001", "002", "003"], "label": ["None", "NA", "None"],
                                  "time_days": [0, 4.0, 9], "event": ["true", "False", "1"],
                                  "age_years": [50, "", 70]}),
         {"classes": ["None", "NA"], "positive": "NA"})
    data = datasets.load("toy")
    assert data.cohort["patient_id"].tolist() == ["001", "002", "003"]
    assert data.cohort["label"].tolist() == ["None", "NA", "None"], "words pandas takes for missing are classes"
    assert data.cohort["event"].tolist() == [True, False, True] and data.cohort["event"].dtype == bool
    assert data.cohort["time_days"].tolist() == [2.0, 4.0, 9.0] and "time_days = 0" in data.notes[0]
    assert datasets.conditions(data) == {"image", "label", "survival", "observed events", "modality:MR",
                                         "static", "covariates"}
    assert datasets.covariates(data) == ["age_years"] and np.isnan(data.cohort["age_years"][1])
    assert datasets.read(data, data.cohort.iloc[1]).pixels.shape == (64, 64, 1)


@pytest.mark.parametrize("change, said", [
    ({"label": ["a", "c", "a"]}, "line 3, column 'label': found 'c', expected one of the card's classes"),
    ({"split": ["train", "test", "holdout"]}, "line 4, column 'split': found 'holdout'"),
    ({"time_days": [1, -2, 3], "event": [True, True, False]}, "line 3, column 'time_days': found -2"),
    ({"time_days": [1, 2, 3], "event": [True, "maybe", False]}, "line 3, column 'event': found 'maybe'"),
    ({"time_days": [1, "", 3], "event": [True, True, False]}, "line 3: time_days and event must be both"),
    ({"image": ["0.png", "../card.yaml", "2.png"]}, "column 'image': found '../card.yaml', expected an existing path"),
    ({"image": ["0.png", "0.png", "2.png"]}, "line 3: image '0.png' occurs twice"),
    ({"patient_id": ["1", "", "3"]}, "line 3, column 'patient_id': found nothing, expected a value"),
    ({"spacing_mm": ["1", "1 x 0", "2"]}, "line 3, column 'spacing_mm': found '1 x 0'"),
    ({"label_x": [1, 0, 2]}, "line 4, column 'label_x': found 2"),
])
def test_errors_name_the_line(workspace, change, said):
    base = {"patient_id": ["1", "2", "3"], "label": ["a", "b", "a"]}
    make(workspace, pd.DataFrame(base | change), {"classes": ["a", "b"]})
    with pytest.raises(ValueError) as error:
        datasets.load("toy")
    assert said in str(error.value)
    assert checks.check("toy")[0][0] == "error"


@pytest.mark.parametrize("card, said", [
    ({"modalty": "CT"}, "did you mean 'modality'"), ({"intensity": "hu"}, "expected one of HU, SUV"),
    ({"classes": "a"}, "expected"), ({"classes": ["a"], "positive": "b"}, "positive is 'b'"),
])
def test_card_errors(workspace, card, said):
    make(workspace, pd.DataFrame({"patient_id": ["1"]}), card)
    with pytest.raises(ValueError, match=said):
        datasets.load("toy")


def test_names_and_absence(workspace):
    make(workspace, pd.DataFrame({"patient_id": ["1"]}))
    with pytest.raises(ValueError, match="did you mean 'toy'"):
        datasets.load("toyy")
    for name in ("../toy", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="name of a dataset"):
            datasets.load(name)


def test_symlink_out_of_the_dataset_is_not_read(workspace):
    from medlab.imaging import dicom

    folder = make(workspace, pd.DataFrame({"patient_id": ["1", "2"]}))
    (folder / "1.png").rename(workspace / "outside.png")
    (folder / "1.png").symlink_to(workspace / "outside.png")
    data = datasets.load("toy")
    with pytest.raises(dicom.BadImage, match="leads out"):
        datasets.read(data, data.cohort.iloc[1])


def test_duplicates_survive_brightness_and_compression_but_not_neighbours(workspace):
    folder = make(workspace, pd.DataFrame({"patient_id": list("abcdef"), "label": list("xyxyxy")}))
    original = texture(0)
    pil.fromarray(original).save(folder / "1.png")
    dark = pil.fromarray((original * 0.6 + 20).astype(np.uint8)).resize((80, 80), pil.Resampling.BICUBIC)
    dark.save(folder / "2.jpg", quality=85)
    (folder / "2.jpg").rename(folder / "2.png")
    pil.fromarray((0.6 * original + 0.4 * texture(3)).astype(np.uint8)).save(folder / "3.png")  # related, not a copy
    pil.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "4.png")
    (folder / "5.png").write_bytes(b"no image")
    data = datasets.load("toy")
    table = datasets.scan(data, progress=False)
    assert table["problem"].tolist()[:5] == [None] * 4 + ["blank"] and table["problem"][5].startswith("unreadable")
    found = screening.duplicates(table)
    assert found["row"].tolist() == [0, 1, 2] and found["kind"].tolist() == ["exact", "exact", "near"]
    assert found["group"].nunique() == 1 and found["exact_group"].tolist() == [0, 0, -1]
    conflicts = screening.label_conflicts(data, found)
    assert conflicts["labels"].tolist() == [["x", "y"]] and conflicts["rows"].tolist() == [[0, 1, 2]]


def test_fingerprint_follows_tables_and_files(workspace):
    folder = make(workspace, pd.DataFrame({"patient_id": ["1", "2"], "label": ["a", "b"]}))
    first = datasets.fingerprint(datasets.load("toy"))
    assert first == datasets.fingerprint(datasets.load("toy"))
    text = (folder / "cohort.csv").read_text()
    (folder / "cohort.csv").write_text(text.replace(",b", ",c"))
    assert datasets.fingerprint(datasets.load("toy")) != first
    (folder / "cohort.csv").write_text(text)
    (folder / "1.png").write_bytes(b"x")
    assert datasets.fingerprint(datasets.load("toy")) != first


def test_clean_text():
    given = pd.Series([" Adenocarcinoma", "adenocarcinoma ", "NSCLC NOS (not otherwise specified)", "nos", "Unknown",
                       None, "large  cell", "small cell", "non small cell", "M", "male"])
    expected = ["adenocarcinoma"] * 2 + ["nos"] * 2 + [np.nan] * 2 + ["large cell", "small cell", "non small cell",
                                                                      "male", "male"]
    pd.testing.assert_series_equal(vocabulary.clean_text(given), pd.Series(expected))


def test_expected_halfwidth_against_simulation():
    assert intervals.expected_halfwidth(50, 50, 0.8) == pytest.approx(1.96 * 0.0449, abs=0.002)  # Hanley & McNeil
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [30, 70])
    sampled = [roc_auc_score(y, rng.normal(size=100) + 1.19 * y) for _ in range(400)]
    assert intervals.expected_halfwidth(30, 70, 0.8) == pytest.approx(1.96 * np.std(sampled), rel=0.15)
    assert np.isnan(intervals.expected_halfwidth(0, 10))


def test_check_names_what_to_know(workspace):
    rng = np.random.default_rng(1)
    n = 60
    site = np.repeat(["l1", "l2"], n // 2)
    event = rng.random(n) < 0.7
    days = np.round(np.where(site == "l1", 300, 1500) * rng.exponential(size=n) + 1)
    make(workspace, pd.DataFrame({
        "patient_id": [f"p{i}" for i in range(n)], "time_days": days, "event": event, "site": site,
        "days_again": days + 1, "vital": np.where(event, "Dead", "Alive"),
        "histology": np.tile(["nos", "NOS", "large cell"], n // 3), "age_years": [*rng.normal(60, 9, n - 2), "", ""]}))
    said = " | ".join(f"{level}: {message}" for level, message in checks.check("toy"))
    assert "60 images of 60 patients" in said and "target survival" in said and "interval of about" in said
    assert "warning: site alone predicts the survival" in said
    assert "histology: 3 spellings of 2 values" in said and "missing values: age_years 2" in said
    assert "days_again repeats the outcome" in said and "vital repeats the outcome" in said
    assert "age_years repeats" not in said and "site repeats" not in said


@pytest.mark.realdata
def test_twelve_identical_groups_straddle_the_split_of_brain_tumor(workspace, datasets_folder, capsys):
    data = importers.import_source(datasets_folder / "brain_tumor_4class", "brain", modality="MR")
    assert len(data.cohort) == 1311 and data.cohort["split"].value_counts().to_dict() == {"train": 984, "test": 327}
    assert datasets.classes(data) == ["glioma", "meningioma", "notumor", "pituitary"]
    assert data.card["patients"] == "unknown"
    found = screening.duplicates(datasets.scan(data, progress=False))
    assert len(screening.straddling(data, found, "exact")) == 12
    both = screening.straddling(data, found)
    assert 75 <= len(both) <= 85, "12 identical, the others re-encoded, mirrored or turned: copies, seen by eye"
    assert found.groupby("group").size().max() <= 18, "one slice, brightened and mirrored so often; no chain"
    assert screening.label_conflicts(data, found)["labels"].tolist() == [["meningioma", "pituitary"]], "a mirrored copy"


@pytest.mark.realdata
def test_no_false_twins_among_look_alikes(workspace, datasets_folder, capsys):
    data = importers.import_source(datasets_folder / "medmnist" / "retinamnist.npz", "retina")
    assert data.cohort["split"].value_counts().to_dict() == {"train": 1080, "test": 400, "val": 120}
    assert data.card["classes"] == list("01234") and data.card["classes_ordered"] is True
    with np.load(datasets_folder / "medmnist" / "retinamnist.npz") as official:
        row = data.cohort[data.cohort["split"] == "val"].iloc[17]
        np.testing.assert_array_equal(datasets.read(data, row).pixels, official["val_images"][row["frame"]])
        assert row["label"] == str(official["val_labels"][row["frame"], 0])
    found = screening.duplicates(datasets.scan(data, progress=False))
    assert found.groupby("group").size().max() == 2 and found["group"].nunique() <= 30
    assert screening.label_conflicts(data, found).empty, "the same eye twice has one grade"
