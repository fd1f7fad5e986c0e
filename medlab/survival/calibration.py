"""Do the predicted probabilities come true? Calibration of survival models and what a decision gains by them."""

import numpy as np
import pandas as pd

from medlab.statistics import decisions, metrics
from medlab.statistics.intervals import percentiles, weights
from medlab.survival import hazards

SMALLEST = 1e-9  # probabilities are kept this far from 0 and 1 before a logarithm
BLOCK = 2_000_000  # numbers held at a time while resampling


def cox(time, event, x, w, steps=30) -> np.ndarray:
    """Cox models (Breslow's ties) of the same patients for many rows of weights, by Newton's method.

    Parameters
    ----------
    time, event : (n,); x : (n, m) columns of about unit spread; w : (b, n) weights

    Returns
    -------
    (b, m) coefficients; NaN in rows without event or where they do not settle (perfect separation)
    """
    order = np.argsort(-time, kind="stable")
    last = np.searchsorted(-time[order], -time[order], side="right") - 1  # all of one time are at risk together
    x, w, event = x[order], w[:, order], event[order]
    died, m = w * event, x.shape[1]
    b, settled = np.zeros((len(w), m)), np.zeros(len(w), bool)
    squares = x[:, :, None] * x[:, None, :]
    with np.errstate(all="ignore"):
        for _ in range(steps):
            score = b @ x.T
            risk = w * np.exp(score - score.max(1, keepdims=True))
            s0 = np.cumsum(risk, 1)[:, last]
            s1 = np.cumsum(risk[:, :, None] * x, 1)[:, last] / s0[..., None]
            s2 = np.cumsum(risk[:, :, None, None] * squares, 1)[:, last] / s0[..., None, None]
            used = np.where(s0 > 0, died, 0)
            gradient = np.einsum("bn,bnm->bm", used, np.nan_to_num(x - s1))
            hessian = np.einsum("bn,bnij->bij", used, np.nan_to_num(s2 - s1[..., :, None] * s1[..., None, :]))
            step = np.linalg.solve(hessian + 1e-9 * np.eye(m), gradient[..., None])[..., 0]
            step *= np.minimum(1, 2 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-12))  # far from the optimum
            b, settled = b + step, np.abs(step).max(1) < 1e-8 * (1 + np.abs(b).max(1))
            if (settled | ~np.isfinite(step).all(1)).all():
                break
    return np.where((settled & (died.sum(1) > 0))[:, None], b, np.nan)


def _baseline(time, event, score, w, horizon):
    """Cumulative baseline hazard at the horizon (Breslow), (b,); score (b, n) are log risks."""
    order = np.argsort(-time, kind="stable")
    last = np.searchsorted(-time[order], -time[order], side="right") - 1
    s0 = np.cumsum((w * np.exp(score))[:, order], 1)[:, last]
    died = (w * (event & (time <= horizon)))[:, order]
    return np.divide(died, s0, out=np.zeros_like(s0), where=s0 > 0).sum(1)


def spline(x, knots) -> np.ndarray:
    """Restricted cubic spline: x and k - 2 columns, straight beyond the outer knots (Harrell 2015, 2.4.5)."""
    def cube(t):
        return np.maximum(x - t, 0) ** 3

    first, last, end = knots[-2], knots[-1], (knots[-1] - knots[0]) ** 2
    extra = [(cube(t) - cube(first) * (last - t) / (last - first) + cube(last) * (first - t) / (last - first)) / end
             for t in knots[:-2]]
    return np.column_stack([x, *extra])


def cloglog(p) -> np.ndarray:
    """log(-log(1 - p)) of probabilities, kept away from 0 and 1."""
    return np.log(-np.log1p(-np.clip(p, SMALLEST, 1 - SMALLEST)))


def _columns(x, n_knots):
    """Function giving the standardised spline columns of any cloglog; fewer where predictions hardly differ."""
    knots = np.unique(np.quantile(x, {3: (.1, .5, .9), 4: (.05, .35, .65, .95)}[n_knots]))
    if len(np.unique(x)) < 5:  # a few groups of patients: a line, a bend could not be told from it
        knots = knots[:0]
    spread = x.std()

    def raw(at):
        at = (np.asarray(at, float) - x.mean()) / (spread or 1)
        return spline(at, (knots - x.mean()) / spread) if len(knots) > 2 else at[:, None]

    centre, width = raw(x).mean(0), raw(x).std(0)
    return lambda at: (raw(at) - centre) / width


