"""What makes a bare control plane a cluster, on a real API server."""

from __future__ import annotations

import base64

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client import kubeconfig
from sublet.client.exchange import User
from sublet.client.kubeconfig import ClusterAccess
from sublet.kinds.resources import resource
from sublet.machine import addons
from sublet.machine.addons import ClusterNetwork
from sublet.machine.join import JoinMachineSettings, read_settings, write_settings
from sublet.machine.names import DEFAULT_DIRECTORY, NodePlaces
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import BadRequest, Forbidden
from sublet.node import joining
from sublet.store.open import open_store

NETWORK = ClusterNetwork(service_cidr="10.96.0.0/16")
JOIN = ClusterAccess("https://192.0.2.1:6443", ca_data=b"-----BEGIN CERTIFICATE-----\n")
SLICES, CLASSES = resource("endpointslices.discovery.k8s.io"), resource("storageclasses.storage.k8s.io")


@pytest.fixture
async def api():
    store = await open_store("memory://")
    server = APIServer(APIServerSettings(service_cidr="10.96.0.0/16"), store, detect_mutation=True)
    await server.start()
    yield server
    await server.stop()
    await store.close()


@pytest.fixture
async def admin(api):
    client = api.client_as(User("admin", ("system:masters", "system:authenticated")), "test")
    await joining.ensure(client, NETWORK, JOIN)
    await addons.ensure(client, NETWORK)
    return client


@pytest.fixture
def node(api, admin):
    return api.client_as(User("system:node:n", ("system:nodes", "system:authenticated")), "test")


async def test_dns_has_the_tenth_address_and_storage_a_default_class(admin):
    service = await admin.get(resource("services"), "kube-dns", "kube-system")
    assert service["spec"]["clusterIP"] == "10.96.0.10" == NETWORK.cluster_dns
    found = await admin.get(CLASSES, "local-path")
    assert found["volumeBindingMode"] == "WaitForFirstConsumer"


async def test_writing_them_again_changes_nothing(admin):
    await admin.patch(CLASSES, "local-path", {"metadata": {"labels": {"mine": "1"}}})
    before = (await admin.list(CLASSES))["items"], (await admin.list(resource("configmaps")))["items"]
    await joining.ensure(admin, NETWORK, JOIN)
    await addons.ensure(admin, NETWORK)
    assert before == (
        (await admin.list(CLASSES))["items"],
        (await admin.list(resource("configmaps")))["items"],
    )


async def test_a_node_may_do_what_its_workers_need_and_no_more(node, admin):
    await node.list(resource("services"))
    await node.list(SLICES)
    await node.list(resource("persistentvolumeclaims"))
    assert await joining.read_network(node) == NETWORK
    await addons.publish_dns(node, "n", "10.244.0.1", 1053)
    await addons.publish_dns(node, "n", "10.244.0.1", 1054)
    assert (await admin.get(SLICES, "kube-dns-n", "kube-system"))["ports"][0]["port"] == 1054
    with pytest.raises(Forbidden):
        await node.list(resource("secrets"))


async def test_a_token_may_ask_for_a_certificate_and_expires(api, admin):
    token = await joining.create_token(admin, SystemClock(), 60)
    identity, secret = token.split(".")
    stored = await admin.get(resource("secrets"), f"bootstrap-token-{identity}", "kube-system")
    assert base64.b64decode(stored["data"]["token-secret"]).decode() == secret
    assert stored["type"] == "bootstrap.kubernetes.io/token" and stored["data"]["expiration"]
    newcomer = api.client_as(User(f"system:bootstrap:{identity}", (joining.TOKEN_GROUP,)), "test")
    await newcomer.list(resource("certificatesigningrequests.certificates.k8s.io"))
    with pytest.raises(Forbidden):
        await newcomer.list(resource("nodes"))


async def test_cluster_info_tells_joining_machines_server_and_authority(admin):
    info = await admin.get(resource("configmaps"), "cluster-info", "kube-public")
    access = kubeconfig.load_text(info["data"]["kubeconfig"], "cluster-info")
    assert (access.server, access.ca_data) == (JOIN.server, JOIN.ca_data)


def test_settings_of_a_node_survive_their_file(tmp_path):
    settings = JoinMachineSettings("https://h:1", "t", ca_file=tmp_path / "ca", node_name="n", dns=True)
    write_settings(tmp_path / "node.json", settings)
    assert read_settings(tmp_path / "node.json") == settings
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "node.json").write_text('{"serve": 1}')
    with pytest.raises(BadRequest, match=r"node\.json"):
        read_settings(tmp_path / "node.json")


def test_clusters_on_one_machine_share_no_name(tmp_path):
    usual, one, two = (NodePlaces(path) for path in (DEFAULT_DIRECTORY, tmp_path / "1", tmp_path / "2"))
    for name in ("bridge", "cgroup_root", "cluster"):
        assert len({getattr(each, name) for each in (usual, one, two)}) == 3
    assert usual.bridge == "sublet0" and len(one.bridge) <= 15
