"""Centre heatmaps: from boxes to what a detector learns, and from what it says back to boxes with scores.

Each box is a bump on the map of its class, exactly 1 in the cell of its centre (networks: `detection.detectors`).
Boxes are corners ``min..., max...`` in axis order, half-open pixel edges of the image the network reads. They follow
every augmentation of the image by the same numbers through the same matrix.
"""

import itertools

import numpy as np
import pandas as pd
from tqdm import tqdm

from medlab.detection import lesions, matching
from medlab.networks import pipeline
from medlab.networks.pipeline import tf

SPREAD = 0.54 / 6  # standard deviation of a bump as a share of the side of its box (TTFNet, arXiv:1909.00700)
SMALLEST = 0.5  # but at least so many cells, and one pixel: nobody knows better where a centre lies
INSIDE = 0.02  # a centre keeps so much of a cell away from its edges
EMPTY = -1  # class of a row that is no box
MOST = 100  # candidates kept per image


def packed(tables, axes):
    """Boxes of images as arrays: m pairs (boxes (k, 2 * axes), classes (k,)) to (m, K, 2 * axes) and (m, K)."""
    most = max([1, *(len(classes) for _, classes in tables)])
    boxes, names = np.zeros((len(tables), most, 2 * axes), "float32"), np.full((len(tables), most), EMPTY, "int32")
    for i, (corners, classes) in enumerate(tables):
        boxes[i, :len(classes)], names[i, :len(classes)] = corners, classes
    return boxes, names


def sides(boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Sides of all boxes of `packed` arrays, (k, axes) in prepared pixels."""
    axes = boxes.shape[-1] // 2
    return (boxes[..., axes:] - boxes[..., :axes])[classes != EMPTY]


def move(boxes, chance, policy, shape):
    """Boxes under the augmentation that `pipeline.augment` gives the images: the same numbers, the same matrix.

    Parameters
    ----------
    boxes : (b, k, 2 * axes) float tensor; chance : (b, 12); policy : dict; shape : spatial shape of the images

    Returns
    -------
    (b, k, 2 * axes)
        A turned box is that of the turned ellipse inside it: lesions are round rather than square, and the corners
        would make it grow with every turn.
    """
    axes = len(shape)
    low, high = boxes[..., :axes], boxes[..., axes:]
    centre, half = (low + high) / 2, (high - low) / 2
    rows = pipeline.affine(chance, policy, *shape[-2:])
    a, b, x0, c, d, y0 = (rows[:, i, None] for i in range(6))
    det = a * d - b * c
    x, y = centre[..., -1] - 0.5 - x0, centre[..., -2] - 0.5 - y0  # the matrix speaks of pixel centres
    x, y = (d * x - b * y) / det + 0.5, (a * y - c * x) / det + 0.5
    hx, hy = half[..., -1], half[..., -2]
    moved = [tf.sqrt((a * hy) ** 2 + (c * hx) ** 2) / tf.abs(det), tf.sqrt((d * hx) ** 2 + (b * hy) ** 2) / tf.abs(det)]
    places = [y, x]
    if axes == 3:
        slices = tf.round((chance[:, 8] * 2 - 1) * policy.get("shift_z", 0))[:, None]
        flip = (chance[:, 9] < 0.5)[:, None] & ("z" in policy.get("flip", ""))
        z = tf.where(flip, shape[0] - centre[..., 0], centre[..., 0]) - slices
        places, moved = [z, *places], [half[..., 0], *moved]
    centre, half = tf.stack(places, -1), tf.stack(moved, -1)
    return tf.concat([centre - half, centre + half], -1)


def targets(boxes, classes, n_classes, shape, step):
    """What the network should say of boxes.

    Parameters
    ----------
    boxes : (b, k, 2 * axes) float; classes : (b, k) int, `EMPTY` for none
    shape : spatial, of the images; step : pixels per cell along each axis (`detectors.grid`)

    Returns
    -------
    (b, cells..., n_classes + 2 * axes + 1)
        Heatmaps (exactly 1 in the cell of a centre), corners of the box a cell answers for, and its weight: those of
        one box add up to 1. A box whose centre has left the image is none; others are cut at its edges.
    """
    axes, step = len(shape), np.asarray(step, np.float32)
    side = np.asarray(shape, np.float32)
    cells = [int(n) for n in -(-np.asarray(shape) // step.astype(int))]
    centre = (boxes[..., :axes] + boxes[..., axes:]) / 2
    there = tf.reduce_all((centre >= 0) & (centre < side), -1) & (classes >= 0)
    low, high = tf.maximum(boxes[..., :axes], 0.0), tf.minimum(boxes[..., axes:], side)
    boxes = tf.concat([low, high], -1)
    middle = tf.floor((low + high) / 2 / step)
    sigma = tf.maximum(SPREAD * (high - low) / step, tf.maximum(SMALLEST, 1 / step))
    bump = tf.where(there, 1.0, 0.0)[(..., *[None] * axes)]
    for axis in range(axes):
        line = tf.range(cells[axis], dtype=tf.float32) - middle[..., axis, None]
        line = tf.exp(-((line / sigma[..., axis, None]) ** 2) / 2)
        bump *= tf.reshape(line, [*(tf.shape(line)[i] for i in (0, 1)), *(cells[i] if i == axis else 1
                                                                          for i in range(axes))])
    named = tf.one_hot(classes, n_classes)[(..., *[None] * axes, slice(None))]
    heat = tf.reduce_max(bump[..., None] * named, 1)
    nearest = tf.argmax(bump, 1)
    mine = tf.one_hot(nearest, tf.shape(bump)[1], axis=1) * tf.where(bump > 0.05, bump, 0.0)
    total = tf.reduce_sum(mine, range(2, 2 + axes), keepdims=True)
    weight = tf.reduce_sum(mine / tf.maximum(total, 1e-6), 1)[..., None]
    flat = tf.gather(boxes, tf.reshape(nearest, [tf.shape(boxes)[0], -1]), batch_dims=1)
    corners = tf.reshape(flat, [-1, *cells, 2 * axes])
    return tf.concat([heat, corners, weight], -1)


def windows(boxes, classes, shape, patch, foreground, chance):
    """First pixel of a patch in each image, (m, axes) int: around one of its boxes with probability ``foreground``.

    Parameters
    ----------
    boxes, classes : as `packed`; shape, patch : spatial sizes; chance : (m, 2 + axes) uniform numbers
    """
    axes, room = len(shape), np.subtract(shape, patch)
    first = np.floor(chance[:, 2:] * (room + 1)).astype(int)
    count = (classes != EMPTY).sum(axis=1)
    for i in np.flatnonzero((count > 0) & (chance[:, 0] < foreground)):
        box = boxes[i, int(chance[i, 1] * count[i])]
        middle = (box[:axes] + box[axes:]) / 2 + (chance[i, 2:] - 0.5) * patch / 2  # not always in the middle
        first[i] = np.clip(np.round(middle - np.array(patch) / 2), 0, room)
    return first


def dataset(images, field, boxes, classes, n_classes, step, batch_size=8, *, rows, masks=None, drawn=None, policy=None,
            seed=0, shuffle=False, repeat=False, first_epoch=0, patch=None, foreground=0.7):
    """Batches of images with the targets of their boxes, augmented together.

    Parameters
    ----------
    images : (n, h, w, c) or (n, d, h, w, c) uint8, best a memory map
    field : tuple of slice, the part of each image that is read; boxes count from its corner
    boxes : (n, K, 2 * axes); classes : (n, K) int, `EMPTY` for none (`packed`)
    n_classes : int; step : pixels per cell along each axis (`detectors.grid`)
    rows : which images
    masks : (n, h, w) or (n, d, h, w) uint8, optional
        255 times the share of each pixel of the field that is lesion (`lesions.cover`); follows the image.
    drawn : (n,) bool, optional
        Images whose mask says what is lesion (`lesions.drawn`), default all; of others the share is -1: unknown.
    policy, seed, shuffle, repeat, first_epoch : as `pipeline.dataset`
    patch : spatial size, optional
        Cut from each image, another one in each epoch, around a lesion with probability ``foreground`` (`windows`).

    Returns
    -------
    tf.data.Dataset of (x, y): x float32 0..255, y a dict with the keys of `detectors.build`
    """
    rows, window = np.asarray(rows), (slice(None), *field)
    policy = {name: value for name, value in (policy or {}).items() if value}
    policy |= {"marks": 1} if masks is not None else {}
    drawn = tf.constant(np.full(len(images), True) if drawn is None else np.asarray(drawn, bool))
    shape = tuple(len(range(*line.indices(n))) for line, n in zip(field, images.shape[1:-1], strict=True))
    channels, patch = images.shape[-1] + (masks is not None), tuple(patch or shape)

    def index():
        for epoch in itertools.count(first_epoch) if repeat else [first_epoch]:
            chance = np.random.default_rng([seed, epoch, 1]).random((len(rows), 12), dtype=np.float32)
            where = np.random.default_rng([seed, epoch, 2]).random((len(rows), 2 + len(shape)))
            first = windows(boxes[rows], classes[rows], shape, patch, foreground, where)
            for position in pipeline.batches(len(rows), batch_size, seed, epoch, shuffle):
                key = np.array([seed * 65537 + epoch, position[0]], np.int64)
                yield rows[position], first[position], chance[position], key

    def load(chosen, first):
        parts = [pipeline.read_rows(images, chosen)[window]]
        if masks is not None:
            parts.append(pipeline.read_rows(masks, chosen)[..., None])
        cuts = [tuple(slice(a, a + n) for a, n in zip(corner, patch, strict=True)) for corner in first]
        x = np.stack([whole[cut] for whole, cut in zip(np.concatenate(parts, -1), cuts, strict=True)])
        return x, boxes[chosen] - np.tile(first, 2)[:, None].astype("float32"), classes[chosen]

    @tf.autograph.experimental.do_not_convert
    def fetch(chosen, first, chance, key):
        x, corners, names = tf.numpy_function(load, [chosen, first], [tf.uint8, tf.float32, tf.int32], stateful=False)
        x = tf.ensure_shape(x, [None, *patch, channels])
        x = pipeline.augment(x, chance, key, policy)
        corners = move(tf.ensure_shape(corners, [None, *boxes.shape[1:]]), chance, policy, patch)
        wanted = targets(corners, tf.ensure_shape(names, [None, boxes.shape[1]]), n_classes, patch, step)
        y = {"heat": wanted[..., :n_classes], "box": wanted[..., n_classes:]}
        if masks is None:
            return x, y
        known = tf.reshape(tf.gather(drawn, chosen), [-1] + [1] * (len(shape) + 1))
        return x[..., :-1], y | {"mask": tf.where(known, x[..., -1:] / 255, -1.0)}

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, len(shape)], tf.int64),
                 tf.TensorSpec([None, 12], tf.float32), tf.TensorSpec([2], tf.int64))
    source = tf.data.Dataset.from_generator(index, output_signature=signature)
    if not repeat:
        source = source.apply(tf.data.experimental.assert_cardinality(pipeline.steps(len(rows), batch_size)))
    return source.map(fetch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


# ---------------------------------------------------------------- from the network's answer to boxes

def predict(model, images, field, rows, batch_size=8, flips=""):
    """What the network says of images, batch by batch.

    Parameters
    ----------
    flips : str
        Axes (l left-right, u up-down, z through the plane): the answer is the mean over all mirror images.

    Yields
    ------
    dict of arrays of one image, as the output of the network, with ``row``
    """
    axes, window = len(field), (slice(None), *field)
    names = {"l": axes, "u": axes - 1} | ({"z": 1} if axes == 3 else {})
    if set(flips) - set(names):
        raise ValueError(f"flips {flips!r}: expected some of {', '.join(names)} for images with {axes} axes")
    mirrored = [chosen for n in range(len(flips) + 1) for chosen in itertools.combinations(flips, n)]
    for start in range(0, len(rows), batch_size):
        chosen = np.asarray(rows[start:start + batch_size])
        x = pipeline.read_rows(images, chosen)[window].astype("float32")
        said = [_mirror(model(np.flip(x, [names[k] for k in flip]), training=False), [names[k] for k in flip], x.shape)
                for flip in mirrored]
        mean = {name: np.mean([one[name] for one in said], axis=0) for name in said[0]}
        for i, row in enumerate(chosen):
            yield {"row": int(row)} | {name: part[i] for name, part in mean.items()}


def _mirror(said, axes, shape):
    """The answer for a mirror image turned back; corners change places."""
    said = {name: np.flip(np.asarray(part), axes) for name, part in said.items()}
    n = said["box"].shape[-1] // 2
    for axis in axes:
        box = said["box"].copy()
        for here, there in ((axis - 1, n + axis - 1), (n + axis - 1, axis - 1)):
            box[..., here] = shape[axis] - said["box"][..., there]
        said["box"] = box
    return said


def decode(heat, box, step, at_least=0.02, most=MOST):
    """Peaks of heatmaps as boxes: a cell that is the highest of its neighbourhood.

    A box is moved until its centre lies in its cell. Where one slice or two are as likely, the mean of both would
    otherwise lie on the edge between them and mark neither.

    Parameters
    ----------
    heat : (cells..., n_classes) array; box : (cells..., 2 * axes); step : pixels per cell along each axis

    Returns
    -------
    boxes (k, 2 * axes), classes (k,) int, scores (k,): by falling score, at most ``most``
    """
    from scipy import ndimage

    top = ndimage.maximum_filter(heat, size=(3,) * (heat.ndim - 1) + (1,), mode="constant")
    place = np.argwhere((heat >= top) & (heat >= at_least))
    scores = heat[tuple(place.T)]
    order = np.argsort(-scores, kind="stable")[:most]
    place = place[order]
    found, step = box[tuple(place[:, :-1].T)].astype(float), np.asarray(step)
    centre = found.reshape(-1, 2, len(step)).mean(axis=1)
    moved = np.clip(centre, (place[:, :-1] + INSIDE) * step, (place[:, :-1] + 1 - INSIDE) * step) - centre
    return found + np.tile(moved, 2), place[:, -1], scores[order].astype(float)


def candidates(model, images, field, rows, names, batch_size=8, flips="", at_least=0.02, most=MOST):
    """Candidates in images, before non-maximum suppression.

    Parameters
    ----------
    names : list of classes; the others as in `predict` and `decode`

    Returns
    -------
    DataFrame
        place (a number of ``rows``), label, score, the box in pixels of the field, and ``mass``: how many pixels are
        lesion in and around the box by the mask output (NaN without one).
    """
    step = model.get_layer("box").step
    nothing = matching.box_table(np.empty((0, 2 * len(field))))
    parts = [nothing.assign(place=np.empty(0, int), label="", score=0.0, mass=0.0)]
    answers = predict(model, images, field, rows, batch_size, flips)
    for said in tqdm(answers, "finding lesions", len(rows), unit="image", mininterval=1, disable=len(rows) < 200):
        boxes, classes, scores = decode(said["heat"], said["box"], step, at_least, most)
        mass = lesions.masses(said["mask"][..., 0], boxes) if "mask" in said else np.nan
        parts.append(matching.box_table(boxes).assign(place=said["row"], label=np.array(names)[classes], score=scores,
                                                 mass=mass))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
