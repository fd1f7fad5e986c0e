"""Lesions of a cohort as boxes: from boxes.csv or from masks, into the prepared images and back; their size in mm.

Tables have one row per lesion: image, [frame,] patient_id, label, x_min, y_min, x_max, y_max [, z_min, z_max], in
pixels of the original image, half-open edges; with masks also ``voxels``, how many the mask marks.
"""

import numpy as np
import pandas as pd

from medlab.cohorts import datasets
from medlab.detection import matching
from medlab.imaging import components, geometry, resampling

ONE = "lesion"  # the class where lesions have no names of their own
AROUND = 1.5  # a lesion may reach so many half sides of its box from the centre


def keys(table):
    """Columns that tell images apart."""
    return ["image", "frame"] if "frame" in table and table["frame"].notna().any() else ["image"]


def within(found: pd.DataFrame, table: pd.DataFrame, rows) -> pd.DataFrame:
    """The rows of a table of lesions or candidates that belong to some images.

    Parameters
    ----------
    table : rows of all images; rows : (m,) int, which of them
    """
    by = keys(table)
    return found.merge(table.iloc[rows][by].drop_duplicates(by), on=by)


def counts(marked: dict, parts: dict, table: pd.DataFrame, names: list, patients_known: bool = True) -> pd.DataFrame:
    """What there is to find, a column per part: images, those without lesions, patients, lesions of each class.

    Parameters
    ----------
    marked : part -> lesions of its images (`within`); parts : part -> (m,) int, which images
    """
    found = {}
    for part, rows in parts.items():
        mine = marked[part]
        empty = len(rows) - len(mine[keys(table)].drop_duplicates())
        found[part] = {"images": len(rows), "of them without lesions": empty}
        found[part] |= {"patients": table["patient_id"].iloc[rows].nunique()} if patients_known else {}
        found[part] |= {f"lesions: {name}": int((mine["label"] == name).sum()) for name in names}
    return pd.DataFrame(found)


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
        Neither boxes nor masks, no lesion at all, a box or a name that cannot be used, or an unknown ``classes``.
    """
    if classes not in ("auto", "labels", "one"):
        raise ValueError(f"detection_classes: found {classes!r}, expected auto, labels or one")
    by = keys(table)
    if data.boxes is not None:
        lines = data.boxes.assign(line=np.arange(2, len(data.boxes) + 2))
        found = lines.merge(table[by + ["patient_id"]].drop_duplicates(by), on=by)
    elif "mask" in table and table["mask"].notna().any():
        found = _from_masks(data, table, by)
    else:
        raise ValueError(f"{data.name}: neither boxes.csv nor masks; there is nothing to detect")
    if found.empty:
        raise ValueError(f"{data.name}: no lesion in {len(table)} images; expected rows in boxes.csv, or masks")
    _check_edges(found)
    named = found["label"].dropna().astype(str).unique() if "label" in found else []
    same = set(named) <= set(map(str, datasets.classes(data)))
    if classes == "one" or not len(named) or (classes == "auto" and same):
        found = found.assign(label=ONE)
    if found["label"].isna().any():
        raise ValueError(f"boxes.csv: {found['label'].isna().sum()} of {len(found)} boxes have no label; name all or "
                         "none, or set detection_classes to one")
    found["label"] = found["label"].astype(str)
    _check_names(found)
    return found.drop(columns="line", errors="ignore"), sorted(found["label"].unique())


def _check_edges(found):
    corners = matching.corners(found)
    low, high = np.split(corners, 2, axis=1)
    wrong = ~(np.isfinite(corners).all(axis=1) & (low < high).all(axis=1))
    if wrong.any() and "line" in found:
        row = found[wrong].iloc[0]
        edges = ", ".join(f"{name} {row[name]:g}" for name in found if name[2:] in ("min", "max"))
        raise ValueError(f"boxes.csv, line {row['line']}: found {edges}, expected each min below its max, as pixel i "
                         f"reaches from i to i + 1 ({wrong.sum()} such boxes); correct or remove the line, or import "
                         "again with --inclusive if max is the last pixel of a box")


def _check_names(found):
    wrong = found[found["label"] == "all"]
    if len(wrong):
        where = f"boxes.csv, line {wrong['line'].iloc[0]}" if "line" in found else "card.yaml, mask_classes"
        raise ValueError(f"{where}: found a class called 'all', which here means all classes together, expected "
                         "another name; rename it, or set detection_classes to one")


def _from_masks(data, table, by):
    rows, names = [], datasets.mask_classes(data)
    for _, row in table[table["mask"].notna()].iterrows():
        values = datasets.read_labels(data, row)
        labels = components.label(values)
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
    if corners.shape[1] != 2 * axes:
        raise ValueError(f"boxes.csv: found boxes with {corners.shape[1] // 2} axes for images with {axes}, expected "
                         "z_min and z_max for volumes and not for pictures; correct the columns, or import again")
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


def drawn(table, found, covers):
    """Images whose extent of lesions is known, (n,) bool: all but those with boxes whose mask is missing or empty."""
    by = keys(table)
    boxes = pd.MultiIndex.from_frame(table[by]).isin(pd.MultiIndex.from_frame(found[by]))
    return np.array([one.any() for one in covers], bool) | ~boxes


def masks_in_words(covers: np.ndarray, known: np.ndarray, train) -> str:
    """How many images have masks, and what is learnt from them.

    Parameters
    ----------
    covers : of `cover`; known : of `drawn`; train : images of the training part
    """
    some, learnt = sum(one.any() for one in covers), any(covers[i].any() for i in train)
    text = f"Masks: {some} of {len(covers)} images have lesion pixels"
    text += ("; the network also learns their extent." if learnt else
             ", but none of the training part: the extent is not learnt.")
    if not known.all():
        text += (f"\n{(~known).sum()} images have boxes and no mask that marks anything: of them only the boxes are "
                 "learnt.")
    return text


def sizes(data, table, found, where):
    """Truth with the size that the masks say: ``voxels``, and ``volume_ml`` (2-D: ``area_mm2``) where spacing is known.

    The voxels of a lesion that comes from a mask are its own. Those of a box are the whole component of the mask that
    fills most of it; where the box is called as a class of the masks, of that class.
    """
    by, names = keys(table), datasets.mask_classes(data)
    voxels = pd.Series(found["voxels"] if data.boxes is None else np.nan, found.index, dtype=float)
    groups = found.groupby(by if len(by) > 1 else by[0]).groups
    spacings = {}
    for place, (_, row) in enumerate(table.iterrows()):
        key = tuple(row[by]) if len(by) > 1 else row[by[0]]
        if key not in groups:
            continue
        spacings[key] = geometry.spacing(where[place])
        if isinstance(row.get("mask"), str) and data.boxes is not None:
            mine, values = found.loc[groups[key]], datasets.read_labels(data, row)
            for name in mine["label"].unique():
                chosen = mine["label"] == name
                marked = values == names.index(name) + 1 if name in names else values > 0
                voxels[mine.index[chosen]] = _filling(components.label(marked), matching.corners(mine[chosen]))
    return _in_mm(found.assign(voxels=voxels), [spacings[key] for key in _keyed(found, by)])


def _filling(labels, boxes):
    """Voxels of the component that fills most of each box; NaN where none is in it."""
    sizes, found = np.bincount(labels.ravel()), np.full(len(boxes), np.nan)
    for i, (low, high) in enumerate(np.split(box, 2) for box in boxes):
        low, high = np.maximum(np.floor(low), 0).astype(int), np.maximum(np.ceil(high), 0).astype(int)
        inside = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        counts = np.bincount(inside[inside > 0])
        if len(counts):
            found[i] = sizes[counts.argmax()]
    return found


def _keyed(table, by):
    return table[by[0]] if len(by) == 1 else table[by].itertuples(index=False, name=None)


def _in_mm(table, spacings):
    """Adds sides in mm, their longest, and the size of ``voxels`` as volume or area; NaN where spacing is unknown."""
    corners = matching.corners(table)
    axes = corners.shape[1] // 2
    mm = np.array([[np.nan] * axes if s is None else s for s in spacings], float).reshape(-1, axes)
    sides = (corners[:, axes:] - corners[:, :axes]) * mm
    named = {f"{a}_size_mm": sides[:, i] for i, a in enumerate(matching.AXES[-axes:])}
    table = table.assign(**named, longest_mm=sides.max(axis=1, initial=0) if len(sides) else [])
    size = table["voxels"] * mm.prod(axis=1)
    return table.assign(volume_ml=size / 1000) if axes == 3 else table.assign(area_mm2=size)


def in_original(raw, table, where):
    """Candidates of `heatmaps.candidates` in the pixels of the originals.

    Parameters
    ----------
    raw : DataFrame with place, label, score, box, mass; table : rows of all images; where : geometry of the field

    Returns
    -------
    DataFrame: image, [frame,] patient_id, label, score, box; sides, longest side and centre in mm (from the centre of
    the first pixel); ``voxels`` of the original and volume_ml (2-D: area_mm2) by the mask output.
    """
    axes, places = where.shape[1], raw["place"].to_numpy(int)
    g = where[places]
    corners = geometry.boxes_out(matching.corners(raw), g)
    known = table.iloc[places][[*keys(table), "patient_id"]].reset_index(drop=True)
    said = raw[["label", "score", "place"]].reset_index(drop=True)
    found = pd.concat([known, said, matching.box_table(corners)], axis=1)
    found["voxels"] = (raw["mass"].to_numpy(float) * g[:, :, 1].prod(axis=1))
    found = _in_mm(found, list(g[:, :, 3]))
    centre = ((corners[:, :axes] + corners[:, axes:]) / 2 - 0.5) * g[:, :, 3]
    return found.assign(**{f"{a}_mm": centre[:, i] for i, a in enumerate(matching.AXES[-axes:])})


def masses(mask, boxes):
    """Sum of a map of shares in and around each box: (k,) pixels.

    What counts lies in the ellipse that is `AROUND` times as wide as the box and at least a pixel wider.
    """
    axes, total = mask.ndim, np.zeros(len(boxes))
    for i, box in enumerate(np.asarray(boxes, float)):
        centre, half = (box[:axes] + box[axes:]) / 2, np.maximum((box[axes:] - box[:axes]) / 2, 0.5)
        reach = np.maximum(AROUND * half, half + 1)
        cuts = tuple(slice(max(0, int(a)), max(0, int(np.ceil(b)))) for a, b in zip(centre - reach, centre + reach,
                                                                                     strict=True))
        lines = [((np.arange(*cut.indices(n)) + 0.5 - c) / r) ** 2 for cut, n, c, r in
                 zip(cuts, mask.shape, centre, reach, strict=True)]
        far = sum(np.ix_(*lines))
        total[i] = mask[cuts][far <= 1].sum()
    return total


def suppress(candidates, overlap):
    """Non-maximum suppression: of boxes of one image and class that overlap by more than this IoU the surest stays.

    Returns
    -------
    DataFrame: the rows that stay, by falling score. An overlap of 1 keeps all.
    """
    candidates = candidates.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    corners, stay = matching.corners(candidates), np.ones(len(candidates), bool)
    for rows in candidates.groupby(["place", "label"]).indices.values():
        near = matching.iou(corners[rows], corners[rows]) > overlap
        for k, row in enumerate(rows):
            if stay[row]:
                stay[rows[k + 1:][near[k, k + 1:]]] = False
    return candidates[stay].reset_index(drop=True)
