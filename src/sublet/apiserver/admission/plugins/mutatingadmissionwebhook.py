"""MutatingAdmissionWebhook: webhooks that may change what is written."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin


def _handles(_attributes: Attributes) -> bool:
    return True


async def _admit(attributes: Attributes, context: Context) -> None:
    if context.webhooks is not None:
        await context.webhooks.mutate(attributes)


PLUGIN = Plugin("MutatingAdmissionWebhook", _handles, admit=_admit)
