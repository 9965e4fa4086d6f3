"""Keeps a list of programs running without systemd: ``python -m sublet.machine.supervision DIRECTORY``.

One supervisor per directory. It starts what does not run, adopts what an earlier supervisor started, starts again,
ever more slowly, what has ended, and stops everything on SIGTERM. SIGHUP makes it read the list again. Killed hard,
it takes nothing with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sublet.machine.processes import Processes, Program, exclusive, write_whole
from sublet.machinery.clock import Clock, SystemClock
from sublet.machinery.status import Conflict, ServiceUnavailable

log = logging.getLogger(__name__)

SUPERVISOR = "supervisor"
_PROGRAMS = "programs.json"
_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0
_HEALTHY_SECONDS = 60.0
"""A program that ran this long is started again at once."""
_LOG_BYTES = 20 << 20
_LOG_CHECK = 60.0
_DEAF = ("/bin/sh", "-c", 'trap "" HUP && exec "$0" "$@"')
"""Runs what follows with SIGHUP ignored: a supervisor that is told of a new list before it listens reads that list anyway,
and does not die of being told."""


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    name: str
    pid: int | None
    """None: not running."""
    seconds: float
    """Since it was started."""
    restarts: int
    last_exit: int | None
    """Of the run before: exit status, negative for a signal."""
    log_file: Path


class Supervisor:
    """Runs the programs of ``directory/programs.json``."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self._directory = directory
        self._processes = Processes(directory)
        self._clock = clock or SystemClock()
        self._keepers: dict[str, tuple[Program, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Works until cancelled or told to stop by SIGTERM; then ends all programs, the last one first.

        Raises :class:`Conflict` when another supervisor has the directory.
        """
        with exclusive(self._directory / "supervisor.lock", "another supervisor is at work", seconds=2.0):
            loop = asyncio.get_running_loop()
            stop, reload = asyncio.Event(), asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, reload.set)
            stopping = asyncio.create_task(stop.wait())
            rotating = asyncio.create_task(self._rotate_logs())
            try:
                while not stopping.done():
                    reload.clear()
                    await self._follow(read_programs(self._directory))
                    reloading = asyncio.create_task(reload.wait())
                    await asyncio.wait((stopping, reloading), return_when=asyncio.FIRST_COMPLETED)
                    reloading.cancel()
            finally:
                rotating.cancel()
                await self._follow([])

    async def _follow(self, programs: Sequence[Program]) -> None:
        """Makes the programs kept equal to the list; one whose command changed is started anew."""
        wanted = {program.name: program for program in programs}
        recorded = {name for name in self._processes.names() if name != SUPERVISOR}
        for name in [*reversed(self._keepers), *sorted(recorded - self._keepers.keys())]:
            kept = self._keepers[name][0] if name in self._keepers else self._processes.program(name)
            if wanted.get(name) != kept or kept is None:
                await self._end(name)
        for name, program in wanted.items():
            if name not in self._keepers:
                self._keepers[name] = (program, asyncio.create_task(self._keep(program)))

    async def _end(self, name: str) -> None:
        _, task = self._keepers.pop(name, (None, None))
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._processes.stop(name)
        self._processes.forget(name)

    async def _keep(self, program: Program) -> None:
        delay, restarts, last = _FIRST_DELAY, 0, None
        while True:
            self._write_state(program.name, restarts, last)
            begun = self._clock.monotonic()
            try:
                if self._processes.pid(program.name) is None:
                    log.info("starting %s", program.name)
                    self._processes.start(program)
                last = await self._processes.ended(program.name)
            except ServiceUnavailable as error:
                log.error("%s", error.message)
            if self._clock.monotonic() - begun > _HEALTHY_SECONDS:
                delay = _FIRST_DELAY
            restarts += 1
            log.warning("%s has ended (%s); starting it again in %.1f s", program.name, last, delay)
            self._write_state(program.name, restarts, last)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LAST_DELAY)

    def _write_state(self, name: str, restarts: int, last: int | None) -> None:
        state = {"restarts": restarts, "lastExit": last}
        write_whole(self._directory / f"{name}.state", json.dumps(state))

    async def _rotate_logs(self) -> None:
        while True:
            for path in self._directory.glob("*.log"):
                if path.stat().st_size > _LOG_BYTES:
                    # programs append to it, so emptying it under them is safe
                    await asyncio.to_thread(shutil.copyfile, path, path.with_suffix(".log.1"))
                    with path.open("r+") as file:
                        file.truncate(0)
            await asyncio.sleep(_LOG_CHECK)


def read_programs(directory: Path) -> list[Program]:
    """The programs to keep; none when there is no list. Raises :class:`ServiceUnavailable` for a broken list."""
    path = directory / _PROGRAMS
    try:
        return [Program.from_object(each) for each in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceUnavailable(f"{path} is no list of programs ({error}); remove it") from None


def supervise(directory: Path, programs: Sequence[Program]) -> None:
    """Makes a background supervisor of this directory keep exactly these programs; returns once it runs.

    A supervisor that runs is told to read the list, also one that it may have read already: who wrote the list before may
    have been killed between that and telling of it. Raises :class:`ServiceUnavailable`.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps([program.to_object() for program in programs], indent=1)
    write_whole(directory / _PROGRAMS, text)
    processes = Processes(directory)
    module = (sys.executable, "-m", "sublet.machine.supervision", str(directory))
    own = Program(SUPERVISOR, (*_DEAF, *module), stop_seconds=120.0)
    if processes.pid(SUPERVISOR) is None:
        processes.start(own)
    else:
        processes.signal(SUPERVISOR, signal.SIGHUP)


async def stop(directory: Path) -> bool:
    """Ends the supervisor and all its programs, also those whose supervisor is gone; whether anything ran."""
    processes = Processes(directory)
    ran = await processes.stop(SUPERVISOR)
    for name in reversed(processes.names()):
        ran = await processes.stop(name) or ran
        processes.forget(name)
    return ran


def status(directory: Path) -> list[ProgramStatus]:
    """The supervisor and each program of the list, in its order."""
    processes = Processes(directory)
    names = [SUPERVISOR, *(program.name for program in read_programs(directory))]
    return [_status(processes, name) for name in names]


def _status(processes: Processes, name: str) -> ProgramStatus:
    try:
        state = json.loads((processes.directory / f"{name}.state").read_text())
    except (OSError, ValueError):
        state = {}
    return ProgramStatus(
        name,
        processes.pid(name),
        processes.seconds(name) or 0.0,
        state.get("restarts", 0),
        state.get("lastExit"),
        processes.log_file(name),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the supervisor's process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print("usage: python -m sublet.machine.supervision DIRECTORY", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(Supervisor(Path(given[0])).run())
    except (Conflict, ServiceUnavailable) as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
