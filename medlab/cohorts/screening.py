"""Numbers that describe one image for screening, and the search for duplicate images among them."""

import hashlib

import numpy as np
import pandas as pd

from medlab.cohorts import likeness
from medlab.imaging import slices
from medlab.statistics import keys

SMALL, LEAST_SMALL = 64, 0.9  # pixels below which an image holds so little detail that more of it has to agree
SIDES = {"splits of the source": "split", "patients": "patient_id", "labels": "label"}  # of a group of duplicates
COLUMNS = ("problem", "depth", "height", "width", "channels", "spacing_mm", "minimum", "maximum", "mean", "sha",
           "thumbnail")


def measure(image) -> dict:
    """Describe one `dicom.Image`: sizes, intensity range, hash and a thumbnail (bytes, `likeness.SIDE` squared).

    ``sha`` is taken over the decoded pixels, so that it does not depend on the file; the thumbnail is that of the
    middle slice.
    """
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
    by = Image.Resampling.BOX if min(picture.size) >= likeness.SIDE else Image.Resampling.BILINEAR
    thumbnail = picture.resize((likeness.SIDE, likeness.SIDE), by)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(pixels.data)
    return {
        "problem": "blank" if finite.max() - finite.min() <= (2 if pixels.dtype == np.uint8 else 0) else None,
        "depth": shape[-4], "height": shape[-3], "width": shape[-2], "channels": shape[-1],
        "spacing_mm": " x ".join(f"{v:.6g}" for v in image.spacing_mm) if image.spacing_mm else None,
        "minimum": float(finite.min()), "maximum": float(finite.max()), "mean": float(finite.mean(dtype=np.float64)),
        "sha": digest.hexdigest(), "thumbnail": thumbnail.tobytes(),
    }


def duplicates(scan: pd.DataFrame, least: float = 0.85) -> pd.DataFrame:
    """Find identical and near-identical images in the table made by `datasets.scan`.

    ``exact``: the decoded pixels are the same. ``near``: a copy that was compressed, cropped, shifted, mirrored,
    brightened, resized or turned by a few degrees, as `likeness.near_pairs` finds them in the middle slices. The next
    slice of a volume and the same organ of another patient are none.

    Parameters
    ----------
    least : likeness of near copies (`likeness.likeness`); 1: only identical pixels

    Returns
    -------
    DataFrame
        Columns ``row`` (index of the scan), ``group``, ``kind`` (``exact``: an identical twin exists in the
        group, else ``near``), ``exact_group`` (-1: none); only members of groups of two or more.
    """
    usable = scan[scan["sha"].notna() & (scan["problem"] != "blank")] if "sha" in scan else scan.iloc[:0]
    n = len(usable)
    if n < 2:
        return pd.DataFrame({"row": [], "group": [], "kind": [], "exact_group": []})
    sha = pd.factorize(usable["sha"])[0]
    first = pd.Series(range(n)).groupby(sha).transform("first").to_numpy()
    group = _near_groups(usable.iloc[np.unique(first)], least)[np.searchsorted(np.unique(first), first)]
    exact = np.bincount(sha)[sha] > 1
    found = pd.DataFrame({"row": usable.index, "group": group, "kind": np.where(exact, "exact", "near"),
                          "exact_group": np.where(exact, sha, -1)})
    found = found[found.groupby("group")["row"].transform("size") > 1].sort_values(["group", "row"])
    found["group"] = pd.factorize(found["group"])[0]
    identical = found["exact_group"] >= 0
    found.loc[identical, "exact_group"] = pd.factorize(found.loc[identical, "exact_group"])[0]
    return found.reset_index(drop=True)


def _near_groups(images, least):
    """Number of the group of near copies of each image (n,), itself the least."""
    if least >= 1:
        return np.arange(len(images))
    if images[["height", "width"]].astype(float).min(axis=1).median() < SMALL:
        least = max(least, LEAST_SMALL)
    depth = pd.to_numeric(images["depth"]).fillna(0).to_numpy()
    thumbnails = images["thumbnail"].tolist()
    return likeness.groups(thumbnails, *likeness.near_pairs(thumbnails, depth, least))


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
    found : of `duplicates`, or of `twins.merged` with the copied rows of the table

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
        ``groups``, ``exact`` (with identical images), ``rows`` (copied rows of the table, no images alike), ``across``
        (name of `SIDES` -> groups with members on several).
    """
    groups = _groups(cohort)
    across = {name: int((groups[column].nunique(dropna=False) > 1).sum()) for name, column in SIDES.items()
              if column in cohort and (column != "patient_id" or patients_known)}
    exact = groups["duplicate_kind"].apply(lambda kinds: (kinds == "exact").any())
    rows = groups["duplicate_kind"].apply(lambda kinds: (kinds == "row").all())
    return {"groups": groups.ngroups, "exact": int(exact.sum()), "rows": int(rows.sum()), "across": across}


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
    images, rows = counted["groups"] - counted["rows"], counted["rows"]
    kinds = [f"{images} of identical or near-identical images ({counted['exact']} with identical ones)"] * bool(images)
    kinds += [f"{rows} of equal rows of the table"] * bool(rows)
    said = [f"Groups of copies: {', '.join(kinds)}; across "
            + ", ".join(f"{name} {n}" for name, n in across.items()) + "."]
    found = keys.counted(leaks, "group lies", "groups lie") if leaks else ""
    identical = f", {n_identical} of them with identical images on both sides" if images else ""
    return said + [f"A leak: {found} in more than one split of the source{identical}."] * bool(leaks)


def groups_to_see(cohort: pd.DataFrame, most: int = 10) -> list[pd.DataFrame]:
    """Rows of groups with alike images, a table each; those across splits, then labels, then patients first."""
    def urgent(group):
        return tuple(-group[c].nunique(dropna=False) for c in ("split", "label", "patient_id") if c in group)

    found = [group for _, group in _groups(cohort) if not (group["duplicate_kind"] == "row").all()]
    return sorted(found, key=urgent)[:most]


def rows_to_see(cohort: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """Patients whose rows of the table are copies of each other, of so many groups; those across splits first."""
    found = _groups(cohort).filter(lambda group: (group["duplicate_kind"] == "row").all()).drop_duplicates("patient_id")
    sides = found.groupby("duplicate_group")["split"].transform("nunique") if "split" in found else 0
    found = found.assign(_sides=sides).sort_values(["_sides", "duplicate_group", "row"], ascending=[False, True, True])
    found = found[found["duplicate_group"].isin(found["duplicate_group"].unique()[:most])]
    bookkeeping = ["_sides", "duplicate_kind", "image", "problem", "depth", *COLUMNS]
    return found.drop(columns=bookkeeping, errors="ignore").set_index(["duplicate_group", "row"])
