"""Copies of pictures that are not identical: compressed, cropped, shifted, mirrored, brightened, resized, turned.

Pictures of one kind of anatomy are alike without being copies. A pair becomes a candidate by the power spectrum of its
detail, seen against the spread of the whole cohort; it is a copy where after registration nearly every part of the
one picture correlates with the same part of the other.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

SIDE = 128  # pixels of the thumbnails that are compared
ALL_PAIRS = 64  # as many pictures are compared each with each: too few for a spread
CROPS = (0.0, 0.025, 0.05)  # share cut off each side of a picture before it looks for its original
HIGHEST = 12  # cycles per picture of the spectrum that finds candidates
LEAST_COSINE, MOST = 0.5, 4  # of a candidate: likeness of the spectra; the best so many of each picture and crop
LEAST_PEAK = 8.5  # of a candidate: height of the peak of the phase correlation, in standard deviations
LEAST_COARSE = 0.88  # of a candidate: correlation at half the resolution (copies reach 0.91)
STEPS = 10, 5  # of the registration, at half and at full resolution
HIGHEST_LEAST, FEW = 0.97, 20  # what a cohort of look-alikes can ask for; pairs that say nothing of a cohort
TILE, LEAST_TILES = 16, 8  # pixels of the parts that are correlated; so many must hold detail


def detail(pictures, blur: float = 4.0, fine: float = 0.7) -> np.ndarray:
    """Local detail in units of its own contrast: neither brightness nor gamma matters.

    Parameters
    ----------
    pictures : (n, h, w) grey values from 0 to 255
    blur, fine : pixels; what is coarser or finer is taken away

    Returns
    -------
    (n, h, w) float32
    """
    from scipy.ndimage import gaussian_filter

    pictures = np.asarray(pictures, np.float32)
    found = gaussian_filter(pictures, (0, fine, fine)) - gaussian_filter(pictures, (0, blur, blur))
    return found / (np.sqrt(gaussian_filter(found * found, (0, blur, blur))) + 6)  # noise of 6 grey levels is no detail


def near_pairs(thumbnails: list, same: np.ndarray, least: float) -> tuple[np.ndarray, float]:
    """Pairs of pictures that are copies of each other, and how alike they had to be in this cohort.

    Parameters
    ----------
    thumbnails : bytes of (SIDE, SIDE) uint8 each, of n different pictures
    same : (n,) only pairs of the same value can be copies (number of slices)
    least : as in `likeness`, 0 to 1

    Returns
    -------
    (m, 2) int, first < second; and ``least`` or more, where already the look-alikes of the cohort (`usual`) reach it
    """
    pairs = candidates(partial(_pictures, thumbnails), len(thumbnails))
    pairs = pairs[same[pairs[:, 0]] == same[pairs[:, 1]]]
    if len(thumbnails) > ALL_PAIRS:
        least = usual(thumbnails, pairs, least)
    parts = np.array_split(pairs, 1 + len(pairs) // 512)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        values = list(pool.map(partial(alike, thumbnails), parts))
    return pairs[np.concatenate(values) >= least], least


def usual(thumbnails: list, pairs: np.ndarray, least: float, n: int = 96, spreads: float = 5.0) -> float:
    """Likeness that look-alikes of a cohort stay below: their median and so many spreads, by Fisher's z.

    Parameters
    ----------
    thumbnails, least : as in `near_pairs`, pairs : of `candidates`, the look-alikes
    n : pictures, at random, whose pairs are registered for it; the best pair of each is left out, it may be a copy

    Returns
    -------
    float
        ``least`` to `HIGHEST_LEAST`; ``least`` where fewer than `FEW` pairs are left.
    """
    chosen = np.random.default_rng(0).permutation(np.unique(pairs[:, 0]))[:n]
    pairs = pairs[np.isin(pairs[:, 0], chosen)]
    value = alike(thumbnails, pairs, least_coarse=0)
    order = np.lexsort((-value, pairs[:, 0]))
    others = value[order][1:][np.diff(pairs[order, 0]) == 0]
    if len(others) < FEW:
        return least
    low, middle = np.quantile(np.arctanh(others.clip(0, 0.999)), (0.16, 0.5))
    return max(least, min(float(np.tanh(middle + spreads * (middle - low))), HIGHEST_LEAST))


def groups(thumbnails: list, pairs: np.ndarray, least: float) -> np.ndarray:
    """Group of each picture (n,): copies of one and the same, not chains of pictures that are each a little different.

    Parameters
    ----------
    thumbnails, least : as in `near_pairs`, pairs : of `near_pairs`
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n, left, number = len(thumbnails), pairs, np.arange(len(thumbnails))
    while len(left):
        edges = coo_matrix((np.ones(len(left)), tuple(left.T)), shape=(n, n))
        component, links = connected_components(edges, directed=False)[1], np.bincount(left.ravel(), minlength=n)
        order = np.lexsort((np.arange(n), -links))  # the member with most copies speaks for its component
        centre = order[np.unique(component[order], return_index=True)[1]][component]
        members = np.flatnonzero(links)
        known = {frozenset(pair) for pair in left.tolist()}
        doubtful = np.array([(m, centre[m]) for m in members.tolist() if m != centre[m]
                             and frozenset((m, centre[m])) not in known], int).reshape(-1, 2)
        chained = doubtful[alike(thumbnails, doubtful) < least, 0]
        stays = np.setdiff1d(members, chained)
        number[stays] = centre[stays]
        left = left[np.isin(left, chained).all(axis=1)]
    return number


