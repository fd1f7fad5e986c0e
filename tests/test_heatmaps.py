"""Centre heatmaps: boxes follow their image under every augmentation, targets and decoding are inverse."""

import numpy as np
import pytest

from medlab.detection import detectors, heatmaps, lesions, matching
from medlab.networks import pipeline, policies
from medlab.networks.pipeline import keras, tf

RANDOM = np.random.default_rng(0)


def ellipsoids(shape, n, seed=0):
    """Images with one bright ellipsoid each, and its box (edges)."""
    rng, images, boxes = np.random.default_rng(seed), [], []
    for _ in range(n):
        half = rng.uniform(0.09, 0.16, len(shape)) * shape
        centre = rng.uniform(0.4, 0.6, len(shape)) * shape
        lines = np.meshgrid(*(np.arange(side) + 0.5 for side in shape), indexing="ij")
        far = sum(((line - c) / h) ** 2 for line, c, h in zip(lines, centre, half, strict=True))
        images.append(np.where(far <= 1, 255, 0).astype("uint8")[..., None])
        boxes.append(np.r_[centre - half, centre + half])
    return np.stack(images), np.array(boxes, "float32")[:, None]


def found_box(image):
    where = np.argwhere(image[..., 0] > 127)
    return np.r_[where.min(0), where.max(0) + 1]


@pytest.mark.parametrize("policy", ["none, flip=lu", "none, rotation_deg=40", "none, zoom=0.25", "none, shift=0.12",
                                    "none, shear_deg=15", "none, shift_z=2, flip=z", "SM", "CT", "classic"])
@pytest.mark.parametrize("shape", [(96, 120), (24, 64, 72)])
def test_boxes_follow_the_image(policy, shape):
    images, boxes = ellipsoids(shape, 12)
    grey = ("contrast", "brightness", "noise")
    policy = {name: value for name, value in policies.policy(policy).items() if name not in grey}
    policy["fill"] = "constant"  # a reflected rim would show a second ellipsoid
    chance = np.random.default_rng(0).random((12, 12)).astype("float32")
    moved = np.asarray(pipeline.augment(tf.constant(images), tf.constant(chance), tf.zeros(2, tf.int64), policy))
    expected = np.asarray(heatmaps.move(tf.constant(boxes), tf.constant(chance), policy, shape))[:, 0]
    inside = ((expected > 2) & (expected < np.tile(shape, 2) - 2)).all(1)
    assert inside.sum() >= 4
    for image, box in zip(moved[inside], expected[inside], strict=True):
        np.testing.assert_allclose(box, found_box(image), atol=1.6)


@pytest.mark.parametrize("name", ["none", "none, flip=luz, shift_z=1, zoom=0.1", "none, rotation_deg=180, shift=0.1"])
def test_mask_and_targets_of_a_batch_belong_together(name):
    shape = (12, 48, 48)
    images, boxes = ellipsoids(shape, 6, seed=1)
    masks, step, field = images[..., 0], (1, 2, 2), (slice(0, 12), slice(6, 54), slice(0, 48))
    images = np.pad(images, [(0, 0), (0, 0), (6, 6), (0, 0), (0, 0)])
    stream = heatmaps.dataset(images, field, boxes, np.zeros((6, 1), "int32"), 2, step, 3, rows=np.arange(6),
                              masks=masks, policy=policies.policy(name), shuffle=True)
    for x, y in stream:
        np.testing.assert_allclose(x / 255, y["mask"], atol=1e-3)
        for mask, heat, box in zip(y["mask"].numpy(), y["heat"].numpy(), y["box"].numpy(), strict=True):
            assert (heat == 1).sum() == 1 and heat[..., 1].max() == 0
            corners = box[np.unravel_index(heat[..., 0].argmax(), heat.shape[:-1])][:-1]
            np.testing.assert_allclose(corners, found_box(mask * 255), atol=1.6)
            assert box[..., -1].sum() == pytest.approx(1, abs=1e-4)


