"""Cleaning and imputation against scikit-learn; nothing fitted sees the test; arrays are whole or absent."""

import os
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medlab.cohorts import preparation, vocabulary
from medlab.imaging import arrays


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    n = 60
    table = pd.DataFrame({
        "patient_id": [f"p{i}" for i in range(n)],
        "age_years": rng.normal(65, 9, n).round(1),
        "histology": np.where(np.arange(n) % 3 == 0, "Adenocarcinoma", " adenocarcinoma"),
        "cluster": np.arange(n) % 4,
        "site": np.where(np.arange(n) % 2 == 0, "l1", "l2")})
    table.loc[:7, "age_years"] = np.nan
    table.loc[9, "age_years"] = 430
    table.loc[20:40, "histology"] = "Large cell"
    table.loc[41:43, "histology"] = None
    return table


COLUMNS = ["age_years", "histology", "cluster", "site"]


def test_impossible_values_are_found_by_the_name_of_the_column(cohort):
    found = preparation.impossible(cohort, COLUMNS)
    assert found[["row", "column", "value"]].to_numpy().tolist() == [[9, "age_years", 430.0]]
    assert vocabulary.limits("tumour_volume_mm3") == (0, np.inf) and vocabulary.limits("stage") is None


def test_cleaning_joins_spellings_and_lists_what_it_changed(cohort):
    train = np.ones(len(cohort), bool)
    cleaned, changes = preparation.clean(cohort, COLUMNS, train)
    assert set(cleaned["histology"].dropna()) == {"adenocarcinoma", "Large cell"}
    assert changes[["row", "column", "was"]].to_numpy().tolist() == [[9, "age_years", 430.0]]
    assert np.isnan(cleaned.loc[9, "age_years"]) and cohort.loc[9, "age_years"] == 430
    kept, none = preparation.clean(cohort, COLUMNS, train, outliers="keep")
    assert kept.loc[9, "age_years"] == 430 and none.empty
    with pytest.raises(ValueError, match="outliers: found 'all'"):
        preparation.clean(cohort, COLUMNS, train, outliers="all")


def test_outliers_by_the_quartiles_of_train(cohort):
    odd = cohort.assign(volume=np.linspace(1, 2, 60))
    odd.loc[59, "volume"] = 50.0
    train = np.arange(60) < 50
    cleaned, changes = preparation.clean(odd, ["volume"], train, outliers="iqr")
    assert list(changes["row"]) == [59] and np.isnan(cleaned.loc[59, "volume"])


def test_numbers_are_imputed_and_scaled_as_by_scikit_learn(cohort):
    cleaned, _ = preparation.clean(cohort, COLUMNS, np.ones(60, bool))
    train = cleaned[:40]
    fitted = preparation.fit_covariates(train, COLUMNS, categories=["cluster"])
    made = preparation.apply_covariates(cleaned, fitted)
    theirs = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(train[["age_years"]])
    assert np.allclose(made["age_years"], theirs.transform(cleaned[["age_years"]])[:, 0])
    assert not made.isna().any().any()
    assert list(made) == ["age_years", "age_years_missing", "histology=Large cell", "cluster=0",
                          "cluster=1", "cluster=2", "site=l1"]
    assert made.loc[41, "histology=Large cell"] == 0


def test_changing_test_rows_changes_nothing_fitted(cohort):
    train = np.arange(60) < 40
    other = cohort.copy()
    other.loc[40:, "age_years"] = 99
    other.loc[40:, "histology"] = "sarcoma"
    for outliers in preparation.OUTLIERS:
        fits = [preparation.fit_covariates(preparation.clean(c, COLUMNS, train, outliers)[0][train], COLUMNS)
                for c in (cohort, other)]
        assert fits[0] == fits[1]


def test_patients_count_once_and_useless_columns_are_dropped(cohort):
    twice = pd.concat([cohort, cohort.iloc[[10] * 200]], ignore_index=True)
    fit = preparation.fit_covariates
    assert fit(twice, ["age_years"]) == fit(cohort, ["age_years"])
    table = cohort.assign(same=1.0, name=[f"name {i}" for i in range(60)])
    fitted = preparation.fit_covariates(table, ["same", "name"])
    assert {f["kind"] for f in fitted.values()} == {"dropped"}
    assert preparation.apply_covariates(table, fitted).shape == (60, 0)


