"""The files of a control plane: complete, private, renewed in time and never half-written."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sublet.pki.authority import Authority
from sublet.pki.certificates import ensure_control_plane, expiry
from sublet.pki.files import PKIError

SANS = ["localhost", "kubernetes.default.svc", "127.0.0.1", "::1"]
DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.time = time.time()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_makes_every_file_by_kubeadms_names_with_private_keys_for_the_owner_only(tmp_path: Path) -> None:
    ensure_control_plane(tmp_path / "pki", SANS, Clock())
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "pki").iterdir()}
    assert set(found) == {
        "ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "apiserver-kubelet-client.crt",
        "apiserver-kubelet-client.key", "front-proxy-ca.crt", "front-proxy-ca.key", "front-proxy-client.crt",
        "front-proxy-client.key", "sa.key", "sa.pub", "admin.crt", "admin.key", "checked.json",
    }  # fmt: skip
    assert {mode for name, mode in found.items() if name.endswith((".key", ".json"))} == {0o600}


def test_the_administrators_key_is_of_the_kind_and_form_that_kubeadm_writes(tmp_path: Path) -> None:
    # Clients built on fabric8's for Java (Spark, Jenkins, Quarkus) read no other without a further library.
    ensure_control_plane(tmp_path, SANS, Clock())
    assert (tmp_path / "admin.key").read_bytes().startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    admin = x509.load_pem_x509_certificate((tmp_path / "admin.crt").read_bytes())
    key = admin.public_key()
    assert isinstance(key, RSAPublicKey) and key.key_size == 2048
    assert admin.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def test_other_keys_tell_their_algorithm(tmp_path: Path) -> None:
    ensure_control_plane(tmp_path, SANS, Clock())
    for name in ("ca", "apiserver", "sa"):
        assert (tmp_path / f"{name}.key").read_bytes().startswith(b"-----BEGIN EC PRIVATE KEY-----\n")


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    ensure_control_plane(tmp_path, SANS, clock)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert ensure_control_plane(tmp_path, SANS, clock).renewed == ()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_new_address_renews_the_servers_certificate_and_keeps_the_authority(tmp_path: Path) -> None:
    clock = Clock()
    ensure_control_plane(tmp_path, SANS, clock)
    authority = (tmp_path / "ca.crt").read_bytes()
    again = ensure_control_plane(tmp_path, [*SANS, "api.example.com", "10.0.0.1"], clock)
    assert again.renewed == ("apiserver",)
    assert (tmp_path / "ca.crt").read_bytes() == authority
    names = x509.load_pem_x509_certificate((tmp_path / "apiserver.crt").read_bytes()).extensions
    found = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "api.example.com" in found.get_values_for_type(x509.DNSName)
    assert "10.0.0.1" in map(str, found.get_values_for_type(x509.IPAddress))


def test_certificates_near_their_end_are_renewed(tmp_path: Path) -> None:
    clock = Clock()
    ensure_control_plane(tmp_path, SANS, clock)
    ends = expiry(tmp_path / "apiserver.crt")
    clock.time += 300 * DAY
    assert set(ensure_control_plane(tmp_path, SANS, clock).renewed) == {
        "apiserver", "apiserver-kubelet-client", "front-proxy-client", "admin",
    }  # fmt: skip
    assert expiry(tmp_path / "apiserver.crt") > ends


def test_a_certificate_of_another_authority_is_replaced(tmp_path: Path) -> None:
    clock = Clock()
    ensure_control_plane(tmp_path, SANS, clock)
    other = Authority.create("other").issue("kube-apiserver", dns=["localhost"])
    (tmp_path / "apiserver.crt").write_bytes(other.cert_pem)
    (tmp_path / "apiserver.key").write_bytes(other.key_pem)
    assert ensure_control_plane(tmp_path, SANS, clock).renewed == ("apiserver",)


def test_a_lost_authority_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    ensure_control_plane(tmp_path, SANS, Clock())
    (tmp_path / "ca.key").unlink()
    with pytest.raises(PKIError, match=r"ca\.key is missing"):
        ensure_control_plane(tmp_path, SANS, Clock())


def test_a_broken_authority_is_an_error_that_names_it_and_the_way_out(tmp_path: Path) -> None:
    ensure_control_plane(tmp_path, SANS, Clock())
    (tmp_path / "ca.crt").write_text("nonsense")
    with pytest.raises(PKIError, match=r"ca\.crt holds no certificate .* remove it"):
        ensure_control_plane(tmp_path, SANS, Clock())


def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    pki = ensure_control_plane(tmp_path, SANS, Clock())
    context = ssl.create_default_context(cafile=str(pki.cert("ca")))
    context.load_cert_chain(pki.cert("apiserver"), pki.key("apiserver"))


def test_an_issued_certificate_never_outlives_its_authority() -> None:
    authority = Authority.create("short", days=2)
    issued = x509.load_pem_x509_certificate(authority.issue("x", days=365).cert_pem)
    assert issued.not_valid_after_utc <= authority.certificate.not_valid_after_utc
