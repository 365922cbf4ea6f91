"""Pages: the live page at `/`, the runbook at `/runbook`. Self-contained: no script, font or style from elsewhere."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

# path -> file in the package, content type
ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/runbook.css": ("runbook.css", "text/css"),
}


def asset(name: str) -> str:
    """A file of the package, as text."""
    return files("stream_balance.edge.assets").joinpath(name).read_text(encoding="utf-8")


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
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="runbook.css"></head>'
        f'<body><nav><a href="./">Live page</a></nav><main>{body}</main></body></html>'
    )


def _runbook_text() -> str:
    packaged = files("stream_balance.edge").joinpath("runbook.md")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    # A checkout: the packaged copy is made when a wheel is built.
    return (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
