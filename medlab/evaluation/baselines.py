"""What an answer without the images reaches: class frequencies, how an image was taken, who the patient is.

A network can read the scanner, the hospital or the format off the pixels. If these alone predict the outcome,
the network's number may be theirs.
"""

import re

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary
from medlab.cohorts.preparation import as_usually_written
from medlab.evaluation.calibration import operating_point
from medlab.statistics.measures import NAMES, check
from medlab.statistics.metrics import in_words as with_interval
from medlab.statistics.metrics import value_of, written


def table_model(table, y, train, head="binary") -> np.ndarray | None:
    """Logistic regression of the outcome on a table, fitted on the training rows only.

    Parameters
    ----------
    table : (n, m) DataFrame; numbers are imputed and standardised, text becomes indicator columns (levels
        with fewer than 5 training rows together, unseen levels none)
    y : (n,) class numbers, or (n, L) of 0/1
    train : positions of the training rows

    Returns
    -------
    Probabilities of all rows, (n,) binary, (n, K) or (n, L); None where a class has no training row.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    y, part = np.asarray(y), np.asarray(y)[train]
    classes = 2 if head == "binary" else None
    if not len(part) or np.isnan(part.astype(float)).any():
        return None
    if head == "multilabel" and (part.min(0) == part.max(0)).any():
        return None
    if head != "multilabel" and len(np.unique(part)) < (classes or len(np.unique(y))):
        return None
    flags = [name for name in table if pd.api.types.is_bool_dtype(table[name])]
    table = table.astype(dict.fromkeys(flags, float))
    numbers = [name for name in table if pd.api.types.is_numeric_dtype(table[name])]
    words = [name for name in table if name not in numbers]
    table = table.assign(**{name: table[name].astype(object).where(table[name].notna(), "missing").astype(str)
                            for name in words})
    levels = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist")
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((scaled, numbers), (levels, words))
    line = LogisticRegression(max_iter=2000)
    model = make_pipeline(columns, OneVsRestClassifier(line) if head == "multilabel" else line)
    p = model.fit(table.iloc[train], part).predict_proba(table)
    return p[:, 1] if head == "binary" else p


def bands(values, train, n=3) -> pd.Series:
    """Ordered categories of a numeric column, with ends at the quantiles of the training rows."""
    values = pd.to_numeric(pd.Series(values).reset_index(drop=True), errors="coerce")
    if values.nunique() <= n + 1:
        levels = [f"{v:g}" for v in sorted(values.dropna().unique())]
        return pd.Series(pd.Categorical(values.map(lambda v: np.nan if pd.isna(v) else f"{v:g}"), levels))
    inner = np.unique(values.iloc[train].quantile(np.arange(1, n) / n).dropna())
    edges = [-np.inf, *inner, np.inf]
    names = [f"{a:.3g} to {b:.3g}" for a, b in zip(edges[1:-2], edges[2:-1], strict=True)]
    names = [f"up to {edges[1]:.3g}", *names, f"above {edges[-2]:.3g}"]
    return pd.Series(pd.cut(values, edges, labels=names))


def trivial(y, y_train, head="binary", n_classes=None, threshold=0.5) -> pd.Series:
    """The measures of an answer that looks at nothing: always the class frequencies of the training patients.

    Parameters
    ----------
    y : outcomes of the evaluated images; y_train : outcomes of the training images (as
        `statistics.measures.check`)

    Returns
    -------
    Series by measure. AUC 0.5, average precision = share of positives, accuracy = share of the class most
    frequent in training. F1 (binary) is that of calling everything positive, better than everything negative.
    """
    y, y_train = np.asarray(y), np.asarray(y_train)
    if head == "multilabel":
        constant = np.nanmean(y_train, axis=0)
    elif head == "binary":
        constant = np.mean(y_train == 1)
    else:
        constant = np.bincount(y_train.astype(int), minlength=n_classes) / len(y_train)
    p = np.broadcast_to(constant, (len(y), *np.shape(constant)))
    y, p, _ = check(y, p, None, head)
    values = pd.Series(value_of(y, p, head=head, threshold=threshold))
    if head == "binary":
        values["f1"] = 2 * y.mean() / (1 + y.mean())
    return values


def groups(cohort, train, asked="auto", known=()) -> dict[str, pd.Series]:
    """Levels of the columns by which results are shown apart.

    Parameters
    ----------
    cohort : DataFrame aligned with the images; train : positions of the training rows (cut points of numbers)
    asked : column names separated by commas; ``auto``: sex, age, acquisition and covariates of 2 to 6 levels
    known : names of the covariates

    Returns
    -------
    dict column -> Series of level names
    """
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if asked == "auto":
        person = [name for name in cohort if re.match(r"(sex|gender|age)(_|$)", name, re.IGNORECASE)]
        few = [name for name in known if name in cohort and 2 <= cohort[name].nunique() <= 6]
        names = list(dict.fromkeys(person + vocabulary.acquisition(cohort) + few))
    elif missing := [name for name in names if name not in cohort]:
        raise ValueError(f"subgroup_columns: no column {missing[0]!r}; found {', '.join(cohort)}")
    found = {}
    learnt = np.isin(np.arange(len(cohort)), train)
    for name in vocabulary.varied(cohort, names):
        number = pd.api.types.is_numeric_dtype(cohort[name]) and cohort[name].nunique() > 6
        words = cohort[name].astype(object).map(str, na_action="ignore")
        found[name] = bands(cohort[name], train) if number else as_usually_written(words, learnt)
    return found


def threshold(y, q, head, rule) -> float:
    """Where a `table_model` calls the positive class: chosen on validation as the network's own; 0.5 if it cannot be.

    Parameters
    ----------
    y, q : (n,) 0/1 and probabilities of the validation images; rule : of `calibration.operating_point`
    """
    possible = head == "binary" and len(np.unique(y)) == 2
    return operating_point(y, q, rule)["threshold"] if possible else 0.5


def side_by_side(scored: dict, tables: dict) -> pd.DataFrame:
    """AUC and accuracy of each `table_model` and the columns it saw, as a table to read.

    Parameters
    ----------
    scored : dict name -> table of `statistics.metrics.scores`; tables : dict name -> DataFrame it was fitted on
    """
    texts = {name: written(one).loc[["auc", "accuracy"]] for name, one in scored.items()}
    return pd.DataFrame(texts).T.rename(columns=NAMES).assign(columns=[", ".join(tables[name]) for name in texts])


def in_words(scored: dict) -> str:
    """Whether each `table_model` predicts the outcome on validation; one sentence each."""
    said = []
    for name, one in scored.items():
        able = "predict the outcome: the network must beat it" if one.loc["auc", "low"] > 0.5 else \
            "are not shown to predict the outcome"
        said.append(f"Columns of {name} alone {able} (validation AUC {written(one).loc['auc']}).")
    return "\n".join(said)


def gains_in_words(gains: dict, who: str) -> str:
    """What the network gains over each answer without a network; one sentence each.

    Parameters
    ----------
    gains : dict name -> `statistics.metrics.difference` of the AUC; who : what is paired ("patients")
    """
    return "\n".join(
        f"AUC of the network minus AUC of the {name}, paired by {who}: {with_interval(gain, sign='+')}: "
        f"{'better' if gain['low'] > 0 else 'not shown to be better'}."
        for name, gain in gains.items())
