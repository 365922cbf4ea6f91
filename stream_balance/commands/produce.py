"""`produce`: publishes an event log to the two topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from stream_balance.commands.options import Config, Set, gather
from stream_balance.commands.signals import stop_on_signals
from stream_balance.core.records import Search
from stream_balance.edge.codec import Codec
from stream_balance.edge.kafka import LogProducer, OutgoingRecord
from stream_balance.edge.logfile import LogRecord, read_events
from stream_balance.errors import WorldError
from stream_balance.service import EventPace
