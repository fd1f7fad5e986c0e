"""What a survival network knows beforehand: a ridge Cox model of the table, the level of the hazards."""

import numpy as np

from medlab.statistics import cox

TABLES = ("table", "radiomics")  # parts of a patient that are columns


def n_events(y) -> int:
    """Events among the units of `training.targets`; 0 without survival."""
    return int(y["survival"][:, 1].sum()) if "survival" in y else 0


def penalty_of(prior, n_events) -> float:
    """Ridge penalty per event of a Cox loss that stands for a prior: the log hazard ratio per standard deviation of a
    covariate is normal with mean 0 and standard deviation `prior`; 0 is no penalty."""
    return float(1 / (2 * prior**2 * max(1, n_events))) if prior else 0.0


def priors(given, y) -> dict:
    """Prior of each table: that of the ridge which fits best in cross-validation (`statistics.cox.choose_ridge`).

    Parameters
    ----------
    given, y : dicts of `inputs_of` and `training.targets`, of the training units

    Raises
    ------
    ValueError
        Where survival is to be learnt and nobody has the event.
    """
    if "survival" not in y:
        return {}
    y = y["survival"]
    known = (y > 0).any(axis=1)
    if not y[:, 1].any():
        raise ValueError(f"no event among {known.sum()} training patients with follow-up: nothing can be learnt; "
                         "choose another split (seed, n_folds) or another outcome")
    time, event = y[known, 0], y[known, 1] > 0
    return {part: float(cox.choose_ridge(time, event, given[part][known]) ** -0.5) for part in TABLES if part in given}


def hazard_level(y, cuts) -> np.ndarray:
    """Logit of events / at risk in each interval of a discrete-time head, (K,), kept from 0 and 1."""
    time, event = y[(y > 0).any(axis=1)].T
    at_risk = (time[:, None] > np.asarray(cuts)[:-1]).sum(0)
    died = ((event > 0)[:, None] & (time[:, None] > cuts[:-1]) & (time[:, None] <= cuts[1:])).sum(0)
    share = (died + 0.5) / (at_risk + 1)
    return np.log(share / (1 - share))
