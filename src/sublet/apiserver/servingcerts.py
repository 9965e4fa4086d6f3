"""Certificates of one's own to be served: one for everybody, and others by the name that a client asks for (SNI).

Source: apiserver/pkg/server/dynamiccertificates. Files are looked at again and again, and changed ones are served to new
connections; what cannot be read, or does not fit together, is logged, and what was served last stays. The control
plane's own certificate is still served to who asks for :data:`LOOPBACK`, which is how its kubeconfig finds it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from sublet.machinery import names
from sublet.pki.files import PKIError

_log = logging.getLogger(__name__)

LOOPBACK = "apiserver-loopback-client"
PERIOD = 10.0
"""Seconds between two looks at the files."""

Make = Callable[[Path, Path], ssl.SSLContext]
"""(certificate, key) -> a server's context that shows it."""


class Pair(Struct, frozen=True):
    """Files with a certificate (and those that certify it) and its key."""

    certificate: Path
    key: Path
    names: tuple[str, ...] = ()
    """``foo.example.com``, ``*.example.com``: who gets it; empty: as the certificate says."""


class ServingFiles(Struct, frozen=True):
    default: Pair | None = None
    """None: the control plane's own."""
    named: tuple[Pair, ...] = ()
    """Of several for one name the first counts, and one whose names are stated before one whose names are not."""


class ServingCertificates:
    """The contexts of a server's certificates. ``own``: the control plane's."""

    def __init__(self, files: ServingFiles, own: Pair, make: Make) -> None:
        self._files = files
        self._own = own
        self._make = make
        self._seen = b""
        self._named: dict[str, ssl.SSLContext] = {}
        self.context = self._load()
        """For who asks for no name, or for one that no certificate has."""

    def choose(self, name: str | None, address: str) -> ssl.SSLContext | None:
        """For a client that asks for a name, or for none and came to an address; None: the context for everybody."""
        if not name:
            return self._named.get(address)
        lower = name.lower()
        return self._named.get(lower) or self._named.get("*." + lower.partition(".")[2])

    async def follow(self, use: Callable[[ssl.SSLContext], None]) -> None:
        """Has a server ``use`` what changes, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.look(use)

    async def look(self, use: Callable[[ssl.SSLContext], None]) -> bool:
        """Takes the files if they have changed; whether they were taken."""
        seen = self._digest()
        if seen == self._seen:
            return False
        try:
            self.context = await asyncio.to_thread(self._load)
        except PKIError as error:
            self._seen = seen
            _log.error("the changed serving certificates are not taken: %s", error)
            return False
        use(self.context)
        _log.info("the changed serving certificates are taken")
        return True

    def _load(self) -> ssl.SSLContext:
        """Raises :class:`PKIError`; what is served stays as it is then."""
        seen = self._digest()
        own = self._context(self._own)
        default = own if self._files.default is None else self._context(self._files.default)
        stated = {LOOPBACK: own}
        found: dict[str, ssl.SSLContext] = {}
        for pair in reversed(self._files.named):
            context = self._context(pair)
            for name in pair.names or _names_of(pair.certificate):
                (stated if pair.names else found)[name.lower()] = context
        self._named, self._seen = found | stated, seen
        return default

    def _context(self, pair: Pair) -> ssl.SSLContext:
        try:
            if b"-----BEGIN CERTIFICATE" not in pair.certificate.read_bytes():
                raise PKIError(f"{pair.certificate}: tls: failed to find any PEM data in certificate input")
            pair.key.read_bytes()
            return self._make(pair.certificate, pair.key)
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                raise PKIError(f"{pair.certificate}, {pair.key}: {_words(error)}") from None
            raise PKIError(f"open {error.filename}: {(error.strerror or '').lower()}") from None

    def _digest(self) -> bytes:
        found = hashlib.sha256()
        default = (self._files.default,) if self._files.default is not None else ()
        for pair in (self._own, *default, *self._files.named):
            for path in (pair.certificate, pair.key):
                try:
                    found.update(hashlib.sha256(path.read_bytes()).digest())
                except OSError:
                    found.update(b"?")
        return found.digest()


def _words(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "tls: private key does not match public key"
    return f"tls: failed to parse certificate or private key ({error.reason or error})"


def _names_of(path: Path) -> list[str]:
    """The names in a certificate; addresses are no names that a client could ask for."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    from sublet.pki.authority import read_certificate

    certificate = read_certificate(path.read_bytes(), str(path))
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = []
    if found:
        return found
    common = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return [each for each in common if names.read_ip(each)[0] is None and _is_domain(each)]


def _is_domain(name: str) -> bool:
    return name == "*" or not names.dns1123_subdomain(name.removeprefix("*."))
