"""The answer of notebook 05: how well risks are ranked, and whether the images add to the clinical table."""

from medlab.statistics import keys
from medlab.storage import plain

PAIR = "fused minus clinical"  # what the image adds to the table


def of(result: dict) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page (survival.json)."""
    result = plain(result)
    part = "test" if result["part"] == "test" else "validation"
    size = (f"{keys.counted(result['n_patients'], f'{part} patient')}, "
            f"{keys.counted(result['n_events'], 'event')}")
    models, main = result["models"], result["main"]
    if main not in models:
        sentence = f"{size}: too few events to score any model."
        return [sentence], [keys.number("C", None, n=size)], keys.joined(result["notes"])
    named, c = main.replace("_", " "), _c(models)
    own = keys.written(*(models[main].get(f"c_harrell{end}") for end in ("", "_low", "_high")))
    sentences = [f"{size}: the C of the {named} model is {own}, 0.5 is chance."]
    sentences += [_difference(one) for one in result["differences"] if one["name"] == PAIR]
    if "truth" in c:
        sentences.append(f"The simulation's own hazard reaches {c['truth']:.2f}.")
    ceiling = {"true hazard": c.pop("truth")} if "truth" in c else {}
    shown = [name for name in ("clinical", "clinical_volume", "volume", "image") if name in c and name != main]
    beside = {"same risk for all": 0.5} | {name.replace("_", " "): c[name] for name in shown[:3]}
    numbers = [keys.of_result(f"C (Harrell), {part} part", models[main], "c_harrell", n=size, who=named, zero=0.5,
                              beside=beside, ceiling=ceiling)]
    numbers += [keys.from_row(f"C: {one['name']}", one, n=size, sign="+") for one in result["differences"]
                if one["name"] == PAIR]
    brier = {name: one.get("integrated_brier") for name, one in models.items()}
    numbers.append(keys.of_result("integrated Brier score, lower is better", result["scores"][main],
                                  "integrated_brier", who=named, n=f"to {result['horizon_days']:.0f} days",
                                  beside=_known({"Kaplan-Meier": brier.get("kaplan_meier")}),
                                  ceiling=_known({"true hazard": brier.get("truth")})))
    return sentences, numbers, _warnings(result)


def _c(models):
    return _known({name: one.get("c_harrell") for name, one in models.items()})


def _known(values):
    return {name: value for name, value in values.items() if isinstance(value, (int, float))}


def _difference(one):
    first, _, second = one["name"].partition(" minus ")
    return keys.compared(one, f"the {first} model", f"the {second} model")


def _warnings(result):
    said, alone = keys.joined(result["notes"]), result.get("without_copies") or {"models": {}}
    if result["main"] in alone["models"]:
        c = keys.written(*(alone["models"][result["main"]].get(f"c_harrell{end}") for end in ("", "_low", "_high")))
        said.append(f"Without the copies, on {keys.counted(alone['n_patients'], 'patient')}, the C of the "
                    f"{result['main'].replace('_', ' ')} model is {c}: report this number.")
    if result["part"] != "test":
        said.append("Validation part, on which choices were made: these numbers flatter.")
    if (result.get("test_openings") or 0) > 1:
        said.append(f"The test part was opened for {result['test_openings']} sets of weights and choices.")
    return said
