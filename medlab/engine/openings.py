"""The ledger of openings: how often a test part was looked at, with which weights and which choices.

A test part belongs to its data and not to a run: it is known by its content, so that another name of the run or of the
dataset does not start at one. ``reports/.openings/<test part>.jsonl`` is append-only; nothing in medlab deletes it.
"""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from medlab import reports_dir
from medlab.storage import plain

NAMES = ("row", "patient_id", "image", "mask", "valid_mask", "frame", "split", "duplicate_group", "problem")
FIELDS = {"time": str, "run": str, "notebook": str, "weights": str, "choices": dict}


def weights_digest(model) -> str:
    """sha256 of the weights of a network, in order: files also hold the date of saving.

    Parameters
    ----------
    model : anything with ``get_weights()``, or None where no network is involved (empty text).
    """
    digest = hashlib.sha256()
    for weight in model.get_weights() if model is not None else ():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest() if model is not None else ""


def content_of(cohort: pd.DataFrame, rows: list) -> str:
    """Key of a test part: a digest of its content, whatever its patients, files and runs are called.

    Parameters
    ----------
    cohort : cohort.parquet, with ``row`` and for images ``sha``, that of their pixels; rows without an image are
        known by what their table says, a number as 50 or 50.0 (a value missing elsewhere makes pandas change that)
    rows : the values of ``row`` that are the test part

    Returns
    -------
    str, 32 hex digits; the same for the same rows in another order.
    """
    test = cohort[cohort["row"].isin(rows)]
    content = sorted(map(_content_of_row, test.to_dict("records")))
    return hashlib.sha256("\n".join(content).encode(errors="replace")).hexdigest()[:32]


def _content_of_row(row):
    if isinstance(row.get("sha"), str):
        return row["sha"]
    given = {name: row[name] for name in sorted(row) if name not in NAMES and pd.isna(row[name]) is not True}
    return "\x1f".join(f"{name}={_as_float(value)}" for name, value in given.items())


def _as_float(value):
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def ledger(prepared: dict) -> Path:
    """File of the openings of the test part of a run.

    Parameters
    ----------
    prepared : preprocessing.json, whose ``test_part`` notebook 02 has taken from `content_of`

    Raises
    ------
    ValueError
        Where an older preparation does not say which test part it has.
    """
    if not prepared.get("test_part"):
        raise ValueError("preprocessing.json does not say which test part this is ('test_part'): execute notebook 02 "
                         "of this run again")
    return reports_dir() / ".openings" / f"{prepared['test_part']}.jsonl"


def read(prepared: dict, notebook: str | None = None) -> pd.DataFrame:
    """Openings of the test part of a run, whichever run they were made by, the first first.

    Parameters
    ----------
    prepared : preprocessing.json
    notebook : whose question; default: all that have looked

    Returns
    -------
    DataFrame: time, run, notebook, weights, choices, set (number of the set of weights and choices within its
    notebook). A line that cannot be read stays in the file and is left out here.
    """
    rows, file = [], ledger(prepared)
    for line in file.read_bytes().split(b"\n") if file.exists() else ():
        try:
            rows.append({key: kind(json.loads(line)[key]) for key, kind in FIELDS.items()})
        except (ValueError, TypeError, KeyError):  # cut off by a full disk
            continue
    found = pd.DataFrame(rows, columns=list(FIELDS))
    same = found["weights"] + found["choices"].map(lambda one: json.dumps(one, sort_keys=True))
    found = found.assign(set=same.groupby(found["notebook"]).transform(lambda one: pd.factorize(one)[0]).astype(int))
    return found if notebook is None else found[found["notebook"] == notebook]


def record(prepared: dict, run: str, notebook: str, weights: str, choices: dict) -> pd.DataFrame:
    """Write an opening into the ledger, before anything is predicted; the same look by the same run counts once.

    Parameters
    ----------
    prepared : preprocessing.json
    run, notebook : who looks
    weights : see `weights_digest`
    choices : everything else that the numbers depend on (rule, threshold, calibration, intervals)

    Returns
    -------
    DataFrame, as `read` gives it for this notebook, this opening included.
    """
    entry = plain({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "run": run, "notebook": notebook, "weights": weights,
                   "choices": choices})
    known, file = read(prepared, notebook), ledger(prepared)
    if any(all(row[key] == entry[key] for key in ("run", "weights", "choices")) for row in known.to_dict("records")):
        return known
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        cut_off = bool(text := stream.read()) and not text.endswith(b"\n")
        stream.write(b"\n" * cut_off + json.dumps(entry).encode("ascii") + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    return read(prepared, notebook)


def in_words(found: pd.DataFrame) -> str:
    """What a page says about openings of a test part, as `read` and `record` give them."""
    if found.empty:
        return "This test part has not been opened."
    said = []
    for name, mine in found.groupby("notebook"):
        sets, networks = mine["set"].nunique(), mine["weights"].nunique()
        runs = ", ".join(dict.fromkeys(mine["run"]))
        said.append(f"{name}: {_count(sets, 'set of weights and choices', 'sets of weights and choices')}"
                    + (f" ({_count(networks, 'network', 'networks')})" if sets > 1 else "") + f", by {runs}")
    text = f"This test part has been opened by {'; '.join(said)}."
    if any(mine["set"].nunique() > 1 for _, mine in found.groupby("notebook")):
        text += (" WARNING: more than one has met these test patients. If settings were changed after looking, report "
                 "the first opening or confirm on new patients; develop with the test part closed.")
    return text


def _count(n, one, many):
    return f"{n} {one if n == 1 else many}"