def _pictures(thumbnails, rows):
    return np.stack([np.frombuffer(thumbnails[row], np.uint8) for row in rows]).reshape(-1, SIDE, SIDE)


def alike(thumbnails: list, pairs: np.ndarray, least_coarse: float = LEAST_COARSE) -> np.ndarray:
    """`likeness` of some pairs (m, 2) of rows; -1 where already the phase correlation speaks against a copy."""
    found = np.full(len(pairs), -1.0)
    if not len(pairs):
        return found
    rows, at = np.unique(pairs, return_inverse=True)
    these, (first, second) = _pictures(thumbnails, rows), at.reshape(-1, 2).T
    small = [detail(_halved(_cropped(these, share))) for share in CROPS]
    peak, mirror, shift = _best_mirror(small[0][first], small[0][second])
    peak, *start = _best_scale(small, first, second, peak, mirror, shift)
    sure = np.flatnonzero(peak >= LEAST_PEAK)
    for part in np.array_split(sure, 1 + len(sure) // 32) if len(sure) else ():
        one, two = first[part], second[part]
        found[part] = likeness((these[one], these[two]), (small[0][one], small[0][two]),
                               *(values[part] for values in start), least_coarse)
    return found


def candidates(pictures: Callable, n: int) -> np.ndarray:
    """Pairs (m, 2) of rows, first < second, whose spectra are alike against the spread of all; of few rows all pairs.

    Parameters
    ----------
    pictures : rows -> (len(rows), SIDE, SIDE) uint8; n : number of rows
    """
    if n <= ALL_PAIRS:
        return np.column_stack(np.triu_indices(n, 1))
    blocks = [np.arange(start, min(start + 256, n)) for start in range(0, n, 256)]
    spectra = [np.concatenate([_spectrum(_cropped(pictures(rows), share)) for rows in blocks]) for share in CROPS]
    mean, spread = spectra[0].mean(axis=0), spectra[0].std(axis=0)
    spectra = [(one - mean) / (spread + 1e-3) for one in spectra]
    spectra = [one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-6) for one in spectra]
    found = []
    for query in spectra:
        for rows in blocks:
            cosine = query[rows] @ spectra[0].T
            cosine[np.arange(len(rows)), rows] = -1
            best = np.argpartition(-cosine, MOST, axis=1)[:, :MOST]
            i, k = np.nonzero(np.take_along_axis(cosine, best, axis=1) >= LEAST_COSINE)
            found.append(np.column_stack([rows[i], best[i, k]]))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _halved(pictures):
    n, height, width = pictures.shape
    return pictures.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4), dtype=np.float32)


