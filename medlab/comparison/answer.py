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
    sentences = [f"{size} are compared.", *said[:3]]
    numbers = []
    for label, measure in main.values():
        ranked = {model: one for model, one in result["models"].items() if isinstance(one.get(measure), (int, float))}
        numbers += [keys.of_result(f"{label}: {model.replace('_', ' ')}", one, measure, n=size)
                    for model, one in list(ranked.items())[:3]]
    numbers += [keys.from_row(f"difference: {name}", one, sign="+") for name, one in list(apart.items())[:2]]
    return sentences, numbers, result["remarks"][:3]
