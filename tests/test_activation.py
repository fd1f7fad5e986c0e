"""Clusters, names of places, laterality, averages, against planted answers."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medlab.fmri import activation, mni

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = [-75, -108, -70]
SHAPE = (51, 61, 51)


def at(*point):
    """Voxel of a point in mm."""
    return tuple(np.round(mni.transform(point, np.linalg.inv(AFFINE))[0]).astype(int))


def blob(centre, radius):
    voxels = np.indices(SHAPE).reshape(3, -1).T @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    return (np.linalg.norm(voxels - np.asarray(centre), axis=1) <= radius).reshape(SHAPE)


def z_map(*blobs, seed=0):
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    for centre, radius, height in blobs:
        values[blob(centre, radius)] += height
    return nib.Nifti1Image(values, AFFINE), nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)


def test_clusters_have_their_peaks_where_they_were_planted():
    z, mask = z_map(((39, -54, -19), 9, 8.0), ((-24, -42, -10), 7, -7.0))
    values = np.asarray(z.dataobj)
    values[at(39, -54, -19)], values[at(-24, -42, -10)] = 15, -12
    mask = nib.Nifti1Image(blob((8, -48, -14), 50).astype(np.uint8), AFFINE)
    values[np.asarray(mask.dataobj) == 0] = 0
    found = activation.clusters(z, mask, 4.0, np.eye(4))
    assert len(found) == 2 and found["cluster"].tolist() == [1, 2]
    assert found["z"].tolist() == pytest.approx([15, -12])
    assert found.loc[0, ["x_mm", "y_mm", "z_mm"]].tolist() == [39, -54, -19]
    assert found.loc[1, ["mni_x", "mni_y", "mni_z"]].tolist() == [-24, -42, -10]
    assert found["side"].tolist() == ["right", "left"]
    assert found.loc[0, "volume_ml"] == pytest.approx(0.027 * found.loc[0, "voxels"])
    assert found.loc[0, "voxels"] == pytest.approx(blob((39, -54, -19), 9).sum(), abs=3)
    assert (found["active_low"] > 0.7).all() and (found["active_low"] <= 1).all()
    shifted = np.eye(4)
    shifted[0, 3] = 5
    assert activation.clusters(z, mask, 4.0, shifted).loc[0, "mni_x"] == 44
    none = activation.clusters(z, mask, 50.0, np.eye(4))
    assert none.empty and set(found.columns) == set(none.columns)
    assert activation.clusters(z, mask, np.inf, np.eye(4)).empty, "nothing survives the FDR"


@pytest.mark.parametrize(("centre", "width"), [(0.0, 1.0), (0.6, 1.2), (-0.3, 1.6)])
def test_the_null_is_found_beside_activation_of_one_side(centre, width):
    pure, mask = z_map()
    values = centre + width * np.asarray(pure.dataobj)
    active = blob((0, -40, 0), 35)  # about 5 % of the voxels
    values[active] += 4
    found = activation.null(nib.Nifti1Image(values, AFFINE), mask)
    assert found == pytest.approx((centre, width), abs=0.03)
    quartiles = np.subtract(*np.percentile(values, [75, 25])) / 1.349
    assert abs(found[1] - width) < abs(quartiles - width)  # which activation widens
    half = nib.Nifti1Image((np.indices(SHAPE)[0] < 25).astype(np.uint8), AFFINE)
    plain = np.asarray(activation.standardised(nib.Nifti1Image(values, AFFINE), half, *found).dataobj)
    assert not plain[25:].any()
    assert plain[:25][~active[:25]].std() == pytest.approx(1, abs=0.03)


def test_a_narrow_null_does_not_make_thresholds_lenient():
    pure, mask = z_map()
    assert activation.null(nib.Nifti1Image(0.7 * np.asarray(pure.dataobj), AFFINE), mask)[1] == 1.0


def test_keep_holds_both_signs_and_large_clusters_only():
    z, mask = z_map()
    values = np.asarray(z.dataobj)
    values[:] = 0
    values[10:14, 10:14, 10:14], values[30:33, 30, 30], values[40:43, 40:43, 40:43] = 5, 9, -6
    kept = np.asarray(activation.keep(z, mask, 4.0, 10).dataobj)
    assert (kept == 5).sum() == 64 and (kept == -6).sum() == 27 and (kept != 0).sum() == 91
    assert (np.asarray(activation.keep(z, mask, np.inf, 10).dataobj) == 0).all()


def test_places_are_named_after_the_nearest_coordinate():
    found = mni.label([[58, -41, 20], [-9, -72, 41], [0, 120, 0], [0, -59, 40]])
    assert found["region"].tolist()[:3] == ["parietal", "occipital", "none near"]
    assert found["region_mm"][0] == 0 and found["region_mm"][2] > mni.FAR_MM
    assert found["side"].tolist() == ["right", "left", "middle", "middle"]
    assert found["network"][2] == "none near" and found["network"][3] in ("DefaultMode", "ParietoMedial")
    tissue = mni.label([[0, 140, 0], [-28, -28, 28], [-38, -24, 56]])["tissue"].tolist()
    assert tissue[:2] == ["other", "white"]
    places, networks = mni.network_places()
    assert places.shape == (160, 3) and networks == sorted(networks) and len(set(networks)) == 6


def test_laterality_of_planted_sides():
    both, mask = z_map(((30, -60, -10), 9, 8.0), ((-30, -60, -10), 9, 8.0))
    left, _ = z_map(((-30, -60, -10), 9, 8.0))
    values = np.asarray(left.dataobj)
    values[~blob((-30, -60, -10), 9)] = 0
    one = activation.laterality(left, mask, np.eye(4), 4.0)
    assert one["index"] == 1 and one["average"] == 1 and one["right"] == 0 and one["left"] > 80
    two = activation.laterality(both, mask, np.eye(4), 4.0)
    assert abs(two["index"]) < 0.05 and abs(two["average"]) < 0.1
    near = activation.laterality(both, mask, np.eye(4), 4.0, centre=(30, -60, -10))
    assert abs(near["index"]) < 0.05 and near["left"] == pytest.approx(two["left"], abs=3)
    away = activation.laterality(left, mask, np.eye(4), 4.0, centre=(30, 40, 40))
    assert np.isnan(away["index"]) and away["left"] == away["right"] == 0


def test_event_locked_average_of_a_known_response():
    times = 2.0 * (np.arange(200) + 0.5)
    onsets = np.arange(20, 360, 40.0)
    signal = 5 + sum(np.where((times >= o) & (times < o + 16), 2.0, 0) for o in onsets)
    signal = signal + np.random.default_rng(0).normal(0, 0.1, 200)
    found = activation.event_locked(signal, times, onsets, 6, 30)
    assert found.index[0] == -6 and found.index[-1] == 30 and found["n"].max() == len(onsets)
    assert found["mean"].loc[4:12].mean() == pytest.approx(2, abs=0.05)
    assert abs(found["mean"].loc[-6:-2]).max() < 0.1 and abs(found["mean"].loc[22:30]).max() < 0.15
    assert ((found["low"] <= found["mean"]) & (found["mean"] <= found["high"])).all()
    late = activation.event_locked(signal, times, [390.0], 6, 30)
    assert late["n"].loc[15] == 0 and np.isnan(late["mean"].loc[15])


def test_onsets_without_a_time_before_them_are_left_out(recwarn):
    times, signal = np.arange(100) + 0.5, np.full(100, 7.0)
    found = activation.event_locked(signal, times, [0.0, 20.0, 40.0], 6, 10)
    assert found["n"].max() == 2 and np.allclose(found["mean"], 0)
    alone = activation.event_locked(signal, times, [0.0], 6, 10)
    assert alone["n"].max() == 0 and alone["mean"].isna().all() and len(alone) == 17
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_signals_of_places_and_what_is_taken_out_of_them():
    rng = np.random.default_rng(0)
    mask = nib.Nifti1Image(blob((0, 0, 0), 40).astype(np.uint8), AFFINE)
    data = rng.normal(size=(*SHAPE, 50))
    signals = activation.region_signals(data, mask, [[0, 0, 0], [0, 0, 70]], 6.0)
    assert np.isnan(signals[1]).all()
    np.testing.assert_allclose(signals[0], data[blob((0, 0, 0), 6)].mean(axis=0))
    assert activation.sphere(mask, (1, 1, 1), 0.5).sum() == 1
    design = pd.DataFrame({"a": rng.normal(size=50), "constant": 1.0})
    rest = activation.without(signals[:1] + 3 * design["a"].to_numpy() + 7, design)
    np.testing.assert_allclose(rest @ design.to_numpy(), 0, atol=1e-9)
    others = np.stack([rest[0] * 2, -rest[0], np.zeros(50)])
    np.testing.assert_allclose(activation.correlation(rest[0], others), [1, -1, 0])


def test_a_seed_that_is_no_place_is_refused():
    assert mni.coordinate("0, -53, 26").tolist() == [0, -53, 26]
    with pytest.raises(ValueError, match="fmri_seed_mm '0, up, 26': expected x, y, z in mm of MNI"):
        mni.coordinate("0, up, 26")


def test_the_positive_peak_counts_and_is_said():
    names = {"side": "left", "region": "V1", "region_mm": 3.0, "network": "Visual", "network_mm": 2.0, "tissue": "grey"}
    rows = [{c: 0.0 for c in activation.COLUMNS} | {"cluster": i + 1, "z": z, "z_model": 2 * z} | names
            for i, z in enumerate((-9.0, 5.0))]
    found = pd.DataFrame(rows)
    assert activation.peak(found)["z"] == 5 and activation.peak(found.iloc[:1])["z"] == -9
    assert activation.peak(found.iloc[:0]) is None and activation.peak_record(None) == {}
    said = activation.peaks_in_words("task", found)
    assert said.startswith("task: 2 clusters") and "highest z 5.0 (10.0 by the model)" in said
    assert "lowest z -9.0" in said
    assert activation.peak_record(activation.peak(found))["network"] == "Visual"


def test_correlations_within_and_between_networks():
    matrix = np.array([[1, 0.6, 0.1], [0.6, 1, 0.1], [0.1, 0.1, 1]])
    assert activation.within_and_between(matrix, ["a", "a", "b"]) == pytest.approx((0.6, 0.1))
