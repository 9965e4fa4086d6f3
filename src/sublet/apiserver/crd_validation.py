"""What makes a CustomResourceDefinition acceptable: names, versions, schemas, conversion (reference B.18).

Errors name fields as upstream's internal type has them: what all versions share stands at ``spec.validation``,
``spec.subresources``, ``spec.additionalPrinterColumns`` and ``spec.selectableFields``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sublet.apiserver import crd_defaults, crd_fieldpaths, crd_rules
from sublet.apiserver.crd_structural import has_rules, structural_errors
from sublet.kinds import schemas
from sublet.kinds.rules import webhooks
from sublet.machinery import codec, names, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import (
    FieldError,
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)

APPROVED = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_REVIEWS = ("v1", "v1beta1")
_MOST_SELECTABLE = 8
_LONGEST_WARNING = 256
_DEEPEST = 200
"""Objects and lists in each other; of schemas that people write, the deepest take a third of it."""
_SHARED = {
    "schema": "validation", "subresources": "subresources", "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}  # fmt: skip
"""What stands in the spec itself where all versions have the same."""

Document = Mapping[str, Any]


def validate(new: Object, old: Object | None) -> list[FieldError]:
    """Everything wrong with a definition, besides its metadata, in the light of what it was before (None: new)."""
    spec: Document = new.get("spec") or {}
    before: Document = (old or {}).get("spec") or {}
    errors = [*_name(new, spec), *_group(spec), *_scope(spec), *_versions(spec, before), *_names(spec)]
    errors += _shared(spec, before)
    errors += [
        *_conversion(spec, before, established=old is not None and objects.is_true(old, "Established"))
    ]
    if old is not None:
        errors += [
            *_fixed(spec, before, established=objects.is_true(old, "Established")),
            *_stored(new, spec),
        ]
    errors += [*_approval(new, old, str(spec.get("group") or ""))]
    if spec.get("preserveUnknownFields") and not before.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errors.append(invalid("spec.preserveUnknownFields", True, why))
    return errors


def validate_status(new: Object, _old: Object) -> list[FieldError]:
    """Accepted names must be names."""
    return [*_labels((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")]


# -- changes --


def _fixed(after: Document, before: Document, *, established: bool) -> Iterator[FieldError]:
    mine, theirs = after.get("names") or {}, before.get("names") or {}
    if established:
        if after.get("scope") != before.get("scope"):
            yield invalid("spec.scope", after.get("scope") or "", "field is immutable")
        if mine.get("kind") != theirs.get("kind"):
            yield invalid("spec.names.kind", mine.get("kind") or "", "field is immutable")
    if after.get("group") != before.get("group"):
        yield invalid("spec.group", after.get("group") or "", "field is immutable")
    if mine.get("plural") != theirs.get("plural"):
        yield invalid("spec.names.plural", mine.get("plural") or "", "field is immutable")


def _stored(new: Object, spec: Document) -> Iterator[FieldError]:
    """Versions that objects may be stored in stay."""
    path = "status.storedVersions"
    stored: Sequence[str] = (new.get("status") or {}).get("storedVersions") or []
    if not stored:
        yield invalid(path, list(stored), "must have at least one stored version")
        return
    versions = {v.get("name"): v for v in spec.get("versions") or ()}
    for name, version in versions.items():
        if version.get("storage") and name not in stored:
            yield invalid(path, list(stored), f"must have the storage version {name}")
    for index, name in enumerate(stored):
        if name not in versions:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions "
                f"until a storage migration ensures no data remains persisted in {name} and removes {name} from "
                "status.storedVersions"
            )
            yield invalid(f"{path}[{index}]", name, why)


# -- names --


def _name(crd: Object, spec: Document) -> Iterator[FieldError]:
    name = objects.name(crd)
    plural = (spec.get("names") or {}).get("plural") or ""
    if name != f"{plural}.{spec.get('group') or ''}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _group(spec: Document) -> Iterator[FieldError]:
    group = str(spec.get("group") or "")
    if not group:
        yield required("spec.group")
    elif wrong := names.dns1123_subdomain(group):
        yield invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")


def _scope(spec: Document) -> Iterator[FieldError]:
    scope = spec.get("scope")
    if not scope:
        yield required("spec.scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield not_supported("spec.scope", scope, ("Cluster", "Namespaced"))


def _names(spec: Document) -> Iterator[FieldError]:
    stated: Document = spec.get("names") or {}
    for key in ("plural", "singular", "kind", "listKind"):
        if not stated.get(key):
            yield required(f"spec.names.{key}")
    yield from _labels(stated, "spec.names")


def _labels(stated: Document, path: str) -> Iterator[FieldError]:
    for key in ("plural", "singular", "kind", "listKind"):
        value = str(stated.get(key) or "")
        mixed = key in ("kind", "listKind")
        wrong = names.dns1035_label(value.lower() if mixed else value) if value else ()
        if wrong:
            word = "may have mixed case, but should otherwise match: " if mixed else ""
            yield invalid(f"{path}.{key}", value, word + ",".join(wrong))
    yield from _label_list(stated, path, "shortNames")
    if stated.get("kind") and stated.get("kind") == stated.get("listKind"):
        yield invalid(f"{path}.listKind", stated["listKind"], "kind and listKind may not be the same")
    yield from _label_list(stated, path, "categories")


def _label_list(stated: Document, path: str, key: str) -> Iterator[FieldError]:
    for index, value in enumerate(stated.get(key) or ()):
        if wrong := names.dns1035_label(str(value)):
            yield invalid(f"{path}.{key}[{index}]", value, ",".join(wrong))


# -- versions --


def _common(versions: Sequence[Document]) -> frozenset[str]:
    """What all versions have the same of."""
    common = {
        key for key in _SHARED if all(codec.same(v.get(key), versions[0].get(key)) for v in versions[1:])
    }
    return frozenset(common if "schema" in common else common - {"selectableFields"})


def _schemas(spec: Document) -> Mapping[Any, Any]:
    return {v.get("name"): v.get("schema") for v in spec.get("versions") or ()}


def _versions(spec: Document, before: Document) -> Iterator[FieldError]:
    versions: Sequence[Document] = spec.get("versions") or ()
    shared, known = _common(versions), _schemas(before)
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
    for index, version in enumerate(versions):
        where = f"spec.versions[{index}]"
        name = str(version.get("name") or "")
        if wrong := names.dns1035_label(name):
            yield invalid(f"{where}.name", name, ",".join(wrong))
        yield from _deprecation(version, where)
        for key in _SHARED:
            if key not in shared:
                yield from _PARTS[key](version, f"{where}.{key}", known)
    yield from _version_set(versions)
    if versions and (wrong := names.dns1035_label(str(versions[0].get("name") or ""))):
        yield invalid("spec.version", versions[0].get("name") or "", ",".join(wrong))


def _shared(spec: Document, before: Document) -> Iterator[FieldError]:
    versions: Sequence[Document] = spec.get("versions") or ()
    shared, known = _common(versions), _schemas(before)
    for key, place in _SHARED.items():
        if versions and key in shared:
            yield from _PARTS[key](versions[0], f"spec.{place}", known)


def _version_set(versions: Sequence[Document]) -> Iterator[FieldError]:
    stated = [version.get("name") for version in versions]
    if len(set(stated)) != len(stated):
        yield invalid("spec.versions", _shown_versions(versions), "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        why = "must have exactly one version marked as storage version"
        yield invalid("spec.versions", _shown_versions(versions) or None, why)


def _shown_versions(versions: Sequence[Document]) -> list[Document]:
    """As upstream's internal type shows them, without what is long."""
    return [
        {
            "Name": v.get("name") or "", "Served": bool(v.get("served")), "Storage": bool(v.get("storage")),
            "Deprecated": bool(v.get("deprecated")), "DeprecationWarning": v.get("deprecationWarning"), "Schema": None,
            "Subresources": None, "AdditionalPrinterColumns": None, "SelectableFields": None,
        }
        for v in versions
    ]  # fmt: skip


