"""External validation: the network of a run, as it is, on all patients of another dataset (notebook 18)."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run_all
from PIL import Image
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from medlab import storage
from medlab.cohorts import datasets, frozen, overlap, preparation, screening, suitability, summary
from medlab.comparison import drift, external
from medlab.engine import execute, kernels, openings, parameters, report, runs, stamps
from medlab.evaluation import recalibration
from medlab.survival import hazards
from medlab.survival import recalibration as of_risks

QUICK = {"external_bootstrap": 60, "external_folds": 5}


def patients(n, seed, bright=1.0, noise=0.0):
    """A table and pictures: a spot tells the class, age and spot the hazard; `bright`, `noise`: another scanner."""
    rng = np.random.default_rng(seed)
    label, age, kind = rng.random(n) < 0.4, rng.normal(60, 9, n).round(1), rng.choice(["I", "II", "III"], n)
    pictures = rng.normal(90, 12, (n, 20, 20))
    pictures[:, 7:13, 7:13] += np.where(label, rng.normal(45, 20, n), 0)[:, None, None]
    pictures = np.clip(pictures * bright + rng.normal(0, 1, pictures.shape) * noise, 1, 255).astype(np.uint8)
    time = rng.exponential(1100, n) * np.exp(-0.9 * label - 0.05 * (age - 60))
    end = rng.uniform(300, 2800, n)
    age[rng.random(n) < 0.05] = np.nan
    table = pd.DataFrame({"patient_id": [f"{i + 1}" for i in range(n)], "image": [f"images/{i}.png" for i in range(n)],
                          "label": np.where(label, "ill", "well"), "time_days": np.ceil(np.minimum(time, end)),
                          "event": time <= end, "spacing_mm": 1.0, "age_years": age, "stage": kind,
                          "marker": rng.normal(size=n).round(4)})
    return table, pictures


def write(data, name, table, pictures, **card):
    """A dataset of a table and pictures."""
    (data / name / "images").mkdir(parents=True)
    table.to_csv(data / name / "cohort.csv", index=False)
    for file, picture in zip(table["image"], pictures, strict=True):
        Image.fromarray(picture).save(data / name / file)
    about = {"title": name, "patients": "known", "synthetic": True, "modality": "XC", "classes": ["well", "ill"],
             "positive": "ill"}
    (data / name / "card.yaml").write_text(yaml.safe_dump(about | card))


def explored(reports, run, name, **params):
    """A run folder as notebook 01 leaves it, without its page."""
    folder, data = reports / run, datasets.load(name)
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump({"dataset": name} | params))
    scan = datasets.scan(data, progress=False)
    cohort = screening.joined(data.cohort, scan, screening.duplicates(scan, 1.0))
    summary.one_kind_per_column(cohort).to_parquet(folder / "cohort.parquet")
    storage.write_json(folder / "dataset.json", {
        "name": name, "card": data.card, "fingerprint": datasets.fingerprint(data), "sites": [], "later": [],
        "n_rows": len(cohort), "n_patients": summary.n_patients(data), "classes": datasets.classes(data),
        "positive": data.card["positive"], "synthetic": True, "covariates": datasets.covariates(data)})
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The run ``dev`` with its label and survival network, and ``ext``, which has executed 01 on other patients."""
    base = tmp_path_factory.mktemp("external")
    with pytest.MonkeyPatch.context() as patch:
        for part in ("data", "reports"):
            (base / part).mkdir()
            patch.setenv(f"MEDLAB_{part.upper()}", str(base / part))
        write(base / "data", "dev", *patients(150, 1))
        write(base / "data", "ext", *patients(120, 2, bright=0.8, noise=12.0))
        settings = {"image_size": 20, "spacing_mm": 1.0, "epochs": 3, "batch_size": 16, "n_bootstrap": 40,
                    "survival_bootstrap": 40, "forest_trees": 10}
        folder = explored(base / "reports", "dev", "dev", **settings)
        for name, result in (("02_preprocessing", "preprocessing.json"), ("03_cnn_training", "training.json"),
                             ("04_evaluation", "metrics.json"), ("05_survival_analysis", "survival.json")):
            own = {key: value for key, value in settings.items() if key in parameters.declared(name)}
            run_all(name, folder, result, own | ({"sanity_gate": False} if name[:2] == "03" else {}))
        explored(base / "reports", "ext", "ext", model_of="dev", **QUICK)
        yield base


