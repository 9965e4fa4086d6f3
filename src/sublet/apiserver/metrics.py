"""Numbers about one API server, for ``/metrics``: requests, loop lag, and whatever other rooms count.

Kept as plain dictionaries (no global registry), written in Prometheus' text format when asked for. Names, labels and
buckets are upstream's where the meaning is upstream's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct, field

from sublet.apiserver.pace import Pace
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.exposition import (
    DOUBLING,
    SERIES_LIMIT,
    Counter,
    Histogram,
    Histograms,
    counter,
    escaped,
    heading,
    histograms,
    label_text,
)

__all__ = ["Counter", "Histogram", "Histograms", "Labels", "Metrics", "escaped", "heading", "label_text"]

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
           10.0, 15.0, 20.0, 30.0, 45.0, 60.0)  # fmt: skip
_STORE_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
                  10.0, 15.0, 20.0, 30.0, 45.0, 60.0)  # fmt: skip
_ADMISSION_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LAG_SECONDS = 1.0
_SIZE_BUCKETS = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
LATENCY = "apiserver.latency.k8s.io/"
"""How the audit annotations begin that say how long others held a request up: webhooks, queues."""
_FINE = 2
"""So many of :data:`BUCKETS` are too fine for the durations that are the server's own, as upstream."""
_READING = frozenset(("GET", "LIST"))
_MUTATING = frozenset(("POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"))


class Labels(NamedTuple):
    """Of a request's series."""

    verb: str
    """``GET LIST WATCH POST PUT PATCH APPLY DELETE DELETECOLLECTION CONNECT``, and methods off resources."""
    dry_run: str
    group: str
    version: str
    resource: str
    subresource: str
    """Of a health check: its path."""
    scope: str
    """``cluster``, ``namespace``, ``resource``; empty off resources."""

    def text(self) -> str:
        """``component="apiserver",dry_run="",…``, in the order of the names."""
        return self.without_dry_run().replace(",", f',dry_run="{self.dry_run}",', 1)

    def without_dry_run(self) -> str:
        return (
            f'component="apiserver",group="{escaped(self.group)}",'
            f'resource="{escaped(self.resource)}",scope="{self.scope}",subresource="{escaped(self.subresource)}",'
            f'verb="{escaped(self.verb)}",version="{escaped(self.version)}"'
        )


class Running:
    """Adds one to a gauge while it is entered."""

    __slots__ = ("_counter", "_labels")

    def __init__(self, counter: Counter, labels: str) -> None:
        self._counter = counter
        self._labels = labels

    def __enter__(self) -> None:
        self._counter.add(self._labels)

    def __exit__(self, *_: object) -> None:
        self._counter.add(self._labels, -1)


class Series:
    """What is counted of the requests of one set of labels."""

    __slots__ = ("codes", "durations", "held_up", "sizes")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.durations = Histogram(BUCKETS)
        self.held_up: Histogram | None = None
        """What to add to the durations to have those that are the server's own; none while nothing was held up."""
        self.sizes: Histogram | None = None
        """Of the answers to reads, in bytes."""

    def own(self) -> Histogram:
        """Durations without the time that others took."""
        both = (self.durations,) if self.held_up is None else (self.durations, self.held_up)
        return Histogram.sum(both).without(_FINE)


