"""Networks that find lesions by their centres (`detection.heatmaps`): in pictures and volumes, small and readable.

Every class has a map of its centres, and every cell of it says the box of the lesion centred there: CenterNet (Zhou et
al. 2019, arXiv:1904.07850), with boxes learnt by overlap around each centre and not only at it, which takes a fraction
of the epochs (TTFNet: Liu et al. 2020, arXiv:1909.00700). Where masks exist a further output says how much of each
pixel is lesion.
"""

import itertools
import math

import numpy as np

from medlab.networks.pipeline import keras

layers, ops = keras.layers, keras.ops
PARTS = {"heat_loss": "loss of the heatmaps", "box_loss": "loss of the boxes", "mask_loss": "loss of the extent"}
PRIOR = 0.01  # what an untrained heatmap says everywhere (Lin et al. 2017, arXiv:1708.02002)


def narrow(sides: np.ndarray) -> float:
    """In-plane width that half of the boxes stay below, in pixels; sides (k, axes)."""
    return float(np.median(sides[:, -2:].min(axis=1)))


def stride_for(sides: np.ndarray) -> int:
    """Pixels per cell of the heatmap: the largest of 1, 2, 4 that is at most 0.4 of the width of a usual lesion.

    Two centres in one cell are one lesion.
    """
    return max(s for s in (1, 2, 4) if s == 1 or s <= 0.4 * narrow(sides))


def patch_for(sides: np.ndarray, shape: tuple, side: int = 0) -> tuple:
    """Spatial size of what is learnt from: whole through the plane, in the plane a square.

    Parameters
    ----------
    sides : (k, axes) of the boxes of the training part, pixels; shape : spatial, of the images
    side : in-plane; 0 is eight usual lesions wide and at least twice the largest, in steps of 16; below 0 is all
    """
    usual = 16 * int(np.ceil(max(8 * narrow(sides), 2 * np.percentile(sides[:, -2:], 99)) / 16))
    side = max(shape) if side < 0 else side or usual
    return (*shape[:-2], *(min(side, most) for most in shape[-2:]))


def _near(spacing, most=3.0):
    """Which axes have their pixels at most ``most`` times as far apart as the finest one."""
    return [step <= most * min(spacing) + 1e-6 for step in spacing]


def _halving(shape, spacing):
    """Strides that halve the finest axes, and the spacing after it."""
    strides = [2 if near and side >= 4 else 1 for near, side in zip(_near(spacing, 1.5), shape, strict=True)]
    return strides, [s * k for s, k in zip(spacing, strides, strict=True)]


