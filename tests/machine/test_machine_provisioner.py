"""Directories as volumes, against a real API server, binder and scheduler."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.events import EventRecorder
from sublet.client.exchange import User
from sublet.client.informer import InformerFactory
from sublet.controllers import catalog
from sublet.kinds.resources import resource
from sublet.machine.provisioner import Provisioner, ProvisionerSettings, storage_class
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import NotFound
from sublet.reconcile.manager import Context, Manager
from sublet.store.open import open_store

CLAIMS, VOLUMES = resource("persistentvolumeclaims"), resource("persistentvolumes")
CLASSES, EVENTS = resource("storageclasses.storage.k8s.io"), resource("events")


async def until(check, seconds=10.0):
    end = time.monotonic() + seconds
    while not (found := await check()):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)
    return found


@pytest.fixture
async def client(tmp_path):
    """The administrator's; binder and the provisioner of node ``here`` work."""
    store = await open_store("memory://")
    api = APIServer(APIServerSettings(), store, detect_mutation=True)
    await api.start()
    admin = api.client_as(User("admin", ("system:masters", "system:authenticated")), "test")
    informers, clock = InformerFactory(admin), SystemClock()

    def context(registration):
        return Context(admin, informers, EventRecorder(admin, registration.name), clock, random.Random(1), {})

    manager = Manager([each for each in catalog.load() if "persistentvolume-" in each.name], context)
    await manager.start()
    worker = Provisioner(admin, ProvisionerSettings("here", tmp_path / "volumes"))
    task = asyncio.create_task(worker.run())
    await admin.create(CLASSES, storage_class())
    yield admin
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await manager.stop()
    await informers.stop()
    await api.stop()
    await store.close()


async def claim(client, node="here", **spec):
    annotations = {"volume.kubernetes.io/selected-node": node} if node else {}
    return await client.create(
        CLAIMS,
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default", "annotations": annotations},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "local-path",
                "resources": {"requests": {"storage": "1Gi"}}, **spec,
            },
        },
    )  # fmt: skip


async def bound(client):
    async def check():
        found = await client.get(CLAIMS, "data", "default")
        return found if (found.get("status") or {}).get("phase") == "Bound" else None

    return await until(check)


async def test_a_claim_of_this_node_gets_a_directory_and_is_bound(client, tmp_path):
    await claim(client)
    name = (await bound(client))["spec"]["volumeName"]
    volume = await client.get(VOLUMES, name)
    assert volume["spec"]["local"]["path"] == str(tmp_path / "volumes" / name)
    assert volume["spec"]["capacity"] == {"storage": "1Gi"}
    term = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert term == {"key": "kubernetes.io/hostname", "operator": "In", "values": ["here"]}
    assert (tmp_path / "volumes" / name).stat().st_mode & 0o777 == 0o777


async def test_deleting_the_claim_removes_volume_and_directory(client, tmp_path):
    await claim(client)
    name = (await bound(client))["spec"]["volumeName"]
    (tmp_path / "volumes" / name / "file").write_text("x")
    live = await client.get(CLAIMS, "data", "default")
    live["metadata"]["finalizers"] = []
    await client.update(CLAIMS, live)
    await client.delete(CLAIMS, "data", "default")

    async def gone():
        try:
            await client.get(VOLUMES, name)
        except NotFound:
            return True

    await until(gone)
    assert list((tmp_path / "volumes").iterdir()) == []


async def test_a_retained_volume_keeps_its_directory(client, tmp_path):
    await claim(client)
    name = (await bound(client))["spec"]["volumeName"]
    await client.patch(VOLUMES, name, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    live = await client.get(CLAIMS, "data", "default")
    live["metadata"]["finalizers"] = []
    await client.update(CLAIMS, live)
    await client.delete(CLAIMS, "data", "default")

    async def released():
        return (await client.get(VOLUMES, name))["status"]["phase"] == "Released"

    await until(released)
    await asyncio.sleep(0.2)
    assert (tmp_path / "volumes" / name).is_dir()


async def test_claims_of_other_nodes_and_classes_are_left_alone(client, tmp_path):
    await claim(client, node="there")
    await asyncio.sleep(0.5)
    assert (await client.list(VOLUMES))["items"] == []
    assert list((tmp_path / "volumes").iterdir()) == []


async def test_what_a_directory_cannot_be_is_refused_by_an_event(client):
    await claim(client, accessModes=["ReadWriteMany"])

    async def refused():
        found = (await client.list(EVENTS, "default"))["items"]
        return [each["message"] for each in found if each["reason"] == "ProvisioningFailed"]

    assert "ReadWriteMany is not available" in (await until(refused))[0]


async def test_a_volume_that_names_a_foreign_directory_removes_nothing(client, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    await claim(client)
    name = (await bound(client))["spec"]["volumeName"]
    volume = await client.get(VOLUMES, name)
    volume["metadata"] = {"name": "forged", "annotations": volume["metadata"]["annotations"]}
    volume["spec"]["local"]["path"] = str(precious)
    volume["spec"]["claimRef"] = {**volume["spec"]["claimRef"], "name": "nobody", "uid": "gone"}
    await client.create(VOLUMES, volume)
    await asyncio.sleep(0.5)
    assert precious.is_dir()
