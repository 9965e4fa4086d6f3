"""``authorizer`` in policies: checks of what the requesting user, or a ServiceAccount, may do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sublet.machinery.cel.functions import Cost, define, tenth
from sublet.machinery.cel.values import Opaque

CHECK_COST = 350_000


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked: a path, or a resource."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: str = ""
    """``namespace:name``; empty: the user who made the request."""


@dataclass(frozen=True, slots=True)
class Verdict(Opaque):
    allowed: bool
    reason: str = ""
    error: str = ""
    type_name = "kubernetes.authorization.Decision"


Decide = Callable[[Check], Verdict]


@dataclass(frozen=True, slots=True)
class _Asking(Opaque):
    decide: Decide
    check: Check


class Authorizer(_Asking):
    """The value of the variable ``authorizer``."""

    __slots__ = ()
    type_name = "kubernetes.authorization.Authorizer"


class PathCheck(_Asking):
    __slots__ = ()
    type_name = "kubernetes.authorization.PathCheck"


class GroupCheck(_Asking):
    __slots__ = ()
    type_name = "kubernetes.authorization.GroupCheck"


class ResourceCheck(_Asking):
    """Also the value of ``authorizer.requestResource``."""

    __slots__ = ()
    type_name = "kubernetes.authorization.ResourceCheck"


def _resource_with(name: str) -> Callable[[_Asking, str], ResourceCheck]:
    def narrowed(asking: _Asking, value: str) -> ResourceCheck:
        return ResourceCheck(asking.decide, replace(asking.check, **{name: value}))

    return narrowed


def _check(asking: _Asking, verb: str) -> Verdict:
    return asking.decide(replace(asking.check, verb=verb))


def _dear(_sizes: object) -> int:
    return CHECK_COST


def _selector_cost(sizes: Sequence[int]) -> int:
    """Reading a selector, and making a list and a requirement of every two characters."""
    return 10 + tenth(sizes[1]) + 50 * math.ceil(sizes[1] / 2)


_A, _P, _G, _R, _D = (c.type_name for c in (Authorizer, PathCheck, GroupCheck, ResourceCheck, Verdict))
_COST: Cost = _dear
AUTHORIZER = (
    define("path", f"{_A}.(string) {_P}", lambda a, p: PathCheck(a.decide, replace(a.check, path=p))),
    define("group", f"{_A}.(string) {_G}", lambda a, g: GroupCheck(a.decide, replace(a.check, group=g))),
    define("serviceAccount", f"{_A}.(string, string) {_A}",
           lambda a, ns, n: Authorizer(a.decide, replace(a.check, service_account=f"{ns}:{n}"))),
    define("resource", f"{_G}.(string) {_R}", _resource_with("resource")),
    define("subresource", f"{_R}.(string) {_R}", _resource_with("subresource")),
    define("namespace", f"{_R}.(string) {_R}", _resource_with("namespace")),
    define("name", f"{_R}.(string) {_R}", _resource_with("name")),
    define("fieldSelector", f"{_R}.(string) {_R}", _resource_with("field_selector"), _selector_cost),
    define("labelSelector", f"{_R}.(string) {_R}", _resource_with("label_selector"), _selector_cost),
    define("check", f"{_P}.(string) {_D}; {_R}.(string) {_D}", _check, _COST),
    define("allowed", f"{_D}.() bool", lambda d: d.allowed),
    define("reason", f"{_D}.() string", lambda d: d.reason),
    define("errored", f"{_D}.() bool", lambda d: bool(d.error)),
    define("error", f"{_D}.() string", lambda d: d.error),
)  # fmt: skip
