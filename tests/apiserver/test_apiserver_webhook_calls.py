"""How admission webhooks are called: redirects, the users of a kubeconfig, and reviews that they are asked about."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from apiserver_webhook_server import WebhookServer, allow, deny, patching, webhooks

from sublet.apiserver.admission.configuration import AdmissionConfiguration, WebhookAdmission
from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.apiserver.webhookusers import WebhookUser, WebhookUsers
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.client.kubeconfig import KubeconfigError
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import InternalError, StatusError
from sublet.store.interface import Store

__all__ = ["webhooks"]
GROUP = "admissionregistration.k8s.io"
MAPS = resource("configmaps")
MAKE = Callable[..., Object]
ADMIN = User("admin", ("system:masters", "system:authenticated"))


async def configure(client: Client, kind: str, client_config: Object, **rule: Any) -> Object:
    hook = {
        "name": "hooks.example.com", "clientConfig": client_config, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{
            "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], **rule,
        }],
    }  # fmt: skip
    where = resource(f"{kind}webhookconfigurations.{GROUP}")
    return await client.create(where, {"metadata": {"name": "hooks"}, "webhooks": [hook]})


# -- redirects --


def to(target: str, status: int = 307) -> Callable[[Any], Any]:
    return lambda _review: web.Response(status=status, headers={"Location": target})


@pytest.mark.parametrize("status", [307, 308])
async def test_a_review_is_posted_on_to_where_a_redirect_leads(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, status: int
) -> None:
    webhooks.on("/there", deny(message="not here"))
    await configure(client, "validating", webhooks.on("/v", to("/there", status)))
    with pytest.raises(StatusError, match="denied the request: not here"):
        await client.create(MAPS, make_config_map())
    assert webhooks.reviews("/there")[0]["object"]["metadata"]["name"] == "settings"


async def test_other_redirects_are_got_without_the_review(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    webhooks.on("/there", lambda review: web.json_response({"seen": review}))
    await configure(client, "validating", webhooks.on("/v", to("/there", 302)))
    with pytest.raises(InternalError, match="webhook response was absent"):
        await client.create(MAPS, make_config_map())
    assert webhooks.asked[-1] == ("/there", None)


async def test_redirects_end_after_ten_and_never_leave_tls(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", to("/v")))
    with pytest.raises(InternalError, match="stopped after 10 redirects"):
        await client.create(MAPS, make_config_map())
    assert len(webhooks.asked) == 11
    webhooks.on("/v", to("http://127.0.0.1:1/metadata"))
    with pytest.raises(InternalError, match="a redirect of a webhook must lead to https"):
        await client.create(MAPS, make_config_map())


# -- as whom --


def users(directory: Path, *entries: tuple[str, Object], current: str = "") -> str:
    file = directory / "webhooks.kubeconfig"
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"user": current}}],
        "users": [{"name": name, "user": user} for name, user in entries],
    }))  # fmt: skip
    return str(file)


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("a.b.example.com", 443, "whole"),
        ("a.b.example.com", 8443, "port"),
        ("x.b.example.com", 443, "end"),
        ("x.b.example.com", 9443, "any"),
        ("b.example.com", 443, "any"),
    ],
)
def test_the_user_is_chosen_by_the_webhooks_name(tmp_path: Path, host: str, port: int, name: str) -> None:
    file = users(
        tmp_path, ("a.b.example.com", {"token": "whole"}), ("a.b.example.com:8443", {"token": "port"}),
        ("*.b.example.com", {"token": "end"}), ("*", {"token": "any"}), ("last", {"token": "last"}), current="last",
    )  # fmt: skip
    found = WebhookUsers.load(file).of(host, port)
    assert found.headers == {"Authorization": f"Bearer {name}"}


def test_without_a_user_for_it_the_current_one_asks_and_else_nobody(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    both = (("last", {"tokenFile": "token"}), ("plain", {"username": "u", "password": "p"}))
    current = WebhookUsers.load(users(tmp_path, *both, current="last"))
    assert current.of("h", 443).headers == {"Authorization": "Bearer from-file"}
    named = WebhookUsers.load(users(tmp_path, *both, current="gone"))
    assert named.of("plain", 443).headers == {"Authorization": "Basic dTpw"}
    assert named.of("h", 443) == WebhookUser()


def test_what_a_user_of_webhooks_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="cannot have exec"):
        WebhookUsers.load(users(tmp_path, ("*", {"exec": {"command": "x"}})))
    with pytest.raises(KubeconfigError, match="cannot be read"):
        WebhookUsers.load(str(tmp_path / "gone"))


async def test_webhooks_learn_who_asks_and_servers_they_lead_to_do_not(
    store: Store, webhooks: WebhookServer, make_config_map: MAKE, tmp_path: Path
) -> None:
    settings = AdmissionConfiguration(
        validating_webhooks=WebhookAdmission(users(tmp_path, (f"localhost:{webhooks.port}", {"token": "t"})))
    )
    async with server(store, admission=settings) as client:
        away = f"https://127.0.0.1:{webhooks.port}/there"
        webhooks.on("/there", allow())
        await configure(client, "validating", webhooks.on("/v", to(away)))
        await client.create(MAPS, make_config_map())
    assert [path.partition("?")[0] for path, _ in webhooks.asked] == ["/v", "/there"]
    assert webhooks.credentials == ["Bearer t", ""]


# -- reviews --


@asynccontextmanager
async def server(store: Store, **settings: Any) -> AsyncIterator[Client]:
    made = APIServer(APIServerSettings(**settings), store, detect_mutation=True)
    await made.start()
    try:
        yield made.client_as(ADMIN, "tester")
    finally:
        await made.stop()


REVIEWS: dict[str, Object] = {
    "tokenreviews.authentication.k8s.io": {"spec": {"token": "x"}},
    "selfsubjectreviews.authentication.k8s.io": {},
    "subjectaccessreviews.authorization.k8s.io": {
        "spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    "selfsubjectaccessreviews.authorization.k8s.io": {
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    "selfsubjectrulesreviews.authorization.k8s.io": {"spec": {"namespace": "default"}},
    "localsubjectaccessreviews.authorization.k8s.io": {
        "spec": {
            "user": "u",
            "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"},
        }
    },
}


@pytest.mark.parametrize("minor", ["1.36", "1.37"])
async def test_webhooks_are_asked_about_reviews_until_1_37(
    store: Store, webhooks: WebhookServer, minor: str
) -> None:
    async with server(store, minor=minor) as client:
        config = webhooks.on("/v", deny(message="no reviews"))
        await configure(client, "validating", config, apiGroups=["*"], resources=["*"])
        for name, review in REVIEWS.items():
            kind = resource(name)
            namespace = "default" if kind.namespaced else ""
            if minor == "1.37":
                assert (await client.create(kind, review, namespace))["kind"] == kind.kind
                continue
            with pytest.raises(StatusError, match="denied the request: no reviews"):
                await client.create(kind, review, namespace)
        found = [(asked["kind"]["kind"], asked["operation"]) for asked in webhooks.reviews("/v")]
        kinds = [] if minor == "1.37" else [resource(name).kind for name in REVIEWS]
        assert found == [(kind, "CREATE") for kind in kinds]


async def test_a_review_that_asks_nothing_is_refused_before_validating_webhooks_see_it(
    client: Client, webhooks: WebhookServer
) -> None:
    await configure(client, "validating", webhooks.on("/v", allow()), apiGroups=["*"], resources=["*"])
    for name in ("tokenreviews.authentication.k8s.io", "selfsubjectrulesreviews.authorization.k8s.io"):
        with pytest.raises(StatusError, match=r"token is required|no namespace on request"):
            await client.create(resource(name), {"spec": {}})
    assert webhooks.asked == []
    await client.create(resource("tokenreviews.authentication.k8s.io"), {"spec": {"token": "x"}})
    assert len(webhooks.asked) == 1


# -- what mutating webhooks see and may change of an update --


async def test_who_mutates_sees_an_update_as_it_was_sent_and_changes_only_what_it_may(
    client: Client, webhooks: WebhookServer, default_account: None, make_pod: MAKE
) -> None:
    pods = resource("pods")
    made = await client.create(pods, make_pod())
    both = patching(
        {"op": "add", "path": "/metadata/annotations", "value": {"seen": "yes"}},
        {"op": "replace", "path": "/spec/containers/0/image", "value": "other"},
        {"op": "add", "path": "/status", "value": {"message": "by the webhook"}},
    )
    rule = {"operations": ["UPDATE"], "resources": ["pods", "pods/status"]}
    await configure(client, "mutating", webhooks.on("/m", both), **rule)
    changed = {**made, "spec": {**made["spec"], "nodeName": "n"}, "status": {"message": "sent"}}
    reported = await client.update(pods, changed, subresource="status")
    assert webhooks.reviews("/m")[0]["object"]["spec"]["nodeName"] == "n"
    assert reported["status"]["message"] == "by the webhook"
    assert reported["spec"] == made["spec"]
    labelled = {
        **reported,
        "metadata": {**reported["metadata"], "labels": {"a": "b"}},
        "status": {"message": "sent"},
    }
    written = await client.update(pods, labelled)
    assert webhooks.reviews("/m")[1]["object"]["status"]["message"] == "sent"
    assert written["spec"]["containers"][0]["image"] == "other"
    assert (written["status"], written["metadata"]["annotations"]) == (reported["status"], {"seen": "yes"})
