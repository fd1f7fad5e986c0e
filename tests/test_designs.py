"""Who is tested by time and by site: by construction, each claim of page 02 a test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlab.cohorts import designs, splits

SITES = ["Basel", "Chur", "Genf"]


def cohort_of(n=90, per=2, seed=0):
    """Patients with `per` images each on different days, of three sites in turn; a third of them ill."""
    rng = np.random.default_rng(seed)
    days = pd.Timestamp("2015-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 2000, (n, per)), axis=1).ravel(), "D")
    who = np.arange(n).repeat(per)
    return pd.DataFrame({"patient_id": [f"p{i:03d}" for i in who], "image": [f"{i}.png" for i in range(n * per)],
                         "label": np.where(who // 3 % 3 == 0, "ill", "well"), "scan_date": days.strftime("%Y-%m-%d"),
                         "year": days.year, "hospital": [SITES[i % 3] for i in who]})


def divided(cohort, split, test=0.2, fold=0, groups=None):
    held, facts = designs.test_part(cohort, cohort, split, test, 0, fold, groups)
    return splits.split(cohort.assign(split=held), 0, 0.15, test, groups=groups), facts


def moments(cohort, part, column="scan_date"):
    return pd.to_datetime(cohort.loc[part, column]) if column == "scan_date" else cohort.loc[part, column]


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 60), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([0.1, 0.2, 0.5]),
       st.sampled_from(["scan_date", "year"]))
def test_by_time_the_last_patients_are_tested_and_nobody_is_in_two_parts(n, per, seed, test, column):
    cohort = cohort_of(n, per, seed)
    if cohort.groupby("patient_id")[column].max().nunique() < 2:
        return
    part, _ = divided(cohort, f"time:{column}", test)
    assert part.groupby(cohort["patient_id"]).nunique().max() == 1 and {"train", "test"} <= set(part)
    latest = moments(cohort, cohort.index, column).groupby(cohort["patient_id"]).max()
    tested = latest.index.isin(cohort.loc[part == "test", "patient_id"])
    assert latest[~tested].max() < latest[tested].min(), "no tie is divided"
    assert moments(cohort, part != "test", column).max() < latest[tested].min(), "no image of train or val is as late"
    off = {value: abs((latest >= value).sum() - test * n) for value in latest.unique() if value > latest.min()}
    assert abs(tested.sum() - test * n) == min(off.values()), "nearest to the share that whole values allow"


def test_dates_numbers_and_text_give_the_same_order():
    cohort = cohort_of(per=1)
    cohort["number"] = cohort["scan_date"].str.replace("-", "").astype(int)
    cohort["german"] = pd.to_datetime(cohort["scan_date"]).dt.strftime("%d.%m.%Y")
    cohort["day"] = (pd.to_datetime(cohort["scan_date"]) - pd.Timestamp("2000-01-01")).dt.days.astype(str)
    parts = {c: divided(cohort, f"time:{c}")[0] for c in ("scan_date", "number", "german", "day")}
    assert all(part.equals(parts["scan_date"]) for part in parts.values())
    months = designs.moments_of(pd.Series(["2019-03", None, "2018-12"], name="month"))
    assert months[2] < months[0] and pd.isna(months[1])


def test_what_page_02_says_about_time():
    cohort = pd.DataFrame({"patient_id": [f"p{i}" for i in range(100)], "year": [2015 + i // 20 for i in range(100)],
                           "label": ["ill", "well"] * 50})
    part, facts = divided(cohort, "time:year")
    assert designs.in_words(facts, cohort.assign(split=part)) == (
        "By time (year); test: from 2019 on, 20 patients (20%); train: up to 2018, 68 patients; val: drawn by chance "
        "among the same, 12 patients. The latest value of a patient counts, and who has the same value is on the same "
        "side.")
    assert designs.doubts(facts) == [] and facts["part"] == "by time, year from 2019 on"
    dated = cohort.assign(seen=pd.to_datetime("2019-03-14"))
    dated.loc[:79, "seen"] = pd.to_datetime("2018-11-30")
    facts = divided(dated, "time:seen")[1]
    assert (facts["held_out"], facts["others"]) == ("from 2019-03 on", "up to 2018-11"), "a day would name a patient"


def test_who_has_no_value_is_never_tested_and_counted():
    cohort = cohort_of(60, 2)
    cohort.loc[cohort["patient_id"] <= "p004", "scan_date"] = None
    cohort.loc[20, "scan_date"] = "unknown"  # the other image of that patient has a date
    part, facts = divided(cohort, "time:scan_date")
    assert facts["without_value"] == 5 and "test" not in set(part[cohort["patient_id"] <= "p004"])
    assert designs.doubts(facts)[0].startswith("5 patients without a value in scan_date: never tested")
    cohort.loc[cohort["patient_id"] == "p005", "hospital"] = None
    part, facts = divided(cohort, "site:hospital", fold=2)
    assert facts["without_value"] == 1 and "test" not in set(part[cohort["patient_id"] == "p005"])


def test_every_site_is_once_the_test_part():
    cohort = cohort_of()
    tested = []
    for fold, name in enumerate(SITES):
        part, facts = divided(cohort, "site:hospital", fold=fold)
        assert set(cohort.loc[part == "test", "hospital"]) == {name} == {facts["site"]}
        assert name not in set(cohort.loc[part != "test", "hospital"]) and {"train", "val"} <= set(part)
        tested += list(cohort.loc[part == "test", "patient_id"].unique())
    assert sorted(tested) == sorted(cohort["patient_id"].unique())
    said = designs.in_words(facts, cohort.assign(split=part))
    assert said.startswith("By site (hospital); test: Genf, 30 patients (33%); train: 2 other sites, 51 patients; val:")


def test_a_site_is_one_site_however_it_is_written_and_numbers_are_ordered_as_numbers():
    cohort = cohort_of()
    cohort.loc[cohort.index[cohort["hospital"] == "Basel"][::3], "hospital"] = " basel "
    assert designs.site_names(cohort, "hospital") == SITES
    part, _ = divided(cohort, "site:hospital", fold=0)
    assert set(cohort.loc[part != "test", "hospital"]) == {"Chur", "Genf"}
    assert designs.site_names(pd.DataFrame({"s": [10, 2, 1.0, np.nan]}), "s") == ["1", "2", "10"]


def test_a_patient_of_several_sites_and_a_copied_image_stay_on_one_side():
    cohort = cohort_of(per=3)
    cohort.loc[0, "hospital"] = "Chur"  # p000: one image of Chur, two of Basel
    part, facts = divided(cohort, "site:hospital", fold=0)
    assert (part[:3] == "test").all() and facts["at_several"] == 1
    assert any("1 patient with images or rows of several sites" in text for text in designs.doubts(facts))
    groups = pd.Series(-1, cohort.index)
    groups[[0, 3]] = 1  # of p000 and p001 (Chur): copies
    part, _ = divided(cohort, "site:hospital", fold=0, groups=groups)
    assert part[:6].nunique() == 1
    part, _ = divided(cohort, "time:scan_date", groups=groups)
    assert part[:6].nunique() == 1


def test_sites_that_cannot_be_judged_are_named_with_the_reason():
    cohort = cohort_of(90, 1)
    small, healthy = cohort.iloc[:5].assign(hospital="Aarau"), cohort.iloc[:20].assign(hospital="Bern", label="well")
    more = pd.concat([cohort, small.assign(patient_id="q" + small["patient_id"]),
                      healthy.assign(patient_id="r" + healthy["patient_id"])], ignore_index=True)
    assert designs.not_judged(more, "hospital") == {
        "Aarau": "5 patients, expected 10 or more", "Bern": "no two classes with 2 patients each (20 well)"}
    with pytest.raises(ValueError, match="Bern cannot be the test part: no two classes .*Hold another site out"):
        divided(more, "site:hospital", fold=2)
    designs.check(more, "site:hospital", 0.2, 0, 2)
    with pytest.raises(ValueError, match="Bern cannot be"):
        designs.check(more, "site:hospital", 0.2, 0, 2, judged=True)
    followed = more.drop(columns="label").assign(event=more["hospital"].ne("Chur"))
    assert designs.not_judged(followed, "hospital")["Chur"] == "0 patients with the event, expected 2 or more"
    both = more.assign(event=more["hospital"].eq("Bern"))
    assert "Bern" not in designs.not_judged(both, "hospital"), "one outcome that can be scored is enough"
    flags = more.drop(columns="label").assign(label_a=0, label_b=more["hospital"].eq("Chur").astype(int))
    assert set(designs.not_judged(flags, "hospital")) == {"Aarau", "Basel", "Bern", "Chur", "Genf"}


def test_a_test_part_without_cases_is_said_where_time_decides():
    cohort = cohort_of(60, 1)
    cohort["label"] = np.where(cohort["scan_date"] > "2018-01-01", "well", cohort["label"])
    facts = divided(cohort, "time:scan_date", 0.1)[1]
    assert designs.doubts(facts) == ["The test part cannot be scored: no two classes with 2 patients each (6 well)."]


def test_the_split_of_the_source_is_set_aside_with_a_word():
    cohort = cohort_of().assign(split="train")
    cohort.loc[:9, "split"] = "test"
    assert designs.test_part(cohort, cohort, "auto", 0.2)[0] is not None and divided(cohort, "auto")[1] == {}
    part, facts = divided(cohort, "site:hospital", fold=1)
    assert set(cohort.loc[part == "test", "hospital"]) == {"Chur"} and facts["set_aside"] == ["test", "train"]
    assert "The split of the source (test, train) is set aside" in designs.doubts(facts)[0]


@pytest.mark.parametrize("split, more, said", [
    ("chance", {}, "expected auto, time:COLUMN or site:COLUMN"), ("time:", {}, "expected auto"),
    ("time:yaer", {}, "no column 'yaer'; did you mean 'year'"), ("site:label", {}, "bookkeeping or an outcome"),
    ("time:hospital", {}, "row 0: found 'Basel', expected in every row a number"),
    ("time:year", {"n_folds": 5}, "exclude each other"), ("time:year", {"test": 0.0}, "test_fraction is 0"),
    ("time:same", {}, "all patients have the same value"), ("site:same", {}, "has 1 value .2019.; expected 2 to 50"),
    ("site:many", {}, "has 180 values .0, 1, .* 11, ....; expected 2 to 50"),
    ("site:hospital", {"fold": 3}, "3 sites of hospital, 0 to 2 .Basel, Chur, Genf"),
])
def test_designs_that_cannot_be_are_refused_with_the_next_step(split, more, said):
    with pytest.raises(ValueError, match=said):
        cohort = cohort_of().assign(same=2019, many=range(180))
        designs.check(cohort, split, **{"test": 0.2, "n_folds": 0, "fold": 0} | more)
