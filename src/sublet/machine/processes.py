"""Background processes that outlive whoever started them, found again by a record they write themselves.

A record holds the boot and the process's start time, so neither a reboot nor a recycled process id is mistaken for
the process. Needs no root.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from sublet.machinery.status import Conflict, ServiceUnavailable

_START_SECONDS = 10.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# The process writes its record before it becomes the program: killed at any moment, the one who started it leaves
# either no process or a process with a record.
_RECORD = (
    f"read -r boot <{_BOOT} && read -r stat </proc/$$/stat && "
    'printf "%s\\n%s\\n" "$boot" "$stat" >"$0.new" && mv "$0.new" "$0" && exec "$@"'
)
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the one who starts it."""
    stop_seconds: float = 20.0
    """From SIGTERM to SIGKILL."""

    def to_object(self) -> dict[str, object]:
        return {**asdict(self), "command": list(self.command), "env": dict(self.env)}

    @classmethod
    def from_object(cls, obj: Mapping[str, object]) -> Program:
        """Raises ``KeyError`` or ``TypeError`` for what is none."""
        command, env = obj["command"], obj.get("env") or {}
        if not isinstance(command, list) or not isinstance(env, dict):
            raise TypeError("a program's command is a list and its env a mapping")
        return cls(
            str(obj["name"]), tuple(map(str, command)), env, float(str(obj.get("stop_seconds") or 20.0))
        )


class Processes:
    """The processes recorded in one directory: ``NAME.pid`` (record), ``NAME.log``, ``NAME.program``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def log_file(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def names(self) -> list[str]:
        """All that ever were started here and not forgotten."""
        return sorted(path.stem for path in self.directory.glob("*.pid"))

    def pid(self, name: str) -> int | None:
        """The process's id while it runs."""
        try:
            boot, stat = (self.directory / f"{name}.pid").read_text().splitlines()
        except (OSError, ValueError):
            return None
        if boot != _BOOT.read_text().strip():
            return None
        pid, started = _parse(stat)[:2]
        now = _stat(pid)
        return pid if now is not None and now[1] == started and now[2] not in "ZX" else None

    def program(self, name: str) -> Program | None:
        """What runs under a name, as it was started."""
        try:
            return Program.from_object(json.loads((self.directory / f"{name}.program").read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def seconds(self, name: str) -> float | None:
        """How long a process has been running."""
        pid = self.pid(name)
        found = _stat(pid) if pid is not None else None
        if found is None:
            return None
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - found[1] / os.sysconf("SC_CLK_TCK"))

    def start(self, program: Program) -> int:
        """Starts a program in a session of its own; its process id. Raises :class:`ServiceUnavailable`."""
        if (running := self.pid(program.name)) is not None:
            return running
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = self.directory / f"{program.name}.pid"
        record.unlink(missing_ok=True)
        write_whole(self.directory / f"{program.name}.program", json.dumps(program.to_object(), indent=1))
        log = str(self.log_file(program.name))
        try:
            pid = os.posix_spawn(
                "/bin/sh",
                ["/bin/sh", "-c", _RECORD, str(record), *program.command],
                {**os.environ, **program.env},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=_DEFAULT_SIGNALS,
            )
        except OSError as error:
            raise ServiceUnavailable(f"{program.name} cannot be started: {error}") from None
        end = time.monotonic() + _START_SECONDS
        while not record.exists():
            if _stat(pid) is None or time.monotonic() > end:
                raise ServiceUnavailable(f"{program.name} did not start: {self.log_end(program.name)}")
            time.sleep(0.002)
        return pid

    async def ended(self, name: str) -> int | None:
        """Waits for a process's end; its exit status (negative: signal), None where only its parent knows."""
        pid = self.pid(name)
        if pid is None:
            return _reap(self._recorded(name))
        await _wait(pid)
        return _reap(pid)

    async def stop(self, name: str, seconds: float | None = None) -> bool:
        """Ends a process and what is left of its group; False when none was running."""
        pid = self.pid(name)
        if pid is None:
            _reap(self._recorded(name))
            return False
        if seconds is None:
            program = self.program(name)
            seconds = program.stop_seconds if program else 20.0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                await _wait(pid)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                await _wait(pid)
        else:
            # its children in the same group, had it left any
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        _reap(pid)
        return True

    def signal(self, name: str, number: int) -> bool:
        """Sends a signal; False when the process does not run."""
        pid = self.pid(name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def forget(self, name: str) -> None:
        """Removes what is known of a process that has ended; its log stays."""
        for suffix in ("pid", "pid.new", "program", "state"):
            (self.directory / f"{name}.{suffix}").unlink(missing_ok=True)

    def log_end(self, name: str, size: int = 2000) -> str:
        """The last bytes of a log, whole lines."""
        try:
            data = self.log_file(name).read_bytes()
        except OSError:
            return "(no log)"
        return data[-size:].decode(errors="replace").strip() or "(empty log)"

    def _recorded(self, name: str) -> int | None:
        try:
            return _parse((self.directory / f"{name}.pid").read_text().splitlines()[1])[0]
        except (OSError, ValueError, IndexError):
            return None


@contextlib.contextmanager
def exclusive(path: Path, what: str, *, seconds: float = 0.0) -> Iterator[None]:
    """Holds a lock file; :class:`Conflict` when another process holds it longer than ``seconds``."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    end = time.monotonic() + seconds
    with path.open("a") as file:
        while not _locked(file):
            if time.monotonic() >= end:
                raise Conflict(f"{what} (lock {path})")
            time.sleep(0.05)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_whole(path: Path, text: str) -> None:
    """A file that is there with all of its text, or as before; only for its owner."""
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _inherited() -> list[int]:
    """What would stay open in a program: a pipe of ours, kept open, would keep whoever reads it waiting."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        with contextlib.suppress(OSError):
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def _stat(pid: int) -> tuple[int, int, str] | None:
    try:
        return _parse(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError):
        return None


def _parse(stat: str) -> tuple[int, int, str]:
    """Process id, start time in ticks since boot, state. A program's name may hold anything, also brackets."""
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    return int(head.split()[0]), int(fields[19]), fields[0]


async def _wait(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(descriptor, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _reap(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None
