"""The ledger of test openings: by content, weights and choices; whatever the run is called; never forgotten."""

import multiprocessing

import numpy as np
import pandas as pd
import pytest

from medlab.engine import openings


class Network:
    """What `openings.weights_digest` needs of a network."""

    def __init__(self, value):
        self.value = value

    def get_weights(self):
        return [np.full((2, 3), self.value, "float32"), np.zeros(2, "float32")]


COHORT = pd.DataFrame({"row": range(6), "patient_id": list("aabbcd"), "image": [f"{i}.png" for i in range(6)],
                       "sha": [f"s{i}" for i in range(6)], "age_years": [50, 50, 61, 61, 70, 33]})
PREPARED = {"test_part": openings.content_of(COHORT, [4, 5])}
NAME = "04_evaluation"


def test_a_test_part_is_known_by_its_content(workspace):
    renamed = COHORT.assign(patient_id=list("zzyyxw"), image="other.png").iloc[::-1]
    assert openings.content_of(renamed, [4, 5]) == PREPARED["test_part"] != openings.content_of(COHORT, [3, 5])
    table = COHORT.drop(columns=["image", "sha"])
    assert openings.content_of(table, [4, 5]) == openings.content_of(table.assign(patient_id=list("zzyyxw")), [4, 5])
    assert openings.content_of(table, [4, 5]) != openings.content_of(table.assign(age_years=40), [4, 5])
    with pytest.raises(ValueError, match="execute notebook 02"):
        openings.read({})


def test_the_same_weights_and_choices_are_one_opening_and_other_choices_are_a_second(workspace):
    weights = openings.weights_digest(Network(1))
    assert weights == openings.weights_digest(Network(1)) != openings.weights_digest(Network(2))
    first = openings.record(PREPARED, "try", NAME, weights, {"rule": "youden", "threshold": 0.41})
    again = openings.record(PREPARED, "try", NAME, weights, {"rule": "youden", "threshold": np.float64(0.41)})
    assert len(first) == len(again) == 1 and "WARNING" not in openings.in_words(again)
    other = openings.record(PREPARED, "try", NAME, weights, {"rule": "sensitivity 0.9", "threshold": 0.2})
    assert list(other["set"]) == [0, 1] and other["weights"].nunique() == 1
    said = openings.in_words(other)
    assert "2 sets of weights and choices (1 network), by try" in said and "WARNING" in said


def test_another_name_of_the_run_does_not_start_at_one_and_other_questions_are_apart(workspace):
    for run, value in (("one", 1), ("two", 2)):
        found = openings.record(PREPARED, run, NAME, openings.weights_digest(Network(value)), {"rule": "youden"})
    assert list(found["run"]) == ["one", "two"] and "(2 networks), by one, two" in openings.in_words(found)
    survival = openings.record(PREPARED, "one", "05_survival_analysis", "", {"models": "clinical"})
    assert len(survival) == 1 and "WARNING" not in openings.in_words(survival)
    assert len(openings.read(PREPARED)) == 3
    assert openings.in_words(openings.read({"test_part": "0" * 32})) == "This test part has not been opened."


def _look(value):
    openings.record(PREPARED, f"run{value}", NAME, openings.weights_digest(Network(value)), {"rule": "é"})


def test_openings_at_once_and_a_line_cut_off_lose_nothing(workspace):
    _look(0)
    with open(openings.ledger(PREPARED), "a") as stream:
        stream.write('{"time": "2026-')
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_look, range(1, 9))
    assert sorted(openings.read(PREPARED)["run"]) == [f"run{i}" for i in range(9)]


def test_no_look_is_lost_by_odd_letters_and_a_damaged_line_stops_nothing(workspace):
    for rule in ("\u2028", "\x85", "é", "\udc80"):  # the first two end a line for str.splitlines
        assert len(openings.record(PREPARED, "try", NAME, "w", {"rule": rule, "limit": float("nan")})) > 0
    with open(openings.ledger(PREPARED), "ab") as stream:
        stream.write(b'null\n3\n[]\n{}\n{"time": "", "run": "", "notebook": "", "weights": 5}\n{"r": "\xc3')
    assert len(openings.record(PREPARED, "try", NAME, "w", {"rule": "new"})) == 5
    assert openings.ledger(PREPARED).read_text(encoding="ascii", errors="replace").endswith("}\n")


def test_a_value_missing_elsewhere_does_not_change_the_test_part_and_other_patients_without_images_do():
    table = COHORT.drop(columns=["image", "sha"])
    key = openings.content_of(table, [4, 5])
    assert key == openings.content_of(table.assign(age_years=[None, 50, 61, 61, 70, 33]), [4, 5])
    assert key == openings.content_of(table.assign(stage=None), [4, 5]) != openings.content_of(table, [3, 5])
    mixed = COHORT.assign(sha=["s0", None, None, None, None, "s5"])
    assert openings.content_of(mixed, [3, 5]) != openings.content_of(mixed, [4, 5])
