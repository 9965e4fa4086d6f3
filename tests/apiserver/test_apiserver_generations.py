"""What is a new generation of an object, kind by kind."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
SELECTED = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
SLICE = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}
DRIVER = {"spec": {"requiresRepublish": False}}

Change = tuple[str, Any]


def changed(obj: Object, path: str, value: Any) -> Object:
    obj = copy.deepcopy(obj)
    *above, last = path.split(".")
    holder = obj
    for key in above:
        holder = holder.setdefault(key, {})
    holder[last] = value
    return obj


@pytest.mark.parametrize(
    ("kind", "body", "changes", "generations"),
    [
        ("csidrivers.storage.k8s.io", DRIVER, [("metadata.labels", {"a": "b"}), ("spec.requiresRepublish", True), ("spec.fsGroupPolicy", "File")], [None, None, 1, 2]),
        ("priorityclasses.scheduling.k8s.io", {"value": 1}, [("description", "d"), ("globalDefault", True)], [1, 1, 1]),
        ("endpointslices.discovery.k8s.io", SLICE, [("metadata.annotations", {"a": "b"}), ("metadata.labels", {"a": "b"}), ("ports", [{"port": 81}])], [1, 1, 2, 3]),
        ("deployments.apps", {"spec": SELECTED}, [("metadata.labels", {"a": "b"}), ("metadata.annotations", {"a": "b"}), ("spec.replicas", 2)], [1, 1, 2, 3]),
        ("statefulsets.apps", {"spec": SELECTED}, [("metadata.annotations", {"a": "b"}), ("spec.replicas", 2)], [1, 1, 2]),
        ("podtemplates", {"template": TEMPLATE}, [("metadata.annotations", {"a": "b"}), ("template.metadata.labels", {})], [1, 1, 2]),
        ("configmaps", {}, [("data", {"a": "b"})], [None, None]),
    ],
)  # fmt: skip
async def test_a_generation_is_told_by_what_changed(
    client: Client, kind: str, body: Object, changes: list[Change], generations: list[int | None]
) -> None:
    where = resource(kind)
    metadata = {"name": "a", "generation": 7} if body else {"name": "a"}
    if where.namespaced:
        metadata["namespace"] = "default"
    stored = await client.create(where, {"metadata": metadata, **copy.deepcopy(body)})
    found = [stored["metadata"].get("generation")]
    for path, value in changes:
        stored = await client.update(where, changed(stored, path, value))
        found.append(stored["metadata"].get("generation"))
    assert found == generations
