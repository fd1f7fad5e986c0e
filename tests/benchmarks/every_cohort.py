"""Every notebook on every kind of cohort: small ones by construction, imported, executed, one line of a table each.

    python tests/benchmarks/every_cohort.py                   # all cohorts, about an hour of CPU; docs/cohorts.md
    python tests/benchmarks/every_cohort.py tiny "all censored"   # those whose names hold one of the words
    python tests/benchmarks/every_cohort.py --keep FOLDER     # datasets and runs stay there, results are added to it
    python tests/benchmarks/every_cohort.py --steps 01,02,05  # only these notebooks

The notebooks run in this one process, cell by cell, so that TensorFlow is imported once, and eagerly, since compiling
each network takes most of the time. What they show is searched for what no page should say (nan, 0 of 0, an empty
figure, characters without a picture), and stands as pages in FOLDER/pages. Exit status 1 if any notebook fails.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from chain import workplace
from PIL import Image

CHEAP = {
    "epochs": 1, "network": "simple", "capacity": 0.5, "sanity_gate": False, "image_size": 32, "n_bootstrap": 50,
    "survival_bootstrap": 50, "forest_trees": 5, "segmentation_epochs": 1, "segmentation_bootstrap": 50,
    "segmentation_width": 2, "segmentation_depth": 2, "detection_epochs": 1, "detection_bootstrap": 50,
    "detection_width": 4, "detection_depth": 1, "analysis_sample": 2, "analysis_stability": 8, "compare_bootstrap": 50,
    "subgroup_min_patients": 2, "gallery_size": 2, "n_worst": 4,
}
STEPS = ("01", "02", "03", "04", "05", "06", "07", "08", "13")
STRANGE = ("<i>well</i>", "cost in $x$ & $y$", "\"ill\" or 'not'_50%", "悪性腫瘍", "سليم")
REFUSED = (ValueError, RuntimeError)


def people(n, random):
    """A table of patients whose age and size of lesion shorten the survival and make the label."""
    size = random.uniform(2, 6, n)
    risk = (size - 4) / 2 + random.normal(0, 0.5, n)
    table = pd.DataFrame({
        "who": [f"P{i:03d}" for i in range(n)], "age": np.round(60 + 8 * random.normal(size=n) + 4 * risk),
        "sex": random.choice(["f", "m"], n), "marker": np.round(random.lognormal(1, 0.4, n), 2),
        "grade": np.where(risk > 0, "high", "low"), "site": random.choice(["north", "south"], n),
        "time": np.ceil(900 * random.exponential(size=n) / np.exp(risk)).clip(1, 1500), "size": size})
    return table.assign(event=(table["time"] < 1500) & (random.random(n) < 0.7))


def drawn(size, shape, channels, random, mask):
    """An image with a bright ball of a radius in pixels on noise, and its mask: (z,) y, x (, channel)."""
    grid = np.indices(shape)
    centre = [random.uniform(0.3, 0.7) * (n - 1) for n in shape]
    far = np.sqrt(sum((np.minimum(1, n / max(shape)) ** -1 * (g - c)) ** 2 for g, c, n in
                      zip(grid, centre, shape, strict=True)))
    ball = far < size
    pixels = random.normal(70, 12, shape) + 90 * ball + 20 * (far < 2.2 * size)
    if channels > 1:
        pixels = pixels[..., None] * np.linspace(1, 0.6, channels) + random.normal(0, 4, (*shape, channels))
    voxel = np.zeros(shape, bool)
    voxel[tuple(np.round(centre).astype(int).clip(0, np.array(shape) - 1))] = True
    return np.clip(pixels, 0, 255).astype(np.uint8), {"ball": ball, "empty": ball & False, "voxel": voxel}[mask]


def save(pixels, path, spacing=None):
    """A picture as PNG, a volume (z, y, x) as NIfTI with its spacing in mm along the same axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 2 or pixels.shape[-1] == 3:
        Image.fromarray(pixels).save(path)
        return
    import nibabel

    affine = np.diag([*(spacing or (2.0, 1.0, 1.0))[::-1], 1.0]) * [-1, -1, 1, 1]  # axes to left, posterior, superior
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(pixels.transpose(2, 1, 0)), affine), path)


