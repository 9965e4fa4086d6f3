"""The words of a refusal."""

from __future__ import annotations

import json

from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery.status import Forbidden, StatusError, forbidden

_HARMLESS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""Names come from whoever asks, and browsers have shown such answers as pages."""


def denial(user: User, info: RequestInfo, reason: str = "") -> StatusError:
    """The 403 that tells a user what it may not do."""
    error = _denial(user, info, f": {reason}" if reason else "")
    error.headers = (("X-Content-Type-Options", "nosniff"),)
    error.with_details = True
    return error


def _denial(user: User, info: RequestInfo, because: str) -> StatusError:
    who = f"User {quoted(user.name)}"
    if not info.is_resource:
        message = harmless(f"{who} cannot {info.verb} path {quoted(info.path)}")
        return Forbidden(f"forbidden: {message}{because}")
    what = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    message = f"{who} cannot {info.verb} resource {quoted(what)} in API group {quoted(info.api_group)}"
    message += f" in the namespace {quoted(info.namespace)}" if info.namespace else " at the cluster scope"
    return forbidden(info.api_group, info.resource, info.name, harmless(message) + because)


def harmless(text: str) -> str:
    """Without what a browser would take for a page."""
    return text.translate(_HARMLESS)


def quoted(text: str) -> str:
    """As Go's ``%q``."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text, ensure_ascii=False)
