"""Grey levels of a region and how often they lie side by side: discretisation and co-occurrence (GLCM) by IBSI.

Definitions, names and codes: Zwanenburg et al., The Image Biomarker Standardisation Initiative, arXiv 1612.07003
(reference manual), Radiology 2020; matrices after Haralick, Shanmugam and Dinstein 1973.
"""

from itertools import product

import numpy as np

from medlab.radiomics.first_order import entropy

CODES = {"joint_maximum": "GYBY", "joint_average": "60VM", "joint_variance": "UR99", "joint_entropy": "TU9B",
         "difference_average": "TF7R", "difference_variance": "D3YU", "difference_entropy": "NTRS",
         "sum_average": "ZGXS", "sum_variance": "OEEB", "sum_entropy": "P6QZ", "angular_second_moment": "8ZQL",
         "contrast": "ACUI", "dissimilarity": "8S9J", "inverse_difference": "IB1Z",
         "inverse_difference_normalised": "NDRX", "inverse_difference_moment": "WF0Z",
         "inverse_difference_moment_normalised": "1QCO", "inverse_variance": "E8JP", "correlation": "NI2N",
         "autocorrelation": "QWB0", "cluster_tendency": "DG8W", "cluster_shade": "7NFM", "cluster_prominence": "AE86",
         "information_correlation_1": "R8DG", "information_correlation_2": "JN9H"}
MOST_LEVELS = 512  # a matrix has levels^2 cells per direction


def discretise(values, bin_width=None, n_bins=None, start=None) -> np.ndarray:
    """Grey levels 1, 2, ... of the values of a region.

    Parameters
    ----------
    values : (n,) float
    bin_width : float
        Fixed bin size (IBSI Q3RU), in the unit of the values; level 1 begins at ``start`` (the lower end of the
        re-segmentation range), default the smallest value. For calibrated units such as HU.
    n_bins : int
        Fixed bin number (IBSI K15C) between the smallest and the largest value. For arbitrary units.

    Returns
    -------
    (n,) int

    Examples
    --------
    >>> discretise([-10, 0, 24, 25], bin_width=25), discretise([-10, 0, 24, 25], bin_width=25, start=-25)
    (array([1, 1, 2, 2]), array([1, 2, 2, 3]))
    >>> discretise([-10, 0, 24, 25], n_bins=2)
    array([1, 1, 2, 2])
    """
    values = np.asarray(values, float)
    if (bin_width is None) == (n_bins is None) or (bin_width or n_bins) <= 0:
        raise ValueError(f"bin_width {bin_width}, n_bins {n_bins}: give one of them, above 0")
    if not len(values):
        return np.zeros(0, int)
    low, high = values.min(), values.max()
    if n_bins is not None:
        share = (values - low) / (high - low) if high > low else np.zeros_like(values)
        return np.minimum(np.floor(share * n_bins).astype(int) + 1, n_bins)
    if start is not None and low < start:
        raise ValueError(f"a value of {low:g} lies below {start:g}, where the first bin begins")
    levels = np.floor((values - (low if start is None else start)) / bin_width).astype(int) + 1
    if levels.max() > MOST_LEVELS:
        raise ValueError(f"bins of width {bin_width:g} make {levels.max()} grey levels of values {low:g} to {high:g}: "
                         f"at most {MOST_LEVELS}; choose a larger bin_width or a number of bins")
    return levels


def directions(axes) -> np.ndarray:
    """One of each pair of opposite neighbours: 4 in 2-D, 13 in 3-D; (k, axes) int."""
    return np.array([d for d in product((0, 1, -1), repeat=axes) if next((x for x in d if x), 0) > 0])