def grid(shape, stride, spacing=None):
    """Pixels per cell of the heatmap along each axis; in-plane ``stride``, fewer along an axis of thick slices."""
    shape, near, step = list(shape), list(spacing or [1.0] * len(shape)), np.ones(len(shape), int)
    while step[-1] < stride:
        strides, near = _halving(shape, near)
        shape, step = [-(-n // k) for n, k in zip(shape, strides, strict=True)], step * strides
        if max(strides) == 1:
            break
    return tuple(step.tolist())


def _conv(x, filters, kernel, strides=1, relu=True, gamma="ones"):
    layer = layers.Conv2D if len(kernel) == 2 else layers.Conv3D
    x = layer(filters, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma)(x)
    return layers.ReLU()(x) if relu else x


def _plane(x):
    """Kernel that stays in the slice."""
    return [1] * (len(x.shape) - 4) + [3, 3]


def _block(x, filters, spacing, strides=None):
    """Residual block; in volumes the first convolution stays in the slice, the second takes all near axes."""
    axes, short = len(spacing), x
    if strides:
        short = getattr(layers, f"AveragePooling{axes}D")(strides, padding="same")(x)
    if x.shape[-1] != filters:
        short = _conv(short, filters, [1] * axes, relu=False)
    y = _conv(x, filters, [max(k, s) for k, s in zip(_plane(x), strides or [1] * axes, strict=True)], strides or 1)
    y = _conv(y, filters, [3 if near else 1 for near in _near(spacing)], relu=False, gamma="zeros")
    return layers.ReLU()(layers.Add()([y, short]))


def body(x, stride, width, depth, spacing):
    """Down to cells of ``stride`` pixels, ``depth`` levels further, and back up to the cells (b, cells..., width)."""
    axes, near, level = len(spacing), list(spacing), 1
    while level < stride:
        strides, near = _halving(x.shape[1:-1], near)
        level *= 2
        x = _conv(x, max(8, width * level // stride), [2 * k - 1 for k in strides], strides)
    x = _block(x, width, near)
    skips = []
    for k in range(1, depth + 1):
        strides, below = _halving(x.shape[1:-1], near)
        if max(strides) == 1:
            break
        skips.append((x, strides))
        x, near = _block(x, min(4 * width, width * (2 + k) // 2), below, strides), below
        x = _block(x, x.shape[-1], near)
    for skip, strides in reversed(skips):
        x = getattr(layers, f"UpSampling{axes}D")(strides)(_conv(x, skip.shape[-1], [1] * axes))
        x = x[(slice(None), *(slice(0, side) for side in skip.shape[1:-1]))]
        x = _conv(layers.Add()([x, skip]), skip.shape[-1], _plane(x))
    return x


@keras.saving.register_keras_serializable("medlab")
class Corners(layers.Layer):
    """Shift of the centre and logarithm of the sides, in typical sides, to corners in pixels.

    Input (b, cells..., 2 * axes), output of the same shape, ``min..., max...``. ``step``: pixels per cell.
    """

    def __init__(self, step, typical, **kwargs):
        super().__init__(**kwargs)
        self.step, self.typical = [int(s) for s in step], [float(t) for t in typical]

    def call(self, x):
        axes = len(self.step)
        lines = [(np.arange(n) + 0.5) * s for n, s in zip(x.shape[1:-1], self.step, strict=True)]
        middle = np.stack(np.meshgrid(*lines, indexing="ij"), -1).astype("float32")
        centre = middle + x[..., :axes] * np.array(self.typical, "float32")
        half = ops.exp(ops.clip(x[..., axes:], -4.0, 4.0)) * np.array(self.typical, "float32") / 2
        return ops.concatenate([centre - half, centre + half], -1)

    def get_config(self):
        return super().get_config() | {"step": self.step, "typical": self.typical}


def build(input_shape, n_classes, typical, *, stride=4, width=32, depth=3, spacing=None, masks=False, mean=0.0,
          std=1.0, dropout=0.1):
    """Network for images of grey values 0..255.

    Parameters
    ----------
    input_shape : (h, w, c) or (d, h, w, c)
    n_classes : int
    typical : (axes,) float
        Sides of a typical box in pixels; the predicted sides begin there.
    stride : int, a power of 2
        Pixels per cell of the heatmap, in-plane.
    width, depth : int
        Channels at the heatmap's resolution; levels below it, each of half the resolution.
    spacing : sequence of float, optional
        How far apart pixels lie along each axis, in any unit: an axis takes part in kernels and strides only where its
        pixels are at most three times as far apart as those of the finest axis.
    masks : bool
        Give ``mask`` as well.
    mean, std : of grey values / 255 over the training images

    Returns
    -------
    keras.Model
        Output dict: ``heat`` (b, cells..., n_classes) in 0..1, the surer the higher; ``box`` (b, cells..., 2 * axes)
        corners in pixels; ``mask`` (b, pixels..., 1) in 0..1.
    """
    axes, inputs = len(input_shape) - 1, keras.Input(tuple(input_shape), name="image")
    spacing = list(spacing or [1.0] * axes)
    scale = [np.broadcast_to(np.asarray(v, float) * 255, input_shape[-1]).tolist() for v in (mean, std)]
    x = layers.Normalization(mean=scale[0], variance=[max(s, 1.0) ** 2 for s in scale[1]])(inputs)
    x = body(x, stride, width, depth, spacing)
    x = layers.Dropout(dropout)(x) if dropout else x
    step = grid(input_shape[:-1], stride, spacing)
    conv, small = (layers.Conv2D if axes == 2 else layers.Conv3D), keras.initializers.RandomNormal(stddev=0.01)
    start = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
    own = [_conv(x, x.shape[-1], _plane(x)) for _ in range(2 + masks)]
    found = {"heat": conv(n_classes, 1, activation="sigmoid", kernel_initializer=small, bias_initializer=start,
                          name="heat")(own[0]),
             "box": Corners(step, typical, name="box")(conv(2 * axes, 1, kernel_initializer=small)(own[1]))}
    if masks:
        parts = conv(math.prod(step), 1, activation="sigmoid", kernel_initializer=small, bias_initializer=start)(own[2])
        found["mask"] = layers.Identity(name="mask")(to_pixels(parts, step, input_shape[:-1]))
    return keras.Model(inputs, found, name="heatmaps")


def to_pixels(x, step, shape):
    """Channels of a cell become its pixels (Shi et al. 2016, arXiv:1609.05158): (b, *shape, 1)."""
    axes, cells = len(step), x.shape[1:-1]
    order = [0, *itertools.chain.from_iterable((1 + k, 1 + axes + k) for k in range(axes))]
    x = ops.transpose(ops.reshape(x, (-1, *cells, *step)), order)
    x = ops.reshape(x, (-1, *(c * s for c, s in zip(cells, step, strict=True)), 1))
    return x[(slice(None), *(slice(0, side) for side in shape))]


# ---------------------------------------------------------------- losses

@keras.saving.register_keras_serializable("medlab")
class CentreFocal(keras.losses.Loss):
    """Cross-entropy that leaves what is easy aside, and what lies near a centre (Law and Deng 2018, arXiv:1808.01244).

    y_true is exactly 1 at a centre. Divided by the number of centres in the batch.
    """

    def call(self, y_true, y_pred):
        p = ops.clip(y_pred, 1e-5, 1 - 1e-5)
        centre = ops.cast(y_true > 0.9999, p.dtype)
        cost = centre * (1 - p) ** 2 * ops.log(p) + (1 - centre) * (1 - y_true) ** 4 * p**2 * ops.log(1 - p)
        each = ops.sum(cost, axis=list(range(1, len(p.shape))))
        return -each * ops.cast(ops.shape(p)[0], p.dtype) / ops.maximum(ops.sum(centre), 1.0)


@keras.saving.register_keras_serializable("medlab")
class BoxOverlap(keras.losses.Loss):
    """1 - generalised overlap of boxes (Rezatofighi et al. 2019, arXiv:1902.09630), for any number of axes.

    y_true (b, cells..., 2 * axes + 1): corners and the weight of each cell; the weights of one box add up to 1.
    """

    def call(self, y_true, y_pred):
        weight, axes = y_true[..., -1], y_pred.shape[-1] // 2
        a, b = (y_true[..., :axes], y_true[..., axes:-1]), (y_pred[..., :axes], y_pred[..., axes:])
        common = ops.prod(ops.maximum(ops.minimum(a[1], b[1]) - ops.maximum(a[0], b[0]), 0.0), -1)
        union = ops.prod(a[1] - a[0], -1) + ops.prod(b[1] - b[0], -1) - common
        hull = ops.prod(ops.maximum(a[1], b[1]) - ops.minimum(a[0], b[0]), -1)
        gain = common / ops.maximum(union, 1e-6) + union / ops.maximum(hull, 1e-6) - 1
        each = ops.sum(weight * (1 - gain), axis=list(range(1, len(weight.shape))))
        return each * ops.cast(ops.shape(weight)[0], weight.dtype) / ops.maximum(ops.sum(weight), 1.0)


@keras.saving.register_keras_serializable("medlab")
class Cover(keras.losses.Loss):
    """Cross-entropy of the share of each pixel that is lesion, per lesion pixel: proper, so that the predicted shares
    add up to the volume, which those of a Dice loss do not. A share below 0 is unknown and counts for nothing."""

    def call(self, y_true, y_pred):
        p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
        known = ops.cast(y_true >= 0, p.dtype)
        y_true = known * y_true
        cost = -known * (y_true * ops.log(p) + (1 - y_true) * ops.log(1 - p))
        each, size = ops.sum(cost, axis=list(range(1, len(p.shape)))), ops.sum(known)
        return each * ops.cast(ops.shape(p)[0], p.dtype) / ops.maximum(ops.sum(y_true), 0.001 * size + 1e-6)


def losses(model):
    """Losses and their weights for `keras.Model.compile`."""
    own = {"heat": CentreFocal(), "box": BoxOverlap(), "mask": Cover()}
    return {"loss": {name: own[name] for name in model.output},
            "loss_weights": {name: {"heat": 1.0, "box": 5.0, "mask": 1.0}[name] for name in model.output}}
