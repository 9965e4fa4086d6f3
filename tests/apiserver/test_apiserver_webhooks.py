"""Admission webhooks over real TLS: who is called with what, and what comes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from apiserver_front import ADMIN, Front, front
from apiserver_webhook_server import WebhookServer, allow, deny, patching, slowly, webhooks

from sublet.apiserver.api import APIServer
from sublet.apiserver.serviceendpoints import Endpoints
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import Request, User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, Forbidden, InternalError, Invalid, NotFound, StatusError
from sublet.store.interface import Store

__all__ = ["front", "webhooks"]
GROUP = "admissionregistration.k8s.io"
MAPS = resource("configmaps")
NAMESPACES = resource("namespaces")
PODS = resource("pods")
MAKE = Callable[..., Object]


def rule(*resources: str, **more: Any) -> Object:
    return {
        "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": list(resources) or ["configmaps"], **more,
    }  # fmt: skip


async def configure(
    client: Client, kind: str, client_config: Object, name: str = "hooks", *rules: Object, **more: Any
) -> Object:
    """Registers one webhook, for ConfigMaps if nothing else is said."""
    hook = {
        "name": f"{name}.example.com", "clientConfig": client_config, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": list(rules) or [rule()], **more,
    }  # fmt: skip
    where = resource(f"{kind}webhookconfigurations.{GROUP}")
    return await client.create(where, {"metadata": {"name": name}, "webhooks": [hook]})


async def test_a_webhook_learns_what_is_written_and_by_whom(
    api: APIServer, client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", allow()))
    made = await client.create(MAPS, make_config_map(a="1"))
    path, review = webhooks.asked[0]
    assert path == "/v?timeout=10s"
    assert (review["kind"], review["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    request = review["request"]
    assert len(request.pop("uid")) == 36
    seen = request.pop("object")
    assert seen == {**made, "metadata": {k: v for k, v in made["metadata"].items() if k != "resourceVersion"}}
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    place = {"group": "", "version": "v1", "resource": "configmaps"}
    assert request == {
        "kind": kind, "resource": place, "requestKind": kind, "requestResource": place, "name": "settings",
        "namespace": "default", "operation": "CREATE", "oldObject": None, "dryRun": False,
        "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "options": request["options"],
    }  # fmt: skip
    assert request["options"]["kind"] == "CreateOptions"
    assert request["options"]["apiVersion"] == "meta.k8s.io/v1"


async def test_updates_and_deletions_show_the_old_object(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    rules = rule(operations=["UPDATE", "DELETE"])
    await configure(client, "validating", webhooks.on("/v", allow()), "hooks", rules)
    changed = await client.update(MAPS, {**made, "data": {"a": "2"}})
    await client.delete(MAPS, "settings", "default")
    update, delete = webhooks.reviews("/v")
    assert update["oldObject"] == made
    assert update["object"]["data"] == {"a": "2"}
    assert update["options"]["kind"] == "UpdateOptions"
    assert (delete["operation"], delete["object"]) == ("DELETE", None)
    assert delete["oldObject"] == changed
    assert delete["options"]["kind"] == "DeleteOptions"


async def test_a_patch_that_creates_is_a_create_and_one_that_updates_an_update(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", allow()))
    for value in ("1", "2"):
        await client.patch(
            MAPS, "settings", make_config_map(a=value), "default", kind="apply", field_manager="t"
        )
    create, update = webhooks.reviews("/v")
    assert (create["operation"], create["options"]["kind"]) == ("CREATE", "CreateOptions")
    assert (update["operation"], update["options"]["kind"]) == ("UPDATE", "UpdateOptions")
    assert "force" not in update["options"]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ({}, 400, 'admission webhook "hooks.example.com" denied the request without explanation'),
        ({"message": "no"}, 400, 'admission webhook "hooks.example.com" denied the request: no'),
        ({"reason": "Tired"}, 400, 'admission webhook "hooks.example.com" denied the request: Tired'),
        ({"message": "no", "code": 403}, 403, 'admission webhook "hooks.example.com" denied the request: no'),
        ({"message": "no", "code": 200}, 400, 'admission webhook "hooks.example.com" denied the request: no'),
    ],
)
async def test_a_refusal_says_who_refused(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, status: Any, code: int, message: str
) -> None:
    await configure(client, "validating", webhooks.on("/v", deny(**status)))
    with pytest.raises(StatusError) as refused:
        await client.create(MAPS, make_config_map())
    assert (refused.value.code, refused.value.message) == (code, message)
    with pytest.raises(NotFound):
        await client.get(MAPS, "settings", "default")


async def test_a_mutating_webhook_patches_and_defaults_fill_the_rest(
    client: Client, webhooks: WebhookServer, make_pod: MAKE, default_account: None
) -> None:
    added = {"name": "sidecar", "image": "busybox"}
    operation = {"op": "add", "path": "/spec/containers/-", "value": added}
    await configure(client, "mutating", webhooks.on("/m", patching(operation)), "hooks", rule("pods"))
    made = await client.create(PODS, make_pod())
    sidecar = made["spec"]["containers"][1]
    assert sidecar["name"] == "sidecar"
    assert sidecar["terminationMessagePath"] == "/dev/termination-log"
    # The ServiceAccount plug-in ran again over what the webhook added.
    assert sidecar["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"


async def test_what_a_webhook_makes_of_an_object_is_validated(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    operation = {"op": "add", "path": "/data/not~1a~1key", "value": "x"}
    await configure(client, "mutating", webhooks.on("/m", patching(operation)))
    with pytest.raises(Invalid, match=r"data\[not/a/key\]"):
        await client.create(MAPS, make_config_map(a="1"))


async def test_webhooks_are_called_in_the_order_of_their_configurations(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    for name in ("b-second", "a-first"):
        first = {"op": "add", "path": "/data/order", "value": name}
        await configure(client, "mutating", webhooks.on(f"/{name}", patching(first)), name)
    made = await client.create(MAPS, make_config_map(a="1"))
    assert [path.partition("?")[0] for path, _ in webhooks.asked] == ["/a-first", "/b-second"]
    assert webhooks.reviews("/b-second")[0]["object"]["data"]["order"] == "a-first"
    assert made["data"]["order"] == "b-second"


async def test_a_webhook_is_called_again_once_when_a_later_one_changed_the_object(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "mutating", webhooks.on("/a", allow()), "a", reinvocationPolicy="IfNeeded")
    await configure(client, "mutating", webhooks.on("/never", allow()), "b")
    late = {"op": "add", "path": "/data/late", "value": "x"}
    await configure(client, "mutating", webhooks.on("/c", patching(late)), "c", reinvocationPolicy="IfNeeded")
    await client.create(MAPS, make_config_map(a="1"))
    assert [path.partition("?")[0] for path, _ in webhooks.asked] == ["/a", "/never", "/c", "/a"]
    assert webhooks.reviews("/a")[1]["object"]["data"] == {"a": "1", "late": "x"}


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([{"op": "remove", "path": "/data/missing"}], "Internal error occurred: "),
        (
            [{"op": "add", "path": "/metadata/namespace", "value": "other"}],
            "namespace of the provided object",
        ),
        ([{"op": "add", "path": "/data", "value": 7}], "Internal error occurred: "),
    ],
)
async def test_a_patch_that_does_not_fit_fails_the_write(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, operations: Any, message: str
) -> None:
    config = webhooks.on("/m", patching(*operations))
    await configure(client, "mutating", config, failurePolicy="Ignore")
    with pytest.raises(StatusError, match=message):
        await client.create(MAPS, make_config_map(a="1"))


async def test_a_deletion_cannot_be_patched(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await client.create(MAPS, make_config_map())
    operation = {"op": "add", "path": "/data", "value": {}}
    rules = rule(operations=["DELETE"])
    await configure(client, "mutating", webhooks.on("/m", patching(operation)), "hooks", rules)
    with pytest.raises(
        InternalError, match="attempted to modify the object, which is not supported for this"
    ):
        await client.delete(MAPS, "settings", "default")


# -- failures --


def not_json(_review: Any) -> Any:
    return web.Response(text="hello", content_type="application/json")


def other_uid(_review: Any) -> Any:
    return {"allowed": True, "uid": "other"}


def without_type(_review: Any) -> Any:
    return {"allowed": True, "patch": "W10="}


def moved(_review: Any) -> Any:
    """Says not where to."""
    return web.Response(status=302)


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (slowly, r'failed to call webhook: Post "https://localhost:\d+/v\?timeout=1s": context deadline exceeded'),
        (lambda _r: web.Response(status=404), "failed to call webhook: the server could not find the requested resource"),
        (
            lambda _r: web.Response(status=500, text="oops"),
            r'failed to call webhook: an error on the server \("oops"\) has prevented the request from succeeding',
        ),
        (moved, "failed to call webhook: the server responded with the status code 302"),
        (not_json, "failed to call webhook: couldn't get version/kind; json parse error"),
        (other_uid, 'received invalid webhook response: expected response.uid="[^"]*", got "other"'),
        (without_type, "received invalid webhook response: webhook returned response.patch but not response.patchType"),
    ],
)  # fmt: skip
async def test_a_webhook_that_cannot_be_asked_fails_the_write_or_is_passed_over(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, respond: Any, message: str
) -> None:
    config = webhooks.on("/v", respond)
    made = await configure(client, "mutating", config, failurePolicy="Fail", timeoutSeconds=1)
    whole = f'^Internal error occurred: failed calling webhook "hooks.example.com": {message}'
    with pytest.raises(InternalError, match=whole):
        await client.create(MAPS, make_config_map())
    made["webhooks"][0]["failurePolicy"] = "Ignore"
    await client.update(resource(f"mutatingwebhookconfigurations.{GROUP}"), made)
    await client.create(MAPS, make_config_map())


async def test_a_server_that_is_not_there_or_not_trusted_is_told_apart(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    nobody = {"url": "https://127.0.0.1:1/v", "caBundle": webhooks.ca_bundle}
    configured = await configure(client, "validating", nobody)
    where = resource(f"validatingwebhookconfigurations.{GROUP}")
    with pytest.raises(InternalError, match=r"dial tcp 127.0.0.1:1: connect: connection refused"):
        await client.create(MAPS, make_config_map())
    from sublet.pki.authority import Authority

    other = Authority.create("another")
    for url, ca, text in (
        (f"https://localhost:{webhooks.port}/v", other.cert_pem, "certificate signed by unknown authority"),
        (f"https://ip6-localhost:{webhooks.port}/v", webhooks.authority.cert_pem, "ip6-localhost"),
    ):
        import base64

        configured["webhooks"][0]["clientConfig"] = {"url": url, "caBundle": base64.b64encode(ca).decode()}
        configured = await client.update(where, configured)
        with pytest.raises(InternalError, match=text):
            await client.create(MAPS, make_config_map())


async def test_a_validating_refusal_does_not_wait_for_its_place(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    """All validating webhooks are asked, the first to refuse is told."""
    await configure(client, "validating", webhooks.on("/slow", slowly), "a", timeoutSeconds=1)
    await configure(client, "validating", webhooks.on("/no", deny(message="no")), "b")
    with pytest.raises(BadRequest, match=r'"b.example.com" denied the request: no'):
        await client.create(MAPS, make_config_map())
    assert len(webhooks.asked) == 2


# -- whom a webhook concerns --


@pytest.mark.parametrize(
    ("more", "called"),
    [
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, False),
        ({"objectSelector": {"matchLabels": {"app": "x"}}}, True),
        ({"objectSelector": {"matchLabels": {"app": "y"}}}, False),
        ({"rules": [rule(scope="Cluster")]}, False),
        ({"rules": [rule(scope="Namespaced")]}, True),
        ({"rules": [rule("configmaps/status")]}, False),
        ({"rules": [rule("*")]}, True),
        ({"rules": [rule("*/*")]}, True),
        ({"rules": [rule(operations=["UPDATE"])]}, False),
        ({"rules": [rule(operations=["*"])]}, True),
        ({"rules": [rule(apiGroups=["apps"])]}, False),
    ],
)
async def test_rules_and_selectors_choose_the_writes(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, more: Any, called: bool
) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "team", "labels": {"team": "a"}}})
    await configure(client, "validating", webhooks.on("/v", allow()), **more)
    obj = make_config_map(namespace="team")
    obj["metadata"]["labels"] = {"app": "x"}
    await client.create(MAPS, obj)
    assert bool(webhooks.asked) == called


async def test_a_namespace_is_chosen_by_the_labels_it_is_getting(
    client: Client, webhooks: WebhookServer
) -> None:
    selector = {"matchLabels": {"guarded": "yes"}}
    config = webhooks.on("/v", deny(message="no"))
    await configure(client, "validating", config, "hooks", rule("namespaces"), namespaceSelector=selector)
    await client.create(NAMESPACES, {"metadata": {"name": "free"}})
    with pytest.raises(BadRequest):
        await client.create(NAMESPACES, {"metadata": {"name": "guarded", "labels": {"guarded": "yes"}}})
    assert webhooks.reviews("/v")[0]["namespace"] == "guarded"


@pytest.mark.parametrize("policy", ["Exact", "Equivalent"])
async def test_match_policy_equivalent_converts_to_the_version_of_the_rule(
    client: Client, webhooks: WebhookServer, policy: str
) -> None:
    rules = rule("horizontalpodautoscalers", apiGroups=["autoscaling"], apiVersions=["v1"])
    patch = {"op": "replace", "path": "/spec/maxReplicas", "value": 7}
    config = webhooks.on("/m", patching(patch))
    await configure(client, "mutating", config, "hooks", rules, matchPolicy=policy)
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}}
    made = await client.create(
        resource("horizontalpodautoscalers.autoscaling"),
        {"metadata": {"name": "h", "namespace": "default"}, "spec": spec},
    )
    if policy == "Exact":
        assert not webhooks.asked
        assert made["spec"]["maxReplicas"] == 3
        return
    request = webhooks.reviews("/m")[0]
    assert request["kind"]["version"] == request["resource"]["version"] == "v1"
    assert request["requestKind"]["version"] == request["requestResource"]["version"] == "v2"
    assert request["object"]["apiVersion"] == "autoscaling/v1"
    assert (made["apiVersion"], made["spec"]["maxReplicas"]) == ("autoscaling/v2", 7)


async def test_webhooks_do_not_guard_the_configuration_of_webhooks(
    client: Client, webhooks: WebhookServer
) -> None:
    rules = rule("*", apiGroups=["*"], apiVersions=["*"], operations=["*"])
    configured = await configure(client, "validating", webhooks.on("/v", deny()), "hooks", rules)
    where = resource(f"validatingwebhookconfigurations.{GROUP}")
    await client.update(where, {**configured, "webhooks": []})
    await client.delete(where, "hooks")
    assert not webhooks.asked


# -- what else they say --


async def test_warnings_and_audit_annotations_are_passed_on(
    api: APIServer, webhooks: WebhookServer, client: Client, make_config_map: MAKE
) -> None:
    import json

    config = webhooks.on("/v", allow(warnings=["take care"], auditAnnotations={"score": "7"}))
    await configure(client, "validating", config)
    request = Request(
        "POST", "/api/v1/namespaces/default/configmaps", body=json.dumps(make_config_map()).encode(),
        user=User("admin", ("system:masters",)),
    )  # fmt: skip
    response = await api.handle(request)
    assert response.status == 201
    assert ("Warning", '299 - "take care"') in response.headers
    assert request.context["audit_annotations"]["hooks.example.com/score"] == "7"


async def test_a_dry_run_asks_webhooks_and_says_so(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", allow()), sideEffects="NoneOnDryRun")
    await client.create(MAPS, make_config_map(), dry_run=True)
    request = webhooks.reviews("/v")[0]
    assert request["dryRun"] is True
    assert request["options"]["dryRun"] == ["All"]


async def test_calls_are_counted_under_upstreams_names(
    api: APIServer, client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", deny(message="no", code=403)))
    with pytest.raises(Forbidden):
        await client.create(MAPS, make_config_map())
    text = api.metrics.text()
    labels = 'name="hooks.example.com",type="validating",operation="CREATE"'
    assert (
        f'apiserver_admission_webhook_rejection_count{{{labels},error_type="no_error",rejection_code="403"}} 1'
        in text
    )
    assert f'apiserver_admission_webhook_request_total{{{labels},code="403",rejected="true"}} 1' in text
    assert "apiserver_admission_webhook_admission_duration_seconds_count" in text


async def test_connections_are_used_again_and_made_anew_when_they_were_closed(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", allow()))
    for name in "abc":
        await client.create(MAPS, make_config_map(name))
    assert webhooks.connections == 1
    for transport in tuple(webhooks._seen):
        transport.close()
    await client.create(MAPS, make_config_map("d"))
    assert webhooks.connections == 2


async def test_a_service_that_leads_nowhere_is_named(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    service = {"namespace": "default", "name": "hooks", "path": "/v", "port": 8443}
    await configure(client, "validating", {"service": service, "caBundle": webhooks.ca_bundle})
    url = r'Post "https://hooks.default.svc:8443/v\?timeout=10s": '
    with pytest.raises(InternalError, match=url + 'service "hooks" not found'):
        await client.create(MAPS, make_config_map())
    spec = {"clusterIP": "None", "ports": [{"port": 443}]}
    services = resource("services")
    made = await client.create(
        services, {"metadata": {"name": "hooks", "namespace": "default"}, "spec": spec}
    )
    with pytest.raises(InternalError, match=url + 'no service port 8443 found for service "hooks"'):
        await client.create(MAPS, make_config_map())
    made["spec"]["ports"] = [{"port": 8443, "protocol": "TCP"}]
    await client.update(services, made)
    with pytest.raises(InternalError, match=url + 'no endpoints available for service "hooks"'):
        await client.create(MAPS, make_config_map())


async def test_a_webhook_behind_a_service_is_dialled_where_the_resolver_says_under_the_services_name(
    store: Store, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    asked = []

    async def resolve(namespace: str, name: str, port: int) -> tuple[str, int]:
        asked.append((namespace, name, port))
        return "127.0.0.1", webhooks.port

    server = APIServer(APIServerSettings(), store, resolve_service=resolve)
    await server.start()
    try:
        client = server.client_as(User("admin", ("system:masters",)), "t")
        service = {"namespace": "default", "name": "hooks", "path": "/v"}
        webhooks.on("/v", deny(message="reached"))
        await configure(client, "validating", {"service": service, "caBundle": webhooks.ca_bundle})
        with pytest.raises(BadRequest, match="reached"):
            await client.create(MAPS, make_config_map())
    finally:
        await server.stop()
    assert asked == [("default", "hooks", 443)]


SERVICE = {"spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "web", "port": 443}]}}


@pytest.mark.parametrize(
    ("ready", "expected"),
    [(True, ("10.1.0.1", 8443)), (None, ("10.1.0.1", 8443)), (False, ("10.0.0.9", 443))],
)
async def test_a_ready_endpoint_is_dialled_else_the_cluster_ip(
    ready: bool | None, expected: tuple[str, int]
) -> None:
    slice_ = {
        "metadata": {"labels": {"kubernetes.io/service-name": "hooks"}},
        "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {} if ready is None else {"ready": ready}}],
        "ports": [{"name": "web", "port": 8443}, {"name": "metrics", "port": 9}],
    }

    async def read(*_: str) -> Object:
        return SERVICE

    async def listed(*_: str) -> list[Object]:
        return [slice_]

    assert await Endpoints(read, listed).resolve("default", "hooks", 443) == expected


# -- what is no stored object --


@pytest.mark.usefixtures("default_account")
async def test_connections_are_admitted_with_their_options(
    client: Client, api: APIServer, webhooks: WebhookServer, make_pod: MAKE
) -> None:
    rules = rule("pods/exec", "pods/proxy", operations=["CONNECT"])
    await configure(client, "validating", webhooks.on("/v", deny(message="not here")), "hooks", rules)
    await client.create(PODS, make_pod())
    user = User("admin", ("system:masters",))
    for path, query in (
        ("exec", "command=ls&command=-l&stdout=true&container=main"),
        ("proxy/some/page", ""),
    ):
        response = await api.handle(
            Request("GET", f"/api/v1/namespaces/default/pods/web/{path}", query, user=user)
        )
        assert response.status == 400
    exec_, proxy = webhooks.reviews("/v")
    assert (exec_["operation"], exec_["subResource"], exec_["name"]) == ("CONNECT", "exec", "web")
    assert exec_["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
    assert exec_["resource"] == {"group": "", "version": "v1", "resource": "pods"}
    assert exec_["object"] == {
        "kind": "PodExecOptions", "apiVersion": "v1", "stdout": True, "container": "main", "command": ["ls", "-l"],
    }  # fmt: skip
    assert (exec_["oldObject"], exec_["options"]) == (None, None)
    assert proxy["object"] == {"kind": "PodProxyOptions", "apiVersion": "v1", "path": "some/page"}


@pytest.mark.usefixtures("default_account")
async def test_bindings_and_evictions_are_created_as_webhooks_see_it(
    client: Client, webhooks: WebhookServer, make_pod: MAKE
) -> None:
    rules = rule("pods/binding", "pods/eviction", operations=["*"])
    await configure(client, "validating", webhooks.on("/v", allow()), "hooks", rules)
    await client.create(PODS, make_pod())
    binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n"}}
    await client.create(PODS, binding, "default", subresource="binding", name="web")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}}
    await client.create(PODS, eviction, "default", subresource="eviction", name="web")
    seen = [
        (r["operation"], r["kind"]["kind"], r["object"]["kind"], r["name"]) for r in webhooks.reviews("/v")
    ]
    assert seen == [
        ("CREATE", "Binding", "Binding", "web"),
        ("CREATE", "Eviction", "Eviction", "web"),
    ]


async def test_a_token_is_created_as_webhooks_see_it(front: Front, webhooks: WebhookServer) -> None:
    admin = front.api.client_as(ADMIN, "t")
    config = webhooks.on("/v", allow())
    await configure(admin, "validating", config, "hooks", rule("serviceaccounts/token"))
    await front.account()
    await front.token(expirationSeconds=700)
    (request,) = webhooks.reviews("/v")
    assert (request["operation"], request["name"], request["namespace"]) == ("CREATE", "robot", "default")
    assert request["kind"] == {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}
    assert request["object"]["spec"]["expirationSeconds"] == 700


async def test_scaling_is_an_update_of_the_scale(client: Client, webhooks: WebhookServer) -> None:
    rules = rule("deployments/scale", apiGroups=["apps"])
    await configure(client, "validating", webhooks.on("/v", allow()), "hooks", rules)
    deployments = resource("deployments.apps")
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(deployments, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    await client.patch(deployments, "d", {"spec": {"replicas": 3}}, "default", subresource="scale")
    (request,) = webhooks.reviews("/v")
    assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert request["resource"] == {"group": "apps", "version": "v1", "resource": "deployments"}
    assert (request["operation"], request["object"]["spec"]) == ("UPDATE", {"replicas": 3})
    assert request["oldObject"]["spec"] == {"replicas": 1}


async def test_a_webhook_may_change_a_scale(client: Client, webhooks: WebhookServer) -> None:
    deployments = resource("deployments.apps")
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(deployments, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    fewer = webhooks.on("/m", patching({"op": "replace", "path": "/spec/replicas", "value": 2}))
    await configure(client, "mutating", fewer, "hooks", rule("deployments/scale", apiGroups=["apps"]))
    validated = webhooks.on("/v", allow())
    await configure(client, "validating", validated, "hooks", rule("deployments/scale", apiGroups=["apps"]))
    scaled = await client.patch(deployments, "d", {"spec": {"replicas": 9}}, "default", subresource="scale")
    assert scaled["spec"] == {"replicas": 2}
    (request,) = webhooks.reviews("/v")
    assert request["object"]["spec"] == {"replicas": 2}


@pytest.mark.parametrize(("expression", "called"), [("true", True), ("object.data.a != '1'", False)])
async def test_match_conditions_choose_too(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, expression: str, called: bool
) -> None:
    conditions = [{"name": "c", "expression": expression}]
    await configure(client, "validating", webhooks.on("/v", allow()), matchConditions=conditions)
    await client.create(MAPS, make_config_map(a="1"))
    assert bool(webhooks.asked) == called


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_match_condition_that_fails_follows_the_failure_policy(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, policy: str
) -> None:
    conditions = [{"name": "c", "expression": "object.data.missing == 'x'"}]
    config = webhooks.on("/v", allow())
    await configure(client, "validating", config, matchConditions=conditions, failurePolicy=policy)
    if policy == "Fail":
        with pytest.raises(StatusError, match="missing"):
            await client.create(MAPS, make_config_map(a="1"))
    else:
        await client.create(MAPS, make_config_map(a="1"))
    assert not webhooks.asked


async def test_a_webhook_that_is_gone_does_not_keep_a_server_from_starting(
    client: Client, store: Store, webhooks: WebhookServer
) -> None:
    """What every cluster has, and somebody has deleted, is made again without asking."""
    roles = resource("clusterroles.rbac.authorization.k8s.io")
    await client.delete(roles, "view")
    everything = rule("*/*", apiGroups=["*"], apiVersions=["*"], operations=["*"])
    gone = {"url": "https://127.0.0.1:1/", "caBundle": webhooks.ca_bundle}
    await configure(client, "mutating", gone, "hooks", everything)
    server = APIServer(APIServerSettings(), store)
    await server.start()
    try:
        again = server.client_as(User("admin", ("system:masters",)), "t")
        assert await again.get(roles, "view")
        with pytest.raises(InternalError, match="failed calling webhook"):
            await again.create(NAMESPACES, {"metadata": {"name": "new"}})
    finally:
        await server.stop()


async def test_a_condition_that_cannot_be_compiled_is_refused(
    client: Client, webhooks: WebhookServer
) -> None:
    conditions = [{"name": "c", "expression": "object.metadata. == 1"}]
    with pytest.raises(Invalid, match="compilation failed"):
        await configure(client, "validating", webhooks.on("/v", allow()), matchConditions=conditions)
