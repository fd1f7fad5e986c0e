"""Small files that one step hands to the next: atomic writing, plain JSON, digests."""

import hashlib
import json
import math
import os
import stat
from functools import lru_cache
from pathlib import Path


def read_json(path) -> dict:
    """Parsed JSON file, or an empty dict where there is none; ValueError naming a damaged one."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.parent.name}/{path.name}: damaged, not readable as JSON ({error}); remove it, the "
                         "notebook that writes it is then executed again") from None


def read_if_sound(path) -> dict:
    """As `read_json`; an empty dict, too, where the file is damaged or no dictionary."""
    try:
        found = read_json(path)
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def fresh(folder, *parts) -> Path:
    """The folder as a path, with its subfolders made; ValueError where it already holds something."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: expected an absent or empty folder; remove it or name another")
    for part in parts:
        (folder / part).mkdir(parents=True)
    return folder


def plain(value) -> dict | list | str | float | None:
    """Value made of plain Python types: NumPy scalars and arrays, paths and NaN (becomes None) included.

    Examples
    --------
    >>> plain({1: (Path("a"), float("nan"))})
    {'1': ['a', None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def write_atomically(path, writer) -> None:
    """Write beside, force to disk, then rename: a full disk or a kill never leaves half a file.

    Parameters
    ----------
    path : Path
        The file to appear.
    writer : callable
        Called with a temporary path of the same suffix; writes the file there.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        writer(beside)
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path, data) -> None:
    """Write plain JSON atomically; NumPy values are converted and NaN becomes null."""
    write_text(path, json.dumps(plain(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path, text) -> None:
    """Write text atomically as UTF-8."""
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


@lru_cache(maxsize=4096)
def _digest(path, *_facts):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def facts_of(path) -> tuple[int, int, int, int] | None:
    """Size, times (ns) and inode of a file: equal as long as nobody wrote it; None: there is no such file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    regular = stat.S_ISREG(found.st_mode)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino) if regular else None


def digest_of(value) -> str:
    """sha256 of a value (as JSON; what JSON does not know counts as its text)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def digest(path) -> str | None:
    """sha256 of a file (remembered while `facts_of` it stay the same), or None where there is none."""
    facts = facts_of(path)
    return facts and _digest(str(path), *facts)
