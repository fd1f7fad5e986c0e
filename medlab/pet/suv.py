"""Standardised uptake values of PET images from what the cohort says of dose, decay and body.

An image keeps its activity concentration (Bq/ml) and the cohort the numbers that the DICOM headers held
(`headers.numbers`), so that a wrong weight or dose is corrected in ``cohort.csv`` and not in the pixels. NIfTI with
the same columns works as well. What cannot be trusted is refused with the missing tag and the next step.

The formulas: SUV = concentration * weight / dose left at the time the concentration refers to (1 ml of tissue weighs 1
g). Lean body mass: James 1976 as PERCIST 1.0 (Wahl, J Nucl Med 2009), or Janmahasatian (Clin Pharmacokinet 2005), which
EANM's guideline 2.0 asks for (Boellaard, Eur J Nucl Med Mol Imaging 2015) because James falls again in obesity. Body
surface: Du Bois and Du Bois 1916.
"""

import numpy as np
import pandas as pd

from medlab.pet.headers import HALF_LIVES

SMALLEST_DOSE_BQ = 1e6  # a person gets 1e7 to 3e9; a number below is in another unit
LARGEST_DOSE_BQ = 2e10
DOSE_UNITS = {"MBq": 1e6, "kBq": 1e3, "mCi": 3.7e7}
LEAN = ("janmahasatian", "james")
TAGS = {"injected_dose_bq": "RadionuclideTotalDose (0018,1074)", "half_life_s": "RadionuclideHalfLife (0018,1075)",
        "weight_kg": "PatientWeight (0010,1030)", "height_cm": "PatientSize (0010,1020)",
        "sex": "PatientSex (0010,0040), male or female", "decay_time_s":
        "the time from injection to scan: RadiopharmaceuticalStartTime (0018,1072), or of tracers above 3 h "
        "RadiopharmaceuticalStartDateTime (0018,1078), SeriesTime (0008,0031), DecayCorrection (0054,1102)"}
COLUMNS = ("pet_units", "suv_type", "decay_correction", "injected_dose_bq", "half_life_s", "uptake_time_s",
           "decay_time_s", "weight_kg", "height_cm", "sex", "philips_suv", "philips_bqml", "attenuation_corrected")


def factor(row, small_doses="refuse", lean="janmahasatian", intensity=None) -> tuple[float, str]:
    """What a pixel value is multiplied by to become SUVbw (g/ml), and how it was found.

    Parameters
    ----------
    row : mapping
        `COLUMNS` of one image. Without ``pet_units`` the pixels are Bq/ml; without ``decay_time_s`` they are taken as
        corrected to the start of the scan, ``uptake_time_s`` after the injection. Without ``attenuation_corrected``
        they are taken as corrected for attenuation (`remarks` says so).
    small_doses : {"refuse", "MBq", "kBq", "mCi"}
        What a dose below 1 MBq is: many files say 370 for 370 MBq where DICOM asks for Bq.
    lean : {"janmahasatian", "james"}
        Behind a unit that is lean-body SUV already without saying by which formula.
    intensity : str, optional
        "SUV" where the card says that the pixels are SUVbw already.

    Returns
    -------
    float, str

    Raises
    ------
    ValueError
        Naming what is missing and the next step.
    """
    if attenuation_corrected(row) is False:
        raise ValueError("no SUV: not corrected for attenuation (CorrectedImage (0028,0051) without ATTN); take the "
                         "corrected series, or set attenuation_corrected to true in cohort.csv if the tag is wrong")
    units = _text(row, "pet_units") or ("GML" if intensity == "SUV" else "BQML")
    if units == "GML":
        return _from_gml(row, lean)
    if units == "CM2ML":
        return 1000 * need(row, "weight_kg") / (1e4 * body_surface(row)), "pixels are SUVbsa: times weight / surface"
    scale, how = {"BQML": (1.0, ""), "KBQML": (1000.0, ""), "CNTS": (None, "")}.get(units, (None, ""))
    if units == "CNTS":
        if _number(row, "philips_suv"):
            return _number(row, "philips_suv"), "counts times Philips' SUV factor (7053,1000)"
        scale, how = _number(row, "philips_bqml"), "counts times Philips' activity factor (7053,1009), "
    if scale is None:
        raise ValueError(f"no SUV: Units (0054,1001) are {units}" + (
            " and Philips' private factor (7053,1000) or (7053,1009) is missing: reconstruct in BQML"
            if units == "CNTS" else ": expected BQML, CNTS of Philips, GML or CM2ML; set pet_units in cohort.csv"))
    dose, weight = left(row, small_doses), need(row, "weight_kg")
    return scale * 1000 * weight / dose, how + "weight / dose left"


