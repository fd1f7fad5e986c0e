"""Key numbers and counts as pages say them; plain data, drawn by `medlab.engine.answers`."""

from medlab.storage import plain

NUMBER = {"name": None, "value": None, "low": None, "high": None, "n": "", "who": "", "beside": [], "ceiling": [],
          "zero": 0.0, "unit": "", "digits": 3, "sign": ""}


def number(name: str, value, low=None, high=None, **more) -> dict:
    """One key number as pages show it: the number, its interval, and bars beside what it is to be compared with.

    Parameters
    ----------
    name : what it is, with the part it is of: "AUC, test part"
    value, low, high : float, int, text or None (not defined: it is shown as that)
    more : ``n`` (text: "48 patients, 11 malignant"), ``who`` (what the number is of, where others stand beside it),
        ``beside`` and ``ceiling`` (name -> value: baselines, and what could be reached at best), ``zero`` (where the
        bars begin, 0.5 for a C or an AUC), ``unit``, ``digits`` behind the point, and ``sign`` ("+" of a difference).

    Raises
    ------
    ValueError
        For a fact that no page would show.

    Examples
    --------
    >>> number("AUC", 0.8, 0.7, 0.9, beside={"table": 0.7})["beside"]
    [['table', 0.7]]
    """
    unknown = sorted(set(more) - set(NUMBER))
    if unknown:
        raise ValueError(f"key number {name!r}: {', '.join(unknown)} is not shown anywhere; known are "
                         f"{', '.join(NUMBER)}")
    pairs = {key: list(dict(more[key]).items()) for key in ("beside", "ceiling") if key in more}  # their order counts
    return plain(NUMBER | {"name": name, "value": value, "low": low, "high": high} | more | pairs)


def from_row(name: str, row, **more) -> dict:
    """A key number from a row with ``value``, ``low`` and ``high`` (a Series, a dict), see `number`."""
    return number(name, *(row.get(key) for key in ("value", "low", "high")), **more)


def of_result(name: str, result: dict, key: str, **more) -> dict:
    """A key number from a result file, in which ``x``, ``x_low`` and ``x_high`` stand side by side, see `number`."""
    return number(name, *(result.get(key + end) for end in ("", "_low", "_high")), **more)


def counted(n: int, one: str, many: str = "") -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "patient"), counted(3, "patient"), counted(0, "box", "boxes")
    ('1 patient', '3 patients', '0 boxes')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"


def joined(notes: list[str]) -> list[str]:
    """Notes with the reason behind a colon, those of the same reason as one.

    Examples
    --------
    >>> joined(["No curve of a: no events", "No curve of b: no events", "No curve of c: no events", "Other"])
    ['No curve of a (and 2 more of this reason): no events', 'Other']
    """
    heads: dict[str, list] = {}
    for note in notes:
        head, colon, reason = note.partition(": ")
        heads.setdefault(reason if colon else note, []).append((head, note))
    return [of[0][1] if len(of) == 1 else f"{of[0][0]} (and {len(of) - 1} more of this reason): {reason}"
            for reason, of in heads.items()]


def written(value, low=None, high=None, digits=2, sign="") -> str:
    """A number with its interval in a sentence.

    Examples
    --------
    >>> written(0.7, 0.45, 0.88), written(0.05, -0.1, 0.2, sign="+"), written(None)
    ('0.70 (0.45 to 0.88)', '+0.05 (-0.10 to +0.20)', 'not defined')
    """
    if value is None:
        return "not defined"
    if low is None or high is None or low != low or high != high:
        return f"{value:{sign}.{digits}f} (no interval)"
    return f"{value:{sign}.{digits}f} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"


def compared(difference: dict, what: str, other: str) -> str:
    """Whether something is shown to be better than another, with the paired difference, as a sentence.

    Examples
    --------
    >>> compared({"value": 0.05, "low": -0.11, "high": 0.23}, "the network", "the clinical table")
    'The network is not shown to beat the clinical table: difference +0.05 (-0.11 to +0.23).'
    """
    low, high = difference.get("low"), difference.get("high")
    said = "beats" if low is not None and low > 0 else "is worse than" if high is not None and high < 0 else \
        "is not shown to beat"
    return (f"{what[0].upper()}{what[1:]} {said} {other}: difference "
            f"{written(difference.get('value'), low, high, sign='+')}.")
