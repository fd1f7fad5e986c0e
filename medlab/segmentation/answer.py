"""The answer of notebook 06: how well what an expert has drawn is drawn, and whether a threshold would do."""

from medlab.statistics import intervals, keys
from medlab.storage import plain


def of(result: dict, by_patient, method: str, who: str = "patients", seed: int = 0) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : segmentation.json
    by_patient : rows of `scores.pool` by patient, of the network ("U-Net") and of the baseline `method`
    """
    result = plain(result)
    part = "test" if result["part"] == "test" else "validation"
    marked = by_patient.groupby(["patient_id", "method"])["dice_if_any"].mean().unstack().dropna(how="all")
    own, other = (intervals.average(marked[name], seed=seed) for name in ("U-Net", method))
    dice = keys.written(*(own[key] for key in ("value", "low", "high")))
    every = keys.counted(by_patient["patient_id"].nunique(), f"{part} {who[:-1]}")
    size = f"{own['n']} of {every} have something to find"
    median, missed = marked["U-Net"].median(), int((marked["U-Net"] == 0).sum())
    sentences = [f"{size}: there the Dice of the U-Net is {dice}, median {median:.2f}; in {missed} of them nothing "
                 "is hit.", keys.compared(result["difference"], "the U-Net", method)]
    numbers = [keys.from_row(f"Dice where there is something, {part} part", own, n=size, who="U-Net",
                             beside={method: other["value"]} if other["n"] else {}),
               keys.number(f"Dice, all {who}", result["dice_mean"], result["dice_low"], result["dice_high"],
                           who="U-Net", beside={method: result["baseline"]["value"]},
                           n="right with nothing counts as 1"),
               keys.from_row(f"Dice: U-Net minus {method}", result["difference"], sign="+")]
    flatter = [] if part == "test" else ["Validation part, on which the choices were made: these numbers flatter."]
    return sentences, numbers, [*result["remarks"], *flatter]
