"""Nobody grants what they do not hold: the checks on writes of roles and bindings (B.15)."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.apiserver.authorization.authorizer import Authorizer, Rule, permission
from sublet.apiserver.authorization.rbac import GROUP, RBAC
from sublet.apiserver.authorization.rules import compact, uncovered
from sublet.client.exchange import User
from sublet.machinery.kind import Object
from sublet.machinery.status import forbidden, not_found


class Escalation:
    """Checks one API server's writes of roles and bindings."""

    def __init__(self, authorizer: Authorizer, rbac: RBAC) -> None:
        self._authorizer = authorizer
        self._rbac = rbac

    def check_role(self, user: User, plural: str, role: Object, old: Object | None = None) -> None:
        """Raises ``Forbidden`` unless ``user`` holds all the rules of a Role or ClusterRole, or may ``escalate``.

        ``plural``: ``roles`` or ``clusterroles``. An update that keeps rules and aggregation needs nothing.
        """
        metadata = role.get("metadata") or {}
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        if old is not None and all(
            (old.get(key) or None) == (role.get(key) or None) for key in ("rules", "aggregationRule")
        ):
            return
        if self._may(user, "escalate", plural, namespace, name):
            return
        rules: Sequence[Rule] = role.get("rules") or ()
        if (role.get("aggregationRule") or {}) != ((old or {}).get("aggregationRule") or {}):
            # Who decides what is aggregated decides about every rule there may come to be.
            rules = [
                *rules,
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]
        self._confirm(user, namespace, rules, plural, name)

    def check_binding(self, user: User, plural: str, binding: Object, old: Object | None = None) -> None:
        """Raises ``Forbidden`` unless ``user`` holds all the rules of the role bound, or may ``bind`` it.

        ``plural``: ``rolebindings`` or ``clusterrolebindings``. An update that keeps role and subjects needs nothing.
        """
        metadata = binding.get("metadata") or {}
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        if old is not None and all(
            (old.get(key) or None) == (binding.get(key) or None) for key in ("roleRef", "subjects")
        ):
            return
        reference = binding.get("roleRef") or {}
        kind, role = reference.get("kind", ""), reference.get("name", "")
        roles = "roles" if kind == "Role" else "clusterroles"
        if self._may(user, "bind", roles, namespace, role):
            return
        rules = self._rbac.role_rules(namespace if kind == "Role" else "", role)
        if rules is None:
            raise not_found(GROUP, "role" if kind == "Role" else "clusterrole", role)
        self._confirm(user, namespace, rules, plural, name)

    def _may(self, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
        asked = permission(verb, GROUP, plural, namespace=namespace, name=name)
        return self._authorizer.authorize(user, asked).allowed

    def _confirm(self, user: User, namespace: str, rules: Sequence[Rule], plural: str, name: str) -> None:
        held, errors = self._authorizer.rules(user, namespace)
        missing = uncovered(held, rules)
        if not missing:
            return
        groups = " ".join(f'"{group}"' for group in user.groups)
        why = (
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            + "\n".join(compact(missing))
        )
        if errors:
            why += "; resolution errors: [" + ", ".join(errors) + "]"
        raise forbidden(GROUP, plural, name, why)
