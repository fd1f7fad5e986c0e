"""The PET scans of a dataset: which become SUV and why not, how they are read, the anatomy beside them, the truth."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import ndimage

from medlab.cohorts import datasets
from medlab.pet import suv

VISITS = ("study", "session", "visit", "timepoint", "study_date", "scan_date", "date")  # columns that tell scans apart
REFERENCES = ("reference", "liver", "cerebellum", "cerebellar grey", "pons", "blood pool", "aorta")


def rows_of(dataset, modality="PT"):
    """Rows of the cohort with images of one modality (column ``modality``, else that of the card)."""
    cohort = dataset.cohort[dataset.cohort["image"].notna()]
    kinds = cohort["modality"] if "modality" in cohort else pd.Series(dataset.card.get("modality"), cohort.index)
    return cohort[kinds.astype(str).str.upper() == modality]


def scans(dataset, small_doses="refuse", lean="janmahasatian"):
    """What each PET scan says of its dose and body, the factor to SUVbw, and why there is none.

    Returns
    -------
    DataFrame indexed by cohort row, the studies of a patient in their order: scan (patient, and number where a patient
    has several), patient_id, study (the first of the columns `VISITS`; without any, all scans of a patient are of study
    1; NaN: not known), label, units, decay_correction, dose_mbq, half_life_min, uptake_min, decay_min, weight_kg,
    height_cm, sex, attenuation_corrected, factor (NaN: refused), how, refused (the reason, else ""), SUL and SUVbsa
    (per SUVbw; NaN where height or sex is missing), remarks.
    """
    suv.check(small_doses, lean)
    chosen = rows_of(dataset)
    visit = next((c for c in VISITS if c in chosen), None)
    chosen = chosen.sort_values(["patient_id", visit] if visit else ["patient_id"], kind="stable")
    if not len(chosen):
        raise ValueError("no PET image in the cohort: expected modality PT in the card or in a column 'modality'")
    several = chosen["patient_id"].duplicated(keep=False)
    number = chosen.groupby("patient_id").cumcount() + 1
    rows = [_scan(dataset, row, small_doses, lean) for row in chosen.to_dict("records")]
    table = pd.DataFrame(rows, index=chosen.index)
    table.insert(1, "study", chosen[visit] if visit else 1)
    name = chosen["patient_id"].astype(str)
    table.insert(0, "scan", name.where(~several, name + " #" + number.astype(str)))
    return table


def _scan(dataset, row, small_doses, lean):
    numbers = {name: pd.to_numeric(row.get(name), errors="coerce") for name in suv.COLUMNS}
    told = {"patient_id": row["patient_id"], "label": row.get("label"), "units": row.get("pet_units"),
            "decay_correction": row.get("decay_correction"), "dose_mbq": numbers["injected_dose_bq"],
            "half_life_min": numbers["half_life_s"], "uptake_min": numbers["uptake_time_s"],
            "decay_min": numbers["decay_time_s"]}
    told |= {k: told[k] / 60 if told[k] is not None else np.nan for k in ("half_life_min", "uptake_min", "decay_min")}
    told["dose_mbq"] = told["dose_mbq"] / 1e6 if told["dose_mbq"] is not None else np.nan
    told |= {k: row.get(k) for k in ("weight_kg", "height_cm", "sex", "attenuation_corrected")}
    try:
        factor, how = suv.factor(row, small_doses, lean, dataset.card.get("intensity"))
        refused = ""
    except ValueError as error:
        factor, how, refused = np.nan, "", str(error)
    ratios, why = suv.normalisations(row, lean)
    said = suv.remarks(row) + ([] if refused else list(why.values()))
    return told | {"factor": factor, "how": how, "refused": refused, "SUL": ratios["SUL"],
                   "SUVbsa": ratios["SUVbsa"], "remarks": "; ".join(said)}


def read(dataset, index, factor):
    """The image of a cohort row as (d, h, w) float32 SUVbw in an `dicom.Image`.

    Raises
    ------
    ValueError
        For a picture of two dimensions, or one whose spacing is unknown.
    """
    image = datasets.read(dataset, dataset.cohort.loc[index])
    if image.pixels.ndim != 4 or image.spacing_mm is None:
        raise ValueError(f"{dataset.cohort.at[index, 'image']}: {image.pixels.shape} pixels, spacing "
                         f"{image.spacing_mm}; expected a volume of known spacing; add spacing_mm to cohort.csv")
    pixels = np.nan_to_num(image.pixels[..., 0].astype(np.float32) * np.float32(factor))
    return replace(image, pixels=pixels, intensity="SUV")


def reference(dataset, index, image, named="auto"):
    """Mask of the reference region and how it was found; None where there is none.

    Parameters
    ----------
    named : "auto" (a class of the masks called like one of `REFERENCES`), the name of a class, or "x, y, z, radius" in
        mm (LPS) for images that lie in one space; "none".
    """
    from medlab.pet import uptake_maps

    numbers = [pd.to_numeric(word, errors="coerce") for word in str(named).split(",")]
    if len(numbers) == 4 and np.isfinite(numbers).all():
        if image.affine is None:
            raise ValueError(f"pet_reference {named!r}: the position of the image in space is unknown; name a mask")
        return uptake_maps.ball(image.pixels.shape, image.spacing_mm, image.affine, numbers[:3], numbers[3]), \
            f"a ball of {numbers[3]:g} mm"
    classes = datasets.mask_classes(dataset) if "mask" in dataset.cohort else []
    wanted = REFERENCES if named == "auto" else (named,)
    found = next((name for name in wanted if name in classes), None)
    if found is None and named not in ("auto", "none"):
        raise ValueError(f"pet_reference {named!r}: expected auto, none, 'x, y, z, radius' in mm, or a class of the "
                         f"masks: {', '.join(classes) or 'there are none'}")
    if found is None or not isinstance(dataset.cohort.at[index, "mask"], str):
        return None, "no reference region"
    labels = datasets.read_labels(dataset, dataset.cohort.loc[index])
    return labels == classes.index(found) + 1, f"the mask '{found}'"


def anatomy(dataset, index, image):
    """The CT of the same patient (and study) on the grid of a PET image, HU; None where there is none."""
    row = dataset.cohort.loc[index]
    found = rows_of(dataset, "CT")
    found = found[found["patient_id"] == row["patient_id"]]
    found = found[found["study"] == row["study"]] if "study" in found else found
    if not len(found) or image.affine is None:
        return None
    other = datasets.read(dataset, found.iloc[0])
    if other.affine is None or other.pixels.ndim != 4:
        return None
    to_index = np.linalg.solve(other.affine, image.affine)
    return ndimage.affine_transform(other.pixels[..., 0].astype(np.float32), to_index[:3, :3], to_index[:3, 3],
                                    image.pixels.shape, order=1, cval=-1000)


def match(spots, truth, within_mm=10.0):
    """Hot spots beside the known lesions, of all scans: both tables with ``scan`` and x_mm, y_mm, z_mm.

    Each lesion takes the nearest spot that is left, at most ``within_mm`` (or its radius) away.

    Returns
    -------
    DataFrame: the rows of ``truth`` with ``spot`` (row of ``spots``, -1: missed); list of the rows of spots left over.
    """
    places, left = ["x_mm", "y_mm", "z_mm"], {s: g for s, g in spots.groupby("scan")}
    taken, found = set(), []
    for lesion in truth.itertuples():
        near = left.get(lesion.scan, spots.iloc[:0])
        near = near[~near.index.isin(taken)]
        away = np.linalg.norm(near[places].to_numpy(float) - [getattr(lesion, p) for p in places], axis=1)
        good = len(away) and away.min() <= max(within_mm, lesion.diameter_mm / 2)
        found.append(int(near.index[np.argmin(away)]) if good else -1)
        taken |= {found[-1]} if good else set()
    return truth.assign(spot=found), [i for i in spots.index if i not in taken]


def total(spots, column, by, index):
    """Sum of a column over the hot spots of each patient (or scan).

    Parameters
    ----------
    spots : DataFrame of `uptake.hot_spots` with a column ``by``; index : all patients, those without a hot spot too

    Returns
    -------
    Series: 0 without a hot spot, NaN where one of them has no value (its contour leaks): the sum would be too small
    """
    sums = spots.groupby(by)[column].agg(lambda values: values.sum(skipna=False))
    return sums.astype(float).reindex(index, fill_value=0.0)


def one_per_study(used):
    """One scan of each study of a patient: of several the one with the largest field of view, of equal ones the first.

    Series of one study (other reconstructions, a bed of its own) are no repeats of each other. Scans whose study is not
    known count as one study.

    Parameters
    ----------
    used : DataFrame of `scans` with a SUV, with ``field_l``, the volume of the image in litres

    Returns
    -------
    DataFrame of some of these rows, in the same order: the first of each patient is that of the earliest study
    """
    largest = used.sort_values("field_l", ascending=False, kind="stable")
    kept = largest.index[~largest.duplicated(["patient_id", "study"])]
    return used.loc[used.index.isin(kept)]


def repeats(used, spots):
    """The hot spots of the first study of each patient beside those of the second at the same place.

    Parameters
    ----------
    used : DataFrame of `scans` with a SUV and ``field_l``; of each study `one_per_study` counts
    spots : hot spots of all of them, with ``row`` of the cohort

    Returns
    -------
    DataFrame: patient_id, suv_peak (first study), again (second), diameter_mm, a row per hot spot found in both.
    """
    columns = ["x_mm", "y_mm", "z_mm", "diameter_mm", "suv_peak"]
    pairs = [pd.DataFrame(columns=["patient_id", *columns, "again"])]
    known = one_per_study(used[used["study"].notna()])
    for patient, rows in known.groupby("patient_id").groups.items():
        if len(rows) < 2:
            continue
        before, after = (spots.loc[spots["row"] == i, columns].assign(scan="") for i in rows[:2])
        both, _ = match(after, before)
        both = both[both["spot"] >= 0]
        pairs.append(both.assign(patient_id=patient, again=spots.loc[both["spot"], "suv_peak"].to_numpy()))
    return pd.concat([p for p in pairs if len(p)] or pairs, ignore_index=True)
