"""Diagnosis: can the network learn at all, does the answer leak in, what do the learning curves say?"""

import numpy as np
import pandas as pd

from medlab import models, pipeline
from medlab.pipeline import keras


def sanity_gate(make, images, y, train, val, *, seed=0, learning_rate=2e-3, steps=60, most=96):
    """Can the network learn at all, and does it learn nothing where there is nothing to learn?

    Sixteen training images must be memorised. Then labels are permuted over training and validation together:
    a network trained on them must not know the permuted labels of the validation images, else these leak into
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
    x_train, x_val = (pipeline.read_rows(images, part).astype("float32") for part in (train, val))
    model.fit(x_train, y_train, batch_size=32, epochs=2, verbose=0)
    scores = model.predict(x_val, batch_size=32, verbose=0)
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
    limit = float(3.3 * error.mean())
    return (auc, limit) if limit < 0.4 else (None, None)  # wider than that says nothing


def verdict(history, best_epoch):
    """What the learning curves say, and what to try next.

    Parameters
    ----------
    history : DataFrame
        Columns epoch, loss, val_loss and, if there, val_auc.

    Returns
    -------
    dict
        verdict (``overfitting``, ``still improving``, ``not learning``, ``fits``, ``no validation``), sentence,
        remedy.
    """
    if "val_loss" not in history:
        return _verdict("no validation", "There was no validation part to judge by.", "")
    smooth = history[["loss", "val_loss"]].rolling(3, min_periods=1, center=True).mean()
    best, end = smooth.loc[history["epoch"].eq(best_epoch).idxmax()], smooth.iloc[-1]
    lowest = smooth["val_loss"].min()
    kept = history.loc[history["epoch"].eq(best_epoch)].iloc[0].get("val_auc", 1.0)
    if kept < 0.6:
        return _verdict("not learning", f"The validation AUC of the kept epoch is {kept:.2f}, near chance.",
                        "more epochs, a higher learning_rate or capacity; look at the prepared images in 02")
    if end["val_loss"] > 1.1 * lowest + 0.01 and end["loss"] < best["loss"]:
        return _verdict("overfitting", f"The validation loss rose from {lowest:.3f} to {end['val_loss']:.3f} while "
                        f"the training loss fell to {end['loss']:.3f}; epoch {best_epoch} is kept.",
                        "smaller capacity, stronger augmentation, more dropout or weight_decay, fewer epochs")
    before = smooth["val_loss"].iloc[-(len(history) // 5) - 1]
    if best_epoch >= 0.95 * len(history) and end["val_loss"] < 0.97 * before:
        return _verdict("still improving", f"The validation loss was still falling ({end['val_loss']:.3f}).",
                        "more epochs or a higher learning_rate")
    return _verdict("fits", f"Training ({end['loss']:.3f}) and validation loss ({end['val_loss']:.3f}) settled "
                    "together.", "none needed; more data would help most")


def _verdict(verdict, sentence, remedy):
    return {"verdict": verdict, "sentence": sentence, "remedy": remedy}