def test_a_batch_depends_on_seed_and_epoch_only():
    images, boxes = ellipsoids((32, 32), 8)
    options = dict(rows=np.arange(8), policy=policies.policy("SM"), shuffle=True)
    feed = (images, (slice(0, 32), slice(0, 32)), boxes, np.zeros((8, 1), "int32"), 1, (4, 4), 4)
    one, two, other = ([np.asarray(y["box"]) for _, y in heatmaps.dataset(*feed, **options, **more)] for more in
                       ({"first_epoch": 2}, {"first_epoch": 2}, {"first_epoch": 3}))
    assert all((a == b).all() for a, b in zip(one, two, strict=True)) and (one[0] != other[0]).any()


@pytest.mark.parametrize("shape, step", [((40, 56), (4, 4)), ((6, 20, 24), (1, 2, 2))])
def test_decoding_gives_back_the_boxes(shape, step):
    axes, rng = len(shape), np.random.default_rng(3)
    low = np.stack([rng.uniform([0] * axes, np.array(shape) * 0.2), np.array(shape) * 0.55])
    boxes = np.concatenate([low, low + np.array(shape) * [[0.3], [0.4]]], 1).astype("float32")[None]
    wanted = np.asarray(heatmaps.targets(tf.constant(boxes), tf.constant([[1, 0]]), 2, shape, step))[0]
    found, classes, scores = heatmaps.decode(wanted[..., :2], wanted[..., 2:-1], step, 0.9)
    assert sorted(classes) == [0, 1] and (scores == 1).all()
    np.testing.assert_allclose(found[np.argsort(classes)], boxes[0][::-1], atol=heatmaps.INSIDE * max(step) + 1e-3)


def test_a_box_between_two_slices_marks_the_slice_of_its_peak():
    heat, box = np.zeros((5, 8, 8, 1)), np.zeros((5, 8, 8, 6))
    heat[2, 4, 4], box[2, 4, 4] = 0.8, [1, 3.5, 3, 3, 5.5, 6]  # one slice or two: the centre is their common edge
    box, _, _ = heatmaps.decode(heat, box, (1, 1, 1))
    np.testing.assert_allclose(box, [[1 + heatmaps.INSIDE, 3.5, 3, 3 + heatmaps.INSIDE, 5.5, 6]])
    assert [len(part) for part in heatmaps.decode(0 * heat, np.zeros((5, 8, 8, 6)), (1, 1, 1))] == [0, 0, 0]


def test_boxes_that_left_the_image_are_none_and_others_are_cut():
    boxes = tf.constant([[[-20.0, 4, -8, 12], [-4, 4, 10, 12], [3, 3, 5, 5]]])
    wanted = np.asarray(heatmaps.targets(boxes, tf.constant([[0, 0, heatmaps.EMPTY]]), 1, (32, 32), (4, 4)))[0]
    assert (wanted[..., 0] == 1).sum() == 1
    centre = np.unravel_index(wanted[..., 0].argmax(), (8, 8))
    np.testing.assert_allclose(wanted[centre][1:5], [0, 4, 10, 12])


@pytest.mark.parametrize("shape, spacing, step", [
    ((40, 52, 3), None, (2, 2)), ((6, 30, 32, 1), (5, 2.5, 2.5), (1, 2, 2)), ((12, 24, 24, 1), (1, 1, 1), (2, 2, 2))])
