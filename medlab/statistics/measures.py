"""Measures of a classifier: ranks, decisions, probabilities.

Every measure is computed for many weightings of the images at once: a weighting of ones gives the value,
the number of times each patient was drawn gives a bootstrap resample (`statistics.metrics`). Where a measure is
undefined (no case of a class, perfect separation for the calibration slope) it is NaN, never zero.
"""

import numpy as np
import pandas as pd
from scipy.special import expit, logit

HEADS = ("binary", "multiclass", "ordinal", "multilabel")
NAMES = {"auc": "AUC", "average_precision": "average precision", "balanced_accuracy": "balanced accuracy",
         "recall": "recall (sensitivity)", "precision": "precision (PPV here)", "npv": "NPV here", "f1": "F1",
         "mcc": "MCC", "kappa_quadratic": "kappa, quadratic weights", "brier": "Brier score",
         "ece": "calibration error (ECE)", "calibration_slope": "calibration slope",
         "calibration_intercept": "calibration intercept", "subset_accuracy": "all labels right"}
N_BINS = 10  # of equal width, for the expected calibration error
SMALLEST = 1e-6  # probabilities are kept this far from 0 and 1 before a logarithm


def check(y, p, patients=None, head="binary"):
    """Bring outcome, probabilities and patients into one form.

    Parameters
    ----------
    y : (n,) class numbers 0..K-1 (binary: 1 is positive); multilabel: (n, L) of 0/1, NaN where unknown
    p : (n,), (n, 1) or (n, 2) for binary, (n, K) otherwise: probabilities
    patients : (n,) any identifiers, or None where patients are unknown (then each image is its own)

    Returns
    -------
    y : (n,) int or (n, L) float; p : (n,) or (n, K) float; patients : (n,) int numbers 0..m-1
    """
    if head not in HEADS:
        raise ValueError(f"head is {head!r}; expected one of {', '.join(HEADS)}")
    y, p = np.asarray(y), np.asarray(p, float)
    if head == "binary" and p.ndim == 2:
        p = p[:, -1]
    fits = y.shape == p.shape if head == "multilabel" else len(y) == len(p)
    if p.ndim != (1 if head == "binary" else 2) or not fits:
        raise ValueError(f"{head}: outcomes of shape {y.shape} do not fit probabilities of shape {p.shape}")
    if not np.isfinite(p).all() or p.min(initial=0) < 0 or p.max(initial=1) > 1 + 1e-5:
        raise ValueError("probabilities must lie in 0..1: does the network end in a sigmoid or softmax?")
    if head != "multilabel":
        if pd.isna(y).any():
            raise ValueError(f"{int(pd.isna(y).sum())} outcomes are missing: leave these images out first")
        y = y.astype(int)
        highest = 1 if head == "binary" else p.shape[1] - 1
        if len(y) and (y.min() < 0 or y.max() > highest):
            raise ValueError(f"class numbers {y.min()}..{y.max()} found, 0..{highest} expected")
    if patients is None:
        return y, p, np.arange(len(y))
    patients = pd.Series(np.asarray(patients))
    if patients.isna().any() or len(patients) != len(y):
        raise ValueError(f"{len(y)} images but {int(patients.notna().sum())} patient identifiers")
    return y, p, pd.factorize(patients)[0]


def ratio(a, b) -> np.ndarray:
    """a / b, NaN where b is not above 0."""
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=np.asarray(b) > 0)


def midranks(y, p, w):
    """Area under the ROC curve (ties count one half) and average precision (as scikit-learn), each (b,)."""
    order = np.argsort(-p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) < 0])
    w, y = w[:, order], y[order]
    if len(starts) == len(y):
        positive, negative = w * y, w * (1 - y)
    else:
        positive, negative = (np.add.reduceat(w * part, starts, axis=1) for part in (y, 1 - y))
    n_positive, n_negative = positive.sum(1), negative.sum(1)
    hits, false = np.cumsum(positive, 1), np.cumsum(negative, 1)
    area = (positive * (n_negative[:, None] - false + negative / 2)).sum(1)
    called = hits + false
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return ratio(area, n_positive * n_negative), ratio((positive * precision).sum(1), n_positive)


def _newton(y, x, w, start, steps):
    """Logistic lines a + slope x and shift + x: at most `steps` of Newton's method for all rows of w."""
    a, slope, shift = (np.full(len(w), value) for value in start)
    hits = w @ y
    with np.errstate(all="ignore"):
        for at in range(steps):
            mu = expit(a[:, None] + slope[:, None] * x)
            v = w * mu * (1 - mu)
            g0, g1 = hits - (w * mu).sum(1), w @ (y * x) - (w * mu) @ x
            h0, h1, h2 = v.sum(1), v @ x, v @ (x * x)
            step = (h0 * g1 - h1 * g0) / (h0 * h2 - h1**2)
            a, slope = a + (h2 * g0 - h1 * g1) / (h0 * h2 - h1**2), slope + step
            mu = expit(shift[:, None] + x)
            move = np.clip((hits - (w * mu).sum(1)) / (w * mu * (1 - mu)).sum(1), -2, 2)
            shift = shift + move
            if at > 2 and np.nanmax(np.abs(np.r_[step, move]), initial=0) < 1e-3:
                break
        bad = (hits == 0) | (hits == w.sum(1))
        slope = np.where(bad | ~(np.abs(step) < 1e-3 * (1 + np.abs(slope))), np.nan, slope)
        return a, slope, np.where(bad | ~(np.abs(move) < 1e-3), np.nan, shift)


