"""Copies: of images among look-alikes, and of rows of a table."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medlab.cohorts import checks, datasets, likeness, screening, sides, twins
from medlab.intake import importers


def eye(seed, side=200):
    """A disc that all share, with detail of its own."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    own = gaussian_filter(random.normal(size=(side, side)), 3)
    pixels = 110 + 60 * np.exp(-((x - 0.2) ** 2 + y**2) * 40) + own / own.std() * 18
    return np.where(np.hypot(x, y) < 0.46, pixels, 0).clip(0, 255).astype(np.uint8)


def write(folder, pictures, **columns):
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}.png")
    pd.DataFrame({"patient_id": [f"p{i}" for i in range(len(pictures))],
                  "image": [f"{i}.png" for i in range(len(pictures))], **columns}).to_csv(
                      folder / "cohort.csv", index=False)
    (folder / "card.yaml").write_text("title: Made up\npatients: known\n")
    return datasets.load(folder.name)


def changed(picture, how):
    image, side = Image.fromarray(picture), picture.shape[0]
    grey = picture.astype(float)
    return np.asarray({
        "crop": lambda: image.crop((5, 5, side - 5, side - 5)),
        "shift": lambda: np.roll(picture, (8, -8), axis=(0, 1)),
        "mirror": lambda: picture[:, ::-1],
        "upside down": lambda: picture[::-1],
        "brightness": lambda: (grey * 0.7 + 40).astype(np.uint8),
        "gamma": lambda: (255 * (grey / 255) ** 0.6).astype(np.uint8),
        "half": lambda: image.resize((side // 2, side // 2), Image.Resampling.BICUBIC),
        "turn": lambda: image.rotate(2, Image.Resampling.BILINEAR),
    }[how]())


@pytest.mark.parametrize("n", [8, likeness.ALL_PAIRS + 6], ids=["all pairs", "by spectra"])
def test_copies_are_found_among_look_alikes(workspace, n):
    ways = ["crop", "shift", "mirror", "upside down", "brightness", "gamma", "half", "turn"]
    pictures = [eye(seed) for seed in range(n)]
    data = write(workspace / "data" / "eyes", [*pictures, *(changed(pictures[i], how) for i, how in enumerate(ways))])
    found = screening.duplicates(datasets.scan(data, progress=False))
    assert [sorted(g["row"]) for _, g in found.groupby("group")] == [[i, n + i] for i in range(len(ways))]
    assert set(found["kind"]) == {"near"} and screening.duplicates(datasets.scan(data, progress=False), 1.0).empty


def test_a_cohort_of_one_anatomy_asks_for_more(monkeypatch):
    """Mixtures of ten pictures, as alike as copies are elsewhere: only the real copy is one."""
    parts = np.stack([eye(i, 128).astype(float) for i in range(10)])
    how = np.random.default_rng(3).normal(0, 0.6, (90, 9))
    thumbnails = [one.clip(0, 255).astype(np.uint8) for one in parts[0] + np.tensordot(how, parts[1:] - parts[0], 1)]
    copy = np.asarray(Image.fromarray(thumbnails[7]).point(lambda v: v * 0.8 + 20))
    thumbnails = [one.tobytes() for one in [*thumbnails, copy]]
    pairs, least = likeness.near_pairs(thumbnails, np.zeros(91), 0.85)
    assert pairs.tolist() == [[7, 90]] and 0.9 < least <= likeness.HIGHEST_LEAST
    monkeypatch.setattr(likeness, "usual", lambda thumbnails, pairs, least: least)
    assert len(likeness.near_pairs(thumbnails, np.zeros(91), 0.85)[0]) > 3


def test_where_half_are_copies_the_cohort_asks_for_nothing_more():
    thumbnails = [eye(i, 128) for i in range(40)]
    brighter = [(one * 0.8 + 20).astype(np.uint8) for one in thumbnails]
    pairs, least = likeness.near_pairs([one.tobytes() for one in thumbnails + brighter], np.zeros(80), 0.85)
    assert least == 0.85 and pairs.tolist() == [[i, i + 40] for i in range(40)]


def test_a_chain_of_gradual_changes_is_no_group():
    steps = [np.asarray(Image.fromarray((eye(0) * (1 - t) + eye(1) * t).astype(np.uint8)).resize((128, 128)))
             for t in np.linspace(0, 1, 9)]
    thumbnails = [one.tobytes() for one in steps]
    pairs, least = likeness.near_pairs(thumbnails, np.zeros(len(steps)), 0.85)
    group = likeness.groups(thumbnails, pairs, least)
    assert {(0, 1), (7, 8)} <= set(map(tuple, pairs.tolist())) and group[0] != group[8]


def table(seed=0, n=300, copied=70):
    """The published mistake: rows of the test part drawn from train under new names."""
    random = np.random.default_rng(seed)
    train = pd.DataFrame({f"x{i}": random.normal(size=n).round(2) for i in range(5)} | {
        "time_days": random.integers(5, 900, n), "event": random.integers(0, 2, n), "split": "train"})
    other = train.sample(30, random_state=2).assign(x0=lambda t: t["x0"] + 9)
    both = pd.concat([train, pd.concat([train.sample(copied, random_state=1), other]).assign(split="test")])
    return both.reset_index(drop=True).rename_axis("patient_id").reset_index().astype({"patient_id": str})


def test_copied_rows_are_found_and_their_number_said():
    cohort = table()
    found = twins.equal_rows(cohort)
    assert found["group"].nunique() == 70 and len(found) == 140 and set(found["kind"]) == {"row"}
    assert found["expected"].max() < 0.1
    assert "70 groups lie in more than one split of the source: a leak" in twins.in_words(found, cohort)[0]
    coarse = cohort.assign(x0=cohort["x0"].where(cohort["split"] == "train", cohort["x0"].round(1)))
    assert twins.equal_rows(coarse)["group"].nunique() == 70, "written with fewer decimals in one part"
    noise = cohort.assign(x1=cohort["x1"] + np.where(cohort["split"] == "test", 1e-15, 0))
    assert twins.equal_rows(noise)["group"].nunique() == 70
    other = cohort.assign(time_days=cohort["time_days"] + np.where(cohort["split"] == "test", 7, 0))
    assert twins.equal_rows(other).empty and "not in the outcome" in twins.unlike_in_words(other)[0]


def test_chance_is_not_taken_for_a_copy():
    random = np.random.default_rng(1)
    n, age = 1000, random.integers(30, 90, 1000)
    who = pd.DataFrame({"patient_id": np.arange(n).astype(str), "label": random.choice(["a", "b"], n)})
    binary = who.assign(**{f"b{i}": random.integers(0, 2, n) for i in range(8)})
    together = who.assign(age=age, months=age * 12, born=2000 - age, decade=age // 10)
    sparse = who.assign(**{f"s{i}": np.where(np.arange(n) < 800, 0, random.integers(0, 5, n)) for i in range(9)})
    missing = who.assign(**{f"m{i}": np.where(np.arange(n) < 300, np.nan, random.normal(size=n)) for i in range(6)})
    for cohort in (binary, together, sparse, missing):
        found = twins.equal_rows(cohort)
        assert len(found) and set(found["kind"]) == {"chance"}
        assert "not taken as copies" in twins.in_words(found, cohort)[0]


def test_images_of_one_patient_are_no_copies_of_its_row():
    cohort = pd.concat([table().assign(slice=i) for i in range(3)], ignore_index=True)
    found = twins.equal_rows(cohort)
    assert found["group"].nunique() == 70 and len(found) == 3 * 140, "all rows of both patients"


def test_rows_and_images_join_into_one_group_and_are_resolved_like_a_leak():
    images = pd.DataFrame({"row": [0, 1], "group": [0, 0], "kind": ["near", "near"], "exact_group": [-1, -1]})
    rows = pd.DataFrame({"row": [1, 2, 4, 5, 6, 7], "group": [0, 0, 1, 1, 2, 2],
                         "kind": ["row"] * 4 + ["chance"] * 2, "expected": 0.0})
    found = twins.merged(images, rows)
    assert found[["row", "group", "kind"]].to_numpy().tolist() == [
        [0, 0, "near"], [1, 0, "near"], [2, 0, "row"], [4, 1, "row"], [5, 1, "row"]]
    cohort = pd.DataFrame({"patient_id": list("abcdefgh"), "split": ["train", "test"] * 4})
    cohort = screening.joined(cohort, pd.DataFrame(columns=screening.COLUMNS), found)
    leaks = sides.leaks(cohort)
    assert leaks[["kind", "who", "likeness"]].to_numpy().tolist() == [["image", "a = b = c", "near"],
                                                                     ["row", "e = f", "equal"]]
    with pytest.raises(ValueError, match="1 group of identical.*images and 1 group of equal rows"):
        sides.resolve(cohort, leaks)
    assert sides.copied(cohort).tolist() == [False, True, False, False, False, True, False, False]
    assert not sides.copied(sides.resolve(cohort, leaks, "drop-test")).any()
    assert screening.rows_to_see(cohort).reset_index()["patient_id"].tolist() == ["e", "f"]


def test_import_and_check_say_it(workspace, tmp_path):
    table().to_csv(tmp_path / "table.csv", index=False)
    data = importers.import_source(tmp_path / "table.csv", "copies", kind="table", yes=True, key="patient_id",
                                   time="time_days", event="event", split="split")
    said = {line["what"]: line["read_as"] for line in data.card["understood"]}
    assert said["equal rows"].startswith("Copied rows: 140 patients in 70 groups")
    level, message = next(line for line in checks.check("copies") if "Copied rows" in line[1])
    assert level == "warning" and "70 groups lie in more than one split" in message
