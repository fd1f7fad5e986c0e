"""Training: targets, schedule, the journal of a run (progress, checkpoint, resume), sanity gate, verdict."""

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import models, pipeline
from medlab.pipeline import keras, tf

# Everything in 03 that a saved state depends on.
PARAMETERS = ("seed", "network", "target", "head", "epochs", "batch_size", "learning_rate", "warmup", "weight_decay",
              "capacity", "attention", "dropout", "label_smoothing", "class_weights", "augmentation", "ema",
              "checkpoint", "patience", "backbone", "weights_file", "head_epochs")
METRICS = {"loss": np.less, "auc": np.greater, "last": None}


def outcome(table, facts, target="auto", head="auto"):
    """What is to be predicted: the kind of head and the names of its outputs.

    Parameters
    ----------
    table : DataFrame
        split.parquet.
    facts : dict
        dataset.json: ``classes``, ``positive``, ``card``.
    target, head : str
        The parameters; ``auto`` takes several ``label_*`` columns as multilabel, ordered classes as ordinal, a
        positive class (or just two classes, the second positive) as binary, the rest as multiclass.

    Returns
    -------
    (kind, outputs)
        For a binary head ``outputs`` is [name of the rest, positive class].
    """
    several = [name for name in table if name.startswith("label_")]
    if target not in ("auto", "label"):
        raise ValueError(f"target {target!r}: 03 trains networks for labels, expected auto or label")
    if "label" not in table and not several:
        raise ValueError("the cohort has neither a column label nor label_<name>: nothing to train here; survival "
                         "without a label is the work of 05")
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
        raise ValueError(f"label {labels[places < 0][0]!r} in row {int(np.argmax(places < 0))} is not among the "
                         f"classes {', '.join(map(str, outputs))}")
    return np.eye(len(outputs), dtype="float32")[places]


def class_weights(y, how="balanced"):
    """Sample weights (n,) of mean 1: ``balanced`` gives every class the same sum, ``sqrt`` goes half-way, ``none``
    is all ones, and so is any multilabel target, where a sample belongs to several classes."""
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
    """Linear warm-up over the first `warmup` of all `steps`, then a half cosine to zero (arXiv:1608.03983)."""
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
        raise ValueError(f"training needs about {needed / 1e9:.1f} GB, this machine has {present / 1e9:.1f} GB: "
                         "lower batch_size or capacity, or prepare smaller images in 02")
    return needed


