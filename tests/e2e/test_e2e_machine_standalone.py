"""A standalone cluster with real containers: from nothing to Services and back to nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from sublet.machine import leftovers, standalone
from sublet.machine.containerd import Containerd
from sublet.machine.join import lacking
from sublet.machine.processes import Processes
from sublet.machine.standalone import StandaloneSettings

_LACKING = "; ".join(lacking(standalone._join_settings(StandaloneSettings(Path("/tmp/x")))))
pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(bool(_LACKING), reason=f"real containers need: {_LACKING}"),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl"),
    pytest.mark.timeout(300),
]

PROGRAMS = ("supervisor", "control-plane", "node")
WEB = {
    "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"},
            "spec": {
                "replicas": 2, "serviceName": "web", "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [{
                            "name": "web", "image": "busybox", "imagePullPolicy": "IfNotPresent",
                            "command": ["sh", "-c", "hostname >>/data/index.html; exec httpd -f -p 8080 -h /data"],
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                            "readinessProbe": {"httpGet": {"port": 8080, "path": "/index.html"}, "periodSeconds": 1},
                        }],
                    },
                },
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }],
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 8080}]},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
            "spec": {
                "type": "NodePort", "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": 8080}],
            },
        },
    ],
}  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*command, given=""):
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


class Machine:
    """One cluster and what is seen of it from outside."""

    def __init__(self, settings):
        self.settings = settings
        self.processes = Processes(settings.run_dir)

    def kubectl(self, *arguments, given=""):
        done = run("kubectl", "--kubeconfig", str(self.settings.kubeconfig), *arguments, given=given)
        return done.stdout if done.returncode == 0 else f"error: {done.stderr}"

    def pids(self):
        return {name: self.processes.pid(name) for name in PROGRAMS}

    async def until_ready(self, count=2, seconds=60):
        end = time.monotonic() + seconds
        while True:
            pods = json.loads(await asyncio.to_thread(self.kubectl, "get", "pods", "-o", "json"))["items"]
            statuses = [each for pod in pods for each in pod["status"].get("containerStatuses", ())]
            if len(statuses) == count and all(each["ready"] for each in statuses):
                return {each["containerID"] for each in statuses}
            assert time.monotonic() < end, json.dumps(statuses, indent=1)
            await asyncio.sleep(0.2)

    async def ask(self, url="http://front.default.svc.cluster.local/index.html", seconds=20):
        """From within a pod; endpoints may take a moment to be there again."""
        end = time.monotonic() + seconds
        while True:
            said = await asyncio.to_thread(self.kubectl, "exec", "web-0", "--", "wget", "-qO-", url)
            if not said.startswith("error") or time.monotonic() > end:
                return said
            await asyncio.sleep(0.3)

    async def top(self, seconds=30):
        """Name -> cpu and memory of each pod, once nodes have reported."""
        end = time.monotonic() + seconds
        while True:
            said = await asyncio.to_thread(self.kubectl, "top", "pods", "--no-headers")
            rows = {words[0]: words[1:] for words in map(str.split, said.splitlines()) if len(words) == 3}
            if len(rows) == 2 or time.monotonic() > end:
                return rows
            await asyncio.sleep(0.5)

    async def reboot(self):
        """Everything that lives in memory is gone; records are of another boot."""
        places = self.settings.places
        for pid in (*self.pids().values(), Containerd(places.containerd).running_pid()):
            if pid:
                os.kill(pid, signal.SIGKILL)
        await leftovers.remove_processes(places.containerd.socket, places.cgroup_root)
        leftovers.unmount_below(self.settings.data_dir)
        leftovers.remove_cgroups(places.cgroup_root)
        run("ip", "link", "delete", places.bridge)
        for table in (f"sublet-pods-{places.bridge}", f"sublet-{places.cluster}"):
            run("nft", "delete", "table", "ip", table)
        for name in PROGRAMS:
            record = self.settings.run_dir / f"{name}.pid"
            stat = record.read_text().splitlines()[1]
            record.write_text(f"00000000-1111-2222-3333-444444444444\n{stat}\n")

    def traces(self):
        """Everything on this machine that bears the cluster's names."""
        places = self.settings.places
        found = [line for line in run("ip", "-o", "link").stdout.splitlines() if places.bridge in line]
        found += [line for line in run("nft", "list", "tables").stdout.splitlines() if places.suffix in line]
        found += [
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if str(self.settings.data_dir) in line
        ]
        found += [line for line in run("iptables-save").stdout.splitlines() if places.bridge in line]
        found += map(str, leftovers.cgroup_directories(places.cgroup_root))
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.settings.data_dir).encode() in entry.read_bytes():
                    found.append(f"{entry}: {entry.read_bytes()!r}")
            except OSError:
                continue
        found += map(str, Path("/var/lib/cni/results").glob(f"{places.bridge}-*"))
        return found


