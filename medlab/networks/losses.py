"""Survival losses for Keras: Cox partial likelihood and discrete-time hazards, and the concordance as a metric.

Written in ``keras.ops`` alone, so that ``compile`` and ``fit`` stay visible and the code does not depend on the
backend. Targets are (b, 2): follow-up in any unit of time and event (1 seen, 0 censored); a third column numbers
the stratum where `Cox` is told so. **(0, 0) codes unknown follow-up**: such a patient is in no risk set and takes
no part in any mean, so that a network with several outputs can learn from patients without it. A higher risk is
worse, everywhere.
"""

import numpy as np

from medlab.networks.pipeline import keras

ops = keras.ops
NOTHING = -1e30  # log of zero; finite, because inf - inf is NaN
TIES = ("efron", "breslow")


def _known(y_true):
    """Rows with follow-up (b,); an event at time 0 is follow-up, (0, 0) is not."""
    return ops.logical_or(y_true[:, 0] > 0, y_true[:, 1] > 0.5)


def _running(x, start):
    """Running logarithm of the sum of exp(x), beginning anew where `start`.

    Doubling steps (Hillis and Steele 1986, doi:10.1145/7902.7903) in a loop rather than `ops.associative_scan`,
    whose recursion has to be unrolled 48 levels deep when the batch size is unknown inside ``fit``.
    """
    n = ops.shape(x)[0]
    place = ops.arange(n)

    def double(step, x, done):
        before, inside = ops.maximum(place - step, 0), place >= step
        more = ops.logical_and(inside, ops.logical_not(done))
        x = ops.where(more, ops.logaddexp(x, ops.take(x, before)), x)
        return 2 * step, x, ops.logical_or(done, ops.logical_and(inside, ops.take(done, before)))

    first = ops.convert_to_tensor(1, place.dtype)
    return ops.while_loop(lambda step, x, done: step < n, double, (first, x, start))[1]


def _changes(x):
    """True where a sorted vector has another value than one row before; also in row 0."""
    return ops.concatenate([ops.ones_like(x[:1], "bool"), x[1:] != x[:-1]])


def _order(time, stratum):
    """Rows by stratum, within a stratum from the longest follow-up to the shortest."""
    order = ops.argsort(-time)
    return order if stratum is None else ops.take(order, ops.argsort(ops.take(stratum, order)))


def _shares(event, first, last):
    """Efron's l / d: of d events at one time, the l-th has the share l/d (l from 0) of all d leave its risk set."""
    count = ops.cumsum(ops.cast(event, "int32"))
    earlier = ops.take(count - ops.cast(event, "int32"), first)
    size = ops.maximum(ops.take(count, last) - earlier, 1)
    return ops.where(event, (count - 1 - earlier) / size, 0)


def _partial_likelihood(risk, time, event, stratum, efron):
    """Negative log partial likelihood of rows in `_order`, and its gradient (n,) with respect to `risk`.

    Both by running sums of exponentials in logarithms. With R the sum over a risk set, T the sum over the d events
    of one time, the l-th of them has the denominator R - l/d T (Efron 1977, doi:10.1080/01621459.1977.10480613);
    Breslow's is R. A risk enters the denominators of all events at its own time and before.
    """
    new = starts = _changes(time)
    if stratum is None:
        starts = ops.arange(ops.shape(time)[0]) == 0
    else:
        starts = _changes(stratum)
        new = ops.logical_or(new, starts)
    group = ops.cumsum(ops.cast(new, "int32"))
    first, last = (ops.searchsorted(group, group, side=side) for side in ("left", "right"))
    last = last - 1
    denominator = ops.take(_running(risk, starts), last)
    share = ops.cast(_shares(event, first, last), risk.dtype) if efron else ops.zeros_like(risk)
    if efron:
        tied = ops.take(_running(ops.where(event, risk, NOTHING), new), last)
        denominator += ops.log1p(-share * ops.exp(ops.minimum(tied - denominator, 0)))
    ends = ops.flip(ops.concatenate([starts[1:], ops.ones_like(starts[:1])]))
    inverse = ops.where(event, -denominator, NOTHING)
    gradient = ops.exp(risk + ops.take(ops.flip(_running(ops.flip(inverse), ends)), first))
    if efron:
        spared = ops.where(share > 0, inverse + ops.log(ops.maximum(share, 1e-30)), NOTHING)
        gradient -= ops.where(event, ops.exp(risk + ops.take(_running(spared, new), last)), 0)
    value = ops.sum(ops.where(event, denominator - risk, 0))
    return value, gradient - ops.cast(event, risk.dtype)


def _taking_part(y_true, sample_weight):
    """Patients of weight 0 become unknown follow-up; other weights have no place in a likelihood of risk sets.

    Keras asks for weights for every output if one has them, so the weights of a label arrive here as ones.
    """
    if sample_weight is None:
        return y_true
    weight = ops.reshape(ops.convert_to_tensor(sample_weight, y_true.dtype), (-1, 1))
    return ops.where(weight > 0, y_true, ops.zeros_like(y_true))


