"""Which ConfigMaps, Secrets and claims a pod uses: keys ``NAMESPACE/NAME`` in the tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object

SECRET_VOLUMES = {
    "secret": ("secretName",),
    "csi": ("nodePublishSecretRef", "name"),
    "iscsi": ("secretRef", "name"),
    "rbd": ("secretRef", "name"),
    "flexVolume": ("secretRef", "name"),
    "cinder": ("secretRef", "name"),
    "cephfs": ("secretRef", "name"),
    "azureFile": ("secretName",),
    "scaleIO": ("secretRef", "name"),
    "storageos": ("secretRef", "name"),
}
"""Volume type -> where it names a Secret of the pod's namespace."""


def all_containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _environment(spec: Object, field: str, source: str) -> Iterator[str]:
    for container in all_containers(spec):
        for each in container.get("envFrom") or ():
            yield (each.get(source) or {}).get("name") or ""
        for each in container.get("env") or ():
            yield ((each.get("valueFrom") or {}).get(field) or {}).get("name") or ""


def _projected(volume: Object, kind: str) -> Iterator[str]:
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield (source.get(kind) or {}).get("name") or ""


def _config_maps(spec: Object) -> Iterator[str]:
    yield from _environment(spec, "configMapKeyRef", "configMapRef")
    for volume in spec.get("volumes") or ():
        yield (volume.get("configMap") or {}).get("name") or ""
        yield from _projected(volume, "configMap")


def secret_of(volume: Object) -> str:
    """The Secret that a volume names; empty if none."""
    for kind, path in SECRET_VOLUMES.items():
        value: Any = volume.get(kind)
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value:
            return str(value)
    return ""


def _secrets(spec: Object) -> Iterator[str]:
    yield from _environment(spec, "secretKeyRef", "secretRef")
    for each in spec.get("imagePullSecrets") or ():
        yield each.get("name") or ""
    for volume in spec.get("volumes") or ():
        yield secret_of(volume)
        yield from _projected(volume, "secret")


def _keys(pod: Object, names: Callable[[Object], Iterable[str]]) -> set[str]:
    namespace = objects.namespace(pod)
    return {f"{namespace}/{name}" for name in names(pod.get("spec") or {}) if name}


def config_maps(pod: Object) -> set[str]:
    return _keys(pod, _config_maps)


def secrets(pod: Object) -> set[str]:
    return _keys(pod, _secrets)
