"""ServiceAccount tokens: what they say, what ends them, and the ways to forge them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any

import jwt
import pytest
from apiserver_front import ADMIN, Front, front
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sublet.client.exchange import Request, User
from sublet.machinery import objects
from sublet.pki.signing import KeySet, SigningKey, verifying_keys

__all__ = ["front"]

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
SECRETS = "/api/v1/namespaces/default/secrets"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def claims(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False})


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def review(front: Front, token: str, **spec: Any) -> Any:
    return (await front.create(REVIEWS, {"spec": {"token": token, **spec}}))["status"]


async def pod(front: Front, name: str = "web", node: str = "n1") -> Any:
    spec = {"serviceAccountName": "robot", "nodeName": node, "containers": [{"name": "c", "image": "i"}]}
    return await front.create("/api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec})


async def bound_to_pod(front: Front, seconds: int = 3600) -> tuple[str, Any]:
    await front.account()
    await front.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
    made = await pod(front)
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": made["metadata"]["uid"]}
    answer = await front.create(
        f"{ACCOUNTS}/robot/token", {"spec": {"expirationSeconds": seconds, "boundObjectRef": reference}}
    )
    return answer["status"]["token"], answer


def sign(front: Front, facts: dict[str, Any]) -> str:
    tokens = front.api.authenticator.service_accounts
    assert tokens is not None
    return tokens.key.sign(facts)


async def test_a_pods_token_names_pod_and_node_in_its_claims_and_in_who_one_is(front: Front) -> None:
    token, _ = await bound_to_pod(front)
    facts = claims(token)["kubernetes.io"]
    assert list(facts) == ["namespace", "node", "pod", "serviceaccount"]
    assert facts["pod"]["name"] == "web"
    assert facts["node"]["name"] == "n1"
    extra = (await front.who(headers=bearer(token)))["extra"]
    assert {key.removeprefix("authentication.kubernetes.io/") for key in extra} == {
        "credential-id", "node-name", "node-uid", "pod-name", "pod-uid",
    }  # fmt: skip
    assert extra["authentication.kubernetes.io/credential-id"] == [f"JTI={claims(token)['jti']}"]


async def test_a_request_for_a_token_says_whose_its_fields_are(front: Front) -> None:
    await front.create(ACCOUNTS, {"metadata": {"name": "robot"}})
    answer = await front.create(f"{ACCOUNTS}/robot/token", {"spec": {"audiences": ["a"]}})
    (managed,) = answer["metadata"]["managedFields"]
    assert (managed["subresource"], managed["apiVersion"]) == ("token", "authentication.k8s.io/v1")
    assert managed["fieldsV1"] == {
        "f:spec": {"f:audiences": {}, "f:boundObjectRef": {}, "f:expirationSeconds": {}}
    }


async def uses(front: Front) -> dict[str, int]:
    """How often which tokens were used, as the metrics tell; only what is not 0."""
    text = (await front.ask("GET", "/metrics")).body.decode()
    found = {
        name: int(count) for name, count in re.findall(r"^serviceaccount_(\w+)_total (\d+)$", text, re.M)
    }
    return {name: count for name, count in found.items() if count}


async def test_a_kubelets_token_lives_a_year_and_warns_after_its_hour(front: Front) -> None:
    token, answer = await bound_to_pod(front, 3607)
    facts = claims(token)
    assert facts["exp"] - facts["iat"] == 365 * 24 * 3600
    assert facts["kubernetes.io"]["warnafter"] - facts["iat"] == 3607
    assert answer["spec"]["expirationSeconds"] == 3607
    ends = objects.parse_time(answer["status"]["expirationTimestamp"])
    assert ends - facts["iat"] == pytest.approx(3607, abs=1)
    await front.who(headers=bearer(token))
    front.clock.ahead = 40 * 86400
    assert (await front.who(headers=bearer(token)))["username"]
    assert await uses(front) == {"valid_tokens": 1, "stale_tokens": 1}


async def test_other_lives_and_other_audiences_are_not_extended(front: Front) -> None:
    token, _ = await bound_to_pod(front, 3608)
    assert claims(token)["exp"] - claims(token)["iat"] == 3608
    token = await front.token(expirationSeconds=3607)
    assert claims(token)["exp"] - claims(token)["iat"] == 3607


async def test_a_pods_token_ends_with_the_pod_and_says_so(front: Front) -> None:
    token, _ = await bound_to_pod(front)
    assert (await review(front, token))["authenticated"] is True
    await front.ask("DELETE", "/api/v1/namespaces/default/pods/web?gracePeriodSeconds=0")
    status = await review(front, token)
    assert status == {
        "user": {},
        "error": "[invalid bearer token, service account token has been invalidated]",
    }
    await pod(front)
    assert "does not match service account pod ref claim" in (await review(front, token))["error"]


async def test_a_nodes_token_ends_with_the_node(front: Front) -> None:
    await front.account()
    await front.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
    token = await front.token(boundObjectRef={"apiVersion": "v1", "kind": "Node", "name": "n1"})
    extra = (await front.who(headers=bearer(token)))["extra"]
    assert extra["authentication.kubernetes.io/node-name"] == ["n1"]
    await front.ask("DELETE", "/api/v1/nodes/n1")
    assert (await front.who(headers=bearer(token))).status == 401


async def test_a_review_of_a_deleted_accounts_token_says_what_is_missing(front: Front) -> None:
    await front.account()
    token = await front.token()
    await front.ask("DELETE", f"{ACCOUNTS}/robot")
    error = (await review(front, token))["error"]
    assert error == '[invalid bearer token, serviceaccounts "robot" not found]'


async def test_a_review_of_what_is_no_token_of_ours(front: Front) -> None:
    assert await review(front, "nonsense") == {"user": {}, "error": "invalid bearer token"}


async def test_a_review_names_the_audiences_that_do_not_meet(front: Front) -> None:
    await front.account()
    token = await front.token(audiences=["vault"])
    error = (await review(front, token, audiences=["other"]))["error"]
    assert error == (
        '[invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["other"]]'
    )


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"metadata": {"name": "other"}}, 422, "must match the service account name if specified"),
        ({"metadata": {"namespace": "kube-system"}}, 400, "does not match the namespace sent on the request"),
        (
            {"spec": {"expirationSeconds": 1 << 33}},
            422,
            'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 8589934592: '
            "may not specify a duration larger than 2^32 seconds",
        ),
        (
            {"spec": {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}},
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
        (
            {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "old"}}},
            409,
            'Operation cannot be fulfilled on Secret "s": the UID in the bound object reference (old) does not match',
        ),
    ],
)  # fmt: skip
async def test_token_requests_are_refused_in_upstreams_words(
    front: Front, change: Any, code: int, text: str
) -> None:
    await front.account()
    await front.create(SECRETS, {"metadata": {"name": "s"}})
    answer = await front.ask("POST", f"{ACCOUNTS}/robot/token", {"spec": {}, **change})
    assert answer.status == code
    assert text in answer.message


async def test_a_token_for_another_accounts_pod_is_refused(front: Front) -> None:
    await front.account("other")
    await bound_to_pod(front)
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "web"}
    answer = await front.ask("POST", f"{ACCOUNTS}/other/token", {"spec": {"boundObjectRef": reference}})
    assert (answer.status, answer.message) == (
        400,
        'cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.',
    )


# -- forged tokens --


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(front: Front) -> None:
    await front.account()
    facts = claims(await front.token())
    tokens = front.api.authenticator.service_accounts
    assert tokens is not None
    secret = tokens.key.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for kid in (tokens.key.identity, ""):
        body = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{encoded(facts)}"
        mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
        forged = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert (await front.who(headers=bearer(forged))).status == 401


async def test_a_token_signed_by_another_key_under_our_keys_name_is_refused(front: Front) -> None:
    await front.account()
    facts = claims(await front.token())
    tokens = front.api.authenticator.service_accounts
    assert tokens is not None
    other = ec.generate_private_key(ec.SECP256R1())
    for headers in ({"kid": tokens.key.identity}, {"kid": "unknown"}, None):
        forged = jwt.encode(facts, other, "ES256", headers=headers)
        assert (await front.who(headers=bearer(forged))).status == 401


@pytest.mark.parametrize(
    "change",
    [
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"sub": "system:serviceaccount:default:admin"},
        {"iss": "https://elsewhere"},
        {"aud": ["elsewhere"]},
        {"kubernetes.io": {}},
        {"kubernetes.io": {"namespace": "kube-system", "serviceaccount": {"name": "robot", "uid": "x"}}},
    ],
)  # fmt: skip
async def test_a_token_of_our_own_key_counts_only_when_every_claim_is_right(
    front: Front, change: Any
) -> None:
    await front.account()
    facts = {**claims(await front.token()), **change}
    answer = await front.who(headers=bearer(sign(front, facts)))
    assert (answer.status, answer.json["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize("token", ["a.b.c", "..", "a" * 90_000, "e30.e30.e30", "\N{SNOWMAN}.a.b", "{}.{}.{}"])
async def test_nonsense_is_refused_and_never_an_error(front: Front, token: str) -> None:
    assert (await front.who(headers=bearer(token))).status == 401


async def test_a_browsers_websocket_may_name_its_token_as_a_protocol_beside_another(front: Front) -> None:
    protocol = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(b"static-secret").decode()
    found = await front.who(headers={"sec-websocket-protocol": f"{protocol.rstrip('=')}, v4.channel.k8s.io"})
    assert found["username"] == "carol"
    nothing = await front.who(headers={"sec-websocket-protocol": "base64url.bearer.authorization.k8s.io."})
    assert nothing.status == 403  # anonymous
    for alone in (protocol, f"{protocol}, {protocol}, x", "base64url.bearer.authorization.k8s.io.!, x"):
        assert (await front.who(headers={"sec-websocket-protocol": alone})).status == 401


# -- keys --


def test_a_replaced_key_still_verifies_while_it_is_named() -> None:
    old, new = (
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for _ in range(2)
    )
    token = SigningKey(old).sign({"sub": "x"})
    assert KeySet([SigningKey(new)]).verify(token) is None
    keys = KeySet([SigningKey(new), *verifying_keys(old)])
    assert keys.verify(token) == {"sub": "x"}
    assert len({key["kid"] for key in (each.jwk() for each in keys.keys)}) == 2


# -- tokens in Secrets --


async def legacy(front: Front, *, generated: bool = False, **labels: str) -> str:
    account = await front.account()
    name = "robot-token"
    facts = {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": name,
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
        "sub": "system:serviceaccount:default:robot",
    }
    token = sign(front, facts)
    metadata = {
        "name": name,
        "annotations": {"kubernetes.io/service-account.name": "robot"},
        "labels": labels,
    }
    data = {"token": base64.b64encode(token.encode()).decode()}
    secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token", "data": data}
    await front.create(SECRETS, secret)
    if generated:
        await front.ask("PUT", f"{ACCOUNTS}/robot", {**account, "secrets": [{"name": name}]})
    return token


async def test_a_secrets_token_is_its_account_and_its_use_is_noted(front: Front) -> None:
    token = await legacy(front)
    found = await front.who(headers=bearer(token))
    assert found["username"] == "system:serviceaccount:default:robot"
    assert "extra" not in found
    labels = (await front.ask("GET", f"{SECRETS}/robot-token")).json["metadata"]["labels"]
    assert labels["kubernetes.io/legacy-token-last-used"] == objects.rfc3339(front.clock.now())[:10]


async def test_a_generated_secrets_token_warns(front: Front) -> None:
    token = await legacy(front, generated=True)
    answer = await front.ask("GET", "/version", user=None, headers=bearer(token))
    assert "Use tokens from the TokenRequest API" in answer.headers["warning"]
    assert await uses(front) == {"legacy_tokens": 1, "legacy_auto_token_uses": 1}


async def test_a_secrets_token_ends_with_the_secret_its_text_or_its_mark(front: Front) -> None:
    token = await legacy(front, **{"kubernetes.io/legacy-token-invalid-since": "2026-01-01"})
    error = (await review(front, token))["error"]
    assert (
        "the token in secret default/robot-token for service account default/robot has been marked" in error
    )
    unmarked = {"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": None}}}
    merge = {"content-type": "application/merge-patch+json"}
    await front.ask("PATCH", f"{SECRETS}/robot-token", unmarked, headers=merge)
    assert (await review(front, token))["authenticated"]
    assert await uses(front) == {
        "legacy_tokens": 1, "legacy_manual_token_uses": 1, "invalid_legacy_auto_token_uses": 1,
    }  # fmt: skip
    await front.ask("PATCH", f"{SECRETS}/robot-token", {"data": {"token": "eA=="}}, headers=merge)
    assert "Token does not match server's copy" in (await review(front, token))["error"]
    await front.ask("DELETE", f"{SECRETS}/robot-token")
    assert "Token has been invalidated" in (await review(front, token))["error"]


async def test_that_a_marked_secrets_token_came_is_noted_for_the_audit_log(front: Front) -> None:
    token = await legacy(front, **{"kubernetes.io/legacy-token-invalid-since": "2026-01-01"})
    request = Request("GET", "/version", "", bearer(token))
    assert (await front.api.handle(request)).status == 401
    noted = {"authentication.k8s.io/legacy-token-invalidated": "robot-token/default"}
    assert request.context["audit_annotations"] == noted


async def test_since_when_uses_are_noted_is_written_down(front: Front) -> None:
    name = "kube-apiserver-legacy-service-account-token-tracking"
    found = (await front.ask("GET", f"/api/v1/namespaces/kube-system/configmaps/{name}")).json
    assert found["data"] == {"since": objects.rfc3339(front.clock.now())[:10]}


# -- what nodes may ask for --


async def test_a_node_asks_for_the_audiences_its_pods_name_and_no_others(front: Front) -> None:
    await bound_to_pod(front)
    made = (await front.ask("GET", "/api/v1/namespaces/default/pods/web")).json
    node = User("system:node:n1", ("system:nodes", "system:authenticated"))
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": made["metadata"]["uid"]}

    async def ask(**spec: Any) -> Any:
        return await front.ask("POST", f"{ACCOUNTS}/robot/token", {"spec": spec}, user=node)

    assert (await ask(boundObjectRef=reference)).status == 201
    assert "node requested token not bound to a pod" in (await ask()).message
    assert "without a uid" in (await ask(boundObjectRef={**reference, "uid": ""})).message
    refused = await ask(boundObjectRef=reference, audiences=["vault"])
    assert refused.message == (
        'serviceaccounts "robot" is forbidden: audience "vault" not found in pod spec volume, system:node:n1 is not '
        "authorized to request tokens for this audience"
    )
    rule = {"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["vault"]}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    await front.create(f"{rbac}/clusterroles", {"metadata": {"name": "vault"}, "rules": [rule]}, user=ADMIN)
    await front.bind("vault", group="system:nodes")
    assert (await ask(boundObjectRef=reference, audiences=["vault"])).status == 201


async def test_a_request_may_say_which_account_of_the_name_it_means(front: Front) -> None:
    uid = (await front.account())["metadata"]["uid"]
    for stated in ({}, {"uid": uid}):
        made = await front.create(f"{ACCOUNTS}/robot/token", {"metadata": stated, "spec": {}})
        assert made["metadata"]["uid"] == uid
    answer = await front.ask("POST", f"{ACCOUNTS}/robot/token", {"metadata": {"uid": "old"}, "spec": {}})
    assert (answer.status, answer.message) == (
        409,
        'Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "robot": the UID in the token request '
        f"(old) does not match the UID of the service account ({uid})",
    )
