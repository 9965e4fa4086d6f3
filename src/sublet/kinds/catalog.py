"""Every built-in kind: found by walking the group folders, so a new kind is one new file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from sublet.kinds import features, schemas
from sublet.kinds.features import Features
from sublet.kinds.rules import gates, older
from sublet.machinery.kind import Kind, Resource

_FOLDER = Path(__file__).parent
_NOT_GROUPS = frozenset(("data", "rules"))


def modules() -> list[str]:
    """The names of all kind files' modules, sorted."""
    found = []
    for group in _FOLDER.iterdir():
        if group.is_dir() and group.name not in _NOT_GROUPS and not group.name.startswith((".", "_")):
            found += [
                f"sublet.kinds.{group.name}.{file.stem}"
                for file in group.glob("*.py")
                if not file.stem.startswith("_")
            ]
    return sorted(found)


@cache
def everything() -> Mapping[tuple[str, str], Kind]:
    """Every kind there is a file of, whatever the minor, by (group, plural) of the stored resource."""
    found: dict[tuple[str, str], Kind] = {}
    for module in modules():
        kind: Kind = importlib.import_module(module).KIND
        found[kind.resource.group, kind.resource.plural] = kind
    return found


def load(minor: str = schemas.DEFAULT_MINOR, on: Features | None = None) -> Mapping[tuple[str, str], Kind]:
    """The GA kinds of a Kubernetes minor by (group, plural) of the stored resource, as its features have them.

    ``on``: the features that are on; None: the minor's defaults. Raises ``ValueError`` for a minor there is no data of.
    """
    known = schemas.names(minor)
    on = on or features.defaults(minor)

    def exists(resource: Resource) -> bool:
        return resource.kind in known.get(resource.api_version, {})

    found = {}
    for key, kind in everything().items():
        if exists(kind.resource):
            others = tuple(served for served in kind.also_served if exists(served.resource))
            if others != kind.also_served:
                kind = replace(kind, also_served=others)
            found[key] = older.of(gates.gated(kind, on), on)
    return found
