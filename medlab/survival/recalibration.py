"""From the outputs of trained networks to risks and survival curves of patients; nothing is fitted on test.

The slope of a log risk is recalibrated on val, the baseline hazard after a Cox loss comes from the fitted part. A
ranking is changed by neither.
"""

import numpy as np

from medlab.survival import calibration, hazards

OUTPUTS = ("fused", "image", "table", "radiomics")  # of `networks.fusion.build` that are risks


def fill_unseen(outputs, pictured, of_fitted, pictured_fitted) -> dict[str, np.ndarray]:
    """Outputs that are risks; who has no image gets, from the image network, the mean of the fitted who have.

    Parameters
    ----------
    outputs : dict of `networks.fusion.predict`, each (n, k); pictured : (n,) bool, the patient has an image
    of_fitted, pictured_fitted : the same of the fitted patients
    """
    found = {name: outputs[name] for name in OUTPUTS if name in outputs}
    if "image" in found:
        mean = of_fitted["image"][pictured_fitted].mean(0) if pictured_fitted.any() else 0.0
        found["image"] = np.where(pictured[:, None], found["image"], mean)
    return found


def slopes(outputs, val, time, event) -> dict[str, float]:
    """`hazards.slope` of each output on the validation patients; 1 where none of them had the event.

    Parameters
    ----------
    outputs : dict of (m, k) of the fitted patients; val : (m,) bool; time, event : Series (m,)
    """
    from medlab.networks.fusion import log_risk

    risks = {name: log_risk(output)[val] for name, output in outputs.items()}
    return {name: hazards.slope(time[val], event[val], risk) if event[val].any() else 1.0
            for name, risk in risks.items()}


def predict(output, of_fitted, fitted, slope, grid, cuts=None) -> tuple[np.ndarray, np.ndarray]:
    """Risk (n,), higher is worse, and survival curves (n, g) from one output of a network.

    Parameters
    ----------
    output, of_fitted : (n, k), (m, k) log risks or hazard logits of any patients and of the fitted ones
    fitted : DataFrame with time_days, event of the fitted patients; slope : of `slopes`; grid : (g,) days
    cuts : days of a discrete-time head; None after a Cox loss
    """
    from medlab.networks.fusion import log_risk

    risk = slope * log_risk(output)
    if cuts is None:
        return hazards.from_log_risk(fitted, slope * log_risk(of_fitted), risk, grid)
    own, theirs = (hazards.hazard_curves(logits, cuts, grid) for logits in (output, of_fitted))
    return risk, drawn_together(own, theirs, slope)


def drawn_together(curves, fitted_curves, slope) -> np.ndarray:
    """Survival curves with the differences between patients scaled by a slope, on the scale of log(-log S).

    For curves that do not come from one baseline hazard: at each time the fitted patients' mean stays where it is
    and a slope below 1 draws all patients nearer to it.

    Parameters
    ----------
    curves : (n, g); fitted_curves : (m, g) of the fitted patients, on the same grid; slope : float above 0

    Returns
    -------
    (n, g); never rising along the grid
    """
    def scale(s):
        return np.log(-np.log(np.clip(s, 1e-12, 1 - 1e-12)))

    middle = scale(fitted_curves).mean(0)
    drawn = np.exp(-np.exp(middle + slope * (scale(curves) - middle)))
    return np.minimum.accumulate(np.where(np.asarray(curves) == 1, 1.0, drawn), axis=1)


def refitted(time, event, p, horizon, slope=True) -> tuple[float, float]:
    """Level and slope on the scale of log(-log(1 - p)) that fit these patients' events best.

    The slope is that of a Cox model of log(-log(1 - p)) (1 without `slope`), the level makes Breslow's baseline hazard
    at the horizon theirs (van Houwelingen, Stat Med 2000;19:3401-15).

    Parameters
    ----------
    time, event : (n,) days, event seen; p : (n,) predicted probability of the event by the horizon (days)

    Returns
    -------
    a, b : log(-log(1 - p)) becomes a + b times itself. NaN where no event is seen by the horizon.
    """
    time, event, x = np.asarray(time, float), np.asarray(event, bool), calibration.cloglog(p)
    b = 1.0
    if slope:
        spread = x.std() or 1.0
        z = ((x - x.mean()) / spread)[:, None]
        b = float(calibration.cox(time, event, z, np.ones((1, len(time))))[0, 0]) / spread
    if not (event & (time <= horizon)).any() or not np.isfinite(b):
        return np.nan, np.nan
    times, hazard = hazards.breslow(time, event, b * x)
    return float(np.log(hazard[np.searchsorted(times, horizon, side="right") - 1])), b


def cross_fitted(time, event, p, horizon, slope=True, n_folds=10, seed=0) -> np.ndarray:
    """Recalibrated probabilities (n,) of the event by the horizon, each by `refitted` of the other folds' patients.

    Parameters
    ----------
    time, event, p : (n,), a row per patient; folds hold equal shares of the events
    """
    time, event, p = np.asarray(time, float), np.asarray(event, bool), np.asarray(p, float)
    order = np.random.default_rng(seed).permutation(len(time))
    order = order[np.argsort(event[order], kind="stable")]
    fold = np.empty(len(time), int)
    fold[order] = np.arange(len(time)) % min(n_folds, len(time))
    found = np.empty(len(time))
    for k in np.unique(fold):
        a, b = refitted(time[fold != k], event[fold != k], p[fold != k], horizon, slope)
        found[fold == k] = 1 - np.exp(-np.exp(a + b * calibration.cloglog(p[fold == k])))
    return found
