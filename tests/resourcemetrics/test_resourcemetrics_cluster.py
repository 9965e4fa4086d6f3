"""From a pod's annotation through the node's report to who reads it: the whole way in one control plane."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time

import pytest

from sublet.kinds.resources import resource
from sublet.node.hollow import HollowNodes, names
from sublet.node.hollow_registration import HollowSettings
from sublet.node.hollow_usage import container_usage
from sublet.testing import running_control_plane

PODS, DEPLOYMENTS = resource("pods"), resource("deployments.apps")


class Running:
    def __init__(self, plane):
        self.plane = plane
        self.loop = plane._loop
        self.client = plane.plane.client()

    def do(self, work):
        return self.loop.run(work)

    def until(self, check, seconds=30.0):
        end = time.monotonic() + seconds
        while True:
            found = check()
            if found:
                return found
            assert time.monotonic() < end, f"still {found!r}"
            time.sleep(0.1)

    def kubectl(self, *arguments):
        command = ["kubectl", "--kubeconfig", str(self.plane.kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def cluster():
    with running_control_plane(metrics=True) as plane:
        running = Running(plane)

        async def hollow():
            settings = HollowSettings(names=names(1), metrics_seconds=0.5)
            return asyncio.create_task(HollowNodes(running.client, settings).run())

        task = running.do(hollow())
        yield running
        running.loop._loop.call_soon_threadsafe(task.cancel)


def container(cpu="100m"):
    return {"name": "c", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_kubectl_top_tells_what_pods_and_nodes_use(cluster):
    usage = {"sublet.dev/hollow-usage": "cpu=250m,memory=64Mi"}
    pod = {"metadata": {"name": "busy", "annotations": usage}, "spec": {"containers": [container()]}}
    cluster.do(cluster.client.create(PODS, pod, "default"))

    def top():
        done = cluster.kubectl("top", "pods", "--no-headers")
        return done.stdout.split() if done.returncode == 0 and done.stdout else None

    assert cluster.until(top) == ["busy", "250m", "64Mi"]
    node = cluster.kubectl("top", "nodes", "--no-headers").stdout.split()
    assert node[:2] == ["hollow-0", "250m"]
    assert node[3] == "64Mi"


def test_the_autoscaler_follows_what_pods_report(cluster):
    usage = {"sublet.dev/hollow-usage": "cpu=200m"}
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": usage},
        "spec": {"containers": [container()]},
    }
    deployment = {
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    cluster.do(cluster.client.create(DEPLOYMENTS, deployment, "default"))
    target = {"type": "Utilization", "averageUtilization": 100}
    scaler = {
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }  # fmt: skip
    cluster.do(cluster.client.create(resource("horizontalpodautoscalers.autoscaling"), scaler, "default"))

    def replicas():
        found = cluster.do(cluster.client.get(DEPLOYMENTS, "web", "default"))
        return found["spec"]["replicas"] >= 2

    cluster.until(replicas, 60)


def test_a_role_that_may_view_may_read_metrics(cluster):
    def aggregated():
        view = cluster.do(cluster.client.get(resource("clusterroles.rbac.authorization.k8s.io"), "view"))
        return any("metrics.k8s.io" in rule.get("apiGroups", ()) for rule in view["rules"])

    cluster.until(aggregated)


def test_an_annotation_names_containers_and_what_is_wrong_counts_as_nothing():
    annotations = {"sublet.dev/hollow-usage": "cpu=1,b/cpu=250m, b/memory = x,zzz/cpu=1,cpu"}
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    assert container_usage(pod) == {
        "a": {"cpu": "1", "memory": "0"},
        "b": {"cpu": "250m", "memory": "0"},
    }
