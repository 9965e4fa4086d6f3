"""Mutating webhooks called again: after which changes, how often, and what the audit log says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apiserver_front import ADMIN, Front, front
from apiserver_webhook_server import Respond, WebhookServer, patching, webhooks

from sublet.client.exchange import Request
from sublet.machinery.kind import Object

__all__ = ["front", "webhooks"]
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
PODS = "/api/v1/namespaces/default/pods"


def label(name: str, value: str = "true", op: str = "add") -> Object:
    return {"op": op, "path": f"/metadata/labels/{name}", "value": value}


def unless(name: str, value: str, operation: Object) -> Respond:
    """Patches while the label has another value."""

    def respond(review: Any) -> Any:
        labels = review["request"]["object"]["metadata"].get("labels") or {}
        return {"allowed": True} if labels.get(name) == value else patching(operation)(review)

    return respond


def when(name: str, operation: Object) -> Respond:
    """Patches once the label is there."""

    def respond(review: Any) -> Any:
        labels = review["request"]["object"]["metadata"].get("labels") or {}
        return patching(operation)(review) if name in labels else {"allowed": True}

    return respond


def priority(name: str) -> Respond:
    def respond(review: Any) -> Any:
        if review["request"]["object"]["spec"].get("priorityClassName") == name:
            return {"allowed": True}
        return patching(
            {"op": "add", "path": "/spec/priorityClassName", "value": name},
            {"op": "remove", "path": "/spec/priority"},
        )(review)

    return respond


ADD = unless("a", "true", label("a"))
RESPONSES: dict[str, Respond] = {
    "noop": lambda _review: {"allowed": True},
    "add": ADD,
    "conditional": when("a", label("b")),
    "settrue": patching(label("fight", "true", "replace")),
    "setfalse": patching(label("fight", "false", "replace")),
    "priority": priority("high"),
}


@pytest.mark.parametrize(
    ("called", "policy", "rounds", "labels"),
    [
        (["noop"], "IfNeeded", {"noop": [False]}, {}),
        (["add"], "IfNeeded", {"add": [True]}, {"a": "true"}),
        (["priority"], "IfNeeded", {"priority": [True, False]}, {}),
        (["add", "conditional"], "IfNeeded", {"add": [True, False], "conditional": [True]}, {"a": "true", "b": "true"}),
        (["settrue", "setfalse"], "IfNeeded", {"settrue": [True, True], "setfalse": [True, True]}, {"fight": "false"}),
        (["conditional", "add"], "Never", {"conditional": [False], "add": [True]}, {"a": "true"}),
        (["conditional", "add"], None, {"conditional": [False], "add": [True]}, {"a": "true"}),
    ],
)  # fmt: skip
async def test_who_is_asked_again(
    front: Front, webhooks: WebhookServer, called: list[str], policy: str | None,
    rounds: dict[str, list[bool]], labels: dict[str, str],
) -> None:  # fmt: skip
    hooks = [
        hook(webhooks, name, **({} if policy is None else {"reinvocationPolicy": policy})) for name in called
    ]
    annotations, made = await create(front, hooks)
    assert {name: len(webhooks.reviews(f"/{name}")) for name in called} == {
        k: len(v) for k, v in rounds.items()
    }
    assert made["metadata"]["labels"] == {"x": "true", "fight": "", **labels}
    told = {
        f"mutation.webhook.admission.k8s.io/round_{turn}_index_{called.index(name)}":
            {"configuration": "hooks", "webhook": f"{name}.example.com", "mutated": mutated}
        for name, turns in rounds.items()
        for turn, mutated in enumerate(turns)
    }  # fmt: skip
    assert {k: json.loads(v) for k, v in annotations.items() if k.startswith("mutation.")} == told
    patched = {k.replace("mutation", "patch") for k, v in told.items() if v["mutated"]}
    assert {k for k in annotations if k.startswith("patch.")} == patched


async def test_who_was_passed_over_at_first_is_not_asked_again(front: Front, webhooks: WebhookServer) -> None:
    chosen = {"objectSelector": {"matchLabels": {"a": "true"}}, "reinvocationPolicy": "IfNeeded"}
    hooks = [hook(webhooks, "conditional", **chosen), hook(webhooks, "add", reinvocationPolicy="IfNeeded")]
    annotations, made = await create(front, hooks)
    assert len(webhooks.reviews("/conditional")) == 0 and len(webhooks.reviews("/add")) == 1
    assert "b" not in made["metadata"]["labels"]
    assert [k for k in annotations if k.startswith("mutation.")] == [
        "mutation.webhook.admission.k8s.io/round_0_index_1"
    ]


async def test_what_a_webhook_made_is_judged_by_the_plugins_before_it(
    front: Front, webhooks: WebhookServer
) -> None:
    await front.account()
    await front.create(
        HOOKS, {"metadata": {"name": "hooks"}, "webhooks": [hook(webhooks, "priority", priority("invalid"))]}
    )
    answer = await front.ask("POST", PODS, pod())
    assert answer.status == 403
    assert "no PriorityClass with name invalid was found" in answer.message
    assert len(webhooks.reviews("/priority")) == 1


def hook(webhooks: WebhookServer, name: str, respond: Respond | None = None, **more: Any) -> Object:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    return {
        "name": f"{name}.example.com", "clientConfig": webhooks.on(f"/{name}", respond or RESPONSES[name]),
        "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"], **more,
    }  # fmt: skip


def pod() -> Object:
    return {
        "metadata": {"name": "web", "labels": {"x": "true", "fight": ""}},
        "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]},
    }


async def create(front: Front, hooks: list[Object]) -> tuple[dict[str, str], Any]:
    """What the audit log would say of the creation of a pod of low priority, and the pod."""
    await front.account()
    for name, value in (("low", 1), ("high", 10)):
        await front.create(
            "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": name}, "value": value}
        )
    await front.create(HOOKS, {"metadata": {"name": "hooks"}, "webhooks": hooks})
    body = pod()
    body["spec"]["priorityClassName"] = "low"
    request = Request("POST", PODS, body=json.dumps(body).encode(), user=ADMIN)
    response = await front.api.handle(request)
    assert response.status == 201 and isinstance(response.body, bytes), response.body
    made = json.loads(response.body)
    assert made["spec"]["priority"] == (10 if "priority" in hooks[0]["name"] else 1)
    return request.context["audit_annotations"], made
