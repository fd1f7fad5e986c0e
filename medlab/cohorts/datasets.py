"""The dataset format: a folder with ``card.yaml``, ``cohort.csv`` and images, checked while it is loaded.

One row of ``cohort.csv`` is one image (without images: one patient). Importers create such folders; nothing
registers them. Everything that is wrong in one of the files is a ValueError naming the row, the column, what
was found, what was expected and the next step.
"""

import contextlib
import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import medlab
from medlab import storage
from medlab.cohorts import cards, screening

if TYPE_CHECKING:
    from medlab.imaging.dicom import Image

REMEMBERED = ".digests.json"
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
RESERVED = ("patient_id", "image", "frame", "label", "time_days", "event", "event_cause", "mask", "valid_mask",
            "events", "split", "spacing_mm", "study", "series", "side", "row",
            "pet_units", "suv_type", "decay_correction", "injected_dose_bq", "half_life_s", "uptake_time_s",
            "decay_time_s", "philips_suv", "philips_bqml",
            "attenuation_corrected",  # these three lines: what a SUV is made of
            "file_suffix", "file_folder", "file_kib")  # of the source, see `confounding.files`


@dataclass
class Dataset:
    """A loaded dataset; ``cohort`` has one row per image and a clean index 0..n-1."""

    name: str
    folder: Path
    card: dict
    cohort: pd.DataFrame
    boxes: pd.DataFrame | None = None
    truth: pd.DataFrame | None = None
    notes: tuple = ()


def load(name: str) -> Dataset:
    """Read and validate the dataset ``data/<name>``.

    Raises
    ------
    ValueError
        Naming file, row (line of the file), column, what was found, what was expected and the next step.
    """
    folder = folder_of(name)
    if not (folder / "card.yaml").is_file() or not (folder / "cohort.csv").is_file():
        known = sorted(p.parent.name for p in medlab.data_dir().glob("*/card.yaml"))
        near = difflib.get_close_matches(str(name), known, 1)
        raise ValueError(f"dataset {name!r}: no card.yaml and cohort.csv in {folder}; "
                         + (f"did you mean {near[0]!r}? " if near else "")
                         + f"known: {', '.join(known) or 'none'}. Make one with: medlab import SOURCE {name}")
    return load_folder(folder, name)


def load_folder(folder: Path, name: str) -> Dataset:
    """As `load`, from any folder: an import validates what it has made before it takes its place."""
    card = cards.read_card(folder / "card.yaml")
    cohort = cards.read_csv(folder / "cohort.csv", card.get("text") or ())
    notes = cohort.attrs.pop("notes") + cards.validate(cohort, card, folder)
    boxes = cards.read_csv(folder / "boxes.csv") if (folder / "boxes.csv").is_file() else None
    if boxes is not None:
        cards.validate_boxes(boxes, cohort, folder)
    truth = None
    if (folder / "truth.csv").is_file():
        cards.read_csv(folder / "truth.csv")  # refused with a message, where it is no table
        truth = pd.read_csv(folder / "truth.csv")
    return Dataset(name, folder, card, cohort, boxes, truth, tuple(notes))


def folder_of(name: str) -> Path:
    """Folder of a dataset; refuses names that are not plain words (no separators, no dots)."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ValueError(f"name of a dataset: found {name!r}, expected letters, digits, '_' and '-'")
    return medlab.data_dir() / name


def classes(dataset) -> list:
    """Class names in the card's order, else sorted; empty without labels."""
    if "label" not in dataset.cohort:
        return [c.removeprefix("label_") for c in dataset.cohort if c.startswith("label_")]
    return list(dataset.card.get("classes") or sorted(dataset.cohort["label"].dropna().unique()))


def covariates(dataset) -> list:
    """Names of the columns that are neither bookkeeping nor target."""
    return [c for c in dataset.cohort if c not in RESERVED and not c.startswith("label_")]


