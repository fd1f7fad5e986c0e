"""Answers of notebooks: from the numbers of a result to sentences, key numbers, bars and files for people."""

import io
import json
import zipfile

import nbformat
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import write_notebook
from matplotlib import pyplot as plt
from PIL import Image

from medlab import drawn, plots, storage
from medlab.detection import answer as of_detection
from medlab.detection import exports as boxes
from medlab.engine import answers, markup, pages, parameters, report, runs, sections, stamps
from medlab.evaluation import answer as of_evaluation
from medlab.imaging import dicom
from medlab.segmentation import exports as masks
from medlab.statistics import keys
from medlab.survival import answer as of_survival

METRICS = {"auc": 0.7, "auc_low": 0.45, "auc_high": 0.88, "recall": 0.0, "recall_low": 0.0, "recall_high": 0.3,
           "head": "binary", "specificity": 1.0, "specificity_low": None, "specificity_high": None,
           "n_images": 48, "n_patients": 48,
           "positive": "malignant", "remarks": [], "test_openings": 2, "validation": {"n_images": 36},
           "baselines": {"auc": 0.5, "recall": 0.0, "clinical table": {"auc": 0.65}},
           "references": {"simulated probability": {"auc": 0.95}, "brightest pixel": {"auc": 0.51}},
           "difference_auc": {"clinical table": {"value": 0.05, "low": -0.11, "high": 0.23}}}


def test_an_answer_says_what_is_shown_and_what_is_not():
    sentences, numbers, warnings = of_evaluation.of(METRICS, {"none": 37, "malignant": 11})
    assert sentences == [
        "48 test patients, 11 malignant: the network's AUC is 0.70 (0.45 to 0.88).",
        "The network is not shown to beat the clinical table: difference +0.05 (-0.11 to +0.23).",
        "The simulation allows 0.95."]
    assert numbers[0]["beside"] == [["chance", 0.5], ["brightest pixel", 0.51], ["clinical table", 0.65]]
    assert numbers[0]["ceiling"] == [["simulated probability", 0.95]] and "2 sets of weights" in warnings[0]
    assert [one["name"] for one in numbers[1:]] == ["sensitivity, test part", "specificity, test part"]
    closed = METRICS | {"n_images": 0, "validation": {"auc": 0.8, "auc_low": 0.6, "auc_high": 0.9, "n_images": 1,
                                                      "baselines": {}}}
    said = of_evaluation.of(closed, {})[0][0]
    assert "closed" in said and "1 validation image," in said


def test_a_survival_answer_without_a_model_and_with_one():
    models = {name: {"c_harrell": c, "c_harrell_low": c - 0.1, "c_harrell_high": c + 0.1, "integrated_brier": b}
              for name, c, b in (("fused", 0.72, 0.12), ("clinical", 0.65, 0.15), ("truth", 0.75, 0.11))}
    models["kaplan_meier"] = {"c_harrell": 0.5, "integrated_brier": 0.17}
    result = {"part": "test", "n_patients": 48, "n_events": 1, "models": models, "main": "fused", "notes": []}
    error = {"integrated_brier": 0.12, "integrated_brier_low": 0.1, "integrated_brier_high": 0.14}
    result |= {"scores": {"fused": error}, "horizon_days": 1096.0,
               "differences": [{"name": "fused minus clinical", "value": 0.07, "low": 0.01, "high": 0.12}]}
    sentences, numbers, _ = of_survival.of(result)
    assert sentences[0].startswith("48 test patients, 1 event: the C of the fused model is 0.72 (0.62 to 0.82)")
    assert "The fused model beats the clinical model: difference +0.07 (+0.01 to +0.12)." in sentences
    assert numbers[0]["ceiling"] == [["true hazard", 0.75]] and numbers[2]["beside"] == [["Kaplan-Meier", 0.17]]
    alone = {"n_patients": 30, "models": {"fused": {"c_harrell": 0.6, "c_harrell_low": 0.5, "c_harrell_high": 0.7}}}
    assert of_survival.of(result | {"without_copies": alone})[2] == [
        "Without the copies, on 30 patients, the C of the fused model is 0.60 (0.50 to 0.70): report this number."]
    none = of_survival.of(result | {"models": {"kaplan_meier": {}}})
    assert "too few events" in none[0][0] and none[1][0]["value"] is None


