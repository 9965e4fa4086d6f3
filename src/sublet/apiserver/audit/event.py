"""One audit event, from the request's arrival to its last byte (audit.k8s.io/v1, kind Event)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from sublet.apiserver.audit.policy import API_VERSION, LEVELS, REQUEST, REQUEST_RESPONSE, Decision
from sublet.apiserver.authentication.userinfo import user_info
from sublet.apiserver.metrics import LATENCY
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response, User
from sublet.machinery import codec, durations, objects

_JSON_STATUS = b'{"kind":"Status"'
_PROTOBUF = b"k8s\x00"
_AGENT_LIMIT = 1024
_LATE = 0.5
"""Requests that took longer than this many seconds say so in an annotation, as upstream's do."""


class _Metadata(msgspec.Struct, rename={"resource_version": "resourceVersion"}):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class Event:
    """What is known of one request. ``line(stage, now)`` gives it as JSON."""

    def __init__(
        self, request: Request, info: RequestInfo, user: User, decision: Decision, now: float
    ) -> None:
        self.decision = decision
        self._request = request
        self._info = info
        self._user = user
        self._received = now
        self._status: dict[str, Any] | None = None
        self._response: Any = None
        self._sent: Any = None
        self._reference: dict[str, str] = _reference(info)

    @property
    def received_bytes(self) -> int:
        return len(self._request.body)

    @property
    def answered(self) -> bool:
        return self._status is not None

    def receive_body(self) -> None:
        """Takes in what was sent; call once the request was decoded, or refused."""
        request, info = self._request, self._info
        if (
            not request.body
            or not info.is_resource
            or info.verb not in ("create", "update", "patch", "delete", "deletecollection")
        ):
            return
        if info.verb != "patch" and "delete" not in info.verb:
            self._complete_reference(request.body)
        if self.decision.level >= REQUEST:
            self._sent = self._body(request.body, request.headers.get("content-type", ""))

    def respond(self, response: Response) -> None:
        """Takes in the answer."""
        body = response.body if isinstance(response.body, bytes) else b""
        content_type = response.header("content-type")
        status = {"metadata": {}, "code": response.status}
        shown: Any = None
        if body and (
            body.startswith(_JSON_STATUS) or (body.startswith(_PROTOBUF) and b"\x06Status" in body[:32])
        ):
            shown = _decoded(body, content_type)
            if isinstance(shown, dict) and shown.get("kind") == "Status":
                status = {**_status(shown), "code": response.status}
        self._status = status
        if self.decision.level >= REQUEST_RESPONSE and self._info.is_resource and body:
            self._response = self._body(body, content_type)

    def fail(self, status: Mapping[str, Any]) -> None:
        """Takes in an error: the Status object that goes out."""
        self._status = _status(status)
        if self.decision.level >= REQUEST_RESPONSE:
            self._response = dict(status)

    def line(self, stage: str, now: float) -> bytes:
        """The event at a stage as one line of JSON, with the newline."""
        context, request = self._request.context, self._request
        document: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": API_VERSION,
            "level": LEVELS[self.decision.level],
            "auditID": context["audit_id"],
            "stage": stage,
            "requestURI": f"{request.path}?{request.query}" if request.query else request.path,
            "verb": self._info.verb,
            "user": _user(self._user),
        }
        if context.get("impersonator") is not None and request.user is not None:
            document["impersonatedUser"] = _user(request.user)
        if constraint := context.get("impersonation_constraint"):
            document["authenticationMetadata"] = {"impersonationConstraint": constraint}
        document["sourceIPs"] = source_addresses(request)
        if agent := request.headers.get("user-agent", ""):
            document["userAgent"] = (
                agent if len(agent) <= _AGENT_LIMIT else agent[:_AGENT_LIMIT] + "...TRUNCATED"
            )
        if self._info.is_resource:
            document["objectRef"] = self._reference
        for key, value in (
            ("responseStatus", self._status), ("requestObject", self._sent), ("responseObject", self._response),
        ):  # fmt: skip
            if value is not None:
                document[key] = value
        document["requestReceivedTimestamp"] = objects.rfc3339_micro(self._received)
        document["stageTimestamp"] = objects.rfc3339_micro(now)
        if annotations := self._annotations(now):
            document["annotations"] = annotations
        return codec.encode_json(document) + b"\n"

    def _annotations(self, now: float) -> dict[str, str]:
        context = self._request.context
        found: dict[str, str] = {}
        if "authorization" in context:
            found["authorization.k8s.io/decision"] = "allow"
            found["authorization.k8s.io/reason"] = context["authorization"]
        elif "refusal" in context:
            found["authorization.k8s.io/decision"] = "forbid"
            found["authorization.k8s.io/reason"] = context["refusal"]
        elif "authorization_failed" in context:
            found["authorization.k8s.io/reason"] = "internal error"
        late = self._status is not None and now - self._received > _LATE and self._info.verb != "watch"
        for key, value in (context.get("audit_annotations") or {}).items():
            # A webhook's patch shows what was written: only where that may be logged.
            if key.startswith(LATENCY):
                shown = late
            else:
                shown = self.decision.level >= REQUEST or not key.startswith(
                    "patch.webhook.admission.k8s.io/"
                )
            if shown:
                found[key] = value
        if late:
            found[f"{LATENCY}total"] = durations.text(round((now - self._received) * 1e6) * 1000)
        return found

    def _complete_reference(self, body: bytes) -> None:
        """What the URL does not say of the object is said by its metadata."""
        if body.startswith(_PROTOBUF):
            metadata = (_decoded(body, "protobuf") or {}).get("metadata") or {}
        else:
            try:
                metadata = msgspec.to_builtins(msgspec.json.decode(body, type=_Named).metadata)
            except msgspec.DecodeError:
                metadata = (_decoded(body, self._request.headers.get("content-type", "")) or {}).get(
                    "metadata"
                )
        if not isinstance(metadata, dict):
            return
        reference = self._reference
        found = {
            key: str(metadata[key])
            for key in ("name", "namespace", "uid", "resourceVersion")
            if metadata.get(key)
        }
        self._reference = {
            key: reference.get(key) or found[key]
            for key in ("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource")
            if reference.get(key) or key in found
        }  # fmt: skip

    def _body(self, body: bytes, content_type: str) -> Any:
        """A body as the event carries it: its JSON as it is, anything else decoded; None where it cannot be read."""
        if self.decision.omit_managed_fields or not body.startswith(b"{"):
            found = _decoded(body, content_type)
            if self.decision.omit_managed_fields:
                _drop_managed_fields(found)
            return found
        try:
            # A body of somebody else's making must not break the line it is put into.
            return msgspec.Raw(body) if b"\n" not in body else codec.decode_json(body)
        except codec.DecodeError:
            return None


