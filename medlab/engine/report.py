"""What the pages of a run say: gathered from its stamps, result files and executed notebooks."""

import os
import platform
import subprocess
import time
from contextlib import suppress
from functools import lru_cache, partial
from importlib import metadata

import nbformat

from medlab import ROOT, __version__, reports_dir
from medlab.engine import answers, openings, pages, sections
from medlab.engine.parameters import (
    answer_file,
    contract,
    declared,
    effective,
    headline,
    labels,
    left_out_by_steps,
    notebooks,
    parent,
    results,
    run_folder,
    runs,
    unmet,
)
from medlab.engine.stamps import describe, read_stamp, source_digest, stamp_path, write_stamp
from medlab.storage import digest, digest_of, read_if_sound, write_atomically, write_text

UNKNOWN = "unknown: leakage between images of one patient cannot be excluded"
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "scikit-image", "matplotlib",
            "pydicom", "nibabel", "SimpleITK", "lifelines", "papermill", "nbconvert")


def write_page(name, run, params, data) -> None:
    """Write ``NN_name.html`` of a run from its stamp and its executed notebook."""
    folder, stamp = run_folder(run), read_stamp(name, run)
    path = folder / f"{name}.ipynb"
    show = stamp["state"] != "running" and path.exists()
    notebook = nbformat.read(path, as_version=4) if show else None
    state, said = describe(name, run)
    title, question = headline(name)
    figures = sections.figures(notebook, name) if notebook else ()
    _write_figures(name, run, figures)
    text = pages.notebook_page(notebook, f"{title} - {run}", dict(state=state, text=said, error=stamp.get("error")),
                               provenance(name, run, stamp, params, data), _neighbours(name, run),
                               is_synthetic(run, name), _caution(run), "" if notebook else question,
                               _files(name, run) if notebook else (), figures)
    write_text(folder / f"{name}.html", text)
    write_stamp(name, run, **stamp | {"page": digest(folder / f"{name}.html")})


def _write_figures(name, run, figures):
    """The pictures of a page and the numbers behind them, as files of their own; those of an earlier page go."""
    folder = run_folder(run)
    for old in folder.glob(f"figures/{name}-*"):
        old.unlink()
    for _, _, file, content in figures:
        (folder / "figures").mkdir(exist_ok=True)
        write_atomically(folder / file, partial(_write_bytes, content))


def _write_bytes(content, path):
    path.write_bytes(content)


def _caution(run):
    """What belongs on every page of a run."""
    dataset = read_if_sound(run_folder(run) / "dataset.json")
    return f"Patients {UNKNOWN}." if dataset and dataset.get("n_patients", 0) is None else ""


def _neighbours(name, run):
    """Links of a page: all runs, index, and the pages before and behind it, if there are any."""
    shown = [other for other in notebooks() if (run_folder(run) / f"{other}.html").exists() or other == name]
    at = shown.index(name)
    before, behind = shown[:at][-1:], shown[at + 1:][:1]
    return [("all runs", "../index.html"), ("index", "index.html"),
            *([(f"\u2190 {headline(other)[0]}", f"{other}.html") for other in before] or [("\u2190 first page", "")]),
            *([(f"{headline(other)[0]} \u2192", f"{other}.html") for other in behind] or [("last page \u2192", "")])]


def _link_neighbours(run):
    """Bring the links between the pages of a run up to date: a page may have been written before the next one."""
    for name in notebooks():
        page, stamp = run_folder(run) / f"{name}.html", read_stamp(name, run)
        if not page.exists() or stamp.get("page") != digest(page):  # absent, or not as it was written: left alone
            continue
        text = page.read_text(encoding="utf-8")
        linked = pages.linked(text, _neighbours(name, run))
        if linked != text:
            write_text(page, linked)
            write_stamp(name, run, **stamp | {"page": digest(page)})


FOR_PEOPLE = (".csv", ".xlsx", ".zip", ".nii.gz", ".json", ".parquet")  # in this order on a page; then all others


def _files(name, run):
    """Files that a notebook wrote, with their sizes in words; first those that a person opens."""
    found = [(item, run_folder(run) / item) for item in contract(name)["writes"] if item != answer_file(name)]
    order = [(next((i for i, end in enumerate(FOR_PEOPLE) if item.endswith(end)), len(FOR_PEOPLE)), item, path)
             for item, path in found if path.is_file()]
    return [(item, _size(path.stat().st_size)) for _, item, path in sorted(order)]


def _size(n_bytes):
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def is_synthetic(run, name=None) -> bool:
    """Whether a run, or one page of it, shows simulated data; of a comparison: whether any of its runs does."""
    dataset, comparison = (read_if_sound(run_folder(run) / file) for file in ("dataset.json", "comparison.json"))
    compares = not dataset if name is None else "comparison.json" in contract(name)["writes"]
    return bool(dataset.get("synthetic") or (compares and comparison.get("synthetic")))


