"""Diagnosis: can the network learn at all, does the answer leak in, what do the learning curves say?"""

import numpy as np
import pandas as pd

from medlab.networks import curves, fusion, models
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
    time, event = np.asarray(y).T
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


def guessing(y, output, most=400) -> float | None:
    """Rank (AUC, or C) that 19 of 20 networks which know nothing stay below on these outcomes; None for too few.

    Parameters
    ----------
    y : (n, columns) outcomes of one output, of validation, unknown ones left out
    output : name of the output; of all but ``label`` y is time and event
    """
    y, random = np.asarray(y), np.random.default_rng(0)
    few = y[random.permutation(len(y))[:most]]
    chance, columns = (chance_of_auc, few.shape[1]) if output == "label" else (_chance_of_c, 1)
    _, limit = chance(few, random.random((len(few), columns)))
    return None if limit is None else float(0.5 + limit / 2 * np.sqrt(len(few) / len(y)))  # 3.3 / 2 = 1.65


def verdict(history, best_epoch, loss="loss", rank=None, limit=None) -> dict:
    """What the learning curves of one output say, and what to try next.

    Curves are smoothed over three epochs. Rises and falls of the validation loss are shares of its whole fall, since
    the height of a Cox loss means nothing.

    Parameters
    ----------
    history : DataFrame
        `journal.Journal.history`: epoch, and of training and validation (``val_``) the columns that are named here.
    best_epoch : number of the epoch that is kept
    loss : str
        Column of the loss of the output.
    rank : str, optional
        Column of its AUC or C.
    limit : float, optional
        What guessing reaches, of `guessing`.

    Returns
    -------
    dict
        verdict (``no validation``, ``not learning``, ``too short``, ``memorises``, ``still improving``, ``fits``),
        sentence, remedy.
    """
    if f"val_{loss}" not in history:
        return _verdict("no validation", "There was no validation part to judge by.", "")
    kept = history.loc[history["epoch"].eq(best_epoch)].iloc[0].get(f"val_{rank}")
    if kept is not None and limit is not None and kept <= limit:
        return _verdict("not learning", f"On validation the kept epoch ranks with {kept:.2f}; guessing reaches up to "
                        f"{limit:.2f} with so few cases.", "more epochs, a higher learning_rate or capacity; look at "
                        "the prepared images in 02; more patients")
    if len(history) < 5:
        return _verdict("too short", f"{len(history)} epochs have no course that could be judged.", "more epochs")
    smooth = history[[loss, f"val_{loss}"]].rolling(3, min_periods=1, center=True).mean().to_numpy()
    (_, start), (train_end, end), lowest = smooth[0], smooth[-1], smooth[:, 1].argmin()
    train_lowest, least = smooth[lowest]
    fall, bends = max(start - least, 0), np.abs(np.diff(history[f"val_{loss}"], 2))
    noise = 0.6 * np.median(bends)  # the standard deviation of an epoch, whatever the slope: 1.48 / sqrt(6)
    if end - least > 0.25 * fall + 2 * noise and train_end < train_lowest:
        return _verdict("memorises", f"The validation loss rose from {least:.3f} (epoch {lowest + 1}) to {end:.3f} "
                        f"while the training loss fell to {train_end:.3f}; epoch {best_epoch} is kept.",
                        "smaller capacity, stronger augmentation, more dropout or weight_decay, fewer epochs")
    before = smooth[-max(2, len(smooth) // 5) - 1, 1]
    if before - end > 0.05 * fall + noise / 2:
        return _verdict("still improving", f"The validation loss was still falling in the last epochs ({before:.3f} to "
                        f"{end:.3f}).", "more epochs or a higher learning_rate")
    return _verdict("fits", f"Training ({train_end:.3f}) and validation loss ({end:.3f}) settled.",
                    "none needed; more data would help most")


def verdicts(history, best_epoch, limits) -> dict[str, dict]:
    """`verdict` of each output that learns in the epochs, by its name; a risk that was fitted before is left out.

    Parameters
    ----------
    limits : dict of str to float or None
        `guessing` of every output of the network.
    """
    columns, found = curve_columns(history, limits), {}
    for name, (loss, rank) in columns.items():
        if f"val_{loss}" not in history or history[f"val_{loss}"].nunique() > 1 or len(history) == 1:
            found[name] = verdict(history, best_epoch, loss, rank, limits[name])
    return found


def curve_columns(history, outputs) -> dict[str, tuple[str, str]]:
    """Columns of `history` with the loss and the rank of each output; Keras leaves out the name of a single one."""
    prefix = {name: f"{name}_" if f"{name}_loss" in history else "" for name in outputs}
    return {name: (f"{prefix[name]}loss", prefix[name] + ("auc" if name == "label" else "c")) for name in outputs}


def verdicts_in_words(found) -> list[str]:
    """A line for each output of `verdicts`: what its curves say, and what to try."""
    return [f"{'Class' if name == 'label' else f'Survival, {name}'}: {one['verdict']}. {one['sentence']}"
            + (f" Remedy: {one['remedy']}." if one["remedy"] else "") for name, one in found.items()]


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
    values = "".join(f", {curves.in_words(name)} {value:.3f}" for name, value in values.items())
    return f"epoch {best} of {len(history)} ({rule}){values}"


def last_in_words(history, loss="loss") -> str:
    """Why the last epoch is kept, and where the validation loss was lowest, as far as there is a validation part."""
    kept = (f"Kept: epoch {len(history)}, the last one: there the learning rate has come down to 0, and the weights "
            "are a running average.")
    if f"val_{loss}" not in history:
        return kept
    values = history[f"val_{loss}"]
    return kept + (f" Its validation loss is {values.iloc[-1]:.3f}; the lowest was {values.min():.3f} in epoch "
                   f"{values.idxmin() + 1}. On validation: {verdict(history, len(history), loss)['verdict']}.")


def gate_in_words(sanity) -> str:
    """The result of `sanity_gate` in a sentence."""
    return f"Sanity gate {({True: 'passed', False: 'FAILED', None: ''}[sanity['passed']])} - {sanity['sentence']}"
