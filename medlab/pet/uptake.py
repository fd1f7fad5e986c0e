"""Uptake of lesions in PET: SUVmax, mean and peak, metabolic volumes, total lesion glycolysis, hot spots.

Images are (d, h, w) SUV with ``spacing_mm`` in array order; a place in mm is x, y, z of LPS as in DICOM.
"""

import numpy as np
import pandas as pd
from scipy import ndimage, special

from medlab.imaging import components
from medlab.statistics.intervals import median_interval

PEAK_RADIUS_MM = (3000 / (4 * np.pi)) ** (1 / 3)  # of a sphere of 1 ml: 6.2 mm
SIGMA = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian in standard deviations
FIXED = (2.5, 4.0)
SHARE = 0.41
LEAK_MM = 20.0  # a contour that goes further beyond the hot spot has leaked into its surroundings
RESOLVED = ("diameter_mm", "volume_ml", "suv", "threshold")


def sphere(spacing_mm, radius_mm=PEAK_RADIUS_MM, parts=7):
    """Weights of the voxels around a voxel's centre that a sphere covers, edges by their share; they add up to 1."""
    step = np.asarray(spacing_mm, float)
    reach = np.ceil(radius_mm / step - 0.5).astype(int)
    lines = [((np.arange((2 * n + 1) * parts) + 0.5) / parts - n - 0.5) * s for n, s in zip(reach, step, strict=True)]
    inside = sum(g**2 for g in np.meshgrid(*lines, indexing="ij", sparse=True)) <= radius_mm**2
    shape = [k for n in reach for k in (2 * n + 1, parts)]
    weights = inside.reshape(shape).mean(axis=(1, 3, 5))
    return weights / weights.sum()


