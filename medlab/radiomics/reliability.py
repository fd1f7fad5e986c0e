"""Would a second measurement say the same, and do two features say different things?

Images as another reader or scan might give them, agreement of repeated measurements (intraclass correlation) and
redundancy of features (clusters of rank correlation).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import ndimage, stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from medlab.radiomics import features


def noise_sd(image):
    """Standard deviation of the noise of a picture or volume, from second differences within its slices.

    Immerkaer, Computer Vision and Image Understanding 1996, with the median in place of the mean, so that edges count
    for little; 0 in a picture without noise. Empty surroundings and their edges do not count: pixels that are the
    darkest of the image (or the brightest, if there are more of these), as are all around them, and two pixels more.
    """
    mask, image = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]), np.asarray(image, float)
    near = (1,) * (image.ndim - 2) + (3, 3)
    flat = ndimage.maximum_filter(image, near) == ndimage.minimum_filter(image, near)
    empty = max((flat & (image == end) for end in (image.min(), image.max())), key=np.count_nonzero)
    empty = ndimage.binary_dilation(empty, np.ones(near), iterations=2) if empty.any() else empty
    found = np.abs(ndimage.convolve(image, mask.reshape(near)))[~empty]
    return float(np.median(found)) / 0.6745 / 6 if len(found) else 0.0


def perturb(image, mask, how, seed=0):
    """Grey values and mask as another reader or another scan might give them.

    Parameters
    ----------
    how : str
        ``eroded``, ``dilated``: the mask by one pixel within the slices; ``noise``: as much noise again as is there
        (`noise_sd`), which makes it 1.4 times as strong.
    """
    cross = ndimage.generate_binary_structure(2, 1).reshape((1,) * (mask.ndim - 2) + (3, 3))
    if how == "noise":
        return image + np.random.default_rng(seed).normal(0, noise_sd(image), image.shape), mask
    if how not in ("eroded", "dilated"):
        raise ValueError(f"how is {how!r}; expected eroded, dilated or noise")
    return image, (ndimage.binary_erosion if how == "eroded" else ndimage.binary_dilation)(mask, cross)


def icc(values, level=0.95):
    """Intraclass correlation of single measurements, absolute agreement, two-way random: ICC(2,1).

    Parameters
    ----------
    values : (n, k) float
        Rows are patients, columns repeated measurements (other masks, noise); rows with a gap are left out.

    Returns
    -------
    dict: value, low, high, n. 1 is perfect; NaN with fewer than three patients or where all values are the same.

    References
    ----------
    Shrout and Fleiss, Psychol Bull 1979; interval: McGraw and Wong, Psychol Methods 1996, case 2A.
    """
    x = np.asarray(values, float)
    x = x[np.isfinite(x).all(axis=1)]
    n, k = x.shape
    out = {"value": np.nan, "low": np.nan, "high": np.nan, "n": n}
    if n < 3 or k < 2 or np.ptp(x) == 0:
        return out
    x = (x - x.mean()) / x.std()  # features of 1e9 and of 1e-9 alike
    rows, columns = x.mean(1), x.mean(0)
    msr, msc = k * rows.var(ddof=1), n * columns.var(ddof=1)
    mse = ((x - rows[:, None] - columns + x.mean()) ** 2).sum() / ((n - 1) * (k - 1))
    value = (msr - mse) / (msr + (k - 1) * mse + k / n * (msc - mse))
    if not value < 1 - 1e-12:
        return out | {"value": 1.0, "low": 1.0, "high": 1.0}
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    v = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / ((n - 1) * (k - 1)))
    below, above = stats.f.ppf((1 + level) / 2, n - 1, v), stats.f.ppf((1 + level) / 2, v, n - 1)
    rest = k * msc + (k * n - k - n) * mse
    return out | {"value": float(value), "low": float(n * (msr - below * mse) / (below * rest + n * msr)),
                  "high": float(n * (above * msr - mse) / (rest + n * above * msr))}


def icc_table(measurements, level=0.95):
    """`icc` of every feature.

    Parameters
    ----------
    measurements : list of DataFrames of the same patients (index) and features (columns), one per repetition

    Returns
    -------
    DataFrame indexed by feature: value, low, high, n
    """
    names = [name for name in measurements[0] if all(name in one for one in measurements)]
    rows = {name: icc(np.column_stack([one[name] for one in measurements]), level) for name in names}
    return pd.DataFrame(rows, index=["value", "low", "high", "n"]).T


def repeated(rows: pd.DataFrame, measured: Callable, settings: features.Settings, seed: int = 0) -> dict:
    """Features of images measured again: as they are, with other masks, and with noise.

    Parameters
    ----------
    rows : of the cohort; measured : row -> (grey values, region, spacing)

    Returns
    -------
    dict how ("as it is", "eroded", "dilated", "noise") -> DataFrame as `features.table`, indexed like ``rows``
    """
    from tqdm import tqdm

    found = {how: [] for how in ("as it is", "eroded", "dilated", "noise")}
    for number, (_, row) in enumerate(tqdm(rows.iterrows(), "stability", len(rows), unit="image", mininterval=1)):
        image, mask, spacing = measured(row)
        for how, values in found.items():
            changed = (image, mask) if how == "as it is" else perturb(image, mask, how, seed + number)
            one = features.compute(*changed, spacing, settings)
            values.append({features.PREFIX + name: value for name, value in one.items()})
    return {how: pd.DataFrame(values, rows.index) for how, values in found.items()}


def agreement(repeats: dict) -> dict:
    """`icc_table` of the features over other masks, and over noise; without those that have no correlation.

    repeats : as `repeated` gives it, all with the same columns
    """
    pairs = {"region one pixel smaller, larger": ("eroded", "dilated"), "noise added": ("noise",)}
    found = {name: icc_table([repeats[how] for how in ("as it is", *those)]) for name, those in pairs.items()}
    return {name: one.dropna(subset=["value"]) for name, one in found.items()}


def firm(tables: dict, at_least: float) -> set[str]:
    """Features whose lower limit reaches a value in every table of `agreement`."""
    return set.intersection(*(set(one.index[one["low"] >= at_least]) for one in tables.values()))


def stable_in_words(name: str, table: pd.DataFrame, at_least: float, who: str = "patients") -> str:
    """How many features of one table of `agreement` are stable, as a sentence."""
    return (f"{name}: {(table['low'] >= at_least).sum()} of {len(table)} features are stable (lower limit of the ICC "
            f"at least {at_least:g}), n = {int(table['n'].max()) if len(table) else 0} {who}.")


def least_stable(tables: dict, most: int = 10) -> pd.DataFrame:
    """The features with the lowest limit in any of the tables of `agreement`, side by side; empty without features.

    A feature that one of the tables lacks (constant there, or undefined) is judged by the other, its place left empty.
    """
    worst = pd.concat(dict(zip(("region", "noise"), tables.values(), strict=True)), axis=1)
    least = worst[[("region", "low"), ("noise", "low")]].astype(float).min(axis=1)
    worst = worst.loc[least.sort_values().index].head(most).astype(float).round(2)
    return worst.astype({column: "Int64" for column in worst if column[1] == "n"})


def correlations(table):
    """Spearman's rank correlation of the columns that vary, ordered so that alike ones stand together; DataFrame."""
    table = table.loc[:, table.nunique() > 1]
    if table.shape[1] < 2:
        return pd.DataFrame(np.eye(table.shape[1]), table.columns, table.columns)
    rho = table.corr("spearman", min_periods=3).fillna(0.0)
    order = hierarchy.leaves_list(_tree(rho))
    return rho.iloc[order, order]


def _tree(rho):
    apart = np.clip(1 - np.abs(rho.to_numpy()), 0, 1)
    return hierarchy.linkage(squareform(apart * (1 - np.eye(len(apart))), checks=False), "average")


def clusters(rho, at_least=0.9):
    """Groups of features that say nearly the same: mean absolute rank correlation within a group at least this.

    Parameters
    ----------
    rho : as `correlations` gives it

    Returns
    -------
    Series feature -> number of its group, from 1
    """
    if len(rho) < 2:
        return pd.Series(np.arange(1, len(rho) + 1), rho.index, dtype=int)
    return pd.Series(hierarchy.fcluster(_tree(rho), 1 - at_least, "distance"), rho.index, dtype=int)

