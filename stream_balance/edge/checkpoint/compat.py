"""Compatibility: may this checkpoint go on under these settings and libraries? In: its header, and what is now.
Out: nothing, or a refusal that says what differs and what to do.

What counts is what the state depends on: the core's settings, the seed, the classes, how a table is read. Log level,
paths, ports and addresses may change. A setting that came with a newer version counts as its default; one that went
counts only if it had been chosen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from stream_balance.edge.checkpoint.format import Header
from stream_balance.errors import SettingsError

NAMED_MAX = 10  # differences named in a message
# What settings that went were by default, for files that do not say what had been chosen.
_GONE = {"core.calibrate.shape_decay": 0.99995, "core.calibrate.trust_discount": 0.9999}
_BEGIN_AGAIN = "or name an empty folder to begin again"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of the settings, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def check_settings(header: Header, settings: Mapping[str, Any], defaults: Mapping[str, Any], name: str) -> None:
    """Raise SettingsError if the state was made under other settings."""
    if header.settings_hash == settings_hash(settings):
        return
    then, now = _flat(header.settings), {**_flat(settings)}
    fallback = _flat(defaults)
    different, moved, gone = [], [], []
    for key in sorted(then.keys() | now.keys()):
        was, is_ = then.get(key, fallback.get(key)), now.get(key)
        if was == is_:
            continue
        if key not in now:
            if key in header.chosen if header.chosen is not None else was != _GONE.get(key, was):
                gone.append(f"{key.removeprefix('core.')} = {json.dumps(was)}")
            continue
        by_default = is_ == fallback.get(key) and key not in (header.chosen or ())
        note = ""
        if by_default:
            moved.append(f"{key.removeprefix('core.')} = {json.dumps(was)}")
            note = " (the default, which has changed)" if header.chosen is not None else " (the default now)"
        different.append(f"{key} was {json.dumps(was)}, is {json.dumps(is_)}{note}")
    if gone:
        raise SettingsError(
            f"{name} was made under settings that this version does not know any more: {'; '.join(gone[:NAMED_MAX])}. "
            f"Its state cannot go on without. Start the version that wrote it, {_BEGIN_AGAIN}."
        )
    if not different:
        return
    more = f"; and {len(different) - NAMED_MAX} more" if len(different) > NAMED_MAX else ""
    raise SettingsError(
        f"{name} was made under other settings: {'; '.join(different[:NAMED_MAX])}{more}. Its state cannot go on under "
        f"these. {_set_back(moved, sure=header.chosen is not None)}Set them back, {_BEGIN_AGAIN}."
    )


def chosen(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Names of the settings that are not their defaults."""
    fallback = _flat(defaults)
    return sorted(key for key, value in _flat(settings).items() if fallback.get(key) != value)


def _set_back(moved: list[str], *, sure: bool) -> str:
    """What to write where nobody changed a setting, but the version its default."""
    if not moved:
        return ""
    why = "This version has other defaults" if sure else "If you never set them, their defaults have changed"
    return f"{why}: go on as before with {'; '.join(moved[:NAMED_MAX])} in the settings. "


def check_input(header: Header, input_: str, name: str) -> None:
    """Raise SettingsError if the position is one in another kind of input."""
    if header.input != input_:
        raise SettingsError(
            f"{name} belongs to a {_KINDS.get(header.input, header.input)}, this is a {_KINDS[input_]}. Name another "
            "folder."
        )


_KINDS = {"kafka": "run over Kafka", "log": "replay of a log", "table": "replay of a table"}

# How far apart two versions may be: how many leading numbers must agree.
_AGREE = {"river": 2, "numpy": 1, "python": 2}
_FITTING = ("scikit_learn", "torch")  # make what enters the state, and are not in it


def check_versions(header: Header, versions: Mapping[str, str], name: str, *, accept: bool) -> list[str]:
    """Raise SettingsError if libraries whose objects are in the state are too different; return what differs at all."""
    different = [
        f"{library} {then} -> {versions[library]}"
        for library, then in sorted(header.versions.items())
        if library in versions and versions[library] != then
    ]
    too_far = [
        f"{library} {header.versions[library]} (here {versions.get(library, 'none')})"
        for library, parts in _AGREE.items()
        if library in header.versions
        and header.versions[library].split(".")[:parts] != versions.get(library, "").split(".")[:parts]
    ]
    if too_far and not accept:
        raise SettingsError(
            f"{name} was written with {', '.join(too_far)}, whose objects are part of the state. Install those "
            f"versions, or set checkpoint.accept_versions if you have tried it, {_BEGIN_AGAIN}."
        )
    return different


def consequence(different: list[str]) -> str:
    """What may come of versions that differ and are taken."""
    if any(each.split(" ")[0] in _FITTING for each in different):
        return "what the booster and the GAN come to may be another thing than it would have been"
    return "figures may differ in their last bits"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
