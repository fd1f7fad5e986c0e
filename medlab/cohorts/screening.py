"""Numbers that describe one image for screening, and the search for duplicate images among them."""

import hashlib

import numpy as np
import pandas as pd

from medlab.imaging import slices

SIDE = 32  # pixels of the thumbnail that confirms near-duplicates
SIDES = {"splits of the source": "split", "patients": "patient_id", "labels": "label"}  # of a group of duplicates
COLUMNS = ("problem", "depth", "height", "width", "channels", "spacing_mm", "minimum", "maximum", "mean", "sha",
           "phash", "thumbnail")


def measure(image) -> dict:
    """Describe one `dicom.Image`: sizes, intensity range, hashes and a 32 x 32 thumbnail (bytes).

    ``sha`` is taken over the decoded pixels, so that it does not depend on the file; ``phash`` is the 64-bit
    perceptual hash (DCT, http://www.hackerfactor.com/blog/?/archives/432) of the middle slice as hex.
    """
    import imagehash
    from PIL import Image

    pixels = np.ascontiguousarray(image.pixels)
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if finite.size == 0:
        return {"problem": "no finite pixel"}
    shape = (None,) * (4 - pixels.ndim) + pixels.shape
    slice_ = pixels
    while slice_.ndim > 3:
        slice_ = slice_[slices.middle(len(slice_))]
    grey = np.nan_to_num(slice_.mean(axis=-1, dtype=np.float64)).astype(np.float32)
    low, high = np.percentile(grey, (0.5, 99.5))
    if high <= low:
        low, high = grey.min(), max(grey.max(), grey.min() + 1)
    picture = Image.fromarray(np.clip((grey - low) / (high - low) * 255, 0, 255).astype(np.uint8))
    thumbnail = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(pixels.data)
    return {
        "problem": "blank" if finite.max() - finite.min() <= (2 if pixels.dtype == np.uint8 else 0) else None,
        "depth": shape[-4], "height": shape[-3], "width": shape[-2], "channels": shape[-1],
        "spacing_mm": " x ".join(f"{v:.6g}" for v in image.spacing_mm) if image.spacing_mm else None,
        "minimum": float(finite.min()), "maximum": float(finite.max()), "mean": float(finite.mean(dtype=np.float64)),
        "sha": digest.hexdigest(), "phash": str(imagehash.phash(picture)), "thumbnail": thumbnail.tobytes(),
    }


