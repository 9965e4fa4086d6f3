"""Client certificates: common name is the user, organizations are the groups; and the front proxy's headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from sublet.apiserver.authentication.authenticator import with_authenticated
from sublet.apiserver.headerrules import unescaped, utf8
from sublet.client.exchange import Request, User
from sublet.machinery.clock import Clock
from sublet.machinery.exposition import Histogram, heading
from sublet.machinery.status import Unauthorized

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_UID = "1.3.6.1.4.1.57683.2"
_KEPT = 1024
_DEPTH = 8
_HOUR, _DAY = 3600.0, 86400.0
_LIFETIMES = (
    0.0, _HOUR / 2, _HOUR, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY,
    180 * _DAY, 365 * _DAY,
)  # fmt: skip
"""Upstream's buckets."""


class _Known(Struct, frozen=True):
    """What a certificate says, read once."""

    issued: bool
    """Whether an authority issued it, itself or through intermediates, and for clients."""
    user: User | None
    """None: it names nobody."""
    begins: float
    ends: float
    """Unix seconds: when the whole chain counts."""


class Certificates:
    """Reads and checks certificates of some authorities; remembers what it read."""

    def __init__(self, authorities_pem: bytes, clock: Clock) -> None:
        self._pem = authorities_pem
        self._clock = clock
        self._authorities: list[Certificate] | None = None
        self._known: dict[tuple[bytes, tuple[bytes, ...]], _Known] = {}
        self.lifetimes = Histogram(_LIFETIMES)
        """Seconds that certificates were still good for when somebody showed them."""

    def user(self, der: bytes, intermediates: tuple[bytes, ...] = ()) -> User | None:
        """Whom a certificate names; None: nobody. Raises ``Unauthorized`` for a stranger's, or one out of time."""
        key = (der, intermediates)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = self._read(der, intermediates)
        now = self._clock.now()
        if not known.issued or not known.begins <= now <= known.ends:
            raise Unauthorized
        self.lifetimes.observe(known.ends - now)
        return known.user

    def lines(self) -> Iterator[str]:
        """In Prometheus' text format."""
        name = "apiserver_client_certificate_expiration_seconds"
        what = "[ALPHA] Distribution of the remaining lifetime on the certificate used to authenticate a request."
        yield from heading(name, what, "histogram")
        yield from self.lifetimes.lines(name, "")

    def _read(self, der: bytes, intermediates: tuple[bytes, ...]) -> _Known:
        from cryptography import x509

        if self._authorities is None:
            self._authorities = x509.load_pem_x509_certificates(self._pem)
        try:
            certificate = x509.load_der_x509_certificate(der)
            between = [x509.load_der_x509_certificate(each) for each in intermediates[:_DEPTH]]
            chain = _chain(certificate, between, self._authorities)
            if chain is None or not _for_clients(certificate):
                return _STRANGER
            begins = max(each.not_valid_before_utc.timestamp() for each in chain)
            ends = min(each.not_valid_after_utc.timestamp() for each in chain)
            return _Known(True, _user(certificate), begins, ends)
        except ValueError:
            return _STRANGER


_STRANGER = _Known(False, None, 0.0, 0.0)


def _chain(
    certificate: Certificate, between: list[Certificate], authorities: list[Certificate], below: int = 0
) -> list[Certificate] | None:
    """The certificates from this one to an authority; None where no way leads there.

    ``below``: how many intermediates lead from it to the one that was shown.
    """
    for authority in authorities:
        if _issued(certificate, authority):
            return [certificate, authority]
    for index, each in enumerate(between):
        if _may_issue(each, below) and _for_clients(each) and _issued(certificate, each):
            rest = _chain(each, between[:index] + between[index + 1 :], authorities, below + 1)
            if rest is not None:
                return [certificate, *rest]
    return None


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _may_issue(certificate: Certificate, below: int) -> bool:
    """Whether it is an authority's, with so many others below it."""
    from cryptography import x509

    try:
        stated = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return stated.ca and (stated.path_length is None or below <= stated.path_length)


def _for_clients(certificate: Certificate) -> bool:
    """Without stated usages a certificate is for everything."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def _user(certificate: Certificate) -> User | None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    names: dict[str, list[str]] = {}
    for attribute in certificate.subject:
        names.setdefault(attribute.oid.dotted_string, []).append(str(attribute.value))
    common = names.get(NameOID.COMMON_NAME.dotted_string)
    if not common:
        return None
    groups = tuple(names.get(NameOID.ORGANIZATION_NAME.dotted_string, ()))
    uids = names.get(_UID, [""])
    if len(uids) > 1:
        raise ValueError("more than one user id")
    identity = "X509SHA256=" + certificate.fingerprint(hashes.SHA256()).hex()
    extra = {"authentication.kubernetes.io/credential-id": (identity,)}
    # Completed here, once, so that a request costs no copy.
    return with_authenticated(User(common[-1], groups, uids[0], extra))


class ClientCertificates:
    """The method for certificates of the client authority."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    async def authenticate(self, request: Request) -> User | None:
        der = request.peer_certificate
        return None if der is None else self._certificates.user(der, request.peer_intermediates)


class ProxyHeaders(Struct, frozen=True):
    """In which headers a proxy says who asks, in lower case; the first that is there counts."""

    username: Sequence[str] = ("x-remote-user",)
    uid: Sequence[str] = ("x-remote-uid",)
    group: Sequence[str] = ("x-remote-group",)
    extra_prefixes: Sequence[str] = ("x-remote-extra-",)


class FrontProxy:
    """``X-Remote-User`` and its companions, believed from a proxy with a certificate of the front-proxy authority.

    ``allowed_names``: common names that may; empty: any that the authority certified.
    """

    def __init__(
        self,
        certificates: Certificates,
        allowed_names: Sequence[str],
        headers: ProxyHeaders | None = None,
    ) -> None:
        self._certificates = certificates
        self._allowed = frozenset(allowed_names)
        self._headers = headers or ProxyHeaders()

    async def authenticate(self, request: Request) -> User | None:
        headers = request.headers
        if request.peer_certificate is None:
            return None
        name = next((headers[each] for each in self._headers.username if headers.get(each)), "")
        if not name:
            return None
        proxy = self._certificates.user(request.peer_certificate, request.peer_intermediates)
        if self._allowed and (proxy is None or proxy.name not in self._allowed):
            raise Unauthorized
        uid = next((headers[each] for each in self._headers.uid if headers.get(each)), "")
        groups = [
            group
            for each in self._headers.group
            for group in utf8(headers.get(each, "")).split("\n")
            if group
        ]
        return User(utf8(name), tuple(groups), utf8(uid), self._extra(headers))

    def _extra(self, headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for key, value in headers.items():
            for prefix in self._headers.extra_prefixes:
                if key.startswith(prefix):
                    extra = unescaped(key[len(prefix) :])
                    found[extra] = (*found.get(extra, ()), *utf8(value).split("\n"))
        return found
