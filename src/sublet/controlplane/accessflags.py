"""kube-apiserver's flags about who asks and who may (see :mod:`sublet.controlplane.flags`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sublet.apiserver.access import AuthorizationSettings
from sublet.apiserver.authentication import configuration as jwt
from sublet.apiserver.authentication import statictoken
from sublet.apiserver.authentication.oidc import ALGORITHMS
from sublet.apiserver.authentication.webhook import TokenWebhookSettings
from sublet.apiserver.authentication.x509 import ProxyHeaders
from sublet.apiserver.authorization import configuration as authorization
from sublet.client.exchange import User
from sublet.machinery.settings import ConfigurationError

_DURATION = {"unit": "duration"}


@dataclass(frozen=True)
class AccessFlags:
    """Defaults are upstream's. Durations are seconds."""

    anonymous_auth: bool | None = None
    """None: yes, and an AuthenticationConfiguration may say otherwise."""
    api_audiences: tuple[str, ...] = ()
    authentication_config: str = ""
    authentication_token_webhook_cache_ttl: float = field(default=120.0, metadata=_DURATION)
    authentication_token_webhook_config_file: str = ""
    authentication_token_webhook_version: Literal["v1", "v1beta1"] = "v1beta1"
    authorization_config: str = ""
    authorization_mode: tuple[str, ...] = ()
    authorization_policy_file: str = ""
    authorization_webhook_cache_authorized_ttl: float = field(default=300.0, metadata=_DURATION)
    authorization_webhook_cache_unauthorized_ttl: float = field(default=30.0, metadata=_DURATION)
    authorization_webhook_config_file: str = ""
    authorization_webhook_version: Literal["v1", "v1beta1"] = "v1beta1"
    client_ca_file: str = ""
    """Beside the control plane's own authority, whose clients it needs."""
    enable_bootstrap_token_auth: bool = True
    oidc_ca_file: str = ""
    oidc_client_id: str = ""
    oidc_groups_claim: str = ""
    oidc_groups_prefix: str = ""
    oidc_issuer_url: str = ""
    oidc_required_claim: tuple[str, ...] = ()
    oidc_signing_algs: tuple[str, ...] = ("RS256",)
    oidc_username_claim: str = "sub"
    oidc_username_prefix: str = ""
    requestheader_allowed_names: tuple[str, ...] = ()
    requestheader_client_ca_file: str = ""
    requestheader_extra_headers_prefix: tuple[str, ...] = ()
    requestheader_group_headers: tuple[str, ...] = ()
    requestheader_uid_headers: tuple[str, ...] = ()
    requestheader_username_headers: tuple[str, ...] = ()
    service_account_extend_token_expiration: bool = True
    service_account_issuer: tuple[str, ...] = ()
    service_account_jwks_uri: str = ""
    service_account_key_file: tuple[str, ...] = ()
    service_account_max_token_expiration: float = field(default=0.0, metadata=_DURATION)
    token_auth_file: str = ""


