"""Classical baselines of a segmentation: what a grey-level threshold reaches without any learning.

Both read prepared uint8 images one after the other (a memory map will do) and keep 256 counts per image. What is chosen
is chosen on the images given, so give those of the training part: the channel, whether the wanted pixels are bright or
dark, and for `fixed_threshold` the grey level. The criterion is the mean over patients of the Dice of all pixels of the
patient together.
"""

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from medlab.imaging import geometry

POLARITIES = ("bright", "dark")
NAMES = {"otsu": "Otsu", "threshold": "fixed threshold"}


def fit(images, labels, classes: list, patients, rows, method: str = "auto", ignore: int | None = None) -> dict:
    """The baseline of each class, chosen on the images of the training part.

    Parameters
    ----------
    images, patients, rows, ignore : as `otsu`; labels : sequence of label maps, 1.. `classes`
    method : ``otsu``, ``threshold`` (one grey level for all images), or ``auto``: Otsu of pictures, whose grey levels
        vary, and a fixed threshold of volumes

    Returns
    -------
    dict class -> result of `otsu` or `fixed_threshold`
    """
    method = {"auto": "otsu" if images.ndim == 4 else "threshold"}.get(method, method)
    if method not in NAMES:
        raise ValueError(f"segmentation_baseline {method!r} is unknown; expected auto, {' or '.join(NAMES)}")
    choose = otsu if method == "otsu" else fixed_threshold
    return {name: choose(images, labels, None, patients, rows=rows, value=k, ignore=ignore)
            for k, name in enumerate(classes, 1)}


def draw(image, fitted: dict, where, valid=None) -> np.ndarray:
    """What the baselines of all classes find, at the original pixels: (K, ...) bool; classes may overlap.

    Parameters
    ----------
    image, valid : as `segment`; fitted : of `fit`; where : (axes, 4) geometry of the image
    """
    return np.stack([geometry.restore(segment(image, one, valid), where) for one in fitted.values()])


def written(fitted: dict) -> pd.DataFrame:
    """What `fit` chose, as a table of text with a column per class."""
    table = pd.DataFrame(fitted).drop(index="method").rename(
        index={"dice": "Dice on train", "n": "images", "n_patients": "patients"})
    return table.map(lambda v: f"{v:.3g}" if isinstance(v, float) else v)


def otsu(images, masks, valid=None, patients=None, *, rows=None, value=None, ignore=None):
    """Otsu's threshold of each image (or volume); the channel and the polarity are chosen.

    Parameters
    ----------
    images : sequence of (h, w, c) or (d, h, w, c) uint8; masks : sequence of (h, w) or (d, h, w), above 0 is wanted
    valid : sequence of bool arrays or None, per image: the field of view; None = everywhere
    patients : one for each row, or None = each image is its own
    rows : positions of the images to use; None = all
    value : of a label map only this class is wanted; ignore : pixels with this value are outside the field of view

    Returns
    -------
    dict for `segment`: method, channel, polarity; dice (on the images given), n, n_patients.

    References
    ----------
    Otsu, IEEE Trans Syst Man Cybern 1979.
    """
    wanted, rest, who = _counts(images, masks, valid, patients, rows, value, ignore)
    best = {"dice": -1.0}
    for channel in range(wanted.shape[1]):
        inside, outside = wanted[:, channel], rest[:, channel]
        level = np.array([_otsu_level(row) for row in inside + outside])
        above = np.arange(256) > level[:, None]
        for polarity in POLARITIES:
            called = (above if polarity == "bright" else ~above) & (level >= 0)[:, None]
            hits, false = (inside * called).sum(1), (outside * called).sum(1)
            dice = _mean_dice(hits[:, None], false[:, None], inside.sum(1), who)[0]
            if dice > best["dice"]:
                best = {"method": "otsu", "channel": channel, "polarity": polarity, "dice": float(dice)}
    return best | {"n": len(who), "n_patients": int(who.max()) + 1}


