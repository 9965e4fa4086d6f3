"""POST of a Binding: a pod is given to a node (``pods/NAME/binding`` and the old ``bindings``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sublet.apiserver import decoding, negotiation, objectmeta, preconditions
from sublet.apiserver.admission.besides import admit_created
from sublet.apiserver.calls import status_view, warnings
from sublet.apiserver.negotiation import accept
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.writing import Write
from sublet.client.exchange import Request, Response
from sublet.kinds import schemas
from sublet.machinery import objects
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import (
    BadRequest,
    FieldError,
    NotFound,
    Unauthorized,
    conflict,
    invalid_object,
    not_supported,
    required,
)

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

BINDING = Resource("", "v1", "bindings", "Binding", True)
CLEARED = "ClearingNominatedNodeNameAfterBinding"
"""The feature by which a pod that has its node does not say any more which it was meant for."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """Success once the pod names its node; 409 where it has one, is gated or on its way out."""
    pods = api.kinds.stored("", "pods")
    if pods is None or request.user is None:
        raise NotFound("pods are not served") if pods is None else Unauthorized()
    options = write_options(request, info, "CreateOptions")
    schema = schemas.definition(api.settings.minor, "", "v1", "Binding")
    binding = decoding.decode(request, BINDING, schema, options.validation, warnings(request))
    name = info.name if info.subresource else objects.name(binding)
    if info.subresource and objects.name(binding) != name:
        raise BadRequest("name in URL does not match name in Binding object")
    if not name:
        raise BadRequest("name must be provided")
    objectmeta.place(binding, pods, info.namespace)
    await admit_created(request, info, api, binding, options, name)
    _validate(binding, name)
    write = Write(request.user, pods.resource, options, "binding", warnings(request))
    write.prepare = _keep
    write.validate = _no_errors
    write.admitted = write.unowned = True
    await api.registry.update(pods, info.namespace, name, _assignment(api, pods, binding), write)
    accepted = status_view(accept(request, info))
    return negotiation.respond(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201},
        accepted,
        201,
    )


def _validate(binding: Object, name: str) -> None:
    target: dict[str, Any] = binding.get("target") or {}
    errors: list[FieldError] = []
    if target.get("kind") not in (None, "", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        errors.append(required("target.name"))
    if errors:
        raise invalid_object("", "Binding", name, errors)


def _assignment(api: APIServer, pods: Kind, binding: Object) -> Any:
    node = str(binding["target"]["name"])
    metadata = binding.get("metadata") or {}

    def change(current: Object | None) -> Object:
        if current is None:
            raise NotFound("there is no pod to bind")
        name = objects.name(current)
        preconditions.check_bound(pods, metadata, current)
        if objects.is_deleting(current):
            raise conflict(
                "", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if current["spec"].get("nodeName"):
            why = f'pod {name} is already assigned to node "{current["spec"]["nodeName"]}"'
            raise conflict("", "pods/binding", name, why)
        if current["spec"].get("schedulingGates"):
            raise conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
        current["spec"]["nodeName"] = node
        if metadata.get("annotations"):
            current["metadata"]["annotations"] = {**objects.annotations(current), **metadata["annotations"]}
        if metadata.get("labels"):
            current["metadata"]["labels"] = {**metadata["labels"], **objects.labels(current)}
        _set_scheduled(current, objects.rfc3339(api.clock.now()))
        if api.features.enabled(CLEARED):
            current["status"].pop("nominatedNodeName", None)
        return current

    return change


def _set_scheduled(pod: Object, now: str) -> None:
    status = pod.setdefault("status", {})
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    conditions = status.setdefault("conditions", [])
    for index, condition in enumerate(conditions):
        if condition.get("type") == "PodScheduled":
            conditions[index] = scheduled
            return
    conditions.append(scheduled)


def _keep(_new: Object, _old: Object) -> None:
    return None


def _no_errors(_new: Object, _old: Object) -> list[FieldError]:
    return []
