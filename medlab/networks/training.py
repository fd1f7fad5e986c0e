"""Training: what is predicted, targets, class weights, schedule, memory."""

import os

import numpy as np
import pandas as pd

from medlab.networks import losses, models
from medlab.networks.pipeline import keras

MANY_EVENTS, TABLE_UNITS = 300, "128, 64"

TARGETS = ("auto", "label", "survival", "both")


def wanted(table, target="auto"):
    """What is learnt: a list of ``label`` and ``survival``.

    Parameters
    ----------
    table : DataFrame
        split.parquet.
    target : str
        ``auto`` is whichever the cohort has. Both together need one image per patient, because a label belongs to
        an image and survival to a patient: with several, ``auto`` is the label.
    """
    if target not in TARGETS:
        raise ValueError(f"target {target!r} is unknown; expected one of {', '.join(TARGETS)}")
    pictured = "has_image" not in table or bool(table["has_image"].any())
    label = pictured and ("label" in table or any(name.startswith("label_") for name in table))
    survival = "time_days" in table and bool(table["time_days"].notna().any())
    several = pictured and bool(table["patient_id"].duplicated().any())
    found = [name for name, there in (("label", label), ("survival", survival)) if there]
    if target == "auto":
        found = found[:1] if several else found
    lacking = {"label": ["label"], "survival": ["survival"], "both": ["label", "survival"]}.get(target, found[:1])
    if not found or set(lacking) - set(found):
        there = " and ".join(found) or "neither a label nor follow-up"
        raise ValueError(f"target {target}: the cohort has {there} to learn")
    if target == "both" and several:
        raise ValueError("target both needs one image per patient, here some patients have several: train the label "
                         "and survival in two runs")
    return found if target == "auto" else lacking


def outcome(table, facts, head="auto"):
    """What a label is: the kind of head and the names of its outputs.

    Parameters
    ----------
    table : DataFrame
        split.parquet.
    facts : dict
        dataset.json: ``classes``, ``positive``, ``card``.
    head : str
        The parameter; ``auto`` takes several ``label_*`` columns as multilabel, ordered classes as ordinal,
        a positive class (or just two classes, the second positive) as binary, the rest as multiclass.

    Returns
    -------
    (kind, outputs)
        For a binary head ``outputs`` is [name of the rest, positive class].
    """
    several = [name for name in table if name.startswith("label_")]
    classes, positive = [str(name) for name in facts.get("classes") or []], facts.get("positive")
    ordered = (facts.get("card") or {}).get("classes_ordered")
    if head == "auto":
        head = ("multilabel" if "label" not in table else "ordinal" if ordered and len(classes) > 2 else
                "binary" if positive or len(classes) == 2 else "multiclass")
    if head == "multilabel":
        return head, several
    if head != "binary":
        return head, classes
    positive = str(positive or classes[-1])
    return head, [" or ".join(name for name in classes if name != positive), positive]


def known(units, what, kind=None):
    """Which units have an outcome, (m,) bool: a label on an image, or a time and whether the event was seen."""
    if what == "survival":
        return (units["time_days"].notna() & units["event"].notna()).to_numpy()
    labels = units.filter(regex="^label_").notna().all(axis=1) if kind == "multilabel" else units["label"].notna()
    return (labels & (units["n_images"] > 0)).to_numpy()


def targets(units, what, kind=None, outputs=()):
    """Outcomes as the losses want them: ``label`` as `encode`, ``survival`` (m, 2) of time in days and event.

    Unknown follow-up is (0, 0): in no risk set, so it counts for nothing. An unknown label is the first class; it
    needs a sample weight of 0 (`sample_weights`).
    """
    found = {}
    if "label" in what:
        there = known(units, "label", kind)
        labels = units.filter(regex="^label_") if kind == "multilabel" else units["label"]
        found["label"] = encode(labels.where(there, outputs[0] if kind != "multilabel" else 0), kind, outputs)
    if "survival" in what:
        there = known(units, "survival")
        pairs = units[["time_days", "event"]].astype(float).where(np.c_[there, there], 0)
        found["survival"] = pairs.to_numpy("float32")
    return found


def counts(y, places, names):
    """How often each outcome occurs among some units: labels by name, patients with an event and censored."""
    found = {}
    if "label" in y:
        found |= dict(zip(names, y["label"][places].sum(0).astype(int), strict=True))
    if "survival" in y:
        time, event = y["survival"][places].T
        found |= {"event seen": int(event.sum()), "censored": int(((event == 0) & (time > 0)).sum())}
    return found


def by_events(events, fusion, units, pictured):
    """How free a survival network may be with so many events in training: kind of fusion, layers on the table.

    ``auto`` is the plainest (equal weights, linear in the table, as a Cox model) below 300 events; beside images the
    table stays linear.
    """
    many = events >= MANY_EVENTS
    return ("joint" if many else "equal") if fusion == "auto" else fusion, (
        TABLE_UNITS if many and not pictured else "") if units == "auto" else units


def main_output(model):
    """Name of the output that decides about epochs and risk groups: fused, else image, table, radiomics; or None."""
    names = model.output if isinstance(model.output, dict) else ()
    return next((name for name in ("fused", "image", "table", "radiomics") if name in names), None)


