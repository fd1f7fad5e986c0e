"""What becomes of the layouts of the field: each is written, imported, and compared with the table in docs/import.md.

``MEDLAB_WRITE_DOCS=1 pytest tests/test_import_table.py`` writes the table anew.
"""

import json
import os
import re
import zipfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image as pil
from test_importers import slice_file

from medlab import storage
from medlab.intake import importers

DOCS = Path(__file__).parents[1] / "docs" / "import.md"
BEGIN, END = "<!-- layouts: begin -->", "<!-- layouts: end -->"
AS_IS, OPTION, REFUSED = "as is", "with options", "refused"
LAYOUTS = []


def layout(title, *ways, options=None, **facts):
    """A source: its title, the ways in which it may be imported, options where it needs some, facts of the dataset."""
    def enter(write):
        LAYOUTS.append((title, ways, options or {}, facts, write))
        return write
    return enter


def picture(path, seed=0, level=120, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pil.fromarray(np.random.default_rng(seed).normal(level, 30, size).clip(0, 255).astype(np.uint8)).save(path)


def mask(path, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    marked = np.zeros(size, np.uint8)
    marked[4:10, 5:11] = 255
    pil.fromarray(marked).save(path)


def volume(path, seed=0, shape=(8, 8, 6), labels=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(100, 20, shape)
    values = (values > 110).astype(np.uint8) if labels else values.astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), path)


def text(path, words, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(words.encode(encoding))
    return path


# ---- folders


@layout("a folder per class", AS_IS, images=6, label={"ill": 3, "well": 3})
def _(root):
    for i in range(6):
        picture(root / ("ill" if i % 2 else "well") / f"{i}.png", i)


@layout("train, val and test above the classes", AS_IS, images=6, label={"ill": 3, "well": 3},
        split={"train": 2, "val": 2, "test": 2})
def _(root):
    for i in range(6):
        picture(root / ("Training", "valid", "test")[i // 2] / ("ill" if i % 2 else "well") / f"{i}.jpg", i)


@layout("classes above train and test", AS_IS, images=4, label={"ill": 2, "well": 2}, split={"train": 2, "test": 2})
def _(root):
    for i in range(4):
        picture(root / ("ill" if i % 2 else "well") / ("train", "test")[i // 2] / f"{i}.tif", i)


@layout("a folder of images, no classes", AS_IS, images=4)
def _(root):
    for i in range(4):
        picture(root / f"{i}.bmp", i)


@layout("patients in the names of files", OPTION, options={"patient_pattern": "(?P<patient_id>P[0-9]+)_"}, images=6,
        patients=3)
def _(root):
    for i in range(6):
        picture(root / ("ill" if i % 3 else "well") / f"P{i % 3:02d}_{i}.png", i)


@layout("folders yes and no", AS_IS, OPTION, options={"positive": "yes"}, images=6, label={"yes": 3, "no": 3})
def _(root):
    for i in range(6):
        picture(root / ("yes" if i % 2 else "no") / f"{i}.png", i)


@layout("a folder above the class folders", AS_IS, OPTION, REFUSED, label={"yes": 3, "no": 3})
def _(root):
    for i in range(6):
        picture(root / "pictures" / ("yes" if i % 2 else "no") / f"{i}.png", i)


@layout("a folder per patient, below it the classes 0 and 1", AS_IS, OPTION, REFUSED, label={"0": 6, "1": 6})
def _(root):
    for i in range(12):
        picture(root / f"P{i % 3:03d}" / str(i % 2) / f"{i}.png", i)


@layout("one image that is cut off, one empty, one text among them", AS_IS, images=5)
def _(root):
    for i in range(6):
        picture(root / ("ill" if i % 2 else "well") / f"{i}.png", i)
    (root / "ill/1.png").write_bytes((root / "ill/1.png").read_bytes()[:80])
    text(root / "well/empty.png", "")
    text(root / "readme.txt", "hello")


@layout("a name that is not UTF-8, a FIFO, a link that leads out, an empty class folder", AS_IS, images=4)
def _(root):
    for i in range(4):
        picture(root / ("ill" if i % 2 else "well") / f"{i}.png", i)
    os.rename(root / "ill/1.png", os.fsencode(root) + b"/ill/f\xfcr.png")
    picture(root / "ill/5.png", 5)
    os.mkfifo(root / "ill/pipe.png")
    os.symlink("/dev/null", root / "well/link.png")
    (root / "unsure").mkdir()


# ---- masks


@layout("images/ and masks/ side by side", AS_IS, images=4, masks=4)
def _(root):
    for i in range(4):
        picture(root / f"images/{i}.png", i)
        mask(root / f"masks/{i}_mask.png")


@layout("NAME.png beside NAME_mask.png", AS_IS, OPTION, REFUSED, options={"mask": "{folder}/{stem}_mask.png"}, images=4,
        masks=4)
def _(root):
    for i in range(4):
        picture(root / ("benign" if i % 2 else "malignant") / f"{i}.png", i)
        mask(root / ("benign" if i % 2 else "malignant") / f"{i}_mask.png")


@layout("masks saved as JPEG", AS_IS, REFUSED, images=4, masks=4)
def _(root):
    for i in range(4):
        picture(root / f"images/{i}.png", i, size=(32, 32))
        mask(root / f"masks/{i}.jpg", size=(32, 32))


@layout("DRIVE: images, a mask of vessels, a field of view", OPTION,
        options={"valid": "mask", "mask_classes": "vessel:255"}, images=3, masks=3)
def _(root):
    for i in range(3):
        picture(root / f"images/{i:02d}_training.tif", i)
        mask(root / f"1st_manual/{i:02d}_manual1.gif")
        mask(root / f"mask/{i:02d}_training_mask.gif")


@layout("Medical Segmentation Decathlon: imagesTr, labelsTr, dataset.json", AS_IS, OPTION, REFUSED, masks=3)
def _(root):
    for i in range(3):
        volume(root / f"imagesTr/B_{i:03d}.nii.gz", i)
        volume(root / f"labelsTr/B_{i:03d}.nii.gz", i, labels=True)
    told = {"name": "Phantom", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "tumour"}, "licence": "CC0",
            "training": [{"image": f"./imagesTr/B_{i:03d}.nii.gz", "label": f"./labelsTr/B_{i:03d}.nii.gz"}
                         for i in range(3)], "test": [], "numTraining": 3, "numTest": 0}
    text(root / "dataset.json", json.dumps(told))


@layout("nnU-Net: imagesTr/X_0000, X_0001 and labelsTr/X", AS_IS, OPTION, REFUSED, images=3, masks=3)
def _(root):
    for i in range(3):
        for channel in (0, 1):
            volume(root / f"imagesTr/B_{i:03d}_{channel:04d}.nii.gz", 2 * i + channel)
        volume(root / f"labelsTr/B_{i:03d}.nii.gz", i, labels=True)


# ---- volumes


@layout("NIfTI files", AS_IS, images=3)
def _(root):
    for i in range(3):
        volume(root / f"scan{i}.nii.gz", i)


@layout("BIDS: sub-01/anat/sub-01_T1w.nii.gz", AS_IS, images=3, patients=3)
def _(root):
    for i in range(3):
        volume(root / f"sub-{i:02d}/anat/sub-{i:02d}_T1w.nii.gz", i)


@layout("NIfTI with four axes", AS_IS, OPTION, REFUSED)
def _(root):
    for i in range(2):
        volume(root / f"scan{i}.nii.gz", i, shape=(8, 8, 4, 3))


@layout("functional MRI: 4-D NIfTI with events, BIDS", OPTION, options={"kind": "bold"}, images=1, patients=1)
def _(root):
    values = np.random.default_rng(0).normal(100, 5, (6, 6, 4, 20)).astype(np.float32)
    image = nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1]))
    image.header.set_zooms((3, 3, 3, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    (root / "sub-01/func").mkdir(parents=True)
    nib.save(image, root / "sub-01/func/sub-01_task-tap_bold.nii.gz")
    text(root / "sub-01/func/sub-01_task-tap_events.tsv", "onset\tduration\ttrial_type\n4\t6\ttap\n20\t6\ttap\n")


@layout("NRRD and MHA volumes", AS_IS, OPTION, images=2)
def _(root):
    import SimpleITK as sitk

    root.mkdir(parents=True)
    for i, suffix in enumerate(("nrrd", "mha")):
        image = sitk.GetImageFromArray(np.random.default_rng(i).normal(0, 50, (5, 8, 8)).astype(np.int16))
        image.SetSpacing((0.7, 0.8, 2.5))
        sitk.WriteImage(image, str(root / f"scan{i}.{suffix}"))


@layout("a tree of DICOM files, a series per patient", AS_IS, images=2, patients=2)
def _(root):
    for who in range(2):
        for i in range(4):
            slice_file(root / f"case{who}/{i}.dcm", pid=f"M{who}", study=f"1.2.{who}", series=f"1.3.{who}", z=2.5 * i)


@layout("DICOM and a table of outcomes", OPTION, options={"tables": "clinic.csv", "key": "mrn", "label": "grade"},
        images=2, patients=2, label={"high": 1, "low": 1})
def _(root):
    for who in range(2):
        for i in range(4):
            slice_file(root / f"case{who}/{i}.dcm", pid=f"M{who}", study=f"1.2.{who}", series=f"1.3.{who}", z=2.5 * i)
    text(root / "clinic.csv", "mrn,grade\nM0,low\nM1,high\n")


# ---- boxes


@layout("Pascal VOC", AS_IS, images=3, boxes=3)
def _(root):
    for i in range(3):
        picture(root / f"JPEGImages/{i}.jpg", i)
        box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), (3, 2, 9, 8), strict=True))
        text(root / f"Annotations/{i}.xml", f"<annotation><filename>{i}.jpg</filename><size><width>16</width><height>16"
             f"</height></size><object><name>cell</name><bndbox>{box}</bndbox></object></annotation>")


@layout("COCO json", AS_IS, images=3, boxes=3)
def _(root):
    for i in range(3):
        picture(root / f"train/{i}.png", i)
    told = {"images": [{"id": i, "file_name": f"{i}.png", "width": 16, "height": 16} for i in range(3)],
            "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [2, 3, 5, 6], "iscrowd": 0}
                            for i in range(3)], "categories": [{"id": 1, "name": "cell"}]}
    text(root / "annotations/instances_train.json", json.dumps(told))


