"""The command line: ``medlab import``, ``check``, ``new``, ``run``, ``open`` and what else `commands` lists."""

import argparse
import os
import sys
import traceback

from medlab import __version__, storage


def main(arguments=None) -> int:
    """Entry point of the ``medlab`` command.

    Returns
    -------
    int
        0 on success, 1 if a notebook failed or a check found an error, 2 if the call was refused.
    """
    parser = commands()
    storage.keep_private()
    known, further = parser.parse_known_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that is not UTF-8 must not stop what is said about it
            stream.reconfigure(errors="backslashreplace")
    try:
        if known.command not in ("import", "new", "lab") and further:
            parser.error(f"unknown argument {further[0]}")
        return known.function(known, further)
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:  # else the engine has said what was interrupted and how it goes on
            more = "; the same command goes on where it was" if known.command in ("run", "repeat") else ""
            print(f"medlab: interrupted{more}", file=sys.stderr)
        return 130
    except Exception as problem:
        _complain(problem, known)
        return 2


def commands() -> argparse.ArgumentParser:
    """The parser of the command line: a command each with its options, its help and its function."""
    parser = argparse.ArgumentParser(prog="medlab", description="Research workbench for medical imaging and "
                                     "survival analysis. Research use only.")
    parser.add_argument("--version", action="version", version=f"medlab {__version__}")
    every = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parser.set_defaults(commands=every.choices)

    def command(function, name, said, *words, **options):
        one = every.add_parser(name, help=said, description=f"{said[0].upper()}{said[1:]}.", **options)
        one.set_defaults(function=function)
        for word in words:
            one.add_argument(word, metavar=word.upper())
        return one

    importing = command(_import, "import", "make a dataset folder data/NAME from SOURCE", "source", "name",
                        add_help=False, allow_abbrev=False)
    importing.add_argument("-h", "--help", action=_Manual, nargs=0)
    importing.add_argument("--kind")
    checking = command(_check, "check", "say what is in data/NAME and what is wrong", "name")
    checking.add_argument("--deep", action="store_true", help="compare every file with what was imported, by content")
    making = command(_new, "new", "make the run reports/RUN with its params.yaml", "run", allow_abbrev=False, epilog=
                     "Parameters of the notebooks are options: medlab new first --dataset eyes --epochs 5")
    making.add_argument("--dataset", required=True, metavar="NAME")
    running = command(_run, "run", "execute what is stale in reports/RUN")
    running.add_argument("runs", nargs="+", metavar="RUN")
    repeating = command(_repeat, "repeat", "execute reports/RUN over folds and seeds, then compare", "run", epilog=
                        "Makes the runs RUN-f0-s0, ... (RUN-s0, ... without folds). Over many cores or a "
                        "cluster: --only-write, then snakemake, then the same without --only-write.")
    repeating.add_argument("--folds", type=int, default=0, metavar="K", help="folds by patient; 0: the run's own "
                           "split, or each of its sites held out once (split: site:COLUMN)")
    repeating.add_argument("--seeds", type=int, default=1, metavar="S", help="seeds 0 to S - 1 of each fold")
    repeating.add_argument("--jobs", type=int, default=1, metavar="J", help="runs executed at once")
    repeating.add_argument("--only-write", action="store_true", help="make the run folders, execute nothing")
    command(_list, "list", "list the datasets and the runs")
    command(_open, "open", "show the pages of a run in the browser", "run")
    lab = command(_lab, "lab", "open JupyterLab on the project, with working copies of the notebooks", epilog=
                  "Further options are JupyterLab's own, such as --no-browser or --port 8889.")
    lab.add_argument("runs", nargs="*", metavar="RUN", help="runs to make working copies of; default: all but repeats")
    lab.add_argument("--allow-root", action="store_true", help="also as root, as in a container")
    working = command(_work, "work", "make working copies of the notebooks of a run, reports/RUN/copies/", "run")
    working.add_argument("notebooks", nargs="*", metavar="NN", help="numbers; default: all that the data allow")
    command(_diff, "diff", "show what was changed by hand in the working copies of a run", "run")
    command(_keep, "keep", "take a change of a working copy back into notebooks/", "run", "notebook")
    completing = command(_completion, "completion", "print what completes these commands in a shell", epilog=
                         "bash: medlab completion bash >> ~/.bashrc   zsh: medlab completion zsh >> ~/.zshrc")
    completing.add_argument("shell", choices=("bash", "zsh"))
    return parser


