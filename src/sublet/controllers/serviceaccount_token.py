"""serviceaccount-token-controller: fills Secrets of type ``kubernetes.io/service-account-token``.

The token comes from the TokenRequest API, bound to the Secret: it dies with the Secret or the account. Settings:
``root_ca`` (PEM text).
"""

from __future__ import annotations

import base64
import contextlib

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
_SECONDS = 10 * 365 * 24 * 3600
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


def setup(context: Context) -> Controller:
    root_ca = str(context.settings.get("root_ca") or "")
    client = context.client
    secrets = context.informers.informer(_SECRETS, field_selector=f"type={TYPE}")
    secrets.add_index(_INDEX, account_keys)
    accounts = context.informers.informer(_ACCOUNTS)

    async def reconcile(key: str) -> None:
        secret = secrets.get(*objects.split_key(key))
        if secret is None or objects.is_deleting(secret) or not account_keys(secret):
            return
        name = objects.annotations(secret)[ACCOUNT_NAME]
        account = await account_of(objects.namespace(secret), name)
        if account is None or not belongs(secret, account):
            with contextlib.suppress(NotFound):
                await client.delete(
                    _SECRETS, objects.name(secret), objects.namespace(secret), uid=objects.uid(secret)
                )
            return
        added = missing(secret, root_ca)
        if not added and ACCOUNT_UID in objects.annotations(secret):
            return
        if "token" in added:
            added["token"] = base64.b64encode((await token(secret, name)).encode()).decode()
        annotations = {**objects.annotations(secret), ACCOUNT_UID: objects.uid(account)}
        metadata = {**secret["metadata"], "annotations": annotations}
        data = {**(secret.get("data") or {}), **added}
        await client.update(_SECRETS, {**secret, "metadata": metadata, "data": data})

    async def account_of(namespace: str, name: str) -> Object | None:
        found = accounts.get(namespace, name)
        if found is not None:
            return found
        try:
            return await client.get(_ACCOUNTS, name, namespace)
        except NotFound:
            return None

    async def token(secret: Object, account: str) -> str:
        bound = {
            "apiVersion": "v1",
            "kind": "Secret",
            "name": objects.name(secret),
            "uid": objects.uid(secret),
        }
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": _SECONDS, "boundObjectRef": bound},
        }
        made = await client.create(
            _ACCOUNTS, asked, objects.namespace(secret), name=account, subresource="token"
        )
        return str(made["status"]["token"])

    controller = Controller("serviceaccount-token-controller", reconcile)

    def on_account(event: str, account: Object, _old: Object | None) -> None:
        for secret in secrets.by_index(_INDEX, objects.key(account)):
            if event == "delete" or not belongs(secret, account):
                controller.enqueue(objects.key(secret))

    secrets.add_handler(controller.enqueue_object)
    accounts.add_handler(on_account)
    return controller


CONTROLLER = Registration("serviceaccount-token-controller", setup, user="system:kube-controller-manager")
