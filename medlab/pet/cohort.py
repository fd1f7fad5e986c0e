"""The PET scans of a dataset: which become SUV and why not, how they are read, the anatomy beside them, the truth."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import ndimage

from medlab.cohorts import datasets
from medlab.imaging import dicom
from medlab.pet import suv, uptake, uptake_maps

VISITS = ("study", "session", "visit", "timepoint", "study_date", "scan_date", "date")  # columns that tell scans apart
NORMAL = {"auto": {"normal", "control", "healthy"}, "none": set()}  # labels of normal persons
FEWEST_NORMAL = 6  # so that each of them is compared with at least five others
REFERENCES = ("reference", "liver", "cerebellum", "cerebellar grey", "pons", "blood pool", "aorta")


def rows_of(dataset, modality="PT") -> pd.DataFrame:
    """Rows of the cohort with images of one modality (column ``modality``, else that of the card)."""
    cohort = dataset.cohort[dataset.cohort["image"].notna()]
    kinds = cohort["modality"] if "modality" in cohort else pd.Series(dataset.card.get("modality"), cohort.index)
    return cohort[kinds.astype(str).str.upper() == modality]


def scans(dataset, small_doses="refuse", lean="janmahasatian") -> pd.DataFrame:
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


def read(dataset, index, factor) -> dicom.Image:
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


def reference(dataset, index, image, named="auto") -> tuple[np.ndarray | None, str]:
    """Mask of the reference region and how it was found; None where there is none.

    Parameters
    ----------
    named : "auto" (a class of the masks called like one of `REFERENCES`), the name of a class, or "x, y, z, radius" in
        mm (LPS) for images that lie in one space; "none".
    """
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


def measure(dataset: datasets.Dataset, index: int, scan: pd.Series, threshold: str = "2.5", least_ml: float = 0.3,
            fwhm_mm: float = 0.0, named: str = "auto") -> dict:
    """All that is kept of one scan; its image is read once.

    Parameters
    ----------
    index, scan : cohort row, and its line of `scans` (with a factor)
    threshold : SUV from which a voxel is hot, or percist: 1.5 times the mean of the reference plus 2 of its SD
    least_ml, fwhm_mm : see `uptake.hot_spots`; named : the reference region, see `reference`

    Returns
    -------
    dict: projection (d, w) from the front; spots (`uptake.hot_spots`); map (`uptake_maps.smooth`) and grid, its affine;
    reference, reference_sd (SUV; NaN without), region (how it was found); threshold; total (SUV times ml of all
    voxels), hottest, field_l (litres); spacing, affine of the image
    """
    image = read(dataset, index, scan["factor"])
    values, spacing = image.pixels, image.spacing_mm
    region, how = reference(dataset, index, image, named)
    inside = values[region] if region is not None and values[region].sum() > 0 else np.array([np.nan])
    level = 1.5 * inside.mean() + 2 * inside.std() if threshold == "percist" else float(threshold)
    if not np.isfinite(level):
        raise ValueError(f"{scan['scan']}: pet_threshold percist needs a reference region; name one with pet_reference")
    return {"projection": values.max(axis=1), "map": uptake_maps.smooth(values, spacing),
            "spots": uptake.hot_spots(values, spacing, level, least_ml, image.affine, fwhm_mm),
            "reference": inside.mean(), "reference_sd": inside.std(), "region": how, "threshold": level,
            "total": float(values.sum(dtype=float) * np.prod(spacing) / 1000), "spacing": spacing,
            "affine": image.affine, "hottest": values.max(), "field_l": values.size * np.prod(spacing) / 1e6,
            "grid": uptake_maps.grid_affine(image.affine, values.shape, spacing)}


def with_measures(used: pd.DataFrame, found: dict, dataset: datasets.Dataset) -> pd.DataFrame:
    """The table of `scans` with what their images say: numbers of `measure`, share_in_view, and remarks about it.

    Parameters
    ----------
    used : rows of `scans` with a SUV; found : dict cohort row -> `measure`
    """
    keep = ["reference", "reference_sd", "threshold", "hottest", "field_l"]
    used = used.assign(**{name: [found[i][name] for i in used.index] for name in keep})
    used["share_in_view"] = [suv.share_in_view(found[i]["total"], dataset.cohort.loc[i])
                             if pd.notna(used.at[i, "weight_kg"]) else np.nan for i in used.index]
    said = [[*filter(None, used.at[i, "remarks"].split("; ")),
             *suv.remarks(dataset.cohort.loc[i], used.at[i, "share_in_view"])] for i in used.index]
    used["remarks"] = ["; ".join(dict.fromkeys(one)) for one in said]
    return used


def anatomy(dataset, index, image) -> np.ndarray | None:
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


def one_per_study(used) -> pd.DataFrame:
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


def series_in_words(scans: pd.DataFrame, used: pd.DataFrame, counted: pd.DataFrame,
                    baseline: pd.DataFrame) -> list[str]:
    """Which of several series or studies of a patient stand for it, as sentences.

    Parameters
    ----------
    scans : all; used : those with a SUV; counted : `one_per_study` of them; baseline : the first of each patient
    """
    further = used[~used.index.isin(counted.index)]
    said = ["No patient has several PET series of one study."]
    if len(further):
        said = [f"Patients with several PET series of one study: {further['patient_id'].nunique()}; not the ones that "
                f"count: {', '.join(further['scan'])}. Scans of different days? Say so in a column study (1, 2, ...) "
                "or scan_date of cohort.csv."]
    start = scans.drop_duplicates("patient_id").set_index("patient_id")["study"]
    later = baseline[baseline["study"].notna() & (baseline["study"] != baseline["patient_id"].map(start))]
    instead = [f"Of the first study no SUV, a later one counts: {', '.join(later['scan'])}."]
    return said + (instead if len(later) else [])


def in_detail(dataset: datasets.Dataset, used: pd.DataFrame, burden: pd.Series, asked: str = "auto") -> int:
    """Cohort row of the scan that is shown in detail: of the patient asked for, or with the most tracer in hot spots.

    Parameters
    ----------
    burden : TLG in g by cohort row, NaN unknown; where it is unknown for all the hottest voxel decides. Scans with a CT
        come first.
    """
    own = used.index[used["patient_id"] == asked]
    if asked != "auto" and not len(own):
        raise ValueError(f"pet_patient {asked!r}: no such patient with a SUV; expected one of "
                         f"{', '.join(sorted(set(used['patient_id'])))}")
    among = list(used.index[used["patient_id"].isin(rows_of(dataset, "CT")["patient_id"])]) or list(used.index)
    most = burden[among] if burden[among].notna().any() else used.loc[among, "hottest"]
    return own[0] if len(own) else most.idxmax()


def reference_in_words(used: pd.DataFrame) -> str:
    """How much the reference regions differ between scans and within one, or what to do without any."""
    level = used["reference"].dropna()
    if not len(level):
        return "No SUVR. Name a region with pet_reference: a class of the masks, or 'x, y, z, radius' in mm."
    return (f"Its SUVbw: mean {level.mean():.2f}, between scans {100 * level.std() / level.mean():.0f} %; "
            f"within a scan (noise) {100 * (used['reference_sd'] / used['reference']).mean():.0f} %.")


def normal_labels(asked: str = "auto") -> set[str]:
    """Labels, in small letters, of normal persons: auto, none, or the one that is named."""
    asked = asked.strip().lower()
    return NORMAL.get(asked, {asked})


def unusual(zs: dict, inside: np.ndarray, least: float, grid: np.ndarray | None, used: pd.DataFrame) -> pd.DataFrame:
    """Places beyond a z of all scans (`uptake_maps.clusters`), with row, scan, patient_id and normal.

    Parameters
    ----------
    zs : dict cohort row -> z map; inside, least, grid : where maps count, z, affine of the maps
    used : table of scans with a column ``normal``
    """
    parts = [uptake_maps.clusters(z, inside, least, grid).assign(row=i, **used.loc[i, ["scan", "patient_id", "normal"]])
             for i, z in zs.items()]
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
