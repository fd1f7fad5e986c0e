"""Measures, intervals, calibration and operating points against scikit-learn, SciPy and published numbers."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit, softmax
from scipy.stats import binomtest, norm
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from medlab.cohorts import vocabulary
from medlab.evaluation import baselines, calibration, outcomes, subgroups
from medlab.statistics import intervals, measures, metrics


def binary(n=300, seed=0, gap=1.2, ties=True):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.35).astype(int)
    p = expit(rng.normal(size=n) + gap * y - 1)
    return y, np.round(p, 2) if ties else p


def several(n=400, k=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return y, softmax(rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y], axis=1)


def value(y, p, **options):
    return metrics.scores(y, p, n_bootstrap=0, **options)["value"]


def test_importing_the_measures_does_not_import_tensorflow():
    code = ("import sys, medlab.statistics.metrics, medlab.evaluation.calibration; "
            "assert 'tensorflow' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_binary_measures_equal_those_of_sklearn():
    y, p = binary()
    called, ours = p >= 0.3, value(*binary(), threshold=0.3)
    theirs = {
        "auc": sk.roc_auc_score(y, p), "average_precision": sk.average_precision_score(y, p),
        "accuracy": sk.accuracy_score(y, called), "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "recall": sk.recall_score(y, called), "specificity": sk.recall_score(y, called, pos_label=0),
        "precision": sk.precision_score(y, called), "npv": sk.precision_score(y, called, pos_label=0),
        "f1": sk.f1_score(y, called), "mcc": sk.matthews_corrcoef(y, called),
        "brier": sk.brier_score_loss(y, p),
    }
    assert ours[list(theirs)].to_dict() == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("head", ["multiclass", "ordinal"])
def test_measures_of_several_classes_equal_those_of_sklearn(head):
    y, p = several()
    called, ours = p.argmax(1), value(*several(), head=head)
    macro = {"average": "macro", "zero_division": 0}
    theirs = {
        "auc": sk.roc_auc_score(y, p, multi_class="ovr"), "accuracy": sk.accuracy_score(y, called),
        "average_precision": sk.average_precision_score(np.eye(4)[y], p),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "recall": sk.recall_score(y, called, **macro),
        "precision": sk.precision_score(y, called, **macro), "f1": sk.f1_score(y, called, **macro),
        "mcc": sk.matthews_corrcoef(y, called), "brier": ((p - np.eye(4)[y]) ** 2).sum(1).mean(),
    }
    if head == "ordinal":
        theirs["kappa_quadratic"] = sk.cohen_kappa_score(y, called, weights="quadratic")
    assert ours[list(theirs)].to_dict() == pytest.approx(theirs, abs=1e-12)


def test_multilabel_measures_are_means_over_labels_and_skip_unknown_entries():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, (200, 3)).astype(float)
    p = expit(rng.normal(size=(200, 3)) + y)
    ours = value(y, p, head="multilabel")
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(y, p, average="macro"))
    assert ours["subset_accuracy"] == pytest.approx(sk.accuracy_score(y, p >= 0.5))
    y[:50, 0] = np.nan
    aucs = [sk.roc_auc_score(y[50:, 0], p[50:, 0]), *(sk.roc_auc_score(y[:, c], p[:, c]) for c in (1, 2))]
    assert value(y, p, head="multilabel")["auc"] == pytest.approx(np.mean(aucs))


def test_weighted_measures_equal_measures_of_repeated_images():
    y, p = binary(120)
    times = np.random.default_rng(2).integers(0, 4, 120)
    weighted = measures.measure(y, p, times[None].astype(float))
    repeated = value(np.repeat(y, times), np.repeat(p, times))
    assert {name: v[0] for name, v in weighted.items()} == pytest.approx(repeated.to_dict(), abs=1e-6)


def test_calibration_line_equals_unpenalised_logistic_regression():
    y, p = binary(500, ties=False)
    x = logit(p)[:, None]
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(x, y)
    ours = value(y, p)
    assert ours["calibration_slope"] == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    shifted = expit(logit(p) + ours["calibration_intercept"])
    assert shifted.mean() == pytest.approx(y.mean(), abs=1e-6)  # the score equation of the intercept


def test_expected_calibration_error_by_hand():
    # two bins: 0.2 (1 of 4 right: gap 0.05) and 0.9 (1 of 2 right: gap 0.4), weights 4 and 2
    y, p = np.array([1, 0, 0, 0, 1, 0]), np.array([0.2] * 4 + [0.9] * 2)
    assert value(y, p)["ece"] == pytest.approx((4 * 0.05 + 2 * 0.4) / 6)


def test_kappa_by_hand():
    # observed agreement 0.7, by chance 0.5
    confusion = np.array([[[20, 5], [10, 15]]])
    assert measures.from_confusion(confusion)["kappa_quadratic"][0] == pytest.approx(0.4)


def test_exact_interval_equals_scipy_and_is_not_a_point_when_all_are_right():
    for hits, n in ((0, 9), (3, 10), (12, 12), (50, 80)):
        theirs = binomtest(hits, n).proportion_ci(0.95, "exact")
        assert intervals.exact_interval(hits / n, n) == pytest.approx((theirs.low, theirs.high))
    y = np.r_[np.zeros(10, int), np.ones(12, int)]
    table = metrics.scores(y, 0.01 + 0.98 * y, n_bootstrap=200)
    assert table.loc["recall", ["low", "high"]].tolist() == pytest.approx([0.025 ** (1 / 12), 1])
    perfect = table.loc[["auc", "accuracy", "balanced_accuracy", "f1", "mcc"]]
    assert (perfect["low"] < 0.9).all() and (perfect["low"] > 0.3).all() and (perfect["high"] == 1).all()


def test_auc_interval_near_hanley_mcneil():
    # Hanley and McNeil 1982, their formula at AUC 0.893, 51 and 58 patients: standard error 0.032
    low, high = intervals.auc_interval(0.893, 51, 58)
    assert (high - low) / (2 * 1.96) == pytest.approx(0.032, abs=0.003)


def test_images_of_one_patient_are_drawn_together_and_widen_the_interval():
    patients = np.repeat(np.arange(40), 5)
    w = np.concatenate(list(intervals.weights(patients, 50)))
    assert w.shape == (50, 200) and (w.sum(1) == 200).all()
    assert (np.ptp(w.reshape(50, 40, 5), axis=2) == 0).all()
    y, p = binary(40, ties=False)
    y, p = np.repeat(y, 5), np.repeat(p, 5)
    width = {who is None: np.diff(metrics.scores(y, p, who, n_bootstrap=500).loc["auc", ["low", "high"]])[0]
             for who in (patients, None)}
    assert 1.7 < width[False] / width[True] < 2.8  # sqrt(5) = 2.24


def test_same_seed_same_interval_and_other_seed_other_interval():
    y, p = binary()
    one, again, other = (metrics.scores(y, p, n_bootstrap=200, seed=s).loc["auc", "low"] for s in (0, 0, 1))
    assert one == again != other


def test_bootstrap_interval_equals_scipys_bca():
    from scipy.stats import bootstrap

    y, p = binary(150, ties=False)
    ours = metrics.scores(y, p, n_bootstrap=4000).loc["brier", ["low", "high"]].to_numpy(float)
    theirs = bootstrap(((p - y) ** 2,), np.mean, n_resamples=4000, method="BCa", rng=1).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.002)


def test_coverage_of_the_patient_bootstrap():
    rng, truth, held = np.random.default_rng(5), norm.cdf(1.5 / np.sqrt(2)), []
    for _ in range(100):  # 60 patients with 3 correlated images each
        label = (np.arange(60) < 20).astype(int)
        level = np.repeat(rng.normal(size=60) * np.sqrt(0.7) + 1.5 * label, 3)
        p = expit(level + rng.normal(size=180) * np.sqrt(0.3))
        row = metrics.scores(np.repeat(label, 3), p, np.repeat(np.arange(60), 3), n_bootstrap=300).loc["auc"]
        held.append(row["low"] <= truth <= row["high"])
    assert 0.88 <= np.mean(held) <= 0.99  # nominal 0.95; an image bootstrap holds in 0.81


def test_degenerate_test_sets_give_no_number_rather_than_a_wrong_one():
    table = metrics.scores(np.zeros(20, int), np.linspace(0, 1, 20), n_bootstrap=100)
    assert np.isnan(table.loc["auc", "value"]) and np.isnan(table.loc["recall", "value"])
    assert table.loc["specificity", "low"] > 0.2
    alone = metrics.scores([0, 1, 1], [0.2, 0.4, 0.9], ["a"] * 3, n_bootstrap=100)
    assert alone.loc["auc", "value"] == 1 and alone[["low", "high"]].isna().all(axis=None)
    y = np.r_[1, np.zeros(30, int)]  # one positive is missing from 37 % of the resamples
    rare = metrics.scores(y, np.linspace(0.9, 0.1, 31) - 0.2 * y, n_bootstrap=300).loc["auc"]
    assert 0.3 < rare["undefined"] < 0.45 and np.isnan(rare["low"])


def test_a_class_absent_from_the_test_set_is_left_out_of_the_mean():
    y, p = several(k=4)
    rows = y != 3
    ours = value(y[rows], p[rows], head="multiclass")
    aucs = [sk.roc_auc_score(y[rows] == c, p[rows, c]) for c in range(3)]
    assert ours["auc"] == pytest.approx(np.mean(aucs))


@pytest.mark.parametrize("y, p, head, message", [
    ([0, 1], [0.2, 1.4], "binary", "0..1"), ([0, 2], [0.2, 0.4], "binary", "0..2 found"),
    ([0, 1], [[0.2, 0.8]], "multiclass", "do not fit"), ([0, 1], [0.1, 0.2], "two", "head is 'two'"),
    ([0, None], [0.1, 0.2], "binary", "1 outcomes are missing"), ([], [], "binary", "no images"),
])
def test_wrong_input_is_named(y, p, head, message):
    with pytest.raises(ValueError, match=message):
        metrics.scores(np.array(y, object) if None in y else np.array(y), np.array(p), head=head)


def test_trivial_answers():
    y, train = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), np.array([1, 0, 0, 0])
    baseline = baselines.trivial(y, train)
    expected = {"auc": 0.5, "average_precision": 0.2, "accuracy": 0.8, "balanced_accuracy": 0.5, "f1": 1 / 3,
                "brier": 0.2 * 0.75**2 + 0.8 * 0.25**2}
    assert baseline[list(expected)].to_dict() == pytest.approx(expected)
    many = baselines.trivial(np.array([0, 1, 2, 2]), np.array([2, 2, 0, 1]), "multiclass", 3)
    assert many[["auc", "accuracy", "balanced_accuracy"]].tolist() == pytest.approx([0.5, 0.5, 1 / 3])


def test_paired_difference_is_narrower_than_an_unpaired_one():
    y, p = binary(200, ties=False)
    near = expit(logit(p) + np.random.default_rng(3).normal(0, 0.1, 200))
    gap = metrics.difference(y, p, near)
    alone = metrics.scores(y, p, n_bootstrap=500).loc["auc"]
    assert gap["low"] < gap["value"] < gap["high"]
    assert gap["high"] - gap["low"] < 0.3 * (alone["high"] - alone["low"])
    assert gap["value"] == pytest.approx(sk.roc_auc_score(y, p) - sk.roc_auc_score(y, near))


def delong(y, p, q, who):
    """Difference of two AUCs and its variance by DeLong's components, summed by patient (Obuchowski 1997)."""
    gains = []
    for z in (p, q):
        more = (z[y == 1][:, None] > z[y == 0]) + 0.5 * (z[y == 1][:, None] == z[y == 0])
        gains.append((more.mean(1), more.mean(0)))
    value = gains[0][0].mean() - gains[1][0].mean()
    parts = []
    for side, (a, b) in ((1, (gains[0][0], gains[1][0])), (0, (gains[0][1], gains[1][1]))):
        part = np.zeros(who.max() + 1)
        np.add.at(part, who[y == side], (a - b - value) / (y == side).sum())
        parts.append(part)
    return value, ((parts[0] + parts[1]) ** 2).sum()


