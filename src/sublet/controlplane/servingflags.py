"""kube-apiserver's flags about where and how it is served (see :mod:`sublet.controlplane.flags`)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sublet.apiserver.server import TLSChoice
from sublet.controlplane.addresses import service_range
from sublet.controlplane.flagparser import WHOLE
from sublet.kinds import betas
from sublet.machinery import regexp
from sublet.machinery.settings import ConfigurationError

if TYPE_CHECKING:
    from sublet.apiserver.servingcerts import ServingFiles

_VERSIONS = ("", "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
_TLS12 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
"""IANA's names, which flags use, and OpenSSL's."""
_ALIASES = {
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Always on: TLS 1.3 has no others, and upstream lets nobody choose among them either."""
_STARTS = ("^", "//")
_ENDS = ("$", ":")
_MAX_AGE = re.compile(r"max-age=\d+")
_DIRECTIVES = ("includeSubDomains", "preload")


@dataclass(frozen=True)
class ServingFlags:
    """Defaults are upstream's; empty addresses are those of ``sublet run``'s own options."""

    advertise_address: str = ""
    bind_address: str = ""
    cors_allowed_origins: tuple[str, ...] = ()
    min_request_timeout: int = 1800
    """Seconds that a watch lasts at least, where its client names no time."""
    runtime_config: tuple[str, ...] = ()
    secure_port: int = 0
    service_cluster_ip_range: tuple[str, ...] = ()
    strict_transport_security_directives: tuple[str, ...] = ()
    tls_cert_file: str = ""
    tls_cipher_suites: tuple[str, ...] = ()
    tls_min_version: str = ""
    tls_private_key_file: str = ""
    tls_sni_cert_key: tuple[str, ...] = field(default=(), metadata=WHOLE)
    """``certificate,key`` or ``certificate,key:name,name`` each."""


def places(flags: ServingFlags) -> dict[str, Any]:
    """The fields of an Assembly about where it is served that the flags state. Raises :class:`ConfigurationError`."""
    found: dict[str, Any] = {}
    for flag, address in (
        ("--advertise-address", flags.advertise_address),
        ("--bind-address", flags.bind_address),
    ):
        if address:
            _address(flag, address)
    if flags.bind_address:
        found["host"] = flags.bind_address
    if flags.advertise_address:
        found["advertise_address"] = flags.advertise_address
    if flags.secure_port:
        if flags.secure_port > 65535:
            raise ConfigurationError(
                f"--secure-port {flags.secure_port} must be between 1 and 65535, inclusive. It cannot be turned off "
                "with 0"
            )
        found["port"] = flags.secure_port
    if flags.service_cluster_ip_range:
        found["service_cidr"] = service_range(",".join(flags.service_cluster_ip_range))
    if flags.tls_min_version not in _VERSIONS:
        raise ConfigurationError(f'unknown tls version "{flags.tls_min_version}"')
    found["tls"] = TLSChoice(flags.tls_min_version == "VersionTLS13", _ciphers(flags.tls_cipher_suites))
    if flags.tls_cert_file or flags.tls_private_key_file or flags.tls_sni_cert_key:
        found["certificates"] = _certificates(flags)
    return found


def serving(flags: ServingFlags, minor: str) -> dict[str, Any]:
    """The fields of :class:`~sublet.apiserver.settings.APIServerSettings` that the flags state.

    ``minor``: the one that is served. Raises :class:`ConfigurationError`.
    """
    return {
        "cors_allowed_origins": tuple(_origin(each) for each in flags.cors_allowed_origins),
        "further_versions": _runtime_config(flags.runtime_config, minor),
        "min_request_timeout": flags.min_request_timeout,
        "strict_transport_security": _directives(flags.strict_transport_security_directives),
    }


def _address(flag: str, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ConfigurationError(
            f'invalid argument "{text}" for "{flag}" flag: failed to parse IP: "{text}"'
        ) from None


def _certificates(flags: ServingFlags) -> ServingFiles:
    from sublet.apiserver.servingcerts import Pair, ServingFiles

    default = None
    if flags.tls_cert_file or flags.tls_private_key_file:
        if not flags.tls_cert_file or not flags.tls_private_key_file:
            raise ConfigurationError("missing filename for serving cert")
        default = Pair(Path(flags.tls_cert_file), Path(flags.tls_private_key_file))
    named = []
    for stated in flags.tls_sni_cert_key:
        files, colon, listed = stated.partition(":")
        names = tuple(each.strip() for each in listed.split(","))
        paths = [each.strip() for each in files.split(",")]
        why = ""
        if colon and not listed.strip():
            why = "empty names list is not allowed"
        elif len(paths) != 2:
            why = "expected comma separated certificate and key file paths"
        if why:
            raise ConfigurationError(f'invalid argument "{stated}" for "--tls-sni-cert-key" flag: {why}')
        if not all(paths):
            raise ConfigurationError("missing filename for serving cert")
        named.append(Pair(Path(paths[0]), Path(paths[1]), names if colon else ()))
    return ServingFiles(default, tuple(named))


def _ciphers(stated: Sequence[str]) -> tuple[str, ...]:
    found = []
    for name in stated:
        if name in _TLS13:
            continue
        openssl = _TLS12.get(_ALIASES.get(name, name))
        if openssl is None:
            raise ConfigurationError(f"Cipher suite {name} not supported or doesn't exist")
        found.append(openssl)
    return tuple(found)


def _origin(pattern: str) -> str:
    """Go's expression, which must say where the host of an origin begins and ends."""
    try:
        regexp.compiled(pattern)
    except ValueError as error:
        raise ConfigurationError(
            f"--cors-allowed-origins has an invalid regular expression: {error}"
        ) from None
    if not any(each in pattern for each in _STARTS) or not any(each in pattern for each in _ENDS):
        raise ConfigurationError(
            "--cors-allowed-origins has an invalid regular expression: "
            "regular expression does not pin to start/end of host in the origin header"
        )
    return pattern


def _directives(stated: Sequence[str]) -> tuple[str, ...]:
    for each in stated:
        if not _MAX_AGE.fullmatch(each) and each not in _DIRECTIVES:
            raise ConfigurationError(
                f"--strict-transport-security-directives invalid, allowed values: max-age=expireTime, "
                f"includeSubDomains, preload. see https://tools.ietf.org/html/rfc6797#section-6.1 for more information: "
                f"{each!r}"
            )
    return tuple(stated)


def _runtime_config(stated: Sequence[str], minor: str) -> frozenset[str]:
    """What is served beside the stable APIs, which cannot be switched off; to ask for what is not here is refused."""
    switched: dict[str, bool] = {}
    for each in stated:
        key, _, value = each.partition("=")
        if value.lower() not in ("", "true", "false"):
            raise ConfigurationError(f"invalid value {each}")
        on = value.lower() != "false"
        if not on and key in ("api/all", "api/ga", *betas.stable(minor)):
            raise ConfigurationError(f"--runtime-config: {each}: APIs cannot be switched off here")
        if on and not betas.known(key, minor):
            raise ConfigurationError(f"--runtime-config: {each}: there is no such API here")
        switched[key] = on
    return betas.asked_for(switched, minor)
