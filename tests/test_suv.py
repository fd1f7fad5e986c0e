"""Standardised uptake values: formulas, units, times, what is refused, and the way of a series into a dataset."""

import re

import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import Dataset

from medlab.cohorts import cards, datasets
from medlab.imaging import series as imaging_series
from medlab.intake import dicom_tree, drafts
from medlab.pet import cohort as pet_cohort
from medlab.pet import headers, suv
from medlab.phantoms import common, pet, pet_dicom

F18 = 6586.2


def header(series="20200102 110000", acquired="20200102 110000", start="100000", units="BQML", correction="START",
           dose="370000000", **more):
    """Header of one PET slice: injected at ten, scanned at eleven."""
    ds, item = Dataset(), Dataset()
    ds.Modality, ds.Units, ds.DecayCorrection, ds.CorrectedImage = "PT", units, correction, ["ATTN", "DECY", "SCAT"]
    ds.SeriesDate, ds.SeriesTime = series.split()
    ds.AcquisitionDate, ds.AcquisitionTime = acquired.split()
    ds.PatientWeight, ds.PatientSize, ds.PatientSex = "75", "1.75", "M"
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = dose, str(F18)
    item.RadiopharmaceuticalStartTime = start
    ds.RadiopharmaceuticalInformationSequence = [item]
    for keyword, value in more.items():
        setattr(item if "Radio" in keyword else ds, keyword, value)
    return ds


def row(**changes):
    known = {"pet_units": "BQML", "decay_correction": "START", "injected_dose_bq": 370e6, "half_life_s": F18,
             "uptake_time_s": 3600.0, "decay_time_s": 3600.0, "weight_kg": 75.0, "height_cm": 175.0, "sex": "male",
             "attenuation_corrected": True}
    return known | changes


def test_suv_by_hand():
    factor, _ = suv.factor(row())
    left = 370e6 * np.exp(-np.log(2) * 3600 / F18)
    assert factor == pytest.approx(75000 / left)
    assert 5000 * factor == pytest.approx(5000 / 253.30e6 * 75000, rel=1e-4)  # 253.3 MBq are left after an hour


def test_decay_correction_start_admin_none():
    numbers, _ = headers.numbers([header()])
    assert numbers["uptake_time_s"] == numbers["decay_time_s"] == 3600
    admin, _ = headers.numbers([header(correction="ADMIN")])
    assert admin["uptake_time_s"] == 3600 and admin["decay_time_s"] == 0
    assert suv.factor(admin)[0] == pytest.approx(suv.factor(numbers)[0] * 2 ** (-3600 / F18))
    none, _ = headers.numbers([header(correction="NONE", ActualFrameDuration=600000)])
    assert 3600 + 290 < none["decay_time_s"] < 3900  # the average rate is a little before the middle of the frame
    beds = [header(correction="NONE", ActualFrameDuration=600000, acquired=f"20200102 11{m}000") for m in (0, 1)]
    none, notes = headers.numbers(beds)
    assert "decay_time_s" not in none and any("reconstruct with decay correction" in note for note in notes)
    with pytest.raises(ValueError, match="DecayCorrection"):
        suv.factor(none)


def test_average_count_rate_is_the_moment_of_the_mean_activity():
    t = np.linspace(0, 3000, 200_001)
    mean = np.trapezoid(2 ** (-t / F18), t) / 3000
    assert 2 ** (-headers.average_count_rate(3000, F18) / F18) == pytest.approx(mean, rel=1e-8)


def test_injected_before_midnight():
    numbers, notes = headers.numbers([header("20200102 002000", "20200102 002000", start="233000")])
    assert numbers["uptake_time_s"] == 3000 and "injected before midnight" in notes


def test_a_long_lived_tracer_needs_the_date_of_its_injection():
    zirconium = {"RadionuclideHalfLife": str(headers.HALF_LIVES["Zr-89"])}
    numbers, notes = headers.numbers([header(**zirconium)])
    assert not {"uptake_time_s", "decay_time_s"} & set(numbers)
    assert "the date of the injection is not stated" in notes[-1] and "fill in decay_time_s" in notes[-1]
    numbers |= {"weight_kg": 75.0}
    with pytest.raises(ValueError, match=r"RadiopharmaceuticalStartDateTime \(0018,1078\).*fill in decay_time_s"):
        suv.factor(numbers)
    assert suv.factor(numbers | {"decay_time_s": 176400.0})[0] > 0
    dated, _ = headers.numbers([header(RadiopharmaceuticalStartDateTime="20191231100000", **zirconium)])
    assert dated["decay_time_s"] == 2 * 86400 + 3600


