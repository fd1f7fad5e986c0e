"""What a network is to learn, and for whom it is known."""

import numpy as np
import pandas as pd

TARGETS = ("auto", "label", "survival", "both")


def wanted(table, target="auto") -> list:
    """What is learnt: a list of ``label`` and ``survival``.

    Parameters
    ----------
    table : DataFrame
        split.parquet.
    target : str
        ``auto`` is whichever the cohort has and can be learnt: a label of two classes, survival with an event in the
        training part. Both together need one image per patient, because a label belongs to an image and survival to
        a patient: with several, ``auto`` is the label.

    Raises
    ------
    ValueError
        Where the cohort lacks what is asked for, or nothing can be learnt.
    """
    if target not in TARGETS:
        raise ValueError(f"target {target!r} is unknown; expected one of {', '.join(TARGETS)}")
    pictured = "has_image" not in table or bool(table["has_image"].any())
    label = pictured and ("label" in table or any(name.startswith("label_") for name in table))
    survival = "time_days" in table and bool(table["time_days"].notna().any())
    several = pictured and bool(table["patient_id"].duplicated().any())
    found = [name for name, there in (("label", label), ("survival", survival)) if there]
    if target == "auto":
        found = [name for name in found if not unlearnable(table, name)] or found
        found = found[:1] if several else found
    lacking = {"label": ["label"], "survival": ["survival"], "both": ["label", "survival"]}.get(target, found[:1])
    if not found or set(lacking) - set(found):
        there = " and ".join(found) or "neither a label nor follow-up"
        raise ValueError(f"target {target}: the cohort has {there} to learn")
    if target == "both" and several:
        raise ValueError("target both needs one image per patient, here some patients have several: train the label "
                         "and survival in two runs")
    found = found if target == "auto" else lacking
    if why := " and ".join(filter(None, (unlearnable(table, name) for name in found))):
        raise ValueError(f"nothing can be learnt: {why}; choose another split (seed, n_folds, val_fraction) in 02 or "
                         "another target, or leave this notebook out with steps")
    return found


def unlearnable(table, outcome) -> str:
    """Why a ``label`` or ``survival`` cannot be learnt from the training part of split.parquet; empty where it can."""
    train = table[table["split"].eq("train")] if "split" in table else table
    if outcome == "survival":
        known = train["time_days"].notna() & train["event"].notna()
        seen = train["event"][known].astype(bool).any()
        return "" if seen else f"survival: no event among {known.sum()} training patients with follow-up"
    if "label" in table and table["label"].nunique() == 1:
        return f"label: every image is {table['label'].dropna().iloc[0]!r}"
    return ""


def not_learnt(table, wanted) -> str:
    """What the cohort has and is not learnt, as a sentence; empty where there is nothing to say."""
    there = [name for name, column in (("label", "label"), ("survival", "time_days")) if column in table]
    said = [unlearnable(table, name) for name in there if name not in wanted]
    return f"Left out, {'; '.join(filter(None, said))}." if any(said) else ""


def unit_of(wanted) -> str:
    """What one example is: a ``patient`` with all images and the table for survival, an ``image`` for a label alone."""
    return "patient" if "survival" in wanted else "image"


def outcome(table, facts, wanted=("label",)) -> tuple:
    """What a label is: the kind of head and the names of its outputs.

    Parameters
    ----------
    table : DataFrame
        split.parquet.
    facts : dict
        dataset.json: ``classes``, ``positive``, ``card``.
    wanted : see `wanted`

    Returns
    -------
    (kind, outputs)
        Several ``label_*`` columns are multilabel, ordered classes ordinal, a positive class (or just two classes, the
        second positive) binary, the rest multiclass; (None, []) where no label is wanted. For a binary head
        ``outputs`` is [name of the rest, positive class].
    """
    classes, positive = [str(name) for name in facts.get("classes") or []], facts.get("positive")
    ordered = (facts.get("card") or {}).get("classes_ordered")
    if "label" not in wanted:
        return None, []
    if "label" not in table:
        return "multilabel", [name for name in table if name.startswith("label_")]
    if ordered and len(classes) > 2:
        return "ordinal", classes
    if not positive and len(classes) != 2:
        return "multiclass", classes
    positive = str(positive or classes[-1])
    return "binary", [" or ".join(name for name in classes if name != positive), positive]


def encode(labels, kind, outputs) -> np.ndarray:
    """Targets as the loss wants them, float32.

    Parameters
    ----------
    labels : (n,) class names; for a multilabel head a (n, L) table of 0/1
    kind : str
        One of `models.HEADS`.
    outputs : list of str
        Names of the classes in order; for a binary head the last one is the positive class and any other
        label counts as negative.

    Returns
    -------
    (n, 1) for binary, one-hot (n, K) for multiclass and ordinal, (n, L) for multilabel
    """
    if kind == "multilabel":
        return np.asarray(labels, "float32")
    labels = pd.Series(labels).astype(str).to_numpy()
    if kind == "binary":
        return (labels == str(outputs[-1])).astype("float32")[:, None]
    places = pd.Index([str(name) for name in outputs]).get_indexer(labels)
    if (places < 0).any():
        raise ValueError(f"label {labels[places < 0][0]!r} in row {int(np.argmax(places < 0))} is not among "
                         f"the classes {', '.join(map(str, outputs))}")
    return np.eye(len(outputs), dtype="float32")[places]
