"""What makes a CustomResourceDefinition acceptable: names, versions, structural schemas (reference B.18)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sublet.apiserver import crd_schema
from sublet.machinery import names, objects, regexp
from sublet.machinery.jsonpath import JSONPath
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema
from sublet.machinery.status import FieldError, field_forbidden, invalid, not_supported, required

APPROVED = "api-approved.kubernetes.io"
_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_FORBIDDEN_KEYWORDS = (
    "$ref",
    "definitions",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "deprecated",
    "readOnly",
    "writeOnly",
)
_LOGICAL = ("allOf", "anyOf", "oneOf")
_NOT_IN_JUNCTORS = ("description", "type", "default", "additionalProperties", "nullable", "x-kubernetes-preserve-unknown-fields",
                    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-validations")  # fmt: skip
_MAX_SELECTABLE = 8


def validate(crd: Object) -> list[FieldError]:
    """Errors of a definition, old or new."""
    spec: Mapping[str, Any] = crd.get("spec") or {}
    errors: list[FieldError] = []
    group = spec.get("group") or ""
    stated: Mapping[str, Any] = spec.get("names") or {}
    errors += _name(crd, group, str(stated.get("plural") or ""))
    errors += _group(crd, group)
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        errors.append(
            not_supported("spec.scope", spec.get("scope") or "", ("Cluster", "Namespaced"))
            if spec.get("scope")
            else required("spec.scope")
        )
    errors += _names(stated)
    errors += _versions(spec)
    errors += _conversion(spec)
    if spec.get("preserveUnknownFields"):
        errors.append(
            invalid(
                "spec.preserveUnknownFields", True,
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            )
        )  # fmt: skip
    return errors


def validate_update(new: Object, old: Object) -> list[FieldError]:
    """What may not change."""
    errors: list[FieldError] = []
    after, before = new.get("spec") or {}, old.get("spec") or {}
    established = objects.is_true(old, "Established")
    fixed = ["group"]
    if established:
        fixed.append("scope")
    for key in fixed:
        if after.get(key) != before.get(key):
            errors.append(invalid(f"spec.{key}", after.get(key), "field is immutable"))
    if established:
        for key in ("plural", "kind"):
            mine, theirs = (after.get("names") or {}).get(key), (before.get("names") or {}).get(key)
            if mine != theirs:
                errors.append(invalid(f"spec.names.{key}", mine, "field is immutable"))
    versions = {v.get("name") for v in after.get("versions") or ()}
    for index, name in enumerate((old.get("status") or {}).get("storedVersions") or ()):
        if name not in versions:
            errors.append(
                invalid(f"status.storedVersions[{index}]", name, f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions")
            )  # fmt: skip
    return errors


def validate_status(new: Object, _old: Object) -> list[FieldError]:
    """``status.storedVersions`` must hold the storage version and only versions there are."""
    stored = (new.get("status") or {}).get("storedVersions") or []
    versions = {v.get("name"): v for v in (new.get("spec") or {}).get("versions") or ()}
    errors = [
        invalid(f"status.storedVersions[{i}]", name, "must appear in spec.versions")
        for i, name in enumerate(stored)
        if name not in versions
    ]
    storage = next((name for name, v in versions.items() if v.get("storage")), None)
    if storage not in stored:
        errors.append(invalid("status.storedVersions", stored, f"must have the storage version {storage}"))
    return errors


def has_rules(document: Mapping[str, Any]) -> bool:
    """Whether a schema states ``x-kubernetes-validations`` anywhere."""
    return any(node.get("x-kubernetes-validations") for _, node in _nodes(document, ""))


def _name(crd: Object, group: str, plural: str) -> list[FieldError]:
    name = objects.name(crd)
    wanted = f"{plural}.{group}"
    return (
        [] if name == wanted else [invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]
    )


def _group(crd: Object, group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    errors = [invalid("spec.group", group, text) for text in names.dns1123_subdomain(group)]
    if not errors and "." not in group:
        errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    protected = group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")
    if protected and not _approved(objects.annotations(crd).get(APPROVED, "")):
        where = f"metadata.annotations[{APPROVED}]"
        if objects.annotations(crd).get(APPROVED):
            errors.append(
                invalid(where, objects.annotations(crd)[APPROVED], 'protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111')
            )  # fmt: skip
        else:
            errors.append(required(where, 'protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'))  # fmt: skip
    return errors


def _approved(text: str) -> bool:
    return text.startswith("unapproved") or re.match(r"https?://[^/\s]+", text) is not None


def _names(stated: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for key in ("plural", "singular", "kind", "listKind"):
        value = str(stated.get(key) or "")
        path = f"spec.names.{key}"
        if not value:
            if key in ("plural", "kind"):
                errors.append(required(path))
            continue
        checked = value.lower() if key in ("kind", "listKind") else value
        word = "may have mixed case, but should otherwise match: " if key in ("kind", "listKind") else ""
        errors += [invalid(path, value, word + text) for text in names.dns1035_label(checked)]
    for key in ("shortNames", "categories"):
        for index, value in enumerate(stated.get(key) or ()):
            errors += [
                invalid(f"spec.names.{key}[{index}]", value, t) for t in names.dns1035_label(str(value))
            ]
    if stated.get("kind") and stated.get("kind") == stated.get("listKind"):
        errors.append(
            invalid("spec.names.listKind", stated["listKind"], "kind and listKind may not be the same")
        )
    return errors


def _versions(spec: Mapping[str, Any]) -> list[FieldError]:
    versions: Sequence[Mapping[str, Any]] = spec.get("versions") or ()
    path = "spec.versions"
    if not versions:
        return [required(path, "must have at least one version")]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        name, where = str(version.get("name") or ""), f"{path}[{index}]"
        errors += [invalid(f"{where}.name", name, text) for text in names.dns1035_label(name)]
        if name in seen:
            errors.append(
                invalid(path, [v.get("name") for v in versions], "must contain unique version names")
            )
        seen.add(name)
        errors += _version(version, where)
    if sum(bool(version.get("storage")) for version in versions) != 1:
        errors.append(
            invalid(
                path, [dict(v) for v in versions], "must have exactly one version marked as storage version"
            )
        )
    return errors


def _version(version: Mapping[str, Any], where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    if root is None:
        errors.append(required(f"{where}.schema.openAPIV3Schema", "schemas are required"))
    elif isinstance(root, dict):
        errors += validate_schema(root, f"{where}.schema.openAPIV3Schema")
    scale = (version.get("subresources") or {}).get("scale")
    if scale:
        for key, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            value = str(scale.get(key) or "")
            field = f"{where}.subresources.scale.{key}"
            if not value:
                errors.append(required(field))
            elif not value.startswith(start):
                errors.append(invalid(field, value, f"should be a json path under {start}"))
        label = scale.get("labelSelectorPath")
        if label and not str(label).startswith((".spec.", ".status.")):
            errors.append(
                invalid(
                    f"{where}.subresources.scale.labelSelectorPath",
                    label,
                    "should be a json path under either .status or .spec",
                )
            )
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        errors += _column(column, f"{where}.additionalPrinterColumns[{index}]")
    fields = version.get("selectableFields") or ()
    if len(fields) > _MAX_SELECTABLE:
        errors.append(
            invalid(f"{where}.selectableFields", len(fields), f"must have at most {_MAX_SELECTABLE} items")
        )
    for index, field_ in enumerate(fields):
        errors += _json_path(str(field_.get("jsonPath") or ""), f"{where}.selectableFields[{index}].jsonPath")
    return errors


def _column(column: Mapping[str, Any], where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not column.get("name"):
        errors.append(required(f"{where}.name"))
    if column.get("type") not in ("integer", "number", "string", "boolean", "date"):
        errors.append(
            invalid(
                f"{where}.type", column.get("type") or "", "must be one of boolean,date,integer,number,string"
            )
        )
    return errors + _json_path(str(column.get("jsonPath") or ""), f"{where}.jsonPath")


def _json_path(text: str, where: str) -> list[FieldError]:
    if not text:
        return [required(where)]
    try:
        JSONPath(text)
    except ValueError as error:
        return [invalid(where, text, f"is an invalid value: {error}")]
    return []


def _conversion(spec: Mapping[str, Any]) -> list[FieldError]:
    conversion: Mapping[str, Any] = spec.get("conversion") or {}
    strategy = conversion.get("strategy") or "None"
    path = "spec.conversion"
    if strategy not in ("None", "Webhook"):
        return [not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))]
    webhook: Mapping[str, Any] = conversion.get("webhook") or {}
    if strategy == "None":
        return (
            [field_forbidden(f"{path}.webhook", "should not be set when strategy is not set to Webhook")]
            if webhook
            else []
        )
    errors: list[FieldError] = []
    if not webhook.get("clientConfig"):
        errors.append(required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook"))
    if not webhook.get("conversionReviewVersions"):
        errors.append(required(f"{path}.webhook.conversionReviewVersions"))
    return errors


# -- structural schemas --


def validate_schema(root: Mapping[str, Any], path: str) -> list[FieldError]:
    """Whether an openAPIV3Schema is structural, and its defaults obey it."""
    errors: list[FieldError] = []
    if root.get("type") != "object":
        errors.append(
            required(f"{path}.type", "must not be empty at the root")
            if not root.get("type")
            else invalid(f"{path}.type", root["type"], "must be object at the root")
        )
    if root.get("nullable"):
        errors.append(field_forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    for where, node in _nodes(root, path):
        errors += _node(node, where, is_root=where == path)
    if not errors:
        errors += _defaults(root, path)
    if not errors and has_rules(root):
        from sublet.apiserver import crd_cel

        errors += crd_cel.schema_errors(root, path)
    return errors


def _nodes(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node of the structure (not those inside junctors) with its path."""
    yield path, node
    for name, child in (node.get("properties") or {}).items():
        if isinstance(child, dict):
            yield from _nodes(child, f"{path}.properties[{name}]")
    if isinstance(node.get("items"), dict):
        yield from _nodes(node["items"], f"{path}.items")
    if isinstance(node.get("additionalProperties"), dict):
        yield from _nodes(node["additionalProperties"], f"{path}.additionalProperties")


