"""Bytes of a text table to letters: the encoding is known, told, or plain from the words; else it is refused.

Detectors guess from frequencies, which a short table does not have. Here a reading counts only if every word in it
could be one: the letters of one language, no sign inside a word, no capital behind a small letter.
"""

import codecs
import re
import unicodedata

BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
ALPHABETS = (  # letters beside a to z, letters that its words lack
    ("äöüßé", ""), ("àâæçéèêëîïôœùûüÿ", ""), ("áéíóúüñªº¿¡", "w"), ("áâãàçéêíóôõúüªº", "kwy"), ("àèéìíîòóùú", "jkwxy"),
    ("åäöé", ""), ("æøåé", "q"), ("éëïóöüèáç", ""), ("áéíóúýðþæö", "cqwz"), ("ąćęłńóśźż", "qvx"),
    ("áčďéěíňóřšťúůýž", "qw"), ("áäčďéíĺľňóôŕšťúýž", "qw"), ("áéíóöőúüű", "qwx"), ("čćđšž", "qwxy"), ("ăâîșțşţ", "qwy"),
    ("çğıİöşüâîû", "qwx"), ("āčēģīķļņšūž", "qwxy"), ("ąčęėįšųūž", "qwx"), ("äöõüšž", "cqwxy"))
VOWELS = set("aeiouyæøœıαεηιουωаеёиоуыэюяієї")
IMPOSSIBLE = re.compile("ń[aeiouyóąę]|[ךםןףץ]\\w")  # Polish writes ni before a vowel; Hebrew forms of the last letter
COMMON = {"CYRILLIC": "оеаинтсрвл", "GREEK": "αοιετσνηυρ", "HEBREW": "יוהלאמרתבש", "ARABIC": "اليمنرتوبة",
          "THAI": "านรอกเงมยล"}
SINGLE = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "iso8859-2", "iso8859-15", "koi8-r",
          "mac_roman", "cp850", "cp852", "cp866", "iso8859-5", "cp1255", "cp1256", "cp874")
DOUBLE = {"gb18030": ("gb2312", (0xB0, 0xD7)), "big5": ("big5", (0xA4, 0xC6)), "cp949": ("euc_kr", (0xB0, 0xC8)),
          "cp932": ("shift_jis", (0x82, 0x98)), "euc_jp": ("euc_jp", (0xA4, 0xCF))}  # first bytes of usual characters
OLD = dict.fromkeys(("mac_roman", "cp850", "cp852"), 0.75)  # no program of today writes them
SIGNS = set("°µμ²³±€£§·×÷–—‘’“”„…«»®™©½¼¾‰•、。，；：（）「」・ー\u00a0\u202f\u3000\u2028\u0085")


def find(data: bytes, name: str, encoding=None) -> tuple[str, str]:
    """Encoding of a text file, and how it is known, in words.

    Raises
    ------
    ValueError
        Where the bytes do not fit the encoding that is told, are no text, or can be read in several ways.
    """
    if encoding:
        return _told(data, name, str(encoding))
    for mark, found in BOMS:
        if data.startswith(mark):
            return _told(data, name, found)
    if b"\0" in data:
        return _wide(data, name)
    if b"\x1b$" in data or b"\x1b(" in data:
        raise ValueError(f"{name}: switches its character set by escape codes (ISO-2022); say --encoding iso2022_jp, "
                         "iso2022_kr or hz")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return _guessed(data, name)
    if re.search(rb"\xc3[\x82\x83](\xc2[\x80-\xbf]|\xc5[\xb8\x93\xa1])|\xc3\xa2\xe2\x82\xac", data):
        raise ValueError(f"{name}: its letters were encoded twice (as 'GrÃ¶ÃŸe'); export it again from its source, or "
                         "say --encoding utf-8 to take them so")
    return "utf-8", "UTF-8" + (", with signs for letters that were lost before (U+FFFD)" if b"\xef\xbf\xbd" in data
                               else "")


def _told(data, name, encoding):
    try:
        codecs.lookup(encoding)
        data.decode(encoding)
    except LookupError:
        raise ValueError(f"--encoding {encoding!r}: unknown; such as utf-8, cp1252, gb18030, cp932, cp1251") from None
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b"\n") + 1
        raise ValueError(f"{name}, line {line}: byte {data[error.start]:#04x} is no {encoding}; say which it is with "
                         "--encoding NAME, or save the table as UTF-8") from None
    return encoding, encoding.removesuffix("-sig").upper()


