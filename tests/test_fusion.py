"""Networks for patients: units, missing images, outputs, fusion, ridge Cox starts, saving; pipeline of patients."""

import numpy as np
import pandas as pd
import pytest
from conftest import classifier

from medlab.networks import fusion, losses, models, pipeline, priors, training
from medlab.networks.pipeline import keras
from medlab.statistics import cox

SHAPE = (8, 8, 1)


def cohort(m=60, seed=0):
    """A table and images of which brightness and the column x both raise the risk."""
    random = np.random.default_rng(seed)
    bright, x = random.random(m), random.normal(size=m)
    images = np.clip(200 * bright[:, None, None, None] + random.normal(0, 8, (m, *SHAPE)), 0, 255).astype(np.uint8)
    time = random.exponential(1000 * np.exp(-3 * bright - x))
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(m)], "time_days": np.minimum(time, 900) + 1,
                          "event": time < 900, "split": np.where(np.arange(m) < 0.7 * m, "train", "val"),
                          "label": np.where(bright > 0.5, "high", "low"), "has_image": True})
    return table, images, pd.DataFrame({"x": x, "noise": random.normal(size=m), "original_shape_Volume": bright})


def build(name="simple", k=1, sizes=None, **options):
    pictured = dict(capacity=0.25, mean=0.4, std=0.3) if name else {}
    return fusion.build(name, SHAPE if name else None, k, sizes or {}, **pictured, **options)


def test_units_are_patients_with_their_images():
    table = pd.DataFrame({"patient_id": list("aabbbcd"), "split": ["train"] * 5 + ["test", "dropped"],
                          "has_image": [True] * 5 + [False] * 2})
    units, rows, first = fusion.units(table, most=2)
    assert list(units["patient_id"]) == ["a", "b", "c"] and list(units["n_images"]) == [2, 3, 0]
    np.testing.assert_array_equal(rows, [[0, 1], [2, 4], [-1, -1]])
    np.testing.assert_array_equal(first, [0, 2, 5])
    units, rows, _ = fusion.units(table, by="image")
    assert rows.shape == (5, 1) and list(units["patient_id"]) == list("aabbb")
    units, rows, _ = fusion.units(table.assign(has_image=False))
    assert rows.shape == (3, 0) and "present" not in fusion.inputs_of(cohort(3)[2], rows), "a table alone"


def test_inputs_are_told_apart_by_name():
    _, _, covariates = cohort(4)
    given = fusion.inputs_of(covariates, np.array([[0], [1], [-1], [3]]))
    shapes = {"table": (4, 2), "radiomics": (4, 1), "present": (4, 1)}
    assert {name: part.shape for name, part in given.items()} == shapes
    assert given["present"].ravel().tolist() == [1, 1, 0, 1]
    assert set(fusion.inputs_of(covariates[["x"]])) == {"table"}
    assert set(fusion.inputs_of(covariates, np.arange(4)[:, None], "image")) == {"present"}, "an image has no table"


@pytest.mark.parametrize("kind", fusion.FUSIONS)
def test_a_patient_without_image_has_an_answer_and_is_saved(tmp_path, kind):
    keras.utils.set_random_seed(0)  # of four units some are silent for a patient with other weights
    table, images, covariates = cohort(12)
    rows = np.arange(12)[:, None]
    rows[3] = -1
    given = fusion.inputs_of(covariates, rows)
    model = build(sizes={"table": 2, "radiomics": 1}, fusion=kind, label=("binary", 2), units="4")
    assert training.main_output(model) == "fused"
    assert set(model.output) == {"image", "table", "radiomics", "fused", "label"}
    found = fusion.predict(model, images, rows, given)
    assert found["image"][3] == 0 and all(np.isfinite(part).all() for part in found.values())
    other = images.copy()
    other[:] = 255 - other
    again = fusion.predict(model, other, rows, given)
    same = np.isclose(again["fused"], found["fused"], atol=1e-6).ravel()
    assert same[3] and not same[np.arange(12) != 3].any(), "only the patient without an image does not notice it"
    model.save(tmp_path / "survival.keras")
    loaded = fusion.predict(keras.models.load_model(tmp_path / "survival.keras", compile=False), images, rows, given)
    assert all(np.allclose(loaded[name], part, atol=1e-6) for name, part in found.items())
    single = fusion.label_model(model)
    seen = np.flatnonzero(rows[:, 0] >= 0)
    np.testing.assert_allclose(single(images[seen].astype("float32")), found["label"][seen], atol=1e-5)


