"""The Pod Security Standards: what the levels baseline and restricted forbid, check by check.

Source: the Kubernetes documentation, "Pod Security Standards"; texts as upstream's ``k8s.io/pod-security-admission``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Pod = Mapping[str, Any]
"""An object with ``metadata`` and ``spec`` like a pod's."""

LEVELS = ("privileged", "baseline", "restricted")
_CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
))  # fmt: skip
_VOLUMES = frozenset((
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image",
))  # fmt: skip
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Violation:
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def evaluate(level: str, pod: Pod) -> list[Violation]:
    """What a pod does that its level forbids; nothing for ``privileged``."""
    if level not in ("baseline", "restricted"):
        return []
    checks = _BASELINE + (_RESTRICTED if level == "restricted" else ())
    return [violation for check in checks if (violation := check(pod)) is not None]


Check = Callable[[Pod], Violation | None]


def _spec(pod: Pod) -> Mapping[str, Any]:
    return pod.get("spec") or {}


def _containers(pod: Pod) -> Iterator[Mapping[str, Any]]:
    spec = _spec(pod)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _security(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = of.get("securityContext") or {}
    return found


def _named(kind: str, names: Sequence[str]) -> str:
    """``container "a"`` or ``containers "a", "b"``."""
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{kind}{'s' if len(names) > 1 else ''} {listed}"


def _where(pod: Pod, bad: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    return [str(container.get("name")) for container in _containers(pod) if bad(_security(container))]


def _windows(pod: Pod) -> bool:
    return (_spec(pod).get("os") or {}).get("name") == "windows"


# -- baseline --


def _host_namespaces(pod: Pod) -> Violation | None:
    found = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if _spec(pod).get(key)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _privileged(pod: Pod) -> Violation | None:
    names = _where(pod, lambda s: bool(s.get("privileged")))
    if not names:
        return None
    return Violation(
        "privileged", f"{_named('container', names)} must not set securityContext.privileged=true"
    )


def _added_capabilities(pod: Pod) -> Violation | None:
    def extra(security: Mapping[str, Any]) -> list[str]:
        return [c for c in (security.get("capabilities") or {}).get("add") or () if c not in _CAPABILITIES]

    names = _where(pod, lambda s: bool(extra(s)))
    if not names:
        return None
    caps = sorted({c for container in _containers(pod) for c in extra(_security(container))})
    listed = ", ".join(f'"{c}"' for c in caps)
    return Violation(
        "non-default capabilities",
        f"{_named('container', names)} must not include {listed} in securityContext.capabilities.add",
    )


def _host_path(pod: Pod) -> Violation | None:
    names = [str(v.get("name")) for v in _spec(pod).get("volumes") or () if v.get("hostPath") is not None]
    return Violation("hostPath volumes", _named("volume", names)) if names else None


def _host_ports(pod: Pod) -> Violation | None:
    names, ports = [], []
    for container in _containers(pod):
        mine = [str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")]
        if mine:
            names.append(str(container.get("name")))
            ports += mine
    if not names:
        return None
    word = "hostPorts" if len(ports) > 1 else "hostPort"
    verb = "use" if len(names) > 1 else "uses"
    return Violation("hostPort", f"{_named('container', names)} {verb} {word} {', '.join(ports)}")


def _probe_hosts(pod: Pod) -> Violation | None:
    names = []
    for container in _containers(pod):
        handlers = [container.get(key) or {} for key in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [h or {} for h in (container.get("lifecycle") or {}).values() if isinstance(h, dict)]
        if any((h.get(kind) or {}).get("host") for h in handlers for kind in ("httpGet", "tcpSocket")):
            names.append(str(container.get("name")))
    return (
        Violation("probe or lifecycle host", f"{_named('container', names)} must not set a host")
        if names
        else None
    )


def _app_armor(pod: Pod) -> Violation | None:
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    bad = [
        f'{key}="{value}"'
        for key, value in sorted(annotations.items())
        if key.startswith(_APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    ]
    for of in (_spec(pod), *_containers(pod)):
        if (_security(of).get("appArmorProfile") or {}).get("type") == "Unconfined":
            bad.append("appArmorProfile.type=Unconfined")
    return Violation("forbidden AppArmor profile", ", ".join(dict.fromkeys(bad))) if bad else None


def _selinux(pod: Pod) -> Violation | None:
    for of in (_spec(pod), *_containers(pod)):
        options = _security(of).get("seLinuxOptions") or {}
        if options.get("type", "") not in _SELINUX_TYPES or options.get("user") or options.get("role"):
            return Violation("seLinuxOptions", "set forbidden securityContext.seLinuxOptions")
    return None


def _proc_mount(pod: Pod) -> Violation | None:
    names = _where(pod, lambda s: s.get("procMount") not in (None, "", "Default"))
    if not names:
        return None
    return Violation("procMount", f"{_named('container', names)} must not set securityContext.procMount")


def _seccomp_baseline(pod: Pod) -> Violation | None:
    if (_security(_spec(pod)).get("seccompProfile") or {}).get("type") == "Unconfined":
        return Violation(
            "seccompProfile", 'pod must not set securityContext.seccompProfile.type to "Unconfined"'
        )
    names = _where(pod, lambda s: (s.get("seccompProfile") or {}).get("type") == "Unconfined")
    if not names:
        return None
    return Violation(
        "seccompProfile",
        f'{_named("container", names)} must not set securityContext.seccompProfile.type to "Unconfined"',
    )


def _sysctls(pod: Pod) -> Violation | None:
    bad = [
        str(s.get("name"))
        for s in _security(_spec(pod)).get("sysctls") or ()
        if s.get("name") not in _SYSCTLS
    ]
    return Violation("forbidden sysctls", ", ".join(bad)) if bad else None


def _host_process(pod: Pod) -> Violation | None:
    for of in (_spec(pod), *_containers(pod)):
        if (_security(of).get("windowsOptions") or {}).get("hostProcess"):
            return Violation("hostProcess", "must not set securityContext.windowsOptions.hostProcess=true")
    return None


# -- restricted --


def _volume_types(pod: Pod) -> Violation | None:
    bad: dict[str, list[str]] = {}
    for volume in _spec(pod).get("volumes") or ():
        kinds = [key for key in volume if key != "name"]
        for kind in kinds:
            if kind not in _VOLUMES:
                bad.setdefault(kind, []).append(str(volume.get("name")))
    if not bad:
        return None
    names = [name for listed in bad.values() for name in listed]
    kinds_listed = ", ".join(f'"{kind}"' for kind in sorted(bad))
    word = "types" if len(bad) > 1 else "type"
    verb = "use" if len(names) > 1 else "uses"
    return Violation(
        "restricted volume types", f"{_named('volume', names)} {verb} restricted volume {word} {kinds_listed}"
    )


def _escalation(pod: Pod) -> Violation | None:
    if _windows(pod):
        return None
    names = _where(pod, lambda s: s.get("allowPrivilegeEscalation") is not False)
    if not names:
        return None
    return Violation(
        "allowPrivilegeEscalation != false",
        f"{_named('container', names)} must set securityContext.allowPrivilegeEscalation=false",
    )


def _dropped_capabilities(pod: Pod) -> Violation | None:
    if _windows(pod):
        return None

    def caps(security: Mapping[str, Any], key: str) -> Sequence[str]:
        return (security.get("capabilities") or {}).get(key) or ()

    undropped = _where(pod, lambda s: "ALL" not in caps(s, "drop"))
    adding = _where(pod, lambda s: any(c != "NET_BIND_SERVICE" for c in caps(s, "add")))
    told = []
    if undropped:
        told.append(f'{_named("container", undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        added = sorted(
            {c for each in _containers(pod) for c in caps(_security(each), "add") if c != "NET_BIND_SERVICE"}
        )
        listed = ", ".join(f'"{c}"' for c in added)
        told.append(
            f"{_named('container', adding)} must not include {listed} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(told)) if told else None


def _non_root(pod: Pod) -> Violation | None:
    whole = _security(_spec(pod)).get("runAsNonRoot")
    bad = _where(pod, lambda s: s.get("runAsNonRoot") is False)
    if whole is False:
        return Violation("runAsNonRoot != true", "pod must not set securityContext.runAsNonRoot=false")
    if bad:
        return Violation(
            "runAsNonRoot != true",
            f"{_named('container', bad)} must not set securityContext.runAsNonRoot=false",
        )
    unset = [] if whole else _where(pod, lambda s: s.get("runAsNonRoot") is not True)
    if not unset:
        return None
    return Violation(
        "runAsNonRoot != true",
        f"pod or {_named('container', unset)} must set securityContext.runAsNonRoot=true",
    )


def _non_root_user(pod: Pod) -> Violation | None:
    told = []
    if _security(_spec(pod)).get("runAsUser") == 0:
        told.append("pod must not set runAsUser=0")
    names = _where(pod, lambda s: s.get("runAsUser") == 0)
    if names:
        told.append(f"{_named('container', names)} must not set runAsUser=0")
    return Violation("runAsUser=0", "; ".join(told)) if told else None


def _seccomp_restricted(pod: Pod) -> Violation | None:
    if _windows(pod):
        return None
    allowed = ("RuntimeDefault", "Localhost")
    whole = (_security(_spec(pod)).get("seccompProfile") or {}).get("type")

    def unset(security: Mapping[str, Any]) -> bool:
        mine = (security.get("seccompProfile") or {}).get("type")
        return (mine or whole) not in allowed

    names = _where(pod, unset)
    if not names:
        return None
    return Violation(
        "seccompProfile",
        f"pod or {_named('container', names)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"',
    )


_BASELINE: tuple[Check, ...] = (
    _host_namespaces, _privileged, _added_capabilities, _host_path, _host_ports, _probe_hosts, _app_armor, _selinux,
    _proc_mount, _seccomp_baseline, _sysctls, _host_process,
)  # fmt: skip
_RESTRICTED: tuple[Check, ...] = (
    _escalation, _dropped_capabilities, _volume_types, _non_root, _non_root_user, _seccomp_restricted,
)  # fmt: skip
