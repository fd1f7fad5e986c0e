"""Survival losses and the concordance metric against lifelines, statsmodels, scikit-survival and slow references."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from lifelines.datasets import load_rossi
from lifelines.utils import concordance_index
from scipy.optimize import approx_fprime
from scipy.special import expit, logsumexp
from sksurv.metrics import concordance_index_censored
from statsmodels.duration.hazard_regression import PHReg

from medlab.networks import losses
from medlab.networks.pipeline import keras, tf

TIES = ("efron", "breslow")


def cohort(n=60, seed=0, days=12, hospitals=3, spread=1.0):
    """Follow-up with many ties, events, strata and log risks."""
    rng = np.random.default_rng(seed)
    return (rng.integers(1, days + 1, n).astype(float), (rng.random(n) < 0.6).astype(float),
            rng.integers(0, hospitals, n).astype(float), rng.normal(0, spread, n))


def likelihood(time, event, risk, ties, stratum=None):
    """Negative log partial likelihood per event, as in the textbook: one loop over the event times."""
    stratum = np.zeros(len(time)) if stratum is None else stratum
    total = 0.0
    for s, t in {(s, t) for s, t, e in zip(stratum, time, event, strict=True) if e}:
        inside = stratum == s
        dead, at_risk = inside & (time == t) & (event == 1), inside & (time >= t)
        for k in range(dead.sum()):
            share = k / dead.sum() if ties == "efron" else 0.0
            every, tied = logsumexp(risk[at_risk]), logsumexp(risk[dead])
            total += every + np.log1p(-share * np.exp(tied - every))
        total -= risk[dead].sum()
    return total / max(event.sum(), 1)


def target(time, event, stratum=None):
    return np.column_stack([time, event] if stratum is None else [time, event, stratum])


def value(loss, y, p):
    return float(loss(np.asarray(y, float), np.asarray(p, float)))


def gradient(loss, y, p):
    p = tf.Variable(p, dtype=loss.dtype)
    with tf.GradientTape() as tape:
        found = loss(y, p)
    return keras.ops.convert_to_numpy(tape.gradient(found, p)).astype(float)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("seed", range(5))
def test_cox_equals_the_textbook_with_ties_and_strata(ties, seed):
    time, event, stratum, risk = cohort(seed=seed)
    exact = losses.cox(ties, dtype="float64")
    assert value(exact, target(time, event), risk[:, None]) == pytest.approx(likelihood(time, event, risk, ties), 1e-12)
    assert value(losses.cox(ties), target(time, event), risk[:, None]) == pytest.approx(
        likelihood(time, event, risk, ties), 1e-6)
    strata = losses.cox(ties, strata=True, dtype="float64")
    assert value(strata, target(time, event, stratum), risk[:, None]) == pytest.approx(
        likelihood(time, event, risk, ties, stratum), 1e-12)


patients = st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(0, 1), st.floats(-50, 50)),
                    min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(patients, st.sampled_from(TIES))
def test_cox_equals_the_textbook_on_any_cohort(rows, ties):
    time, event, stratum, risk = np.array(rows, float).T
    found = value(losses.cox(ties, True, dtype="float64"), target(time, event, stratum), risk[:, None])
    assert found == pytest.approx(likelihood(time, event, risk, ties, stratum), abs=1e-9, rel=1e-9)


@pytest.fixture(scope="module")
def rossi():
    return load_rossi()


@pytest.mark.parametrize("strata", [None, "wexp"])
def test_efron_equals_the_partial_likelihood_of_lifelines(rossi, strata):
    fit = CoxPHFitter().fit(rossi, "week", "arrest", strata=strata)
    risk = fit.predict_log_partial_hazard(rossi).to_numpy()[:, None]
    y = target(rossi["week"], rossi["arrest"], rossi[strata] if strata else None)
    wanted = -fit.log_likelihood_ / rossi["arrest"].sum()
    assert value(losses.cox(strata=bool(strata)), y, risk) == pytest.approx(wanted, rel=1e-6)
    assert value(losses.cox(strata=bool(strata), dtype="float64"), y, risk) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("ties", TIES)
def test_cox_equals_the_partial_likelihood_of_statsmodels(rossi, ties):
    x = rossi[["fin", "age", "prio"]]
    beta = np.array([-0.3, -0.05, 0.1])
    reference = PHReg(rossi["week"], x, rossi["arrest"], ties=ties)
    loss, y, n = losses.cox(ties, dtype="float64"), target(rossi["week"], rossi["arrest"]), rossi["arrest"].sum()
    risk = x.to_numpy() @ beta
    assert value(loss, y, risk[:, None]) == pytest.approx(-reference.loglike(beta) / n, rel=1e-10)
    slope = x.to_numpy().T @ gradient(loss, y, risk[:, None])[:, 0]
    np.testing.assert_allclose(slope, -reference.score(beta) / n, rtol=1e-8)


@pytest.mark.parametrize("ties", TIES)
def test_breslow_and_efron_differ_only_with_ties(ties):
    time, event, _, risk = cohort()
    distinct = time + np.linspace(0, 0.5, len(time))
    both = [value(losses.cox(t, dtype="float64"), target(distinct, event), risk[:, None]) for t in TIES]
    assert both[0] == pytest.approx(both[1], rel=1e-12)
    assert likelihood(time, event, risk, "efron") < likelihood(time, event, risk, "breslow") - 0.01


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("strata", [False, True])
def test_cox_gradient_equals_finite_differences(ties, strata):
    time, event, stratum, risk = cohort(40, seed=3)
    stratum = stratum if strata else None
    found = gradient(losses.cox(ties, strata, dtype="float64"), target(time, event, stratum), risk[:, None])[:, 0]
    slow = approx_fprime(risk, lambda r: likelihood(time, event, r, ties, stratum), 1e-6)
    np.testing.assert_allclose(found, slow, atol=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-12)  # adding a constant to all risks changes nothing
    single = gradient(losses.cox(ties, strata), target(time, event, stratum), risk[:, None])[:, 0]
    np.testing.assert_allclose(single, found, atol=1e-6)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("spread", [20.0, 1000.0, 1e5])
def test_cox_is_stable_at_any_spread_of_the_scores(ties, spread):
    time, event, _, risk = cohort(500, days=50)
    risk = np.linspace(-spread / 2, spread / 2, 500)[np.argsort(np.argsort(risk))]
    y = target(time, event)
    assert value(losses.cox(ties), y, risk[:, None]) == pytest.approx(likelihood(time, event, risk, ties), rel=1e-5)
    exact = gradient(losses.cox(ties, dtype="float64"), y, risk[:, None])
    found = gradient(losses.cox(ties), y, risk[:, None])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, exact, atol=1e-7 * max(spread, 1000))  # what float32 resolves of the scores


@pytest.mark.parametrize("ties", TIES)
def test_everyone_dies_at_once_with_equal_risks(ties):
    y, risk = target(np.ones(3000), np.ones(3000)), np.full((3000, 1), 700.0)
    wanted = np.log(np.arange(1, 3001)).mean() if ties == "efron" else np.log(3000)
    assert value(losses.cox(ties), y, risk) == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(gradient(losses.cox(ties), y, risk), 0, atol=1e-6)


@pytest.mark.parametrize("ties", TIES)
def test_a_batch_without_events_gives_zero_and_no_gradient(ties):
    time, _, stratum, risk = cohort(20)
    for y, strata in ((target(time, 0 * time), False), (target(time, 0 * time, stratum), True), (np.zeros((20, 2)), 0)):
        loss = losses.cox(ties, strata)
        assert value(loss, y, 100 * risk[:, None]) == 0
        assert (gradient(loss, y, 100 * risk[:, None]) == 0).all()
    assert value(losses.cox(ties), target([5.0], [1.0]), [[3.0]]) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("ties", TIES)
def test_order_and_a_constant_change_nothing(ties):
    time, event, stratum, risk = cohort()
    loss, y = losses.cox(ties, True, dtype="float64"), target(time, event, stratum)
    mixed = np.random.default_rng(1).permutation(len(time))
    wanted, slope = value(loss, y, risk[:, None]), gradient(loss, y, risk[:, None])
    assert value(loss, y[mixed], risk[mixed, None]) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(gradient(loss, y[mixed], risk[mixed, None]), slope[mixed], atol=1e-12)
    assert value(loss, y, risk[:, None] + 300) == pytest.approx(wanted, rel=1e-12)
    assert value(loss, y * [7, 1, 1], risk[:, None]) == pytest.approx(wanted, rel=1e-12)  # only ranks of time count


@pytest.mark.parametrize("loss", [losses.cox("efron"), losses.cox("breslow"), losses.hazard([0, 4, 20])])
def test_unknown_follow_up_never_matters(loss):
    time, event, _, risk = cohort()
    columns = 2 if isinstance(loss, losses.Hazard) else 1
    p = np.column_stack([risk, -risk])[:, :columns]
    unknown = np.where(np.arange(7)[:, None] == 2, np.nan, 900.0) * np.ones(columns)  # even without a finite output
    y, q = np.r_[np.zeros((7, 2)), target(time, event)], np.r_[unknown, p]
    assert value(loss, y, q) == pytest.approx(value(loss, target(time, event), p), rel=1e-6)
    found = gradient(loss, y, q)
    assert (found[:7] == 0).all()
    np.testing.assert_allclose(found[7:], gradient(loss, target(time, event), p), atol=1e-7)


def test_an_event_at_time_zero_counts():
    y, risk = target([0.0, 3, 5], [1.0, 0, 1]), np.array([0.5, 1.0, -1.0])
    assert value(losses.cox(), y, risk[:, None]) == pytest.approx(likelihood(*y.T, risk, "efron"), rel=1e-6)
    assert value(losses.hazard([0, 4, 6]), y[:1], [[0.3, 1.0]]) == pytest.approx(-np.log(expit(0.3)), rel=1e-6)


CUTS = [0, 2.5, 4, 9]


def survival(logits, t):
    """S(t) of one patient: constant rate inside an interval."""
    h, edges, s = expit(logits), np.asarray(CUTS, float), 1.0
    for k in range(len(h)):
        s *= (1 - h[k]) ** np.clip((t - edges[k]) / (edges[k + 1] - edges[k]), 0, 1)
    return s


def hazard_likelihood(time, event, logits):
    total = 0.0
    for t, e, z in zip(time, event, logits, strict=True):
        if e and t <= CUTS[-1]:
            k = np.searchsorted(CUTS, t) - 1
            total -= np.log(survival(z, CUTS[k]) - survival(z, CUTS[k + 1]))
        else:
            total -= np.log(survival(z, t))
    return total / len(time)


def test_hazard_equals_the_probability_of_what_was_seen():
    time, event, _, _ = cohort(200)
    time[:20] = np.tile([2.5, 4, 9, 12], 5)  # on the cuts and beyond
    logits = np.random.default_rng(0).normal(-1, 1, (200, 3))
    wanted = hazard_likelihood(time, event, logits)
    assert value(losses.hazard(CUTS, dtype="float64"), target(time, event), logits) == pytest.approx(wanted, rel=1e-12)
    assert value(losses.hazard(CUTS), target(time, event), logits) == pytest.approx(wanted, rel=1e-6)


def test_hazard_gradient_equals_finite_differences_and_stays_finite():
    time, event, _, _ = cohort(12)
    logits = np.random.default_rng(0).normal(-1, 1, (12, 3))
    loss, y = losses.hazard(CUTS, dtype="float64"), target(time, event)
    slow = approx_fprime(logits.ravel(), lambda z: hazard_likelihood(time, event, z.reshape(12, 3)), 1e-7)
    np.testing.assert_allclose(gradient(loss, y, logits).ravel(), slow, atol=1e-6)
    for z in (-1000 * np.ones((12, 3)), 1000 * np.ones((12, 3))):
        assert np.isfinite(value(losses.hazard(CUTS), y, z)) and np.isfinite(gradient(losses.hazard(CUTS), y, z)).all()


def test_the_best_constant_hazards_are_those_of_the_life_table():
    rng = np.random.default_rng(0)
    time = rng.choice([1.0, 2.0, 3.0], 400)  # follow-up ends on the cuts only: events / at risk is the maximum
    event = (rng.random(400) < 0.5).astype(float)
    at_risk = [(time >= t).sum() for t in (1, 2, 3)]
    best = np.array([((time == t) & (event == 1)).sum() for t in (1, 2, 3)]) / at_risk
    logits = np.tile(np.log(best / (1 - best)), (400, 1))
    slope = gradient(losses.hazard([0, 1, 2, 3], dtype="float64"), target(time, event), logits).sum(0)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


@pytest.mark.parametrize("n, events", [(10, 300), (10, 23), (5, 3), (1, 40)])
def test_cuts_keep_at_least_five_events_in_each_interval(n, events):
    rng = np.random.default_rng(events)
    time, event = rng.exponential(300, 400).round() + 1, np.arange(400) < events
    found = losses.cuts(time, event, n)
    assert found[0] == 0 and found[-1] == time.max() and (np.diff(found) > 0).all() and len(found) <= n + 1
    counts, _ = np.histogram(-time[event], -found[::-1])  # intervals closed on the right
    assert counts.sum() == events and (len(found) == 2 or counts.min() >= 5)
    assert len(found) == 2 or len(found) >= min(n, events // 5)
    losses.hazard(found)


def test_cuts_of_tied_times_and_without_events():
    assert losses.cuts([3.0] * 50 + [8.0] * 50, np.ones(100), 10).tolist() == [0, 3, 8]
    with pytest.raises(ValueError, match="no event after time 0 among 3 patients"):
        losses.cuts([1, 2, 3], [0, 0, 0], 4)


@pytest.mark.parametrize("make, message", [
    (lambda: losses.cox("exact"), "efron, breslow"),
    (lambda: losses.hazard([1, 2]), "begin with 0"),
    (lambda: losses.hazard([0, 2, 2]), "increase strictly"),
    (lambda: losses.cox()(np.ones((4, 2)), np.ones((4, 2))), r"y_pred of shape \(batch, 1\)"),
    (lambda: losses.cox(strata=True)(np.ones((4, 2)), np.ones((4, 1))), r"y_true of shape \(batch, 3\)"),
    (lambda: losses.hazard([0, 1])(np.ones((4, 2)), np.ones((4, 2))), r"y_pred of shape \(batch, 1\)"),
])
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_weight_of_zero_leaves_a_patient_out():
    y, risk = np.c_[[5.0, 3, 4, 1], [1, 1, 0, 1]], np.array([[0.3], [-1], [2], [0.5]])
    some = np.array([1.0, 0, 1, 2])
    for loss in (losses.cox(dtype="float64"), losses.hazard([0, 2, 6], dtype="float64")):
        p = risk if loss.name == "cox" else np.c_[risk, -risk]
        assert float(loss(y, p, some)) == pytest.approx(float(loss(y[some > 0], p[some > 0])))
        assert float(loss(y, p, np.ones(4))) == pytest.approx(float(loss(y, p)))


@pytest.mark.parametrize("loss", [losses.cox("breslow", True, dtype="float64"), losses.hazard(CUTS, name="h")])
def test_losses_survive_serialisation(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()


def network(columns=1, features=3):
    image = keras.Input((features,))
    return keras.Model(image, keras.layers.Dense(columns, use_bias=columns > 1, kernel_initializer="zeros")(image))


@pytest.mark.parametrize("ties", TIES)
def test_a_linear_network_learns_the_coefficients_of_lifelines(rossi, ties):
    table = rossi[["week", "arrest", "fin", "age", "prio"]].copy()
    names = ["fin", "age", "prio"]
    table[names] = (table[names] - table[names].mean()) / table[names].std()
    x, y = table[names].to_numpy("float32"), table[["week", "arrest"]].to_numpy("float32")
    model = network()
    model.compile(keras.optimizers.SGD(1.0), losses.cox(ties))
    model.fit(x, y, batch_size=len(x), epochs=60, verbose=0)
    wanted = (CoxPHFitter().fit(table, "week", "arrest").params_ if ties == "efron" else
              PHReg(table["week"], table[names], table["arrest"], ties="breslow").fit().params)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], np.asarray(wanted), atol=1e-2)


@pytest.mark.parametrize("jit", [False, True])
def test_fit_with_a_smaller_last_batch_and_two_outputs_survives_saving(tmp_path, jit):
    time, event, _, _ = cohort(70)
    x = np.random.default_rng(0).normal(size=(70, 3)).astype("float32")
    event[-6:] = 0  # the last batch has no event
    image = keras.Input((3,))
    model = keras.Model(image, {"risk": keras.layers.Dense(1, name="risk")(image),
                                "hazard": keras.layers.Dense(3, name="hazard")(image)})
    model.compile(keras.optimizers.SGD(0.1), {"risk": losses.cox(), "hazard": losses.hazard(CUTS)},
                  metrics={"risk": losses.Concordance(), "hazard": losses.Concordance()}, jit_compile=jit)
    y = target(time, event).astype("float32")
    history = model.fit(x, {"risk": y, "hazard": y}, batch_size=32, epochs=3, shuffle=False, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    found = again.evaluate(x, {"risk": y, "hazard": y}, batch_size=70, return_dict=True, verbose=0)
    risk = model.predict(x, verbose=0)["risk"][:, 0]
    assert found["risk_loss"] == pytest.approx(likelihood(time, event, risk, "efron"), rel=1e-5)
    assert found["risk_c"] == pytest.approx(concordance_index(time, -risk, event), abs=1e-6)


def test_the_shape_of_a_batch_may_be_unknown():
    time, event, _, risk = cohort(33)
    loss, shapes = losses.cox(), [tf.TensorSpec([None, 2]), tf.TensorSpec([None, 1])]
    compiled = tf.function(lambda y, p: loss(y, p), input_signature=shapes)
    for n in (1, 2, 3, 32, 33):
        y, p = target(time[:n], event[:n]).astype("float32"), risk[:n, None].astype("float32")
        assert float(compiled(y, p)) == pytest.approx(likelihood(time[:n], event[:n], risk[:n], "efron"), abs=1e-6)


def metric(y, *predictions):
    c = losses.Concordance()
    for p in predictions:
        c.update_state(y, p)
    return float(c.result())


def test_concordance_equals_scikit_survival_and_lifelines():
    time, event, stratum, risk = cohort(700, days=30)
    risk = risk.round(1)
    found = metric(target(time, event), risk[:, None])
    assert found == pytest.approx(concordance_index_censored(event == 1, time, risk)[0], abs=1e-6)
    assert found == pytest.approx(concordance_index(time, -risk, event), abs=1e-6)
    unknown = np.r_[target(time, event), np.zeros((9, 2))]
    assert metric(unknown, np.r_[risk, np.full(9, 50)][:, None]) == pytest.approx(found, abs=1e-7)
    parts = [concordance_index_censored(event[i] == 1, time[i], risk[i]) for i in
             (stratum == s for s in np.unique(stratum))]
    concordant, pairs = sum(p[1] + 0.5 * p[3] for p in parts), sum(p[1] + p[2] + p[3] for p in parts)
    assert metric(target(time, event, stratum), risk[:, None]) == pytest.approx(concordant / pairs, abs=1e-6)


def test_concordance_of_hazards_ranks_by_mean_survival_and_accumulates_within_batches():
    time, event, _, _ = cohort(50)
    logits = np.random.default_rng(0).normal(size=(50, 3))
    mean = [sum(survival(z, t) for t in CUTS[1:]) for z in logits]
    y = target(time, event)
    assert metric(y, logits) == pytest.approx(concordance_index(time, mean, event), abs=1e-6)
    assert metric(y, logits, logits) == pytest.approx(concordance_index(time, mean, event), abs=1e-6)
    assert np.isnan(metric(target(time, 0 * event), logits))


def test_concordance_in_blocks_equals_all_pairs(monkeypatch):
    time, event, _, risk = cohort(40)
    good = [(risk[i] > risk[j]) for i, j in itertools.permutations(range(40), 2)
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j]))]
    for block in (1, 7, 256):
        monkeypatch.setattr(losses.Concordance, "BLOCK", block)
        assert metric(target(time, event), risk[:, None]) == pytest.approx(np.mean(good), abs=1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_losses_run_on_another_backend(backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed: nothing but TensorFlow is needed")
    time, event, stratum, risk = cohort()
    code = f"""
