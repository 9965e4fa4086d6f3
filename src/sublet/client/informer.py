"""A shared, always current view of one resource: a list, then a watch that resumes where it broke off.

Source: client-go's reflector and shared informer (reference B.11). Objects are shared by everyone who asks: never
change one, make a copy by ``copy.deepcopy`` or by decoding. ``metadata.managedFields`` is left out of them (half
their size, and an update without it keeps the stored one).
"""

from __future__ import annotations

import asyncio
import builtins  # for `list`, which is a method below
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sublet.client.client import Client
from sublet.machinery import objects
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import Expired, Gone, StatusError

if TYPE_CHECKING:
    from sublet.machinery.selectors import Selector

log = logging.getLogger(__name__)

Handler = Callable[[str, Object, Object | None], None]
"""(``add`` | ``update`` | ``delete``, object, the object before or None). Must be quick and must not await."""

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 30.0
_HEALTHY_SECONDS = 60.0
"""A watch that lived this long proves that the server is well: the back-off starts anew."""
_PAGE = 500


class Index:
    """Objects by the values that ``keys`` finds in them."""

    def __init__(self, keys: Callable[[Object], Iterable[str]]) -> None:
        self._keys = keys
        self._found: dict[str, dict[str, Object]] = {}

    def get(self, value: str) -> list[Object]:
        return list(self._found.get(value, {}).values())

    def put(self, key: str, obj: Object) -> None:
        for value in self._keys(obj):
            self._found.setdefault(value, {})[key] = obj

    def drop(self, key: str, obj: Object) -> None:
        for value in self._keys(obj):
            held = self._found.get(value)
            if held is not None:
                held.pop(key, None)
                if not held:
                    del self._found[value]


