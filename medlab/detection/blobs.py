"""A detector that learns nothing: connected pixels beyond Otsu's threshold (Otsu 1979), the bar for any other.

Only the channel and whether lesions are bright or dark are chosen, on training images.
"""

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.filters import threshold_otsu

from medlab.detection import lesions, matching
from medlab.detection import scores as detection_scores
from medlab.imaging import components


def blobs(image, channel, bright, most=50):
    """Blobs of one image.

    Parameters
    ----------
    image : (h, w, c) or (d, h, w, c) uint8
        Black around a region that was cut out does not count, nor does its rim.
    channel : int
    bright : bool, above the threshold or below it

    Returns
    -------
    boxes (k, 2 * axes), scores (k,)
        By falling score: the number of pixels times the share they fill of a ball (disc) as wide as the blob.
    """
    grey, inside, axes = image[..., channel], (image > 0).any(-1), image.ndim - 1
    if inside.mean() < 0.9:
        inside = ndimage.binary_erosion(inside, np.ones((1,) * (axes - 2) + (3, 3)))
    values = grey[inside]
    if not len(values) or values.min() == values.max():
        return np.empty((0, 2 * axes)), np.empty(0)
    level = threshold_otsu(values)
    found = components.table(components.label(inside & ((grey > level) == bright)), diameters=False)
    corners, voxels = matching.corners(found), found["voxels"].to_numpy(float)
    sides = corners[:, axes:] - corners[:, :axes]
    ball = np.pi / (2 * axes) * sides[:, -2:].max(axis=1, initial=1) ** 2 * (sides[:, 0] if axes == 3 else 1)
    scores = voxels * np.minimum(1, voxels / np.maximum(ball, 1))
    order = np.argsort(-scores, kind="stable")[:most]
    return corners[order], scores[order]


def candidates(images, field, rows, channel, bright, typical):
    """Blobs of some images as the table of `heatmaps.candidates`.

    Parameters
    ----------
    images : array (n, ..., c) uint8, best a memory map; field : tuple of slice; rows : which images
    typical : dict class -> median longest in-plane side in prepared pixels; a blob is called the class nearest to it
    """
    parts, names = [], list(typical)
    for row in rows:
        boxes, scores = blobs(np.asarray(images[row])[field], channel, bright)
        axes = boxes.shape[1] // 2
        side = (boxes[:, axes:] - boxes[:, :axes])[:, -2:].max(axis=1, initial=1)
        nearest = np.abs(np.log(side)[:, None] - np.log(list(typical.values()))).argmin(axis=1)
        parts.append(matching.box_table(boxes).assign(place=row, label=np.array(names)[nearest], score=scores,
                                                      mass=np.nan))
    return pd.concat(parts, ignore_index=True)


def widths(boxes: np.ndarray, classes: np.ndarray, names: list) -> dict:
    """Median longest in-plane side of each class in prepared pixels, from `heatmaps.packed` arrays."""
    axes = boxes.shape[-1] // 2
    longest = (boxes[..., axes:] - boxes[..., :axes])[..., -2:].max(axis=-1)
    return {name: float(np.median(longest[classes == k])) for k, name in enumerate(names)}


def sample(rows: np.ndarray, with_lesions: np.ndarray, most: int = 30) -> np.ndarray:
    """Images to choose on: some with lesions, then some without, evenly from all; (m,) bool says which of rows have."""
    parts = rows[with_lesions], rows[~with_lesions]
    return np.concatenate([part[::max(1, len(part) // most)][:most] for part in parts])


def fit(images, field, rows, found, table, where, typical, rule="centre"):
    """Channel and polarity with the highest mean sensitivity (CPM) on some training images.

    Parameters
    ----------
    rows : training images, some of them with lesions
    found : lesions; table : rows of all images; where : geometry of the field; rule : of `scores.froc`; the
        others as in `candidates`

    Returns
    -------
    dict: channel, bright, cpm (on these images)
    """
    best, known = {"cpm": -1.0}, table.iloc[rows]
    mine = found.merge(known[lesions.keys(table)], on=lesions.keys(table))
    for channel in range(images.shape[-1]):
        for bright in (True, False):
            raw = candidates(images, field, rows, channel, bright, typical)
            scores = detection_scores.froc(mine, lesions.in_original(raw, table, where), known, rule, n_bootstrap=0)
            cpm = scores[(scores["label"] == "all") & (scores["measure"] == "cpm")]["value"].iloc[0]
            if cpm > best["cpm"]:
                best = {"channel": channel, "bright": bright, "cpm": float(cpm)}
    return best
