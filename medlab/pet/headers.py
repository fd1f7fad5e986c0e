"""What a standardised uptake value needs, from the DICOM headers of one PET series: numbers, never a date or a time.

Times become seconds between the injection and the scan, so that a data set without headers still gives a SUV
(:mod:`pet.suv`). Which time is believed follows the vendor-neutral pseudo-code that QIBA published for SUV
(its "happy path" and its robust version); the attributes are those of DICOM PS3.3 C.8.9.1, .2 and .4.
"""

import re
from datetime import datetime, timedelta

import numpy as np

PHILIPS = "Philips PET Private Group"
HALF_LIVES = {"O-15": 122.24, "N-13": 597.9, "C-11": 1223.4, "Ga-68": 4057.7, "F-18": 6586.2, "Cu-64": 45724.0,
              "Zr-89": 282280.0, "I-124": 360800.0, "Rb-82": 75.45}  # seconds
LONG_LIVED_S = 10800.0  # above 3 hours more than 1/256 is left after a day: a scan on another day is possible


def numbers(headers) -> tuple[dict, list[str]]:
    """What the SUV needs of the series, as columns of a cohort.

    Parameters
    ----------
    headers : sequence of pydicom.Dataset
        Of all files of the series, without pixels, in any order (`dicom.dicom_header`).

    Returns
    -------
    columns : dict
        ``pet_units`` (BQML, CNTS, GML, ...), ``suv_type``, ``decay_correction`` (START, ADMIN, NONE),
        ``attenuation_corrected`` (bool; absent where the headers do not say it),
        ``injected_dose_bq`` (as the file says it), ``half_life_s``, ``uptake_time_s`` (from the injection to the start
        of the scan), ``decay_time_s`` (from the injection to the moment that the pixels are corrected to: what the
        dose has to decay before it is compared with them), ``weight_kg``, ``height_cm``, ``sex``, ``philips_suv``,
        ``philips_bqml``. What the headers do not say is absent.
    notes : list of str
        What is missing, contradictory or was decided, without dates.
    """
    first, notes = headers[0], []
    found = {"pet_units": _text(first, "Units"), "suv_type": _text(first, "SUVType"),
             "decay_correction": _text(first, "DecayCorrection")}
    items = first.get("RadiopharmaceuticalInformationSequence") or []
    info = items[0] if len(items) == 1 else {}
    if len(items) != 1:
        notes.append(f"no dose: {len(items)} items in RadiopharmaceuticalInformationSequence (0054,0016), expected 1")
    found["injected_dose_bq"] = _number(info, "RadionuclideTotalDose")
    found["half_life_s"] = _number(info, "RadionuclideHalfLife")
    found["weight_kg"], size = _number(first, "PatientWeight"), _number(first, "PatientSize")
    if size:  # PatientSize is in metres; some write centimetres
        found["height_cm"] = size if size > 3 else 100 * size
        notes += ["PatientSize taken as centimetres"] if size > 3 else []
    found["sex"] = _text(first, "PatientSex")
    found["philips_suv"], found["philips_bqml"] = (_philips(first, element) for element in (0x00, 0x09))
    for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife"):
        others = {_number((h.get("RadiopharmaceuticalInformationSequence") or [{}])[0], keyword) for h in headers}
        if len(others) > 1:
            notes.append(f"no dose: the slices differ in {keyword}")
            found["injected_dose_bq"] = None
    corrected = _corrections(headers)
    notes += [f"not corrected for {word}" for code, word in (("ATTN", "attenuation"), ("SCAT", "scatter"))
              if corrected is not None and code not in corrected]
    notes += ["attenuation correction not stated: CorrectedImage (0028,0051) missing"] if corrected is None else []
    found["attenuation_corrected"] = None if corrected is None else "ATTN" in corrected
    if found["decay_correction"] is None and corrected is not None and "DECY" not in corrected:
        found["decay_correction"] = "NONE"
    found["uptake_time_s"], found["decay_time_s"], said = times(headers, info, found)
    return {k: v for k, v in found.items() if v is not None}, notes + said


def _corrections(headers):
    """Codes of CorrectedImage that all slices with that tag have; None where none has it."""
    told = [{str(word).strip() for word in np.atleast_1d(h.CorrectedImage)} for h in headers if h.get("CorrectedImage")]
    return set.intersection(*told) if told else None


