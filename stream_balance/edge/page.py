"""Pages: the live page at `/`, the runbook at `/runbook`. Self-contained: no script, font or style from elsewhere."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

_STYLE = """
:root{color-scheme:light dark}
body{max-width:46rem;margin:0 auto;padding:1rem 1.2rem 4rem;font:16px/1.55 system-ui,sans-serif}
h2{margin-top:2.2rem;padding-top:.4rem;border-top:1px solid #8884}code{font-size:.92em}a{color:LinkText}
:target{background:#fd06;outline:.4rem solid #fd06}
"""


def page() -> str:
    """The live page, read from the package."""
    return files("stream_balance.edge").joinpath("page.html").read_text(encoding="utf-8")


def slug(heading: str) -> str:
    """The anchor of a heading, as code forges make it.

    >>> slug("One class only")
    'one-class-only'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def runbook() -> str:
    """The runbook as HTML with an anchor at each heading."""
    markdown = MarkdownIt("commonmark")
    tokens = markdown.parse(_runbook_text())
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", slug(inline.content))
    body = markdown.renderer.render(tokens, markdown.options, {})
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Runbook</title>'
        f"<style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def _runbook_text() -> str:
    packaged = files("stream_balance.edge").joinpath("runbook.md")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    # A checkout: the packaged copy is made when a wheel is built.
    return (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
