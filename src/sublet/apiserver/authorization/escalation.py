"""Nobody grants what they do not hold: the checks on writes of roles and bindings (B.15)."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.apiserver.authorization.authorizer import Authorizer, Rule, permission
from sublet.apiserver.authorization.rbac import GROUP, RBAC
from sublet.apiserver.authorization.rules import compact, uncovered
from sublet.client.exchange import User
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden, not_found

_EVERYTHING: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_LETTING_GO = ("finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation")


class Escalation:
    """Checks one API server's writes of roles and bindings."""

    def __init__(self, authorizer: Authorizer, rbac: RBAC) -> None:
        self._authorizer = authorizer
        self._rbac = rbac

    async def check_role(self, user: User, plural: str, role: Object, old: Object | None = None) -> None:
        """Raises ``Forbidden`` unless ``user`` holds all the rules of a Role or ClusterRole, or may ``escalate``.

        ``plural``: ``roles`` or ``clusterroles``. A write that changes nothing, or only lets the object go, is not checked.
        """
        metadata = role.get("metadata") or {}
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        if old is not None and _only_lets_go(role, old):
            return
        if await self._may(user, "escalate", plural, namespace, name):
            return
        self._confirm(user, namespace, role.get("rules") or (), plural, name)
        if role.get("aggregationRule") or (old or {}).get("aggregationRule"):
            # Who decides what is aggregated decides about every rule there may come to be.
            held, _ = self._rbac.rules(user, namespace)
            if uncovered(held, _EVERYTHING):
                why = "must have cluster-admin privileges to use the aggregationRule"
                raise forbidden(GROUP, plural, name, why)

    async def check_binding(
        self, user: User, plural: str, binding: Object, old: Object | None = None
    ) -> None:
        """Raises ``Forbidden`` unless ``user`` holds all the rules of the role bound, or may ``bind`` it.

        ``plural``: ``rolebindings`` or ``clusterrolebindings``. ``NotFound`` for a role that is not there.
        """
        metadata = binding.get("metadata") or {}
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        if old is not None and _only_lets_go(binding, old):
            return
        reference = binding.get("roleRef") or {}
        kind, role = reference.get("kind", ""), reference.get("name", "")
        roles = "roles" if kind == "Role" else "clusterroles"
        if await self._may(user, "bind", roles, namespace, role):
            return
        rules = self._rbac.role_rules(namespace if kind == "Role" else "", role)
        if rules is None:
            raise not_found(GROUP, roles, role)
        self._confirm(user, namespace, rules, plural, name)

    async def _may(self, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
        asked = permission(verb, GROUP, plural, namespace=namespace, name=name)
        return (await self._authorizer.decide(user, asked)).allowed

    def _confirm(self, user: User, namespace: str, rules: Sequence[Rule], plural: str, name: str) -> None:
        held, errors = self._rbac.rules(user, namespace)
        missing = uncovered(held, rules)
        if not missing:
            return
        groups = " ".join(f'"{group}"' for group in user.groups)
        why = (
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            + "\n".join(compact(missing))
        )
        if errors:
            # Upstream reads the objects themselves here, not what its authorizer has of them, and so names resources.
            told = list(dict.fromkeys(error.replace("role.", "roles.", 1) for error in errors))
            why += f"; resolution errors: [{told[0] if len(told) == 1 else '[' + ', '.join(told) + ']'}]"
        raise forbidden(GROUP, plural, name, why)


def _only_lets_go(new: Object, old: Object) -> bool:
    """Whether a write changes at most what the garbage collector must be able to change."""

    def kept(obj: Object) -> Object:
        metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _LETTING_GO}
        return {**obj, "metadata": metadata}

    return kept(new) == kept(old)