@pytest.mark.parametrize("per", [1, 2])
def test_paired_difference_has_the_variance_of_delong(per):
    from scipy.stats import t

    rng, m = np.random.default_rng(5), 150
    y, who = (rng.random(m) < 0.4).astype(int).repeat(per), np.arange(m).repeat(per)
    shared = rng.normal(size=m).repeat(per)
    p, q = (expit(y + shared + rng.normal(size=m * per)) for _ in range(2))
    gap, (value, variance) = metrics.difference(y, p, q, who), delong(y, p, q, who)
    assert gap["value"] == pytest.approx(value)
    assert (gap["high"] - gap["low"]) / 2 == pytest.approx(t.ppf(0.975, 60) * variance**0.5, rel=0.06)
    assert np.isnan(metrics.difference(np.r_[1, np.zeros(9, int)], p[:10], q[:10])["low"])  # one case alone
    assert np.isnan(metrics.difference(y, p, p, who)["low"])  # the same answers
    few = np.r_[np.ones(5, int), np.zeros(5, int)]
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.45, 0.5, 0.3, 0.2, 0.1, 0.05])
    worst = metrics.difference(few, 1 - sure, sure)
    assert worst["value"] == pytest.approx(-0.92) and worst["low"] == -1 < worst["high"], "no difference is below -1"
    assert np.isnan(metrics.difference(few[1:], 1 - sure[1:], sure[1:] ** 2)["low"]), "four cases"