def gated_output(model):
    """Output of a network for patients that has something to learn by heart; None for a ridge Cox model."""
    linear = all(layer.name.rpartition("_")[2] not in ("network", "risk", "together") or not layer.trainable_weights
                 for layer in model.layers if isinstance(layer, keras.layers.Dense))
    return "image" if "image" in model.output else None if linear else main_output(model)


def loss_of(main, ties="efron", cuts=None):
    """Loss of a survival output: Cox, or discrete time where there are cuts; None without one."""
    return None if not main else losses.cox(ties) if cuts is None else losses.hazard(cuts)


def objective(model, kind, n_outputs, label_smoothing=0.0, ties="efron", cuts=None):
    """Arguments of ``compile``: a loss and a metric for each output."""
    if not main_output(model):
        return {"loss": models.loss(kind, label_smoothing), "metrics": [auc_metric(kind, n_outputs)]}
    loss = {name: loss_of(name, ties, cuts) for name in model.output}
    metrics = {name: [losses.Concordance(name="c")] for name in model.output}  # weighted: unknown outcomes are left out
    if kind:
        loss["label"], metrics["label"] = models.loss(kind, label_smoothing), [auc_metric(kind, n_outputs)]
    return {"loss": loss, "weighted_metrics": metrics}


def sample_weights(units, y, places, how="none", kind=None, model=None):
    """Sample weights: of a label (m,), 0 where it is unknown; of a network for patients a dict with one for each
    output, 0 for the image output where a patient has no image."""
    weights, there = {}, np.zeros(len(places), bool)
    if kind:
        there = known(units, "label", kind)[places]
        weights["label"] = np.zeros(len(places), "float32")
        weights["label"][there] = class_weights(y["label"][places][there], how)
    if model is None:
        return weights["label"]
    weights["image"] = (units["n_images"].to_numpy()[places] > 0).astype("float32")
    return {name: weights.get(name, np.ones(len(places), "float32")) for name in model.output}


def rows_of(arrays, places):
    """Some rows of an array, or of each in a dict."""
    return {name: part[places] for name, part in arrays.items()} if isinstance(arrays, dict) else arrays[places]


def encode(labels, kind, outputs):
    """Targets as the loss wants them, float32.

    Parameters
    ----------
    labels : (n,) class names; for a multilabel head a (n, L) table of 0/1
    kind : str
        One of `models.HEADS`.
    outputs : list of str
        Names of the classes in order; for a binary head the last one is the positive class and any other
        label counts as negative.

    Returns
    -------
    (n, 1) for binary, one-hot (n, K) for multiclass and ordinal, (n, L) for multilabel
    """
    if kind == "multilabel":
        return np.asarray(labels, "float32")
    labels = pd.Series(labels).astype(str).to_numpy()
    if kind == "binary":
        return (labels == str(outputs[-1])).astype("float32")[:, None]
    places = pd.Index([str(name) for name in outputs]).get_indexer(labels)
    if (places < 0).any():
        raise ValueError(f"label {labels[places < 0][0]!r} in row {int(np.argmax(places < 0))} is not among "
                         f"the classes {', '.join(map(str, outputs))}")
    return np.eye(len(outputs), dtype="float32")[places]


def class_weights(y, how="balanced"):
    """Sample weights (n,) of mean 1: ``balanced`` gives every class the same sum, ``sqrt`` goes half-way,
    ``none`` is all ones, and so is any multilabel target, where a sample belongs to several classes."""
    powers = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}
    if how not in powers:
        raise ValueError(f"class_weights {how!r} is unknown; expected one of {', '.join(powers)}")
    y = np.asarray(y)
    code = y[:, 0].astype(int) if y.shape[1] == 1 else y.argmax(1)
    if y.shape[1] > 1 and not np.allclose(y.sum(1), 1):
        return np.ones(len(y), "float32")
    weight = (1 / np.maximum(np.bincount(code), 1)[code]) ** powers[how]
    return (weight / weight.mean()).astype("float32")


def schedule(learning_rate, steps, warmup=0.1):
    """Linear warm-up over the share `warmup` of all `steps`, then a half cosine to 0 (arXiv:1608.03983)."""
    first = max(1, int(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(learning_rate / 20, max(1, steps - first), alpha=0.0,
                                                  warmup_target=learning_rate, warmup_steps=first)


def auc_metric(kind, n_outputs):
    """Keras metric: AUC, macro one-vs-rest for more than one output."""
    several = kind != "binary"
    return keras.metrics.AUC(multi_label=several, num_labels=n_outputs if several else None, name="auc")


def check_memory(needed):
    """The estimated memory of training in bytes, if this machine has it; else a ValueError."""
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.9 * present:
        raise ValueError(f"training needs about {needed / 1e9:.1f} GB, this machine has {present / 1e9:.1f} GB: "
                         "lower batch_size or capacity, or prepare smaller images in 02")
    return needed


def bare(model, mirrored=False):
    """The network without optimiser and loss, as it is saved for later notebooks.

    With `mirrored` its output is the mean over an image and its mirror image, left and right exchanged; the network
    itself is then a layer of the saved one, under its own name.
    """
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    if not mirrored:
        return copy
    image = keras.Input(copy.input_shape[1:], name="image")
    return keras.Model(image, keras.layers.Average()([copy(image), copy(keras.ops.flip(image, -2))]))