def validated(folder, **given):
    """Notebook 14 of a run: external.json, and both tables of predictions."""
    params = yaml.safe_load((folder / "params.yaml").read_text())
    result, _ = run_all("18_external_validation", folder, "external.json",
                        {"model_of": params["model_of"]} | QUICK | given)
    return result, *(pd.read_parquet(folder / f"external_{name}.parquet") for name in ("predictions", "risk"))


def test_the_run_itself_gives_its_own_predictions_again_to_the_last_digit(place):
    """Shape, window, spacing, medians, levels, slopes, baseline hazard, calibration: all as the run has used them."""
    folder = explored(place / "reports", "again", "dev", model_of="dev")
    with pytest.raises(ValueError, match="150 patients of this dataset are in dev already: row 0 .1.: image of 1, "):
        validated(folder)
    result, images, risks = validated(folder, external_copies="keep")
    own = pd.read_parquet(place / "reports" / "dev" / "predictions.parquet").set_index("row")
    here = images.set_index("row").loc[own.index]
    assert np.allclose(here["p_ill"], own["p_ill"], rtol=0, atol=1e-6)
    assert (here["called"] == own["called"]).all() and len(images) == 150
    stored = pd.read_parquet(place / "reports" / "dev" / "risk.parquet").set_index("patient_id")
    risks = risks.set_index("patient_id").loc[stored.index]
    for name in ("fused", "image", "table", "clinical"):
        for column in (f"risk_{name}", f"survival_365_{name}", f"survival_1096_{name}"):
            assert np.allclose(risks[column], stored[column], rtol=0, atol=1e-5), column
    assert "150 patients (150 by image), kept: the numbers are too good" in " ".join(result["notes"])
    assert result["drift"]["differ"] == {} and result["drift"]["histograms"]["distance"] < 1e-12


def test_numbers_are_those_of_others(place):
    """In a process of its own, which knows of the layers of a network only what the notebook imports."""
    name, folder = "18_external_validation", place / "reports" / "ext"
    with runs.lock("ext") as descriptor:
        given = parameters.effective(name, parameters.read_params("ext"), "ext")
        assert kernels.execute_notebook(name, "ext", given, descriptor) == ""
    result = storage.read_json(folder / "external.json")
    images, risks = (pd.read_parquet(folder / f"external_{kind}.parquet") for kind in ("predictions", "risk"))
    label, truth = result["label"], images["outcome"].eq("ill").to_numpy()
    assert label["n_images"] == len(truth) == 120 and label["cases"]["ill"] == truth.sum()
    assert label["auc"] == pytest.approx(roc_auc_score(truth, images["p_ill"])) and label["auc_low"] < label["auc"]
    q = images["p_ill_calibrated"].to_numpy()
    assert label["brier"] == pytest.approx(brier_score_loss(truth, q))
    x = logit(np.clip(q, 1e-6, 1 - 1e-6))[:, None]
    line = LogisticRegression(C=1e12, tol=1e-10, max_iter=5000).fit(x, truth)
    assert label["calibration_slope"] == pytest.approx(line.coef_[0, 0], abs=2e-3)
    own = storage.read_json(place / "reports" / "dev" / "metrics.json")
    assert label["threshold"] == own["threshold"] and label["own_test"]["auc"] == own["auc"]
    assert (images["called"].eq("ill") == (images["p_ill"] >= own["threshold"])).all()
    from lifelines.utils import concordance_index

    survival = result["survival"]
    for name in ("fused", "clinical"):
        found = concordance_index(risks["time_days"], -risks[f"risk_{name}"], risks["event"])
        assert survival["models"][name]["c_harrell"] == pytest.approx(found), name
    seen = 1 - hazards.kaplan_meier(risks["time_days"], risks["event"], [survival["horizon_days"]])[0, 0]
    said = 1 - risks[f"survival_{survival['horizon_days']:.0f}_{survival['main']}"].mean()
    assert survival["calibration"]["oe"] == pytest.approx(seen / said, rel=1e-6)
    stored = storage.read_json(place / "reports" / "dev" / "survival.json")
    assert survival["own_test"] == stored["scores"][stored["main"]] and survival["main"] == stored["main"]
    differ = result["drift"]["differ"]
    assert differ["noise"] > 1 and differ["mean grey value"] < -1, "another scanner is seen"
    histograms = result["drift"]["histograms"]
    assert histograms["distance"] > 2 * histograms["by_chance"]
    assert "120 patient_ids are in dev, too, with other images" in " ".join(result["notes"])
    answer = storage.read_json(place / "reports" / "ext" / "18_external_validation.answer.json")
    assert len(answer["sentences"]) == 3 and answer["sentences"][0].startswith("ext (120 patients, ")
    assert "on its own test part" in answer["sentences"][0] and "noise" in answer["sentences"][2]