def conditions(dataset) -> set:
    """What the dataset offers to notebooks: ``image``, ``label``, ``survival``, ``mask``, ``modality:CT``, ...

    ``static``: images that do not move; ``table``: covariates and no images; ``label``: at least two classes;
    ``covariates``: of which one varies; ``observed events``: of follow-up.
    """
    cohort, modality = dataset.cohort, dataset.card.get("modality")
    found = {c for c in ("image", "mask", "events") if c in cohort and cohort[c].notna().any()}
    two = "label" in cohort and cohort["label"].nunique() > 1
    found |= {"label"} if two or any(c.startswith("label_") for c in cohort) else set()
    found |= {"observed events"} if "event" in cohort and cohort["event"].fillna(False).any() else set()
    found |= {"survival"} if "time_days" in cohort and cohort["time_days"].notna().any() else set()
    found |= {"boxes"} if dataset.boxes is not None else set()
    found |= {"covariates"} if any(cohort[c].nunique() > 1 for c in covariates(dataset)) else set()
    found |= {f"modality:{modality}"} if modality else set()
    found |= {"table"} if "image" not in cohort and covariates(dataset) else set()
    return found | ({"static"} if "image" in found and modality not in ("bold", "PT") else set())


def read(dataset, row) -> "Image":
    """Image of a cohort row as `dicom.Image`; spacing and intensity of the table and the card fill the gaps."""
    from medlab.imaging import dicom

    image = read_image(dataset, row, "image")
    fill = {k: v for k, v in {"modality": dataset.card.get("modality")}.items() if v and not image.modality}
    if image.intensity == "arbitrary" and dataset.card.get("intensity"):
        fill["intensity"] = dataset.card["intensity"]
    given = cards.spacing(row["spacing_mm"]) if image.spacing_mm is None and pd.notna(row.get("spacing_mm")) else None
    if given:
        axes = image.pixels.ndim - 1
        if len(given) not in (1, axes):
            raise dicom.BadImage(row["image"], f"spacing_mm has {len(given)} numbers, the image {axes} axes")
        fill["spacing_mm"] = given * axes if len(given) == 1 else given
    return replace(image, **fill) if fill else image


def read_image(dataset, row, column="image") -> "Image":
    """What the file of a cohort row holds, without what table and card add; BadImage where it cannot be read."""
    from medlab.imaging import dicom, formats

    text = row[column]
    if not isinstance(text, str) or not cards.inside(dataset.folder, text):
        raise dicom.BadImage(str(text), "no such file below the dataset folder")
    frame = row.get("frame")
    frame = None if frame is None or pd.isna(frame) else int(frame)
    return formats.read(text, frame=frame, root=dataset.folder)


def image_names(table: pd.DataFrame) -> pd.Series:
    """What pages call each image: its file as ``cohort.csv`` names it, without common folder and suffix; its frame.

    Parameters
    ----------
    table : rows with ``image`` and, where a file holds several, ``frame``; the whole table, so that a name stays a name

    Examples
    --------
    >>> list(image_names(pd.DataFrame({"image": ["images/ill/02_a.png", "images/well/1.nii.gz"]})))
    ['ill/02_a', 'well/1']
    """
    files = table["image"].astype(str)
    shared = os.path.commonpath([os.path.dirname(name) for name in files]) if len(files) else ""
    names = files.str.slice(len(shared) + 1 if shared else 0)
    short = names.str.replace(r"(\.nii|\.seg)?\.[A-Za-z]\w{0,4}(::.*)?$", "", regex=True)
    names = short if short.nunique() == names.nunique() and short.ne("").all() else names
    frames = table["frame"] if "frame" in table else pd.Series(np.nan, table.index)
    return names.where(frames.isna(), names + " [" + frames.astype("Int64").astype(str) + "]")


def units(table: pd.DataFrame, patients_known: bool) -> pd.Series:
    """Who is counted and resampled, as text: the patient of each row, or its image (`image_names`) where unknown."""
    return table["patient_id"].astype(str) if patients_known else image_names(table)


def mask_classes(dataset) -> list:
    """Names of what the masks mark, in the order of the card's ``mask_classes``; without it ``lesion``."""
    return list(dataset.card.get("mask_classes") or ["lesion"])


