"""Real data from the source folder to the pages: the command line, the notebooks, and what a reader must find there."""

import html
import json
import os
import re

import pandas as pd
import pytest
from conftest import medlab

pytestmark = pytest.mark.realdata
IMPORTS = {
    "nsclc": (
        "nsclc_ct_survival --modality CT --intensity HU --spacing-mm 2 --tables clinical_data.csv,outcome.csv "
        "--key PatientID --time SurvivalTime --event Event --image volumes46/patient_{PatientID:03d}.npz::scan "
        "--mask volumes46/patient_{PatientID:03d}.npz::mask --rename age:age_years,SourceDataset:site"
    ),
    "lgg": (
        "lgg_mri_seg_survival --modality MR --tables slices.csv,patients.csv --key Patient --time OS.time --event OS "
        "--image images/{folder}/{file} --mask masks/{folder}/{file} --boxes xmin,ymin,xmax,ymax "
        "--covariates age_at_initial_pathologic,histological_grade,cdr_gender,cdr_histological_type "
        "--rename age_at_initial_pathologic:age_years,histological_grade:grade,cdr_gender:sex,"
        "cdr_histological_type:histology"
    ),
    "brain": "brain_tumor_4class --modality MR",
    "retina": "medmnist/retinamnist.npz",
    "odd": "dicom_odd --yes",
}
QUICK = 'network: simple\nsanity_gate: false\nepochs: 1\nn_bootstrap: 100\nsteps: "1-5"\n'
SURVIVAL = QUICK.replace("epochs: 1", "epochs: 2") + "image_size: 24\nsurvival_bootstrap: 100\n"


class Place:
    """A data and a reports folder of their own, and the command line in them."""

    def __init__(self, folder, source):
        self.data, self.reports, self.source = folder / "data", folder / "reports", source
        self.environment = {**os.environ, "MEDLAB_DATA": str(self.data), "MEDLAB_REPORTS": str(self.reports)}
        self.environment["OPENBLAS_NUM_THREADS"] = "1"  # waiting threads of BLAS would take a third of the CPU time

    def bring(self, name):
        """Import by the recipe, once; what was printed."""
        if not (self.data / name).exists():
            source, *options = IMPORTS[name].split()
            done = medlab("import", self.source / source, name, *options, env=self.environment)
            assert done.returncode == 0, done.stderr[-3000:]
            (self.data / name / "printed.txt").write_text(done.stdout)
        return (self.data / name / "printed.txt").read_text()

    def run(self, name, dataset, parameters=""):
        (self.reports / name).mkdir(parents=True, exist_ok=True)
        (self.reports / name / "params.yaml").write_text(f"dataset: {dataset}\n{parameters}")
        return medlab("run", name, env=self.environment)

    def page(self, name, number):
        """The text of a page, folded sections included."""
        text = next((self.reports / name).glob(f"{number}_*.html")).read_text()
        text = re.sub(r"<style.*?</style>|</?span[^>]*>", lambda m: " " * m[0].startswith("<style"), text, flags=re.S)
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))

    def facts(self, name, file="dataset.json"):
        return json.loads((self.reports / name / file).read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory, datasets_folder):
    return Place(tmp_path_factory.mktemp("realdata"), datasets_folder)


def test_lung_cancer_with_survival(place):
    place.bring("nsclc")
    done = place.run("nsclc", "nsclc", f"{SURVIVAL}image_depth: 24\nchannels: auto+mask\n")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.findall(r"(\d\d)_\w+: done", done.stderr) == ["01", "02", "03", "05"], "without a label no 04"
    assert "The dataset has no label" in (place.reports / "nsclc" / "index.html").read_text()
    page, facts = place.page("nsclc", "01"), place.facts("nsclc")
    source = pd.read_csv(place.source / "nsclc_ct_survival" / "clinical_data.csv")
    for spelling, n in source["Histology"].value_counts().items():
        assert re.search(rf"{re.escape(spelling)} [\w ]+ {n} ", page), f"{spelling!r} {n} times"
    assert "Histology: 4 categories are written in 7 ways." in page
    assert "Missing per patient: Histology 19, age (years) 15." in page
    assert "244 images, 244 patients" in page and "130 events in 244 patients" in page
    assert "5 of them empty" in page and re.search(r"\d voxels, [\d.]+ ml", page), "volumes have a volume"
    assert re.search(r"Rare categories \(patients\): .*Mstage 3 \(2\).*Tstage 5 \(1\)", page), "no such TNM stage"
    site = facts["alone"]["survival"]["site"]
    assert 0.60 < site["value"] < 0.63 and 0.5 < site["low"] < site["value"] < site["high"] < 0.7 and site["technical"]
    said = f"site alone predicts survival: C {site['value']:.2f} ({site['low']:.2f} to {site['high']:.2f})"
    assert f"{said}: a confounder to report beside every model." in page
    prepared = place.facts("nsclc", "preprocessing.json")
    assert prepared["image_shape"] == [24, 24, 24, 2] and prepared["marks"] == 1
    assert sum(part["patients"] for part in prepared["counts"].values()) == 244


    survival = place.facts("nsclc", "survival.json")
    assert {"image", "fused", "table", "clinical", "volume", "source", "forest"} <= set(survival["models"])
    source = survival["models"]["source"]
    assert source["c_harrell_low"] < source["c_harrell"] < source["c_harrell_high"], "the hospital alone has a number"
    assert "research use only" in place.page("nsclc", "05").lower()


