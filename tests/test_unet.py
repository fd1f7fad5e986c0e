"""The U-Net, its loss and its metric, against plain NumPy."""

import numpy as np
import pytest

from medlab.networks.pipeline import keras, tf
from medlab.segmentation import unet

RANDOM = np.random.default_rng(0)
SMALL = dict(width=4, depth=2)


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


@pytest.mark.parametrize(("shape", "options"), [
    ((32, 32, 1), {}), ((33, 46, 3), {"residual": False}), ((30, 41, 1), {"stem": 2, "attention": True}),
    ((37, 50, 2), {"stem": 4, "dropout": 0.2}), ((5, 17, 24, 1), {"attention": True}), ((3, 3, 1), {}),
    ((12, 13, 11, 2), {"stem": 2, "residual": False})])
def test_every_size_gives_probabilities_of_its_own_size(shape, options):
    model = unet.build(shape, 2, mean=0.3, std=0.2, **SMALL | options)
    p = model.predict_on_batch(255 * RANDOM.random((2, *shape)))
    assert p.shape == (2, *shape[:-1], 3) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    assert p.std() > 0


def test_thick_slices_are_shrunk_in_plane_first():
    model = unet.build((6, 48, 48, 1), 1, width=4, depth=3)
    pooled = [layer.pool_size for layer in layers_of(model, keras.layers.MaxPooling3D)]
    assert pooled == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    first = layers_of(model, keras.layers.Conv3D)[0]
    assert first.kernel_size == (1, 3, 3)


def test_options_are_there():
    plain, gated = (unet.build((32, 32, 1), 1, residual=False, attention=a, **SMALL) for a in (False, True))
    assert not layers_of(plain, keras.layers.Multiply) and len(layers_of(gated, keras.layers.Multiply)) == 2
    gates = [layer for layer in layers_of(gated, keras.layers.Conv2D) if layer.activation is keras.activations.sigmoid]
    assert len(gates) == 2 and all(layer.filters == 1 for layer in gates)
    assert layers_of(unet.build((32, 32, 1), 1, residual=True, **SMALL), keras.layers.Add)
    norms = layers_of(plain, keras.layers.BatchNormalization)
    assert norms and all(layer.momentum == 0.9 for layer in norms)
    features = unet.features(keras.Input((64, 48, 3)), width=4, depth=2, stem=4)
    assert features.shape == (None, 16, 12, 4)
    with pytest.raises(ValueError, match="expected 1, 2 or 4"):
        unet.build((32, 32, 1), 1, stem=3)


def by_numpy(y, p, weight=1.0):
    counts = y != unet.IGNORE
    truth = np.eye(p.shape[-1] + 1)[np.where(counts, y, p.shape[-1])][..., :-1]
    entropy = -(truth * np.log(p)).sum() / counts.sum()
    axes = tuple(range(p.ndim - 1))
    both, size = (truth * p).sum(axes), truth.sum(axes) + (p * counts[..., None]).sum(axes)
    return entropy + weight * (1 - ((2 * both + 1) / (size + 1))[1:].mean())


@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 4, 5, 6)])
def test_loss_equals_numpy_and_ignored_pixels_count_for_nothing(shape):
    y = RANDOM.integers(0, 3, shape).astype("uint8")
    y[RANDOM.random(shape) < 0.3] = unet.IGNORE
    scores = RANDOM.normal(size=(*shape, 3)).astype("float32")
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    for weight in (1.0, 0.25):
        loss = unet.DiceCrossEntropy(weight)
        assert float(loss(y, p)) == pytest.approx(by_numpy(y, p, weight), rel=1e-5)
    x = tf.Variable(p)
    with tf.GradientTape() as tape:
        value = loss(y, x)
    gradient = tape.gradient(value, x).numpy()
    assert (gradient[y == unet.IGNORE] == 0).all() and (np.abs(gradient[y != unet.IGNORE]).sum(-1) > 0).all()
    assert unet.DiceCrossEntropy.from_config(loss.get_config()).dice == 0.25


def test_loss_at_the_ends():
    y = np.zeros((2, 8, 8), "uint8")
    y[:, 2:4] = 1
    right = np.eye(2, dtype="float32")[y]
    loss = unet.DiceCrossEntropy()
    assert float(loss(y, right)) < 0.01 < 1 < float(loss(y, 1 - right))
    empty = np.zeros_like(y)
    assert float(loss(empty, np.eye(2, dtype="float32")[empty])) < 0.01  # nothing there and nothing called: right
    nothing = np.full_like(y, unet.IGNORE)
    assert np.isfinite(float(loss(nothing, right)))


def test_metric_pools_all_batches():
    metric, both, size = unet.Dice(2), np.zeros(2), np.zeros(2)
    for _ in range(3):
        y = RANDOM.integers(0, 2, (2, 8, 8)).astype("uint8") + np.uint8(RANDOM.random() < 0.5)
        y[:, 0] = unet.IGNORE
        p = RANDOM.random((2, 8, 8, 3)).astype("float32")
        metric.update_state(y, p)
        called = np.where(y == unet.IGNORE, 0, p.argmax(-1))
        both += [((y == k) & (called == k)).sum() for k in (1, 2)]
        size += [(y == k).sum() + (called == k).sum() for k in (1, 2)]
    assert float(metric.result()) == pytest.approx((2 * both / size).mean(), rel=1e-5)


@pytest.mark.parametrize("shape", [(24, 24, 1), (4, 16, 16, 1)])
def test_it_learns_and_is_saved_with_its_loss(tmp_path, shape):
    y = np.zeros((6, *shape[:-1]), "uint8")
    for i, mask in enumerate(y):
        mask[..., 3 + i:10 + i, 4:11] = 1 + i % 2
    x = (40 + 60 * y[..., None] + RANDOM.normal(0, 15, (6, *shape))).clip(0, 255).astype("float32")
    keras.utils.set_random_seed(0)
    model = unet.build(shape, 2, mean=0.2, std=0.1, attention=True, **SMALL)
    model.compile(keras.optimizers.Adam(0.02), loss=unet.DiceCrossEntropy(), metrics=[unet.Dice(2)])
    history = model.fit(x, y, epochs=25, batch_size=3, verbose=0).history
    assert history["dice"][-1] > 0.85 > 0.6 > history["dice"][0]
    model.save(tmp_path / "u.keras")
    again = keras.models.load_model(tmp_path / "u.keras")
    np.testing.assert_allclose(again.predict_on_batch(x), model.predict_on_batch(x), atol=1e-5)
    assert isinstance(again.loss, unet.DiceCrossEntropy)


def test_a_standardised_input_does_not_know_the_scanner():
    x = 40 + 60 * RANDOM.random((2, 16, 16, 2)).astype("float32")
    other = x * np.array([1.5, 0.6], "float32") + np.array([10, 30], "float32")
    for standardise in (False, True):
        keras.utils.set_random_seed(1)
        model = unet.build((16, 16, 2), 1, mean=0.3, std=0.2, standardise=standardise, **SMALL)
        far = np.abs(model.predict_on_batch(x) - model.predict_on_batch(other)).max()
        assert (far < 1e-3) == standardise
