"""An executed notebook as the sections of a page: what is shown, its code apart, and what can be left out."""

import base64
import html
import re
from functools import lru_cache

from medlab.engine.answers import MIME, sound
from medlab.engine.markup import clean_html, last_lines, prose, sentences

CELL = "<!--cell-->"  # no comment of a notebook gets through the cleaning, so this one is ours
LEFT_OUT = re.compile(r"^No (.+) here: what needs it is left out\.\n?", re.MULTILINE)  # of runs.say_skipped

# nbconvert's plain template: no code (it stands in one fold a section), no log, printed text as sentences
CELLS = """{% extends 'basic/index.html.j2' %}
{% block any_cell %}<!--cell-->{{ super() }}{% endblock %}
{% block input_group %}{% endblock %}
{% block in_prompt %}{% endblock %}{% block empty_in_prompt %}{% endblock %}
{% block output_area_prompt %}{% endblock %}
{% block stream_stdout %}<div class="said">{{ output.text | sentences }}</div>{% endblock %}
{% block data_png scoped %}{% set shown = output.metadata.get('medlab', {}) %}
<figure><img alt="{{ shown.alt | escape_html }}"
 src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}">
<figcaption>{{ shown.caption | escape_html }}{% for label, file in shown.files %} <a href="{{ file | escape_html }}">
{{- label }}</a>{% endfor %}</figcaption></figure>{% endblock %}"""


