"""The answer of notebook 10: how much tracer was taken up, and whether the numbers can be trusted."""

from medlab.statistics import keys
from medlab.storage import plain

NAMES = {"hottest": ("SUVmax, median of the patients", "g/mL"),
         "mtv_ml": ("metabolic tumour volume, median", "mL"), "tlg_g": ("total lesion glycolysis, median", "g")}


def of(result: dict) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page (pet.json)."""
    result = plain(result)
    used, patients = result["n_scans"] - result["n_refused"], keys.counted(result["n_patients"], "patient")
    refused = f"{result['n_refused']} {'is' if result['n_refused'] == 1 else 'are'} refused"
    sentences = [f"{keys.counted(used, 'scan')} of {patients} have a trustworthy SUV, {refused}; they hold "
                 f"{keys.counted(result['n_hot_spots'], 'hot spot')}."]
    if result["share_in_view_max"] is not None:
        share = result["share_in_view_max"]
        sentences.append(f"At most {share:.0%} of the injected dose lies in a field of view, "
                         + ("as it must be." if share <= 1 else "MORE THAN WAS INJECTED: a dose, a weight or a time "
                            "is wrong."))
    groups = {name: one for name, one in result["groups"].items() if name != "all"}
    numbers = []
    for key, (name, unit) in NAMES.items():
        medians = {group: one[key]["value"] for group, one in groups.items() if one[key]["value"] is not None
                   and one[key]["value"] == one[key]["value"]}
        numbers.append(keys.of_result(name, result, key, unit=unit, digits=1, who="all", n=patients,
                                      beside=medians if len(groups) > 1 else {}))
    leaks = result["n_without_sum"]
    warnings = [f"{keys.counted(leaks, 'patient')} without a sum: the contour of a hot spot leaks."] if leaks else []
    return sentences, numbers, warnings
