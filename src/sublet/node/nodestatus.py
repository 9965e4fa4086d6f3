"""What a node says of itself: capacity, addresses, versions, conditions. Read from the machine each time."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node.settings import NodeSettings

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_MEMORY_LOW = 100 << 20
_DISK_LOW = 0.05
"""Free share of the disk below which the node says so."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What CRI said last; ``error`` where it did not answer."""

    version: str = ""
    conditions: tuple[m.RuntimeCondition, ...] = ()
    error: str = ""


def architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def memory() -> tuple[int, int]:
    """(total, available) bytes."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return found["MemTotal"], found.get("MemAvailable", found["MemFree"])


def capacity(settings: NodeSettings) -> dict[str, str]:
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory()[0] // 1024}Ki",
        "ephemeral-storage": f"{shutil.disk_usage(_existing(settings.data_dir)).total // 1024}Ki",
        "pods": str(settings.max_pods),
    }


def allocatable(settings: NodeSettings) -> dict[str, str]:
    """Capacity without what is kept for the system; the eviction threshold of 10 % of the disk counts as that."""
    found = capacity(settings)
    cpu = (os.cpu_count() or 1) * 1000 - settings.reserved_cpu_milli
    left = memory()[0] - settings.reserved_memory
    disk = shutil.disk_usage(_existing(settings.data_dir)).total
    return found | {
        "cpu": f"{max(cpu, 100)}m",
        "memory": f"{max(left, 64 << 20) // 1024}Ki",
        "ephemeral-storage": str(disk * 9 // 10),
    }


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def node_object(settings: NodeSettings) -> Object:
    """The Node to register."""
    arch = architecture()
    labels = {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": settings.node_name,
        **settings.labels,
    }
    spec: dict[str, Any] = {"taints": [dict(t) for t in settings.taints]} if settings.taints else {}
    metadata = {
        "name": settings.node_name,
        "labels": labels,
        "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def node_status(
    settings: NodeSettings, runtime: Runtime, images: list[m.Image], port: int, old: Object, now: float
) -> dict[str, Any]:
    """The whole status; ``old`` is the present Node, whose transition times are kept."""
    return {
        "capacity": capacity(settings),
        "allocatable": allocatable(settings),
        "addresses": [
            {"type": "InternalIP", "address": settings.node_ip},
            {"type": "Hostname", "address": settings.node_name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": _info(settings, runtime),
        "images": [
            {"names": [*image.repo_digests, *image.repo_tags][:5], "sizeBytes": image.size}
            for image in sorted(images, key=lambda i: -i.size)[:50]
            if image.repo_digests or image.repo_tags
        ],
        "conditions": _conditions(settings, runtime, old, now),
        "declaredFeatures": ["GuaranteedQoSPodCPUResize"],
    }


def _info(settings: NodeSettings, runtime: Runtime) -> dict[str, str]:
    return {
        "machineID": _read("/etc/machine-id"),
        "systemUUID": _read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        "bootID": _read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": runtime.version or "unknown",
        "kubeletVersion": settings.version,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _conditions(settings: NodeSettings, runtime: Runtime, old: Object, now: float) -> list[dict[str, Any]]:
    disk = shutil.disk_usage(_existing(settings.data_dir))
    low_disk = disk.free < disk.total * _DISK_LOW
    low_memory = memory()[1] < _MEMORY_LOW
    wrong = not_ready(runtime)
    made = (
        ("MemoryPressure", low_memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory",
         "kubelet has insufficient memory available", "kubelet has sufficient memory available"),
        ("DiskPressure", low_disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure",
         "kubelet has disk pressure", "kubelet has no disk pressure"),
        ("PIDPressure", False, "KubeletHasInsufficientPID", "KubeletHasSufficientPID",
         "kubelet has insufficient PID available", "kubelet has sufficient PID available"),
        ("Ready", not wrong, "KubeletReady", "KubeletNotReady", "kubelet is posting ready status", wrong),
    )  # fmt: skip
    before = {c["type"]: c for c in (old.get("status") or {}).get("conditions") or []}
    stamp = objects.rfc3339(now)
    found = []
    for kind, holds, reason, other_reason, message, other_message in made:
        status = "True" if holds else "False"
        known = before.get(kind) or {}
        since = known.get("lastTransitionTime") if known.get("status") == status else None
        found.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": since or stamp,
                "reason": reason if holds else other_reason,
                "message": message if holds else other_message,
            }
        )
    return found


def not_ready(runtime: Runtime) -> str:
    """Why pods cannot run here; empty when they can."""
    if runtime.error:
        return f"container runtime is down: {runtime.error}"
    texts = []
    for condition in runtime.conditions:
        if not condition.status:
            what = "network" if condition.type == "NetworkReady" else "status"
            texts.append(
                f"container runtime {what} not ready: {condition.type}=false "
                f"reason:{condition.reason} message:{condition.message}"
            )
    return ", ".join(texts)
