"""AuthenticationConfiguration (``apiserver.config.k8s.io``): who issues tokens besides this cluster, and who may be anonymous.

Source: the Kubernetes documentation, "Authenticating", "Using Authentication Configuration".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from sublet.apiserver.configurationfiles import refuse
from sublet.machinery.settings import ConfigurationError, parse
from sublet.machinery.status import FieldError, duplicate, invalid, required, too_many

GROUP = "apiserver.config.k8s.io"
_VERSIONS = ("v1", "v1beta1", "v1alpha1")
_MOST = 64
_CONDITION_KEYS = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


class Issuer(Struct, frozen=True):
    url: str = ""
    discovery_url: str = field(default="", name="discoveryURL")
    """Where the discovery document is, if not below the URL."""
    certificate_authority: str = ""
    """PEM; empty: the system's authorities."""
    audiences: tuple[str, ...] = ()
    audience_match_policy: str = ""
    egress_selector_type: str = ""


class ClaimValidationRule(Struct, frozen=True):
    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


class PrefixedClaim(Struct, frozen=True):
    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class ClaimOrExpression(Struct, frozen=True):
    claim: str = ""
    expression: str = ""


class ExtraMapping(Struct, frozen=True):
    key: str = ""
    value_expression: str = ""


class ClaimMappings(Struct, frozen=True):
    username: PrefixedClaim = PrefixedClaim()
    groups: PrefixedClaim = PrefixedClaim()
    uid: ClaimOrExpression = ClaimOrExpression()
    extra: tuple[ExtraMapping, ...] = ()


class UserValidationRule(Struct, frozen=True):
    expression: str = ""
    message: str = ""


class JWTAuthenticator(Struct, frozen=True):
    issuer: Issuer = Issuer()
    claim_validation_rules: tuple[ClaimValidationRule, ...] = ()
    claim_mappings: ClaimMappings = ClaimMappings()
    user_validation_rules: tuple[UserValidationRule, ...] = ()
    signing_algorithms: tuple[str, ...] = field(default=(), name="-")
    """Empty: every asymmetric one. Only ``--oidc-signing-algs`` narrows it."""


class AnonymousCondition(Struct, frozen=True):
    path: str = ""


class Anonymous(Struct, frozen=True):
    enabled: bool = False
    conditions: tuple[AnonymousCondition, ...] = ()


class AuthenticationConfiguration(Struct, frozen=True):
    jwt: tuple[JWTAuthenticator, ...] = ()
    anonymous: Anonymous | None = None


def versioned(document: Any, kind: str) -> dict[str, Any]:
    """A document of the configuration API without its ``apiVersion`` and ``kind``. Raises ``ConfigurationError``."""
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"want a document of kind {kind}, not {document!r}")
    group, _, version = str(document.get("apiVersion") or "").partition("/")
    if group != GROUP or version not in _VERSIONS or document.get("kind") != kind:
        raise ConfigurationError(
            f"want kind {kind} of {GROUP}/{{{', '.join(_VERSIONS)}}}, not kind {document.get('kind')} "
            f"of {document.get('apiVersion')}"
        )
    return {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}


def load(document: Any, disallowed_issuers: Sequence[str] = ()) -> AuthenticationConfiguration:
    """The configuration that a document states; its expressions are compiled by whoever uses them.

    ``disallowed_issuers``: this cluster's own. Raises :class:`ConfigurationError` with every error in upstream's words.
    """
    made = parse(AuthenticationConfiguration, versioned(document, "AuthenticationConfiguration"))
    refuse(errors(made, disallowed_issuers))
    return made


def errors(made: AuthenticationConfiguration, disallowed_issuers: Sequence[str]) -> list[FieldError]:
    """What is wrong, by upstream's validation."""
    if len(made.jwt) > _MOST:
        return [too_many("jwt", len(made.jwt), _MOST)]
    found: list[FieldError] = []
    issuers: set[str] = set()
    discovery: set[str] = set()
    for index, each in enumerate(made.jwt):
        path = f"jwt[{index}]"
        found += jwt_errors(each, path, disallowed_issuers)
        if each.issuer.url in issuers:
            found.append(duplicate(f"{path}.issuer.url", each.issuer.url))
        issuers.add(each.issuer.url)
        if each.issuer.discovery_url and each.issuer.discovery_url in discovery:
            found.append(duplicate(f"{path}.issuer.discoveryURL", each.issuer.discovery_url))
        discovery.add(each.issuer.discovery_url)
    if made.anonymous and made.anonymous.conditions and not made.anonymous.enabled:
        shown = [{"path": each.path} for each in made.anonymous.conditions]
        detail = "enabled should be set to true when conditions are defined"
        found.append(invalid("anonymous.conditions", shown, detail))
    return found


def jwt_errors(made: JWTAuthenticator, path: str, disallowed_issuers: Sequence[str] = ()) -> list[FieldError]:
    return [
        *_issuer_errors(made.issuer, f"{path}.issuer", disallowed_issuers),
        *_claim_rule_errors(made.claim_validation_rules, f"{path}.claimValidationRules"),
        *_mapping_errors(made.claim_mappings, f"{path}.claimMappings"),
        *_user_rule_errors(made.user_validation_rules, f"{path}.userValidationRules"),
    ]