def _node(node: Mapping[str, Any], path: str, *, is_root: bool) -> list[FieldError]:
    errors = [
        field_forbidden(f"{path}.{key}", "is not supported") for key in _FORBIDDEN_KEYWORDS if node.get(key)
    ]
    kind = node.get("type") or ""
    int_or_string = bool(node.get("x-kubernetes-int-or-string"))
    preserve = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    if kind and kind not in _TYPES:
        errors.append(not_supported(f"{path}.type", kind, sorted(_TYPES)))
    if int_or_string and kind:
        errors.append(invalid(f"{path}.type", kind, "must be empty if x-kubernetes-int-or-string is true"))
    if not kind and not int_or_string and not preserve and not is_root:
        errors.append(required(f"{path}.type", "must not be empty for specified object fields" if ".properties[" in path.rpartition(".")[2] or path.endswith("]") else "must not be empty for specified array items" if path.endswith(".items") else "must not be empty"))  # fmt: skip
    if "properties" in node and node.get("additionalProperties") not in (None, False) and node["properties"]:
        errors.append(
            field_forbidden(
                f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
            )
        )
    if node.get("additionalProperties") is False:
        errors.append(
            field_forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
        )
    if kind == "array" and not isinstance(node.get("items"), dict):
        errors.append(required(f"{path}.items", "must be specified"))
    if node.get("uniqueItems"):
        errors.append(
            field_forbidden(
                f"{path}.uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    if "pattern" in node:
        errors += _pattern(str(node["pattern"]), f"{path}.pattern")
    errors += _metadata(node, path, is_root=is_root)
    errors += _list_rules(node, path)
    errors += _junctors(node, path)
    return errors


def _pattern(text: str, path: str) -> list[FieldError]:
    try:
        regexp.compiled(text)
    except ValueError as error:
        return [invalid(path, text, f"must be a valid regular expression, but isn't: {error}")]
    return []


def _metadata(node: Mapping[str, Any], path: str, *, is_root: bool) -> list[FieldError]:
    """``metadata`` at the root says nothing but rules for name and generateName."""
    metadata = (node.get("properties") or {}).get("metadata") if is_root else None
    if not isinstance(metadata, dict):
        return []
    where = f"{path}.properties[metadata]"
    errors = []
    if metadata.get("type") not in (None, "object"):
        errors.append(invalid(f"{where}.type", metadata.get("type"), "must be object"))
    for name in metadata.get("properties") or {}:
        if name not in ("name", "generateName"):
            errors.append(
                field_forbidden(
                    f"{where}.properties",
                    "must not specify anything other than name and generateName, but metadata is implicitly specified",
                )
            )
            break
    return errors


def _list_rules(node: Mapping[str, Any], path: str) -> list[FieldError]:
    kind = node.get("x-kubernetes-list-type")
    if kind is None:
        return []
    errors: list[FieldError] = []
    if kind not in ("atomic", "set", "map"):
        errors.append(not_supported(f"{path}.x-kubernetes-list-type", kind, ("atomic", "map", "set")))
    if node.get("type") != "array":
        errors.append(
            invalid(
                f"{path}.type", node.get("type") or "", "must be array if x-kubernetes-list-type is specified"
            )
        )
    keys = node.get("x-kubernetes-list-map-keys") or ()
    if kind != "map":
        if keys:
            errors.append(
                field_forbidden(
                    f"{path}.x-kubernetes-list-map-keys",
                    "must not be set if x-kubernetes-list-type is not map",
                )
            )
        return errors
    if not keys:
        errors.append(
            required(
                f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map"
            )
        )
    items: Mapping[str, Any] = node.get("items") or {}
    properties: Mapping[str, Any] = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            errors.append(
                invalid(
                    f"{path}.x-kubernetes-list-map-keys[{index}]",
                    key,
                    "entries must all be names of item properties",
                )
            )
        elif key not in (items.get("required") or ()) and "default" not in properties[key]:
            errors.append(
                required(
                    f"{path}.items.properties[{key}].default",
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                )
            )
    return errors


def _junctors(node: Mapping[str, Any], path: str) -> list[FieldError]:
    """Inside allOf, anyOf, oneOf and not stand rules for values, no structure."""
    errors: list[FieldError] = []
    parts = [(f"{path}.{key}[{i}]", part) for key in _LOGICAL for i, part in enumerate(node.get(key) or ())]
    if isinstance(node.get("not"), dict):
        parts.append((f"{path}.not", node["not"]))
    for where, part in parts:
        for key in _NOT_IN_JUNCTORS:
            if part.get(key) and not (key == "type" and node.get("x-kubernetes-int-or-string")):
                errors.append(field_forbidden(f"{where}.{key}", "must be empty to be structural"))
    return errors


def _defaults(root: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for where, node in _nodes(root, path):
        if "default" in node and where != path:
            for error in crd_schema.validate(
                node["default"], Schema(node), root=False, path=f"{where}.default"
            ):
                errors.append(error)
    return errors