def test_columns_missing_together_have_one_indicator(cohort):
    gaps = cohort.assign(a=np.linspace(0, 1, 60), b=np.linspace(5, 2, 60), c=np.linspace(1, 9, 60) ** 2)
    gaps.loc[:9, ["a", "b"]] = gaps.loc[4:12, "c"] = np.nan
    made = preparation.apply_covariates(gaps, preparation.fit_covariates(gaps, ["a", "b", "c"]))
    assert list(made) == ["a", "a_missing", "b", "c", "c_missing"]
    assert made["a_missing"].sum() == 10 and made["c_missing"].sum() == 9


def test_array_is_written_whole_or_not_at_all(tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (5, 4, 3, 1), dtype=np.uint8)
    arrays.write_array(tmp_path / "a.npy", iter(data), data.shape)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), data)
    with pytest.raises(ValueError, match="5 rows were prepared, expected 6"):
        arrays.write_array(tmp_path / "b.npy", iter(data), (6, 4, 3, 1))
    with pytest.raises(ValueError, match="row 0: float64"):
        arrays.write_array(tmp_path / "b.npy", iter(data / 255), data.shape)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_results_come_in_order_and_an_error_is_raised():
    slow = [0.02, 0.0, 0.01] * 10
    assert list(arrays.in_order(lambda i: (time.sleep(slow[i]), i)[1], range(30))) == list(range(30))
    with pytest.raises(ZeroDivisionError):
        list(arrays.in_order(lambda i: 1 / (5 - i), range(30)))


def test_runs_share_arrays_and_unused_ones_are_removed(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        for name in ("images", "geometry"):
            arrays.write_array(folder / f"{name}.npy", iter(np.zeros((2, 2), np.uint8)), (2, 2))

    cache = tmp_path / ".cache"
    for run, key in (("a", "00"), ("b", "00"), ("c", "11")):
        (tmp_path / run).mkdir()
        arrays.cached(cache, key, make, tmp_path / run)
    assert len(made) == 2 and os.path.samefile(tmp_path / "a" / "images.npy", tmp_path / "b" / "images.npy")
    for name in ("images", "geometry"):
        (tmp_path / "c" / f"{name}.npy").unlink()
    old = time.time() - 2 * 86400
    for path in cache.glob("*/*.npy"):
        os.utime(path, (old, old))
    arrays.cached(cache, "00", make, tmp_path / "a")
    assert sorted(p.name for p in cache.iterdir()) == ["00", "00.lock"]


def test_arrays_that_were_not_finished_are_not_taken(tmp_path):
    def fail(folder):
        (folder / "images.npy").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        arrays.cached(tmp_path / "cache", "00", fail, tmp_path)
    arrays.cached(tmp_path / "cache", "00", lambda folder: np.save(folder / "images.npy", np.zeros(2)), tmp_path)
    assert (np.load(tmp_path / "images.npy") == 0).all()


def test_what_does_not_fit_is_refused_before_the_work(tmp_path):
    arrays.require_room(1e6, tmp_path, 1)
    with pytest.raises(ValueError, match="over max_memory 1 GB; set a smaller image_size"):
        arrays.require_room(2e9, tmp_path, 1)
    with pytest.raises(ValueError, match="free; make room"):
        arrays.require_room(1e18, tmp_path, 1e12)


def test_mean_and_deviation_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 255, (150, 6, 5, 2), dtype=np.uint8)
    mean, std = arrays.mean_std(images, np.arange(0, 150, 2))
    chosen = images[::2].reshape(-1, 2) / 255
    assert np.allclose(mean, chosen.mean(0)) and np.allclose(std, chosen.std(0))
    with pytest.raises(ValueError, match="no rows in train"):
        arrays.mean_std(images, np.array([], int))
