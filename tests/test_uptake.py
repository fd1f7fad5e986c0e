"""Uptake of lesions, regional maps and the phantom: against closed forms, plain loops and the known truth."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from medlab.pet import cohort as pet_cohort
from medlab.pet import figures as plots_pet
from medlab.pet import hot_spots, tables, uptake, uptake_maps
from medlab.phantoms import common, pet
from medlab.statistics import intervals

STEP = (common.SPACING,) * 3


@pytest.fixture(scope="module")
def clean():
    """The first patient, six spheres of SUV 8 in a background of 1, without noise: person, SUV, mask."""
    person = pet.sample(1, 0)[0]
    suv, mask, _, factor = pet.render(person, common.generator(0, 0, 1), noise=0.0)
    assert factor == 1
    return person, suv, mask


def test_sphere_of_one_millilitre():
    for spacing in ((2.5, 2.5, 2.5), (5.0, 2.0, 4.1)):
        weights = uptake.sphere(spacing, parts=15)
        volume = np.prod(spacing) / weights.max() / 1000  # a voxel that lies inside whole has the largest weight
        assert weights.sum() == pytest.approx(1) and volume == pytest.approx(1, rel=0.02)
        assert np.allclose(weights, weights[::-1, ::-1, ::-1])


def test_peak_against_plain_loops():
    rng = np.random.default_rng(0)
    suv, where = rng.random((7, 9, 10)), np.zeros((7, 9, 10), bool)
    where[2:5, 3:7, 4:8] = True
    spacing, kernel = (4.0, 3.0, 3.5), uptake.sphere((4.0, 3.0, 3.5))
    pad = [n // 2 for n in kernel.shape]
    wide = np.pad(suv, [(p, p) for p in pad], mode="edge")
    best = max((sum(kernel[tuple(o)] * wide[tuple(np.add(at, o))] for o in np.ndindex(kernel.shape)), tuple(at))
               for at in np.argwhere(where))
    value, at = uptake.peak(suv, spacing, where)
    assert value == pytest.approx(best[0]) and at == best[1]
    with pytest.raises(ValueError, match="empty region"):
        uptake.peak(suv, spacing, where & False)


def test_profile_is_the_ball_convolved_with_the_gaussian():
    step, radius, fwhm = 0.5, 8.0, 6.0
    line = np.arange(-24, 24 + step, step)
    away = np.sqrt(sum(g**2 for g in np.meshgrid(line, line, line, indexing="ij", sparse=True)))
    ball = np.clip(0.5 + (radius - away) / step, 0, 1)
    blurred = ndimage.gaussian_filter(ball, fwhm / 2.3548 / step)[len(line) // 2, len(line) // 2]
    assert np.abs(blurred - uptake.profile(radius, np.abs(line), fwhm)).max() < 2e-3
    assert uptake.recovery(2 * radius, fwhm, 0) == pytest.approx(blurred.max(), abs=2e-3)
    sphere = away <= uptake.PEAK_RADIUS_MM
    full = ndimage.gaussian_filter(ball, fwhm / 2.3548 / step)
    assert uptake.recovery(2 * radius, fwhm) == pytest.approx(full[sphere].mean(), abs=3e-3)


def test_measures_of_a_region():
    suv, mask = np.arange(24.0).reshape(2, 3, 4), np.zeros((2, 3, 4), bool)
    mask[1, 1:, 2:] = True
    found = uptake.measures(suv, mask, (2.0, 5.0, 10.0))
    values = suv[mask]
    assert found["suv_max"] == 23 and found["suv_mean"] == values.mean()
    assert found["volume_ml"] == pytest.approx(0.4) and found["tlg_g"] == pytest.approx(0.4 * values.mean())


def test_phantom_without_noise_is_measured_to_one_percent(clean):
    """Every sphere above twice the resolution: SUV within 1 %, volume within 5 % (resolution taken into account)."""
    person, suv, _ = clean
    spots = uptake.hot_spots(suv, STEP, 2.5, fwhm_mm=pet.FWHM_MM, affine=affine())
    truth = pd.DataFrame(person["spheres"]).assign(scan="", **dict(zip(("x_mm", "y_mm", "z_mm"),
                                                                       pet.places(person).T, strict=True)))
    found, extra = hot_spots.match(spots.assign(scan=""), truth, within_mm=2.5)
    assert not extra and (found["spot"] >= 0).all()
    found = found[found["diameter_mm"] > 2 * pet.FWHM_MM]
    beside = spots.loc[found["spot"]]
    assert len(found) == 5
    assert np.abs(beside["resolved_suv"].to_numpy() / found["suv"].to_numpy() - 1).max() < 0.01
    volume = np.pi * found["diameter_mm"] ** 3 / 6000
    assert np.abs(beside["resolved_volume_ml"].to_numpy() / volume.to_numpy() - 1).max() < 0.05
    large = found["diameter_mm"].to_numpy() > 3 * pet.FWHM_MM  # where the maximum alone is not yet cut
    assert np.abs(beside["suv_max"].to_numpy()[large] / 8 - 1).max() < 0.01


def affine():
    """Index z, y, x to LPS of the phantom, 0 in the middle."""
    low = [-(n - 1) / 2 * common.SPACING for n in common.SHAPE]
    matrix = np.zeros((4, 4))
    matrix[[2, 1, 0], [0, 1, 2]], matrix[:3, 3], matrix[3, 3] = common.SPACING, low[::-1], 1
    return matrix


def test_background_lung_and_mask_of_the_phantom(clean):
    person, suv, mask = clean
    assert suv[mask == pet.CLASSES["reference"]].mean() == pytest.approx(person["liver"], rel=1e-3)
    volumes = (mask == pet.CLASSES["lesion"]).sum() * common.SPACING**3
    assert volumes == pytest.approx(sum(np.pi * d**3 / 6 for d in pet.DIAMETERS), rel=0.02)
    shift = np.round(np.asarray(person["shift_mm"]) / common.SPACING).astype(int)
    centre = tuple(int(n // 2 + s) for n, s in zip(common.SHAPE, shift, strict=True))
    assert suv[centre] == pytest.approx(pet.LUNG_SUV, abs=0.01)


def test_noise_and_seeds_of_the_phantom():
    person = pet.sample(3, 5)[1]
    one, again = (pet.render(person, common.generator(5, 1, 1))[0] for _ in range(2))
    assert (one == again).all()
    quiet = pet.render(person, common.generator(5, 1, 1), noise=0.0)[0]
    inside = quiet > 0.95 * person["background"]
    spread = (one - quiet)[inside & (quiet < 1.05 * person["background"])].std() / person["background"]
    assert 0.07 < spread < 0.11  # noise of 8 % and some texture
    assert pet.sample(3, 5)[:2][0]["weight_kg"] == pet.sample(2, 5)[0]["weight_kg"]
    with pytest.raises(ValueError, match="at least 1 patient"):
        pet.sample(0)


def test_thresholds_and_leaks():
    suv = np.ones((30, 40, 40))
    suv[15, 20, 20], suv[14:17, 19:22, 19:22] = 10, 8
    suv[15, 20, 20] = 10
    found = uptake.hot_spots(suv, (2.0, 2.0, 2.0), 5.0, least_ml=0.1).iloc[0]
    assert found[["z", "y", "x"]].tolist() == [15, 20, 20] and found["background"] == 1
    assert found["mtv_suv_2.5"] == found["mtv_41 % adapted"] == found["volume_ml"] == pytest.approx(27 * 8 / 1000)
    weak = np.ones((40, 60, 60))
    weak[20, 30, 30:33] = 2.2  # 41 % of it is below the background
    spot = uptake.hot_spots(weak, (2.0, 2.0, 2.0), 2.0, least_ml=0).iloc[0]
    assert np.isnan(spot["mtv_41 %"]) and np.isnan(spot["mtv_suv_4.0"]) and spot["mtv_41 % adapted"] > 0
    nothing = uptake.hot_spots(weak, (2.0, 2.0, 2.0), 5.0, fwhm_mm=5)
    assert len(nothing) == 0 and {"suv_peak", "tlg_g", "mtv_41 %", "resolved_suv", "x_mm"} <= set(nothing)


def test_every_hot_spot_is_kept():
    suv = np.ones((12, 40, 40))
    suv[6, 2::4, 2::4] = 5 + np.arange(100).reshape(10, 10) / 10
    assert len(uptake.hot_spots(suv, (2.0, 2.0, 2.0), 4.0, least_ml=0)) == 100


def test_neighbours_share_no_voxel_of_their_contours():
    grid = np.meshgrid(*(2.0 * np.arange(n) for n in (40, 60, 60)), indexing="ij")
    bumps = [h * np.exp(-sum((g - c) ** 2 for g, c in zip(grid, (40, 60, x), strict=True)) / 72)
             for h, x in ((10.0, 46.0), (8.0, 66.0))]
    suv = 0.5 + sum(bumps)
    found = uptake.hot_spots(suv, (2.0,) * 3, 6.0)
    whole = uptake.hot_spots(suv, (2.0,) * 3, 2.5)
    assert len(found) == 2 and len(whole) == 1
    assert found["mtv_suv_2.5"].sum() == pytest.approx(whole["mtv_suv_2.5"].iloc[0])
    both = uptake.delineate(suv, (20, 30, 23), 0.5 + 0.41 * 7.5)  # the lower of the two contours
    assert found["tlg_g"].sum() <= suv[both].sum() * 0.008
    labels = np.zeros((1, 1, 9), int)
    labels[0, 0, [0, 4, 8]] = 2, 1, 3
    parts = [uptake.nearest(labels, k, (1.0, 1.0, 1.0)) for k in (1, 2, 3)]
    assert (np.sum(parts, axis=0) == 1).all() and parts[0][0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_a_sum_with_a_leak_is_no_sum():
    spots = pd.DataFrame({"who": ["a", "a", "b"], "tlg_g": [1.0, np.nan, 2.0]})
    sums = hot_spots.total(spots, "tlg_g", "who", ["a", "b", "c"])
    assert np.isnan(sums["a"]) and sums["b"] == 2 and sums["c"] == 0
    assert hot_spots.total(spots.iloc[:0], "tlg_g", "who", ["a"]).tolist() == [0]


def scans(study):
    """Used scans of one patient, and a hot spot at the same place in each."""
    n = len(study)
    used = pd.DataFrame({"patient_id": "p", "study": study, "field_l": [1.0, 3.0, 2.0][:n]})
    spots = pd.DataFrame({"row": range(n), "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0, "diameter_mm": 10.0,
                          "suv_peak": [5.0, 6.0, 7.0][:n]})
    return used, spots


def test_series_of_one_study_are_no_repeats():
    assert len(hot_spots.repeats(*scans([1, 1, 1]))) == 0
    assert len(hot_spots.repeats(*scans([np.nan, np.nan]))) == len(hot_spots.repeats(*scans([1, np.nan]))) == 0
    pair = hot_spots.repeats(*scans([1, 1, 2])).iloc[0]
    assert (pair["suv_peak"], pair["again"]) == (6, 7), "of two series the one with the larger field of view"
    assert pet_cohort.one_per_study(scans([1, 1, 2])[0]).index.tolist() == [1, 2]


@pytest.mark.parametrize("column, expected", [
    ({}, [1, 1]), ({"study": [2, 1]}, [1, 2]), ({"scan_date": ["2020-02-01", "2020-01-01"]}, ["2020-01-01",
                                                                                            "2020-02-01"])])
def test_what_tells_the_scans_of_a_patient_apart(column, expected):
    from medlab.cohorts import datasets

    cohort = pd.DataFrame({"patient_id": ["p", "p"], "image": ["a", "b"], "pet_units": "GML", **column})
    scans = pet_cohort.scans(datasets.Dataset("n", None, {"modality": "PT"}, cohort))
    assert scans["study"].tolist() == expected and scans["scan"].tolist() == ["p #1", "p #2"]


def test_median_interval_covers():
    assert np.isnan(intervals.median_interval([1, 2, 3, 4, 5])["low"]) and intervals.median_interval([])["n"] == 0
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        one = intervals.median_interval(rng.exponential(size=12))
        held += one["low"] <= np.log(2) <= one["high"]
    assert held / 400 > 0.94


def test_errors_and_kept_contrast_of_known_spheres():
    hit = pd.DataFrame({"suv": [8.0, 8.0], "background_suv": [1.0, 1.0], "diameter_mm": [8.0, 20.0],
                        "volume_ml": [0.3, 4.0]})
    beside = pd.DataFrame({"suv_max": [4.5, 8.8], "suv_peak": [2.75, 8.0], "suv_mean": [2.0, 7.0],
                           "mtv_41 %": [1.0, 5.0]})
    kept = uptake.kept_contrast(beside, hit)
    assert kept["SUVpeak"].tolist() == [0.25, 1.0] and "resolved" not in kept
    found = uptake.errors(beside, hit, 10.0, {"mtv_41 %": "41 %"})
    assert found["mtv_41 %"]["value"] == pytest.approx(25) and found["mtv_41 %"]["name"] == "MTV 41 %"
    assert found["suv_max"]["n"] == 1 and found["suv_max"]["worst"] == pytest.approx(10), "only the larger one counts"
    assert tables.errors(found).loc["MTV 41 %", "median"] == "25.0"


def test_numbers_of_tables_have_one_number_of_decimals():
    assert tables.fixed(pd.DataFrame({"a": [1, np.nan]}), 2)["a"].tolist() == ["1.00", ""]
    assert tables.written({"value": 2.0, "low": np.nan, "high": np.nan, "n": 3}) == "2.00, n = 3"
    assert pet_cohort.normal_labels("auto") > {"normal"} and pet_cohort.normal_labels("none") == set()
    assert pet_cohort.normal_labels(" Young ") == {"young"}


def test_a_ball_lies_where_it_should():
    found = uptake_maps.ball(common.SHAPE, STEP, affine(), (10.0, -20.0, 5.0), 12.0)
    where = affine()[:3] @ [*np.argwhere(found).mean(axis=0), 1]
    assert np.allclose(where, (10, -20, 5), atol=1)
    assert found.sum() * 2.5**3 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.05)


def test_z_scores_of_few_normals_are_standard_normal():
    rng = np.random.default_rng(0)
    z = uptake_maps.z_scores(rng.normal(2, 3, 40_000), rng.normal(2, 3, (8, 40_000)))
    assert z.mean() == pytest.approx(0, abs=0.02) and z.std() == pytest.approx(1, abs=0.02)
    assert np.mean(z > 3) == pytest.approx(stats.norm.sf(3), abs=0.0008)
    with pytest.raises(ValueError, match="at least 5"):
        uptake_maps.z_scores(z, z[None])


def test_maps_are_brought_together_and_unlike_places_found():
    grid = np.meshgrid(*(np.arange(n) * 5.0 for n in (24, 40, 40)), indexing="ij")
    head = ndimage.gaussian_filter((sum(((g - c) / r) ** 2 for g, c, r in zip(
        grid, (60, 100, 100), (45, 80, 60), strict=True)) < 1).astype(float), 1.5)
    head += 0.5 * ndimage.gaussian_filter((sum((g - c) ** 2 for g, c in zip(
        grid, (60, 60, 80), strict=True)) < 400).astype(float), 1.0)
    moved = ndimage.shift(head, (0.4, -1.0, 1.4), order=1)
    back, found = uptake_maps.aligned(head, moved)
    assert np.allclose(found.matrix[:3, 3], (2, -5, 7), atol=1.0)
    assert np.nanmax(np.abs(back - head)) < 0.25 * np.abs(moved - head).max() and np.isnan(back).any()
    z = np.zeros(head.shape)
    z[10:13, 10:13, 10:13], z[5:8, 30:33, 30:33] = 6, -5
    table = uptake_maps.clusters(z, head > -1, 4.0)
    assert table["sign"].tolist() == ["more", "less"] and table["volume_ml"].tolist() == [27 * 0.125] * 2
    assert table.loc[0, ["x_mm", "y_mm", "z_mm"]].tolist() == [50, 50, 50]


def test_asymmetry_is_seen_on_the_right_side():
    here = np.ones((12, 16, 16))
    here[4:8, 6:10, 2:5] = 3.0  # more on the patient's right (low x)
    found = uptake_maps.asymmetry(here, here[..., ::-1])
    assert found[5, 7, 3] == pytest.approx(100) and found[5, 7, 12] == pytest.approx(-100) and found[0, 0, 0] == 0
    assert np.isnan(uptake_maps.asymmetry(here * 0, here * 0)).all()
    index = np.random.default_rng(0).normal(3, 5, (30, 30, 30))
    index[5:8, 5:8, 5:8], index[0] = 53, np.nan
    z = uptake_maps.robust_z(index)
    assert z[6, 6, 6] == pytest.approx(10, rel=0.05) and np.isnan(z[0]).all() and np.isnan(uptake_maps.robust_z(
        np.ones(9))).all()
    assert uptake_maps.clusters(z, np.isfinite(z), 6.0)["volume_ml"].tolist() == [27 * 0.125]


def test_grid_of_a_smooth_map_lies_where_its_image_lies():
    suv = np.zeros(common.SHAPE, np.float32)
    suv[30, 40, 90] = 1000
    small = uptake_maps.smooth(suv, STEP)
    weights = np.argwhere(np.ones(small.shape)) * small.reshape(-1, 1)
    middle = weights.sum(axis=0) / small.sum()
    matrix = uptake_maps.grid_affine(affine(), suv.shape, STEP)
    assert np.allclose(matrix[:3] @ [*middle, 1], affine()[:3] @ [30, 40, 90, 1], atol=0.3)
    assert uptake_maps.grid_affine(None, suv.shape, STEP) is None


def test_repeatability():
    rng = np.random.default_rng(0)
    true = rng.uniform(3, 12, 4000)
    first, second = (true * np.exp(rng.normal(0, 0.1, 4000)) for _ in range(2))
    found = uptake_maps.repeatability(first, second, np.arange(4000), 200)
    assert found["wcv"] == pytest.approx(np.expm1(0.1), rel=0.03)
    assert found["wcv_low"] < found["wcv"] < found["wcv_high"]
    outside = ~((second / first - 1 > found["limit_low"]) & (second / first - 1 < found["limit_high"]))
    assert outside.mean() == pytest.approx(0.05, abs=0.01)
    assert uptake_maps.repeatability([], [], [])["n"] == 0


def test_every_picture_has_its_letters(clean):
    from matplotlib import pyplot as plt

    _, suv, _ = clean
    spots = uptake.hot_spots(suv, STEP, 2.5)
    figures = [plots_pet.projections(suv, STEP, affine(), spots), plots_pet.slices(suv, STEP, affine(), (24, 50, 60)),
               plots_pet.gallery([suv.max(axis=1)] * 2, [STEP] * 2, [affine()] * 2, ["a", "b"])]
    letters = {"coronal": set("RLSI"), "sagittal": set("APSI"), "axial": set("RLAP")}
    shown = (("coronal", "sagittal"), tuple(plots_pet.PLANES), ("coronal",) * 2)
    for axes, planes in zip(figures, shown, strict=True):
        for ax, plane in zip(np.ravel(axes), planes, strict=True):
            texts = {t.get_text(): t.get_position() for t in ax.texts if t.get_text() in letters[plane]}
            assert set(texts) == letters[plane]
            if "R" in texts:
                assert texts["R"][0] < texts["L"][0]  # radiological
            if "S" in texts:
                assert texts["S"][1] > texts["I"][1]
    plt.close("all")


def test_an_array_that_runs_the_other_way_is_turned_and_lettered():
    from matplotlib import pyplot as plt

    flipped = affine() @ np.diag([-1.0, -1.0, -1.0, 1.0])  # slices downwards, rows forwards, columns to the right
    assert [plots_pet.ends(flipped, axis) for axis in range(3)] == [("S", "I"), ("P", "A"), ("L", "R")]
    assert plots_pet.ends(None, 0) == ("?", "?")
    suv = np.zeros(common.SHAPE)
    suv[2, 3, 4] = 9  # head, back, left of the patient
    ax = plots_pet.projections(suv, STEP, flipped)[0]
    shown = ax.transData.transform([(4.5 * 2.5, 2.5 * 2.5)])[0]  # where the hot voxel is drawn
    box = ax.get_window_extent()
    assert shown[0] > (box.x0 + box.x1) / 2 and shown[1] > (box.y0 + box.y1) / 2  # right half (patient's left), top
    assert {t.get_text() for t in ax.texts} == set("RLSI")
    plt.close("all")