def _cropped(pictures, share):
    """The middle of the pictures, enlarged to their size."""
    from PIL import Image

    side = pictures.shape[1]
    edge = side * share
    return pictures if not share else np.stack([np.asarray(Image.fromarray(one).resize(
        (side, side), Image.Resampling.BILINEAR, (edge, edge, side - edge, side - edge))) for one in pictures])


def _spectrum(pictures):
    """Logarithm of the power spectrum, the same for a shifted and for a mirrored picture, (n, features) float32."""
    from scipy import fft

    small = detail(_halved(_halved(pictures)), fine=0.5)
    window = np.hanning(small.shape[1] + 2)[1:-1].astype(np.float32)
    size = np.abs(fft.fft2(small * window[:, None] * window))[:, :HIGHEST + 1]
    mirrored = (size + np.roll(size[..., ::-1], 1, axis=2))[..., :HIGHEST + 1] / 2
    return np.log(mirrored + 0.3).reshape(len(small), -1)


def _mirrors(pictures):
    return pictures, pictures[:, :, ::-1], pictures[:, ::-1], pictures[:, ::-1, ::-1]


def _best_mirror(first, second):
    """Peak of the phase correlation (n,), which of `_mirrors` of the second gives it, its shift (n, 2)."""
    found = [_phase(first, one) for one in _mirrors(second)]
    peaks = np.stack([peak for peak, _ in found])
    mirror, here = peaks.argmax(axis=0), np.arange(len(first))
    return peaks[mirror, here], mirror, np.stack([shift for _, shift in found])[mirror, here]


def _best_scale(small, first, second, peak, mirror, shift):
    """Where a crop of one of the pictures fits better: peak, mirror, matrix (n, 3, 3) from the first to the second.

    small : detail of all pictures, cut by each of `CROPS`
    """
    n, here = len(first), np.arange(len(first))
    matrix = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
    matrix[:, :2, 2] = -shift
    for share, cut in zip(CROPS[1:], small[1:], strict=True):
        for one, other, larger in ((cut, small[0], True), (small[0], cut, False)):
            height, shift = _phase(one[first], np.stack(_mirrors(other[second]))[mirror, here])
            better, scale = height > peak, 1 - 2 * share
            matrix[better] = np.eye(3) * [*[1 / scale if larger else scale] * 2, 1]
            matrix[better, :2, 2] = -shift[better] * (1 if larger else scale)
            peak = np.maximum(peak, height)
    return peak, mirror, matrix


def _phase(first, second, farthest=0.12):
    """Height of the peak in standard deviations (n,), and where it is (n, 2) as a share of half the side."""
    from scipy import fft

    side = first.shape[1]
    window = np.hanning(side).astype(np.float32)
    window = window[:, None] * window
    cross = fft.rfft2(first * window) * np.conj(fft.rfft2(second * window))
    size = np.abs(cross)
    surface = fft.irfft2(cross / (size**0.7 + 1e-6 * size.max(axis=(1, 2), keepdims=True) + 1e-9), s=(side, side))
    reach = int(side * farthest)
    near = np.roll(surface, (reach, reach), axis=(1, 2))[:, :2 * reach + 1, :2 * reach + 1].reshape(len(first), -1)
    shift = np.column_stack(np.divmod(near.argmax(axis=1), 2 * reach + 1)) - reach
    return near.max(axis=1) / np.maximum(surface.std(axis=(1, 2)), 1e-9), shift * 2 / side


