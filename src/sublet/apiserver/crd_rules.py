"""What a schema of a custom resource may state besides being structural: keywords, lists, maps, expressions
(reference B.18). Texts and order are upstream's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from sublet.apiserver import crd_fieldpaths
from sublet.apiserver.crd_structural import JUNCTORS
from sublet.machinery.status import FieldError, field_forbidden, invalid, not_supported, required

if TYPE_CHECKING:
    from sublet.apiserver.crd_cel import Compiling

Document = Mapping[str, Any]
RULES = "x-kubernetes-validations"
_LIST, _KEYS, _MAP = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_META = ("apiVersion", "kind", "metadata")
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_BREAK = re.compile(r"[\n\r]")
_AT_ROOT = (
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties",
    "externalDocs", "example", "x-kubernetes-preserve-unknown-fields", RULES,
)  # fmt: skip
_GO_AT_ROOT = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems "
    "MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations"
)


class _Inside(Struct, frozen=True):
    """What holds of a part because of what is above it."""

    no_default: str | None = None
    """Why defaults are forbidden; None: they are not."""
    meta: bool = False
    """It is (part of) apiVersion, kind or metadata of a resource."""
    uncorrelatable: str = ""
    """The list above whose items cannot be told from before; empty: none."""
    cardinality: float | None = 1
    """How often it occurs at most; None: unbounded."""
    compiled: bool = True
    """Rules are compiled here: not inside of junctors, where they are refused."""


def root_errors(root: Document, path: str, *, has_status: bool) -> list[FieldError]:
    """What may not stand at the root. ``has_status``: there is a status subresource, whose schema is cut out."""
    errors: list[FieldError] = []
    if has_status:
        for key, value in root.items():
            if key == "type":
                if value != "object":
                    why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
                    errors.append(invalid(f"{path}.type", value, why))
                    break
            elif key not in _AT_ROOT and value not in (None, False, 0, "", [], {}):
                why = f"only [{_GO_AT_ROOT}] fields are allowed at the root of the schema if the status subresource is enabled"
                errors.append(invalid(path, dict(root), why))
                break
    if root.get("nullable"):
        errors.append(field_forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    return errors


def schema_errors(root: Document, path: str, compiling: Compiling | None) -> list[FieldError]:
    """Everything wrong with the keywords of a schema, then with its rules.

    ``compiling``: None where the schema is not structural, so that rules cannot be looked at.
    """
    walk = _Walk(compiling)
    found = walk.node(root, path, _Inside(), root=True)
    if compiling is None:
        return found
    compiling.finish(path)
    return [*found, *compiling.errors]


class _Walk:
    def __init__(self, compiling: Compiling | None) -> None:
        self.compiling = compiling

    def node(self, node: Document, path: str, inside: _Inside, *, root: bool = False) -> list[FieldError]:
        errors = [*_keywords(node, path, inside)]
        for where, child, below in self._below(node, path, inside, root):
            errors += self.node(child, where, below)
        errors += _kubernetes_keywords(node, path)
        for index, rule in enumerate(node.get(RULES) or ()):
            errors += _stated(rule, f"{path}.{RULES}[{index}]", node)
        if node.get(RULES) and not errors and inside.compiled and self.compiling is not None:
            self.compiling.rules(node, path, inside.cardinality, inside.uncorrelatable, root=root)
        return errors

    def _below(
        self, node: Document, path: str, inside: _Inside, root: bool
    ) -> Iterator[tuple[str, Document, _Inside]]:
        additional = node.get("additionalProperties")
        if isinstance(additional, dict):
            below = replace(inside, cardinality=_times(inside.cardinality, node.get("maxProperties")))
            if inside.meta:
                below = replace(below, no_default="inside additionalProperties applying to object metadata")
            yield f"{path}.additionalProperties", additional, below
        own = root or bool(node.get("x-kubernetes-embedded-resource"))
        for name, child in (node.get("properties") or {}).items():
            below = inside
            if own and name in _META:
                below = replace(inside, meta=True)
                if root:
                    below = replace(below, no_default=f"in top-level {name}")
            yield f"{path}.properties[{name}]", child, below
        part = replace(inside, compiled=False)
        if isinstance(node.get("not"), dict):
            yield f"{path}.not", node["not"], part
        for key in JUNCTORS:
            for index, child in enumerate(node.get(key) or ()):
                yield f"{path}.{key}[{index}]", child, part
        if isinstance(node.get("items"), dict):
            yield f"{path}.items", node["items"], _inside_list(node, path, inside)


def _inside_list(node: Document, path: str, inside: _Inside) -> _Inside:
    below = replace(inside, cardinality=_times(inside.cardinality, node.get("maxItems")))
    if node.get(_LIST) != "map" and not inside.uncorrelatable:
        below = replace(below, uncorrelatable=path)
    return below


def _times(cardinality: float | None, most: Any) -> float | None:
    return None if cardinality is None or most is None else cardinality * float(most)


# -- keywords --


def _keywords(node: Document, path: str, inside: _Inside) -> Iterator[FieldError]:
    kind = node.get("type")
    if kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    if node.get("default") is not None and inside.no_default is not None:
        yield field_forbidden(f"{path}.default", f"must not be set {inside.no_default}")
    for key in _UNSUPPORTED:
        if node.get(key):
            yield field_forbidden(f"{path}.{key}", f"{key} is not supported")
    if kind == "null":
        yield field_forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(node.get("items"), list):
        yield field_forbidden(f"{path}.items", "items must be a schema object and not an array")
    if inside.meta and node.get("x-kubernetes-embedded-resource"):
        yield field_forbidden(
            f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta"
        )
    if node.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field_forbidden(f"{path}.uniqueItems", why)
    if node.get("properties") and node.get("additionalProperties") not in (None, True):
        why = "additionalProperties and properties are mutual exclusive"
        yield field_forbidden(f"{path}.additionalProperties", why)


def _kubernetes_keywords(node: Document, path: str) -> Iterator[FieldError]:
    if node.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    kind, map_type, list_type = node.get("type") or "", node.get(_MAP), node.get(_LIST)
    if map_type is not None and kind != "object":
        yield _mistyped(path, kind, f"must be object if {_MAP} is specified")
    if map_type not in (None, "atomic", "granular"):
        yield not_supported(f"{path}.{_MAP}", map_type, ("atomic", "granular"))
    if list_type is not None and kind != "array":
        yield _mistyped(path, kind, f"must be array if {_LIST} is specified")
    elif list_type == "set":
        yield from _set_items(node, path)
    if list_type not in (None, "atomic", "set", "map"):
        yield not_supported(f"{path}.{_LIST}", list_type, ("atomic", "set", "map"))
    if node.get(_KEYS) and list_type != "map":
        why = f"must be map if {_KEYS} is non-empty"
        where = f"{path}.{_LIST}"
        yield required(where, why) if list_type is None else invalid(where, list_type, why)
    if list_type == "map":
        yield from _map_list(node, path)
    if list_type in ("set", "map"):
        yield from _keyed_items(node, path, list_type)


def _mistyped(path: str, kind: str, why: str) -> FieldError:
    return invalid(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)


def _set_items(node: Document, path: str) -> Iterator[FieldError]:
    items = node.get("items")
    if not isinstance(items, dict):
        return
    why = f"must be atomic as item of a list with {_LIST}=set"
    if items.get("type") == "array" and items.get(_LIST) not in (None, "atomic"):
        yield invalid(f"{path}.items.{_LIST}", items.get(_LIST), why)
    if items.get("type") == "object" and items.get(_MAP) != "atomic":
        yield invalid(f"{path}.items.{_MAP}", items.get(_LIST), why)


def _map_list(node: Document, path: str) -> Iterator[FieldError]:
    keys: Sequence[str] = node.get(_KEYS) or ()
    items = node.get("items")
    if not keys:
        yield required(f"{path}.{_KEYS}", f"must not be empty if {_LIST} is map")
    if items is None:
        yield required(f"{path}.items", f"must have a schema if {_LIST} is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        why = f"must be object if parent array's {_LIST} is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", why)
        return
    properties: Mapping[str, Document] = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            yield invalid(f"{path}.{_KEYS}", list(keys), "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            why = f"must be a scalar type if parent array's {_LIST} is map"
            yield invalid(f"{path}.items.properties[{key}].type", items["type"], why)
        if key in keys[:index]:
            yield invalid(f"{path}.{_KEYS}", list(keys), "must not contain duplicate entries")


def _keyed_items(node: Document, path: str, list_type: str) -> Iterator[FieldError]:
    items = node.get("items")
    if not isinstance(items, dict):
        return
    if items.get("nullable"):
        yield field_forbidden(f"{path}.items.nullable", f"cannot be nullable when {_LIST} is {list_type}")
    if list_type != "map":
        return
    properties: Mapping[str, Document] = items.get("properties") or {}
    for key in node.get(_KEYS) or ():
        stated = properties.get(key)
        if stated is None:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and stated.get("default") is None:
            why = f"this property is in {_KEYS}, so it must have a default or be a required property"
            yield required(f"{where}.default", why)
        if stated.get("nullable"):
            why = f"this property is in {_KEYS}, so it cannot be nullable"
            yield field_forbidden(f"{where}.nullable", why)


# -- rules, before anything is compiled --


def _stated(rule: Document, where: str, node: Document) -> Iterator[FieldError]:
    text, message = str(rule.get("rule") or ""), str(rule.get("message") or "")
    if not text.strip():
        yield required(f"{where}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid(f"{where}.message", message, "message must be non-empty if specified")
    elif _BREAK.search(message.strip()):
        yield invalid(f"{where}.message", message, "message must not contain line breaks")
    elif _BREAK.search(text.strip()) and not message.strip():
        yield required(f"{where}.message", "message must be specified if rule contains line breaks")
    expression = str(rule.get("messageExpression") or "")
    if expression and not expression.strip():
        yield required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield not_supported(f"{where}.reason", reason, _REASONS)
    path = str(rule.get("fieldPath") or "")
    if not path:
        return
    if not path.strip():
        yield invalid(f"{where}.fieldPath", path, "fieldPath must be non-empty if specified")
    if _BREAK.search(path):
        yield invalid(f"{where}.fieldPath", path, "fieldPath must not contain line breaks")
    try:
        crd_fieldpaths.resolve(path, node)
    except ValueError:
        yield invalid(f"{where}.fieldPath", path, "fieldPath must be a valid path")