def _summary(time, event, p, horizon, w, n_knots, grid):
    """ICI, E50, E90, slope, each (b,), and the observed probability (b, g) at predicted probabilities `grid`."""
    x, b = cloglog(p), len(w)
    if np.ptp(x) < 1e-6:  # one prediction for all: only the level can be wrong
        seen = 1 - np.exp(-_baseline(time, event, np.zeros((b, len(p))), w, horizon))
        gap = np.abs(seen - p[0])
        return gap, gap, gap, np.full(b, np.nan), np.repeat(seen[:, None], len(grid), axis=1)
    columns = _columns(x, n_knots)
    here, there = columns(x), columns(cloglog(grid))
    coefficients = cox(time, event, here, w)
    score = coefficients @ here.T
    hazard = _baseline(time, event, score, w, horizon)[:, None]
    gap = np.abs(1 - np.exp(-hazard * np.exp(score)) - p)
    curve = 1 - np.exp(-hazard * np.exp(coefficients @ there.T))
    slope = cox(time, event, ((x - x.mean()) / x.std())[:, None], w)[:, 0] / x.std()
    order = np.argsort(gap, axis=1)
    share = np.cumsum(np.take_along_axis(w, order, 1), 1) / w.sum(1, keepdims=True)
    ranked = np.take_along_axis(gap, order, 1)
    half, most = (ranked[np.arange(b), (share >= q - 1e-12).argmax(1)] for q in (0.5, 0.9))
    return (w * gap).sum(1) / w.sum(1), half, most, slope, curve


def _checked(time, event, p, horizon):
    time, event, p = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(p, float).reshape(-1)
    if not len(time) == len(event) == len(p):
        raise ValueError(f"{len(time)} times, {len(event)} events and {len(p)} probabilities do not fit")
    if not np.isfinite(p).all() or p.min(initial=0) < 0 or p.max(initial=1) > 1:
        raise ValueError("predicted event probabilities must lie in 0..1 (1 minus the survival at the horizon)")
    if not (event & (time <= horizon)).any() or not (time > horizon).any():
        raise ValueError(f"{int((event & (time <= horizon)).sum())} events up to {horizon:g} days and "
                         f"{int((time > horizon).sum())} patients followed beyond: choose a horizon with some of both")
    return time, event, p


