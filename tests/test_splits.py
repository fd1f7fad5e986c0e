"""Splits by patient: nobody on both sides, everyone assigned, near the request, stable."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlab.cohorts import sides, splits

PATIENT = st.tuples(st.integers(1, 4), st.sampled_from("abc"), st.booleans())


def cohort_of(patients) -> pd.DataFrame:
    """Rows from (number of images, label, event) per patient."""
    rows = [(f"p{i:03d}", label, event) for i, (n, label, event) in enumerate(patients) for _ in range(n)]
    return pd.DataFrame(rows, columns=["patient_id", "label", "event"])


def per_patient(cohort, assigned) -> pd.Series:
    return assigned.groupby(cohort["patient_id"]).first()


@settings(max_examples=30, deadline=None)
@given(st.lists(PATIENT, min_size=1, max_size=40), st.integers(0, 10**6),
       st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.sampled_from([0.0, 0.2, 0.4]))
def test_each_patient_is_in_one_split_and_sizes_are_near_the_request(patients, seed, val, test):
    cohort = cohort_of(patients)
    assigned = splits.split(cohort, seed, val=val, test=test)
    assert assigned.index.equals(cohort.index) and assigned.isin(splits.SPLITS).all()
    assert assigned.groupby(cohort["patient_id"]).nunique().max() == 1
    assert "train" in set(assigned)
    n, n_strata = len(patients), len({p[1:] for p in patients})
    sizes = per_patient(cohort, assigned).value_counts()
    for name, share in {"val": val, "test": test}.items():
        assert abs(sizes.get(name, 0) - share * n) <= 2 + n_strata
        assert share > 0 or name not in sizes


@settings(max_examples=15, deadline=None)
@given(st.lists(PATIENT, min_size=20, max_size=60), st.integers(0, 1000), st.data())
def test_changing_the_label_of_one_patient_moves_few_others(patients, seed, data):
    who = data.draw(st.integers(0, len(patients) - 1))
    other = list(patients)
    other[who] = (patients[who][0], data.draw(st.sampled_from("abc")), patients[who][2])
    before, after = cohort_of(patients), cohort_of(other)
    one, two = (per_patient(c, splits.split(c, seed)) for c in (before, after))
    assert (one != two).sum() <= 10  # the patient itself, and rounding in each of the six strata


def test_changing_one_label_moves_few_of_many():
    rng = np.random.default_rng(0)
    cohort = cohort_of([(1, "ab"[k], bool(e)) for k, e in rng.integers(0, 2, (1000, 2))])
    other = cohort.copy()
    other.loc[500, "label"] = {"a": "b", "b": "a"}[other.loc[500, "label"]]
    assert (splits.split(cohort, 3) != splits.split(other, 3)).sum() <= 10
    assert (splits.split(cohort, 3) != splits.split(cohort, 4)).sum() > 200


@settings(max_examples=10, deadline=None)
@given(st.lists(PATIENT, min_size=6, max_size=50), st.integers(2, 6), st.integers(0, 1000))
def test_folds_partition_the_patients(patients, n_folds, seed):
    cohort = cohort_of(patients)
    tests = [splits.split(cohort, seed, n_folds=n_folds, fold=k) == "test" for k in range(n_folds)]
    assert (pd.concat(tests, axis=1).sum(axis=1) == 1).all()
    sizes = [cohort.loc[t, "patient_id"].nunique() for t in tests]
    assert max(sizes) - min(sizes) <= 2


def test_classes_are_balanced_over_large_splits_and_folds():
    cohort = cohort_of([(1, "a", False)] * 700 + [(1, "b", False)] * 250 + [(1, "c", True)] * 50)
    share = pd.crosstab(cohort["label"], splits.split(cohort, 0), normalize="index")
    assert np.allclose(share["test"], 0.2, atol=0.021) and np.allclose(share["val"], 0.15, atol=0.021)
    folds = [cohort.loc[splits.split(cohort, 0, n_folds=5, fold=k) == "test", "label"].value_counts()
             for k in range(5)]
    assert all(f["c"] == 10 and f["b"] == 50 for f in folds)


def test_row_order_does_not_matter():
    cohort = cohort_of([(2, "ab"[i % 2], i % 3 == 0) for i in range(40)])
    shuffled = cohort.sample(frac=1, random_state=1)
    assert splits.split(shuffled, 7).sort_index().equals(splits.split(cohort, 7))


def test_the_split_of_the_source_is_respected_and_val_comes_out_of_train():
    cohort = cohort_of([(2, "ab"[i % 2], False) for i in range(100)])
    cohort["split"] = ["test" if i >= 140 else "train" for i in range(200)]
    assigned = splits.split(cohort, 0, val=0.2)
    assert (assigned[140:] == "test").all() and "test" not in set(assigned[:140])
    assert cohort.loc[assigned == "val", "patient_id"].nunique() == 14
    cohort.loc[100:139, "split"] = "val"
    assert splits.split(cohort, 0).equals(cohort["split"].rename("split"))


def test_folds_leave_the_test_of_the_source_out():
    cohort = cohort_of([(2, "ab"[i % 2], False) for i in range(50)])
    cohort["split"] = ["test" if i >= 60 else "val" if i >= 40 else "train" for i in range(100)]
    held_out = []
    for fold in range(4):
        assigned = splits.split(cohort, 0, n_folds=4, fold=fold)
        assert (assigned[60:] == "test").all() and "test" not in set(assigned[:60])
        held_out += list(cohort.loc[assigned == "val", "patient_id"].unique())
    assert sorted(held_out) == sorted(cohort.loc[:59, "patient_id"].unique())


def test_a_class_with_one_patient_is_learnt_first():
    cohort = cohort_of([(1, "a", False)] * 20 + [(1, "b", False)])
    for seed in range(20):
        assert splits.split(cohort, seed, stratify="label").iloc[-1] == "train"


def test_tiny_cohorts():
    assert list(splits.split(cohort_of([(3, "a", True)]), 0)) == ["train"] * 3
    assert set(splits.split(cohort_of([(1, "a", True)] * 3), 0)) == {"train", "val", "test"}
    assert set(splits.split(cohort_of([(1, c, True) for c in "abcdef"]), 0)) == {"train", "val", "test"}
    with pytest.raises(ValueError, match="only 2 patients"):
        splits.split(cohort_of([(1, "a", True)] * 2), 0, n_folds=5)


def test_a_patient_counts_by_its_rarest_label_and_labels_may_be_several():
    cohort = pd.DataFrame({"patient_id": list("aabbc"), "label": ["none", "tumour", "none", "none", "none"]})
    assert splits.strata(cohort, splits.units(cohort)).to_dict() == {"a": "tumour", "b": "none", "c": "none"}
    several = pd.DataFrame({"patient_id": list("abc"), "label_x": [1, 1, 0], "label_y": [0, 1, 0]})
    found = splits.strata(several, splits.units(several))
    assert list(found) == ["label_x", "label_y", "none"]
    assert set(splits.strata(several, splits.units(several), ())) == {"all"}


@settings(max_examples=15, deadline=None)
@given(st.lists(PATIENT, min_size=5, max_size=40), st.data(), st.integers(0, 1000))
def test_groups_of_duplicates_stay_on_one_side(patients, data, seed):
    cohort = cohort_of(patients)
    n = len(cohort)
    groups = pd.Series(data.draw(st.lists(st.integers(-1, 6), min_size=n, max_size=n)))
    assigned = splits.split(cohort, seed, groups=groups)
    assert (assigned[groups >= 0].groupby(groups[groups >= 0]).nunique() == 1).all()
    assert assigned.groupby(cohort["patient_id"]).nunique().max() == 1


@pytest.mark.parametrize("wrong", [{"val": 0.5, "test": 0.5}, {"val": -0.1}, {"n_folds": 1},
                                   {"n_folds": 3, "fold": 3}, {"stratify": "colour"}])
def test_impossible_requests_are_refused(wrong):
    with pytest.raises(ValueError):
        splits.split(cohort_of([(1, "a", True)] * 9), 0, **wrong)


def test_an_unknown_split_of_the_source_is_named():
    cohort = cohort_of([(1, "a", True)] * 3).assign(split=["train", "training", None])
    with pytest.raises(ValueError, match="row 1: found 'training'"):
        splits.split(cohort, 0)


@pytest.fixture
def leaking():
    """Patient b in train and test; images 0 and 4 (patients a and d) near-identical across val and test."""
    return pd.DataFrame({"row": range(10, 18), "patient_id": list("abbcdeef"),
                         "image": [f"{i}.png" for i in range(8)],
                         "split": ["val", "train", "test", "train", "test", "train", "train", "val"],
                         "duplicate_group": [0, -1, -1, -1, 0, 1, 1, -1],
                         "duplicate_kind": ["near", None, None, None, "near", "exact", "exact", None]})


def test_leaks_by_patient_and_by_image(leaking):
    found = sides.leaks(leaking)
    assert found[["kind", "who", "likeness", "splits"]].to_numpy().tolist() == [
        ["patient", "b", "same", "test, train"], ["image", "0.png = 4.png", "near", "test, val"]]
    duplicates = pd.DataFrame({"row": [10, 14], "group": [3, 3], "kind": ["exact", "exact"]})
    again = sides.leaks(leaking.drop(columns=["duplicate_group", "duplicate_kind"]), duplicates)
    assert list(again["likeness"]) == ["same", "exact"] and again["rows"][1] == (0, 4)


def test_leaks_are_resolved_on_the_side_asked_for(leaking):
    found = sides.leaks(leaking)
    assert list(leaking.index.difference(sides.resolve(leaking, found, "drop-train").index)) == [0, 1]
    assert sides.resolve(leaking, found, "keep").equals(leaking)
    assert sides.leaks(sides.resolve(leaking, found, "drop-train")).empty
    with pytest.raises(ValueError, match="(?s)1 patient and 1 group.*in test, train: b.*leaks"):
        sides.resolve(leaking, found)
    with pytest.raises(ValueError, match="would remove everything in test"):
        sides.resolve(leaking, found, "drop-test")
    with pytest.raises(ValueError, match="expected one of stop"):
        sides.resolve(leaking, found, "ignore")


def test_no_leak_no_stop(leaking):
    fine = leaking.drop(index=[0, 1])
    assert sides.resolve(fine, sides.leaks(fine)).equals(fine)