def test_predictions_know_nothing_of_the_new_outcomes(place):
    """All outcomes turned round: no prediction moves by a bit, all scores do; the opening is another test part."""
    folder = place / "reports" / "ext"
    before = validated(folder)
    other = place / "reports" / "turned"
    shutil.copytree(place / "data" / "ext", place / "data" / "turned")
    table = pd.read_csv(place / "data" / "turned" / "cohort.csv")
    table["label"] = np.where(table["label"] == "ill", "well", "ill")
    table["event"], table["time_days"] = ~table["event"], table["time_days"].to_numpy()[::-1] + 7
    table.to_csv(place / "data" / "turned" / "cohort.csv", index=False)
    explored(place / "reports", "turned", "turned", model_of="dev")
    after = validated(other)
    assert (before[1]["p_ill"].to_numpy() == after[1]["p_ill"].to_numpy()).all()
    assert (before[1]["p_ill_calibrated"].to_numpy() == after[1]["p_ill_calibrated"].to_numpy()).all()
    one, two = (found[2].set_index("patient_id") for found in (before, after))
    same = [name for name in one if name.startswith(("risk_", "survival_365", "median_days_"))]
    assert len(same) >= 12 and one[same].equals(two[same])
    assert before[0]["label"]["auc"] == pytest.approx(1 - after[0]["label"]["auc"])
    assert before[0]["choices"] == after[0]["choices"], "threshold, calibration and slopes are those of the run"
    cohort = pd.read_parquet(folder / "cohort.parquet")
    looked = openings.read({"test_part": openings.content_of(cohort, list(cohort["row"]))}, "18_external_validation")
    assert set(looked["run"]) == {"ext", "turned"} and looked["set"].nunique() == 1, "the same pictures, one network"


@pytest.mark.parametrize("columns, message", [
    ({"label": lambda t: t["label"].replace("ill", "Ill")}, r"labels: 'Ill' \(\d+ rows\) is no class of dev, which"),
    ({"depth": 12.0}, "dimensions: 120 of 120 images are volumes, dev has learnt pictures"),
    ({"channels": 3}, "channels: 120 images have 3, dev has learnt from 1"),
    ({"spacing_mm": None}, "pixel size: dev has learnt at 1 mm, and that of 120 of 120 images is unknown"),
    ({"age_years": "absent", "marker": "absent"}, "covariates: age_years, marker are not in this table"),
    ({"marker": "high"}, "covariates: marker holds words here .such as 'high'., numbers in dev"),
    ({"label": None, "time_days": np.nan}, "dev has learnt a label and follow-up .time_days, event., and .* has none"),
])
def test_what_does_not_fit_is_refused_with_its_reason(place, columns, message):
    of = frozen.read(place / "reports" / "dev")
    cohort = pd.read_parquet(place / "reports" / "ext" / "cohort.parquet").astype({"patient_id": str})
    rows, _ = preparation.usable_rows(cohort)
    suitability.require_fit(of, datasets.load("ext"), rows)
    absent = [name for name, one in columns.items() if isinstance(one, str) and one == "absent"]
    rows = rows.assign(**{name: one for name, one in columns.items() if name not in absent}).drop(columns=absent)
    with pytest.raises(ValueError, match=f"the network of dev cannot be evaluated on ext:\n  {message}"):
        suitability.require_fit(of, datasets.load("ext"), rows)


