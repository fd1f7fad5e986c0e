"""Diagnosis: can the network learn at all, does the answer leak in, what do the learning curves say?"""

import numpy as np
import pandas as pd

from medlab.networks import fusion, models
from medlab.networks.pipeline import keras


def sanity_gate(make, read, y, train, val, *, main=None, loss=None, seed=0, learning_rate=2e-3, steps=60, most=96):
    """Can the network learn at all, and does it learn nothing where there is nothing to learn?

    Sixteen training examples must be memorised. Then outcomes are permuted over training and validation together:
    a network trained on them must not know the permuted outcomes of validation, else these leak into training
    somewhere.

    Parameters
    ----------
    make : callable
        Returns a fresh network without dropout.
    read : callable
        From positions to what the network gets.
    y : (n, columns) outcomes; train, val : positions
    main : str, optional
        The survival output that is looked at, with its `loss`; y is then time and event.

    Returns
    -------
    dict
        memorised (share of the 16; of their pairs for survival), shuffled_rank, shuffled_limit, passed, sentence.
    """
    def network():
        model = make()
        model = keras.Model(model.input, model.output[main]) if main else model
        model.compile(keras.optimizers.Adam(learning_rate), loss or _loss_of(model))
        model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
        return model

    right, chance = (_ordered, _chance_of_c) if main else (_right, chance_of_auc)
    random, few = np.random.default_rng(seed), _varied(y[:, -1:] if main else y, train, 16)
    memorised = float(np.mean(_memorise(network(), read(few), y[few], right, steps)))
    train, val = (np.sort(random.permutation(part)[:most]) for part in (train, val))
    both = np.concatenate([train, val])
    mixed = dict(zip(both, random.permutation(both), strict=True))
    y_train, y_val = (y[[mixed[place] for place in part]] for part in (train, val))
    model = network()
    model.fit(read(train), y_train, batch_size=32, epochs=2, verbose=0)
    rank, limit = chance(y_val, model.predict(read(val), batch_size=32, verbose=0)) if len(val) else (None, None)
    passed = bool(memorised >= 0.95 and (rank is None or abs(rank - 0.5) <= limit))
    said = ("too few to tell" if rank is None else
            f"{'C' if main else 'AUC'} {rank:.2f}, chance is 0.50 +- {limit:.2f}")
    return {"memorised": memorised, "shuffled_rank": rank, "shuffled_limit": limit, "passed": passed,
            "sentence": f"{memorised:.0%} of {len(few)} examples memorised; shuffled outcomes: {said}"}


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


def _ordered(y, risk):
    """Which comparable pairs of (time, event) stand in the right order."""
    time, event = y.T
    first, second = np.nonzero((event[:, None] > 0) & (time[:, None] < time))
    risk = fusion.log_risk(risk)
    return risk[first] > risk[second] if len(first) else np.ones(1, bool)


def _memorise(model, batch, y, right, steps):
    for step in range(steps):
        model.train_on_batch(batch, y)
        if step % 5 == 4 and right(y, keras.ops.convert_to_numpy(model(batch, training=True))).all():
            break
    return right(y, keras.ops.convert_to_numpy(model(batch, training=True)))


def _chance_of_c(y, risk, n=200):
    """C, and 3.3 standard deviations of it over permutations of the outcomes."""
    if y[:, 1].sum() < 5:
        return None, None
    random = np.random.default_rng(0)
    limit = 3.3 * np.std([_ordered(random.permutation(y), risk).mean() for _ in range(n)])
    return (float(_ordered(y, risk).mean()), float(limit)) if limit < 0.4 else (None, None)  # wider says nothing


def chance_of_auc(y, p):
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


def verdict(history, best_epoch, rank="auc"):
    """What the learning curves say, and what to try next.

    Parameters
    ----------
    history : DataFrame
        Columns epoch, loss, val_loss and, if there, `rank` of validation.
    rank : str
        ``auc``, or the C of an output of a survival network.

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
    kept = history.loc[history["epoch"].eq(best_epoch)].iloc[0].get(f"val_{rank}", 1.0)
    name, least = ("AUC", 0.6) if rank == "auc" else ("C", 0.55)
    if kept < least:
        return _verdict("not learning", f"The validation {name} of the kept epoch is {kept:.2f}, near chance.",
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
