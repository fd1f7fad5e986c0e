"""The networks: shapes, counts against TensorFlow's profiler, ordinal head against the textbook, saving."""

import numpy as np
import pytest
from conftest import classifier
from scipy.special import expit

from medlab.networks import models
from medlab.networks.pipeline import keras, silence, tf

SHAPES = [(28, 28, 3), (64, 48, 1), (6, 40, 40, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", models.NETWORKS)
def test_every_network_takes_every_rank(name, shape):
    model = classifier(f"se-{name}", shape, "multiclass", 4, capacity=0.25)
    p = model(np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")).numpy()
    assert p.shape == (2, 4) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert np.abs(p - 0.25).max() < 0.2, "an untrained network must not be sure of anything"


@pytest.mark.parametrize("name", models.NETWORKS)
def test_attention_and_capacity_change_the_network(name):
    plain, attentive, wide = (classifier(full, (32, 32, 1), "binary", 1, capacity=capacity).count_params()
                              for full, capacity in ((name, 1), (f"se-{name}", 1), (name, 2)))
    assert plain < attentive < 1.2 * plain and 3 * plain < wide < 4.5 * plain


@pytest.mark.parametrize(("kind", "n", "columns"), [("binary", 2, 1), ("ordinal", 5, 5),
                                                    ("multilabel", 3, 3)])
def test_heads(kind, n, columns):
    model = classifier("simple", (16, 16, 1), kind, n, capacity=0.25)
    p = model(np.ones((3, 16, 16, 1), "float32")).numpy()
    assert p.shape == (3, columns) and (p > 0).all() and (p < 1).all()
    with pytest.raises(ValueError, match="binary, multiclass"):
        models.head(keras.Input((4,)), "ranks", 3)


def test_ordinal_head_is_the_proportional_odds_model():
    layer = models.CumulativeLink(5)
    score = np.linspace(-40, 40, 41, dtype="float32")[:, None]
    p = layer(score).numpy()
    steps = layer.steps.numpy()
    thresholds = np.cumsum([steps[0], *np.log1p(np.exp(steps[1:]))])
    above = expit(score - thresholds)
    expected = -np.diff(np.hstack([np.ones_like(score), above, np.zeros_like(score)]))
    np.testing.assert_allclose(p, expected, atol=2e-7)
    assert (np.diff(thresholds) > 0).all() and (np.diff(p @ np.arange(5)) >= -1e-6).all()
    np.testing.assert_allclose(thresholds, [-1.5, -0.5, 0.5, 1.5], atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_equal_the_profiler(shape):
    model = classifier("compact", shape, "multiclass", 4, capacity=0.5)
    image = tf.TensorSpec([1, *shape], tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(image).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with silence():
        nodes = tf.compat.v1.profiler.profile(graph, options=options)
    counted = {"convolution", "MatMul"}
    total = sum(child.float_ops for child in _nodes(nodes) if child.name.split("/")[-1] in counted)
    assert models.flops(model) == total > 1e6 and nodes.total_float_ops < 1.2 * total


def _nodes(node):
    yield node
    for child in node.children:
        yield from _nodes(child)


def test_normalisation_is_inside():
    model = classifier("simple", (16, 16, 2), "binary", 1, capacity=0.25, mean=[0.5, 0.2], std=[0.1, 0.3])
    image = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 2)).astype("float32")
    encode = model.get_layer("encoder")
    inner = keras.Model(encode.input, encode.layers[1].output)
    np.testing.assert_allclose(inner(image), (image / 255 - [0.5, 0.2]) / [0.1, 0.3], atol=1e-5)


@pytest.mark.parametrize("kind", ["ordinal", "binary"])
def test_saving_keeps_the_predictions_in_safe_mode(kind, tmp_path):
    model = classifier("se-compact", (32, 32, 1), kind, 3)
    model.save(tmp_path / "model.keras")
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(loaded(image), model(image), atol=1e-6)


def test_transfer_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="no top.*MobileNetV2.*nothing|none are downloaded"):
        classifier("MobileNetV2", (32, 32, 1), "binary", 1)
    with pytest.raises(ValueError, match="do not exist"):
        classifier("MobileNetV2, nowhere.h5", (32, 32, 1), "binary", 1)
    with pytest.raises(ValueError, match="known are .*ResNet50"):
        classifier("ResNet51, random", (32, 32, 1), "binary", 1)
    with pytest.raises(ValueError, match="volumes"):
        classifier("ResNet50, random", (8, 32, 32, 1), "binary", 1)
    (tmp_path / "bad.weights.h5").write_bytes(b"not a file of weights")
    with pytest.raises(ValueError, match="bad.weights.h5"):
        classifier(f"MobileNetV2, {tmp_path / 'bad.weights.h5'}", (32, 32, 1), "binary", 1)


def test_transfer_loads_local_weights_then_frees_the_backbone(tmp_path):
    path = tmp_path / "local.weights.h5"
    keras.utils.set_random_seed(1)
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights(path)
    keras.utils.set_random_seed(2)
    model = classifier(f"MobileNetV2, {path}", (32, 32, 1), "multiclass", 3)
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype("float32")
    expected = source(np.repeat(image, 3, -1) / 127.5 - 1, training=False).numpy().mean((1, 2))
    pooled = model.get_layer("encoder")(image)
    np.testing.assert_allclose(pooled, expected, rtol=1e-3, atol=1e-6)
    assert len(models.freeze(model).trainable_variables) == 2
    free = models.freeze(model, False).trainable_variables
    assert len(free) > 50 and not any("gamma" in weight.path for weight in free)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(loaded(image), model(image), atol=1e-5)


@pytest.mark.parametrize(("name", "options", "text"), [("vgg", {}, "simple, multiscale"),
                                                       ("se-ResNet50, random", {}, "with se- before"),
                                                       ("simple", {"capacity": 0}, "above 0")])
def test_wrong_names_are_refused(name, options, text):
    with pytest.raises(ValueError, match=text):
        classifier(name, (16, 16, 1), "binary", 1, **options)


def test_memory_grows_with_the_batch():
    model = classifier("compact", (64, 64, 1), "binary", 1)
    one, many = models.memory_bytes(model, 1), models.memory_bytes(model, 101)
    assert one > 16 * model.count_params() and (many - one) / 100 > 8 * 64 * 64
