"""Notebook 09 end to end on a short simulated run, and its sentences where something is missing."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run_all


def execute(folder, **parameters):
    """All code cells in one namespace, as Run All does; the result file and the namespace."""
    return run_all("09_fmri", folder, "functional.json", parameters)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """The simulated run, 90 volumes, made once."""
    from medlab.phantoms import bold

    place = tmp_path_factory.mktemp("phantom")
    cohort, truth = bold.bold(place, seed=1, volumes=90)
    cohort.to_csv(place / "cohort.csv", index=False)
    truth.to_csv(place / "truth.csv", index=False)
    (place / "card.yaml").write_text(yaml.safe_dump(bold.CARD))
    return place


@pytest.fixture
def made(workspace, phantom):
    """Dataset ``fmri`` (the phantom) and run folder ``try``."""
    from medlab import storage

    (workspace / "data" / "fmri").symlink_to(phantom)
    folder = workspace / "reports" / "try"
    folder.mkdir()
    storage.write_json(folder / "dataset.json", {"name": "fmri", "synthetic": True})
    return folder


def test_the_phantom_is_found_again(made, capsys):
    from nilearn.glm.first_level import FirstLevelModel

    result, page = execute(made)
    said = capsys.readouterr().out
    # 3 minutes only: the limits of the default run, 8 minutes, are in tests/benchmarks/fmri.py
    assert result["recall"] >= 0.8 and result["false_discoveries"] <= 0.05 and result["peak_z"] > 6
    null = result["contrasts"]["task"]
    assert null["peak_z_model"] == pytest.approx(null["null_centre"] + null["null_width"] * null["peak_z"])
    assert result["truth"]["translation_rms_mm"] < 0.1 and result["truth"]["rotation_rms_deg"] < 0.1
    assert result["truth"]["mni_error_mm"] < 2 and result["mni_dice"] > 0.9 and page["fit"]["coverage"] > 0.85
    assert result["tr_s"] == 2 and result["n_volumes"] == 90 and 40 < result["tsnr"] < 150
    face = result["models"]["task: face"]
    assert 0 < face["signal_change_percent_low"] < face["signal_change_percent"] < face["signal_change_percent_high"]
    clusters = pd.read_csv(made / "clusters.csv")
    visual = clusters[(clusters["contrast"] == "task") & (clusters["cluster"] == 1)].iloc[0]
    assert abs(visual["mni_x"]) < 25 and visual["mni_y"] < -75 and visual["network"] == "Visual"
    assert "radiological" in result["orientation"] and "Nothing had to be changed" in said
    inside = page["inside"] & (np.arange(page["inside"].size).reshape(page["inside"].shape) % 29 == 0)  # some voxels
    some = nib.Nifti1Image(inside.astype(np.uint8), page["mask"].affine)
    model = FirstLevelModel(2.0, slice_time_ref=0.5, mask_img=some, smoothing_fwhm=5.0, signal_scaling=0,
                            hrf_model="glover", high_pass=1 / 128, noise_model="ar1")
    model.fit(page["realigned"], events=page["events"], confounds=page["confounds"])
    for name, kind in (("face", "effect_size"), ("face - house", "z_score")):
        ours = page["each"]["face"][kind] if name == "face" else page["maps"][name][kind]
        theirs = model.compute_contrast(name, output_type=kind)
        np.testing.assert_allclose(ours.get_fdata()[inside], theirs.get_fdata()[inside], rtol=1e-4, atol=1e-4)
    for name in ("z_maps.nii.gz", "effect_maps.nii.gz", "volumes.csv", "design.csv", "mni_affine.csv"):
        assert (made / name).is_file(), name


def test_what_is_missing_is_said(made, workspace, phantom):
    with pytest.raises(ValueError, match="fmri_row 3: the dataset has rows 0 to 0"):
        execute(made, fmri_row=3)
    with pytest.raises(ValueError, match="begin after the end of the run"):
        execute(made, fmri_tr_s=1.0)
    for volumes, said in ((-1, "'fmri_drop_volumes' is -1, expected 0 to 10000"),
                          (71, "fmri_drop_volumes 71: expected 0 to 70, so that 20 of the 90")):
        with pytest.raises(ValueError, match=said):
            execute(made, fmri_drop_volumes=volumes)
    for seed in ("0, -53", "0, -53, up", ""):
        with pytest.raises(ValueError, match=f"fmri_seed_mm '{seed}': expected x, y, z in mm of MNI"):
            execute(made, fmri_seed_mm=seed)
    (workspace / "data" / "fmri").unlink()
    bare = workspace / "data" / "fmri"
    bare.mkdir()
    for name in ("card.yaml", "truth.csv"):
        (bare / name).write_text((phantom / name).read_text())
    (bare / "func").symlink_to(phantom / "func")
    pd.read_csv(phantom / "cohort.csv").drop(columns="events").to_csv(bare / "cohort.csv", index=False)
    with pytest.raises(ValueError, match="no events: cohort.csv needs a column 'events'"):
        execute(made)


def test_too_few_degrees_of_freedom_are_refused(made, phantom, monkeypatch, capsys):
    from medlab.fmri import mni, motion

    moves = pd.DataFrame(np.random.default_rng(0).normal(0, 0.05, (90, 6)).cumsum(axis=0), columns=motion.PARAMETERS)
    fit = {"dice": 1.0, "coverage": 1.0, "stretch": [1.0, 1.0]}
    monkeypatch.setattr(motion, "realign", lambda run, *_, **__: (run, moves, np.ones(run.shape[:3], bool)))
    monkeypatch.setattr(mni, "to_mni", lambda *_: (np.eye(4), fit))
    given = pd.DataFrame({"csf": np.random.default_rng(1).normal(size=90), "still": 1.0})
    given.to_csv(phantom / "func" / "confounds.tsv", sep="\t", index=False)
    # 2 conditions, 24 of motion, 1 given, 180 s of cosines slower than 8 s, 1 constant: 73 of 90
    with pytest.raises(ValueError, match="90 volumes for 73 regressors .* leave 17 degrees of freedom; expected "
                                         "at least 20 .* fmri_motion_regressors"):
        execute(made, fmri_motion_regressors=24, fmri_high_pass_s=8.0, fmri_confounds="func/confounds.tsv")
    assert "confounds left out because constant: still" in capsys.readouterr().out
