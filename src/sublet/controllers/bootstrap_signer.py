"""bootstrap-signer-controller: signs ConfigMap kube-public/cluster-info with every bootstrap token.

A node that joins knows only its token; the signature lets it trust the CA it finds there.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import NotFound
from sublet.reconcile.controller import Controller
from sublet.reconcile.manager import Context, Registration

TYPE = "bootstrap.kubernetes.io/token"
PREFIX = "jws-kubeconfig-"
NAME_PREFIX = "bootstrap-token-"
_SECRETS = resource("secrets")
_CONFIG_MAPS = resource("configmaps")
_NAME, _NAMESPACE = "cluster-info", "kube-public"


def signature(content: str, identity: str, secret: str) -> str:
    """A detached JWS (HS256) of ``content`` with key id ``identity``."""
    header = _encoded(codec.encode_json({"alg": "HS256", "kid": identity}))
    signed = header + b"." + _encoded(content.encode())
    mac = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"{header.decode()}..{_encoded(mac).decode()}"


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token_of(secret: Object, now: float) -> tuple[str, str] | None:
    """(id, secret) of a token that may sign: meant for it, whole, named after itself and not expired."""
    try:
        token = {k: base64.b64decode(v).decode() for k, v in (secret.get("data") or {}).items()}
        ends = objects.parse_time(token["expiration"]) if token.get("expiration") else None
    except ValueError:
        return None
    identity, key = token.get("token-id", ""), token.get("token-secret", "")
    usable = token.get("usage-bootstrap-signing") == "true" and (ends is None or now < ends)
    if not usable or not identity or not key or objects.name(secret) != NAME_PREFIX + identity:
        return None
    return identity, key


def signed(config_map: Object, secrets: Iterable[Object], now: float) -> Object | None:
    """The data with a signature per signing token and none else; None where that is so."""
    data = config_map.get("data") or {}
    content = data.get("kubeconfig")
    if content is None:
        return None
    wanted = {key: value for key, value in data.items() if not key.startswith(PREFIX)}
    for secret in secrets:
        if (token := token_of(secret, now)) is not None:
            wanted[PREFIX + token[0]] = signature(content, *token)
    return None if wanted == data else wanted


def setup(context: Context) -> Controller:
    secrets = context.informers.informer(_SECRETS, "kube-system", field_selector=f"type={TYPE}")
    maps = context.informers.informer(_CONFIG_MAPS, _NAMESPACE, field_selector=f"metadata.name={_NAME}")
    key = f"{_NAMESPACE}/{_NAME}"

    async def reconcile(_key: str) -> None:
        found = maps.get(_NAMESPACE, _NAME)
        if found is None or (data := signed(found, secrets.list(), context.clock.now())) is None:
            return
        try:
            await context.client.update(_CONFIG_MAPS, {**found, "data": data})
        except NotFound:
            return

    controller = Controller("bootstrap-signer-controller", reconcile)

    def on_change(_event: str, _obj: Object, _old: Object | None) -> None:
        controller.enqueue(key)

    secrets.add_handler(on_change)
    maps.add_handler(on_change)
    return controller


CONTROLLER = Registration("bootstrap-signer-controller", setup, service_account="bootstrap-signer")