def test_several_images_are_pooled_whatever_their_order_and_the_absent_do_not_count():
    _, images, _ = cohort(8)
    model = build(k=3)
    rows = np.array([[0, 1, 2], [2, 0, 1], [0, -1, -1], [0, 0, 0]])
    risk = fusion.predict(model, images, rows, {"present": (rows >= 0).astype("float32")})["image"].ravel()
    np.testing.assert_allclose(risk[0], risk[1], atol=1e-5)
    np.testing.assert_allclose(risk[2], risk[3], atol=1e-5)
    assert abs(risk[0] - risk[2]) > 1e-6


def test_slices_with_neighbours_see_the_volume():
    model = classifier("simple", (6, 16, 16, 1), "binary", 2, capacity=0.25, view="2.5d")
    flat = classifier("simple", (16, 16, 3), "binary", 2, capacity=0.25)
    assert sum(len(layer.kernel.shape) == 4 for layer in models.leaves(model) if hasattr(layer, "kernel")) == 3
    assert model.count_params() > flat.count_params(), "and the attention over slices"
    planes = classifier("simple", (16, 16, 16, 2), "binary", 2, capacity=0.25, view="planes")
    x = np.zeros((2, 16, 16, 16, 2), "float32")
    x[1, 2] = 255  # a plane far from the centre of its axis crosses the other two
    assert planes.count_params() < flat.count_params() + 9 * 3 * 8 + 1 and abs(np.diff(planes(x)[:, 0])) > 1e-7
    with pytest.raises(ValueError, match="takes cubes"):
        classifier("simple", (6, 16, 16, 1), "binary", 2, view="planes")
    with pytest.raises(ValueError, match="takes volumes"):
        classifier("simple", (16, 16, 1), "binary", 2, view="2.5d")
    with pytest.raises(ValueError, match="view 'x' is unknown"):
        classifier("simple", (16, 16, 1), "binary", 2, view="x")
    with pytest.raises(ValueError, match="fusion 'late' is unknown"):
        build(sizes={"table": 2}, fusion="late")


def test_tables_start_at_the_ridge_cox_model():
    from lifelines import CoxPHFitter

    table, _, covariates = cohort(200)
    given = fusion.inputs_of(covariates[["x", "noise"]])
    y = training.targets(table.assign(n_images=1), ["survival"])["survival"]
    model = fusion.start_at_cox(build("", sizes={"table": 2}, prior={"table": 0.4}, n_events=y[:, 1].sum()), given, y,
                                {"table": 0.4})
    frame = covariates[["x", "noise"]].assign(t=y[:, 0], e=y[:, 1])
    # lifelines' penalty is on the mean likelihood: penalizer / 2 w^2 n = w^2 / (2 prior^2)
    fitted = CoxPHFitter(penalizer=1 / 0.4**2 / len(y)).fit(frame, "t", "e").params_
    np.testing.assert_allclose(model.get_layer("table_linear").get_weights()[0][:, 0], fitted, atol=2e-3)
    assert model.get_layer("table_linear").trainable, "alone it stays what there is to train"
    beside = fusion.start_at_cox(build(sizes={"table": 2}), given, y, {"table": 0.4})
    assert not beside.get_layer("table_linear").trainable
    chosen = priors.priors(given, {"survival": y})["table"]
    assert cox.choose_ridge(y[:, 0], y[:, 1] > 0, given["table"]) == pytest.approx(chosen ** -2), "the one rule"
    assert priors.priors(given, {}) == {}


