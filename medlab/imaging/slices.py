"""Which slices stand for a volume."""

import numpy as np


def slice_to_show(truth, predicted=None):
    """Number of the slice (first axis) with most of the truth, without truth with most of what was called."""
    for mask in (truth, predicted):
        if mask is not None and np.any(mask):
            return int(np.argmax((np.asarray(mask) > 0).sum(axis=(1, 2))))
    return len(truth) // 2


def slices_to_show(cohort, boxes, depth):
    """Slice of each prepared volume to show: through the middle of its boxes, else the middle slice.

    Parameters
    ----------
    cohort : DataFrame aligned with the volumes, with ``image`` and the depth of the original; boxes : boxes.csv or None
    depth : slices of a prepared volume

    Returns
    -------
    (n,) int; approximate where preparation cropped or padded the volume.
    """
    share = np.full(len(cohort), 0.5)
    if boxes is not None and {"image", "z_min", "z_max"} <= set(boxes) and "depth" in cohort:
        middle = boxes.groupby("image")[["z_min", "z_max"]].mean().mean(axis=1).reindex(cohort["image"]).to_numpy()
        share = np.where(np.isnan(middle), share, middle / cohort["depth"].to_numpy(float))
    return np.clip(share * depth, 0, depth - 1).astype(int)


def pictures(images, cohort, boxes=None) -> list[np.ndarray]:
    """One picture per prepared image, (h, w) or (h, w, 3); of a volume the slice of `slices_to_show`.

    Parameters
    ----------
    images : (n, h, w, c) or (n, d, h, w, c); cohort : DataFrame aligned with them; boxes : boxes.csv or None
    """
    if images.ndim == 5:
        images = images[np.arange(len(images)), slices_to_show(cohort, boxes, images.shape[1])]
    return list(images if images.shape[-1] == 3 else images[..., 0])