def _line(y, p, w):
    """Calibration slope (free intercept) and intercept (slope 1: calibration in the large), each (b,).

    Cox 1958; Van Calster et al., BMC Medicine 2019. All resamples start from the line of all images. NaN
    where Newton's method does not settle (perfect separation, one class, constant p).
    """
    x = logit(np.clip(p, SMALLEST, 1 - SMALLEST))
    if np.ptp(x) < 1e-9 or len(np.unique(y)) < 2:
        return np.full(len(w), np.nan), np.full(len(w), np.nan)
    start = [float(part[0]) for part in _newton(y, x, w.mean(0, keepdims=True), (0.0, 0.0, 0.0), 20)]
    if not np.isfinite(start).all():
        return np.full(len(w), np.nan), np.full(len(w), start[2])
    return _newton(y, x, w, start, 12)[1:]


def expected_calibration_error(hit, confidence, w):
    """Mean absolute gap of confidence (n,) and frequency of hit (n,) over bins of equal width, (b,)."""
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    members = np.eye(N_BINS)[bins]
    return ratio(np.abs(w @ (members * (hit - confidence)[:, None])).sum(1), w.sum(1))


def _confusion(y, predicted, w, k):
    return (w @ np.eye(k * k)[y * k + predicted]).reshape(-1, k, k)


def from_confusion(confusion, present=None):
    """Measures of decisions from confusion matrices.

    Parameters
    ----------
    confusion : (b, K, K) counts, [true, predicted]; K = 2 is read as negative, positive
    present : class numbers over which to average (K > 2); a class never predicted has precision 0

    Returns
    -------
    dict of (b,). recall, precision, specificity, F1 of the positive class (K = 2) or the mean over classes.
    MCC after Gorodkin 2004; kappa_quadratic weights a disagreement by the squared distance of the classes.
    """
    c = np.asarray(confusion, float)
    k = c.shape[1]
    present = np.arange(k) if present is None else np.asarray(present)
    hits, true, called, n = np.einsum("bkk->bk", c), c.sum(2), c.sum(1), c.sum((1, 2))
    recall, precision = ratio(hits, true), ratio(hits, called)
    f1 = ratio(2 * hits, true + called)
    specificity = ratio(n[:, None] - true - called + hits, n[:, None] - true)
    out = {"accuracy": ratio(hits.sum(1), n), "balanced_accuracy": recall[:, present].mean(1)}
    if k == 2:
        out |= {"recall": recall[:, 1], "specificity": specificity[:, 1], "precision": precision[:, 1]}
        out |= {"npv": precision[:, 0], "f1": f1[:, 1]}
    else:
        precision = np.nan_to_num(precision)
        values = {"recall": recall, "specificity": specificity, "precision": precision, "f1": f1}
        out |= {name: value[:, present].mean(1) for name, value in values.items()}
    spread = (n**2 - (true**2).sum(1)) * (n**2 - (called**2).sum(1))
    agreement = hits.sum(1) * n - (true * called).sum(1)
    out["mcc"] = np.nan_to_num(ratio(agreement, np.sqrt(np.maximum(spread, 0))))
    distance = (np.arange(k)[:, None] - np.arange(k)) ** 2
    by_chance = np.einsum("bi,bj,ij->b", true, called, distance)
    out["kappa_quadratic"] = 1 - ratio((c * distance).sum((1, 2)) * n, by_chance)
    return out


def _binary(y, p, predicted, w):
    auc, precision = midranks(y, p, w)
    slope, shift = _line(y, p, w)
    out = {"auc": auc, "average_precision": precision} | from_confusion(_confusion(y, predicted, w, 2))
    del out["kappa_quadratic"]
    out |= {"brier": ratio(w @ (p - y) ** 2, w.sum(1)), "ece": expected_calibration_error(y, p, w)}
    return out | {"calibration_slope": slope, "calibration_intercept": shift}


def measure(y, p, w, head="binary", threshold=0.5, predicted=None):
    """All measures for each row of weights.

    Parameters
    ----------
    y, p : as `check` returns them
    w : (b, n) weights of the images
    threshold : binary and multilabel: an image is called positive from this probability on
    predicted : (n,) decisions instead of those by threshold or highest probability

    Returns
    -------
    dict of (b,). Several classes: the mean over the classes present in y, one against the rest, for AUC,
    average precision, recall, specificity, precision, F1 and calibration slope; Brier's first score (0..2);
    ECE of the highest probability (Guo 2017). Multilabel: mean over the labels, and subset_accuracy.
    """
    if head == "binary":
        predicted = (p >= threshold).astype(int) if predicted is None else predicted
        return _binary(y, p, predicted, w)
    if head == "multilabel":
        known = ~np.isnan(y)
        each = []
        for label in range(p.shape[1]):
            rows = known[:, label]
            called = (p[rows, label] >= threshold).astype(int)
            each.append(_binary(y[rows, label].astype(int), p[rows, label], called, w[:, rows]))
            each[-1]["precision"] = np.nan_to_num(each[-1]["precision"])  # a label never called, as sklearn
        out = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
        right = np.where(known, (p >= threshold) == (y == 1), True).all(1)
        return out | {"subset_accuracy": ratio(w @ right, w.sum(1))}
    k = p.shape[1]
    predicted = p.argmax(1) if predicted is None else predicted
    present = np.unique(y)
    auc, precision = np.mean([midranks((y == c).astype(int), p[:, c], w) for c in present], axis=0)
    out = {"auc": auc, "average_precision": precision}
    out |= from_confusion(_confusion(y, predicted, w, k), present)
    if head != "ordinal":
        del out["kappa_quadratic"]
    out["brier"] = ratio(w @ ((p - np.eye(k)[y]) ** 2).sum(1), w.sum(1))
    out["ece"] = expected_calibration_error((y == p.argmax(1)).astype(float), p.max(1), w)
    out["calibration_slope"] = np.mean([_line((y == c).astype(int), p[:, c], w)[0] for c in present], axis=0)
    return out
