"""Nothing that an import writes names a person: about sixty places to hide made-up names in, every kind of source."""

import base64
import gzip
import hashlib
import itertools
import json
import os
import struct
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from byte_scan import hits, layers
from PIL import Image as pil
from PIL import PngImagePlugin

from medlab import storage
from medlab.cohorts import datasets, identifiers, moments
from medlab.imaging import formats
from medlab.intake import bare, importers, pseudonyms

rng = np.random.default_rng(3)
GREY, COLOUR = rng.integers(0, 255, (20, 24), np.uint8), rng.integers(0, 255, (20, 24, 3), np.uint8)
PERSONS = ["Quillfeather", "Ostranderby", "Hollowmere", "Vandersloot"]


class Secrets(list):
    """Made-up names, another for each hiding place."""

    def __call__(self, place):
        self.append(f"Zylberstein{len(self):02d}{place}")
        return self[-1]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif(secret):
    found = pil.Exif()
    found[0x013B], found[0x0112] = secret("artist"), 6
    found.get_ifd(0x8825)[29] = "1947:03:21"
    found.get_ifd(0x8769)[0x9286] = secret("usercomment")
    return found


def pictures(root, secret):
    """Patients of a file name; PNG, JPEG, TIFF, BMP and GIF with texts wherever these formats have room."""
    names = [f"{c}/{p}_{i}" for c, p, i in itertools.product("ab", PERSONS, range(2))]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    at = iter(root / n for n in names)
    info = PngImagePlugin.PngInfo()
    info.add_text("Name", secret("text"))
    info.add_text("Packed", secret("ztxt") * 20, zip=True)
    info.add_itxt("XML:com.adobe.xmp", f"<x>{secret('xmp')}</x>", zip=True)
    pil.fromarray(COLOUR).save(f"{next(at)}.png", pnginfo=info, exif=exif(secret))
    plain = root / "plain.png"
    pil.fromarray(GREY).save(plain)
    data = plain.read_bytes()
    plain.unlink()
    end = data.index(b"IEND") - 4
    one = next(at).with_suffix(".png")
    one.write_bytes(data[:end] + chunk(b"prVt", secret("private").encode()) + data[end:] + secret("behind").encode())
    stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY)) + secret("inidat").encode()
    head = data[:33]
    next(at).with_suffix(".png").write_bytes(head + chunk(b"IDAT", stream) + chunk(b"IEND", b""))
    xmp = f"<x:xmpmeta>{secret('jpegxmp')}</x:xmpmeta>".encode()
    target = next(at).with_suffix(".jpg")
    pil.fromarray(COLOUR).save(target, exif=exif(secret), comment=secret("comment"), xmp=xmp, progressive=True)
    iptc = b"Photoshop 3.0\0" + secret("iptc").encode()
    segments = [(0xED, iptc), (0xE2, b"ICC_PROFILE\0\1\1" + secret("icc").encode()), (0xE5, secret("app5").encode())]
    extra = b"".join(bytes([0xFF, m]) + struct.pack(">H", len(b) + 2) + b for m, b in segments)
    data = target.read_bytes()
    next(at).with_suffix(".jpg").write_bytes(data[:2] + extra + data[2:] + secret("behindjpeg").encode())
    tags = {270: secret("description"), 315: secret("tiffartist"), 316: secret("host"), 306: "1947:03:21 10:00:00",
            65000: secret("privatetag"), 700: secret("tiffxmp").encode()}
    for options in ({"compression": "tiff_lzw"}, {"compression": "jpeg"}, {}):
        target = next(at).with_suffix(".tif")
        pil.fromarray(COLOUR).save(target, tiffinfo=tags, save_all=True, **options)
        target.write_bytes(target.read_bytes() + secret("behindtiff").encode())
    target = next(at).with_suffix(".bmp")
    pil.fromarray(COLOUR).save(target)
    target.write_bytes(target.read_bytes() + secret("behindbmp").encode())
    pil.fromarray(GREY).save(root / "a" / f"{PERSONS[3]}_9.gif", comment=secret("gif").encode())
    (root / "a" / f"{PERSONS[3]}_9.gif").rename(root / "a" / f"{PERSONS[3]}_9.png")
    (root / "b" / secret("refused")).with_suffix(".pdf").write_bytes(b"%PDF")
    (root / "b" / secret("broken")).with_suffix(".png").write_bytes(b"\x89PNG")
    secret.extend(PERSONS)
    return {"patient_pattern": r"(?P<patient_id>[A-Z][a-z]+)_(?P<picture>\d)"}


