"""From probabilities to drawings, the choice on validation, and the experts' masks on both grids."""

import numpy as np
import pandas as pd
import pytest
import yaml

from medlab.cohorts import datasets
from medlab.imaging import geometry
from medlab.segmentation import agreement, drawings, figures, masks, patches, scores, thresholds, unet

WHERE = np.array([[0.0, 2.0, 20, 1], [0.0, 2.0, 20, 1]])  # a prepared pixel is four of the original


def chances():
    """A disc that is found with 0.4, a speck of nine pixels beside it with 0.9; truth is the disc alone."""
    y, x = np.indices((20, 20))
    truth = ((y - 8) ** 2 + (x - 8) ** 2 < 25).astype(np.uint8)
    p = 0.4 * truth
    p[15:18, 15:18] = 0.9
    return truth, p[..., None]


def test_a_pixel_is_called_from_the_threshold_on_as_its_most_probable_class():
    p = np.array([[[0.3, 0.4], [0.6, 0.1], [0.2, 0.1]]])
    assert drawings.draw(p, 0.5).tolist() == [[2, 1, 0]]
    assert drawings.draw(p, 0.7).tolist() == [[2, 1, 0]] and drawings.draw(p, 0.71).tolist() == [[0, 0, 0]]


def test_small_components_are_counted_in_prepared_pixels():
    truth, p = chances()
    assert (drawings.draw(p, 0.3, 2, WHERE) > 0).sum() == truth.sum() + 9  # nine pixels are more than two of four
    assert (drawings.draw(p, 0.3, 3, WHERE) > 0).sum() == truth.sum()


def test_threshold_and_size_are_chosen_by_the_dice_of_patients():
    truth, p = chances()
    cases = [(truth, None, p, WHERE)] * 3
    tried = drawings.try_thresholds(cases, ["a", "a", "b"])
    both = 2 * truth.sum() / (2 * truth.sum() + 9)
    assert tried[0.4] == pytest.approx(both) and tried[0.5] == 0 and drawings.best_threshold(tried) == 0.4
    sizes = drawings.try_sizes(cases, ["a", "a", "b"], 0.4)
    assert sizes[0] == pytest.approx(both) and sizes[3] == 1 and drawings.best_size(sizes) == 3
    valid = np.ones((20, 20), bool)
    valid[14:] = False  # the speck lies outside the field of view
    assert drawings.try_thresholds([(truth, valid, p, WHERE)], ["a"])[0.4] == 1


def test_without_validation_nothing_is_chosen():
    tried = drawings.try_thresholds([], [])
    assert drawings.best_threshold(tried) == 0.5 and drawings.best_size(drawings.try_sizes([], [], 0.5)) == 0


def test_patches_and_blocks_as_a_parameter_says_them():
    assert patches.parse("auto", (300, 200)) == (256, 200) and patches.parse("auto", (40, 64, 64)) == (32, 64, 64)
    assert patches.parse("16", (40, 64, 64)) == (16, 16, 16) and patches.parse("0, 8, 8", (5, 64, 64)) == (5, 8, 8)
    assert unet.blocks("plain, attention") == {"residual": False, "attention": True}
    assert unet.blocks("residual") == {"residual": True, "attention": False}
    with pytest.raises(ValueError, match="segmentation_blocks is 'attention'; expected residual or plain"):
        unet.blocks("attention")


def made(folder):
    """Two pictures of 8 x 8 pixels, one without a mask, the left two columns outside the field of view."""
    folder.mkdir(parents=True)
    mask, valid = np.zeros((8, 8), np.uint8), np.ones((8, 8), np.uint8)
    mask[:, :4], valid[:, :2] = 1, 0
    np.savez(folder / "a.npz", image=valid, other=mask, mask=mask, valid=valid)
    pd.DataFrame({"patient_id": ["p", "q"], "image": ["a.npz::image", "a.npz::other"], "mask": ["a.npz::mask", None],
                  "valid_mask": "a.npz::valid"}).to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text(yaml.safe_dump({"title": "Made", "patients": "known", "synthetic": True}))
    return datasets.load(folder.name)


def test_masks_on_both_grids(workspace, tmp_path):
    data = made(workspace / "data" / "made")
    truth, valid = masks.original(data, data.cohort.loc[0])
    assert truth.sum() == 16 and not truth[:, :2].any() and valid.sum() == 48
    where = np.stack([geometry.of((8, 12), datasets.read(data, row)) for _, row in data.cohort.iterrows()])
    masks.write(tmp_path / "labels.npy", data, pd.Series([0, 1]), where, (8, 12), unet.IGNORE)
    labels = np.load(tmp_path / "labels.npy")
    assert (labels[0] == 1).sum() == 16 and (labels[0] == unet.IGNORE).sum() == 16 + 32 and not labels[1].any()
    table = masks.sizes(labels, {"train": [0], "val": [1], "test": []}, pd.Series(["p", "q"]), ["lesion"])
    assert table["lesion"].tolist() == [f"1 images, median {16 / 96:.2%}", "none", "none"]
    assert table["patients"].tolist() == [1, 1, 0]


