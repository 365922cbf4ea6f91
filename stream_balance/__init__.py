"""stream_balance: learns online from search and purchase events and balances them as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_balance.library import AutoClassifier, BalancedClassifier

__all__ = ["AutoClassifier", "BalancedClassifier"]


def __getattr__(name: str) -> Any:
    """What a library user wants is loaded when it is asked for: commands start without it."""
    if name in __all__:
        from stream_balance import library  # noqa: PLC0415  # see above

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