import keras, numpy as np
from medlab.networks import losses
assert keras.backend.backend() == {backend!r}
y, risk = np.array({target(time, event, stratum).tolist()}, "f"), np.array({risk.tolist()}, "f")[:, None]
metric, two = losses.Concordance(), np.concatenate([risk, -risk], 1)
metric.update_state(y[:, :2], risk)
print(losses.cox(strata=True)(y, risk).item(), losses.hazard([0, 4, 20])(y[:, :2], two).item(), metric.result().item())
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", losses.cox())
model.fit(two, y[:, :2], batch_size=32, verbose=0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=os.environ | {"KERAS_BACKEND": backend})
    assert not done.returncode, done.stderr
    both = np.column_stack([risk, -risk])
    wanted = (likelihood(time, event, risk, "efron", stratum),
              value(losses.hazard([0, 4, 20]), target(time, event), both), concordance_index(time, -risk, event))
    np.testing.assert_allclose([float(v) for v in done.stdout.split()], wanted, rtol=1e-6)


def test_the_metric_is_found_again_in_a_saved_model(tmp_path):
    model = network(4)
    model.compile("sgd", losses.hazard(np.arange(5)), metrics=[losses.Concordance()])
    x, y = np.ones((6, 3), "float32"), pd.DataFrame({"time": [1, 2, 3, 4, 2, 1], "event": 1.0}).to_numpy("float32")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    assert "c" in keras.saving.load_model(tmp_path / "m.keras").evaluate(x, y, return_dict=True, verbose=0)
