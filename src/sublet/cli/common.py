"""What several commands share: running something until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol


class Stoppable(Protocol):
    async def stop(self) -> None: ...


def set_up_logging(verbosity: int = 0) -> None:
    """Plain lines on standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbosity else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
    )


def run_until_signal(
    start: Callable[[], Awaitable[Stoppable]], ended: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Starts, waits for SIGTERM or SIGINT (or for ``ended`` to return), and stops cleanly.

    A second signal ends the process at once.
    """
    import uvloop

    set_up_logging()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        starting = asyncio.ensure_future(start())
        waiting = asyncio.ensure_future(asked.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        running = starting.result()
        try:
            finishing = {waiting} | ({asyncio.ensure_future(ended())} if ended else set())
            await asyncio.wait(finishing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            await running.stop()

    uvloop.run(main())
