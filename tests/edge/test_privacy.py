"""Privacy: hashed user ids change nothing but themselves, and no id passes the door."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stream_balance.edge.logfile import read_events
from stream_balance.edge.privacy import PrivacySettings, user_hasher
from stream_balance.errors import SettingsError
from stream_balance.service import Session, drive, make_codec, make_pipeline
from stream_balance.settings import Settings, load


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcdef\n")
    return path


def hashed(key_file: Path) -> Settings:
    privacy = {"hash_user_ids": True, "key_file": str(key_file)}
    return load(flags={"join": {"window_s": 300}, "privacy": privacy})


def run(settings: Settings, log: Path) -> tuple[dict[str, Any], set[str]]:
    users: set[str] = set()
    session = Session(make_pipeline(settings), settings, publish=lambda scored: users.add(scored.user_id))
    drive(islice(read_events([log], make_codec(settings)), 2000), session, threading.Event())
    return session.end(), users


def test_every_figure_is_the_same_with_hashed_ids(shop_log: Path, key_file: Path) -> None:
    plain, users = run(load(flags={"join": {"window_s": 300}}), shop_log)
    hidden, hashes = run(hashed(key_file), shop_log)
    for part in ("events", "examples", "metrics", "ranking", "exposure", "training", "drift"):
        assert hidden[part] == plain[part]
    assert len(hashes) == len(users)
    assert not hashes & users
    assert all(len(each) == 32 for each in hashes)


def test_another_key_is_another_hash(tmp_path: Path, key_file: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"fedcba9876543210")
    settings = [PrivacySettings(hash_user_ids=True, key_file=path) for path in (key_file, other)]
    first, second = (user_hasher(each) for each in settings)
    assert first is not None
    assert second is not None
    assert first("u1") == first("u1") != second("u1")


@pytest.mark.parametrize("content", [b"short\n", b"x" * 65])
def test_a_key_of_the_wrong_length_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="16 to 64"):
        user_hasher(PrivacySettings(hash_user_ids=True, key_file=path))


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        user_hasher(PrivacySettings(hash_user_ids=True, key_file=tmp_path / "none"))
    with pytest.raises(ValidationError, match="needs key_file"):
        PrivacySettings(hash_user_ids=True)


def test_without_the_setting_nothing_is_hashed() -> None:
    assert user_hasher(PrivacySettings()) is None
