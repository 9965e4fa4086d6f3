"""AdmissionReview: what a webhook is asked and what it may answer (reference B.17, webhook wire)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from sublet.apiserver.admission.framework import CREATE, DELETE, UPDATE, Attributes
from sublet.apiserver.admission.webhookrules import Webhook, namespace_of
from sublet.apiserver.authentication.userinfo import user_info
from sublet.apiserver.webhookclient import CallFailed
from sublet.machinery import codec
from sublet.machinery.kind import Kind, Object, Resource
from sublet.machinery.status import Cause, StatusError

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")
_OPTIONS = {CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions"}


class Answer(Struct, frozen=True):
    """A webhook's answer that obeys the rules."""

    allowed: bool
    status: Mapping[str, Any] = field(default_factory=dict)
    patch: Any = None
    """The decoded JSON patch, None where there is none."""
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def version_for(webhook: Webhook) -> str:
    """The first version of AdmissionReview that both sides speak. Raises :class:`CallFailed`."""
    for version in webhook.versions:
        if version in VERSIONS:
            return version
    why = f"webhook does not accept known AdmissionReview versions ({', '.join(VERSIONS)})"
    raise CallFailed(f"could not create admission objects: {why}", 400)


def review(
    attributes: Attributes,
    resource: Resource,
    version: str,
    uid: str,
    new: Object | None,
    old: Object | None,
) -> bytes:
    """The document to send; ``new`` and ``old`` are in the version of ``resource``."""
    asked = attributes.resource
    request: Object = {
        "uid": uid,
        "kind": kind_of(attributes.kind, resource, attributes.subresource),
        "resource": _resource(resource),
    }
    if attributes.subresource:
        request["subResource"] = attributes.subresource
    request["requestKind"] = kind_of(attributes.kind, asked, attributes.subresource)
    request["requestResource"] = _resource(asked)
    if attributes.subresource:
        request["requestSubResource"] = attributes.subresource
    if attributes.request_name:
        request["name"] = attributes.request_name
    if namespace := namespace_of(attributes):
        request["namespace"] = namespace
    request |= {
        "operation": attributes.operation,
        "userInfo": user_info(attributes.user),
        "object": new,
        "oldObject": old,
        "dryRun": attributes.dry_run,
        "options": options_of(attributes),
    }
    return codec.encode_json(
        {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}
    )


def kind_of(kind: Kind, resource: Resource, subresource: str) -> Object:
    """Group, version and kind of what is written: a subresource may have its own."""
    group, version, name = resource.group, resource.version, resource.kind
    below = kind.subresources.get(subresource) if subresource else None
    if below is not None:
        name = below.kind
        if below.version:
            group, version = below.group, below.version
        elif below.kind == kind.resource.kind:
            name = resource.kind
    return {"group": group, "version": version, "kind": name}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def options_of(attributes: Attributes) -> Object | None:
    """The options as admission sees them: those of a patch are those of the create or update it becomes."""
    kind = _OPTIONS.get(attributes.operation)
    if kind is None:
        return None
    kept = {k: v for k, v in attributes.options.items() if k not in ("kind", "apiVersion", "force")}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **kept}


def read(document: Object, version: str, uid: str, *, mutating: bool) -> Answer:
    """The answer in a document that a webhook sent. Raises :class:`CallFailed`."""
    response = document.get("response")
    if not isinstance(response, dict):
        raise _bad("webhook response was absent")
    if version == "v1":  # before, nobody looked
        if response.get("uid") != uid:
            raise _bad(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        found = _typed(document)
        if found != (wanted := f"{GROUP}/{version}, Kind=AdmissionReview"):
            raise _bad(f"expected webhook response of {wanted}, got {found}")
    status = response.get("status")
    return Answer(
        response.get("allowed") is True,
        status if isinstance(status, dict) else {},
        _patch(response, version, mutating=mutating),
        tuple(str(text) for text in response.get("warnings") or ()),
        {str(k): str(v) for k, v in (response.get("auditAnnotations") or {}).items()},
    )


def _typed(document: Object) -> str:
    group, _, version = str(document.get("apiVersion") or "").rpartition("/")
    return f"{group}/{version}, Kind={document.get('kind') or ''}"


def _patch(response: Object, version: str, *, mutating: bool) -> Any:
    encoded, kind = response.get("patch"), response.get("patchType")
    if version != "v1":
        kind = "JSONPatch"
    elif not mutating:
        if encoded:
            raise _bad("validating webhook may not return response.patch")
        if kind is not None:
            raise _bad("validating webhook may not return response.patchType")
    elif encoded and kind is None:
        raise _bad("webhook returned response.patch but not response.patchType")
    elif kind is not None and not encoded:
        raise _bad("webhook returned response.patchType but not response.patch")
    elif kind == "":
        raise _bad('webhook returned invalid response.patchType of ""')
    return _operations(encoded, str(kind)) if encoded and mutating else None


def _operations(encoded: Any, kind: str) -> Any:
    try:
        text = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise CallFailed("failed to call webhook: illegal base64 data in response.patch") from None
    try:
        operations = codec.decode_json(text)
        if not isinstance(operations, list):
            raise codec.DecodeError("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    except (codec.DecodeError, ValueError) as error:
        raise CallFailed(f"received undecodable patch in webhook response: {error}") from None
    if operations and kind != "JSONPatch":
        raise CallFailed(f'unsupported patch type "{kind}"', 400)
    return operations


def _bad(why: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {why}")


def denied(name: str, status: Mapping[str, Any]) -> StatusError:
    """The refusal as the client gets it: the webhook's own Status, saying who refused."""
    by = f'admission webhook "{name}" denied the request'
    message, reason = str(status.get("message") or ""), str(status.get("reason") or "")
    if message or reason:
        by = f"{by}: {message or reason}"
    else:
        by += " without explanation"
    code = status.get("code")
    details: Mapping[str, Any] = status.get("details") or {}
    return StatusError(
        by,
        code=code if isinstance(code, int) and code >= 400 else 400,
        reason=reason,
        name=str(details.get("name") or ""),
        group=str(details.get("group") or ""),
        kind=str(details.get("kind") or ""),
        uid=str(details.get("uid") or ""),
        causes=[
            Cause(str(c.get("reason") or ""), str(c.get("message") or ""), str(c.get("field") or ""))
            for c in details.get("causes") or ()
        ],
        retry_after=int(details.get("retryAfterSeconds") or 0),
    )