class _SurvivalLoss(keras.losses.Loss):
    """One number for the batch, not a mean of rows; of a sample weight only whether it is 0 counts."""

    def __init__(self, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(_taking_part(ops.convert_to_tensor(y_true), sample_weight), y_pred)

    def get_config(self) -> dict:
        return {"name": self.name, "dtype": self.dtype}

    def _check(self, y_true, y_pred, columns, outputs):
        for what, array, wanted in (("y_true", y_true, columns), ("y_pred", y_pred, outputs)):
            shape = tuple(array.shape)
            if len(shape) != 2 or shape[1] not in (None, wanted):
                raise ValueError(f"the loss {self.name} expects {what} of shape (batch, {wanted}), found {shape}; "
                                 f"y_true is time, event{', stratum' * (columns == 3)}")


@keras.saving.register_keras_serializable("medlab")
class Cox(_SurvivalLoss):
    """Negative log partial likelihood of Cox, per event of the batch.

    Parameters
    ----------
    ties : str
        ``efron`` or ``breslow``: events at the same time.
    strata : bool
        Whether `y_true` has a third column, the number of the stratum (hospital, scanner, fold); patients are
        then compared only within their stratum.

    Notes
    -----
    `y_true` (b, 2) or (b, 3) = time, event[, stratum]; `y_pred` (b, 1) = log risk, higher is worse. The value is 0,
    and so is the gradient, for a batch without events. A batch is its own risk set: the larger, the nearer to the
    likelihood of the cohort, and the loss of an epoch that ``fit`` shows is the mean over its batches. The gradient
    is the analytic one, handed to the backend beside the value: nothing is stored for a way back (linear memory),
    nothing can overflow; there is no second derivative. n log n operations.

    References
    ----------
    Cox 1972, doi:10.1111/j.2517-6161.1972.tb00899.x; Katzman et al. 2018 (DeepSurv), doi:10.1186/s12874-018-0482-1.
    """

    def __init__(self, ties="efron", strata=False, name="cox", dtype=None):
        super().__init__(name=name, dtype=dtype)
        if ties not in TIES:
            raise ValueError(f"ties {ties!r} is unknown; expected one of {', '.join(TIES)}")
        self.ties, self.strata = ties, bool(strata)

    def call(self, y_true, y_pred) -> keras.KerasTensor:
        self._check(y_true, y_pred, 3 if self.strata else 2, 1)
        known = _known(y_true)
        time = ops.where(known, y_true[:, 0], -1)
        stratum = ops.where(known, y_true[:, 2], 0) if self.strata else None
        order = _order(time, stratum)
        time, known, event = (ops.take(v, order) for v in (time, known, y_true[:, 1] > 0.5))
        stratum = ops.take(stratum, order) if self.strata else None
        risk = ops.where(known, ops.take(y_pred[:, 0], order), 0)
        fixed = ops.stop_gradient(risk)
        value, gradient = _partial_likelihood(ops.where(known, fixed, NOTHING), time, event, stratum,
                                              self.ties == "efron")
        n_events = ops.maximum(ops.sum(ops.cast(event, risk.dtype)), 1)
        return (value + ops.sum(gradient * (risk - fixed))) / n_events  # the second sum is 0; its gradient is not

    def get_config(self) -> dict:
        return super().get_config() | {"ties": self.ties, "strata": self.strata}


@keras.saving.register_keras_serializable("medlab")
class Hazard(_SurvivalLoss):
    """Negative log-likelihood of discrete-time hazards (logistic hazard), per patient with follow-up.

    Parameters
    ----------
    cuts : (K + 1,) increasing times, the first 0
        Edges of the intervals, in the unit of the follow-up; see `cuts`.

    Notes
    -----
    `y_true` (b, 2) = time, event; `y_pred` (b, K) = logits of the conditional hazards h_k = P(event in (c_k, c_k+1]
    given survival up to c_k). Inside an interval the rate is constant, hence

        S(t) = prod_{j<k} (1 - h_j) * (1 - h_k)^((t - c_k) / (c_k+1 - c_k)),

    the curve that `hazards.hazard_curves` draws. A censored patient contributes S(t), with the part of the interval
    that was survived; an event contributes S(c_k) - S(c_k+1), the probability of its interval. Follow-up beyond the
    last cut is censored there.

    References
    ----------
    Gensheimer and Narasimhan 2019, doi:10.7717/peerj.6257; Kvamme and Borgan 2021, doi:10.1007/s10985-021-09532-6.
    """

    def __init__(self, cuts, name="hazard", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.cuts = [float(c) for c in cuts]
        if len(self.cuts) < 2 or self.cuts[0] != 0 or not (np.diff(self.cuts) > 0).all():
            raise ValueError(f"cuts must begin with 0 and increase strictly, found {self.cuts}; "
                             "losses.cuts makes them from the training part")

    def call(self, y_true, y_pred) -> keras.KerasTensor:
        self._check(y_true, y_pred, 2, len(self.cuts) - 1)
        known = _known(y_true)[:, None]
        logits, time = ops.where(known, y_pred, 0), ops.where(known, y_true[:, :1], 0)
        edges = ops.convert_to_tensor(self.cuts, y_pred.dtype)
        low, high = edges[:-1], edges[1:]
        survived = ops.clip((time - low) / (high - low), 0, 1)
        within = ops.logical_and(ops.maximum(time, 1e-6 * high[0]) > low, time <= high)
        here = ops.logical_and(within, y_true[:, 1:] > 0.5)
        loss = ops.where(here, ops.softplus(-logits), survived * ops.softplus(logits))
        return ops.sum(loss) / ops.maximum(ops.sum(ops.cast(known, loss.dtype)), 1)

    def get_config(self) -> dict:
        return super().get_config() | {"cuts": self.cuts}


cox, hazard = Cox, Hazard  # as Keras spells its losses: losses.cox(ties="efron")


def cuts(time, event, n, least=5) -> np.ndarray:
    """Edges of the intervals of `Hazard`: quantiles of the event times of the training part.

    Parameters
    ----------
    time, event : (m,) follow-up and whether the event was seen; time 0 without event (unknown) is ignored
    n : intervals wanted; least : events in each interval

    Returns
    -------
    (k + 1,) strictly increasing: 0, ..., longest follow-up, with k <= n; fewer than n intervals where the events are
    few or tied. The events within are those in (c_k, c_k+1].
    """
    time, event = np.asarray(time, float), np.asarray(event).astype(bool)
    times = np.sort(time[event & (time > 0)])
    if not len(times):
        raise ValueError(f"no event after time 0 among {len(time)} patients: hazards cannot be learned, "
                         "choose another outcome or another split")
    if n < 1 or least < 1:
        raise ValueError(f"n and least must be at least 1, found {n} and {least}")
    n = max(1, min(int(n), len(times) // int(least)))
    edges = [0.0]
    for edge in np.quantile(times, np.arange(1, n) / n, method="higher"):
        inside, after = (times <= edge).sum() - (times <= edges[-1]).sum(), (times > edge).sum()
        if min(inside, after) >= least:
            edges.append(float(edge))
    return np.array([*edges, time.max()])


def _score(y_pred):
    """One number per patient, higher is worse: the log risk itself, or of hazards the mean survival at the cuts."""
    if y_pred.shape[-1] == 1:
        return y_pred[:, 0]
    return -ops.mean(ops.exp(-ops.cumsum(ops.softplus(y_pred), axis=1)), axis=1)


def _pairs(rows, risk, time, event, stratum):
    """Concordant and comparable pairs (two numbers) of the patients `rows` with an event and all others.

    Harrell: the other was followed longer, or as long without event; equal risks count one half.
    """
    n = ops.shape(time)[0]
    at = ops.minimum(rows, n - 1)
    mine = [ops.take(v, at)[:, None] for v in (risk, time, event, stratum)]
    longer = ops.logical_or(mine[1] < time, ops.logical_and(mine[1] == time, ops.logical_not(event)))
    able = ops.logical_and(ops.logical_and(mine[2], (rows < n)[:, None]), ops.logical_and(longer, mine[3] == stratum))
    able, gap = ops.cast(able, risk.dtype), mine[0] - risk
    return ops.sum(able * (ops.cast(gap > 0, able.dtype) + 0.5 * ops.cast(gap == 0, able.dtype))), ops.sum(able)


@keras.saving.register_keras_serializable("medlab")
class Concordance(keras.metrics.Metric):
    """Harrell's C of pairs **within batches**, accumulated: to watch a training, not to report.

    `y_true` (b, 2) or (b, 3) = time, event[, stratum: only pairs inside one]; `y_pred` (b, 1) log risk or (b, K)
    logits of `Hazard`, which are ranked by the mean survival at the cuts. NaN while there is no comparable pair.
    """

    BLOCK = 256  # rows compared with all others at once: memory is linear in the batch

    def __init__(self, name="c", **kwargs):
        super().__init__(name=name, **kwargs)
        self.concordant = self.add_weight(name="concordant", initializer="zeros")
        self.comparable = self.add_weight(name="comparable", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        y_true, y_pred = (ops.convert_to_tensor(v, self.dtype) for v in (y_true, y_pred))
        y_true = _taking_part(y_true, sample_weight)
        known = _known(y_true)
        time, event = ops.where(known, y_true[:, 0], -1), y_true[:, 1] > 0.5
        stratum = y_true[:, 2] if y_true.shape[1] == 3 else ops.zeros_like(time)
        data, block = (_score(y_pred), time, event, stratum), ops.arange(self.BLOCK)

        def add(begin, *sums):
            more = _pairs(begin + block, *data)
            return begin + self.BLOCK, sums[0] + more[0], sums[1] + more[1]

        zero = ops.zeros((), self.dtype)
        start = (ops.convert_to_tensor(0, block.dtype), zero, zero)
        sums = ops.while_loop(lambda begin, *_: begin < ops.shape(time)[0], add, start)
        self.concordant.assign_add(sums[1])
        self.comparable.assign_add(sums[2])

    def result(self) -> keras.KerasTensor:
        return self.concordant / self.comparable