@layout("YOLO: images/ and labels/*.txt, data.yaml", AS_IS, images=3, boxes=3)
def _(root):
    for i in range(3):
        picture(root / f"images/{i}.jpg", i)
        text(root / f"labels/{i}.txt", "0 0.5 0.5 0.2 0.2\n")
    text(root / "data.yaml", "names: [cell]\n")


# ---- npz


@layout("MedMNIST npz", AS_IS, images=6, split={"train": 2, "val": 2, "test": 2})
def _(root):
    root.mkdir(parents=True)
    arrays = {}
    for k, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"] = np.random.default_rng(k).integers(0, 255, (2, 12, 12), np.uint8)
        arrays[f"{split}_labels"] = np.array([[0], [1]])
    np.savez(root / "madeupmnist.npz", **arrays)
    return root / "madeupmnist.npz"


@layout("an npz with a stack of images and their labels", OPTION,
        options={"member": "x", "frames": True, "label_member": "y"}, images=4, label={"0": 2, "1": 2})
def _(root):
    root.mkdir(parents=True)
    np.savez(root / "all.npz", x=np.random.default_rng(0).integers(0, 255, (4, 12, 12), np.uint8), y=[0, 1, 0, 1])
    return root / "all.npz"


@layout("an npz per patient with scan and mask", OPTION, options={"member": "scan", "mask": "::mask"}, images=3,
        masks=3)