def test_everything_that_does_not_fit_is_said_at_once_and_of_a_card_too(place):
    of = frozen.read(place / "reports" / "dev")
    rows, _ = preparation.usable_rows(pd.read_parquet(place / "reports" / "ext" / "cohort.parquet"))
    data = datasets.load("ext")
    data.card |= {"modality": "CT", "intensity": "HU"}
    with pytest.raises(ValueError) as error:
        suitability.require_fit(of, data, rows.drop(columns="stage").assign(channels=4))
    for text in ("modality: CT here, XC in dev", "intensity scale: HU here, arbitrary in dev", "channels: 120",
                 "stage is"):
        assert text in str(error.value), text
    of["training"] |= {"target": "label"}
    without = rows.drop(columns="stage")
    assert suitability.misfits(of, datasets.load("ext"), without) == [], "a label network sees no table"
    assert suitability.remarks(of, without) == ["Covariates of dev that are not in this table: stage."]


def test_covariates_follow_the_rules_of_the_run(place):
    of = frozen.read(place / "reports" / "dev")
    rows, _ = preparation.usable_rows(pd.read_parquet(place / "reports" / "ext" / "cohort.parquet"))
    rows.loc[:3, "stage"], rows.loc[[4, 5], "age_years"] = [" iii ", "IV", "n/a", "II"], [430.0, 71.0]
    _, cleaned, made = frozen.covariates(of, rows)
    age = of["prepared"]["covariates"]["age_years"]
    assert made.loc[5, "age_years"] == pytest.approx((71 - age["mean"]) / age["std"])
    assert made.loc[4, "age_years"] == pytest.approx((age["median"] - age["mean"]) / age["std"])
    levels = of["prepared"]["covariates"]["stage"]
    flags = made[[f"stage={name}" for name in levels["levels"] if name != levels["reference"]]]
    as_flag = {"III": "stage=III", "II": "stage=II"}
    for row, word in ((0, "III"), (3, "II")):
        assert flags.loc[row].sum() == (0 if word == levels["reference"] else 1), word
        assert word == levels["reference"] or flags.loc[row, as_flag[word]] == 1
    assert (flags.loc[[1, 2]] == 0).all(axis=None) and len(made) == 120
    assert frozen.strange_levels(of, cleaned) == [f"stage: iv (1) unknown to dev; counts as {levels['reference']}."]
    of["covariates"] = of["covariates"] + 0.01
    with pytest.raises(ValueError, match="covariates.parquet of dev is not what its cohort"):
        frozen.covariates(of, rows)


def test_copies_are_found_by_pixels_rows_and_pseudonyms_and_not_by_numbers(place):
    of = frozen.read(place / "reports" / "dev")
    rows, _ = preparation.usable_rows(pd.read_parquet(place / "reports" / "ext" / "cohort.parquet"))
    assert overlap.copies(of, rows).empty
    own = of["rows"]
    rows.loc[0, "sha"] = own.loc[7, "sha"]
    shared = ["label", "time_days", "event", "age_years", "stage", "marker"]
    rows.loc[1, shared] = own.loc[9, shared].to_numpy()
    rows.loc[2, "patient_id"], of["rows"].loc[3, "patient_id"] = "pabcdefghij23", "pabcdefghij23"
    found = overlap.copies(of, rows).set_index("row")
    assert found["kind"].to_dict() == {0: "image", 1: "row", 2: "patient"}
    assert found.loc[[0, 1], "same_as"].tolist() == own.loc[[7, 9], "patient_id"].tolist()
    assert found.loc[1, "part"] == own.loc[9, "split"]
    found, said = found.reset_index(), _message(overlap.without_copies, of, rows, found.reset_index())
    assert said.startswith("3 patients of this dataset are in dev already: row 0 (1): image of 8, ")
    assert "Set the parameter external_copies: 'drop' leaves them out" in said
    assert overlap.without_copies(of, rows, found, "drop")["row"].tolist() == list(range(3, 120))
    assert len(overlap.without_copies(of, rows, found, "keep")) == 120
    assert "left out" in overlap.copies_in_words(of, rows, found, "drop")[0]


