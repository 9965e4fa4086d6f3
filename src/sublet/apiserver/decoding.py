"""Request bodies to objects: JSON, YAML or protobuf, with strict field validation (reference B.9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sublet.apiserver import negotiation
from sublet.apiserver.options import NO_VERSION, Validation, decode_protobuf, no_type
from sublet.client.exchange import Request
from sublet.kinds import schemas
from sublet.kinds.resources import registered
from sublet.machinery import codec, duplicates, gotext, objects, strict
from sublet.machinery.kind import Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import BadRequest, RequestEntityTooLarge, invalid, invalid_object

MAX_BODY = 3 * 1024 * 1024
_MOST_SHOWN = 30
"""Bytes of a body that an error quotes."""


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
    body = request.body
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY}")
    fmt = negotiation.content_format(request, negotiation.TEXT_FORMATS if custom else negotiation.ALL_FORMATS)
    problems: list[str] = []
    if fmt == "protobuf":
        obj = decode_protobuf(body, every_zero=schema is not None)
    elif fmt == "yaml":
        obj, lines = _decode_yaml_object(body, resource, validation)
        obj = _typed(obj, body, resource, validation, custom)
        problems = [yaml_problem(lines)] if lines else []
    else:
        obj = _typed(_decode_object(body, resource), body, resource, validation, custom)
        if validation != "Ignore":
            builtin = None if custom else schema
            if builtin is None:
                problems = duplicates.duplicates(body, obj)
            elif found := duplicates.problems(body, obj, builtin):
                whole = checked(obj, resource, schema, "Ignore", warnings)
                _tell(resource, validation, found, warnings)
                return whole
    return checked(
        obj, resource, schema, validation, warnings, problems, custom=custom, ordered=fmt != "yaml"
    )


def _typed(obj: Any, body: bytes, resource: Resource, validation: Validation, custom: bool) -> Object:
    """A decoded body as an object that says what it is. Raises ``BadRequest``.

    Kinds that are compiled in are taken for what the URL says; a custom resource has to name its kind.
    """
    if obj is None:
        obj = {}
    if why := no_type(obj):
        raise _unrecognized(body, resource, why)
    if custom and (not obj.get("kind") or (obj.get("apiVersion") or "").count("/") > 1):
        why = f"Object 'Kind' is missing in '{body.decode('utf-8', 'replace')}'"
        if validation == "Ignore":
            raise strict.refusal(resource.kind, resource.version, why)
        raise _unrecognized(body, resource, why)
    return cast(Object, obj)


_YAML_ERRORS = "yaml: unmarshal errors:"


def yaml_problem(lines: Sequence[str]) -> str:
    """What is wrong with lines of a YAML document, as one text."""
    return "\n  ".join([_YAML_ERRORS, *lines])


def _decode_object(body: bytes, resource: Resource) -> Any:
    try:
        return codec.decode_json(body)
    except codec.DecodeError as error:
        raise _unrecognized(body, resource, NO_VERSION + (gotext.json_error(body) or str(error))) from None


def _decode_yaml_object(body: bytes, resource: Resource, validation: Validation) -> tuple[Any, list[str]]:
    try:
        return decode_yaml(body, validation)
    except BadRequest as error:
        raise _unrecognized(body, resource, error.message) from None


def _unrecognized(body: bytes, resource: Resource, why: str) -> BadRequest:
    if body.startswith(b"{"):
        shown = body[:_MOST_SHOWN].decode("utf-8", "replace")
    else:
        shown = body[:_MOST_SHOWN].hex() or "<empty>"
    more = " ..." if len(body) > _MOST_SHOWN else ""
    return BadRequest(
        f"the object provided is unrecognized (must be of type {resource.kind}): {why} ({shown}{more})"
    )


def decode_yaml(body: bytes, validation: Validation) -> tuple[Any, list[str]]:
    """A YAML document and its duplicate keys as messages (``line 9: key "foo" already set in map``).

    Most clients send JSON where YAML is taken: that is decoded as what it is, many times faster.
    """
    if body.startswith(b"{"):
        try:
            obj = codec.decode_json(body)
        except codec.DecodeError:
            pass  # flow style, perhaps
        else:
            if validation == "Ignore" or not duplicates.duplicates(body, obj):
                return obj, []
    found: list[str] = []
    try:
        document = codec.decode_yaml(body, found)
    except codec.DecodeError as error:
        raise BadRequest(str(error)) from None
    return document, [] if validation == "Ignore" else found


def checked(
    obj: Any,
    resource: Resource,
    schema: Schema | None,
    validation: Validation,
    warnings: list[str],
    before: Sequence[str] = (),
    *,
    custom: bool = False,
    ordered: bool = True,
) -> Object:
    """A decoded value as an object of ``resource``, its fields checked against ``schema``.

    ``before``: what was found in the text. ``ordered`` False: the decoder forgot the order of the fields.
    """
    if why := no_type(obj):
        raise _unrecognized(codec.encode_json(obj), resource, why)
    _check_type(obj, resource, custom)
    why, unknown = examine(obj, resource, schema, custom=custom)
    if why:
        raise strict.refusal(resource.kind, resource.version, why)
    _tell(resource, validation, [*before, *(unknown if ordered else sorted(unknown))], warnings)
    return cast(Object, obj)


def _tell(resource: Resource, validation: Validation, problems: Sequence[str], warnings: list[str]) -> None:
    if problems and validation == "Strict":
        raise strict.strict_refusal(resource.kind, resource.version, problems)
    if validation == "Warn":
        warnings.extend(as_warnings(problems))


def as_warnings(problems: Sequence[str]) -> list[str]:
    """One text for each line of what is wrong with a YAML document, the others as they are."""
    found: list[str] = []
    for problem in problems:
        _, marker, lines = problem.partition(_YAML_ERRORS)
        found += [line.strip() for line in lines.splitlines() if line.strip()] if marker else [problem]
    return found


def examine(
    obj: Object, resource: Resource, schema: Schema | None, *, custom: bool = False, converted: bool = False
) -> tuple[str, list[str]]:
    """(why the object cannot be decoded, messages about unknown fields, which are dropped)."""
    found = obj.get("metadata")
    if found is not None and not isinstance(found, dict):
        kind = strict.json_kind(found)
        if converted:
            return f"cannot restore struct from: {kind}", []
        if custom:
            return f"json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta", []
        return (
            f"json: cannot unmarshal {kind} into Go struct field {resource.kind}.metadata of type v1.ObjectMeta",
            [],
        )
    if schema is None:
        return "", []
    if not custom:
        result = strict.check(obj, schema, converted=converted)
        return (result.errors[0], []) if result.errors else ("", result.unknown)
    meta = schemas.object_meta()
    result = strict.check(obj.get("metadata") or {}, meta, path=("metadata",), apart=True)
    if result.errors:
        return result.errors[0], []
    return "", [*result.unknown, *sorted(strict.prune(obj, schema, meta))]


def type_problem(obj: Object, resource: Resource) -> str:
    """Why an object cannot be one of ``resource``, by the type it states; ``""`` when it may."""
    version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    if not kind or kind == resource.kind:
        return ""
    group, _, name = version.rpartition("/")
    stated = version or resource.api_version
    where = (group if version else resource.group, name or resource.version)
    if registered(*where, kind) or registered(*where, kind.removesuffix("List")):
        package = resource.group.partition(".")[0] or "core"
        return f"converting ({name or resource.version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
    return f'no kind "{kind}" is registered for version "{stated}" in scheme "{_SCHEME}"'


_SCHEME = "pkg/api/legacyscheme/scheme.go:30"


def _check_type(obj: Object, resource: Resource, custom: bool) -> None:
    version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    if custom and kind and kind != resource.kind and version == resource.api_version:
        error = invalid("kind", kind, f"must be {resource.kind}")
        name = objects.name(obj) if isinstance(obj.get("metadata"), dict) else ""  # judged only later
        raise invalid_object(resource.group, resource.kind, name, [error])
    if not custom and (why := type_problem(obj, resource)):
        spoken = str(version).rpartition("/")[2] or resource.version
        raise BadRequest(
            f'{kind or resource.kind} in version "{spoken}" cannot be handled as a {resource.kind}: {why}'
        )
    if version != resource.api_version and (version or custom):
        raise BadRequest(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
