"""Training: what is learnt, targets, losses, weights, schedule, memory, the network as it is saved."""

import os
from collections.abc import Iterator

import numpy as np
import pandas as pd

from medlab.networks import fusion, losses, models, outcomes
from medlab.networks.pipeline import keras

SURVIVAL_HEADS, INTERVALS = ("cox", "hazard"), 12  # intervals of discrete time at most
RULES = {"loss": "lowest validation loss", "auc": "highest validation {}", "last": "last epoch"}


def known(units, what, kind=None) -> np.ndarray:
    """Which units have an outcome, (m,) bool: a label on an image, or a time and whether the event was seen; of a list
    of outcomes any."""
    if not isinstance(what, str):
        return np.any([known(units, one, kind) for one in what], axis=0)
    if what == "survival":
        return (units["time_days"].notna() & units["event"].notna()).to_numpy()
    labels = units.filter(regex="^label_").notna().all(axis=1) if kind == "multilabel" else units["label"].notna()
    return (labels & (units["n_images"] > 0)).to_numpy()


def targets(units, what, kind=None, outputs=()) -> dict:
    """Outcomes as the losses want them: ``label`` as `encode`, ``survival`` (m, 2) of time in days and event.

    Unknown follow-up is (0, 0): in no risk set, so it counts for nothing. An unknown label is the first class; it
    needs a sample weight of 0 (`sample_weights`).
    """
    found = {}
    if "label" in what:
        there = known(units, "label", kind)
        labels = units.filter(regex="^label_") if kind == "multilabel" else units["label"]
        found["label"] = outcomes.encode(labels.where(there, outputs[0] if kind != "multilabel" else 0), kind, outputs)
    if "survival" in what:
        there = known(units, "survival")
        pairs = units[["time_days", "event"]].astype(float).where(np.c_[there, there], 0)
        found["survival"] = pairs.to_numpy("float32")
    return found


def counts(y, parts, kind=None, outputs=()) -> pd.DataFrame:
    """How often each outcome occurs: labels by name, patients with an event and censored.

    Parameters
    ----------
    y : dict of `targets`
    parts : dict of name to positions, a column each
    kind, outputs : see `outcome`
    """
    def column(places):
        found = {}
        if "label" in y:
            names = outputs[1:] if kind == "binary" else outputs
            found |= dict(zip(names, y["label"][places].sum(0).astype(int), strict=True))
        if "survival" in y:
            time, event = y["survival"][places].T
            found |= {"event seen": int(event.sum()), "censored": int(((event == 0) & (time > 0)).sum())}
        return found

    return pd.DataFrame({name: column(places) for name, places in parts.items()})


def cuts(y, survival_head) -> np.ndarray | None:
    """Edges of the intervals of a discrete-time head (K + 1,), by `losses.cuts`; None for a Cox loss or no survival.

    Parameters
    ----------
    y : dict of `targets`, of the training units
    survival_head : str
        ``cox`` or ``hazard``.
    """
    if survival_head not in SURVIVAL_HEADS:
        raise ValueError(f"survival_head {survival_head!r} is unknown; expected one of {', '.join(SURVIVAL_HEADS)}")
    return losses.cuts(*y["survival"].T, INTERVALS) if "survival" in y and survival_head == "hazard" else None


def main_output(model) -> str:
    """Name of the output that decides about epochs and risk groups: fused, else image, table, radiomics, label."""
    return next(name for name in ("fused", "image", "table", "radiomics", "label") if name in model.output)


def gated_output(model) -> str | None:
    """Output of a network that has something to learn by heart; None for a ridge Cox model."""
    linear = all(layer.name.rpartition("_")[2] not in ("network", "risk", "together") or not layer.trainable_weights
                 for layer in model.layers if isinstance(layer, keras.layers.Dense))
    main = main_output(model)
    return "image" if "image" in model.output else None if linear and main != "label" else main


def rank_of(model) -> str:
    """Name in the history of the metric of the main output, a C or the AUC of the label; Keras leaves the name of the
    output out where there is one only."""
    main = main_output(model)
    name = "auc" if main == "label" else "c"
    return f"{main}_{name}" if len(model.output) > 1 else name


def outcome_of(output) -> str:
    """Which of the outcomes of `targets` an output learns."""
    return "label" if output == "label" else "survival"


def loss_of(output, kind=None, cuts=None, label_smoothing=0.0) -> keras.losses.Loss:
    """Loss of an output: cross-entropy of a label, Cox, or discrete time where there are cuts."""
    if output == "label":
        return models.loss(kind, label_smoothing)
    return losses.cox() if cuts is None else losses.hazard(cuts)


def metric_of(output, kind=None, n_outputs=1) -> keras.metrics.Metric:
    """Metric of an output: AUC of a label, concordance of a risk. To be weighted: unknown outcomes are left out."""
    return auc_metric(kind, n_outputs) if output == "label" else losses.Concordance(name="c")


