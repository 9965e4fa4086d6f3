"""Cells that several kinds' tables share, in kubectl's notation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sublet.machinery.kind import Object
from sublet.machinery.table import NONE, UNKNOWN, age, human_duration, since

__all__ = ("NONE", "UNKNOWN", "age", "human_duration", "name", "since")

_EXPRESSIONS = {"In": "{} in ({})", "NotIn": "{} notin ({})", "Exists": "{}", "DoesNotExist": "!{}"}

Cells = Callable[[Object, float], list[Any]]


def name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def or_none(text: Any) -> str:
    """A text, or ``<none>`` for an empty one."""
    return str(text) if text else NONE


def label_text(found: Mapping[str, str] | None) -> str:
    """``a=b,c=d`` in the order of keys."""
    return ",".join(f"{key}={value}" for key, value in sorted((found or {}).items())) or NONE


def selector_text(selector: Object | None) -> str:
    """A LabelSelector as one writes it on a command line; ``<none>`` where it selects everything."""
    if selector is None:
        return NONE
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for requirement in selector.get("matchExpressions") or ():
        key = str(requirement.get("key"))
        form = _EXPRESSIONS.get(str(requirement.get("operator")), "{}")
        parts.append((key, form.format(key, ",".join(sorted(requirement.get("values") or ())))))
    return ",".join(text for _, text in sorted(parts)) or NONE


def container_cells(template: Object | None) -> list[str]:
    """Names and images of a template's containers."""
    found = ((template or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(str(c.get("name") or "") for c in found),
        ",".join(str(c.get("image") or "") for c in found),
    ]


def first_few(items: Iterable[str], limit: int = 3) -> str:
    """``a,b,c + 2 more...``"""
    listed = list(items)
    text = ",".join(listed[:limit])
    return f"{text} + {len(listed) - limit} more..." if len(listed) > limit else text


def name_and_age(obj: Object, now: float) -> list[Any]:
    return [name(obj), age(obj, now)]