def _(root):
    root.mkdir(parents=True)
    for i in range(3):
        scan = np.random.default_rng(i).integers(0, 255, (5, 12, 12), np.uint8)
        np.savez(root / f"p{i}.npz", scan=scan, mask=(scan > 128).astype(np.uint8))


@layout("an npz that was cut off", REFUSED)
def _(root):
    root.mkdir(parents=True)
    np.savez(root / "all.npz", x=np.zeros((4, 12, 12)))
    (root / "all.npz").write_bytes((root / "all.npz").read_bytes()[:500])
    return root / "all.npz"


@layout("HDF5, MATLAB or whole-slide files", REFUSED)
def _(root):
    for name in ("scan.h5", "scan.mat", "slide.svs"):
        text(root / name, "not read")


@layout("a zip that was not unpacked", REFUSED)
def _(root):
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        archive.writestr("a/1.png", "x")
    return root / "images.zip"


# ---- tables


ROWS = range(12)
FOLLOW_UP = {"key": "id", "time": "time", "event": "event"}


@layout("CSV of patients: time in days, event 0 or 1", OPTION, options=FOLLOW_UP, patients=12, events=6)
def _(root):
    return text(root / "t.csv", "id,age,time,event\n" + "".join(f"P{i},{50 + i},{10 + i},{i % 2}\n" for i in ROWS))