def test_by_patient_takes_the_mean_and_counts_mixed_patients():
    y, p, who, mixed = outcomes.by_patient([0, 1, 0, 0], [0.2, 0.6, 0.1, 0.3], ["b", "b", "a", "a"])
    assert (y.tolist(), who.tolist(), mixed) == ([0, 1], ["a", "b"], 1)
    assert p == pytest.approx([0.2, 0.4])
    y, p, _, _ = outcomes.by_patient([2, 2, 0], np.eye(3)[[2, 1, 0]], [7, 7, 3], "multiclass")
    assert y.tolist() == [0, 2] and p[1] == pytest.approx([0, 0.5, 0.5])


def test_roc_band_holds_the_curve():
    y, p = binary()
    band = metrics.roc_band(y, p, n_bootstrap=300)
    false, hits, _ = sk.roc_curve(y, p)
    curve = np.interp(band["false_positive_rate"], false, hits)
    assert ((curve >= band["low"] - 1e-9) & (curve <= band["high"] + 1e-9)).mean() > 0.98


def test_platt_equals_sklearn():
    from sklearn.calibration import _sigmoid_calibration

    y, p = binary(400, ties=False)
    a, b = _sigmoid_calibration(logit(p), y)
    fit = calibration.fit_calibration(y, p, method="platt")
    assert (fit["scale"][0], fit["bias"][0]) == pytest.approx((-a, -b), abs=2e-3)
    assert fit["method"] == "platt" and (np.argsort(calibration.calibrate(p, fit)) == np.argsort(p)).all()


