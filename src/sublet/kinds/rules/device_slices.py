"""Rules of the devices that drivers offer in ResourceSlices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sublet.kinds.rules import gotypes
from sublet.kinds.rules.common import Errors, immutable, named, needs
from sublet.kinds.rules.device_status import binding_conditions
from sublet.kinds.rules.devices import (
    TAINT_EFFECTS,
    distinct,
    each,
    label,
    name_of,
    pool_name,
    qualified_name,
)
from sublet.kinds.rules.placement import node_selector
from sublet.kinds.rules.volumes import driver_name
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)

_MAX_DEVICES, _MAX_ADVANCED_DEVICES = 128, 64
_MAX_COUNTER_SETS, _MAX_COUNTERS, _MAX_CONSUMED_SETS = 8, 32, 2
_MAX_TAINTS = 16
_MAX_PROPERTIES = 32
"""Attributes and capacities of one device."""
_MAX_VALUE = 64
_MAX_KEY = 63 + 1 + 32
_MAX_CHOICES = 10
_WHERE = "`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`"
_TRUE_OR_UNSET = "must be either unset or set to true"
_PRERELEASE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_BUILD = "[0-9a-zA-Z-]+"
_is_semver = re.compile(
    rf"(0|[1-9]\d*)(\.(0|[1-9]\d*)){{2}}(-{_PRERELEASE}(\.{_PRERELEASE})*)?(\+{_BUILD}(\.{_BUILD})*)?",
    re.ASCII,
).fullmatch


def slice_spec(path: str, spec: Object, before: Object | None) -> Errors:
    """``before``: what is stored, when it is changed."""
    yield from driver_name(f"{path}.driver", spec.get("driver"))
    yield from _pool(f"{path}.pool", spec.get("pool") or {})
    if before is not None:
        now, then = (name_of(each.get("pool") or {}) for each in (spec, before))
        yield from immutable(f"{path}.pool.name", now, then)
        for field in ("driver", "nodeName"):
            yield from immutable(f"{path}.{field}", spec.get(field), before.get(field))
    yield from _reach(path, spec)
    devices, counters = spec.get("devices"), spec.get("sharedCounters")
    if devices is not None and counters is not None:
        yield invalid(path, "", "only one of `sharedCounters` or `devices` is allowed")
    known = {name_of(device): device for device in (before or {}).get("devices") or ()}
    advanced = any(d.get("taints") or d.get("consumesCounters") for d in devices or ())

    def check(where: str, device: Object) -> Errors:
        per_device = bool(spec.get("perDeviceNodeSelection"))
        yield from _device(where, device, known.get(name_of(device)), per_device=per_device)

    most = _MAX_ADVANCED_DEVICES if advanced else _MAX_DEVICES
    yield from distinct(f"{path}.devices", devices, most, check, name_of)
    yield from distinct(f"{path}.sharedCounters", counters, _MAX_COUNTER_SETS, _counter_set, name_of)


def _pool(path: str, pool: Object) -> Errors:
    yield from pool_name(f"{path}.name", pool.get("name"))
    if (count := pool.get("resourceSliceCount") or 0) <= 0:
        yield invalid(f"{path}.resourceSliceCount", count, "must be greater than zero")
    if (generation := pool.get("generation") or 0) < 0:
        yield invalid(f"{path}.generation", generation, "must be greater than or equal to zero")


def _reach(path: str, spec: Object) -> Errors:
    """From which nodes the devices can be used: one way to say it."""
    stated = []
    if (node := spec.get("nodeName")) is not None:
        if node:
            stated.append("`nodeName`")
            yield from named(f"{path}.nodeName", node, names.dns1123_subdomain)
        else:
            yield invalid(f"{path}.nodeName", node, "must be either unset or set to a non-empty string")
    if (selector := spec.get("nodeSelector")) is not None:
        stated.append("`nodeSelector`")
        yield from node_selector(f"{path}.nodeSelector", selector)
        terms = selector.get("nodeSelectorTerms")
        if len(terms or ()) != 1:
            shown = [gotypes.shown("NodeSelectorTerm", term) for term in terms or ()]
            detail = "must have exactly one node selector term"
            yield invalid(f"{path}.nodeSelector.nodeSelectorTerms", shown, detail)
    for field in ("allNodes", "perDeviceNodeSelection"):
        if (flag := spec.get(field)) is not None:
            if flag:
                stated.append(f"`{field}`")
            else:
                yield invalid(f"{path}.{field}", flag, _TRUE_OR_UNSET)
    if not stated:
        yield required(path, f"exactly one of {_WHERE} is required")
    elif len(stated) > 1:
        listed = "{" + ", ".join(stated) + "}"
        yield invalid(path, listed, f"exactly one of {_WHERE} is required, but multiple fields are set")


def _entries(
    path: str, found: Mapping[str, Any], most: int, limit: int, key: Callable[[str, str], Errors],
    check: Callable[[str, Any], Errors] | None = None,
) -> Errors:  # fmt: skip
    """A map: keys are judged at the map's own place."""
    if 0 <= most < len(found):
        yield too_many(path, len(found), most)
        return
    for name, value in found.items():
        yield from key(path, name)
        if check is not None:
            yield from check(f"{path}[{_shortened(name, limit)}]", value)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    left = limit - 3
    return f"{text[: (left + 1) // 2]}...{text[len(text) - left // 2 :]}"


