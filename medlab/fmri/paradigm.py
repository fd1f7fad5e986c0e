"""What happened during a functional run: the table of events, blocks, confounds, contrasts by name.

Times are seconds after the first volume.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import cards, vocabulary

BLOCK_GAP_S = 3.0  # events of one condition that follow within this gap are one block
FEWEST_FREE = 20  # degrees of freedom without which no variance is worth naming


def read_events(path, column="trial_type") -> pd.DataFrame:
    """Events of a task from a BIDS table.

    Parameters
    ----------
    path : Path
        Tab-separated; columns ``onset`` and ``duration`` in s from the first volume, and what each event is.
    column : str
        The column that names the condition; without it all events are one condition, "task".

    Returns
    -------
    DataFrame
        onset, duration, trial_type (a word: what is no letter or digit becomes "_"), in order of onset; what was
        changed stands in ``attrs["notes"]``.

    Raises
    ------
    ValueError
        Naming line and column of the first problem.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path.name}: not readable as a tab-separated table of events ({error})") from None
    written = table
    table = table.mask(table.apply(vocabulary.missing))
    missing = [c for c in ("onset", "duration") if c not in table]
    if missing:
        comma = "; it seems to be separated by commas" if any("," in c for c in table.columns) else ""
        raise ValueError(f"{path.name}: no column {missing[0]!r}; found {', '.join(table.columns)}{comma}; expected "
                         "the BIDS columns onset, duration, trial_type, in s from the first volume")
    notes = []
    if column not in table:
        if column != "trial_type":
            raise ValueError(f"{path.name}: no column {column!r}; found {', '.join(table.columns)}")
        notes.append("no column trial_type: all events are one condition, task")
        table[column] = "task"
    for name in ("onset", "duration"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = ~np.isfinite(numbers) | ((numbers < 0) & (name == "duration"))
        if wrong.any():
            line = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"{path.name}, line {line + 2}: {name} is {table[name].iloc[line]!r}, expected a number "
                             f"of seconds{' from 0' if name == 'duration' else ''}")
        table[name] = numbers
    unnamed = table[column].isna()
    gaps = written.get(column, table[column])[unnamed].value_counts()
    notes += [f"{unnamed.sum()} events without a {column} left out"
              + "".join(f" ({w!r} {n})" for w, n in gaps.items() if w)] if unnamed.any() else []
    events = table.loc[~unnamed, ["onset", "duration"]].assign(trial_type=table[column])
    if events.empty:
        raise ValueError(f"{path.name}: no events; expected one line per event")
    names = {n: re.sub(r"\W+", "_", n.strip()) for n in events["trial_type"].unique()}
    names = {n: f"c_{word}" if not re.match(r"[A-Za-z_]", word) else word for n, word in names.items()}
    notes += [f"conditions renamed: {', '.join(f'{n} is {w}' for n, w in names.items() if n != w)}"] \
        if any(n != w for n, w in names.items()) else []
    if len(set(names.values())) < len(names):
        raise ValueError(f"{path.name}: the names of the conditions {list(names)} differ only in signs; rename them")
    events["trial_type"] = events["trial_type"].map(names)
    events = events.sort_values("onset", kind="stable").reset_index(drop=True)
    events.attrs["notes"] = notes
    return events


def task(folder: Path, row: pd.Series, column: str, dropped_s: float, seconds: float,
         late: str = "stop") -> tuple[pd.DataFrame, list[str]]:
    """Events of a run of the dataset, moved along with the volumes that are left out at its start, and checked.

    Parameters
    ----------
    folder, row : of the dataset, and its cohort row, with the path of the table in ``events``
    column : see `read_events`
    dropped_s : seconds left out at the start; seconds : length of what stays; late : see `check_events`

    Returns
    -------
    events, notes : as `check_events` returns them
    """
    if not isinstance(row.get("events"), str):
        raise ValueError("no events: cohort.csv needs a column 'events' with the path of a BIDS table (onset, "
                         "duration, trial_type, separated by tabs) for this run; without it there is no task to model")
    table = read_events(folder / row["events"], column)
    table["onset"] -= dropped_s
    return check_events(table, seconds, late)


