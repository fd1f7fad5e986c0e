"""What a detector found, for the reader: thresholds, sizes beside the true ones, pictures with boxes."""

import numpy as np
import pandas as pd
from scipy.stats import theilslopes

from medlab.detection import lesions, matching, scores
from medlab.imaging import resampling, slices

OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)  # that non-maximum suppression may leave
UNITS = {"volume_ml": "volume, mL", "area_mm2": "area, mm²", "voxels": "size, voxels",
         "longest side": "longest side, pixels"}
LISTED = ("image", "frame", "patient_id", "label", "score", "outcome", "x_mm", "y_mm", "z_mm", "x_size_mm",
          "y_size_mm", "z_size_mm", "longest_mm", "x_min", "y_min", "z_min", "x_max", "y_max", "z_max")


def try_overlaps(truth: pd.DataFrame, candidates: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Mean average precision after non-maximum suppression with each limit of `OVERLAPS`.

    Parameters
    ----------
    truth, candidates, images : see `detection.matching.check`; not of the test part

    Returns
    -------
    DataFrame indexed by limit, a column for each overlap (IoU) from which on a candidate is right.
    """
    tried = {}
    for limit in OVERLAPS:
        ap = scores.average_precision(truth, lesions.suppress(candidates, limit), images, n_bootstrap=0)
        tried[limit] = ap[ap["label"] == "all"].set_index("at")["value"]
    return pd.DataFrame(tried).T.rename_axis("boxes may overlap by")


def best_overlap(tried: pd.DataFrame) -> float:
    """The limit with the highest mean over the columns of `try_overlaps`; 0.3 where nothing is defined."""
    return float(tried.mean(axis=1).round(4).idxmax()) if tried.notna().any(axis=None) else 0.3


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


def size_measure(truth: pd.DataFrame, masks: bool) -> str:
    """In what the size of lesions is measured: a key of `UNITS`.

    Parameters
    ----------
    truth : of `lesions.sizes`; masks : whether the network says the extent, otherwise only boxes can be measured
    """
    column = "volume_ml" if "volume_ml" in truth else "area_mm2"
    measure = next((name for name in (column, "voxels") if truth[name].notna().any()), "longest side")
    return measure if masks else "longest side"


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


def compared(pairs: pd.DataFrame, factor: float, power: float) -> pd.DataFrame:
    """Pairs of `matched` with the prediction brought to scale, and ``error`` relative to the truth."""
    pairs = pairs.assign(predicted=factor * pairs["predicted"] ** power)
    return pairs.assign(error=(pairs["predicted"] - pairs["truth"]) / pairs["truth"])


def sizes_in_words(pairs: pd.DataFrame, error: dict, guess: float, n_lesions: int, what: str) -> str:
    """How well sizes are measured, in a sentence.

    Parameters
    ----------
    pairs : of `compared`; error : median of the absolute error, as `intervals.median_interval`
    guess : the same where every lesion is given one size; n_lesions : how many there were; what : of `UNITS`
    """
    if pairs.empty:
        return "No lesion found, no size."
    limits = f" ({error['low']:.1%} to {error['high']:.1%})" if np.isfinite(error["low"]) else " (no interval)"
    return (f"The {what.split(',')[0]} of {len(pairs)} of {n_lesions} lesions: median absolute error "
            f"{error['value']:.1%}{limits}, median error {pairs['error'].median():+.1%}. Giving every lesion the "
            f"median of validation: {guess:.0%}.")


def listed(kept: pd.DataFrame, part: str, measure: str, factor: float, power: float) -> pd.DataFrame:
    """The findings as they are written: class, score, outcome, place and size, patient by patient, the surest first.

    Parameters
    ----------
    kept : candidates of `cases.outcomes`; part : train, val or test; measure, factor, power : how sizes are measured
    """
    table = kept[[name for name in LISTED if name in kept]].assign(split=part)
    if measure in kept:
        table[measure] = factor * kept[measure] ** power
    return table.sort_values(["patient_id", "image", "score"], ascending=[True, True, False], ignore_index=True)


def head(table: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """The first rows of `listed` for the page: in mm, or in pixels where the spacing is unknown."""
    known = "longest_mm" in table and table["longest_mm"].notna().any()
    in_pixels = [name for name in table if name.endswith(("_min", "_max")) and known]
    shown = table.drop(columns=["image", "split", *in_pixels]).head(n).dropna(axis=1, how="all")
    return shown.round({name: 3 if name in ("score", *UNITS) else 1 for name in shown})


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
