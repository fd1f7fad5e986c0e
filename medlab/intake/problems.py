"""What goes wrong without a message of ours: the file being read, what was found, what was expected, the next step.

Libraries raise what they like for a broken or hostile file (BadZipFile, RecursionError, UnicodeError, KeyError).
`explained` is the one place where that becomes a sentence.
"""

import linecache
import os
import traceback
from pathlib import Path

import medlab
from medlab.storage import inert, no_room

PACKAGE = str(Path(medlab.__file__).parent)
KNOWN = {  # what a kind of error says about the file
    "RecursionError": ("is nested too deeply", "a file of ordinary depth; leave it out or flatten it"),
    "MemoryError": ("does not fit into memory", "a smaller file; split it, or close other programs"),
    "UnicodeError": ("holds text that is not readable", "UTF-8; save it again in this encoding, or rename the file"),
    "FileNotFoundError": ("is not there, or vanished while it was read", "a source that nothing changes; import again"),
    "PermissionError": ("may not be read by you", "a file with read permission (chmod u+r)"),
    "OSError": ("cannot be read", "a readable file on a working disk; copy the source and import the copy"),
    "BadZipFile": ("is truncated or not what its name says", "a whole file; get it again, or leave it out"),
}


def is_ours(error) -> bool:
    """Whether an error was raised on purpose, with a message for the user: a ``raise`` in medlab of a ValueError."""
    if not isinstance(error, (ValueError, RuntimeError)) or isinstance(error, (UnicodeError, RecursionError)):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.startswith(PACKAGE):
        return not frames
    line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    return not line or line.startswith("raise")


def explained(error, source=None, doing="the import") -> ValueError:
    """An unexpected error as a ValueError that names the file being read, what is wrong and the next step.

    Parameters
    ----------
    error : Exception
    source : path, optional
        Where files lie: the deepest local variable of medlab that names one of them was being read.
    doing : what was going on where no file is known
    """
    if full := no_room(error):
        return ValueError(inert(full))
    kind = next((c.__name__ for c in type(error).__mro__ if c.__name__ in KNOWN), None)
    found, expected = KNOWN.get(kind, ("could not be understood", "a file as its kind prescribes; leave it out, or "
                                       "save it again"))
    file = getattr(error, "filename", None) or _being_read(error, source)
    said = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {place[0].name}" if place else ""
    return ValueError(f"{inert(file)[-300:] if file else doing} {found} ({type(error).__name__}"
                      f"{': ' + inert(said) if said else ''}{where}); expected {expected}. MEDLAB_DEBUG=1 shows the "
                      "lines of the program")


def _being_read(error, source):
    """Name of the file that the deepest function of medlab on the way to an error had in a variable, or None."""
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__) if f.f_code.co_filename.startswith(PACKAGE)]
    folder = Path(str(source)) if source is not None else None
    folder = folder.parent if folder is not None and folder.is_file() else folder
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            if isinstance(value, (str, Path)) and 0 < len(str(value)) < 4096:
                text = str(value).partition("::")[0]
                for path in (Path(text), folder / text if folder else Path(text)):
                    if "\0" not in text and _is_file(path) and not str(path).startswith(PACKAGE):
                        return path.relative_to(folder) if folder and path.is_relative_to(folder) else path
    return folder.name or None if folder else None


def _is_file(path):
    try:
        return os.path.isfile(path)
    except (OSError, ValueError):
        return False
