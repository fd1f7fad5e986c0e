"""Head motion during a BOLD run: rigid realignment (SimpleITK), displacement, and quality of the time series.

Parameters say where the head *moved*: translations in mm to the right, forward, up (RAS), rotations in degrees about
these three axes (right-hand rule) through the middle of the volume; the tissue that lies at x in the reference volume
lies at R (x - c) + c + t in the moved one.
"""

from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk

from medlab.fmri import bold

PARAMETERS = ("right_mm", "forward_mm", "up_mm", "pitch_deg", "roll_deg", "yaw_deg")
HEAD_RADIUS_MM = 50.0  # Power et al. 2012: rotations as arcs on a sphere of this radius
SMOOTHING_MM = 2.0  # sigma, of what the metric compares, so that noise does not pull at the voxel grid
SAMPLED = 0.25  # share of the voxels that the metric looks at
FLIP = np.diag([-1.0, -1.0, 1.0])  # RAS to LPS, which ITK uses


def to_itk(values, affine):
    """SimpleITK image of an (x, y, z) array with its RAS affine."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(values, np.float32).T))
    lps = FLIP @ affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps / spacing).ravel().tolist())
    image.SetOrigin((FLIP @ affine[:3, 3]).tolist())
    return image


def from_itk(image):
    """(x, y, z) array of a SimpleITK image."""
    return sitk.GetArrayFromImage(image).T


def without_first(run: bold.Run, drop: int = 0) -> nib.Nifti1Image:
    """The image of a run without so many volumes at its start; ValueError where too few stay for a model."""
    most = run.n_volumes - bold.FEWEST_VOLUMES
    if not 0 <= drop <= most:
        raise ValueError(f"fmri_drop_volumes {drop}: expected 0 to {most}, so that {bold.FEWEST_VOLUMES} of the "
                         f"{run.n_volumes} volumes stay for the model")
    return run.image.slicer[..., drop:]


def realign(image, reference=None, mask=None, threads=2, progress=None):
    """Bring all volumes of a run onto a reference volume by rigid transforms.

    The metric is the mean of squared differences inside the mask; resampling is by cubic B-splines, once.

    Parameters
    ----------
    image : nibabel image (x, y, z, t)
    reference : int, optional
        Index of the reference volume; default the middle one.
    mask : (x, y, z) bool, optional
        Voxels compared (the brain, a little dilated); default all.
    threads : int
        Volumes are independent of each other: the result does not depend on it.
    progress : callable, optional
        Called with a text now and then.

    Returns
    -------
    realigned : nibabel image, float32, of the same size; 0 where a volume does not reach
    parameters : DataFrame, one row per volume, `PARAMETERS`, relative to the reference
    seen : (x, y, z) bool, voxels that lie inside the field of view in every volume
    """
    data, affine = np.asarray(image.dataobj), image.affine
    n = data.shape[3]
    reference = n // 2 if reference is None else reference
    if not 0 <= reference < n:
        raise ValueError(f"reference volume {reference}: expected 0 to {n - 1}")
    if mask is not None and np.count_nonzero(mask) < 500:
        raise ValueError(f"a brain mask of {np.count_nonzero(mask)} voxels cannot guide the realignment; expected "
                         "500 or more: is the volume empty, or not of a head?")
    grid = to_itk(data[..., reference], affine)
    fixed, inside = _smooth(grid), None if mask is None else sitk.Cast(to_itk(mask, affine), sitk.sitkUInt8)
    ones = to_itk(np.ones(data.shape[:3]), affine)
    out, seen, found = np.zeros(data.shape, np.float32), np.ones(data.shape[:3], bool), []

    def one(t):
        volume = to_itk(data[..., t], affine)
        transform = _register(fixed, _smooth(volume), inside)
        out[..., t] = from_itk(sitk.Resample(volume, grid, transform, sitk.sitkBSpline, 0.0))
        return transform, from_itk(sitk.Resample(ones, grid, transform, sitk.sitkLinear, 0.0)) > 0.99

    with ThreadPoolExecutor(threads) as pool:
        for t, (transform, covered) in enumerate(pool.map(one, range(n))):
            found.append(_parameters(transform))
            seen &= covered
            if progress and t % 50 == 49:
                progress(f"motion: {t + 1} of {n} volumes realigned")
    return nib.Nifti1Image(out, affine), pd.DataFrame(found, columns=PARAMETERS), seen


def _smooth(image):
    return sitk.SmoothingRecursiveGaussian(image, SMOOTHING_MM)


def _register(fixed, moving, mask):
    """Rigid transform from points of the fixed to points of the moving volume, about the middle of the fixed one."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(s - 1) / 2 for s in fixed.GetSize()]))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(0.3, 2e-4, 100, 0.6, 1e-8)
    method.SetOptimizerScales([HEAD_RADIUS_MM**2] * 3 + [1.0] * 3)  # a radian moves the brain's surface by the radius
    method.SetNumberOfThreads(1)
    method.SetInitialTransform(transform, True)
    method.Execute(fixed, moving)
    return transform


def _parameters(transform):
    """Six parameters in RAS: the flip of two axes turns the signs of their shifts and rotations."""
    rotation = FLIP @ np.reshape(transform.GetMatrix(), (3, 3)) @ FLIP
    shift = FLIP @ np.array(transform.GetTranslation())
    return [*shift, *np.degrees(angles(rotation))]


