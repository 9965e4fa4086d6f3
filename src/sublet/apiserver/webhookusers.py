"""As whom webhooks are asked: the users of a kubeconfig, each named by the webhooks it is for.

Source: the Kubernetes documentation, "Dynamic Admission Control", "Authenticate apiservers".
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sublet.client import kubeconfig
from sublet.client.kubeconfig import KubeconfigError
from sublet.machinery import codec


class WebhookUser(Struct, frozen=True):
    """What proves to a webhook who asks."""

    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: bytes = b""
    """PEM of a client certificate and its key."""


NOBODY = WebhookUser()


class WebhookUsers:
    """The users of one kubeconfig."""

    def __init__(self, users: Mapping[str, WebhookUser], current: str = "") -> None:
        self._users = users
        self._current = current

    @classmethod
    def load(cls, file: str) -> WebhookUsers:
        """Raises :class:`KubeconfigError`."""
        try:
            document: Any = codec.decode_yaml_file(Path(file).read_bytes())
        except (OSError, ValueError) as error:
            raise KubeconfigError(f"{file} cannot be read: {error}") from None
        if not isinstance(document, dict):
            raise KubeconfigError(f"{file} is not a Config object")
        users = {
            str(each.get("name")): _user(each.get("user") or {}, Path(file))
            for each in document.get("users") or ()
        }
        current = next(
            (
                str((each.get("context") or {}).get("user") or "")
                for each in document.get("contexts") or ()
                if each.get("name") == document.get("current-context")
            ),
            "",
        )
        return cls(users, current)

    def of(self, host: str, port: int) -> WebhookUser:
        """Who asks the webhook at ``host:port``: by its whole name, by the end of it (``*.example.com``), by ``*``."""
        for name in _names(host, port):
            if name in self._users:
                return self._users[name]
        return self._users.get(self._current, NOBODY)


def _names(host: str, port: int) -> Iterator[str]:
    for target in (f"{host}:{port}", *((host,) if port == 443 else ())):
        yield target
        parts = target.split(".")
        yield from (f"*.{'.'.join(parts[index:])}" for index in range(1, len(parts)))
    yield "*"


def _user(stated: Mapping[str, Any], file: Path) -> WebhookUser:
    headers = {}
    token = str(stated.get("token") or "")
    if not token and stated.get("tokenFile"):
        try:
            token = (file.parent / str(stated["tokenFile"])).read_text().strip()
        except OSError as error:
            raise KubeconfigError(f"{stated['tokenFile']} cannot be read: {error.strerror}") from None
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif stated.get("username"):
        pair = f"{stated['username']}:{stated.get('password') or ''}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    for key in ("exec", "auth-provider", "as"):
        if stated.get(key):
            raise KubeconfigError(f"{file}: a user of webhooks cannot have {key}")
    chain = [kubeconfig.material(stated, key, file) for key in ("client-certificate", "client-key")]
    return WebhookUser(headers, b"\n".join(chain) if all(chain) else b"")
