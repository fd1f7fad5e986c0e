"""Which candidate box belongs to which lesion: overlap, matching rules, checked tables.

Three tables go in, with one row per lesion, per candidate and per image. Boxes are half-open pixel edges of the
original image (pixel i reaches from i to i + 1). Two ways of counting, both within one image and one class (a
candidate of the wrong class is a false positive of its own class and finds nothing):

**Each lesion once** (average precision; COCO, Lin 2014): candidates choose by falling score, each takes the free lesion
with the highest overlap of at least t. Second candidates on a lesion are false positives.

**Marks** (FROC; Bunch 1978, LUNA16): a candidate belongs to the one lesion it fits best, the lesion counts as found
with the highest score of its candidates; further candidates on it are neither false positives nor second hits.

Among equal scores the better fit goes first, so that the order of the rows changes nothing.
"""

import numpy as np
import pandas as pd

AXES = ("z", "y", "x")
ROUNDING = 1e-9  # an overlap of exactly t counts, whatever the last digit


def iou(a, b) -> np.ndarray:
    """Intersection over union of boxes.

    Parameters
    ----------
    a, b : (m, 2 * axes), (k, 2 * axes) corners ``min..., max...`` in the order of the axes, half-open edges

    Returns
    -------
    (m, k) in 0..1; 0 where the union has no volume

    Examples
    --------
    >>> iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [0, 1, 2, 3], [5, 5, 6, 6]]).round(2).tolist()
    [[1.0, 0.33, 0.0]]
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    axes = a.shape[-1] // 2
    low, high = (op(a[:, None, s], b[None, :, s]) for op, s in
                 ((np.maximum, slice(axes)), (np.minimum, slice(axes, None))))
    common = np.clip(high - low, 0, None).prod(-1)
    size = [(c[:, axes:] - c[:, :axes]).prod(-1) for c in (a, b)]
    union = size[0][:, None] + size[1] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def corners(table) -> np.ndarray:
    """Boxes of a table with columns x_min, y_min, x_max, y_max (3-D: z_min, z_max) as (k, 2 * axes) in axis order."""
    names = AXES if "z_min" in table and (len(table) == 0 or table["z_min"].notna().any()) else AXES[1:]
    wanted = [f"{axis}_{end}" for end in ("min", "max") for axis in names]
    missing = [name for name in wanted if name not in table]
    if missing and len(table):
        raise ValueError(f"boxes without the columns {', '.join(missing)}; expected {', '.join(wanted)}")
    return table.reindex(columns=wanted).to_numpy(float)


def box_table(boxes) -> pd.DataFrame:
    """The columns x_min, ... of boxes (k, 2 * axes); the inverse of `corners`."""
    boxes = np.asarray(boxes, float)
    names = AXES[-(boxes.shape[1] // 2):]
    return pd.DataFrame(boxes, columns=[f"{axis}_{end}" for end in ("min", "max") for axis in names])


def check(truth, candidates, images) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Bring the three tables into one form.

    Parameters
    ----------
    truth : DataFrame
        One row per lesion: image, [frame,] [label,] x_min, y_min, x_max, y_max [, z_min, z_max]; may be empty.
    candidates : DataFrame
        The same with score, higher is surer (any finite numbers, comparable across images); may be empty.
    images : DataFrame
        One row per image that was looked at, with or without lesions: image, [frame,] patient_id. ``frame`` tells
        images apart where ``image`` does not.

    Returns
    -------
    truth, candidates : with a fresh index and the columns ``number`` (row of ``images``) and ``label`` (text)
    who : (n_images,) int, number of the patient

    Raises
    ------
    ValueError
        For images that are not listed or listed twice, empty or reversed boxes, unknown scores, mixed dimensions.
    """
    if not len(images) or not {"image", "patient_id"} <= set(images) or images["patient_id"].isna().any():
        raise ValueError(f"{len(images)} images with columns {', '.join(map(str, images))}; expected one row per image "
                         "that was looked at, with image and patient_id")
    keys = ["image"] if images["image"].is_unique else ["image", "frame"]
    known = _keys(images, keys, "images")
    if len(set(known)) < len(known):
        raise ValueError(f"{len(known) - len(set(known))} images are listed twice; expected one row per image "
                         "(and frame)")
    place = {key: i for i, key in enumerate(known)}
    truth, candidates = (_numbered(table, keys, place, name) for table, name in
                         ((truth, "truth"), (candidates, "candidates")))
    _check_boxes(truth, candidates)
    return truth, candidates, pd.factorize(images["patient_id"])[0]


def _keys(table, keys, name):
    missing = [key for key in keys if key not in table]
    if missing and len(table):
        raise ValueError(f"{name}: no column {', '.join(missing)}; needed to tell the images apart")
    return list(zip(*(table.reindex(columns=keys).fillna(-1)[key] for key in keys), strict=True))


def _numbered(table, keys, place, name):
    table = pd.DataFrame(table).reset_index(drop=True)
    found = [place.get(key, -1) for key in _keys(table, keys, name)]
    lost = [i for i, number in enumerate(found) if number < 0]
    if lost:
        raise ValueError(f"{name}: {len(lost)} of {len(table)} rows belong to images that are not listed, the first is "
                         f"{table.at[lost[0], 'image']}; give all images, or only boxes of these")
    label = table["label"] if "label" in table and table["label"].notna().any() else pd.Series("lesion", table.index)
    if label.isna().any():
        raise ValueError(f"{name}: {label.isna().sum()} of {len(table)} rows have no label; name a class in all "
                         "or none")
    return table.assign(number=np.array(found, int), label=label.astype(str))


