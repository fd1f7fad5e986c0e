"""What classical image processing does to a picture: thresholds against a region, filters, edges at its border."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from skimage import filters

from medlab.imaging import registration


def best_dice(above: np.ndarray, inside: np.ndarray) -> float:
    """Dice with the region of whichever side of a threshold fits better: flatters the threshold."""
    return max(registration.overlap(above, inside), registration.overlap(~above, inside))


def around(inside: np.ndarray, pixels: int = 10) -> tuple[slice, ...]:
    """The box of a region with a margin."""
    box = ndimage.find_objects(inside.astype(int))[0]
    return tuple(slice(max(0, line.start - pixels), line.stop + pixels) for line in box)


def otsu_dice(picture: np.ndarray, inside: np.ndarray, block: int) -> dict:
    """Dice of a region with Otsu's threshold of the whole picture and of its box, and with the adaptive one.

    Parameters
    ----------
    picture : (h, w); inside : bool (h, w); block : pixels, odd, the surrounding that the adaptive threshold blurs over

    Returns
    -------
    dict; empty where the box has one grey value
    """
    box = around(inside)
    if np.ptp(picture[box]) == 0:
        return {}
    return {"Otsu, whole picture": best_dice(picture > filters.threshold_otsu(picture), inside),
            "Otsu, box around the region": best_dice(picture[box] > filters.threshold_otsu(picture[box]), inside[box]),
            "adaptive": best_dice(picture > filters.threshold_local(picture, block), inside)}


def flat_patch(picture: np.ndarray, side: int = 9) -> tuple[slice, slice]:
    """The patch with the smallest slope, inside the part above Otsu's threshold where that is large enough."""
    bright = ndimage.binary_erosion(picture > filters.threshold_otsu(picture), iterations=side // 2)
    slope = ndimage.uniform_filter(filters.sobel(filters.gaussian(picture, 2, preserve_range=True)), side)
    slope[~bright if bright.any() else np.zeros_like(bright)] = np.inf
    y, x = np.unravel_index(slope[4:-4, 4:-4].argmin(), slope[4:-4, 4:-4].shape)
    return slice(y, y + side), slice(x, x + side)


def filter_effects(picture: np.ndarray, versions: Mapping[str, np.ndarray]) -> list[dict]:
    """How much noise and how much sharpness each filter leaves, relative to the picture as it is.

    Noise: standard deviation in the flattest patch (`flat_patch`). Sharpness: mean gradient (Sobel) at the 1 % steepest
    pixels of the picture smoothed by 1 px.

    Parameters
    ----------
    versions : name of the filter -> (h, w), with the picture itself as "as it is"

    Returns
    -------
    list of dict: filter, noise left, sharpness left (1: as before)
    """
    patch, steep = flat_patch(picture), filters.sobel(filters.gaussian(picture, 1, preserve_range=True))
    edges, noise = steep >= np.quantile(steep, 0.99), picture[patch].std()
    strength = {name: filters.sobel(one)[edges].mean() for name, one in versions.items()}
    return [{"filter": name, "noise left": one[patch].std() / noise if noise else np.nan,
             "sharpness left": strength[name] / max(strength["as it is"], 1e-12)} for name, one in versions.items()]


def border_to_edge(edges: np.ndarray, inside: np.ndarray, spacing_mm: tuple | None,
                   random: np.random.Generator) -> tuple[float, float]:
    """Median distance of the border of a region to the nearest edge: where it lies, and moved to 200 random places.

    Parameters
    ----------
    edges, inside : bool (h, w); spacing_mm : of the pixels; None: distances are in pixels
    """
    far = ndimage.distance_transform_edt(~edges, spacing_mm if spacing_mm else 1.0)
    border = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    moved = border + random.integers(0, edges.shape, (200, 1, 2))
    elsewhere = far[tuple(np.moveaxis(moved % edges.shape, -1, 0))]
    return np.median(far[tuple(border.T)]), np.median(elsewhere, axis=1).mean()
