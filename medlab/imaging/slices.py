"""Which slice stands for a volume: with most of the mask, through the largest box, else the middle one."""

import numpy as np
import pandas as pd


def middle(depth) -> int:
    """Number of the middle slice of so many (of an even number the one behind the middle)."""
    return depth // 2


def slice_to_show(*masks) -> int:
    """Number of the slice (first axis) with most of the first mask that marks anything; else the middle one.

    Parameters
    ----------
    masks : (d, h, w) arrays, marked where above 0, such as truth and prediction; None is skipped
    """
    masks = [np.asarray(mask) for mask in masks if mask is not None]
    marked = [mask for mask in masks if mask.any()]
    return int(np.argmax((marked[0] > 0).sum(axis=(1, 2)))) if marked else middle(len(masks[0]))


def slice_through(z_min, z_max, depth) -> int:
    """Number of the slice through the middle of a box, ``z_min`` to ``z_max`` half open, of a volume so deep."""
    return int(np.clip((z_min + z_max) / 2, 0, depth - 1))


def after_preparation(number, depth, new_depth) -> int:
    """Number in a volume of `new_depth` slices of what was slice `number` of `depth`; approximate where cropped."""
    return int(np.clip((number + 0.5) * new_depth / depth, 0, new_depth - 1))


def slices_to_show(cohort, boxes, depth) -> np.ndarray:
    """Slice of each prepared volume to show: through its largest box, else the middle slice.

    Parameters
    ----------
    cohort : DataFrame aligned with the volumes, with ``image`` and the depth of the original; boxes : boxes.csv or None
    depth : slices of a prepared volume

    Returns
    -------
    (n,) int; approximate where preparation cropped or padded the volume.
    """
    found = np.full(len(cohort), middle(depth))
    if boxes is None or not {"image", "z_min", "z_max"} <= set(boxes) or "depth" not in cohort:
        return found
    boxes = boxes.dropna(subset=["z_min", "z_max"])
    sizes = np.prod([boxes[f"{axis}_max"] - boxes[f"{axis}_min"] for axis in "xyz"], axis=0)
    largest = boxes.loc[pd.Series(sizes, boxes.index).groupby(boxes["image"]).idxmax()].set_index("image")
    for i, (image, original) in enumerate(zip(cohort["image"], cohort["depth"], strict=True)):
        if image in largest.index:
            place = largest.loc[image, ["z_min", "z_max"]].mean() - 0.5  # between the numbers of two slices
            found[i] = after_preparation(place, original, depth)
    return found


def pictures(images, cohort, boxes=None) -> list[np.ndarray]:
    """One picture per prepared image, (h, w) or (h, w, 3); of a volume the slice of `slices_to_show`.

    Parameters
    ----------
    images : (n, h, w, c) or (n, d, h, w, c); cohort : DataFrame aligned with them; boxes : boxes.csv or None
    """
    if images.ndim == 5:
        images = images[np.arange(len(images)), slices_to_show(cohort, boxes, images.shape[1])]
    return list(images if images.shape[-1] == 3 else images[..., 0])
