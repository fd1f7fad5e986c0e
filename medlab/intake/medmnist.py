"""MedMNIST files (Yang et al., Scientific Data 2023;10:41): names of the classes, official address, rows.

Read with numpy; the package of the same name brings a deep-learning library along that is not needed for that.
"""

import difflib
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd

from medlab.cohorts import cards
from medlab.imaging import formats
from medlab.intake import taking

ZENODO = "https://zenodo.org/record/6496656/files/"
MD5 = {"retinamnist": "bd4c0672f1bba3e3a89f0e4e876791e4", "breastmnist": "750601b1f35ba3300ea97c75c52ff8f6",
       "pneumoniamnist": "28209eda62fecd6e6a2d98b1501bb15f", "bloodmnist": "7053d0359d879ad8a5505303e11de1dc",
       "dermamnist": "0744692d530f8e62ec473284d019b0c7", "pathmnist": "a8b06965200029087d5bd730944a56c1",
       "octmnist": "c68d92d5b585d8d81f7112f81e2d0842", "tissuemnist": "ebe78ee8b05294063de985d821c1c34b",
       "chestmnist": "02c8a6516a18b556561a56cbdd36c4a8"}
MEDMNIST = {
    "retinamnist": ("XC", ["0", "1", "2", "3", "4"], "diabetic retinopathy grade"),
    "breastmnist": ("US", ["malignant", "normal, benign"], "breast ultrasound"),
    "pneumoniamnist": ("DX", ["normal", "pneumonia"], "chest radiograph"),
    "bloodmnist": ("SM", ["basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte",
                          "neutrophil", "platelet"], "blood cell"),
    "dermamnist": ("XC", ["actinic keratoses", "basal cell carcinoma", "benign keratosis", "dermatofibroma", "melanoma",
                          "melanocytic nevi", "vascular lesions"], "skin lesion"),
    "pathmnist": ("SM", ["adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal mucosa",
                         "cancer stroma", "adenocarcinoma epithelium"], "colon tissue"),
    "octmnist": ("OPT", ["choroidal neovascularization", "diabetic macular edema", "drusen", "normal"], "retinal OCT"),
    "chestmnist": ("DX", None, "chest radiograph, several findings at once"),
    "nodulemnist3d": ("CT", ["benign", "malignant"], "lung nodule"),
}
CHEST = ["atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
         "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"]


def rows(draft, source) -> tuple[pd.DataFrame, dict, dict]:
    """Place the file of `source` (a path, or ``medmnist:NAME``); returns (cohort, what the
    card should say, name and MD5 of the file)."""
    path = _fetch(str(source).removeprefix("medmnist:")) if str(source).startswith("medmnist:") else Path(source)
    base = re.sub(r"_\d+$", "", path.stem.lower())
    modality, classes, title = MEDMNIST.get(base, (None, None, base))
    digest = None if base != path.stem.lower() else _md5(path)
    if MD5.get(base) and digest and digest != MD5[base]:
        draft.notes.append(f"{path.name}: MD5 {digest} is not that of the official file")
    parts, draft.source = [], path.parent
    shapes = formats.members(path)
    for split in cards.SPLITS:
        parts.append(_split(draft, path, shapes, split, classes))
    cohort = pd.concat(parts, ignore_index=True)
    if "label" in cohort:
        classes = classes or sorted(cohort["label"].unique(), key=lambda c: (len(c), c))
    card = {"title": f"{path.stem}: {title}", "modality": modality, "classes": classes, "licence": "CC BY 4.0",
            "citation": "Yang et al., MedMNIST v2, Scientific Data 2023;10:41"}
    card |= {"classes_ordered": True} if base == "retinamnist" else {}
    return cohort, card, {"file": path.name, "md5": digest or _md5(path)}


def _split(draft, path, shapes, split, classes):
    """Unpack the images of one split to .npy and make its rows."""
    for member in (f"{split}_images", f"{split}_labels"):
        if member not in shapes:
            raise ValueError(f"{path.name}: no member {member!r}; found {', '.join(shapes)}; "
                             "for other npz: --kind npz")
    labels, count = formats.member(path, f"{split}_labels"), (*shapes[f"{split}_images"], 0)[0]
    file = taking.place(draft, path.name, "images.npz")
    if labels.dtype.kind not in "iuf" or labels.ndim not in (1, 2) or (classes and labels.ndim == 2 and labels.shape[1]
            == 1 and not 0 <= labels.min() <= labels.max() < len(classes)):
        raise ValueError(f"{path.name}: {split}_labels are {labels.dtype.name} {labels.shape}; expected a number per "
                         "image" + (f", 0 to {len(classes) - 1}" if classes else "") + "; for other npz: --kind npz")
    if count != len(labels):
        raise ValueError(f"{path.name}: {count} {split} images but {len(labels)} labels")
    rows = pd.DataFrame({"image": f"{file}::{split}_images", "frame": np.arange(count), "split": split})
    if labels.ndim == 2 and labels.shape[1] > 1:
        for k in range(labels.shape[1]):
            name = CHEST[k] if labels.shape[1] == len(CHEST) and "chest" in path.stem else k
            rows[f"label_{name}"] = labels[:, k]
    else:
        rows["label"] = [classes[int(v)] if classes else str(int(v)) for v in labels.ravel()]
    draft.say(f"{path.name}::{split}_images", "taken", f"{count} images")
    return rows


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _fetch(name):
    """Download an official MedMNIST file once into the user's cache, checked by MD5."""
    import pooch

    if name not in MD5:
        near = difflib.get_close_matches(name, MD5, 1)
        raise ValueError(f"medmnist:{name}: " + (f"did you mean {near[0]!r}? " if near else "")
                         + f"known: {', '.join(MD5)}")
    try:
        return Path(pooch.retrieve(f"{ZENODO}{name}.npz?download=1", f"md5:{MD5[name]}", fname=f"{name}.npz",
                                   path=pooch.os_cache("medlab"), progressbar=False))
    except Exception as error:  # requests and urllib3 each have their own
        raise ValueError(f"medmnist:{name}: could not be fetched from {ZENODO} ({error}); download {name}.npz by "
                         f"hand and import the file") from None
