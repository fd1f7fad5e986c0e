"""How well one column alone (site, scanner, size of the image, age) predicts the outcome.

A confounder that does is reported beside the model: a network can read it off the pixels.
"""

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.statistics.intervals import percentiles


def alone(values, outcome, patients, n_folds=3, n_repeats=8, n_boot=400, seed=0, most=1500) -> dict:
    """Cross-fitted AUC or C of one column alone, with a patient bootstrap.

    Each category (missing is one of its own) gets the event rate or the share of the class among the *other*
    folds, and only pairs of one fold are compared, so that a column of noise stays at 0.5 however many
    categories it has. Numbers are cut into fifths where there are at least 100 events (or cases of the class);
    with fewer they rank as they are, in the direction seen in the other folds, missing ones in the middle.

    Parameters
    ----------
    values : (n,) of any kind
    outcome : (n,) labels, or a DataFrame with ``time_days`` and ``event``
    patients : (n,) the unit of folds and bootstrap; with survival the first row of each counts.
    most : int, rows at most (a random choice of patients), because all pairs are compared.

    Returns
    -------
    dict: measure ("AUC", for several classes "macro AUC" one-vs-rest, or "C"), value, low, high (95 %),
    n (patients). A value under 0.5 means no better than chance.
    """
    survival = isinstance(outcome, pd.DataFrame)
    numbers = pd.Series(values).reset_index(drop=True)
    numbers = numbers.astype(float).rank() if _is_many(numbers) else pd.Series(0.0, index=numbers.index)
    table = pd.DataFrame({"value": np.asarray(binned(values)), "patient": np.asarray(patients).astype(str),
                          "number": np.asarray(numbers.fillna(numbers.median()))})
    if survival:
        table["time"], table["event"] = (np.asarray(outcome[c], float) for c in ("time_days", "event"))
        table = table.dropna().drop_duplicates("patient")
    else:
        table = table.assign(label=np.asarray(outcome, dtype=object)).dropna()
    rng = np.random.default_rng(seed)
    names = rng.permutation(table["patient"].unique())
    names = names[: max(1, int(len(names) * min(1, most / max(1, len(table)))))]
    table = table[table["patient"].isin(names)].reset_index(drop=True)
    who = table["patient"].map({name: i for i, name in enumerate(names)}).to_numpy(int)
    folds = [rng.permutation(len(names))[who] % n_folds for _ in range(n_repeats)]
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_boot)
    weights = np.vstack([np.ones(len(names), int), weights])[:, who]
    labels = [] if survival else list(pd.unique(table["label"]))
    found = _c_alone(table, folds, weights) if survival else _auc_alone(table, folds, weights, labels)
    low, high = percentiles(found[1:])
    return {"measure": "C" if survival else "AUC" if len(labels) <= 2 else "macro AUC",
            "value": float(found[0]), "low": float(low), "high": float(high), "n": len(names)}


def files(dataset, most=50) -> pd.DataFrame:
    """What the files of the images are, apart from their pixels: suffix, collection they come from, size in KiB.

    They say how a picture was made and where from; they are compared with the outcome and never given to a model.
    The collection is the first level of folders, of 2 to `most` names, that is neither class, split nor patient.

    Returns
    -------
    DataFrame
        Index = cohort row; columns ``file: suffix``, ``file: folder`` (where there is such a level), ``file: size``;
        none without images. Columns ``file_suffix``, ``file_folder``, ``file_kib`` of the cohort come first.
    """
    cohort = dataset.cohort
    if "image" not in cohort:
        return pd.DataFrame(index=cohort.index)
    names = cohort["image"].map(lambda v: str(v).partition("::")[0], na_action="ignore")
    suffixes = names.str.lower().str.extract(r"(\.nii\.gz|\.[^./]+)$")[0]
    sizes = {n: (dataset.folder / n).stat().st_size / 1024 for n in names.dropna().unique()}
    found = {"file: suffix": cohort.get("file_suffix", suffixes), "file: folder": cohort.get("file_folder"),
             "file: size": cohort.get("file_kib", names.map(sizes))}
    if found["file: folder"] is None:
        found["file: folder"] = _collection(cohort, names, most)
    return pd.DataFrame({k: v for k, v in found.items() if v is not None}, index=cohort.index)


