"""Webhooks that answer badly, late, much or not at all; and what they see of objects that have no name yet."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from apiserver_webhook_server import WebhookServer, allow, deny, patching, webhooks

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.apiserver.webhookclient import hostname_reason, time_reason
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.objects import rfc3339
from sublet.machinery.status import Forbidden, InternalError, StatusError
from sublet.pki.authority import SERVER, Authority
from sublet.store.interface import Store

__all__ = ["webhooks"]
GROUP = "admissionregistration.k8s.io"
MAPS = resource("configmaps")
MAKE = Callable[..., Object]


async def configure(client: Client, kind: str, client_config: Object, **more: Any) -> None:
    rules = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    hook = {
        "name": "hooks.example.com", "clientConfig": client_config, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [rules], **more,
    }  # fmt: skip
    where = resource(f"{kind}webhookconfigurations.{GROUP}")
    await client.create(where, {"metadata": {"name": "hooks"}, "webhooks": [hook]})


def answered(**response: Any) -> Callable[[Any], Any]:
    return lambda _review: {"allowed": True, **response}


def whole(document: Any) -> Callable[[Any], Any]:
    """The answer instead of an AdmissionReview with the right uid."""
    return lambda _review: web.json_response(document)


def untyped(review: Any) -> Any:
    return web.json_response({"response": {"uid": review["request"]["uid"], "allowed": True}})


def other_kind(review: Any) -> Any:
    response = {"uid": review["request"]["uid"], "allowed": True}
    return web.json_response({"apiVersion": "v1", "kind": "Pod", "response": response})


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


INVALID = "received invalid webhook response: "
UNDECODABLE = "received undecodable patch in webhook response: "


@pytest.mark.parametrize(
    ("kind", "respond", "message"),
    [
        ("validating", whole({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}), INVALID + "webhook response was absent"),
        ("validating", untyped, INVALID + "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="),
        ("validating", other_kind, INVALID + "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod"),
        ("validating", answered(patch=encoded(b"[]")), INVALID + "validating webhook may not return response.patch"),
        ("validating", answered(patchType="JSONPatch"), INVALID + "validating webhook may not return response.patchType"),
        ("mutating", answered(patchType="JSONPatch"), INVALID + "webhook returned response.patchType but not response.patch"),
        ("mutating", answered(patch=encoded(b"[]"), patchType=""), INVALID + 'webhook returned invalid response.patchType of ""'),
        ("mutating", answered(patch=encoded(b'[{"op":"test"}]'), patchType="Merge"), 'unsupported patch type "Merge"'),
        ("mutating", answered(patch="%%", patchType="JSONPatch"), "failed to call webhook: illegal base64 data"),
        ("mutating", answered(patch=encoded(b"[{"), patchType="JSONPatch"), UNDECODABLE),
        ("mutating", answered(patch=encoded(b'{"op": "add"}'), patchType="JSONPatch"), UNDECODABLE),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_fails_the_write(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, kind: str, respond: Any, message: str
) -> None:
    await configure(client, kind, webhooks.on("/w", respond))
    with pytest.raises(InternalError) as failed:
        await client.create(MAPS, make_config_map())
    begin = 'Internal error occurred: failed calling webhook "hooks.example.com": '
    assert failed.value.message.startswith(begin + message)


async def test_a_patch_that_is_empty_changes_nothing(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "mutating", webhooks.on("/w", patching()))
    assert (await client.create(MAPS, make_config_map(a="1")))["data"] == {"a": "1"}


async def test_the_old_version_of_reviews_is_spoken_and_less_is_asked_of_its_answers(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    operation = encoded(b'[{"op": "add", "path": "/data/b", "value": "2"}]')
    config = webhooks.on("/w", whole({"response": {"allowed": True, "patch": operation}}))
    await configure(client, "mutating", config, admissionReviewVersions=["v2", "v1beta1", "v1"])
    made = await client.create(MAPS, make_config_map(a="1"))
    assert made["data"] == {"a": "1", "b": "2"}
    assert webhooks.asked[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_authorities_that_cannot_be_read_are_told(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    config = {**webhooks.on("/w", allow()), "caBundle": encoded(b"no certificate")}
    try:
        await configure(client, "validating", config)
    except StatusError:
        return  # refused when it is configured: then nobody can meet it
    with pytest.raises(InternalError) as failed:
        await client.create(MAPS, make_config_map())
    assert failed.value.message == (
        'Internal error occurred: failed calling webhook "hooks.example.com": could not get REST client: unable to '
        "load root certificates: unable to parse bytes as PEM block"
    )


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
@pytest.mark.parametrize("megabytes", [10, 33])
async def test_a_huge_answer_is_read_within_bounds(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE, megabytes: int, policy: str
) -> None:
    config = webhooks.on("/w", allow(auditAnnotations={"large": "x" * (megabytes << 20)}))
    await configure(client, "validating", config, failurePolicy=policy, timeoutSeconds=30)
    if megabytes < 32 or policy == "Ignore":
        await client.create(MAPS, make_config_map())
        return
    with pytest.raises(InternalError, match="the answer is larger than 33554432 bytes"):
        await client.create(MAPS, make_config_map())


async def test_a_server_that_dies_in_the_middle_of_a_call_fails_it(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    def die(_review: Any) -> Any:
        for transport in tuple(webhooks._seen):
            transport.abort()
        return {"allowed": True}

    await configure(client, "validating", webhooks.on("/w", die))
    with pytest.raises(
        InternalError, match=r'failed to call webhook: Post "https://localhost:\d+/w\?timeout=10s": '
    ):
        await client.create(MAPS, make_config_map())


@pytest.mark.parametrize(("status", "code"), [(404, "404"), (503, "503")])
async def test_failures_are_counted_with_their_code(
    api: APIServer, client: Client, webhooks: WebhookServer, make_config_map: MAKE, status: int, code: str
) -> None:
    await configure(client, "validating", webhooks.on("/w", lambda _r: web.Response(status=status)))
    with pytest.raises(InternalError):
        await client.create(MAPS, make_config_map())
    labels = (
        'name="hooks.example.com",type="validating",operation="CREATE",error_type="calling_webhook_error"'
    )
    text = f'apiserver_admission_webhook_rejection_count{{{labels},rejection_code="{code}"}} 1'
    assert text in api.metrics.text()


async def test_a_match_condition_without_a_value_is_a_refusal(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    condition = {"name": "c", "expression": "object.data.missing == 'x'"}
    await configure(client, "validating", webhooks.on("/w", allow()), matchConditions=[condition])
    with pytest.raises(Forbidden) as refused:
        await client.create(MAPS, make_config_map(a="1"))
    assert refused.value.message == (
        "configmaps \"settings\" is forbidden: expression 'object.data.missing == 'x'' resulted in error: "
        "no such key: missing"
    )
    assert not webhooks.asked


async def test_a_refusal_without_a_reason_has_none(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/w", deny(message="no", code=422)))
    with pytest.raises(StatusError) as refused:
        await client.create(MAPS, make_config_map())
    assert "reason" not in StatusError("no", code=422, reason="").to_object()
    assert refused.value.code == 422


async def test_a_mutating_webhook_may_name_what_has_no_name_yet(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    operation = {"op": "add", "path": "/metadata/name", "value": "named"}
    await configure(client, "mutating", webhooks.on("/m", patching(operation)))
    await configure(client, "validating", webhooks.on("/v", allow()))
    obj = make_config_map()
    obj["metadata"] = {"generateName": "made-", "namespace": "default", "labels": {"a": "b"}}
    made = await client.create(MAPS, obj)
    (mutating,), (validating,) = webhooks.reviews("/m"), webhooks.reviews("/v")
    seen = mutating["object"]["metadata"]
    assert not {"name", "uid", "creationTimestamp", "resourceVersion"} & seen.keys()
    assert seen["managedFields"][0]["operation"] == "Update"
    assert "name" not in mutating
    assert "name" not in validating
    assert validating["object"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert made["metadata"]["name"] == validating["object"]["metadata"]["name"] == "named"


async def test_a_generated_name_is_known_when_objects_are_validated(
    client: Client, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    await configure(client, "validating", webhooks.on("/v", allow()))
    obj = make_config_map()
    obj["metadata"] = {"generateName": "made-", "namespace": "default"}
    made = await client.create(MAPS, obj)
    (review,) = webhooks.reviews("/v")
    assert "name" not in review
    assert review["object"]["metadata"]["name"] == made["metadata"]["name"]


async def test_who_refuses_a_pod_without_a_name_names_what_it_is_generated_from(
    client: Client, make_pod: MAKE
) -> None:
    pod = make_pod(serviceAccountName="nobody")
    pod["metadata"] = {"generateName": "web-", "namespace": "default"}
    with pytest.raises(Forbidden) as refused:
        await client.create(resource("pods"), pod)
    assert refused.value.message == (
        'pods "web-" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found'
    )


async def test_a_certificate_for_somebody_else_names_whom_it_is_for(
    store: Store, webhooks: WebhookServer, make_config_map: MAKE
) -> None:
    async def resolve(_namespace: str, _name: str, _port: int) -> tuple[str, int]:
        return "127.0.0.1", webhooks.port

    server = APIServer(APIServerSettings(), store, resolve_service=resolve)
    await server.start()
    try:
        client = server.client_as(User("admin", ("system:masters",)), "t")
        service = {"namespace": "default", "name": "other", "path": "/v"}
        await configure(client, "validating", {"service": service, "caBundle": webhooks.ca_bundle})
        with pytest.raises(InternalError) as failed:
            await client.create(MAPS, make_config_map())
    finally:
        await server.stop()
    assert failed.value.message == (
        'Internal error occurred: failed calling webhook "hooks.example.com": failed to call webhook: Post '
        '"https://other.default.svc:443/v?timeout=10s": tls: failed to verify certificate: x509: certificate is valid '
        "for localhost, hooks.default.svc, not other.default.svc"
    )


@pytest.mark.parametrize(
    ("names", "addresses", "wanted", "text"),
    [
        ((), ("127.0.0.1", "::1"), "10.0.0.1", "certificate is valid for 127.0.0.1, ::1, not 10.0.0.1"),
        (("a",), (), "10.0.0.1", "cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs"),
        ((), ("127.0.0.1",), "a.svc", "certificate is not valid for any names, but wanted to match a.svc"),
        ((), (), "webhook", "certificate relies on legacy Common Name field, use SANs instead"),
    ],
)  # fmt: skip
def test_what_a_certificate_is_for_is_told_as_go_does(
    names: tuple[str, ...], addresses: tuple[str, ...], wanted: str, text: str
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pair = Authority.create("ca").issue("webhook", (), names, addresses, usages=(SERVER,))
    shown = x509.load_pem_x509_certificate(pair.cert_pem).public_bytes(Encoding.DER)
    assert hostname_reason(shown, wanted) == text


@pytest.mark.parametrize(("now", "word"), [(0.0, "before"), (1e10, "after")])
def test_a_certificate_out_of_its_time_is_told_with_both_times(now: float, word: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pair = Authority.create("ca").issue("webhook", (), ("a",), (), usages=(SERVER,))
    parsed = x509.load_pem_x509_certificate(pair.cert_pem)
    bound = parsed.not_valid_before_utc if word == "before" else parsed.not_valid_after_utc
    assert time_reason(parsed.public_bytes(Encoding.DER), now) == (
        f"certificate has expired or is not yet valid: current time {rfc3339(now)} is {word} "
        f"{bound:%Y-%m-%dT%H:%M:%SZ}"
    )
