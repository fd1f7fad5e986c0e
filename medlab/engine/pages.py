"""HTML pages: one per executed notebook, one index per run, one list of all runs.

Data in, HTML out: nothing here reads a run folder. A page is self-contained (styles and images inside, no
script, no request to anywhere) and text that comes from data is inert: HTML in outputs is cleaned by nh3
and a content security policy forbids whatever might get through.
"""

import re
from functools import lru_cache
from pathlib import Path

from medlab.storage import digest, digest_of

NOTICE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."

# a cell that is no word: a number with what belongs to it, or that there is none
NUMBER = re.compile(r"\s*(?:[<>±≤≥]?\s*[-+(]*\.?\d|(?:-|nan|none|nat|inf|not defined|not reached|<na>)?\s*$)",
                    re.IGNORECASE)

# nbconvert's plain template, with the code one click away and the log (stderr) folded.
CELLS = """{% extends 'basic/index.html.j2' %}
{% block input_group %}<details class="code"><summary>code</summary>{{ super() }}</details>{% endblock %}
{% block in_prompt %}{% endblock %}{% block empty_in_prompt %}{% endblock %}
{% block output_area_prompt %}{% endblock %}
{% block stream_stderr %}<details class="log"><summary>log</summary>
<pre>{{ output.text | last_lines | ansi2html }}</pre></details>{% endblock %}"""


def clean_html(html) -> str:
    """HTML without anything active: no script, no event handler, no style, no remote image.

    Parameters
    ----------
    html : str or bytes
        Markup of a markdown cell or of a notebook output.

    Returns
    -------
    str
        The same markup reduced to text, tables, links and embedded images.
    """
    import nh3

    html = html.decode() if isinstance(html, bytes) else str(html)
    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    attributes["*"] = attributes.get("*", set()) | {"class", "id"}
    attributes["img"] = {"src", "alt", "width", "height"}

    def keep(tag, name, value):
        remote = tag == "img" and name == "src" and not value.startswith("data:image/")
        return None if remote else value

    html = nh3.clean(html, attributes=attributes, attribute_filter=keep,
                     url_schemes={"http", "https", "mailto", "data"})
    return re.sub(r"<table.*?</table>", lambda found: _aligned(found[0]), html, flags=re.DOTALL)


