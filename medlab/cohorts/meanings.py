"""What words of outcomes mean in English, German, French, Spanish: who lives, who is ill, in which unit time is.

Only what is unmistakable is known here; everything else is for a person to say.
"""

import re
import unicodedata

UNITS = {"minutes": 1 / 1440, "hours": 1 / 24, "days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25}
UNIT_WORDS = {
    "minutes": {"minutes", "minute", "minuten", "minutos", "minuto"},
    "hours": {"hours", "hour", "hrs", "stunden", "stunde", "uren", "часов", "часы", "小时", "heures", "heure", "horas",
              "hora"},
    "days": {"days", "day", "tage", "tagen", "jours", "jour", "dias", "dia", "giorni", "giorno",
             "dagen", "dagar", "dni", "дни", "днеи", "день", "сутки", "天", "日"},
    "weeks": {"weeks", "week", "wks", "wochen", "woche", "semaines", "semaine", "semanas", "semana",
              "settimane", "weken", "veckor", "tygodnie", "недель", "недели", "нед", "周", "週"},
    "months": {"months", "month", "mo", "mos", "mth", "mths", "monate", "monaten", "monat", "mois", "meses", "mes",
               "mesi", "mese", "maanden", "maand", "manader", "miesiace", "месяц", "месяцы", "месяцев", "мес", "月"},
    "years": {"years", "year", "yrs", "yr", "jahre", "jahren", "jahr", "annees", "annee", "ans", "anos", "ano",
              "anni", "anno", "jaren", "jaar", "lata", "год", "годы", "года", "лет", "年"},
}
# words of a column in which "yes" may mean that the event was not seen
LIVES = re.compile(
    r"\b(surviv\w*|alive|living|lives?|vital\w*|cens(?!us\b)\w*|remission\w*|\w*free|without|no|not|non|never|a?ned|lost"
    r"|cured?|recover\w*|healed|healthy|well|discharged|noevents?|nonevents?|nodeath"
    r"|ue?berleb\w*|lebt|leben\w*|zens\w*|\w*frei|ohne|kein\w*|geheilt\w*|gesund\w*"
    r"|survie|survecu\w*|vivante?s?|vie|sans|libre\w*|gueri\w*"
    r"|supervivencia|superviviente\w*|sobreviv\w*|viv[oa]s?|vida|sin|curad[oa]s?|livre|sem|sopravv\w*|liber[oa]|senza"
    r"|good|favou?rable|viable|control|controlled|patent|patency|lt?fu|leeft|levend\w*|overlev\w*|zonder|zyje|przezyl\w*"
    r"|hayatta|yasiyor|\w*(?:жив|выжи|цензур)\w*|без"
    r"|\w*(?:生存|存活|健在|无|無|未|删失|打ち切り|打切|缓解|寛解|治愈|治癒|出院|退院|失访)\w*)\b")
SURVIVAL = re.compile(r"\b(survival|ue?berlebens?\w*|survie|supervivencia)\b")
ENDS = re.compile(r"\b(events?|death|dead|died|deceased|relapse|recurrence|progression|ereignis|tod|evenement|deces"
                  r"|evento|muerte)$")
STRONGER = re.compile(r"\b(alive|cens\w*|zens\w*|no|not|non|never|without|of|ohne|kein\w*|sans|sin|libre|vital\w*)\b")
DEAD = {"dead", "deceased", "death", "died", "expired", "exitus", "dead of disease", "died of disease",
        "tot", "verstorben", "gestorben", "tod", "decede", "decedee", "mort", "morte", "deces",
        "fallecido", "fallecida", "muerto", "muerta", "muerte", "morto", "morta", "deceduto", "deceduta", "obito",
        "overleden", "zmarl", "zmarla", "zgon", "умер", "умерла", "смерть", "死亡", "已死亡"}
WORSE = {"event", "relapse", "relapsed", "progression", "progressed", "recurrence", "recurred", "recurred progressed",
         "rezidiv", "ereignis", "recidive", "evenement", "recidiva", "evento"}
LIVING = {"alive", "living", "censored", "no event", "event free", "disease free", "diseasefree", "relapse free",
          "progression free", "lost to follow up", "lebt", "lebend", "lebendig", "am leben", "zensiert",
          "kein ereignis", "levend", "in leven", "жив", "жива", "生存", "存活", "健在", "删失",
          "打ち切り", "vivant", "vivante", "en vie", "censure", "censuree", "vivo", "viva", "con vida",
          "censurado", "censurada"}
# pairs of codes that only say yes and no: which means that the event was seen is said by the column
PAIRS = tuple({"yes": yes, "no": no} for yes, no in (
    ("1", "0"), ("true", "false"), ("yes", "no"), ("y", "n"), ("ja", "nein"), ("j", "n"), ("oui", "non"), ("o", "n"),
    ("si", "no"), ("s", "n"), ("wahr", "falsch"), ("vrai", "faux"), ("verdadero", "falso"), ("+", "-"),
    ("sim", "nao"), ("tak", "nie"), ("ja", "nee"), ("ja", "nej"), ("evet", "hayır"),
    ("да", "нет"), ("是", "否"),
    ("有", "无"), ("有", "無"), ("あり", "なし"), ("はい", "いいえ")))
NOT = {"no", "non", "not", "without", "never", "free", "negative", "neg", "absent", "absence", "none", "nil",
       "kein", "keine", "nicht", "ohne", "frei", "negativ", "sans", "absente", "negatif", "sin", "libre", "negativo",
       "negativa", "ausente", "ausencia", "false", "0", "nein", "falsch", "faux", "falso", "un", "n",
       "否", "无", "無", "нет"}
WELL = {"normal", "normals", "benign", "healthy", "control", "controls", "alive", "living", "unaffected", "uninfected",
        "wildtype", "low", "mild", "gesund", "gutartig", "kontrolle", "kontrollen", "sain", "saine", "benin", "benigne",
        "temoin", "temoins", "sano", "sana", "benigno", "benigna", "survived", "survivor", "survivors", "良性", "正常",
        "阴性", "陰性", "健康", "норма", "доброкачественная", "доброкачественныи"}
ILL = {"yes", "y", "true", "positive", "pos", "present", "presence", "malignant", "malign", "abnormal", "diseased",
       "disease", "sick", "ill", "case", "cases", "patient", "patients", "affected", "infected", "dead", "deceased",
       "cancer", "tumor", "tumour", "lesion", "mutant", "mutated", "high", "severe", "ja", "positiv", "bosartig",
       "krank", "fall", "falle", "oui", "positif", "malin", "maligne", "malade", "malades", "cas", "si", "positivo",
       "positiva", "maligno", "maligna", "enfermo", "enferma", "caso", "casos", "wahr", "vrai", "verdadero",
       "pathologic", "pathological", "+", "died", "恶性", "悪性", "阳性", "陽性", "是", "有", "да", "злокачественная",
       "злокачественныи"}


def spelt(name) -> str:
    """A name in plain words, small and without accents.

    Examples
    --------
    >>> spelt("isAlive_30d"), spelt("Überlebt?"), spelt("1:DECEASED")
    ('is alive 30 d', 'uberlebt', '1 deceased')
    """
    apart = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", str(name))
    plain = unicodedata.normalize("NFKD", apart.casefold())
    return " ".join(re.split(r"[\W_]+", "".join(c for c in plain if not unicodedata.combining(c)))).strip()


def lives(name) -> str | None:
    """The word of a column's name by which its "yes" may mean that the event was not seen, or None.

    Examples
    --------
    >>> lives("DiseaseFree"), lives("überlebt"), lives("overall_survival_event"), lives("status")
    ('disease free', 'uberlebt', None, None)
    """
    words = spelt(name)
    if SURVIVAL.search(words) and ENDS.search(words) and not STRONGER.search(words):
        return None
    found = LIVES.search(words)
    return found and (words if found[0] in ("free", "frei", "vie", "vida", "of") else found[0])


def unit(name) -> str | None:
    """The unit of time that the name of a column states (``os_months``), or None for none or several."""
    words = {re.sub(r".*([天日周週月年])[数數]?$", r"\1", word) for word in spelt(name).split()}
    found = [one for one, known in UNIT_WORDS.items() if words & known]
    return found[0] if len(found) == 1 else None


HINTS = {"m": "months", "y": "years", "a": "years", "w": "weeks", "h": "hours"}  # a letter that may be a unit


def unit_hinted(name) -> str | None:
    """The unit of time that the last letter of a column's name may stand for (``OS_m``), or None."""
    return HINTS.get((spelt(name).split() or [""])[-1])


def seen(codes) -> dict | None:
    """Whether each code of an event column means that the event was seen, where words say so; else None.

    Parameters
    ----------
    codes : iterable of str
        As `str.casefold` gives them. Words for dying and words for a relapse in one column are two outcomes: None.
    """
    words = {code: re.sub(r"^[01] ", "", spelt(code)) for code in codes}
    known = {code: word in DEAD | WORSE for code, word in words.items() if word in DEAD | WORSE | LIVING}
    several = set(words.values()) & DEAD and set(words.values()) & WORSE
    return known if len(known) == len(words) and not several else None


def yes_no(codes) -> dict | None:
    """Whether each code is the yes of a pair such as 1 and 0, where all belong to one pair; else None."""
    plain = {code: code if code in ("+", "-") else spelt(code) if code.isalpha() else code for code in codes}
    for pair in PAIRS:
        if set(plain.values()) <= set(pair.values()):
            return {code: word == pair["yes"] for code, word in plain.items()}
    return None


def positive(classes) -> str | None:
    """Of two classes the one that is looked for, where the words say so (malignant, yes, disease, 1), else None.

    Examples
    --------
    >>> positive(["yes", "no"]), positive(["abnormal", "normal"]), positive(["tumor", "no_tumor"]), positive(["a", "b"])
    ('yes', 'abnormal', 'tumor', None)
    """
    if len(classes) != 2:
        return None
    words = [_tokens(name) for name in classes]
    shared = set(words[0]) & set(words[1])
    own = [[w for w in name if w not in shared] for name in words]
    marks = [_negative(one, other) for one, other in zip(own, words[::-1], strict=True)]
    if marks.count(True) == 1:
        return classes[marks.index(False)]
    marks = [bool(ILL & set(one)) for one in own]
    return classes[marks.index(True)] if sum(marks) == 1 and not any(_negative(w, ()) for w in words) else None


def _tokens(name):
    return ["-" if str(name).strip() == "-" else "+"] if str(name).strip() in ("+", "-") else spelt(name).split()


def _negative(words, other):
    """Whether words of a class say that something is not there (``no``, ``normal``, ``notumor`` beside ``tumor``)."""
    apart = {w[len(p):] for w in words for p in ("non", "no", "un", "in", "not") if w.startswith(p)} - {""}
    return bool(words) and (bool(NOT & set(words)) or words == ["-"] or set(words) <= WELL or bool(apart & set(other)))
