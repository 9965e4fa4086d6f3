"""The checks of the Pod Security Standards, each with the Kubernetes minors from which it holds.

Source: the Kubernetes documentation, "Pod Security Standards"; ids and texts as ``k8s.io/pod-security-admission``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

Pod = Mapping[str, Any]
"""An object with ``metadata`` and ``spec`` like a pod's."""


class Violation(Struct, frozen=True):
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Run = Callable[[Pod], Violation | None]


class Check(Struct, frozen=True):
    id: str
    """By which checks are ordered."""
    since: tuple[tuple[int, Run], ...]
    """(minor, rule): the rule holds from that minor of policy version 1 on, until the next."""
    overrides: tuple[str, ...] = ()
    """Baseline checks that this one makes needless."""

    def at(self, minor: int) -> Run | None:
        """The rule at a policy version, None where there is none yet."""
        found = None
        for first, run in self.since:
            if first <= minor:
                found = run
        return found


_CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_SELINUX_TYPES_31 = _SELINUX_TYPES | {"container_engine_t"}
_SYSCTLS = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
))  # fmt: skip
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
_SYSCTLS_37 = _SYSCTLS_32 | {"net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}
_VOLUMES = frozenset((
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
))  # fmt: skip
_PROFILES = ("RuntimeDefault", "Localhost")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")


# -- reading pods --


def _spec(pod: Pod) -> Mapping[str, Any]:
    return pod.get("spec") or {}


def _annotations(pod: Pod) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _containers(pod: Pod) -> Iterator[Mapping[str, Any]]:
    spec = _spec(pod)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _name(container: Mapping[str, Any]) -> str:
    return str(container.get("name") or "")


def _security(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = of.get("securityContext") or {}
    return found


def _where(pod: Pod, bad: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    """The containers whose securityContext is bad."""
    return [_name(container) for container in _containers(pod) if bad(_security(container))]


def _windows(pod: Pod) -> bool:
    return (_spec(pod).get("os") or {}).get("name") == "windows"


def _own_users(pod: Pod) -> bool:
    """Whether the pod runs in a user namespace of its own."""
    return _spec(pod).get("hostUsers") is False


# -- writing texts --


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _many(word: str, items: Sequence[object] | set[str]) -> str:
    return word if len(items) == 1 else f"{word}s"


def _named(word: str, names: Sequence[str]) -> str:
    """``container "a"`` or ``containers "a", "b"``."""
    return f"{_many(word, names)} {_quoted(names)}"


def _setters(pod: Pod, bad: Callable[[Mapping[str, Any]], bool]) -> str:
    """Who sets something bad: ``pod and container "a"``; empty where nobody does."""
    found = ["pod"] if bad(_security(_spec(pod))) else []
    if names := _where(pod, bad):
        found.append(_named("container", names))
    return " and ".join(found)


def _values(pod: Pod, read: Callable[[Mapping[str, Any]], Iterable[str]]) -> list[str]:
    """What the pod and its containers say, each once, in order."""
    return sorted({value for of in (_spec(pod), *_containers(pod)) for value in read(_security(of))})


# -- baseline --


def _app_armor(pod: Pod) -> Violation | None:
    def bad(security: Mapping[str, Any]) -> list[str]:
        profile = security.get("appArmorProfile")
        kind = str((profile or {}).get("type") or "")
        return [kind] if profile is not None and kind not in _PROFILES else []

    annotated = sorted(
        f'{key}="{value}"'
        for key, value in _annotations(pod).items()
        if key.startswith(_APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    who = [text for text in (_setters(pod, lambda s: bool(bad(s))),) if text]
    if annotated:
        who.append(_many("annotation", annotated))
    if not who:
        return None
    listed = [*_values(pod, bad), *annotated]
    return Violation(
        _many("forbidden AppArmor profile", listed),
        f"{' and '.join(who)} must not set AppArmor profile type to {_quoted(listed)}",
    )


def _extra_capabilities(security: Mapping[str, Any], allowed: Iterable[str]) -> list[str]:
    return [c for c in (security.get("capabilities") or {}).get("add") or () if c not in allowed]


def _added_capabilities(pod: Pod, allowed: Iterable[str] = _CAPABILITIES) -> str:
    names = _where(pod, lambda s: bool(_extra_capabilities(s, allowed)))
    if not names:
        return ""
    added = sorted({c for each in _containers(pod) for c in _extra_capabilities(_security(each), allowed)})
    return (
        f"{_named('container', names)} must not include {_quoted(added)} in securityContext.capabilities.add"
    )


def _capabilities(pod: Pod) -> Violation | None:
    detail = _added_capabilities(pod)
    return Violation("non-default capabilities", detail) if detail else None


def _host_namespaces(pod: Pod) -> Violation | None:
    found = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if _spec(pod).get(key)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_path(pod: Pod) -> Violation | None:
    names = [_name(v) for v in _spec(pod).get("volumes") or () if v.get("hostPath") is not None]
    return Violation("hostPath volumes", _named("volume", names)) if names else None


def _host_ports(pod: Pod) -> Violation | None:
    names: list[str] = []
    ports: set[str] = set()
    for container in _containers(pod):
        mine = {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        if mine:
            names.append(_name(container))
            ports |= mine
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    return Violation(
        "hostPort",
        f"{_named('container', names)} {verb} {_many('hostPort', ports)} {', '.join(sorted(ports))}",
    )


def _probe_hosts(pod: Pod) -> Violation | None:
    names: set[str] = set()
    hosts: set[str] = set()
    for container in _containers(pod):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(key) or {} for key in _PROBES]
        handlers += [lifecycle.get(key) or {} for key in _HOOKS]
        found = {
            str(host)
            for handler in handlers
            for kind in ("httpGet", "tcpSocket")
            if (host := (handler.get(kind) or {}).get("host"))
        }
        if found:
            names.add(_name(container))
            hosts |= found
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    return Violation(
        "probe or lifecycle host",
        f"{_named('container', sorted(names))} {verb} {_many('probe or lifecycle host', hosts)} "
        f"{_quoted(sorted(hosts))}",
    )


def _privileged(pod: Pod) -> Violation | None:
    names = _where(pod, lambda s: bool(s.get("privileged")))
    if not names:
        return None
    return Violation(
        "privileged", f"{_named('container', names)} must not set securityContext.privileged=true"
    )


def _proc_mount(pod: Pod) -> Violation | None:
    def bad(security: Mapping[str, Any]) -> list[str]:
        kind = security.get("procMount")
        return [str(kind)] if kind is not None and kind != "Default" else []

    names = _where(pod, lambda s: bool(bad(s)))
    if not names:
        return None
    kinds = _quoted(sorted({kind for each in _containers(pod) for kind in bad(_security(each))}))
    return Violation(
        "procMount", f"{_named('container', names)} must not set securityContext.procMount to {kinds}"
    )


def _proc_mount_35(pod: Pod) -> Violation | None:
    return None if _own_users(pod) else _proc_mount(pod)


def _selinux_of(allowed: frozenset[str]) -> Run:
    def options(security: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = security.get("seLinuxOptions") or {}
        return found

    def bad(security: Mapping[str, Any]) -> bool:
        stated = options(security)
        return (
            (stated.get("type") or "") not in allowed or bool(stated.get("user")) or bool(stated.get("role"))
        )

    def types(security: Mapping[str, Any]) -> list[str]:
        kind = str(options(security).get("type") or "")
        return [] if kind in allowed else [kind]

    def check(pod: Pod) -> Violation | None:
        who = _setters(pod, bad)
        if not who:
            return None
        kinds = _values(pod, types)
        told = [f"{_many('type', kinds)} {_quoted(kinds)}"] if kinds else []
        for key in ("user", "role"):
            if _values(pod, lambda s, key=key: [str(options(s).get(key))] if options(s).get(key) else []):  # type: ignore[misc]
                told.append(f"{key} may not be set")
        return Violation(
            "seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}"
        )

    return check


def _bad_seccomp(security: Mapping[str, Any]) -> list[str]:
    profile = security.get("seccompProfile")
    kind = str((profile or {}).get("type") or "")
    return [kind] if profile is not None and kind not in _PROFILES else []


def _seccomp_annotations(pod: Pod) -> Violation | None:
    keys = {_SECCOMP_POD, *(_SECCOMP_CONTAINER + _name(container) for container in _containers(pod))}
    bad = sorted(
        f'{key}="{value}"'
        for key, value in _annotations(pod).items()
        if key in keys
        and value not in ("runtime/default", "docker/default")
        and not value.startswith("localhost/")
    )
    if not bad:
        return None
    return Violation("seccompProfile", f"forbidden {_many('annotation', bad)} {', '.join(bad)}")


def _seccomp_baseline(pod: Pod) -> Violation | None:
    who = _setters(pod, lambda s: bool(_bad_seccomp(s)))
    if not who:
        return None
    kinds = _quoted(_values(pod, _bad_seccomp))
    return Violation("seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {kinds}")


def _sysctls_of(allowed: frozenset[str]) -> Run:
    def check(pod: Pod) -> Violation | None:
        stated = [str(s.get("name")) for s in _security(_spec(pod)).get("sysctls") or ()]
        bad = [name for name in stated if name not in allowed]
        return Violation("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _host_process(pod: Pod) -> Violation | None:
    who = _setters(pod, lambda s: bool((s.get("windowsOptions") or {}).get("hostProcess")))
    if not who:
        return None
    return Violation("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


# -- restricted --


def _not_on_windows(run: Run) -> Run:
    return lambda pod: None if _windows(pod) else run(pod)


def _not_with_own_users(run: Run) -> Run:
    return lambda pod: None if _own_users(pod) else run(pod)


def _escalation(pod: Pod) -> Violation | None:
    names = _where(pod, lambda s: s.get("allowPrivilegeEscalation") is not False)
    if not names:
        return None
    return Violation(
        "allowPrivilegeEscalation != false",
        f"{_named('container', names)} must set securityContext.allowPrivilegeEscalation=false",
    )


def _dropped_capabilities(pod: Pod) -> Violation | None:
    told = []
    undropped = _where(pod, lambda s: "ALL" not in ((s.get("capabilities") or {}).get("drop") or ()))
    if undropped:
        told.append(f'{_named("container", undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if added := _added_capabilities(pod, ("NET_BIND_SERVICE",)):
        told.append(added)
    return Violation("unrestricted capabilities", "; ".join(told)) if told else None


def _volume_types(pod: Pod) -> Violation | None:
    names: list[str] = []
    bad: set[str] = set()
    for volume in _spec(pod).get("volumes") or ():
        kinds = [key for key, source in volume.items() if key != "name" and source is not None]
        if any(kind in _VOLUMES for kind in kinds):
            continue
        names.append(_name(volume))
        bad.update(kinds or ["unknown"])
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    return Violation(
        "restricted volume types",
        f"{_named('volume', names)} {verb} {_many('restricted volume type', bad)} {_quoted(sorted(bad))}",
    )


def _non_root(pod: Pod) -> Violation | None:
    why = "runAsNonRoot != true"
    if who := _setters(pod, lambda s: s.get("runAsNonRoot") is False):
        return Violation(why, f"{who} must not set securityContext.runAsNonRoot=false")
    if _security(_spec(pod)).get("runAsNonRoot"):
        return None
    unset = _where(pod, lambda s: s.get("runAsNonRoot") is None)
    if not unset:
        return None
    return Violation(why, f"pod or {_named('container', unset)} must set securityContext.runAsNonRoot=true")


def _non_root_user(pod: Pod) -> Violation | None:
    who = _setters(pod, lambda s: s.get("runAsUser") == 0)
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def _seccomp_restricted(pod: Pod) -> Violation | None:
    if found := _seccomp_baseline(pod):
        return found
    if _security(_spec(pod)).get("seccompProfile") is not None:
        return None
    unset = _where(pod, lambda s: s.get("seccompProfile") is None)
    if not unset:
        return None
    return Violation(
        "seccompProfile",
        f"pod or {_named('container', unset)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"',
    )


BASELINE: tuple[Check, ...] = (
    Check("appArmorProfile", ((0, _app_armor),)),
    Check("capabilities_baseline", ((0, _capabilities),)),
    Check("hostNamespaces", ((0, _host_namespaces),)),
    Check("hostPathVolumes", ((0, _host_path),)),
    Check("hostPorts", ((0, _host_ports),)),
    Check("hostProbesAndHostLifecycle", ((34, _probe_hosts),)),
    Check("privileged", ((0, _privileged),)),
    Check("procMount", ((0, _proc_mount), (35, _proc_mount_35))),
    Check("seLinuxOptions", ((0, _selinux_of(_SELINUX_TYPES)), (31, _selinux_of(_SELINUX_TYPES_31)))),
    Check("seccompProfile_baseline", ((0, _seccomp_annotations), (19, _seccomp_baseline))),
    Check(
        "sysctls",
        (
            (0, _sysctls_of(_SYSCTLS)), (27, _sysctls_of(_SYSCTLS_27)), (29, _sysctls_of(_SYSCTLS_29)),
            (32, _sysctls_of(_SYSCTLS_32)), (37, _sysctls_of(_SYSCTLS_37)),
        ),
    ),
    Check("windowsHostProcess", ((0, _host_process),)),
)  # fmt: skip
"""In the order they are told."""
RESTRICTED: tuple[Check, ...] = (
    Check("allowPrivilegeEscalation", ((8, _escalation), (25, _not_on_windows(_escalation)))),
    Check(
        "capabilities_restricted",
        ((22, _dropped_capabilities), (25, _not_on_windows(_dropped_capabilities))),
        ("capabilities_baseline",),
    ),
    Check("procMount_restricted", ((35, _proc_mount),), ("procMount",)),
    Check("restrictedVolumes", ((0, _volume_types),), ("hostPathVolumes",)),
    Check("runAsNonRoot", ((0, _non_root), (35, _not_with_own_users(_non_root)))),
    Check("runAsUser", ((23, _non_root_user), (35, _not_with_own_users(_non_root_user)))),
    Check(
        "seccompProfile_restricted",
        ((19, _seccomp_restricted), (25, _not_on_windows(_seccomp_restricted))),
        ("seccompProfile_baseline",),
    ),
)
"""What the level restricted asks beyond baseline."""
