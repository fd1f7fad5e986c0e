"""How a source was read: the table and the questions that are shown before a dataset is written."""

import sys
import textwrap

from medlab import storage


def in_words(draft) -> list[str]:
    """Lines of the table "this is how I read it" and of the open questions, for a terminal."""
    width = max((len(r["what"]) for r in draft.understood), default=0)
    lines = []
    for row in draft.understood:
        first, *rest = textwrap.wrap(row["read_as"], 100) or [""]
        lines += [f"  {row['what']:{width}s}  {first}", *(f"  {'':{width}s}  {line}" for line in rest)]
    return lines + [f"  ? {q['question']} ({q['option']} answers it)" for q in draft.questions]


def show(draft, name) -> None:
    """Print how the source was read."""
    lines = in_words(draft)
    if lines:
        print(storage.inert("\n".join([f"{name}: this is how I read it", *lines])), flush=True)


def confirm(draft, name, yes=False) -> None:
    """Ask a person at a terminal before writing; without one, open questions need ``--yes`` or their option.

    Raises
    ------
    ValueError
        When the answer is no, or nobody can be asked.
    """
    if yes or not draft.questions:
        return
    options = ", ".join(dict.fromkeys(q["option"] for q in draft.questions))
    if not sys.stdin or not sys.stdin.isatty():
        raise ValueError(f"{name}: {len(draft.questions)} open question{'s' * (len(draft.questions) > 1)}, see above: "
                         f"answer with {options}, or say --yes to take it as it was read")
    if input(f"write data/{name} as it was read? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ValueError(f"{name}: not written; the options that change it: {options}")
