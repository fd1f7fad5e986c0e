"""From probabilities to trust and action: calibration, operating points, predictive values.

Everything that is fitted here (calibration, threshold) takes the validation split; nothing takes test images.
"""

import re

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import chi2

from medlab.statistics import keys
from medlab.statistics.intervals import exact_interval, percentiles
from medlab.statistics.measures import N_BINS, SMALLEST, check, expected_calibration_error
from medlab.statistics.metrics import scores

METHODS = ("auto", "none", "platt", "temperature", "vector")
LEAST = 20  # patients of the rarer outcome on validation below which nothing is fitted
LEVEL = 0.05  # "auto" fits where the validation part contradicts the probabilities at this level


def fit_calibration(y, p, head="binary", method="auto", patients=None) -> dict:
    """Fit a map of the network's probabilities to observed frequencies, on the validation split.

    A map fitted on few cases makes good probabilities worse. So nothing is fitted from fewer than 20 patients of the
    rarer outcome; ``auto`` moreover leaves probabilities alone that the validation part does not contradict
    (likelihood ratio test, images of one patient counted as one).

    Parameters
    ----------
    y, p, patients : outcomes, probabilities and patients of the validation images, see `statistics.measures.check`
    method : ``platt`` (slope and intercept on the logit; binary and multilabel, Platt 1999 with his smoothed
        targets), ``temperature`` (one slope), ``vector`` (slope and intercept per class; Guo et al. 2017),
        ``none``, or ``auto``: platt; with several classes vector, or temperature if a class has fewer than 20
        patients

    Returns
    -------
    dict of plain values: method, scale, bias, n, reason (why nothing was fitted, or not for all labels, else ""),
    shares (of each class or label on validation: the case mix that the map holds for). Slopes are positive, so that for
    two classes the ranking of the images, and with it the AUC, never changes.
    """
    if method not in METHODS:
        raise ValueError(f"calibration is {method!r}; expected one of {', '.join(METHODS)}")
    two = head in ("binary", "multilabel")
    if (method == "platt" and not two) or (method == "vector" and two):
        raise ValueError(f"calibration {method!r} does not fit a {head} outcome; use 'auto' or 'temperature'")
    y, p, who = check(y, p, patients, head)
    k = 1 if head == "binary" else p.shape[1]
    columns = y.reshape(len(y), k).astype(float) if two else np.eye(k)[y]
    found = {"method": "none", "scale": [1.0] * k, "bias": [0.0] * k, "n": len(y), "reason": "",
             "shares": [float(np.nanmean(c)) for c in columns.T] if len(y) else [np.nan] * k}
    if method == "none":
        return found
    if not two:
        return found | _several(y, p, who, method)
    fits = [_two(columns[:, c], p.reshape(len(p), k)[:, c], who, method) for c in range(k)]
    scale, bias, reasons = zip(*fits, strict=True)
    left = [reason for reason in reasons if reason]
    if len(left) == k:
        return found | {"reason": left[0]}
    said = f"{len(left)} of {k} labels are left as they are: {left[0]}" if left else ""
    return found | {"method": method.replace("auto", "platt"), "scale": [*scale], "bias": [*bias], "reason": said}


def _rarer(hit, who):
    """Patients of the rarer of two outcomes."""
    return min(len(np.unique(who[hit == side])) for side in (0, 1))


def _few(n):
    said = f"{keys.counted(n, 'patient')} of the rarer outcome on validation, {LEAST} are needed"
    return said if n < LEAST else ""


def _uncontradicted(gain, who, numbers):
    """Reason not to fit: the log-likelihood gained (of images) is what `numbers` fitted to chance would gain."""
    chance = chi2.sf(2 * gain * len(np.unique(who)) / len(who), numbers)
    return f"validation does not contradict the probabilities (p = {chance:.2f})" if chance >= LEVEL else ""


