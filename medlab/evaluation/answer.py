"""The answer of notebook 04: how good the network is, and whether it is better than not looking."""

from medlab.statistics import keys
from medlab.storage import plain


def of(result: dict, cases: dict) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : metrics.json
    cases : number of test images of each class
    """
    result = plain(result)
    if not result["n_images"]:
        own, beside = result["validation"], _auc(result["validation"]["baselines"])
        size = keys.counted(own["n_images"], "validation image")
        return ([f"The test part stays closed; on validation ({size}, on which the epoch was chosen) the AUC is "
                 f"{_auc_in_words(own)}."],
                [keys.of_result("AUC, validation part", own, "auc", n=size, who="network", beside=beside, zero=0.5)],
                ["Numbers of the validation part flatter."])
    n = result["n_patients"] or result["n_images"]
    size = keys.counted(n, "test patient" if result["n_patients"] else "test image")
    positive = result["positive"] if result["positive"] in cases else None
    of_class = f", {cases[positive]} {positive}" if positive else ""
    sentences = [f"{size}{of_class}: the network's AUC is {_auc_in_words(result)}."]
    gains = result["difference_auc"]
    main = [name for name in ("clinical table",) if name in gains] or list(gains)
    sentences += [keys.compared(gains[name], "the network", f"the {name}") for name in main]
    floor, ceiling = _references(result)
    if ceiling:
        sentences.append(f"The simulation allows {max(ceiling.values()):.2f}.")
    beside = {"chance": 0.5} | floor | _auc(result["baselines"])
    numbers = [keys.of_result("AUC, test part", result, "auc", n=size + of_class, who="network", beside=beside,
                              ceiling=ceiling, zero=0.5)]
    names = {"recall": "sensitivity", "specificity": "specificity"} if positive else {"accuracy": "accuracy"}
    numbers += [keys.of_result(f"{name}, test part", result, key, who="network",
                               beside=_plain({"class frequencies": result["baselines"].get(key)}))
                for key, name in names.items() if key in result]
    return sentences, numbers, _warnings(result)


def _auc_in_words(one):
    return keys.written(*(one.get(f"auc{end}") for end in ("", "_low", "_high")))


def _plain(values):
    return {name: value for name, value in values.items() if isinstance(value, (int, float))}


def _auc(baselines):
    """AUC of the answers that see no pixel."""
    return _plain({name: one.get("auc") for name, one in baselines.items() if isinstance(one, dict)})


def _references(result):
    """Floor and ceiling that a simulation knows; of two classes only, else its AUC is of another kind."""
    known = _auc(result["references"]) if result["head"] == "binary" else {}
    ceiling = {name: value for name, value in known.items() if name.startswith("simulated")}
    return {name: value for name, value in known.items() if name not in ceiling}, ceiling


def _warnings(result):
    said = list(result["remarks"])
    if (result.get("test_openings") or 0) > 1:
        said.append(f"The test part was opened for {result['test_openings']} sets of weights and choices: it has "
                    "become a second validation part.")
    if result.get("without_copies"):
        alone = result["without_copies"]
        said.append(f"Some test images are copies of other parts; without them the AUC is {_auc_in_words(alone)}.")
    return said
