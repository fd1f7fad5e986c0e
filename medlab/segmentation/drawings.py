"""From probabilities to a drawing, and the choice of how: threshold and smallest component, on validation."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from medlab.imaging import components

THRESHOLDS = tuple(np.round(np.arange(0.1, 0.96, 0.05), 2).tolist())
SIZES = (0, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)  # prepared pixels


def draw(p: np.ndarray, threshold: float, smallest: int = 0, where: np.ndarray | None = None) -> np.ndarray:
    """Label map, uint8: a pixel is called from the threshold on, as its most probable class.

    Parameters
    ----------
    p : (..., K) probability of each class; background is what is missing to 1
    threshold : of the probability of any class
    smallest : components with fewer prepared pixels are dropped
    where : (axes, 4) geometry of the image, which says how large a prepared pixel is; not needed without `smallest`
    """
    called = np.where(p.sum(-1) >= threshold, p.argmax(-1) + 1, 0).astype(np.uint8)
    return components.drop_small(called, round(smallest * np.prod(where[:, 1]))) if smallest else called


def try_thresholds(cases: Iterable, patients: Sequence) -> pd.Series:
    """Dice that each threshold reaches: mean over patients and classes, all pixels of a patient together.

    Parameters
    ----------
    cases : (truth, field of view or None, p, where) of each image, read one after the other
    patients : (n,) of these images

    Returns
    -------
    Series indexed by `THRESHOLDS`; empty without images.
    """
    return _tried(cases, patients, THRESHOLDS, lambda t, p, where: draw(p, t))


def try_sizes(cases: Iterable, patients: Sequence, threshold: float) -> pd.Series:
    """The same for the smallest component that is kept, at one threshold; indexed by `SIZES`."""
    return _tried(cases, patients, SIZES, lambda size, p, where: draw(p, threshold, size, where))


def _tried(cases, patients, choices, drawn):
    found = [[_counts(truth, drawn(choice, p, where), valid, p.shape[-1]) for choice in choices]
             for truth, valid, p, where in cases]
    if not found:
        return pd.Series(dtype=float)
    each = pd.Series(range(len(found))).groupby(np.asarray(patients)).agg(list)
    pooled = np.stack([np.array(found, float)[at].sum(0) for at in each])
    dice = np.where(pooled[..., 1] > 0, 2 * pooled[..., 0] / np.maximum(pooled[..., 1], 1), 1)
    return pd.Series(dice.mean((0, 2)), index=choices)


def _counts(truth, called, valid, n_classes):
    """Per class: pixels in both, and in the one plus in the other, (K, 2)."""
    truth, called = (mask if valid is None else mask[valid] for mask in (truth, called))
    return [[((truth == k) & (called == k)).sum(), (truth == k).sum() + (called == k).sum()]
            for k in range(1, n_classes + 1)]


def best_threshold(tried: pd.Series) -> float:
    """The threshold with the highest Dice, of equals the one nearest to one half; one half where none was tried."""
    if not len(tried):
        return 0.5
    order = np.lexsort((np.abs(tried.index - 0.5), -np.round(tried.to_numpy(), 4)))
    return float(tried.index[order[0]])


def best_size(tried: pd.Series) -> int:
    """The smallest component with the highest Dice, of equals the smallest; 0 where none was tried."""
    return int(tried.round(3).idxmax()) if len(tried) else 0