def _message(function, *given):
    with pytest.raises(ValueError) as error:
        function(*given)
    return str(error.value)


def test_files_of_a_run_that_do_not_belong_together_are_refused(place, tmp_path):
    of, folder = frozen.read(place / "reports" / "dev"), tmp_path / "dev"
    shutil.copytree(place / "reports" / "dev", folder)
    assert "is about a network with weights" in _message(frozen.results, of, folder, "metrics.json", "0" * 64)
    (folder / "metrics.json").unlink()
    assert "execute notebook 04 of this run first" in _message(frozen.results, of, folder, "metrics.json", "0" * 64)
    stored = storage.read_json(folder / "preprocessing.json")
    del stored["spacing_set_mm"]
    storage.write_json(folder / "preprocessing.json", stored)
    assert "made by an earlier version" in _message(frozen.read, folder)
    (folder / "covariates.parquet").unlink()
    assert "reports/dev has no covariates.parquet: execute notebooks 01 to 03" in _message(frozen.read, folder)


def test_a_run_with_model_of_trains_nothing(place):
    _, _, conditions = execute.plan("ext")
    part = [name[:2] for name in parameters.notebooks() if not parameters.unmet(name, conditions)]
    assert part == ["01", "18"]
    _, _, conditions = execute.plan("dev")
    part = [name[:2] for name in parameters.notebooks() if not parameters.unmet(name, conditions)]
    assert "18" not in part and {"01", "02", "03", "04", "05"} <= set(part)
    report.write_index("ext", {}, execute.plan("ext")[2])
    assert "this run evaluates the network of another run" in (place / "reports" / "ext" / "index.html").read_text()
    report.write_index("dev", {}, execute.plan("dev")[2])
    assert "This run evaluates no other run" in (place / "reports" / "dev" / "index.html").read_text()


@pytest.mark.parametrize("model_of, message", [
    ("", "model_of is empty"), ("ext", "model_of is 'ext', expected another run"), ("de", "there is dev"),
    ("turned", "itself only evaluates the network of 'dev'")])
def test_which_run_can_be_named(place, model_of, message):
    (place / "reports" / "turned").mkdir(exist_ok=True)
    (place / "reports" / "turned" / "params.yaml").write_text("dataset: ext\nmodel_of: dev\n")
    assert message in _message(parameters.model_run, "ext", model_of)


def test_a_changed_network_makes_the_page_stale(place):
    read = stamps.made_from("18_external_validation", "ext", parameters.read_params("ext"), "data")["reads"]
    weights = place / "reports" / "dev" / "model.keras"
    assert read["model:model.keras"] == storage.digest(weights) and read["cohort.parquet"] == storage.digest(
        place / "reports" / "ext" / "cohort.parquet")


# ---------------------------------------------------------------- drift and recalibration, without a run

def test_a_standardised_difference_by_hand():
    one, other = np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6, np.nan])
    found = drift.standardised(one, other)
    spread = np.sqrt(5 / 3)
    assert found["value"] == pytest.approx(2 / spread) and found["low"] < found["value"] < found["high"]
    assert found["high"] - found["value"] == pytest.approx(1.96 * np.sqrt(8 / 16 + found["value"] ** 2 / 16))
    assert drift.standardised(one, one)["value"] == 0 and np.isnan(drift.standardised(one, [1.0])["value"])
    assert drift.standardised([1, 1], [2, 2])["value"] == np.inf


def test_standardised_differences_cover_the_truth():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        found = drift.standardised(rng.normal(0, 1, 60), rng.normal(0.5, 1, 80))
        inside += found["low"] <= 0.5 <= found["high"]
    assert 0.925 <= inside / 400 <= 0.975


