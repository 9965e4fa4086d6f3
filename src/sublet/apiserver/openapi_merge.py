"""Version 2 OpenAPI documents of other API servers: the part about one group and version, merged into ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sublet.machinery import codec
from sublet.machinery.kind import Object


def cut_out(document: Object, root: str) -> Object:
    """The paths below ``root`` of a version 2 document and the definitions they need."""
    paths = {
        path: item
        for path, item in (document.get("paths") or {}).items()
        if path.rstrip("/") == root or path.startswith(f"{root}/")
    }
    definitions = document.get("definitions") or {}
    found: Object = {}
    left = references(paths)
    prefix, _, version = root.removeprefix("/apis/").rpartition("/")
    for name, definition in definitions.items():
        # Types that no path refers to, but that are objects of the group.
        if any(
            each.get("group") == prefix and each.get("version") == version
            for each in definition.get("x-kubernetes-group-version-kind") or ()
        ):
            left.append(name)
    while left:
        name = left.pop()
        if name not in found and name in definitions:
            found[name] = definitions[name]
            left.extend(references(definitions[name]))
    return {"paths": paths, "definitions": found}


def references(node: Any) -> list[str]:
    """The names of the definitions that a part of a document refers to."""
    if isinstance(node, list):
        return [name for child in node for name in references(child)]
    if not isinstance(node, dict):
        return []
    stated = node.get("$ref")
    own = [stated.rpartition("/")[2]] if isinstance(stated, str) else []
    return own + [name for child in node.values() for name in references(child)]


def merge(document: Object, foreign: Object) -> None:
    """Adds the paths and definitions of a cut to a version 2 document, in place.

    A definition that both have and that differs gets another name (``…_v2``), as upstream does.
    """
    definitions = document["definitions"]
    renamed: dict[str, str] = {}
    for name, definition in foreign["definitions"].items():
        known = definitions.get(name)
        if isinstance(known, msgspec.Raw):
            known = codec.decode_json(memoryview(known))
        if known is not None and known != definition:
            number = 2
            while f"{name}_v{number}" in definitions or f"{name}_v{number}" in foreign["definitions"]:
                number += 1
            renamed[name] = f"{name}_v{number}"
    for name, definition in foreign["definitions"].items():
        definitions.setdefault(renamed.get(name, name), _renaming(definition, renamed))
    for path, item in foreign["paths"].items():
        document["paths"].setdefault(path, _renaming(item, renamed))


def _renaming(node: Any, renamed: Mapping[str, str]) -> Any:
    if not renamed:
        return node
    if isinstance(node, list):
        return [_renaming(child, renamed) for child in node]
    if not isinstance(node, dict):
        return node
    made = {key: _renaming(child, renamed) for key, child in node.items()}
    stated = made.get("$ref")
    if isinstance(stated, str):
        head, slash, name = stated.rpartition("/")
        made["$ref"] = f"{head}{slash}{renamed.get(name, name)}"
    return made
