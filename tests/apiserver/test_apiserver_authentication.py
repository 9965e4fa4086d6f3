"""Who asks: certificates, tokens, the front proxy, and nobody."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from apiserver_front import ADMIN, BOB, RBAC, Answer, Front, front
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sublet.apiserver.authentication.x509 import Certificates
from sublet.client.exchange import User
from sublet.machinery import objects
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import Unauthorized
from sublet.pki.authority import Authority

__all__ = ["front"]


def der(authority: Authority, name: str, *groups: str, days: float = 1) -> bytes:
    pem = authority.issue(name, groups, days=days).cert_pem
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_client_certificate_names_user_and_groups(front: Front) -> None:
    found = await front.who(certificate=der(front.ca, "jane", "devs", "admins"))
    assert found["username"] == "jane"
    assert set(found["groups"]) == {"devs", "admins", "system:authenticated"}


async def test_an_expired_certificate_is_refused(front: Front) -> None:
    certificate = der(front.ca, "jane")
    front.clock.ahead = 2 * 86400
    assert (await front.who(certificate=certificate)).status == 401


async def test_a_certificate_of_another_authority_is_refused(front: Front) -> None:
    certificate = der(Authority.create("kubernetes"), "jane", "system:masters")
    assert (await front.who(certificate=certificate)).status == 401
    assert (await front.ask("GET", "/version", user=None, certificate=certificate)).status == 401


async def test_the_front_proxys_certificate_is_no_client_certificate(front: Front) -> None:
    certificate = der(front.front_proxy, "front-proxy-client", "system:masters")
    assert (await front.who(certificate=certificate)).status == 401


async def test_bytes_that_are_no_certificate_are_refused(front: Front) -> None:
    assert (await front.who(certificate=b"no certificate")).status == 401


async def test_the_front_proxy_says_who_asks(front: Front) -> None:
    headers = {
        "x-remote-user": "dave", "x-remote-group": "a\nb", "x-remote-uid": "7", "x-remote-extra-scope%2fx": "one",
    }  # fmt: skip
    found = await front.who(certificate=der(front.front_proxy, "front-proxy-client"), headers=headers)
    assert (found["username"], found["uid"]) == ("dave", "7")
    assert found["groups"] == ["a", "b", "system:authenticated"]
    assert found["extra"] == {"scope/x": ["one"]}


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("percent%20encoded", "percent encoded"), ("almost%zzpercent%20xencoded", "almost%zzpercent%20xencoded"),
        ("example.com%2fpercent%2520encoded", "example.com/percent%20encoded"), ("%e4%bb%8a", "今"), ("a+b", "a+b"),
        ("", ""),
    ],
)  # fmt: skip
async def test_names_of_extra_values_are_percent_encoded_where_they_can_be(
    front: Front, written: str, key: str
) -> None:
    headers = {"x-remote-user": "dave", f"x-remote-extra-{written}": "one"}
    found = await front.who(certificate=der(front.front_proxy, "front-proxy-client"), headers=headers)
    assert found["extra"] == {key: ["one"]}


async def test_remote_headers_are_believed_from_nobody_else(front: Front) -> None:
    headers = {"x-remote-user": "root", "x-remote-group": "system:masters"}
    for certificate, status in (
        (None, 403),
        (der(front.ca, "jane"), 403),
        (der(front.front_proxy, "somebody"), 401),
    ):
        answer = await front.ask(
            "GET", "/api/v1/secrets", user=None, headers=headers, certificate=certificate
        )
        assert answer.status == status


async def test_a_service_accounts_token_makes_it_the_user(front: Front) -> None:
    account = await front.account()
    found = await front.who(headers=bearer(await front.token()))
    assert found["username"] == "system:serviceaccount:default:robot"
    assert found["uid"] == account["metadata"]["uid"]
    assert found["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    assert found["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


async def test_a_token_ends_when_it_expires(front: Front) -> None:
    await front.account()
    token = await front.token(expirationSeconds=600)
    front.clock.ahead = 590
    assert (await front.who(headers=bearer(token)))["username"]
    front.clock.ahead = 615
    assert (await front.who(headers=bearer(token))).status == 401


async def test_a_forged_token_is_refused(front: Front) -> None:
    await front.account()
    head, payload, signature = (await front.token()).split(".")
    claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b"robot", b"admin")
    forged = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    assert (await front.who(headers=bearer(f"{head}.{forged}.{signature}"))).status == 401
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    assert (await front.who(headers=bearer(f"{none}.{payload}."))).status == 401


async def test_a_token_dies_with_its_account_even_when_that_is_made_anew(front: Front) -> None:
    await front.account()
    token = await front.token()
    await front.who(headers=bearer(token))
    await front.ask("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot")
    assert (await front.who(headers=bearer(token))).status == 401
    await front.account()
    assert (await front.who(headers=bearer(token))).status == 401


async def test_a_token_bound_to_a_secret_dies_with_it(front: Front) -> None:
    await front.account()
    await front.create("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    token = await front.token(boundObjectRef={"apiVersion": "v1", "kind": "Secret", "name": "s"})
    assert (await front.who(headers=bearer(token)))["username"]
    await front.ask("DELETE", "/api/v1/namespaces/default/secrets/s")
    assert (await front.who(headers=bearer(token))).status == 401


async def test_a_token_for_another_audience_is_refused_here_and_reviewed_there(front: Front) -> None:
    await front.account()
    token = await front.token(audiences=["vault"])
    assert (await front.who(headers=bearer(token))).status == 401
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = (await front.create(path, {"spec": {"token": token, "audiences": ["vault", "x"]}}))["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])
    status = (await front.create(path, {"spec": {"token": token}}))["status"]
    assert not status.get("authenticated")
    assert "audiences" in status["error"]


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ({"expirationSeconds": 300}, 422, "may not specify a duration less than 10 minutes"),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "gone"}},
            404,
            'pods "gone" not found',
        ),
        (
            {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
            400,
            "cannot bind token",
        ),
    ],
)
async def test_bad_token_requests_are_explained(front: Front, spec: object, code: int, text: str) -> None:
    await front.account()
    answer = await front.ask("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", {"spec": spec})
    assert answer.status == code
    assert text in answer.message


async def test_a_token_of_an_account_that_is_not_there_is_not_found(front: Front) -> None:
    answer = await front.ask("POST", "/api/v1/namespaces/default/serviceaccounts/nobody/token", {"spec": {}})
    assert (answer.status, answer.message) == (404, 'serviceaccounts "nobody" not found')


def bootstrap_secret(**data: str) -> dict[str, object]:
    found = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **data,
    }
    return {
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in found.items()},
    }


async def test_a_bootstrap_token_lets_a_node_in(front: Front) -> None:
    extra = {"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"}
    await front.create("/api/v1/namespaces/kube-system/secrets", bootstrap_secret(**extra))
    found = await front.who(headers=bearer("abcdef.0123456789abcdef"))
    assert found["username"] == "system:bootstrap:abcdef"
    assert "system:bootstrappers:kubeadm:default-node-token" in found["groups"]


async def test_bootstrap_tokens_that_are_wrong_expired_or_for_something_else_are_refused(
    front: Front,
) -> None:
    path = "/api/v1/namespaces/kube-system/secrets"
    await front.create(path, bootstrap_secret(expiration=objects.rfc3339(front.clock.now() + 100)))
    assert (await front.who(headers=bearer("abcdef.0123456789abcdee"))).status == 401
    review = {"spec": {"token": "abcdef.0123456789abcdee"}}
    status = (await front.create("/apis/authentication.k8s.io/v1/tokenreviews", review))["status"]
    assert status == {"user": {}, "error": "invalid bearer token"}, "why is told to nobody"
    assert (await front.who(headers=bearer("abcdef.0123456789abcdef")))["username"]
    front.clock.ahead = 200
    assert (await front.who(headers=bearer("abcdef.0123456789abcdef"))).status == 401
    await front.ask("DELETE", f"{path}/bootstrap-token-abcdef")
    await front.create(path, bootstrap_secret(**{"usage-bootstrap-authentication": "false"}))
    assert (await front.who(headers=bearer("abcdef.0123456789abcdef"))).status == 401


async def test_static_tokens_work_and_unknown_tokens_are_refused_not_anonymous(front: Front) -> None:
    assert (await front.who(headers=bearer("static-secret")))["username"] == "carol"
    refused = await front.ask("GET", "/version", user=None, headers=bearer("other"))
    assert (refused.status, refused.json["reason"]) == (401, "Unauthorized")


async def test_anonymous_sees_health_and_version_only(front: Front) -> None:
    for path in ("/version", "/healthz", "/livez", "/readyz"):
        assert (await front.ask("GET", path, user=None)).status == 200
    for path in ("/api", "/metrics", "/api/v1/namespaces"):
        answer = await front.ask("GET", path, user=None)
        assert answer.status == 403
        assert "system:anonymous" in answer.message


async def test_others_can_verify_tokens_by_the_published_key(front: Front) -> None:
    import jwt

    configuration = (await front.ask("GET", "/.well-known/openid-configuration")).json
    assert configuration["id_token_signing_alg_values_supported"] == ["ES256"]
    answer = await front.ask("GET", "/openid/v1/jwks")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    await front.account()
    token = await front.token(audiences=["vault"])
    key = jwt.PyJWKSet.from_dict(answer.json).keys[0]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="vault", issuer=configuration["issuer"])
    assert claims["kubernetes.io"]["serviceaccount"]["name"] == "robot"


async def test_impersonation_needs_permission_and_then_acts_as_the_other(front: Front) -> None:
    headers = {"impersonate-user": "eve", "impersonate-group": "devs"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    allowed = await front.ask("POST", path, {}, user=ADMIN, headers=headers)
    assert allowed.json["status"]["userInfo"] == {
        "username": "eve",
        "groups": ["devs", "system:authenticated"],
    }
    refused = await front.ask("POST", path, {}, user=BOB, headers=headers)
    assert refused.status == 403
    assert refused.message == (
        'selfsubjectreviews.authentication.k8s.io is forbidden: User "bob" cannot impersonate-on:user-info:create '
        'resource "selfsubjectreviews" in API group "authentication.k8s.io" at the cluster scope'
    )


async def whoami(front: Front, asker: User, **headers: str) -> Answer:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    sent = {f"impersonate-{name.replace('_', '-')}": value for name, value in headers.items()}
    return await front.ask("POST", path, {}, user=asker, headers=sent)


async def grant(front: Front, name: str, *rules: dict[str, object], user: str = "bob") -> None:
    await front.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    await front.bind(name, user=user)


async def test_attempts_to_be_another_and_what_was_asked_for_them_are_counted(front: Front) -> None:
    await grant(
        front, "as-eve", {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]},
    )  # fmt: skip
    await whoami(front, ADMIN, user="eve")
    await whoami(front, BOB, user="eve")
    await whoami(front, BOB, user="eve", uid="7")
    counted = (await front.ask("GET", "/metrics")).body.decode()
    for decision, mode, count in (("allowed", "user-info", 1), ("allowed", "legacy", 1), ("denied", "", 1)):
        labels = f'{{decision="{decision}",mode="{mode}"}}'
        assert f"apiserver_impersonation_attempts_total{labels} {count}\n" in counted
        assert f"apiserver_impersonation_attempts_duration_seconds_count{labels} {count}\n" in counted
    # Bob is asked twice for the narrow right and does not have it; the wide one he has for the name, not for the uid.
    for decision, mode, count in (
        ("allowed", "user-info", 2),
        ("denied", "user-info", 2),
        ("allowed", "legacy", 2),
        ("denied", "legacy", 1),
    ):
        labels = f'{{decision="{decision}",mode="{mode}"}}'
        assert f"apiserver_impersonation_authorization_attempts_total{labels} {count}\n" in counted


async def test_names_in_headers_are_utf8(front: Front) -> None:
    raw = "jörg \N{SNOWMAN}".encode().decode("latin-1")
    found = await whoami(front, ADMIN, user=raw, group=raw)
    assert found.json["status"]["userInfo"]["username"] == "jörg \N{SNOWMAN}"
    assert found.json["status"]["userInfo"]["groups"][0] == "jörg \N{SNOWMAN}"
    proxy = der(front.front_proxy, "front-proxy-client")
    seen = await front.who(certificate=proxy, headers={"x-remote-user": raw, "x-remote-uid": raw})
    assert (seen["username"], seen["uid"]) == ("jörg \N{SNOWMAN}", "jörg \N{SNOWMAN}")


async def test_the_wide_right_to_impersonate_is_asked_for_each_part(front: Front) -> None:
    rule = {"verbs": ["impersonate"], "apiGroups": ["", "authentication.k8s.io"]}
    await grant(front, "as-eve", {**rule, "resources": ["users"], "resourceNames": ["eve"]})
    assert (await whoami(front, BOB, user="eve")).status == 201
    assert (await whoami(front, BOB, user="mallory")).status == 403
    for part in ({"group": "g"}, {"uid": "7"}, {"extra_scopes": "a"}):
        assert (await whoami(front, BOB, user="eve", **part)).status == 403
    await grant(front, "parts", {**rule, "resources": ["groups", "uids", "userextras/scopes"]})
    found = await whoami(front, BOB, user="eve", group="g\nh", uid="7", extra_scopes="a\nb")
    assert found.json["status"]["userInfo"] == {
        "username": "eve", "uid": "7", "groups": ["g", "h", "system:authenticated"], "extra": {"scopes": ["a", "b"]},
    }  # fmt: skip
    assert (await whoami(front, BOB, user="eve", extra_other="a")).status == 403


async def test_the_narrow_right_needs_whom_and_for_what(front: Front) -> None:
    group = "authentication.k8s.io"
    await grant(
        front, "as-eve",
        {"verbs": ["impersonate:user-info"], "apiGroups": [group], "resources": ["users"], "resourceNames": ["eve"]},
    )  # fmt: skip
    assert (await whoami(front, BOB, user="eve")).status == 403
    verbs = ["impersonate-on:user-info:create"]
    await grant(front, "to-ask", {"verbs": verbs, "apiGroups": [group], "resources": ["selfsubjectreviews"]})
    assert (await whoami(front, BOB, user="eve")).status == 201
    answer = await front.ask("GET", "/api/v1/pods", user=BOB, headers={"impersonate-user": "eve"})
    assert 'cannot impersonate-on:user-info:list resource "pods"' in answer.message


async def test_narrowly_nobody_becomes_a_master(front: Front) -> None:
    verbs = ["impersonate:user-info", "impersonate-on:user-info:create"]
    await grant(front, "narrow", {"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]})
    assert (await whoami(front, BOB, user="eve", group="devs")).status == 201
    refused = await whoami(front, BOB, user="eve", group="system:masters")
    assert "impersonating the system:masters group is not allowed" in refused.message
    refused = await whoami(front, BOB, user="eve", **{"extra_no domain": "x"})
    assert "impersonating an invalid key in extra is not allowed" in refused.message


async def test_a_node_agents_account_may_be_its_own_node_only(front: Front) -> None:
    group = "authentication.k8s.io"
    user = "system:serviceaccount:kube-system:agent"
    await grant(
        front, "own-node",
        {"verbs": ["impersonate:associated-node"], "apiGroups": [group], "resources": ["nodes"]},
        {"verbs": ["impersonate-on:associated-node:create"], "apiGroups": [group], "resources": ["*"]},
        user=user,
    )  # fmt: skip
    agent = User(user, ("system:authenticated",), extra={"authentication.kubernetes.io/node-name": ("n1",)})
    found = await whoami(front, agent, user="system:node:n1")
    assert found.json["status"]["userInfo"] == {
        "username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"],
    }  # fmt: skip
    assert (await whoami(front, agent, user="system:node:n2")).status == 403


async def test_impersonating_a_service_account_brings_its_groups(front: Front) -> None:
    headers = {"impersonate-user": "system:serviceaccount:ns:sa"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer: Answer = await front.ask("POST", path, {}, user=User("x", ("system:masters",)), headers=headers)
    assert answer.json["status"]["userInfo"]["groups"] == [
        "system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated",
    ]  # fmt: skip


async def test_impersonating_a_group_without_a_user_is_a_bad_request(front: Front) -> None:
    answer = await front.ask("GET", "/api", headers={"impersonate-group": "x"})
    assert (answer.status, answer.message) == (
        400,
        'requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"x"}, Extra:map[string][]string(nil)} '
        "without impersonating a user name",
    )


async def test_attempts_are_counted_by_what_came_of_them(front: Front) -> None:
    def counts() -> dict[str, int]:
        lines = front.api.metrics.text().splitlines()
        found = (line.split() for line in lines if line.startswith("authentication_attempts{"))
        return {labels.partition('"')[2].rstrip('"}'): int(count) for labels, count in found}

    before = counts()
    await front.ask("GET", "/version", user=None)
    await front.ask("GET", "/version", user=None, headers=bearer("other"))
    after = counts()
    assert {key: after[key] - before.get(key, 0) for key in after} == {"success": 1, "error": 1}
    assert 'authentication_duration_seconds_count{result="error"} 1' in front.api.metrics.text()


def certificate(
    name: str,
    issuer: tuple[x509.Name, Any] | None,
    *,
    length: int | None = None,
    authority: bool = True,
    usages: Sequence[Any] = (),
) -> tuple[x509.Certificate, Any]:
    """(a certificate, its key); without an issuer it is signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above, signer = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(signer, hashes.SHA256()), key


@pytest.mark.parametrize(
    ("first", "second", "believed"),
    [
        ({}, {}, True),
        ({"length": 1}, {"length": 0}, True),
        ({"length": 0}, {}, False),
        ({}, {"authority": False}, False),
        ({"usages": [ExtendedKeyUsageOID.SERVER_AUTH]}, {}, False),
        ({}, {"usages": [ExtendedKeyUsageOID.CLIENT_AUTH]}, True),
    ],
)
def test_intermediates_keep_to_what_they_were_certified_for(
    first: dict[str, Any], second: dict[str, Any], believed: bool
) -> None:
    root, root_key = certificate("root", None)
    upper, upper_key = certificate("upper", (root.subject, root_key), **first)
    lower, lower_key = certificate("lower", (upper.subject, upper_key), **second)
    shown, _ = certificate("dora", (lower.subject, lower_key), authority=False)
    known = Certificates(root.public_bytes(Encoding.PEM), SystemClock())
    der, between = (
        shown.public_bytes(Encoding.DER),
        tuple(each.public_bytes(Encoding.DER) for each in (lower, upper)),
    )
    if believed:
        user = known.user(der, between)
        assert user is not None and user.name == "dora"
    else:
        with pytest.raises(Unauthorized):
            known.user(der, between)
