"""Priority levels: how many requests of each run at once, and how the others wait.

Seats are what is shared out: most requests take one. A level of type Queue deals each flow a hand of its queues (shuffle
sharding), puts a request into the shortest of them, and takes the next one from the queue that has had least so far
(start-time fair queuing: every request gets a start tag, and the smallest goes first). As long as there are free seats
nothing is queued, and a request costs two additions.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from sublet.apiserver.metrics import Histogram
from sublet.apiserver.requestinfo import RequestInfo
from sublet.machinery import objects
from sublet.machinery.kind import Object

WAIT_BUCKETS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
RUN_BUCKETS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
QUEUE_FULL, LIMIT, TIME_OUT, CANCELLED = "queue-full", "concurrency-limit", "time-out", "cancelled"
_ESTIMATE = 0.003
"""Seconds that a request is taken to run until it is known, as upstream."""
_HANDS_LIMIT = 1024
_MOST_SEATS = 10
_SHARE_OF_ONE = 0.15
"""The part of a level's seats that one request may take at most."""


class Asked:
    """A request and what became of it so far. Times are of the monotonic clock; ``started`` 0: it waits."""

    __slots__ = ("arrived", "flow", "info", "queue", "schema", "seats", "started", "user")

    def __init__(
        self, schema: str, flow: str, seats: int, arrived: float, user: str, info: RequestInfo
    ) -> None:
        self.schema = schema
        self.flow = flow
        self.seats = seats
        self.arrived = arrived
        self.started = 0.0
        self.queue = -1
        """In which it waits or waited; -1: in none."""
        self.user = user
        self.info = info


