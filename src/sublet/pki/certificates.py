"""The files of a control plane, named as kubeadm names them, made when missing and renewed in time."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sublet.machinery.clock import Clock
from sublet.pki import controlplane, files
from sublet.pki.authority import (
    CLIENT,
    SERVER,
    Authority,
    person_key,
    read_certificate,
    read_key,
    write_key,
)
from sublet.pki.controlplane import ControlPlanePKI
from sublet.pki.files import PKIError

DAYS = 365
_RENEW_BELOW = 1 / 3
"""A certificate is renewed when less than this share of its life is left."""


def ensure_control_plane(directory: Path, sans: Iterable[str], clock: Clock) -> ControlPlanePKI:
    """Makes or renews all files below ``directory`` (authorities are never replaced while valid).

    ``sans``: DNS names and IP addresses under which clients reach the API server. Raises :class:`PKIError` for
    files that cannot be read or an expired authority, ``OSError`` where the directory cannot be written.
    """
    sans, renewed = tuple(sans), list[str]()
    ca = _authority(directory, "ca", "kubernetes", clock, renewed)
    front = _authority(directory, "front-proxy-ca", "front-proxy-ca", clock, renewed)
    dns, ips = split_sans(sans)
    wanted: list[tuple[str, Authority, str, Sequence[str], Sequence[str], Sequence[str], Sequence[str]]] = [
        ("apiserver", ca, "kube-apiserver", (), dns, ips, (SERVER,)),
        (
            "apiserver-kubelet-client",
            ca,
            "kube-apiserver-kubelet-client",
            ("kubeadm:cluster-admins",),
            (),
            (),
            (CLIENT,),
        ),
        ("front-proxy-client", front, "front-proxy-client", (), (), (), (CLIENT,)),
        ("admin", ca, "kubernetes-admin", ("system:masters",), (), (), (CLIENT,)),
    ]
    for name, authority, common_name, organizations, names, addresses, usages in wanted:
        if _current(directory, name, authority, names, addresses, clock):
            continue
        key = person_key() if name == "admin" else None
        pair = authority.issue(common_name, organizations, names, addresses, DAYS, usages, key)
        files.write(directory / f"{name}.key", pair.key_pem)
        files.write(directory / f"{name}.crt", pair.cert_pem, 0o644)
        renewed.append(name)
    _service_account_key(directory, renewed)
    begins, ends = _good(directory, ca, front)
    controlplane.note(directory, sans, begins, ends)
    return ControlPlanePKI(directory, clock, tuple(renewed))


def _good(directory: Path, *authorities: Authority) -> tuple[float, float]:
    """From when until when nothing of it must be renewed."""
    lives = [_life(authority.certificate) for authority in authorities]
    for name in controlplane.CERTIFIED:
        path = directory / f"{name}.crt"
        begin, end = _life(read_certificate(path.read_bytes(), str(path)))
        lives.append((begin, end - (end - begin) * _RENEW_BELOW))
    return max(begin for begin, _ in lives), min(end for _, end in lives)


def split_sans(sans: Iterable[str]) -> tuple[list[str], list[str]]:
    """(DNS names, IP addresses), each once."""
    dns: dict[str, None] = {}
    ips: dict[str, None] = {}
    for san in sans:
        try:
            ips[str(ipaddress.ip_address(san))] = None
        except ValueError:
            dns[san] = None
    return list(dns), list(ips)


def _life(certificate: x509.Certificate) -> tuple[float, float]:
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def needs_renewal(certificate: x509.Certificate, now: float) -> bool:
    """Whether less than a third of its life is left, or it has not begun: the clock was set back."""
    begin, end = _life(certificate)
    return now < begin or end - now < (end - begin) * _RENEW_BELOW


def _authority(directory: Path, name: str, common_name: str, clock: Clock, renewed: list[str]) -> Authority:
    try:
        authority = Authority.load(directory, name, clock)
    except FileNotFoundError:
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        if certificate.exists():
            # The key is written first, so this is no half-finished start: somebody took it away.
            raise PKIError(f"{key} is missing, but {certificate} is there; restore the key") from None
        authority = Authority.create(common_name, clock=clock)
        authority.save(directory, name)
        renewed.append(name)
        return authority
    if authority.certificate.not_valid_after_utc.timestamp() <= clock.now():
        raise PKIError(
            f"{directory / name}.crt has expired on {authority.certificate.not_valid_after_utc:%Y-%m-%d}; "
            f"remove {name}.crt and {name}.key to make a new authority (every kubeconfig must then be made anew)"
        )
    return authority


def _current(
    directory: Path, name: str, authority: Authority, dns: Sequence[str], ips: Sequence[str], clock: Clock
) -> bool:
    """Whether the pair on disk is whole, ours, fresh, and names every address wanted."""
    try:
        certificate = read_certificate((directory / f"{name}.crt").read_bytes(), name)
        key = read_key((directory / f"{name}.key").read_bytes(), name)
        certificate.verify_directly_issued_by(authority.certificate)
    except (FileNotFoundError, PKIError):
        return False
    except Exception as error:
        # InvalidSignature, ValueError, TypeError: another authority's certificate.
        if type(error).__module__.startswith("cryptography") or isinstance(error, (ValueError, TypeError)):
            return False
        raise
    public = key.public_key().public_numbers()
    if certificate.public_key().public_numbers() != public:  # type: ignore[union-attr]  # compared, not used
        return False
    if needs_renewal(certificate, clock.now()):
        return False
    have_dns, have_ips = _sans_of(certificate)
    return have_dns >= set(dns) and have_ips >= set(ips)


def _sans_of(certificate: x509.Certificate) -> tuple[set[str], set[str]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set(), set()
    return (
        set(found.get_values_for_type(x509.DNSName)),
        {str(ip) for ip in found.get_values_for_type(x509.IPAddress)},
    )


def _service_account_key(directory: Path, renewed: list[str]) -> None:
    """``sa.key`` and ``sa.pub``: sign and verify ServiceAccount tokens (ES256)."""
    private, public = directory / "sa.key", directory / "sa.pub"
    if private.exists():
        key = read_key(private.read_bytes(), str(private))
        if public.exists():
            return
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        files.write(private, write_key(key))
        renewed.append("sa")
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    files.write(public, pem, 0o644)


def expiry(path: Path) -> datetime.datetime:
    """When a certificate file's (first) certificate ends, UTC."""
    return read_certificate(path.read_bytes(), str(path)).not_valid_after_utc
