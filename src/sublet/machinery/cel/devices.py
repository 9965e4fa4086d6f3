"""Selectors of devices: expressions over ``device``, as device classes and claims hold them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from sublet.machinery.cel import types
from sublet.machinery.cel.environment import Environment
from sublet.machinery.cel.errors import CompileError
from sublet.machinery.cel.types import BOOL, DYN, STRING, Field

_DOMAIN, _ID, _VALUE = 63, 32, 64
_PER_DEVICE = 32
"""Attributes and capacities of one device."""
_MAX_COST = 1_000_000


def _device() -> types.Type:
    amount = types.parse("kubernetes.Quantity")
    fields = {
        "driver": Field(types.sized("string", _DOMAIN), "driver"),
        "attributes": Field(_by_domain(replace(DYN, max_size=_VALUE)), "attributes"),
        "capacity": Field(_by_domain(amount), "capacity"),
        "allowMultipleAllocations": Field(BOOL, "allowMultipleAllocations"),
    }
    return types.object_type("kubernetes.DRADevice", lambda: fields)


def _by_domain(value: types.Type) -> types.Type:
    return types.map_of(STRING, types.map_of(types.sized("string", _ID), value, _PER_DEVICE), _PER_DEVICE)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """It holds nothing but the language, so one will do for all."""
    return Environment({"device": _device()}, binds=True)


def complaint(expression: str) -> str | None:
    """Why an expression is no selector, as Kubernetes says it; None for one that is."""
    try:
        kind = environment().compile(expression).type
    except CompileError as error:
        return error.told
    if kind not in (BOOL, DYN):
        return f"must evaluate to bool or the unknown type, not {kind}"
    return None


def is_too_dear(expression: str) -> bool:
    """Of a good selector: whether it may cost more than one may."""
    return environment().compile(expression).estimate > _MAX_COST
