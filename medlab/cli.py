"""The command line: ``medlab import``, ``medlab check``, ``medlab run``, ``medlab repeat``."""

import argparse
import os
import sys
import traceback

from medlab import storage


def main(arguments=None) -> int:
    """Entry point of the ``medlab`` command.

    Returns
    -------
    int
        0 on success, 1 if a notebook failed or a check found an error, 2 if the call was refused.
    """
    parser = argparse.ArgumentParser(prog="medlab", description="Research workbench for medical imaging and "
                                     "survival analysis. Research use only.")
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="make a dataset folder data/NAME from SOURCE", add_help=False,
                                    allow_abbrev=False)
    importing.add_argument("-h", "--help", action=_Manual, nargs=0)
    importing.add_argument("source")
    importing.add_argument("name")
    importing.add_argument("--kind")
    checking = commands.add_parser("check", help="say what is in data/NAME and what is wrong")
    checking.add_argument("name")
    checking.add_argument("--deep", action="store_true", help="compare every file with what was imported, by content")
    running = commands.add_parser("run", help="execute what is stale in reports/RUN")
    running.add_argument("runs", nargs="+", metavar="RUN")
    repeating = commands.add_parser("repeat", help="execute reports/RUN over folds and seeds, then compare", epilog=
                                    "Makes the runs RUN-f0-s0, ... (RUN-s0, ... without folds). Over many cores or a "
                                    "cluster: --only-write, then snakemake, then the same without --only-write.")
    repeating.add_argument("run", metavar="RUN")
    repeating.add_argument("--folds", type=int, default=0, metavar="K", help="folds by patient; 0: the run's own split")
    repeating.add_argument("--seeds", type=int, default=1, metavar="S", help="seeds 0 to S - 1 of each fold")
    repeating.add_argument("--jobs", type=int, default=1, metavar="J", help="runs executed at once")
    repeating.add_argument("--only-write", action="store_true", help="make the run folders, execute nothing")
    storage.keep_private()
    known, further = parser.parse_known_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that is not UTF-8 must not stop what is said about it
            stream.reconfigure(errors="backslashreplace")
    try:
        if known.command != "import" and further:
            parser.error(f"unknown argument {further[0]}")
        return {"import": _import, "check": _check, "run": _run, "repeat": _repeat}[known.command](known, further)
    except KeyboardInterrupt as interrupt:
        if not interrupt.args:  # else the engine has said what was interrupted and how it goes on
            more = "; the same command goes on where it was" if known.command in ("run", "repeat") else ""
            print(f"medlab: interrupted{more}", file=sys.stderr)
        return 130
    except Exception as problem:
        _complain(problem, known)
        return 2


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

    importers.import_source(known.source, known.name, kind=known.kind, **read_options(further))
    return 0


def _check(known, _):
    from medlab.cohorts import checks

    found = checks.check(known.name, deep=known.deep)
    for level, message in found:
        print(f"{level:8s} {storage.inert(message)}")
    return int(any(level == "error" for level, _ in found))


def _run(known, _):
    from medlab.engine import execute

    return 0 if execute.run_many(known.runs) else 1


def _repeat(known, _):
    from medlab.engine import repeats

    return 0 if repeats.repeat(known.run, known.folds, known.seeds, known.jobs, known.only_write) else 1


if __name__ == "__main__":
    sys.exit(main())
