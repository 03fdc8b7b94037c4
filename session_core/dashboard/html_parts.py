"""The pieces of a page that needs nothing else: sections, tables and folded parts, and the file around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from session_core.dashboard import figures


def whole(title: str, answer: str, sections: Iterable[str]) -> str:
    """One file with everything in it, the script that draws once; `sections` are written already."""
    template = Template(files("session_core.dashboard").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title), answer=escape(answer), plotly=figures.plotly_script(), sections="\n".join(sections)
    )


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def caption(text: str) -> str:
    return f"<p class=quiet>{escape(text)}</p>"


def folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """`rows` are cells that are written already."""
    top = f"<tr>{''.join(cell(escape(word), 'th') for word in head)}</tr>" if head else ""
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<div class=wide><table>{top}{body}</table></div>"


def cell(written: str, tag: str, kind: str = "") -> str:
    return f'<{tag} class="{kind}">{written}</{tag}>' if kind else f"<{tag}>{written}</{tag}>"
