"""What may not be read the wrong way round: events, classes, units, rows, options and the words of cards."""

import math

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from medlab import cli, plots, storage
from medlab.cohorts import cards, datasets, meanings
from medlab.engine import parameters
from medlab.intake import importers, outcomes, row_filter


def table(workspace, name="t.csv", n=12, **columns):
    """A table of n patients as CSV below the workspace; columns given replace its own."""
    own = {"id": [f"P{i}" for i in range(n)], "time": np.arange(n) * 40 + 10, "event": np.arange(n) % 3 == 0,
           "age": np.arange(n) + 50}
    own["event"] = own["event"].astype(int)
    pd.DataFrame({**own, **columns}).to_csv(workspace / name, index=False)
    return workspace / name


def survival(workspace, **options):
    """Import of the table with a follow-up: the dataset, and its readings by name."""
    data = importers.import_source(workspace / "t.csv", "d", overwrite=True,
                                   **{"key": "id", "keep": "id", "time": "time", "event": "event"} | options)
    return data, {r["what"]: r["read_as"] for r in data.card["understood"]}


LIVE = ["survived", "alive", "Survival", "censored", "censoring", "in_remission", "remissionFree", "event-free",
        "DiseaseFree", "free of relapse", "without_event", "status_alive", "isAlive", "vital_status", "overallSurvival",
        "survival_status", "no_event", "NED", "überlebt", "ueberlebt", "Überlebensstatus", "lebend", "zensiert",
        "rezidivfrei", "ohne_Ereignis", "survie", "vivant", "en_vie", "censuré", "sans rechute", "supervivencia",
        "vivo", "libre_de_evento", "censurado", "sobrevivió"]
DIE = ["event", "status", "OS", "DFS.event", "death", "dead", "deceased", "relapse", "Tod", "décès", "muerte",
       "survival_event", "overall_survival_event", "event_free_survival_event", "census", "nonsurvivor"]


@pytest.mark.parametrize("name", LIVE)
def test_a_name_that_says_who_lives_is_never_read_as_an_event(name):
    for yes, no in ((1, 0), ("Y", "N"), (True, False), ("oui", "non")):
        codes = pd.Series([yes] * 8 + [no] * 2, name=name)
        with pytest.raises(ValueError, match="--event-values"):
            outcomes.code_events(codes)
        assert outcomes.code_events(codes, seen=no)[0].sum() == 2


@pytest.mark.parametrize("name", DIE)
def test_a_name_that_says_nothing_against_it_is_read_as_the_event(name):
    events, coding, reading = outcomes.code_events(pd.Series(["Y", "N", "N", "Y", "N"], name=name))
    assert events.tolist() == [True, False, False, True, False]
    assert reading == "Y (2) read as seen, N (3) read as censored" and coding["seen"] == ["y"]


@pytest.mark.parametrize("values", [
    ["dead", "alive"], ["Deceased", "Living"], ["1:DECEASED", "0:LIVING"], ["1:Recurred/Progressed", "0:DiseaseFree"],
    ["verstorben", "lebt"], ["décédé", "vivant"], ["fallecido", "vivo"], ["event", "censored"], ["tot", "am Leben"]])
def test_words_say_it_whatever_the_name_of_the_column(values):
    for name in ("alive", "censored", "status"):
        assert outcomes.code_events(pd.Series(values, name=name))[0].tolist() == [True, False]


@pytest.mark.parametrize("values, hint", [
    ([1, 2], "R's survival package"), ([0, 1, 2], "competing"), ([1, 0, -1], "-1 often stands for not known"),
    (["DOD", "AWD", "NED"], "DOD died of the disease"), ([12.5, 80.0, 33.3], "percentages"),
    (list(range(20)), "are these times"), (["yes", "unclear"], "alive/dead"), (["dead", "0", "1"], "alive/dead"),
    (["death", "relapse", "alive"], "alive/dead"), ([1, -1], "-1"), (["y", "0"], "alive/dead")])
def test_codes_that_can_be_read_in_two_ways_stop(values, hint):
    with pytest.raises(ValueError, match="--event-values") as error:
        outcomes.code_events(pd.Series(values, name="status"))
    assert hint in str(error.value)


