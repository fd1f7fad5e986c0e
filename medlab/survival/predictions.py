"""Predictions for single patients: the table that is handed on, and examples with their image."""

import numpy as np
import pandas as pd

from medlab.imaging import slices
from medlab.survival import hazards
from medlab.survival.followup import days

EXAMPLES = {"low": 0.1, "median": 0.5, "high": 0.9}  # quantiles of the risk of the patients shown as examples


def columns(name: str, risk, curves, grid, horizons) -> dict[str, np.ndarray]:
    """Columns of risk.parquet of one model: risk, predicted median (NaN beyond the follow-up), survival at horizons.

    Parameters
    ----------
    risk : (n,); curves : (n, g) on grid (g,) days; horizons : days
    """
    median = hazards.median_days(grid, curves)
    found = {f"risk_{name}": risk, f"median_days_{name}": np.where(np.isfinite(median), median, np.nan)}
    return found | {f"survival_{h:.0f}_{name}": hazards.at(grid, curves, h) for h in horizons}


def table(people, part, models: dict, grid, horizons) -> pd.DataFrame:
    """One row per patient: follow-up, part of the split, and `columns` of every model.

    Parameters
    ----------
    people : DataFrame of `hazards.follow_up` (n rows); part : their part; models : name -> risk (n,), curves (n, g)
    """
    found = {}
    for name, (risk, curves) in models.items():
        found |= columns(name, risk, curves, grid, horizons)
    return people.assign(split=part, **found)


def examples(risk) -> np.ndarray:
    """Positions of the patients at the quantiles `EXAMPLES` of the risk (n,)."""
    order = np.argsort(risk, kind="stable")
    return order[np.round(np.array(list(EXAMPLES.values())) * (len(order) - 1)).astype(int)]


def examples_in_words(grid, curves, horizon: float) -> list[str]:
    """What the curves (n, g) of `examples` promise: median, the days of the middle half, mean up to the horizon."""
    medians, means = hazards.median_days(grid, curves), hazards.rmst_days(grid, curves, horizon)
    middle = [hazards.median_days(grid, curves + shift) for shift in (-0.25, 0.25)]  # survival 0.75 and 0.25
    return [f"{risk} risk; median {days(median)}\nhalf of them: {days(a)} to {days(b)}"
            f"\nmean up to {horizon:.0f} days: {mean:.0f} days"
            for risk, median, a, b, mean in zip(EXAMPLES, medians, *middle, means, strict=True)]


def picture(patient, table, cohort, images, boxes=None, marks=0) -> np.ndarray | None:
    """The prepared picture with the largest mark, of a volume the slice through the box or the middle; None without.

    Parameters
    ----------
    table : split.parquet with ``position``, the row of its image in images.npy; cohort : cohort.parquet
    images : array of images.npy, or None; boxes : boxes.csv or None; marks : channels at the end that are masks
    """
    rows = table[table["patient_id"] == patient]
    rows = rows[rows["has_image"]] if "has_image" in rows else rows
    if images is None or rows.empty:
        return None
    best = cohort[cohort["row"].isin(rows["row"])]
    best = best.sort_values("mask_size", ascending=False).head(1) if "mask_size" in best else best.head(1)
    taken = images[rows.set_index("row").loc[best["row"].iloc[0], "position"]]
    return slices.pictures(taken[None, ..., : taken.shape[-1] - marks], best, boxes)[0]
