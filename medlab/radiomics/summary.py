"""What was measured, in words and by patient."""

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.radiomics import features


def in_words(table: pd.DataFrame, patients: pd.Series, who: str = "patients") -> str:
    """How many features of how many images there are, why some images have none, and which features have gaps.

    Parameters
    ----------
    table : as `features.table` gives it; patients : identifiers with the same index; who : the word for them
    """
    usable = table[table.notna().any(axis=1)]
    problems = ", ".join(f"{n} {why}" for why, n in table.attrs["problems"].items())
    said = [f"{table.shape[1]} features of {len(usable)} of {len(table)} images ({patients[usable.index].nunique()} "
            f"{who})." + (f" Without features: {problems}." if problems else "")]
    gaps = usable.isna().sum().sort_values(ascending=False)
    most = ", ".join(f"{vocabulary.labelled(name[len(features.PREFIX):])}: {n}"
                     for name, n in gaps[gaps > 0].head(3).items())
    said += [f"Undefined in some images (regions of one voxel, slice or grey level): {(gaps > 0).sum()} features, most "
             f"often {most}."] if most else []
    in_px = int(table.filter(regex=r"_px\d?$").notna().any(axis=1).sum())
    spacing = table.attrs["settings"]["spacing_mm"]
    if in_px and (in_px < len(usable) or spacing):
        said.append(f"{in_px} of these images have no known spacing: their lengths are in pixels, in columns of their "
                    "own" + (f", and they are not resampled to {spacing:g} mm." if spacing else "."))
    return "\n".join(said)


def listed(values: dict, axes: int) -> pd.DataFrame:
    """Features of one region for the page, with IBSI's permanent codes ("2-D": its shape features are for volumes).

    Parameters
    ----------
    values : as `compute` gives them; axes : of the image, 2 or 3
    """
    codes = {f"{family}_{name}": code for family, known in features.FAMILIES.items() for name, code in known.items()}
    one = pd.Series(values)
    found = one.index.str.replace(r"(_per)?_(mm|px)[23]?$", "", regex=True).map(codes)
    shown = pd.DataFrame({"value": one.map("{:.5g}".format), "IBSI": found}, index=one.index)
    if axes == 2:
        shown.loc[shown.index.str.startswith("morph_"), "IBSI"] = "2-D"
    return shown.fillna({"IBSI": ""})


def size_of(table: pd.DataFrame) -> str:
    """The feature that says how large a region is, in the unit that most images have."""
    return table.filter(regex="morph_(voxel_volume|pixel_area)").count().idxmax()


def by_patient(table, patients) -> pd.DataFrame:
    """One line of features per patient: those of the image in which the marked region is largest.

    Not a mean over images: features of one region belong together, and slices at the end of a lesion would blur
    them. Of equal sizes the first counts. Sizes in mm and in pixels cannot be compared: of a patient with both, the
    images in mm count.

    Parameters
    ----------
    table : as `features.table` gives it; patients : (n,) identifiers

    Returns
    -------
    DataFrame, index and columns as ``table``: every row carries the features of its patient.
    """
    kinds = tuple(f"{features.PREFIX}morph_{kind}" for kind in ("voxel_volume", "pixel_area"))
    sizes = [c for c in table if c.startswith(kinds)]
    who, size = pd.Series(np.asarray(patients), index=table.index), pd.Series(np.nan, index=table.index)
    for name in sorted(sizes, key=lambda name: "_mm" not in name):
        size = size.where(size.groupby(who).transform("count") > 0, table[name])
    best = size.fillna(-1.0).groupby(who).transform("idxmax")
    out = table.loc[best.to_numpy()].set_axis(table.index)
    out.attrs = table.attrs
    return out


def settings_in_words(table: pd.DataFrame, in_hu: bool) -> str:
    """How many features of how many images (of `table`), and the settings that are set, with their units."""
    said = ", ".join(f"{name} {value}" for name, value in table.attrs["settings"].items() if value)
    return (f"{table.shape[1]} features of {table.notna().any(axis=1).sum()} images. "
            f"Settings, in mm and {'HU' if in_hu else 'grey values as stored'}: {said}.")


def measured_in_words(table: pd.DataFrame) -> str:
    """What was measured in the masks, what not and why, and what that asks of a new patient."""
    lacking = ", ".join(f"{n} {why}" for why, n in table.attrs["problems"].items()) or "none"
    return (f"Radiomics were measured in the masks ({table.shape[1]} features; not measured: {lacking}). A new "
            "patient needs a mask drawn in the same way.")