def calibration(time, event, p, horizon, n_knots=3, n_groups=5, n_bootstrap=0, seed=0, level=0.95) -> dict:
    """Observed against predicted event probability at a horizon.

    Parameters
    ----------
    time, event : (n,) of the evaluated patients; p : (n,) predicted probability of the event by the horizon (days)
    n_knots : 3 or 4, of the restricted cubic spline of log(-log(1 - p)) in a Cox model (Austin, Harrell and van
        Klaveren, Stat Med 2020;39:2714-42), which is the smooth observed probability
    n_bootstrap : resamples of patients for the intervals of slope and curve (percentile)

    Returns
    -------
    dict: ici, e50, e90 (mean, median, 90th percentile of |observed - predicted|; 0 is perfect, and chance alone gives
    more, so that none has an interval: resamples all lie too high), slope (Cox coefficient of log(-log(1 - p)): 1 is
    right, below 1 too extreme; NaN where all predictions are equal), observed (Kaplan-Meier), predicted (mean), oe
    (observed / predicted, above 1 too few events are predicted; observed and oe with the log-log interval of
    Kaplan-Meier), curve (DataFrame predicted, observed, low, high), groups (DataFrame predicted, observed, low, high,
    n), and slope_low, slope_high with a bootstrap.
    """
    time, event, p = _checked(time, event, p, horizon)
    grid = np.unique(np.quantile(p, np.linspace(0.01, 0.99, 50)))
    ici, e50, e90, slope, curve = _summary(time, event, p, horizon, np.ones((1, len(p))), n_knots, grid)
    out = {"ici": float(ici[0]), "e50": float(e50[0]), "e90": float(e90[0]), "slope": float(slope[0]),
           "predicted": float(p.mean())}
    for end, seen in zip(("", "_low", "_high"), _observed(time, event, horizon), strict=True):
        out |= {"observed" + end: float(seen), "oe" + end: float(seen / p.mean()) if p.mean() > 0 else np.nan}
    table = pd.DataFrame({"predicted": grid, "observed": curve[0], "low": np.nan, "high": np.nan})
    if n_bootstrap:
        drawn = np.vstack(list(weights(np.arange(len(p)), n_bootstrap, seed)))
        size = max(1, BLOCK // (len(p) * n_knots**2))
        parts = [_summary(time, event, p, horizon, drawn[at:at + size], n_knots, grid)
                 for at in range(0, n_bootstrap, size)]
        ends = percentiles(np.concatenate([one[3] for one in parts]), level)
        out["slope_low"], out["slope_high"] = map(float, ends)
        table["low"], table["high"] = percentiles(np.concatenate([one[4] for one in parts]), level)
    return out | {"curve": table, "groups": _grouped(time, event, p, horizon, n_groups)}


def _observed(time, event, horizon):
    """Kaplan-Meier event probability at the horizon with log-log interval; NaN where follow-up ends before."""
    from sksurv.nonparametric import kaplan_meier_estimator

    if time.max() < horizon and event[time == time.max()].sum() < (time == time.max()).sum():
        return np.nan, np.nan, np.nan
    times, curve, limits = kaplan_meier_estimator(event, time, conf_type="log-log")
    at = np.searchsorted(times, horizon, side="right") - 1
    return (0.0, 0.0, 0.0) if at < 0 else (1 - curve[at], 1 - limits[1, at], 1 - limits[0, at])


def _grouped(time, event, p, horizon, n_groups):
    edges = np.unique(np.quantile(p, np.arange(1, n_groups) / n_groups))
    group = np.searchsorted(edges, p, side="left")
    rows = [(p[inside].mean(), *_observed(time[inside], event[inside], horizon), inside.sum())
            for inside in (group == k for k in np.unique(group))]
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n"])


def d_calibration(time, event, grid, S, n_bins=10) -> dict:
    """Are the survival probabilities at the patients' own times spread evenly over 0..1, as they must be?

    A censored patient counts in parts for all bins below the survival at the censoring; follow-up beyond the grid is
    censored at its end. Haider et al., JMLR 2020;21(85).

    Returns
    -------
    dict: statistic, p (chi-squared with n_bins - 1 degrees; a small p speaks against calibration), shares (n_bins,) of
    the patients from survival near 0 to near 1; 1 / n_bins each is perfect.
    """
    from scipy.stats import chi2

    time, event, grid = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(grid, float)
    if len(S) != len(time):
        raise ValueError(f"{len(S)} curves for {len(time)} patients")
    edges, lines = np.r_[0.0, grid], np.column_stack([np.ones(len(S)), S])
    own = np.array([np.interp(t, edges, line) for t, line in zip(time, lines, strict=True)])
    event = event & (time <= grid[-1])
    lower = np.arange(n_bins) / n_bins
    place = np.minimum((own * n_bins).astype(int), n_bins - 1)
    parts = np.clip(own[:, None] - lower, 0, 1 / n_bins) / np.maximum(own, SMALLEST)[:, None]
    parts[own < SMALLEST] = np.eye(n_bins)[0]
    shares = np.where(event[:, None], np.eye(n_bins)[place], parts).mean(0)
    statistic = len(time) * n_bins * ((shares - 1 / n_bins) ** 2).sum()
    return {"statistic": float(statistic), "p": float(chi2.sf(statistic, n_bins - 1)), "shares": shares}


def net_benefit(time, event, p, horizon, thresholds=decisions.THRESHOLDS) -> pd.DataFrame:
    """Decision curve (`decisions.curve`) of probabilities of the event by the horizon, with censoring: the events among
    those acted on come out of their Kaplan-Meier curve (Vickers et al., BMC Med Inform Decis Mak 2008;8:53).

    Returns
    -------
    DataFrame of `decisions.curve`; NaN where those acted on are not followed to the horizon.
    """
    time, event, p = _checked(time, event, p, horizon)

    def rate(chosen, w):
        return 1 - hazards.kaplan_meier(time[chosen], event[chosen], [horizon], w[:, chosen])[:, 0]

    return decisions.curve(p, rate, thresholds=thresholds)


def table(calibrated: dict) -> pd.DataFrame:
    """Calibration of several models at one horizon, as a table to read.

    Parameters
    ----------
    calibrated : dict model -> `calibration`
    """
    rows = {name: {"mean predicted": one["predicted"]} for name, one in calibrated.items()}
    found = pd.DataFrame(rows).T.astype(float).round(3)
    for key, word in (("observed", "observed"), ("oe", "observed / predicted"), ("ici", "ICI"), ("slope", "slope")):
        limits = {name: [one[key], one.get(f"{key}_low"), one.get(f"{key}_high")] for name, one in calibrated.items()}
        found[word] = metrics.written(pd.DataFrame(limits, index=["value", "low", "high"]).T.astype(float))
    return found.rename(index=lambda name: name.replace("_", " "))


def plain(one: dict, horizon: float) -> dict[str, float]:
    """The numbers of `calibration` as plain keys for a JSON file: ici_365, ici_365_low, ..."""
    return {f"{key}_{horizon:.0f}{end}": one[key + end] for key in ("ici", "oe", "slope")
            for end in ("", "_low", "_high") if key + end in one}


def level_in_words(calibrated: dict, horizon: float) -> str:
    """Whether each model predicts too few or too many events by the horizon (days): what came, then a line a verdict.

    Parameters
    ----------
    calibrated : dict model -> `calibration`, all of the same patients
    """
    said = {}
    for name, one in calibrated.items():
        word, share = "few" if one["oe"] > 1 else "many", abs(one["oe"] - 1) / max(one["oe"], SMALLEST)
        clear = one["oe_low"] > 1 or one["oe_high"] < 1
        verdict = f"Too {word} events are predicted" if clear else "As many are predicted, as far as shown"
        off = f" ({share:.0%} too {word})" if clear else ""  # share of the events that came
        said.setdefault(verdict, []).append(f"{name.replace('_', ' ')} {one['predicted']:.1%}{off}")
    lines = [f"{verdict}: {', '.join(models)}." for verdict, models in said.items()]
    came = next(iter(calibrated.values()), None)
    return "\n".join([f"By {horizon:.0f} days {came['observed']:.1%} ({came['observed_low']:.1%} to "
                      f"{came['observed_high']:.1%}) had the event.", *lines]) if lines else ""