def test_network_gives_what_the_losses_want(tmp_path, shape, spacing, step):
    keras.utils.set_random_seed(0)
    axes = len(shape) - 1
    assert detectors.grid(shape[:-1], 2, spacing) == step
    model = detectors.build(shape, 2, [8.0] * axes, stride=2, width=8, depth=2, spacing=spacing, masks=True)
    cells = tuple(-(-side // s) for side, s in zip(shape[:-1], step, strict=True))
    assert model.output["heat"].shape[1:] == (*cells, 2) and model.output["mask"].shape[1:] == (*shape[:-1], 1)
    x = RANDOM.uniform(0, 255, (2, *shape)).astype("float32")
    said = {name: np.asarray(part) for name, part in model(x).items()}
    middle = (said["box"][..., :axes] + said["box"][..., axes:]) / 2
    np.testing.assert_allclose(middle[0][(0,) * axes], np.array(step) / 2, atol=0.8)
    np.testing.assert_allclose(said["box"][..., axes:] - said["box"][..., :axes], 8, rtol=0.1)
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")(x)
    np.testing.assert_allclose(again["box"], said["box"], atol=1e-4)


def test_pixels_of_a_cell_come_to_their_place():
    fine = np.arange(2 * 4 * 6).reshape(1, 2, 4, 6, 1).astype("float32")
    cells = fine.reshape(2, 2, 2, 3, 2).transpose(0, 1, 3, 2, 4).reshape(1, 2, 2, 3, 4)
    np.testing.assert_array_equal(detectors.to_pixels(cells, (1, 2, 2), (2, 4, 5)), fine[:, :, :, :5])


def test_overlap_loss_is_one_minus_the_generalised_overlap():
    truth, said = np.array([[[0.0, 0, 4, 4, 1]]]), np.array([[[2.0, 2, 6, 6]]])
    loss = float(detectors.BoxOverlap()(truth, said))
    assert loss == pytest.approx(1 - (4 / 28 - 8 / 36), abs=1e-5)
    assert float(detectors.BoxOverlap()(truth, truth[..., :4])) == pytest.approx(0, abs=1e-5)


def test_mirror_images_are_turned_back():
    images, _ = ellipsoids((32, 48), 3)
    model = detectors.build((32, 48, 1), 1, [8.0, 8.0], stride=4, width=8, depth=1)
    field = (slice(0, 32), slice(0, 48))
    plain = list(heatmaps.predict(model, images, field, range(3)))
    mirrored = list(heatmaps.predict(model, images[:, :, ::-1].copy(), field, range(3)))
    both = list(heatmaps.predict(model, images, field, range(3), flips="l"))
    for a, b, c in zip(plain, mirrored, both, strict=True):
        np.testing.assert_allclose(c["heat"], (a["heat"] + b["heat"][:, ::-1]) / 2, atol=1e-5)
        turned = b["box"][:, ::-1][..., [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 48, 0, 48]
        np.testing.assert_allclose(c["box"], (a["box"] + turned) / 2, atol=1e-3)


def test_mirror_images_that_nobody_learnt_are_refused():
    policy = policies.policy("none, flip=luz")
    policies.check_flips("luz", policy, 3)
    policies.check_flips("", {}, 2)
    for flips, made, axes, words in (("l", {}, 2, "flips nothing"), ("u", {"flip": "l"}, 3, "flips l; expected"),
                                     ("z", policy, 2, "flips lu .z is for volumes only")):
        with pytest.raises(ValueError, match=words):
            policies.check_flips(flips, made, axes)
    images, _ = ellipsoids((32, 48), 1)
    with pytest.raises(ValueError, match="expected some of l, u for images with 2 axes"):
        next(heatmaps.predict(None, images, (slice(0, 32), slice(0, 48)), [0], flips="z"))


def test_an_unknown_extent_teaches_nothing():
    shape, classes = (32, 32), np.zeros((4, 1), "int32")
    images, boxes = ellipsoids(shape, 4)
    stream = heatmaps.dataset(images, (slice(0, 32),) * 2, boxes, classes, 1, (2, 2), 4, rows=np.arange(4),
                              masks=images[..., 0], drawn=[True, False, True, False])
    wanted = next(iter(stream))[1]["mask"].numpy()
    assert (wanted[[1, 3]] == -1).all() and (wanted[[0, 2]] >= 0).all() and wanted[0].max() == 1
    said = RANDOM.uniform(0.1, 0.9, wanted.shape).astype("float32")
    loss = float(detectors.Cover()(wanted, said))
    other = np.where(wanted < 0, 1 - said, said)
    assert loss == pytest.approx(float(detectors.Cover()(wanted, other))) and loss > 0
    assert loss == pytest.approx(float(detectors.Cover()(wanted[::2], said[::2])), rel=1e-4)
    assert float(detectors.Cover()(wanted[1::2], said[1::2])) == 0


def test_patches_are_cut_around_lesions_with_their_boxes():
    images, boxes = ellipsoids((12, 96, 96), 20, seed=2)
    field, none = tuple(slice(0, side) for side in images.shape[1:-1]), np.zeros((20, 1), "int32")
    for foreground, least, most in ((1.0, 20, 20), (0.0, 1, 19)):
        stream = heatmaps.dataset(images, field, boxes, none, 1, (1, 2, 2), 10, rows=np.arange(20), patch=(12, 32, 32),
                                  masks=images[..., 0], foreground=foreground)
        with_lesion = 0
        for x, y in stream:
            assert x.shape[1:] == (12, 32, 32, 1) and y["mask"].shape == x.shape
            for mask, heat, box in zip(y["mask"].numpy(), y["heat"].numpy(), y["box"].numpy(), strict=True):
                with_lesion += int((heat == 1).sum())
                if (heat == 1).any():
                    corners = box[np.unravel_index(heat[..., 0].argmax(), heat.shape[:-1])][:-1]
                    np.testing.assert_allclose(corners, found_box(mask * 255), atol=1.6)
        assert least <= with_lesion <= most


def test_suppression_keeps_the_surer_of_one_class():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [40, 0, 50, 10]], float)
    table = matching.box_table(boxes).assign(place=[0, 0, 0, 0], label=["a", "a", "b", "a"], score=[0.5, 0.9, 0.3, 0.1])
    assert list(lesions.suppress(table, 0.5)["score"]) == [0.9, 0.3, 0.1]
    assert len(lesions.suppress(table, 1.0)) == 4
    assert len(lesions.suppress(table.assign(place=[0, 1, 0, 0]), 0.5)) == 4
    assert matching.iou(boxes[:1], boxes[1:2])[0, 0] > 0.5


def test_shares_around_a_box_add_up():
    mask = np.zeros((20, 20))
    mask[5:9, 6:11], mask[15:18, 15:18] = 0.5, 1
    np.testing.assert_allclose(lesions.masses(mask, [[5, 6, 9, 11], [15, 15, 18, 18], [1, 1, 2, 2]]), [10, 9, 0])


def test_field_leaves_shared_margins_away():
    where = np.zeros((2, 2, 4))
    where[:, 0], where[:, 1] = [-8, 1, 24, np.nan], [-4, 1, 30, np.nan]  # 40 rows: 8 black, 24, 8; 32 columns: 4, 28
    where[1, 1, 0] = -2
    field, moved = lesions.field(where, (40, 32), multiple=8)
    assert field[0] == slice(8, 32) and field[1] == slice(0, 32)
    assert moved[0, 0, 0] == 0 and moved[1, 1, 0] == -2


def test_stride_and_patch_follow_the_size_of_the_lesions():
    boxes, classes = heatmaps.packed([(np.array([[0.0, 0, 12, 10], [0, 0, 8, 9]]), np.array([0, 1])),
                                      (np.empty((0, 4)), np.empty(0, int))], 2)
    sides = heatmaps.sides(boxes, classes)
    assert sides.tolist() == [[12, 10], [8, 9]] and detectors.narrow(sides) == 9
    assert [detectors.stride_for(sides * k) for k in (0.3, 0.6, 1, 2)] == [1, 2, 2, 4]
    assert detectors.patch_for(sides, (200, 70)) == (80, 70)  # eight lesions of 9 pixels, in steps of 16
    assert detectors.patch_for(sides, (9, 200, 70), 32) == (9, 32, 32)
    assert detectors.patch_for(sides, (200, 70), -1) == (200, 70)
