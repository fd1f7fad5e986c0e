"""Comparison of runs: made-up run folders whose answers are known, then notebook 13 on them."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from medlab.comparison import differences, figures, groups, pooled, predictions, sites, stability
from medlab.engine import execute, pages, parameters
from medlab.segmentation import scores
from medlab.statistics import metrics, synthesis


def folder_of(reports, name, params, n_patients, fingerprint="abc"):
    """A run folder with parameters and dataset.json."""
    folder = reports / name
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    about = {"name": "made_up", "fingerprint": fingerprint, "n_patients": n_patients, "synthetic": True,
             "sites": ["site"], "covariates": ["site", "age_years"]}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def interval(name, value):
    return {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}


def survival_patients(n=200, seed=0):
    """Patients with a true risk, exponential times, censoring and a hospital that shifts the risk."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 2, n)
    risk = rng.normal(size=n) + 0.8 * site
    time, censored = rng.exponential(900 * np.exp(-risk)), rng.exponential(1500, n)
    return pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "site": np.array(["l1", "l2"])[site],
                         "time_days": np.minimum(time, censored) + 1, "event": time <= censored, "truth": risk})


def survival_runs(reports, name="lung", folds=5, seeds=3, noise=None, params=None, fingerprint="abc", n=200):
    """Runs NAME-f0-s0 ...: risk = truth + noise that differs from seed to seed, on a scale of its own per run."""
    table = survival_patients(n)
    noise = noise or {"clinical": 1.5, "volume": 2.0, "image": 1.2, "fused": 0.6}
    part = np.random.default_rng(1).permutation(n) % max(folds, 3)
    for fold in range(max(folds, 1)):
        for seed in range(seeds):
            rng = np.random.default_rng([7, fold, seed])
            own = (params or {}) | {"seed": seed} | ({"n_folds": folds, "fold": fold} if folds else {})
            child = f"{name}-f{fold}-s{seed}" if folds else f"{name}-s{seed}"
            folder = folder_of(reports, child, own, n, fingerprint)
            risk = table.drop(columns=["truth", "site"]).assign(split=np.where(part == fold, "test", "train"))
            fixed = np.random.default_rng(99)
            for model, size in noise.items():
                is_network = model in ("image", "fused")
                wrong = (rng if is_network else fixed).normal(size=n) * size
                risk[f"risk_{model}"] = (table["truth"] + wrong) * (1 + fold) + 10 * seed
            risk.to_parquet(folder / "risk.parquet")
            table.drop(columns="truth").to_parquet(folder / "cohort.parquet")
            test = risk[risk["split"] == "test"]
            models = {model: interval("c_harrell", brute_force(test, f"risk_{model}")) for model in noise}
            models["kaplan_meier"] = interval("integrated_brier", 0.2)
            (folder / "survival.json").write_text(json.dumps({"models": models, "horizon_days": 730}))


def brute_force(table, column):
    """Harrell's C, pair by pair."""
    good, total = pairs(table.reset_index(drop=True), column)
    return good / total


def pairs(table, column, keep=lambda i, j: True):
    """Concordant (ties half) and comparable pairs, one by one; no two times are equal here."""
    time, event, risk = (table[name].to_numpy() for name in ("time_days", "event", column))
    good = total = 0.0
    for i in np.flatnonzero(event):
        for j in np.flatnonzero(time > time[i]):
            if keep(table.index[i], table.index[j]):
                total += 1
                good += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    return good, total


