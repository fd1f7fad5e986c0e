"""Hot spots of all scans of a cohort: beside a truth, summed by scan and patient, repeated."""

import numpy as np
import pandas as pd

from medlab.cohorts import datasets
from medlab.pet import cohort
from medlab.statistics.intervals import median_interval


def all_spots(used: pd.DataFrame, found: dict) -> pd.DataFrame:
    """Hot spots of all scans below one another, with row, scan, patient_id, label, and SUVpeak as SUL, SUVbsa, SUVR.

    Parameters
    ----------
    used : as `cohort.with_measures` gives it; found : dict cohort row -> `cohort.measure`
    """
    parts = [found[i]["spots"].assign(row=i, **used.loc[i, ["scan", "patient_id", "label"]]) for i in used.index]
    spots = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    for name in ("SUL", "SUVbsa"):
        spots[f"{name.lower()}_peak"] = spots["suv_peak"] * spots["row"].map(used[name])
    return spots.assign(suvr_peak=spots["suv_peak"] / spots["row"].map(used["reference"]))


def match(spots, truth, within_mm=10.0) -> tuple[pd.DataFrame, list]:
    """Hot spots beside the known lesions, of all scans: both tables with ``scan`` and x_mm, y_mm, z_mm.

    Each lesion takes the nearest spot that is left, at most ``within_mm`` (or its radius) away.

    Returns
    -------
    DataFrame: the rows of ``truth`` with ``spot`` (row of ``spots``, -1: missed); list of the rows of spots left over.
    """
    places, left = ["x_mm", "y_mm", "z_mm"], {s: g for s, g in spots.groupby("scan")}
    taken, found = set(), []
    for lesion in truth.itertuples():
        near = left.get(lesion.scan, spots.iloc[:0])
        near = near[~near.index.isin(taken)]
        away = np.linalg.norm(near[places].to_numpy(float) - [getattr(lesion, p) for p in places], axis=1)
        good = len(away) and away.min() <= max(within_mm, lesion.diameter_mm / 2)
        found.append(int(near.index[np.argmin(away)]) if good else -1)
        taken |= {found[-1]} if good else set()
    return truth.assign(spot=found), [i for i in spots.index if i not in taken]


def total(spots, column, by, index) -> pd.Series:
    """Sum of a column over the hot spots of each patient (or scan).

    Parameters
    ----------
    spots : DataFrame of `uptake.hot_spots` with a column ``by``; index : all patients, those without a hot spot too

    Returns
    -------
    Series: 0 without a hot spot, NaN where one of them has no value (its contour leaks): the sum would be too small
    """
    sums = spots.groupby(by)[column].agg(lambda values: values.sum(skipna=False))
    return sums.astype(float).reindex(index, fill_value=0.0)


def per_patient(baseline: pd.DataFrame, spots: pd.DataFrame) -> pd.DataFrame:
    """One line per patient: label, hottest, reference, uptake_min, spots, mtv_ml, tlg_g (`total`) and highest_peak.

    Parameters
    ----------
    baseline : the scan that stands for each patient; spots : hot spots of all scans
    """
    mine = spots[spots["row"].isin(baseline.index)]
    table = baseline.set_index("patient_id")[["label", "hottest", "reference", "uptake_min"]].copy()
    table["spots"] = mine.groupby("patient_id").size().reindex(table.index, fill_value=0)
    for name, column in {"mtv_ml": "mtv_41 % adapted", "tlg_g": "tlg_g"}.items():
        table[name] = total(mine, column, "patient_id", table.index)
    return table.assign(highest_peak=mine.groupby("patient_id")["suv_peak"].max())


def medians(table: pd.DataFrame) -> dict:
    """Medians of `per_patient` with their intervals, of all and of each label: dict group -> measure -> interval."""
    groups = {"all": table} | {str(label): rows for label, rows in table.groupby("label")}
    names = ("hottest", "highest_peak", "mtv_ml", "tlg_g", "reference")
    return {group: {name: median_interval(rows[name]) for name in names} for group, rows in groups.items()}


def hot_spheres(dataset: datasets.Dataset, counted: pd.DataFrame) -> pd.DataFrame | None:
    """What a simulation knows of the lesions hotter than their surroundings, of the scans that count; or None.

    Returns
    -------
    DataFrame: rows of ``truth.csv`` with ``scan``
    """
    truth = dataset.truth
    if truth is None or not {"suv", "x_mm", "diameter_mm"} <= set(truth):
        return None
    order = counted.set_index(["patient_id", "study"])["scan"].to_dict()
    truth = truth.assign(scan=[order.get((p, k)) for p, k in zip(truth["patient_id"], truth["study"], strict=True)])
    return truth[truth["scan"].notna() & (truth["suv"] > truth["background_suv"])]


def repeats(used, spots) -> pd.DataFrame:
    """The hot spots of the first study of each patient beside those of the second at the same place.

    Parameters
    ----------
    used : DataFrame of `scans` with a SUV and ``field_l``; of each study `one_per_study` counts
    spots : hot spots of all of them, with ``row`` of the cohort

    Returns
    -------
    DataFrame: patient_id, suv_peak (first study), again (second), diameter_mm, a row per hot spot found in both.
    """
    columns = ["x_mm", "y_mm", "z_mm", "diameter_mm", "suv_peak"]
    pairs = [pd.DataFrame(columns=["patient_id", *columns, "again"])]
    known = cohort.one_per_study(used[used["study"].notna()])
    for patient, rows in known.groupby("patient_id").groups.items():
        if len(rows) < 2:
            continue
        before, after = (spots.loc[spots["row"] == i, columns].assign(scan="") for i in rows[:2])
        both, _ = match(after, before)
        both = both[both["spot"] >= 0]
        pairs.append(both.assign(patient_id=patient, again=spots.loc[both["spot"], "suv_peak"].to_numpy()))
    return pd.concat([p for p in pairs if len(p)] or pairs, ignore_index=True)
