"""First-order features by IBSI: statistics of the grey values of a region, wherever in it they lie.

Definitions, names and codes: Zwanenburg et al., The Image Biomarker Standardisation Initiative, arXiv 1612.07003
(reference manual), Radiology 2020.
"""

import numpy as np

STATISTICS = {"mean": "Q4LE", "variance": "ECT3", "skewness": "KE2A", "kurtosis": "IPH6", "median": "Y12H",
              "minimum": "1GSF", "p10": "QG58", "p90": "8DWT", "maximum": "84IY", "interquartile_range": "SALO",
              "range": "2OJQ", "mean_absolute_deviation": "4FUA", "robust_mean_absolute_deviation": "1128",
              "median_absolute_deviation": "N72L", "coefficient_of_variation": "7TET",
              "quartile_dispersion": "9S40", "energy": "N8CA", "root_mean_square": "5ZWQ"}
HISTOGRAM = {"mode": "AMMC", "entropy": "TLU2", "uniformity": "BJ5W", "maximum_gradient": "12CE",
             "maximum_gradient_level": "8E6O", "minimum_gradient": "VQB3", "minimum_gradient_level": "RHQZ"}


def entropy(p) -> float:
    """Shannon entropy in bits of probabilities that add up to 1."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def statistics(values) -> dict[str, float]:
    """Intensity-based statistics (IBSI UHIW).

    Parameters
    ----------
    values : (n,) grey values of the region

    Returns
    -------
    dict of float, keys as `STATISTICS`; all NaN without a value. Variance is that of the population, kurtosis the
    excess (0 for a normal distribution), energy a plain sum of squares: it grows with the region.
    """
    x = np.asarray(values, float)
    if not len(x):
        return dict.fromkeys(STATISTICS, np.nan)
    p10, p25, median, p75, p90 = np.percentile(x, [10, 25, 50, 75, 90])
    mean, variance = x.mean(), x.var()
    inner, away = x[(x >= p10) & (x <= p90)], x - mean
    with np.errstate(all="ignore"):
        skewness, kurtosis = (away**3).mean() / variance**1.5, (away**4).mean() / variance**2 - 3
        found = {"mean": mean, "variance": variance, "skewness": skewness, "kurtosis": kurtosis, "median": median,
                 "minimum": x.min(), "p10": p10, "p90": p90, "maximum": x.max(), "interquartile_range": p75 - p25,
                 "range": np.ptp(x), "mean_absolute_deviation": np.abs(away).mean(),
                 "robust_mean_absolute_deviation": np.abs(inner - inner.mean()).mean() if len(inner) else np.nan,
                 "median_absolute_deviation": np.abs(x - median).mean(),
                 "coefficient_of_variation": np.sqrt(variance) / mean, "quartile_dispersion": (p75 - p25) / (p75 + p25),
                 "energy": (x**2).sum(), "root_mean_square": np.sqrt((x**2).mean())}
    return {name: float(value) if np.isfinite(value) else np.nan for name, value in found.items()}


def histogram(levels) -> dict[str, float]:
    """What the intensity histogram (IBSI ZVCW) adds to the statistics: mode, entropy (bits), uniformity, gradients.

    Parameters
    ----------
    levels : (n,) int grey levels from 1, see `textures.discretise`
    """
    levels = np.asarray(levels)
    if not len(levels):
        return dict.fromkeys(HISTOGRAM, np.nan)
    first = int(levels.min())
    counts = np.bincount(levels)[first:].astype(float)
    p, mean = counts / counts.sum(), levels.mean()
    highest = np.flatnonzero(counts == counts.max()) + first
    mode = highest[np.abs(highest - mean).argmin()]  # of several the one nearest to the mean
    slope = np.gradient(counts) if len(counts) > 1 else np.full(1, np.nan)
    up, down = (int(np.argmax(s)) if len(counts) > 1 else 0 for s in (slope, -slope))
    return {"mode": float(mode), "entropy": entropy(p), "uniformity": float((p**2).sum()),
            "maximum_gradient": float(slope[up]), "maximum_gradient_level": float(up + first),
            "minimum_gradient": float(slope[down]), "minimum_gradient_level": float(down + first)}
