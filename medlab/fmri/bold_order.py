"""Which slice belongs to which volume of a functional run; a lost file must not move a slice in time.

A temporal position that the files state counts; else the order of their instance numbers or acquisition times.
"""

import numpy as np

from medlab.imaging.dicom import BadImage

NEXT = "export the series again, or convert its whole volumes to NIfTI"


def volumes(pictures, groups, path):
    """Slices of each whole volume.

    Parameters
    ----------
    pictures : list with ``volume`` (number or None), ``order`` (tuple) and ``stamp`` (text or None)
    groups : list, a sequence of indices of pictures per position

    Returns
    -------
    list (volumes) of list (positions) of the index of a picture, and notes

    Raises
    ------
    BadImage
        Where another volume than the last lacks a slice, or the order of the volumes is not known.
    """
    stated = [p.volume for p in pictures]
    told = None not in stated and len(set(stated)) > 1
    found = _by_time(pictures, groups, path) if told else _by_order(pictures, groups, path)
    short = [t for t, one in enumerate(found) if len(one) < len(groups)]
    if short and (short[0] < len(found) - 1 or len(found) == 1):
        lost = [str(k + 1) for k in range(len(groups)) if k not in found[short[0]]]
        raise BadImage(path, f"volume {short[0] + 1} of {len(found)} lacks slice {', '.join(lost[:5])} of "
                             f"{len(groups)} ({len(short)} incomplete volumes; only the last may be): {NEXT}")
    notes = [f"the last volume is incomplete and left out: {len(found) - 1} are whole"] if short else []
    return [[one[k] for k in range(len(groups))] for one in found[:len(found) - len(short)]], notes


def _by_time(pictures, groups, path):
    """Volumes by the stated temporal position: a dict position -> picture for each."""
    table = {value: {} for value in sorted({p.volume for p in pictures})}
    for k, group in enumerate(groups):
        for i in group:
            if k in table[pictures[i].volume]:
                raise BadImage(path, f"slice {k + 1} of {len(groups)} occurs twice at temporal position "
                                     f"{pictures[i].volume}, expected once: give one run only")
            table[pictures[i].volume][k] = i
    values = list(table)
    steps = np.diff(values)
    if steps.max() > steps.min():
        wide = int(np.argmax(steps))
        raise BadImage(path, f"no volume between the temporal positions {values[wide]} and {values[wide + 1]}, others "
                             f"are {steps.min()} apart: {NEXT}")
    return list(table.values())


def _by_order(pictures, groups, path):
    """Volumes by instance number, or by acquisition time where that does not say it."""
    stamps = [p.stamp for p in pictures]
    keys = [[p.order for p in pictures], *([stamps] if None not in stamps else [])]
    keys = [key for key in keys if all(len({key[i] for i in g}) == len(g) for g in groups)]
    tried = [found for key in keys for found in [_runs(key, groups)] if found]
    whole = [found for found in tried if all(len(one) == len(groups) for one in found[:-1])]
    if whole:
        return whole[0]
    if keys and len({len(g) for g in groups}) == 1 and _one_after_the_other(keys[0], groups):
        return [dict(enumerate(one)) for one in zip(*(sorted(g, key=keys[0].__getitem__) for g in groups), strict=True)]
    if tried:
        return tried[0]
    counts = sorted({len(g) for g in groups})
    raise BadImage(path, f"the order of the volumes is not known: {len(groups)} positions with {counts[0]} to "
                         f"{counts[-1]} slices, no temporal position, and by instance number or acquisition time the "
                         f"slices do not begin with a whole volume; {NEXT}")


def _one_after_the_other(key, groups):
    """Whether all slices of one position come before all of another, as some systems number them."""
    spans = sorted((min(key[i] for i in g), max(key[i] for i in g)) for g in groups)
    return all(a[1] < b[0] for a, b in zip(spans[:-1], spans[1:], strict=True))


def _runs(key, groups):
    """Volumes, dicts position -> picture: one ends where the order of the first one starts again; None without a first.

    A last volume that is short beside instance numbers that begin in the middle of one tells of a lost first file.
    """
    place = {i: k for k, group in enumerate(groups) for i in group}
    order = sorted(place, key=lambda i: (key[i], place[i]))
    rank = {k: r for r, k in enumerate(dict.fromkeys(place[i] for i in order[:len(groups)]))}
    if len(rank) < len(groups):
        return None
    found, last = [], len(groups)
    for i in order:
        if rank[place[i]] <= last:
            found.append({})
        last = rank[place[i]]
        found[-1][place[i]] = i
    number = key[order[0]][1] if isinstance(key[order[0]], tuple) else 0
    lost = len(found[-1]) < len(groups) and number != 0 and number % len(groups) != 1
    return None if lost else found
