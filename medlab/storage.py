"""Small files that one step hands to the next: atomic writing, plain JSON, digests."""

import errno
import hashlib
import json
import math
import os
import re
import stat
import unicodedata
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


def read_yaml(path, as_text=()) -> dict:
    """Lines ``name: value`` of a YAML file as a dictionary; names and the words of some of them stay as written.

    Parameters
    ----------
    as_text : collection of str
        Names whose values are text, lists of text, or names of text: ``no``, ``1e3`` and ``2024-01-31`` stay words.

    Raises
    ------
    ValueError
        Saying what is wrong: no UTF-8, no YAML, no lines ``name: value``, a name that occurs twice, a number such as
        010 or 1:30, a part that repeats another (``*a``; a few lines of them fill any memory).
    """
    import yaml

    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        _flat(yaml.parse(text, kind))
        loader = kind(text)
        try:
            node = loader.get_single_node()
            if node is not None and not isinstance(node, yaml.MappingNode):
                raise ValueError(f"found a {node.id}, expected lines 'name: value'")
            names = [_as_written(key).value for key, _ in node.value] if node else []
            twice = [name for i, name in enumerate(names) if name in names[:i]]
            if twice:
                raise ValueError(f"{str(twice[0])!r} occurs twice; expected each name once")
            for name, (_, value) in zip(names, node.value if node else [], strict=True):
                _names_as_written(value)
                _an_ordinary_number(name, value)
                if name in as_text and not (isinstance(value, yaml.ScalarNode) and value.tag.endswith(":null")):
                    _as_written(value)
            return loader.construct_document(node) if node else {}
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        found = f"byte {error.start} ({error.object[error.start]:#x})"
        raise ValueError(f"{found} is not UTF-8; save it as UTF-8") from None
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise ValueError(f"not valid YAML ({' '.join(str(error).split())[:300]})") from None


def _flat(events, deepest=50):
    """Refuse repeated parts and deep nesting, which the parser would answer with a crash."""
    depth = 0
    for event in events:
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if depth > deepest:
            raise ValueError(f"brackets or indents are more than {deepest} deep; expected lines 'name: value'")
        if name == "AliasEvent":
            raise ValueError("a part repeats another (*name); write it out")


def _as_written(node):
    """Let all words below a YAML node be text."""
    if isinstance(node.value, list):
        for inner in node.value:
            for one in inner if isinstance(inner, tuple) else (inner,):
                _as_written(one)
    else:
        node.tag = "tag:yaml.org,2002:str"
    return node


def _an_ordinary_number(name, node):
    """Refuse whole numbers that YAML reads as no person does: 010 is 8 and 1:30 is 90."""
    digits = node.value if node.tag.endswith(":int") else ""
    if re.fullmatch(r"[-+]?(0[0-9_]+|.*:.*)", digits):
        raise ValueError(f"{name!r} is {digits}, which YAML reads as octal or as base 60; write the number plainly")
    if len(digits) > 4000:
        raise ValueError(f"{name!r} is a number of {len(digits)} digits; write an ordinary one")


def _names_as_written(node):
    """Let the names of all mappings below a YAML node be text."""
    for inner in node.value if isinstance(node.value, list) else ():
        key, value = inner if isinstance(inner, tuple) else (None, inner)
        if key is not None:
            _as_written(key)
        _names_as_written(value)


def keep_private() -> None:
    """What this process writes from now on is for its owner and group: files 0640, folders 0750 (or stricter)."""
    os.umask(os.umask(0o077) | 0o027)


def inert(text) -> str:
    """Text for a terminal: control and direction characters (escape sequences) are spelt out.

    Examples
    --------
    >>> print(inert("red \\x1b[31m"))
    red \\x1b[31m
    """
    def out(character):
        code = ord(character)
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co"):
            return character
        code -= 0xdc00 * (0xdc80 <= code <= 0xdcff)  # a byte of a name that is no UTF-8
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    text = str(text)
    return text if text.isprintable() else "".join(map(out, text))


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


def no_room(error) -> str:
    """What an error says of a disk, or a quota, that takes no more, and the next step; empty for any other error."""
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ""
    where = f"{error.filename} could not be written: " if error.filename else ""
    return f"{where}{error.strerror[:1].lower()}{error.strerror[1:]}; make room there and give the same command again"


def write_atomically(path, writer) -> None:
    """Write beside, force to disk, then rename: a full disk or a kill never leaves half a file.

    An OSError for want of room names the file, whatever library wrote it.

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
    except OSError as error:
        if no_room(error):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise
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
