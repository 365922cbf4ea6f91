"""Settings: one TOML file, then environment, then flags; the later wins. Gathers the rooms' settings, adds only a seed.

`STREAM_BALANCE__SECTION__KEY` sets `section.key`. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from stream_balance.core.lineup import named
from stream_balance.core.settings import CoreSettings
from stream_balance.edge.bad_share import BadShareSettings
from stream_balance.edge.checkpoint import CheckpointSettings
from stream_balance.edge.codec import WireSettings
from stream_balance.edge.fits import WorkersSettings
from stream_balance.edge.http_settings import HttpSettings
from stream_balance.edge.kafka import KafkaSettings
from stream_balance.edge.log_settings import LogSettings
from stream_balance.edge.privacy import PrivacySettings
from stream_balance.edge.recording import RecordSettings
from stream_balance.errors import SettingsError, did_you_mean
from stream_balance.simulation.shop import ShopSettings

ENV_PREFIX = "STREAM_BALANCE__"
_OUTCOMES = "Corrections are remembered by outcomes of the rarer kind now, not by rows: set 'calibrate.{}'."
RENAMED = {
    "calibrate.slow_decay": _OUTCOMES.format("slow_outcomes"),
    "calibrate.shape_decay": _OUTCOMES.format("shape_outcomes"),
    "calibrate.trust_discount": _OUTCOMES.format("trust_outcomes"),
}


class Settings(CoreSettings):
    """Everything that can be set: the core's rooms, those of the edge, the simulated shop, and the seed."""

    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    wire: WireSettings = WireSettings()
    bad: BadShareSettings = BadShareSettings()
    kafka: KafkaSettings = KafkaSettings()
    http: HttpSettings = HttpSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    log: LogSettings = LogSettings()
    privacy: PrivacySettings = PrivacySettings()
    record: RecordSettings = RecordSettings()
    workers: WorkersSettings = WorkersSettings()
    shop: ShopSettings = ShopSettings()

    def core(self) -> CoreSettings:
        """The part that steers the core: what a state digest depends on."""
        return CoreSettings(**{name: getattr(self, name) for name in CoreSettings.model_fields})


def _nearest(key: str, known: list[str]) -> str:
    return did_you_mean(key, known) or f" Known here: {', '.join(sorted(known))}."


def _known_keys(path: tuple[str, ...]) -> list[str]:
    model: Any = Settings
    for part in path:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def _explain(error: ErrorDetails, origin: str) -> str:
    path = tuple(str(part) for part in error["loc"])
    dotted = ".".join(path)
    if dotted in RENAMED:
        return f"{origin}: {dotted!r} is no setting any more. {RENAMED[dotted]}"
    if error["type"] == "extra_forbidden":
        return f"{origin}: unknown key {dotted!r}.{_nearest(path[-1], _known_keys(path[:-1]))}"
    return f"{origin}: {dotted!r} is {error['input']!r}: {error['msg']}."


def _merge(base: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """The file as nested dicts. Raises SettingsError naming the file and what is wrong with it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"settings file {str(path)!r} does not exist. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {str(path)!r} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {str(path)!r} is not TOML: {error}.") from error


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`STREAM_BALANCE__A__B=v` as {"a": {"b": v}}. Lists are written in TOML (`["a", "b"]`)."""
    found: dict[str, Any] = {}
    for name in sorted(environment):
        if name.upper().startswith(ENV_PREFIX):
            path = name[len(ENV_PREFIX) :].lower().split("__")
            found = _merge(found, nested(path, environment[name]))
    return found


def nested(path: list[str], text: str) -> dict[str, Any]:
    """A dotted path and its text as nested dicts; the text is read as TOML where it is TOML, else as a string."""
    try:
        value: Any = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    for part in reversed(path):
        value = {part: value}
    return dict(value)


def _with_lineup(settings: Settings) -> Settings:
    """With the strategy and the model that hold where none is named, so that they can be read and compared."""
    if settings.arms.pairs:
        return settings
    strategy, model = named(settings.balance.strategy, settings.model.name)
    return settings.model_copy(
        update={
            "balance": settings.balance.model_copy(update={"strategy": strategy}),
            "model": settings.model.model_copy(update={"name": model}),
        }
    )


def _refuse_one_arm(pairs: Iterable[str], layers: Iterable[Mapping[str, Any]]) -> None:
    """Raise SettingsError for a strategy or a model named in the layer that names `pairs`, or in one above it: they
    would mean nothing. Pairs above a strategy or a model take their place.
    """
    beside: dict[str, None] = {}
    for layer in layers:
        if _named_in(layer, "arms", "pairs") is not None:
            beside = {}
        for section, key, flag in (("balance", "strategy", "strategy"), ("model", "name", "model")):
            if _named_in(layer, section, key) is not None:
                beside[f"{section}.{key} (--{flag})"] = None
    if pairs and beside:
        raise SettingsError(
            f"arms.pairs ({', '.join(pairs)}) names the model and the strategy of each arm; {' and '.join(beside)} "
            "would mean nothing. Leave out the one or the other (--set arms.pairs=[])."
        )


def _named_in(layer: Mapping[str, Any], section: str, key: str) -> Any:
    values = layer.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def load(
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from file, environment and flags (nested dicts). Raises SettingsError with one line per mistake."""
    file = read_toml(path) if path is not None else {}
    variables = read_environment(os.environ if environment is None else environment)
    merged = _merge(_merge(file, variables), flags or {})
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        origin = str(path) if path is not None else "settings"
        raise SettingsError("\n".join(_explain(detail, origin) for detail in error.errors())) from None
    _refuse_one_arm(settings.arms.pairs, (file, variables, flags or {}))
    return _with_lineup(settings)