def test_temperature_and_vector_undo_a_known_distortion():
    rng = np.random.default_rng(4)
    z = 2 * rng.normal(size=(6000, 3))
    true = softmax(z, axis=1)
    y = (rng.random(6000)[:, None] > true.cumsum(1)).sum(1)
    hot = softmax(3 * z, axis=1)
    fit = calibration.fit_calibration(y, hot, "multiclass", "temperature")
    assert fit["scale"] == pytest.approx([1 / 3] * 3, rel=0.06)
    shifted = softmax(z + [0, 1, -1], axis=1)
    fit = calibration.fit_calibration(y, shifted, "multiclass")
    assert fit["method"] == "vector"
    assert np.abs(calibration.calibrate(shifted, fit, "multiclass") - true).mean() < 0.02


def test_calibration_is_not_fitted_on_a_handful_of_patients():
    few = np.r_[np.ones(19), np.zeros(100)].astype(int)
    for y, n in (([], 0), ([1, 1], 0), (few, 19)):
        fit = calibration.fit_calibration(np.array(y, int), np.where(y, 0.99, 0.9), method="platt")
        assert fit["method"] == "none" and fit["reason"].startswith(f"{n} patients of the rarer outcome")
    assert calibration.calibrate([0.3], fit).tolist() == [0.3]
    who = np.r_[np.arange(12).repeat(2), np.arange(12, 200)]  # 24 images, 12 patients
    y = (np.arange(len(who)) < 24).astype(int)
    assert "12 patients" in calibration.fit_calibration(y, np.full(len(y), 0.9), patients=who)["reason"]
    several = calibration.fit_calibration([0, 1, 2] * 30, np.eye(3)[[0, 1, 2] * 30], "multiclass", "temperature")
    assert several["reason"].startswith("0 patients of the rarer outcome")  # never wrong: nothing to learn from


