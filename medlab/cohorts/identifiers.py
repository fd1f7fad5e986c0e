"""What names a person in a table, by the name of a column and by what stands in it.

One rule for every source: numbers and words of few kinds may pass; what is named like an identifier, or holds dates,
numbers of telephones or documents, addresses, names with a title, free text, or another value in every row, may not.
The words are English, German, French, Spanish, Italian, Chinese (characters and pinyin), the plainest of others.
"""

import re

import numpy as np
import pandas as pd

from medlab.cohorts import vocabulary

HOLDS_DATES = "holds dates"
SAMPLE = 5000  # values of a column that are looked at, evenly spread

NAMES = set("""surname forename firstname lastname givenname fullname maiden initials vorname nachname familienname
geburtsname nom prenom nombre apellido apellidos nome cognome xingming xing mingzi kuerzel initialen initiales iniciales
iniziali patientname pname ptname naam voornaam achternaam namn fornamn förnamn efternamn imie imię nazwisko
sobrenome soyad adi isim фио фамилия имя отчество spouse ehepartner employer arbeitgeber""".split())
BIRTH = set("""birth birthday birthdate dob born geburt geburtstag geburtsdatum geburtsjahr geb gebdat gebjahr
naissance nee nacimiento nascita shengri chusheng yob birthyear jahrgang geboortedatum
fodelsedatum födelsedatum urodzenia nascimento рождения""".split())
PLACE = set("""address addresses adresse anschrift addr street strasse straße str rue calle direccion indirizzo dizhi
zip zipcode postcode postal plz postleitzahl city town village wohnort ort ville ciudad citta comune youbian
latitude longitude gps county gemeinde domicile residence
woonplaats adres endereco lon lng longitud breitengrad laengengrad längengrad адрес город""".split())
CONTACT = set("""phone phones tel telephone telefon telefono handy mobile mobil fax dianhua shouji email mail emails url
website facebook wechat weixin whatsapp contactperson angehoerige
телефон почта""".split())
DOCUMENT = set("""mrn ssn nhs accession passport ausweis kvnr vsnr versichertennummer versicherungsnummer fallnummer
fallnr patientennummer patientid patid pid kis krankenaktennummer insee dni nie nif curp cpf nss shenfenzheng shenfen
zhuyuanhao binglihao uid uuid guid kennzeichen ipaddress ip
pesel bsn personnummer serial serialnumber seriennummer license licence снилс полис паспорт""".split())
STAFF = set("""physician physicians doctor doctors arzt aerztin hausarzt zuweiser medecin medico yisheng referring
referrer surgeon radiologist radiologe radiologue pathologist oncologist cardiologist anesthetist technician nurse
operateur operator chirurg untersucher behandler clinician lekarz huisarts lakare läkare врач хирург""".split())
TEXT = set("""comment comments remark remarks note notes freetext freitext bemerkung bemerkungen kommentar kommentare
commentaire commentaires comentario comentarios commenti osservazioni notizen anmerkung anmerkungen beizhu memo
narrative report befund anamnese opmerking opmerkingen uwagi
observacoes anotacoes комментарий примечание примечания""".split())
DOCUMENTS = "the number of a document"
WORDS = {word: reason for words, reason in (
    (NAMES, "a name"), (BIRTH, "a date of birth"), (PLACE, "a place"), (CONTACT, "a contact"), (DOCUMENT, DOCUMENTS),
    (STAFF, "a member of staff"), (TEXT, "free text")) for word in words}
CHINESE = {**dict.fromkeys(("姓名", "名字", "氏名", "患者名", "名前", "이름", "성명"), "a name"),
          "생년": "a date of birth", "生年": "a date of birth", "出生": "a date of birth",
           "生日": "a date of birth", "电话": "a contact",
           "手机": "a contact", "邮箱": "a contact", "地址": "a place", "住址": "a place", "邮编": "a place",
           **dict.fromkeys(("医生", "医师", "担当医", "主治", "의사"), "a member of staff"),
           "住所": "a place", "주소": "a place", "전화": "a contact", "電話": "a contact",
           "备注": "free text", "日期": "a date",
           **dict.fromkeys(("身份证", "病历", "住院号", "门诊号", "病案号", "カルテ", "保険証", "등록번호"), DOCUMENTS)}
THINGS = set("""file class drug gene model scanner protocol device hospital site study series sequence modality variable
feature organ roi structure region department software manufacturer vendor treatment regimen disease diagnosis tumor
tumour label category cohort dataset image kernel institution coil segment lesion scale trial event""".split())
NUMBERED = set("no nr num number nummer numero id identifier code key".split())
OWNERS = set("""patient patients pat pt person subject insurance chart case record medical social national health
versicherten fall krankenkasse member policy account identity personal encounter""".split())
BORN_WITH = {"weight", "order", "height", "length", "gewicht", "size"}  # of birth, but no date