def peak(suv, spacing_mm, where, radius_mm=PEAK_RADIUS_MM):
    """SUVpeak: the highest mean in a sphere of 1 ml whose centre is a voxel of a lesion.

    PERCIST 1.0 (Wahl 2009) and EANM 2.0 (Boellaard 2015): the sphere need not be about the hottest voxel. Voxels at its
    edge count by the share that lies inside. Beyond the image its border goes on.

    Parameters
    ----------
    suv : (d, h, w) float; where : bool of the same shape; radius_mm : of the sphere

    Returns
    -------
    float, (z, y, x) voxel of the centre
    """
    kernel = sphere(spacing_mm, radius_mm)
    box, inner = _around(where, [n // 2 for n in kernel.shape])
    means = ndimage.convolve(np.asarray(suv[box], float), kernel, mode="nearest")
    means = np.where(where[box], means, -np.inf)[inner]
    at = np.unravel_index(np.argmax(means), means.shape)
    return float(means[at]), tuple(int(i + b.start + n.start) for i, b, n in zip(at, box, inner, strict=True))


def _around(mask, margin):
    """Slices of the box of a mask with a margin, and of the box itself within them."""
    if not mask.any():
        raise ValueError("an empty region has no uptake: choose another threshold, or another mask")
    tight = ndimage.find_objects(mask.astype(np.uint8))[0]
    wide = tuple(slice(max(0, t.start - m), min(n, t.stop + m))
                 for t, m, n in zip(tight, margin, mask.shape, strict=True))
    return wide, tuple(slice(t.start - w.start, t.stop - w.start) for t, w in zip(tight, wide, strict=True))


def measures(suv, mask, spacing_mm):
    """SUVmax, SUVmean, SUVpeak, volume and total lesion glycolysis (SUVmean times ml) of one region; a dict."""
    values = np.asarray(suv, float)[mask]
    volume = values.size * np.prod(spacing_mm) / 1000
    return {"suv_max": float(values.max()), "suv_mean": float(values.mean()),
            "suv_peak": peak(suv, spacing_mm, mask)[0], "volume_ml": float(volume),
            "tlg_g": float(values.mean() * volume)}


def delineate(suv, at, threshold):
    """Voxels from the threshold on that hang together with a voxel, bool; empty where that voxel lies below."""
    labels = components.label(np.asarray(suv) >= threshold)
    return labels == labels[at] if labels[at] else np.zeros(np.shape(suv), bool)


def background(suv, mask, spacing_mm, near_mm=8.0, far_mm=20.0, below=np.inf):
    """Median of the shell around a lesion, without voxels from ``below`` on (neighbouring lesions); NaN if empty."""
    margin = np.ceil(far_mm / np.asarray(spacing_mm)).astype(int)
    box, _ = _around(mask, margin)
    away = ndimage.distance_transform_edt(~mask[box], sampling=spacing_mm)
    shell = np.asarray(suv[box])[(away > near_mm) & (away <= far_mm) & (np.asarray(suv[box]) < below)]
    return float(np.median(shell)) if len(shell) else float("nan")


def thresholds(maximum, around):
    """Thresholds of SUV for the metabolic volume of one lesion, by name.

    ``suv_2.5``, ``suv_4.0``: fixed; ``41 %``: of the maximum; ``41 % adapted``: that share of the way from the
    background to the maximum (both EANM 2.0).
    """
    named = {f"suv_{t}": t for t in FIXED} | {"41 %": SHARE * maximum}
    return named | {"41 % adapted": around + SHARE * (maximum - around)}


def methods(fwhm_mm: float = 0.0) -> dict:
    """Columns of `hot_spots` that hold a volume in ml, with the words for their threshold; resolved above 0 mm."""
    named = {"mtv_suv_2.5": "SUV 2.5", "mtv_suv_4.0": "SUV 4.0", "mtv_41 %": "41 %", "mtv_41 % adapted": "41 % adapted"}
    return named | ({"resolved_volume_ml": "resolved"} if fwhm_mm else {})


def profile(radius_mm, at_mm, fwhm_mm):
    """Share of its contrast that a uniform sphere keeps at a distance from its centre under a Gaussian resolution.

    Closed form of the convolution of a ball with a Gaussian of three axes.
    """
    s = fwhm_mm / SIGMA
    r = np.maximum(np.asarray(at_mm, float), 1e-6 * radius_mm)
    edge = special.erf((radius_mm - r) / (np.sqrt(2) * s)) + special.erf((radius_mm + r) / (np.sqrt(2) * s))
    tail = np.exp(-((radius_mm - r) ** 2) / (2 * s**2)) - np.exp(-((radius_mm + r) ** 2) / (2 * s**2))
    return edge / 2 - s / (r * np.sqrt(2 * np.pi)) * tail


def recovery(diameter_mm, fwhm_mm, roi_mm=2 * PEAK_RADIUS_MM):
    """Recovery coefficient: the mean in a concentric ball of diameter ``roi_mm`` as a share of the true contrast.

    Below 1 (partial volume); the default is what SUVpeak keeps. ``roi_mm=0``: the value at the centre.
    """
    if roi_mm == 0:
        return float(profile(diameter_mm / 2, 0, fwhm_mm))
    r = (np.arange(400) + 0.5) / 400 * roi_mm / 2
    return float(np.average(profile(diameter_mm / 2, r, fwhm_mm), weights=r**2))


def resolved(suv, spacing_mm, at, fwhm_mm, around, step_mm=1.0, widest_mm=60.0):
    """Volume and uptake of a round lesion with the resolution of the scanner taken into account.

    The relative threshold at which a blurred ball has its true volume depends on its size: both are found in turn
    (van Dalen, Nucl Med Commun 2007). Uptake from SUVpeak about the same centre and its recovery. A small lesion that
    is no ball, or sits beside another, is not described by this.

    Parameters
    ----------
    suv : (d, h, w); at : voxel (z, y, x) of SUVpeak; fwhm_mm : resolution; around : background SUV
    step_mm : of the grid that the surroundings are interpolated to (cubic); widest_mm : largest diameter looked for

    Returns
    -------
    dict: diameter_mm, volume_ml, suv (partial volume corrected), threshold; NaN where it does not settle.
    """
    nothing = dict.fromkeys(RESOLVED, float("nan"))
    half = widest_mm / 2 + fwhm_mm
    line = np.arange(-half, half + step_mm / 2, step_mm)
    near = tuple(slice(max(0, int(a - half / s - 4)), int(a + half / s + 5))
                 for a, s in zip(at, spacing_mm, strict=True))
    places = [a - n.start + line / s for a, n, s in zip(at, near, spacing_mm, strict=True)]
    fine = ndimage.map_coordinates(np.asarray(suv[near], float), np.meshgrid(*places, indexing="ij"), order=3,
                                   mode="nearest")
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    middle, diameter, centre = tuple(n // 2 for n in fine.shape), fwhm_mm * 3.0, np.zeros(3)
    for _ in range(60):
        away = np.sqrt(((grid - centre) ** 2).sum(-1))
        top = np.average(fine, weights=np.clip(0.5 + (PEAK_RADIUS_MM - away) / step_mm, 0, 1))
        true = around + (top - around) / recovery(diameter, fwhm_mm)
        level = around + (true - around) * profile(diameter / 2, diameter / 2, fwhm_mm)
        inside = delineate(fine, middle, level)
        new = (6 * inside.sum() * step_mm**3 / np.pi) ** (1 / 3)
        if not fwhm_mm / 2 < new < widest_mm or not true > around:
            return nothing
        if abs(new - diameter) < 0.01:
            volume = float(np.pi * new**3 / 6000)
            return {"diameter_mm": float(new), "volume_ml": volume, "suv": float(true), "threshold": float(level)}
        diameter, centre = (diameter + new) / 2, grid[inside].mean(axis=0)
    return nothing


def hot_spots(suv, spacing_mm, threshold, least_ml=0.3, affine=None, fwhm_mm=0.0):
    """Candidates: what hangs together from a threshold on, hottest first, with all measures. Not a diagnosis.

    Parameters
    ----------
    suv : (d, h, w) SUV; threshold : SUV from which a voxel is hot
    least_ml : smaller ones are left out
    affine : (4, 4) index (z, y, x, 1) to LPS mm, or None: mm from the first voxel
    fwhm_mm : resolution; above 0 adds ``resolved_`` columns

    Returns
    -------
    DataFrame, a row per hot spot: spot (1, 2, ...), x_mm, y_mm, z_mm (of SUVpeak), z, y, x (its voxel), suv_max,
    suv_peak, suv_mean and volume_ml (above the threshold), tlg_g (SUVmean times ml, above 41 % adapted), background,
    contrast (SUVmax / background), diameter_mm (longest, above the threshold), ``mtv_...`` (ml at each of `thresholds`;
    NaN where the contour leaks, 20 mm and more beyond the spot, or nothing is above), resolved_*. A contour ends where
    another hot spot is nearer, so that sums over hot spots count no voxel twice.
    """
    labels = components.label(np.asarray(suv) >= threshold)
    found = components.table(labels, spacing_mm)
    found = found[found["volume_ml"] >= least_ml]
    labels = np.where(np.isin(labels, found["component"]), labels, 0)
    margin, rows = np.ceil(45 / np.asarray(spacing_mm)).astype(int), []
    for one in found.itertuples():
        box = tuple(slice(max(0, getattr(one, f"{a}_min") - m), getattr(one, f"{a}_max") + m)
                    for a, m in zip("zyx", margin, strict=True))
        row = _spot(suv[box], spacing_mm, labels[box], one.component, threshold, fwhm_mm, one.diameter_mm)
        rows.append(row | {a: row[a] + b.start for a, b in zip("zyx", box, strict=True)}
                    | {"diameter_mm": one.diameter_mm})
    columns = ["suv_max", "suv_mean", "suv_peak", "volume_ml", "tlg_g", "z", "y", "x", "background", "contrast",
               *(f"mtv_{name}" for name in thresholds(1.0, 0.0)), *(f"resolved_{k}" for k in RESOLVED if fwhm_mm),
               "diameter_mm"]
    table = pd.DataFrame(rows, columns=columns, dtype=None if rows else float)
    table = table.sort_values("suv_max", ascending=False, kind="stable")
    affine = np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]] if affine is None else np.asarray(affine)
    at = table[["z", "y", "x"]].to_numpy(float)
    mm = at @ affine[:3, :3].T + affine[:3, 3]
    for i, name in enumerate(("x_mm", "y_mm", "z_mm")):
        table.insert(i, name, mm[:, i])
    table.insert(0, "spot", np.arange(1, len(table) + 1))
    return table.reset_index(drop=True)


def hottest_in_words(spots: pd.DataFrame) -> str:
    """The hottest of the hot spots of one scan and its place, as a part of a sentence."""
    if not len(spots):
        return "no place"
    one = spots.iloc[0]
    return f"the hottest with SUVmax {one['suv_max']:.1f}, its SUVpeak about x, y, z = " \
           f"{', '.join(f'{v:.0f}' for v in one[['x_mm', 'y_mm', 'z_mm']])} mm"


def kept_contrast(beside: pd.DataFrame, hit: pd.DataFrame) -> dict:
    """Share of the true contrast that each measure keeps: words -> (n,).

    Parameters
    ----------
    beside : hot spots; hit : the known lesions they belong to, in the same order, with suv and background_suv
    """
    around, names = hit["background_suv"].to_numpy(), {"suv_max": "SUVmax", "suv_peak": "SUVpeak", "suv_mean":
                                                       "SUVmean above the threshold", "resolved_suv": "resolved"}
    return {text: (beside[name] - around) / (hit["suv"].to_numpy() - around) for name, text in names.items()
            if name in beside}


def errors(beside: pd.DataFrame, hit: pd.DataFrame, above_mm: float, volumes: dict) -> dict:
    """Errors in % of the truth of the lesions above a diameter, by column of the hot spots.

    Parameters
    ----------
    beside, hit : as in `kept_contrast`; hit also with volume_ml and diameter_mm
    volumes : `methods`

    Returns
    -------
    dict column -> value (median), low, high, n, worst (largest size of an error), name (words)
    """
    large = (hit["diameter_mm"] > above_mm).to_numpy()
    uptakes, found = {"suv_max": "SUVmax", "suv_peak": "SUVpeak", "resolved_suv": "SUV resolved"}, {}
    for name, text in (uptakes | {name: f"MTV {text}" for name, text in volumes.items()}).items():
        if name in beside:
            error = (beside[name] / hit["suv" if name in uptakes else "volume_ml"].to_numpy() - 1)[large]
            found[name] = median_interval(100 * error) | {"worst": 100 * float(error.abs().max()), "name": text}
    return found


def nearest(labels, own, spacing_mm):
    """Voxels that lie nearer to one region of a label map than to all others; at equal distance the lower label's."""
    lower, higher = (labels > 0) & (labels < own), labels > own
    if not (lower.any() or higher.any()):
        return np.ones(labels.shape, bool)
    mine, before, after = (ndimage.distance_transform_edt(~region, sampling=spacing_mm) if region.any() else np.inf
                           for region in (labels == own, lower, higher))
    return (mine < before) & (mine <= after)


def _spot(suv, spacing_mm, labels, own, threshold, fwhm_mm, long_mm):
    mask = labels == own
    row, around = measures(suv, mask, spacing_mm), background(suv, mask, spacing_mm, below=threshold)
    at = peak(suv, spacing_mm, mask)[1]
    inside = np.where(mask, suv, -np.inf)
    hottest = np.unravel_index(np.argmax(inside), inside.shape)
    row |= dict(zip("zyx", at, strict=True)) | {"background": around, "contrast": row["suv_max"] / around}
    row["tlg_g"] = float("nan")
    far = np.ones(mask.shape, bool)
    far[_around(mask, np.ceil(LEAK_MM / np.asarray(spacing_mm)).astype(int))[0]] = False
    near = np.where(nearest(labels, own, spacing_mm), suv, -np.inf)
    for name, level in thresholds(row["suv_max"], around).items():
        inside = delineate(near, hottest, level) if level > around else far
        known = inside.any() and not (inside & far).any()
        row[f"mtv_{name}"] = float(inside.sum() * np.prod(spacing_mm) / 1000) if known else float("nan")
        if name == "41 % adapted" and known:
            row["tlg_g"] = float(np.asarray(suv, float)[inside].sum() * np.prod(spacing_mm) / 1000)
    if fwhm_mm:
        row |= {f"resolved_{k}": v for k, v in resolved(
            suv, spacing_mm, at, fwhm_mm, around, widest_mm=min(100.0, 15 + 1.2 * long_mm)).items()}
    return row
