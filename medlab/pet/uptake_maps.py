"""Regional uptake against a reference region, a normal cohort, or the other side of the same body.

Maps are (d, h, w) of one grid; `aligned` brings images of several persons onto the grid of one of them. That is what
it says and no more: a rigid or affine transform makes brains of different persons comparable in their large parts, and
bodies hardly at all.
"""

import numpy as np
import pandas as pd
from scipy import ndimage, stats

from medlab.imaging import components, registration, resampling
from medlab.statistics.intervals import percentiles

SMOOTH_MM = 8.0  # full width at half maximum of the smoothing before maps are compared
GRID_MM = 5.0


def ball(shape, spacing_mm, affine, centre_mm, radius_mm):
    """Voxels whose centre lies within a ball about a point x, y, z of LPS (mm); bool of ``shape``."""
    at = np.linalg.solve(affine, [*centre_mm, 1.0])[:3]
    lines = [(np.arange(n) - a) * s for n, a, s in zip(shape, at, spacing_mm, strict=True)]
    return sum(g**2 for g in np.meshgrid(*lines, indexing="ij", sparse=True)) <= radius_mm**2


def smooth(suv, spacing_mm, fwhm_mm=SMOOTH_MM, grid_mm=GRID_MM):
    """Smoothed by a Gaussian of ``fwhm_mm`` and resampled about the same centre to ``grid_mm`` in all axes."""
    soft = ndimage.gaussian_filter(np.asarray(suv, np.float32), fwhm_mm / 2.3548 / np.asarray(spacing_mm))
    return resampling.resample(soft, spacing_mm, grid_mm)


def grid_affine(affine, shape, spacing_mm, grid_mm=GRID_MM):
    """Index of a `smooth` map (z, y, x, 1) to LPS mm from the affine of its image; None stays None."""
    if affine is None:
        return None
    old, new = np.asarray(spacing_mm, float), np.full(3, float(grid_mm))
    count = np.maximum(1, np.round(np.asarray(shape) * old / new))
    first = ((np.asarray(shape) - 1) - (count - 1) * new / old) / 2  # both grids have one centre
    scale = np.diag([*(new / old), 1.0])
    scale[:3, 3] = first
    return np.asarray(affine) @ scale


def aligned(fixed, moving, grid_mm=GRID_MM, kind="rigid", seed=0):
    """A moving map on the grid of a fixed one.

    Returns
    -------
    (d, h, w) float32, NaN where the moving image does not reach; the `registration.Registration`.
    """
    thin = (slice(None, None, 2),) * 3  # every second voxel of smooth maps: eight times faster, first voxel the same
    found = registration.register(fixed[thin], moving[thin], (2 * grid_mm,) * 3, kind=kind, metric="correlation",
                                  seed=seed)
    step = (grid_mm,) * 3
    moved = registration.warp(moving, found.matrix, fixed.shape, step, step, fill=0.0)
    reach = registration.warp(np.ones_like(moving), found.matrix, fixed.shape, step, step, fill=0.0)
    return np.where(reach > 0.999, moved, np.nan), found


def mirrored(suv_map, grid_mm=GRID_MM, seed=0):
    """The map with left and right exchanged, laid over itself rigidly: a body is never exactly in the middle.

    The last axis must run between right and left, as `formats.read` turns it.
    """
    return aligned(suv_map, np.ascontiguousarray(suv_map[..., ::-1]), grid_mm, "rigid", seed)


def asymmetry(suv_map, mirror, floor=0.2):
    """Asymmetry index in percent, 200 (here - there) / (here + there); NaN where neither side reaches the floor.

    +: more uptake here than at the mirrored place.
    """
    high = np.maximum(suv_map, mirror) >= floor
    with np.errstate(all="ignore"):
        return np.where(high, 200 * (suv_map - mirror) / (suv_map + mirror), np.nan)


def robust_z(values):
    """Deviation from the median in robust standard deviations (1.4826 MAD) of the same map; NaN stays NaN.

    Says which places stand out from the rest of one body, not how rare that is among persons.
    """
    off = np.asarray(values, float) - np.nanmedian(values)
    spread = 1.4826 * np.nanmedian(np.abs(off))
    return off / spread if spread > 0 else np.full(off.shape, np.nan)


def z_scores(value, normals):
    """How unusual a map is against those of normal persons, as a z that allows for how few they are.

    The t of Crawford and Howell (Clin Neuropsychol 1998), (x - mean) / (sd sqrt(1 + 1/n)) with n - 1 degrees of
    freedom, turned into the z of the same tail: with 8 normals a plain z of 3 has the tail of 2.2.

    Parameters
    ----------
    value : (...) one person; normals : (n, ...) the others, never that person, n at least 5

    Returns
    -------
    (...) float; NaN where the normals do not vary.
    """
    normals = np.asarray(normals, float)
    n = len(normals)
    if n < 5:
        raise ValueError(f"{n} normal persons: at least 5 are needed for a z-score; use the mirrored side instead")
    spread = normals.std(axis=0, ddof=1) * np.sqrt(1 + 1 / n)
    t = (np.asarray(value, float) - normals.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    return np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), n - 1))


