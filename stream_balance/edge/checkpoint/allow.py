"""Allow: what may stand in a checkpoint. In: state to save, bytes to load. Out: bytes, state, or a refusal by name.

A pickle can name any function of any module and have it called. Here a name is found only if it is on the list:
classes that our core and River define, numpy's constructors of arrays and generators, plain containers, and whatever
the modules define that the settings name. Functions are listed one by one; none of them can reach a file, a process
or another module. Saving keeps to the same list, so that nothing is written that could not be read.
"""

from __future__ import annotations

import importlib
import pickle
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO, Protocol

from stream_balance.core.arms.registry import factories_from

Name = tuple[str, str]  # module, qualified name

# Classes defined in these modules and packages.
PACKAGES = (
    "stream_balance.core",
    *(f"river.{package}" for package in (
        "_river_rust", "base", "compose", "covariance", "drift", "dummy", "ensemble", "facto", "feature_extraction",
        "feature_selection", "forest", "imblearn", "linear_model", "metrics", "misc", "multiclass", "multioutput",
        "naive_bayes", "neighbors", "optim", "preprocessing", "proba", "rules", "stats", "tree", "utils",
    )),
)  # fmt: skip
# These, one by one.
NAMES: frozenset[Name] = frozenset(
    [
        *(("builtins", name) for name in (
            "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range",
            "set", "slice", "str", "tuple",
        )),
        *(("collections", name) for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
        ("datetime", "datetime"), ("datetime", "timedelta"), ("datetime", "timezone"),
        ("functools", "partial"),
        ("random", "Random"),
        ("numpy", "dtype"), ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.random._pickle", "__bit_generator_ctor"), ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random._pickle", "__randomstate_ctor"),
        *((f"numpy.random._{name.lower()}", name) for name in ("MT19937", "PCG64", "Philox", "SFC64")),
        ("numpy.random.bit_generator", "SeedSequence"),
        ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
        ("river.naive_bayes.gaussian", "GaussianNB._make_gaussian"),
        ("stream_balance.edge.checkpoint.from_1", "FormerLine"),  # hold numbers, do nothing
        ("stream_balance.edge.checkpoint.from_1", "FormerStraightener"),
        ("stream_balance.edge.checkpoint.from_1", "FormerTrust"),
    ]
)  # fmt: skip
# Methods that an object may hold bound to itself.
METHODS: Mapping[Name, frozenset[str]] = {
    ("river.ensemble.bagging", "LeveragingBaggingClassifier"): frozenset(
        f"_leveraging_{kind}" for kind in ("bag", "half", "me", "subag", "wt")
    ),
}
GETATTR: Name = ("builtins", "getattr")


class NotAllowed(pickle.PickleError):
    """A name that may not stand in a checkpoint."""

    def __init__(self, name: Name) -> None:
        super().__init__(f"{name[0]}.{name[1]}")
        self.name = ".".join(name)


class AllowList:
    """What may be named: the list above, and what `trusted` modules define."""

    def __init__(self, trusted: Collection[str] = ()) -> None:
        self.trusted = frozenset(trusted)

    def find(self, name: Name) -> Any:
        """The thing of that name. Raises NotAllowed; AttributeError or ImportError if it might, but is not there."""
        module_name, qualified = name
        if name not in NAMES and not self._is_open(module_name):
            raise NotAllowed(name)
        found: Any = importlib.import_module(module_name)
        for part in qualified.split("."):
            found = getattr(found, part)
        if not self.allows(found, name):
            raise NotAllowed(name)
        return found

    def allows(self, found: object, name: Name) -> bool:
        """Whether this thing may be called by that name."""
        if name in NAMES:
            return True
        # Defined there, not merely imported there: else every module would bring what it imports.
        if not self._is_open(name[0]) or _name_of(found) != name:
            return False
        return isinstance(found, type) or name[0] in self.trusted

    def _is_open(self, module_name: str) -> bool:
        return module_name in self.trusted or _below(module_name)


def _below(module_name: str) -> bool:
    return any(module_name == package or module_name.startswith(package + ".") for package in PACKAGES)


def _name_of(found: object) -> Name:
    return str(getattr(found, "__module__", None)), str(getattr(found, "__qualname__", None))


def _method(owner: object, name: str) -> types.MethodType:
    """Stands for getattr: a listed method, bound to its own object."""
    kind = type(owner)
    if name not in METHODS.get(_name_of(kind), ()):
        raise NotAllowed((f"{kind.__module__}.{kind.__qualname__}", name))
    return types.MethodType(getattr(kind, name), owner)


class Writable(Protocol):
    """Takes bytes."""

    def write(self, data: Any, /) -> int: ...


class _Pickler(pickle.Pickler):
    """Names of classes and functions are checked; instances come here too, and go their usual way."""

    def __init__(self, target: Writable, allowed: AllowList) -> None:
        super().__init__(target, protocol=5)
        self._allowed = allowed

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, types.MethodType):
            _method(thing.__self__, thing.__name__)
        elif hasattr(thing, "__qualname__"):  # classes and functions have it, instances do not
            name = _name_of(thing)
            if name != GETATTR and not self._allowed.allows(thing, name):
                raise NotAllowed(name)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, source: BinaryIO, allowed: AllowList, moved: Mapping[Name, Name], meet: Callable[[Any], None]
    ) -> None:
        super().__init__(source)
        self._meet = meet
        self._allowed = allowed
        self._moved = moved

    def find_class(self, module_name: str, qualified: str, /) -> Any:
        name = (module_name, qualified)
        if name == GETATTR:
            return _method
        found = self._allowed.find(self._moved.get(name, name))
        self._meet(found)
        return found


def save(state: object, target: Writable, allowed: AllowList) -> None:
    """Write the state. Raises NotAllowed for what could not be read again."""
    _Pickler(target, allowed).dump(state)


def load(
    source: BinaryIO,
    allowed: AllowList,
    moved: Mapping[Name, Name] | None = None,
    meet: Callable[[Any], None] = lambda _found: None,
) -> Any:
    """The state. `moved` gives the present name of what has been renamed; `meet` is given each class or function as it
    is found. Raises NotAllowed, or pickle's errors.

    Classes of our core may be called with any arguments; one that makes models by name finds those of `allowed` only.
    """
    before = factories_from.set(allowed.trusted)
    try:
        return _Unpickler(source, allowed, moved or {}, meet).load()
    finally:
        factories_from.reset(before)
