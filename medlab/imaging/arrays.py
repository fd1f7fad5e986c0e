"""Prepared arrays: room for them, written once and whole, shared between runs."""

import contextlib
import fcntl
import functools
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from medlab import storage

DIGESTS = "digests.json"
ROOM_BESIDE = 5e7  # bytes that stay free for what else a run writes


def require_room(n_bytes, folder, max_memory_gb, what="images.npy") -> None:
    """Refuse before the work what would not fit: ValueError with need, room and what to set."""
    free = shutil.disk_usage(folder).free
    if n_bytes > max_memory_gb * 1e9:
        raise ValueError(f"{what} would take {n_bytes / 1e9:.1f} GB, over max_memory {max_memory_gb:g} GB; "
                         "set a smaller image_size or image_depth, or a larger max_memory")
    if n_bytes * 1.05 + ROOM_BESIDE > free:
        raise ValueError(f"{what} would take {n_bytes / 1e6:,.0f} MB and needs {ROOM_BESIDE / 1e6:.0f} MB beside, "
                         f"{folder} has {free / 1e6:,.0f} MB free; make room, or set a smaller image_size "
                         "or image_depth")


def in_order(function, items, threads=3, ahead=12) -> Iterator:
    """Results of a function in the order of the items, computed by threads, few at a time.

    Decoders and NumPy release the interpreter; no more than ``ahead`` results wait in memory.
    """
    waiting = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def by_processes(function, items, least=64, processes=None) -> Iterator:
    """Results of a function of a module in the order of the items, by a process per core; each may be spread anywhere.

    Parameters
    ----------
    least : int
        Fewer items are shared out among threads: a process takes seconds to start.
    processes : int, optional
        By default one per core; 1 stays in this one.
    """
    from joblib import Parallel, cpu_count, delayed

    items = list(items)
    if len(items) < least and processes is None:
        threads = Parallel(min(4, cpu_count()), backend="threading", return_as="generator")
        return threads(delayed(function)(item) for item in items)
    pool = Parallel(processes or cpu_count(), return_as="generator")
    return pool(delayed(_privately)(function, item) for item in items)


def _privately(function, item):
    storage.keep_private()  # a process does not know what its parent has set since
    return function(item)


def write_array(path, rows, shape) -> None:
    """Write uint8 rows one after the other as .npy: sequential, forced to disk, renamed when whole.

    Never ``open_memmap``: on a full disk that dies by SIGBUS and leaves a full-size file of zeros.

    Parameters
    ----------
    path : Path
    rows : iterable of arrays of shape ``shape[1:]``
    shape : of the whole array; fewer or more rows are a ValueError.
    """
    def writer(beside):
        written = 0
        with open(beside, "wb") as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "|u1", "fortran_order": False, "shape": tuple(int(s) for s in shape)})
            for row in rows:
                if row.shape != tuple(shape[1:]) or row.dtype != np.uint8:
                    raise ValueError(f"row {written}: {row.dtype} {row.shape}, expected uint8 {shape[1:]}")
                stream.write(np.ascontiguousarray(row).data)
                written += 1
        if written != shape[0]:
            raise ValueError(f"{written} rows were prepared, expected {shape[0]}")

    storage.write_atomically(path, writer)


def cached(folder, key, make, target, keep_days=1.0) -> bool:
    """Link the arrays of a key into a run; make them first if no run has, or if somebody wrote into them since.

    The files are read-only, as all runs that link to them share their content.

    Parameters
    ----------
    folder : Path, the cache; arrays that no run links to any more are removed after ``keep_days``.
    key : text of hex digits
    make : callable(folder) that writes ``*.npy`` files into it
    target : Path of a run; hard links where the file system allows it, else copies.

    Returns
    -------
    bool, whether the arrays were there already.
    """
    place = Path(folder) / key
    Path(folder).mkdir(parents=True, exist_ok=True)
    with _locked(place.with_suffix(".lock")):
        found = place.is_dir() and _is_whole(place)
        if not found:
            shutil.rmtree(place, ignore_errors=True)
            making = place.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            _seal(making)
            making.rename(place)
        for array in place.glob("*.npy"):
            storage.write_atomically(Path(target) / array.name, functools.partial(_link, array))
    for other in Path(folder).iterdir():
        arrays = [path.stat() for path in other.glob("*.npy")] if other.suffix == "" and other != place else []
        if arrays and all(a.st_nlink == 1 and time.time() - a.st_mtime > keep_days * 86400 for a in arrays):
            shutil.rmtree(other)
            other.with_suffix(".lock").unlink(missing_ok=True)
    return found


def _seal(folder):
    """Digests of the arrays of a folder beside them; they become read-only."""
    for array in folder.glob("*.npy"):
        array.chmod(0o440)
    storage.write_json(folder / DIGESTS, {array.name: storage.digest(array) for array in folder.glob("*.npy")})


def _is_whole(folder):
    """Whether the arrays of a folder are, byte for byte, what was written there."""
    known = storage.read_if_sound(folder / DIGESTS)
    return bool(known) and known == {array.name: storage.digest(array) for array in folder.glob("*.npy")}


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


@contextlib.contextmanager
def _locked(path):
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def mean_std(array, rows) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of ``array[rows] / 255``, read in blocks.

    Returns
    -------
    (mean, std), lists of floats, one per channel; std is at least 1/255.
    """
    total, square, n = 0.0, 0.0, 0
    for start in range(0, len(rows), 64):
        block = np.asarray(array[rows[start:start + 64]], dtype=np.float64) / 255
        block = block.reshape(-1, block.shape[-1])
        total, square, n = total + block.sum(0), square + (block**2).sum(0), n + len(block)
    if not n:
        raise ValueError("mean_std: no rows in train; set a smaller val_fraction and test_fraction")
    mean = total / n
    return mean.tolist(), np.maximum(np.sqrt(np.maximum(square / n - mean**2, 0)), 1 / 255).tolist()