def test_calibration_leaves_a_calibrated_network_alone_and_mends_an_overconfident_one():
    rng, fitted = np.random.default_rng(3), {1: 0, 2: 0}
    for factor in fitted:
        for _ in range(60):
            z = rng.normal(-0.5, 1.2, 200)
            y = (rng.random(200) < expit(z)).astype(int)
            fit = calibration.fit_calibration(y, expit(factor * z))
            fitted[factor] += fit["method"] == "platt"
    assert fitted[1] <= 8 and fitted[2] >= 55  # 5 % of the calibrated ones, most of the overconfident ones
    assert fit["shares"] == pytest.approx([y.mean()])
    assert f"{y.mean():.0%} yes" in calibration.fit_in_words(fit, ["yes"])
    with pytest.raises(ValueError, match="does not fit a binary outcome"):
        calibration.fit_calibration([0, 1], [0.1, 0.2], method="vector")


def test_a_ranking_that_is_wrong_on_validation_is_flattened_not_turned_round():
    y, p = binary(200, ties=False)
    fit = calibration.fit_calibration(1 - y, p)
    assert 0 < fit["scale"][0] < 0.05
    assert np.ptp(calibration.calibrate(p, fit)) < 0.05


def test_operating_points_against_the_roc_curve_of_sklearn():
    y, p = binary()
    false, hits, _ = sk.roc_curve(y, p, drop_intermediate=False)
    point = calibration.operating_point(y, p, "youden")
    assert point["sensitivity"] + point["specificity"] - 1 == pytest.approx((hits - false).max())
    point = calibration.operating_point(y, p, "sensitivity>=0.9")
    assert point["sensitivity"] >= 0.9 and 1 - point["specificity"] == pytest.approx(false[hits >= 0.9].min())
    point = calibration.operating_point(y, p, "specificity >= 0.8")
    assert point["specificity"] >= 0.8
    assert point["sensitivity"] == pytest.approx(hits[false <= 0.2 + 1e-9].max())
    called = p >= point["threshold"]
    assert sk.recall_score(y, called, pos_label=0) == pytest.approx(point["specificity"])
    with pytest.raises(ValueError, match="operating_rule is 'best'"):
        calibration.operating_point(y, p, "best")
    with pytest.raises(ValueError, match="both classes"):
        calibration.operating_point([1, 1], [0.1, 0.9])


