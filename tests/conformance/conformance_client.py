"""A small client as the upstream suite's: HTTP over TLS; typed requests in protobuf, dynamic ones in JSON."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from sublet.kinds import catalog
from sublet.kinds.protobuf import codec

logger = logging.getLogger(__name__)

Object = dict[str, Any]
JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
LIMIT = 15.0
"""Seconds that any single answer or awaited event may take; upstream allows 30 and more."""


class APIError(Exception):
    """An answer of 400 or above."""

    def __init__(self, code: int, body: bytes, status: Object | None) -> None:
        self.code = code
        self.status = status or {}
        self.reason: str = self.status.get("reason", "")
        self.message: str = self.status.get("message", body.decode("utf-8", "replace"))
        super().__init__(f"{code} {self.reason}: {self.message}")


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def object(self) -> Any:
        """The body, decoded as its content type says."""
        if self.headers.get("content-type", "").startswith(PROTOBUF):
            return codec().decode_object(self.body)
        return json.loads(self.body)


class API:
    """Speaks to one API server as one user."""

    def __init__(self, url: str, tls: ssl.SSLContext, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._tls = tls
        self._headers = dict(headers or {})
        self._kept: http.client.HTTPSConnection | None = None

    def acting(self, headers: Mapping[str, str]) -> API:
        """The same with further headers, such as those of impersonation."""
        return API(self.url, self._tls, {**self._headers, **headers})

    def connect(self) -> http.client.HTTPSConnection:
        parts = urlsplit(self.url)
        assert parts.hostname and parts.port
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=LIMIT, context=self._tls)

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Any answer, errors too."""
        kept, self._kept = self._kept, None
        connection = kept or self.connect()
        try:
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if kept is None:
                raise
            connection = self.connect()
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        self._kept = connection
        return answer

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A good answer. Raises :class:`APIError`."""
        answer = self.raw(method, path, body, headers)
        if answer.code >= 400:
            raise _error(answer)
        return answer

    def get_json(self, path: str, accept: str = JSON) -> Any:
        return json.loads(self.request("GET", path, headers={"Accept": accept}).body)

    def typed(self, api_version: str, plural: str, namespace: str = "") -> Resource:
        """A built-in resource by protobuf."""
        group = api_version.rpartition("/")[0]
        for kind in catalog.load().values():
            for served in (kind.resource, *(other.resource for other in kind.also_served)):
                if (served.group, served.plural) == (group, plural):
                    return Resource(self, api_version, plural, served.kind, namespace, protobuf=True)
        raise LookupError(f"no built-in {plural} in {api_version}")

    def dynamic(self, api_version: str, plural: str, kind: str, namespace: str = "") -> Resource:
        """Any resource by JSON."""
        return Resource(self, api_version, plural, kind, namespace, protobuf=False)


def _error(answer: Answer) -> APIError:
    status: Object | None = None
    with contextlib.suppress(ValueError):
        decoded = answer.object
        status = decoded if isinstance(decoded, dict) else None
    return APIError(answer.code, answer.body, status)


class Resource:
    """One resource in one namespace ("" for all or none)."""

    def __init__(
        self, api: API, api_version: str, plural: str, kind: str, namespace: str, *, protobuf: bool
    ) -> None:
        self.api = api
        self.api_version = api_version
        self.plural = plural
        self.kind = kind
        self.namespace = namespace
        self._protobuf = protobuf
        self._accept = f"{PROTOBUF}, */*" if protobuf else JSON

    def path(self, name: str = "", subresource: str = "", **query: Any) -> str:
        """``/apis/…``; keywords become the query: ``label_selector`` is ``labelSelector``."""
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [root + self.api_version]
        if self.namespace:
            parts.append(f"namespaces/{self.namespace}")
        parts += [
            self.plural,
            *([quote(name, safe="")] if name else []),
            *([subresource] if subresource else []),
        ]
        wanted = {_camel(key): _text(value) for key, value in query.items() if value is not None}
        return "/".join(parts) + (f"?{urlencode(wanted)}" if wanted else "")

    def send(
        self,
        method: str,
        path: str,
        obj: Object | None = None,
        content_type: str = "",
        body: bytes | None = None,
    ) -> Any:
        headers = {"Accept": self._accept}
        if obj is not None:
            body = codec().encode_object(obj) if self._protobuf else json.dumps(obj).encode()
            content_type = PROTOBUF if self._protobuf else JSON
        if content_type:
            headers["Content-Type"] = content_type
        answer = self.api.request(method, path, body, headers)
        assert answer.headers["content-type"].startswith(PROTOBUF if self._protobuf else JSON), answer.headers
        return answer.object

    def whole(self, obj: Object) -> Object:
        """The object with its apiVersion and kind, which items of lists lack."""
        return {"apiVersion": self.api_version, "kind": self.kind, **obj}

    def create(self, obj: Object, name: str = "", subresource: str = "", **query: Any) -> Object:
        whole = obj if subresource else self.whole(obj)
        return self.send("POST", self.path(name, subresource, **query), whole)

    def get(self, name: str, subresource: str = "", **query: Any) -> Object:
        return self.send("GET", self.path(name, subresource, **query))

    def list(self, **query: Any) -> Object:
        return self.send("GET", self.path(**query))

    def items(self, **query: Any) -> list[Object]:
        return self.list(**query).get("items") or []

    def update(self, obj: Object, subresource: str = "", **query: Any) -> Object:
        whole = self.whole(obj)
        return self.send("PUT", self.path(whole["metadata"]["name"], subresource, **query), whole)

    def patch(
        self, name: str, patch: Any, content_type: str = MERGE, subresource: str = "", **query: Any
    ) -> Object:
        """``patch`` as a value, or as the bytes to send."""
        body = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
        return self.send("PATCH", self.path(name, subresource, **query), None, content_type, body)

    def delete(self, name: str, **options: Any) -> Any:
        """Keywords are DeleteOptions: ``gracePeriodSeconds=0``."""
        return self.send("DELETE", self.path(name), self._options(options))

    def delete_collection(self, label_selector: str | None = None, field_selector: str | None = None) -> Any:
        path = self.path(label_selector=label_selector, field_selector=field_selector)
        return self.send("DELETE", path, self._options({}))

    def _options(self, options: Object) -> Object:
        # client-go writes DeleteOptions in the resource's own group and version
        return {"apiVersion": self.api_version, "kind": "DeleteOptions", **options}

    @contextlib.contextmanager
    def watch(self, **query: Any) -> Iterator[Watch]:
        connection = self.api.connect()
        shut: socket.socket | None = None
        try:
            path = self.path(**{"timeout_seconds": 60, **query}, watch="true")
            accept = f"{PROTOBUF};stream=watch" if self._protobuf else JSON
            connection.request("GET", path, headers={**self.api._headers, "Accept": accept})
            response = connection.getresponse()
            if response.status >= 400:
                headers = {k.lower(): v for k, v in response.getheaders()}
                raise _error(Answer(response.status, headers, response.read()))
            connection.sock.settimeout(None)
            shut = connection.sock
            yield Watch(response, self._protobuf)
        finally:
            if shut is not None:
                with contextlib.suppress(OSError):
                    shut.shutdown(socket.SHUT_RDWR)  # wakes the reader
            connection.close()


class Watch:
    """Events as they come; a thread reads them until the connection closes."""

    def __init__(self, response: http.client.HTTPResponse, protobuf: bool) -> None:
        self._response = response
        self._protobuf = protobuf
        self._events: queue.Queue[tuple[str, Object] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while event := self._read_one():
                self._events.put(event)
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            # closing the connection under the reader shows as any of these
            logger.debug("the watch was closed: %r", error)
        self._events.put(None)

    def _read_one(self) -> tuple[str, Object] | None:
        if not self._protobuf:
            line = self._response.readline()
            event = json.loads(line) if line else {}
            return (event["type"], event["object"]) if event else None
        head = self._response.read(4)
        if len(head) < 4:
            return None
        return codec().decode_watch_frame(self._response.read(int.from_bytes(head, "big")))

    def next(self, limit: float = LIMIT) -> tuple[str, Object]:
        """(type, object). Raises ``TimeoutError`` when none comes, ``EOFError`` when the watch ended."""
        try:
            event = self._events.get(timeout=limit)
        except queue.Empty:
            raise TimeoutError(f"no event within {limit} s") from None
        if event is None:
            raise EOFError("the watch ended")
        return event

    def until(
        self, kind: str, accept: Callable[[Object], bool] = lambda _: True, limit: float = LIMIT
    ) -> Object:
        """The object of the first event of this type that is accepted; those before it are passed over."""
        seen: list[str] = []
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            try:
                got, obj = self.next(left)
            except TimeoutError:
                break
            if got == kind and accept(obj):
                return obj
            seen.append(f"{got} {obj.get('metadata', {}).get('name', obj)}")
        raise AssertionError(f"no {kind} event as expected within {limit} s; seen: {seen}")

    def expect(self, kind: str, limit: float = LIMIT) -> Object:
        """The object of the next event, which must be of this type."""
        got, obj = self.next(limit)
        assert got == kind, f"{got} instead of {kind}: {obj}"
        return obj

    def silent(self, seconds: float) -> None:
        """Asserts that no event comes for so long."""
        try:
            got, obj = self.next(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {got} of {obj}")


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
