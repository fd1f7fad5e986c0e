"""The answer of notebook 03: what was learnt, and when it stopped being learnt."""

import re

from medlab.networks import diagnosis
from medlab.statistics import keys

OUTPUTS = {"label": "label", "fused": "image and table", "image": "image", "table": "table", "": "validation"}


def of(result: dict, history, best: int, verdicts: dict, main: str | None) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : training.json; history : DataFrame, a row per epoch; best : the epoch that is kept
    verdicts : of `diagnosis.verdicts`; main : the survival output that is judged, beside the label
    """
    size = f"{result['n_train']} {result['unit']}s to learn from, {result['n_val']} to choose on"
    judged = {name: one for name, one in verdicts.items() if name in ("label", main)} or verdicts
    sentences = [f"{size}: epoch {best} of {len(history)} is kept.", *diagnosis.verdicts_in_words(judged)]
    kept, numbers = history.loc[history["epoch"].eq(best)].iloc[-1], []
    for column in history:
        found = re.fullmatch(r"val_(?:(\w+)_)?(auc|c)", column)
        if found:
            name = {"auc": "AUC", "c": "C"}[found[2]]
            beside = {"chance": 0.5} | ({"training": kept[column[4:]]} if column[4:] in history else {})
            numbers.append(keys.number(f"{name}, {OUTPUTS.get(found[1] or '', found[1])}", kept[column], zero=0.5,
                                       who="validation", beside=beside,
                                       n=f"{result['n_val']} {result['unit']}s; chosen on them, so it flatters"))
    warnings = [] if result["sanity"]["passed"] in (True, None) else [f"Sanity gate failed: "
                                                                     f"{result['sanity']['sentence']}"]
    return sentences, numbers[:4], warnings
