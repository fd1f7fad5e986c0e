"""The synthetic thorax cohort: truth and ceilings, pixels, DICOM, planted defects, trivial baselines."""

import hashlib

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from scipy import ndimage

from medlab.detection import blobs
from medlab.imaging import regions
from medlab.phantoms import chest, thorax

PATIENTS = 60


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return thorax.thorax(tmp_path_factory.mktemp("raw") / "thorax", PATIENTS, progress=False)


@pytest.fixture(scope="module")
def slices(raw):
    """Patient -> list of readable pydicom datasets by position, and the files nobody can read."""
    found, broken = {}, []
    for path in sorted(raw.glob("dicom/*/*")):
        try:
            ds = pydicom.dcmread(path)
            assert ds.pixel_array.shape == (128, 128)
            found.setdefault(ds.PatientID, []).append(ds)
        except (pydicom.errors.InvalidDicomError, ValueError):
            broken.append(path)
    return {k: sorted(v, key=lambda ds: ds.ImagePositionPatient[2]) for k, v in found.items()}, broken


def hounsfield(series):
    return np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in series])


@pytest.fixture(scope="module")
def volumes(slices):
    return {patient: hounsfield(series) for patient, series in slices[0].items()}


@pytest.fixture(scope="module")
def truth():
    return thorax.sample(2000, 0)


def test_prevalence_and_censoring(truth):
    share = truth.label.value_counts(normalize=True)
    assert all(0.27 < share[name] < 0.40 for name in ("none", "benign", "malignant"))
    assert 0.35 < 1 - truth.event.mean() < 0.45
    assert truth.diameter_mm.min() >= 4 and truth.diameter_mm.max() <= 32
    assert (truth.time_days > 0).all() and (truth.time_days <= truth.time_true_days).all()
    assert (truth.time_days[truth.event] == truth.time_true_days[truth.event]).all()
    nodules = truth[truth.label != "none"]
    assert nodules.texture.value_counts(normalize=True).min() > 0.15
    assert abs(nodules.malignancy_probability.mean() - (nodules.label == "malignant").mean()) < 0.03


def test_ceilings(truth):
    from lifelines.utils import concordance_index
    from sklearn.metrics import roc_auc_score

    malignant = truth.label == "malignant"
    assert 0.94 < roc_auc_score(malignant, truth.malignancy_probability) < 0.97
    ceiling = concordance_index(truth.time_days, -truth.log_hazard, truth.event)
    assert 0.75 < ceiling < 0.80
    table = 0.06 * truth.age_years - 0.52 * truth.fev1_z
    assert concordance_index(truth.time_days, -table, truth.event) < ceiling - 0.06  # the image is needed
    assert 0.55 < roc_auc_score(malignant, table) < 0.65  # the table is a hint and does not give the label away


def test_no_covariate_knows_the_label(truth):
    """Same person with and without a nodule: nothing of the table changes, and nothing is missing for the healthy."""
    table = thorax.clinical(truth, 0).drop(columns=["patient_id", "label", "time_days", "event"])
    other = thorax.clinical(truth.assign(label="none", diameter_mm=np.nan, extent=0), 0)
    pd.testing.assert_frame_equal(table, other[table.columns])
    assert set(table) <= {*thorax.MISSING, "age_years", "sex", "height_cm", "site"}
    gaps = table.isna().groupby(truth.label).mean()
    assert (gaps.max() - gaps.min()).max() < 0.04


def test_patient_does_not_depend_on_the_number(truth):
    few = thorax.sample(9, 0)
    pd.testing.assert_frame_equal(few, truth.head(9))
    assert not few.age_years.equals(thorax.sample(9, 1).age_years)
    with pytest.raises(ValueError, match="patients=0"):
        thorax.sample(0)


def test_same_seed_same_bytes(raw, tmp_path):
    """The number of processes changes nothing, nor does the number of patients."""
    def digest(folder):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    again = digest(thorax.thorax(tmp_path / "again", 8, progress=False))
    kept = {k: v for k, v in again.items() if k.startswith(("dicom/", "masks/"))}
    first = digest(raw)
    assert len(kept) == 8 * 10 + 2 + 8 and all(first[name] == value for name, value in kept.items())
    assert again == digest(thorax.thorax(tmp_path / "two", 8, progress=False, processes=2))
    other = digest(thorax.thorax(tmp_path / "other", 1, seed=1, progress=False))
    assert not set(other.values()) & set(v for k, v in first.items() if k.startswith("dicom/"))
    with pytest.raises(ValueError, match="empty folder"):
        thorax.thorax(tmp_path / "again", 8)