def _two(y, p, who, method):
    """Slope, intercept and the reason where they are 1 and 0, of one outcome that is or is not."""
    known = ~np.isnan(y)
    y, p, who = y[known], p[known], who[known]
    if reason := _few(_rarer(y, who)):
        return 1.0, 0.0, reason
    scale, bias = _platt(y, p, method != "temperature")
    x = logit(np.clip(p, SMALLEST, 1 - SMALLEST))
    gain = sum(sign * (y * z - np.logaddexp(0, z)).sum() for sign, z in ((1, scale * x + bias), (-1, x)))
    reason = _uncontradicted(gain, who, 2 if method != "temperature" else 1) if method == "auto" else ""
    return (1.0, 0.0, reason) if reason else (scale, bias, "")


def _several(y, p, who, method):
    """The same for several classes; the outcome of a temperature is whether the call was right."""
    n = min(len(np.unique(who[y == c])) for c in range(p.shape[1])) if method != "temperature" else 0
    vector = method == "vector" or (method == "auto" and n >= LEAST)
    if reason := _few(n if vector else _rarer((p.argmax(1) == y).astype(int), who)):
        return {"reason": reason}
    scale, bias = _softmax_fit(y, p, vector)
    x, rows = np.log(np.maximum(p, SMALLEST)), np.arange(len(y))
    gain = (log_softmax(np.array(scale) * x + bias, axis=1) - log_softmax(x, axis=1))[rows, y].sum()
    reason = _uncontradicted(gain, who, 2 * p.shape[1] - 1 if vector else 1) if method == "auto" else ""
    return {"reason": reason} if reason else {"method": "vector" if vector else "temperature", "scale": scale,
                                              "bias": bias}


def _platt(y, p, with_bias):
    x, hits = logit(np.clip(p, SMALLEST, 1 - SMALLEST)), y.sum()
    target = np.where(y == 1, (hits + 1) / (hits + 2), 1 / (len(y) - hits + 2))

    def loss(v):
        z = np.exp(v[0]) * x + v[1] * with_bias
        return np.mean(np.logaddexp(0, z) - target * z)

    bounds, options = [(-5, 3), (None, None)], {"ftol": 1e-12}
    best = minimize(loss, [0.0, 0.0], method="L-BFGS-B", bounds=bounds, options=options).x
    return float(np.exp(best[0])), float(best[1] * with_bias)


def _softmax_fit(y, p, per_class):
    """Slopes and intercepts before the softmax, weakly pulled towards the unchanged network."""
    x, k = np.log(np.maximum(p, SMALLEST)), p.shape[1]

    def parts(v):
        return (np.exp(v[:k]), v[k:]) if per_class else (np.full(k, np.exp(v[0])), np.zeros(k))

    def loss(v):
        scale, bias = parts(v)
        right = log_softmax(scale * x + bias, axis=1)[np.arange(len(y)), y]
        return -right.mean() + (v**2).sum() / (2 * len(y))

    best = minimize(loss, np.zeros(2 * k if per_class else 1), method="L-BFGS-B", options={"ftol": 1e-10}).x
    scale, bias = parts(best)
    return [float(s) for s in scale], [float(b) for b in bias]


def calibrate(p, fit, head="binary") -> np.ndarray:
    """Probabilities after the map of `fit_calibration`; same shape as p."""
    p = np.asarray(p, float)
    if fit["method"] == "none":
        return p
    scale, bias = np.asarray(fit["scale"]), np.asarray(fit["bias"])
    if head in ("binary", "multilabel"):
        return expit(scale * logit(np.clip(p, SMALLEST, 1 - SMALLEST)) + bias)
    return softmax(scale * np.log(np.maximum(p, SMALLEST)) + bias, axis=1)