def test_a_detection_answer_counts():
    result = {"part": "val", "n_lesions": 1, "n_images": 4, "sensitivity_at_1fp": 0.0, "map50": None,
              "baseline": {"difference_sensitivity_at_1fp": {}}}
    sentences, numbers, warnings = of_detection.of(result, 0, 2, {"map50": 0.1, "sensitivity_at_1fp": 1.0})
    assert sentences == ["1 lesion in 4 validation images: at the threshold chosen on validation 0 are found, with 2 "
                         "false alarms (0.50 an image)."]
    assert [one["value"] for one in numbers] == [0.0, "0 of 1", None] and "flatter" in warnings[0]


def test_bars_stand_where_the_numbers_are():
    one = keys.number("C", 0.75, 0.5, 1.0, beside={"chance": 0.5}, ceiling={"truth": 1.0}, zero=0.5, who="fused")
    chance, own, truth = answers.bars(one)
    assert (own["start"], own["width"], own["low"], own["high"]) == (0.0, 50.0, 0.0, 100.0)
    assert chance["width"] < 1 and truth["width"] == 100.0 and truth["low"] is None
    assert answers.bars(keys.number("n", 3)) == [] and answers.bars(one | {"value": None}) == []
    below = answers.bars(keys.number("d", -0.2, beside={"none": 0.2}))
    assert [(bar["start"], bar["width"]) for bar in below] == [(50.0, 50.0), (0.0, 50.0)]
    with pytest.raises(ValueError, match="'AUC': colour is not shown anywhere"):
        keys.number("AUC", 1.0, colour="red")


def test_the_worst_number_is_shown_without_an_interval_too():
    rows = pages.key_numbers({"auc": 0.0, "auc_low": None, "auc_high": None, "f1": None, "f1_low": None,
                              "f1_high": None, "n": 3}, {"auc": "AUC"})
    assert [(one["name"], one["value"], one["low"]) for one in rows] == [("AUC", 0.0, None), ("f1", None, None)]
    entry = dict(name="04_x", title="04 X", question="?", state="done", text="", page="04_x.html", answer=None,
                 part=True, results=[("Classification", rows, "n = 3 images.")])
    index = BeautifulSoup(pages.run_index("try", [entry], [], []), "html.parser")
    assert [one.get_text() for one in index.select(".medlab-key .amount b")] == ["0.000", "not defined"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sentences": 3}', '{"numbers": [3]}', '{"sentences": [3]}',
                                  '{"numbers": [{"beside": {"x": 1}}]}', '{"numbers": [{"value": {}, "low": "a"}]}'])
def test_a_damaged_answer_is_none(text, tmp_path):
    sound = {"sentences": ["a"], "numbers": [], "warnings": []}
    (tmp_path / "a.json").write_text(json.dumps(sound | json.loads(text)) if text.startswith('{"') else text)
    assert answers.read(tmp_path / "a.json") is None and answers.read(tmp_path / "absent.json") is None


def test_an_answer_is_stored_with_the_run_and_is_inert(workspace, capsys):
    folder = runs.start("04_evaluation", parameters.declared("04_evaluation") | {"run": "try"})
    attack = "<script>alert(1)</script>"
    runs.answer([attack, ""], [keys.number(attack, np.float64("nan"), n=attack)], attack)
    stored = json.loads((folder / "04_evaluation.answer.json").read_text())
    assert stored["sentences"] == [attack] == stored["warnings"] and stored["numbers"][0]["value"] is None
    assert "<script" not in answers.as_html(stored) and "not defined" in answers.as_html(stored)


