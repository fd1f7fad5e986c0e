"""Realignment against known motion, and the measures against their formulas."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from medlab.fmri import motion


def head(shape=(36, 40, 28), voxel=4.0, tilt=(-12, 3, 5)):
    """A structured blob on an oblique grid: values as a function of place, affine."""
    affine = np.eye(4)
    affine[:3, :3] = motion.rotation(*tilt) * voxel
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + [3, -10, 8]
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(60, 60, 60)), 3)
    texture /= texture.std()

    def at(points):
        inside = (points / [60, 72, 48]) ** 2
        where = (points / 4 + 29.5).T
        wave = ndimage.map_coordinates(texture, where, order=3, mode="nearest")
        return 1000 / (1 + np.exp(8 * (inside.sum(axis=1) - 1))) * (1 + 0.25 * wave)

    points = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    return at, points, affine, shape


def test_known_motion_is_found_in_direction_and_size():
    at, points, affine, shape = head()
    truth = np.array([[0, 0, 0, 0, 0, 0], [1.2, -0.7, 0.9, 1.0, -0.8, 1.5], [-0.4, 0.3, -2.5, -2.0, 0.5, 0.2]])
    middle = points.mean(axis=0)
    rng, volumes = np.random.default_rng(1), []
    for move in truth:  # tissue at x is now at R (x - c) + c + t: a voxel at y shows what was at R' (y - t - c) + c
        back = (points - move[:3] - middle) @ motion.rotation(*move[3:]) + middle
        volumes.append(at(back).reshape(shape) + rng.normal(0, 8, shape))
    run = nib.Nifti1Image(np.stack(volumes, axis=-1).astype(np.float32), affine)
    moved, found, seen = motion.realign(run, reference=0)
    np.testing.assert_allclose(found.to_numpy()[:, :3], truth[:, :3], atol=0.08)
    np.testing.assert_allclose(found.to_numpy()[:, 3:], truth[:, 3:], atol=0.1)
    data, raw, core = np.asarray(moved.dataobj), np.asarray(run.dataobj), np.asarray(run.dataobj)[..., 0] > 500
    assert np.abs(data[..., 2] - data[..., 0])[core].mean() < 0.25 * np.abs(raw[..., 2] - raw[..., 0])[core].mean()
    assert 0.8 < seen.mean() < 1 and seen[core].mean() > 0.98
    alone, again, _ = motion.realign(run, reference=0, threads=1)
    assert again.equals(found) and np.array_equal(np.asarray(alone.dataobj), data), "threads change nothing"
    with pytest.raises(ValueError, match="reference volume 3: expected 0 to 2"):
        motion.realign(run, reference=3)


def test_angles_and_rotation_are_inverse():
    turn = motion.rotation(3.0, -20.0, 50.0)
    np.testing.assert_allclose(np.degrees(motion.angles(turn)), [3, -20, 50])
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(motion.rotation(0, 0, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)  # turning left, z up
    np.testing.assert_allclose(motion.rotation(90, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)  # nodding up


def test_displacement_is_that_of_power_2012():
    rows = [[0, 0, 0, 0, 0, 0], [0.1, -0.2, 0.3, 0, 0, 0], [0.1, -0.2, 0.3, 1.0, 0, -1.0]]
    table = pd.DataFrame(rows, columns=motion.PARAMETERS)
    arc = np.pi / 180 * 50
    np.testing.assert_allclose(motion.framewise_displacement(table), [0, 0.6, 2 * arc])


def test_regressors_of_motion():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 6)).cumsum(axis=0), columns=motion.PARAMETERS)
    for model in (0, 6, 12, 24):
        found = motion.motion_regressors(table, model)
        assert found.shape == (30, model) and np.isfinite(found.to_numpy()).all()
    np.testing.assert_allclose(found.std(), 1)
    assert "yaw_deg" not in motion.motion_regressors(table.assign(yaw_deg=0.0), 6)
    with pytest.raises(ValueError, match="expected 0, 6, 12 or 24"):
        motion.motion_regressors(table, 7)


def test_dvars_and_tsnr_of_known_noise():
    rng = np.random.default_rng(0)
    mask = np.ones((10, 10, 10), bool)
    trend = np.linspace(-30, 30, 400)
    data = 1000 + trend + rng.normal(0, 20, (10, 10, 10, 400))
    assert motion.dvars(data, mask)[1:].mean() == pytest.approx(100 * np.sqrt(2) * 0.02, rel=0.02)
    assert motion.tsnr(data, mask).mean() == pytest.approx(50, rel=0.01)
    mask[0] = False
    assert (motion.tsnr(data, mask)[0] == 0).all()
    data[:, :, :, 100] += 200
    change = motion.dvars(data, mask)
    bad = motion.outliers(np.r_[np.zeros(50), 0.9, np.zeros(349)], change)
    assert bad["moved"].to_numpy().nonzero()[0].tolist() == [50]
    assert {100, 101} <= set(bad["changed"].to_numpy().nonzero()[0]) and bad["changed"].sum() < 12


def test_volumes_before_the_steady_state():
    signal = 1000 + np.random.default_rng(0).normal(0, 1, 100)
    assert motion.unsteady(signal) == 0
    signal[:3] += [400, 120, 40]
    assert motion.unsteady(signal) == 3
