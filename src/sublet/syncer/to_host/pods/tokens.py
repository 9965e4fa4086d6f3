"""ServiceAccount tokens for tenant pods: the tenant's API issues them, the host only carries them."""

from __future__ import annotations

import base64

from sublet.kinds.resources import resource
from sublet.machinery import names, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import AlreadyExists, NotFound
from sublet.syncer.declare import Scope, Waiting
from sublet.syncer.to_host.pods.volumes import Tokens, TokenSource, secret_keys, sources

_TEN_YEARS = 10 * 365 * 24 * 3600
"""The host cannot renew what it carries, so it lasts; it dies with the pod that it is bound to."""
_ACCOUNTS = resource("serviceaccounts")
_SECRETS = resource("secrets")


async def issue(pod: Object, scope: Scope, *, in_secret: bool) -> Tokens:
    """All tokens that a pod asks for. Raises :class:`Waiting` while its ServiceAccount does not exist."""
    tokens = Tokens()
    for source in sources(pod["spec"]):
        tokens.issued[source] = await _request(pod, source, scope)
        tokens.annotations[source] = scope.mapping.names.key("token-" + names.random_suffix(scope.rng, 8))
    if in_secret and tokens.issued:
        tokens.secret = scope.mapping.host_name(f"{objects.name(pod)}-sa-token", objects.namespace(pod))
    return tokens


async def _request(pod: Object, source: TokenSource, scope: Scope) -> str:
    domain = scope.settings.cluster_domain
    account, namespace = pod["spec"].get("serviceAccountName") or "default", objects.namespace(pod)
    audiences = [source.audience] if source.audience else [
        f"https://kubernetes.default.svc.{domain}", "https://kubernetes.default.svc", "https://kubernetes.default",
    ]  # fmt: skip
    reference = {"apiVersion": "v1", "kind": "Pod", "name": objects.name(pod), "uid": objects.uid(pod)}
    request: Object = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": audiences, "expirationSeconds": _TEN_YEARS, "boundObjectRef": reference},
    }
    try:
        made = await scope.tenant.create(_ACCOUNTS, request, namespace, subresource="token", name=account)
    except NotFound as error:
        if error.kind == _ACCOUNTS.plural:
            raise Waiting(f'service account "{account}" not found', reason="SyncError") from None
        raise
    return str(made["status"]["token"])


async def store(pod: Object, tokens: Tokens, scope: Scope) -> None:
    """Puts the tokens into a Secret on the host, replacing one that an earlier attempt left."""
    where, kind = scope.settings.host_namespace, _SECRETS
    keys = secret_keys(tokens)
    obj: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": tokens.secret,
            "namespace": where,
            "labels": scope.mapping.identity_labels(pod, kind),
            "ownerReferences": [scope.service.owner(False)] if scope.settings.set_owner else [],
        },
        "data": {
            keys[source]: base64.b64encode(token.encode()).decode() for source, token in tokens.issued.items()
        },
    }
    try:
        await scope.host.create(kind, obj, where)
    except AlreadyExists:
        await scope.host.patch(kind, tokens.secret, {"data": obj["data"]}, where)


async def give_to_pod(host_pod: Object, name: str, scope: Scope) -> None:
    """Makes the host pod the Secret's owner, so that they go together."""
    owner = objects.owner_reference(host_pod, resource("pods"), controller=False)
    patch = {"metadata": {"ownerReferences": [owner]}}
    await scope.host.patch(_SECRETS, name, patch, scope.settings.host_namespace)
