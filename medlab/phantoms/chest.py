"""Axial chest CT from formulas: the pixels of the synthetic thorax cohort.

Lengths in mm, LPS: x to the patient's left, y to the back, z to the head; z = 0 is the carina and the
scan is a slab of 50 mm around ``level_mm``. Volumes are (depth, height, width) with depth increasing
towards the head. Edges are painted by signed distance (negative inside), one pixel soft.
"""

import numpy as np
from scipy import ndimage

from medlab.phantoms import vessels

SHAPE, THICKNESS = (10, 128, 128), 5.0
SITES = {  # two scanners: pixel size (mm), blur of the kernel (pixels), noise (HU)
    "A": {"pixel_mm": 2.8, "blur": 0.65, "noise": 27.0},
    "B": {"pixel_mm": 2.7, "blur": 0.50, "noise": 32.0},
}
# HU of rim and core
TEXTURES = {"solid": (35.0, 35.0), "part-solid": (-420.0, 30.0), "ground-glass": (-420.0, -420.0)}


def render(patient, rng) -> tuple[np.ndarray, list[np.ndarray]]:
    """CT of one simulated patient.

    Parameters
    ----------
    patient : mapping
        A row of `thorax.sample`: site, sex, level_mm, body_scale, fat_mm, diameter_mm, spiculation,
        texture, satellite_mm (nan: none), n_granulomas, n_end_on_vessels.
    rng : numpy.random.Generator

    Returns
    -------
    hu : (10, 128, 128) int16
        Hounsfield units.
    nodules : list of (10, 128, 128) bool
        One mask per nodule, the main one first.
    """
    site = SITES[patient["site"]]
    x, y, z = grid(patient)
    hu, lung, table = chest(x, y, z, patient, rng)
    vessel = vessels.coverage(x, y, z, lung, patient["n_end_on_vessels"], rng, THICKNESS)
    hu += vessel * lung * (42 - hu)
    masks, room = [], free_room(lung, site["pixel_mm"])
    for diameter, spiculation, texture in lesions(patient):
        place = find_place(x, y, z, room, diameter, rng)
        whole, core = blob(x, y, z, place, diameter, spiculation, 0.68, rng)
        rim_hu, core_hu = TEXTURES.get(texture, (1500.0, 1500.0))
        hu += whole * np.maximum(rim_hu - hu, 0) + core * max(core_hu - rim_hu, 0)
        if texture in TEXTURES:  # half the peak: a 4 mm nodule never fills a voxel
            masks.append(whole >= 0.5 * whole.max())
        away = np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2)
        room = np.minimum(room, away - diameter / 2 - 8)
    hu = ndimage.gaussian_filter(hu, (0, site["blur"], site["blur"]))
    hu += noise(hu, site["noise"], site["blur"], rng) * np.where(table, 0.7, 1.0)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16), masks


def grid(patient) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates (mm) that broadcast to the volume: x (1, 1, w), y (1, h, 1), z (d, 1, 1)."""
    d, h, w = SHAPE
    pixel = SITES[patient["site"]]["pixel_mm"]
    x = ((np.arange(w) - (w - 1) / 2) * pixel).astype(np.float32)[None, None]
    y = ((np.arange(h) - (h - 1) / 2) * pixel).astype(np.float32)[None, :, None]
    z = ((np.arange(d) - (d - 1) / 2) * THICKNESS + patient["level_mm"]).astype(np.float32)[:, None, None]
    return x, y, z


def lesions(patient) -> list[tuple[float, float, str]]:
    """(diameter mm, spiculation 0..1, texture) of each nodule, then of each calcified granuloma."""
    found = []
    if patient["diameter_mm"] == patient["diameter_mm"]:
        found.append((patient["diameter_mm"], patient["spiculation"], patient["texture"]))
    if patient["satellite_mm"] == patient["satellite_mm"]:
        found.append((patient["satellite_mm"], 0.0, "solid"))
    return found + [(size, 0.0, "calcified") for size in (5.2, 5.8, 4.8, 6.4)[: patient["n_granulomas"]]]


def fill(distance, soft=2.8) -> np.ndarray:
    """Covered fraction of a voxel from the signed distance (mm) to an edge."""
    return np.clip(0.5 - distance / soft, 0, 1)


def ellipse(x, y, cx, cy, a, b, degrees=0.0) -> np.ndarray:
    """Signed distance (mm, close to the edge) to an ellipse with half axes a, b; a <= 0: nothing there."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    u, v = (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s
    size = np.maximum(np.minimum(a, b), 0.1)
    return (np.sqrt((u / np.maximum(a, 0.1)) ** 2 + (v / np.maximum(b, 0.1)) ** 2) - 1) * size


