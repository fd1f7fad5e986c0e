"""What notebooks 01 and 02 say about a cohort: counted by hand on a cohort of eight images of six patients."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from medlab.cohorts import (
    annotations,
    confounding,
    datasets,
    intensities,
    pictures,
    preparation,
    prepared,
    screening,
    sides,
    splits,
    summary,
)
from medlab.imaging import geometry
from medlab.survival import followup


@pytest.fixture
def data(workspace):
    """Volumes of 5 x 20 x 24 with one marked slice; image 7 is a copy of image 0 from another patient and split."""
    folder, random, rows = workspace / "data" / "made", np.random.default_rng(0), []
    folder.mkdir()
    for i in range(8):
        pixels, mask = random.integers(0, 900, (5, 20, 24)), np.zeros((5, 20, 24), np.uint8)
        mask[3, 4:8, 5:5 + i] = 1
        np.save(folder / f"{i}.npy", (pixels if i < 7 else np.load(folder / "0.npy")).astype(np.int16))
        np.save(folder / f"m{i}.npy", mask)
        rows.append({"patient_id": f"p{min(i, 5) if i < 7 else 9}", "image": f"{i}.npy", "mask": f"m{i}.npy",
                     "label": ["well", "ill"][i % 2], "split": "test" if i > 5 else "train", "spacing_mm": "4 x 2 x 2",
                     "time_days": 100 + 10 * i, "event": i != 3, "age_years": [50, 61, 72, 430, 55, 66, 66, 58][i],
                     "sex": ["m", "Male", "male", "f", "f", "f", "f", "unknown"][i], "site": "AABBABBA"[i]})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text("title: Made up\nmodality: CT\nintensity: HU\nclasses: [well, ill]\n"
                                      "patients: known\nlicence: CC0\n")
    return datasets.load("made")


@pytest.fixture
def cohort(data):
    scan = datasets.scan(data, progress=False)
    return screening.joined(data.cohort, scan, screening.duplicates(scan))


def test_card_and_size_in_words(data):
    text = summary.card_in_words(data)
    assert "classes         well, ill" in text and "not stated      description, citation, time_origin" in text
    assert summary.size_in_words(data) == "8 images, 7 patients"
    data.card["patients"] = "unknown"
    assert summary.n_patients(data) is None and summary.size_in_words(data).endswith("number of patients unknown")


def test_copies_are_counted_where_they_mislead(data, cohort):
    counted = screening.count_groups(cohort)
    assert counted == {"groups": 1, "exact": 1, "rows": 0,
                       "across": {"splits of the source": 1, "patients": 1, "labels": 1}}
    assert "patients" not in screening.count_groups(cohort, patients_known=False)["across"]
    said = screening.groups_in_words(counted, 1)
    assert said[1].startswith("A leak: 1 group lies in more than one split of the source, 1 of them with identical")
    assert [list(group["row"]) for group in screening.groups_to_see(cohort)] == [[0, 7]]
    assert list(cohort["duplicate_kind"].dropna().index) == [0, 7] and set(cohort["depth"]) == {5}
    assert screening.groups_in_words({"groups": 0, "exact": 0, "rows": 0, "across": {}}) == []


def test_a_table_without_images_gets_the_same_columns():
    table = pd.DataFrame({"patient_id": ["a", "b"]})
    empty = pd.DataFrame(columns=screening.COLUMNS, index=[])
    made = screening.joined(table, empty, screening.duplicates(empty))
    assert list(made) == ["patient_id", "row", "problem", "depth", "duplicate_group", "duplicate_kind"]
    assert screening.count_groups(made) == {"groups": 0, "exact": 0, "rows": 0, "across": {"patients": 0}}
    assert summary.class_counts(made, [], [])["rows"].to_dict() == {"all": 2}


def test_classes_and_sites(cohort):
    assert summary.class_counts(cohort, ["well", "ill"], []).loc["images"].to_dict() == {"well": 4, "ill": 4}
    assert summary.classes_by(cohort, ["site"], ["well", "ill"]).loc["site B"].to_dict() == {"well": 2, "ill": 2}
    said = summary.classes_in_words(cohort, ["well", "ill"])
    assert "50.0% of the images" in said[0] and said[1].startswith("1 patient has images of more than one class")
    several = pd.DataFrame({"label_a": [0, 1], "label_b": [None, None]})
    assert summary.class_counts(several, ["a", "b"], []).loc["label_a"].tolist() == [1, 2, "50.0%"]
    assert summary.class_counts(several, ["a", "b"], []).loc["label_b"].tolist() == [0, 0, ""], "no share of none"


def test_rows_without_a_label_count_for_nothing(cohort):
    cohort["label"] = ["well", "ill", "ill", "ill", None, None, None, None]
    said = summary.classes_in_words(cohort, ["well", "ill"])
    assert said[0].startswith("The largest class has 75.0% of the images with a label (4 have none)")
    table = summary.class_counts(cohort, ["well", "ill"], [])
    assert table.loc["share"].tolist() == ["25.0%", "75.0%", ""] and table.loc["images", "(no label)"] == 4
    said = summary.classes_in_words(cohort.assign(label=None), ["well", "ill"])
    assert said == ["None of the 8 images has a label"]
    cohort.loc[0, "site"] = None
    assert summary.classes_by(cohort, ["site"], ["well", "ill"]).loc["no site", "well"] == 1


def test_what_the_import_understood_and_guessed(data):
    assert summary.how_read({}).empty
    data.card |= {"understood": [{"what": "kind", "read_as": "folders"}],
                  "questions": [{"question": "is 2 dead?", "option": "--event-values"}]}
    table = summary.how_read(data.card)
    assert table.index.tolist() == ["kind", "a guess"] and "--event-values answers it" in table.iloc[1, 0]
    assert "read_as" not in summary.card_in_words(data)


def test_a_group_without_values_in_table_one_is_a_dash():
    from tableone import TableOne

    people = pd.DataFrame({"label": list("aabb"), "sex": ["m", "f", None, None], "age": [5.0, 6, None, None]})
    with np.errstate(all="ignore"):
        made = TableOne(people, columns=["sex", "age"], categorical=["sex"], nonnormal=["age"], groupby="label")
    made = made.tableone
    assert "nan" in made.to_string() and "nan" not in summary.table_one_shown(made).to_string()
    assert "1 (50.0)" in summary.table_one_shown(made).to_string()


def test_suffix_folder_and_size_of_the_files_are_told_apart_from_classes(workspace):
    folder, rows = workspace / "data" / "made", []
    for i in range(40):
        label, site = ("ill", "well")[i % 2], f"site_{i % 3}"
        name = f"images/train/{label}/{site}/{i}.{'jpg' if label == 'ill' and i < 30 else 'png'}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 1024 * (i % 5 + 1))
        rows.append({"patient_id": f"p{i}", "image": name, "label": label, "split": "train"})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text("title: Made up\n")
    made = datasets.load("made")
    files = confounding.files(made)
    assert files["file: folder"].unique().tolist() == ["site_0", "site_1", "site_2"], "neither split nor class"
    assert files["file: size"].tolist()[:5] == [1, 2, 3, 4, 5]
    values, kinds = confounding.candidates(made.cohort.assign(problem=None), [], [], files)
    assert kinds == {"file: suffix": "technical", "file: folder": "technical", "file: size": "brightness"}
    table = confounding.each_alone(values, made.cohort["label"], made.cohort["patient_id"], kinds)
    assert table.loc["file: suffix", "value"] == pytest.approx(0.875, abs=0.05) and "file: suffix" not in made.cohort
    assert datasets.covariates(made) == []
    said = pd.DataFrame({**made.cohort, "file_suffix": ".dcm"})
    assert set(confounding.files(datasets.replace(made, cohort=said))["file: suffix"]) == {".dcm"}


def test_grey_levels_are_shown_from_the_lowest_on(cohort):
    negative = cohort.assign(minimum=[-1024.0] * 3 + [0.0] * 5, maximum=1500.0)
    assert intensities.bins(negative, in_hu=False)[0] < -1000, "most images begin at 0, yet some do not"
    edges = intensities.bins(negative.assign(minimum=-2000.0), in_hu=True)
    assert edges[0] < -1999 and 1499 < edges[-1] < 1600
    assert "neither air nor soft tissue" in intensities.hu_in_words(edges, {"a": np.zeros(len(edges) - 1)})


def test_spellings_and_impossible_values(data, cohort):
    covariates = datasets.covariates(data)
    unlike = preparation.spelt_unlike(cohort, covariates)
    assert set(unlike["column"]) == {"sex"} and unlike.loc[unlike["written"] == "Male", "cleaned"].item() == "male"
    assert preparation.spellings_in_words(unlike) == [
        "sex: 2 categories are written in 4 ways."]
    assert preparation.impossible_in_words(preparation.impossible(cohort, covariates)) == [
        "Impossible values: age_years 430"]
    assert preparation.spelt_unlike(cohort, ["site"]).empty and preparation.impossible_in_words(pd.DataFrame()) == []
    assert preparation.listed(" sex, site ", covariates, "x") == ["sex", "site"]
    with pytest.raises(ValueError, match=r"drop_covariates: no covariate \['size'\]; known: \['age_years'"):
        preparation.listed("size", covariates, "drop_covariates")


def test_table_one_and_what_is_missing_or_rare(cohort):
    covariates = ["age_years", "sex", "site"]
    people = summary.people(cohort, covariates)
    assert len(people) == 7 and summary.varying(cohort, covariates) == []
    assert summary.table_one_columns(people, covariates) == (covariates, ["age_years", "sex", "site"])  # few ages
    assert summary.missing(people, covariates) == ["Missing per patient: age (years) 1, sex 1."]
    many = pd.DataFrame({"patient_id": range(60), "stage": ["I"] * 57 + ["IV"] * 3, "n": [1, 2] * 30})
    assert summary.rare_categories(many, ["stage", "n"]) == ["Rare categories (patients): stage iv (3)."]
    mixed = summary.one_kind_per_column(pd.DataFrame({"a": ["x", 1, None], "b": [1, 2, 3]}))
    assert mixed["a"].tolist() == ["x", "1", None] and mixed["b"].tolist() == [1, 2, 3]


def test_one_patient_as_a_table(cohort):
    rows = summary.patient_rows(cohort.assign(age_years=np.nan), "p5")
    table = summary.patient_table(rows, ["channels", "mean"], "patient")["patient p5"]
    assert table["age_years"] == "missing" and table["site"] == "B" and "sha" not in table and len(rows) == 2
    assert summary.patient_rows(cohort.assign(problem=["blank"] + [None] * 7))["patient_id"].tolist() == ["p1"]
    with pytest.raises(ValueError, match="patient_shown: no patient 'x'; the first are p0, p1"):
        summary.patient_rows(cohort, "x")


def test_sizes_masks_and_grey_levels(data, cohort):
    kinds = summary.image_kinds(cohort)
    assert kinds.index.tolist() == ["5 x 20 x 24 x 1"] and kinds["images"].tolist() == [8]
    assert summary.kinds_in_words(kinds, 8) == "1 combinations of size and spacing; spacing unknown for 0 images"
    cohort["mask_size"] = annotations.mask_sizes(data, cohort)
    assert cohort["mask_size"].tolist() == [4 * i for i in range(8)]
    assert annotations.sizes_in_words(cohort) == "Masks: 8 of 8 images, 1 of them empty."
    assert "16 voxels, 0.256 ml (from 0.064 to 0.448)" in annotations.median_size_in_words(cohort)  # 16 mm³ each
    edges = intensities.bins(cohort, in_hu=True)
    levels = intensities.histograms(data, cohort, edges, ["ill", "well"])
    assert list(levels) == ["ill", "well"] and levels["ill"].sum() == pytest.approx(4)
    assert "NOT as expected" in intensities.hu_in_words(edges, levels)
    peaks = np.where(np.isin(edges[:-1] + 7.5, edges[:-1][[20, 75]] + 7.5), 5, 1)
    assert ", as expected" in intensities.hu_in_words(edges, {"a": peaks})
    assert len(intensities.sample(cohort, ["well", "ill"], 4, 0)) == 4
    assert intensities.means_in_words(cohort.drop(columns="label"), []).startswith("Median of the mean grey levels: a")


def test_what_predicts_alone(cohort):
    values, kinds = confounding.candidates(cohort, ["age_years", "sex", "site"], ["site"])
    assert kinds["site"] == kinds["images per patient"] == "technical" and "image: depth" not in kinds
    assert kinds["image: mean brightness"] == "brightness" and kinds["age_years"] == "clinical"
    assert list(confounding.outcomes(cohort)) == ["label", "survival"]
    table = pd.DataFrame({"measure": "AUC", "value": [0.7, 0.6, 0.9, 0.95], "low": [0.6, 0.4, 0.8, 0.9], "high": 1.0,
                          "technical": [True, False, False, False]}, index=["site", "sex", "age_years", "death"])
    kinds = dict.fromkeys(table.index, "clinical") | {"site": "technical"}
    said, findings = confounding.in_words(table, "label", kinds, ["death"])
    assert len(said) == 3 and [f.split(":")[-1] for f in findings] == [
        " a confounder to report beside every model.", " suspiciously strong; was it recorded after the outcome?"]
    assert said[2] == "death alone predicts label: AUC 0.95 (0.90 to 1.00)"
    assert list(confounding.strongest(table, kinds, most=2).index) == ["site", "death", "age (years)"]
    alone = confounding.each_alone(values[["site"]], cohort["label"], cohort["patient_id"], {"site": "technical"})
    assert alone.loc["site", "technical"] and alone.loc["site", "n"] == 7


def test_follow_up_in_numbers(cohort):
    first = cohort.drop_duplicates("patient_id")
    numbers = followup.describe(first["time_days"], first["event"])
    assert (numbers["n_patients"], numbers["n_events"], numbers["last_event_days"]) == (7, 6, 170)
    assert numbers["median_survival_days"] == followup.median_survival(first["time_days"], first["event"])[0]
    said = followup.in_words(numbers | {"median_survival_days": np.inf})
    assert said[0] == "6 events in 7 patients, 14% censored" and "median survival not reached" in said


def test_pictures_show_the_marked_slice_before_and_after(data, cohort):
    assert pictures.best_slice(data, cohort.loc[5]) == 3 and pictures.best_slice(data, cohort.loc[0]) is None
    assert pictures.window_of(data.card) == "lung" and pictures.window_of({}) is None
    cells = pictures.patient_cells(data, cohort[5:7], most=3)
    assert [i for _, i in cells] == [1, 2, 3] and "slices 1 to 3 of 5" in pictures.patient_in_words(cells, 2)
    grid = pictures.patient(data, cells, window="lung", channel=0)
    assert [len(ax.collections) for ax in grid.flat] == [0, 0, 1], "the outline lies on the slice with the mask"
    extent = prepared.extents(cohort)
    assert extent.tolist() == [[5, 20, 24]] * 8 and prepared.extents(cohort, 2.0)[0].tolist() == [10, 20, 24]
    shape = (8, *prepared.shape_of(extent, 96, 10, 2))
    big, train = np.vstack([extent, [5, 90, 90]]), np.arange(9) < 8
    assert prepared.shape_of(big[train], 96, 10, 2) == shape[1:], "a large test image changes nothing"
    assert ": 1 of the 1" in prepared.larger_in_words(big, train, 0)
    assert prepared.larger_in_words(big[:8], train[:8], 0) == ""
    assert prepared.channels_of(cohort.assign(channels=[3] * 5 + [1] * 3)) == 3
    with pytest.raises(ValueError, match="no training patient has an image"):
        prepared.shape_of(extent[:0], 96, 10, 2)
    assert shape == (8, 10, 24, 24, 2) and "became 24" in prepared.shape_in_words(shape, 96)
    made = [prepared.prepare(data, row, shape, ["lung"], marks=True) for _, row in cohort.iterrows()]
    pixels, places = (np.stack(parts) for parts in zip(*made, strict=True))
    assert pixels.shape == shape and set(np.flatnonzero(pixels[5][..., 1].any(axis=(1, 2)))) == {6, 7}
    grid = pictures.before_and_after(data, cohort[5:6], pixels[5:6][..., :1], places[5:6], "lung")
    shown = grid[1, 0].images[0].get_array()
    assert any((shown == pixels[5, i, ..., 0]).all() for i in (6, 7)) and geometry.prepared_spacing(places[5])[0] == 2
    assert "about 2.00 mm" in prepared.size_in_words(extent, shape, [2.0, 2.0, 2.0])
    assert prepared.size_in_words(extent, shape, None).startswith("One prepared pixel covers up to 1.0 pixels")
    plt.close("all")


def test_rows_splits_and_leaks(cohort):
    cohort.loc[2, "problem"] = "blank"
    rows, dropped = preparation.usable_rows(cohort)
    assert dropped == {2: "blank"} and rows["patient_id"].iloc[-1] == "p2" and not rows["has_image"].iloc[-1]
    assert preparation.usable_in_words(rows, 8) == "7 of 8 images are used; 1 patients with follow-up have none"
    with pytest.raises(ValueError, match="none of the 8 images can be read"):
        preparation.usable_rows(cohort.assign(problem="blank"))
    with pytest.raises(ValueError, match="radiomics: no image of this cohort has a mask"):
        prepared.require_masks(cohort.drop(columns="mask"), "radiomics")
    found = sides.leaks(rows)
    kept = sides.resolve(rows, found, "drop-train")
    gone = sides.removed(rows, kept)
    assert gone == {0: "leak: removed from train", 5: "leak: removed from train"}
    said = sides.leaks_in_words(found, "drop-train", len(gone))
    assert said == ["In more than one split: 1 patient and 1 group of look-alike images; leaks: drop-train, 2 rows "
                    "dropped."] and len(sides.leaks_in_words(found.iloc[:0], "stop", 0, patients_known=False)) == 1
    table = splits.in_numbers(kept, ["label", "site"], ["well", "ill"])
    assert table.loc["patients"].to_dict() == {"train": "4", "test": "2"}
    assert table.loc["patients with event"].to_dict() == {"train": "3", "test": "2"}
    assert table.loc["label well"].to_dict() == {"train": "50.0%", "test": "50.0%"}
    assert splits.gaps(kept, ["label", "site"]) == pytest.approx({"label": 0.0, "site": 0.0})
    assert splits.small(kept) == ["test"] and splits.counts(kept, ["well", "ill"], False)["test"] == {
        "images": 2, "patients": None, "classes": {"well": 1, "ill": 1}}
    assert list(splits.panels(kept, ["label", "event"], ["well", "ill"])) == ["label, share of images",
                                                                            "event, share of patients"]
    assert splits.origin(cohort["split"], rows["split"], rows["split"]) == "the source"
    assert splits.origin(None, None, rows["split"]) == "medlab, by patient"
    assert splits.origin(cohort["split"], rows["split"], rows["split"].replace("train", "val")).endswith("by medlab")
