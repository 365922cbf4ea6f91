"""Patience: is the broker there, since when not, and how long is that borne. In: answers and silences. Out: when to ask
again, or a WorldError. The client itself says nothing in an outage, so it is asked every `probe_every_s`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from stream_balance.edge.backoff import Backoff
from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.errors import WorldError


class Patience:
    """Counts outages (`reconnects`, those that ended) and their length (`outage_s`); ends them at `outage_max_s`."""

    def __init__(self, settings: KafkaSettings, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._now_s = now_s
        self._backoff = Backoff(min_s=settings.backoff_min_s, max_s=settings.backoff_max_s, rng=random.Random())
        self._ask_at_s = now_s() + settings.probe_every_s
        self._away_since_s: float | None = None
        self._past_s = 0.0
        self._last: str = ""
        self.reconnects = 0

    @property
    def is_away(self) -> bool:
        """Whether the broker is away, as far as we know."""
        return self._away_since_s is not None

    @property
    def outage_s(self) -> float:
        """Seconds without broker so far, the present outage included."""
        return self._past_s + (0.0 if self._away_since_s is None else self._now_s() - self._away_since_s)

    @property
    def trouble(self) -> str | None:
        """The present outage in a sentence."""
        if self._away_since_s is None:
            return None
        return self._told(self._now_s() - self._away_since_s)

    def _told(self, away_s: float) -> str:
        return (
            f"Kafka at {self._settings.bootstrap} has been away for {away_s:.0f} s, at most "
            f"{self._settings.outage_max_s:g} s are borne (kafka.outage_max_s): {self._last}."
        )

    def is_time_to_ask(self) -> bool:
        """Whether the brokers should be asked if they are there."""
        return self._now_s() >= self._ask_at_s

    def answered(self) -> None:
        """They are there."""
        self._ask_at_s = self._now_s() + self._settings.probe_every_s
        self._backoff.reset()
        if self._away_since_s is not None:
            self._past_s += self._now_s() - self._away_since_s
            self.reconnects += 1
            self._away_since_s = None

    def failed(self, error: BaseException) -> float:
        """No answer, or a wrong one. Returns how long to wait in seconds; raises WorldError at the limit."""
        now_s = self._now_s()
        if self._away_since_s is None:
            self._away_since_s = now_s
        self._last = client.explain(error)
        away_s = now_s - self._away_since_s
        if away_s >= self._settings.outage_max_s:
            raise WorldError(self._told(away_s)) from error
        wait_s = self._backoff.next_s()
        self._ask_at_s = now_s + wait_s
        return wait_s
