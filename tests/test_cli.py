"""The command line: options, exit codes, messages."""

import pytest

from medlab import cli


@pytest.mark.parametrize("words, expected", [
    (["--patients", "240", "--seed", "0"], {"patients": "240", "seed": "0"}),
    (["--time-unit=months", "--overwrite"], {"time_unit": "months", "overwrite": True}),
    (["--patient-pattern", "(?P<patient_id>[A-Z]+_..)_.*"], {"patient_pattern": "(?P<patient_id>[A-Z]+_..)_.*"}),
    (["--mask", "{key}.npz::mask"], {"mask": "{key}.npz::mask"}),
])
def test_options(words, expected):
    assert cli.read_options(words) == expected


def test_a_stray_word_is_refused():
    with pytest.raises(ValueError, match="unexpected argument 'two'"):
        cli.read_options(["--a", "one", "two"])


@pytest.mark.parametrize("words, message", [
    (["import", "nowhere", "x"], "nowhere"),
    (["import", "synthetic:thorax", "x", "--patient", "3"], "did you mean --patients"),
    (["import", "synthetic:thorax", "../x"], "../x"),
    (["run", "absent"], "params.yaml does not exist"),
])
def test_refusals_are_one_line_and_exit_code_2(words, message, workspace, capsys):
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list((workspace / "data").iterdir()) == []


@pytest.mark.parametrize("option, value, message", [
    ("window", "nope", "expected one of lung, mediastinum"), ("window", "lung,,bone", "without an empty entry"),
    ("region", "chest", "expected one of none, lungs"), ("spacing-mm", "0.7,x", "positive numbers"),
    ("spacing-mm", "1,-1", "positive numbers"), ("blocks", "1", "whole number from 2"),
    ("class-level", "deep", "whole number from 0 or none"), ("time-unit", "fortnights", "expected one of minutes"),
    ("decimal", ";", "expected one of ., ,"), ("encoding", "klingon", "cp1252"), ("date-format", "%d", "and year"),
    ("rename", "old", "pairs like old:new"), ("rename", "old:", "none of them empty"), ("intensity", "hu", "HU, SUV"),
    ("split-as", "val:exam", "expected one of train, val, test"), ("mask-classes", "liver:one", "whole numbers"),
    ("on-duplicate", "last", "first, refuse"), ("drop", "a,,b", "without an empty entry"),
    ("inclusive", "no", "takes no value"), ("orientation", "up", "expected one of"), ("copies", "no", "all, once"),
    ("augmentation", "fundus", "expected auto"), ("patient-level", "-1", "whole number from 0"),
])
def test_an_option_is_checked_by_its_type_before_anything_is_read(option, value, message, workspace, capsys):
    (workspace / "t.csv").write_bytes(b"\0 no table at all")
    assert cli.main(["import", str(workspace / "t.csv"), "x", f"--{option}={value}"]) == 2
    error = capsys.readouterr().err
    assert f"--{option}" in error and message in error and "t.csv" not in error


def test_types_of_the_options_of_a_kind_are_those_of_its_docstring():
    from medlab.intake import importers, option_types

    found = option_types.of_function(importers.dicom)
    assert found.keys() == {"studies", "echo", "segmentation"}
    assert found["studies"]("all") == "all" and found["echo"]("2") == 2
    for name, value in (("studies", "last"), ("echo", "0"), ("segmentation", "RTDOSE")):
        with pytest.raises(ValueError, match="expected"):
            found[name](value)


def test_check_of_an_absent_dataset_says_how_to_make_one(workspace, capsys):
    assert cli.main(["check", "absent"]) == 1
    assert "medlab import" in capsys.readouterr().out


def test_check_of_a_dataset(bench, capsys):
    assert cli.main(["check", "table"]) == 0
    printed = capsys.readouterr().out
    assert "12 patients" in printed
    (bench / "data" / "table" / "card.yaml").write_text("title: A table\npatients: known\nclases: [a]\n")
    assert cli.main(["check", "table"]) in (1, 2)
    captured = capsys.readouterr()
    assert "classes" in captured.out + captured.err
