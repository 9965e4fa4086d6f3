"""ValidatingAdmissionPolicy: expressions that a write must satisfy; policies themselves must compile."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin


def _handles(_attributes: Attributes) -> bool:
    return True


async def _validate(attributes: Attributes, context: Context) -> None:
    if context.policies is not None:
        await context.policies.validate(attributes)


PLUGIN = Plugin("ValidatingAdmissionPolicy", _handles, validate=_validate)