def test_a_figure_says_its_title_and_its_numbers():
    _, (left, right) = plt.subplots(1, 2)
    left.plot([0, 1], [2, 3], label="model")
    left.axhline(0.5)
    left.set_title("Survival")
    right.bar(["a", "b"], [4, 5])
    right.scatter([1.0, 2.0], [6, 7], label="seen")
    found = drawn.about(left.figure)
    table = pd.read_csv(io.StringIO(found["data"]), keep_default_na=False)
    assert found["title"] == "Survival"
    assert table[table["series"] == "model"][["x", "y"]].to_numpy().tolist() == [[0, 2], [1, 3]]
    assert table[table["series"] == "seen"]["y"].tolist() == [6, 7]
    assert table[table["kind"] == "bar"]["y"].tolist() == [4, 5]
    right.set(xlabel="days", ylabel="share")
    left.set_title("")
    assert drawn.title(left.figure) == "share over days" and len(table) == 6
    plt.close("all")


def test_a_figure_is_a_drawing_unless_it_shows_pictures_or_is_too_large(monkeypatch):
    def lines():
        ax = plt.subplots()[1]
        ax.plot([0, 1], [2, 3])
        ax.set_xlabel("age <script>")
        return ax.figure

    plots.setup(synthetic=True)
    one, other = (drawn.about(lines())["svg"] for _ in range(2))
    assert one == other and "age &lt;script&gt;" in one and "<script" not in one and "<image" not in one
    figure = lines()
    layout = figure.get_layout_engine()
    assert drawn.svg(figure) == one and figure.get_layout_engine() is layout
    monkeypatch.setattr(drawn, "MOST_SVG", 1000)
    assert drawn.about(lines()).keys() == {"title", "data"}
    ax = plt.subplots()[1]
    ax.imshow(np.eye(3))
    ax.plot([0, 1], [1, 0])
    assert "svg" not in drawn.about(ax.figure)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output(
        "display_data", {"image/png": "aGk="}, metadata={"image/png": {"title": "t", "svg": "<svg/>", "data": "x"}})])])
    assert [(label, file) for _, label, file, _ in sections.figures(notebook, "01_first")] == [
        ("PNG", "figures/01_first-1.png"), ("SVG", "figures/01_first-1.svg"), ("data", "figures/01_first-1.csv")]
    plt.close("all")


@pytest.mark.parametrize("heading, title, caption", [
    ("Calibration", "fused", "Calibration: fused"), ("How good is it?", "AUC", "How good is it? AUC"),
    ("Test: all measures", "value", "Test: all measures, value"), ("The worst errors", "", "The worst errors"),
    ("", "loss over epoch", "Loss over epoch"),
    ("Gallery", "gallery of a cohort", "Gallery of a cohort")])
def test_a_caption_says_the_section_and_what_is_drawn(heading, title, caption):
    output = nbformat.v4.new_output("display_data", {"image/png": ""}, metadata={"image/png": {"title": title}})
    said = nbformat.v4.new_output("stream", name="stdout", text="It is so.\nMore.")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output, said])])
    assert sections.described(notebook, 0, heading, output) == {"alt": f"{caption}. It is so.", "caption": caption}


def test_names_of_the_pictures_of_a_gallery_are_no_caption_and_none_is_wider_than_its_picture():
    pictures = [np.zeros((4, 4), np.uint8)] * 2
    long = ["p00036_1: none or benign\ncalled malignant", "second"]
    grid = plots.gallery(pictures, long, title="Two errors")
    assert drawn.title(grid[0, 0].figure) == "Two errors"
    assert drawn.title(plots.gallery(pictures, long)[0, 0].figure) == ""
    assert grid[0, 0].get_title() == "p00036_1: none or\nbenign\ncalled malignant"
    ax = plots.axes()
    ax.imshow(np.eye(2))
    ax.set_title("one map")
    assert drawn.title(ax.figure) == "one map"
    plt.close("all")


