"""Import of functional runs: NIfTI and DICOM with their events; what is refused is said."""

import json

import pandas as pd
import pytest
from test_bold import GOOD, TR, check, classic, mosaic, nifti, values

from medlab.cohorts import cards, datasets
from medlab.engine import parameters
from medlab.fmri import bold as fmri_bold
from medlab.intake import bold as bold_import
from medlab.intake import drafts


@pytest.fixture
def source(tmp_path):
    """A BIDS-like tree: a run with events, one whose events are broken, a picture of one volume; a folder of DICOM."""
    func = tmp_path / "raw" / "sub-07" / "func"
    func.mkdir(parents=True)
    data = values(25).transpose(2, 1, 0, 3)
    nifti(func / "sub-07_task-x_bold.nii.gz", data)
    (func / "sub-07_task-x_events.tsv").write_text(GOOD)
    nifti(func / "sub-07_task-y_bold.nii.gz", data)
    (func / "sub-07_task-y_events.tsv").write_text("onset,duration\n1,2\n")
    nifti(func / "sub-07_short_bold.nii.gz", data[..., :5])
    dicom = tmp_path / "raw" / "dicom"
    dicom.mkdir()
    classic(dicom, values(20), PatientName="Doe^Jane", PatientID="secret-4711")
    return tmp_path / "raw"


def take(tmp_path, source, **options):
    folder = tmp_path / ".new.1.partial"
    folder.mkdir()
    draft = drafts.Draft(source, folder, {"keep": "patient_id"} | {k: v for k, v in options.items() if k != "events"})
    bold_import.runs(draft, source, events=options.get("events"))
    log = pd.read_csv(folder / "import_log.csv").set_index("file")
    return folder, cards.read_csv(folder / "cohort.csv"), log


def test_runs_come_with_their_events(tmp_path, source):
    folder, cohort, log = take(tmp_path, source)
    assert cards.read_card(folder / "card.yaml")["modality"] == "bold"
    assert not cards.validate(cohort, {"modality": "bold"}, folder)
    assert sorted(cohort["patient_id"]) == ["run-03", "sub-07", "sub-07"] and (cohort["frame"] == 0).all()
    row = cohort[cohort["image"].str.contains("task-x")].iloc[0]
    assert (folder / row["events"]).read_text() == GOOD
    assert cohort["events"].notna().sum() == 1
    assert log.loc["sub-07/func/sub-07_short_bold.nii.gz", "status"] == "refused"
    assert "5 volumes" in log.loc["sub-07/func/sub-07_short_bold.nii.gz", "reason"]
    assert "separated by commas" in log.loc["sub-07/func/sub-07_task-y_events.tsv", "reason"]
    assert log.loc["dicom"]["status"].tolist() == ["taken", "unmatched"]
    imported = datasets.Dataset("x", folder, cards.read_card(folder / "card.yaml"), cohort)
    conditions = datasets.conditions(imported) | {"dataset"}
    assert [n[:2] for n in parameters.notebooks() if not parameters.unmet(n, conditions)] == ["01", "09"]


def test_dicom_becomes_nifti_without_names(tmp_path, source):
    folder, cohort, _ = take(tmp_path, source)
    name = cohort.loc[cohort["patient_id"] == "run-03", "image"].iloc[0]
    run = fmri_bold.read(folder / name)
    check(run, values(20))
    assert json.loads((folder / name.replace(".nii.gz", ".json")).read_text()) == {"RepetitionTime": TR}
    import gzip

    for file in folder.rglob("*"):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() \
            if file.is_file() else b""
        assert b"Doe" not in content and b"4711" not in content, file


def test_slice_times_and_their_direction_come_along(tmp_path, source):
    beside = source / "sub-07" / "func" / "sub-07_task-x_bold.json"
    about = {"RepetitionTime": TR, "SliceTiming": [0.0, 0.5, 1.0, 1.5], "SliceEncodingDirection": "k-"}
    beside.write_text(json.dumps(about | {"InstitutionName": "secret"}))
    for file in (source / "dicom").iterdir():
        file.unlink()
    mosaic(source / "dicom", values(20), downwards=True)
    folder, cohort, _ = take(tmp_path, source)
    side = {p: json.loads((folder / n).with_suffix("").with_suffix(".json").read_text()) for p, n in zip(
        cohort["patient_id"], cohort["image"], strict=True) if "task-y" not in n}
    assert side == {"sub-07": about, "run-03": {"RepetitionTime": TR, "SliceTiming": [1.5, 0.5, 1.0, 0.0]}}


def test_a_template_of_events_and_nothing_to_take(tmp_path, source):
    (source / "events").mkdir()
    (source / "events" / "dicom.tsv").write_text(GOOD)
    _, cohort, _ = take(tmp_path, source, events="events/{stem}.tsv", patient_pattern="(?P<patient_id>dicom)")
    assert cohort["patient_id"].tolist() == ["dicom"] and cohort["events"].notna().all()
    (tmp_path / ".new.1.partial").rename(tmp_path / "old")
    with pytest.raises(ValueError, match="none of 3 NIfTI files and 1 folders of DICOM is a functional run"):
        take(tmp_path, source, patient_pattern="(?P<patient_id>nobody)")
