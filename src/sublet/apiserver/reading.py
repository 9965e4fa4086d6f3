"""Lists: how fresh, which page, which objects (reference B.11)."""

from __future__ import annotations

import base64
import posixpath
import string
from collections.abc import Mapping, Sequence

from msgspec import Struct

from sublet.apiserver.options import ListOptions
from sublet.apiserver.pace import Pace
from sublet.apiserver.registry import Registry
from sublet.apiserver.selection import Selection
from sublet.apiserver.storeerrors import status, too_large
from sublet.apiserver.watchcache import CachedEntry, WatchCache
from sublet.apiserver.writing import Value
from sublet.machinery import codec, gotext, strict
from sublet.machinery.kind import Kind
from sublet.machinery.status import BadRequest, Expired, StatusError
from sublet.store.interface import Compacted, StoreError

FUTURE_WAIT = 3.0
"""Seconds a read waits for a resource version that has not been written yet."""
_PAGE = 1000
_TOKEN_VERSION = "meta.k8s.io/v1"
_TOKEN_FIELDS: Mapping[str, tuple[type, str]] = {
    "v": (str, "string"), "rv": (int, "int64"), "start": (str, "string")
}  # fmt: skip
"""The members of a token: what they are, and what Go calls that."""
_BASE64 = frozenset(string.ascii_letters + string.digits + "-_")


class Page(Struct, frozen=True):
    entries: Sequence[Value]
    revision: int
    continue_token: str = ""
    remaining: int = 0


async def fresh_enough(registry: Registry, kind: Kind, revision: int | None) -> WatchCache:
    """The kind's cache, showing all acknowledged writes (None), anything (0), or at least ``revision``."""
    if revision is None:
        return await registry.fresh(kind)
    cache = registry.cache(kind)
    if revision > cache.revision:
        try:
            await cache.wait_fresh(revision, FUTURE_WAIT)
        except TimeoutError:
            raise too_large(revision, cache.revision) from None
        except StoreError as error:
            raise status(error) from error
    return cache


async def page(registry: Registry, kind: Kind, selection: Selection, options: ListOptions) -> Page:
    """The objects selected, from the cache where it shows what is asked for, else from the store."""
    if options.continue_token:
        return await _continued(registry, kind, selection, options)
    if options.revision and (options.match == "Exact" or (options.limit and not options.match)):
        # A limit with a version and no match is exact too: upstream's rule from before there were matches.
        await fresh_enough(registry, kind, options.revision)
        return await _at(registry, kind, selection, options.revision, "", options.limit)
    cache = await fresh_enough(registry, kind, options.revision)
    # As upstream: version 0 is answered from the cache, whole.
    return await _from_cache(cache, selection, "", 0 if options.revision == 0 else options.limit)


async def _from_cache(cache: WatchCache, selection: Selection, start: str, limit: int) -> Page:
    revision = cache.revision
    prefix = selection.prefix
    if selection.name and (selection.namespace or not selection.kind.resource.namespaced):
        entry = cache.get(prefix + selection.name)
        found = [entry] if entry is not None and selection.matches(entry) else []
        return Page(found, revision)
    if selection.everything:
        entries = cache.entries(prefix, start=start, limit=limit)
        remaining = cache.count(prefix, start=start) - len(entries) if limit else 0
        return _cut(entries, revision, prefix, remaining, counted=True)
    matching: list[CachedEntry] = []
    candidates = cache.entries(prefix, start=start)
    pace = Pace()
    for number, entry in enumerate(candidates, 1):
        if pace.due:
            await pace.pause()
        if selection.matches(entry):
            matching.append(entry)
            if limit and len(matching) == limit:
                # As upstream: what follows may hold nothing that is selected.
                return _cut(matching, revision, prefix, len(candidates) - number, counted=False)
    return Page(matching, revision)


def _cut(entries: Sequence[Value], revision: int, prefix: str, remaining: int, *, counted: bool) -> Page:
    if not remaining or not entries:
        return Page(entries, revision)
    token = _token(revision, entries[-1].key[len(prefix) :] + "\0")
    return Page(entries, revision, token, remaining if counted else 0)