def _reference(info: RequestInfo) -> dict[str, str]:
    stated = {
        "resource": info.resource, "namespace": info.namespace, "name": info.name, "apiGroup": info.api_group,
        "apiVersion": info.api_version, "subresource": info.subresource,
    }  # fmt: skip
    return {key: value for key, value in stated.items() if value}


def _user(user: User) -> dict[str, Any]:
    """Nobody, where a request was refused before it was known who asks, has not even a name."""
    return {key: value for key, value in user_info(user).items() if value}


def _status(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {},
        **{k: status[k] for k in ("status", "message", "reason", "details", "code") if k in status},
    }


def source_addresses(request: Request) -> list[str]:
    """The client's addresses: those that proxies say, then the peer's."""
    found = []
    for header in ("x-forwarded-for", "x-real-ip"):
        for text in request.headers.get(header, "").split(","):
            if (address := _address(text.strip())) and address not in found:
                found.append(address)
    peer = _address(request.remote.rpartition(":")[0].strip("[]")) or "::1"
    return found if found and found[-1] == peer else [*found, peer]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _decoded(body: bytes, content_type: str) -> Any:
    """What a body holds; None where it is neither JSON, YAML nor protobuf that is known."""
    try:
        if body.startswith(_PROTOBUF):
            from sublet.kinds import protobuf

            return protobuf.codec().decode_object(body)
        if "yaml" in content_type and not body.startswith(b"{"):
            return codec.decode_yaml(body)
        return codec.decode_json(body)
    except ValueError:
        return None


def _drop_managed_fields(value: Any) -> None:
    """Of an object, a list's items, the objects in the rows of a Table."""
    if not isinstance(value, dict):
        return
    if isinstance(value.get("metadata"), dict):
        value["metadata"].pop("managedFields", None)
    for item in value.get("items") or ():
        _drop_managed_fields(item)
    for row in value.get("rows") or ():
        _drop_managed_fields(row.get("object") if isinstance(row, dict) else None)
