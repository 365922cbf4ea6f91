"""Layout: what the classes in a state look like. In: classes of the core. Out: a sum of each one's attribute names.

A pickle holds attributes by name and knows nothing of the class: one written before an attribute was added loads well,
and fails when the attribute is first read. So a checkpoint carries the sum of each class of the core, and one whose
classes look different now is refused where it is loaded, by name. What an attribute means is not seen: who changes that
raises `format.FORMAT` by hand.
"""

from __future__ import annotations

import dis
import hashlib
import sys
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

CORE = "stream_balance.core"
_STORE = dis.opmap["STORE_ATTR"]


def is_of_core(kind: object) -> bool:
    """Whether it is a class that the core defines."""
    module = getattr(kind, "__module__", None) or ""
    return isinstance(kind, type) and (module == CORE or module.startswith(CORE + "."))


def name_of(kind: type) -> str:
    """The full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def layouts() -> dict[str, str]:
    """The sum of every class of the core that has been imported, by its name."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name == CORE or name.startswith(CORE + "."):
            for kind in list(vars(module).values()):
                if is_of_core(kind) and kind.__module__ == name:
                    found[name_of(kind)] = layout(kind)
    return found


@cache
def layout(kind: type) -> str:
    """A sum over the attribute names, 12 hex digits."""
    return hashlib.sha256("\n".join(sorted(attributes(kind))).encode()).hexdigest()[:12]


def attributes(kind: type) -> set[str]:
    """Names of what an instance holds: slots, fields, and whatever a method assigns to itself; inherited ones too."""
    found: set[str] = set(getattr(kind, "model_fields", ()))
    if is_dataclass(kind):
        found |= {each.name for each in fields(kind)}
    for each in kind.__mro__:
        if is_of_core(each):
            slots = each.__dict__.get("__slots__", ())
            found |= {slots} if isinstance(slots, str) else set(slots)
            for member in vars(each).values():
                found |= set(_assigned(member))
    return found | set(getattr(kind, "_fields", ()))


def _assigned(member: Any) -> Iterator[str]:
    """Attributes of the first argument that a function, or the setter of a property, assigns."""
    function = getattr(member, "__func__", None) or getattr(member, "fset", None) or member
    if not isinstance(function, types.FunctionType):
        return
    code = function.__code__
    if not code.co_argcount or _STORE not in code.co_code[::2]:
        return
    owner, before = code.co_varnames[0], None
    for step in dis.get_instructions(code):
        if step.opname == "STORE_ATTR" and before is not None and before.opname.startswith("LOAD_"):
            loaded = before.argval[-1] if isinstance(before.argval, tuple) else before.argval
            if loaded == owner:
                yield str(step.argval)
        before = step
