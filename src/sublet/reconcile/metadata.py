"""Follows the metadata of one resource without keeping any of it: for controllers that concern themselves with every kind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Protocol
from urllib.parse import urlencode

from sublet.client.client import Client, lines, refusal
from sublet.client.exchange import Request
from sublet.machinery import codec
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import Expired, Gone, NotFound, ServiceUnavailable, StatusError, from_object

log = logging.getLogger(__name__)

_ACCEPT_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_ACCEPT_WATCH = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_PAGE = 500
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0


class Sink(Protocol):
    """Who is told; objects have at least their metadata."""

    def seen(self, resource: Resource, obj: Object) -> None:
        """Added or changed."""
        ...

    def deleted(self, resource: Resource, obj: Object) -> None: ...

    def listed(self, resource: Resource, uids: set[str]) -> None:
        """These are all there are: whatever else was seen is gone."""
        ...


class MetadataWatch:
    """List and watch of one resource, until cancelled."""

    def __init__(self, client: Client, resource: Resource, sink: Sink) -> None:
        self.resource = resource
        self.tried = asyncio.Event()
        """Set after the first list, whether it came or failed."""
        self._client = client
        self._sink = sink

    async def run(self) -> None:
        version = ""
        delay = _FIRST_DELAY
        while True:
            try:
                if not version:
                    version = await self._list()
                    delay = _FIRST_DELAY
                async for event in self._watch(version):
                    version = self._take(event, version)
                    delay = _FIRST_DELAY
            except (Expired, Gone):
                version = ""
            except NotFound:
                log.debug("%s is not served any more", self.resource.qualified)
            except StatusError as error:
                log.warning("following the metadata of %s: %s", self.resource.qualified, error)
                version = ""
            except Exception as error:
                # What came was no list or watch of objects; a fresh list may be. Nothing may end this silently.
                log.warning("following the metadata of %s: %r", self.resource.qualified, error)
                version = ""
            finally:
                self.tried.set()
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _list(self) -> str:
        there: set[str] = set()
        token = ""
        while True:
            query = {"limit": str(_PAGE)} | ({"continue": token} if token else {})
            page = await self._get(query)
            for obj in page.get("items") or ():
                there.add(obj["metadata"]["uid"])
                self._sink.seen(self.resource, obj)
            metadata = page.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                break
        self._sink.listed(self.resource, there)
        self.tried.set()
        return str(metadata.get("resourceVersion") or "")

    async def _get(self, query: dict[str, str]) -> Any:
        response = await self._client.raw(
            "GET", self.resource.path(), query=urlencode(query), headers={"accept": _ACCEPT_LIST}
        )
        if not isinstance(response.body, bytes):
            raise ServiceUnavailable(f"listing {self.resource.qualified}: the answer is a stream")
        if response.status >= 400:
            raise refusal(response.status, response.body)
        return codec.decode_json(response.body)

    async def _watch(self, version: str) -> AsyncIterator[Any]:
        query = urlencode({"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"})
        headers = {"accept": _ACCEPT_WATCH, "user-agent": self._client.user_agent}
        request = Request("GET", self.resource.path(), query, headers)
        response = await self._client.transport.stream(request)
        if isinstance(response.body, bytes):
            raise refusal(response.status, response.body)
        if response.status >= 400:
            raise refusal(response.status, b"".join([chunk async for chunk in response.body]))
        stream = lines(response.body)
        try:
            async for line in stream:
                event = codec.decode_json(line)
                if event["type"] == "ERROR":
                    raise from_object(event["object"])
                yield event
        finally:
            with contextlib.suppress(RuntimeError):
                await stream.aclose()  # type: ignore[attr-defined]

    def _take(self, event: Any, version: str) -> str:
        obj = event["object"]
        if event["type"] == "DELETED":
            self._sink.deleted(self.resource, obj)
        elif event["type"] != "BOOKMARK":
            self._sink.seen(self.resource, obj)
        return str((obj.get("metadata") or {}).get("resourceVersion") or version)
