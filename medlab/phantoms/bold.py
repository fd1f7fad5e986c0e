"""A synthetic BOLD run on nilearn's bundled MNI template: known active regions, real-looking noise and motion.

Nothing is downloaded. One head (a known affine image of the template) sees blocks of faces and houses and presses a
button; what is active where, how the head moved and how it lies in MNI space is written beside the run. No person is
behind it.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from medlab.fmri import mni, motion

TR_S, VOXEL_MM, SHAPE = 2.0, 4.0, (48, 56, 38)
BLOCK_S = 16.0
TILT_DEG = -12.0  # of the slices, as planned along the line between the commissures
# region, MNI mm, radius mm, % signal change at the height of a block of faces and of houses, delay of the response in s
REGIONS = pd.DataFrame([
    ("visual cortex, left", -10, -90, 2, 13, 2.2, 2.2, 0.0), ("visual cortex, right", 10, -90, 2, 13, 2.2, 2.2, 0.0),
    ("fusiform gyrus, right", 40, -54, -18, 10, 2.2, 0.3, 0.4),
    ("fusiform gyrus, left", -40, -54, -18, 8, 2.0, 0.3, 0.4),
    ("parahippocampal gyrus, left", -25, -44, -10, 8, 0.0, 2.0, 0.4),
    ("parahippocampal gyrus, right", 25, -44, -10, 8, 0.0, 2.0, 0.4),
    ("hand area, left", -38, -24, 56, 10, 1.8, 1.8, 0.8),
], columns=["region", "x_mm", "y_mm", "z_mm", "radius_mm", "face_percent", "house_percent", "delay_s"])
CONDITIONS = ("face", "house")
CARD = {
    "title": "Synthetic BOLD run, faces and houses", "modality": "bold", "intensity": "arbitrary", "synthetic": True,
    "description": "Simulated fMRI of one head on nilearn's bundled MNI template: blocks of faces and houses, known "
                   "active regions and networks, noise correlated in time and space, drift, pulse, breathing, motion. "
                   "Everything is generated from formulas; no person is behind it.",
    "licence": "CC0-1.0", "citation": "none", "patients": "known",
}


def bold(folder, seed=0, volumes=240):
    """Write the run, its events and its truth below a folder.

    Parameters
    ----------
    folder : Path
    seed : int, of noise, motion, order of the blocks and position of the head
    volumes : int, at least 60; the repetition time is 2 s

    Returns
    -------
    cohort : DataFrame, one row: patient_id, image, frame (the volume that shows the run where one picture is wanted),
        events
    truth : DataFrame, `REGIONS` with the centres in the space of the run (``native_x_mm`` ...)
    """
    if volumes < 60 or seed < 0:
        raise ValueError(f"volumes={volumes}, seed={seed}: expected at least 60 volumes and a seed >= 0")
    rng = np.random.default_rng(seed)
    head, grid = placement(rng), grid_affine()
    events, moves = blocks(rng, volumes * TR_S), movement(rng, volumes)
    data, truth = acquire(rng, head, grid, events, moves, volumes)
    func, beside = folder / "func", folder / "truth"
    func.mkdir(parents=True, exist_ok=True)
    beside.mkdir(exist_ok=True)
    name = "sub-01_task-faces_run-1"
    image = nib.Nifti1Image(data, grid)
    image.header.set_zooms((*[VOXEL_MM] * 3, TR_S))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, func / f"{name}_bold.nii.gz")
    about = {"RepetitionTime": TR_S, "TaskName": "faces", "Manufacturer": "simulated"}
    (func / f"{name}_bold.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    events.to_csv(func / f"{name}_events.tsv", sep="\t", index=False)
    for condition, amplitude in truth.items():
        nib.save(nib.Nifti1Image(amplitude, grid), beside / f"{condition}.nii.gz")
    moves.round(5).to_csv(beside / "motion.csv", index=False)
    pd.DataFrame(head).to_csv(beside / "mni_to_native.csv", index=False, header=False)
    centres = np.c_[REGIONS[["x_mm", "y_mm", "z_mm"]], np.ones(len(REGIONS))] @ head.T
    native = pd.DataFrame(centres[:, :3].round(2), columns=["native_x_mm", "native_y_mm", "native_z_mm"])
    row = {"patient_id": "sub-01", "image": f"func/{name}_bold.nii.gz", "frame": 0, "events": f"func/{name}_events.tsv"}
    return pd.DataFrame([row]), pd.concat([REGIONS.assign(patient_id="sub-01"), native], axis=1)


def placement(rng):
    """MNI mm to mm of the run: a head of another size, turned and shifted."""
    scale = np.diag(1 + rng.uniform(-0.05, 0.05, 3))
    head = np.eye(4)
    head[:3, :3] = motion.rotation(*rng.uniform(-5, 5, 3)) @ scale
    head[:3, 3] = rng.uniform(-6, 6, 3)
    return head


def grid_affine():
    """Affine of the acquisition, slices tilted about the left-right axis, the brain in the middle."""
    affine = np.eye(4)
    affine[:3, :3] = motion.rotation(TILT_DEG, 0, 0) * VOXEL_MM
    affine[:3, 3] = np.array([0, -18, 6]) - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def blocks(rng, seconds, on=BLOCK_S):
    """Blocks of both conditions in shuffled pairs with rests of 10 to 14 s, as a BIDS table."""
    rows, start = [], 10.0
    while True:
        for condition in rng.permutation(CONDITIONS):
            if start + on + 8 > seconds:
                return pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
            rows.append((round(start, 3), on, condition))
            start += on + rng.uniform(10, 14)


def movement(rng, volumes):
    """Head motion: a slow drift, a little jitter, a few jerks after which the head stays where it is."""
    walk = np.cumsum(rng.normal(0, [0.02, 0.02, 0.03, 0.025, 0.012, 0.012], (volumes, 6)), axis=0)
    for at in rng.choice(np.arange(10, volumes - 10), 3, replace=False):
        walk[at:] += rng.normal(0, [0.2, 0.25, 0.4, 0.4, 0.2, 0.2])
    walk += rng.normal(0, 0.008, walk.shape)
    return pd.DataFrame(walk - walk[volumes // 2], columns=motion.PARAMETERS)  # the middle volume is where the truth is


def anatomy():
    """T2*-weighted grey values, shares of grey matter, of liquid, and of brain on the 2 mm template; its affine."""
    from nilearn import datasets

    template = datasets.load_mni152_template(resolution=2)
    grey, white = (np.asarray(f(resolution=2).dataobj, np.float32).clip(0, 1)
                   for f in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template))
    brain = ndimage.binary_fill_holes(np.asarray(template.dataobj) > 0.05)
    liquid = np.where(brain, (1 - grey - white).clip(0, 1), 0).astype(np.float32)
    scalp = ndimage.binary_dilation(brain, iterations=6) & ~ndimage.binary_dilation(brain, iterations=3)
    values = (900 * grey + 780 * white + 1150 * liquid) * brain + 60 * scalp
    at = np.indices(brain.shape).reshape(3, -1).T @ template.affine[:3, :3].T + template.affine[:3, 3]
    bias = 1 + 0.1 * np.sin(at @ [0.012, 0.009, -0.011] + 0.6)
    for centre, width, loss in (((0, 34, -22), 13, 0.7), ((52, -22, -30), 11, 0.4), ((-52, -22, -30), 11, 0.4)):
        bias *= 1 - loss * np.exp(-0.5 * ((at - centre) ** 2).sum(axis=1) / width**2)  # air in the sinuses
    return values * bias.reshape(brain.shape), grey, liquid, brain, template.affine


def acquire(rng, head, grid, events, moves, volumes):
    """The run as int16 (x, y, z, t) and the truth at the place of the middle volume.

    The truth: the amplitude in % of each condition, and the number of the region (from 1) that fills at least half of a
    voxel.
    """
    values, grey, liquid, brain, template = anatomy()
    regions = spheres(brain, template)
    blur = 0.6 * VOXEL_MM / 2.355 / 2  # point spread of the acquisition, in template voxels
    still, *maps = (ndimage.gaussian_filter(m.astype(np.float32), blur) for m in (values, grey, liquid, brain))
    parts = [ndimage.gaussian_filter(np.where(regions == r, values, 0).astype(np.float32), blur)
             for r in range(len(REGIONS))]
    boxes = [ndimage.find_objects((part > 0).astype(int))[0] for part in parts]
    middle = (grid @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]

    def seen(what, t):
        return _sample(what, template, head, grid, moves.iloc[t], middle)

    data, response = np.empty((*SHAPE, volumes), np.float32), responses(events, volumes)
    for t in range(volumes):
        now = still.copy()
        for part, box, percent in zip(parts, boxes, response[t] / 100, strict=True):
            now[box] += percent * part[box]
        data[..., t] = seen(now, t)
    base, *maps = (seen(m, volumes // 2) for m in (still, *maps))
    truth = {}
    for condition in CONDITIONS:
        summed = seen(sum(a * p for a, p in zip(REGIONS[f"{condition}_percent"], parts, strict=True)), volumes // 2)
        truth[condition] = np.where(base > 100, summed / np.maximum(base, 1), 0).astype(np.float32)
    shares = np.stack([seen(ndimage.gaussian_filter((regions == k).astype(np.float32), blur), volumes // 2)
                       for k in range(len(REGIONS))])
    truth["regions"] = np.where(shares.max(axis=0) >= 0.5, shares.argmax(axis=0) + 1, 0).astype(np.float32)
    maps = (base / 1000, *maps)
    noisy = data + noise(rng, *maps, volumes) + networks(rng, head, grid, maps[0], volumes)
    return np.abs(noisy).round().astype(np.int16), truth


def spheres(brain, template):
    """Number of the region at each voxel of the template, -1 for none; where two meet, the nearer centre counts."""
    at = np.indices(brain.shape).reshape(3, -1).T @ template[:3, :3].T + template[:3, 3]
    far = np.stack([np.linalg.norm(at - row[1:4], axis=1) - 1000 * (np.linalg.norm(at - row[1:4], axis=1) <= row[4])
                    for row in REGIONS.itertuples(index=False, name=None)])
    return np.where((far.min(axis=0) < 0) & brain.ravel(), far.argmin(axis=0), -1).reshape(brain.shape)


def responses(events, volumes):
    """(volumes, regions) % signal change: blocks convolved with Glover's response, later in some regions."""
    from nilearn.glm.first_level import compute_regressor

    times, long = TR_S * (np.arange(volumes) + 0.5), np.arange(0, 60, 0.1)
    height = compute_regressor(np.array([[0.0], [BLOCK_S], [1.0]]), "glover", long)[0].max()
    out = np.zeros((volumes, len(REGIONS)))
    for condition in CONDITIONS:
        mine = events[events["trial_type"] == condition]
        for delay, regions in REGIONS.groupby("delay_s"):
            parts = np.stack([mine["onset"] + delay, mine["duration"], np.ones(len(mine))])
            response = compute_regressor(parts, "glover", times)[0][:, 0] / height
            out[:, regions.index] += response[:, None] * regions[f"{condition}_percent"].to_numpy()
    return out


