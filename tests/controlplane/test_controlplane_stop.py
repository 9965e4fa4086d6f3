"""A control plane ends whenever it is asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sublet.controlplane.assemble import Assembly, ControlPlane


@pytest.mark.parametrize("milliseconds", [0, 3, 10, 20, 40, 80])
async def test_stop_right_after_start_ends(tmp_path: Path, milliseconds: int) -> None:
    """Its controllers are then still making their first lists; none may miss that it is cancelled."""
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"))
    await plane.start()
    await asyncio.sleep(milliseconds / 1000)
    stopping = asyncio.create_task(plane.stop())
    done, _waiting = await asyncio.wait({stopping}, timeout=20)
    assert stopping in done
