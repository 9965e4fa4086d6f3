"""Files that were checked once are not looked into again while nothing has changed and nothing is due."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from sublet.pki.authority import Authority
from sublet.pki.certificates import expiry
from sublet.pki.controlplane import NOTE, open_control_plane
from sublet.pki.files import PKIError

DAY = 86400.0
SANS = ["localhost", "127.0.0.1"]


class Clock:
    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_second_start_changes_no_file_and_finds_the_same_authority(tmp_path: Path) -> None:
    first = open_control_plane(tmp_path, SANS, Clock())
    before = contents(tmp_path)
    again = open_control_plane(tmp_path, reversed(SANS), Clock())
    assert again.renewed == () and contents(tmp_path) == before
    assert again.ca.cert_pem == first.ca.cert_pem == again.cert("ca").read_bytes()
    assert again.front_proxy_ca.cert_pem == again.cert("front-proxy-ca").read_bytes()


def test_a_second_start_does_not_load_what_reads_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    monkeypatch.setitem(sys.modules, "sublet.pki.certificates", None)
    assert open_control_plane(tmp_path, SANS, Clock()).renewed == ()
    with pytest.raises(ImportError):
        open_control_plane(tmp_path, [*SANS, "more.example.com"], Clock())


def test_another_name_is_certified_at_once(tmp_path: Path) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    assert open_control_plane(tmp_path, [*SANS, "api.example.com"], Clock()).renewed == ("apiserver",)


@pytest.mark.parametrize("days", [250, 400])
def test_what_is_due_is_renewed_though_no_file_has_changed(tmp_path: Path, days: int) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    ends = expiry(tmp_path / "admin.crt")
    renewed = open_control_plane(tmp_path, SANS, Clock(days * DAY)).renewed
    assert set(renewed) == {"apiserver", "apiserver-kubelet-client", "front-proxy-client", "admin"}
    assert expiry(tmp_path / "admin.crt") > ends


def test_a_clock_before_the_certificates_begin_has_them_looked_at(tmp_path: Path) -> None:
    for name in ("ca", "front-proxy-ca"):
        Authority.create(name, clock=Clock()).save(tmp_path, name)
    open_control_plane(tmp_path, SANS, Clock(100 * DAY))
    assert "apiserver" in open_control_plane(tmp_path, SANS, Clock()).renewed


@pytest.mark.parametrize("name", ["apiserver.crt", "front-proxy-client.key", "admin.crt"])
def test_a_file_that_somebody_changed_or_took_away_is_made_anew(tmp_path: Path, name: str) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    (tmp_path / name).write_bytes(b"nonsense")
    assert open_control_plane(tmp_path, SANS, Clock()).renewed == (name.partition(".")[0],)
    (tmp_path / name).unlink()
    assert open_control_plane(tmp_path, SANS, Clock()).renewed == (name.partition(".")[0],)


def test_an_authority_that_somebody_broke_is_an_error_that_names_it(tmp_path: Path) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    (tmp_path / "ca.key").write_bytes(b"nonsense")
    with pytest.raises(PKIError, match=r"ca\.key holds no private key"):
        open_control_plane(tmp_path, SANS, Clock())


@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b'{"begins": "a"}', b"\xff"])
def test_a_note_that_says_nothing_counts_for_nothing(tmp_path: Path, note: bytes) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    (tmp_path / NOTE).write_bytes(note)
    (tmp_path / "apiserver.crt").write_bytes(b"nonsense")
    assert open_control_plane(tmp_path, SANS, Clock()).renewed == ("apiserver",)


def test_without_a_note_the_files_are_checked_and_kept(tmp_path: Path) -> None:
    open_control_plane(tmp_path, SANS, Clock())
    before = contents(tmp_path)
    (tmp_path / NOTE).unlink()
    assert open_control_plane(tmp_path, SANS, Clock()).renewed == ()
    assert contents(tmp_path) == before
