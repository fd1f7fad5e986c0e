"""From a source to pages, as functions: what `notebooks/00_start.ipynb` calls as ``medlab.check("x")``, and the command
line as well.
"""

import html
import os
import subprocess
import sys

from medlab import data_dir, reports_dir
from medlab.desk import changes
from medlab.engine import copies
from medlab.engine import execute as engine
from medlab.engine.parameters import check_parameters, known_parameters, read_params, run_folder, runs
from medlab.storage import inert, read_yaml


def import_source(source, name, **options) -> None:
    """Make the dataset ``data/<name>`` from `source`; one of that name is left alone, which is said.

    Parameters
    ----------
    source : path or text
        A folder, a table, ``synthetic:thorax``, ``package:gbsg2``, ...; see `medlab.intake.importers.import_source`.
    name : str
    **options
        Those of ``medlab import --help``, with underscores: ``time_unit="months"``; ``overwrite=True`` makes a dataset
        anew.
    """
    from medlab.cohorts import datasets
    from medlab.intake import importers

    card = datasets.folder_of(name) / "card.yaml"
    if card.exists() and not options.get("overwrite") and not options.get("dry_run"):
        return print(f"data/{name} is there already ({inert(_title(card))}) and left as it is, whatever the source: "
                     "choose another name, or say overwrite=True")
    importers.import_source(source, name, **options)
    print(f'Next: medlab.check("{name}")')


def check(name, deep=False) -> bool:
    """Say what is in ``data/<name>`` and what is wrong with it; whether a run can be made of it."""
    from medlab.cohorts import checks

    found = checks.check(name, deep=deep)
    print("\n".join(f"{level:8s} {inert(message)}" for level, message in found))
    return not any(level == "error" for level, _ in found)


def new_run(run, dataset, **parameters) -> None:
    """Make the run ``reports/<run>`` with its ``params.yaml`` and working copies of its notebooks.

    Parameters
    ----------
    run : str, letters, digits, ``_`` and ``-``
    dataset : str
    **parameters
        Those that differ from the default, such as ``epochs=5``; checked before anything is written.

    Raises
    ------
    ValueError
        For an unknown dataset, parameter or value, or where the run has other parameters already.
    """
    from medlab.cohorts import datasets

    datasets.load(dataset)
    file, known = run_folder(run) / "params.yaml", known_parameters()
    wanted = check_parameters({"dataset": dataset, **parameters}, f"run {run}")
    wanted = {key: value for key, value in wanted.items() if key == "dataset" or value != known[key]}
    there = read_params(run) if file.exists() else None
    if there is not None and known | there != known | wanted:
        raise ValueError(f"reports/{run}/params.yaml exists and says {there}, not {wanted}; change it there (or in a "
                         "working copy), or choose another name for the run")
    if there is None:
        copies.set_params(run, wanted)
        if "dataset" not in read_params(run):
            file.write_text(f"dataset: {dataset}\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    n = len(changes.open_copies(run))
    print(f"reports/{run}/params.yaml: {', '.join(f'{key} = {value!r}' for key, value in wanted.items())}\n"
          f"{n} notebooks belong to this run; working copies in reports/{run}/copies/")


def as_values(options) -> dict:
    """Options of a command line as parameters: text where the notebook has text, else the number or word of YAML.

    Examples
    --------
    >>> as_values({"epochs": "5", "network": "simple", "ema": True})
    {'epochs': 5, 'network': 'simple', 'ema': True}
    """
    import yaml

    known = known_parameters()
    return {key: yaml.safe_load(value) if isinstance(value, str) and not isinstance(known.get(key), str) else value
            for key, value in options.items()}


def execute(*names) -> None:
    """Execute what is stale in runs; progress appears line by line.

    Raises
    ------
    RuntimeError
        Where a notebook failed; its page says why.
    """
    for run in names:
        engine.plan(run)
    environment = {key: value for key, value in os.environ.items() if key != "MEDLAB_RUN"}
    with subprocess.Popen([sys.executable, "-m", "medlab", "run", *names], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, env=environment, errors="replace") as process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
        except KeyboardInterrupt:  # the run was interrupted as well, as by Ctrl-C; it writes its pages and ends
            try:
                print(process.communicate(timeout=30)[0], end="")
            except subprocess.TimeoutExpired:
                process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f"medlab run {' '.join(names)} ended with exit code {process.returncode}; the lines above "
                           "and the pages say why")


def pages(run=None) -> None:
    """Show links: to the pages of a run and to its working copies, or, without a name, to all runs."""
    from IPython.display import HTML, display

    if run is None:
        return display(HTML(_links([("all runs", reports_dir() / "index.html")])))
    folder = run_folder(run)
    made = [(f"{path.stem}", path) for path in sorted(folder.glob("[0-9][0-9]_*.html"))]
    work = [(name, copies.path(name, run)) for name in changes.copied(run)]
    shown = f"<p><b>Pages of {run}</b></p>" + _links([("index", folder / "index.html"), *made])
    shown += "<p>Links inside a page work in a tab of the browser: right-click it in the list of files.</p>"
    display(HTML(shown + (f"<p><b>Working copies</b>, to change and run by hand</p>{_links(work)}" if work else "")))


def _links(found):
    here = [(name, html.escape(os.path.relpath(path))) for name, path in found if path.exists()]
    return "<ul>" + "".join(f'<li><a href="{path}">{html.escape(name)}</a></li>' for name, path in here) + "</ul>"


def overview() -> None:
    """Print the datasets and the runs there are."""
    from medlab.engine import report

    print("Datasets (data/):", *(f"  {name:24s} {title}" for name, title in datasets_there()), sep="\n")
    rows = {row["run"]: row for one in report.run_rows() for row in (one, *one["repeats"])}
    lines = [f"  {run:24s} {_line(rows[run])}" if run in rows else f"  {run:24s} not executed yet" for run in runs()]
    print("Runs (reports/):", *lines, sep="\n")


def datasets_there() -> list[tuple[str, str]]:
    """Names of the datasets and the titles of their cards."""
    cards = sorted(data_dir().glob("[!.]*/card.yaml")) if data_dir().is_dir() else []
    return [(card.parent.name, inert(_title(card))) for card in cards]


def _title(card):
    try:
        return str(read_yaml(card).get("title") or "")
    except ValueError as error:
        return f"card.yaml cannot be read: {error}"


def _line(row):
    """State, dataset and what came out of a run, in a line."""
    numbers = "; ".join(f"{one['name']} {one['text']}" + (f" ({one['limits']})" if one["limits"] else "")
                        for one in row["numbers"])
    return "  ".join(filter(None, [f"{row['state']:11s}", row["finished"], f"{row['dataset']:16s}", numbers]))