def classification_runs(reports, name="brain", seeds=3, sure=1.0, classes=("no", "yes"), params=None, n=120):
    """Runs NAME-s0 ...: the same test images, probabilities that differ from seed to seed."""
    fixed = np.random.default_rng(3)
    y, quality = fixed.integers(0, len(classes), n), fixed.normal(size=(n, len(classes)))
    for seed in range(seeds):
        folder = folder_of(reports, f"{name}-s{seed}", (params or {}) | {"seed": seed, "split_seed": 0}, n // 2)
        rng = np.random.default_rng([5, seed])
        score = sure * np.eye(len(classes))[y] + quality + rng.normal(size=quality.shape) * 0.4
        p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        called = p.argmax(1)
        table = pd.DataFrame({"row": np.arange(n), "patient_id": [f"P{i // 2}" for i in range(n)], "split": "test",
                              "outcome": np.array(classes)[y], "called": np.array(classes)[called],
                              "correct": y == called})
        for k, one in enumerate(classes):
            if len(classes) > 2 or k:
                table[f"p_{one}"] = table[f"p_{one}_calibrated"] = p[:, k]
        table.to_parquet(folder / "predictions.parquet")
        facts = {"head": "binary" if len(classes) == 2 else "multiclass", "classes": list(classes), "threshold": 0.5}
        auc = roc_auc_score(y, p[:, 1] if len(classes) == 2 else p, multi_class="ovr")
        facts |= interval("auc", float(auc)) | interval("accuracy", float((y == called).mean()))
        (folder / "metrics.json").write_text(json.dumps(facts | {"baselines": {"auc": 0.5}}))


# ---------------------------------------------------------------- what differs

def test_runs_are_grouped_by_name_and_described(workspace):
    survival_runs(workspace / "reports", folds=2, seeds=2, n=40)
    classification_runs(workspace / "reports", seeds=1, params={"epochs": 7})
    table = groups.runs(["lung-f0-s0", "lung-f1-s1", "brain-s0"])
    assert table["group"].tolist() == ["lung", "lung", "brain"] and table["seed"].tolist() == [0, 1, 0]
    assert table["fold"].tolist() == [0, 1, 0] and table["survival"].tolist() == [True, True, False]
    assert table["classification"].tolist() == [False, False, True] and table["synthetic"].all()
    assert groups.parameters(table).loc["epochs"].tolist() == ["20", "7"]
    assert "fold" not in groups.parameters(table).index


def test_warnings_about_what_cannot_be_compared(workspace):
    reports = workspace / "reports"
    classification_runs(reports, seeds=2)
    table = groups.runs(["brain-s0", "brain-s1"])
    assert not [text for text in groups.remarks(table) if "WARNING" in text]
    (reports / "brain-s1" / "params.yaml").write_text("seed: 1\nsplit_seed: 0\nepochs: 3\n")
    about = json.loads((reports / "brain-s1" / "dataset.json").read_text())
    (reports / "brain-s1" / "dataset.json").write_text(json.dumps(about | {"fingerprint": "other"}))
    (reports / "brain-s0" / "metrics.json").rename(reports / "brain-s0" / "kept.json")
    found = " ".join(groups.remarks(groups.runs(["brain-s0", "brain-s1"])))
    assert "brain-s0: no results" in found
    (reports / "brain-s0" / "kept.json").rename(reports / "brain-s0" / "metrics.json")
    found = " ".join(groups.remarks(groups.runs(["brain-s0", "brain-s1"])))
    assert "WARNING: inside brain the runs differ in epochs" in found
    assert "WARNING: the runs are about different data" in found and "inside brain the data differ" in found
    (reports / "brain-s1" / "params.yaml").write_text("split_seed: 0\n")
    assert "two runs have the same fold and seed" in " ".join(
        groups.remarks(groups.runs(["brain-s0", "brain-s1"])))


def test_spread_over_folds_and_seeds():
    values = {("f0", 0): 0.6, ("f0", 1): 0.7, ("f1", 0): 0.8, ("f1", 1): 0.7}
    found = pd.DataFrame([{"run": f"a-{fold}-s{seed}", "group": "a", "fold": fold, "seed": seed, "model": "fused",
                           "measure": "c_harrell", "value": value} for (fold, seed), value in values.items()])
    row = groups.spread(found).loc[("a", "fused", "c_harrell")]
    assert row["mean"] == pytest.approx(0.7) and row["runs"] == 4 and (row["min"], row["max"]) == (0.6, 0.8)
    assert row["sd_seeds"] == pytest.approx(0.0), "seed means 0.7 and 0.7"
    assert row["sd_folds"] == pytest.approx(np.std([0.65, 0.75], ddof=1))
    one = groups.spread(found[found["seed"] == 0]).loc[("a", "fused", "c_harrell")]
    assert np.isnan(one["sd_seeds"])


# ---------------------------------------------------------------- pooled predictions

@pytest.fixture
def lung(workspace):
    """Pooled rows of 3 folds x 2 seeds of 60 patients, and the raw test tables of each run."""
    reports = workspace / "reports"
    survival_runs(reports, folds=3, seeds=2, n=60)
    names = [f"lung-f{fold}-s{seed}" for fold in range(3) for seed in range(2)]
    raw = {}
    for name in names:
        table = pd.read_parquet(reports / name / "risk.parquet")
        site = pd.read_parquet(reports / name / "cohort.parquet")["site"]
        raw[name] = table.assign(site=site)[table["split"] == "test"].reset_index(drop=True)
    return groups.runs(names), raw


def test_runs_with_kaplan_meier_alone_have_nothing_to_compare(workspace):
    survival_runs(workspace / "reports", folds=1, seeds=2, n=60)
    names = [f"lung-f0-s{seed}" for seed in range(2)]
    assert groups.comparable(groups.runs(names)) == ["survival"]
    for name in names:  # no covariate varies: no model could be fitted
        path = workspace / "reports" / name / "survival.json"
        found = json.loads(path.read_text())
        models = {"kaplan_meier": found["models"]["kaplan_meier"] | {"c_harrell": 0.5}}
        path.write_text(json.dumps(found | {"models": models}))
    with pytest.raises(ValueError, match="fewer than two with results of one kind"):
        groups.comparable(groups.runs(names))
    nothing = pd.DataFrame(columns=["value", "low", "high"])
    assert groups.side_by_side(nothing, nothing, ("c_harrell",)).empty


def by_hand(raw, column, seed, keep=lambda table: lambda i, j: True):
    """C over the runs of one seed: concordant over comparable pairs, pairs only within a run."""
    counted = [pairs(table, column, keep(table)) for name, table in raw.items() if name.endswith(f"-s{seed}")]
    return sum(good for good, _ in counted) / sum(total for _, total in counted)


def test_pooled_concordance_counts_pairs_within_one_run_only(lung):
    table, raw = lung
    rows = predictions.rows(table, "survival", "site")
    found = pooled.vectors(rows, "survival", pooled.resamples(60, 0), within=True)
    for seed in (0, 1):
        expected = by_hand(raw, "risk_fused", seed)
        assert found["lung", "fused", "c_harrell", seed][0] == pytest.approx(expected, abs=1e-12)
        expected = by_hand(raw, "risk_fused", seed, lambda t: lambda i, j: t["site"][i] == t["site"][j])
        assert found["lung", "fused", "c_within_site", seed][0] == pytest.approx(expected, abs=1e-12)
    mean = pooled.over_seeds(found)["lung", "image", "c_harrell"][0]
    assert mean == pytest.approx(np.mean([by_hand(raw, "risk_image", seed) for seed in (0, 1)]))


def test_a_resample_draws_patients_with_all_their_runs(lung):
    table, raw = lung
    rows = predictions.rows(table, "survival")
    w = pooled.resamples(60, 5, seed=3)
    assert w.shape == (1 + 5 + 60, 60) and (w[1:6].sum(1) == 60).all() and (w[6:].sum(1) == 59).all()
    times = dict(zip(rows["patient"], w[2][rows["unit"]].astype(int), strict=True))
    again = {name: one.loc[one.index.repeat(one["patient_id"].map(times))].reset_index(drop=True)
             for name, one in raw.items()}
    found = pooled.vectors(rows, "survival", w)
    for seed in (0, 1):
        assert found["lung", "volume", "c_harrell", seed][2] == pytest.approx(by_hand(again, "risk_volume", seed))


def test_ensembles_average_standardised_risks(lung):
    table, raw = lung
    rows = predictions.rows(table, "survival")
    joint = predictions.ensembles(rows)
    assert len(joint) == 60 and set(joint["seed"]) == {"ensemble"}
    one = joint.set_index("patient")["risk_clinical"]
    seen = rows[rows["seed"] == 0].set_index("patient")["risk_clinical"]
    assert np.allclose(one, seen.reindex(one.index)), "a model that knows no seed: the shift of each run is gone"
    w = pooled.resamples(60, 0)
    single, several = (pooled.vectors(one, "survival", w) for one in (rows, joint))
    mean = np.mean([single["lung", "image", "c_harrell", seed][0] for seed in (0, 1)])
    assert several["lung", "image", "c_harrell", "ensemble"][0] > mean, "half of the seeds' noise is gone"


def test_differences_are_paired_and_those_between_data_are_not(workspace):
    reports = workspace / "reports"
    survival_runs(reports, "a", folds=0, seeds=2, n=300)
    survival_runs(reports, "b", folds=0, seeds=2, n=300, noise={"clinical": 1.5, "fused": 0.3})
    survival_runs(reports, "c", folds=0, seeds=2, n=300, noise={"clinical": 1.5, "fused": 0.3}, fingerprint="new")
    rows = predictions.rows(groups.runs([f"{name}-s{seed}" for name in "abc" for seed in (0, 1)]), "survival")
    units = rows["unit"].max() + 1
    assert units == 2 * rows.loc[rows["group"] == "a", "unit"].nunique(), "other data, other patients"
    found = pooled.vectors(rows, "survival", pooled.resamples(units, 400))
    near, far = (pooled.difference(found, (group, "fused", "c_harrell"), ("a", "fused", "c_harrell"), 400)
                 for group in "bc")
    assert near["value"] == pytest.approx(far["value"]) and near["value"] > 0 and near["low"] > 0
    assert far["high"] - far["low"] > 1.3 * (near["high"] - near["low"]), "unpaired: wider"
    assert near["value"] == pytest.approx(np.mean(list(near["seeds"].values())))
    same = pooled.difference(found, ("b", "clinical", "c_harrell"), ("a", "clinical", "c_harrell"), 400)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
def test_classification_of_one_seed_is_that_of_its_page(workspace, classes):
    classification_runs(workspace / "reports", seeds=3, classes=classes)
    names = [f"brain-s{seed}" for seed in range(3)]
    table = groups.runs(names)
    rows = predictions.rows(table, "classification")
    w = pooled.resamples(60, 300, seed=4)
    found = pooled.vectors(rows, "classification", w)
    written = groups.scores(table, "classification")
    for run, measure, value in written[["run", "measure", "value"]].itertuples(index=False):
        assert found["brain", "network", measure, int(run[-1])][0] == pytest.approx(value)
    one = rows[rows["run"] == "brain-s1"]
    p = one[[name for name in one if name.startswith("p_")]].to_numpy()
    head = "binary" if len(classes) == 2 else "multiclass"
    page = metrics.scores(one["y"], p, one["patient"], head, n_bootstrap=300, seed=4).loc["auc"]
    mine = pooled.summary(found["brain", "network", "auc", 1], 300)
    assert [mine[name] for name in ("value", "low", "high")] == pytest.approx(page[:3].tolist())
    joint = pooled.vectors(predictions.ensembles(rows), "classification", w)
    assert joint["brain", "network", "auc", "ensemble"][0] > np.mean(
        [found["brain", "network", "auc", seed][0] for seed in range(3)])


def test_splits_that_differ_between_seeds_are_said_and_make_no_ensemble(workspace):
    reports = workspace / "reports"
    classification_runs(reports, seeds=2)
    path = reports / "brain-s1" / "predictions.parquet"
    pd.read_parquet(path).iloc[40:].to_parquet(path)
    rows = predictions.rows(groups.runs(["brain-s0", "brain-s1"]), "classification")
    assert "overlap" in predictions.overlaps(rows)[0] and predictions.ensembles(rows).empty
    both = pooled.vectors(rows, "classification", pooled.resamples(60, 0))
    assert len(both) == 4


def test_patients_without_a_risk_are_left_out_for_all_and_said(lung):
    rows = predictions.rows(lung[0], "survival")
    who = rows["patient"].unique()[:5]
    rows.loc[rows["patient"].isin(who), "risk_image"] = np.nan
    rows.loc[rows["patient"] != who[0], "risk_volume"] = np.nan
    kept, notes = predictions.complete(rows)
    assert kept["patient"].nunique() == 55 and pooled.models(kept, "lung") == ["fused", "image", "clinical"]
    assert any("image has no risk for 5 patients: they are left out for all" in note for note in notes)
    assert any("volume has no risk for 59 patients" in note for note in notes)


def test_standing_and_stability():
    p = {0: [0.1, 0.2, 0.9, 0.8], 1: [0.1, 0.6, 0.9, 0.7]}
    rows = pd.concat([pd.DataFrame({"run": f"a-s{seed}", "group": "a", "seed": seed, "item": list("wxyz"),
                                    "y": [0, 0, 1, 1], "head": "binary", "p_yes": chance})
                      for seed, chance in p.items()], ignore_index=True)
    stand = stability.standing(rows, "classification")
    assert stand.loc[("a", "x")].tolist() == pytest.approx([0.8, 0.4])
    table, facts = stability.over_seeds(stand, "a")
    assert facts["switched"] == 0.25 and table.index[0] == "x" and table.loc["x", "low"] == pytest.approx(0.4)
    risks = rows.assign(risk_fused=rows["p_yes"])
    assert stability.standing(risks, "survival", "fused").loc[("a", "w")].tolist() == [0.125, 0.125]


def test_pairs_of_models():
    present = ["fused", "image", "clinical", "volume"]
    assert pooled.wanted_pairs("auto", present)[0] == ("fused", "clinical")
    wanted = pooled.wanted_pairs("image - clinical, fused-volume", present)
    assert wanted == [("image", "clinical"), ("fused", "volume")]
    assert pooled.wanted_pairs("U-Net-Otsu", ["U-Net", "Otsu"]) == [("U-Net", "Otsu")]
    for text in ("fused-forest", "fused"):
        with pytest.raises(ValueError, match="no difference of two of fused, image"):
            pooled.wanted_pairs(text, present)


def test_a_difference_in_words():
    one = {"value": 0.03, "low": 0.01, "high": 0.05, "seeds": {0: 0.02, 1: -0.01}}
    said = "+0.030 (+0.010 to +0.050), more, but not in every seed; same sign in 1 of 2 seeds"
    assert differences.verdict(one) == said
    assert "not shown to differ; same sign in 1 of 2" in differences.verdict(one | {"low": -0.01})
    assert differences.verdict({"value": 0, "low": 0, "high": 0, "seeds": {}}) == "none, the same predictions"


def test_a_kind_that_the_baseline_lacks_shows_a_model_of_its_own(workspace):
    """The baseline has survival only: of the segmentations the first group counts, not a network that there is not."""
    segmentation_runs(workspace / "reports", "a", folds=2, seeds=1)
    rows = predictions.rows(groups.runs(["a-f0-s0", "a-f1-s0"]), "segmentation")
    assert stability.chosen(rows, "lung") == "U-Net" and stability.chosen(rows, "a", "Otsu") == "Otsu"
    with pytest.raises(ValueError, match="compare_shown: no model 'fused'; there is U-Net, Otsu"):
        stability.chosen(rows, "a", "fused")


def test_who_changed_most_between_two_groups_comes_first():
    stand = pd.DataFrame({0: [0.1, 0.5, 0.2, 0.9], 1: [0.3, 0.5, 0.2, 0.9]},
                         pd.MultiIndex.from_product([["a", "b"], ["x", "y"]], names=["group", "item"]))
    patients = pd.DataFrame({"item": ["x", "y"], "patient": ["p", "q"], "event": [True, False]})
    found = stability.changes(stand, patients, "a", "b")
    assert found.index.tolist() == ["y", "x"] and found["change"].tolist() == pytest.approx([0.4, 0.0])
    assert found["patient"].tolist() == ["q", "p"]
    assert stability.marks(patients, "survival", found["a"]).tolist() == [False, True]
    assert stability.marks(patients, "segmentation", found["a"]).tolist() == [False, True]


# ---------------------------------------------------------------- sites that are held out

def site_runs(reports, name="lung", sites=3, n_sites=3, **options):
    """`survival_runs` of which each fold is a site."""
    survival_runs(reports, name, folds=sites, noise={"clinical": 1.5, "fused": 0.6}, **options)
    for folder in reports.glob(f"{name}-f*"):
        params = yaml.safe_load((folder / "params.yaml").read_text())
        site = f"site {'ABCDE'[params.get('fold', 0)]}"
        own = {key: value for key, value in params.items() if key != "n_folds"} | {"split": "site:site"}
        (folder / "params.yaml").write_text(yaml.safe_dump(own))
        design = {"by": "site", "column": "site", "site": site, "n_sites": n_sites}
        (folder / "preprocessing.json").write_text(json.dumps({"design": design}))
    return sorted(folder.name for folder in reports.glob(f"{name}-f*"))


def test_each_site_and_all_sites_by_hand(workspace):
    names = site_runs(workspace / "reports", seeds=2, n=150, n_sites=4)
    table = groups.runs(names)
    assert table["fold"].tolist() == [0, 0, 1, 1, 2, 2] and not any("WARNING" in one for one in groups.remarks(table))
    rows, of = predictions.complete(predictions.rows(table, "survival"))[0], sites.held_out(names)
    found = sites.each("survival", rows, of, n_bootstrap=200)
    assert found["site"].unique().tolist() == ["site A", "site B", "site C"] and set(found["n"]) == {50}
    values, errors = [], []
    for site in ("site A", "site B", "site C"):
        mine = [rows[rows["run"] == run].reset_index(drop=True) for run in names if of[run] == site]
        c = np.mean([brute_force(one, "risk_fused") for one in mine])
        without = np.array([np.mean([brute_force(one[one["patient"] != who], "risk_fused") for one in mine])
                            for who in mine[0]["patient"]])
        values, errors = [*values, c], [*errors, np.sqrt(49 / 50 * ((without - without.mean()) ** 2).sum())]
    fused = found[found["model"] == "fused"]
    assert fused["value"].tolist() == pytest.approx(values) and fused["error"].tolist() == pytest.approx(errors)
    assert (fused["low"] < fused["value"]).all() and (fused["value"] < fused["high"]).all()
    one = sites.together(found).loc[("lung", "fused")]
    for key, value in synthesis.of_shares(values, errors).items():
        assert one[key] == pytest.approx(value, abs=1e-6), key
    assert one["next_low"] < one["low"] < one["value"] < one["high"] < one["next_high"]
    said = sites.in_words("survival", "fused", one, fused)
    assert len(said) == 1 and f"between {one['next_low']:.2f} and {one['next_high']:.2f} (95 % prediction" in said[0]
    assert sites.never(names) == ["3 of 4 sites of site are held out here (site A, site B, site C); the others are "
                                  "only learnt from."]
    assert sites.held_out(["nothing"]) == {} and sites.each("survival", rows, {}).empty


def test_two_sites_say_that_they_are_too_few_and_a_perfect_site_is_shown_but_not_in_the_mean():
    seen = pd.DataFrame({"group": "g", "model": "fused", "site": ["A", "B", "C"], "n": [40, 50, 12],
                         "value": [0.7, 0.8, 1.0], "low": [0.6, 0.7, 0.8], "high": [0.8, 0.9, 1.0],
                         "error": [0.05, 0.05, np.nan]})
    one = sites.together(seen).loc[("g", "fused")]
    assert one["k"] == 2 and one["n_sites"] == 3 and np.isnan(one["next_low"])
    said = sites.in_words("survival", "fused", one, seen)
    assert "With 2 sites it cannot be estimated well how much sites differ: no prediction interval" in said[1]
    assert said[2] == "C is shown but not in the mean: C, Harrell 1.00 has no standard error on the logit scale."
    shown = sites.table(sites.together(seen), "survival", False)
    assert shown.loc["fused", "sites"] == "2 of 3" and "needs 3 sites" in shown.iloc[0, 2]
    ax = figures.by_site(seen, one, "C")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["A (n = 40)", "B (n = 50)", "C (n = 12)",
                                                                   "mean of 2 sites"]
    ax = figures.by_site(seen, {**one, "next_low": 0.5, "next_high": 0.9}, "C")
    assert ax.get_yticklabels()[-1].get_text() == "a new site, 95 % prediction"
    alone = sites.together(seen.assign(error=[0.05, np.nan, np.nan])).loc[("g", "fused")]
    assert sites.table(sites.together(seen[2:]), "survival", False).loc["fused", "I2"] == "not defined"
    assert "mean C, Harrell over 1 site 0.70 (no interval)" in sites.in_words("survival", "fused", alone, seen[:1])[0]


# ---------------------------------------------------------------- notebook 13

def test_notebook_13_on_sites_that_are_held_out(workspace):
    reports = workspace / "reports"
    site_runs(reports, "a", seeds=1, n=120)
    (reports / "ab").mkdir()
    (reports / "ab" / "params.yaml").write_text('dataset: ""\ncompare: a-f*\ncompare_bootstrap: 200\n')
    assert execute.run_many(["ab"])
    found = json.loads((reports / "ab" / "comparison.json").read_text())
    one = next(one for one in found["over_sites"] if one["shown"])
    assert one["model"] == "fused" and one["k"] == 3 and one["next_low"] < one["value"] < one["next_high"]
    assert sorted({row["site"] for row in found["by_site"]}) == ["site A", "site B", "site C"]
    page = (reports / "ab" / "13_run_comparison.html").read_text()
    assert "95 % prediction interval" in page and "a new site" in (reports / "ab" / "index.html").read_text()


def test_notebook_13_on_two_groups_of_survival_runs(workspace):
    reports = workspace / "reports"
    survival_runs(reports, "a", folds=3, seeds=2, n=90)
    survival_runs(reports, "b", folds=3, seeds=2, n=90, params={"epochs": 9}, noise={"clinical": 1.5, "fused": 0.3})
    (reports / "ab").mkdir()
    (reports / "ab" / "params.yaml").write_text('dataset: ""\ncompare: a-f*, b-f*\ncompare_bootstrap: 200\n')
    assert execute.run_many(["ab"])
    found = json.loads((reports / "ab" / "comparison.json").read_text())
    assert found["synthetic"] and found["n_patients"] == 90 and found["n_runs"] == 12
    assert found["differing_parameters"] == {"epochs": {"a": "20", "b": "9"}}
    assert {"a fused", "b fused", "a clinical", "b fused ensemble"} <= set(found["models"])
    first = found["differences"][0]
    assert (first["group"], first["first"], first["second"]) == ("a", "fused", "clinical")
    models = found["models"]
    assert first["value"] == pytest.approx(models["a fused"]["c_harrell"] - models["a clinical"]["c_harrell"])
    between = {(one["group"], one["model"]): one for one in found["between_groups"]}
    assert between["b", "fused"]["same_patients"] and between["b", "fused"]["value"] > 0
    rows = pages.key_numbers(found, parameters.labels())
    assert rows[0]["name"] == "a fused: C, Harrell" and rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
    index = (reports / "ab" / "index.html").read_text()
    assert "a fused: C, Harrell" in index and "Synthetic data." in index and index.count("<figure") == 2
    page = (reports / "ab" / "13_run_comparison.html").read_text()
    for text in ("fused minus clinical", "the same test patients", "C within one site", "rank correlation"):
        assert text in page, text


def segmentation_runs(reports, name, folds, seeds, gain=0.0, n=40):
    """Two images per patient, one class; the counts of a network that is better than its baseline."""
    truth = np.random.default_rng(1).random((2 * n, 12, 12)) < 0.4
    for fold, seed in itertools.product(range(folds), range(seeds)):
        folder = folder_of(reports, f"{name}-f{fold}-s{seed}", {"n_folds": folds, "fold": fold, "seed": seed}, n)
        rng, cases = np.random.default_rng(seed), []
        for row in (row for row in range(2 * n) if row // 2 % folds == fold):
            for method, wrong in (("U-Net", 0.2 - gain), ("Otsu", 0.4)):
                called = truth[row] ^ (rng.random((12, 12)) < wrong)
                cases.append({"patient_id": f"p{row // 2}", "row": row, "class": "lesion", "split": "test",
                              "method": method} | scores.case(truth[row], called))
        pd.DataFrame(cases).to_parquet(folder / "segmentation.parquet")
        (folder / "segmentation.json").write_text(json.dumps(
            {"part": "test", "n_patients": n // folds, "methods": {"U-Net": interval("dice", 0.8)}}))


def test_segmentations_are_pooled_over_patients(workspace):
    """The pixels of a patient's images together, then the mean over all patients; the baseline beside it, paired."""
    reports = workspace / "reports"
    segmentation_runs(reports, "a", folds=3, seeds=2)
    segmentation_runs(reports, "b", folds=3, seeds=2, gain=0.1)
    (reports / "ab").mkdir()
    (reports / "ab" / "params.yaml").write_text('dataset: ""\ncompare: a-f*, b-f*\ncompare_bootstrap: 200\n')
    assert execute.run_many(["ab"])
    found = json.loads((reports / "ab" / "comparison.json").read_text())
    by_hand = []
    for seed in (0, 1):
        cases = pd.concat([pd.read_parquet(reports / f"a-f{fold}-s{seed}" / "segmentation.parquet")
                           for fold in range(3)]).query("method == 'U-Net'").groupby("patient_id")[["tp", "fp", "fn"]]
        by_hand.append((2 * cases.sum()["tp"] / (2 * cases.sum()["tp"] + cases.sum()["fp"] + cases.sum()["fn"])).mean())
    dice = found["models"]["a U-Net"]
    assert dice["dice"] == pytest.approx(np.mean(by_hand)) and dice["dice_low"] < dice["dice"] < dice["dice_high"]
    first = found["differences"][0]
    assert (first["first"], first["second"], first["measure"]) == ("U-Net", "Otsu", "dice") and first["low"] > 0.1
    between = {(one["group"], one["model"]): one["low"] > 0 for one in found["between_groups"]}
    assert between == {("b", "U-Net"): True, ("b", "Otsu"): False}
    assert found["n_patients"] == 40 and not any("ensemble" in name for name in found["models"])


def test_the_part_that_is_compared(workspace):
    """Validation only where the page is about validation: elsewhere those patients were learnt from."""
    reports = workspace / "reports"
    survival_runs(reports, folds=3, seeds=1, n=60)
    for fold in (0, 1):
        folder = reports / f"lung-f{fold}-s0"
        risk = pd.read_parquet(folder / "risk.parquet")
        risk.assign(split=risk["split"].replace("test", "val")).to_parquet(folder / "risk.parquet")
        found = json.loads((folder / "survival.json").read_text())
        (folder / "survival.json").write_text(json.dumps(found | {"part": "val"}))
    names = ["lung-f0-s0", "lung-f1-s0", "lung-f2-s0"]
    assert groups.runs(names)["survival"].tolist() == [False, False, True]
    table = groups.runs(names, "val")
    assert table["survival"].tolist() == [True, True, False]
    assert any("lung-f2-s0: no results about this part" in text for text in groups.remarks(table))
    assert predictions.rows(table, "survival", split="val")["run"].unique().tolist() == names[:2]
    with pytest.raises(ValueError, match="compare_part is 'train'"):
        groups.runs(names, "train")
    with pytest.raises(ValueError, match="no run to compare"):
        groups.runs([])


def test_several_labels_at_once(workspace):
    rng, names = np.random.default_rng(0), [f"chest-s{seed}" for seed in range(2)]
    y = rng.integers(0, 2, (50, 2)).astype(float)
    y[:5, 1] = np.nan
    for name in names:
        folder = folder_of(workspace / "reports", name, {"seed": int(name[-1])}, 50)
        p = 1 / (1 + np.exp(-(2 * np.nan_to_num(y) - 1 + rng.normal(size=y.shape))))
        table = pd.DataFrame({"row": range(50), "patient_id": [f"P{i}" for i in range(50)], "split": "test",
                              "label_a": y[:, 0], "label_b": y[:, 1], "p_label_a": p[:, 0], "p_label_b": p[:, 1]})
        table.to_parquet(folder / "predictions.parquet")
        facts = {"head": "multilabel", "classes": ["label_a", "label_b"], "threshold": None}
        auc = np.mean([roc_auc_score(y[known, k], p[known, k]) for k, known in enumerate((~np.isnan(y)).T)])
        (folder / "metrics.json").write_text(json.dumps(facts | interval("auc", auc)))
    table = groups.runs(names)
    rows = predictions.rows(table, "classification")
    found = pooled.vectors(rows, "classification", pooled.resamples(50, 0))
    for value, seed in groups.scores(table, "classification")[["value", "seed"]].itertuples(index=False):
        assert found["chest", "network", "auc", seed][0] == pytest.approx(value)
    assert stability.standing(rows, "classification").notna().all(axis=None)
    assert len(predictions.ensembles(rows)) == 50