def source(folder, *, n=24, each=1, shape=(28, 28), channels=1, masks="", boxes=False, label="grade", survival=False,
           columns=("age", "sex", "marker"), change=None, unknown=False, spacing=None, seed=0, options=None,
           parameters=None):
    """Write a source and say how it is imported.

    Parameters
    ----------
    each : images per patient; 0: a table alone
    masks : what masks hold: ball, voxel, empty, or several by commas, image by image; empty text: no masks
    columns : of the table that are covariates
    change : function of the table of patients, which makes the hard cases
    unknown : folders of classes instead of a table, without any patient

    Returns
    -------
    (path, dict of options)
    """
    random = np.random.default_rng(seed)
    table = people(n, random)
    table = change(table) if change else table
    suffix, kinds = ".png" if len(shape) == 2 else ".nii.gz", masks.split(",")
    rows = []
    for k, one in enumerate(table.loc[table.index.repeat(max(each, 1))].to_dict("records")):
        name = f"{k:03d}{suffix}"
        if unknown:
            name = f"{one[label]}/{name}" if label else name
        rows.append(one | ({"file": name} if each else {}))
        if not each:
            continue
        pixels, marked = drawn(one["size"], shape, channels, random, kinds[k % len(kinds)] or "ball")
        save(pixels, folder / "images" / name, spacing)
        if masks:
            save(marked.astype(np.uint8) * 255, folder / "masks" / name, spacing)
        if boxes and marked.any():
            where = np.argwhere(marked)
            (*_, y0, x0), (*_, y1, x1) = where.min(0), where.max(0)
            rows[-1] |= {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
    options = {"yes": True, "keep": "patient_id,files"} | (options or {})
    if unknown:
        return folder, options | ({"mask": "masks"} if masks else {})
    rows = pd.DataFrame(rows).drop(columns="size")
    wanted = [*columns, *([label] if label else []), *(["time", "event"] if survival else []),
              *(c for c in ("who", "file", "x0", "y0", "x1", "y1") if c in rows)]
    rows[wanted].to_csv(folder / "patients.csv", index=False)
    options |= {"tables": "patients.csv", "key": "who"}
    options |= {"label": label} if label else {}
    options |= {"time": "time", "time_unit": "days", "event": "event"} if survival else {}
    if not each:
        return folder / "patients.csv", {k: v for k, v in options.items() if k != "tables"} | {"keep": "patient_id"}
    options |= {"key": "file", "patient": "who", "image": "images/{file}"}
    options |= {"mask": "masks/{file}"} if masks else {}
    return folder, options | ({"boxes": "x0,y0,x1,y1"} if boxes else {})


def set_to(**values):
    """A change of the table: columns set to values, or to what a function of the table gives."""
    return lambda table: table.assign(**values)


def among(*names):
    """Names that repeat down the table."""
    return lambda table: np.resize(np.array(names, object), len(table))


def first(name, other):
    """One patient with a name, all others with another."""
    return lambda table: np.where(np.arange(len(table)) == 1, name, other)


VOLUME = {"shape": (6, 24, 24)}
PARTS = {"masks": "ball", "boxes": True, "survival": True}
SPLIT = {"options": {"split": "part"}, "columns": ("age", "sex", "marker", "part")}


def in_parts(table):
    """A split of the source, 60 : 20 : 20."""
    return np.array(["train", "train", "train", "val", "test"])[np.arange(len(table)) % 5]


ORDINARY = {
    "2-D grey, label": {},
    "2-D grey, masks": {"masks": "ball", "label": ""},
    "2-D grey, boxes": {"boxes": True, "label": ""},
    "2-D grey, masks, label, survival, sites": {"masks": "ball", "survival": True,
                                                "columns": ("age", "sex", "marker", "site")},
    "2-D colour, masks, boxes, label": {"channels": 3, "masks": "ball", "boxes": True},
    "2-D, three classes, several images each": {"each": 3, "change": set_to(grade=among("a", "b", "c"))},
    "2-D, ordered classes": {"change": set_to(grade=among("0", "1", "2")), "options": {"classes_ordered": True}},
    "2-D, survival, several images, one site": {"each": 2, "label": "", "survival": True,
                                                "columns": ("age", "site"), "change": set_to(site="north")},
    "2-D, survival, no covariates": {"label": "", "survival": True, "columns": ()},
    "3-D, label": VOLUME,
    "3-D, masks, label, survival": VOLUME | {"masks": "ball", "survival": True},
    "3-D, boxes": VOLUME | {"boxes": True, "label": ""},
    "table, survival": {"each": 0, "label": "", "survival": True, "n": 60},
    "table, label": {"each": 0, "n": 60},
    "unknown patients, label": {"unknown": True},
    "unknown patients, masks": {"unknown": True, "masks": "ball", "label": ""},
    "nothing but images": {"label": "", "columns": ()},
    "tiny: 12 patients": {"n": 12} | PARTS,
}
TABLE = {"each": 0, "label": "", "survival": True}
STRANGE_COLUMNS = ("<b>age</b> in $y$", "sex_50% \"q\"", "部位", "site")


def strangely_named(table):
    """Classes, columns, levels and sites whose names programs like to take for something else."""
    levels = {"部位": among("肺", "כבד", "a|b")(table), "site": among(*STRANGE[2:])(table)}
    return table.assign(grade=among(*STRANGE[:2])(table), **levels).rename(columns=dict(
        zip(("age", "sex"), STRANGE_COLUMNS, strict=False)))


def order_of_survival(table):
    """A covariate by which survival is known."""
    return table.assign(marker=table["time"].rank(), event=True)


def numbered(n):
    """As many classes."""
    return set_to(grade=among(*(f"c{i:03d}" for i in range(n))))


HARD = {
    "one class in the test part": PARTS | SPLIT | {"change": lambda t: t.assign(
        part=in_parts(t), grade=np.where(in_parts(t) == "test", "low", t["grade"]))},
    "a class of one image": {"change": set_to(grade=first("rare", "common"))},
    "a class of one image, three classes": {"change": lambda t: t.assign(grade=first("rare", t["grade"])(t))},
    "one class": PARTS | {"change": set_to(grade="all")},
    "constant covariates": {"survival": True, "change": set_to(age=60, sex="f", marker=1.5)},
    "constant covariates, table": TABLE | {"change": set_to(age=60, sex="f", marker=1)},
    "covariate is the label": {"change": set_to(sex=lambda t: t["grade"])},
    "covariate is the order of survival": {"survival": True, "label": "", "change": order_of_survival},
    "covariate is the order of survival, table": TABLE | {"n": 60, "change": order_of_survival},
    "all censored": {"survival": True, "change": set_to(event=0)},
    "all censored, table": TABLE | {"change": set_to(event=0)},
    "events only": {"survival": True, "change": set_to(event=1)},
    "events only, table": TABLE | {"change": set_to(event=1)},
    "three distinct times": {"survival": True, "change": set_to(time=among(300, 600, 900))},
    "three distinct times, table": TABLE | {"n": 60, "change": set_to(time=among(300, 600, 900))},
    "five patients": {"n": 5} | PARTS,
    "five patients, table": TABLE | {"n": 5},
    "100 classes": {"n": 200, "columns": (), "change": numbered(100)},
    "strange names": PARTS | {"columns": STRANGE_COLUMNS, "change": strangely_named},
    "strange names, table": TABLE | {"label": "grade", "n": 60, "columns": STRANGE_COLUMNS, "change": strangely_named},
    "strange classes, images": {"n": 40, "change": set_to(grade=among(*STRANGE))},
    "masks that are empty": {"masks": "empty", "survival": True},
    "nothing marked outside of training": SPLIT | {"masks": "ball,ball,ball,empty,empty",
                                                   "change": lambda t: t.assign(part=in_parts(t))},
    "masks of one voxel": {"masks": "voxel"},
    "masks of one voxel, 3-D": VOLUME | {"masks": "voxel", "label": ""},
    "radiomics, small and empty masks": {"masks": "ball,voxel,empty", "survival": True,
                                         "parameters": {"radiomics": True}},
    "radiomics": {"masks": "ball", "survival": True, "parameters": {"radiomics": True}},
    "volumes of one slice": {"shape": (1, 28, 28), "masks": "ball", "survival": True},
    "anisotropic, 8 x 0.5 x 0.5 mm": VOLUME | PARTS | {"spacing": (8.0, 0.5, 0.5), "parameters": {"radiomics": True}},
}
COHORTS = ORDINARY | HARD


def imported(name, spec, place):
    """Make and import a cohort; name of the dataset. What the import says goes into the text."""
    from medlab.intake import importers

    folder = place / "sources" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    where, options = source(folder, **{k: v for k, v in spec.items() if k != "parameters"})
    importers.import_source(where, name, overwrite=True, **options)


def execute(name, run):
    """All cells of a notebook in one namespace, as a kernel would: what it showed as text, and as executed notebook."""
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from matplotlib import pyplot as plt

    from medlab.engine import parameters, runs

    shell, notebook = InteractiveShell.instance(), nbformat.reads(json.dumps(parameters.source(name)), as_version=4)
    shown = []
    shell.reset(new_session=False)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        text = "".join(runs.as_executed(cell.source.splitlines(keepends=True)))
        with capture_output() as said:
            plt.show = lambda number=number: draw(number)
            result = shell.run_cell(text)
            draw(number)
        result.raise_error()
        if "parameters" in cell["metadata"].get("tags", []):
            shell.user_ns["run"] = run
        parts = [nbformat.v4.new_output("stream", text=said.stdout)] if said.stdout else []
        parts += [nbformat.v4.new_output("display_data", one.data, metadata=one.metadata) for one in said.outputs]
        cell["outputs"] = parts
        shown += [said.stdout, *(one.data.get("text/plain", "") for one in said.outputs)]
    return "\n".join(shown), notebook


def draw(number):
    """Show the open figures of a cell as pictures, and say which are empty."""
    from IPython.display import Image, display
    from matplotlib import pyplot as plt

    for figure in map(plt.figure, plt.get_fignums()):
        picture = io.BytesIO()
        figure.savefig(picture, dpi=50, bbox_inches="tight")
        if not any(ax.has_data() or ax.texts or ax.tables for ax in figure.axes):
            print(f"EMPTY FIGURE of cell {number}")
        display(Image(picture.getvalue(), format="png"))
    plt.close("all")


def as_page(name, notebook, path):
    """Write the page of an executed notebook."""
    from medlab.engine import pages, sections

    path.parent.mkdir(exist_ok=True)
    state = {"state": "done", "text": "of a benchmark"}
    path.write_text(pages.notebook_page(notebook, path.stem, state, [], [], True, "", "", (),
                                        sections.figures(notebook, name)))


ODD = re.compile(r"\bnan\b|\bNaN\b|<NA>|\bNone\b(?! )|\b0 of 0\b|\binf\b|EMPTY FIGURE.*|"
                 r"(?<!of )\b1 (groups|images|patients|classes|lesions|parts)\b", re.M)


def tried(name, run, texts):
    """What became of one notebook of one run: done, refused (message) or FAILED."""
    from medlab.intake import problems

    start = time.process_time()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            text, notebook = execute(name, run)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = problems.is_ours(error) or (isinstance(error, REFUSED) and not place.filename.endswith(".py"))
        if not ours:
            traceback.print_exc()
        return ("refused: " if ours else f"FAILED: {type(error).__name__}: ") + " ".join(str(error).split())
    (texts / f"{run}_{name[:2]}.txt").write_text(text)
    as_page(name, notebook, texts.with_name("pages") / f"{run}_{name[:2]}.html")
    odd = [line.strip() for line in text.splitlines() if ODD.search(line)]
    odd += sorted({str(w.message).splitlines()[0] for w in said if "run_functions_eagerly" not in str(w.message)
                   and not issubclass(w.category, (DeprecationWarning, FutureWarning, PendingDeprecationWarning,
                                                   ResourceWarning, ImportWarning))})
    for line in odd[:12]:
        print(f"    {name[:2]} {line[:160]}")
    print(f"    {name[:2]} {time.process_time() - start:.0f} s CPU", flush=True)
    return "done"


def repeats(run):
    """Two copies of a run as its repeats over seeds, for the comparison of runs."""
    from medlab.engine import parameters

    for seed in (0, 1):
        twin = parameters.run_folder(f"{run}-s{seed}")
        shutil.rmtree(twin, ignore_errors=True)
        shutil.copytree(parameters.run_folder(run), twin)
        given = yaml.safe_load((twin / "params.yaml").read_text())
        (twin / "params.yaml").write_text(yaml.safe_dump(given | {"seed": seed}))


def every_notebook(title, spec, place, steps=STEPS):
    """Import a cohort, execute what applies: notebook -> what became of it."""
    from medlab.cohorts import checks
    from medlab.engine import execute as engine
    from medlab.engine import parameters

    name = re.sub(r"\W+", "_", title).strip("_")
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            imported(name, spec, place)
    except Exception as error:
        from medlab.intake import problems

        return {"import": ("refused: " if problems.is_ours(error) else "FAILED: ") + " ".join(str(error).split())}
    bad = [said for level, said in checks.check(name) if level == "error"]
    found = {"import": "done" if not bad else f"check says: {'; '.join(bad)}"}
    run = parameters.run_folder(name)
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    (run / "params.yaml").write_text(yaml.safe_dump(CHEAP | {"dataset": name} | spec.get("parameters", {})))
    (place / "texts").mkdir(exist_ok=True)
    stopped = ""
    for notebook in parameters.notebooks():
        if notebook[:2] not in steps:
            continue
        if notebook.startswith("13") and parameters.has_results(name):
            repeats(name)
        _, _, conditions = engine.plan(name)
        lacking = parameters.unmet(notebook, conditions)
        if lacking:
            found[notebook[:2]] = f"not part: needs {', '.join(lacking)}"
        elif stopped:
            found[notebook[:2]] = f"after {stopped}"
        else:
            found[notebook[:2]] = tried(notebook, name, place / "texts")
            stopped = "" if found[notebook[:2]] == "done" else notebook[:2]
            stopped = "" if stopped > "05" else stopped  # 06 to 08 do not build on each other
    return found


def as_table(results) -> str:
    """Cohort x notebook as Markdown, what is not plain below it."""
    short = {"done": "done", "not part": "-"}
    lines = ["| cohort | import | " + " | ".join(STEPS) + " |", "|---|" + "---|" * (len(STEPS) + 1)]
    notes = []
    for title, found in results.items():
        cells = []
        for step in ("import", *STEPS):
            text = found.get(step, "")
            kind = re.split(r"[: ]", text)[0] if text.startswith(("refused", "FAILED", "check")) else next(
                (word for start, word in short.items() if text.startswith(start)), text)
            cells.append(kind)
            if kind in ("refused", "FAILED", "check"):
                notes.append(f"- {title}, {step}: {text}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *notes])


DOCS = Path(__file__).parents[2] / "docs" / "cohorts.md"
HEAD = """# Every kind of cohort

What becomes of each numbered notebook on small cohorts made for it. First ordinary cohorts, then hard but legal ones.
Printed by `python tests/benchmarks/every_cohort.py`; networks learn for one epoch: their numbers mean nothing. Without
words behind it the command tries all cohorts and writes this file.

| | |
|---|---|
| done | it ran to its end |
| - | the data lack what it needs: no part of the run, the index says why |
| refused | it stopped with a message that says why and what to do; below |
| after NN | not executed, since NN was refused |
| (empty) | not tried for this table |

"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="cohorts whose names hold one of these")
    parser.add_argument("--keep")
    parser.add_argument("--steps", default=",".join(STEPS))
    given = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with workplace(given.keep) as place:
        known = place / "results.json"
        results = json.loads(known.read_text()) if known.exists() else {}
        os.environ.setdefault("MEDLAB_KEY", str(place / "key"))
        wanted = {title: None for word in given.words or [""] for title in COHORTS if word in title}
        for title in wanted:
            print(title, flush=True)
            results[title] = every_notebook(title, COHORTS[title], place, given.steps.split(","))
            for step, text in results[title].items():
                if not text.startswith(("done", "not part", "after")):
                    print(f"  {step} {text}", flush=True)
            known.write_text(json.dumps(results, ensure_ascii=False, indent=1))
        results = {title: results[title] for title in COHORTS if title in results}
        print(as_table(results))
        if set(results) == set(COHORTS):
            DOCS.write_text(HEAD + as_table(results) + "\n")
        sys.exit(any("FAILED" in text for found in results.values() for text in found.values()))


if __name__ == "__main__":
    main()
