"""Registration finds transforms that are known, and says how far off it is."""

import numpy as np
import pytest
from scipy import ndimage

from medlab.imaging import registration

CASES = {"shift": dict(shift=(5.0, -4.0)), "turn": dict(degrees=9.0, shift=(3.0, 2.0)),
         "scale": dict(degrees=-5.0, shift=(2.0, -3.0), scale=(1.12, 0.93)),
         "volume shift": dict(shift=(6.0, -5.0, 4.0)),
         "volume turn": dict(degrees=(7.0, -4.0, 3.0), shift=(3.0, 4.0, -2.0)),
         "volume scale": dict(degrees=(4.0, 0.0, -3.0), shift=(2.0, -3.0, 4.0), scale=(1.08, 0.94, 1.05))}


def scene(shape, seed=0):
    """A body with texture on a black background, noise on top."""
    random = np.random.default_rng(seed)
    inner = ndimage.gaussian_filter(random.normal(size=shape), 4)
    where = np.indices(shape).T / (np.array(shape) - 1) * 2 - 1
    body = ((where / 0.78) ** 2).sum(-1).T < 1
    return np.where(body, 100 + 25 * inner / inner.std(), 0) + random.normal(0, 3, shape)


def pair(name):
    """An image, a copy of it moved by a known transform, spacing and the transform."""
    volume = name.startswith("volume")
    shape, spacing = ((24, 56, 60), (3.0, 1.0, 1.2)) if volume else ((90, 104), (0.8, 1.1))
    image = scene(shape)
    truth = registration.known((np.array(shape) - 1) / 2 * spacing, **CASES[name])
    return image, registration.warp(image, np.linalg.inv(truth), spacing_mm=spacing, order=3), spacing, truth


@pytest.mark.parametrize("name", CASES)
def test_a_known_transform_is_found_within_one_voxel(name):
    fixed, moving, spacing, truth = pair(name)
    found = registration.register(fixed, moving, spacing, kind="affine" if "scale" in name else "rigid")
    start = registration.error(np.eye(len(truth)), truth, fixed.shape, spacing)
    end = registration.error(found.matrix, truth, fixed.shape, spacing)
    assert start["mean"] > 3 * min(spacing) and end["maximum"] < min(spacing), (start, end)
    assert found.after < found.before and found.iterations > 0 and found.stopped
    body = ndimage.gaussian_filter(fixed, 2) > 40
    moved = registration.warp(registration.warp(body, np.linalg.inv(truth), spacing_mm=spacing), found.matrix,
                              spacing_mm=spacing)
    before = registration.overlap(body, registration.warp(body, np.linalg.inv(truth), spacing_mm=spacing))
    assert before < 0.95 < 0.97 < registration.overlap(body, moved)


def test_affine_finds_what_rigid_cannot():
    fixed, moving, spacing, truth = pair("scale")
    rigid, affine = (registration.register(fixed, moving, spacing, kind=kind) for kind in registration.KINDS)
    turn = rigid.matrix[:-1, :-1]
    assert np.allclose(turn @ turn.T, np.eye(2), atol=1e-6), "rigid: no scale"
    far = [registration.error(one.matrix, truth, fixed.shape, spacing)["mean"] for one in (rigid, affine)]
    assert far[0] > 2 and far[1] < 0.5


def test_a_large_rotation_needs_a_start_that_is_near():
    image = scene((90, 90))
    truth = registration.known((44.5, 44.5), degrees=60.0)
    moving = registration.warp(image, np.linalg.inv(truth), order=3)
    found = registration.register(image, moving, angles=(-90, -45, 0, 45, 90))
    assert registration.error(found.matrix, truth, image.shape)["maximum"] < 1
    again = registration.register(image, moving, start=registration.known((44.5, 44.5), degrees=50.0))
    assert registration.error(again.matrix, truth, image.shape)["maximum"] < 1


@pytest.mark.parametrize("metric", registration.METRICS)
def test_every_metric_and_images_of_different_size_and_spacing(metric):
    fixed = scene((80, 80))
    truth = registration.known((39.5, 39.5), degrees=6.0, shift=(3.0, -2.0))
    moving = registration.warp(fixed, np.linalg.inv(truth), (50, 60), (1.6, 1.4), (1.0, 1.0))
    found = registration.register(fixed, moving, (1.0, 1.0), (1.6, 1.4), metric=metric)
    assert registration.error(found.matrix, truth, fixed.shape)["maximum"] < 1


def test_mutual_information_serves_inverted_contrast_and_mean_squares_does_not():
    fixed, moving, spacing, truth = pair("turn")
    found = {metric: registration.register(fixed, 200 - moving, spacing, metric=metric).matrix
             for metric in ("mutual information", "mean squares")}
    far = {metric: registration.error(matrix, truth, fixed.shape, spacing)["mean"] for metric, matrix in found.items()}
    assert far["mutual information"] < 0.5 < far["mean squares"]


def test_the_same_seed_gives_the_same_transform():
    fixed, moving, spacing, _ = pair("volume turn")
    one, two = (registration.register(fixed, moving, spacing).matrix for _ in range(2))
    assert (one == two).all()


def test_the_known_transform_turns_scales_and_shifts_about_its_middle():
    matrix = registration.known((10.0, 20.0), degrees=90.0, shift=(1.0, 2.0), scale=(2.0, 1.0))
    assert np.allclose(matrix @ [10, 20, 1], [11, 22, 1])
    assert np.allclose(matrix @ [11, 20, 1], [11, 24, 1]), "one along y, doubled, turned to x"
    matrix = registration.known((0.0, 0.0, 0.0), degrees=(90.0, 0.0, 0.0))
    assert np.allclose(matrix @ [5, 1, 0, 1], [5, 0, 1, 1]), "the first angle turns about z"


def test_warp_moves_pixels_where_the_matrix_says():
    image = np.zeros((6, 8))
    image[2, 3] = 9
    shift = registration.known((0.0, 0.0), shift=(1.0, -2.0))
    moved = registration.warp(image, shift, fill=-1)
    assert moved[1, 5] == 9 and moved[-1, 0] == -1 and moved.shape == (6, 8)
    assert registration.warp(image > 0, shift).dtype == bool


def test_overlap_similarity_and_error_of_known_cases():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert registration.overlap(a, b) == 0.5 and np.isnan(registration.overlap(a & False, b & False))
    image = np.random.default_rng(0).normal(size=(30, 30))
    same = registration.similarity(image, image)
    assert same["correlation"] == pytest.approx(1) and same["mean_absolute_difference"] == 0
    other = registration.similarity(image, np.random.default_rng(1).normal(size=(30, 30)))
    assert other["mutual_information"] < same["mutual_information"] / 2
    far = registration.error(registration.known((0.0, 0.0), shift=(3.0, 4.0)), np.eye(3), (10, 10), (2.0, 2.0))
    assert far == {"mean": pytest.approx(5), "p95": pytest.approx(5), "maximum": pytest.approx(5), "n": 100}


def test_what_cannot_be_registered_is_named():
    image = scene((20, 20))
    for fixed, moving, text in ((image, scene((8, 20, 20)), "expected the same"), (image, image * 0, "one grey value"),
                                (image[:2], image, "at least 4"), (image * np.nan, image, "not finite")):
        with pytest.raises(ValueError, match=text):
            registration.register(fixed, moving)
    with pytest.raises(ValueError, match="expected rigid or affine"):
        registration.register(image, image, kind="elastic")
    with pytest.raises(ValueError, match="overlap at the start"):
        registration.register(image, image, start=registration.known((0.0, 0.0), shift=500.0))
