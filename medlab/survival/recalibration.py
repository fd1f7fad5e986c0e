"""From the outputs of trained networks to risks and survival curves of patients; nothing is fitted on test.

The slope of a log risk is recalibrated on val, the baseline hazard after a Cox loss comes from the fitted part. A
ranking is changed by neither.
"""

import numpy as np

from medlab.survival import hazards

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
