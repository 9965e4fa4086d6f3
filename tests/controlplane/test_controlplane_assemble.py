"""One control plane put together: what it leaves behind, and what it must not touch."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from pathlib import Path

import pytest

from sublet.client import kubeconfig
from sublet.client.exchange import Request
from sublet.client.http import HTTPTransport
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


class _MovableClock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


async def test_certificates_are_renewed_while_it_runs(tmp_path: Path) -> None:
    clock = _MovableClock()
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"), clock=clock)
    await plane.start()

    async def served() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it begins in the clock's future
        _, writer = await asyncio.open_connection("localhost", plane.port, ssl=context)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    try:
        before, config = await served(), kubeconfig.load(plane.kubeconfig_path)
        assert plane.rotation is not None
        await plane.rotation.look()
        assert await served() == before
        clock.ahead = 300 * 86400.0
        await plane.rotation.look()
        assert await served() != before
        assert kubeconfig.load(plane.kubeconfig_path).client_cert != config.client_cert
    finally:
        await plane.stop()


async def test_metrics_tell_of_controllers_queues_and_of_the_scheduler(tmp_path):
    plane = ControlPlane(Assembly(tmp_path))
    await plane.start()
    try:
        async with asyncio.timeout(20):
            while "scheduler_pending_pods" not in (text := plane.api.metrics.text()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await plane.stop()
    assert 'workqueue_adds_total{name="' in text and 'workqueue_work_duration_seconds_bucket{name="' in text
    assert 'scheduler_pending_pods{queue="active"} 0' in text
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


@pytest.mark.parametrize("controllers", [True, False])
async def test_component_statuses_are_those_of_the_parts_that_run_here(
    tmp_path: Path, controllers: bool
) -> None:
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://", controllers=controllers))
    await plane.start()
    try:
        found = await plane.client().list(resource("componentstatuses"))
    finally:
        await plane.stop()
    names = [each["metadata"]["name"] for each in found["items"] if each["conditions"][0]["status"] == "True"]
    assert names == [*(["controller-manager"] if controllers else []), "scheduler", "etcd-0"]


async def test_metrics_tell_the_size_of_the_file_and_how_long_shown_certificates_are_good(
    tmp_path: Path,
) -> None:
    plane = ControlPlane(Assembly(data_dir=tmp_path, controllers=False, scheduler=False))
    await plane.start()
    try:
        transport = HTTPTransport(plane.access())
        try:
            await transport.request(Request("GET", "/version"))
        finally:
            await transport.close()
        text = plane.api.metrics.text()
    finally:
        await plane.stop()
    size = re.search(r'^apiserver_storage_size_bytes\{storage_cluster_id="etcd-0"\} (\d+)$', text, re.M)
    assert size is not None and int(size[1]) > 0
    name = "apiserver_client_certificate_expiration_seconds"
    assert re.search(rf"^{name}_count [1-9]", text, re.M)
    assert f'{name}_bucket{{le="2.592e+06"}} 0' in text, "made just now, good for a year"


async def test_fields_that_controllers_write_are_the_controller_managers(tmp_path: Path) -> None:
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"))
    await plane.start()
    try:
        client = plane.client()
        async with asyncio.timeout(20):
            while not (found := (await client.list(resource("configmaps"), "default"))["items"]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        role = await client.get(resource("clusterroles.rbac.authorization.k8s.io"), "cluster-admin")
    finally:
        await plane.stop()
    managers = [[entry["manager"] for entry in obj["metadata"]["managedFields"]] for obj in (found[0], role)]
    assert managers == [["kube-controller-manager"], ["kube-apiserver"]]