def test_predictive_values_of_a_known_example():
    # Altman and Bland, BMJ 1994;309:102: sensitivity 231/258, specificity 54/86, prevalence 0.25
    found = calibration.predictive_values(0.90, 0.63, 0.25, 258, 86)
    assert (round(found["ppv"], 2), round(found["npv"], 2)) == (0.45, 0.95)
    assert found["ppv_low"] < found["ppv"] < found["ppv_high"]
    certain = calibration.predictive_values(1.0, 1.0, 0.01, 20, 20)
    assert certain["ppv"] == 1 and certain["ppv_low"] < 0.3 and certain["npv_low"] > 0.99
    curve = calibration.predictive_values(0.9, 0.8, np.array([0.1, 0.5]), 50, 50)
    assert curve["ppv_low"].shape == (2,) and curve["ppv"][1] == pytest.approx(0.9 / 1.1)
    assert np.isnan(calibration.predictive_values(1.0, 0.0, 0.1)["npv"])  # nobody is called negative
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration.predictive_values(0.9, 0.8, 10)


def test_changing_test_images_changes_nothing_fitted():
    y, p = binary(300)
    val, test = slice(0, 150), slice(150, 300)

    def fitted():
        return calibration.fit_calibration(y[val], p[val]), calibration.operating_point(y[val], p[val])

    before = fitted()
    y[test], p[test] = 1 - y[test], 1 - p[test]
    assert fitted() == before


def test_reliability_and_the_error_of_a_perfect_forecast():
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    y = (rng.random(5000) < p).astype(int)
    table = calibration.reliability(y, p)
    assert table["n"].sum() == 5000 and len(table) == 10
    assert ((table["probability"] > table["low"]) & (table["probability"] < table["high"])).sum() >= 9
    mean, most = calibration.error_by_chance(p)
    assert value(y, p)["ece"] < most < 2 * mean < 0.04
    assert calibration.error_by_chance(p[:50])[0] > 2 * calibration.error_by_chance(p[:2000])[0]
    twice = calibration.error_by_chance(p[:50].repeat(2), np.arange(50).repeat(2))
    assert twice == pytest.approx(calibration.error_by_chance(p[:50]))  # two images of a patient are not two patients
    assert "not shown to be off" in calibration.error_in_words(0.01, (mean, most))
    assert "are off" in calibration.error_in_words(0.2, (mean, most))


