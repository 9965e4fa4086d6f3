"""Rules of what a claim got: its devices, what they report, and who may use them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from sublet.kinds.rules import gotypes
from sublet.kinds.rules.common import Errors, immutable, named, needs
from sublet.kinds.rules.conditions import conditions
from sublet.kinds.rules.devices import (
    MAX_CONFIGURATIONS,
    MAX_REQUESTS,
    Requests,
    distinct,
    each,
    label,
    opaque,
    pool_name,
    raw,
    request_names,
    request_reference,
    request_references,
)
from sublet.kinds.rules.placement import node_selector
from sublet.kinds.rules.volumes import driver_name
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    NIL,
    FieldError,
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)

_MAX_CONSUMERS = 256
_MAX_CONDITIONS = 8
_MAX_BINDING_CONDITIONS = 4
_MAX_ADDRESSES = 16
_MAX_INTERFACE, _MAX_HARDWARE_ADDRESS = 256, 128
_SOURCES = ("FromClaim", "FromClass")
_is_normal = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_UID_SIZES = (32, 36, 38, 45)
"""Bare, usual, in braces, and as a URN."""
_ABNORMAL = (
    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal "
    "characters"
)


def claim_status(new: Object, old: Object) -> Errors:
    """Of a write to ``/status`` of a claim."""
    status, before = new.get("status") or {}, old.get("status") or {}
    allocation, reserved = status.get("allocation"), status.get("reservedFor") or []
    yield from distinct(
        "status.reservedFor", reserved, _MAX_CONSUMERS, _consumer, lambda user: str(user.get("uid") or "")
    )
    yield from _devices("status.devices", status.get("devices") or (), allocation)
    if reserved and allocation is None:
        yield field_forbidden("status.reservedFor", "may not be specified when `allocated` is not set")
    elif reserved and (new.get("metadata") or {}).get("deletionTimestamp"):
        known = before.get("reservedFor") or []
        if any(user not in known for user in reserved):
            yield field_forbidden(
                "status.reservedFor",
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            )
    if allocation is None:
        return
    if (earlier := before.get("allocation")) is not None:
        now, then = (gotypes.shown("AllocationResult", each) for each in (allocation, earlier))
        yield from immutable("status.allocation", now, then)
    else:
        yield from _allocation("status.allocation", allocation, request_names(new.get("spec") or {}))


def _consumer(path: str, user: Object) -> Errors:
    for field in ("resource", "name", "uid"):
        yield from needs(f"{path}.{field}", user.get(field))


def results(claim: Object) -> Sequence[Object]:
    """The devices that a claim got."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or ()


def device_id(found: Object) -> str:
    """What tells a device, or a share of one, from others."""
    share = found.get("shareID")
    parts = [str(found.get(field) or "") for field in ("driver", "pool", "device")]
    return "/".join([*parts, share] if share is not None else parts)


def _devices(path: str, found: Sequence[Object], allocation: Object | None) -> Errors:
    results = ((allocation or {}).get("devices") or {}).get("results") or ()
    allocated = frozenset(map(device_id, results))
    for index, device in enumerate(found):
        yield from _device(f"{path}[{index}]", device, allocated)
    seen: set[str] = set()
    for index, device in enumerate(found):
        name = device_id(device)
        if name in seen:
            yield FieldError("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {name}")
        seen.add(name)


def _device(path: str, device: Object, allocated: frozenset[str]) -> Errors:
    yield from _place(path, device)
    if (share := device.get("shareID")) is not None:
        yield from _uid(f"{path}.shareID", share)
    if (name := device_id(device)) not in allocated:
        detail = "must be an allocated device in the claim"
        yield FieldError("FieldValueInvalid", path, f"Invalid value: {name}: {detail}")
    found = device.get("conditions") or ()
    if len(found) > _MAX_CONDITIONS:
        yield too_many(f"{path}.conditions", len(found), _MAX_CONDITIONS)
    yield from conditions(f"{path}.conditions", found)
    if device.get("data") is not None:
        yield from raw(f"{path}.data", device["data"])
    if (network := device.get("networkData")) is not None:
        yield from _network(f"{path}.networkData", network)


