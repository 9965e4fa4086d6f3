"""Events about objects: written without waiting, repeated ones counted instead of written again.

Source: client-go's event correlator: equal events patch ``count``; more than ten alike (other texts) in ten minutes
become one "(combined from similar events)"; one object may cause 25 at once, then one in five minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct, field

from sublet.client.client import Client
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import AlreadyExists, NotFound, StatusError
from sublet.machinery.tokenbucket import TokenBucket

log = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events", "Event", True)
_REMEMBERED = 4096
_ALIKE = 10
_ALIKE_SECONDS = 600.0
_BURST = 25.0
_REFILL_PER_SECOND = 1 / 300
_TEXT_LIMIT = 1024
_AT_ONCE = 16
"""How many events may be on their way: a store that commits in groups takes them together."""

_LOOKED_OVER = 64
"""How many events that must wait for others are passed over in search of some that need not."""

_Waiting = tuple[tuple[str, str], Callable[[], Awaitable[None]]]
"""What it is about, as (resource, key), and what writes it."""


class _Recorded(Struct, frozen=True):
    """One event that has to be written."""

    obj: Object
    """What it is about: of its metadata what events refer by."""
    resource: Resource
    type: str
    reason: str
    message: str
    field: str
    host: str
    at: float
    """Unix seconds."""


class _Written(Struct):
    name: str
    namespace: str
    count: int


class _Alike(Struct):
    since: float
    messages: set[str] = field(default_factory=set)


def identity(obj: Object) -> Object:
    """What an event keeps of the object it is about."""
    metadata = obj.get("metadata") or {}
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {key: metadata[key] for key in kept if metadata.get(key)}}


def reference(obj: Object, resource: Resource) -> dict[str, str]:
    """An ObjectReference."""
    found = {
        "kind": resource.kind,
        "namespace": objects.namespace(obj),
        "name": objects.name(obj),
        "uid": objects.uid(obj),
        "apiVersion": resource.api_version,
        "resourceVersion": obj["metadata"].get("resourceVersion", ""),
    }
    return {key: value for key, value in found.items() if value}


class EventQueue:
    """Events on their way: at most ``limit`` wait, newer ones are dropped beyond that."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def _enqueue(self, resource: Resource, obj: Object, write: Callable[[], Awaitable[None]]) -> None:
        if len(self._waiting) >= self._limit:
            self.dropped += 1
            return
        self._waiting.append(((resource.plural, objects.key(obj)), write))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="events")

    async def flush(self) -> None:
        """Returns once everything recorded so far is written or given up."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self, seconds: float = 2.0) -> None:
        """Writes what waits, for at most ``seconds``."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.gather(*map(self._attempt, self._batch()))

    def _batch(self) -> list[Callable[[], Awaitable[None]]]:
        """The next events, of different objects: those of one object must be written in order to be counted."""
        batch: list[Callable[[], Awaitable[None]]] = []
        held: list[_Waiting] = []
        seen: set[tuple[str, str]] = set()
        while self._waiting and len(batch) < _AT_ONCE and len(held) < _LOOKED_OVER:
            event = about, write = self._waiting.popleft()
            if about in seen:
                held.append(event)
            else:
                seen.add(about)
                batch.append(write)
        self._waiting.extendleft(reversed(held))
        return batch

    @staticmethod
    async def _attempt(write: Callable[[], Awaitable[None]]) -> None:
        try:
            await write()
        except StatusError as error:
            # An event is a courtesy: a namespace that is going away refuses it, and nobody needs to know.
            log.debug("an event was not written: %s", error)
        except Exception:
            log.exception("an event was not written")


class EventRecorder(EventQueue):
    """Writes core/v1 Events as ``component``."""

    def __init__(
        self, client: Client, component: str, host: str = "", *, clock: Clock | None = None, limit: int = 1000
    ) -> None:
        super().__init__(limit)
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock or SystemClock()
        self._written: OrderedDict[tuple[str, ...], _Written] = OrderedDict()
        self._alike: OrderedDict[tuple[str, ...], _Alike] = OrderedDict()
        self._budgets: OrderedDict[str, TokenBucket] = OrderedDict()

    def event(
        self, obj: Object, resource: Resource, type: str, reason: str, message: str, *, field: str = "",
        host: str = "",
    ) -> None:  # fmt: skip
        """Records that something happened to ``obj``; ``type`` is Normal or Warning. Never fails, never waits.

        ``field``: the part of the object, like ``spec.containers{c}``; ``host``: where, if not the recorder's own.
        """
        recorded = _Recorded(
            identity(obj), resource, type, reason, message[:_TEXT_LIMIT], field, host or self._host,
            self._clock.now(),
        )  # fmt: skip
        self._enqueue(resource, recorded.obj, partial(self._write, recorded))

    async def _write(self, event: _Recorded) -> None:
        where, obj = event.resource, event.obj
        about = (where.api_version, where.kind, objects.key(obj), objects.uid(obj), event.field)
        kind = (*about, event.type, event.reason, event.host)
        message, merged = self._combined(kind, event.message, event.at)
        key = kind if merged else (*kind, message)
        if not self._allowed("/".join(about[:4]), event.at):
            self.dropped += 1
            return
        written = self._written.get(key)
        if written is not None and await self._repeat(written, message, event.at):
            self._written.move_to_end(key)
            return
        self._written[key] = await self._create(event, message)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _combined(self, kind: tuple[str, ...], message: str, now: float) -> tuple[str, bool]:
        alike = self._alike.get(kind)
        if alike is None or now - alike.since > _ALIKE_SECONDS:
            alike = self._alike[kind] = _Alike(now)
            if len(self._alike) > _REMEMBERED:
                self._alike.popitem(last=False)
        if len(alike.messages) >= _ALIKE and message not in alike.messages:
            return f"(combined from similar events): {message}"[:_TEXT_LIMIT], True
        alike.messages.add(message)
        return message, False

    def _allowed(self, about: str, now: float) -> bool:
        budget = self._budgets.get(about)
        if budget is None:
            budget = self._budgets[about] = TokenBucket(_BURST, now)
            if len(self._budgets) > _REMEMBERED:
                self._budgets.popitem(last=False)
        return budget.take(now, _BURST, _REFILL_PER_SECOND)

    async def _repeat(self, written: _Written, message: str, now: float) -> bool:
        patch = {"count": written.count + 1, "lastTimestamp": objects.rfc3339(now), "message": message}
        try:
            await self._client.patch(EVENTS, written.name, patch, written.namespace)
        except NotFound:
            return False
        written.count += 1
        return True

    async def _create(self, event: _Recorded, message: str) -> _Written:
        obj = event.obj
        namespace = objects.namespace(obj) or "default"
        time, tick = objects.rfc3339(event.at), int(event.at * 1e9)
        about = reference(obj, event.resource) | ({"fieldPath": event.field} if event.field else {})
        made: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{objects.name(obj)}.{tick:x}", "namespace": namespace},
            "involvedObject": about,
            "reason": event.reason,
            "message": message,
            "source": {"component": self._component} | ({"host": event.host} if event.host else {}),
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "type": event.type,
            "reportingComponent": self._component,
            "reportingInstance": event.host,
        }
        try:
            await self._client.create(EVENTS, made, namespace)
        except AlreadyExists:
            # Two events of one object in one clock tick.
            made["metadata"]["name"] = f"{objects.name(obj)}.{tick + len(self._written) + 1:x}"
            await self._client.create(EVENTS, made, namespace)
        return _Written(made["metadata"]["name"], namespace, 1)
