"""Fitting: the optimiser with its schedule, and a training that goes on where it was.

What a notebook does with Keras stays visible there: ``compile`` with this optimiser and a loss, then `fit` with a
`journal.Journal`.
"""

from medlab.networks.pipeline import keras
from medlab.networks.training import schedule

WEIGHT_DECAY = 0.02


def adamw(learning_rate: float, steps: int, *, warmup: float = 0.1, weight_decay: float = WEIGHT_DECAY,
          ema: float = 0.0, clipnorm: float | None = None) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with warm-up and half a cosine down to zero.

    Parameters
    ----------
    learning_rate : float
        Peak, after the share `warmup` of all `steps` (`training.schedule`).
    weight_decay : float
        Decoupled from the gradient.
    ema : float
        Momentum of the running average of the weights, which the journal judges and keeps; 0 is off.
    clipnorm : float, optional
        Longest gradient over all weights together.
    """
    return keras.optimizers.AdamW(schedule(learning_rate, steps, warmup), weight_decay=weight_decay, use_ema=ema > 0,
                                  ema_momentum=ema or 0.99, global_clipnorm=clipnorm)


def fit(model: keras.Model, book, stream, *, steps: int, validation=None, until: int | None = None) -> keras.Model:
    """Train from where the journal is, unless that training is finished; then the weights that it chose.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    book : journal.Journal
        Says how far a former training came, saves every epoch, chooses the epoch that is kept.
    stream : tf.data.Dataset
        Endless, made with ``first_epoch=book.epoch``, so that a resumed training sees what it would have seen.
    steps : int
        Batches in an epoch.
    validation : tf.data.Dataset, optional
        One pass; without it nothing but the last epoch can be chosen.
    until : int, optional
        Last epoch of this stage of a training in stages; default: of the training. Only the last stage chooses.

    Returns
    -------
    keras.Model
        The same one.
    """
    until = book.epochs if until is None else until
    if book.epoch < until and not book.stopped:
        model.fit(stream, steps_per_epoch=steps, initial_epoch=book.epoch, epochs=until, validation_data=validation,
                  callbacks=[book], shuffle=False, verbose=0)
    return book.finish(model) if until == book.epochs or book.stopped else model