def body(normals):
    """Where all normal maps reach and hold tissue, without the outermost voxel (the skin is where bodies differ)."""
    normals = np.asarray(normals)
    reached = np.isfinite(normals).all(axis=0)
    level = 0.2 * np.nanpercentile(normals, 99)
    return reached & ndimage.binary_erosion(np.nan_to_num(normals).mean(axis=0) > level, np.ones((3, 3, 3)))


def clusters(z, inside, least=4.0, affine=None, grid_mm=GRID_MM, least_ml=1.0):
    """Places where a z map is beyond a threshold on either side.

    Parameters
    ----------
    z : (d, h, w); inside : bool, where the map counts; affine : of the map, index (z, y, x, 1) to LPS mm, or None

    Returns
    -------
    DataFrame: sign ("more", "less"), volume_ml, peak_z, x_mm, y_mm, z_mm and z, y, x (voxel) of the peak, by volume.
    """
    affine = np.diag([grid_mm, grid_mm, grid_mm, 1.0])[[2, 1, 0, 3]] if affine is None else np.asarray(affine)
    rows = []
    for sign, name in ((1, "more"), (-1, "less")):
        hot = np.where(inside & np.isfinite(z), sign * z, 0) >= least
        labels = components.label(hot)
        found = components.table(labels, (grid_mm,) * 3, diameters=False)
        for k in found.loc[found["volume_ml"] >= least_ml, "component"]:
            at = np.unravel_index(np.argmax(np.where(labels == k, sign * z, -np.inf)), z.shape)
            rows.append({"sign": name, "volume_ml": float((labels == k).sum() * grid_mm**3 / 1000),
                         "peak_z": float(z[at])} | dict(zip(("x_mm", "y_mm", "z_mm"), affine[:3] @ [*at, 1.0],
                                                            strict=True)) | dict(zip("zyx", map(int, at), strict=True)))
    table = pd.DataFrame(rows, columns=["sign", "volume_ml", "peak_z", "x_mm", "y_mm", "z_mm", "z", "y", "x"])
    return table.sort_values("volume_ml", ascending=False, kind="stable").reset_index(drop=True)


def repeatability(first, second, patients, n_bootstrap=2000, seed=0):
    """Repeatability of a size above 0 from two scans of the same lesions.

    Within-subject coefficient of variation from the logarithms, and the limits beyond which 95 % of the repeats do not
    differ without a change (Bland and Altman 1996; FDG-PET: Kurland, Clin Cancer Res 2019, gives wCV of 10 to 12 %).

    Returns
    -------
    dict: wcv, wcv_low, wcv_high (share; patient bootstrap, NaN below 3 patients), limit_low, limit_high (relative
    change), bias (relative), n (pairs), n_patients
    """
    d = np.log(np.asarray(second, float) / np.asarray(first, float))
    who = pd.factorize(np.asarray(patients))[0]
    m = int(who.max(initial=-1)) + 1
    if not len(d):
        return {"n": 0, "n_patients": 0}
    within = np.sqrt((d**2).mean() / 2)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(m, np.full(m, 1 / m), n_bootstrap)[:, who] if m >= 3 else None
    draws = np.sqrt(weights @ d**2 / np.maximum(weights.sum(1), 1) / 2) if m >= 3 else np.array([np.nan])
    low, high = percentiles(draws)
    return {"wcv": float(np.expm1(within)), "wcv_low": float(np.expm1(low)), "wcv_high": float(np.expm1(high)),
            "limit_low": float(np.expm1(-1.96 * np.sqrt(2) * within)), "bias": float(np.expm1(d.mean())),
            "limit_high": float(np.expm1(1.96 * np.sqrt(2) * within)), "n": len(d), "n_patients": m}


def repeatability_in_words(one: dict) -> str:
    """The result of `repeatability` as a sentence."""
    interval = f"95 % interval, patients resampled: {100 * one['wcv_low']:.1f} to {100 * one['wcv_high']:.1f}" \
        if one["n_patients"] >= 3 else "no interval below 3 patients"
    return (f"SUVpeak, {one['n']} hot spots of {one['n_patients']} patients scanned twice: it varies by "
            f"{100 * one['wcv']:.1f} % ({interval}); 95 % of repeats within "
            f"{100 * one['limit_low']:+.0f} to {100 * one['limit_high']:+.0f} %.")