GIVEN = set("""anna maria hans peter thomas michael andreas wolfgang klaus juergen jürgen guenter günter stefan
christian petra ursula monika karin renate helga sabine ingrid uwe karl heinz werner gerhard manfred olga natalia ivan
sergei dmitri elena tatiana john james robert william david richard joseph charles mary patricia jennifer linda
elizabeth barbara susan jessica sarah karen nancy daniel paul george kenneth edward brian jean pierre michel philippe
marie nathalie isabelle sylvie catherine jose juan carlos luis antonio francisco javier carmen josefa isabel giuseppe
giovanni francesca paolo giulia jan piet kees johannes lars sven erik ingeborg katarzyna agnieszka andrzej krzysztof
mehmet ahmet mustafa fatma ayse mohammed muhammad ahmed ali fatima wei li ming yuki hiroshi takashi min-jun sofia
laura julia martin
иван сергей елена анна мария ольга наталья александр
дмитрий татьяна""".split())

MONTHS = (r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|jän|mär|maer|mrz|mai|okt|dez|janv|févr?|fevr?|avr|juin|"
          r"juil|août|aout|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott)[a-zäéûô]*\.?")
CLOCK = r"(?:[T ,]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*(?:Z|[AaPp]\.?[Mm]\.?|[+-]\d{2}:?\d{2})?)?"
DAY = re.compile("|".join(f"(?:{form}{CLOCK})" for form in (
    r"(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])", r"\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d",
    rf"\d{{1,2}}\.?(?:st|nd|rd|th|er)?[ /-]*(?:de )?{MONTHS}(?: de)?[ ,/-]*(?:(?:19|20)?\d\d)",
    rf"{MONTHS}[ -]*\d{{1,2}}(?:st|nd|rd|th)?[ ,-]+(?:19|20)\d\d", r"(?:19|20)\d\d年\d{1,2}月(?:\d{1,2}日)?")), re.I)
LOOSE = re.compile("|".join(f"(?:{form}{CLOCK})" for form in (
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{4}(?:\d\d)?)?(?:\.0+)?",
    r"\d{1,2}[-/.]\d{1,2}[-/.]\d\d",
    r"(?:19|20)\d\d[-/](?:0[1-9]|1[0-2])", r"(?:0?[1-9]|1[0-2])/(?:19|20)\d\d",
    rf"{MONTHS}[ ,-]+(?:19|20)\d\d")), re.I)
ANYWHERE = {  # so telling that one cell is enough
    "e-mail addresses": re.compile(r"[\w.+-]+@[\w-]+\.\w{2,}"),
    "web addresses": re.compile(r"https?://|\bwww\.\w", re.I),
    "unique identifiers": re.compile(r"\b\d+(?:\.\d+){6,}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I),
    "names": re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Sra?|Sig|Dott(?:\.ssa)?)\.?\s+"
                        r"[A-ZÄÖÜ]\w+|^[A-Za-z][\w' -]*\^[A-Za-z]|^[A-Z][a-z]+, [A-Z][a-z]+$"),
    "phone numbers": re.compile(r"(?:\+|\b00)\d{1,3}[\s()/.-]*(?:\d[\s()/.-]*){7,13}\b"),
}
MOSTLY = {
    "phone numbers": re.compile(r"\(?0\d{1,5}\)?[\s/.-]+(?:\d[\s/.-]*){4,11}|\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}|"
                                r"0\d{9,11}|1[3-9]\d{9}"),
    "social security numbers": re.compile(r"\d{3}-\d{2}-\d{4}"),
    "numbers of documents": re.compile(r"[A-Z]\d{9}|\d{8}[A-Z]|[XYZ]\d{7}[A-Z]|[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]|"
                                       r"\d{17}[\dX]|[12]\d{12}(?:\d{2})?"),
    "postcodes": re.compile(r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|\d{5}-\d{4}"),
    "IP addresses": re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"),
    "bank accounts": re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}"),
    "names of files": re.compile(r".*\.(?:png|jpe?g|tiff?|bmp|gif|dcm|ima|nii(?:\.gz)?|npz|npy|nrrd|mh[ad]|svs|pdf|"
                                 r"docx?|txt|mat|h5)", re.I),
}