def of_series(modality, files) -> tuple[dict | None, list[str]]:
    """`numbers` of the files of a series; nothing where it is no PET."""
    from medlab.imaging import dicom

    return numbers([dicom.dicom_header(file) for file in files]) if modality == "PT" else (None, [])


def keep(cohort) -> None:
    """Turn the column ``_pet`` of dicts from `numbers` into columns of the cohort, in place.

    Height in centimetres takes the place of ``height_m``; a number of the headers wins over one that is there already.
    """
    if "_pet" not in cohort:
        return
    found = [cell if isinstance(cell, dict) else {} for cell in cohort.pop("_pet")]
    for name in dict.fromkeys(key for cell in found for key in cell):
        there = cohort[name] if name in cohort else [None] * len(cohort)
        cohort[name] = [cell.get(name, old) for cell, old in zip(found, there, strict=True)]
    if "height_cm" in cohort:
        cohort.drop(columns="height_m", errors="ignore", inplace=True)


def times(headers, info, found) -> tuple[float | None, float | None, list[str]]:
    """Seconds from the injection to the scan start and to the reference of the decay correction, and notes."""
    start, notes = scan_start(headers, found["half_life_s"])
    if start is None:
        return None, 0.0 if found["decay_correction"] == "ADMIN" else None, notes
    injected, more = injection(headers[0], info, start)
    notes = notes + more
    if injected is None:
        return None, 0.0 if found["decay_correction"] == "ADMIN" else None, notes
    uptake = (start - injected).total_seconds()
    if uptake < 0:
        return None, None, [*notes, f"no decay time: the injection lies {-uptake:.0f} s after the scan"]
    kind = found["decay_correction"]
    if kind == "NONE":
        late, reason = _uncorrected(headers, found["half_life_s"])
        return uptake, None if late is None else (late - injected).total_seconds(), notes + reason
    return uptake, {"START": uptake, "ADMIN": 0.0}.get(kind), notes


def scan_start(headers, half_life=None) -> tuple[datetime | None, list[str]]:
    """The moment that decay correction to START means, as a naive datetime in the clock of the file, and notes.

    Series date and time, unless they lie after the first acquisition (a post-processed series: its time is that of the
    processing); then GE's private scan date and time; then, from any image, its acquisition time, its Frame
    Reference Time and the moment of its average count rate; else the first acquisition.
    """
    first = headers[0]
    series = moment(first.get("SeriesDate"), first.get("SeriesTime"))
    taken = [t for t in (moment(h.get("AcquisitionDate"), h.get("AcquisitionTime")) for h in headers) if t]
    if series is not None and (not taken or series <= min(taken)):
        return series, [] if taken else ["no acquisition time: a post-processed series would not be noticed"]
    if not taken:
        return None, ["no scan time: SeriesDate and SeriesTime (0008,0021) (0008,0031) missing"]
    text = "the series time is later than the acquisition (post-processed): scan start from "
    ge = _ge_scan(first)
    if ge is not None:
        return ge, [text + "GE (0009,100d)"]
    back = [t for t in (_from_frame(h, half_life) for h in headers) if t]
    if back:
        return min(back), [text + "FrameReferenceTime (0054,1300)"]
    return min(taken), [text + "the first AcquisitionTime"]


def injection(first, info, start) -> tuple[datetime | None, list[str]]:
    """When the tracer was injected, in the clock of the file, and notes; None where tags are missing or disagree.

    RadiopharmaceuticalStartDateTime may carry an offset from UTC, and then counts only where the file says its own
    (TimezoneOffsetFromUTC); RadiopharmaceuticalStartTime has no date: the last such time before the scan is meant.
    Of a tracer of which much is left after a day (`LONG_LIVED_S`) it could be that of any day before: no time then.
    """
    notes, own = [], _zone(first.get("TimezoneOffsetFromUTC"))
    text = str(info.get("RadiopharmaceuticalStartDateTime") or "")
    dated, zone = moment(text[:8], re.split("[+-]", text[8:])[0]), _zone(re.sub("^[^+-]*", "", text))
    clock = moment(start.strftime("%Y%m%d"), info.get("RadiopharmaceuticalStartTime"))
    if clock is not None and clock > start:
        clock -= timedelta(days=1)
        notes.append("injected before midnight")
    if dated is not None and zone is not None and own is not None:
        dated += own - zone
    elif dated is not None and zone is not None:
        notes.append("the injection carries an offset from UTC, the scan none: " +
                     ("RadiopharmaceuticalStartTime taken" if clock else "offset ignored"))
        dated = None if clock else dated
    if dated is not None and clock is not None:
        apart = (dated - clock).total_seconds() % 86400
        apart = min(apart, 86400 - apart)
        if apart > 60:
            return None, [*notes, f"no decay time: RadiopharmaceuticalStartDateTime and -StartTime are {apart:.0f} s "
                          "apart (time zone or summer time?)"]
    if dated is None and clock is None:
        return None, [*notes, "no decay time: RadiopharmaceuticalStartTime (0018,1072) missing"]
    half_life = _number(info, "RadionuclideHalfLife")
    if dated is None and half_life and half_life > LONG_LIVED_S:
        notes = [note for note in notes if note != "injected before midnight"]
        return None, [*notes, "no decay time: the date of the injection is not stated in the clock of the scan, and "
                      f"with a half-life of {half_life / 3600:.1f} h it could be another day; fill in decay_time_s"]
    return dated or clock, notes