def test_without_attenuation_correction_there_is_no_suv():
    numbers, notes = headers.numbers([header(), header(CorrectedImage=["DECY", "SCAT"])])
    assert numbers["attenuation_corrected"] is False and "not corrected for attenuation" in notes
    for wrong in (False, "False", "no", 0.0):
        for more in ({}, {"pet_units": "GML"}):
            with pytest.raises(ValueError, match="no SUV: not corrected for attenuation.*attenuation_corrected"):
                suv.factor(row(attenuation_corrected=wrong, **more))
    with pytest.raises(ValueError, match="expected true, false or nothing"):
        suv.factor(row(attenuation_corrected="perhaps"))
    assert headers.numbers([header()])[0]["attenuation_corrected"] is True
    numbers, notes = headers.numbers([header(CorrectedImage=None)])
    assert "attenuation_corrected" not in numbers and "attenuation correction not stated" in notes[0]
    assert suv.factor(row(attenuation_corrected=np.nan))[0] == suv.factor(row())[0]
    assert suv.remarks(row(attenuation_corrected=np.nan)) == ["attenuation correction not stated: taken as done"]


@pytest.mark.parametrize("offset, started, seconds", [
    ("+0100", "20200102090000+0000", 3600), ("+0100", "20200102100000+0100", 3600),
    ("-0500", "20200102150000+0000", 3600), ("+0100", "20200102100000", 3600)])
def test_time_zone(offset, started, seconds):
    numbers, notes = headers.numbers([header(start=None, TimezoneOffsetFromUTC=offset,
                                                 RadiopharmaceuticalStartDateTime=started)])
    assert numbers["uptake_time_s"] == seconds and not notes


def test_a_zone_without_the_scanners_own_gives_way_to_the_time_of_day():
    numbers, notes = headers.numbers([header(RadiopharmaceuticalStartDateTime="20200102090000+0000")])
    assert numbers["uptake_time_s"] == 3600 and "offset from UTC" in notes[0]


def test_times_that_disagree_are_no_time():
    numbers, notes = headers.numbers([header(RadiopharmaceuticalStartDateTime="20200102090000")])
    assert "decay_time_s" not in numbers and "3600 s apart" in notes[0] and "2020" not in notes[0]
    with pytest.raises(ValueError, match=r"RadiopharmaceuticalStartTime \(0018,1072\).*decay_time_s in cohort.csv"):
        suv.factor(numbers)


def test_a_post_processed_series_has_the_wrong_time():
    late = header(series="20200102 170000")
    numbers, notes = headers.numbers([late])
    assert numbers["uptake_time_s"] == 3600 and "first AcquisitionTime" in notes[-1]
    # second bed, 150 s after the start: its average count rate is 150 s and a little less than 75 s after the start
    middle = 150 + headers.average_count_rate(150, F18)
    frame = header(series="20200102 170000", acquired="20200102 110230", FrameReferenceTime=f"{1000 * middle:.6f}",
                   ActualFrameDuration=150000)
    assert headers.numbers([frame])[0]["uptake_time_s"] == pytest.approx(3600, abs=1e-3)
    late.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20200102110000.00")
    assert "GE" in headers.numbers([late])[1][-1] and headers.numbers([late])[0]["uptake_time_s"] == 3600


def test_dose_unit_trap():
    with pytest.raises(ValueError, match="perhaps MBq.*pet_small_doses"):
        suv.factor(row(injected_dose_bq=370.0))
    assert suv.factor(row(injected_dose_bq=370.0), "MBq")[0] == pytest.approx(suv.factor(row())[0])
    assert suv.factor(row(injected_dose_bq=10.0), "mCi")[0] == pytest.approx(suv.factor(row())[0])
    assert suv.factor(row(), "MBq")[0] == suv.factor(row())[0]  # a dose in Bq stays one
    with pytest.raises(ValueError, match="expected refuse, MBq"):
        suv.factor(row(), "GBq")


def test_half_life_in_minutes_is_refused():
    with pytest.raises(ValueError, match="F-18 in minutes"):
        suv.factor(row(half_life_s=109.77))
    for seconds in headers.HALF_LIVES.values():
        assert suv.factor(row(half_life_s=seconds, decay_time_s=seconds))[0] > 0


@pytest.mark.parametrize("column, tag", [("injected_dose_bq", "0018,1074"), ("half_life_s", "0018,1075"),
                                         ("weight_kg", "0010,1030")])