def by_name(name) -> str | None:
    """Why the name of a column says that it identifies; None where it does not.

    Examples
    --------
    >>> by_name("PatientMRN"), by_name("birth_weight_g")
    ('the number of a document', None)
    """
    words, whole = vocabulary.words_of(name), "".join(re.split(r"[\W_]+", str(name).casefold()))
    found = next((reason for part, reason in CHINESE.items() if part in str(name)), None)
    if found or not words or str(name).startswith(vocabulary.RADIOMICS):
        return found
    if words & {"name", "names"} and not words & THINGS or re.fullmatch(
            r"(?:first|last|given|family|full|maiden|patients?|user|contact|father|mother)names?", whole):
        return "a name"
    if words & NUMBERED and words & OWNERS or whole in ("pat", "patient", "patientin", "患者", "病人", "환자"):
        return DOCUMENTS
    found = sorted({WORDS[w] for w in (*words, whole) if w in WORDS}) or [
        WORDS[part] for part in INSIDE if part in whole]
    born = found and found[0] == "a date of birth" and words & BORN_WITH
    return found[0] if found and not born else None


INSIDE = ("geburtsdatum", "geburtstag", "telefon", "adresse", "birth", "vorname", "nachname", "familienname", "surname")


def _checksum(text):
    """Whether ten digits are an NHS number (modulo 11)."""
    digits = re.sub(r"[\s-]", "", text)
    rest = 11 - sum(int(d) * w for d, w in zip(digits, range(10, 1, -1), strict=False)) % 11 if digits.isdigit() else 0
    return len(digits) == 10 and rest % 11 == int(digits[-1])


def _iban(text):
    """Whether a text is a bank account by its checksum (modulo 97)."""
    turned = re.sub(r"\s", "", text)
    if not 14 < len(turned) < 35 or not turned.isalnum() or not turned.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in turned[4:] + turned[:4])) % 97 == 1


def by_content(column) -> str | None:
    """Why what stands in a column may identify a person; None where it does not."""
    filled = column.dropna()
    if filled.empty or pd.api.types.is_bool_dtype(filled):
        return None
    number = pd.api.types.is_numeric_dtype(filled)
    dated = pd.api.types.is_datetime64_any_dtype(filled)
    if dated or not number and filled.map(lambda v: hasattr(v, "strftime")).any():
        return HOLDS_DATES
    some = filled.iloc[np.unique(np.linspace(0, len(filled) - 1, min(SAMPLE, len(filled))).astype(int))]
    text = some.map(written).str.strip()
    cells = [] if number else list(map(str, pd.unique(filled)[:10 * SAMPLE]))
    telling = next((what for what, pattern in ANYWHERE.items() if any(map(pattern.search, cells))), None)
    if telling:
        return f"holds {telling}"
    if number or pd.to_numeric(text.str.replace(",", "."), errors="coerce").notna().mean() > 0.5:
        return _numbers(filled, text, column.name)
    return _words(filled, text, cells)


def _share(text, pattern):
    """Share of cells that a pattern fits."""
    return text.map(lambda v: bool(pattern.fullmatch(v))).mean()


def _words(filled, text, cells):
    """Text that is dates, numbers of documents and the like, free text, or another in nearly every row."""
    if any(map(DAY.fullmatch, cells)) or _share(text, LOOSE) > 0.2:
        return HOLDS_DATES
    for what, pattern in MOSTLY.items():
        if _share(text, pattern) > 0.5 and ("bank" not in what or text.map(_iban).mean() > 0.2):
            return f"holds {what}"
    if _persons(text):
        return "holds names"
    if filled.nunique() == len(filled) > 1 and vocabulary.words_of(text.name) & NUMBERED - {"number", "num"}:
        return "another id in every row"
    several = text.nunique()
    if several > 2 and text.str.split().str.len().median() >= 4 and several > 0.5 * len(text):
        return "free text"
    if any(map(DAY.search, cells)):
        return "holds dates in its text"
    if len(filled) > 10 and filled.nunique() == len(filled):
        return "another text in every row"
    return "another text in nearly every row" if filled.nunique() > max(20, 0.5 * len(filled)) else None


def _persons(text):
    """Whether a third of the cells hold a given name as a word with a capital, and not always the same one."""
    named = text.map(lambda v: next((w for w in re.findall(r"[^\W\d_-]{2,}", v) if w.casefold() in GIVEN and
                                     w[0].isupper()), None))
    return named.notna().mean() > 0.3 and named.nunique() > 1


