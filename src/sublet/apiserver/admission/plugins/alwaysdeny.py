"""AlwaysDeny: refuses every write."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin
from sublet.machinery.status import forbidden


def _handles(_attributes: Attributes) -> bool:
    return True


async def _refuse(attributes: Attributes, _context: Context) -> None:
    raise forbidden(
        attributes.group, attributes.plural, attributes.name,
        "admission control is denying all modifications",
    )  # fmt: skip


PLUGIN = Plugin("AlwaysDeny", _handles, admit=_refuse, validate=_refuse)
