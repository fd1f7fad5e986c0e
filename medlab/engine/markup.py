"""What a notebook shows, as HTML of a page: cleaned, sentences as text, tables with heads in words and units."""

import html
import re

from medlab.cohorts.vocabulary import NAME, in_words

# a cell that is no word: a number with what belongs to it, or that there is none
NUMBER = re.compile(r"\s*(?:[<>±≤≥]?\s*[-+(]*\.?\d|(?:-|nan|none|nat|inf|not defined|not reached|<na>)?\s*$)",
                    re.IGNORECASE)
UNIT = re.compile(r"(?<=\d) (?=(?:%|mm|mm²|mm³|cm|mL|HU|MBq|kB|MB)(?![\w\"]))")
WORDS = {"True": "yes", "False": "no"}  # of a cell
BESIDE_NAMES = 800  # pixels of a page beside the names of a table's rows
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


def prose(text) -> str:
    """`clean_html` of a cell's words: a number and its unit stay in one line."""
    return UNIT.sub("\u00a0", clean_html(text))


def _readable(table):
    """Heads in words; columns that hold words go to the left with their heads, numbers to the right.

    A table without a cell is nothing.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(table, "html.parser")
    if not soup.find("td"):
        return ""
    body = [row.find_all("td") for row in soup.select("tbody tr")]
    columns = range(1, 1 + max(map(len, body), default=0))  # from the right: there may be several index columns
    longest = [max(len(row[-k].get_text(strip=True)) for row in body if len(row) >= k) for k in columns]
    wide = sum(7 * n + 11 for n in longest) > BESIDE_NAMES  # pixels of a character, and between columns
    for cell in soup.find_all("td"):
        _written(cell, soup, wide)
    for head in soup.find_all("th"):
        for text in head.find_all(string=NAME):
            text.replace_with(in_words(text))
    _without_index_row(soup)
    heads = [row.find_all("th") for row in soup.select("thead tr") if not row.select("[colspan]")]
    for k in columns:
        cells = [row[-k] for row in body if len(row) >= k]
        if any(not NUMBER.match(cell.get_text()) for cell in cells):
            for cell in [*cells, *(head[-k] for head in heads if len(head) > k)]:
                cell["class"] = [*cell.get("class", []), "text"]
    return str(soup)


def _written(cell, soup, wide):
    """A cell in words; in a wide table a number may part from its interval, the interval stays in one line."""
    text = cell.get_text(strip=True)
    if text in WORDS:
        cell.string = WORDS[text]
    elif wide and (found := INTERVAL.fullmatch(text)):
        number, interval = found[0].split(" (", 1)
        span = soup.new_tag("span", attrs={"class": "interval"})
        span.string = f"({interval}"
        cell.string = f"{number} "
        cell.append(span)
        cell["class"] = [*cell.get("class", []), "limits"]


def _without_index_row(soup):
    """Names of the rows stand in a head of their own: they go to the corner, or as a caption above the table."""
    heads = soup.select("thead tr")
    said = [cell.get_text(strip=True) for cell in heads[-1].find_all("th")] if len(heads) > 1 else []
    names = list(filter(None, said))
    corner = heads[-2].find_all("th")[:len(names)] if names and not any(said[len(names):]) else []
    if not corner or any(cell.get_text(strip=True) or cell.get("colspan") for cell in corner):
        return
    heads[-1].decompose()
    if len(names[0]) <= 24:
        for cell, name in zip(corner, names, strict=True):
            cell.string, cell["class"] = name, ["text"]
    else:
        caption = soup.new_tag("caption")
        caption.string = ", ".join(names)
        soup.table.insert(0, caption)


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
    cells = "".join(f"<tr><th>{html.escape(in_words(name))}</th><td>{html.escape(WORDS.get(value, value))}</td></tr>"
                    for name, value in rows)
    return f"<table>{cells}</table>"


def unbroken(text: str) -> str:
    """Escaped text in which no line ends inside a number with its interval."""
    text = INTERVAL.sub(lambda found: f'<span class="interval">{found[0]}</span>', text.replace("± ", "±\u00a0"))
    return UNIT.sub("\u00a0", text)
