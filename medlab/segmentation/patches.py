"""Patches of images and label maps for training, and the way back: predictions of overlapping windows, blended.

A patch is cut out and augmented in one resampling, image by interpolation and label map by the nearest pixel through
the same matrix. Every random number is a function of (seed, epoch, element), as in `networks.pipeline`. Memory is
bounded by the batch: of volumes only the slices of the patches are read.
"""

import itertools

import numpy as np

from medlab.networks import pipeline
from medlab.networks.pipeline import tf
from medlab.segmentation.unet import IGNORE

PLACES = 64  # pixels of each class and image that are remembered as centres of patches
OVERLAP = 0.5  # share that neighbouring windows have in common when a whole image is predicted
DRAWS = 12  # uniform numbers of `pipeline.affine`; those that place the patch come behind


def parse(text: str, shape: tuple) -> tuple:
    """Spatial size of patches as a parameter says it: ``64``, ``16, 64, 64``, or ``auto``.

    ``auto`` is 256 pixels of a picture, (32, 64, 64) of a volume; otherwise as `fit`.
    """
    sizes = [int(n) for n in text.replace("auto", "32, 64, 64" if len(shape) == 3 else "256").split(",")]
    return fit(sizes * len(shape) if len(sizes) == 1 else sizes, shape)


def fit(patch, shape):
    """Spatial size of patches: of each axis as wanted, 0 is the whole, never more than there is."""
    patch = (patch,) * len(shape) if np.isscalar(patch) else tuple(patch)
    if len(patch) != len(shape) or min(patch) < 0:
        raise ValueError(f"patch is {patch}; expected {len(shape)} numbers of pixels, 0 for the whole axis")
    return tuple(min(p or side, side) for p, side in zip(patch, shape, strict=True))


def centres(masks, rows, seed=0):
    """Where there is something to find.

    Parameters
    ----------
    masks : (n, h, w) or (n, d, h, w) uint8 label maps; rows : (m,) int

    Returns
    -------
    list of m lists with an (k, axes) int array for each class that the image holds, k at most `PLACES`
    """
    found = []
    for row in rows:
        mask, here = pipeline.read_rows(masks, [row])[0], []
        for value in np.setdiff1d(np.unique(mask), (0, IGNORE)):
            at = np.flatnonzero(mask == value)
            at = np.random.default_rng([seed, int(row)]).choice(at, min(PLACES, len(at)), replace=False)
            here.append(np.stack(np.unravel_index(at, mask.shape), axis=1))
        found.append(here)
    return found


def corners(found, chance, shape, patch, foreground):
    """First pixel of each patch, (b, axes) int: around foreground with the given probability, else anywhere.

    Parameters
    ----------
    found : b entries of `centres`; chance : (b, 3 + axes) uniform numbers
    """
    room, half = np.subtract(shape, patch), np.array(patch) // 2
    at = np.floor(chance[:, 3:] * (room + 1)).astype(int)
    for i, classes in enumerate(found):
        if classes and chance[i, 0] < foreground:
            places = classes[int(chance[i, 1] * len(classes))]  # each class as often as any other
            shift = (chance[i, 3:] - 0.5) * patch / 2  # not always in the middle
            at[i] = np.clip(np.round(places[int(chance[i, 2] * len(places))] - half + shift), 0, room)
    return at


