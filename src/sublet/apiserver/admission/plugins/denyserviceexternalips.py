"""DenyServiceExternalIPs: Services get no external addresses that they do not have already."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.machinery.status import forbidden


async def _validate(attributes: Attributes, _context: Context) -> None:
    old = attributes.old_object or {}
    had = (old.get("spec") or {}).get("externalIPs") or ()
    wanted = (attributes.new().get("spec") or {}).get("externalIPs") or ()
    if set(wanted) - set(had):
        raise forbidden("", "services", attributes.name, "Use of external IPs is denied by admission control")


PLUGIN = Plugin("DenyServiceExternalIPs", on("services"), validate=_validate)
