"""A run in MNI space: affine registration to nilearn's bundled template, and names of places without an atlas.

Nothing is downloaded. Images are nibabel images, coordinates RAS mm; maps are not resampled, their affine is changed.
"""

import re
from functools import lru_cache

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from medlab.imaging import registration

FAR_MM = 20.0  # a named coordinate farther away says nothing about a peak
EDGE_VOXELS = 3
MIDLINE_MM = 4.0  # places nearer to the middle belong to neither side


def to_mni(mean, mask, seed=0):
    """Affine registration of the mean image of a run to nilearn's bundled MNI152 template (brain only).

    Mattes mutual information, 12 parameters, on a 3 mm grid; see `registration.register`.

    Parameters
    ----------
    mean, mask : nibabel images of the same grid, RAS+

    Returns
    -------
    to_mni : (4, 4), mm of the run to MNI mm
    quality : dict: dice (brain masks, where the run has been measured), mutual_information, iterations, coverage (share
        of the template's brain in the field of view), stretch (smallest, largest; beyond 0.85 and 1.3 hardly a brain)
    """
    from nilearn import datasets
    from nilearn.image import resample_img

    template = datasets.load_mni152_template(resolution=3)
    brain = np.asarray(mask.dataobj) > 0
    values = np.asarray(mean.dataobj)
    high = np.percentile(values[brain], 99)
    # a little more than the brain: where a slab ends, the mask ends before it, and its end must not look like an edge
    wide = ndimage.binary_dilation(brain, iterations=EDGE_VOXELS)
    run = nib.Nifti1Image(np.where(wide, values.clip(0, high), 0).astype(np.float32), mean.affine)
    inside = np.asarray(datasets.load_mni152_brain_mask(resolution=3).dataobj) > 0
    shift = _middle(brain, mean.affine) - _middle(inside, template.affine)
    shift[2] = _top(brain, mean.affine) - _top(inside, template.affine)  # a slab may end above the cerebellum
    start = np.eye(4)
    start[:3, 3] = shift
    to_run, to_template = _array_to_world(run), _array_to_world(template)
    found = registration.register(
        _array(template), _array(run), _spacing(template), _spacing(run), kind="affine",
        start=np.linalg.inv(to_run) @ start @ to_template, seed=seed)
    native_to_mni = np.linalg.inv(to_run @ found.matrix @ np.linalg.inv(to_template))
    whole = nib.Nifti1Image(1 + brain.astype(np.float32), native_to_mni @ mean.affine)  # 0 outside the field of view
    moved = resample_img(whole, template.affine, template.shape, interpolation="nearest", force_resample=True,
                         copy_header=True).get_fdata()
    field = moved > 0
    dice = registration.overlap(moved > 1, inside & field)
    stretch = np.linalg.svd(native_to_mni[:3, :3])[1]
    return native_to_mni, {"dice": dice, "stretch": [float(stretch.min()), float(stretch.max())],
                           "mutual_information": -found.after, "iterations": found.iterations,
                           "coverage": float((inside & field).sum() / inside.sum())}


def _array(image):
    return np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)


def _spacing(image):
    return tuple(np.linalg.norm(image.affine[:3, :3], axis=0)[::-1].tolist())


def _array_to_world(image):
    """Matrix from mm along the array axes (z, y, x) to RAS mm."""
    swap = np.eye(4)[[2, 1, 0, 3]]
    return image.affine @ swap @ np.diag([*1 / np.array(_spacing(image)), 1.0])


def _middle(mask, affine):
    return (affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3]


def _top(mask, affine):
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return np.percentile(points[:, 2], 99.5)


def in_mni(image, native_to_mni):
    """The same voxels with an affine into MNI space: nothing is resampled."""
    return nib.Nifti1Image(np.asarray(image.dataobj), native_to_mni @ image.affine)


def transform(points, matrix):
    """(n, 3) points in mm through a 4 x 4 matrix."""
    return np.atleast_2d(points) @ matrix[:3, :3].T + matrix[:3, 3]