def test_told_values():
    codes = pd.Series([1, 0, -1, 2, np.nan], name="e")
    with pytest.raises(ValueError, match="-1 would be read as censored.*--censored-values 0,2"):
        outcomes.code_events(codes, seen="1")
    events, _, reading = outcomes.code_events(codes, seen="1", censored="0,2")
    assert events.tolist() == [True, False, pd.NA, False, pd.NA] and "-1 (1) read as not known" in reading
    assert outcomes.code_events(codes, seen="1", censored=[0, 2, -1])[0].tolist()[:4] == [True, False, False, False]
    words = pd.Series(["DOD", "NED", "unknown", "?"], name="e")
    assert outcomes.code_events(words, seen="dod")[0].tolist() == [True, False, pd.NA, pd.NA]
    assert outcomes.code_events(words, seen="dod", censored="NED,unknown")[0].tolist() == [True, False, False, pd.NA]
    for options in ({"seen": "3"}, {"seen": "1", "censored": "7"}, {"censored": "0"}, {"seen": "1", "censored": "1"}):
        with pytest.raises(ValueError, match="'e'"):
            outcomes.code_events(codes, **options)


def test_import_of_an_inverted_outcome(workspace):
    table(workspace, n=94, event=np.where(np.arange(94) < 16, "N", "Y"))
    frame = pd.read_csv(workspace / "t.csv").rename(columns={"event": "survival"})
    frame.to_csv(workspace / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"found Y \(78\), N \(16\)"):
        survival(workspace, event="survival", yes=True)
    data, read = survival(workspace, event="survival", event_values="N")
    assert data.cohort["event"].sum() == 16
    assert read["event column survival"] == "N (16) read as seen, Y (78) read as censored"
    assert read["survival"].startswith("16 events and 78 censored of 94 patients")


@pytest.mark.parametrize("column, days", [("os_months", 30.4375), ("Jahre", 365.25), ("follow-up (weeks)", 7),
                                          ("jours", 1), ("timeHours", 1 / 24), ("time", 1)])
def test_the_unit_of_time_is_read_from_the_name(workspace, column, days):
    table(workspace, time=np.arange(12) * 8 + 5)
    pd.read_csv(workspace / "t.csv").rename(columns={"time": column}).to_csv(workspace / "t.csv", index=False)
    data, read = survival(workspace, time=column)
    assert data.cohort["time_days"].tolist() == pytest.approx([(i * 8 + 5) * days for i in range(12)])
    assert ("by its name" in read[f"time column {column}"]) == (column != "time")
    if column != "time":
        with pytest.raises(ValueError, match="is named"):
            survival(workspace, time=column, time_unit="days" if column != "jours" else "months")


@pytest.mark.parametrize("column, longest, asked", [
    ("OS_m", 93, "months"), ("PFS.y", 93, "years"), ("OS_m", 1900, None), ("OS_d", 93, None), ("system", 93, None)])
def test_a_letter_that_may_be_a_unit_is_a_question_where_the_values_allow_it(workspace, column, longest, asked):
    table(workspace, time=np.linspace(5, longest, 12).round())
    pd.read_csv(workspace / "t.csv").rename(columns={"time": column}).to_csv(workspace / "t.csv", index=False)
    if not asked:
        assert survival(workspace, time=column)[0].cohort["time_days"].max() == longest
        return
    with pytest.raises(ValueError, match=rf"--time-unit {asked}\|days"):
        survival(workspace, time=column)
    days = survival(workspace, time=column, time_unit=asked)[0].cohort["time_days"]
    assert days.max() == pytest.approx(longest * meanings.UNITS[asked])


@pytest.mark.parametrize("times, options, said", [
    (np.arange(12) + 60000, {}, "150.*--time-unit"), (np.arange(12) * 100 + 9, {"time_unit": "years"}, "150"),
    (np.arange(12) + 2001, {"time_unit": "years"}, "calendar years"), (np.arange(12) % 2, {}, "swapped"),
    ([f"2020-01-{i + 1:02d}" for i in range(12)], {}, "--start and --end"),
    (np.arange(12), {"event": "time"}, "both name"), (np.arange(12), {"time_unit": "fortnights"}, "fortnights"),
    (np.full(12, -3), {}, "no row of 12 can be used: time -3"), (np.arange(12), {"event": "id"}, "alive/dead")])