def test_one_training_gives_image_table_and_fused():
    table, images, covariates = cohort(240)
    units, rows, first = fusion.units(table)
    given = fusion.inputs_of(covariates[["x", "noise"]].iloc[first], rows)
    y = training.targets(units, ["label", "survival"], "binary", ["low", "high"])
    train, val = (np.flatnonzero(units["split"] == part) for part in ("train", "val"))
    keras.utils.set_random_seed(0)
    prior = {"table": 0.5}
    model = build(sizes={"table": 2}, label=("binary", 2), fusion="joint", prior=prior, n_events=100)
    fusion.start_at_cox(model, training.rows_of(given, train), y["survival"][train], prior)
    answers = {name: y[training.outcome_of(name)] for name in model.output}
    units.loc[train[:5], "label"] = None  # an unknown label counts for survival only
    weights = training.sample_weights(units, y, model, train, "binary")
    assert (weights["label"][:5] == 0).all() and (weights["fused"] == 1).all()
    model.compile(keras.optimizers.Adam(0.01), {name: training.loss_of(name, "binary") for name in model.output},
                  weighted_metrics={name: training.metric_of(name, "binary", 2) for name in model.output})
    batches = pipeline.dataset(images, training.rows_of(answers, train), 42, rows=rows[train], weights=weights,
                               inputs=training.rows_of(given, train), shuffle=True, spread=y["survival"][train, 1] > 0)
    history = model.fit(batches, epochs=8, verbose=0).history
    assert {"fused_c", "image_c", "table_c", "label_auc"} <= set(history)
    found = fusion.predict(model, images, rows[val], training.rows_of(given, val))
    c = {name: float(_c(y["survival"][val], found[name])) for name in ("image", "table", "fused")}
    assert c["fused"] > max(c["image"], c["table"]) and min(c.values()) > 0.6


def _c(y, output):
    metric = losses.Concordance()
    metric.update_state(y.astype("float32"), fusion.log_risk(output)[:, None].astype("float32"))
    return metric.result()


def test_hazard_logits_are_ranked_as_the_metric_does():
    random = np.random.default_rng(0)
    logits = random.normal(-1, 1, (50, 6)).astype("float32")
    y = np.c_[random.exponential(size=50), random.integers(0, 2, 50)].astype("float32")
    metric = losses.Concordance()
    metric.update_state(y, logits)
    np.testing.assert_allclose(metric.result(), _c(y, logits), atol=1e-6)
    model = build("", sizes={"table": 2}, n_intervals=6, units="4")
    assert model.output_shape["table"] == (None, 6) if isinstance(model.output_shape, dict) else True


def test_batches_share_the_events():
    spread = np.arange(100) < 13
    parts = pipeline.batches(100, 20, seed=1, shuffle=True, spread=spread)
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert {int(spread[part].sum()) for part in parts} == {2, 3} and {len(part) for part in parts} == {20}


def test_patients_in_the_pipeline_absent_images_are_black_and_marks_keep_their_values():
    images = np.full((4, 8, 8, 2), 100, np.uint8)
    images[..., 1] = 255 * (np.arange(8) < 4)
    rows = np.array([[0, 1], [2, -1]])
    policy = {"contrast": 0.2, "brightness": 0.2, "noise": 0.1}
    x, y = next(iter(pipeline.dataset(images, {"image": np.ones((2, 2))}, 2, rows=rows, policy=policy, marks=1,
                                      inputs={"present": (rows >= 0).astype("float32")})))
    assert x["image"].shape == (2, 2, 8, 8, 2) and set(y) == {"image"}
    np.testing.assert_array_equal(x["image"][:, :, ..., 1][0, 0], images[0, ..., 1])
    assert x["image"].numpy()[0, 0, ..., 0].std() > 5 and (x["image"].numpy()[1, 1, ..., 1] == 0).all()
    table = next(iter(pipeline.dataset(None, np.zeros((5, 2)), 3, inputs={"table": np.ones((5, 4))})))
    assert table[0]["table"].shape == (2, 4) or table[0]["table"].shape == (3, 4)