def coordinate(text: str) -> np.ndarray:
    """(3,) mm from the text of the parameter ``fmri_seed_mm``; ValueError where it is no x, y, z."""
    found = np.array([pd.to_numeric(part, errors="coerce") for part in text.split(",")], float)
    if len(found) != 3 or not np.isfinite(found).all():
        raise ValueError(f"fmri_seed_mm {text!r}: expected x, y, z in mm of MNI space, such as '0, -53, 26'")
    return found


def in_words(quality: dict) -> str:
    """How well `to_mni` went, as two sentences, with a warning where what was registered is hardly a brain."""
    low, high = quality["stretch"]
    return (f"Overlap of the brain masks (Dice) {quality['dice']:.2f}; the run covers {quality['coverage']:.0%} of the "
            f"template's brain.\nStretched {low:.2f} to {high:.2f} times along its axes"
            + ("." if low > 0.85 and high < 1.3 else ": WARNING, that is hardly a brain, or the registration failed."))


def template_mask():
    """The brain of the bundled MNI152 template, 2 mm."""
    from nilearn import datasets

    return datasets.load_mni152_brain_mask(resolution=2)


@lru_cache
def _places():
    """Named coordinates that nilearn brings along: (region, network) of Dosenbach 2010, network of Seitzman 2020."""
    from nilearn import datasets

    named, networks = datasets.fetch_coords_dosenbach_2010(), datasets.fetch_coords_seitzman_2018()
    regions = pd.DataFrame(np.asarray(named["rois"].to_numpy(), float), columns=["x", "y", "z"])
    regions["region"] = [re.sub(r"\s*\d+$", "", str(label)) for label in named["labels"]]
    regions["network"] = list(named["networks"])
    functional = pd.DataFrame(np.asarray(networks["rois"].to_numpy(), float), columns=["x", "y", "z"])
    functional["network"] = list(networks["networks"])
    return regions, functional[functional["network"] != "unassigned"].reset_index(drop=True)


@lru_cache
def _tissues():
    from nilearn import datasets

    return datasets.load_mni152_gm_template(resolution=2), datasets.load_mni152_wm_template(resolution=2)


def label(points):
    """What lies at MNI coordinates, as far as nilearn's bundled data say.

    No atlas is bundled: ``region`` is the name of the nearest of the 160 coordinates of Dosenbach et al. (Science
    2010;329:1358), ``network`` the functional network of the nearest of the 300 of Seitzman et al. (NeuroImage
    2020;206:116290), each with its distance; beyond 20 mm nothing is said. ``tissue`` is the larger share in the
    template's maps.

    Returns
    -------
    DataFrame: side, region, region_mm, network, network_mm, tissue; one row per point
    """
    points = np.atleast_2d(np.asarray(points, float))
    regions, functional = _places()
    rows = []
    for point in points:
        row = {"side": "middle" if abs(point[0]) <= MIDLINE_MM else "right" if point[0] > 0 else "left"}
        for name, table, column in (("region", regions, "region"), ("network", functional, "network")):
            far = np.linalg.norm(table[["x", "y", "z"]].to_numpy() - point, axis=1)
            row |= {name: table[column][far.argmin()] if far.min() <= FAR_MM else "none near", f"{name}_mm": far.min()}
        rows.append(row | {"tissue": _tissue(point)})
    return pd.DataFrame(rows, columns=["side", "region", "region_mm", "network", "network_mm", "tissue"])


def _tissue(point):
    shares = []
    for image in _tissues():
        i = np.round(transform(point, np.linalg.inv(image.affine))[0]).astype(int)
        shares.append(float(image.dataobj[tuple(i)]) if (i >= 0).all() and (i < image.shape).all() else 0.0)
    return ("grey", "white")[int(np.argmax(shares))] if max(shares) > 0.25 else "other"


def network_places():
    """(160, 3) MNI mm and networks of Dosenbach et al. 2010, ordered by network."""
    regions, _ = _places()
    regions = regions.sort_values(["network", "region"], kind="stable")
    return regions[["x", "y", "z"]].to_numpy(), regions["network"].tolist()