def _aligned(table):
    """Columns that hold words go to the left with their heads, numbers to the right."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(table, "html.parser")
    body = [row.find_all("td") for row in soup.select("tbody tr")]
    heads = [row.find_all("th") for row in soup.select("thead tr") if not row.select("[colspan]")]
    for k in range(1, 1 + max(map(len, body), default=0)):  # from the right: there may be several index columns
        cells = [row[-k] for row in body if len(row) >= k]
        if any(not NUMBER.match(cell.get_text()) for cell in cells):
            for cell in [*cells, *(head[-k] for head in heads if len(head) > k)]:
                cell["class"] = [*cell.get("class", []), "text"]
    return str(soup)


def last_lines(text) -> str:
    """Text as a terminal shows it: a carriage return overwrites the line; escape codes are dropped.

    Examples
    --------
    >>> last_lines("reading\\n 10 %\\r100 %\\n")
    'reading\\n100 %'
    """
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    return "\n".join(re.sub(r"\x1b\[[0-9;]*[A-HJKSTf]", "", line) for line in lines).rstrip()


@lru_cache
def _exporter():
    from nbconvert.exporters import HTMLExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    exporter = HTMLExporter(sanitize_html=True, exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.raw_template = CELLS
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    for name, function in {"clean_html": clean_html, "last_lines": last_lines}.items():
        exporter.register_filter(name, function)
    return exporter


@lru_cache
def layout() -> str:
    """Digest of what pages look like: where it changes they are made anew, without executing anything."""
    files = [Path(__file__), *(path for path in Path(__file__).parent.iterdir() if path.suffix in (".j2", ".css"))]
    return digest_of([digest(path) for path in sorted(files)])


@lru_cache
def _templates():
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
                              trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(notice=NOTICE, style=(Path(__file__).parent / "style.css").read_text())
    return environment


def _render(template, **values):
    return _templates().get_template(template).render(**values)


def notebook_page(notebook, title, status, provenance, navigation, synthetic=False, caution="") -> str:
    """Page of one executed notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode or None
        The executed notebook; None where there is nothing to show yet (running, failed to start).
    title : str
        Heading of the browser tab.
    status : dict
        ``state`` (running, done, failed, stale, hand), ``text`` shown beside it, and for a failure
        ``error`` (the traceback as plain text).
    provenance : list of (str, list of (str, str))
        Sections of key-value pairs shown on top, one click away.
    navigation : list of (str, str)
        Label and relative address of the neighbours.
    synthetic : bool
        Whether the data are simulated; the page says so.
    caution : str
        A sentence about the data that belongs on every page.

    Returns
    -------
    str
        A complete HTML document.
    """
    body = _exporter().from_notebook_node(_together(notebook))[0] if notebook is not None else ""
    return _render("page.html.j2", body=body, title=title, status=status, provenance=provenance,
                   navigation=navigation, synthetic=synthetic, caution=caution)


def _together(notebook):
    """The notebook with code cells that show nothing joined to the code cell behind them: one fold instead of many."""
    cells = []
    for cell in notebook.cells:
        before = cells[-1] if cells else None
        if before is not None and before.cell_type == cell.cell_type == "code" and not before.outputs:
            cell = type(cell)({**cell, "source": f"{before.source}\n\n{cell.source}"})
            cells.pop()
        cells.append(cell)
    return type(notebook)({**notebook, "cells": cells})


def key_figures(notebook) -> list[tuple[str, str]]:
    """Images of the cells tagged ``key-figure``.

    Returns
    -------
    list of (str, str)
        Caption (the nearest heading above the cell) and the PNG as base64 text.
    """
    found, heading = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ *(.+)$", cell.source, flags=re.M) or [heading])[-1]
        elif "key-figure" in cell.metadata.get("tags", []):
            images = [output.data["image/png"] for output in cell.outputs
                      if "image/png" in output.get("data", {})]
            found += [(heading, image.replace("\n", "")) for image in images]
    return found


def key_numbers(results, labels) -> list[dict]:
    """Numbers with an interval found in the result files of a run.

    Parameters
    ----------
    results : dict
        Parsed JSON; wherever ``x`` (or ``x_mean``), ``x_low`` and ``x_high`` stand together they make one row,
        also one level down (``models: {clinical: {...}}``).
    labels : dict
        How names of measures are written; others with blanks for underscores.

    Returns
    -------
    list of dict
        ``name``, ``value``, ``low``, ``high`` in the order of the file.

    Examples
    --------
    >>> key_numbers({"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "n_images": 40}, {"auc": "AUC"})
    [{'name': 'AUC', 'value': 0.8, 'low': 0.7, 'high': 0.9, 'baseline': None}]
    """
    rows = []
    for name, value in results.items():
        low, high = (results.get(f"{name.removesuffix('_mean')}_{end}") for end in ("low", "high"))
        if all(isinstance(number, (int, float)) for number in (value, low, high)):
            baseline = (results.get("baselines") or {}).get(name)
            rows.append(dict(name=labels.get(name, name.replace("_", " ")), value=value, low=low, high=high,
                             baseline=baseline if isinstance(baseline, (int, float)) else None))
    for model, inner in (results.get("models") or {}).items():
        rows += [row | {"name": f"{model.replace('_', ' ')}: {row['name']}"} for row in key_numbers(inner, labels)]
    return rows


def run_index(run, entries, results, figures, summary, synthetic=False) -> str:
    """Index page of one run.

    Parameters
    ----------
    run : str
        Name of the run.
    entries : list of dict
        One per notebook: ``name``, ``title``, ``question``, ``state``, ``text``, ``page`` (or None).
    results : list of (str, list of dict, str)
        Heading, rows of `key_numbers`, and a note (n of images and patients).
    figures : list of (str, str, str)
        Caption, base64 PNG and the page it comes from.
    summary : list of (str, str)
        What the run is: dataset, parameters that differ from the default, versions.
    synthetic : bool
        Whether the data are simulated.
    """
    return _render("index.html.j2", run=run, entries=entries, results=results, figures=figures,
                   summary=summary, synthetic=synthetic)


def runs_index(rows) -> str:
    """List of all runs: ``rows`` of dict with run, title, state, text, numbers, finished, figure."""
    return _render("runs.html.j2", rows=rows)