def _sample(values, template, head, grid, move, middle):
    """Values of the template as the moved head shows them on the grid of the acquisition."""
    turn = np.eye(4)
    turn[:3, :3] = motion.rotation(*move[["pitch_deg", "roll_deg", "yaw_deg"]])
    turn[:3, 3] = middle + move[["right_mm", "forward_mm", "up_mm"]].to_numpy(float) - turn[:3, :3] @ middle
    to_voxel = np.linalg.inv(turn @ head @ template) @ grid
    return ndimage.affine_transform(values, to_voxel[:3, :3], to_voxel[:3, 3], SHAPE, np.float32, order=1)


def noise(rng, values, grey, liquid, brain, volumes):
    """What is not signal: thermal, slow and smooth in space (AR(1)), drift, breathing, pulse, global."""
    times = TR_S * np.arange(volumes)
    out = rng.normal(0, 7.0, (*SHAPE, volumes)).astype(np.float32)  # thermal, the same everywhere
    level = 1000 * values * brain
    state, weight = None, level * (0.4 + 0.6 * grey + 0.4 * liquid)
    slow = [_field(rng, 9.0) for _ in range(3)]
    waves = [np.cos(np.pi * (k + 1) * (times + 1) / times[-1]) for k in range(3)]
    # phases at each volume; both rates wander by some percent, which spreads what is aliased into slow frequencies
    breathing, pulse = (np.cumsum(rng.normal(2 * np.pi * hz * TR_S, wander, volumes))
                        for hz, wander in ((0.28, 0.35), (1.05, 0.7)))
    chest, vessels = 0.3 + _field(rng, 12.0), np.abs(_field(rng, 1.5)) * (0.2 + liquid)
    shared = np.convolve(rng.normal(size=volumes + 2), [0.4, 0.8, 0.4], "valid")
    for t in range(volumes):
        fresh = _field(rng, 0.7)
        state = fresh if state is None else 0.35 * state + np.sqrt(1 - 0.35**2) * fresh
        out[..., t] += 0.008 * weight * state + 0.0008 * level * shared[t]
        out[..., t] += level * sum(0.006 * s * w[t] for s, w in zip(slow, waves, strict=True))
        out[..., t] += level * (0.0025 * chest * np.sin(breathing[t]) + 0.006 * vessels * np.sin(pulse[t]))
    return out