def check_events(events, seconds, late="stop") -> tuple[pd.DataFrame, list[str]]:
    """Events that a run of this length can have; what is suspicious, as notes.

    Parameters
    ----------
    events : DataFrame of `read_events`
    seconds : float, length of the run
    late : {"stop", "drop"}
        What to do with events that begin after the last volume.

    Returns
    -------
    events : DataFrame
    notes : list of str

    Raises
    ------
    ValueError
        For events after the end, twice the same event, and events of one condition that overlap.
    """
    notes, after = list(events.attrs.get("notes", [])), events["onset"] >= seconds
    if after.any():
        last = events["onset"].max()
        hint = ", milliseconds?" if last > 100 * seconds else \
            f"; they would fit a repetition time {last / seconds:.2f} times as long or longer: is it right?"
        text = (f"{after.sum()} of {len(events)} events begin after the end of the run (last onset {last:g} s, the run "
                f"lasts {seconds:g} s{hint})")
        if late != "drop" or after.all():
            raise ValueError(f"{text}; correct the table or fmri_tr_s" + ("" if after.all() else
                             ", or leave them out with fmri_late_events: drop"))
        events, notes = events[~after].reset_index(drop=True), [*notes, f"{text}: left out"]
    early = events["onset"] < 0
    if early.any():
        notes.append(f"{early.sum()} events begin before the first volume (dropped volumes?)")
    for name, mine in events.groupby("trial_type"):
        end = (mine["onset"] + mine["duration"]).cummax().shift()
        wrong = mine["onset"].duplicated() | (mine["onset"] < end - 0.01)
        if wrong.any():
            first = mine[wrong].iloc[0]
            raise ValueError(f"events: {name} at {first['onset']:g} s begins before the {name} before it has ended "
                             f"({wrong.sum()} such); expected events of one condition one after the other; "
                             "correct the table")
    end = (events["onset"] + events["duration"]).cummax().shift()
    apart = int((events["onset"] < end - 0.01).sum())
    notes += [f"{apart} events overlap with one of another condition"] if apart else []
    covered = (events["onset"] + events["duration"]).max() / seconds
    if covered < 0.6:
        notes.append(f"the last event ends at {covered:.0%} of the run: is the repetition time too long, or the "
                     "table cut?")
    few = events["trial_type"].value_counts()
    notes += [f"{name}: one event only, its estimate rests on it" for name in few.index[few == 1]]
    return events, notes


def trial_blocks(events, gap_s=BLOCK_GAP_S) -> pd.DataFrame:
    """Events of one condition that follow each other within `gap_s` as one block: onset, duration, trial_type, n.

    Events of other conditions may lie between them. Blocks are in the order of their onsets.
    """
    rows, latest = [], {}
    for event in events.sort_values("onset", kind="stable").itertuples():
        last, end = latest.get(event.trial_type), event.onset + event.duration
        if last and event.onset - last["end"] <= gap_s:
            last |= {"end": max(last["end"], end), "n": last["n"] + 1}
        else:
            latest[event.trial_type] = {"onset": event.onset, "end": end, "trial_type": event.trial_type, "n": 1}
            rows.append(latest[event.trial_type])
    table = pd.DataFrame(rows, columns=["onset", "end", "trial_type", "n"])
    return table.assign(duration=table["end"] - table["onset"])[["onset", "duration", "trial_type", "n"]]


def below(folder, text) -> Path:
    """Path of a file named in a parameter, which must lie below the folder."""
    if not cards.inside(folder, text):
        raise ValueError(f"fmri_confounds {text!r}: no such file below the dataset; expected a relative path such as "
                         "func/sub-01_confounds.tsv")
    return folder / text