def test_what_is_no_time_of_a_follow_up_stops(workspace, times, options, said):
    table(workspace, time=times)
    with pytest.raises(ValueError, match=said):
        survival(workspace, yes=True, **options)
    assert not (workspace / "data" / "d").exists()


@pytest.mark.parametrize("columns, option", [
    ({"time": np.arange(12) * 0.7 + 0.1}, "--time-unit"), ({"time": np.arange(12) / 20}, "--time-unit"),
    ({"event": 1}, "--event-values"), ({"event": 0}, "--event-values")])
def test_guesses_about_times_and_events_are_questions(workspace, columns, option):
    table(workspace, **columns)
    with pytest.raises(ValueError, match=f"1 open question.*{option}"):
        survival(workspace)
    assert len(survival(workspace, yes=True)[0].card["questions"]) == 1
    answer = {"--time-unit": {"time_unit": "months"}, "--event-values": {"event_values": columns.get("event")}}[option]
    assert "questions" not in survival(workspace, **answer)[0].card


def test_infinite_times_are_refused_row_by_row(workspace):
    table(workspace, time=[math.inf, 1e308, *range(5, 105, 10)])
    data, _ = survival(workspace)
    assert data.cohort["time_days"].max() == 95 and len(data.cohort) == 10
    assert (pd.read_csv(data.folder / "import_log.csv")["status"] == "refused").sum() == 2


# ---- classes


@pytest.mark.parametrize("classes, positive", [
    ("yes no", "yes"), ("positive negative", "positive"), ("malignant benign", "malignant"),
    ("normal abnormal", "abnormal"), ("healthy diseased", "diseased"), ("1 0", "1"), ("control case", "case"),
    ("absent present", "present"), ("NORMAL PNEUMONIA", "PNEUMONIA"), ("tumor notumor", "tumor"),
    ("no_tumor tumor", "tumor"), ("ja nein", "ja"),
    ("gutartig bösartig", "bösartig"), ("sain malade", "malade"), ("sano enfermo", "enfermo"), ("true false", "true"),
    ("Parasitized Uninfected", "Parasitized"), ("responder non-responder", "responder"), ("class_1 class_0", "class_1"),
    ("dead alive", "dead"), ("+ -", "+"), ("wildtype mutant", "mutant"), ("disease disease-free", "disease"),
    ("male female", None), ("1 2", None), ("a b", None), ("normal benign", None), ("cancer malignant", None),
    ("HGG LGG", None), ("a b c", None)])
def test_the_positive_class_by_its_meaning(classes, positive):
    names = classes.split()
    assert meanings.positive(names) == meanings.positive(names[::-1]) == positive


def folder_of_classes(workspace, *classes, each=2):
    for c in classes:
        (workspace / "src" / c).mkdir(parents=True)
        for i in range(each):
            pixels = np.random.default_rng([len(c), i, ord(c[0])]).integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(workspace / "src" / c / f"{c}{i}.png")
    return workspace / "src"


def test_folders_yes_and_no(workspace):
    data = importers.import_source(folder_of_classes(workspace, "yes", "no"), "d")
    assert (data.card["classes"], data.card["positive"]) == (["no", "yes"], "yes")
    read = {r["what"]: r["read_as"] for r in data.card["understood"]}
    assert read["label"] == "no (2), yes (2)" and read["positive class"] == "yes (by its meaning)"


def test_two_classes_without_a_meaning_are_asked(workspace):
    source = folder_of_classes(workspace, "leaf", "root", each=1)
    with pytest.raises(ValueError, match="--positive leaf"):
        importers.import_source(source, "d")
    assert importers.import_source(source, "d", positive="leaf").card["positive"] == "leaf"
    assert importers.import_source(source, "d", yes=True, overwrite=True).card["positive"] == "root"
    with pytest.raises(ValueError, match="'up': expected one of leaf, root"):
        importers.import_source(source, "d", positive="up", overwrite=True)
    assert datasets.load("d").card["positive"] == "root", "a refused import leaves the dataset as it was"


