"""Radiomics against the reference values of IBSI, SimpleITK, scikit-image, brute force and shapes of known size."""

import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.feature import graycomatrix, graycoprops

from medlab.cohorts import datasets
from medlab.radiomics import features, first_order, shapes, summary, textures

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import ibsi  # noqa: E402


def ball(radius, step, axes=3):
    """Mask of a ball (disc) of a radius in mm on voxels of a size."""
    half = [int(np.ceil(radius / s)) + 2 for s in step]
    grid = np.meshgrid(*[np.arange(-h, h + 1) * s for h, s in zip(half, step, strict=True)], indexing="ij")
    return sum(g**2 for g in grid) <= radius**2


def test_the_digital_phantom_gives_every_reference_value():
    table = ibsi.compare(ibsi.ours(ibsi.IMAGE, ibsi.MASK, (2.0, 2.0, 2.0), "phantom"), "phantom")
    assert len(table) == 148 and table["agrees"].all(), table[~table["agrees"]]
    for family in ("stat", "ih", "morph", "glcm_3d_merged"):
        codes = set(features.FAMILIES[family.split("_")[0]])
        assert codes == set(table.loc[table["family"] == family, "feature"]), family


@pytest.mark.realdata
def test_the_lung_phantom_gives_every_reference_value(datasets_folder):
    image, mask, spacing = ibsi.lung(datasets_folder)
    for name, n in {"A": 73, "C": 98, "D": 73}.items():
        table = ibsi.compare(ibsi.ours(image, mask, spacing, name), name)
        assert len(table) == n and table["agrees"].all(), table[~table["agrees"]]


def test_a_wrong_value_does_not_agree():
    found = ibsi.ours(ibsi.IMAGE, ibsi.MASK, (2.0, 2.0, 2.0), "phantom")
    found["stat", "variance"] *= 74 / 73  # of the sample instead of the population
    found["morph", "surface_area"] *= 1.02
    table = ibsi.compare(found, "phantom")
    assert set(table.loc[~table["agrees"], "feature"]) == {"variance", "surface_area"}


def test_simpleitk_measures_the_same():
    random = np.random.default_rng(0)
    mask = ball(9, (3.0, 1.0, 1.5))
    image = random.integers(-100, 300, mask.shape).astype(float)
    theirs = ibsi.simpleitk(image, mask, (3.0, 1.0, 1.5))
    ours = features.compute(image, mask, (3.0, 1.0, 1.5))
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=2e-3, abs=1e-2), name


def test_a_ball_and_a_disc_have_their_known_shape():
    found = shapes.shape(ball(12, (1.0, 0.5, 0.5)), (1.0, 0.5, 0.5))
    assert found["volume_mm3"] == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.01)
    assert found["maximum_diameter_mm"] == pytest.approx(24, abs=1)
    assert found["major_axis_mm"] == pytest.approx(2 * 12 * np.sqrt(4 / 5), rel=0.02), "4 sd of a ball"
    assert 0.88 < found["sphericity"] < 0.93 and found["elongation"] == pytest.approx(1, abs=0.02)
    assert found["volume_density_hull"] > 0.95
    flat = shapes.shape(ball(20, (0.5, 0.8)), (0.5, 0.8))
    assert flat["area_mm2"] == pytest.approx(np.pi * 400, rel=0.01)
    assert flat["perimeter_mm"] == pytest.approx(2 * np.pi * 20, rel=0.1), "stairs are longer"
    assert flat["major_axis_mm"] == pytest.approx(40, rel=0.02) and flat["area_density_ellipse"] == pytest.approx(
        1, abs=0.02)
    assert flat["perimeter_density_ellipse"] == pytest.approx(flat["perimeter_mm"] / (2 * np.pi * 20), rel=0.02)


def test_holes_are_outside():
    ring = ball(20, (1.0, 1.0)) & ~np.pad(ball(8, (1.0, 1.0)), 12)
    full, found = shapes.shape(ball(20, (1.0, 1.0))), shapes.shape(ring)
    assert found["area_px2"] == pytest.approx(full["area_px2"] - np.pi * 64, rel=0.02)
    assert found["perimeter_px"] > 1.3 * full["perimeter_px"]


