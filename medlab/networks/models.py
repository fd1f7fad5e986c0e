"""The networks of one image: small, readable, in 2-D and 3-D. Input grey values 0..255, output features.

Each network in `NETWORKS` is a function from a normalised tensor to a feature vector; `features` puts the
normalisation before it, `head` makes probabilities of it. Volumes with thick slices are shrunk in-plane first: an
axis much shorter than the longest one gets neither a wide kernel nor a stride until the others have come down to it
(as in nnU-Net, Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).
"""

import functools
import inspect
import math
from pathlib import Path

import numpy as np

from medlab.networks.pipeline import keras

layers, ops = keras.layers, keras.ops
HEADS = ("binary", "multiclass", "ordinal", "multilabel")
VIEWS = ("auto", "2.5d", "planes")


def _wide(x):
    """Per spatial axis: is it long enough, compared with the longest, for a wide kernel and a stride?"""
    return [2 * side >= max(x.shape[1:-1]) for side in x.shape[1:-1]]


def conv(x, filters, size=3, stride=1, relu=True, gamma="ones"):
    """Convolution, batch normalisation (momentum 0.9: the default 0.99 lags behind short runs), ReLU."""
    wide = _wide(x)
    layer = layers.Conv2D if len(wide) == 2 else layers.Conv3D
    kernel = [size if w else 1 for w in wide]
    strides = [stride if w and side >= 4 else 1 for w, side in zip(wide, x.shape[1:-1], strict=True)]
    x = layer(filters, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma)(x)
    return layers.ReLU()(x) if relu else x


def shrink(x, how="max"):
    """Halve every axis that is long enough."""
    size = [2 if w and side >= 4 else 1 for w, side in zip(_wide(x), x.shape[1:-1], strict=True)]
    name = f"{'Max' if how == 'max' else 'Average'}Pooling{len(size)}D"
    return getattr(layers, name)(size, padding="same")(x) if max(size) > 1 else x


