"""Radiomics: numbers measured in the marked region of an image, by the definitions of IBSI.

Image Biomarker Standardisation Initiative: Zwanenburg et al., reference manual arXiv 1612.07003; Radiology 2020. Order
of the steps as there: grey values, resampling (linear, the middles of old and new grid meet), rounding of HU,
re-segmentation, discretisation. Implemented: intensity statistics, what the intensity histogram adds, shape (without
oriented boxes, minimal ellipsoids, Moran and Geary), co-occurrence. Not: run, zone, distance and tone matrices, local
peaks, intensity-volume histograms, filters.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from scipy import ndimage

from medlab.cohorts import cards, datasets
from medlab.imaging import components
from medlab.radiomics import first_order, shapes, textures

PREFIX = "radiomics_"
FAMILIES = {"stat": first_order.STATISTICS, "ih": first_order.HISTOGRAM, "morph": shapes.CODES,
            "glcm": textures.CODES}
PROBLEMS = ("no mask", "empty mask", "unreadable", "size of the mask differs", "nothing left of the mask")


@dataclass(frozen=True)
class Settings:
    """How grey values are brought to a form in which features can be compared; part of every result.

    spacing_mm: voxels are resampled to this width along all axes, None = as stored. low, high: voxels outside are left
    out of everything but the shape (re-segmentation). outliers: so are those further from the mean than this many
    standard deviations; 0 none. bin_width or n_bins: discretisation; bins of a width begin at ``low``, else at the
    region's minimum. distance: of neighbours, voxels. merge: one co-occurrence matrix of all
    directions, or the mean over the directions. whole: grey values are rounded to whole numbers (HU). channel: the one
    that is measured, counted from 0; None the mean of all. largest: of a region of several parts only the largest is
    measured (shape and texture of two lesions together say nothing about either).
    """

    spacing_mm: float | None = None
    low: float | None = None
    high: float | None = None
    outliers: float = 0.0
    bin_width: float | None = None
    n_bins: int | None = 32
    distance: int = 1
    merge: bool = True
    whole: bool = False
    channel: int | None = None
    largest: bool = False


def resample(image, mask, spacing_mm, new_mm) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and mask on voxels of a new width, cut to the region; IBSI's grid.

    The grid has ceil(n * old / new) voxels along each axis and the same middle; linear interpolation, the value at the
    border continued; a voxel belongs to the region from a half on. Of a region that fills no voxel by half those stay
    that it fills most: a small lesion is not the same as none.

    Returns
    -------
    image float, mask bool; of the region with a margin of one voxel
    """
    old, size = np.asarray(spacing_mm, float), np.array(mask.shape)
    step, n = new_mm / old, np.ceil(np.round(size * old / new_mm, 6)).astype(int)
    first = (size - 1) / 2 - (n - 1) / 2 * step
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    begin = [max(0, int(np.floor((line.start - 1 - f) / s)) - 1) for line, f, s in zip(box, first, step, strict=True)]
    end = [min(m, int(np.ceil((line.stop - f) / s)) + 2) for line, f, s, m in zip(box, first, step, n, strict=True)]
    options = dict(matrix=step, offset=first + np.array(begin) * step, output_shape=tuple(np.subtract(end, begin)),
                   order=1, mode="nearest")
    cover = ndimage.affine_transform(mask.astype(np.float64), **options)
    return ndimage.affine_transform(np.asarray(image, np.float64), **options), (
        cover >= min(0.5, cover.max()) - 1e-6) & (cover > 0)


def intensity_mask(image, mask, settings) -> np.ndarray:
    """Voxels of the region whose grey value counts (re-segmentation by range, then by outliers)."""
    kept = mask & np.isfinite(image)
    if settings.low is not None:
        kept &= image >= settings.low
    if settings.high is not None:
        kept &= image <= settings.high
    if settings.outliers and kept.any():
        mean, sd = image[kept].mean(), image[kept].std()
        kept &= np.abs(image - mean) <= settings.outliers * sd
    return kept


