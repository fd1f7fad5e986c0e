"""Which values a parameter may have: numbers between limits, or words, also those of a table of the package."""

import ast
import fnmatch
import re
from functools import lru_cache
from pathlib import Path

TABLE = r"[a-z_]+\.[a-z_]+\.[A-Z]+"


def is_legal(value, legal) -> bool:
    """Whether a value is one of a list (or fits a pattern of it), or within ``[lowest, highest]`` (None: no limit)."""
    if _is_range(legal):
        return (legal[0] is None or value >= legal[0]) and (legal[1] is None or value <= legal[1])
    written = re.sub(r"\s*,\s*", ",", str(value).strip())
    return value in legal or any(fnmatch.fnmatchcase(written, str(one)) for one in legal)


def all_of(legal) -> list:
    """A list of legal values, the names of a table of the package in the place of an entry that holds it."""
    if _is_range(legal):
        return legal
    found = []
    for one in legal:
        table = re.search(TABLE, str(one))
        found += [one.replace(table[0], key) for key in _keys(table[0])] if table else [one]
    return found


@lru_cache
def _keys(dotted):
    """Names that a module enters into a table at its top, ``TABLE = {"a": ...}``; read, for an import takes seconds."""
    *module, table = dotted.split(".")
    path, found = Path(__file__).parents[1].joinpath(*module).with_suffix(".py"), []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == table and isinstance(node.value, ast.Dict):
            found += [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
    return found


def _is_range(legal):
    return len(legal) == 2 and not any(isinstance(limit, str) for limit in legal)


def in_words(legal) -> str:
    """A list or a range of legal values, as an error names it."""
    if not _is_range(legal):
        plain = [str(one) for one in legal if "*" not in str(one)]
        more = ", or what its line in the parameters cell says besides" if len(plain) < len(legal) else ""
        return f"one of {', '.join(plain)}{more}"
    return f"{legal[0]} or more" if legal[1] is None else f"{legal[0]} to {legal[1]}"


def short(value) -> str:
    """A value as an error shows it; a number of thousands of digits is not written out."""
    huge = isinstance(value, int) and value.bit_length() > 200
    return f"a number of about {int(value.bit_length() * 0.301)} digits" if huge else repr(value)[:80]
