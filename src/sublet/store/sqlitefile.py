"""The file behind the SQLite driver: its lock, its schema, its statements. All of it blocks; no loop here.

One table is the log, as in kine: a row per write, ``previous`` naming the row it supersedes. The live value of a
key is its last row. Deletions are rows without a value until compaction takes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from sublet.store.interface import (
    Entry,
    Event,
    OutcomeUnknown,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFull,
)

CREATE, UPDATE, DELETE = 0, 1, 2
KINDS: tuple[Literal["create", "update", "delete"], ...] = ("create", "update", "delete")

Row = tuple[int, str, int, int, int, bytes | None]
"""revision, key, kind, created, previous, value."""

Known = tuple[str, int, int]
"""key, revision, created of a live value; everyone who names them shares these very objects."""

FORMAT = 1
_APPLICATION = 0x5B1E7
_MAGIC = b"SQLite format 3\x00"
_CHECKED_SIZE = 16 << 20
"""Files up to this size are checked whole at open (tens of milliseconds)."""
_END = "\U0010ffff"

_SCHEMA = """
CREATE TABLE log(revision INTEGER PRIMARY KEY, key TEXT NOT NULL, kind INTEGER NOT NULL,
    created INTEGER NOT NULL, previous INTEGER NOT NULL, value BLOB);
CREATE UNIQUE INDEX log_key ON log(key, revision, kind, created);
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('compacted', 0);
"""

_AS_OF = """FROM log AS l WHERE l.key >= ? AND l.key < ? AND l.revision <= ? AND l.kind <> 2 AND NOT EXISTS
    (SELECT 1 FROM log AS n WHERE n.key = l.key AND n.revision > l.revision AND n.revision <= ?)"""


class FileLock:
    """Held for as long as the store is open, so that no second process writes to the same file."""

    def __init__(self, path: Path) -> None:
        name = path.with_name(path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"data store {path} cannot be opened: {name}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(self._descriptor)
            raise StoreClosed(
                f"data store {path} is in use by {holder}; stop it or choose another file"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()}".encode(), 0)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def translate(error: sqlite3.Error, path: Path) -> NoReturn:
    """Raises SQLite's error as one of the store's, naming the file."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        raise StoreFull(
            f"no space left for data store {path}: nothing was written; free some space"
        ) from error
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise StoreCorrupt(f"data store {path} is damaged ({error}); restore it from a snapshot") from error
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise StoreError(
            f"data store {path} is locked by another program that has opened the file itself; nothing was written: end it"
        ) from error
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        raise StoreError(
            f"data store {path} cannot be written ({error}); check the folder's permissions and mount"
        ) from error
    if primary == sqlite3.SQLITE_IOERR:
        raise OutcomeUnknown(
            f"data store {path}: {error} ({getattr(error, 'sqlite_errorname', code)})"
        ) from error
    raise StoreError(f"data store {path}: {error}") from error


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        translate(error, path)