def test_dicom_headers(slices):
    series, _ = slices
    assert len(series) == PATIENTS
    uids = [ds.SOPInstanceUID for part in series.values() for ds in part]
    assert len(set(uids)) == len(uids) == 10 * PATIENTS
    assert all(uid.is_valid for uid in uids)
    for patient, part in series.items():
        first = part[0]
        assert len({ds.SeriesInstanceUID for ds in part}) == 1 and first.PatientID == patient
        assert np.allclose(np.diff([ds.ImagePositionPatient[2] for ds in part]), first.SliceThickness)
        assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
        assert first.Modality == "CT" and len(first.StudyDate) == 8 and first.PixelSpacing[0] in (2.7, 2.8)
    assert {part[0].Manufacturer for part in series.values()} == {"Phantom Systems A", "Phantom Systems B"}
    assert {float(part[0].RescaleSlope) for part in series.values()} == {1.0, 0.5, -1.0}
    assert any([ds.InstanceNumber for ds in p] != list(range(10, 0, -1)) for p in series.values())


def test_file_names_mean_nothing(raw, slices):
    """Neither the folder tells the patient nor the file name the position."""
    owners = {}
    for part in slices[0].values():
        for ds in part:
            owners.setdefault(ds.filename.split("/")[-2], set()).add(ds.PatientID)
    assert min(map(len, owners.values())) > 1
    orders = [np.argsort([ds.filename.split("/")[-1] for ds in part]) for part in slices[0].values()]
    assert abs(np.mean([np.corrcoef(order, range(10))[0, 1] for order in orders])) < 0.2


def test_planted_defects(raw, slices):
    series, broken = slices
    assert len(broken) == 2 and sum(path.read_bytes()[128:132] == b"DICM" for path in broken) == 1
    inverted = [k for k, part in series.items() if part[0].PhotometricInterpretation == "MONOCHROME1"]
    padded = [k for k, part in series.items() if "PixelPaddingValue" in part[0]]
    assert inverted == ["THX-0004"] and padded == ["THX-0006"]
    corner = series["THX-0006"][0]
    assert corner.pixel_array[0, 0] == corner.PixelPaddingValue == -2000
    pixels = {k: hashlib.sha256(hounsfield(part).tobytes()).hexdigest() for k, part in series.items()}
    assert pixels["THX-0003"] == pixels["THX-0008"] and len(set(pixels.values())) == PATIENTS - 1
    table = pd.read_csv(raw / "clinical.csv")
    assert (table.age_years > 120).sum() == 1
    assert table.isna().any().sum() >= 4 and table.label.notna().all()
    assert {"former", " Former "} <= set(table.smoking.dropna())
    assert table.smoking.dropna().str.strip().str.lower().nunique() == 3


def test_hounsfield_units(volumes, slices):
    """Regions found by threshold and place in the series as pydicom reads it, MONOCHROME1 included."""
    for patient in ("THX-0001", "THX-0002", "THX-0004", "THX-0010"):
        hu = volumes[patient]
        body = ndimage.binary_fill_holes(hu[5] > -400)
        assert abs(np.median(hu[:, :8, :8]) + 1000) < 8, patient
        lung = regions.lungs(hu)
        assert -890 < np.median(hu[lung & (hu < -500)]) < -800
        assert 0.5 < lung.sum() * 5 * 2.8**2 / 1e6 < 1.6  # litres in 50 mm
        tissue = hu[5][ndimage.binary_erosion(body, iterations=2)]
        counts, edges = np.histogram(tissue[(tissue > -180) & (tissue < 130)], bins=31)
        smooth = ndimage.gaussian_filter1d(counts.astype(float), 1)
        fat, muscle = (edges[:-1] + 5)[:13][smooth[:13].argmax()], (edges[:-1] + 5)[16:][smooth[16:].argmax()]
        assert -125 < fat < -70 and 25 < muscle < 75, (patient, fat, muscle)
        assert 300 < np.median(hu[hu > 250]) < 700


def test_noise(volumes):
    """At least 25 HU in tissue (differences of neighbouring slices of one place), and correlated."""
    field = chest.noise(volumes["THX-0001"], 27.0, 0.65, np.random.default_rng(0))
    assert abs(field.std() - 27) < 0.5
    assert np.corrcoef(field[:, :, 1:].ravel(), field[:, :, :-1].ravel())[0, 1] > 0.2
    for patient in ("THX-0001", "THX-0002"):
        hu = volumes[patient]
        heart = (hu[:, 40:90] > -20) & (hu[:, 40:90] < 110)
        core = ndimage.binary_erosion(ndimage.binary_opening(heart, np.ones((1, 5, 5))), np.ones((1, 3, 3)))
        pairs = core[1:] & core[:-1]
        spread = (hu[1:, 40:90] - hu[:-1, 40:90])[pairs].std() / np.sqrt(2)
        assert pairs.sum() > 200 and 20 < spread < 45, (patient, spread)


