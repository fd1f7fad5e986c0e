"""The input pipeline against scipy's resampling, and its promises: reproducible, bounded, masks follow."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from medlab.networks import pipeline, policies
from medlab.networks.pipeline import tf

RANDOM = np.random.default_rng(0)


def numpy_batches(*arguments, **options):
    return [tf.nest.map_structure(np.asarray, batch) for batch in pipeline.dataset(*arguments, **options)]


def smooth(n, *shape):
    noise = RANDOM.random((n, *shape, 1))
    blurred = ndimage.gaussian_filter(noise, [0, *[3] * len(shape), 0])
    return (255 * blurred / 0.6).clip(0, 255).astype("uint8")


def test_without_policy_everything_comes_once_and_unchanged():
    images, y = smooth(11, 16, 20), np.arange(11.0)[:, None]
    parts = numpy_batches(images, y, 4, shuffle=True, seed=3)
    x, targets = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert sorted(targets[:, 0]) == list(range(11)) and x.dtype == np.float32
    np.testing.assert_array_equal(x, images[targets[:, 0].astype(int)])
    assert sorted(len(part[0]) for part in parts) == [3, 4, 4]  # no left-over batch of one image


def test_one_affine_equals_scipy():
    images = smooth(5, 40, 48)
    policy = policies.policy("none, rotation_deg=30, shift=0.1, zoom=0.2, shear_deg=10, flip=lu")
    chance = RANDOM.random((5, 12)).astype("float32")
    moved = pipeline.augment(tf.constant(images), tf.constant(chance), tf.constant([0, 0], tf.int64), policy)
    matrices = pipeline.affine(chance, policy, 40, 48).numpy()
    for image, row, result in zip(images, matrices, moved, strict=True):
        a, b, x0, c, d, y0 = row[:6]
        expected = ndimage.affine_transform(image[..., 0].astype(float), [[d, c], [b, a]], [y0, x0], order=1,
                                            mode="constant")
        inside = ndimage.affine_transform(np.ones((40, 48)), [[d, c], [b, a]], [y0, x0], order=1) > 0.999
        assert inside.mean() > 0.3
        np.testing.assert_allclose(np.asarray(result)[..., 0][inside], expected[inside], atol=0.05)


@pytest.mark.parametrize("fill", policies.FILLS)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_compiled_resampling_equals_tensorflow(fill, kind):
    images = RANDOM.integers(0, 255, (5, 40, 48, 2)).astype(kind)
    policy = policies.policy("none, rotation_deg=180, shift=0.3, zoom=0.4, shear_deg=10, flip=lu")
    matrices = pipeline.affine(RANDOM.random((5, 12)).astype("float32"), policy, 40, 48)
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=images.astype("float32"), transforms=matrices, output_shape=[40, 48], fill_value=0.0,
        fill_mode=fill.upper(), interpolation="BILINEAR")
    np.testing.assert_allclose(pipeline.bilinear(tf.constant(images), matrices, fill), expected, atol=0.01)


def test_rotation_stays_within_its_range_and_keeps_the_centre():
    policy = policies.policy("none, rotation_deg=20")
    matrices = pipeline.affine(RANDOM.random((500, 12)).astype("float32"), policy, 33, 33).numpy()
    angles = np.degrees(np.arctan2(matrices[:, 3], matrices[:, 0]))
    assert -20 <= angles.min() < -18 and 18 < angles.max() <= 20
    np.testing.assert_allclose(matrices[:, 0] * 16 + matrices[:, 1] * 16 + matrices[:, 2], 16, atol=1e-4)


@pytest.mark.parametrize("modality", ["CT", "CR", "DX"])
def test_chests_are_never_mirrored(modality):
    policy = policies.policy("auto", modality)
    matrices = pipeline.affine(RANDOM.random((500, 12)).astype("float32"), policy, 32, 32).numpy()
    assert (np.linalg.det(matrices[:, [0, 1, 3, 4]].reshape(-1, 2, 2)) > 0).all()
    assert policy["rotation_deg"] <= 10


def test_bit_identical_and_resumable():
    images, y = smooth(37, 24, 24), RANDOM.random((37, 3)).astype("float32")
    options = dict(batch_size=8, policy=policies.policy("CT, mixup=0.3"), seed=5, shuffle=True, repeat=True)
    steps = pipeline.steps(37, 8)
    first = list(pipeline.dataset(images, y, **options).take(3 * steps).as_numpy_iterator())
    again = list(pipeline.dataset(images, y, **options).take(3 * steps).as_numpy_iterator())
    resumed = list(pipeline.dataset(images, y, **options, first_epoch=2).take(steps).as_numpy_iterator())
    for one, two in zip(first, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    for one, two in zip(first[2 * steps:], resumed, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(first[0][0], first[steps][0])


def test_augmentation_of_an_image_does_not_depend_on_its_neighbours():
    images, y = smooth(20, 24, 24), np.arange(20.0)[:, None]
    policy = policies.policy("MR")
    seen = []
    for batch_size in (3, 20):
        parts = numpy_batches(images, y, batch_size, policy=policy, seed=1, shuffle=True)
        x, targets = (np.concatenate(part) for part in zip(*parts, strict=True))
        seen.append(x[np.argsort(targets[:, 0])])
    np.testing.assert_array_equal(*seen)


def test_masks_follow_the_image():
    images = np.zeros((6, 4, 40, 40, 1), "uint8")
    images[:, 1:3, 12:30, 8:20] = 200
    policy = policies.policy("none, rotation_deg=30, shift=0.1, zoom=0.1, flip=luz, shift_z=1")
    for x, mask in numpy_batches(images, batch_size=6, masks=images > 0, policy=policy):
        assert mask.dtype == bool and 0 < mask.mean() < 0.2
        assert (mask == (x > 100)).mean() > 0.995
        assert not np.array_equal(mask, images > 0)


def test_volume_slices_move_alike():
    images = np.repeat(smooth(3, 24, 24)[:, None], 5, axis=1)
    policy = policies.policy("none, rotation_deg=40, zoom=0.2")
    x = np.concatenate(numpy_batches(images, batch_size=3, policy=policy))
    np.testing.assert_array_equal(x[:, 0], x[:, 4])
    assert not np.array_equal(x[0, 0], images[0, 0])


def test_grey_changes_keep_the_range_and_the_contrast_asked_for():
    images = smooth(64, 16, 16)
    x = np.concatenate(numpy_batches(images, batch_size=16, policy=policies.policy("none, contrast=0.3")))
    ratio = x.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.69 < ratio.min() < 0.8 and 1.2 < ratio.max() < 1.31
    policy = policies.policy("none, noise=0.05, brightness=1")
    x = np.concatenate(numpy_batches(images, batch_size=16, policy=policy))
    assert x.min() >= 0 and x.max() <= 255


def test_gamma_bends_each_channel_by_its_own_exponent_within_the_stated_range():
    images = np.tile(np.linspace(0, 255, 64, dtype=np.uint8).reshape(1, 8, 8, 1), (16, 1, 1, 2))
    x = np.concatenate(numpy_batches(images, batch_size=8, policy=policies.policy("none, gamma=0.5"), seed=2))
    inner = images[:, 4:-1]
    powers = np.log(x[:, 4:-1] / 255) / np.log(inner / 255)
    np.testing.assert_allclose(powers, np.broadcast_to(powers[:, :1, :1], powers.shape), rtol=1e-3)
    assert 1 / 1.5 <= powers.min() < 0.8 and 1.25 < powers.max() <= 1.5
    assert np.abs(powers[..., 0] - powers[..., 1]).mean() > 0.1
    np.testing.assert_array_equal(x[:, 0, 0], 0)
    np.testing.assert_allclose(x[:, -1, -1], 255, rtol=1e-5)


def test_noise_has_the_stated_size():
    images = np.full((4, 64, 64, 1), 128, "uint8")
    x = np.concatenate(numpy_batches(images, batch_size=2, policy=policies.policy("none, noise=0.04")))
    assert abs((x - 128).std() / 255 - 0.04) < 0.001
    assert not np.array_equal(x[0], x[1]) and not np.array_equal(x[0], x[2])


def test_reading_rows_equals_indexing(tmp_path):
    array = RANDOM.integers(0, 255, (9, 5, 6, 2), dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(pipeline.read_rows(mapped, [8, 0, 0, -1]), array[[8, 0, 0, -1]])
    np.testing.assert_array_equal(pipeline.read_rows(mapped[:, ::2], [3]), array[[3], ::2])
    with pytest.raises(IndexError, match="9 rows"):
        pipeline.read_rows(mapped, [9])


def test_memory_does_not_grow_with_the_cohort(tmp_path):
    path = tmp_path / "images.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (3000, 256, 256, 1))  # 197 MB
    array.flush()
    code = f"""