def compute(image, mask, spacing_mm=None, settings=None) -> dict[str, float]:
    """All features of one region.

    Parameters
    ----------
    image : (h, w) or (d, h, w) grey values
    mask : bool of the same shape
    spacing_mm : per axis, in array order; None = unknown: lengths are then in pixels, and nothing is resampled
    settings : Settings

    Returns
    -------
    dict of float: ``stat_*``, ``ih_*``, ``morph_*`` (with units in the name), ``glcm_*``. Empty where the mask is empty
    or vanishes in the resampling.
    """
    settings, mask = settings or Settings(), np.asarray(mask, bool)
    image = np.asarray(image, np.float64)
    if image.shape != mask.shape or mask.ndim not in (2, 3):
        raise ValueError(f"grey values of shape {image.shape}, a mask of shape {mask.shape}: expected the same shape, "
                         "with 2 or 3 axes")
    if not mask.any():
        return {}
    image = np.rint(image) if settings.whole else image
    if settings.spacing_mm and spacing_mm is not None:
        image, mask = resample(image, mask, spacing_mm, settings.spacing_mm)
        image, spacing_mm = np.rint(image) if settings.whole else image, (settings.spacing_mm,) * mask.ndim
        if not mask.any():
            return {}
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    image, mask = image[box], components.largest(mask[box]) if settings.largest else mask[box]
    kept = intensity_mask(image, mask, settings)
    levels = np.zeros(mask.shape, int)
    levels[kept] = textures.discretise(image[kept], settings.bin_width, settings.n_bins, settings.low)
    parts = {"stat": first_order.statistics(image[kept]), "ih": first_order.histogram(levels[kept]),
             "morph": shapes.shape(mask, spacing_mm, image, kept),
             "glcm": textures.glcm(levels, settings.distance, settings.merge)}
    return {f"{family}_{name}": value for family, found in parts.items() for name, value in found.items()}


def settings_for(dataset, rows) -> Settings:
    """Settings that suit a cohort; written beside the features.

    HU: bins of 25 HU from -1000 on, lower values left out. Other units: 32 bins between minimum and maximum of
    each region. Texture can only be compared between voxels of one size: where the rows' spacings (column
    ``spacing_mm``) are all known and differ by more than 2 %, between images or between axes, voxels are resampled to
    the median over the images of the geometric mean of their widths. Of a region of several parts the largest counts.
    """
    hu = dataset.card.get("intensity") == "HU"
    spacing, known = None, rows["spacing_mm"].dropna() if "spacing_mm" in rows else []
    if len(rows) and len(known) == len(rows):
        widths = [np.array(cards.spacing(value)) for value in known]
        if max(w.max() for w in widths) > 1.02 * min(w.min() for w in widths):
            spacing = float(f"{np.median([np.exp(np.log(w).mean()) for w in widths]):.2g}")
    bins = dict(low=-1000.0, bin_width=25.0, n_bins=None, whole=True) if hu else {}
    return Settings(spacing, largest=True, **bins)


def with_choices(settings: Settings, spacing_mm: float = -1.0, bin_width: float = 0.0, n_bins: int = 32,
                 channel: int = -1) -> Settings:
    """Settings with the choices of the parameters instead of what suits the cohort.

    Parameters
    ----------
    spacing_mm : voxels, mm; 0 as stored, -1 what suits the cohort
    bin_width : 0 what suits the cohort; n_bins : where the bins have no width; channel : -1 the mean of all
    """
    if spacing_mm >= 0:
        settings = replace(settings, spacing_mm=spacing_mm or None)
    if bin_width > 0:
        settings = replace(settings, bin_width=bin_width, n_bins=None)
    elif not settings.bin_width:
        settings = replace(settings, n_bins=n_bins)
    return replace(settings, channel=None if channel < 0 else channel)


def settings_table(settings: Settings, unit: str) -> pd.DataFrame:
    """The settings in words for the page; unit : of the grey values."""
    words = {"width of the voxels, mm": settings.spacing_mm or "as stored",
             f"left out below, {unit}": "nothing" if settings.low is None else settings.low,
             "grey levels of texture": f"{settings.bin_width:g} {unit} each" if settings.bin_width else
             f"{settings.n_bins} over the values of each region",
             "neighbours of texture": f"{settings.distance} voxel away, one matrix of all directions",
             "grey values": "rounded to whole numbers" if settings.whole else "as they are",
             "channel": "mean of all" if settings.channel is None else settings.channel,
             "of a region of several parts": "the largest" if settings.largest else "all"}
    return pd.Series(words, name="setting").to_frame()


def region_of(dataset: datasets.Dataset, rows: pd.DataFrame, label: str | None = None) -> tuple[str, Callable | None]:
    """What is measured, in words, and the function that makes a region where there are no masks (`read`), else None.

    Parameters
    ----------
    rows : of the run; label : class of the masks or boxes; None all
    """
    if "mask" in rows and rows["mask"].notna().any():
        return "mask", None
    if dataset.boxes is not None:
        return ("inside the boxes, rectangles: their shape is not that of a lesion", inside_boxes(dataset, label))
    return "largest bright part (Otsu), a stand-in: nobody has drawn a mask", bright_region


