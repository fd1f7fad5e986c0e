"""What kind of series it is: descriptions without names, types from the code lists of DICOM.

SeriesDescription is free text and may name the patient: it is shown only where all its words are known.
"""

import hashlib
import re
from collections import Counter

import numpy as np

ANATOMY = set("""gtv ctv itv ptv igtv hrctv gy roi oar bone rib lung lungs left right l r heart liver kidney kidneys
spinal cord canal esophagus oesophagus trachea bronchus bronchi brain brainstem stem eye eyes lens optic nerve chiasm
parotid mandible larynx pharynx thyroid spleen stomach bowel bladder rectum prostate femur femoral head heads aorta body
external skin patient tumour tumor lesion lesions nodule nodules metastasis metastases node nodes lymph necrosis edema
oedema enhancing core cyst background tissue organ mask segmentation segment isocenter couch neoplasm primary secondary
carotid pancreas gallbladder adrenal gland vessel vessels airway lobe upper lower middle cortex medulla ventricle white
grey gray matter csf hippocampus total whole breast uterus ovary cervix muscle fat spine vertebra vertebrae""".split())
WORDS = ANATOMY | set("""ct mr mri pet pt fdg psma ac nac wb mip mpr dose low topogram scout localizer survey
axial ax tra trans transversal transverse coronal cor sagittal sag oblique thin thick slice slices mm cm kv ms native
plain pre post contrast gd gad km enhanced delayed late early arterial venous portal phase dynamic perfusion angio cta
mra tof flair stir dwi dti adc trace swi pd se ge gre tse fse tir mprage spgr flash vibe lava space cube haste truefisp
fiesta epi bold fmri rest dixon water fat sat fs supp in opp out opposed inphase weighted magnitude real imaginary mag
pha map maps chest thorax abdomen pelvis neck knee hip shoulder ankle wrist hand foot cervical thoracic lumbar whole
soft hard sharp smooth standard std recon reconstruction kernel ir fbp ap pa lat lateral lung mediastinum series
original derived image images volume vol iso isotropic hr hires res resolution high full fov without with and of
breath hold free inspiration expiration supine prone dual energy mono spectral iodine cardiac echo tr te
ti b""".split())
MODALITIES = set("""AR ASMT AU BDUS BI BMD CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL
IVOCT IVUS KER KO LEN LS MG MR M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PLAN POS PR PT PX REG RESP RF RG
RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA
XC""".split())  # PS3.3 C.7.3.1.1.1
IMAGE_TYPES = set("""AXIAL LOCALIZER SCOUT TOPOGRAM MIP MINIP MPR AVERAGE SUBTRACTION REFORMATTED RESAMPLED PROJECTION
VOLUME M P R I MAGNITUDE PHASE REAL IMAGINARY FFE SE IR FS ADC TRACEW DIFFUSION PERFUSION CBF CBV MTT TTP DIXON W F IP
OP WATER FAT IN_PHASE OUT_PHASE OPP_PHASE SWI MOSAIC DIS2D DIS3D ND NORM NONE STATIC DYNAMIC GATED DENSITY ATTENUATION
MONOENERGETIC T1 T2 OTHER""".split())
SEQUENCES = {"ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
             "SequenceVariant": {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP"},
             "EchoPulseSequence": {"SPIN", "GRADIENT", "BOTH"}}
PULSES = {"tfl", "tse", "se", "fl", "fi", "ep", "epfid", "epse", "tir", "spc", "spcir", "swi", "tof", "hast"}
COLUMNS = ("description", "image_type", "sequence", "contrast", "plane")


def modality(ds) -> str | None:
    """Modality of a header where it is a code of the standard; else None."""
    found = str(ds.get("Modality") or "").strip().upper()
    return found if found in MODALITIES else None


def made_of(text: str, vocabulary) -> bool:
    """Whether a free text is made of known words and of numbers below 100 that are no date, and so names nobody."""
    words = re.findall(r"[A-Za-z]+|\d+", text)
    parts = [p for w in words for p in ([w] if _in(w, vocabulary) else re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", w))]
    told = all(_in(p, vocabulary) or (p.isdigit() and len(p) < 3) for p in parts)
    date = re.search(r"\d+\D{1,3}\d+\D{1,3}\d+", text)
    return bool(parts and told and not date and re.fullmatch(r"[A-Za-z0-9 _+,().*/-]{1,64}", text.strip()))


def _in(word, vocabulary):
    """Whether a word, or one of at least three letters with a letter behind it (GTVp), is known."""
    return word.lower() in vocabulary or len(word) > 3 and word[:-1].lower() in vocabulary


def known(text) -> bool:
    """Whether a description is made of known words, numbers of one or two digits, T1, T2 and b-values.

    Examples
    --------
    >>> known("T1 ax post KM 3mm"), known("dwi b1000"), known("Thorax Miller"), known("CT 12.03.45")
    (True, True, False, False)
    """
    plain = re.sub(r"(?i)(?<![a-z])(t[12]w?|b[ =_]?\d{1,4})(?![a-z0-9])", "weighted", text)
    return made_of(plain, WORDS)


def kinds(ds) -> dict:
    """Cells ``image_type``, ``sequence``, ``contrast`` from coded elements only; absent where not stated."""
    found = {}
    kind = [str(v).strip().upper() for v in np.atleast_1d(ds.get("ImageType") or ())]
    words = [w for w in dict.fromkeys(kind[2:]) if w in IMAGE_TYPES]
    words = (["DERIVED"] if kind[:1] == ["DERIVED"] else []) + words
    pulses = [str(v).strip().upper() for tag, legal in SEQUENCES.items() for v in np.atleast_1d(ds.get(tag) or ())
              if str(v).strip().upper() in legal]
    name = re.match(r"\*?([a-z]+)", str(ds.get("SequenceName") or ""))
    pulses += [name[1]] if name and name[1] in PULSES else []
    if words:
        found["image_type"] = " ".join(words)
    if pulses:
        found["sequence"] = " ".join(dict.fromkeys(pulses))
    if "ContrastBolusAgent" in ds or "ContrastBolusAgentSequence" in ds:
        agent = str(ds.get("ContrastBolusAgent") or "").strip().upper()
        given = agent not in ("", "NO", "NONE", "N") or bool(ds.get("ContrastBolusAgentSequence"))
        found["contrast"] = "yes" if given else "no"
    return found


def plane(normal) -> str:
    """Name of the plane to which a slice is nearest, from its normal.

    Examples
    --------
    >>> plane([0, 0.1, 0.9]), plane([-1, 0, 0])
    ('axial', 'sagittal')
    """
    return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]


def label(groups) -> None:
    """Give each series a description that may be shown: its own, or a number (``#1``) where words are not known."""
    texts = Counter(g["description"] for g in groups if g["description"] and not known(g["description"]))
    order = sorted(texts, key=lambda t: (-texts[t], hashlib.sha256(t.encode()).digest()))
    number = {text: f"#{i}" for i, text in enumerate(order, 1)}
    for g in groups:
        g["shown"] = number.get(g["description"], g["description"])


def in_words(groups, most=12) -> str:
    """Series of a cohort with their numbers: modality, description or number, type, slices."""
    def line(g):
        echo = g["numbers"].get("echo_time_ms")
        kinds = [f"{k} {v}" if k == "contrast" else v for k, v in g["kinds"].items()]
        return " ".join([g["modality"], g["shown"] or "(no description)", *kinds,
                         *([f"TE {echo:g} ms"] if echo else [])])

    found = Counter(map(line, groups)).most_common()
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(f"{text} ({n})" for text, n in found[:most]) + more
