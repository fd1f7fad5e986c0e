"""What a detector found, for the reader: thresholds, sizes beside the true ones, pictures with boxes."""

import numpy as np
import pandas as pd
from scipy.stats import theilslopes

from medlab.detection import matching
from medlab.imaging import resampling, slices


def best_f1(points, names):
    """Threshold of each class with the highest F1: dict; where no lesion is found, above every score.

    Parameters
    ----------
    points : table of `scores.precision_recall`
    """
    chosen = {}
    for name in names:
        mine = points[points["label"] == name]
        f1 = 2 * mine["precision"] * mine["recall"] / (mine["precision"] + mine["recall"]).clip(lower=1e-9)
        chosen[name] = float(mine["threshold"].loc[f1.idxmax()]) if len(mine) else 1.0
    return chosen


def matched(truth, candidates, measure):
    """Lesions found and what their candidate says of their size.

    Parameters
    ----------
    truth, candidates : of `cases.outcomes`, with the columns of `sizes` and `in_original`
    measure : a column of both, or ``longest side`` (of the boxes, in pixels)

    Returns
    -------
    DataFrame: patient_id, truth, predicted, both above 0.
    """
    hits = candidates[candidates["outcome"] == "hit"]
    of, sides = truth.loc[hits["lesion"]], []
    for table in (of, hits):
        low, high = np.split(matching.corners(table), 2, axis=1)
        longest = (high - low).max(axis=1, initial=0)
        sides.append(longest if measure == "longest side" else table[measure].to_numpy(float))
    found = pd.DataFrame({"patient_id": of["patient_id"].to_numpy(), "truth": sides[0], "predicted": sides[1]})
    return found[(found[["truth", "predicted"]] > 0).all(axis=1)].reset_index(drop=True)


def calibration(pairs, least=20):
    """How predicted sizes become true ones: truth = factor * predicted ** power, by the median slope (Theil 1950).

    Parameters
    ----------
    pairs : of `matched`, of patients that are not measured with it; below ``least`` of them the power is 1, without any
        the factor too

    Returns
    -------
    (factor, power)
    """
    if pairs.empty:
        return 1.0, 1.0
    x, y = np.log(pairs["predicted"].to_numpy()), np.log(pairs["truth"].to_numpy())
    power = float(theilslopes(y, x).slope) if len(x) >= least and np.ptp(x) > 0 else 1.0
    return float(np.exp(np.median(y - power * x))), power


def scale_in_words(factor, power, what, n):
    """What `calibration` found, for the reader; what: size and unit, such as ``volume, mL``; n: lesions it is from."""
    if not n:
        return "as predicted: no lesion is found on validation"
    size, unit = what.split(", ")
    scaled = f"predicted {size}" if power == 1 else f"(predicted {size} to the power {power:.2f})"
    return f"true {size} = {factor:.3f} times {scaled}, both in {unit}; fitted to {n} found lesions of validation"


def view(image, truth, candidates, window=None):
    """A picture for `figures.gallery`; of a volume the slice through the first miss, false alarm or lesion.

    Parameters
    ----------
    window : name of a CT window, of several (``lung, bone``) the first; for Hounsfield units only

    Returns
    -------
    (picture, truth in that slice, candidates in it)
    """
    window = (window or "").split(",")[0].strip() or None if image.intensity == "HU" else None
    if image.pixels.ndim == 3:
        return resampling.picture(image, None, window), truth, candidates
    depth, wanted = len(image.pixels), pd.concat([truth[truth["outcome"] == "miss"],
                                                  candidates[candidates["outcome"] == "false alarm"], truth])
    z = slices.middle(depth) if wanted.empty else slices.slice_through(*wanted.iloc[0][["z_min", "z_max"]], depth)
    cut = [table[(table["z_min"] < z + 1) & (table["z_max"] > z)] for table in (truth, candidates)]
    return resampling.picture(image, z, window), *cut


def slice_of(image, corners, heat):
    """Picture of an augmented image with the boxes whose centres the heatmap marks; of a volume the slice of the first.

    Parameters
    ----------
    image : (h, w, c) or (d, h, w, c); corners : (cells..., 2 * axes + 1); heat : (cells..., n_classes)
    """
    boxes = np.unique(corners[heat.max(-1) > 0.9999][:, :-1], axis=0)
    axes = boxes.shape[1] // 2
    if axes == 3:
        z = slices.slice_through(*boxes[0, [0, 3]], len(image)) if len(boxes) else slices.middle(len(image))
        image, boxes = image[z], boxes[(boxes[:, 0] < z + 1) & (boxes[:, 3] > z)][:, [1, 2, 4, 5]]
    return (image if image.shape[-1] == 3 else image[..., 0]).astype("uint8"), matching.box_table(boxes)
