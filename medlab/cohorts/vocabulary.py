"""Words of tables, one rule each: what is missing, what is a site, a size, a unit."""

import re

import numpy as np
import pandas as pd

# values outside are impossible, whatever the cohort: (word in the column's name, lowest, highest)
LIMITS = (("age", 0, 120), ("percent", 0, 100), ("bmi", 8, 100), ("height_cm", 20, 260),
          ("weight_kg", 0.2, 500), ("packyears", 0, 300),
          *((unit, 0, np.inf) for unit in ("mm", "cm", "mm3", "ml", "kg", "days", "months", "years")))


UNITS = {"pack_years": "pack-years", "g_dl": "g/dL", "mg_dl": "mg/dL", "mmhg": "mmHg", "hu": "HU", "mbq": "MBq",
         "ml": "mL", "mm2": "mm²", "mm3": "mm³", "px": "pixels", "px2": "pixels²", "percent": "%", "deg": "degrees",
         **{unit: unit for unit in ("years", "months", "days", "hours", "min", "mm", "cm", "kg", "g")}}
NAME = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
RADIOMICS = ("radiomics_", "original_")  # how names of image features begin (the second as IBSI software writes them)


def name_and_unit(column: str) -> tuple[str, str]:
    """Name of a column as words, and its unit, an empty text where the name does not end with one.

    Examples
    --------
    >>> name_and_unit("haemoglobin_g_dl"), name_and_unit("tumour_stage"), name_and_unit("surface_per_mm")
    (('haemoglobin', 'g/dL'), ('tumour stage', ''), ('surface', '1/mm'))
    """
    words = str(column).split("_")
    for n in (2, 1):
        if len(words) > n and (unit := UNITS.get("_".join(words[-n:]))):
            per = words[-n - 1] == "per" and len(words) > n + 1
            return " ".join(words[:-n - per]), f"1/{unit}" if per else unit
    return " ".join(words), ""


def labelled(column: str) -> str:
    """Name of a column with its unit in brackets: ``age_years`` is age (years)."""
    name, unit = name_and_unit(column)
    return f"{name} ({unit})" if unit else name


def in_words(text: str) -> str:
    """A text in which names of columns are words with their unit.

    Examples
    --------
    >>> in_words("age_years, mean"), in_words("image: spacing_mm"), in_words("haemoglobin_g_dl")
    ('age, years, mean', 'image: spacing, mm', 'haemoglobin, g/dL')
    """
    return NAME.sub(lambda found: ", ".join(filter(None, name_and_unit(found[0]))), text)


def is_text(series) -> bool:
    """Whether a covariate holds words (booleans and numbers do not)."""
    return not (pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series))


def parts_of(columns) -> tuple:
    """Names of covariates in two lists: clinical ones, and features measured in the images (radiomics)."""
    radiomics = [name for name in columns if str(name).startswith(RADIOMICS)]
    return [name for name in columns if name not in radiomics], radiomics


def limits(column) -> tuple | None:
    """Lowest and highest possible value by the words in a column's name, or None."""
    words = f"_{column.lower()}_"
    return next(((low, high) for word, low, high in LIMITS if f"_{word}_" in words), None)


MISSING = {
    "", ".", "na", "n/a", "n.a.", "nan", "<na>", "null", "nil", "nat", "\\n",  # as programs write an empty cell
    "#n/a", "#na", "#null!", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#wert!", "#bezug!", "#zahl!",  # Excel
    "-", "--", "\u2013", "\u2014", "?", "??", "unknown", "unk", "not available", "not reported", "not known",
    "not done", "missing", "unbekannt", "k.a.", "k. a.", "keine angabe", "inconnu", "desconocido", "sconosciuto",
    "onbekend", "'--", "blank(s)", "not allowed to collect", "non disponible", "non renseigné", "brak danych",
    "nieznane", "okänt", "ukjent", "não informado", "неизвестно", "нет данных", "н/д", "\u6b20\u6e2c",
    "\u4e0d\u8a73", "\u672a\u6e2c\u5b9a", "\u672a\u67e5", "\u672a\u6d4b", "\ubbf8\uc0c1", "\u4e0d\u660e",
    "\u672a\u77e5", "\u4e0d\u8be6",
    "[not available]", "[not applicable]", "[not evaluated]", "[unknown]", "[discrepancy]"}  # codes of TCGA
AMONG_NUMBERS = {"na", "none"}  # Na is sodium and None a finding where the column holds words


def is_missing(value) -> bool:
    """Whether a cell says nothing: no value, or one of the words for it in any case and spacing.

    "Na", so written, and "none" are values: they are missing among numbers only (`as_numbers`).
    """
    if not isinstance(value, str):
        return bool(pd.isna(value))
    text = " ".join(value.split())
    return text != "Na" and text.casefold() in MISSING


def missing(column) -> pd.Series:
    """Which cells of a column are missing (`is_missing`); beside a "+" a "-" is a finding, not a gap."""
    words = column.unique()
    signs = {"-"} if any(isinstance(word, str) and word.strip() == "+" for word in words) else set()
    gaps = [word for word in words if word not in signs and is_missing(word)]
    return column.isin(gaps) | column.isna()