def test_what_is_missing_is_named_with_the_next_step(column, tag):
    for nothing in (None, np.nan, 0.0, ""):
        with pytest.raises(ValueError, match=rf"{tag}.*{column} in cohort.csv"):
            suv.factor(row(**{column: nothing}))


def test_impossible_times_are_refused():
    with pytest.raises(ValueError, match="half-lives"):
        suv.factor(row(decay_time_s=86400.0))
    numbers, notes = headers.numbers([header(start=None, RadiopharmaceuticalStartDateTime="20200102120000")])
    assert "decay_time_s" not in numbers and "after the scan" in notes[-1]


def test_units():
    plain = suv.factor(row())[0]
    assert suv.factor(row(pet_units="KBQML"))[0] == pytest.approx(1000 * plain)
    assert suv.factor(row(pet_units="GML"))[0] == 1 and suv.factor({}, intensity="SUV")[0] == 1
    ratios, _ = suv.normalisations(row())
    assert suv.factor(row(pet_units="GML", suv_type="LBMJANMA"))[0] == pytest.approx(1 / ratios["SUL"])
    assert suv.factor(row(pet_units="CM2ML"))[0] == pytest.approx(1 / ratios["SUVbsa"])
    for units in ("CNTS", "PROPCNTS"):
        with pytest.raises(ValueError, match=rf"Units \(0054,1001\) are {units}"):
            suv.factor(row(pet_units=units))


def test_philips_counts():
    ds = header(units="CNTS")
    block = ds.private_block(0x7053, headers.PHILIPS, create=True)
    block.add_new(0x00, "DS", "0.00025")
    numbers, _ = headers.numbers([ds])
    assert suv.factor(numbers)[0] == 0.00025
    block[0x00].value = "0"  # as Philips writes "unknown"
    block.add_new(0x09, "UN", b"1.5 ")
    numbers, _ = headers.numbers([ds])
    assert suv.factor(numbers)[0] == pytest.approx(1.5 * suv.factor(row())[0])


def test_lean_mass_and_surface_of_published_examples():
    # a man of 70 kg and 170 cm: James 1.1 * 70 - 128 * (70 / 170)^2; Janmahasatian 9270 * 70 / (6680 + 216 * 24.22)
    man, woman = row(weight_kg=70.0, height_cm=170.0), row(weight_kg=70.0, height_cm=170.0, sex="F")
    assert suv.lean_mass(man, "james") == pytest.approx(55.30, abs=0.01)
    assert suv.lean_mass(woman, "james") == pytest.approx(49.81, abs=0.01)
    assert suv.lean_mass(man) == pytest.approx(54.47, abs=0.02)
    assert suv.lean_mass(woman) == pytest.approx(44.18, abs=0.02)
    assert suv.body_surface(man) == pytest.approx(1.81, abs=0.005)  # the example of Du Bois' nomogram
    heavy = row(weight_kg=160.0, height_cm=160.0, sex="F")
    assert suv.lean_mass(heavy) > suv.lean_mass(row(weight_kg=120.0, height_cm=160.0, sex="F"))
    with pytest.raises(ValueError, match="lean mass of"):
        suv.lean_mass(heavy, "james")  # falls again in obesity: 23 kg of 160


def test_without_height_there_is_no_sul_but_a_suv():
    ratios, why = suv.normalisations(row(height_cm=np.nan))
    assert ratios["SUVbw"] == 1 and np.isnan(ratios["SUL"]) and "0010,1020" in why["SUL"]
    assert suv.need(row(height_cm=None, height_m=1.75), "height_cm") == 175


def test_count_balance_and_remarks():
    assert suv.share_in_view(75000, row()) == 1
    assert "dose, weight, times or units are wrong" in suv.remarks(row(), 1.2)[0]
    assert "uptake time 30 min" in suv.remarks(row(uptake_time_s=1800.0))[0]
    assert suv.remarks(row(), 0.8) == []


def test_patient_size_in_centimetres_and_two_injections():
    assert headers.numbers([header(PatientSize="175")])[0]["height_cm"] == 175
    ds = header()
    ds.RadiopharmaceuticalInformationSequence = [Dataset(), Dataset()]
    numbers, notes = headers.numbers([ds])
    assert "injected_dose_bq" not in numbers and "2 items" in notes[0]