def test_baselines_of_all_classes_are_drawn_at_the_original_pixels():
    labels = np.zeros((3, 10, 10), np.uint8)
    labels[:, 2:5, 2:5], labels[:, 6:9, 6:9] = 1, 2
    images = (labels * 100)[..., None]
    fitted = thresholds.fit(images, labels, ["dim", "bright"], [0, 1, 2], range(3), "threshold")
    drawn = thresholds.draw(images[0], fitted, WHERE)
    assert drawn.shape == (2, 20, 20) and drawn[0].sum() == 2 * 9 * 4 and drawn[1].sum() == 9 * 4
    assert list(thresholds.written(fitted)) == ["dim", "bright"]
    assert thresholds.fit(images, labels, ["dim"], [0, 1, 2], range(3))["dim"]["method"] == "otsu"
    with pytest.raises(ValueError, match="expected auto, otsu or threshold"):
        thresholds.fit(images, labels, ["dim"], [0], [0], "manual")


def test_methods_are_compared_class_by_class_and_told_in_words():
    truth = np.zeros((6, 6), np.uint8)
    truth[:3, :3], truth[4:, 4:] = 1, 2
    drawn = {"U-Net": truth, "Otsu": np.stack([truth == 1, np.ones((6, 6), bool)])}  # masks that overlap
    rows = [{"row": i, "patient_id": f"p{i}"} | row for i in range(4)
            for row in scores.compare(truth, drawn, ["a", "b"])]
    cases = pd.DataFrame(rows)
    assert list(cases["method"][:4]) == ["U-Net", "U-Net", "Otsu", "Otsu"]
    assert cases["dice"][:4].tolist() == [1, 1, 1, pytest.approx(8 / 40)]
    each = cases.groupby(["patient_id", "method"])["dice"].mean().unstack()[["U-Net", "Otsu"]]
    overall = scores.by_method(each, n_bootstrap=50)
    assert scores.in_words(overall).splitlines()[1].startswith("Otsu: Dice per patient 0.600 ")
    assert "better in 4 of 4" in scores.gain_in_words(scores.paired(each["U-Net"], each["Otsu"], n_bootstrap=50),
                                                      "U-Net", "Otsu")
    table = scores.side_by_side({"per image": scores.per_class(cases, ["a", "b"], n_bootstrap=50)})
    assert list(table) == ["a: per image", "b: per image"] and table.loc["HD95, px"].str.endswith(" median").all()


def test_empty_masks_are_counted_apart():
    """Of two with a lesion one is found, of three without one is left empty: no Dice of 1 for nothing in the mean."""
    square, nothing = np.pad(np.ones((3, 3), bool), 2), np.zeros((7, 7), bool)
    pairs = [(square, square), (square, nothing), (nothing, nothing), (nothing, square), (nothing, square)]
    rows = [{"patient_id": f"p{i}", "method": m, "class": "a"} | scores.case(truth, drawn)
            for i, (truth, drawn) in enumerate(pairs) for m in ("U-Net", "Otsu")]
    table = scores.pool(pd.DataFrame(rows), ["patient_id", "method", "class"])
    assert scores.dice_of_each(table, ["U-Net", "Otsu"])["U-Net"].tolist() == [1, 0]
    found = scores.empties(table, ["U-Net", "Otsu"])
    assert found.loc[("U-Net", "found"), ["value", "n"]].tolist() == [0.5, 2]
    assert found.loc[("Otsu", "left empty"), ["value", "n"]].tolist() == [pytest.approx(1 / 3), 3]
    assert found.loc[("Otsu", "left empty"), "low"] == pytest.approx(0.0084, abs=1e-4)  # Clopper and Pearson
    assert scores.empties_written(found).loc["U-Net", "patients with something: something called"].endswith(" of 2")
    without = scores.dice_of_each(table[table["patient_id"] > "p1"], ["U-Net"])
    assert without["U-Net"].tolist() == [1, 0, 0]


def test_agreement_of_sizes_class_by_class():
    cases = pd.DataFrame({"class": ["a"] * 6 + ["b"] * 2, "patient_id": list("uvwxyzuv"), "truth_px": [
        100.0, 200, 300, 400, 500, 600, 5, 6], "predicted_px": [110.0, 215, 300, 420, 505, 600, 5, 7]})
    found = agreement.by_class(cases, agreement.unit_of(cases))
    assert found["a"]["bias"] == pytest.approx(50 / 6) and found["b"]["n"] == 2
    said = agreement.in_words(found, "px").splitlines()
    assert said[0].startswith("a: bias +8.33 pixels (") and "at least 3 are needed" in said[-1]
    assert [ax.get_title(loc="left") for ax in figures.agreements(cases, found, "px")] == ["a"]
