"""Notebook 10 from the synthetic export to its numbers, and on data that lack what it would like to have."""


import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run_all

from medlab import storage
from medlab.cohorts import datasets
from medlab.engine import parameters
from medlab.intake import importers


def execute(folder, name, **parameters):
    """All code cells in one namespace, as Run All does; pet.json and the namespace."""
    folder.mkdir(exist_ok=True)
    storage.write_json(folder / "dataset.json", {"name": name, "synthetic": True})
    return run_all("10_pet", folder, "pet.json", parameters)


def test_from_the_raw_export_to_the_page(workspace, capsys):
    importers.import_source("synthetic:pet", "pet", patients=2)
    result, page = execute(workspace / "reports" / "try", "pet", pet_resolution_mm=5.0)
    assert result["n_scans"] == 3 and result["n_refused"] == 0 and result["n_patients"] == 2
    truth = result["truth"]
    assert abs(truth["resolved_suv"]["value"]) < 2 and abs(truth["resolved_volume_ml"]["value"]) < 3  # %
    assert truth["suv_peak"]["n"] == 10 and truth["mtv_suv_2.5"]["value"] > 20, "2.5 takes in the blurred rim"
    assert 0 < result["share_in_view_max"] < 0.2 and result["repeat"]["n_patients"] == 1
    spots = pd.read_csv(workspace / "reports" / "try" / "lesions.csv")
    assert len(spots) == result["n_hot_spots"] >= 12 and spots["suvr_peak"].notna().all()
    assert spots.groupby("scan")["suv_max"].max().between(8, 10).all()
    used, liver = page["used"], page["data"].truth.groupby(["patient_id", "study"])["liver_suv"].first()
    np.testing.assert_allclose(used["reference"].sort_values(), liver.sort_values(), rtol=0.06)  # texture
    np.testing.assert_allclose(page["spots"]["suvr_peak"], page["spots"]["suv_peak"] / page["spots"]["row"].map(
        used["reference"]))
    tissue = page["ct"][page["image"].pixels > 0.8]  # the CT on the grid of the PET: soft tissue about 40 HU, lung -660
    assert np.median(tissue) == pytest.approx(40, abs=5) and (page["ct"][24, 45:55, 60:64] < -500).all()
    text = capsys.readouterr().out
    assert "SUV for 3 of 3 scans" in text and "z-scores need at least 6" in text and "fused in the lower row" in text


