"""What containers leave on a machine, and its removal: processes, mounts, cgroups.

For the cases where containerd cannot clean up itself. Everything is found by our own directory, socket or
cgroup, so nothing of the system's or of another cluster's is touched.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")
SHIM_SOCKETS = Path("/run/containerd")
"""containerd 1.6 keeps shim sockets in ``s`` below, whatever its configuration says."""


def kill(pid: int, number: int) -> bool:
    """Sends a signal; False when there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def shims(socket: Path) -> list[int]:
    """Process ids of the shims that report to the containerd at this socket."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"containerd-shim" in arguments[0] and str(socket).encode() in arguments:
            found.append(int(entry.name))
    return found


def cgroup_directories(root: str) -> Iterator[Path]:
    """The directories of one cgroup path in every hierarchy (v1) or the one (v2)."""
    name = root.strip("/")
    if not name:
        raise ValueError("the cgroup root must be a path below /, such as /sublet")
    for hierarchy in (CGROUPS, *sorted(CGROUPS.iterdir())):
        directory = hierarchy / name
        if directory.is_dir():
            yield directory


def cgroup_processes(root: str) -> set[int]:
    found: set[int] = set()
    for directory in cgroup_directories(root):
        for file in directory.rglob("cgroup.procs"):
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:
                continue
    return found


async def remove_processes(socket: Path, cgroup_root: str, timeout: float = 10.0) -> None:
    """Kills containers' processes and shims and waits for their end."""
    for _ in range(int(timeout / 0.05)):
        left = cgroup_processes(cgroup_root) | set(shims(socket))
        killed = [pid for pid in left if kill(pid, signal.SIGKILL)]
        if not killed:
            return
        await asyncio.sleep(0.05)
    log.error("processes survive SIGKILL: %s", killed)


def mounts_below(directory: Path) -> list[Path]:
    """Mount points at or below a directory, innermost and latest first."""
    prefix = str(directory.resolve())
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == prefix or point.startswith(prefix + "/"):
            found.append(Path(point))
    return found[::-1]


def unmount_below(directory: Path) -> None:
    for point in mounts_below(directory):
        done = subprocess.run(["umount", "--lazy", str(point)], capture_output=True, text=True, timeout=30)
        if done.returncode:
            log.warning("cannot unmount %s: %s", point, done.stderr.strip())


def remove_tree(directory: Path) -> None:
    """Unmounts all below a directory and removes it: a node agent's data, for instance."""
    if directory.exists():
        unmount_below(directory)
        shutil.rmtree(directory)


def remove_cgroups(root: str) -> None:
    """Removes a cgroup and those below it; what still holds processes stays and is logged."""
    for top in cgroup_directories(root):
        below = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
        for directory in (*below, top):
            try:
                directory.rmdir()
            except OSError as error:
                log.warning("cannot remove cgroup %s: %s", directory, error.strerror)


def remove_empty_shim_directories() -> None:
    """Removes containerd's shim socket directories when no other containerd uses them."""
    for directory in (SHIM_SOCKETS / "s", SHIM_SOCKETS / "fifo", SHIM_SOCKETS):
        try:
            directory.rmdir()
        except OSError:
            continue
