"""Components against SciPy, scikit-image, SimpleITK and the IBSI consensus."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import ndimage
from skimage.io import imread
from skimage.measure import regionprops
from skimage.morphology import remove_small_objects

from medlab.imaging import components


def speckles(shape=(14, 40, 36), smooth=1.2, share=0.88, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), smooth)
    return noise > np.quantile(noise, share)


@pytest.mark.parametrize("shape", [(60, 50), (14, 40, 36)])
@pytest.mark.parametrize("connectivity", [1, None])
def test_components_are_those_of_simpleitk(shape, connectivity):
    mask = speckles(shape)
    ours = components.label(mask, connectivity)
    theirs = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), connectivity is None)
    pairs = set(zip(ours.ravel().tolist(), sitk.GetArrayFromImage(theirs).ravel().tolist(), strict=True))
    assert len(pairs) == ours.max() + 1 > 5  # one to one
    assert ours.max() == sitk.GetArrayFromImage(theirs).max()


def test_touching_classes_are_different_components():
    classes = np.zeros((6, 8), np.uint8)
    classes[1:4, 1:4], classes[1:4, 4:6], classes[5, 7] = 1, 2, 1
    labels = components.label(classes)
    assert labels.max() == 3 and len(np.unique(labels[classes == 1])) == 2


def test_table_is_that_of_scikit_image_and_simpleitk():
    mask, spacing = speckles(), (2.5, 0.8, 0.7)
    grey = np.random.default_rng(1).normal(size=mask.shape)
    table = components.table(mask, spacing, grey)
    image = sitk.GetImageFromArray(components.label(mask))
    image.SetSpacing(spacing[::-1])
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(image)
    regions = regionprops(components.label(mask), grey)
    assert len(table) == len(regions) == shapes.GetNumberOfLabels() > 5
    for row, region in zip(table.itertuples(), regions, strict=True):
        assert row.voxels == region.area and (row.z, row.y, row.x) == pytest.approx(region.centroid)
        box = row.z_min, row.y_min, row.x_min, row.z_max, row.y_max, row.x_max
        assert box == region.bbox and row.mean == pytest.approx(region.intensity_mean)
        assert (row.minimum, row.maximum) == pytest.approx((region.intensity_min, region.intensity_max))
        k = int(row.component)
        assert row.volume_ml * 1000 == pytest.approx(shapes.GetPhysicalSize(k))
        assert (row.x_mm, row.y_mm, row.z_mm) == pytest.approx(shapes.GetCentroid(k))
    assert (components.boxes(mask) == [region.bbox for region in regions]).all()


def test_sizes_are_in_pixels_where_the_spacing_is_unknown_and_areas_in_two_dimensions():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:7] = True
    for spacing in (None, (np.nan, np.nan)):
        table = components.table(mask, spacing)
        assert "diameter_px" in table and not [c for c in table if c.endswith(("_mm", "_mm2", "_ml"))]
    table = components.table(mask, (0.5, 2.0))
    assert table["area_mm2"].item() == 12 and table["x_mm"].item() == 9.0 and table["y_mm"].item() == 1.5


def test_longest_diameter_of_known_shapes():
    one = np.zeros((5, 5, 5), bool)
    one[2, 2, 2] = True
    assert components.longest_diameter(one) == 1 and components.longest_diameter(one, (3, 1, 1)) == 3
    assert components.longest_diameter(np.zeros((3, 3), bool)) == 0
    z, y, x = np.ogrid[:25, :51, :51]
    ball = ((z - 12) * 2) ** 2 + (y - 25) ** 2 + (x - 25) ** 2 <= 20.5**2
    assert components.longest_diameter(ball, (2, 1, 1)) == pytest.approx(41, abs=2)  # one slice
    line = np.eye(30, dtype=bool)  # many points: only those on the hull are compared
    assert components.longest_diameter(line) == pytest.approx(np.hypot(29.5, 29.5), abs=0.6)
    props = regionprops(ball[:, 25].astype(np.uint8))[0]
    assert components.longest_diameter(ball[:, 25]) == pytest.approx(props.feret_diameter_max, abs=1e-6)


@pytest.mark.realdata
def test_diameter_and_volume_of_the_ibsi_lung_lesion(datasets_folder):
    image = sitk.ReadImage(datasets_folder / "ibsi_ct_lung" / "nifti" / "mask" / "mask.nii.gz")
    table = components.table(sitk.GetArrayFromImage(image) > 0, image.GetSpacing()[::-1])
    assert len(table) == 1
    assert table["volume_ml"].item() == pytest.approx(359, abs=5)  # consensus: approximate volume 3.59e5 mm3
    assert table["diameter_mm"].item() == pytest.approx(125, abs=1)  # consensus: maximum 3D diameter 125 (1) mm


@pytest.mark.realdata
def test_pixels_and_boxes_of_tumours_are_those_of_the_source(datasets_folder):
    folder = datasets_folder / "lgg_mri_seg_survival"
    slices = pd.read_csv(folder / "slices.csv").query("mask_pixels > 0").iloc[::12]
    for row in slices.itertuples():
        mask = imread(folder / "masks" / row.folder / row.file) > 0
        table, boxes = components.table(mask, diameters=False), components.boxes(mask)
        assert table["voxels"].sum() == row.mask_pixels
        assert boxes[:, :2].min(0).tolist() == [row.ymin, row.xmin] and len(boxes) == len(table)
        assert boxes[:, 2:].max(0).tolist() == [row.ymax + 1, row.xmax + 1]  # the source gives the last pixel


def test_no_component_gives_an_empty_table_with_the_same_columns():
    mask = np.zeros((4, 5, 6), bool)
    full = components.table(~mask, (1, 1, 1), np.zeros(mask.shape))
    empty = components.table(mask, (1, 1, 1), np.zeros(mask.shape))
    assert len(empty) == 0 and list(empty) == list(full) and isinstance(empty, pd.DataFrame)
    assert components.boxes(mask).shape == (0, 6) and components.label(mask).max() == 0
    assert not components.largest(mask).any() and not components.drop_small(mask, 5).any()


def test_drop_small_and_largest_work_within_each_class():
    mask = speckles((80, 80), 1.0, 0.8)
    assert (components.drop_small(mask, 12) == remove_small_objects(mask, max_size=11, connectivity=2)).all()
    assert 0 < components.drop_small(mask, 12).sum() < mask.sum()
    classes = np.zeros((9, 9), np.uint8)
    classes[0, :5], classes[2, :2], classes[4, :3], classes[6, :1], classes[8, 7:] = 1, 1, 2, 2, 2
    kept = components.largest(classes)
    assert kept.dtype == np.uint8 and np.bincount(kept.ravel()).tolist() == [73, 5, 3]
    assert np.bincount(components.largest(classes, 2).ravel()).tolist() == [69, 7, 5]
    assert np.bincount(components.drop_small(classes, 3).ravel()).tolist() == [73, 5, 3]
    assert (components.drop_small(classes, 0) == classes).all() and components.drop_small(mask, 12).dtype == bool
    sizes = np.sort(np.bincount(components.label(components.largest(mask, 3)).ravel())[1:])
    assert (sizes == np.sort(np.bincount(components.label(mask).ravel())[1:])[-3:]).all()


@pytest.mark.parametrize(("mask", "text"), [
    (np.zeros(5, bool), "expected"), (np.zeros((4, 4)), "threshold first"), (-np.ones((4, 4), int), "whole numbers"),
    (np.zeros((2, 3, 4, 5), bool), "one image at a time")])
def test_what_is_no_mask_is_refused(mask, text):
    with pytest.raises(ValueError, match=text):
        components.table(mask)


def test_wrong_options_are_refused():
    mask = np.ones((4, 4), bool)
    with pytest.raises(ValueError, match="2 positive numbers"):
        components.table(mask, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="positive"):
        components.table(mask, (1.0, 0.0))
    with pytest.raises(ValueError, match="grey values"):
        components.table(mask, intensity=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="connectivity"):
        components.label(mask, 3)
    with pytest.raises(ValueError, match="at least 1"):
        components.largest(mask, 0)