def check(small_doses="refuse", formula="janmahasatian") -> None:
    """ValueError where one of the two choices is none."""
    if small_doses not in ("refuse", *DOSE_UNITS):
        raise ValueError(f"small doses {small_doses!r}: expected refuse, {', '.join(DOSE_UNITS)}")
    if formula not in LEAN:
        raise ValueError(f"lean body mass by {formula!r}: expected {' or '.join(LEAN)}")


def _from_gml(row, lean):
    kind = _text(row, "suv_type") or "BW"
    if kind == "BW":
        return 1.0, "the pixels are SUVbw already"
    if kind in ("LBM", "LBMJAMES128", "LBMJANMA"):
        formula = "janmahasatian" if kind == "LBMJANMA" else "james" if kind == "LBMJAMES128" else lean
        ratio = need(row, "weight_kg") / lean_mass(row, formula)
        return ratio, f"the pixels are SUL ({formula}): times weight / lean mass"
    raise ValueError(f"no SUV: SUVType (0054,1006) is {kind}, expected BW, LBM or LBMJANMA; reconstruct in BQML")


def left(row, small_doses="refuse") -> float:
    """Injected activity (Bq) that is left at the moment the pixels are corrected to."""
    half_life, seconds = need(row, "half_life_s"), _number(row, "decay_time_s", zero=True)
    if seconds is None and _text(row, "decay_correction") in (None, "START"):
        seconds = _number(row, "uptake_time_s", zero=True)
    if seconds is None and _text(row, "decay_correction") == "ADMIN":
        seconds = 0.0
    seconds = need(row, "decay_time_s") if seconds is None else seconds
    minutes = [n for n, s in HALF_LIVES.items() if abs(60 * half_life / s - 1) < 0.02]
    if minutes and not any(abs(half_life / s - 1) < 0.05 for s in HALF_LIVES.values()):
        raise ValueError(f"no SUV: {TAGS['half_life_s']} is {half_life:g}, which is {minutes[0]} in minutes; expected "
                         "seconds: correct half_life_s in cohort.csv")
    if seconds < 0 or seconds > 10 * half_life:
        raise ValueError(f"no SUV: {seconds:.0f} s of decay are {seconds / half_life:.1f} half-lives; expected 0 to "
                         "10: check the times of injection and scan, then correct decay_time_s in cohort.csv")
    return dose_bq(row, small_doses) * 2 ** (-seconds / half_life)


def dose_bq(row, small_doses="refuse") -> float:
    """Injected dose in Bq; a number too small to be Bq is refused, or taken in the unit that `small_doses` names."""
    check(small_doses)
    dose = need(row, "injected_dose_bq")
    if dose < SMALLEST_DOSE_BQ and small_doses != "refuse":
        dose *= DOSE_UNITS[small_doses]
    if not SMALLEST_DOSE_BQ <= dose <= LARGEST_DOSE_BQ:
        likely = next((u for u, f in DOSE_UNITS.items() if 1e7 <= dose * f <= 5e9), None)
        raise ValueError(f"no SUV: {TAGS['injected_dose_bq']} is {dose:g}, no dose of a person in Bq"
                         + (f" (perhaps {likely})" if likely else "") + "; correct injected_dose_bq in cohort.csv, or "
                         "say pet_small_doses: MBq")
    return dose


def lean_mass(row, formula="janmahasatian") -> float:
    """Lean body mass in kg from weight (kg), height (cm) and sex; see the module for the two formulas."""
    check(formula=formula)
    weight, height, sex = need(row, "weight_kg"), need(row, "height_cm"), _text(row, "sex")
    if sex not in ("MALE", "FEMALE", "M", "F"):
        raise ValueError(f"no SUL: {TAGS['sex']}, is missing; fill in sex in cohort.csv")
    male, index = sex[0] == "M", weight / (height / 100) ** 2
    if formula == "james":
        mass = 1.10 * weight - 128 * (weight / height) ** 2 if male else 1.07 * weight - 148 * (weight / height) ** 2
    else:
        mass = 9270 * weight / ((6680 + 216 * index) if male else (8780 + 244 * index))
    if not 0.2 * weight < mass <= weight:
        raise ValueError(f"no SUL: a lean mass of {mass:.0f} kg from {weight:g} kg and {height:g} cm ({formula}): "
                         "check weight_kg and height_cm in cohort.csv")
    return mass


