"""The U-Net for masks: readable, in 2-D and 3-D, plain or residual, with or without attention gates.

Input grey values 0..255, output the probability of background and of each class at every pixel. Volumes with thick
slices are shrunk in-plane first, by the rule of `models.conv`. Ronneberger et al. 2015, arXiv:1505.04597; what made
the difference in practice: Isensee et al. 2021 (nnU-Net), doi:10.1038/s41592-020-01008-z.
"""

import numpy as np

from medlab.networks import models
from medlab.networks.pipeline import keras

layers, ops = keras.layers, keras.ops
IGNORE = 255  # label of pixels that count for nothing: outside the field of view, or outside the image


def blocks(text: str) -> dict:
    """Options of `features` from words: ``residual`` or ``plain``, and ``attention`` behind a comma.

    ``residual`` puts short cuts inside the blocks, ``attention`` gates on the way up.
    """
    words = [word.strip() for word in text.split(",")]
    if words[1:] not in ([], ["attention"]) or words[0] not in ("residual", "plain"):
        raise ValueError(f"segmentation_blocks is {text!r}; expected residual or plain, and attention behind a comma")
    return {"residual": words[0] == "residual", "attention": len(words) > 1}


def block(x, filters, residual=False, stride=1):
    """Two convolutions, with a short cut if wanted."""
    if residual:
        return models.residual(x, filters, stride)
    return models.conv(models.conv(x, filters, stride=stride), filters)


