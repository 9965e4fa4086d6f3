"""Certificates of a running control plane: renewed in time, without a restart, whatever the clock does."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from sublet.pki.authority import Authority
from sublet.pki.certificates import ensure_control_plane, expiry
from sublet.pki.controlplane import ControlPlanePKI
from sublet.pki.rotation import Rotation

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


def rotation(directory: Path, clock: Clock, told: list[tuple[str, ...]], period: float = 600.0) -> Rotation:
    def note(pki: ControlPlanePKI) -> None:
        told.append(pki.renewed)

    return Rotation(directory, ["localhost"], clock, note, period)


async def test_nothing_is_renewed_before_its_time(tmp_path: Path) -> None:
    clock, told = Clock(), list[tuple[str, ...]]()
    ensure_control_plane(tmp_path, ["localhost"], clock)
    await rotation(tmp_path, clock, told).look()
    assert told == [()]


async def test_a_clock_that_jumps_ahead_renews_and_tells(tmp_path: Path) -> None:
    clock, told = Clock(), list[tuple[str, ...]]()
    ensure_control_plane(tmp_path, ["localhost"], clock)
    before = expiry(tmp_path / "apiserver.crt")
    clock.ahead = 400 * DAY
    await rotation(tmp_path, clock, told).look()
    assert set(told[0]) == {"apiserver", "apiserver-kubelet-client", "front-proxy-client", "admin"}
    assert expiry(tmp_path / "apiserver.crt") > before


async def test_a_clock_that_is_set_back_renews_too(tmp_path: Path) -> None:
    clock, told = Clock(), list[tuple[str, ...]]()
    clock.ahead = 100 * DAY
    Authority.create("kubernetes", clock=Clock()).save(tmp_path, "ca")
    Authority.create("front-proxy-ca", clock=Clock()).save(tmp_path, "front-proxy-ca")
    ensure_control_plane(tmp_path, ["localhost"], clock)
    clock.ahead = 0
    await rotation(tmp_path, clock, told).look()
    assert "apiserver" in told[0]


async def test_it_looks_again_and_again_until_stopped(tmp_path: Path) -> None:
    clock, told = Clock(), list[tuple[str, ...]]()
    ensure_control_plane(tmp_path, ["localhost"], clock)
    rotating = rotation(tmp_path, clock, told, 0.01)
    rotating.start()
    for _ in range(500):
        if len(told) > 1:
            break
        await asyncio.sleep(0.01)
    await rotating.stop()
    assert len(told) > 1
    seen = len(told)
    await asyncio.sleep(0.1)
    assert len(told) == seen


async def test_a_broken_file_is_logged_and_looked_at_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, told = Clock(), list[tuple[str, ...]]()
    ensure_control_plane(tmp_path, ["localhost"], clock)
    kept = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.key").write_bytes(b"nonsense")
    assert await rotation(tmp_path, clock, told).look() is None
    assert "certificates could not be renewed" in caplog.text
    (tmp_path / "ca.key").write_bytes(kept)
    assert await rotation(tmp_path, clock, told).look() is not None


async def test_an_authority_near_its_end_warns_once_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, told = Clock(), list[tuple[str, ...]]()
    ensure_control_plane(tmp_path, ["localhost"], clock)
    clock.ahead = (3650 - 30) * DAY
    rotating = rotation(tmp_path, clock, told)
    with caplog.at_level(logging.WARNING):
        await rotating.look()
        await rotating.look()
    assert caplog.text.count("/ca.crt ends on") == 1
    assert expiry(tmp_path / "apiserver.crt") <= expiry(tmp_path / "ca.crt")
