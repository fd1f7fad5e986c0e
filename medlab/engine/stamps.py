"""Staleness: a small stamp beside the outputs says what they were made from.

``reports/<run>/.stamps/<notebook>.json`` holds the state (running, done, failed, hand), the effective
parameters and the digests of the notebook's cells, of the modules they reach and of the files read and written.
"""


from pathlib import Path

from medlab import reach
from medlab.engine.parameters import code, compared_results, compared_runs, contract, effective, run_folder, source
from medlab.storage import digest, digest_of, plain, read_json, write_json


def source_digest(name) -> str:
    """sha256 over the cell sources: outputs saved into a notebook change nothing."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in source(name)["cells"]]
    return digest_of(cells)


def made_from(name, run, params, data) -> dict:
    """What the outputs of a notebook are made from; two equal answers mean that nothing is stale."""
    folder, used = run_folder(run), effective(name, params, run)
    used.pop("steps", None)  # says which notebooks are executed, not what any of them makes
    special = {"data": lambda: data, "runs": lambda: runs_digest(run, used.get("compare", "auto"))}
    reads = {item: special[item]() if item in special else digest(folder / item)
             for item in contract(name)["reads"]}
    made = {"parameters": used, "notebook": source_digest(name), "code": reach.digests(*code(name)), "reads": reads}
    return plain(made)


def runs_digest(run, compare) -> str:
    """sha256 over the parameters and results of the runs that are compared."""
    declared = {one[key] for one in compared_results().values() for key in ("file", "rows")}
    files = [(name, file, digest(run_folder(name) / file)) for name in compared_runs(run, compare)
             for file in ("params.yaml", "dataset.json", "cohort.parquet", *sorted(declared))]
    return digest_of(files)


def stamp_path(name, run) -> Path:
    """File of the stamp of a notebook in a run."""
    return run_folder(run) / ".stamps" / f"{name}.json"


def read_stamp(name, run) -> dict:
    """Stamp of a notebook in a run, or an empty dict where there is none or it is damaged."""
    try:
        found = read_json(stamp_path(name, run))
    except ValueError:  # cut off by a full disk
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("state"), str) else {}


def write_stamp(name, run, **facts) -> None:
    """Replace the stamp: ``state`` (running, done, failed, hand) and what else is known."""
    stamp_path(name, run).parent.mkdir(parents=True, exist_ok=True)
    write_json(stamp_path(name, run), facts)


def why_stale(name, run, params, data) -> str:
    """Why a notebook must run again, as a sentence; empty if its outputs are current."""
    stamp = read_stamp(name, run)
    if stamp.get("state") != "done":
        return {"hand": "was executed by hand", "failed": "failed before",
                "running": "was interrupted"}.get(stamp.get("state"), "was not executed yet")
    if not all(isinstance(stamp.get(key), dict) for key in ("made_from", "writes")):
        return "its stamp is damaged"
    now, then = made_from(name, run, params, data), stamp["made_from"]
    for key, label in {"parameters": "parameter", "reads": "file", "code": "module"}.items():
        was = then[key] if isinstance(then.get(key), dict) else {}  # earlier versions stamped one digest of the package
        changed = [item for item in now[key] if now[key][item] != was.get(item)]
        if changed or set(now[key]) != set(was):
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            return f"{label} {', '.join(changed[:3]) or 'list'}{more} changed"
    if now["notebook"] != then.get("notebook"):
        return "the notebook changed"
    lost = [item for item, was in stamp["writes"].items() if (digest(run_folder(run) / item) or "absent") != was]
    return f"output {', '.join(lost)} is missing or was changed" if lost else ""