def _counter_set(path: str, counters: Object) -> Errors:
    yield from needs(f"{path}.name", counters.get("name"), names.dns1123_label)
    yield from _counters(f"{path}.counters", counters.get("counters"))


def _counters(path: str, found: Mapping[str, Any] | None) -> Errors:
    if not found:
        yield required(path)
    else:
        yield from _entries(path, found, _MAX_COUNTERS, names.LABEL_LIMIT, label)


def _consumption(path: str, found: Object) -> Errors:
    yield from needs(f"{path}.counterSet", found.get("counterSet"), names.dns1123_label)
    yield from _counters(f"{path}.counters", found.get("counters"))


def _device(path: str, device: Object, before: Object | None, *, per_device: bool) -> Errors:
    yield from label(f"{path}.name", device.get("name"))
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    if (count := len(attributes) + len(capacity)) > _MAX_PROPERTIES:
        detail = f"the total number of attributes and capacities must not exceed {_MAX_PROPERTIES}"
        yield invalid(path, count, detail)
    yield from _entries(f"{path}.attributes", attributes, -1, _MAX_KEY, qualified_name, _attribute)
    rule = _shared_capacity if device.get("allowMultipleAllocations") else _capacity
    yield from _entries(f"{path}.capacity", capacity, -1, _MAX_KEY, qualified_name, rule)
    taints = device.get("taints") or []
    if before is None or (before.get("taints") or []) != taints:
        yield from each(f"{path}.taints", taints, _MAX_TAINTS, _taint)
    yield from distinct(
        f"{path}.consumesCounters",
        device.get("consumesCounters"),
        _MAX_CONSUMED_SETS,
        _consumption,
        lambda found: str(found.get("counterSet") or ""),
    )
    yield from _device_reach(path, device, per_device=per_device)
    yield from binding_conditions(path, device)


def _device_reach(path: str, device: Object, *, per_device: bool) -> Errors:
    node, selector, everywhere = (device.get(field) for field in ("nodeName", "nodeSelector", "allNodes"))
    if not per_device:
        if any(value is not None for value in (node, selector, everywhere)):
            detail = "can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
            yield invalid(path, None, f"`nodeName`, `nodeSelector` and `allNodes` {detail}")
        return
    stated = []
    if node:
        stated.append("`nodeName`")
        yield from named(f"{path}.nodeName", node, names.dns1123_subdomain)
    elif node is not None:
        yield invalid(f"{path}.nodeName", node, "must not be empty")
    if selector is not None:
        stated.append("`nodeSelector`")
        yield from node_selector(f"{path}.nodeSelector", selector)
    if everywhere:
        stated.append("`allNodes`")
    elif everywhere is not None:
        yield invalid(f"{path}.allNodes", everywhere, _TRUE_OR_UNSET)
    detail = (
        "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set"
        " to true in the ResourceSlice spec"
    )
    if not stated:
        yield required(path, detail)
    elif len(stated) > 1:
        yield invalid(path, "{" + ", ".join(stated) + "}", detail)


def _attribute(path: str, attribute: Object) -> Errors:
    text, version = attribute.get("string"), attribute.get("version")
    if text is not None:
        yield from _short(f"{path}.string", text)
    if version is not None:
        if not _is_semver(version):
            detail = "must be a string compatible with semver.org spec 2.0.0"
            yield invalid(f"{path}.version", version, detail)
        yield from _short(f"{path}.version", version)
    count = sum(attribute.get(field) is not None for field in ("bool", "int", "string", "version"))
    if count != 1:
        shown = gotypes.shown("DeviceAttribute", attribute) if count else ""
        yield invalid(path, shown, "exactly one value must be specified")