def _collection(cohort, names, most):
    """First level of folders that is not the class, the split or the patient under its own name; None without."""
    parts = names.str.split("/", expand=True)
    there = [cohort[c].astype(str).str.casefold() for c in ("label", "patient_id") if c in cohort]
    for level in range(1, parts.shape[1] - 1):  # 0 is images/, the last one the file
        folder = parts[level].where(parts[level + 1].notna(), "(none)")
        same = folder.astype(str).str.casefold()
        named = any((same == t).mean() > 0.9 for t in there)
        if "split" in cohort and folder.nunique() == cohort["split"].nunique():
            named |= (cohort.groupby(folder)["split"].nunique() < 2).all()
        if not named and 1 < folder.nunique() <= min(most, cohort["patient_id"].nunique() / 2):
            return folder
    return None


def candidates(cohort: pd.DataFrame, covariates: list, sites: list, files=()) -> tuple[pd.DataFrame, dict]:
    """Columns that could give the outcome away, in the order in which they are shown.

    Parameters
    ----------
    cohort : as ``cohort.parquet``; covariates, sites : names of its columns
    files : DataFrame, optional, of `files`

    Returns
    -------
    (DataFrame, dict)
        Values of the rows without a problem, of columns that vary; and what each is: "technical" (site, file, size,
        spacing, images per patient), "brightness" (of the picture itself: grey levels, bytes of its file) or "clinical"
        (covariates, size of the mask).
    """
    found = {c: (cohort[c], "technical") for c in sites}
    found |= {c: (files[c], "brightness" if c == "file: size" else "technical") for c in files}
    found["images per patient"] = cohort.groupby("patient_id").transform("size"), "technical"
    found |= {f"image: {c}": (cohort[c], "technical") for c in vocabulary.SIZE if c in cohort}
    bright = [c for c in ("minimum", "mean", "maximum") if c in cohort]
    found |= {f"image: {c} brightness": (cohort[c], "brightness") for c in bright}
    found |= {c: (cohort[c], "clinical") for c in ["mask_size", *covariates] if c in cohort and c not in sites}
    usable = cohort["problem"].isna()
    values = {name: (vocabulary.clean_text(v) if vocabulary.is_text(v) else v)[usable]
              for name, (v, _) in found.items() if v[usable].nunique(dropna=False) > 1}
    return pd.DataFrame(values, index=cohort.index[usable]), {name: found[name][1] for name in values}


def outcomes(cohort: pd.DataFrame) -> dict:
    """What `alone` takes as outcome: ``label`` where it varies, ``survival`` (time_days, event) with follow-up."""
    found = {"label": cohort["label"]} if "label" in cohort and cohort["label"].nunique() > 1 else {}
    follow_up = "time_days" in cohort and cohort["time_days"].notna().any()
    return found | ({"survival": cohort[["time_days", "event"]]} if follow_up else {})


def each_alone(values: pd.DataFrame, outcome: pd.Series | pd.DataFrame, patients: pd.Series, kinds: dict,
               seed: int = 0) -> pd.DataFrame:
    """`alone` of each column: a line with measure, value, low, high, n, and whether the column is technical.

    Parameters
    ----------
    values, kinds : of `candidates`
    outcome, patients : of the whole cohort; the rows of ``values`` count.
    """
    outcome, patients = outcome.loc[values.index], patients.loc[values.index]
    table = pd.DataFrame({name: alone(values[name], outcome, patients, seed=seed) for name in values}).T
    return table.assign(technical=[kinds[name] == "technical" for name in table.index])


def strongest(table: pd.DataFrame, kinds: dict, most: int = 20) -> pd.DataFrame:
    """Lines to show, named in words: all technical columns and brightnesses, then the strongest clinical ones."""
    clinical = np.array([kinds[name] == "clinical" for name in table.index])
    shown = pd.concat([table[~clinical], table[clinical].sort_values("value", ascending=False).head(most)])
    return shown.rename(index=vocabulary.labelled)


