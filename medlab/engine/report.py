"""What the pages of a run say: gathered from its stamps, result files and executed notebooks."""

import os
import platform
import subprocess
import time
from contextlib import suppress
from functools import lru_cache
from importlib import metadata

import nbformat

from medlab import ROOT, __version__, reports_dir
from medlab.engine import openings, pages
from medlab.engine.parameters import (
    contract,
    declared,
    effective,
    headline,
    labels,
    left_out_by_steps,
    notebooks,
    results,
    run_folder,
    runs,
    unmet,
)
from medlab.engine.stamps import describe, read_stamp, source_digest, stamp_path, write_stamp
from medlab.storage import digest, digest_of, read_if_sound, write_text

UNKNOWN = "unknown: leakage between images of one patient cannot be excluded"
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "scikit-image", "matplotlib",
            "pydicom", "nibabel", "SimpleITK", "lifelines", "papermill", "nbconvert")
NEEDS = {"static": "images that do not move", "image": "images", "mask": "masks", "survival": "follow-up",
         "label": "label of two classes", "covariates": "covariate that varies"}  # in the words of a page


def write_page(name, run, params, data) -> None:
    """Write ``NN_name.html`` of a run from its stamp and its executed notebook."""
    folder, stamp = run_folder(run), read_stamp(name, run)
    path = folder / f"{name}.ipynb"
    show = stamp["state"] != "running" and path.exists()
    notebook = nbformat.read(path, as_version=4) if show else None
    state, said = describe(name, run)
    numbered = [other for other in notebooks() if (folder / f"{other}.html").exists() or other == name]
    position = numbered.index(name)
    beside = [("previous:", other) for other in numbered[:position][-1:]]
    beside += [("next:", other) for other in numbered[position + 1:][:1]]
    links = [("run index", "index.html")] + [(f"{label} {headline(other)[0]}", f"{other}.html")
                                             for label, other in beside]
    dataset = read_if_sound(folder / "dataset.json")
    caution = f"Patients {UNKNOWN}." if dataset and dataset.get("n_patients", 0) is None else ""
    text = pages.notebook_page(notebook, f"{headline(name)[0]} - {run}",
                               dict(state=state, text=said, error=stamp.get("error")),
                               provenance(name, run, stamp, params, data), links,
                               is_synthetic(run, name), caution)
    write_text(folder / f"{name}.html", text)
    write_stamp(name, run, **stamp | {"page": digest(folder / f"{name}.html")})


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


def results_of(run) -> list[tuple[str, list[dict], str]]:
    """Key numbers of a run: list of (heading, rows, note), as the notebooks declare them in their metadata."""
    found, written = [], labels()
    for file, declared_as in results().items():
        values = read_if_sound(run_folder(run) / file)
        rows, heading = pages.key_numbers(values, written), declared_as["heading"]
        if not rows:
            continue
        sizes = [f"{values[key]} {label}" for key, label in
                 (("n_images", "images"), ("n_patients", "patients")) if values.get(key) is not None]
        state = describe(declared_as["notebook"], run)[0]
        notes = [f"n = {', '.join(sizes)}."] * bool(sizes) 
        notes += [] if state == "done" else [f"NOT CURRENT: {state}."]
        if values.get("part") == "val":
            heading = f"{heading.split(',')[0]}, VALIDATION (the test part is closed)"
        found.append((heading, rows, " ".join(notes)))
        if alone := values.get("without_copies"):
            n = ", ".join(f"{alone[key]} {label}" for key, label in
                          (("n_images", "images"), ("n_patients", "patients")) if key in alone)
            found.append((f"{heading}, WITHOUT THE COPIES of other parts", pages.key_numbers(alone, written),
                          f"n = {n}; the numbers above count copies of training patients."))
    return found


def looks_in_words(run) -> str:
    """What the ledger says about the test part of a run, whether a notebook came to its end or not; or nothing."""
    prepared = read_if_sound(run_folder(run) / "preprocessing.json")
    found = openings.read(prepared) if prepared.get("test_part") else ()
    return openings.in_words(found) if len(found) else ""


def write_index(run, params, conditions) -> None:
    """Write ``index.html`` of a run."""
    folder, entries, figures = run_folder(run), [], []
    for name in notebooks():
        title, question = headline(name)
        lacking = unmet(name, conditions)
        state, text = describe(name, run)
        kept = state != "missing" and left_out_by_steps(lacking)
        if kept:
            text += " Left out by the parameter steps now."
        elif lacking:
            state, text = "skipped", f"Not part of this run: {_why_not(lacking, conditions)}."
        state = {"missing": "not run"}.get(state, state)
        page = f"{name}.html" if (folder / f"{name}.html").exists() and (kept or not lacking) else None
        entries.append(dict(name=name, title=title, question=question, state=state, text=text, page=page))
        executed = folder / f"{name}.ipynb"
        if state == "done" and executed.exists():
            notebook = nbformat.read(executed, as_version=4)
            figures += [(caption, image, page) for caption, image in pages.key_figures(notebook)]
    dataset = read_if_sound(folder / "dataset.json")
    html = pages.run_index(run, entries, results_of(run), figures, _summary(dataset, params, run), is_synthetic(run))
    write_text(folder / "index.html", html)


def _why_not(lacking, conditions):
    """Why a notebook is not part of a run, from its unmet needs."""
    if left_out_by_steps(lacking):
        return "left out by the parameter steps"
    if "repeats" in lacking:
        return "no two other runs with results to compare"
    lacks = ", ".join(" or ".join(NEEDS.get(word, word) for word in need.split("|")) for need in lacking)
    return f"the dataset has no {lacks}" if "dataset" in conditions else "this run only compares others"


def _summary(dataset, params, run):
    card = dataset.get("card", {})
    sizes = ", ".join(f"{dataset[key]} {label}" for key, label in
                      (("n_images", "images"), ("n_patients", "patients")) if dataset.get(key) is not None)
    patients = [] if dataset.get("n_patients") is not None or not dataset else [
        ("patients", UNKNOWN)]
    numbers = {key: ", ".join(name[:2] for name in notebooks() if key in declared(name)) for key in params}
    changed = ", ".join(f"{key} = {value!r} (of {numbers[key]})" for key, value in params.items())
    title = card.get("title", "not read yet") if params.get("dataset", True) else "none: this run compares others"
    rows = [("dataset", title), ("modality", card.get("modality", "")),
            ("size", sizes), *patients, ("licence", card.get("licence", "")),
            ("parameters", changed or "all at their default"),
            ("test part", looks_in_words(run)),
            ("code", code_version())]
    return [(key, value) for key, value in rows if value]


def write_runs_index() -> None:
    """Write ``reports/index.html``, the list of all runs."""
    rows = []
    for folder in (run_folder(run) for run in runs() if (run_folder(run) / ".stamps").is_dir()):
        states = [describe(name, folder.name)[0] for name in notebooks()
                  if stamp_path(name, folder.name).exists()]
        worst = next((s for s in ("failed", "interrupted", "running", "hand", "stale", "done") if s in states),
                     "missing")
        finished = [read_stamp(name, folder.name).get("finished", 0) for name in notebooks()]
        dataset = read_if_sound(folder / "dataset.json")
        numbers = [row for _, found, _ in results_of(folder.name) for row in found[:2]]
        rows.append(dict(run=folder.name, state=worst, title=dataset.get("card", {}).get("title", ""),
                         synthetic=is_synthetic(folder.name), numbers=numbers,
                         finished=time.strftime("%Y-%m-%d %H:%M", time.localtime(max(finished)))))
    html = pages.runs_index(rows)
    write_text(reports_dir() / "index.html", html)
