"""The answer of notebook 13: whether runs, or models in them, differ by more than chance."""

from medlab.comparison import differences
from medlab.statistics import keys
from medlab.storage import plain


def of(result: dict, labelled: dict, apart: dict, main: dict) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : comparison.json
    labelled : measure -> name -> difference between models, see `differences.named`; apart : name -> difference between
        groups of runs
    main : kind -> (label of its main measure, name of it)
    """
    result = plain(result)
    size = f"{keys.counted(result['n_patients'], 'patient')}, {keys.counted(result['n_runs'], 'run')}"
    said = [f"{name}: {differences.verdict(one)}." for ones in labelled.values() for name, one in ones.items()]
    said = [f"{name}: {differences.verdict(one)}." for name, one in apart.items()] + said
    sentences = [f"{size} are compared.", *result.get("over_sites_in_words", [])[:2], *said[:3]]
    numbers = [_of_a_new_site(one, main[one["kind"]][0]) for one in result.get("over_sites", []) if one["shown"]]
    for label, measure in main.values():
        ranked = {model: one for model, one in result["models"].items() if isinstance(one.get(measure), (int, float))}
        numbers += [keys.of_result(f"{label}: {model.replace('_', ' ')}", one, measure, n=size)
                    for model, one in list(ranked.items())[:3]]
    numbers += [keys.from_row(f"difference: {name}", one, sign="+") for name, one in list(apart.items())[:2]]
    return sentences, numbers, result["remarks"][:3]


def _of_a_new_site(one, label):
    """Key number: the mean over the sites with the limits of a new site, where sites are enough, else with its own."""
    predicted = one.get("next_low") is not None
    ends = (one["next_low"], one["next_high"]) if predicted else (one["low"], one["high"])
    what = "a new site, 95 % prediction interval" if predicted else "mean over sites"
    return keys.number(f"{label}, {what}: {one['model']}", one["value"], *ends, zero=0.5,
                       n=f"{keys.counted(int(one['k']), 'site')}, {keys.counted(int(one['n']), 'patient')}")