@pytest.fixture
async def machine():
    directory = Path(tempfile.mkdtemp(prefix="se-", dir="/tmp"))
    number = os.getpid() % 200
    settings = StandaloneSettings(
        directory / "d", mode="containers", port=free_port(), agent_port=free_port(), node_name="e2e",
        pod_cidr=f"10.{20 + number % 80}.0.0/16", service_cidr=f"10.{110 + number % 80}.0.0/16",
    )  # fmt: skip
    yield Machine(settings)
    await standalone.clean(settings)
    shutil.rmtree(directory, ignore_errors=True)


async def test_from_nothing_to_services_through_kills_and_a_reboot_and_back_to_nothing(machine):
    settings = machine.settings
    first = await standalone.up(settings)
    assert first.preflight.mode == "containers"
    machine.kubectl("apply", "-f", "-", given=json.dumps(WEB))
    containers = await machine.until_ready()
    assert (await machine.ask()).strip() in ("web-0", "web-1")
    address = machine.kubectl("get", "service", "front", "-o", "jsonpath={.spec.clusterIP}")
    assert run("curl", "-sfm", "5", f"http://{address}/index.html").stdout.strip() in ("web-0", "web-1")
    port = machine.kubectl("get", "service", "front", "-o", "jsonpath={.spec.ports[0].nodePort}")
    assert run("curl", "-sfm", "5", f"http://127.0.0.1:{port}/index.html").stdout.strip() in (
        "web-0",
        "web-1",
    )

    # again: nothing changes
    before = machine.pids()
    assert (await standalone.up(settings)).seconds < 30
    assert machine.pids() == before

    # whoever is killed, containers run on
    for name in PROGRAMS:
        os.kill(machine.processes.pid(name), signal.SIGKILL)
    os.kill(Containerd(settings.places.containerd).running_pid(), signal.SIGKILL)
    await standalone.up(settings)
    assert await machine.until_ready() == containers
    assert (await machine.ask()).strip() in ("web-0", "web-1")

    # a reboot: other containers, the same data
    await machine.reboot()
    assert not any(machine.pids().values())
    await standalone.up(settings)
    assert await machine.until_ready() != containers
    said = (await machine.ask("http://web-0.web:8080/index.html")).split()
    assert said == ["web-0", "web-0"]

    # down ends everything but the data
    bridge = Path(f"/sys/class/net/{settings.places.bridge}")
    assert bridge.exists()
    assert await standalone.down(settings)
    assert machine.traces() == []
    await standalone.up(settings)
    await machine.until_ready()
    said = (await machine.ask("http://web-1.web:8080/index.html")).split()
    assert said == ["web-1"] * 3
    ips = machine.kubectl("get", "pod", "web-1", "-o", "jsonpath={.status.podIPs}")
    assert len(json.loads(ips)) == 1, "addresses of earlier sandboxes are gone"

    # what pods and the node use is told
    rows = await machine.top()
    assert rows["web-0"][1].endswith("Mi") and rows["web-1"][0].endswith("m")

    await standalone.clean(settings)
    assert machine.traces() == []
    assert not settings.data_dir.exists()
