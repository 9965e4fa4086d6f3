"""Watch events as bytes: each made once per (event, view), however many clients watch."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from sublet.apiserver import negotiation
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.selection import Selection
from sublet.apiserver.views import View
from sublet.apiserver.watchcache import CachedEntry, CachedEvent
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"
"""Holds an empty List as the client would get it, in base64: client-go makes a List of the initial events with it."""


class Framer:
    """Frames for one watch."""

    def __init__(self, view: View, selection: Selection) -> None:
        self.view = view
        self.selection = selection
        self._columns_sent = False

    @property
    def content_type(self) -> str:
        return self.view.accepted.stream_content_type

    async def prepare(self, events: Sequence[CachedEvent]) -> None:
        """Has a webhook convert what these events show; nothing where none converts. Raises ``StatusError``."""
        if not self.view.converts:
            return
        self.view.converted.clear()
        entries = {id(e): e for event in events for e in (event.entry, event.previous) if e is not None}
        await self.view.prepare(entries.values())

    def event(self, event: CachedEvent) -> bytes:
        """The frame of an event, ``b""`` when this watch is not concerned."""
        selection = self.selection
        if selection.namespace and not event.entry.key.startswith(selection.prefix):
            return b""
        if selection.everything:
            kind = {"create": "ADDED", "update": "MODIFIED", "delete": "DELETED"}[event.type]
        else:
            kind = event.once(("selected", selection.identity), self._transition)
        if not kind:
            return b""
        if self.view.accepted.view == "Table":
            return self._made(kind, event)
        return event.once(("frame", kind, self.view.identity), lambda each: self._made(kind, each))

    def _transition(self, event: CachedEvent) -> str:
        """ADDED, MODIFIED, DELETED or ``""`` as the selectors see the event."""
        matches = self.selection.matches
        if event.type == "delete":
            return "DELETED" if matches(event.entry) else ""
        now = matches(event.entry)
        before = event.previous is not None and matches(event.previous)
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def added(self, entry: CachedEntry) -> bytes:
        """The frame for an object of the initial state."""
        if self.view.raw(entry):
            raw = self.view.registry.format(self.view.kind).outgoing(entry.value, entry.revision)
            return b'{"type":"ADDED","object":%b}\n' % raw
        if self.view.only_metadata:
            return b'{"type":"ADDED","object":%b}\n' % self.view.metadata(entry)
        if self.view.accepted.format == "protobuf":
            return self._protobuf("ADDED", self.view.one(entry))
        return self._frame("ADDED", self._shaped(self.view.passing(entry)))

    def _made(self, kind: str, event: CachedEvent) -> bytes:
        # What has gone is shown as it last was (or last matched), at the revision of its going.
        source = event.entry
        if kind == "DELETED" and event.type == "update" and event.previous is not None:
            source = event.previous
        if self.view.raw(source):
            raw = self.view.registry.format(self.view.kind).outgoing(source.value, event.revision)
            return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)
        if self.view.only_metadata:
            shown = self.view.metadata(source, event.revision)
            return b'{"type":"%b","object":%b}\n' % (kind.encode(), shown)
        if self.view.accepted.format == "protobuf" and source.revision == event.revision:
            return self._protobuf(kind, self.view.one(source))
        obj = self.view.object(source)
        if source.revision != event.revision:
            obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(event.revision)}}
        return self._frame(kind, self._shaped(obj))

    def _shaped(self, obj: Object) -> Object:
        shaped = self.view.shaped(obj, columns=not self._columns_sent)
        self._columns_sent = True
        return shaped

    def bookmark(self, revision: int, *, end_of_initial: bool = False) -> bytes:
        """An event that only says how far the watch is complete."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if end_of_initial:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true", BLUEPRINT: self._blueprint()}
        resource, accepted = self.view.resource, self.view.accepted
        obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if accepted.view == "PartialObjectMetadata":
            obj |= {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{accepted.version}"}
        elif accepted.view == "Table":
            obj = self._shaped(obj)
        return self._frame("BOOKMARK", obj)

    def _blueprint(self) -> str:
        view, accepted = self.view, self.view.accepted
        custom = isinstance(view.kind, CustomKind)
        items: list[Any] | None = [] if custom or accepted.format == "protobuf" else None
        made: Object = {
            "kind": view.list_kind,
            "apiVersion": view.resource.api_version,
            "metadata": {},
            "items": items,
        }
        if accepted.view == "PartialObjectMetadata":
            api_version = f"meta.k8s.io/{accepted.version}"
            made |= {"kind": "PartialObjectMetadataList", "apiVersion": api_version, "items": []}
        elif accepted.view == "Table":
            made = view.table([], "")
        return base64.b64encode(negotiation.encode(made, accepted)).decode()

    def error(self, error: StatusError) -> bytes:
        """The last frame of a watch that cannot go on."""
        return self._frame("ERROR", error.to_object())

    def _protobuf(self, kind: str, encoded: bytes) -> bytes:
        from sublet.kinds import protobuf

        return protobuf.codec().watch_frame(kind, encoded)

    def _frame(self, kind: str, obj: Object) -> bytes:
        if self.view.accepted.format == "protobuf":
            return self._protobuf(kind, negotiation.encode(obj, self.view.accepted))
        return codec.encode_json({"type": kind, "object": obj}) + b"\n"
