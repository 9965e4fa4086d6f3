"""GET with ``watch=true``: events of a collection as they happen (reference B.11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from sublet.apiserver import websocketwatch
from sublet.apiserver.calls import Call
from sublet.apiserver.frames import Framer
from sublet.apiserver.metrics import Running
from sublet.apiserver.options import ListOptions, list_options
from sublet.apiserver.reading import fresh_enough
from sublet.apiserver.requestinfo import RequestInfo
from sublet.apiserver.selection import Selection
from sublet.apiserver.watchcache import CachedEntry, WatchCache, Watcher
from sublet.client.exchange import Request, Response
from sublet.machinery.status import Expired, StatusError
from sublet.store.interface import Compacted, StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

BOOKMARK_SECONDS = 60.0
_CHUNK = 64
"""Objects or events that are made into one piece of the stream: a slow client holds no more than that."""
_IN_THE_STREAM = (410, 504)
"""Upstream's watch cache tells a version too old, or not reached yet, in the first event of the stream."""


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """A stream of frames, or of messages where the client asks for a WebSocket."""
    call = Call.of(request, info, api, watch=True)
    options = list_options(info, watch=True, watch_list=api.features.enabled("WatchList"))
    selection = call.selection()
    framer = Framer(call.view, selection)
    headers = [("Content-Type", framer.content_type)]
    over_websocket = websocketwatch.wanted(request)
    try:
        opened = await _open(call, selection, options)
    except StatusError as error:
        if error.code not in _IN_THE_STREAM:
            raise
        frames = _only(framer.error(error))
    else:
        frames = _frames(call, framer, opened, options)
    if over_websocket:
        return websocketwatch.response(request, call.view.accepted.format, frames)
    return Response(200, headers, frames)


class _Opened(Struct):
    watcher: Watcher
    initial: Sequence[CachedEntry]
    revision: int
    """What ``initial`` shows; the watch goes on after it."""
    marks_end: bool


async def _open(call: Call, selection: Selection, options: ListOptions) -> _Opened:
    cache = await _cache(call, options)
    synthetic = options.initial_events
    if synthetic is None:
        synthetic = not options.revision
    revision = cache.revision
    after = revision if synthetic or not options.revision else options.revision
    try:
        watcher = _watcher(cache, selection, after)
    except Compacted as error:
        raise Expired(f"too old resource version: {error.asked} ({error.oldest})") from error
    initial: Sequence[CachedEntry] = cache.entries(selection.prefix) if synthetic else ()
    return _Opened(watcher, initial, after, bool(options.initial_events) and options.bookmarks)


async def _cache(call: Call, options: ListOptions) -> WatchCache:
    if options.revision and options.initial_events is None:
        # The watch may begin in the future; nothing of the past is shown.
        return call.api.registry.cache(call.kind)
    return await fresh_enough(call.api.registry, call.kind, options.revision)


def _watcher(cache: WatchCache, selection: Selection, after: int) -> Watcher:
    resource = selection.kind.resource
    if selection.name and (selection.namespace or not resource.namespaced):
        return cache.watch(after, prefix=selection.prefix + selection.name)
    if resource.plural == "pods" and not resource.group:
        node = selection.exact("spec.nodeName")
        if node is not None:
            return cache.watch(after, indexed=("spec.nodeName", node))
    return cache.watch(after, prefix=selection.prefix if selection.namespace else "")


async def _frames(call: Call, framer: Framer, opened: _Opened, options: ListOptions) -> AsyncIterator[bytes]:
    clock, rng, shortest = call.api.clock, call.api.rng, call.api.settings.min_request_timeout
    counting = _counting(call)
    begun = clock.monotonic()
    ends = begun + (options.timeout or shortest * rng.uniform(1.0, 2.0))
    next_mark = begun + rng.uniform(0.75, 1.0) * BOOKMARK_SECONDS
    counted = _event_labels(call)
    sent = call.api.metrics.watch_events
    del call  # and the request with it: a watch lasts for long
    with opened.watcher as watcher, counting:
        if framer.view.converts:
            try:
                await framer.view.prepare(opened.initial)
            except StatusError as error:
                yield framer.error(error)
                return
        for chunk in _initial(framer, opened):
            yield chunk
            await asyncio.sleep(0)
        opened.initial = ()
        while True:
            now = clock.monotonic()
            if now >= ends:
                break
            if options.bookmarks and now >= next_mark:
                yield framer.bookmark(watcher.revision)
                next_mark = now + BOOKMARK_SECONDS
            until = min(ends, next_mark) if options.bookmarks else ends
            try:
                events = await watcher.next(max(until - now, 0.001))
            except StoreError as error:
                # Overrun or shutdown: the client resumes from the last revision it saw.
                if isinstance(error, Compacted):
                    yield framer.error(Expired(str(error)))
                return
            if framer.view.converts:
                try:
                    await framer.prepare(events)
                except StatusError as error:
                    yield framer.error(error)
                    return
            for start in range(0, len(events), _CHUNK):
                frames = [frame for event in events[start : start + _CHUNK] if (frame := framer.event(event))]
                if frames:
                    sent.add(counted, len(frames))
                    yield b"".join(frames) if len(frames) > 1 else frames[0]
        if options.bookmarks:
            yield framer.bookmark(watcher.revision)


def _counting(call: Call) -> Running:
    info = call.info
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    return call.api.metrics.watching(info.api_group, info.api_version, info.resource, scope)


def _event_labels(call: Call) -> str:
    where = call.resource
    return f'group="{where.group}",resource="{where.plural}",version="{where.version}"'


def _initial(framer: Framer, opened: _Opened) -> Iterator[bytes]:
    """Chunks, each of which takes the loop for a moment only; an empty one where nothing was selected."""
    matches = framer.selection.matches
    for start in range(0, len(opened.initial), _CHUNK):
        entries = opened.initial[start : start + _CHUNK]
        yield b"".join([framer.added(entry) for entry in entries if matches(entry)])
    if opened.marks_end:
        yield framer.bookmark(opened.revision, end_of_initial=True)


async def _only(frame: bytes) -> AsyncIterator[bytes]:
    yield frame
