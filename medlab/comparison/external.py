"""The answer of notebook 18: how good a network is on patients of another dataset, beside its own test part."""

import pandas as pd

from medlab.statistics import keys, metrics
from medlab.statistics.measures import NAMES
from medlab.storage import plain

SHOWN = ("auc", "average_precision", "accuracy", "balanced_accuracy", "recall", "specificity", "precision", "npv",
         "brier", "ece", "calibration_intercept", "calibration_slope")  # of a label, beside the run's own
ENDS = ("", "_low", "_high")


def beside(here: pd.DataFrame, stored: dict, baselines: dict, run: str) -> pd.DataFrame:
    """Measures of a label here and on the run's own test part, as a table to read.

    Parameters
    ----------
    here : table of `metrics.scores`; stored : metrics.json of the run
    baselines : title -> table of `metrics.scores`, or Series of values, on the patients here
    """
    own = {name: metrics.in_words(dict(zip(("value", "low", "high"), _numbers(stored, name), strict=True)))
           for name in here.index}
    shown = {"here (95 % interval)": metrics.written(here), f"{run}, its own test part": pd.Series(own)}
    shown |= {title: metrics.written(one) if isinstance(one, pd.DataFrame) else one.round(3).astype(str)
              for title, one in baselines.items()}
    return pd.DataFrame(shown).reindex([name for name in SHOWN if name in here.index]).rename(NAMES).fillna("-")


def _numbers(stored, name):
    return [float("nan") if (value := stored.get(name + end)) is None else float(value) for end in ENDS]


def of(result: dict) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page (external.json)."""
    result = plain(result)
    sentences, numbers = [], []
    for what, one in (("label", _of_label), ("survival", _of_survival)):
        if result[what]:
            said, shown = one(result[what], result["model_of"], result["dataset"])
            sentences.append(said)
            numbers += shown
    return [*sentences, _drift(result["drift"])], numbers, result["notes"]


def _written(one, name):
    return keys.written(*(one.get(name + end) for end in ENDS))


def _of_label(one, run, dataset):
    size = keys.counted(one["n_patients"] or one["n_images"], "patient" if one["n_patients"] else "image")
    size += f", {one['cases'][one['positive']]} {one['positive']}" if one["positive"] in one["cases"] else ""
    own = one["own_test"]
    theirs = f"{_written(own, 'auc')} on its own test part" if own.get("n_images") else \
        "its own test part was not opened"
    said = (f"{dataset} ({size}): the AUC of the network of {run} is {_written(one, 'auc')}; {theirs}."
            + (f" Calibration slope {_written(one, 'calibration_slope')}{_repaired(one)}."
               if one.get("calibration_slope") is not None else ""))
    known = {"chance": 0.5} | ({f"own test part of {run}": own["auc"]} if own.get("auc") is not None else {})
    known |= {name: base["auc"] for name, base in one["baselines"].items() if base.get("auc") is not None}
    return said, [keys.of_result(f"AUC on {dataset}", one, "auc", n=size, who="network", zero=0.5, beside=known),
                  keys.of_result(f"calibration slope on {dataset}, 1 is right", one, "calibration_slope", digits=2,
                                 beside={"right": 1.0})]


def _repaired(one):
    new = (one.get("recalibrated") or {}).get("calibration_slope")
    return "" if new is None else f" (recalibrated here {new:.2f})"


def _of_survival(one, run, dataset):
    size = f"{keys.counted(one['n_patients'], 'patient')}, {keys.counted(one['n_events'], 'event')}"
    name, models, own = one["main"].replace("_", " "), one["models"], one["own_test"]
    mine = models.get(one["main"])
    if mine is None:
        return f"{dataset} ({size}): no survival model can be scored.", []
    part = f"its own {'test' if one['own_part'] == 'test' else 'validation'} part"
    theirs = f"{_written(own, 'c_harrell')} on {part}" if own.get("c_harrell") is not None else \
        f"none is known of {part}"
    said = f"{dataset} ({size}): the C of the {name} model of {run} is {_written(mine, 'c_harrell')}; {theirs}."
    slope = one.get("calibration") or {}
    if slope.get("slope") is not None:
        said += f" Calibration slope {_written(slope, 'slope')}{_repaired_risks(one)}."
    known = {"same risk for all": 0.5} | {
        other.replace("_", " "): models[other]["c_harrell"] for other in ("clinical", "image") if other in models
        and other != one["main"]}
    known |= {f"{run}, {part}": own["c_harrell"]} if own.get("c_harrell") is not None else {}
    ceiling = {"true hazard": models["truth"]["c_harrell"]} if "truth" in models else {}
    numbers = [keys.of_result(f"C (Harrell) on {dataset}", mine, "c_harrell", n=size, who=name, zero=0.5, beside=known,
                              ceiling=ceiling)]
    baseline = {f"Kaplan-Meier of {run}": models["kaplan_meier"].get("integrated_brier")}
    numbers.append(keys.of_result("integrated Brier score, lower is better", mine, "integrated_brier", who=name,
                                  n=f"to {one['horizon_days']:.0f} days",
                                  beside={key: value for key, value in baseline.items() if value is not None}))
    return said, numbers


def _repaired_risks(one):
    new = (one.get("recalibrated") or {}).get("slope")
    return "" if new is None else f" (recalibrated here {new:.2f})"


def _drift(found):
    largest = [f"{name} ({gap:+.1f} SD)" for name, gap in list(found["differ"].items())[:3]]
    said = f"Shown to differ from the patients of the run: {', '.join(largest) or 'nothing that was compared'}"
    more = len(found["differ"]) - len(largest)
    return said + (f" and {more} more." if more else ".")