def networks(rng, head, grid, values, volumes, radius_mm=9.0, size=0.0035):
    """Slow fluctuations that the places of a network (Dosenbach 2010) share, in the grey values of the run."""
    places, names = mni.network_places()
    points = mni.transform(np.indices(SHAPE).reshape(3, -1).T, np.linalg.inv(head) @ grid)
    out = np.zeros((*SHAPE, volumes), np.float32)
    for name in dict.fromkeys(names):
        mine = places[np.array(names) == name]
        near = (cKDTree(mine).query(points, distance_upper_bound=radius_mm)[0] < radius_mm).reshape(SHAPE)
        wave = signal.lfilter([1.0], [1.0, -0.5], rng.normal(size=volumes))  # AR(1)
        out[near] += (1000 * values[near])[:, None] * size * (wave / wave.std()).astype(np.float32)
    return out


def _field(rng, width):
    """A smooth random field of unit deviation; width: sigma in voxels."""
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), width)
    return field / field.std()


def truth(folder, conditions):
    """What a simulation knows: effects (condition, ``regions`` -> map RAS+), motion, mni_to_native; {} without one."""
    files = {c: folder / f"{c}.nii.gz" for c in [*conditions, "regions"]}
    if not all(file.is_file() for file in files.values()):
        return {}
    effects = {c: np.asarray(nib.as_closest_canonical(nib.load(file)).dataobj) for c, file in files.items()}
    return {"effects": effects, "motion": pd.read_csv(folder / "motion.csv"),
            "mni_to_native": pd.read_csv(folder / "mni_to_native.csv", header=None).to_numpy()}


