"""Notebook 08 on small made-up cohorts: pictures with masks and a label, volumes with follow-up, no masks at all."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run_all
from scipy import ndimage

from medlab import storage
from medlab.cohorts import datasets
from medlab.radiomics import features, figures


def cohort(folder, n=24, volume=False, masks=True, label=True, spacing="2 x 1 x 1", depth=10, known=()):
    """Patients whose lesion is larger and brighter in class b; the fifth mask is empty; the first has two images.

    known : pictures whose pixels are 0.5 mm wide, the others have no spacing
    """
    random, rows = np.random.default_rng(0), []
    data, out = folder / "data" / "made", folder / "reports" / "try"
    data.mkdir()
    out.mkdir()
    shape = (depth, 40, 40) if volume else (48, 48)
    for i in range(n + 1):
        who, sick = max(0, i - 1), max(0, i - 1) % 2
        middle = np.array(shape) / 2 + random.uniform(-2, 2, len(shape))
        far = np.sqrt((((np.indices(shape).T - middle) * ([2, 1, 1] if volume else [1, 1])) ** 2).sum(-1)).T
        inside = far <= random.uniform(5, 6) + 3 * sick - (i == 0)
        body = (np.abs((np.indices(shape).T - middle) / shape) < [0.4, 0.42, 0.3][-len(shape):]).all(-1).T
        grey = 60 * body + (50 + 20 * sick) * ndimage.gaussian_filter(inside * 1.0, 0.7)
        grey = grey + 60 * ndimage.gaussian_filter(random.normal(size=shape), 1.5) + random.normal(0, 3, shape)
        np.save(data / f"i{i}.npy", grey.astype(np.float32))
        np.save(data / f"m{i}.npy", (inside & (i != 5)).astype(np.uint8))
        time = int(400 * random.exponential() / np.exp(1.5 * sick)) + 1
        rows.append({"patient_id": f"p{who}", "image": f"i{i}.npy",
                     "spacing_mm": spacing if volume else "0.5" * (i in known),
                     "split": ("train", "train", "train", "val", "test")[who % 5]}
                    | ({"label": "ab"[sick]} if label else {"time_days": min(time, 900), "event": time < 900})
                    | ({"mask": f"m{i}.npy"} if masks else {}))
    pd.DataFrame(rows).to_csv(data / "cohort.csv", index=False)
    card = {"title": "T", "patients": "known", "modality": "CT" if volume else "OT", "synthetic": True,
            "intensity": "HU" if volume else "arbitrary"} | ({"classes": ["a", "b"], "positive": "b"} if label else {})
    (data / "card.yaml").write_text(yaml.safe_dump(card))
    loaded = datasets.load("made")
    table = loaded.cohort.assign(row=np.arange(len(rows)), has_image=True)
    table.to_parquet(out / "cohort.parquet")
    table.drop(columns="spacing_mm").to_parquet(out / "split.parquet")
    storage.write_json(out / "dataset.json", {"name": "made", "card": card, "n_patients": n, "synthetic": True,
                    "classes": ["a", "b"] if label else [], "positive": "b",
                    "fingerprint": datasets.fingerprint(loaded)})
    return out


def execute(folder, **parameters):
    """All code cells in one namespace, as Run All does, with few pictures; the result file."""
    settings = {"analysis_sample": 2, "analysis_stability": 12} | parameters
    return run_all("08_image_analysis", folder, "image_analysis.json", settings)[0]


def test_pictures_with_masks_and_a_label(workspace, capsys):
    folder = cohort(workspace)
    result = execute(folder)
    written = pd.read_parquet(folder / "features.parquet")
    assert len(written) == 25 and {"row", "patient_id", "split"} < set(written) and result["unit_of_length"] == "px"
    assert result["problems"] == {"empty mask": 1} and result["n_images"] == 24 and result["n_patients"] == 23
    assert written.filter(like="radiomics_").loc[5].isna().all() and result["settings"]["n_bins"] == 32
    direct = np.load(workspace / "data" / "made" / "m3.npy") > 0
    assert written.loc[3, "radiomics_morph_pixel_area_px2"] == direct.sum()
    size = next(a for a in result["association"] if a["feature"] == "radiomics_morph_pixel_area_px2")
    assert size["value"] > 0.95 and size["q"] < 0.05 and size["measure"] == "AUC"
    assert size["n"] == 15, "the training part; of the patient with two images one counts"
    stable = {row["feature"]: row for row in result["stability"]["noise added"]}
    assert stable["radiomics_morph_pixel_area_px2"]["value"] == 1 and stable["radiomics_stat_mean"]["low"] > 0.75
    errors = {(row["truth"], row["registered"]): row["error"] for row in result["registration"]}
    assert max(errors["rigid", "rigid"], errors["affine", "affine"]) < 1 < errors["rigid", "before"]
    assert result["otsu_dice"]["Otsu, box around the region"]["value"] > result["otsu_dice"]["adaptive"]["value"] - 0.2
    said = capsys.readouterr().out
    assert "Without features: 1 empty mask" in said and "B against the rest:" in said and "stand-in" not in said


def test_the_label_of_the_test_part_is_not_looked_at(workspace):
    folder = cohort(workspace)
    before = execute(folder, analysis_stability=0)
    table = pd.read_parquet(folder / "split.parquet")
    test = table["split"] != "train"
    table.loc[test, "label"] = table.loc[test, "label"].map({"a": "b", "b": "a"})
    table.to_parquet(folder / "split.parquet")
    after = execute(folder, analysis_stability=0)
    assert before["association"] == after["association"] and before["groups"] == after["groups"]
    assert before["n_stable"] is None


def test_volumes_with_follow_up_are_resampled_and_registered_in_3d(workspace, capsys):
    folder = cohort(workspace, n=36, volume=True, label=False)
    result = execute(folder, analysis_sample=1, analysis_patient="p3")
    assert result["settings"]["spacing_mm"] == 1.3 and result["settings"]["bin_width"] == 25
    assert result["unit_of_length"] == "mm" and {row["measure"] for row in result["association"]} == {"hazard ratio"}
    volume = next(a for a in result["association"] if a["feature"] == "radiomics_morph_volume_mm3")
    assert volume["value"] > 1
    errors = {(row["truth"], row["registered"]): row["error"] for row in result["registration"]}
    assert errors["affine, 3-D", "affine"] < 1 < errors["affine, 3-D", "before"]
    assert "1 pictures of 1 patients: 1 of the validation part; shown below: p3" in capsys.readouterr().out


def test_the_chosen_patient_is_shown_once_and_lengths_of_two_units_are_not_mixed(workspace, capsys):
    folder = cohort(workspace, known=(0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12))
    parameters = {"analysis_sample": 6, "analysis_stability": 3, "analysis_patient": "p0", "analysis_spacing_mm": 1.0}
    result, page = run_all("08_image_analysis", folder, "image_analysis.json", parameters)
    assert [row["patient_id"] for row in page["taken"]].count("p0") == 1 and page["taken"][0]["image"] == "i1.npy"
    said, others = capsys.readouterr().out, len(page["pictures"]) - len(page["same"])
    assert 0 < others < 6 and "6 pictures of 6 patients: 6 of the training part; shown below: p0." in said
    assert f"{others} of them, whose pixel size is unknown, are left out wherever lengths are compared" in said
    assert len(page["errors"]) == 6 * len(page["same"]) and "within one pixel of that picture (0.5 mm)" in said
    assert "12 of these images have no known spacing" in said and "not resampled to 1 mm" in said
    assert "12 of 24 images are left out from here on: their spacing is" in said
    assert result["n_images"] == 24 and result["unit_of_length"] == "mm"


def test_a_volume_of_three_slices_is_not_registered_in_3d_and_it_is_said(workspace, capsys):
    result = execute(cohort(workspace, n=8, volume=True, depth=3), analysis_sample=1, analysis_stability=0)
    assert "needs 4 along every axis" in capsys.readouterr().out
    assert {row["truth"] for row in result["registration"]} == {"rigid", "affine"}


def test_panels_have_each_its_own_scale_bar():
    grid = figures.panels([np.eye(40)] * 3, list("abc"), None, [0.5, None, 2.0])
    assert [ax.texts[0].get_text() for ax in grid.flat[:3]] == ["5 mm", "10 px", "20 mm"]
    with pytest.raises(ValueError, match="3 pictures, 2 pixel widths"):
        figures.panels([np.eye(40)] * 3, list("abc"), None, [0.5, None])


def test_without_masks_the_bright_part_is_measured_and_it_is_said(workspace, capsys):
    folder = cohort(workspace, masks=False)
    result = execute(folder, analysis_sample=1, analysis_stability=3)
    assert "stand-in" in result["region"] and result["n_images"] == 25 and result["otsu_dice"] is None
    assert "nobody has drawn a mask" in capsys.readouterr().out


def test_boxes_are_measured_where_there_are_no_masks(workspace):
    folder, data = cohort(workspace), workspace / "data" / "made"
    rows = pd.read_csv(data / "cohort.csv")
    rows.drop(columns="mask").to_csv(data / "cohort.csv", index=False)
    found = [(i, np.argwhere(np.load(data / f"m{i}.npy"))) for i in range(len(rows)) if i != 5]
    boxes = [[f"i{i}.npy", "lesion", *at.min(0), *(at.max(0) + 1)] for i, at in found]
    names = ["image", "label", "y_min", "x_min", "y_max", "x_max"]
    pd.DataFrame(boxes, columns=names).to_csv(data / "boxes.csv", index=False)
    table = pd.read_parquet(folder / "split.parquet")
    table.drop(columns="mask").to_parquet(folder / "split.parquet")
    facts = json.loads((folder / "dataset.json").read_text())
    storage.write_json(folder / "dataset.json", facts | {"fingerprint": datasets.fingerprint(datasets.load("made"))})
    result = execute(folder, analysis_sample=1, analysis_stability=0)
    assert result["region"].startswith("inside the boxes") and result["problems"] == {"empty mask": 1}
    size = pd.read_parquet(folder / "features.parquet")["radiomics_morph_pixel_area_px2"]
    assert size[3] == np.prod(np.ptp(found[3][1], axis=0) + 1) and result["otsu_dice"]


def test_what_cannot_be_measured_is_said_in_a_sentence(workspace):
    folder = cohort(workspace, n=8)
    with pytest.raises(ValueError, match="no image of a patient 'nobody'"):
        execute(folder, analysis_patient="nobody")
    with pytest.raises(ValueError, match="expected one of lesion"):
        execute(folder, analysis_mask_class="liver")
    for path in (workspace / "data" / "made").glob("m*.npy"):
        np.save(path, np.zeros((48, 48), np.uint8))
    with pytest.raises(ValueError, match="has changed since notebook 01"):
        execute(folder)
    facts = json.loads((folder / "dataset.json").read_text())
    storage.write_json(folder / "dataset.json", facts | {"fingerprint": datasets.fingerprint(datasets.load("made"))})
    with pytest.raises(ValueError, match="are all masks empty"):
        execute(folder)


def test_radiomics_become_covariates_and_test_patients_change_nothing_fitted(workspace):
    folder, table = cohort(workspace, volume=True, label=False), workspace / "data" / "made" / "cohort.csv"

    def prepared():
        run_all("01_data_exploration", folder, "dataset.json", {"dataset": "made"})
        return run_all("02_preprocessing", folder, "preprocessing.json", {"radiomics": True, "image_size": 16})[0]

    before, rows = prepared(), pd.read_csv(table)
    assert before["radiomics"]["spacing_mm"] == 1.3 and before["radiomics"]["bin_width"] == 25
    made = pd.read_parquet(folder / "covariates.parquet")
    measured = [name for name in made if name.startswith("radiomics_")]
    assert len(measured) > 60 and not made.isna().any().any()
    volume = made["radiomics_morph_volume_mm3"][rows["split"].eq("train").to_numpy()]
    assert volume.mean() == pytest.approx(0, abs=0.2) and volume.std() == pytest.approx(1, abs=0.2)
    rows.loc[rows["split"].eq("test"), "spacing_mm"] = "9 x 3 x 3"
    rows.to_csv(table, index=False)
    after = prepared()
    assert after["radiomics"] == before["radiomics"] and after["covariates"] == before["covariates"]
    assert not made.equals(pd.read_parquet(folder / "covariates.parquet"))


def test_columns_are_taken_as_radiomics_by_the_models():
    from medlab.cohorts import vocabulary

    assert all(name.startswith(vocabulary.RADIOMICS) for name in (features.PREFIX + "stat_mean",))
