"""clusterrole-aggregation-controller: fills ClusterRoles whose rules are those of others, chosen by label."""

from __future__ import annotations

from collections.abc import Sequence

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.selectors import from_label_selector
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

_ROLES = resource("clusterroles.rbac.authorization.k8s.io")
_MANAGER = "clusterrole-aggregation-controller"


def aggregated(role: Object, everything: Sequence[Object]) -> list[Object]:
    """The rules of all roles that the selectors choose, by selector and name, each rule once."""
    rules: list[Object] = []
    for part in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        selector = from_label_selector(part)
        for other in sorted(everything, key=objects.name):
            if objects.name(other) == objects.name(role) or not selector.matches(objects.labels(other)):
                continue
            rules.extend(rule for rule in other.get("rules") or () if rule not in rules)
    return rules


def setup(context: Context) -> Controller:
    roles = context.informers.informer(_ROLES)

    async def reconcile(name: str) -> None:
        role = roles.get("", name)
        if role is None or not role.get("aggregationRule") or objects.is_deleting(role):
            return
        rules = aggregated(role, roles.list())
        if rules == (role.get("rules") or []):
            return
        applied = {
            "apiVersion": _ROLES.api_version,
            "kind": _ROLES.kind,
            "metadata": {"name": name},
            "rules": rules,
        }
        try:
            await context.client.patch(
                _ROLES, name, applied, kind="apply", field_manager=_MANAGER, force=True
            )
        except NotFound:
            return

    controller = Controller(_MANAGER, reconcile)

    def on_role(_event: str, _role: Object, _old: Object | None) -> None:
        for role in roles.list():
            if role.get("aggregationRule"):
                controller.enqueue_after(objects.name(role), 0.05)

    roles.add_handler(on_role)
    return controller


CONTROLLER = Registration(_MANAGER, setup)