def test_words_for_missing_among_labels(workspace):
    def labelled(**options):
        return importers.import_source(workspace / "t.csv", "d", overwrite=True, key="id", label="event", **options)

    table(workspace, event=["None"] * 5 + ["left"] * 4 + ["unknown"] * 2 + ["?"])
    with pytest.raises(ValueError, match="--classes"):
        labelled(positive="left")
    data = labelled(positive="left", yes=True)
    assert data.card["classes"] == ["None", "left"] and data.cohort["label"].isna().sum() == 3
    read = {r["what"]: r["read_as"] for r in data.card["understood"]}
    assert read["label"] == "None (5), left (4); 3 without, unknown (2), ? (1) among them"
    kept = labelled(classes="None,left,unknown")
    assert kept.cohort["label"].value_counts().to_dict() == {"None": 5, "left": 4, "unknown": 2}
    assert "questions" not in kept.card
    table(workspace, event=["unknown"] * 5 + ["left"] * 7)
    with pytest.raises(ValueError, match=r"unknown \(5\) read as no label, which leaves left.*--classes left,unknown"):
        labelled(yes=True)


def test_words_of_a_card_stay_words(tmp_path):
    (tmp_path / "card.yaml").write_text(
        "title: 2024-01-31\nlicence:\npositive: yes\nclasses_ordered: yes\nmask_classes: {no: 1, yes: 2}\n"
        "classes: [no, yes, NO, ON, off, 1_000, 1e3, null, 2024-01-31, 0x10]\n"
        "event_coding: {column: No, seen: [yes], censored: [no]}\n")
    card = cards.read_card(tmp_path / "card.yaml")
    assert card["classes"] == ["no", "yes", "NO", "ON", "off", "1_000", "1e3", "null", "2024-01-31", "0x10"]
    assert card["title"] == "2024-01-31" and card["licence"] is None
    assert card["positive"] == "yes" and card["classes_ordered"] is True
    assert card["mask_classes"] == {"no": 1, "yes": 2}
    assert card["event_coding"] == {"column": "No", "seen": ["yes"], "censored": ["no"]}


def test_a_hand_written_card_gets_its_positive_class(workspace):
    folder = workspace / "data" / "d"
    folder.mkdir()
    (folder / "card.yaml").write_text("title: t\nclasses: [no, yes]\n")
    (folder / "cohort.csv").write_text("patient_id,label,x\na,no,1\nb,yes,2\n")
    data = datasets.load("d")
    assert data.card["positive"] == "yes" and any("positive class yes" in note for note in data.notes)


# ---- rows


def test_where_takes_the_rows_and_logs_the_others(workspace):
    kinds = pd.DataFrame({"id": list("abcd"), "modality": ["CT", "X-ray", "X-ray", None], "body part": [1, 2, 3, 4]})
    for text, rows in (("modality == 'X-ray'", [1, 2]), ("`body part` > 1 and not modality == 'X-ray'", [3]),
                       ("modality in ['CT', 'MR'] or `body part` == 4", [0, 3]), ("1 < `body part` <= 3", [1, 2])):
        assert np.flatnonzero(row_filter.where(kinds, text)).tolist() == rows
    table(workspace, site=["A"] * 4 + ["B"] * 8)
    data, read = survival(workspace, where="site == 'B' and age < 60")
    assert len(data.cohort) == 6 and read["rows"] == "6 of 12 by --where site == 'B' and age < 60"
    log = pd.read_csv(data.folder / "import_log.csv")
    assert (log["reason"] == "left out by --where site == 'B' and age < 60").sum() == 6
    with pytest.raises(ValueError, match="keeps none of 12 rows"):
        survival(workspace, where="site == 'b'")


@pytest.mark.parametrize("text", [
    "@pd.io", "__import__('os').system('x')", "a.__class__", "a.str.len() > 1", "a > 3", "a", "a + 1", "a ==", "b == 1",
    "[x for x in a]", "a[0]", "(lambda: 1)()", "(" * 3000, "index > 1", "a == 1; b"])
