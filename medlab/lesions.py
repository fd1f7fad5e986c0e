"""Lesions of a cohort as boxes: from boxes.csv or from masks, into the prepared images and back; their size in mm.

Tables have one row per lesion: image, [frame,] patient_id, label, x_min, y_min, x_max, y_max [, z_min, z_max], in
pixels of the original image, half-open edges; with masks also ``voxels``, how many the mask marks.
"""

import numpy as np
import pandas as pd

from medlab import components, datasets, geometry, matching, resampling

ONE = "lesion"  # the class where lesions have no names of their own


def keys(table):
    """Columns that tell images apart."""
    return ["image", "frame"] if "frame" in table and table["frame"].notna().any() else ["image"]


def truth(data, table, classes="auto"):
    """All lesions of the images of a run.

    Parameters
    ----------
    data : datasets.Dataset
    table : DataFrame, rows of split.parquet that have an image
    classes : str
        ``auto``: the labels of boxes.csv, or one class where they only repeat what an image is called; ``labels``;
        ``one``.

    Returns
    -------
    (DataFrame, list of classes)

    Raises
    ------
    ValueError
        Neither boxes nor masks, no lesion at all, or an unknown ``classes``.
    """
    if classes not in ("auto", "labels", "one"):
        raise ValueError(f"detection_classes: found {classes!r}, expected auto, labels or one")
    by = keys(table)
    if data.boxes is not None:
        found = data.boxes.merge(table[by + ["patient_id"]].drop_duplicates(by), on=by)
    elif "mask" in table and table["mask"].notna().any():
        found = _from_masks(data, table, by)
    else:
        raise ValueError(f"{data.name}: neither boxes.csv nor masks; there is nothing to detect")
    if found.empty:
        raise ValueError(f"{data.name}: no lesion in {len(table)} images; expected rows in boxes.csv, or masks")
    named = found["label"].dropna().astype(str).unique() if "label" in found else []
    same = set(named) <= set(map(str, datasets.classes(data)))
    if classes == "one" or not len(named) or (classes == "auto" and same):
        found = found.assign(label=ONE)
    if found["label"].isna().any():
        raise ValueError(f"boxes.csv: {found['label'].isna().sum()} of {len(found)} boxes have no label; name all of them "
                         "of them or none, or set detection_classes to one")
    found["label"] = found["label"].astype(str)
    return found, sorted(found["label"].unique())


def _from_masks(data, table, by):
    rows, names = [], datasets.mask_classes(data)
    for _, row in table[table["mask"].notna()].iterrows():
        labels = components.label(datasets.read_labels(data, row))
        values = datasets.read_labels(data, row)
        for part in components.table(labels, diameters=False).to_dict("records"):
            name = names[int(values[labels == part["component"]][0]) - 1]
            rows.append({**{k: row[k] for k in by}, "patient_id": row["patient_id"], "label": name, **part})
    return pd.DataFrame(rows)


def field(where, shape, multiple=1):
    """The part of the prepared images that lies on any of the originals: black margins that all share cost time.

    Parameters
    ----------
    where : (n, axes, 4) geometry; shape : spatial shape of the prepared images
    multiple : sides are multiples of this as far as the image goes

    Returns
    -------
    (tuple of slice, geometry of the part)
    """
    lines = []
    for (origin, step, size, _), n in zip(where.transpose(1, 2, 0), shape, strict=True):
        low = int(np.clip(np.ceil((-0.5 - origin) / step - 1e-6).min(), 0, n - 1))
        high = int(np.clip(np.floor((size - 0.5 - origin) / step + 1e-6).max() + 1, low + 1, n))
        length = min(n, -(-(high - low) // multiple) * multiple)
        low = max(0, min(low - (length - high + low) // 2, n - length))
        lines.append(slice(low, low + length))
    moved = where.copy()
    moved[:, :, 0] += where[:, :, 1] * [line.start for line in lines]
    return tuple(lines), moved


def prepared_boxes(found, table, names, where):
    """Boxes of each image in the pixels of its prepared part.

    Returns
    -------
    list of (boxes (k, 2 * axes), classes (k,) int), one for each row of ``table``
    """
    by, axes = keys(table), where.shape[1]
    groups = found.groupby(by if len(by) > 1 else by[0]).indices
    corners, classes = matching.corners(found), found["label"].map(names.index).to_numpy(int)
    result = []
    for key, g in zip(table[by].itertuples(index=False, name=None), where, strict=True):
        rows = groups.get(key if len(by) > 1 else key[0], np.empty(0, int))
        result.append((geometry.boxes_in(corners[rows], g).reshape(-1, 2 * axes), classes[rows]))
    return result


def cover(data, table, where, shape):
    """Share of each prepared pixel that is lesion, times 255: (n, *shape) uint8; shares add up to the volume."""
    covers = np.zeros((len(table), *shape), np.uint8)
    for place, (_, row) in enumerate(table.iterrows()):
        if isinstance(row.get("mask"), str):
            mask, g = datasets.read_mask(data, row).astype(np.float32), where[place]
            covers[place] = np.rint(255 * resampling.sample(mask, shape, g[:, 1], first=g[:, 0]))
    return covers