@lru_cache
def code_version() -> str:
    """Version of medlab and the commit of the checkout, if it is one."""
    def git(*words):
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()
    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        edited = git("status", "--porcelain", "--", "medlab", "notebooks")
        changed = " with uncommitted changes" if edited else ""
    except OSError:
        commit = changed = ""
    return f"medlab {__version__}" + (f", commit {commit}{changed}" if commit else "")


@lru_cache
def machine() -> str:
    """Processor, memory and system, without the machine's name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB memory"


@lru_cache
def packages() -> list[tuple[str, str]]:
    """Versions of Python and of the packages that decide numbers."""
    found = [("python", platform.python_version())]
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found.append((package, metadata.version(package)))
    return found


def provenance(name, run, stamp, params, data) -> list[tuple[str, list[tuple[str, str]]]]:
    """What a page was made from, as sections of key-value pairs."""
    made_from = stamp.get("made_from") or {}
    used, modules = made_from.get("parameters") or effective(name, params, run), made_from.get("code") or {}
    defaults = declared(name)
    listed = [(key, f"{value!r}" + ("" if key == "run" or value == defaults.get(key) else
                                    f"   (default {defaults.get(key)!r})")) for key, value in used.items()]
    files = [(item, f"sha256 {value[:16]}" if value else "absent") for item, value in
             (made_from.get("reads") or {"data": data}).items()]
    times = [(key, time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(stamp[key])))
             for key in ("started", "finished") if stamp.get(key)]
    return [("Parameters", listed), ("Read", files),
            ("Code", [("version", code_version()), ("notebook", f"sha256 {source_digest(name)[:16]}"),
                      ("modules", f"{len(modules)} of the package, sha256 {digest_of(modules)[:16]}")]),
            ("Machine and times", [("machine", machine()), *times]), ("Packages", packages())]


def results_of(name, run) -> list[tuple[str, list[dict], str]]:
    """Key numbers that a notebook declares in its metadata: list of (heading, rows, note)."""
    found, written = [], labels()
    for file, declared_as in results().items():
        values = read_if_sound(run_folder(run) / file) if declared_as["notebook"] == name else {}
        rows, heading = pages.key_numbers(values, written), declared_as["heading"]
        if not rows:
            continue
        state = describe(name, run)[0]
        notes = [f"n = {sizes}."] if (sizes := _sizes(values)) else []
        notes += [] if state == "done" else [f"NOT CURRENT: {state}."]
        alone = values.get("without_copies")
        notes += [f"{_copies(values, alone)} COPIES of other parts among them: too good, see below."] if alone else []
        if values.get("part") == "val":
            heading = f"{heading.split(',')[0]}, VALIDATION (the test part is closed)"
        found.append((heading, rows, " ".join(notes)))
        if alone:
            found.append((f"{heading}, WITHOUT THE COPIES of other parts", pages.key_numbers(alone, written),
                          f"n = {_sizes(alone)}; the numbers above count copies of training patients."))
    return found


def _copies(values, alone):
    """How many of the images or patients of a result are copies."""
    key = next(key for key in ("n_images", "n_patients") if key in alone)
    return values[key] - alone[key]


def _sizes(values):
    """Numbers of images and patients in words."""
    return ", ".join(f"{values[key]} {label if values[key] != 1 else label[:-1]}" for key, label in
                     (("n_images", "images"), ("n_patients", "patients")) if values.get(key) is not None)


def looks_in_words(run) -> str:
    """What the ledger says about the test part of a run, whether a notebook came to its end or not; or nothing."""
    known = [read_if_sound(run_folder(run) / name) for name in ("external.json", "preprocessing.json")]
    found = next((openings.read(one) for one in known if one.get("test_part")), ())
    return openings.in_words(found) if len(found) else ""


def write_index(run, params, conditions) -> None:
    """Write ``index.html`` of a run, and bring the links between its pages up to date."""
    _link_neighbours(run)
    entries = [_entry(name, run, conditions) for name in notebooks()]
    figures = [(caption, alt, image, entry["page"]) for entry in entries if entry["state"] == "done" and entry["page"]
               for caption, alt, image in _key_figures(entry["name"], run)]
    dataset = read_if_sound(run_folder(run) / "dataset.json")
    html = pages.run_index(run, entries, figures[:MOST_FIGURES], _summary(dataset, params, run), is_synthetic(run),
                           _caution(run), any(entry["state"] == "running" for entry in entries))
    write_text(run_folder(run) / "index.html", html)


MOST_FIGURES = 6  # an index fits on two printed pages


def _key_figures(name, run):
    executed = run_folder(run) / f"{name}.ipynb"
    found = sections.key_figures(nbformat.read(executed, as_version=4)) if executed.exists() else []
    return found[:2]


def _entry(name, run, conditions):
    """What the index says about one notebook."""
    (title, question), lacking = headline(name), unmet(name, conditions)
    state, text = describe(name, run)
    kept = state != "missing" and left_out_by_steps(lacking)
    if kept:
        text += f" {_why_not(lacking, conditions)[:-1]} now."
    elif lacking:
        state, text = "skipped", _why_not(lacking, conditions)
    elif state == "missing" and _only_compares(name, run):
        lacking, text = ["repeats only"], "Executed in the repeats only."
    page = f"{name}.html" if (run_folder(run) / f"{name}.html").exists() and (kept or not lacking) else None
    shown = bool(page) and state != "running"
    return dict(name=name, title=title, question=question, state={"missing": "not run"}.get(state, state), text=text,
                page=page, part=kept or not lacking, results=results_of(name, run) if shown and state != "hand" else [],
                answer=_answer(name, run) if shown else None)


def _answer(name, run):
    """The answer on the page of a notebook, or None; after an execution by hand its file may hold another."""
    executed = run_folder(run) / f"{name}.ipynb"
    if describe(name, run)[0] != "hand":
        return answers.read(run_folder(run) / answer_file(name))
    return sections.answer_of(nbformat.read(executed, as_version=4)) if executed.exists() else None


def _only_compares(name, run):
    """Whether a run was never executed itself, but its repeats were compared in it."""
    made = [other for other in notebooks() if stamp_path(other, run).exists()]
    return bool(made) and all("repeats" in contract(other)["needs"] for other in made) and name not in made


NEEDS = {"image": "images", "static": "still images", "label": "label of two classes", "mask": "masks",
         "survival": "follow-up with an event", "boxes": "boxes", "table": "table of patients alone",
         "covariates": "covariate that varies", "modality:bold": "functional MRI (BOLD)", "modality:PT": "PET",
         "repeats": "two or more other runs with results"}


def _why_not(lacking, conditions):
    """Why a notebook is not part of a run, from its unmet needs, in words."""
    if left_out_by_steps(lacking):
        return ("Left out: this run evaluates the network of another run." if "model" in conditions else
                "Left out by the parameter steps.")
    if "model" in lacking:
        return "This run evaluates no other run's network (parameter model_of)."
    if "repeats" in lacking:
        return "There are no two other runs with results to compare."
    if "dataset" not in conditions:
        return "This run only compares others."
    needs = " and no ".join(" or ".join(NEEDS.get(one, one) for one in need.split("|")) for need in lacking)
    return f"The dataset has no {needs}."


def _summary(dataset, params, run):
    card = dataset.get("card", {})
    patients = [] if dataset.get("n_patients") is not None or not dataset else [("patients", UNKNOWN)]
    numbers = {key: ", ".join(name[:2] for name in notebooks() if key in declared(name)) for key in params}
    changed = ", ".join(f"{key} = {value!r} (of {numbers[key]})" for key, value in params.items())
    title = card.get("title", "not read yet") if params.get("dataset", True) else "none: this run compares others"
    rows = [("dataset", title), ("modality", card.get("modality", "")), ("size", _sizes(dataset)), *patients,
            ("licence", card.get("licence", "")), ("parameters", changed or "all at their default"),
            ("test part", looks_in_words(run)), ("code", code_version())]
    return [(key, value) for key, value in rows if value]


def write_runs_index() -> None:
    """Write ``reports/index.html``, the list of all runs."""
    write_text(reports_dir() / "index.html", pages.runs_index(run_rows()))


def run_rows() -> list[dict]:
    """Rows of the list of all runs, see `pages.runs_index`: the latest first; repeats are folded below their run."""
    rows = {run: _run_row(run) for run in runs() if (run_folder(run) / "index.html").exists()}
    for run in list(rows):
        above = parent(run)
        if above != run and above in rows:
            rows[above]["repeats"].append(rows.pop(run))
    return sorted(rows.values(), key=lambda row: row["time"], reverse=True)


def _run_row(run):
    """A run in the list of all runs: its state, and the answer of the last notebook that gave one with numbers."""
    made = [name for name in notebooks() if stamp_path(name, run).exists()]
    states = [describe(name, run)[0] for name in made]
    worst = next((s for s in ("running", "failed", "interrupted", "hand", "stale", "done") if s in states), "missing")
    stamps = [read_stamp(name, run) for name in made]
    latest = max((stamp.get("finished") or stamp.get("started") or 0 for stamp in stamps), default=0)
    dataset = read_if_sound(run_folder(run) / "dataset.json")
    shown = [name for name, state in zip(made, states, strict=True) if name in _evaluating() and state != "running"]
    numbers = [one for found in filter(None, (_answer(name, run) for name in shown)) for one in found["numbers"][:1]]
    numbers = numbers or [row for name in shown if describe(name, run)[0] != "hand"
                          for _, found, _ in results_of(name, run) for row in found[:2]]
    return dict(run=run, state=worst, title=dataset.get("card", {}).get("title", ""), dataset=dataset.get("name", ""),
                synthetic=is_synthetic(run), numbers=numbers, time=latest, repeats=[],
                finished=time.strftime("%Y-%m-%d %H:%M", time.localtime(latest)))


def _evaluating():
    """Notebooks that declare results: their first number says how a run came out."""
    return {one["notebook"] for one in results().values()}
