"""What a notebook shows, as HTML of a page: cleaned, sentences as text, tables with heads in words and units."""

import html
import re

# a cell that is no word: a number with what belongs to it, or that there is none
NUMBER = re.compile(r"\s*(?:[<>±≤≥]?\s*[-+(]*\.?\d|(?:-|nan|none|nat|inf|not defined|not reached|<na>)?\s*$)",
                    re.IGNORECASE)
UNITS = {"years": "years", "days": "days", "min": "min", "mm": "mm", "mm2": "mm²", "mm3": "mm³", "cm": "cm",
         "ml": "mL", "kg": "kg", "mbq": "MBq", "g": "g", "hu": "HU", "px": "pixels", "px2": "pixels²", "percent": "%",
         "g_dl": "g/dL", "pack_years": "pack-years", "mg_dl": "mg/dL", "deg": "degrees"}
NAME = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
INTERVAL = re.compile(r"[-+]?\d[\d.,]* ?%? \([-+]?[\d.]+ ?%? to [-+]?[\d.]+ ?%?\)")


def clean_html(text) -> str:
    """HTML without anything active: no script, no event handler, no style, no remote image.

    Parameters
    ----------
    text : str or bytes
        Markup of a markdown cell or of a notebook output.

    Returns
    -------
    str
        The same markup reduced to text, tables, links and embedded images.
    """
    import nh3

    text = text.decode() if isinstance(text, bytes) else str(text)
    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    attributes["*"] = attributes.get("*", set()) | {"class", "id"}
    attributes["img"] = {"src", "alt", "width", "height"}

    def keep(tag, name, value):
        remote = tag == "img" and name == "src" and not value.startswith("data:image/")
        return None if remote else value

    text = nh3.clean(text, attributes=attributes, attribute_filter=keep,
                     url_schemes={"http", "https", "mailto", "data"})
    return re.sub(r"<table.*?</table>", lambda found: _readable(found[0]), text, flags=re.DOTALL)


def _readable(table):
    """Heads in words; columns that hold words go to the left with their heads, numbers to the right."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(table, "html.parser")
    for head in soup.find_all("th"):
        for text in head.find_all(string=NAME):
            text.replace_with(in_words(text))
    _without_index_row(soup)
    body = [row.find_all("td") for row in soup.select("tbody tr")]
    heads = [row.find_all("th") for row in soup.select("thead tr") if not row.select("[colspan]")]
    for k in range(1, 1 + max(map(len, body), default=0)):  # from the right: there may be several index columns
        cells = [row[-k] for row in body if len(row) >= k]
        if any(not NUMBER.match(cell.get_text()) for cell in cells):
            for cell in [*cells, *(head[-k] for head in heads if len(head) > k)]:
                cell["class"] = [*cell.get("class", []), "text"]
    return str(soup)


def _without_index_row(soup):
    """The name of the rows stands in a head of its own: it goes to the corner, or as a caption above the table."""
    heads = soup.select("thead tr")
    said = [cell.get_text(strip=True) for cell in heads[-1].find_all("th")] if len(heads) == 2 else []
    corner = heads[0].find("th") if said and said[0] and not any(said[1:]) else None
    if corner is None or corner.get_text(strip=True) or corner.get("colspan"):
        return
    heads[-1].decompose()
    if len(said[0]) <= 24:
        corner.string = said[0]
    else:
        caption = soup.new_tag("caption")
        caption.string = said[0]
        soup.table.insert(0, caption)


def in_words(name: str) -> str:
    """Names of columns as words with their unit.

    Examples
    --------
    >>> in_words("age_years, mean"), in_words("tumour_volume_ml"), in_words("haemoglobin_g_dl")
    ('age, years, mean', 'tumour volume, mL', 'haemoglobin, g/dL')
    """
    def one(found):
        words = found[0].split("_")
        for n in (2, 1):
            if len(words) > n and (unit := UNITS.get("_".join(words[-n:]))):
                return f"{' '.join(words[:-n])}, {unit}"
        return " ".join(words)

    return NAME.sub(one, name)


def last_lines(text) -> str:
    """Text as a terminal shows it: a carriage return overwrites the line; escape codes are dropped.

    Examples
    --------
    >>> last_lines("reading\\n 10 %\\r100 %\\n")
    'reading\\n100 %'
    """
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return "\n".join(re.sub(r"\x1b\[[0-9;]*[A-HJKSTf]", "", line) for line in lines).rstrip()


def sentences(text) -> str:
    """Printed text as paragraphs and lists; what is laid out in columns stays as it is.

    Examples
    --------
    >>> sentences("title    A\\n         cohort\\nclasses  2")
    '<table><tr><th>title</th><td>A cohort</td></tr><tr><th>classes</th><td>2</td></tr></table>'
    >>> sentences("Two parts.\\n- a\\n- b < 3")
    '<p>Two parts.</p>\\n<ul><li>a</li>\\n<li>b &lt; 3</li></ul>'
    """
    text = last_lines(text)
    if table := _two_columns([line for line in text.split("\n") if line.strip()]):
        return table
    if re.search(r"\S {3,}\S|\t|\x1b", text):
        from nbconvert.filters import ansi2html

        return f"<pre>{ansi2html(text)}</pre>"
    found = []
    for line in filter(str.strip, text.split("\n")):
        item = re.match(r"(?:- | {2,})(.*)", line)
        said = unbroken(html.escape((item[1] if item else line).strip()))
        kind = ' class="caution"' if line.startswith("WARNING") else ""
        if item and found and found[-1].endswith("</ul>"):
            found[-1] = f"{found[-1].removesuffix('</ul>')}\n<li>{said}</li></ul>"
        else:
            found.append(f"<ul><li>{said}</li></ul>" if item else f"<p{kind}>{said}</p>")
    return "\n".join(found)


def _two_columns(lines):
    """Names and what belongs to them, printed below each other, as a table; None where that is not what lines are."""
    begin = re.match(r"\S+(?: \S+)* {2,}(?=\S)", lines[0]) if len(lines) > 1 else None
    at = begin and begin.end()
    if not at or any(line[at - 1:at] != " " or not line[at:].strip() for line in lines):
        return None
    rows = []
    for line in lines:
        name, value = line[:at].strip(), line[at:].strip()
        if name or not rows:
            rows.append([name, value])
        else:
            rows[-1][1] += f" {value}"
    cells = "".join(f"<tr><th>{html.escape(in_words(name))}</th><td>{html.escape(value)}</td></tr>"
                    for name, value in rows)
    return f"<table>{cells}</table>"


def unbroken(text: str) -> str:
    """Escaped text in which no line ends inside a number with its interval."""
    return INTERVAL.sub(lambda found: f'<span class="interval">{found[0]}</span>', text.replace("± ", "±\u00a0"))
