"""Reading a pod: its containers by kind, restart rules, names of directories, quality of service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sublet.machinery import codec, objects
from sublet.machinery.kind import Object

Container = dict[str, Any]


def spec(pod: Object) -> dict[str, Any]:
    return pod.get("spec") or {}


def containers(pod: Object) -> list[Container]:
    return spec(pod).get("containers") or []


def init_containers(pod: Object) -> list[Container]:
    return spec(pod).get("initContainers") or []


def ephemeral_containers(pod: Object) -> list[Container]:
    return spec(pod).get("ephemeralContainers") or []


def all_containers(pod: Object) -> Iterator[Container]:
    yield from init_containers(pod)
    yield from containers(pod)
    yield from ephemeral_containers(pod)


def find_container(pod: Object, name: str) -> Container | None:
    return next((c for c in all_containers(pod) if c["name"] == name), None)


def field_path(pod: Object, name: str) -> str:
    """Where a container stands in its pod, as events tell it: ``spec.initContainers{NAME}``; empty for none."""
    for part in ("containers", "initContainers", "ephemeralContainers"):
        if any(each["name"] == name for each in spec(pod).get(part) or ()):
            return f"spec.{part}{{{name}}}"
    return ""


def is_sidecar(container: Container) -> bool:
    """Whether an init container is restartable: started, then kept running beside the others."""
    return container.get("restartPolicy") == "Always"


def restart_policy(pod: Object) -> str:
    return spec(pod).get("restartPolicy") or "Always"


def grace_period(pod: Object) -> int:
    """Seconds between SIGTERM and SIGKILL: the deletion's, else the pod's own."""
    metadata = pod.get("metadata") or {}
    if metadata.get("deletionGracePeriodSeconds") is not None:
        return int(metadata["deletionGracePeriodSeconds"])
    own = spec(pod).get("terminationGracePeriodSeconds")
    return 30 if own is None else int(own)


def is_terminal(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def log_directory(logs: Path, pod: Object) -> Path:
    """``NAMESPACE_NAME_UID``, as log collectors expect it below ``/var/log/pods``."""
    return logs / f"{objects.namespace(pod)}_{objects.name(pod)}_{objects.uid(pod)}"


def container_hash(container: Container) -> str:
    """Changes when the container must be made anew: its image (all else of a running pod is immutable,
    resources are changed in place)."""
    identity = {"name": container["name"], "image": container.get("image", "")}
    return hashlib.sha256(codec.encode_json(identity)).hexdigest()[:16]


def hostname(pod: Object) -> str:
    """The pod's host name; cut to 63 characters when made from the pod's name."""
    return spec(pod).get("hostname") or objects.name(pod)[:63].rstrip("-.")


def host_domain(pod: Object, cluster_domain: str) -> str:
    """``subdomain.namespace.svc.domain``, or nothing."""
    subdomain = spec(pod).get("subdomain")
    return f"{subdomain}.{objects.namespace(pod)}.svc.{cluster_domain}" if subdomain else ""
