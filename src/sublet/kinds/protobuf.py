"""The protobuf form of all built-in kinds, from ``data/protobuf-fields.tsv``; read when first asked for."""

from __future__ import annotations

from functools import cache

from sublet.kinds import resources
from sublet.machinery.protobuf import Codec
from sublet.machinery.protobuftable import Table


@cache
def codec() -> Codec:
    """The codec; it reads the message types it meets one by one."""
    return Codec(Table((resources.DATA / "protobuf-fields.tsv").read_text("utf-8")))


@cache
def wire_codec() -> Codec:
    """Decodes with every zero that is on the wire: for objects that are checked against their schema next."""
    return Codec(codec().table, every_zero=True)