def likeness(pictures, details, mirror, matrix, least_coarse=LEAST_COARSE) -> np.ndarray:
    """How far the detail of two pictures agrees in nearly every part, after an affine registration.

    Parameters
    ----------
    pictures : first and second, (n, SIDE, SIDE) uint8 each
    details : `detail` of both at half the resolution
    mirror : which of `_mirrors` of the second is meant
    matrix : (n, 3, 3), where the registration starts, from places of the first to places of the second
    least_coarse : correlation at half the resolution below which a pair is given up

    Returns
    -------
    (n,) of -1 to 1: the correlation that four of five parts reach; -1 where too few parts hold detail or the
    registration runs away. Copies reach about 0.8, different pictures of the same organ at most about 0.5.
    """
    one, two = details[0], np.stack(_mirrors(details[1]))[mirror, np.arange(len(mirror))]
    matrix = _aligned(one, two, matrix, STEPS[0])
    found = _tiles(one, *_sampled(two, matrix), TILE // 2)
    near = np.flatnonzero(found >= least_coarse)
    found[found < least_coarse] = -1
    if len(near):
        one, two = detail(pictures[0][near]), detail(np.stack(_mirrors(pictures[1]))[mirror[near], near])
        matrix[near] = _aligned(one, two, matrix[near], STEPS[1])
        found[near] = _tiles(one, *_sampled(two, matrix[near]), TILE)
    area = np.linalg.det(matrix[:, :2, :2])
    return np.where((area > 0.6) & (area < 1.6), found, -1)


def _tiles(one, values, inside, tile):
    """Correlation that four of five tiles with detail reach, (n,); values, inside : of `_sampled`."""
    n, side = len(one), one.shape[1] // tile

    def parts(values):
        return values.reshape(n, side, tile, side, tile).swapaxes(2, 3).reshape(n, side * side, -1)

    here = parts(inside.astype(np.float32))
    count = here.sum(axis=2)
    one, two = ((x - (x * here).sum(axis=2, keepdims=True) / np.maximum(count, 1)[..., None]) * here
                for x in (parts(one), parts(values)))
    power = [(x * x).sum(axis=2) for x in (one, two)]
    correlation = (one * two).sum(axis=2) / np.sqrt(power[0] * power[1] + 1e-9)
    counted = (count > 0.6 * tile**2) & (np.maximum(*power) > 0.05 * count)
    return np.array([np.quantile(c[k], 0.2) if k.sum() >= LEAST_TILES else -1.0
                     for c, k in zip(correlation, counted, strict=True)])


def _places(side):
    """Homogeneous coordinates (3, side * side) of the pixels, the picture from -1 to 1."""
    line = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([y.ravel(), x.ravel(), np.ones(side * side, np.float32)])


def _sampled(pictures, matrix):
    """Pictures (n, side, side) at the places moved by matrix (n, 3, 3): values and whether inside, (n, side * side)."""
    n, side, _ = pictures.shape
    at = (matrix[:, :2].astype(np.float32) @ _places(side) + 1) * (side / 2) - 0.5
    low = np.floor(at)
    y, x = (at - low).swapaxes(0, 1)
    inside = ((low >= 0) & (low < side - 1)).all(axis=1)
    row, column = np.clip(low, 0, side - 2).astype(int).swapaxes(0, 1)
    flat, start = pictures.ravel(), row * side + column + np.arange(n)[:, None] * side**2
    corner = [flat.take(start + step) for step in (0, 1, side, side + 1)]
    values = (1 - y) * ((1 - x) * corner[0] + x * corner[1]) + y * ((1 - x) * corner[2] + x * corner[3])
    return values * inside, inside


def _aligned(fixed, moving, matrix, steps):
    """Affine registration by inverse compositional Gauss-Newton (Baker and Matthews 2004), matrix (n, 3, 3)."""
    n, side, _ = fixed.shape
    gy, gx = (g.reshape(n, -1) * (side / 2) for g in np.gradient(fixed, axis=(1, 2)))
    places = _places(side)
    slopes = np.stack([*(gy[:, None] * places).swapaxes(0, 1), *(gx[:, None] * places).swapaxes(0, 1)], axis=1)
    curve = slopes @ slopes.swapaxes(1, 2)
    curve += np.eye(6, dtype=np.float32) * (1e-3 * np.trace(curve, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6)
    curve, target = np.linalg.inv(curve), fixed.reshape(n, -1)
    for _ in range(steps):
        values, inside = _sampled(moving, matrix)
        step = curve @ (slopes @ ((values - target) * inside)[..., None])
        change = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
        change[:, :2] += np.clip(step.reshape(n, 2, 3), -0.2, 0.2)
        matrix = matrix @ np.linalg.inv(change)
    return matrix
