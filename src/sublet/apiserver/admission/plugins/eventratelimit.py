"""EventRateLimit: who writes too many events is told to wait."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on
from sublet.machinery.status import TooManyRequests


async def _validate(attributes: Attributes, context: Context) -> None:
    if attributes.dry_run or context.event_limits is None or attributes.resource.group:
        return
    refusals = context.event_limits.refusals(attributes)
    if refusals:
        raise TooManyRequests(refusals[0] if len(refusals) == 1 else f"[{', '.join(refusals)}]")


PLUGIN = Plugin("EventRateLimit", on("events"), validate=_validate)
