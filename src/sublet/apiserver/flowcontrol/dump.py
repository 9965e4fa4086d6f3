"""What priority and fairness is doing right now, as tables for people: levels, queues, requests.

The columns are upstream's ``/debug/api_priority_and_fairness/dump_*``. A queue of -1 is none: the request did not wait,
or its level has no queues; an index of -1 says that it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sublet.apiserver.flowcontrol.levels import CANCELLED, TIME_OUT, Asked, Level
from sublet.apiserver.requestinfo import RequestInfo
from sublet.machinery import objects
from sublet.machinery.clock import Clock

_LEVELS = (
    "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
    "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
)  # fmt: skip
_QUEUES = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
)  # fmt: skip
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
_NEVER = "0001-01-01T00:00:00Z"
_NARROWEST = 8


def priority_levels(levels: Iterable[Level]) -> str:
    """One row per level."""
    return _table(_LEVELS, (_level(level) for level in _by_name(levels)))


def _level(level: Level) -> Iterator[str]:
    rejected: dict[str, int] = {}
    for counts in level.counts.values():
        for reason, count in counts.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    timed_out, cancelled = rejected.pop(TIME_OUT, 0), rejected.pop(CANCELLED, 0)
    yield level.name
    yield str(sum(bool(queue) for queue in level.queues))
    yield "false" if level.running or level.waiting else "true"
    yield "false"
    yield from map(str, (level.waiting, level.running))
    yield str(sum(counts.dispatched for counts in level.counts.values()))
    yield from map(str, (sum(rejected.values()), timed_out, cancelled))


def queues(levels: Iterable[Level]) -> str:
    """One row per queue."""
    return _table(_QUEUES, (row for level in _by_name(levels) for row in _queues_of(level)))


def _queues_of(level: Level) -> Iterator[list[str]]:
    running: dict[int, list[Asked]] = {}
    for asked in level.executing:
        running.setdefault(asked.queue, []).append(asked)
    for index, queue in enumerate(level.queues):
        seats = sum(waiting.seats for waiting in queue)
        here = running.get(index, [])
        yield [
            level.name, str(index), str(len(queue)), str(len(here)), str(sum(each.seats for each in here)),
            f"{level.next_start(index):.8f}ss", str(seats), str(seats), f"{level.work(seats):.8f}ss",
        ]  # fmt: skip


def requests(levels: Iterable[Level], clock: Clock, *, details: bool) -> str:
    """One row per request that waits or runs; ``details``: also who asks for what."""
    rows = (row for level in _by_name(levels) for row in _requests_of(level, clock, details))
    return _table((*_REQUESTS, *_DETAILS) if details else _REQUESTS, rows)


def _requests_of(level: Level, clock: Clock, details: bool) -> Iterator[list[str]]:
    for asked in level.executing:
        yield _request(level, asked, -1, clock, details)
    for queue in level.queues:
        for index, waiting in enumerate(queue):
            yield _request(level, waiting.asked, index, clock, details)


def _request(level: Level, asked: Asked, index: int, clock: Clock, details: bool) -> list[str]:
    began = clock.now() - clock.monotonic()

    def when(monotonic: float) -> str:
        return objects.rfc3339_micro(began + monotonic) if monotonic else _NEVER

    row = [
        level.name, asked.schema, str(asked.queue), str(index), asked.flow, when(asked.arrived), str(asked.seats), "0",
        "0s", when(asked.started),
    ]  # fmt: skip
    if details:
        info: RequestInfo = asked.info
        version = f"{info.api_group}/{info.api_version}" if info.api_group else info.api_version
        row += [
            asked.user, info.verb, info.path, info.namespace, info.name, version, info.resource, info.subresource
        ]  # fmt: skip
    return row


def _by_name(levels: Iterable[Level]) -> list[Level]:
    return sorted(levels, key=lambda level: level.name)


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Commas and aligned columns, as Go's tabwriter makes them."""
    cells = [list(head), *map(list, rows)]
    last = len(head) - 1
    widths = [max(_NARROWEST, *(len(row[i]) + 2 for row in cells)) for i in range(last)]
    return "".join(
        "".join(f"{row[i]},".ljust(widths[i]) for i in range(last)) + row[last] + "\n" for row in cells
    )
