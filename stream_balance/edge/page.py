"""Page: the live page at `/`, one self-contained document: no script, font or style from elsewhere."""

from importlib.resources import files


def page() -> str:
    """The document, read from the package."""
    return files("stream_balance.edge").joinpath("page.html").read_text(encoding="utf-8")
