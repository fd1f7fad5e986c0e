"""Which files of the package a piece of code reaches by its imports, directly or not; read, never executed."""

import ast
import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from medlab.storage import digest, digest_of

PACKAGE = Path(__file__).parent
MAGIC = re.compile(r"^([ \t]*)(?:[%!?].*|.*\?)$", re.MULTILINE)  # what only IPython understands


def files(*starts: str | Path | ModuleType) -> list[Path]:
    """Files of the package that the starts reach; a file or module that is a start belongs to them.

    Parameters
    ----------
    starts : source code as text, files of the package, or modules of it. Imports inside of functions count.

    Returns
    -------
    list of Path, sorted.
    """
    waiting, found = [], set()
    for start in starts:
        if isinstance(start, str):
            waiting += _imported(start)
        else:
            waiting.append(Path(getattr(start, "__file__", start)))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported_by(path, path.stat().st_mtime_ns)
    return sorted(found)


def digests(*starts: str | Path | ModuleType) -> dict[str, str]:
    """sha256 of every file that the starts reach: {"medlab/networks/losses.py": ...}."""
    return {f"{PACKAGE.name}/{path.relative_to(PACKAGE).as_posix()}": digest(path) for path in files(*starts)}


def fingerprint(*starts: str | Path | ModuleType) -> str:
    """One sha256 over all that the starts reach: what depends on that code is made anew when it changes.

    Examples
    --------
    >>> from medlab import reach
    >>> [path.name for path in reach.files("from medlab import reach")], len(reach.fingerprint(reach))
    (['__init__.py', 'reach.py', 'storage.py'], 64)
    """
    return digest_of(digests(*starts))


@lru_cache(maxsize=4096)
def _imported_by(path, _modified):
    return _imported(path.read_text(encoding="utf-8"), [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts])


def _parsed(text):
    for code in (text, MAGIC.sub(r"\1pass", text)):
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError):  # of a notebook's cell: it fails where it is executed, not here
            continue
    return ast.parse("")


def _imported(text, package=()):
    """Files of the package that some code imports itself; a package brings its ``__init__`` along."""
    found = set()
    for node in ast.walk(_parsed(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name:
                found.update(_files_of(parts[1:]))
    return found


def _files_of(parts):
    folders = [PACKAGE.joinpath(*parts[:n], "__init__.py") for n in range(len(parts) + 1)]
    module = PACKAGE.joinpath(*parts[:-1], f"{parts[-1]}.py") if parts else folders[0]
    return [path for path in (*folders, module) if path.is_file()]
