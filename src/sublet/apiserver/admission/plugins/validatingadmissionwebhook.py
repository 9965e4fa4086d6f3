"""ValidatingAdmissionWebhook: webhooks that may refuse what is written."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin


def _handles(_attributes: Attributes) -> bool:
    return True


async def _validate(attributes: Attributes, context: Context) -> None:
    if context.webhooks is not None:
        await context.webhooks.validate(attributes)


PLUGIN = Plugin("ValidatingAdmissionWebhook", _handles, validate=_validate)