import resource, numpy as np
from medlab.networks import pipeline, policies
images = np.load({str(path)!r}, mmap_mode="r")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
list(pipeline.dataset(images[:64], batch_size=16, policy=policies.policy("MR")).as_numpy_iterator())
before = peak()
for batch in pipeline.dataset(images, batch_size=16, policy=policies.policy("MR"), shuffle=True): pass
print((peak() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 80, "megabytes more than for 64 images"
    assert done.stderr == "", "TensorFlow's own lines must not reach a report"


def test_policy_texts():
    assert policies.policy("none") == {}
    assert policies.policy("auto", "MR")["flip"] == "l"
    assert policies.policy("auto", "XX") == policies.POLICIES["mild"]
    assert policies.policy("auto", "CT", {"rotation_deg": 3})["rotation_deg"] == 3
    assert policies.policy("auto", "CT", "SM")["flip"] == "lu"
    assert policies.policy("auto, rotation_deg=20, flip=l", "CT")["rotation_deg"] == 20
    assert policies.policy("none, fill=reflect") == {"fill": "reflect"}
    for text in ("strnog", "MR, rotation=3", "MR, rotation_deg=much", "MR, flip=x", "MR, shift=-1",
                 "MR, fill=no"):
        with pytest.raises(ValueError, match="expected"):
            policies.policy(text)
