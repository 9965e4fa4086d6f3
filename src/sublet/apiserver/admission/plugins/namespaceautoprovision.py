"""NamespaceAutoProvision: what is created in a namespace that does not exist makes it."""

from __future__ import annotations

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin


def _handles(attributes: Attributes) -> bool:
    created = attributes.operation == CREATE and bool(attributes.namespace)
    return created and attributes.target != ("", "namespaces")


async def _admit(attributes: Attributes, context: Context) -> None:
    where = attributes.namespace
    if attributes.dry_run or await context.reader.get("", "namespaces", "", where) is not None:
        return
    if await context.reader.get_latest("", "namespaces", "", where) is None and context.make is not None:
        await context.make("namespaces", {"metadata": {"name": where}})


PLUGIN = Plugin("NamespaceAutoProvision", _handles, admit=_admit)
