"""The values that policies' expressions see: the objects, the request, the authorizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sublet.apiserver.admission import webhookreview, webhookrules
from sublet.apiserver.admission.framework import Attributes
from sublet.apiserver.authentication.userinfo import user_info
from sublet.apiserver.authorization.authorizer import Decision, permission
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery.cel.authorizer import Authorizer, Check, ResourceCheck, Verdict
from sublet.machinery.cel.environment import Budget, Program
from sublet.machinery.cel.values import timestamp
from sublet.machinery.kind import Object, Resource

_NAMESPACE_METADATA = frozenset((
    "name", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "labels", "annotations", "finalizers",
))  # fmt: skip
Authorize = Callable[[User, RequestInfo], Decision]


def values(
    attributes: Attributes, resource: Resource, new: Object | None, old: Object | None, authorize: Authorize
) -> dict[str, Any]:
    """Of the variables every policy has; ``new`` and ``old`` are in the version of ``resource``."""
    decide = _decide(attributes.user, authorize)
    asked = Check(
        group=attributes.group, resource=attributes.plural, subresource=attributes.subresource,
        namespace=attributes.namespace, name=attributes.request_name,
    )  # fmt: skip
    return {
        "object": new,
        "oldObject": old,
        "request": request(attributes, resource),
        "authorizer": Authorizer(decide, Check()),
        "authorizer.requestResource": ResourceCheck(decide, asked),
    }


def namespace_object(namespace: Object) -> Object:
    """A Namespace as expressions see it: without who manages and owns it."""
    metadata = {key: value for key, value in namespace["metadata"].items() if key in _NAMESPACE_METADATA}
    for key in ("creationTimestamp", "deletionTimestamp"):
        if isinstance(stamp := metadata.get(key), str):
            metadata[key] = timestamp(stamp)
    return {**{key: namespace.get(key) or {} for key in ("spec", "status")}, "metadata": metadata}


def request(attributes: Attributes, resource: Resource) -> Object:
    """The AdmissionRequest without its objects; what is empty is not there."""
    asked = attributes.resource
    made: Object = {
        "kind": webhookreview.kind_of(attributes.kind, resource, attributes.subresource),
        "resource": _resource(resource),
        "requestKind": webhookreview.kind_of(attributes.kind, asked, attributes.subresource),
        "requestResource": _resource(asked),
        "name": attributes.request_name,
        "namespace": webhookrules.namespace_of(attributes),
        "operation": attributes.operation,
        "userInfo": user_info(attributes.user),
        "dryRun": attributes.dry_run,
        "options": webhookreview.options_of(attributes),
        "subResource": attributes.subresource,
        "requestSubResource": attributes.subresource,
    }
    return {key: value for key, value in made.items() if value not in ("", None)}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def _decide(user: User, authorize: Authorize) -> Callable[[Check], Verdict]:
    def decide(check: Check) -> Verdict:
        who = _account(check.service_account) if check.service_account else user
        if check.path:
            info = RequestInfo(check.verb, check.path)
        else:
            info = permission(
                check.verb, check.group, check.resource, namespace=check.namespace, name=check.name,
                subresource=check.subresource,
            )  # fmt: skip
            info.field_selector, info.label_selector = check.field_selector, check.label_selector
        decision = authorize(who, info)
        return Verdict(decision.allowed, decision.reason, decision.error)

    return decide


def _account(name: str) -> User:
    namespace = name.partition(":")[0]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{name}", groups)


class Variables(dict[str, Any]):
    """``variables`` of a policy: each is evaluated when first asked for, at the policy's cost."""

    def __init__(self, programs: Mapping[str, Program], values: dict[str, Any], budget: Budget) -> None:
        super().__init__()
        self._programs = programs
        self._values = values
        self.budget = budget
        """Whose cost an evaluation is; changed between attempts."""

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    def __missing__(self, name: str) -> Any:
        self[name] = found = self._programs[name].evaluate(self._values, self.budget)
        return found