def read(dataset, row, settings=None, mask_class=None, without_mask=None) -> tuple | str:
    """Grey values, mask and spacing of a cohort row; the mask within ``valid_mask``.

    Parameters
    ----------
    mask_class : name of one class of the masks; None = everything marked
    without_mask : function of grey values and row that makes a mask, as `inside_boxes` and `bright_region`; the stored
        masks are not read

    Returns
    -------
    (image, mask, spacing_mm), or the problem as text: one of `PROBLEMS`
    """
    from medlab.imaging import dicom

    if not isinstance(row.get("image"), str) or not (without_mask or isinstance(row.get("mask"), str)):
        return PROBLEMS[0]
    names, channel = datasets.mask_classes(dataset), (settings or Settings()).channel
    if mask_class is not None and not without_mask and mask_class not in names:
        raise ValueError(f"mask class {mask_class!r}: expected one of {', '.join(names)}")
    try:
        image, valid = datasets.read(dataset, row), datasets.read_valid(dataset, row)
        labels = None if without_mask else datasets.read_labels(dataset, row)
    except dicom.BadImage:
        return PROBLEMS[2]
    if channel is not None and not 0 <= channel < image.pixels.shape[-1]:
        raise ValueError(f"channel {channel} of {row['image']}: it has {image.pixels.shape[-1]}, counted from 0")
    grey = image.pixels.mean(axis=-1, dtype=np.float64) if channel is None else image.pixels[..., channel].astype(float)
    if without_mask:
        mask = without_mask(grey, row)
    else:
        mask = labels > 0 if mask_class is None else labels == names.index(mask_class) + 1
    mask = mask & valid if valid is not None and valid.shape == mask.shape else mask
    if grey.shape != mask.shape:
        return PROBLEMS[3]
    return (grey, mask, image.spacing_mm) if mask.any() else PROBLEMS[1]


def inside_boxes(dataset, label=None) -> Callable:
    """A function for `read`: what lies inside the boxes of an image (of one label), where there are no masks.

    Rectangles hold their lesion and some of its surroundings: their shape is not its shape.
    """
    boxes = dataset.boxes
    if label is not None:
        boxes = boxes[boxes["label"].eq(label)]
        if not len(boxes):
            raise ValueError(f"no box with the label {label!r}: expected one of {sorted(set(dataset.boxes['label']))}")
    keys = [key for key in ("image", "frame") if key in boxes and key in dataset.cohort]

    def mask(grey, row):
        inside = np.zeros(grey.shape, bool)
        for box in boxes[(boxes[keys] == row[keys]).all(axis=1)].to_dict("records"):
            edges = [(box.get(f"{axis}_min", 0), box.get(f"{axis}_max", n)) for axis, n in
                     zip(components.AXES[grey.ndim], grey.shape, strict=True)]
            inside[tuple(slice(max(0, int(np.floor(low))), int(np.ceil(high))) for low, high in edges)] = True
        return inside

    return mask


def bright_region(image, row=None) -> np.ndarray:
    """Where nobody has marked anything: the largest connected part above Otsu's threshold, opened by one pixel."""
    from skimage.filters import threshold_otsu

    image = np.asarray(image, float)
    if not np.isfinite(image).all() or np.ptp(image) == 0:
        return np.zeros(image.shape, bool)
    above = image > threshold_otsu(image)
    opened = ndimage.binary_opening(above)
    return components.largest(opened if opened.any() else above)


def table(dataset, rows, settings=None, progress=True, mask_class=None, without_mask=None) -> pd.DataFrame:
    """Features of many rows, one image in memory at a time.

    Parameters
    ----------
    rows : DataFrame of cohort rows (of `datasets.Dataset.cohort` or of ``cohort.parquet``)
    settings : Settings; default: `settings_for` the rows
    mask_class, without_mask : see `read`

    Returns
    -------
    DataFrame
        Index as ``rows``, columns ``radiomics_*``; NaN where there is no region. ``attrs["problems"]`` counts why,
        ``attrs["settings"]`` says how.
    """
    from tqdm import tqdm

    settings, found, problems = settings or settings_for(dataset, rows), [], dict.fromkeys(PROBLEMS, 0)
    for _, row in tqdm(rows.iterrows(), "features", len(rows), unit="image", mininterval=1, disable=not progress):
        one = read(dataset, row, settings, mask_class, without_mask)
        one = one if isinstance(one, str) else compute(*one, settings) or PROBLEMS[4]
        if isinstance(one, str):
            problems[one] += 1
        found.append({} if isinstance(one, str) else {PREFIX + name: value for name, value in one.items()})
    out = pd.DataFrame(found, index=rows.index, dtype=float)
    out.attrs = {"problems": {k: n for k, n in problems.items() if n}, "settings": asdict(settings)}
    return out
