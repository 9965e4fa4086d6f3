"""MutatingAdmissionPolicy: expressions that change what is written, before webhooks see it."""

from __future__ import annotations

from sublet.apiserver.admission import webhookrules
from sublet.apiserver.admission.framework import Attributes, Context, Plugin


def _handles(attributes: Attributes) -> bool:
    return attributes.object is not None and not webhookrules.is_policy(attributes)


async def _admit(attributes: Attributes, context: Context) -> None:
    if context.policies is not None:
        await context.policies.mutate(attributes)


PLUGIN = Plugin("MutatingAdmissionPolicy", _handles, admit=_admit)