def in_words(table: pd.DataFrame, outcome: str, kinds: dict, expected: tuple = ()) -> tuple[list, list]:
    """Sentences about the columns that predict an outcome, and those of them that are findings.

    Parameters
    ----------
    table : of `each_alone`; outcome : its name
    expected : columns that may be strong without being suspicious, such as those known to follow the outcome
    """
    said, findings = [], []
    for name, line in table[table["low"] > 0.5].iterrows():
        text = f"{vocabulary.labelled(name)} alone predicts {outcome}: {line['measure']} {line['value']:.2f} "
        text += f"({line['low']:.2f} to {line['high']:.2f})"
        if line["technical"]:
            findings.append(f"{text}: a confounder to report beside every model.")
        elif line["low"] > 0.75 and kinds[name] == "clinical" and name not in [*expected, "mask_size"]:
            findings.append(f"{text}: suspiciously strong; was it recorded after the outcome?")
        said.append(findings[-1] if findings and findings[-1].startswith(text) else text)
    return said or [f"No column alone predicts {outcome}."], findings


def binned(values) -> pd.Series:
    """Categories as text: words and up to 8 distinct numbers as they are, other numbers in fifths.

    Examples
    --------
    >>> list(binned(["a", None, "b"])), list(binned(range(10)))
    (['a', 'missing', 'b'], ['0', '0', '1', '1', '2', '2', '3', '3', '4', '4'])
    """
    values = pd.Series(values).reset_index(drop=True)
    if _is_many(values):
        values = pd.qcut(values.astype(float), 5, labels=False, duplicates="drop")
    return values.astype(object).where(values.notna(), "missing").astype(str)


def _is_many(values):
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return number and values.nunique() > 8


def _scores(table, hits, exposure, fold):
    """Rate hits / exposure of each row's category in the other folds, shrunk by one row of the mean."""
    score, number = np.zeros(len(table)), table["number"].to_numpy()
    rank = number.any() and min(hits.sum(), len(hits) - hits.sum()) < 100
    for k in np.unique(fold):
        others = fold != k
        overall = hits[others].sum() / max(exposure[others].sum(), 1e-12)
        if rank:  # direction: covariance with what is seen beyond the expected (a score test)
            residual = hits[others] - overall * exposure[others]
            score[~others] = number[~others] * np.sign(residual @ (number[others] - number[others].mean()))
            continue
        frame = pd.DataFrame({"value": table["value"][others], "h": hits[others], "e": exposure[others]})
        sums, one = frame.groupby("value")[["h", "e"]].sum(), exposure[others].mean() if others.any() else 1
        rate = (sums["h"] + overall * one) / (sums["e"] + one)
        score[~others] = table["value"][~others].map(rate).fillna(overall)
    return score


def _c_alone(table, folds, weights):
    event, time = table["event"].to_numpy() > 0, table["time"].to_numpy()
    first = event[:, None] & ((time[:, None] < time) | (~event & (time[:, None] == time)))
    pairs = [(_scores(table, event.astype(float), time, fold), fold) for fold in folds]
    pairs = [(s[:, None] - s, first & (fold[:, None] == fold)) for s, fold in pairs]
    return _weighted(pairs, weights, weights)


def _auc_alone(table, folds, weights, labels):
    if len(labels) < 2:
        return np.full(len(weights), np.nan)
    found = []
    for label in labels[1:] if len(labels) == 2 else labels:
        is_it = (table["label"] == label).to_numpy()
        pairs = [(_scores(table, is_it.astype(float), np.ones(len(table)), fold), fold) for fold in folds]
        found.append(_weighted([(s[is_it][:, None] - s[~is_it], fold[is_it][:, None] == fold[~is_it])
                                for s, fold in pairs], weights[:, is_it], weights[:, ~is_it]))
    return np.mean(found, axis=0)


def _weighted(pairs, left, right):
    """Share of the comparable pairs in the right order (ties half), for each row of weights."""
    order, comparable = np.float32(0), np.float32(0)
    for difference, compare in pairs:
        order = order + compare * ((difference > 1e-12) + 0.5 * (np.abs(difference) <= 1e-12))
        comparable = comparable + compare
    left, right = left.astype(np.float32), right.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (((left @ order.astype(np.float32)) * right).sum(1)
                / ((left @ comparable.astype(np.float32)) * right).sum(1))
