"""Detection scores against a published worked example, counted cases and plain loops over every threshold."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medlab.detection import cases, matching, scores
from medlab.statistics.intervals import exact_interval

BOX = ["x_min", "y_min", "x_max", "y_max"]
QUICK = settings(max_examples=30, deadline=None)


def table(rows, *more):
    """Rows of (image, label, x_min, y_min, x_max, y_max[, score])."""
    return pd.DataFrame(rows, columns=["image", "label", *BOX, *more])


def world(seed, n=6, ties=True, labels=("a", "b"), per_patient=2, crowd=3):
    """Few images with few, overlapping boxes: doubles, ties, empty images and wrong classes all occur."""
    rng = np.random.default_rng(seed)

    def boxes(k, *more):
        low = rng.integers(0, 12, (k, 2))
        corners = np.hstack([low, low + rng.integers(2, 9, (k, 2))])
        rows = [rng.integers(0, n, k), rng.choice(labels, k), *corners.T, *more]
        return dict(zip(["image", "label", *BOX, "score"], rows, strict=False))

    k = rng.integers(0, crowd * n + 1)
    score = rng.integers(1, 6, k) / 5 if ties else rng.random(k)
    truth = pd.DataFrame(boxes(rng.integers(0, crowd * n // 2 + 1)))
    images = pd.DataFrame({"image": range(n), "patient_id": [f"P{i // per_patient}" for i in range(n)]})
    return truth, pd.DataFrame(boxes(k, score)), images


def plain_iou(a, b):
    inside = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return inside / sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) if inside == 0 else inside / (
        sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - inside)


def plain_points(truth, candidates, label, overlap):
    """(found, false) at each threshold: for every threshold the matching starts anew, by loops."""
    points = []
    for threshold in sorted(set(candidates["score"]), reverse=True):
        kept = candidates[(candidates["score"] >= threshold) & (candidates["label"] == label)]
        taken, hits = set(), 0
        for score in sorted(set(kept["score"]), reverse=True):
            fits = [(-plain_iou(t[3:7], c[3:7]), tuple(c[3:7][[1, 0, 3, 2]]), c[0], tuple(t[3:7][[1, 0, 3, 2]]), t[0])
                    for c in rows(kept[kept["score"] == score])
                    for t in rows(truth[truth["label"] == label]) if t[1] == c[1]]
            used = set()
            for fit, _, c, _, t in sorted(fits):
                if -fit >= overlap and t not in taken and c not in used:
                    taken.add(t)
                    used.add(c)
                    hits += 1
        points.append((hits, len(kept) - hits))
    return points


def rows(frame):
    """(row number, image, label, corners...) as arrays."""
    return [np.array([i, *r[["image", "label", *BOX]]], object) for i, r in frame.iterrows()]


def plain_area(points, n):
    precision = [h / (h + f) if h + f else 0 for h, f in points]
    area, before = 0, 0
    for k, (h, _) in enumerate(points):
        area += (h - before) / n * max(precision[k:])
        before = h
    return area


def value(result, label="all", **wanted):
    for name, one in {"label": label, **wanted}.items():
        result = result[result[name] == one]
    assert len(result) == 1
    return result["value"].iloc[0]


@QUICK
@given(st.lists(st.lists(st.integers(0, 6), min_size=6, max_size=6), min_size=2, max_size=5), st.sampled_from([2, 3]))
def test_overlap_is_that_of_counted_pixels(raw, axes):
    boxes = np.array(raw)[:, : 2 * axes]
    boxes = np.hstack([np.minimum(boxes[:, :axes], boxes[:, axes:]), np.maximum(boxes[:, :axes], boxes[:, axes:])])
    masks = np.zeros((len(boxes), *[6] * axes), bool)
    for mask, box in zip(masks, boxes, strict=True):
        mask[tuple(slice(*ends) for ends in zip(box[:axes], box[axes:], strict=True))] = True
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            expected = (a & b).sum() / (a | b).sum() if (a | b).any() else 0
            assert matching.iou(boxes, boxes)[i, j] == pytest.approx(expected)
    assert np.array_equal(matching.corners(matching.box_table(boxes)), boxes)


def published():
    """Padilla, Object-Detection-Metrics: 7 images, 15 lesions, 24 candidates, average precision 24.56 %."""
    outcome = {"R": 95, "Y": 95, "J": 91, "A": 88, "U": 84, "C": 80, "M": 78, "F": 74, "D": 71, "B": 70, "H": 67,
               "P": 62, "E": 54, "X": 48, "N": 45, "T": 45, "K": 44, "Q": 44, "V": 43, "I": 38, "L": 35, "S": 23,
               "G": 18, "O": 14}
    right = "RJBPEXG"
    truth = table([[i % 7, "x", 20 * i, 0, 20 * i + 10, 10] for i in range(15)])
    found = [[right.index(c) % 7, "x", 20 * right.index(c), 0, 20 * right.index(c) + 10, 10, s / 100]
             if c in right else [k % 7, "x", 20 * k, 50, 20 * k + 10, 60, s / 100]
             for k, (c, s) in enumerate(outcome.items())]
    return truth, table(found, "score"), pd.DataFrame({"image": range(7), "patient_id": range(7)})


def test_average_precision_of_the_published_example():
    truth, candidates, images = published()
    untied = candidates.assign(score=candidates["score"] + [0.001, *[0.0] * 23])  # there R is listed before Y
    result = scores.average_precision(truth, untied, images, [0.3], n_bootstrap=0)
    assert value(result, "x") == pytest.approx(0.2456, abs=1e-4)  # its terms are rounded
    tied = scores.average_precision(truth, candidates, images, [0.3], n_bootstrap=0)
    assert value(tied, "x") == pytest.approx((2 / 3 * 2 + 4 * 6 / 14 + 7 / 23) / 15)  # R and Y enter together
    assert result.loc[0, ["images", "patients", "lesions", "candidates"]].tolist() == [7, 7, 15, 24]


@QUICK
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.25, 0.5]), st.booleans())
def test_average_precision_equals_plain_loops_and_the_mean_has_every_class_with_lesions(seed, overlap, ties):
    truth, candidates, images = world(seed, ties=ties)
    result = scores.average_precision(truth, candidates, images, [overlap], n_bootstrap=0)
    areas = {label: plain_area(plain_points(truth, candidates, label, overlap), n)
             for label, n in truth["label"].value_counts().items()}
    for label, area in areas.items():
        assert value(result, label) == pytest.approx(area)
    assert value(result) == pytest.approx(np.mean(list(areas.values())) if areas else np.nan, nan_ok=True)


def plain_marks(truth, candidates, rule):
    """Lesion of each candidate (None: none), by loops."""
    found = []
    for c in rows(candidates):
        centre = (c[3:5] + c[5:7]) / 2
        fits = []
        for t in rows(truth[(truth["image"] == c[1]) & (truth["label"] == c[2])]):
            off, overlap = np.hypot(*(centre - (t[3:5] + t[5:7]) / 2).astype(float)), plain_iou(t[3:7], c[3:7])
            if (t[3:5] <= centre).all() and (centre < t[5:7]).all() if rule == "centre" else overlap >= rule:
                fits.append((off if rule == "centre" else -overlap, tuple(t[3:7][[1, 0, 3, 2]]), t[0]))
        found.append(min(fits)[2] if fits else None)
    return found


@QUICK
@given(st.integers(0, 10**6), st.sampled_from(["centre", 0.1, 0.5]), st.booleans())
def test_froc_equals_plain_loops_over_every_threshold(seed, rule, ties):
    truth, candidates, images = world(seed, ties=ties)
    result = scores.froc(truth, candidates, images, rule, n_bootstrap=0)
    lesion = plain_marks(truth, candidates, rule)
    for label in [*sorted(set(truth.get("label", []))), "all"]:
        reached = {rate: 0 for rate in scores.RATES}
        for threshold in candidates["score"].unique():
            kept = (candidates["score"] >= threshold) & ((candidates["label"] == label) | (label == "all"))
            here = [one for one, inside in zip(lesion, kept, strict=True) if inside]
            hits, false = len(set(here) - {None}), here.count(None)
            reached = {r: max(best, hits) if false / len(images) <= r else best for r, best in reached.items()}
        n = len(truth) if label == "all" else (truth["label"] == label).sum()
        for rate, hits in reached.items():
            assert value(result, label, measure="sensitivity", at=rate) == pytest.approx(hits / n if n else np.nan,
                                                                                        nan_ok=True)
        mean = np.mean(list(reached.values())) / n if n else np.nan
        assert value(result, label, measure="cpm") == pytest.approx(mean, nan_ok=True)


@QUICK
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_order_of_the_rows_changes_nothing(seed, other):
    truth, candidates, images = world(seed)
    mixed = [one.sample(frac=1, random_state=other + k) for k, one in enumerate((truth, candidates, images))]
    for score in (scores.average_precision, scores.froc):
        pd.testing.assert_frame_equal(score(truth, candidates, images, n_bootstrap=0), score(*mixed, n_bootstrap=0))


@QUICK
@given(st.integers(0, 10**6))
def test_a_weight_is_a_repeated_image(seed):
    truth, candidates, images = world(seed)
    w = np.random.default_rng(seed).integers(0, 4, len(images))
    t, c, _, near, labels = scores.prepare(truth, candidates, images)
    place = np.repeat(np.arange(len(images)), w)
    again = pd.DataFrame({"image": range(len(place)), "patient_id": 0})
    copies = [pd.concat([one[one["image"] == i].assign(image=k) for k, i in enumerate(place)] or [one[:0]])
              for one in (truth, candidates)]
    if not len(place) or set(labels) != set(copies[0]["label"]):
        return
    marks = matching.marks(t, c, near, 0.5)
    ap = scores.average_precision(*copies, again, [0.5], n_bootstrap=0)
    assert value(ap) == pytest.approx(
        scores.mean_areas(marks, labels, w[None].astype(float))[-1, 0], nan_ok=True)
    marks = matching.marks(t, c, near, "centre", once=False)
    froc = scores.froc(*copies, again, n_bootstrap=0)
    sensitivities = scores.sensitivities(marks, w[None].astype(float))[:, 0]
    assert froc[(froc["label"] == "all") & (froc["measure"] == "sensitivity")]["value"].tolist() == (
        pytest.approx(sensitivities.tolist()))


def test_a_second_mark_is_a_false_positive_for_average_precision_and_nothing_for_froc():
    truth = table([[0, "a", 0, 0, 10, 10], [1, "a", 0, 0, 10, 10]])
    double = [[0, "a", 0, 0, 10, 10, 0.9], [0, "a", 1, 0, 11, 10, 0.8], [1, "a", 0, 0, 10, 10, 0.7]]
    images = pd.DataFrame({"image": [0, 1], "patient_id": ["A", "B"]})
    candidates = table(double, "score")
    ap = scores.average_precision(truth, candidates, images, [0.5], n_bootstrap=0)
    assert value(ap, "a") == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert value(scores.froc(truth, candidates, images, n_bootstrap=0), "a", measure="cpm") == 1
    t, c = cases.outcomes(truth, candidates, images, 0.5)
    assert t["outcome"].tolist() == ["hit", "hit"] and c["outcome"].tolist() == ["hit", "second mark", "hit"]
    assert c["lesion"].tolist() == [0, 0, 1]


def test_a_candidate_of_the_wrong_class_finds_nothing_and_is_false_in_its_own_class():
    truth, images = table([[0, "a", 0, 0, 10, 10]]), pd.DataFrame({"image": [0], "patient_id": ["A"]})
    result = scores.froc(truth, table([[0, "b", 0, 0, 10, 10, 0.9]], "score"), images, n_bootstrap=0)
    assert value(result, "a", measure="cpm") == 0 and np.isnan(value(result, "b", measure="cpm"))
    counted = cases.at_threshold(truth, table([[0, "b", 0, 0, 10, 10, 0.9]], "score"), images, 0.5, n_bootstrap=0)
    assert value(counted, "b", measure="false_positives") == 1 and value(counted, "a", measure="false_positives") == 0


def test_the_centre_rule_is_half_open_and_needs_no_overlap():
    truth, images = table([[0, "a", 0, 0, 10, 10]]), pd.DataFrame({"image": [0], "patient_id": ["A"]})
    points = table([[0, "a", 10, 5, 10, 5, 0.9], [0, "a", 9.9, 0, 9.9, 0, 0.8]], "score")  # boxes without any size
    assert cases.outcomes(truth, points, images, 0)[1]["outcome"].tolist() == ["false alarm", "hit"]


def test_images_without_lesions_and_candidates_count():
    truth = table([[0, "a", 0, 0, 10, 10]])
    candidates = table([[0, "a", 40, 40, 50, 50, 0.9], [0, "a", 0, 0, 10, 10, 0.8]], "score")
    for n, expected in ((4, 0), (8, 1)):  # one false positive in 4 or 8 images: 1/4 or 1/8 per image
        images = pd.DataFrame({"image": range(n), "patient_id": range(n)})
        result = scores.froc(truth, candidates, images, n_bootstrap=0)
        assert value(result, "a", measure="sensitivity", at=0.125) == expected
        assert result["threshold"].iloc[0] == (0.8 if expected else np.inf)


def test_nothing_found_everything_found_and_nothing_there():
    truth = table([[i, "a", 0, 0, 10, 10] for i in range(30)])
    images = pd.DataFrame({"image": range(40), "patient_id": [i // 2 for i in range(40)]})
    for candidates, expected in ((truth.assign(score=0.5), 1.0), (truth.iloc[:0].assign(score=[]), 0.0)):
        limits = exact_interval(expected, 15)  # 15 patients have lesions
        for result in (scores.average_precision(truth, candidates, images, n_bootstrap=100),
                       scores.froc(truth, candidates, images, n_bootstrap=100)):
            assert (result["value"] == expected).all()
            assert np.allclose(result[["low", "high"]], limits) and (result["lesions"] == 30).all()
    half = pd.concat([truth.assign(score=0.5), truth.assign(score=0.5, label="b")])
    mixed = scores.average_precision(pd.concat([truth, truth.assign(label="b")]), half[:30], images, n_bootstrap=50)
    limits = np.add(exact_interval(0.0, 15), exact_interval(1.0, 15)) / 2  # one class all found, one not at all
    assert value(mixed, at=0.5) == 0.5 and np.allclose(mixed.loc[mixed["label"] == "all", ["low", "high"]], limits)
    empty = pd.DataFrame()
    for result in (scores.average_precision(empty, empty, images), scores.froc(empty, empty, images)):
        assert set(result["label"]) == {"all"} and result["value"].isna().all() and result["low"].isna().all()
    assert len(scores.precision_recall(empty, empty, images)) == 0
    assert cases.outcomes(empty, empty, images, 0.5)[1].empty


def cohort(n=120, seed=0, skill=0.7, labels=("a", "b")):
    """Images with lesions in every second patient; a detector that finds some and errs at random."""
    rng, truth, found = np.random.default_rng(seed), [], []
    for i in range(n):
        for _ in range(rng.poisson(1.5) if i // 2 % 2 else 0):
            low, side, label = rng.uniform(0, 200, 2), rng.uniform(8, 30), rng.choice(labels)
            truth.append([i, label, *low, *(low + side)])
            if rng.random() < skill:
                found.append([i, label, *(low + rng.normal(0, 1, 2)), *(low + side), rng.normal(1)])
        for low in rng.uniform(0, 200, (rng.poisson(2), 2)):
            found.append([i, rng.choice(labels), *low, *(low + 15), rng.normal()])
    images = pd.DataFrame({"image": range(n), "patient_id": [f"P{i // 2}" for i in range(n)]})
    return table(truth), table(found, "score"), images


def test_the_interval_depends_on_patients_not_on_the_number_of_their_images():
    truth, candidates, images = cohort()
    twice = [pd.concat([one, one.assign(image=one["image"] + 1000)]) for one in (truth, candidates, images)]
    for score in (scores.average_precision, scores.froc):
        one, two = score(truth, candidates, images, n_bootstrap=200), score(*twice, n_bootstrap=200)
        assert np.allclose(one[["value", "low", "high"]], two[["value", "low", "high"]])
        assert (two["lesions"] == 2 * one["lesions"]).all() and (one["patients"] == two["patients"]).all()
        assert ((one["low"] < one["value"]) & (one["value"] < one["high"])).all()
    one = images.assign(patient_id="P")
    assert scores.froc(truth, candidates, one, n_bootstrap=200)["low"].isna().all()  # one patient: no interval


def test_the_difference_of_two_detectors_is_paired():
    truth, candidates, images = cohort()
    worse = candidates.assign(score=candidates["score"] + np.random.default_rng(1).normal(0, 1, len(candidates)))
    for measure, at in (("ap", 0.3), ("sensitivity", 1.0), ("cpm", None)):
        score = scores.average_precision if measure == "ap" else scores.froc
        one, two = (value(score(truth, c, images, n_bootstrap=0), measure=measure, **({"at": at} if at else {}))
                    for c in (candidates, worse))
        gain = scores.difference(truth, candidates, worse, images, measure, at, n_bootstrap=300)
        assert gain["value"] == pytest.approx(one - two) and gain["low"] < gain["value"] < gain["high"]
        same = scores.difference(truth, candidates, candidates, images, measure, at, n_bootstrap=50)
        assert same["value"] == 0 and np.isnan(same["low"])
    assert gain["lesions"] == len(truth) and gain["patients"] == 60
    with pytest.raises(ValueError, match="no lesion of class 'c'; there are a, b"):
        scores.difference(truth, candidates, worse, images, label="c")


def test_counts_at_a_threshold_agree_with_the_curve_and_with_sizes():
    truth, candidates, images = cohort()
    curve = scores.froc(truth, candidates, images, n_bootstrap=0)
    point = curve[(curve["label"] == "all") & (curve["at"] == 1)].iloc[0]
    counted = cases.at_threshold(truth, candidates, images, point["threshold"], n_bootstrap=200)
    assert value(counted, measure="sensitivity") == point["value"]
    assert value(counted, measure="false_positives") <= 1
    t, c = cases.outcomes(truth, candidates, images, point["threshold"])
    hits, false = (t["outcome"] == "hit").sum(), (c["outcome"] == "false alarm").sum()
    assert value(counted, measure="precision") == pytest.approx(hits / (hits + false))
    assert (counted["low"] < counted["value"]).all() and (counted["value"] < counted["high"]).all()
    free = set(images["image"]) - set(truth["image"])
    empty_handed = (c["image"].isin(free) & (c["outcome"] == "false alarm")).sum() / len(free)
    assert value(counted, measure="false_positives_free") == pytest.approx(empty_handed)
    everywhere = images[~images["image"].isin(free)]
    inside = candidates[~candidates["image"].isin(free)]
    counted = cases.at_threshold(truth, inside, everywhere, point["threshold"], n_bootstrap=20)
    assert np.isnan(value(counted, measure="false_positives_free"))
    sizes = cases.longest_side(truth, (0.5, 0.5))
    assert np.allclose(sizes, (truth["x_max"] - truth["x_min"]) / 2)
    sizes[3] = np.nan
    parts = cases.by_size(truth, candidates, images, sizes, [6, 10], point["threshold"], unit="mm", n_bootstrap=100)
    assert parts["label"].tolist() == ["below 6 mm", "6 to 10 mm", "10 mm and more", "size unknown", "all"]
    small, large = (sizes < 6).sum(), (sizes >= 10).sum()
    assert parts["lesions"].tolist()[:4] == [small, len(truth) - 1 - small - large, large, 1]
    assert (parts["value"] * parts["lesions"])[:4].sum() == pytest.approx(hits) and value(parts) == point["value"]
    per_class = cases.at_threshold(truth, candidates, images, {"a": -9, "b": 9}, n_bootstrap=0)
    assert value(per_class, "b", measure="sensitivity") == 0 < value(per_class, "a", measure="sensitivity")


def test_the_highest_score_of_a_patient_is_ranked_against_having_a_lesion():
    truth, candidates, images = cohort()
    patients = cases.per_patient(truth, candidates, images).query("label == 'all'")
    assert patients["lesions"].sum() == len(truth) and patients["candidates"].sum() == len(candidates)
    best = candidates.groupby(candidates["image"] // 2)["score"].max().reindex(range(60)).fillna(-99)
    ill = pd.Series(range(60)).isin(set(truth["image"] // 2))
    result = cases.patient_level(truth, candidates, images, n_bootstrap=100).query("label == 'all'").iloc[0]
    assert result["value"] == pytest.approx(roc_auc_score(ill, best))
    assert result["low"] < result["value"] < result["high"] and result["with_lesion"] == ill.sum()
    some = images[images["patient_id"].isin(patients.loc[patients["lesions"] > 0, "patient_id"])]
    kept = candidates[candidates["image"].isin(some["image"])]
    result = cases.patient_level(truth, kept, some, n_bootstrap=0).query("label == 'all'").iloc[0]
    assert np.isnan(result["value"]) and "every patient has a lesion" in result["note"]


def test_figures_get_the_numbers_of_the_tables():
    truth, candidates, images = cohort()
    band = scores.froc_band(truth, candidates, images, rates=scores.RATES, n_bootstrap=200)
    curve = scores.froc(truth, candidates, images, n_bootstrap=0).query("label == 'all' and measure == 'sensitivity'")
    assert band["sensitivity"].tolist() == curve["value"].tolist()
    assert (band["low"] <= band["sensitivity"]).all() and (band["sensitivity"] <= band["high"]).all()
    points = scores.precision_recall(truth, candidates, images, 0.3).query("label == 'a'")
    area = (np.diff(points["recall"], prepend=0) * points["interpolated"]).sum()
    ap = scores.average_precision(truth, candidates, images, [0.3], n_bootstrap=0)
    assert value(ap, "a") == pytest.approx(area) and (points["interpolated"] >= points["precision"]).all()


def test_volumes_and_files_of_many_frames():
    deep = {"z_min": [0, 20], "z_max": [4, 24]}
    truth = table([["s", "a", 0, 0, 10, 10], ["s", "a", 0, 0, 10, 10]]).assign(**deep)
    images = pd.DataFrame({"image": ["s"], "patient_id": ["A"]})
    candidates = truth.assign(score=0.9, z_max=[2, 24])
    assert matching.corners(truth)[1].tolist() == [20, 0, 0, 24, 10, 10]  # z, y, x
    ap = scores.average_precision(truth, candidates, images, [0.5, 0.6], n_bootstrap=0)
    assert value(ap, at=0.5) == 1 and value(ap, at=0.6) == pytest.approx(0.5 * 0.5)
    frames = pd.DataFrame({"image": ["s", "s"], "frame": [0, 1], "patient_id": ["A", "A"]})
    flat = truth.drop(columns=["z_min", "z_max"]).assign(frame=[0, 1])
    missed = scores.froc(flat, flat.assign(score=0.9, frame=0), frames, n_bootstrap=0)
    assert value(missed, measure="cpm") == 0.5  # two marks on the lesion of frame 0, none on that of frame 1
    with pytest.raises(ValueError, match="truth: no column frame"):
        scores.froc(flat.drop(columns="frame"), flat.assign(score=0.9), frames)
    with pytest.raises(ValueError, match="2 axes, candidates with 3"):
        scores.froc(flat.drop(columns="frame"), candidates, images)


@pytest.mark.parametrize("change, message", [
    (lambda t, c, i: (t, c, i[1:]), "truth: 1 of 2 rows belong to images that are not listed, the first is 0"),
    (lambda t, c, i: (t, c, pd.concat([i, i]).assign(frame=0)), "2 images are listed twice"),
    (lambda t, c, i: (t, c, i.drop(columns="patient_id")), "expected one row per image"),
    (lambda t, c, i: (t, c.assign(score=[0.1, np.nan]), i), "finite score"),
    (lambda t, c, i: (t, c.drop(columns="score"), i), "finite score"),
    (lambda t, c, i: (t.assign(x_max=0), c, i), "truth: 2 of 2 boxes are empty, reversed or not finite"),
    (lambda t, c, i: (t, c.assign(y_max=[-1, 10]), i), "candidates: 1 of 2 boxes"),
    (lambda t, c, i: (t.drop(columns="y_max"), c, i), "boxes without the columns y_max"),
    (lambda t, c, i: (t.assign(label=["a", None]), c, i), "1 of 2 rows have no label"),
    (lambda t, c, i: (t.assign(label="all"), c, i), "a class is called 'all'"),
])
def test_tables_that_cannot_be_meant_are_refused(change, message):
    truth = table([[0, "a", 0, 0, 10, 10], [1, "a", 0, 0, 10, 10]])
    images = pd.DataFrame({"image": [0, 1], "patient_id": ["A", "B"]})
    with pytest.raises(ValueError, match=message):
        scores.froc(*change(truth, truth.assign(score=0.5), images))


def test_rules_and_thresholds_that_cannot_be_meant_are_refused():
    truth, candidates, images = cohort(20)
    for rule in ("center", 0, 1.5):
        with pytest.raises(ValueError, match="expected 'centre' or an overlap"):
            scores.froc(truth, candidates, images, rule)
    with pytest.raises(ValueError, match="no threshold for b"):
        cases.at_threshold(truth, candidates, images, {"a": 0.5})
    with pytest.raises(ValueError, match="measure is 'auc'"):
        scores.difference(truth, candidates, candidates, images, "auc")
    with pytest.raises(ValueError, match="one size for each lesion"):
        cases.by_size(truth, candidates, images, [1.0], [2.0], 0.5)


def test_scores_do_not_import_tensorflow():
    code = "import sys, medlab.detection.cases, medlab.detection.figures; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_are_told_in_words_and_as_plain_keys():
    truth, candidates, images = world(5, n=12)
    ap = scores.average_precision(truth, candidates, images, n_bootstrap=50)
    froc = scores.froc(truth, candidates, images, n_bootstrap=50)
    half = scores.of_all(ap, 0.5)
    assert half["label"] == "all" and half["at"] == 0.5
    assert scores.text(half).startswith(f"{half['value']:.3f} (")
    row = pd.Series({"value": 0.5, "low": np.nan, "high": 0.75})
    assert scores.as_keys(row, "map50") == {"map50": 0.5, "map50_low": None, "map50_high": 0.75}
    table = scores.average_precision_written(ap, ["b", "a"])
    assert list(table.index) == ["b", "a", "all"] and list(table)[::5] == ["AP at IoU 0.1", "n lesions"]
    rates = scores.froc_written(froc, ["all"])
    assert list(rates) == ["0.125", "0.25", "0.5", "1", "2", "4", "8", "mean"]
    assert rates.at["all", "1"] == scores.text(scores.of_all(froc, 1))
    found = {"value": 0.1, "low": -0.05, "high": 0.25}
    assert scores.difference_in_words(found, "cats") == "the same cats drawn for both: +0.100 (-0.050 to +0.250)"


def test_images_worth_a_look_show_hits_misses_and_false_alarms():
    truth = pd.DataFrame({"number": [3, 3, 1, 6, 7, 7], "outcome": ["miss", "miss", "miss", "hit", "hit", "miss"]})
    alarms = pd.DataFrame({"number": [5, 3, 6], "outcome": ["false alarm", "false alarm", "hit"]})
    chosen = cases.worth_a_look(truth, alarms, 9, each=2)
    assert list(chosen.items())[:5] == [(6, "hit"), (7, "hit"), (3, "miss"), (1, "miss"), (5, "false alarm")]
    assert list(chosen.values())[5:] == ["other"] * 2 and set(chosen) <= set(range(9))
    assert "hit" not in cases.worth_a_look(truth[:3], alarms[:1], 9).values()