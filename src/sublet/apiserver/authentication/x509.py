"""Client certificates: common name is the user, organizations are the groups; and the front proxy's headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sublet.apiserver.authentication.authenticator import with_authenticated
from sublet.client.exchange import Request, User
from sublet.machinery.clock import Clock
from sublet.machinery.status import Unauthorized

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_UID = "1.3.6.1.4.1.57683.2"
_KEPT = 1024
_EXTRA = "x-remote-extra-"


@dataclass(frozen=True, slots=True)
class _Known:
    """What a certificate says, read once."""

    user: User | None
    """None: issued by none of the authorities."""
    begins: float
    ends: float


class Certificates:
    """Reads and checks certificates of some authorities; remembers what it read."""

    def __init__(self, authorities_pem: bytes, clock: Clock) -> None:
        self._pem = authorities_pem
        self._clock = clock
        self._authorities: list[Certificate] | None = None
        self._known: dict[bytes, _Known] = {}

    def user(self, der: bytes) -> User | None:
        """Whom a certificate names; None where another authority issued it. Raises ``Unauthorized`` out of time."""
        known = self._known.get(der)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[der] = self._read(der)
        if known.user is not None and not known.begins <= self._clock.now() <= known.ends:
            raise Unauthorized
        return known.user

    def _read(self, der: bytes) -> _Known:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        if self._authorities is None:
            self._authorities = x509.load_pem_x509_certificates(self._pem)
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            raise Unauthorized from None
        begins = certificate.not_valid_before_utc.timestamp()
        ends = certificate.not_valid_after_utc.timestamp()
        for authority in self._authorities:
            try:
                certificate.verify_directly_issued_by(authority)
            except (InvalidSignature, ValueError, TypeError):
                continue
            return _Known(_user(certificate), begins, ends)
        return _Known(None, begins, ends)


def _user(certificate: Certificate) -> User | None:
    from cryptography.x509.oid import NameOID

    names: dict[str, list[str]] = {}
    for attribute in certificate.subject:
        names.setdefault(attribute.oid.dotted_string, []).append(str(attribute.value))
    common = names.get(NameOID.COMMON_NAME.dotted_string)
    if not common:
        return None
    groups = tuple(names.get(NameOID.ORGANIZATION_NAME.dotted_string, ()))
    uid = next(iter(names.get(_UID, ())), "")
    from cryptography.hazmat.primitives import hashes

    identity = "X509SHA256=" + certificate.fingerprint(hashes.SHA256()).hex()
    extra = {"authentication.kubernetes.io/credential-id": (identity,)}
    # Completed here, once, so that a request costs no copy.
    return with_authenticated(User(common[0], groups, uid, extra))


class ClientCertificates:
    """The method for certificates of the client authority."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    async def authenticate(self, request: Request) -> User | None:
        der = request.peer_certificate
        return None if der is None else self._certificates.user(der)


class FrontProxy:
    """``X-Remote-User`` and its companions, believed from a proxy with a certificate of the front-proxy authority.

    ``allowed_names``: common names that may; empty: any that the authority certified.
    """

    def __init__(self, certificates: Certificates, allowed_names: Sequence[str]) -> None:
        self._certificates = certificates
        self._allowed = frozenset(allowed_names)

    async def authenticate(self, request: Request) -> User | None:
        headers = request.headers
        if request.peer_certificate is None or "x-remote-user" not in headers:
            return None
        proxy = self._certificates.user(request.peer_certificate)
        if proxy is None or (self._allowed and proxy.name not in self._allowed):
            return None
        extra = {
            unquote(key[len(_EXTRA) :]): tuple(value.split("\n"))
            for key, value in headers.items()
            if key.startswith(_EXTRA)
        }
        groups = tuple(filter(None, headers.get("x-remote-group", "").split("\n")))
        return User(headers["x-remote-user"], groups, headers.get("x-remote-uid", ""), extra)
