"""Gives every pod a ServiceAccount, its pull secrets, and a projected token that rotates."""

from __future__ import annotations

import asyncio
from typing import Any

from sublet.apiserver.admission.framework import CREATE, Attributes, Context, Plugin, on
from sublet.machinery import names, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, forbidden

MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
"""An odd number by which readers know that nobody chose it."""
_TRIES = 5
_PAUSE = 0.2
"""Seconds: a new namespace gets its account a moment after it came to be."""


async def _admit(attributes: Attributes, context: Context) -> None:
    pod = attributes.new()
    spec = pod.setdefault("spec", {})
    if MIRROR in objects.annotations(pod):
        _check_mirror(attributes, pod)
        return
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec.get("serviceAccount") or "default"
    spec["serviceAccount"] = spec["serviceAccountName"]
    account = await _account(attributes, context, spec["serviceAccountName"])
    if _automount(spec, account):
        _mount(spec, context)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]
    attributes.mutated = True


async def _validate(attributes: Attributes, context: Context) -> None:
    pod = attributes.new()
    spec = pod["spec"]
    if MIRROR in objects.annotations(pod):
        return
    if not spec.get("serviceAccountName"):
        raise _refused(
            attributes, f"no service account specified for pod {attributes.namespace}/{attributes.name}"
        )
    await _account(attributes, context, spec["serviceAccountName"])


def _check_mirror(attributes: Attributes, pod: Object) -> None:
    if pod["spec"].get("serviceAccountName"):
        raise _refused(attributes, "a mirror pod may not reference service accounts")
    for volume in pod["spec"].get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        if any("serviceAccountToken" in source or "secret" in source for source in sources):
            raise _refused(attributes, "a mirror pod may not reference secrets or service account tokens")


async def _account(attributes: Attributes, context: Context, name: str) -> Object:
    for attempt in range(_TRIES):
        read = context.reader.get_latest if attempt else context.reader.get
        found = await read("", "serviceaccounts", attributes.namespace, name)
        if found is not None:
            return found
        # Only the account that a controller makes for every namespace is worth waiting for.
        if name != "default" and attempt:
            break
        await asyncio.sleep(_PAUSE if attempt else 0)
    raise _refused(
        attributes,
        f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
    )


def _automount(spec: dict[str, Any], account: Object) -> bool:
    if spec.get("automountServiceAccountToken") is not None:
        return bool(spec["automountServiceAccountToken"])
    if account.get("automountServiceAccountToken") is not None:
        return bool(account["automountServiceAccountToken"])
    return True


def _mount(spec: dict[str, Any], context: Context) -> None:
    volumes: list[dict[str, Any]] = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if str(v.get("name")).startswith(VOLUME_PREFIX)), "")
    needed = False
    made = name or VOLUME_PREFIX + names.random_suffix(context.rng)
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
                continue
            needed = True
            container["volumeMounts"] = [*mounts, {"name": made, "readOnly": True, "mountPath": MOUNT_PATH}]
    if needed and not name:
        spec["volumes"] = [*volumes, _volume(made)]


def _volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": authority},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 420,
        },
    }


def _refused(attributes: Attributes, why: str) -> Forbidden:
    return forbidden("", "pods", attributes.name, why)


PLUGIN = Plugin("ServiceAccount", on("pods", operations=(CREATE,)), admit=_admit, validate=_validate)
