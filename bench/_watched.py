"""``sublet run`` whose event loop is watched: every step over a limit goes to a file, with where it was.

    python bench/_watched.py STEPS.jsonl MILLISECONDS run --data-dir …

A step is one callback of the loop, from its call to its return; what counts is the CPU that the loop's thread used
meanwhile, so other programs on the machine make no difference. For that the loop is asyncio's own, whose callbacks
can be wrapped (uvloop's cannot). A second thread looks where a step is that has taken long already; inside one long
call of C code it does not get the interpreter, so then the place is where that call returned.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

_LOOK_SECONDS = 0.002
_FRAMES = 14


class Watch:
    def __init__(self, path: Path, limit: float) -> None:
        self._file = path.open("w", buffering=1)
        self._limit = limit
        self._began = self._collection = 0.0
        self._seen: list[str] = []
        self._thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._thread)

    def install(self) -> None:
        run = asyncio.Handle._run
        watch = self

        def watched(handle: asyncio.Handle) -> None:
            watch._seen = []
            watch._began = began = time.thread_time()
            run(handle)
            taken = time.thread_time() - began
            watch._began = 0.0
            if taken >= watch._limit:
                watch.note(taken, handle)

        gc.callbacks.append(self._collecting)
        asyncio.Handle._run = watched  # type: ignore[method-assign]
        threading.Thread(target=self._look, daemon=True).start()

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        """The garbage collector works within whatever step it happens to begin in, and is named on its own."""
        if phase == "start":
            self._collection = time.thread_time()
        elif (taken := time.thread_time() - self._collection) >= self._limit / 2:
            step = {
                "at": time.time(),
                "ms": taken * 1000,
                "what": f"collection of generation {info['generation']}",
            }
            self._file.write(json.dumps({**step, "where": []}) + "\n")

    def note(self, taken: float, handle: asyncio.Handle) -> None:
        step = {"at": time.time(), "ms": taken * 1000, "what": _name(handle), "where": self._seen}
        self._file.write(json.dumps(step) + "\n")

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            began = self._began
            if began and time.clock_gettime(self._clock) - began > self._limit / 2:
                frame = sys._current_frames().get(self._thread)
                if frame is not None and self._began == began:
                    self._seen = _places(frame)


def _places(frame: FrameType) -> list[str]:
    found = []
    for each in traceback.extract_stack(frame)[-_FRAMES:]:
        name = each.filename.partition("/src/sublet/")[2] or each.filename.rpartition("/")[2]
        found.append(f"{name}:{each.lineno} {each.name}")
    return found[::-1]


def _name(handle: Any) -> str:
    owner = getattr(getattr(handle, "_callback", None), "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine: Any = owner.get_coro()
        return str(getattr(coroutine, "__qualname__", coroutine))
    return str(getattr(handle._callback, "__qualname__", handle._callback))


def main() -> None:
    path, limit = Path(sys.argv[1]), float(sys.argv[2]) / 1000
    Watch(path, limit).install()
    uvloop.run = asyncio.run
    from sublet.cli.main import main as sublet

    sublet(sys.argv[3:])


if __name__ == "__main__":
    main()