def test_rescale_slope_of_each_slice(tmp_path):
    person = pet.sample(1, 0)[0]
    values = np.zeros(common.SHAPE, np.float32)
    values += np.linspace(0.5, 40, len(values))[:, None, None]
    folder = pet_dicom.write_pet(tmp_path, 0, person, values)
    image = imaging_series.read_series(folder.iterdir())
    numbers, _ = headers.of_series("PT", list(folder.iterdir()))
    found = image.pixels[..., 0] * suv.factor(numbers)[0]
    assert np.abs(found / values - 1).max() < 1e-4  # one slope for all would be wrong by a factor of 80


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of one patient per trap (no noise), through DICOM and the import."""
    return make(tmp_path_factory.mktemp("pet"), [0, *pet.TRAPS])


def make(folder, chosen):
    """Write and import the patients of these numbers, with the same uptake everywhere."""
    people = pet.sample(12, 0)
    for i in chosen:
        pet_dicom.write_pet(folder / "raw" / "dicom", i, people[i], uniform(people[i]))
    (folder / "data").mkdir()
    draft = drafts.Draft(folder / "raw", folder / "data", {"_hide": True, "title": "traps"})
    drafts.card(draft, "dicom")
    dicom_tree.take(draft, None, "all", "all", None, None)
    card, cohort = cards.read_card(folder / "data" / "card.yaml"), cards.read_csv(folder / "data" / "cohort.csv")
    link = {alias: who for who, alias in draft.aliases.items() if who != alias}
    names = {p["patient_id"]: p["trap"] for p in people}
    cohort["trap"] = cohort["patient_id"].map(link).map(names)
    return datasets.Dataset("traps", folder / "data", card, cohort)


def uniform(person):
    return np.full(common.SHAPE, person["background"], np.float32)


def test_every_trap_ends_in_the_true_suv_or_in_a_refusal(dataset):
    people = {p["trap"]: p for i, p in enumerate(pet.sample(12, 0)) if i in (0, *pet.TRAPS)}
    scans = pet_cohort.scans(dataset)
    assert len(scans) == 11
    for index, scan in scans.iterrows():
        trap = dataset.cohort.at[index, "trap"]
        if trap in ("MBq", "no weight"):
            assert {"MBq": "0018,1074", "no weight": "0010,1030"}[trap] in scan["refused"]
            continue
        value = pet_cohort.read(dataset, index, scan["factor"]).pixels
        assert value.min() == pytest.approx(people[trap]["background"], rel=1e-3), trap
        assert value.max() == pytest.approx(people[trap]["background"], rel=1e-3), trap
    repaired = pet_cohort.scans(dataset, "MBq")
    assert (repaired["refused"] != "").sum() == 1


def test_the_dataset_holds_no_date_and_no_name(dataset):
    text = (dataset.folder / "cohort.csv").read_text() + (dataset.folder / "card.yaml").read_text()
    text += (dataset.folder / "import_log.csv").read_text()
    assert "Synthetic^" not in text and "PET-00" not in text
    for digest in dataset.card["sha256"].values():
        text = text.replace(digest, "")
    assert not re.search(r"20(19|20|21)[01]\d[0-3]\d", text)
    assert {"uptake_time_s", "decay_time_s", "injected_dose_bq", "half_life_s"} <= set(dataset.cohort)
    assert dataset.cohort["attenuation_corrected"].all()
    assert "attenuation_corrected" in datasets.RESERVED, "no covariate"


def test_nifti_with_columns_serves_as_well(tmp_path):
    import nibabel as nib

    (tmp_path / "images").mkdir()
    pixels = np.full((6, 7, 8), 5000.0, np.float32)
    nib.save(nib.Nifti1Image(pixels, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "images" / "a.nii.gz")
    cohort = pd.DataFrame([{"patient_id": "p1", "image": "images/a.nii.gz", "injected_dose_bq": 370e6,
                            "half_life_s": F18, "uptake_time_s": 3600.0, "weight_kg": 75.0}])
    data = datasets.Dataset("n", tmp_path, {"modality": "PT", "intensity": "arbitrary"}, cohort)
    scan = pet_cohort.scans(data).iloc[0]
    image = pet_cohort.read(data, 0, scan["factor"])
    assert image.pixels.mean() == pytest.approx(5000 * suv.factor(row())[0], rel=1e-6)
    assert "taken as START" in scan["remarks"] and image.spacing_mm == (3, 2, 2)
    with pytest.raises(ValueError, match="no PET image"):
        pet_cohort.scans(datasets.Dataset("n", tmp_path, {"modality": "CT"}, cohort))