def grow(x, skip):
    """Enlarge by nearest neighbour to the shape of a finer map; an odd side loses its last line again."""
    factor = [-(-fine // coarse) for fine, coarse in zip(skip.shape[1:-1], x.shape[1:-1], strict=True)]
    if max(factor) > 1:
        x = (layers.UpSampling2D if len(factor) == 2 else layers.UpSampling3D)(factor)(x)
    return _cut(x, skip.shape[1:-1])


def _cut(x, shape):
    extra = [(0, have - want) for have, want in zip(x.shape[1:-1], shape, strict=True)]
    crop = layers.Cropping2D if len(extra) == 2 else layers.Cropping3D
    return crop(extra)(x) if max(more for _, more in extra) else x


def gate(skip, x):
    """Attention gate (Oktay et al. 2018, arXiv:1804.03999): the coarser map says where the finer one counts."""
    channels = max(4, skip.shape[-1] // 2)
    both = layers.Add()([models.conv(skip, channels, 1, relu=False), models.conv(x, channels, 1, relu=False)])
    dense = layers.Conv2D if len(skip.shape) == 4 else layers.Conv3D
    weight = dense(1, 1, activation="sigmoid", bias_initializer="ones")(layers.ReLU()(both))  # begins rather open
    return layers.Multiply()([skip, weight])


def features(x, *, width=16, depth=4, residual=True, attention=False, dropout=0.0, stem=1, widest=256):
    """Feature map of a normalised image at 1 / `stem` of its resolution: down, and up again beside the short cuts.

    Parameters
    ----------
    x : (b, h, w, c) or (b, d, h, w, c) tensor
    width : int
        Channels of the finest map; each halving of the resolution doubles them, up to `widest`.
    depth : int
        Halvings; fewer where the map would become smaller than 4 pixels.
    stem : int
        Stride of the first convolution (1, 2 or 4): the whole network then works on so much coarser maps.

    Returns
    -------
    (b, h / stem, w / stem, width) tensor
    """
    if stem not in (1, 2, 4):
        raise ValueError(f"stem is {stem}; expected 1, 2 or 4")
    for _ in range({1: 0, 2: 1, 4: 2}[stem]):
        x = models.conv(x, width, stride=2)
    skips, x = [], block(x, width, residual)
    for level in range(1, depth + 1):
        if max(x.shape[1:-1]) < 8:
            break
        skips.append(x)
        x = block(models.shrink(x), min(widest, width * 2**level), residual)
    x = layers.Dropout(dropout)(x) if dropout else x
    for skip in reversed(skips):
        x = grow(models.conv(x, skip.shape[-1], 1), skip)
        skip = gate(skip, x) if attention else skip
        x = block(layers.Concatenate()([skip, x]), skip.shape[-1], residual)
    return x


def build(input_shape, n_classes=1, *, mean=0.0, std=1.0, standardise=False, **options):
    """U-Net for images of grey values 0..255.

    Parameters
    ----------
    input_shape : (h, w, c) or (d, h, w, c)
        Any size; all spatial sizes of at least 4 pixels can be halved.
    n_classes : int
        K classes beside the background.
    mean, std : float or (c,)
        Of grey values / 255 over the training images; part of the model.
    standardise : bool
        Bring each channel of each image (patch) to mean 0 and standard deviation 1, whatever it came with: where
        grey values have no unit (MR, photographs) a scanner's brightness then says nothing.
    options : see `features`

    Returns
    -------
    keras.Model
        To probabilities (b, h, w, K + 1) or (b, d, h, w, K + 1), background first, adding up to 1.
    """
    channels, rank = input_shape[-1], len(input_shape) - 1
    inputs = keras.Input(tuple(input_shape), name="image")
    scale = [np.broadcast_to(np.asarray(v, float) * 255, channels).tolist() for v in (mean, std)]
    x = layers.Normalization(mean=scale[0], variance=[max(s, 1.0) ** 2 for s in scale[1]])(inputs)
    x = layers.GroupNormalization(channels, epsilon=1e-4, center=False, scale=False)(x) if standardise else x
    x = features(x, **options)
    # silent features, as the rectifier leaves them, would otherwise say no more than a bias that grows slowly: a class
    # which they come to mean does not get far above one half
    x = layers.BatchNormalization(momentum=0.9)(x)
    up = [-(-fine // coarse) for fine, coarse in zip(input_shape[:-1], x.shape[1:-1], strict=True)]
    last = layers.Conv2DTranspose if rank == 2 else layers.Conv3DTranspose  # of stride 1 a convolution of one pixel
    x = last(n_classes + 1, up, up, kernel_initializer="he_normal", dtype="float32", name="scores")(x)
    return keras.Model(inputs, layers.Softmax(dtype="float32", name="probabilities")(_cut(x, input_shape[:-1])),
                       name="unet")


def _one_hot(y_true, n):
    """Labels (b, ...) as (b, ..., n), and which pixels count (b, ..., 1); `IGNORE` counts for nothing."""
    labels = ops.cast(y_true, "int32")
    counts = ops.cast(ops.not_equal(labels, IGNORE), "float32")[..., None]
    return ops.one_hot(labels, n, dtype="float32") * counts, counts


def _over_pixels(x):
    return ops.sum(x, axis=tuple(range(len(x.shape) - 1)))


@keras.saving.register_keras_serializable("medlab")
class DiceCrossEntropy(keras.losses.Loss):
    """Cross-entropy per pixel plus 1 minus the soft Dice of each class, over all pixels of the batch.

    `y_true` (b, ...) labels 0..K, `IGNORE` where nothing is to be learnt; `y_pred` (b, ..., K + 1) probabilities.
    The Dice of the whole batch, as images without any foreground would otherwise give 0 however well they are
    called. Milletari et al. 2016, arXiv:1606.04797.

    Parameters
    ----------
    dice : float
        Weight of the Dice part; 0 is cross-entropy alone.
    """

    def __init__(self, dice=1.0, name="dice_cross_entropy", dtype=None):
        super().__init__(name=name, reduction=None, dtype=dtype)
        self.dice = float(dice)

    def call(self, y_true, y_pred):
        truth, counts = _one_hot(y_true, y_pred.shape[-1])
        p = ops.clip(ops.cast(y_pred, "float32"), 1e-6, 1.0)
        entropy = -ops.sum(truth * ops.log(p)) / ops.maximum(ops.sum(counts), 1.0)
        both, size = _over_pixels(truth * p), _over_pixels(truth) + _over_pixels(p * counts)
        soft = (2 * both + 1.0) / (size + 1.0)
        return entropy + self.dice * (1 - ops.mean(soft[1:]))

    def get_config(self):
        return {"dice": self.dice, "name": self.name}


@keras.saving.register_keras_serializable("medlab")
class Dice(keras.metrics.Metric):
    """Dice of the most probable class, all pixels of all batches together, mean over the classes that occur."""

    def __init__(self, n_classes=1, name="dice", **kwargs):
        super().__init__(name=name, **kwargs)
        self.n_classes = n_classes
        self.both = self.add_weight(shape=(n_classes,), name="both", initializer="zeros")
        self.size = self.add_weight(shape=(n_classes,), name="size", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth, counts = _one_hot(y_true, self.n_classes + 1)
        called = ops.one_hot(ops.argmax(y_pred, -1), self.n_classes + 1, dtype="float32") * counts
        self.both.assign_add(_over_pixels(truth * called)[1:])
        self.size.assign_add((_over_pixels(truth) + _over_pixels(called))[1:])

    def result(self):
        there = ops.cast(self.size > 0, "float32")
        each = 2 * self.both / ops.maximum(self.size, 1.0)
        return ops.sum(each * there) / ops.maximum(ops.sum(there), 1.0)

    def get_config(self):
        return super().get_config() | {"n_classes": self.n_classes}