def _check_boxes(truth, candidates):
    boxes = corners(truth), corners(candidates)
    if len(truth) and len(candidates) and boxes[0].shape[1] != boxes[1].shape[1]:
        raise ValueError(f"lesions with {boxes[0].shape[1] // 2} axes, candidates with {boxes[1].shape[1] // 2}; "
                         "expected the same number (z_min, z_max in both or in none)")
    for one, name, least in zip(boxes, ("truth", "candidates"), (1e-12, 0), strict=True):
        low, high = np.split(one, 2, axis=1)
        wrong = ~np.isfinite(one).all(1) | (high - low < least).any(1)
        if wrong.any():
            raise ValueError(f"{name}: {wrong.sum()} of {len(one)} boxes are empty, reversed or not finite, the first "
                             f"in row {wrong.argmax()}: {one[wrong][0].tolist()} (min..., max...)")
    if len(candidates) and ("score" not in candidates or not np.isfinite(candidates["score"].to_numpy(float)).all()):
        raise ValueError("candidates need a finite score each (column score, higher is surer)")


def pairs(truth, candidates) -> pd.DataFrame:
    """Lesions and candidates of one image and class that touch, with their fit.

    Parameters
    ----------
    truth, candidates : as `check` returns them

    Returns
    -------
    DataFrame: lesion, candidate (row numbers), iou, inside (centre of the candidate in the box of the lesion),
    off (distance of the centres, pixels). Memory is bounded by the boxes of one image.
    """
    a, b = corners(truth), corners(candidates)
    rows_of = candidates.groupby(["number", "label"]).indices
    rows = [_touching(a, b, t, rows_of[key]) for key, t in truth.groupby(["number", "label"]).indices.items()
            if key in rows_of]
    columns = [np.concatenate(part) for part in zip(*rows, strict=True)] if rows else [np.empty(0)] * 5
    kinds = {"lesion": int, "candidate": int, "iou": float, "inside": bool, "off": float}
    return pd.DataFrame(dict(zip(kinds, columns, strict=True))).astype(kinds)


def _touching(a, b, t, c):
    overlap, axes = iou(a[t], b[c]), a.shape[1] // 2
    centre = (b[c, :axes] + b[c, axes:]) / 2
    inside = ((centre >= a[t, None, :axes]) & (centre < a[t, None, axes:])).all(-1)
    off = np.linalg.norm(centre - ((a[t, :axes] + a[t, axes:]) / 2)[:, None], axis=-1)
    i, j = np.nonzero((overlap > 0) | inside)
    return t[i], c[j], overlap[i, j], inside[i, j], off[i, j]


def assign(truth, candidates, near, rule=0.5, once=True) -> np.ndarray:
    """The lesion to which each candidate belongs.

    Parameters
    ----------
    truth, candidates : as `check` returns them; near : their `pairs`
    rule : "centre", the centre of the candidate lies in the box of the lesion, or a number t, overlap (IoU) >= t
    once : each lesion takes one candidate (average precision), or all that fit it best (FROC)

    Returns
    -------
    (n_candidates,) int, row of ``truth``; -1 = a false positive
    """
    if rule != "centre" and (isinstance(rule, str) or not 0 < rule <= 1):
        raise ValueError(f"matching rule is {rule!r}; expected 'centre' or an overlap (IoU) above 0 and at most 1")
    near = near[near["inside"] if rule == "centre" else near["iou"] >= rule - ROUNDING]
    badness = near["off"] if rule == "centre" else -near["iou"]
    score = -candidates["score"].to_numpy(float)[near["candidate"]] if len(near) else badness
    ranks = [_places(table)[near[name]] for table, name in ((truth, "lesion"), (candidates, "candidate"))]
    order = np.lexsort([*ranks, badness, score])  # the last key sorts first
    found, taken = np.full(len(candidates), -1), set()
    for lesion, candidate in near[["lesion", "candidate"]].to_numpy()[order]:
        if found[candidate] < 0 and not (once and lesion in taken):
            found[candidate] = lesion
            taken.add(lesion)
    return found


def _places(table):
    """Rank of each box by its corners: decides where score and fit are equal."""
    return np.argsort(np.lexsort(corners(table).T)) if len(table) else np.empty(0, int)


def marks(truth, candidates, near, rule=0.5, once=True) -> pd.DataFrame:
    """All that a curve over the score needs: lesions with the score that finds them, and false positives.

    Returns
    -------
    DataFrame: number (of the image), label, score (-inf: a lesion no candidate finds), lesion (False: a false
    positive). Parameters as in `assign`.
    """
    found = assign(truth, candidates, near, rule, once)
    best, score = np.full(len(truth), -np.inf), candidates.get("score", pd.Series(dtype=float)).to_numpy(float)
    np.maximum.at(best, found[found >= 0], score[found >= 0])
    lesions = truth[["number", "label"]].assign(score=best, lesion=True)
    false = candidates[["number", "label"]].assign(score=score, lesion=False)[found < 0]
    return pd.concat([lesions, false], ignore_index=True).astype({"number": int, "lesion": bool})
