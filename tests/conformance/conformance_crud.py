"""The suite's generic test of one resource: every verb and patch type, while a watch checks the events."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from conformance_client import API, APPLY, JSON_PATCH, LIMIT, MERGE, STRATEGIC, Object, Resource, Watch
from conformance_steps import check_discovery, gone, random_name, resource_version, wait_count

PATCHES = (STRATEGIC, APPLY, MERGE, JSON_PATCH)


@dataclass(frozen=True)
class Subject:
    """What the generic test needs to know of a resource."""

    api_version: str
    plural: str
    kind: str
    spec: Object
    edit: Callable[[Object], None] = lambda _: None
    """Changes the spec, where it may be changed."""
    status: Object | None = None
    """A status to write, where there is one."""


class Run:
    """One run in one namespace (or none)."""

    def __init__(self, api: API, subject: Subject, namespace: str) -> None:
        self.subject = subject
        self.resource = api.dynamic(subject.api_version, subject.plural, subject.kind, namespace)
        self.everywhere = api.dynamic(subject.api_version, subject.plural, subject.kind)
        self.label = random_name("crud")
        self.name = random_name("e2e")
        self.selector = f"e2e-crud={self.label}"

    def manifest(self) -> Object:
        # as Go wrote it before 1.36: no time is null
        metadata = {"name": self.name, "labels": {"e2e-crud": self.label}, "creationTimestamp": None}
        return {**self.resource.whole({}), "metadata": metadata, "spec": self.subject.spec}

    def create(self) -> Object:
        return self.resource.create(self.manifest(), field_validation="Strict")

    def all_verbs(self) -> None:
        created = self.create()
        assert created["metadata"]["uid"] == self.resource.get(self.name)["metadata"]["uid"]
        self._update(created)
        if self.subject.status:
            self._update_status()
        for content_type in PATCHES:
            self._patch(content_type, self._recreate()["metadata"]["uid"])
        if self.subject.status:
            for content_type in PATCHES:
                self._patch_status(content_type, self._recreate()["metadata"]["uid"])
        for resource in (self.resource, self.everywhere):
            assert [o["metadata"]["name"] for o in resource.items(label_selector=self.selector)] == [
                self.name
            ]
        self.resource.delete_collection(self.selector)
        wait_count(self.everywhere, 0, label_selector=self.selector)

    def _update(self, found: Object) -> None:
        found["metadata"].setdefault("annotations", {})["e2e-updated"] = "true"
        self.subject.edit(found)
        updated = self.resource.update(found)
        assert updated["metadata"]["annotations"]["e2e-updated"] == "true"
        assert resource_version(updated) > 0
        assert updated["spec"] == found["spec"]

    def _update_status(self) -> None:
        found = self.resource.get(self.name)
        found["status"] = self.subject.status
        spec = found["spec"]
        updated = self.resource.update(found, "status")
        assert holds(updated["status"], self.subject.status) and updated["spec"] == spec
        assert self.resource.get(self.name, "status")["status"] == updated["status"]

    def _recreate(self) -> Object:
        self.resource.delete(self.name)
        gone(self.resource, self.name)
        return self.create()

    def _patch(self, content_type: str, uid: str) -> None:
        if content_type == JSON_PATCH:
            body = json.dumps(
                [{"op": "add", "path": "/metadata/annotations", "value": {"e2e-patched": "true"}}]
            )
        else:
            metadata = {"name": self.name, "uid": uid, "annotations": {"e2e-patched": "true"}}
            whole = self.resource.whole({"metadata": metadata})
            body = json.dumps({**whole, "spec": self.subject.spec} if content_type == APPLY else whole)
        patched = self._send(content_type, body, "")
        assert patched["metadata"]["annotations"] == {"e2e-patched": "true"}
        assert patched["metadata"]["labels"] == {"e2e-crud": self.label}

    def _patch_status(self, content_type: str, uid: str) -> None:
        status = self.subject.status or {}
        if content_type == JSON_PATCH:
            # an object without a status has an empty one, into which a patch may write
            adds = [{"op": "add", "path": f"/status/{key}", "value": value} for key, value in status.items()]
            body = json.dumps(adds)
        else:
            whole = self.resource.whole({"metadata": {"name": self.name, "uid": uid}, "status": status})
            body = json.dumps(whole)
        assert holds(self._send(content_type, body, "status")["status"], self.subject.status)

    def _send(self, content_type: str, body: str, subresource: str) -> Object:
        query: Object = {"field_manager": "e2e-crud", "force": True} if content_type == APPLY else {}
        query["field_validation"] = "Strict"
        return self.resource.patch(self.name, body.encode(), content_type, subresource, **query)


def holds(found: object, wanted: object) -> bool:
    """Whether everything wanted is there, maybe with defaults beside it."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(found.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(holds(f, w) for f, w in zip(found, wanted, strict=True))
        )
    return found == wanted


def crud(api: API, subject: Subject, namespace: str = "") -> None:
    """Runs all verbs while watches with initial events, of the namespace and of all, check what they see."""
    check_discovery(api, subject.api_version, subject.plural)
    run = Run(api, subject, namespace)
    query = {
        "label_selector": run.selector, "send_initial_events": True, "allow_watch_bookmarks": True,
        "resource_version_match": "NotOlderThan",
    }  # fmt: skip
    with ExitStack() as stack:
        watched = {id(r): r for r in (run.resource, run.everywhere)}.values()
        watches = [stack.enter_context(resource.watch(**query)) for resource in watched]
        for watch in watches:
            end = watch.expect("BOOKMARK")
            assert end["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
        run.all_verbs()
        lives = 1 + len(PATCHES) * (2 if subject.status else 1)
        for watch in watches:
            check_events(watch, lives)


def check_events(watch: Watch, lives: int) -> None:
    """So many objects, each added, updated, deleted once, in an order that never goes back."""
    state, version = "DELETED", 0
    while lives:
        kind, obj = watch.next(LIMIT)
        if kind == "BOOKMARK":
            continue
        assert kind != "ADDED" or state == "DELETED", "added while there"
        assert kind == "ADDED" or state != "DELETED", f"{kind} while gone"
        assert resource_version(obj) > version
        state, version = kind, resource_version(obj)
        lives -= kind == "DELETED"


def lifecycle(resource: Resource, manifest: Object, patch: Object, edit: Callable[[Object], None]) -> None:
    """The "run through the lifecycle" steps: create, get, patch, list, update, delete, and one by collection."""
    name = manifest["metadata"]["name"]
    created = resource.create(manifest)
    assert resource.get(name)["metadata"]["uid"] == created["metadata"]["uid"]
    label = {"e2e-life": random_name("life")}
    selector = "e2e-life=" + label["e2e-life"]
    patched = resource.patch(name, {**patch, "metadata": {"labels": label}}, MERGE)
    assert holds(patched, patch) and holds(patched["metadata"]["labels"], label)
    [listed] = resource.items(label_selector=selector)
    assert listed["metadata"]["name"] == name
    found = resource.get(name)
    found["metadata"].setdefault("annotations", {})["updated"] = "true"
    edit(found)
    updated = resource.update(found)
    assert updated["metadata"]["annotations"]["updated"] == "true"
    assert holds(updated, {k: v for k, v in found.items() if k not in ("metadata", "status")})
    resource.delete(name)
    gone(resource, name)
    again = {**manifest, "metadata": {**manifest["metadata"], "name": name + "-2", "labels": label}}
    resource.create(again)
    wait_count(resource, 1, label_selector=selector)
    resource.delete_collection(selector)
    wait_count(resource, 0, label_selector=selector)
