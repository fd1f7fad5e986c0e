"""Tables as people have them: encodings, quotes, numbers, ids, dates; known, asked or refused, never silently wrong."""

import datetime
import itertools
import unicodedata

import numpy as np
import openpyxl
import pandas as pd
import pytest
import yaml

from medlab.cohorts import datasets
from medlab.intake import csv_files, dates, encodings, importers, tables

NAMES = itertools.count()


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def column(tmp_path, cells, name="x", **options):
    """A column of a table of these cells beside a key, and its reading."""
    text = f"id;{name}\n" + "".join(f'P{i};"{cell}"\n' for i, cell in enumerate(cells))
    table = tables.read_table(write(tmp_path / f"{next(NAMES)}.csv", text), "id", **options)
    return table[name], table.attrs["readings"][name]


def taken(workspace, content, **options):
    path = write(workspace / f"t{next(NAMES)}.csv", content)
    data = importers.import_source(path, path.stem, **{"key": "id", "keep": "id", **options})
    card = yaml.safe_load((data.folder / "card.yaml").read_text())
    return data, {r["what"]: r["read_as"] for r in card["understood"]}, pd.read_csv(data.folder / "import_log.csv")


# ---- letters


CHINESE = "编号,性别,诊断\n1,男,肺腺癌\n2,女,正常\n"
TEXTS = {
    "gbk": CHINESE, "big5": "編號,診斷,醫院\n1,肺癌,台北\n2,正常,高雄\n",
    "cp932": "番号,病理,死亡\n1,腺癌,あり\n2,扁平上皮癌,なし\n",
    "cp949": "번호,진단,병원\n1,폐암,서울\n2,정상,부산\n",
    "cp1251": "номер,диагноз\n1,аденокарцинома\n2,плоскоклеточный рак\n",
    "koi8-r": "номер,диагноз\n1,аденокарцинома\n2,плоскоклеточный рак\n",
    "cp866": "номер,диагноз\n1,аденокарцинома\n2,плоскоклеточный рак\n",
    "cp1252": "id,Größe\n1,groß\n2,klein\n", "mac_roman": "id,Größe\n1,groß\n2,für\n",
    "cp850": "id,Größe\n1,groß\n2,für\n",
    "cp1250": "id,płeć\n1,mężczyzna\n2,złośliwy\n", "iso8859-2": "id,płeć\n1,mężczyzna\n2,złośliwy\n",
    "cp1253": "id,φύλο\n1,άνδρας\n2,καρκίνος\n", "cp1254": "id,x\n1,akciğer\n2,İstanbul\n", "utf-8-sig": CHINESE,
    "utf-16": CHINESE, "utf-16-le": CHINESE, "utf-16-be": CHINESE, "utf-32": CHINESE,
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_letters_are_right(tmp_path, encoding):
    path = write(tmp_path / "t.csv", TEXTS[encoding], encoding)
    rows = [line.split(",") for line in TEXTS[encoding].splitlines()]
    table = tables.read_table(path)
    assert list(table) == rows[0] and table.astype(str).to_numpy().tolist() == rows[1:]
    told, _ = encodings.find(path.read_bytes(), "t.csv", encoding)
    assert told == encoding


@pytest.mark.parametrize("text, encoding", [
    ("id,dose µg,temp °C,cost €\n1,2,3,4\n", "cp1252"), ("id,ville\n1,Genève\n2,Nîmes\n3,tête\n", "cp1252"),
    ("id,x\n1,niño\n2,España\n", "cp1252"),
    ("id,køn,år\n1,mænd,2\n", "cp1252"), ("id,x\n1,tüdőrák\n2,férfi\n", "cp1250"),
    ("id,pohlaví\n1,muž\n2,Němcová\n", "cp1250"), ("id,x\n1,זכר\n2,נקבה\n", "cp1255"),
])
def test_short_tables_of_one_language(text, encoding):
    data = text.encode(encoding)
    assert data.decode(encodings.find(data, "t.csv")[0]) == text


@pytest.mark.parametrize("data, said", [
    ("id,x\n1,男\n2,女\n".encode("gbk"), "in doubt.*--encoding"), ("id,пол\n1,м\n2,ж\n".encode("cp1251"), "--encoding"),
    ("id,x\n1,não\n".encode("cp1252"), "--encoding"), ("id,x\n1,診断\n".encode("iso2022_jp"), "--encoding iso2022_jp"),
    ("id,x\n1,Größe\n".encode().decode("cp1252").encode(), "encoded twice"), (b"id,x\n1,\x00\x01\x02\n", "zero bytes"),
])
def test_doubtful_letters_are_refused(tmp_path, data, said):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        tables.read_table(tmp_path / "t.csv")


def test_the_encoding_is_told(tmp_path, workspace):
    path = write(tmp_path / "t.csv", "id,x\n1,男\n2,女\n", "gbk")
    assert tables.read_table(path, encoding="gbk")["x"].tolist() == ["男", "女"]
    with pytest.raises(ValueError, match="unknown; such as"):
        tables.read_table(path, encoding="gbq")
    with pytest.raises(ValueError, match="line 2: byte 0xc4 is no utf-8"):
        tables.read_table(path, encoding="utf-8")
    path = write(workspace / "ru.csv", "id,пол\n1,м\n2,ж\n", "cp1251")
    data = importers.import_source(path, "ru", key="id", encoding="cp1251")
    assert data.cohort["пол"].tolist() == ["м", "ж"] and data.card["import"]["options"]["encoding"] == "cp1251"


# ---- lines and quotes


@pytest.mark.parametrize("text, rows", [
    ("sep=;\nid;a\n1;2,5\n", [["id", "a"], ["1", "2,5"]]),
    ('id,a,b\n1,"two\nlines",x\n2,"he said ""no""",y\n', [["id", "a", "b"], ["1", "two\nlines", "x"],
                                                         ["2", 'he said "no"', "y"]]),
    ("id,a\n1,x\u2028y\n2,u\u0085v\n", [["id", "a"], ["1", "x\u2028y"], ["2", "u\u0085v"]]),
    ("id,a\r1,2\r", [["id", "a"], ["1", "2"]]), ("id|a\n\n1|\u00a02\u00a0\n , \n3|4\n".replace(" , ", " | "),
                                                 [["id", "a"], ["1", "2"], ["3", "4"]]),
    ("id\ta\n1\t5\u202f000\n", [["id", "a"], ["1", "5 000"]]),
    ("\ufeffid,a\n1,\u200b2\ufeff\n", [["id", "a"], ["1", "2"]]),
    ("id,a\n1,e\u0301\n", [["id", "a"], ["1", "é"]]), ("id,a\n1,5\" tube\n", [["id", "a"], ["1", '5" tube']]),
])
def test_a_table_is_read_as_a_spreadsheet_reads_it(tmp_path, text, rows):
    assert csv_files.read(write(tmp_path / "t.csv", text))[0].to_numpy().tolist() == rows


@pytest.mark.parametrize("text, said", [
    ('id,a,b\n1,"x,2\n2,y,3\n', "line 2: a quotation mark"), ('id,a,b\n1,2,3\n2,"x" y,3\n', "line 3: a quotation mark"),
    ('id,a,b\n1,"x,1\n2,y,2\n3,z",3\n', "line 2: a quoted cell holds whole lines"),
    ('id,a\n1,"two\nlines"\n2\n', "line 4: found 1 fields"), ("sep=;\nid;a\n1;2;3\n", "line 3: found 3 fields"),
])
def test_lost_quotation_marks_name_their_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        tables.read_table(write(tmp_path / "t.csv", text))


# ---- numbers


NUMBERS = [str(n) for n in range(30, 60)]


@pytest.mark.parametrize("cell, value, told", [
    ("?", np.nan, "1 missing ('?' 1)"), ("None", np.nan, "'None' 1"), ("Na", np.nan, "'Na' 1"), ("n. a.", None, ""),
    ("#DIV/0!", np.nan, "'#DIV/0!' 1"), ("<0.1", 0.1, "'<0.1' in row 31 read as its bound"), (">= 90", 90, "bound"),
    ("90+", 90, "bound"), ("210 U/l", 210, "unit U/l"), ("45 %", 45, "unit %"), ("\u22125", -5, ""), ("6５", 65, ""),
    ("1,5", 1.5, ""), ("1'234.5", 1234.5, ""), ("1 234,5", 1234.5, ""), ("1,234,567", 1234567, ""), ("inf", None, ""),
])
def test_one_odd_cell_leaves_a_column_of_numbers(tmp_path, cell, value, told):
    found, reading = column(tmp_path, [*NUMBERS, cell])
    assert found.dtype.kind == "f" or value == int(value or 0), "a number"
    assert told in str(reading) and found[:30].tolist() == list(range(30, 60))
    if value is None:
        assert np.isnan(found[30]) and reading.spoiled == [(31, cell, 1)] and "--numbers x" in reading.questions[0][1]
    else:
        np.testing.assert_equal(float(found[30]), float(value))
        assert not reading.questions


@pytest.mark.parametrize("cells, values", [
    (["1", "2", "3", "4a", "2"] * 5, None), (["I", "II", "?", "III"], None), (["007", "12"], None),
    (["1E5", "227"], None),
    (["1234567890123456", "1"], None), (["12 mg", "13 g", "14 mg"], None), (["1.5E5", "2"], [150000, 2]),
    (["<5", "<5"], [5, 5]), (["-", "+"], None), (["1.234", "2.500"], [1.234, 2.5]),
    (["1.234.567", "1"], [1234567, 1]),
])
def test_numbers_or_words(tmp_path, cells, values):
    found, reading = column(tmp_path, cells)
    assert (reading.type == "number") == (values is not None)
    assert found.tolist() == values if values else set(found.dropna()) <= set(cells)


def test_thousands_of_a_file_with_decimal_commas(tmp_path):
    text = "id;vol;psa\na;1.234;0,5\nb;12.345;1,5\n"
    told = tables.read_table(write(tmp_path / "a.csv", text), "id", decimal=",")
    alone = tables.read_table(tmp_path / "a.csv", "id")
    for table in (told, alone):
        assert table["vol"].tolist() == [1234, 12345] and table["psa"].tolist() == [0.5, 1.5]
    assert not told.attrs["readings"]["vol"].questions and "--decimal" in alone.attrs["readings"]["vol"].questions[0]
    points = tables.read_table(write(tmp_path / "b.csv", "id;a;b\nx;12.5;0,5\ny;13.25;1,5\n"), "id", decimal=",")
    assert points["a"].tolist() == [12.5, 13.25], "no group of three: a decimal whatever is told"


def test_rows_that_are_no_patients(workspace):
    body = "".join(f"P{i},{i % 7 + 1},{i % 2},{50 + i},{i}.5\n" for i in range(20))
    text = f"id,time,event,age,psa\n,days,,years,ng/ml\n{body}Total,,,1190,200\n"
    data, told, log = taken(workspace, text, time="time", event="event")
    assert len(data.cohort) == 20 and data.cohort["age"].tolist() == list(range(50, 70))
    reasons = log.query("status == 'refused'")["reason"].tolist()
    assert "units of the columns: time days, age years, psa ng/ml" in reasons
    assert "total of the rows above" in reasons and "left out" in told
    text = "id,time,event,age\n" + "".join(f"P{i},{i + 1},{i % 2},{50 + i}\n" for i in range(4)) + ",10,2,206\n"
    assert len(taken(workspace, text, time="time", event="event")[0].cohort) == 4, "a sum without a name"


def test_what_is_odd_is_told_logged_and_answered(workspace):
    text = "id,time,event,crp,stage,sex\n" + "".join(
        f"P{i},{i + 1},{i % 2},{'neg' if i == 7 else 10 + i},0{i % 3},{'unknown' if i == 3 else 'fm'[i % 2]}\n"
        for i in range(30))
    with pytest.raises(ValueError, match="open question.*--numbers crp, --text crp"):
        taken(workspace, text, time="time", event="event")
    data, told, log = taken(workspace, text, time="time", event="event", numbers="crp")
    assert np.isnan(data.cohort["crp"][7]) and data.cohort["crp"].sum() == sum(range(10, 40)) - 17
    assert log.query("status == 'refused'")["file"].str.endswith("column crp, row 8").all()
    assert told["column sex"] == "text, 1 missing ('unknown' 1)" and "leading zeros" in told["column stage"]
    assert data.cohort["stage"].tolist() == [f"0{i % 3}" for i in range(30)], "codes stay as they are, on disk too"
    assert data.card["text"] == ["stage"]
    data, _, _ = taken(workspace, text, time="time", event="event", text="crp", keep="id,crp")
    assert data.cohort["crp"][7] == "neg" and data.cohort["crp"][8] == "18"
    with pytest.raises(ValueError, match="did you mean 'crp'"):
        taken(workspace, text, time="time", event="event", text="crpp")


def test_a_wide_table_is_told_in_few_lines(workspace):
    names = [f"f{i}" for i in range(120)]
    text = f"id,{','.join(names)}\n" + "".join(f"P{r},{','.join(['?' if r == 1 else '1.5'] * 120)}\n" for r in range(3))
    told = taken(workspace, text)[1]
    assert len(told) < 50 and told["columns"] == "80 more with missing or odd cells"


@pytest.mark.parametrize("cell", ["inf", "<30", "1e308", "-1", "soon"])
def test_a_time_that_is_none_is_refused_by_row(workspace, cell):
    rows = "".join(f"P{i},{cell if i == 2 else 10 + i},{i % 2}\n" for i in range(8))
    data, _, log = taken(workspace, f"id,time,event\n{rows}", time="time", event="event")
    assert data.cohort["time_days"].tolist() == [10, 11, 13, 14, 15, 16, 17]
    assert (log["status"] == "refused").sum() == 1


# ---- ids


def test_patients_are_never_joined_by_zeros(workspace):
    one, other = ("id,time,event\n" + "".join(f"{k},{i + 1},{i % 2}\n" for i, k in enumerate(keys))
                  for keys in (["002", "2", "3"], ["2", "002", "3"]))
    write(workspace / "b.csv", other.replace("time,event", "a,b"))
    data, told, _ = taken(workspace, one, tables=f"t{peek()}.csv,b.csv", time="time", event="event")
    assert data.cohort.set_index("patient_id")["a"].to_dict() == {"002": 2, "2": 1, "3": 3}
    write(workspace / "c.csv", "id,a\n2,1\n3,2\n")
    data, told, _ = taken(workspace, "id,age\n002,50\n3,60\n", tables=f"t{peek()}.csv,c.csv")
    assert data.cohort["a"].tolist() == [1, 2] and "leading zeros" in told["key id"]
    write(workspace / "d.csv", "id,a\n002,1\n003,2\n")
    data, _, _ = taken(workspace, "id,b\n002,5\n003,6\n", tables=f"t{peek()}.csv,d.csv")
    assert data.cohort["patient_id"].tolist() == ["002", "003"], "nothing is cut off where the keys fit as they are"


def peek():
    """Number of the next table that `taken` writes."""
    global NAMES
    number = next(NAMES)
    NAMES = itertools.chain([number], NAMES)
    return number


def test_images_of_002_do_not_get_the_row_of_2(workspace):
    from PIL import Image

    folder = workspace / "src"
    folder.mkdir()
    for i, name in enumerate(["002", "2", "3"]):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (24, 20), np.uint8)).save(folder / f"{name}.png")
    write(folder / "t.csv", "id,label,age\n002,a,50\n2,b,60\n3,b,70\n")
    data = importers.import_source(folder, "zeros", kind="folders", tables="t.csv", key="id", label="label", keep="id",
                                   positive="b", patient_pattern=r"(?P<patient_id>\d+)\.png")
    assert data.cohort.set_index("patient_id")["age"].to_dict() == {"002": 50, "2": 60, "3": 70}