@pytest.mark.parametrize("sizes, name", [({"table": 2}, ""), ({"table": 2}, "simple")])
def test_hazards_start_and_stay_at_the_level_of_the_cohort(sizes, name):
    table, images, covariates = cohort(200)
    units, rows, first = fusion.units(table)
    given = fusion.inputs_of(covariates[["x", "noise"]].iloc[first], rows if name else None)
    y = training.targets(units, ["survival"])["survival"]
    cuts = losses.cuts(*y.T, 6)
    model = build(name, sizes=sizes, n_intervals=len(cuts) - 1)
    fusion.start_at_cox(model, given, y, {"table": 0.4}, cuts)
    if name:
        fusion.standardise(model, images, rows, given)
    found = fusion.predict(model, images, rows, given)
    plain = 1 / (1 + np.exp(-priors.hazard_level(y, cuts)))
    for output, logits in found.items():
        mean = (1 / (1 + np.exp(-logits))).mean(0)
        np.testing.assert_allclose(mean, plain, atol=0.1, err_msg=output)


def test_what_can_be_memorised_is_gated_and_no_event_is_a_message():
    assert training.gated_output(build(sizes={"table": 2})) == "image"
    assert training.gated_output(build("", sizes={"table": 2}, units="4")) == "table"
    assert training.gated_output(build("", sizes={"table": 2})) is None
    with pytest.raises(ValueError, match="no event among 3 training patients"):
        priors.priors({"table": np.zeros((4, 1))}, {"survival": np.array([[3, 0], [4, 0], [5, 0], [0, 0]])})
    table = pd.DataFrame({"n_images": [1, 0], "time_days": [1, 2], "event": [True, False]})
    weights = training.sample_weights(table, {}, build(sizes={"table": 2}), np.arange(2))
    assert weights["image"].tolist() == [1, 0] and weights["table"].tolist() == [1, 1]


def test_an_image_is_a_unit_with_one_image_and_no_table():
    """One path: the same network, outputs by name, an image in and a score out; what was trained before still loads."""
    table, images, covariates = cohort(12)
    units, rows, first = fusion.units(table, by="image")
    given = fusion.inputs_of(covariates.iloc[first], rows, "image")
    y = training.targets(units, ["label"], "binary", ["low", "high"])
    model = fusion.create("simple", images, given, y, label=("binary", 2), prior=priors.priors(given, y), capacity=0.25)
    assert set(model.input) == {"image", "present"} and set(model.output) == {"label"}
    assert training.main_output(model) == "label" == training.gated_output(model) and training.rank_of(model) == "auc"
    assert training.undecayed(model) == [] and training.cuts(y, "hazard") is None
    weights = training.sample_weights(units, y, model, np.arange(12), "binary", "balanced")
    assert set(weights) == {"label"} and weights["label"].mean() == pytest.approx(1)
    found = fusion.predict(model, images, rows, given)
    single = fusion.label_model(model)
    np.testing.assert_allclose(single(images.astype("float32")), found["label"], atol=1e-5)
    assert fusion.standardise(model, images, rows, given) is model


def test_names_in_saved_networks_stay():
    """What a network of an earlier version is loaded by."""
    known = {name: kept.__name__ for name, kept in keras.saving.get_custom_objects().items() if "medlab>" in name}
    ours = {"medlab>CumulativeLink": "CumulativeLink", "medlab>Scaled": "Scaled", "medlab>Cox": "Cox",
            "medlab>Hazard": "Hazard", "medlab>Concordance": "Concordance"}
    assert ours.items() <= known.items()
    common = {"name", "trainable", "dtype"}
    assert set(fusion.Scaled(name="s").get_config()) == common | {"start", "level"}
    assert set(models.CumulativeLink(3, name="c").get_config()) == common | {"n_classes"}
    assert set(losses.Cox().get_config()) == {"name", "dtype", "ties", "strata"}
    assert set(losses.Hazard([0, 1]).get_config()) == {"name", "dtype", "cuts"}
    names = {layer.name for layer in build(sizes={"table": 2, "radiomics": 1}, label=("binary", 2)).layers}
    assert {"image", "present", "encoder", "image_risk", "probabilities", "table", "table_linear", "table_risk",
            "radiomics_linear", "image_standard", "table_standard", "fused_risk"} <= names
    joint = {layer.name for layer in build(sizes={"table": 2}, units="4", fusion="joint").layers}
    assert {"image_scaled", "table_fused", "table_network", "together", "fused_risk"} <= joint