def volumes(root, secret):
    """NIfTI of both versions, packed and not, joined to a table by the names of the patients."""
    root.mkdir()
    for i, person in enumerate(PERSONS):
        image = nib.Nifti1Image(rng.integers(0, 99, (5, 6, 7)).astype(np.int16), np.diag([1, 2, 3, 1]))
        if i == 1:
            image = nib.Nifti2Image(np.asarray(image.dataobj), image.affine)
        image.header["descrip"], image.header["aux_file"] = secret("dsc"), secret("aux")[:23]
        image.header["intent_name"] = secret("i")[:15]
        secret[-2:] = [secret[-2][:23], secret[-1][:15]]
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, secret("extension").encode()))
        path = root / (f"{person}.nii" if i < 3 else f"{person}.nii.gz")
        nib.save(image, path)
        if i == 0:
            data = bytearray(path.read_bytes())
            data[14:25] = b"Zylberstein"  # db_name
            path.write_bytes(bytes(data) + secret("behindnifti").encode())
        if i == 2:
            with open(root / f"{person}.nii.gz", "wb") as raw, gzip.GzipFile(secret("packed"), "wb", 9, raw) as out:
                out.write(path.read_bytes())
            path.unlink()
    secret += PERSONS + ["Zylberstein"]
    table = pd.DataFrame({"who": PERSONS, "label": list("xyxy"), "born": ["21.03.1947"] * 4, "remark": secret("remark"),
                          "age": [60, 61, 93, 99]})
    table.to_csv(root / "t.csv", index=False)
    return {"tables": "t.csv", "key": "who", "label": "label"}


def arrays(root, secret):
    """npz with names beside the arrays, in the comment, and in fields of the zip."""
    root.mkdir()
    for person in PERSONS:
        names = {"image": GREY, "mask": GREY > 99, "who": np.array([secret("member")]), "number": np.array([19470321])}
        np.savez(root / f"{person}.npz", **names)
        with zipfile.ZipFile(root / f"{person}.npz", "a") as archive:
            archive.comment = secret("zipcomment").encode()
            archive.writestr(secret("textfile") + ".txt", secret("text"))
    secret += PERSONS
    return {"member": "image", "mask": "::mask", "patient_pattern": "(?P<patient_id>[A-Z][a-z]+)"}