def capsule(x, y, start, end, radius) -> np.ndarray:
    """Signed distance to a stadium between two points."""
    (ax, ay), (bx, by) = start, end
    t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
    return np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)) - radius


def merge(a, b, k=10.0) -> np.ndarray:
    """Smooth union of two signed distances (fillet of about k mm)."""
    return np.minimum(a, b) - np.maximum(k - np.abs(a - b), 0) ** 2 / (4 * k)


def bump(z, centre, half) -> np.ndarray:
    """Half axis of a ball along z: 1 at the centre, 0 at `half` mm from it."""
    return np.sqrt(np.clip(1 - ((z - centre) / half) ** 2, 0, 1))


def between(z, low, high, soft=8.0) -> np.ndarray:
    """1 for low < z < high, 0 outside, soft ends."""
    return np.clip((z - low) / soft + 0.5, 0, 1) * np.clip((high - z) / soft + 0.5, 0, 1)


def clouds(shape, size, rng) -> np.ndarray:
    """Smooth noise, mean 0 and standard deviation 1, with structures of `size` pixels (d, h, w)."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), size, mode="wrap")
    return (field - field.mean()) / field.std()


def chest(x, y, z, patient, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Everything but vessels and lesions: (hu, lung fraction, bool outside the body)."""
    s, sway = patient["body_scale"], rng.uniform(0, 6.3, 4).tolist()
    texture = clouds(SHAPE, (1, 2.0, 2.0), rng)
    coarse = clouds(SHAPE, (2, 7, 7), rng)
    # gentle warp of the coordinates: no patient is an ellipse, and none is symmetric
    wx = (x + 3.5 * np.sin(y / 41 + z / 70 + sway[0]) + 2 * np.sin(y / 19 + sway[1])) / s
    wy = (y + 6 + 3.5 * np.sin(x / 47 + z / 60 + sway[2]) + 1.5 * np.sin(x / 23 + sway[3])) / s
    z = z + 0 * wx
    apex = np.clip((z + 5) / 125, 0, 0.95)
    a, b = 128 * np.sqrt(1 - apex**2), 85 * (1 - 0.28 * apex**1.5)
    radius = np.hypot(wx, wy) + 1e-3
    cage = radius * (1 - 1 / ((np.abs(wx) / a) ** 2.3 + (np.abs(wy) / b) ** 2.3) ** (1 / 2.3))
    outer_a, outer_b = 130 + 17 + 0.8 * patient["fat_mm"], 85 + 16 + 0.7 * patient["fat_mm"]
    skin = radius * (1 - 1 / ((np.abs(wx) / outer_a) ** 2.5 + (np.abs(wy - 6) / outer_b) ** 2.5) ** 0.4)
    if patient["sex"] == "female":
        breast = ellipse(np.abs(wx), wy, 66, -outer_b + 8, 46, 26)
        skin = merge(skin, breast + 30 * (1 - between(z, -75, 20, 50)), 18)
    hu = np.full(SHAPE, -1000, np.float32)
    hu += fill(skin) * (-103 + 6 * texture - hu)
    hu += 0.55 * fill(np.abs(skin + 1.2) - 1.0) * (20 - hu)  # skin, thinner than a pixel
    hu += muscles(wx, wy, z, skin, cage, patient["fat_mm"], coarse) * (52 + 6 * texture - hu)
    spine_y = 0.68 * b
    solid, chambers = mediastinum(wx, wy, z, spine_y)
    right, left = ((-66, 2, -158), (60, 72, 76)), ((68, 6, -168), (56, 66, 76))
    dome = np.minimum(ellipse3(wx, wy, z, *right), ellipse3(wx, wy, z, *left))  # diaphragm
    inside = fill(cage)
    hu += inside * (-92 + 10 * texture - hu)
    hu += inside * fill(chambers) * (44 + 4 * texture - hu)
    hu += inside * fill(dome) * (56 + 4 * texture - hu)
    lung = fill(cage + 2) * (1 - fill(np.minimum(solid, dome)))
    depend = -868 + 0.45 * wy + 14 * coarse + 9 * texture + rng.normal(0, 12)
    fissure = fill(np.abs(wy + 0.75 * (z - 10) * np.where(wx > 0, 1, 0.85) - 12 + 6 * coarse) - 0.2)
    hu += lung * (depend + 70 * fissure - hu)
    airway = airways(wx, wy, z)
    hu += fill(np.abs(airway) - 1) * inside * np.maximum(-20 - hu, 0)
    hu += fill(airway) * (-985 - hu)
    lung = lung * (1 - fill(airway - 3))
    bones(hu, wx, wy, z, cage, spine_y, coarse, rng)
    bed = y - s * outer_b - 3 + 0.0011 * x**2  # the table, a shallow trough
    for depth, value in ((0.0, -180), (24.0, -330)):
        hu += 0.9 * fill(np.abs(bed - depth) - 1.6) * (np.abs(x) < 165) * np.maximum(value - hu, 0)
    hu += ((bed > 1) & (bed < 23)) * (np.abs(x) < 165) * 45.0
    return hu, lung * (cage < 0), skin > 3