def prepare(path: Path) -> None:
    """Makes the file (0600) when it is not there; refuses one that is no whole database."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"data store {path} cannot be opened: {error.strerror}") from error
    try:
        header = os.pread(descriptor, 100, 0)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if not header:
        return
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise StoreCorrupt(f"{path} is not a data store of sublet (no SQLite header); choose another file")
    page_size, pages = struct.unpack_from(">H", header, 16)[0], struct.unpack_from(">I", header, 28)[0]
    expected = pages * (65536 if page_size == 1 else page_size)
    log = path.with_name(path.name + "-wal")
    if size < expected and not (log.exists() and log.stat().st_size):
        raise StoreCorrupt(
            f"data store {path} is cut off: {size} of {expected} bytes are there; restore it from a snapshot"
        )


def connect(path: Path, *, max_bytes: int = 0) -> sqlite3.Connection:
    """A connection to a prepared file; every thread may use it, one at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=24)
    try:
        if not connection.execute("PRAGMA page_count").fetchone()[0]:
            # For a new file only: on one that is there, stating the vacuum again is a write of its own.
            connection.execute(
                "PRAGMA page_size=8192"
            )  # three objects of 2.5 KB a page, instead of one of 4 KB
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=500")
        connection.execute("PRAGMA journal_size_limit=8388608")
        connection.execute("PRAGMA cache_size=-2048")
        if max_bytes:
            connection.execute(f"PRAGMA max_page_count={max_bytes // 8192}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def initialize(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the schema in a new file, or checks that this program knows the one that is there."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.executescript(
            f"BEGIN;{_SCHEMA}PRAGMA application_id={_APPLICATION};PRAGMA user_version={FORMAT};COMMIT"
        )
        _sync_folder(path.parent)
        return
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise StoreCorrupt(
            f"{path} is an SQLite database, but not a data store of sublet; choose another file"
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise StoreError(
            f"data store {path} has format {version}, this version of sublet reads {FORMAT}; upgrade it"
        )
    if path.stat().st_size <= _CHECKED_SIZE:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreCorrupt(f"data store {path} is damaged ({found}); restore it from a snapshot")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(connection: sqlite3.Connection) -> tuple[dict[str, Known], int, int]:
    """Every live key, the current revision and the compacted one; reads the index only, no values."""
    live: dict[str, Known] = {}
    rows = connection.execute(
        "SELECT key, revision, created, kind FROM log INDEXED BY log_key ORDER BY key, revision"
    )
    for key, revision, created, kind in rows:
        if kind == DELETE:
            live.pop(key, None)
        else:
            live[key] = (key, revision, created)
    compacted = connection.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]
    newest = connection.execute("SELECT coalesce(max(revision), 0) FROM log").fetchone()[0]
    return live, max(newest, compacted), compacted


def append(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """One durable transaction in one statement: the writing thread gives up the interpreter only once."""
    values: list[int | str | bytes | None] = []
    for row in rows:
        values += row
    connection.execute("INSERT INTO log VALUES(?,?,?,?,?,?)" + ",(?,?,?,?,?,?)" * (len(rows) - 1), values)


def newest(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("SELECT coalesce(max(revision), 0) FROM log").fetchone()[0]
    return found


def value_of(connection: sqlite3.Connection, revision: int) -> bytes | None:
    row = connection.execute("SELECT value FROM log WHERE revision = ?", (revision,)).fetchone()
    return row[0] if row else None


def entries_at(
    connection: sqlite3.Connection, prefix: str, start: str, limit: int, revision: int
) -> list[Entry]:
    """Live entries as of ``revision`` in key order; ``limit`` 0: all."""
    rows = connection.execute(
        f"SELECT l.key, l.value, l.revision, l.created {_AS_OF} ORDER BY l.key LIMIT ?",
        (max(prefix, start), prefix + _END, revision, revision, limit or -1),
    )
    return [Entry(*row) for row in rows]


def count_at(connection: sqlite3.Connection, prefix: str, start: str, revision: int) -> int:
    """How many live entries as of ``revision`` are not before ``start``."""
    found: int = connection.execute(
        f"SELECT count(*) {_AS_OF}", (max(prefix, start), prefix + _END, revision, revision)
    ).fetchone()[0]
    return found


def events_between(
    connection: sqlite3.Connection, prefix: str, after: int, through: int, limit: int
) -> list[Event]:
    """The first ``limit`` writes below ``prefix`` with ``after < revision <= through``."""
    rows = connection.execute(
        "SELECT kind, key, value, revision, created FROM log"
        " WHERE revision > ? AND revision <= ? AND key >= ? AND key < ? ORDER BY revision LIMIT ?",
        (after, through, prefix, prefix + _END, limit),
    )
    return [
        Event(KINDS[kind], key, value or b"", revision, created)
        for kind, key, value, revision, created in rows
    ]


def compact(connection: sqlite3.Connection, after: int, through: int) -> None:
    """Drops what the writes in ``(after, through]`` superseded, and deletions among them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "DELETE FROM log WHERE revision IN"
            " (SELECT previous FROM log WHERE revision > ? AND revision <= ? AND previous > 0)",
            (after, through),
        )
        connection.execute(
            "DELETE FROM log WHERE revision > ? AND revision <= ? AND kind = 2", (after, through)
        )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (through,))
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def give_back(connection: sqlite3.Connection, pages: int, keep: int) -> bool:
    """Returns up to ``pages`` unused pages to the file system; True when more than ``keep`` are left."""
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free <= keep:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({min(pages, free - keep)})").fetchall()
    return free - pages > keep