def angles(rotation):
    """Angles (radians) about x, y, z of R = Rz Ry Rx."""
    pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.array([pitch, -np.arcsin(np.clip(rotation[2, 0], -1, 1)), yaw])


def rotation(pitch, roll, yaw):
    """R = Rz Ry Rx of angles in degrees; inverse of `angles`."""
    (a, b, c), (d, e, f) = np.cos(np.radians([pitch, roll, yaw])), np.sin(np.radians([pitch, roll, yaw]))
    about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
    about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
    return np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]]) @ about_y @ about_x


def framewise_displacement(parameters, radius_mm=HEAD_RADIUS_MM):
    """Displacement from each volume to the next in mm; the first is 0.

    Power et al., NeuroImage 2012;59:2142-2154: the sum of the absolute changes of the three translations and of the
    three rotations, these as arcs on a sphere.

    Parameters
    ----------
    parameters : DataFrame of `realign`

    Returns
    -------
    (n,) array
    """
    steps = np.abs(np.diff(parameters[list(PARAMETERS)].to_numpy(float), axis=0))
    return np.r_[0.0, steps[:, :3].sum(axis=1) + np.radians(steps[:, 3:]).sum(axis=1) * radius_mm]


def in_words(parameters: pd.DataFrame, displacement: np.ndarray, tr_s: float, limit_mm: float) -> str:
    """How much the head moved, as two sentences; displacement : of `framewise_displacement`, limit_mm : of outliers."""
    span = parameters.max() - parameters.min()
    return (f"Frame-wise displacement: mean {displacement.mean():.2f} mm, largest {displacement.max():.2f} mm at "
            f"{displacement.argmax() * tr_s:.0f} s; {np.mean(displacement > limit_mm):.1%} of the volumes above "
            f"{limit_mm:g} mm. The head stayed within {span.iloc[:3].max():.1f} mm and {span.iloc[3:].max():.1f} "
            "degrees.")


def motion_regressors(parameters, model=6):
    """Regressors of motion: the 6 parameters, 12 with their changes, 24 with the squares of both (Friston 1996).

    Each is centred and scaled to unit deviation; constant ones are left out.
    """
    if model not in (0, 6, 12, 24):
        raise ValueError(f"fmri_motion_regressors {model}: expected 0, 6, 12 or 24")
    table = parameters[list(PARAMETERS)] if model else parameters[[]]
    if model > 6:
        before = table.shift(1).bfill() if model == 24 else None
        change = before if model == 24 else table.diff().fillna(0.0)
        table = pd.concat([table, change.add_suffix("_before" if model == 24 else "_change")], axis=1)
    if model == 24:
        table = pd.concat([table, (table**2).add_suffix("_squared")], axis=1)
    table = table.loc[:, table.std() > 1e-9]
    return (table - table.mean()) / table.std()


def dvars(data, mask):
    """Root mean square over the brain of the change from the volume before, in % of the mean signal; the first is 0.

    Power et al. 2012 (there in 0.1 % of the mode).

    Parameters
    ----------
    data : (x, y, z, t); mask : (x, y, z) bool
    """
    series = np.asarray(data)[mask].astype(np.float32)
    change = np.diff(series, axis=1)
    return np.r_[0.0, 100 * np.sqrt((change**2).mean(axis=0)) / series.mean()]


def tsnr(data, mask, degree=2):
    """Temporal signal-to-noise ratio: mean over standard deviation after a polynomial trend, (x, y, z), 0 outside."""
    series = np.asarray(data)[mask].astype(np.float32).T
    basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(series)), degree).astype(np.float32)
    rest = series - basis @ np.linalg.lstsq(basis, series, rcond=None)[0]
    spread = rest.std(axis=0, ddof=degree + 1)
    out = np.zeros(mask.shape, np.float32)
    level = np.maximum(series.mean(axis=0), 0)  # cubic splines undershoot at the edge of the head
    out[mask] = np.where(spread > 0, level / np.where(spread > 0, spread, 1), 0)
    return out


def outliers(displacement, change, displacement_mm=0.5):
    """Volumes that moved or changed too much.

    Parameters
    ----------
    displacement : (n,) mm, of `framewise_displacement`
    change : (n,) of `dvars`; too much is above the upper fence of a box plot (third quartile + 1.5 ranges)
    displacement_mm : float

    Returns
    -------
    DataFrame: moved, changed (bool), one row per volume
    """
    low, high = np.percentile(change[1:], [25, 75])
    return pd.DataFrame({"moved": displacement > displacement_mm, "changed": change > high + 1.5 * (high - low)})


def volume_regressors(outlier: np.ndarray) -> pd.DataFrame:
    """One regressor per outlier volume, 1 there and 0 elsewhere: it takes the volume out of the model (scrubbing)."""
    return pd.DataFrame({f"volume_{t}": np.eye(len(outlier))[t] for t in np.flatnonzero(outlier)},
                        index=range(len(outlier)))


def unsteady(global_signal, most=10):
    """Volumes at the start before the magnetisation is steady: brighter than the rest by 4 robust deviations."""
    rest = global_signal[most:]
    spread = 1.4826 * np.median(np.abs(rest - np.median(rest)))
    bright = global_signal[:most] > np.median(rest) + max(4 * spread, 0.005 * np.median(rest))
    return int(np.argmin(np.r_[bright, False]))
