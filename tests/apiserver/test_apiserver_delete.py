from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.deletion import DeleteOptions, finalizers_for, mark
from sublet.client.client import Client
from sublet.client.exchange import Request, Response
from sublet.kinds import catalog
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Conflict, Forbidden, Invalid, NotFound

MAPS, PODS, NAMESPACES = resource("configmaps"), resource("pods"), resource("namespaces")
MAKE = Callable[..., Object]
KINDS = {kind.resource.plural: kind for kind in catalog.everything().values()}


async def test_deletion_answers_a_status_with_details(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map())
    status = await client.delete(MAPS, "settings", "default")
    assert (status["kind"], status["status"]) == ("Status", "Success")
    assert status["details"] == {"name": "settings", "kind": "configmaps", "uid": objects.uid(made)}
    with pytest.raises(NotFound, match=r'configmaps "settings" not found'):
        await client.get(MAPS, "settings", "default")


async def test_deleting_a_pod_answers_the_pod(client: Client, default_account: None, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod())
    assert (await client.delete(PODS, "web", "default"))["kind"] == "Pod"


async def test_an_object_with_finalizers_stays_until_they_are_gone(
    client: Client, make_config_map: MAKE
) -> None:
    wanted = make_config_map()
    wanted["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(MAPS, wanted)
    marked = await client.delete(MAPS, "settings", "default")
    assert marked["metadata"]["deletionTimestamp"]
    await client.patch(MAPS, "settings", {"metadata": {"finalizers": None}}, "default")
    with pytest.raises(NotFound):
        await client.get(MAPS, "settings", "default")


async def test_who_takes_the_last_finalizer_away_sees_that_and_watchers_do_not(
    client: Client, make_config_map: MAKE
) -> None:
    wanted = make_config_map()
    wanted["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(MAPS, wanted)
    marked = await client.delete(MAPS, "settings", "default")
    patch = {"metadata": {"finalizers": None, "labels": {"a": "b"}}}
    freed = await client.patch(MAPS, "settings", patch, "default")
    assert freed["metadata"]["labels"] == {"a": "b"}
    assert "finalizers" not in freed["metadata"]
    version = marked["metadata"]["resourceVersion"]
    assert freed["metadata"]["resourceVersion"] == version
    async with aclosing(client.watch(MAPS, "default", resource_version=version)) as events:
        async with asyncio.timeout(5):
            seen = await anext(events)
    assert seen.type == "DELETED"
    assert seen.object["metadata"]["finalizers"] == ["example.com/hold"]
    assert "labels" not in seen.object["metadata"]
    assert int(seen.object["metadata"]["resourceVersion"]) > int(version)


async def test_no_finalizer_is_added_to_a_deleted_object(client: Client, make_config_map: MAKE) -> None:
    wanted = make_config_map()
    wanted["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(MAPS, wanted)
    await client.delete(MAPS, "settings", "default")
    with pytest.raises(Invalid, match=r"no new finalizers can be added if the object is being deleted"):
        patch = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
        await client.patch(MAPS, "settings", patch, "default")


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])]
)
async def test_propagation_policies_leave_their_finalizer(
    client: Client, make_config_map: MAKE, policy: str, finalizers: list[str]
) -> None:
    await client.create(MAPS, make_config_map())
    marked = await client.delete(MAPS, "settings", "default", propagation=policy)
    assert marked["metadata"]["finalizers"] == finalizers


async def test_preconditions_must_hold(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map())
    uid, version = objects.uid(made), made["metadata"]["resourceVersion"]
    refused = 'Operation cannot be fulfilled on ConfigMap "settings": the'
    with pytest.raises(Conflict) as caught:
        await client.delete(MAPS, "settings", "default", uid="other")
    assert caught.value.message == (
        f"{refused} UID in the precondition (other) does not match the UID in record ({uid}). "
        "The object might have been deleted and then recreated"
    )
    with pytest.raises(Conflict) as caught:
        await client.delete(MAPS, "settings", "default", resource_version="1")
    assert caught.value.message == (
        f"{refused} ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version}). "
        "The object might have been modified"
    )
    with pytest.raises(Conflict):
        await client.delete(MAPS, "settings", "default", resource_version="1")
    await client.delete(MAPS, "settings", "default", uid=objects.uid(made))


