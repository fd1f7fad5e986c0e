"""Fitting: schedule and averages of the optimiser; a training in stages, finished, resumed and not repeated."""

import numpy as np
import pytest

from medlab.networks import fitting, journal
from medlab.networks.pipeline import keras, tf

STEPS = 4


def line(rate=0.1):
    """A straight line through points that lie on y = 3 x, to be learnt in batches of two."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(fitting.adamw(rate, 6 * STEPS, weight_decay=0.0), loss="mse")
    x = np.linspace(-1, 1, 2 * STEPS, dtype="float32")[:, None]
    return model, tf.data.Dataset.from_tensor_slices((x, 3 * x)).batch(2)


def trained(folder, until=None, **options):
    model, data = line()
    book = journal.Journal(folder, "key", epochs=6, n_images=8, checkpoint="last", **options)
    before = book.epoch
    fitting.fit(model, book, data.repeat(), steps=STEPS, validation=data, until=until)
    return model, book, before


def test_the_rate_rises_to_its_peak_and_falls_to_nothing_and_averages_are_kept_where_asked():
    optimizer = fitting.adamw(0.01, 100, warmup=0.1, ema=0.9, clipnorm=1.0)
    rate = keras.optimizers.schedules.deserialize(optimizer.get_config()["learning_rate"])
    assert [float(rate(step)) for step in (0, 10, 100)] == pytest.approx([0.0005, 0.01, 0.0], abs=1e-6)
    assert optimizer.use_ema and optimizer.ema_momentum == 0.9 and optimizer.global_clipnorm == 1.0
    assert optimizer.weight_decay == fitting.WEIGHT_DECAY and not fitting.adamw(0.01, 100).use_ema


def test_a_finished_training_is_not_repeated(tmp_path):
    model, book, _ = trained(tmp_path)
    again, second, before = trained(tmp_path)
    assert len(book.history()) == 6 and before == 6 and second.note == "trained before, to epoch 6"
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_stage_leaves_what_the_next_one_goes_on_from(tmp_path):
    whole, book, _ = trained(tmp_path / "whole")
    trained(tmp_path / "parts", until=2)
    assert (tmp_path / "parts" / "03_state" / "now.weights.h5").exists(), "nothing is chosen before the end"
    model, second, before = trained(tmp_path / "parts")
    assert before == 2 and list(second.history()["epoch"]) == list(range(1, 7))
    for a, b in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