def written(value):
    """A cell as it would stand in a table: whole numbers without a point."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def _numbers(filled, text, name):
    """Numbers that are dates or count persons: 20190301, a serial of Excel in a column of dates, long numbers."""
    values, words = pd.to_numeric(text, errors="coerce"), vocabulary.words_of(name)
    serial = words & {"date", "datum", "fecha", "riqi", "dt"} and values.between(7000, 80000).mean() > 0.5
    if serial or _share(text, LOOSE) > 0.5:
        return HOLDS_DATES
    whole = text.str.fullmatch(r"\+?\d+")
    if whole.mean() < 0.9 or str(name).startswith(vocabulary.RADIOMICS):
        return None
    if len(text) > 4 and text.map(_checksum).mean() > 0.8:
        return "holds numbers of documents"
    first = values.min()
    if len(filled) > 10 and first in (0, 1) and filled.nunique() == len(filled) == values.max() - first + 1:
        return "counts the rows"
    length = text[whole].str.len()
    if length.min() >= 8 and length.nunique() <= 2 and filled.nunique() > 0.5 * len(filled) and len(filled) > 4:
        return "long numbers, another in nearly every row"
    numbered = words & (NUMBERED - {"number", "num"})
    if numbered and len(filled) > 3 and filled.nunique() > 0.9 * len(filled):
        return "another id in every row"
    return None


def holds_ids(column, ids) -> str | None:
    """Why a column may identify a person by the ids that stand in its cells, whatever its name; None where not.

    A cell holds the id of its row as a whole word (``img/p7.png``), a number with or without leading zeros
    (``scan_007``). That is so in two rows, and in one of ten, or, as short numbers also stand anywhere, in most rows of
    a column that differs from row to row as the ids do.

    Parameters
    ----------
    ids : Series, the id of each row
    """
    cells = pd.DataFrame({"cell": column, "id": ids}).dropna()
    several = cells["id"].nunique()
    if several < 2:
        return None
    some = cells.iloc[np.unique(np.linspace(0, len(cells) - 1, min(SAMPLE, len(cells))).astype(int))]
    pairs = [(written(c).casefold(), written(i).strip().casefold()) for c, i in zip(some["cell"], some["id"],
                                                                                      strict=True)]
    held = np.array([len(i) > 0 and i.lstrip("0") in c and bool(_as_word(i).search(c)) for c, i in pairs])
    telling = np.array([len(i) > 2 and bool(re.search(r"[^\W\d]|\d{4}", i)) for _, i in pairs])
    sure = held & telling
    as_often = several > 3 and cells["cell"].nunique() >= 0.9 * several and held.mean() > 0.5
    return "holds ids of patients" if sure.sum() > 1 and sure.mean() > 0.1 or as_often else None


def _as_word(text):
    """Pattern of an id that stands by itself; of a number with leading zeros or without, beside letters too."""
    if text.isdigit():
        return re.compile(rf"(?<![\d.,])0*{text.lstrip('0')}(?![.,]?\d)")
    return re.compile(rf"(?<![^\W_]){re.escape(text)}(?![^\W_])")


def identifying(table, keep=(), ids=None) -> dict:
    """Columns that may identify a person: {column: why}.

    Parameters
    ----------
    table : DataFrame, one row per person
    keep : columns that are told to be harmless
    ids : Series, optional
        The id of each row: no column holds it under another name.
    """
    found = {}
    for column in (c for c in table if c not in set(keep)):
        said = by_name(column)
        why = f"named like {said}" if said else by_content(table[column])
        why = why or (holds_ids(table[column], ids) if ids is not None else None)
        found |= {column: why} if why else {}
    return found


def in_names(paths) -> str | None:
    """Why names of files look as if they named persons; None where they do not.

    Dates and addresses in a single name, or two words, such as ``Miller_Ann``, that differ from file to file.
    """
    for path in paths:
        text = re.sub(r"(?<=\d)_(?=\d)", "-", str(path))
        dated = re.search(r"(?<!\d)(?:19|20)\d\d(?:-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))(?!\d)|"
                          r"(?<!\d)(?:0?[1-9]|[12]\d|3[01])[-.](?:0?[1-9]|1[0-2])[-.](?:19|20)\d\d(?!\d)", text)
        if dated:
            return "dates"
        if re.search(r"@[\w-]+\.\w|\w\^\w|\d+(?:\.\d+){6,}", text):
            return "addresses, names or unique identifiers"
        if not text.isprintable():
            return "control characters"
    pairs = [tuple(re.findall(r"[^\W\d_]{3,}", str(p).rpartition("/")[2].partition(".")[0])) for p in paths]
    pairs = [p for p in pairs if len(p) >= 2 and all(w[0].isupper() for w in p[:2])]
    if len(paths) > 1 and len(pairs) > 0.5 * len(paths) and len(set(pairs)) > 0.7 * len(pairs):
        return "names"
    return None
