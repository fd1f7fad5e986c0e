"""The answers of notebooks 01 and 02: what is there, what could mislead, and who may be learnt from."""

from medlab.cohorts import vocabulary
from medlab.statistics import keys
from medlab.storage import plain


def of_dataset(about: dict, tables: dict, counts: dict) -> tuple[list, list, list]:
    """What is in a dataset and what is wrong with it: sentences, key numbers and warnings.

    Parameters
    ----------
    about : dataset.json
    tables : outcome -> DataFrame of `confounding.each_alone` (value, low, high, technical, measure)
    counts : number of patients (or rows) of each class
    """
    about, counts = plain(about), plain(counts)
    rows, patients = about["n_rows"], about["n_patients"]
    what = keys.counted(about["n_images"], "image") if about["n_images"] else keys.counted(rows, "row")
    size = f"{what} of {keys.counted(patients, 'patient') if patients else 'an unknown number of patients'}"
    classes = ": " + ", ".join(f"{n} {name}" for name, n in counts.items()) if counts else ""
    unusable = f"; {keys.counted(about['n_problems'], 'image')} cannot be used" if about["n_images"] else ""
    sentences = [f"{size}{classes}{unusable}."]
    numbers = [keys.number("patients" if patients else "images", patients or about["n_images"], n=what)]
    survival = about["survival"]
    if survival:
        days = survival["median_followup_days"]
        watched = f"; median follow-up {days / 365.25:.1f} years" if days else ""
        numbers.append(keys.number("events", survival["n_events"], n=f"of {survival['n_patients']} patients{watched}"))
    misleading = {}
    for outcome, table in tables.items():
        technical = table[table["technical"].astype(bool)]
        misleading[outcome] = list(technical.index[technical["low"] > 0.5])
        if table["value"].notna().any():
            top, beside = table["value"].idxmax(), {"chance": 0.5}
            beside |= {"best technical column": technical["value"].max()} if len(technical) else {}
            name = f"strongest single column for {outcome}: {vocabulary.labelled(top)}"
            numbers.append(keys.from_row(name, table.loc[top], zero=0.5, who=table.loc[top, "measure"], beside=beside))
    sentences += [f"How an image was taken predicts {outcome} ({', '.join(map(vocabulary.labelled, names))}): "
                  "a network could learn that instead."
                  for outcome, names in misleading.items() if names]
    clean = [outcome for outcome, names in misleading.items() if not names]
    if clean:
        sentences.append("Nothing technical (site, scanner, size of the image) is shown to predict "
                         f"{' or '.join(clean)}.")
    findings = about["findings"]
    more = [f"and {len(findings) - 3} more, listed under 'What is written'"] if len(findings) > 3 else []
    return sentences, numbers, findings[:3] + more


def of_preparation(result: dict, n_leaks: int, classes: list) -> tuple[list, list, list]:
    """Who may be learnt from: sentences, key numbers and warnings.

    Parameters
    ----------
    result : preprocessing.json; n_leaks : found between the parts; classes : their names, if there are any
    """
    unit = "patient" if all(one["patients"] is not None for one in result["counts"].values()) else "image"
    n = {part: one[f"{unit}s"] for part, one in result["counts"].items()}
    found = f"{keys.counted(n_leaks, 'leak')} between the parts: {result['leaks']['how']}." if n_leaks else \
        "No patient and no copy of an image is in two parts."
    sentences = [f"{keys.counted(n.get('train', 0), unit)} to learn from, {n.get('val', 0)} to choose on, "
                 f"{n.get('test', 0)} kept for the test ({result['split_source']}). {found}"]
    if result.get("image_shape"):
        shape, spacing = " x ".join(map(str, result["image_shape"][:-1])), result["spacing_mm"]
        sentences.append(f"An image is read as {shape} pixels" + (
            f" of {' x '.join(f'{mm:.2f}' for mm in spacing)} mm." if spacing else "; its pixel size is not known."))
    names = {"train": "to learn from", "val": "to choose on", "test": "test part"}
    numbers = [keys.number(f"{unit}s, {names[part]}", n[part], n=_classes(result["counts"][part], classes))
               for part in names if part in n]
    return sentences, numbers, result["notes"]


def _classes(count, classes):
    shares = count.get("classes") or {}
    return ", ".join(f"{shares[name]} {name}" for name in classes if name in shares)
