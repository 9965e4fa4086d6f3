"""Rules of the annotations that mean something to pods."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sublet.kinds.rules.common import Errors, descending
from sublet.kinds.rules.security import every_container
from sublet.machinery.kind import Object
from sublet.machinery.status import field_forbidden, invalid

MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_is_cost = re.compile("0|-?[1-9][0-9]*").fullmatch


def meaningful(path: str, notes: Mapping[str, str], spec: Object) -> Errors:
    if MIRROR in notes and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid(f"{path}[{MIRROR}]", notes[MIRROR], detail)
    cost = notes.get(_DELETION_COST)
    if cost is not None and not (_is_cost(cost) and -(1 << 31) <= int(cost) < 1 << 31):
        yield invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer")
    for key, profile in notes.items():
        if key == _SECCOMP_POD or key.startswith(_SECCOMP_CONTAINER):
            yield from _seccomp(f"{path}.{key}", profile)
    for key, profile in notes.items():
        if not key.startswith(_APP_ARMOR):
            continue
        name = key.removeprefix(_APP_ARMOR)
        if all(container.get("name") != name for _, container in every_container("spec", spec)):
            yield invalid(f"{path}[{key}]", name, "container not found")
        if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
            yield invalid(f"{path}[{key}]", profile, f'invalid AppArmor profile name: "{profile}"')


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
        if key.startswith(_APP_ARMOR):
            yield field_forbidden(f"{path}[{key}]", "may not remove or update AppArmor annotations")
        if key == MIRROR:
            yield field_forbidden(f"{path}[{key}]", "may not remove or update mirror pod annotation")
    for key in new:
        if key in old:
            continue
        if key.startswith(_APP_ARMOR):
            yield field_forbidden(f"{path}[{key}]", "may not add AppArmor annotations")
        if key == MIRROR:
            yield field_forbidden(f"{path}[{key}]", "may not add mirror pod annotation")