def ellipse3(x, y, z, centre, axes) -> np.ndarray:
    """Signed distance (close to the edge) to an ellipsoid."""
    r = np.sqrt(sum(((v - c) / a) ** 2 for v, c, a in zip((x, y, z), centre, axes, strict=True)))
    return (r - 1) * min(axes)


def muscles(x, y, z, skin, cage, fat_mm, coarse) -> np.ndarray:
    """Fraction of muscle in the chest wall: intercostals, back, serratus, pectorals, with planes of fat."""
    side = np.abs(x)
    wall = fill(np.maximum(cage - 10, skin + 3))
    back = fill(ellipse(side, y, 27, 104, 23, 17, 12))
    lateral = fill(np.maximum(np.abs(cage - 15) - 6 + 3 * np.clip(coarse, -1, 1), skin + 0.5 * fat_mm))
    lateral = lateral * np.clip((side - 45) / 20, 0, 1)
    pectoral = fill(np.maximum(np.abs(cage - 14) - 7 * between(z, -25, 90, 40), skin + 4))
    pectoral = pectoral * (y < -30) * (side > 14)
    plane = fill(np.abs(cage - 12.5 - 2 * coarse) - 0.2)
    muscle = np.maximum.reduce([wall, back, lateral, pectoral]) * fill(skin + 3)
    return muscle * (1 - 0.45 * plane * (side > 20))


