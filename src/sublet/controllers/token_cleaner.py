"""token-cleaner-controller: deletes bootstrap tokens that have expired."""

from __future__ import annotations

import base64
import binascii

from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration
from sublet.reconcile.result import Result

TYPE = "bootstrap.kubernetes.io/token"
_SECRETS = resource("secrets")
_NAMESPACE = "kube-system"


def expires_in(secret: Object, now: float) -> float | None:
    """Seconds the token is still good for; None where it never expires, 0 where its time cannot be read."""
    encoded = (secret.get("data") or {}).get("expiration")
    if not encoded:
        return None
    try:
        return max(0.0, objects.parse_time(base64.b64decode(encoded).decode()) - now)
    except (ValueError, binascii.Error):
        return 0.0


def setup(context: Context) -> Controller:
    secrets = context.informers.informer(_SECRETS, _NAMESPACE, field_selector=f"type={TYPE}")

    async def reconcile(key: str) -> Result | None:
        secret = secrets.get(*objects.split_key(key))
        if secret is None:
            return None
        left = expires_in(secret, context.clock.now())
        if left is None:
            return None
        if left > 0:
            return Result(requeue_after=left)
        try:
            await context.client.delete(_SECRETS, objects.name(secret), _NAMESPACE, uid=objects.uid(secret))
        except NotFound:
            return None
        return None

    controller = Controller("token-cleaner-controller", reconcile)
    secrets.add_handler(controller.enqueue_object)
    return controller


CONTROLLER = Registration("token-cleaner-controller", setup, service_account="token-cleaner")
