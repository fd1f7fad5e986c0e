"""Augmentation policies: what may be done to an image of a modality without making it another one.

Plain numbers and their checking; `networks.pipeline` carries them out.
"""

import contextlib

import numpy as np

from medlab.cohorts import vocabulary

# Ranges are symmetric: rotation_deg 10 means -10..10 degrees, zoom 0.1 means 0.9..1.1, shift is a fraction of
# the side, brightness and noise of the grey range, gamma 0.5 gives each channel an exponent of 1/1.5..1.5, flip lists
# axes (l left-right, u up-down, z through the plane), shift_z counts slices. Chests are never mirrored (the heart is
# on the left) nor turned much.
CHEST = {"rotation_deg": 8, "shift": 0.05, "zoom": 0.1, "brightness": 0.04, "contrast": 0.1}
POLICIES = {
    "none": {},
    "mild": {"rotation_deg": 5, "shift": 0.04, "zoom": 0.05, "contrast": 0.05},
    "CT": CHEST | {"noise": 0.01, "shift_z": 1},
    "CR": CHEST,
    "DX": CHEST,
    "MR": {"rotation_deg": 10, "shift": 0.04, "zoom": 0.08, "flip": "l", "contrast": 0.1},
    "MG": {"rotation_deg": 10, "shift": 0.05, "zoom": 0.1, "flip": "lu", "contrast": 0.1},
    "US": {"rotation_deg": 10, "shift": 0.05, "zoom": 0.1, "flip": "l", "brightness": 0.05, "contrast": 0.2},
    "OP": {"rotation_deg": 180, "shift": 0.04, "zoom": 0.1, "flip": "lu", "brightness": 0.08,
           "contrast": 0.2},
    "SM": {"rotation_deg": 180, "shift": 0.06, "zoom": 0.15, "shear_deg": 5, "flip": "lu", "brightness": 0.08,
           "contrast": 0.2, "fill": "reflect"},
    "PT": {"rotation_deg": 10, "shift": 0.05, "zoom": 0.1, "contrast": 0.1},
    "classic": {"rotation_deg": 40, "shift": 0.2, "zoom": 0.2, "shear_deg": 11.5, "flip": "l",
                "fill": "nearest"},
}
POLICIES |= {"GM": POLICIES["SM"], "XC": POLICIES["SM"], "NM": POLICIES["PT"]}
NUMBERS = ("rotation_deg", "shift", "zoom", "shear_deg", "brightness", "contrast", "gamma", "noise",
           "shift_z", "mixup")
FILLS = ("constant", "nearest", "reflect")


def policy(text="auto", modality=None, card=None) -> dict:
    """Augmentation policy as a dict, from the parameter ``augmentation``.

    Parameters
    ----------
    text : str
        ``auto`` (the card's own ``augmentation``, else the modality's, else ``mild``), or a name in
        `POLICIES`, and after it changes separated by commas: ``"MR, rotation_deg=20, flip=lu"``.
    modality : str, optional
        DICOM modality code of the dataset.
    card : dict or str, optional
        The card's entry ``augmentation``: a dict of changes to the modality's policy, or such a text.

    Raises
    ------
    ValueError
        An unknown policy, key or value; the message names what is legal.
    """
    name, *changes = [part.strip() for part in str(text).split(",") if part.strip()] or ["none"]
    if "=" in name:
        name, changes = "auto", [name, *changes]
    if name == "auto":
        base = POLICIES.get(modality, POLICIES["mild"])
        own = policy(card, modality) if isinstance(card, str) and card != "auto" else base | dict(card or {})
    elif name in POLICIES:
        own = POLICIES[name]
    else:
        raise ValueError(f"augmentation {name!r} is unknown; expected auto or one of {', '.join(POLICIES)}")
    return _checked(own | dict(_change(change) for change in changes))


def in_words(policy: dict) -> str:
    """A policy as a sentence, such as ``flip l, rotation (degrees) 10``."""
    return ", ".join(f"{vocabulary.labelled(name)} {value}" for name, value in policy.items()) or "no augmentation"


def check_flips(flips: str, policy: dict, axes: int, name: str = "flips") -> None:
    """Refuse mirror images that the network has never seen, and those that pictures do not have.

    Parameters
    ----------
    flips : text of l (left-right), u (up-down), z (through the plane); policy : of the augmentation
    axes : of the images, 2 or 3; name : of the parameter, for the message

    Raises
    ------
    ValueError
        Naming what the augmentation flips.
    """
    made = "".join(k for k in str(policy.get("flip", "")) if k != "z" or axes == 3)
    if set(flips) - set(made):
        raise ValueError(f"{name} is {flips!r}, but the augmentation flips {made or 'nothing'}"
                         f"{'' if axes == 3 else ' (z is for volumes only)'}; expected some of these: a network that "
                         "never saw a mirror image cannot read one")


def _change(text):
    key, _, value = (part.strip() for part in text.partition("="))
    return key, value


def _checked(changes):
    result = {}
    for key, value in changes.items():
        if key == "flip" and set(str(value)) <= set("luz"):
            result[key] = str(value)
        elif key == "fill" and value in FILLS:
            result[key] = value
        elif key in NUMBERS and _number(value) is not None:
            result[key] = _number(value)
        else:
            raise ValueError(f"augmentation: {key}={value!r} is not understood; expected numbers >= 0 for "
                             f"{', '.join(NUMBERS)}, flip=some of l, u, z, or fill=one of {', '.join(FILLS)}")
    return result


def _number(value):
    with contextlib.suppress(TypeError, ValueError):
        return float(value) if 0 <= float(value) < np.inf else None