class Waiting:
    """A request in a queue."""

    __slots__ = ("asked", "future", "queue", "seats", "start")

    def __init__(self, asked: Asked, queue: int, start: float) -> None:
        self.asked = asked
        self.seats = asked.seats
        self.queue = asked.queue = queue
        self.start = start
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Counts(Struct):
    """Of one flow schema in one level."""

    dispatched: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    waited: Histogram = field(default_factory=lambda: Histogram(WAIT_BUCKETS))
    ran: Histogram = field(default_factory=lambda: Histogram(RUN_BUCKETS))

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class Level:
    """One priority level. ``limit`` is set by whoever shares out the seats."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.exempt = False
        self.shares = 0
        self.lendable = 0.0
        self.borrowing: float | None = None
        """The part of its nominal seats it may borrow; None: without bound."""
        self.nominal = 0
        self.limit = 0
        self.running = 0
        """Requests."""
        self.seats = 0
        """Seats taken."""
        self.waiting = 0
        self.waiting_seats = 0
        self.peak = 0
        """The most seats that were taken or asked for since the last sharing out."""
        self.counts: dict[str, Counts] = {}
        self.executing: set[Asked] = set()
        self._queues: list[deque[Waiting]] = []
        self._finish: list[float] = []
        self._hand = 1
        self._length = 0
        self._virtual = 0.0
        self._heads: list[tuple[float, int]] = []
        self._hands: dict[tuple[str, str], tuple[int, ...]] = {}

    def configure(self, obj: Object) -> None:
        """Takes what a PriorityLevelConfiguration says. Requests that wait stay where they are."""
        spec: Mapping[str, Any] = obj.get("spec") or {}
        self.uid = objects.uid(obj)
        self.exempt = spec.get("type") == "Exempt"
        stated: Mapping[str, Any] = spec.get("exempt" if self.exempt else "limited") or {}
        self.shares = int(stated.get("nominalConcurrencyShares", 0 if self.exempt else 30))
        self.lendable = (stated.get("lendablePercent") or 0) / 100
        borrowing = stated.get("borrowingLimitPercent")
        self.borrowing = None if borrowing is None else borrowing / 100
        response = stated.get("limitResponse") or {}
        queuing = response.get("queuing") or {}
        count = int(queuing.get("queues") or 0) if response.get("type") == "Queue" else 0
        if count != len(self._queues):
            self._resize(count)
        self._hand = max(1, min(int(queuing.get("handSize") or 1), count or 1))
        self._length = int(queuing.get("queueLengthLimit") or 0)
        self._hands.clear()

    def _resize(self, count: int) -> None:
        kept = [waiting for queue in self._queues for waiting in queue]
        # A level without queues any more still serves those that wait.
        size = max(count, 1) if kept else count
        self._queues = [deque() for _ in range(size)]
        self._finish = [self._virtual] * size
        for waiting in sorted(kept, key=lambda each: each.start):
            waiting.queue %= size
            self._queues[waiting.queue].append(waiting)
        self._heads = [(queue[0].start, index) for index, queue in enumerate(self._queues) if queue]
        heapq.heapify(self._heads)

    # -- seats --

    def most_seats(self) -> int:
        """That one request may take."""
        return max(1, min(_MOST_SEATS, math.ceil(self.nominal * _SHARE_OF_ONE)))

    def lowest(self) -> int:
        """Seats that are its own whatever others need."""
        return self.nominal - round(self.nominal * self.lendable)

    def highest(self, total: int) -> int:
        """Seats it may have at most."""
        if self.borrowing is None:
            return total
        return min(total, self.nominal + round(self.nominal * self.borrowing))

    def try_start(self, seats: int) -> bool:
        """Takes seats if they are free and nobody waits for them."""
        if self.waiting or (self.seats and self.seats + seats > self.limit) or not self.limit:
            return False
        self._take(seats)
        return True

    def take_anyway(self, seats: int) -> None:
        """Of an exempt level."""
        self._take(seats)

    def _take(self, seats: int) -> None:
        self.running += 1
        self.seats += seats
        if self.seats > self.peak:
            self.peak = self.seats

    def finish(self, seats: int, waited: Waiting | None, seconds: float) -> None:
        """Gives seats back; those that wait take them."""
        self.running -= 1
        self.seats -= seats
        if waited is not None and waited.queue < len(self._finish):
            self._finish[waited.queue] += seats * (seconds - _ESTIMATE)
        if self.waiting:
            self.dispatch()

    # -- queues --

    @property
    def queues(self) -> Sequence[Sequence[Waiting]]:
        """Who waits, in the order of each queue."""
        return self._queues

    def next_start(self, index: int) -> float:
        """The virtual time at which the next request of a queue is due."""
        queue = self._queues[index]
        return queue[0].start if queue else max(self._virtual, self._finish[index])

    def work(self, seats: int) -> float:
        """The seat-seconds that so many seats are taken to cost before it is known."""
        return seats * _ESTIMATE

    async def wait(self, asked: Asked, longest: float) -> Waiting | str:
        """Waits for seats; the place waited at once they are taken, or why they are not given."""
        if not self._queues:
            return LIMIT
        queue = self._shortest(asked.schema, asked.flow)
        if len(self._queues[queue]) >= self._length:
            return QUEUE_FULL
        waiting = self._enqueue(queue, asked)
        try:
            async with asyncio.timeout(longest):
                await waiting.future
        except TimeoutError:
            if not waiting.future.cancelled():
                return waiting  # seats were given at the last moment
            self._leave(waiting)
            return TIME_OUT
        except asyncio.CancelledError:
            if waiting.future.done() and not waiting.future.cancelled():
                self.finish(asked.seats, waiting, 0.0)
            else:
                self._leave(waiting)
            raise
        return waiting

    def _enqueue(self, index: int, asked: Asked) -> Waiting:
        seats = asked.seats
        start = max(self._virtual, self._finish[index])
        self._finish[index] = start + self.work(seats)
        waiting = Waiting(asked, index, start)
        queue = self._queues[index]
        queue.append(waiting)
        if len(queue) == 1:
            heapq.heappush(self._heads, (start, index))
        self.waiting += 1
        self.waiting_seats += seats
        self.peak = max(self.peak, self.seats + self.waiting_seats)
        return waiting

    def _shortest(self, schema: str, flow: str) -> int:
        hand = self._hands.get((schema, flow))
        if hand is None:
            if len(self._hands) >= _HANDS_LIMIT:
                self._hands.clear()
            hand = self._hands[schema, flow] = deal(schema, flow, len(self._queues), self._hand)
        queues, finish = self._queues, self._finish
        return min(hand, key=lambda index: (len(queues[index]), finish[index]))

    def dispatch(self) -> None:
        """Starts those that wait as far as there are seats, the fairest first."""
        while self._heads:
            _, index = self._heads[0]
            first = self._queues[index][0]
            if self.seats and self.seats + first.seats > self.limit:
                return
            self._pop(index)
            self._virtual = max(self._virtual, first.start)
            if not first.future.done():
                self._take(first.seats)
                first.future.set_result(None)

    def _pop(self, index: int) -> None:
        heapq.heappop(self._heads)
        queue = self._queues[index]
        gone = queue.popleft()
        self.waiting -= 1
        self.waiting_seats -= gone.seats
        if queue:
            heapq.heappush(self._heads, (queue[0].start, index))

    def _leave(self, waiting: Waiting) -> None:
        queue = self._queues[waiting.queue]
        if waiting not in queue:
            return
        head = queue[0] is waiting
        queue.remove(waiting)
        self.waiting -= 1
        self.waiting_seats -= waiting.seats
        if head:
            self._heads = [(queue[0].start, index) for index, queue in enumerate(self._queues) if queue]
            heapq.heapify(self._heads)

    def count(self, schema: str) -> Counts:
        found = self.counts.get(schema)
        if found is None:
            found = self.counts[schema] = Counts()
        return found


def deal(schema: str, flow: str, deck: int, hand: int) -> tuple[int, ...]:
    """The queues of a flow: ``hand`` different ones of ``deck``, always the same (upstream's shuffle sharding)."""
    digest = hashlib.sha256(f"{schema}\0{flow}".encode()).digest()
    value = int.from_bytes(digest[:8], "little")
    remainders = []
    for index in range(hand):
        value, remainder = divmod(value, deck - index)
        remainders.append(remainder)
    cards = []
    for index, card in enumerate(remainders):
        for before in reversed(remainders[:index]):
            if card >= before:
                card += 1
        cards.append(card)
    return tuple(cards)


def share_out(levels: Sequence[Level], total: int, *, by_demand: bool) -> None:
    """Gives the levels their seats: nominally by their shares, then by what each has needed, within its bounds."""
    shares = sum(level.shares for level in levels) or 1
    for level in levels:
        level.nominal = math.ceil(total * level.shares / shares)
        if not by_demand:
            level.limit = level.nominal
    if by_demand:
        _by_demand([level for level in levels if not level.exempt], total)
    for level in levels:
        level.peak = level.seats + level.waiting_seats
        if level.waiting:
            level.dispatch()


def _by_demand(levels: Sequence[Level], total: int) -> None:
    """Every level its demand times the same factor, but no less and no more than its bounds."""
    bounds = [
        (level.lowest(), level.highest(total), max(level.peak, level.nominal / 100, 0.5)) for level in levels
    ]

    def given(factor: float) -> list[float]:
        return [min(max(low, factor * wanted), high) for low, high, wanted in bounds]

    least, most = 0.0, float(total) * 4
    for _ in range(50):
        factor = (least + most) / 2
        if sum(given(factor)) > total:
            most = factor
        else:
            least = factor
    for level, seats in zip(levels, given(least), strict=True):
        level.limit = max(1, round(seats)) if level.nominal else round(seats)
