"""Scores of segmentations against SimpleITK, published numbers of other programs, SciPy and simulated truth."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import ndimage, stats
from skimage.filters import threshold_otsu

from medlab.segmentation import agreement, scores, surfaces, thresholds
from medlab.statistics import intervals


def blobs(shape=(12, 40, 36), seed=0, shift=0.5):
    """A truth and a prediction that resembles it the less, the larger the shift."""
    a, b = (ndimage.gaussian_filter(np.random.default_rng(100 * seed + k).normal(size=shape), 3) for k in (0, 1))
    b, share = a + shift * b, 0.75 + 0.02 * (seed % 8)
    return a > np.quantile(a, share), b > np.quantile(b, share + 0.02)


def itk(mask, spacing):
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    return image


@pytest.mark.parametrize("shape", [(60, 50), (12, 40, 36)])
def test_overlap_is_that_of_simpleitk(shape):
    truth, predicted = blobs(shape)
    spacing = (2.5, 0.8, 0.7)[-len(shape):]
    row = scores.case(truth, predicted, spacing)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(itk(predicted, spacing), itk(truth, spacing))
    assert row["dice"] == pytest.approx(overlap.GetDiceCoefficient()) and 0.3 < row["dice"] < 0.97
    assert row["iou"] == pytest.approx(overlap.GetJaccardCoefficient())
    assert 1 - row["sensitivity"] == pytest.approx(overlap.GetFalseNegativeError())
    assert 1 - row["precision"] == pytest.approx(overlap.GetFalseDiscoveryRate())
    assert row["tp"] + row["fp"] + row["fn"] + row["tn"] == truth.size
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(itk(predicted, spacing))
    size = row["predicted_ml"] * 1000 if len(shape) == 3 else row["predicted_mm2"]
    assert size == pytest.approx(shapes.GetPhysicalSize(1))
    assert row["relative_error"] == pytest.approx(predicted.sum() / truth.sum() - 1)


def test_hausdorff_is_that_of_simpleitk_up_to_half_a_voxel():
    """SimpleITK measures between voxel centres, here it is between the surfaces half a voxel further out."""
    for seed in range(3):
        truth, predicted = blobs(seed=seed, shift=1.0)
        for spacing in ((1.0, 1.0, 1.0), (3.0, 0.8, 0.7)):
            filtered = sitk.HausdorffDistanceImageFilter()
            filtered.Execute(itk(truth, spacing), itk(predicted, spacing))
            assert scores.case(truth, predicted, spacing)["hd_mm"] == pytest.approx(
                filtered.GetHausdorffDistance(), abs=np.linalg.norm(spacing))
    box = np.zeros((6, 30, 30), bool)
    box[2:4, 5:12, 8:14] = True
    filtered = sitk.HausdorffDistanceImageFilter()
    filtered.Execute(itk(box, (3.0, 0.8, 0.7)), itk(np.roll(box, 4, 1), (3.0, 0.8, 0.7)))
    row = scores.case(box, np.roll(box, 4, 1), (3.0, 0.8, 0.7))
    assert row["hd_mm"] == pytest.approx(filtered.GetHausdorffDistance()) == pytest.approx(3.2)


def test_surface_distances_are_those_published_with_nikolov():
    """Expected values of the tests of google-deepmind/surface-distance (Apache-2.0), tolerance 1 mm."""
    truth, predicted = np.zeros((128, 128), bool), np.zeros((128, 128), bool)
    truth[50, 70] = predicted[50, 72] = True
    row = scores.case(truth, predicted, (2, 1), tolerance=1)
    assert (row["hd_mm"], row["hd95_mm"], row["surface_dice"], row["dice"]) == pytest.approx((2, 2, 0.5, 0))
    assert row["surface_total"] == pytest.approx(8 * 0.5 * np.sqrt(5)) and row["assd_mm"] == pytest.approx(1.5)
    truth, predicted = np.zeros((2, 60, 70, 80), bool)
    truth[50, 60, 70] = predicted[50, 60, 72] = True
    row = scores.case(truth, predicted, (3, 2, 1), tolerance=1)
    assert (row["hd_mm"], row["hd95_mm"], row["surface_dice"], row["assd_mm"]) == pytest.approx((2, 2, 0.5, 1.5))
    truth, predicted = np.zeros((2, 100, 100, 100), bool)
    truth[:50], predicted[:51] = True, True
    row = scores.case(truth, predicted, (2, 1, 1), tolerance=1)
    assert (row["hd_mm"], row["hd95_mm"]) == (2, 2) and row["surface_dice"] == pytest.approx(0.836, abs=5e-4)
    found = surfaces.distances(truth, predicted, (2, 1, 1))
    assert [(d * w).sum() / w.sum() for d, w in found] == pytest.approx([0.322, 0.339], abs=5e-4)
    assert row["dice"] == pytest.approx(0.990, abs=5e-4)


def test_the_distance_map_and_the_search_tree_agree(monkeypatch):
    truth, predicted = blobs(seed=4)
    tree = surfaces.distances(truth, predicted, (3.0, 0.8, 0.7))
    monkeypatch.setattr(surfaces, "DENSE", -1)
    for one, other in zip(tree, surfaces.distances(truth, predicted, (3.0, 0.8, 0.7)), strict=True):
        assert one[0] == pytest.approx(other[0]) and one[1].sum() == pytest.approx(other[1].sum())


def test_distances_in_three_known_cases():
    """A disc in a disc, a far speck (HD95 forgives it, HD does not), pixels that are not square."""
    y, x = np.ogrid[:120, :120]
    radius = np.hypot(y - 60, x - 60)
    row = scores.case(radius < 20, radius < 30)
    assert row["hd95_px"] == pytest.approx(10, abs=0.8) and row["assd_px"] == pytest.approx(10, abs=0.5)
    assert scores.case(radius < 20, radius < 30, tolerance=8)["surface_dice"] == 0
    assert scores.case(radius < 20, radius < 30, tolerance=11)["surface_dice"] == 1
    speck = radius < 30
    speck[2, 2] = True
    row = scores.case(radius < 30, speck)
    assert row["hd95_px"] == 0 and row["hd_px"] > 50
    box = np.zeros((40, 40), bool)
    box[10:20, 10:20] = True
    assert scores.case(box, np.roll(box, 3, 0), (4.0, 0.5))["hd_mm"] == 12
    assert scores.case(box, np.roll(box, 3, 1), (4.0, 0.5))["hd_mm"] == 1.5


def test_hd95_is_the_larger_of_the_two_directions_and_symmetric():
    y, x = np.ogrid[:100, :100]
    disc = np.hypot(y - 50, x - 30) < 15
    more = disc | (np.hypot(y - 50, x - 80) < 6)  # a second finding, more than 5 % of the surface
    forth, back = scores.case(disc, more), scores.case(more, disc)
    assert forth["hd95_px"] == back["hd95_px"] > 25
    directed = [d[np.searchsorted(np.cumsum(w) / w.sum(), 0.95)] for d, w in surfaces.distances(disc, more, (1, 1))]
    assert directed[0] == 0 and forth["hd95_px"] == directed[1]


def test_rules_for_empty_masks():
    none, some = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    some[5:9, 5:9] = True
    both = scores.case(none, none, (1, 2))
    assert both["both_empty"] and not both["one_empty"]
    assert (both["dice"], both["iou"], both["surface_dice"], both["hd95_mm"], both["assd_mm"]) == (1, 1, 1, 0, 0)
    assert np.isnan([both[name] for name in ("sensitivity", "precision", "relative_error", "dice_if_any")]).all()
    missed, invented = scores.case(some, none, (1, 2)), scores.case(none, some, (1, 2))
    for row in (missed, invented):
        assert row["one_empty"] and (row["dice"], row["iou"], row["surface_dice"]) == (0, 0, 0)
        assert row["hd95_mm"] == row["hd_mm"] == row["assd_mm"] == pytest.approx(np.hypot(30, 80))
    assert missed["sensitivity"] == 0 and np.isnan(missed["precision"]) and missed["relative_error"] == -1
    assert invented["precision"] == 0 and np.isnan(invented["sensitivity"]) and np.isnan(invented["relative_error"])


def test_outside_the_field_of_view_nothing_counts():
    truth, predicted = blobs((60, 50))
    valid = np.zeros(truth.shape, bool)
    valid[10:50, 8:40] = True
    inside = scores.case(truth, predicted, (1, 1), valid=valid)
    assert inside["tp"] + inside["fp"] + inside["fn"] + inside["tn"] == valid.sum()
    changed = np.where(valid, predicted, ~predicted)
    again = scores.case(np.where(valid, truth, True), changed, (1, 1), valid=valid)
    assert {k: v for k, v in again.items() if again[k] != inside[k]} == {}
    assert scores.case(truth, predicted, (1, 1))["dice"] != inside["dice"]


def test_units_follow_the_spacing():
    truth, predicted = blobs()
    known, unknown = scores.case(truth, predicted, (2, 1, 1)), scores.case(truth, predicted, (np.nan, 1, 1))
    assert {"hd95_mm", "truth_ml"} <= set(known) and not {"hd95_px", "truth_px"} & set(known)
    assert {"hd95_px", "truth_px"} <= set(unknown) and not [k for k in unknown if k.endswith(("_mm", "_ml", "_mm2"))]
    assert known["truth_ml"] == pytest.approx(truth.sum() * 2 / 1000) and unknown["error_px"] == (
        predicted.sum() - truth.sum())
    assert "truth_mm2" in scores.case(truth[5], predicted[5], (1, 1))


def test_classes_are_scored_one_by_one():
    truth, predicted = blobs((50, 60))
    labels, called = truth * 2 + 0, predicted * 2
    labels[:20], called[:20] = truth[:20] * 1, predicted[:20] * 1
    rows = scores.by_class(labels, called, ["nucleus", "membrane", "absent"])
    assert [row["class"] for row in rows] == ["nucleus", "membrane", "absent"]
    assert rows[1]["dice"] == scores.case(labels == 2, called == 2)["dice"] and rows[2]["both_empty"]
    with pytest.raises(ValueError, match="value 2, but there are 1 classes"):
        scores.by_class(labels, called, ["one"])


@pytest.mark.parametrize(("truth", "predicted", "text"), [
    (np.zeros((4, 5), bool), np.zeros((5, 4), bool), "same shape"),
    (np.zeros((4, 4), bool), np.full((4, 4), 0.3), "threshold first"),
    (np.arange(16).reshape(4, 4), np.zeros((4, 4), bool), "by_class")])
def test_what_does_not_fit_is_refused(truth, predicted, text):
    with pytest.raises(ValueError, match=text):
        scores.case(truth, predicted)


def table_of(seeds, images=3, shape=(40, 40), spacing=None):
    return pd.DataFrame([{"patient_id": f"P{p}"} | scores.case(*blobs(shape, seed=10 * p + i, shift=0.2 + 0.1 * p),
                                                               spacing) for p in seeds for i in range(images)])


def test_pooled_images_of_a_patient_are_like_one_large_image():
    pairs = [blobs((40, 40), seed=s) for s in range(3)]
    pairs = [tuple(np.pad(mask, 30) for mask in pair) for pair in pairs]  # far apart, so that surfaces do not meet
    rows = pd.DataFrame([{"patient_id": "P"} | scores.case(*pair, tolerance=1.5) for pair in pairs])
    whole = scores.case(*(np.concatenate(parts) for parts in zip(*pairs, strict=True)), tolerance=1.5)
    pooled = scores.pool(rows).iloc[0]
    for name in ("dice", "iou", "sensitivity", "precision", "specificity", "surface_dice", "relative_error", "truth_px",
                 "error_px", "tp", "tn", "surface_total"):
        assert pooled[name] == pytest.approx(whole[name]), name
    assert pooled["dice"] != pytest.approx(rows["dice"].mean()) and pooled["images"] == 3
    assert pooled["assd_px"] == pytest.approx(rows["assd_px"].mean())


def test_pooling_leaves_empty_images_out_of_distances_and_keeps_units_apart():
    none, (truth, predicted) = np.zeros((40, 40), bool), blobs((40, 40))
    mm = (1, 1)
    rows = pd.DataFrame([{"patient_id": p} | scores.case(t, q, s) for p, t, q, s in (
        ("a", truth, predicted, mm), ("a", none, none, mm), ("b", none, none, mm), ("b", none, none, mm),
        ("c", truth, predicted, None), ("d", truth, none, None))])
    pooled = scores.pool(rows).set_index("patient_id")
    assert pooled.loc["a", "hd95_mm"] == rows.loc[0, "hd95_mm"] and pooled.loc["b", "hd95_mm"] == 0
    assert pooled["both_empty"].tolist() == [False, True, False, False] and pooled.loc["b", "dice"] == 1
    assert np.isnan(pooled.loc["a", "truth_px"]) and pooled.loc["c", ["hd95_mm", "truth_mm2"]].isna().all()
    assert pooled["images_one_empty"].tolist() == [0, 0, 0, 1] and pooled.loc["d", "one_empty"]
    assert pooled.loc[["a", "c"], "relative_error"].notna().all() and np.isnan(pooled.loc["b", "relative_error"])


def test_pooling_by_patient_and_class():
    labels = [np.where(truth, 1 + (np.arange(40) > 20), 0) for truth, _ in (blobs((40, 40), s) for s in range(4))]
    rows = pd.DataFrame([{"patient_id": i // 2} | row for i, one in enumerate(labels)
                         for row in scores.by_class(one, np.roll(one, 1, 0), ["left", "right"])])
    pooled = scores.pool(rows, ["patient_id", "class"])
    assert pooled[["patient_id", "class"]].values.tolist() == [[0, "left"], [0, "right"], [1, "left"], [1, "right"]]
    assert pooled["tp"].sum() == rows["tp"].sum()


def test_summary_gives_means_medians_and_counts():
    table = table_of(range(8))
    none = np.zeros((40, 40), bool)
    extra = [{"patient_id": "P0"} | scores.case(none, none), {"patient_id": "Q"} | scores.case(~none, none)]
    table = pd.concat([table, pd.DataFrame(extra)], ignore_index=True)
    found = scores.summary(table, n_bootstrap=500)
    assert found.loc["dice", "value"] == pytest.approx(table["dice"].mean())
    assert found.loc["hd95_px", "value"] == pytest.approx(table["hd95_px"].median())
    assert found.loc["hd95_px", "statistic"] == "median" and found.loc["dice", "statistic"] == "mean"
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
    assert found.loc["precision", ["n", "n_patients", "undefined"]].tolist() == [24, 8, 2]
    assert found.loc["dice", ["n", "n_patients", "undefined", "both_empty", "one_empty"]].tolist() == [26, 9, 0, 1, 1]
    assert found.loc["dice_if_any", "value"] < found.loc["dice", "value"]
    assert found.equals(scores.summary(table, n_bootstrap=500))
    one = scores.summary(table_of([1, 2]), n_bootstrap=500)
    assert one["low"].isna().all() and one.loc["dice", "n_patients"] == 2
    with pytest.raises(ValueError, match="no cases"):
        scores.summary(table.iloc[:0])


def test_the_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(0)
    for n in (1, 4, 9):
        x, w = rng.integers(0, 5, n).astype(float), rng.integers(0, 3, (50, n)).astype(float)
        w = w[w.sum(1) > 0]
        expected = [np.median(np.repeat(x, row.astype(int))) for row in w]
        assert intervals.weighted(x, w, "median") == pytest.approx(expected)


def test_intervals_draw_patients_not_images():
    """Ten images of each patient that are all alike say no more than one: the interval must be the same."""
    values = np.random.default_rng(0).beta(8, 2, 30)
    one = pd.DataFrame({"patient_id": range(30), "dice": values, "both_empty": False, "one_empty": False})
    ten = pd.concat([one] * 10, ignore_index=True)
    a, b = (scores.summary(table, n_bootstrap=1000).loc["dice"] for table in (one, ten))
    assert b[["value", "low", "high"]].tolist() == pytest.approx(a[["value", "low", "high"]].tolist())
    spread = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    plain = intervals.estimate(values, np.arange(30), n_bootstrap=1000)
    assert plain[1:] == pytest.approx(spread, abs=0.02) and a["high"] == plain[2]
    failed = intervals.estimate(np.r_[values, 0], np.arange(31), n_bootstrap=1000)
    assert a["low"] == failed[1] < plain[1]  # the lower limit reckons with a failure that did not occur


def test_intervals_of_few_patients_hold_the_truth():
    """Widened for few patients: without that, 88 % at 10 patients even where nothing is skewed."""
    rng, hits, hits_median = np.random.default_rng(1), 0, 0
    for trial in range(200):
        x = rng.normal(0.7, 0.1, 10)
        who = pd.Series(np.arange(10))
        _, low, high = intervals.estimate(x, who, "mean", 400, trial, 0.95)
        hits += low <= 0.7 <= high
        _, low, high = intervals.estimate(x, who, "median", 400, trial, 0.95)
        hits_median += low <= 0.7 <= high
    assert 183 <= hits <= 199 and 183 <= hits_median


def test_paired_difference_is_scipys_wilcoxon_on_patients():
    rng = np.random.default_rng(0)
    a, b = rng.beta(8, 2, 24), rng.beta(7, 3, 24)
    found = scores.paired(a, b)
    assert found["value"] == pytest.approx((a - b).mean()) and found["p"] == stats.wilcoxon(a, b).pvalue
    assert found["low"] < found["value"] < found["high"] and found["better"] == (a > b).sum()
    assert found["median"] == pytest.approx(np.median(a - b))
    again = scores.paired(np.repeat(a, 4), np.repeat(b, 4), np.repeat(np.arange(24), 4))
    assert again["p"] == found["p"] and again["n"] == 96 and again["n_patients"] == 24
    assert (again["low"], again["high"]) == pytest.approx((found["low"], found["high"]))
    hole = scores.paired(np.where(np.arange(24) < 3, np.nan, a), b)
    assert hole["undefined"] == 3 and hole["value"] == pytest.approx((a - b)[3:].mean())


def test_paired_difference_at_the_ends():
    few = scores.paired([0.9, 0.8, 0.95, 0.9], [0.1, 0.2, 0.3, 0.2])
    assert few["p"] == few["smallest_p"] == 0.125  # four patients cannot reach 0.05
    same = scores.paired([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert same["p"] == 1 and same["value"] == 0 and np.isnan(same["low"])
    nothing = scores.paired([np.nan], [0.5])
    assert np.isnan([nothing["value"], nothing["p"]]).all() and nothing["n_patients"] == 0
    with pytest.raises(ValueError, match="one each per image"):
        scores.paired([0.5, 0.6], [0.5])


WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_bland_altman_is_the_published_example():
    """Peak flow meters, Lancet 1986: bias -2.1 (-22.0 to 17.8), standard deviation 38.8 l/min."""
    found = agreement.bland_altman(MINI, WRIGHT)
    assert found["bias"] == pytest.approx(-2.1, abs=0.05) and found["n"] == 17
    assert (found["bias_low"], found["bias_high"]) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert (found["lower"], found["upper"]) == pytest.approx((-2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8), abs=0.2)
    approximate = 2.12 * 38.8 * np.sqrt(1 / 17 + 1.96**2 / 32)  # Bland and Altman 1999; the exact one leans outwards
    assert found["upper"] - approximate < found["upper_low"] < found["upper"]
    assert found["upper"] + approximate < found["upper_high"] < found["upper"] + 2 * approximate
    assert [note for note in found["notes"] if "Only 17 patients" in note] == found["notes"]


def test_the_interval_of_a_limit_holds_it():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        found = agreement.bland_altman(np.full(12, 10.0), 10 + rng.normal(0, 1, 12))
        hits += found["upper_low"] <= 1.96 <= found["upper_high"]
    assert 274 <= hits <= 296


def test_proportional_bias_is_told_and_growing_scatter_alone_is_not_taken_for_it():
    rng, told, scatter = np.random.default_rng(0), 0, 0
    truth = np.exp(rng.normal(1, 1, 40))
    found = agreement.bland_altman(truth, 1.3 * truth * np.exp(rng.normal(0, 0.05, 40)))
    assert found["slope_low"] < 2 * 0.3 / 2.3 < found["slope_high"] and found["slope_p"] < 0.001
    assert found["ratio_low"] < 1.3 < found["ratio_high"] and found["ratio_upper"] / found["ratio"] == pytest.approx(
        np.exp(1.96 * 0.05), abs=0.03)
    assert any("Proportional bias" in note and "rises" in note for note in found["notes"])
    for _ in range(100):
        truth = np.exp(rng.normal(1, 1, 40))
        found = agreement.bland_altman(truth, truth * np.exp(rng.normal(0, 0.15, 40)))
        told += found["slope_p"] < 0.05
        scatter += any("scatter more" in note for note in found["notes"])
    assert told <= 16 and scatter >= 75


def test_bland_altman_adds_up_a_patients_images_and_leaves_out_who_has_nothing():
    truth, predicted, who = [1.0, 2.0, 3.0, 4.0, 0.0, 5.0], [1.5, 2.0, 2.0, 5.0, 0.0, 4.0], list("aabbcd")
    points = agreement.points(truth, predicted, who)
    assert points["truth"].to_dict() == {"a": 3.0, "b": 7.0, "d": 5.0} and points["difference"].tolist() == [0.5, 0, -1]
    assert agreement.bland_altman(truth, predicted, who)["n"] == 3
    assert agreement.bland_altman([1.0], [1.0])["notes"] == [
        "1 patients with a size: at least 3 are needed for limits of agreement"]
    equal = agreement.bland_altman([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert equal["bias"] == equal["upper"] == 0 and np.isnan(equal["slope_p"])
    with pytest.raises(ValueError, match="not finite"):
        agreement.points([1.0, np.nan], [1.0, 2.0])


def grey(seed=0, bright=True, n=6):
    """Two-channel images, with the wanted blob in the second one; per image another level."""
    images, masks = [], []
    for i in range(n):
        truth, _ = blobs((40, 44), seed=seed + i)
        noise = np.random.default_rng(seed + i).normal(0, 12, (*truth.shape, 2))
        pixels = 110 + 4 * i + noise
        pixels[..., 1] += (45 if bright else -45) * truth
        images.append(np.clip(pixels, 0, 255).astype(np.uint8))
        masks.append(truth)
    return np.array(images), np.array(masks)


@pytest.mark.parametrize("bright", [True, False])
def test_otsu_is_scikit_images_with_channel_and_polarity_from_the_given_images(bright):
    images, masks = grey(bright=bright)
    fitted = thresholds.otsu(images, masks)
    assert (fitted["channel"], fitted["polarity"]) == (1, "bright" if bright else "dark") and fitted["n"] == 6
    other, _ = grey(50, bright)
    for image in other:
        above = image[..., 1] > threshold_otsu(image[..., 1])
        assert (thresholds.segment(image, fitted) == (above if bright else ~above)).all()
    found = [scores.case(m, thresholds.segment(i, fitted))["dice"] for i, m in zip(images, masks, strict=True)]
    assert np.mean(found) == pytest.approx(fitted["dice"]) and fitted["dice"] > 0.6


@pytest.mark.parametrize("bright", [True, False])
def test_the_fixed_threshold_is_the_best_there_is(bright):
    images, masks = grey(bright=bright)
    who = [0, 0, 0, 1, 1, 2]
    fitted = thresholds.fixed_threshold(images, masks, patients=who)

    def dice(level):
        called = images[..., 1] > level if bright else images[..., 1] <= level
        rows = pd.DataFrame([{"patient_id": p} | scores.case(m, c) for p, m, c in zip(who, masks, called, strict=True)])
        return scores.pool(rows)["dice"].mean()

    near = {level: dice(level) for level in range(max(0, fitted["threshold"] - 12), fitted["threshold"] + 13, 3)}
    assert fitted["dice"] == pytest.approx(near[fitted["threshold"]]) == pytest.approx(max(near.values()))
    called = [thresholds.segment(image, fitted) for image in images]
    rows = pd.DataFrame([{"patient_id": p} | scores.case(*pair) for p, *pair in zip(who, masks, called, strict=True)])
    assert scores.pool(rows)["dice"].mean() == pytest.approx(fitted["dice"]) and fitted["n_patients"] == 3


def test_baselines_see_only_the_field_of_view():
    images, masks = grey()
    valid = np.zeros(masks.shape, bool)
    valid[:, 5:35, 5:40] = True
    spoilt = np.where(valid[..., None], images, 255).astype(np.uint8)
    for make in (thresholds.otsu, thresholds.fixed_threshold):
        assert make(images, masks, valid) == make(spoilt, masks | ~valid, list(valid))
        found = thresholds.segment(spoilt[0], make(images, masks, valid), valid[0])
        assert not found[~valid[0]].any() and found.any()


def test_baselines_read_label_maps_of_some_rows_one_image_at_a_time():
    images, masks = grey()
    labels = (masks * 2).astype(np.uint8)
    labels[:, :4], labels[:, 30, 5:9] = 255, 1
    rows, who = np.array([4, 0, 3]), np.array(["a", "b", "a"])
    plain = [images[rows], labels[rows] == 2, labels[rows] != 255, who]
    read = []

    class Files:  # as a memory map: only what is asked for is read
        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            read.append(int(i))
            return images[i]

    for make in (thresholds.otsu, thresholds.fixed_threshold):
        assert make(Files(), labels, patients=who, rows=rows, value=2, ignore=255) == make(*plain)
    assert read == [4, 0, 3, 4, 0, 3]
    with pytest.raises(ValueError, match="at least one image"):
        thresholds.otsu(images, labels, rows=[])
    with pytest.raises(ValueError, match="3 images to learn from, 2 patients"):
        thresholds.otsu(images, labels, patients=who[:2], rows=rows)


def test_baselines_work_on_volumes_without_contrast_and_refuse_what_they_cannot_read():
    flat, mask = np.full((3, 4, 10, 10, 1), 7, np.uint8), np.zeros((3, 4, 10, 10), bool)
    fitted = thresholds.otsu(flat, mask)
    assert fitted["dice"] == 1 and not thresholds.segment(flat[0], fitted).any()
    assert thresholds.fixed_threshold(flat, mask)["dice"] == 1
    assert not thresholds.segment(flat[0], thresholds.fixed_threshold(flat, mask)).any()
    with pytest.raises(ValueError, match="prepared uint8"):
        thresholds.otsu(flat.astype(float), mask)
    with pytest.raises(ValueError, match="same number"):
        thresholds.otsu(flat, mask[:2])
    with pytest.raises(ValueError, match="image 0 has"):
        thresholds.otsu(flat, mask[:, :3])


def test_nothing_here_loads_tensorflow():
    code = ("import sys; from medlab.imaging import components; "
            "from medlab.segmentation import agreement, drawings, figures, masks, scores, surfaces, thresholds; "
            "assert not {'tensorflow', 'keras'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
