"""Notebook 07 on tiny made-up cohorts: pictures with boxes, volumes with masks only, and what is missing."""


import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run_all
from PIL import Image

QUICK = {"detection_epochs": 8, "detection_width": 8, "detection_depth": 1, "detection_bootstrap": 40,
         "detection_ema": 0.0, "detection_learning_rate": 0.01, "detection_augmentation": "none, flip=lu"}


def disc(shape, centre, radius):
    y, x = np.ogrid[:shape[0], :shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def pictures(folder, n=48, seed=0):
    """Bright large and dark small discs on grey, no spacing; every fourth patient has none."""
    rng, rows, boxes = np.random.default_rng(seed), [], []
    (folder / "images").mkdir(parents=True)
    for i in range(n):
        pixels = rng.normal(128, 12, (64, 80))
        for name, radius, value in (("large", 9, 220), ("small", 4, 30)) if i // 2 % 4 else ():
            centre = rng.uniform(12, [52, 68])
            pixels[disc(pixels.shape, centre, radius)] = value
            low, high = np.ceil(centre - radius), np.floor(centre + radius) + 1
            boxes.append({"image": f"images/{i}.png", "label": name, "x_min": low[1], "y_min": low[0], "x_max": high[1],
                          "y_max": high[0]})
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(folder / "images" / f"{i}.png")
        rows.append({"patient_id": f"p{i // 2}", "image": f"images/{i}.png"})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    pd.DataFrame(boxes).to_csv(folder / "boxes.csv", index=False)
    card = {"title": "Discs", "patients": "known", "modality": "OT", "synthetic": True}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))


def with_some_masks(folder):
    """Every second picture gets a mask: what is much brighter or darker than grey."""
    table = pd.read_csv(folder / "cohort.csv")
    for i, name in enumerate(table["image"][::2]):
        pixels = np.asarray(Image.open(folder / name)).astype(int)
        Image.fromarray((abs(pixels - 128) > 70).astype("uint8")).save(folder / f"mask{i}.png")
    table.assign(mask=[f"mask{i // 2}.png" if i % 2 == 0 else "" for i in range(len(table))]).to_csv(
        folder / "cohort.csv", index=False)


def volumes(folder, n=30, seed=0):
    """Balls in volumes of 2 x 1 x 1 mm, marked by masks only; every third volume is empty."""
    rng, rows = np.random.default_rng(seed), []
    (folder / "images").mkdir(parents=True)
    for i in range(n):
        pixels = rng.normal(100, 10, (8, 32, 32))
        z, y, x = np.ogrid[:8, :32, :32]
        centre, radius = rng.uniform([2, 8, 8], [5, 24, 24]), rng.uniform(3, 6)
        ball = (4 * (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2) & (i % 3 > 0)
        pixels[ball] += 90
        np.savez_compressed(folder / "images" / f"{i}.npz", image=pixels.astype("uint8"), mask=ball.astype("uint8"))
        rows.append({"patient_id": f"p{i}", "image": f"images/{i}.npz::image", "mask": f"images/{i}.npz::mask",
                     "spacing_mm": "2 1 1"})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text(yaml.safe_dump({"title": "Balls", "patients": "known", "synthetic": True}))


def make_run(workspace, name="made"):
    """The run folder as notebooks 01 and 02 leave it."""
    from medlab import storage
    from medlab.cohorts import datasets
    from medlab.imaging import arrays, geometry, resampling

    data, folder = datasets.load(name), workspace / "reports" / "try"
    folder.mkdir()
    rows = data.cohort.assign(row=range(len(data.cohort)), has_image=True)
    who = rows["patient_id"].str[1:].astype(int)
    rows["split"] = np.select([who < 0.6 * who.max(), who < 0.75 * who.max()], ["train", "val"], "test")
    originals = [datasets.read(data, row) for _, row in rows.iterrows()]
    side = max(originals[0].pixels.shape[-3:-1])
    shape = (*originals[0].pixels.shape[:-3], side, side)
    prepared = np.stack([resampling.prepare(image, shape, window="stretch")[0] for image in originals])
    np.save(folder / "images.npy", prepared)
    where = np.stack([geometry.of(shape, image) for image in originals])
    np.save(folder / "geometry.npy", where)
    rows.to_parquet(folder / "split.parquet")
    mean, std = arrays.mean_std(prepared, np.flatnonzero(rows["split"] == "train"))
    spacing = geometry.prepared_spacing(where[0])
    storage.write_json(folder / "preprocessing.json", {"mean": mean, "std": std, "test_part": "7" * 32,
                                                       "spacing_mm": spacing and list(spacing)})
    facts = {"name": name, "fingerprint": datasets.fingerprint(data), "card": data.card, "synthetic": True}
    storage.write_json(folder / "dataset.json", facts | {"n_patients": rows["patient_id"].nunique()})
    return folder


def execute(folder, **parameters):
    """All code cells in one namespace, as Run All does; the result file and the namespace."""
    return run_all("07_lesion_detection", folder, "detection.json", QUICK | parameters)


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_from_boxes_or_masks_to_findings(workspace, kind, capsys):
    (pictures if kind == "pictures" else volumes)(workspace / "data" / "made")
    folder = make_run(workspace)
    result, page = execute(folder)
    assert {"map50", "map50_low", "sensitivity_at_1fp", "sensitivity_at_1fp_high"} <= set(result)
    assert result["part"] == "test" and result["test_openings"] == 1
    assert result["sensitivity_at_1fp"] > 0.6
    findings, candidates = (pd.read_parquet(folder / f"{name}.parquet") for name in ("findings", "candidates"))
    assert set(candidates["split"]) == {"val", "test"} and set(findings["split"]) == {"test"}
    hits = findings[findings["outcome"] == "hit"]
    assert len(hits) and (findings["score"] > 0).all()
    if kind == "pictures":
        assert result["classes"] == ["large", "small"] and findings["x_mm"].isna().all()
        assert result["size"]["measure"] == "longest side"
        sides = (hits["x_max"] - hits["x_min"]).groupby(hits["label"]).median()
        assert sides["large"] == pytest.approx(18, abs=5)
    else:
        assert result["classes"] == ["lesion"] and result["size"]["measure"] == "volume_ml"
        np.testing.assert_allclose(hits["z_size_mm"], 2 * (hits["z_max"] - hits["z_min"]))
        np.testing.assert_allclose(hits["x_mm"], (hits["x_min"] + hits["x_max"]) / 2 - 0.5)
        assert 0.05 < hits["volume_ml"].median() < 1
    assert "1 set of weights and choices, by try" in capsys.readouterr().out


def test_extents_are_learnt_where_there_are_masks_and_no_resample_means_no_interval(workspace, capsys):
    folder = workspace / "data" / "made"
    pictures(folder)
    with_some_masks(folder)
    run = make_run(workspace)
    with pytest.raises(ValueError, match="detection_flips is 'z', but the augmentation flips lu"):
        execute(run, detection_flips="z")
    assert not (run / "detection.keras").exists(), "refused before anything is trained"
    result, page = execute(run, detection_bootstrap=0, detection_flips="l", detection_epochs=10)
    said = capsys.readouterr().out
    assert f"{(~page['drawn']).sum()} images have boxes and no mask that marks anything" in said
    assert page["drawn"].sum() == 24 + 6, "those with a mask, and half of those without a lesion"
    assert result["size"]["measure"] == "voxels" and result["size"]["n"] and result["size"]["low"] is None
    assert "(no interval)" in said and "true size = " in page["choices"]["size"]