@layout("the event is called survival: Y or N", REFUSED, OPTION,
        options={**FOLLOW_UP, "event": "survival", "event_values": "N"}, patients=12, events=3)
def _(root):
    return text(root / "t.csv", "id,time,survival\n" + "".join(f"P{i},{10 + i},{'NY'[i % 4 > 0]}\n" for i in ROWS))


@layout("semicolons and decimal commas, Windows-1252", OPTION, options={"key": "id"}, patients=12)
def _(root):
    return text(root / "t.csv", "id;größe\n" + "".join(f"P{i};{i},5\n" for i in ROWS), "cp1252")


@layout("GBK, Shift-JIS or another old encoding", OPTION, REFUSED, options={"key": "id"}, patients=24)
def _(root):
    rows = "".join(f"s{i},{'男' if i % 2 else '女'},{'肺癌' if i % 3 else '正常'}\n" for i in range(24))
    return text(root / "t.csv", "id,sex,dx\n" + rows, "gbk")


@layout("dates as 01/02/2020 of which none tells the order", OPTION,
        options={"key": "id", "start": "start", "end": "end", "event": "event", "date_format": "%d/%m/%Y"}, patients=8)
def _(root):
    rows = "".join(f"P{i},0{i + 1}/02/2020,0{i + 1}/0{i % 5 + 3}/2020,{i % 2}\n" for i in range(8))
    return text(root / "t.csv", "id,start,end,event\n" + rows)


@layout("Excel with several sheets", OPTION, options={"key": "id", "sheet": "patients"}, patients=4)
def _(root):
    root.mkdir(parents=True)
    with pd.ExcelWriter(root / "t.xlsx") as book:
        pd.DataFrame({"id": list("abcd"), "age": [50, 61, 72, 45]}).to_excel(book, sheet_name="patients", index=False)
        pd.DataFrame({"note": ["made up"]}).to_excel(book, sheet_name="about", index=False)
    return root / "t.xlsx"


@layout("several rows of a patient that differ", REFUSED, OPTION, options=FOLLOW_UP)
def _(root):
    return text(root / "t.csv", "id,time,event\nA,5,0\nA,6,1\nB,7,0\nC,8,1\n")


@layout("a table that names images, with a column of classes", OPTION,
        options={"tables": "t.csv", "key": "file", "image": "img/{file}", "label": "grade"}, images=6,
        label={"high": 3, "low": 3})
def _(root):
    for i in range(6):
        picture(root / f"img/{i}.png", i)
    text(root / "t.csv", "file,grade\n" + "".join(f"{i}.png,{'high' if i % 2 else 'low'}\n" for i in range(6)))


@layout("a table with boxes of images", OPTION,
        options={"tables": "t.csv", "image": "{file}", "boxes": "x0,y0,x1,y1", "key": "file"}, images=3, boxes=3)
def _(root):
    for i in range(3):
        picture(root / f"{i}.png", i)
    text(root / "t.csv", "file,x0,y0,x1,y1\n" + "".join(f"{i}.png,2,3,8,9\n" for i in range(3)))


@layout("a folder of reports (PDF) only", REFUSED)
def _(root):
    text(root / "report.pdf", "%PDF-1.4")