class _Files:
    """The files that flags name; nothing is looked at where they are on another machine."""

    def __init__(self, here: bool) -> None:
        self._here = here

    def path(self, flag: str, path: str) -> Path:
        file = Path(path)
        if self._here and not file.is_file():
            raise ConfigurationError(f"{flag}: {path} is not there, or no file")
        return file

    def content(self, flag: str, path: str) -> bytes:
        try:
            return Path(path).read_bytes() if self._here else b""
        except OSError as error:
            raise ConfigurationError(f"{flag}: {path} cannot be read: {error.strerror}") from None

    def tokens(self, path: str) -> Mapping[str, User]:
        try:
            return statictoken.read(Path(path)) if self._here else {}
        except OSError as error:
            raise ConfigurationError(f"--token-auth-file: {path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigurationError(f"--token-auth-file: {error}") from None


def authentication(flags: AccessFlags, *, files: bool = True) -> dict[str, Any]:
    """The fields of :class:`~sublet.apiserver.authentication.build.AuthenticationSettings` that the flags state.

    ``further_client_ca`` and ``further_front_proxy_ca`` (PEM) come beside the control plane's own authorities. Raises
    :class:`ConfigurationError` for values that cannot be together, and for files that cannot be read. ``files`` False:
    no file is looked at, since they are elsewhere: only the values are judged.
    """
    read = _Files(files)
    made: dict[str, Any] = {
        "bootstrap_tokens": flags.enable_bootstrap_token_auth,
        "extend_tokens": flags.service_account_extend_token_expiration,
        "jwks_uri": _https("--service-account-jwks-uri", flags.service_account_jwks_uri),
        "max_token_seconds": _longest(flags.service_account_max_token_expiration),
        "audiences": flags.api_audiences,
        "anonymous": flags.anonymous_auth is not False,
    }
    if flags.service_account_issuer:
        made["issuer"], *more = flags.service_account_issuer
        made["further_issuers"] = tuple(more)
    if flags.service_account_key_file:
        keys = [read.content("--service-account-key-file", each) for each in flags.service_account_key_file]
        made["service_account_public_keys"] = b"\n".join(keys)
    if flags.client_ca_file:
        made["further_client_ca"] = read.content("--client-ca-file", flags.client_ca_file)
    if flags.token_auth_file:
        made["static_tokens"] = read.tokens(flags.token_auth_file)
    if flags.authentication_token_webhook_config_file:
        made["token_webhook"] = TokenWebhookSettings(
            read.path("--authentication-token-webhook-config-file", flags.authentication_token_webhook_config_file),
            flags.authentication_token_webhook_cache_ttl,
            flags.authentication_token_webhook_version,
        )  # fmt: skip
    return made | _issuers(flags, read) | _proxy(flags, read)


def authorizers(flags: AccessFlags, *, files: bool = True) -> AuthorizationSettings:
    """As :func:`authentication`."""
    read = _Files(files)
    policies = None
    if flags.authorization_policy_file:
        policies = read.path("--authorization-policy-file", flags.authorization_policy_file)
    if flags.authorization_config:
        if flags.authorization_mode or flags.authorization_webhook_config_file:
            raise ConfigurationError(
                "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* "
                "flags are defined"
            )
        return AuthorizationSettings(
            configuration_file=read.path("--authorization-config", flags.authorization_config),
            policy_file=policies,
        )
    stated = (
        flags.authorization_mode,
        flags.authorization_webhook_config_file,
        flags.authorization_policy_file,
    )
    if not any(stated):
        return AuthorizationSettings()
    webhook = None
    if flags.authorization_webhook_config_file:
        file = read.path("--authorization-webhook-config-file", flags.authorization_webhook_config_file)
        webhook = authorization.Webhook(
            authorized_ttl=f"{flags.authorization_webhook_cache_authorized_ttl:g}s",
            unauthorized_ttl=f"{flags.authorization_webhook_cache_unauthorized_ttl:g}s",
            timeout="30s",
            subject_access_review_version=flags.authorization_webhook_version,
            failure_policy="NoOpinion",
            connection_info=authorization.ConnectionInfo("KubeConfigFile", str(file.absolute())),
        )
    return AuthorizationSettings(
        authorization.of_modes(
            flags.authorization_mode or ("Node", "RBAC"),
            webhook,
            flags.authorization_policy_file,
            files=files,
        ),
        policy_file=policies,
    )


def _issuers(flags: AccessFlags, read: _Files) -> dict[str, Any]:
    if flags.authentication_config:
        if flags.oidc_issuer_url or flags.oidc_client_id:
            raise ConfigurationError("--authentication-config file and --oidc-* flags are mutually exclusive")
        return {"configuration_file": read.path("--authentication-config", flags.authentication_config)}
    if bool(flags.oidc_issuer_url) != bool(flags.oidc_client_id):
        raise ConfigurationError("--oidc-issuer-url and --oidc-client-id must be specified together")
    if not flags.oidc_issuer_url:
        return {}
    for algorithm in flags.oidc_signing_algs:
        if algorithm not in ALGORITHMS:
            raise ConfigurationError(
                f'--oidc-signing-algs: unsupported signing algorithm "{algorithm}"; there are {", ".join(ALGORITHMS)}'
            )
    made = jwt.JWTAuthenticator(
        jwt.Issuer(
            flags.oidc_issuer_url,
            audiences=(flags.oidc_client_id,),
            certificate_authority=(
                read.content("--oidc-ca-file", flags.oidc_ca_file).decode() if flags.oidc_ca_file else ""
            ),
        ),
        tuple(_required_claim(each) for each in flags.oidc_required_claim),
        jwt.ClaimMappings(
            jwt.PrefixedClaim(flags.oidc_username_claim, _username_prefix(flags)),
            jwt.PrefixedClaim(flags.oidc_groups_claim, flags.oidc_groups_prefix),
        ),
        signing_algorithms=flags.oidc_signing_algs,
    )
    return {"configuration": jwt.AuthenticationConfiguration((made,))}


def _username_prefix(flags: AccessFlags) -> str:
    """``-``: none; without one, every name but an address gets the issuer's, so that names of issuers never meet."""
    if flags.oidc_username_prefix == "-":
        return ""
    if not flags.oidc_username_prefix and flags.oidc_username_claim != "email":
        return f"{flags.oidc_issuer_url}#"
    return flags.oidc_username_prefix


def _required_claim(text: str) -> jwt.ClaimValidationRule:
    claim, equals, value = text.partition("=")
    if not equals or not claim:
        raise ConfigurationError(f"--oidc-required-claim must be like key=value, not {text!r}")
    return jwt.ClaimValidationRule(claim, value)


def _proxy(flags: AccessFlags, read: _Files) -> dict[str, Any]:
    usual = ProxyHeaders()
    names = ProxyHeaders(
        _lower(flags.requestheader_username_headers) or usual.username,
        _lower(flags.requestheader_uid_headers) or usual.uid,
        _lower(flags.requestheader_group_headers) or usual.group,
        _lower(flags.requestheader_extra_headers_prefix) or usual.extra_prefixes,
    )
    made: dict[str, Any] = {"front_proxy_headers": names}
    if flags.requestheader_client_ca_file:
        made["further_front_proxy_ca"] = read.content(
            "--requestheader-client-ca-file", flags.requestheader_client_ca_file
        )
    if flags.requestheader_allowed_names:
        # The control plane's own proxy certificate is named besides: aggregation needs it.
        made["front_proxy_names"] = (*flags.requestheader_allowed_names, "front-proxy-client")
    return made


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _longest(seconds: float) -> int:
    if seconds and not 3600 <= seconds <= 1 << 32:
        raise ConfigurationError(
            "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
        )
    return int(seconds)


def _https(flag: str, url: str) -> str:
    if url and not url.startswith("https://"):
        raise ConfigurationError(f"{flag} requires https scheme, parsed as: {url}")
    return url