def duplicates(scan: pd.DataFrame, max_distance: int = 12, min_correlation: float = 0.94) -> pd.DataFrame:
    """Find identical and near-identical images in the table made by `datasets.scan`.

    ``exact``: the decoded pixels are the same. ``near``: the perceptual hashes differ in at most `max_distance`
    of 64 bits **and** the fine detail of the two thumbnails (after subtracting a Gaussian blur, and from 50 images on
    the mean detail of all, which is the frame they share) correlates by at least `min_correlation`. A copy
    with other brightness or compression passes, the next slice of the same volume does not. Groups are the
    connected components of such pairs.

    Returns
    -------
    DataFrame
        Columns ``row`` (index of the scan), ``group``, ``kind`` (``exact``: an identical twin exists in the
        group, else ``near``), ``exact_group`` (-1: none); only members of groups of two or more.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    usable = scan[scan["sha"].notna() & (scan["problem"] != "blank")] if "sha" in scan else scan.iloc[:0]
    n = len(usable)
    if n < 2:
        return pd.DataFrame({"row": [], "group": [], "kind": [], "exact_group": []})
    sha = pd.factorize(usable["sha"])[0]
    first = pd.Series(range(n)).groupby(sha).transform("first").to_numpy()
    pairs = [np.column_stack([first, np.arange(n)])]
    pairs += list(_near_pairs(usable, np.unique(first), max_distance, min_correlation))
    a, b = np.concatenate(pairs).T
    _, group = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)
    exact = np.bincount(sha)[sha] > 1
    found = pd.DataFrame({"row": usable.index, "group": group, "kind": np.where(exact, "exact", "near"),
                          "exact_group": np.where(exact, sha, -1)})
    found = found[found.groupby("group")["row"].transform("size") > 1].sort_values(["group", "row"])
    found["group"] = pd.factorize(found["group"])[0]
    identical = found["exact_group"] >= 0
    found.loc[identical, "exact_group"] = pd.factorize(found.loc[identical, "exact_group"])[0]
    return found.reset_index(drop=True)


def _near_pairs(usable, members, max_distance, min_correlation):
    """Yield index pairs whose hashes are close and whose fine detail agrees; `members` are unique images."""
    codes = np.array([int(h, 16) for h in usable["phash"].iloc[members]], dtype=np.uint64)
    detail = _fine_detail(usable["thumbnail"].iloc[members])
    size = pd.to_numeric(usable["depth"]).fillna(0).to_numpy()[members]
    for start in range(0, len(members), 256):
        block = slice(start, start + 256)
        near = np.bitwise_count(codes[block, None] ^ codes[None, start:]) <= max_distance
        i, j = np.nonzero(near)
        i, j = i + start, j + start
        keep = (i < j) & (size[i] == size[j])
        for part in np.array_split(np.column_stack([i[keep], j[keep]]), 1 + keep.sum() // 20_000):
            same = (detail[part[:, 0]] * detail[part[:, 1]]).sum(axis=1) >= min_correlation
            yield members[part[same]]


def _fine_detail(thumbnails):
    """High-pass part of the thumbnails, each with mean 0 and norm 1 (0 where there is no detail), (n, 1024)."""
    from scipy.ndimage import gaussian_filter

    pixels = np.stack([np.frombuffer(t, np.uint8) for t in thumbnails]).reshape(-1, SIDE, SIDE).astype(np.float32)
    detail = (pixels - gaussian_filter(pixels, (0, 1.5, 1.5))).reshape(len(pixels), -1)
    flat = np.linalg.norm(detail, axis=1) < SIDE / 2
    detail /= np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-6)
    detail -= detail.mean(axis=0) if len(detail) >= 50 else detail.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(detail, axis=1, keepdims=True)
    return np.divide(detail, norm, out=np.zeros_like(detail), where=(norm > 1e-3) & ~flat[:, None])


def label_conflicts(dataset, found) -> pd.DataFrame:
    """Groups of duplicates (`duplicates`) whose members carry different labels: group, labels, rows."""
    if "label" not in dataset.cohort or found.empty:
        return pd.DataFrame(columns=["group", "labels", "rows"])
    table = found.assign(label=dataset.cohort["label"].reindex(found["row"]).to_numpy())
    table = table.groupby("group").agg(labels=("label", lambda s: sorted(s.dropna().unique())), rows=("row", list))
    return table[table["labels"].map(len) > 1].reset_index()


def straddling(dataset, found, kind=None) -> list[list[int]]:
    """Groups of duplicates with members in more than one split of the source; ``kind="exact"`` for identical."""
    if "split" not in dataset.cohort or found.empty:
        return []
    table = found.assign(split=dataset.cohort["split"].reindex(found["row"]).to_numpy())
    column = "group"
    if kind == "exact":
        table, column = table[table["exact_group"] >= 0], "exact_group"
    return [list(g["row"]) for _, g in table.groupby(column) if g["split"].nunique() > 1]


def joined(cohort: pd.DataFrame, scan: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Cohort with what was measured of each image and its group of duplicates, as ``cohort.parquet`` holds it.

    Parameters
    ----------
    scan : of `datasets.scan`, empty where there are no images
    found : of `duplicates`

    Returns
    -------
    DataFrame
        Further columns ``row``, those of the scan, ``duplicate_group`` (-1: none), ``duplicate_kind``.
    """
    measured = {"problem": None, "depth": None}
    if len(scan):
        measured = dict(scan.drop(columns="thumbnail").assign(depth=pd.to_numeric(scan["depth"])))
    cohort = cohort.assign(row=cohort.index, **measured, duplicate_group=-1)
    found = found.set_index("row")
    cohort.loc[found.index, "duplicate_group"] = found["group"].astype(int)
    return cohort.assign(duplicate_kind=found["kind"].reindex(cohort.index))


def _groups(cohort):
    return cohort[cohort["duplicate_group"] >= 0].groupby("duplicate_group")


def count_groups(cohort: pd.DataFrame, patients_known: bool = True) -> dict:
    """Groups of duplicates in a table made by `joined`.

    Returns
    -------
    dict
        ``groups``, ``exact`` (with identical images), ``across`` (name of `SIDES` -> groups with members on several).
    """
    groups = _groups(cohort)
    across = {name: int((groups[column].nunique(dropna=False) > 1).sum()) for name, column in SIDES.items()
              if column in cohort and (column != "patient_id" or patients_known)}
    exact = groups["duplicate_kind"].apply(lambda kinds: (kinds == "exact").any())
    return {"groups": groups.ngroups, "exact": int(exact.sum()), "across": across}


def groups_in_words(counted: dict, n_identical: int = 0) -> list[str]:
    """Sentences about duplicates, empty if there are none.

    Parameters
    ----------
    counted : of `count_groups`
    n_identical : groups with identical images in several splits of the source (`straddling`)
    """
    if not counted["groups"]:
        return []
    across, leaks = counted["across"], counted["across"].get("splits of the source")
    said = [f"Groups of identical or near-identical images: {counted['groups']} ({counted['exact']} with identical "
            "ones); across " + ", ".join(f"{name} {n}" for name, n in across.items()) + "."]
    return said + [f"A leak: {leaks} groups lie in more than one split of the source, {n_identical} of them with "
                   "identical images on both sides."] * bool(leaks)


def pairs_to_see(cohort: pd.DataFrame, most: int = 10) -> list[pd.DataFrame]:
    """Two rows of each group of duplicates, from different splits, patients or labels where there are.

    Groups across splits, then labels, then patients come first.
    """
    def urgent(group):
        return tuple(-group[c].nunique(dropna=False) for c in ("split", "label", "patient_id") if c in group)

    found = []
    for group in sorted((g for _, g in _groups(cohort)), key=urgent)[:most]:
        side = next((c for c in SIDES.values() if c in group and group[c].nunique() > 1), "row")
        found.append(group.drop_duplicates(side).head(2))
    return found