def _deprecation(version: Document, where: str) -> Iterator[FieldError]:
    text = version.get("deprecationWarning")
    if text is None:
        return
    path = f"{where}.deprecationWarning"
    if not version.get("deprecated"):
        yield invalid(path, text, "can only be set for deprecated versions")
        return
    if len(text.encode()) > _LONGEST_WARNING:
        yield invalid(path, text, f"must be <= {_LONGEST_WARNING} characters long")
    if not text:
        yield invalid(path, text, "must not be an empty string")
    for index, char in enumerate(text):
        if not char.isprintable():
            why = "must only contain printable UTF-8 characters; non-printable character found at index"
            yield invalid(path, text, f"{why} {len(text[:index].encode())}")
            break


def _schema(version: Document, path: str, known: Mapping[Any, Any]) -> Iterator[FieldError]:
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    if not root:
        return
    before = known.get(version.get("name"))
    if before is not None and codec.same(before, version["schema"]):
        return  # it was accepted then
    if _deeper_than(root, _DEEPEST):
        yield invalid(
            f"{path}.openAPIV3Schema", "", f"must not be nested more than {_DEEPEST // 2} levels deep"
        )
        return
    has_status = (version.get("subresources") or {}).get("status") is not None
    yield from validate_schema(root, f"{path}.openAPIV3Schema", has_status=has_status)


