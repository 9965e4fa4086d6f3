"""Mounting by system call: tmpfs, binds, and opening a path without leaving a directory."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC = 2, 4, 4096, 16384
_MNT_DETACH = 2


class EscapesError(OSError):
    """A path leads out of the directory it must stay in."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, flags: int = 0, data: str = "") -> None:
    """Raises ``OSError``."""
    done = _libc().mount(source.encode(), bytes(target), kind.encode(), ctypes.c_ulong(flags), data.encode())
    if done:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {kind or source} on {target}: {os.strerror(number)}")


def mount_tmpfs(target: Path, size: int = 0) -> None:
    """``size`` in bytes; 0: the kernel's default of half the memory."""
    options = "mode=0777" + (f",size={size}" if size else "")
    mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def bind(source: str, target: Path) -> None:
    mount(source, target, "", _MS_BIND | _MS_REC)


def unmount(target: Path) -> None:
    """Detaches; what is not mounted is no error."""
    if _libc().umount2(bytes(target), _MNT_DETACH):
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise OSError(number, f"cannot unmount {target}: {os.strerror(number)}")


def is_mount(target: Path) -> bool:
    return str(target.absolute()) in mount_points()


def mount_points() -> list[str]:
    """All mount points, in the order they were mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]


def unmount_below(directory: Path) -> None:
    """Unmounts everything at or below a directory, innermost first."""
    prefix = str(directory.absolute())
    below = [p for p in mount_points() if p == prefix or p.startswith(prefix + "/")]
    for point in reversed(below):
        unmount(Path(point))


def open_beneath(root: Path, relative: str) -> int:
    """A descriptor (O_PATH) of what ``relative`` names below ``root``, symbolic links followed only within.

    The path may be changed by those who write below ``root`` meanwhile: after links are resolved, each step is
    opened without following any. Raises :class:`EscapesError`, or ``OSError``.
    """
    top = root.resolve()
    target = (top / relative).resolve()
    if target != top and top not in target.parents:
        raise EscapesError(errno.EPERM, f"{relative!r} leads out of its volume")
    descriptor = os.open(top, os.O_PATH | os.O_DIRECTORY)
    for part in target.relative_to(top).parts:
        try:
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise EscapesError(errno.ELOOP, f"{relative!r} was changed to a symbolic link")
    return descriptor


def make_directories_beneath(root: Path, relative: str, mode: int) -> None:
    """Creates the directories of ``relative`` below ``root`` that are not there, following no link out of it."""
    done = ""
    for part in Path(relative).parts:
        parent = open_beneath(root, done or ".")
        try:
            os.mkdir(part, mode, dir_fd=parent)
            os.chmod(part, mode, dir_fd=parent, follow_symlinks=True)
        except FileExistsError:
            pass
        finally:
            os.close(parent)
        done = f"{done}/{part}" if done else part