def squeeze_excite(x, ratio=8):
    """Channel attention (Hu et al. 2018, arXiv:1709.01507): the whole image says how much a channel counts."""
    channels = x.shape[-1]
    scale = pool(x, ("average",), keepdims=True)
    scale = layers.Dense(max(4, channels // ratio), activation="relu")(scale)
    return layers.Multiply()([x, layers.Dense(channels, activation="sigmoid")(scale)])


def pool(x, how=("average", "max"), keepdims=False):
    """Global pooling; the maximum beside the average keeps a small lesion from being averaged away."""
    rank = len(x.shape) - 2
    pooled = [getattr(layers, f"Global{name.title()}Pooling{rank}D")(keepdims=keepdims)(x) for name in how]
    return layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]


def residual(x, filters, stride=1, attention=False):
    """Two convolutions beside a short cut (He et al. 2016, arXiv:1512.03385); they start at zero, so that a deep
    network begins as a shallow one (Goyal et al. 2017, arXiv:1706.02677)."""
    short = x
    if stride > 1 or x.shape[-1] != filters:
        short = conv(shrink(x, "average") if stride > 1 else x, filters, size=1, relu=False)
    y = conv(conv(x, filters, stride=stride), filters, relu=False, gamma="zeros")
    y = squeeze_excite(y) if attention else y
    return layers.ReLU()(layers.Add()([y, short]))


def simple(x, width, attention):
    """Three blocks of convolution and pooling."""
    for filters in (width, 2 * width, 4 * width):
        x = shrink(conv(x, filters))
        x = squeeze_excite(x) if attention else x
    return pool(x, ("average",))


def multiscale(x, width, attention):
    """Three blocks of kernels of 3, 5 and 7 pixels side by side (after Szegedy et al., arXiv:1409.4842)."""
    x = conv(x, width, stride=2)
    for filters in (width, 2 * width, 4 * width):
        parts = ((filters // 2, 3), (filters // 4, 5), (filters // 4, 7))
        x = layers.Concatenate()([conv(x, number, size) for number, size in parts])
        x = squeeze_excite(x) if attention else x
        x = shrink(x)
    return pool(x)


def resnet18(x, width, attention):
    """ResNet-18; images up to 64 pixels keep their resolution in the stem, larger are shrunk four-fold."""
    small = max(x.shape[1:-1]) <= 64
    x = conv(x, 2 * width) if small else shrink(conv(x, 2 * width, 7, stride=2))
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage and not block else 1
            x = residual(x, 2 * width * 2**stage, stride, attention)
    return pool(x, ("average",))


def compact(x, width, attention):
    """Residual network for few images and few processor seconds.

    Most arithmetic sits where the grid is coarse: a narrow block near full resolution, then blocks of half the
    resolution and twice the width each until the grid is six to eleven wide, and one more there.
    """
    x = conv(x, width // 2, stride=2 if max(x.shape[1:-1]) > 32 else 1)
    x = residual(x, width // 2, 1, attention)
    while max(x.shape[1:-1]) >= 12:
        x = residual(x, width, 2, attention)
        width *= 2
    return pool(residual(x, width // 2, 1, attention))


NETWORKS = {"simple": simple, "multiscale": multiscale, "resnet18": resnet18, "compact": compact}


def parsed(network) -> tuple:
    """Name, whether it has channel attention, and file of weights of a network written as text.

    Parameters
    ----------
    network : str
        One of `NETWORKS`; with ``se-`` before it every block has `squeeze_excite`; or a network of keras.applications
        with a local file of its weights or ``random``: ``EfficientNetB0, weights.h5``.

    Examples
    --------
    >>> parsed("compact"), parsed("se-resnet18"), parsed("ResNet50, random")
    (('compact', False, ''), ('resnet18', True, ''), ('ResNet50', False, 'random'))
    """
    name, _, weights = (part.strip() for part in str(network).partition(","))
    plain, ready = name.removeprefix("se-"), [n for n in dir(keras.applications) if n[0].isupper()]
    if plain in NETWORKS and not weights:
        return plain, plain != name, ""
    if name in ready:
        return name, False, weights
    raise ValueError(f"network {network!r} is unknown; expected one of {', '.join(NETWORKS)}, these with se- before "
                     "them, or a network of keras.applications with its weights, such as 'EfficientNetB0, weights.h5'; "
                     f"known are {', '.join(ready)}")


def transfer(x, backbone, weights):
    """A backbone of keras.applications without its top, fed as it was trained; x is grey values 0..255."""
    make = getattr(keras.applications, backbone)
    if len(x.shape) != 4:
        raise ValueError(f"network {backbone} takes images, this cohort has volumes: choose compact or resnet18")
    if not weights:
        raise ValueError(f"network {backbone} needs pretrained weights, none are downloaded: write behind its name a "
                         f"local copy of its 'no top' weights (see keras.io/api/applications), '{backbone}, "
                         f"weights.h5', or '{backbone}, random' for none, or choose the network compact")
    if weights != "random" and not Path(weights).is_file():
        raise ValueError(f"the weights {Path(weights).name!r} do not exist; expected a local .h5 file")
    if x.shape[-1] not in (1, 3):
        raise ValueError(f"{backbone} takes 1 or 3 channels, the images have {x.shape[-1]}")
    x = layers.Concatenate()([x] * 3) if x.shape[-1] == 1 else x
    x = inspect.getmodule(make).preprocess_input(x)
    try:
        body = make(include_top=False, weights=None, input_shape=tuple(x.shape[1:]))
        if weights != "random":
            body.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        where = f"{backbone} for images of {x.shape[1:]} from {Path(weights).name!r}"
        raise ValueError(f"{where}: {error}") from error
    body.name = "backbone"
    return pool(body(x, training=False), ("average",))


def freeze(model, frozen=True) -> keras.Model:
    """Freeze or free the backbone of a network by `transfer`; its batch normalisation always stays frozen."""
    for layer in layers_within(model):
        if layer.name == "backbone":
            layer.trainable = not frozen
            for inner in layer.layers:
                inner.trainable = not frozen and not isinstance(inner, layers.BatchNormalization)
    return model


@keras.saving.register_keras_serializable("medlab")
class CumulativeLink(layers.Layer):
    """Ordinal head: scores to class probabilities by P(class > k) = sigmoid(score - threshold_k).

    The thresholds are learned and stay ordered; a higher score is a higher class (proportional odds,
    McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x). Input (n, 1), output (n, n_classes).
    """

    def __init__(self, n_classes, **kwargs):
        super().__init__(**kwargs)
        self.n_classes = n_classes

    def build(self, shape):
        start = np.full(self.n_classes - 1, np.log(np.expm1(1.0)), "float32")
        start[0] = -(self.n_classes - 2) / 2
        self.steps = self.add_weight(shape=start.shape, name="steps",
                                     initializer=lambda shape, dtype=None: ops.convert_to_tensor(start, dtype))

    def call(self, score):
        thresholds = ops.cumsum(ops.concatenate([self.steps[:1], ops.softplus(self.steps[1:])]))
        above = ops.sigmoid(score - thresholds)
        edge = ops.ones_like(score)
        upper, lower = ops.concatenate([edge, above], -1), ops.concatenate([above, 0 * edge], -1)
        return ops.clip(upper - lower, 1e-7, 1.0)

    def get_config(self):
        return super().get_config() | {"n_classes": self.n_classes}


def head(x, kind, n_outputs):
    """Feature vector to probabilities: binary (n, 1), multiclass and ordinal (n, K), multilabel (n, L)."""
    if kind not in HEADS:
        raise ValueError(f"head {kind!r} is unknown; expected one of {', '.join(HEADS)}")
    small = keras.initializers.RandomNormal(stddev=0.01)  # begin near the class frequencies, not with a blow
    if kind == "ordinal":
        score = layers.Dense(1, use_bias=False, kernel_initializer=small, name="score")(x)
        return CumulativeLink(n_outputs, name="probabilities")(score)
    activation = "softmax" if kind == "multiclass" else "sigmoid"
    columns = 1 if kind == "binary" else n_outputs
    return layers.Dense(columns, activation, kernel_initializer=small, name="probabilities")(x)


def features(inputs, network, *, capacity=1.0, mean=0.0, std=1.0, view="auto"):
    """Feature vectors (b, f) of images of grey values 0..255.

    Parameters
    ----------
    inputs : (b, h, w, c) or (b, d, h, w, c)
    network : str
        See `parsed`.
    capacity : float
        Factor on the width of every layer.
    mean, std : float or (c,)
        Of grey values / 255 over the training images; part of the model, so that it takes raw arrays.
    view : str
        ``auto`` (pictures in 2-D, volumes in 3-D), or of volumes ``2.5d`` (`_by_slice`) or ``planes`` (`_planes`).
    """
    name, attention, weights = parsed(network)
    if capacity <= 0:
        raise ValueError(f"capacity must be above 0, found {capacity}")
    if view not in VIEWS:
        raise ValueError(f"view {view!r} is unknown; expected one of {', '.join(VIEWS)}")
    if view != "auto" and len(inputs.shape) != 5:
        raise ValueError(f"view {view} takes volumes, this cohort has pictures: set it to auto")
    if view == "planes" and len(set(inputs.shape[1:4])) > 1:
        raise ValueError(f"view planes takes cubes, the volumes are {inputs.shape[1:4]}: set image_size and "
                         "image_depth (and spacing_mm) in 02, or take 2.5d")
    channels = inputs.shape[-1]
    if name not in NETWORKS:
        body, x = functools.partial(transfer, backbone=name, weights=weights), inputs
    else:
        body = functools.partial(NETWORKS[name], width=max(8, 4 * round(32 * capacity / 4)), attention=attention)
        scale = [np.broadcast_to(np.asarray(v, float) * 255, channels).tolist() for v in (mean, std)]
        x = layers.Normalization(mean=scale[0], variance=[max(s, 1.0) ** 2 for s in scale[1]])(inputs)
    return body(x) if view == "auto" else _planes(x, body) if view == "planes" else _by_slice(x, body)


def _by_slice(x, network):
    """2.5-D: every slice with its two neighbours as channels through one 2-D network, pooled by attention."""
    depth, *side = x.shape[1:]
    around = ops.concatenate([ops.roll(x, 1, axis=1), x, ops.roll(x, -1, axis=1)], axis=-1)
    flat = ops.reshape(around, (-1, *side[:-1], 3 * side[-1]))
    each = network(flat)
    each = ops.reshape(each, (-1, depth, each.shape[-1]))
    return over_instances(each, None)


def _planes(x, network):
    """Three orthogonal planes through the centre of a cube, each with two parallel ones 1/15 of the side away as
    channels, through one 2-D network; the mean of the three. For volumes cut around a lesion."""
    side = x.shape[1]
    depths = [side // 2 + step * max(1, round(side / 15)) for step in (-1, 0, 1)]
    planes = [ops.concatenate([ops.take(x, depth, axis=axis) for depth in depths], axis=-1) for axis in (1, 2, 3)]
    each = network(ops.reshape(ops.stack(planes, axis=1), (-1, *planes[0].shape[1:])))
    return ops.mean(ops.reshape(each, (-1, 3, each.shape[-1])), axis=1)


def over_instances(x, present, how="attention"):
    """Several feature vectors of a patient or volume (b, k, f) to one (b, f).

    Gated attention (Ilse et al. 2018, arXiv:1802.04712) or the mean; `present` (b, k) of 1/0 says which count, a
    patient without any gets zeros. None: all.
    """
    weight = ops.ones_like(x[..., 0]) if present is None else present
    if how == "attention":
        gate = layers.Multiply()([layers.Dense(32, "tanh")(x), layers.Dense(32, "sigmoid")(x)])
        score = ops.squeeze(layers.Dense(1, kernel_initializer="zeros")(gate), -1)
        weight = weight * ops.exp(score - ops.max(score, axis=-1, keepdims=True))
    total = ops.maximum(ops.sum(weight, -1, keepdims=True), 1e-6)
    return ops.sum(x * ops.expand_dims(weight / total, -1), axis=1)


def loss(kind, label_smoothing=0.0) -> keras.losses.Loss:
    """Loss of a head: cross-entropy (of the class probabilities for an ordinal head)."""
    if kind in ("binary", "multilabel"):
        return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)
    return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)


def layers_within(model):
    """All layers of a network, those of the networks inside it too."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_within(layer)


def leaves(model):
    """The layers that calculate: all but the networks inside and layers that were never called."""
    return [leaf for leaf in layers_within(model) if not isinstance(leaf, keras.Model) and hasattr(leaf, "output")]


def flops(model) -> int:
    """Floating-point operations of one image's forward pass: convolutions and dense layers, 2 per product."""
    return sum(2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
               for layer in leaves(model) if hasattr(layer, "kernel"))


def memory_bytes(model, batch_size, copies=4) -> int:
    """Estimated memory of training, without the libraries' own 0.6 GB.

    `copies` of the parameters (value, gradient, two moments), two of every layer's output (value and gradient)
    and four batches on their way in.
    """
    values = sum(math.prod(layer.output.shape[1:]) for layer in leaves(model))
    batches = 4 * math.prod(model.input_shape[1:])
    return int(4 * (copies * model.count_params() + batch_size * (2 * values + batches)))
