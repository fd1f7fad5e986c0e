"""Where and how strongly the brain responds: what nilearn's GLM leaves to do for a report.

Clusters with named peaks, laterality, event-locked averages, correlations of places. Maps are nibabel images.
"""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd

from medlab.fmri.mni import MIDLINE_MM, label, transform

COLUMNS = ["cluster", "voxels", "volume_ml", "z", "x_mm", "y_mm", "z_mm", "mni_x", "mni_y", "mni_z", "active_low",
           "side", "region", "region_mm", "network", "network_mm", "tissue"]


NO_BREAK = "\u00a0"


def clusters(z, mask, threshold, native_to_mni, smallest=10, alpha=0.05):
    """Clusters above a threshold, both signs, with their peaks and a bound on how much of each is truly active.

    ``active_low`` is the lower bound, at confidence 1 - alpha for all clusters together, of the share of truly active
    voxels (all-resolution inference, Rosenblatt et al., NeuroImage 2018;181:786; each sign at alpha / 2).

    Parameters
    ----------
    z, mask : nibabel images
    threshold : float, |z| from which voxels form a cluster
    smallest : int, voxels; smaller clusters are left out

    Returns
    -------
    DataFrame: cluster, voxels, volume_ml, z, x_mm, y_mm, z_mm, mni_x, mni_y, mni_z, active_low and the columns of
    `label`; the strongest peak first. Empty where nothing survives.
    """
    from nilearn.glm import cluster_level_inference
    from nilearn.reporting import get_clusters_table

    values, bounds = np.asarray(z.dataobj), {}
    for sign in (s for s in (1, -1) if (s * values > threshold).any()):
        flipped = nib.Nifti1Image((sign * values).astype(np.float32), z.affine)
        bounds[sign] = np.asarray(cluster_level_inference(flipped, mask, [float(threshold)], alpha / 2).dataobj)
    if not bounds:
        return pd.DataFrame(columns=COLUMNS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No clusters found")  # of one sign: a result
        table = get_clusters_table(z, threshold, smallest, two_sided=True)
    size = pd.to_numeric(table["Cluster Size (mm3)"], errors="coerce")  # sub-peaks of a cluster have none
    rows = [_row(z, values, bounds, one, native_to_mni) for _, one in table[size.notna()].iterrows()]
    found = pd.DataFrame(rows, columns=COLUMNS[:-6]).sort_values("z", key=np.abs, ascending=False, ignore_index=True)
    found["cluster"] = np.arange(1, len(found) + 1)
    return pd.concat([found, label(found[["mni_x", "mni_y", "mni_z"]])], axis=1)


def _row(z, values, bounds, peak, native_to_mni):
    """The values of `COLUMNS` before those of `label` for one line of nilearn's table."""
    at, size = peak[["X", "Y", "Z"]].to_numpy(float), float(peak["Cluster Size (mm3)"])
    voxel = tuple(np.round(transform(at, np.linalg.inv(z.affine))[0]).astype(int))
    volume = abs(np.linalg.det(z.affine[:3, :3]))
    return [0, round(size / volume), size / 1000, float(values[voxel]), *at, *transform(at, native_to_mni)[0],
            float(bounds[np.sign(values[voxel])][voxel])]


def shown_clusters(found: dict, most: int = 6) -> pd.DataFrame:
    """The strongest clusters of each contrast for the page: z, places in mm of the run and of MNI, names.

    Parameters
    ----------
    found : dict contrast -> `clusters`, with ``z_model``, the peak before the empirical null was taken out
    """
    best = pd.concat([one.head(most).assign(contrast=name.replace(" ", NO_BREAK)) for name, one in found.items()])
    best = best.set_index("contrast")
    table = best[["cluster", "voxels"]].assign(z=best["z"].astype(float).round(1),
                                               **{"z of the model": best["z_model"].astype(float).round(1)})
    for title, columns in {"run, mm": ["x_mm", "y_mm", "z_mm"], "MNI, mm": ["mni_x", "mni_y", "mni_z"]}.items():
        mm = best[columns].astype(float).round().astype(int).to_numpy()
        table[title] = [f",{NO_BREAK}".join(map(str, point)) for point in mm]
    for name in ("region", "network"):
        table[f"{name} (mm away)"] = [f"{n} ({far:.0f})" for n, far in best[[name, f"{name}_mm"]].to_numpy()]
    return table.assign(side=best["side"].array, tissue=best["tissue"].array,
                        active_low=best["active_low"].astype(float).round(2).array)


def peaks_in_words(name: str, found: pd.DataFrame) -> str:
    """Number of clusters of a contrast, and where its highest and its lowest peak are."""
    said = [f"{name}: {len(found) or 'no'} clusters above the threshold"]
    for p in pd.concat([found[found["z"] > 0].head(1), found[found["z"] < 0].head(1)]).itertuples():
        place = ", ".join(f"{v:.0f}" for v in (p.mni_x, p.mni_y, p.mni_z))
        said.append(f"    {'highest' if p.z > 0 else 'lowest'} z {p.z:.1f} ({p.z_model:.1f} by the model) at MNI "
                    f"({place}), {p.side}, near {p.region} ({p.region_mm:.0f} mm), {p.network} network "
                    f"({p.network_mm:.0f} mm)")
    return "\n".join(said)


def null(z, mask, reach=1.5, rounds=20):
    """Centre and width of the z values where nothing happens, the empirical null (Efron, JASA 2004;99:96).

    A normal distribution cut off at ``reach`` widths around its centre is fitted by maximum likelihood to the voxels
    in there, which few active ones are. Noise that the model does not know (pulse, breathing, what the whole brain
    shares) makes z wider than 1 and moves it from 0. Where a large part of the brain is active it is too wide, so that
    thresholds become stricter.

    Returns
    -------
    centre : float
    width : float, at least 1
    """
    from scipy import optimize, stats

    values = np.asarray(z.dataobj)[np.asarray(mask.dataobj) > 0]
    centre, width = np.median(values), np.subtract(*np.percentile(values, [75, 25])) / 1.349
    for _ in range(rounds):
        low, high = centre - reach * width, centre + reach * width
        middle, before = values[(values > low) & (values < high)], width

        def cost(p, middle=middle, low=low, high=high):
            whole = stats.norm(p[0], np.exp(p[1]))
            return np.log(whole.cdf(high) - whole.cdf(low)) - whole.logpdf(middle).mean()

        centre, width = optimize.minimize(cost, [centre, np.log(width)], method="Nelder-Mead").x
        width = np.exp(width)
        if abs(width - before) < 0.002:
            break
    return float(centre), float(max(1.0, width))


def standardised(z, mask, centre, width):
    """The map (z - centre) / width inside the mask, 0 elsewhere."""
    values = np.where(np.asarray(mask.dataobj) > 0, (np.asarray(z.dataobj) - centre) / width, 0)
    return nib.Nifti1Image(values.astype(np.float32), z.affine)


def keep(z, mask, threshold, smallest):
    """The map where |z| exceeds a threshold in clusters of at least `smallest` voxels (faces touching, each sign)."""
    from scipy import ndimage

    values = np.where(np.asarray(mask.dataobj) > 0, np.asarray(z.dataobj), 0).astype(np.float32)
    out = np.zeros_like(values)
    for above in (values > threshold, values < -threshold):
        labels, _ = ndimage.label(above)
        sizes = np.bincount(labels.ravel())
        good = above & (sizes[labels] >= smallest)
        out[good] = values[good]
    return nib.Nifti1Image(out, z.affine)


def laterality(z, mask, native_to_mni, threshold, centre=None, radius_mm=20.0):
    """Laterality index (left - right) / (left + right) of a map: 1 is all left, -1 all right.

    Counts depend on the threshold; ``average`` does not: it is the mean index of the sums of z over all thresholds
    from 0 that leave at least 10 voxels (AveLI; Matsuo et al., J Neurosci Methods 2012;205:119).

    Parameters
    ----------
    threshold : float, z from which voxels count (one sign: activation)
    centre : (3,) MNI mm, optional
        Only voxels within `radius_mm` of it or of its mirror image.

    Returns
    -------
    dict: index (NaN where no voxel counts), average, left, right (voxels)
    """
    inside = np.asarray(mask.dataobj) > 0
    points = transform(np.argwhere(inside), native_to_mni @ z.affine)
    values = np.asarray(z.dataobj)[inside]
    side = np.where(np.abs(points[:, 0]) > MIDLINE_MM, np.sign(points[:, 0]), 0)
    if centre is not None:
        mirrored = np.c_[np.abs(points[:, 0]), points[:, 1:]] - [abs(centre[0]), centre[1], centre[2]]
        side = np.where(np.linalg.norm(mirrored, axis=1) <= radius_mm, side, 0)
    left, right = (int(((side == s) & (values > threshold)).sum()) for s in (-1, 1))
    index = (left - right) / (left + right) if left + right else np.nan
    kept = np.sort(values[(side != 0) & (values > 0)])
    steps = kept[:-10][:: max(1, len(kept) // 200)]
    sums = [[values[(side == s) & (values >= t)].sum() for s in (-1, 1)] for t in steps]
    average = float(np.mean([(a - b) / (a + b) for a, b in sums])) if sums else np.nan
    return {"index": index, "average": average, "left": left, "right": right}


def sides(z: nib.Nifti1Image, mask: nib.Nifti1Image, native_to_mni: np.ndarray, threshold: float,
          found: pd.DataFrame) -> dict:
    """`laterality` of the whole brain and, where a positive cluster was found, around its highest peak.

    found : `clusters` of this map
    """
    out, up = laterality(z, mask, native_to_mni, threshold), found[found["z"] > 0]
    if len(up):
        centre = up[["mni_x", "mni_y", "mni_z"]].iloc[0].to_numpy(float)
        near = laterality(z, mask, native_to_mni, threshold, centre)
        out |= {"index at peak": near["index"], "average at peak": near["average"]}
    return out


def peak(found: pd.DataFrame) -> pd.Series | None:
    """The highest positive peak of `clusters`, else the strongest; None without any."""
    if not len(found):
        return None
    return found.loc[found["z"].idxmax()] if (found["z"] > 0).any() else found.iloc[0]


def signal_change(maps: dict, place: np.ndarray, height: float, freedom: int) -> dict:
    """Percent signal change of one condition at a place, with the 95 % interval of the model.

    Parameters
    ----------
    maps : nilearn's contrast of the condition, ``output_type="all"``, of a run in % of each voxel's mean
    place : (x, y, z) bool; height : the highest point of the expected response; freedom : degrees of freedom

    Returns
    -------
    dict: value, low, high
    """
    from scipy import stats

    value = height * np.asarray(maps["effect_size"].dataobj)[place].mean()
    # the mean variance, not that of the mean: neighbours are alike, averaging them gains little
    error = height * np.sqrt(np.asarray(maps["effect_variance"].dataobj)[place].mean())
    half = stats.t.ppf(0.975, freedom) * error
    return {"value": value, "low": value - half, "high": value + half}


def responses(signal: np.ndarray, times: np.ndarray, design: pd.DataFrame, blocks: pd.DataFrame,
              conditions: list[str]) -> dict:
    """Event-locked averages in % without a model of the shape, after all but the condition's own response is removed.

    Parameters
    ----------
    signal : (volumes,) of a place; times : (volumes,) s; design : volumes x regressors
    blocks : of `paradigm.trial_blocks`; conditions : those that are looked at

    Returns
    -------
    dict condition -> DataFrame of `event_locked`, from 6 s before to 14 s after the longest block
    """
    columns, window, curves = design.to_numpy(), blocks["duration"].max() + 14, {}
    weight = np.linalg.lstsq(columns, signal, rcond=None)[0]
    for c in conditions:
        other = ~design.columns.isin([c, f"{c}_derivative", f"{c}_dispersion", "constant"])
        percent = 100 * ((signal - columns[:, other] @ weight[other]) / signal.mean() - 1)
        onsets = blocks.loc[blocks["trial_type"] == c, "onset"]
        curves[c] = event_locked(percent, times, onsets, 6, window)
    return curves


def responses_in_words(name: str, curves: dict) -> str:
    """The highest point of each average of `responses` as a sentence."""
    top = {c: f"{one['mean'].max():.2f} % after {one['mean'].idxmax():.0f} s ({one['n'].max()} blocks)"
           if one["n"].max() else "no block with a time before it" for c, one in curves.items()}
    return f"peak of {name}: highest point of the average, " + "; ".join(f"{c} {text}" for c, text in top.items())


def peak_record(peak: pd.Series | None) -> dict:
    """A peak of `clusters` (with ``z_model``) for the result file; empty without one."""
    if peak is None:
        return {}
    mm, in_mni = (peak[list(names)].tolist() for names in (("x_mm", "y_mm", "z_mm"), ("mni_x", "mni_y", "mni_z")))
    found = {"peak_z": peak["z"], "peak_z_model": peak["z_model"], "peak_mm": mm, "peak_mni": in_mni}
    return found | peak["active_low":"network"].to_dict()


def sphere(mask, centre, radius_mm):
    """(x, y, z) bool: voxels of the mask within a radius of a point in mm, at least the nearest one."""
    inside = np.asarray(mask.dataobj) > 0
    voxels = np.argwhere(inside)
    far = np.linalg.norm(transform(voxels, mask.affine) - np.asarray(centre), axis=1)
    out = np.zeros(inside.shape, bool)
    out[tuple(voxels[far <= max(radius_mm, far.min())].T)] = True
    return out


def event_locked(signal, times, onsets, before_s=6.0, after_s=30.0, step_s=1.0):
    """Average of a signal around onsets, above the mean of the time before them.

    Parameters
    ----------
    signal : (n,); times : (n,) s, middle of each volume; onsets : s
    before_s, after_s, step_s : window and its steps (linear interpolation). What lies outside the run is left out, and
        so are onsets without any time of the run before them: n is smaller there.

    Returns
    -------
    DataFrame indexed by time_s: mean, low, high (95 %, t distribution over the onsets), n
    """
    from scipy import stats

    window = np.arange(-before_s, after_s + step_s / 2, step_s)
    parts = [np.interp(window + o, times, signal, left=np.nan, right=np.nan) for o in onsets]
    parts = [part - np.nanmean(part[window < 0]) for part in parts if np.isfinite(part[window < 0]).any()]
    parts = np.reshape(parts, (-1, len(window)))
    n = np.isfinite(parts).sum(axis=0)
    mean = np.nansum(parts, axis=0) / np.where(n > 0, n, np.nan)
    spread = np.sqrt(np.nansum((parts - mean) ** 2, axis=0) / np.where(n > 1, n - 1, np.nan))
    half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * spread / np.sqrt(np.maximum(n, 1))
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "n": n},
                        index=pd.Index(window, name="time_s"))


def region_signals(data, mask, centres, radius_mm, fewest=3):
    """(places, volumes) mean signal of the voxels of the mask within a radius; NaN with fewer than `fewest` voxels."""
    from scipy.spatial import cKDTree

    inside = np.asarray(mask.dataobj) > 0
    tree = cKDTree(transform(np.argwhere(inside), mask.affine))
    values = np.asarray(data)[inside]
    found = tree.query_ball_point(np.atleast_2d(centres), radius_mm)
    empty = np.full(values.shape[1], np.nan)
    return np.stack([values[i].mean(axis=0) if len(i) >= fewest else empty for i in found])


def within_and_between(matrix: np.ndarray, networks: list[str]) -> tuple[float, float]:
    """Mean correlation of places of one network, and of two: means of Fisher's z, turned back."""
    same = np.equal.outer(np.array(networks), np.array(networks))
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    return tuple(float(np.tanh(np.arctanh(matrix[pairs & upper]).mean())) for pairs in (same, ~same))


def without(signals, design):
    """(n, volumes) signals minus what the regressors of a design explain (least squares)."""
    basis = np.linalg.qr(np.asarray(design, float))[0]
    signals = np.asarray(signals, float)
    return signals - (signals @ basis) @ basis.T


def correlation(one, many):
    """Correlation of a signal (volumes,) with many (n, volumes), all of mean 0; 0 for a constant one."""
    size = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.where(size > 0, many @ one / np.where(size > 0, size, 1), 0)