def test_the_list_of_runs_folds_repeats_and_a_run_that_only_compares_is_not_unfinished(bench):
    write_notebook(bench / "notebooks", "13_compare", 'run: str = "try"\ncompare: str = "auto"', [], needs=["repeats"])
    for i, run in enumerate(("try", "try-f0-s0", "try-f1-s0", "other")):
        folder = parameters.run_folder(run)
        folder.mkdir(exist_ok=True)
        (folder / "params.yaml").write_text("dataset: table\n")
        (folder / "index.html").write_text("")
        name = "13_compare" if run == "try" else "01_first"
        stamps.write_stamp(name, run, state="done", finished=1e9 + 86400 * i, seconds=1, writes={}, made_from={})
        (folder / f"{name}.html").write_text("")
    report.write_runs_index()
    soup = BeautifulSoup((bench / "reports" / "index.html").read_text(), "html.parser")
    assert [one.select_one("a").get_text() for one in soup.select("table.runs > tbody")] == ["other", "try"]
    assert [one.get_text() for one in soup.select(".repeats a")] == ["try-f0-s0", "try-f1-s0"]
    report.write_index("try", {}, {"dataset", "label", "repeats"})
    soup = BeautifulSoup((bench / "reports" / "try" / "index.html").read_text(), "html.parser")
    assert [one.get_text(strip=True) for one in soup.select(".card h2")] == ["13 Compare"]
    assert "Executed in the repeats only." in soup.select_one(".others").get_text()
    report.write_index("other", {}, {"dataset", "label"})
    soup = BeautifulSoup((bench / "reports" / "other" / "index.html").read_text(), "html.parser")
    assert "not run" in soup.get_text() and "no two other runs with results" in soup.select_one(".others").get_text()


def test_pages_are_linked_whatever_their_order(bench):
    folder = parameters.run_folder("try")
    for name in ("02_second", "01_first"):
        stamps.write_stamp(name, "try", state="running", started=1e9)
        report.write_page(name, "try", {}, "")
    report.write_index("try", {}, {"dataset"})
    links = {name: [one["href"] for one in BeautifulSoup((folder / f"{name}.html").read_text(), "html.parser").select(
        "nav.steps a")] for name in ("01_first", "02_second")}
    assert links == {"01_first": ["../index.html", "index.html", "02_second.html"],
                     "02_second": ["../index.html", "index.html", "01_first.html"]}
    assert stamps.read_stamp("01_first", "try")["page"] == storage.digest(folder / "01_first.html")


def test_sentences_lists_and_intervals_of_printed_text():
    html = markup.sentences("AUC 0.70 (0.45 to 0.88) & more\n  a: 1\n  b: 2\nWARNING: odd")
    assert html == ('<p>AUC <span class="interval">0.70 (0.45 to 0.88)</span> &amp; more</p>\n<ul><li>a: 1</li>\n'
                    '<li>b: 2</li></ul>\n<p class="caution">WARNING: odd</p>')
    assert markup.sentences("a     1   x\nb     2\nand more").startswith("<pre>")
    table = markup.clean_html(pd.DataFrame({"age_years": [1.5]}, index=["tumour_volume_ml"]).to_html())
    assert "age, years" in table and "tumour volume, mL" in table
    for name, said in (("part", '<th class="text">part</th>'),
                       ("higher is better; 48 test patients", "<caption>higher is")):
        table = markup.clean_html(pd.DataFrame({"n": [1]}, index=pd.Index(["a"], name=name)).to_html())
        assert said in table and table.count("<tr") == 2


