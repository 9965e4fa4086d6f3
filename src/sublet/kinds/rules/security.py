"""Rules of security contexts: ids, privileges, profiles, sysctls; what an operating system does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sublet.kinds.rules import gotypes
from sublet.kinds.rules.common import MAX_INT32, Errors, descending, named, within
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, not_supported, required, too_long

_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SEGMENT}[\./])*{_SEGMENT}"
_is_sysctl = re.compile(_SYSCTL).fullmatch
_SYSCTL_LIMIT, _PROFILE_LIMIT = 253, 4095
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_LISTS = ("initContainers", "containers", "ephemeralContainers")

_WINDOWS_POD = (
    ("securityContext.appArmorProfile", "set"), ("securityContext.seLinuxOptions", "set"), ("hostUsers", "set"),
    ("hostPID", "true"), ("hostIPC", "true"), ("securityContext.seccompProfile", "set"),
    ("securityContext.fsGroup", "set"), ("securityContext.fsGroupChangePolicy", "set"),
    ("securityContext.sysctls", "true"), ("shareProcessNamespace", "set"), ("securityContext.runAsUser", "set"),
    ("securityContext.runAsGroup", "set"), ("securityContext.supplementalGroups", "set"),
    ("securityContext.supplementalGroupsPolicy", "set"), ("securityContext.seLinuxChangePolicy", "set"),
)  # fmt: skip
_WINDOWS_CONTAINER = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}').fullmatch
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*").fullmatch
_BAD_USER_CHARACTERS = re.compile(r'["/\\:;|=,+*?<>@\[\]]').search
_DOTS_AND_SPACES = re.compile("[. ]+").fullmatch
_MAX_SPEC_KIB, _MAX_DOMAIN, _MAX_USER = 64, 256, 104


def container(path: str, context: Object | None, *, host_users: bool) -> Errors:
    """``securityContext`` of a container; ``host_users``: the pod has no user namespace of its own."""
    if not context:
        return
    yield from within(f"{path}.runAsUser", context.get("runAsUser"), 0, MAX_INT32)
    yield from within(f"{path}.runAsGroup", context.get("runAsGroup"), 0, MAX_INT32)
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            yield not_supported(f"{path}.procMount", mount, ("Default", "Unmasked"))
        if host_users and mount == "Unmasked":
            yield invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
    yield from _seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        refused = "cannot set `allowPrivilegeEscalation` to false and "
        shown = gotypes.shown("SecurityContext", context)
        if context.get("privileged"):
            yield invalid(path, shown, f"{refused}`privileged` to true")
        for capability in (context.get("capabilities") or {}).get("add") or ():
            if capability == "CAP_SYS_ADMIN":
                yield invalid(path, shown, f"{refused}`capabilities.Add` CAP_SYS_ADMIN")
    yield from _windows_options(f"{path}.windowsOptions", context.get("windowsOptions"))
    yield from _app_armor(f"{path}.appArmorProfile", context.get("appArmorProfile"))


def pod(path: str, context: Object | None, spec: Object, allowed: Allowances = NEW) -> Errors:
    """``securityContext`` of a pod, whose spec is given."""
    context = context or {}
    yield from within(f"{path}.fsGroup", context.get("fsGroup"), 0, MAX_INT32)
    yield from within(f"{path}.runAsUser", context.get("runAsUser"), 0, MAX_INT32)
    yield from within(f"{path}.runAsGroup", context.get("runAsGroup"), 0, MAX_INT32)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from within(f"{path}.supplementalGroups[{index}]", group, 0, MAX_INT32)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{path}.shareProcessNamespace", True, detail)
    yield from _sysctls(f"{path}.sysctls", context, spec, of_host=allowed.host_sysctls)
    yield from _choice(path, context, "fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    yield from _seccomp(f"{path}.seccompProfile", context.get("seccompProfile"))
    yield from _windows_options(f"{path}.windowsOptions", context.get("windowsOptions"))
    yield from _app_armor(f"{path}.appArmorProfile", context.get("appArmorProfile"))
    yield from _choice(path, context, "supplementalGroupsPolicy", ("Merge", "Strict"))
    policies = ("MountOption", "Recursive") if allowed.selinux_policy else ("Recursive",)
    yield from _choice(path, context, "seLinuxChangePolicy", policies)


def _choice(path: str, context: Object, field: str, supported: tuple[str, ...]) -> Errors:
    value = context.get(field)
    if value is not None and value not in supported:
        yield not_supported(f"{path}.{field}", value, supported)


def host_users(path: str, spec: Object, allowed: Allowances = NEW) -> Errors:
    """A pod with a user namespace of its own shares no other namespace with its node, nor block devices."""
    if spec.get("hostUsers") is not False:
        return
    detail = "when `hostUsers` is false"
    for flag, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(flag) and not (flag == "hostNetwork" and allowed.own_users_on_host_network):
            yield field_forbidden(f"{path}.{shown}", detail)
    for where, found in () if allowed.own_users_with_devices else every_container(path, spec):
        if found.get("volumeDevices"):
            yield field_forbidden(f"{where}.volumeDevices", detail)


def _seccomp(path: str, profile: Object | None) -> Errors:
    if profile is None:
        return
    chosen, local = profile.get("type") or "", profile.get("localhostProfile")
    if not chosen:
        yield required(f"{path}.type", "type is required when seccompProfile is set")
    elif chosen not in _PROFILES:
        yield not_supported(f"{path}.type", chosen, _PROFILES)
    where = f"{path}.localhostProfile"
    if chosen == "Localhost":
        if local is None:
            yield required(where, "must be set when seccomp type is Localhost")
        else:
            yield from descending(where, local)
    elif local is not None:
        shown = gotypes.shown("SeccompProfile", profile)
        yield invalid(where, shown, "can only be set when seccomp type is Localhost")


def _app_armor(path: str, profile: Object | None) -> Errors:
    if profile is None:
        return
    chosen, local, where = (
        profile.get("type") or "",
        profile.get("localhostProfile"),
        f"{path}.localhostProfile",
    )
    if chosen == "Localhost":
        if local is not None and local != local.strip():
            yield invalid(where, local, "must not be padded with whitespace")
        elif not local:
            yield required(where, "must be set when AppArmor type is Localhost")
        if local is not None and len(local.encode()) > _PROFILE_LIMIT:
            yield too_long(where, _PROFILE_LIMIT)
    elif chosen in _PROFILES:
        if local is not None:
            yield invalid(where, local, "can only be set when AppArmor type is Localhost")
    elif not chosen:
        yield required(f"{path}.type", "type is required when appArmorProfile is set")
    else:
        yield not_supported(f"{path}.type", chosen, _PROFILES)


def _sysctls(path: str, context: Object, spec: Object, *, of_host: bool) -> Errors:
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        where, name = f"{path}[{index}].name", sysctl.get("name") or ""
        if not name:
            yield required(where)
        elif len(name) > _SYSCTL_LIMIT or not _is_sysctl(name):
            detail = f"must have at most {_SYSCTL_LIMIT} characters and match regex ^{_SYSCTL}$"
            yield invalid(where, name, detail)
        elif name in seen:
            yield duplicate(where, name)
        seen.add(name)
        if not of_host and (namespace := is_of_host(name, spec)):
            yield invalid(where, name, f"may not be specified when '{namespace}' is true")


def is_of_host(sysctl: str, spec: Object) -> str:
    """The field by which a pod shares the namespace of a sysctl with its node; empty where it does not."""
    dotted = sysctl.replace("/", ".")
    if dotted.startswith("net."):
        return "hostNetwork" if spec.get("hostNetwork") else ""
    ipc = dotted.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")) or dotted == "kernel.sem"
    return "hostIPC" if ipc and spec.get("hostIPC") else ""


# -- operating systems --


def every_container(path: str, spec: Object) -> Iterator[tuple[str, Object]]:
    """The containers of all lists with their paths, in the order Kubernetes visits them."""
    for key in _LISTS:
        for index, found in enumerate(spec.get(key) or ()):
            yield f"{path}.{key}[{index}]", found


def operating_system(path: str, spec: Object) -> Errors:
    """``spec.os`` and what a pod of that system cannot have."""
    system = spec.get("os")
    if system is None:
        return
    name = system.get("name") or ""
    if not name:
        yield required(f"{path}.os.name")
    elif name == "linux":
        yield from _linux(path, spec)
    elif name == "windows":
        yield from _windows(path, spec)
    else:
        yield not_supported(f"{path}.os", name, ("linux", "windows"))


def _linux(path: str, spec: Object) -> Errors:
    detail = "windows options cannot be set for a linux pod"
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        yield field_forbidden(f"{path}.securityContext.windowsOptions", detail)
    for where, found in every_container(path, spec):
        if (found.get("securityContext") or {}).get("windowsOptions") is not None:
            yield field_forbidden(f"{where}.securityContext.windowsOptions", detail)


def _windows(path: str, spec: Object) -> Errors:
    detail = "cannot be set for a windows pod"
    for field, when in _WINDOWS_POD:
        outer, _, inner = field.partition(".")
        value = (spec.get(outer) or {}).get(inner) if inner else spec.get(outer)
        if value if when == "true" else value is not None:
            yield field_forbidden(f"{path}.{field}", detail)
    for where, found in every_container(path, spec):
        for field in _WINDOWS_CONTAINER:
            if (found.get("securityContext") or {}).get(field) is not None:
                yield field_forbidden(f"{where}.securityContext.{field}", detail)


def host_process(path: str, spec: Object) -> Errors:
    """Windows' HostProcess containers: all of a pod's, and on the node's network."""

    def wish(holder: Object) -> bool | None:
        value: bool | None = ((holder.get("securityContext") or {}).get("windowsOptions") or {}).get(
            "hostProcess"
        )
        return value

    of_pod, count, total = wish(spec), 0, 0
    for where, found in every_container(path, spec):
        total += 1
        own = wish(found)
        if own is not None and of_pod is not None and own != of_pod:
            shown = str(of_pod).lower()
            detail = f"pod hostProcess value must be identical if both are specified, was {shown}"
            yield invalid(f"{where}.securityContext.windowsOptions.hostProcess", own, detail)
        count += bool(of_pod if own is None else own)
    if count and count != total:
        detail = (
            "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        )
        yield invalid(path, "", detail)
    if count and not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        yield invalid(f"{path}.hostNetwork", False, detail)


def _windows_options(path: str, options: Object | None) -> Errors:
    if options is None:
        return
    if (name := options.get("gmsaCredentialSpecName")) is not None:
        yield from named(f"{path}.gmsaCredentialSpecName", name, names.dns1123_subdomain)
    if (text := options.get("gmsaCredentialSpec")) is not None:
        if not text:
            detail = "gmsaCredentialSpec cannot be an empty string"
            yield invalid(f"{path}.gmsaCredentialSpec", text, detail)
        elif len(text.encode()) > _MAX_SPEC_KIB * 1024:
            detail = f"gmsaCredentialSpec size must be under {_MAX_SPEC_KIB} KiB"
            yield invalid(f"{path}.gmsaCredentialSpec", text, detail)
    if (user := options.get("runAsUserName")) is not None:
        for detail in _user_name(user):
            yield invalid(f"{path}.runAsUserName", user, detail)


def _user_name(name: str) -> Iterator[str]:
    if not name:
        yield "runAsUserName cannot be an empty string"
        return
    if _CONTROL(name):
        yield "runAsUserName cannot contain control characters"
        return
    if name.count("\\") > 1:
        yield "runAsUserName cannot contain more than one backslash"
        return
    domain, separator, user = name.rpartition("\\")
    if len(domain) >= _MAX_DOMAIN:
        yield f"runAsUserName's Domain length must be under {_MAX_DOMAIN} characters"
    if separator and not (_NETBIOS(domain) or _DOMAIN(domain)):
        yield "runAsUserName's Domain doesn't match the NetBios nor the DNS format"
    if not user:
        yield "runAsUserName's User cannot be empty"
    elif len(user) > _MAX_USER:
        yield f"runAsUserName's User length must not be longer than {_MAX_USER} characters"
    if _DOTS_AND_SPACES(user):
        yield "runAsUserName's User cannot contain only periods or spaces"
    if _BAD_USER_CHARACTERS(user):
        yield "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