def test_grey_values_see_noise_and_scale_and_leave_alone_what_is_alike():
    rng = np.random.default_rng(0)
    smooth = np.linspace(60, 140, 32)[None, None, :, None] + rng.normal(0, 5, (60, 32, 32, 1))
    noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 1, 255).astype(np.uint8)
    smooth = np.clip(smooth, 1, 255).astype(np.uint8)
    smooth[:, :4] = 0  # black border
    (own, a), (alike, b), (other, c) = (drift.grey_values(images, np.arange(n, n + 30)) for images, n in
                                        ((smooth, 0), (smooth, 30), (noisy, 0)))
    assert own["noise"].mean() == pytest.approx(5, rel=0.08) and other["noise"].mean() == pytest.approx(13, rel=0.08)
    assert "noise" in drift.shown_to_differ(drift.pixels(own, other)).index
    same, apart = drift.histogram_distance(a, b), drift.histogram_distance(a, c)
    assert same["distance"] <= 1.5 * same["by_chance"] and apart["distance"] > 2 * apart["by_chance"]
    words = drift.in_words({"grey values": drift.pixels(own, own)}, same)
    assert "Shown to differ, grey values: nothing; 3 lines compared" in words[0]


def test_covariates_side_by_side():
    own = pd.DataFrame({"age_years": [50.0, 60, 70, np.nan], "sex": ["f", "m", "m", "f"], "site": ["A", "A", "B", "B"]})
    others = pd.DataFrame({"age_years": [80.0, 90, 85, 80], "sex": ["f", "f", "f", "f"], "site": ["A", "C", "C", "B"]})
    fitted = {"age_years": {"kind": "number"}, "sex": {"kind": "category", "levels": ["f", "m"]},
              "site": {"kind": "category", "levels": ["A", "B"]}}
    found = drift.columns(own, others, fitted)
    assert found.index.tolist() == ["age_years", "age_years: missing", "sex: f", "site: A", "site: other"]
    assert found.loc["sex: f", ["run", "here"]].tolist() == ["50.0%", "100.0%"]
    assert found.loc["site: other", "here"] == "50.0%" and found.loc["age_years", "value"] > 2
    assert drift.shown_to_differ(found).index[0] == "age_years"