def test_tables_have_one_row_of_names_words_for_truth_and_whole_intervals():
    rows = pd.MultiIndex.from_tuples([("tiny", "fused")], names=["group", "model"])
    heads = pd.MultiIndex.from_tuples([("AUC", "pooled"), ("seen", "pooled")])
    made = pd.DataFrame([["0.50 (0.20 to 0.70)", True]], index=rows, columns=heads).to_html()
    table = BeautifulSoup(markup.clean_html(made), "html.parser")
    assert [[cell.get_text() for cell in row.find_all("th")] for row in table.select("thead tr")] == [
        ["", "", "AUC", "seen"], ["group", "model", "pooled", "pooled"]]
    assert [cell.get_text() for cell in table.select("thead th.text")] == ["seen", "group", "model", "pooled"]
    number, truth = table.select("td")
    assert truth.get_text() == "yes" and number.get_text() == "0.50 (0.20 to 0.70)" and not number.select("span")
    wide = pd.DataFrame([["0.500 (0.200 to 0.700)"] * 6, ["-"] * 6], index=["network", "blobs"]).to_html()
    cells = BeautifulSoup(markup.clean_html(wide), "html.parser").select("td.limits")
    assert len(cells) == 6 and {cell.get_text() for cell in cells} == {"0.500 (0.200 to 0.700)"}
    assert {cell.select_one("span.interval").get_text() for cell in cells} == {"(0.200 to 0.700)"}
    assert markup.clean_html(pd.DataFrame().to_html()) == "" == markup.clean_html(pd.DataFrame(columns=["a"]).to_html())
    assert markup.sentences("classes  a, b\nordered  False").endswith("<tr><th>ordered</th><td>no</td></tr></table>")


def test_a_number_and_its_unit_stay_in_one_line_of_words_and_apart_in_code():
    assert markup.prose("<p>the 95 % interval of 5.27 mm</p>") == "<p>the 95\u00a0% interval of 5.27\u00a0mm</p>"
    assert markup.sentences("40 % of 3 mmHg") == "<p>40\u00a0% of 3 mmHg</p>"
    assert "\u00a0" not in sections.highlighted("x = 7 % 3")


@pytest.mark.parametrize("known", [True, False])
def test_masks_come_back_on_the_original_grid(known, tmp_path):
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 2, 3] = 2
    affine = np.array([[0, 0, 0.7, 10], [0, 0.8, 0, 20], [5.0, 0, 0, -30], [0, 0, 0, 1]]) if known else None
    grid = dicom.Image(np.zeros((3, 4, 5, 1), np.float32), (5.0, 0.8, 0.7), affine)
    picture = np.eye(4, dtype=np.uint8)
    files = [masks.packed(labels, grid), masks.packed(picture, dicom.Image(np.zeros((4, 4, 1)), None))]
    rows = pd.DataFrame({"row": [7, 9], "patient_id": ["a/b", "c"], "split": ["val", "test"]})
    for name in ("one.zip", "two.zip"):
        masks.write_zip(tmp_path / name, rows, files, ["oedema", "core"])
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["masks.csv", "classes.csv", "row00007_a_b.nii.gz", "row00009_c.png"]
        assert "7,a/b,val,row00007_a_b.nii.gz" in archive.read("masks.csv").decode()
        (tmp_path / "x.nii.gz").write_bytes(archive.read("row00007_a_b.nii.gz"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(archive.read("row00009_c.png")))), picture)
    volume = nib.load(tmp_path / "x.nii.gz")
    assert volume.shape == (5, 4, 3) and volume.get_fdata()[3, 2, 1] == 2 and volume.get_fdata().sum() == 2
    assert np.allclose(volume.header.get_zooms(), (0.7, 0.8, 5.0))
    if known:  # LPS of the image is RAS of the file
        assert np.allclose(volume.affine @ [3, 2, 1, 1], [-(10 + 0.7 * 3), -(20 + 0.8 * 2), -30 + 5, 1])


def test_boxes_as_coco():
    listed = pd.DataFrame({"image": ["b"], "label": ["nodule"], "score": [0.9], "x_min": [1.0], "x_max": [4.0],
                           "y_min": [2.0], "y_max": [7.0], "z_min": [3.0], "z_max": [5.0]})
    images = pd.DataFrame({"row": [4, 5], "image": ["a", "b"], "patient_id": ["p", "q"], "height": [9, 9],
                           "width": [8, 8]})
    found = boxes.coco(listed, images, ["other", "nodule"], {"description": "x"})
    assert [one["id"] for one in found["images"]] == [4, 5] and found["categories"][1] == {"id": 2, "name": "nodule"}
    assert found["annotations"] == [{
        "id": 1, "image_id": 5, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 5.0], "area": 15.0, "iscrowd": 0,
        "score": 0.9, "z_min": 3.0, "z_max": 5.0}]