def dataset(images, masks, patch, batch_size, *, rows=None, policy=None, foreground=0.5, seed=0, shuffle=True,
            repeat=True, first_epoch=0, marks=0):
    """Batches of patches with their label maps, augmented.

    Parameters
    ----------
    images : (n, h, w, c) or (n, d, h, w, c) uint8, best ``np.load(..., mmap_mode="r")``
    masks : (n, h, w) or (n, d, h, w) uint8, 0 background, 1..K, `unet.IGNORE` where nothing is to be learnt
    patch : spatial size, see `fit`
    rows : (m,) int, optional
        Which images, default all; a row that is named k times gives k patches an epoch.
    policy : dict, optional
        See `policies.POLICIES`; None or {} only cuts. ``mixup`` has no meaning here.
    foreground : float
        Probability that a patch is placed around a pixel of some class, where the image holds any.
    repeat, first_epoch, marks : as `pipeline.dataset`

    Returns
    -------
    tf.data.Dataset
        Of (x float32 0..255, y uint8 labels); y is `unet.IGNORE` where the turned patch leaves the image.
    """
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    shape, patch = images.shape[1:-1], fit(patch, images.shape[1:-1])
    if masks.shape != images.shape[:-1]:
        raise ValueError(f"images of shape {images.shape} with masks of shape {masks.shape}: expected the same, "
                         "without the channels")
    policy = {key: value for key, value in (policy or {}).items() if value}
    policy |= {"marks": marks} if marks else {}
    unique, number = np.unique(rows, return_inverse=True)
    found = centres(masks, unique, seed) if foreground else [[] for _ in unique]
    depth, volume = (patch[0], True) if len(shape) == 3 else (1, False)
    flat = [part.reshape(-1, *part.shape[2:]) if volume else part for part in (images, masks)]

    def index():
        for epoch in itertools.count(first_epoch) if repeat else [first_epoch]:
            chance = np.random.default_rng([seed, epoch, 2]).random((len(rows), DRAWS + 3 + len(shape)), np.float32)
            for position in pipeline.batches(len(rows), batch_size, seed, epoch, shuffle):
                yield position, chance[position], np.array([seed * 65537 + epoch, position[0]], np.int64)

    def load(position, chance):
        at = corners([found[i] for i in number[position]], chance[:, DRAWS:], shape, patch, foreground)
        slices = rows[position][:, None]
        if volume:
            slices = slices * shape[0] + _through(at[:, :1], chance, depth, shape[0], policy)
        return *(pipeline.read_rows(part, slices.ravel()) for part in flat), at[:, -2:].astype(np.float32)

    @tf.autograph.experimental.do_not_convert
    def fetch(position, chance, key):
        x, y, at = tf.numpy_function(load, [position, chance], [images.dtype, masks.dtype, tf.float32], stateful=False)
        x, y = (tf.ensure_shape(part, [None, *whole.shape[1:]]) for part, whole in zip((x, y), flat, strict=True))
        matrix = pipeline.affine(chance, policy, *patch[-2:]) + offset(tf.ensure_shape(at, [None, 2]))
        x, y = crop(x, y, tf.repeat(matrix, depth, axis=0), *patch[-2:], policy.get("fill", "constant"))
        if volume:
            x, y = (tf.reshape(part, [-1, *patch, *part.shape[3:]]) for part in (x, y))
        grey = x[..., :-marks] if marks else x
        grey = pipeline.vary_grey(grey, chance, key, policy)
        return tf.concat([grey, x[..., -marks:]], -1) if marks else grey, y

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, DRAWS + 3 + len(shape)], tf.float32),
                 tf.TensorSpec([2], tf.int64))
    source = tf.data.Dataset.from_generator(index, output_signature=signature)
    if not repeat:
        source = source.apply(tf.data.experimental.assert_cardinality(pipeline.steps(len(rows), batch_size)))
    return source.map(fetch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _through(first, chance, depth, size, policy):
    """Slices of the patches (b, depth): from the first on, shifted or in reverse if the policy says so."""
    place = first + np.arange(depth) + np.round((chance[:, 8:9] * 2 - 1) * policy.get("shift_z", 0)).astype(int)
    reverse = (chance[:, 9:10] < 0.5) & ("z" in policy.get("flip", ""))
    return np.clip(np.where(reverse, place[:, ::-1], place), 0, size - 1)


def offset(at):
    """Rows to add to those of `pipeline.affine`, which stay within the patch: (b, 8)."""
    zero = tf.zeros_like(at[:, 0])
    return tf.stack([zero, zero, at[:, 1], zero, zero, at[:, 0], zero, zero], 1)


@tf.function(jit_compile=True)
def crop(images, labels, matrix, height, width, fill):
    """Cut and move in one resampling: images by the four neighbours, label maps by the nearest.

    images (n, H, W, c), labels (n, H, W) uint8, matrix (n, 8) as `pipeline.affine` makes it. Returns float32 and
    uint8 of (n, height, width); outside the image 0 and `IGNORE`, with ``fill`` reflect or nearest what is there.
    """
    n, (rows, columns, channels) = tf.shape(images)[0], images.shape[1:]
    row, column = tf.meshgrid(tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32), indexing="ij")
    a, b, x0, c, d, y0 = (matrix[:, i, None, None] for i in range(6))
    at_x, at_y = a * column + b * row + x0, c * column + d * row + y0
    (x, x_in), (y, y_in) = pipeline.neighbours(at_x, columns, fill), pipeline.neighbours(at_y, rows, fill)
    flat, total = tf.reshape(images, [n, rows * columns, channels]), 0.0
    for i, j in itertools.product((0, 1), (0, 1)):
        place = tf.reshape(y[i] * columns + x[j], [n, height * width])
        value = tf.cast(tf.gather(flat, place, batch_dims=1), tf.float32)
        total += tf.reshape(value, [n, height, width, channels]) * (y_in[i] * x_in[j])[..., None]
    near_x, near_y = (tf.where(w[1] > w[0], k[1], k[0]) for k, w in ((x, x_in), (y, y_in)))
    inside = (x_in[0] + x_in[1] >= 0.5) & (y_in[0] + y_in[1] >= 0.5)
    place = tf.reshape(near_y * columns + near_x, [n, height * width])
    label = tf.reshape(tf.gather(tf.reshape(labels, [n, rows * columns]), place, batch_dims=1), [n, height, width])
    return total, tf.where(inside, label, tf.cast(IGNORE, label.dtype))