def against_truth(declared, effect, regions, inside, affine, smoothing_mm, null_percent=0.02):
    """Recall of the active voxels and share of false discoveries of a declared map.

    Parameters
    ----------
    declared, inside : (x, y, z) bool; effect : (x, y, z) true % signal change of the contrast
    regions : (x, y, z), above 0 where a region fills at least half of the voxel: active, if it has an effect
    smoothing_mm : of the analysed data: a voxel is null where the truth smoothed alike is below `null_percent`

    Returns
    -------
    dict: recall, false (declared null voxels / declared), strict (the same, null before smoothing), active, declared
    """
    from nilearn.image import smooth_img

    reached = np.abs(np.asarray(smooth_img(nib.Nifti1Image(np.abs(effect).astype(np.float32), affine),
                                           smoothing_mm or None).dataobj))
    active, declared = (regions > 0) & (np.abs(effect) >= 0.1) & inside, declared & inside
    n = max(1, int(declared.sum()))
    return {"recall": float(declared[active].mean()) if active.any() else np.nan,
            "false": float((declared & (reached < null_percent)).sum() / n),
            "strict": float((declared & (np.abs(effect) < null_percent)).sum() / n),
            "active": int(active.sum()), "declared": int(declared.sum())}


def place_errors(truth, parameters, reference, native_to_mni, inside, affine, drop=0):
    """How far the motion and the places in MNI are from the truth.

    Parameters
    ----------
    truth : as `truth` returns it; parameters : DataFrame of `fmri.motion.realign` onto the volume ``reference``
    native_to_mni : (4, 4); inside : (x, y, z) bool, the brain; affine : of its voxels; drop : volumes left out

    Returns
    -------
    dict: translation_rms_mm, rotation_rms_deg, mni_error_mm
    """
    from medlab.fmri.mni import transform

    moved = truth["motion"].iloc[drop:].reset_index(drop=True)
    error = (parameters - (moved - moved.iloc[reference])).to_numpy()
    points = transform(np.argwhere(inside), affine)
    there = transform(points, native_to_mni)
    off = np.linalg.norm(transform(there, truth["mni_to_native"]) - points, axis=1)
    return {"translation_rms_mm": np.sqrt((error[:, :3] ** 2).mean()),
            "rotation_rms_deg": np.sqrt((error[:, 3:] ** 2).mean()), "mni_error_mm": off.mean()}
