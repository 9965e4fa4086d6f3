"""Watchers, list chunks, table conversion and the server's version."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from conformance_client import API, Object, Resource
from conformance_names import conformance
from conformance_steps import change, refused, resource_version

from sublet.testing import RunningControlPlane

WATCH_LABEL = "watch-this-configmap"
A, B = "multiple-watchers-A", "multiple-watchers-B"
QUIET = 0.5
"""Seconds without an event; upstream waits 10."""


def labelled(name: str, value: str) -> Object:
    return {"metadata": {"name": name, "labels": {WATCH_LABEL: value}}}


def mutate(configmaps: Resource, name: str, number: int) -> Object:
    return change(configmaps, name, lambda o: o.setdefault("data", {}).update(mutation=str(number)))


@conformance(
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps "
    "[Conformance]"
)
def test_watchers_see_what_their_selector_selects(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    with ExitStack() as stack:
        watch_a, watch_b, watch_ab = (
            stack.enter_context(configmaps.watch(label_selector=f"{WATCH_LABEL} in ({values})"))
            for values in (A, B, f"{A},{B}")
        )
        name_a, name_b = "e2e-watch-test-configmap-a", "e2e-watch-test-configmap-b"
        versions = [resource_version(configmaps.create(labelled(name_a, A)))]
        for watch in (watch_a, watch_ab):
            assert watch.expect("ADDED")["metadata"]["name"] == name_a
        for number in (1, 2):
            versions.append(resource_version(mutate(configmaps, name_a, number)))
            for watch in (watch_a, watch_ab):
                assert watch.expect("MODIFIED")["data"] == {"mutation": str(number)}
        configmaps.delete(name_a)
        for watch in (watch_a, watch_ab):
            deleted = watch.expect("DELETED")
            assert deleted["data"] == {"mutation": "2"}
            assert resource_version(deleted) > versions[-1]
        configmaps.create(labelled(name_b, B))
        for watch in (watch_b, watch_ab):
            assert watch.expect("ADDED")["metadata"]["name"] == name_b
        configmaps.delete(name_b)
        for watch in (watch_b, watch_ab):
            assert watch.expect("DELETED")["metadata"]["name"] == name_b
        watch_a.silent(QUIET)
        watch_b.silent(QUIET)
        assert versions == sorted(set(versions))


@conformance(
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"
)
def test_watch_starts_after_the_version_it_names(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    name = "e2e-watch-test-resource-version"
    configmaps.create(labelled(name, "from-resource-version"))
    first = mutate(configmaps, name, 1)
    mutate(configmaps, name, 2)
    configmaps.delete(name)
    version = first["metadata"]["resourceVersion"]
    selector = f"{WATCH_LABEL}=from-resource-version"
    with configmaps.watch(label_selector=selector, resource_version=version) as watch:
        assert watch.expect("MODIFIED")["data"] == {"mutation": "2"}
        assert watch.expect("DELETED")["data"] == {"mutation": "2"}


@conformance(
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by "
    "the previous watch [Conformance]"
)
def test_watch_resumes_where_another_ended(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    name, selector = "e2e-watch-test-watch-closed", f"{WATCH_LABEL}=watch-closed-and-restarted"
    with configmaps.watch(label_selector=selector) as watch:
        configmaps.create(labelled(name, "watch-closed-and-restarted"))
        mutate(configmaps, name, 1)
        watch.expect("ADDED")
        last = watch.expect("MODIFIED")
    mutate(configmaps, name, 2)
    version = last["metadata"]["resourceVersion"]
    with configmaps.watch(label_selector=selector, resource_version=version) as watch:
        configmaps.delete(name)
        assert watch.expect("MODIFIED")["data"] == {"mutation": "2"}
        assert watch.expect("DELETED")["metadata"]["name"] == name


@conformance(
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the "
    "selector [Conformance]"
)
def test_leaving_the_selector_is_a_deletion(api: API, namespace: str) -> None:
    configmaps = api.typed("v1", "configmaps", namespace)
    name, value = "e2e-watch-test-label-changed", "label-changed-and-restored"

    def relabel(label: str) -> None:
        change(configmaps, name, lambda o: o["metadata"]["labels"].update({WATCH_LABEL: label}))

    with configmaps.watch(label_selector=f"{WATCH_LABEL}={value}") as watch:
        configmaps.create(labelled(name, value))
        mutate(configmaps, name, 1)
        relabel("wrong-value")
        assert "data" not in watch.expect("ADDED")
        assert watch.expect("MODIFIED")["data"] == {"mutation": "1"}
        assert watch.expect("DELETED")["metadata"]["labels"] == {WATCH_LABEL: value}
        mutate(configmaps, name, 2)
        watch.silent(QUIET)
        relabel(value)
        mutate(configmaps, name, 3)
        configmaps.delete(name)
        assert watch.expect("ADDED")["data"] == {"mutation": "2"}
        assert watch.expect("MODIFIED")["data"] == {"mutation": "3"}
        assert watch.expect("DELETED")["data"] == {"mutation": "3"}


@pytest.fixture
def busy(api: API, namespace: str) -> Iterator[threading.Event]:
    """Creates, updates and deletes ConfigMaps until told to stop."""
    stopped = threading.Event()
    writer = api.acting({}).typed("v1", "configmaps", namespace)

    def work() -> None:
        number = 0
        while not stopped.is_set():
            name = f"busy-{number % 10}"
            if number // 10 % 3 == 0:
                writer.create({"metadata": {"name": name}, "data": {"number": str(number)}})
            elif number // 10 % 3 == 1:
                writer.update({"metadata": {"name": name}, "data": {"number": str(number)}})
            else:
                writer.delete(name)
            number += 1
            stopped.wait(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    yield stopped
    stopped.set()
    thread.join()


@conformance(
    "[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]"
)
def test_concurrent_watches_agree_on_the_order(api: API, namespace: str, busy: threading.Event) -> None:
    """100 watches, each from one event later than the one before, all see the same sequence."""
    configmaps = api.typed("v1", "configmaps", namespace)
    with ExitStack() as stack:
        watches = []
        version = configmaps.list()["metadata"]["resourceVersion"]
        for _ in range(100):
            watches.append(stack.enter_context(configmaps.watch(resource_version=version)))
            version = watches[-1].next()[1]["metadata"]["resourceVersion"]
        ends = [watch.next()[1]["metadata"]["resourceVersion"] for watch in watches]
        # watch number n has read one event more than where number n + 1 begins
        assert all(int(a) < int(b) for a, b in pairwise(ends))
        last = ends[-1]
        for watch, end in zip(watches[:-1], ends[:-1], strict=True):
            position = ends.index(end)
            for expected in ends[position + 1 :]:
                assert watch.next()[1]["metadata"]["resourceVersion"] == expected
                if expected == last:
                    break


CHUNKS = 400


@pytest.fixture
def templates(api: API, namespace: str, pod_spec: Object) -> Resource:
    """400 PodTemplates, template-0000 and so on."""
    resource = api.typed("v1", "podtemplates", namespace)
    for number in range(CHUNKS):
        resource.create({"metadata": {"name": f"template-{number:04}"}, "template": {"spec": pod_spec}})
    return resource


def names(page: Object) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


EXPECTED = [f"template-{number:04}" for number in range(CHUNKS)]


@conformance(
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls "
    "[Conformance]"
)
def test_chunks_are_one_consistent_list(templates: Resource) -> None:
    random, found = Random(7), list[str]()
    version = token = None
    while True:
        limit = random.randint(1, CHUNKS // 10)
        page = templates.list(limit=limit, **{"continue": token} if token else {})
        assert len(page["items"]) <= limit
        version = version or page["metadata"]["resourceVersion"]
        assert page["metadata"]["resourceVersion"] == version
        found += names(page)
        token = page["metadata"].get("continue")
        if not token:
            assert not page["metadata"].get("remainingItemCount")
            break
        assert page["metadata"]["remainingItemCount"] + len(found) == CHUNKS
        assert len(page["items"]) == limit
    assert found == EXPECTED
    assert names(templates.list(limit=CHUNKS + 1)) == EXPECTED


@conformance(
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key "
    "if the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]"
)
def test_an_expired_list_goes_on_inconsistently(plane: RunningControlPlane, templates: Resource) -> None:
    """Upstream polls the first token for up to 10 minutes until it has expired; here the store is compacted."""
    first = templates.list(limit=40)
    token = first["metadata"]["continue"]
    templates.delete("template-0001")
    expire(plane)
    with refused("Expired") as caught:
        templates.list(limit=40, **{"continue": token})
    assert caught[0].code == 410
    inconsistent = caught[0].status["metadata"]["continue"]
    assert inconsistent and inconsistent != token
    page = templates.list(limit=40, **{"continue": inconsistent})
    assert page["metadata"]["remainingItemCount"] == CHUNKS - 80
    assert page["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    assert len(page["items"]) == 40
    found = names(first) + names(page)
    version = page["metadata"]["resourceVersion"]
    while token := page["metadata"].get("continue"):
        page = templates.list(limit=40, **{"continue": token})
        assert page["metadata"]["resourceVersion"] == version
        found += names(page)
    assert found == EXPECTED


def expire(plane: RunningControlPlane) -> None:
    """Compacts the store, as it does by itself every five minutes."""

    async def compact() -> None:
        store = plane.plane._store
        assert store
        await store.compact(await store.current_revision())

    plane._loop.run(compact())


@conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which "
    "does not implement metadata [Conformance]"
)
def test_a_review_has_no_table(api: API) -> None:
    reviews = api.typed("authorization.k8s.io/v1", "selfsubjectaccessreviews")
    reviews._accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    with refused("NotAcceptable") as caught:
        reviews.create({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}})
    assert caught[0].code == 406


@conformance("[sig-api-machinery] server version should find the server version [Conformance]")
def test_server_version(api: API) -> None:
    version: dict[str, Any] = api.get_json("/version")
    assert version["major"].isdigit()
    assert version["minor"].rstrip("+").isdigit()
    assert int(version["minor"].rstrip("+")) > 0
