"""Real pods: a control plane, a node agent and a private containerd, seen through its API and kubectl."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs

from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess
from sublet.controlplane.assemble import Assembly, ControlPlane
from sublet.kinds.resources import resource
from sublet.machine import containerd as machine
from sublet.machine import leftovers
from sublet.machine.images import base_images, busybox_binary
from sublet.machine.podnetwork import PodNetwork, PodNetworkSettings
from sublet.machinery.status import NotFound, StatusError
from sublet.node.agent import Agent
from sublet.node.settings import NodeSettings

NODE = "node-1"
PODS = resource("pods")


def _lacking() -> str:
    lacking = machine.missing(machine.ContainerdSettings(Path("/tmp/x")))
    try:
        busybox_binary()
    except StatusError as error:
        lacking.append(error.message)
    lacking += [f"{name} (on PATH)" for name in ("kubectl", "nft") if not shutil.which(name)]
    return "; ".join(lacking)


pytestmark = [
    pytest.mark.containers,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(_lacking()), reason=f"real containers need: {_lacking()}"),
]


@dataclasses.dataclass
class Cluster:
    directory: Path
    control_plane: ControlPlane
    client: Client
    settings: NodeSettings
    agent: asyncio.Task[None]
    node_client: Client | None = None

    async def start_agent(self) -> None:
        assert self.settings.access is not None
        self.node_client = Client(HTTPTransport(self.settings.access), "kubelet")
        agent = Agent(self.settings, self.node_client)
        self.agent = asyncio.create_task(agent.run())
        started = asyncio.create_task(agent.started.wait())
        await asyncio.wait((started, self.agent), return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert started.done(), self.agent

    async def stop_agent(self) -> None:
        self.agent.cancel()
        await asyncio.gather(self.agent, return_exceptions=True)
        if self.node_client is not None:
            await self.node_client.close()

    async def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
        for each in (*containers, *spec.get("initContainers", ())):
            each.setdefault("image", "busybox")
            each.setdefault("imagePullPolicy", "IfNotPresent")
        body = {"terminationGracePeriodSeconds": 1, "nodeName": NODE, **spec, "containers": list(containers)}
        return await self.client.create(
            PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}
        )

    async def until(
        self, name: str, check: Callable[[dict[str, Any]], Any], seconds: float = 20.0
    ) -> dict[str, Any]:
        """The pod once ``check`` holds of its status."""
        deadline = time.monotonic() + seconds
        while True:
            pod = await self.client.get(PODS, name, "default")
            if check(pod["status"]):
                return pod
            assert time.monotonic() < deadline, json.dumps(pod["status"], indent=1)
            await asyncio.sleep(0.1)

    async def remove(self, name: str, grace: int | None = None) -> None:
        await self.client.delete(PODS, name, "default", grace=grace)
        deadline = time.monotonic() + 20
        while True:
            try:
                await self.client.get(PODS, name, "default")
            except NotFound:
                return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    async def logs(self, name: str, container: str = "c", query: str = "") -> str:
        path = f"/api/v1/namespaces/default/pods/{name}/log"
        access = self.control_plane.access()
        client = Client(HTTPTransport(access))
        try:
            answer = await client.raw("GET", path, query=f"container={container}{query}")
        finally:
            await client.close()
        assert isinstance(answer.body, bytes)
        return answer.body.decode()

    async def kubectl(self, *arguments: str, stdin: bytes = b"", seconds: float = 20) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            "kubectl", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.control_plane.kubeconfig_path), "HOME": str(self.directory)},
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), seconds)
        except TimeoutError:
            process.kill()
            raise
        return process.returncode or 0, out.decode(), err.decode()


def phase(wanted: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status.get("phase") == wanted


def ready(status: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])


def waits_for(reason: str) -> Callable[[dict[str, Any]], bool]:
    def check(status: dict[str, Any]) -> bool:
        state = (status.get("containerStatuses") or [{}])[0].get("state") or {}
        return bool((state.get("waiting") or {}).get("reason") == reason)

    return check


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    directory = Path(tempfile.mkdtemp(prefix="sn-", dir="/tmp"))
    number = os.getpid() % 200
    cgroup = f"/sublet-test-{os.getpid()}"
    settings = machine.ContainerdSettings(directory / "c", cgroup_root=cgroup)
    network = PodNetwork(
        PodNetworkSettings(
            f"10.213.{number}.0/24",
            f"10.213.{number}.0/24",
            settings.cni_conf_dir,
            directory / "ipam",
            f"sbt{number}",
        )
    )
    daemon = machine.Containerd(settings)
    control_plane = ControlPlane(Assembly(directory / "cp", host="0.0.0.0", disabled_controllers=frozenset()))
    try:
        await daemon.start()
        network.setup()
        archive = directory / "images.tar"
        archive.write_bytes(base_images())
        await daemon.import_image(archive)
        await control_plane.start()
        pair = control_plane.pki.ca.issue(f"system:node:{NODE}", ("system:nodes",))
        access = structs.replace(control_plane.access(), client_cert=pair.cert_pem, client_key=pair.key_pem)
        node = NodeSettings(
            NODE, directory / "n", str(settings.socket), own_address(), cluster_dns=("10.96.0.10",), access=access,
            port=0, cgroup_root=cgroup, volume_period=1.0, backoff_start=1.0,
        )  # fmt: skip
        made = Cluster(
            directory, control_plane, control_plane.client(), node, asyncio.create_task(asyncio.sleep(0))
        )
        await made.start_agent()
        await _service_account(made)
        yield made
        await made.stop_agent()
    finally:
        await control_plane.stop()
        await daemon.teardown()
        network.teardown()
        leftovers.remove_tree(directory / "n")
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
        shutil.rmtree(directory, ignore_errors=True)
    assert not mounts
    assert not list(Path("/sys/fs/cgroup").glob(f"*{cgroup}"))
    assert not Path(f"/sys/class/net/sbt{number}").exists()


async def _service_account(cluster: Cluster) -> None:
    for _ in range(100):
        try:
            await cluster.client.get(resource("serviceaccounts"), "default", "default")
            return
        except NotFound:
            await asyncio.sleep(0.1)
    raise AssertionError("no default ServiceAccount")


async def test_pod_runs_to_its_end_and_its_log_is_there(cluster: Cluster) -> None:
    await cluster.create(
        "once", {"name": "c", "command": ["sh", "-c", "echo out; echo err >&2"]}, restartPolicy="Never"
    )
    pod = await cluster.until("once", phase("Succeeded"))
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (0, "Completed")
    assert sorted((await cluster.logs("once")).split()) == ["err", "out"]
    await cluster.remove("once")


async def test_failed_container_tells_its_message_and_exit_code(cluster: Cluster) -> None:
    command = ["sh", "-c", "echo -n because > /dev/termination-log; exit 5"]
    await cluster.create("fails", {"name": "c", "command": command}, restartPolicy="Never")
    pod = await cluster.until("fails", phase("Failed"))
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"], state["message"]) == (5, "Error", "because")
    await cluster.remove("fails")


async def test_init_containers_run_in_order_before_the_others(cluster: Cluster) -> None:
    mounts = [{"name": "d", "mountPath": "/d"}]

    def say(name: str) -> dict[str, Any]:
        return {"name": name, "command": ["sh", "-c", f"echo {name} >> /d/f"], "volumeMounts": mounts}

    main = {"name": "c", "command": ["cat", "/d/f"], "volumeMounts": mounts}
    await cluster.create(
        "inits", main, initContainers=[say("one"), say("two")], volumes=[{"name": "d", "emptyDir": {}}],
        restartPolicy="Never",
    )  # fmt: skip
    await cluster.until("inits", phase("Succeeded"))
    assert await cluster.logs("inits") == "one\ntwo\n"
    await cluster.remove("inits")


async def test_crashing_container_backs_off_and_restarts(cluster: Cluster) -> None:
    await cluster.create("crash", {"name": "c", "command": ["sh", "-c", "exit 1"]})
    waiting = await cluster.until(
        "crash", lambda s: s.get("containerStatuses", [{}])[0].get("restartCount", 0) >= 2
    )
    assert waiting["status"]["phase"] == "Running"
    seen = await cluster.until("crash", waits_for("CrashLoopBackOff"))
    last = seen["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 1
    await cluster.remove("crash")


async def test_missing_image_is_told_as_kubelet_does(cluster: Cluster) -> None:
    await cluster.create("never", {"name": "c", "image": "nowhere:1", "imagePullPolicy": "Never"})
    await cluster.until("never", waits_for("ErrImageNeverPull"))
    await cluster.remove("never")


async def test_environment_comes_from_fields_maps_secrets_and_references(cluster: Cluster) -> None:
    await cluster.client.create(
        resource("configmaps"), {"metadata": {"name": "env", "namespace": "default"}, "data": {"KEY": "map"}}
    )
    await cluster.client.create(
        resource("secrets"),
        {"metadata": {"name": "env", "namespace": "default"}, "stringData": {"key": "secret"}},
    )
    container = {
        "name": "c",
        "command": ["sh", "-c", "echo $NAME $KEY $S $JOINED $(LIMIT) $KUBERNETES_SERVICE_PORT"],
        "resources": {"limits": {"memory": "32Mi"}},
        "envFrom": [{"configMapRef": {"name": "env"}}],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "env", "key": "key"}}},
            {"name": "JOINED", "value": "$(NAME)-$(S)"},
            {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        ],
    }
    await cluster.create("env", container, restartPolicy="Never")
    await cluster.until("env", phase("Succeeded"))
    assert await cluster.logs("env") == f"env map secret env-secret {32 << 20} 443\n"
    await cluster.remove("env")


async def test_container_waits_for_a_missing_config_map_and_starts_with_it(cluster: Cluster) -> None:
    container = {"name": "c", "command": ["cat", "/v/k"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volumes = [{"name": "v", "configMap": {"name": "later"}}]
    await cluster.create("waits", container, volumes=volumes, restartPolicy="Never")
    await asyncio.sleep(0.5)
    pod = await cluster.until("waits", lambda s: s.get("containerStatuses"))
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
    await cluster.client.create(
        resource("configmaps"), {"metadata": {"name": "later", "namespace": "default"}, "data": {"k": "here"}}
    )
    await cluster.until("waits", phase("Succeeded"))
    assert await cluster.logs("waits") == "here"
    await cluster.remove("waits")


async def test_mounted_config_map_follows_its_object(cluster: Cluster) -> None:
    maps = resource("configmaps")
    await cluster.client.create(
        maps, {"metadata": {"name": "live", "namespace": "default"}, "data": {"k": "old"}}
    )
    container = {
        "name": "c",
        "command": ["sh", "-c", "until grep -q new /v/k; do sleep 0.1; done; ls /v"],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    volumes = [{"name": "v", "configMap": {"name": "live"}}]
    await cluster.create("follows", container, volumes=volumes, restartPolicy="Never")
    await cluster.until("follows", phase("Running"))
    await cluster.client.patch(maps, "live", {"data": {"k": "new", "other": "x"}}, "default")
    await cluster.until("follows", phase("Succeeded"))
    assert (await cluster.logs("follows")).split() == ["k", "other"]
    await cluster.remove("follows")


async def test_projected_token_is_accepted_by_the_api_server(cluster: Cluster) -> None:
    command = ["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]
    await cluster.create("token", {"name": "c", "command": command}, restartPolicy="Never")
    await cluster.until("token", phase("Succeeded"))
    token = await cluster.logs("token")
    access = ClusterAccess(
        cluster.control_plane.url, ca_data=cluster.control_plane.pki.ca.cert_pem, token=token
    )
    client = Client(HTTPTransport(access))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = await client.create(resource("selfsubjectreviews.authentication.k8s.io"), review)
    await client.close()
    user = found["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["token"]
    await cluster.remove("token")


async def test_limits_reach_the_cgroup_and_too_much_memory_kills(cluster: Cluster) -> None:
    container = {
        "name": "c",
        "command": ["sh", "-c", "x=a; while true; do x=$x$x; done"],
        "resources": {"limits": {"memory": "24Mi", "cpu": "500m"}},
    }
    await cluster.create("oom", container, restartPolicy="Never")
    pod = await cluster.until("oom", phase("Failed"), 40)
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")
    await cluster.remove("oom")


async def test_resized_container_gets_new_limits_without_a_restart(cluster: Cluster) -> None:
    limits = {"cpu": "100m", "memory": "32Mi"}
    container = {
        "name": "c",
        "command": ["sleep", "1000"],
        "resources": {"limits": limits, "requests": limits},
    }
    await cluster.create("grows", container)
    before = await cluster.until("grows", ready)
    more = {"cpu": "200m", "memory": "64Mi"}
    patch = {"spec": {"containers": [{"name": "c", "resources": {"limits": more, "requests": more}}]}}
    await cluster.client.patch(PODS, "grows", patch, "default", kind="strategic", subresource="resize")
    after = await cluster.until(
        "grows", lambda s: s["containerStatuses"][0].get("resources", {}).get("limits") == more
    )
    assert (
        after["status"]["containerStatuses"][0]["containerID"]
        == before["status"]["containerStatuses"][0]["containerID"]
    )
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"
    _, out, _ = await cluster.kubectl("exec", "grows", "--", "sh", "-c", f"cat {files[0]} || cat {files[1]}")
    assert out == f"{64 << 20}\n"
    await cluster.remove("grows")


async def test_host_network_pod_has_the_nodes_address(cluster: Cluster) -> None:
    container = {
        "name": "c",
        "command": ["httpd", "-f", "-p", "28418", "-h", "/etc"],
        "readinessProbe": {"tcpSocket": {"port": 28418}, "periodSeconds": 1},
    }
    await cluster.create("host", container, hostNetwork=True)
    pod = await cluster.until("host", ready)
    assert pod["status"]["podIP"] == cluster.settings.node_ip
    await cluster.remove("host")


async def test_users_groups_and_read_only_root_hold(cluster: Cluster) -> None:
    container = {
        "name": "c",
        "command": [
            "sh",
            "-c",
            "exec 2>&1; id -u; id -g; id -G; touch /x || echo read-only; ls -ln /d | tail -1; touch /d/y",
        ],
        "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "d", "mountPath": "/d"}],
    }
    context = {"runAsUser": 1000, "runAsGroup": 1001, "fsGroup": 2000}
    await cluster.create(
        "users",
        container,
        securityContext=context,
        volumes=[{"name": "d", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await cluster.until("users", phase("Succeeded"))
    lines = (await cluster.logs("users")).splitlines()
    assert lines[:2] == ["1000", "1001"]
    assert "2000" in lines[2].split()
    assert "read-only" in lines
    await cluster.remove("users")


async def test_sub_path_cannot_leave_its_volume(cluster: Cluster) -> None:
    make = {
        "name": "i",
        "command": ["ln", "-s", "/etc", "/d/out"],
        "volumeMounts": [{"name": "d", "mountPath": "/d"}],
    }
    container = {
        "name": "c",
        "command": ["true"],
        "volumeMounts": [{"name": "d", "mountPath": "/m", "subPath": "out"}],
    }
    await cluster.create("escape", container, initContainers=[make], volumes=[{"name": "d", "emptyDir": {}}])
    pod = await cluster.until("escape", waits_for("CreateContainerConfigError"))
    assert "leads out of its volume" in pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    await cluster.remove("escape")


async def test_readiness_follows_its_probe(cluster: Cluster) -> None:
    container = {
        "name": "c",
        "command": ["sh", "-c", "mkdir /w; echo ok > /w/ok; exec httpd -f -p 8080 -h /w"],
        "readinessProbe": {
            "httpGet": {"path": "/ok", "port": 8080},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
    }
    await cluster.create("probed", container)
    await cluster.until("probed", ready)
    code, _, err = await cluster.kubectl("exec", "probed", "--", "rm", "/w/ok")
    assert code == 0, err
    pod = await cluster.until("probed", lambda s: not ready(s))
    assert pod["status"]["phase"] == "Running"
    await cluster.remove("probed")


async def test_failed_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    container = {
        "name": "c",
        "command": ["sh", "-c", "sleep 1000"],
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1},
    }
    await cluster.create("dies", container)
    await cluster.until("dies", lambda s: s.get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1)
    await cluster.remove("dies")


async def test_sidecar_ends_after_the_others(cluster: Cluster) -> None:
    side = {"name": "side", "restartPolicy": "Always", "command": ["sleep", "1000"]}
    await cluster.create(
        "sidecar", {"name": "c", "command": ["true"]}, initContainers=[side], restartPolicy="Never"
    )
    pod = await cluster.until("sidecar", phase("Succeeded"))
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]
    await cluster.remove("sidecar")


async def test_deletion_runs_pre_stop_and_waits_for_the_process(cluster: Cluster, tmp_path: Path) -> None:
    container = {
        "name": "c",
        "command": [
            "sh",
            "-c",
            "trap 'sleep 0.5; echo term >> /h/log; exit 0' TERM; while true; do sleep 0.1; done",
        ],
        "volumeMounts": [{"name": "h", "mountPath": "/h"}],
        "lifecycle": {
            "postStart": {"exec": {"command": ["sh", "-c", "echo post >> /h/log"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /h/log"]}},
        },
    }
    volumes = [{"name": "h", "hostPath": {"path": str(tmp_path / "h"), "type": "DirectoryOrCreate"}}]
    await cluster.create("ends", container, volumes=volumes, terminationGracePeriodSeconds=20)
    await cluster.until("ends", ready)
    begun = time.monotonic()
    await cluster.remove("ends")
    assert time.monotonic() - begun < 10
    assert (tmp_path / "h" / "log").read_text().split() == ["post", "pre", "term"]


async def test_deadline_fails_the_pod(cluster: Cluster) -> None:
    await cluster.create("deadline", {"name": "c", "command": ["sleep", "1000"]}, activeDeadlineSeconds=1)
    pod = await cluster.until("deadline", phase("Failed"))
    assert pod["status"]["reason"] == "DeadlineExceeded"
    await cluster.remove("deadline")


async def test_taken_host_port_refuses_the_second_pod(cluster: Cluster) -> None:
    def listening() -> dict[str, Any]:
        return {
            "name": "c",
            "command": ["sleep", "1000"],
            "ports": [{"containerPort": 80, "hostPort": 28417}],
        }

    await cluster.create("first", listening())
    await cluster.until("first", ready)
    await cluster.create("second", listening())
    pod = await cluster.until("second", phase("Failed"))
    assert pod["status"]["reason"] == "NodePorts"
    await cluster.remove("first")
    await cluster.remove("second")


async def test_claim_of_a_local_volume_keeps_its_data(cluster: Cluster, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    volume = {
        "metadata": {"name": "local-1"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": "default", "name": "claim"},
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "", "hostPath": {"path": str(tmp_path)},
        },
    }  # fmt: skip
    claim = {
        "metadata": {"name": "claim", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "local-1",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip
    await cluster.client.create(resource("persistentvolumes"), volume)
    made = await cluster.client.create(resource("persistentvolumeclaims"), claim)
    status = {"metadata": {"uid": made["metadata"]["uid"]}, "status": {"phase": "Bound"}}
    await cluster.client.patch(
        resource("persistentvolumeclaims"), "claim", status, "default", subresource="status"
    )
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}]
    await cluster.create(
        "writes", {"name": "c", "command": ["sh", "-c", "echo kept > /v/f"], "volumeMounts": mounts},
        volumes=volumes, restartPolicy="Never",
    )  # fmt: skip
    await cluster.until("writes", phase("Succeeded"))
    await cluster.remove("writes")
    assert (tmp_path / "f").read_text() == "kept\n"


@pytest.mark.parametrize("websockets", ["true", "false"])
async def test_kubectl_exec_passes_input_output_and_exit_code(
    cluster: Cluster, websockets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By WebSocket, and by SPDY."""
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
    if websockets == "true":
        await cluster.create("shell", {"name": "c", "command": ["sleep", "1000"]})
        await cluster.until("shell", ready)
    code, out, err = await cluster.kubectl(
        "exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 3"
    )
    assert (code, out) == (3, "out\n")
    assert "err\n" in err
    code, out, _ = await cluster.kubectl("exec", "-i", "shell", "--", "cat", stdin=b"x" * 300_000)
    assert (code, len(out)) == (0, 300_000)


