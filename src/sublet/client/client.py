"""A client of one Kubernetes API, on any transport. Objects are JSON-shaped dicts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from sublet.client.exchange import Request, Response, Transport
from sublet.machinery import codec
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import ServiceUnavailable, StatusError, from_object

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class WatchEvent(Struct, frozen=True):
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK (ERROR is raised as a ``StatusError``)."""

    type: str
    object: Object


class Client:
    """Verbs on resources. Every method raises :class:`~sublet.machinery.status.StatusError`.

    ``user_agent`` is what the server takes as the field manager up to its first ``/``.
    """

    def __init__(self, transport: Transport, user_agent: str = "sublet") -> None:
        self.transport = transport
        self.user_agent = user_agent

    async def get(self, resource: Resource, name: str, namespace: str = "", subresource: str = "") -> Object:
        return await self._object("GET", resource.path(namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> Object:
        """The List object; its ``items`` carry apiVersion and kind."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=limit or "",
            resourceVersion=resource_version,
            **{"continue": continue_token},
        )
        found = await self._object("GET", resource.path(namespace), query)
        items = found.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        found["items"] = items
        return found

    async def create(
        self, resource: Resource, obj: Object, namespace: str = "", *, subresource: str = "", name: str = "",
        dry_run: bool = False, field_manager: str = "",
    ) -> Object:  # fmt: skip
        """POST to the collection, or to ``NAME/SUBRESOURCE`` (binding, eviction, token)."""
        namespace = namespace or (obj.get("metadata") or {}).get("namespace", "")
        query = _query(dryRun="All" if dry_run else "", fieldManager=field_manager)
        return await self._object("POST", resource.path(namespace, name, subresource), query, obj)

    async def update(
        self, resource: Resource, obj: Object, *, subresource: str = "", field_manager: str = ""
    ) -> Object:
        """PUT; conflicts unless metadata.resourceVersion is the current one."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"], subresource)
        return await self._object("PUT", path, _query(fieldManager=field_manager), obj)

    async def update_status(self, resource: Resource, obj: Object) -> Object:
        return await self.update(resource, obj, subresource="status")

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | Sequence[Object],
        namespace: str = "",
        *,
        kind: str = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        """``kind``: merge, json, strategic, or apply (which needs ``field_manager``)."""
        query = _query(
            fieldManager=field_manager, force="true" if force else "", dryRun="All" if dry_run else ""
        )
        path = resource.path(namespace, name, subresource)
        return await self._object("PATCH", path, query, patch, PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        grace: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """The Status, or the object where it stays for now."""
        options = _delete_options(grace, propagation, uid, resource_version)
        return await self._object("DELETE", resource.path(namespace, name), "", options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        """What was deleted is in the answer, which may be long and is not read."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        options = codec.encode_json(_delete_options(grace, propagation, "", ""))
        response = await self.transport.request(
            self._request("DELETE", resource.path(namespace), query, options)
        )
        if response.status >= 400:
            assert isinstance(response.body, bytes)
            raise refusal(response.status, response.body)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int = 0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events until the server ends the watch (then it just stops). An ERROR event raises, as 410 does.

        Wrap it in ``contextlib.aclosing`` when leaving before the end.
        """
        query = _query(
            watch="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            allowWatchBookmarks="true" if bookmarks else "",
            timeoutSeconds=timeout_seconds or "",
        )
        response = await self.transport.stream(self._request("GET", resource.path(namespace), query))
        assert not isinstance(response.body, bytes)
        try:
            if response.status >= 400:
                raise refusal(response.status, b"".join([chunk async for chunk in response.body]))
            async for line in lines(response.body):
                event = _event(line)
                if event["type"] == "ERROR":
                    raise from_object(event["object"])
                yield WatchEvent(event["type"], event["object"])
        finally:
            # Whoever stops listening ends the watch on the server now, not when the generator is collected.
            if isinstance(response.body, AsyncGenerator):
                await response.body.aclose()

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Any request; the response as it came, whatever its status."""
        request = self._request(method, path, query, body)
        request.headers = {**request.headers, **(headers or {})}
        return await self.transport.request(request)

    async def close(self) -> None:
        await self.transport.close()

    def _request(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        content_type: str = "application/json",
    ) -> Request:
        headers = {"accept": "application/json", "user-agent": self.user_agent}
        if body:
            headers["content-type"] = content_type
        return Request(method, path, query, headers, body)

    async def _object(
        self,
        method: str,
        path: str,
        query: str = "",
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        encoded = b"" if body is None else codec.encode_json(body)
        response = await self.transport.request(self._request(method, path, query, encoded, content_type))
        assert isinstance(response.body, bytes)
        if response.status >= 400:
            raise refusal(response.status, response.body)
        decoded: Object = codec.decode_json(response.body)
        return decoded


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Splits a stream of chunks into its non-empty lines."""
    parts: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        if not others:
            continue
        if line := b"".join(parts):
            yield line
        for line in others[:-1]:
            if line:
                yield line
        parts = [others[-1]]
    if line := b"".join(parts):
        yield line


def _query(**parameters: Any) -> str:
    return urlencode({key: value for key, value in parameters.items() if value != ""})


def _delete_options(grace: int | None, propagation: str, uid: str, resource_version: str) -> Object:
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if propagation:
        options["propagationPolicy"] = propagation
    preconditions = {}
    if uid:
        preconditions["uid"] = uid
    if resource_version:
        preconditions["resourceVersion"] = resource_version
    if preconditions:
        options["preconditions"] = preconditions
    return options


def _event(line: bytes) -> Any:
    """One line of a watch. A line that is cut off means that the connection was."""
    try:
        return codec.decode_json(line)
    except codec.DecodeError as error:
        raise ServiceUnavailable(f"the watch broke off in the middle of an event: {error}") from error


def refusal(status: int, body: bytes) -> StatusError:
    """What an answer of 400 or above means: its Status, or its plain text by the code."""
    try:
        decoded = codec.decode_json(body)
    except ValueError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        return from_object(decoded)
    text = body.decode(errors="replace").strip() or f"the server answered {status}"
    return from_object({"message": text, "code": status})
