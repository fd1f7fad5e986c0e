"""HTML pages: one per executed notebook, one index per run, one list of all runs.

Data in, HTML out: nothing here reads a run folder. A page is self-contained (styles and images inside, no
script, no request to anywhere) and text that comes from data is inert: HTML in outputs is cleaned by nh3
and a content security policy forbids whatever might get through.
"""

import re
from functools import lru_cache

from medlab.cohorts import vocabulary
from medlab.engine import answers, markup, sections
from medlab.engine.templates import HERE, render
from medlab.statistics import keys
from medlab.storage import digest, digest_of

NAVIGATION = re.compile(r'<nav class="steps">.*?</nav>', re.DOTALL)  # of a page, see navigation.html.j2
BELOW = re.compile(r'<nav class="below">.*?</nav>', re.DOTALL)


@lru_cache
def layout() -> str:
    """Digest of what pages look like: where it changes they are made anew, without executing anything."""
    ours = [vocabulary.__file__, *(HERE / f"{name}.py" for name in ("pages", "sections", "markup", "answers"))]
    files = [*ours, *(path for path in HERE.iterdir() if path.suffix in (".j2", ".css"))]
    return digest_of([digest(path) for path in sorted(map(str, files))])


def navigation(links) -> str:
    """Links of a page to its neighbours: list of (label, relative address, or an empty text where there is none)."""
    return render("navigation.html.j2", links=links).strip()


def linked(page, links) -> str:
    """A page with other links to its neighbours."""
    steps = navigation(links)
    page = NAVIGATION.sub(lambda _: steps, page)
    return BELOW.sub(lambda _: steps.replace("steps", "below"), page)


def notebook_page(notebook, title, status, provenance, links, synthetic=False, caution="", question="",
                  files=(), figures=()) -> str:
    """Page of one executed notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode or None
        The executed notebook; None where there is nothing to show yet (running, failed to start).
    title : str
        Heading of the page.
    status : dict
        ``state`` (running, done, failed, stale, hand), ``text`` shown beside it, and for a failure
        ``error`` (the traceback as plain text).
    provenance : list of (str, list of (str, str))
        Sections of key-value pairs, folded at the end.
    links : list of (str, str)
        See `navigation`.
    synthetic : bool
        Whether the data are simulated; the page says so.
    caution : str
        A sentence about the data that belongs on every page.
    question : str
        What the notebook asks.
    files : list of (str, str)
        Files that the notebook wrote and their sizes, in words; each is a link.
    figures : list
        Files of the figures, see `sections.figures`.

    Returns
    -------
    str
        A complete HTML document.
    """
    parts = {"sections": [], "lead": "", "contract": "", "code": "", "left_out": [], "question": ""}
    given, log = None, ""
    if notebook is not None and notebook.cells:
        parts |= sections.split(notebook, figures)
        given, log = sections.answer_of(notebook), sections.log_of(notebook)
    return render("page.html.j2", parts=parts, answer=given and answers.shown(given), log=log, title=title,
                  status=status, provenance=provenance, navigation=navigation(links), synthetic=synthetic,
                  caution=caution, question=question, files=files, unbroken=markup.unbroken)


def key_numbers(results, labels) -> list[dict]:
    """Numbers with limits found in the result files of a run, as `statistics.keys.number` makes them.

    Parameters
    ----------
    results : dict
        Parsed JSON; wherever ``x`` (or ``x_mean``), ``x_low`` and ``x_high`` stand together they make one row,
        also one level down (``models: {clinical: {...}}``). A number without a value or an interval is one, too: what
        is worst must not be what is missing.
    labels : dict
        How names of measures are written; others with blanks for underscores.

    Returns
    -------
    list of dict, in the order of the file.

    Examples
    --------
    >>> found = key_numbers({"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "n_images": 40}, {"auc": "AUC"})
    >>> [(one["name"], one["value"], one["low"]) for one in found]
    [('AUC', 0.8, 0.7)]
    """
    rows = []
    for name, value in results.items():
        low, high = (f"{name.removesuffix('_mean')}_{end}" for end in ("low", "high"))
        if low in results and high in results and isinstance(value, (int, float, type(None))):
            baseline = (results.get("baselines") or {}).get(name)
            beside = {"trivial baseline": baseline} if isinstance(baseline, (int, float)) else {}
            rows.append(keys.number(labels.get(name, name.replace("_", " ")), value, results[low], results[high],
                                       beside=beside))
    for model, inner in (results.get("models") or {}).items():
        rows += [row | {"name": f"{model.replace('_', ' ')}: {row['name']}"} for row in key_numbers(inner, labels)]
    return rows


def run_index(run, entries, figures, summary, synthetic=False, caution="", busy=False) -> str:
    """Index page of one run.

    Parameters
    ----------
    run : str
        Name of the run.
    entries : list of dict
        One per notebook: ``name``, ``title``, ``question``, ``state``, ``text``, ``page`` and ``answer`` (or None),
        ``results`` (list of heading, rows of `key_numbers`, note), ``part`` (whether it belongs to the run).
    figures : list of (str, str, str, str)
        Caption, text for those who do not see it, base64 PNG, and the page it comes from.
    summary : list of (str, str)
        What the run is: dataset, parameters that differ from the default, versions.
    synthetic : bool
        Whether the data are simulated.
    caution : str
        What a reader must not miss about the data.
    busy : bool
        Whether the run is being executed.
    """
    shown = [entry | {"answer": entry["answer"] and answers.shown(entry["answer"]), "results": [
        (heading, answers.shown({"numbers": rows})["numbers"], note) for heading, rows, note in entry["results"]]}
        for entry in entries]
    return render("index.html.j2", run=run, entries=shown, figures=figures, summary=summary, synthetic=synthetic,
                  caution=caution, busy=busy, unbroken=markup.unbroken)


def runs_index(rows) -> str:
    """List of all runs, latest first.

    Parameters
    ----------
    rows : list of dict
        ``run``, ``state``, ``text``, ``title`` (of its dataset), ``dataset`` (its name), ``synthetic``, ``numbers`` (of
        `statistics.keys.number`), ``finished``, and ``repeats`` (list of such rows that are folded below it).
    """
    def prepared(row):
        return row | {"numbers": answers.shown({"numbers": row["numbers"]})["numbers"],
                      "repeats": [prepared(one) for one in row.get("repeats", ())]}

    names = sorted({row["dataset"] for row in rows if row["dataset"]})
    return render("runs.html.j2", rows=[prepared(row) for row in rows], datasets=names)
