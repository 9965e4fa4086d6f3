"""A user as reviews show it, and what its name and extra say of it."""

from __future__ import annotations

from sublet.client.exchange import User
from sublet.machinery import names
from sublet.machinery.kind import Object

NODE_NAME = "authentication.kubernetes.io/node-name"
"""The extra that says on which node the pod is whose ServiceAccount asks."""
_SERVICE_ACCOUNT = "system:serviceaccount:"


def user_info(user: User) -> Object:
    """The UserInfo object."""
    found: Object = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return found


def service_account(name: str) -> tuple[str, str] | None:
    """(namespace, name) of the ServiceAccount that a user of this name is."""
    if not name.startswith(_SERVICE_ACCOUNT):
        return None
    parts = name[len(_SERVICE_ACCOUNT) :].split(":")
    if len(parts) != 2 or names.dns1123_label(parts[0]) or names.dns1123_subdomain(parts[1]):
        return None
    return parts[0], parts[1]


def is_on_node(user: User, node: str) -> bool:
    """Whether a user is a ServiceAccount in a pod on that very node."""
    return service_account(user.name) is not None and user.extra.get(NODE_NAME) == (node,)
