"""What a cohort can show: parameters of its table, patients needed and there, in words of check and of page 01."""

import numpy as np
import pandas as pd
import pytest

from medlab.cohorts import adequacy, checks, datasets
from medlab.statistics import sample_size


def dataset(folder, n=400, share=0.25, split=False, survival=True, **card):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(n)], "age_years": rng.normal(60, 9, n).round(1),
                          "stage": rng.choice(["I", "II", "III"], n), "sex": rng.choice(["f", "m"], n),
                          "constant": 1, "label": np.where(np.arange(n) < share * n, "ill", "well")})
    if survival:
        table = table.assign(time_days=rng.exponential(900, n).round() + 1, event=rng.random(n) < 0.4)
    if split:
        table["split"] = np.where(np.arange(n) % 4 == 0, "test", "train")
    return datasets.Dataset("made", folder, {"title": "made", "patients": "known"} | card, table)


def test_parameters_are_the_columns_after_coding(tmp_path):
    data = dataset(tmp_path)
    assert adequacy.parameters(data.cohort, ["age_years", "stage", "sex", "constant"]) == 1 + 2 + 1


def test_needed_and_there_stand_side_by_side(tmp_path):
    table = adequacy.table(dataset(tmp_path))
    label = table[table["outcome"] == "ill"]
    made, tried = (label[label["for"] == purpose] for purpose in (adequacy.MAKE, adequacy.VALIDATE))
    assert list(made["needed"]) == list(sample_size.development(4, 0.25).values()) and set(made["there are"]) == {320}
    assert list(tried["needed"]) == list(sample_size.validation(0.25).values()) and set(tried["there are"]) == {80}
    survival = table[table["outcome"] == "survival"]
    assert survival["needed"].iloc[-1] == 100 and survival["there are"].iloc[-1] < 40
    assert (table["enough"].eq("yes") == (table["there are"] >= table["needed"])).all()


def test_the_test_part_of_the_source_counts_and_several_rows_of_a_patient_once(tmp_path):
    data = dataset(tmp_path, split=True)
    twice = datasets.Dataset("made", tmp_path, data.card, pd.concat([data.cohort] * 2, ignore_index=True))
    table = adequacy.table(twice)
    assert set(table.loc[(table["outcome"] == "ill") & (table["for"] == adequacy.VALIDATE), "there are"]) == {100}
    assert adequacy.table(data).equals(table)


def test_the_class_that_counts_as_a_case(tmp_path):
    assert set(adequacy.table(dataset(tmp_path, survival=False))["outcome"]) == {"ill"}, "the rarest"
    assert set(adequacy.table(dataset(tmp_path, survival=False, positive="well"))["outcome"]) == {"well"}


@pytest.mark.parametrize("change", [{"label": None}, {"label": "ill"}, {"event": False, "label": None}])
def test_without_two_kinds_of_an_outcome_nothing_is_said(tmp_path, change):
    data = dataset(tmp_path)
    cohort = data.cohort.assign(**change)
    cohort = cohort if "event" in change else cohort.drop(columns=["time_days", "event"])
    table = adequacy.table(datasets.Dataset("made", tmp_path, data.card, cohort))
    assert table.empty and list(table) == adequacy.COLUMNS and adequacy.in_words(table, 4) == []


def test_in_words_and_in_check(tmp_path, monkeypatch):
    small, large = (adequacy.in_words(adequacy.table(dataset(tmp_path, n)), 4) for n in (100, 20_000))
    assert any(text.startswith("Too small for a new regression model of ill from the 4 parameters of the table: 80 "
                               "patients, ") and "needed (" in text for text in small)
    assert any(text.startswith("Too small for a validation of survival: ") and "events, 100 needed." in text
               for text in small)
    assert all(text.startswith("Large enough for") for text in large)
    monkeypatch.setenv("MEDLAB_DATA", str(tmp_path))
    (tmp_path / "made").mkdir()
    dataset(tmp_path, 100).cohort.to_csv(tmp_path / "made" / "cohort.csv", index=False)
    (tmp_path / "made" / "card.yaml").write_text("title: made\npatients: known\n")
    assert set(small) <= {text for level, text in checks.check("made") if level == "note"}
