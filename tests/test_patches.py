"""Patches: cut and augmented in one resampling with their label maps, and windows blended to whole predictions."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from medlab.networks import pipeline, policies
from medlab.networks.pipeline import keras, tf
from medlab.segmentation import patches
from medlab.segmentation.unet import IGNORE

RANDOM = np.random.default_rng(0)
EVERYTHING = "none, rotation_deg=180, shift=0.1, zoom=0.2, shear_deg=8, flip=luz, shift_z=1"


def blobs(n, *shape, classes=1):
    """Images that are bright where the mask is, smooth; labels 1..classes."""
    noise = ndimage.gaussian_filter(RANDOM.random((n, *shape)), [0, *[2.5] * len(shape)], mode="wrap")
    rank = noise.argsort(axis=None).argsort().reshape(noise.shape) / noise.size
    labels = np.digitize(rank, np.linspace(0.5, 1, classes + 1)[:-1]).astype("uint8")
    return (255 * rank).astype("uint8")[..., None], labels


def batches(*arguments, take=3, **options):
    return [tuple(np.asarray(part) for part in one) for one in patches.dataset(*arguments, **options).take(take)]


@pytest.mark.parametrize(("shape", "patch"), [((30, 40), (16, 20)), ((9, 24, 30), (4, 16, 12))])
def test_without_policy_a_patch_is_a_piece_of_its_image(shape, patch):
    labels = RANDOM.integers(0, 3, (4, *shape)).astype("uint8")
    images = np.stack([labels * 50, RANDOM.integers(0, 255, labels.shape)], -1).astype("uint8")
    seen = set()
    for x, y in batches(images, labels, patch, 4, seed=1, foreground=0.5):
        assert x.shape == (4, *patch, 2) and y.shape == (4, *patch) and y.dtype == np.uint8
        for one, mask in zip(x, y, strict=True):
            np.testing.assert_array_equal(one[..., 0], 50 * mask)
            room = [range(side - size + 1) for side, size in zip(shape, patch, strict=True)]
            found = [(i, at) for i in range(4) for at in itertools.product(*room) if images[(i, *at, 1)] == one.flat[1]
                     and (images[(i, *[slice(a, a + s) for a, s in zip(at, patch, strict=True)])] == one).all()]
            assert len(found) == 1
            seen.add(found[0])
    assert len(seen) > 9 and {i for i, _ in seen} == {0, 1, 2, 3}


@pytest.mark.parametrize(("shape", "patch", "fill"), [
    ((48, 56), (24, 32), "constant"), ((48, 56), 0, "constant"), ((48, 56), (24, 32), "reflect"),
    ((48, 56), 0, "nearest"), ((10, 40, 40), (6, 24, 24), "constant")])
def test_the_mask_follows_the_image_under_every_augmentation(shape, patch, fill):
    images, labels = blobs(6, *shape)
    policy = policies.policy(f"{EVERYTHING}, fill={fill}")
    agree, counted, turned = [], [], []
    for x, y in batches(images, labels, patch, 6, policy=policy, seed=2):
        inside = y != IGNORE
        agree.append(((x[..., 0] >= 127) == (y == 1))[inside].mean())
        counted.append(inside.mean())
        turned.append(np.abs(x[0] - x[1]).mean())
    assert min(agree) > 0.95 and min(turned) > 5
    assert (min(counted) == 1) == (fill != "constant")


def test_one_resampling_equals_scipy():
    images, labels = blobs(5, 50, 60, classes=3)
    policy = policies.policy("none, rotation_deg=40, zoom=0.2, shear_deg=10, flip=lu")
    chance = RANDOM.random((5, 12)).astype("float32")
    at = np.array([[0, 0], [5, 9], [20, 30], [26, 4], [13, 13]], "float32")
    matrix = pipeline.affine(chance, policy, 24, 30) + patches.offset(tf.constant(at))
    x, y = patches.crop(tf.constant(images), tf.constant(labels), matrix, 24, 30, "constant")
    for image, label, row, one, mask in zip(images, labels, matrix.numpy(), x.numpy(), y.numpy(), strict=True):
        a, b, x0, c, d, y0 = row[:6]
        how = dict(matrix=[[d, c], [b, a]], offset=[y0, x0], output_shape=(24, 30))
        inside = ndimage.affine_transform(np.ones((50, 60)), order=1, **how) > 0.999
        expected = ndimage.affine_transform(image[..., 0].astype(float), order=1, **how)
        np.testing.assert_allclose(one[..., 0][inside], expected[inside], atol=0.05)
        near = ndimage.affine_transform(label, order=0, mode="nearest", **how)
        assert (mask[inside] == near[inside]).mean() > 0.995  # ties between two pixels aside
        row, column = np.mgrid[:24, :30]
        at_x, at_y = a * column + b * row + x0, c * column + d * row + y0
        outside = (at_x < -0.51) | (at_x > 59.51) | (at_y < -0.51) | (at_y > 49.51)
        assert (mask[outside] == IGNORE).all() and (mask[inside] != IGNORE).all()


@pytest.mark.parametrize("shape", [(64, 64), (8, 64, 64)])
def test_patches_favour_what_is_rare(shape):
    labels = np.zeros((20, *shape), "uint8")
    for i in range(0, 20, 2):  # every other image holds something
        labels[(i, *([4] if len(shape) == 3 else []), slice(50, 52), slice(7, 9))] = 1
        labels[(i, ..., slice(0, 40), slice(20, 60))] = 2
    labels[:, ..., 60:, 60:] = IGNORE
    images = np.zeros((*labels.shape, 1), "uint8")
    found = {}
    for share in (0.0, 1.0):
        y = np.concatenate([y for _, y in batches(images, labels, (4,) * (len(shape) - 2) + (16, 16), 20, take=12,
                                                  foreground=share, seed=4, shuffle=False)])
        found[share] = [[(one == k).any() for one in y[0::2]] for k in (1, 2)]
    rare, common = np.mean(found[1.0], axis=1)
    assert np.mean(found[0.0], axis=1)[0] < 0.2 and 0.38 < rare < 0.62  # each class as often as the other
    assert np.all(np.any(found[1.0], axis=0)) and common > 0.38
    centred = patches.corners(patches.centres(labels, [0]), np.array([[0, 0, 0, *[0.5] * len(shape)]]), shape,
                              (8,) * len(shape), 1.0)
    assert (centred >= 0).all() and (centred + 8 <= shape).all()


def test_reproducible_and_resumed():
    images, labels = blobs(7, 32, 32)
    options = dict(patch=16, batch_size=3, policy=policies.policy(EVERYTHING + ", noise=0.02, contrast=0.2"), seed=5)
    first, again = batches(images, labels, take=6, **options), batches(images, labels, take=6, **options)
    resumed = batches(images, labels, take=3, first_epoch=1, **options)
    for one, two in zip(first + first[3:], again + resumed, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert not all((a[1] == b[1]).all() for a, b in zip(first[:3], first[3:], strict=True))
    other = batches(images, labels, take=1, **options | {"seed": 6})
    assert not (other[0][0] == first[0][0]).all()
    assert sum(len(x) for x, _ in batches(images, labels, take=9, repeat=False, rows=[3, 3, 5], **options)) == 3


def test_from_a_file_and_marks(tmp_path):
    images, labels = blobs(3, 6, 20, 20)
    marked = np.concatenate([images, 255 * labels[..., None]], -1)
    for name, part in (("x", marked), ("y", labels)):
        np.save(tmp_path / f"{name}.npy", part)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    options = dict(patch=(3, 12, 12), batch_size=3, policy={"brightness": 0.3}, marks=1, seed=1)
    for (x, y), (a, b) in zip(batches(*mapped, **options), batches(marked, labels, **options), strict=True):
        np.testing.assert_array_equal(x, a)
        np.testing.assert_array_equal(y, b)
        np.testing.assert_array_equal(x[..., 1], 255 * y)  # brightness leaves a mask alone


@pytest.mark.parametrize(("patch", "shape"), [((16, 16, 16), (40, 40)), (-1, (40, 40))])
def test_impossible_patches_are_refused(patch, shape):
    with pytest.raises(ValueError, match="expected 2 numbers"):
        patches.fit(patch, shape)
    with pytest.raises(ValueError, match="expected the same"):
        patches.dataset(np.zeros((2, 8, 8, 1), "uint8"), np.zeros((2, 8, 9), "uint8"), 4, 2)


def test_windows_cover_and_overlap():
    for shape, patch, overlap in (((64, 100), (32, 32), 0.5), ((7, 33, 90), (8, 16, 20), 0.25), ((5, 5), (5, 5), 0)):
        seen, starts = np.zeros(np.maximum(shape, patch), int), patches.windows(shape, patch, overlap)
        for at in starts:
            seen[tuple(slice(a, a + p) for a, p in zip(at, patch, strict=True))] += 1
            assert all(a >= 0 and a + p <= max(p, s) for a, p, s in zip(at, patch, shape, strict=True))
        assert seen.min() >= 1
        for axis, size in enumerate(patch):
            steps = np.diff(np.unique(starts[:, axis]))
            assert (steps <= max(1, size * (1 - overlap)) + 0.5).all()
    with pytest.raises(ValueError, match="overlap"):
        patches.windows((8, 8), (4, 4), 1.0)
    weight = patches.blend((9, 15))
    assert weight.max() == 1 and weight[4, 7] == 1 and weight.min() >= 1e-3 and (weight == weight[::-1, ::-1]).all()


def pixelwise(patch):
    """A network whose answer depends on the pixel alone."""
    image = keras.Input((*patch, 1))
    dense = keras.layers.Dense(2, "softmax")
    model = keras.Model(image, dense(image / 255.0))
    dense.set_weights([np.array([[-4.0, 4.0]]), np.array([1.0, -1.0])])
    return model


@pytest.mark.parametrize(("patch", "shape", "flips"), [
    ((16, 16), (16, 16), ""), ((16, 16), (50, 37), "lu"), ((16, 24), (10, 60), "l"), ((4, 8, 8), (9, 20, 8), "luz"),
    ((4, 8, 8), (2, 5, 30), "")])
def test_windows_of_a_pixelwise_network_give_the_whole(patch, shape, flips):
    image = RANDOM.integers(0, 255, (*shape, 1)).astype("uint8")
    found = patches.predict(pixelwise(patch), image, 0.5, flips, batch_size=5)
    expected = 1 / (1 + np.exp(2 - 8 * (image[..., 0] / 255.0)))
    np.testing.assert_allclose(found[..., 1], expected, atol=1e-5)
    assert found.dtype == np.float32 and found.shape == (*shape, 2)


def test_mirror_images_are_averaged_and_turned_back():
    image = RANDOM.integers(0, 255, (12, 12, 1)).astype("uint8")
    layer = keras.layers.Conv2D(2, 3, padding="same", use_bias=False)
    model = keras.Sequential([keras.Input((12, 12, 1)), layer])
    kernel = np.zeros((3, 3, 1, 2), "float32")
    kernel[1, 0, 0, 0] = 1  # channel 0 is the left neighbour of each pixel
    layer.set_weights([kernel])
    wide = np.pad(image[..., 0].astype(float), ((0, 0), (1, 1)))
    left, right = wide[:, :-2], wide[:, 2:]
    np.testing.assert_allclose(patches.predict(model, image)[..., 0], left, atol=1e-3)
    np.testing.assert_allclose(patches.predict(model, image, flips="l")[..., 0], (left + right) / 2, atol=1e-3)
    np.testing.assert_allclose(patches.predict(model, image, flips="lu")[..., 0], (left + right) / 2, atol=1e-3)
    with pytest.raises(ValueError, match="z is for volumes"):
        patches.predict(model, image, flips="z")
