"""How often do the 95 % intervals of the pages hold the truth? Simulated cohorts, every kind of interval.

    python tests/benchmarks/coverage.py [--cohorts 400]

Each row: a kind of interval, its situation, the patients, the share of cohorts whose interval held the truth with its
Monte-Carlo error, and the cohorts in which no interval was given. A calibration error (ECE) has a consistency band
instead of an interval: the share of networks that it calls "not shown to be off".
"""

import argparse

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import beta, norm

from medlab.comparison import pooled
from medlab.evaluation import calibration
from medlab.segmentation import scores as segmentation
from medlab.statistics import decisions, intervals, measures, metrics, synthesis
from medlab.survival import calibration as survival_calibration
from medlab.survival import scores as survival

SHARED, OWN = 0.6, 0.8  # how alike two networks are, and two images of one patient
RESAMPLES = 500


def classes(rng, m, prevalence, gaps, per=1):
    """Outcomes and patients of m patients with `per` images, and a score per gap between the classes (in SD)."""
    y, who = (rng.random(m) < prevalence).astype(int).repeat(per), np.arange(m).repeat(per)

    def noise():
        return SHARED * rng.normal(size=m).repeat(per) + OWN * rng.normal(size=m * per)

    common = noise()
    return y, who, [SHARED * common + OWN * noise() + gap * y for gap in gaps]


def auc(rng, n, gap, prevalence=0.3):
    y, who, (score,) = classes(rng, n, prevalence, [gap])
    if not 2 <= y.sum() <= n - 2:
        return None
    found = metrics.scores(y, expit(score), who, n_bootstrap=RESAMPLES).loc["auc"]
    return norm.cdf(gap / np.sqrt(2)), found["low"], found["high"]