def moment(date, time) -> datetime | None:
    """Datetime of DICOM date and time, None where one is missing or not legal.

    Examples
    --------
    >>> moment("20240229", "0815"), moment("2024.02.29", "08:15:00.5"), moment("20230229", "0815")
    (datetime.datetime(2024, 2, 29, 8, 15), datetime.datetime(2024, 2, 29, 8, 15, 0, 500000), None)
    """
    date, time = str(date or "").strip().replace(".", ""), str(time or "").strip().replace(":", "")
    whole, _, part = time.partition(".")
    if not re.fullmatch(r"\d{8}", date) or not re.fullmatch(r"\d{2}|\d{4}|\d{6}", whole):
        return None
    try:
        return datetime.strptime(date + whole.ljust(6, "0") + (part or "0")[:6].ljust(6, "0"), "%Y%m%d%H%M%S%f")
    except ValueError:
        return None


def average_count_rate(duration_s, half_life_s) -> float:
    """Seconds from the start of a frame to the moment at which the decaying tracer has its average rate."""
    constant = np.log(2) / half_life_s
    return float(np.log(constant * duration_s / -np.expm1(-constant * duration_s)) / constant)


def _from_frame(header, half_life):
    """Scan start back from a frame: FrameReferenceTime runs (ms) from the start to the average count rate."""
    taken = moment(header.get("AcquisitionDate"), header.get("AcquisitionTime"))
    reference, duration = _number(header, "FrameReferenceTime"), _number(header, "ActualFrameDuration")
    if not (taken and reference and duration and half_life):
        return None
    return taken + timedelta(seconds=average_count_rate(duration / 1000, half_life) - reference / 1000)


def _uncorrected(headers, half_life):
    """Moment to which pixels without decay correction refer: the average count rate of their one frame."""
    frames = {(moment(h.get("AcquisitionDate"), h.get("AcquisitionTime")), _number(h, "ActualFrameDuration"))
              for h in headers}
    (taken, duration), *others = frames
    if others or not (taken and duration and half_life):
        return None, ["no decay time: not corrected for decay, and the slices were not all taken in one frame of a "
                      "known duration: reconstruct with decay correction"]
    return taken + timedelta(seconds=average_count_rate(duration / 1000, half_life)), []


def _ge_scan(header):
    try:
        text = header.private_block(0x0009, "GEMS_PETD_01")[0x0D].value
        text = text.decode("ascii") if isinstance(text, bytes) else str(text)
    except (KeyError, UnicodeDecodeError):
        return None
    text = re.split("[+-]", text.strip("\0 "))[0]
    return moment(text[:8], text[8:])


def _philips(header, element):
    """Factor of the Philips private group, None where absent or 0."""
    try:
        value = header.private_block(0x7053, PHILIPS)[element].value
        value = float(value.decode("ascii").strip("\0 ") if isinstance(value, bytes) else value)
    except (KeyError, ValueError, TypeError, UnicodeDecodeError):
        return None
    return value if np.isfinite(value) and value > 0 else None


def _zone(text):
    """Offset from UTC as timedelta, None where not said."""
    found = re.fullmatch(r"\s*([+-])(\d\d)(\d\d)\s*", str(text or ""))
    return found and timedelta(minutes=int(found[1] + "1") * (60 * int(found[2]) + int(found[3])))


def _text(header, keyword):
    return str(header.get(keyword) or "").strip().upper() or None


def _number(header, keyword):
    """A finite number above 0, else None."""
    try:
        value = float(header.get(keyword))
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) and value > 0 else None
