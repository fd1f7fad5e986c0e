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
