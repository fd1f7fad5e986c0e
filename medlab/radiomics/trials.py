"""Registration against a known truth: a picture or volume, and a copy of it that was moved by a known transform."""

from collections.abc import Iterator

import numpy as np

from medlab.imaging import registration
from medlab.radiomics import reliability

TURN_DEG, SHIFT, STRETCH = 12, 0.08, 0.08  # largest of the truths; shift and stretch as a share of the size


def moved_copy(picture: np.ndarray, spacing_mm: tuple | None, stretch: float,
               random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A copy moved by a random transform, with noise of its own strength, and the transform that brings it back.

    Parameters
    ----------
    picture : (h, w) or (d, h, w); spacing_mm : per axis, None unknown
    stretch : 0 for a rigid truth, 1 for an affine one
    """
    size = np.array(picture.shape) * (1 if spacing_mm is None else spacing_mm)
    truth = registration.known((size - 1) / 2, random.uniform(-TURN_DEG, TURN_DEG, 1 if picture.ndim == 2 else 3),
                               random.uniform(-SHIFT, SHIFT, picture.ndim) * size,
                               1 + random.uniform(-STRETCH, STRETCH, picture.ndim) * stretch)
    copy = registration.warp(picture, np.linalg.inv(truth), spacing_mm=spacing_mm)
    return copy + random.normal(0, reliability.noise_sd(picture), picture.shape), truth


def registered(fixed: np.ndarray, moving: np.ndarray, spacing_mm: tuple | None = None,
               moving_mm: tuple | None = None, seed: int = 0) -> dict:
    """Matrices of no registration, of the rigid one, and of the affine one that begins with it."""
    rigid = registration.register(fixed, moving, spacing_mm, moving_mm, "rigid", seed=seed).matrix
    affine = registration.register(fixed, moving, spacing_mm, moving_mm, "affine", start=rigid, seed=seed).matrix
    return {"before": np.eye(fixed.ndim + 1), "rigid": rigid, "affine": affine}


def trial(picture: np.ndarray, inside: np.ndarray, spacing_mm: tuple | None, stretch: float,
          random: np.random.Generator, seed: int = 0) -> Iterator[dict]:
    """Errors and overlap of the region without, with a rigid and with an affine registration of a `moved_copy`.

    Yields
    ------
    dict: registered (before, rigid, affine), error, largest error (mm, or pixels), Dice of the region, within (whether
    every point lands within the longest side of a pixel of where it should)
    """
    copy, truth = moved_copy(picture, spacing_mm, stretch, random)
    there = registration.warp(inside, np.linalg.inv(truth), spacing_mm=spacing_mm)
    for kind, matrix in registered(picture, copy, spacing_mm, seed=seed).items():
        far = registration.error(matrix, truth, picture.shape, spacing_mm)
        back = registration.warp(there, matrix, spacing_mm=spacing_mm)
        yield {"registered": kind, "error": far["mean"], "largest error": far["maximum"],
               "Dice of the region": registration.overlap(inside, back),
               "within": far["maximum"] <= max(spacing_mm if spacing_mm else [1])}