def _issuer_errors(issuer: Issuer, path: str, disallowed: Sequence[str]) -> list[FieldError]:
    found: list[FieldError] = []
    if not issuer.url:
        found.append(required(f"{path}.url"))
    else:
        found += _url_errors(issuer.url, f"{path}.url", disallowed)
    if issuer.discovery_url:
        if issuer.url.rstrip("/") == issuer.discovery_url.rstrip("/"):
            detail = "discoveryURL must be different from URL"
            found.append(invalid(f"{path}.discoveryURL", issuer.discovery_url, detail))
        found += _url_errors(issuer.discovery_url, f"{path}.discoveryURL", ())
    found += _audience_errors(issuer, path)
    if issuer.certificate_authority and not _is_pem(issuer.certificate_authority):
        detail = "data does not contain any valid RSA or ECDSA certificates"
        found.append(invalid(f"{path}.certificateAuthority", "<omitted>", detail))
    if issuer.egress_selector_type:
        detail = "there is no egress selector here: issuers are reached directly"
        found.append(invalid(f"{path}.egressSelectorType", issuer.egress_selector_type, detail))
    return found


def _url_errors(url: str, path: str, disallowed: Sequence[str]) -> list[FieldError]:
    found: list[FieldError] = []
    if url in disallowed:
        listed = " ".join(sorted(disallowed))
        found.append(invalid(path, url, f"URL must not overlap with disallowed issuers: [{listed}]"))
    try:
        parts = urlsplit(url)
        user = parts.username
    except ValueError as error:
        return [*found, invalid(path, url, str(error))]
    if parts.scheme != "https":
        found.append(invalid(path, url, "URL scheme must be https"))
    if user is not None:
        found.append(invalid(path, url, "URL must not contain a username or password"))
    if parts.query:
        found.append(invalid(path, url, "URL must not contain a query"))
    if parts.fragment:
        found.append(invalid(path, url, "URL must not contain a fragment"))
    return found


def _audience_errors(issuer: Issuer, path: str) -> list[FieldError]:
    where, policy = f"{path}.audiences", issuer.audience_match_policy
    if not issuer.audiences:
        return [required(where, f"at least one {where} is required")]
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            found.append(required(f"{where}[{index}]"))
        if audience in seen:
            found.append(duplicate(f"{where}[{index}]", audience))
        seen.add(audience)
    if len(issuer.audiences) > 1 and policy != "MatchAny":
        detail = "audienceMatchPolicy must be MatchAny for multiple audiences"
        found.append(invalid(f"{path}.audienceMatchPolicy", policy, detail))
    elif policy not in ("", "MatchAny"):
        detail = "audienceMatchPolicy must be empty or MatchAny for single audience"
        found.append(invalid(f"{path}.audienceMatchPolicy", policy, detail))
    return found


def _claim_rule_errors(rules: Sequence[ClaimValidationRule], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    claims: set[str] = set()
    expressions: set[str] = set()
    for index, rule in enumerate(rules):
        where = f"{path}[{index}]"
        if rule.claim and rule.expression:
            found.append(invalid(where, rule.claim, "claim and expression can't both be set"))
        elif not rule.claim and not rule.expression:
            found.append(required(where, "claim or expression is required"))
        elif rule.claim:
            if rule.message:
                found.append(
                    invalid(f"{where}.message", rule.message, "may not be specified when claim is set")
                )
            if rule.claim in claims:
                found.append(duplicate(f"{where}.claim", rule.claim))
            claims.add(rule.claim)
        else:
            if rule.required_value:
                detail = "may not be specified when expression is set"
                found.append(invalid(f"{where}.requiredValue", rule.required_value, detail))
            if rule.expression in expressions:
                found.append(duplicate(f"{where}.expression", rule.expression))
            expressions.add(rule.expression)
    return found


def _mapping_errors(mappings: ClaimMappings, path: str) -> list[FieldError]:
    found = _prefixed_errors(mappings.username, f"{path}.username", needed=True)
    found += _prefixed_errors(mappings.groups, f"{path}.groups", needed=False)
    if mappings.uid.claim and mappings.uid.expression:
        found.append(invalid(f"{path}.uid", "", "claim and expression can't both be set"))
    seen: set[str] = set()
    for index, extra in enumerate(mappings.extra):
        where = f"{path}.extra[{index}]"
        found += _key_errors(extra.key, f"{where}.key")
        if extra.key in seen:
            found.append(duplicate(f"{where}.key", extra.key))
            continue
        seen.add(extra.key)
        if not extra.value_expression:
            found.append(required(f"{where}.valueExpression"))
    return found


def _prefixed_errors(mapping: PrefixedClaim, path: str, *, needed: bool) -> list[FieldError]:
    if mapping.expression and mapping.claim:
        return [invalid(path, "", "claim and expression can't both be set")]
    if mapping.expression:
        if mapping.prefix is not None:
            detail = "may not be specified when expression is set"
            return [invalid(f"{path}.prefix", mapping.prefix, detail)]
        return []
    if mapping.claim:
        if mapping.prefix is None:
            detail = (
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            )
            return [required(f"{path}.prefix", detail)]
        return []
    return [required(path, "claim or expression is required")] if needed else []


def _key_errors(key: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if not key:
        found.append(required(path))
    elif not _CONDITION_KEYS.fullmatch(key):
        found.append(invalid(path, key, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    if key != key.lower():
        found.append(invalid(path, key, "must be lowercase"))
    domain = key.partition("/")[0] if "/" in key else ""
    if domain in ("k8s.io", "kubernetes.io") or domain.endswith((".k8s.io", ".kubernetes.io")):
        detail = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
        found.append(invalid(path, key, detail))
    return found


def _user_rule_errors(rules: Sequence[UserValidationRule], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        where = f"{path}[{index}].expression"
        if not rule.expression:
            found.append(required(where))
        elif rule.expression in seen:
            found.append(duplicate(where, rule.expression))
        seen.add(rule.expression)
    return found


def _is_pem(text: str) -> bool:
    from cryptography import x509

    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False
