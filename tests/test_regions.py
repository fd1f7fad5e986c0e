"""Regions: lungs found in the phantom, what is cut, geometry kept."""

import numpy as np
import pytest

from medlab.imaging import dicom, regions
from medlab.phantoms import chest as phantoms
from medlab.phantoms import thorax


@pytest.fixture(scope="module")
def chest():
    patient = next(p for p in thorax.sample(40, 0).to_dict("records") if p["diameter_mm"] > 12)
    hu, masks = phantoms.render(patient, thorax.generator(0, patient["source"], 1))
    affine = np.array([[0, 0, 2.8, -178], [0, 2.8, 0, -178], [5, 0, 0, -20], [0, 0, 0, 1.0]])
    return dicom.Image(hu[..., None], (5.0, 2.8, 2.8), affine, "CT", "HU"), masks


def test_lungs_hold_the_nodule_and_little_else(chest):
    image, masks = chest
    lungs = regions.lungs(image.pixels[..., 0])
    assert lungs[masks[0]].mean() > 0.8
    assert -900 < np.median(image.pixels[lungs]) < -750
    assert not lungs[:, :8].any() and not lungs[..., :8].any()


@pytest.mark.parametrize("mm", [1.4, 2.8])
def test_a_nodule_on_the_pleura_stays(mm):
    """Soft balls of 16 mm whose inner half lies in an ellipse of air, all around: within a tenth whatever the pixel."""
    y, x = (np.mgrid[:128, :128] - 63.5) * 2.8 if mm == 2.8 else (np.mgrid[:256, :256] - 127.5) * 1.4
    body, air = np.hypot(x / 165, y / 120) < 1, np.hypot((x - 70) / 55, y / 85) < 1
    for angle in np.arange(0, 6.28, 0.4):
        ball = np.hypot(x - 70 - 50 * np.cos(angle), y - 80 * np.sin(angle)) < 8
        hu = np.where(air & ~ball, -850, np.where(body, 40, -1000)).astype(np.int16)
        image = dicom.Image(hu[None, ..., None], (5.0, mm, mm), None, "CT", "HU")
        assert regions.lost(image, "lungs", ball[None]) < 0.1
        assert regions.lungs(hu[None], image.spacing_mm).sum() < 1.15 * air.sum()


def test_what_bulges_from_the_mediastinum_stays_out():
    """Two lungs with a ball of 30 mm each: at the chest wall it is taken in, at the side of the heart it is not."""
    y, x = (np.mgrid[:256, :256] - 127.5) * 1.4
    body = np.hypot(x / 165, y / 120) < 1
    air = (np.hypot((x - 70) / 55, y / 85) < 1) | (np.hypot((x + 70) / 55, y / 85) < 1)
    inner, outer = (np.hypot(x - at, y) < 15 for at in (22, -120))
    hu = np.where(air & ~inner & ~outer, -850, np.where(body, 40, -1000))
    hu = hu + np.random.default_rng(0).normal(0, 20, x.shape)
    image = dicom.Image(hu[None, ..., None], (5.0, 1.4, 1.4), None, "CT", "HU")
    assert regions.lost(image, "lungs", (inner & air)[None]) > 0.8  # its corners are closed
    assert regions.lost(image, "lungs", (outer & air)[None]) < 0.1


def test_cut_keeps_grey_values_and_position(chest):
    image, _ = chest
    cut, (rows, columns) = regions.cut(image, "lungs")
    assert cut.pixels.shape[1] < 0.75 * image.pixels.shape[1] and cut.spacing_mm == image.spacing_mm
    same = cut.pixels > image.pixels.min()
    assert (cut.pixels == image.pixels[:, rows, columns])[same].all() and same.mean() > 0.2
    corner = cut.affine @ [0, 0, 0, 1]
    assert np.allclose(corner, image.affine @ [0, rows.start, columns.start, 1])


def test_no_lungs_leaves_the_image_whole(chest):
    image, _ = chest
    solid = dicom.Image(np.full((4, 32, 32, 1), 40, np.int16), intensity="HU")
    assert regions.cut(solid, "lungs") == (solid, None)
    assert regions.cut(image, "none") == (image, None)


def test_how_much_of_a_lesion_is_cut_away(chest):
    image, _ = chest
    lungs = regions.lungs(image.pixels[..., 0])
    wall = np.zeros(lungs.shape, np.uint8)
    wall[5, 40:70, :] = 2
    assert regions.lost(image, "lungs", wall) == pytest.approx(1 - lungs[5, 40:70].mean())
    assert regions.lost(image, "lungs", lungs) == 0 == regions.lost(image, "none", ~lungs)
    assert regions.lost(image, "lungs", ~lungs) == 1
    assert np.isnan(regions.lost(image, "lungs", np.zeros_like(lungs)))
    solid = dicom.Image(np.full((4, 32, 32, 1), 40, np.int16), intensity="HU")
    assert regions.lost(solid, "lungs", np.ones((4, 32, 32), bool)) == 0  # not found: nothing is cut


def test_refusals(chest):
    image, _ = chest
    with pytest.raises(ValueError, match="expected none, lungs"):
        regions.cut(image, "liver")
    with pytest.raises(ValueError, match="needs volumes"):
        regions.cut(dicom.Image(np.zeros((8, 8, 1), np.uint8)), "lungs")