def test_flat_gives_plain_keys():
    keys = metrics.flat(metrics.scores(*binary(), n_bootstrap=50))
    assert {"auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "accuracy_high"} <= set(keys)


def test_outcome_follows_the_outputs_of_the_network():
    table = pd.DataFrame({"label": ["none", "malignant", None, "benign"], "label_a": [1, 0, np.nan, 1]})
    y, known = outcomes.outcome(table, "binary", ["none or benign", "malignant"])
    assert y.tolist() == [0, 1, 0, 0] and known.tolist() == [True, True, False, True]
    y, known = outcomes.outcome(table, "multiclass", ["none", "benign", "malignant"])
    assert y[known].tolist() == [0, 2, 1]
    y, known = outcomes.outcome(table, "multilabel", ["label_a"])
    assert known.tolist() == [True, True, False, True] and y[3, 0] == 1


def test_sizes_and_remarks():
    split, y, who = np.array(["train", "test", "test"]), np.array([0, 1, 1]), np.array(["a", "b", "b"])
    table = outcomes.sizes(split, y, ["no", "yes"], "binary", who)
    assert table.loc["test"].tolist() == [2, 1, 0, 2] and table.loc["val", "images"] == 0
    found = " ".join(outcomes.remarks({"validation": np.array([], int), "test": np.array([1, 2])}, y, who, "binary"))
    assert all(text in found for text in ("validation part is empty", "single patient", "one class only"))


def test_predictions_and_inert_text():
    table = pd.DataFrame({"row": [0, 1], "patient_id": ["=1+1", "b"], "split": ["val", "test"]})
    p = np.array([0.2, 0.7])
    out = outcomes.predictions(table, np.array([1, 0]), np.array([1, 0]), p, p / 2, "binary", ["no", "yes"], 0.1)
    assert out["row"].tolist() == [1, 0] and out["called"].tolist() == ["yes", "yes"]
    assert out["correct"].tolist() == [False, True] and out["p_yes_calibrated"].tolist() == [0.35, 0.1]
    assert outcomes.inert_text(out)["patient_id"].tolist() == ["b", "'=1+1"]


def test_a_scanner_that_predicts_the_outcome_is_found_and_test_rows_do_not_matter():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    cohort = pd.DataFrame({"site": np.where(rng.random(300) < 0.2 + 0.6 * y, "A", "B"), "width": 128,
                           "age_years": rng.normal(60, 9, 300), "spacing_mm": "1 x 1",
                           "original_glcm_Contrast": rng.random(300)})
    assert vocabulary.acquisition(cohort) == ["site"]
    train = np.arange(150)
    p = baselines.table_model(cohort[["site"]], y, train)
    assert 0.7 < sk.roc_auc_score(y[150:], p[150:]) < 0.9
    y[150:], cohort.loc[150:, "site"] = 1 - y[150:], "C"
    assert (baselines.table_model(cohort[["site"]], y, train)[:150] == p[:150]).all()
    assert baselines.table_model(cohort[["site"]], np.zeros(300), train) is None
    levels = baselines.groups(cohort, train)
    assert set(levels) == {"site", "age_years"} and len(levels["age_years"].cat.categories) == 3
    with pytest.raises(ValueError, match="no column 'scaner'"):
        baselines.groups(cohort, train, "scaner")


def test_subgroups_score_only_those_with_enough_patients():
    y, p = binary(100)
    levels = {"sex": pd.Series(["f"] * 95 + ["m"] * 5), "gender": pd.Series(["1"] * 95 + ["0"] * 5)}
    kept, said = subgroups.distinct(levels)
    assert list(kept) == ["sex"] and said == ["gender parts the patients as sex does: it is shown once."]
    table = subgroups.subgroups(kept, y, p, np.arange(100), n_bootstrap=50).set_index("level")
    assert table.loc["f", "auc"] == pytest.approx(sk.roc_auc_score(y[:95], p[:95]))
    assert table.loc["m", "images"] == 5 and np.isnan(table.loc["m", "auc"])
    assert table.loc["f", "cases"] == y[:95].sum() and table.loc["f", "non_cases"] == 95 - y[:95].sum()
    assert "No group is large enough" in subgroups.in_words(table.reset_index())


def test_the_group_that_is_failed_stands_first_and_is_shown_to_be_worse():
    rng = np.random.default_rng(2)
    y, site = (rng.random(400) < 0.4).astype(int), np.where(np.arange(400) < 120, "far", "home")
    p = expit(np.where(site == "far", 0, 3) * (y - 0.5) + rng.normal(size=400))
    p[site == "far"] /= 2  # and too few cases are predicted there
    levels = {"site": pd.Series(site), "coin": pd.Series(rng.integers(0, 2, 400).astype(str))}
    found = subgroups.subgroups(levels, y, p, np.arange(400), n_bootstrap=100)
    worst = found.iloc[0]
    rest = sk.roc_auc_score(y[site == "home"], p[site == "home"])
    assert worst["level"] == "far" and worst["gap"] == pytest.approx(worst["auc"] - rest) and worst["gap_high"] < 0
    assert worst["calibration_intercept_low"] > 0
    coins = found[found["column"] == "coin"]
    assert (coins["gap_low"] < 0).all() and (coins["gap_high"] > 0).all()
    assert subgroups.in_words(found).startswith("Worst: site: far (n = 120), AUC -0.")
    y[:14] = np.arange(14) < 4
    few = subgroups.subgroups({"x": pd.Series(["a"] * 14 + ["b"] * 386)}, y, p, np.arange(400), n_bootstrap=20)
    few = few.set_index("level")
    assert np.isnan(few.loc["a", "auc"]) and np.isfinite(few.loc["a", "accuracy"])  # four cases


def test_baselines_are_called_as_the_network_is():
    y, q = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.12, 0.15, 0.2, 0.3])
    assert 0.15 < baselines.threshold(y, q, "binary", "youden") < 0.2
    assert baselines.threshold(y * 0, q, "binary", "youden") == baselines.threshold(y, q, "multiclass", "youden") == 0.5


