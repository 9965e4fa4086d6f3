"""Work on something large goes to a thread, so that the loop's other tasks have their turns meanwhile.

A thread of Python shares the interpreter with the loop every millisecond; a call of the loop's own would keep it for
as long as it takes. For what is small the way there and back would be most of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 32_768
"""Bytes of JSON from which on the work on an object may take milliseconds."""


async def aside(size: int, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Calls the function at once, or on a thread where ``size`` (bytes of JSON that it works on) is large.

    Until it returns, what it is given is its own. Raises what the function raises.
    """
    if size < LARGE:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)


async def breath(size: int) -> None:
    """Lets others have their turns between two steps of work on something large."""
    if size >= LARGE:
        await asyncio.sleep(0)