def cooccurrence(levels, distance=1, n_levels=None) -> np.ndarray:
    """How often two grey levels lie a given step apart, symmetrical, per direction.

    Parameters
    ----------
    levels : (h, w) or (d, h, w) int
        Grey levels from 1; 0 is outside the region and counted by nothing.
    distance : int
        Chebyshev distance in voxels.
    n_levels : int, optional
        Number of grey levels G where ``levels`` is only a part (one slice) of the region; default: the highest.

    Returns
    -------
    (directions, G, G) float counts
    """
    levels = np.asarray(levels)
    n = n_levels or int(levels.max(initial=0))
    matrices = []
    for step in directions(levels.ndim) * distance:
        here = levels[tuple(slice(max(0, -s), size - max(0, s)) for s, size in zip(step, levels.shape, strict=True))]
        there = levels[tuple(slice(max(0, s), size - max(0, -s)) for s, size in zip(step, levels.shape, strict=True))]
        both = (here > 0) & (there > 0)
        pairs = np.bincount((here[both] - 1) * n + there[both] - 1, minlength=n * n).reshape(n, n)
        matrices.append(pairs + pairs.T)
    return np.array(matrices, float)


def glcm(levels, distance=1, merge=True, n_levels=None) -> dict[str, float]:
    """The 25 co-occurrence features of IBSI.

    Parameters
    ----------
    levels, distance, n_levels : see `cooccurrence`
    merge : bool
        True: one matrix of all directions (IBSI IAZD in 3-D); False: mean of the features per direction (ITBB).

    Returns
    -------
    dict of float, keys as `CODES`; NaN where no two voxels of the region are neighbours. A region of one grey level has
    no correlation (NaN); its first information correlation is NaN too.
    """
    counts = cooccurrence(levels, distance, n_levels)
    counts = counts.sum(axis=0, keepdims=True) if merge else counts
    counts = counts[counts.sum(axis=(1, 2)) > 0]
    if not len(counts):
        return dict.fromkeys(CODES, np.nan)
    found = [_features(one / one.sum()) for one in counts]
    return {name: float(np.mean([one[name] for one in found])) for name in CODES}


def _features(p):
    """Features of one normalised symmetrical matrix."""
    n = len(p)
    i = np.arange(1, n + 1.0)
    difference, total = np.abs(i[:, None] - i), i[:, None] + i
    pd = np.bincount(difference.ravel().astype(int), p.ravel(), n)
    ps = np.bincount(total.ravel().astype(int) - 2, p.ravel(), 2 * n - 1)
    k, s, px = np.arange(n), np.arange(2.0, 2 * n + 1), p.sum(0)
    mean, apart = (px * i).sum(), (pd * k).sum()
    variance, middle = (px * (i - mean) ** 2).sum(), (ps * s).sum()
    off, cube = difference > 0, total - 2 * mean
    hxy, hx = entropy(p), entropy(px)
    one, two = _information(p, px, hxy, hx)
    return {"joint_maximum": p.max(), "joint_average": mean, "joint_variance": variance, "joint_entropy": hxy,
            "difference_average": apart, "difference_variance": (pd * (k - apart) ** 2).sum(),
            "difference_entropy": entropy(pd), "sum_average": middle, "sum_variance": (ps * (s - middle) ** 2).sum(),
            "sum_entropy": entropy(ps), "angular_second_moment": (p**2).sum(), "contrast": (pd * k**2).sum(),
            "dissimilarity": apart, "inverse_difference": (pd / (1 + k)).sum(),
            "inverse_difference_normalised": (pd / (1 + k / n)).sum(),
            "inverse_difference_moment": (pd / (1 + k**2)).sum(),
            "inverse_difference_moment_normalised": (pd / (1 + (k / n) ** 2)).sum(),
            "inverse_variance": (p[off] / difference[off] ** 2).sum(),
            "correlation": ((p * np.outer(i, i)).sum() - mean**2) / variance if variance > 1e-12 else np.nan,
            "autocorrelation": (p * np.outer(i, i)).sum(), "cluster_tendency": (p * cube**2).sum(),
            "cluster_shade": (p * cube**3).sum(), "cluster_prominence": (p * cube**4).sum(),
            "information_correlation_1": one, "information_correlation_2": two}


def _information(p, px, hxy, hx):
    """Information correlations 1 and 2, the second 0 where rounding would make its root negative."""
    product_ = np.outer(px, px)
    some = product_ > 0
    logs = np.log2(product_[some])
    h1, h2 = -(p[some] * logs).sum(), -(product_[some] * logs).sum()
    return ((hxy - h1) / hx if hx > 1e-12 else np.nan), float(np.sqrt(max(0.0, 1 - np.exp(-2 * (h2 - hxy)))))
