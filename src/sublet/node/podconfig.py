"""A pod object to what CRI is asked for: the sandbox and each container. Pure; names and labels are kubelet's.

Labels and annotations carry all that an agent needs to know its containers again after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.node import crimessages as m
from sublet.node import poddata, resources
from sublet.node.environment import ConfigError, expand
from sublet.node.poddata import Container
from sublet.node.settings import NodeSettings

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
PRE_STOP = "io.kubernetes.container.preStopHandler"

_MASKED = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
           "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
           "/sys/devices/virtual/powercap"]  # fmt: skip
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_PROTOCOLS = {"TCP": m.TCP, "UDP": m.UDP, "SCTP": m.SCTP}


def sandbox_config(pod: Object, settings: NodeSettings, attempt: int) -> m.PodSandboxConfig:
    spec, uid = poddata.spec(pod), objects.uid(pod)
    context = spec.get("securityContext") or {}
    identity = {POD_NAME: objects.name(pod), POD_NAMESPACE: objects.namespace(pod), POD_UID: uid}
    security = m.LinuxSandboxSecurityContext(
        namespace_options=namespaces(pod),
        privileged=any(
            (c.get("securityContext") or {}).get("privileged") for c in poddata.all_containers(pod)
        ),
        supplemental_groups=supplemental_groups(pod),
        seccomp=m.SecurityProfile(m.PROFILE_RUNTIME_DEFAULT),
    )
    if (user := context.get("runAsUser")) is not None:
        security.run_as_user = m.Int64Value(int(user))
        if (group := context.get("runAsGroup")) is not None:
            security.run_as_group = m.Int64Value(int(group))
    return m.PodSandboxConfig(
        metadata=m.PodSandboxMetadata(objects.name(pod), uid, objects.namespace(pod), attempt),
        hostname="" if spec.get("hostNetwork") else _sandbox_hostname(pod, settings),
        log_directory=str(poddata.log_directory(settings.logs_dir, pod)),
        dns_config=dns_config(pod, settings),
        port_mappings=port_mappings(pod),
        labels={**objects.labels(pod), **identity},
        annotations={**objects.annotations(pod), "kubernetes.io/config.source": "api"},
        linux=m.LinuxPodSandboxConfig(
            cgroup_parent=resources.cgroup_parent(settings.cgroup_root, pod, uid),
            security_context=security,
            sysctls={s["name"]: s["value"] for s in context.get("sysctls") or []},
        ),
    )


def _sandbox_hostname(pod: Object, settings: NodeSettings) -> str:
    name, domain = poddata.hostname(pod), poddata.host_domain(pod, settings.cluster_domain)
    if poddata.spec(pod).get("setHostnameAsFQDN") and domain:
        return f"{name}.{domain}"
    return name


def namespaces(pod: Object, target: str = "") -> m.NamespaceOption:
    """``target``: the id of the container whose process namespace an ephemeral container joins."""
    spec = poddata.spec(pod)
    if target:
        pid = m.NAMESPACE_TARGET
    elif spec.get("hostPID"):
        pid = m.NAMESPACE_NODE
    else:
        pid = m.NAMESPACE_POD if spec.get("shareProcessNamespace") else m.NAMESPACE_CONTAINER
    return m.NamespaceOption(
        network=m.NAMESPACE_NODE if spec.get("hostNetwork") else m.NAMESPACE_POD,
        pid=pid,
        ipc=m.NAMESPACE_NODE if spec.get("hostIPC") else m.NAMESPACE_POD,
        target_id=target,
    )


def supplemental_groups(pod: Object) -> list[int]:
    context = poddata.spec(pod).get("securityContext") or {}
    groups = [int(g) for g in context.get("supplementalGroups") or []]
    if (fs_group := context.get("fsGroup")) is not None:
        groups.append(int(fs_group))
    return groups


def port_mappings(pod: Object) -> list[m.PortMapping]:
    """Host ports; with hostNetwork nothing needs mapping."""
    if poddata.spec(pod).get("hostNetwork"):
        return []
    return [
        m.PortMapping(
            _PROTOCOLS[port.get("protocol") or "TCP"],
            port["containerPort"],
            port["hostPort"],
            port.get("hostIP") or "",
        )
        for container in poddata.containers(pod) + poddata.init_containers(pod)
        for port in container.get("ports") or []
        if port.get("hostPort")
    ]


def dns_config(pod: Object, settings: NodeSettings) -> m.DNSConfig:
    """By dnsPolicy, with the pod's dnsConfig on top. Source: kubernetes.io, "DNS for Services and Pods"."""
    spec = poddata.spec(pod)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    node = read_resolv_conf(settings.resolv_conf)
    by_cluster = policy == "ClusterFirstWithHostNet" or (
        policy == "ClusterFirst" and not spec.get("hostNetwork")
    )
    if policy == "None":
        config = m.DNSConfig()
    elif by_cluster and settings.cluster_dns:
        domain = settings.cluster_domain
        searches = [f"{objects.namespace(pod)}.svc.{domain}", f"svc.{domain}", domain]
        config = m.DNSConfig(list(settings.cluster_dns), [*searches, *node.searches], ["ndots:5"])
    else:
        config = node
    own = spec.get("dnsConfig") or {}
    config.servers = list(dict.fromkeys([*config.servers, *(own.get("nameservers") or [])]))[:3]
    config.searches = list(dict.fromkeys([*config.searches, *(own.get("searches") or [])]))[:32]
    options = {text.partition(":")[0]: text for text in config.options}
    for option in own.get("options") or []:
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value is not None else option["name"]
    config.options = list(options.values())
    return config