@cache
def outcome(number, folder):
    """(way, options in words, what it becomes or why not, facts) of a layout, imported below a folder."""
    title, ways, options, _, write = LAYOUTS[number]
    data, source = folder / "data", folder / "source"
    data.mkdir(parents=True)
    os.environ["MEDLAB_DATA"] = str(data)
    source = write(source) or source
    tries = [{}, options] if options else [{}]
    for given in tries:
        try:
            dataset = importers.import_source(source, "toy", **given)
            found = facts(dataset)
            if given is tries[-1] or OPTION not in ways or AS_IS in ways:
                said = f"{worded(found)}{left_out(dataset)}"
                return (OPTION if given else AS_IS), in_words(given), said, found
            importers.shutil.rmtree(data / "toy")
        except ValueError as error:
            assert "MEDLAB_DEBUG" not in str(error), f"{title}: {error}"
            why = storage.inert(str(error).replace(str(folder), "").replace("/source/", ""))
    return REFUSED, "", re.sub(r"\s+", " ", why), {}


def facts(data):
    cohort = data.cohort
    found = {"images": len(cohort)} if "image" in cohort else {}
    found |= {"patients": cohort["patient_id"].nunique()} if data.card["patients"] == "known" else {}
    found |= {c: cohort[c].value_counts().to_dict() for c in ("label", "split") if c in cohort}
    found |= {"masks": int(cohort["mask"].notna().sum())} if "mask" in cohort else {}
    found |= {"boxes": len(data.boxes)} if data.boxes is not None else {}
    return found | ({"events": int(cohort["event"].sum())} if "event" in cohort else {})


def worded(found):
    parts = [f"{n} {what}" for what, n in found.items() if not isinstance(n, dict)]
    parts += [f"{what} " + ", ".join(f"{k} {n}" for k, n in sorted(counts.items())) for what, counts in found.items()
              if isinstance(counts, dict)]
    return "; ".join(parts + (["patients unknown"] if "patients" not in found else []))


def left_out(data):
    """Counts of the log by status, beside what was taken."""
    counts = pd.read_csv(data.folder / "import_log.csv")["status"].value_counts()
    return "".join(f"; {n} {status}" for status, n in sorted(counts.items()) if status != "taken")


def in_words(options):
    return " ".join(f"--{k.replace('_', '-')}" + ("" if v is True else f" '{v}'" if re.search(r"[^\w.,:]", str(v)) else
                    f" {v}") for k, v in options.items())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What becomes of every layout, in order."""
    before = os.environ.get("MEDLAB_DATA")
    made = [outcome(i, tmp_path_factory.mktemp(f"layout{i}") / "x") for i in range(len(LAYOUTS))]
    if before is None:
        os.environ.pop("MEDLAB_DATA", None)
    else:
        os.environ["MEDLAB_DATA"] = before
    return made


@pytest.mark.parametrize("number", range(len(LAYOUTS)), ids=[entry[0] for entry in LAYOUTS])
def test_every_layout_is_known_asked_for_or_refused(number, found):
    title, ways, _, expected, _ = LAYOUTS[number]
    way, _, said, facts = found[number]
    assert way in ways, f"{title}: {way}: {said}"
    if way == REFUSED:
        assert len(said) > 30, "a refusal says what was found and what to do"
    else:
        assert {k: facts.get(k) for k in expected} == expected, f"{title}: {said}"


def test_the_table_of_the_docs_is_what_the_importers_do(found):
    assert len(LAYOUTS) >= 25
    lines = ["| source | how | what it becomes, or why not |", "|---|---|---|"]
    for (title, *_), (way, options, said, _) in zip(LAYOUTS, found, strict=True):
        how = f"`{options}`" if options else way
        lines.append(f"| {title} | {how} | {said.replace('|', chr(92) + '|')} |")
    table = "\n".join([BEGIN, *lines, END])
    now = DOCS.read_text("utf-8")
    assert BEGIN in now and "/tmp" not in table and str(Path.home()) not in table
    if os.environ.get("MEDLAB_WRITE_DOCS"):
        DOCS.write_text(now[:now.index(BEGIN)] + table + now[now.index(END) + len(END):], "utf-8")
        now = DOCS.read_text("utf-8")
    assert table in now, "docs/import.md tells another story: MEDLAB_WRITE_DOCS=1 pytest tests/test_import_table.py"