def bare(model):
    """The network without optimiser and loss, as it is saved for later notebooks."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def key(parameters, *files):
    """Digest of everything a saved state depends on: parameters, files read, the code of the network and of the
    training. A state with another key is not continued."""
    digest = hashlib.blake2b(json.dumps(parameters, sort_keys=True, default=str).encode())
    for path in (*files, pipeline.__file__, models.__file__, __file__):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _say(text):
    print(text, file=sys.stderr, flush=True)


class Journal(keras.callbacks.Callback):
    """Keeps the books of a training: progress lines, history.csv, best weights, the state to resume from.

    Everything needed to go on is written after each epoch into one folder that replaces the former one by a
    rename, so that weights, best weights and history always belong together; a kill at any moment loses at most
    one epoch. With `ema` in the optimizer, validation and the best weights use the averaged weights.

    Parameters
    ----------
    folder : Path
        Run folder; the state lives in ``03_state`` there until `finish`.
    key : str
        See `key`.
    checkpoint : str
        ``loss`` (lowest validation loss), ``auc`` (highest validation AUC) or ``last``.
    patience : int
        Stop after so many epochs without improvement by that rule; 0 never.
    """

    def __init__(self, folder, key, *, epochs, n_images, checkpoint="loss", patience=0):
        super().__init__()
        if checkpoint not in METRICS:
            raise ValueError(f"checkpoint {checkpoint!r} is unknown; expected one of {', '.join(METRICS)}")
        self.folder, self.key, self.epochs, self.n_images = Path(folder), key, epochs, n_images
        self.checkpoint, self.patience = checkpoint, patience
        self.state, self.rows, self.note = self.folder / "03_state", [], ""
        self.epoch, self.best, self.stopped, self._pending = 0, None, False, False
        self._find()

    def _find(self):
        """Look for a state of this very training: the current one, or the former if a kill came between."""
        for place in (self.state, self.state.with_suffix(".former")):
            if not place.is_dir():
                continue
            try:
                facts = json.loads((place / "state.json").read_text())
                if facts["key"] != self.key:
                    self.note = "a state saved with other parameters, data or code was not used"
                    continue
                for name, digest in facts["files"].items():
                    if _digest(place / name) != digest:
                        raise ValueError(f"{name} is damaged")
                self.rows = pd.read_csv(place / "history.csv", float_precision="round_trip").to_dict("records")
                self.epoch, self.best, self._pending = facts["epoch"], facts["best"], True
                self.chance = facts["chance"]
                self.source, self.note = place, f"resumed after epoch {self.epoch}"
                return
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.note = f"the saved state was unusable ({type(error).__name__}: {error}); training starts anew"

    def on_train_begin(self, logs=None):
        if self._pending:
            self._pending = False
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.load_weights(self.source / "now.weights.h5")
            for chance, value in zip(self._chance(), self.chance, strict=True):
                chance.assign(value)
        if self.note:
            _say(self.note)
        self._averages = getattr(self.model.optimizer, "_model_variables_moving_average", None)
        self._averages = self._averages if self.model.optimizer.use_ema else None

    def _chance(self):
        """State of the random generators of dropout layers, which Keras leaves out of the weights."""
        return [layer.seed_generator.state for layer in self.model._flatten_layers()
                if hasattr(layer, "seed_generator")]

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise ValueError(f"the training loss became {logs['loss']} in epoch {self.epoch + 1}, batch {batch + 1}; "
                             "expected a finite number: lower learning_rate, or look for broken images in 01 and 02")

    def swap(self):
        """Exchange weights and their running averages."""
        for weight, average in zip(self.model.trainable_variables, self._averages or [], strict=False):
            value = tf.identity(weight.value)
            weight.assign(average.value)
            average.assign(value)

    def on_test_begin(self, logs=None):
        self.swap()

    def on_test_end(self, logs=None):
        self.swap()

    def better(self, logs):
        """Is this epoch the one to keep so far?"""
        value = logs.get(f"val_{self.checkpoint}")
        rule = METRICS[self.checkpoint]
        return rule is None or value is None or self.best is None or bool(rule(value, self.best["value"]))

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        self.epoch = epoch + 1
        row = {"epoch": self.epoch, **{name: float(value) for name, value in logs.items()}, "seconds": seconds,
               "images_per_second": self.n_images / seconds,
               "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))}
        self.rows.append(row)
        better = self.better(row)
        if better:
            self.best = {"epoch": self.epoch, "value": row.get(f"val_{self.checkpoint}", row["loss"])}
        self._save(better)
        _say(self.line(row))
        if self.patience and self.epoch - self.best["epoch"] >= self.patience:
            self.model.stop_training = self.stopped = True

    def line(self, row):
        """Progress of one epoch in one line."""
        values = "  ".join(f"{name} {row[name]:.4f}" for name in ("loss", "val_loss", "val_auc") if name in row)
        left = np.median([r["seconds"] for r in self.rows[-5:]]) * (self.epochs - self.epoch)
        return (f"epoch {self.epoch}/{self.epochs}  {values}  {row['seconds']:.1f} s  "
                f"{row['images_per_second']:.0f} images/s  about {left / 60:.1f} min left")

    def _save(self, better):
        fresh, former = self.state.with_suffix(".new"), self.state.with_suffix(".former")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        self.model.save_weights(fresh / "now.weights.h5")
        if better:
            self.swap()
            self.model.save_weights(fresh / "best.weights.h5")
            self.swap()
        else:
            os.link(self.state / "best.weights.h5", fresh / "best.weights.h5")
        self.history().to_csv(fresh / "history.csv", index=False)
        files = {path.name: _digest(path) for path in fresh.iterdir()}
        facts = {"key": self.key, "epoch": self.epoch, "best": self.best, "files": files,
                 "chance": [keras.ops.convert_to_numpy(state).tolist() for state in self._chance()]}
        (fresh / "state.json").write_text(json.dumps(facts))
        shutil.rmtree(former, ignore_errors=True)
        if self.state.exists():
            self.state.rename(former)
        fresh.rename(self.state)
        shutil.rmtree(former, ignore_errors=True)
        shutil.copy2(self.state / "history.csv", self.folder / "history.csv.new")
        os.replace(self.folder / "history.csv.new", self.folder / "history.csv")

    def history(self):
        """One row per epoch, earlier parts of a resumed training included."""
        return pd.DataFrame(self.rows)

    def finish(self, model):
        """Give `model` the weights chosen by the checkpoint rule and remove the state."""
        if self._pending:
            self.state = self.source
        if (self.state / "best.weights.h5").exists():
            model.load_weights(self.state / "best.weights.h5")
        for suffix in ("", ".new", ".former"):
            shutil.rmtree(self.folder / f"03_state{suffix}", ignore_errors=True)
        return model


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def sanity_gate(make, images, y, train, val, *, seed=0, learning_rate=2e-3, steps=60, most=96):
    """Can the network learn at all, and does it learn nothing where there is nothing to learn?

    Sixteen training images must be memorised. Then labels are permuted over training and validation together: a
    network trained on them must not know the permuted labels of the validation images, else these leak into
    training somewhere.

    Parameters
    ----------
    make : callable
        Returns a fresh network without dropout.
    images, y : arrays; train, val : positions

    Returns
    -------
    dict
        memorised (share of the 16), shuffled_auc, shuffled_limit, passed, sentence.
    """
    random = np.random.default_rng(seed)
    few = _varied(y, train, 16)
    batch = pipeline.read_rows(images, few).astype("float32")
    memorised = _memorise(make(), batch, y[few], learning_rate, steps)
    train, val = (np.sort(random.permutation(part)[:most]) for part in (train, val))
    both = np.concatenate([train, val])
    mixed = dict(zip(both, random.permutation(both), strict=True))
    y_train, y_val = (y[[mixed[place] for place in part]] for part in (train, val))
    model = make()
    model.compile(keras.optimizers.Adam(learning_rate), _loss_of(model))
    model.fit(pipeline.read_rows(images, train).astype("float32"), y_train, batch_size=32, epochs=2, verbose=0)
    scores = model.predict(pipeline.read_rows(images, val).astype("float32"), batch_size=32, verbose=0)
    auc, limit = _chance(y_val, scores)
    passed = bool(memorised >= 0.95 and (auc is None or abs(auc - 0.5) <= limit))
    chance = "too few images to tell" if auc is None else f"AUC {auc:.2f}, chance is 0.50 +- {limit:.2f}"
    return {"memorised": float(memorised), "shuffled_auc": auc, "shuffled_limit": limit, "passed": passed,
            "sentence": f"{memorised:.0%} of {len(few)} images memorised; shuffled labels: {chance}"}


def _varied(y, places, n):
    """Up to `n` of `places`, taking the target's values in turn."""
    order = pd.DataFrame(np.asarray(y)[places]).astype(str).agg("".join, axis=1)
    turn = order.groupby(order).cumcount().to_numpy()
    return np.sort(np.asarray(places)[np.argsort(turn, kind="stable")[:n]])


