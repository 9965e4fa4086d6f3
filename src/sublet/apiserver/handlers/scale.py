"""``/scale``: an autoscaling/v1 Scale as a view of an object's replica count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sublet.apiserver import decoding, objectmeta
from sublet.apiserver.calls import Call, warnings
from sublet.apiserver.changes import APPLY, applying, laying, nameless, patch_type
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.customkinds import scale_paths
from sublet.apiserver.options import WriteOptions, write_options
from sublet.apiserver.reading import fresh_enough
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.stored import key
from sublet.apiserver.views import View
from sublet.apiserver.writing import Write, name_matches
from sublet.client.exchange import Request, Response
from sublet.kinds import builtin, schemas
from sublet.machinery import managedfields, objects, selectors, table
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.schema import Schema
from sublet.machinery.status import (
    BadRequest,
    FieldError,
    MethodNotAllowed,
    NotFound,
    conflict,
    internal_error,
    invalid,
    invalid_object,
)

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

SCALE = Resource("autoscaling", "v1", "scales", "Scale", True)
_UNSET = -(1 << 31)
"""What a write starts from where a custom object states no replicas, as upstream: no client asks for this many."""
_BUILT_IN = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """GET, PUT and PATCH of the Scale; a write changes ``spec.replicas`` alone."""
    call = Call.of(request, info, api)
    paths = _paths(call)
    if info.verb == "get":
        cache = await fresh_enough(api.registry, call.kind, None)
        entry = cache.get(key(call.kind.resource, call.namespace, info.name))
        if entry is None:
            raise call.not_found()
        await call.view.prepare([entry])
        return _respond(call, _scale(call, call.view.object(entry), paths))
    if info.verb == "update":
        options = write_options(request, info, "UpdateOptions")
    elif info.verb == "patch":
        options = write_options(request, info, "PatchOptions", apply=patch_type(call) == APPLY)
    else:
        raise MethodNotAllowed(f"{info.verb} is not supported on {info.resource}/scale")
    return await _write(call, paths, options)


async def _write(call: Call, paths: Mapping[str, str], options: WriteOptions) -> Response:
    path = paths["specReplicasPath"]
    write = call.write(options)
    wanted = _wanted(call, options, path, write)

    def present(obj: Object) -> Object:
        return _scale(call, obj, paths, unset=_UNSET)

    def take(obj: Object, scale: Object) -> None:
        replicas = int((scale.get("spec") or {}).get("replicas") or 0)
        if replicas == _UNSET:
            raise BadRequest(f'the spec replicas field "{path}" cannot be empty')
        _check(call, scale, obj)
        _put(obj, path, replicas)

    def change(current: Object | None) -> Object:
        if current is None:
            raise NotFound("there is no object to scale")
        take(current, wanted(current, present(current)))
        return current

    write.prepare = lambda _new, _old: None
    write.present, write.take = present, take
    written = await call.api.registry.update(call.kind, call.namespace, call.info.name, change, write)
    return _respond(call, _scale(call, written.object, paths))


def _wanted(call: Call, options: WriteOptions, path: str, write: Write) -> Callable[[Object, Object], Object]:
    """From (the object, its Scale) to the Scale that is asked for."""
    schema = schemas.definition(call.api.settings.minor, SCALE.group, SCALE.version, SCALE.kind)
    if call.info.verb == "update":
        stated = decoding.decode(call.request, SCALE, schema, options.validation, warnings(call.request))
        if not objectmeta.metadata_of(stated).get("name"):
            raise nameless(call.info.name)
        name_matches(stated, call.info.name)
        return lambda _current, _scale: stated
    write.patched = True
    if patch_type(call) == APPLY:
        write.applied = True
        return _applied(call, options, schema, path)
    lay = laying(call, options, SCALE, schema)
    return lambda _current, scale: lay(scale)


def _applied(
    call: Call, options: WriteOptions, schema: Schema | None, path: str
) -> Callable[[Object, Object], Object]:
    """Server-side apply of a Scale; who owns its replicas is told by, and kept with, the object's own managers."""
    lay = applying(call, options, SCALE, schema)

    def apply(current: Object, scale: Object) -> Object:
        metadata = current["metadata"]
        entries = managedfields.narrowed(metadata.get("managedFields") or (), path, SCALE.api_version)
        if entries:
            scale["metadata"]["managedFields"] = entries
        laid = lay(scale)
        managers = managedfields.widened(
            metadata.get("managedFields") or (),
            laid["metadata"].get("managedFields") or (),
            path, call.resource.api_version,
        )  # fmt: skip
        if managers:
            metadata["managedFields"] = managers
        return laid

    return apply


