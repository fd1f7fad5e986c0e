"""The answer of a notebook: a few sentences and key numbers, computed where they are known.

It stands first on the page of the notebook, makes up the index of the run and the list of runs, and is shown in
JupyterLab where it is given (`medlab.engine.runs.answer`).
"""

from collections.abc import Iterable, Sequence

from medlab.engine.templates import render
from medlab.statistics.keys import NUMBER
from medlab.storage import read_if_sound

MIME = "application/vnd.medlab.answer+json"


def answer(sentences: str | Iterable[str], numbers: Sequence[dict] = (), warnings: Iterable[str] = ()) -> dict:
    """What a notebook answers, as it is stored: ``sentences``, ``numbers`` (`statistics.keys.number`), ``warnings``."""
    def words(given):
        return [str(one) for one in ([given] if isinstance(given, str) else given) if str(one).strip()]

    return {"sentences": words(sentences), "numbers": [NUMBER | dict(one) for one in numbers],
            "warnings": words(warnings)}


def written(value, digits=3, unit="", sign="") -> str:
    """A number as pages write it.

    Examples
    --------
    >>> written(0.70512), written(240), written(None), written(61.0, 1, "days")
    ('0.705', '240', 'not defined', '61.0 days')
    """
    if value is None:
        return "not defined"
    if isinstance(value, str):
        return value
    text = f"{value:{sign}}" if isinstance(value, int) else f"{value:{sign}.{digits}f}"
    return f"{text} {unit}" if unit else text


def bars(one: dict) -> list[dict]:
    """Bars of a key number, in percent of their common width; none where there is nothing to compare with.

    Returns
    -------
    list of dict: ``label``, ``text``, ``own``, ``start`` and ``width`` of the bar, ``low`` and ``high`` of the interval
    (or None).
    """
    rows = [(label, value, "") for label, value in one["beside"]]
    rows += [(one["who"] or "here", one["value"], "own")]
    rows += [(label, value, "ceiling") for label, value in one["ceiling"]]
    rows = [row for row in rows if isinstance(row[1], (int, float))]
    if len(rows) < 2 or not any(kind == "own" for *_, kind in rows):
        return []
    limits = [limit for limit in (one["low"], one["high"]) if isinstance(limit, (int, float))]
    every = [one["zero"], *limits, *(value for _, value, _ in rows)]
    least, most = min(every), max(every)

    def at(value):
        return round(100 * (value - least) / ((most - least) or 1), 1)

    found = []
    for label, value, kind in rows:
        start, end = sorted((at(one["zero"]), at(value)))
        shown = len(limits) == 2 and kind == "own"
        found.append({"label": label, "text": written(value, one["digits"]), "kind": kind, "start": start,
                      "width": max(end - start, 0.8), "low": at(limits[0]) if shown else None,
                      "high": at(limits[1]) if shown else None})
    return found


def shown(one: dict) -> dict:
    """An answer with its numbers written out, for a template."""
    style = ("digits", "unit", "sign")
    numbers = [dict(each, bars=bars(each), text=written(each["value"], *(each[key] for key in style)),
                    limits="" if each["low"] is None or each["high"] is None else
                    " to ".join(written(each[end], each["digits"], sign=each["sign"]) for end in ("low", "high")))
               for each in (NUMBER | given for given in one.get("numbers", []))]
    return {"sentences": one.get("sentences", []), "warnings": one.get("warnings", []), "numbers": numbers}


def read(path) -> dict | None:
    """A stored answer; None where there is none, or nothing that can be shown: then declared results stand there."""
    return sound(read_if_sound(path))


def sound(found) -> dict | None:
    """An answer as it was given, or None if it is of no shape that a page knows."""
    try:
        shown(found)
        return found if all(isinstance(one, str) for one in found["sentences"] + found["warnings"]) else None
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def as_html(one: dict) -> str:
    """An answer as a box for JupyterLab, with its own style."""
    return render("lab.html.j2", answer=shown(one))
