"""Privacy: user ids as keyed hashes, made at the door. In: settings, a key file. Out: a function from id to hash.

Behind the codec nobody sees the id itself: not memory, checkpoint, predictions, logs or metrics. Equal ids have equal
hashes under one key, so the join and the features are the same; without the key a hash cannot be tried out. Records
that cannot be read go to the dead letters as they came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from stream_balance.core.records import RoomSettings
from stream_balance.errors import SettingsError

KEY_BYTES_MIN = 16
KEY_BYTES_MAX = 64


class PrivacySettings(RoomSettings):
    """Whether user ids are hashed, and with which key. Another key is another user for everyone."""

    hash_user_ids: bool = False
    key_file: Path | None = Field(default=None)  # 16 to 64 bytes; a trailing line end is cut off

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hash_user_ids and self.key_file is None:
            raise ValueError("hash_user_ids needs key_file, a file with 16 to 64 random bytes")
        return self


def user_hasher(settings: PrivacySettings) -> Callable[[str], str] | None:
    """id -> 32 hexadecimal digits of keyed BLAKE2b (RFC 7693); None = ids are left alone. Raises SettingsError."""
    if not settings.hash_user_ids:
        return None
    assert settings.key_file is not None, "checked at birth"
    try:
        key = settings.key_file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise SettingsError(f"privacy.key_file cannot be read: {error.strerror}.") from error
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise SettingsError(
            f"privacy.key_file has {len(key)} bytes, expected {KEY_BYTES_MIN} to {KEY_BYTES_MAX}. "
            "Make one with: openssl rand -hex 16"
        )
    keyed = hashlib.blake2b(key=key, digest_size=16)

    def hashed(user_id: str) -> str:
        digest = keyed.copy()
        digest.update(user_id.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    return hashed
