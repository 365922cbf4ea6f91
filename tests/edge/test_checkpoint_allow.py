"""What may stand in a checkpoint: every state of ours, and nothing that could reach out."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import tree

from stream_balance.core.arms import registry
from stream_balance.core.arms.registry import MODELS
from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.allow import AllowList, NotAllowed, load, save
from stream_balance.errors import SettingsError
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import Settings
from stream_balance.testing import make_search
from tests.contract.streams import TABLE, core, pushed, pushed_rows, shop, table_rows


def saved(state: object, *trusted: str) -> bytes:
    target = io.BytesIO()
    save(state, target, AllowList(trusted))
    return target.getvalue()


def loaded(data: bytes, *trusted: str) -> Any:
    return load(io.BytesIO(data), AllowList(trusted))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_comes_back_through_the_list_and_goes_on_the_same(model: str) -> None:
    events = shop(120, seed=6, signal=1.0)
    settings = core(model={"name": model}, order={"disorder_max_s": 30.0}, threshold={"rule": "gmean_window"})
    whole = Pipeline(settings, 3, ("no", "bought"))
    pushed(whole, events[:80])
    again: Pipeline = loaded(saved(whole))
    assert again.state_digest() == whole.state_digest()
    for each in (whole, again):
        pushed(each, events[80:])
        each.run_out()
    assert again.state_digest() == whole.state_digest()
    assert again.report().document() == whole.report().document()


def test_tables_and_more_classes_come_back_too() -> None:
    pipeline = Pipeline(core(**TABLE, model={"name": "naive_bayes"}), 3, ("a", "b", "c"), delay_rows=20)
    pushed_rows(pipeline, table_rows(200, classes=3))
    assert loaded(saved(pipeline)).state_digest() == pipeline.state_digest()


def test_generators_and_arrays_come_back() -> None:
    for rng in (np.random.default_rng(3), np.random.Generator(np.random.MT19937(3)), np.random.RandomState(3)):
        again, state = loaded(saved((rng, {"x": np.float64(1.5), "a": np.arange(4).reshape(2, 2).T})))
        assert state["a"].tolist() == [[0, 2], [1, 3]]
        assert again.random(3).tolist() == rng.random(3).tolist()


class Calls:
    """Pickles as a call of something else."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def names(module: str, name: str) -> bytes:
    """A pickle that is nothing but a name."""
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)) + b"\x93."


ATTACKS: dict[str, Callable[[str], bytes]] = {
    "os.system": lambda path: pickle.dumps(Calls(os.system, f"touch {path}")),
    "eval": lambda path: pickle.dumps(Calls(eval, f"open({path!r}, 'w')")),
    "exec": lambda path: pickle.dumps(Calls(exec, f"open({path!r}, 'w')")),
    "open": lambda path: pickle.dumps(Calls(open, path, "w")),
    "Popen": lambda path: pickle.dumps(Calls(subprocess.Popen, ["touch", path])),
    "inside another": lambda path: pickle.dumps([{"state": defaultdict(list, x=Calls(os.system, f"touch {path}"))}]),
    "partial": lambda path: pickle.dumps(Calls(partial, os.system, f"touch {path}")),
    "getattr": lambda _: pickle.dumps(Calls(getattr, make_search(), "__class__")),
    "getattr of a class": lambda _: pickle.dumps(Calls(getattr, Pipeline, "__init__")),
    "import": lambda _: pickle.dumps(Calls(__import__, "os")),
    "our own function that imports": lambda _: pickle.dumps(Calls(registry._imported, "os:system")),
    "what a module of ours imports": lambda _: names("stream_balance.core.pipeline", "hashlib.sha256"),
    "a way through a class": lambda _: names("stream_balance.core.pipeline", "Pipeline.push.__globals__"),
    "a river function": lambda _: names("river.utils.pretty", "print_table"),
    "a river module that downloads": lambda _: names("river.datasets.phishing", "Phishing"),
    "numpy.load": lambda path: pickle.dumps(Calls(np.load, path)),
    "the edge": lambda _: names("stream_balance.edge.checkpoint.disk", "LocalDisk"),
    "a dunder module": lambda _: names("__main__", "anything"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_state_is_refused_before_anything_is_called(attack: str, tmp_path: Path) -> None:
    target = tmp_path / "touched"
    with pytest.raises(NotAllowed):
        loaded(ATTACKS[attack](str(target)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "named", [{"model": {"name": "antigravity:x"}}, {"arms": {"pairs": ("logistic:none", "antigravity:x:none")}}]
)
def test_a_class_of_ours_makes_no_model_of_a_module_that_is_not_trusted(named: dict[str, Any]) -> None:
    sys.modules.pop("antigravity", None)
    data = pickle.dumps(Calls(Pipeline, core(**named), 0, ("no", "bought")))
    with pytest.raises(SettingsError, match=r"'antigravity:x'.*trusted_modules"):
        loaded(data)
    assert "antigravity" not in sys.modules
    own = pickle.dumps(Calls(Pipeline, core(model={"name": f"{__name__}:OwnModel"}), 0, ("no", "bought")))
    assert isinstance(loaded(own, __name__), Pipeline)
    with pytest.raises(SettingsError, match="OwnModel"):
        loaded(own)


def test_a_state_whose_gan_asks_for_another_model_is_not_taken() -> None:
    settings = Settings.model_validate({"balance": {"strategy": "gan"}, "model": {"name": "logistic"}})
    pipeline = make_pipeline(settings)
    assert pipeline.retrain is not None
    pipeline.retrain._model = "antigravity:x"
    with pytest.raises(SettingsError, match=r"'antigravity:x', the settings name logistic"):
        Session(pipeline, settings)


def test_what_could_not_be_read_is_not_written() -> None:
    for thing in (os.system, Path("x"), partial(os.system, "x"), tree.HoeffdingTreeClassifier().learn_one, Calls):
        with pytest.raises(NotAllowed):
            saved({"state": [thing]})


class OwnModel(tree.HoeffdingTreeClassifier):
    """A factory of a user's module."""


def test_the_module_of_a_configured_factory_joins_the_list_and_no_other(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="OwnModel"):
        saved(OwnModel())
    data = saved(OwnModel(), __name__)
    assert isinstance(loaded(data, __name__), OwnModel)
    with pytest.raises(NotAllowed, match="OwnModel"):
        loaded(data)
    # It opens what it defines, not what it imports.
    with pytest.raises(NotAllowed):
        loaded(names(__name__, "subprocess.Popen"), __name__)
    assert sys.modules[__name__]