def test_spacing_scales_lengths_and_unknown_spacing_says_pixels():
    mask = np.zeros((5, 8, 8), bool)
    mask[1:4, 2:7, 1:6] = True
    mm, px = shapes.shape(mask, (2.0, 2.0, 2.0)), shapes.shape(mask)
    assert mm["volume_mm3"] == pytest.approx(8 * px["volume_px3"]) and mm["major_axis_mm"] == pytest.approx(
        2 * px["major_axis_px"])
    assert mm["surface_to_volume_per_mm"] == pytest.approx(px["surface_to_volume_per_px"] / 2)
    assert mm["sphericity"] == pytest.approx(px["sphericity"]) and not [name for name in px if "mm" in name]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (1, 1), (4, 6)])
def test_a_single_pixel_has_a_size_and_the_rest_is_undefined(shape):
    mask = np.zeros(shape, bool)
    mask[tuple(n // 2 for n in shape)] = True
    found = features.compute(np.full(shape, 7.0), mask, (1.0,) * len(shape))
    assert found["stat_mean"] == 7 and found["stat_variance"] == 0 and np.isnan(found["stat_skewness"])
    assert found["morph_voxel_volume_mm3" if len(shape) == 3 else "morph_pixel_area_mm2"] == 1
    assert np.isnan(found["morph_major_axis_mm"]) and np.isnan(found["glcm_contrast"])


def test_one_grey_level_has_no_correlation_and_full_uniformity():
    found = features.compute(np.full((6, 6), 3.0), np.ones((6, 6), bool))
    assert found["ih_uniformity"] == 1 and found["ih_entropy"] == 0 and found["glcm_angular_second_moment"] == 1
    assert np.isnan(found["glcm_correlation"]) and found["glcm_contrast"] == 0


def test_percentiles_and_deviations_of_a_known_sample():
    found = first_order.statistics(np.arange(1, 102))
    assert found["p10"] == 11 and found["p90"] == 91 and found["interquartile_range"] == 50
    assert found["robust_mean_absolute_deviation"] == pytest.approx(np.abs(np.arange(11, 92) - 51).mean())
    assert all(np.isnan(list(first_order.statistics([]).values())))


def test_cooccurrence_equals_scikit_image_in_2d():
    levels = np.random.default_rng(1).integers(1, 9, (17, 23))
    theirs = graycomatrix(levels.astype(np.uint8), [2], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=9,
                          symmetric=True)[1:, 1:, 0]
    ours = textures.cooccurrence(levels, 2)
    for k, direction in enumerate(textures.directions(2)):  # the angles of scikit-image turn the other way
        angle = {(0, 1): 0, (1, -1): 1, (1, 0): 2, (1, 1): 3}[tuple(int(v) for v in direction)]
        if direction.all():  # a diagonal of scikit-image at distance 2 rounds to 1: compared below at 1
            continue
        assert (ours[k] == theirs[..., angle]).all()
    theirs = graycomatrix(levels.astype(np.uint8), [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=9,
                          symmetric=True)[1:, 1:, 0]
    assert sorted(m.tobytes() for m in textures.cooccurrence(levels)) == sorted(
        theirs[..., k].astype(float).tobytes() for k in range(4))
    merged = theirs.sum(-1)[..., None, None].astype(float)
    found = textures.glcm(levels)
    names = {"contrast": "contrast", "dissimilarity": "dissimilarity", "homogeneity": "inverse_difference_moment",
             "ASM": "angular_second_moment", "correlation": "correlation"}
    for name, own in names.items():
        padded = np.pad(merged / merged.sum(), ((1, 0), (1, 0), (0, 0), (0, 0)))
        assert found[own] == pytest.approx(graycoprops(padded, name)[0, 0]), name


def test_cooccurrence_equals_brute_force_in_3d_within_an_odd_region():
    random = np.random.default_rng(2)
    levels = random.integers(1, 5, (4, 5, 6)) * (random.random((4, 5, 6)) > 0.3)
    counts = np.zeros((4, 4))
    for at in product(*map(range, levels.shape)):
        for step in product((-1, 0, 1), repeat=3):
            there = tuple(np.add(at, step))
            if any(step) and all(0 <= t < n for t, n in zip(there, levels.shape, strict=True)):
                if levels[at] and levels[there]:
                    counts[levels[at] - 1, levels[there] - 1] += 1
    assert (textures.cooccurrence(levels).sum(0) == counts).all()
    p = counts / counts.sum()
    i, j = np.indices(p.shape) + 1
    found = textures.glcm(levels)
    assert found["contrast"] == pytest.approx((p * (i - j) ** 2).sum())
    assert found["joint_entropy"] == pytest.approx(-(p[p > 0] * np.log2(p[p > 0])).sum())
    assert found["cluster_shade"] == pytest.approx((p * (i + j - 2 * (p * i).sum()) ** 3).sum())
    assert len(textures.directions(3)) == 13 and len(textures.directions(2)) == 4


def test_discretisation_by_width_and_by_number():
    assert textures.discretise([-1000, -976, -975, 400], bin_width=25, start=-1000).tolist() == [1, 1, 2, 57]
    assert textures.discretise([0, 1, 9.99, 10], n_bins=10).tolist() == [1, 2, 10, 10]
    assert textures.discretise([5, 5], n_bins=32).tolist() == [1, 1]
    with pytest.raises(ValueError, match="give one of them"):
        textures.discretise([1, 2])
    with pytest.raises(ValueError, match="below -500"):
        textures.discretise([-600], bin_width=25, start=-500)
    with pytest.raises(ValueError, match="larger bin_width"):
        textures.discretise([0, 100000], bin_width=1)


def test_re_segmentation_changes_the_grey_values_and_not_the_shape():
    image = np.zeros((3, 9, 9))
    image[1, 4, 4] = 3000
    mask = np.ones(image.shape, bool)
    whole = features.compute(image, mask, (1.0,) * 3)
    cut = features.compute(image, mask, (1.0,) * 3, features.Settings(high=400))
    assert whole["stat_maximum"] == 3000 and cut["stat_maximum"] == 0
    assert whole["morph_volume_mm3"] == cut["morph_volume_mm3"]
    cut = features.compute(image, mask, (1.0,) * 3, features.Settings(low=5000))
    assert np.isnan(cut["stat_mean"]) and np.isnan(cut["glcm_contrast"]) and cut["morph_voxel_volume_mm3"] == 243


def test_of_several_parts_the_largest_is_measured_where_the_settings_say_so():
    image, mask = np.zeros((20, 40)), np.zeros((20, 40), bool)
    mask[2:8, 2:10], mask[12:15, 30:33], image[12:15, 30:33] = True, True, 9
    one = features.compute(image, mask, settings=features.Settings(largest=True))
    assert one["morph_pixel_area_px2"] == 48 and one["stat_maximum"] == 0 and one["morph_maximum_diameter_px"] < 12
    both = features.compute(image, mask)
    assert both["morph_pixel_area_px2"] == 57 and both["morph_maximum_diameter_px"] > 30


def test_the_bright_part_stands_in_for_a_mask():
    image = np.random.default_rng(0).normal(0, 1, (50, 50))
    image[10:30, 12:40] += 20
    image[40:43, 2:5] += 20
    found = features.bright_region(image)
    assert found[15, 20] and not found[41, 3] and abs(found.sum() - 20 * 28) < 40
    assert not features.bright_region(np.zeros((8, 8))).any()


def test_resampling_keeps_a_plane_and_a_volume():
    z, y, x = np.indices((9, 20, 24))
    image, mask = 10.0 * z + y + 2 * x, np.zeros((9, 20, 24), bool)
    mask[2:7, 4:16, 6:20] = True
    new, kept = features.resample(image, mask, (3.0, 1.0, 1.0), 1.0)
    slopes = [np.diff(new[1:-1, 1:-1, 1:-1], axis=axis) for axis in range(3)]
    assert [np.allclose(s, v) for s, v in zip(slopes, (10 / 3, 1, 2), strict=True)] == [True] * 3, "linear stays linear"
    assert kept.sum() == pytest.approx(mask.sum() * 3, rel=0.05)
    assert features.compute(image, mask, None, features.Settings(1.0))["morph_voxel_volume_px3"] == mask.sum()


def cohort(folder, rows, card="intensity: arbitrary\n"):
    """A dataset of pictures with masks."""
    random = np.random.default_rng(0)
    folder.mkdir()
    table = []
    for i, (patient, radius) in enumerate(rows):
        grey = random.integers(0, 255, (40, 40)).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"i{i}.png")
        line = {"patient_id": patient, "image": f"i{i}.png", "label": "ab"[i % 2]}
        if radius is not None:
            at = np.hypot(*(np.indices((40, 40)) - 19.5)) <= radius
            Image.fromarray((255 * at).astype(np.uint8)).save(folder / f"m{i}.png")
            line["mask"] = f"m{i}.png"
        table.append(line)
    pd.DataFrame(table).to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text(f"title: T\npatients: known\nmodality: OT\n{card}")
    return datasets.load(folder.name)


def test_a_region_smaller_than_a_new_voxel_keeps_one():
    mask = np.zeros((6, 12, 12), bool)
    mask[3, 5, 5] = True
    _, left = features.resample(mask * 1.0, mask, (5.0, 1.0, 1.0), 1.7)
    assert left.sum() == 1
    assert features.resample(mask * 1.0, mask, (1.0, 1.0, 1.0), 1.0)[1].sum() == 1


def test_boxes_mark_what_lies_inside_them():
    boxes = pd.DataFrame({"image": ["a", "a", "b"], "label": ["x", "y", "x"], "y_min": [1.0, 6, 0],
                          "y_max": [3.0, 8, 2], "x_min": [2.0, 0, 0], "x_max": [4.5, 1, 9]})
    made = SimpleNamespace(boxes=boxes, cohort=pd.DataFrame({"image": ["a", "b"]}))
    one = features.inside_boxes(made)(np.zeros((8, 8)), made.cohort.loc[0])
    assert one.sum() == 2 * 3 + 2 and one[1:3, 2:5].all() and one[6:, 0].all()
    assert features.inside_boxes(made, "y")(np.zeros((8, 8)), made.cohort.loc[0]).sum() == 2
    assert features.inside_boxes(made)(np.zeros((2, 8, 8)), made.cohort.loc[1]).sum() == 2 * 2 * 8, "all slices, cut"
    with pytest.raises(ValueError, match="expected one of .*x.*y"):
        features.inside_boxes(made, "liver")


def test_a_cohort_becomes_a_table_and_gaps_are_counted(workspace):
    data = cohort(workspace / "data" / "some", [("p0", 6), ("p0", 9), ("p1", None), ("p2", 0.1), ("p3", 5)])
    found = features.table(data, data.cohort, progress=False)
    assert found.attrs["problems"] == {"no mask": 1, "empty mask": 1} and found.index.tolist() == list(range(5))
    assert found.loc[[2, 3]].isna().all().all() and found.loc[[0, 1, 4], "radiomics_stat_mean"].notna().all()
    assert all(name.startswith("radiomics_") for name in found) and found.attrs["settings"]["n_bins"] == 32
    joined = summary.by_patient(found, data.cohort["patient_id"])
    assert (joined.loc[0] == joined.loc[1]).all() and (joined.loc[1] == found.loc[1]).all(), "the larger mask counts"
    assert joined.loc[2].isna().all()
    mixed = pd.DataFrame({"radiomics_morph_pixel_area_px2": [900.0, np.nan, 7, 9],
                          "radiomics_morph_pixel_area_mm2": [np.nan, 20.0, np.nan, np.nan]})
    assert summary.by_patient(mixed, ["a", "a", "b", "b"]).iloc[:, 1].tolist()[:2] == [20, 20], "mm before pixels"
    assert summary.by_patient(mixed, ["a", "a", "b", "b"]).iloc[:, 0].tolist()[2:] == [9, 9]


def test_a_mask_of_another_size_and_an_unknown_class_are_named(workspace):
    data = cohort(workspace / "data" / "some", [("p0", 6), ("p1", 6)], "mask_classes: {tumour: 255}\n")
    Image.fromarray(np.ones((20, 20), np.uint8)).save(data.folder / "m1.png")
    found = features.table(data, data.cohort, progress=False)
    assert found.attrs["problems"] == {"size of the mask differs": 1}
    with pytest.raises(ValueError, match="expected one of tumour"):
        features.table(data, data.cohort[:1], mask_class="liver")


def test_settings_follow_the_intensity_and_the_spacing(workspace):
    data = cohort(workspace / "data" / "some", [("p0", 6)], "intensity: HU\n")
    rows = data.cohort.assign(spacing_mm="3 x 1 x 1")
    assert features.settings_for(data, rows) == features.Settings(1.4, -1000.0, None, 0.0, 25.0, None, whole=True,
                                                                     largest=True)
    assert features.settings_for(data, rows.assign(spacing_mm="1 x 1 x 1")).spacing_mm is None
    assert features.settings_for(data, data.cohort).spacing_mm is None, "unknown spacing: as stored"
