"""Pseudonyms of patients and files: a keyed hash (HMAC-SHA256), which nobody computes again without the key.

The key lies outside of data and repository: ``medlab/key`` below ``XDG_CONFIG_HOME`` (``~/.config``), or the file that
``MEDLAB_KEY`` names; readable by its owner only, made at the first import. Whoever has it can tell which pseudonym a
known id has: keep it like the ids. With the same key a patient has the same pseudonym in every import. Without it the
datasets stay as usable as they are, but a later import gives the same patients other pseudonyms.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

import pandas as pd

import medlab

LENGTH = 12  # letters of base 32: among a million ids two are the same once in 2.3 million times


def key_file() -> Path:
    """Where the key lies."""
    own = os.environ.get("MEDLAB_KEY")
    return Path(own) if own else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "medlab" / "key"


def key() -> bytes:
    """The key; made where there is none yet, which is said.

    Raises
    ------
    ValueError
        Others can read it, it is no key, or it lies below data or reports.
    """
    path = key_file()
    for folder in (medlab.ROOT, medlab.data_dir(), medlab.reports_dir()):
        if path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path}: the key of the pseudonyms must lie outside {folder}: set MEDLAB_KEY to another "
                             "file")
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: others can read the key of the pseudonyms: chmod 600 {path}")
    try:
        found = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        found = b""
    if len(found) < 32:
        raise ValueError(f"{path}: expected a key of 64 hexadecimal digits; put back a copy of it, or remove the file "
                         "to get a new one (the same patients then get other pseudonyms)")
    return found


def _make(path):
    """A new key, whole or not at all; of two imports at once the first one's is taken."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        os.link(beside, path)
    except FileExistsError:
        return
    finally:
        beside.unlink(missing_ok=True)
    print(f"pseudonyms: a new key was made in {path}. Keep a copy where the ids are kept: with it the same patient has "
          "the same pseudonym in every import, without it later imports cannot be joined to earlier ones; who has it "
          "can link known ids to pseudonyms.", flush=True)


def mark(text, secret, kind="patient") -> str:
    """Letters and digits that stand for a text, of the `kind` patient or file; the same with the same key."""
    digest = hmac.digest(secret, f"{kind}\0{text}".encode("utf-8", "surrogateescape"), hashlib.sha256)
    return base64.b32encode(digest).decode("ascii").lower()[:LENGTH]


def of(ids) -> dict:
    """{id: pseudonym} of patients, ``p`` and 12 letters.

    Raises
    ------
    ValueError
        Two ids have the same pseudonym (never seen).
    """
    secret = key()
    found = {i: f"p{mark(i, secret)}" for i in set(map(str, ids))}
    if len(set(found.values())) < len(found):
        raise ValueError("two patients have the same pseudonym: use another key (MEDLAB_KEY)")
    return found


def running(ids) -> dict:
    """{id: p00001, ...} of made-up persons, who need no key; the order says nothing about the ids."""
    order = sorted(set(map(str, ids)), key=lambda i: hashlib.sha256(i.encode()).digest())
    return {who: f"p{i:05d}" for i, who in enumerate(order, 1)}


def check_link_table(path) -> None:
    """The link table is written only where it cannot be shared with the dataset by accident."""
    if path is None:
        return
    target = Path(path).resolve()
    for folder in (medlab.data_dir().resolve(), medlab.reports_dir().resolve()):
        if target.is_relative_to(folder):
            raise ValueError(f"--link-table {path}: expected a place outside {folder}, since it names the patients")
    if target.exists() or not target.parent.is_dir():
        raise ValueError(f"--link-table {path}: expected a new file in an existing folder")


def write_link_table(draft, path) -> None:
    """Original ids and files of a draft with their pseudonyms; readable by the owner only."""
    persons = [{"original": who, "pseudonym": alias} for who, alias in draft.aliases.items() if who != alias]
    table = pd.DataFrame([*persons, *draft.link_table], columns=["original", "pseudonym"]).drop_duplicates()
    text = table.to_csv(index=False)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8",
              errors="surrogateescape") as file:
        file.write(text)
