"""Priority and fairness: who is matched to which level, who waits, who is refused, and who gets seats first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.apiserver.api import APIServer
from sublet.apiserver.filters.fairness import PriorityAndFairness
from sublet.apiserver.flowcontrol.levels import (
    LIMIT,
    QUEUE_FULL,
    TIME_OUT,
    Asked,
    Level,
    Waiting,
    deal,
    share_out,
)
from sublet.apiserver.flowcontrol.maintenance import maintain
from sublet.apiserver.flowcontrol.schemas import FlowSchema
from sublet.apiserver.requestinfo import parse
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import Request, Response, User
from sublet.kinds.resources import resource
from sublet.machinery import durations, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError
from sublet.store.interface import Store

SCHEMAS = resource("flowschemas.flowcontrol.apiserver.k8s.io")
LEVELS = resource("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io")
ALICE = User("alice", ("system:authenticated",))
NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))
ACCOUNT = User("system:serviceaccount:kube-system:x", ("system:serviceaccounts", "system:authenticated"))
MASTER = User("admin", ("system:masters", "system:authenticated"))


def level_object(name: str = "lab", shares: int = 1, **limited: Any) -> Object:
    response = limited.pop("limitResponse", {"type": "Reject"})
    return {
        "apiVersion": LEVELS.api_version, "kind": LEVELS.kind, "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "limitResponse": response, **limited}},
    }  # fmt: skip


def queuing(queues: int = 4, hand: int = 1, length: int = 10) -> Object:
    return {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}


def schema_object(name: str = "lab", level: str = "lab", user: str = "alice", **spec: Any) -> Object:
    rule = {
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }  # fmt: skip
    return {
        "apiVersion": SCHEMAS.api_version, "kind": SCHEMAS.kind, "metadata": {"name": name},
        "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": level}, "rules": [rule], **spec},
    }  # fmt: skip


async def ask(api: APIServer, path: str, user: User = ALICE) -> Response:
    where, _, query = path.partition("?")
    return await api.handle(Request("GET", where, query, user=user, remote="192.0.2.1:1"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.001)


def takes(api: APIServer, schema: str) -> bool:
    """Whether the schema is in force for what Alice asks."""
    assert api.flow_control is not None
    return api.flow_control.classify(ALICE, parse(Request("GET", "/version"))).schema.name == schema


# -- matching --


@pytest.mark.parametrize(
    ("user", "method", "path", "schema"),
    [
        (MASTER, "GET", "/api/v1/pods", "exempt"),
        (ALICE, "GET", "/healthz", "probes"),
        (ALICE, "GET", "/healthz/etcd", "global-default"),
        (ALICE, "GET", "/api/v1/pods", "global-default"),
        (NODE, "GET", "/api/v1/nodes/n1", "system-node-high"),
        (NODE, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", "system-node-high"),
        (NODE, "GET", "/api/v1/pods", "system-nodes"),
        (ACCOUNT, "PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/y", "system-leader-election"),
        (ACCOUNT, "GET", "/api/v1/pods", "kube-system-service-accounts"),
        (User("system:kube-controller-manager", ("system:authenticated",)), "PUT", "/api/v1/namespaces/x/endpoints/y", "endpoint-controller"),
        (User("system:serviceaccount:a:b", ("system:serviceaccounts", "system:authenticated")), "GET", "/api/v1/pods", "service-accounts"),
        (User("system:kube-scheduler", ("system:authenticated",)), "GET", "/api/v1/pods", "kube-scheduler"),
        (User("nobody"), "GET", "/api/v1/pods", "catch-all"),
    ],
)  # fmt: skip
async def test_requests_belong_to_the_schemas_that_every_cluster_has(
    api: APIServer, user: User, method: str, path: str, schema: str
) -> None:
    assert api.flow_control is not None
    assert api.flow_control.classify(user, parse(Request(method, path))).schema.name == schema


@pytest.mark.parametrize(
    ("subject", "matches"),
    [
        ({"kind": "User", "user": {"name": "*"}}, True), ({"kind": "User", "user": {"name": "bob"}}, False),
        ({"kind": "Group", "group": {"name": "system:authenticated"}}, True), ({"kind": "Group", "group": {"name": "x"}}, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "a"}}, False),
    ],
)  # fmt: skip
def test_a_subject_is_a_user_a_group_or_a_service_account(subject: Object, matches: bool) -> None:
    obj = schema_object()
    obj["spec"]["rules"][0]["subjects"] = [subject]
    assert FlowSchema(obj).match(ALICE, parse(Request("GET", "/api/v1/pods"))) is matches


def test_a_rule_without_cluster_scope_is_about_namespaces_alone() -> None:
    obj = schema_object()
    obj["spec"]["rules"][0]["resourceRules"][0] |= {
        "clusterScope": False,
        "namespaces": ["a"],
        "resources": ["pods"],
    }
    schema = FlowSchema(obj)
    assert schema.match(ALICE, parse(Request("GET", "/api/v1/namespaces/a/pods/x")))
    assert not schema.match(ALICE, parse(Request("GET", "/api/v1/namespaces/b/pods/x")))
    assert not schema.match(ALICE, parse(Request("GET", "/api/v1/pods")))
    assert not schema.match(ALICE, parse(Request("GET", "/api/v1/namespaces/a/pods/x/status")))


def test_flows_are_kept_apart_by_user_or_namespace() -> None:
    info = parse(Request("GET", "/api/v1/namespaces/a/pods"))
    assert FlowSchema(schema_object(distinguisherMethod={"type": "ByUser"})).flow(ALICE, info) == "alice"
    assert FlowSchema(schema_object(distinguisherMethod={"type": "ByNamespace"})).flow(ALICE, info) == "a"
    assert FlowSchema(schema_object()).flow(ALICE, info) == ""


# -- seats and queues --


def level(limit: int, response: Object | None = None) -> Level:
    found = Level("lab")
    found.configure(level_object(limitResponse=response or {"type": "Reject"}))
    found.nominal = found.limit = limit
    return found


def asked(flow: str = "f", seats: int = 1) -> Asked:
    return Asked("s", flow, seats, 0.0, "alice", parse(Request("GET", "/api/v1/pods")))


async def test_a_level_without_queues_refuses_what_it_has_no_seat_for() -> None:
    found = level(1)
    assert found.try_start(1) and not found.try_start(1)
    assert await found.wait(asked(), 1.0) == LIMIT
    found.finish(1, None, 0.0)
    assert found.try_start(1)


async def test_a_full_queue_refuses_and_a_long_wait_ends() -> None:
    found = level(1, queuing(queues=1, length=1))
    assert found.try_start(1)
    first = asyncio.ensure_future(found.wait(asked(), 0.5))
    await until(lambda: found.waiting == 1)
    assert await found.wait(asked(), 1.0) == QUEUE_FULL
    assert await first == TIME_OUT
    assert (found.waiting, found.waiting_seats, found.seats) == (0, 0, 1)


async def test_who_waits_gets_the_seat_that_is_given_back_and_nobody_overtakes() -> None:
    found = level(1, queuing())
    assert found.try_start(1)
    waiting = asyncio.ensure_future(found.wait(asked(), 1.0))
    await until(lambda: found.waiting == 1)
    found.finish(1, None, 0.0)
    assert not found.try_start(1)
    assert isinstance(await waiting, Waiting)
    assert (found.running, found.seats, found.waiting) == (1, 1, 0)


async def test_a_request_that_goes_away_while_it_waits_leaves_nothing_behind() -> None:
    found = level(1, queuing())
    assert found.try_start(1)
    waiting = asyncio.ensure_future(found.wait(asked(), 9.0))
    await until(lambda: found.waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    found.finish(1, None, 0.0)
    assert (found.running, found.seats, found.waiting, found.waiting_seats) == (0, 0, 0, 0)


async def test_a_flood_of_one_flow_does_not_hold_up_another() -> None:
    found = level(1, queuing(queues=64, hand=2, length=50))
    served: list[str] = []

    async def one(flow: str) -> None:
        place = await found.wait(asked(flow), 9.0)
        assert isinstance(place, Waiting)
        served.append(flow)
        await asyncio.sleep(0)
        found.finish(1, place, 0.001)

    assert found.try_start(1)
    tasks = [asyncio.ensure_future(one("elephant")) for _ in range(60)]
    await until(lambda: found.waiting == len(tasks))
    tasks += [asyncio.ensure_future(one("mouse")) for _ in range(3)]
    await until(lambda: found.waiting == len(tasks))
    found.finish(1, None, 0.001)
    await asyncio.gather(*tasks)
    assert max(index for index, flow in enumerate(served) if flow == "mouse") < 12


async def test_wide_requests_wait_until_there_are_seats_enough_unless_nothing_runs() -> None:
    found = level(4, queuing())
    assert found.try_start(8)
    assert not found.try_start(1)
    found.finish(8, None, 0.0)
    assert found.try_start(2) and not found.try_start(3)


@given(st.text(max_size=20), st.integers(1, 128), st.integers(1, 8))
def test_a_hand_is_of_different_queues_and_always_the_same(flow: str, deck: int, hand: int) -> None:
    hand = min(hand, deck)
    cards = deal("schema", flow, deck, hand)
    assert len(set(cards)) == hand and all(0 <= card < deck for card in cards)
    assert cards == deal("schema", flow, deck, hand)


async def test_what_lists_takes_seats_by_how_much_it_has_to_show(api: APIServer, client: Client) -> None:
    maps = resource("configmaps")
    for index in range(6):
        made = {"metadata": {"name": f"m{index}", "namespace": "default"}, "data": {"a": "x" * 50_000}}
        await client.create(maps, made)
    assert api.flow_control is not None
    await api.registry.caches.fresh()
    wide, narrow = level(100), level(10)

    def seats(path: str, query: str = "", found: Level = wide, method: str = "GET") -> int:
        assert api.flow_control is not None
        return api.flow_control.seats_of(found, parse(Request(method, f"/api/v1/{path}", query)))

    path = "namespaces/default/configmaps"
    assert seats(path) == 4
    assert seats(path, found=narrow) == 2, "no more than the level has for one request"
    assert seats(path, "limit=3") == 2
    assert seats(path, "limit=1") == 1
    assert seats(path, "fieldSelector=metadata.name%3Dm1") == 1, "one object alone"
    assert seats("configmaps") == 4
    assert seats("namespaces/other/configmaps") == 1
    assert seats(path, "watch=true") == 1
    assert seats(path, "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan") == 4
    assert seats(f"{path}/m1") == seats(path, method="POST") == seats("namespaces/default/bindings") == 1


def test_seats_are_shared_out_by_shares_and_lent_by_demand() -> None:
    busy, idle = Level("busy"), Level("idle")
    busy.configure(level_object("busy", 10))
    idle.configure(level_object("idle", 30, lendablePercent=50))
    share_out([busy, idle], 400, by_demand=False)
    assert (busy.limit, idle.limit, idle.lowest()) == (100, 300, 150)
    busy.peak = 250
    share_out([busy, idle], 400, by_demand=True)
    assert busy.limit == 250 and idle.limit == 150
    assert busy.peak == 0


def test_borrowing_has_its_bound() -> None:
    busy, idle = Level("busy"), Level("idle")
    busy.configure(level_object("busy", 10, borrowingLimitPercent=20))
    idle.configure(level_object("idle", 30, lendablePercent=100))
    share_out([busy, idle], 400, by_demand=False)
    busy.peak = 400
    share_out([busy, idle], 400, by_demand=True)
    assert busy.limit == 120


# -- in the chain --


async def test_every_response_says_its_schema_and_level(api: APIServer, client: Client) -> None:
    schema = await client.get(SCHEMAS, "global-default")
    priority = await client.get(LEVELS, "global-default")
    for path in ("/version", "/api/v1/secrets", "/api/v1/namespaces?watch=1"):
        response = await ask(api, path)
        assert response.header("X-Kubernetes-PF-FlowSchema-UID") == objects.uid(schema)
        assert response.header("X-Kubernetes-PF-PriorityLevel-UID") == objects.uid(priority)


async def test_a_new_schema_takes_its_requests_at_once(api: APIServer, client: Client) -> None:
    await client.create(LEVELS, level_object())
    made = await client.create(SCHEMAS, schema_object())
    await until(lambda: takes(api, "lab"))
    assert (await ask(api, "/version")).header("X-Kubernetes-PF-FlowSchema-UID") == objects.uid(made)
    await client.delete(SCHEMAS, "lab")
    await until(lambda: not takes(api, "lab"))
    assert (await ask(api, "/version")).header("X-Kubernetes-PF-FlowSchema-UID") != objects.uid(made)


async def test_a_request_too_many_is_answered_429_with_when_to_come_again(
    api: APIServer, client: Client
) -> None:
    await client.create(LEVELS, level_object(shares=1))
    await client.create(SCHEMAS, schema_object())
    await until(lambda: takes(api, "lab"))
    control = api.flow_control
    assert control is not None
    held = control.classify(ALICE, parse(Request("GET", "/version"))).level
    for _ in range(held.limit):
        assert held.try_start(1)
    response = await ask(api, "/version")
    assert response.status == 429 and response.body == b"Too many requests, please try again later.\n"
    assert response.header("Retry-After") == "1" and response.header("X-Kubernetes-PF-FlowSchema-UID")
    assert (await ask(api, "/version", MASTER)).status == 200
    text = api.metrics.text()
    assert (
        'rejected_requests_total{flow_schema="lab",priority_level="lab",reason="concurrency-limit"} 1' in text
    )
    assert 'current_executing_requests{flow_schema="lab",priority_level="lab"} 0' in text


async def test_requests_wait_in_queues_and_all_are_served(api: APIServer, client: Client) -> None:
    await client.create(LEVELS, level_object(limitResponse=queuing(queues=2, hand=1, length=50)))
    assert api.flow_control is not None
    api.flow_control.seats = 1
    await client.create(SCHEMAS, schema_object())
    await until(lambda: takes(api, "lab"))
    fair = PriorityAndFairness(api.flow_control)
    running = most = 0
    told: list[str] = []

    async def work(_request: Request) -> Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        told.append("\n".join(fair._control.lines()))
        await asyncio.sleep(0.001)
        running -= 1
        return Response(200)

    def request() -> Request:
        made = Request("GET", "/version", user=ALICE, remote="192.0.2.1:1")
        made.context["info"] = parse(made)
        return made

    requests = [request() for _ in range(40)]
    answers = await asyncio.gather(*(fair(each, work) for each in requests))
    waits = [each.context.get("audit_annotations", {}) for each in requests]
    assert any(
        durations.parse(notes["apiserver.latency.k8s.io/apf-queue-wait"]) > 0 for notes in waits if notes
    )
    limit = api.flow_control.classify(ALICE, parse(Request("GET", "/version"))).level.limit
    assert {answer.status for answer in answers} == {200} and most <= limit
    labels = 'flow_schema="lab",priority_level="lab"'
    assert f"apiserver_flowcontrol_current_executing_requests{{{labels}}} {most}" in told[limit]
    assert f"apiserver_flowcontrol_current_executing_seats{{{labels}}} {most}" in told[limit]
    assert f"apiserver_flowcontrol_current_inqueue_requests{{{labels}}} 0" not in told[limit]
    assert f"apiserver_flowcontrol_current_inqueue_requests{{{labels}}} 0" in told[-1]


async def table(api: APIServer, name: str, user: User = MASTER) -> list[list[str]]:
    """The cells of a dump, without their padding; every column begins at the same place in each row."""
    answer = await ask(api, f"/debug/api_priority_and_fairness/{name}", user)
    assert answer.status == 200 and isinstance(answer.body, bytes), answer.body
    lines = answer.body.decode().splitlines()
    starts = {len(line) - len(line.rpartition(",")[2].lstrip()) for line in lines if not line.endswith(" ")}
    assert len(starts) == 1
    return [[cell.strip() for cell in line.split(",")] for line in lines]


async def test_who_waits_and_who_runs_is_shown_to_who_may_look(api: APIServer, client: Client) -> None:
    await client.create(LEVELS, level_object(limitResponse=queuing(queues=2, hand=1, length=50)))
    await client.create(SCHEMAS, schema_object())
    assert api.flow_control is not None
    control = api.flow_control
    pods = parse(Request("GET", "/api/v1/pods"))
    await until(lambda: control.classify(ALICE, pods).schema.name == "lab")
    control.seats = 1
    control.levels()
    fair = PriorityAndFairness(control)
    go_on = asyncio.Event()

    async def work(_request: Request) -> Response:
        await go_on.wait()
        return Response(200)

    def request() -> Request:
        made = Request("GET", "/api/v1/namespaces/ns/pods/p", user=ALICE, remote="192.0.2.1:1")
        made.context["info"] = parse(made)
        return made

    level = control.classify(ALICE, parse(request())).level
    level.limit = 1
    tasks: list[asyncio.Future[Response]] = []
    for _ in range(3):
        tasks.append(asyncio.ensure_future(fair(request(), work)))
        await until(lambda: level.running + level.waiting == len(tasks))
    assert level.waiting == 2
    levels = {row[0]: row for row in await table(api, "dump_priority_levels")}
    assert levels["PriorityLevelName"][-2:] == ["TimedoutRequests", "CancelledRequests"]
    assert levels["lab"] == ["lab", "1", "false", "false", "2", "1", "1", "0", "0", "0"]
    assert levels["catch-all"][2] == "true" and list(levels)[1:] == sorted(list(levels)[1:])
    queues = [row for row in await table(api, "dump_queues") if row[0] == "lab"]
    assert sorted((row[2], row[6]) for row in queues) == [("0", "0"), ("2", "2")]
    assert all(row[5].endswith("ss") and row[8].endswith("ss") for row in queues)
    rows = [row for row in await table(api, "dump_requests?includeRequestDetails=1") if row[0] == "lab"]
    details = ["alice", "get", "/api/v1/namespaces/ns/pods/p", "ns", "p", "v1", "pods", ""]
    assert [row[10:] for row in rows] == [details] * 3
    queue = next(row[1] for row in queues if row[2] == "2")
    assert [(row[1], row[2], row[3], row[4]) for row in rows] == [
        ("lab", "-1", "-1", ""), ("lab", queue, "0", ""), ("lab", queue, "1", ""),
    ]  # fmt: skip
    assert [row[9] == "0001-01-01T00:00:00Z" for row in rows] == [False, True, True]
    tasks[-1].cancel()
    await asyncio.wait(tasks[-1:])
    go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    levels = {row[0]: row for row in await table(api, "dump_priority_levels")}
    assert levels["lab"] == ["lab", "0", "true", "false", "0", "0", "2", "0", "0", "1"]
    assert (await ask(api, "/debug/api_priority_and_fairness/dump_queues")).status == 403
    assert (await ask(api, "/debug/pprof", MASTER)).status == 404


async def test_without_priority_and_fairness_a_bound_on_requests_is_kept(store: Store) -> None:
    settings = APIServerSettings(priority_and_fairness=False, max_reading=1)
    api = APIServer(settings, store)
    await api.start()
    response = await ask(api, "/version")
    assert response.status == 200 and not response.header("X-Kubernetes-PF-FlowSchema-UID")
    assert "apiserver_flowcontrol_" not in api.metrics.text()
    await api.stop()


# -- the objects --


async def test_a_schema_says_whether_its_level_exists(client: Client) -> None:
    await client.create(SCHEMAS, schema_object(level="none"))

    async def dangling(status: str) -> Object:
        async with asyncio.timeout(5):
            while True:
                found = objects.condition(await client.get(SCHEMAS, "lab"), "Dangling")
                if found is not None and found["status"] == status:
                    return found
                await asyncio.sleep(0.02)

    assert (await dangling("True"))["reason"] == "NotFound"
    await client.create(LEVELS, level_object("none"))
    found = await dangling("False")
    assert (found["reason"], found["message"]) == (
        "Found", 'This FlowSchema references the PriorityLevelConfiguration object named "none" and it exists',
    )  # fmt: skip


async def test_mandatory_and_suggested_objects_are_put_right_unless_somebody_took_them_over(
    api: APIServer, client: Client
) -> None:
    exempt = await client.get(SCHEMAS, "exempt")
    with pytest.raises(StatusError, match="spec of 'exempt' must equal the fixed value"):
        await client.update(SCHEMAS, {**exempt, "spec": {**exempt["spec"], "rules": []}})
    await client.update(SCHEMAS, {**exempt, "metadata": {**exempt["metadata"], "annotations": {}}})
    low = await client.get(LEVELS, "workload-low")
    low["spec"]["limited"]["nominalConcurrencyShares"] = 7
    await client.update(LEVELS, low)
    high = await client.get(LEVELS, "workload-high")
    high["spec"]["limited"]["nominalConcurrencyShares"] = 7
    high["metadata"]["annotations"] = {"apf.kubernetes.io/autoupdate-spec": "false"}
    await client.update(LEVELS, high)
    await client.delete(SCHEMAS, "kube-scheduler")
    await maintain(api)
    put_right = await client.get(SCHEMAS, "exempt")
    assert put_right["spec"] == exempt["spec"]
    assert put_right["metadata"]["annotations"] == {"apf.kubernetes.io/autoupdate-spec": "true"}
    assert (await client.get(LEVELS, "workload-low"))["spec"]["limited"]["nominalConcurrencyShares"] == 100
    assert (await client.get(LEVELS, "workload-high"))["spec"]["limited"]["nominalConcurrencyShares"] == 7
    assert await client.get(SCHEMAS, "kube-scheduler")


async def test_what_is_right_is_not_written_again(api: APIServer, client: Client) -> None:
    await maintain(api)
    before = await client.list(LEVELS)
    await maintain(api)
    assert (await client.list(LEVELS))["items"] == before["items"]
