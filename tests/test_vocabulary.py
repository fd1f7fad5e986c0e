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


@pytest.mark.parametrize("value, missing, empty", [
    ("", True, True), (" ", True, True), (None, True, True), (np.nan, True, True), ("NA", True, True),
    ("n/a", True, True), ("#N/A", True, True), ("null", True, True), (".", True, True), ("NaN", True, True),
    ("Unknown", True, False), ("?", True, False), ("-", True, False), ("not  reported", True, False),
    ("[Not Available]", True, False), ("none", False, False), ("no", False, False), (0, False, False),
    ("nab", False, False), ("0", False, False),
])
def test_missing(value, missing, empty):
    assert vocabulary.is_missing(value) == missing and vocabulary.is_missing(value, vocabulary.EMPTY) == empty


def test_a_minus_beside_a_plus_is_a_finding():
    assert vocabulary.missing(pd.Series(["+", "-", "?"])).tolist() == [False, False, True]
    assert vocabulary.missing(pd.Series(["1", "-", "?"])).tolist() == [False, True, True]
    assert vocabulary.clean_text(pd.Series(["+", "-", "unknown"])).isna().tolist() == [False, False, True]


def test_words_for_missing_do_not_make_numbers_text():
    found = vocabulary.as_numbers(pd.Series(["1.5", " 2", "unknown", "none", "", None]))
    np.testing.assert_array_equal(found, [1.5, 2, np.nan, np.nan, np.nan, np.nan])
    assert vocabulary.as_numbers(pd.Series(["1", "low"])) is None
    assert vocabulary.as_numbers(pd.Series(["1", "2"])).dtype == int, "whole numbers stay whole"
    assert vocabulary.as_numbers(pd.Series(["", None])).isna().all()
