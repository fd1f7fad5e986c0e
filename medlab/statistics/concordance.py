"""Concordance of risks and survival times, for many weightings of the patients at once."""

import numpy as np

from medlab.statistics.measures import ratio

TIED = 1e-8  # risks closer than this are tied, as in scikit-survival


BLOCK = 10_000_000  # pairs compared at a time


def groups(strata, n) -> list:
    """Positions of the n patients, one array per stratum."""
    return [np.arange(n)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]


def _pairs(time, event, risk, w, first):
    """Weighted concordant and comparable pairs, each (b,); `first` (n,) multiplies the weight of the earlier one."""
    order = np.lexsort((~event, time))  # events before censorings of the same time
    time, event, risk, w, first = time[order], event[order], risk[order], w[:, order], first[order]
    rows = np.flatnonzero(event & (first > 0))
    # comparable: later, or censored at the same time; after the sort these stand behind the events of that time
    start = np.searchsorted(np.where(event, time, np.nextafter(time, np.inf)), time[rows], side="right")
    behind = np.column_stack([np.cumsum(w[:, ::-1], axis=1)[:, ::-1], np.zeros(len(w))])
    left = w[:, rows] * first[rows]
    whole = np.float32 if np.array_equal(w, np.rint(w)) else float  # sums of halves below 2^23 are exact in float32
    right, good, place = w.astype(whole), np.zeros(len(w)), np.arange(len(time))
    step = max(1, BLOCK // max(1, len(time)))
    for at in range(0, len(rows), step):
        part = slice(at, at + step)
        gap = risk[rows[part], None] - risk
        won = ((gap > TIED) + 0.5 * (np.abs(gap) <= TIED)) * (place >= start[part, None])
        good += (left[:, part] * (right @ won.T.astype(whole))).sum(1)
    return good, (left * behind[:, start]).sum(1)


def concordance(time, event, risk, w=None, strata=None, first=None):
    """Concordance of risk and survival: Harrell's C, or Uno's with `first`.

    Parameters
    ----------
    time, event, risk : (n,) days, event seen, risk (higher is worse)
    w : (b, n) weights of the patients, None = ones
    strata : (n,) only pairs within one stratum are compared (folds, hospitals)
    first : (n,) factor of the patient whose event came first; 1 / G(t)^2 up to the horizon gives Uno's C

    Returns
    -------
    (b,), or a float without w. Tied risks count one half, an event is compared with a censoring at the same time but
    not with an event (Harrell, Stat Med 1996; Uno, Stat Med 2011). NaN where no pair can be compared.
    """
    time, event, risk = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(risk, float).reshape(-1)
    if not (len(time) == len(event) == len(risk)) or not np.isfinite(risk).all() or not np.isfinite(time).all():
        raise ValueError(f"{len(time)} times, {len(event)} events, {len(risk)} risks: they must fit and be finite")
    rows = np.ones((1, len(time))) if w is None else np.asarray(w)
    first = np.ones(len(time)) if first is None else first
    strata = None if strata is None else np.asarray(strata)
    parts = [_pairs(time[s], event[s], risk[s], rows[:, s], first[s]) for s in groups(strata, len(time))]
    found = ratio(sum(good for good, _ in parts), sum(all_ for _, all_ in parts))
    return float(found[0]) if w is None else found