def test_glioma_with_masks_and_survival(place):
    printed = place.bring("lgg")
    done = place.run("lgg", "lgg", SURVIVAL)
    assert done.returncode == 0, done.stderr[-3000:]
    page = place.page("lgg", "01")
    assert "453 images, 76 patients" in page and "28 events in 76 patients" in page
    assert "event column OS, seen 1, censored 0" in page
    for column in ("death01", "vital_status", "death_days_to", "last_contact_days_to", "PFI.time"):
        assert column in page and column in printed, "what repeats the outcome is named, and stays outside"
        assert column not in place.facts("lgg")["covariates"]
    assert "Masks: 453 of 453 images, 76 of them empty." in page and "no size in mm" in page
    assert "3 channels that are no colours" in page
    assert "Missing per patient: grade 1." in page and "text, 1 missing ('[Discrepancy]' 1)" in page
    split = pd.read_parquet(place.reports / "lgg" / "split.parquet")
    assert len(split) == 453 and (split.groupby("patient_id")["split"].nunique() == 1).all()
    assert split.drop_duplicates("patient_id")["event"].sum() == 28
    survival = place.facts("lgg", "survival.json")
    assert {"image", "fused", "clinical", "volume"} <= set(survival["models"])
    assert place.facts("lgg", "survival_training.json")["images_per_patient"] == 8
    assert survival["n_patients"] == 15 and "patients" in place.page("lgg", "05")


def test_brain_tumours_stop_at_the_leak_and_run_when_it_is_resolved(place):
    place.bring("brain")
    stopped = place.run("brain", "brain")
    assert stopped.returncode == 1
    assert re.findall(r"(\d\d)_\w+: (?:done|FAILED)", stopped.stderr) == ["01", "02"]
    page = place.page("brain", "01")
    assert "12 of them with identical images on both sides" in page and "number of patients unknown" in page
    failed = place.page("brain", "02")
    assert " failed Failed 20" in failed
    assert re.search(r"\b(7[5-9]|8[0-5]) groups of identical or near-identical images", failed)
    assert "parameter leaks: 'drop-train'" in failed and failed.count("images/testing/") >= 5
    done = place.run("brain", "brain", f"{QUICK}leaks: drop-train\nimage_size: 48\n")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.findall(r"(\d\d)_\w+: done", done.stderr)[-3:] == ["02", "03", "04"]
    metrics, split = place.facts("brain", "metrics.json"), pd.read_parquet(place.reports / "brain" / "split.parquet")
    assert metrics["n_images"] == 327 and metrics["n_patients"] is None, "the source's own test, whole"
    assert metrics["auc_low"] < metrics["auc"] < metrics["auc_high"]
    cohort = pd.read_parquet(place.reports / "brain" / "cohort.parquet").set_index("row")
    split["group"] = cohort["duplicate_group"].loc[split["row"]].to_numpy()
    kept = split[split["split"].isin(["train", "val", "test"]) & (split["group"] >= 0)]
    assert len(kept) and (kept.groupby("group")["split"].nunique() == 1).all()
    assert "Patients are unknown" in place.page("brain", "04")


def test_retina_grades_are_ordinal(place):
    place.bring("retina")
    done = place.run("retina", "retina", QUICK)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = place.facts("retina", "metrics.json")
    assert metrics["head"] == "ordinal" and metrics["n_images"] == 400 and metrics["classes"] == list("01234")
    assert -1 <= metrics["kappa_quadratic_low"] <= metrics["kappa_quadratic"] <= metrics["kappa_quadratic_high"] <= 1
    counts = place.facts("retina", "preprocessing.json")["counts"]
    assert {name: part["images"] for name, part in counts.items()} == {"train": 1080, "val": 120, "test": 400}
    assert "kappa, quadratic weights" in place.page("retina", "04")


def test_every_odd_dicom_file_has_its_place_in_the_log(place):
    printed = place.bring("odd")
    log = pd.read_csv(place.data / "odd" / "import_log.csv")
    counted = log["file"].str.extract(r"of (\d+) file")[0].fillna(log["reason"].str.extract(r"^(\d+) file")[0])
    files = [f for f in (place.source / "dicom_odd").rglob("*") if f.is_file()]
    assert counted.fillna(1).astype(int).sum() == len(files), "taken, duplicate or refused: none lost, none twice"
    assert log["reason"].notna().all() and set(log["status"]) == {"taken", "duplicate", "refused", "unmatched"}
    drawn = log["reason"].str.match("RTSTRUCT|SEG")
    assert drawn[log["status"] == "unmatched"].all() and (log[drawn]["status"] == "taken").sum() == 1
    cohort = pd.read_csv(place.data / "odd" / "cohort.csv")
    assert sorted(cohort["image"]) == sorted(log.loc[log["status"].isin(["taken", "duplicate"]) & ~drawn, "file"])
    assert f"odd: {len(cohort)} images" in printed
    names = pd.Series([f.stem for f in files if len(f.stem) > 6])
    assert not log.astype(str).agg(" ".join, axis=1).str.contains("|".join(map(re.escape, names))).any(), "names leak"
    assert medlab("check", "odd", env=place.environment).returncode == 0
