"""What aggregated API servers publish about themselves, merged into this server's discovery and OpenAPI."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from sublet.apiserver.discovery import Discovery, Foreign
from sublet.apiserver.openapi import OpenAPI
from sublet.apiserver.openapi_merge import cut_out
from sublet.apiserver.webhookclient import CallFailed
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

if TYPE_CHECKING:
    from sublet.apiserver.aggregation import Remote

_log = logging.getLogger(__name__)

Ask = Callable[[str], Awaitable[tuple[int, bytes]]]
"""path -> (status, body)."""


class Documents:
    """Keeps what was read last; a server that does not answer is listed as stale."""

    def __init__(self, discovery: Discovery, openapi: OpenAPI) -> None:
        self._discovery = discovery
        self._openapi = openapi
        self._known: dict[tuple[str, str], Foreign] = {}
        self._documents2: dict[tuple[str, str], bytes] = {}
        self._hashes3: dict[str, str] = {}

    def known(self, remote: Remote) -> None:
        """There is such a server; nothing has been read of it yet, or its priorities have changed."""
        place = (remote.group, remote.version)
        before = self._known.get(place)
        self._set(
            place,
            Foreign(
                remote.group, remote.version, remote.group_priority, remote.version_priority,
                before.resources if before else (), before is not None and before.current and remote.available,
            ),
        )  # fmt: skip

    def answered(self, remote: Remote, document: Object | None) -> None:
        """Its APIResourceList, or None when it did not answer."""
        place = (remote.group, remote.version)
        before = self._known.get(place)
        if before is None:
            return
        resources = before.resources if document is None else aggregated_rows(document, remote)
        self._set(
            place,
            Foreign(
                remote.group, remote.version, remote.group_priority, remote.version_priority, resources,
                document is not None,
            ),
        )  # fmt: skip

    def gone(self, remote: Remote) -> None:
        place = (remote.group, remote.version)
        if self._known.pop(place, None) is not None:
            self._discovery.set_foreign(self._known.values())
        dropped = [self._documents2.pop(place, None), self._hashes3.pop(remote.root.strip("/"), None)]
        if all(group != remote.group for group, _ in self._known):
            dropped.append(self._hashes3.pop(f"apis/{remote.group}", None))
        if any(dropped):
            self._openapi.set_foreign(self._documents2, self._hashes3)

    async def read(self, remote: Remote, ask: Ask) -> None:
        """Reads its OpenAPI documents; a server may lack them."""
        index = await _json(ask, "/openapi/v3")
        listed = (index or {}).get("paths") or {}
        place = (remote.group, remote.version)
        before = (dict(self._hashes3), self._documents2.get(place))
        for root in (remote.root.strip("/"), f"apis/{remote.group}"):
            if url := (listed.get(root) or {}).get("serverRelativeURL"):
                self._hashes3[root] = str(url)
        whole = await _json(ask, "/openapi/v2")
        if whole is not None:
            cut = cut_out(whole, remote.root)
            self._documents2[place] = zlib.compress(codec.encode_json(cut), 5)
        if before != (self._hashes3, self._documents2.get(place)):
            self._openapi.set_foreign(self._documents2, self._hashes3)

    def _set(self, place: tuple[str, str], foreign: Foreign) -> None:
        if self._known.get(place) != foreign:
            self._known[place] = foreign
            self._discovery.set_foreign(self._known.values())


async def _json(ask: Ask, path: str) -> Object | None:
    try:
        status, body = await ask(path)
        document = codec.decode_json(body) if status == 200 else None
    except (CallFailed, StatusError, codec.DecodeError, TimeoutError) as error:
        _log.info("an aggregated API server does not publish %s: %s", path, error)
        return None
    return document if isinstance(document, dict) else None


def aggregated_rows(document: Object, remote: Remote) -> tuple[Object, ...]:
    """The resources of an APIResourceList as aggregated discovery lists them."""
    rows: dict[str, Object] = {}
    below: list[tuple[str, str, Object]] = []
    for stated in document.get("resources") or ():
        name = str(stated.get("name") or "")
        plural, _, subresource = name.partition("/")
        if subresource:
            below.append((plural, subresource, stated))
            continue
        row: Object = {
            "resource": name,
            "responseKind": _kind(stated, remote),
            "scope": "Namespaced" if stated.get("namespaced") else "Cluster",
            "singularResource": str(stated.get("singularName") or ""),
            "verbs": sorted(stated.get("verbs") or ()),
        }
        for key in ("shortNames", "categories"):
            if stated.get(key):
                row[key] = list(stated[key])
        rows[name] = row
    for plural, subresource, stated in below:
        parent = rows.get(plural)
        if parent is not None:
            parent.setdefault("subresources", []).append(
                {
                    "subresource": subresource,
                    "responseKind": _kind(stated, remote),
                    "verbs": sorted(stated.get("verbs") or ()),
                }
            )
    return tuple(rows.values())


def _kind(stated: Mapping[str, Any], remote: Remote) -> Object:
    return {
        "group": str(stated.get("group") or remote.group),
        "version": str(stated.get("version") or remote.version),
        "kind": str(stated.get("kind") or ""),
    }