def contrasts(text, conditions) -> dict[str, dict[str, float]]:
    """Contrasts by name as weights of the conditions.

    Parameters
    ----------
    text : str
        Expressions separated by commas, such as ``face - house, face - 0.5*house - 0.5*scene, task``; ``task`` is the
        mean of all conditions. ``auto``: task, and with two conditions their difference, with more each condition
        against the mean of the others.
    conditions : list of str

    Returns
    -------
    dict: name -> {condition: weight}

    Raises
    ------
    ValueError
        For an expression that is no sum of known conditions, naming what was found.

    Examples
    --------
    >>> contrasts("face - 0.5*house", ["face", "house"])
    {'face - 0.5*house': {'face': 1.0, 'house': -0.5}}
    """
    conditions = list(conditions)
    everything = dict.fromkeys(conditions, 1 / len(conditions))
    if text.strip() == "auto":
        found = {"task": everything}
        if len(conditions) == 2:
            a, b = conditions
            return found | {f"{a} - {b}": {a: 1.0, b: -1.0}}
        rest = {c: {o: 1.0 if o == c else -1 / (len(conditions) - 1) for o in conditions} for c in conditions}
        return found | ({f"{c} - others": weights for c, weights in rest.items()} if len(conditions) > 2 else {})
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("fmri_contrasts is empty; expected auto, or such as: "
                         + (f"{conditions[0]} - {conditions[1]}" if len(conditions) > 1 else conditions[0]))
    return {part: _expression(part, conditions, everything) for part in parts}


def _expression(text, conditions, everything):
    term = re.compile(r"\s*([+-]?)\s*(?:([0-9]*\.?[0-9]+)\s*\*\s*)?([A-Za-z_]\w*)\s*")
    weights, at = dict.fromkeys(conditions, 0.0), 0
    while at < len(text):
        found = term.match(text, at)
        if not found or (at and not found[1]):
            raise ValueError(f"contrast {text!r}: not understood from {text[at:]!r}; expected such as face - 0.5*house")
        if found[3] not in (*conditions, "task"):
            raise ValueError(f"contrast {text!r}: no condition {found[3]!r}; the events have {', '.join(conditions)}")
        factor = float(found[2] or 1) * (-1 if found[1] == "-" else 1)
        mine = everything if found[3] == "task" and "task" not in conditions else {found[3]: 1.0}
        weights = {c: w + factor * mine.get(c, 0.0) for c, w in weights.items()}
        at = found.end()
    if not any(weights.values()):
        raise ValueError(f"contrast {text!r}: all weights are 0")
    return weights


def freedom(design: pd.DataFrame) -> int:
    """Degrees of freedom of a design, volumes minus rank; ValueError for too few, and for a redundant regressor."""
    rank = np.linalg.matrix_rank(design)
    if len(design) - rank < FEWEST_FREE or rank < design.shape[1]:
        raise ValueError(f"{len(design)} volumes for {design.shape[1]} regressors (rank {rank}) leave "
                         f"{len(design) - rank} degrees of freedom; expected at least {FEWEST_FREE} and no regressor "
                         "that others add up to. Smaller fmri_motion_regressors, longer fmri_high_pass_s, or fewer "
                         "columns in fmri_confounds?")
    return len(design) - rank


def table_of(wanted: Mapping, inflation: Mapping) -> pd.DataFrame:
    """Contrasts for the page: weights of the conditions as text, and the variance inflation by the confounds."""
    return pd.DataFrame({"weights": {name: ", ".join(f"{c} {v:+.2g}" for c, v in one.items() if v)
                                     for name, one in wanted.items()},
                         "variance inflation by confounds": pd.Series(inflation).round(2)})


def variance_inflation(design, weights, conditions) -> float:
    """How many times larger the variance of a contrast is than with a constant and the conditions alone.

    Parameters
    ----------
    design : DataFrame, volumes x regressors; weights : (regressors,); conditions : names of the columns of the task
    """
    weights, alone = np.asarray(weights, float), [*conditions, "constant"]
    small = weights[[design.columns.get_loc(c) for c in alone]]
    return _variance(design.to_numpy(float), weights) / _variance(design[alone].to_numpy(float), small)


def _variance(columns, weights):
    """Variance of a contrast for noise of variance 1; not by X'X, which squares the condition number of the columns."""
    size = np.linalg.norm(columns, axis=0)
    size = np.where(size > 0, size, 1.0)
    return float(np.sum(((weights / size) @ np.linalg.pinv(columns / size)) ** 2))