def dicom_file(path, person, secret, z=0.0, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = pydicom.uid.CTImageStorage, "1.2.840.10008.1.2.1"
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=secret("preamble").encode().ljust(128))
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, pydicom.uid.generate_uid()
    meta.MediaStorageSOPInstanceUID, meta.SourceApplicationEntityTitle = ds.SOPInstanceUID, "ZYLBERAE"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"{person}^Anna", f"ID{person}", "19470321"
    ds.StudyDate, ds.AccessionNumber, ds.PatientAge, ds.PatientSex = "20190304", "ACC4711", "093Y", "F"
    for tag in ("PatientComments", "PatientAddress", "ReferringPhysicianName", "InstitutionName", "OperatorsName",
                "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "OtherPatientIDs"):
        setattr(ds, tag, secret(tag))
    ds.StationName, ds.Manufacturer, ds.ManufacturerModelName = "ZYLBERSTATION", secret("maker"), secret("model")
    block = ds.private_block(0x0011, "ZYLBERMAKER", create=True)
    block.add_new(1, "LO", secret("privateelement"))
    inner = pydicom.Dataset()
    inner.PersonName = secret("sequence")
    ds.RequestAttributesSequence = [inner]
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = f"1.2.{len(person)}", f"1.2.{len(person)}.1", "CT"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [1, 1], 1, -1024
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 20, 24, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = (GREY.astype(np.uint16) + int(z) + len(person)).tobytes()
    ds.DataSetTrailingPadding = secret("padding").encode()
    for tag, value in tags.items():
        setattr(ds, tag, value)
    ds.save_as(path, enforce_file_format=True)


def dicom(root, secret):
    """A tree of DICOM files with tables, of which one is read for boxes."""
    for person, z in itertools.product(PERSONS[:3], (0.0, 2.0)):
        dicom_file(root / person / f"{secret('file')}{z:g}.dcm", person, secret, z)
    (root / "note.txt").write_text("x")
    ids = [f"ID{p}" for p in PERSONS[:3]]
    pd.DataFrame({"id": ids, "label": list("xyx"), "PatientName": PERSONS[:3], "visit": "2019-03-04"}).to_csv(
        root / "t.csv", index=False)
    pd.DataFrame({"id": ids, "x_min": 1, "y_min": 1, "z_min": 0, "x_max": 5, "y_max": 6, "z_max": 1, "label": "nodule",
                  "reader_name": PERSONS[:3]}).to_csv(root / "boxes.csv", index=False)
    secret += [*PERSONS[:3], *ids, "19470321", "ACC4711", "ZYLBER", "2019-03-04", "20190304"]
    return {"kind": "dicom", "tables": "t.csv", "key": "id", "label": "label", "boxes": "boxes.csv"}


def dicom_pictures(root, secret):
    """DICOM files in folders of classes, imported as pictures."""
    for label, person in zip("abab", PERSONS, strict=True):
        dicom_file(root / label / f"{person}.dcm", person, secret)
    secret += [*PERSONS, "19470321", "ACC4711", "ZYLBER"]
    return {"kind": "folders", "patient_pattern": r"/(?P<patient_id>\w+)\."}


def voc(root, secret):
    """Annotations with an owner and folders; names of files that look like names of persons."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for person, first in zip(PERSONS, ("Anna", "Berta", "Clara", "Dora"), strict=True):
        stem = f"{person}_{first}"
        pil.fromarray(COLOUR).save(root / f"JPEGImages/{stem}.jpg", comment=secret("voc"))
        (root / f"Annotations/{stem}.xml").write_text(
            f"<annotation><folder>{secret('folder')}</folder><filename>{stem}.jpg</filename><owner><name>"
            f"{secret('owner')}</name></owner><object><name>cell</name><bndbox><xmin>2</xmin><ymin>2</ymin>"
            "<xmax>9</xmax><ymax>9</ymax></bndbox></object><object><name>cell</name></object></annotation>")
    secret += PERSONS
    return {}


def coco(root, secret):
    """A json that knows who, where and when; names of files with dates."""
    root.mkdir()
    images = []
    for i in range(4):
        name = f"scan_1947032{i}.png"
        pil.fromarray(GREY).save(root / name)
        images.append({"id": i, "file_name": name, "width": 24, "height": 20, "date_captured": "2019-03-04",
                       "coco_url": f"http://{secret('url')}.org"})
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [2, 2, 5, 5], "area": 25, "iscrowd": 0,
              "note": secret("annotation")} for i in range(4)]
    (root / "all.json").write_text(json.dumps({"info": {"contributor": secret("contributor")}, "images": images,
                                               "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}))
    secret += ["1947032", "2019-03-04"]
    return {}


def masks(root, secret):
    """Images and masks in two folders, patients by their names."""
    for folder, pixels in (("images", GREY), ("masks", (GREY > 99).astype(np.uint8) * 255)):
        (root / folder).mkdir(parents=True)
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", secret(folder))
        for person in PERSONS:
            pil.fromarray(pixels + (0 if folder == "masks" else len(person))).save(
                root / folder / f"{person}_1.png", pnginfo=info)
    secret += PERSONS
    return {"patient_pattern": "(?P<patient_id>[A-Z][a-z]+)_"}


def bold(root, secret):
    """Functional runs of BIDS with texts in the header, the sidecar and the events."""
    for person in PERSONS[:2]:
        folder = root / f"sub-{person}" / "func"
        folder.mkdir(parents=True)
        image = nib.Nifti1Image(rng.integers(90, 99, (6, 6, 4, 24)).astype(np.int16), np.diag([3, 3, 3, 1]))
        image.header.set_zooms((3, 3, 3, 2))
        image.header.set_xyzt_units("mm", "sec")
        image.header["descrip"] = secret("bold")
        stem = f"sub-{person}_task-rest"
        nib.save(image, folder / f"{stem}_bold.nii.gz")
        told = {"RepetitionTime": 2.0, "InstitutionName": secret("site")}
        (folder / f"{stem}_bold.json").write_text(json.dumps(told))
        pd.DataFrame({"onset": [2, 8], "duration": 2, "trial_type": "tap", "stim_file": secret("stimulus"),
                      "response_time": [0.5, 0.7]}).to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)
    secret += PERSONS[:2]
    return {"kind": "bold"}


def medmnist(root, secret):
    """An npz of the MedMNIST layout with a comment and a further member."""
    root.mkdir()
    parts = {f"{s}_images": rng.integers(0, 255, (3, 8, 8), np.uint8) for s in ("train", "val", "test")}
    parts |= {f"{s}_labels": np.array([[0], [1], [0]]) for s in ("train", "val", "test")}
    np.savez_compressed(root / "some.npz", **parts)
    with zipfile.ZipFile(root / "some.npz", "a") as archive:
        archive.comment = secret("medmnist").encode()
    return {"_source": "some.npz"}


SOURCES = [pictures, volumes, arrays, dicom, dicom_pictures, voc, coco, masks, bold, medmnist]


@pytest.mark.parametrize("make", SOURCES, ids=lambda f: f.__name__)
def test_no_byte_names_a_person(make, workspace, capfd):
    secret = Secrets()
    options = make(workspace / "src", secret)
    source = workspace / "src" / options.pop("_source", "")
    assert hits(source if source.is_dir() else source.parent, secret), "the scan finds what was hidden"
    link = workspace / "links.csv"
    data = importers.import_source(source, "toy", link_table=str(link), **{"yes": True} | options)
    out = "".join(capfd.readouterr())
    assert len(data.cohort) and not hits(data.folder, [*secret, "Zylberstein"])
    assert not [s for s in secret if s.lower() in out.lower()]
    if "image" in data.cohort:
        assert not any("unreadable" in str(p) for p in datasets.scan(data, progress=False)["problem"])
    modes = {oct(p.stat().st_mode & 0o777) for p in data.folder.rglob("*") if p.is_file() and p.stat().st_nlink == 1}
    assert modes == {"0o640"} and (link.stat().st_mode & 0o777) == 0o600
    assert {p.stat().st_mode & 0o777 for p in [data.folder, *data.folder.rglob("*")] if p.is_dir()} == {0o750}


NHS = [f"{n}{d}" for n in range(401023210, 401023230) for d in [(11 - sum(
    int(c) * w for c, w in zip(str(n), range(10, 1, -1), strict=True)) % 11) % 11] if d < 10]
COLUMNS = {  # every one identifies, by its name or by what stands in it
    "PatientName": PERSONS[0], "LastName": PERSONS[0], "Vorname": "Annegret", "nom": PERSONS[1], "cognome": PERSONS[1],
    "apellidos": PERSONS[2], "姓名": "王小明明明", "xingming": "Wangxiaoming", "PatientBirthDate": 19470321,
    "geb": "21.03.47", "date_naissance": "21/03/1947", "fechaNacimiento": "1947/03/21", "出生日期": "1947年3月21日",
    "yob": 1947321, "Telefon": 491517734455, "mobile": "0151 7734455", "adresse": "Hauptstr 77344", "postcode": 77344,
    "plz": 77345, "住址": "北京市朝阳区建国路", "MRN": 7734455, "AccessionNumber": 7734466, "insurance_no": 7734477,
    "NHSNumber": 4010232137, "身份证号": "11010519491231002X", "physician": "Dr Ostranderby",
    "comment": "called at night", "initials": "QZXJ", "seen_on": "January 22, 2020", "scan": "05-Mar-2021",
    "visit": "2019-03-04T10:00:00", "death": "5. Maerz 2010", "x1": "anna.quill@klinik.example",
    "x2": "https://klinik.example/77344", "x3": "+49 151 7734455", "x4": "123-45-6789", "x5": "192.168.77.34",
    "x6": "Quillfeather^Anna", "x7": "seen by Dr Ostranderby at noon", "x8": "DE89370400440532013000",
    "x9": "1.2.840.113619.2.55.3.7734455", "x10": "SW1A 1AA", "x11": 20190304,
}


def test_columns_of_a_table(workspace):
    n = 18
    table = pd.DataFrame({"id": [f"Patient{i:03d}X" for i in range(n)]} | {
        c: [v + i % 3 if isinstance(v, int) and c not in ("NHSNumber", "x11") else v for i in range(n)]
        for c, v in COLUMNS.items()})
    table["x12"], table["x13"] = (NHS * 2)[:n], [f"code-{i * 7919 % 1000}" for i in range(n)]
    table["sex"], table["stage"], table["psa"] = ["m", "f"] * 9, ["I", "II", "IV"] * 6, rng.normal(5, 1, n).round(3)
    table["age"], table["birth_weight_g"] = [50 + 3 * i for i in range(n)], rng.integers(2000, 4000, n)
    table["scanner_name"], table["hospital_id"], table["lesion_number"] = ["A", "B"] * 9, ["H1", "H2", "H3"] * 6, 2
    table.to_csv(workspace / "t.csv", index=False)
    data = importers.import_source(workspace / "t.csv", "toy", key="id")
    assert set(datasets.covariates(data)) == {"sex", "stage", "psa", "age", "birth_weight_g", "scanner_name",
                                              "hospital_id", "lesion_number"}
    dropped = next(r["read_as"] for r in data.card["understood"] if r["what"] == "identifiers dropped")
    assert all(column in dropped for column in COLUMNS) and "PatientName (named like a name)" in dropped
    assert data.cohort["age"].max() == 90 and any("age: ages above 89" in n for n in data.card["notes"])
    telling = {str(v) for v in COLUMNS.values() if len(str(v)) > 4} | set(table["id"]) | set(table["x13"])
    assert not hits(data.folder, telling)
    kept = importers.import_source(workspace / "t.csv", "kept", key="id", keep="PatientName,id")
    assert kept.cohort["patient_id"].tolist() == table["id"].tolist()
    assert set(kept.cohort["PatientName"]) == {PERSONS[0]}


HARMLESS = ["age", "sex", "stage", "T", "N", "M", "tumour_site", "nodes_positive", "gene_name", "scanner_name", "bmi",
            "birth_weight", "days_to_last_contact", "original_firstorder_Energy", "initial_psa", "relative_volume",
            "number_of_lesions", "lesion_id", "study", "knee", "hospital", "site_id", "mobility", "lat"]


@pytest.mark.parametrize("name", HARMLESS)
def test_ordinary_columns_pass(name):
    assert identifiers.by_name(name) is None
    some = pd.Series(["low", "high", "low", "medium"] * 5, name=name)
    assert identifiers.by_content(some) is None
    assert identifiers.by_content(pd.Series(rng.normal(1e6, 1e5, 40), name=name)) is None


def test_numbers_that_are_no_identifiers():
    volume = pd.Series(rng.integers(1_000_000, 2_000_000, 40), name="volume_mm3")
    spoiled = pd.Series(["1.5", "2.1", "<0.1", "3.2", "?", "4.0"] * 4, name="crp")
    versions = pd.Series(["syngo VA30", "syngo VB10"] * 10, name="software")
    assert [identifiers.by_content(c) for c in (volume, spoiled, versions)] == [None] * 3


def test_dates_become_days_since_the_start(workspace):
    text = "id,start,last,dead,biopsy,opdate,born,odd\n"
    text += "".join(f"P{i},2020-01-{i + 1:02d},2021-01-01,{'yes' if i % 2 else 'no'},\"January {i + 3}, 2020\","
                    f"{i + 5}. Maerz 2020,1947-03-21,0{i + 1}/0{i + 2}/2020\n" for i in range(8))
    (workspace / "t.csv").write_text(text)
    data = importers.import_source(workspace / "t.csv", "toy", key="id", start="start", end="last", event="dead")
    alias = pseudonyms.of(f"P{i}" for i in range(8))
    cohort = data.cohort.set_index("patient_id").loc[[alias[f"P{i}"] for i in range(8)]]
    assert cohort["biopsy_days"].tolist() == [2] * 8 and cohort["opdate_days"].tolist() == [64] * 8
    assert set(datasets.covariates(data)) == {"biopsy_days", "opdate_days"}, "no day of birth, no date of unclear order"
    without = importers.import_source(workspace / "t.csv", "two", key="id", label="dead")
    assert not datasets.covariates(without)


@pytest.mark.parametrize("column, values, capped", [
    ("age", [30, 89, 90, 103], [30, 89, 90, 90]), ("Alter", [91.5, 20.25], [90, 20.25]), ("edad_anos", [95], [90]),
    ("PatientAge", [95, 50, 999], [90, 50, 999]), ("age_months", [1200, 600], [1080, 600]), ("stage", [95], [95]),
    ("gestational_age", [270], [270]), ("bone_age", [95], [95]),
])
def test_ages(column, values, capped):
    table = pd.DataFrame({column: values})
    moments.cap_ages(table)
    assert table[column].tolist() == capped


# ---- pseudonyms


def test_pseudonyms_cannot_be_computed_from_the_ids(workspace, monkeypatch):
    ids = [f"MRN{n}" for n in range(7000, 7024)]
    pd.DataFrame({"id": ids, "x": range(24), "label": list("ab") * 12}).to_csv(workspace / "t.csv", index=False)
    data = importers.import_source(workspace / "t.csv", "one", key="id", label="label", keep="x", yes=True)
    found = data.cohort.set_index("x")["patient_id"].sort_index()
    ranks = [sorted(ids, key=key) for key in (str, lambda i: hashlib.sha256(i.encode()).digest(),
                                              lambda i: hashlib.md5(i.encode()).digest())]
    guesses = [dict(zip(order, sorted(found), strict=True)) for order in ranks]
    guesses += [dict(zip(order, data.cohort["patient_id"], strict=True)) for order in ranks]
    for name, encode in itertools.product(("md5", "sha1", "sha256", "sha512"), (bytes.hex, lambda d: base64.b32encode(
            d).decode().lower())):
        guesses.append({i: f"p{encode(hashlib.new(name, i.encode()).digest())[:12]}" for i in ids})
    right = [sum(guess[i] == found[n] for n, i in enumerate(ids)) for guess in guesses]
    assert max(right) <= 4, "no better than chance"
    assert found.tolist() == [pseudonyms.of([i])[i] for i in ids]
    again = importers.import_source(workspace / "t.csv", "two", key="id", label="label", keep="x", yes=True)
    assert again.cohort.set_index("x")["patient_id"].sort_index().equals(found), "the same key, the same pseudonyms"
    monkeypatch.setenv("MEDLAB_KEY", str(workspace / "other"))
    other = importers.import_source(workspace / "t.csv", "three", key="id", label="label", yes=True)
    assert not set(other.cohort["patient_id"]) & set(found)
    assert (data.folder / "import_log.csv").read_text().count("MRN") == 0


def test_the_key(workspace, monkeypatch, capsys):
    path = workspace / "home" / "medlab" / "key"
    monkeypatch.delenv("MEDLAB_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(workspace / "home"))
    made = pseudonyms.key()
    said = capsys.readouterr().out
    assert len(made) == 32 and (path.stat().st_mode & 0o777) == 0o600 and "Keep a copy" in said and str(path) in said
    assert pseudonyms.key() == made and not capsys.readouterr().out
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        pseudonyms.key()
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ValueError, match="64 hexadecimal"):
        pseudonyms.key()
    monkeypatch.setenv("MEDLAB_KEY", str(workspace / "data" / "key"))
    with pytest.raises(ValueError, match="outside"):
        pseudonyms.key()


def test_names_of_files(workspace):
    assert identifiers.in_names(["Quillfeather_Anna.png", "Ostranderby_Berta.png", "Hollowmere_Clara.png"]) == "names"
    assert identifiers.in_names(["x/a_1947-03-21.png"]) == identifiers.in_names(["a19470321b.png"]) == "dates"
    assert identifiers.in_names(["a\x1b[31m.png", "b.png"]) == "control characters"
    for harmless in (["Tr-gl_0010.png", "Tr-me_0011.png"],
                     ["Chest_Left_1.png", "Chest_Left_2.png", "Chest_Right_3.jpg"],
                     ["Blood_00012.jpg", "Blood_00013.jpg"], ["person1_bacteria_2.jpeg"], ["IM-0115-0001.jpeg"]):
        assert identifiers.in_names(harmless) is None, harmless
    for i in range(4):
        (workspace / "src/a").mkdir(parents=True, exist_ok=True)
        pil.fromarray(GREY + i).save(workspace / f"src/a/scan_{i}.png")
    data = importers.import_source(workspace / "src", "toy")
    assert data.cohort["image"].tolist() == [f"images/a/scan_{i}.png" for i in range(4)], "harmless names stay"
    assert (data.folder / "images/a/scan_0.png").stat().st_ino == (workspace / "src/a/scan_0.png").stat().st_ino
    hidden = importers.import_source(workspace / "src", "two", pseudonyms=True)
    assert hidden.cohort["image"].str.fullmatch(r"images/f[a-z2-7]{12}\.png").all()
    assert not hits(hidden.folder, ["scan_0", "scan_1"])


# ---- what is written


@pytest.mark.parametrize("make", [pictures, volumes, arrays], ids=lambda f: f.__name__)
def test_no_pixel_is_changed(make, tmp_path):
    make(tmp_path / "src", Secrets())
    (tmp_path / "out").mkdir()
    done = 0
    for path in sorted((tmp_path / "src").rglob("*.*")):
        member = "::image" if path.suffix == ".npz" else ""
        try:
            before = formats.read(f"{path}{member}")
        except formats.BadImage:
            continue
        target, _ = bare.place(path, tmp_path / "out" / path.name, {"image"}, os.link)
        after = formats.read(f"{target}{member}")
        np.testing.assert_array_equal(before.pixels, after.pixels)
        assert before.pixels.dtype == after.pixels.dtype and before.spacing_mm == after.spacing_mm
        turned = [any("EXIF" in n for n in i.notes) for i in (before, after)]
        assert turned[0] == turned[1], "how a picture is turned stays known"
        done += 1
    assert done > 3


def test_only_bare_files_are_linked(tmp_path):
    def linked(name, write):
        write(tmp_path / name)
        target, _ = bare.place(tmp_path / name, tmp_path / f"out_{name}", {"x"}, os.link)
        return target.stat().st_ino == (tmp_path / name).stat().st_ino

    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4))
    assert linked("a.png", lambda p: pil.fromarray(GREY).save(p))
    assert linked("a.jpg", lambda p: pil.fromarray(COLOUR).save(p))
    assert linked("a.npy", lambda p: np.save(p, GREY))
    assert linked("a.npz", lambda p: np.savez(p, x=GREY))
    assert linked("a.nii", lambda p: nib.save(image, p)) and linked("a.nii.gz", lambda p: nib.save(image, p))
    assert not linked("b.png", lambda p: pil.fromarray(GREY).save(p, dpi=(72, 72), exif=exif(Secrets())))
    assert not linked("b.jpg", lambda p: pil.fromarray(GREY).save(p, comment="x"))
    assert not linked("b.npz", lambda p: np.savez(p, x=GREY, y=GREY))


def test_control_characters_are_inert(workspace, capsys):
    red = "a\x1b[2Jb"
    assert storage.inert("a\x1b[31mb\u202e\n") == "a\\x1b[31mb\\u202e\n"
    rows = "".join(f"P{i},{('c', red)[i % 2]},{i}\n" for i in range(12))
    (workspace / "t.csv").write_text("id,gro\x1b[31mup,x\n" + rows)
    data = importers.import_source(workspace / "t.csv", "toy", key="id")
    out = capsys.readouterr()
    written = b"".join(p.read_bytes() for p in data.folder.rglob("*") if p.is_file())
    assert b"\x1b" not in written and "\x1b" not in out.out + out.err
    assert "gro\\x1b[31mup" in data.cohort and set(data.cohort["gro\\x1b[31mup"]) == {"a\\x1b[2Jb", "c"}


def test_the_scan_looks_into_what_is_packed(tmp_path):
    text = b"Zylberstein in a file"
    inner = gzip.compress(base64.b64encode(text))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.bin", inner)
    pd.DataFrame({"a": ["Quillfeather"]}).to_parquet(tmp_path / "b.parquet", compression="zstd")
    (tmp_path / "c.bin").write_bytes("Hollowmere".encode("utf-16-be") + b"\0" + text.hex().encode())
    found = hits(tmp_path, ["Zylberstein", "Quillfeather", "Hollowmere"])
    assert found == [("a.npz", "Zylberstein"), ("b.parquet", "Quillfeather"), ("c.bin", "Hollowmere"),
                     ("c.bin", "Zylberstein")]
    assert layers(inner)[-1] == text


@pytest.mark.parametrize("name, values", [
    ("who", ["Anna Mueller", "Hans Koch", "Petra Wolf"]), ("患者", ["王伟", "李娜", "张敏"]),
    ("氏名", ["山田", "佐藤", "鈴木"]),
    ("ФИО", ["Иванов", "Петров", "Ким"]), ("Nazwisko", ["Nowak", "Kowal", "Lis"]), ("naam", ["Piet", "Kees", "Ruud"]),
    ("radiologist", ["Smith", "Jones", "Poe"]), ("カルテ番号", ["100001", "100002", "100003"]),
    ("jahrgang", [1940, 1951, 1960]),
    ("device_serial", ["SN1", "SN2", "SN3"]), ("running", list(range(30)))])
def test_further_columns_that_identify(name, values):
    assert identifiers.identifying(pd.DataFrame({name: (values * 10)[:30]})), name


@pytest.mark.parametrize("values", [["Max", "Min", "Mean"], ["Adenocarcinoma", "Squamous Cell"],
                                    ["Li-Fraumeni", "none"]])
def test_words_that_are_no_names(values):
    assert not identifiers.identifying(pd.DataFrame({"finding": values * 10}))


@pytest.mark.parametrize("name, cells", [
    ("img", ["images/p10.png", "images/p11.png", "images/p12.png", "images/p13.png"]),
    ("x", ["P10", "p11", "P12", "p13"]),
    ("scan", ["p10_t1", "p11_t1", "p12 (again)", None]), ("photo", ["a.jpg", "b.jpg", "a.jpg", "b.JPG"]),
])
def test_a_column_of_ids_or_names_of_files_is_an_identifier_whatever_its_name(name, cells):
    table = pd.DataFrame({name: cells, "stage": ["p1", "p2", "p1", "p13b"]})
    assert list(identifiers.identifying(table, ids=pd.Series(["p10", "p11", "p12", "p13"]))) == [name]


def test_short_numbers_are_ids_only_where_most_rows_hold_them():
    ids = pd.Series(range(1, 7))
    table = pd.DataFrame({"file": [f"scan{i:03d}" for i in ids], "copy": ids, "stage": [f"T{i % 4}" for i in ids],
                          "size": ids + 0.5, "sex": [0, 1] * 3, "age": [6, 2, 44, 51, 60, 38]})
    assert list(identifiers.identifying(table, ids=ids)) == ["file", "copy"]


def test_a_table_without_images_keeps_no_ids_in_a_column_of_files(workspace):
    rows = "".join(f"case-{i},images/case-{i}.png,{i % 2}\n" for i in range(6))
    (workspace / "t.csv").write_text("id,img,label\n" + rows)
    data = importers.import_source(workspace / "t.csv", "toy", key="id", label="label")
    assert "img" not in data.cohort and "case-" not in (data.folder / "cohort.csv").read_text()
