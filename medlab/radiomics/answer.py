"""The answer of notebook 08: what could be measured, how stable it is, and whether it says anything."""

from medlab.cohorts import vocabulary
from medlab.statistics import keys
from medlab.storage import plain


def of(result: dict, associated: dict, who: str = "patients") -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : image_analysis.json; associated : sentences of `univariate.in_words` by outcome
    """
    result = plain(result)
    n, features = result["n_images"], result["n_features"]
    sentences = [f"{features} features of {keys.counted(n, 'image')} with a region fall into "
                 f"{keys.counted(result['n_groups'], 'group')} that say different things."]
    if result["n_stable"] is not None:
        sentences[0] = (f"{result['n_stable']} of {features} features are stable when the region is one pixel larger "
                        f"or smaller and when noise is added; all fall into "
                        f"{keys.counted(result['n_groups'], 'group')} that say different things.")
    sentences += list(associated.values())
    numbers = [keys.number("stable features", result["n_stable"], n=f"of {features}; measured again in "
                           f"{keys.counted(result['n_stability'], who[:-1])}"),
               keys.number("groups that say different things", result["n_groups"], n=f"of {features} features")]
    best = min((one for one in result["association"] if one.get("q") is not None), key=lambda one: one["q"],
               default=None)
    if best:
        numbers.append(keys.from_row(f"strongest with {best['outcome']}: {best['measure']} of "
                                     f"{vocabulary.labelled(best['feature'].removeprefix('radiomics_'))}", best,
                                     n=f"q = {best['q']:.2g}, training part"))
    warnings = [f"{keys.counted(n, 'image')} without features: {what}." for what, n in result["problems"].items()]
    return sentences, numbers, warnings[:3]
