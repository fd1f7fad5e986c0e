"""Training: what is predicted, targets, class weights, schedule, memory."""

import os

import numpy as np
import pandas as pd

from medlab import models
from medlab.pipeline import keras


def outcome(table, facts, target="auto", head="auto"):
    """What is to be predicted: the kind of head and the names of its outputs.

    Parameters
    ----------
    table : DataFrame
        split.parquet.
    facts : dict
        dataset.json: ``classes``, ``positive``, ``card``.
    target, head : str
        The parameters; ``auto`` takes several ``label_*`` columns as multilabel, ordered classes as ordinal,
        a positive class (or just two classes, the second positive) as binary, the rest as multiclass.

    Returns
    -------
    (kind, outputs)
        For a binary head ``outputs`` is [name of the rest, positive class].
    """
    several = [name for name in table if name.startswith("label_")]
    if target not in ("auto", "label"):
        raise ValueError(f"target {target!r}: 03 trains networks for labels, expected auto or label")
    if "label" not in table and not several:
        raise ValueError("the cohort has neither a column label nor label_<name>: nothing to train here; "
                         "survival without a label is the work of 05")
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


def check_memory(model, batch_size):
    """Estimated memory of training in bytes; a ValueError if this machine has less."""
    needed = models.memory_bytes(model, batch_size)
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.9 * present:
        raise ValueError(f"training needs about {needed / 1e9:.1f} GB, this machine has "
                         f"{present / 1e9:.1f} GB: lower batch_size or capacity, or prepare smaller images in 02")
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
