"""The certificate of the agent's endpoint: given, or self-signed and kept, made anew before it expires."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from sublet.machinery.clock import Clock
from sublet.node.settings import NodeSettings

_RENEW_BEFORE = 30 * 86400


def serving_pair(settings: NodeSettings, clock: Clock) -> tuple[Path, Path]:
    """Paths of certificate and key below ``data_dir/pki``, both only for us to read."""
    directory = settings.data_dir / "pki"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate, key = directory / "kubelet.crt", directory / "kubelet.key"
    if settings.serving_cert:
        _write(certificate, settings.serving_cert)
        _write(key, settings.serving_key)
    elif not _usable(certificate, key, settings, clock):
        from sublet.pki.authority import SERVER, Authority

        name = f"{settings.node_name}-ca@{int(clock.now())}"
        pair = Authority.create(name, clock=clock).issue(
            settings.node_name, dns=(settings.node_name,), ips=(settings.node_ip,), days=365, usages=(SERVER,)
        )
        _write(certificate, pair.cert_pem)
        _write(key, pair.key_pem)
    return certificate, key


def _usable(certificate: Path, key: Path, settings: NodeSettings, clock: Clock) -> bool:
    if not (certificate.exists() and key.exists()):
        return False
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    until = found.not_valid_after_utc
    now = datetime.datetime.fromtimestamp(clock.now(), datetime.UTC)
    addresses = {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    return settings.node_ip in addresses and (until - now).total_seconds() > _RENEW_BEFORE


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    temporary.rename(path)
