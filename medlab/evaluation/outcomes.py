"""What is predicted, for whom, and how it is handed on: outcomes, patients, classes, tables of predictions."""

import numpy as np
import pandas as pd

from medlab.statistics import keys
from medlab.statistics.intervals import expected_halfwidth
from medlab.statistics.measures import check

FEW = 10  # patients of a class below which a remark is made


def outcome(table, head, outputs) -> tuple[np.ndarray, np.ndarray]:
    """What is to be predicted, as numbers, from split.parquet and the outputs of the network.

    Parameters
    ----------
    table : DataFrame with ``label``, or with the 0/1 columns named in outputs (multilabel)
    outputs : names of the network's outputs; binary: the last is the positive class, all else is negative

    Returns
    -------
    y : (n,) int or (n, L) float; known : (n,) bool, False where there is no outcome (y is then 0 or NaN)
    """
    if head == "multilabel":
        y = table[list(outputs)].astype(float).to_numpy()
        return y, ~np.isnan(y).all(1)
    label = table["label"].astype(object).where(table["label"].notna(), "").astype(str).to_numpy()
    known = table["label"].notna().to_numpy()
    if head == "binary":
        return ((label == str(outputs[-1])) & known).astype(int), known
    y = pd.Index([str(name) for name in outputs]).get_indexer(label)
    return np.maximum(y, 0), known & (y >= 0)


def sizes(split, y, outputs, head, patients=None) -> pd.DataFrame:
    """Images, patients and images of each class per part of the split.

    Parameters
    ----------
    split : (n,) names of the parts; y : as `outcome`; patients : (n,) identifiers, None = unknown

    Returns
    -------
    DataFrame: one row per part.
    """
    flags = y if head == "multilabel" else (np.asarray(y)[:, None] == np.arange(len(outputs))).astype(float)
    rows = {}
    for part in ("train", "val", "test"):
        inside = np.asarray(split) == part
        rows[part] = {"images": int(inside.sum()),
                      "patients": "unknown" if patients is None else len(set(np.asarray(patients)[inside]))}
        rows[part] |= dict(zip(outputs, np.nansum(flags[inside], axis=0).astype(int), strict=True))
    return pd.DataFrame(rows).T


def expected_in_words(sizes, rarest: str) -> str:
    """How well an AUC could be known with so many images of the rarest class, a sentence for val and for test.

    Parameters
    ----------
    sizes : table of `sizes`; rarest : one of its classes
    """
    said = []
    for name in ("val", "test"):
        n, few = int(sizes.loc[name, "images"]), int(sizes.loc[name, rarest])
        if 0 < few < n:
            said.append(f"{name}: with {few} images of {rarest} against {n - few}, an AUC of 0.8 would be known to "
                        f"about ± {expected_halfwidth(few, n - few):.2f}")
    return "\n".join(said)


def remarks(parts, y, patients, head, patients_known=True) -> list[str]:
    """What the sizes of the validation and test part forbid, as sentences.

    Parameters
    ----------
    parts : dict "validation" / "test" -> positions of the rows
    """
    lost = {"validation": "no threshold and no calibration can be fitted; 0.5 and the raw probabilities are used",
            "test": "there is no final number"}
    found = [] if patients_known else ["Patients are unknown: intervals take each image for a patient, and are too "
                                       "narrow if several images are of one."]
    for part, rows in parts.items():
        if not len(rows):
            found.append(f"The {part} part is empty: {lost[part]}.")
        elif len(set(patients[rows])) < 2:
            found.append(f"The {part} part has a single patient: no interval can be given.")
        if len(rows) and head != "multilabel" and len(np.unique(y[rows])) < 2:
            found.append(f"The {part} part has images of one class only: ranking (AUC) is not defined there.")
        elif len(rows) and head != "multilabel":
            few = min(len(set(patients[rows][y[rows] == k])) for k in np.unique(y[rows]))
            use = {"validation": "threshold and calibration rest on them", "test": "intervals are wide"}[part]
            if few < FEW:
                size = keys.counted(few, "patient" if patients_known else "image")
                found.append(f"The {part} part has a class with only {size}: {use}.")
    return found


def by_patient(y, p, patients, head="binary") -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Mean probability and one outcome per patient.

    Returns
    -------
    y, p : as given, one row per patient; patients : (m,) identifiers; mixed : number of patients whose images
    have different outcomes (binary, ordinal, multilabel: the highest counts; multiclass: the most frequent).
    """
    y, p = np.asarray(y), np.asarray(p, float)
    mean = pd.DataFrame(p.reshape(len(p), -1)).groupby(np.asarray(patients), sort=True).mean()
    outcome = pd.DataFrame(y.reshape(len(y), -1)).groupby(np.asarray(patients), sort=True)
    mixed = int((outcome.nunique() > 1).any(axis=1).sum())
    one = outcome.max() if head != "multiclass" else outcome.agg(lambda column: column.mode().iloc[0])
    y, p = one.to_numpy().reshape(-1, *y.shape[1:]), mean.to_numpy().reshape(-1, *p.shape[1:])
    return y, p, mean.index.to_numpy(), mixed


def by_class(y, p, patients, head, classes) -> dict[str, tuple]:
    """Per class (binary: the positive one; multilabel: each label) outcome 0/1, probability and patient of each image.

    Returns
    -------
    dict name -> (y, p, patients); classes without both outcomes are left out.
    """
    y, p, who = check(y, p, patients, head)
    if head == "binary":
        found = {classes[-1]: (y.astype(float), p)}
    else:
        flags = y.T if head == "multilabel" else (y == np.arange(p.shape[1])[:, None]).astype(float)
        found = dict(zip(classes, zip(flags, p.T, strict=True), strict=True))
    known = {name: (a[~np.isnan(a)].astype(int), b[~np.isnan(a)], who[~np.isnan(a)]) for name, (a, b) in found.items()}
    return {name: one for name, one in known.items() if len(np.unique(one[0])) == 2}


def one_vs_rest(y, p, head, names) -> dict[str, tuple]:
    """Outcome 0/1 and probability of each image per class (`by_class`): a dict name -> (y, p)."""
    return {name: one[:2] for name, one in by_class(y, p, None, head, names).items()}


def confidence(y, p, patients, head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What calibration compares: whether it was so, and how probable it was said to be.

    Returns
    -------
    y : (m,) 0/1; p : (m,); patients : (m,). Binary: the positive class; multilabel: every known label of
    every image; several classes: whether the most probable class is right, and its probability.
    """
    if head == "binary":
        return y, p, patients
    if head == "multilabel":
        known = ~np.isnan(y)
        return y[known].astype(int), p[known], np.repeat(patients, y.shape[1]).reshape(y.shape)[known]
    return (p.argmax(1) == y).astype(int), p.max(1), patients


