"""LimitRange."""

from __future__ import annotations

from sublet.kinds.builtin import builtin
from sublet.kinds.rules.common import Errors, named, needs, rule, spec_of
from sublet.machinery import names, quantity
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, required

_ORDER = (("min", "max"), ("min", "defaultRequest"), ("defaultRequest", "default"), ("default", "max"),
          ("min", "default"), ("defaultRequest", "max"))  # fmt: skip


def _default(obj: Object) -> None:
    """A container's default limit is its maximum; its default request that limit, or else the minimum."""
    for item in spec_of(obj).get("limits") or ():
        if item.get("type") != "Container":
            continue
        default = item.setdefault("default", {})
        request = item.setdefault("defaultRequest", {})
        for name, value in (item.get("max") or {}).items():
            default.setdefault(name, value)
        for name, value in default.items():
            request.setdefault(name, value)
        for name, value in (item.get("min") or {}).items():
            request.setdefault(name, value)
        for key in ("default", "defaultRequest"):
            if not item[key]:
                del item[key]


def _validate(obj: Object) -> Errors:
    seen: set[str] = set()
    for index, item in enumerate(spec_of(obj).get("limits") or ()):
        where, kind = f"spec.limits[{index}]", item.get("type") or ""
        yield from needs(f"{where}.type", kind, names.qualified_name)
        if kind in seen:
            yield duplicate(f"{where}.type", kind)
        seen.add(kind)
        if kind == "Pod":
            for field in ("default", "defaultRequest"):
                if item.get(field):
                    detail = "may not be specified when `type` is 'Pod'"
                    yield field_forbidden(f"{where}.{field}", detail)
        if kind == "PersistentVolumeClaim" and not item.get("min") and not item.get("max"):
            yield required(
                f"{where}.limits",
                "either minimum or maximum storage value is required, but neither was provided",
            )
        yield from _amounts(where, item)


def _amounts(path: str, item: Object) -> Errors:
    keys = dict.fromkeys(
        name
        for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
        for name in item.get(field) or ()
    )
    for name in keys:
        yield from named(f"{path}.max[{name}]", name, names.qualified_name)
        for lower, upper in _ORDER:
            low, high = (item.get(lower) or {}).get(name), (item.get(upper) or {}).get(name)
            if low is not None and high is not None and quantity.parse(low) > quantity.parse(high):
                shown = {"default": "default", "defaultRequest": "default request"}.get(lower, lower)
                other = {"default": "default", "defaultRequest": "default request"}.get(upper, upper)
                yield invalid(
                    f"{path}.{lower}[{name}]",
                    low,
                    f"{shown} value {low} is greater than {other} value {high}",
                )
        ratio = (item.get("maxLimitRequestRatio") or {}).get(name)
        if ratio is not None and quantity.parse(ratio) < quantity.Quantity(10**9):
            yield invalid(f"{path}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1")


KIND = builtin("limitranges", default=_default, validate=rule(_validate))