def read_resolv_conf(path: Path) -> m.DNSConfig:
    config = m.DNSConfig()
    try:
        text = path.read_text()
    except OSError:
        return config
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            config.servers.append(words[1])
        elif words[0] == "search":
            config.searches = words[1:]
        elif words[0] == "options":
            config.options = words[1:]
    return config


def container_config(
    pod: Object,
    container: Container,
    *,
    image: str,
    attempt: int,
    environment: Mapping[str, str],
    mounts: Sequence[m.Mount],
    limits: m.LinuxContainerResources,
    image_user: tuple[int | None, str],
    target: str = "",
) -> m.ContainerConfig:
    """``image`` is the local image's id; ``image_user`` what the image runs as (uid or None, name);
    ``target`` the id of the container whose processes it shall see.

    Raises :class:`ConfigError` when the pod forbids to run as that user.
    """
    command = [expand(word, environment) for word in container.get("command") or []]
    args = [expand(word, environment) for word in container.get("args") or []]
    return m.ContainerConfig(
        metadata=m.ContainerMetadata(container["name"], attempt),
        image=m.ImageSpec(image),
        command=command,
        args=args,
        working_dir=container.get("workingDir") or "",
        envs=[m.KeyValue(key, value) for key, value in environment.items()],
        mounts=list(mounts),
        devices=[],
        labels={
            CONTAINER_NAME: container["name"], POD_NAME: objects.name(pod),
            POD_NAMESPACE: objects.namespace(pod), POD_UID: objects.uid(pod),
        },
        annotations=_annotations(pod, container, attempt),
        log_path=f"{container['name']}/{attempt}.log",
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        linux=m.LinuxContainerConfig(limits, security_context(pod, container, image_user, target)),
    )  # fmt: skip


def _annotations(pod: Object, container: Container, attempt: int) -> dict[str, str]:
    found = {
        HASH: poddata.container_hash(container),
        RESTART_COUNT: str(attempt),
        MESSAGE_PATH: container.get("terminationMessagePath") or "/dev/termination-log",
        MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
        GRACE_PERIOD: str(poddata.grace_period(pod)),
    }
    if pre_stop := (container.get("lifecycle") or {}).get("preStop"):
        found[PRE_STOP] = json.dumps(pre_stop)
    return found


def effective_context(pod: Object, container: Container) -> dict[str, Any]:
    """The container's security context over the pod's, for the fields both have."""
    shared = (
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "seccompProfile",
        "seLinuxOptions",
        "appArmorProfile",
    )
    own = container.get("securityContext") or {}
    of_pod = poddata.spec(pod).get("securityContext") or {}
    return {key: of_pod[key] for key in shared if of_pod.get(key) is not None} | {
        key: value for key, value in own.items() if value is not None
    }


def security_context(
    pod: Object, container: Container, image_user: tuple[int | None, str], target: str = ""
) -> m.LinuxContainerSecurityContext:
    context = effective_context(pod, container)
    _check_non_root(context, container, image_user)
    privileged = bool(context.get("privileged"))
    unmasked = privileged or context.get("procMount") == "Unmasked"
    added = context.get("capabilities") or {}
    security = m.LinuxContainerSecurityContext(
        capabilities=m.Capability(list(added.get("add") or []), list(added.get("drop") or [])),
        privileged=privileged,
        namespace_options=namespaces(pod, target),
        readonly_rootfs=bool(context.get("readOnlyRootFilesystem")),
        supplemental_groups=supplemental_groups(pod),
        no_new_privs=context.get("allowPrivilegeEscalation") is False,
        masked_paths=[] if unmasked else _MASKED,
        readonly_paths=[] if unmasked else _READONLY,
        seccomp=seccomp_profile(context, privileged),
    )
    user, name = image_user
    if (wanted := context.get("runAsUser")) is not None:
        security.run_as_user = m.Int64Value(int(wanted))
    elif user is not None:
        security.run_as_user = m.Int64Value(user)
    else:
        security.run_as_username = name
    if (group := context.get("runAsGroup")) is not None:
        security.run_as_group = m.Int64Value(int(group))
    return security


def seccomp_profile(context: Mapping[str, Any], privileged: bool) -> m.SecurityProfile:
    profile = context.get("seccompProfile") or {}
    kind = profile.get("type") or "Unconfined"
    if privileged or kind == "Unconfined":
        return m.SecurityProfile(m.PROFILE_UNCONFINED)
    if kind == "Localhost":
        return m.SecurityProfile(m.PROFILE_LOCALHOST, profile.get("localhostProfile") or "")
    return m.SecurityProfile(m.PROFILE_RUNTIME_DEFAULT)


def _check_non_root(
    context: Mapping[str, Any], container: Container, image_user: tuple[int | None, str]
) -> None:
    if not context.get("runAsNonRoot"):
        return
    if context.get("runAsUser") is not None:
        if int(context["runAsUser"]) == 0:
            raise ConfigError("container's runAsUser breaks non-root policy")
        return
    user, name = image_user
    if user == 0 or (user is None and not name):
        raise ConfigError("container has runAsNonRoot and image will run as root")
    if user is None:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )
