"""From prepared arrays to ``tf.data``: batches read from disk, augmented in one resampling.

Memory is bounded by the batch: rows are read from the ``.npy`` file when they are needed, never all of them.
Every random number is a function of (seed, epoch, element), so that a run, also a resumed one, is
bit-identical however many threads work on it. All geometry (rotation, shift, zoom, shear, flip) is composed
into one matrix and resampled once; masks go through the same matrix. This module is also the one place that
imports TensorFlow.
"""

import contextlib
import itertools
import os
import platform
from collections.abc import Iterator

import numpy as np

from medlab.cohorts import vocabulary


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silence file descriptor 2: TensorFlow's C++ lines bypass sys.stderr and would be in every report."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # lines of later operations; those of the import ignore it
if platform.machine().lower() in ("x86_64", "amd64"):  # TensorFlow asks for AVX-512 before it does so by itself;
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # with AVX2 alone a step in 3-D takes six times as long without
with silence():
    import keras
    import tensorflow as tf

    tf.constant(0)  # the first operation starts the device, which writes two more lines
    keras.ops.convert_to_tensor(0)


def read_rows(images, rows) -> np.ndarray:
    """Rows of an array, ``images[rows]``; of a memory-mapped ``.npy`` by reading the file.

    Pages touched through a mapping count as memory of the process until the kernel takes them back; reading
    keeps the resident size at one batch.
    """
    rows = np.asarray(rows)
    if not (isinstance(images, np.memmap) and images.flags.c_contiguous and images.filename and images.size):
        return np.asarray(images[rows])
    if rows.min(initial=0) < -len(images) or rows.max(initial=0) >= len(images):
        raise IndexError(f"rows {rows.min()}..{rows.max()} of an array of {len(images)} rows")
    batch = np.empty((len(rows), *images.shape[1:]), images.dtype)
    with open(images.filename, "rb", buffering=0) as file:
        for target, row in zip(batch, rows % len(images), strict=True):
            file.seek(images.offset + int(row) * images.strides[0])
            if file.readinto(target.data) != target.nbytes:
                raise ValueError(f"{images.filename}: row {row} is cut short; run 02 again")
    return batch


def batches(n, batch_size, seed=0, epoch=0, shuffle=False, spread=None) -> list[np.ndarray]:
    """Positions 0..n-1 of one epoch as a list of arrays of nearly equal size (never one left-over image).

    With `spread` (n,) bool, such as the events of a Cox loss, every batch gets its share of them.
    """
    rng, count = np.random.default_rng([seed, epoch]), steps(n, batch_size)
    order = rng.permutation(n) if shuffle else np.arange(n)
    if spread is None:
        return np.array_split(order, count)
    spread = np.asarray(spread, bool)[order]
    dealt = np.concatenate([order[spread], order[~spread]])  # as cards: the k-th batch gets every count-th
    return [dealt[k::count] for k in range(count)]


def steps(n, batch_size) -> int:
    """Batches per epoch."""
    return max(1, -(-n // batch_size))


def _read(part, rows):
    """Rows (b,) or (b, k) of an array, flat; rows below 0 are absent: zeros."""
    rows = rows.ravel()
    found = read_rows(part, np.maximum(rows, 0)) if len(part) else np.zeros((len(rows), *part.shape[1:]), part.dtype)
    found[rows < 0] = 0
    return found


def gather(images, rows, inputs, places) -> dict:
    """What `dataset` gives of some units at once, without augmentation: a dict of x, float32."""
    beside = {name: part[places] for name, part in inputs.items()}
    if images is None:
        return beside
    chosen = np.asarray(rows)[places]
    x = _read(images, chosen).astype("float32").reshape(*chosen.shape, *images.shape[1:])
    return {"image": x} | beside


def versions(images, row, prepared, policy, seed=0, n=12) -> list:
    """Pictures of one image as a network sees it, drawn again and again; of a volume the middle slice.

    Parameters
    ----------
    images : array of images.npy; row : of the image
    prepared : dict
        preprocessing.json: ``marks``, ``window``.
    policy : dict of `policies.policy`

    Returns
    -------
    list of n (h, w) or (h, w, 3) uint8 arrays; three channels are shown as colours only where they are.
    """
    marks = prepared.get("marks", 0)
    batch = next(iter(dataset(images, rows=np.repeat(row, n), batch_size=n, policy=policy, seed=seed, marks=marks)))
    pictures = batch.numpy().astype("uint8")
    pictures = pictures if pictures.ndim == 4 else pictures[:, pictures.shape[1] // 2]
    colour = pictures.shape[-1] == 3 and not marks and "," not in str(prepared.get("window"))
    return list(pictures if colour else pictures[..., 0])


def versions_in_words(n: int, axes: int, policy: dict) -> str:
    """What `versions` shows: how many, of an image of so many axes, and what the policy changes between them."""
    what = "The middle slice of one training volume" if axes == 3 else "One training image"
    changed = ", ".join(vocabulary.name_and_unit(name)[0] for name in policy)
    return f"{what}, {n} times as the network may read it. " + (f"What varies: {changed}." if changed
                                                               else "Nothing varies: there is no augmentation.")


def _floats(part):
    if isinstance(part, dict):
        return {name: _floats(value) for name, value in part.items()}
    return None if part is None else np.asarray(part, "float32")


def dataset(images, targets=None, batch_size=32, *, rows=None, weights=None, masks=None, inputs=None, policy=None,
            seed=0, shuffle=False, repeat=False, first_epoch=0, spread=None, marks=0) -> tf.data.Dataset:
    """Batches of images, augmented.

    Parameters
    ----------
    images : (n, h, w, c) or (n, d, h, w, c) uint8 array, best ``np.load(..., mmap_mode="r")``; None for a table
    targets : (m, ...) array or dict of them, optional
        One per entry of `rows`.
    rows : (m,) or (m, k) int array, optional
        Which rows of `images` (and `masks`), default all; (m, k): the k images of a patient, -1 for none (zeros).
    weights : (m,) array or dict of them, optional
        Sample weights.
    masks : array like `images`, optional
        Follow the geometry of the image by nearest neighbour.
    inputs : dict of (m, ...) arrays, optional
        Given beside the image: x is then a dict of these and ``image``.
    policy : dict, optional
        See `policies.POLICIES`; None changes nothing. ``mixup`` (a Beta parameter) needs float targets.
    repeat : bool
        Endless, epoch after epoch from `first_epoch` on (use ``steps_per_epoch=steps(m, batch_size)``);
        what comes is the same whether or not a run was interrupted. False: one pass.
    spread : (m,) bool array, optional
        See `batches`.
    marks : int
        The last channels are masks: they follow the geometry, their grey values are left alone.

    Returns
    -------
    tf.data.Dataset
        Of x, (x, y), (x, y, w), or with masks of (x, mask), x float32 in 0..255.
    """
    m = len(next(iter(inputs.values()))) if images is None else len(images if rows is None else rows)
    rows = np.arange(m) if rows is None else np.asarray(rows)
    k = rows.shape[1] if rows.ndim == 2 else 1
    policy = {key: value for key, value in (policy or {}).items() if value} | ({"marks": marks} if marks else {})
    arrays = [part for part in (images, masks) if part is not None]
    beside = tuple(_floats(part) for part in (inputs or {}, targets, weights))
    extras = [part for part in tf.nest.flatten(beside) if part is not None]

    def index():
        for epoch in itertools.count(first_epoch) if repeat else [first_epoch]:
            chance = np.random.default_rng([seed, epoch, 1]).random((m, k, 12), dtype=np.float32)
            for position in batches(m, batch_size, seed, epoch, shuffle, spread):
                key = np.array([seed * 65537 + epoch, position[0]], np.int64)
                yield position, chance[position].reshape(-1, 12), key

    def load(position):
        return *(_read(part, rows[position]) for part in arrays), *(part[position] for part in extras)

    types = [part.dtype for part in arrays] + [np.float32] * len(extras)
    shapes = [part.shape[1:] for part in arrays + extras]

    @tf.autograph.experimental.do_not_convert  # every branch below is decided while building
    def fetch(position, chance, key):
        parts = tf.numpy_function(load, [position], types, stateful=False)
        parts = [tf.ensure_shape(part, [None, *shape]) for part, shape in zip(parts, shapes, strict=True)]
        return finish(parts, chance, key)

    def finish(parts, chance, key):
        if masks is not None:
            return augment(parts[0], chance, key, policy), augment(parts[1], chance, key, policy, mask=True)
        x = augment(parts[0], chance, key, policy) if arrays else None
        others = iter(parts[len(arrays):])
        named, y, w = tf.nest.map_structure(lambda part: None if part is None else next(others), beside)
        if policy.get("mixup") and y is not None:
            x, y = _mixup(x, y, chance, policy["mixup"])
        if x is not None and rows.ndim == 2:
            x = tf.reshape(x, [-1, k, *x.shape[1:]])
        x = x if not named else named if x is None else {"image": x, **named}
        return (x, y, w) if w is not None else (x, y) if y is not None else x

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 12], tf.float32),
                 tf.TensorSpec([2], tf.int64))
    source = tf.data.Dataset.from_generator(index, output_signature=signature)
    if not repeat:
        source = source.apply(tf.data.experimental.assert_cardinality(steps(m, batch_size)))
    return source.map(fetch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def augment(images, chance, key, policy, mask=False) -> tf.Tensor:
    """One batch through the policy: one resampling, then gamma, contrast, brightness and noise in float.

    images (b, h, w, c) or (b, d, h, w, c); chance (b, 12) uniform numbers; key (2,) int for the noise.
    Returns float32 0..255; with `mask` only the geometry, by nearest neighbour, in the mask's own type.
    """
    volume = images.shape.rank == 5
    if volume and (policy.get("shift_z") or "z" in policy.get("flip", "")):
        images = _through_plane(images, chance, policy)
    x = images
    if any(policy.get(name) for name in ("rotation_deg", "shift", "zoom", "shear_deg", "flip")):
        x = _resample(x, affine(chance, policy, *images.shape[-3:-1]), policy.get("fill", "constant"), mask)
    if mask:
        return x
    x, marks = tf.cast(x, tf.float32), policy.get("marks", 0)
    return tf.concat([vary_grey(x[..., :-marks], chance, key, policy), x[..., -marks:]], -1) if marks else vary_grey(
        x, chance, key, policy)


def affine(chance, policy, height, width) -> tf.Tensor:
    """(b, 8) rows as `ImageProjectiveTransformV3` takes them: where each output pixel (x, y) is read in the input."""
    u = chance * 2 - 1
    turn, shear = (u[:, i] * (policy.get(name, 0) * np.pi / 180)
                   for i, name in enumerate(("rotation_deg", "shear_deg")))
    zoom_x = 1 / (1 + u[:, 2] * policy.get("zoom", 0))
    zoom_y = zoom_x * (1 + u[:, 3] * policy.get("zoom", 0) / 4)  # a little anisotropy
    flips = policy.get("flip", "")
    zoom_x *= tf.where((u[:, 4] < 0) & ("l" in flips), -1.0, 1.0)
    zoom_y *= tf.where((u[:, 5] < 0) & ("u" in flips), -1.0, 1.0)
    cos, sin = tf.cos(turn), tf.sin(turn)
    a, b = cos * zoom_x, (-sin + cos * tf.tan(shear)) * zoom_y
    c, d = sin * zoom_x, (cos + sin * tf.tan(shear)) * zoom_y
    cx, cy = (width - 1) / 2, (height - 1) / 2
    x0 = cx + u[:, 6] * policy.get("shift", 0) * width
    y0 = cy + u[:, 7] * policy.get("shift", 0) * height
    zero = tf.zeros_like(a)
    return tf.stack([a, b, x0 - a * cx - b * cy, c, d, y0 - c * cx - d * cy, zero, zero], 1)


def _resample(x, matrix, fill, nearest):
    if x.shape.rank == 5:  # every slice of a volume moves alike
        matrix = tf.repeat(matrix, x.shape[1], axis=0)
    flat = tf.reshape(x, [-1, *x.shape[-3:]])
    if not nearest:
        return tf.reshape(bilinear(flat, matrix, fill), tf.shape(x))
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(flat, tf.uint8) if flat.dtype == tf.bool else flat, transforms=matrix,
        output_shape=tf.constant(list(x.shape[-3:-1]), tf.int32), fill_value=0.0, fill_mode=fill.upper(),
        interpolation="NEAREST")
    return tf.reshape(tf.cast(moved, x.dtype), tf.shape(x))


@tf.function(jit_compile=True)
def bilinear(images, matrix, fill) -> tf.Tensor:
    """What `ImageProjectiveTransformV3` gives, compiled: 2.4 times its images per CPU second (180 x 180, grey)."""
    n, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    row, column = tf.meshgrid(*(tf.range(side, dtype=tf.float32) for side in (height, width)), indexing="ij")
    a, b, x0, c, d, y0 = (matrix[:, i, None, None] for i in range(6))
    x, x_in = neighbours(a * column + b * row + x0, width, fill)
    y, y_in = neighbours(c * column + d * row + y0, height, fill)
    flat = tf.reshape(images, [n, height * width, channels])
    total = 0.0
    for i in (0, 1):
        for j in (0, 1):
            place = tf.reshape(y[i] * width + x[j], [n, height * width])
            value = tf.cast(tf.gather(flat, place, batch_dims=1), tf.float32)
            total += tf.reshape(value, [n, height, width, channels]) * (y_in[i] * x_in[j])[..., None]
    return total


def neighbours(place, side, fill) -> tuple:
    """The two neighbours of each place along one axis and their weights, beyond the edge as `fill` says."""
    if fill == "reflect":
        place = side - tf.abs(tf.math.floormod(place + 0.5, 2.0 * side) - side) - 0.5
    first = tf.floor(place)
    weights, indices = (first + 1 - place, place - first), (tf.cast(first, tf.int32), tf.cast(first, tf.int32) + 1)
    if fill == "constant":
        weights = [tf.where((i >= 0) & (i < side), w, 0.0) for i, w in zip(indices, weights, strict=True)]
    return [tf.clip_by_value(i, 0, side - 1) for i in indices], weights


def _through_plane(images, chance, policy):
    depth = images.shape[1]
    slices = tf.cast(tf.round((chance[:, 8] * 2 - 1) * policy.get("shift_z", 0)), tf.int32)
    place = tf.range(depth)[None] + slices[:, None]
    flip = (chance[:, 9] < 0.5) & ("z" in policy.get("flip", ""))
    place = tf.where(flip[:, None], depth - 1 - place, place)
    return tf.gather(images, tf.clip_by_value(place, 0, depth - 1), batch_dims=1)


def vary_grey(x, chance, key, policy) -> tf.Tensor:
    each = [-1] + [1] * (x.shape.rank - 1)
    if policy.get("gamma"):
        shape = [tf.shape(x)[0], *[1] * (x.shape.rank - 2), x.shape[-1]]
        power = tf.random.stateless_uniform(shape, key + 1, -1.0, 1.0) * np.log1p(policy["gamma"])
        x = 255 * (tf.clip_by_value(x, 0.0, 255.0) / 255) ** tf.exp(power)
    if policy.get("contrast"):
        mean = tf.reduce_mean(x, axis=range(1, x.shape.rank), keepdims=True)
        x = (x - mean) * tf.reshape(1 + (chance[:, 10] * 2 - 1) * policy["contrast"], each) + mean
    if policy.get("brightness"):
        x += tf.reshape((chance[:, 11] * 2 - 1) * 255 * policy["brightness"], each)
    if policy.get("noise"):
        x += tf.random.stateless_normal(tf.shape(x), key, stddev=255 * policy["noise"])
    return tf.clip_by_value(x, 0.0, 255.0) if {"contrast", "brightness", "noise"} & set(policy) else x


def _mixup(x, y, chance, alpha):
    """Each image mixed with the batch read backwards; the share is mostly near 0 for a small alpha."""
    share = 0.5 * chance[:, 9] ** (1 / alpha)  # at most one half: the own label stays the larger part

    def mixed(part):
        return part + tf.reshape(share, [-1] + [1] * (part.shape.rank - 1)) * (part[::-1] - part)

    return mixed(x), tf.nest.map_structure(mixed, y)