class Informer:
    """Keeps the objects of one resource; tells handlers what changes, in order.

    ``run`` never ends by itself: errors are retried with a back-off up to 30 s. Reads before :meth:`synced` see
    what has arrived so far.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.label_selector = label_selector
        self.field_selector = field_selector
        self._client = client
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, Index] = {}
        self._by_namespace = Index(lambda obj: (objects.namespace(obj),)) if resource.namespaced else None
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._version = ""
        self._said = ""
        self.errors = 0
        """How often a list or watch has failed."""

    # -- reading --

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get(f"{namespace}/{name}" if namespace else name)

    def get_key(self, key: str) -> Object | None:
        """By ``NAMESPACE/NAME`` or ``NAME``, as queues carry it."""
        return self._objects.get(key)

    def list(self, namespace: str = "", selector: Selector | None = None) -> list[Object]:
        if namespace and self._by_namespace is not None:
            found = self._by_namespace.get(namespace)
        else:
            found = list(self._objects.values())
        if selector is None:
            return found
        return [obj for obj in found if selector.matches(objects.labels(obj))]

    def keys(self) -> builtins.list[str]:
        return [*self._objects]

    def __len__(self) -> int:
        return len(self._objects)

    def add_index(self, name: str, keys: Callable[[Object], Iterable[str]]) -> None:
        """Adding an index that is there already changes nothing, so that workers can share one by its name."""
        if name in self._indexes:
            return
        index = self._indexes[name] = Index(keys)
        for key, obj in self._objects.items():
            index.put(key, obj)

    def by_index(self, name: str, value: str) -> builtins.list[Object]:
        return self._indexes[name].get(value)

    def add_handler(self, handler: Handler) -> None:
        """Replays an ``add`` for each object that is there."""
        self._handlers.append(handler)
        for obj in [*self._objects.values()]:
            self._tell(handler, "add", obj, None)

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """Up to where the view is complete."""
        return self._version

    async def synced(self) -> None:
        """Returns once the first list is in."""
        await self._synced.wait()

    # -- following the server --

    async def run(self) -> None:
        delay = _FIRST_DELAY
        while True:
            started = self._clock.monotonic()
            try:
                if not self._version:
                    await self._list()
                    delay = _FIRST_DELAY
                await self._watch()
                self._said = ""
            except (Expired, Gone):
                log.debug(
                    "%s: resource version %s is gone, listing again", self.resource.qualified, self._version
                )
                self._version = ""
            except StatusError as error:
                self._failed(error)
            except Exception as error:
                # What came was not a list or watch of objects; a fresh list may be. A view must never die silently.
                log.debug("following %s", self.resource.qualified, exc_info=True)
                self._failed(error)
                self._version = ""
            else:
                if self._clock.monotonic() - started > 1.0:
                    delay = _FIRST_DELAY
                    continue  # the server ended the watch in its time: resume at once
            if self._clock.monotonic() - started > _HEALTHY_SECONDS:
                delay = _FIRST_DELAY
            await asyncio.sleep(delay * (0.5 + self._rng.random()))
            delay = min(delay * 2, _LONGEST_DELAY)

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        if (message := str(error)) != self._said:
            log.warning("following %s: %s", self.resource.qualified, message)
            self._said = message

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        token = ""
        while True:
            page = await self._client.list(
                self.resource, self.namespace, label_selector=self.label_selector,
                field_selector=self.field_selector, limit=_PAGE, continue_token=token,
            )  # fmt: skip
            for obj in page["items"]:
                found[objects.key(obj)] = _slim(obj)
            metadata = page.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                break
        self._replace(found)
        self._version = str(metadata.get("resourceVersion") or "")
        self._synced.set()

    def _replace(self, found: dict[str, Object]) -> None:
        """Makes the view equal to a fresh list and tells what differs, deletions first."""
        for key in [key for key in self._objects if key not in found]:
            self._remove(key, self._objects[key])
        for key, obj in found.items():
            old = self._objects.get(key)
            if old is None:
                self._put(key, obj)
            elif _version(old) != _version(obj) or objects.uid(old) != objects.uid(obj):
                if objects.uid(old) != objects.uid(obj):
                    self._remove(key, old)
                self._put(key, obj)

    async def _watch(self) -> None:
        events = self._client.watch(
            self.resource, self.namespace, resource_version=self._version,
            label_selector=self.label_selector, field_selector=self.field_selector,
        )  # fmt: skip
        async with contextlib.aclosing(events):
            async for event in events:
                obj = event.object
                if event.type != "BOOKMARK":
                    self._event(event.type, _slim(obj))
                self._version = _version(obj) or self._version

    def _event(self, kind: str, obj: Object) -> None:
        key = objects.key(obj)
        if kind == "DELETED":
            self._remove(key, obj)
            return
        old = self._objects.get(key)
        if old is not None and objects.uid(old) != objects.uid(obj):
            self._remove(key, old)
        self._put(key, obj)

    def _put(self, key: str, obj: Object) -> None:
        old = self._objects.get(key)
        for index in self._all_indexes():
            if old is not None:
                index.drop(key, old)
            index.put(key, obj)
        self._objects[key] = obj
        kind = "add" if old is None else "update"
        for handler in self._handlers:
            self._tell(handler, kind, obj, old)

    def _remove(self, key: str, last: Object) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        for index in self._all_indexes():
            index.drop(key, old)
        for handler in self._handlers:
            self._tell(handler, "delete", last, old)

    def _all_indexes(self) -> Iterable[Index]:
        if self._by_namespace is not None:
            yield self._by_namespace
        yield from self._indexes.values()

    def _tell(self, handler: Handler, kind: str, obj: Object, old: Object | None) -> None:
        try:
            handler(kind, obj, old)
        except Exception:
            # One worker's mistake must not stop the view that all others share.
            log.exception("a handler of %s failed for %s", self.resource.qualified, objects.key(obj))


def _version(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def _slim(obj: Object) -> Object:
    metadata = obj.get("metadata")
    if metadata:
        metadata.pop("managedFields", None)
    return obj


class InformerFactory:
    """Informers shared by equal arguments, started and stopped together."""

    def __init__(self, client: Client, clock: Clock | None = None, rng: random.Random | None = None) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._shared: dict[tuple[Resource, str, str, str], Informer] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._asked: list[Informer] = []

    def view(self) -> InformerFactory:
        """The same informers, with a list of its own of those that were asked for through it."""
        view = InformerFactory(self._client, self._clock, self._rng)
        view._shared, view._tasks = self._shared, self._tasks
        return view

    def informer(
        self, resource: Resource, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Informer:
        key = (resource, namespace, label_selector, field_selector)
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = Informer(
                self._client, resource, namespace, label_selector=label_selector,
                field_selector=field_selector, clock=self._clock, rng=self._rng,
            )  # fmt: skip
        if found not in self._asked:
            self._asked.append(found)
        return found

    def held(self, resource: Resource) -> Informer | None:
        """The informer of all objects of a resource, if anyone has asked for it; makes none."""
        return self._shared.get((resource, "", "", ""))

    def asked(self) -> list[Informer]:
        """The informers asked for through this view."""
        return [*self._asked]

    async def start(self) -> None:
        """Starts those not running; returns at once."""
        for informer in self._shared.values():
            task = self._tasks.get(id(informer))
            if task is None or task.done():
                name = f"informer {informer.resource.qualified}"
                self._tasks[id(informer)] = asyncio.create_task(informer.run(), name=name)

    async def synced(self) -> None:
        """Returns once every informer asked for through this view has its first list."""
        for informer in self.asked():
            await informer.synced()

    async def stop(self) -> None:
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
