"""metrics.k8s.io without an API server before it: what nodes report is what readers get."""

from __future__ import annotations

import json

import pytest

from sublet.client.exchange import Request, User
from sublet.resourcemetrics.samples import STALE_SECONDS
from sublet.resourcemetrics.server import ROOT, MetricsServer

NODE = User("system:node:a", ("system:nodes",))
WHEN = {"timestamp": "2026-11-28T12:00:00Z", "window": "15s"}


class Clock:
    def __init__(self):
        self.at = 0.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    return MetricsServer(clock)


def pod(name, cpu, namespace="default", **labels):
    usage = {"cpu": cpu, "memory": "10Mi"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"metadata": metadata, **WHEN, "containers": [{"name": "c", "usage": usage}]}


def report(*pods, node="a", **labels):
    usage = {"cpu": "500m", "memory": "1Gi"}
    return {"metadata": {"name": node, "labels": labels}, **WHEN, "usage": usage, "pods": list(pods)}


async def put(server, document, node="a", user=NODE):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return await server.handle(Request("PUT", f"{ROOT}/nodes/{node}", body=body, user=user))


async def get(server, path="", query=""):
    response = await server.handle(Request("GET", ROOT + path, query))
    return response.status, json.loads(response.body)


async def names(server, path, query=""):
    _, document = await get(server, path, query)
    return [item["metadata"]["name"] for item in document["items"]]


async def test_discovery_names_nodes_and_pods(server):
    _, document = await get(server)
    assert [(r["name"], r["kind"], r["namespaced"]) for r in document["resources"]] == [
        ("nodes", "NodeMetrics", False),
        ("pods", "PodMetrics", True),
    ]


async def test_what_a_node_reports_is_read_by_node_by_pod_and_by_namespace(server):
    assert (await put(server, report(pod("p", "250m"), pod("q", "1", "other")))).status == 200
    _, node = await get(server, "/nodes/a")
    assert node["kind"] == "NodeMetrics" and node["usage"] == {"cpu": "500m", "memory": "1Gi"}
    assert "pods" not in node
    _, one = await get(server, "/namespaces/default/pods/p")
    assert one["kind"] == "PodMetrics" and one["window"] == "15s"
    assert one["containers"] == [{"name": "c", "usage": {"cpu": "250m", "memory": "10Mi"}}]
    assert await names(server, "/pods") == ["p", "q"]
    assert await names(server, "/namespaces/other/pods") == ["q"]


async def test_a_new_report_takes_the_place_of_the_last_one(server):
    await put(server, report(pod("p", "1")))
    await put(server, report(pod("q", "1")))
    assert await names(server, "/pods") == ["q"]


async def test_pods_are_selected_by_label_and_name(server):
    await put(server, report(pod("p", "1", app="web"), pod("q", "1", app="db")))
    assert await names(server, "/pods", "labelSelector=app%3Dweb") == ["p"]
    assert await names(server, "/pods", "fieldSelector=metadata.name%3Dq") == ["q"]


async def test_a_node_that_is_silent_says_nothing_of_now(server, clock):
    await put(server, report(pod("p", "1")))
    clock.at += STALE_SECONDS + 1
    assert await names(server, "/nodes") == await names(server, "/pods") == []
    status, document = await get(server, "/nodes/a")
    assert (status, document["message"]) == (404, 'nodes.metrics.k8s.io "a" not found')


async def test_a_node_reports_of_itself_only(server):
    answer = await put(server, report(node="b"), node="b")
    assert answer.status == 403
    assert "may report of itself only" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"{", "JSON"),
        (b"[]", "must be NodeMetrics"),
        ({**report(), "usage": {"cpu": "lots"}}, "usage of a: "),
        ({**report(), "usage": None}, "lacks its usage"),
        ({**report(), "timestamp": None}, "must say when"),
        (report({"metadata": {"name": "p"}, **WHEN}), "must say its namespace"),
        (report("p"), "must be PodMetrics"),
        ({**report(), "metadata": {"name": "other"}}, "must be NodeMetrics with that name"),
    ],
)
async def test_a_report_that_is_none_is_refused_and_the_last_one_stays(server, document, says):
    await put(server, report(pod("p", "1")))
    answer = await put(server, document)
    assert answer.status == 400
    assert says in json.loads(answer.body)["message"]
    assert await names(server, "/pods") == ["p"]


async def test_nothing_else_can_be_written_or_watched(server):
    assert (await server.handle(Request("DELETE", f"{ROOT}/nodes/a", user=NODE))).status == 405
    assert (await get(server, "/pods", "watch=1"))[0] == 405
    assert (await get(server, "/nothing"))[0] == 404
