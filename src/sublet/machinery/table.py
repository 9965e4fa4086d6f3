"""Server-side Tables (``meta.k8s.io/v1`` Table): rows of cells that ``kubectl get`` prints as they are.

Source: reference B.14; Kubernetes' documentation of "Table" and of additionalPrinterColumns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sublet.machinery import gotext
from sublet.machinery.codec import go_json
from sublet.machinery.jsonpath import JSONPath
from sublet.machinery.kind import CREATED_TEXT, NAME_TEXT, Column, Kind, Object
from sublet.machinery.objects import parse_time

API_VERSION = "meta.k8s.io/v1"
INCLUDE = ("None", "Metadata", "Object")
UNKNOWN = "<unknown>"
NONE = "<none>"

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 86400 * 365


def human_duration(seconds: float) -> str:
    """``45s``, ``5m32s``, ``3h``, ``3d4h``, ``2y10d``: about two significant units, as kubectl shows ages."""
    if seconds < -1:
        return "<invalid>"
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    if whole < 8 * _YEAR:
        return _two(whole, _YEAR, "y", _DAY, "d")
    return f"{whole // _YEAR}y"


def _two(seconds: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large}{large_name}" + (f"{rest}{small_name}" if rest else "")


def since(timestamp: Any, now: float) -> str:
    """The age of an RFC 3339 time; ``<unknown>`` where there is none."""
    if not isinstance(timestamp, str) or not timestamp:
        return UNKNOWN
    try:
        return human_duration(now - parse_time(timestamp))
    except ValueError:
        return UNKNOWN


def age(obj: Object, now: float) -> str:
    """The Age cell: since ``metadata.creationTimestamp``."""
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def column_definitions(kind: Kind) -> list[dict[str, Any]]:
    """``columnDefinitions`` of the kind's Table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in kind.columns
    ]


def cells(kind: Kind, obj: Object, now: float) -> list[Any]:
    """One cell per column; the kind's own, else name and creation time."""
    if kind.cells is not None:
        return kind.cells(obj, now)
    metadata = obj.get("metadata") or {}
    return [metadata.get("name", ""), metadata.get("creationTimestamp")]


def row(kind: Kind, obj: Object, now: float, include_object: str = "Metadata") -> dict[str, Any]:
    """One row. ``include_object``: ``None``, ``Metadata`` (PartialObjectMetadata) or ``Object`` (all of it)."""
    made: dict[str, Any] = {"cells": cells(kind, obj, now)}
    if conditions := kind.row_conditions(obj):
        made["conditions"] = list(conditions)
    if include_object == "Object":
        made["object"] = obj
    elif include_object == "None":
        made["object"] = None
    else:
        made["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": API_VERSION,
            "metadata": obj.get("metadata") or {},
        }
    return made


def table(
    kind: Kind,
    objects: Iterable[Object],
    now: float,
    include_object: str = "Metadata",
    *,
    list_metadata: Mapping[str, Any] | None = None,
    columns: bool = True,
) -> Object:
    """A Table of the objects, which stay as they are.

    ``list_metadata``: resourceVersion, continue, remainingItemCount. ``columns``: False for the later events of a
    watch, which do not repeat them.
    """
    return {
        "kind": "Table",
        "apiVersion": API_VERSION,
        "metadata": dict(list_metadata or {}),
        "columnDefinitions": column_definitions(kind) if columns else None,
        "rows": [row(kind, obj, now, include_object) for obj in objects],
    }


def custom_columns(
    printer_columns: Sequence[Mapping[str, Any]],
) -> tuple[tuple[Column, ...], Callable[[Object, float], list[Any]]]:
    """(columns, cells) of a custom resource from its version's ``additionalPrinterColumns``.

    The name comes first; without further columns the age follows. Raises ``ValueError`` for a bad ``jsonPath``.
    """
    stated = printer_columns or [
        {
            "name": "Age",
            "type": "date",
            "jsonPath": ".metadata.creationTimestamp",
            "description": CREATED_TEXT,
        }
    ]
    columns = (
        Column("Name", format="name", description=NAME_TEXT),
        *(
            Column(
                str(column["name"]),
                str(column.get("type") or "string"),
                str(column.get("format") or ""),
                str(
                    column.get("description")
                    or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
                ),
                int(column.get("priority") or 0),
            )
            for column in stated
        ),
    )
    paths = [(str(column.get("type") or "string"), JSONPath(str(column["jsonPath"]))) for column in stated]

    def custom_cells(obj: Object, now: float) -> list[Any]:
        found: list[Any] = [(obj.get("metadata") or {}).get("name", "")]
        for cell_type, path in paths:
            results = path.find(obj)
            # Only the first of what a path leads to is shown.
            found.append(_custom_cell(cell_type, results[0], now) if results else None)
        return found

    return columns, custom_cells


def _custom_cell(cell_type: str, value: Any, now: float) -> Any:
    """A value as its column's type shows it; None where it does not fit."""
    if cell_type == "string":
        return _printed(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if cell_type == "integer":
        return int(value) if number else None
    if cell_type == "number":
        return value if number else None
    if cell_type == "boolean":
        return value if isinstance(value, bool) else None
    if cell_type == "date":
        return _elapsed(value, now) if isinstance(value, str) else None
    return None


def _elapsed(timestamp: str, now: float) -> str:
    if timestamp in ("", "null"):
        return UNKNOWN
    try:
        return human_duration(now - parse_time(timestamp))
    except ValueError:
        return "<invalid>"


def _printed(value: Any) -> str:
    """As Go's JSONPath prints it."""
    if value is None:
        return "<no value>"
    return go_json(value) if isinstance(value, (dict, list)) else gotext.shown(value)