class Metrics(Struct):
    """What is counted. Others that count are ``sources``: each gives lines in the text format when asked."""

    clock: Clock = field(default_factory=SystemClock)
    requests: dict[Labels, Series] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=lambda: {"mutating": 0, "readOnly": 0})
    loop_lag: Histogram = field(default_factory=lambda: Histogram(_LAG_BUCKETS))
    sources: list[Callable[[], Iterable[str]]] = field(default_factory=list)
    started: float = 0.0
    ticked: float = 0.0
    """Loop time at which the loop last ran what was due."""
    long_running: Counter = counter(
        "apiserver_longrunning_requests",
        "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, "
        "resource, scope and component. Not all requests are tracked this way.",
        "gauge",
    )
    terminations: Counter = counter(
        "apiserver_request_terminations_total",
        "[ALPHA] Number of requests which apiserver terminated in self-defense.",
    )
    watch_events: Counter = counter(
        "apiserver_watch_events_total", "[ALPHA] Number of events sent in watch clients"
    )
    authentications: Counter = counter(
        "authentication_attempts", "[ALPHA] Counter of authenticated attempts."
    )
    authentication: Histograms = histograms(
        "authentication_duration_seconds",
        "[ALPHA] Authentication duration in seconds broken out by result.",
        DOUBLING,
    )
    authenticated: Counter = counter(
        "authenticated_user_requests",
        "[ALPHA] Counter of authenticated requests broken out by username.",
    )
    authorizations: Counter = counter(
        "authorization_attempts_total",
        "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', "
        "'no-opinion' or 'error'.",
    )
    deprecated: Counter = counter(
        "apiserver_requested_deprecated_apis",
        "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, "
        "subresource, and removed_release.",
        "gauge",
    )
    store_errors: Counter = counter(
        "etcd_request_errors_total",
        "[ALPHA] Etcd failed request counts for each operation and object type.",
    )
    store: Histograms = histograms(
        "etcd_request_duration_seconds",
        "[ALPHA] Etcd request latency in seconds for each operation and object type.",
        _STORE_BUCKETS,
    )
    admission: Histograms = histograms(
        "apiserver_admission_step_admission_duration_seconds",
        "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API "
        "resource and step type (validate or admit).",
        _ADMISSION_BUCKETS,
    )
    controllers: Histograms = histograms(
        "apiserver_admission_controller_admission_duration_seconds",
        "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each "
        "operation and API resource and type (validate or admit).",
        _ADMISSION_BUCKETS,
    )
    """Of each built-in admission plug-in."""
    _watch_labels: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    _lag_task: asyncio.Task[None] | None = None

    def watching(self, group: str, version: str, resource: str, scope: str) -> Running:
        """A watch, counted as long as the ``with`` block of what this returns runs."""
        key = (group, version, resource, scope)
        found = self._watch_labels.get(key)
        if found is None:
            labels = Labels("WATCH", "", group, version, resource, "", scope)
            found = self._watch_labels[key] = labels.without_dry_run()
        return Running(self.long_running, found)

    def begin(self, labels: Labels) -> str:
        """One request has come; give what this returns to :meth:`end`."""
        kind = "mutating" if labels.verb in _MUTATING else "readOnly"
        self.in_flight[kind] += 1
        return kind

    def end(self, kind: str) -> None:
        self.in_flight[kind] -= 1

    def observe(
        self, labels: Labels, code: int, seconds: float, size: int = -1, elsewhere: float = 0.0
    ) -> None:
        """One finished request (of a watch: its start); ``size`` of its answer, where it is known.

        ``elsewhere``: how many of the seconds webhooks and queues took.
        """
        found = self.requests.get(labels)
        if found is None:
            if len(self.requests) >= SERIES_LIMIT:
                return
            found = self.requests[labels] = Series()
            if labels.verb in _READING:
                found.sizes = Histogram(_SIZE_BUCKETS)
        found.durations.observe(seconds)
        if elsewhere:
            if found.held_up is None:
                found.held_up = Histogram(BUCKETS)
            found.held_up.move(seconds, elsewhere)
        found.codes[code] = found.codes.get(code, 0) + 1
        if found.sizes is not None and size >= 0:
            found.sizes.observe(size)

    def start(self) -> None:
        """Begins to measure how late the loop runs what is due."""
        self.started = self.clock.now()
        loop = asyncio.get_running_loop()
        self.ticked = loop.time()
        self._lag_task = loop.create_task(self._measure_lag())

    async def stop(self) -> None:
        if self._lag_task is not None:
            self._lag_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lag_task
            self._lag_task = None

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            self.ticked = loop.time()
            self.loop_lag.observe(max(0.0, self.ticked - due))

    def text(self) -> str:
        """Everything in Prometheus' text format."""
        return "\n".join(self._lines()) + "\n"

    async def paced_text(self) -> str:
        """As :meth:`text`, in pieces."""
        pace, lines = Pace(), list[str]()
        for line in self._lines():
            lines.append(line)
            if pace.due:
                await pace.pause()
        return "\n".join(lines) + "\n"

    def _lines(self) -> Iterator[str]:
        """What is counted may grow between two lines: everything is gone through as it is when it is its turn."""
        yield from self._request_lines()
        name = "apiserver_current_inflight_requests"
        yield from heading(
            name,
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
            "gauge",
        )
        for kind, count in self.in_flight.items():
            yield f'{name}{{request_kind="{kind}"}} {count}'
        for each in (
            self.long_running, self.watch_events, self.authentications, self.authenticated, self.authorizations,
            self.deprecated, self.store_errors, self.terminations,
        ):  # fmt: skip
            yield from tuple(each.lines())
        yield from tuple(self.authentication.lines())
        yield from tuple(self.store.lines())
        what = "[ALPHA] Etcd request counts for each operation and object type."
        yield from tuple(self.store.counts("etcd_requests_total", what))
        yield from tuple(self.admission.lines())
        yield from tuple(self.controllers.lines())
        name = "sublet_loop_lag_seconds"
        yield from heading(name, "How late the event loop ran what was due.", "histogram")
        yield from self.loop_lag.lines(name, "")
        yield from heading("sublet_loop_lag_max_seconds", "The longest loop lag seen.", "gauge")
        yield f"sublet_loop_lag_max_seconds {self.loop_lag.maximum:.15g}"
        for source in self.sources:
            yield from tuple(source())

    def _request_lines(self) -> Iterator[str]:
        name = "apiserver_request_total"
        yield from heading(
            name,
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, "
            "resource, scope, component, and HTTP response code.",
            "counter",
        )
        for labels, series in tuple(self.requests.items()):
            for code, count in series.codes.items():
                yield f'{name}{{code="{code}",{labels.text()}}} {count}'
        name = "apiserver_request_duration_seconds"
        yield from heading(
            name,
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, "
            "resource, subresource, scope and component.",
            "histogram",
        )
        for labels, series in tuple(self.requests.items()):
            yield from series.durations.lines(name, labels.text())
        name = "apiserver_request_sli_duration_seconds"
        yield from heading(
            name,
            "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait "
            "times) in seconds for each verb, group, version, resource, subresource, scope and component.",
            "histogram",
        )
        for labels, series in tuple(self.requests.items()):
            if not labels.dry_run:
                yield from series.own().lines(name, labels.without_dry_run())
        name = "apiserver_response_sizes"
        yield from heading(
            name,
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope "
            "and component.",
            "histogram",
        )
        for labels, series in tuple(self.requests.items()):
            if series.sizes is not None and not labels.dry_run:
                yield from series.sizes.lines(name, labels.without_dry_run())
