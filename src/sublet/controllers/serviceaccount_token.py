"""serviceaccount-token-controller: fills Secrets of type ``kubernetes.io/service-account-token``.

The token names its Secret and has no end: it dies with the Secret or the account. Settings: ``root_ca`` (PEM text) and
``sign`` (claims -> token); without a key to sign with there are no such tokens, and Secrets stay as they are.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
_SECRETS = resource("secrets")
_ACCOUNTS = resource("serviceaccounts")
_ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount/"
_INDEX = "account"


def account_keys(secret: Object) -> tuple[str, ...]:
    name = objects.annotations(secret).get(ACCOUNT_NAME)
    return (f"{objects.namespace(secret)}/{name}",) if name else ()


def belongs(secret: Object, account: Object) -> bool:
    """Whether the Secret is this account's, not a former one's of the same name."""
    uid = objects.annotations(secret).get(ACCOUNT_UID)
    return not uid or uid == objects.uid(account)


def missing(secret: Object, root_ca: str) -> dict[str, str]:
    """The ``data`` entries to add, base64; the token's value is still empty."""
    data = secret.get("data") or {}
    wanted = {"ca.crt": root_ca, "namespace": objects.namespace(secret)}
    found = {
        name: encoded
        for name, text in wanted.items()
        if data.get(name) != (encoded := base64.b64encode(text.encode()).decode())
    }
    if not data.get("token"):
        found["token"] = ""
    return found


def claims(secret: Object, account: Object) -> dict[str, str]:
    """What the token in a Secret says."""
    namespace, name = objects.namespace(account), objects.name(account)
    return {
        "iss": _ISSUER,
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": objects.name(secret),
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": objects.uid(account),
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


class TokenSecrets:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._root_ca = str(context.settings.get("root_ca") or "")
        self._sign: Callable[[Mapping[str, Any]], str] | None = context.settings.get("sign")
        self._secrets = context.informers.informer(_SECRETS, field_selector=f"type={TYPE}")
        self._secrets.add_index(_INDEX, account_keys)
        self._accounts = context.informers.informer(_ACCOUNTS)
        self.controller = Controller("serviceaccount-token-controller", self.reconcile)
        self._secrets.add_handler(self.controller.enqueue_object)
        self._accounts.add_handler(self._on_account)

    def _on_account(self, event: str, account: Object, _old: Object | None) -> None:
        for secret in self._secrets.by_index(_INDEX, objects.key(account)):
            if event == "delete" or not belongs(secret, account):
                self.controller.enqueue(objects.key(secret))

    async def reconcile(self, key: str) -> None:
        secret = self._secrets.get(*objects.split_key(key))
        if secret is None or objects.is_deleting(secret) or not account_keys(secret):
            return
        account = await self._account(objects.namespace(secret), objects.annotations(secret)[ACCOUNT_NAME])
        if account is None or not belongs(secret, account):
            await self._delete(secret)
            return
        added = missing(secret, self._root_ca)
        if not added and ACCOUNT_UID in objects.annotations(secret):
            return
        if "token" in added:
            if self._sign is None:
                return
            token = self._sign(claims(secret, account))
            added["token"] = base64.b64encode(token.encode()).decode()
        annotations = {**objects.annotations(secret), ACCOUNT_UID: objects.uid(account)}
        metadata = {**secret["metadata"], "annotations": annotations}
        data = {**(secret.get("data") or {}), **added}
        await self._client.update(_SECRETS, {**secret, "metadata": metadata, "data": data})

    async def _delete(self, secret: Object) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(
                _SECRETS, objects.name(secret), objects.namespace(secret), uid=objects.uid(secret)
            )

    async def _account(self, namespace: str, name: str) -> Object | None:
        """Asks the API before an account counts as gone."""
        found = self._accounts.get(namespace, name)
        if found is not None:
            return found
        try:
            return await self._client.get(_ACCOUNTS, name, namespace)
        except NotFound:
            return None


def setup(context: Context) -> Controller:
    return TokenSecrets(context).controller


CONTROLLER = Registration("serviceaccount-token-controller", setup, user="system:kube-controller-manager")
