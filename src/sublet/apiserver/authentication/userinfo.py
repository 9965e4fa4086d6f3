"""A user as reviews show it."""

from __future__ import annotations

from sublet.client.exchange import User
from sublet.machinery.kind import Object


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