def sample_weights(units, y, model, places, kind=None, how="none") -> dict:
    """Sample weights of some units for each output, (n,): of a label by `class_weights`, 0 where it is unknown; of the
    risk of images 0 where there is none.

    Parameters
    ----------
    units, y, places : of `fusion.units`, of `targets`, positions
    kind, how : see `outcome` and `class_weights`
    """
    weights = {name: np.ones(len(places), "float32") for name in model.output}
    if "label" in weights:
        there = known(units, "label", kind)[places]
        weights["label"] = np.zeros(len(places), "float32")
        weights["label"][there] = class_weights(y["label"][places][there], how)
    if "image" in weights:
        weights["image"] = (units["n_images"].to_numpy()[places] > 0).astype("float32")
    return weights


def has_events(y, places) -> bool:
    """Can these units judge a network? For survival somebody must have had the event."""
    return bool(len(places) and ("survival" not in y or y["survival"][places, 1].any()))


def rows_of(arrays, places) -> dict | np.ndarray | None:
    """Some rows of an array, or of each in a dict, of dicts too; None stays None."""
    if isinstance(arrays, dict):
        return {name: rows_of(part, places) for name, part in arrays.items()}
    return None if arrays is None else arrays[places]


def check_mixup(policy, wanted) -> None:
    """Refuse a policy that mixes units where survival is learnt: a time and an event cannot be averaged."""
    if "survival" in wanted and policy.get("mixup"):
        raise ValueError("mixup is for a label alone: set target to label, or leave it out")


def check_mirrored(mirrored, policy, wanted) -> None:
    """Refuse to save the mean over an image and its mirror image where the network has not been trained for it."""
    if mirrored and "l" not in policy.get("flip", ""):
        raise ValueError("mirrored needs an augmentation that flips left and right (flip=l); this policy does not")
    if mirrored and "survival" in wanted:
        raise ValueError("mirrored is for a label alone: set target to label, or leave it out")


def phases(model, epochs, book) -> Iterator:
    """(first epoch, end, is a backbone frozen) of what is left to train.

    A pretrained backbone is frozen for a quarter of the epochs, so that a head that knows nothing yet does not spoil
    it; everything else has one phase. `book` : `journal.Journal`, asked before each phase.
    """
    pretrained = any(layer.name == "backbone" for layer in models.layers_within(model))
    first = epochs // 4 if pretrained else 0
    for begin, end, frozen in ((0, first, True), (first, epochs, False)):
        if book.epoch < end and not book.stopped:
            yield begin, end, frozen


def settle(model, batches) -> None:
    """Make the state of the losses and metrics of a compiled network by one batch: without it Keras makes them in the
    first step, and has to trace that twice (seconds).

    Parameters
    ----------
    batches : tf.data.Dataset
        Of (x, y, weights); nothing is learnt from it.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(next(iter(batches.take(1))))
    found = model(x)
    model.compute_loss(x, y, found, weights)
    model.compute_metrics(x, y, found, weights)
    model.reset_metrics()


def undecayed(model) -> list:
    """Names of the weights that AdamW must not decay: the biases of a network with risks are levels of hazards."""
    return [] if main_output(model) == "label" else ["bias"]


def rule(checkpoint, model) -> str:
    """Which epoch is kept, in words."""
    label = main_output(model) == "label"
    several = ", sum of all outputs" if checkpoint == "loss" and not label else ""
    return RULES[checkpoint].format("AUC" if label else "C") + several


def class_weights(y, how="balanced") -> np.ndarray:
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


def schedule(learning_rate, steps, warmup=0.1) -> keras.optimizers.schedules.CosineDecay:
    """Linear warm-up over the share `warmup` of all `steps`, then a half cosine to 0 (arXiv:1608.03983)."""
    first = max(1, int(warmup * steps))
    return keras.optimizers.schedules.CosineDecay(learning_rate / 20, max(1, steps - first), alpha=0.0,
                                                  warmup_target=learning_rate, warmup_steps=first)


def auc_metric(kind, n_outputs) -> keras.metrics.AUC:
    """Keras metric: AUC, macro one-vs-rest for more than one output."""
    several = kind != "binary"
    return keras.metrics.AUC(multi_label=several, num_labels=n_outputs if several else None, name="auc")


def size(model, batch_size) -> dict:
    """What a network takes and gives and what it costs, in words, before any image is loaded; see `check_memory`."""
    image = model.input.get("image")
    needed = check_memory(fusion.memory_bytes(model, batch_size))
    return {"input": "table" if image is None else " x ".join(map(str, image.shape[2:])),
            "outputs": ", ".join(model.output), "parameters": f"{model.count_params():,}",
            "FLOPs per image": f"{models.flops(model) / 1e6:.1f} million",
            "memory": f"{needed / 1e9:.2f} GB for batches of {batch_size}"}


def check_memory(needed) -> int:
    """The estimated memory of training in bytes, if this machine has it; else a ValueError."""
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.9 * present:
        raise ValueError(f"training needs about {needed / 1e9:.1f} GB, this machine has {present / 1e9:.1f} GB: "
                         "lower batch_size or capacity, or prepare smaller images in 02")
    return needed


def bare(model, mirrored=False) -> keras.Model:
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
