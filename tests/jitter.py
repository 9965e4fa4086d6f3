"""A plug-in of pytest: tasks that come late, so that orders a busy machine brings once in a thousand runs come often.

`make jitter` runs the tests with it. Each step of a task may be late by any amount, since nothing promises otherwise; callbacks of
transports and timers are left alone, so they keep the order asyncio promises. What fails then rests on an order nobody promised.
One order is kept: the watch cache is woken before the writer is, so that what admission reads shows what was written.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Any

import pytest

_PROMPT = ("WatchCaches._run",)


class JitterLoop(asyncio.SelectorEventLoop):
    """An event loop where each step of a task is late with `probability`, by up to `seconds`."""

    def __init__(self, rng: random.Random, probability: float, seconds: float) -> None:
        super().__init__()
        self._rng, self._probability, self._seconds = rng, probability, seconds

    def call_soon(  # type: ignore[override]  # typeshed has type variables for the arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        task = getattr(callback, "__self__", None)
        late = isinstance(task, asyncio.Task) and getattr(task.get_coro(), "__qualname__", "") not in _PROMPT
        if late and self._rng.random() < self._probability:
            return self.call_later(self._rng.random() * self._seconds, callback, *args, context=context)
        return super().call_soon(callback, *args, context=context)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--jitter",
        default="0.05:30",
        metavar="P:MS[:SEED]",
        help="the odds of a late step, its most milliseconds, a seed",
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    probability, milliseconds, *seed = config.getoption("--jitter").split(":")
    chosen = seed[0] if seed else os.environ.get("SUBLET_SEED", "1")  # all workers must choose the same
    rng = random.Random(f"{chosen} {item.nodeid}")
    return {f"jitter={chosen}": partial(JitterLoop, rng, float(probability), float(milliseconds) / 1000)}
