"""The audit log: which requests it holds, how much of them, and that it never gets in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from apiserver_webhook_server import WebhookServer, patching, webhooks

from sublet.apiserver.api import APIServer
from sublet.apiserver.audit.event import source_addresses
from sublet.apiserver.audit.log import AuditSettings
from sublet.apiserver.audit.policy import parse_policy
from sublet.apiserver.audit.sinks import BatchSettings, LogFile, LogSettings, Webhook
from sublet.apiserver.requestinfo import parse as request_info
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, Response, User
from sublet.machinery import durations
from sublet.machinery.clock import SystemClock
from sublet.machinery.kind import Object
from sublet.machinery.settings import ConfigurationError
from sublet.store.interface import Store

__all__ = ["webhooks"]
ALICE = User("alice", ("system:masters", "system:authenticated"), "u1", {"scopes": ("a", "b")})
BOB = User("bob", ("system:authenticated",))


def policy(*rules: Object, **more: Any) -> Object:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}


@asynccontextmanager
async def audited(store: Store, folder: Path, *rules: Object, **more: Any) -> AsyncIterator[APIServer]:
    """An API server with an audit log in ``folder/audit.log``."""
    (folder / "policy.yaml").write_text(json.dumps(policy(*rules, **more)))
    audit = AuditSettings(folder / "policy.yaml", LogSettings(str(folder / "audit.log")))
    server = APIServer(APIServerSettings(audit=audit), store)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def events(folder: Path, stage: str = "ResponseComplete", user: str = "alice") -> list[Any]:
    """What was logged for a user at a stage."""
    lines = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    return [e for e in lines if e["stage"] == stage and e["user"].get("username") == user]


async def ask(
    api: APIServer, method: str, path: str, body: Any = None, user: User | None = ALICE, **headers: str
) -> Response:
    where, _, query = path.partition("?")
    raw = json.dumps(body).encode() if body is not None else b""
    found = {"content-type": "application/json", "user-agent": "tester/1.0"}
    found |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.handle(Request(method, where, query, found, raw, user=user, remote="192.0.2.7:4711"))


def config_map(name: str = "settings") -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


async def test_an_event_says_who_asked_for_what_and_what_came_of_it(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        response = await ask(api, "GET", "/api/v1/namespaces/default/configmaps/none?pretty=1")
    (event,) = events(tmp_path)
    assert event.pop("requestReceivedTimestamp") <= event.pop("stageTimestamp")
    assert event == {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
        "auditID": response.header("audit-id"), "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/configmaps/none?pretty=1", "verb": "get",
        "user": {"username": "alice", "uid": "u1", "groups": ["system:masters", "system:authenticated"],
                 "extra": {"scopes": ["a", "b"]}},
        "sourceIPs": ["192.0.2.7"], "userAgent": "tester/1.0",
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "none", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "status": "Failure", "message": 'configmaps "none" not found',
                           "reason": "NotFound", "details": {"name": "none", "kind": "configmaps"}, "code": 404},
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }  # fmt: skip


async def test_a_create_names_its_object_and_shows_the_bodies_only_where_the_level_says_so(
    store: Store, tmp_path: Path
) -> None:
    rules = (
        {"level": "Metadata", "verbs": ["create"], "resources": [{"group": "", "resources": ["secrets"]}]},
        {"level": "Request", "verbs": ["delete"]},
        {"level": "RequestResponse"},
    )
    async with audited(store, tmp_path, *rules) as api:
        await ask(api, "POST", "/api/v1/namespaces/default/configmaps", config_map())
        await ask(
            api,
            "POST",
            "/api/v1/namespaces/default/secrets",
            {"metadata": {"name": "s"}, "stringData": {"x": "y"}},
        )
        await ask(api, "DELETE", "/api/v1/namespaces/default/configmaps/settings", {"gracePeriodSeconds": 0})
    created, secret, deleted = events(tmp_path)
    assert created["objectRef"]["name"] == "settings"
    assert created["requestObject"] == config_map()
    assert created["responseObject"]["metadata"]["uid"]
    assert created["responseStatus"] == {"metadata": {}, "code": 201}
    assert secret["objectRef"]["name"] == "s"
    assert "requestObject" not in secret and "responseObject" not in secret
    assert deleted["requestObject"] == {"gracePeriodSeconds": 0} and "responseObject" not in deleted
    assert deleted["responseStatus"]["status"] == "Success" and deleted["responseStatus"]["code"] == 200


async def test_managed_fields_are_left_out_where_the_policy_says_so(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "RequestResponse", "omitManagedFields": True}) as api:
        await ask(api, "POST", "/api/v1/namespaces/default/configmaps", config_map())
        await ask(api, "GET", "/api/v1/namespaces/default/configmaps")
        table = "application/json;as=Table;g=meta.k8s.io;v=v1"
        await ask(api, "GET", "/api/v1/namespaces/default/configmaps?includeObject=Object", accept=table)
    created, listed, shown = events(tmp_path)
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert all("managedFields" not in item["metadata"] for item in listed["responseObject"]["items"])
    rows = [row["object"]["metadata"] for row in shown["responseObject"]["rows"]]
    assert rows and all("managedFields" not in metadata for metadata in rows)


async def test_a_protobuf_answer_is_logged_as_json(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "RequestResponse"}) as api:
        await ask(api, "GET", "/api/v1/namespaces/default", accept="application/vnd.kubernetes.protobuf")
        await ask(api, "GET", "/api/v1/namespaces/none", accept="application/vnd.kubernetes.protobuf")
    found, missing = events(tmp_path)
    assert found["responseObject"]["metadata"]["name"] == "default"
    assert missing["responseStatus"]["reason"] == "NotFound" and missing["responseObject"]["code"] == 404


async def test_stages_are_logged_in_order_unless_omitted(store: Store, tmp_path: Path) -> None:
    rules = (
        {"level": "Metadata", "verbs": ["list"], "omitStages": ["RequestReceived"]},
        {"level": "Metadata"},
    )
    async with audited(store, tmp_path, *rules) as api:
        await ask(api, "GET", "/version")
        await ask(api, "GET", "/api/v1/namespaces")
    assert [e["requestURI"] for e in events(tmp_path, "RequestReceived")] == ["/version"]
    assert [e["requestURI"] for e in events(tmp_path)] == ["/version", "/api/v1/namespaces"]
    assert "responseStatus" not in events(tmp_path, "RequestReceived")[0]


async def test_a_watch_has_started_before_it_is_complete(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "RequestResponse"}) as api:
        response = await ask(api, "GET", "/api/v1/namespaces?watch=1")
        stream: Any = response.body
        await anext(stream)
        await stream.aclose()
    (started,), (complete,) = events(tmp_path, "ResponseStarted"), events(tmp_path)
    assert started["verb"] == "watch" and started["responseStatus"] == {"metadata": {}, "code": 200}
    assert complete["auditID"] == started["auditID"] and "responseObject" not in complete


async def test_a_refusal_is_logged_with_its_reason(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        await ask(api, "GET", "/api/v1/secrets", user=BOB)
    (event,) = events(tmp_path, user="bob")
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert event["responseStatus"]["reason"] == "Forbidden" and event["responseStatus"]["code"] == 403


async def test_an_impersonated_user_stands_beside_who_really_asked(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "Metadata", "users": ["alice"]}) as api:
        await ask(api, "GET", "/version", impersonate_user="carol")
    (event,) = events(tmp_path)
    assert event["user"]["username"] == "alice"
    assert event["impersonatedUser"] == {"username": "carol", "groups": ["system:authenticated"]}


async def test_bad_credentials_are_logged_by_their_kind_alone(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        response = await ask(api, "GET", "/api/v1/pods", user=None, authorization="Bearer hush")
    assert response.status == 401
    text = (tmp_path / "audit.log").read_text()
    (event,) = [e for e in map(json.loads, text.splitlines()) if e["user"] == {}]
    assert event["responseStatus"] == {
        "metadata": {},
        "message": "Authentication failed, attempted: bearer",
        "code": 401,
    }
    assert "hush" not in text


async def test_a_time_limit_that_is_none_is_logged_though_nobody_was_asked_who_it_is(
    store: Store, tmp_path: Path
) -> None:
    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        assert (await ask(api, "GET", "/api/v1/pods?timeout=foo")).status == 400
    lines = (tmp_path / "audit.log").read_text().splitlines()
    (event,) = [e for e in map(json.loads, lines) if "timeout=foo" in e["requestURI"]]
    assert (event["stage"], event["user"]) == ("ResponseStarted", {})
    assert event["responseStatus"]["code"] == 400
    assert event["responseStatus"]["message"].startswith("invalid timeout specified in the request URL - ")


async def test_what_the_policy_does_not_name_is_not_logged(store: Store, tmp_path: Path) -> None:
    rules = (
        {"level": "None", "users": ["alice"], "resources": [{"group": ""}]},
        {"level": "Metadata", "users": ["alice"]},
    )
    async with audited(store, tmp_path, *rules) as api:
        await ask(api, "GET", "/api/v1/pods")
        await ask(api, "GET", "/apis/apps/v1/deployments")
    assert [e["requestURI"] for e in events(tmp_path)] == ["/apis/apps/v1/deployments"]
    assert not events(tmp_path, user="system:apiserver")


@pytest.mark.parametrize(
    ("rule", "method", "path", "matches"),
    [
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "GET", "/api/v1/pods", True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, "GET", "/api/v1/namespaces/a/pods/b/log", False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, "GET", "/api/v1/namespaces/a/pods/b/log", True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, "GET", "/api/v1/namespaces/a/pods/b/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, "GET", "/api/v1/namespaces/a/pods/b/log", True),
        ({"resources": [{"group": "", "resources": ["*"]}]}, "GET", "/apis/apps/v1/deployments", False),
        ({"resources": [{"group": "apps"}]}, "GET", "/apis/apps/v1/deployments", True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["b"]}]}, "GET", "/api/v1/namespaces/a/pods/b", True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["b"]}]}, "GET", "/api/v1/namespaces/a/pods/c", False),
        ({"namespaces": [""]}, "GET", "/api/v1/nodes", True),
        ({"namespaces": [""]}, "GET", "/version", False),
        ({"namespaces": ["a"], "verbs": ["list"]}, "GET", "/api/v1/namespaces/a/pods", True),
        ({"nonResourceURLs": ["/healthz*"]}, "GET", "/healthz/etcd", True),
        ({"nonResourceURLs": ["*"]}, "GET", "/api/v1/nodes", False),
        ({"userGroups": ["nobody"]}, "GET", "/version", False),
    ],
)  # fmt: skip
def test_a_rule_matches_as_upstream(rule: Object, method: str, path: str, matches: bool) -> None:
    found = parse_policy(policy({"level": "Request", **rule}))
    info = request_info(Request(method, path))
    assert (found.decide(BOB, info).level > 0) is matches


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (policy(), "0 rules"),
        (policy({"level": "All"}), "rules[0].level must be one of None, Metadata, Request, RequestResponse"),
        (policy({"level": "None", "user": ["a"]}), "did you mean rules[0].users?"),
        (policy({"level": "None", "omitStages": ["End"]}), "rules[0].omitStages"),
        (policy({"level": "None", "nonResourceURLs": ["/a*b"]}), "'*' may only be its last character"),
        (policy({"level": "None", "nonResourceURLs": ["/"], "namespaces": ["a"]}), "cannot apply to both"),
        ({**policy({"level": "None"}), "apiVersion": "audit.k8s.io/v1beta1"}, "apiVersion audit.k8s.io/v1"),
        ({**policy({"level": "None"}), "rules": [{"level": "None", "resources": [{"resourceNames": ["a"]}]}]}, "at least one resource"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_is_refused_with_what_is_wrong(document: Object, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(document)
    assert message in str(caught.value)


async def test_a_log_file_is_rotated_at_its_size_and_keeps_so_many_backups(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.log"
    log = LogFile(LogSettings(str(path), max_backups=2, max_size=1), SystemClock())
    log.start()
    for _ in range(5):
        log.put(b"x" * 600_000 + b"\n")
        await asyncio.sleep(0.05)
    await log.stop()
    backups = sorted(path.parent.glob("audit-*.log"))
    assert len(backups) == 2 and path.stat().st_size == 600_001
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_log_that_cannot_be_written_loses_events_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    log = LogFile(LogSettings(str(tmp_path / "file" / "audit.log")), SystemClock())
    log.start()
    log.put(b"{}\n")
    await log.stop()
    assert log.dropped == 1


class _Receiver:
    """A transport that keeps what is posted, and fails the first times."""

    def __init__(self, failures: int = 0) -> None:
        self.batches: list[Any] = []
        self.failures = failures
        self.items = asyncio.Semaphore(0)

    async def request(self, request: Request) -> Response:
        if self.failures:
            self.failures -= 1
            return Response(503)
        self.batches.append(json.loads(request.body))
        for _ in self.batches[-1]["items"]:
            self.items.release()
        return Response(200)

    async def stream(self, request: Request) -> Response:
        raise AssertionError("audit events are no stream")

    async def close(self) -> None: ...


async def test_a_webhook_gets_events_in_batches_and_again_after_a_failure() -> None:
    receiver = _Receiver(failures=1)
    webhook = Webhook(receiver, BatchSettings(max_size=2, max_wait=0.05, initial_backoff=0.01))
    webhook.start()
    for index in range(3):
        webhook.put(b'{"n":%d}\n' % index)
    async with asyncio.timeout(5):
        for _ in range(3):
            await receiver.items.acquire()
    await webhook.stop()
    assert receiver.batches[0] == {
        "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [{"n": 0}, {"n": 1}],
    }  # fmt: skip
    assert webhook.dropped == 0


async def test_events_beyond_a_webhooks_buffer_are_dropped_and_counted() -> None:
    webhook = Webhook(_Receiver(), BatchSettings(buffer=1))
    webhook.put(b"{}\n")
    webhook.put(b"{}\n")
    assert webhook.dropped == 1


def test_source_addresses_are_those_that_proxies_say_and_the_peers() -> None:
    request = Request(
        "GET", "/", headers={"x-forwarded-for": "203.0.113.9, junk, 198.51.100.2"}, remote="[::2]:1"
    )
    assert source_addresses(request) == ["203.0.113.9", "198.51.100.2", "::2"]


async def test_without_a_policy_no_filter_is_in_the_way(
    api: APIServer, read: Callable[[Response], Any]
) -> None:
    assert api.audit is None
    assert "apiserver_audit_event_total" not in api.metrics.text()


async def test_audited_requests_are_counted(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        await ask(api, "GET", "/version")
        text = api.metrics.text()
    assert "apiserver_audit_event_total " in text and 'apiserver_audit_level_total{level="Metadata"}' in text


async def test_who_asked_for_a_deprecated_kind_is_noted(store: Store, tmp_path: Path) -> None:
    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        for kind in ("componentstatuses", "configmaps"):
            await ask(api, "GET", f"/api/v1/{kind}")
    notes = {each["objectRef"]["resource"]: each["annotations"] for each in events(tmp_path)}
    assert notes["componentstatuses"]["k8s.io/deprecated"] == "true"
    assert "k8s.io/deprecated" not in notes["configmaps"]


async def test_a_late_answer_says_how_long_webhooks_took(
    store: Store, tmp_path: Path, webhooks: WebhookServer
) -> None:
    async def slow(_review: Any) -> Any:
        await asyncio.sleep(0.3)
        return {"allowed": True}

    async with audited(store, tmp_path, {"level": "Metadata"}) as api:
        rule = {
            "operations": ["CREATE"],
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["configmaps"],
        }
        for sort in ("mutating", "validating"):
            hooks = [
                {
                    "name": f"{name}.example.com", "clientConfig": webhooks.on(f"/{name}", slow), "rules": [rule],
                    "sideEffects": "None", "admissionReviewVersions": ["v1"],
                }
                for name in ("one", "two")
            ]  # fmt: skip
            where = f"/apis/admissionregistration.k8s.io/v1/{sort}webhookconfigurations"
            assert (
                await ask(api, "POST", where, {"metadata": {"name": "m"}, "webhooks": hooks})
            ).status == 201
        made = await ask(api, "POST", "/api/v1/namespaces/default/configmaps", config_map())
        assert made.status == 201
        counted = api.metrics.text()
    annotations = events(tmp_path)[-1]["annotations"]
    prefix = "apiserver.latency.k8s.io/"
    took = {
        k.removeprefix(prefix): durations.parse(v) for k, v in annotations.items() if k.startswith(prefix)
    }
    assert list(took) == ["mutating-webhook", "validating-webhook", "total"]
    mutating, validating, total = took.values()
    assert mutating >= 0.6 and 0.3 <= validating < mutating and mutating + validating <= total
    seconds = {}
    for metric in ("request_duration", "request_sli_duration"):
        line = next(
            line
            for line in counted.splitlines()
            if line.startswith(f"apiserver_{metric}_seconds_sum{{") and 'resource="configmaps"' in line
        )
        seconds[metric] = float(line.rpartition(" ")[2])
    own = seconds["request_duration"] - mutating - validating
    assert seconds["request_sli_duration"] == pytest.approx(own, abs=1e-6)


@pytest.mark.parametrize(("level", "patched"), [("Request", True), ("Metadata", False)])
async def test_what_a_webhook_changed_is_noted_its_patch_only_where_bodies_are(
    store: Store, tmp_path: Path, webhooks: WebhookServer, level: str, patched: bool
) -> None:
    async with audited(store, tmp_path, {"level": level}) as api:
        operation = {"op": "add", "path": "/data/c", "value": "d"}
        rule = {
            "operations": ["CREATE"],
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["configmaps"],
        }
        hook = {
            "name": "h.example.com", "clientConfig": webhooks.on("/m", patching(operation)), "rules": [rule],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }  # fmt: skip
        where = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        assert (await ask(api, "POST", where, {"metadata": {"name": "m"}, "webhooks": [hook]})).status == 201
        made = await ask(api, "POST", "/api/v1/namespaces/default/configmaps", config_map())
        assert made.status == 201
    noted = events(tmp_path)[-1]["annotations"]
    place = "webhook.admission.k8s.io/round_0_index_0"
    named = {"configuration": "m", "webhook": "h.example.com"}
    assert json.loads(noted[f"mutation.{place}"]) == {**named, "mutated": True}
    assert (f"patch.{place}" in noted) == patched
    if patched:
        wanted = {**named, "patch": [operation], "patchType": "JSONPatch"}
        assert json.loads(noted[f"patch.{place}"]) == wanted