def _place(path: str, found: Object) -> Errors:
    yield from driver_name(f"{path}.driver", found.get("driver"))
    yield from pool_name(f"{path}.pool", found.get("pool"))
    yield from label(f"{path}.device", found.get("device"))


def _network(path: str, found: Object) -> Errors:
    for field, most in (("interfaceName", _MAX_INTERFACE), ("hardwareAddress", _MAX_HARDWARE_ADDRESS)):
        if len((found.get(field) or "").encode()) > most:
            yield too_long(f"{path}.{field}", most)
    yield from distinct(f"{path}.ips", found.get("ips"), _MAX_ADDRESSES, _interface_address)


def _interface_address(path: str, value: str) -> Errors:
    import ipaddress

    try:
        found = ipaddress.ip_interface(value if "/" in value and "%" not in value else "")
    except ValueError:
        detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        yield invalid(path, value, detail)
        return
    if str(found) != value:
        yield invalid(path, value, f'must be in canonical form ("{found}")')


def _uid(path: str, value: str) -> Errors:
    try:
        uuid.UUID(value)
    except ValueError:
        size = len(value.encode())
        why = "UUID format" if size in _UID_SIZES else f"UUID length: {size}"
        yield invalid(path, value, f"error validating uid: invalid {why}")
        return
    if not _is_normal(value):
        yield invalid(path, value, _ABNORMAL)


def _allocation(path: str, allocation: Object, known: Requests) -> Errors:
    devices = allocation.get("devices") or {}
    yield from each(
        f"{path}.devices.results",
        devices.get("results"),
        MAX_REQUESTS,
        lambda where, found: _result(where, found, known),
    )
    yield from each(
        f"{path}.devices.config",
        devices.get("config"),
        2 * MAX_CONFIGURATIONS,
        lambda where, found: _configuration(where, found, known),
    )
    if (selector := allocation.get("nodeSelector")) is not None:
        yield from node_selector(f"{path}.nodeSelector", selector)


def _result(path: str, result: Object, known: Requests) -> Errors:
    yield from request_reference(f"{path}.request", result.get("request") or "", known)
    yield from _place(path, result)
    yield from binding_conditions(path, result)
    if (share := result.get("shareID")) is not None:
        yield from _uid(f"{path}.shareID", share)


def _configuration(path: str, found: Object, known: Requests) -> Errors:
    source = found.get("source") or ""
    if not source:
        yield required(f"{path}.source")
    elif source not in _SOURCES:
        yield not_supported(f"{path}.source", source, _SOURCES)
    yield from request_references(f"{path}.requests", found.get("requests"), known)
    yield from opaque(path, found, stored=False)


def binding_conditions(path: str, found: Object) -> Errors:
    """The conditions a device must have, and may not have, before pods are bound that use it."""
    good, bad = found.get("bindingConditions") or [], found.get("bindingFailureConditions") or []
    wanted, failures = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    for where, items in ((wanted, good), (failures, bad)):
        yield from each(where, items, _MAX_BINDING_CONDITIONS, _label_name)
    for index, condition in enumerate(good):
        if condition in good[:index]:
            yield duplicate(f"{wanted}[{index}]", condition)
    for index, condition in enumerate(bad):
        if condition in bad[:index]:
            yield duplicate(f"{failures}[{index}]", condition)
        if condition in good:
            detail = "bindingFailureConditions must not overlap with bindingConditions"
            yield invalid(f"{failures}[{index}]", condition, detail)
    if bad and not good:
        yield invalid(wanted, NIL, "bindingConditions are required to use bindingFailureConditions")
    if good and not bad:
        yield invalid(failures, NIL, "bindingFailureConditions are required to use bindingConditions")


def _label_name(path: str, value: str) -> Errors:
    yield from named(path, value, names.qualified_name)
