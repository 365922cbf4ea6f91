"""Settings of the Kafka edge."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stream_balance.core.records import RoomSettings


class KafkaSettings(RoomSettings):
    """Where the broker is, what the topics are called, how long an outage is borne, how much is buffered.

    Memory per partition: `buffer_records_max` records (or `buffer_bytes_max`), as many again at most from the poll that
    fills it, and what the client holds: two fetches of `fetch_bytes_max`.
    """

    bootstrap: str = Field(default="127.0.0.1:9092", min_length=1)  # host:port, several separated by commas
    search_topic: str = Field(default="search-events", min_length=1)
    purchase_topic: str = Field(default="purchase-events", min_length=1)
    predictions_topic: str = Field(default="predictions", min_length=1)
    dead_letter_suffix: str = Field(default=".dead", min_length=1)
    create_output_topics: bool = True  # predictions and dead letters, when they are missing
    replication_factor: int = Field(default=-1, ge=-1)  # of topics we create; -1 = the broker's default
    group_id: str = Field(default="stream-balance", min_length=1)  # whose committed offsets we read and write

    # The state lives in the process, so a restart begins again. "committed" goes on where offsets were committed.
    start: Literal["earliest", "committed"] = "earliest"
    accept_data_loss: bool = False  # go on behind a gap that retention has torn

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None  # read when connecting; a trailing line end is cut off
    ssl_ca_file: Path | None = None  # None = the system's

    poll_records_max: PositiveInt = 500  # handed out per poll; a group of equal times is not cut
    fetch_bytes_max: PositiveInt = 262_144  # per partition and fetch; a larger single record still comes through
    fetch_wait_s: PositiveFloat = 0.1  # how long the broker holds back an empty answer
    buffer_records_max: int = Field(default=5_000, ge=2)  # per partition; beyond it the partition is not fetched
    buffer_bytes_max: int = Field(default=8_388_608, ge=2)  # the same in bytes of values
    request_bytes_max: PositiveInt = 1_048_576  # a larger record cannot be sent
    unacknowledged_max: PositiveInt = 10_000  # records on their way to the broker; beyond it sending waits
    unacknowledged_bytes_max: PositiveInt = 67_108_864  # the same in bytes of keys and values

    connect_max_s: PositiveFloat = 30.0  # how long to look for the broker at start
    outage_max_s: PositiveFloat = 300.0  # how long it may be away while running
    probe_every_s: PositiveFloat = 5.0  # how often the brokers are asked whether they are there
    topics_every_s: PositiveFloat = 30.0  # how often topics are looked at: created anew, partitions added
    backoff_min_s: PositiveFloat = 0.1
    backoff_max_s: PositiveFloat = 5.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        for address in self.bootstrap.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError(f"bootstrap has {address.strip()!r}, expected host:port, several separated by commas")
        if self.search_topic == self.purchase_topic:
            raise ValueError(f"search_topic and purchase_topic are both {self.search_topic!r}; they must differ")
        if self.backoff_min_s > self.backoff_max_s:
            raise ValueError(f"backoff_min_s is {self.backoff_min_s}, above backoff_max_s {self.backoff_max_s}")
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_mechanism and self.sasl_username and self.sasl_password_file
        ):
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password_file"
            )
        return self

    @property
    def topics(self) -> tuple[str, str]:
        """The two input topics, searches first."""
        return self.search_topic, self.purchase_topic

    def dead_letter_topic(self, topic: str) -> str:
        """Where the bad records of a topic go."""
        return topic + self.dead_letter_suffix
