"""Real cohorts that the dependencies carry, as tables with names in words: ``package:gbsg2``, ``package:flchain``, ...

What scikit-survival and lifelines bring along are public tables of published studies, without a network. Columns get
names that say what they are and in which unit; codes become words.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

NO_YES = {"0": "no", "1": "yes"}
UNSTATED = "not stated by the source; the table is distributed with {package} ({licence})"
CARRIED = {"sksurv": ("scikit-survival", "GPL-3.0-or-later"), "lifelines": ("lifelines", "MIT")}


@dataclass(frozen=True)
class Table:
    """A table that a package carries.

    Parameters
    ----------
    file : below the package
    title, description, citation, time_origin, event_meaning : for the card
    time, event, seen : columns of the follow-up and of the event, and the value that means that it was seen
    columns : column -> (name in words, words of its codes)
    unit : of the follow-up
    left_out : column -> why it is no covariate
    """

    file: str
    title: str
    description: str
    citation: str
    time_origin: str
    event_meaning: str
    time: str
    event: str
    seen: str
    columns: dict
    unit: str = "days"
    left_out: dict = field(default_factory=dict)


PACKAGES = {
    "gbsg2": Table(
        "sksurv/datasets/data/GBSG2.arff", "German Breast Cancer Study Group 2: node-positive breast cancer",
        "686 women of a trial of hormone therapy and length of chemotherapy; 299 recurrences or deaths. The column of "
        "the event is called cens in the source, where 1 means that the event was seen.",
        "Schumacher M, Bastert G, Bojar H, et al. Randomized 2 x 2 trial evaluating hormonal treatment and the "
        "duration of chemotherapy in node-positive breast cancer patients. J Clin Oncol 1994;12:2086-2093",
        "entry into the trial", "recurrence or death, whichever came first", "time", "cens", "1",
        {"horTh": ("hormone_therapy", {}), "age": ("age_years", {}),
         "menostat": ("menopause", {"Pre": "before", "Post": "after"}), "tsize": ("tumour_size_mm", {}),
         "tgrade": ("tumour_grade", {"I": "1", "II": "2", "III": "3"}), "pnodes": ("positive_nodes", {}),
         "progrec": ("progesterone_receptor_fmol", {}), "estrec": ("oestrogen_receptor_fmol", {})}),
    "whas500": Table(
        "sksurv/datasets/data/whas500.arff", "Worcester Heart Attack Study: 500 patients after myocardial infarction",
        "500 patients in hospital with acute myocardial infarction; 215 deaths.",
        "Hosmer DW, Lemeshow S, May S. Applied Survival Analysis: Regression Modeling of Time to Event Data. "
        "2nd edition, Wiley 2008", "admission to hospital", "death", "lenfol", "fstat", "1",
        {"age": ("age_years", {}), "gender": ("sex", {"0": "male", "1": "female"}),
         "hr": ("heart_rate_per_minute", {}), "sysbp": ("systolic_pressure_mmhg", {}),
         "diasbp": ("diastolic_pressure_mmhg", {}), "bmi": ("bmi", {}), "cvd": ("cardiovascular_history", NO_YES),
         "afb": ("atrial_fibrillation", NO_YES), "sho": ("cardiogenic_shock", NO_YES),
         "chf": ("heart_failure", NO_YES), "av3": ("complete_heart_block", NO_YES),
         "miord": ("infarction_order", {"0": "first", "1": "recurrent"}),
         "mitype": ("infarction_type", {"0": "non Q-wave", "1": "Q-wave"})},
        left_out={"los": "length of the stay in hospital: known only days after follow-up began"}),
    "veterans": Table(
        "sksurv/datasets/data/veteran.arff", "Veterans' Administration trial: inoperable lung cancer",
        "137 men of a trial of two chemotherapies; 128 deaths.",
        "Kalbfleisch JD, Prentice RL. The Statistical Analysis of Failure Time Data. 2nd edition, Wiley 2002",
        "randomisation", "death", "Survival_in_days", "Status", "dead",
        {"Treatment": ("treatment", {}), "Celltype": ("cell_type", {"smallcell": "small cell"}),
         "Karnofsky_score": ("karnofsky_score", {}), "Months_from_Diagnosis": ("diagnosed_before_months", {}),
         "Age_in_years": ("age_years", {}), "Prior_therapy": ("prior_therapy", {})}),
    "flchain": Table(
        "sksurv/datasets/data/flchain.arff", "Serum free light chains in the population of Olmsted County",
        "7,874 residents of 50 years and more with a blood sample; 2,169 deaths. A random half of the study.",
        "Dispenzieri A, Katzmann J, Kyle R, et al. Use of nonclonal serum immunoglobulin free light chains to predict "
        "overall survival in the general population. Mayo Clin Proc 2012;87:517-523",
        "blood sample", "death", "futime", "death", "dead",
        {"age": ("age_years", {}), "sex": ("sex", {"F": "female", "M": "male"}), "sample.yr": ("sample_year", {}),
         "kappa": ("free_kappa_mg_dl", {}), "lambda": ("free_lambda_mg_dl", {}),
         "flc.grp": ("light_chain_group", {}), "creatinine": ("creatinine_mg_dl", {}),
         "mgus": ("gammopathy_diagnosed", {})},
        left_out={"chapter": "cause of death: known only where the event was seen"}),
    "rossi": Table(
        "lifelines/datasets/rossi.csv", "Recidivism: convicts released from prison",
        "432 men followed for a year after their release, half of them with financial aid by lot; 114 arrests.",
        "Rossi PH, Berk RA, Lenihan KJ. Money, Work, and Crime: Some Experimental Results. Academic Press 1980",
        "release from prison", "arrest", "week", "arrest", "1",
        {"fin": ("financial_aid", NO_YES), "age": ("age_years", {}), "race": ("race", {"0": "other", "1": "black"}),
         "wexp": ("full_time_work_before", NO_YES), "mar": ("married", NO_YES), "paro": ("parole", NO_YES),
         "prio": ("prior_convictions", {})}, unit="weeks"),
}


def cohort(name: str) -> pd.DataFrame:
    """A table with ``patient_id`` (number of the row), follow-up in its own unit, ``event`` and columns in words.

    Raises
    ------
    ValueError
        For a name that no package carries, or a package without the file.
    """
    table = known(name)
    raw = _read(table)
    found = pd.DataFrame({"patient_id": range(1, len(raw) + 1), "follow_up": raw[table.time],
                          "event": raw[table.event].map(lambda value: "yes" if value == table.seen else "no")})
    for column, (named, words) in table.columns.items():
        strange = set(raw[column].dropna()) - set(words) if words and set(words) == set(NO_YES) else set()
        if strange:
            raise ValueError(f"package:{name}: {column} holds {', '.join(sorted(strange))}, expected 0 and 1")
        found[named] = raw[column].replace(words)
    return found


def known(name: str) -> Table:
    """What is known of a table; ValueError naming those there are."""
    if name not in PACKAGES:
        raise ValueError(f"package:{name}: expected one of {', '.join(f'package:{one}' for one in PACKAGES)}")
    return PACKAGES[name]


def card(name: str) -> dict:
    """What the card of a table says."""
    table = known(name)
    package, licence = CARRIED[table.file.partition("/")[0]]
    return {"title": table.title, "description": table.description, "citation": table.citation,
            "licence": UNSTATED.format(package=package, licence=licence), "time_origin": table.time_origin,
            "event_meaning": table.event_meaning}


def _read(table):
    """The raw table, every cell as it is written; None where a value is missing."""
    package, _, rest = table.file.partition("/")
    found = find_spec(package)
    path = Path(found.submodule_search_locations[0]) / rest if found else None
    if path is None or not path.is_file():
        raise ValueError(f"{table.file}: this version of {CARRIED[package][0]} does not carry the file")
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "%"]
    at = next(i for i, line in enumerate(lines) if line.strip().lower() == "@data")
    names = [line.split()[1] for line in lines[:at] if line.lower().startswith("@attribute")]
    rows = [[None if cell == "?" else cell.strip("'") for cell in line.split(",")] for line in lines[at + 1:]]
    return pd.DataFrame(rows, columns=names, dtype=object)
