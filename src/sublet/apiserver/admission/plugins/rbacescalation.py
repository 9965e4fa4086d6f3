"""Nobody grants what they do not hold (upstream checks it in the storage of roles and bindings)."""

from __future__ import annotations

from sublet.apiserver.admission.framework import Attributes, Context, Plugin, on

_GROUP = "rbac.authorization.k8s.io"
_ROLES = ("roles", "clusterroles")
_BINDINGS = ("rolebindings", "clusterrolebindings")


async def _validate(attributes: Attributes, context: Context) -> None:
    check = context.grants.check_role if attributes.plural in _ROLES else context.grants.check_binding
    await check(attributes.user, attributes.plural, attributes.new(), attributes.old_object)


PLUGIN = Plugin(
    "RBACEscalation", on(*(f"{plural}.{_GROUP}" for plural in _ROLES + _BINDINGS)), validate=_validate
)
