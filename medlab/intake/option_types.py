"""Options of an import that are no free text are checked by what they are, before anything is read.

Those of all kinds are listed here; those of one kind are as the numpydoc of its function says: ``bool``, ``int``, or
one of ``{"a", "b"}``.
"""

import codecs
import inspect
import re
from collections.abc import Callable

from medlab.cohorts import cards, meanings
from medlab.imaging import laying, regions, resampling
from medlab.intake import drafts


def one_of(*legal) -> Callable:
    """Check of an option that is one of some words."""
    def check(value):
        if str(value) not in legal:
            raise ValueError(f"expected one of {', '.join(legal)}")
        return value
    return check


def whole(least=0, also=()) -> Callable:
    """Check of a whole number from `least`, or one of some words."""
    words = "".join(f" or {word}" for word in also)

    def check(value):
        if str(value).strip().lower() in also:
            return value
        if not re.fullmatch(r"[-+]?[0-9]{1,18}", str(value).strip()) or int(value) < least:
            raise ValueError(f"expected a whole number from {least}{words}")
        return int(value) if not also else value
    return check


def spacing(value):
    """Check of one to three numbers of mm."""
    found = cards.spacing(" x ".join(str(v).strip() for v in drafts.words(value)))
    if found is None or len(found) > 3:
        raise ValueError("expected mm along the axes, positive numbers such as 0.7 or 2.5,0.7,0.7")
    return value


def pairs(option, right=None) -> Callable:
    """Check of ``old:new,...``; `right` checks what stands behind the colon."""
    def check(value):
        for name, new in drafts.mapping(option, value).items():
            if not name or not new:
                raise ValueError("expected pairs like old:new,old2:new2, none of them empty")
            if right:
                right(new)
        return value
    return check


def listed(value, each=lambda word: word):
    """Check of ``a,b,c``: no entry is empty, `each` checks one."""
    for word in drafts.words(value):
        if not str(word).strip():
            raise ValueError("expected a list a,b,c without an empty entry")
        each(str(word).strip())
    return value


def known_encoding(value):
    """Check of the name of an encoding of text."""
    try:
        codecs.lookup(str(value))
    except (LookupError, ValueError):
        raise ValueError("unknown; such as utf-8, cp1252, gb18030, cp932, cp1251") from None
    return value


def form_of_dates(value):
    """Check of a form of dates: it says day or month, and the year."""
    if not re.search("%[dmbBj]", str(value)) or not re.search("%[yYG]", str(value)):
        raise ValueError("expected day, month and year such as '%d/%m/%Y'")
    return value


def windows(value):
    """Check of CT windows: names, one for each channel."""
    return listed(value, one_of(*resampling.WINDOWS, "stretch"))


def augmentation(value):
    """Check of a policy of training, which reads no image."""
    from medlab.networks import policies

    policies.policy(str(value))
    return value


TYPES = {  # options of all kinds that are no free text
    "blocks": whole(2), "frame": whole(0, ["all"]), "spacing_mm": spacing, "decimal": one_of(".", ","),
    "class_level": whole(0, ["none", "false"]), "patient_level": whole(0, ["none", "false"]),
    "time_unit": one_of(*meanings.UNITS), "on_duplicate": one_of("first", "refuse"), "copies": one_of("all", "once"),
    "orientation": one_of(*laying.READINGS), "intensity": one_of("HU", "SUV", "arbitrary"), "window": windows,
    "augmentation": augmentation,
    "region": one_of("none", *regions.REGIONS), "encoding": known_encoding, "date_format": form_of_dates,
    "rename": pairs("rename"), "split_as": pairs("split-as", one_of(*cards.SPLITS)),
    "mask_classes": lambda value: value if drafts.whole_numbers("mask-classes", value) else value,
    **dict.fromkeys(("classes", "covariates", "drop", "keep", "text", "numbers", "tables", "channels", "event_values",
                     "censored_values"), listed)}


def of_function(function: Callable) -> dict:
    """{option: check} of a kind, by the types that the numpydoc of its function states."""
    section = (inspect.getdoc(function) or "").partition("Parameters\n----------\n")[2].split("\n\n")[0]
    found = {}
    for names, said in re.findall(r"^(\S.*?) : (.+)$", section, re.M):
        legal = re.findall(r'"([^"]+)"', said) if said.startswith("{") else []
        check = one_of(*legal) if legal else whole(least_of(said)) if re.match(r"int\b", said) else None
        found |= dict.fromkeys((n.strip() for n in names.split(",")), check) if check else {}
    return found


def least_of(said) -> int:
    """The least of a number whose type says ``int from 1``; 0 where it says none."""
    found = re.search(r"\bfrom (\d+)", said)
    return int(found[1]) if found else 0
