"""The reviews: may somebody do something (SubjectAccessReview and its family), and who am I."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sublet.apiserver import negotiation, objectmeta, reviewselectors
from sublet.apiserver.admission.besides import admit_created
from sublet.apiserver.authentication.userinfo import user_info
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
    options = write_options(request, info, "CreateOptions")
    review = await call.decode(options)
    objectmeta.receive(review, call.kind, info.namespace)
    await admit_created(
        request, info, api, review, options, objects.name(review), lambda: _check(info, review)
    )
    match info.resource:
        case "selfsubjectreviews":
            review["metadata"] = {"creationTimestamp": objects.rfc3339(api.clock.now())}
            review["status"] = {"userInfo": user_info(call.user)}
        case "selfsubjectrulesreviews":
            review["status"] = _rules(api, call.user, review)
            # Upstream answers without what was asked.
            review["metadata"], review["spec"] = {}, {}
        case "selfsubjectaccessreviews":
            review["status"] = await _access(api, call.user, _spec(review))
        case _:
            spec = _spec(review)
            who = User(
                spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), _extra(spec)
            )
            review["status"] = await _access(api, who, spec)
    return negotiation.respond(review, accepted, 201)


def _check(info: RequestInfo, review: Object) -> None:
    """Refuses a review that asks nothing that can be answered."""
    match info.resource:
        case "selfsubjectreviews":
            return
        case "selfsubjectrulesreviews":
            if not _spec(review).get("namespace"):
                raise BadRequest("no namespace on request")
        case resource:
            _validate(info, review, self_review=resource == "selfsubjectaccessreviews")


def _spec(review: Object) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = review.get("spec") or {}
    return spec


def _extra(spec: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}


def _without_metadata(review: Object, *, but: str = "") -> list[FieldError]:
    """A review is no object: it has no name, labels or anything else that is stored."""
    metadata = review.get("metadata") or {}
    stated = {k: v for k, v in metadata.items() if v and k not in ("managedFields", but)}
    detail = f"must be empty except for {but}" if but else "must be empty"
    return [invalid("metadata", metadata, detail)] if stated else []


def _validate(info: RequestInfo, review: Object, *, self_review: bool = False) -> None:
    spec = _spec(review)
    local = info.resource == "localsubjectaccessreviews"
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if path is not None:
        path = {"Path": path.get("path") or "", "Verb": path.get("verb") or ""}
    errors: list[FieldError] = []
    if resource is not None and path is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        errors.append(invalid("spec.nonResourceAttributes", path, detail))
    if resource is None and path is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(invalid("spec.resourceAttributes", None, detail))
    if not self_review and not spec.get("user") and not spec.get("groups"):
        errors.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    if resource is not None:
        errors += reviewselectors.errors(resource, "spec.resourceAttributes")
    errors += _without_metadata(review, but="namespace" if local else "")
    if local:
        errors += _local_errors(info, resource, path)
    if errors:
        raise invalid_object("authorization.k8s.io", "", "", errors)  # upstream's has no kind inside


def _local_errors(info: RequestInfo, resource: Any, path: Any) -> list[FieldError]:
    """A LocalSubjectAccessReview asks about its own namespace only."""
    errors = []
    if resource is not None and resource.get("namespace", "") != info.namespace:
        asked = resource.get("namespace", "")
        errors.append(invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace"))
    if path is not None:
        errors.append(invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request"))
    return errors


def _asked(spec: Mapping[str, Any]) -> tuple[RequestInfo, list[str]]:
    """The request that a review is about, and what is to be said of selectors that cannot be told."""
    resource = spec.get("resourceAttributes")
    if resource is None:
        path = spec["nonResourceAttributes"]
        return RequestInfo(path.get("verb", ""), path.get("path", "")), []
    fields = reviewselectors.field_selector(resource.get("fieldSelector"))
    labels = reviewselectors.label_selector(resource.get("labelSelector"))
    errors = [fields.error("fieldSelector"), labels.error("labelSelector")]
    asked = RequestInfo(
        resource.get("verb", ""),
        "",
        True,
        resource.get("group", ""),
        resource.get("version") or "*",
        resource.get("namespace", ""),
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("name", ""),
        field_selector=fields.text,
        label_selector=labels.text,
    )
    return asked, [error for error in errors if error]


async def _access(api: APIServer, user: User, spec: Mapping[str, Any]) -> Object:
    asked, errors = _asked(spec)
    decision = await api.authorizer.decide(user, asked)
    status: Object = {"allowed": decision.allowed}
    if decision.denied:
        status["denied"] = True
    if decision.reason:
        status["reason"] = decision.reason
    if decision.error:
        errors.insert(0, decision.error)
    if errors:
        status["evaluationError"] = "; ".join(errors)
    return status


def _rules(api: APIServer, user: User, review: Object) -> Object:
    found = api.authorizer.resolve(user, _spec(review)["namespace"])
    status: Object = {
        "resourceRules": [
            _picked(rule, ("verbs", "apiGroups", "resources", "resourceNames"))
            for rule in found.rules
            if rule.get("resources")
        ],
        "nonResourceRules": [
            _picked(rule, ("verbs", "nonResourceURLs")) for rule in found.rules if rule.get("nonResourceURLs")
        ],
        "incomplete": found.incomplete,
    }
    if found.errors:
        errors = list(dict.fromkeys(found.errors))
        status["evaluationError"] = errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]"
    return status


def _picked(rule: Mapping[str, Any], keys: tuple[str, ...]) -> Object:
    return {key: rule[key] for key in keys if rule.get(key)}