def _short(path: str, text: str) -> Errors:
    if len(text.encode()) > _MAX_VALUE:
        yield too_long(path, _MAX_VALUE)


def _taint(path: str, taint: Object) -> Errors:
    yield from named(f"{path}.key", taint.get("key") or "", names.qualified_name)
    if value := taint.get("value"):
        yield from named(f"{path}.value", value, names.label_value)
    effect = taint.get("effect") or ""
    if not effect:
        yield required(f"{path}.effect")
    elif effect not in TAINT_EFFECTS:
        yield not_supported(f"{path}.effect", effect, TAINT_EFFECTS)


def _capacity(path: str, capacity: Object) -> Errors:
    if capacity.get("requestPolicy") is not None:
        yield field_forbidden(f"{path}.requestPolicy", "allowMultipleAllocations must be true")


def _shared_capacity(path: str, capacity: Object) -> Errors:
    """A capacity that several claims may take parts of."""
    if (policy := capacity.get("requestPolicy")) is None:
        return
    path, whole = f"{path}.requestPolicy", str(capacity.get("value") or "0")
    choices, span, usual = policy.get("validValues"), policy.get("validRange"), policy.get("default")
    if choices and span is not None:
        detail = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        yield field_forbidden(path, detail)
        return
    if not choices and span is None:
        return
    named_as = "validValues" if choices else "validRange"
    if usual is None:
        yield required(f"{path}.default", f"required when {named_as} is defined")
    elif choices:
        yield from _choices(f"{path}.validValues", choices, str(usual), whole)
    else:
        yield from _span(f"{path}.validRange", span, str(usual), whole)


def _choices(path: str, choices: list[str], usual: str, whole: str) -> Errors:
    amounts = [quantity.parse(choice) for choice in choices]
    for index in range(1, len(amounts)):
        if amounts[index] < amounts[index - 1]:
            yield invalid(f"{path}[{index}]", choices[index], "values must be sorted in ascending order")

    def check(where: str, choice: str) -> Errors:
        if quantity.parse(choice) > quantity.parse(whole):
            yield invalid(where, choice, f"option is larger than capacity value: {whole}")

    yield from distinct(
        path, choices, _MAX_CHOICES, check, lambda choice: str(quantity.parse(choice).value())
    )
    if len(choices) > _MAX_CHOICES or quantity.parse(usual) not in amounts:
        yield invalid(path, usual, "default value is not valid according to the requestPolicy")


def _span(path: str, span: Object, usual: str, whole: str) -> Errors:
    least, most, step = span.get("min"), span.get("max"), span.get("step")
    if least is None:
        yield required(f"{path}.min", "required when validRange is defined")
        return
    low, high, normal = (quantity.parse(each) for each in (least, whole, usual))
    if low > high:
        yield invalid(f"{path}.min", least, f"min is larger than capacity value: {whole}")
    if normal < low:
        yield invalid(f"{path}.min", usual, f"default is less than min: {least}")
    if most is not None:
        top = quantity.parse(most)
        if low > top:
            yield invalid(f"{path}.max", least, f"min is larger than max: {most}")
        if top > high:
            yield invalid(f"{path}.max", most, f"max is larger than capacity value: {whole}")
        if normal > top:
            yield invalid(f"{path}.max", usual, f"default is more than max: {most}")
    if step is not None:
        yield from _steps(
            f"{path}.step", str(step), str(least), [usual, *([most] if most is not None else [])], whole
        )


def _steps(path: str, step: str, least: str, reached: list[str], whole: str) -> Errors:
    width, low = quantity.parse(step), quantity.parse(least)
    if width.milli() <= 0:
        yield invalid(path, step, "must be greater than zero")
        return
    first = quantity.from_milli(low.milli() + width.milli(), low.format)
    if first > quantity.parse(whole):
        shown = first.canonical()
        yield invalid(path, step, f"one step {shown} is larger than capacity value: {whole}")
    for value in reached:
        if (quantity.parse(value).value() - low.value()) % width.value():
            yield invalid(path, value, f"value is not a multiple of a given step ({step}) from ({least})")