async def _continued(registry: Registry, kind: Kind, selection: Selection, options: ListOptions) -> Page:
    revision, start = _parse_token(options.continue_token)
    start = selection.prefix + start
    if revision < 0:
        cache = await registry.fresh(kind)
        return await _from_cache(cache, selection, start, options.limit)
    try:
        return await _at(registry, kind, selection, revision, start, options.limit)
    except Expired as error:
        relative = start[len(selection.prefix) :]
        raise Expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
            "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
            "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            continue_token=_token(-1, relative),
        ) from error


async def _at(
    registry: Registry, kind: Kind, selection: Selection, revision: int, start: str, limit: int
) -> Page:
    """From the store, exactly as of ``revision``."""
    prefix = selection.prefix
    if selection.everything:
        listing = await _listing(registry, prefix, start, limit, revision)
        return _cut(listing.entries, revision, prefix, listing.remaining, counted=True)
    matching: list[Value] = []
    cache, pace = registry.cache(kind), Pace()
    while True:
        listing = await _listing(registry, prefix, start, _PAGE, revision)
        for number, entry in enumerate(listing.entries, 1):
            if pace.due:
                await pace.pause()
            known = cache.get(entry.key)
            if known is not None and known.revision == entry.revision:
                wanted = selection.matches(known)
            else:
                wanted = selection.matches_object(registry.decode(kind, entry))
            if wanted:
                matching.append(entry)
                if limit and len(matching) == limit:
                    left = len(listing.entries) - number + listing.remaining
                    return _cut(matching, revision, prefix, left, counted=False)
        if not listing.remaining or not listing.entries:
            return Page(matching, revision)
        start = listing.entries[-1].key + "\0"


class _Slice(Struct, frozen=True):
    entries: Sequence[Value]
    remaining: int


async def _listing(registry: Registry, prefix: str, start: str, limit: int, revision: int) -> _Slice:
    try:
        found = await registry.store.list(prefix, start=start, limit=limit, revision=revision)
    except Compacted as error:
        raise Expired("The resourceVersion for the provided list is too old.") from error
    except StoreError as error:
        raise status(error) from error
    return _Slice(found.entries, found.remaining)


def _token(revision: int, start: str) -> str:
    document = codec.encode_json({"v": _TOKEN_VERSION, "rv": revision, "start": start})
    return base64.urlsafe_b64encode(document).rstrip(b"=").decode()


def _parse_token(token: str) -> tuple[int, str]:
    """(revision or -1, key to go on from, relative to the list's prefix). Raises ``BadRequest`` in upstream's words."""
    data = _unpadded(token)
    try:
        document = codec.decode_json(data)
    except codec.DecodeError as error:
        raise _bad_token(f": {gotext.json_error(data) or error}") from None
    if not isinstance(document, dict):
        found = strict.json_kind(document)
        raise _bad_token(f": json: cannot unmarshal {found} into Go value of type storage.continueToken")
    for name, (wanted, go_type) in _TOKEN_FIELDS.items():
        value = document.get(name)
        if value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            found = strict.json_kind(value)
            raise _bad_token(
                f": json: cannot unmarshal {found} into Go struct field continueToken.{name} of type {go_type}"
            )
    version, revision, start = document.get("v") or "", document.get("rv") or 0, document.get("start") or ""
    if version != _TOKEN_VERSION:
        raise _bad_token(f": server does not recognize this encoded version {version}")
    if revision == 0:
        raise _bad_token(f": incorrect encoded start resourceVersion (version {_TOKEN_VERSION})")
    if not start:
        raise _bad_token(f": encoded start key empty (version {_TOKEN_VERSION})")
    path = start if start.startswith("/") else f"/{start}"
    if posixpath.normpath(path) != path or path.startswith("//"):
        raise _bad_token(f": {start}")
    return revision, start.removeprefix("/")


def _unpadded(token: str) -> bytes:
    """Go's RawURLEncoding: base64url without padding; raises ``BadRequest`` naming the first byte that is none."""
    for position, char in enumerate(token):
        if char not in _BASE64:
            raise _bad_token(f": illegal base64 data at input byte {position}")
    if len(token) % 4 == 1:
        raise _bad_token(f": illegal base64 data at input byte {len(token) - 1}")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _bad_token(why: str) -> StatusError:
    return BadRequest(f"invalid continue token: continue key is not valid{why}")