def auc_difference(rng, n, more, prevalence=0.3, per=1):
    y, who, (a, b) = classes(rng, n // per, prevalence, [1.2 + more, 1.2], per)
    if len(np.unique(y)) < 2:
        return None
    found = metrics.difference(y, expit(a), expit(b), who)
    return norm.cdf((1.2 + more) / np.sqrt(2)) - norm.cdf(1.2 / np.sqrt(2)), found["low"], found["high"]


def follow_up(rng, n, share):
    """Log hazard and a follow-up in which about `share` of the patients have their event."""
    z = rng.normal(size=n)
    time, end = rng.exponential(np.exp(-z)), rng.exponential(size=n)
    low, high = 1e-6, 1e6
    for _ in range(50):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if (time <= middle * end).mean() > share else (middle, high)
    return z, pd.DataFrame({"time_days": 1000 * np.minimum(time, middle * end), "event": time <= middle * end})


def c_difference(rng, n, more, share, truth):
    z, people = follow_up(rng, n, share)
    common = rng.normal(size=n)
    a, b = (z + SHARED * common + (OWN + extra) * rng.normal(size=n) for extra in (0, more))
    if truth is None:
        return people, a, b
    found = survival.difference(people, people, a, b, horizons=(people["time_days"].max() / 2,))
    return truth, found["low"], found["high"]


def true_difference(more, share):
    """Of C, from cohorts too large for chance; 0 by symmetry where both risks are alike."""
    if not more:
        return 0.0
    from medlab.statistics.concordance import concordance

    draws = [c_difference(np.random.default_rng(k), 5000, more, share, None) for k in range(6)]
    return float(np.mean([concordance(p["time_days"], p["event"], a) - concordance(p["time_days"], p["event"], b)
                          for p, a, b in draws]))


def pooled_difference(rng, n, cases, folds=5):
    """Two networks of the same truth in five folds, the cases wherever they fall."""
    y, who, (a, b) = classes(rng, n, cases / n, [1.2, 1.2])
    table = pd.DataFrame({"unit": who, "y": y, "head": "binary", "threshold": 0.5, "seed": 0,
                          "run": rng.permutation(np.arange(n) % folds)})
    w = pooled.resamples(n, RESAMPLES)
    found = {("g", name, "auc", 0): pooled.classified(table.assign(p_yes=expit(z)), w)["auc"]
             for name, z in (("a", a), ("b", b))}
    one = pooled.difference(found, ("g", "a", "auc"), ("g", "b", "auc"), RESAMPLES)
    return 0.0, one["low"], one["high"]


def calibration_line(rng, n, slope, name):
    """Probabilities whose true calibration slope is given; cases are about a third."""
    z = rng.normal(-0.8, 1.2, n)
    y = (rng.random(n) < expit(z)).astype(int)
    if not 2 <= y.sum() <= n - 2:
        return None
    found = metrics.scores(y, expit(z / slope), n_bootstrap=RESAMPLES).loc[name]
    return {"calibration_slope": slope, "calibration_intercept": 0.0}[name], found["low"], found["high"]


def consistency(rng, n, off=0.0, slope=1.0):
    """The band of the ECE: holds where the error is one that chance gives a calibrated network."""
    z = rng.normal(-0.8, 1.2, n)
    p = expit(z)
    y = (rng.random(n) < p).astype(int)
    said = np.clip(expit(logit(p) / slope) + off, 0, 1)
    error = measures.expected_calibration_error(y.astype(float), said, np.ones((1, n)))[0]
    return error, -1.0, calibration.error_by_chance(said, n_draws=200)[1]


def mean_dice(rng, n, failures=0.08):
    x = np.where(rng.random(n) < failures, 0, rng.beta(17, 3, n))
    table = pd.DataFrame({"patient_id": range(n), "dice": x, "both_empty": 0, "one_empty": 0})
    found = segmentation.summary(table, n_bootstrap=RESAMPLES).loc["dice"]
    return (1 - failures) * 0.85, found["low"], found["high"]


def proportion(rng, n, rate, per=1):
    m = n // per
    called = (rng.random(m).repeat(per) if per > 1 else rng.random(n)) < rate
    found = metrics.scores(np.ones(m * per, int), np.where(called, 0.9, 0.1), np.arange(m).repeat(per),
                           n_bootstrap=RESAMPLES).loc["recall"]
    return rate, found["low"], found["high"]


def observed_expected(rng, n, times):
    """Exponential survival, predictions with a hazard that is wrong by a factor; truth: the ratio of the risks."""
    risk, end = rng.normal(0, 0.7, n), rng.uniform(200, 2500, n)
    days = rng.exponential(900, n) * np.exp(-risk)
    true, said = (1 - np.exp(-factor * np.exp(risk) * 700 / 900) for factor in (1.0, times))
    found = survival_calibration.calibration(np.minimum(days, end), days <= end, said, 700)
    return true.mean() / said.mean(), found["oe_low"], found["oe_high"]


def net_benefit(rng, n, threshold, cases, against, per=1):
    """Calibrated probabilities; truth: mean of what acting on each patient gains, over all there could be."""
    b = 2 * (1 - cases) / cases
    p = rng.beta(2, b, n // per).repeat(per)
    y = (rng.random(len(p)) < p).astype(int)
    grid = beta.ppf((np.arange(20_000) + 0.5) / 20_000, 2, b)
    gain = grid - (1 - grid) * threshold / (1 - threshold)
    truth = (gain * (grid > threshold)).mean() - (gain.mean() if against == "everybody" else 0)
    found = decisions.curve(p, decisions.share_of(y), np.arange(n // per).repeat(per), [threshold]).iloc[0]
    return truth, *found[["more_low", "more_high"] if against == "everybody" else ["low", "high"]]


def new_site(rng, sites, n, tau, of="next", mean=1.2, prevalence=0.3):
    """Sites whose AUC differs by tau on the logit scale; truth: the AUC of one more site, or of the middle one."""
    true = expit(mean + tau * rng.normal(size=sites + 1))
    values, errors = [], []
    for one in true[:-1]:
        y, who, (score,) = classes(rng, n, prevalence, [norm.ppf(one) * np.sqrt(2)])
        w = intervals.left_out(who)
        ranks = (score[y == 1][:, None] > score[y == 0]).astype(float)
        cases, others = w[:, y == 1], w[:, y == 0]
        without = (cases @ ranks * others).sum(1) / (cases.sum(1) * others.sum(1))
        values, errors = [*values, ranks.mean()], [*errors, intervals.jackknife_error(without)]
    found = synthesis.of_shares(values, errors)
    return (true[-1], found["next_low"], found["next_high"]) if of == "next" else (
        expit(mean), found["low"], found["high"])


def median(rng, n):
    found = intervals.median_interval(rng.lognormal(size=n))
    return 1.0, found["low"], found["high"]


def situations():
    """Kind, situation, patients, function of a generator."""
    for n, gap in ((40, 2.33), (80, 1.19), (80, 2.33), (200, 2.33)):
        yield "AUC (BCa)", f"AUC {norm.cdf(gap / np.sqrt(2)):.2f}, 30 % cases", n, lambda r, n=n, g=gap: auc(r, n, g)
    for n, share, per in ((48, 0.3, 1), (100, 0.1, 1), (100, 0.3, 1), (200, 0.1, 2), (300, 0.1, 1), (300, 0.3, 2)):
        for more in (0, 0.6):
            yield ("difference of AUC (jackknife t)", f"{'equal' if not more else 'unequal'}, {share:.0%} cases, {per} "
                   f"image{'s' * (per > 1)} each", n // per,
                   lambda r, n=n, s=share, m=more, k=per: auc_difference(r, n, m, s, k))
    for n, share in ((48, 0.5), (100, 0.3), (200, 0.1), (300, 0.3)):
        for more in (0, 0.8):
            truth = true_difference(more, share)
            yield ("difference of C (jackknife t)", f"{'equal' if not more else 'unequal'}, {share:.0%} events", n,
                   lambda r, n=n, s=share, m=more, t=truth: c_difference(r, n, m, s, t))
    for n, cases in ((100, 10), (200, 20), (200, 60)):
        yield ("difference of AUC over 5 folds (jackknife t)", f"{cases} cases", n,
               lambda r, n=n, c=cases: pooled_difference(r, n, c))
    for name in ("calibration_slope", "calibration_intercept"):
        for n in (48, 100, 300):
            for slope in (1.0, 0.5) if name.endswith("slope") else (1.0,):
                yield (f"{name.replace('_', ' ')} (BCa)", f"truth {slope if name.endswith('slope') else 0:g}", n,
                       lambda r, n=n, s=slope, k=name: calibration_line(r, n, s, k))
    for what, options in (("calibrated", {}), ("off by 0.05", {"off": 0.05}), ("off by 0.10", {"off": 0.1}),
                          ("slope 0.5", {"slope": 0.5})):
        for n in (48, 100, 300):
            yield "ECE within the band of chance", what, n, lambda r, n=n, o=options: consistency(r, n, **o)
    for n in (5, 10, 20, 40, 80):
        yield "mean Dice (BCa, one more failure)", "8 % failures", n, lambda r, n=n: mean_dice(r, n)
    for n, per in ((12, 1), (50, 1), (50, 2)):
        yield ("sensitivity (exact)", f"0.9, {per} image{'s' * (per > 1)} each", n // per,
               lambda r, n=n, k=per: proportion(r, n, 0.9, k))
    for n in (100, 300):
        for times in (1.0, 0.7):
            yield ("observed / predicted events (Kaplan-Meier)", f"hazard times {times:g}", n,
                   lambda r, n=n, t=times: observed_expected(r, n, t))
    for n, cases in ((48, 0.3), (100, 0.1), (100, 0.3), (300, 0.1), (300, 0.3)):
        for threshold in (cases / 2, cases, 2 * cases):
            for against in ("nobody", "everybody"):
                yield (f"net benefit against {against} (jackknife t or exact)",
                       f"{cases:.0%} cases, threshold {threshold:.0%}", n,
                       lambda r, n=n, t=threshold, c=cases, a=against: net_benefit(r, n, t, c, a))
    for sites in (3, 5, 10):
        for n in (50, 200):
            for tau in (0.0, 0.2, 0.5):
                for of, kind in (("next", "AUC of a new site (prediction)"), ("mean", "mean AUC of sites (Hartung)")):
                    yield (kind, f"{sites} sites, tau {tau:g} (logit), 30 % cases", n,
                           lambda r, n=n, k=sites, t=tau, o=of: new_site(r, k, n, t, o))
    for n in (6, 20, 50):
        yield "median (order statistics)", "lognormal", n, lambda r, n=n: median(r, n)


def covered(job, cohorts):
    """Share of the intervals that held the truth, its standard error, cohorts without an interval."""
    found = [one for one in (job(np.random.default_rng(k)) for k in range(cohorts)) if one is not None]
    truth, low, high = np.array(found, float).T
    given = np.isfinite(low) & np.isfinite(high)
    held = ((low <= truth) & (truth <= high))[given]
    return held.mean(), np.sqrt(held.mean() * (1 - held.mean()) / len(held)), cohorts - given.sum()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cohorts", type=int, default=400)
    options.add_argument("--only", default="", help="kinds that contain this text")
    chosen = options.parse_args()
    print("| interval | situation | patients | held | none given |\n|---|---|---|---|---|")
    for kind, situation, n, job in situations():
        if chosen.only in kind:
            share, error, none = covered(job, chosen.cohorts)
            print(f"| {kind} | {situation} | {n} | {share:.1%} ± {error:.1%} | {none} of {chosen.cohorts} |",
                  flush=True)
