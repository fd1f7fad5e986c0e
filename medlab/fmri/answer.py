"""The answer of notebook 09: where this brain responds, how strongly, and whether the measurement allows to say so."""

from medlab.statistics import keys
from medlab.storage import plain


def of(result: dict, found: dict, remarks: list) -> tuple[list, list, list]:
    """Sentences, key numbers and warnings from the numbers of the page.

    Parameters
    ----------
    result : functional.json; found : contrast -> clusters with their peaks, see `activation.clusters`
    """
    result = plain(result)
    first = result["contrast"] or next(iter(found))
    clusters, facts = found[first], result["contrasts"][first]
    sentences = [f"{first}: {keys.counted(len(clusters), 'cluster')} above the threshold of |z| = "
                 f"{facts['threshold_z']:.2f}."]
    if len(clusters):
        top = clusters.sort_values("z", ascending=False).iloc[0]
        place = ", ".join(f"{top[name]:.0f}" for name in ("mni_x", "mni_y", "mni_z"))
        sentences.append(f"The strongest response is on the {top['side']} at MNI ({place}), {top['region_mm']:.0f} mm "
                         f"from the published place '{top['region']}', z = {top['z']:.1f}.")
    change = "signal_change_percent"
    models = [(name, one) for name, one in result["models"].items() if name.startswith(first)]
    strongest = max(models, key=lambda one: one[1][change], default=None)
    numbers = [keys.of_result(f"signal change, {strongest[0]}", strongest[1], change, unit="%", digits=2,
                              n="at the chosen peak: it flatters")] if strongest else []
    numbers += [keys.number("highest z", facts["highest_z"], who=first, digits=1, n=f"{first}",
                            beside={"threshold": facts["threshold_z"]}),
                keys.number("signal over noise in time (tSNR)", result["tsnr"], digits=0, n="median of the brain"),
                keys.number("outlier volumes", result["n_outliers"], n=f"of {result['n_volumes']}; mean displacement "
                            f"{result['fd_mean_mm']:.2f} mm")]
    if "recall" in result:
        numbers.append(keys.number("of the truly active voxels found", result["recall"], digits=2,
                                   n=f"false among those found: {result['false_discoveries']:.2f}"))
    return sentences, numbers, remarks
