"""Training: targets, weights, schedule; the journal survives kills; the gate and the verdict can fail."""

import functools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import classifier
from sklearn.utils.class_weight import compute_sample_weight

from medlab.engine import parameters
from medlab.networks import answer, diagnosis, fusion, losses, models, outcomes, pipeline, policies, training
from medlab.networks import journal as journals
from medlab.networks.pipeline import keras

CARD = {"card": {"classes_ordered": False}}


def blobs(n, seed=0):
    """Images with a bright square on the left (class a) or on the right (class b)."""
    random = np.random.default_rng(seed)
    images, y = random.integers(0, 90, (n, 16, 16, 1), dtype=np.uint8), random.integers(0, 2, n)
    for image, side in zip(images, y, strict=True):
        image[4:12, 10 * side:10 * side + 6] += 90
    return images, y[:, None].astype("float32")


def test_outcome_follows_card_and_columns():
    table = pd.DataFrame({"label": ["a"]})
    assert outcomes.outcome(table, CARD | {"classes": ["a", "b"]}) == ("binary", ["a", "b"])
    assert outcomes.outcome(table, CARD | {"classes": list("abc")}) == ("multiclass", list("abc"))
    positive, ordered = CARD | {"classes": list("abc"), "positive": "b"}, {"card": {"classes_ordered": True}}
    assert outcomes.outcome(table, positive) == ("binary", ["a or c", "b"])
    assert outcomes.outcome(table, ordered | {"classes": [0, 1, 2]}) == ("ordinal", list("012"))
    several = pd.DataFrame({"label_x": [0], "label_y": [1]})
    assert outcomes.outcome(several, CARD) == ("multilabel", ["label_x", "label_y"])
    assert outcomes.outcome(table, CARD | {"classes": ["a", "b"]}, ["survival"]) == (None, [])


def test_what_is_wanted():
    label = pd.DataFrame({"patient_id": ["a", "b"], "label": ["x", "y"]})
    both = label.assign(time_days=[3, 4], event=True)
    assert outcomes.wanted(label) == ["label"] and outcomes.wanted(both) == ["label", "survival"]
    assert outcomes.wanted(both.drop(columns="label")) == ["survival"] == outcomes.wanted(both, "survival")
    assert outcomes.wanted(both.assign(has_image=False)) == ["survival"], "a label is that of an image"
    several = both.assign(patient_id="a")
    assert outcomes.wanted(several) == ["label"] and outcomes.wanted(several, "survival") == ["survival"]
    for table, target, said in ((label, "survival", "has label"), (several, "both", "one image per patient"),
                                (label, "time", "expected one of"), (label[["patient_id"]], "auto", "neither")):
        with pytest.raises(ValueError, match=said):
            outcomes.wanted(table, target)


def test_targets():
    binary = outcomes.encode(["a", "b", "c"], "binary", ["a or c", "b"])
    np.testing.assert_array_equal(binary, [[0], [1], [0]])
    np.testing.assert_array_equal(outcomes.encode([2, 0], "ordinal", ["0", "1", "2"]), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(outcomes.encode([[0, 1]], "multilabel", ["x", "y"]), [[0, 1]])
    with pytest.raises(ValueError, match="label 'd' in row 1"):
        outcomes.encode(["a", "d"], "multiclass", ["a", "b"])


def test_class_weights_equal_sklearn():
    code = np.random.default_rng(0).choice(3, 200, p=[0.7, 0.2, 0.1])
    expected = compute_sample_weight("balanced", code)
    np.testing.assert_allclose(training.class_weights(np.eye(3)[code]), expected, rtol=1e-5)
    binary = (code == 1).astype(float)
    expected = compute_sample_weight("balanced", binary)
    np.testing.assert_allclose(training.class_weights(binary[:, None]), expected, rtol=1e-5)
    root = training.class_weights(np.eye(3)[code], "sqrt")
    np.testing.assert_allclose(root[code == 2][0] / root[code == 0][0],
                               np.sqrt((code == 0).sum() / (code == 2).sum()), rtol=1e-5)
    assert (training.class_weights(np.ones((4, 3))) == 1).all()


def test_schedule_warms_up_and_ends_at_zero():
    rates = [float(training.schedule(0.01, 100, 0.2)(step)) for step in range(101)]
    assert np.argmax(rates) == 20 and rates[20] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0, abs=1e-7)
    assert (np.diff(rates[:20]) > 0).all() and (np.diff(rates[20:]) < 0).all()


