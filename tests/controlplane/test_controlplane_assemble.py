"""One control plane put together: what it leaves behind, and what it must not touch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sublet.client import kubeconfig
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.store.interface import StoreClosed


async def test_objects_outlive_a_restart(tmp_path: Path) -> None:
    first = ControlPlane(Assembly(data_dir=tmp_path))
    await first.start()
    await first.client().create(resource("configmaps"), {"metadata": {"name": "kept"}}, "default")
    await first.stop()
    second = ControlPlane(Assembly(data_dir=tmp_path))
    await second.start()
    try:
        found = await second.client().get(resource("configmaps"), "kept", "default")
        assert found["metadata"]["name"] == "kept"
    finally:
        await second.stop()


async def test_a_second_process_on_the_same_data_leaves_the_kubeconfig_alone(tmp_path: Path) -> None:
    first = ControlPlane(Assembly(data_dir=tmp_path))
    await first.start()
    try:
        with pytest.raises(StoreClosed, match="in use"):
            await ControlPlane(Assembly(data_dir=tmp_path)).start()
        assert kubeconfig.load(first.kubeconfig_path).server == first.url
    finally:
        await first.stop()


async def test_control_planes_in_one_process_do_not_see_each_other(tmp_path: Path) -> None:
    planes = [ControlPlane(Assembly(data_dir=tmp_path / name, store_url="memory://")) for name in "ab"]
    try:
        for plane in planes:
            await plane.start()
        await planes[0].client().create(resource("namespaces"), {"metadata": {"name": "mine"}})
        names = {
            ns["metadata"]["name"] for ns in (await planes[1].client().list(resource("namespaces")))["items"]
        }
        assert "mine" not in names
    finally:
        for plane in planes:
            await plane.stop()


async def test_the_administrators_kubeconfig_is_for_its_owner_only(tmp_path: Path) -> None:
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"))
    await plane.start()
    await plane.stop()
    assert plane.kubeconfig_path.stat().st_mode & 0o777 == 0o600


async def test_a_control_plane_stops_at_any_moment_of_its_start(tmp_path: Path) -> None:
    for number in range(8):
        plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"))
        await plane.start()
        await asyncio.sleep(number * 0.02)
        async with asyncio.timeout(10):
            await plane.stop()
