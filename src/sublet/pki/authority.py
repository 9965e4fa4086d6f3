"""A certificate authority with an ECDSA P-256 key, and the key pairs it issues."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from sublet.machinery.clock import Clock, SystemClock
from sublet.pki import files
from sublet.pki.files import PKIError

AUTHORITY_DAYS = 3650
_BACKDATED = datetime.timedelta(minutes=5)
"""So that a peer whose clock is a little behind takes a fresh certificate."""

SERVER = "server auth"
CLIENT = "client auth"
_USAGES = {SERVER: ExtendedKeyUsageOID.SERVER_AUTH, CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyPair(Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    cert_pem: bytes
    key_pem: bytes


class Authority:
    """Issues certificates. ``key`` must be the certificate's."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey, clock: Clock | None = None) -> None:
        self.certificate = certificate
        self._key = key
        self._clock = clock or SystemClock()

    @classmethod
    def create(cls, name: str, *, days: int = AUTHORITY_DAYS, clock: Clock | None = None) -> Authority:
        """A new self-signed authority with this common name."""
        clock = clock or SystemClock()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        builder = (
            _dated(x509.CertificateBuilder(), clock, days)
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key, clock)

    @classmethod
    def load(cls, directory: Path, name: str = "ca", clock: Clock | None = None) -> Authority:
        """From ``NAME.crt`` and ``NAME.key``. Raises :class:`PKIError`, ``FileNotFoundError``."""
        certificate_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
        certificate = read_certificate(certificate_file.read_bytes(), str(certificate_file))
        key = read_key(key_file.read_bytes(), str(key_file))
        if key.public_key().public_numbers() != certificate.public_key().public_numbers():  # type: ignore[union-attr]  # compared, not used
            raise PKIError(f"{key_file} is not the key of {certificate_file}; remove both to make new ones")
        return cls(certificate, key, clock)

    def save(self, directory: Path, name: str = "ca") -> None:
        files.write(directory / f"{name}.key", self.key_pem)
        files.write(directory / f"{name}.crt", self.cert_pem, 0o644)

    @property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return write_key(self._key)

    def issue(
        self,
        common_name: str,
        organizations: Sequence[str] = (),
        dns: Iterable[str] = (),
        ips: Iterable[str] = (),
        days: float = 365,
        usages: Sequence[str] = (CLIENT,),
        key: PrivateKey | None = None,
    ) -> KeyPair:
        """A certificate for ``key``, else for a new one; ``usages`` of :data:`SERVER` and :data:`CLIENT`."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = self.certify(key.public_key(), common_name, organizations, dns, ips, days, usages)
        return KeyPair(certificate, write_key(key))

    def certify(
        self,
        public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        common_name: str,
        organizations: Sequence[str] = (),
        dns: Iterable[str] = (),
        ips: Iterable[str] = (),
        days: float = 365,
        usages: Sequence[str] = (CLIENT,),
    ) -> bytes:
        """A certificate (PEM) for somebody else's key, as signing requests need it; never outlives the authority."""
        builder = self._builder(common_name, organizations, days, usages).public_key(public_key)
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(dns)]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in dict.fromkeys(ips)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        rsa_key = isinstance(public_key, rsa.RSAPublicKey)
        builder = builder.add_extension(_key_usage(encipher=rsa_key), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, common_name: str, organizations: Sequence[str], days: float, usages: Sequence[str]
    ) -> x509.CertificateBuilder:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return (
            _dated(x509.CertificateBuilder(), self._clock, days, self.certificate.not_valid_after_utc)
            .subject_name(x509.Name(attributes))
            .issuer_name(self.certificate.subject)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in usages]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value),
                critical=False,
            )
        )


def _dated(
    builder: x509.CertificateBuilder,
    clock: Clock,
    days: float,
    latest: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(int(clock.now()), datetime.UTC)
    end = now + datetime.timedelta(days=days)
    if latest is not None and latest < end:
        end = latest
    return builder.not_valid_before(now - _BACKDATED).not_valid_after(end)


def _key_usage(*, authority: bool = False, encipher: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=authority or encipher,
        key_cert_sign=authority,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def read_certificate(pem: bytes, source: str) -> x509.Certificate:
    """The first certificate of a PEM text. Raises :class:`PKIError`."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise PKIError(f"{source} holds no certificate ({error}); remove it to make a new one") from None


def read_key(pem: bytes, source: str) -> PrivateKey:
    """Raises :class:`PKIError`."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise PKIError(f"{source} holds no private key ({error}); remove it to make a new one") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PKIError(f"{source} holds a key that is neither ECDSA nor RSA")
    return key


def person_key() -> rsa.RSAPrivateKey:
    """A key for a kubeconfig, as kubeadm makes it: some clients, those on fabric8's for Java, read RSA keys only."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_key(key: PrivateKey) -> bytes:
    """PEM as client-go writes it: ``RSA PRIVATE KEY`` or ``EC PRIVATE KEY``, which tells clients the algorithm."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
