"""The words of a refusal."""

from __future__ import annotations

from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery.status import Forbidden, StatusError, forbidden


def denial(user: User, info: RequestInfo, reason: str = "") -> StatusError:
    """The 403 that tells a user what it may not do."""
    who = f'User "{user.name}"'
    because = f": {reason}" if reason else ""
    if not info.is_resource:
        return Forbidden(f'forbidden: {who} cannot {info.verb} path "{info.path}"{because}')
    what = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    message = f'{who} cannot {info.verb} resource "{what}" in API group "{info.api_group}"'
    if info.namespace:
        message += f' in the namespace "{info.namespace}"'
    else:
        message += " at the cluster scope"
    return forbidden(info.api_group, info.resource, info.name, message + because)
