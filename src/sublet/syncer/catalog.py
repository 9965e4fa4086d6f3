"""All synced kinds, found by walking ``to_host`` and ``from_host``; configuration and host rights derive from them.

A module (or package) there that states ``SYNC`` is one; nothing lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sublet.machinery.kind import Resource
from sublet.machinery.settings import ConfigurationError, parse, unknown_key
from sublet.syncer.declare import READ, FromHost, Rule, ToHost
from sublet.syncer.mapping import Names
from sublet.syncer.settings import SyncSettings

MARKER_LABEL = Names().managed_by
"""The label of every host object, with the tenant's name as its value."""

_BASE = (Rule(("",), ("services",), READ),)
"""The tenant's own Service gives the owner and the address of everything."""


@cache
def to_host() -> Mapping[str, ToHost]:
    """By configuration key."""
    return {sync.key: sync for sync in _found("to_host", ToHost)}


@cache
def from_host() -> Mapping[str, FromHost]:
    """By configuration key."""
    return {sync.key: sync for sync in _found("from_host", FromHost)}


def _found(folder: str, kind: type[Any]) -> Iterator[Any]:
    package = importlib.import_module(f"sublet.syncer.{folder}")
    for entry in sorted(pkgutil.iter_modules(package.__path__, f"{package.__name__}."), key=lambda e: e.name):
        sync = getattr(importlib.import_module(entry.name), "SYNC", None)
        if not isinstance(sync, kind):
            raise TypeError(f"{entry.name} states no SYNC = {kind.__name__}(…)")
        yield sync


def settings(document: Mapping[str, Any] | None) -> SyncSettings:
    """The ``sync`` block of the configuration. Raises :class:`ConfigurationError`, naming the key from ``sync`` on."""
    document = document or {}
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"sync must be a mapping, not {document!r}")
    for key in document:
        if key not in ("toHost", "fromHost"):
            raise unknown_key(f"sync.{key}", str(key), ["toHost", "fromHost"])
    return SyncSettings(
        _block(document.get("toHost"), to_host(), "sync.toHost"),
        _block(document.get("fromHost"), from_host(), "sync.fromHost"),
    )


def _block(document: Any, known: Mapping[str, Any], path: str) -> dict[str, Any]:
    document = {} if document is None else document
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{path} must be a mapping, not {document!r}")
    for key in document:
        if key not in known:
            raise unknown_key(f"{path}.{key}", str(key), list(known))
    return {key: parse(sync.settings, document.get(key), f"{path}.{key}") for key, sync in known.items()}


def _enabled(chosen: SyncSettings) -> Iterator[tuple[ToHost | FromHost, Any]]:
    for key, sync in to_host().items():
        if chosen.to_host[key].enabled:
            yield sync, chosen.to_host[key]
    for key, source in from_host().items():
        # Some sources stand in for what is not synced; they know their rights themselves.
        yield source, chosen.from_host[key]


def host_rules(chosen: SyncSettings) -> list[dict[str, Any]]:
    """Rules of the Role in the tenant's host namespace, as RBAC objects have them."""
    rules = [*_BASE]
    for sync, own in _enabled(chosen):
        rules += sync.host_rules(own)
    return [rule.to_object() for rule in rules]


def cluster_rules(chosen: SyncSettings) -> list[dict[str, Any]]:
    """Rules of the ClusterRole; none by default, as a default tenant needs nothing outside its namespace."""
    return [rule.to_object() for sync, own in _enabled(chosen) for rule in sync.cluster_rules(own)]


def host_resources() -> Sequence[Resource]:
    """Every resource that may have host copies, whatever the settings."""
    return [sync.resource for sync in to_host().values()]