def windows(shape, patch, overlap=OVERLAP):
    """First pixels of windows that cover an image, (k, axes) int: evenly spaced, overlapping by at least `overlap`."""
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; expected 0 up to, but not, 1")
    axes = []
    for side, size in zip(shape, patch, strict=True):
        room = max(0, side - size)
        count = 1 + int(np.ceil(room / max(1, int(size * (1 - overlap)))))
        axes.append(np.round(np.linspace(0, room, count)).astype(int))
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))


def blend(patch, sigma=0.125):
    """Weight of each pixel of a window, float32: a Gaussian, as the rim of a window sees half of what the middle sees.

    sigma is a share of the side (Isensee et al. 2021); the smallest weight is 0.001 of the largest.
    """
    lines = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (sigma * side)) ** 2) for side in patch]
    weight = np.ones(())
    for line in lines:
        weight = weight[..., None] * line
    return np.maximum(weight / weight.max(), 1e-3).astype(np.float32)


def predict(model, image, overlap=OVERLAP, flips="", batch_size=8):
    """Probabilities of one image of any size, by windows of the size the network takes.

    Parameters
    ----------
    model : keras.Model from (b, *patch, c) to (b, *patch, K + 1)
    image : (h, w, c) or (d, h, w, c) grey values 0..255; smaller than the window: filled with 0, cut off again
    overlap : float
        Share that neighbouring windows have in common at least.
    flips : str
        Also of mirror images, averaged: some of l (left-right), u (up-down), z (through the plane).
    batch_size : int
        Windows at once. Beyond them memory holds one float32 map of the image per class, and one of weights.

    Returns
    -------
    float32 (h, w, K + 1) or (d, h, w, K + 1), adding up to 1
    """
    patch, shape = model.input_shape[1:-1], image.shape[:-1]
    wide = [(0, max(0, p - side)) for p, side in zip(patch, shape, strict=True)]
    image = np.pad(image, [*wide, (0, 0)])
    weight, starts = blend(patch)[..., None], windows(image.shape[:-1], patch, overlap)
    total = np.zeros((*image.shape[:-1], model.output_shape[-1]), np.float32)
    norm = np.zeros((*image.shape[:-1], 1), np.float32)
    for some in np.array_split(starts, -(-len(starts) // batch_size)):
        places = [tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True)) for start in some]
        batch = np.stack([image[place] for place in places]).astype(np.float32)
        for place, found in zip(places, _mirrored(model, batch, flips), strict=True):
            total[place] += weight * found
            norm[place] += weight
    return (total / norm)[tuple(slice(0, side) for side in shape)]


def _mirrored(model, batch, flips):
    """Mean of the predictions of a batch and its mirror images."""
    axes = [{"l": -2, "u": -3, "z": -4}[letter] for letter in flips]
    if axes and min(axes) < -batch.ndim + 1:
        raise ValueError(f"flips is {flips!r}: z is for volumes, these are pictures")
    total, count = 0, 0
    for some in itertools.chain.from_iterable(itertools.combinations(axes, k) for k in range(len(axes) + 1)):
        total = total + np.flip(model.predict_on_batch(np.flip(batch, some)), some)
        count += 1
    return total / count
