"""What a PUT or PATCH does to an object, as a function from the current one to the new one (reference B.12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from sublet.apiserver import decoding
from sublet.apiserver.aside import aside
from sublet.apiserver.calls import Call, warnings
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.options import WriteOptions, no_type
from sublet.apiserver.writing import Change, Write, name_matches, scope, versions
from sublet.machinery import codec, duplicates, gotext, objects, patch, strategicmerge, strict
from sublet.machinery.kind import Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import (
    BadRequest,
    Invalid,
    NotFound,
    RequestEntityTooLarge,
    StatusError,
    UnsupportedMediaType,
    invalid,
    invalid_object,
)

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def replacement(call: Call, obj: Object) -> Change:
    """A change that puts ``obj`` in place of whatever is there."""
    metadata = obj.setdefault("metadata", {})
    stated = objects.namespace(obj)
    if call.kind.resource.namespaced:
        if stated and stated != call.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = call.namespace
    else:
        metadata.pop("namespace", None)
    if not metadata.get("name"):
        raise nameless(call.info.name)
    name_matches(obj, call.info.name)
    encoded = codec.encode_json(obj)

    def change(_current: Object | None) -> Object:
        # Each attempt needs a copy: defaulting and admission change it.
        fresh: Object = codec.decode_json(encoded)
        return fresh

    return change


async def replacing(call: Call, options: WriteOptions) -> tuple[Change, Write]:
    """What a PUT does to an object, and how it writes."""
    obj = await call.decode(options)
    change, write = replacement(call, obj), call.write(options)
    write.uid = objects.uid(obj)
    return change, write


def nameless(name: str) -> BadRequest:
    """The refusal of an object without a name where the URL has one."""
    return BadRequest(
        f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
    )


async def changes(call: Call, options: WriteOptions, write: Write) -> tuple[Change, bool]:
    """What the request does to the object, and whether it may create it. Sets ``write.applied``."""
    write.patched = True
    if patch_type(call) == APPLY:
        write.applied = True
        schema = call.api.registry.schema(call.kind, call.resource)
        change = await aside(write.size, applying, call, options, call.resource, schema)
        return change, not write.subresource
    schema = call.api.registry.schema(call.kind, call.resource)
    lay = await aside(write.size, laying, call, options, call.resource, schema)

    def patched(current: Object | None) -> Object:
        if current is None:
            raise NotFound("there is no object to patch")
        new = lay(current)
        _same_place(call, new, current)
        return new

    return patched, False


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


def laying(
    call: Call, options: WriteOptions, resource: Resource, schema: Schema | None
) -> Callable[[Object], Object]:
    """A function that gives the patched copy of an object of ``resource``, its fields checked.

    Raises ``BadRequest`` for what is no patch; the function raises ``Invalid`` where the patch does not fit the
    object, the result cannot be decoded, or ``fieldValidation=Strict`` finds something.
    """
    body = call.request.body
    if len(body) > decoding.MAX_BODY:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {decoding.MAX_BODY}")
    media = patch_type(call)
    strategic = media == STRATEGIC
    document = _patch_document(body, media, options)
    found = [] if options.validation == "Ignore" else duplicates.duplicates(body, document)
    if media == JSON_PATCH and options.validation != "Ignore":
        found = [f"json patch {text}" for text in found] + patch.unknown_members(document)
        found.sort(key=_operation)
    custom = isinstance(call.kind, CustomKind) and resource == call.resource

    def patched(current: Object) -> Any:
        if media == JSON_PATCH:
            return patch.json_patch(current, document)
        if media == MERGE_PATCH:
            return patch.merge_patch(current, document)
        return strategicmerge.apply(current, document, schema)

    def shown(current: Object) -> str:
        return gotext.shown(document) if strategic else codec.encode_json(_sorted(patched(current))).decode()

    def lay(current: Object) -> Object:
        new = patched(current)
        if strategic and isinstance(new, dict):
            new |= {"apiVersion": resource.api_version, "kind": resource.kind}
        why, unknown = _examined(new, resource, schema, custom, strategic)
        if why:
            raise _unfit(shown(current), why)
        problems = [*found, *unknown]
        if problems and options.validation == "Strict":
            raise _unfit(shown(current), "strict decoding error: " + ", ".join(problems))
        if options.validation == "Warn":
            _add_once(warnings(call.request), problems)
        return cast(Object, new)

    return lay


def _patch_document(body: bytes, media: str, options: WriteOptions) -> Any:
    try:
        document = codec.decode_json(body)
    except codec.DecodeError as error:
        why = gotext.json_error(body) or str(error)
    else:
        wanted: type = list if media == JSON_PATCH else dict
        if isinstance(document, wanted) or document is None:
            return document if document is not None else wanted()
        expected = "[]handlers.jsonPatchOp" if media == JSON_PATCH else "map[string]interface {}"
        why = f"json: cannot unmarshal {strict.json_kind(document)} into Go value of type {expected}"
    if media == STRATEGIC:
        raise BadRequest(why)
    if media == MERGE_PATCH and options.validation == "Ignore":
        raise BadRequest("Invalid JSON Patch")
    raise BadRequest(why if options.validation == "Ignore" else f"error decoding patch: {why}")


def _examined(
    new: Any, resource: Resource, schema: Schema | None, custom: bool, strategic: bool
) -> tuple[str, list[str]]:
    if not isinstance(new, dict):
        return (
            f"json: cannot unmarshal {strict.json_kind(new)} into Go value of type map[string]interface {{}}",
            [],
        )
    if why := no_type(new):
        return why, []
    version, kind = new.get("apiVersion") or "", new.get("kind") or ""
    if not custom:
        if why := decoding.type_problem(new, resource):
            return why, []
        new["kind"] = resource.kind
    if custom and kind and kind != resource.kind and version == resource.api_version:
        error = invalid("kind", kind, f"must be {resource.kind}")
        raise invalid_object(resource.group, resource.kind, objects.name(new), [error])
    if custom and (kind != resource.kind or not version):
        missing = "apiVersion" if kind else "Kind"
        return f"Object '{missing}' is missing in '{codec.encode_json(_sorted(new)).decode()}'", []
    if version != resource.api_version:
        return f'no kind "{resource.kind}" is registered for version "{version}"', []
    why, unknown = decoding.examine(new, resource, schema, custom=custom, converted=strategic)
    return why, unknown if custom else sorted(unknown)


def _operation(text: str) -> int:
    """Which operation of a JSON patch a text names (``... "[1].path"``)."""
    return int(text.partition('"[')[2].partition("]")[0])


def _unfit(document: str, why: str) -> Invalid:
    return invalid_object("", "", "", [invalid("patch", document, why)])


def _sorted(obj: Any) -> Any:
    return dict(sorted(obj.items())) if isinstance(obj, dict) else obj


def applying(
    call: Call, options: WriteOptions, resource: Resource, schema: Schema | None
) -> Callable[[Object | None], Object]:
    """A function that applies the body, a configuration of ``resource``, to an object."""
    from sublet.machinery import apply

    try:
        document, problems = decoding.decode_yaml(call.request.body, options.validation)
    except BadRequest as error:
        raise BadRequest(f"error decoding YAML: {error.message}") from None
    if problems and options.validation == "Strict":
        raise BadRequest(
            f"error strict decoding YAML: error converting YAML to JSON: {decoding.yaml_problem(problems)}"
        )
    warnings(call.request).extend(problems)
    check_applied(document, resource)
    named = bool(document["metadata"].get("name"))
    name_matches(document, call.info.name)
    document["metadata"]["name"] = call.info.name
    if call.namespace:
        stated = objects.namespace(document)
        if stated and stated != call.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        document["metadata"]["namespace"] = call.namespace
    custom = isinstance(call.kind, CustomKind) and resource == call.resource
    _check_types(document, schema, custom)

    within = scope(call.kind, resource.version, call.info.subresource)
    known = versions(call.kind) if resource == call.resource else None

    def change(current: Object | None) -> Object:
        if current is None and not named:
            raise nameless(call.info.name)
        merged = apply.apply(
            current, document, manager=options.manager, api_version=resource.api_version,
            subresource=call.info.subresource, force=options.force, now=call.api.registry.clock.now(),
            schema=schema, scope=within, versions=known,
        )  # fmt: skip
        if schema is not None and not custom:
            # Whoever applied them owns fields that say nothing, but the object is without them, as after any write.
            strict.check(merged, schema)
        elif schema is not None:
            # What an object without declared properties holds may be applied, and is pruned like any other.
            strict.prune(merged, schema)
        return merged

    return change


def _check_types(document: Object, schema: Schema | None, custom: bool) -> None:
    """Raises a ``StatusError`` of code 500 for values of a wrong type in what is applied."""
    from sublet.machinery import apply, typed

    if schema is None:
        return
    if custom:
        if found := typed.problems(document, schema):
            raise apply.refused(document, typed.listed(found))
        return
    # The check takes unknown fields out of what it is given. It is compiled: what is in order passes in a moment.
    result = strict.check(codec.copied(document), schema, converted=True)
    if result.errors:
        if found := typed.problems(document, schema):
            raise apply.refused(document, typed.listed(found))
        kind = apply.shown_type(document)
        raise StatusError(
            f"failed to convert new object ({objects.namespace(document)}/{objects.name(document)}; {kind}) to proper "
            f"version: unable to convert unstructured object to {kind}: {result.errors[0]}", code=500, reason="",
        )  # fmt: skip


def check_applied(document: Any, resource: Resource) -> None:
    """Raises ``BadRequest`` unless the body is a configuration to apply to this kind."""
    from sublet.machinery.apply import shown_type

    if not isinstance(document, dict):
        kind = strict.json_kind(document)
        raise BadRequest(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: "
            f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    version, kind = document.get("apiVersion") or "", document.get("kind") or ""
    if version != resource.api_version or kind != resource.kind:
        raise BadRequest(f"invalid object type: {shown_type(document)}")
    metadata = document.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise BadRequest("metadata: must be a map")
    if metadata.get("managedFields") is not None:
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
