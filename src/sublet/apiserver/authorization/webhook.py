"""An authorizer that asks a webhook with a SubjectAccessReview; its answers are kept for a while."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sublet.apiserver.authorization.authorizer import REFUSED, Decision, Resolved
from sublet.apiserver.authorization.configuration import AuthorizerSettings, Webhook
from sublet.apiserver.remotereview import Answers, RemoteReviews
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import User
from sublet.machinery import durations, selectors
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import label_text
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.machinery.status import BadRequest, StatusError

if TYPE_CHECKING:
    from sublet.apiserver.authorization.metrics import AuthorizationMetrics
    from sublet.machinery.cel.environment import Program
    from sublet.machinery.cel.types import Type

_log = logging.getLogger(__name__)
_LONGEST = 10_000
"""Characters of what an asker may choose that are still worth a place among the answers kept."""


class WebhookAuthorizer:
    """:meth:`close` at the end."""

    def __init__(self, settings: AuthorizerSettings, clock: Clock, metrics: AuthorizationMetrics) -> None:
        """Raises :class:`ConfigurationError` for an expression that does not compile, ``KubeconfigError``."""
        assert settings.webhook is not None
        self._clock = clock
        self._metrics = metrics
        self._webhook: Webhook = settings.webhook
        self._name = settings.name
        self._conditions = [_compiled(each.expression) for each in self._webhook.match_conditions]
        self._reviews = RemoteReviews(
            Path(self._webhook.connection_info.kube_config_file),
            clock,
            durations.parse(self._webhook.timeout),
        )
        self._answers: Answers[Decision] = Answers(clock)
        self._on_error = Decision(False, denied=self._webhook.failure_policy == "Deny")

    async def close(self) -> None:
        await self._reviews.close()

    def decide(self, user: User, info: RequestInfo) -> Any:
        """At once where the answer is kept or no condition lets the webhook be asked; else to be awaited."""
        spec = access_spec(user, info)
        try:
            if not self._matches(user, info, spec):
                self._metrics.excluded.add(label_text((("name", self._name), ("type", "Webhook"))))
                return REFUSED
        except ValueError as error:
            _log.warning("authorizer %s: %s", self._name, error)
            self._metrics.condition_errors.add(label_text((("name", self._name), ("type", "Webhook"))))
            return Decision(False, denied=self._on_error.denied, error=str(error))
        key = self._answers.key(spec)
        kept = self._answers.get(key)
        return kept if kept is not None else self._ask(spec, key)

    def resolve(self, user: User, namespace: str) -> Resolved:
        return Resolved([], ["webhook authorizer does not support user rule resolution"], True)

    async def _ask(self, spec: Object, key: bytes) -> Decision:
        review = {
            "kind": "SubjectAccessReview",
            "apiVersion": f"authorization.k8s.io/{self._webhook.subject_access_review_version}",
            "metadata": {},
            "spec": self._versioned(spec),
            "status": {"allowed": False},
        }
        started = self._clock.monotonic()
        result = "canceled"
        try:
            status = await self._reviews.ask(review)
            result = "success"
        except StatusError as error:
            _log.warning("authorizer %s could not be asked: %s", self._name, error)
            result = "timeout" if isinstance(error.__cause__, TimeoutError) else "error"
            return Decision(False, denied=self._on_error.denied, error=str(error))
        finally:
            seconds = self._clock.monotonic() - started
            opens = not self._on_error.denied
            self._metrics.webhook_asked(self._name, result, seconds, fails_open=opens)
        decision = _decision(status)
        self._keep(key, spec, decision)
        return decision

    def _versioned(self, spec: Object) -> Object:
        """In v1beta1 the groups are called ``group``."""
        if self._webhook.subject_access_review_version == "v1":
            return spec
        return {("group" if key == "groups" else key): value for key, value in spec.items()}

    def _keep(self, key: bytes, spec: Object, decision: Decision) -> None:
        webhook = self._webhook
        wanted = (
            webhook.cache_authorized_requests if decision.allowed else webhook.cache_unauthorized_requests
        )
        chosen = spec.get("resourceAttributes") or spec.get("nonResourceAttributes") or {}
        if wanted and sum(len(str(value)) for value in chosen.values()) < _LONGEST:
            ttl = webhook.authorized_ttl if decision.allowed else webhook.unauthorized_ttl
            self._answers.put(key, decision, durations.parse(ttl))

    def _matches(self, user: User, info: RequestInfo, spec: Object) -> bool:
        """Whether all conditions hold; one that is false decides. Raises ``ValueError`` where one has no value."""
        if not self._conditions:
            return True
        request = _whole(user, info, spec)
        from sublet.machinery.cel.environment import QUICK_LIMIT, Budget
        from sublet.machinery.cel.errors import CostExceeded, EvaluationError

        errors = []
        for program in self._conditions:
            try:
                if program.evaluate({"request": request}, Budget(QUICK_LIMIT)) is not True:
                    return False
            except (EvaluationError, CostExceeded) as error:
                errors.append(
                    f"cel evaluation error: expression '{program.source}' resulted in error: {error}"
                )
        if errors:
            raise ValueError(errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]")
        return True


def _compiled(source: str) -> Program:
    from sublet.machinery.cel.environment import Environment
    from sublet.machinery.cel.errors import CompileError
    from sublet.machinery.cel.types import BOOL, DYN

    try:
        program = Environment({"request": _request_type()}).compile(source)
    except CompileError as error:
        raise ConfigurationError(f"matchConditions: {source!r} does not compile: {error}") from None
    if program.type not in (BOOL, DYN):
        raise ConfigurationError(f"matchConditions: {source!r} must evaluate to bool")
    return program


def _request_type() -> Type:
    """``request`` of match conditions: the spec of a SubjectAccessReview."""
    from sublet.machinery.cel import types
    from sublet.machinery.cel.types import STRING, Field

    def made(name: str, *texts: str, **others: Type) -> Type:
        fields = {key: Field(STRING, key) for key in texts}
        fields |= {key: Field(kind, key) for key, kind in others.items()}
        return types.object_type(f"kubernetes.{name}", lambda: fields)

    strings = types.list_of(STRING)
    requirements = {
        kind: types.list_of(made(f"{kind}SelectorRequirement", "key", "operator", values=strings))
        for kind in ("Field", "Label")
    }
    selectors_ = {
        f"{kind.lower()}Selector": made(f"{kind}SelectorAttributes", "rawSelector", requirements=each)
        for kind, each in requirements.items()
    }
    return made(
        "SubjectAccessReviewSpec", "user", "uid", groups=strings, extra=types.map_of(STRING, strings),
        resourceAttributes=made("ResourceAttributes", *_RESOURCE, **selectors_),
        nonResourceAttributes=made("NonResourceAttributes", "path", "verb"),
    )  # fmt: skip


_RESOURCE = ("namespace", "verb", "group", "version", "resource", "subresource", "name")


def _whole(user: User, info: RequestInfo, spec: Object) -> Object:
    """The spec with what is empty too: conditions compare with that."""
    whole: Object = {"groups": [], "uid": "", "extra": {}, **spec, "user": user.name}
    if info.is_resource:
        whole["resourceAttributes"] = {**dict.fromkeys(_RESOURCE, ""), **spec["resourceAttributes"]}
    return whole


def _decision(status: Object) -> Decision:
    reason = str(status.get("reason") or "")
    if status.get("denied"):
        both = "webhook subject access review returned both allow and deny response"
        return Decision(False, reason, denied=True, error=both if status.get("allowed") else "")
    return Decision(bool(status.get("allowed")), reason)


def access_spec(user: User, info: RequestInfo) -> Object:
    """The spec of a SubjectAccessReview; what is empty is left out."""
    spec: Object = {}
    if info.is_resource:
        attributes = {
            "namespace": info.namespace, "verb": info.verb, "group": info.api_group, "version": info.api_version,
            "resource": info.resource, "subresource": info.subresource, "name": info.name,
        }  # fmt: skip
        shown: Object = {key: value for key, value in attributes.items() if value}
        if requirements := _field_requirements(info.field_selector):
            shown["fieldSelector"] = {"requirements": requirements}
        if requirements := _label_requirements(info.label_selector):
            shown["labelSelector"] = {"requirements": requirements}
        spec["resourceAttributes"] = shown
    else:
        spec["nonResourceAttributes"] = {"path": info.path, "verb": info.verb}
    spec["user"] = user.name
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    if user.uid:
        spec["uid"] = user.uid
    return spec


def _field_requirements(text: str) -> list[Object]:
    if not text:
        return []
    try:
        parsed = selectors.parse_fields(text)
    except BadRequest:
        return []
    operators = {"=": "In", "!=": "NotIn"}
    return [
        {"key": each.field, "operator": operators[each.operator], "values": [each.value]}
        for each in parsed.requirements
    ]


def _label_requirements(text: str) -> list[Object]:
    if not text:
        return []
    try:
        parsed = selectors.parse(text)
    except BadRequest:
        return []
    operators = {
        "=": "In",
        "==": "In",
        "in": "In",
        "!=": "NotIn",
        "notin": "NotIn",
        "exists": "Exists",
        "!": "DoesNotExist",
    }
    found: list[Object] = []
    for each in parsed.requirements:
        operator = operators.get(each.operator)
        if operator is None:
            continue
        made: Object = {"key": each.key, "operator": operator}
        if each.values:
            made["values"] = sorted(each.values)
        found.append(made)
    return found
