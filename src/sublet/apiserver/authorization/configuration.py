"""AuthorizationConfiguration (``apiserver.config.k8s.io``): which authorizers are asked, in which order.

Source: the Kubernetes documentation, "Authorization", "Configuring the API Server using an authorization config file".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from sublet.apiserver.authentication.configuration import versioned
from sublet.apiserver.configurationfiles import aggregate, refuse
from sublet.machinery import durations, names
from sublet.machinery.settings import ConfigurationError, parse
from sublet.machinery.status import FieldError, duplicate, invalid, not_supported, required, too_many

TYPES = ("ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")
_MOST_CONDITIONS = 64
_LONGEST = 30.0


class ConnectionInfo(Struct, frozen=True):
    type: str = ""
    kube_config_file: str = field(default="", name="kubeConfigFile")


class MatchCondition(Struct, frozen=True):
    expression: str = ""


class Webhook(Struct, frozen=True):
    authorized_ttl: str = field(default="5m", name="authorizedTTL")
    unauthorized_ttl: str = field(default="30s", name="unauthorizedTTL")
    cache_authorized_requests: bool = True
    cache_unauthorized_requests: bool = True
    timeout: str = ""
    subject_access_review_version: str = ""
    match_condition_subject_access_review_version: str = ""
    failure_policy: str = ""
    connection_info: ConnectionInfo = ConnectionInfo()
    match_conditions: tuple[MatchCondition, ...] = ()


class AuthorizerSettings(Struct, frozen=True):
    type: str = ""
    name: str = ""
    webhook: Webhook | None = None


class AuthorizationConfiguration(Struct, frozen=True):
    authorizers: tuple[AuthorizerSettings, ...] = ()


DEFAULT = AuthorizationConfiguration((AuthorizerSettings("Node", "node"), AuthorizerSettings("RBAC", "rbac")))


def load(document: Any, needed: Collection[str] = ()) -> AuthorizationConfiguration:
    """The configuration that a document states; ``needed`` are types that it must name.

    Raises :class:`ConfigurationError` with every error in upstream's words.
    """
    made = parse(AuthorizationConfiguration, versioned(document, "AuthorizationConfiguration"))
    refuse(errors(made))
    wrong = [
        f"expected name {each.type.lower()} for authorizer {each.type} instead of {each.name}"
        for each in made.authorizers
        if each.type != "Webhook" and each.name != each.type.lower()
    ]
    if missing := sorted(set(needed) - {each.type for each in made.authorizers}):
        wrong.append(f"missing required types: [{' '.join(missing)}]")
    if wrong:
        raise ConfigurationError(aggregate(wrong))
    return made


def of_modes(
    modes: Sequence[str], webhook: Webhook | None = None, policy_file: str = "", *, files: bool = True
) -> AuthorizationConfiguration:
    """As ``--authorization-mode`` and the flags beside it state it. Raises :class:`ConfigurationError`.

    ``files`` False: whether the webhook's kubeconfig is there is not looked at.
    """
    wrong: list[str] = []
    for mode in modes:
        if mode not in TYPES:
            wrong.append(f'authorization-mode "{mode}" is not a valid mode')
        if mode == "ABAC" and not policy_file:
            wrong.append("authorization-mode ABAC's authorization policy file not passed")
        if mode == "Webhook" and webhook is None:
            wrong.append("authorization-mode Webhook's authorization config file not passed")
    if policy_file and "ABAC" not in modes:
        wrong.append("cannot specify --authorization-policy-file without mode ABAC")
    if webhook is not None and "Webhook" not in modes:
        wrong.append("cannot specify --authorization-webhook-config-file without mode Webhook")
    if len(set(modes)) != len(modes):
        listed = " ".join(f'"{mode}"' for mode in modes)
        wrong.append(f"authorization-mode [{listed}] has mode specified more than once")
    if wrong:
        raise ConfigurationError(aggregate(wrong))
    made = AuthorizationConfiguration(
        tuple(
            AuthorizerSettings(mode, mode.lower(), webhook if mode == "Webhook" else None) for mode in modes
        )
    )
    if files or webhook is None:
        refuse(errors(made))
    return made


def errors(made: AuthorizationConfiguration) -> list[FieldError]:
    """What is wrong, by upstream's validation."""
    if not made.authorizers:
        return [required("authorizers", "at least one authorization mode must be defined")]
    found: list[FieldError] = []
    types: set[str] = set()
    seen: set[str] = set()
    for index, each in enumerate(made.authorizers):
        path = f"authorizers[{index}]"
        if not each.type:
            found.append(required(f"{path}.type"))
            continue
        if each.type not in TYPES:
            found.append(not_supported(f"{path}.type", each.type, TYPES))
            continue
        if each.type in types and each.type != "Webhook":
            found.append(duplicate(f"{path}.type", each.type))
            continue
        types.add(each.type)
        found += _name_errors(each.name, f"{path}.name", seen)
        seen.add(each.name)
        if each.type != "Webhook" and each.webhook is not None:
            detail = "may only be specified when type=Webhook"
            found.append(invalid(f"{path}.webhook", "non-null", detail))
        elif each.type == "Webhook" and each.webhook is None:
            found.append(required(f"{path}.webhook", "required when type=Webhook"))
        elif each.webhook is not None:
            found += _webhook_errors(each.webhook, path)
    return found


def _name_errors(name: str, path: str, seen: set[str]) -> list[FieldError]:
    if not name:
        return [required(path)]
    if name in seen:
        return [duplicate(path, name)]
    wrong = names.dns1123_subdomain(name)
    return [invalid(path, name, f"authorizer name is invalid: {', '.join(wrong)}")] if wrong else []


def _webhook_errors(webhook: Webhook, path: str) -> list[FieldError]:
    found = _time_errors(webhook, path)
    versions = ("v1", "v1beta1")
    if not webhook.subject_access_review_version:
        found.append(required(f"{path}.subjectAccessReviewVersion"))
    elif webhook.subject_access_review_version not in versions:
        where = f"{path}.subjectAccessReviewVersion"
        found.append(not_supported(where, webhook.subject_access_review_version, versions))
    where = f"{path}.matchConditionSubjectAccessReviewVersion"
    matched = webhook.match_condition_subject_access_review_version
    if not matched and webhook.match_conditions:
        found.append(required(where, "required if match conditions are specified"))
    elif matched not in ("", "v1"):
        found.append(not_supported(where, matched, ("v1",)))
    if not webhook.failure_policy:
        found.append(required(f"{path}.failurePolicy"))
    elif webhook.failure_policy not in ("NoOpinion", "Deny"):
        found.append(not_supported(f"{path}.failurePolicy", webhook.failure_policy, ("NoOpinion", "Deny")))
    return [*found, *_connection_errors(webhook.connection_info, path), *_condition_errors(webhook, path)]


def _time_errors(webhook: Webhook, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key, text, longest in (
        ("timeout", webhook.timeout, _LONGEST),
        ("authorizedTTL", webhook.authorized_ttl, 0.0),
        ("unauthorizedTTL", webhook.unauthorized_ttl, 0.0),
    ):
        where = f"{path}.{key}"
        try:
            seconds = durations.parse(text) if text else 0.0
        except ValueError as error:
            found.append(invalid(where, text, str(error)))
            continue
        if seconds == 0:
            found.append(required(where))
        elif seconds < 0 or (longest and seconds > longest):
            detail = "must be > 0s and <= 30s" if longest else "must be > 0s"
            found.append(invalid(where, text, detail))
    return found


def _connection_errors(info: ConnectionInfo, path: str) -> list[FieldError]:
    where = f"{path}.connectionInfo"
    if not info.type:
        return [required(f"{where}.type")]
    if info.type != "KubeConfigFile":
        return [not_supported(f"{where}.type", info.type, ("KubeConfigFile",))]
    where += ".kubeConfigFile"
    file = Path(info.kube_config_file)
    if not info.kube_config_file:
        return [required(where)]
    if not file.is_absolute():
        return [invalid(where, info.kube_config_file, "must be an absolute path")]
    if not file.exists():
        detail = f"error loading file: stat {info.kube_config_file}: no such file or directory"
        return [invalid(where, info.kube_config_file, detail)]
    return [] if file.is_file() else [invalid(where, info.kube_config_file, "must be a regular file")]


def _condition_errors(webhook: Webhook, path: str) -> list[FieldError]:
    where = f"{path}.matchConditions"
    if len(webhook.match_conditions) > _MOST_CONDITIONS:
        return [too_many(where, len(webhook.match_conditions), _MOST_CONDITIONS)]
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, each in enumerate(webhook.match_conditions):
        if not each.expression.strip():
            found.append(required(f"{where}[{index}].expression"))
        elif each.expression in seen:
            found.append(duplicate(f"{where}[{index}].expression", each.expression))
        seen.add(each.expression)
    return found
