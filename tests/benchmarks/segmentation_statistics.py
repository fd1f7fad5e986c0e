"""Do the intervals of a mean Dice hold the truth, and does the Bland-Altman page raise false alarms? Simulated cohorts.

    python tests/benchmarks/segmentation_statistics.py [--cohorts 400]
"""

import argparse

import numpy as np
import pandas as pd
from scipy import stats

from medlab.segmentation import agreement, scores
from medlab.statistics import intervals


def dice(rng, n):
    """Dice of n patients: one in eight is a failure."""
    return np.where(rng.random(n) < 0.12, rng.beta(1, 2, n), rng.beta(14, 2.5, n))


def plain(x, seed):
    """BCa without the widening for few patients."""
    draws = np.concatenate([w @ x / w.sum(1) for w in intervals.weights(np.arange(len(x)), 1000, seed)])
    without = intervals.left_out(np.arange(len(x)))
    return intervals.bca(x.mean(), draws, without @ x / without.sum(1))


def coverage(cohorts):
    rng = np.random.default_rng(0)
    mean, median = 0.88 * 14 / 16.5 + 0.12 / 3, np.median(dice(rng, 1_000_000))
    print("patients  mean, plain BCa  mean, as reported  median, as reported")
    for n in (5, 10, 20, 40, 80):
        hits = np.zeros(3)
        for seed in range(cohorts):
            x = dice(rng, n)
            table = pd.DataFrame({"patient_id": range(n), "dice": x, "hd95_px": x, "both_empty": 0, "one_empty": 0})
            found = scores.summary(table, n_bootstrap=1000, seed=seed)
            limits = [plain(x, seed), *found[["low", "high"]].to_numpy(float)]  # Dice: mean; a distance: median
            hits += [low <= true <= high for (low, high), true in zip(limits, (mean, mean, median), strict=True)]
        print(f"{n:8d}" + "".join(f"{hit / cohorts:18.1%}" for hit in hits), flush=True)


def alarms(cohorts):
    rng = np.random.default_rng(0)
    print("patients  true bias  proportional bias told: regression  here  (error proportional to the size)")
    for bias in (0, 0.15):
        for n in (20, 50, 100):
            told = np.zeros(2)
            for _ in range(cohorts):
                truth = np.exp(rng.normal(1, 1, n))
                called = (1 + bias) * truth * np.exp(rng.normal(0, 0.15, n))
                regression = stats.linregress((truth + called) / 2, called - truth).pvalue
                told += [regression < 0.05, agreement.bland_altman(truth, called)["slope_p"] < 0.05]
            print(f"{n:8d}{bias:11.0%}{told[0] / cohorts:36.1%}{told[1] / cohorts:6.1%}", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cohorts", type=int, default=400)
    cohorts = options.parse_args().cohorts
    coverage(cohorts)
    alarms(cohorts)
