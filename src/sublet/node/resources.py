"""Container resources to Linux: CPU shares and quota, memory limit, OOM score. Source: kubelet's cm package."""

from __future__ import annotations

from sublet.machinery import quantity, usage
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import poddata
from sublet.node.poddata import Container

_PERIOD = 100_000
_MIN_SHARES, _MAX_SHARES = 2, 262_144
_MIN_QUOTA = 1_000


def cpu_shares(milli: int) -> int:
    return min(max(milli * 1024 // 1000, _MIN_SHARES), _MAX_SHARES)


def cpu_quota(milli: int) -> int:
    """Microseconds per period of 100 ms; 0 without a limit."""
    return max(milli * _PERIOD // 1000, _MIN_QUOTA) if milli else 0


def linux_resources(pod: Object, container: Container, node_memory: int) -> m.LinuxContainerResources:
    """``node_memory``: bytes of the machine, by which a burstable container's OOM score is weighed."""
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    limit = quantity.parse(limits.get("cpu", 0)).milli()
    request = quantity.parse(requests.get("cpu", limits.get("cpu", 0))).milli()
    quota = cpu_quota(limit)
    return m.LinuxContainerResources(
        cpu_period=_PERIOD if quota else 0,
        cpu_quota=quota,
        cpu_shares=cpu_shares(request),
        memory_limit_in_bytes=quantity.parse(limits.get("memory", 0)).value(),
        oom_score_adj=oom_score(pod, container, node_memory),
        hugepage_limits=[
            m.HugepageLimit(_page_size(name), quantity.parse(amount).value())
            for name, amount in limits.items() if name.startswith("hugepages-")
        ],
    )  # fmt: skip


def oom_score(pod: Object, container: Container, node_memory: int) -> int:
    """-997 for guaranteed and critical pods, 1000 for best effort, between by how much was asked for."""
    if usage.qos_class(pod) == "Guaranteed" or int(poddata.spec(pod).get("priority") or 0) >= 2_000_000_000:
        return -997
    if usage.qos_class(pod) == "BestEffort":
        return 1000
    requests = (container.get("resources") or {}).get("requests") or {}
    asked = quantity.parse(requests.get("memory", 0)).value()
    return min(max(1000 - 1000 * asked // max(node_memory, 1), 3), 999)


def cgroup_parent(root: str, pod: Object, uid: str) -> str:
    """``/sublet/burstable/pod<uid>``; guaranteed pods are directly below the root."""
    middle = {"Burstable": "/burstable", "BestEffort": "/besteffort"}.get(usage.qos_class(pod), "")
    return f"{root.rstrip('/')}{middle}/pod{uid}"


def _page_size(name: str) -> str:
    """``hugepages-2Mi`` → ``2MB``, as the kernel's cgroup files are named."""
    return name.removeprefix("hugepages-").replace("Ki", "KB").replace("Mi", "MB").replace("Gi", "GB")