def _loss_of(model):
    if model.output_shape[-1] == 1:
        return models.loss("binary")
    return models.loss("multiclass" if _sums_to_one(model) else "multilabel")


def _sums_to_one(model):
    last = model.layers[-1]
    return isinstance(last, models.CumulativeLink) or last.activation is keras.activations.softmax


def _right(y, p):
    return ((p > 0.5) == (y > 0.5)).all(1) if p.shape[1] == 1 else (p.argmax(1) == y.argmax(1))


def _memorise(model, batch, y, learning_rate, steps):
    model.compile(keras.optimizers.Adam(learning_rate), _loss_of(model))
    for step in range(steps):
        model.train_on_batch(batch, y)
        if step % 5 == 4 and _right(y, keras.ops.convert_to_numpy(model(batch, training=True))).all():
            return 1.0
    return _right(y, keras.ops.convert_to_numpy(model(batch, training=True))).mean()


def _chance(y, p):
    """Mean one-vs-rest AUC and 3.3 standard errors of it under chance (Hanley and McNeil 1982)."""
    from sklearn.metrics import roc_auc_score

    usable = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
    if not usable:
        return None, None
    auc = float(np.mean([roc_auc_score(y[:, k], p[:, k]) for k in usable]))
    positive = y[:, usable].sum(0)
    error = np.sqrt((len(y) + 1) / (12 * positive * (len(y) - positive)))
    return auc, float(min(0.5, 3.3 * error.mean()))


def verdict(history, best_epoch):
    """What the learning curves say, and what to try next.

    Parameters
    ----------
    history : DataFrame
        Columns epoch, loss, val_loss and, if there, val_auc.

    Returns
    -------
    dict
        verdict (``overfitting``, ``still improving``, ``not learning``, ``fits``, ``no validation``), sentence, remedy.
    """
    if "val_loss" not in history:
        return {"verdict": "no validation", "sentence": "There was no validation part to judge by.", "remedy": ""}
    smooth = history[["loss", "val_loss"]].rolling(3, min_periods=1, center=True).mean()
    best, end = smooth.loc[history["epoch"].eq(best_epoch).idxmax()], smooth.iloc[-1]
    lowest = smooth["val_loss"].min()
    if history.get("val_auc", pd.Series([1.0])).max() < 0.6:
        return {"verdict": "not learning",
                "sentence": f"The validation AUC never passed {history['val_auc'].max():.2f}.",
                "remedy": "more epochs, a higher learning_rate or capacity; look at the prepared images in 02"}
    if end["val_loss"] > 1.1 * lowest and end["loss"] < best["loss"]:
        return {"verdict": "overfitting",
                "sentence": f"The validation loss rose from {lowest:.3f} to {end['val_loss']:.3f} while the training "
                            f"loss fell to {end['loss']:.3f}; the weights of epoch {best_epoch} are kept.",
                "remedy": "smaller capacity, stronger augmentation, more dropout or weight_decay, fewer epochs"}
    if best_epoch >= 0.95 * len(history) and end["val_loss"] < 0.97 * smooth["val_loss"].iloc[-len(history) // 5 - 1]:
        return {"verdict": "still improving",
                "sentence": f"The validation loss was still falling at the end ({end['val_loss']:.3f}).",
                "remedy": "more epochs or a higher learning_rate"}
    return {"verdict": "fits", "sentence": f"Training ({end['loss']:.3f}) and validation loss ({end['val_loss']:.3f}) "
                                           "settled together.", "remedy": "none needed; more data would help most"}