def as_numbers(column) -> pd.Series | None:
    """A column of text as numbers, NaN where it is missing ("none" too), or None where a word is neither."""
    gaps = missing(column) | column.astype(str).str.strip().str.casefold().isin(AMONG_NUMBERS)
    numbers = pd.to_numeric(column.where(~gaps), errors="coerce")
    return None if (numbers.isna() & ~gaps).any() else numbers


def code_like(texts) -> str | None:
    """Why whole numbers, as text, are ids or codes that must stay as they are written, or None.

    Leading zeros, more digits than a number keeps, or a letter E among plain digits (``1E5`` beside ``227``).
    """
    texts = texts if isinstance(texts, pd.Series) else pd.Series(texts, dtype=str)
    whole, odd = texts.str.fullmatch(r"\d+"), texts.str.fullmatch(r"\d+[eE]\d+")
    for rows, why in ((texts.str.match(r"[-+]?0\d"), "leading zeros"),
                      (texts.str.fullmatch(r"[-+]?\d{16,}"), "more than 15 digits"),
                      (odd if (whole | odd).all() and whole.any() else odd & False, "an E among digits")):
        if rows.any():
            return why
    return None


SPELLINGS = {"m": "male", "f": "female", "w": "female", "man": "male", "woman": "female", "y": "yes", "n": "no",
             "true": "yes", "false": "no", "nsclc nos": "nos", "never smoker": "never", "current smoker": "current",
             "former smoker": "former", "ex smoker": "former"}


def clean_text(series) -> pd.Series:
    """Bring a text column to one spelling: trimmed, lower case, words for missing become NaN.

    An acronym spelt out in brackets loses the bracket ("NOS (not otherwise specified)" is "nos"). Only
    spellings that cannot mean anything else are joined; typing errors are left for a person to judge.
    """
    def clean(value):
        text = re.sub(r"[\s_]+", " ", str(value)).strip(" .,;").casefold()
        found = re.fullmatch(r"(.*?\b(\w+)) ?\(([^()]+)\)", text)
        if found and "".join(w[0] for w in found[3].split()) == found[2]:
            text = found[1]
        return SPELLINGS.get(text.replace("-", " "), text)

    return series.where(~missing(series)).map(clean, na_action="ignore")


SITE = {"site", "sites", "hospital", "centre", "center", "institution", "institute", "station", "source", "scanner",
        "vendor", "manufacturer", "device"}
NO_SITE = {"tumour", "tumor", "primary", "biopsy", "resection", "anatomic", "anatomical", "metastasis", "metastatic",
           "lesion", "nodule", "body", "organ",  # where in the body
           "window", "mass", "gravity", "x", "y", "z", "px", "mm"}  # the middle of something
ACQUISITION = ({"kvp"}, {"tube"}, {"kernel"}, {"protocol"}, {"sequence"}, {"contrast"}, {"model", "name"},
               {"slice", "thickness"}, {"field", "strength"})


ACCENTS = str.maketrans("éèêçñóíáàâùúô", "eeecnoiaaauuo")


def words_of(name) -> set:
    """Parts of the name of a column, in lower case without accents: of ``MRModel_2`` mr, model and 2."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)", "_", str(name))
    return set(re.split(r"[\W_]+", apart.casefold().translate(ACCENTS))) - {""}


def is_site(name) -> bool:
    """Whether a column says by its name where, or with which machine, an image was taken.

    Whole words count (``scanner_id``, ``Hospital``, not ``resource``), unless others say that a place in the body
    or the middle of something is meant (``tumour_site``, ``center_x_mm``).
    """
    words = words_of(name)
    return bool(words & SITE) and not words & NO_SITE


def sites(table, most=50) -> list:
    """Columns of a table that are sites (`is_site`) and have 2 to `most` different values."""
    return [name for name in table if is_site(name) and 1 < table[name].nunique() <= most]


SIZE = ("depth", "height", "width", "channels", "spacing_mm")


def varied(table, columns, most=0.5) -> list:
    """Those of the columns that differ between rows, without those that nearly name the row (text)."""
    found = []
    for name in columns:
        values = table[name]
        number = pd.api.types.is_numeric_dtype(values)
        if values.nunique() > 1 and (number or values.nunique() <= max(2, most * len(values))):
            found.append(name)
    return found


def acquisition(cohort) -> list:
    """Columns of cohort.parquet that say how an image was taken, not what is on it, and that vary."""
    clinical, _ = parts_of(cohort)  # a texture feature may be called contrast
    return varied(cohort, [name for name in clinical if is_site(name) or name in SIZE
                           or any(phrase <= words_of(name) for phrase in ACQUISITION)])


LATER = re.compile(r"death|dead|vital|deceased|last.?contact|follow.?up|progress|relaps|recur"
                   r"|(^|[._])(os|dss|pfi|dfi|pfs|rfs)([._]|$)", re.I)


def recorded_later(columns: list) -> list[str]:
    """Columns whose name says that they were recorded after the start of follow-up: the outcome under another name."""
    return [column for column in columns if LATER.search(column)]
