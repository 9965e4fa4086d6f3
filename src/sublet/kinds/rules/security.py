"""Rules of security contexts: ids, privileges, profiles, sysctls."""

from __future__ import annotations

import re

from sublet.kinds.rules.common import MAX_INT32, Errors, one_of, within
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid, required

_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"{_SEGMENT}((\.|/){_SEGMENT})*"
_is_sysctl = re.compile(_SYSCTL).fullmatch
_SYSCTL_LIMIT = 253
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")


def container(path: str, context: Object | None) -> Errors:
    """``securityContext`` of a container."""
    if not context:
        return
    yield from _ids(path, context)
    yield from one_of(f"{path}.procMount", context.get("procMount"), ("Default", "Unmasked"))
    if context.get("allowPrivilegeEscalation") is False:
        refused = "cannot set `allowPrivilegeEscalation` to false and "
        if context.get("privileged"):
            yield invalid(path, context, f"{refused}`privileged` to true")
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            yield invalid(path, context, f"{refused}`capabilities.Add` CAP_SYS_ADMIN")
    yield from _profiles(path, context)


def pod(path: str, context: Object | None, spec: Object) -> Errors:
    """``securityContext`` of a pod, whose spec is given."""
    if spec.get("hostUsers") is False:
        for flag in _HOST_NAMESPACES:
            if spec.get(flag):
                where = path.rpartition(".")[0]
                yield field_forbidden(f"{where}.{flag}", "when `hostUsers` is false")
    if not context:
        return
    yield from _ids(path, context)
    yield from within(f"{path}.fsGroup", context.get("fsGroup"), 0, MAX_INT32)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from within(f"{path}.supplementalGroups[{index}]", group, 0, MAX_INT32)
    yield from one_of(
        f"{path}.fsGroupChangePolicy", context.get("fsGroupChangePolicy"), ("Always", "OnRootMismatch")
    )
    yield from one_of(
        f"{path}.supplementalGroupsPolicy", context.get("supplementalGroupsPolicy"), ("Merge", "Strict")
    )
    yield from _sysctls(f"{path}.sysctls", context, spec)
    yield from _profiles(path, context)


def _ids(path: str, context: Object) -> Errors:
    yield from within(f"{path}.runAsUser", context.get("runAsUser"), 0, MAX_INT32)
    yield from within(f"{path}.runAsGroup", context.get("runAsGroup"), 0, MAX_INT32)


def _profiles(path: str, context: Object) -> Errors:
    for field, what in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(field)
        if profile is None:
            continue
        where, chosen = f"{path}.{field}", profile.get("type")
        yield from one_of(f"{where}.type", chosen, _PROFILES, needed=True)
        local = profile.get("localhostProfile")
        if chosen == "Localhost" and not local:
            yield required(f"{where}.localhostProfile", f"must be set when {what} type is Localhost")
        elif chosen != "Localhost" and local is not None:
            detail = f"can only be set when {what} type is Localhost"
            yield invalid(f"{where}.localhostProfile", local, detail)
        elif local and (local.startswith("/") or ".." in local.split("/")):
            detail = "must be a relative path" if local.startswith("/") else "must not contain '..'"
            yield invalid(f"{where}.localhostProfile", local, detail)


def _sysctls(path: str, context: Object, spec: Object) -> Errors:
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
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            yield invalid(where, name, "may not be specified when `hostNetwork` is true")
        ipc = dotted.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")) or dotted == "kernel.sem"
        if spec.get("hostIPC") and ipc:
            yield invalid(where, name, "may not be specified when `hostIPC` is true")
