"""Rigid and affine registration of two images (SimpleITK), and how well it went.

Points are in millimetres (pixels where the spacing is unknown), in array order, (y, x) or (z, y, x), and start at the
centre of the first pixel; the orientation in space is not used. A transform maps a point of the *fixed* image to the
place in the *moving* image that belongs there, as in ITK: resampling asks for each fixed pixel where to look.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

KINDS = ("rigid", "affine")
METRICS = ("mutual information", "correlation", "mean squares")
MOST_SAMPLES = 8_000  # pixels that the metric looks at per step; 20,000 take twice as long for 0.03 pixels less
ITERATIONS = 300


@dataclass
class Registration:
    """Result of `register`.

    matrix: (axes + 1, axes + 1), homogeneous, array order. before, after: metric at the start and at the end, lower is
    better. iterations, stopped: of the finest level, and why it ended.
    """

    kind: str
    matrix: np.ndarray
    before: float
    after: float
    iterations: int
    stopped: str


def register(fixed, moving, spacing_mm=None, moving_spacing_mm=None, kind="rigid", metric="mutual information",
             start=None, angles=(0.0,), seed=0) -> Registration:
    """Find the transform that brings a moving image onto a fixed one.

    Parameters
    ----------
    fixed, moving : (h, w) or (d, h, w) grey values; their sizes may differ
    spacing_mm, moving_spacing_mm : per axis, in array order; None = unknown, a pixel is the unit. The second defaults
        to the first
    kind : str
        ``rigid`` (rotation and shift) or ``affine`` (also scale and shear; begins with ``start``, without one with
        the rigid result, which stays if it cannot be bettered).
    metric : str
        ``mutual information`` (Mattes 2003: images of any kind), ``correlation`` (grey values linearly related),
        ``mean squares`` (same grey values).
    start : (axes + 1, axes + 1) array, optional
        Transform to begin with; default: middle on middle.
    angles : sequence of float
        Rotations in degrees about the middle, in the plane of the last two axes, to begin with; the best result
        counts. A rotation of more than about 20 degrees is found only from a start that is near.
    seed : int
        Of the sampled pixels. With one thread the same seed gives the same transform.

    Returns
    -------
    Registration

    Raises
    ------
    ValueError
        For images that cannot be registered, naming what was found, and where the optimiser fails.
    """
    if kind not in KINDS or metric not in METRICS:
        raise ValueError(f"kind {kind!r}, metric {metric!r}: expected {' or '.join(KINDS)}, and {', '.join(METRICS)}")
    fixed, moving = _image(fixed, spacing_mm), _image(moving, spacing_mm if moving_spacing_mm is None
                                                      else moving_spacing_mm)
    axes = fixed.GetDimension()
    if moving.GetDimension() != axes:
        raise ValueError(f"a fixed image of {axes} axes, a moving one of {moving.GetDimension()}: expected the same")
    form, middles = _rigid if start is None or kind == "rigid" else _affine, np.eye(axes + 1)
    middles[:-1, -1] = _middle(moving) - _middle(fixed)
    first = middles if start is None else np.asarray(start, float)
    turns = [known(_middle(fixed), angle if axes == 2 else (angle, 0, 0)) for angle in angles]
    found = [_run(fixed, moving, form(first @ turn, fixed), metric, seed) for turn in turns]
    transform, before, after, *end = min(found, key=lambda one: one[2])
    if kind == "affine" and start is None:
        more = _run(fixed, moving, _affine(transform, fixed), metric, seed)
        transform, after, *end = (more[0], *more[2:]) if more[2] < after else (transform, after, *end)
    return Registration(kind, _to_matrix(transform, axes), before, after, *end)


def _image(pixels, spacing_mm):
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim not in (2, 3) or min(pixels.shape) < 4:
        raise ValueError(f"an image of shape {pixels.shape}: expected (h, w) or (d, h, w), at least 4 pixels an axis")
    if not np.isfinite(pixels).all() or np.ptp(pixels) == 0:
        raise ValueError("an image with one grey value, or with values that are not finite, cannot be registered")
    image = sitk.GetImageFromArray(pixels)
    if spacing_mm is not None:
        image.SetSpacing([float(s) for s in spacing_mm[::-1]])
    return image


def _middle(image):
    """Middle of an image in array order."""
    return (np.array(image.GetSize()) - 1)[::-1] / 2 * image.GetSpacing()[::-1]


def _to_matrix(transform, axes):
    """Homogeneous matrix in array order of a SimpleITK transform, from where it takes the unit points."""
    origin = np.array(transform.TransformPoint([0.0] * axes))
    columns = [np.array(transform.TransformPoint(e.tolist())) - origin for e in np.eye(axes)]
    matrix = np.eye(axes + 1)
    matrix[:-1, :-1], matrix[:-1, -1] = np.array(columns).T[::-1, ::-1], origin[::-1]
    return matrix


def _affine(given, image):
    """Affine transform about the middle of an image from a matrix or another transform."""
    axes = image.GetDimension()
    matrix = given if isinstance(given, np.ndarray) else _to_matrix(given, axes)
    centre, out = _middle(image), sitk.AffineTransform(axes)
    out.SetCenter(centre[::-1].tolist())
    out.SetMatrix(matrix[:-1, :-1][::-1, ::-1].ravel().tolist())
    out.SetTranslation((matrix[:-1, :-1] @ centre + matrix[:-1, -1] - centre)[::-1].tolist())
    return out


def _rigid(matrix, image):
    """Rigid transform about the middle of an image, nearest to a matrix (its scale and shear are dropped)."""
    u, _, v = np.linalg.svd(matrix[:-1, :-1])
    nearest = matrix.copy()
    nearest[:-1, :-1] = u @ np.diag([1.0] * (len(u) - 1) + [np.linalg.det(u @ v)]) @ v
    middle = np.r_[_middle(image), 1]
    nearest[:-1, -1] += (matrix @ middle - nearest @ middle)[:-1]
    affine = _affine(nearest, image)
    out = sitk.Euler2DTransform() if image.GetDimension() == 2 else sitk.Euler3DTransform()
    out.SetCenter(affine.GetCenter())
    out.SetMatrix(affine.GetMatrix(), 1e-6)
    out.SetTranslation(affine.GetTranslation())
    return out


def _run(fixed, moving, transform, metric, seed):
    """Optimise a transform from coarse to fine: (transform, metric before, after, iterations, reason)."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # sums of several threads differ from run to run
    method = sitk.ImageRegistrationMethod()
    if metric == "mutual information":
        samples = min(MOST_SAMPLES, fixed.GetNumberOfPixels())  # a small picture cannot fill many bins
        method.SetMetricAsMattesMutualInformation(int(np.clip(samples**0.5 / 3.5, 8, 32)))
    elif metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    # first steps of half a pixel; an affine transform would jump out of the good start that the rigid one gave it
    rate = (0.1 if transform.GetName() == "AffineTransform" else 0.5) * min(fixed.GetSpacing())
    method.SetOptimizerAsRegularStepGradientDescent(rate, rate / 1e3, ITERATIONS, 0.6, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    coarse = [n for n in (16, 8, 4, 2, 1) if n == 1 or max(fixed.GetSize()) >= 24 * n]
    shrink = [max(1, min(n, min(fixed.GetSize()) // 8)) for n in coarse]  # a few slices stay what they are
    share = [min(1.0, MOST_SAMPLES * n ** fixed.GetDimension() / fixed.GetNumberOfPixels()) for n in shrink]
    if min(share) < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentagePerLevel(share, seed + 1)  # 0 would be the clock
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([n / 2 * min(fixed.GetSpacing()) if n > 1 else 0 for n in coarse])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, True)
    try:
        before = method.MetricEvaluate(fixed, moving)
        method.Execute(fixed, moving)
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1]
        raise ValueError(f"the registration failed ({said}): do the images overlap at the start? Give a start or "
                         "another metric") from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return (transform, before, method.GetMetricValue(), method.GetOptimizerIteration(),
            method.GetOptimizerStopConditionDescription())


def known(middle, degrees=0.0, shift=0.0, scale=1.0) -> np.ndarray:
    """Matrix that turns and scales about a point and shifts: a transform whose truth is known.

    Parameters
    ----------
    middle : (axes,) in mm or pixels, array order
    degrees : 2-D: one angle; 3-D: three, about the axes z, y, x
    shift : one number or one per axis, in the unit of the points; scale : one number or one per axis
    """
    axes = len(middle)
    inner = np.diag(np.broadcast_to(np.asarray(scale, float), axes))
    for axis, angle in enumerate(np.broadcast_to(np.radians(degrees), 1 if axes == 2 else 3)):
        i, j = (0, 1) if axes == 2 else [(1, 2), (0, 2), (0, 1)][axis]
        turn = np.eye(axes)
        turn[[i, j, i, j], [i, j, j, i]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
        inner = turn @ inner
    matrix = np.eye(axes + 1)
    matrix[:-1, :-1], matrix[:-1, -1] = inner, middle - inner @ np.asarray(middle) + shift
    return matrix


def warp(moving, matrix, shape=None, spacing_mm=None, moving_spacing_mm=None, order=1, fill=None) -> np.ndarray:
    """The moving image (or mask) on the pixels of the fixed one.

    Parameters
    ----------
    moving : (h, w) or (d, h, w) of numbers or bool
    matrix : as `register` gives it; shape, spacing_mm : of the fixed image, default: as the moving one
    order : 0 nearest (masks, always for bool), 1 linear, 3 cubic B-spline
    fill : value where the moving image does not reach; default its smallest, False for bool

    Returns
    -------
    float32 (bool for bool) of ``shape``
    """
    moving = np.asarray(moving)
    mask, shape = moving.dtype == bool, moving.shape if shape is None else tuple(shape)
    source = sitk.GetImageFromArray(moving.astype(np.uint8 if mask else np.float32))
    moving_spacing_mm = spacing_mm if moving_spacing_mm is None else moving_spacing_mm
    if moving_spacing_mm is not None:
        source.SetSpacing([float(s) for s in moving_spacing_mm[::-1]])
    target = sitk.Image([int(n) for n in shape[::-1]], sitk.sitkUInt8)
    if spacing_mm is not None:
        target.SetSpacing([float(s) for s in spacing_mm[::-1]])
    how = sitk.sitkNearestNeighbor if mask or order == 0 else {1: sitk.sitkLinear, 3: sitk.sitkBSpline}[order]
    fill = 0.0 if mask else float(moving.min()) if fill is None else fill
    out = sitk.GetArrayFromImage(sitk.Resample(source, target, _affine(np.asarray(matrix, float), target), how, fill))
    return out.astype(bool) if mask else out


def error(found, truth, shape, spacing_mm=None, mask=None) -> dict[str, float]:
    """How far points land from where they should: target registration error.

    Parameters
    ----------
    found, truth : matrices; shape : of the fixed image; mask : bool of that shape, points looked at (default: a grid of
        up to 11 points along each axis over the whole image)

    Returns
    -------
    dict: mean, p95, maximum, in mm (pixels where the spacing is unknown), n
    """
    step = np.ones(len(shape)) if spacing_mm is None else np.asarray(spacing_mm, float)
    if mask is not None and mask.any():
        at = np.argwhere(mask)
    else:
        lines = [np.unique(np.linspace(0, n - 1, 11).round()) for n in shape]
        at = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, len(shape))
    points = np.c_[at * step, np.ones(len(at))]
    far = np.linalg.norm((points @ (np.asarray(found) - truth).T)[:, :-1], axis=1)
    return {"mean": float(far.mean()), "p95": float(np.percentile(far, 95)), "maximum": float(far.max()), "n": len(far)}


def overlap(a, b) -> float:
    """Dice coefficient of two masks; NaN where both are empty: nothing was there to be met."""
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    return float(2 * (a & b).sum() / (a.sum() + b.sum())) if a.any() or b.any() else float("nan")


def similarity(a, b, inside=None) -> dict[str, float]:
    """Correlation (Pearson), mutual information (bits, 32 bins) and mean absolute difference of two images.

    Parameters
    ----------
    a, b : same shape; inside : bool, pixels that count (where both images reach), default all
    """
    x, y = (np.asarray(part, float)[inside] if inside is not None else np.ravel(part).astype(float) for part in (a, b))
    joint = np.histogram2d(x, y, 32)[0] / max(1, len(x))
    apart = np.outer(joint.sum(1), joint.sum(0))
    some = joint > 0
    with np.errstate(all="ignore"):
        r = float(np.corrcoef(x, y)[0, 1]) if len(x) > 1 else np.nan
    return {"correlation": r, "mutual_information": float((joint[some] * np.log2(joint[some] / apart[some])).sum()),
            "mean_absolute_difference": float(np.abs(x - y).mean()) if len(x) else np.nan}
