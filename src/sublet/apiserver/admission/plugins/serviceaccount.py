"""Gives every pod a ServiceAccount, its pull secrets, and a projected token that rotates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Set
from typing import Any

from sublet.apiserver.admission.framework import CREATE, UPDATE, Attributes, Context, Plugin
from sublet.apiserver.authorization.node import references
from sublet.kinds.rules.pod_annotations import MIRROR
from sublet.machinery import names, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Forbidden, forbidden

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
"""Annotation of an account: its pods use no other Secrets than it lists."""
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_CONTAINERS = (("initContainers", "init container"), ("containers", "container"))
_EPHEMERAL = ("ephemeralContainers", "ephemeral container")
TOKEN_SECONDS = 3607
"""An odd number by which readers know that nobody chose it."""
_TRIES = 5
_PAUSE = 0.2
"""Seconds: a new namespace gets its account a moment after it came to be."""


async def _admit(attributes: Attributes, context: Context) -> None:
    if attributes.operation == UPDATE:
        return
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
    created = attributes.operation == CREATE
    if created and MIRROR in objects.annotations(pod):
        _check_mirror(attributes, pod)
        return
    if not spec.get("serviceAccountName"):
        raise _refused(
            attributes, f"no service account specified for pod {attributes.namespace}/{attributes.name}"
        )
    account = await _account(attributes, context, spec["serviceAccountName"])
    if objects.annotations(account).get(ENFORCE) not in _TRUE:
        return
    listed = {str(each.get("name")) for each in account.get("secrets") or ()}
    why = (
        _unreferenced(pod, account, listed) if created else _of_containers(spec, _EPHEMERAL, account, listed)
    )
    if why:
        raise _refused(attributes, why)


def _unreferenced(pod: Object, account: Object, listed: Set[str]) -> str:
    """Which Secret the pod uses that its account does not list; empty where there is none."""
    spec, name = pod["spec"], objects.name(account)
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret and secret not in listed:
            return _text(f"volume with {_quoted(secret)}", name)
    for which in _CONTAINERS:
        if why := _of_containers(spec, which, account, listed):
            return why
    pulled = {str(each.get("name")) for each in account.get("imagePullSecrets") or ()}
    for index, each in enumerate(spec.get("imagePullSecrets") or ()):
        if each.get("name") not in pulled:
            what = f'imagePullSecrets[{index}].name="{each.get("name")}"'
            return _text(what, name, "imagePullSecret")
    return ""


def _of_containers(spec: Object, which: tuple[str, str], account: Object, listed: Set[str]) -> str:
    key, word = which
    for container in spec.get(key) or ():
        for how, secret in _secrets_of(container):
            if secret not in listed:
                return _text(
                    f"{word} {container.get('name')} with {how} {_quoted(secret)}", objects.name(account)
                )
    return ""


def _secrets_of(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(how, name) of each Secret in the environment."""
    for each in container.get("env") or ():
        reference = (each.get("valueFrom") or {}).get("secretKeyRef")
        if reference:
            yield f"envVar {each.get('name')} referencing", str(reference.get("name"))
    for each in container.get("envFrom") or ():
        if each.get("secretRef"):
            yield "envFrom referencing", str(each["secretRef"].get("name"))


def _quoted(secret: str) -> str:
    return f'secret.secretName="{secret}"'


def _text(what: str, account: str, kind: str = "secret") -> str:
    return f"{what} is not allowed because service account {account} does not reference that {kind}"


def _check_mirror(attributes: Attributes, pod: Object) -> None:
    if pod["spec"].get("serviceAccountName"):
        raise _refused(attributes, "a mirror pod may not reference service accounts")
    if any(resource == "secrets" for resource, _, _ in references(pod)):
        raise _refused(attributes, "a mirror pod may not reference secrets")
    for volume in pod["spec"].get("volumes") or ():
        if any(
            "serviceAccountToken" in each for each in (volume.get("projected") or {}).get("sources") or ()
        ):
            raise _refused(attributes, "a mirror pod may not use ServiceAccountToken volume projections")


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


def _handles(attributes: Attributes) -> bool:
    if attributes.target != ("", "pods"):
        return False
    created = attributes.operation == CREATE and not attributes.subresource
    return created or (attributes.operation == UPDATE and attributes.subresource == "ephemeralcontainers")


PLUGIN = Plugin("ServiceAccount", _handles, admit=_admit, validate=_validate)