def read_labels(dataset, row) -> np.ndarray:
    """Mask of a cohort row as uint8 without channel axis, (h, w) or (d, h, w): 0 background, 1.. `mask_classes`.

    Without ``mask_classes`` in the card every value above 0 is the lesion; values that the card does not name are
    background.
    """
    pixels, values = read_image(dataset, row, "mask").pixels, dataset.card.get("mask_classes")
    if not values:
        return (pixels > 0).any(axis=-1).astype(np.uint8)
    labels = np.zeros(pixels.shape[:-1], np.uint8)
    for number, value in enumerate(values.values(), start=1):
        labels[(pixels == value).all(axis=-1)] = number
    return labels


def read_mask(dataset, row) -> np.ndarray:
    """Everything that the mask of a cohort row marks as a boolean array: (h, w) or (d, h, w)."""
    return read_labels(dataset, row) > 0


def read_valid(dataset, row) -> np.ndarray | None:
    """Which pixels of a cohort row count (``valid_mask``, such as a field of view), bool; None: all."""
    given = row.get("valid_mask")
    return (read_image(dataset, row, "valid_mask").pixels > 0).any(axis=-1) if isinstance(given, str) else None


def fingerprint(dataset) -> str:
    """Hex digest of the content of all files of the dataset, the same wherever it lies."""
    return storage.digest_of(digests(dataset.folder))


def digests(folder: Path, deep: bool = False) -> dict[str, str]:
    """sha256 of every file below a dataset's folder, by relative path.

    A file is read anew where its size, times or inode moved since the last time, which ``.digests.json`` remembers.

    Parameters
    ----------
    deep : bool
        Read every file, whatever is remembered.
    """
    from concurrent.futures import ThreadPoolExecutor

    memory, paths = folder / REMEMBERED, sorted(p for p in folder.rglob("*") if p.is_file() and p.name[:1] != ".")
    names = [path.relative_to(folder).as_posix() for path in paths]
    facts = [list(storage.facts_of(path) or ()) for path in paths]
    known = {} if deep else storage.read_if_sound(memory)
    moved = [i for i, name in enumerate(names) if known.get(name, [None])[:-1] != facts[i]]
    with ThreadPoolExecutor(4) as pool:
        read = dict(zip(moved, pool.map(lambda i: storage.digest(paths[i]), moved), strict=True))
    found = {name: read[i] if i in read else known[name][-1] for i, name in enumerate(names)}
    if moved or len(known) != len(names):
        with contextlib.suppress(OSError):  # a folder that others own: it is read whole each time
            storage.write_json(memory, {name: [*facts[i], found[name]] for i, name in enumerate(names)})
    return found


def changed(dataset: Dataset, deep: bool = False) -> list[str]:
    """Files whose content is no longer what was imported (``sha256`` of the card), or that are gone.

    Parameters
    ----------
    deep : as for `digests`
    """
    found = digests(dataset.folder, deep)
    return [name for name, sha in (dataset.card.get("sha256") or {}).items() if found.get(name) != sha]


def scan(dataset, progress=True, rows=None) -> pd.DataFrame:
    """Read every image once: problems, sizes, intensities and hashes.

    Parameters
    ----------
    rows : sequence of int, optional
        Positions of the cohort rows to read; all by default.

    Returns
    -------
    DataFrame
        Index = cohort row; columns ``problem`` (None, "unreadable: ...", "blank"), ``depth, height, width,
        channels, spacing_mm, minimum, maximum, mean, sha`` and ``thumbnail`` (bytes, for
        `screening.duplicates`).
    """
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    rows = range(len(dataset.cohort)) if rows is None else rows
    if "image" not in dataset.cohort:
        return pd.DataFrame(columns=screening.COLUMNS, index=[])
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        found = pool.map(lambda row: _measure(dataset, dataset.cohort.iloc[row]), rows)
        found = list(tqdm(found, total=len(rows), desc="reading images", unit="image", disable=not progress))
    return pd.DataFrame(found, columns=screening.COLUMNS, index=list(rows))


def _measure(dataset, row):
    from medlab.imaging import dicom

    if not isinstance(row["image"], str):
        return {"problem": "no image"}
    try:
        return screening.measure(read(dataset, row))
    except dicom.BadImage as error:
        return {"problem": f"unreadable: {error.reason}"}

