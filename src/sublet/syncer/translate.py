"""Parts of objects: reading and writing by path, merging what two sides changed, the difference as a merge patch."""

from __future__ import annotations

from typing import Any

from sublet.machinery.kind import Object

_ABSENT: Any = object()


def at(obj: Object, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = obj
    for part in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def put(obj: Object, path: str, value: Any) -> None:
    """Sets a dotted path, making what is above it; None removes it."""
    *above, last = path.split(".")
    where = obj
    for part in above:
        inner = where.get(part)
        if not isinstance(inner, dict):
            if value is None:
                return
            inner = where[part] = {}
        where = inner
    if value is None:
        where.pop(last, None)
    else:
        where[last] = value


def merged(
    tenant: dict[str, Any],
    host: dict[str, Any],
    last: tuple[dict[str, Any], dict[str, Any]] | None,
    from_tenant: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tenant, host) with each key as whoever changed it has it; the tenant counts where both did.

    ``last`` is what they were when last equal. Without it (after a restart) ``from_tenant`` tells which of the
    host's keys had come from the tenant, so that those it no longer has are removed and the others are the host's.
    """
    if last is None:
        added = {key: value for key, value in host.items() if key not in tenant and key not in from_tenant}
        return {**tenant, **added}, {**tenant, **added}
    return _merge(tenant, host, last)


def _merge(
    tenant: dict[str, Any], host: dict[str, Any], last: tuple[dict[str, Any], dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    new_tenant, new_host = dict(tenant), dict(host)
    for key in {**tenant, **host, **last[0]}:
        mine, theirs = tenant.get(key, _ABSENT), host.get(key, _ABSENT)
        if mine is not _ABSENT and theirs is not _ABSENT and mine == theirs:
            continue
        if mine != last[0].get(key, _ABSENT):
            _set(new_host, key, mine)
        elif theirs != last[1].get(key, _ABSENT):
            _set(new_tenant, key, theirs)
    return new_tenant, new_host


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    if value is _ABSENT:
        values.pop(key, None)
    else:
        values[key] = value


def difference(old: Object, new: Object) -> Object:
    """The JSON merge patch that makes ``new`` of ``old``; empty when they are equal."""
    patch: Object = {}
    for key, value in new.items():
        before = old.get(key, _ABSENT)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := difference(before, value):
                patch[key] = inner
        elif before is _ABSENT or before != value:
            patch[key] = value
    for key in old:
        if key not in new:
            patch[key] = None
    return patch
