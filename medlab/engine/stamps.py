"""Staleness: a small stamp beside the outputs says what they were made from.

``reports/<run>/.stamps/<notebook>.json`` holds the state (running, done, failed, interrupted, hand), the effective
parameters and the digests of the notebook's cells, of the modules they reach and of the files read and written, the
executed notebook and the page among them.
"""

import fcntl
import html
import re
import time
from pathlib import Path

from medlab import reach
from medlab.engine.parameters import (
    code,
    compared_results,
    compared_runs,
    contract,
    effective,
    notebooks,
    run_folder,
    source,
)
from medlab.storage import digest, digest_of, plain, read_if_sound, write_json, write_text

OF_MODEL = "model:"  # before the name of a file that a notebook reads of the run that model_of names
STATUS = re.compile(r'<div class="status [a-z]*"><b class="badge">.*?</div>', re.DOTALL)  # of a page, see page.html.j2


def source_digest(name) -> str:
    """sha256 over the cell sources: outputs saved into a notebook change nothing."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in source(name)["cells"]]
    return digest_of(cells)


def made_from(name, run, params, data) -> dict:
    """What the outputs of a notebook are made from; two equal answers mean that nothing is stale."""
    folder, used = run_folder(run), effective(name, params, run)
    used.pop("steps", None)  # says which notebooks are executed, not what any of them makes
    special = {"data": lambda: data, "runs": lambda: runs_digest(run, used.get("compare", "auto"))}
    of = run_folder(used["model_of"]) if used.get("model_of") else folder
    reads = {item: special[item]() if item in special else digest(of / item.removeprefix(OF_MODEL))
             if item.startswith(OF_MODEL) else digest(folder / item) for item in contract(name)["reads"]}
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
    found = read_if_sound(stamp_path(name, run))
    return found if isinstance(found.get("state"), str) else {}


def write_stamp(name, run, **facts) -> None:
    """Replace the stamp: ``state`` (running, done, failed, interrupted, hand) and what else is known."""
    stamp_path(name, run).parent.mkdir(parents=True, exist_ok=True)
    write_json(stamp_path(name, run), facts)


def is_held(run) -> bool:
    """Whether a process, this one included, executes a run now."""
    try:
        with open(run_folder(run) / ".lock", "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def describe(name, run) -> tuple[str, str]:
    """State of a notebook in a run (``stale`` and ``missing`` besides those of its stamp) and a sentence about it."""
    stamp = read_stamp(name, run)
    state, seconds = stamp.get("state", "missing"), f"{stamp.get('seconds', 0):.0f} s"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp.get("finished") or stamp.get("started") or 0))
    resumes = f"'medlab run {run}' goes on"
    if state == "done" and stamp.get("outdated"):
        return "stale", f"Made {when}. These numbers are not current: {stamp['outdated']}."
    if state == "running" and not is_held(run):
        return "interrupted", f"Started {when} and interrupted; {resumes}."
    return state, {
        "done": f"Finished {when} after {seconds}.",
        "failed": f"Failed {when} after {seconds}: {_short(stamp.get('error', ''))}",
        "interrupted": f"Interrupted {when} after {seconds}; {resumes}.",
        "running": f"Started {when}; not finished. {stamp.get('progress', '')}".strip(),
        "hand": f"Executed by hand since {when}; what is shown was made before. 'medlab run {run}' makes it anew.",
    }.get(state, "Not executed yet.")


def _short(error, most=300):
    """First line of an error, cut where it is long."""
    line = (error.strip().splitlines() or [""])[0]
    return line if len(line) <= most else f"{line[:most]} ..."


def restate(name, run) -> None:
    """Bring the status on the page of a notebook up to date; what is below it stays."""
    page = run_folder(run) / f"{name}.html"
    if page.exists():
        state, text = describe(name, run)
        said = f'<div class="status {state}"><b class="badge">{state}</b> <span>{html.escape(text)}</span></div>'
        write_text(page, STATUS.sub(lambda _: said, page.read_text(encoding="utf-8", errors="replace"), count=1))


def expected(run, params, data) -> dict[str, str]:
    """Notebooks whose numbers are not what they would be now, and why: stale ones, and those that read of them."""
    found, anew = {}, {}
    for name in (name for name in notebooks() if read_stamp(name, run)):
        upstream = [anew[item] for item in contract(name)["reads"] if item in anew]
        by_hand = [item for item in upstream if read_stamp(item, run).get("state") == "hand"]
        reason = why_stale(name, run, params, data) or (f"{by_hand[0]} was executed by hand" if by_hand else
                                                        f"{upstream[0]} is made anew" if upstream else "")
        if reason:
            found[name] = reason
            anew |= dict.fromkeys(contract(name)["writes"], name)
    return found


def set_outdated(name, run, reason) -> None:
    """Say in the stamp and on the page of a finished notebook why its numbers are not current (empty: they are)."""
    stamp = read_stamp(name, run)
    if stamp.get("state") == "done" and stamp.get("outdated", "") != reason:
        write_stamp(name, run, **{**stamp, "outdated": reason})
        restate(name, run)


def why_stale(name, run, params, data) -> str:
    """Why a notebook must run again, as a sentence; empty if its outputs are current."""
    stamp = read_stamp(name, run)
    if stamp.get("state") != "done":
        return {"hand": "was executed by hand", "failed": "failed before", "interrupted": "was interrupted",
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