def reader(images):
    """What a sanity gate reads."""
    rows, inputs = np.arange(len(images))[:, None], {"present": np.ones((len(images), 1), "float32")}
    return functools.partial(pipeline.gather, images, rows, inputs)


def fit(folder, key="k", stop_after=None, epochs=6, ema=True, rate=0.01, dropout=0.3, **options):
    """One training of six epochs, as 03 does it; `stop_after` kills it there."""
    images, y = blobs(60)
    keras.utils.set_random_seed(0)
    model = small(dropout, capacity=0.25, mean=0.0, std=1.0)
    journal = journals.Journal(folder, key, epochs=epochs, n_images=40, **options)
    model.compile(keras.optimizers.AdamW(training.schedule(rate, epochs * 5), use_ema=ema, ema_momentum=0.9),
                  {"label": models.loss("binary")}, metrics={"label": training.auc_metric("binary", 1)})
    data = {"rows": np.arange(60)[:, None], "inputs": {"present": np.ones((60, 1))}, "targets": {"label": y}}
    batches = pipeline.dataset(images, batch_size=8, **training.rows_of(data, np.arange(40)), shuffle=True, repeat=True,
                               policy=policies.policy("CT"), first_epoch=journal.epoch)
    validation = pipeline.dataset(images, batch_size=8, **training.rows_of(data, np.arange(40, 60)))

    class Killed(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch + 1 == stop_after:
                raise KeyboardInterrupt

    try:
        if journal.epoch < epochs and not journal.stopped:
            model.fit(batches, steps_per_epoch=5, epochs=epochs, initial_epoch=journal.epoch, verbose=0,
                      shuffle=False, validation_data=validation, callbacks=[journal, Killed()])
    except KeyboardInterrupt:
        return None, journal
    return journal.finish(model), journal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"))


def same(history, other):
    columns = ["epoch", "loss", "auc", "val_loss", "val_auc", "learning_rate"]
    return history[columns].equals(other[columns])


def test_resumed_training_is_bit_identical(whole, tmp_path, capfd):
    """With dropout, augmentation, shuffling, averaged weights and a schedule."""
    fit(tmp_path, stop_after=3)
    model, journal = fit(tmp_path)
    assert "resumed after epoch 3" in capfd.readouterr().err and journal.note == "resumed after epoch 3"
    assert same(journal.history(), whole[1].history()) and journal.best == whole[1].best
    for one, two in zip(model.get_weights(), whole[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["03_state", "history.csv"]
    assert same(pd.read_csv(tmp_path / "history.csv", float_precision="round_trip"), journal.history())


@pytest.mark.parametrize("options", [{}, {"patience": 1, "checkpoint": "auc"}])
def test_a_finished_training_is_not_repeated(options, tmp_path):
    first, journal = fit(tmp_path, **options)
    assert {path.name for path in (tmp_path / "03_state").iterdir()} == {"best.weights.h5", "history.csv", "state.json"}
    (tmp_path / "history.csv").unlink()
    again, found = fit(tmp_path, **options)
    assert found.note == f"trained before, to epoch {journal.epoch}" and found.stopped == journal.stopped
    assert found.best == journal.best and found.history().equals(journal.history()), "seconds, too: nothing has run"
    assert same(pd.read_csv(tmp_path / "history.csv", float_precision="round_trip"), journal.history())
    for one, two in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert "other parameters, data or code" in look(tmp_path, "other").note


def test_the_kept_epoch_is_the_best_one(whole):
    model, journal = whole
    history = journal.history()
    assert journal.best["epoch"] == history["epoch"][history["val_loss"].idxmin()]
    images, y = blobs(60)
    p = fusion.label_model(model).predict(images[40:].astype("float32"), verbose=0)
    loss = float(keras.losses.BinaryCrossentropy()(y[40:], p))
    assert loss == pytest.approx(journal.best["value"], abs=1e-5)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run folder whose training was killed after two epochs."""
    folder = tmp_path_factory.mktemp("killed")
    fit(folder, stop_after=2)
    return folder


def look(folder, key="k"):
    return journals.Journal(folder, key, epochs=6, n_images=40)


@pytest.mark.parametrize("name", ["now.weights.h5", "best.weights.h5", "history.csv", "state.json"])
def test_a_damaged_state_is_noticed(name, killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    assert look(tmp_path).epoch == 2
    (tmp_path / "03_state" / name).write_bytes(b"damaged")
    journal = look(tmp_path)
    assert journal.epoch == 0 and not journal.rows and "training starts anew" in journal.note


def test_a_kill_between_the_renames_costs_nothing(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "03_state").rename(tmp_path / "03_state.former")
    assert look(tmp_path).epoch == 2
    shutil.copytree(tmp_path / "03_state.former", tmp_path / "03_state")
    (tmp_path / "03_state" / "now.weights.h5").unlink()
    assert look(tmp_path).epoch == 2


def test_a_state_of_something_else_is_not_used(killed):
    journal = look(killed, "other")
    assert journal.epoch == 0 and "other parameters, data or code" in journal.note


def test_state_facts_are_json(killed):
    facts = json.loads((killed / "03_state" / "state.json").read_text())
    assert facts["epoch"] == 2 and set(facts["files"]) == {"now.weights.h5", "best.weights.h5", "history.csv"}


def test_key_depends_on_parameters_and_files(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    first = journals.key({"seed": 0}, path)
    assert first == journals.key({"seed": 0}, path) != journals.key({"seed": 1}, path)
    path.write_bytes(b"2")
    assert first != journals.key({"seed": 0}, path)


def test_nan_raises(tmp_path):
    with pytest.raises(ValueError, match="loss became .* lower learning_rate"):
        fit(tmp_path, rate=1e30, ema=False)


def test_early_stopping(tmp_path):
    _, journal = fit(tmp_path, patience=1, checkpoint="auc")
    assert journal.stopped and len(journal.history()) == journal.best["epoch"] + 1 < 6


def test_checkpoint_rules(tmp_path):
    rows = [{"loss": 1, "val_loss": 0.5, "val_auc": 0.8}, {"loss": 1, "val_loss": 0.6, "val_auc": 0.9}]
    for rule, value, expected in (("loss", 0.5, False), ("auc", 0.8, True), ("last", 0.5, True)):
        journal = journals.Journal(tmp_path, "k", epochs=2, n_images=1, checkpoint=rule)
        assert journal.better(rows[0])
        journal.best = {"epoch": 1, "value": value}
        assert journal.better(rows[1]) is expected
    with pytest.raises(ValueError, match="loss, auc, last"):
        journals.Journal(tmp_path, "k", epochs=2, n_images=1, checkpoint="best")


def test_progress_line(tmp_path):
    journal = journals.Journal(tmp_path, "k", epochs=10, n_images=40)
    journal.epoch, journal.rows = 4, [{"seconds": 30.0}] * 4
    row = {"loss": 0.5, "val_loss": 0.6, "val_auc": 0.7, "seconds": 30.0, "images_per_second": 12.3}
    said, _, end = journal.line(row).partition(", until ")
    assert said == ("epoch 4/10  loss 0.5000  val_loss 0.6000  val_auc 0.7000  30.0 s  12 images/s  "
                    "about 3.0 min left") and len(end) == 5


def small(dropout=0.0, **options):
    """A network for images by themselves."""
    options = {"capacity": 0.5, "mean": 0.3, "std": 0.2} | options
    return fusion.build("simple", (16, 16, 1), 1, {}, survival=False, label=("binary", 2), dropout=dropout, **options)


def test_sanity_gate_passes_and_finds_leaks():
    images, y = blobs(160)
    keras.utils.set_random_seed(0)
    gate = functools.partial(diagnosis.sanity_gate, small, y=y, train=np.arange(100), val=np.arange(100, 160),
                             output="label", loss=models.loss("binary"))
    good, dead = gate(read=reader(images)), gate(read=reader(np.zeros_like(images)))
    assert good["passed"] and good["memorised"] == 1
    assert abs(good["shuffled_rank"] - 0.5) < good["shuffled_limit"] < 0.3
    assert not dead["passed"] and dead["memorised"] < 0.8
    none = gate(read=reader(images), output=None)
    assert none["passed"] is None and "ridge Cox model" in diagnosis.gate_in_words(none)


def test_chance_limit_is_that_of_a_permutation():
    random = np.random.default_rng(0)
    y, p = (random.random((60, 1)) < 0.3).astype(float), random.random((60, 1))
    draws = [diagnosis.chance_of_auc(random.permutation(y), p)[0] for _ in range(500)]
    assert diagnosis.chance_of_auc(y, p)[1] == pytest.approx(3.3 * np.std(draws), rel=0.1)
    assert diagnosis.chance_of_auc(y, y)[0] == 1
    assert diagnosis.chance_of_auc(y[:8], p[:8]) == (None, None)


@pytest.mark.parametrize(("loss", "val_loss", "best", "expected"), [
    (np.linspace(0.7, 0.1, 20), np.r_[np.linspace(0.7, 0.5, 8), np.linspace(0.5, 0.9, 12)], 8, "memorises"),
    (np.linspace(0.7, 0.4, 20), np.linspace(0.7, 0.42, 20), 20, "still improving"),
    (np.r_[np.linspace(0.7, 0.3, 10), [0.3] * 10], np.r_[np.linspace(0.7, 0.4, 10), [0.4] * 10], 12, "fits"),
    (np.r_[1, [0.001] * 19], np.r_[1, 0.001, [0.003] * 18], 2, "fits"),
    ([0.5] * 4, [0.6] * 4, 4, "too short"),
    ([0.5] * 5, [0.6] * 5, 5, "fits"),
])
def test_verdict(loss, val_loss, best, expected):
    history = pd.DataFrame({"epoch": range(1, len(loss) + 1), "loss": loss, "val_loss": val_loss, "val_auc": 0.8})
    assert diagnosis.verdict(history, best, "loss", "auc", 0.6)["verdict"] == expected
    assert diagnosis.verdict(history, best, "loss", "auc", 0.8)["verdict"] == "not learning"
    assert diagnosis.verdict(history.drop(columns="val_loss"), best)["verdict"] == "no validation"
    higher = history.assign(loss=history["loss"] + 5, val_loss=history["val_loss"] + 5)  # a Cox loss has no zero
    assert diagnosis.verdict(higher, best, "loss", "auc", 0.6)["verdict"] == expected


# validation of 20 epochs on 240 patients of the thorax cohort, all kept to the last one
RECORDED = {
    "label": "0.703 0.669 0.629 0.590 0.565 0.541 0.523 0.510 0.501 0.498 "
             "0.491 0.483 0.474 0.464 0.456 0.445 0.434 0.425 0.417 0.409",
    "image": "2.148 2.149 2.143 2.136 2.136 2.142 2.135 2.123 2.110 2.098 "
             "2.083 2.068 2.056 2.049 2.045 2.040 2.034 2.032 2.031 2.030",
    "fused": "2.090 2.065 2.034 2.010 2.002 2.006 1.996 1.986 1.971 1.958 "
             "1.946 1.937 1.942 1.931 1.923 1.918 1.908 1.901 1.904 1.898",
    "table": "2.041 " * 20}


def test_verdicts_of_a_recorded_training():
    """Each output for itself: class and fused risk improve, the image is not above guessing, the table is fixed."""
    columns = {f"val_{name}_loss": list(map(float, values.split())) for name, values in RECORDED.items()}
    ranks = {"val_label_auc": 0.886, "val_fused_c": 0.724, "val_image_c": 0.651, "val_table_c": 0.664}
    history = pd.DataFrame({"epoch": range(1, 21), **columns, **ranks})
    history = history.join(history.filter(like="_loss").add(-0.05).rename(columns=lambda name: name[4:]))
    limits = {"label": 0.66, "fused": 0.64, "image": 0.66, "table": 0.64}
    found = diagnosis.verdicts(history, 20, limits)
    said = {name: one["verdict"] for name, one in found.items()}
    assert said == {"label": "still improving", "fused": "still improving", "image": "not learning"}
    assert diagnosis.verdicts(history, 20, limits | {"image": 0.6})["image"]["verdict"] == "still improving"
    assert diagnosis.verdicts_in_words(found)[0].startswith("Class: still improving. The validation loss was")
    assert diagnosis.curve_columns(history, ["image"]) == {"image": ("image_loss", "image_c")}
    result = {"n_train": 160, "n_val": 35, "unit": "patient", "sanity": {"passed": None}}
    sentences, numbers, _ = answer.of(result, history, 20, found, "fused")
    assert sentences[0].endswith("epoch 20 of 20 is kept.") and len(sentences) == 3
    assert sentences[2].startswith("Survival, fused: still improving.") and numbers[0]["value"] == 0.886


@pytest.mark.parametrize(("noise", "n", "epochs", "expected"), [
    (0.0, 400, 150, "fits"), (0.35, 60, 150, "memorises"), (0.0, 400, 8, "still improving"),
    (0.5, 60, 40, "not learning")])
def test_verdicts_of_small_trainings(noise, n, epochs, expected):
    """A perceptron on the sign of a sum: enough data, wrong labels on few, too few epochs, labels that are noise."""
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.neural_network import MLPClassifier

    random = np.random.default_rng(0)
    x = random.normal(size=(n + 300, 8))
    y = (x[:, :3].sum(1) + 0.4 * random.normal(size=len(x)) > 0).astype(int) ^ (random.random(len(x)) < noise)
    model, rows = MLPClassifier((32,), learning_rate_init=0.003, random_state=0, alpha=0), []
    for epoch in range(1, epochs + 1):
        model.partial_fit(x[:n], y[:n], classes=[0, 1])
        p = model.predict_proba(x)[:, 1]
        rows.append({"epoch": epoch, "loss": log_loss(y[:n], p[:n]), "val_loss": log_loss(y[n:], p[n:]),
                     "val_auc": roc_auc_score(y[n:], p[n:])})
    history = pd.DataFrame(rows)
    limits = {"label": diagnosis.guessing(y[n:, None], "label")}
    best = int(history["val_loss"].idxmin()) + 1
    assert diagnosis.verdicts(history, best, limits)["label"]["verdict"] == expected, history.tail(3)


def test_what_guessing_reaches():
    """One in twenty networks that know nothing gets above the limit, whatever the outcome; many patients lower it."""
    random = np.random.default_rng(0)
    y, survival = random.random((60, 1)) < 0.3, np.c_[random.exponential(size=60), random.random(60) < 0.5]
    limit, other = diagnosis.guessing(y, "label"), diagnosis.guessing(survival, "image")
    draws = [diagnosis.chance_of_auc(y, random.random((60, 1)))[0] for _ in range(600)]
    assert 0.02 < np.mean(np.array(draws) > limit) < 0.09
    assert 0.55 < other < 0.7 and diagnosis.guessing(np.tile(survival, (20, 1)), "image") < other - 0.05
    assert diagnosis.guessing(y[:6], "label") is None


def test_bare_model_predicts_the_same():
    images, y = blobs(20)
    model = fusion.label_model(small())
    model.compile("adam", models.loss("binary"))
    model.fit(images.astype("float32"), y, verbose=0)
    bare = training.bare(model)
    np.testing.assert_array_equal(bare(images), model(images))
    assert getattr(bare, "optimizer", None) is None


def test_mirrored_model_averages_and_is_saved_safely(tmp_path):
    images = blobs(4)[0].astype("float32")
    model = fusion.label_model(small())
    training.bare(model, mirrored=True).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    expected = (model(images).numpy() + model(images[:, :, ::-1]).numpy()) / 2
    np.testing.assert_allclose(loaded(images), expected, atol=1e-6)
    assert loaded.get_layer("label").count_params() == model.count_params()


def test_memory_is_refused_before_loading(monkeypatch):
    assert training.check_memory(models.memory_bytes(classifier("simple", (16, 16, 1), "binary", 2), 8)) > 0
    monkeypatch.setattr(training.os, "sysconf", lambda name: 1)
    with pytest.raises(ValueError, match="lower batch_size"):
        training.check_memory(models.memory_bytes(classifier("simple", (16, 16, 1), "binary", 2), 8))


def test_a_state_depends_on_every_parameter_of_the_notebook():
    """A parameter counts where a cell up to the fit names it; what only follows the fit trains nothing anew."""
    for name, idle in (("03_cnn_training", {"sanity_gate", "mirrored"}),
                       ("06_segmentation", {"segmentation_open_test", "segmentation_bootstrap"}),
                       ("07_lesion_detection", {"detection_open_test", "detection_bootstrap", "detection_rule"})):
        declared = parameters.declared(name)
        counted = set(parameters.settings(name, declared)["parameters"])
        assert {"seed"} <= counted and not counted & (idle | {"run"}) and idle <= set(declared), name
        assert len(counted) > len(declared) / 2, name
    assert counted_of_03() == set(parameters.declared("03_cnn_training")) - {"run", "sanity_gate", "mirrored"}


def counted_of_03():
    return set(parameters.settings("03_cnn_training", parameters.declared("03_cnn_training"))["parameters"])


def test_follow_up_that_is_unknown_is_coded_as_nothing_and_weights_follow_the_label():
    units = pd.DataFrame({"time_days": [5.0, np.nan, 7], "event": pd.array([True, None, False], "boolean"),
                          "label": ["a", "b", None], "n_images": [1, 1, 1]})
    y = training.targets(units, ["label", "survival"], "binary", ["a", "b"])
    np.testing.assert_array_equal(y["survival"], [[5, 1], [0, 0], [7, 0]])
    np.testing.assert_array_equal(y["label"], [[0], [1], [0]])
    counts = training.counts(y, {"train": np.arange(3), "val": []}, "binary", ["a", "b"])
    assert counts["train"].to_dict() == {"b": 1, "event seen": 1, "censored": 1} and not counts["val"].any()
    assert training.known(units, ["label", "survival"], "binary").tolist() == [True, True, True]
    assert training.has_events(y, [0, 1]) and not training.has_events(y, [1, 2]) and not training.has_events(y, [])
    assert training.known(units, "survival").tolist() == [True, False, True]
    assert training.known(units.assign(n_images=[1, 0, 1]), "label").tolist() == [True, False, False]
    weights = training.sample_weights(units, y, small(), np.arange(3), "binary")
    np.testing.assert_array_equal(weights["label"], [1, 1, 0])


@pytest.mark.parametrize("events, pictured, expected", [(40, True, ("equal", "")), (400, True, ("joint", "")),
                                                        (400, False, ("joint", fusion.TABLE_UNITS))])
def test_few_events_allow_a_plain_network_only(events, pictured, expected):
    assert tuple(fusion.by_events(events, pictured).values()) == expected


def test_a_pretrained_backbone_has_two_phases_and_a_finished_training_none():
    book = type("Book", (), {"epoch": 0, "stopped": False})
    assert list(training.phases(small(), 8, book)) == [(0, 8, False)]
    pretrained = classifier("MobileNetV2, random", (32, 32, 1), "binary", 2)
    assert list(training.phases(pretrained, 8, book)) == [(0, 2, True), (2, 8, False)]
    book.epoch = 8
    assert list(training.phases(pretrained, 8, book)) == []


def test_what_does_not_fit_together_is_refused():
    training.check_mirrored(True, {"flip": "lu"}, ["label"])
    training.check_mixup({"mixup": 0.2}, ["label"])
    for policy, wanted, said in (({}, ["label"], "flips left"), ({"flip": "l"}, ["survival"], "label alone")):
        with pytest.raises(ValueError, match=said):
            training.check_mirrored(True, policy, wanted)
    with pytest.raises(ValueError, match="mixup is for a label alone"):
        training.check_mixup({"mixup": 0.2}, ["label", "survival"])
    with pytest.raises(ValueError, match="expected one of cox, hazard"):
        training.cuts({}, "weibull")


def test_sanity_gate_of_survival_passes_and_notices_a_dead_network():
    random = np.random.default_rng(0)
    x = random.normal(size=(160, 6)).astype("float32")
    y = np.c_[random.exponential(np.exp(-x[:, 0])), random.random(160) < 0.6].astype("float32")
    given = {"table": x}

    def make():
        return fusion.build("", None, 1, {"table": 6}, units="64, 64", dropout=0)

    def gate(given):
        return diagnosis.sanity_gate(make, lambda rows: {"table": given["table"][rows]}, y, np.arange(100),
                                     np.arange(100, 160), output="table", loss=losses.cox(), learning_rate=0.01)

    good, dead = gate(given), gate({"table": 0 * x})
    assert good["passed"] and abs(good["shuffled_rank"] - 0.5) < good["shuffled_limit"] < 0.4
    assert not dead["passed"] and dead["memorised"] < 0.9