def mediastinum(x, y, z, spine_y) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances: all that keeps the lung away, and the soft tissue (blood, heart) within it."""
    heart = ellipse3(x * 0.88 + y * 0.47, y * 0.88 - x * 0.47, z, (12, -32, -68), (62, 44, 60))
    arch = capsule(x, y, (-6, -22), (22, 30), 13 * bump(z, 28, 14) - 1)
    great = [
        arch,
        np.hypot(x + 10, y + 24) - 16 * between(z, -40, 26),
        np.hypot(x - 24, y - spine_y + 20) - 12.5 * between(z, -200, 27),
        np.hypot(x + 27, y + 10) - 9.5 * between(z, -40, 60),
        capsule(x, y, (14, -26), (-40, 2), 11 * bump(z, -12, 15) - 1),
        capsule(x, y, (14, -28), (44, 12), 11 * bump(z, -4, 15) - 1),
        np.hypot(np.abs(x) - 37, y - 6) - 11 * bump(z, -14, 22),
        np.hypot(x + 14, y + 12) - 7 * between(z, 36, 200),
        np.hypot(x - 4, y + 8) - 5 * between(z, 36, 200),
        np.hypot(x - 19, y - 6) - 6 * between(z, 36, 200),
        capsule(x, y, (24, -30), (-20, -22), 7 * bump(z, 52, 12) - 1),
        ellipse(x, y, 7, 27, 7.5, 5.5),
        np.hypot(x - 2, y + 34) - 6 * between(z, -20, 60),
    ]
    blood = np.minimum.reduce([v + 0 * z for v in great])
    solid = merge(merge(heart, blood - 2, 8), ellipse(x, y, 0, spine_y, 25, 20), 12)
    solid = merge(solid, ellipse(x, y, 1, 5, 17, 46), 14)
    solid = merge(solid, ellipse(x, y, 3, -62, 10 + 8 * between(z, -200, -25, 30), 34), 16)
    return solid, np.minimum(heart + 4, blood)


def airways(x, y, z) -> np.ndarray:
    """Signed distance to the lumen of trachea and main bronchi."""
    trachea = np.hypot(x, y - 10) - 9 * between(z, -6, 300, 6)
    out = np.clip(-z, 0, 60)
    bronchi = np.hypot(np.abs(x) - 4 - 0.85 * out, y - 11 - 0.12 * out)
    return np.minimum(trachea, bronchi - np.clip(7 - 0.07 * out, 3, 7) * between(z, -46, 1, 6))


def bones(hu, x, y, z, cage, spine_y, coarse, rng) -> None:
    """Paint ribs (oblique rings cut by the slice), spine, sternum and shoulder blades into `hu`."""
    side, angle = np.abs(x), np.arctan2(np.abs(x), y)  # angle 0 at the spine, pi at the sternum
    phase, disc_phase, tilt = rng.uniform(0, 26), rng.uniform(0, 23), rng.normal(0, 2)
    drop = 88 * (1 - np.cos(0.85 * angle)) / 1.9
    off = np.mod(z + drop + phase + tilt * np.sign(x), 26) - 13
    rib = (np.sqrt((off / 6.2) ** 2 + ((cage - 5.2) / 4.2) ** 2) - 1) * 4.2
    cartilage = np.clip((angle - 2.45) / 0.2, 0, 1)
    rib = np.where((angle < 0.3) | (side < 14), 9.0, rib)
    disc = between(np.mod(z + disc_phase, 23), 0, 6, 3)
    body = ellipse(x, y, 0, spine_y, 18.5, 15)
    canal = np.hypot(x, y - spine_y - 22) - 8.5
    arch = np.minimum(np.abs(canal - 2.5) - 2.5, ellipse(x, y, 0, spine_y + 44, 3.5, 14))
    level = np.mod(z + disc_phase, 23)
    wings = ellipse(side, y, 26, spine_y + 24, 17, 5.0, 20) + 6 * between(level, 0, 11, 3)
    sternum = ellipse(x, y, 0, -89, 17, 6.0)
    blade = np.abs(angle - 0.95) * 80 + 4 - 34 * between(z, -25, 120, 60)
    blade = np.maximum(blade, np.abs(cage - 18 + 9 * (angle - 0.95) - 2 * coarse) - 2.4)
    scale = rng.normal(1, 0.08)
    for distance, marrow, cortex in (
        (rib, 230 - 130 * cartilage, 390 * (1 - cartilage)),
        (body, 165 - 85 * disc, 330 * (1 - disc)),
        (np.minimum(arch, wings), 260, 330),
        (sternum, 130, 260),
        (blade, 220, 260),
    ):
        value = (marrow + cortex * np.clip(1.2 - np.abs(distance + 1.4) / 2.6, 0, 1) + 18 * coarse) * scale
        hu += fill(distance) * (value - hu)
    hu += fill(canal + 1) * (22 - hu)


def free_room(lung, pixel_mm) -> np.ndarray:
    """Distance (mm) within the slice from each point of the lung to its border; 0 in the end slices."""
    room = np.stack([ndimage.distance_transform_edt(part >= 0.9, sampling=pixel_mm) for part in lung])
    room[[0, -1]] = 0
    return room


def find_place(x, y, z, room, diameter, rng) -> tuple[float, float, float]:
    """Random point (mm) where a ball of this diameter fits (it may just touch the pleura)."""
    peripheral = np.where(np.abs(x) > 48, room, 0)  # the hila are crowded enough
    fits = np.flatnonzero(peripheral > min(0.42 * diameter, 0.8 * peripheral.max()))
    k, j, i = np.unravel_index(rng.choice(fits), room.shape)
    pixel = x[0, 0, 1] - x[0, 0, 0]
    jitter = rng.uniform(-0.5, 0.5, 3) * (pixel, pixel, THICKNESS)
    return x[0, 0, i] + jitter[0], y[0, j, 0] + jitter[1], z[k, 0, 0] + jitter[2]


def blob(x, y, z, place, diameter, spiculation, core, rng) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (d, h, w) of a lobulated, spiculated ball and of its core, from 80 points a voxel."""
    radius = diameter / 2
    axes = [rng.standard_normal((n, 3)) for n in (3, int(10 + 6 * spiculation))]
    lobes, spikes = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in axes)
    spikes[:, 2] *= 0.5
    spikes /= np.linalg.norm(spikes, axis=1, keepdims=True)
    length = rng.uniform(0.35, 1.0, len(spikes)) * spiculation
    reach = radius * (1.15 + 1.0 * spiculation)
    whole, inner = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    cuts, points = [], []
    for axis, centre, parts in ((z, place[2], 5), (y, place[1], 4), (x, place[0], 4)):
        line = axis.ravel()
        half = (line[1] - line[0]) / 2
        near = np.flatnonzero(np.abs(line - centre) <= reach + half)
        cuts.append(slice(near[0], near[-1] + 1))
        sub = ((np.arange(parts) + 0.5) / parts - 0.5) * (line[1] - line[0])
        points.append((line[near, None] + sub).ravel() - centre)
    dz, dy, dx = np.meshgrid(*points, indexing="ij")
    far = np.sqrt(dx**2 + dy**2 + dz**2) + 1e-6
    unit = np.stack([dx, dy, dz], -1) / far[..., None]
    surface = 1 + 0.13 * np.sin(2.2 * (unit @ lobes.T)).sum(-1) / np.sqrt(3)
    surface = surface + (length * np.exp((unit @ spikes.T - 1) / 0.035)).sum(-1)
    for out, part in ((whole, far < radius * surface), (inner, far < radius * core)):
        d, h, w = (s.stop - s.start for s in cuts)
        out[tuple(cuts)] = part.reshape(d, 5, h, 4, w, 4).mean((1, 3, 5))
    return whole, inner


def noise(hu, level, blur, rng) -> np.ndarray:
    """Correlated noise of standard deviation `level` (HU) in tissue, from ramp times kernel in frequency."""
    fy, fx = np.fft.fftfreq(SHAPE[1])[:, None], np.fft.rfftfreq(SHAPE[2])[None]
    f = np.hypot(fy, fx)
    power = (0.06 + f) * np.exp(-2 * (np.pi * f * blur) ** 2)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(SHAPE, dtype=np.float32)) * power, s=SHAPE[1:])
    return field * (level / field.std())