def body_surface(row) -> float:
    """Body surface in m²: 0.007184 * kg^0.425 * cm^0.725 (Du Bois)."""
    return 0.007184 * need(row, "weight_kg") ** 0.425 * need(row, "height_cm") ** 0.725


def normalisations(row, lean="janmahasatian") -> tuple[dict[str, float], dict[str, str]]:
    """What SUVbw (g/ml) is multiplied by to become SUL (g/ml) or SUVbsa (cm²/ml); NaN where height or sex is missing.

    Returns
    -------
    dict name -> float, and dict name -> why not
    """
    ratios, why = {"SUVbw": 1.0}, {}
    for name, ratio in (("SUL", lambda: lean_mass(row, lean) / need(row, "weight_kg")),
                        ("SUVbsa", lambda: 10 * body_surface(row) / need(row, "weight_kg"))):
        try:
            ratios[name] = ratio()
        except ValueError as error:
            ratios[name], why[name] = np.nan, str(error).replace("no SUV", f"no {name}")
    return ratios, why


def share_in_view(total_suv_ml, row) -> float:
    """Activity in the field of view as a share of what is left of the dose; above 1 something is wrong.

    Parameters
    ----------
    total_suv_ml : sum of SUVbw times the volume of a voxel in ml
    """
    return float(total_suv_ml / (1000 * need(row, "weight_kg")))


def remarks(row, share=None) -> list[str]:
    """What a reader must know before believing the SUV of an image: list of str."""
    found, uptake = [], _number(row, "uptake_time_s", zero=True)
    if uptake is None:
        found.append("uptake time unknown")
    elif _number(row, "half_life_s") and abs(row["half_life_s"] / HALF_LIVES["F-18"] - 1) < 0.02 and not (
            55 <= uptake / 60 <= 75):
        found.append(f"uptake time {uptake / 60:.0f} min (EANM for FDG: 60, at most 55 to 75)")
    if _text(row, "decay_correction") is None and _text(row, "pet_units") in (None, "BQML", "KBQML"):
        found.append("decay correction not stated: taken as START")
    if _told(row, "attenuation_corrected") is None:
        found.append("attenuation correction not stated: taken as done")
    weight, height = _number(row, "weight_kg"), _number(row, "height_cm")
    if weight and not 20 <= weight <= 250:
        found.append(f"weight {weight:g} kg")
    if weight and height and not 12 <= weight / (height / 100) ** 2 <= 60:
        found.append(f"body mass index {weight / (height / 100) ** 2:.0f}")
    if share is not None and share > 1:
        found.append(f"{share:.1f} times the dose in the field of view: dose, weight, times or units are wrong")
    elif share is not None and share < 0.005:
        found.append(f"only {100 * share:.2g} % of the dose in the field of view: a small field, or a wrong unit")
    return found


def attenuation_corrected(row) -> bool | None:
    """True, False, or None where the cohort does not say."""
    text = _told(row, "attenuation_corrected")
    if text not in (None, "true", "false", "1", "0", "1.0", "0.0", "yes", "no"):
        raise ValueError(f"no SUV: attenuation_corrected is {text!r}, expected true, false or nothing; correct it in "
                         "cohort.csv")
    return None if text is None else text in ("true", "1", "1.0", "yes")


def need(row, column) -> float:
    """A number above 0 of a row; ValueError naming the DICOM tag and the column to fill in."""
    value = _number(row, column)
    if value is None and column == "height_cm" and _number(row, "height_m"):
        value = 100 * _number(row, "height_m")
    if value is None:
        raise ValueError(f"no SUV: {TAGS[column]} missing; fill in {column} in cohort.csv")
    return value


def _number(row, column, zero=False):
    value = pd.to_numeric(row.get(column), errors="coerce")
    good = value is not None and np.isfinite(value) and (value > 0 or (zero and value >= 0))
    return float(value) if good else None


def _told(row, column):
    """What a cell says, as text in small letters; None where it is empty."""
    value = row.get(column)
    return None if pd.isna(value) or not str(value).strip() else str(value).strip().lower()


def _text(row, column):
    value = row.get(column)
    return str(value).strip().upper() if isinstance(value, str) and value.strip() else None