def _deeper_than(root: Document, most: int) -> bool:
    """Whether a JSON value nests deeper than that. Everything else that looks at schemas recurs."""
    level: list[Any] = [root]
    for _ in range(most):
        below: list[Any] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node
            below += [child for child in children if isinstance(child, (dict, list))]
        if not below:
            return False
        level = below
    return True


def validate_schema(root: Document, path: str, *, has_status: bool = False) -> list[FieldError]:
    """Whether an openAPIV3Schema is structural, its defaults obey it, and its rules can be run."""
    errors = crd_rules.root_errors(root, path, has_status=has_status)
    found = structural_errors(root, path) or crd_defaults.default_errors(root, path, schemas.object_meta)
    errors += found
    compiling = None
    if not found and has_rules(root):
        from sublet.apiserver.crd_cel import Compiling

        compiling = Compiling()
    return [*errors, *crd_rules.schema_errors(root, path, compiling)]


def _subresources(version: Document, path: str, _known: Mapping[Any, Any]) -> Iterator[FieldError]:
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return
    for key, start in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value, where = str(scale.get(key) or ""), f"{path}.scale.{key}"
        if not value:
            yield required(where)
        elif wrong := _simple_path(value, where):
            yield wrong
        elif not value.startswith(f"{start}."):
            yield invalid(where, value, f"should be a json path under {start}")
    label, where = str(scale.get("labelSelectorPath") or ""), f"{path}.scale.labelSelectorPath"
    if label and (wrong := _simple_path(label, where)):
        yield wrong
    elif label and not label.startswith((".spec.", ".status.")):
        yield invalid(where, label, "should be a json path under either .spec or .status")


def _simple_path(value: str, where: str) -> FieldError | None:
    if value.startswith("."):
        return None
    return invalid(where, value, "must be a simple json path starting with .")