def decide(p, head, threshold=0.5) -> np.ndarray:
    """Calls (n,) as class numbers, or (n, L) of 0/1 for several labels."""
    return (p >= threshold).astype(int) if head in ("binary", "multilabel") else p.argmax(1)


def rule_in_words(head: str, threshold: float, positive: str | None = None) -> str:
    """How `decide` calls an image, in words."""
    if head == "binary":
        return f"P({positive}) from {threshold:.4f} on"
    return "each label from 0.5 on" if head == "multilabel" else "the most probable class"


def errors_in_words(y, called, names) -> str:
    """How many of the images (n,) are called wrongly, and the most frequent confusion."""
    wrong = np.asarray(called) != y
    kinds = [f"{names[a]} called {names[b]}" for a, b in zip(y[wrong], called[wrong], strict=True)]
    most = pd.Series(kinds, dtype=object).value_counts()
    return (f"{wrong.sum()} of {len(y)} test images are called wrongly"
            + (f", most often {most.index[0]} ({most.iloc[0]} times)." if len(most) else "."))


def confident_errors(y, p, head, threshold=0.5, most=12) -> pd.DataFrame:
    """The wrong calls of which the network was surest, surest first.

    Parameters
    ----------
    y, p : (n,) class numbers, (n,) or (n, K) probabilities; most : rows at most

    Returns
    -------
    DataFrame: position (of the n), true, called (class numbers), p (binary: of the positive class; else of the called)
    """
    called, said = decide(p, head, threshold), p if head == "binary" else p.max(1)
    sure = np.where(called != y, np.abs(said - threshold) if head == "binary" else said, -1)
    rows = np.argsort(-sure, kind="stable")[: min(most, int((called != y).sum()))]
    return pd.DataFrame({"position": rows, "true": y[rows], "called": called[rows], "p": said[rows]})


def error_titles(errors, names, images, positive=None) -> list[str]:
    """Titles of the pictures of `confident_errors`: name of the image, truth, call, probability.

    Parameters
    ----------
    images : name of the image of each error; positive : name whose probability is given (binary), else the called class
    """
    return [f"{image}: {names[one.true]}\ncalled {names[one.called]}\nP({positive or names[one.called]}) {one.p:.2f}"
            for image, one in zip(images, errors.itertuples(), strict=True)]


def predictions(table, rows, y, p, q, head, outputs, threshold=0.5) -> pd.DataFrame:
    """One row per image: identity, truth, probabilities before (p) and, where fitted, after (q) calibration, call.

    Parameters
    ----------
    table : split.parquet; rows : positions of the predicted rows; y, p, q : aligned with the table; q None where no
        calibration was fitted
    """
    keep = [name for name in ("row", "patient_id", "image", "frame", "split") if name in table]
    out, names = table.iloc[rows][keep].reset_index(drop=True), np.array(outputs, object)
    calls = decide(p[rows], head, threshold)
    if head == "multilabel":
        for k, name in enumerate(outputs):
            out[name], out[f"called_{name}"] = y[rows][:, k], calls[:, k]
    else:
        out["outcome"], out["called"], out["correct"] = names[y[rows]], names[calls], calls == y[rows]
    for k, name in enumerate(outputs[1:] if head == "binary" else outputs):
        for ending, z in (("", p), ("_calibrated", q)):
            if z is not None:
                out[f"p_{name}{ending}"] = z[rows].reshape(len(rows), -1)[:, k]
    return out


def inert_text(table) -> pd.DataFrame:
    """A copy for spreadsheets: text that a spreadsheet would execute (= + - @ first) gets an apostrophe."""
    def safe(value):
        return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

    return table.rename(columns=safe).map(safe)


def per_patient(predictions) -> pd.DataFrame:
    """The table of `predictions` by patient and part: n_images and the mean of each probability."""
    groups = predictions.groupby(["patient_id", "split"])
    found = groups[[name for name in predictions if name.startswith("p_")]].agg("mean")
    found.insert(0, "n_images", groups.size())
    return found.reset_index()


def write_workbook(path, sheets: dict) -> None:
    """Write tables as sheets of an Excel file, their text inert; sheets : dict name -> DataFrame."""
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        for name, sheet in sheets.items():
            inert_text(sheet).to_excel(book, sheet_name=name, index=False, freeze_panes=(1, 0))