@pytest.fixture
def plain(workspace):
    """NIfTI with numbers in the cohort, no label, mask, CT or truth: two patients, one without a dose."""
    import nibabel as nib

    folder = workspace / "data" / "plain"
    (folder / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for i, dose in enumerate((300e6, np.nan)):
        pixels = rng.normal(4000, 200, (40, 36, 30)).astype(np.float32)
        pixels[10:14, 20:24, 14:18] = 40000 if i == 0 else 4000
        nib.save(nib.Nifti1Image(pixels, np.diag([4.0, 4.0, 4.0, 1.0])), folder / "images" / f"{i}.nii.gz")
        rows.append({"patient_id": f"p{i}", "image": f"images/{i}.nii.gz", "injected_dose_bq": dose,
                     "half_life_s": 6586.2, "uptake_time_s": 3600, "weight_kg": 70})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    card = {"title": "plain", "modality": "PT", "patients": "known", "synthetic": True}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return workspace


def test_nifti_without_anything_beside_it(plain, capsys):
    conditions = datasets.conditions(datasets.load("plain")) | {"dataset"}
    assert [n[:2] for n in parameters.notebooks() if not parameters.unmet(n, conditions)] == ["01", "10"]
    result, page = execute(plain / "reports" / "try", "plain", pet_threshold="4.0")
    text = capsys.readouterr().out
    assert "RadionuclideTotalDose (0018,1074) missing; fill in injected_dose_bq" in text
    assert "No SUVR. Name a region" in text and "none, so no fusion" in text and "No patient was scanned twice" in text
    assert result["n_refused"] == 1 and result["n_hot_spots"] == 1 and result["truth"] == {}
    left = 300e6 * 2 ** (-3600 / 6586.2)
    assert page["spots"]["suv_max"].iloc[0] == pytest.approx(40000 * 70000 / left, rel=1e-5)
    assert page["spots"]["volume_ml"].iloc[0] == pytest.approx(64 * 0.064)


def test_leaks_and_further_series_are_said(plain, capsys):
    """p0 with a rod out of its hot spot; p1 with a second, larger image that no column puts on another day."""
    import nibabel as nib

    folder = plain / "data" / "plain"
    for i, (lines, rod) in enumerate(((30, True), (30, False), (34, False))):
        pixels = np.random.default_rng(i).normal(4000, 200, (40, 36, lines)).astype(np.float32)
        pixels[10:14, 20:24, 14:18] = 40000
        pixels[14:32, 21:23, 15:17] = 28000 if rod else 4000  # below the threshold of 10, above 41 %
        nib.save(nib.Nifti1Image(pixels, np.diag([4.0, 4.0, 4.0, 1.0])), folder / "images" / f"{i}.nii.gz")
    rows = pd.read_csv(folder / "cohort.csv").assign(injected_dose_bq=300e6)
    rows = pd.concat([rows, rows.iloc[[1]].assign(image="images/2.nii.gz")])
    rows.to_csv(folder / "cohort.csv", index=False)
    result, page = execute(plain / "reports" / "try", "plain", pet_threshold="10", pet_normal="none")
    text, one = capsys.readouterr().out, page["per_patient"]
    assert result["n_normal"] == 0 and "(pet_normal: none)" in text, "no label is not the label none"
    assert np.isnan(one.at["p0", "tlg_g"])
    assert one.at["p1", "tlg_g"] == pytest.approx(64 * 0.064 * 13.638, rel=1e-3)  # 64 voxels of 0.064 ml
    assert "No sum of MTV and TLG: 1 of 2 patients (p0)" in text and result["n_without_sum"] == 1
    assert "since a contour leaks: p0" in text and page["used"].at[page["shown_row"], "patient_id"] == "p1"
    assert "Patients with several PET series of one study: 1; not the ones that count: p1 #1" in text
    assert page["baseline"]["scan"].tolist() == ["p0", "p1 #2"] and result["repeat"]["n"] == 0
    assert "the hottest with SUVmax 13.6, its SUVpeak about x, y, z" in text
    rows.assign(scan_date=["2020-01-01", "2020-01-02", "2020-01-01"]).to_csv(folder / "cohort.csv", index=False)
    result, page = execute(plain / "reports" / "try", "plain", pet_threshold="10")
    assert page["baseline"].index.tolist() == [0, 2] and result["repeat"]["n"] == 1


def test_no_hot_spot_is_a_result_and_wrong_words_are_refused(plain):
    result, _ = execute(plain / "reports" / "try", "plain", pet_threshold="50")
    assert result["n_hot_spots"] == 0
    for wrong, told in (({"pet_threshold": "percist"}, "needs a reference region"),
                        ({"pet_reference": "spleen"}, "pet_reference 'spleen'"),
                        ({"pet_patient": "nobody"}, "expected one of p0"),
                        ({"pet_lean_mass": "ideal"}, "expected one of janmahasatian, james"),
                        ({"pet_small_doses": "Ci"}, "expected one of refuse, MBq")):
        with pytest.raises(ValueError, match=told):
            execute(plain / "reports" / "try", "plain", **wrong)


def test_nothing_with_a_suv_stops_with_the_reasons(plain, capsys):
    path = plain / "data" / "plain" / "cohort.csv"
    pd.read_csv(path).drop(columns="weight_kg").to_csv(path, index=False)
    with pytest.raises(ValueError, match="no scan has a SUV"):
        execute(plain / "reports" / "try", "plain")
    assert "fill in weight_kg in cohort.csv" in capsys.readouterr().out