def test_where_can_do_nothing_but_compare(text):
    with pytest.raises(ValueError, match="where|no column"):
        row_filter.where(pd.DataFrame({"a": ["x", "y"]}), text)


def test_all_duplicate_rows_are_listed_at_once(workspace):
    table(workspace, n=60, id=[f"P{i % 25}" for i in range(60)])
    with pytest.raises(ValueError, match=r"25 values of 'id'.*'P0' in rows 1 and 26 and 51;.*; and 5 more.*--on-dup"):
        survival(workspace)
    data, _ = survival(workspace, on_duplicate="first")
    assert data.cohort["age"].tolist() == list(range(50, 75))
    table(workspace, n=5, id=list("aabcc"), time=[1, 1, 2, 3, 4], event=[1, 1, 0, 0, 1], age=[1, 1, 2, 3, 4])
    assert survival(workspace, on_duplicate="refuse")[0].cohort["patient_id"].tolist() == ["a", "b"]
    log = pd.read_csv(workspace / "data/d/import_log.csv").query("status != 'taken'")
    assert log["status"].tolist() == ["duplicate", "refused", "refused"]


def test_a_bad_part_loses_nothing(workspace):
    table(workspace)
    before = survival(workspace)[0].cohort
    table(workspace, part="zz")
    with pytest.raises(ValueError, match=r"found zz \(12\), expected train, val, test"):
        survival(workspace, split="part")
    assert datasets.load("d").cohort.equals(before)
    assert set(survival(workspace, split="part", split_as="zz:test")[0].cohort["split"]) == {"test"}


# ---- options, parameters, figures


def test_options_of_the_command_line_are_text(workspace):
    table(workspace, event=["yes", "no", "no"] * 4)
    frame = pd.read_csv(workspace / "t.csv").rename(columns={"id": "No", "age": "2021"})
    with pd.ExcelWriter(workspace / "t.xlsx") as book:
        frame.to_excel(book, sheet_name="2021", index=False)
        frame.iloc[:3].to_excel(book, sheet_name="2022", index=False)
    words = ["--key", "No", "--sheet", "2021", "--time", "time", "--event", "event", "--event-values", "yes"]
    assert cli.main(["import", str(workspace / "t.xlsx"), "d", *words, "--drop", "2021"]) == 0
    data = datasets.load("d")
    assert data.cohort["event"].sum() == 4 and datasets.covariates(data) == []


@pytest.mark.parametrize("words, said", [
    (["--key"], "--key: expected a value"), (["--key="], "--key: expected a value"),
    (["--overwrite", "now"], "--overwrite takes no value"), (["--blocks", "1.5"], "whole number"),
    (["--blocks", "1e3"], "whole number"), (["--key", "a", "--key", "b"], "--key is given twice"),
    (["--key", "a", "b"], "unexpected argument 'b'"), (["--kin", "table"], "unknown option --kin")])
def test_wrong_options_are_named(workspace, capsys, words, said):
    assert cli.main(["import", str(table(workspace)), "d", *words]) == 2
    assert said in capsys.readouterr().err and not list((workspace / "data").iterdir())


@pytest.mark.parametrize("content, said", [
    (b"word: &a [x]\nsteps: *a\n", "repeats another"),
    (b"word: \xe4", "not UTF-8"), (b"word: " + b"[" * 100000, "deep"), (b"seed: 1\nseed: 2", "occurs twice"),
    ("word: f\xfcr".encode("utf-16"), "not UTF-8; save it as UTF-8"),
    (b"seed: 010", "'seed' is 010, which YAML reads as"),
    (b"seed: 1:30", "base 60"),
    (b"- a", "expected lines"), (b"word: a: b", "not valid YAML"),
    (b"seed: " + b"9" * 5000, "'seed' is a number of 5000 digits"),
    (b"seed: !!python/name:os.system", "not valid YAML"), (b"seed: x\x00", "not valid YAML")])