def fixed_threshold(images, masks, valid=None, patients=None, *, rows=None, value=None, ignore=None):
    """One grey level for all images; it, the channel and the polarity are chosen.

    Parameters and result as `otsu`, with ``threshold``: bright is above it, dark is it and below.
    """
    wanted, rest, who = _counts(images, masks, valid, patients, rows, value, ignore)
    best = {"dice": -1.0}
    for channel in range(wanted.shape[1]):
        inside, outside = wanted[:, channel], rest[:, channel]
        below = np.cumsum(inside, axis=1), np.cumsum(outside, axis=1)  # called dark at threshold 0..255
        total, empty = inside.sum(1), outside.sum(1)
        calls = {"dark": below, "bright": (total[:, None] - below[0], empty[:, None] - below[1])}
        for polarity in POLARITIES:
            dice = _mean_dice(*calls[polarity], total, who)
            at = int(np.argmax(dice))
            if dice[at] > best["dice"]:
                best = {"method": "threshold", "channel": channel, "polarity": polarity, "threshold": at,
                        "dice": float(dice[at])}
    return best | {"n": len(who), "n_patients": int(who.max()) + 1}


def segment(image, fitted, valid=None):
    """What a baseline finds in one image: bool mask without the channel axis.

    Parameters
    ----------
    image : (h, w, c) or (d, h, w, c) uint8; fitted : result of `otsu` or `fixed_threshold`; valid : bool or None
    """
    grey = _uint8(image)[..., fitted["channel"]]
    inside = np.ones(grey.shape, bool) if valid is None else np.asarray(valid, bool)
    level = fitted.get("threshold")
    if level is None:
        level = _otsu_level(np.bincount(grey[inside], minlength=256))
    if level < 0:
        return np.zeros(grey.shape, bool)
    return inside & ((grey > level) if fitted["polarity"] == "bright" else (grey <= level))


def _otsu_level(counts):
    """Otsu's grey level of a histogram (256,): the last one of the dark class; -1 where all pixels are alike."""
    return int(threshold_otsu(hist=(counts, np.arange(256)))) if (counts > 0).sum() > 1 else -1


def _uint8(image):
    if image.dtype != np.uint8 or image.ndim not in (3, 4):
        raise ValueError(f"an image of type {image.dtype}, shape {image.shape}: expected prepared uint8 images with a "
                         "channel axis at the end")
    return image


def _counts(images, masks, valid, patients, rows, value, ignore):
    """Histograms (n, channels, 256) of wanted and other pixels, and patient numbers (n,); one image at a time."""
    if len(masks) != len(images) or (valid is not None and len(valid) != len(images)):
        raise ValueError(f"{len(images)} images, {len(masks)} masks"
                         f"{'' if valid is None else f', {len(valid)} fields of view'}: expected the same number")
    rows = range(len(images)) if rows is None else rows
    patients = np.arange(len(rows)) if patients is None else np.asarray(patients)
    if not len(rows) or len(patients) != len(rows):
        raise ValueError(f"{len(rows)} images to learn from, {len(patients)} patients: expected one patient for each "
                         "image, and at least one image")
    wanted, rest = [], []
    for i in rows:
        image, mask = _uint8(np.asarray(images[i])), np.asarray(masks[i])
        if mask.shape != image.shape[:-1]:
            raise ValueError(f"image {i} has {image.shape[:-1]} pixels, its mask {mask.shape}: expected the same")
        inside = np.ones(mask.shape, bool) if valid is None or valid[i] is None else np.asarray(valid[i], bool)
        inside = inside if ignore is None else inside & (mask != ignore)
        mask = mask > 0 if value is None else mask == value
        for counts, part in ((wanted, mask & inside), (rest, ~mask & inside)):
            counts.append([np.bincount(image[part][:, c], minlength=256) for c in range(image.shape[-1])])
    return np.array(wanted), np.array(rest), pd.factorize(patients)[0]


def _mean_dice(hits, false, total, who):
    """Mean over patients of the pooled Dice: hits and false (n, thresholds), total wanted pixels (n,)."""
    hits, false, total = (pd.DataFrame(part).groupby(who).sum().to_numpy(float) for part in (hits, false, total))
    size = total + hits + false
    return np.divide(2 * hits, size, out=np.ones_like(size), where=size > 0).mean(axis=0)
