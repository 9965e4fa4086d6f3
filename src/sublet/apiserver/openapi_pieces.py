"""What the version 2 OpenAPI document says of custom resources, kept from one making of it to the next.

The document names everything, and every definition that comes or goes changes it. With hundreds of definitions it
takes seconds to make; nearly all of it is as it was the last time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import msgspec

_LEVEL = 1
_names = msgspec.msgpack.Decoder(dict[str, bytes])

Key = tuple[str, str]
"""(plural.group, version)."""


class Pieces:
    """Bytes by definition name of one custom resource in one version, packed. One maker at a time."""

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[bytes, bytes]] = {}

    def once(self, key: Key, digest: bytes, make: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """What was made for ``key`` last, when ``digest`` is the same as then."""
        known = self._kept.get(key)
        if known is not None and known[0] == digest:
            return _names.decode(zlib.decompress(known[1]))
        made = make()
        self._kept[key] = digest, zlib.compress(msgspec.msgpack.encode(made), _LEVEL)
        return made

    def keep(self, keys: set[Key]) -> None:
        """Drops what is made for others."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in keys}