def _check(call: Call, scale: Object, current: Object) -> None:
    metadata, resource = scale.get("metadata") or {}, call.kind.resource
    if not isinstance(call.kind, CustomKind):
        _check_built_in(call, scale, current)
    version = metadata.get("resourceVersion")
    if version and version != current["metadata"]["resourceVersion"]:
        raise conflict(resource.group, resource.plural, call.info.name)


def _check_built_in(call: Call, scale: Object, current: Object) -> None:
    """Custom kinds have their own rules of replicas, and upstream compares no uid of theirs."""
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        error: FieldError = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid_object(SCALE.group, SCALE.kind, call.info.name, [error])
    wanted, stands = (scale.get("metadata") or {}).get("uid"), objects.uid(current)
    if wanted and wanted != stands:
        resource = call.kind.resource
        why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {stands}"
        raise conflict(resource.group, f"{resource.plural}/scale", call.info.name, why)


def _paths(call: Call) -> Mapping[str, str]:
    if not isinstance(call.kind, CustomKind):
        return _BUILT_IN
    resource = call.kind.resource
    crd = call.api.custom_resources.definition(resource.group, resource.plural)
    paths = scale_paths(crd, call.resource.version) if crd is not None else {}
    if not paths:
        raise NotFound("the server could not find the requested resource")
    return paths


def _scale(call: Call, obj: Object, paths: Mapping[str, str], *, unset: int | None = None) -> Object:
    """``unset``: the replicas of a custom object that states none; without it, that is an error."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec: Object = {}
    if (replicas := _get(obj, paths["specReplicasPath"])) is not None:
        spec["replicas"] = replicas
    elif unset is not None and isinstance(call.kind, CustomKind):
        spec["replicas"] = unset
    elif isinstance(call.kind, CustomKind):
        why = f'the spec replicas field "{paths["specReplicasPath"]}" does not exist'
        raise internal_error(f"{why}")
    status: Object = {"replicas": _get(obj, paths["statusReplicasPath"]) or 0}
    if selector := _selector(call, obj, paths):
        status["selector"] = selector
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": {k: metadata[k] for k in kept if k in metadata},
        "spec": spec,
        "status": status,
    }


def _selector(call: Call, obj: Object, paths: Mapping[str, str]) -> str:
    if isinstance(call.kind, CustomKind):
        path = paths.get("labelSelectorPath")
        return str(_get(obj, path) or "") if path else ""
    stated = (obj.get("spec") or {}).get("selector")
    if not stated:
        return ""
    if call.kind.resource.plural == "replicationcontrollers":
        return str(selectors.from_labels(stated))
    return str(selectors.from_label_selector(stated))


def _get(obj: Object, path: str) -> Any:
    found: Any = obj
    for step in path.strip(".").split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(step)
    return found


def _put(obj: Object, path: str, value: int) -> None:
    *steps, last = path.strip(".").split(".")
    for step in steps:
        obj = obj.setdefault(step, {})
    obj[last] = value


def _respond(call: Call, scale: Object) -> Response:
    kind = Kind(resource=SCALE, singular="scale", columns=builtin.columns()[SCALE.kind], cells=_cells)
    view = View(call.api.registry, kind, SCALE, call.view.accepted, call.view.include_object)
    return Response(200, [("Content-Type", view.accepted.content_type)], view.encoded(scale))


def _cells(scale: Object, now: float) -> list[Any]:
    return [
        objects.name(scale),
        scale["spec"].get("replicas") or 0,
        scale["status"].get("replicas") or 0,
        table.age(scale, now),
    ]