@pytest.mark.parametrize("keys", [["1E5", "2E6", "3E7"], ["9007199254740993", "9007199254740992", "1"],
                                  ["0001", "0010", "0100"], ["1.10", "1.1", "2.0"], ["NO", "YES", "TRUE"]])
def test_ids_stay_as_they_are_written(workspace, keys):
    data, _, _ = taken(workspace, "id,age\n" + "".join(f"{k},{i}\n" for i, k in enumerate(keys)))
    assert data.cohort["patient_id"].tolist() == [k.removesuffix(".0") for k in keys]


def test_accents_and_names_in_both_forms(workspace):
    write(workspace / "a.csv", unicodedata.normalize("NFD", "id,größe\nMüller,1\nJosé,2\n"))
    data, _, _ = taken(workspace, unicodedata.normalize("NFC", "id,age\nMüller,50\nJosé,60\n"),
                       tables=f"t{peek()}.csv,a.csv")
    assert data.cohort[["age", "größe"]].to_numpy().tolist() == [[50, 1], [60, 2]]


def test_long_ids_of_excel_are_refused(tmp_path):
    book = openpyxl.Workbook()
    for row in (["id", "x"], [12345678901234567, 1], [12345678901234568, 2]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(ValueError, match="more than 15 digits"):
        tables.read_table(tmp_path / "t.xlsx", "id")


def test_cells_of_excel_follow_the_same_rules(tmp_path):
    book = openpyxl.Workbook()
    for row in (["id", "age", "psa", "ok", "code"], *([i, 50 + i, 1.5 * i, i % 2 == 0, f"0{i}"] for i in range(14)),
                [14, "?", "<0.1", True, 7]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    table = tables.read_table(tmp_path / "t.xlsx", "id")
    assert table["age"].dtype == float and np.isnan(table["age"][14]) and table["psa"][14] == 0.1
    assert table["ok"].tolist() == [i % 2 == 0 for i in range(15)] and table["code"].tolist()[-2:] == ["013", "7"]


# ---- dates


def excel(day):
    """What a spreadsheet of the United States makes of dd/mm/yyyy."""
    return datetime.datetime(day.year, day.day, day.month) if day.day <= 12 else day.strftime("%d/%m/%Y")


def test_half_swapped_dates_stop_the_import():
    days = [datetime.date(2020, m, d) for m, d in ((3, 5), (2, 25), (1, 31), (5, 16), (6, 11), (9, 2))]
    swapped = pd.Series([excel(d) for d in days], name="start", dtype=object)
    for cells in (swapped, swapped.map(lambda v: v if isinstance(v, str) else v.strftime("%Y-%m-%d"))):
        for told in (None, "%d/%m/%Y"):
            with pytest.raises(ValueError, match="another country swapped day and month"):
                dates.parse_dates(cells, told)
    whole = pd.Series([datetime.datetime(2020, 3, 25), "26/03/2020", "01/02/2020"], name="start", dtype=object)
    assert dates.parse_dates(whole).dt.strftime("%m-%d").tolist() == ["03-25", "03-26", "02-01"]


@pytest.mark.parametrize("cell, date_format", [
    ("2020-01-31T12:00", None), ("31-Jan-2020", None), ("31 January 2020", None), ("January 31, 2020", None),
    ("31/01/2020", None), ("20200131", None), ("31.1.20", "%d.%m.%y")])
def test_ways_to_write_a_date(cell, date_format):
    found = dates.parse_dates(pd.Series([cell, None], name="d"), date_format)
    assert found.tolist() == [pd.Timestamp(2020, 1, 31), pd.NaT]


def test_dates_without_a_reading_are_refused(workspace):
    rows = "".join(f"P{i},31.02.2000,01.01.2010,{i % 2}\n" for i in range(4))
    with pytest.raises(ValueError, match="column 'start': no date could be read, such as '31.02.2000'.*--date-format"):
        taken(workspace, f"id,start,end,event\n{rows}", start="start", end="end", event="event")
    rows = rows.replace("31.02.2000", "28.02.2000")
    data, told, _ = taken(workspace, f"id,start,end,event\n{rows}", start="start", end="end", event="event")
    assert data.cohort["time_days"].unique().tolist() == [3595]
    assert told["date column start"] == "%d.%m.%Y (such as 31.12.2020)", "an example that is nobody's date"
    with pytest.raises(ValueError, match="expected such as '%d/%m/%Y'"):
        dates.parse_dates(pd.Series(["1.1.2020"]), "%Q")


# ---- missing, everywhere the same


def test_words_for_missing_are_named_when_a_dataset_is_read(workspace):
    data, _, _ = taken(workspace, "id,age,sex\nP1,50,f\nP2,60,m\nP3,70,m\n")
    table = pd.read_csv(data.folder / "cohort.csv").astype(str)
    table.loc[0, ["age", "sex"]] = "?", "unknown"
    table.assign(label=["a", "b", "?"], ion=["Na", "K", "None"]).to_csv(data.folder / "cohort.csv", index=False)
    again = datasets.load(data.name)
    assert again.cohort[["age", "sex", "label"]].isna().sum().tolist() == [1, 1, 1]
    assert again.cohort["ion"].tolist() == ["Na", "K", "None"]
    assert {n.split(" read as missing")[0] for n in again.notes} >= {
        "age: ? (1)", "sex: unknown (1)", "label: ? (1)"}


def imported(workspace, name, columns, **options):
    """The dataset of a table of twelve patients, and what the card says about it."""
    table = pd.DataFrame({"id": [f"P{i}" for i in range(12)], "time": [40 + 7 * i for i in range(12)],
                          "event": [0, 1] * 6} | {c: v * (12 // len(v)) for c, v in columns.items()})
    table.to_csv(workspace / f"{name}.csv", index=False)
    return importers.import_source(workspace / f"{name}.csv", name, **{"key": "id", "time": "time", "event": "event"}
                                   | options)


@pytest.mark.parametrize("values, code", [
    ([1.5, 2.5, 999], "999"), ([0, 1, 9], "9"), ([22.5, 30.5, -9], "-9"), ([12, 33, -1], "-1"),
    ([70, 80, 9999], "9999"), ([0, 1, 2, 99], "99")])
def test_codes_for_missing_among_numbers_are_asked(workspace, values, code):
    with pytest.raises(ValueError, match=f"--missing x:{code} or --missing none"):
        imported(workspace, "t", {"x": values})
    told = imported(workspace, "t", {"x": values}, missing=f"x:{code}").cohort["x"]
    assert sorted(told.dropna().unique()) == sorted(v for v in values if str(v) != code) and told.isna().any()
    assert set(imported(workspace, "t", {"x": values}, missing="none", overwrite=True).cohort["x"]) == set(values)


@pytest.mark.parametrize("values", [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 1], [88, 93, 99, 101], [-3, -1, 2, 4],
                                    [-1, 0, 1]])
def test_numbers_of_a_range_are_not_asked(workspace, values):
    assert set(imported(workspace, "t", {"x": values}).cohort["x"]) == set(values)


@pytest.mark.parametrize("values", [["20/40", "20/20"], ["1/2", "2/3"], ["120/80", "135/85"], ["<50", "50-70", ">70"]])
def test_fractions_and_groups_stay_text(workspace, values):
    assert set(imported(workspace, "t", {"x": values}).cohort["x"]) == set(values)


def test_dates_with_slashes_are_no_numbers(workspace):
    dates = {"a": [f"{i % 12 + 1}/1/20" for i in range(12)], "b": [f"{i + 1}/Mar/20" for i in range(12)]}
    assert not {"a", "b"} & set(imported(workspace, "t", dates).cohort)


def test_ages_with_a_chinese_unit(workspace):
    assert imported(workspace, "t", {"年龄": ["55岁", "60岁", "71岁"]}).cohort["年龄"].tolist().count(60) == 4


def test_the_unit_of_the_time_is_read_from_the_table(workspace):
    times = [f"{i + 3} months" for i in range(12)]
    days = imported(workspace, "cells", {"time": times}).cohort["time_days"].max()
    assert days == pytest.approx(14 * 365.25 / 12)
    rows = "id,age,time,dead\n,years,months,\n" + "".join(f"P{i},{50 + i},{i + 3},{i % 2}\n" for i in range(12))
    (workspace / "u.csv").write_text(rows)
    row = importers.import_source(workspace / "u.csv", "row", key="id", time="time", event="dead").cohort["time_days"]
    assert row.max() == pytest.approx(14 * 365.25 / 12)
    with pytest.raises(ValueError, match="several units"):
        imported(workspace, "both", {"time": ["3 months", "2 years"]})


def test_words_of_today_in_cp1252(workspace):
    (workspace / "de.csv").write_bytes("id;geschlecht\n1;männlich\n2;weiblich\n".encode("cp1252"))
    assert tables.read_table(workspace / "de.csv")["geschlecht"].tolist() == ["männlich", "weiblich"]