async def test_a_dry_run_deletes_nothing(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    response = await client.raw(
        "DELETE", "/api/v1/namespaces/default/configmaps/settings", query="dryRun=All"
    )
    assert response.status == 200
    await client.get(MAPS, "settings", "default")


async def test_nothing_hangs_on_an_event_whatever_the_policy(client: Client) -> None:
    events = resource("events")
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    body = {
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": about,
        "reason": "r",
        "type": "Normal",
    }
    await client.create(events, body)
    await client.delete(events, "e", "default", propagation="Orphan")
    with pytest.raises(NotFound):
        await client.get(events, "e", "default")


async def test_orphaning_by_the_old_flag_answers_202_while_the_object_lingers(
    client: Client, make_config_map: MAKE
) -> None:
    held = make_config_map()
    held["metadata"]["finalizers"] = ["example.com/held"]
    await client.create(MAPS, held)
    path = MAPS.path("default", "settings")
    response = await client.raw("DELETE", path, body=b'{"orphanDependents":false}')
    assert response.status == 202


async def test_a_pending_graceful_deletion_is_shortened_or_left_as_it_is(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await scheduled(client, make_pod)
    await client.delete(PODS, "web", "default", grace=30)
    first = await client.get(PODS, "web", "default")
    await client.delete(PODS, "web", "default", grace=60, propagation="Foreground")
    assert await client.get(PODS, "web", "default") == first
    await client.delete(PODS, "web", "default", grace=5)
    shorter = (await client.get(PODS, "web", "default"))["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < first["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize(
    ("ended", "before", "asked", "grace", "ends"),
    [
        (100, 30, 5, 5, 75),
        (100, 30, -1, 1, 71),
        (-60, 60, 50, 1, 0),
        (-60, 60, 0, 0, 0),
    ],
)
def test_the_end_of_a_graceful_deletion_moves_from_where_it_began_but_not_into_the_past(
    ended: float, before: int, asked: int, grace: int, ends: float
) -> None:
    now = 1_700_000_000.0
    metadata = {"deletionTimestamp": objects.rfc3339(now + ended), "deletionGracePeriodSeconds": before}
    mark({"metadata": metadata, "spec": {"nodeName": "n"}}, KINDS["pods"], DeleteOptions(asked), now)
    assert metadata == {
        "deletionTimestamp": objects.rfc3339(now + ends),
        "deletionGracePeriodSeconds": grace,
    }


@pytest.mark.parametrize("asked", [None, 30, 60])
def test_a_pending_deletion_is_not_shortened_because_the_pod_has_finished(asked: int | None) -> None:
    metadata = {"deletionTimestamp": objects.rfc3339(1e9), "deletionGracePeriodSeconds": 30}
    pod = {"metadata": dict(metadata), "spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}}
    assert not mark(pod, KINDS["pods"], DeleteOptions(asked), 1e9)
    assert pod["metadata"] == metadata


async def test_a_pod_that_goes_at_once_is_marked_first_and_answered_so(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    made = await client.create(PODS, make_pod())
    gone = await client.delete(PODS, "web", "default")
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    version = made["metadata"]["resourceVersion"]
    async with aclosing(client.watch(PODS, "default", resource_version=version)) as events:
        async with asyncio.timeout(5):
            marked, deleted = [await anext(events) for _ in range(2)]
    assert (marked.type, deleted.type) == ("MODIFIED", "DELETED")
    assert marked.object["metadata"]["deletionTimestamp"] == gone["metadata"]["deletionTimestamp"]
    assert deleted.object == gone


@pytest.mark.parametrize(
    ("body", "kept"), [(b"", True), (b"{}", False), (b'{"kind":"DeleteOptions"}', False)]
)
async def test_the_query_counts_where_there_is_no_body(
    client: Client, make_config_map: MAKE, body: bytes, kept: bool
) -> None:
    await client.create(MAPS, make_config_map())
    path = "/api/v1/namespaces/default/configmaps/settings"
    assert (await client.raw("DELETE", path, query="dryRun=All", body=body)).status == 200
    assert bool((await client.list(MAPS, "default"))["items"]) == kept


@pytest.mark.parametrize("key", ["uid", "resourceVersion"])
async def test_preconditions_may_stand_in_the_query(client: Client, make_config_map: MAKE, key: str) -> None:
    made = await client.create(MAPS, make_config_map())
    path = "/api/v1/namespaces/default/configmaps/settings"
    assert (await client.raw("DELETE", path, query=f"{key}=7")).status == 409
    assert (await client.raw("DELETE", path, query=f"{key}={made['metadata'][key]}")).status == 200


async def test_an_unknown_policy_is_invalid(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    with pytest.raises(Invalid, match=r"propagationPolicy: Unsupported value"):
        await client.delete(MAPS, "settings", "default", propagation="Sideways")


async def scheduled(client: Client, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod(nodeName="node-1"))


async def test_a_scheduled_pod_gets_its_grace_period(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await scheduled(client, make_pod)
    marked = await client.delete(PODS, "web", "default")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    again = await client.delete(PODS, "web", "default", grace=5)
    assert again["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await client.delete(PODS, "web", "default", grace=50)
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5


async def test_grace_zero_removes_a_pod_at_once(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await scheduled(client, make_pod)
    await client.delete(PODS, "web", "default")
    await client.delete(PODS, "web", "default", grace=0)
    with pytest.raises(NotFound):
        await client.get(PODS, "web", "default")


async def test_a_pod_that_was_never_scheduled_goes_at_once(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod())
    await client.delete(PODS, "web", "default")
    with pytest.raises(NotFound):
        await client.get(PODS, "web", "default")


async def test_a_collection_goes_by_selector(client: Client, make_config_map: MAKE) -> None:
    for name in ("a", "b", "c"):
        wanted = make_config_map(name)
        wanted["metadata"]["labels"] = {"keep": "yes" if name == "b" else "no"}
        await client.create(MAPS, wanted)
    await client.delete_collection(MAPS, "default", label_selector="keep=no")
    left = await client.list(MAPS, "default")
    assert [objects.name(item) for item in left["items"]] == ["b"]


async def test_a_namespace_terminates_until_it_is_finalized(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    marked = await client.delete(NAMESPACES, "team")
    assert (marked["status"]["phase"], marked["spec"]["finalizers"]) == ("Terminating", ["kubernetes"])
    marked["spec"]["finalizers"] = []
    await client.update(NAMESPACES, marked, subresource="finalize")
    with pytest.raises(NotFound):
        await client.get(NAMESPACES, "team")


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({}, ["example.com/x"]),
        ({"propagationPolicy": "Background"}, ["example.com/x"]),
        ({"propagationPolicy": "Foreground"}, ["example.com/x", "foregroundDeletion"]),
        ({"orphanDependents": False}, ["example.com/x", "foregroundDeletion"]),
        ({"orphanDependents": True, "gracePeriodSeconds": 9}, ["example.com/x", "orphan"]),
    ],
)
async def test_a_namespace_ends_without_a_period_of_grace_and_only_the_first_deletion_counts(
    client: Client, read: Callable[[Response], Any], options: Object, finalizers: list[str]
) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "team", "finalizers": ["example.com/x"]}})
    path, body = "/api/v1/namespaces/team", json.dumps(options).encode()
    marked = read(await client.raw("DELETE", path, body=body))
    assert marked["metadata"]["finalizers"] == finalizers
    assert marked["metadata"]["deletionTimestamp"]
    assert "deletionGracePeriodSeconds" not in marked["metadata"]
    other = b'{"propagationPolicy":"Orphan"}' if "orphan" not in finalizers else b""
    assert read(await client.raw("DELETE", path, body=other)) == marked


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_the_systems_namespaces_stay(client: Client, name: str) -> None:
    with pytest.raises(Forbidden, match=r"this namespace may not be deleted"):
        await client.delete(NAMESPACES, name)


async def test_old_events_are_removed(api: APIServer, client: Client) -> None:
    events = resource("events")
    event: Object = {
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
        "reason": "Test", "message": "m", "type": "Normal",
        "firstTimestamp": "2001-01-01T00:00:00Z", "lastTimestamp": "2001-01-01T00:00:00Z",
    }  # fmt: skip
    await client.create(events, event)
    from sublet.apiserver.duties import Duties

    assert await Duties(api).expire_events() == 0

    class Later:
        def now(self) -> float:
            return api.registry.clock.now() + 4000

        def monotonic(self) -> float:
            return 0.0

    api.clock = Later()
    assert await Duties(api).expire_events() == 1


_FOO, _BAR, _ORPHAN, _FOREGROUND = "foo.com/x", "bar.com/y", "orphan", "foregroundDeletion"


@pytest.mark.parametrize(
    ("plural", "present", "policy", "kept"),
    [
        pytest.param("configmaps", [_FOO, _ORPHAN, _BAR], "", [_FOO, _ORPHAN, _BAR], id="as-asked-before"),
        pytest.param("configmaps", [_FOO, _ORPHAN, _BAR], "Orphan", [_FOO, _ORPHAN, _BAR], id="in-its-place"),
        pytest.param("configmaps", [_FOO, _BAR], "Orphan", [_FOO, _BAR, _ORPHAN], id="appended"),
        pytest.param("configmaps", [_FOO, _ORPHAN, _BAR], "Background", [_FOO, _BAR], id="taken-away"),
        pytest.param("configmaps", [_FOREGROUND, _FOO], "Background", [_FOO], id="foreground-no-more"),
        pytest.param(
            "configmaps", [_ORPHAN, _FOO], "Foreground", [_FOO, _FOREGROUND], id="foreground-instead"
        ),
        pytest.param("configmaps", [_FOREGROUND, _FOO], "Orphan", [_FOO, _ORPHAN], id="orphan-instead"),
        pytest.param("configmaps", [_FOO], "", [_FOO], id="background-is-the-default"),
        pytest.param("replicationcontrollers", [_FOO], "", [_FOO, _ORPHAN], id="orphan-is-the-default"),
        pytest.param("events", [_FOO], "Foreground", [_FOO], id="nothing-depends-on-events"),
    ],
)
def test_deletion_changes_only_its_own_finalizers(
    plural: str, present: list[str], policy: str, kept: list[str]
) -> None:
    obj: Object = {"metadata": {"name": "x", "finalizers": present}}
    assert finalizers_for(obj, KINDS[plural], policy) == kept


@pytest.mark.parametrize("name", ["/x", ""])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"gracePeriodSeconds": "1"},
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            {"gracePeriodSeconds": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            {"orphanDependents": 1},
            "json: cannot unmarshal number into Go struct field DeleteOptions.orphanDependents of type bool",
        ),
        (
            {"dryRun": "All"},
            "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string",
        ),
        (
            {"preconditions": []},
            "json: cannot unmarshal array into Go struct field DeleteOptions.preconditions of type v1.Preconditions",
        ),
        (
            {"kind": "Pod", "apiVersion": "v1"},
            'no kind "Pod" is registered for version "v1" in scheme'
            ' "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"',
        ),
        (
            {"dryRun": [5]},
            "json: cannot unmarshal number into Go struct field DeleteOptions.dryRun of type string",
        ),
        (
            {"preconditions": {"uid": 5}},
            "json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type types.UID",
        ),
        (
            {"kind": "UpdateOptions"},
            "converting (v1.UpdateOptions) to (v1.DeleteOptions): unknown conversion",
        ),
        (
            {"gracePeriodSeconds": "5", "kind": 5},
            "couldn't get version/kind; json parse error: "
            "json: cannot unmarshal number into Go struct field .kind of type string",
        ),
        (
            [],
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type "
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }',
        ),
    ],
)
async def test_options_that_cannot_be_read_are_the_clients_mistake(
    client: Client, body: Any, message: str, name: str
) -> None:
    """Upstream hands on what its decoder says with a code of 500, whoever is to blame: only its words are ours."""
    path = f"/api/v1/namespaces/default/configmaps{name}"
    answer = await client.transport.request(Request("DELETE", path, "", {}, json.dumps(body).encode()))
    assert isinstance(answer.body, bytes)
    status = json.loads(answer.body)
    assert (status["code"], status["reason"], status["message"]) == (400, "BadRequest", message)


async def test_options_of_any_version_and_null_are_taken(client: Client) -> None:
    path = "/api/v1/namespaces/default/configmaps/x"
    for body in (b"null", b'{"kind":"DeleteOptions","apiVersion":"foo/v1"}', b'{"kind":null}'):
        answer = await client.transport.request(Request("DELETE", path, "", {}, body))
        assert answer.status == 404


JOB_KEEPS_PODS = (
    '299 - "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove '
    'them or set propagationPolicy=Orphan to suppress this warning"'
)


@pytest.mark.parametrize(
    ("query", "warned"),
    [
        ("", JOB_KEEPS_PODS),
        ("gracePeriodSeconds=0", JOB_KEEPS_PODS),
        ("propagationPolicy=Background", None),
        ("propagationPolicy=Orphan", None),
        ("orphanDependents=false", None),
    ],
)
@pytest.mark.parametrize("one", [True, False])
async def test_who_deletes_jobs_is_told_that_their_pods_stay(
    client: Client, one: bool, query: str, warned: str | None
) -> None:
    path = "/apis/batch/v1/namespaces/default/jobs"
    pod = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}
    job = {"metadata": {"name": "j", "namespace": "default"}, "spec": {"template": {"spec": pod}}}
    await client.create(resource("jobs.batch"), job)
    answer = await client.raw("DELETE", f"{path}/j" if one else path, query=query)
    assert (answer.status // 100, answer.header("Warning")) == (2, warned or "")


async def test_system_priority_classes_are_deleted_only_all_at_once(client: Client) -> None:
    classes = resource("priorityclasses.scheduling.k8s.io")
    await client.create(classes, {"metadata": {"name": "mine"}, "value": 1})
    for name in ("system-node-critical", "system-cluster-critical"):
        with pytest.raises(Forbidden) as refused:
            await client.delete(classes, name)
        assert refused.value.message == (
            f'priorityclasses.scheduling.k8s.io "{name}" is forbidden: '
            "this is a system priority class and cannot be deleted"
        )
    await client.delete(classes, "mine")
    await client.raw("DELETE", "/apis/scheduling.k8s.io/v1/priorityclasses")
    assert not (await client.list(classes))["items"]


@pytest.mark.parametrize(
    ("name", "obj"),
    [
        ("deviceclasses.resource.k8s.io", {"spec": {}}),
        (
            "resourceclaims.resource.k8s.io",
            {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}},
        ),
        (
            "resourceslices.resource.k8s.io",
            {"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "n", "resourceSliceCount": 1}}},
        ),
    ],
)
async def test_deleting_what_devices_are_made_of_answers_the_object(
    client: Client, name: str, obj: Object
) -> None:
    kind = resource(name)
    namespace = "default" if kind.namespaced else ""
    metadata = {"name": "x", **({"namespace": namespace} if namespace else {})}
    await client.create(kind, {"metadata": metadata, **obj})
    assert (await client.delete(kind, "x", namespace))["kind"] == kind.kind
    answer = await client.raw("GET", f"/openapi/v3/apis/{kind.group}/{kind.version}")
    assert isinstance(answer.body, bytes)
    paths = json.loads(answer.body)["paths"]
    (path,) = (at for at in paths if at.endswith(f"/{kind.plural}/{{name}}") and "watch" not in at)
    content = paths[path]["delete"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith(f".{kind.kind}")


@pytest.mark.parametrize("by_another", ["removed", "changed"])
async def test_a_pod_that_another_touches_while_it_is_deleted_by_force_goes_without_an_error(
    api: APIServer,
    client: Client,
    default_account: None,
    make_pod: MAKE,
    monkeypatch: pytest.MonkeyPatch,
    by_another: str,
) -> None:
    """Its node sees it marked, and may be the first to say that it is gone."""
    store = api.registry.store
    update = store.update

    async def marked(key: str, value: bytes, revision: int) -> int:
        monkeypatch.setattr(store, "update", update)
        written = await update(key, value, revision)
        await (store.delete(key, written) if by_another == "removed" else update(key, value, written))
        return written

    await client.create(PODS, make_pod())
    monkeypatch.setattr(store, "update", marked)
    gone = await client.delete(PODS, "web", "default", grace=0)
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    with pytest.raises(NotFound):
        await client.get(PODS, "web", "default")
