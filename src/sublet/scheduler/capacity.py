"""What one allocation takes of a device that several may have: by what is asked for and the device's policy.

Source: kubernetes.io, "Dynamic Resource Allocation" (DRAConsumableCapacity).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sublet.machinery import quantity
from sublet.machinery.kind import Object
from sublet.machinery.quantity import Quantity


def consumed(asked: Object, stated: Object) -> dict[str, Quantity] | None:
    """Of each capacity of a device (``stated``) what a request takes; None: the device has not what is asked for."""
    wanted: Mapping[str, Any] = (asked.get("capacity") or {}).get("requests") or {}
    capacity: Mapping[str, Any] = stated.get("capacity") or {}
    if not wanted.keys() <= capacity.keys():
        return None
    found: dict[str, Quantity] = {}
    for name, each in capacity.items():
        there = quantity.parse(str(each["value"]))
        amount = _amount(wanted.get(name), there, each.get("requestPolicy") or {})
        if amount is None or amount.nano > there.nano:
            return None
        found[name] = amount
    return found


def _amount(wanted: Any, there: Quantity, policy: Mapping[str, Any]) -> Quantity | None:
    if wanted is None:
        return quantity.parse(str(policy["default"])) if "default" in policy else there
    amount = quantity.parse(str(wanted))
    if values := policy.get("validValues"):
        fitting = [each for each in map(quantity.parse, map(str, values)) if each.nano >= amount.nano]
        return min(fitting, default=None)
    if bounds := policy.get("validRange"):
        return _in_range(amount, bounds)
    return amount


def _in_range(amount: Quantity, bounds: Mapping[str, Any]) -> Quantity | None:
    """The least allowed amount that is enough."""
    least = quantity.parse(str(bounds["min"])) if "min" in bounds else Quantity(0, amount.format)
    if amount.nano <= least.nano:
        amount = least
    elif "step" in bounds:
        step = quantity.parse(str(bounds["step"])).nano
        beyond = amount.nano - least.nano
        amount = Quantity(least.nano + -(-beyond // step) * step, amount.format)
    if "max" in bounds and amount.nano > quantity.parse(str(bounds["max"])).nano:
        return None
    return amount
