"""Cgroup directories of pods, in version 1 and 2."""

from __future__ import annotations

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """The mounted hierarchies: the one of version 2, or each controller's of version 1."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.is_symlink()]


def remove(path: str) -> None:
    """Removes an empty cgroup and those below it; what still holds processes stays for the next time."""
    name = path.strip("/")
    if not name:
        raise ValueError("the root cgroup cannot be removed")
    for hierarchy in hierarchies():
        top = hierarchy / name
        if not top.is_dir():
            continue
        below = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
        for directory in (*below, top):
            with contextlib.suppress(OSError):
                directory.rmdir()
