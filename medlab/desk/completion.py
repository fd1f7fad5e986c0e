"""What a shell completes after ``medlab``: a small script, made from the parser of the command line."""

import argparse
import re

SCRIPT = """_medlab() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then words="{commands}"; else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=( $(compgen -W "$words" -- "$word") )
  if [ "${{COMP_WORDS[1]}}" = import ] && [ "$COMP_CWORD" -gt 1 ]; then COMPREPLY+=( $(compgen -f -- "$word") ); fi
}}
complete -F _medlab medlab"""
NAMES = {"NAME": "data", "RUN": "reports"}  # words of a usage that name a folder below these


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for a shell.

    Parameters
    ----------
    shell : {"bash", "zsh"}
    parser : of the command line; its commands, their options and arguments are completed
    """
    every = parser.get_default("commands")
    cases = [f'      {name}) words="{_words(name, one.format_help())}" ;;' for name, one in every.items()]
    text = SCRIPT.format(commands=" ".join([*every, "--version", "--help"]), cases="\n".join(cases))
    return f"autoload -U +X bashcompinit && bashcompinit\n{text}" if shell == "zsh" else text


def _words(name, said):
    """Options of a command, those of the importers and notebooks with them, and the names of datasets or runs."""
    usage, words = said.partition("\n\n")[0], re.findall(r"--[a-z-]+|(?<=\{)[a-z,]+(?=\})", said)
    places = sorted({place for word, place in NAMES.items() if re.search(rf"\b{word}\b", usage)})
    listed = [f"$(cd {place} 2>/dev/null && ls -d */ 2>/dev/null | tr -d /)" for place in places]
    return " ".join([*dict.fromkeys(" ".join([*words, *_further(name)]).replace(",", " ").split()), *listed])


def _further(name):
    """Options that the parser does not know: of imports by their kinds, of runs by the notebooks."""
    if name == "new":
        from medlab.engine.parameters import known_parameters

        return [f"--{key.replace('_', '-')}" for key in known_parameters() if key != "run"]
    if name == "import":
        from medlab.intake import arguments, importers

        own = [option for function in importers.KINDS.values() for option in arguments.of_kind(function)]
        return [f"--{key.replace('_', '-')}" for key in [*arguments.COMMON, *own]]
    return []
