"""MutatingAdmissionWebhook: webhooks that may change what is written."""

from __future__ import annotations

from sublet.apiserver.admission import webhookrules
from sublet.apiserver.admission.framework import Attributes, Context, Plugin


def _handles(attributes: Attributes) -> bool:
    return not webhookrules.is_exempt(attributes)


async def _admit(attributes: Attributes, context: Context) -> None:
    if context.webhooks is not None:
        await context.webhooks.mutate(attributes)


PLUGIN = Plugin("MutatingAdmissionWebhook", _handles, admit=_admit)
