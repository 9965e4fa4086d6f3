"""Conditions that the API server itself keeps in a status, as server-side apply by a manager of their own."""

from __future__ import annotations

from sublet.machinery import objects
from sublet.machinery.kind import Object

_FIELDS = ("lastTransitionTime", "message", "reason", "status", "type")


def apply_condition(obj: Object, condition: Object, manager: str, now: float) -> None:
    """Sets a condition of ``obj``, which says its apiVersion, and that ``manager`` applied it."""
    status = obj.get("status") or {}
    others = [each for each in status.get("conditions") or () if each.get("type") != condition["type"]]
    obj["status"] = {**status, "conditions": [*others, condition]}
    item = f'k:{{"type":"{condition["type"]}"}}'
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": obj["apiVersion"],
        "time": objects.rfc3339(now),
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:status": {"f:conditions": {item: {".": {}, **{f"f:{field}": {} for field in _FIELDS}}}}
        },
        "subresource": "status",
    }
    metadata = obj["metadata"]
    metadata["managedFields"] = [
        entry,
        *(each for each in metadata.get("managedFields") or () if each["manager"] != manager),
    ]
