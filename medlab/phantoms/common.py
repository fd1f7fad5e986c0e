"""What the simulated scans share: their grid, their random numbers, their identifiers."""

import numpy as np


def uid(*parts) -> str:
    """Unique identifier that depends on its parts only."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["medlab synthetic thorax", *map(str, parts)])


SHAPE, SPACING = (48, 100, 124), 2.5  # slices, rows, columns; mm


def generator(seed, patient, part) -> np.random.Generator:
    """Random numbers of one part (0 person, 1 pixels, 2 pixels of the second scan, 3 header) of one patient."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(patient, part)))