def test_per_class_uses_the_most_probable_class():
    y, p = several()
    table = metrics.per_class(y, p, None, "multiclass", list("abcd"), n_bootstrap=20)["b"]
    assert table.loc["recall", "value"] == pytest.approx(sk.recall_score(y, p.argmax(1), average=None)[1])


def test_the_surest_errors_come_first():
    y, p = np.array([0, 1, 0, 1, 0]), np.array([0.9, 0.4, 0.7, 0.8, 0.1])
    found = outcomes.confident_errors(y, p, "binary", 0.5, most=2)
    assert found["position"].tolist() == [0, 2] and found["called"].tolist() == [1, 1]
    assert outcomes.error_titles(found, ["no", "yes"], ["a/7", "a/8"], "yes")[0] == "a/7: no\ncalled yes\nP(yes) 0.90"
    assert "3 of 5 test images are called wrongly, most often no called yes (2 times)." in outcomes.errors_in_words(
        y, outcomes.decide(p, "binary"), ["no", "yes"])
    several = outcomes.confident_errors(np.array([0, 1]), np.array([[0.1, 0.9, 0], [0.2, 0.8, 0]]), "multiclass")
    assert several["position"].tolist() == [0] and several["p"].tolist() == [0.9]


def test_tables_to_read(tmp_path):
    table = pd.DataFrame({"value": [0.8, 0.1], "low": [0.7, np.nan], "high": [0.9, np.nan]}, ["auc", "ece"])
    shown = metrics.beside(table, {"class frequencies": pd.Series({"auc": 0.5})})
    assert shown.loc["AUC"].tolist() == ["0.800 (0.700 to 0.900)", 0.5]
    assert shown.loc["calibration error (ECE)"].tolist() == ["0.100 (no interval)", "-"]
    groups = pd.DataFrame({"column": ["sex", "sex"], "level": ["F", "M"], "images": [9, 9], "patients": [8, 7]})
    for name, value in (("auc", [0.9, 0.6]), ("accuracy", [0.9, np.nan])):
        groups[[name, f"{name}_low", f"{name}_high"]] = np.array([value, np.subtract(value, 0.1), np.add(value, 0.1)]).T
    drawn = subgroups.limits_of(groups, "auc")
    assert list(drawn.index) == ["sex: F (n = 8)", "sex: M (n = 7)"]
    assert subgroups.table(groups).loc[("sex", "M"), "accuracy"] == "not defined"
    outcomes.write_workbook(tmp_path / "x.xlsx", {"images": pd.DataFrame({"name": ["=1+1"]})})
    assert pd.read_excel(tmp_path / "x.xlsx", sheet_name="images")["name"].tolist() == ["'=1+1"]


def test_sentences_say_what_the_numbers_are():
    table = pd.DataFrame({"value": [0.5], "low": [0.3], "high": [0.7]}, ["calibration_slope"])
    assert calibration.overconfidence_in_words(table).endswith("the network promises too much.")
    assert calibration.overconfidence_in_words(table * np.nan) == ""
    gains = {"acquisition": {"value": 0.1, "low": 0.02, "high": 0.2}}
    assert "+0.100 (+0.020 to +0.200): better." in baselines.gains_in_words(gains, "patients")
    sizes = pd.DataFrame({"images": [40, 5], "yes": [10, 5]}, ["val", "test"])
    assert outcomes.expected_in_words(sizes, "yes").startswith("val: with 10 images of yes against 30")
    assert "test:" not in outcomes.expected_in_words(sizes, "yes"), "one class only"
