"""Refuses configuration that this release could store but would not obey.

What is silently ignored is a hole in somebody's defences or a puzzle to them, so it is not accepted.
"""

from __future__ import annotations

from collections.abc import Mapping

from sublet.apiserver.admission.framework import Attributes, Context, Plugin
from sublet.machinery.status import forbidden

_WHAT: Mapping[tuple[str, str], str] = {
    ("apiregistration.k8s.io", "apiservices"): "requests are not passed on to aggregated API servers",
}


def _handles(attributes: Attributes) -> bool:
    if attributes.target not in _WHAT or attributes.operation not in ("CREATE", "UPDATE"):
        return False
    if attributes.subresource:
        return False
    obj = attributes.object or {}
    return bool((obj.get("spec") or {}).get("service"))


async def _validate(attributes: Attributes, _context: Context) -> None:
    raise forbidden(
        attributes.group,
        attributes.plural,
        attributes.name,
        f"{_WHAT[attributes.target]} by this release of sublet, so the object is refused rather than ignored",
    )


PLUGIN = Plugin("Unenforced", _handles, validate=_validate)
