"""Priority and fairness of one API server: its objects made ready, requests classified, seats shared out, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sublet.apiserver import stored
from sublet.apiserver.flowcontrol.bootstrap import flow_objects
from sublet.apiserver.flowcontrol.levels import Counts, Level, share_out
from sublet.apiserver.flowcontrol.maintenance import mark_dangling
from sublet.apiserver.flowcontrol.schemas import FlowSchema, in_order
from sublet.apiserver.follower import Follower
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.exposition import heading
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import StoreError

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_log = logging.getLogger(__name__)

GROUP = "flowcontrol.apiserver.k8s.io"
_ADJUST_SECONDS = 10.0
_GATHER_SECONDS = 0.05
_REMEMBERED = 4096
_CATCH_ALL, _EXEMPT = "catch-all", "exempt"
_BYTES_PER_SEAT = 100_000
_STREAMED = 1_000_000
_SAMPLE = 8
"""Objects whose size stands for that of the others."""


class Classified(Struct, frozen=True):
    """Where requests of a kind belong."""

    schema: FlowSchema
    level: Level
    flow: str
    headers: tuple[tuple[str, str], ...]
    counts: Counts


class FlowControl:
    """Runs from :meth:`start` to :meth:`stop`; before, everything belongs to what every cluster has."""

    def __init__(self, api: APIServer, seats: int) -> None:
        self._api = api
        self.seats = seats
        """Of all levels together."""
        self._stated: dict[str, dict[str, Object]] = {"flowschemas": {}, "prioritylevelconfigurations": {}}
        self._levels: dict[str, Level] = {}
        self._schemas: list[FlowSchema] = []
        self._known: dict[Any, Classified] = {}
        self._dirty = True
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    def start(self) -> None:
        for plural, stated in self._stated.items():
            kind = self._api.kinds.stored(GROUP, plural)
            if kind is None:
                continue
            cache = self._api.registry.cache(kind)
            follower = Follower(cache, self._change(stated), self._reset(stated))
            follower.start()
            self._followers.append(follower)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._adjust(), name="priority and fairness"),
            loop.create_task(self._tell(), name="conditions of flow schemas"),
        ]

    async def stop(self) -> None:
        for follower in self._followers:
            await follower.stop()
        self._followers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _change(self, stated: dict[str, Object]) -> Any:
        def change(key: str, obj: Object | None) -> None:
            self._dirty = True
            self._changed.set()
            if obj is None:
                stated.pop(key, None)
            else:
                stated[key] = obj

        return change

    def _reset(self, stated: dict[str, Object]) -> Any:
        def reset() -> None:
            self._dirty = True
            stated.clear()

        return reset

    async def _adjust(self) -> None:
        while True:
            await asyncio.sleep(_ADJUST_SECONDS)
            self._rebuild()
            share_out(list(self._levels.values()), self.seats, by_demand=True)

    async def _tell(self) -> None:
        """Says of flow schemas whether their levels exist, soon after anything changes."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._changed.clear()
            try:
                await mark_dangling(self._api)
            except (StatusError, StoreError) as error:
                _log.warning("flow schemas could not be marked: %s", error)

    # -- what is stated --

    def _rebuild(self) -> None:
        """Takes in changed objects. The mandatory ones count as they must be, also where somebody deleted them."""
        if not self._dirty:
            return
        self._dirty = False
        levels, schemas = flow_objects()
        stated_levels = {objects.name(o): o for o in levels if objects.name(o) in (_CATCH_ALL, _EXEMPT)}
        stated_schemas = {objects.name(o): o for o in schemas if objects.name(o) in (_CATCH_ALL, _EXEMPT)}
        stated_levels |= {objects.name(o): o for o in self._stated["prioritylevelconfigurations"].values()}
        stated_schemas |= {objects.name(o): o for o in self._stated["flowschemas"].values()}
        for name in self._levels.keys() - stated_levels.keys():
            # Requests that hold or wait for its seats keep it until they are through.
            del self._levels[name]
        for name, obj in stated_levels.items():
            self._levels.setdefault(name, Level(name)).configure(obj)
        share_out(list(self._levels.values()), self.seats, by_demand=False)
        found = [FlowSchema(obj) for obj in stated_schemas.values()]
        self._schemas = [schema for schema in in_order(found) if schema.level in self._levels]
        self._known.clear()

    def classify(self, user: User, info: RequestInfo) -> Classified:
        """The flow schema, level and flow of a request."""
        if self._dirty:
            self._rebuild()
        key = (
            user.name, user.groups, info.verb,
            (info.api_group, info.resource, info.subresource, info.namespace) if info.is_resource else info.path,
        )  # fmt: skip
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._classify(user, info)
        return found

    def _classify(self, user: User, info: RequestInfo) -> Classified:
        schema = next((each for each in self._schemas if each.match(user, info)), None)
        if schema is None:
            schema = next(each for each in self._schemas if each.name == _CATCH_ALL)
        level = self._levels[schema.level]
        headers = (
            ("X-Kubernetes-Pf-Flowschema-Uid", schema.uid),
            ("X-Kubernetes-Pf-Prioritylevel-Uid", level.uid),
        )
        return Classified(schema, level, schema.flow(user, info), headers, level.count(schema.name))

    def seats_of(self, level: Level, info: RequestInfo) -> int:
        """How many seats a request takes: what lists objects one for every 100 kB of them, any other one.

        As upstream, also a watch that sends what there is lists, and a list streams, so that no more than 1 MB of it
        is in memory. Other than upstream only the objects of the namespace count: the others are not looked at.
        """
        lists = info.verb == "list" or (info.verb == "watch" and info.flag("sendInitialEvents"))
        if not lists or not info.is_resource or info.name:
            return 1
        found = self._api.kinds.find(info.api_group, info.api_version, info.resource)
        if found is None or not found[0].stored:
            return 1
        kind = found[0]
        prefix = stored.key_prefix(kind.resource)
        if info.namespace and kind.resource.namespaced:
            prefix += f"{info.namespace}/"
        cache = self._api.registry.cache(kind)
        count = cache.count(prefix)
        limit = info.param("limit")
        if limit.isdigit() and int(limit):
            count = min(count, int(limit))
        if not count:
            return 1
        sample = cache.entries(prefix, limit=_SAMPLE)
        size = min(count * sum(len(each.value) for each in sample) // len(sample), _STREAMED)
        return max(1, min(-(-size // _BYTES_PER_SEAT), level.most_seats()))

    # -- what others see --

    def levels(self) -> list[Level]:
        """As they are stated now."""
        self._rebuild()
        return list(self._levels.values())

    def lines(self) -> Iterator[str]:
        """Metrics under upstream's names."""
        levels = self.levels()
        gauges: tuple[tuple[str, str, Callable[[Level], float]], ...] = (
            ("nominal_limit_seats", "Nominal number of execution seats configured for each priority level", lambda level: level.nominal),
            ("lower_limit_seats", "Configured lower bound on number of execution seats available to each priority level", lambda level: level.lowest()),
            ("upper_limit_seats", "Configured upper bound on number of execution seats available to each priority level", lambda level: level.highest(self.seats)),
            ("current_limit_seats", "current derived number of execution seats available to each priority level", lambda level: level.limit),
            ("demand_seats_high_watermark", "High watermark, over last adjustment period, of demand_seats", lambda level: level.peak),
        )  # fmt: skip
        for name, what, read in gauges:
            yield from heading(f"apiserver_flowcontrol_{name}", f"[BETA] {what}", "gauge")
            for level in levels:
                yield f'apiserver_flowcontrol_{name}{{priority_level="{level.name}"}} {read(level)}'
        yield from _counters(levels)


def _counters(levels: list[Level]) -> Iterator[str]:
    rows = [(level, schema, counts) for level in levels for schema, counts in level.counts.items()]
    now = _of_now(levels)
    for name, what in (
        ("current_executing_requests", "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem"),
        ("current_executing_seats", "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem"),
        ("current_inqueue_requests", "Number of requests currently pending in queues of the API Priority and Fairness subsystem"),
    ):  # fmt: skip
        yield from heading(f"apiserver_flowcontrol_{name}", f"[BETA] {what}", "gauge")
        for level, schema, _ in rows:
            yield f"apiserver_flowcontrol_{name}{{{_labels(level, schema)}}} {now[name, level.name, schema]}"
    name = "apiserver_flowcontrol_dispatched_requests_total"
    yield from heading(
        name, "[BETA] Number of requests executed by API Priority and Fairness subsystem", "counter"
    )
    for level, schema, counts in rows:
        yield f"{name}{{{_labels(level, schema)}}} {counts.dispatched}"
    name = "apiserver_flowcontrol_rejected_requests_total"
    yield from heading(
        name, "[BETA] Number of requests rejected by API Priority and Fairness subsystem", "counter"
    )
    for level, schema, counts in rows:
        for reason, count in counts.rejected.items():
            yield f'{name}{{{_labels(level, schema)},reason="{reason}"}} {count}'
    name = "apiserver_flowcontrol_request_wait_duration_seconds"
    yield from heading(name, "[BETA] Length of time a request spent waiting in its queue", "histogram")
    for level, schema, counts in rows:
        yield from counts.waited.lines(name, f'execute="true",{_labels(level, schema)}')
    name = "apiserver_flowcontrol_request_execution_seconds"
    yield from heading(
        name,
        "[BETA] Duration of initial stage of request execution in the API Priority and Fairness subsystem",
        "histogram",
    )
    for level, schema, counts in rows:
        yield from counts.ran.lines(name, _labels(level, schema))


def _of_now(levels: list[Level]) -> Counter[tuple[str, str, str]]:
    """(metric, level, schema) -> how many requests run, what seats they take, how many wait."""
    found: Counter[tuple[str, str, str]] = Counter()
    for level in levels:
        for asked in level.executing:
            found["current_executing_requests", level.name, asked.schema] += 1
            found["current_executing_seats", level.name, asked.schema] += asked.seats
        for queue in level.queues:
            for waiting in queue:
                found["current_inqueue_requests", level.name, waiting.asked.schema] += 1
    return found


def _labels(level: Level, schema: str) -> str:
    return f'flow_schema="{schema}",priority_level="{level.name}"'
