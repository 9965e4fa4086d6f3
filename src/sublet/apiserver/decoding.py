"""Request bodies to objects: JSON, YAML or protobuf, with strict field validation (reference B.9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sublet.apiserver import negotiation
from sublet.apiserver.options import Validation, decode_protobuf
from sublet.client.exchange import Request
from sublet.kinds import schemas
from sublet.machinery import codec, strict
from sublet.machinery.kind import Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import BadRequest, RequestEntityTooLarge

MAX_BODY = 3 * 1024 * 1024


def decode(
    request: Request,
    resource: Resource,
    schema: Schema | None,
    validation: Validation,
    warnings: list[str],
    *,
    custom: bool = False,
) -> Object:
    """The object in a request's body, of the kind the URL stands for; unknown fields are gone from it.

    Raises ``BadRequest`` (no object, another kind or version, strict errors) or ``UnsupportedMediaType``.
    """
    if len(request.body) > MAX_BODY:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")
    fmt = negotiation.content_format(request, negotiation.TEXT_FORMATS if custom else negotiation.ALL_FORMATS)
    duplicates: Sequence[str] = ()
    if fmt == "protobuf":
        obj = decode_protobuf(request.body)
    elif fmt == "yaml":
        obj, duplicates = decode_yaml(request.body, validation)
    else:
        obj = decode_json(request.body)
        if validation != "Ignore":
            duplicates = strict.duplicates(request.body, obj)
    return checked(obj, resource, schema, validation, warnings, duplicates, custom=custom)


def decode_json(body: bytes) -> Any:
    try:
        return codec.decode_json(body)
    except codec.DecodeError as error:
        raise BadRequest(f"the object provided is unrecognized (must be of type JSON): {error}") from None


def decode_yaml(body: bytes, validation: Validation) -> tuple[Any, list[str]]:
    """A YAML document and its duplicate keys as messages.

    Most clients send JSON where YAML is taken: that is decoded as what it is, many times faster.
    """
    if body.startswith(b"{"):
        try:
            obj = codec.decode_json(body)
        except codec.DecodeError:
            pass  # flow style, perhaps
        else:
            if validation == "Ignore" or not strict.duplicates(body, obj):
                return obj, []
    return negotiation.decode_yaml(body), [] if validation == "Ignore" else yaml_duplicates(body)


def checked(
    obj: Any,
    resource: Resource,
    schema: Schema | None,
    validation: Validation,
    warnings: list[str],
    duplicates: Sequence[str] = (),
    *,
    custom: bool = False,
) -> Object:
    """A decoded value as an object of ``resource``, its fields checked against ``schema``."""
    if not isinstance(obj, dict):
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {resource.kind}): it is no object"
        )
    _check_type(obj, resource)
    found = obj.get("metadata")
    if found is not None and not isinstance(found, dict):
        raise strict.refusal(resource.kind, resource.version, "metadata must be an object")
    problems: list[str] = []
    if schema is not None:
        problems += _shape_problems(obj, resource, schema, custom)
    problems += duplicates
    if problems and validation == "Strict":
        raise strict.strict_refusal(resource.kind, resource.version, problems)
    if validation == "Warn":
        warnings.extend(problems)
    return obj


def _shape_problems(obj: Object, resource: Resource, schema: Schema, custom: bool) -> list[str]:
    """Messages about unknown fields, which are dropped; wrong types of built-in kinds raise."""
    if custom:
        meta = schemas.object_meta()
        result = strict.check(obj.get("metadata") or {}, meta, path=("metadata",))
        result.unknown += strict.prune(obj, schema, meta)
    else:
        result = strict.check(obj, schema)
    if result.errors:
        raise strict.refusal(resource.kind, resource.version, result.errors[0])
    return result.unknown


def _check_type(obj: Object, resource: Resource) -> None:
    version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    if kind and kind != resource.kind:
        raise BadRequest(
            f'{kind} in version "{version or resource.api_version}" cannot be handled as a {resource.kind}: '
            f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})"
        )
    if version and version != resource.api_version:
        raise BadRequest(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind


def yaml_duplicates(body: bytes) -> list[str]:
    """``line 9: key "foo" already set in map`` for each key that stands twice in one map of a YAML document."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(body, Loader=loader)
    except yaml.YAMLError as error:
        raise BadRequest(f"error converting YAML to JSON: yaml: {error}") from None
    return list(_yaml_lines(root))


def _yaml_lines(node: Any) -> Iterator[str]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
                seen.add(key.value)
            yield from _yaml_lines(child)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _yaml_lines(child)
