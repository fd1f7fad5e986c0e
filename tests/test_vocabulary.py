"""One rule each: what is a site, what is missing, when words are numbers."""

import numpy as np
import pandas as pd
import pytest

from medlab.cohorts import vocabulary

SITES = ["site", "Site", "SITE_ID", "site1", "sites", "hospital", "Hospital", "hospital_name", "treatingHospital",
         "centre", "center_id", "treatment-center", "institution", "InstitutionName", "scanner", "scanner_id",
         "ScannerModel", "vendor", "manufacturer", "Manufacturer Model", "device_id", "data_source", "source",
         "tissue_source_site", "StationName"]
OTHERS = ["resource", "outsource", "opposite", "composite", "website", "sitting_height_cm", "centered", "epicentre",
          "concentration", "tumour_site", "site_of_biopsy", "primary_site", "metastasis_sites", "center_x_mm",
          "centre_of_mass_z", "window_center", "lesion_center_px", "age_years", "sex", "label", "devices_none"]


@pytest.mark.parametrize("name", SITES)
def test_a_site_is_recognised_by_whole_words(name):
    assert vocabulary.is_site(name)


@pytest.mark.parametrize("name", OTHERS)
def test_no_site(name):
    assert not vocabulary.is_site(name)


def test_sites_and_acquisition_of_a_table():
    table = pd.DataFrame({"Hospital": list("ABAB"), "site": "A", "scanner_id": range(4), "kvp": [80, 120, 80, 120],
                          "tube_current_ma": [1, 2, 3, 4], "slice_thickness_mm": [1, 5, 1, 5], "width": [5, 6, 5, 5],
                          "breslow_thickness_mm": [1, 2, 3, 4], "radiomics_contrast": [1, 2, 3, 4], "age": range(4)})
    assert vocabulary.sites(table) == ["Hospital", "scanner_id"] and vocabulary.sites(table, most=3) == ["Hospital"]
    assert vocabulary.acquisition(table) == ["Hospital", "scanner_id", "kvp", "tube_current_ma", "slice_thickness_mm",
                                             "width"]


@pytest.mark.parametrize("value, missing", [
    ("", True), (" ", True), (None, True), (np.nan, True), ("NA", True), ("na", True), ("n/a", True), ("#N/A", True),
    ("null", True), (".", True), ("NaN", True), ("#DIV/0!", True), ("\u2014", True), ("Unknown", True), ("?", True),
    ("-", True), ("not  reported", True), ("[Not Available]", True), ("Unbekannt", True), ("unk", True),
    ("Na", False), ("None", False), ("none", False), ("no", False), (0, False), ("nab", False), ("0", False),
])
def test_missing(value, missing):
    assert vocabulary.is_missing(value) == missing


def test_a_minus_beside_a_plus_is_a_finding():
    assert vocabulary.missing(pd.Series(["+", "-", "?"])).tolist() == [False, False, True]
    assert vocabulary.missing(pd.Series(["1", "-", "?"])).tolist() == [False, True, True]
    assert vocabulary.clean_text(pd.Series(["+", "-", "unknown"])).isna().tolist() == [False, False, True]


def test_words_for_missing_do_not_make_numbers_text():
    found = vocabulary.as_numbers(pd.Series(["1.5", " 2", "unknown", "none", "", None, "Na"]))
    np.testing.assert_array_equal(found, [1.5, 2, *[np.nan] * 5])
    assert vocabulary.as_numbers(pd.Series(["1", "low"])) is None
    assert vocabulary.as_numbers(pd.Series(["1", "2"])).dtype == int, "whole numbers stay whole"
    assert vocabulary.as_numbers(pd.Series(["", None])).isna().all()


@pytest.mark.parametrize("texts, why", [
    (["12", "007"], "leading zeros"), (["0.5", "1"], None), (["1234567890123456"], "more than 15 digits"),
    (["123456789012345"], None), (["0.12345678901234567"], None), (["1E5", "227"], "an E among digits"),
    (["1E5", "2E6"], None), (["1.5E5", "227"], None), (["0", "1"], None),
])
def test_codes_that_look_like_numbers(texts, why):
    assert vocabulary.code_like(texts) == why