async def test_kubectl_copies_both_ways(cluster: Cluster, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(200_000))
    assert (await cluster.kubectl("cp", str(source), "shell:/tmp/file"))[0] == 0
    assert (await cluster.kubectl("cp", "shell:/tmp/file", str(back)))[0] == 0
    assert back.read_bytes() == source.read_bytes()
    await cluster.remove("shell")


async def test_kubectl_attach_sends_input_to_the_container(cluster: Cluster) -> None:
    overrides = json.dumps({"spec": {"nodeName": NODE}})
    code, out, err = await cluster.kubectl(
        "run", "attached", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never", "-i", "--rm",
        f"--overrides={overrides}", "--", "cat", stdin=b"said\n",
    )  # fmt: skip
    assert code == 0, err
    assert "said" in out


@pytest.mark.parametrize("websockets", ["true", "false"])
async def test_kubectl_forwards_a_port_and_the_proxy_answers(
    cluster: Cluster, websockets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By WebSocket, and by SPDY."""
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
    await cluster.create(
        "web", {"name": "c", "command": ["sh", "-c", "echo page > /index.html; exec httpd -f -p 8080 -h /"]}
    )
    await cluster.until("web", ready)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "kubectl", "port-forward", "pod/web", f"{port}:8080", stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(cluster.control_plane.kubeconfig_path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 15)
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
            assert b"page" in await asyncio.wait_for(reader.read(), 10)
            writer.close()
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
    code, out, err = await cluster.kubectl(
        "get", "--raw", "/api/v1/namespaces/default/pods/web:8080/proxy/index.html"
    )
    assert (code, out) == (0, "page\n"), err
    await cluster.remove("web")


async def test_logs_follow_tail_and_previous(cluster: Cluster) -> None:
    command = ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done"]
    await cluster.create("talks", {"name": "c", "command": command}, restartPolicy="Never")
    await cluster.until("talks", phase("Running"))
    code, out, err = await cluster.kubectl("logs", "-f", "talks")
    assert code == 0, err
    assert out.splitlines() == [f"line {i}" for i in range(1, 6)]
    assert (await cluster.logs("talks", query="&tailLines=2")).splitlines() == ["line 4", "line 5"]
    code, _, err = await cluster.kubectl("logs", "--previous", "talks")
    assert code == 1
    assert 'previous terminated container "c" in pod "talks" not found' in err
    await cluster.remove("talks")


async def test_new_agent_adopts_running_containers(cluster: Cluster) -> None:
    await cluster.create("stays", {"name": "c", "command": ["sleep", "1000"]})
    before = await cluster.until("stays", ready)
    await cluster.stop_agent()
    await cluster.start_agent()
    await asyncio.sleep(1.5)
    after = await cluster.until("stays", ready)
    for key in ("containerID", "restartCount"):
        assert after["status"]["containerStatuses"][0][key] == before["status"]["containerStatuses"][0][key]
    await cluster.remove("stays")


async def test_pod_deleted_while_no_agent_ran_is_ended(cluster: Cluster) -> None:
    await cluster.create("orphan", {"name": "c", "command": ["sleep", "1000"]})
    uid = (await cluster.until("orphan", ready))["metadata"]["uid"]
    await cluster.stop_agent()
    await cluster.client.delete(PODS, "orphan", "default", grace=0)
    await cluster.start_agent()
    for _ in range(100):
        if not (cluster.settings.pods_dir / uid).exists():
            break
        await asyncio.sleep(0.1)
    from sublet.node.cri import CRI

    cri = CRI(cluster.settings.cri_socket)
    try:
        assert uid not in {s.metadata.uid for s in await cri.sandboxes() if s.metadata}
    finally:
        await cri.close()
    assert not (cluster.settings.pods_dir / uid).exists()


async def test_node_is_ready_and_says_what_it_has(cluster: Cluster) -> None:
    node = await cluster.client.get(resource("nodes"), NODE)
    conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    assert conditions == {
        "Ready": "True",
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
    }
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    assert node["status"]["capacity"]["pods"] == "110"
    lease = await cluster.client.get(resource("leases.coordination.k8s.io"), NODE, "kube-node-lease")
    assert lease["spec"]["holderIdentity"] == NODE
