"""What a PUT or PATCH does to an object, as a function from the current one to the new one (reference B.12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sublet.apiserver import decoding
from sublet.apiserver.calls import Call, warnings
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.options import WriteOptions
from sublet.apiserver.writing import Change, Write, name_matches
from sublet.machinery import codec, objects, patch, strategicmerge, strict
from sublet.machinery.kind import Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def replacement(call: Call, obj: Object) -> Change:
    """A change that puts ``obj`` in place of whatever is there."""
    name_matches(obj, call.info.name)
    metadata = obj.setdefault("metadata", {})
    if not metadata.get("name"):
        if not call.info.subresource:
            raise BadRequest("name must be provided")
        metadata["name"] = call.info.name
    stated = objects.namespace(obj)
    if call.kind.resource.namespaced:
        if stated and stated != call.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = call.namespace
    else:
        metadata.pop("namespace", None)
    encoded = codec.encode_json(obj)

    def change(_current: Object | None) -> Object:
        # Each attempt needs a copy: defaulting and admission change it.
        fresh: Object = codec.decode_json(encoded)
        return fresh

    return change


def changes(call: Call, options: WriteOptions, write: Write) -> tuple[Change, bool]:
    """What the request does to the object, and whether it may create it. Sets ``write.applied``."""
    if patch_type(call) == APPLY:
        write.applied = True
        return _applied(call, options), not write.subresource
    schema = call.api.registry.schema(call.kind, call.resource)
    lay = laying(call, options, schema)

    def change(current: Object | None) -> Object:
        if current is None:
            raise NotFound("there is no object to patch")
        told: list[str] = []
        new = decoding.checked(
            lay(current),
            call.resource,
            schema,
            options.validation,
            told,
            custom=isinstance(call.kind, CustomKind),
        )
        _same_place(call, new, current)
        _add_once(warnings(call.request), told)
        return new

    return change, False


def patch_type(call: Call) -> str:
    """The patch's media type. Raises ``UnsupportedMediaType`` for one the kind does not take."""
    media = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    custom = isinstance(call.kind, CustomKind)
    taken = (JSON_PATCH, MERGE_PATCH, APPLY) if custom else (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)
    if media not in taken:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(taken)
        )
    return media


def laying(call: Call, options: WriteOptions, schema: Schema | None) -> Callable[[Object], Any]:
    """A function that gives the patched copy of an object."""
    body = call.request.body
    if len(body) > decoding.MAX_BODY:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {decoding.MAX_BODY}")
    document = decoding.decode_json(body)
    problems = [] if options.validation == "Ignore" else strict.duplicates(body, document)
    media = patch_type(call)
    if media == JSON_PATCH and options.validation != "Ignore":
        problems += patch.unknown_members(document)
    if problems and options.validation == "Strict":
        raise BadRequest("strict decoding error: " + ", ".join(problems))
    warnings(call.request).extend(problems)
    if media == JSON_PATCH:
        return lambda current: patch.json_patch(current, document)
    if media == MERGE_PATCH:
        return lambda current: patch.merge_patch(current, document)
    return lambda current: strategicmerge.apply(current, document, schema)


def _applied(call: Call, options: WriteOptions) -> Change:
    from sublet.machinery import apply

    document, problems = decoding.decode_yaml(call.request.body, options.validation)
    if problems and options.validation == "Strict":
        raise BadRequest(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  "
            + "\n  ".join(problems)
        )
    warnings(call.request).extend(problems)
    check_applied(document, call.resource)
    name_matches(document, call.info.name)
    document["metadata"]["name"] = call.info.name
    if call.namespace:
        stated = objects.namespace(document)
        if stated and stated != call.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        document["metadata"]["namespace"] = call.namespace
    registry = call.api.registry
    schema = registry.schema(call.kind, call.resource)
    _check_types(call, document, schema)

    def change(current: Object | None) -> Object:
        return apply.apply(
            current, document, manager=options.manager, api_version=call.resource.api_version,
            subresource=call.info.subresource, force=options.force, now=registry.clock.now(),
            schema=schema,
        )  # fmt: skip

    return change


def _check_types(call: Call, document: Object, schema: Schema | None) -> None:
    """Raises ``BadRequest`` for values of a wrong type in what is applied to a built-in kind."""
    if schema is None or isinstance(call.kind, CustomKind):
        return
    # The check takes unknown fields out of what it is given.
    result = strict.check(codec.copied(document), schema)
    if result.errors:
        where = f"{objects.key(document)}; {call.resource.api_version}, Kind={call.resource.kind}"
        raise BadRequest(f"failed to create typed patch object ({where}): {result.errors[0]}")


def check_applied(document: Any, resource: Resource) -> None:
    """Raises ``BadRequest`` unless the body is a configuration to apply to this kind."""
    if not isinstance(document, dict):
        raise BadRequest("the body of an apply request must be an object")
    version, kind = document.get("apiVersion") or "", document.get("kind") or ""
    if not kind or not version:
        raise BadRequest("Object 'Kind' is missing: an applied configuration states apiVersion and kind")
    if version != resource.api_version:
        raise BadRequest(
            f"Incorrect version specified in apply patch. Specified patch version: {version}, expected: {resource.api_version}"
        )
    if kind != resource.kind:
        raise BadRequest(
            f"Incorrect kind specified in apply patch. Specified: {kind}, expected: {resource.kind}"
        )
    metadata = document.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise BadRequest("metadata: must be a map")
    if metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")


def _same_place(call: Call, new: Object, current: Object) -> None:
    if objects.name(new) != objects.name(current):
        raise BadRequest(
            f"the name of the object ({objects.name(new)}) does not match the name on the URL ({call.info.name})"
        )
    if objects.namespace(new) != objects.namespace(current):
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _add_once(texts: list[str], more: list[str]) -> None:
    texts.extend(text for text in more if text not in texts)
