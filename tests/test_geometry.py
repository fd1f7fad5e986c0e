"""Where prepared pixels lie in the original: there and back, for masks and boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlab.imaging import geometry, resampling
from medlab.imaging.dicom import Image

sides = st.integers(2, 24)


@given(st.tuples(sides, sides, sides), st.tuples(sides, sides, sides), st.sampled_from([None, 0.7, 2.0]),
       st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_mask_is_placed_where_prepare_puts_its_image(shape, target, new, seed):
    rng = np.random.default_rng(seed)
    mask, old = rng.random(shape) < 0.4, tuple(rng.uniform(0.5, 3, 3))
    image = Image((mask * 1000 - 1000).astype(np.int16)[..., None], old, np.eye(4), "CT", "HU")
    pixels, spacing = resampling.prepare(image, target, window=(-500, 1000), spacing_mm=new)
    g = geometry.of(target, image, new)
    placed = geometry.place(mask, g, target)
    clear = np.abs(pixels[..., 0].astype(int) - 127.5) > 1
    np.testing.assert_array_equal(placed[clear], (pixels[..., 0] > 127)[clear])
    np.testing.assert_allclose(geometry.prepared_spacing(g), spacing)
    assert geometry.spacing(g) == pytest.approx(old)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_boxes_go_in_and_come_back_and_cover_the_same_pixels(shape, target, seed):
    rng = np.random.default_rng(seed)
    g = geometry.of(target, Image(np.zeros((*shape, 1), np.uint8)))
    corner = rng.uniform(0, shape, (5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 5, (5, 2))], axis=1)
    np.testing.assert_allclose(geometry.boxes_out(geometry.boxes_in(boxes, g), g), boxes, atol=1e-9)


def test_a_box_in_the_prepared_image_holds_the_prepared_mask():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 24:48] = True
    image = Image((mask * 255).astype(np.uint8)[..., None])
    for target in ((20, 30), (30, 30), (80, 120)):
        g = geometry.of(target, image)
        inside = np.argwhere(geometry.place(mask, g, target))
        low, high = np.split(geometry.boxes_in([[10, 24, 20, 48]], g)[0], 2)
        np.testing.assert_allclose(inside.min(0), low, atol=0.51)
        np.testing.assert_allclose(inside.max(0) + 1, high, atol=0.51)


def test_what_is_restored_lies_where_it_came_from():
    rng = np.random.default_rng(0)
    mask = np.zeros((9, 40, 50), np.uint8)
    mask[2:7, 12:22, 20:33] = 2
    image = Image(rng.integers(0, 9, (*mask.shape, 1)).astype(np.uint8), (3.0, 1.0, 1.0))
    box = (slice(5, 60), slice(4, 44))  # reaches beyond the image
    for shape, spacing in (((9, 80, 80), None), ((18, 36, 41), (1.5, 1.0, 1.0))):
        g = geometry.of(shape, image, spacing, box)
        placed = geometry.place(mask, g, shape)
        assert set(np.unique(placed)) == {0, 2}
        np.testing.assert_array_equal(geometry.restore(placed, g), mask)
        soft = geometry.restore((placed == 2).astype(np.float32)[..., None], g)
        assert soft.shape == (*mask.shape, 1) and ((soft[..., 0] >= 0.5) == (mask == 2)).mean() > 0.995


def test_outside_the_field_nothing_is_predicted():
    image = Image(np.zeros((40, 40, 1), np.uint8))
    g = geometry.of((10, 10), image, None, (slice(10, 20), slice(30, 40)))
    full = geometry.restore(np.ones((10, 10), np.float32), g)
    assert full.sum() == 100 and full[10:20, 30:40].all()


def test_classes_of_equal_share_come_before_the_background_and_sizes_must_agree():
    labels = np.array([[1, 0], [2, 2]], np.uint8)
    image = Image(np.zeros((2, 2, 1), np.uint8))
    g = geometry.of((1, 1), image)
    assert geometry.place(labels, g, (1, 1)) == 2 and geometry.place(labels == 2, g, (1, 1))
    np.testing.assert_array_equal(geometry.place(labels, geometry.of((2, 2), image), (2, 2)), labels)
    with pytest.raises(ValueError, match="a mask of 3 x 2 pixels for an image of 2 x 2"):
        geometry.place(np.zeros((3, 2)), g, (1, 1))
