"""Schemas of the built-in kinds per Kubernetes minor, from the data that ``scripts/make_schemas.py`` makes.

Shapes (no texts) are read package by package when first needed and decoded definition by definition. The texts are
read only for OpenAPI and not kept.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from sublet.kinds import resources
from sublet.machinery.schema import Definitions, Document, Schema

DATA = Path(__file__).parent / "data" / "schemas"
DEFAULT_MINOR = "1.36"
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
OPERATIONS = tuple(
    f"{META}.{name}" for name in ("APIResourceList", "DeleteOptions", "Patch", "Status", "WatchEvent")
)
"""Definitions that operations of every group name."""


@cache
def minors() -> tuple[str, ...]:
    """The Kubernetes minors there is data of, oldest first."""
    found = (
        [folder.name for folder in DATA.iterdir() if (folder / "index.json").exists()]
        if DATA.exists()
        else []
    )
    return tuple(sorted(found, key=lambda minor: tuple(map(int, minor.split(".")))))


def _folder(minor: str) -> Path:
    if minor in minors():
        return DATA / minor
    if not minors():
        raise FileNotFoundError(
            f"no schema data in {DATA}: run scripts/make_schemas.py (the package build does)"
        )
    raise ValueError(f"no schemas of Kubernetes {minor!r}; there are those of {', '.join(minors())}")


@cache
def names(minor: str) -> Mapping[str, Mapping[str, str]]:
    """API version -> Kind -> definition name. Raises ``ValueError`` for a minor there is no data of."""
    found: Mapping[str, Mapping[str, str]] = json.loads((_folder(minor) / "index.json").read_bytes())
    return found


class _Shapes(Mapping[str, Document]):
    """The definitions of one minor; holds undecoded JSON of the packages asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._packages: dict[str, dict[str, msgspec.Raw]] = {}

    def __getitem__(self, name: str) -> Document:
        package = name.rpartition(".")[0]
        found = self._packages.get(package)
        if found is None:
            try:
                packed = (self._folder / f"{package}.z").read_bytes()
            except FileNotFoundError:
                raise KeyError(name) from None
            found = msgspec.json.decode(zlib.decompress(packed), type=dict[str, msgspec.Raw])
            self._packages[package] = found
        document: Document = msgspec.json.decode(found[name])
        return document

    def __iter__(self) -> Iterator[str]:
        for path in sorted(self._folder.glob("*.z")):
            yield from msgspec.json.decode(zlib.decompress(path.read_bytes()), type=dict[str, msgspec.Raw])

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def definitions(minor: str) -> Definitions:
    """All definitions of a minor, without texts; nothing is read before it is asked for."""
    return Definitions(_Shapes(_folder(minor) / "shapes"))


def definition(minor: str, group: str, version: str, kind: str) -> Schema | None:
    """The schema of a kind, or None where that minor does not have it. The same Schema each time."""
    api_version = f"{group}/{version}" if group else version
    name = names(minor).get(api_version, {}).get(kind)
    return None if name is None else definitions(minor).node(name)


def object_meta() -> Schema:
    """The schema of ``metadata``, which is the same in all kinds and minors."""
    return definitions(DEFAULT_MINOR).node(f"{META}.ObjectMeta")


def openapi_definitions(minor: str, group_version: str) -> dict[str, Any]:
    """The definitions one group and version is published with: name -> OpenAPI v2 schema with texts.

    Holds the kinds of that version, those its subresources and operations name, and all they refer to
    (``#/definitions/NAME``). Empty when the minor does not have the version. A new value at each call.
    """
    own = names(minor).get(group_version, {})
    if not own:
        return {}
    wanted = [*own.values(), *_of_subresources(minor, group_version), *OPERATIONS]
    found = _closed_over(_folder(minor) / "texts", wanted)
    _name_values(found)
    return found


def openapi_closure(minor: str, wanted: Iterable[str]) -> dict[str, Any]:
    """The definitions of these names and all they refer to, as :func:`openapi_definitions` has them."""
    return _closed_over(_folder(minor) / "texts", wanted)


def _name_values(found: Mapping[str, Any]) -> None:
    """Says of fields that know a few values only which those are (``data/enums.tsv``), as documents of servers do.

    The source, like what Kubernetes publishes as files, leaves them out.
    """
    for definition_name, field, values in resources.table("enums.tsv")[1:]:
        node = (found.get(f"io.k8s.api.{definition_name}") or {}).get("properties", {}).get(field)
        if node is None:
            continue
        known = ["" if value == '""' else value for value in values.split(" ")]
        if node["type"] == "array":
            node["items"]["enum"] = known
            continue
        node["enum"] = known
        lines = "\n".join(f' - `"{value}"`' for value in known)
        node["description"] += f"\n\nPossible enum values:\n{lines}"


def _of_subresources(minor: str, group_version: str) -> Iterator[str]:
    known = names(minor)
    elsewhere = {
        "Scale": "autoscaling/v1",
        "Eviction": "policy/v1",
        "TokenRequest": "authentication.k8s.io/v1",
    }
    group, _, version = group_version.rpartition("/")
    for row in resources.rows():
        if (row["group"], row["version"]) == (group, version):
            for kind, api_version in elsewhere.items():
                if f"{kind}(" in row["subresources"] and kind in known.get(api_version, {}):
                    yield known[api_version][kind]


def _closed_over(folder: Path, wanted: Iterable[str]) -> dict[str, Any]:
    packages: dict[str, dict[str, msgspec.Raw]] = {}
    found: dict[str, Any] = {}
    left = list(dict.fromkeys(wanted))
    while left:
        name = left.pop()
        if name in found:
            continue
        package = name.rpartition(".")[0]
        if package not in packages:
            packed = zlib.decompress((folder / f"{package}.z").read_bytes())
            packages[package] = msgspec.json.decode(packed, type=dict[str, msgspec.Raw])
        if name in packages[package]:
            found[name] = msgspec.json.decode(packages[package][name])
            left.extend(_references(found[name]))
    return dict(sorted(found.items()))


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for child in node:
            yield from _references(child)
    elif isinstance(node, dict):
        target = node.get("$ref")
        if isinstance(target, str):
            yield target.rpartition("/")[2]
        for child in node.values():
            yield from _references(child)