def test_masks_boxes_and_density(raw, volumes):
    boxes, truth = pd.read_csv(raw / "boxes.csv"), pd.read_csv(raw / "truth.csv").set_index("patient_id")
    assert (boxes.groupby("patient_id").size() == truth.n_nodules[truth.n_nodules > 0]).all()
    assert (boxes.groupby("patient_id").label.first() == truth.label[truth.n_nodules > 0]).all()
    volume = []
    for patient, hu in volumes.items():
        mask = np.load(raw / "masks" / f"{patient}.npz")["mask"]
        assert mask.shape == hu.shape and mask.any() == (truth.n_nodules[patient] > 0)
        inside = np.zeros(mask.shape, bool)
        for row in boxes[boxes.patient_id == patient].itertuples():
            cut = np.s_[row.z_min : row.z_max, row.y_min : row.y_max, row.x_min : row.x_max]
            inside[cut] = True
            for axis in range(3):  # the box is tight: mask in its first and last layer
                layers = mask[cut].any(axis=tuple(k for k in range(3) if k != axis))
                assert layers[0] and layers[-1]
        assert not (mask.astype(bool) & ~inside).any()
        solid = truth.texture[patient] == "solid" and truth.diameter_mm[patient] > 12
        if solid:  # and the mask lies on the nodule, not on its mirror image
            assert hu[mask > 0].mean() > -250 and hu[mask[::-1] > 0].mean() < hu[mask > 0].mean()
        if truth.n_nodules[patient] == 1:
            pixel = chest.SITES[truth.site[patient]]["pixel_mm"]
            volume.append((truth.diameter_mm[patient], np.cbrt(mask.sum() * 5 * pixel**2 * 6 / np.pi)))
    assert np.corrcoef(np.array(volume).T)[0, 1] > 0.9


def test_density_by_texture():
    patient = thorax.sample(1).to_dict("records")[0]
    patient |= {"diameter_mm": 20.0, "spiculation": 0.0, "n_granulomas": 0, "satellite_mm": np.nan}
    core, mean = {}, {}
    for texture in chest.TEXTURES:
        hu, masks = chest.render(patient | {"texture": texture}, np.random.default_rng(0))
        core[texture], mean[texture] = np.percentile(hu[masks[0]], 92), hu[masks[0]].mean()
    assert core["ground-glass"] < -400 and core["part-solid"] > -150 and core["solid"] > -20
    assert mean["ground-glass"] + 50 < mean["part-solid"] < mean["solid"] - 200


def test_trivial_baselines_stay_low(raw, volumes):
    """Brightest pixel: AUC <= 0.75; Otsu blobs: sensitivity <= 0.6 at one false positive per scan."""
    from sklearn.metrics import roc_auc_score

    truth, boxes = pd.read_csv(raw / "truth.csv"), pd.read_csv(raw / "boxes.csv")
    grey = {k: (np.clip((v + 1350) / 1500, 0, 1) * 255).astype(np.uint8) for k, v in volumes.items()}
    for images in (volumes, grey):
        score = [thorax.brightest_pixel(images[k]) for k in truth.patient_id]
        assert roc_auc_score(truth.label == "malignant", score) <= 0.75
    hits, found = [], 0
    low, high = ["z_min", "y_min", "x_min"], ["z_max", "y_max", "x_max"]
    for patient, hu in volumes.items():
        own = boxes[boxes.patient_id == patient]
        inner = ndimage.binary_erosion(regions.lungs(hu), np.ones((1, 3, 3)), iterations=2)  # without the chest wall
        found_here, scores = blobs.blobs((grey[patient] * inner)[..., None], 0, True, most=20)
        for score, point in zip(scores, (found_here[:, :3] + found_here[:, 3:]) / 2, strict=True):
            near = (own[low].to_numpy() - 1 <= point) & (point <= own[high].to_numpy() + 1)
            hits.append((score, *own.index[near.all(axis=1)][:1]))
    false, seen = 0, set()
    for _, *which in sorted(hits, key=lambda hit: -hit[0]):
        seen.update(which)
        false += not which
        if false > PATIENTS:
            break
        found = len(seen)
    assert 0.05 < found / len(boxes) <= 0.6


def test_card(raw):
    card = yaml.safe_load((raw / "card.yaml").read_text(encoding="utf-8"))
    assert card["synthetic"] is True and card["patients"] == "known" and card["positive"] in card["classes"]
    assert card["modality"] == "CT" and card["intensity"] == "HU" and card["classes"] == ["none", "benign", "malignant"]
