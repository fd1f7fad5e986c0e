"""How often does a 95 % interval of the AUC hold the truth? Percentile against BCa (10 seconds).

    python tests/benchmarks/interval_coverage.py
"""

import numpy as np
from scipy.stats import norm

from medlab.statistics.intervals import bca, left_out, weights
from medlab.statistics.measures import midranks


def coverage(n, gap, prevalence=0.3, repeats=500, n_bootstrap=600, seed=0):
    """Share of simulated cohorts of n patients whose interval holds the true AUC."""
    rng, truth, held = np.random.default_rng(seed), norm.cdf(gap / np.sqrt(2)), []
    for repeat in range(repeats):
        y = (rng.random(n) < prevalence).astype(int)
        if not 2 <= y.sum() <= n - 2:
            continue
        p, who = rng.normal(size=n) + gap * y, np.arange(n)
        value = midranks(y, p, np.ones((1, n)))[0][0]
        draws = np.concatenate([midranks(y, p, w)[0] for w in weights(who, n_bootstrap, repeat)])
        draws = draws[np.isfinite(draws)]
        intervals = np.quantile(draws, [0.025, 0.975]), bca(value, draws, midranks(y, p, left_out(who))[0])
        held.append([low <= truth <= high for low, high in intervals])
    return truth, *np.mean(held, axis=0)


if __name__ == "__main__":
    print("patients  true AUC  percentile  BCa")
    for n in (40, 80, 200):
        for gap in (1.19, 2.33):
            print("{:8d}  {:8.2f}  {:10.3f}  {:.3f}".format(n, *coverage(n, gap)), flush=True)
