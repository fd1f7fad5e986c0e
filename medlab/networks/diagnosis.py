"""Diagnosis: can the network learn at all, does the answer leak in, what do the learning curves say?"""

import numpy as np
import pandas as pd

from medlab.networks import fusion, models
from medlab.networks.pipeline import keras


def sanity_gate(make, read, y, train, val, *, output, loss, seed=0, learning_rate=2e-3, steps=60, most=96) -> dict:
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
    y : (n, columns) outcomes of that output; train, val : positions
    output : str or None
        The output that is looked at, with its `loss`; of all but ``label`` y is time and event. None: there is nothing
        to look at, see `training.gated_output`.

    Returns
    -------
    dict
        memorised (share of the 16; of their pairs for survival), shuffled_rank, shuffled_limit, passed, sentence.
    """
    if output is None:
        return {"passed": None, "sentence": "a ridge Cox model, there is nothing to memorise"}

    def network():
        model = make()
        model = keras.Model(model.input, model.output[output])
        model.compile(keras.optimizers.Adam(learning_rate), loss)
        model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
        return model

    label = output == "label"
    right, chance = (_right, chance_of_auc) if label else (_ordered, _chance_of_c)
    random, few = np.random.default_rng(seed), _varied(y if label else y[:, -1:], train, 16)
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
            f"{'AUC' if label else 'C'} {rank:.2f}, chance is 0.50 +- {limit:.2f}")
    return {"memorised": memorised, "shuffled_rank": rank, "shuffled_limit": limit, "passed": passed,
            "sentence": f"{memorised:.0%} of {len(few)} examples memorised; shuffled outcomes: {said}"}


def _varied(y, places, n):
    """Up to `n` of `places`, taking the target's values in turn."""
    order = pd.DataFrame(np.asarray(y)[places]).astype(str).agg("".join, axis=1)
    turn = order.groupby(order).cumcount().to_numpy()
    return np.sort(np.asarray(places)[np.argsort(turn, kind="stable")[:n]])


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


def chance_of_auc(y, p) -> tuple[float, float] | tuple[None, None]:
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


def verdict(history, best_epoch, rank="auc") -> dict:
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


def cost(model, history, best) -> dict:
    """What a training cost, in words: parameters, operations, epochs, seconds.

    Parameters
    ----------
    history : DataFrame
        `journal.Journal.history`: a row per epoch with seconds and images_per_second.
    best : number of the epoch that is kept
    """
    typical = history.iloc[1:] if len(history) > 1 else history  # the first epoch also builds the graph
    return {"parameters": f"{model.count_params():,}", "FLOPs per image": f"{models.flops(model) / 1e6:,.1f} million",
            "epochs": f"{len(history)}, kept the one of number {best}",
            "time": f"{history['seconds'].sum():.0f} s, {typical['seconds'].median():.1f} s per epoch",
            "images per second": f"{typical['images_per_second'].median():.0f}"}


def kept_in_words(history, best, rule, rank) -> str:
    """Which epoch is kept, by which rule, with its validation loss and rank, as far as there is a validation part."""
    names = [name for name in ("val_loss", f"val_{rank}") if name in history]
    values = history.iloc[best - 1][names].dropna()  # no rank where validation has one class or no pair
    values = "".join(f", {name} {value:.3f}" for name, value in values.items())
    return f"epoch {best} of {len(history)} ({rule}){values}"


def gate_in_words(sanity) -> str:
    """The result of `sanity_gate` in a sentence."""
    return f"Sanity gate {({True: 'passed', False: 'FAILED', None: ''}[sanity['passed']])} - {sanity['sentence']}"