def _complain(problem, known):
    """A refusal as it is said; anything else as a sentence about the file being read, its traceback on demand."""
    from medlab.intake import problems

    if os.environ.get("MEDLAB_DEBUG"):
        traceback.print_exception(problem)
    if not problems.is_ours(problem):
        problem = problems.explained(problem, getattr(known, "source", None), f"medlab {known.command}")
    print(f"medlab: {storage.inert(problem)}", file=sys.stderr)


class _Manual(argparse.Action):
    """``medlab import --help``: the options as the importers define them."""

    def __call__(self, parser, *_):
        from medlab.intake import manual

        print(manual.text())
        parser.exit()


def read_options(words) -> dict:
    """Options ``--some-name value`` as keyword arguments: values are text, a lone option is true.

    What is a number or takes no value is known to the importers, so that a column may be called No and a sheet 2021.

    Examples
    --------
    >>> read_options(["--mask-classes", "liver:1", "--seed=3", "--key", "No", "--overwrite"])
    {'mask_classes': 'liver:1', 'seed': '3', 'key': 'No', 'overwrite': True}
    """
    options, name = {}, None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, told, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if name in options:
                raise ValueError(f"--{name.replace('_', '-')} is given twice; several values are one list: a,b")
            options[name] = value if told else True
        elif name and options[name] is True:
            options[name] = word
        else:
            raise ValueError(f"unexpected argument {word!r}; options are written --name value")
    return options


def _import(known, further):
    from medlab.intake import importers

    options = read_options(further)
    importers.import_source(known.source, known.name, kind=known.kind, **options)
    if not options.get("dry_run"):
        print(f"next: medlab check {known.name}")
    return 0


def _check(known, _):
    from medlab.desk import steps

    sound = steps.check(known.name, deep=known.deep)
    print(f"next: medlab new RUN --dataset {known.name}" if sound else
          f"next: correct what is marked error, then: medlab check {known.name}")
    return int(not sound)


def _new(known, further):
    from medlab.desk import steps

    steps.new_run(known.run, known.dataset, **steps.as_values(read_options(further)))
    print(f"next: medlab run {known.run}")
    return 0


def _run(known, _):
    from medlab.engine import execute

    done = execute.run_many(known.runs)
    if done:
        print(f"next: medlab open {known.runs[0]}", file=sys.stderr)
    return int(not done)


def _repeat(known, _):
    from medlab.engine import repeats

    return 0 if repeats.repeat(known.run, known.folds, known.seeds, known.jobs, known.only_write) else 1


def _list(*_):
    from medlab.desk import steps

    steps.overview()
    return 0


def _open(known, _):
    import webbrowser

    from medlab.engine.parameters import run_folder

    page = run_folder(known.run) / "index.html"
    if not page.exists():
        raise ValueError(f"reports/{known.run}/index.html does not exist yet; it is made by: medlab run {known.run}")
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    print(page if screen and webbrowser.open(page.as_uri()) else f"no browser here; open {page}")
    return 0


def _lab(known, further):
    from medlab.desk import server

    words = server.command(known.allow_root, further)
    for line in server.prepare(known.runs):
        print(storage.inert(line), file=sys.stderr)
    sys.stdout.flush()
    os.execve(words[0], words, server.environment())


def _work(known, _):
    from medlab.desk import changes

    print(*changes.open_copies(known.run, known.notebooks), sep="\n")
    return 0


def _diff(known, _):
    from medlab.desk import changes

    print(changes.difference(known.run) or f"nothing was changed in the working copies of {known.run}")
    return 0


def _keep(known, _):
    from medlab.desk import changes

    print(*changes.keep(known.run, changes.numbered(known.notebook)), sep="\n")
    return 0


def _completion(known, _):
    from medlab.desk import completion

    print(completion.script(known.shell, commands()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
