"""Rules of what is reported of a pod: its status, and which of its containers may start again."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from sublet.kinds.rules.common import Errors, immutable, named, spec_of
from sublet.machinery import names
from sublet.machinery.kind import Object
from sublet.machinery.status import duplicate, field_forbidden, invalid

_OWN_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


def changed(new: Object, old: Object) -> Errors:
    """Everything that is wrong with a new status."""
    status, before = new.get("status") or {}, old.get("status") or {}
    for index, condition in enumerate(status.get("conditions") or ()):
        if (kind := condition.get("type") or "") not in _OWN_CONDITIONS:
            yield from named(f"status.conditions[{index}].Type", kind, names.qualified_name)
    if nominated := status.get("nominatedNodeName"):
        yield from named("status.nominatedNodeName", nominated, names.dns1123_subdomain)
    if before.get("qosClass"):
        yield from immutable("status.qosClass", status.get("qosClass") or "", before["qosClass"])
    spec = spec_of(old)
    for key, of in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
        yield from _restarts(f"status.{key}", status.get(key) or (), before.get(key) or (), spec, of)
    key = "ephemeralContainerStatuses"
    yield from _restarts(
        f"status.{key}", status.get(key) or (), before.get(key) or (), spec, "ephemeralContainers"
    )
    yield from _addresses("status.podIPs", status.get("podIPs") or ())
    yield from _host_addresses(status)


def _restarts(path: str, now: Sequence[Object], then: Sequence[Object], spec: Object, of: str) -> Errors:
    """What has ended for good stays so; the places are those of the old status."""
    started = {found.get("name") for found in now if not (found.get("state") or {}).get("terminated")}
    containers = {found.get("name"): found for found in spec.get(of) or ()}
    for index, was in enumerate(then):
        ended = (was.get("state") or {}).get("terminated")
        if ended is None or was.get("name") not in started:
            continue
        if of == "ephemeralContainers" or not _may_restart(
            containers.get(was.get("name")) or {}, spec, ended
        ):
            yield field_forbidden(f"{path}[{index}].state", "may not be transitioned to non-terminated state")


def _may_restart(container: Object, spec: Object, ended: Object) -> bool:
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    failed = bool(ended.get("exitCode"))
    return (
        policy == "Always" or bool(container.get("restartPolicyRules")) or (failed and policy == "OnFailure")
    )


def _addresses(path: str, found: Sequence[Object]) -> Errors:
    """One address of each family."""
    texts = [item.get("ip") or "" for item in found]
    wrong = False
    for index, text in enumerate(texts):
        for message in names.ip_address(text):
            wrong = True
            yield invalid(f"{path}[{index}]", text, message)
    if wrong:
        return
    families = {ipaddress.ip_address(text).version for text in texts}
    if len(texts) > len(families):
        shown = [{"IP": text} for text in texts]
        yield invalid(path, shown, "may specify no more than one IP for each IP family")
    for index, text in enumerate(texts):
        if text in texts[:index]:
            yield duplicate(f"{path}[{index}]", {"IP": text})


def _host_addresses(status: Object) -> Errors:
    found = status.get("hostIPs") or ()
    if not found:
        return
    first = found[0].get("ip") or ""
    if first != (status.get("hostIP") or ""):
        yield invalid("status.hostIPs[0].ip", first, "must be equal to `hostIP`")
    yield from _addresses("status.hostIPs", found)
