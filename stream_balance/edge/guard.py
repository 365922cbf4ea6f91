"""Guard: who may ask, and how much. In: a request's headers and body. Out: yes, or a refusal with its reason.

With a token set, everything but the probes `/health` and `/ready` asks for it: `Authorization: Bearer TOKEN`, or Basic
with the token as password, which is what a browser's own dialog sends.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path

from stream_balance.errors import SettingsError

OPEN = frozenset({"/health", "/ready"})
TOKEN_CHARACTERS_MIN = 16


class Refused(Exception):  # noqa: N818  # an answer, not a failure
    """A request that is not answered: HTTP status, a short reason, and what to do."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def read_token(path: Path | None) -> str | None:
    """The token in a file; None = none is asked for. Raises SettingsError if it cannot be read or is too short."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"http.token_file cannot be read: {error}.") from error
    if len(token) < TOKEN_CHARACTERS_MIN:
        raise SettingsError(
            f"http.token_file has {len(token)} characters, expected {TOKEN_CHARACTERS_MIN} or more. "
            "Make one with: openssl rand -hex 24"
        )
    return token


def check_token(token: str | None, path: str, authorization: str | None) -> None:
    """Return if the request may pass. Raises Refused 401. The comparison takes the same time wherever they differ."""
    if token is None or path in OPEN:
        return
    kind, _, given = (authorization or "").partition(" ")
    if kind.lower() == "basic":
        try:
            given = b64decode(given, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    elif kind.lower() != "bearer":
        given = ""
    if not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refused(401, "unauthorized", "a token is asked for: send 'Authorization: Bearer TOKEN'")


async def read_body(chunks: AsyncIterator[bytes], bytes_max: int) -> bytes:
    """The whole body. Raises Refused 413 as soon as it is too long."""
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) > bytes_max:
            raise Refused(413, "too_large", f"request has more than {bytes_max} bytes")
    return body