def _columns(version: Document, path: str, _known: Mapping[Any, Any]) -> Iterator[FieldError]:
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{path}[{index}]"
        if not column.get("name"):
            yield required(f"{where}.name")
        kind, form = column.get("type") or "", column.get("format") or ""
        why = f"must be one of {','.join(_COLUMN_TYPES)}"
        if not kind:
            yield required(f"{where}.type", why)
        elif kind not in _COLUMN_TYPES:
            yield invalid(f"{where}.type", kind, why)
        if form and form not in _COLUMN_FORMATS:
            yield invalid(f"{where}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
        stated = str(column.get("jsonPath") or "")
        if not stated:
            yield required(f"{where}.JSONPath")
        elif wrong := _simple_path(stated, f"{where}.JSONPath"):
            yield wrong


def _selectable(version: Document, path: str, _known: Mapping[Any, Any]) -> Iterator[FieldError]:
    stated: Sequence[Document] = version.get("selectableFields") or ()
    root = (version.get("schema") or {}).get("openAPIV3Schema")
    if not stated or not isinstance(root, dict):
        return
    seen: set[str] = set()
    for index, each in enumerate(stated):
        where, text = f"{path}[{index}].jsonPath", str(each.get("jsonPath") or "")
        if not text:
            yield required(where)
            continue
        try:
            shown, found = crd_fieldpaths.resolve(text, root, brackets=False)
        except ValueError as error:
            yield invalid(where, text, f"is an invalid path: {error}")
            continue
        if shown.partition(".")[0] == "metadata":
            yield invalid(where, text, "must not point to fields in metadata")
        if found.get("type") not in ("string", "boolean", "integer"):
            why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield invalid(where, text, why)
        if shown in seen:
            yield duplicate(where, text)
        seen.add(shown)
    if len(seen) > _MOST_SELECTABLE:
        yield too_many(path, len(seen), _MOST_SELECTABLE)


_PARTS = {
    "schema": _schema, "subresources": _subresources, "additionalPrinterColumns": _columns, "selectableFields": _selectable,
}  # fmt: skip


# -- conversion and approval --


def _conversion(spec: Document, before: Document, *, established: bool) -> Iterator[FieldError]:
    conversion: Document = spec.get("conversion") or {}
    path = "spec.conversion"
    strategy = conversion.get("strategy") or "None"
    if strategy not in ("None", "Webhook"):
        yield not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))
    webhook: Document = conversion.get("webhook") or {}
    config, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or ()
    if strategy != "Webhook":
        for key, stated in (("webhookClientConfig", config), ("conversionReviewVersions", reviews)):
            if stated:
                why = "should not be set when strategy is not set to Webhook"
                yield field_forbidden(f"{path}.{key}", why)
        return
    if config is None:
        yield required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
    else:
        yield from webhooks.client_config(f"{path}.webhookClientConfig", config)
        bundle = str(config.get("caBundle") or "")
        if established and not _is_bundle(bundle) and trusts_somebody(before):
            why = (
                "unable to load root certificates: data does not contain any valid RSA or ECDSA certificates"
            )
            yield invalid(f"{path}.webhookClientConfig.caBundle", bundle, why)
    yield from _review_versions(reviews, f"{path}.conversionReviewVersions")


def _bundle_of(spec: Document) -> str:
    config = ((spec.get("conversion") or {}).get("webhook") or {}).get("clientConfig") or {}
    return str(config.get("caBundle") or "")


def trusts_somebody(spec: Document) -> bool:
    """Whether the authorities that a conversion webhook is to be verified by can be read; none stated are fine."""
    return _is_bundle(_bundle_of(spec))


def _is_bundle(encoded: str) -> bool:
    """Whether base64 text holds certificates; none at all are fine."""
    if not encoded:
        return True
    from cryptography import x509

    try:
        return bool(x509.load_pem_x509_certificates(base64.b64decode(encoded)))
    except ValueError:
        return False


def _review_versions(stated: Sequence[str], path: str) -> Iterator[FieldError]:
    if not stated:
        yield required(path)
        return
    for index, version in enumerate(stated):
        if version in stated[:index]:
            yield invalid(f"{path}[{index}]", version, "duplicate version")
            continue
        for wrong in names.dns1035_label(str(version)):
            yield invalid(f"{path}[{index}]", version, wrong)
    if not set(_REVIEWS) & set(stated):
        yield invalid(path, list(stated), f"must include at least one of {', '.join(_REVIEWS)}")


def _approval(new: Object, old: Object | None, group: str) -> Iterator[FieldError]:
    if not protected(group):
        return
    state, why = approval(new)
    if old is not None and approval(old)[0] == state:
        return
    where = f"metadata.annotations[{APPROVED}]"
    if state == "Missing":
        yield required(where, why)
    elif state == "Invalid":
        yield invalid(where, objects.annotations(new)[APPROVED], why)


def protected(group: str) -> bool:
    """Whether a group is the Kubernetes community's."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(crd: Object) -> tuple[str, str]:
    """(``Missing``, ``Unapproved``, ``Approved`` or ``Invalid``; the reason) of a definition in a protected group."""
    stated = objects.annotations(crd).get(APPROVED, "")
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not stated:
        return "Missing", f'protected groups must have approval annotation "{APPROVED}", {see}'
    if stated.startswith("unapproved"):
        return "Unapproved", f"not approved: {codec.encode_json(stated).decode()}"
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s]+", stated):
        return "Approved", f"approved in {stated}"
    return "Invalid", (
        f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with '
        f'"unapproved", {see}'
    )
