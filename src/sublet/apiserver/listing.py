"""Lists as bytes. Each object's share of a list is made once per view, and long lists are made in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sublet.apiserver import negotiation
from sublet.apiserver.conversion import CustomKind
from sublet.apiserver.pace import Pace
from sublet.apiserver.reading import Page
from sublet.apiserver.views import META, View, columns_of, partial
from sublet.apiserver.writing import Value
from sublet.machinery import codec
from sublet.machinery.kind import Object

_SLICE = 512
"""Stored objects whose bytes are joined in one turn of the loop: about a millisecond."""


async def listing(view: View, page: Page) -> bytes:
    """A whole List of the page's objects as the view shows them. Raises ``StatusError`` where it cannot show one."""
    entries = page.entries
    await view.prepare(entries)
    if view.plain and (not view.converts or all(map(view.raw, entries))):
        return await _joined(view, page)
    accepted = view.accepted
    if accepted.view == "Table":
        return await _table(view, page)
    if accepted.view:
        head = {"kind": "PartialObjectMetadataList", "apiVersion": f"{META}/{accepted.version}"}
    else:
        head = {"kind": view.list_kind, "apiVersion": view.resource.api_version}
    metadata = list_metadata(page)
    pace = Pace()
    if accepted.format == "protobuf":
        found: list[bytes] = []
        message = view.messages()
        for entry in entries:
            found.append(message(entry))
            if pace.due:
                await pace.pause()
        return negotiation.protobuf_list(head, metadata, found)
    if accepted.view and accepted.format == "json" and not accepted.pretty:
        before = b'%b,"metadata":%b,"items":[' % (codec.encode_json(head)[:-1], codec.encode_json(metadata))
        items = []
        for entry in entries:
            items.append(view.metadata(entry))
            if pace.due:
                await pace.pause()
        return b"%b%b]}\n" % (before, b",".join(items))
    objs: list[Object] = []
    for entry in entries:
        objs.append(_item(view, entry))
        if pace.due:
            await pace.pause()
    return negotiation.encode({**head, "metadata": metadata, "items": objs}, accepted)


def _item(view: View, entry: Value) -> Object:
    obj = view.passing(entry)
    if view.accepted.view:
        return partial(obj, view.accepted.version)
    if isinstance(view.kind, CustomKind):
        return obj
    # As upstream: objects of built-in kinds come without apiVersion and kind, custom resources with them.
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


async def _table(view: View, page: Page) -> bytes:
    made = view.table([], str(page.revision))
    made["metadata"] = list_metadata(page)
    rows: list[Any] = made["rows"]
    spliced = view.include_object == "Metadata" and view.accepted.format == "json"
    pace = Pace()
    entries, order = page.entries, columns_of(view.kind, view.resource).row_order
    if order is not None:
        entries = sorted(entries, key=lambda entry: order(view.passing(entry)))
    for entry in entries:
        (row,) = view.table([view.passing(entry)], "", columns=False)["rows"]
        if spliced:  # hundreds of decoded objects are not kept until the last one is there
            row["object"] = msgspec.Raw(view.metadata(entry))
        rows.append(row)
        if pace.due:
            await pace.pause()
    return negotiation.encode(made, view.accepted)


async def _joined(view: View, page: Page) -> bytes:
    """From stored bytes, nothing decoded."""
    fmt = view.registry.format(view.kind)
    head = codec.encode_json(
        {"kind": view.list_kind, "apiVersion": view.resource.api_version, "metadata": list_metadata(page)}
    )
    before, after = b'%b,"items":[' % head[:-1], b"]}"
    whole = isinstance(view.kind, CustomKind)
    entries: Sequence[Value] = page.entries
    if len(entries) <= _SLICE:
        return fmt.listed(entries, before, after, whole=whole)
    pace = Pace()
    pieces = []
    for start in range(0, len(entries), _SLICE):
        pieces.append(
            fmt.listed(entries[start : start + _SLICE], b"," if start else before, b"", whole=whole)
        )
        if pace.due:
            await pace.pause()
    return b"".join([*pieces, after])


def list_metadata(page: Page) -> dict[str, Any]:
    """The ListMeta of a page."""
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining:
        metadata["remainingItemCount"] = page.remaining
    return metadata