def reliability(y, p, patients=None, n_bins=N_BINS) -> pd.DataFrame:
    """Observed frequency against mean probability in groups of equal size.

    Parameters
    ----------
    y : (n,) 0/1; p : (n,) probabilities

    Returns
    -------
    DataFrame, one row per group: probability, frequency, low, high (exact, counting patients), n.
    """
    y, p, who = check(y, p, patients)
    order = np.argsort(p, kind="stable")
    rows = []
    for group in np.array_split(order, min(n_bins, max(1, len(y) // 5))):
        share = float(y[group].mean())
        low, high = exact_interval(share, len(np.unique(who[group])))
        rows.append((float(p[group].mean()), share, low, high, len(group)))
    return pd.DataFrame(rows, columns=["probability", "frequency", "low", "high", "n"])


def error_by_chance(p, patients=None, n_draws=1000, seed=0) -> tuple[float, float]:
    """Expected calibration error that a perfectly calibrated p (n,) would show with so few patients.

    Parameters
    ----------
    patients : (n,), whose images share their luck; None = each image its own

    Returns
    -------
    mean, and the value that 95 % of such samples stay below (consistency band: Broecker and Smith 2007)
    """
    p = np.asarray(p, float)
    who = np.arange(len(p)) if patients is None else pd.factorize(np.asarray(patients))[0]
    drawn = np.random.default_rng(seed).random((n_draws, len(np.unique(who))))[:, who] < p
    one = np.ones((1, len(p)))
    found = [expected_calibration_error(y.astype(float), p, one)[0] for y in drawn]
    return float(np.mean(found)), float(np.quantile(found, 0.95))


def error_in_words(error: float, by_chance: tuple) -> str:
    """A calibration error beside what chance alone gives (`error_by_chance`), a sentence."""
    mean, most = by_chance
    found = "above that: the probabilities are off" if error > most else "within that: not shown to be off"
    return (f"ECE {error:.3f}. A perfectly calibrated network would show {mean:.3f} on average with so few patients, "
            f"and at most {most:.3f} in 95 of 100 samples; this one lies {found}. The ECE has no interval: it is never "
            "0 in a sample, all its resamples lie too high, and none of the usual intervals holds its promise.")


def fit_in_words(fit: dict, names) -> str:
    """What `fit_calibration` did; names : of the classes or labels (binary: of the positive class alone)."""
    if fit["method"] == "none":
        return f"No calibration is fitted{': ' if fit['reason'] else ''}{fit['reason']}."
    mix = ", ".join(f"{share:.0%} {name}" for share, name in zip(fit["shares"], names, strict=True))
    return (f"Calibrated by {fit['method']} on {fit['n']} validation images, for a case mix of {mix}."
            + f" {fit['reason']}." * bool(fit["reason"]))


def operating_point(y, p, rule="youden") -> dict:
    """Threshold chosen on the validation split; an image is called positive from the threshold on.

    Parameters
    ----------
    y : (n,) 0/1; p : (n,) probabilities of the positive class
    rule : ``youden`` (largest sensitivity + specificity - 1), ``sensitivity 0.95`` (the highest threshold
        that keeps the sensitivity), ``specificity 0.95`` (the lowest that keeps the specificity)

    Returns
    -------
    dict: rule, threshold (half-way between two probabilities that occur), sensitivity, specificity,
    n_positive, n_negative; all of the split it was chosen on.
    """
    legal = r"youden|(sensitivity|specificity)\s*(?:>=)?\s*(0?\.\d+|1(?:\.0*)?)"
    found = re.fullmatch(legal, str(rule).strip().lower())
    if not found:
        raise ValueError(f"operating_rule is {rule!r}; expected 'youden', 'sensitivity 0.95' or "
                         "'specificity 0.95'")
    y, p, _ = check(y, p)
    if len(np.unique(y)) < 2:
        raise ValueError("an operating point needs images of both classes in the validation split")
    values = np.unique(p)
    thresholds = np.r_[values[0] / 2, (values[:-1] + values[1:]) / 2, (values[-1] + 1) / 2]
    positive, negative = np.sort(p[y == 1]), np.sort(p[y == 0])
    sensitivity = 1 - np.searchsorted(positive, thresholds) / len(positive)
    specificity = np.searchsorted(negative, thresholds) / len(negative)
    if found.group(1) == "sensitivity":
        best = np.flatnonzero(sensitivity >= float(found.group(2)) - 1e-12)[-1]
    elif found.group(1) == "specificity":
        best = np.flatnonzero(specificity >= float(found.group(2)) - 1e-12)[0]
    else:
        best = np.argmax(np.round(sensitivity + specificity, 12))
    return {"rule": rule, "threshold": float(thresholds[best]), "sensitivity": float(sensitivity[best]),
            "specificity": float(specificity[best]), "n_positive": len(positive), "n_negative": len(negative)}


def predictive_values(sensitivity, specificity, prevalence, n_positive=None, n_negative=None, level=0.95,
                      seed=0) -> dict:
    """Predictive values at a stated prevalence (Bayes' theorem), with intervals.

    Parameters
    ----------
    prevalence : number or (m,) array in 0..1, of the patients in whom the test would be used
    n_positive, n_negative : patients with and without the condition behind sensitivity and specificity. Their
        uncertainty (Jeffreys' Beta distributions, 20,000 draws) is carried over, so a sensitivity of 1 keeps
        one.

    Returns
    -------
    dict: ppv, npv and, where the numbers of patients are given, ppv_low, ppv_high, npv_low, npv_high.
    """
    share = np.asarray(prevalence, float)
    if not ((share > 0) & (share < 1)).all():
        raise ValueError(f"prevalence is {prevalence}; expected a number between 0 and 1, such as 0.1")

    def ppv(se, sp, pi):
        called = se * pi + (1 - sp) * (1 - pi)
        return np.divide(se * pi, called, out=np.full(np.shape(called), np.nan), where=called > 0)

    out = {"ppv": ppv(sensitivity, specificity, share), "npv": ppv(specificity, sensitivity, 1 - share)}
    if n_positive and n_negative:
        rng = np.random.default_rng(seed)
        se, sp = (rng.beta(rate * n + 0.5, (1 - rate) * n + 0.5, (20_000, *[1] * share.ndim))
                  for rate, n in ((sensitivity, n_positive), (specificity, n_negative)))
        for name, draws in (("ppv", ppv(se, sp, share)), ("npv", ppv(sp, se, 1 - share))):
            out[name + "_low"], out[name + "_high"] = percentiles(draws, level)
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in out.items()}


def in_use(y, p, patients, threshold, prevalence, n_bootstrap=2000, seed=0) -> dict:
    """A threshold chosen elsewhere, applied: sensitivity, specificity, predictive values at a prevalence.

    Parameters
    ----------
    y : (n,) 0/1; p : (n,); patients : (n,)

    Returns
    -------
    dict of plain numbers, each with _low and _high; n_positive, n_negative (patients).
    """
    table = scores(y, p, patients, "binary", threshold, n_bootstrap, seed)
    n = {side: len(pd.unique(np.asarray(patients)[np.asarray(y) == side])) for side in (0, 1)}
    found = {"threshold": threshold, "prevalence": prevalence, "n_positive": n[1], "n_negative": n[0]}
    for name, row in (("sensitivity", table.loc["recall"]), ("specificity", table.loc["specificity"])):
        found |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return found | predictive_values(found["sensitivity"], found["specificity"], prevalence, n[1], n[0], seed=seed)


def point_in_words(point: dict, positive: str) -> str:
    """The `operating_point` chosen on validation, in a sentence."""
    return (f"Called {positive} from {point['threshold']:.3f} on ({point['rule']}): sensitivity "
            f"{point['sensitivity']:.2f}, specificity {point['specificity']:.2f} on validation, where it was chosen.")


def in_use_in_words(found: dict, positive: str, rule: str) -> str:
    """What a call means for a patient; found : dict of `in_use`."""
    def text(name, times=1, digits=2):
        value, low, high = (times * found[name + end] for end in ("", "_low", "_high"))
        return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})" if np.isfinite(value) else \
            "an unknown number"

    return (f"Threshold {found['threshold']:.3f} ({rule} on validation), on test: sensitivity {text('sensitivity')}, "
            f"specificity {text('specificity')}.\nAt a prevalence of {found['prevalence']:.1%}: of 100 patients called "
            f"{positive}, {text('ppv', 100, 0)} are; of 100 called not {positive}, {text('npv', 100, 1)} are not.")


def overconfidence_in_words(table) -> str:
    """Whether the probabilities promise too much, from the calibration slope of a table of `statistics.metrics.scores`.

    Empty where no slope is known.
    """
    value, low, high = table.loc["calibration_slope", ["value", "low", "high"]]
    if not np.isfinite([value, low, high]).all():
        return ""
    word = "too much" if high < 1 else "too little" if low > 1 else "neither too much nor too little, as far as shown"
    return f"With a calibration slope of {value:.2f} ({low:.2f} to {high:.2f}) the network promises {word}."
