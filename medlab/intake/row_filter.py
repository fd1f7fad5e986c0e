"""Which rows of a table count: the filter ``--where``, and what becomes of several rows with one key."""

import ast
import re

import numpy as np
import pandas as pd

from medlab.intake import tables

HARMLESS = (ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.BinOp,
            ast.BitAnd, ast.BitOr, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
            ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple)


def where(table, text) -> np.ndarray:
    """Rows that fulfil a condition such as ``modality == 'X-ray' and age >= 18``, (n,) bool.

    Names are columns (in backticks where they hold a space); there are comparisons, ``in``, ``and``, ``or``, ``not``,
    no calls and no attributes, so that a condition can do nothing but compare.

    Raises
    ------
    ValueError
        For a text that is no such condition, an unknown column, or a comparison of text with numbers.
    """
    names = []
    plain = re.sub(r"`([^`]*)`", lambda m: names.append(m[1]) or f"_column_{len(names) - 1}", str(text))
    try:
        tree = ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"--where {text!r}: not a condition ({getattr(error, 'msg', error)}); expected such as "
                         "\"modality == 'X-ray' and age >= 18\"") from None
    other = next((node for node in ast.walk(tree) if not isinstance(node, HARMLESS)), None)
    if other is not None:
        raise ValueError(f"--where {text!r}: found {type(other).__name__.lower()}, expected columns, values, "
                         "comparisons, in, and, or, not")
    used = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            given = re.fullmatch(r"_column_(\d+)", node.id)
            name = tables.find_column(table, names[int(given[1])] if given else node.id)
            node.id = used.setdefault(name, f"_c{len(used)}")
    try:
        found = table[list(used)].rename(columns=used).eval(ast.unparse(tree), engine="python")
        kept = np.broadcast_to(np.asarray(found), len(table)).astype(object)
        if not all(isinstance(v, (bool, np.bool_)) for v in kept[:1000]):
            raise TypeError("it gives no yes or no for each row")
    except (TypeError, ValueError, NotImplementedError, KeyError, AttributeError) as error:
        raise ValueError(f"--where {text!r}: {' '.join(str(error).split())[:200]}; a column of text is compared with "
                         "a text in quotes, a column of numbers with a number") from None
    return kept.astype(bool)


def chosen(draft, table, column, name) -> pd.DataFrame:
    """The rows that ``--where`` keeps, one for each value of a column where the table has it (`once`)."""
    table = filtered(draft, table)
    return once(draft, table, column, name) if column in table else table


def filtered(draft, table) -> pd.DataFrame:
    """The rows that ``--where`` keeps; the others are logged, none left is refused."""
    text = draft.options.get("where")
    if text is None:
        return table
    kept = where(table, text)
    draft.understand("rows", f"{kept.sum()} of {len(table)} by --where {text}")
    if not kept.any():
        raise ValueError(f"--where {text!r}: keeps none of {len(table)} rows; look at the spelling of its values")
    for i in np.flatnonzero(~kept):
        draft.say(name_of(draft, table, i), "refused", f"left out by --where {text}")
    return table[kept].reset_index(drop=True)


def name_of(draft, table, i) -> str:
    """How the log names a row: by its key, or its number where keys are to be hidden."""
    key = draft.options.get("key")
    return f"{key} {draft.who(table[key].iloc[i])}" if key in table and not draft.options.get("_hide") else \
        f"row {i + 1} of the tables"


def once(draft, table, column, name, most=20) -> pd.DataFrame:
    """One row for each value of a column: copies are left out, rows that differ need ``--on-duplicate``.

    With ``first`` the first of such rows is taken, with ``refuse`` none of them; what is left out is logged.

    Raises
    ------
    ValueError
        Listing all such values with their rows, at most `most`, where no option says what becomes of them.
    """
    how, key = draft.options.get("on_duplicate"), tables.canonical_keys(table[column])
    copies = table.assign(**{column: key}).duplicated() & key.notna()
    several = key.notna() & ~copies & key.isin(key[~copies & key.duplicated()])
    several &= key.where(~copies).duplicated(keep=False)
    listed = several[several].index
    if len(listed) and how is None:
        places = {}
        for i in listed:
            places.setdefault(key[i], []).append(str(i + 1))
        hide = draft.options.get("_hide")
        shown = [("rows " if hide else f"{v!r} in rows ") + " and ".join(r) for v, r in list(places.items())[:most]]
        more = f"; and {len(places) - most} more" if len(places) > most else ""
        values = f"{len(places)} values of {column!r} occur" if len(places) > 1 else f"1 value of {column!r} occurs"
        raise ValueError(f"{name}: {values} in several rows that differ (counted below "
                         f"the header): {'; '.join(shown)}{more}; expected one row each; say --on-duplicate first or "
                         "--on-duplicate refuse (takes none of them), or choose rows by another column with --where")
    out = several & (key.where(several).duplicated() if how == "first" else True)
    for i in np.flatnonzero(copies | out):
        draft.say(name_of(draft, table, i), *(
            ("duplicate", f"row {i + 1} repeats an earlier row; left out") if copies.iloc[i] else
            ("refused", f"row {i + 1} is one of several with this {column} (--on-duplicate {how})")))
    if len(listed):
        draft.understand("rows", f"{int(out.sum())} of {len(table)} left out by --on-duplicate {how}")
    return table[~(copies | out)].reset_index(drop=True)
