"""Notebook 06 end to end on tiny made-up cohorts: every number is there, what is missing is said in a sentence."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from medlab import ROOT
from medlab.engine import runs
from medlab.segmentation import drawings

matplotlib.use("Agg")
TINY = {"segmentation_width": 8, "segmentation_depth": 1, "segmentation_epochs": 10, "segmentation_batch": 8,
        "segmentation_bootstrap": 60, "segmentation_rate": 0.01, "segmentation_ema": 0.5, "segmentation_patches": 2,
        "segmentation_augmentation": "none, rotation_deg=10, flip=l"}


def draw(shape, classes, rng, empty):
    """A dim textured picture with a bright disc (and a darker one): picture and label map."""
    labels, where = np.zeros(shape, np.uint8), np.indices(shape)
    for k in range(1, classes + 1) if not empty else ():
        centre = [rng.uniform(0.3, 0.7) * side for side in shape]
        radius = [side / 5 for side in shape]
        centre[-1] = shape[-1] * (k - 0.5) / classes + rng.uniform(-1, 1)
        labels[sum(((w - c) / r) ** 2 for w, c, r in zip(where, centre, radius, strict=True)) < 1] = k
    stripe = 60.0 * (where[-2] > 0.75 * shape[-2])  # brighter than the disc: a threshold cannot tell them apart
    return (60 + 50 * labels + stripe * (labels == 0) + rng.normal(0, 8, shape)).clip(0, 255).astype(np.uint8), labels


def make(workspace, shape=(32, 40), n=24, classes=1, empty=(), without_mask=(), spacing=None, valid=False,
         splits=(14, 4, 6), per_patient=2, card=None):
    """A dataset as an import leaves it; the split is given."""
    rng, folder = np.random.default_rng(0), workspace / "data" / "made"
    for part in ("images", "masks", "valid"):
        (folder / part).mkdir(parents=True)
    split, rows = np.repeat(["train", "val", "test"], splits), []
    for i in range(n):
        picture, labels = draw(shape, classes, rng, i in empty)
        row = {"patient_id": f"p{i // per_patient:03d}", "split": split[i]}
        if len(shape) == 2:
            for name, part in (("images", picture), ("masks", labels)):
                Image.fromarray(part).save(folder / name / f"{i}.png")
            row |= {"image": f"images/{i}.png", "mask": f"masks/{i}.png"}
        else:
            np.savez(folder / "images" / f"{i}.npz", scan=picture, mask=labels)
            row |= {"image": f"images/{i}.npz::scan", "mask": f"images/{i}.npz::mask"}
        row["mask"] = None if i in without_mask else row["mask"]
        if valid:
            field = np.zeros(shape, np.uint8)
            field[:, 4:] = 255
            Image.fromarray(field).save(folder / "valid" / f"{i}.png")
            row["valid_mask"] = f"valid/{i}.png"
        rows.append(row | ({"spacing_mm": spacing} if spacing else {}))
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    names = {"mask_classes": {f"class {k}": k for k in range(1, classes + 1)}} if classes > 1 else {}
    known = {"title": "Made up", "patients": "known", "synthetic": True, "modality": "MR"}
    (folder / "card.yaml").write_text(yaml.safe_dump(known | names | (card or {})))
    return folder


def page(name, **parameters):
    """All code cells of a notebook in one namespace, as Run All does; without those that lack what they need."""
    from matplotlib import pyplot as plt

    notebook = json.loads(next((ROOT / "notebooks").glob(f"{name}*.ipynb")).read_text())
    namespace = {"display": lambda *_: None, "__name__": "page"}
    for cell in (c for c in notebook["cells"] if c["cell_type"] == "code"):
        exec("".join(runs.as_executed("".join(cell["source"]).splitlines(keepends=True))), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            namespace.update({"run": "try"} | parameters)
    plt.close("all")
    return namespace


def execute(workspace, first=None, **parameters):
    """01, 02 and 06; the result file and the namespace of 06."""
    folder = workspace / "reports" / "try"
    if not (folder / "images.npy").exists():
        page("01", dataset="made", duplicate_likeness=1.0)
        page("02", **{"leaks": "keep"} | (first or {}))
    namespace = page("06", **TINY | parameters)
    return json.loads((folder / "segmentation.json").read_text()), namespace


def test_pictures_of_several_per_patient(workspace, capsys):
    make(workspace, empty=(20, 21, 22), n=24)
    result, there = execute(workspace, first={"image_size": 20})  # prepared half as fine as the masks were drawn
    folder = workspace / "reports" / "try"
    padded = np.asarray(there["labels"]) == 255  # 16 rows of 20 are picture: what was filled in is nobody's background
    assert padded[:, :2].all() and padded[:, 18:].all() and not padded[:, 2:18].any()
    assert {"dice_mean", "dice_low", "dice_high", "n_patients"} <= set(result)
    assert result["n_patients"] == 3 and result["n_images"] == 6 and result["part"] == "test"
    cases = pd.read_parquet(folder / "segmentation.parquet")
    assert len(cases) == 2 * (4 + 6) and set(cases["split"]) == {"val", "test"}
    own = cases[(cases["method"] == "U-Net") & (cases["split"] == "test")]
    assert (own[["tp", "fp", "fn", "tn"]].sum(axis=1) == 32 * 40).all()  # scored on the original grid
    assert own["dice"].max() > 0.7 and "hd95_px" in own and "hd95_mm" not in own and result["unit"] == "px"
    each = own.groupby("patient_id")[["tp", "fp", "fn"]].sum()
    each = each[each["tp"] + each["fn"] > 0]  # who has something: a mask that stays empty is no perfect drawing
    each = 2 * each["tp"] / (2 * each["tp"] + each["fp"] + each["fn"])
    assert result["dice_mean"] == pytest.approx(each.mean())
    assert result["per_image"]["lesion"]["dice"]["n"] == 6
    assert result["difference"]["n_patients"] == len(each) == result["empty"]["Otsu"]["found"]["n"]
    assert result["baseline"]["method"] == "Otsu"
    assert 0.1 <= result["threshold"] <= 0.95 and result["smallest"] in drawings.SIZES
    out = capsys.readouterr().out
    assert {"found", "left empty"} <= set(result["empty"]["U-Net"])
    assert "Wilcoxon" in out and "1 set of weights and choices, by try" in out
    network = there["keras"].models.load_model(folder / "segmentation.keras", compile=False)
    image = there["images"][0]
    np.testing.assert_allclose(there["patches"].predict(network, image),
                               there["patches"].predict(there["network"], image), atol=1e-5)
    assert {path.name for path in folder.glob("06_state*/*")} == {"best.weights.h5", "history.csv", "state.json"}


def test_volumes_with_two_classes_in_millimetres(workspace, capsys):
    make(workspace, shape=(4, 24, 28), classes=2, spacing="3 x 1.5 x 1.5", n=12, splits=(7, 2, 3), per_patient=1)
    result, there = execute(workspace, segmentation_patch="4, 16, 16", segmentation_baseline="otsu",
                            segmentation_epochs=4, segmentation_blocks="residual, attention")
    assert result["classes"] == ["class 1", "class 2"] and result["unit"] == "ml" and result["patch"] == [4, 16, 16]
    cases = pd.read_parquet(workspace / "reports" / "try" / "segmentation.parquet")
    assert len(cases) == 2 * 2 * 5 and {"hd95_mm", "truth_ml"} <= set(cases)
    truth = cases[(cases["class"] == "class 2") & (cases["method"] == "U-Net")].set_index("row")["truth_ml"]
    row = there["table"].query("split == 'test'")["row"].iloc[0]
    mask = np.load(workspace / "data" / "made" / "images" / f"{row}.npz")["mask"]
    assert truth[row] == pytest.approx((mask == 2).sum() * 3 * 1.5 * 1.5 / 1000)
    assert set(result["agreement"]) == {"class 1", "class 2"} and result["agreement"]["class 1"]["n"] == 3
    p = there["of_original"](0)[2]
    called = drawings.draw(p, 0.5)
    assert p.shape == (4, 24, 28, 2) and set(np.unique(called)) <= {0, 1, 2}
    assert ((called > 0) == (p.sum(-1) >= 0.5)).all()


def test_only_the_field_of_view_counts(workspace, capsys):
    make(workspace, valid=True, n=16, splits=(10, 2, 4), without_mask=(0, 11), empty=(14, 15), per_patient=1)
    result, there = execute(workspace, segmentation_epochs=1, segmentation_open_test=False)
    outside = np.asarray(there["labels"])[there["table"]["mask"].notna()] == 255
    assert len(outside) == 14 and outside[:, :, :4].all() and not outside[:, 4:36, 4:].any()  # 32 x 40, filled
    assert result["part"] == "val" and result["n_images"] == 1 and result["test_openings"] == 0
    cases = pd.read_parquet(workspace / "reports" / "try" / "segmentation.parquet")
    assert (cases[["tp", "fp", "fn", "tn"]].sum(axis=1) == 32 * 36).all() and set(cases["split"]) == {"val"}
    out = capsys.readouterr().out
    assert "left out: 2 images" in out and "stays closed" in out and "VALIDATION" in out


@pytest.mark.parametrize("trouble", ["no val", "nothing marked"])
def test_what_is_missing_is_said(workspace, capsys, trouble):
    splits = (8, 0, 4) if trouble == "no val" else (8, 2, 2)
    make(workspace, n=12, splits=splits, per_patient=1, empty=range(12) if trouble == "nothing marked" else (),
         shape=(16, 16))
    first = {"val_fraction": 0.0} if trouble == "no val" else {}
    result, _ = execute(workspace, first, segmentation_epochs=1, segmentation_bootstrap=20)
    out = capsys.readouterr().out
    if trouble == "no val":
        assert result["threshold"] == 0.5 and result["smallest"] == 0 and "no validation part" in out
        again, _ = execute(workspace, segmentation_epochs=1, segmentation_bootstrap=20)
        assert again["resumed"] == "trained before, to epoch 1"
        assert again["dice_mean"] == result["dice_mean"] and again["test_openings"] == 1
    else:
        empty = result["empty"]["U-Net"]
        assert empty["found"]["n"] == 0 and empty["left empty"]["n"] == 2
        assert result["per_image"]["lesion"]["dice"]["both_empty"] + result["per_image"]["lesion"]["dice"][
            "one_empty"] == 2


def test_wrong_parameters_are_refused(workspace, capsys):
    make(workspace, n=6, splits=(4, 1, 1), per_patient=1, shape=(16, 16))
    page("01", dataset="made", duplicate_likeness=1.0)
    page("02", leaks="keep")
    for wrong, message in (({"segmentation_flips": "u"}, "never saw a mirror image"),
                           ({"segmentation_stem": 3}, "1, 2 or 4"),
                           ({"segmentation_patch": "4, 4, 4"}, "expected 2 numbers"),
                           ({"segmentation_blocks": "dense"}, "expected one of residual, plain"),
                           ({"segmentation_augmentation": "wild"}, "'wild', expected one of auto")):
        with pytest.raises(ValueError, match=message):
            page("06", **TINY | wrong)
