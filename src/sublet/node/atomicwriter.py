"""A directory whose files all change at once: readers see the old set or the new, never a mixture.

Files live in a directory named by time; the link ``..data`` points to it and is replaced by a rename; every top-level
name is a link through ``..data``. This is the layout that programs watching a mounted ConfigMap know.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int
    owner: int | None = None
    """User id; None: root."""


def write(target: Path, files: Mapping[str, File], group: int | None = None) -> bool:
    """Makes ``target`` hold exactly ``files`` (relative path → file); whether anything had to change.

    ``group``: every file belongs to it and may be read by it, as fsGroup wants. Raises ``ValueError`` for a path
    that is absolute or climbs.
    """
    for path in files:
        if not path or path.startswith(("/", "..")) or ".." in Path(path).parts:
            raise ValueError(f"{path!r} cannot be the path of a file in a volume")
    current = target / DATA
    if current.is_symlink() and _same(current, files, group):
        return False
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
    directory = Path(tempfile.mkdtemp(prefix=stamp, dir=target))
    directory.chmod(0o755)
    for path, file in files.items():
        _write_file(directory, path, file, group)
    if group is not None:
        for each in (directory, *(p for p in directory.rglob("*") if p.is_dir())):
            os.chown(each, -1, group)
            each.chmod(0o2755)
    old = str(current.readlink()) if current.is_symlink() else ""
    _replace_link(target, DATA, directory.name)
    _link_names(target, {Path(path).parts[0] for path in files})
    if old and old != directory.name and old.startswith(".."):
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def _write_file(directory: Path, path: str, file: File, group: int | None) -> None:
    place = directory / path
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    place.write_bytes(file.content)
    place.chmod(_mode(file, group))
    if file.owner is not None or group is not None:
        os.chown(place, -1 if file.owner is None else file.owner, -1 if group is None else group)


def _mode(file: File, group: int | None) -> int:
    return file.mode | 0o440 if group is not None else file.mode


def _same(current: Path, files: Mapping[str, File], group: int | None) -> bool:
    present = {str(p.relative_to(current.resolve())) for p in current.resolve().rglob("*") if p.is_file()}
    if present != {str(Path(path)) for path in files}:
        return False
    for path, file in files.items():
        place = current / path
        if place.read_bytes() != file.content or place.stat().st_mode & 0o7777 != _mode(file, group):
            return False
    return True


def _link_names(target: Path, names: set[str]) -> None:
    for name in names:
        wanted = f"{DATA}/{name}"
        link = target / name
        if not (link.is_symlink() and str(link.readlink()) == wanted):
            _replace_link(target, name, wanted)
    for link in target.iterdir():
        if link.is_symlink() and link.name not in names and str(link.readlink()).startswith(f"{DATA}/"):
            link.unlink()


def _replace_link(target: Path, name: str, to: str) -> None:
    temporary = target / f"..tmp-{name.replace('/', '_')}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(to)
    temporary.rename(target / name)