def simulated(n=3000, seed=0, a=-0.7, b=0.5):
    """Outcomes, and probabilities whose logit has to be multiplied by b and shifted by a; two images a patient."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, n)
    return (rng.random(n) < expit(a + b * x)).astype(int), expit(x), np.repeat(np.arange(n // 2), 2)


def test_recalibration_finds_what_was_done_to_the_probabilities():
    y, p, who = simulated()
    a, b = recalibration.line(y, p)
    model = LogisticRegression(C=1e12, tol=1e-10).fit(logit(p)[:, None], y)
    assert (a, b) == (pytest.approx(model.intercept_[0], abs=1e-4), pytest.approx(model.coef_[0, 0], abs=1e-4))
    shift, one = recalibration.line(y, p, slope=False)
    assert one == 1 and expit(logit(p) + shift).mean() == pytest.approx(y.mean())
    found = recalibration.options(y, p, who, n_bootstrap=50)
    slopes = {how: one["table"].loc["calibration_slope", "value"] for how, one in found.items()}
    assert slopes["as it is"] == pytest.approx(0.5, abs=0.06)
    assert slopes["intercept and slope"] == pytest.approx(1, abs=0.1)
    assert slopes["intercept"] == pytest.approx(slopes["as it is"], abs=0.02)
    level = found["intercept"]["table"].loc["calibration_intercept"]
    assert level["low"] < 0 < level["high"] and (found["as it is"]["p"] == p).all()
    text = recalibration.in_words(found)
    assert "too many cases are predicted" in text and "promise too much" in text and "cross-validated" in text
    few = recalibration.options(y[:12], p[:12], who[:12], n_bootstrap=20)
    assert list(few) == ["as it is"] and "Too few patients" in recalibration.in_words(few)


def test_nobody_is_recalibrated_by_the_own_outcome():
    y, p, who = simulated(200)
    fold = recalibration.folds(y, who, 5)
    assert pd.Series(fold).groupby(who).nunique().max() == 1 and np.bincount(fold).tolist() == [40] * 5
    turned = np.where(fold == 2, 1 - y, y)
    before, after = (recalibration.cross_fitted(z, p, who, n_folds=5) for z in (y, turned))
    if (recalibration.folds(turned, who, 5) == fold).all():
        assert (before[fold == 2] == after[fold == 2]).all()
    a, b = recalibration.line(y[fold != 2], p[fold != 2])
    assert np.allclose(before[fold == 2], expit(a + b * logit(p[fold == 2])))


def test_risks_are_recalibrated_for_level_and_slope():
    rng, horizon = np.random.default_rng(3), 700
    x = rng.normal(0, 1, 2500)
    time, end = rng.exponential(900 * np.exp(-0.5 * x)), rng.uniform(200, 2500, 2500)
    days, event = np.minimum(time, end), time <= end
    promised = 1 - np.exp(-np.exp(1.0 * x) * horizon / 2000)  # twice the slope, and another level
    a, b = of_risks.refitted(days, event, promised, horizon)
    assert b == pytest.approx(0.5, abs=0.06)
    right = 1 - np.exp(-np.exp(0.5 * x) * horizon / 900)
    assert a + b * np.log(horizon / 2000) == pytest.approx(np.log(horizon / 900), abs=0.1)
    new = of_risks.cross_fitted(days, event, promised, horizon)
    assert np.abs(new - right).mean() < 0.02 < np.abs(promised - right).mean()
    from lifelines import CoxPHFitter

    column = pd.DataFrame({"x": np.log(-np.log(1 - promised)), "t": days, "e": event})
    model = CoxPHFitter().fit(column, "t", "e")
    assert b == pytest.approx(model.params_["x"], abs=1e-3)
    level, one = of_risks.refitted(days, event, promised, horizon, slope=False)
    assert one == 1 and np.isfinite(level)


def test_an_answer_of_an_external_validation_without_one_of_its_parts():
    label = {"n_patients": 50, "n_images": 60, "positive": "ill", "cases": {"ill": 20}, "own_test": {"n_images": 0},
             "baselines": {"class frequencies": {"auc": 0.5}}, "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8,
             "calibration_slope": 0.5, "calibration_slope_low": 0.3, "calibration_slope_high": 0.7,
             "recalibrated": {"calibration_slope": 0.97}}
    result = {"model_of": "dev", "dataset": "ext", "label": label, "survival": None, "notes": ["a"],
              "drift": {"differ": {"noise": 1.4, "age_years": -0.3}}}
    sentences, numbers, warnings = external.of(result)
    assert sentences == [
        "ext (50 patients, 20 ill): the AUC of the network of dev is 0.70 (0.60 to 0.80); its own test part was not "
        "opened. Calibration slope 0.50 (0.30 to 0.70) (recalibrated here 0.97).",
        "Shown to differ from the patients of the run: noise (+1.4 SD), age_years (-0.3 SD)."]
    assert [one["value"] for one in numbers] == [0.7, 0.5] and warnings == ["a"]
    survival = {"n_patients": 50, "n_events": 0, "main": "fused", "models": {}, "own_test": {}, "own_part": "test"}
    assert "no survival model can be scored" in external.of(result | {"survival": survival})[0][1]


def test_a_prepared_pixel_that_covers_more_is_said(monkeypatch):
    monkeypatch.setattr(frozen.geometry, "prepared_spacing", list)
    of = {"run": "dev", "prepared": {"spacing_mm": [5.0, 1.0, 1.0]}}
    assert frozen.scale_in_words(of, [[5.0, 1.05, 1.05]] * 3) == ""
    said = frozen.scale_in_words(of, [[5.0, 1.5, 1.5]] * 3)
    assert said == "One prepared pixel covers 1.50 mm here, 1.00 mm in dev: things are shown smaller here."
    assert "not known of all images here" in frozen.scale_in_words(of, [[]])
