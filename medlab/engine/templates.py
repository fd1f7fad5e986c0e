"""Templates of the pages: Jinja files of this folder, everything that comes from data escaped."""

from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).parent
NOTICE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."


@lru_cache
def _environment():
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    styles = {name: (HERE / f"{name}.css").read_text(encoding="utf-8") for name in ("answer", "style")}
    environment.globals.update(notice=NOTICE, style="\n".join(styles.values()), answer_style=styles["answer"])
    return environment


def render(template, **values) -> str:
    """HTML of a template of this folder, such as ``"page.html.j2"``."""
    return _environment().get_template(template).render(**values)
