"""Options of an import: those of all kinds with a line of help, what each is, and what says nothing to a kind."""

import difflib
import inspect
import re
from collections.abc import Callable

from medlab.intake import drafts, option_types

COMMON = {  # options of all kinds, with a line of help
    "yes": "take the guesses that are listed as questions; for scripts",
    "dry_run": "show how the source is read, write nothing",
    "overwrite": "replace the dataset, once the new one is whole",
    "patient_pattern": "regular expression on the path; its named groups become columns: 'P(?P<patient_id>[0-9]+)_'",
    "pseudonyms": "keyed hashes for the names of all files; for patients they are the rule",
    "link_table": "where to write original ids and names of files with their pseudonyms; outside of data and reports",
    "spacing_mm": "mm between pixels along the axes, where the files do not say",
    "tables": "tables of outcomes, a.csv,b.xlsx, below the source or here",
    "key": "column that names the patient or the file",
    "patient": "column of the patient, where the key names the image",
    "time": "column of the follow-up", "time_unit": "minutes, hours, days, weeks, months or years",
    "event": "column of the event", "event_values": "its values that mean that the event was seen",
    "censored_values": "those that mean that it was not; any other is then not known",
    "where": "condition on the columns, the rows to take: \"modality == 'X-ray' and age >= 18\"",
    "on_duplicate": "of rows with one key that differ: first takes the first, refuse none of them",
    "start": "column of the date at which follow-up starts", "end": "column of the date at which it ends",
    "date_format": "such as %d/%m/%Y", "cause": "column of the cause of an event",
    "label": "column of the class", "split": "column of the split", "split_as": "rename its parts, as val:test",
    "decimal": "decimal sign of the tables, . or ,", "sheet": "sheet of an Excel file",
    "encoding": "encoding of text tables, such as cp1252, gb18030, cp932",
    "missing": "numbers or words that stand for missing, of all columns or of one: age:999,-9; none: there are none",
    "text": "columns of codes that are no numbers", "numbers": "columns of numbers although some cells are none",
    "rename": "rename columns, old:new", "covariates": "columns to take, no other", "drop": "columns to leave out",
    "keep": "columns to take although they look like identifiers; patient_id: ids and names of files as they are; "
            "files: their names",
    "mask": "where masks are: a folder, or a template such as '{stem}_mask.png'", "mask_classes": "name:value,...",
    "frame": "one volume of a file or series that holds several, from 0; of DICOM also 'all'",
    "orientation": "how masks and boxes lie on images that were turned while reading: stored, shown or itk",
    "valid": "where fields of view are, as for masks", "blocks": "contiguous blocks of a volume's slices as patients",
    "class_level": "number of the folder level that holds the classes, from 1 below the source, or none",
    "patient_level": "number of the folder level that holds the patients, or none",
    "channels": "names of sequences that are the channels of one image, in their order (t1,flair), or none",
    "copies": "files of equal name below a folder that repeats its siblings: all, or once (the outer ones)",
    **drafts.CARD,
}
OTHER_WORDS = {"pet": "--kind dicom --modality PT", "ct": "--kind dicom --modality CT", "fmri": "--kind bold",
               "mr": "--kind dicom --modality MR", "mri": "--kind dicom --modality MR"}
UNUSED = {"frame": ("table", "npz", "bold", "medmnist", "synthetic", "package"),
          "blocks": ("table", "dicom", "medmnist", "synthetic", "package"),
          "patient": ("dicom", "bold", "medmnist", "synthetic", "package"),
          "valid": ("coco", "dicom", "medmnist", "synthetic", "package"),
          "mask": ("coco", "medmnist", "synthetic", "package"),
          "mask_classes": ("coco", "medmnist", "synthetic", "package")}
FLAGS = ("yes", "dry_run", "overwrite", "pseudonyms", "classes_ordered")  # options of all kinds without a value


def of_kind(function: Callable) -> dict:
    """Options of one kind with their defaults: the keyword arguments of its function."""
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def checked(kind: str, function: Callable, given: dict) -> dict:
    """The options as what they are: flags, whole numbers, else text; those that are None are left out.

    Parameters
    ----------
    function : of the kind; its keyword arguments are options
    given : name -> value, as from the command line

    Raises
    ------
    ValueError
        For an option that is unknown, says nothing to the kind, or has no such value; naming the nearest.
    """
    own, types = of_kind(function), option_types.TYPES | option_types.of_function(function)
    for option in given:
        if option not in (*COMMON, *own):
            near = difflib.get_close_matches(option, (*COMMON, *own), 1)
            raise ValueError(f"unknown option {_shown(option)} for kind {kind}" + (
                f"; did you mean {_shown(near[0])}?" if near else f"; known: {', '.join(sorted((*COMMON, *own)))}"))
    options = {option: _typed(option, value, own.get(option), types.get(option)) for option, value in given.items()
               if value is not None}
    useless = next((option for option, kinds in UNUSED.items() if option in options and kind in kinds), None)
    if useless:
        near = difflib.get_close_matches(useless, own, 1)
        raise ValueError(f"{_shown(useless)} says nothing to kind {kind}: "
                         + (f"did you mean {_shown(near[0])}?" if near else "leave it out"))
    _check_pattern(options.get("patient_pattern", ""))
    return options


def _shown(option):
    return f"--{option.replace('_', '-')}"


def _typed(option, value, default, check):
    """The value of an option as what it is: a flag, a whole number, else text (a list, a dictionary)."""
    name = _shown(option)
    if option in FLAGS or isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} takes no value; found {value!r}")
        return value
    if isinstance(value, bool) or value == "":
        raise ValueError(f"{name}: expected a value, as in {name} VALUE")
    value = str(value) if isinstance(value, (int, float)) else value
    if isinstance(default, int):
        check = option_types.whole()
    try:
        return check(value) if check else value
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith("--") else f"{name} {value!r}: {said}") from None


def _check_pattern(pattern):
    try:
        if not isinstance(pattern, str):
            raise re.error("no text")
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--patient-pattern {pattern!r}: no regular expression ({error}); expected one with named "
                         "groups such as 'P(?P<patient_id>[0-9]+)_'") from None
