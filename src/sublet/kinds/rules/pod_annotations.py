"""Rules of the annotations that mean something to pods."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sublet.kinds.rules.common import Errors, descending
from sublet.kinds.rules.pod_allowances import NEW, Allowances
from sublet.kinds.rules.security import every_container
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid

MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_LOCAL = "localhost/"
_STATED: Mapping[str, tuple[str, ...]] = {
    "Localhost": (),
    "RuntimeDefault": ("runtime/default",),
    "Unconfined": ("unconfined",),
}
"""Type of a profile -> the annotations that mean it."""
_OLD_DEFAULT = ("seccomp", "RuntimeDefault", "docker/default")
_is_number = re.compile("0|-[0-9]+|[1-9][0-9]*").fullmatch


def is_cost(notes: Mapping[str, str]) -> bool:
    """Whether a deletion cost, if there is one, is a number of 32 bits."""
    cost = notes.get(_DELETION_COST)
    return cost is None or (_is_number(cost) is not None and -(1 << 31) <= int(cost) < 1 << 31)


def meaningful(path: str, notes: Mapping[str, str], spec: Object, allowed: Allowances = NEW) -> Errors:
    if MIRROR in notes and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid(f"{path}[{MIRROR}]", notes[MIRROR], detail)
    if not is_cost(notes) and not allowed.deletion_cost:
        yield invalid(f"{path}[{_DELETION_COST}]", notes[_DELETION_COST], "must be a 32bit integer")
    for key, profile in notes.items():
        if key == _SECCOMP_POD or key.startswith(_SECCOMP_CONTAINER):
            yield from _seccomp(f"{path}.{key}", profile)
    for key, profile in notes.items():
        if not key.startswith(APP_ARMOR):
            continue
        name = key.removeprefix(APP_ARMOR)
        if all(container.get("name") != name for _, container in every_container("spec", spec)):
            yield invalid(f"{path}[{key}]", name, "container not found")
        if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
            yield invalid(f"{path}[{key}]", profile, f'invalid AppArmor profile name: "{profile}"')


def matching(notes: Mapping[str, str], path: str, spec: Object) -> Errors:
    """Profiles that are stated twice, by an old annotation and by a field, say the same; ``path``: the spec's."""
    own = (spec.get("securityContext") or {}).get("seccompProfile")
    yield from _same(f"{path}.securityContext.seccompProfile", own, notes.get(_SECCOMP_POD), "seccomp")
    for where, container in every_container(path, spec):
        profile = (container.get("securityContext") or {}).get("seccompProfile")
        note = notes.get(f"{_SECCOMP_CONTAINER}{container.get('name') or ''}")
        yield from _same(f"{where}.securityContext.seccompProfile", profile, note, "seccomp")
    if (spec.get("os") or {}).get("name") == "windows":
        return
    outer = (spec.get("securityContext") or {}).get("appArmorProfile")
    for where, container in every_container(path, spec):
        profile = (container.get("securityContext") or {}).get("appArmorProfile") or outer
        note = notes.get(f"{APP_ARMOR}{container.get('name') or ''}")
        yield from _same(f"{where}.securityContext.appArmorProfile", profile, note, "apparmor")


def _same(path: str, profile: Object | None, note: str | None, what: str) -> Errors:
    if profile is None or note is None:
        return
    kind = profile.get("type")
    if kind == "Localhost" and note.startswith(_LOCAL):
        if profile.get("localhostProfile") != note.removeprefix(_LOCAL):
            yield field_forbidden(
                f"{path}.localhostProfile", f"{what} profile in annotation and field must match"
            )
    elif note not in _STATED.get(str(kind), (note,)) and (what, kind, note) != _OLD_DEFAULT:
        yield field_forbidden(f"{path}.type", f"{what} type in annotation and field must match")


def confine(spec: Object, notes: Mapping[str, str]) -> None:
    """Gives containers, in place, the AppArmor profile that only an annotation names; the pod's own needs no copy."""
    if not notes or (spec.get("os") or {}).get("name") == "windows":
        return
    outer = (spec.get("securityContext") or {}).get("appArmorProfile")
    for _, container in every_container("", spec):
        profile = named_profile(notes.get(f"{APP_ARMOR}{container.get('name') or ''}") or "")
        context = container.get("securityContext") or {}
        if profile is not None and profile != outer and context.get("appArmorProfile") is None:
            container["securityContext"] = {**context, "appArmorProfile": profile}


def named_profile(note: str) -> Object | None:
    """The profile that an AppArmor annotation means; None: it means none that could be."""
    for kind, notes in _STATED.items():
        if note in notes:
            return {"type": kind}
    name = note.removeprefix(_LOCAL)
    if name == note or not name or name != name.strip():
        return None
    return {"type": "Localhost", "localhostProfile": name}


def _seccomp(path: str, profile: str) -> Errors:
    if profile.startswith("localhost/"):
        yield from descending(path, profile.removeprefix("localhost/"))
    elif profile not in ("runtime/default", "docker/default", "unconfined"):
        yield invalid(path, profile, "must be a valid seccomp profile")


def changed(new: Mapping[str, str], old: Mapping[str, str]) -> Errors:
    """What may not be added to, changed in or taken from a pod that exists."""
    path = "metadata.annotations"
    for key, value in old.items():
        if new.get(key) == value:
            continue
        if key.startswith(APP_ARMOR):
            yield field_forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations")
        if key == MIRROR:
            yield field_forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation")
    for key in new:
        if key in old:
            continue
        if key.startswith(APP_ARMOR):
            yield field_forbidden(f"{path}[{key}]", "may not add AppArmor annotations")
        if key == MIRROR:
            yield field_forbidden(f"{path}[{key}]", "may not add mirror pod annotation")
