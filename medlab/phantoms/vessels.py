"""Vessel trees of the synthetic lungs: grown from the hila, painted as balls. Lengths in mm."""

import numpy as np


def coverage(x, y, z, lung, n_end_on, rng, thickness, parts=3) -> np.ndarray:
    """Fraction of vessel per voxel: trees from each hilum plus a few straight vessels seen end-on."""
    points, radii = [], []
    for side in (-1, 1):
        k, j, i = np.nonzero((lung > 0.9) & (side * x > 0))
        for _ in range(2):  # arteries and veins
            picked = rng.integers(0, len(k), 90)
            ends = np.stack([x[0, 0, i[picked]], y[0, j[picked], 0], z[k[picked], 0, 0]], 1)
            ends[:, 2] += rng.uniform(-14, 14, len(ends))
            root = np.array([side * rng.uniform(34, 44), rng.uniform(-6, 10), rng.uniform(-28, -4)])
            tree = grow(root, ends, rng)
            points.append(tree[0])
            radii.append(tree[1])
    k, j, i = np.nonzero((lung > 0.99) & (np.abs(x) > 45))
    for n in rng.integers(0, len(k), n_end_on):
        t = np.linspace(-1, 1, 24)[:, None]
        lean = np.array([rng.normal(0, 3), rng.normal(0, 3), 13])
        points.append(np.array([x[0, 0, i[n]], y[0, j[n], 0], z[k[n], 0, 0]]) + t * lean)
        radii.append(np.full(24, rng.uniform(1.8, 3.2)))
    return splat(np.concatenate(points), np.concatenate(radii), x, y, z, thickness, parts)


def grow(root, ends, rng) -> tuple[np.ndarray, np.ndarray]:
    """Tree that joins each end to the branch nearest to it and to the root; radii by Murray's law.

    Returns points (n, 3) about 1.4 mm apart along all branches, and their radii (n,), in mm.
    """
    ends = ends[np.argsort(np.linalg.norm(ends - root, axis=1) + rng.normal(0, 6, len(ends)))]
    nodes, parent, path = np.zeros((4000, 3)), np.full(4000, -1), np.zeros(4000)
    nodes[0], n = root, 1
    for end in ends:
        start = np.argmin(((nodes[:n] - end) ** 2).sum(1) ** 0.5 + 0.35 * path[:n])
        length = np.linalg.norm(end - nodes[start])
        m = max(2, int(length / 5))
        if n + m > len(nodes):
            break
        t = (np.arange(m) + 1)[:, None] / m
        bend = np.sin(np.pi * t) * rng.normal(0, 0.09 * length, 3)
        nodes[n : n + m] = nodes[start] + t * (end - nodes[start]) + bend
        parent[n : n + m] = np.r_[start, np.arange(n, n + m - 1)]
        path[n : n + m] = path[start] + t[:, 0] * length
        n += m
    flow = np.zeros(n)
    flow[np.setdiff1d(np.arange(n), parent[:n])] = 1
    for k in range(n - 1, 0, -1):
        flow[parent[k]] += flow[k]
    radius = np.minimum(0.9 * flow**0.34, 3.4)
    t = np.linspace(0, 1, 5)[:-1, None, None]
    before, after = parent[1:n], np.arange(1, n)
    points = (nodes[after] + t * (nodes[before] - nodes[after])).reshape(-1, 3)
    return points, np.tile(radius[1:], 4)


def splat(points, radii, x, y, z, thickness, parts) -> np.ndarray:
    """Balls of these radii on `parts` sub-slices per slice, joined by the maximum, then averaged."""
    d, h, w = z.size, y.size, x.size
    pixel, step = float(x[0, 0, 1] - x[0, 0, 0]), thickness / parts
    fine = np.zeros(d * parts * h * w, np.float32)
    origin = np.array([x[0, 0, 0], y[0, 0, 0], z[0, 0, 0] - thickness / 2 + step / 2])
    scale = np.array([pixel, pixel, step])
    for small in (True, False):
        keep = (radii < 1.8) == small
        reach, up = (1, 1) if small else (3, 4)
        lines = [np.arange(-n, n + 1) for n in (reach, reach, up)]
        offsets = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
        cell = np.rint((points[keep] - origin) / scale).astype(int)
        ok = np.all((cell >= [3, 3, -up]) & (cell < [w - 3, h - 3, d * parts + up]), axis=1)
        cell, centre, r = cell[ok], points[keep][ok], radii[keep][ok][:, None]
        index = cell[:, None] + offsets
        shift = (cell * scale + origin - centre).astype(np.float32)[:, None]
        shift = shift + (offsets * scale).astype(np.float32)
        far = np.sqrt(np.einsum("pok,pok->po", shift, shift))
        r = r.astype(np.float32)
        full = 1 - np.exp(-np.pi * r**2 / pixel**2)  # a vessel thinner than a pixel fills only a part of it
        cover = (full * np.clip(0.5 + (np.maximum(r, 1.2) - far) / pixel, 0, 1)).astype(np.float32)
        ok = (index[..., 2] >= 0) & (index[..., 2] < d * parts) & (cover > 0)
        flat = (index[..., 2] * h + index[..., 1]) * w + index[..., 0]
        np.maximum.at(fine, flat[ok], cover[ok])
    return fine.reshape(d, parts, h, w).mean(1)
