"""Tables of the PET page: what is shown of the measures, with units in the heads and all numbers of a column alike."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medlab.statistics.intervals import median_interval

HOT_SPOT = {"suv_max": "SUVmax", "suv_peak": "SUVpeak", "suv_mean": "SUVmean", "sul_peak": "SULpeak",
            "suvbsa_peak": "SUVbsa peak", "suvr_peak": "SUVR peak", "volume_ml": "volume, ml",
            "mtv_41 %": "MTV 41 %, ml", "tlg_g": "TLG, g"}
PLACE = {"volume_ml": "volume, ml", "peak_z": "peak z", "x_mm": "x, mm", "y_mm": "y, mm", "z_mm": "z, mm"}
MEDIAN = {"hottest": "SUVmax of the field of view, g/ml", "highest_peak": "highest SUVpeak of a hot spot, g/ml",
          "mtv_ml": "MTV, ml (41 % adapted)", "tlg_g": "TLG, g", "reference": "reference region, SUVbw, g/ml"}


def fixed(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Numbers as text with so many decimals, gaps as nothing."""
    return table.astype(float).map(lambda value: "" if pd.isna(value) else f"{value:.{digits}f}")


def hottest(spots: pd.DataFrame, most: int = 25) -> pd.DataFrame:
    """The hottest hot spots of all scans (`cohort.all_spots`), a line each: place in one column, then the measures."""
    shown = spots.sort_values("suv_max", ascending=False).head(most)
    place = [",\u00a0".join(f"{v:.0f}" for v in p) for p in shown[["x_mm", "y_mm", "z_mm"]].to_numpy(float)]
    scan = shown["scan"].str.replace(" ", "\u00a0")  # not broken
    values = fixed(shown[list(HOT_SPOT)], 2).rename(columns=HOT_SPOT)
    return shown[["spot"]].assign(scan=scan, **{"x, y, z, mm": place}, **values).set_index("scan")


def relative_volumes(spots: pd.DataFrame, methods: Mapping[str, str]) -> pd.DataFrame:
    """Volume by each threshold relative to that of 41 % adapted: median over the hot spots, its interval and n.

    methods : column of ``spots`` -> words, as `uptake.methods` gives them
    """
    ratio = spots[list(methods)].div(spots["mtv_41 % adapted"], axis=0)
    summary = pd.DataFrame({text: median_interval(ratio[name]) for name, text in methods.items()}).T
    return fixed(summary, 2).assign(n=summary["n"].astype(int)).rename(columns={"value": "median"})


def written(one: Mapping) -> str:
    """A median with its interval as text: value (low to high), n = ...; a dash without values."""
    interval = f" ({one['low']:.2f} to {one['high']:.2f})" if np.isfinite(one["low"]) else ""
    return f"{one['value']:.2f}{interval}, n = {one['n']}" if one["n"] else "-"


def medians(numbers: Mapping[str, Mapping]) -> pd.DataFrame:
    """Medians over patients, a column per group, from `cohort.medians`."""
    return pd.DataFrame({group: {MEDIAN[name]: written(one) for name, one in found.items()}
                         for group, found in numbers.items()})


def places(table: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """The largest places of `uptake_maps.clusters`: more or less uptake, volume, z of the peak and where it is."""
    shown = table.head(most).set_index("sign").rename_axis("uptake")
    return fixed(shown.reindex(columns=list(PLACE)), 1).rename(columns=PLACE)


def places_per_scan(regions: pd.DataFrame, is_normal: pd.Series) -> pd.DataFrame:
    """Mean number of places with more and with less uptake, of the scans of normal persons and of the others.

    Parameters
    ----------
    regions : as `cohort.unusual` gives them; is_normal : bool, indexed by cohort row, of all scans
    """
    count = regions.groupby(["row", "sign"]).size().unstack(fill_value=0).reindex(is_normal.index, fill_value=0)
    count = count.reindex(columns=["more", "less"], fill_value=0)
    count = count.groupby(is_normal.map({True: "normal", False: "others"}))
    return count.mean().round(2).assign(scans=count.size()).rename_axis(index="persons", columns=None)


def errors(numbers: Mapping[str, Mapping]) -> pd.DataFrame:
    """Errors against the truth in %, a line per measure, from `uptake.errors`."""
    table = pd.DataFrame(numbers).T.set_index("name").rename_axis(None)
    shown = fixed(table.astype(float).round(1) + 0.0, 1).assign(n=table["n"].astype(int))
    return shown.rename(columns={"value": "median"})
