"""The reviews: may somebody do something (SubjectAccessReview and its family), and who am I."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sublet.apiserver import negotiation
from sublet.apiserver.authentication.userinfo import user_info
from sublet.apiserver.authorization.authorizer import Decision
from sublet.apiserver.calls import Call
from sublet.apiserver.options import write_options
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response, User
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, FieldError, invalid, invalid_object

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(request: Request, info: RequestInfo, api: APIServer) -> Response:
    """201 with the review, its status filled in. Nothing is stored."""
    accepted = negotiation.accept(request, info)
    call = Call.of(request, info, api)
    review = call.decode(write_options(request, info, "CreateOptions"))
    match info.resource:
        case "selfsubjectreviews":
            review["status"] = {"userInfo": user_info(call.user)}
            review.setdefault("metadata", {})["creationTimestamp"] = objects.rfc3339(api.clock.now())
        case "selfsubjectrulesreviews":
            review["status"] = _rules(api, call.user, review)
        case "selfsubjectaccessreviews":
            spec = _spec(review)
            _validate(review, spec, ())
            review["status"] = _access(await api.authorizer.decide(call.user, _asked(spec)))
        case _:
            spec = _spec(review)
            _validate(review, spec, _subject_errors(spec))
            _check_namespace(info, review, spec)
            who = User(
                spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), _extra(spec)
            )
            review["status"] = _access(await api.authorizer.decide(who, _asked(spec)))
    review.setdefault("metadata", {})
    return negotiation.respond(review, accepted, 201)


def _spec(review: Object) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = review.get("spec") or {}
    return spec


def _extra(spec: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}


def _subject_errors(spec: Mapping[str, Any]) -> tuple[FieldError, ...]:
    if spec.get("user") or spec.get("groups"):
        return ()
    return (invalid("spec.user", "", "at least one of user or group must be specified"),)


def _validate(review: Object, spec: Mapping[str, Any], errors: tuple[FieldError, ...]) -> None:
    detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        errors = (
            *errors,
            invalid(
                "spec.nonResourceAttributes",
                path,
                "cannot be specified in combination with resourceAttributes",
            ),
        )
    if resource is None and path is None:
        errors = (*errors, invalid("spec.resourceAttributes", None, detail))
    if errors:
        raise invalid_object("authorization.k8s.io", review["kind"], objects.name(review), errors)


def _check_namespace(info: RequestInfo, review: Object, spec: Mapping[str, Any]) -> None:
    """A LocalSubjectAccessReview asks about its own namespace only."""
    if info.resource != "localsubjectaccessreviews":
        return
    asked = (spec.get("resourceAttributes") or {}).get("namespace", "")
    if asked != info.namespace:
        detail = f"must match metadata.namespace: {info.namespace}"
        raise invalid_object(
            "authorization.k8s.io", review["kind"], "",
            [invalid("spec.resourceAttributes.namespace", asked, detail)],
        )  # fmt: skip


def _asked(spec: Mapping[str, Any]) -> RequestInfo:
    """The request that a review is about."""
    resource = spec.get("resourceAttributes")
    if resource is None:
        path = spec["nonResourceAttributes"]
        return RequestInfo(path.get("verb", ""), path.get("path", ""))
    return RequestInfo(
        resource.get("verb", ""),
        "",
        True,
        resource.get("group", ""),
        resource.get("version", ""),
        resource.get("namespace", ""),
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("name", ""),
        field_selector=_selector(resource.get("fieldSelector")),
        label_selector=_selector(resource.get("labelSelector")),
    )


def _selector(selector: Mapping[str, Any] | None) -> str:
    """The text of a FieldSelectorAttributes or LabelSelectorAttributes, as far as text can say it."""
    if not selector:
        return ""
    if raw := selector.get("rawSelector"):
        return str(raw)
    parts = []
    for requirement in selector.get("requirements") or ():
        key, values = requirement.get("key", ""), requirement.get("values") or []
        match requirement.get("operator"):
            case "In" if len(values) == 1:
                parts.append(f"{key}={values[0]}")
            case "NotIn" if len(values) == 1:
                parts.append(f"{key}!={values[0]}")
    return ",".join(parts)


def _access(decision: Decision) -> Object:
    status: Object = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    return status


def _rules(api: APIServer, user: User, review: Object) -> Object:
    namespace = _spec(review).get("namespace", "")
    if not namespace:
        raise BadRequest("no namespace on request")
    rules, errors = api.authorizer.rules(user, namespace)
    status: Object = {
        "resourceRules": [
            _picked(rule, ("verbs", "apiGroups", "resources", "resourceNames"))
            for rule in rules
            if rule.get("resources")
        ],
        "nonResourceRules": [
            _picked(rule, ("verbs", "nonResourceURLs")) for rule in rules if rule.get("nonResourceURLs")
        ],
        "incomplete": bool(errors),
    }
    if errors:
        status["evaluationError"] = ", ".join(errors)
    return status


def _picked(rule: Mapping[str, Any], keys: tuple[str, ...]) -> Object:
    return {key: rule[key] for key in keys if rule.get(key)}