def _wide(data, name):
    """UTF-16 without a mark: every second byte of its digits and delimiters is zero, always on the same side."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    for encoding, share, other in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if len(data) % 2 == 0 and share > len(data) / 20 and not other:
            return _told(data, name, encoding)
    raise ValueError(f"{name}: holds zero bytes, expected a text table (CSV); save it as CSV or .xlsx, or say its "
                     "--encoding")


def _guessed(data, name):
    lines = {line for line in data.splitlines() if not line.isascii()}
    sample = b"\n".join(sorted(lines)[:2000])
    readings = {}
    for encoding in (*DOUBLE, *SINGLE):
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        score = _double(text, encoding) if encoding in DOUBLE else _single(text) * OLD.get(encoding, 1)
        if score and all(text != other for _, other in readings.values()):
            readings[encoding] = score, text
    best = sorted(readings, key=lambda e: -readings[e][0])
    if "cp1252" in readings and not re.search(r"[^\W\d_ªºµ]", re.sub("[\x00-\x7f]", "", readings["cp1252"][1])):
        best = ["cp1252"]  # nothing but signs: µ, °, €
    if len(best) > 1:
        best = _by_detector(sample, readings) or best
    scores = [readings[e][0] for e in best]
    if not best or len(best) > 1 and scores[0] - scores[1] < 0.2:
        shown = "; ".join(f"{e}: {', '.join(_words(readings[e][1])[:3])}" for e in best[:4])
        raise ValueError(f"{name}: no UTF-8, and its encoding is in doubt ({shown or 'no reading gives words'}); "
                         "say which with --encoding NAME")
    encoding, told = _told(data, name, best[0])
    return encoding, f"{told} (confidence {scores[0] / sum(scores):.2f})"


def _words(text):
    """Different words that hold a letter or sign outside ASCII, sorted."""
    return sorted(set(re.findall(r"[^\s\x00-@\[-`{-\x7f]*[^\x00-\x7f\s][^\s\x00-@\[-`{-\x7f]*", text)))


def _single(text):
    """How well the words of a reading with one byte a letter are words of one language: 0 to 1."""
    words = _words(text)
    bare = [w.strip("".join(SIGNS)).lstrip("¿¡") for w in words]
    letters = {c for w in bare for c in w if not c.isascii()}
    if re.search(r"[^\W\d_µ]€|€[^\W\d_µ]", text) or any(not _word(w) for w in bare):
        return 0.0
    scripts = {unicodedata.name(c, "?").split()[0] for c in letters - set("’·ªº")}
    if scripts <= {"LATIN"}:
        small = {c for w in bare for c in w.lower().replace("i̇", "i") if c.isalpha()}
        fits = any(letters <= {*a, *a.upper()} and not small & set(lack) for a, lack in ALPHABETS)
        return _voiced(bare) if fits and letters else 0.5 * (not letters)
    script = scripts.pop()
    if scripts or script not in COMMON or any(re.search("[a-zA-Z]", w) for w in bare if not w.isascii()):
        return 0.0
    every = [c.lower() for w in bare for c in w if not c.isascii()]
    share = sum(c in COMMON[script] for c in every) / len(every)
    return share * (_voiced(bare) if script in ("CYRILLIC", "GREEK") else 1)


def _word(text):
    """Whether a word has letters only and no capital behind a small one."""
    whole = all(unicodedata.category(c)[0] in "LM" or c.isascii() or c in "’·" for c in text)
    case = text.islower() or text.isupper() or text[1:].islower() or text.istitle() or text.lower() == text.upper()
    return whole and case and not IMPOSSIBLE.search(text.lower())


def _voiced(words):
    """Share of the words that hold a vowel."""
    long = [unicodedata.normalize("NFD", w.lower()) for w in words if len(w) > 1]
    return sum(bool(VOWELS & set(w)) for w in long) / len(long) if long else 1.0


def _double(text, encoding):
    """Share of usual characters in a reading with two bytes a letter; 0 where most are rare."""
    plain, (low, high) = DOUBLE[encoding]
    letters = [c for w in _words(text) for c in w if not c.isascii() and c not in SIGNS]
    first = [c.encode(plain, "ignore")[:1] for c in letters]
    share = sum(bool(b) and low <= b[0] <= high for b in first) / max(1, len(letters))
    kana = encoding != "euc_jp" or re.search("[\u3041-\u30fe]", text)
    return share if share > 0.7 and len(set(letters)) > 1 and kana else 0.0


def _by_detector(sample, readings):
    """The reading in two-byte letters that charset-normalizer finds far less messy than every other, first."""
    import charset_normalizer

    mess = {e: 1.0 for e in readings}
    for match in charset_normalizer.from_bytes(sample):
        mess |= {e: match.chaos for e in readings if match.encoding == e or e in match.could_be_from_charset}
    best = sorted(readings, key=lambda e: mess[e])
    if best[0] in DOUBLE and mess[best[1]] - mess[best[0]] >= 0.1:
        return best[:1]
    return None