def test_a_broken_parameter_file_is_a_message(bench, content, said):
    (bench / "reports" / "try" / "params.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="reports/try/params.yaml") as error:
        parameters.read_params("try")
    assert said in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("value", [10**400, math.nan, math.inf])
def test_numbers_that_are_no_number_are_refused(monkeypatch, value):
    monkeypatch.setattr(parameters, "known_parameters", lambda: {"rate": 0.1})
    with pytest.raises(ValueError, match="'rate' is"):
        parameters.check_parameters({"rate": value}, "params.yaml")


@pytest.mark.parametrize("seed", [-1, 2**32, 10**400])
def test_a_seed_that_no_generator_takes_is_refused_before_anything_runs(seed):
    with pytest.raises(ValueError, match="'seed' is .*, expected 0 to 4294967295"):
        parameters.check_parameters({"seed": seed}, "params.yaml")


def test_words_of_parameters_stay_words(bench):
    (bench / "reports" / "try" / "params.yaml").write_text("word: no\ndataset: 2021\nseed: 3\n")
    assert parameters.read_params("try") == {"word": "no", "dataset": "2021", "seed": 3}


def test_what_is_written_as_yaml_is_read_back(tmp_path):
    value = {"a": "no", "b": ["1e3", "null", "~", ""], "c": {"yes": 1, "x": [True, 2.5, None]}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(value))
    assert storage.read_yaml(tmp_path / "x.yaml", {"a", "b"}) == value


def test_dollar_signs_are_drawn_as_they_are():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")
    with mpl.rc_context():
        plots.setup()
        ax = plots.shares(pd.DataFrame({"$0_": [1, 2], "$5-$10_": [3, 4]}, index=["cost_$ / income_$", r"$x_{$"]))
        assert not any(t.get_parse_math() for t in (*ax.get_yticklabels(), *ax.get_legend().get_texts()))
        ax.figure.canvas.draw()
        ax = plt.subplots()[1]
        ax.plot([1, 2], [0.0002, 300])
        ax.set_yscale("log")
        ax.figure.canvas.draw()
        labels = [t.get_text() for t in ax.get_yticklabels()]
        assert {"10⁻²", "10⁰", "10²"} <= set(labels) and not any("$" in text for text in labels)
        plt.close("all")


def test_a_draft_tells_patients_and_parts(workspace):
    table(workspace, part=["train"] * 8 + ["test"] * 3 + [None])
    _, read = survival(workspace, split="part")
    assert read["split"] == "train (8), test (3); 1 in none" and read["patients"] == "12 in 12 rows"


@pytest.mark.parametrize("name", ["生存", "是否存活", "无复发", "Выжил", "жив", "good_outcome",
                                  "local_control", "livre"])
def test_names_of_further_languages_that_say_who_lives(name):
    with pytest.raises(ValueError, match="--event-values 0"):
        outcomes.code_events(pd.Series([0, 1, 1], name=name))


@pytest.mark.parametrize("values", [["死亡", "生存"], ["умер", "жив"], ["是", "否"], ["да", "нет"], ["あり", "なし"]])
def test_words_of_further_languages_for_events(values):
    assert outcomes.code_events(pd.Series(values, name="event"))[0].tolist() == [True, False]


@pytest.mark.parametrize("values, example", [(["0", "1", "9"], "1"), (["Living", "Died of disease", "Died of other"],
                                                                       "Died of disease")])
def test_the_example_of_a_message_is_the_event(values, example):
    with pytest.raises(ValueError, match=f"--event-values {example}$"):
        outcomes.code_events(pd.Series(values, name="event"))


def test_times_of_one_outcome_alone_stop(workspace):
    path = table(workspace, id=[f"P{i}" for i in range(12)], days=[300, ""] * 6, status=["Dead", "Alive"] * 6)
    with pytest.raises(ValueError, match="none of 6 patients without the event has a time"):
        importers.import_source(path, "t", key="id", time="days", event="status")


def test_doubtful_classes_are_asked(workspace):
    for values, said in ((["0", "1", "9"], "--missing dx:9"),
                         (["benign", "Benign", "tumour"], "--classes Benign,benign")):
        path = table(workspace, id=[f"P{i}" for i in range(12)], dx=values * 4)
        with pytest.raises(ValueError, match=said):
            importers.import_source(path, "t", key="id", label="dx")