@lru_cache
def _exporter():
    from nbconvert.exporters import HTMLExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    exporter = HTMLExporter(sanitize_html=True, exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.raw_template = CELLS
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    for name, function in {"clean_html": prose, "sentences": sentences}.items():
        exporter.register_filter(name, function)
    return exporter


def highlighted(code: str) -> str:
    """Code as HTML."""
    from nbconvert.filters.highlight import Highlight2HTML

    return clean_html(Highlight2HTML(pygments_lexer="ipython3")(code)) if code.strip() else ""


def answer_of(notebook) -> dict | None:
    """The answer that a notebook gives (the last, if it gives several), see `medlab.engine.answers`."""
    found = [output.data[MIME] for cell in notebook.cells for output in cell.get("outputs", ())
             if MIME in output.get("data", {})]
    return sound(found[-1]) if found else None


def log_of(notebook) -> str:
    """What a notebook wrote to its log (stderr), as a terminal shows it."""
    texts = [last_lines(output.text) for cell in notebook.cells for output in cell.get("outputs", ())
             if output.get("name") == "stderr"]
    return "\n".join(filter(None, texts))


def split(notebook, files=()) -> dict:
    """An executed notebook in parts; `files` are those of its figures, as `figures` names them.

    A heading cell with the tag ``fold`` folds its section; a code cell with it what it shows, under the comment that it
    begins with. Sections whose code shows
    nothing are left out, their code goes with what follows.

    Returns
    -------
    dict
        ``question``, ``lead`` (HTML below the answer), ``contract`` (HTML of the table of what is read and written),
        ``sections`` (list of dict: ``title``, ``anchor``, ``folded``, ``html``, ``code``), ``code`` (HTML of
        the code that belongs to no section) and ``left_out`` (what the data lack, a list of words).
    """
    cells, left_out = _shown(notebook, files)
    first, *rest = _grouped(cells)
    sections, code = [], first["code"]
    for one in rest:
        code += one.pop("code")
        if one["plain"] or any(part for part, is_output in one["parts"] if is_output):
            shown = "\n".join(part for part, _ in one["parts"])
            sections.append(one | {"html": shown, "code": highlighted("\n\n".join(code)), "n": len(sections)})
            code = []
    head = "\n".join(part for part, is_output in first["parts"] if not is_output)
    table = re.search(r"<table.*?</table>", head, flags=re.DOTALL)
    paragraphs = re.findall(r"<p>.*?</p>|<ul>.*?</ul>", head.replace(table[0] if table else "", ""), flags=re.DOTALL)
    shown = [part for part, is_output in first["parts"] if is_output]
    return {"lead": "\n".join(paragraphs[1:] + shown), "question": paragraphs[0] if paragraphs else "",
            "contract": table[0] if table else "", "sections": sections,
            "code": highlighted("\n\n".join(code)), "left_out": left_out}


def _shown(notebook, files):
    """Cells that a page shows, without answer, log and remarks on what is left out; and those remarks."""
    cells, left_out, heading, figures = [], [], "", 0
    for i, cell in enumerate(notebook.cells):
        heading = (re.findall(r"^#+ *(.+)$", cell.source, flags=re.M) or [heading])[-1] \
            if cell.cell_type == "markdown" else heading
        outputs = []
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr" or MIME in output.get("data", {}):
                continue
            if output.output_type == "stream":
                left_out += LEFT_OUT.findall(output.text)
                output = type(output)({**output, "text": LEFT_OUT.sub("", output.text)})
                if not output.text.strip():
                    continue
            if "image/png" in output.get("data", {}):
                figures += 1
                about = described(notebook, i, heading, output)
                about["caption"] = f"Figure {figures}. {about['caption']}".strip()
                about["files"] = [(label, file) for number, label, file, _ in files if number == figures]
                output = type(output)({**output, "metadata": {**output.metadata, "medlab": about}})
            elif output.get("data", {}).keys() <= {"text/plain"} and _is_mute(output):
                continue
            outputs.append(output)
        cells.append(type(cell)({**cell, "outputs": outputs}) if cell.cell_type == "code" else cell)
    parts = _exporter().from_notebook_node(type(notebook)({**notebook, "cells": cells}))[0].split(CELL)[1:]
    return list(zip(cells, parts, strict=True)), list(dict.fromkeys(left_out))


def _is_mute(output):
    """Whether a plain output is a leftover of drawing, such as ``<Axes: ...>``, or a bare None."""
    text = output.get("data", {}).get("text/plain", "")
    return output.output_type == "execute_result" and bool(re.match(r"[\[(]?<[A-Z]\w*|array\(\[<|None$", text))


def described(notebook, i, heading, output) -> dict:
    """``caption`` of a figure, its section and title, and ``alt``, with what is printed about it behind it."""
    title = output.metadata.get("image/png", {}).get("title", "")
    takeaway = ""
    for cell in notebook.cells[i:i + 3]:
        said = [one.text for one in cell.get("outputs", ()) if one.get("name") == "stdout"]
        if cell.cell_type == "markdown" and cell is not notebook.cells[i]:
            break
        if said:
            takeaway = LEFT_OUT.sub("", "".join(said)).strip().split("\n")[0]
            break
    caption = title if heading.casefold() in title.casefold() else _joined(heading, title)
    caption = caption[:1].upper() + caption[1:]
    return {"alt": ". ".join(filter(None, [caption, takeaway])), "caption": caption}


def _joined(heading, title):
    """Heading and title as one text."""
    between = "" if not (heading and title) else " " if heading[-1] in "?!.:" else ", " if ":" in heading else ": "
    return f"{heading}{between}{title}"


def _grouped(cells):
    """Cells by section: a heading of the second level begins one; the first group is what stands before it."""
    groups = [{"parts": [], "code": [], "title": "", "anchor": "", "folded": False, "plain": True}]
    for cell, part in cells:
        tags = cell.metadata.get("tags", [])
        heading = re.match(r"\s*## +(.+)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            anchor = re.sub(r"\W+", "-", heading[1].lower()).strip("-")
            part = re.sub(r"<h2.*?</h2>", "", part, count=1, flags=re.DOTALL)
            groups.append({"parts": [], "code": [], "title": heading[1].strip(), "anchor": f"s{len(groups)}-{anchor}",
                           "folded": "fold" in tags, "plain": True})
        group = groups[-1]
        if cell.cell_type == "code":
            group["plain"] = False
            group["code"].append(cell.source)
            part = part if cell.outputs else ""
            if "fold" in tags and part:
                part = f'<details class="more"><summary>{_what(cell)}</summary>{part}</details>'
        group["parts"].append((part, cell.cell_type == "code"))
    return [group | {"parts": _without_idle_prose(group["parts"])} for group in groups]


def _without_idle_prose(parts):
    """Parts of a section without the words, below its first ones, that introduce cells which show nothing."""
    kept, words = [], []
    for i, (part, is_output) in enumerate(parts):
        idle = i > 0 and not is_output and i + 1 < len(parts) and parts[i + 1][1]
        if idle:
            words = [(part, is_output)]
        elif not is_output or part:
            kept += [*words, (part, is_output)]
            words = []
    return kept


def _what(cell):
    """What a folded cell shows: the comment on top of it."""
    said = [line.lstrip("# ") for line in cell.source.splitlines() if re.match(r"# (?!needs:)", line)]
    return html.escape(said[0]) if said else "more"


def figures(notebook, name) -> list[tuple[int, str, str, bytes]]:
    """Files of the figures of a notebook: number, what it is (PNG, SVG, data), address below the run, content."""
    found, number = [], 0
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if "image/png" in output.get("data", {}):
            number += 1
            png, more = output.data["image/png"], output.metadata.get("image/png", {})
            found.append((number, "PNG", f"figures/{name}-{number}.png", base64.b64decode(png)))
            if more.get("svg"):
                found.append((number, "SVG", f"figures/{name}-{number}.svg", more["svg"].encode()))
            if more.get("data"):
                found.append((number, "data", f"figures/{name}-{number}.csv", more["data"].encode()))
    return found


def key_figures(notebook) -> list[tuple[str, str, str]]:
    """Images of the cells tagged ``key-figure``.

    Returns
    -------
    list of (str, str, str)
        Caption (the nearest heading above the cell), text for those who do not see it, and the PNG as base64 text.
    """
    found, heading = [], ""
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ *(.+)$", cell.source, flags=re.M) or [heading])[-1]
        elif "key-figure" in cell.metadata.get("tags", []):
            images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            found += [(heading, described(notebook, i, heading, one)["alt"], one.data["image/png"].replace("\n", ""))
                      for one in images]
    return found
